// SPDX-License-Identifier: GPL-2.0
/*
 * Frees objects after a grace period, and has no rcu_barrier() in its exit
 * function: with kfree_rcu() a module needs none.
 *
 * Write a number to a parameter to have that many objects
 *   "free"    freed by mown_kfree_rcu()
 *   "sleep"   freed by mown_kfree_rcu() without a head
 *   "twice"   freed by mown_kfree_rcu(), and again before the grace period ends
 *   "double"  freed by mown_kfree(), and again
 *   "keep"    allocated and forgotten
 */
#include <linux/init.h>
#include <linux/module.h>
#include <linux/mown.h>
#include <linux/preempt.h>
#include <linux/rcupdate.h>

static unsigned int at_exit;
module_param(at_exit, uint, 0444);
MODULE_PARM_DESC(at_exit, "objects that the exit function frees by mown_kfree_rcu()");

/* Some with the head at the start, some with it behind a page. */
struct front {
	struct rcu_head rcu;
	char payload[48];
};

struct back {
	char payload[3000];
	struct rcu_head rcu;
};

static int free_front(void)
{
	struct front *front = mown_kmalloc(sizeof(*front), GFP_ATOMIC);

	if (!front)
		return -ENOMEM;
	mown_kfree_rcu(front, rcu);
	return 0;
}

static int free_back(void)
{
	struct back *back = mown_kzalloc(sizeof(*back), GFP_ATOMIC);

	if (!back)
		return -ENOMEM;
	mown_kfree_rcu(back, rcu);
	return 0;
}

/* One in a hundred is a big one. */
static int free_after_rcu(unsigned int n)
{
	unsigned int i;
	int err = 0;

	for (i = 0; !err && i < n; i++)
		err = i % 100 ? free_front() : free_back();
	return err;
}

static int free_sleeping(unsigned int n)
{
	struct front *front;
	unsigned int i;

	for (i = 0; i < n; i++) {
		front = mown_kmalloc(sizeof(*front), GFP_KERNEL);
		if (!front)
			return -ENOMEM;
		mown_kfree_rcu(front);
	}
	return 0;
}

static int free_twice(unsigned int n)
{
	struct front *front;
	unsigned int i;
	int err = 0;

	for (i = 0; !err && i < n; i++) {
		rcu_read_lock();
		front = mown_kmalloc(sizeof(*front), GFP_ATOMIC);
		if (front) {
			mown_kfree_rcu(front, rcu);
			if (i % 2)
				mown_kfree_rcu(front, rcu);
			else
				mown_kfree(front);
		} else {
			err = -ENOMEM;
		}
		rcu_read_unlock();
	}
	return err;
}

static int free_double(unsigned int n)
{
	unsigned int i;
	void *ptr;

	for (i = 0; i < n; i++) {
		ptr = mown_kmalloc(64, GFP_KERNEL);
		if (!ptr)
			return -ENOMEM;
		mown_kfree(ptr);
		mown_kfree(ptr);
	}
	return 0;
}

static noinline void *keep_one(void)
{
	return mown_kmalloc(64, GFP_KERNEL);
}

static int keep(unsigned int n)
{
	while (n--) {
		if (!keep_one())
			return -ENOMEM;
	}
	return 0;
}

static int do_set(const char *val, const struct kernel_param *kp)
{
	int (*func)(unsigned int n) = kp->arg;
	unsigned int n;
	int err = kstrtouint(val, 0, &n);

	return err ?: func(n);
}

static const struct kernel_param_ops do_ops = { .set = do_set };
module_param_cb(free, &do_ops, free_after_rcu, 0200);
MODULE_PARM_DESC(free, "free objects after a grace period");
module_param_cb(sleep, &do_ops, free_sleeping, 0200);
MODULE_PARM_DESC(sleep, "wait for a grace period to free objects");
module_param_cb(twice, &do_ops, free_twice, 0200);
MODULE_PARM_DESC(twice, "free objects again that wait for a grace period");
module_param_cb(double, &do_ops, free_double, 0200);
MODULE_PARM_DESC(double, "free objects twice at once");
module_param_cb(keep, &do_ops, keep, 0200);
MODULE_PARM_DESC(keep, "forget objects");

static int __init mown_test_rcu_init(void)
{
	return 0;
}
module_init(mown_test_rcu_init);

static void __exit mown_test_rcu_exit(void)
{
	/*
	 * The grace period of the last ones does not end before preemption is
	 * on again, just before mown looks at what the module leaves.
	 */
	preempt_disable();
	free_after_rcu(at_exit);
	preempt_enable();
}
module_exit(mown_test_rcu_exit);

MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("mown: objects freed after a grace period");
MODULE_INFO(test, "Y");
