// SPDX-License-Identifier: GPL-2.0
/*
 * Attach: modules that know nothing of mown, by their names
 *
 * A name stays until it is taken back: whenever a module of that name is
 * loaded it is an owner, as one that links to mown is. The hooks are on as
 * long as there is a name, or a module that had one.
 */
#include <linux/kobject.h>
#include <linux/list.h>
#include <linux/moduleparam.h>
#include <linux/security.h>
#include <linux/slab.h>
#include <linux/string.h>
#include <linux/sysfs.h>

#include "attach.h"

/* See attach.h. */
DEFINE_MUTEX(mown_attach_lock);

/* Every module that is loaded from now on. */
#define MOWN_EVERY "*"

/**
 * struct mown_name - a name that was attached
 * @list: in mown_names
 * @name: it, as modules have it: with `_', not `-'
 */
struct mown_name {
	struct list_head list;
	char name[MODULE_NAME_LEN];
};

/* Under mown_attach_lock, as all of this. */
static LIST_HEAD(mown_names);
static bool mown_attach_closed = true;

static char *mown_attach_param;
module_param_named(attach, mown_attach_param, charp, 0400);
MODULE_PARM_DESC(attach, "names of modules to attach, separated by commas");

static struct mown_name *mown_name_find(const char *name)
{
	struct mown_name *at;

	list_for_each_entry(at, &mown_names, list)
		if (!strcmp(at->name, name))
			return at;
	return NULL;
}

/* Was this very name attached? */
bool mown_attach_has(const char *name)
{
	lockdep_assert_held(&mown_attach_lock);
	return mown_name_find(name);
}

/* Is a module of this name to be attached when it comes? */
bool mown_attach_wants(const char *name)
{
	lockdep_assert_held(&mown_attach_lock);
	return mown_name_find(name) || mown_name_find(MOWN_EVERY);
}

/*
 * An attached owner, of the name if there is one, whose module has not begun to
 * go, or has not gone if @going. NULL if there is none.
 */
static struct mown_owner *mown_attached(const char *name, bool going)
{
	struct mown_owner *owner, *found = NULL;

	mutex_lock(&mown_owners_lock);
	list_for_each_entry(owner, &mown_owners, list)
		if (owner->attached && (going ? !owner->exit : !owner->ending) &&
		    (!name || !strcmp(owner->name, name)))
			found = owner;
	mutex_unlock(&mown_owners_lock);
	return found;
}

/* When there is no name, nor a module that had one, the hooks go. */
void mown_attach_update(void)
{
	lockdep_assert_held(&mown_attach_lock);
	if (!list_empty(&mown_names) || mown_attached(NULL, true))
		return;
	/* Nor is what they left behind seen to be freed from here on. */
	mown_exits_detach(NULL, mown_attach_has);
	mown_hooks_unregister();
	mown_net_hurry();
}

/* A name that a newline may end; -EINVAL if no module to attach can be called so. */
static int mown_name_copy(char *to, const char *buf)
{
	size_t len = strcspn(buf, "\n");
	int ret;

	if (buf[len] && buf[len + 1])
		return -EINVAL;
	if (sysfs_streq(buf, MOWN_EVERY)) {
		strscpy(to, MOWN_EVERY, MODULE_NAME_LEN);
		return 0;
	}
	ret = mown_name_parse(to, buf, len);
	if (!ret && !strcmp(to, KBUILD_MODNAME))
		ret = -EINVAL;
	return ret;
}

#ifdef MODULE

/*
 * The module that has a directory of this name in /sys/module, with a reference
 * on that, which keeps the module in memory. -ENODEV if there is none,
 * -EOPNOTSUPP if it is built into the kernel.
 */
static int mown_module_get(const char *name, struct module **mod)
{
	struct kobject *kobj = kset_find_obj(THIS_MODULE->mkobj.kobj.kset,
					     name);

	if (!kobj)
		return -ENODEV;
	*mod = container_of(kobj, struct module_kobject, kobj)->mod;
	if (*mod)
		return 0;
	kobject_put(kobj);
	return -EOPNOTSUPP;
}

static void mown_module_put(struct module *mod)
{
	kobject_put(&mod->mkobj.kobj);
}

#else

static int mown_module_get(const char *name, struct module **mod)
{
	return -EOPNOTSUPP;
}

static void mown_module_put(struct module *mod) {}

#endif

/*
 * Attach the module of this name if it is loaded. One that is just coming or
 * going is left to the notifiers: a name is enough for them.
 */
static int mown_attach_loaded(const char *name)
{
	struct module *mod;
	int ret = mown_module_get(name, &mod);

	if (ret)
		return ret == -ENODEV ? 0 : ret;
	/*
	 * Live now, it is not freed before mown_module_going() has been here,
	 * which waits for the mutex that we have.
	 */
	if (READ_ONCE(mod->state) == MODULE_STATE_LIVE)
		ret = mown_module_attach(mod);
	mown_module_put(mod);
	return ret;
}

/* All that is to be hooked is, or will be when the net is spread. */
static int mown_attach_hook(void)
{
	bool free;
	int ret;

	/* What is left of the net of others may have come without. */
	mown_net_hurry();
	mutex_lock(&mown_owners_lock);
	mown_net_retry();
	free = mown_net_redirects();
	mutex_unlock(&mown_owners_lock);
	ret = free ? mown_hooks_register() : -EBUSY;
	/* For the trial the net was spread, if it was not before. */
	mutex_lock(&mown_owners_lock);
	if (!ret && !mown_net_redirects())
		ret = -EBUSY;
	mutex_unlock(&mown_owners_lock);
	return ret;
}

static int mown_attach_name(const char *name)
{
	struct mown_name *new;
	int ret;

	if (!MOWN_CAN_HOOK)
		return -EOPNOTSUPP;
	if (mown_attach_closed)
		return -ENODEV;
	if (mown_name_find(name))
		return -EEXIST;
	new = kzalloc(sizeof(*new), GFP_KERNEL);
	if (!new)
		return -ENOMEM;
	strscpy(new->name, name, sizeof(new->name));
	ret = mown_attach_hook();
	if (!ret)
		ret = strcmp(name, MOWN_EVERY) ? mown_attach_loaded(name) : 0;
	if (ret) {
		kfree(new);
		mown_attach_update();
		return ret;
	}
	list_add_tail(&new->list, &mown_names);
	return 0;
}

/**
 * mown_attach - put a module under mown by its name
 * @buf: the name, with `-' or `_'; a newline may end it. `*' is every module that
 *	 is loaded from now on.
 *
 * Context: Process, may sleep.
 * Return: 0; -EINVAL if no module can have the name, or it is mown's own,
 *	   -ENAMETOOLONG, -EEXIST if it is attached already or links to mown,
 *	   -EOPNOTSUPP if it is built in, or the kernel lets nothing be hooked,
 *	   -EBUSY if ftrace is switched off or others hold the functions, -EPERM
 *	   under lockdown, -ENOMEM, -ENODEV if ftrace has switched itself off, or mown
 *	   is going. Nothing has changed then.
 */
int mown_attach(const char *buf)
{
	char name[MODULE_NAME_LEN];
	int ret = mown_name_copy(name, buf);

	if (!ret)
		ret = security_locked_down(LOCKDOWN_KPROBES);
	if (ret)
		return ret;
	mutex_lock(&mown_attach_lock);
	ret = mown_attach_name(name);
	mutex_unlock(&mown_attach_lock);
	return ret;
}

static int mown_detach_name(const char *name)
{
	struct mown_owner *owner = mown_attached(name, false);
	struct mown_name *at = mown_name_find(name);

	if (!at && !owner)
		return -ENOENT;
	if (at) {
		list_del(&at->list);
		kfree(at);
	}
	if (owner)
		mown_module_detach(owner);
	mown_exits_detach(strcmp(name, MOWN_EVERY) ? name : NULL,
			  mown_attach_has);
	mown_attach_update();
	return 0;
}

/**
 * mown_detach - take a name back; what its module has, or left behind when it
 *		 was unloaded, is forgotten
 * @buf: the name, as for mown_attach(). `*' leaves those as they are that have
 *	 come by it.
 *
 * Context: Process, may sleep.
 * Return: 0; -EINVAL or -ENAMETOOLONG as mown_attach(), -ENOENT if it is not
 *	   attached.
 */
int mown_detach(const char *buf)
{
	char name[MODULE_NAME_LEN];
	int ret = mown_name_copy(name, buf);

	if (ret)
		return ret;
	mutex_lock(&mown_attach_lock);
	ret = mown_detach_name(name);
	mutex_unlock(&mown_attach_lock);
	return ret;
}

/* What the name leads to now. */
static const char *mown_attach_state(const char *name)
{
	struct mown_owner *owner;
	const char *state = "pending";

	mutex_lock(&mown_owners_lock);
	list_for_each_entry(owner, &mown_owners, list)
		if (owner->mod && !owner->exit && !strcmp(owner->name, name))
			state = !owner->attached ? "linked" :
				owner->ending ? "going" : "attached";
	mutex_unlock(&mown_owners_lock);
	return state;
}

int mown_attach_show(struct seq_file *m)
{
	struct mown_owner *owner;
	struct mown_name *at;

	seq_puts(m, "mown attached 1\n");
	mutex_lock(&mown_attach_lock);
	list_for_each_entry(at, &mown_names, list)
		seq_printf(m, "%s %s\n", at->name,
			   mown_attach_state(at->name));
	mutex_lock(&mown_owners_lock);
	list_for_each_entry(owner, &mown_owners, list)
		if (owner->attached && !owner->exit &&
		    !mown_name_find(owner->name))
			seq_printf(m, "%s %s\n", owner->name,
				   owner->ending ? "going" : "attached");
	mutex_unlock(&mown_owners_lock);
	mutex_unlock(&mown_attach_lock);
	return 0;
}

/* mown.attach= is done what can be done; the rest is said, and mown goes on. */
void __init mown_attach_init(void)
{
	char *name, *names, *rest;
	int ret;

	mown_hooks_init();
	mutex_lock(&mown_attach_lock);
	mown_attach_closed = false;
	mutex_unlock(&mown_attach_lock);
	names = kstrdup(mown_attach_param ?: "", GFP_KERNEL);
	rest = names;
	while ((name = strsep(&rest, ","))) {
		ret = *name ? mown_attach(name) : 0;
		if (ret)
			pr_warn("%s cannot be attached (%d)\n", name, ret);
	}
	kfree(names);
}

/* Nothing is attached after this, nor can be. */
void mown_attach_exit(void)
{
	struct mown_name *at, *next;
	struct mown_owner *owner;

	mutex_lock(&mown_attach_lock);
	mown_attach_closed = true;
	list_for_each_entry_safe(at, next, &mown_names, list)
		kfree(at);
	INIT_LIST_HEAD(&mown_names);
	while ((owner = mown_attached(NULL, false)))
		mown_module_detach(owner);
	mown_attach_update();
	mutex_unlock(&mown_attach_lock);
}
