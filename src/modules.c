// SPDX-License-Identifier: GPL-2.0
/*
 * Modules under mown: each that links to it, or is attached, is an owner from
 * before its first code, or from when it is attached, until after its last
 */
#include <linux/module.h>
#include <linux/notifier.h>

#include "attach.h"

#ifdef MODULE

static bool mown_links_to_us(const struct module *mod)
{
	const struct mown_module_use *use;

	/* Only its loader changes this, who calls, and who frees it, after GOING. */
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

/* The module's owner, or NULL. It stays while mown_attach_lock is held. */
static struct mown_owner *mown_module_owner(const struct module *mod)
{
	struct mown_owner *owner;

	lockdep_assert_held(&mown_attach_lock);
	rcu_read_lock();
	owner = mown_owner_find(mod);
	rcu_read_unlock();
	return owner;
}

/* Of what compat.h has for a module's texts, whose type differs by version. */
#define mown_range_of(memory)						\
	((struct mown_range){						\
		.start = (unsigned long)(memory)->base,			\
		.size = (memory)->size,					\
	})

static struct mown_owner *mown_module_owner_new(struct module *mod)
{
	struct mown_owner *owner = mown_owner_new(mod);

	if (!owner)
		return NULL;
	owner->text = mown_range_of(mown_module_text(mod));
	/* When it is live, its init text is about to go or gone. */
	if (mod->state == MODULE_STATE_COMING)
		owner->init = mown_range_of(mown_module_init_text(mod));
	return owner;
}

static void mown_module_publish(struct mown_owner *owner)
{
	mutex_lock(&mown_owners_lock);
	owner->blind = !mown_net_spread();
	mown_owner_publish(owner);
	mutex_unlock(&mown_owners_lock);
	mown_sysfs_add(owner);
	mown_debugfs_add(owner);
}

/*
 * Make a module an owner that does not link to mown, as it comes or is live.
 * What it has allocated before is not known.
 */
int mown_module_attach(struct module *mod)
{
	struct mown_owner *owner;
	int ret;

	/* One without memory for an owner runs untracked, and is not to count twice. */
	if (mown_module_owner(mod) || mown_links_to_us(mod))
		return -EEXIST;
	owner = mown_module_owner_new(mod);
	if (!owner)
		return -ENOMEM;
	owner->attached = true;
	mown_module_publish(owner);
	/* Its calls are redirected from here on: the owner is there by then. */
	ret = mown_net_redirects() ? mown_hooks_add(mod, &owner->text,
						    &owner->init) : -EBUSY;
	if (ret)
		mown_module_detach(owner);
	return ret;
}

/* Whoever may end the owner does it alone: GOING or detach. */
static bool mown_module_end(struct mown_owner *owner)
{
	bool first;

	lockdep_assert_held(&mown_attach_lock);
	mutex_lock(&mown_owners_lock);
	first = !owner->ending;
	owner->ending = true;
	mutex_unlock(&mown_owners_lock);
	return first;
}

/* Forget an attached module that stays. */
void mown_module_detach(struct mown_owner *owner)
{
	struct module *mod = owner->mod;

	if (!mown_module_end(owner))
		return;
	mown_hooks_remove(mod, NULL);
	mown_sysfs_remove(owner);
	mown_debugfs_remove(owner);
	mown_drop(owner);
}

static void mown_module_attach_told(struct module *mod)
{
	int ret = mown_module_attach(mod);

	if (ret)
		pr_warn("%s cannot be attached (%d), it runs untracked\n",
			mod->name, ret);
}

/* Without memory for an owner the module runs untracked. */
static void mown_module_coming(struct module *mod)
{
	struct mown_owner *owner;

	if (!mown_links_to_us(mod)) {
		if (mown_attach_wants(mod->name))
			mown_module_attach_told(mod);
		return;
	}
	owner = mown_module_owner_new(mod);
	if (owner)
		mown_module_publish(owner);
	else
		pr_warn("%s: no memory for an owner, it runs untracked\n",
			mod->name);
}

/*
 * Text of a module that is not under mown is about to go: what it has freed of others',
 * once or twice, is not to be named after who comes next.
 */
static void mown_module_forget(const struct module *mod, bool all)
{
	const struct mown_range text = mown_range_of(mown_module_text(mod));
	const struct mown_range init = mown_range_of(mown_module_init_text(mod));

	mown_report_flush();
	if (all)
		mown_quarantine_forget_sites(NULL, &text);
	mown_quarantine_forget_sites(NULL, &init);
}

static void mown_module_live(struct module *mod)
{
	struct mown_owner *owner = mown_module_owner(mod);

	/* Its name was attached while it was on its way here. */
	if (!owner && mown_attach_has(mod->name) && !mown_links_to_us(mod))
		mown_module_attach_told(mod);
	if (!owner)
		mown_module_forget(mod, false);
	if (!owner || !owner->init.size)
		return;
	mown_report_flush();
	/* What is made over after the one is found by the other. */
	mown_names_intern_init(owner);
	mown_names_intern_elsewhere(owner);
	/* Not before: until here its names are those of what lies there. */
	WRITE_ONCE(owner->init_gone, true);
	mown_quarantine_forget_sites(owner, &owner->init);
	if (owner->attached)
		mown_hooks_remove(mod, &owner->init);
}

/*
 * After the module's exit function, or after its init has failed. The account
 * may have to wait for what loads another module, so not under the lock; and if
 * somebody detaches the module, it has waited for that here.
 */
static void mown_module_going(struct module *mod)
{
	struct mown_owner *owner;
	bool mine, attached;

	mutex_lock(&mown_attach_lock);
	owner = mown_module_owner(mod);
	mine = owner && mown_module_end(owner);
	attached = mine && owner->attached;
	/* It may have come by a name that was taken back. */
	if (attached)
		mown_exits_detach(NULL, mown_attach_wants);
	mutex_unlock(&mown_attach_lock);
	if (!mine) {
		mown_module_forget(mod, true);
		/* What has no owner for want of memory may have marks. */
		if (!owner)
			mown_dma_end(mod);
		return;
	}
	mown_sysfs_remove(owner);
	mown_debugfs_remove(owner);
	mown_settle(owner);
	mutex_lock(&mown_owners_lock);
	mown_net_update();
	mutex_unlock(&mown_owners_lock);
	if (!attached)
		return;
	mutex_lock(&mown_attach_lock);
	mown_hooks_remove(mod, NULL);
	mown_attach_update();
	mutex_unlock(&mown_attach_lock);
}

static int mown_module_notify(struct notifier_block *nb, unsigned long state,
			      void *data)
{
	switch (state) {
	case MODULE_STATE_COMING:
		mutex_lock(&mown_attach_lock);
		mown_module_coming(data);
		mutex_unlock(&mown_attach_lock);
		break;
	case MODULE_STATE_LIVE:
		mutex_lock(&mown_attach_lock);
		mown_module_live(data);
		mutex_unlock(&mown_attach_lock);
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
