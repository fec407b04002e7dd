// SPDX-License-Identifier: GPL-2.0
/*
 * No memory for mown's records: while @deny is set, what mown itself asks of slab
 * caches is denied. The calls from the range of addresses that is mown's text go on
 * in functions that have nothing to give.
 */
#include <linux/ftrace.h>
#include <linux/init.h>
#include <linux/module.h>
#include <linux/slab.h>
#include <linux/version.h>

static unsigned long start, size;
module_param(start, ulong, 0444);
MODULE_PARM_DESC(start, "where mown's text begins");
module_param(size, ulong, 0444);
MODULE_PARM_DESC(size, "its bytes");

static bool deny;
module_param(deny, bool, 0644);
MODULE_PARM_DESC(deny, "deny it");

static void *no_object(struct kmem_cache *cache, gfp_t gfp)
{
	return NULL;
}

static int no_objects(struct kmem_cache *cache, gfp_t gfp, size_t nr,
		      void **objects)
{
	return 0;
}

static void no_func(struct ftrace_regs *fregs, void *func)
{
#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 2, 0)
	ftrace_instruction_pointer_set(fregs, (unsigned long)func);
#else
	ftrace_regs_set_instruction_pointer(fregs, (unsigned long)func);
#endif
}

static bool is_denied(unsigned long parent_ip)
{
	return READ_ONCE(deny) && parent_ip - start < size;
}

static void one_func(unsigned long ip, unsigned long parent_ip,
		     struct ftrace_ops *ops, struct ftrace_regs *fregs)
{
	if (is_denied(parent_ip))
		no_func(fregs, no_object);
}

static void bulk_func(unsigned long ip, unsigned long parent_ip,
		      struct ftrace_ops *ops, struct ftrace_regs *fregs)
{
	if (is_denied(parent_ip))
		no_func(fregs, no_objects);
}

static struct ftrace_ops one_ops = {
	.func = one_func,
	.flags = FTRACE_OPS_FL_IPMODIFY,
};

static struct ftrace_ops bulk_ops = {
	.func = bulk_func,
	.flags = FTRACE_OPS_FL_IPMODIFY,
};

static int hook(struct ftrace_ops *ops, char *func)
{
	int err = ftrace_set_filter(ops, func, strlen(func), 1);

	if (!err)
		err = register_ftrace_function(ops);
	if (err)
		ftrace_free_filter(ops);
	return err;
}

static void unhook(struct ftrace_ops *ops)
{
	unregister_ftrace_function(ops);
	ftrace_free_filter(ops);
}

/* 6.10 renamed what allocates. */
#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 10, 0)
#define SUFFIX ""
#else
#define SUFFIX "_noprof"
#endif

static int __init norecords_init(void)
{
	/* ftrace wants to change them. */
	char one[] = "kmem_cache_alloc" SUFFIX;
	char bulk[] = "kmem_cache_alloc_bulk" SUFFIX;
	int err = hook(&one_ops, one);

	if (err)
		return err;
	err = hook(&bulk_ops, bulk);
	if (err)
		unhook(&one_ops);
	return err;
}
module_init(norecords_init);

static void __exit norecords_exit(void)
{
	unhook(&bulk_ops);
	unhook(&one_ops);
}
module_exit(norecords_exit);

MODULE_LICENSE("GPL");
MODULE_INFO(test, "Y");
MODULE_DESCRIPTION("mown test: denies mown the memory for its records");
