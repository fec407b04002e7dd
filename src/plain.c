// SPDX-License-Identifier: GPL-2.0
/*
 * The short ways: what nearly every allocation and every release is
 *
 * That is, an object of kmalloc(), of which no knob wants more to be known, and its
 * release by the module that has allocated it. All of it is done with interrupts
 * off, which keeps the owner, and what the CPU has for itself. Whatever is not as
 * expected is left as it is to heap.c, which decides the same at length.
 */
#include <linux/kernel.h>
#include <linux/mm.h>
#include <linux/slab.h>
#include <linux/string.h>
#include <trace/events/mown.h>

#include "heap.h"

/* ---- Allocation ---- */

/* Stacks or red zones, by somebody; under mown_owners_lock. */
bool mown_more_wanted;

static noinline void *mown_track_by(void *ptr, size_t size, gfp_t gfp,
				    struct module *mod, enum mown_way way,
				    unsigned long site)
{
	const struct mown_caller caller = {
		.mod = mod, .way = way, .site = site,
	};

	return mown_track(ptr, size, gfp, MOWN_KMALLOC, &caller);
}

/* mown_track() for an object of kmalloc(), unless mown_more_wanted. */
void *mown_track_kmalloc(void *ptr, size_t size, gfp_t gfp, struct module *mod,
			 enum mown_way way, unsigned long site)
{
	unsigned long flags, addr = (unsigned long)ptr;
	unsigned long index = mown_stripe_index(addr);
	struct mown_record *rec;
	struct mown_owner *owner;

	if (unlikely(ZERO_OR_NULL_PTR(ptr)))
		return ptr;
	if (trace_alloc_enabled())
		goto not_plain;
	local_irq_save(flags);
	owner = mown_owner_find(mod);
	if (unlikely(!owner || READ_ONCE(owner->picky) ||
		     (way == MOWN_API && !READ_ONCE(owner->promised))))
		goto restore;
	rec = mown_magazine_take(MOWN_RECORD);
	if (unlikely(!rec))
		goto restore;
	mown_describe(rec, ptr, size, site, 0,
		      mown_bits(MOWN_KMALLOC, way, gfp));
	raw_spin_lock(&mown_stripes[index].lock);
	mown_enter(owner, index, addr, size, rec);
	raw_spin_unlock(&mown_stripes[index].lock);
	local_irq_restore(flags);
	return ptr;
restore:
	local_irq_restore(flags);
not_plain:
	return mown_track_by(ptr, size, gfp, mod, way, site);
}

/* ---- Release ---- */

static noinline bool mown_release_by(const void *ptr, struct module *mod,
				     enum mown_way way, unsigned long site,
				     unsigned int frees)
{
	const struct mown_caller caller = {
		.mod = mod, .way = way, .site = site, .frees = frees,
	};

	return mown_release(ptr, &caller, false);
}

/* Written at init. */
struct mown_range mown_erased_text;

/*
 * Give an object back that was live until its record was erased just now. The net knows
 * it by the return address of the call here, and has nothing to look for.
 */
static noinline void mown_kfree_erased(const void *ptr)
{
	kfree(ptr);
	/* It is no jump. */
	barrier();
}

void __init mown_plain_init(void)
{
	mown_erased_text.start = (unsigned long)mown_kfree_erased;
	mown_erased_text.size = mown_function_size(mown_erased_text.start);
}

/* Take it out of its tree, for good. False if there is no room for the record. */
static __always_inline bool mown_erase_plain(struct mown_owner *owner,
					     unsigned long index,
					     unsigned long addr,
					     struct mown_record *rec)
{
	mown_erase(owner, index, addr, rec);
	return mown_magazine_give(MOWN_RECORD, rec);
}

/*
 * Have a plain object wait, its stripe being locked: as mown_claim(), mown_keeps() and
 * mown_prepare() do. False if there is more to it: nothing is done.
 */
static bool mown_keep_plain(struct mown_owner *owner, unsigned long index,
			    struct mown_record *rec, unsigned long site,
			    unsigned long limit, struct mown_freed *oldest)
{
	const struct mown_record is_not = {
		.loose = 1, .no_wait = 1, .no_poison = 1,
	};
	struct mown_freed freed;
	size_t class;

	if (unlikely(IS_ENABLED(CONFIG_DEBUG_KMEMLEAK) ||
		     rec->bits & is_not.bits ||
		     rec->size > MOWN_POISON_PIECE || owner->blind ||
		     READ_ONCE(owner->dying) || READ_ONCE(mown_stack_wanted)))
		return false;
	class = kmalloc_size_roundup(rec->size);
	if (unlikely(class > limit || mown_usable_size(rec->addr) != class))
		return false;
	mown_describe_release(&freed, rec, site, 0, true);
	freed.bytes = class;
	freed.poisoned = mown_policy(owner, MOWN_USE_AFTER_FREE) != MOWN_PASS;
	if (unlikely(!mown_quarantine_exchange(&owner->quarantine, &freed,
					       limit, oldest)))
		return false;
	mown_not_live_any_more(owner, index, rec);
	__this_cpu_inc(owner->tally->freed);
	if (likely(freed.poisoned))
		mown_poison(rec, 0, POISON_FREE, rec->size);
	return true;
}

/*
 * An object leaves the quarantine. False if it is not a plain one, or was written to:
 * nothing is done.
 */
static bool mown_leave_plain(struct mown_owner *owner,
			     const struct mown_freed *freed, bool *full)
{
	struct mown_record *rec = freed->rec;
	unsigned long addr = rec->addr, index = mown_stripe_index(addr);
	bool plain;

	if (unlikely(rec->size > MOWN_POISON_PIECE))
		return false;
	raw_spin_lock(&mown_stripes[index].lock);
	plain = rec->state == MOWN_QUARANTINED && rec->family == MOWN_KMALLOC &&
		!(freed->poisoned && mown_poison_spoilt(rec, 0, rec->size));
	if (likely(plain))
		*full = !mown_erase_plain(owner, index, addr, rec);
	raw_spin_unlock(&mown_stripes[index].lock);
	return plain;
}

/*
 * One object waits more: the oldest goes. Interrupts are off, and as @flags say after
 * this.
 */
static void mown_kept_plain(struct mown_owner *owner, unsigned long limit,
			    struct mown_freed *oldest, unsigned long flags)
{
	struct mown_record *rec = oldest->rec;
	void *ptr = rec ? (void *)rec->addr : NULL;
	bool full = false, gone;

	gone = !rec || mown_leave_plain(owner, oldest, &full);
	if (likely(gone && !mown_quarantine_over(&owner->quarantine, limit))) {
		mown_hurry();
		local_irq_restore(flags);
		mown_kfree_erased(ptr);
		mown_hurry_end();
	} else {
		/* Which keeps the owner when interrupts are on. */
		rcu_read_lock();
		local_irq_restore(flags);
		if (gone)
			mown_kfree_erased(ptr);
		else
			mown_evict(owner, oldest);
		mown_quarantine_trim(owner, limit);
		rcu_read_unlock();
	}
	if (unlikely(full))
		mown_record_less(MOWN_RECORD, rec);
}

/*
 * Have the owner's object at @addr wait, and the oldest go. Interrupts are off. False if
 * there is more to it: nothing is done; else interrupts are as @flags say.
 */
static noinline bool mown_wait_plain(struct mown_owner *owner,
				     unsigned long limit, unsigned long addr,
				     unsigned long site, unsigned long flags)
{
	unsigned long index = mown_stripe_index(addr);
	struct mown_freed oldest;
	struct mown_record *rec;
	bool kept;

	raw_spin_lock(&mown_stripes[index].lock);
	rec = mown_tree_find(&owner->trees[index], addr);
	kept = rec && mown_is_plain(rec) &&
	       mown_keep_plain(owner, index, rec, site, limit, &oldest);
	raw_spin_unlock(&mown_stripes[index].lock);
	if (likely(kept))
		mown_kept_plain(owner, limit, &oldest, flags);
	return kept;
}

/**
 * mown_release_kmalloc - mown_release() for what frees objects of kmalloc()
 * @ptr: its address, not NULL nor ZERO_SIZE_PTR
 * @mod: the module that frees
 * @way: by which way in
 * @site: the return address of the call
 * @frees: a mask of the families that the function frees
 *
 * Whether the record is stale is asked only if the object is to wait: the kernel has
 * its free either way.
 *
 * Context: Where kfree() may be called.
 * Return: as mown_release().
 */
bool mown_release_kmalloc(const void *ptr, struct module *mod,
			  enum mown_way way, unsigned long site,
			  unsigned int frees)
{
	unsigned long flags, limit, addr = (unsigned long)ptr;
	unsigned long index = mown_stripe_index(addr);
	struct mown_record *rec;
	struct mown_owner *owner;
	bool room;

	if (trace_free_enabled())
		goto not_plain;
	local_irq_save(flags);
	owner = mown_owner_find(mod);
	if (unlikely(!owner))
		goto restore;
	limit = mown_quarantine_limit(owner);
	if (limit) {
		if (likely(mown_wait_plain(owner, limit, addr, site, flags)))
			return false;
		goto restore;
	}
	raw_spin_lock(&mown_stripes[index].lock);
	rec = mown_tree_find(&owner->trees[index], addr);
	if (unlikely(!rec || !mown_is_plain(rec)))
		goto unlock;
	mown_not_live_any_more(owner, index, rec);
	__this_cpu_inc(owner->tally->freed);
	room = mown_erase_plain(owner, index, addr, rec);
	raw_spin_unlock(&mown_stripes[index].lock);
	local_irq_restore(flags);
	mown_kfree_erased(ptr);
	if (unlikely(!room))
		mown_record_less(MOWN_RECORD, rec);
	return false;
unlock:
	raw_spin_unlock(&mown_stripes[index].lock);
restore:
	local_irq_restore(flags);
not_plain:
	return mown_release_by(ptr, mod, way, site, frees);
}
