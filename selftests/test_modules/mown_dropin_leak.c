// SPDX-License-Identifier: GPL-2.0
/*
 * Holds a known set of objects from known call sites and never frees them: for
 * the faces while it is loaded, and for the account of what is left behind.
 */
#include <linux/init.h>
#include <linux/kernel.h>
#include <linux/lockdep.h>
#include <linux/module.h>
#include <linux/slab.h>
#include <linux/timer.h>
#include <linux/version.h>

static unsigned int small = 3;
module_param(small, uint, 0444);
MODULE_PARM_DESC(small, "objects of 24 bytes");

static unsigned int medium = 2;
module_param(medium, uint, 0444);
MODULE_PARM_DESC(medium, "objects of 200 bytes");

static unsigned int large = 1;
module_param(large, uint, 0444);
MODULE_PARM_DESC(large, "objects of 5000 bytes");

static unsigned int freed = 4;
module_param(freed, uint, 0444);
MODULE_PARM_DESC(freed, "objects of 64 bytes that are freed at once");

static unsigned int late_ms;
module_param(late_ms, uint, 0444);
MODULE_PARM_DESC(late_ms, "if not 0, at exit the kernel gets an object that it frees this much later");

/* Called by the kernel when the module has gone, so not to be the drop-in's. */
static void (*const late_free)(const void *ptr) = kfree;

/* Its first member, so that the timer's address is the object's. */
struct late_object {
	struct timer_list timer;
	char payload[100];
};

static noinline void *hold_small(void)
{
	return kmalloc(24, GFP_KERNEL);
}

static noinline void *hold_medium(void)
{
	return kzalloc(200, GFP_KERNEL);
}

static noinline void *hold_large(void)
{
	return kmalloc(5000, GFP_KERNEL);
}

static noinline int free_at_once(void)
{
	void *ptr = kmalloc(64, GFP_KERNEL);

	kfree(ptr);
	return ptr ? 0 : -ENOMEM;
}

#ifdef CONFIG_LOCKDEP

/* Nothing is to account for this either. 6.10 made a macro of the name. */
#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 10, 0)
static unsigned long (*const kernels_page)(gfp_t gfp) = get_zeroed_page;
#else
static unsigned long (*const kernels_page)(gfp_t gfp) = get_zeroed_page_noprof;
#endif

/*
 * The timer's class would be of the module, which goes before the timer does. What has
 * one of its own, and its name, instead is lost.
 */
static bool set_lock_class(struct timer_list *timer)
{
	struct lock_class_key *key = (void *)kernels_page(GFP_KERNEL);

	if (!key)
		return false;
	lockdep_register_key(key);
	lockdep_init_map(&timer->lockdep_map, strcpy((char *)(key + 1), "late"),
			 key, 0);
	return true;
}

#else

static bool set_lock_class(struct timer_list *timer)
{
	return true;
}

#endif

static noinline void hand_over(void)
{
	struct late_object *object = kzalloc(sizeof(*object), GFP_KERNEL);

	if (!object)
		return;
	timer_setup(&object->timer, (void *)late_free, 0);
	if (!set_lock_class(&object->timer)) {
		kfree(object);
		return;
	}
	mod_timer(&object->timer, jiffies + msecs_to_jiffies(late_ms));
}

static int __init mown_dropin_leak_init(void)
{
	unsigned int i;

	for (i = 0; i < small; i++)
		if (!hold_small())
			return -ENOMEM;
	for (i = 0; i < medium; i++)
		if (!hold_medium())
			return -ENOMEM;
	for (i = 0; i < large; i++)
		if (!hold_large())
			return -ENOMEM;
	for (i = 0; i < freed; i++)
		if (free_at_once())
			return -ENOMEM;
	return 0;
}
module_init(mown_dropin_leak_init);

static void __exit mown_dropin_leak_exit(void)
{
	if (late_ms)
		hand_over();
}
module_exit(mown_dropin_leak_exit);

MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("mown: objects that are held, and left behind");
MODULE_INFO(test, "Y");
