// SPDX-License-Identifier: GPL-2.0
/*
 * Has a function for itself while it is loaded, as a live patch has: an
 * ftrace_ops that may redirect it, and does not.
 */
#include <linux/ftrace.h>
#include <linux/init.h>
#include <linux/module.h>
#include <linux/string.h>

static char *func = "kfree";
module_param(func, charp, 0444);
MODULE_PARM_DESC(func, "the function");

static void holder_func(unsigned long ip, unsigned long parent_ip,
			struct ftrace_ops *ops, struct ftrace_regs *fregs)
{
}

static struct ftrace_ops holder_ops = {
	.func = holder_func,
	.flags = FTRACE_OPS_FL_IPMODIFY,
};

static int __init holder_init(void)
{
	int err = ftrace_set_filter(&holder_ops, func, strlen(func), 1);

	if (!err)
		err = register_ftrace_function(&holder_ops);
	if (err)
		ftrace_free_filter(&holder_ops);
	return err;
}
module_init(holder_init);

static void __exit holder_exit(void)
{
	unregister_ftrace_function(&holder_ops);
	ftrace_free_filter(&holder_ops);
}
module_exit(holder_exit);

MODULE_LICENSE("GPL");
MODULE_INFO(test, "Y");
MODULE_DESCRIPTION("mown test: has a function for itself");
