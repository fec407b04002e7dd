// SPDX-License-Identifier: GPL-2.0
/*
 * Magazines: where records come from
 *
 * Each CPU has some of every kind at hand, so that an allocation in atomic
 * context gets its record even when there is no memory for one then. Who may
 * wait keeps them filled; atomic callers who find them low have that done by
 * a work item. When one is dry, the kernel's allocator is asked, and what it
 * denies goes untracked.
 */
#include <linux/cpuhotplug.h>
#include <linux/irq_work.h>
#include <linux/percpu.h>
#include <linux/slab.h>
#include <linux/workqueue.h>

#include "compat.h"
#include "mown.h"

DEFINE_PER_CPU(struct mown_magazines, mown_magazines);

static struct kmem_cache *mown_record_caches[MOWN_NR_KINDS];
static enum cpuhp_state mown_magazine_state;

static const struct {
	const char *name;
	unsigned int size;
	slab_flags_t flags;
} mown_kinds[MOWN_NR_KINDS] = {
	[MOWN_RECORD] = {
		"mown_record", sizeof(struct mown_record), SLAB_HWCACHE_ALIGN,
	},
	[MOWN_DEFERRED] = { "mown_deferred", sizeof(struct mown_deferred) },
	[MOWN_CHILD] = { "mown_child", sizeof(struct mown_child) },
	[MOWN_DMA_CHILD] = { "mown_dma_child", sizeof(struct mown_dma_child) },
};

/* Get as many as are missing, as far as there is memory. */
static void mown_magazine_refill(enum mown_kind kind, gfp_t gfp)
{
	void *recs[MOWN_MAGAZINE_LOW];
	struct mown_magazine *mag;
	unsigned long flags;
	int nr = 0;

	/* All or none; newer kernels say no more than which. */
	if (kmem_cache_alloc_bulk(mown_record_caches[kind], gfp,
				  ARRAY_SIZE(recs), recs))
		nr = ARRAY_SIZE(recs);
	local_irq_save(flags);
	mag = &this_cpu_ptr(&mown_magazines)->of[kind];
	while (nr && mag->nr < MOWN_MAGAZINE_ROUNDS)
		mag->round[mag->nr++] = recs[--nr];
	local_irq_restore(flags);
	/* What others have put there meanwhile. */
	while (nr)
		kmem_cache_free(mown_record_caches[kind], recs[--nr]);
}

static void mown_magazine_refill_func(struct work_struct *work)
{
	struct mown_magazines *mags = container_of(work, struct mown_magazines,
						   refill);
	enum mown_kind kind;

	for (kind = 0; kind < MOWN_NR_KINDS; kind++) {
		if (!READ_ONCE(mags->of[kind].low))
			continue;
		WRITE_ONCE(mags->of[kind].low, false);
		mown_magazine_refill(kind, GFP_KERNEL | __GFP_NOWARN |
				     __GFP_NORETRY | __GFP_NOMEMALLOC);
	}
}

static void mown_magazine_low_func(struct irq_work *work)
{
	struct mown_magazines *mags = container_of(work, struct mown_magazines,
						   low);

	queue_work_on(smp_processor_id(), mown_system_wq, &mags->refill);
}

/* The CPU's next record, or NULL; who cannot wait has it filled up in time. */
static struct mown_record *mown_magazine_pop(enum mown_kind kind, bool atomic)
{
	struct mown_record *rec = NULL;
	struct mown_magazines *mags;
	struct mown_magazine *mag;
	unsigned long flags;

	local_irq_save(flags);
	mags = this_cpu_ptr(&mown_magazines);
	mag = &mags->of[kind];
	if (likely(mag->nr))
		rec = mag->round[--mag->nr];
	if (unlikely(atomic && mag->nr < MOWN_MAGAZINE_LOW && !mag->low)) {
		WRITE_ONCE(mag->low, true);
		irq_work_queue(&mags->low);
	}
	local_irq_restore(flags);
	return rec;
}

/**
 * mown_record_more - a record for an object, where they are few
 * @kind: of what kind
 * @gfp: how the object was allocated
 *
 * A record must not draw on what the caller may (reserves, a zone, the memory
 * cgroup), nor wait longer than the caller would.
 *
 * Context: Any in which the object may be allocated.
 * Return: a record with nothing set, or NULL.
 */
struct mown_record *mown_record_more(enum mown_kind kind, gfp_t gfp)
{
	/* What refills it turns interrupts on. */
	bool atomic = !gfpflags_allow_blocking(gfp) || irqs_disabled();
	struct mown_record *rec;

	/* What is built in may call before we are there. */
	if (unlikely(!mown_record_caches[kind]))
		return NULL;
	gfp &= MOWN_GFP_OWN | __GFP_NORETRY | __GFP_RETRY_MAYFAIL;
	gfp |= __GFP_NOMEMALLOC | __GFP_NOWARN;
	if (!atomic && raw_cpu_read(mown_magazines.of[kind].nr) <
		       MOWN_MAGAZINE_LOW)
		mown_magazine_refill(kind, gfp);
	rec = mown_magazine_pop(kind, atomic);
	return rec ?: kmem_cache_alloc(mown_record_caches[kind], gfp);
}

/*
 * The magazine is full: make room for as many as are missing where it is low, for
 * what comes and goes in turns to find both. The record goes with them.
 */
void mown_record_less(enum mown_kind kind, struct mown_record *rec)
{
	void *recs[MOWN_MAGAZINE_LOW] = { rec };
	struct mown_magazine *mag;
	unsigned long flags;
	int nr = 1;

	local_irq_save(flags);
	mag = &this_cpu_ptr(&mown_magazines)->of[kind];
	while (nr < ARRAY_SIZE(recs) && mag->nr > MOWN_MAGAZINE_LOW)
		recs[nr++] = mag->round[--mag->nr];
	local_irq_restore(flags);
	/* In bulk it may not be done with interrupts off. */
	while (nr)
		kmem_cache_free(mown_record_caches[kind], recs[--nr]);
}

/* The CPU is gone, or everything is. */
static int mown_magazine_drain(unsigned int cpu)
{
	struct mown_magazines *mags = per_cpu_ptr(&mown_magazines, cpu);
	enum mown_kind kind;

	for (kind = 0; kind < MOWN_NR_KINDS; kind++) {
		struct mown_magazine *mag = &mags->of[kind];

		while (mag->nr)
			kmem_cache_free(mown_record_caches[kind],
					mag->round[--mag->nr]);
		mag->low = false;
	}
	return 0;
}

static void mown_magazine_destroy(void)
{
	enum mown_kind kind;

	for (kind = 0; kind < MOWN_NR_KINDS; kind++) {
		kmem_cache_destroy(mown_record_caches[kind]);
		mown_record_caches[kind] = NULL;
	}
}

int mown_magazine_init(void)
{
	enum mown_kind kind;
	int cpu, ret;

	for_each_possible_cpu(cpu) {
		struct mown_magazines *mags = per_cpu_ptr(&mown_magazines, cpu);

		init_irq_work(&mags->low, mown_magazine_low_func);
		INIT_WORK(&mags->refill, mown_magazine_refill_func);
	}
	/*
	 * SLAB_NOLEAKTRACE: a record holds the address of an object, and would
	 * hide its loss from kmemleak. It also keeps the caches from merging.
	 */
	for (kind = 0; kind < MOWN_NR_KINDS; kind++) {
		mown_record_caches[kind] =
			kmem_cache_create(mown_kinds[kind].name,
					  mown_kinds[kind].size, 0,
					  mown_kinds[kind].flags |
					  SLAB_NOLEAKTRACE, NULL);
		if (!mown_record_caches[kind]) {
			mown_magazine_destroy();
			return -ENOMEM;
		}
	}
	ret = cpuhp_setup_state_nocalls(CPUHP_BP_PREPARE_DYN, "mown:magazine",
					NULL, mown_magazine_drain);
	if (ret < 0) {
		mown_magazine_destroy();
		return ret;
	}
	mown_magazine_state = ret;
	return 0;
}

/* With no record in use any more. */
void mown_magazine_exit(void)
{
	int cpu;

	cpuhp_remove_state_nocalls(mown_magazine_state);
	for_each_possible_cpu(cpu) {
		struct mown_magazines *mags = per_cpu_ptr(&mown_magazines, cpu);

		irq_work_sync(&mags->low);
		cancel_work_sync(&mags->refill);
		mown_magazine_drain(cpu);
	}
	mown_magazine_destroy();
}
