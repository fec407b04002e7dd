/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Call the heap's functions at the word of a script: a module that does
 * nothing of its own. The modules of it differ in the way in only, so they say
 * HEAP(name) by which name they call the heap's function, and include this; one
 * does not use mown, and stands for the rest of the kernel.
 *
 * One line written to <debugfs>/<module>/ctl is one call:
 *
 *	task|softirq|hardirq FUNCTION [NUMBER]...
 *
 * A read then gives `RESULT KSIZE CONTEXT`: the returned pointer in hex (an
 * error is a very high one), the size of its memory or another number that
 * belongs to it, and in what context it ran. Objects are named by their
 * addresses and are the script's to free. Each function has a call site of its
 * own, the function op_FUNCTION() here; most end with the call, so that a tail
 * call would hide where it came from.
 */
#include <linux/bitmap.h>
#include <linux/completion.h>
#include <linux/cpumask.h>
#include <linux/debugfs.h>
#include <linux/delay.h>
#include <linux/device.h>
#include <linux/dma-map-ops.h>
#include <linux/dma-mapping.h>
#include <linux/dmapool.h>
#include <linux/err.h>
#include <linux/fs.h>
#include <linux/interrupt.h>
#include <linux/irq_work.h>
#include <linux/kernel.h>
#include <linux/lockdep.h>
#include <linux/mempool.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/percpu.h>
#include <linux/platform_device.h>
#include <linux/preempt.h>
#include <linux/rcupdate.h>
#include <linux/sched/mm.h>
#include <linux/sizes.h>
#include <linux/slab.h>
#include <linux/string.h>
#include <linux/tracepoint.h>
#include <linux/uaccess.h>
#include <linux/version.h>
#include <linux/vmalloc.h>
#include <linux/workqueue.h>
#include <trace/events/kmem.h>

#define OPS_ARGS 8

/**
 * struct op - a call to make, and what it gave
 * @func: what to call
 * @nr: how many of @arg there are
 * @arg: the numbers of the line
 * @ptr: the result
 * @bare: @ptr is no object of kmalloc() or of a slab
 * @usable: if @bare, what there is to tell besides
 * @context: where it ran
 */
struct op {
	void (*func)(struct op *op);
	unsigned int nr;
	unsigned long arg[OPS_ARGS];
	void *ptr;
	bool bare;
	size_t usable;
	const char *context;
};

/* What a script may name. */
struct ops_entry {
	const char *name;
	void (*func)(struct op *op);
};

#define OP(name) { #name, op_##name }

/* An object that kfree_rcu() with two arguments can take. */
struct ops_rcu {
	unsigned long first;
	struct rcu_head rcu;
};

/* What is copied: a string as long as it can be. */
static char ops_text[8192];

/*
 * NOWARN: a size that cannot be had is what a test wants.
 */
static gfp_t ops_gfp(void)
{
	return (in_task() ? GFP_KERNEL : GFP_ATOMIC) | __GFP_NOWARN;
}

/* A string of @len characters; the compiler shall not know how long it is. */
static char *ops_string(size_t len)
{
	char *text = ops_text + sizeof(ops_text) - 1;

	text -= min(len, sizeof(ops_text) - 1);
	OPTIMIZER_HIDE_VAR(text);
	return text;
}

#define ALLOC(name, ...)						\
static noinline void op_##name(struct op *op)				\
{									\
	op->ptr = HEAP(name)(__VA_ARGS__);				\
}

/* Who does not use mown must not jump, so that each call has its own site. */
#ifdef _LINUX_MOWN_H
#define OPS_END
#else
#define OPS_END barrier()
#endif

#define FREE(name, ...)							\
static noinline void op_##name(struct op *op)				\
{									\
	HEAP(name)(__VA_ARGS__);					\
	OPS_END;							\
}

/* What gives no object whose size can be told: @as makes a pointer of it. */
#define NUMBER(name, as, ...)						\
static noinline void op_##name(struct op *op)				\
{									\
	op->bare = true;						\
	op->ptr = as(HEAP(name)(__VA_ARGS__));				\
	barrier();							\
}

#define ARG(nr) (op->arg[nr])
#define PTR(nr) ((void *)op->arg[nr])
#define USER(nr) ((void __user *)op->arg[nr])

ALLOC(kmalloc, ARG(0), ops_gfp())
ALLOC(kmalloc_node, ARG(0), ops_gfp(), NUMA_NO_NODE)
ALLOC(kzalloc, ARG(0), ops_gfp())
ALLOC(kzalloc_node, ARG(0), ops_gfp(), NUMA_NO_NODE)
ALLOC(kmalloc_array, ARG(0), ARG(1), ops_gfp())
ALLOC(kmalloc_array_node, ARG(0), ARG(1), ops_gfp(), NUMA_NO_NODE)
ALLOC(kcalloc, ARG(0), ARG(1), ops_gfp())
ALLOC(kcalloc_node, ARG(0), ARG(1), ops_gfp(), NUMA_NO_NODE)
ALLOC(krealloc, PTR(0), ARG(1), ops_gfp())
ALLOC(krealloc_array, PTR(0), ARG(1), ARG(2), ops_gfp())
ALLOC(kmemdup, ops_string(ARG(0)), ARG(0), ops_gfp())
ALLOC(kmemdup_nul, ops_string(ARG(0)), ARG(0), ops_gfp())
ALLOC(kstrdup, ops_string(ARG(0)), ops_gfp())
ALLOC(kstrndup, ops_string(ARG(0)), ARG(1), ops_gfp())
ALLOC(kasprintf, ops_gfp(), "%s", ops_string(ARG(0)))
ALLOC(memdup_user, USER(0), ARG(1))
ALLOC(memdup_user_nul, USER(0), ARG(1))
ALLOC(bitmap_alloc, ARG(0), ops_gfp())
ALLOC(bitmap_zalloc, ARG(0), ops_gfp())
ALLOC(bitmap_alloc_node, ARG(0), ops_gfp(), NUMA_NO_NODE)
ALLOC(bitmap_zalloc_node, ARG(0), ops_gfp(), NUMA_NO_NODE)

FREE(kfree, PTR(0))
FREE(kfree_sensitive, PTR(0))
FREE(kvfree, PTR(0))
FREE(bitmap_free, PTR(0))
FREE(kfree_bulk, op->nr, (void **)op->arg)

static noinline __printf(2, 3) void ops_vformat(struct op *op, const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	op->ptr = HEAP(kvasprintf)(ops_gfp(), fmt, args);
	va_end(args);
}

static noinline void op_kvasprintf(struct op *op)
{
	ops_vformat(op, "%s", ops_string(op->arg[0]));
}

static noinline void op_kmalloc_account(struct op *op)
{
	op->ptr = HEAP(kmalloc)(op->arg[0], GFP_KERNEL_ACCOUNT);
}

static noinline void op_krealloc_zero(struct op *op)
{
	op->ptr = HEAP(krealloc)(PTR(0), ARG(1), GFP_KERNEL | __GFP_ZERO);
}

static noinline void op_kfree_rcu(struct op *op)
{
	struct ops_rcu *obj = PTR(0);

	HEAP(kfree_rcu)(obj, rcu);
	OPS_END;
}

static noinline void op_kfree_rcu_headless(struct op *op)
{
	struct ops_rcu *obj = PTR(0);

#if defined(_LINUX_MOWN_H) || !defined(kfree_rcu_mightsleep)
	HEAP(kfree_rcu)(obj);
#else
	/* 6.4 let the kernel's own have this name only. */
	kfree_rcu_mightsleep(obj);
#endif
	OPS_END;
}

/*
 * The second free comes while the first waits for a grace period, which cannot
 * end here.
 */
static noinline void op_kfree_rcu_kfree(struct op *op)
{
	struct ops_rcu *obj = PTR(0);

	rcu_read_lock();
	HEAP(kfree_rcu)(obj, rcu);
	HEAP(kfree)(obj);
	rcu_read_unlock();
}

/* What its readers see of @arg[1] bytes, of which each was @arg[2]. */
static noinline void op_kfree_rcu_differs(struct op *op)
{
	struct ops_rcu *obj = PTR(0);
	u8 *bytes = PTR(0);

	op->bare = true;
	rcu_read_lock();
	HEAP(kfree_rcu)(obj, rcu);
	/* The rcu_head is the kernel's to write. */
	op->ptr = memchr_inv(bytes, op->arg[2], offsetof(struct ops_rcu, rcu));
	if (!op->ptr)
		op->ptr = memchr_inv(bytes + sizeof(*obj), op->arg[2],
				     op->arg[1] - sizeof(*obj));
	rcu_read_unlock();
}

/*
 * The kernel's own functions by names that the drop-in does not map: memory
 * that mown knows nothing of.
 */
static noinline void op_raw_kmalloc(struct op *op)
{
#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 10, 0)
	op->ptr = __kmalloc(op->arg[0], ops_gfp());
#else
	op->ptr = __kmalloc_noprof(op->arg[0], ops_gfp());
#endif
}

static noinline void op_raw_kfree(struct op *op)
{
	(kfree)(PTR(0));
}

/* For this there is no function but the kernel's own. */
static noinline void op_kfree_const(struct op *op)
{
	kfree_const(PTR(0));
	OPS_END;
}

/* The kernel's own name for this is bound to its kfree() before any of ours. */
static noinline void op_cleanup(struct op *op)
{
#ifdef __free
	void *ptr __free(kfree) = PTR(0);

	OPTIMIZER_HIDE_VAR(ptr);
#else
	(kfree)(PTR(0));
#endif
}

static noinline void ops_rcu_func(struct rcu_head *rcu)
{
	HEAP(kfree)(container_of(rcu, struct ops_rcu, rcu));
}

/* A callback that frees: the module waits for it before it goes. */
static noinline void op_call_rcu(struct op *op)
{
	struct ops_rcu *obj = PTR(0);

	call_rcu(&obj->rcu, ops_rcu_func);
}

static noinline void op_kmalloc_nofail(struct op *op)
{
	op->ptr = HEAP(kmalloc)(ARG(0), GFP_KERNEL | __GFP_NOFAIL);
}

static DEFINE_MUTEX(ops_reclaims);

/* Under a lock that reclaim takes, too: who says that it is safe is to be believed. */
static noinline void op_kmalloc_nolockdep(struct op *op)
{
	fs_reclaim_acquire(GFP_KERNEL);
	mutex_lock(&ops_reclaims);
	mutex_unlock(&ops_reclaims);
	fs_reclaim_release(GFP_KERNEL);

	mutex_lock(&ops_reclaims);
	op->ptr = HEAP(kmalloc)(ARG(0), GFP_KERNEL | __GFP_NOLOCKDEP);
	mutex_unlock(&ops_reclaims);
}

/* Fill @arg[1] bytes with @arg[2]. */
static noinline void op_fill(struct op *op)
{
	memset(PTR(0), op->arg[2], op->arg[1]);
}

/* The first of @arg[1] bytes that is not @arg[2]. */
static noinline void op_differs(struct op *op)
{
	op->bare = true;
	op->ptr = memchr_inv(PTR(0), op->arg[2], op->arg[1]);
}

/* How much of an object may be used, and how much may be asked for. */
NUMBER(ksize, (void *), PTR(0))
NUMBER(kmalloc_size_roundup, (void *), ARG(0))

/* The module, by which others can make objects over to it. */
static noinline void op_this_module(struct op *op)
{
	op->ptr = THIS_MODULE;
}

/* It ends with a jump, so that its caller seems to free: the kernel. */
static void ops_free_work(struct work_struct *work)
{
	kfree(work);
}

static noinline void op_work_kfree(struct op *op)
{
	struct workqueue_struct *queue = alloc_workqueue("ops", WQ_UNBOUND, 0);
	struct work_struct *work = PTR(0);

	if (!queue) {
		op->ptr = ERR_PTR(-ENOMEM);
		return;
	}
	INIT_WORK(work, ops_free_work);
	queue_work(queue, work);
	/* It waits for what is queued. */
	destroy_workqueue(queue);
}

#ifdef _LINUX_MOWN_H
/* These two give an errno. */
static noinline void op_transfer(struct op *op)
{
	op->ptr = ERR_PTR(mown_transfer(PTR(0), PTR(1)));
}

static noinline void op_disown(struct op *op)
{
	op->ptr = ERR_PTR(mown_disown(PTR(0)));
}
#endif

static const struct ops_entry ops[] = {
	OP(kmalloc),
	OP(kmalloc_node),
	OP(kzalloc),
	OP(kzalloc_node),
	OP(kmalloc_array),
	OP(kmalloc_array_node),
	OP(kcalloc),
	OP(kcalloc_node),
	OP(krealloc),
	OP(krealloc_array),
	OP(krealloc_zero),
	OP(kmemdup),
	OP(kmemdup_nul),
	OP(kstrdup),
	OP(kstrndup),
	OP(kasprintf),
	OP(kvasprintf),
	OP(memdup_user),
	OP(memdup_user_nul),
	OP(bitmap_alloc),
	OP(bitmap_zalloc),
	OP(bitmap_alloc_node),
	OP(bitmap_zalloc_node),
	OP(kmalloc_account),
	OP(kfree),
	OP(kfree_sensitive),
	OP(kvfree),
	OP(bitmap_free),
	OP(kfree_bulk),
	OP(kfree_rcu),
	OP(kfree_rcu_headless),
	OP(kfree_rcu_kfree),
	OP(kfree_rcu_differs),
	OP(kmalloc_nofail),
	OP(kmalloc_nolockdep),
	OP(raw_kmalloc),
	OP(raw_kfree),
	OP(kfree_const),
	OP(cleanup),
	OP(call_rcu),
	OP(fill),
	OP(differs),
	OP(ksize),
	OP(kmalloc_size_roundup),
	OP(this_module),
	OP(work_kfree),
#ifdef _LINUX_MOWN_H
	OP(transfer),
	OP(disown),
#endif
};

#include "ops_families.h"
#include "ops_devices.h"

/* ---- Contexts ---- */

static DEFINE_MUTEX(ops_lock);	/* one call at a time: guards all below */
static struct op *ops_now;	/* what an interrupt has to call */
static DECLARE_COMPLETION(ops_done);
static char ops_result[64];
static struct dentry *ops_dir;

static void ops_call(struct op *op)
{
	op->context = in_hardirq() ? "hardirq" :
		      in_serving_softirq() ? "softirq" : "task";
	op->func(op);
}

static void ops_softirq(struct tasklet_struct *tasklet)
{
	ops_call(ops_now);
	complete(&ops_done);
}

static DECLARE_TASKLET(ops_tasklet, ops_softirq);

static void ops_hardirq(struct irq_work *work)
{
	ops_call(ops_now);
	complete(&ops_done);
}

static struct irq_work ops_irq_work = IRQ_WORK_INIT_HARD(ops_hardirq);

/* ---- The file ---- */

static void ops_find(struct op *op, const char *name,
		     const struct ops_entry *entries, size_t nr)
{
	size_t i;

	for (i = 0; i < nr; i++)
		if (!strcmp(name, entries[i].name))
			op->func = entries[i].func;
}

static int ops_parse(char *line, struct op *op, const char **context)
{
	const char *name;
	char *word;

	*context = strsep(&line, " ");
	name = strsep(&line, " ");
	if (!name)
		return -EINVAL;
	ops_find(op, name, ops, ARRAY_SIZE(ops));
	ops_find(op, name, ops_families, ARRAY_SIZE(ops_families));
	ops_find(op, name, ops_devices, ARRAY_SIZE(ops_devices));
	if (!op->func)
		return -EINVAL;
	while ((word = strsep(&line, " "))) {
		if (op->nr == OPS_ARGS || kstrtoul(word, 0, &op->arg[op->nr]))
			return -EINVAL;
		op->nr++;
	}
	return 0;
}

/* Make the call where it is to be made. */
static int ops_run(struct op *op, const char *context)
{
	lockdep_assert_held(&ops_lock);
	if (!strcmp(context, "task")) {
		ops_call(op);
		return 0;
	}
	ops_now = op;
	reinit_completion(&ops_done);
	if (!strcmp(context, "softirq"))
		tasklet_schedule(&ops_tasklet);
	else if (!strcmp(context, "hardirq"))
		irq_work_queue(&ops_irq_work);
	else
		return -EINVAL;
	wait_for_completion(&ops_done);
	return 0;
}

/* What the result takes in memory, if it is an object of kmalloc() or a slab. */
static size_t ops_usable(const struct op *op)
{
	struct page *page;

	if (op->bare)
		return op->usable;
	if (!virt_addr_valid(op->ptr))
		return 0;
	page = virt_to_head_page(op->ptr);
	return PageSlab(page) || PageHead(page) ? ksize(op->ptr) : 0;
}

static ssize_t ops_write(struct file *file, const char __user *buf,
			 size_t len, loff_t *pos)
{
	struct op op = {};
	const char *context;
	char line[256];
	int err;

	if (len >= sizeof(line))
		return -EINVAL;
	if (copy_from_user(line, buf, len))
		return -EFAULT;
	line[len] = '\0';
	err = ops_parse(strim(line), &op, &context);
	if (err)
		return err;

	mutex_lock(&ops_lock);
	err = ops_run(&op, context);
	scnprintf(ops_result, sizeof(ops_result), "%lx %zu %s\n",
		  (unsigned long)op.ptr, ops_usable(&op), op.context ?: "");
	mutex_unlock(&ops_lock);
	return err ?: len;
}

static ssize_t ops_read(struct file *file, char __user *buf, size_t len,
			loff_t *pos)
{
	ssize_t done;

	mutex_lock(&ops_lock);
	done = simple_read_from_buffer(buf, len, pos, ops_result,
				       strlen(ops_result));
	mutex_unlock(&ops_lock);
	return done;
}

static const struct file_operations ops_fops = {
	.owner = THIS_MODULE,
	.open = simple_open,
	.read = ops_read,
	.write = ops_write,
};

/*
 * A cache that mown does not know, by a name that the drop-in does not map: no
 * account begins with it.
 */
static int __init ops_init(void)
{
	int err;

	memset(ops_text, 'm', sizeof(ops_text) - 1);
	ops_cache = (kmem_cache_create_usercopy)(KBUILD_MODNAME, OPS_CACHE_SIZE,
						 0, 0, 0, 0, NULL);
	if (!ops_cache)
		return -ENOMEM;
	err = ops_devices_init();
	if (err) {
		(kmem_cache_destroy)(ops_cache);
		return err;
	}
	ops_dir = debugfs_create_dir(KBUILD_MODNAME, NULL);
	debugfs_create_file("ctl", 0600, ops_dir, NULL, &ops_fops);
	return 0;
}
module_init(ops_init);

static void __exit ops_exit(void)
{
	debugfs_remove(ops_dir);
	tasklet_kill(&ops_tasklet);
	irq_work_sync(&ops_irq_work);
	ops_devices_exit();
	rcu_barrier();
	(kmem_cache_destroy)(ops_cache);
}
module_exit(ops_exit);
