// SPDX-License-Identifier: GPL-2.0
/*
 * Records and the trees they stand in
 *
 * Nothing here knows modules, policies or reports. A tree belongs to one owner
 * and one stripe; all its functions want the stripe locked.
 */
#include <linux/irq_work.h>
#include <linux/slab.h>

#include "mown.h"

struct mown_stripe mown_stripes[MOWN_STRIPES];

/* Records dropped where nothing may be freed; mown_home_work frees them. */
static LLIST_HEAD(mown_home);

static void mown_home_func(struct irq_work *work)
{
	struct llist_node *node = llist_del_all(&mown_home);

	while (node) {
		struct mown_record *rec = (struct mown_record *)node;

		node = node->next;
		mown_record_free(rec);
	}
}

static DEFINE_IRQ_WORK(mown_home_work, mown_home_func);

/*
 * From any context, for an unlinked record: probes may neither free on
 * PREEMPT_RT nor re-enter the allocator anywhere.
 */
void mown_record_send_home(struct mown_record *rec)
{
	if (llist_add((struct llist_node *)rec, &mown_home))
		irq_work_queue(&mown_home_work);
}

/* The record with the highest address that is not above @addr. */
struct mown_record *mown_tree_floor(const struct rb_root *tree,
				    unsigned long addr)
{
	struct rb_node *node = tree->rb_node;
	struct mown_record *floor = NULL;

	while (node) {
		struct mown_record *rec = mown_record_of(node);

		if (addr < rec->addr) {
			node = node->rb_left;
		} else {
			floor = rec;
			node = node->rb_right;
		}
	}
	return floor;
}

/* The record with the lowest address above @addr. */
struct mown_record *mown_tree_above(const struct rb_root *tree,
				    unsigned long addr)
{
	struct mown_record *floor = mown_tree_floor(tree, addr);

	return floor ? mown_tree_next(floor) :
		       mown_record_of(rb_first(tree));
}

struct mown_record *mown_tree_next(struct mown_record *rec)
{
	return mown_record_of(rb_next(&rec->node));
}

/*
 * Link @rec into the tree, unless there is a record that overlaps it: then
 * nothing happens and that one is returned.
 */
struct mown_record *mown_tree_link(struct rb_root *tree,
				   struct mown_record *rec)
{
	struct rb_node **link = &tree->rb_node, *parent = NULL;
	struct mown_record *below = NULL, *above = NULL;

	while (*link) {
		struct mown_record *at = mown_record_of(*link);

		parent = *link;
		if (rec->addr < at->addr) {
			above = at;
			link = &parent->rb_left;
		} else {
			below = at;
			link = &parent->rb_right;
		}
	}
	if (unlikely(below && rec->addr - below->addr < below->size))
		return below;
	if (unlikely(above && above->addr - rec->addr < rec->size))
		return above;
	rb_link_node(&rec->node, parent, link);
	rb_insert_color(&rec->node, tree);
	return NULL;
}

/*
 * Move @rec from one owner's tree to another's, unless that has a record that
 * overlaps it: then nothing happens and that one is returned. The filter counts
 * @rec all the time.
 */
struct mown_record *mown_tree_move(struct rb_root *from, struct rb_root *to,
				   struct mown_record *rec)
{
	struct mown_record *overlap;

	rb_erase(&rec->node, from);
	overlap = mown_tree_link(to, rec);
	if (unlikely(overlap))
		mown_tree_link(from, rec);
	return overlap;
}

int mown_record_init(void)
{
	int i;

	for (i = 0; i < MOWN_STRIPES; i++)
		raw_spin_lock_init(&mown_stripes[i].lock);
	return mown_magazine_init();
}

void mown_record_exit(void)
{
	irq_work_sync(&mown_home_work);
	mown_magazine_exit();
}
