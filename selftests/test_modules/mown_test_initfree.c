// SPDX-License-Identifier: GPL-2.0
/*
 * Frees an object in its init function, whose text is gone by the time that the
 * object is freed again: write anything to "again". With "to" another object is
 * made over to that module there, and "others" is one of another module's that is
 * freed there. "init_at" tells where that text was.
 */
#include <linux/init.h>
#include <linux/module.h>
#include <linux/mown.h>

static unsigned long to;
module_param(to, ulong, 0400);
static unsigned long others;
module_param(others, ulong, 0400);
static unsigned long init_at;
module_param(init_at, ulong, 0400);

static void *object;

static noinline void free_again(void)
{
	mown_kfree(object);
}

static int again_set(const char *val, const struct kernel_param *kp)
{
	free_again();
	return 0;
}

static const struct kernel_param_ops again_ops = { .set = again_set };
module_param_cb(again, &again_ops, NULL, 0200);

static int __init mown_test_initfree_init(void)
{
	init_at = (unsigned long)mown_test_initfree_init;
	object = mown_kmalloc(100, GFP_KERNEL);
	if (!object)
		return -ENOMEM;
	mown_kfree(object);
	mown_kfree((void *)others);
	if (to && mown_transfer(mown_kmalloc(200, GFP_KERNEL),
				(struct module *)to))
		return -EINVAL;
	return 0;
}
module_init(mown_test_initfree_init);

static void __exit mown_test_initfree_exit(void)
{
}
module_exit(mown_test_initfree_exit);

MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("mown: freed first in text that goes");
MODULE_INFO(test, "Y");
