// SPDX-License-Identifier: GPL-2.0
/*
 * Quarantine: what an owner released waits here before it goes back to the
 * kernel, so that a second free of it is known for what it is
 *
 * A ring per owner, bounded in slots and in bytes: the oldest leave first. A
 * slot whose object was freed by somebody else meanwhile is empty, and passed
 * over. Who may hold a record, and when, stands in mown.h.
 */
#include <linux/mm.h>
#include <linux/sizes.h>
#include <linux/slab.h>

#include "mown.h"

#define MOWN_QUARANTINE_BYTES_MAX ((unsigned long)SZ_1M)

/* The knob: bytes per owner; 0 is off. */
unsigned long mown_quarantine_bytes;

void mown_quarantine_set_default(void)
{
	mown_quarantine_bytes = min(MOWN_QUARANTINE_BYTES_MAX,
				    totalram_pages() / 1000 << PAGE_SHIFT);
}

int mown_quarantine_new(struct mown_quarantine *q)
{
	raw_spin_lock_init(&q->lock);
	q->ring = kvcalloc(MOWN_QUARANTINE_SLOTS, sizeof(*q->ring), GFP_KERNEL);
	return q->ring ? 0 : -ENOMEM;
}

/* When it is empty for good; may be called again. */
void mown_quarantine_free(struct mown_quarantine *q)
{
	kvfree(q->ring);
	WRITE_ONCE(q->ring, NULL);
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

/*
 * The record's stripe is locked, and the caller holds the record. False if the
 * ring is full: so many CPUs are ahead of mown_quarantine_trim().
 */
bool mown_quarantine_push(struct mown_quarantine *q,
			  const struct mown_freed *freed)
{
	struct mown_record *rec = freed->rec;
	struct mown_freed *slot;

	raw_spin_lock(&q->lock);
	if (unlikely(q->tail - q->head == MOWN_QUARANTINE_SLOTS)) {
		raw_spin_unlock(&q->lock);
		return false;
	}
	slot = mown_quarantine_slot(q, q->tail);
	WRITE_ONCE(q->tail, q->tail + 1);
	*slot = *freed;
	rec->freed = slot;
	rec->state = MOWN_QUARANTINED;
	WRITE_ONCE(q->objects, q->objects + 1);
	WRITE_ONCE(q->bytes, q->bytes + freed->bytes);
	raw_spin_unlock(&q->lock);
	return true;
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

/* Slots that were left empty count as objects until they have passed. */
static bool mown_quarantine_over(const struct mown_quarantine *q,
				 unsigned long bytes)
{
	return READ_ONCE(q->bytes) > bytes ||
	       READ_ONCE(q->tail) - READ_ONCE(q->head) >
	       MOWN_QUARANTINE_OBJECTS;
}

/* The oldest record while over the bounds, held by the caller then; or NULL. */
static struct mown_record *mown_quarantine_pop(struct mown_quarantine *q,
					       unsigned long bytes)
{
	struct mown_record *rec = NULL;
	unsigned long flags;

	raw_spin_lock_irqsave(&q->lock, flags);
	while (!rec && mown_quarantine_over(q, bytes)) {
		struct mown_freed *slot = mown_quarantine_slot(q, q->head);

		if (slot->rec)
			rec = mown_quarantine_take(q, slot);
		WRITE_ONCE(q->head, q->head + 1);
	}
	raw_spin_unlock_irqrestore(&q->lock, flags);
	return rec;
}

/* Give an object back whose record the caller holds. */
static void mown_evict(struct mown_owner *owner, struct mown_record *rec)
{
	unsigned int index = mown_stripe_index(rec->addr);
	struct mown_stripe *stripe = &mown_stripes[index];
	unsigned long flags;
	bool ours;

	mown_hurry();
	raw_spin_lock_irqsave(&stripe->lock, flags);
	ours = rec->state != MOWN_GONE;
	if (ours)
		mown_tree_erase(&owner->trees[index], rec);
	raw_spin_unlock_irqrestore(&stripe->lock, flags);
	if (ours)
		mown_give_back(rec->family, rec->addr);
	mown_hurry_end();
	mown_record_free(rec);
}

/*
 * Let the oldest objects go until the rest keeps the bounds, with no lock
 * held: wherever the family's release may be called. @owner stays.
 */
void mown_quarantine_trim(struct mown_owner *owner, unsigned long bytes)
{
	struct mown_quarantine *q = &owner->quarantine;
	struct mown_record *rec;

	while (mown_quarantine_over(q, bytes)) {
		rec = mown_quarantine_pop(q, bytes);
		if (rec)
			mown_evict(owner, rec);
	}
}

/* What the owner's quarantine takes besides the objects. */
size_t mown_quarantine_overhead(const struct mown_owner *owner)
{
	return READ_ONCE(owner->quarantine.ring) ?
	       MOWN_QUARANTINE_SLOTS * sizeof(struct mown_freed) : 0;
}
