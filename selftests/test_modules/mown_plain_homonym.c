// SPDX-License-Identifier: GPL-2.0
/*
 * Has a function of its own that is called as one of the kernel's is: which frees
 * nothing. Writing to the parameter calls it so often.
 */
#include <linux/init.h>
#include <linux/kernel.h>
#include <linux/module.h>
#include <linux/moduleparam.h>

static unsigned long called;
module_param(called, ulong, 0444);
MODULE_PARM_DESC(called, "how often the function was called");

/* Three arguments as the kernel's has, to make sure that none is read. */
static noinline __noclone void dma_pool_free(void *first, unsigned long second,
					     unsigned long third)
{
	barrier_data(&first);
	called += second + third;
}

static int set_call(const char *val, const struct kernel_param *kp)
{
	unsigned long times;
	int err = kstrtoul(val, 0, &times);

	while (!err && times--)
		dma_pool_free(&times, 0, 1);
	return err;
}

static const struct kernel_param_ops call_ops = { .set = set_call };
module_param_cb(call, &call_ops, NULL, 0200);
MODULE_PARM_DESC(call, "call the function so often");

static int __init homonym_init(void)
{
	return 0;
}
module_init(homonym_init);

static void __exit homonym_exit(void)
{
}
module_exit(homonym_exit);

MODULE_LICENSE("GPL");
MODULE_INFO(test, "Y");
MODULE_DESCRIPTION("mown test: a function that is called as one of the kernel's");
