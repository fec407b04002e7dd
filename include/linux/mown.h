/* SPDX-License-Identifier: GPL-2.0 */
/*
 * mown: an accountable heap for every module
 *
 * Each function here is the kernel's own of the same name without the prefix,
 * with the same arguments, contexts and results. The memory comes from the
 * kernel's function; mown records it under the module that is being compiled
 * (THIS_MODULE), so that it is freed exactly once:
 *
 *  - a second free, and a free of a pointer into the middle of an object, are
 *    refused and reported, and the memory stays as it is;
 *  - a free of memory that no module under mown owns is refused, too: by
 *    contract mown_kfree() and its kin take only what mown_kmalloc() and its
 *    kin gave;
 *  - what is still allocated when the module goes away is reported by call
 *    site and given back. That is a promise by the module's author: nothing
 *    that it allocates here outlives it. Memory that the kernel shall keep
 *    when the module is gone must not be allocated through this header.
 *
 * A module that cannot make these promises as it stands uses
 * <linux/mown_override.h>, which maps the kernel's names onto these and is
 * lenient on the last two points. Documentation/mown.rst has the whole story.
 */
#ifndef _LINUX_MOWN_H
#define _LINUX_MOWN_H

#include <linux/bitmap.h>
#include <linux/build_bug.h>
#include <linux/compiler.h>
#include <linux/err.h>
#include <linux/export.h>
#include <linux/gfp.h>
#include <linux/init.h>
#include <linux/kconfig.h>
#include <linux/kernel.h>
#include <linux/overflow.h>
#include <linux/rcupdate.h>
#include <linux/slab.h>
#include <linux/stddef.h>
#include <linux/string.h>

#if !IS_ENABLED(CONFIG_MOWN)
#error "mown: set CONFIG_MOWN, or out of tree add -DCONFIG_MOWN_MODULE=1 to ccflags-y"
#endif

/**
 * enum mown_way - by which way in a call came
 * @MOWN_API: <linux/mown.h>, by its own names
 * @MOWN_DROPIN: <linux/mown_override.h>, by the kernel's names
 * @MOWN_ATTACHED: none; a call of a module that was attached, for mown's own use
 * @MOWN_ANYBODY: none; a call of nobody under mown, likewise
 */
enum mown_way {
	MOWN_API,
	MOWN_DROPIN,
	MOWN_ATTACHED,
	MOWN_ANYBODY,
};

#ifndef MOWN_WAY
#define MOWN_WAY MOWN_API
#endif

void *__mown_track(void *ptr, size_t size, gfp_t gfp, struct module *mod,
		   enum mown_way way)
	__realloc_size(2);
char *__mown_track_string(char *str, gfp_t gfp, struct module *mod,
			  enum mown_way way);
void *__mown_krealloc(const void *ptr, size_t size, gfp_t gfp,
		      struct module *mod, enum mown_way way)
	__realloc_size(2);
void __mown_kfree(const void *ptr, struct module *mod, enum mown_way way);
void __mown_kfree_sensitive(const void *ptr, struct module *mod,
			    enum mown_way way);
void __mown_kvfree(const void *ptr, struct module *mod, enum mown_way way);
void __mown_kfree_bulk(size_t n, void **ptrs, struct module *mod,
		       enum mown_way way);
void __mown_kfree_rcu(struct rcu_head *head, void *ptr, struct module *mod,
		      enum mown_way way);
size_t __mown_ksize(const void *ptr);
size_t __mown_size_roundup(size_t size, struct module *mod);
int __mown_transfer(const void *ptr, struct module *to, struct module *mod,
		    enum mown_way way);
int __mown_disown(const void *ptr, struct module *mod, enum mown_way way);

/*
 * The inline functions below are always inlined, so that the call site that
 * mown sees is their caller, and a constant size stays one. The barrier keeps
 * the compiler from turning a call that comes last in a function into a jump,
 * which has the call site of that function's caller.
 */
#define __mown_called(call)						\
({									\
	typeof(call) __mown_ret = (call);				\
									\
	barrier();							\
	__mown_ret;							\
})

#define __mown_tracked(ptr, size, flags)				\
	__mown_called(__mown_track(ptr, size, flags, THIS_MODULE, MOWN_WAY))

#define __mown_tracked_string(str, flags)				\
	__mown_called(__mown_track_string(str, flags, THIS_MODULE, MOWN_WAY))

static __always_inline __alloc_size(1)
void *mown_kmalloc(size_t size, gfp_t flags)
{
	return __mown_tracked(kmalloc(size, flags), size, flags);
}

static __always_inline __alloc_size(1)
void *mown_kmalloc_node(size_t size, gfp_t flags, int node)
{
	return __mown_tracked(kmalloc_node(size, flags, node), size, flags);
}

static __always_inline __alloc_size(1)
void *mown_kzalloc(size_t size, gfp_t flags)
{
	return mown_kmalloc(size, flags | __GFP_ZERO);
}

static __always_inline __alloc_size(1)
void *mown_kzalloc_node(size_t size, gfp_t flags, int node)
{
	return mown_kmalloc_node(size, flags | __GFP_ZERO, node);
}

static __always_inline __alloc_size(1, 2)
void *mown_kmalloc_array(size_t n, size_t size, gfp_t flags)
{
	size_t bytes;

	if (unlikely(check_mul_overflow(n, size, &bytes)))
		return NULL;
	return mown_kmalloc(bytes, flags);
}

static __always_inline __alloc_size(1, 2)
void *mown_kmalloc_array_node(size_t n, size_t size, gfp_t flags, int node)
{
	size_t bytes;

	if (unlikely(check_mul_overflow(n, size, &bytes)))
		return NULL;
	return mown_kmalloc_node(bytes, flags, node);
}

static __always_inline __alloc_size(1, 2)
void *mown_kcalloc(size_t n, size_t size, gfp_t flags)
{
	return mown_kmalloc_array(n, size, flags | __GFP_ZERO);
}

static __always_inline __alloc_size(1, 2)
void *mown_kcalloc_node(size_t n, size_t size, gfp_t flags, int node)
{
	return mown_kmalloc_array_node(n, size, flags | __GFP_ZERO, node);
}

static __always_inline __realloc_size(2) __must_check
void *mown_krealloc(const void *ptr, size_t size, gfp_t flags)
{
	return __mown_called(__mown_krealloc(ptr, size, flags, THIS_MODULE,
					     MOWN_WAY));
}

static __always_inline __realloc_size(2, 3) __must_check
void *mown_krealloc_array(void *ptr, size_t n, size_t size, gfp_t flags)
{
	size_t bytes;

	if (unlikely(check_mul_overflow(n, size, &bytes)))
		return NULL;
	return mown_krealloc(ptr, bytes, flags);
}

static __always_inline __realloc_size(2)
void *mown_kmemdup(const void *src, size_t len, gfp_t flags)
{
	return __mown_tracked(kmemdup(src, len, flags), len, flags);
}

static __always_inline
char *mown_kmemdup_nul(const char *src, size_t len, gfp_t flags)
{
	return __mown_tracked(kmemdup_nul(src, len, flags), len + 1, flags);
}

static __always_inline
char *mown_kstrdup(const char *str, gfp_t flags)
{
	return __mown_tracked_string(kstrdup(str, flags), flags);
}

static __always_inline
char *mown_kstrndup(const char *str, size_t max, gfp_t flags)
{
	return __mown_tracked_string(kstrndup(str, max, flags), flags);
}

static __always_inline __printf(2, 0)
char *mown_kvasprintf(gfp_t flags, const char *fmt, va_list args)
{
	return __mown_tracked_string(kvasprintf(flags, fmt, args), flags);
}

/*
 * A macro, as no function with variable arguments can be inlined. The
 * parentheses keep the name from being the drop-in's.
 */
#define mown_kasprintf(flags, fmt, ...)					\
({									\
	gfp_t __mown_gfp = (flags);					\
									\
	__mown_tracked_string((kasprintf)(__mown_gfp, fmt,		\
					  ##__VA_ARGS__), __mown_gfp);	\
})

static __always_inline
void *mown_memdup_user(const void __user *src, size_t len)
{
	void *ptr = memdup_user(src, len);

	if (IS_ERR(ptr))
		return ptr;
	return __mown_tracked(ptr, len, GFP_KERNEL) ?: ERR_PTR(-ENOMEM);
}

static __always_inline
void *mown_memdup_user_nul(const void __user *src, size_t len)
{
	void *ptr = memdup_user_nul(src, len);

	if (IS_ERR(ptr))
		return ptr;
	return __mown_tracked(ptr, len + 1, GFP_KERNEL) ?: ERR_PTR(-ENOMEM);
}

static __always_inline
unsigned long *mown_bitmap_alloc(unsigned int nbits, gfp_t flags)
{
	return mown_kmalloc_array(BITS_TO_LONGS(nbits), sizeof(unsigned long),
				  flags);
}

static __always_inline
unsigned long *mown_bitmap_zalloc(unsigned int nbits, gfp_t flags)
{
	return mown_bitmap_alloc(nbits, flags | __GFP_ZERO);
}

static __always_inline
unsigned long *mown_bitmap_alloc_node(unsigned int nbits, gfp_t flags, int node)
{
	return mown_kmalloc_array_node(BITS_TO_LONGS(nbits),
				       sizeof(unsigned long), flags, node);
}

static __always_inline
unsigned long *mown_bitmap_zalloc_node(unsigned int nbits, gfp_t flags,
				       int node)
{
	return mown_bitmap_alloc_node(nbits, flags | __GFP_ZERO, node);
}

static __always_inline void mown_kfree(const void *ptr)
{
	__mown_kfree(ptr, THIS_MODULE, MOWN_WAY);
	barrier();
}

static __always_inline void mown_kfree_sensitive(const void *ptr)
{
	__mown_kfree_sensitive(ptr, THIS_MODULE, MOWN_WAY);
	barrier();
}

static __always_inline void mown_kvfree(const void *ptr)
{
	__mown_kvfree(ptr, THIS_MODULE, MOWN_WAY);
	barrier();
}

static __always_inline void mown_bitmap_free(const unsigned long *bitmap)
{
	mown_kfree(bitmap);
}

static __always_inline void mown_kfree_bulk(size_t n, void **ptrs)
{
	__mown_kfree_bulk(n, ptrs, THIS_MODULE, MOWN_WAY);
	barrier();
}

/*
 * mown_kfree_rcu(ptr, rhf) frees @ptr after a grace period, from any context;
 * @rhf names the struct rcu_head within the type of @ptr. mown_kfree_rcu(ptr)
 * needs no head, and may sleep.
 */
#define mown_kfree_rcu(...)						\
	__MOWN_KFREE_RCU(__VA_ARGS__, __mown_kfree_rcu_2,		\
			 __mown_kfree_rcu_1)(__VA_ARGS__)
#define __MOWN_KFREE_RCU(_1, _2, name, ...) name
#define __mown_kfree_rcu_2(ptr, rhf)					\
do {									\
	typeof(ptr) __mown_ptr = (ptr);					\
									\
	BUILD_BUG_ON(offsetof(typeof(*(ptr)), rhf) >= 4096);		\
	if (__mown_ptr)							\
		__mown_kfree_rcu(&__mown_ptr->rhf, (void *)__mown_ptr,	\
				 THIS_MODULE, MOWN_WAY);		\
	barrier();							\
} while (0)
#define __mown_kfree_rcu_1(ptr)						\
do {									\
	__mown_kfree_rcu(NULL, (void *)(ptr), THIS_MODULE, MOWN_WAY);	\
	barrier();							\
} while (0)

static __always_inline size_t mown_ksize(const void *ptr)
{
	return ZERO_OR_NULL_PTR(ptr) ? 0 : __mown_ksize(ptr);
}

static __always_inline size_t mown_kmalloc_size_roundup(size_t size)
{
	return __mown_size_roundup(size, THIS_MODULE);
}

/* Make an object over to the module @to, which is to free it from here on. */
static __always_inline int mown_transfer(const void *ptr, struct module *to)
{
	return __mown_called(__mown_transfer(ptr, to, THIS_MODULE, MOWN_WAY));
}

/* Give an object to the kernel for good: nobody under mown is to free it. */
static __always_inline int mown_disown(const void *ptr)
{
	return __mown_called(__mown_disown(ptr, THIS_MODULE, MOWN_WAY));
}

#endif /* _LINUX_MOWN_H */
