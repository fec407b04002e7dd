// SPDX-License-Identifier: GPL-2.0
/*
 * A module notifier that does not let the module "target" come. It is called
 * before mown's notifier, or behind it if "last" is set: both have the same
 * priority then, and this one was registered later.
 */
#include <linux/init.h>
#include <linux/module.h>
#include <linux/notifier.h>
#include <linux/string.h>

static char *target = "";
module_param(target, charp, 0444);
MODULE_PARM_DESC(target, "the module that is not to come");

static bool last;
module_param(last, bool, 0444);
MODULE_PARM_DESC(last, "say so after mown has made an owner");

static int refuse(struct notifier_block *nb, unsigned long state, void *data)
{
	const struct module *mod = data;

	if (state == MODULE_STATE_COMING && !strcmp(mod->name, target))
		return notifier_from_errno(-EPERM);
	return NOTIFY_OK;
}

static struct notifier_block refuse_nb = { .notifier_call = refuse };

static int __init mown_plain_notifier_init(void)
{
	refuse_nb.priority = last ? INT_MIN : INT_MAX;
	return register_module_notifier(&refuse_nb);
}
module_init(mown_plain_notifier_init);

static void __exit mown_plain_notifier_exit(void)
{
	unregister_module_notifier(&refuse_nb);
}
module_exit(mown_plain_notifier_exit);

MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("mown: a notifier that refuses a module");
MODULE_INFO(test, "Y");
