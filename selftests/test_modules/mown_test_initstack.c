// SPDX-License-Identifier: GPL-2.0
/*
 * Allocates and frees an object in its init function by way of others, which stay:
 * so no call site is in the init text, but a frame of each stack is. Write anything
 * to "again", and the object is freed again.
 */
#include <linux/init.h>
#include <linux/module.h>
#include <linux/mown.h>

static void *object;

static noinline int make(void)
{
	object = mown_kmalloc(100, GFP_KERNEL);
	return object ? 0 : -ENOMEM;
}

static noinline void release(void)
{
	mown_kfree(object);
	/* No jump, which would take the frame away */
	barrier();
}

static int again_set(const char *val, const struct kernel_param *kp)
{
	release();
	return 0;
}

static const struct kernel_param_ops again_ops = { .set = again_set };
module_param_cb(again, &again_ops, NULL, 0200);

static int __init mown_test_initstack_init(void)
{
	int err = make();

	if (err)
		return err;
	release();
	return 0;
}
module_init(mown_test_initstack_init);

static void __exit mown_test_initstack_exit(void)
{
}
module_exit(mown_test_initstack_exit);

MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("mown: stacks that lead through text that goes");
MODULE_INFO(test, "Y");
