// SPDX-License-Identifier: GPL-2.0
/*
 * Poison: what fills an object in quarantine, so that a write to it shows
 *
 * Only bytes that were asked for are filled, and only while the record proves
 * that nobody has freed the object from elsewhere: under the lock of its stripe,
 * where such a free would wait. So that the lock is not held for long, large
 * objects are filled and looked at piece by piece.
 */
#include <linux/minmax.h>

#include "mown.h"

/*
 * Fill @size bytes of an object with @byte. The caller holds the record, in a
 * state that says so, and its stripe is locked; the lock is dropped between the
 * pieces. False if somebody freed the object from elsewhere meanwhile.
 */
bool mown_poison_fill(struct mown_stripe *stripe, struct mown_record *rec,
		      u8 byte, size_t size, unsigned long *flags)
	__must_hold(&stripe->lock)
{
	size_t at, bytes;

	for (at = 0; at < size; at += bytes) {
		if (at) {
			raw_spin_unlock_irqrestore(&stripe->lock, *flags);
			raw_spin_lock_irqsave(&stripe->lock, *flags);
			if (rec->state == MOWN_GONE)
				return false;
		}
		bytes = min(size - at, MOWN_POISON_PIECE);
		mown_poison(rec, at, byte, bytes);
	}
	return true;
}

/* What was written, for the report; the stripe is locked. */
static void mown_describe_spoilt(struct mown_event *event,
				 struct mown_owner *owner,
				 const struct mown_freed *freed,
				 const u8 *spoilt)
{
	const struct mown_record *rec = freed->rec;

	mown_describe_call(event, rec->addr, 0);
	mown_describe_object(event, owner, rec);
	mown_describe_freed(event, freed);
	event->violation = MOWN_USE_AFTER_FREE;
	event->action = "the object was given back after this was found";
	event->offset = (unsigned long)spoilt - rec->addr;
	event->nr_bytes = min(rec->size - event->offset, sizeof(event->bytes));
	memcpy(event->bytes, spoilt, event->nr_bytes);
}

/*
 * Look whether a poisoned object, whose record the caller holds, was written to.
 * In an RCU read-side section, with no lock held.
 */
void mown_poison_check(struct mown_owner *owner, const struct mown_freed *freed)
{
	struct mown_record *rec = freed->rec;
	unsigned int index = mown_stripe_index(rec->addr);
	struct mown_stripe *stripe;
	struct mown_event event;
	const u8 *spoilt = NULL;
	size_t at = 0, bytes;
	unsigned long flags;

	while (!spoilt && at < rec->size) {
		bytes = min(rec->size - at, MOWN_POISON_PIECE);
		stripe = mown_lock(index, &flags);
		spoilt = mown_poison_spoilt(rec, at, bytes);
		if (spoilt)
			mown_describe_spoilt(&event, owner, freed, spoilt);
		raw_spin_unlock_irqrestore(&stripe->lock, flags);
		at += bytes;
	}
	if (!spoilt)
		return;
	mown_count(owner, MOWN_USE_AFTER_FREES);
	mown_report(&event);
}
