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
#include "mown.h"

/* mown's own frames between the caller and stack_trace_save(): mostly, and at most. */
#define MOWN_STACK_OWN 4
#define MOWN_STACK_OWN_MAX 8

/* The knob: of owners that have no number of their own. */
int mown_stack_depth;

/* Somebody's depth is not 0. */
bool mown_stack_wanted;

/* An owner has come, has gone, or has another depth; under mown_owners_lock. */
void mown_stack_update(void)
{
	bool wanted = mown_stack_depth > 0;
	struct mown_owner *owner;

	lockdep_assert_held(&mown_owners_lock);
	list_for_each_entry(owner, &mown_owners, list)
		wanted |= owner->stack_depth > 0;
	WRITE_ONCE(mown_stack_wanted, wanted);
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
	unsigned int own, room = MOWN_STACK_OWN;
	unsigned long entries[MOWN_STACK_MAX + MOWN_STACK_OWN_MAX];

	if (!depth)
		return 0;
	/* Each frame takes hundreds of instructions. */
	for (;; room = MOWN_STACK_OWN_MAX) {
		nr = stack_trace_save(entries, depth + room, 0);
		own = 0;
		while (own < nr && entries[own] != caller->site)
			own++;
		if (own <= room || nr < depth + room ||
		    room == MOWN_STACK_OWN_MAX)
			break;
	}
	if (own == nr)
		own = 0;
	nr = min(nr - own, depth);
	/* The depot may not wait for its lock's owner on PREEMPT_RT. */
	return mown_depot_save(entries + own, nr,
			       (gfp & (GFP_KERNEL | GFP_ATOMIC)) | __GFP_NOWARN,
			       !IS_ENABLED(CONFIG_PREEMPT_RT) || preemptible());
}
