// SPDX-License-Identifier: GPL-2.0
/*
 * Wrappers: where the calls of attached modules land instead of in the function
 * that they name, which hooks.c sees to
 *
 * A wrapper has the prototype of its function, calls it, and is known to it by
 * its return address: so no call here may be a jump (see the Makefile). Each
 * runs in an SRCU read-side section, which may sleep, so that mown can wait
 * for it before it goes.
 *
 * What only stands for memory (a cache, a pool, a block of a pool whose size
 * nobody tells) counts as one byte: a record must not reach over its neighbours.
 */
#include "attach.h"

#ifdef MOWN_HAVE_HOOKS

DEFINE_SRCU(mown_wrappers);

/* ---- Allocation ---- */

/*
 * Record what the function has returned to the caller at @site. Where an
 * address does not say how to give the object back, no knob makes it fail.
 */
static void *mown_hooked(void *ptr, size_t size, gfp_t gfp,
			 enum mown_family family, unsigned long site)
{
	struct mown_caller caller;

	if (IS_ERR_OR_NULL(ptr) || !mown_hook_caller(&caller, site))
		return ptr;
	if (!mown_families[family].give_back) {
		int as = mown_recorded_as((unsigned long)ptr);

		/* What a module's own functions have served has been had. */
		if (as >= 0 && as != family)
			return ptr;
		gfp |= __GFP_NOFAIL;
	}
	return mown_track(ptr, size, gfp, family, &caller);
}

/* Of kmalloc() or of vmalloc(), as the address says. */
static void *mown_hooked_kv(void *ptr, size_t size, gfp_t gfp,
			    unsigned long site)
{
	return mown_hooked(ptr, size, gfp, is_vmalloc_addr(ptr) ?
			   MOWN_VMALLOC : MOWN_KMALLOC, site);
}

/* A block of pages is known by the address of the first. */
static struct page *mown_hooked_pages(struct page *page, gfp_t gfp,
				      unsigned int order, unsigned long site)
{
	if (page && !PageHighMem(page) &&
	    !mown_hooked(page_address(page), PAGE_SIZE << order, gfp,
			 MOWN_PAGES, site))
		return NULL;
	return page;
}

#define MOWN_WRAP(type, name, params, args, hooked)			\
type mown_wrap_##name params						\
{									\
	struct srcu_struct *srcu = &mown_wrappers;			\
	int idx = srcu_read_lock(srcu);					\
	unsigned long __maybe_unused site = _RET_IP_;			\
	type ret = name args;						\
									\
	ret = (type)(hooked);						\
	srcu_read_unlock(srcu, idx);					\
	return ret;							\
}

#define MOWN_WRAP_ALLOC(name, params, args, size, gfp, family)		\
	MOWN_WRAP(void *, name, params, args,				\
		  mown_hooked(ret, size, gfp, family, site))

MOWN_WRAP_ALLOC(__kmalloc, (size_t size, gfp_t gfp), (size, gfp), size, gfp,
		MOWN_KMALLOC)
MOWN_WRAP_ALLOC(__kmalloc_node, (size_t size, gfp_t gfp, int node),
		(size, gfp, node), size, gfp, MOWN_KMALLOC)
MOWN_WRAP_ALLOC(kmalloc_trace,
		(struct kmem_cache *cache, gfp_t gfp, size_t size),
		(cache, gfp, size), size, gfp, MOWN_KMALLOC)
MOWN_WRAP_ALLOC(kmalloc_node_trace,
		(struct kmem_cache *cache, gfp_t gfp, int node, size_t size),
		(cache, gfp, node, size), size, gfp, MOWN_KMALLOC)
MOWN_WRAP_ALLOC(kmalloc_large, (size_t size, gfp_t gfp), (size, gfp), size, gfp,
		MOWN_KMALLOC)
MOWN_WRAP_ALLOC(kmalloc_large_node, (size_t size, gfp_t gfp, int node),
		(size, gfp, node), size, gfp, MOWN_KMALLOC)

/* The caller's caller, who is told it, is whose memory it is. */
MOWN_WRAP(void *, __kmalloc_node_track_caller,
	  (size_t size, gfp_t gfp, int node, unsigned long caller),
	  (size, gfp, node, caller),
	  mown_hooked(ret, size, gfp, MOWN_KMALLOC, caller))

MOWN_WRAP(void *, kvmalloc_node, (size_t size, gfp_t gfp, int node),
	  (size, gfp, node), mown_hooked_kv(ret, size, gfp, site))
MOWN_WRAP(void *, vmemdup_user, (const void __user *src, size_t len),
	  (src, len), mown_hooked_kv(ret, len, GFP_KERNEL, site) ?:
		      ERR_PTR(-ENOMEM))

MOWN_WRAP_ALLOC(vmalloc, (unsigned long size), (size), size, GFP_KERNEL,
		MOWN_VMALLOC)
MOWN_WRAP_ALLOC(vzalloc, (unsigned long size), (size), size, GFP_KERNEL,
		MOWN_VMALLOC)
MOWN_WRAP_ALLOC(vmalloc_node, (unsigned long size, int node), (size, node),
		size, GFP_KERNEL, MOWN_VMALLOC)
MOWN_WRAP_ALLOC(vzalloc_node, (unsigned long size, int node), (size, node),
		size, GFP_KERNEL, MOWN_VMALLOC)
MOWN_WRAP_ALLOC(vmalloc_32, (unsigned long size), (size), size, GFP_KERNEL,
		MOWN_VMALLOC)
MOWN_WRAP_ALLOC(vmalloc_huge, (unsigned long size, gfp_t gfp), (size, gfp),
		size, gfp, MOWN_VMALLOC)
MOWN_WRAP_ALLOC(__vmalloc, (unsigned long size, gfp_t gfp), (size, gfp), size,
		gfp, MOWN_VMALLOC)
MOWN_WRAP_ALLOC(vmalloc_array, (size_t n, size_t size), (n, size), n * size,
		GFP_KERNEL, MOWN_VMALLOC)
MOWN_WRAP_ALLOC(vcalloc, (size_t n, size_t size), (n, size), n * size,
		GFP_KERNEL, MOWN_VMALLOC)
MOWN_WRAP_ALLOC(__vcalloc, (size_t n, size_t size, gfp_t gfp), (n, size, gfp),
		n * size, gfp, MOWN_VMALLOC)

/* User space may have these mapped, so they do not wait: as if charged. */
MOWN_WRAP_ALLOC(vmalloc_user, (unsigned long size), (size), size,
		GFP_KERNEL_ACCOUNT, MOWN_VMALLOC)
MOWN_WRAP_ALLOC(vmalloc_32_user, (unsigned long size), (size), size,
		GFP_KERNEL_ACCOUNT, MOWN_VMALLOC)

MOWN_WRAP_ALLOC(kmem_cache_alloc, (struct kmem_cache *cache, gfp_t gfp),
		(cache, gfp), kmem_cache_size(cache), gfp, MOWN_SLAB)
MOWN_WRAP_ALLOC(kmem_cache_alloc_node,
		(struct kmem_cache *cache, gfp_t gfp, int node),
		(cache, gfp, node), kmem_cache_size(cache), gfp, MOWN_SLAB)
MOWN_WRAP_ALLOC(kmem_cache_alloc_lru,
		(struct kmem_cache *cache, struct list_lru *lru, gfp_t gfp),
		(cache, lru, gfp), kmem_cache_size(cache), gfp, MOWN_SLAB)

static int mown_hooked_bulk(struct kmem_cache *cache, gfp_t gfp, int nr,
			    void **ptrs, unsigned long site)
{
	int i;

	/* All or none, so that no knob may fail one of them. */
	for (i = 0; i < nr; i++)
		mown_hooked(ptrs[i], kmem_cache_size(cache),
			    gfp | __GFP_NOFAIL, MOWN_SLAB, site);
	return nr;
}

MOWN_WRAP(int, kmem_cache_alloc_bulk,
	  (struct kmem_cache *cache, gfp_t gfp, size_t nr, void **ptrs),
	  (cache, gfp, nr, ptrs),
	  mown_hooked_bulk(cache, gfp, ret, ptrs, site))

/*
 * A cache that another one serves, being alike, would be an address that is
 * allocated twice: a flag that allows no such sharing keeps them apart. It also
 * hides the cache's objects from kmemleak, so not where there is that.
 */
#ifdef CONFIG_DEBUG_KMEMLEAK
#define MOWN_CACHE_FLAGS 0
#define mown_hooked_cache(cache, site) (cache)
#else
#define MOWN_CACHE_FLAGS SLAB_NOLEAKTRACE
/* Who has the kernel panic without a cache must not go without one. */
#define mown_hooked_cache(cache, site)					\
	mown_hooked(cache, 1, flags & SLAB_PANIC ?			\
		    GFP_KERNEL | __GFP_NOFAIL : GFP_KERNEL, MOWN_CACHE, site)
#endif

MOWN_WRAP(struct kmem_cache *, kmem_cache_create,
	  (const char *name, unsigned int size, unsigned int align,
	   slab_flags_t flags, void (*ctor)(void *)),
	  (name, size, align, flags | MOWN_CACHE_FLAGS, ctor),
	  mown_hooked_cache(ret, site))
MOWN_WRAP(struct kmem_cache *, kmem_cache_create_usercopy,
	  (const char *name, unsigned int size, unsigned int align,
	   slab_flags_t flags, unsigned int useroffset, unsigned int usersize,
	   void (*ctor)(void *)),
	  (name, size, align, flags | MOWN_CACHE_FLAGS, useroffset, usersize,
	   ctor), mown_hooked_cache(ret, site))

MOWN_WRAP(mempool_t *, mempool_create,
	  (int min, mempool_alloc_t *alloc, mempool_free_t *free, void *data),
	  (min, alloc, free, data),
	  mown_hooked(ret, sizeof(mempool_t), GFP_KERNEL, MOWN_MEMPOOL, site))
MOWN_WRAP(mempool_t *, mempool_create_node,
	  (int min, mempool_alloc_t *alloc, mempool_free_t *free, void *data,
	   gfp_t gfp, int node), (min, alloc, free, data, gfp, node),
	  mown_hooked(ret, sizeof(mempool_t), gfp, MOWN_MEMPOOL, site))

/* As far as the pool says; a page is its struct page here. */
static size_t mown_element_size(const mempool_t *pool)
{
	if (pool->alloc == mempool_alloc_slab)
		return kmem_cache_size(pool->pool_data);
	if (pool->alloc == mempool_kmalloc)
		return (size_t)pool->pool_data;
	return 1;
}

MOWN_WRAP(void *, mempool_alloc, (mempool_t *pool, gfp_t gfp), (pool, gfp),
	  mown_hooked(ret, mown_element_size(pool), gfp, MOWN_ELEMENT, site))

MOWN_WRAP(struct page *, alloc_pages, (gfp_t gfp, unsigned int order),
	  (gfp, order), mown_hooked_pages(ret, gfp, order, site))
MOWN_WRAP(struct page *, __alloc_pages,
	  (gfp_t gfp, unsigned int order, int node, nodemask_t *mask),
	  (gfp, order, node, mask), mown_hooked_pages(ret, gfp, order, site))
MOWN_WRAP(unsigned long, __get_free_pages, (gfp_t gfp, unsigned int order),
	  (gfp, order),
	  mown_hooked((void *)ret, PAGE_SIZE << order, gfp, MOWN_PAGES, site))
MOWN_WRAP(unsigned long, get_zeroed_page, (gfp_t gfp), (gfp),
	  mown_hooked((void *)ret, PAGE_SIZE, gfp, MOWN_PAGES, site))
/* No block of an order, but pages: they are not to be given back as one. */
MOWN_WRAP(void *, alloc_pages_exact, (size_t size, gfp_t gfp), (size, gfp),
	  mown_hooked(ret, PAGE_ALIGN(size), gfp | __GFP_NOFAIL, MOWN_PAGES,
		      site))

MOWN_WRAP(void __percpu *, __alloc_percpu, (size_t size, size_t align),
	  (size, align),
	  mown_hooked((__force void *)ret, size, GFP_KERNEL, MOWN_PERCPU, site))
MOWN_WRAP(void __percpu *, __alloc_percpu_gfp,
	  (size_t size, size_t align, gfp_t gfp), (size, align, gfp),
	  mown_hooked((__force void *)ret, size, gfp, MOWN_PERCPU, site))

MOWN_WRAP(void *, dma_alloc_attrs,
	  (struct device *dev, size_t size, dma_addr_t *handle, gfp_t gfp,
	   unsigned long attrs), (dev, size, handle, gfp, attrs),
	  attrs & DMA_ATTR_NO_KERNEL_MAPPING ? ret :
	  mown_hooked(ret, size, gfp, MOWN_DMA, site))
MOWN_WRAP(struct dma_pool *, dma_pool_create,
	  (const char *name, struct device *dev, size_t size, size_t align,
	   size_t boundary), (name, dev, size, align, boundary),
	  mown_hooked(ret, 1, GFP_KERNEL, MOWN_DMA_POOL, site))
MOWN_WRAP_ALLOC(dma_pool_alloc,
		(struct dma_pool *pool, gfp_t gfp, dma_addr_t *handle),
		(pool, gfp, handle), 1, gfp, MOWN_DMA_BLOCK)

void *mown_wrap_krealloc(const void *ptr, size_t size, gfp_t gfp)
{
	int idx = srcu_read_lock(&mown_wrappers);
	struct mown_caller caller;
	void *ret;

	if (mown_hook_caller(&caller, _RET_IP_))
		ret = mown_realloc(ptr, size, gfp, &caller);
	else
		ret = krealloc(ptr, size, gfp);
	srcu_read_unlock(&mown_wrappers, idx);
	return ret;
}

/* ---- Release ---- */

/* True if the function is to be called for @ptr. */
static bool mown_hooked_free(const void *ptr, unsigned int frees,
			     bool sensitive, unsigned long site)
{
	struct mown_caller caller;

	if (ZERO_OR_NULL_PTR(ptr))
		return true;
	/* The filter's word is not the last; and the kernel pays for no more. */
	if (!mown_hook_caller(&caller, site) &&
	    mown_recorded_as((unsigned long)ptr) < 0)
		return true;
	caller.frees = frees;
	return mown_release(ptr, &caller, sensitive);
}

/* The same of a family whose memory another's record may stand for. */
static bool mown_hooked_free_of(const void *ptr, enum mown_family family,
				unsigned long site)
{
	return mown_recorded_as((unsigned long)ptr) != family ||
	       mown_hooked_free(ptr, BIT(family), false, site);
}

#define MOWN_WRAP_FREE(name, params, args, ptr, frees, sensitive)	\
void mown_wrap_##name params						\
{									\
	int idx = srcu_read_lock(&mown_wrappers);			\
									\
	if (mown_hooked_free((const void *)(ptr), frees, sensitive,	\
			     _RET_IP_))					\
		name args;						\
	srcu_read_unlock(&mown_wrappers, idx);				\
}

MOWN_WRAP_FREE(kfree, (const void *ptr), (ptr), ptr, MOWN_FREES_KFREE, false)
MOWN_WRAP_FREE(kfree_sensitive, (const void *ptr), (ptr), ptr,
	       MOWN_FREES_KFREE, true)
MOWN_WRAP_FREE(kvfree, (const void *ptr), (ptr), ptr, MOWN_FREES_KVFREE, false)
MOWN_WRAP_FREE(kvfree_sensitive, (const void *ptr, size_t len), (ptr, len), ptr,
	       MOWN_FREES_KVFREE, true)
MOWN_WRAP_FREE(vfree, (const void *ptr), (ptr), ptr, BIT(MOWN_VMALLOC), false)
MOWN_WRAP_FREE(kmem_cache_free, (struct kmem_cache *cache, void *ptr),
	       (cache, ptr), ptr, MOWN_FREES_SLAB, false)
MOWN_WRAP_FREE(mempool_destroy, (mempool_t *pool), (pool), pool,
	       BIT(MOWN_MEMPOOL), false)
MOWN_WRAP_FREE(free_percpu, (void __percpu *ptr), (ptr), (__force void *)ptr,
	       BIT(MOWN_PERCPU), false)
MOWN_WRAP_FREE(dma_pool_destroy, (struct dma_pool *pool), (pool), pool,
	       BIT(MOWN_DMA_POOL), false)

#define MOWN_WRAP_FREE_OF(name, params, args, ptr, family)		\
void mown_wrap_##name params						\
{									\
	int idx = srcu_read_lock(&mown_wrappers);			\
									\
	if (mown_hooked_free_of(ptr, family, _RET_IP_))			\
		name args;						\
	srcu_read_unlock(&mown_wrappers, idx);				\
}

/* It goes back to its pool: what the module's own function allocated stays. */
MOWN_WRAP_FREE_OF(mempool_free, (void *ptr, mempool_t *pool), (ptr, pool), ptr,
		  MOWN_ELEMENT)
MOWN_WRAP_FREE_OF(dma_free_attrs,
		  (struct device *dev, size_t size, void *ptr,
		   dma_addr_t handle, unsigned long attrs),
		  (dev, size, ptr, handle, attrs), ptr, MOWN_DMA)
MOWN_WRAP_FREE_OF(dma_pool_free,
		  (struct dma_pool *pool, void *ptr, dma_addr_t handle),
		  (pool, ptr, handle), ptr, MOWN_DMA_BLOCK)

void mown_wrap_kmem_cache_destroy(struct kmem_cache *cache)
{
	int idx = srcu_read_lock(&mown_wrappers);

	if (cache)
		mown_rcu_flush_slabs();
	if (mown_hooked_free(cache, BIT(MOWN_CACHE), false, _RET_IP_))
		kmem_cache_destroy(cache);
	srcu_read_unlock(&mown_wrappers, idx);
}

void mown_wrap_kmem_cache_free_bulk(struct kmem_cache *cache, size_t nr,
				    void **ptrs)
{
	int idx = srcu_read_lock(&mown_wrappers);
	unsigned int frees = cache ? MOWN_FREES_SLAB : MOWN_FREES_KFREE;
	size_t i, left = 0;

	for (i = 0; i < nr; i++)
		if (mown_hooked_free(ptrs[i], frees, false, _RET_IP_))
			ptrs[left++] = ptrs[i];
	if (left)
		kmem_cache_free_bulk(cache, left, ptrs);
	srcu_read_unlock(&mown_wrappers, idx);
}

void mown_wrap_kvfree_call_rcu(struct rcu_head *head, MOWN_RCU_ARG arg)
{
	int idx = srcu_read_lock(&mown_wrappers);
	const void *ptr = (void *)mown_kvfree_call_rcu_ptr((unsigned long)head,
							   (unsigned long)arg);
	struct mown_caller caller;
	bool known = mown_hook_caller(&caller, _RET_IP_) ||
		     mown_recorded_as((unsigned long)ptr) >= 0;

	caller.frees = MOWN_FREES_KVFREE;
	if (ZERO_OR_NULL_PTR(ptr) || !known ||
	    mown_release_rcu(head, ptr, &caller))
		kvfree_call_rcu(head, arg);
	srcu_read_unlock(&mown_wrappers, idx);
}

#endif /* MOWN_HAVE_HOOKS */
