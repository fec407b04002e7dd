// SPDX-License-Identifier: GPL-2.0
/*
 * Stands for the rest of the kernel: takes memory over from modules under mown,
 * and frees it in ways of its own. Knows nothing of mown.
 */
#include <linux/init.h>
#include <linux/module.h>
#include <linux/rcupdate.h>
#include <linux/slab.h>

#include "world.h"

/* As many of a size as a slab's free list may hold before one comes again. */
#define WORLD_TRIES 4096

static void *tries[WORLD_TRIES];
static void *kept;
static size_t kept_size;
/* It has been freed, and is only remembered. */
static bool kept_freed;

void *mown_world_kept(void)
{
	return kept;
}
EXPORT_SYMBOL_GPL(mown_world_kept);

void mown_world_keep(void *ptr, size_t size)
{
	kept = ptr;
	kept_size = size;
	kept_freed = false;
}
EXPORT_SYMBOL_GPL(mown_world_keep);

/* Allocate until @ptr is had; free the others. Returns whether it was had. */
static bool world_get(void *ptr, size_t size)
{
	unsigned int i, nr = 0;
	bool got = false;

	while (!got && nr < WORLD_TRIES) {
		tries[nr] = kmalloc(size, WORLD_GFP);
		if (!tries[nr])
			break;
		got = tries[nr] == ptr;
		nr += !got;
	}
	for (i = 0; i < nr; i++)
		kfree(tries[i]);
	return got;
}

/* Free @ptr on a path without a tracepoint, and own its address from then on. */
bool mown_world_take_over(void *ptr, size_t size)
{
	bool got;

	/* What is free is the CPU's. */
	migrate_disable();
	kmem_cache_free_bulk(NULL, 1, &ptr);
	mown_world_keep(ptr, size);
	got = world_get(ptr, size);
	migrate_enable();
	return got;
}
EXPORT_SYMBOL_GPL(mown_world_take_over);

static int world_command(const char *val, const struct kernel_param *kp)
{
	if (!sysfs_streq(val, "kfree_rcu") || kept_freed)
		return -EINVAL;
	kfree_rcu((struct world_object *)kept, rcu);
	kept_freed = true;
	return 0;
}

static const struct kernel_param_ops world_command_ops = {
	.set = world_command,
};
module_param_cb(command, &world_command_ops, NULL, 0200);
MODULE_PARM_DESC(command, "kfree_rcu: free what is kept");

/* Does the allocator give out once more what is kept? It must not. */
static int world_given_out(char *buf, const struct kernel_param *kp)
{
	return sysfs_emit(buf, "%d\n", world_get(kept, kept_size));
}

static const struct kernel_param_ops world_given_out_ops = {
	.get = world_given_out,
};
module_param_cb(given_out, &world_given_out_ops, NULL, 0400);
MODULE_PARM_DESC(given_out, "whether what is kept was given out again");

static int __init mown_plain_world_init(void)
{
	return 0;
}
module_init(mown_plain_world_init);

static void __exit mown_plain_world_exit(void)
{
	if (!kept_freed)
		kfree(kept);
}
module_exit(mown_plain_world_exit);

MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("mown: what the rest of the kernel does with memory");
MODULE_INFO(test, "Y");
