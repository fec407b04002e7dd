// SPDX-License-Identifier: GPL-2.0
/*
 * Stacks of allocations and releases, kept once each in the kernel's depot
 *
 * Off by default: one unwind costs more than all the rest together.
 */
#include <linux/gfp.h>
#include <linux/preempt.h>
#include <linux/stacktrace.h>

#include "compat.h"
#ifdef MOWN_HAVE_FRAMES
#include <asm/unwind.h>
#endif
#include "mown.h"

/* mown's own frames between the caller and stack_trace_save(): mostly, and at most. */
#define MOWN_STACK_OWN 4
#define MOWN_STACK_OWN_MAX 8

/* The knob: of owners that have no number of their own. */
int mown_stack_depth;

/* Somebody's depth is not 0; and somebody has a quarantine besides. */
bool mown_stack_wanted;
bool mown_stack_of_releases;

/*
 * An owner has come, has gone, or has another depth or quarantine; under
 * mown_owners_lock.
 */
void mown_stack_update(void)
{
	bool wanted = mown_stack_depth > 0, waits = mown_quarantine_bytes;
	struct mown_owner *owner;

	lockdep_assert_held(&mown_owners_lock);
	list_for_each_entry(owner, &mown_owners, list) {
		wanted |= owner->stack_depth > 0;
		waits |= mown_quarantine_limit(owner);
	}
	WRITE_ONCE(mown_stack_wanted, wanted);
	WRITE_ONCE(mown_stack_of_releases, wanted && waits);
	WRITE_ONCE(mown_more_wanted, wanted || mown_redzone_wanted);
}

/*
 * The depth for @owner, or for those that have none of their own if NULL. The
 * depot takes its table, up to 8 MiB, when it is first wanted, and never gives
 * it back: a knob of 0 leaves the kernel as it is.
 */
int mown_stack_set_depth(struct mown_owner *owner, int depth)
{
	int ret;

	if (depth > MOWN_STACK_MAX)
		return -ERANGE;
	if (depth > 0) {
		if (!IS_ENABLED(CONFIG_STACKDEPOT) ||
		    !IS_ENABLED(CONFIG_STACKTRACE))
			return -EOPNOTSUPP;
		ret = stack_depot_init();
		if (ret)
			return ret;
	}
	mutex_lock(&mown_owners_lock);
	WRITE_ONCE(*(owner ? &owner->stack_depth : &mown_stack_depth), depth);
	mown_stack_update();
	mutex_unlock(&mown_owners_lock);
	return 0;
}

static unsigned int mown_stack_depth_of(const struct module *mod)
{
	int depth = MOWN_STACK_INHERIT;
	struct mown_owner *owner;

	rcu_read_lock();
	owner = mown_owner_find(mod);
	if (owner)
		depth = READ_ONCE(owner->stack_depth);
	rcu_read_unlock();
	if (depth == MOWN_STACK_INHERIT)
		depth = READ_ONCE(mown_stack_depth);
	return min(depth, MOWN_STACK_MAX);
}

#ifdef MOWN_HAVE_FRAMES
/*
 * Unwind from the caller's frame on: passing mown's own takes as long as all the
 * rest. What is unwound by may not be its frame pointer, but is what it had in that
 * register. 0 if the frame is not known.
 */
static unsigned int mown_stack_of(const struct mown_caller *caller,
				  unsigned long *entries, unsigned int depth)
{
	const unsigned long *frame = caller->frame;
	struct unwind_state state;
	struct pt_regs regs = { .cs = __KERNEL_CS };
	unsigned int nr = 0;

	/* Its return address may be a tracer's. */
	if (!frame || frame[1] != caller->site)
		return 0;
	entries[nr++] = caller->site;
	/* In the call, not behind it. */
	regs.ip = caller->site - 1;
	regs.bp = frame[0];
	regs.sp = (unsigned long)(frame + 2);
	for (unwind_start(&state, current, &regs, NULL);
	     nr < depth && !unwind_done(&state); unwind_next_frame(&state)) {
		entries[nr] = unwind_get_return_address(&state);
		if (!entries[nr])
			break;
		nr++;
	}
	return nr;
}
#else
static unsigned int mown_stack_of(const struct mown_caller *caller,
				  unsigned long *entries, unsigned int depth)
{
	return 0;
}
#endif

/*
 * The same for whatever is known of the caller: @entries has room for mown's own
 * frames, which are passed over. Returns where the caller's begin.
 */
static unsigned long *mown_stack_behind(const struct mown_caller *caller,
					unsigned long *entries,
					unsigned int depth, unsigned int *nr)
{
	unsigned int own, room = MOWN_STACK_OWN;

	/* Each frame takes hundreds of instructions. */
	for (;; room = MOWN_STACK_OWN_MAX) {
		*nr = stack_trace_save(entries, depth + room, 0);
		own = 0;
		while (own < *nr && entries[own] != caller->site)
			own++;
		if (own <= room || *nr < depth + room ||
		    room == MOWN_STACK_OWN_MAX)
			break;
	}
	if (own == *nr)
		own = 0;
	*nr = min(*nr - own, depth);
	return entries + own;
}

/**
 * __mown_stack_save - keep the stack that leads to a call of mown
 * @caller: whose call; its return address is the first frame kept
 * @gfp: what the caller may wait for
 *
 * Context: Any but NMI, with no lock of mown's held.
 * Return: the stack depot's handle, or 0.
 */
u32 __mown_stack_save(const struct mown_caller *caller, gfp_t gfp)
{
	unsigned int nr, depth = mown_stack_depth_of(caller->mod);
	unsigned long entries[MOWN_STACK_MAX + MOWN_STACK_OWN_MAX];
	unsigned long *first = entries;

	if (!depth)
		return 0;
	nr = mown_stack_of(caller, entries, depth);
	if (!nr)
		first = mown_stack_behind(caller, entries, depth, &nr);
	/* The depot may not wait for its lock's owner on PREEMPT_RT. */
	return mown_depot_save(first, nr,
			       (gfp & MOWN_GFP_OWN) | __GFP_NOWARN,
			       !IS_ENABLED(CONFIG_PREEMPT_RT) || preemptible());
}
