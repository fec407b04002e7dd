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

/* Record what the function has returned to the caller at @site. */
static void *mown_hooked_with(void *ptr, size_t size, gfp_t gfp,
			      enum mown_family family, const void *with,
			      unsigned long site)
{
	struct mown_caller caller;

	if (IS_ERR_OR_NULL(ptr) || !mown_hook_caller(&caller, site))
		return ptr;
	caller.family = family;
	caller.with = with;
	return mown_track(ptr, size, gfp, family, &caller);
}

static void *mown_hooked(void *ptr, size_t size, gfp_t gfp,
			 enum mown_family family, unsigned long site)
{
	return mown_hooked_with(ptr, size, gfp, family, NULL, site);
}

/* Of kmalloc(), which most is. */
static void *mown_hooked_kmalloc(void *ptr, size_t size, gfp_t gfp,
				 unsigned long site)
{
	struct module *mod;

	if (unlikely(READ_ONCE(mown_more_wanted)))
		return mown_hooked(ptr, size, gfp, MOWN_KMALLOC, site);
	mod = mown_hook_module(&site);
	return mod ? mown_track_kmalloc(ptr, size, gfp, mod, MOWN_ATTACHED,
					site) : ptr;
}

/* Of kmalloc() or of vmalloc(), as the address says. */
static void *mown_hooked_kv(void *ptr, size_t size, gfp_t gfp,
			    unsigned long site)
{
	if (IS_ERR(ptr))
		return ptr;
	return is_vmalloc_addr(ptr) ?
	       mown_hooked(ptr, size, gfp, MOWN_VMALLOC, site) :
	       mown_hooked_kmalloc(ptr, size, gfp, site);
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

static struct folio *mown_hooked_folio(struct folio *folio, gfp_t gfp,
				       unsigned int order, unsigned long site)
{
	if (folio && !mown_hooked_pages(&folio->page, gfp, order, site))
		return NULL;
	return folio;
}

/* Each of them is an object. */
static void *mown_hooked_exact(void *addr, size_t size, gfp_t gfp,
			       unsigned long site)
{
	struct mown_caller caller;
	size_t at;

	if (addr && mown_hook_caller(&caller, site)) {
		caller.family = MOWN_PAGES;
		for (at = 0; at < size; at += PAGE_SIZE)
			mown_track(addr + at, PAGE_SIZE, gfp | __GFP_NOFAIL,
				   MOWN_PAGES, &caller);
	}
	return addr;
}

#define __MOWN_WRAP(type, name, params, call, hooked)			\
type mown_wrap_##name params						\
{									\
	struct srcu_struct *srcu = &mown_wrappers;			\
	int idx = srcu_read_lock(srcu);					\
	unsigned long __maybe_unused site = _RET_IP_;			\
	type ret = call;						\
									\
	ret = (type)(hooked);						\
	srcu_read_unlock(srcu, idx);					\
	return ret;							\
}

/* The name may be one of compat.h's. */
#define MOWN_WRAP(type, name, params, args, hooked)			\
	__MOWN_WRAP(type, name, params, name args, hooked)

#define MOWN_WRAP_KMALLOC(name, params, args, size, gfp, site)		\
	MOWN_WRAP(void *, name, params, args,				\
		  mown_hooked_kmalloc(ret, size, gfp, site))

MOWN_WRAP_KMALLOC(MOWN_NOPROF(__kmalloc), (MOWN_SIZE_PARAMS, gfp_t gfp),
		  (MOWN_SIZE_ARGS, gfp), size, gfp, site)
MOWN_WRAP_KMALLOC(MOWN_NOPROF(__kmalloc_node),
		  (MOWN_NODE_PARAMS, gfp_t gfp, int node),
		  (MOWN_NODE_ARGS, gfp, node), size, gfp, site)
MOWN_WRAP_KMALLOC(MOWN_KMALLOC_CACHE,
		  (struct kmem_cache *cache, gfp_t gfp, size_t size),
		  (cache, gfp, size), size, gfp, site)
MOWN_WRAP_KMALLOC(MOWN_KMALLOC_CACHE_NODE,
		  (struct kmem_cache *cache, gfp_t gfp, int node, size_t size),
		  (cache, gfp, node, size), size, gfp, site)
MOWN_WRAP_KMALLOC(MOWN_KMALLOC_LARGE, (size_t size, gfp_t gfp), (size, gfp),
		  size, gfp, site)
MOWN_WRAP_KMALLOC(MOWN_KMALLOC_LARGE_NODE, (size_t size, gfp_t gfp, int node),
		  (size, gfp, node), size, gfp, site)
/* The caller's caller, who is told it, is whose memory it is. */
MOWN_WRAP_KMALLOC(MOWN_NOPROF(__kmalloc_node_track_caller),
		  (MOWN_NODE_PARAMS, gfp_t gfp, int node, unsigned long caller),
		  (MOWN_NODE_ARGS, gfp, node, caller), size, gfp,
		  mown_hook_passed_on(caller))

#define MOWN_WRAP_ALLOC(name, params, args, size, gfp, family)		\
	MOWN_WRAP(void *, name, params, args,				\
		  mown_hooked(ret, size, gfp, family, site))

MOWN_WRAP(void *, MOWN_KVMALLOC_NODE, MOWN_KVMALLOC_PARAMS, MOWN_KVMALLOC_ARGS,
	  mown_hooked_kv(ret, size, gfp, site))
MOWN_WRAP(void *, vmemdup_user, (const void __user *src, size_t len),
	  (src, len), mown_hooked_kv(ret, len, GFP_KERNEL, site) ?:
		      ERR_PTR(-ENOMEM))

MOWN_WRAP_ALLOC(MOWN_NOPROF(vmalloc), (unsigned long size), (size), size, GFP_KERNEL,
		MOWN_VMALLOC)
MOWN_WRAP_ALLOC(MOWN_NOPROF(vzalloc), (unsigned long size), (size), size, GFP_KERNEL,
		MOWN_VMALLOC)
MOWN_WRAP_ALLOC(MOWN_NOPROF(vmalloc_node), (unsigned long size, int node), (size, node),
		size, GFP_KERNEL, MOWN_VMALLOC)
MOWN_WRAP_ALLOC(MOWN_NOPROF(vzalloc_node), (unsigned long size, int node), (size, node),
		size, GFP_KERNEL, MOWN_VMALLOC)
MOWN_WRAP_ALLOC(MOWN_NOPROF(vmalloc_32), (unsigned long size), (size), size, GFP_KERNEL,
		MOWN_VMALLOC)
MOWN_WRAP_ALLOC(MOWN_VMALLOC_HUGE, MOWN_VMALLOC_HUGE_PARAMS,
		MOWN_VMALLOC_HUGE_ARGS, size, gfp, MOWN_VMALLOC)
MOWN_WRAP_ALLOC(MOWN_NOPROF(__vmalloc), (unsigned long size, gfp_t gfp), (size, gfp), size,
		gfp, MOWN_VMALLOC)
MOWN_WRAP_ALLOC(MOWN_NOPROF(vmalloc_array), (size_t n, size_t size), (n, size), n * size,
		GFP_KERNEL, MOWN_VMALLOC)
MOWN_WRAP_ALLOC(MOWN_NOPROF(vcalloc), (size_t n, size_t size), (n, size), n * size,
		GFP_KERNEL, MOWN_VMALLOC)
MOWN_WRAP_ALLOC(MOWN_NOPROF(__vcalloc), (size_t n, size_t size, gfp_t gfp), (n, size, gfp),
		n * size, gfp, MOWN_VMALLOC)

/* User space may have these mapped, so they do not wait: as if charged. */
MOWN_WRAP_ALLOC(MOWN_NOPROF(vmalloc_user), (unsigned long size), (size), size,
		GFP_KERNEL_ACCOUNT, MOWN_VMALLOC)
MOWN_WRAP_ALLOC(MOWN_NOPROF(vmalloc_32_user), (unsigned long size), (size), size,
		GFP_KERNEL_ACCOUNT, MOWN_VMALLOC)

#define MOWN_WRAP_SLAB(name, params, args)				\
	MOWN_WRAP(void *, name, params, args,				\
		  mown_hooked_with(ret, kmem_cache_size(cache), gfp,	\
				   MOWN_SLAB, cache, site))

MOWN_WRAP_SLAB(MOWN_NOPROF(kmem_cache_alloc), (struct kmem_cache *cache, gfp_t gfp),
	       (cache, gfp))
MOWN_WRAP_SLAB(MOWN_NOPROF(kmem_cache_alloc_node),
	       (struct kmem_cache *cache, gfp_t gfp, int node),
	       (cache, gfp, node))
MOWN_WRAP_SLAB(MOWN_NOPROF(kmem_cache_alloc_lru),
	       (struct kmem_cache *cache, struct list_lru *lru, gfp_t gfp),
	       (cache, lru, gfp))

/* Whether there are any. */
static bool mown_hooked_bulk(bool any, struct kmem_cache *cache, gfp_t gfp,
			     size_t nr, void **ptrs, unsigned long site)
{
	size_t i;

	/* All or none, so that no knob may fail one of them. */
	for (i = 0; any && i < nr; i++)
		mown_hooked_with(ptrs[i], kmem_cache_size(cache),
				 gfp | __GFP_NOFAIL, MOWN_SLAB, cache, site);
	return any;
}

MOWN_WRAP(MOWN_BULK, MOWN_NOPROF(kmem_cache_alloc_bulk),
	  (struct kmem_cache *cache, gfp_t gfp, size_t nr, void **ptrs),
	  (cache, gfp, nr, ptrs),
	  mown_hooked_bulk(ret, cache, gfp, nr, ptrs, site) ? ret : 0)

static struct kmem_cache *mown_hooked_cache(struct kmem_cache *cache,
					    slab_flags_t flags, bool has_ctor,
					    unsigned long site)
{
	struct mown_caller caller;

	if (!cache || !mown_hook_caller(&caller, site))
		return cache;
	caller.family = MOWN_CACHE;
	return mown_cache_track(cache, flags, has_ctor, &caller);
}

#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 10, 0)
/* By mown's own, which has a way out where the name is taken. */
#define MOWN_WRAP_CACHE(name, params, args)				\
	__MOWN_WRAP(struct kmem_cache *, name, params,			\
		    __mown_kmem_cache_create args,			\
		    mown_hooked_cache(ret, flags, ctor, site))

MOWN_WRAP_CACHE(kmem_cache_create,
		(const char *name, unsigned int size, unsigned int align,
		 slab_flags_t flags, void (*ctor)(void *)),
		(name, size, align, flags, 0, 0, ctor))
MOWN_WRAP_CACHE(kmem_cache_create_usercopy,
		(const char *name, unsigned int size, unsigned int align,
		 slab_flags_t flags, unsigned int useroffset,
		 unsigned int usersize, void (*ctor)(void *)),
		(name, size, align, flags, useroffset, usersize, ctor))
MOWN_WRAP(mempool_t *, mempool_create,
	  (int min, mempool_alloc_t *alloc, mempool_free_t *free, void *data),
	  (min, alloc, free, data),
	  mown_hooked(ret, sizeof(mempool_t), GFP_KERNEL, MOWN_MEMPOOL, site))
#else
MOWN_WRAP(struct kmem_cache *, __kmem_cache_create_args,
	  (const char *name, unsigned int size, struct kmem_cache_args *args,
	   slab_flags_t flags), (name, size, args, flags | __MOWN_CACHE_FLAGS),
	  mown_hooked_cache(ret, flags, args->ctor, site))
#endif

MOWN_WRAP(mempool_t *, MOWN_NOPROF(mempool_create_node),
	  (int min, mempool_alloc_t *alloc, mempool_free_t *free, void *data,
	   gfp_t gfp, int node), (min, alloc, free, data, gfp, node),
	  mown_hooked(ret, sizeof(mempool_t), gfp, MOWN_MEMPOOL, site))

static void *mown_hooked_element(void *ptr, gfp_t gfp, const mempool_t *pool,
				 unsigned long site)
{
	struct mown_caller caller;

	if (!ptr || !mown_hook_caller(&caller, site))
		return ptr;
	caller.family = MOWN_ELEMENT;
	caller.with = pool;
	return mown_element_track(ptr, gfp, &caller);
}

MOWN_WRAP(void *, MOWN_NOPROF(mempool_alloc), (mempool_t *pool, gfp_t gfp), (pool, gfp),
	  mown_hooked_element(ret, gfp, pool, site))

#ifdef CONFIG_NUMA
MOWN_WRAP(struct page *, MOWN_NOPROF(alloc_pages), (gfp_t gfp, unsigned int order),
	  (gfp, order), mown_hooked_pages(ret, gfp, order, site))
MOWN_WRAP(struct folio *, MOWN_NOPROF(folio_alloc), (gfp_t gfp, unsigned int order),
	  (gfp, order), mown_hooked_folio(ret, gfp, order, site))
#endif
MOWN_WRAP(struct page *, MOWN_NOPROF(__alloc_pages),
	  (gfp_t gfp, unsigned int order, int node, nodemask_t *mask),
	  (gfp, order, node, mask), mown_hooked_pages(ret, gfp, order, site))
MOWN_WRAP(struct folio *, MOWN_NOPROF(__folio_alloc),
	  (gfp_t gfp, unsigned int order, int node, nodemask_t *mask),
	  (gfp, order, node, mask), mown_hooked_folio(ret, gfp, order, site))
MOWN_WRAP(unsigned long, MOWN_GET_FREE_PAGES,
	  (gfp_t gfp, unsigned int order), (gfp, order),
	  mown_hooked((void *)ret, __mown_order_size(order), gfp, MOWN_PAGES,
		      site))
MOWN_WRAP(unsigned long, MOWN_NOPROF(get_zeroed_page), (gfp_t gfp), (gfp),
	  mown_hooked((void *)ret, PAGE_SIZE, gfp, MOWN_PAGES, site))
MOWN_WRAP(void *, MOWN_NOPROF(alloc_pages_exact), (size_t size, gfp_t gfp),
	  (size, gfp),
	  mown_hooked_exact(ret, size, gfp, site))

static void __percpu *mown_hooked_percpu(void __percpu *cookie, size_t size,
					 gfp_t gfp, unsigned long site)
{
	unsigned long key = mown_percpu_key(__mown_from_percpu(cookie));

	if (cookie && !mown_hooked((void *)key, size, gfp, MOWN_PERCPU, site))
		return NULL;
	return cookie;
}

#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 10, 0)
MOWN_WRAP(void __percpu *, __alloc_percpu, (size_t size, size_t align),
	  (size, align), mown_hooked_percpu(ret, size, GFP_KERNEL, site))
MOWN_WRAP(void __percpu *, __alloc_percpu_gfp,
	  (size_t size, size_t align, gfp_t gfp), (size, align, gfp),
	  mown_hooked_percpu(ret, size, gfp, site))
#else
MOWN_WRAP(void __percpu *, pcpu_alloc_noprof,
	  (size_t size, size_t align, bool reserved, gfp_t gfp),
	  (size, align, reserved, gfp),
	  mown_hooked_percpu(ret, size, gfp, site))
#endif

#define __MOWN_WRAP_DMA(type, name, params, args, alloc, _family)		\
type mown_wrap_##name params						\
{									\
	int idx = srcu_read_lock(&mown_wrappers);			\
	struct mown_caller caller;					\
	type ret;							\
									\
	if (mown_hook_caller(&caller, _RET_IP_)) {			\
		caller.family = _family;				\
		ret = alloc;						\
	} else {							\
		ret = name args;					\
	}								\
	srcu_read_unlock(&mown_wrappers, idx);				\
	return ret;							\
}

#define MOWN_WRAP_DMA(type, name, params, args, alloc, family)		\
	__MOWN_WRAP_DMA(type, name, params, args, alloc, family)

MOWN_WRAP_DMA(void *, dma_alloc_attrs,
	      (struct device *dev, size_t size, dma_addr_t *handle, gfp_t gfp,
	       unsigned long attrs), (dev, size, handle, gfp, attrs),
	      mown_dma_alloc(dev, size, handle, gfp, attrs, &caller), MOWN_DMA)
MOWN_WRAP_DMA(struct dma_pool *, MOWN_DMA_POOL_CREATE, MOWN_DMA_POOL_PARAMS,
	      MOWN_DMA_POOL_ARGS,
	      mown_dma_pool_new(name, dev, size, align, boundary, &caller),
	      MOWN_DMA_POOL)
MOWN_WRAP_DMA(void *, dma_pool_alloc,
	      (struct dma_pool *pool, gfp_t gfp, dma_addr_t *handle),
	      (pool, gfp, handle),
	      mown_dma_block_alloc(pool, gfp, handle, &caller), MOWN_DMA_BLOCK)

#define __MOWN_WRAP_REALLOC(name, params, args, plain, _frees)		\
void *mown_wrap_##name params						\
{									\
	int idx = srcu_read_lock(&mown_wrappers);			\
	struct mown_caller caller;					\
	void *ret;							\
									\
	if (mown_hook_caller(&caller, _RET_IP_) && (plain)) {		\
		caller.frees = _frees;					\
		ret = mown_realloc(ptr, size, gfp, &caller);		\
	} else {							\
		ret = name args;					\
	}								\
	srcu_read_unlock(&mown_wrappers, idx);				\
	return ret;							\
}

#define MOWN_WRAP_REALLOC(name, frees)					\
	__MOWN_WRAP_REALLOC(name, MOWN_KREALLOC_PARAMS,			\
			    MOWN_KREALLOC_ARGS, MOWN_KREALLOC_PLAIN, frees)

MOWN_WRAP_REALLOC(MOWN_KREALLOC, MOWN_FREES_KFREE)
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 12, 0)
MOWN_WRAP_REALLOC(MOWN_KVREALLOC, MOWN_FREES_KVFREE)
#endif

/* ---- Release ---- */

static noinline bool mown_hooked_release(const void *ptr,
					 enum mown_family family,
					 unsigned int frees, const void *with,
					 size_t size, bool sensitive,
					 struct module *mod, unsigned long site)
{
	const struct mown_caller caller = {
		.mod = mod,
		.way = mod ? MOWN_ATTACHED : MOWN_ANYBODY,
		.site = site,
		.family = family,
		.frees = frees,
		.with = with,
		.size = size,
		.no_wait = family == MOWN_ELEMENT,
	};

	return mown_release(ptr, &caller, sensitive);
}

/*
 * True if the function is to be called for @ptr. It names @with and @size, if they
 * are not NULL or 0.
 */
static __always_inline bool
mown_hooked_free_as(const void *ptr, enum mown_family family,
		    unsigned int frees, const void *with, size_t size,
		    bool sensitive, unsigned long site)
{
	struct module *mod;

	if (ZERO_OR_NULL_PTR(ptr))
		return true;
	mod = mown_hook_module(&site);
	/* The filter's word is not the last; and the kernel pays for no more. */
	if (!mod && mown_recorded_as((unsigned long)ptr) < 0)
		return true;
	if (mod && frees & BIT(MOWN_KMALLOC) && !sensitive)
		return mown_release_kmalloc(ptr, mod, MOWN_ATTACHED, site,
					    frees);
	return mown_hooked_release(ptr, family, frees, with, size, sensitive,
				   mod, site);
}

static __always_inline bool mown_hooked_free(const void *ptr,
					     unsigned int frees, bool sensitive,
					     unsigned long site)
{
	return mown_hooked_free_as(ptr, __ffs(frees), frees, NULL, 0, sensitive,
				   site);
}

/* The same of a family whose memory another's record may stand for. */
static bool mown_hooked_free_of(const void *ptr, enum mown_family family,
				const void *with, size_t size,
				unsigned long site)
{
	return mown_recorded_as((unsigned long)ptr) != family ||
	       mown_hooked_free_as(ptr, family, BIT(family), with, size, false,
				   site);
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
MOWN_WRAP_FREE(mempool_destroy, (mempool_t *pool), (pool), pool,
	       BIT(MOWN_MEMPOOL), false)
MOWN_WRAP_FREE(dma_pool_destroy, (struct dma_pool *pool), (pool), pool,
	       BIT(MOWN_DMA_POOL), false)

static bool mown_hooked_free_percpu(const void *cookie, unsigned long site)
{
	return !cookie || mown_hooked_free_as((void *)mown_percpu_key(cookie),
					      MOWN_PERCPU, BIT(MOWN_PERCPU),
					      NULL, 0, false, site);
}

#define MOWN_WRAP_FREE_IF(name, params, args, call)			\
void mown_wrap_##name params						\
{									\
	int idx = srcu_read_lock(&mown_wrappers);			\
	unsigned long site = _RET_IP_;					\
									\
	if (call)							\
		name args;						\
	srcu_read_unlock(&mown_wrappers, idx);				\
}

MOWN_WRAP_FREE_IF(kmem_cache_free, (struct kmem_cache *cache, void *ptr),
		  (cache, ptr),
		  mown_hooked_free_as(ptr, MOWN_SLAB, MOWN_FREES_SLAB, cache, 0,
				      false, site))
/*
 * It goes back to its pool, as does what that is made of: what the module's own function
 * allocated stays.
 */
static bool mown_hooked_free_element(const void *ptr, const mempool_t *pool,
				     unsigned long site)
{
	int family = mown_recorded_as((unsigned long)ptr);
	struct module *mod;

	if (family < 0 || !(mown_pool_frees(pool) & BIT(family)))
		return true;
	mod = mown_hook_module(&site);
	return mown_hooked_release(ptr, MOWN_ELEMENT, mown_pool_frees(pool),
				   pool, 0, false, mod, site);
}

MOWN_WRAP_FREE_IF(mempool_free, (void *ptr, mempool_t *pool), (ptr, pool),
		  mown_hooked_free_element(ptr, pool, site))
MOWN_WRAP_FREE_IF(dma_free_attrs,
		  (struct device *dev, size_t size, void *ptr,
		   dma_addr_t handle, unsigned long attrs),
		  (dev, size, ptr, handle, attrs),
		  mown_hooked_free_of(ptr, MOWN_DMA, dev, size, site))
MOWN_WRAP_FREE_IF(dma_pool_free,
		  (struct dma_pool *pool, void *ptr, dma_addr_t handle),
		  (pool, ptr, handle),
		  mown_hooked_free_of(ptr, MOWN_DMA_BLOCK, pool, 0, site))
MOWN_WRAP_FREE_IF(__free_pages, (struct page *page, unsigned int order),
		  (page, order),
		  mown_hooked_free_as(__mown_page_address(page), MOWN_PAGES,
				      BIT(MOWN_PAGES), NULL,
				      __mown_order_size(order), false, site))
MOWN_WRAP_FREE_IF(free_pages, (unsigned long addr, unsigned int order),
		  (addr, order),
		  mown_hooked_free_as((void *)addr, MOWN_PAGES,
				      BIT(MOWN_PAGES), NULL,
				      __mown_order_size(order), false, site))
MOWN_WRAP_FREE_IF(free_percpu, (void __percpu *ptr), (ptr),
		  mown_hooked_free_percpu(__mown_from_percpu(ptr), site))

/* Page by page, as the kernel does. */
void mown_wrap_free_pages_exact(void *addr, size_t size)
{
	int idx = srcu_read_lock(&mown_wrappers);
	size_t at;

	for (at = 0; addr && at < size; at += PAGE_SIZE)
		if (mown_hooked_free_as(addr + at, MOWN_PAGES, BIT(MOWN_PAGES),
					NULL, PAGE_SIZE, false, _RET_IP_))
			free_page((unsigned long)addr + at);
	srcu_read_unlock(&mown_wrappers, idx);
}

void mown_wrap_split_page(struct page *page, unsigned int order)
{
	int idx = srcu_read_lock(&mown_wrappers);

	if (!PageHighMem(page))
		mown_split((unsigned long)page_address(page));
	split_page(page, order);
	srcu_read_unlock(&mown_wrappers, idx);
}

void mown_wrap_kmem_cache_destroy(struct kmem_cache *cache)
{
	int idx = srcu_read_lock(&mown_wrappers);
	bool recorded = mown_recorded_as((unsigned long)cache) == MOWN_CACHE;

	if (mown_cache_passes(cache) ||
	    mown_hooked_free(cache, BIT(MOWN_CACHE), false, _RET_IP_)) {
		if (cache)
			mown_cache_ends(cache, recorded);
		kmem_cache_destroy(cache);
	}
	srcu_read_unlock(&mown_wrappers, idx);
}

void mown_wrap_kmem_cache_free_bulk(struct kmem_cache *cache, size_t nr,
				    void **ptrs)
{
	int idx = srcu_read_lock(&mown_wrappers);
	unsigned int frees = cache ? MOWN_FREES_SLAB : MOWN_FREES_KFREE;
	size_t i, left = 0;

	for (i = 0; i < nr; i++)
		if (mown_hooked_free_as(ptrs[i], cache ? MOWN_SLAB : MOWN_KMALLOC,
					frees, cache, 0, false, _RET_IP_))
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
