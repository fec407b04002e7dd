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
 * This comes before the source, which may define pr_fmt() before it includes
 * anything: the compiler then warns that it is redefined. Where every source
 * of the module does so, -DMOWN_OWN_PR_FMT leaves it to them.
 */
#ifdef MOWN_OWN_PR_FMT
#undef pr_fmt
#endif

#endif /* _LINUX_MOWN_OVERRIDE_H */
