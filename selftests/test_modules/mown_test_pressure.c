// SPDX-License-Identifier: GPL-2.0
/*
 * Takes memory with GFP_ATOMIC until the kernel has none left to give, or a cap
 * is reached, and frees it all: first in large blocks, which takes most of the
 * memory in few steps, then pages, which takes the last. All within the init,
 * so that the machine is without memory for a moment only.
 */
#include <linux/init.h>
#include <linux/list.h>
#include <linux/module.h>
#include <linux/mown.h>
#include <linux/sched.h>

#define GFP_PRESSURE (GFP_ATOMIC | __GFP_NOWARN)

static unsigned int large_max;
module_param(large_max, uint, 0444);
MODULE_PARM_DESC(large_max, "blocks of 4 MiB at most");

static unsigned int small_max;
module_param(small_max, uint, 0444);
MODULE_PARM_DESC(small_max, "blocks of 4 KiB at most");

/* What came of it, to be read by the test. */
static unsigned int large;
module_param(large, uint, 0444);
static unsigned int small;
module_param(small, uint, 0444);
static bool ran_dry;
module_param(ran_dry, bool, 0444);

static LIST_HEAD(blocks);

static unsigned int take(size_t size, unsigned int max)
{
	struct list_head *block;
	unsigned int n;

	for (n = 0; n < max; n++) {
		block = mown_kmalloc(size, GFP_PRESSURE);
		if (!block) {
			ran_dry = true;
			break;
		}
		list_add(block, &blocks);
		/* The kernel clears them first, which may take its time. */
		cond_resched();
	}
	return n;
}

static int __init mown_test_pressure_init(void)
{
	struct list_head *block, *next;

	large = take(4 << 20, large_max);
	small = take(4 << 10, small_max);
	list_for_each_safe(block, next, &blocks) {
		mown_kfree(block);
		cond_resched();
	}
	return 0;
}
module_init(mown_test_pressure_init);

static void __exit mown_test_pressure_exit(void)
{
}
module_exit(mown_test_pressure_exit);

MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("mown: GFP_ATOMIC when there is no memory");
MODULE_INFO(test, "Y");
