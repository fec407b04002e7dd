// SPDX-License-Identifier: GPL-2.0
/*
 * Asynchronous work that registers a module notifier, when it is told to by its
 * parameter: it waits for whoever holds the lock of the notifiers' list.
 */
#include <linux/async.h>
#include <linux/completion.h>
#include <linux/init.h>
#include <linux/module.h>
#include <linux/notifier.h>

static DECLARE_COMPLETION(go_on);

static int async_notify(struct notifier_block *nb, unsigned long state,
			void *data)
{
	return NOTIFY_DONE;
}

static struct notifier_block async_nb = {
	.notifier_call = async_notify,
};

static void async_func(void *data, async_cookie_t cookie)
{
	wait_for_completion(&go_on);
	register_module_notifier(&async_nb);
}

static int async_go(const char *val, const struct kernel_param *kp)
{
	complete(&go_on);
	return 0;
}

static const struct kernel_param_ops async_go_ops = {
	.set = async_go,
};
module_param_cb(go, &async_go_ops, NULL, 0200);
MODULE_PARM_DESC(go, "written: go on");

static int start_set(const char *val, const struct kernel_param *kp)
{
	async_schedule(async_func, NULL);
	return 0;
}

static const struct kernel_param_ops start_ops = {
	.set = start_set,
};

/* Not from init, whose end waits for it. */
module_param_cb(start, &start_ops, NULL, 0200);
MODULE_PARM_DESC(start, "written: schedule the work");

static int __init mown_plain_async_init(void)
{
	return 0;
}
module_init(mown_plain_async_init);

static void __exit mown_plain_async_exit(void)
{
	complete_all(&go_on);
	async_synchronize_full();
	unregister_module_notifier(&async_nb);
}
module_exit(mown_plain_async_exit);

MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("mown: asynchronous work that wants the notifiers' lock");
MODULE_INFO(test, "Y");
