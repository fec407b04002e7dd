// SPDX-License-Identifier: GPL-2.0
/*
 * Objects that wait for a grace period: mown's own kfree_rcu()
 *
 * The kernel's cannot be waited for everywhere (in 6.1 rcu_barrier() does not,
 * its batches leave after five seconds), and forgets who freed what. So each
 * CPU fills a batch of slots that goes to call_rcu() when it is full, or after
 * a moment; mown_rcu_flush() then waits for all there is.
 */
#include <linux/cpumask.h>
#include <linux/percpu.h>
#include <linux/slab.h>
#include <linux/workqueue.h>
#include <trace/events/mown.h>

#include "compat.h"
#include "mown.h"

#define MOWN_RCU_SLOTS 40
#define MOWN_RCU_DRAIN_MS 100
/* Who may sleep waits for a grace period rather than have others killed. */
#define MOWN_RCU_GFP (GFP_KERNEL | __GFP_NORETRY | __GFP_NOMEMALLOC)

struct mown_rcu_batch {
	struct rcu_head rcu;
	unsigned int nr;
	struct mown_freed slot[MOWN_RCU_SLOTS];
};

/**
 * struct mown_rcu_cpu - a CPU's open batch
 * @lock: guards @open and what is in it
 * @open: takes slots until it is submitted, or NULL
 */
struct mown_rcu_cpu {
	raw_spinlock_t lock;
	struct mown_rcu_batch *open;
};

static DEFINE_PER_CPU(struct mown_rcu_cpu, mown_rcu_cpus);

/*
 * Objects of slab caches that wait in batches, and objects of any family that wait
 * by their own heads: a cache must not go before its objects.
 */
static atomic_long_t mown_rcu_slabs;
static atomic_long_t mown_rcu_heads;

/*
 * The grace period of @rec, in state RCU, is over. The caller held the record,
 * and does not any more; @freed is its slot, or what takes its place. Wherever
 * the family's release may be called.
 */
static void mown_release_waited(struct mown_record *rec,
				struct mown_freed *freed)
{
	unsigned int index = mown_stripe_index(rec->addr);
	unsigned long flags, addr = rec->addr;
	struct mown_owner *owner = NULL;
	struct mown_stripe *stripe;
	bool keep = false, later, give, slab;

	rcu_read_lock();
	stripe = mown_lock(index, &flags);
	slab = rec->family == MOWN_SLAB;
	/* As long as the record is not gone, it is in its owner's tree. */
	if (rec->state != MOWN_GONE && mown_find(index, addr, NULL, &owner))
		keep = mown_keeps(owner, rec, freed) &&
		       mown_prepare(stripe, owner, freed, &flags, false) &&
		       mown_quarantine_push(&owner->quarantine, freed);
	give = !keep && rec->state != MOWN_GONE;
	later = give && mown_families[rec->family].sleeps;
	if (later) {
		mown_set_leaving(rec);
		mown_leave_later(owner, rec);
	} else if (give) {
		mown_erase(owner, index, addr, rec);
	}
	raw_spin_unlock_irqrestore(&stripe->lock, flags);
	if (give && !later)
		mown_give_back(rec);
	if (slab && !freed->blank)
		atomic_long_dec(&mown_rcu_slabs);
	if (keep)
		mown_quarantine_trim(owner, mown_quarantine_limit(owner));
	else if (!later)
		mown_record_free(rec);
	rcu_read_unlock();
}

static bool mown_waits_by_head(const struct mown_record *rec)
{
	return rec->state == MOWN_RCU && !rec->freed;
}

/*
 * The record of @owner's object that waits for RCU by the @head in it, if
 * there is one. The caller holds it then, with @freed for its slot.
 */
static bool mown_hold_by_head(struct mown_owner *owner,
			      const struct rcu_head *head,
			      struct mown_freed *freed)
{
	unsigned long flags, start = mown_covering(owner, (unsigned long)head,
						   mown_waits_by_head);
	unsigned int index = mown_stripe_index(start);
	struct mown_stripe *stripe;
	struct mown_record *rec;

	if (!start)
		return false;
	stripe = mown_lock(index, &flags);
	rec = mown_tree_find(&owner->trees[index], start);
	if (rec && mown_waits_by_head(rec)) {
		freed->rec = rec;
		rec->freed = freed;
	}
	raw_spin_unlock_irqrestore(&stripe->lock, flags);
	return freed->rec;
}

/*
 * The grace period of the object that @head lies in is over, and it had no
 * slot in a batch. An object that was freed from elsewhere meanwhile has no
 * record any more.
 */
static void mown_release_by_head(struct rcu_head *head)
{
	struct mown_freed freed = { .blank = true };
	struct mown_owner *owner;

	rcu_read_lock();
	list_for_each_entry_rcu(owner, &mown_owners, list) {
		if (!mown_hold_by_head(owner, head, &freed))
			continue;
		mown_release_waited(freed.rec, &freed);
		break;
	}
	rcu_read_unlock();
	atomic_long_dec(&mown_rcu_heads);
}

static void mown_rcu_batch_func(struct rcu_head *rcu)
{
	struct mown_rcu_batch *batch = container_of(rcu, struct mown_rcu_batch,
						    rcu);
	unsigned int i;

	for (i = 0; i < batch->nr; i++)
		mown_release_waited(batch->slot[i].rec, &batch->slot[i]);
	kfree(batch);
}

static bool mown_rcu_has_room(const struct mown_rcu_batch *batch)
{
	return batch && READ_ONCE(batch->nr) < MOWN_RCU_SLOTS;
}

/* Take the CPU's batch out of use, and leave it @fresh instead. */
static void mown_rcu_submit(struct mown_rcu_cpu *rc,
			    struct mown_rcu_batch *fresh)
{
	struct mown_rcu_batch *full;
	unsigned long flags;

	/* mown_rcu_flush() waits for whoever is between the two. */
	rcu_read_lock();
	raw_spin_lock_irqsave(&rc->lock, flags);
	full = rc->open;
	WRITE_ONCE(rc->open, fresh);
	raw_spin_unlock_irqrestore(&rc->lock, flags);
	if (full)
		call_rcu(&full->rcu, mown_rcu_batch_func);
	rcu_read_unlock();
}

static void mown_rcu_drain(struct work_struct *work);
static DECLARE_DELAYED_WORK(mown_rcu_drain_work, mown_rcu_drain);

/*
 * See to it that the CPU has a batch with room; false if none can be had with
 * @gfp. No lock is held. On PREEMPT_RT nothing can be allocated in atomic
 * context.
 */
static bool mown_rcu_prepare(gfp_t gfp)
{
	struct mown_rcu_cpu *rc = raw_cpu_ptr(&mown_rcu_cpus);
	struct mown_rcu_batch *fresh;
	bool room;

	/* Keeps the batch, should the CPU be another's by now. */
	rcu_read_lock();
	room = mown_rcu_has_room(READ_ONCE(rc->open));
	rcu_read_unlock();
	if (likely(room))
		return true;
	if ((IS_ENABLED(CONFIG_PREEMPT_RT) ||
	     IS_ENABLED(CONFIG_PROVE_RAW_LOCK_NESTING)) && !preemptible())
		return false;
	fresh = kmalloc(sizeof(*fresh), gfp | __GFP_NOWARN);
	if (!fresh)
		return false;
	fresh->nr = 0;
	mown_rcu_submit(rc, fresh);
	queue_delayed_work(mown_system_wq, &mown_rcu_drain_work,
			   msecs_to_jiffies(MOWN_RCU_DRAIN_MS));
	return true;
}

/* A slot of the CPU's batch, or NULL; under the stripe's lock. */
static struct mown_freed *mown_rcu_slot(void)
{
	struct mown_rcu_cpu *rc = this_cpu_ptr(&mown_rcu_cpus);
	struct mown_freed *slot = NULL;

	raw_spin_lock(&rc->lock);
	if (mown_rcu_has_room(rc->open)) {
		slot = &rc->open->slot[rc->open->nr];
		WRITE_ONCE(rc->open->nr, rc->open->nr + 1);
	}
	raw_spin_unlock(&rc->lock);
	return slot;
}

/**
 * mown_release_rcu - release an object after a grace period
 * @head: the rcu_head in it, or NULL if the caller may sleep instead
 * @ptr: its address, not NULL nor ZERO_SIZE_PTR
 * @caller: who wants it freed
 *
 * The object waits in a batch of mown's own, as the kernel's would not tell
 * when it is done. Where no slot of a batch can be had, @head takes its place.
 * If there is neither, the caller waits, and the object is released after that.
 *
 * Context: Where kfree_rcu() may be called; @head NULL may sleep.
 * Return: true if the caller is to hand @ptr to the kernel's kfree_rcu(), for
 *	   it is not recorded any more or never was, or is of a family that is
 *	   none of kfree()'s.
 */
bool mown_release_rcu(struct rcu_head *head, const void *ptr,
		      const struct mown_caller *caller)
{
	u32 stack = mown_stack_save(caller, MOWN_GFP_RELEASE);
	struct mown_freed freed, *slot = NULL;
	struct mown_hold hold;
	bool pass, room;

	for (;;) {
		room = mown_rcu_prepare(head ? MOWN_GFP_RELEASE : MOWN_RCU_GFP);
		mown_hold(&hold, ptr, caller);
		if (unlikely(!hold.live))
			return mown_not_live(&hold, false);
		pass = READ_ONCE(hold.owner->dying) ||
		       !mown_families[hold.rec->family].waits;
		if (!pass)
			slot = mown_rcu_slot();
		if (likely(slot || pass) || (head && !room))
			break;
		mown_unlock(&hold);
		rcu_read_unlock();
		/* Another CPU, or somebody was faster: once more. */
		if (room)
			continue;
		synchronize_rcu();
		return mown_release(ptr, caller, false);
	}
	mown_claim(&hold, stack, &freed);
	if (unlikely(pass)) {
		mown_erase(hold.owner, hold.index, hold.addr, hold.rec);
	} else {
		if (likely(slot))
			*slot = freed;
		hold.rec->freed = slot;
		hold.rec->state = MOWN_RCU;
		if (unlikely(hold.rec->family == MOWN_SLAB && slot))
			atomic_long_inc(&mown_rcu_slabs);
	}
	mown_unlock(&hold);
	trace_free(hold.owner->name, hold.addr, caller->site);
	if (unlikely(pass)) {
		mown_record_send_home(hold.rec);
	} else if (unlikely(!slot)) {
		atomic_long_inc(&mown_rcu_heads);
		call_rcu(head, mown_release_by_head);
	}
	rcu_read_unlock();
	return pass;
}

static void mown_rcu_submit_all(void)
{
	int cpu;

	for_each_possible_cpu(cpu)
		mown_rcu_submit(per_cpu_ptr(&mown_rcu_cpus, cpu), NULL);
}

static void mown_rcu_drain(struct work_struct *work)
{
	mown_rcu_submit_all();
}

/* Wait until all that was released through here before is given back. */
void mown_rcu_flush(void)
{
	cancel_delayed_work_sync(&mown_rcu_drain_work);
	mown_rcu_submit_all();
	synchronize_rcu();
	rcu_barrier();
}

/* A slab cache may be destroyed: none of its objects may wait here. */
void mown_rcu_flush_slabs(void)
{
	if (atomic_long_read(&mown_rcu_slabs) ||
	    atomic_long_read(&mown_rcu_heads))
		mown_rcu_flush();
}

void mown_rcu_init(void)
{
	int cpu;

	for_each_possible_cpu(cpu)
		raw_spin_lock_init(&per_cpu_ptr(&mown_rcu_cpus, cpu)->lock);
}
