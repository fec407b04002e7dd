// SPDX-License-Identifier: GPL-2.0
/*
 * A made-up driver that forgets most of what it allocates, in its init
 * functions, at work and in its exit function. It has never heard of mown.
 */
#include <linux/init.h>
#include <linux/kernel.h>
#include <linux/module.h>
#include <linux/slab.h>
#include <linux/string.h>

static unsigned int settings = 100;
module_param(settings, uint, 0444);
MODULE_PARM_DESC(settings, "forgotten at init, of 16 bytes");

static unsigned int names = 150;
module_param(names, uint, 0444);
MODULE_PARM_DESC(names, "forgotten strings of 10 characters");

static unsigned int tables = 200;
module_param(tables, uint, 0444);
MODULE_PARM_DESC(tables, "forgotten arrays, of 1, 2, 3, ... 20, 1, 2, ... times 48 bytes");

static unsigned int buffers = 300;
module_param(buffers, uint, 0444);
MODULE_PARM_DESC(buffers, "forgotten buffers that were enlarged from 100 to 1000 bytes");

static unsigned int pages = 50;
module_param(pages, uint, 0444);
MODULE_PARM_DESC(pages, "forgotten blocks of 4096 bytes");

static unsigned int logs = 200;
module_param(logs, uint, 0444);
MODULE_PARM_DESC(logs, "forgotten at exit, of 250 bytes");

static unsigned int kept;
static void **good;

static noinline __init bool leaky_read_settings(void)
{
	return kzalloc(16, GFP_KERNEL);
}

static noinline __init bool leaky_name(unsigned int i)
{
	return kasprintf(GFP_KERNEL, "leaky%05u", i);
}

static noinline bool leaky_table(unsigned int i)
{
	return kmalloc_array(i % 20 + 1, 48, GFP_KERNEL);
}

static noinline bool leaky_buffer(void)
{
	void *ptr = kmalloc(100, GFP_KERNEL);
	void *more = krealloc(ptr, 1000, GFP_KERNEL);

	if (!more)
		kfree(ptr);
	return more;
}

static noinline bool leaky_page(void)
{
	return kmalloc(4096, GFP_KERNEL);
}

static noinline void leaky_log(void)
{
	char *line = kmalloc(250, GFP_KERNEL);

	if (line)
		strscpy(line, "gone", 250);
}

/* What this driver does right: as many as it forgets at work. */
static noinline bool leaky_keep(void)
{
	unsigned int i;

	good = kcalloc(buffers, sizeof(*good), GFP_KERNEL);
	if (!good)
		return false;
	for (i = 0; i < buffers; i++) {
		good[i] = kmemdup("good", 5, GFP_KERNEL);
		if (!good[i])
			return false;
		kept++;
	}
	return true;
}

static int __init leaky_init(void)
{
	unsigned int i;
	bool ok = leaky_keep();

	for (i = 0; i < settings; i++)
		ok &= leaky_read_settings();
	for (i = 0; i < names; i++)
		ok &= leaky_name(i);
	for (i = 0; i < tables; i++)
		ok &= leaky_table(i);
	for (i = 0; i < buffers; i++)
		ok &= leaky_buffer();
	for (i = 0; i < pages; i++)
		ok &= leaky_page();
	return ok ? 0 : -ENOMEM;
}
module_init(leaky_init);

static void __exit leaky_exit(void)
{
	unsigned int i;

	for (i = 0; i < logs; i++)
		leaky_log();
	for (i = 0; i < kept; i++)
		kfree(good[i]);
	kfree(good);
}
module_exit(leaky_exit);

MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("A driver that forgets what it allocates");
