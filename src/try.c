// SPDX-License-Identifier: GPL-2.0
/*
 * Does each hook redirect? Tried once, when something is first attached: one
 * function here calls what is hooked as an attached module would, and whose call
 * does not arrive is taken out. Functions that want a device are not tried: there
 * is none to be had without making one.
 */
#include "attach.h"

#ifdef MOWN_HAVE_HOOKS

struct mown_trial {
	struct rcu_head rcu;
	unsigned long bytes[4];
};

/* Make a call that frees or allocates, and see whether it is redirected. */
#define TRY(_func, ...)							\
do {									\
	unsigned long before = mown_hook_calls();			\
									\
	__VA_ARGS__;							\
	barrier();							\
	mown_hook_tried(__stringify(_func), mown_hook_calls() != before); \
} while (0)

#define TRY_NOPROF(_func, ...) TRY(MOWN_NOPROF(_func), __VA_ARGS__)

static void *mown_trial_element(gfp_t gfp, void *unused)
{
	return NULL;
}

static void mown_trial_element_free(void *ptr, void *unused) {}

/* Its text passes for that of an attached module. Nothing of it may be inlined. */
noinline void mown_try(void)
{
	int node = numa_mem_id();
	struct kmem_cache *cache = NULL, *other = NULL;
	size_t small = 32, large = 2 * KMALLOC_MAX_CACHE_SIZE;
	struct mown_trial *trial = NULL;
	void __percpu *cookie = NULL;
	mempool_t *pool = NULL;
	struct folio *folio = NULL;
	struct page *page = NULL;
	unsigned long addr = 0;
	void *ptr = NULL, *ptrs[2];

	OPTIMIZER_HIDE_VAR(small);
	TRY(MOWN_KMALLOC_CACHE, ptr = kmalloc(32, GFP_KERNEL));
	TRY(kfree, kfree(ptr));
	TRY(MOWN_KMALLOC_CACHE_NODE, ptr = kmalloc_node(32, GFP_KERNEL, node));
	TRY(kvfree, kvfree(ptr));
	TRY(MOWN_KMALLOC_LARGE,
	    ptr = kmalloc(2 * KMALLOC_MAX_CACHE_SIZE, GFP_KERNEL));
	TRY(kfree_sensitive, kfree_sensitive(ptr));
	TRY(MOWN_KMALLOC_LARGE_NODE,
	    ptr = kmalloc_node(2 * KMALLOC_MAX_CACHE_SIZE, GFP_KERNEL, node));
	TRY(kvfree_sensitive, kvfree_sensitive(ptr, large));
	TRY_NOPROF(__kmalloc, ptr = kmalloc(small, GFP_KERNEL));
	TRY(MOWN_KREALLOC, ptrs[0] = krealloc(ptr, 300, GFP_KERNEL));
	kfree(ptrs[0] ?: ptr);
	TRY_NOPROF(__kmalloc_node, ptr = kmalloc_node(small, GFP_KERNEL, node));
	kfree(ptr);
	TRY_NOPROF(__kmalloc_node_track_caller,
		   ptr = kmemdup(&small, sizeof(small), GFP_KERNEL));
	kfree(ptr);
	TRY(MOWN_KVMALLOC_NODE, ptr = kvmalloc(small, GFP_KERNEL));
	kvfree(ptr);
	trial = kmalloc(sizeof(*trial), GFP_KERNEL);
	if (trial)
		TRY(kvfree_call_rcu, kfree_rcu(trial, rcu));
	if (current->mm) {
		TRY(vmemdup_user, ptr = vmemdup_user((void __user *)
					current->mm->arg_start, 1));
		if (!IS_ERR(ptr))
			kvfree(ptr);
	}

#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 12, 0)
	TRY(MOWN_KVREALLOC, ptr = kvrealloc(NULL, small, GFP_KERNEL));
	kvfree(ptr);
#endif
	TRY_NOPROF(vmalloc, ptr = vmalloc(small));
	TRY(vfree, vfree(ptr));
	TRY_NOPROF(vzalloc, ptr = vzalloc(small));
	vfree(ptr);
	TRY_NOPROF(vmalloc_node, ptr = vmalloc_node(small, node));
	vfree(ptr);
	TRY_NOPROF(vzalloc_node, ptr = vzalloc_node(small, node));
	vfree(ptr);
	TRY_NOPROF(vmalloc_user, ptr = vmalloc_user(small));
	vfree(ptr);
	TRY_NOPROF(vmalloc_32, ptr = vmalloc_32(small));
	vfree(ptr);
	TRY_NOPROF(vmalloc_32_user, ptr = vmalloc_32_user(small));
	vfree(ptr);
	TRY(MOWN_VMALLOC_HUGE, ptr = vmalloc_huge(small, GFP_KERNEL));
	vfree(ptr);
	TRY_NOPROF(__vmalloc, ptr = __vmalloc(small, GFP_KERNEL));
	vfree(ptr);
	TRY_NOPROF(vmalloc_array, ptr = vmalloc_array(2, small));
	vfree(ptr);
	TRY_NOPROF(vcalloc, ptr = vcalloc(2, small));
	vfree(ptr);
	TRY_NOPROF(__vcalloc, ptr = __vcalloc(2, small, GFP_KERNEL));
	vfree(ptr);

	TRY(MOWN_CACHE_CREATE,
	    cache = kmem_cache_create("mown_trial", 64, 0, 0, NULL));
	TRY(kmem_cache_create_usercopy, other =
	    kmem_cache_create_usercopy("mown_trial_2", 64, 0, 0, 0, 8, NULL));
	if (cache) {
		TRY_NOPROF(kmem_cache_alloc,
			   ptr = kmem_cache_alloc(cache, GFP_KERNEL));
		if (ptr)
			TRY(kmem_cache_free, kmem_cache_free(cache, ptr));
		TRY_NOPROF(kmem_cache_alloc_node,
			   ptr = kmem_cache_alloc_node(cache, GFP_KERNEL, node));
		kfree(ptr);
		TRY_NOPROF(kmem_cache_alloc_lru,
			   ptr = kmem_cache_alloc_lru(cache, NULL, GFP_KERNEL));
		kfree(ptr);
		addr = 0;
		TRY_NOPROF(kmem_cache_alloc_bulk,
			   addr = kmem_cache_alloc_bulk(cache, GFP_KERNEL,
							ARRAY_SIZE(ptrs), ptrs));
		if (addr)
			TRY(kmem_cache_free_bulk,
			    kmem_cache_free_bulk(cache, ARRAY_SIZE(ptrs), ptrs));
	}
	TRY(kmem_cache_destroy, kmem_cache_destroy(cache));
	kmem_cache_destroy(other);

	TRY_NOPROF(mempool_create_node, pool =
	    mempool_create_node(0, mown_trial_element, mown_trial_element_free,
				NULL, GFP_KERNEL, node));
	mempool_destroy(pool);
	TRY(mempool_create, pool = mempool_create_kmalloc_pool(1, 32));
	if (pool) {
		TRY_NOPROF(mempool_alloc, ptr = mempool_alloc(pool, GFP_KERNEL));
		mempool_free(ptr, pool);
	}
	TRY(mempool_destroy, mempool_destroy(pool));

	TRY_NOPROF(alloc_pages, page = alloc_pages(GFP_KERNEL, 1));
	if (page) {
		TRY(split_page, split_page(page, 1));
		TRY(__free_pages, __free_pages(page, 0));
		__free_pages(page + 1, 0);
	}
	TRY_NOPROF(folio_alloc, folio = folio_alloc(GFP_KERNEL, 0));
	if (folio)
		folio_put(folio);
	TRY_NOPROF(__folio_alloc, folio = __folio_alloc_node(GFP_KERNEL, 0, node));
	if (folio)
		folio_put(folio);
	TRY_NOPROF(__alloc_pages, page = __alloc_pages(GFP_KERNEL, 0, node, NULL));
	if (page)
		__free_pages(page, 0);
	TRY(MOWN_GET_FREE_PAGES, addr = __get_free_pages(GFP_KERNEL, 1));
	TRY(free_pages, free_pages(addr, 1));
	TRY_NOPROF(get_zeroed_page, addr = get_zeroed_page(GFP_KERNEL));
	free_pages(addr, 0);
	TRY_NOPROF(alloc_pages_exact, ptr = alloc_pages_exact(PAGE_SIZE, GFP_KERNEL));
	if (ptr)
		TRY(free_pages_exact, free_pages_exact(ptr, PAGE_SIZE));
	TRY(MOWN_PERCPU_ALLOC, cookie = __alloc_percpu(8, 8));
	TRY(free_percpu, free_percpu(cookie));
	TRY(__alloc_percpu_gfp, cookie = __alloc_percpu_gfp(8, 8, GFP_KERNEL));
	free_percpu(cookie);
}

#endif /* MOWN_HAVE_HOOKS */
