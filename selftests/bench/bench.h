/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Count what pairs of an allocation and its free cost. The modules of it differ
 * in how they call the heap: HEAP(name) is the name of a function.
 *
 * Write "SIZE" to the parameter "run": batches of pairs of that many bytes are
 * made with interrupts off, and "result" then reads the median batch, in the
 * ticks of the time stamp counter (with QEMU's -icount, instructions) for
 * BENCH_PAIRS pairs. "live" objects are there all the time.
 */
#include <linux/init.h>
#include <linux/irqflags.h>
#include <linux/kernel.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/slab.h>
#include <linux/sort.h>
#include <linux/timex.h>

#define BENCH_BATCHES 31
#define BENCH_PAIRS 200

static unsigned int live;
module_param(live, uint, 0444);
MODULE_PARM_DESC(live, "objects that live all the time");

static unsigned long result;
module_param(result, ulong, 0444);
MODULE_PARM_DESC(result, "ticks of the median batch");

static void **bench_live;

static noinline void bench_pair(size_t size)
{
	void *ptr = HEAP(kmalloc)(size, GFP_KERNEL);

	OPTIMIZER_HIDE_VAR(ptr);
	HEAP(kfree)(ptr);
	barrier();
}

static int bench_less(const void *a, const void *b)
{
	return *(const u64 *)a < *(const u64 *)b ? -1 : 1;
}

static int bench_run(const char *val, const struct kernel_param *kp)
{
	u64 ticks[BENCH_BATCHES];
	unsigned long flags;
	size_t size;
	int i, j, err;

	err = kstrtoul(val, 0, &size);
	if (err || !size || size > KMALLOC_MAX_SIZE)
		return err ?: -ERANGE;
	for (i = 0; i < BENCH_BATCHES; i++) {
		local_irq_save(flags);
		ticks[i] = get_cycles();
		for (j = 0; j < BENCH_PAIRS; j++)
			bench_pair(size);
		ticks[i] = get_cycles() - ticks[i];
		local_irq_restore(flags);
	}
	sort(ticks, BENCH_BATCHES, sizeof(ticks[0]), bench_less, NULL);
	result = ticks[BENCH_BATCHES / 2];
	return 0;
}

static const struct kernel_param_ops bench_run_ops = { .set = bench_run };
module_param_cb(run, &bench_run_ops, NULL, 0200);
MODULE_PARM_DESC(run, "bytes: make pairs of them");

static void bench_free(void)
{
	unsigned int i;

	for (i = 0; bench_live && i < live; i++)
		HEAP(kfree)(bench_live[i]);
	kvfree(bench_live);
}

static int __init bench_init(void)
{
	unsigned int i;

	bench_live = kvcalloc(live + 1, sizeof(*bench_live), GFP_KERNEL);
	for (i = 0; bench_live && i < live; i++) {
		bench_live[i] = HEAP(kmalloc)(64, GFP_KERNEL);
		if (!bench_live[i]) {
			bench_free();
			return -ENOMEM;
		}
	}
	return bench_live ? 0 : -ENOMEM;
}
module_init(bench_init);

static void __exit bench_exit(void)
{
	bench_free();
}
module_exit(bench_exit);

MODULE_LICENSE("GPL");
MODULE_INFO(test, "Y");
