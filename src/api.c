// SPDX-License-Identifier: GPL-2.0
/*
 * The exported functions: what <linux/mown.h> calls
 *
 * The kernel's own functions allocate and free; these record, look up, and
 * refuse. The method is that of patent CN102103541B, with the store of records
 * split by owner and by address.
 */
#include <linux/mm.h>
#include <linux/slab.h>
#include <linux/string.h>

#include "compat.h"
#include "mown.h"

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
	const struct mown_caller caller = { mod, way, _RET_IP_ };

	return mown_track(ptr, size, gfp, MOWN_KMALLOC, &caller);
}
EXPORT_SYMBOL_GPL(__mown_track);

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
	const struct mown_caller caller = { mod, way, _RET_IP_ };
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
	const struct mown_caller caller = { mod, way, _RET_IP_,
					    MOWN_FREES_KFREE };

	if (unlikely(ZERO_OR_NULL_PTR(ptr)))
		return;
	if (mown_release(ptr, &caller, false))
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
	const struct mown_caller caller = { mod, way, _RET_IP_,
					    MOWN_FREES_KFREE };

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
 * Memory of vmalloc() is not recorded, and goes to the kernel's kvfree().
 *
 * Context: Any in which kvfree() may be called.
 */
void __mown_kvfree(const void *ptr, struct module *mod, enum mown_way way)
{
	const struct mown_caller caller = { mod, way, _RET_IP_,
					    MOWN_FREES_KVFREE };

	if (unlikely(ZERO_OR_NULL_PTR(ptr)))
		return;
	if (is_vmalloc_addr(ptr) || mown_release(ptr, &caller, false))
		kvfree(ptr);
}
EXPORT_SYMBOL_GPL(__mown_kvfree);

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
	const struct mown_caller caller = { mod, way, _RET_IP_,
					    MOWN_FREES_KFREE };
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
	const struct mown_caller caller = { mod, way, _RET_IP_,
					    MOWN_FREES_KVFREE };

	if (!head)
		might_sleep();
	if (unlikely(ZERO_OR_NULL_PTR(ptr)))
		return;
	if (is_vmalloc_addr(ptr) || mown_release_rcu(head, ptr, &caller))
		mown_kvfree_call_rcu(head, ptr);
}
EXPORT_SYMBOL_GPL(__mown_kfree_rcu);

/* A live object that does not fit where it is: a new one, and free the old. */
static void *mown_move(const void *ptr, size_t size, size_t old, gfp_t gfp,
		       const struct mown_caller *caller)
{
	void *new = mown_kmalloc_for(size, gfp, NUMA_NO_NODE, caller->site);

	if (!new)
		return NULL;
	memcpy(new, ptr, old);
	new = mown_track(new, size, gfp, MOWN_KMALLOC, caller);
	if (!new)
		return NULL;
	if (mown_release(ptr, caller, false))
		kfree(ptr);
	return new;
}

/* krealloc(), for whichever way in. */
void *mown_realloc(const void *ptr, size_t size, gfp_t gfp,
		   const struct mown_caller *caller)
{
	enum mown_verdict verdict;
	size_t old;
	void *ret;

	if (unlikely(!size)) {
		if (!ZERO_OR_NULL_PTR(ptr) && mown_release(ptr, caller, false))
			kfree(ptr);
		return ZERO_SIZE_PTR;
	}
	if (unlikely(ZERO_OR_NULL_PTR(ptr))) {
		ret = mown_kmalloc_for(size, gfp, NUMA_NO_NODE, caller->site);
		return mown_track(ret, size, gfp, MOWN_KMALLOC, caller);
	}
	verdict = mown_may_resize(ptr, &old, caller);
	if (unlikely(verdict == MOWN_REFUSED))
		return NULL;
	if (unlikely(verdict == MOWN_MOVES))
		return mown_move(ptr, size, min(old, size), gfp, caller);
	if (verdict == MOWN_OURS && ksize(ptr) < size)
		return mown_move(ptr, size, ksize(ptr), gfp, caller);
	ret = krealloc(ptr, size, gfp);
	if (ret && ret != ptr) {
		/* The old memory is gone: too late for a knob to say no. */
		ret = mown_track(ret, size, gfp | __GFP_NOFAIL, MOWN_KMALLOC,
				 caller);
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
	const struct mown_caller caller = { mod, way, _RET_IP_,
					    MOWN_FREES_KFREE };

	return mown_realloc(ptr, size, gfp, &caller);
}
EXPORT_SYMBOL_GPL(__mown_krealloc);

/**
 * __mown_ksize - how much of an object may be used
 * @ptr: its start, of memory of kmalloc()
 *
 * Return: what ksize() says, but no more than was asked for where a redzone
 *	   (policy/overflow) begins behind that.
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
 * Return: what kmalloc_size_roundup() says, or @size where there would be no
 *	   room for a redzone then.
 */
size_t __mown_size_roundup(size_t size, struct module *mod)
{
	return mown_has_redzones(mod) ? size : kmalloc_size_roundup(size);
}
EXPORT_SYMBOL_GPL(__mown_size_roundup);

/**
 * __mown_transfer - make an object over to another module
 * @ptr: its start
 * @to: the module, which must have been built against mown
 * @mod: the module that calls, THIS_MODULE
 * @way: by which way in
 *
 * From here on @to is to free the object, and its account has it. Any module may
 * make over what it may free; the object keeps its place of allocation.
 *
 * Context: Any in which kfree() may be called. @to must not go meanwhile.
 * Return: 0; -ENODEV if @to is no module under mown, -ENOENT if @ptr is no live
 *	   recorded object that may be freed. Nothing has changed then.
 */
int __mown_transfer(const void *ptr, struct module *to, struct module *mod,
		    enum mown_way way)
{
	const struct mown_caller caller = { mod, way, _RET_IP_,
					    MOWN_FREES_ANY };

	return mown_move_owner(ptr, to, &caller);
}
EXPORT_SYMBOL_GPL(__mown_transfer);

/**
 * __mown_disown - give an object to the kernel for good
 * @ptr: its start
 * @mod: the module that calls, THIS_MODULE
 * @way: by which way in
 *
 * For memory that something outside of any module frees: mown forgets it.
 *
 * Context: Any in which kfree() may be called.
 * Return: 0; -ENOENT if @ptr is no live recorded object that may be freed.
 */
int __mown_disown(const void *ptr, struct module *mod, enum mown_way way)
{
	const struct mown_caller caller = { mod, way, _RET_IP_,
					    MOWN_FREES_ANY };

	return mown_give_up(ptr, &caller);
}
EXPORT_SYMBOL_GPL(__mown_disown);
