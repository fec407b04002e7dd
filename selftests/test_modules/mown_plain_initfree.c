// SPDX-License-Identifier: GPL-2.0
/*
 * Frees what is another module's in its init function, whose text goes at once.
 * Knows nothing of mown.
 */
#include <linux/init.h>
#include <linux/module.h>
#include <linux/slab.h>

static unsigned long others;
module_param(others, ulong, 0400);
MODULE_PARM_DESC(others, "the address of the object");

static int __init mown_plain_initfree_init(void)
{
	kfree((void *)others);
	/* No jump, which would make it the kernel's call */
	barrier();
	return 0;
}
module_init(mown_plain_initfree_init);

static void __exit mown_plain_initfree_exit(void)
{
}
module_exit(mown_plain_initfree_exit);

MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("mown: frees others' memory in text that goes");
MODULE_INFO(test, "Y");
