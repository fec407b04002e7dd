/* SPDX-License-Identifier: GPL-2.0 */
/*
 * mown: the data model, and what its files offer each other
 *
 * Dependencies point one way: ways in (api.c, net.c, modules.c) -> core
 * (heap.c, record.c, owner.c, quarantine.c, rcu.c, exits.c, report.c, ...) ->
 * kernel. The faces (sysfs.c, debugfs.c) read the core, the core knows no face.
 *
 * Notes on locking
 * ----------------
 *
 * stripe->lock (raw, interrupts off)
 *	All that concerns an address: the records of the addresses that hash to
 *	the stripe, of every owner, their states, the owners' trees of the
 *	stripe, and the stripe's filter. A granule's addresses share a stripe.
 *	Finding an owner by its module, and walking the owners, also happens
 *	here: interrupts are off, so synchronize_rcu() waits for it.
 *
 * interrupts off
 *	What a CPU has for itself: its records at hand, and its tally of each
 *	owner.
 *
 * owner->quarantine.lock (raw, interrupts off)
 *	The owner's ring of released objects, and record->freed of those in it.
 *
 * rcu_cpu->lock (raw, interrupts off; rcu.c)
 *	The CPU's open batch of objects that wait for a grace period.
 *
 * mown_block_lock (raw, interrupts off; devm.c)
 *	The blocks of device-managed memory in their anchors. A block that is
 *	linked and recorded is live: who takes its record out of state LIVE
 *	unlinks it, under both locks.
 *
 * mown_mark_lock (raw, interrupts off; dma.c)
 *	The devices whose memory may be given back.
 *
 * mown_event_lock (raw, interrupts off; report.c)
 *	The queue of events that wait to be reported.
 *
 * mown_attach_lock (mutex; attach.h)
 *	The names that are attached, the hooks, and who is to end an owner.
 *
 * mown_owners_lock (mutex)
 *	The list and the hash of owners against each other's writers, an
 *	owner's names, exit blocks, and whether the net is on. Never held across
 *	the removal of a file: that waits for readers which may want the mutex;
 *	nor is a device let go of, whose release may.
 *
 * mown_intern_lock (mutex; symbol.c)
 *	The naming of call sites whose text goes.
 *
 * mown_history_lock (mutex; report.c)
 *	The reports kept for debugfs.
 *
 * Order: mown_attach_lock -> mown_intern_lock -> mown_owners_lock -> stripe->lock ->
 * quarantine.lock, rcu_cpu->lock, mown_block_lock or mown_mark_lock; a device's
 * devres_lock -> mown_block_lock; mown_history_lock -> mown_event_lock, which are
 * innermost. No two stripes are ever locked together. Under a raw lock nothing
 * allocates, frees, prints, sleeps or calls out.
 *
 * Knobs, and what follows from them, are one word each, written under a mutex and read
 * without (READ_ONCE): who reads the older one goes by the knob as it was. Where that
 * does not do, synchronize_rcu() follows the write.
 *
 * Who holds a record
 * ------------------
 *
 * A record in state LIVE or ELSEWHERE belongs to its tree. When the owner
 * releases the object, whoever took the record out of state LIVE holds it: on
 * the way into quarantine, in a slot there, on the way out, or in a batch that
 * waits for a grace period. Only the holder gives the object back to the
 * kernel and frees the record. If meanwhile somebody else frees the object in
 * a way that cannot be refused (the net sees it), the record is unlinked and
 * becomes GONE: the holder then frees the record only. What not every context can
 * give back is held by a work item on the way out (@leaving of its owner), and stays
 * linked until then.
 *
 * Owners are freed after a grace period. Whoever uses one outside the locks
 * above is in an RCU read-side section or holds a reference.
 */
#ifndef _MOWN_INTERNAL_H
#define _MOWN_INTERNAL_H

#include <linux/atomic.h>
#include <linux/bits.h>
#include <linux/cache.h>
#include <linux/cpumask.h>
#include <linux/hash.h>
#include <linux/hashtable.h>
#include <linux/irq_work.h>
#include <linux/jiffies.h>
#include <linux/kallsyms.h>
#include <linux/list.h>
#include <linux/llist.h>
#include <linux/mempool.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/mown.h>
#include <linux/mutex.h>
#include <linux/percpu.h>
#include <linux/pgtable.h>
#include <linux/poison.h>
#include <linux/rbtree.h>
#include <linux/refcount.h>
#include <linux/sched.h>
#include <linux/seq_file.h>
#include <linux/spinlock.h>
#include <linux/string.h>
#include <linux/workqueue.h>

#define MOWN_VERSION "0.1"

/* ---- Records: record.c, and where they come from: magazine.c ---- */

/* A range of addresses. */
struct mown_range {
	unsigned long start;
	unsigned long size;
};

/* So many that a million records make trees of eight levels. */
#define MOWN_STRIPE_BITS 12
#define MOWN_STRIPES BIT(MOWN_STRIPE_BITS)

/*
 * As many bytes share a stripe: few, so that what one module has, which is in few
 * pages often, spreads over all stripes and their filters.
 */
#define MOWN_GRANULE_SHIFT 6
#define MOWN_GRANULE BIT(MOWN_GRANULE_SHIFT)

#define MOWN_FILTER_BITS 4
#define MOWN_FILTER_SLOTS BIT(MOWN_FILTER_BITS)

/**
 * struct mown_stripe - a share of all addresses
 * @lock: see the notes on locking
 * @filter: how many records each slot of the share counts, saturating;
 *	    written under @lock, read without it: a slot of 0 proves that there
 *	    is no record of the address. It is raised before an allocation
 *	    returns, so whoever can free the address sees it raised.
 */
struct mown_stripe {
	raw_spinlock_t lock;
	u8 filter[MOWN_FILTER_SLOTS];
} __aligned(32);

/**
 * enum mown_state - what mown knows of a recorded object
 * @MOWN_LIVE: allocated
 * @MOWN_RCU: released by its owner, waits for a grace period in a batch
 * @MOWN_QUARANTINED: released by its owner, not given back to the kernel yet
 * @MOWN_ELSEWHERE: given to the kernel's own kfree_rcu(), not by mown
 * @MOWN_GONE: freed by somebody else while a holder had the record; unlinked
 */
enum mown_state {
	MOWN_LIVE,
	MOWN_RCU,
	MOWN_QUARANTINED,
	MOWN_ELSEWHERE,
	MOWN_GONE,
};

/* The families that a function releases: a mask of them. */
#define MOWN_FREES_SLAB (BIT(MOWN_SLAB) | BIT(MOWN_ELEMENT))
#define MOWN_FREES_KFREE (BIT(MOWN_KMALLOC) | MOWN_FREES_SLAB)
/* Of objects that go as a whole. */
#define MOWN_FREES_WHOLE (BIT(MOWN_KMALLOC) | BIT(MOWN_VMALLOC))
#define MOWN_FREES_KVFREE (MOWN_FREES_KFREE | BIT(MOWN_VMALLOC))
#define MOWN_FREES_ANY (BIT(MOWN_NR_FAMILIES) - 1)
/* Of plain memory: what any of its functions is given is to be freed. */
#define MOWN_FREES_MEMORY (BIT(MOWN_KMALLOC) | BIT(MOWN_VMALLOC) | \
			   BIT(MOWN_SLAB))

/**
 * struct mown_record - an allocation
 * @node: in the owner's tree of the address's stripe, keyed by @addr
 * @addr: where it is; constant
 * @size: bytes asked for
 * @site: the return address of the call that allocated it
 * @when: jiffies at the allocation, while state is not RCU or QUARANTINED
 * @stack: stack depot handle of the allocation, or 0; likewise
 * @freed: where and when it was released, in state RCU or QUARANTINED; NULL
 *	   while the holder has it on the way. The slot keeps @when and @stack.
 * @grace: in state ELSEWHERE, if it is by kfree_rcu(), whose end may not be seen: the
 *	   object may be gone when RCU says that this is over
 * @pid: the allocating task, 0 in interrupts
 * @cpu: the CPU it was allocated on
 * @state: enum mown_state
 * @marked: was there at the owner's last checkpoint
 * @redzone: there is one behind it
 * @family: enum mown_family
 * @unpromised: its owner has not promised, by the API, that nothing outlives it
 * @loose: resized in place, so @size need not give the size class; an element that
 *	   is no memory of a slab
 * @no_wait: not to be kept in quarantine, being charged to a memory cgroup or
 *	     mapped by user space; of a cache, what holds for its objects
 * @no_poison: not to be written to when it is released; likewise
 * @orphan: counted as left behind by its owner, which has gone
 * @lent: a cache or a pool of which others have, or had, something, or of which
 *	  something stays: it is not given back
 * @bits: all of these
 *
 * All but @freed is under the stripe's lock. One cache line on 64-bit.
 */
struct mown_record {
	struct rb_node node;
	unsigned long addr;
	size_t size;
	unsigned long site;
	union {
		struct {
			u32 when;
			u32 stack;
		};
		struct mown_freed *freed;
		unsigned long grace;
	};
	u32 pid;
	u16 cpu;
	union {
		struct {
			u16 state:3;
			u16 family:4;
			u16 redzone:1;
			u16 orphan:1;
			u16 loose:1;
			u16 marked:1;
			u16 unpromised:1;
			u16 no_wait:1;
			u16 no_poison:1;
			u16 lent:1;
		};
		u16 bits;
	};
};

/* The record's holder, who has it in no slot, has the object on the way. */
static inline void mown_set_leaving(struct mown_record *rec)
{
	rec->freed = NULL;
	rec->state = MOWN_QUARANTINED;
}

/* What the field adds to @bits if it is 1. */
#define MOWN_BIT(field) (((struct mown_record){ .field = 1 }).bits)

/* A live object of kmalloc(), of which no more is to be said when it is released. */
static inline bool mown_is_plain(const struct mown_record *rec)
{
	const struct mown_record is_not = {
		.state = 7, .family = 15, .redzone = 1, .orphan = 1,
	};

	return !(rec->bits & is_not.bits);
}

#ifdef CONFIG_64BIT
static_assert(sizeof(struct mown_record) == 64);
#endif

/**
 * struct mown_deferred - the record of an object that waits, and that not every
 *			  context can give back
 * @rec: the record
 * @leave: in its owner's @leaving, while it is on its way out
 */
struct mown_deferred {
	struct mown_record rec;
	struct llist_node leave;
};

/**
 * struct mown_child - the record of an object that belongs to another
 * @rec: the record
 * @with: the cache, the pool or the device; compared only; constant
 */
struct mown_child {
	struct mown_record rec;
	const void *with;
};

/**
 * struct mown_dma - what is to be known to give memory back that a device reaches
 * @handle: its address for the device
 * @attrs: it was allocated with them
 * @mark: the number of the device's mark then, or 0
 */
struct mown_dma {
	dma_addr_t handle;
	unsigned long attrs;
	u64 mark;
};

/**
 * struct mown_dma_child - the record of an object that a device reaches, of a pool, or
 *			   of what a pool gives
 * @child: the record
 * @dma: constant
 * @pool: the number of the pool, which no later one at its address has; 0 if there is
 *	  none, or it was not recorded; constant
 */
struct mown_dma_child {
	struct mown_child child;
	struct mown_dma dma;
	u64 pool;
};

/* Which of these a family's records are. */
enum mown_kind {
	MOWN_RECORD,
	MOWN_DEFERRED,
	MOWN_CHILD,
	MOWN_DMA_CHILD,
	MOWN_NR_KINDS,
};

/**
 * struct mown_freed - what is to be known of a released object besides its
 *		       record: a slot of the quarantine's ring or of a batch
 * @rec: the record, NULL in an empty slot
 * @site: the return address of the call that released it
 * @when: jiffies then
 * @stack: stack depot handle of the release, or 0
 * @alloc_when: the record's @when
 * @alloc_stack: the record's @stack
 * @bytes: what the object takes in memory
 * @pid: the releasing task, 0 in interrupts
 * @cpu: the CPU it was released on
 * @own: released by its owner
 * @poisoned: filled with poison
 * @blank: nothing is known but @rec, @bytes and @poisoned
 */
struct mown_freed {
	struct mown_record *rec;
	unsigned long site;
	u32 when;
	u32 stack;
	u32 alloc_when;
	u32 alloc_stack;
	u32 bytes;
	u32 pid;
	u16 cpu;
	bool own;
	bool poisoned;
	bool blank;
};

extern struct mown_stripe mown_stripes[MOWN_STRIPES];

/* As hash_long(), with all bits: the stripe takes the highest, the slot those below. */
static inline unsigned long mown_hash(unsigned long addr)
{
	return (addr >> MOWN_GRANULE_SHIFT) * GOLDEN_RATIO_PRIME;
}

static inline unsigned long mown_stripe_index(unsigned long addr)
{
	return mown_hash(addr) >> (BITS_PER_LONG - MOWN_STRIPE_BITS);
}

static inline u8 *mown_filter_slot(unsigned long addr)
{
	struct mown_stripe *stripe = &mown_stripes[mown_stripe_index(addr)];
	unsigned long slots = mown_hash(addr) >> (BITS_PER_LONG -
						  MOWN_STRIPE_BITS -
						  MOWN_FILTER_BITS);

	return &stripe->filter[slots % MOWN_FILTER_SLOTS];
}

/*
 * There is a record more, before its address can be published. A slot that is full
 * stays so: false positives cost time only.
 */
static inline void mown_filter_more(u8 *slot)
{
	if (likely(*slot != U8_MAX))
		WRITE_ONCE(*slot, *slot + 1);
	/* Pairs with mown_maybe_recorded()'s dependency on the address. */
	smp_wmb();
}

static inline void mown_filter_less(u8 *slot)
{
	if (likely(*slot != U8_MAX))
		WRITE_ONCE(*slot, *slot - 1);
}

/* No lock: false only if there surely is no record of @addr. */
static inline bool mown_maybe_recorded(unsigned long addr)
{
	return READ_ONCE(*mown_filter_slot(addr));
}

static inline struct mown_stripe *mown_lock(unsigned int index,
					    unsigned long *flags)
	__acquires(&mown_stripes[index].lock)
{
	raw_spin_lock_irqsave(&mown_stripes[index].lock, *flags);
	return &mown_stripes[index];
}

static inline bool mown_in_range(const struct mown_range *range,
				 unsigned long addr)
{
	return addr - range->start < range->size;
}

/* False if @ip surely is in no module's text. */
static inline bool mown_in_modules(unsigned long ip)
{
#ifdef MODULES_VADDR
	/* From 6.5 on arm64 has them near the kernel's image, outside of that. */
	return (ip >= MODULES_VADDR && ip < MODULES_END) ||
	       is_vmalloc_addr((void *)ip);
#else
	return true;
#endif
}

/*
 * From before a record is unlinked until its object is given back. Whoever frees
 * the object from elsewhere in between frees it a second time, which cannot be
 * helped; no preemption keeps that window small where kfree() does without.
 */
static inline void mown_hurry(void)
{
	if (!IS_ENABLED(CONFIG_PREEMPT_RT))
		preempt_disable();
}

static inline void mown_hurry_end(void)
{
	if (!IS_ENABLED(CONFIG_PREEMPT_RT))
		preempt_enable();
}

/* Milliseconds since a moment that is kept in 32 bits. */
static inline u64 mown_age_ms(u32 when)
{
	return jiffies64_to_msecs((u32)jiffies - when);
}

/* Who is to be named as the one at work: 0 is an interrupt. */
static inline u32 mown_pid(void)
{
	return likely(in_task()) ? current->pid : 0;
}

int mown_magazine_init(void);
void mown_magazine_exit(void);
struct mown_record *mown_record_more(enum mown_kind kind, gfp_t gfp);
void mown_record_less(enum mown_kind kind, struct mown_record *rec);

#define MOWN_MAGAZINE_ROUNDS 31
/* It is refilled below this, by so many. */
#define MOWN_MAGAZINE_LOW 16

/**
 * struct mown_magazine - a CPU's records of a kind, with interrupts off
 * @nr: how many there are
 * @low: they were found to be few by who could not wait
 * @round: they
 */
struct mown_magazine {
	unsigned int nr;
	bool low;
	void *round[MOWN_MAGAZINE_ROUNDS];
};

/**
 * struct mown_magazines - what a CPU has
 * @of: by enum mown_kind
 * @low: gets @refill going, from any context
 * @refill: fills up those that are low
 */
struct mown_magazines {
	struct mown_magazine of[MOWN_NR_KINDS];
	struct irq_work low;
	struct work_struct refill;
};

DECLARE_PER_CPU(struct mown_magazines, mown_magazines);

/* With interrupts off: NULL if they are few. */
static inline struct mown_record *mown_magazine_take(enum mown_kind kind)
{
	struct mown_magazine *mag = this_cpu_ptr(&mown_magazines.of[kind]);

	return likely(mag->nr >= MOWN_MAGAZINE_LOW) ? mag->round[--mag->nr] :
						      NULL;
}

/* With interrupts off: false if it is full. */
static inline bool mown_magazine_give(enum mown_kind kind,
				      struct mown_record *rec)
{
	struct mown_magazine *mag = this_cpu_ptr(&mown_magazines.of[kind]);

	if (unlikely(mag->nr == MOWN_MAGAZINE_ROUNDS))
		return false;
	mag->round[mag->nr++] = rec;
	return true;
}

int mown_record_init(void);
void mown_record_exit(void);
void mown_record_send_home(struct mown_record *rec);

static inline struct mown_record *mown_record_of(struct rb_node *node)
{
	return rb_entry_safe(node, struct mown_record, node);
}

static inline struct mown_record *mown_tree_find(const struct rb_root *tree,
						 unsigned long addr)
{
	struct rb_node *node = tree->rb_node;

	while (node) {
		struct mown_record *rec = mown_record_of(node);

		if (addr == rec->addr)
			return rec;
		node = addr < rec->addr ? node->rb_left : node->rb_right;
	}
	return NULL;
}

struct mown_record *mown_tree_floor(const struct rb_root *tree,
				    unsigned long addr);
struct mown_record *mown_tree_above(const struct rb_root *tree,
				    unsigned long addr);
struct mown_record *mown_tree_next(struct mown_record *rec);
struct mown_record *mown_tree_link(struct rb_root *tree,
				   struct mown_record *rec);
struct mown_record *mown_tree_move(struct rb_root *from, struct rb_root *to,
				   struct mown_record *rec);

/* ---- Families: family.c ---- */

/**
 * struct mown_family_info - what a family is
 * @name: as it is shown
 * @kind: of its records
 * @give_back: releases an object, which nobody else knows or holds, wherever
 *	       the family's own release may be called
 * @may_reclaim: may an object that its owner has left behind be given back? NULL
 *		 if none may. Its stripe is locked.
 * @reclaimed: lets go of what that has taken hold of, when it was given back; no
 *	       lock is held
 * @parent: the family of what an object goes back to and cannot outlive; itself
 *	    if there is none
 * @rank: when its objects are reclaimed: those of a lower one come first
 * @sleeps: to give it back may sleep
 * @waits: a released object may wait in quarantine
 * @poison: and is poisoned there
 * @whole: an object goes as a whole, so that a free inside of it is a wrong one
 */
struct mown_family_info {
	const char *name;
	enum mown_kind kind;
	void (*give_back)(const struct mown_record *rec);
	bool (*may_reclaim)(const struct mown_record *rec);
	void (*reclaimed)(const struct mown_record *rec);
	enum mown_family parent;
	u8 rank;
	bool sleeps;
	bool waits;
	bool poison;
	bool whole;
};

/* Ranks there are. */
#define MOWN_NR_RANKS 3

extern const struct mown_family_info mown_families[MOWN_NR_FAMILIES];
void mown_give_back(const struct mown_record *rec);
bool mown_may_vmalloc(const struct mown_record *rec);

/* A record with nothing set; see mown_record_more(). */
static inline struct mown_record *mown_record_new(enum mown_kind kind,
						  gfp_t gfp)
{
	struct mown_record *rec;
	unsigned long flags;

	local_irq_save(flags);
	rec = mown_magazine_take(kind);
	local_irq_restore(flags);
	return likely(rec) ? rec : mown_record_more(kind, gfp);
}

static inline void mown_record_put(enum mown_kind kind, struct mown_record *rec)
{
	unsigned long flags;
	bool room;

	local_irq_save(flags);
	room = mown_magazine_give(kind, rec);
	local_irq_restore(flags);
	if (unlikely(!room))
		mown_record_less(kind, rec);
}

/* Wherever kfree() may be called, with no lock of mown's held. */
static inline void mown_record_free(struct mown_record *rec)
{
	mown_record_put(mown_families[rec->family].kind, rec);
}

size_t mown_usable_size(unsigned long addr);
size_t mown_class_size(const struct mown_record *rec);
bool mown_class_fits(const struct mown_record *rec);

/* What the object belongs to, or NULL. */
static inline const void *mown_record_with(const struct mown_record *rec)
{
	return mown_families[rec->family].kind < MOWN_CHILD ? NULL :
	       container_of(rec, struct mown_child, rec)->with;
}

static inline struct mown_dma *mown_record_dma(const struct mown_record *rec)
{
	return &container_of(rec, struct mown_dma_child, child.rec)->dma;
}

/* The number of the pool that the object is, or is of, or 0. */
static inline u64 mown_record_pool(const struct mown_record *rec)
{
	return mown_families[rec->family].kind < MOWN_DMA_CHILD ? 0 :
	       container_of(rec, struct mown_dma_child, child.rec)->pool;
}

/*
 * An object for each CPU is known by the address of the first one's: what its
 * users name it by may be any number.
 */
static inline unsigned long mown_percpu_key(const void *cookie)
{
	return (unsigned long)per_cpu_ptr(__mown_to_percpu(cookie),
					  cpumask_first(cpu_possible_mask));
}

static inline const void *mown_percpu_cookie(unsigned long key)
{
	return (void *)(key - mown_percpu_key(NULL));
}

/* ---- Policy: policy.c ---- */

enum mown_violation {
	MOWN_DOUBLE_FREE,
	MOWN_UNKNOWN_FREE,
	MOWN_INTERIOR_FREE,
	MOWN_MISMATCHED_FREE,
	MOWN_FOREIGN_FREE,
	MOWN_USE_AFTER_FREE,
	MOWN_OVERFLOW,
	MOWN_LIMIT,
	MOWN_LEFT_BEHIND,
	MOWN_NR_VIOLATIONS,
};

/*
 * In the order in which a knob shows those that it knows. An owner has the
 * first, of value 0, until it is given another.
 */
enum mown_word {
	MOWN_INHERIT,
	MOWN_AUTO,
	MOWN_REPORT,
	MOWN_RECLAIM,
	MOWN_WARN,
	MOWN_PANIC,
	MOWN_PASS,
	MOWN_NR_WORDS,
};

struct mown_caller;
struct mown_owner;

extern const char * const mown_violation_names[MOWN_NR_VIOLATIONS];
extern u8 mown_policies[MOWN_NR_VIOLATIONS];
int mown_policy_set(struct mown_owner *owner, enum mown_violation violation,
		    const char *word);
int mown_policy_show(struct mown_owner *owner, enum mown_violation violation,
		     char *buf);

/* ---- Quarantine: quarantine.c ---- */

/* How many objects a ring holds at most. */
#define MOWN_QUARANTINE_OBJECTS 1000
/* Its slots, a power of two: as many more CPUs may push at a time. */
#define MOWN_QUARANTINE_SLOTS 1024

/**
 * struct mown_quarantine - released objects, oldest first
 * @lock: guards all of this
 * @head: index of the oldest slot, not wrapped
 * @tail: index past the newest slot, not wrapped
 * @objects: slots in use between the two
 * @bytes: what their objects take in memory
 * @ring: MOWN_QUARANTINE_SLOTS slots
 */
struct mown_quarantine {
	raw_spinlock_t lock;
	unsigned int head;
	unsigned int tail;
	unsigned int objects;
	unsigned long bytes;
	struct mown_freed *ring;
};

/* An owner's number, if it goes by that of all. */
#define MOWN_QUARANTINE_INHERIT ULONG_MAX

/* Slots that were left empty count as objects until they have passed. */
static inline bool mown_quarantine_over(const struct mown_quarantine *q,
					unsigned long bytes)
{
	return READ_ONCE(q->bytes) > bytes ||
	       READ_ONCE(q->tail) - READ_ONCE(q->head) >
	       MOWN_QUARANTINE_OBJECTS;
}

extern unsigned long mown_quarantine_bytes;
extern bool mown_stranger_freed;
int mown_quarantine_init(void);
void mown_quarantine_exit(void);
int mown_quarantine_new(struct mown_quarantine *q);
void mown_quarantine_free(struct mown_quarantine *q);
bool mown_quarantine_push(struct mown_quarantine *q,
			  const struct mown_freed *freed);
bool mown_quarantine_exchange(struct mown_quarantine *q,
			      const struct mown_freed *freed,
			      unsigned long bytes, struct mown_freed *oldest);
bool mown_quarantine_remove(struct mown_quarantine *q,
			    struct mown_record *rec);
bool mown_quarantine_peek(struct mown_quarantine *q,
			  const struct mown_record *rec,
			  struct mown_freed *freed);
void mown_evict(struct mown_owner *owner, struct mown_freed *freed);
void mown_leave_later(struct mown_owner *owner, struct mown_record *rec);
void mown_leave_all(struct mown_owner *owner);
void mown_leave_flush(void);
void mown_quarantine_trim(struct mown_owner *owner, unsigned long bytes);
void mown_quarantine_set(struct mown_owner *owner, unsigned long bytes);
void mown_quarantine_forget_sites(struct mown_owner *owner,
				  const struct mown_range *text);
void mown_quarantine_purge(const struct kmem_cache *cache);
size_t mown_quarantine_overhead(const struct mown_owner *owner);

/* ---- Poison: poison.c ---- */

/* No more bytes are filled, or looked at, before the lock is dropped for once. */
#define MOWN_POISON_PIECE 1024UL

/* Fill @bytes from @at on; see mown_poison_fill(). */
static inline void mown_poison(const struct mown_record *rec, size_t at,
			       u8 byte, size_t bytes)
{
	void *ptr = (void *)(rec->addr + at);

	/* By words: where a byte takes as long as one, that is less. */
	memset64(ptr, byte * 0x0101010101010101ULL, bytes / 8);
	memset(ptr + bytes / 8 * 8, byte, bytes % 8);
}

/* How many of the words are surely poison: they are looked at by eights. */
static inline size_t mown_poison_words(const u64 *word, size_t nr)
{
	const u64 poison = POISON_FREE * 0x0101010101010101ULL;
	size_t i;

	for (i = 0; i + 8 <= nr; i += 8, word += 8)
		if (unlikely(word[0] != poison || word[1] != poison ||
			     word[2] != poison || word[3] != poison ||
			     word[4] != poison || word[5] != poison ||
			     word[6] != poison || word[7] != poison))
			break;
	return i;
}

/*
 * The first of @bytes from @at on that is no poison any more, or NULL; of an object
 * whose record the caller holds, and whose stripe is locked.
 */
static inline const u8 *mown_poison_spoilt(const struct mown_record *rec,
					   size_t at, size_t bytes)
{
	const u64 *word = (const u64 *)(rec->addr + at);
	size_t poison;

	if (rec->state == MOWN_GONE)
		return NULL;
	poison = 8 * mown_poison_words(word, bytes / 8);
	return likely(poison == bytes) ? NULL :
	       memchr_inv((u8 *)word + poison, POISON_FREE, bytes - poison);
}

bool mown_poison_fill(struct mown_stripe *stripe, struct mown_record *rec,
		      u8 byte, size_t size, unsigned long *flags)
	__must_hold(&stripe->lock);
void mown_poison_check(struct mown_owner *owner,
		       const struct mown_freed *freed);

/* ---- Owners: owner.c ---- */

/*
 * An owner's counters. Those before MOWN_RELEASED_ELSEWHERE are summed up from
 * its tallies and its quarantine; the others count what is too rare for that.
 */
enum mown_count {
	MOWN_ALLOCATED,
	MOWN_FREED,
	MOWN_LIVE_OBJECTS,
	MOWN_LIVE_BYTES,
	MOWN_QUARANTINED_OBJECTS,
	MOWN_QUARANTINED_BYTES,
	MOWN_RELEASED_ELSEWHERE,
	MOWN_STALE,
	MOWN_UNTRACKED,
	MOWN_UNTRACKED_FREED,
	MOWN_UNKNOWN_PASSED,
	MOWN_UNKNOWN_FREES,
	MOWN_DOUBLE_FREES,
	MOWN_INTERIOR_FREES,
	MOWN_MISMATCHED_FREES,
	MOWN_FOREIGN_FREES,
	MOWN_USE_AFTER_FREES,
	MOWN_OVERFLOWS,
	MOWN_REDZONES_LOST,
	MOWN_FAILED,
	MOWN_LIMITED,
	MOWN_TRANSFERRED_IN,
	MOWN_TRANSFERRED_OUT,
	MOWN_DISOWNED,
	MOWN_NR_COUNTS,
};

/**
 * struct mown_tally - what a CPU has done to an owner's records, with interrupts off,
 *		       so that nobody else writes to it
 * @allocated: objects that it has recorded
 * @freed: objects that it has released through mown, by whichever module
 * @ended: objects that it has found live, and left not live any more
 * @erased: records that it has taken out of their tree
 * @bytes: what the live ones sum up to more by that
 */
struct mown_tally {
	unsigned long allocated;
	unsigned long freed;
	unsigned long ended;
	unsigned long erased;
	unsigned long bytes;
};

/* Instead of an owner's serial: what is counted has none. */
#define MOWN_OWNERLESS	U64_MAX

/**
 * struct mown_owner - a module that allocates through mown
 * @hash: by @mod, while the module exists; RCU
 * @list: in mown_owners; RCU. Goes when the module has gone and nothing that
 *	  it left behind is still recorded.
 * @mod: the module, compared only; NULL is the kernel itself
 * @name: the module's
 * @serial: owners made earlier have a lower one; neither 0 nor MOWN_OWNERLESS
 * @refs: of the list and of readers; at 0 the owner is freed
 * @dying: records nothing new; see mown_owner_stop()
 * @attached: it was attached: it does not link to mown; constant
 * @ending: somebody ends it; under mown_attach_lock, and read under
 *	    mown_owners_lock
 * @detached: no name is attached that it has come by: it leaves no orphans; under
 *	      mown_owners_lock, and set when it is @ending
 * @blind: the net was incomplete when it came, so a free may have gone unseen:
 *	   nothing waits in quarantine, nothing is reclaimed; constant
 * @promised: it has used the API, whose user promises that nothing outlives it
 * @freed_others: it has released objects of other owners, whose slots have its
 *		  call sites
 * @max_size: no recorded object of a slab, or of what goes as a whole, that begins
 *	      with a page (0) or does not (1) is larger, if that is more than
 *	      MOWN_SIZE_SMALL; grows only
 * @untracked: objects of it that had to go without a record and are not freed
 * @counts: by enum mown_count, for those that are not summed up
 * @text: where its text is, which goes with the module
 * @init: its init text, which goes when the module is live
 * @init_gone: it has gone; written once
 * @init_named: and the names of all call sites there are kept; likewise
 * @names: symbols of call sites that cannot be looked up any more, or NULL;
 *	   replaced under mown_owners_lock
 * @quarantine: of what it released
 * @leaving: records that a work item has leave it
 * @quarantine_bytes: how much may wait there, or MOWN_QUARANTINE_INHERIT; written
 *		      under mown_owners_lock
 * @stack_depth: frames kept of its stacks, or MOWN_STACK_INHERIT
 * @policies: its words, of enum mown_word
 * @picky: some of its allocations are to fail: @fail_nth or @limit_bytes is set; or
 *	   all, for it is dying
 * @fail_nth: as many allocations from now one fails; 0 is none
 * @limit_bytes: more bytes than these it may not have; 0 is no limit
 * @charging: stripes below this one count in @charged; for each under its lock
 * @charged: how many it has, as far as that
 * @exit: its account, when it has gone
 * @removed: frees it when it is out of the list and RCU has been waited for
 * @sysfs: the handle of sysfs.c
 * @debugfs: the handle of debugfs.c
 * @tally: the counters of each CPU
 * @trees: its records, a tree a stripe, under the stripe's lock
 */
struct mown_owner {
	struct hlist_node hash;
	struct list_head list;
	struct module *mod;
	char name[MODULE_NAME_LEN];
	u64 serial;
	refcount_t refs;
	bool dying;
	bool attached;
	bool ending;
	bool detached;
	bool blind;
	bool promised;
	bool freed_others;
	size_t max_size[2];
	atomic_long_t untracked;
	atomic_long_t counts[MOWN_NR_COUNTS];
	struct mown_range text;
	struct mown_range init;
	bool init_gone;
	bool init_named;
	struct mown_names __rcu *names;
	struct mown_quarantine quarantine;
	struct llist_head leaving;
	unsigned long quarantine_bytes;
	int stack_depth;
	u8 policies[MOWN_NR_VIOLATIONS];
	bool picky;
	atomic_long_t fail_nth;
	unsigned long limit_bytes;
	unsigned int charging;
	atomic_long_t charged;
	struct mown_exit *exit;
	struct rcu_work removed;
	void *sysfs;
	void *debugfs;
	struct mown_tally __percpu *tally;
	struct rb_root trees[MOWN_STRIPES];
};

/* What is not larger has a class of no more than a page. */
#define MOWN_SIZE_SMALL (PAGE_SIZE / 2)

/* An owner's counters at a moment, and what its records are. */
struct mown_sums {
	unsigned long value[MOWN_NR_COUNTS];
	unsigned long records;
};

extern struct mutex mown_owners_lock;
extern struct list_head mown_owners;

#define MOWN_OWNER_HASH_BITS 6
extern struct hlist_head mown_owner_hash[1 << MOWN_OWNER_HASH_BITS];

/*
 * The owner of a module's calls, or NULL. With interrupts off, as under a
 * stripe's lock, or in an RCU read-side section.
 */
static inline struct mown_owner *mown_owner_find(const struct module *mod)
{
	struct mown_owner *owner;

	hash_for_each_possible_rcu(mown_owner_hash, owner, hash,
				   (unsigned long)mod)
		if (likely(owner->mod == mod))
			return owner;
	return NULL;
}

/* What holds for @owner, or for those that have no word of their own if NULL. */
static inline enum mown_word mown_policy(const struct mown_owner *owner,
					 enum mown_violation violation)
{
	u8 word = owner ? READ_ONCE(owner->policies[violation]) : MOWN_INHERIT;

	return word != MOWN_INHERIT ? word :
				      READ_ONCE(mown_policies[violation]);
}

extern const char * const mown_count_names[MOWN_NR_COUNTS];
extern const char * const mown_count_help[MOWN_NR_COUNTS];

extern struct workqueue_struct *mown_wq;

int mown_owner_init(void);
void mown_owner_exit(void);
int mown_name_parse(char *name, const char *buf, size_t len);
struct mown_owner *mown_owner_new(struct module *mod);
void mown_owner_publish(struct mown_owner *owner);
void mown_owner_remove(struct mown_owner *owner);
void mown_owner_forget_module(struct mown_owner *owner);
void mown_owner_stop(struct mown_owner *owner);
struct mown_owner *mown_owner_next(struct mown_owner *owner);
void mown_owner_put(struct mown_owner *owner);
void mown_owner_sum(struct mown_owner *owner, struct mown_sums *sums);
void mown_owner_mark(struct mown_owner *owner);
void mown_untracked_more(struct mown_owner *owner);
u64 mown_untracked(const struct mown_caller *caller);
void mown_untracked_ended(u64 whose);
struct mown_owner *mown_caller_owner(const struct mown_caller *caller);
bool mown_untracked_freed(struct mown_owner *owner, bool resize);
bool mown_untracked_freed_any(bool resize);
extern atomic_long_t mown_untracked_ownerless;

static inline void mown_count(struct mown_owner *owner, enum mown_count what)
{
	atomic_long_inc(&owner->counts[what]);
}

/* How much of what it releases waits, at most. */
static inline unsigned long
mown_quarantine_limit(const struct mown_owner *owner)
{
	unsigned long bytes = READ_ONCE(owner->quarantine_bytes);

	return bytes != MOWN_QUARANTINE_INHERIT ? bytes :
	       READ_ONCE(mown_quarantine_bytes);
}

/* Its live objects in the stripe, which is locked, have @more bytes. */
static __always_inline void mown_bytes(struct mown_owner *owner,
				       unsigned int index, long more)
{
	__this_cpu_add(owner->tally->bytes, more);
	if (unlikely(index < READ_ONCE(owner->charging)))
		atomic_long_add(more, &owner->charged);
}

/* Take the record of @addr out of its tree, and out of the stripe's filter. */
static inline void mown_erase(struct mown_owner *owner, unsigned long index,
			      unsigned long addr, struct mown_record *rec)
{
	rb_erase(&rec->node, &owner->trees[index]);
	__this_cpu_inc(owner->tally->erased);
	mown_filter_less(mown_filter_slot(addr));
}

/* A record as a reader may have it when it is unlocked; see mown_record. */
struct mown_copy {
	unsigned long addr;
	size_t size;
	unsigned long site;
	unsigned long freed_site;	/* in the owner's own text, or 0 */
	const void *with;
	u32 when;
	u32 pid;
	u16 cpu;
	u8 family;
	bool live;
	bool marked;
};

/* Where a walk over an owner's records stands; start with all zero. */
struct mown_cursor {
	unsigned int stripe;
	unsigned long addr;
};

/* As many as a stack of this kernel may hold: less than half a page, or a quarter. */
#define MOWN_COPIES (BITS_PER_LONG / 2)
unsigned int mown_owner_copy(struct mown_owner *owner,
			     struct mown_cursor *cursor,
			     struct mown_copy *copies, unsigned int max);

/* ---- Sites: site.c ---- */

/**
 * struct mown_site - what an owner's objects of one call site sum up to
 * @ip: the return address of the call
 * @count: how many
 * @bytes: how much
 * @family: their family
 */
struct mown_site {
	unsigned long ip;
	unsigned long count;
	unsigned long bytes;
	u32 family;
};

/* MOWN_NR_FAMILIES is several. */
static inline const char *mown_site_family(u32 family)
{
	return family < MOWN_NR_FAMILIES ? mown_families[family].name :
					   "several";
}

/* Sites by @ip, unless sorted otherwise; start with all zero. */
struct mown_sites {
	struct mown_site *site;
	unsigned int nr;
	unsigned int room;
};

/* Which of an owner's records are summed up. */
enum mown_sites_of {
	MOWN_SITES_ALL,
	MOWN_SITES_LIVE,
	MOWN_SITES_SINCE,
};

int mown_sites_collect(struct mown_owner *owner, enum mown_sites_of what,
		       const void *with, struct mown_sites *sites);
void mown_sites_sort_by_bytes(struct mown_sites *sites);
void mown_sites_free(struct mown_sites *sites);

/* ---- Symbols: symbol.c ---- */

/* Longer than any symbol with its offset, size and module. */
#define MOWN_SYMBOL_LEN (KSYM_SYMBOL_LEN + 1)
/* What has no name. */
#define MOWN_NOT_KNOWN "a place not known"

struct mown_names;
struct mown_names *mown_names_new(struct mown_owner *owner,
				  const struct mown_sites *sites);
const char *mown_names_find(const struct mown_names *names, unsigned long ip);
void mown_names_free(struct mown_names *names);
void mown_names_replace(struct mown_owner *owner, struct mown_names *names);
extern struct mutex mown_intern_lock;
void mown_names_intern_init(struct mown_owner *owner);
void mown_names_intern_elsewhere(struct mown_owner *owner);
void mown_symbol(struct mown_owner *owner, unsigned long ip, char *buf,
		 size_t len);
void mown_symbol_of_frame(struct mown_owner *owner, unsigned long ip, char *buf,
			  size_t len);
size_t mown_function_size(unsigned long addr);

/* ---- Stacks: stack.c ---- */

#define MOWN_STACK_MAX 16
/* An owner's number, if it goes by that of all. */
#define MOWN_STACK_INHERIT -1

extern int mown_stack_depth;
extern bool mown_stack_wanted;
extern bool mown_stack_of_releases;
int mown_stack_set_depth(struct mown_owner *owner, int depth);
void mown_stack_update(void);
u32 __mown_stack_save(const struct mown_caller *caller, gfp_t gfp);

/*
 * The frame of the function that this stands in, whose caller's frame pointer is the
 * first word there, with the return address behind; NULL where no unwinder begins
 * at another's.
 */
#ifdef MOWN_HAVE_FRAMES
#define MOWN_FRAME() ((const unsigned long *)__builtin_frame_address(0))
#else
#define MOWN_FRAME() ((const unsigned long *)NULL)
#endif

static inline u32 mown_stack_save(const struct mown_caller *caller, gfp_t gfp)
{
	return likely(!READ_ONCE(mown_stack_wanted)) ? 0 :
	       __mown_stack_save(caller, gfp);
}

/* ---- Reports: report.c ---- */

/*
 * Where and by whom something was done, when, if it is dated, and whether it was
 * the object's owner's own code.
 */
struct mown_place {
	unsigned long site;
	u32 stack;
	u32 when;
	u32 pid;
	u16 cpu;
	bool dated;
	bool own;
};

/**
 * struct mown_event - a violation, as seen under the lock, to be told later
 * @violation: which; not MOWN_LEFT_BEHIND
 * @action: what was done about it, a sentence
 * @owner: the owner of the object, or of the call if there is no object
 * @name: its name; "" if neither has an owner
 * @ptr: what was freed
 * @object: its address, 0 if none is known
 * @size: its size in bytes
 * @family: its family
 * @released: it was released before
 * @rcu: it waits for a grace period
 * @shared: it is pages, and others hold them, too
 * @kept: it is in quarantine, neither on its way into it nor out of it
 * @alloc: of the object
 * @freed: the first time; not dated if not, or not known
 * @now: of the call that is wrong
 * @comm: its task
 * @offset: where in the object it was written to
 * @nr_bytes: how many of @bytes there are
 * @bytes: what stands there
 * @charged: bytes that the owner has
 * @limit: bytes that it may have
 */
struct mown_event {
	enum mown_violation violation;
	const char *action;
	struct mown_owner *owner;
	char name[MODULE_NAME_LEN];
	unsigned long ptr;
	unsigned long object;
	size_t size;
	u8 family;
	bool released;
	bool rcu;
	bool shared;
	bool kept;
	struct mown_place alloc;
	struct mown_place freed;
	struct mown_place now;
	char comm[TASK_COMM_LEN];
	size_t offset;
	size_t nr_bytes;
	u8 bytes[16];
	unsigned long charged;
	unsigned long limit;
};

int mown_report_init(void);
void mown_report_exit(void);
void mown_report(struct mown_event *event);
void mown_report_flush(void);
int mown_report_show(struct seq_file *m);
extern unsigned int mown_history_max;
void mown_reports_trim(unsigned int max);
unsigned long mown_report_bytes(void);
extern atomic_long_t mown_reports_lost;

/* ---- panic_on_warn: warn.c ---- */

bool mown_panic_on_warn(void);
void mown_warn_init(void);
void mown_warn_exit(void);

/* ---- The core: heap.c ---- */

/**
 * struct mown_caller - who calls, from where, and what he names
 * @mod: the module; NULL is the kernel itself, or nobody under mown
 * @way: by which way in
 * @family: whose function he calls
 * @site: the return address of its call
 * @frame: of the function that it calls: see MOWN_FRAME(); or NULL
 * @frees: a mask of the families that what it calls releases, if it does
 * @no_wait: what it allocates is that (see struct mown_record), or what it releases
 *	     goes at once
 * @no_poison: likewise
 * @with: the cache, the pool or the device that it names; of devm_kfree() the
 *	  device, of a detaching one the anchor
 * @size: the bytes that it says to release, or 0
 * @dma: what it allocates, if that is for a device, or NULL
 */
struct mown_caller {
	struct module *mod;
	unsigned long site;
	const unsigned long *frame;
	enum mown_way way:8;
	enum mown_family family:8;
	u16 frees;
	bool no_wait;
	bool no_poison;
	const void *with;
	size_t size;
	const struct mown_dma *dma;
};

/**
 * struct mown_hold - an address that is released or resized, its stripe locked
 * @addr: the address
 * @index: its stripe's index
 * @stripe: its stripe
 * @flags: of the lock
 * @caller: who wants it
 * @me: the caller's owner, or NULL
 * @pool: the number of the pool that the caller names, or 0
 * @rec: the record at @addr, or NULL
 * @owner: whose that is
 * @live: there is one, it is live, and @caller may release it
 * @stale: there was one, but something else is there now
 */
struct mown_hold {
	unsigned long addr;
	unsigned int index;
	struct mown_stripe *stripe;
	unsigned long flags;
	const struct mown_caller *caller;
	struct mown_owner *me;
	u64 pool;
	struct mown_record *rec;
	struct mown_owner *owner;
	bool live;
	bool stale;
};

void mown_hold(struct mown_hold *hold, const void *ptr,
	       const struct mown_caller *caller)
	__acquires(RCU) __acquires(&hold->stripe->lock);
void mown_unlock(struct mown_hold *hold)
	__releases(&hold->stripe->lock);
void *mown_realloc(const void *ptr, size_t size, gfp_t gfp,
		   const struct mown_caller *caller);
extern bool mown_more_wanted;
void *mown_track_kmalloc(void *ptr, size_t size, gfp_t gfp, struct module *mod,
			 enum mown_way way, unsigned long site);
void *mown_track(void *ptr, size_t size, gfp_t gfp, enum mown_family family,
		 const struct mown_caller *caller);
void mown_plain_init(void);
bool mown_release_kmalloc(const void *ptr, struct module *mod,
			  enum mown_way way, unsigned long site,
			  unsigned int frees);
bool mown_release(const void *ptr, const struct mown_caller *caller,
		  bool sensitive);

/* For the other parts of the core; all want the stripe locked. */
struct mown_record *mown_find(unsigned int index, unsigned long addr,
			      struct mown_owner *me, struct mown_owner **owner);
struct mown_record *mown_forget(struct mown_owner *owner, unsigned int index,
				struct mown_record *rec);
void mown_drop_stale(struct mown_owner *owner, unsigned int index,
		     struct mown_record *stale);
void mown_claim(const struct mown_hold *hold, u32 stack,
		struct mown_freed *freed);
bool mown_keeps(const struct mown_owner *owner, const struct mown_record *rec,
		struct mown_freed *freed);
bool mown_prepare(struct mown_stripe *stripe, struct mown_owner *owner,
		  struct mown_freed *freed, unsigned long *flags,
		  bool sensitive)
	__must_hold(&stripe->lock);

/* What may be done with an object that somebody wants to resize. */
enum mown_verdict {
	MOWN_OURS,
	MOWN_MOVES,
	MOWN_NOT_OURS,
	MOWN_REFUSED,
};

enum mown_verdict mown_may_resize(const void *ptr, size_t size, size_t *old,
				  const struct mown_caller *caller);
void mown_resized(const void *ptr, size_t size);
void mown_moved(const struct mown_caller *caller);
void mown_heap_exit(void);
int mown_move_owner(const void *ptr, const struct module *to,
		    const struct mown_caller *caller);
int mown_give_up(const void *ptr, const struct mown_caller *caller);
int mown_recorded_with(unsigned long addr, const void **with);
u64 mown_pool_at(const void *pool, enum mown_family family,
		 const struct mown_owner *whose);
const void *mown_needs(enum mown_family family, const void *ptr,
		       const void *with, enum mown_family *of);
void mown_lend(const void *parent, enum mown_family family,
	       const struct mown_owner *user);

static inline const void *mown_record_needs(const struct mown_record *rec,
					    enum mown_family *of)
{
	return mown_needs(rec->family, (void *)rec->addr, mown_record_with(rec),
			  of);
}

static inline int mown_recorded_as(unsigned long addr)
{
	const void *with;

	return mown_recorded_with(addr, &with);
}

/* What mown's own allocations have of the flags of whose call they are made for. */
#define MOWN_GFP_OWN (GFP_KERNEL | GFP_ATOMIC | __GFP_NOLOCKDEP)

/* What a release may allocate with: it may be where nobody can be woken. */
#define MOWN_GFP_RELEASE (GFP_NOWAIT & ~__GFP_RECLAIM)

bool mown_is_over(const struct mown_record *rec);
struct mown_record *mown_unless_over(struct mown_owner *owner,
				     unsigned int index,
				     struct mown_record *rec);
bool mown_is_mismatched(const struct mown_hold *hold);
struct mown_record *mown_let_go(struct mown_hold *hold, u32 stack,
				bool sensitive, bool ours)
	__releases(&hold->stripe->lock);
void mown_split(unsigned long addr);
void mown_observe_split(unsigned long addr);
bool mown_has_own_alloc(const mempool_t *pool);
unsigned int mown_pool_frees(const mempool_t *pool);
bool mown_is_served(const void *ptr, enum mown_family family);
void *mown_element_track(void *ptr, gfp_t gfp, const struct mown_caller *caller);

/**
 * enum mown_seen - what somebody is seen to do with an object
 * @MOWN_SEEN_FREED: it is freed
 * @MOWN_SEEN_RCU: it is given to kfree_rcu()
 * @MOWN_SEEN_OFFERED: it is offered to a pool, which may not take it
 */
enum mown_seen {
	MOWN_SEEN_FREED,
	MOWN_SEEN_RCU,
	MOWN_SEEN_OFFERED,
};

void __mown_observe_free(unsigned long addr, unsigned long site,
			 enum mown_seen seen);

/* Where mown_kfree_erased() is. */
extern struct mown_range mown_erased_text;

/*
 * Somebody frees @addr, and not through mown: that cannot be refused. What comes from
 * mown_kfree_erased() has been seen to.
 *
 * Context: Any but NMI, with whatever locks held: prints and frees nothing.
 */
static inline void mown_observe_free(unsigned long addr, unsigned long site)
{
	if (unlikely(mown_maybe_recorded(addr)) &&
	    !mown_in_range(&mown_erased_text, site))
		__mown_observe_free(addr, site, MOWN_SEEN_FREED);
}

/*
 * Somebody hands @addr to the kernel's kfree_rcu(). A live object is taken for
 * gone from here on; its record stays until the memory goes, so that a second
 * free through mown is refused. A released one is freed a second time.
 */
static inline void mown_observe_rcu(unsigned long addr, unsigned long site)
{
	if (unlikely(mown_maybe_recorded(addr)))
		__mown_observe_free(addr, site, MOWN_SEEN_RCU);
}

/* ---- Redzones: redzone.c ---- */

extern bool mown_redzone_wanted;
void mown_redzone_update(void);
bool __mown_has_redzones(const struct module *mod);
void mown_redzone_make(struct mown_record *rec, gfp_t gfp,
		       const struct mown_caller *caller);
bool mown_redzone_broken(struct mown_hold *hold)
	__must_hold(&hold->stripe->lock);
size_t mown_redzone_ksize(const void *ptr);

static inline bool mown_has_redzones(const struct module *mod)
{
	return unlikely(READ_ONCE(mown_redzone_wanted)) &&
	       __mown_has_redzones(mod);
}

/* ---- Admission: admit.c ---- */

enum mown_admission {
	MOWN_ADMITTED,
	MOWN_NO_OWNER,
	MOWN_FAILS,
	MOWN_OVER_LIMIT,
};

enum mown_admission mown_admit(struct mown_owner *owner, unsigned int index,
			       size_t size, gfp_t gfp);
void mown_not_admitted(struct mown_owner *owner, enum mown_admission why,
		       size_t size, const struct mown_caller *caller);
void mown_limit_set(struct mown_owner *owner, unsigned long bytes);
int mown_fail_set(struct mown_owner *owner, unsigned long nth);
unsigned long mown_fail_get(struct mown_owner *owner);
void mown_fail_adopt(struct mown_owner *owner);
int mown_fail_write(const char *buf);
int mown_fail_show(char *buf);

/* ---- Wrong frees: wrong.c ---- */

void mown_describe_call(struct mown_event *event, unsigned long ptr,
			unsigned long site);
void mown_describe_object(struct mown_event *event, struct mown_owner *owner,
			  const struct mown_record *rec);
void mown_describe_freed(struct mown_event *event,
			 const struct mown_freed *freed);
/* Under the lock of the record's stripe. */
typedef bool (*mown_wanted_fn)(const struct mown_record *rec);
unsigned long mown_covering(struct mown_owner *owner, unsigned long addr,
			    mown_wanted_fn wanted);
bool mown_rescue(struct mown_hold *hold, u32 stack, bool sensitive)
	__releases(&hold->stripe->lock) __releases(RCU);
bool mown_not_live(struct mown_hold *hold, bool resize)
	__releases(&hold->stripe->lock) __releases(RCU);

/* ---- Objects that wait for RCU: rcu.c ---- */

bool mown_release_rcu(struct rcu_head *head, const void *ptr,
		      const struct mown_caller *caller);
void mown_rcu_init(void);
void mown_rcu_flush(void);
void mown_rcu_flush_slabs(void);

/* ---- Slab caches: cache.c ---- */

/*
 * One address may stand for several caches where they are not kept apart. KASAN
 * does that by itself.
 */
#define MOWN_KEEPS_CACHES (__MOWN_CACHE_FLAGS != 0 || \
			   IS_ENABLED(CONFIG_KASAN_GENERIC))

/*
 * Is this destroyed without a look whether it is recorded? What is no pointer is
 * refused even where caches are not.
 */
static inline bool mown_cache_passes(const struct kmem_cache *cache)
{
	return !MOWN_KEEPS_CACHES && !IS_ERR(cache);
}

struct kmem_cache *mown_cache_track(struct kmem_cache *cache,
				    slab_flags_t flags, bool has_ctor,
				    const struct mown_caller *by);
void mown_cache_ends(struct kmem_cache *cache, bool recorded);

/* ---- Memory that a device's detach frees: devm.c ---- */

bool mown_block_is_of(unsigned long addr, const struct mown_caller *caller);
void mown_block_unlink(unsigned long addr);
void mown_block_untracked(unsigned long addr, u64 whose);
size_t mown_block_size(const struct mown_record *rec);
void *mown_block_start(unsigned long addr);
void mown_block_free(unsigned long addr);
void *mown_devm_alloc(struct device *dev, size_t size, gfp_t gfp,
		      const struct mown_caller *caller);
void *mown_devm_realloc(struct device *dev, void *ptr, size_t size, gfp_t gfp,
			const struct mown_caller *caller);
void mown_devm_free(struct device *dev, const void *ptr,
		    const struct mown_caller *caller);
int mown_devm_init(void);
void mown_devm_exit(void);

/* ---- Memory that devices reach: dma.c ---- */

void mown_dma_end(const struct module *mod);
bool mown_serves(const struct mown_owner *owner,
		 const struct mown_caller *caller);
bool mown_dma_may_reclaim(const struct mown_record *rec);
void mown_dma_reclaimed(const struct mown_record *rec);
void mown_dma_give_back(const struct mown_record *rec);
void *mown_dma_alloc(struct device *dev, size_t size, dma_addr_t *handle,
		     gfp_t gfp, unsigned long attrs,
		     struct mown_caller *caller);
struct dma_pool *mown_dma_pool_new(const char *name, struct device *dev,
				   size_t size, size_t align, size_t boundary,
				   struct mown_caller *caller);
void *mown_dma_block_alloc(struct dma_pool *pool, gfp_t gfp,
			   dma_addr_t *handle, struct mown_caller *caller);

/* ---- Exits: exits.c ---- */

void mown_settle(struct mown_owner *owner);
void mown_drop(struct mown_owner *owner);
void mown_orphan_freed(struct mown_owner *owner,
		       const struct mown_record *rec);
void mown_orphan_resized(struct mown_owner *owner,
			 const struct mown_record *rec, size_t size);
void mown_exits_sweep(void);
void mown_exits_detach(const char *name, bool (*is_attached)(const char *name));
void mown_exits_trim(unsigned int max);
void mown_exits_exit(void);
int mown_exits_show(struct seq_file *m);
unsigned long mown_exits_bytes(void);

/* ---- The net: net.c ---- */

void mown_net_init(void);
void mown_net_exit(void);
bool mown_net_spread(void);
void mown_net_retry(void);
void mown_net_update(void);
void mown_net_show(struct seq_file *m);
bool mown_net_redirects(void);
void mown_net_hurry(void);

/* ---- Ways in and faces ---- */

int mown_modules_init(void);
void mown_modules_exit(void);
int mown_sysfs_init(void);
void mown_sysfs_exit(void);
void mown_sysfs_add(struct mown_owner *owner);
void mown_sysfs_remove(struct mown_owner *owner);
void mown_debugfs_init(void);
void mown_debugfs_exit(void);
void mown_debugfs_add(struct mown_owner *owner);
void mown_debugfs_remove(struct mown_owner *owner);

#undef pr_fmt
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#endif /* _MOWN_INTERNAL_H */
