// SPDX-License-Identifier: GPL-2.0
/*
 * Seven allocations, and an error path for each: fail_sweep.py has to find the
 * wrong ones. Each allocation has a function of its own, by which it is named.
 */
#include <linux/init.h>
#include <linux/module.h>
#include <linux/mown.h>

static char *bug = "none";
module_param(bug, charp, 0444);
MODULE_PARM_DESC(bug, "none, goto, double, optional, exit or einval");

static void *first, *second, *third, *fourth, *fifth, *sixth, *seventh;

static noinline void *take_first(void)
{
	return mown_kmalloc(100, GFP_KERNEL);
}

static noinline void *take_second(void)
{
	return mown_kzalloc(200, GFP_KERNEL);
}

static noinline void *take_third(void)
{
	return mown_kcalloc(3, 100, GFP_KERNEL);
}

static noinline void *take_fourth(void)
{
	return mown_kstrdup("four", GFP_KERNEL);
}

static noinline void *take_fifth(void)
{
	return mown_kmemdup("fifth", 5, GFP_KERNEL);
}

static noinline void *take_sixth(void)
{
	return mown_kasprintf(GFP_KERNEL, "number %d", 6);
}

static noinline void *take_seventh(void)
{
	return mown_krealloc(NULL, 700, GFP_KERNEL);
}

static bool has(const char *name)
{
	return !strcmp(bug, name);
}

static int __init mown_test_sweep_init(void)
{
	if (has("einval"))
		return -EINVAL;
	first = take_first();
	if (!first)
		return -ENOMEM;
	second = take_second();
	if (!second)
		goto free_first;
	third = take_third();
	if (!third)
		goto free_second;
	fourth = take_fourth();
	if (!fourth)
		goto free_third;
	fifth = take_fifth();
	if (!fifth) {
		/* The planted one. */
		if (has("goto"))
			goto free_third;
		goto free_fourth;
	}
	sixth = take_sixth();
	if (!sixth) {
		if (has("double"))
			mown_kfree(fifth);
		goto free_fifth;
	}
	seventh = take_seventh();
	if (!seventh && !has("optional"))
		goto free_sixth;
	return 0;

free_sixth:
	mown_kfree(sixth);
free_fifth:
	mown_kfree(fifth);
free_fourth:
	mown_kfree(fourth);
free_third:
	mown_kfree(third);
free_second:
	mown_kfree(second);
free_first:
	mown_kfree(first);
	return -ENOMEM;
}
module_init(mown_test_sweep_init);

static void __exit mown_test_sweep_exit(void)
{
	mown_kfree(seventh);
	mown_kfree(sixth);
	mown_kfree(fifth);
	mown_kfree(fourth);
	if (!has("exit"))
		mown_kfree(third);
	mown_kfree(second);
	mown_kfree(first);
}
module_exit(mown_test_sweep_exit);

MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("mown: error paths");
MODULE_INFO(test, "Y");
