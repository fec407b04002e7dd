// SPDX-License-Identifier: GPL-2.0
/*
 * Memory that devices reach: dma_alloc_attrs() and DMA pools
 *
 * To give it back takes the device, so that can be done only while it is known
 * to be there. A mark among its managed resources says so: the device's detach,
 * and in any case its end, releases the mark first. Devices that are bound to no
 * driver get none: they must have no such resources when they are probed.
 */
#include <linux/device.h>
#include <linux/dma-map-ops.h>
#include <linux/dma-mapping.h>
#include <linux/dmapool.h>
#include <linux/hashtable.h>
#include <linux/module.h>

#include "mown.h"

/**
 * struct mown_mark - a device that is there
 * @node: in mown_marks, by @dev
 * @dev: the device
 * @mod: whose memory it is about; the mark goes with its owner
 * @nr: no other mark has it
 */
struct mown_mark {
	struct hlist_node node;
	struct device *dev;
	const struct module *mod;
	u64 nr;
};

/* See the notes on locking. */
static DEFINE_RAW_SPINLOCK(mown_mark_lock);
static DEFINE_HASHTABLE(mown_marks, 6);

/* The number of the device's mark for the module, or 0. */
static u64 mown_mark_nr(const struct device *dev, const struct module *mod)
{
	struct mown_mark *mark;

	lockdep_assert_held(&mown_mark_lock);
	hash_for_each_possible(mown_marks, mark, node, (unsigned long)dev)
		if (mark->dev == dev && mark->mod == mod)
			return mark->nr;
	return 0;
}

static void mown_mark_release(struct device *dev, void *res)
{
	struct mown_mark *mark = res;
	unsigned long flags;

	raw_spin_lock_irqsave(&mown_mark_lock, flags);
	hash_del(&mark->node);
	raw_spin_unlock_irqrestore(&mown_mark_lock, flags);
	module_put(THIS_MODULE);
}

/*
 * A device that is being detached may be probed again: see above. One whose probe was put
 * off is said to be probed all the same, but has no driver.
 */
static bool mown_is_bound(const struct device *dev)
{
	enum dl_dev_state status = READ_ONCE(dev->links.status);

	return READ_ONCE(dev->driver) &&
	       (status == DL_DEV_PROBING || status == DL_DEV_DRIVER_BOUND);
}

static int mown_match_mark(struct device *dev, void *res, void *data)
{
	return ((struct mown_mark *)res)->nr == *(u64 *)data;
}

/*
 * Mark the device for the caller's module, if it is not yet. The number of the mark;
 * without one, of number 0, memory of the device is not reclaimed, and that is all.
 */
static u64 mown_mark(struct device *dev, const struct mown_caller *caller,
		     gfp_t gfp)
{
	static u64 last;
	struct mown_mark *mark;
	unsigned long flags;
	u64 nr;

	if (!dev || caller->way == MOWN_ATTACHED)
		return 0;
	raw_spin_lock_irqsave(&mown_mark_lock, flags);
	nr = mown_mark_nr(dev, caller->mod);
	raw_spin_unlock_irqrestore(&mown_mark_lock, flags);
	if (nr || !mown_is_bound(dev))
		return nr;
	mark = devres_alloc(mown_mark_release, sizeof(*mark),
			    (gfp & MOWN_GFP_OWN) | __GFP_NOWARN);
	if (!mark)
		return 0;
	mark->dev = dev;
	mark->mod = caller->mod;
	raw_spin_lock_irqsave(&mown_mark_lock, flags);
	nr = mown_mark_nr(dev, caller->mod);
	if (!nr) {
		mark->nr = ++last;
		hash_add(mown_marks, &mark->node, (unsigned long)dev);
	}
	raw_spin_unlock_irqrestore(&mown_mark_lock, flags);
	if (nr) {
		devres_free(mark);
		return nr;
	}
	/* Its release is code of ours. */
	__module_get(THIS_MODULE);
	nr = mark->nr;
	devres_add(dev, mark);
	/* Who detaches says so first, then releases; it may have done both. */
	if (unlikely(!mown_is_bound(dev))) {
		devres_release(dev, mown_mark_release, mown_match_mark, &nr);
		return 0;
	}
	return nr;
}

/*
 * The device of one of the module's marks, which is not the module's any more, and
 * the mark's number; NULL if it has none. The device stays until it is put.
 */
static struct device *mown_mark_get(const struct module *mod, u64 *nr)
{
	struct device *dev = NULL;
	struct mown_mark *mark;
	unsigned long flags;
	int i;

	raw_spin_lock_irqsave(&mown_mark_lock, flags);
	hash_for_each(mown_marks, i, mark, node) {
		if (mark->mod != mod)
			continue;
		mark->mod = NULL;
		/* Else its end has begun, and takes the mark along. */
		if (kobject_get_unless_zero(&mark->dev->kobj)) {
			dev = mark->dev;
			*nr = mark->nr;
			break;
		}
	}
	raw_spin_unlock_irqrestore(&mown_mark_lock, flags);
	return dev;
}

/* The owner of @mod has ended: its marks are of no use any more. */
void mown_dma_end(const struct module *mod)
{
	struct device *dev;
	u64 nr;

	while (mod && (dev = mown_mark_get(mod, &nr))) {
		/* Or the detach has begun to release it, or has. */
		devres_release(dev, mown_mark_release, mown_match_mark, &nr);
		put_device(dev);
	}
}

/*
 * Is the device there, and bound as it was? Then it is there until
 * mown_dma_reclaimed(); its driver may leave it all the same, as it may when a
 * module itself frees late.
 */
bool mown_dma_may_reclaim(const struct mown_record *rec)
{
	struct device *dev = (struct device *)mown_record_with(rec);
	struct mown_mark *mark;
	unsigned long flags;
	bool there = false;

	raw_spin_lock_irqsave(&mown_mark_lock, flags);
	hash_for_each_possible(mown_marks, mark, node, (unsigned long)dev)
		if (mark->dev == dev && mark->nr == mown_record_dma(rec)->mark)
			there = true;
	there = there && kobject_get_unless_zero(&dev->kobj);
	raw_spin_unlock_irqrestore(&mown_mark_lock, flags);
	return there;
}

void mown_dma_reclaimed(const struct mown_record *rec)
{
	put_device((struct device *)mown_record_with(rec));
}

void mown_dma_give_back(const struct mown_record *rec)
{
	const struct mown_dma *dma = mown_record_dma(rec);

	dma_free_attrs((struct device *)mown_record_with(rec), rec->size,
		       (void *)rec->addr, dma->handle, dma->attrs);
}

/**
 * mown_dma_alloc - allocate memory that a device reaches
 * @dev: the device
 * @size: bytes wanted
 * @handle: where its address for the device goes
 * @gfp: how to allocate
 * @attrs: as for dma_alloc_attrs()
 * @caller: who wants it
 *
 * Memory that has no address for the CPU is not recorded.
 *
 * Context: Any in which dma_alloc_attrs() may be called with @gfp.
 * Return: the memory, or NULL.
 */
void *mown_dma_alloc(struct device *dev, size_t size, dma_addr_t *handle,
		     gfp_t gfp, unsigned long attrs,
		     struct mown_caller *caller)
{
	void *ptr = dma_alloc_attrs(dev, size, handle, gfp, attrs);
	struct mown_dma dma = { .attrs = attrs };

	if (!ptr || attrs & DMA_ATTR_NO_KERNEL_MAPPING ||
	    mown_is_served(ptr, MOWN_DMA))
		return ptr;
	dma.handle = *handle;
	caller->with = dev;
	caller->dma = &dma;
	/* It cannot be given back with interrupts off. */
	if (irqs_disabled())
		gfp |= __GFP_NOFAIL;
	dma.mark = mown_mark(dev, caller, gfp);
	return mown_track(ptr, size, gfp, MOWN_DMA, caller);
}

/*
 * Do functions of @owner serve the device that @caller releases memory of? Then it
 * is what they allocated, and for its user it was not recorded. The device of a
 * pool that is not recorded is not known.
 */
bool mown_serves(const struct mown_owner *owner,
		 const struct mown_caller *caller)
{
	const void *dev = caller->with;
	const struct dma_map_ops *ops;

	if (caller->family == MOWN_DMA_BLOCK) {
		if (mown_recorded_with((unsigned long)caller->with, &dev) !=
		    MOWN_DMA_POOL)
			return true;
	} else if (caller->family != MOWN_DMA) {
		return false;
	}
	ops = dev ? get_dma_ops((struct device *)dev) : NULL;
	return ops && mown_in_range(&owner->text, (unsigned long)ops->free);
}

/* The same of dma_pool_create(). What only stands for memory is one byte. */
struct dma_pool *mown_dma_pool_new(const char *name, struct device *dev,
				   size_t size, size_t align, size_t boundary,
				   struct mown_caller *caller)
{
	struct dma_pool *pool = dma_pool_create(name, dev, size, align,
						boundary);
	struct mown_dma dma = {};

	if (!pool)
		return NULL;
	caller->with = dev;
	caller->dma = &dma;
	dma.mark = mown_mark(dev, caller, GFP_KERNEL);
	return mown_track(pool, 1, GFP_KERNEL, MOWN_DMA_POOL, caller);
}

/* The same of dma_pool_alloc(). Nobody tells the size of a pool's blocks. */
void *mown_dma_block_alloc(struct dma_pool *pool, gfp_t gfp,
			   dma_addr_t *handle, struct mown_caller *caller)
{
	void *ptr = dma_pool_alloc(pool, gfp, handle);
	struct mown_dma dma = {};

	if (!ptr || mown_is_served(ptr, MOWN_DMA_BLOCK))
		return ptr;
	dma.handle = *handle;
	caller->with = pool;
	caller->dma = &dma;
	return mown_track(ptr, 1, gfp, MOWN_DMA_BLOCK, caller);
}
