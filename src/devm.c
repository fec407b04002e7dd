// SPDX-License-Identifier: GPL-2.0
/*
 * Memory that a device's detach frees: devm_kmalloc() without the walk
 *
 * The kernel finds a managed resource by a walk over all of its device's. Here
 * one resource of the device, an anchor, stands for a run of blocks with no
 * resource of others in between: a block comes to the newest anchor if that is
 * the device's newest resource, and else to a new one, so that all go in the
 * order that the kernel's own would go in. The record leads to the block, so to
 * free one by hand takes no walk.
 *
 * An anchor that is left without blocks is taken out: for that the kernel walks
 * from the newest resource on to the anchor.
 */
#include <linux/device.h>
#include <linux/module.h>
#include <linux/overflow.h>
#include <linux/rcupdate.h>
#include <linux/slab.h>
#include <linux/string.h>

#include "compat.h"
#include "mown.h"

/**
 * struct mown_anchor - stands among a device's managed resources for blocks
 * @dev: the device
 * @blocks: newest first
 * @closed: takes no more blocks, having none, and is to go
 */
struct mown_anchor {
	struct device *dev;
	struct list_head blocks;
	bool closed;
};

/**
 * struct mown_block - what stands before the memory
 * @list: in the anchor's blocks
 * @anchor: NULL while it is in none: it was released, or is not there yet
 * @whose: of mown_untracked(), if it has no record; constant
 * @data: the memory, aligned as that of the kernel's own devm_kmalloc()
 */
struct mown_block {
	struct list_head list;
	struct mown_anchor *anchor;
	u64 whose;
	u8 data[] __aligned(MOWN_DEVM_ALIGN);
};

/* See the notes on locking. */
static DEFINE_RAW_SPINLOCK(mown_block_lock);

/* How many anchors are closed. */
static atomic_t mown_anchors_closed;

/* How far from the start of a resource's node its memory is: see devm_init. */
static unsigned long mown_devres_offset;

static struct mown_block *mown_block_at(unsigned long addr)
{
	return container_of((u8 (*)[])addr, struct mown_block, data);
}

/* What a block takes in memory from its data on. */
size_t mown_block_size(const struct mown_record *rec)
{
	size_t size = rec->loose ? ksize(mown_block_at(rec->addr)) :
		      kmalloc_size_roundup(sizeof(struct mown_block) +
					   rec->size);

	return size - sizeof(struct mown_block);
}

/*
 * Is the live block at @addr one of the device, or of the anchor, that the
 * caller names? NULL is for one that is in no anchor. Its stripe is locked.
 */
bool mown_block_is_of(unsigned long addr, const struct mown_caller *caller)
{
	struct mown_anchor *anchor;
	unsigned long flags;
	bool is;

	raw_spin_lock_irqsave(&mown_block_lock, flags);
	anchor = mown_block_at(addr)->anchor;
	if (caller->way == MOWN_DEVICE)
		is = anchor == caller->with;
	else
		is = (anchor ? anchor->dev : NULL) == caller->with;
	raw_spin_unlock_irqrestore(&mown_block_lock, flags);
	return is;
}

static bool mown_anchor_is_last(const struct mown_anchor *anchor)
{
	return (unsigned long)anchor - mown_devres_offset ==
	       (unsigned long)READ_ONCE(anchor->dev->devres_head.prev);
}

/* An anchor that is left without blocks is closed. */
static void mown_anchor_close(struct mown_anchor *anchor)
{
	lockdep_assert_held(&mown_block_lock);
	if (!list_empty(&anchor->blocks) || anchor->closed)
		return;
	anchor->closed = true;
	atomic_inc(&mown_anchors_closed);
}

static void __mown_block_unlink(struct mown_block *block)
{
	lockdep_assert_held(&mown_block_lock);
	list_del_init(&block->list);
	block->anchor = NULL;
}

/* The block at @addr is released, its record held or its stripe locked. */
void mown_block_unlink(unsigned long addr)
{
	struct mown_block *block = mown_block_at(addr);
	struct mown_anchor *anchor;
	unsigned long flags;

	raw_spin_lock_irqsave(&mown_block_lock, flags);
	anchor = block->anchor;
	if (anchor) {
		__mown_block_unlink(block);
		mown_anchor_close(anchor);
	}
	raw_spin_unlock_irqrestore(&mown_block_lock, flags);
}

/* The block at @addr, which nobody else has yet, has no record. */
void mown_block_untracked(unsigned long addr, u64 whose)
{
	mown_block_at(addr)->whose = whose;
}

/* What the kernel knows it by. */
void *mown_block_start(unsigned long addr)
{
	return mown_block_at(addr);
}

/* Back to the kernel. */
void mown_block_free(unsigned long addr)
{
	mown_block_unlink(addr);
	kfree(mown_block_at(addr));
}

/* ---- The device's detach ---- */

/* The address of the anchor's newest block, or 0. */
static unsigned long mown_anchor_newest(struct mown_anchor *anchor)
{
	struct mown_block *block;
	unsigned long flags;

	raw_spin_lock_irqsave(&mown_block_lock, flags);
	block = list_first_entry_or_null(&anchor->blocks, struct mown_block,
					 list);
	raw_spin_unlock_irqrestore(&mown_block_lock, flags);
	return block ? (unsigned long)block->data : 0;
}

/* Take the block at @addr out of the anchor, if it is its newest. */
static bool mown_anchor_drop(struct mown_anchor *anchor, unsigned long addr)
{
	struct mown_block *block;
	unsigned long flags;
	bool is;

	raw_spin_lock_irqsave(&mown_block_lock, flags);
	block = list_first_entry_or_null(&anchor->blocks, struct mown_block,
					 list);
	is = block && (unsigned long)block->data == addr;
	if (is)
		__mown_block_unlink(block);
	raw_spin_unlock_irqrestore(&mown_block_lock, flags);
	return is;
}

/* The device frees a block that has no record: its owner will not. */
static void mown_block_free_unrecorded(struct mown_block *block)
{
	if (block->whose)
		mown_untracked_ended(block->whose);
	kfree(block);
}

/*
 * Free what the anchor has, newest first. Somebody may free blocks by hand at the
 * same time: whoever takes the record out of state LIVE unlinks the block. One
 * that has no record, and is still linked, has lost it or never had one.
 */
static void mown_anchor_release(struct device *dev, void *res)
{
	struct mown_anchor *anchor = res;
	const struct mown_caller caller = {
		.way = MOWN_DEVICE,
		.family = MOWN_DEVM,
		.site = _RET_IP_,
		.frees = BIT(MOWN_DEVM),
		.with = anchor,
	};
	unsigned long addr;
	bool unrecorded;

	while ((addr = mown_anchor_newest(anchor))) {
		unrecorded = mown_release((void *)addr, &caller, false);
		if (mown_anchor_drop(anchor, addr) && unrecorded)
			mown_block_free_unrecorded(mown_block_at(addr));
	}
	if (anchor->closed)
		atomic_dec(&mown_anchors_closed);
	module_put(THIS_MODULE);
}

/* ---- Anchors ---- */

static int mown_match_closed(struct device *dev, void *res, void *data)
{
	/* It stays so. */
	return READ_ONCE(((struct mown_anchor *)res)->closed);
}

/* Take an anchor out that is closed, if the device has one. */
static struct mown_anchor *mown_anchor_take(struct device *dev)
{
	struct mown_anchor *anchor;

	if (likely(!atomic_read(&mown_anchors_closed)))
		return NULL;
	anchor = devres_remove(dev, mown_anchor_release, mown_match_closed,
			       NULL);
	if (anchor)
		atomic_dec(&mown_anchors_closed);
	return anchor;
}

static void mown_anchors_tidy(struct device *dev)
{
	struct mown_anchor *anchor = mown_anchor_take(dev);

	if (!anchor)
		return;
	devres_free(anchor);
	module_put(THIS_MODULE);
}

static void __mown_block_link(struct mown_block *block,
			      struct mown_anchor *anchor,
			      struct list_head *before)
{
	list_add(&block->list, before);
	block->anchor = anchor;
}

struct mown_block_place {
	struct mown_block *block;
	bool found;
};

/* The device's newest anchor: put the block there, if it is its newest resource. */
static int mown_match_newest(struct device *dev, void *res, void *data)
{
	struct mown_anchor *anchor = res;
	struct mown_block_place *place = data;
	unsigned long flags;

	raw_spin_lock_irqsave(&mown_block_lock, flags);
	place->found = mown_anchor_is_last(anchor) && !anchor->closed;
	if (place->found)
		__mown_block_link(place->block, anchor, &anchor->blocks);
	raw_spin_unlock_irqrestore(&mown_block_lock, flags);
	return 1;
}

/* Have @dev free the block when it is detached; false without memory. */
static bool mown_block_link(struct device *dev, struct mown_block *block,
			    gfp_t gfp)
{
	struct mown_block_place place = { .block = block };
	struct mown_anchor *anchor;
	unsigned long flags;

	devres_find(dev, mown_anchor_release, mown_match_newest, &place);
	if (place.found)
		return true;
	anchor = mown_anchor_take(dev);
	if (!anchor) {
		anchor = devres_alloc(mown_anchor_release, sizeof(*anchor),
				      gfp & ~__GFP_ZERO);
		if (!anchor)
			return false;
		/* Its release is code of ours. */
		__module_get(THIS_MODULE);
	}
	anchor->dev = dev;
	anchor->closed = false;
	INIT_LIST_HEAD(&anchor->blocks);
	raw_spin_lock_irqsave(&mown_block_lock, flags);
	__mown_block_link(block, anchor, &anchor->blocks);
	raw_spin_unlock_irqrestore(&mown_block_lock, flags);
	devres_add(dev, anchor);
	return true;
}

/* ---- Allocation and release ---- */

/* A block that is recorded, but in no anchor yet. */
static struct mown_block *mown_block_new(struct device *dev, size_t size,
					 gfp_t gfp,
					 const struct mown_caller *caller)
{
	struct mown_block *block;
	size_t bytes;

	if (unlikely(check_add_overflow(sizeof(*block), size, &bytes) ||
		     bytes > KMALLOC_MAX_SIZE))
		return NULL;
	/* devm_krealloc() may use all of it in place. */
	bytes = kmalloc_size_roundup(bytes);
	block = mown_kmalloc_for(bytes, gfp, dev_to_node(dev), caller->site);
	if (unlikely(!block))
		return NULL;
	INIT_LIST_HEAD(&block->list);
	block->anchor = NULL;
	block->whose = 0;
	return mown_track(block->data, size, gfp, MOWN_DEVM, caller) ? block :
								      NULL;
}

/* It could not be linked. */
static void mown_block_undo(struct mown_block *block,
			    const struct mown_caller *by)
{
	struct mown_caller caller = *by;

	caller.with = NULL;
	if (mown_release(block->data, &caller, false))
		kfree(block);
}

/* Without memory for an anchor: the kernel's own, which needs none. */
static void *mown_devm_untracked(struct device *dev, size_t size, gfp_t gfp,
				 const struct mown_caller *caller)
{
	void *ptr = devm_kmalloc(dev, size, gfp);

	if (ptr)
		mown_untracked(caller);
	return ptr;
}

/**
 * mown_devm_alloc - allocate memory that a device's detach frees
 * @dev: the device
 * @size: bytes wanted
 * @gfp: how to allocate
 * @caller: who wants it
 *
 * Context: Any in which devm_kmalloc() may be called with @gfp.
 * Return: the memory, ZERO_SIZE_PTR if @size is 0, or NULL.
 */
void *mown_devm_alloc(struct device *dev, size_t size, gfp_t gfp,
		      const struct mown_caller *caller)
{
	struct mown_block *block;

	if (unlikely(!size))
		return ZERO_SIZE_PTR;
	block = mown_block_new(dev, size, gfp, caller);
	if (unlikely(!block))
		return NULL;
	if (unlikely(!mown_block_link(dev, block, gfp))) {
		mown_block_undo(block, caller);
		return mown_devm_untracked(dev, size, gfp, caller);
	}
	return block->data;
}

struct mown_block_search {
	unsigned long addr;
	bool unlink;
	bool found;
};

/* None matches, so that all are looked at. */
static int mown_search_anchor(struct device *dev, void *res, void *data)
{
	struct mown_anchor *anchor = res;
	struct mown_block_search *search = data;
	struct mown_block *block;
	unsigned long flags;

	raw_spin_lock_irqsave(&mown_block_lock, flags);
	list_for_each_entry(block, &anchor->blocks, list) {
		if ((unsigned long)block->data != search->addr)
			continue;
		if (search->unlink) {
			__mown_block_unlink(block);
			mown_anchor_close(anchor);
		}
		search->found = true;
		break;
	}
	raw_spin_unlock_irqrestore(&mown_block_lock, flags);
	return 0;
}

/* Has the device such a block, which need not be recorded? @unlink takes it out. */
static bool mown_block_search(struct device *dev, const void *ptr, bool unlink)
{
	struct mown_block_search search = {
		.addr = (unsigned long)ptr,
		.unlink = unlink,
	};

	devres_find(dev, mown_anchor_release, mown_search_anchor, &search);
	return search.found;
}

/* Free a block of @dev by hand that has no record; false if there is none. */
static bool mown_free_unrecorded(struct device *dev, const void *ptr)
{
	bool found = mown_block_search(dev, ptr, true);

	if (found)
		kfree(mown_block_at((unsigned long)ptr));
	return found;
}

/**
 * mown_devm_free - free memory of a device by hand
 * @dev: the device
 * @ptr: its start; nothing is done for NULL and ZERO_SIZE_PTR
 * @caller: who wants it freed, whose @with is @dev
 *
 * Context: Any in which devm_kfree() may be called.
 */
void mown_devm_free(struct device *dev, const void *ptr,
		    const struct mown_caller *caller)
{
	if (unlikely(ZERO_OR_NULL_PTR(ptr)))
		return;
	if (mown_release(ptr, caller, false) &&
	    !mown_free_unrecorded(dev, ptr))
		devm_kfree(dev, ptr);
	mown_anchors_tidy(dev);
}

/* Put @new where @old is among its anchor's blocks; false if it is in none. */
static bool mown_block_link_at(struct mown_block *new, struct mown_block *old)
{
	unsigned long flags;
	bool found;

	raw_spin_lock_irqsave(&mown_block_lock, flags);
	found = old->anchor;
	if (found)
		__mown_block_link(new, old->anchor, &old->list);
	raw_spin_unlock_irqrestore(&mown_block_lock, flags);
	return found;
}

/* A live block that does not fit where it is: a new one in its place. */
static void *mown_devm_move(struct device *dev, const void *ptr, size_t size,
			    size_t old, gfp_t gfp,
			    const struct mown_caller *caller)
{
	struct mown_block *block = mown_block_new(dev, size, gfp, caller);

	if (!block)
		return NULL;
	memcpy(block->data, ptr, old);
	if (!mown_block_link_at(block, mown_block_at((unsigned long)ptr)) &&
	    !mown_block_link(dev, block, gfp)) {
		mown_block_undo(block, caller);
		return NULL;
	}
	mown_devm_free(dev, ptr, caller);
	return block->data;
}

static size_t mown_block_room(const void *ptr)
{
	return ksize(mown_block_at((unsigned long)ptr)) -
	       sizeof(struct mown_block);
}

/* One that is not recorded may be a block all the same, or the kernel's. */
static void *mown_devm_realloc_unrecorded(struct device *dev, void *ptr,
					  size_t size, gfp_t gfp,
					  const struct mown_caller *caller)
{
	void *new;

	if (!mown_block_search(dev, ptr, false))
		return devm_krealloc(dev, ptr, size, gfp);
	if (size <= mown_block_room(ptr))
		return ptr;
	new = mown_devm_alloc(dev, size, gfp, caller);
	if (!new)
		return NULL;
	memcpy(new, ptr, mown_block_room(ptr));
	mown_devm_free(dev, ptr, caller);
	return new;
}

/**
 * mown_devm_realloc - resize memory of a device
 * @dev: the device
 * @ptr: its start; NULL and ZERO_SIZE_PTR allocate
 * @size: bytes wanted; 0 frees it
 * @gfp: how to allocate
 * @caller: who wants it, whose @with is @dev
 *
 * What moves keeps its place in the order in which the device frees.
 *
 * Context: Any in which devm_krealloc() may be called with @gfp.
 * Return: the memory, ZERO_SIZE_PTR if @size is 0, or NULL: then @ptr is as it
 *	   was.
 */
void *mown_devm_realloc(struct device *dev, void *ptr, size_t size, gfp_t gfp,
			const struct mown_caller *caller)
{
	size_t old;

	if (unlikely(!size)) {
		mown_devm_free(dev, ptr, caller);
		return ZERO_SIZE_PTR;
	}
	if (unlikely(ZERO_OR_NULL_PTR(ptr)))
		return mown_devm_alloc(dev, size, gfp, caller);
	switch (mown_may_resize(ptr, size, &old, caller)) {
	case MOWN_REFUSED:
		return NULL;
	case MOWN_NOT_OURS:
		return mown_devm_realloc_unrecorded(dev, ptr, size, gfp,
						    caller);
	default:
		break;
	}
	if (size > mown_block_room(ptr))
		return mown_devm_move(dev, ptr, size, old, gfp, caller);
	mown_resized(ptr, size);
	return ptr;
}

/* ---- Init ---- */

static void mown_trial_release(struct device *dev, void *res) {}

static void mown_trial_end(struct device *dev)
{
	kfree(dev);
}

/* See on a device of our own where the kernel's list has what it gives. */
int mown_devm_init(void)
{
	struct device *dev = kzalloc(sizeof(*dev), GFP_KERNEL);
	void *res;

	if (!dev)
		return -ENOMEM;
	device_initialize(dev);
	dev->release = mown_trial_end;
	dev->init_name = "mown";
	res = devres_alloc(mown_trial_release, sizeof(struct mown_anchor),
			   GFP_KERNEL);
	if (res) {
		devres_add(dev, res);
		mown_devres_offset = (unsigned long)res -
				     (unsigned long)dev->devres_head.prev;
	}
	put_device(dev);
	return res ? 0 : -ENOMEM;
}

/* With no anchor any more: each holds this module, and has just let go of it. */
void mown_devm_exit(void)
{
	/* Who has may not have returned from here yet. */
	if (IS_ENABLED(CONFIG_TASKS_RCU))
		synchronize_rcu_tasks();
	else
		synchronize_rcu();
}
