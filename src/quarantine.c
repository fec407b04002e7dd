// SPDX-License-Identifier: GPL-2.0
/*
 * Quarantine: what an owner released waits here before it goes back to the
 * kernel, so that a second free of it is known for what it is
 *
 * A ring per owner, bounded in slots and in bytes: the oldest leave first. A
 * slot whose object was freed by somebody else meanwhile is empty, and passed
 * over. Who may hold a record, and when, stands in mown.h. When memory is short
 * a shrinker has all of it. What not every context can give back leaves by a work
 * item.
 */
#include <linux/irq_work.h>
#include <linux/llist.h>
#include <linux/mm.h>
#include <linux/shrinker.h>
#include <linux/sizes.h>
#include <linux/slab.h>
#include <linux/workqueue.h>

#include "compat.h"
#include "mown.h"

#define MOWN_QUARANTINE_BYTES_MAX ((unsigned long)SZ_1M)

/* The knob: bytes per owner that has no number of its own; 0 is off. */
unsigned long mown_quarantine_bytes;

/* A module that was not under mown has freed what waits, or has waited, here. */
bool mown_stranger_freed;

static struct shrinker *mown_shrinker;

int mown_quarantine_new(struct mown_quarantine *q)
{
	raw_spin_lock_init(&q->lock);
	q->ring = kvcalloc(MOWN_QUARANTINE_SLOTS, sizeof(*q->ring), GFP_KERNEL);
	return q->ring ? 0 : -ENOMEM;
}

/* When it is empty for good; may be called again. */
void mown_quarantine_free(struct mown_quarantine *q)
{
	struct mown_freed *ring;
	unsigned long flags;

	raw_spin_lock_irqsave(&q->lock, flags);
	ring = q->ring;
	WRITE_ONCE(q->ring, NULL);
	raw_spin_unlock_irqrestore(&q->lock, flags);
	kvfree(ring);
}

static struct mown_freed *mown_quarantine_slot(struct mown_quarantine *q,
					       unsigned int index)
{
	return &q->ring[index % MOWN_QUARANTINE_SLOTS];
}

/* Empty the slot; its record is in nobody's slot then. */
static struct mown_record *mown_quarantine_take(struct mown_quarantine *q,
						struct mown_freed *slot)
{
	struct mown_record *rec = slot->rec;

	lockdep_assert_held(&q->lock);
	rec->freed = NULL;
	slot->rec = NULL;
	WRITE_ONCE(q->objects, q->objects - 1);
	WRITE_ONCE(q->bytes, q->bytes - slot->bytes);
	return rec;
}

static __always_inline bool
mown_quarantine_put(struct mown_quarantine *q, const struct mown_freed *freed)
{
	struct mown_record *rec = freed->rec;
	struct mown_freed *slot;

	lockdep_assert_held(&q->lock);
	if (unlikely(q->tail - q->head == MOWN_QUARANTINE_SLOTS))
		return false;
	slot = mown_quarantine_slot(q, q->tail);
	WRITE_ONCE(q->tail, q->tail + 1);
	*slot = *freed;
	rec->freed = slot;
	rec->state = MOWN_QUARANTINED;
	WRITE_ONCE(q->objects, q->objects + 1);
	WRITE_ONCE(q->bytes, q->bytes + freed->bytes);
	return true;
}

/*
 * The oldest slot while over the bounds: the caller holds its record then. Its record
 * is NULL if there is none.
 */
static __always_inline void
mown_quarantine_get(struct mown_quarantine *q, unsigned long bytes,
		    struct mown_freed *freed)
{
	lockdep_assert_held(&q->lock);
	freed->rec = NULL;
	while (!freed->rec && mown_quarantine_over(q, bytes)) {
		struct mown_freed *slot = mown_quarantine_slot(q, q->head);

		*freed = *slot;
		if (slot->rec)
			mown_quarantine_take(q, slot);
		WRITE_ONCE(q->head, q->head + 1);
	}
}

/*
 * The record's stripe is locked, and the caller holds the record. False if the
 * ring is full: so many CPUs are ahead of mown_quarantine_trim().
 */
bool mown_quarantine_push(struct mown_quarantine *q,
			  const struct mown_freed *freed)
{
	bool put;

	raw_spin_lock(&q->lock);
	put = mown_quarantine_put(q, freed);
	raw_spin_unlock(&q->lock);
	return put;
}

/* The same, and the first thing that mown_quarantine_trim() would do. */
bool mown_quarantine_exchange(struct mown_quarantine *q,
			      const struct mown_freed *freed,
			      unsigned long bytes, struct mown_freed *oldest)
{
	bool put;

	raw_spin_lock(&q->lock);
	put = mown_quarantine_put(q, freed);
	if (likely(put))
		mown_quarantine_get(q, bytes, oldest);
	raw_spin_unlock(&q->lock);
	return put;
}

/*
 * Take the record of a quarantined object, whose stripe is locked, out of its
 * slot. False if it is on its way out: then its holder keeps it.
 */
bool mown_quarantine_remove(struct mown_quarantine *q, struct mown_record *rec)
{
	bool here;

	raw_spin_lock(&q->lock);
	here = rec->freed;
	if (here)
		mown_quarantine_take(q, rec->freed);
	raw_spin_unlock(&q->lock);
	return here;
}

/*
 * Copy the slot of a record whose stripe is locked. False if it has none,
 * being on its way out.
 */
bool mown_quarantine_peek(struct mown_quarantine *q,
			  const struct mown_record *rec,
			  struct mown_freed *freed)
{
	bool here;

	raw_spin_lock(&q->lock);
	here = rec->freed;
	if (here)
		*freed = *rec->freed;
	raw_spin_unlock(&q->lock);
	return here;
}

/* ---- What leaves by a work item ---- */

/* Give the object back, which was not poisoned; the caller holds its record. */
static void mown_leave(struct mown_owner *owner, struct mown_record *rec)
{
	unsigned int index = mown_stripe_index(rec->addr);
	unsigned long flags;
	bool ours;

	raw_spin_lock_irqsave(&mown_stripes[index].lock, flags);
	ours = rec->state != MOWN_GONE;
	if (ours)
		mown_erase(owner, index, rec->addr, rec);
	raw_spin_unlock_irqrestore(&mown_stripes[index].lock, flags);
	if (ours)
		mown_give_back(rec);
	mown_record_free(rec);
}

/* In process context. */
void mown_leave_all(struct mown_owner *owner)
{
	struct mown_deferred *at, *next;

	/* So that the owner stays findable until they have gone. */
	lockdep_assert_held(&mown_owners_lock);
	llist_for_each_entry_safe(at, next, llist_del_all(&owner->leaving),
				  leave)
		mown_leave(owner, &at->rec);
}

static void mown_leave_func(struct work_struct *work)
{
	struct mown_owner *owner;

	mutex_lock(&mown_owners_lock);
	list_for_each_entry(owner, &mown_owners, list)
		mown_leave_all(owner);
	mutex_unlock(&mown_owners_lock);
}

static DECLARE_WORK(mown_leave_work, mown_leave_func);

static void mown_leave_irq_func(struct irq_work *work)
{
	queue_work(mown_system_wq, &mown_leave_work);
}

/* Whoever frees may hold what a wake-up wants. */
static DEFINE_IRQ_WORK(mown_leave_irq_work, mown_leave_irq_func);

/*
 * Have an object leave that this context cannot give back. The caller holds its
 * record, which is in no slot, and is in an RCU read-side section; if the object has
 * not been in quarantine, its stripe is locked. The record stays where it is until the
 * object goes: until then a second release is refused. Neither of its memory nor of
 * its links may the list be made, therefore.
 */
void mown_leave_later(struct mown_owner *owner, struct mown_record *rec)
{
	struct mown_deferred *deferred = container_of(rec, struct mown_deferred,
						      rec);

	if (llist_add(&deferred->leave, &owner->leaving))
		irq_work_queue(&mown_leave_irq_work);
}

/*
 * Wait until all that was on its way out before is given back; after a grace period, as
 * for who has it on the way here.
 */
void mown_leave_flush(void)
{
	irq_work_sync(&mown_leave_irq_work);
	flush_work(&mown_leave_work);
}

/* ---- What leaves at once ---- */

/* Give an object back whose record the caller holds, in an RCU read-side section. */
void mown_evict(struct mown_owner *owner, struct mown_freed *freed)
{
	struct mown_record *rec = freed->rec;
	unsigned int index = mown_stripe_index(rec->addr);
	struct mown_stripe *stripe = &mown_stripes[index];
	unsigned long flags;
	bool ours, looked = !freed->poisoned;

	/* What else the word says may change, but not the family. */
	if (unlikely(data_race(mown_families[rec->family].sleeps))) {
		mown_leave_later(owner, rec);
		return;
	}
	/* A small one is looked at under the lock that it leaves under. */
	if (unlikely(!looked && rec->size > MOWN_POISON_PIECE)) {
		mown_poison_check(owner, freed);
		looked = true;
	}
	mown_hurry();
	raw_spin_lock_irqsave(&stripe->lock, flags);
	if (unlikely(!looked && mown_poison_spoilt(rec, 0, rec->size))) {
		raw_spin_unlock_irqrestore(&stripe->lock, flags);
		mown_poison_check(owner, freed);
		raw_spin_lock_irqsave(&stripe->lock, flags);
	}
	ours = rec->state != MOWN_GONE;
	if (ours)
		mown_erase(owner, index, rec->addr, rec);
	raw_spin_unlock_irqrestore(&stripe->lock, flags);
	if (ours)
		mown_give_back(rec);
	mown_hurry_end();
	mown_record_free(rec);
}

/*
 * Let the oldest object go if the bounds are not kept. Returns whether one went.
 * What is told of the object names the owner, which must not go before that: it
 * cannot while an object of it is in the ring when this begins.
 */
static bool mown_quarantine_evict(struct mown_owner *owner, unsigned long bytes)
{
	struct mown_freed freed;
	unsigned long flags;

	rcu_read_lock();
	raw_spin_lock_irqsave(&owner->quarantine.lock, flags);
	mown_quarantine_get(&owner->quarantine, bytes, &freed);
	raw_spin_unlock_irqrestore(&owner->quarantine.lock, flags);
	if (freed.rec)
		mown_evict(owner, &freed);
	rcu_read_unlock();
	return freed.rec;
}

/*
 * Let the oldest objects go until the rest keeps the bounds, with no lock
 * held: wherever the family's release may be called. @owner stays.
 */
void mown_quarantine_trim(struct mown_owner *owner, unsigned long bytes)
{
	while (mown_quarantine_over(&owner->quarantine, bytes))
		mown_quarantine_evict(owner, bytes);
}

/*
 * The first slot from *@at on that has an object of the cache: the caller holds
 * its record then. False if there is none.
 */
static bool mown_quarantine_pick(struct mown_quarantine *q, unsigned int *at,
				 const struct kmem_cache *cache,
				 struct mown_freed *freed)
{
	unsigned long flags;

	freed->rec = NULL;
	raw_spin_lock_irqsave(&q->lock, flags);
	if ((int)(*at - q->head) < 0)
		*at = q->head;
	for (; q->ring && !freed->rec && *at != q->tail; ++*at) {
		struct mown_freed *slot = mown_quarantine_slot(q, *at);

		/* What else the word says may change, but not the family. */
		if (!slot->rec || data_race(mown_record_with(slot->rec)) != cache)
			continue;
		*freed = *slot;
		mown_quarantine_take(q, slot);
	}
	raw_spin_unlock_irqrestore(&q->lock, flags);
	return freed->rec;
}

/*
 * Give back all objects of a cache that wait, for a grace period or here: nobody has
 * any more wait. In process context.
 */
void mown_quarantine_purge(const struct kmem_cache *cache)
{
	struct mown_owner *owner;
	struct mown_freed freed;
	unsigned int at;

	mown_rcu_flush_slabs();
	rcu_read_lock();
	list_for_each_entry_rcu(owner, &mown_owners, list) {
		at = READ_ONCE(owner->quarantine.head);
		while (mown_quarantine_pick(&owner->quarantine, &at, cache,
					    &freed))
			mown_evict(owner, &freed);
	}
	rcu_read_unlock();
	/* What is on its way out of a quarantine has gone after this. */
	synchronize_rcu();
}

/* A new number for @owner, or for those that have none of their own if NULL. */
void mown_quarantine_set(struct mown_owner *owner, unsigned long bytes)
{
	mutex_lock(&mown_owners_lock);
	WRITE_ONCE(*(owner ? &owner->quarantine_bytes : &mown_quarantine_bytes),
		   bytes);
	mown_stack_update();
	mutex_unlock(&mown_owners_lock);
	/* Whoever goes by the old number has put its object there after this. */
	synchronize_rcu();
	if (owner)
		mown_quarantine_trim(owner, mown_quarantine_limit(owner));
	else
		while ((owner = mown_owner_next(owner)))
			mown_quarantine_trim(owner, mown_quarantine_limit(owner));
	synchronize_rcu();
	mown_leave_flush();
}

/* Forget call sites in @text. */
static void mown_quarantine_forget(struct mown_quarantine *q,
				   const struct mown_range *text)
{
	unsigned long flags;
	unsigned int i;

	raw_spin_lock_irqsave(&q->lock, flags);
	for (i = q->head; q->ring && i != q->tail; i++) {
		struct mown_freed *slot = mown_quarantine_slot(q, i);

		if (!slot->own && mown_in_range(text, slot->site)) {
			slot->site = 0;
			slot->stack = 0;
		}
	}
	raw_spin_unlock_irqrestore(&q->lock, flags);
}

/*
 * @text of a module goes, whose owner is @owner, or NULL. What it released of others'
 * may still be in their quarantines, and must not be named after whoever gets its
 * place.
 */
void mown_quarantine_forget_sites(struct mown_owner *owner,
				  const struct mown_range *text)
{
	struct mown_owner *other = NULL;

	if (!(owner && READ_ONCE(owner->freed_others)) &&
	    !READ_ONCE(mown_stranger_freed))
		return;
	/* So that none of it waits for RCU. */
	mown_rcu_flush();
	while ((other = mown_owner_next(other)))
		if (other != owner)
			mown_quarantine_forget(&other->quarantine, text);
	/* And so that nothing that has left meanwhile is still to be told. */
	synchronize_rcu();
	mown_report_flush();
}

/* What the owner's quarantine takes besides the objects. */
size_t mown_quarantine_overhead(const struct mown_owner *owner)
{
	return READ_ONCE(owner->quarantine.ring) ?
	       MOWN_QUARANTINE_SLOTS * sizeof(struct mown_freed) : 0;
}

/* ---- When memory is short ---- */

/* In reclaim, where whoever waits for memory may have any mutex. */
static unsigned long mown_shrink_count(struct shrinker *shrinker,
				       struct shrink_control *sc)
{
	struct mown_owner *owner;
	unsigned long nr = 0;

	rcu_read_lock();
	list_for_each_entry_rcu(owner, &mown_owners, list)
		nr += READ_ONCE(owner->quarantine.objects);
	rcu_read_unlock();
	/* It is halved: see mown_shrinker_new(). */
	return 2 * nr ?: SHRINK_EMPTY;
}

static unsigned long mown_shrink_scan(struct shrinker *shrinker,
				      struct shrink_control *sc)
{
	struct mown_owner *owner;
	unsigned long nr = 0;

	rcu_read_lock();
	list_for_each_entry_rcu(owner, &mown_owners, list)
		while (nr < sc->nr_to_scan && mown_quarantine_evict(owner, 0))
			nr++;
	rcu_read_unlock();
	return nr ?: SHRINK_STOP;
}

int mown_quarantine_init(void)
{
	mown_quarantine_bytes = min(MOWN_QUARANTINE_BYTES_MAX,
				    totalram_pages() / 1000 << PAGE_SHIFT);
	mown_shrinker = mown_shrinker_new(mown_shrink_count, mown_shrink_scan);
	return mown_shrinker ? 0 : -ENOMEM;
}

void mown_quarantine_exit(void)
{
	mown_shrinker_free(mown_shrinker);
	mown_leave_flush();
}
