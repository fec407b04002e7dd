/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The functions that an attached module's calls are redirected from, and by
 * what a call is known to concern mown. hooks.c makes its table of this file,
 * wrap.c has a wrapper of each, selftests/attach_coverage.py counts them.
 *
 * MOWN_HOOK(function, how), MOWN_HELPER(function):
 *	MOWN_BY_CALLER		the return address is an attached module's
 *	MOWN_BY_ARGUMENT	an argument is, being the caller of who calls
 *	MOWN_BY_POINTER_n	the return address is, or that argument is recorded
 *	MOWN_BY_NET		net.c has the function, and redirects from it
 *
 * What ends in one of these by a jump needs no hook of its own: it is the
 * module's call all the same. Helpers that call are named at the end: their
 * caller is sought on the stack. Names that differ by version are in compat.h.
 */
MOWN_HOOK(MOWN_NOPROF(__kmalloc), MOWN_BY_CALLER);
MOWN_HOOK(MOWN_NOPROF(__kmalloc_node), MOWN_BY_CALLER);
MOWN_HOOK(MOWN_NOPROF(__kmalloc_node_track_caller), MOWN_BY_ARGUMENT);
MOWN_HOOK(MOWN_KMALLOC_CACHE, MOWN_BY_CALLER);
MOWN_HOOK(MOWN_KMALLOC_CACHE_NODE, MOWN_BY_CALLER);
MOWN_HOOK(MOWN_KMALLOC_LARGE, MOWN_BY_CALLER);
MOWN_HOOK(MOWN_KMALLOC_LARGE_NODE, MOWN_BY_CALLER);
MOWN_HOOK(MOWN_KREALLOC, MOWN_BY_CALLER);
MOWN_HOOK(MOWN_KVMALLOC_NODE, MOWN_BY_CALLER);
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 12, 0)
MOWN_HOOK(MOWN_KVREALLOC, MOWN_BY_CALLER);
#endif
MOWN_HOOK(vmemdup_user, MOWN_BY_CALLER);
MOWN_HOOK(MOWN_NOPROF(vmalloc), MOWN_BY_CALLER);
MOWN_HOOK(MOWN_NOPROF(vzalloc), MOWN_BY_CALLER);
MOWN_HOOK(MOWN_NOPROF(vmalloc_node), MOWN_BY_CALLER);
MOWN_HOOK(MOWN_NOPROF(vzalloc_node), MOWN_BY_CALLER);
MOWN_HOOK(MOWN_NOPROF(vmalloc_user), MOWN_BY_CALLER);
MOWN_HOOK(MOWN_NOPROF(vmalloc_32), MOWN_BY_CALLER);
MOWN_HOOK(MOWN_NOPROF(vmalloc_32_user), MOWN_BY_CALLER);
MOWN_HOOK(MOWN_VMALLOC_HUGE, MOWN_BY_CALLER);
MOWN_HOOK(MOWN_NOPROF(__vmalloc), MOWN_BY_CALLER);
MOWN_HOOK(MOWN_NOPROF(vmalloc_array), MOWN_BY_CALLER);
MOWN_HOOK(MOWN_NOPROF(vcalloc), MOWN_BY_CALLER);
MOWN_HOOK(MOWN_NOPROF(__vcalloc), MOWN_BY_CALLER);
MOWN_HOOK(MOWN_NOPROF(kmem_cache_alloc), MOWN_BY_CALLER);
MOWN_HOOK(MOWN_NOPROF(kmem_cache_alloc_node), MOWN_BY_CALLER);
MOWN_HOOK(MOWN_NOPROF(kmem_cache_alloc_lru), MOWN_BY_CALLER);
MOWN_HOOK(MOWN_NOPROF(kmem_cache_alloc_bulk), MOWN_BY_CALLER);
MOWN_HOOK(MOWN_CACHE_CREATE, MOWN_BY_CALLER);
MOWN_HOOK(MOWN_PERCPU_ALLOC, MOWN_BY_CALLER);
#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 10, 0)
MOWN_HOOK(kmem_cache_create_usercopy, MOWN_BY_CALLER);
MOWN_HOOK(mempool_create, MOWN_BY_CALLER);
MOWN_HOOK(__alloc_percpu_gfp, MOWN_BY_CALLER);
#endif
MOWN_HOOK(MOWN_NOPROF(mempool_create_node), MOWN_BY_CALLER);
MOWN_HOOK(MOWN_NOPROF(mempool_alloc), MOWN_BY_CALLER);
/* Without nodes it is a part of its callers. */
#ifdef CONFIG_NUMA
MOWN_HOOK(MOWN_NOPROF(alloc_pages), MOWN_BY_CALLER);
MOWN_HOOK(MOWN_NOPROF(folio_alloc), MOWN_BY_CALLER);
#endif
MOWN_HOOK(MOWN_NOPROF(__alloc_pages), MOWN_BY_CALLER);
MOWN_HOOK(MOWN_NOPROF(__folio_alloc), MOWN_BY_CALLER);
MOWN_HOOK(MOWN_GET_FREE_PAGES, MOWN_BY_CALLER);
MOWN_HOOK(MOWN_NOPROF(get_zeroed_page), MOWN_BY_CALLER);
MOWN_HOOK(MOWN_NOPROF(alloc_pages_exact), MOWN_BY_CALLER);
MOWN_HOOK(dma_alloc_attrs, MOWN_BY_CALLER);
MOWN_HOOK(MOWN_DMA_POOL_CREATE, MOWN_BY_CALLER);
MOWN_HOOK(dma_pool_alloc, MOWN_BY_CALLER);

MOWN_HOOK(kfree, MOWN_BY_POINTER_0);
MOWN_HOOK(kfree_sensitive, MOWN_BY_POINTER_0);
MOWN_HOOK(kvfree, MOWN_BY_POINTER_0);
MOWN_HOOK(kvfree_sensitive, MOWN_BY_POINTER_0);
MOWN_HOOK(kmem_cache_free, MOWN_BY_POINTER_1);
MOWN_HOOK(__free_pages, MOWN_BY_CALLER);
MOWN_HOOK(free_pages, MOWN_BY_CALLER);
MOWN_HOOK(free_pages_exact, MOWN_BY_CALLER);
MOWN_HOOK(kmem_cache_destroy, MOWN_BY_POINTER_0);
MOWN_HOOK(mempool_destroy, MOWN_BY_POINTER_0);
MOWN_HOOK(free_percpu, MOWN_BY_CALLER);
MOWN_HOOK(dma_pool_destroy, MOWN_BY_POINTER_0);

MOWN_HOOK(vfree, MOWN_BY_NET);
MOWN_HOOK(kvfree_call_rcu, MOWN_BY_NET);
MOWN_HOOK(kmem_cache_free_bulk, MOWN_BY_NET);
MOWN_HOOK(mempool_free, MOWN_BY_NET);
MOWN_HOOK(dma_free_attrs, MOWN_BY_NET);
MOWN_HOOK(dma_pool_free, MOWN_BY_NET);
MOWN_HOOK(split_page, MOWN_BY_NET);

MOWN_HELPER(kasprintf);
#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 12, 0)
MOWN_HELPER(kvrealloc);
#else
MOWN_HELPER(kvmemdup);
MOWN_HELPER(kmemdup_array);
#endif
MOWN_HELPER(strndup_user);
MOWN_HELPER(argv_split);
#ifdef CONFIG_NET
MOWN_HELPER(nla_strdup);
MOWN_HELPER(sock_kmalloc);
#endif
#ifdef CONFIG_CPUMASK_OFFSTACK
MOWN_HELPER(alloc_cpumask_var_node);
#endif
MOWN_HELPER(devm_kasprintf);
MOWN_HELPER(devm_kvasprintf);
MOWN_HELPER(devm_kstrdup);
MOWN_HELPER(devm_kmemdup);
MOWN_HELPER(dmam_alloc_attrs);
MOWN_HELPER(dmam_pool_create);
MOWN_HELPER(devm_get_free_pages);
MOWN_HELPER(__devm_alloc_percpu);
