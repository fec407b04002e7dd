// SPDX-License-Identifier: GPL-2.0
/*
 * Shows whether anything is attached to the tracepoints of the allocator's
 * frees: a switched-off tracepoint is a jump that is not taken. Not linked to
 * mown, so that looking does not make an owner.
 */
#include <linux/init.h>
#include <linux/module.h>
#include <linux/slab.h>
#include <trace/events/kmem.h>

static int probed_get(char *buf, const struct kernel_param *kp)
{
	return sysfs_emit(buf, "%d\n", trace_kfree_enabled() ||
				       trace_kmem_cache_free_enabled());
}

static const struct kernel_param_ops probed_ops = { .get = probed_get };
module_param_cb(probed, &probed_ops, NULL, 0400);
MODULE_PARM_DESC(probed, "is there a probe on kfree or kmem_cache_free?");

static int __init mown_plain_tracepoints_init(void)
{
	return 0;
}
module_init(mown_plain_tracepoints_init);

static void __exit mown_plain_tracepoints_exit(void)
{
}
module_exit(mown_plain_tracepoints_exit);

MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("mown: are the allocator's tracepoints in use?");
MODULE_INFO(test, "Y");
