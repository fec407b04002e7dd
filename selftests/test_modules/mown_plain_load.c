// SPDX-License-Identifier: GPL-2.0
/*
 * Allocates and frees without end, a thread on each CPU and a timer, until it is
 * unloaded: objects of every kind, some handed to the other threads, some freed
 * by RCU. Each object says what it is, and is looked at before it is freed.
 */
#include <linux/atomic.h>
#include <linux/cpu.h>
#include <linux/err.h>
#include <linux/init.h>
#include <linux/kthread.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/percpu.h>
#include <linux/rcupdate.h>
#include <linux/sched.h>
#include <linux/slab.h>
#include <linux/string.h>
#include <linux/timer.h>
#include <linux/vmalloc.h>

struct load_object {
	struct rcu_head rcu;
	struct load_object *self;
	unsigned int kind;
};

enum load_kind {
	LOAD_KMALLOC,
	LOAD_KMEMDUP,
	LOAD_KVMALLOC,
	LOAD_VMALLOC,
	LOAD_CACHE,
	LOAD_KINDS,
};

#define LOAD_SLOTS 64

static struct load_object *load_slots[LOAD_SLOTS];
static DEFINE_PER_CPU(struct task_struct *, load_task);
static struct kmem_cache *load_cache;

static atomic_long_t load_done;
static atomic_long_t load_corrupt;

static int load_get(char *buf, const struct kernel_param *kp)
{
	return sprintf(buf, "%ld\n", atomic_long_read(kp->arg));
}

static const struct kernel_param_ops load_ops = { .get = load_get };
module_param_cb(done, &load_ops, &load_done, 0400);
MODULE_PARM_DESC(done, "objects freed");
module_param_cb(corrupt, &load_ops, &load_corrupt, 0400);
MODULE_PARM_DESC(corrupt, "objects that were not what they had been");

static struct load_object *load_alloc(unsigned int kind, gfp_t gfp)
{
	static const char text[300];
	struct load_object *obj;

	switch (kind) {
	case LOAD_KMEMDUP:
		obj = kmemdup(text, sizeof(text), gfp);
		break;
	case LOAD_KVMALLOC:
		obj = kvmalloc(3000, gfp);
		break;
	case LOAD_VMALLOC:
		obj = vmalloc(sizeof(*obj));
		break;
	case LOAD_CACHE:
		obj = kmem_cache_alloc(load_cache, gfp);
		break;
	default:
		obj = kmalloc(200, gfp);
	}
	if (obj) {
		obj->self = obj;
		obj->kind = kind;
	}
	return obj;
}

static void load_free(struct load_object *obj, bool rcu)
{
	if (!obj)
		return;
	if (obj->self != obj) {
		atomic_long_inc(&load_corrupt);
		return;
	}
	atomic_long_inc(&load_done);
	obj->self = NULL;
	switch (obj->kind) {
	case LOAD_KVMALLOC:
		kvfree(obj);
		break;
	case LOAD_VMALLOC:
		vfree(obj);
		break;
	case LOAD_CACHE:
		kmem_cache_free(load_cache, obj);
		break;
	default:
		if (rcu)
			kfree_rcu(obj, rcu);
		else
			kfree(obj);
	}
}

/* What another has put into the slot is freed here. */
static void load_step(unsigned long nr, unsigned int kind, gfp_t gfp)
{
	struct load_object *obj = load_alloc(kind, gfp);

	load_free(xchg(&load_slots[nr * 7 % LOAD_SLOTS], obj), nr % 3 == 0);
}

static int load_func(void *data)
{
	unsigned long nr = (unsigned long)data;

	while (!kthread_should_stop()) {
		load_step(nr, nr % LOAD_KINDS, GFP_KERNEL);
		nr++;
		/* Who unhooks a function waits for all tasks to have passed here. */
		cond_resched_tasks_rcu_qs();
	}
	return 0;
}

static void load_tick(struct timer_list *timer)
{
	static unsigned long nr;

	load_step(nr++, LOAD_KMALLOC, GFP_ATOMIC);
	mod_timer(timer, jiffies + 1);
}

static DEFINE_TIMER(load_timer, load_tick);

static void load_stop(void)
{
	int cpu, i;

	timer_delete_sync(&load_timer);
	for_each_possible_cpu(cpu)
		if (per_cpu(load_task, cpu))
			kthread_stop(per_cpu(load_task, cpu));
	for (i = 0; i < LOAD_SLOTS; i++)
		load_free(xchg(&load_slots[i], NULL), false);
	rcu_barrier();
	kmem_cache_destroy(load_cache);
}

static int __init load_init(void)
{
	struct task_struct *task;
	int cpu;

	load_cache = kmem_cache_create("mown_load", 120, 0, 0, NULL);
	if (!load_cache)
		return -ENOMEM;
	for_each_online_cpu(cpu) {
		task = kthread_create_on_cpu(load_func, (void *)(cpu * 1000UL),
					     cpu, "mown_load/%u");
		if (IS_ERR(task)) {
			load_stop();
			return PTR_ERR(task);
		}
		per_cpu(load_task, cpu) = task;
		wake_up_process(task);
	}
	mod_timer(&load_timer, jiffies + 1);
	return 0;
}
module_init(load_init);

static void __exit load_exit(void)
{
	load_stop();
}
module_exit(load_exit);

MODULE_LICENSE("GPL");
MODULE_INFO(test, "Y");
MODULE_DESCRIPTION("mown test: allocates and frees without end");
