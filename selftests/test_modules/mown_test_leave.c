// SPDX-License-Identifier: GPL-2.0
/*
 * Leaves one object behind.
 */
#include <linux/init.h>
#include <linux/module.h>
#include <linux/mown.h>

static noinline void *leave_behind(void)
{
	return mown_kmalloc(64, GFP_KERNEL);
}

static int __init mown_test_leave_init(void)
{
	return leave_behind() ? 0 : -ENOMEM;
}
module_init(mown_test_leave_init);

static void __exit mown_test_leave_exit(void)
{
}
module_exit(mown_test_leave_exit);

MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("mown: an object left behind");
MODULE_INFO(test, "Y");
