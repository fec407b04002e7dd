// SPDX-License-Identifier: GPL-2.0
/*
 * Takes over "object", which is another module's, in its init function, and then
 * waits there: write anything to "go". What it allocates there itself, it forgets.
 */
#include <linux/completion.h>
#include <linux/init.h>
#include <linux/module.h>
#include <linux/mown.h>

static unsigned long object;
module_param(object, ulong, 0400);

static DECLARE_COMPLETION(taker_may_go);

static int go_set(const char *val, const struct kernel_param *kp)
{
	complete(&taker_may_go);
	return 0;
}

static const struct kernel_param_ops go_ops = { .set = go_set };
module_param_cb(go, &go_ops, NULL, 0200);

static int __init mown_test_taker_init(void)
{
	if (!mown_kmalloc(100, GFP_KERNEL))
		return -ENOMEM;
	if (mown_transfer((void *)object, THIS_MODULE))
		return -EINVAL;
	return wait_for_completion_killable(&taker_may_go);
}
module_init(mown_test_taker_init);

static void __exit mown_test_taker_exit(void)
{
}
module_exit(mown_test_taker_exit);

MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("mown: an object taken over in an init function");
MODULE_INFO(test, "Y");
