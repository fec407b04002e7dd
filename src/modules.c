// SPDX-License-Identifier: GPL-2.0
/*
 * Modules that link to mown: each is an owner from before its first code until
 * after its last
 */
#include <linux/module.h>
#include <linux/notifier.h>

#include "compat.h"
#include "mown.h"

#ifdef MODULE

static bool mown_links_to_us(const struct module *mod)
{
	const struct module_use *use;

	/* Only the loader of @mod changes this, and that is who calls. */
	list_for_each_entry(use, &mod->target_list, target_list)
		if (use->target == THIS_MODULE)
			return true;
	return false;
}

#else

/* Built in, mown cannot tell who links to it. */
static bool mown_links_to_us(const struct module *mod)
{
	return true;
}

#endif

static struct mown_owner *mown_module_owner(const struct module *mod)
{
	struct mown_owner *owner;

	rcu_read_lock();
	owner = mown_owner_find(mod);
	rcu_read_unlock();
	/* It stays: only the callers of this end it, one module at a time. */
	return owner;
}

/* Without memory for an owner the module runs untracked. */
static void mown_module_coming(struct module *mod)
{
	struct mown_owner *owner;

	if (!mown_links_to_us(mod))
		return;
	owner = mown_owner_new(mod);
	if (!owner) {
		pr_warn("%s: no memory for an owner, it runs untracked\n",
			mod->name);
		return;
	}
	owner->text.start = (unsigned long)mown_module_text(mod)->base;
	owner->text.size = mown_module_text(mod)->size;
	owner->init.start = (unsigned long)mown_module_init_text(mod)->base;
	owner->init.size = mown_module_init_text(mod)->size;
	mutex_lock(&mown_owners_lock);
	owner->blind = !mown_net_spread();
	mown_owner_publish(owner);
	mutex_unlock(&mown_owners_lock);
	mown_sysfs_add(owner);
	mown_debugfs_add(owner);
}

static void mown_module_live(struct module *mod)
{
	struct mown_owner *owner = mown_module_owner(mod);

	if (!owner)
		return;
	mown_report_flush();
	mown_names_intern_elsewhere(owner);
	mown_quarantine_forget_sites(owner, &owner->init);
	mown_names_intern_init(owner);
}

/* After the module's exit function, or after its init has failed. */
static void mown_module_going(struct module *mod)
{
	struct mown_owner *owner = mown_module_owner(mod);

	if (!owner)
		return;
	mown_sysfs_remove(owner);
	mown_debugfs_remove(owner);
	mown_settle(owner);
	mutex_lock(&mown_owners_lock);
	mown_net_update();
	mutex_unlock(&mown_owners_lock);
}

static int mown_module_notify(struct notifier_block *nb, unsigned long state,
			      void *data)
{
	switch (state) {
	case MODULE_STATE_COMING:
		mown_module_coming(data);
		break;
	case MODULE_STATE_LIVE:
		mown_module_live(data);
		break;
	case MODULE_STATE_GOING:
		mown_module_going(data);
		break;
	}
	return NOTIFY_OK;
}

/* Last of all: other notifiers still free what they hold for the module. */
static struct notifier_block mown_module_nb = {
	.notifier_call = mown_module_notify,
	.priority = INT_MIN,
};

int mown_modules_init(void)
{
	return register_module_notifier(&mown_module_nb);
}

void mown_modules_exit(void)
{
	unregister_module_notifier(&mown_module_nb);
}
