// SPDX-License-Identifier: GPL-2.0
/*
 * The exported functions: what <linux/mown.h> calls
 *
 * The kernel's own functions allocate and free; these record, look up, and
 * refuse. The method is that of patent CN102103541B, with the store of records
 * split by owner and by address.
 */
#include <linux/dmapool.h>
#include <linux/kasan.h>
#include <linux/mempool.h>
#include <linux/mm.h>
#include <linux/slab.h>
#include <linux/string.h>
#include <linux/vmalloc.h>

#include "compat.h"
#include "mown.h"

/* Who calls an exported function, and what else is to be said. */
#define MOWN_CALLER(...)						\
	{ .mod = mod, .way = way, .site = _RET_IP_,			\
	  .frame = MOWN_FRAME(), ##__VA_ARGS__ }

/*
 * The functions that are called most jump to these two where more is wanted than a
 * plain record, for only these to have a frame of their own. Were they called, they
 * would not find the caller's return address in it, and have nothing to begin at.
 */
static noinline void *mown_track_more(void *ptr, size_t size, gfp_t gfp,
				      struct module *mod, enum mown_way way,
				      unsigned long site)
{
	const struct mown_caller caller = {
		.mod = mod, .way = way, .site = site, .frame = MOWN_FRAME(),
	};

	return mown_track(ptr, size, gfp, MOWN_KMALLOC, &caller);
}

static noinline void mown_kvfree_stack(const void *ptr, struct module *mod,
				       enum mown_way way, unsigned long site,
				       unsigned int frees)
{
	const struct mown_caller caller = {
		.mod = mod, .way = way, .site = site, .frame = MOWN_FRAME(),
		.frees = frees,
	};

	if (!mown_release(ptr, &caller, false))
		return;
	if (frees == MOWN_FREES_KVFREE)
		kvfree(ptr);
	else
		kfree(ptr);
}

/**
 * __mown_track - record what the kernel has just allocated for a module
 * @ptr: what the allocator returned; NULL and ZERO_SIZE_PTR are passed through
 * @size: bytes asked for
 * @gfp: the flags that @ptr was allocated with, which the record's allocation
 *	 follows as to waiting
 * @mod: the module that allocates, THIS_MODULE
 * @way: by which way in
 *
 * Without memory for a record the object goes untracked, and is counted as that.
 * Where limit_bytes or fail_nth of the module asks for it, the allocation fails:
 * @ptr is given back to the kernel.
 *
 * Context: Any in which memory may be allocated with @gfp.
 * Return: @ptr, or NULL if the allocation fails after all.
 */
void *__mown_track(void *ptr, size_t size, gfp_t gfp, struct module *mod,
		   enum mown_way way)
{
	if (unlikely(READ_ONCE(mown_more_wanted)))
		return mown_track_more(ptr, size, gfp, mod, way, _RET_IP_);
	return mown_track_kmalloc(ptr, size, gfp, mod, way, _RET_IP_);
}
EXPORT_SYMBOL_GPL(__mown_track);

/**
 * __mown_track_as - record what the kernel has just allocated, of any family
 * @ptr: what the allocator returned; NULL and ZERO_SIZE_PTR are passed through
 * @size: bytes asked for
 * @gfp: as for __mown_track()
 * @family: its family, but none that has a function of its own here
 * @with: the cache that it is an object of, or NULL
 * @mod: the module that allocates, THIS_MODULE
 * @way: by which way in
 *
 * Context: Any in which memory of the family may be allocated with @gfp.
 * Return: @ptr, or NULL as for __mown_track().
 */
void *__mown_track_as(void *ptr, size_t size, gfp_t gfp,
		      enum mown_family family, const void *with,
		      struct module *mod, enum mown_way way)
{
	const struct mown_caller caller = MOWN_CALLER(.family = family,
						      .with = with);

	if (family != MOWN_PERCPU)
		return mown_track(ptr, size, gfp, family, &caller);
	if (!ptr || !mown_track((void *)mown_percpu_key(ptr), size, gfp, family,
				&caller))
		return NULL;
	return ptr;
}
EXPORT_SYMBOL_GPL(__mown_track_as);

/*
 * Memory of a pool whose elements come from a function of its user's is that
 * function's, whoever has recorded it.
 */
static bool mown_is_nested(const void *ptr, enum mown_family family,
			   const void *with)
{
	return family == MOWN_ELEMENT && mown_has_own_alloc(with) &&
	       mown_recorded_as((unsigned long)ptr) != MOWN_ELEMENT;
}

/**
 * __mown_release_as - release an object, of any family
 * @ptr: its start; NULL is passed through, and ZERO_SIZE_PTR
 * @family: the family of the function that is called
 * @with: the cache, the pool or the device that is named, or NULL
 * @size: bytes that are named, or 0
 * @mod: the module that frees, THIS_MODULE
 * @way: by which way in
 *
 * What is wrong to free is dealt with as by __mown_kfree().
 *
 * Context: Any in which the family's own function may be called.
 * Return: true if the caller is to call that now.
 */
bool __mown_release_as(const void *ptr, enum mown_family family,
		       const void *with, size_t size, struct module *mod,
		       enum mown_way way)
{
	/* What belongs to a pool from now on does not wait: others wait for it. */
	const bool pooled = family == MOWN_ELEMENT && !ZERO_OR_NULL_PTR(ptr);
	const unsigned int frees = pooled ? mown_pool_frees(with) :
				   family == MOWN_SLAB ? MOWN_FREES_SLAB :
							 BIT(family);
	const struct mown_caller caller =
		MOWN_CALLER(.family = family, .frees = frees, .with = with,
			    .size = size, .no_wait = pooled);

	if (family == MOWN_PERCPU)
		return !ptr || mown_release((void *)mown_percpu_key(ptr),
					    &caller, false);
	return ZERO_OR_NULL_PTR(ptr) || mown_is_nested(ptr, family, with) ||
	       mown_release(ptr, &caller, false);
}
EXPORT_SYMBOL_GPL(__mown_release_as);

/**
 * __mown_track_string - record a string that the kernel has just allocated
 * @str: what kstrdup(), kasprintf() and their like returned; NULL is passed
 *	 through
 * @gfp: as for __mown_track()
 * @mod: the module that allocates, THIS_MODULE
 * @way: by which way in
 *
 * As __mown_track(), with the size from the string. A format may have put a NUL
 * into the middle: what is then known is what the object takes in memory.
 *
 * Context: Any in which memory may be allocated with @gfp.
 * Return: @str, or NULL as for __mown_track().
 */
char *__mown_track_string(char *str, gfp_t gfp, struct module *mod,
			  enum mown_way way)
{
	const struct mown_caller caller = MOWN_CALLER();
	size_t size;

	if (!str)
		return NULL;
	size = strlen(str) + 1;
	if (kmalloc_size_roundup(size) != ksize(str))
		size = ksize(str);
	return mown_track(str, size, gfp, MOWN_KMALLOC, &caller);
}
EXPORT_SYMBOL_GPL(__mown_track_string);

/**
 * __mown_kfree - free an object
 * @ptr: its start; nothing is done for NULL and ZERO_SIZE_PTR
 * @mod: the module that frees, THIS_MODULE
 * @way: by which way in
 *
 * The object goes back to the kernel when it leaves quarantine, or at once if
 * that is off. A pointer that was freed before, or lies inside an object of
 * the module's, is reported and refused; so is one that nobody recorded,
 * unless policy/unknown_free has it passed on to kfree(), as it is for the
 * drop-in by default.
 *
 * Context: Any in which kfree() may be called.
 */
void __mown_kfree(const void *ptr, struct module *mod, enum mown_way way)
{
	if (unlikely(ZERO_OR_NULL_PTR(ptr)))
		return;
	if (unlikely(READ_ONCE(mown_stack_of_releases)))
		mown_kvfree_stack(ptr, mod, way, _RET_IP_, MOWN_FREES_KFREE);
	else if (mown_release_kmalloc(ptr, mod, way, _RET_IP_,
				      MOWN_FREES_KFREE))
		kfree(ptr);
}
EXPORT_SYMBOL_GPL(__mown_kfree);

/**
 * __mown_kfree_sensitive - zero and free an object
 * @ptr: as for __mown_kfree()
 * @mod: the module that frees, THIS_MODULE
 * @way: by which way in
 *
 * All of the object's memory is zeroed before anything else happens to it. One
 * that is refused is not touched.
 *
 * Context: Any in which kfree_sensitive() may be called.
 */
void __mown_kfree_sensitive(const void *ptr, struct module *mod,
			    enum mown_way way)
{
	const struct mown_caller caller = MOWN_CALLER(.frees = MOWN_FREES_KFREE);

	if (unlikely(ZERO_OR_NULL_PTR(ptr)))
		return;
	if (mown_release(ptr, &caller, true))
		kfree_sensitive(ptr);
}
EXPORT_SYMBOL_GPL(__mown_kfree_sensitive);

/**
 * __mown_kvfree - free an object of kmalloc() or of vmalloc()
 * @ptr: its start; nothing is done for NULL and ZERO_SIZE_PTR
 * @mod: the module that frees, THIS_MODULE
 * @way: by which way in
 *
 * Context: Any in which kvfree() may be called.
 */
void __mown_kvfree(const void *ptr, struct module *mod, enum mown_way way)
{
	if (unlikely(ZERO_OR_NULL_PTR(ptr)))
		return;
	if (unlikely(READ_ONCE(mown_stack_of_releases)))
		mown_kvfree_stack(ptr, mod, way, _RET_IP_, MOWN_FREES_KVFREE);
	else if (mown_release_kmalloc(ptr, mod, way, _RET_IP_,
				      MOWN_FREES_KVFREE))
		kvfree(ptr);
}
EXPORT_SYMBOL_GPL(__mown_kvfree);

/**
 * __mown_kvfree_sensitive - zero and free an object of kmalloc() or of vmalloc()
 * @ptr: its start; nothing is done for NULL and ZERO_SIZE_PTR
 * @len: bytes to zero
 * @mod: the module that frees, THIS_MODULE
 * @way: by which way in
 *
 * One that is refused is not touched.
 *
 * Context: Any in which kvfree_sensitive() may be called.
 */
void __mown_kvfree_sensitive(const void *ptr, size_t len, struct module *mod,
			     enum mown_way way)
{
	const struct mown_caller caller =
		MOWN_CALLER(.frees = MOWN_FREES_KVFREE);

	if (unlikely(ZERO_OR_NULL_PTR(ptr)))
		return;
	if (mown_release(ptr, &caller, true))
		kvfree_sensitive(ptr, len);
}
EXPORT_SYMBOL_GPL(__mown_kvfree_sensitive);

/**
 * __mown_kfree_bulk - free several objects
 * @n: how many
 * @ptrs: their starts; nothing is done for NULL and ZERO_SIZE_PTR
 * @mod: the module that frees, THIS_MODULE
 * @way: by which way in
 *
 * Each is dealt with as by __mown_kfree(), in order.
 *
 * Context: Any in which kfree_bulk() may be called.
 */
void __mown_kfree_bulk(size_t n, void **ptrs, struct module *mod,
		       enum mown_way way)
{
	const struct mown_caller caller = MOWN_CALLER(.frees = MOWN_FREES_KFREE);
	size_t i;

	for (i = 0; i < n; i++) {
		if (unlikely(ZERO_OR_NULL_PTR(ptrs[i])))
			continue;
		if (mown_release(ptrs[i], &caller, false))
			kfree(ptrs[i]);
	}
}
EXPORT_SYMBOL_GPL(__mown_kfree_bulk);

/**
 * __mown_kfree_rcu - free an object after a grace period
 * @head: the rcu_head inside the object, or NULL if the caller may sleep
 * @ptr: the object's start; nothing is done for NULL and ZERO_SIZE_PTR
 * @mod: the module that frees, THIS_MODULE
 * @way: by which way in
 *
 * The object is released now, so that a second free of it is refused from here
 * on, and goes into quarantine, or back to the kernel, when the grace period
 * is over. Only if @head is NULL and there is no memory at all it is released
 * when the grace period is over. What is wrong to free is dealt with as by
 * __mown_kfree().
 *
 * Context: Any in which kfree_rcu() may be called; process context, and may
 *	    sleep, if @head is NULL.
 */
void __mown_kfree_rcu(struct rcu_head *head, void *ptr, struct module *mod,
		      enum mown_way way)
{
	const struct mown_caller caller = MOWN_CALLER(.frees = MOWN_FREES_KVFREE);

	if (!head)
		might_sleep();
	if (unlikely(ZERO_OR_NULL_PTR(ptr)))
		return;
	if (mown_release_rcu(head, ptr, &caller))
		mown_kvfree_call_rcu(head, ptr);
}
EXPORT_SYMBOL_GPL(__mown_kfree_rcu);

/*
 * krealloc(), or kvrealloc(), which is known by what it frees: what it takes of the
 * kernel's, how it is recorded, and how it is freed when it need not wait.
 */
static void *mown_new_place(size_t size, gfp_t gfp, bool kv,
			    const struct mown_caller *caller)
{
	return kv ? kvmalloc(size, gfp) :
		    mown_kmalloc_for(size, gfp, NUMA_NO_NODE, caller->site);
}

static void *mown_track_place(void *ptr, size_t size, gfp_t gfp,
			      const struct mown_caller *caller)
{
	return mown_track(ptr, size, gfp, is_vmalloc_addr(ptr) ?
			  MOWN_VMALLOC : MOWN_KMALLOC, caller);
}

static void mown_free_place(const void *ptr, bool kv,
			    const struct mown_caller *caller)
{
	if (!mown_release(ptr, caller, false))
		return;
	if (kv)
		kvfree(ptr);
	else
		kfree(ptr);
}

/* A live object that does not fit where it is: a new one, and free the old. */
static void *mown_move(const void *ptr, size_t size, size_t old, gfp_t gfp,
		       bool kv, const struct mown_caller *caller)
{
	void *new = mown_new_place(size, gfp, kv, caller);

	if (!new)
		return NULL;
	/* As the kernel's: what was not asked for is copied, too. */
	kasan_disable_current();
	memcpy(new, ptr, old);
	kasan_enable_current();
	new = mown_track_place(new, size, gfp, caller);
	if (new)
		mown_free_place(ptr, kv, caller);
	return new;
}

/* The bytes that the live object of @size bytes may have without being moved. */
static size_t mown_room(const void *ptr, size_t size)
{
	return is_vmalloc_addr(ptr) ? PAGE_ALIGN(size) : ksize(ptr);
}

/* krealloc() and kvrealloc(), for whichever way in. */
void *mown_realloc(const void *ptr, size_t size, gfp_t gfp,
		   const struct mown_caller *caller)
{
	const bool kv = caller->frees & BIT(MOWN_VMALLOC);
	enum mown_verdict verdict;
	size_t old, room;
	bool clears;
	void *ret;

	if (unlikely(!size)) {
		ret = is_vmalloc_addr(ptr) ? NULL : ZERO_SIZE_PTR;
		if (!ZERO_OR_NULL_PTR(ptr))
			mown_free_place(ptr, kv, caller);
		return ret;
	}
	if (unlikely(ZERO_OR_NULL_PTR(ptr)))
		return mown_track_place(mown_new_place(size, gfp, kv, caller),
					size, gfp, caller);
	verdict = mown_may_resize(ptr, size, &old, caller);
	if (unlikely(verdict == MOWN_REFUSED))
		return NULL;
	if (unlikely(verdict == MOWN_MOVES))
		return mown_move(ptr, size, min(old, size), gfp, kv, caller);
	room = verdict == MOWN_OURS ? mown_room(ptr, old) : size;
	clears = MOWN_REALLOC_CLEARS && verdict == MOWN_OURS &&
		 gfp & __GFP_ZERO && size > old;
	if (room < size)
		return mown_move(ptr, size, clears ? old : room, gfp, kv,
				 caller);
	ret = mown_kernel_realloc(ptr, size, gfp, kv);
	if (ret && clears)
		memset(ret + old, 0, size - old);
	if (ret && ret != ptr) {
		/* The old memory is gone: too late for a knob to say no. */
		ret = mown_track_place(ret, size, gfp | __GFP_NOFAIL, caller);
		if (verdict == MOWN_NOT_OURS)
			mown_moved(caller);
	} else if (ret) {
		mown_resized(ret, size);
	}
	return ret;
}

/**
 * __mown_krealloc - resize an object
 * @ptr: its start; NULL and ZERO_SIZE_PTR allocate
 * @size: bytes wanted; 0 frees the object
 * @gfp: how to allocate
 * @mod: the module that calls, THIS_MODULE
 * @way: by which way in
 *
 * As krealloc(): the contents stay up to the lesser of the old and the new
 * size. What fits stays where it is, and keeps its place of allocation. An
 * object that moves is a new one, and the old one is freed. What is wrong to
 * free is wrong to resize, too: it is reported and not touched.
 *
 * Context: Any in which memory may be allocated with @gfp.
 * Return: the object, ZERO_SIZE_PTR if @size is 0, or NULL: then @ptr is as it
 *	   was.
 */
void *__mown_krealloc(const void *ptr, size_t size, gfp_t gfp,
		      struct module *mod, enum mown_way way)
{
	const struct mown_caller caller = MOWN_CALLER(.frees = MOWN_FREES_KFREE);

	return mown_realloc(ptr, size, gfp, &caller);
}
EXPORT_SYMBOL_GPL(__mown_krealloc);

#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 12, 0)
/**
 * __mown_kvrealloc - resize an object of kmalloc() or of vmalloc()
 * @ptr: its start; NULL and ZERO_SIZE_PTR allocate
 * @size: bytes wanted; 0 frees the object
 * @gfp: how to allocate
 * @mod: the module that calls, THIS_MODULE
 * @way: by which way in
 *
 * As kvrealloc() from Linux 6.12 on: before that <linux/mown.h> has its own.
 *
 * Context: Process, may sleep.
 * Return: the object; if @size is 0, ZERO_SIZE_PTR, or NULL for memory of
 *	   vmalloc(); or NULL: then @ptr is as it was.
 */
void *__mown_kvrealloc(const void *ptr, size_t size, gfp_t gfp,
		       struct module *mod, enum mown_way way)
{
	const struct mown_caller caller =
		MOWN_CALLER(.frees = MOWN_FREES_KVFREE);

	return mown_realloc(ptr, size, gfp, &caller);
}
EXPORT_SYMBOL_GPL(__mown_kvrealloc);
#endif

/**
 * __mown_ksize - how much of an object may be used
 * @ptr: its start, of memory of kmalloc()
 *
 * Context: Any in which ksize() may be called.
 * Return: what ksize() says, but no more than was asked for where a redzone
 *	   (policy/overflow) begins behind that. What was not asked for,
 *	   krealloc() with __GFP_ZERO may clear.
 */
size_t __mown_ksize(const void *ptr)
{
	return mown_redzone_ksize(ptr) ?: ksize(ptr);
}
EXPORT_SYMBOL_GPL(__mown_ksize);

/**
 * __mown_size_roundup - how much a module may ask for at no more cost
 * @size: bytes that it wants
 * @mod: the module that asks, THIS_MODULE
 *
 * Context: Any.
 * Return: what kmalloc_size_roundup() says, or @size where there would be no
 *	   room for a redzone then.
 */
size_t __mown_size_roundup(size_t size, struct module *mod)
{
	return mown_has_redzones(mod) ? size : kmalloc_size_roundup(size);
}
EXPORT_SYMBOL_GPL(__mown_size_roundup);

/* ---- Pages ---- */

/**
 * __mown_track_pages - record what alloc_pages_exact() has allocated
 * @addr: what that returned
 * @size: bytes asked for
 * @gfp: as for __mown_track()
 * @mod: the module that allocates, THIS_MODULE
 * @way: by which way in
 *
 * Each page is an object, as each may be freed by itself. No knob makes this
 * fail.
 *
 * Context: Any in which pages may be allocated with @gfp.
 */
void __mown_track_pages(void *addr, size_t size, gfp_t gfp, struct module *mod,
			enum mown_way way)
{
	const struct mown_caller caller = MOWN_CALLER(.family = MOWN_PAGES);
	size_t at;

	for (at = 0; addr && at < size; at += PAGE_SIZE)
		mown_track(addr + at, PAGE_SIZE, gfp | __GFP_NOFAIL, MOWN_PAGES,
			   &caller);
}
EXPORT_SYMBOL_GPL(__mown_track_pages);

/**
 * __mown_free_pages_exact - free what alloc_pages_exact() has allocated
 * @addr: its start; nothing is done for NULL
 * @size: bytes that were asked for
 * @mod: the module that frees, THIS_MODULE
 * @way: by which way in
 *
 * Context: Any in which free_pages_exact() may be called.
 */
void __mown_free_pages_exact(void *addr, size_t size, struct module *mod,
			     enum mown_way way)
{
	const struct mown_caller caller =
		MOWN_CALLER(.family = MOWN_PAGES, .frees = BIT(MOWN_PAGES),
			    .size = PAGE_SIZE);
	size_t at;

	for (at = 0; addr && at < size; at += PAGE_SIZE)
		if (mown_release(addr + at, &caller, false))
			free_page((unsigned long)addr + at);
}
EXPORT_SYMBOL_GPL(__mown_free_pages_exact);

/**
 * __mown_split_pages - a block of pages is going to be split
 * @addr: its start
 *
 * Each page is an object from now on.
 *
 * Context: Any in which split_page() may be called.
 */
void __mown_split_pages(const void *addr)
{
	mown_split((unsigned long)addr);
}
EXPORT_SYMBOL_GPL(__mown_split_pages);

/* ---- Slab caches, pools, and what is theirs ---- */

/**
 * __mown_track_cache - record a slab cache
 * @cache: what kmem_cache_create() returned; NULL is passed through
 * @flags: that were asked for
 * @has_ctor: it has a constructor
 * @mod: the module that creates it, THIS_MODULE
 * @way: by which way in
 *
 * Context: Process, may sleep.
 * Return: @cache, or NULL as for __mown_track().
 */
struct kmem_cache *__mown_track_cache(struct kmem_cache *cache,
				      slab_flags_t flags, bool has_ctor,
				      struct module *mod, enum mown_way way)
{
	const struct mown_caller caller = MOWN_CALLER(.family = MOWN_CACHE);

	return mown_cache_track(cache, flags, has_ctor, &caller);
}
EXPORT_SYMBOL_GPL(__mown_track_cache);

/**
 * __mown_kmem_cache_destroy - destroy a slab cache
 * @cache: it; nothing is done for NULL
 * @mod: the module that destroys it, THIS_MODULE
 * @way: by which way in
 *
 * What waits of its objects in quarantine goes first. Those that are live are
 * told by call site.
 *
 * Context: Process, may sleep.
 */
void __mown_kmem_cache_destroy(struct kmem_cache *cache, struct module *mod,
			       enum mown_way way)
{
	const struct mown_caller caller =
		MOWN_CALLER(.family = MOWN_CACHE, .frees = BIT(MOWN_CACHE));
	bool recorded;

	if (!cache)
		return;
	recorded = mown_recorded_as((unsigned long)cache) == MOWN_CACHE;
	if (mown_cache_passes(cache) || mown_release(cache, &caller, false)) {
		mown_cache_ends(cache, recorded);
		kmem_cache_destroy(cache);
	}
}
EXPORT_SYMBOL_GPL(__mown_kmem_cache_destroy);

/**
 * __mown_track_bulk - record what kmem_cache_alloc_bulk() has allocated
 * @cache: the cache
 * @gfp: as for __mown_track()
 * @nr: what that returned
 * @ptrs: the objects
 * @mod: the module that allocates, THIS_MODULE
 * @way: by which way in
 *
 * It is all or none, so no knob makes this fail.
 *
 * Context: Any in which kmem_cache_alloc_bulk() may be called with @gfp.
 * Return: @nr.
 */
int __mown_track_bulk(struct kmem_cache *cache, gfp_t gfp, int nr, void **ptrs,
		      struct module *mod, enum mown_way way)
{
	const struct mown_caller caller = MOWN_CALLER(.family = MOWN_SLAB,
						      .with = cache);
	int i;

	for (i = 0; i < nr; i++)
		mown_track(ptrs[i], kmem_cache_size(cache), gfp | __GFP_NOFAIL,
			   MOWN_SLAB, &caller);
	return nr;
}
EXPORT_SYMBOL_GPL(__mown_track_bulk);

/**
 * __mown_kmem_cache_free_bulk - free several objects of a slab cache
 * @cache: the cache, or NULL for memory of kmalloc()
 * @nr: how many
 * @ptrs: they
 * @mod: the module that frees, THIS_MODULE
 * @way: by which way in
 *
 * Each is dealt with as by kmem_cache_free(), in order.
 *
 * Context: Any in which kmem_cache_free_bulk() may be called.
 */
void __mown_kmem_cache_free_bulk(struct kmem_cache *cache, size_t nr,
				 void **ptrs, struct module *mod,
				 enum mown_way way)
{
	const struct mown_caller caller =
		MOWN_CALLER(.family = cache ? MOWN_SLAB : MOWN_KMALLOC,
			    .frees = cache ? MOWN_FREES_SLAB : MOWN_FREES_KFREE,
			    .with = cache);
	size_t i;

	for (i = 0; i < nr; i++)
		if (!ZERO_OR_NULL_PTR(ptrs[i]) &&
		    mown_release(ptrs[i], &caller, false))
			cache ? kmem_cache_free(cache, ptrs[i]) :
				kfree(ptrs[i]);
}
EXPORT_SYMBOL_GPL(__mown_kmem_cache_free_bulk);

/**
 * __mown_mempool_alloc - allocate an element of a pool
 * @pool: the pool
 * @gfp: as for mempool_alloc()
 * @mod: the module that allocates, THIS_MODULE
 * @way: by which way in
 *
 * Context: As mempool_alloc() with @gfp.
 * Return: the element, or NULL if @gfp does not let it wait for one.
 */
void *__mown_mempool_alloc(mempool_t *pool, gfp_t gfp, struct module *mod,
			   enum mown_way way)
{
	const struct mown_caller caller = MOWN_CALLER(.family = MOWN_ELEMENT,
						      .with = pool);

	return mown_element_track(mempool_alloc(pool, gfp), gfp, &caller);
}
EXPORT_SYMBOL_GPL(__mown_mempool_alloc);

/* ---- Memory of devices ---- */

/**
 * __mown_dma_alloc_attrs - allocate memory that a device reaches
 * @dev: the device
 * @size: bytes wanted
 * @handle: where its address for the device goes
 * @gfp: how to allocate
 * @attrs: as for dma_alloc_attrs()
 * @mod: the module that allocates, THIS_MODULE
 * @way: by which way in
 *
 * Context: Any in which dma_alloc_attrs() may be called with @gfp.
 * Return: the memory, or NULL.
 */
void *__mown_dma_alloc_attrs(struct device *dev, size_t size,
			     dma_addr_t *handle, gfp_t gfp,
			     unsigned long attrs, struct module *mod,
			     enum mown_way way)
{
	struct mown_caller caller = MOWN_CALLER(.family = MOWN_DMA);

	return mown_dma_alloc(dev, size, handle, gfp, attrs, &caller);
}
EXPORT_SYMBOL_GPL(__mown_dma_alloc_attrs);

/**
 * __mown_dma_pool_create - create a pool of memory that a device reaches
 * @name: its name
 * @dev: the device
 * @size: bytes of a block
 * @align: of a block, a power of two or 0
 * @boundary: that no block crosses, a power of two or 0
 * @mod: the module that creates it, THIS_MODULE
 * @way: by which way in
 *
 * Context: Process, may sleep.
 * Return: the pool, or NULL.
 */
struct dma_pool *__mown_dma_pool_create(const char *name, struct device *dev,
					size_t size, size_t align,
					size_t boundary, struct module *mod,
					enum mown_way way)
{
	struct mown_caller caller = MOWN_CALLER(.family = MOWN_DMA_POOL);

	return mown_dma_pool_new(name, dev, size, align, boundary, &caller);
}
EXPORT_SYMBOL_GPL(__mown_dma_pool_create);

/**
 * __mown_dma_pool_alloc - allocate a block of such a pool
 * @pool: the pool
 * @gfp: how to allocate
 * @handle: where its address for the device goes
 * @mod: the module that allocates, THIS_MODULE
 * @way: by which way in
 *
 * Context: Any in which dma_pool_alloc() may be called with @gfp.
 * Return: the block, or NULL.
 */
void *__mown_dma_pool_alloc(struct dma_pool *pool, gfp_t gfp,
			    dma_addr_t *handle, struct module *mod,
			    enum mown_way way)
{
	struct mown_caller caller = MOWN_CALLER(.family = MOWN_DMA_BLOCK);

	return mown_dma_block_alloc(pool, gfp, handle, &caller);
}
EXPORT_SYMBOL_GPL(__mown_dma_pool_alloc);

/**
 * __mown_devm_kmalloc - allocate memory that a device's detach frees
 * @dev: the device
 * @size: bytes wanted
 * @gfp: how to allocate
 * @mod: the module that allocates, THIS_MODULE
 * @way: by which way in
 *
 * It goes in the order of the device's managed resources, as that of
 * devm_kmalloc() would. devres_find() does not find it.
 *
 * Context: Any in which memory may be allocated with @gfp.
 * Return: the memory, ZERO_SIZE_PTR if @size is 0, or NULL.
 */
void *__mown_devm_kmalloc(struct device *dev, size_t size, gfp_t gfp,
			  struct module *mod, enum mown_way way)
{
	const struct mown_caller caller =
		MOWN_CALLER(.family = MOWN_DEVM, .frees = BIT(MOWN_DEVM),
			    .with = dev);

	return mown_devm_alloc(dev, size, gfp, &caller);
}
EXPORT_SYMBOL_GPL(__mown_devm_kmalloc);

/**
 * __mown_devm_krealloc - resize memory that a device's detach frees
 * @dev: the device
 * @ptr: its start; NULL and ZERO_SIZE_PTR allocate
 * @size: bytes wanted; 0 frees it
 * @gfp: how to allocate
 * @mod: the module that calls, THIS_MODULE
 * @way: by which way in
 *
 * What moves keeps its place in the order in which the device frees.
 *
 * Context: Any in which memory may be allocated with @gfp.
 * Return: the memory, ZERO_SIZE_PTR if @size is 0, or NULL: then @ptr is as it
 *	   was.
 */
void *__mown_devm_krealloc(struct device *dev, void *ptr, size_t size,
			   gfp_t gfp, struct module *mod, enum mown_way way)
{
	const struct mown_caller caller =
		MOWN_CALLER(.family = MOWN_DEVM, .frees = BIT(MOWN_DEVM),
			    .with = dev);

	return mown_devm_realloc(dev, ptr, size, gfp, &caller);
}
EXPORT_SYMBOL_GPL(__mown_devm_krealloc);

static __printf(3, 0)
char *mown_devm_vformat(struct device *dev, gfp_t gfp, const char *fmt,
			va_list args, const struct mown_caller *caller)
{
	va_list again;
	char *text;
	int len;

	va_copy(again, args);
	len = vsnprintf(NULL, 0, fmt, again);
	va_end(again);
	text = mown_devm_alloc(dev, len + 1, gfp, caller);
	if (text)
		vsnprintf(text, len + 1, fmt, args);
	return text;
}

/**
 * __mown_devm_kvasprintf - print into memory that a device's detach frees
 * @dev: the device
 * @gfp: how to allocate
 * @fmt: as for vsnprintf()
 * @args: likewise
 * @mod: the module that calls, THIS_MODULE
 * @way: by which way in
 *
 * Context: Any in which memory may be allocated with @gfp.
 * Return: the text, or NULL.
 */
char *__mown_devm_kvasprintf(struct device *dev, gfp_t gfp, const char *fmt,
			     va_list args, struct module *mod,
			     enum mown_way way)
{
	const struct mown_caller caller =
		MOWN_CALLER(.family = MOWN_DEVM, .frees = BIT(MOWN_DEVM),
			    .with = dev);

	return mown_devm_vformat(dev, gfp, fmt, args, &caller);
}
EXPORT_SYMBOL_GPL(__mown_devm_kvasprintf);

/**
 * __mown_devm_kasprintf - the same with arguments as they are
 * @dev: the device
 * @gfp: how to allocate
 * @mod: the module that calls, THIS_MODULE
 * @way: by which way in
 * @fmt: as for snprintf()
 * @...: likewise
 *
 * Context: Any in which memory may be allocated with @gfp.
 * Return: the text, or NULL.
 */
char *__mown_devm_kasprintf(struct device *dev, gfp_t gfp, struct module *mod,
			    enum mown_way way, const char *fmt, ...)
{
	const struct mown_caller caller =
		MOWN_CALLER(.family = MOWN_DEVM, .frees = BIT(MOWN_DEVM),
			    .with = dev);
	va_list args;
	char *text;

	va_start(args, fmt);
	text = mown_devm_vformat(dev, gfp, fmt, args, &caller);
	va_end(args);
	return text;
}
EXPORT_SYMBOL_GPL(__mown_devm_kasprintf);

/**
 * __mown_devm_kfree - free memory of a device by hand
 * @dev: the device
 * @ptr: its start; nothing is done for NULL and ZERO_SIZE_PTR
 * @mod: the module that frees, THIS_MODULE
 * @way: by which way in
 *
 * What is wrong to free is dealt with as by __mown_kfree(). What is passed on
 * goes to devm_kfree().
 *
 * Context: Any in which devm_kfree() may be called.
 */
void __mown_devm_kfree(struct device *dev, const void *ptr, struct module *mod,
		       enum mown_way way)
{
	const struct mown_caller caller =
		MOWN_CALLER(.family = MOWN_DEVM, .frees = BIT(MOWN_DEVM),
			    .with = dev);

	mown_devm_free(dev, ptr, &caller);
}
EXPORT_SYMBOL_GPL(__mown_devm_kfree);

/* ---- Changing hands ---- */

/**
 * __mown_transfer - make an object over to another module
 * @ptr: its start
 * @to: the module, which must be under mown
 * @mod: the module that calls, THIS_MODULE
 * @way: by which way in
 *
 * From here on @to is to free the object, and its account has it. Any module may
 * make over what it may free; the object keeps its place of allocation.
 *
 * Context: Any in which kfree() may be called. @to must not go meanwhile.
 * Return: 0; -ENODEV if @to is no module under mown, -ENOENT if @ptr is no live
 *	   recorded object that may be freed, or its module is going or being
 *	   detached. Nothing has changed then.
 */
int __mown_transfer(const void *ptr, struct module *to, struct module *mod,
		    enum mown_way way)
{
	const struct mown_caller caller = MOWN_CALLER(.frees = MOWN_FREES_ANY);

	return mown_move_owner(ptr, to, &caller);
}
EXPORT_SYMBOL_GPL(__mown_transfer);

/**
 * __mown_disown - give an object to the kernel for good
 * @ptr: its start
 * @mod: the module that calls, THIS_MODULE
 * @way: by which way in
 *
 * For memory that something outside of any module frees: mown forgets it. Not for
 * that of a device, which frees its own, nor for caches, whose objects may wait.
 *
 * Context: Any in which kfree() may be called.
 * Return: 0; -ENOENT if @ptr is no live recorded object that may be freed.
 */
int __mown_disown(const void *ptr, struct module *mod, enum mown_way way)
{
	const struct mown_caller caller = MOWN_CALLER(.frees = MOWN_FREES_ANY &
			~(BIT(MOWN_DEVM) | BIT(MOWN_CACHE)));

	return mown_give_up(ptr, &caller);
}
EXPORT_SYMBOL_GPL(__mown_disown);
