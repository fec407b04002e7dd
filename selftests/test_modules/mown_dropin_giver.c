// SPDX-License-Identifier: GPL-2.0
/* Gives an object to the rest of the kernel for good, and goes. */
#include <linux/init.h>
#include <linux/module.h>
#include <linux/slab.h>

#include "world.h"

/* A second object keeps the module's account open for longer. */
static bool another;
module_param(another, bool, 0444);

static int __init mown_dropin_giver_init(void)
{
	struct world_object *object = kmalloc(sizeof(*object), GFP_KERNEL);

	if (!object || (another && !kmalloc(300, GFP_KERNEL)))
		return -ENOMEM;
	mown_world_keep(object, sizeof(*object));
	return 0;
}
module_init(mown_dropin_giver_init);

static void __exit mown_dropin_giver_exit(void)
{
}
module_exit(mown_dropin_giver_exit);

MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("mown: an object that outlives its module");
MODULE_INFO(test, "Y");
