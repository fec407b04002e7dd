// SPDX-License-Identifier: GPL-2.0
/*
 * Redzones: what stands behind the bytes that were asked for, so that a write
 * beyond them shows
 *
 * Off until policy/overflow asks for it, as an object may have to move to where
 * there is room behind it. The kernel itself may write up to ksize() (krealloc()
 * in place, build_skb()), so objects with a redzone are resized by moving, and
 * their module is told that they end where it asked for; who clears a redzone
 * is not accused, nor is anybody when the kernel or an attached module releases.
 */
#include <linux/kasan.h>
#include <linux/kfence.h>
#include <linux/mm.h>
#include <linux/poison.h>
#include <linux/slab.h>
#include <linux/string.h>

#include "compat.h"
#include "mown.h"

/* So many bytes there are at least, and so many are looked at. */
#define MOWN_REDZONE_MIN 8UL
#define MOWN_REDZONE_MAX 256UL

/* Somebody's policy asks for them. */
bool mown_redzone_wanted;

static bool mown_redzone_asked(struct mown_owner *owner)
{
	enum mown_word word = mown_policy(owner, MOWN_OVERFLOW);

	return word == MOWN_WARN || word == MOWN_PANIC;
}

/* A policy has changed; under mown_owners_lock. */
void mown_redzone_update(void)
{
	bool wanted = mown_redzone_asked(NULL);
	struct mown_owner *owner;

	lockdep_assert_held(&mown_owners_lock);
	list_for_each_entry(owner, &mown_owners, list)
		wanted |= mown_redzone_asked(owner);
	WRITE_ONCE(mown_redzone_wanted, wanted);
	WRITE_ONCE(mown_more_wanted, wanted || mown_stack_wanted);
}

/* Do new objects of the module get one? KASAN has its own, and guards them. */
bool __mown_has_redzones(const struct module *mod)
{
	struct mown_owner *owner;
	bool has;

	if (IS_ENABLED(CONFIG_KASAN))
		return false;
	rcu_read_lock();
	owner = mown_owner_find(mod);
	has = owner && mown_redzone_asked(owner);
	rcu_read_unlock();
	return has;
}

static size_t mown_redzone_bytes(const struct mown_record *rec)
{
	return min(ksize((void *)rec->addr) - rec->size, MOWN_REDZONE_MAX);
}

/*
 * Put a redzone behind the record's object, which nobody else knows yet. The
 * object may move for that; where there is no memory it goes without.
 */
void mown_redzone_make(struct mown_record *rec, gfp_t gfp,
		       const struct mown_caller *caller)
{
	void *ptr = (void *)rec->addr, *roomy;

	/* One of KFENCE is guarded already, up to its last byte. */
	if (is_kfence_address(ptr))
		return;
	if (mown_redzone_bytes(rec) < MOWN_REDZONE_MIN) {
		/* A power of two is aligned to itself: so is the next one. */
		size_t size = is_power_of_2(rec->size) ? 2 * rec->size :
			      rec->size + MOWN_REDZONE_MIN;

		if (size > KMALLOC_MAX_SIZE)
			return;
		gfp &= ~(__GFP_ZERO | __GFP_NOFAIL);
		roomy = mown_kmalloc_for(size, gfp | __GFP_NOWARN,
					 page_to_nid(virt_to_page(ptr)),
					 caller->site);
		if (!roomy)
			return;
		memcpy(roomy, ptr, rec->size);
		mown_give_back(rec);
		rec->addr = (unsigned long)roomy;
	}
	/* Its size does not give the class any more. */
	rec->loose = true;
	/* Moved there: it watches the object's end itself. */
	if (is_kfence_address((void *)rec->addr))
		return;
	rec->redzone = true;
	memset((void *)(rec->addr + rec->size), SLUB_RED_ACTIVE,
	       mown_redzone_bytes(rec));
}

/*
 * Look at the redzone of a live object whose stripe the caller has locked. True
 * if it is broken: then it has none any more, and the lock was dropped to report
 * that, so that nothing is known of the address now. Released by those to whom the
 * zone is theirs to write, it is only lost.
 */
bool mown_redzone_broken(struct mown_hold *hold)
	__must_hold(&hold->stripe->lock)
{
	struct mown_record *rec = hold->rec;
	struct mown_owner *owner = hold->owner;
	const u8 *zone = (u8 *)(rec->addr + rec->size), *spoilt;
	size_t bytes = mown_redzone_bytes(rec);
	struct mown_event event;
	bool cleared;

	spoilt = memchr_inv(zone, SLUB_RED_ACTIVE, bytes);
	if (likely(!spoilt))
		return false;
	rec->redzone = false;
	/* The kernel, and who has its ksize(), may use all of an object. */
	cleared = hold->caller->way >= MOWN_ATTACHED ||
		  !memchr_inv(zone, 0, bytes);
	if (!cleared) {
		mown_describe_call(&event, hold->addr, hold->caller->site);
		mown_describe_object(&event, owner, rec);
		event.violation = MOWN_OVERFLOW;
		event.action = "the object goes where it was to go";
		event.offset = (unsigned long)spoilt - rec->addr;
		event.nr_bytes = min(bytes - (spoilt - zone),
				     sizeof(event.bytes));
		memcpy(event.bytes, spoilt, event.nr_bytes);
	}
	mown_unlock(hold);
	mown_count(owner, cleared ? MOWN_REDZONES_LOST : MOWN_OVERFLOWS);
	if (!cleared)
		mown_report(&event);
	raw_spin_lock_irqsave(&hold->stripe->lock, hold->flags);
	return true;
}

/* What a module may use of an object, or 0 if that is all it has. */
size_t mown_redzone_ksize(const void *ptr)
{
	unsigned int index = mown_stripe_index((unsigned long)ptr);
	struct mown_record *rec;
	struct mown_owner *owner;
	unsigned long flags;
	size_t size = 0;

	raw_spin_lock_irqsave(&mown_stripes[index].lock, flags);
	rec = mown_find(index, (unsigned long)ptr, NULL, &owner);
	if (rec && rec->state == MOWN_LIVE && rec->redzone)
		size = rec->size;
	raw_spin_unlock_irqrestore(&mown_stripes[index].lock, flags);
	return size;
}
