// SPDX-License-Identifier: GPL-2.0
/*
 * Releases memory of vmalloc() so that it is on its way back to the kernel, and once
 * more before anything else can run on this CPU
 */
#include <linux/bottom_half.h>
#include <linux/init.h>
#include <linux/module.h>
#include <linux/slab.h>
#include <linux/vmalloc.h>

static unsigned long bytes;
module_param(bytes, ulong, 0444);
MODULE_PARM_DESC(bytes, "of each object: one may wait in quarantine, two may not");

static bool wrongly;
module_param(wrongly, bool, 0444);
MODULE_PARM_DESC(wrongly, "the first release is by kfree()");

static int __init mown_dropin_leaving_init(void)
{
	void *first = vmalloc(bytes), *second = vmalloc(bytes);

	if (!first || !second) {
		vfree(first);
		vfree(second);
		return -ENOMEM;
	}
	/* As in an interrupt, where vfree() may be called, and no work item runs. */
	local_bh_disable();
	if (wrongly)
		kfree(first);
	else
		vfree(first);
	vfree(second);
	vfree(first);
	local_bh_enable();
	return 0;
}
module_init(mown_dropin_leaving_init);

static void __exit mown_dropin_leaving_exit(void)
{
}
module_exit(mown_dropin_leaving_exit);

MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("mown: a second release of what is leaving");
MODULE_INFO(test, "Y");
