// SPDX-License-Identifier: GPL-2.0
/*
 * Sleeps in an allocation until it is let go: a thread wants the second element
 * of a pool that has only one. The file "asleep" says whether it does.
 */
#include <linux/err.h>
#include <linux/init.h>
#include <linux/kthread.h>
#include <linux/mempool.h>
#include <linux/module.h>
#include <linux/sched.h>
#include <linux/slab.h>

static mempool_t *sleeper_pool;
static void *sleeper_first;
static struct task_struct *sleeper_task;
static bool sleeper_woke;

/* Only what is needed to make the pool. */
static void *sleeper_alloc(gfp_t gfp, void *data)
{
	static bool once;

	if (once)
		return NULL;
	once = true;
	return kmalloc(64, gfp);
}

static void sleeper_free(void *ptr, void *data)
{
	kfree(ptr);
}

static int sleeper_func(void *unused)
{
	void *ptr = mempool_alloc(sleeper_pool, GFP_KERNEL);

	mempool_free(ptr, sleeper_pool);
	WRITE_ONCE(sleeper_woke, true);
	while (!kthread_should_stop())
		schedule_timeout_interruptible(HZ);
	return 0;
}

static int sleeper_wake(const char *val, const struct kernel_param *kp)
{
	mempool_free(xchg(&sleeper_first, NULL), sleeper_pool);
	return 0;
}

static const struct kernel_param_ops sleeper_wake_ops = { .set = sleeper_wake };
module_param_cb(wake, &sleeper_wake_ops, NULL, 0200);
MODULE_PARM_DESC(wake, "let the thread go on");

module_param_named(woke, sleeper_woke, bool, 0400);
MODULE_PARM_DESC(woke, "it has gone on");

static int sleeper_pid;
module_param_named(pid, sleeper_pid, int, 0400);
MODULE_PARM_DESC(pid, "of the thread");

static int __init sleeper_init(void)
{
	sleeper_pool = mempool_create(1, sleeper_alloc, sleeper_free, NULL);
	if (!sleeper_pool)
		return -ENOMEM;
	sleeper_first = mempool_alloc(sleeper_pool, GFP_KERNEL);
	sleeper_task = kthread_run(sleeper_func, NULL, "mown_sleeper");
	if (IS_ERR(sleeper_task)) {
		mempool_free(sleeper_first, sleeper_pool);
		mempool_destroy(sleeper_pool);
		return PTR_ERR(sleeper_task);
	}
	sleeper_pid = sleeper_task->pid;
	return 0;
}
module_init(sleeper_init);

static void __exit sleeper_exit(void)
{
	mempool_free(sleeper_first, sleeper_pool);
	kthread_stop(sleeper_task);
	mempool_destroy(sleeper_pool);
}
module_exit(sleeper_exit);

MODULE_LICENSE("GPL");
MODULE_INFO(test, "Y");
MODULE_DESCRIPTION("mown test: sleeps in an allocation");
