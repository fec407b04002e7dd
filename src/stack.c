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

/* mown's own frames between the caller and stack_trace_save(). */
#define MOWN_STACK_OWN 6

unsigned int mown_stack_depth;

/*
 * The depot takes its table, up to 8 MiB, when it is first wanted, and never
 * gives it back: a knob of 0 leaves the kernel as it is.
 */
int mown_stack_set_depth(unsigned int depth)
{
	int ret;

	if (depth > MOWN_STACK_MAX)
		return -ERANGE;
	if (depth) {
		if (!IS_ENABLED(CONFIG_STACKDEPOT) ||
		    !IS_ENABLED(CONFIG_STACKTRACE))
			return -EOPNOTSUPP;
		ret = stack_depot_init();
		if (ret)
			return ret;
	}
	WRITE_ONCE(mown_stack_depth, depth);
	return 0;
}

/**
 * __mown_stack_save - keep the stack that leads to a call of mown
 * @site: the return address of that call, the first frame kept
 * @gfp: what the caller may wait for
 *
 * Context: Any but NMI, with no lock of mown's held.
 * Return: the stack depot's handle, or 0.
 */
u32 __mown_stack_save(unsigned long site, gfp_t gfp)
{
	unsigned long entries[MOWN_STACK_MAX + MOWN_STACK_OWN];
	unsigned int nr, depth, own = 0;

	depth = min_t(unsigned int, READ_ONCE(mown_stack_depth),
		      MOWN_STACK_MAX);
	nr = stack_trace_save(entries, depth + MOWN_STACK_OWN, 0);
	while (own < nr && entries[own] != site)
		own++;
	if (own == nr)
		own = 0;
	nr = min(nr - own, depth);
	/* The depot may not wait for its lock's owner on PREEMPT_RT. */
	return mown_depot_save(entries + own, nr,
			       (gfp & (GFP_KERNEL | GFP_ATOMIC)) | __GFP_NOWARN,
			       !IS_ENABLED(CONFIG_PREEMPT_RT) || preemptible());
}
