// SPDX-License-Identifier: GPL-2.0
/*
 * What puts mown's trust in its records to the test, by the parameter "what":
 *
 *	hole	an object goes on a path that the net does not see, and its
 *		address belongs to the kernel from then on
 *	format	a string with a NUL in its middle is freed wrongly, then rightly
 *	resize	an object without a record is resized where it is, then freed
 *	lend	objects without a record live until the exit
 *	free	frees what the kernel keeps
 */
#include <linux/init.h>
#include <linux/module.h>
#include <linux/mown.h>
#include <linux/sched.h>

#include "world.h"

static char *what = "";
module_param(what, charp, 0444);

/* Whether it came about as wanted, for the test to read. */
static bool done;
module_param(done, bool, 0444);

static void **lent;

static void trust_hole(void)
{
	void *object = mown_kmalloc(3000, GFP_KERNEL);

	done = object && mown_world_take_over(object, 3000);
}

static void trust_format(void)
{
	char *str = mown_kasprintf(GFP_KERNEL, "%c%s", 0,
				   "longer than the smallest object");

	done = str;
	if (!str)
		return;
	mown_kfree(str + 4);
	mown_kfree(str);
}

/* Some thousand find a record yet; each of the others takes long to free. */
#define TRUST_SMALL_MAX 12000

static void **trust_take(void **list, size_t size, unsigned int max)
{
	void **block;

	while (max-- && (block = mown_kmalloc(size, GFP_ATOMIC | __GFP_NOWARN))) {
		*block = list;
		list = block;
		/* Where all is poisoned it takes minutes. */
		cond_resched();
	}
	return list;
}

static void trust_free(void **list)
{
	void **block;

	while ((block = list)) {
		list = *block;
		mown_kfree(block);
		cond_resched();
	}
}

/* What is taken when there is no memory for records is kept. */
static void trust_lend(void)
{
	void **large = trust_take(trust_take(NULL, 4 << 20, UINT_MAX), 4096,
				  UINT_MAX);

	lent = trust_take(NULL, 16, TRUST_SMALL_MAX);
	trust_free(large);
	done = lent;
}

/* Under pressure the last blocks have no record; large ones come faster. */
static void trust_resize(void)
{
	void **list, **last, **block;

	list = trust_take(NULL, 4 << 20, UINT_MAX);
	list = trust_take(list, 4096, UINT_MAX);
	/* Many fit into what is left, more than there is room for records. */
	list = trust_take(list, 16, TRUST_SMALL_MAX);
	last = list;
	if (!last)
		return;
	trust_free(*list);
	block = mown_krealloc(last, 12, GFP_KERNEL);
	done = block == last;
	mown_kfree(block);
}

static int __init mown_test_trust_init(void)
{
	if (!strcmp(what, "hole"))
		trust_hole();
	else if (!strcmp(what, "format"))
		trust_format();
	else if (!strcmp(what, "resize"))
		trust_resize();
	else if (!strcmp(what, "lend"))
		trust_lend();
	else if (!strcmp(what, "free"))
		mown_kfree(mown_world_kept());
	else
		return -EINVAL;
	return 0;
}
module_init(mown_test_trust_init);

static void __exit mown_test_trust_exit(void)
{
	trust_free(lent);
}
module_exit(mown_test_trust_exit);

MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("mown: records that must not be believed, and some that must");
MODULE_INFO(test, "Y");
