// SPDX-License-Identifier: GPL-2.0
/*
 * Commits one violation, the one it is asked for, so that a policy of panic can
 * be seen to hold for that one.
 */
#include <linux/init.h>
#include <linux/module.h>
#include <linux/mown.h>
#include <linux/slab.h>
#include <linux/string.h>

static char *commit = "nothing";
module_param(commit, charp, 0444);
MODULE_PARM_DESC(commit, "double_free, interior_free, unknown_free or left_behind");

static noinline void free_twice(void)
{
	void *ptr = mown_kmalloc(64, GFP_KERNEL);

	mown_kfree(ptr);
	mown_kfree(ptr);
}

static noinline void free_inside(void)
{
	char *ptr = mown_kmalloc(64, GFP_KERNEL);

	if (!ptr)
		return;
	mown_kfree(ptr + 16);
	mown_kfree(ptr);
}

static noinline void free_unknown(void)
{
	void *ptr = kmalloc(64, GFP_KERNEL);

	mown_kfree(ptr);
	kfree(ptr);
}

static noinline void *leave_behind(void)
{
	return mown_kmalloc(64, GFP_KERNEL);
}

static int __init mown_test_panic_init(void)
{
	if (!strcmp(commit, "double_free"))
		free_twice();
	else if (!strcmp(commit, "interior_free"))
		free_inside();
	else if (!strcmp(commit, "unknown_free"))
		free_unknown();
	else if (!strcmp(commit, "left_behind"))
		return leave_behind() ? 0 : -ENOMEM;
	else
		return -EINVAL;
	return 0;
}
module_init(mown_test_panic_init);

static void __exit mown_test_panic_exit(void)
{
}
module_exit(mown_test_panic_exit);

MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("mown: one violation");
MODULE_INFO(test, "Y");
