// SPDX-License-Identifier: GPL-2.0
/*
 * Frees what others have freed before, as the last that it does: each at a place of
 * its own. Knows nothing of mown.
 */
#include <linux/init.h>
#include <linux/module.h>
#include <linux/slab.h>

static unsigned long objects[16];
static int nr;
module_param_array(objects, ulong, &nr, 0644);
MODULE_PARM_DESC(objects, "addresses that the exit function frees, 16 of them or none");

static int __init stranger_init(void)
{
	return 0;
}
module_init(stranger_init);

#define FREE(at) kfree((void *)objects[at])
#define FREE_4(at) do { FREE(at); FREE((at) + 1); FREE((at) + 2); FREE((at) + 3); } while (0)

static void __exit stranger_exit(void)
{
	if (nr < ARRAY_SIZE(objects))
		return;
	FREE_4(0);
	FREE_4(4);
	FREE_4(8);
	FREE_4(12);
	/* None of them is the last of the function, which would be a jump. */
	barrier();
}
module_exit(stranger_exit);

MODULE_LICENSE("GPL");
MODULE_INFO(test, "Y");
MODULE_DESCRIPTION("mown test: frees what others have freed, as it goes");
