// SPDX-License-Identifier: GPL-2.0
/*
 * Leaves it to asynchronous work to free its object, which takes its time: the
 * exit function is over by then, but the module's text is kept for it.
 */
#include <linux/async.h>
#include <linux/delay.h>
#include <linux/init.h>
#include <linux/module.h>
#include <linux/mown.h>

static void *object;

static void async_func(void *data, async_cookie_t cookie)
{
	/* Who does not wait is done by then. */
	msleep(2000);
	/* If it has gone already, the kernel warns, and goes on. */
	mown_vfree(data);
}

static int __init mown_test_async_init(void)
{
	object = mown_vmalloc(100);
	return object ? 0 : -ENOMEM;
}
module_init(mown_test_async_init);

static void __exit mown_test_async_exit(void)
{
	async_schedule(async_func, object);
}
module_exit(mown_test_async_exit);

MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("mown: asynchronous work that frees after the exit function");
MODULE_INFO(test, "Y");
