/* SPDX-License-Identifier: GPL-2.0 */
/*
 * mown for a module that calls the kernel's allocator by its own names: no
 * source line changes, one line in the module's Kbuild file does it.
 *
 *	ccflags-y += -I$(MOWN)/include -DCONFIG_MOWN_MODULE=1 \
 *		     -include linux/mown_override.h
 *
 * Unlike the API by its own names this way in takes into account that nobody
 * has gone through the module for it: a free of memory that is not recorded
 * is passed on to the kernel, and what is left behind when the module goes
 * away is reported, not given back (policy/unknown_free, policy/left_behind).
 *
 * The kernel's headers come first: their own inline functions call the
 * kernel's allocator. A function used as a value (`.release = kfree`) is not
 * mapped either. Both are seen by the net when they free recorded memory.
 */
#ifndef _LINUX_MOWN_OVERRIDE_H
#define _LINUX_MOWN_OVERRIDE_H

#define MOWN_WAY MOWN_DROPIN
#include <linux/mown.h>

/* Some are macros already, in this kernel or in a later one. */
#undef kmalloc
#undef kmalloc_node
#undef kzalloc
#undef kzalloc_node
#undef kmalloc_array
#undef kmalloc_array_node
#undef kcalloc
#undef kcalloc_node
#undef krealloc
#undef krealloc_array
#undef kmemdup
#undef kmemdup_nul
#undef kstrdup
#undef kstrndup
#undef kvasprintf
#undef kasprintf
#undef memdup_user
#undef memdup_user_nul
#undef bitmap_alloc
#undef bitmap_zalloc
#undef bitmap_alloc_node
#undef bitmap_zalloc_node
#undef kfree
#undef kfree_sensitive
#undef kvfree
#undef bitmap_free
#undef kfree_bulk
#undef kfree_rcu
#undef kvfree_rcu
#undef kfree_rcu_mightsleep
#undef kvfree_rcu_mightsleep
#undef vmalloc
#undef vzalloc
#undef vmalloc_node
#undef vzalloc_node
#undef vmalloc_32
#undef __vmalloc
#undef vmalloc_huge
#undef vmalloc_user
#undef vmalloc_32_user
#undef __vmalloc_array
#undef vmalloc_array
#undef __vcalloc
#undef vcalloc
#undef vfree
#undef kvmalloc
#undef kvmalloc_node
#undef kvzalloc
#undef kvzalloc_node
#undef kvmalloc_array
#undef kvcalloc
#undef vmemdup_user
#undef strndup_user
#undef kvfree_sensitive
#undef alloc_pages
#undef alloc_pages_node
#undef alloc_page
#undef __get_free_pages
#undef __get_free_page
#undef get_zeroed_page
#undef __free_pages
#undef __free_page
#undef free_pages
#undef free_page
#undef alloc_pages_exact
#undef free_pages_exact
#undef split_page
#undef kmem_cache_create_usercopy
#undef kmem_cache_destroy
#undef kmem_cache_alloc
#undef kmem_cache_zalloc
#undef kmem_cache_alloc_node
#undef kmem_cache_alloc_lru
#undef kmem_cache_alloc_bulk
#undef kmem_cache_free
#undef kmem_cache_free_bulk
#undef mempool_create
#undef mempool_create_node
#undef mempool_create_slab_pool
#undef mempool_create_kmalloc_pool
#undef mempool_create_page_pool
#undef mempool_destroy
#undef mempool_alloc
#undef mempool_free
#undef __alloc_percpu
#undef __alloc_percpu_gfp
#undef alloc_percpu
#undef alloc_percpu_gfp
#undef free_percpu
#undef dma_alloc_attrs
#undef dma_alloc_coherent
#undef dma_alloc_wc
#undef dma_free_attrs
#undef dma_free_coherent
#undef dma_free_wc
#undef dma_pool_create
#undef dma_pool_destroy
#undef dma_pool_alloc
#undef dma_pool_zalloc
#undef dma_pool_free
#undef devm_kmalloc
#undef devm_kzalloc
#undef devm_kmalloc_array
#undef devm_kcalloc
#undef devm_krealloc
#undef devm_krealloc_array
#undef alloc_inode_sb
#undef devm_kmemdup
#undef devm_kstrdup
#undef devm_kvasprintf
#undef devm_kasprintf
#undef devm_kfree
#undef ksize
#undef kmalloc_size_roundup

#define kmalloc(size, flags) mown_kmalloc(size, flags)
#define kmalloc_node(size, flags, node) mown_kmalloc_node(size, flags, node)
#define kzalloc(size, flags) mown_kzalloc(size, flags)
#define kzalloc_node(size, flags, node) mown_kzalloc_node(size, flags, node)
#define kmalloc_array(n, size, flags) mown_kmalloc_array(n, size, flags)
#define kmalloc_array_node(n, size, flags, node) \
	mown_kmalloc_array_node(n, size, flags, node)
#define kcalloc(n, size, flags) mown_kcalloc(n, size, flags)
#define kcalloc_node(n, size, flags, node) \
	mown_kcalloc_node(n, size, flags, node)
#define krealloc(ptr, size, flags) mown_krealloc(ptr, size, flags)
#define krealloc_array(ptr, n, size, flags) \
	mown_krealloc_array(ptr, n, size, flags)
#define kmemdup(src, len, flags) mown_kmemdup(src, len, flags)
#define kmemdup_nul(src, len, flags) mown_kmemdup_nul(src, len, flags)
#define kstrdup(str, flags) mown_kstrdup(str, flags)
#define kstrndup(str, max, flags) mown_kstrndup(str, max, flags)
#define kvasprintf(flags, fmt, args) mown_kvasprintf(flags, fmt, args)
#define kasprintf(flags, fmt, ...) mown_kasprintf(flags, fmt, ##__VA_ARGS__)
#define memdup_user(src, len) mown_memdup_user(src, len)
#define memdup_user_nul(src, len) mown_memdup_user_nul(src, len)
#define bitmap_alloc(nbits, flags) mown_bitmap_alloc(nbits, flags)
#define bitmap_zalloc(nbits, flags) mown_bitmap_zalloc(nbits, flags)
#define bitmap_alloc_node(nbits, flags, node) \
	mown_bitmap_alloc_node(nbits, flags, node)
#define bitmap_zalloc_node(nbits, flags, node) \
	mown_bitmap_zalloc_node(nbits, flags, node)
#define vmalloc(size) mown_vmalloc(size)
#define vzalloc(size) mown_vzalloc(size)
#define vmalloc_node(size, node) mown_vmalloc_node(size, node)
#define vzalloc_node(size, node) mown_vzalloc_node(size, node)
#define vmalloc_32(size) mown_vmalloc_32(size)
#define __vmalloc(size, flags) mown___vmalloc(size, flags)
#define vmalloc_huge(size, flags) mown_vmalloc_huge(size, flags)
#define vmalloc_user(size) mown_vmalloc_user(size)
#define vmalloc_32_user(size) mown_vmalloc_32_user(size)
#define __vmalloc_array(n, size, flags) mown___vmalloc_array(n, size, flags)
#define vmalloc_array(n, size) mown_vmalloc_array(n, size)
#define __vcalloc(n, size, flags) mown___vcalloc(n, size, flags)
#define vcalloc(n, size) mown_vcalloc(n, size)
#define vfree(ptr) mown_vfree(ptr)
#define kvmalloc(size, flags) mown_kvmalloc(size, flags)
#define kvmalloc_node(size, flags, node) mown_kvmalloc_node(size, flags, node)
#define kvzalloc(size, flags) mown_kvzalloc(size, flags)
#define kvzalloc_node(size, flags, node) mown_kvzalloc_node(size, flags, node)
#define kvmalloc_array(n, size, flags) mown_kvmalloc_array(n, size, flags)
#define kvcalloc(n, size, flags) mown_kvcalloc(n, size, flags)
#define vmemdup_user(src, len) mown_vmemdup_user(src, len)
#define strndup_user(str, max) mown_strndup_user(str, max)
#define kvfree_sensitive(ptr, len) mown_kvfree_sensitive(ptr, len)
#define alloc_pages(flags, order) mown_alloc_pages(flags, order)
#define alloc_pages_node(node, flags, order) \
	mown_alloc_pages_node(node, flags, order)
#define alloc_page(flags) mown_alloc_page(flags)
#define __get_free_pages(flags, order) mown___get_free_pages(flags, order)
#define __get_free_page(flags) mown___get_free_page(flags)
#define get_zeroed_page(flags) mown_get_zeroed_page(flags)
#define __free_pages(page, order) mown___free_pages(page, order)
#define __free_page(page) mown___free_page(page)
#define free_pages(addr, order) mown_free_pages(addr, order)
#define free_page(addr) mown_free_page(addr)
#define alloc_pages_exact(size, flags) mown_alloc_pages_exact(size, flags)
#define free_pages_exact(addr, size) mown_free_pages_exact(addr, size)
#define split_page(page, order) mown_split_page(page, order)
#define kmem_cache_create_usercopy(...) \
	mown_kmem_cache_create_usercopy(__VA_ARGS__)
#define kmem_cache_destroy(cache) mown_kmem_cache_destroy(cache)
#define kmem_cache_alloc(cache, flags) mown_kmem_cache_alloc(cache, flags)
#define kmem_cache_zalloc(cache, flags) mown_kmem_cache_zalloc(cache, flags)
#define kmem_cache_alloc_node(cache, flags, node) \
	mown_kmem_cache_alloc_node(cache, flags, node)
#define kmem_cache_alloc_lru(cache, lru, flags) \
	mown_kmem_cache_alloc_lru(cache, lru, flags)
#define kmem_cache_alloc_bulk(cache, flags, nr, ptrs) \
	mown_kmem_cache_alloc_bulk(cache, flags, nr, ptrs)
#define kmem_cache_free(cache, ptr) mown_kmem_cache_free(cache, ptr)
#define kmem_cache_free_bulk(cache, nr, ptrs) \
	mown_kmem_cache_free_bulk(cache, nr, ptrs)
#define mempool_create(min, alloc, free, data) \
	mown_mempool_create(min, alloc, free, data)
#define mempool_create_node(min, alloc, free, data, flags, node) \
	mown_mempool_create_node(min, alloc, free, data, flags, node)
#define mempool_create_slab_pool(min, cache) \
	mown_mempool_create_slab_pool(min, cache)
#define mempool_create_kmalloc_pool(min, size) \
	mown_mempool_create_kmalloc_pool(min, size)
#define mempool_create_page_pool(min, order) \
	mown_mempool_create_page_pool(min, order)
#define mempool_destroy(pool) mown_mempool_destroy(pool)
#define mempool_alloc(pool, flags) mown_mempool_alloc(pool, flags)
#define mempool_free(ptr, pool) mown_mempool_free(ptr, pool)
#define __alloc_percpu(size, align) mown___alloc_percpu(size, align)
#define __alloc_percpu_gfp(size, align, flags) \
	mown___alloc_percpu_gfp(size, align, flags)
#define alloc_percpu(type) mown_alloc_percpu(type)
#define alloc_percpu_gfp(type, flags) mown_alloc_percpu_gfp(type, flags)
#define free_percpu(ptr) mown_free_percpu(ptr)
#define dma_alloc_attrs(dev, size, handle, flags, attrs) \
	mown_dma_alloc_attrs(dev, size, handle, flags, attrs)
#define dma_alloc_coherent(dev, size, handle, flags) \
	mown_dma_alloc_coherent(dev, size, handle, flags)
#define dma_alloc_wc(dev, size, handle, flags) \
	mown_dma_alloc_wc(dev, size, handle, flags)
#define dma_free_attrs(dev, size, ptr, handle, attrs) \
	mown_dma_free_attrs(dev, size, ptr, handle, attrs)
#define dma_free_coherent(dev, size, ptr, handle) \
	mown_dma_free_coherent(dev, size, ptr, handle)
#define dma_free_wc(dev, size, ptr, handle) \
	mown_dma_free_wc(dev, size, ptr, handle)
#define dma_pool_create(name, dev, size, align, boundary) \
	mown_dma_pool_create(name, dev, size, align, boundary)
#define dma_pool_destroy(pool) mown_dma_pool_destroy(pool)
#define dma_pool_alloc(pool, flags, handle) \
	mown_dma_pool_alloc(pool, flags, handle)
#define dma_pool_zalloc(pool, flags, handle) \
	mown_dma_pool_zalloc(pool, flags, handle)
#define dma_pool_free(pool, ptr, handle) mown_dma_pool_free(pool, ptr, handle)
#define devm_kmalloc(dev, size, flags) mown_devm_kmalloc(dev, size, flags)
#define devm_kzalloc(dev, size, flags) mown_devm_kzalloc(dev, size, flags)
#define devm_kmalloc_array(dev, n, size, flags) \
	mown_devm_kmalloc_array(dev, n, size, flags)
#define devm_kcalloc(dev, n, size, flags) mown_devm_kcalloc(dev, n, size, flags)
#define devm_krealloc(dev, ptr, size, flags) \
	mown_devm_krealloc(dev, ptr, size, flags)
#define devm_krealloc_array(dev, ptr, n, size, flags) \
	mown_devm_krealloc_array(dev, ptr, n, size, flags)
#define alloc_inode_sb(sb, cache, flags) mown_alloc_inode_sb(sb, cache, flags)
#define devm_kmemdup(dev, src, len, flags) \
	mown_devm_kmemdup(dev, src, len, flags)
#define devm_kstrdup(dev, str, flags) mown_devm_kstrdup(dev, str, flags)
#define devm_kvasprintf(dev, flags, fmt, args) \
	mown_devm_kvasprintf(dev, flags, fmt, args)
#define devm_kasprintf(dev, flags, ...) \
	mown_devm_kasprintf(dev, flags, __VA_ARGS__)
#define devm_kfree(dev, ptr) mown_devm_kfree(dev, ptr)
#undef kvrealloc
#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 12, 0)
#define kvrealloc(ptr, old, size, flags) mown_kvrealloc(ptr, old, size, flags)
#define kmem_cache_create(...) mown_kmem_cache_create(__VA_ARGS__)
#else
#define kvrealloc(ptr, size, flags) mown_kvrealloc(ptr, size, flags)
/* What the kernel's macro kmem_cache_create() chooses from, by name. */
#define __kmem_cache_create mown_kmem_cache_create
#define __kmem_cache_create_args mown_kmem_cache_create_args
#define __kmem_cache_default_args mown_kmem_cache_default_args
#endif
#define ksize(ptr) mown_ksize(ptr)
#define kmalloc_size_roundup(size) mown_kmalloc_size_roundup(size)
#define kfree(ptr) mown_kfree(ptr)
#define kfree_sensitive(ptr) mown_kfree_sensitive(ptr)
#define kvfree(ptr) mown_kvfree(ptr)
#define bitmap_free(bitmap) mown_bitmap_free(bitmap)
#define kfree_bulk(n, ptrs) mown_kfree_bulk(n, ptrs)
#define kfree_rcu(...) mown_kfree_rcu(__VA_ARGS__)
#define kvfree_rcu(...) mown_kfree_rcu(__VA_ARGS__)
#define kfree_rcu_mightsleep(ptr) mown_kfree_rcu(ptr)
#define kvfree_rcu_mightsleep(ptr) mown_kfree_rcu(ptr)

/*
 * This comes before the source, which may define pr_fmt() or dev_fmt() before it
 * includes anything: the compiler then warns that it is redefined. Where every source
 * of the module does so, -DMOWN_OWN_PR_FMT leaves it to them.
 */
#ifdef MOWN_OWN_PR_FMT
#undef pr_fmt
#undef dev_fmt
#endif

#endif /* _LINUX_MOWN_OVERRIDE_H */
