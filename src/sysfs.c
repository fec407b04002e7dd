// SPDX-License-Identifier: GPL-2.0
/*
 * /sys/kernel/mown: the knobs, and each owner's counters
 *
 *	version
 *	policy/{double_free,unknown_free,interior_free,left_behind}
 *	stack_depth
 *	quarantine_bytes
 *	modules/NAME/{allocated,freed,live,...}
 *
 * Documentation/ABI/testing/sysfs-kernel-mown describes them.
 */
#include <linux/capability.h>
#include <linux/kobject.h>
#include <linux/mm.h>
#include <linux/slab.h>
#include <linux/sysfs.h>

#include "mown.h"

static struct kobject *mown_kobj;
static struct kobject *mown_modules_kobj;

/*
 * The mode alone is not authority: root may have no capability. And a value is
 * the whole of what was written, or a value with a NUL in it would pass.
 */
static int mown_may_store(const char *buf, size_t count)
{
	if (!capable(CAP_SYS_ADMIN))
		return -EPERM;
	return strlen(buf) == count ? 0 : -EINVAL;
}

static ssize_t version_show(struct kobject *kobj, struct kobj_attribute *attr,
			    char *buf)
{
	return sysfs_emit(buf, "%s\n", MOWN_VERSION);
}

static struct kobj_attribute mown_version_attr = __ATTR_RO(version);

static ssize_t stack_depth_show(struct kobject *kobj,
				struct kobj_attribute *attr, char *buf)
{
	return sysfs_emit(buf, "%u\n", READ_ONCE(mown_stack_depth));
}

static ssize_t stack_depth_store(struct kobject *kobj,
				 struct kobj_attribute *attr, const char *buf,
				 size_t count)
{
	unsigned int depth;
	int ret;

	ret = mown_may_store(buf, count);
	if (!ret)
		ret = kstrtouint(buf, 0, &depth);
	if (!ret)
		ret = mown_stack_set_depth(depth);
	return ret ?: count;
}

static struct kobj_attribute mown_stack_depth_attr = __ATTR_RW(stack_depth);

static ssize_t quarantine_bytes_show(struct kobject *kobj,
				     struct kobj_attribute *attr, char *buf)
{
	return sysfs_emit(buf, "%lu\n", READ_ONCE(mown_quarantine_bytes));
}

static ssize_t quarantine_bytes_store(struct kobject *kobj,
				      struct kobj_attribute *attr,
				      const char *buf, size_t count)
{
	struct mown_owner *owner = NULL;
	unsigned long bytes;
	int ret;

	ret = mown_may_store(buf, count);
	if (!ret)
		ret = kstrtoul(buf, 0, &bytes);
	if (!ret && bytes >> PAGE_SHIFT > totalram_pages())
		ret = -ERANGE;
	if (ret)
		return ret;
	WRITE_ONCE(mown_quarantine_bytes, bytes);
	/* Whoever goes by the old number has put its object there after this. */
	synchronize_rcu();
	while ((owner = mown_owner_next(owner)))
		mown_quarantine_trim(owner, bytes);
	return count;
}

static struct kobj_attribute mown_quarantine_bytes_attr =
	__ATTR_RW(quarantine_bytes);

static struct attribute *mown_attrs[] = {
	&mown_version_attr.attr,
	&mown_stack_depth_attr.attr,
	&mown_quarantine_bytes_attr.attr,
	NULL,
};

static const struct attribute_group mown_group = {
	.attrs = mown_attrs,
};

/* ---- policy/ ---- */

static struct kobj_attribute mown_policy_attrs[MOWN_NR_VIOLATIONS];
static struct attribute *mown_policy_list[MOWN_NR_VIOLATIONS + 1];

static const struct attribute_group mown_policy_group = {
	.name = "policy",
	.attrs = mown_policy_list,
};

static ssize_t mown_policy_attr_show(struct kobject *kobj,
				     struct kobj_attribute *attr, char *buf)
{
	return mown_policy_show(attr - mown_policy_attrs, buf);
}

static ssize_t mown_policy_attr_store(struct kobject *kobj,
				      struct kobj_attribute *attr,
				      const char *buf, size_t count)
{
	int ret = mown_may_store(buf, count);

	if (!ret)
		ret = mown_policy_set(attr - mown_policy_attrs, buf);
	return ret ?: count;
}

static void mown_policy_attrs_init(void)
{
	int i;

	for (i = 0; i < MOWN_NR_VIOLATIONS; i++) {
		struct kobj_attribute *attr = &mown_policy_attrs[i];

		sysfs_attr_init(&attr->attr);
		attr->attr.name = mown_violation_names[i];
		attr->attr.mode = 0644;
		attr->show = mown_policy_attr_show;
		attr->store = mown_policy_attr_store;
		mown_policy_list[i] = &attr->attr;
	}
}

/* ---- modules/NAME/ ---- */

/**
 * struct mown_owner_dir - an owner's directory
 * @kobj: the directory
 * @owner: stays until the directory is removed, which waits for readers
 */
struct mown_owner_dir {
	struct kobject kobj;
	struct mown_owner *owner;
};

static struct attribute mown_count_attrs[MOWN_NR_COUNTS];
static struct attribute *mown_count_attr_list[MOWN_NR_COUNTS + 1];

static const struct attribute_group mown_count_group = {
	.attrs = mown_count_attr_list,
};

__ATTRIBUTE_GROUPS(mown_count);

static void mown_count_attrs_init(void)
{
	int i;

	for (i = 0; i < MOWN_NR_COUNTS; i++) {
		sysfs_attr_init(&mown_count_attrs[i]);
		mown_count_attrs[i].name = mown_count_names[i];
		mown_count_attrs[i].mode = 0400;
		mown_count_attr_list[i] = &mown_count_attrs[i];
	}
}

static ssize_t mown_count_show(struct kobject *kobj, struct attribute *attr,
			       char *buf)
{
	struct mown_owner_dir *dir = container_of(kobj, struct mown_owner_dir,
						  kobj);
	struct mown_sums sums;

	mown_owner_sum(dir->owner, &sums);
	return sysfs_emit(buf, "%lu\n", sums.value[attr - mown_count_attrs]);
}

static const struct sysfs_ops mown_count_ops = {
	.show = mown_count_show,
};

static void mown_owner_dir_release(struct kobject *kobj)
{
	kfree(container_of(kobj, struct mown_owner_dir, kobj));
}

static const struct kobj_type mown_owner_dir_type = {
	.release = mown_owner_dir_release,
	.sysfs_ops = &mown_count_ops,
	.default_groups = mown_count_groups,
};

/* An owner whose directory cannot be made goes without. */
void mown_sysfs_add(struct mown_owner *owner)
{
	struct mown_owner_dir *dir = kzalloc(sizeof(*dir), GFP_KERNEL);

	if (!dir)
		return;
	dir->owner = owner;
	if (kobject_init_and_add(&dir->kobj, &mown_owner_dir_type,
				 mown_modules_kobj, "%s", owner->name))
		kobject_put(&dir->kobj);
	else
		owner->sysfs = dir;
}

/* Waits for readers, so not with a lock that one may want. */
void mown_sysfs_remove(struct mown_owner *owner)
{
	struct mown_owner_dir *dir = owner->sysfs;

	owner->sysfs = NULL;
	if (!dir)
		return;
	kobject_del(&dir->kobj);
	kobject_put(&dir->kobj);
}

int mown_sysfs_init(void)
{
	int ret = -ENOMEM;

	mown_policy_attrs_init();
	mown_count_attrs_init();
	mown_kobj = kobject_create_and_add("mown", kernel_kobj);
	if (!mown_kobj)
		return ret;
	mown_modules_kobj = kobject_create_and_add("modules", mown_kobj);
	if (!mown_modules_kobj)
		goto put_mown;
	ret = sysfs_create_group(mown_kobj, &mown_policy_group);
	if (ret)
		goto put_modules;
	ret = sysfs_create_group(mown_kobj, &mown_group);
	if (ret)
		goto put_modules;
	return 0;

put_modules:
	kobject_put(mown_modules_kobj);
put_mown:
	kobject_put(mown_kobj);
	return ret;
}

void mown_sysfs_exit(void)
{
	sysfs_remove_group(mown_kobj, &mown_group);
	sysfs_remove_group(mown_kobj, &mown_policy_group);
	kobject_put(mown_modules_kobj);
	kobject_put(mown_kobj);
}
