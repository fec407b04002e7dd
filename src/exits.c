// SPDX-License-Identifier: GPL-2.0
/*
 * Exits: an owner's end, and the account of it
 *
 * What is live when a module goes is left behind, not proven leaked: the
 * kernel may lawfully hold it. It is given back where the author has promised
 * that nothing outlives the module; else its records stay as orphans, and an
 * orphan that is freed later by anybody is not left behind any more. The
 * accounts outlive their modules, and name sites by text kept in time.
 */
#include <linux/async.h>
#include <linux/irq_work.h>
#include <linux/mm.h>
#include <linux/slab.h>
#include <linux/sort.h>
#include <linux/workqueue.h>

#include "mown.h"

/* How many sites the log names of one exit. */
#define MOWN_EXIT_LOG_SITES 8

/**
 * struct mown_exit_site - what was left behind by one call site
 * @ip: the return address of the call
 * @count: objects
 * @bytes: of them
 * @family: their family, or MOWN_NR_FAMILIES if there are several
 */
struct mown_exit_site {
	unsigned long ip;
	atomic_long_t count;
	atomic_long_t bytes;
	u32 family;
};

/**
 * struct mown_exit - the account of an owner that has gone
 * @list: in mown_exits, oldest first
 * @owner: the owner while it has orphans, else NULL
 * @name: its module's name
 * @names: of its sites, or NULL if there was no memory for them
 * @allocated: objects recorded
 * @freed: released through mown
 * @elsewhere: seen to be freed by others
 * @stale: records proven wrong
 * @reclaimed: given back by mown
 * @left: objects left behind, less those freed late
 * @left_bytes: of them
 * @late: orphans freed since
 * @moved_in: made over to it by others
 * @moved_out: made over by it to others
 * @disowned: given to the kernel
 * @untracked: went without a record, and were not seen to be freed
 * @nr: how many sites there are
 * @site: by address; the last is for what has no place of its own
 *
 * The atomic members change under the stripe's lock of the object concerned,
 * the rest is set before the account is in the list.
 */
struct mown_exit {
	struct list_head list;
	struct mown_owner *owner;
	char name[MODULE_NAME_LEN];
	struct mown_names *names;
	unsigned long allocated;
	unsigned long freed;
	unsigned long elsewhere;
	unsigned long stale;
	unsigned long reclaimed;
	unsigned long moved_in;
	unsigned long moved_out;
	unsigned long disowned;
	unsigned long untracked;
	atomic_long_t left;
	atomic_long_t left_bytes;
	atomic_long_t late;
	unsigned int nr;
	struct mown_exit_site site[];
};

/* Under mown_owners_lock. */
static LIST_HEAD(mown_exits);
static unsigned int mown_exits_nr;

static void mown_exits_sweep_func(struct work_struct *work)
{
	mutex_lock(&mown_owners_lock);
	mown_exits_sweep();
	mown_net_update();
	mutex_unlock(&mown_owners_lock);
}

static DECLARE_WORK(mown_exits_sweep_work, mown_exits_sweep_func);

static void mown_exits_last_func(struct irq_work *work)
{
	schedule_work(&mown_exits_sweep_work);
}

static DEFINE_IRQ_WORK(mown_exits_last_work, mown_exits_last_func);

static struct mown_exit_site *mown_exit_site(struct mown_exit *exit,
					     unsigned long ip)
{
	unsigned int low = 0, high = exit->nr - 1;

	while (low < high) {
		unsigned int mid = low + (high - low) / 2;

		if (exit->site[mid].ip < ip)
			low = mid + 1;
		else
			high = mid;
	}
	return exit->site[low].ip == ip ? &exit->site[low] :
					  &exit->site[exit->nr - 1];
}

static void mown_exit_add(struct mown_exit *exit, const struct mown_record *rec,
			  long sign)
{
	struct mown_exit_site *site = mown_exit_site(exit, rec->site);

	atomic_long_add(sign, &site->count);
	atomic_long_add(sign * (long)rec->size, &site->bytes);
	atomic_long_add(sign, &exit->left);
	atomic_long_add(sign * (long)rec->size, &exit->left_bytes);
}

/* What was left behind is freed after all; its stripe is locked. */
void mown_orphan_freed(struct mown_owner *owner, const struct mown_record *rec)
{
	struct mown_exit *exit = owner->exit;

	mown_exit_add(exit, rec, -1);
	atomic_long_inc(&exit->late);
	if (atomic_long_read(&exit->left) == READ_ONCE(exit->reclaimed))
		irq_work_queue(&mown_exits_last_work);
}

/* An orphan changes its size in place; its stripe is locked. */
void mown_orphan_resized(struct mown_owner *owner,
			 const struct mown_record *rec, size_t size)
{
	struct mown_exit *exit = owner->exit;
	long more = (long)size - (long)rec->size;

	atomic_long_add(more, &mown_exit_site(exit, rec->site)->bytes);
	atomic_long_add(more, &exit->left_bytes);
}

static struct mown_exit *mown_exit_new(struct mown_owner *owner)
{
	struct mown_sites sites = {};
	struct mown_exit *exit;
	unsigned int i;
	int err;

	mutex_lock(&mown_intern_lock);
	/* Short of memory the account names fewer sites, or none. */
	err = mown_sites_collect(owner, MOWN_SITES_LIVE, NULL, &sites);
	exit = kvzalloc(struct_size(exit, site, sites.nr + 1), GFP_KERNEL);
	if (exit) {
		strscpy(exit->name, owner->name, sizeof(exit->name));
		exit->owner = owner;
		exit->names = mown_names_new(owner, &sites);
		exit->nr = sites.nr + 1;
		for (i = 0; i < sites.nr; i++) {
			exit->site[i].ip = sites.site[i].ip;
			exit->site[i].family = sites.site[i].family;
		}
		exit->site[i].ip = ULONG_MAX;
		exit->site[i].family = MOWN_NR_FAMILIES;
		/* Fewer names must not take the place of more. */
		if (!err)
			mown_names_replace(owner, mown_names_new(owner, &sites));
	}
	mutex_unlock(&mown_intern_lock);
	if (err)
		pr_warn("%s: no memory to name every site\n", owner->name);
	mown_sites_free(&sites);
	return exit;
}

static bool mown_reclaims(struct mown_owner *owner, bool unpromised)
{
	enum mown_word word = mown_policy(owner, MOWN_LEFT_BEHIND);

	if (owner->blind)
		return false;
	return word == MOWN_RECLAIM || (word == MOWN_AUTO && !unpromised);
}

/*
 * The address of the first record of a stripe above @addr if it is of what goes
 * back to a pool, and that is recorded for the owner, so it is there; or 0. The owner
 * has ended: its pool stays, as another's need not.
 */
static unsigned long mown_settle_peek(struct mown_owner *owner,
				      unsigned int index, unsigned long addr)
{
	enum mown_family parent = MOWN_NR_FAMILIES;
	const struct mown_record *rec;
	const void *with = NULL;
	unsigned long flags;
	u64 pool = 0;

	raw_spin_lock_irqsave(&mown_stripes[index].lock, flags);
	rec = mown_tree_above(&owner->trees[index], addr);
	addr = rec ? rec->addr : 0;
	if (rec) {
		parent = mown_families[rec->family].parent;
		with = mown_record_with(rec);
		pool = mown_record_pool(rec);
	}
	raw_spin_unlock_irqrestore(&mown_stripes[index].lock, flags);
	return pool && mown_pool_at(with, parent, owner) == pool ? addr : 0;
}

/*
 * An object of @owner's is left behind and stays; its stripe is locked. Returns what it
 * needs to stay as well, of @family, where that might be given back; or NULL. Pages of
 * a pool may have gone by their count, and do not need it.
 */
static const void *mown_settle_orphan(struct mown_owner *owner,
				      struct mown_record *rec,
				      enum mown_family *family)
{
	rec->orphan = true;
	mown_exit_add(owner->exit, rec, 1);
	if (!mown_reclaims(owner, false) ||
	    (rec->family == MOWN_ELEMENT && rec->loose))
		return NULL;
	return mown_record_needs(rec, family);
}

/*
 * Decide about the first record of a stripe above @addr, if it is of the rank.
 * Returns its address, 0 at the end. A record that still holds something when its
 * object has gone is put before @held.
 */
static unsigned long mown_settle_next(struct mown_owner *owner,
				      unsigned int index, unsigned long addr,
				      unsigned int rank, struct rb_node **held)
{
	const struct mown_family_info *info = NULL;
	struct mown_record *rec, *reclaim = NULL;
	enum mown_family family = MOWN_NR_FAMILIES;
	const void *needs = NULL;
	unsigned long flags, pooled;
	bool sleeps = false;

	pooled = mown_settle_peek(owner, index, addr);
	mown_hurry();
	raw_spin_lock_irqsave(&mown_stripes[index].lock, flags);
	rec = mown_tree_above(&owner->trees[index], addr);
	addr = rec ? rec->addr : 0;
	if (rec)
		info = &mown_families[rec->family];
	if (!rec || rec->state != MOWN_LIVE || info->rank != rank)
		goto unlock;
	if (!info->may_reclaim || !mown_reclaims(owner, rec->unpromised) ||
	    rec->lent || (info->parent != rec->family && pooled != addr)) {
		needs = mown_settle_orphan(owner, rec, &family);
	} else if (!mown_class_fits(rec)) {
		mown_drop_stale(owner, index, rec);
	} else if (!info->may_reclaim(rec)) {
		needs = mown_settle_orphan(owner, rec, &family);
	} else {
		mown_exit_add(owner->exit, rec, 1);
		WRITE_ONCE(owner->exit->reclaimed, owner->exit->reclaimed + 1);
		reclaim = mown_forget(owner, index, rec);
		sleeps = info->sleeps;
	}
unlock:
	raw_spin_unlock_irqrestore(&mown_stripes[index].lock, flags);
	mown_lend(needs, family, NULL);
	if (reclaim && !sleeps)
		mown_give_back(reclaim);
	mown_hurry_end();
	if (reclaim && sleeps)
		mown_give_back(reclaim);
	if (reclaim && info->reclaimed) {
		reclaim->node.rb_left = *held;
		*held = &reclaim->node;
	} else if (reclaim) {
		mown_record_free(reclaim);
	}
	return addr;
}

/*
 * Every record is counted as what it is from here on; nothing is added. What
 * others belong to comes after them. Returns the records that still hold something.
 */
static struct rb_node *mown_settle_all(struct mown_owner *owner)
{
	struct rb_node *held = NULL;
	unsigned int index, rank;
	unsigned long addr = 0;

	for (rank = 0; rank < MOWN_NR_RANKS; rank++) {
		/* What is on its way out of a quarantine has gone after this. */
		synchronize_rcu();
		for (index = 0; index < MOWN_STRIPES; index++) {
			do {
				addr = mown_settle_next(owner, index, addr,
							rank, &held);
				cond_resched();
			} while (addr);
		}
	}
	return held;
}

/*
 * Let go of what records hold whose objects were given back. Not under the mutex: who
 * is let go of last may destroy a cache, whose end wants it.
 */
static void mown_release_held(struct rb_node *held)
{
	struct mown_record *rec;

	while (held) {
		rec = mown_record_of(held);
		held = held->rb_left;
		mown_families[rec->family].reclaimed(rec);
		mown_record_free(rec);
	}
}

struct mown_exit_line {
	const struct mown_exit_site *site;
	long bytes;
};

static int mown_exit_line_more(const void *a, const void *b)
{
	const struct mown_exit_line *x = a, *y = b;

	return x->bytes == y->bytes ? 0 : x->bytes < y->bytes ? 1 : -1;
}

/* To the seq_file, or to the log if there is none. */
#define mown_exit_print(m, fmt, ...)				\
do {								\
	if (m)							\
		seq_printf(m, fmt "\n", ##__VA_ARGS__);		\
	else							\
		pr_warn(fmt "\n", ##__VA_ARGS__);		\
} while (0)

static int mown_exit_show_sites(struct seq_file *m, struct mown_exit *exit,
				unsigned int max)
{
	struct mown_exit_line *lines;
	unsigned int i, nr = 0;

	lines = kvmalloc_array(exit->nr, sizeof(*lines), GFP_KERNEL);
	if (!lines)
		return -ENOMEM;
	for (i = 0; i < exit->nr; i++) {
		if (!atomic_long_read(&exit->site[i].count))
			continue;
		lines[nr].site = &exit->site[i];
		lines[nr++].bytes = atomic_long_read(&exit->site[i].bytes);
	}
	sort(lines, nr, sizeof(*lines), mown_exit_line_more, NULL);
	for (i = 0; i < min(nr, max); i++) {
		const struct mown_exit_site *site = lines[i].site;
		const char *name = mown_names_find(exit->names, site->ip);

		mown_exit_print(m, "%ld %ld %s %s",
				atomic_long_read(&site->count), lines[i].bytes,
				mown_site_family(site->family),
				name ?: "(not named)");
	}
	if (nr > max)
		mown_exit_print(m, "and %u more sites, see debugfs mown/exits",
				nr - max);
	kvfree(lines);
	return 0;
}

static int mown_exit_show(struct seq_file *m, struct mown_exit *exit)
{
	long late = atomic_long_read(&exit->late);

	seq_printf(m, "%s: allocated %lu, freed %lu, released elsewhere %lu, left behind %ld (%ld bytes), reclaimed %lu",
		   exit->name, exit->allocated, exit->freed, exit->elsewhere,
		   atomic_long_read(&exit->left),
		   atomic_long_read(&exit->left_bytes), exit->reclaimed);
	if (late)
		seq_printf(m, ", freed late %ld", late);
	if (exit->stale)
		seq_printf(m, ", stale %lu", exit->stale);
	if (exit->moved_in)
		seq_printf(m, ", transferred in %lu", exit->moved_in);
	if (exit->moved_out)
		seq_printf(m, ", transferred out %lu", exit->moved_out);
	if (exit->disowned)
		seq_printf(m, ", disowned %lu", exit->disowned);
	if (exit->untracked)
		seq_printf(m, ", untracked %lu", exit->untracked);
	seq_putc(m, '\n');
	return mown_exit_show_sites(m, exit, UINT_MAX);
}

int mown_exits_show(struct seq_file *m)
{
	struct mown_exit *exit;
	int ret = 0;

	seq_puts(m, "mown exits 1\n");
	mutex_lock(&mown_owners_lock);
	list_for_each_entry(exit, &mown_exits, list) {
		if (!list_is_first(&exit->list, &mown_exits))
			seq_putc(m, '\n');
		ret = mown_exit_show(m, exit);
		if (ret)
			break;
	}
	mutex_unlock(&mown_owners_lock);
	return ret;
}

/* What the accounts take in memory, but for the names of their sites. */
unsigned long mown_exits_bytes(void)
{
	const struct mown_exit *exit;
	unsigned long bytes = 0;

	mutex_lock(&mown_owners_lock);
	list_for_each_entry(exit, &mown_exits, list)
		bytes += struct_size(exit, site, exit->nr);
	mutex_unlock(&mown_owners_lock);
	return bytes;
}

static void mown_exit_tell(struct mown_owner *owner, struct mown_exit *exit)
{
	long left = atomic_long_read(&exit->left);

	if (!left)
		return;
	pr_warn("%s: left behind %ld objects (%ld bytes), reclaimed %lu\n",
		exit->name, left, atomic_long_read(&exit->left_bytes),
		exit->reclaimed);
	mown_exit_show_sites(NULL, exit, MOWN_EXIT_LOG_SITES);
	if (mown_policy(owner, MOWN_LEFT_BEHIND) == MOWN_PANIC)
		panic("mown: %s left %ld objects behind", exit->name, left);
}

/*
 * Nobody will be told of the destruction of @cache when its record is forgotten, which
 * says by now that its objects do not wait: so nothing of it may, whosever it is.
 */
static void mown_exit_let_objects_go(const struct kmem_cache *cache)
{
	struct mown_owner *owner;
	struct mown_record *rec;
	unsigned long flags;
	unsigned int index;

	lockdep_assert_held(&mown_owners_lock);
	/* Who has been told otherwise of the cache has its object recorded after this. */
	synchronize_rcu();
	/* All owners at once: objects may be made over from one to another. */
	for (index = 0; index < MOWN_STRIPES; index++) {
		raw_spin_lock_irqsave(&mown_stripes[index].lock, flags);
		list_for_each_entry(owner, &mown_owners, list) {
			rec = mown_tree_above(&owner->trees[index], 0);
			for (; rec; rec = mown_tree_next(rec))
				if (mown_record_with(rec) == cache)
					rec->no_wait = true;
		}
		raw_spin_unlock_irqrestore(&mown_stripes[index].lock, flags);
		cond_resched();
	}
	/* Who has seen otherwise of an object has it in quarantine after this. */
	synchronize_rcu();
	mown_quarantine_purge(cache);
}

/*
 * Forget what is still recorded for an owner that is removed: orphans, and
 * objects on their way through the kernel's kfree_rcu(). A record in any other
 * state has a holder, who frees it: true if there was one.
 */
static bool mown_exit_forget(struct mown_owner *owner)
{
	unsigned long flags, addr, cache = 0;
	struct mown_record *rec;
	bool ours, again, held = false;
	unsigned int index;

	lockdep_assert_held(&mown_owners_lock);
	for (index = 0; index < MOWN_STRIPES; index++) {
		addr = 0;
		do {
			raw_spin_lock_irqsave(&mown_stripes[index].lock, flags);
			rec = mown_tree_above(&owner->trees[index], addr);
			again = rec && rec->family == MOWN_CACHE &&
				rec->addr != cache;
			if (again) {
				rec->no_wait = true;
				cache = rec->addr;
			} else {
				addr = rec ? rec->addr : 0;
			}
			ours = rec && !again && (rec->state == MOWN_LIVE ||
						 rec->state == MOWN_ELSEWHERE);
			if (ours)
				mown_forget(owner, index, rec);
			else if (rec && !again)
				held = true;
			raw_spin_unlock_irqrestore(&mown_stripes[index].lock,
						   flags);
			if (again)
				mown_exit_let_objects_go((void *)cache);
			if (ours)
				mown_record_free(rec);
			cond_resched();
		} while (addr || again);
	}
	return held;
}

/*
 * Once no object of its is live, none begins to leave, either; but who has claimed one
 * may still be filling it, in an RCU read-side section.
 */
static void mown_exit_remove_owner(struct mown_owner *owner)
{
	if (mown_exit_forget(owner))
		synchronize_rcu();
	mown_leave_all(owner);
	mown_owner_remove(owner);
}

static void mown_exit_drop(struct mown_exit *exit)
{
	list_del(&exit->list);
	mown_exits_nr--;
	if (exit->owner)
		mown_exit_remove_owner(exit->owner);
	mown_names_free(exit->names);
	kvfree(exit);
}

/* Keep the last @max accounts; with the others their orphans are forgotten. */
static void mown_exits_drop(unsigned int max)
{
	lockdep_assert_held(&mown_owners_lock);
	while (mown_exits_nr > max)
		mown_exit_drop(list_first_entry(&mown_exits, struct mown_exit,
						list));
}

void mown_exits_trim(unsigned int max)
{
	mutex_lock(&mown_owners_lock);
	mown_exits_drop(max);
	mown_net_update();
	mutex_unlock(&mown_owners_lock);
}

/* The account stays. */
static void mown_exit_let_owner_go(struct mown_exit *exit)
{
	mown_exit_remove_owner(exit->owner);
	exit->owner = NULL;
}

/*
 * Forget what attached modules left behind, or are about to: those of @name, which is
 * taken back, or all whose name is not attached if @name is NULL. Their accounts stay.
 */
void mown_exits_detach(const char *name, bool (*is_attached)(const char *name))
{
	struct mown_owner *owner;
	struct mown_exit *exit;

	mutex_lock(&mown_owners_lock);
	list_for_each_entry(owner, &mown_owners, list)
		if (owner->attached && owner->ending &&
		    (name ? !strcmp(owner->name, name) : !is_attached(owner->name)))
			owner->detached = true;
	list_for_each_entry(exit, &mown_exits, list)
		if (exit->owner && exit->owner->detached)
			mown_exit_let_owner_go(exit);
	mown_net_update();
	mutex_unlock(&mown_owners_lock);
}

/* Let the owners go that have no orphans any more. */
void mown_exits_sweep(void)
{
	struct mown_exit *exit;

	lockdep_assert_held(&mown_owners_lock);
	list_for_each_entry(exit, &mown_exits, list)
		if (exit->owner &&
		    atomic_long_read(&exit->left) == exit->reclaimed)
			mown_exit_let_owner_go(exit);
}

/*
 * Asynchronous work of the module may still release what would be reclaimed, or
 * panicked about. The kernel itself waits for it a little later, but without
 * the lock of the notifiers' list: work that waits for a module to be loaded or
 * for a notifier to be registered would wait for us. So only who must waits.
 */
static bool mown_must_wait(struct mown_owner *owner)
{
	struct mown_sums sums;

	mown_owner_sum(owner, &sums);
	if (!sums.value[MOWN_LIVE_OBJECTS])
		return false;
	return mown_policy(owner, MOWN_LEFT_BEHIND) == MOWN_PANIC ||
	       mown_reclaims(owner, !READ_ONCE(owner->promised));
}

/* Nothing is recorded for the owner any more, and nothing of it waits. */
static void mown_end(struct mown_owner *owner)
{
	mown_owner_stop(owner);
	mown_rcu_flush();
	/* What a dying owner releases does not wait: the ring has served. */
	mown_quarantine_trim(owner, 0);
	mown_quarantine_free(&owner->quarantine);
	/*
	 * What others have on its way out of the quarantine has gone after this: while
	 * the owner is in the list, a free of it from elsewhere is seen.
	 */
	synchronize_rcu();
	mown_leave_flush();
	mown_report_flush();

	mown_names_intern_elsewhere(owner);
	mown_quarantine_forget_sites(owner, &owner->text);
	if (!owner->init_gone)
		mown_quarantine_forget_sites(owner, &owner->init);
}

/**
 * mown_drop - forget an owner whose module stays, and all that it has
 * @owner: it; its faces are gone when this begins. Freed by this.
 *
 * Context: Process.
 */
void mown_drop(struct mown_owner *owner)
{
	mown_end(owner);
	mutex_lock(&mown_owners_lock);
	mown_owner_forget_module(owner);
	mown_exit_remove_owner(owner);
	mown_net_update();
	mutex_unlock(&mown_owners_lock);
}

/**
 * mown_settle - end an owner whose module has run its last code but for what
 *		 is waited for here
 * @owner: it; its faces are gone when this begins. May be freed by this.
 *
 * Context: Process, with the module's text still in place.
 */
void mown_settle(struct mown_owner *owner)
{
	const struct module *mod = owner->mod;
	struct rb_node *held;
	struct mown_exit *exit;
	struct mown_sums sums;

	/* Its knobs have gone: what holds now holds for all that it has left. */
	WRITE_ONCE(owner->policies[MOWN_LEFT_BEHIND],
		   mown_policy(owner, MOWN_LEFT_BEHIND));
	if (mown_must_wait(owner))
		async_synchronize_full();
	rcu_barrier();
	mown_end(owner);
	exit = mown_exit_new(owner);
	mutex_lock(&mown_owners_lock);
	mown_owner_forget_module(owner);
	if (!exit) {
		pr_warn("%s: no memory for its account, nothing is reclaimed\n",
			owner->name);
		mown_exit_remove_owner(owner);
		mutex_unlock(&mown_owners_lock);
		mown_dma_end(mod);
		return;
	}
	WRITE_ONCE(owner->exit, exit);
	held = mown_settle_all(owner);
	mown_owner_sum(owner, &sums);
	exit->allocated = sums.value[MOWN_ALLOCATED];
	exit->freed = sums.value[MOWN_FREED];
	exit->elsewhere = sums.value[MOWN_RELEASED_ELSEWHERE];
	exit->stale = sums.value[MOWN_STALE];
	exit->moved_in = sums.value[MOWN_TRANSFERRED_IN];
	exit->moved_out = sums.value[MOWN_TRANSFERRED_OUT];
	exit->disowned = sums.value[MOWN_DISOWNED];
	exit->untracked = atomic_long_read(&owner->untracked);
	mown_exit_tell(owner, exit);
	list_add_tail(&exit->list, &mown_exits);
	mown_exits_nr++;
	if (owner->detached)
		mown_exit_let_owner_go(exit);
	mown_exits_drop(READ_ONCE(mown_history_max));
	mown_exits_sweep();
	mutex_unlock(&mown_owners_lock);
	mown_release_held(held);
	mown_dma_end(mod);
}

/* No module can come or go any more. No owner is left after this. */
void mown_exits_exit(void)
{
	mown_exits_trim(0);
	irq_work_sync(&mown_exits_last_work);
	cancel_work_sync(&mown_exits_sweep_work);
}
