/* SPDX-License-Identifier: GPL-2.0 */
/* What mown_plain_world.c offers the other test modules. */
#ifndef MOWN_TEST_WORLD_H
#define MOWN_TEST_WORLD_H

#include <linux/gfp.h>
#include <linux/types.h>

/*
 * For an object whose address is to come again: from a cache that hardly anybody
 * uses, and that is the same for all who ask. Newer kernels have many for others.
 */
#define WORLD_GFP (GFP_KERNEL | __GFP_RECLAIMABLE)

struct world_object {
	char text[40];
	struct rcu_head rcu;
	char more[100];
};

void *mown_world_kept(void);
void mown_world_keep(void *ptr, size_t size);
bool mown_world_take_over(void *ptr, size_t size);

#endif
