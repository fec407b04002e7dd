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
#include <linux/device.h>
#include <linux/dma-mapping.h>
#include <linux/dmapool.h>
#include <linux/err.h>
#include <linux/export.h>
#include <linux/fs.h>
#include <linux/gfp.h>
#include <linux/init.h>
#include <linux/kconfig.h>
#include <linux/kernel.h>
#include <linux/mempool.h>
#include <linux/mm.h>
#include <linux/overflow.h>
#include <linux/percpu.h>
#include <linux/rcupdate.h>
#include <linux/slab.h>
#include <linux/stddef.h>
#include <linux/string.h>
#include <linux/version.h>
#include <linux/vmalloc.h>

#if !IS_ENABLED(CONFIG_MOWN)
#error "mown: set CONFIG_MOWN, or out of tree add -DCONFIG_MOWN_MODULE=1 to ccflags-y"
#endif

/**
 * enum mown_way - by which way in a call came
 * @MOWN_API: <linux/mown.h>, by its own names
 * @MOWN_DROPIN: <linux/mown_override.h>, by the kernel's names
 * @MOWN_ATTACHED: none; a call of a module that was attached, for mown's own use
 * @MOWN_ANYBODY: none; a call of nobody under mown, likewise
 * @MOWN_DEVICE: none; the detach of a device, likewise
 */
enum mown_way {
	MOWN_API,
	MOWN_DROPIN,
	MOWN_ATTACHED,
	MOWN_ANYBODY,
	MOWN_DEVICE,
};

#ifndef MOWN_WAY
#define MOWN_WAY MOWN_API
#endif

/**
 * enum mown_family - which functions allocate and release an object
 * @MOWN_KMALLOC: kmalloc() and kfree(), with all that end in them
 * @MOWN_VMALLOC: vmalloc() and vfree()
 * @MOWN_SLAB: kmem_cache_alloc() and kmem_cache_free()
 * @MOWN_PAGES: alloc_pages(), until the last who holds them lets them go
 * @MOWN_PERCPU: alloc_percpu() and free_percpu(); an object's address is that
 *		 of the first CPU's copy
 * @MOWN_CACHE: kmem_cache_create() and kmem_cache_destroy()
 * @MOWN_MEMPOOL: mempool_create() and mempool_destroy()
 * @MOWN_ELEMENT: mempool_alloc() and mempool_free()
 * @MOWN_DMA: dma_alloc_attrs() and dma_free_attrs()
 * @MOWN_DMA_POOL: dma_pool_create() and dma_pool_destroy()
 * @MOWN_DMA_BLOCK: dma_pool_alloc() and dma_pool_free()
 * @MOWN_DEVM: devm_kmalloc() and devm_kfree(), or the device's detach
 * @MOWN_NR_FAMILIES: how many there are
 */
enum mown_family {
	MOWN_KMALLOC,
	MOWN_VMALLOC,
	MOWN_SLAB,
	MOWN_PAGES,
	MOWN_PERCPU,
	MOWN_CACHE,
	MOWN_MEMPOOL,
	MOWN_ELEMENT,
	MOWN_DMA,
	MOWN_DMA_POOL,
	MOWN_DMA_BLOCK,
	MOWN_DEVM,
	MOWN_NR_FAMILIES,
};

void *__mown_track(void *ptr, size_t size, gfp_t gfp, struct module *mod,
		   enum mown_way way)
	__realloc_size(2);
char *__mown_track_string(char *str, gfp_t gfp, struct module *mod,
			  enum mown_way way);
void *__mown_track_as(void *ptr, size_t size, gfp_t gfp,
		      enum mown_family family, const void *with,
		      struct module *mod, enum mown_way way)
	__realloc_size(2);
bool __mown_release_as(const void *ptr, enum mown_family family,
		       const void *with, size_t size, struct module *mod,
		       enum mown_way way);
struct kmem_cache *__mown_kmem_cache_create(const char *name, unsigned int size,
					    unsigned int align,
					    slab_flags_t flags,
					    unsigned int useroffset,
					    unsigned int usersize,
					    void (*ctor)(void *));
void *__mown_krealloc(const void *ptr, size_t size, gfp_t gfp,
		      struct module *mod, enum mown_way way)
	__realloc_size(2);
void *__mown_kvrealloc(const void *ptr, size_t size, gfp_t gfp,
		       struct module *mod, enum mown_way way)
	__realloc_size(2);
void __mown_kfree(const void *ptr, struct module *mod, enum mown_way way);
void __mown_kfree_sensitive(const void *ptr, struct module *mod,
			    enum mown_way way);
void __mown_kvfree(const void *ptr, struct module *mod, enum mown_way way);
void __mown_kvfree_sensitive(const void *ptr, size_t len, struct module *mod,
			     enum mown_way way);
void __mown_kfree_bulk(size_t n, void **ptrs, struct module *mod,
		       enum mown_way way);
void __mown_kfree_rcu(struct rcu_head *head, void *ptr, struct module *mod,
		      enum mown_way way);
size_t __mown_ksize(const void *ptr);
size_t __mown_size_roundup(size_t size, struct module *mod);
int __mown_transfer(const void *ptr, struct module *to, struct module *mod,
		    enum mown_way way);
int __mown_disown(const void *ptr, struct module *mod, enum mown_way way);
void __mown_track_pages(void *addr, size_t size, gfp_t gfp, struct module *mod,
			enum mown_way way);
void __mown_free_pages_exact(void *addr, size_t size, struct module *mod,
			     enum mown_way way);
void __mown_split_pages(const void *addr);
struct kmem_cache *__mown_track_cache(struct kmem_cache *cache,
				      slab_flags_t flags, bool has_ctor,
				      struct module *mod, enum mown_way way);
void __mown_kmem_cache_destroy(struct kmem_cache *cache, struct module *mod,
			       enum mown_way way);
int __mown_track_bulk(struct kmem_cache *cache, gfp_t gfp, int nr, void **ptrs,
		      struct module *mod, enum mown_way way);
void __mown_kmem_cache_free_bulk(struct kmem_cache *cache, size_t nr,
				 void **ptrs, struct module *mod,
				 enum mown_way way);
void *__mown_mempool_alloc(mempool_t *pool, gfp_t gfp, struct module *mod,
			   enum mown_way way);
void *__mown_dma_alloc_attrs(struct device *dev, size_t size,
			     dma_addr_t *handle, gfp_t gfp,
			     unsigned long attrs, struct module *mod,
			     enum mown_way way);
struct dma_pool *__mown_dma_pool_create(const char *name, struct device *dev,
					size_t size, size_t align,
					size_t boundary, struct module *mod,
					enum mown_way way);
void *__mown_dma_pool_alloc(struct dma_pool *pool, gfp_t gfp,
			    dma_addr_t *handle, struct module *mod,
			    enum mown_way way);
void *__mown_devm_kmalloc(struct device *dev, size_t size, gfp_t gfp,
			  struct module *mod, enum mown_way way)
	__alloc_size(2);
void *__mown_devm_krealloc(struct device *dev, void *ptr, size_t size,
			   gfp_t gfp, struct module *mod, enum mown_way way)
	__realloc_size(3);
char *__mown_devm_kvasprintf(struct device *dev, gfp_t gfp, const char *fmt,
			     va_list args, struct module *mod,
			     enum mown_way way)
	__printf(3, 0);
void __mown_devm_kfree(struct device *dev, const void *ptr,
		       struct module *mod, enum mown_way way);

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

/* ---- Memory of vmalloc() ---- */

#define __mown_tracked_vmalloc(ptr, size, flags)			\
	__mown_called(__mown_track_as(ptr, size, flags, MOWN_VMALLOC, NULL, \
				      THIS_MODULE, MOWN_WAY))

static __always_inline __alloc_size(1)
void *mown_vmalloc(unsigned long size)
{
	return __mown_tracked_vmalloc(vmalloc(size), size, GFP_KERNEL);
}

static __always_inline __alloc_size(1)
void *mown_vzalloc(unsigned long size)
{
	return __mown_tracked_vmalloc(vzalloc(size), size, GFP_KERNEL);
}

static __always_inline __alloc_size(1)
void *mown_vmalloc_node(unsigned long size, int node)
{
	return __mown_tracked_vmalloc(vmalloc_node(size, node), size,
				      GFP_KERNEL);
}

static __always_inline __alloc_size(1)
void *mown_vzalloc_node(unsigned long size, int node)
{
	return __mown_tracked_vmalloc(vzalloc_node(size, node), size,
				      GFP_KERNEL);
}

static __always_inline __alloc_size(1)
void *mown_vmalloc_32(unsigned long size)
{
	return __mown_tracked_vmalloc(vmalloc_32(size), size, GFP_KERNEL);
}

static __always_inline __alloc_size(1)
void *mown___vmalloc(unsigned long size, gfp_t flags)
{
	return __mown_tracked_vmalloc(__vmalloc(size, flags), size, flags);
}

static __always_inline __alloc_size(1)
void *mown_vmalloc_huge(unsigned long size, gfp_t flags)
{
	return __mown_tracked_vmalloc(vmalloc_huge(size, flags), size, flags);
}

/* User space may have these mapped, so they do not wait: as if charged. */
static __always_inline __alloc_size(1)
void *mown_vmalloc_user(unsigned long size)
{
	return __mown_tracked_vmalloc(vmalloc_user(size), size,
				      GFP_KERNEL_ACCOUNT);
}

static __always_inline __alloc_size(1)
void *mown_vmalloc_32_user(unsigned long size)
{
	return __mown_tracked_vmalloc(vmalloc_32_user(size), size,
				      GFP_KERNEL_ACCOUNT);
}

static __always_inline __alloc_size(1, 2)
void *mown___vmalloc_array(size_t n, size_t size, gfp_t flags)
{
	size_t bytes;

	if (unlikely(check_mul_overflow(n, size, &bytes)))
		return NULL;
	return mown___vmalloc(bytes, flags);
}

static __always_inline __alloc_size(1, 2)
void *mown_vmalloc_array(size_t n, size_t size)
{
	return mown___vmalloc_array(n, size, GFP_KERNEL);
}

static __always_inline __alloc_size(1, 2)
void *mown___vcalloc(size_t n, size_t size, gfp_t flags)
{
	return mown___vmalloc_array(n, size, flags | __GFP_ZERO);
}

static __always_inline __alloc_size(1, 2)
void *mown_vcalloc(size_t n, size_t size)
{
	return mown___vcalloc(n, size, GFP_KERNEL);
}

static __always_inline void mown_vfree(const void *ptr)
{
	if (__mown_release_as(ptr, MOWN_VMALLOC, NULL, 0, THIS_MODULE,
			      MOWN_WAY))
		vfree(ptr);
	barrier();
}

/* ---- Memory of kmalloc() or of vmalloc(), as it comes ---- */

#define __mown_tracked_kv(call, size, flags)				\
({									\
	void *__mown_kv = (call);					\
									\
	__mown_called(__mown_track_as(__mown_kv, size, flags,		\
				      is_vmalloc_addr(__mown_kv) ?	\
				      MOWN_VMALLOC : MOWN_KMALLOC, NULL, \
				      THIS_MODULE, MOWN_WAY));		\
})

static __always_inline __alloc_size(1)
void *mown_kvmalloc_node(size_t size, gfp_t flags, int node)
{
	return __mown_tracked_kv(kvmalloc_node(size, flags, node), size, flags);
}

static __always_inline __alloc_size(1)
void *mown_kvmalloc(size_t size, gfp_t flags)
{
	return mown_kvmalloc_node(size, flags, NUMA_NO_NODE);
}

static __always_inline __alloc_size(1)
void *mown_kvzalloc(size_t size, gfp_t flags)
{
	return mown_kvmalloc(size, flags | __GFP_ZERO);
}

static __always_inline __alloc_size(1)
void *mown_kvzalloc_node(size_t size, gfp_t flags, int node)
{
	return mown_kvmalloc_node(size, flags | __GFP_ZERO, node);
}

static __always_inline __alloc_size(1, 2)
void *mown_kvmalloc_array(size_t n, size_t size, gfp_t flags)
{
	size_t bytes;

	if (unlikely(check_mul_overflow(n, size, &bytes)))
		return NULL;
	return mown_kvmalloc(bytes, flags);
}

static __always_inline __alloc_size(1, 2)
void *mown_kvcalloc(size_t n, size_t size, gfp_t flags)
{
	return mown_kvmalloc_array(n, size, flags | __GFP_ZERO);
}

static __always_inline
void *mown_vmemdup_user(const void __user *src, size_t len)
{
	void *ptr = vmemdup_user(src, len);

	if (IS_ERR(ptr))
		return ptr;
	return __mown_tracked_kv(ptr, len, GFP_KERNEL) ?: ERR_PTR(-ENOMEM);
}

static __always_inline
char *mown_strndup_user(const char __user *str, long max)
{
	char *ptr = strndup_user(str, max);

	if (IS_ERR(ptr))
		return ptr;
	return __mown_tracked_string(ptr, GFP_KERNEL) ?: ERR_PTR(-ENOMEM);
}

/* 6.12 dropped the old size, and has memory resized that is there. */
#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 12, 0)
static __always_inline __realloc_size(3)
void *mown_kvrealloc(const void *ptr, size_t old, size_t size, gfp_t flags)
{
	void *new;

	if (old >= size)
		return (void *)ptr;
	new = mown_kvmalloc(size, flags);
	if (!new)
		return NULL;
	memcpy(new, ptr, old);
	mown_kvfree(ptr);
	return new;
}
#else
static __always_inline __realloc_size(2)
void *mown_kvrealloc(const void *ptr, size_t size, gfp_t flags)
{
	return __mown_called(__mown_kvrealloc(ptr, size, flags, THIS_MODULE,
					      MOWN_WAY));
}
#endif

static __always_inline void mown_kvfree_sensitive(const void *ptr, size_t len)
{
	__mown_kvfree_sensitive(ptr, len, THIS_MODULE, MOWN_WAY);
	barrier();
}

/* ---- Pages ---- */

/* What the pages of an order take; none has so many. */
static __always_inline size_t __mown_order_size(unsigned int order)
{
	return order < BITS_PER_LONG - PAGE_SHIFT ? PAGE_SIZE << order :
						    SIZE_MAX;
}

static __always_inline
struct page *__mown_tracked_pages(struct page *page, gfp_t flags,
				  unsigned int order)
{
	if (page && !PageHighMem(page) &&
	    !__mown_called(__mown_track_as(page_address(page),
					   PAGE_SIZE << order, flags,
					   MOWN_PAGES, NULL, THIS_MODULE,
					   MOWN_WAY)))
		return NULL;
	return page;
}

static __always_inline
struct page *mown_alloc_pages(gfp_t flags, unsigned int order)
{
	return __mown_tracked_pages(alloc_pages(flags, order), flags, order);
}

static __always_inline
struct page *mown_alloc_pages_node(int node, gfp_t flags, unsigned int order)
{
	return __mown_tracked_pages(alloc_pages_node(node, flags, order), flags,
				    order);
}

static __always_inline
unsigned long mown___get_free_pages(gfp_t flags, unsigned int order)
{
	void *addr = (void *)__get_free_pages(flags, order);

	addr = __mown_called(__mown_track_as(addr, __mown_order_size(order),
					     flags, MOWN_PAGES, NULL,
					     THIS_MODULE, MOWN_WAY));
	return (unsigned long)addr;
}

static __always_inline unsigned long mown_get_zeroed_page(gfp_t flags)
{
	return mown___get_free_pages(flags | __GFP_ZERO, 0);
}

/*
 * What is no page has no address; it is to be told as what it is. One in high
 * memory is not recorded, whether it has an address just now or not.
 */
static __always_inline void *__mown_page_address(struct page *page)
{
	return IS_ERR(page) ? (void *)page :
	       PageHighMem(page) ? NULL : page_address(page);
}

static __always_inline
void mown___free_pages(struct page *page, unsigned int order)
{
	void *addr = __mown_page_address(page);

	/* None that is recorded is without an address. */
	if (!addr || __mown_release_as(addr, MOWN_PAGES, NULL,
				       __mown_order_size(order), THIS_MODULE,
				       MOWN_WAY))
		__free_pages(page, order);
	barrier();
}

static __always_inline
void mown_free_pages(unsigned long addr, unsigned int order)
{
	if (__mown_release_as((void *)addr, MOWN_PAGES, NULL,
			      __mown_order_size(order), THIS_MODULE, MOWN_WAY))
		free_pages(addr, order);
	barrier();
}

/* An object for each page, for each may be freed by itself. */
static __always_inline __alloc_size(1)
void *mown_alloc_pages_exact(size_t size, gfp_t flags)
{
	void *addr = alloc_pages_exact(size, flags);

	__mown_track_pages(addr, size, flags, THIS_MODULE, MOWN_WAY);
	barrier();
	return addr;
}

static __always_inline void mown_free_pages_exact(void *addr, size_t size)
{
	__mown_free_pages_exact(addr, size, THIS_MODULE, MOWN_WAY);
	barrier();
}

static __always_inline
void mown_split_page(struct page *page, unsigned int order)
{
	if (!PageHighMem(page))
		__mown_split_pages(page_address(page));
	split_page(page, order);
}

#define mown_alloc_page(flags) mown_alloc_pages(flags, 0)
#define mown___get_free_page(flags) mown___get_free_pages(flags, 0)
#define mown___free_page(page) mown___free_pages(page, 0)
#define mown_free_page(addr) mown_free_pages(addr, 0)

/* ---- Slab caches, and their objects ---- */

/*
 * A cache that another one serves, being alike, would be an address that is
 * allocated twice: a flag that allows no such sharing keeps them apart. Until 6.5
 * that also hides the cache's objects from kmemleak, so not where there is that.
 */
#if defined(SLAB_NO_MERGE)
#define __MOWN_CACHE_FLAGS SLAB_NO_MERGE
#elif defined(CONFIG_DEBUG_KMEMLEAK)
#define __MOWN_CACHE_FLAGS 0
#else
#define __MOWN_CACHE_FLAGS SLAB_NOLEAKTRACE
#endif

#define __mown_tracked_cache(cache, flags, ctor)				\
	__mown_called(__mown_track_cache(cache, flags, ctor, THIS_MODULE, \
					 MOWN_WAY))

#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 12, 0)
static __always_inline
struct kmem_cache *
mown_kmem_cache_create_usercopy(const char *name, unsigned int size,
				unsigned int align, slab_flags_t flags,
				unsigned int useroffset, unsigned int usersize,
				void (*ctor)(void *))
{
	struct kmem_cache *cache;

	cache = __mown_kmem_cache_create(name, size, align, flags, useroffset,
					 usersize, ctor);
	return __mown_tracked_cache(cache, flags, ctor);
}
#else
/* 6.12 has what is rare in a structure, and kmem_cache_create() take that, too. */
static __always_inline
struct kmem_cache *mown_kmem_cache_create_args(const char *name,
					       unsigned int size,
					       struct kmem_cache_args *args,
					       slab_flags_t flags)
{
	struct kmem_cache *cache;

	cache = __kmem_cache_create_args(name, size, args,
					 flags | __MOWN_CACHE_FLAGS);
	return __mown_tracked_cache(cache, flags, args->ctor);
}

static __always_inline
struct kmem_cache *mown_kmem_cache_default_args(const char *name,
						unsigned int size,
						struct kmem_cache_args *args,
						slab_flags_t flags)
{
	struct kmem_cache_args none = {};

	return mown_kmem_cache_create_args(name, size, &none, flags);
}

static __always_inline
struct kmem_cache *
mown_kmem_cache_create_usercopy(const char *name, unsigned int size,
				unsigned int align, slab_flags_t flags,
				unsigned int useroffset, unsigned int usersize,
				void (*ctor)(void *))
{
	struct kmem_cache_args args = {
		.align = align, .ctor = ctor,
		.useroffset = useroffset, .usersize = usersize,
	};

	return mown_kmem_cache_create_args(name, size, &args, flags);
}
#endif

static __always_inline
struct kmem_cache *mown_kmem_cache_create(const char *name, unsigned int size,
					  unsigned int align,
					  slab_flags_t flags,
					  void (*ctor)(void *))
{
	return mown_kmem_cache_create_usercopy(name, size, align, flags, 0, 0,
					       ctor);
}

static __always_inline void mown_kmem_cache_destroy(struct kmem_cache *cache)
{
	__mown_kmem_cache_destroy(cache, THIS_MODULE, MOWN_WAY);
	barrier();
}

#define __mown_tracked_slab(ptr, cache, flags)				\
	__mown_called(__mown_track_as(ptr, kmem_cache_size(cache), flags, \
				      MOWN_SLAB, cache, THIS_MODULE, MOWN_WAY))

static __always_inline
void *mown_kmem_cache_alloc(struct kmem_cache *cache, gfp_t flags)
{
	return __mown_tracked_slab(kmem_cache_alloc(cache, flags), cache,
				   flags);
}

static __always_inline
void *mown_kmem_cache_zalloc(struct kmem_cache *cache, gfp_t flags)
{
	return mown_kmem_cache_alloc(cache, flags | __GFP_ZERO);
}

static __always_inline
void *mown_kmem_cache_alloc_node(struct kmem_cache *cache, gfp_t flags,
				 int node)
{
	return __mown_tracked_slab(kmem_cache_alloc_node(cache, flags, node),
				   cache, flags);
}

static __always_inline
void *mown_kmem_cache_alloc_lru(struct kmem_cache *cache, struct list_lru *lru,
				gfp_t flags)
{
	return __mown_tracked_slab(kmem_cache_alloc_lru(cache, lru, flags),
				   cache, flags);
}

static __always_inline
void *mown_alloc_inode_sb(struct super_block *sb, struct kmem_cache *cache,
			  gfp_t flags)
{
	return mown_kmem_cache_alloc_lru(cache, &sb->s_inode_lru, flags);
}

static __always_inline __must_check
int mown_kmem_cache_alloc_bulk(struct kmem_cache *cache, gfp_t flags,
			       size_t nr, void **ptrs)
{
	/* All or none; newer kernels say no more than which. */
	int got = kmem_cache_alloc_bulk(cache, flags, nr, ptrs) ? nr : 0;

	return __mown_called(__mown_track_bulk(cache, flags, got, ptrs,
					       THIS_MODULE, MOWN_WAY));
}

static __always_inline
void mown_kmem_cache_free(struct kmem_cache *cache, void *ptr)
{
	if (__mown_release_as(ptr, MOWN_SLAB, cache, 0, THIS_MODULE, MOWN_WAY))
		kmem_cache_free(cache, ptr);
	barrier();
}

static __always_inline
void mown_kmem_cache_free_bulk(struct kmem_cache *cache, size_t nr, void **ptrs)
{
	__mown_kmem_cache_free_bulk(cache, nr, ptrs, THIS_MODULE, MOWN_WAY);
	barrier();
}

/* ---- Memory pools, and their elements ---- */

static __always_inline
mempool_t *mown_mempool_create_node(int min, mempool_alloc_t *alloc,
				    mempool_free_t *free, void *data,
				    gfp_t flags, int node)
{
	mempool_t *pool = mempool_create_node(min, alloc, free, data, flags,
					      node);

	return __mown_called(__mown_track_as(pool, sizeof(*pool), flags,
					     MOWN_MEMPOOL, NULL, THIS_MODULE,
					     MOWN_WAY));
}

static __always_inline
mempool_t *mown_mempool_create(int min, mempool_alloc_t *alloc,
			       mempool_free_t *free, void *data)
{
	return mown_mempool_create_node(min, alloc, free, data, GFP_KERNEL,
					NUMA_NO_NODE);
}

static __always_inline
mempool_t *mown_mempool_create_slab_pool(int min, struct kmem_cache *cache)
{
	return mown_mempool_create(min, mempool_alloc_slab, mempool_free_slab,
				   (void *)cache);
}

static __always_inline
mempool_t *mown_mempool_create_kmalloc_pool(int min, size_t size)
{
	return mown_mempool_create(min, mempool_kmalloc, mempool_kfree,
				   (void *)size);
}

static __always_inline
mempool_t *mown_mempool_create_page_pool(int min, int order)
{
	return mown_mempool_create(min, mempool_alloc_pages, mempool_free_pages,
				   (void *)(long)order);
}

static __always_inline void mown_mempool_destroy(mempool_t *pool)
{
	if (__mown_release_as(pool, MOWN_MEMPOOL, NULL, 0, THIS_MODULE,
			      MOWN_WAY))
		mempool_destroy(pool);
	barrier();
}

static __always_inline void *mown_mempool_alloc(mempool_t *pool, gfp_t flags)
{
	return __mown_called(__mown_mempool_alloc(pool, flags, THIS_MODULE,
						  MOWN_WAY));
}

static __always_inline void mown_mempool_free(void *element, mempool_t *pool)
{
	if (__mown_release_as(element, MOWN_ELEMENT, pool, 0, THIS_MODULE,
			      MOWN_WAY))
		mempool_free(element, pool);
	barrier();
}

/* ---- Memory for each CPU ---- */

/*
 * What stands for it among pointers of the kernel's own, and back. Newer compilers
 * know of the address space, and cast by way of a number only.
 */
static __always_inline void *__mown_from_percpu(const void __percpu *ptr)
{
	return (__force void *)(unsigned long)ptr;
}

static __always_inline void __percpu *__mown_to_percpu(const void *cookie)
{
	return (__force void __percpu *)(unsigned long)cookie;
}

static __always_inline
void __percpu *mown___alloc_percpu_gfp(size_t size, size_t align, gfp_t flags)
{
	void *cookie =
		__mown_from_percpu(__alloc_percpu_gfp(size, align, flags));

	cookie = __mown_called(__mown_track_as(cookie, size, flags, MOWN_PERCPU,
					       NULL, THIS_MODULE, MOWN_WAY));
	return __mown_to_percpu(cookie);
}

static __always_inline
void __percpu *mown___alloc_percpu(size_t size, size_t align)
{
	return mown___alloc_percpu_gfp(size, align, GFP_KERNEL);
}

#define mown_alloc_percpu(type)						\
	((typeof(type) __percpu *)mown___alloc_percpu(sizeof(type),	\
						      __alignof__(type)))
#define mown_alloc_percpu_gfp(type, flags)				\
	((typeof(type) __percpu *)mown___alloc_percpu_gfp(sizeof(type),	\
						__alignof__(type), flags))

static __always_inline void mown_free_percpu(void __percpu *ptr)
{
	if (__mown_release_as(__mown_from_percpu(ptr), MOWN_PERCPU, NULL, 0,
			      THIS_MODULE, MOWN_WAY))
		free_percpu(ptr);
	barrier();
}

/* ---- Memory that devices reach ---- */

static __always_inline
void *mown_dma_alloc_attrs(struct device *dev, size_t size, dma_addr_t *handle,
			   gfp_t flags, unsigned long attrs)
{
	return __mown_called(__mown_dma_alloc_attrs(dev, size, handle, flags,
						    attrs, THIS_MODULE,
						    MOWN_WAY));
}

static __always_inline
void *mown_dma_alloc_coherent(struct device *dev, size_t size,
			      dma_addr_t *handle, gfp_t flags)
{
	return mown_dma_alloc_attrs(dev, size, handle, flags,
				    flags & __GFP_NOWARN ? DMA_ATTR_NO_WARN :
							   0);
}

static __always_inline
void *mown_dma_alloc_wc(struct device *dev, size_t size, dma_addr_t *handle,
			gfp_t flags)
{
	return mown_dma_alloc_attrs(dev, size, handle, flags,
				    DMA_ATTR_WRITE_COMBINE |
				    (flags & __GFP_NOWARN ? DMA_ATTR_NO_WARN :
							    0));
}

/* What no CPU sees has no address that could be recorded. */
static __always_inline
void mown_dma_free_attrs(struct device *dev, size_t size, void *ptr,
			 dma_addr_t handle, unsigned long attrs)
{
	if (attrs & DMA_ATTR_NO_KERNEL_MAPPING ||
	    __mown_release_as(ptr, MOWN_DMA, dev, size, THIS_MODULE, MOWN_WAY))
		dma_free_attrs(dev, size, ptr, handle, attrs);
	barrier();
}

static __always_inline
void mown_dma_free_coherent(struct device *dev, size_t size, void *ptr,
			    dma_addr_t handle)
{
	mown_dma_free_attrs(dev, size, ptr, handle, 0);
}

static __always_inline
void mown_dma_free_wc(struct device *dev, size_t size, void *ptr,
		      dma_addr_t handle)
{
	mown_dma_free_attrs(dev, size, ptr, handle, DMA_ATTR_WRITE_COMBINE);
}

static __always_inline
struct dma_pool *mown_dma_pool_create(const char *name, struct device *dev,
				      size_t size, size_t align,
				      size_t boundary)
{
	return __mown_called(__mown_dma_pool_create(name, dev, size, align,
						    boundary, THIS_MODULE,
						    MOWN_WAY));
}

static __always_inline void mown_dma_pool_destroy(struct dma_pool *pool)
{
	if (__mown_release_as(pool, MOWN_DMA_POOL, NULL, 0, THIS_MODULE,
			      MOWN_WAY))
		dma_pool_destroy(pool);
	barrier();
}

static __always_inline
void *mown_dma_pool_alloc(struct dma_pool *pool, gfp_t flags,
			  dma_addr_t *handle)
{
	return __mown_called(__mown_dma_pool_alloc(pool, flags, handle,
						   THIS_MODULE, MOWN_WAY));
}

static __always_inline
void *mown_dma_pool_zalloc(struct dma_pool *pool, gfp_t flags,
			   dma_addr_t *handle)
{
	return mown_dma_pool_alloc(pool, flags | __GFP_ZERO, handle);
}

static __always_inline
void mown_dma_pool_free(struct dma_pool *pool, void *ptr, dma_addr_t handle)
{
	if (__mown_release_as(ptr, MOWN_DMA_BLOCK, pool, 0, THIS_MODULE,
			      MOWN_WAY))
		dma_pool_free(pool, ptr, handle);
	barrier();
}

/* ---- Memory that a device's detach frees ---- */

static __always_inline __alloc_size(2)
void *mown_devm_kmalloc(struct device *dev, size_t size, gfp_t flags)
{
	return __mown_called(__mown_devm_kmalloc(dev, size, flags, THIS_MODULE,
						 MOWN_WAY));
}

static __always_inline __alloc_size(2)
void *mown_devm_kzalloc(struct device *dev, size_t size, gfp_t flags)
{
	return mown_devm_kmalloc(dev, size, flags | __GFP_ZERO);
}

static __always_inline __alloc_size(2, 3)
void *mown_devm_kmalloc_array(struct device *dev, size_t n, size_t size,
			      gfp_t flags)
{
	size_t bytes;

	if (unlikely(check_mul_overflow(n, size, &bytes)))
		return NULL;
	return mown_devm_kmalloc(dev, bytes, flags);
}

static __always_inline __alloc_size(2, 3)
void *mown_devm_kcalloc(struct device *dev, size_t n, size_t size, gfp_t flags)
{
	return mown_devm_kmalloc_array(dev, n, size, flags | __GFP_ZERO);
}

static __always_inline __realloc_size(3) __must_check
void *mown_devm_krealloc(struct device *dev, void *ptr, size_t size,
			 gfp_t flags)
{
	return __mown_called(__mown_devm_krealloc(dev, ptr, size, flags,
						  THIS_MODULE, MOWN_WAY));
}

static __always_inline __realloc_size(3, 4) __must_check
void *mown_devm_krealloc_array(struct device *dev, void *ptr, size_t n,
			       size_t size, gfp_t flags)
{
	size_t bytes;

	if (unlikely(check_mul_overflow(n, size, &bytes)))
		return NULL;
	return mown_devm_krealloc(dev, ptr, bytes, flags);
}

static __always_inline
void *mown_devm_kmemdup(struct device *dev, const void *src, size_t len,
			gfp_t flags)
{
	void *ptr = mown_devm_kmalloc(dev, len, flags);

	if (ptr)
		memcpy(ptr, src, len);
	return ptr;
}

static __always_inline
char *mown_devm_kstrdup(struct device *dev, const char *str, gfp_t flags)
{
	return str ? mown_devm_kmemdup(dev, str, strlen(str) + 1, flags) : NULL;
}

static __always_inline __printf(3, 0)
char *mown_devm_kvasprintf(struct device *dev, gfp_t flags, const char *fmt,
			   va_list args)
{
	return __mown_called(__mown_devm_kvasprintf(dev, flags, fmt, args,
						    THIS_MODULE, MOWN_WAY));
}

char *__mown_devm_kasprintf(struct device *dev, gfp_t gfp, struct module *mod,
			    enum mown_way way, const char *fmt, ...)
	__printf(5, 6);

#define mown_devm_kasprintf(dev, flags, fmt, ...)			\
	__mown_called(__mown_devm_kasprintf(dev, flags, THIS_MODULE, MOWN_WAY, \
					    fmt, ##__VA_ARGS__))

static __always_inline void mown_devm_kfree(struct device *dev, const void *ptr)
{
	__mown_devm_kfree(dev, ptr, THIS_MODULE, MOWN_WAY);
	barrier();
}

/* ---- Changing hands ---- */

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
