// SPDX-License-Identifier: GPL-2.0
/*
 * The heap: what happens to a record when its object is allocated, released,
 * resized, or freed by somebody else
 *
 * All ways in end here, and all decisions about an address are taken here,
 * under the lock of its stripe. What comes of a decision is done when the lock
 * is dropped: memory is given back by the caller (a return value of true says
 * so), violations are described under the lock and reported after it.
 */
#include <linux/irq_work.h>
#include <linux/kmemleak.h>
#include <linux/mempool.h>
#include <linux/mm.h>
#include <linux/poison.h>
#include <linux/sched.h>
#include <linux/slab.h>
#include <linux/string.h>
#include <trace/events/mown.h>

#include "compat.h"
#include "heap.h"

/*
 * The record of @addr, whoever owns it; the stripe is locked. The caller's own
 * owner, if it has one, is tried first.
 */
struct mown_record *mown_find(unsigned int index, unsigned long addr,
			      struct mown_owner *me, struct mown_owner **owner)
{
	struct mown_record *rec;

	if (likely(me)) {
		rec = mown_tree_find(&me->trees[index], addr);
		if (likely(rec)) {
			*owner = me;
			return rec;
		}
	}
	if (!*mown_filter_slot(addr))
		return NULL;
	list_for_each_entry_rcu((*owner), &mown_owners, list) {
		if (*owner == me)
			continue;
		rec = mown_tree_find(&(*owner)->trees[index], addr);
		if (rec)
			return rec;
	}
	return NULL;
}

/* Is a free of the owner's objects by another module a violation? */
static bool mown_refuses_foreign(struct mown_owner *owner)
{
	enum mown_word word = mown_policy(owner, MOWN_FOREIGN_FREE);

	return word == MOWN_WARN || word == MOWN_PANIC;
}

/*
 * Pages go when their last holder lets them go. Until then each may do so, in the
 * order that they were allocated in or not.
 */
static bool mown_is_shared_page(const struct mown_record *rec)
{
	return rec->family == MOWN_PAGES &&
	       page_count(virt_to_page((void *)rec->addr)) > 1;
}

static const mempool_t *mown_pool_of(const struct mown_caller *caller)
{
	return caller->with;
}

/*
 * Does the caller name another cache, pool or device than the object has? Where its
 * pool was another may be by now. One that is not recorded is taken for its own.
 */
static bool mown_names_another(const struct mown_hold *hold)
{
	return hold->caller->with != mown_record_with(hold->rec) ||
	       (hold->pool && hold->pool != mown_record_pool(hold->rec));
}

/*
 * Does the caller release the live object by a function that is not its
 * family's, or name another cache, pool, device or size than it has?
 */
bool mown_is_mismatched(const struct mown_hold *hold)
{
	const struct mown_caller *caller = hold->caller;
	const struct mown_record *rec = hold->rec;

	if (unlikely(!(caller->frees & BIT(rec->family))))
		return true;
	/* What is given to a pool is of its cache, or as large as what that gives. */
	if (unlikely(caller->family == MOWN_ELEMENT && rec->family == MOWN_SLAB))
		return mown_record_with(rec) != mown_pool_of(caller)->pool_data;
	if (unlikely(caller->family == MOWN_ELEMENT && rec->family == MOWN_KMALLOC))
		return rec->size < (size_t)mown_pool_of(caller)->pool_data;
	/* Of a pool of pages it is the struct page: no memory of a slab. */
	if (unlikely(rec->family == MOWN_ELEMENT && rec->loose))
		return caller->family != MOWN_ELEMENT || mown_names_another(hold);
	if (likely(rec->family == MOWN_KMALLOC || rec->family != caller->family))
		return false;
	if (rec->family == MOWN_DEVM)
		return !mown_block_is_of(rec->addr, caller);
	if (caller->with && mown_names_another(hold))
		return true;
	return caller->size && caller->size != rec->size &&
	       !mown_is_shared_page(rec);
}

/* May the caller release the live object, by what it calls for that? */
static bool mown_may_release(const struct mown_hold *hold)
{
	/* Nobody under mown: whatever the kernel does is right. */
	if (hold->caller->way == MOWN_ANYBODY)
		return true;
	if (unlikely(mown_is_mismatched(hold)))
		return false;
	/* An orphan may be freed by what was its module's, under no name now. */
	return likely(hold->owner == hold->me) || hold->rec->orphan ||
	       hold->caller->way == MOWN_DEVICE ||
	       !mown_refuses_foreign(hold->owner);
}

/*
 * The object of @hold is plain memory, and so is what the caller's function frees:
 * it is to go, by the function of its own family.
 */
static bool mown_may_rescue(const struct mown_hold *hold)
{
	return hold->rec && hold->rec->state == MOWN_LIVE &&
	       hold->caller->way < MOWN_ANYBODY &&
	       hold->caller->frees & MOWN_FREES_MEMORY &&
	       hold->caller->family != MOWN_ELEMENT &&
	       BIT(hold->rec->family) & MOWN_FREES_MEMORY &&
	       mown_is_mismatched(hold) &&
	       (hold->owner == hold->me || !mown_refuses_foreign(hold->owner));
}

/*
 * Does the kernel's kfree_rcu() have the object, so that it may be gone by now? Until
 * the end of a grace period it is not, whatever is seen of it.
 */
bool mown_is_over(const struct mown_record *rec)
{
	return !MOWN_SEES_RCU_END && rec->state == MOWN_ELSEWHERE &&
	       rec->family != MOWN_PAGES &&
	       poll_state_synchronize_rcu(rec->grace);
}

/* The record that was found, if any; what is over goes. The stripe is locked. */
struct mown_record *mown_unless_over(struct mown_owner *owner,
				     unsigned int index,
				     struct mown_record *rec)
{
	if (likely(!rec || !mown_is_over(rec)))
		return rec;
	mown_drop_stale(owner, index, rec);
	return NULL;
}

/* See whether there is a live object that the caller may release. */
static void mown_hold_live(struct mown_hold *hold)
{
	hold->rec = mown_unless_over(hold->owner, hold->index, hold->rec);
	hold->live = hold->rec && hold->rec->state == MOWN_LIVE;
	if (hold->live && unlikely(!mown_class_fits(hold->rec))) {
		mown_drop_stale(hold->owner, hold->index, hold->rec);
		hold->rec = NULL;
		hold->live = false;
		hold->stale = true;
	}
	hold->live = hold->live && mown_may_release(hold);
}

/* The number of the pool that the caller gives something back to, or 0. */
static u64 mown_named_pool(const struct mown_caller *caller)
{
	enum mown_family parent = mown_families[caller->family].parent;

	return likely(parent == caller->family) ? 0 :
	       mown_pool_at(caller->with, parent, NULL);
}

/*
 * Lock what @caller wants to release or to resize, and see what is known of it.
 * Begins an RCU read-side section, which keeps the owners when the lock is
 * dropped.
 */
void mown_hold(struct mown_hold *hold, const void *ptr,
	       const struct mown_caller *caller)
	__acquires(RCU) __acquires(&hold->stripe->lock)
{
	hold->addr = (unsigned long)ptr;
	hold->index = mown_stripe_index(hold->addr);
	hold->caller = caller;
	hold->stale = false;
	hold->pool = mown_named_pool(caller);
	rcu_read_lock();
	hold->stripe = mown_lock(hold->index, &hold->flags);
	do {
		hold->me = mown_caller_owner(caller);
		hold->rec = mown_find(hold->index, hold->addr, hold->me,
				      &hold->owner);
		mown_hold_live(hold);
	} while (hold->live && unlikely(hold->rec->redzone) &&
		 mown_redzone_broken(hold));
}

/* The RCU read-side section goes on. */
void mown_unlock(struct mown_hold *hold)
	__releases(&hold->stripe->lock)
{
	raw_spin_unlock_irqrestore(&hold->stripe->lock, hold->flags);
}

/*
 * The object of @rec is gone, or begins to go, without us: unlink the record,
 * the stripe being locked. Returns it if it is the caller's to send home, NULL
 * if a holder has it, who will find it gone.
 */
struct mown_record *mown_forget(struct mown_owner *owner, unsigned int index,
				struct mown_record *rec)
{
	mown_erase(owner, index, rec->addr, rec);
	switch (rec->state) {
	case MOWN_LIVE:
		mown_not_live_any_more(owner, index, rec);
		return rec;
	case MOWN_ELSEWHERE:
		return rec;
	case MOWN_QUARANTINED:
		if (mown_quarantine_remove(&owner->quarantine, rec))
			return rec;
		break;
	case MOWN_RCU:
		/* Without a slot only its object leads back to it. */
		if (!rec->freed)
			return rec;
		break;
	}
	rec->state = MOWN_GONE;
	return NULL;
}

/* ---- Allocation ---- */

static void mown_stale_func(struct irq_work *work)
{
	pr_warn_once("a record was wrong: its memory was freed on a path that mown does not see; see stale in debugfs mown/NAME/stats\n");
}

static DEFINE_IRQ_WORK(mown_stale_work, mown_stale_func);

/*
 * The allocator has given out memory that @stale covers, or its page says so:
 * @stale is wrong, its object was freed on a path that nobody saw. The stripe
 * is locked.
 */
void mown_drop_stale(struct mown_owner *owner, unsigned int index,
		     struct mown_record *stale)
{
	/* Any but a live one counts already as what became of it. */
	if (stale->state == MOWN_LIVE && stale->orphan)
		mown_orphan_freed(owner, stale);
	else if (stale->state == MOWN_LIVE)
		mown_count(owner, MOWN_STALE);
	/* What others have given to RCU may have gone unseen on newer kernels. */
	if (stale->state == MOWN_LIVE)
		irq_work_queue(&mown_stale_work);
	stale = mown_forget(owner, index, stale);
	if (stale)
		mown_record_send_home(stale);
}

/* The same of what other owners have recorded at @addr. */
void mown_drop_stale_elsewhere(struct mown_owner *me, unsigned int index,
			       unsigned long addr)
{
	struct mown_record *stale;
	struct mown_owner *owner;

	list_for_each_entry_rcu(owner, &mown_owners, list) {
		if (owner == me)
			continue;
		stale = mown_tree_find(&owner->trees[index], addr);
		if (stale)
			mown_drop_stale(owner, index, stale);
	}
}

/* An object of the owner's has @size bytes. */
void mown_raise_max_size(struct mown_owner *owner,
			 const struct mown_record *rec, size_t size)
{
	size_t *max_size = &owner->max_size[offset_in_page(rec->addr) != 0];
	size_t max = READ_ONCE(*max_size);

	/* Nobody asks what lies inside of the others. */
	if (rec->family != MOWN_SLAB && !mown_families[rec->family].whole)
		return;
	/* Other stripes do the same at the same time. */
	while (unlikely(size > max) &&
	       !try_cmpxchg(max_size, &max, size))
		;
}

/*
 * Put the record into its owner's tree, if there is one that takes records and
 * its knobs admit it.
 */
static enum mown_admission mown_insert(struct mown_record *rec, gfp_t gfp,
				       const struct module *mod)
{
	unsigned int index = mown_stripe_index(rec->addr);
	enum mown_admission why = MOWN_NO_OWNER;
	struct mown_stripe *stripe;
	struct mown_owner *owner;
	unsigned long flags;

	stripe = mown_lock(index, &flags);
	owner = mown_owner_find(mod);
	if (likely(owner && !READ_ONCE(owner->dying)))
		why = unlikely(READ_ONCE(owner->picky)) ?
		      mown_admit(owner, index, rec->size, gfp) : MOWN_ADMITTED;
	if (likely(why == MOWN_ADMITTED)) {
		mown_enter(owner, index, rec->addr, rec->size, rec);
		if (unlikely(!READ_ONCE(owner->promised)) && !rec->unpromised)
			WRITE_ONCE(owner->promised, true);
	}
	raw_spin_unlock_irqrestore(&stripe->lock, flags);
	return why;
}

/* What the object at @ptr is from, and must not outlive, of family @of; or NULL. */
const void *mown_needs(enum mown_family family, const void *ptr,
		       const void *with, enum mown_family *of)
{
	const mempool_t *pool = ptr;

	if (family == MOWN_SLAB || family == MOWN_MEMPOOL)
		*of = MOWN_CACHE;
	else
		*of = mown_families[family].parent;
	if (family == MOWN_MEMPOOL)
		return pool->alloc == mempool_alloc_slab ? pool->pool_data :
							   NULL;
	return *of == family ? NULL : with;
}

/* The record of @family at @ptr, if there is one and it is live; or NULL. */
static struct mown_record *mown_find_live(const void *ptr,
					  enum mown_family family,
					  struct mown_owner **owner)
{
	unsigned long addr = (unsigned long)ptr;
	struct mown_record *rec = mown_find(mown_stripe_index(addr), addr, NULL,
					    owner);

	return rec && rec->family == family && rec->state == MOWN_LIVE ? rec :
									 NULL;
}

/*
 * The cache or the pool at @parent, if it is recorded, has something that is @user's, or,
 * if that is NULL, that stays when its own module goes. NULL is allowed.
 */
void mown_lend(const void *parent, enum mown_family family,
	       const struct mown_owner *user)
{
	struct mown_stripe *stripe;
	struct mown_owner *owner;
	struct mown_record *rec;
	unsigned long flags;

	if (!parent)
		return;
	stripe = mown_lock(mown_stripe_index((unsigned long)parent), &flags);
	rec = mown_find_live(parent, family, &owner);
	if (rec && owner != user)
		rec->lent = true;
	raw_spin_unlock_irqrestore(&stripe->lock, flags);
}

/* So has what the object is from, at @ptr, which goes on without a record. */
static void mown_lend_for(enum mown_family family, const void *ptr,
			  const void *with)
{
	enum mown_family of;
	const void *needs = mown_needs(family, ptr, with, &of);

	mown_lend(needs, of, NULL);
}

/*
 * What is known of the cache or the pool that the object of @rec is from, which is to be
 * @user's: the number of a pool, and what was said of the objects of a cache when it
 * was created. Only of one that is recorded is it known when it goes: no object of
 * others may wait.
 */
static u64 mown_ask_parent(struct mown_record *rec, const struct module *user)
{
	enum mown_family family;
	const void *parent = mown_record_needs(rec, &family);
	struct mown_stripe *stripe;
	struct mown_owner *owner;
	struct mown_record *at;
	unsigned long flags;
	u64 pool = 0;

	if (!parent)
		return 0;
	stripe = mown_lock(mown_stripe_index((unsigned long)parent), &flags);
	at = mown_find_live(parent, family, &owner);
	if (at && !at->lent && owner->mod != user)
		at->lent = true;
	if (at)
		pool = mown_record_pool(at);
	if (rec->family == MOWN_SLAB) {
		rec->no_wait |= !at || at->no_wait;
		rec->no_poison |= at && at->no_poison;
	}
	raw_spin_unlock_irqrestore(&stripe->lock, flags);
	/* From here on the pool itself is not asked: it may be gone. */
	if (!at && rec->family == MOWN_ELEMENT)
		mown_lend_for(MOWN_MEMPOOL, parent, NULL);
	return pool;
}

/* The record of what belongs to another, or of a pool, which gets its number. */
static void mown_describe_child(struct mown_record *rec,
				const struct mown_caller *caller)
{
	static atomic64_t last;
	u64 pool;

	container_of(rec, struct mown_child, rec)->with = caller->with;
	if (rec->family == MOWN_ELEMENT)
		rec->loose = ((const mempool_t *)caller->with)->alloc ==
			     mempool_alloc_pages;
	if (caller->dma)
		*mown_record_dma(rec) = *caller->dma;
	pool = mown_ask_parent(rec, caller->mod);
	if (rec->family == MOWN_MEMPOOL || rec->family == MOWN_DMA_POOL)
		pool = atomic64_inc_return(&last);
	if (mown_families[rec->family].kind == MOWN_DMA_CHILD)
		container_of(rec, struct mown_dma_child, child.rec)->pool = pool;
}

/* mown_insert() for that. Who has its cache forgotten waits for it to be there. */
static noinline enum mown_admission
mown_insert_child(struct mown_record *rec, gfp_t gfp,
		  const struct mown_caller *caller)
{
	enum mown_admission why;

	rcu_read_lock();
	mown_describe_child(rec, caller);
	why = mown_insert(rec, gfp, caller->mod);
	rcu_read_unlock();
	return why;
}

/* The record may be gone by now. */
static noinline void mown_trace_alloc(const void *ptr, size_t size,
				      enum mown_family family,
				      const struct mown_caller *caller)
{
	struct mown_owner *owner;

	rcu_read_lock();
	owner = mown_owner_find(caller->mod);
	if (owner)
		trace_alloc(owner->name, (unsigned long)ptr, size,
			    mown_families[family].name, caller->site);
	rcu_read_unlock();
}

/*
 * No record: what a device frees, no call of its owner's does; and when what it is from
 * is left behind, nobody knows that it is there.
 */
static void mown_go_untracked(void *ptr, enum mown_family family,
			      const struct mown_caller *caller)
{
	u64 whose = mown_untracked(caller);

	if (family == MOWN_DEVM)
		mown_block_untracked((unsigned long)ptr, whose);
	mown_lend_for(family, ptr, caller->with);
}

/*
 * The object of @rec is not recorded after all: it goes untracked, or, where a
 * knob makes its allocation fail, back. What the caller has then.
 */
static noinline void *mown_track_not(struct mown_record *rec,
				     enum mown_admission why,
				     const struct mown_caller *caller)
{
	void *ptr = (void *)rec->addr;
	struct mown_owner *owner;

	if (why == MOWN_NO_OWNER) {
		mown_go_untracked(ptr, rec->family, caller);
	} else {
		rcu_read_lock();
		owner = mown_owner_find(caller->mod);
		if (owner)
			mown_not_admitted(owner, why, rec->size, caller);
		rcu_read_unlock();
		mown_give_back(rec);
		ptr = NULL;
	}
	mown_record_free(rec);
	return ptr;
}

/*
 * Record what the kernel has just allocated for @caller. Without a record the
 * object goes untracked, and is counted as that. Where a knob makes the
 * allocation fail it is given back, and NULL is returned.
 */
void *mown_track(void *ptr, size_t size, gfp_t gfp, enum mown_family family,
		 const struct mown_caller *caller)
{
	enum mown_kind kind = mown_families[family].kind;
	enum mown_admission why;
	struct mown_record *rec;

	if (unlikely(ZERO_OR_NULL_PTR(ptr)))
		return ptr;
	rec = mown_record_new(kind, gfp);
	if (unlikely(!rec)) {
		mown_go_untracked(ptr, family, caller);
		return ptr;
	}
	mown_describe(rec, ptr, size, caller->site, mown_stack_save(caller, gfp),
		      mown_bits(family, caller->way, gfp) |
		      caller->no_wait * MOWN_BIT(no_wait) |
		      caller->no_poison * MOWN_BIT(no_poison));
	if (family == MOWN_KMALLOC && mown_has_redzones(caller->mod) &&
	    caller->way != MOWN_ATTACHED)
		mown_redzone_make(rec, gfp, caller);
	/* What could not be given back here is not made to fail. */
	if (kind == MOWN_DEFERRED && !gfpflags_allow_blocking(gfp))
		gfp |= __GFP_NOFAIL;
	ptr = (void *)rec->addr;
	why = unlikely(kind >= MOWN_CHILD) ?
	      mown_insert_child(rec, gfp, caller) :
	      mown_insert(rec, gfp, caller->mod);
	if (unlikely(why != MOWN_ADMITTED))
		return mown_track_not(rec, why, caller);
	if (trace_alloc_enabled())
		mown_trace_alloc(ptr, size, family, caller);
	return ptr;
}

/* Does a function of its user's allocate the pool's elements? */
bool mown_has_own_alloc(const mempool_t *pool)
{
	return pool->alloc != mempool_alloc_slab &&
	       pool->alloc != mempool_kmalloc &&
	       pool->alloc != mempool_alloc_pages;
}

/* The families that mempool_free() takes: of what the pool is made, too. */
unsigned int mown_pool_frees(const mempool_t *pool)
{
	return BIT(MOWN_ELEMENT) |
	       (pool->free == mempool_free_slab ? BIT(MOWN_SLAB) :
		pool->free == mempool_kfree ? BIT(MOWN_KMALLOC) : 0);
}

/* As far as the pool says; a page is its struct page there. */
static size_t mown_element_size(const mempool_t *pool)
{
	if (pool->alloc == mempool_alloc_slab)
		return kmem_cache_size(pool->pool_data);
	if (pool->alloc == mempool_kmalloc)
		return (size_t)pool->pool_data;
	return 1;
}

/*
 * Is what has been allocated recorded as another family's? A function of the
 * module's own has served it then, and has recorded it.
 */
bool mown_is_served(const void *ptr, enum mown_family family)
{
	int as = mown_recorded_as((unsigned long)ptr);

	return as >= 0 && as != family;
}

static bool mown_is_anything(const struct mown_record *rec)
{
	return true;
}

/* The same of an element, which may lie inside of what that has allocated. */
static bool mown_is_served_element(const void *ptr,
				   const struct mown_caller *caller)
{
	struct mown_owner *owner;
	bool served;

	if (!mown_has_own_alloc(caller->with))
		return false;
	if (mown_is_served(ptr, MOWN_ELEMENT))
		return true;
	rcu_read_lock();
	owner = mown_owner_find(caller->mod);
	served = owner && mown_covering(owner, (unsigned long)ptr,
					mown_is_anything);
	rcu_read_unlock();
	return served;
}

/* Record an element of the pool that @caller names. */
void *mown_element_track(void *ptr, gfp_t gfp, const struct mown_caller *caller)
{
	if (!ptr || mown_is_served_element(ptr, caller))
		return ptr;
	/*
	 * One that may wait never fails. But only for an element: whoever waits
	 * for one may be who has to write memory out, so that there is some.
	 */
	if (gfpflags_allow_blocking(gfp))
		gfp = (gfp & ~__GFP_DIRECT_RECLAIM) | __GFP_NOFAIL;
	return mown_track(ptr, mown_element_size(caller->with), gfp,
			  MOWN_ELEMENT, caller);
}

/*
 * The block of pages at @addr was split: each is an object of its own from now
 * on, of the same call.
 */
void mown_split(unsigned long addr)
{
	unsigned int index = mown_stripe_index(addr);
	struct mown_caller caller = { .family = MOWN_PAGES };
	unsigned long flags, size = 0, at;
	struct mown_stripe *stripe;
	struct mown_owner *owner;
	struct mown_record *rec;

	rcu_read_lock();
	stripe = mown_lock(index, &flags);
	rec = mown_find(index, addr, NULL, &owner);
	if (rec && rec->family == MOWN_PAGES && rec->state == MOWN_LIVE &&
	    !rec->orphan) {
		size = rec->size;
		caller.mod = owner->mod;
		caller.way = owner->attached ? MOWN_ATTACHED :
			     rec->unpromised ? MOWN_DROPIN : MOWN_API;
		caller.site = rec->site;
		mown_bytes(owner, index, (long)PAGE_SIZE - (long)size);
		rec->size = PAGE_SIZE;
	}
	raw_spin_unlock_irqrestore(&stripe->lock, flags);
	rcu_read_unlock();
	for (at = PAGE_SIZE; at < size; at += PAGE_SIZE)
		mown_track((void *)(addr + at), PAGE_SIZE,
			   GFP_ATOMIC | __GFP_NOFAIL, MOWN_PAGES, &caller);
}

/*
 * The block of pages at @addr is split, and not through mown: what becomes of all but
 * the first page is not known.
 *
 * Context: As mown_observe_free().
 */
void mown_observe_split(unsigned long addr)
{
	unsigned int index = mown_stripe_index(addr);
	struct mown_stripe *stripe;
	struct mown_owner *owner;
	struct mown_record *rec;
	unsigned long flags;

	if (likely(!mown_maybe_recorded(addr)))
		return;
	stripe = mown_lock(index, &flags);
	rec = mown_find(index, addr, NULL, &owner);
	if (rec && rec->family == MOWN_PAGES && rec->state == MOWN_LIVE) {
		if (rec->orphan)
			mown_orphan_resized(owner, rec, PAGE_SIZE);
		mown_bytes(owner, index, (long)PAGE_SIZE - (long)rec->size);
		rec->size = PAGE_SIZE;
	}
	raw_spin_unlock_irqrestore(&stripe->lock, flags);
}

/* ---- Release ---- */

/* A live object is released, and not by a module under mown. */
static void mown_seen_elsewhere(struct mown_owner *owner,
				const struct mown_record *rec)
{
	if (rec->orphan)
		mown_orphan_freed(owner, rec);
	else
		mown_count(owner, MOWN_RELEASED_ELSEWHERE);
}

/*
 * Take the live record out of that state: from here on nobody else can release
 * its object through mown. It is described in @freed as far as it goes into
 * quarantine or waits for RCU.
 */
void mown_claim(const struct mown_hold *hold, u32 stack,
		struct mown_freed *freed)
{
	struct mown_record *rec = hold->rec;

	mown_not_live_any_more(hold->owner, hold->index, rec);
	if (unlikely(rec->orphan || hold->caller->way == MOWN_ANYBODY))
		mown_seen_elsewhere(hold->owner, rec);
	else
		__this_cpu_inc(hold->owner->tally->freed);
	if (unlikely(rec->family == MOWN_DEVM))
		mown_block_unlink(rec->addr);
	if (unlikely(hold->owner != hold->me) &&
	    hold->caller->way < MOWN_ANYBODY) {
		mown_count(hold->owner, MOWN_FOREIGN_FREES);
		if (hold->me)
			WRITE_ONCE(hold->me->freed_others, true);
	}
	/* What stands beside that is read by everybody, and seldom written. */
	if (unlikely(!hold->me) && hold->caller->way != MOWN_DEVICE &&
	    !READ_ONCE(mown_stranger_freed) &&
	    mown_in_modules(hold->caller->site))
		WRITE_ONCE(mown_stranger_freed, true);
	mown_describe_release(freed, rec, hold->caller->site, stack,
			      hold->owner == hold->me);
}

/*
 * Does anybody else hold a large object's pages? Those are counted, and go when
 * the last holder lets them go: to him the bytes still mean something.
 */
static bool mown_is_shared(const struct mown_record *rec)
{
	struct page *page;

	if (rec->family == MOWN_VMALLOC)
		return !mown_may_vmalloc(rec);
	if (rec->family != MOWN_KMALLOC)
		return false;
	page = virt_to_head_page((void *)rec->addr);
	/* Newer kernels do not count the one of kmalloc(). */
	return !PageSlab(page) && page_count(page) > 1;
}

/* May the object wait in quarantine? The stripe is locked. */
bool mown_keeps(const struct mown_owner *owner, const struct mown_record *rec,
		struct mown_freed *freed)
{
	unsigned long limit = mown_quarantine_limit(owner);
	size_t size;

	if (!limit || READ_ONCE(owner->dying) || owner->blind || rec->no_wait ||
	    !mown_families[rec->family].waits)
		return false;
	size = mown_class_size(rec);
	freed->bytes = size;
	/* A slot counts them in 32 bits. */
	return size && size <= limit && freed->bytes == size &&
	       (likely(size <= KMALLOC_MAX_CACHE_SIZE &&
		       rec->family != MOWN_VMALLOC) || !mown_is_shared(rec));
}

/*
 * Make an object ready for quarantine. The caller holds the record, in a state
 * that says so, and its stripe's lock, which may be dropped meanwhile. False if
 * somebody freed the object from elsewhere.
 */
bool mown_prepare(struct mown_stripe *stripe, struct mown_owner *owner,
		  struct mown_freed *freed, unsigned long *flags,
		  bool sensitive)
	__must_hold(&stripe->lock)
{
	struct mown_record *rec = freed->rec;
	void *ptr = (void *)rec->addr;

	if (IS_ENABLED(CONFIG_DEBUG_KMEMLEAK)) {
		raw_spin_unlock_irqrestore(&stripe->lock, *flags);
		/* Only the record leads to the object now: it is no leak. */
		kmemleak_ignore(rec->family == MOWN_DEVM ?
				mown_block_start(rec->addr) : ptr);
		raw_spin_lock_irqsave(&stripe->lock, *flags);
		if (rec->state == MOWN_GONE)
			return false;
	}
	/* As kfree_sensitive(); KASAN guards what was not asked for. */
	if (unlikely(sensitive) &&
	    !mown_poison_fill(stripe, rec, 0, IS_ENABLED(CONFIG_KASAN) ||
			      rec->family != MOWN_KMALLOC ?
			      rec->size : ksize(ptr), flags))
		return false;
	freed->poisoned = mown_families[rec->family].poison &&
			  !rec->no_poison &&
			  mown_policy(owner, MOWN_USE_AFTER_FREE) != MOWN_PASS;
	return !freed->poisoned ||
	       mown_poison_fill(stripe, rec, POISON_FREE, rec->size, flags);
}

/*
 * Pages that somebody else holds, too, are released: the record stays until he
 * lets them go, but for what goes now of a block that is none of the kernel's
 * compound pages: all but the first page.
 */
static void mown_release_shared(struct mown_hold *hold, u32 stack)
	__releases(&hold->stripe->lock) __releases(RCU)
{
	struct mown_record *rec = hold->rec;
	struct mown_freed freed;

	mown_claim(hold, stack, &freed);
	rec->state = MOWN_ELSEWHERE;
	if (!PageHead(virt_to_page((void *)rec->addr)))
		rec->size = PAGE_SIZE;
	mown_unlock(hold);
	trace_free(hold->owner->name, hold->addr, hold->caller->site);
	rcu_read_unlock();
}

/*
 * Release the live object of @hold, whose stripe is unlocked by this. Returns its
 * record, which is not in the tree any more, if the object is to be given back
 * now; NULL if it waits in quarantine or was freed from elsewhere meanwhile, or if
 * it is for us to give back (@ours) and this context cannot.
 */
struct mown_record *mown_let_go(struct mown_hold *hold, u32 stack,
				bool sensitive, bool ours)
	__releases(&hold->stripe->lock)
{
	struct mown_record *rec = hold->rec;
	bool keep, later, gone = false;
	struct mown_freed freed;

	mown_claim(hold, stack, &freed);
	keep = !hold->caller->no_wait && mown_keeps(hold->owner, rec, &freed);
	if (keep) {
		mown_set_leaving(rec);
		keep = mown_prepare(hold->stripe, hold->owner, &freed,
				    &hold->flags, sensitive) &&
		       mown_quarantine_push(&hold->owner->quarantine, &freed);
		gone = !keep && rec->state == MOWN_GONE;
	}
	later = ours && !keep && !gone && mown_families[rec->family].sleeps;
	if (later) {
		mown_set_leaving(rec);
		gone = sensitive && !mown_poison_fill(hold->stripe, rec, 0,
						      rec->size, &hold->flags);
		later = !gone;
	}
	if (later)
		mown_leave_later(hold->owner, rec);
	else if (!keep && !gone)
		mown_erase(hold->owner, hold->index, hold->addr, rec);
	mown_unlock(hold);
	trace_free(hold->owner->name, hold->addr, hold->caller->site);
	if (keep)
		mown_quarantine_trim(hold->owner,
				     mown_quarantine_limit(hold->owner));
	else if (gone)
		mown_record_free(rec);
	return keep || gone || later ? NULL : rec;
}

/**
 * mown_release - release an object
 * @ptr: its address, not NULL nor ZERO_SIZE_PTR
 * @caller: who wants it freed
 * @sensitive: zero it if it goes into quarantine
 *
 * Context: Where kfree() may be called.
 * Return: true if the caller is to give @ptr back to the kernel now, by the
 *	   function that was called, for it is not recorded any more or never
 *	   was; false if it waits in quarantine, is given back already, or the
 *	   release was refused.
 */
bool mown_release(const void *ptr, const struct mown_caller *caller,
		  bool sensitive)
{
	u32 stack = mown_stack_save(caller, MOWN_GFP_RELEASE);
	struct mown_record *rec;
	struct mown_hold hold;
	bool give = true;

	mown_hold(&hold, ptr, caller);
	if (unlikely(!hold.live))
		return mown_may_rescue(&hold) ?
		       mown_rescue(&hold, stack, sensitive) :
		       mown_not_live(&hold, false);
	if (unlikely(mown_is_shared_page(hold.rec))) {
		mown_release_shared(&hold, stack);
		return true;
	}
	rec = mown_let_go(&hold, stack, sensitive, false);
	if (likely(rec)) {
		/* No function of the kernel's frees what it has not made. */
		give = rec->family != MOWN_DEVM;
		if (unlikely(!give))
			mown_give_back(rec);
		mown_record_free(rec);
	}
	rcu_read_unlock();
	return rec && give;
}

/* ---- Resizing ---- */

/*
 * Up to ksize() there may be more room, but from 6.13 on krealloc() leaves it and
 * would free the object by itself: then it could not wait.
 */
static bool mown_outgrows_cache(const struct mown_record *rec, size_t size)
{
	return rec->family == MOWN_SLAB &&
	       size > kmem_cache_size((void *)mown_record_with(rec));
}

/**
 * mown_may_resize - what krealloc() may do with an object
 * @ptr: its address, not NULL nor ZERO_SIZE_PTR
 * @size: bytes wanted
 * @old: where its size in bytes goes, if it is recorded and live
 * @caller: who wants it resized
 *
 * Context: Where krealloc() may be called.
 * Return: OURS if it is recorded and live, MOVES if it must not stay where it is
 *	   besides, NOT_OURS if the kernel's krealloc() shall have it, REFUSED if
 *	   it was released before or is none.
 */
enum mown_verdict mown_may_resize(const void *ptr, size_t size, size_t *old,
				  const struct mown_caller *caller)
{
	enum mown_verdict verdict;
	struct mown_hold hold;

	mown_hold(&hold, ptr, caller);
	if (unlikely(!hold.live))
		return mown_not_live(&hold, true) ? MOWN_NOT_OURS :
						    MOWN_REFUSED;
	*old = hold.rec->size;
	verdict = hold.rec->redzone || mown_outgrows_cache(hold.rec, size) ?
		  MOWN_MOVES : MOWN_OURS;
	mown_unlock(&hold);
	rcu_read_unlock();
	return verdict;
}

/* The live object at @ptr has @size bytes from now on, at the same place. */
void mown_resized(const void *ptr, size_t size)
{
	unsigned int index = mown_stripe_index((unsigned long)ptr);
	struct mown_stripe *stripe;
	struct mown_owner *owner;
	struct mown_record *rec;
	unsigned long flags;

	stripe = mown_lock(index, &flags);
	rec = mown_find(index, (unsigned long)ptr, NULL, &owner);
	if (rec && rec->state == MOWN_LIVE) {
		if (unlikely(rec->orphan))
			mown_orphan_resized(owner, rec, size);
		mown_bytes(owner, index, (long)size - (long)rec->size);
		rec->size = size;
		/* Of an element it says something else, and its size no class. */
		if (rec->family != MOWN_ELEMENT)
			rec->loose = true;
		mown_raise_max_size(owner, rec, size);
	}
	raw_spin_unlock_irqrestore(&stripe->lock, flags);
}

/* The kernel's krealloc() has freed an object that was not recorded. */
void mown_moved(const struct mown_caller *caller)
{
	struct mown_owner *owner;

	rcu_read_lock();
	owner = mown_owner_find(caller->mod);
	if (owner || caller->way != MOWN_ATTACHED)
		mown_untracked_freed(owner, false);
	rcu_read_unlock();
}

/* ---- Changing hands ---- */

/*
 * Make the live object at @ptr over to the owner of @to. -ENOENT if there is no
 * such object that the caller may release, -ENODEV if there is no such owner. What is
 * in text that goes has been named for those who have it when the giver is dying.
 */
int mown_move_owner(const void *ptr, const struct module *to,
		    const struct mown_caller *caller)
{
	enum mown_family family = MOWN_NR_FAMILIES;
	const void *needs = NULL;
	struct mown_owner *taker;
	struct mown_record *stale;
	struct mown_hold hold;
	int ret = 0;

	mown_hold(&hold, ptr, caller);
	taker = mown_owner_find(to);
	if (!taker || READ_ONCE(taker->dying))
		ret = -ENODEV;
	else if (!hold.live || hold.rec->orphan ||
		 READ_ONCE(hold.owner->dying))
		ret = -ENOENT;
	if (ret || taker == hold.owner)
		goto unlock;
	while (unlikely(stale = mown_tree_move(&hold.owner->trees[hold.index],
					       &taker->trees[hold.index],
					       hold.rec)))
		mown_drop_stale(taker, hold.index, stale);
	mown_not_live_any_more(hold.owner, hold.index, hold.rec);
	__this_cpu_inc(hold.owner->tally->erased);
	mown_bytes(taker, hold.index, hold.rec->size);
	/* It may have been larger. */
	mown_raise_max_size(taker, hold.rec, mown_class_size(hold.rec));
	/* It is new here, and reclaimed only if the taker has promised, too. */
	hold.rec->marked = false;
	hold.rec->unpromised |= !READ_ONCE(taker->promised);
	/* What is from a cache or a pool need not come along. */
	if (mown_families[hold.rec->family].rank)
		hold.rec->lent = true;
	mown_count(hold.owner, MOWN_TRANSFERRED_OUT);
	mown_count(taker, MOWN_TRANSFERRED_IN);
	needs = mown_record_needs(hold.rec, &family);
unlock:
	mown_unlock(&hold);
	/* Whose it is waits for RCU before it is settled, unless that is lent by now. */
	mown_lend(needs, family, taker);
	rcu_read_unlock();
	return ret;
}

/*
 * The live object at @ptr is the kernel's from now on. -ENOENT if there is no
 * such object that the caller may release.
 */
int mown_give_up(const void *ptr, const struct mown_caller *caller)
{
	enum mown_family family = MOWN_NR_FAMILIES;
	const void *needs = NULL;
	struct mown_hold hold;

	mown_hold(&hold, ptr, caller);
	if (hold.live) {
		needs = mown_record_needs(hold.rec, &family);
		if (hold.rec->orphan)
			mown_orphan_freed(hold.owner, hold.rec);
		mown_count(hold.owner, MOWN_DISOWNED);
		mown_forget(hold.owner, hold.index, hold.rec);
	}
	mown_unlock(&hold);
	mown_lend(needs, family, NULL);
	if (hold.live)
		mown_record_free(hold.rec);
	rcu_read_unlock();
	return hold.live ? 0 : -ENOENT;
}

/* ---- What wrappers ask ---- */

/*
 * The family of what is recorded at @addr, and what it belongs to or NULL in @with;
 * or -ENOENT.
 */
int mown_recorded_with(unsigned long addr, const void **with)
{
	unsigned int index = mown_stripe_index(addr);
	struct mown_stripe *stripe;
	struct mown_owner *owner = NULL;
	struct mown_record *rec;
	int family = -ENOENT;
	unsigned long flags;

	if (!mown_maybe_recorded(addr))
		return family;
	stripe = mown_lock(index, &flags);
	rec = mown_find(index, addr, NULL, &owner);
	rec = mown_unless_over(owner, index, rec);
	if (rec) {
		family = rec->family;
		*with = mown_record_with(rec);
	}
	raw_spin_unlock_irqrestore(&stripe->lock, flags);
	return family;
}

/*
 * The number of the pool of @family that is recorded at @pool, for @whose unless that is
 * NULL; or 0.
 */
u64 mown_pool_at(const void *pool, enum mown_family family,
		 const struct mown_owner *whose)
{
	unsigned long addr = (unsigned long)pool, flags;
	struct mown_stripe *stripe;
	struct mown_owner *owner;
	struct mown_record *rec;
	u64 number = 0;

	if (!mown_maybe_recorded(addr))
		return 0;
	stripe = mown_lock(mown_stripe_index(addr), &flags);
	rec = mown_find_live(pool, family, &owner);
	if (rec && (!whose || owner == whose))
		number = mown_record_pool(rec);
	raw_spin_unlock_irqrestore(&stripe->lock, flags);
	return number;
}

/* ---- What the net sees ---- */

#define MOWN_ONE_FREE \
	"cannot be refused; it had not been given back, so this is its one free"
#define MOWN_QUEUED_FREE \
	"cannot be refused; RCU has a callback in the object, which goes with it"

/*
 * See mown_observe_free() and mown_observe_rcu(). The record goes with the object; if the
 * object was released before, this free is its one real free, for it had not been given
 * back. Of what was offered another free may come, which is taken for its own.
 */
void __mown_observe_free(unsigned long addr, unsigned long site,
			 enum mown_seen seen)
{
	unsigned int index = mown_stripe_index(addr);
	enum mown_family family = MOWN_NR_FAMILIES;
	struct mown_record *rec, *mine = NULL;
	const void *needs = NULL;
	struct mown_stripe *stripe;
	struct mown_owner *owner;
	struct mown_event event;
	unsigned long flags;
	bool twice = false, live = false;

	rcu_read_lock();
	stripe = mown_lock(index, &flags);
	rec = mown_find(index, addr, NULL, &owner);
	if (rec) {
		live = rec->state == MOWN_LIVE;
		twice = rec->state == MOWN_QUARANTINED ||
			rec->state == MOWN_RCU;
		if (twice) {
			mown_describe_call(&event, addr, site);
			mown_describe_object(&event, owner, rec);
			event.action = rec->state == MOWN_RCU && !rec->freed ?
				       MOWN_QUEUED_FREE : MOWN_ONE_FREE;
		} else if (live) {
			mown_seen_elsewhere(owner, rec);
			if (seen == MOWN_SEEN_OFFERED)
				needs = mown_record_needs(rec, &family);
			if (seen == MOWN_SEEN_OFFERED && !rec->orphan)
				mown_untracked_more(owner);
		}
		if (seen == MOWN_SEEN_RCU && live) {
			mown_not_live_any_more(owner, index, rec);
			rec->state = MOWN_ELSEWHERE;
			if (!MOWN_SEES_RCU_END)
				rec->grace = get_state_synchronize_rcu();
		} else {
			mine = mown_forget(owner, index, rec);
		}
	}
	raw_spin_unlock_irqrestore(&stripe->lock, flags);
	mown_lend(needs, family, NULL);
	if (mine)
		mown_record_send_home(mine);
	if (live)
		trace_free(owner->name, addr, site);
	if (twice) {
		event.violation = MOWN_DOUBLE_FREE;
		mown_count(owner, MOWN_DOUBLE_FREES);
		mown_report(&event);
	}
	rcu_read_unlock();
}

/* With nothing recorded any more. */
void mown_heap_exit(void)
{
	irq_work_sync(&mown_stale_work);
}
