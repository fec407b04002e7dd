// SPDX-License-Identifier: GPL-2.0
/*
 * Owners: the modules that allocate through mown
 *
 * An owner is published before its module's first allocation and stopped after
 * its last. It stays in the list when its module has gone as long as something
 * that it left behind is still recorded.
 */
#include <linux/ctype.h>
#include <linux/hashtable.h>
#include <linux/mm.h>
#include <linux/rculist.h>
#include <linux/slab.h>

#include "compat.h"
#include "mown.h"

/* See the notes on locking. */
DEFINE_MUTEX(mown_owners_lock);
LIST_HEAD(mown_owners);

/* By module; written under mown_owners_lock, read under any stripe's lock. */
DEFINE_HASHTABLE(mown_owner_hash, MOWN_OWNER_HASH_BITS);

/* What waits for a grace period to be freed, and sleeps then. */
struct workqueue_struct *mown_wq;

/* Objects of modules for which no owner could be made. */
atomic_long_t mown_untracked_ownerless;

const char * const mown_count_names[MOWN_NR_COUNTS] = {
	[MOWN_ALLOCATED] = "allocated",
	[MOWN_FREED] = "freed",
	[MOWN_LIVE_OBJECTS] = "live",
	[MOWN_LIVE_BYTES] = "live_bytes",
	[MOWN_QUARANTINED_OBJECTS] = "quarantined",
	[MOWN_QUARANTINED_BYTES] = "quarantined_bytes",
	[MOWN_RELEASED_ELSEWHERE] = "released_elsewhere",
	[MOWN_STALE] = "stale",
	[MOWN_UNTRACKED] = "untracked",
	[MOWN_UNTRACKED_FREED] = "untracked_freed",
	[MOWN_UNKNOWN_PASSED] = "unknown_passed",
	[MOWN_UNKNOWN_FREES] = "unknown_frees",
	[MOWN_DOUBLE_FREES] = "double_frees",
	[MOWN_INTERIOR_FREES] = "interior_frees",
	[MOWN_MISMATCHED_FREES] = "mismatched_frees",
	[MOWN_FOREIGN_FREES] = "foreign_frees",
	[MOWN_USE_AFTER_FREES] = "use_after_frees",
	[MOWN_OVERFLOWS] = "overflows",
	[MOWN_REDZONES_LOST] = "redzones_lost",
	[MOWN_FAILED] = "failed",
	[MOWN_LIMITED] = "limited",
	[MOWN_TRANSFERRED_IN] = "transferred_in",
	[MOWN_TRANSFERRED_OUT] = "transferred_out",
	[MOWN_DISOWNED] = "disowned",
};

/* A user's first question is whether this is a bug in the module. */
const char * const mown_count_help[MOWN_NR_COUNTS] = {
	[MOWN_ALLOCATED] = "objects recorded since the module was loaded",
	[MOWN_FREED] = "objects released through mown, those in quarantine too",
	[MOWN_LIVE_OBJECTS] = "objects allocated now",
	[MOWN_LIVE_BYTES] = "bytes asked for of them",
	[MOWN_QUARANTINED_OBJECTS] = "released objects not given back yet",
	[MOWN_QUARANTINED_BYTES] = "memory they take",
	[MOWN_RELEASED_ELSEWHERE] = "live objects freed by others than through mown: no bug as such, the kernel frees what it was given",
	[MOWN_STALE] = "records proven wrong and dropped: frees that went unseen, no bug of the module",
	[MOWN_UNTRACKED] = "objects for which there was no memory for a record, or that a pool may not have taken: no bug",
	[MOWN_UNTRACKED_FREED] = "frees put down to these",
	[MOWN_UNKNOWN_PASSED] = "frees of memory that is not recorded, passed on to the kernel: no bug as such, the kernel allocates for modules",
	[MOWN_UNKNOWN_FREES] = "the same, refused: a bug",
	[MOWN_DOUBLE_FREES] = "second frees of the module's objects: a bug of whoever frees again",
	[MOWN_INTERIOR_FREES] = "frees of pointers into the module's objects, refused: a bug",
	[MOWN_MISMATCHED_FREES] = "frees of the module's objects by a function of another family: a bug",
	[MOWN_FOREIGN_FREES] = "the module's objects released through mown by another module: no bug as such, refused if policy/foreign_free says so",
	[MOWN_USE_AFTER_FREES] = "objects found to be written to after they were released: a bug of whoever wrote",
	[MOWN_OVERFLOWS] = "objects found to be written to behind their end: a bug of whoever wrote",
	[MOWN_REDZONES_LOST] = "redzones that the kernel may have written to: no bug as such",
	[MOWN_FAILED] = "allocations failed on purpose, by fail_nth",
	[MOWN_LIMITED] = "allocations failed as they would have passed limit_bytes",
	[MOWN_TRANSFERRED_IN] = "live objects that other modules made over to this one",
	[MOWN_TRANSFERRED_OUT] = "live objects that were made over to other modules",
	[MOWN_DISOWNED] = "live objects given to the kernel for good: nobody under mown is to free them",
};

/*
 * The @len bytes at @buf as modules have their names, with `_' for `-'. -EINVAL if
 * none can be called so, -ENAMETOOLONG.
 */
int mown_name_parse(char *name, const char *buf, size_t len)
{
	size_t i;

	if (len >= MODULE_NAME_LEN)
		return -ENAMETOOLONG;
	for (i = 0; i < len; i++) {
		if (!isascii(buf[i]) || !isgraph(buf[i]) ||
		    strchr("/,*", buf[i]))
			return -EINVAL;
		name[i] = buf[i] == '-' ? '_' : buf[i];
	}
	name[len] = '\0';
	return len ? 0 : -EINVAL;
}

struct mown_owner *mown_owner_new(struct module *mod)
{
	struct mown_owner *owner = kvzalloc(sizeof(*owner), GFP_KERNEL);

	if (!owner)
		return NULL;
	owner->tally = alloc_percpu(struct mown_tally);
	if (!owner->tally || mown_quarantine_new(&owner->quarantine)) {
		free_percpu(owner->tally);
		kvfree(owner);
		return NULL;
	}
	refcount_set(&owner->refs, 1);
	owner->mod = mod;
	owner->quarantine_bytes = MOWN_QUARANTINE_INHERIT;
	owner->stack_depth = MOWN_STACK_INHERIT;
	strscpy(owner->name, mod->name, sizeof(owner->name));
	return owner;
}

/* From here on its module's calls find it. */
void mown_owner_publish(struct mown_owner *owner)
{
	static u64 serial;

	lockdep_assert_held(&mown_owners_lock);
	owner->serial = ++serial;
	list_add_tail_rcu(&owner->list, &mown_owners);
	hash_add_rcu(mown_owner_hash, &owner->hash, (unsigned long)owner->mod);
	mown_fail_adopt(owner);
}

/* A module of its own may be loaded at the same place from here on. */
void mown_owner_forget_module(struct mown_owner *owner)
{
	lockdep_assert_held(&mown_owners_lock);
	hash_del_rcu(&owner->hash);
}

/* Nobody stands on the owner any more, but for events that wait. */
static void mown_owner_removed(struct work_struct *work)
{
	struct mown_owner *owner = container_of(to_rcu_work(work),
						struct mown_owner, removed);

	mown_report_flush();
	mown_owner_put(owner);
}

/* Out of the list; the list's reference goes when nobody can stand on it. */
void mown_owner_remove(struct mown_owner *owner)
{
	lockdep_assert_held(&mown_owners_lock);
	list_del_rcu(&owner->list);
	mown_stack_update();
	mown_redzone_update();
	INIT_RCU_WORK(&owner->removed, mown_owner_removed);
	queue_rcu_work(mown_wq, &owner->removed);
}

/*
 * From the return of this on nothing new is recorded for the owner, and nothing that
 * it releases waits any more: who has not seen it has interrupts off, or is in an RCU
 * read-side section.
 */
void mown_owner_stop(struct mown_owner *owner)
{
	WRITE_ONCE(owner->dying, true);
	WRITE_ONCE(owner->picky, true);
	synchronize_rcu();
}

/*
 * Walk the owners in the order of their making, with a reference on the one at
 * hand: NULL begins, and NULL ends. Owners may come and go meanwhile.
 */
struct mown_owner *mown_owner_next(struct mown_owner *owner)
{
	struct mown_owner *next = NULL, *at;

	mutex_lock(&mown_owners_lock);
	list_for_each_entry(at, &mown_owners, list) {
		if (owner && at->serial <= owner->serial)
			continue;
		next = at;
		refcount_inc(&next->refs);
		break;
	}
	mutex_unlock(&mown_owners_lock);
	if (owner)
		mown_owner_put(owner);
	return next;
}

void mown_owner_put(struct mown_owner *owner)
{
	if (!refcount_dec_and_test(&owner->refs))
		return;
	mown_names_free(rcu_dereference_protected(owner->names, true));
	mown_quarantine_free(&owner->quarantine);
	free_percpu(owner->tally);
	kvfree(owner);
}

/* The same of a caller: what is nobody's under mown has none. */
struct mown_owner *mown_caller_owner(const struct mown_caller *caller)
{
	return unlikely(caller->way >= MOWN_ANYBODY) ? NULL :
	       mown_owner_find(caller->mod);
}

/* An object of @owner's goes on without a record. */
void mown_untracked_more(struct mown_owner *owner)
{
	atomic_long_inc(&owner->untracked);
	mown_count(owner, MOWN_UNTRACKED);
}

/*
 * An object of the caller's goes without a record. Returns what it is known by to
 * mown_untracked_ended(): the serial of its owner, MOWN_OWNERLESS, or 0 if it is
 * counted nowhere.
 */
u64 mown_untracked(const struct mown_caller *caller)
{
	struct mown_owner *owner;
	u64 whose = 0;

	rcu_read_lock();
	owner = mown_owner_find(caller->mod);
	if (owner) {
		mown_untracked_more(owner);
		whose = owner->serial;
	} else if (caller->way != MOWN_ATTACHED) {
		atomic_long_inc(&mown_untracked_ownerless);
		whose = MOWN_OWNERLESS;
	}
	rcu_read_unlock();
	return whose;
}

/*
 * May this be the free of an object of @owner's that had to go without a record?
 * Then it is taken for that, unless it is only to be resized. Who has no owner
 * has nothing with a record.
 */
bool mown_untracked_freed(struct mown_owner *owner, bool resize)
{
	if (!owner) {
		if (!resize)
			atomic_long_dec_if_positive(&mown_untracked_ownerless);
		return true;
	}
	if (resize)
		return atomic_long_read(&owner->untracked) > 0;
	if (atomic_long_dec_if_positive(&owner->untracked) < 0)
		return false;
	mown_count(owner, MOWN_UNTRACKED_FREED);
	return true;
}

/*
 * The same of anybody's object: a module may free another's memory. For a free
 * that is refused otherwise.
 */
bool mown_untracked_freed_any(bool resize)
{
	struct mown_owner *owner;

	list_for_each_entry_rcu(owner, &mown_owners, list)
		if (mown_untracked_freed(owner, resize))
			return true;
	if (resize)
		return atomic_long_read(&mown_untracked_ownerless) > 0;
	return atomic_long_dec_if_positive(&mown_untracked_ownerless) >= 0;
}

/* The object of which mown_untracked() said @whose it is was freed. */
void mown_untracked_ended(u64 whose)
{
	struct mown_owner *owner;

	if (whose == MOWN_OWNERLESS)
		atomic_long_dec_if_positive(&mown_untracked_ownerless);
	rcu_read_lock();
	list_for_each_entry_rcu(owner, &mown_owners, list) {
		if (owner->serial != whose)
			continue;
		mown_untracked_freed(owner, false);
		break;
	}
	rcu_read_unlock();
}

/*
 * Sum up the owner's counters. Together they are as of one moment only when nobody
 * uses the owner meanwhile. What has ended is read first: so what is live all the time
 * is counted as that, whatever comes and goes.
 */
void mown_owner_sum(struct mown_owner *owner, struct mown_sums *sums)
{
	unsigned long flags, ended = 0, erased = 0, entered;
	unsigned long *value = sums->value;
	const struct mown_tally *tally;
	int i;

	memset(sums, 0, sizeof(*sums));
	for_each_possible_cpu(i) {
		tally = per_cpu_ptr(owner->tally, i);
		value[MOWN_FREED] += READ_ONCE(tally->freed);
		ended += READ_ONCE(tally->ended);
		erased += READ_ONCE(tally->erased);
	}
	/* It is counted as allocated under the stripe's lock, that it ended later. */
	smp_rmb();
	for_each_possible_cpu(i) {
		tally = per_cpu_ptr(owner->tally, i);
		value[MOWN_ALLOCATED] += READ_ONCE(tally->allocated);
		value[MOWN_LIVE_BYTES] += READ_ONCE(tally->bytes);
	}
	for (i = MOWN_RELEASED_ELSEWHERE; i < MOWN_NR_COUNTS; i++)
		value[i] = atomic_long_read(&owner->counts[i]);
	entered = value[MOWN_ALLOCATED] + value[MOWN_TRANSFERRED_IN];
	value[MOWN_LIVE_OBJECTS] = entered - ended;
	sums->records = entered - erased;
	/* What came may be seen to have gone only. */
	if ((long)value[MOWN_LIVE_BYTES] < 0)
		value[MOWN_LIVE_BYTES] = 0;
	raw_spin_lock_irqsave(&owner->quarantine.lock, flags);
	value[MOWN_QUARANTINED_OBJECTS] = owner->quarantine.objects;
	value[MOWN_QUARANTINED_BYTES] = owner->quarantine.bytes;
	raw_spin_unlock_irqrestore(&owner->quarantine.lock, flags);
}

/* A checkpoint: what is recorded now is not new any more. */
void mown_owner_mark(struct mown_owner *owner)
{
	struct mown_cursor cursor = {};
	struct mown_record *rec;
	unsigned long flags;
	unsigned int nr;

	while (cursor.stripe < MOWN_STRIPES) {
		struct rb_root *tree = &owner->trees[cursor.stripe];

		raw_spin_lock_irqsave(&mown_stripes[cursor.stripe].lock,
				      flags);
		rec = mown_tree_above(tree, cursor.addr);
		for (nr = 0; rec && nr < MOWN_COPIES; nr++) {
			rec->marked = true;
			cursor.addr = rec->addr;
			rec = mown_tree_next(rec);
		}
		raw_spin_unlock_irqrestore(&mown_stripes[cursor.stripe].lock,
					   flags);
		if (!rec) {
			cursor.stripe++;
			cursor.addr = 0;
		}
		cond_resched();
	}
}

/* Where the owner itself released the object, if it did and that is known. */
static unsigned long mown_freed_site(struct mown_owner *owner,
				     const struct mown_record *rec)
{
	struct mown_freed freed = {};

	if (rec->state == MOWN_QUARANTINED)
		mown_quarantine_peek(&owner->quarantine, rec, &freed);
	else if (rec->state == MOWN_RCU && rec->freed)
		freed = *rec->freed;
	return freed.own ? freed.site : 0;
}

/*
 * Copy records from the cursor on, looking at no more than @max at a time so
 * that no stripe is locked for long. Returns how many; 0 is the end. What
 * comes and goes meanwhile may be missed; nothing is seen twice.
 */
unsigned int mown_owner_copy(struct mown_owner *owner,
			     struct mown_cursor *cursor,
			     struct mown_copy *copies, unsigned int max)
{
	struct mown_record *rec;
	unsigned int nr = 0;
	unsigned long flags;

	while (!nr && cursor->stripe < MOWN_STRIPES) {
		struct rb_root *tree = &owner->trees[cursor->stripe];

		raw_spin_lock_irqsave(&mown_stripes[cursor->stripe].lock,
				      flags);
		rec = mown_tree_above(tree, cursor->addr);
		for (; rec && nr < max; rec = mown_tree_next(rec)) {
			cursor->addr = rec->addr;
			copies[nr++] = (struct mown_copy) {
				.addr = rec->addr,
				.size = rec->size,
				.site = rec->site,
				.freed_site = mown_freed_site(owner, rec),
				.with = mown_record_with(rec),
				.when = rec->state == MOWN_LIVE ? rec->when : 0,
				.pid = rec->pid,
				.cpu = rec->cpu,
				.family = rec->family,
				.live = rec->state == MOWN_LIVE,
				.marked = rec->marked,
			};
		}
		raw_spin_unlock_irqrestore(&mown_stripes[cursor->stripe].lock,
					   flags);
		if (!rec) {
			cursor->stripe++;
			cursor->addr = 0;
		}
	}
	return nr;
}

int mown_owner_init(void)
{
	mown_wq = alloc_workqueue("mown", MOWN_WQ_FLAGS, 0);
	return mown_wq ? 0 : -ENOMEM;
}

/* With no owner any more. */
void mown_owner_exit(void)
{
	/* What waits for its grace period is in the queue after this. */
	rcu_barrier();
	destroy_workqueue(mown_wq);
}
