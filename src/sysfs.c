// SPDX-License-Identifier: GPL-2.0
/*
 * /sys/kernel/mown: the knobs, and each owner's counters
 *
 *	version
 *	policy/{double_free,unknown_free,interior_free,...}
 *	stack_depth quarantine_bytes history clear fail_nth attach detach
 *	modules/NAME/policy/{double_free,...}
 *	modules/NAME/{stack_depth,quarantine_bytes}
 *	modules/NAME/{limit_bytes,fail_nth,checkpoint}
 *	modules/NAME/{allocated,freed,live,...}
 *
 * A knob is one thing, whether it is for all or for one owner. What an owner has
 * not been told otherwise it inherits.
 *
 * Documentation/ABI/testing/sysfs-kernel-mown describes them.
 */
#include <linux/capability.h>
#include <linux/completion.h>
#include <linux/kobject.h>
#include <linux/mm.h>
#include <linux/refcount.h>
#include <linux/slab.h>
#include <linux/sysfs.h>

#include "attach.h"

/* How many reports and accounts may be kept at most. */
#define MOWN_HISTORY_LIMIT 4096

/**
 * struct mown_dir - a directory of knobs
 * @kobj: the directory
 * @owner: whose knobs they are, NULL for all; stays until the directory is
 *	   removed, which waits for readers
 */
struct mown_dir {
	struct kobject kobj;
	struct mown_owner *owner;
};

/**
 * struct mown_knob - a file of such a directory
 * @attr: its name and mode
 * @nr: which policy, or which counter
 * @show: prints the value for the owner, or for all if NULL
 * @store: takes a value, or returns an error and changes nothing
 */
struct mown_knob {
	struct attribute attr;
	unsigned int nr;
	ssize_t (*show)(struct mown_owner *owner, unsigned int nr, char *buf);
	int (*store)(struct mown_owner *owner, unsigned int nr,
		     const char *buf);
};

static struct mown_dir *mown_root;
static struct kobject *mown_modules_kobj;

/*
 * Directories that are there, and one for mown: the last release, which is code of ours,
 * may come long after the last reference has gone (CONFIG_DEBUG_KOBJECT_RELEASE).
 */
static refcount_t mown_dirs = REFCOUNT_INIT(1);
static DECLARE_COMPLETION(mown_dirs_released);

static ssize_t mown_knob_show(struct kobject *kobj, struct attribute *attr,
			      char *buf)
{
	struct mown_knob *knob = container_of(attr, struct mown_knob, attr);
	struct mown_dir *dir = container_of(kobj, struct mown_dir, kobj);

	return knob->show ? knob->show(dir->owner, knob->nr, buf) : -EIO;
}

/*
 * The mode alone is not authority: root may have no capability. And a value is
 * the whole of what was written, or a value with a NUL in it would pass.
 */
static ssize_t mown_knob_store(struct kobject *kobj, struct attribute *attr,
			       const char *buf, size_t count)
{
	struct mown_knob *knob = container_of(attr, struct mown_knob, attr);
	struct mown_dir *dir = container_of(kobj, struct mown_dir, kobj);

	if (!knob->store)
		return -EIO;
	if (!capable(CAP_SYS_ADMIN))
		return -EPERM;
	if (strlen(buf) != count)
		return -EINVAL;
	return knob->store(dir->owner, knob->nr, buf) ?: count;
}

static const struct sysfs_ops mown_knob_ops = {
	.show = mown_knob_show,
	.store = mown_knob_store,
};

static void mown_dirs_put(void)
{
	if (refcount_dec_and_test(&mown_dirs))
		complete(&mown_dirs_released);
}

static void mown_dir_release(struct kobject *kobj)
{
	kfree(container_of(kobj, struct mown_dir, kobj));
	mown_dirs_put();
}

#define MOWN_KNOB(_name, _mode, _show, _store)				\
static struct mown_knob mown_knob_##_name = {				\
	.attr = { .name = #_name, .mode = _mode },			\
	.show = _show,							\
	.store = _store,						\
}

static bool mown_inherits(struct mown_owner *owner, const char *buf)
{
	return owner && sysfs_streq(buf, "inherit");
}

/* ---- policy/ ---- */

static struct mown_knob mown_policy_knobs[MOWN_NR_VIOLATIONS];
static struct attribute *mown_policy_attrs[MOWN_NR_VIOLATIONS + 1];

static const struct attribute_group mown_policy_group = {
	.name = "policy",
	.attrs = mown_policy_attrs,
};

static ssize_t mown_policy_knob_show(struct mown_owner *owner, unsigned int nr,
				     char *buf)
{
	return mown_policy_show(owner, nr, buf);
}

static int mown_policy_knob_store(struct mown_owner *owner, unsigned int nr,
				  const char *buf)
{
	return mown_policy_set(owner, nr, buf);
}

/* ---- For all, and for an owner ---- */

static ssize_t stack_depth_show(struct mown_owner *owner, unsigned int nr,
				char *buf)
{
	int depth = READ_ONCE(*(owner ? &owner->stack_depth :
					&mown_stack_depth));

	if (depth == MOWN_STACK_INHERIT)
		return sysfs_emit(buf, "inherit\n");
	return sysfs_emit(buf, "%d\n", depth);
}

static int stack_depth_store(struct mown_owner *owner, unsigned int nr,
			     const char *buf)
{
	unsigned int depth;
	int ret;

	if (mown_inherits(owner, buf))
		return mown_stack_set_depth(owner, MOWN_STACK_INHERIT);
	ret = kstrtouint(buf, 0, &depth);
	if (!ret && depth > MOWN_STACK_MAX)
		ret = -ERANGE;
	return ret ?: mown_stack_set_depth(owner, depth);
}

MOWN_KNOB(stack_depth, 0644, stack_depth_show, stack_depth_store);

static ssize_t quarantine_bytes_show(struct mown_owner *owner, unsigned int nr,
				     char *buf)
{
	unsigned long bytes = READ_ONCE(*(owner ? &owner->quarantine_bytes :
						  &mown_quarantine_bytes));

	if (owner && bytes == MOWN_QUARANTINE_INHERIT)
		return sysfs_emit(buf, "inherit\n");
	return sysfs_emit(buf, "%lu\n", bytes);
}

static int quarantine_bytes_store(struct mown_owner *owner, unsigned int nr,
				  const char *buf)
{
	unsigned long bytes = MOWN_QUARANTINE_INHERIT;
	int ret;

	if (!mown_inherits(owner, buf)) {
		ret = kstrtoul(buf, 0, &bytes);
		if (!ret && bytes >> PAGE_SHIFT > totalram_pages())
			ret = -ERANGE;
		if (ret)
			return ret;
	}
	mown_quarantine_set(owner, bytes);
	return 0;
}

MOWN_KNOB(quarantine_bytes, 0644, quarantine_bytes_show,
	  quarantine_bytes_store);

static ssize_t fail_nth_show(struct mown_owner *owner, unsigned int nr,
			     char *buf)
{
	return owner ? sysfs_emit(buf, "%lu\n", mown_fail_get(owner)) :
		       mown_fail_show(buf);
}

static int fail_nth_store(struct mown_owner *owner, unsigned int nr,
			  const char *buf)
{
	unsigned long nth;

	if (!owner)
		return mown_fail_write(buf);
	return kstrtoul(buf, 0, &nth) ?: mown_fail_set(owner, nth);
}

MOWN_KNOB(fail_nth, 0644, fail_nth_show, fail_nth_store);

/* ---- For all ---- */

static ssize_t version_show(struct mown_owner *owner, unsigned int nr,
			    char *buf)
{
	return sysfs_emit(buf, "%s\n", MOWN_VERSION);
}

MOWN_KNOB(version, 0444, version_show, NULL);

static ssize_t history_show(struct mown_owner *owner, unsigned int nr,
			    char *buf)
{
	return sysfs_emit(buf, "%u\n", READ_ONCE(mown_history_max));
}

static int history_store(struct mown_owner *owner, unsigned int nr,
			 const char *buf)
{
	unsigned int max;
	int ret;

	ret = kstrtouint(buf, 0, &max);
	if (!ret && max > MOWN_HISTORY_LIMIT)
		ret = -ERANGE;
	if (ret)
		return ret;
	WRITE_ONCE(mown_history_max, max);
	mown_reports_trim(max);
	mown_exits_trim(max);
	return 0;
}

MOWN_KNOB(history, 0644, history_show, history_store);

static int clear_store(struct mown_owner *owner, unsigned int nr,
		       const char *buf)
{
	if (!sysfs_streq(buf, "1"))
		return -EINVAL;
	mown_report_flush();
	mown_reports_trim(0);
	mown_exits_trim(0);
	return 0;
}

MOWN_KNOB(clear, 0200, NULL, clear_store);

static int attach_store(struct mown_owner *owner, unsigned int nr,
			const char *buf)
{
	return mown_attach(buf);
}

MOWN_KNOB(attach, 0200, NULL, attach_store);

static int detach_store(struct mown_owner *owner, unsigned int nr,
			const char *buf)
{
	return mown_detach(buf);
}

MOWN_KNOB(detach, 0200, NULL, detach_store);

static struct attribute *mown_root_attrs[] = {
	&mown_knob_version.attr,
	&mown_knob_stack_depth.attr,
	&mown_knob_quarantine_bytes.attr,
	&mown_knob_history.attr,
	&mown_knob_clear.attr,
	&mown_knob_fail_nth.attr,
	&mown_knob_attach.attr,
	&mown_knob_detach.attr,
	NULL,
};

static const struct attribute_group mown_root_group = {
	.attrs = mown_root_attrs,
};

static const struct attribute_group *mown_root_groups[] = {
	&mown_root_group,
	&mown_policy_group,
	NULL,
};

static const struct kobj_type mown_root_type = {
	.release = mown_dir_release,
	.sysfs_ops = &mown_knob_ops,
	.default_groups = mown_root_groups,
};

/* ---- For an owner ---- */

static ssize_t limit_bytes_show(struct mown_owner *owner, unsigned int nr,
				char *buf)
{
	return sysfs_emit(buf, "%lu\n", READ_ONCE(owner->limit_bytes));
}

static int limit_bytes_store(struct mown_owner *owner, unsigned int nr,
			     const char *buf)
{
	unsigned long bytes;
	int ret;

	ret = kstrtoul(buf, 0, &bytes);
	if (!ret && bytes > LONG_MAX)
		ret = -ERANGE;
	if (!ret)
		mown_limit_set(owner, bytes);
	return ret;
}

MOWN_KNOB(limit_bytes, 0644, limit_bytes_show, limit_bytes_store);

static int checkpoint_store(struct mown_owner *owner, unsigned int nr,
			    const char *buf)
{
	if (!sysfs_streq(buf, "mark"))
		return -EINVAL;
	mown_owner_mark(owner);
	return 0;
}

MOWN_KNOB(checkpoint, 0200, NULL, checkpoint_store);

static struct mown_knob mown_count_knobs[MOWN_NR_COUNTS];
static struct attribute *mown_count_attrs[MOWN_NR_COUNTS + 1];

static const struct attribute_group mown_count_group = {
	.attrs = mown_count_attrs,
};

static ssize_t mown_count_show(struct mown_owner *owner, unsigned int nr,
			       char *buf)
{
	struct mown_sums sums;

	mown_owner_sum(owner, &sums);
	return sysfs_emit(buf, "%lu\n", sums.value[nr]);
}

static struct attribute *mown_owner_attrs[] = {
	&mown_knob_stack_depth.attr,
	&mown_knob_quarantine_bytes.attr,
	&mown_knob_fail_nth.attr,
	&mown_knob_limit_bytes.attr,
	&mown_knob_checkpoint.attr,
	NULL,
};

static const struct attribute_group mown_owner_group = {
	.attrs = mown_owner_attrs,
};

static const struct attribute_group *mown_owner_groups[] = {
	&mown_owner_group,
	&mown_count_group,
	&mown_policy_group,
	NULL,
};

static const struct kobj_type mown_owner_type = {
	.release = mown_dir_release,
	.sysfs_ops = &mown_knob_ops,
	.default_groups = mown_owner_groups,
};

/* ---- Coming and going ---- */

static void mown_knobs_init(void)
{
	unsigned int i;

	for (i = 0; i < MOWN_NR_VIOLATIONS; i++) {
		mown_policy_knobs[i] = (struct mown_knob) {
			.attr = { .name = mown_violation_names[i],
				  .mode = 0644 },
			.nr = i,
			.show = mown_policy_knob_show,
			.store = mown_policy_knob_store,
		};
		mown_policy_attrs[i] = &mown_policy_knobs[i].attr;
	}
	for (i = 0; i < MOWN_NR_COUNTS; i++) {
		mown_count_knobs[i] = (struct mown_knob) {
			.attr = { .name = mown_count_names[i], .mode = 0400 },
			.nr = i,
			.show = mown_count_show,
		};
		mown_count_attrs[i] = &mown_count_knobs[i].attr;
	}
}

static struct mown_dir *mown_dir_new(struct kobject *parent, const char *name,
				     struct mown_owner *owner)
{
	struct mown_dir *dir = kzalloc(sizeof(*dir), GFP_KERNEL);

	if (!dir)
		return NULL;
	dir->owner = owner;
	refcount_inc(&mown_dirs);
	if (kobject_init_and_add(&dir->kobj, owner ? &mown_owner_type :
						     &mown_root_type,
				 parent, "%s", name)) {
		kobject_put(&dir->kobj);
		return NULL;
	}
	return dir;
}

/* Waits for readers, so not with a lock that one may want. */
static void mown_dir_remove(struct mown_dir *dir)
{
	if (!dir)
		return;
	kobject_del(&dir->kobj);
	kobject_put(&dir->kobj);
}

/* An owner whose directory cannot be made goes without. */
void mown_sysfs_add(struct mown_owner *owner)
{
	owner->sysfs = mown_dir_new(mown_modules_kobj, owner->name, owner);
}

void mown_sysfs_remove(struct mown_owner *owner)
{
	mown_dir_remove(owner->sysfs);
	owner->sysfs = NULL;
}

void mown_sysfs_exit(void)
{
	kobject_put(mown_modules_kobj);
	mown_dir_remove(mown_root);
	mown_dirs_put();
	wait_for_completion(&mown_dirs_released);
}

int mown_sysfs_init(void)
{
	mown_knobs_init();
	mown_root = mown_dir_new(kernel_kobj, "mown", NULL);
	if (mown_root)
		mown_modules_kobj = kobject_create_and_add("modules",
							   &mown_root->kobj);
	if (mown_modules_kobj)
		return 0;
	mown_sysfs_exit();
	return -ENOMEM;
}
