// SPDX-License-Identifier: GPL-2.0
/*
 * mown: every allocation that a module makes is freed exactly once
 *
 * Here everything is only brought up and taken down. mown.h has the data model
 * and the notes on locking.
 */
#include <linux/module.h>

#include "attach.h"

#define CREATE_TRACE_POINTS
#include <trace/events/mown.h>

static int __init mown_init(void)
{
	int ret;

	mown_rcu_init();
	mown_plain_init();
	mown_net_init();
	mown_warn_init();
	ret = mown_record_init();
	if (ret)
		goto exit_warn;
	ret = mown_devm_init();
	if (ret)
		goto exit_records;
	ret = mown_owner_init();
	if (ret)
		goto exit_records;
	ret = mown_quarantine_init();
	if (ret)
		goto exit_owners;
	ret = mown_report_init();
	if (ret)
		goto exit_quarantine;
	ret = mown_sysfs_init();
	if (ret)
		goto exit_reports;
	mown_debugfs_init();
	ret = mown_modules_init();
	if (ret)
		goto exit_faces;
	mown_attach_init();
	return 0;

exit_faces:
	mown_debugfs_exit();
	mown_sysfs_exit();
exit_reports:
	mown_report_exit();
exit_quarantine:
	mown_quarantine_exit();
exit_owners:
	mown_owner_exit();
exit_records:
	mown_record_exit();
exit_warn:
	mown_warn_exit();
	return ret;
}

/*
 * No module links to mown any more, so no owner is left but those with orphans
 * only, and no call can come. What was deferred may still run until the net is
 * off and RCU has been waited for.
 */
static void __exit mown_exit(void)
{
	mown_attach_exit();
	mown_modules_exit();
	mown_debugfs_exit();
	mown_sysfs_exit();
	mown_rcu_flush();
	mown_exits_exit();
	mown_quarantine_exit();
	mown_net_exit();
	mown_hooks_exit();
	/* A wrapper that slept may have put its object there. */
	mown_rcu_flush();
	mown_owner_exit();
	mown_devm_exit();
	mown_heap_exit();
	mown_report_exit();
	mown_record_exit();
	mown_warn_exit();
}

/* Before what is built in can load a module. */
subsys_initcall(mown_init);
module_exit(mown_exit);

MODULE_DESCRIPTION("An accountable heap for every kernel module");
MODULE_LICENSE("GPL");
MODULE_VERSION(MOWN_VERSION);
