// SPDX-License-Identifier: GPL-2.0
/*
 * /sys/kernel/debug/mown: what is allocated, what went wrong, what was left
 *
 *	live violations exits stats attached
 *	NAME/{live,sites,since,stats}
 *
 * All of mode 0400 and read-only: under lockdown nothing else can be read.
 * Documentation/ABI/testing/debugfs-mown describes them.
 */
#include <linux/debugfs.h>
#include <linux/seq_file.h>

#include "attach.h"

static struct dentry *mown_dir;

/* ---- live ---- */

/**
 * struct mown_live - where a reader of live stands
 * @only: the one owner whose file it is, or NULL for all; a reference
 * @owner: the owner at hand; a reference, too
 * @cursor: behind @copies
 * @copies: taken from the owner under one lock at a time
 * @nr: how many
 * @at: the one at hand
 * @pos: its position in the file
 * @valid: there is one at hand
 * @site: the call site that @name is of, or 0; while a read goes on
 * @name: what it is called
 */
struct mown_live {
	struct mown_owner *only;
	struct mown_owner *owner;
	struct mown_cursor cursor;
	struct mown_copy copies[MOWN_COPIES];
	unsigned int nr;
	unsigned int at;
	loff_t pos;
	bool valid;
	unsigned long site;
	char name[MOWN_SYMBOL_LEN];
};

static void mown_live_next_owner(struct mown_live *live)
{
	if (!live->only) {
		live->owner = mown_owner_next(live->owner);
	} else if (live->owner) {
		mown_owner_put(live->owner);
		live->owner = NULL;
	} else {
		live->owner = live->only;
		refcount_inc(&live->owner->refs);
	}
	live->cursor = (struct mown_cursor) {};
	live->site = 0;
}

static void mown_live_rewind(struct mown_live *live)
{
	if (live->owner)
		mown_owner_put(live->owner);
	live->owner = NULL;
	mown_live_next_owner(live);
	live->nr = 0;
	live->at = 0;
	live->pos = 0;
	live->valid = false;
}

/* To the next live record of this owner or of a later one. */
static void mown_live_advance(struct mown_live *live)
{
	live->pos++;
	live->at++;
	for (;;) {
		while (live->at < live->nr && !live->copies[live->at].live)
			live->at++;
		live->valid = live->at < live->nr;
		if (live->valid || !live->owner)
			return;
		cond_resched();
		live->nr = mown_owner_copy(live->owner, &live->cursor,
					   live->copies, MOWN_COPIES);
		live->at = 0;
		if (!live->nr)
			mown_live_next_owner(live);
	}
}

static void *mown_live_start(struct seq_file *m, loff_t *pos)
{
	struct mown_live *live = m->private;

	/* What a site is called changes when its module goes. */
	live->site = 0;
	if (!*pos)
		return SEQ_START_TOKEN;
	if (*pos != live->pos) {
		mown_live_rewind(live);
		do {
			mown_live_advance(live);
		} while (live->valid && live->pos < *pos);
	}
	return live->valid ? live : NULL;
}

static void *mown_live_next(struct seq_file *m, void *v, loff_t *pos)
{
	struct mown_live *live = m->private;

	if (v == SEQ_START_TOKEN)
		mown_live_rewind(live);
	++*pos;
	mown_live_advance(live);
	return live->valid ? live : NULL;
}

static void mown_live_stop(struct seq_file *m, void *v)
{
}

static int mown_live_show(struct seq_file *m, void *v)
{
	struct mown_live *live = m->private;
	const struct mown_copy *copy = &live->copies[live->at];

	if (v == SEQ_START_TOKEN) {
		seq_puts(m, "mown live 1: module address size family age_ms pid cpu site\n");
		return 0;
	}
	/* A symbol takes longer than all the rest. */
	if (copy->site != live->site) {
		mown_symbol(live->owner, copy->site, live->name,
			    sizeof(live->name));
		live->site = copy->site;
	}
	seq_printf(m, "%s%s %px %zu %s %llu %u %u %s\n", live->owner->name,
		   READ_ONCE(live->owner->exit) ? "(gone)" : "",
		   (void *)copy->addr, copy->size,
		   mown_families[copy->family].name,
		   mown_age_ms(copy->when), copy->pid, copy->cpu, live->name);
	return 0;
}

static const struct seq_operations mown_live_ops = {
	.start = mown_live_start,
	.next = mown_live_next,
	.stop = mown_live_stop,
	.show = mown_live_show,
};

static int mown_live_open(struct inode *inode, struct file *file)
{
	struct mown_live *live;

	live = __seq_open_private(file, &mown_live_ops, sizeof(*live));
	if (!live)
		return -ENOMEM;
	live->only = inode->i_private;
	if (live->only)
		refcount_inc(&live->only->refs);
	return 0;
}

static int mown_live_release(struct inode *inode, struct file *file)
{
	struct mown_live *live = ((struct seq_file *)file->private_data)->private;

	if (live->owner)
		mown_owner_put(live->owner);
	if (live->only)
		mown_owner_put(live->only);
	return seq_release_private(inode, file);
}

static const struct file_operations mown_live_fops = {
	.owner = THIS_MODULE,
	.open = mown_live_open,
	.read = seq_read,
	.llseek = seq_lseek,
	.release = mown_live_release,
};

/* ---- the rest: shown at once ---- */

static int mown_sites_print(struct seq_file *m, enum mown_sites_of what,
			    const char *header)
{
	struct mown_owner *owner = m->private;
	struct mown_sites sites = {};
	char name[MOWN_SYMBOL_LEN];
	unsigned int i;
	int ret;

	ret = mown_sites_collect(owner, what, NULL, &sites);
	if (!ret) {
		mown_sites_sort_by_bytes(&sites);
		seq_printf(m, "%s: count bytes family site\n", header);
	}
	for (i = 0; !ret && i < sites.nr; i++) {
		const struct mown_site *site = &sites.site[i];

		mown_symbol(owner, site->ip, name, sizeof(name));
		seq_printf(m, "%lu %lu %s %s\n", site->count, site->bytes,
			   mown_site_family(site->family), name);
	}
	mown_sites_free(&sites);
	return ret;
}

static int mown_sites_show(struct seq_file *m, void *v)
{
	return mown_sites_print(m, MOWN_SITES_LIVE, "mown sites 1");
}
DEFINE_SHOW_ATTRIBUTE(mown_sites);

static int mown_since_show(struct seq_file *m, void *v)
{
	return mown_sites_print(m, MOWN_SITES_SINCE, "mown since 1");
}
DEFINE_SHOW_ATTRIBUTE(mown_since);

static int mown_owner_stats_show(struct seq_file *m, void *v)
{
	struct mown_owner *owner = m->private;
	struct mown_sums sums;
	int i;

	mown_owner_sum(owner, &sums);
	seq_puts(m, "mown stats 1\n");
	seq_printf(m, "blind %u 1: the net was incomplete when the module came, so nothing waits in quarantine and nothing is reclaimed\n",
		   owner->blind);
	for (i = 0; i < MOWN_NR_COUNTS; i++)
		seq_printf(m, "%s %lu %s\n", mown_count_names[i],
			   sums.value[i], mown_count_help[i]);
	return 0;
}
DEFINE_SHOW_ATTRIBUTE(mown_owner_stats);

static int mown_stats_show(struct seq_file *m, void *v)
{
	unsigned long owners = 0, bytes = 0, records = 0, quarantined = 0;
	struct mown_owner *owner = NULL;
	struct mown_sums sums;

	while ((owner = mown_owner_next(owner))) {
		mown_owner_sum(owner, &sums);
		owners++;
		bytes += sizeof(*owner) + mown_quarantine_overhead(owner);
		records += sums.records;
		quarantined += sums.value[MOWN_QUARANTINED_BYTES];
	}
	seq_puts(m, "mown stats 1\n");
	mown_net_show(m);
	mown_hooks_show(m);
	seq_printf(m, "owners %lu modules under mown, those gone with orphans too\n",
		   owners);
	seq_printf(m, "owners_bytes %lu memory that they take themselves\n",
		   bytes);
	seq_printf(m, "records %lu objects recorded now, released ones too\n",
		   records);
	seq_printf(m, "records_bytes %lu memory that the records take, at least: those of what belongs to a cache, a pool or a device take more\n",
		   records * sizeof(struct mown_record));
	seq_printf(m, "quarantine_bytes %lu memory of released objects not given back yet\n",
		   quarantined);
	seq_printf(m, "history_bytes %lu memory that the kept reports and accounts take\n",
		   mown_report_bytes() + mown_exits_bytes());
	seq_printf(m, "reports_lost %ld violations counted but not told, as too many came at once\n",
		   atomic_long_read(&mown_reports_lost));
	seq_printf(m, "untracked_ownerless %ld objects of modules for which there was no memory for an owner, or whose account had been drawn up already\n",
		   atomic_long_read(&mown_untracked_ownerless));
	return 0;
}
DEFINE_SHOW_ATTRIBUTE(mown_stats);

static int mown_violations_show(struct seq_file *m, void *v)
{
	return mown_report_show(m);
}
DEFINE_SHOW_ATTRIBUTE(mown_violations);

static int mown_attached_show(struct seq_file *m, void *v)
{
	return mown_attach_show(m);
}
DEFINE_SHOW_ATTRIBUTE(mown_attached);

static int mown_exits_file_show(struct seq_file *m, void *v)
{
	return mown_exits_show(m);
}
DEFINE_SHOW_ATTRIBUTE(mown_exits_file);

void mown_debugfs_add(struct mown_owner *owner)
{
	struct dentry *dir = debugfs_create_dir(owner->name, mown_dir);

	debugfs_create_file("live", 0400, dir, owner, &mown_live_fops);
	debugfs_create_file("sites", 0400, dir, owner, &mown_sites_fops);
	debugfs_create_file("since", 0400, dir, owner, &mown_since_fops);
	debugfs_create_file("stats", 0400, dir, owner, &mown_owner_stats_fops);
	owner->debugfs = dir;
}

/* Waits for readers, so not with a lock that one may want. */
void mown_debugfs_remove(struct mown_owner *owner)
{
	debugfs_remove(owner->debugfs);
	owner->debugfs = NULL;
}

void mown_debugfs_init(void)
{
	mown_dir = debugfs_create_dir("mown", NULL);
	debugfs_create_file("live", 0400, mown_dir, NULL, &mown_live_fops);
	debugfs_create_file("violations", 0400, mown_dir, NULL,
			    &mown_violations_fops);
	debugfs_create_file("exits", 0400, mown_dir, NULL,
			    &mown_exits_file_fops);
	debugfs_create_file("attached", 0400, mown_dir, NULL,
			    &mown_attached_fops);
	debugfs_create_file("stats", 0400, mown_dir, NULL, &mown_stats_fops);
}

void mown_debugfs_exit(void)
{
	debugfs_remove(mown_dir);
}
