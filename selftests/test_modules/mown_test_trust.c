// SPDX-License-Identifier: GPL-2.0
/*
 * What puts mown's trust in its records to the test, by the parameter "what":
 *
 *	hole	an object goes on a path that the net does not see, and its
 *		address belongs to the kernel from then on
 *	format	a string with a NUL in its middle is freed wrongly, then rightly
 *	free	frees what the kernel keeps
 */
#include <linux/init.h>
#include <linux/module.h>
#include <linux/mown.h>
#include <linux/preempt.h>

#include "world.h"

static char *what = "";
module_param(what, charp, 0444);

/* Whether it came about as wanted, for the test to read. */
static bool done;
module_param(done, bool, 0444);

static void trust_hole(void)
{
	void *object;

	/* What it comes from is the CPU's. */
	migrate_disable();
	object = mown_kmalloc(3000, WORLD_GFP);
	done = object && mown_world_take_over(object, 3000);
	migrate_enable();
}

static void trust_format(void)
{
	char *str = mown_kasprintf(GFP_KERNEL, "%c%s", 0,
				   "longer than the smallest object");

	done = str;
	if (!str)
		return;
	mown_kfree(str + 4);
	mown_kfree(str);
}

static int __init mown_test_trust_init(void)
{
	if (!strcmp(what, "hole"))
		trust_hole();
	else if (!strcmp(what, "format"))
		trust_format();
	else if (!strcmp(what, "free"))
		mown_kfree(mown_world_kept());
	else
		return -EINVAL;
	return 0;
}
module_init(mown_test_trust_init);

static void __exit mown_test_trust_exit(void)
{
}
module_exit(mown_test_trust_exit);

MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("mown: records that must not be believed, and some that must");
MODULE_INFO(test, "Y");
