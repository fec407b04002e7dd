/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Count what an allocation and its free cost. The modules made of this differ in
 * how they call the heap: HEAP(name) is the name of a function.
 *
 * Write to the parameter "hold":
 *	FAMILY SIZE LIVE	so many objects live from now on, all the time
 * and then to "run":
 *	ORDER BATCHES
 * where ORDER is
 *	pair	an object is allocated and freed at once
 *	lifo	the newest of the live objects is freed, and one allocated
 *	fifo	the oldest
 *	random	any
 * Write to "race":
 *	CPUS PAIRS	as many CPUs do as many pairs of kmalloc() and kfree() each
 * "result" then reads the nanoseconds that pass until all have done so.
 *
 * A 1 written to "leave" has the objects stay when the module goes.
 *
 * "result" then reads "ALLOC FREE": what "pairs" allocations and frees cost, in
 * ticks of the time stamp counter (with QEMU's -icount, instructions) less those of
 * reading it: the median of the batches. User-Mode Linux has no such counter, and
 * its clock costs more than a pair: there a batch is timed as a whole, and "result"
 * reads "BOTH", in nanoseconds.
 */
#include <linux/completion.h>
#include <linux/device.h>
#include <linux/gfp.h>
#include <linux/init.h>
#include <linux/irqflags.h>
#include <linux/kernel.h>
#include <linux/kthread.h>
#include <linux/ktime.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/platform_device.h>
#include <linux/prandom.h>
#include <linux/slab.h>
#include <linux/sort.h>
#include <linux/timex.h>
#include <linux/vmalloc.h>

#define BENCH_BATCHES 31	/* at most */
#ifdef CONFIG_UML
#define BENCH_PAIRS 1000
#define bench_now() ktime_get_ns()
#else
#define BENCH_PAIRS 200
#define bench_now() get_cycles()
#endif

static struct kmem_cache *bench_cache;
static struct platform_device *bench_device;
static size_t bench_size = 64;
static unsigned long bench_live;
static void **bench_objects;
static struct rnd_state bench_rnd;
static char bench_result[48];

/* ---- Families: the calls are in functions of their own, as a module's are ---- */

static noinline void *bench_alloc_kmalloc(void)
{
	return HEAP(kmalloc)(bench_size, GFP_KERNEL);
}

static noinline void bench_free_kmalloc(void *ptr)
{
	HEAP(kfree)(ptr);
	barrier();
}

static noinline void *bench_alloc_vmalloc(void)
{
	return HEAP(vmalloc)(bench_size);
}

static noinline void bench_free_vmalloc(void *ptr)
{
	HEAP(vfree)(ptr);
	barrier();
}

static noinline void *bench_alloc_pages(void)
{
	return (void *)HEAP(__get_free_pages)(GFP_KERNEL, get_order(bench_size));
}

static noinline void bench_free_pages(void *ptr)
{
	HEAP(free_pages)((unsigned long)ptr, get_order(bench_size));
	barrier();
}

static noinline void *bench_alloc_slab(void)
{
	return HEAP(kmem_cache_alloc)(bench_cache, GFP_KERNEL);
}

static noinline void bench_free_slab(void *ptr)
{
	HEAP(kmem_cache_free)(bench_cache, ptr);
	barrier();
}

static noinline void *bench_alloc_devm(void)
{
	return HEAP(devm_kmalloc)(&bench_device->dev, bench_size, GFP_KERNEL);
}

static noinline void bench_free_devm(void *ptr)
{
	HEAP(devm_kfree)(&bench_device->dev, ptr);
	barrier();
}

struct bench_family {
	const char *name;
	void *(*alloc)(void);
	void (*free)(void *ptr);
	/* What may not be done with interrupts off. */
	bool waits;
};

static const struct bench_family bench_families[] = {
	{ "kmalloc", bench_alloc_kmalloc, bench_free_kmalloc },
	{ "vmalloc", bench_alloc_vmalloc, bench_free_vmalloc, true },
	{ "pages", bench_alloc_pages, bench_free_pages },
	{ "slab", bench_alloc_slab, bench_free_slab },
	{ "devm", bench_alloc_devm, bench_free_devm },
};

static const struct bench_family *bench_family = &bench_families[0];

/* ---- What lives all the time ---- */

static bool bench_leave;
module_param_named(leave, bench_leave, bool, 0600);
MODULE_PARM_DESC(leave, "leave the live objects behind");

static void bench_let_go(void)
{
	if (bench_leave)
		bench_live = 0;
	/* The newest first: the kernel's own list of a device's is slow else. */
	while (bench_live)
		bench_family->free(bench_objects[--bench_live]);
	kvfree(bench_objects);
	bench_objects = NULL;
	if (bench_cache)
		HEAP(kmem_cache_destroy)(bench_cache);
	bench_cache = NULL;
}

static int bench_fill(unsigned long live)
{
	bench_cache = HEAP(kmem_cache_create)("mown_bench", bench_size, 0,
					      0, NULL);
	bench_objects = kvcalloc(live + 1, sizeof(*bench_objects), GFP_KERNEL);
	if (!bench_objects || !bench_cache)
		return -ENOMEM;
	while (bench_live < live) {
		void *ptr = bench_family->alloc();

		if (!ptr)
			return -ENOMEM;
		bench_objects[bench_live++] = ptr;
		cond_resched();
	}
	return 0;
}

static int bench_hold(const char *val, const struct kernel_param *kp)
{
	unsigned long live;
	char name[16];
	size_t size;
	int i, err;

	if (sscanf(val, "%15s %zu %lu", name, &size, &live) != 3 || !size ||
	    size > KMALLOC_MAX_SIZE)
		return -EINVAL;
	for (i = 0; i < ARRAY_SIZE(bench_families); i++) {
		if (strcmp(bench_families[i].name, name))
			continue;
		bench_let_go();
		bench_family = &bench_families[i];
		prandom_seed_state(&bench_rnd, 1);
		bench_size = size;
		err = bench_fill(live);
		if (err)
			bench_let_go();
		return err;
	}
	return -EINVAL;
}

static const struct kernel_param_ops bench_hold_ops = { .set = bench_hold };
module_param_cb(hold, &bench_hold_ops, NULL, 0200);
MODULE_PARM_DESC(hold, "FAMILY SIZE LIVE: so many objects live from now on");

/* ---- Batches ---- */

enum bench_order { BENCH_PAIR, BENCH_LIFO, BENCH_FIFO, BENCH_RANDOM };

static const char * const bench_orders[] = { "pair", "lifo", "fifo", "random" };

/* Which of the live objects is the next to go. */
static unsigned long bench_next(enum bench_order order)
{
	static unsigned long oldest;

	if (order == BENCH_RANDOM)
		return prandom_u32_state(&bench_rnd) % bench_live;
	if (order == BENCH_LIFO)
		return bench_live - 1;
	oldest = (oldest + 1) % bench_live;
	return oldest;
}

struct bench_batch {
	u64 alloc;
	u64 free;
	u64 both;
};

/* From one look at the clock to the next. */
static u64 bench_clock(void)
{
	u64 least = U64_MAX;
	int i;

	for (i = 0; i < BENCH_PAIRS; i++) {
		u64 start = bench_now();

		least = min(least, bench_now() - start);
	}
	return least;
}

#ifdef CONFIG_UML

static void bench_batch(struct bench_batch *batch, enum bench_order order)
{
	static unsigned long at[BENCH_PAIRS];
	unsigned long flags = 0;
	unsigned int i;
	u64 start;

	/* What chance costs is not the heap's. */
	for (i = 0; order != BENCH_PAIR && i < BENCH_PAIRS; i++)
		at[i] = bench_next(order);
	memset(batch, 0, sizeof(*batch));
	if (!bench_family->waits)
		local_irq_save(flags);
	start = bench_now();
	if (order == BENCH_PAIR) {
		for (i = 0; i < BENCH_PAIRS; i++) {
			void *ptr = bench_family->alloc();

			if (ptr)
				bench_family->free(ptr);
		}
	} else {
		for (i = 0; i < BENCH_PAIRS; i++) {
			bench_family->free(bench_objects[at[i]]);
			bench_objects[at[i]] = bench_family->alloc();
		}
	}
	batch->both = bench_now() - start;
	if (!bench_family->waits)
		local_irq_restore(flags);
}

/* A batch has looked at the clock but twice. */
static void bench_tell(const struct bench_batch *median)
{
	u64 clock = bench_clock();

	snprintf(bench_result, sizeof(bench_result), "%llu",
		 median->both - min(clock, median->both));
}

#else

static void bench_batch(struct bench_batch *batch, enum bench_order order)
{
	u64 start, middle, now;
	unsigned long flags = 0, at;
	unsigned int i;
	void *ptr;

	memset(batch, 0, sizeof(*batch));
	if (!bench_family->waits)
		local_irq_save(flags);
	for (i = 0; i < BENCH_PAIRS; i++) {
		if (order == BENCH_PAIR) {
			start = bench_now();
			ptr = bench_family->alloc();
			middle = bench_now();
			if (ptr)
				bench_family->free(ptr);
			now = bench_now();
			batch->alloc += middle - start;
			batch->free += now - middle;
			continue;
		}
		at = bench_next(order);
		start = bench_now();
		bench_family->free(bench_objects[at]);
		middle = bench_now();
		ptr = bench_family->alloc();
		now = bench_now();
		batch->free += middle - start;
		batch->alloc += now - middle;
		bench_objects[at] = ptr;
	}
	if (!bench_family->waits)
		local_irq_restore(flags);
	batch->both = batch->alloc + batch->free;
}

static void bench_tell(const struct bench_batch *median)
{
	u64 clock = BENCH_PAIRS * bench_clock();

	snprintf(bench_result, sizeof(bench_result), "%llu %llu",
		 median->alloc - clock, median->free - clock);
}

#endif

static int bench_more(const void *a, const void *b)
{
	const struct bench_batch *x = a, *y = b;

	return x->both < y->both ? -1 : x->both > y->both;
}

static int bench_run(const char *val, const struct kernel_param *kp)
{
	static struct bench_batch batches[BENCH_BATCHES];
	unsigned int nr, i;
	char name[8];
	int order;

	if (sscanf(val, "%7s %u", name, &nr) != 2 || !nr || nr > BENCH_BATCHES)
		return -EINVAL;
	order = match_string(bench_orders, ARRAY_SIZE(bench_orders), name);
	if (order < 0)
		return order;
	if (order != BENCH_PAIR && !bench_live)
		return -ENOENT;
	for (i = 0; i < nr; i++)
		bench_batch(&batches[i], order);
	sort(batches, nr, sizeof(batches[0]), bench_more, NULL);
	bench_tell(&batches[nr / 2]);
	return 0;
}

static const struct kernel_param_ops bench_run_ops = { .set = bench_run };
module_param_cb(run, &bench_run_ops, NULL, 0200);
MODULE_PARM_DESC(run, "pair, lifo, fifo or random");

module_param_string(result, bench_result, sizeof(bench_result), 0444);
MODULE_PARM_DESC(result, "what the median batch's allocations and frees cost");

static unsigned int bench_pairs = BENCH_PAIRS;
module_param_named(pairs, bench_pairs, uint, 0444);
MODULE_PARM_DESC(pairs, "allocations and frees of a batch");

/* ---- Several CPUs ---- */

#define BENCH_CPUS 16

static unsigned long bench_race_pairs;
static atomic_t bench_racing;
static DECLARE_COMPLETION(bench_race_go);
static DECLARE_COMPLETION(bench_race_over);

static int bench_racer(void *unused)
{
	unsigned long i;
	void *ptr;

	wait_for_completion(&bench_race_go);
	for (i = 0; i < bench_race_pairs; i++) {
		ptr = bench_alloc_kmalloc();
		if (ptr)
			bench_free_kmalloc(ptr);
	}
	if (atomic_dec_and_test(&bench_racing))
		complete(&bench_race_over);
	return 0;
}

static int bench_race(const char *val, const struct kernel_param *kp)
{
	struct task_struct *task;
	unsigned int cpus, i;
	u64 start;

	if (sscanf(val, "%u %lu", &cpus, &bench_race_pairs) != 2 || !cpus ||
	    cpus > min_t(unsigned int, num_online_cpus(), BENCH_CPUS))
		return -EINVAL;
	reinit_completion(&bench_race_go);
	reinit_completion(&bench_race_over);
	for (i = 0; i < cpus; i++) {
		task = kthread_create_on_cpu(bench_racer, NULL, i,
					     KBUILD_MODNAME "/%u");
		if (IS_ERR(task))
			break;
		atomic_inc(&bench_racing);
		wake_up_process(task);
	}
	start = ktime_get_ns();
	complete_all(&bench_race_go);
	if (i)
		wait_for_completion(&bench_race_over);
	snprintf(bench_result, sizeof(bench_result), "%llu",
		 ktime_get_ns() - start);
	return i == cpus ? 0 : -ENOMEM;
}

static const struct kernel_param_ops bench_race_ops = { .set = bench_race };
module_param_cb(race, &bench_race_ops, NULL, 0200);
MODULE_PARM_DESC(race, "CPUS PAIRS");

static int __init bench_init(void)
{
	bench_device = platform_device_register_simple(KBUILD_MODNAME, -1, NULL,
						       0);
	return PTR_ERR_OR_ZERO(bench_device);
}
module_init(bench_init);

static void __exit bench_exit(void)
{
	bench_let_go();
	platform_device_unregister(bench_device);
}
module_exit(bench_exit);

MODULE_LICENSE("GPL");
MODULE_INFO(test, "Y");
