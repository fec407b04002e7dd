// SPDX-License-Identifier: GPL-2.0
/*
 * Allocates three objects, frees one of them and fails: what many an error path
 * that was never walked does.
 */
#include <linux/init.h>
#include <linux/module.h>
#include <linux/mown.h>

static noinline void *setup_part(size_t size)
{
	return mown_kmalloc(size, GFP_KERNEL);
}

static int __init mown_test_initfail_init(void)
{
	void *first, *second, *third;

	first = setup_part(100);
	second = setup_part(200);
	third = setup_part(300);
	if (!first || !second || !third)
		return -ENOMEM;
	mown_kfree(second);
	return -ENODEV;
}
module_init(mown_test_initfail_init);

MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("mown: an init that fails half way");
MODULE_INFO(test, "Y");
