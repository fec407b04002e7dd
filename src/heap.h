/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What happens to a record at an allocation and at a release: for heap.c, and for
 * plain.c, which has the short ways
 */
#ifndef _MOWN_HEAP_H
#define _MOWN_HEAP_H

#include <linux/jiffies.h>
#include <linux/rculist.h>
#include <linux/smp.h>

#include "mown.h"

void mown_drop_stale_elsewhere(struct mown_owner *me, unsigned int index,
			       unsigned long addr);
void mown_raise_max_size(struct mown_owner *owner,
			 const struct mown_record *rec, size_t size);

/* Say in the record what was allocated. */
static inline void mown_describe(struct mown_record *rec, const void *ptr,
				 size_t size, unsigned long site, u32 stack,
				 u16 bits)
{
	rec->addr = (unsigned long)ptr;
	rec->size = size;
	rec->site = site;
	rec->when = jiffies;
	rec->stack = stack;
	rec->pid = mown_pid();
	rec->cpu = raw_smp_processor_id();
	rec->bits = bits;
}

/*
 * What a record says at first of an object of the family, allocated by that way,
 * with these flags.
 */
static inline u16 mown_bits(enum mown_family family, enum mown_way way, gfp_t gfp)
{
	return family * MOWN_BIT(family) |
	       (way != MOWN_API) * MOWN_BIT(unpromised) |
	       !!(gfp & __GFP_ACCOUNT) * MOWN_BIT(no_wait);
}

/*
 * The record, and with it the object of @size bytes at @addr, is the owner's. The
 * stripe of @index is locked.
 */
static __always_inline void mown_enter(struct mown_owner *owner,
				       unsigned long index, unsigned long addr,
				       size_t size, struct mown_record *rec)
{
	u8 *slot = mown_filter_slot(addr);
	struct mown_record *stale;

	__this_cpu_inc(owner->tally->allocated);
	/* Charged already, where that is done. */
	__this_cpu_add(owner->tally->bytes, size);
	if (unlikely(size > MOWN_SIZE_SMALL))
		mown_raise_max_size(owner, rec, size);

	/* An owner that comes just now has nothing that was here before. */
	if (unlikely(*slot) && !data_race(list_is_singular(&mown_owners)))
		mown_drop_stale_elsewhere(owner, index, addr);
	while (unlikely(stale = mown_tree_link(&owner->trees[index], rec)))
		mown_drop_stale(owner, index, stale);
	mown_filter_more(slot);
}

/* @rec leaves state LIVE; its stripe is locked. */
static __always_inline void
mown_not_live_any_more(struct mown_owner *owner, unsigned int index,
		       const struct mown_record *rec)
{
	__this_cpu_inc(owner->tally->ended);
	mown_bytes(owner, index, -(long)rec->size);
}

/* Say of a released object what its record has no room for. */
static inline void mown_describe_release(struct mown_freed *freed,
					 struct mown_record *rec,
					 unsigned long site, u32 stack,
					 bool own)
{
	freed->rec = rec;
	freed->site = site;
	freed->when = jiffies;
	freed->stack = stack;
	freed->alloc_when = rec->when;
	freed->alloc_stack = rec->stack;
	freed->pid = mown_pid();
	freed->cpu = raw_smp_processor_id();
	freed->own = own;
	freed->poisoned = false;
	freed->blank = false;
}

#endif /* _MOWN_HEAP_H */
