// SPDX-License-Identifier: GPL-2.0
/*
 * Hammers one owner, and keeps count of what it does: a thread on every CPU, a
 * timer (softirq) and an irq_work (hardirq) allocate, resize, hand objects to
 * one another and free them in every way there is, wrong ones among them.
 *
 * Every count is exact, so mown's must be equal. Hence a wrong free is done
 * only where it is certain what mown has to make of it:
 *
 * - of an object in quarantine: while others go on pushing objects there, the
 *   first one must not have left it when it is freed again. A thread that frees
 *   something twice therefore opens a window, in which everybody else can push
 *   one object at most, and mown is not asked for grace periods in that phase.
 * - of an object that waits for a grace period: within a read-side section,
 *   which the grace period cannot outlast, so the quarantine does not matter.
 * - into the middle of an object: the object is the caller's and live.
 *
 * Write a phase to the parameter "phase": "quarantine" and then "rcu", for the
 * two kinds of double frees, "off" to stop and free all but the witnesses, which
 * live all the time, or "end" to free them as well. The counts are in debugfs.
 */
#include <linux/atomic.h>
#include <linux/cpu.h>
#include <linux/debugfs.h>
#include <linux/init.h>
#include <linux/irq_work.h>
#include <linux/kthread.h>
#include <linux/minmax.h>
#include <linux/module.h>
#include <linux/mown.h>
#include <linux/mutex.h>
#include <linux/percpu.h>
#include <linux/seq_file.h>
#include <linux/slab.h>
#include <linux/spinlock.h>
#include <linux/string.h>
#include <linux/timer.h>

static unsigned int witnesses = 200;
module_param(witnesses, uint, 0444);
MODULE_PARM_DESC(witnesses, "objects that live from the first phase to the end");

static unsigned int seed = 1;
module_param(seed, uint, 0444);
MODULE_PARM_DESC(seed, "of the random numbers");

/* ---- Counts ---- */

enum stress_count {
	ALLOCATED,
	FREED,
	ELSEWHERE,
	DOUBLE_FREES,
	INTERIOR_FREES,
	QUARANTINE_DOUBLE_FREES,
	RCU_DOUBLE_FREES,
	CROSSED,
	FREED_IN_SOFTIRQ,
	FREED_IN_HARDIRQ,
	FREED_AFTER_RCU,
	MOVED,
	RESIZED_IN_PLACE,
	NO_MEMORY,
	CORRUPT,
	NR_COUNTS,
};

static const char * const count_names[NR_COUNTS] = {
	[ALLOCATED] = "allocated",
	[FREED] = "freed",
	[ELSEWHERE] = "released_elsewhere",
	[DOUBLE_FREES] = "double_frees",
	[INTERIOR_FREES] = "interior_frees",
	[QUARANTINE_DOUBLE_FREES] = "quarantine_double_frees",
	[RCU_DOUBLE_FREES] = "rcu_double_frees",
	[CROSSED] = "crossed",
	[FREED_IN_SOFTIRQ] = "freed_in_softirq",
	[FREED_IN_HARDIRQ] = "freed_in_hardirq",
	[FREED_AFTER_RCU] = "freed_after_rcu",
	[MOVED] = "moved",
	[RESIZED_IN_PLACE] = "resized_in_place",
	[NO_MEMORY] = "no_memory",
	[CORRUPT] = "corrupt",
};

static DEFINE_PER_CPU(unsigned long[NR_COUNTS], counts);

static void count_n(enum stress_count what, unsigned long n)
{
	this_cpu_add(counts[what], n);
}

static void count(enum stress_count what)
{
	count_n(what, 1);
}

/* ---- Objects ---- */

/* The last byte of an object that is larger than this is TAIL. */
struct object {
	struct rcu_head rcu;
	struct object *self;
	u32 size;
	u32 cpu;
};

#define TAIL 0xa7

#define SMALL 512
#define LARGE 8192
#define HUGE_ONE 20000

enum stress_phase {
	PHASE_OFF,
	PHASE_QUARANTINE,
	PHASE_RCU,
};

static enum stress_phase phase;

static u32 next_random(u32 *state)
{
	u32 x = *state;

	x ^= x << 13;
	x ^= x >> 17;
	x ^= x << 5;
	*state = x;
	return x;
}

static size_t random_size(u32 *state)
{
	u32 x = next_random(state);
	size_t max = x % 64 == 0 ? HUGE_ONE : x % 8 == 0 ? LARGE : SMALL;

	return sizeof(struct object) +
	       next_random(state) % (max - sizeof(struct object));
}

static struct object *seal(struct object *object, size_t size)
{
	object->self = object;
	object->size = size;
	object->cpu = raw_smp_processor_id();
	if (size > sizeof(*object))
		((u8 *)object)[size - 1] = TAIL;
	return object;
}

/* Is the object, which once was at @self, as it was left? */
static void check(const struct object *object, const struct object *self)
{
	if (object->self == self && object->size >= sizeof(*object) &&
	    object->size <= HUGE_ONE &&
	    (object->size == sizeof(*object) ||
	     ((const u8 *)object)[object->size - 1] == TAIL))
		return;
	count(CORRUPT);
	pr_err_once("an object was overwritten while it was live\n");
}

static struct object *new_object(u32 *state, gfp_t gfp)
{
	size_t size = random_size(state);
	struct object *object;
	bool zeroed = false;

	switch (next_random(state) % 8) {
	case 0:
		object = mown_kzalloc(size, gfp);
		zeroed = true;
		break;
	case 1:
		size = round_up(size, 8);
		object = mown_kcalloc(size / 8, 8, gfp);
		zeroed = true;
		break;
	case 2:
		object = mown_kmemdup(count_names, sizeof(count_names), gfp);
		size = sizeof(count_names);
		if (object && memcmp(object, count_names, size))
			count(CORRUPT);
		break;
	case 3:
		object = mown_krealloc(NULL, size, gfp);
		break;
	default:
		object = mown_kmalloc(size, gfp);
	}
	if (!object) {
		count(NO_MEMORY);
		return NULL;
	}
	if (zeroed && memchr_inv(object, 0, size))
		count(CORRUPT);
	count(ALLOCATED);
	return seal(object, size);
}

/* ---- The window in which an object is surely still in quarantine ---- */

static atomic_t window;

static bool window_open(void)
{
	return atomic_read(&window);
}

/* In a thread, before each release: nobody opens a window for long. */
static void window_wait(void)
{
	while (window_open())
		cpu_relax();
}

/* ---- Right frees ---- */

/* In any context. */
static void release(struct object *object, u32 *state)
{
	check(object, object);
	if (object->cpu != raw_smp_processor_id())
		count(CROSSED);
	switch (next_random(state) % 8) {
	case 0:
		mown_kvfree(object);
		break;
	case 1:
		mown_kfree_sensitive(object);
		break;
	case 2:
	case 3:
		if (READ_ONCE(phase) == PHASE_RCU) {
			mown_kfree_rcu(object, rcu);
			count(FREED_AFTER_RCU);
			break;
		}
		fallthrough;
	default:
		mown_kfree(object);
	}
	count(FREED);
}

/* Frees that are not mown's: kfree() and its kin are the kernel's own here. */
static void release_elsewhere(struct object *object, u32 *state)
{
	check(object, object);
	if (READ_ONCE(phase) == PHASE_RCU && next_random(state) % 4 == 0)
		kfree_rcu(object, rcu);
	else
		kfree(object);
	count(ELSEWHERE);
}

static struct object *resize(struct object *object, u32 *state, gfp_t gfp)
{
	size_t old = object->size, size = random_size(state);
	struct object *at;

	check(object, object);
	/* The tail's byte may be cut off. */
	object->size = sizeof(*object);
	at = mown_krealloc(object, size, gfp);
	if (!at) {
		/* The old one stays as it is. */
		count(NO_MEMORY);
		object->size = old;
		return object;
	}
	check(at, object);
	if (at != object) {
		count(MOVED);
		count(ALLOCATED);
		count(FREED);
	} else {
		count(RESIZED_IN_PLACE);
	}
	return seal(at, size);
}

/* ---- Wrong frees ---- */

static void free_interior(struct object *object, u32 *state)
{
	size_t offset = 1 + next_random(state) % (object->size - 1);
	void *inside = (u8 *)object + offset;

	switch (next_random(state) % 3) {
	case 0:
		mown_kfree(inside);
		break;
	case 1:
		mown_kvfree(inside);
		break;
	default:
		mown_kfree_sensitive(inside);
	}
	count(INTERIOR_FREES);
	check(object, object);
}

static void free_twice_in_quarantine(u32 *state)
{
	struct object *object;
	unsigned long flags;

	if (atomic_cmpxchg(&window, 0, 1))
		return;
	local_irq_save(flags);
	object = new_object(state, GFP_ATOMIC);
	if (!object)
		goto out;
	mown_kfree(object);
	count(FREED);
	switch (next_random(state) % 8) {
	case 0:
		mown_kvfree(object);
		break;
	case 1:
		mown_kfree_sensitive(object);
		break;
	case 2:
		mown_kfree_rcu(object, rcu);
		break;
	case 3:
		/* Must give nothing, and leave the object alone. */
		if (mown_krealloc(object, LARGE, GFP_ATOMIC))
			count(CORRUPT);
		break;
	case 4:
		mown_kfree((u8 *)object + 8);
		count(INTERIOR_FREES);
		mown_kfree(object);
		break;
	case 5:
		/* The net cannot refuse this one; it is the only real free. */
		kfree(object);
		break;
	default:
		mown_kfree(object);
	}
	count(DOUBLE_FREES);
	count(QUARANTINE_DOUBLE_FREES);
out:
	local_irq_restore(flags);
	atomic_set_release(&window, 0);
}

static void free_twice_before_rcu(u32 *state)
{
	bool elsewhere = next_random(state) % 4 == 0;
	struct object *object;

	rcu_read_lock();
	object = new_object(state, GFP_ATOMIC);
	if (!object)
		goto out;
	if (elsewhere) {
		kfree_rcu(object, rcu);
		count(ELSEWHERE);
	} else {
		mown_kfree_rcu(object, rcu);
		count(FREED);
	}
	switch (next_random(state) % 3) {
	case 0:
		mown_kfree_rcu(object, rcu);
		break;
	case 1:
		mown_kfree_sensitive(object);
		break;
	default:
		mown_kfree(object);
	}
	count(DOUBLE_FREES);
	count(RCU_DOUBLE_FREES);
	/* Who came across the object in this section may still read it. */
	check(object, object);
out:
	rcu_read_unlock();
}

/* ---- From one context to another ---- */

#define RING_SLOTS 256

struct ring {
	raw_spinlock_t lock;
	unsigned int head;
	unsigned int tail;
	struct object *slot[RING_SLOTS];
};

static struct ring to_softirq, to_hardirq;

static bool ring_put(struct ring *ring, struct object *object)
{
	unsigned long flags;
	bool fits;

	raw_spin_lock_irqsave(&ring->lock, flags);
	fits = ring->tail - ring->head < RING_SLOTS;
	if (fits)
		ring->slot[ring->tail++ % RING_SLOTS] = object;
	raw_spin_unlock_irqrestore(&ring->lock, flags);
	return fits;
}

static struct object *ring_get(struct ring *ring)
{
	struct object *object = NULL;
	unsigned long flags;

	raw_spin_lock_irqsave(&ring->lock, flags);
	if (ring->tail != ring->head)
		object = ring->slot[ring->head++ % RING_SLOTS];
	raw_spin_unlock_irqrestore(&ring->lock, flags);
	return object;
}

static void ring_drain(struct ring *ring, u32 *state)
{
	struct object *object;

	while ((object = ring_get(ring)))
		release(object, state);
}

/* ---- Threads ---- */

#define POOL 64
#define BULK 8

struct worker {
	struct task_struct *task;
	struct worker *next;
	struct ring ring;
	u32 random;
	struct object *pool[POOL];
};

static struct worker *workers;
static struct irq_work hardirq;

static void hand_over(struct worker *w, struct object *object)
{
	struct ring *ring;

	switch (next_random(&w->random) % 4) {
	case 0:
		ring = &to_softirq;
		break;
	case 1:
		ring = &to_hardirq;
		break;
	default:
		ring = &w->next->ring;
	}
	if (!ring_put(ring, object))
		release(object, &w->random);
}

static void free_bulk(struct worker *w, bool elsewhere)
{
	void *ptrs[BULK];
	int i, n = 0;

	for (i = 0; i < POOL && n < BULK; i++) {
		if (!w->pool[i])
			continue;
		check(w->pool[i], w->pool[i]);
		ptrs[n++] = w->pool[i];
		w->pool[i] = NULL;
	}
	if (!n)
		return;
	if (elsewhere)
		kfree_bulk(n, ptrs);
	else
		mown_kfree_bulk(n, ptrs);
	count_n(elsewhere ? ELSEWHERE : FREED, n);
}

static gfp_t random_gfp(u32 *state)
{
	static const gfp_t gfps[] = {
		GFP_KERNEL, GFP_KERNEL, GFP_KERNEL, GFP_KERNEL_ACCOUNT,
		GFP_ATOMIC, GFP_NOWAIT | __GFP_NOWARN,
	};

	return gfps[next_random(state) % ARRAY_SIZE(gfps)];
}

static void work_once(struct worker *w)
{
	struct object **slot = &w->pool[next_random(&w->random) % POOL];
	struct object *object;
	u32 what = next_random(&w->random) % 256;

	window_wait();
	if (what < 4) {
		free_bulk(w, false);
	} else if (what < 6) {
		free_bulk(w, true);
	} else if (what < 12) {
		if (READ_ONCE(phase) == PHASE_QUARANTINE)
			free_twice_in_quarantine(&w->random);
		else
			free_twice_before_rcu(&w->random);
	} else if (what < 14) {
		irq_work_queue(&hardirq);
	} else if (!*slot) {
		*slot = new_object(&w->random, random_gfp(&w->random));
	} else if (what < 30) {
		free_interior(*slot, &w->random);
	} else if (what < 70) {
		*slot = resize(*slot, &w->random, random_gfp(&w->random));
	} else if (what < 80) {
		release_elsewhere(*slot, &w->random);
		*slot = NULL;
	} else if (what < 160) {
		hand_over(w, *slot);
		*slot = NULL;
	} else {
		release(*slot, &w->random);
		*slot = NULL;
	}
	window_wait();
	object = ring_get(&w->ring);
	if (object)
		release(object, &w->random);
}

static int work(void *arg)
{
	struct worker *w = arg;
	struct object *object;

	while (!kthread_should_stop()) {
		work_once(w);
		/* Rare, as it waits: without a head, for a grace period. */
		if (next_random(&w->random) % 4096 == 0) {
			object = new_object(&w->random, GFP_KERNEL);
			if (object) {
				mown_kfree_rcu(object);
				count(FREED);
			}
		}
		cond_resched();
	}
	return 0;
}

/* ---- Interrupts ---- */

static struct timer_list softirq;
static u32 softirq_random;
static DEFINE_PER_CPU(u32, hardirq_random);

static void interrupt_once(struct ring *from, unsigned int n, u32 *state,
			   enum stress_count what)
{
	struct object *object;
	unsigned int cpu;

	for (; n; n--) {
		/* It may be open on this very CPU: come again. */
		if (window_open())
			return;
		object = ring_get(from);
		if (!object)
			break;
		if (next_random(state) % 8 == 0)
			object = resize(object, state, GFP_ATOMIC);
		if (window_open()) {
			if (ring_put(from, object))
				return;
		}
		release(object, state);
		count(what);
	}
	object = new_object(state, GFP_ATOMIC);
	if (!object)
		return;
	cpu = next_random(state) % nr_cpu_ids;
	if (!workers[cpu].task || !ring_put(&workers[cpu].ring, object))
		release(object, state);
}

static void stress_hardirq(struct irq_work *unused)
{
	interrupt_once(&to_hardirq, 8, this_cpu_ptr(&hardirq_random),
		       FREED_IN_HARDIRQ);
}

static void stress_softirq(struct timer_list *timer)
{
	unsigned int cpu;

	interrupt_once(&to_softirq, 16, &softirq_random, FREED_IN_SOFTIRQ);
	irq_work_queue(&hardirq);
	if (READ_ONCE(phase) == PHASE_OFF)
		return;
	/* On the next CPU. */
	cpu = cpumask_next(raw_smp_processor_id(), cpu_online_mask);
	if (cpu >= nr_cpu_ids)
		cpu = cpumask_first(cpu_online_mask);
	timer->expires = jiffies + 1;
	add_timer_on(timer, cpu);
}

/* ---- Phases ---- */

static DEFINE_MUTEX(stress_mutex);
static bool rcu_used;
static void **witness;

static noinline void *stress_witness(size_t size)
{
	return mown_kmalloc(size, GFP_KERNEL);
}

static size_t witness_size(unsigned int i)
{
	return 1 + i % 100;
}

static void free_witnesses(void)
{
	unsigned int i;

	for (i = 0; witness && i < witnesses; i++) {
		if (!witness[i])
			continue;
		mown_kfree(witness[i]);
		count(FREED);
	}
	if (witness)
		count(FREED);
	mown_kfree(witness);
	witness = NULL;
}

static int new_witnesses(void)
{
	unsigned int i;

	if (witness)
		return 0;
	witness = mown_kcalloc(witnesses, sizeof(*witness), GFP_KERNEL);
	if (!witness)
		return -ENOMEM;
	count(ALLOCATED);
	for (i = 0; i < witnesses; i++) {
		witness[i] = stress_witness(witness_size(i));
		if (!witness[i]) {
			free_witnesses();
			return -ENOMEM;
		}
		count(ALLOCATED);
	}
	return 0;
}

static void stress_stop(void)
{
	struct worker *w;
	unsigned int cpu;
	int i;

	if (!workers)
		return;
	for_each_possible_cpu(cpu) {
		if (workers[cpu].task)
			kthread_stop(workers[cpu].task);
	}
	WRITE_ONCE(phase, PHASE_OFF);
	/* Nobody arms it again after phase is off, and timer_delete_sync() waits. */
	timer_delete_sync(&softirq);
	irq_work_sync(&hardirq);
	for_each_possible_cpu(cpu) {
		w = &workers[cpu];
		for (i = 0; i < POOL; i++) {
			if (w->pool[i])
				release(w->pool[i], &softirq_random);
		}
		ring_drain(&w->ring, &softirq_random);
	}
	ring_drain(&to_softirq, &softirq_random);
	ring_drain(&to_hardirq, &softirq_random);
	mown_kvfree(workers);
	count(FREED);
	workers = NULL;
}

static int stress_start(enum stress_phase new)
{
	struct worker *w, *last = NULL, *first = NULL;
	struct task_struct *task;
	unsigned int cpu;
	int err;

	err = new_witnesses();
	if (err)
		return err;
	workers = mown_kcalloc(nr_cpu_ids, sizeof(*workers), GFP_KERNEL);
	if (!workers)
		return -ENOMEM;
	count(ALLOCATED);
	for_each_possible_cpu(cpu) {
		raw_spin_lock_init(&workers[cpu].ring.lock);
		workers[cpu].random = seed + cpu + 1;
		per_cpu(hardirq_random, cpu) = seed + cpu + 101;
	}
	softirq_random = seed + 201;
	WRITE_ONCE(phase, new);
	for_each_online_cpu(cpu) {
		w = &workers[cpu];
		task = kthread_create_on_cpu(work, w, cpu, "mown_stress/%u");
		if (IS_ERR(task)) {
			stress_stop();
			return PTR_ERR(task);
		}
		w->task = task;
		if (last)
			last->next = w;
		else
			first = w;
		last = w;
	}
	last->next = first;
	for_each_online_cpu(cpu)
		wake_up_process(workers[cpu].task);
	mod_timer(&softirq, jiffies + 1);
	return 0;
}

static int phase_set(const char *val, const struct kernel_param *kp)
{
	int err = 0;

	mutex_lock(&stress_mutex);
	if (sysfs_streq(val, "off")) {
		stress_stop();
	} else if (sysfs_streq(val, "end")) {
		stress_stop();
		free_witnesses();
	} else if (sysfs_streq(val, "quarantine")) {
		stress_stop();
		/* What waited for grace periods may come into quarantine yet. */
		err = rcu_used ? -EBUSY : stress_start(PHASE_QUARANTINE);
	} else if (sysfs_streq(val, "rcu")) {
		stress_stop();
		rcu_used = true;
		err = stress_start(PHASE_RCU);
	} else {
		err = -EINVAL;
	}
	mutex_unlock(&stress_mutex);
	return err;
}

static const struct kernel_param_ops phase_ops = { .set = phase_set };
module_param_cb(phase, &phase_ops, NULL, 0200);
MODULE_PARM_DESC(phase, "quarantine, rcu, off or end");

/* ---- Face ---- */

static struct dentry *face;

static int counts_show(struct seq_file *m, void *unused)
{
	unsigned long sum;
	unsigned int cpu;
	int i;

	for (i = 0; i < NR_COUNTS; i++) {
		sum = 0;
		for_each_possible_cpu(cpu)
			sum += per_cpu(counts[i], cpu);
		seq_printf(m, "%s %lu\n", count_names[i], sum);
	}
	return 0;
}
DEFINE_SHOW_ATTRIBUTE(counts);

static int __init mown_test_stress_init(void)
{
	raw_spin_lock_init(&to_softirq.lock);
	raw_spin_lock_init(&to_hardirq.lock);
	timer_setup(&softirq, stress_softirq, TIMER_PINNED);
	init_irq_work(&hardirq, stress_hardirq);
	face = debugfs_create_file("mown_test_stress", 0400, NULL, NULL,
				   &counts_fops);
	return 0;
}
module_init(mown_test_stress_init);

static void __exit mown_test_stress_exit(void)
{
	debugfs_remove(face);
	stress_stop();
	free_witnesses();
}
module_exit(mown_test_stress_exit);

MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("mown: all CPUs and contexts hammer one owner");
MODULE_INFO(test, "Y");
