// SPDX-License-Identifier: GPL-2.0
/*
 * panic_on_warn: is the kernel to panic when it warns?
 *
 * The variable is not exported to modules, but can be read where the user does,
 * as a parameter of the kernel's: /sys/module/kernel/parameters/panic_on_warn.
 */
#include <linux/kernfs.h>
#include <linux/kobject.h>
#include <linux/module.h>
#include <linux/panic.h>
#include <linux/slab.h>
#include <linux/sysfs.h>

#include "mown.h"

#ifdef MODULE

static struct kobject *mown_kernel_kobj;
static struct attribute *mown_warn_attr;

/* May sleep. */
bool mown_panic_on_warn(void)
{
	const struct sysfs_ops *ops;
	bool set = false;
	char *buf;

	if (!mown_warn_attr)
		return false;
	buf = (char *)get_zeroed_page(GFP_KERNEL);
	if (!buf)
		return false;
	ops = mown_kernel_kobj->ktype->sysfs_ops;
	if (ops->show(mown_kernel_kobj, mown_warn_attr, buf) > 0)
		set = strcmp(buf, "0\n");
	free_page((unsigned long)buf);
	return set;
}

void mown_warn_init(void)
{
	struct kernfs_node *dir, *file = NULL;

	mown_kernel_kobj = kset_find_obj(THIS_MODULE->mkobj.kobj.kset,
					 "kernel");
	if (!mown_kernel_kobj)
		return;
	dir = kernfs_find_and_get(mown_kernel_kobj->sd, "parameters");
	if (dir)
		file = kernfs_find_and_get(dir, "panic_on_warn");
	/* The kernel's own parameters do not go. */
	if (file)
		mown_warn_attr = file->priv;
	kernfs_put(file);
	kernfs_put(dir);
}

void mown_warn_exit(void)
{
	kobject_put(mown_kernel_kobj);
}

#else

bool mown_panic_on_warn(void)
{
	return panic_on_warn;
}

void mown_warn_init(void) {}
void mown_warn_exit(void) {}

#endif
