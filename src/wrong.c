// SPDX-License-Identifier: GPL-2.0
/*
 * Wrong frees: what is known of them, what they are, and what is done
 *
 * What there is to say is copied under the lock of the stripe. The verdict
 * falls after it, by the policy.
 */
#include <linux/ctype.h>
#include <linux/err.h>
#include <linux/sched.h>
#include <linux/string.h>

#include "compat.h"
#include "mown.h"

void mown_describe_call(struct mown_event *event, unsigned long ptr,
			unsigned long site)
{
	char *c;

	memset(event, 0, sizeof(*event));
	event->ptr = ptr;
	event->now.site = site;
	event->now.pid = mown_pid();
	event->now.cpu = raw_smp_processor_id();
	strscpy_pad(event->comm, current->comm, sizeof(event->comm));
	/* The task has chosen it, and must not forge lines of ours. */
	for (c = event->comm; *c; c++)
		if (!isascii(*c) || !isprint(*c))
			*c = '?';
}

/* When and by whom the object was released, as far as its slot knows. */
void mown_describe_freed(struct mown_event *event,
			 const struct mown_freed *freed)
{
	if (freed->blank)
		return;
	event->alloc.dated = true;
	event->alloc.when = freed->alloc_when;
	event->alloc.stack = freed->alloc_stack;
	if (!freed->site)
		return;
	event->freed.dated = true;
	event->freed.own = freed->own;
	event->freed.site = freed->site;
	event->freed.stack = freed->stack;
	event->freed.when = freed->when;
	event->freed.pid = freed->pid;
	event->freed.cpu = freed->cpu;
}

/* The stripe of @rec is locked. */
void mown_describe_object(struct mown_event *event, struct mown_owner *owner,
			  const struct mown_record *rec)
{
	struct mown_freed freed;
	bool known = false;

	event->owner = owner;
	event->object = rec->addr;
	event->size = rec->size;
	event->family = rec->family;
	event->released = rec->state != MOWN_LIVE;
	event->shared = rec->state == MOWN_ELSEWHERE && rec->family == MOWN_PAGES;
	event->rcu = !event->shared && (rec->state == MOWN_RCU ||
					rec->state == MOWN_ELSEWHERE);
	event->alloc.own = true;
	event->alloc.site = rec->site;
	event->alloc.pid = rec->pid;
	event->alloc.cpu = rec->cpu;
	switch (rec->state) {
	case MOWN_ELSEWHERE:
		if (!MOWN_SEES_RCU_END && event->rcu)
			return;
		fallthrough;
	case MOWN_LIVE:
		event->alloc.when = rec->when;
		event->alloc.stack = rec->stack;
		event->alloc.dated = true;
		return;
	case MOWN_QUARANTINED:
		known = mown_quarantine_peek(&owner->quarantine, rec, &freed);
		event->kept = known;
		break;
	case MOWN_RCU:
		/* The batch stays until it has seen this state change. */
		known = rec->freed;
		if (known)
			freed = *rec->freed;
		break;
	}
	/* On its way in or out by whom is not known, nor since when. */
	if (known)
		mown_describe_freed(event, &freed);
}

/*
 * The start of the object that @addr points into, if it is in the stripe and @wanted,
 * or 0. What is recorded just now cannot be what the caller knows of: empty trees are
 * not locked. A record that is over goes, before anything is asked of its memory: that
 * may be part of a larger object by now, which is in another stripe.
 */
static unsigned long mown_covering_in(struct mown_owner *owner,
				      unsigned int index, unsigned long addr,
				      mown_wanted_fn wanted)
{
	unsigned long flags, start = 0;
	struct mown_stripe *stripe;
	struct mown_record *rec;

	/* What comes just now is not what is looked for. */
	if (!data_race(owner->trees[index].rb_node))
		return 0;
	stripe = mown_lock(index, &flags);
	/* If that is over, no other one of this tree covers the address: none overlap. */
	rec = mown_unless_over(owner, index,
			       mown_tree_floor(&owner->trees[index], addr));
	if (rec && wanted(rec) &&
	    addr - rec->addr < max(rec->size, mown_class_size(rec)))
		start = rec->addr;
	raw_spin_unlock_irqrestore(&stripe->lock, flags);
	return start;
}

/* An object's class is less than twice its size, or a page of vmalloc(). */
static size_t mown_max_class(struct mown_owner *owner, bool inside)
{
	return max(2 * READ_ONCE(owner->max_size[inside]), PAGE_SIZE);
}

/*
 * The start of the object of @owner that is @wanted and that @addr points into,
 * or 0. A granule's addresses share a stripe, so it is in the stripe of @addr's
 * granule, or of one before it as far back as the owner's largest object that
 * does not begin with a page; or of that of a page before, as far back as the
 * largest that does.
 */
unsigned long mown_covering(struct mown_owner *owner, unsigned long addr,
			    mown_wanted_fn wanted)
{
	size_t pages = mown_max_class(owner, false) / PAGE_SIZE + 1;
	size_t granules = mown_max_class(owner, true) / MOWN_GRANULE + 1;
	unsigned long i, start = 0;

	if (granules + pages >= MOWN_STRIPES) {
		for (i = 0; !start && i < MOWN_STRIPES; i++)
			start = mown_covering_in(owner, i, addr, wanted);
		return start;
	}
	for (i = 0; !start && i <= granules; i++)
		start = mown_covering_in(owner,
					 mown_stripe_index(addr - i * MOWN_GRANULE),
					 addr, wanted);
	for (i = 0; !start && i <= pages; i++)
		start = mown_covering_in(owner,
					 mown_stripe_index((addr & PAGE_MASK) -
							   i * PAGE_SIZE),
					 addr, wanted);
	return start;
}

/* Of other objects nothing is said of what lies inside. */
static bool mown_goes_whole(const struct mown_record *rec)
{
	return mown_families[rec->family].whole;
}

/*
 * Describe the object of @owner that @addr points into. False if there is
 * none; a record that cannot be right does not count, or it would refuse a
 * right free.
 */
static bool mown_describe_interior(struct mown_event *event,
				   struct mown_owner *owner, unsigned long addr)
{
	struct mown_stripe *stripe;
	unsigned long flags, start;
	struct mown_record *rec;
	unsigned int index;
	bool wrong;

	do {
		start = mown_covering(owner, addr, mown_goes_whole);
		if (!start)
			return false;
		index = mown_stripe_index(start);
		stripe = mown_lock(index, &flags);
		rec = mown_tree_find(&owner->trees[index], start);
		wrong = rec && (mown_is_over(rec) ||
				(rec->state == MOWN_LIVE &&
				 !mown_class_fits(rec)));
		if (wrong)
			mown_drop_stale(owner, index, rec);
		else if (rec)
			mown_describe_object(event, owner, rec);
		raw_spin_unlock_irqrestore(&stripe->lock, flags);
	} while (wrong);
	return rec;
}

/* What the caller of a release named, which is looked up as @addr. */
static unsigned long mown_named(const struct mown_caller *caller,
				unsigned long addr)
{
	return caller->family == MOWN_PERCPU && caller->way < MOWN_ANYBODY ?
	       (unsigned long)mown_percpu_cookie(addr) : addr;
}

/*
 * What is freed as an object for each CPU may be an address of any other family's,
 * and what is freed as one of these may be an object for each CPU. False if it is
 * not, or not live.
 */
static bool mown_describe_other_space(struct mown_event *event,
				      const struct mown_caller *caller)
{
	bool percpu = caller->family == MOWN_PERCPU;
	unsigned long flags, addr = percpu ? event->ptr :
				    mown_percpu_key((void *)event->ptr);
	unsigned int index = mown_stripe_index(addr);
	struct mown_stripe *stripe;
	struct mown_owner *owner;
	struct mown_record *rec;
	bool found;

	if (!mown_maybe_recorded(addr))
		return false;
	stripe = mown_lock(index, &flags);
	rec = mown_find(index, addr, NULL, &owner);
	found = rec && rec->state == MOWN_LIVE &&
		percpu != (rec->family == MOWN_PERCPU);
	if (found) {
		mown_describe_object(event, owner, rec);
		/* It is its start that is named, by another number. */
		event->ptr = rec->addr;
	}
	raw_spin_unlock_irqrestore(&stripe->lock, flags);
	return found;
}

/*
 * No live object that @caller may free starts at what it frees; @event says so,
 * and which released or foreign one does, if any. Returns whether the free is
 * passed on to the kernel all the same. One that is to be resized is not freed
 * for sure.
 */
static bool mown_wrong_free(struct mown_event *event, struct mown_owner *me,
			    const struct mown_caller *caller, bool mismatched,
			    bool resize)
{
	enum mown_word word = mown_policy(me, MOWN_UNKNOWN_FREE);
	bool is_error;

	if (!event->object && mown_describe_other_space(event, caller))
		mismatched = true;
	event->now.stack = mown_stack_save(caller, MOWN_GFP_RELEASE);
	if (event->object && !event->released && mismatched) {
		event->violation = MOWN_MISMATCHED_FREE;
		event->action = "refused; the object stays allocated";
		mown_count(event->owner, MOWN_MISMATCHED_FREES);
		mown_report(event);
		return false;
	}
	if (event->object && !event->released) {
		event->violation = MOWN_FOREIGN_FREE;
		event->action = "refused; the object stays allocated";
		mown_count(event->owner, MOWN_FOREIGN_FREES);
		mown_report(event);
		return false;
	}
	if (event->object) {
		event->violation = MOWN_DOUBLE_FREE;
		event->action = event->rcu ?
			"refused; the object is freed after its grace period" :
			event->shared ?
			"refused; the pages go when the last who holds them lets them go" :
			event->kept ?
			"refused; the object stays in quarantine" :
			"refused; the object is on its way into quarantine or out of it";
		mown_count(event->owner, MOWN_DOUBLE_FREES);
		mown_report(event);
		return false;
	}
	if (me && (caller->frees & MOWN_FREES_WHOLE) &&
	    mown_describe_interior(event, me, event->ptr)) {
		event->violation = MOWN_INTERIOR_FREE;
		event->action = event->released ?
			"refused; the object stays released" :
			"refused; the object stays allocated";
		mown_count(me, MOWN_INTERIOR_FREES);
		mown_report(event);
		return false;
	}
	/* No memory is there, ever: to the kernel it would be the end. */
	is_error = IS_ERR_VALUE(event->ptr);
	if (!is_error && mown_untracked_freed(me, resize))
		return true;
	if (word == MOWN_AUTO)
		word = caller->way == MOWN_API ? MOWN_WARN : MOWN_PASS;
	if (word == MOWN_PASS && !is_error) {
		mown_count(me, MOWN_UNKNOWN_PASSED);
		return true;
	}
	if (!is_error && mown_untracked_freed_any(resize))
		return true;
	event->owner = me;
	event->violation = MOWN_UNKNOWN_FREE;
	event->action = "refused; nothing was freed";
	/* Error pointers are refused whoever calls, without an owner, too. */
	if (me)
		mown_count(me, MOWN_UNKNOWN_FREES);
	mown_report(event);
	return false;
}

/*
 * Does nobody under mown free what is not recorded, or what he has given to the
 * kernel's kfree_rcu() before? Nor is one who was attached until just now.
 */
static bool mown_is_none_of_ours(const struct mown_hold *hold)
{
	if (hold->caller->way == MOWN_ATTACHED && !hold->me && !hold->rec)
		return true;
	/* Pages that somebody else holds were released before, rightly. */
	if (hold->rec && hold->rec->family == MOWN_PAGES &&
	    hold->rec->state == MOWN_ELSEWHERE &&
	    hold->caller->frees & BIT(MOWN_PAGES))
		return true;
	return hold->caller->way == MOWN_ANYBODY &&
	       (!hold->rec || hold->rec->state == MOWN_ELSEWHERE);
}

/*
 * What @hold has is no live object: end what was begun there. Returns whether
 * the free, or the resize, is passed on to the kernel.
 */
bool mown_not_live(struct mown_hold *hold, bool resize)
	__releases(&hold->stripe->lock) __releases(RCU)
{
	bool pass = hold->stale || mown_is_none_of_ours(hold);
	const struct mown_caller *caller = hold->caller;
	bool mismatched = hold->rec && mown_is_mismatched(hold);
	bool other = hold->rec && hold->rec->family != caller->family;
	struct mown_event event;

	mown_describe_call(&event, hold->rec ? hold->addr :
			   mown_named(caller, hold->addr), caller->site);
	if (hold->rec)
		mown_describe_object(&event, hold->owner, hold->rec);
	mown_unlock(hold);
	/* What took the place of a stale record may be anybody's. */
	if (other && mown_serves(hold->owner, caller))
		pass = true;
	if (caller->way == MOWN_DEVICE)
		pass = !hold->rec;
	else if (!pass)
		pass = mown_wrong_free(&event, hold->me, caller, mismatched,
				       resize);
	rcu_read_unlock();
	return pass;
}

/*
 * @hold has plain memory, and is released by a function of plain memory that is
 * not its family's, or names another cache: report that, and have the right
 * function release it. Returns false: nobody else is to free it.
 */
bool mown_rescue(struct mown_hold *hold, u32 stack, bool sensitive)
	__releases(&hold->stripe->lock) __releases(RCU)
{
	struct mown_event event;
	struct mown_record *rec;

	mown_describe_call(&event, hold->addr, hold->caller->site);
	mown_describe_object(&event, hold->owner, hold->rec);
	event.now.stack = stack;
	event.violation = MOWN_MISMATCHED_FREE;
	event.action = "released by the function of its own family";
	rec = mown_let_go(hold, stack, sensitive, true);
	mown_count(hold->owner, MOWN_MISMATCHED_FREES);
	mown_report(&event);
	if (rec) {
		if (sensitive)
			memzero_explicit((void *)rec->addr, rec->size);
		mown_give_back(rec);
		mown_record_free(rec);
	}
	rcu_read_unlock();
	return false;
}
