// SPDX-License-Identifier: GPL-2.0
/*
 * Families: which functions allocate and release an object, and what may be
 * done with it when it is released
 *
 * One description each; nothing else in the core asks for a family by name but
 * where the kernel's page itself can say whether a record is right.
 */
#include <linux/dmapool.h>
#include <linux/llist.h>
#include <linux/mempool.h>
#include <linux/mm.h>
#include <linux/percpu.h>
#include <linux/slab.h>
#include <linux/vmalloc.h>
#include <linux/workqueue.h>

#include "mown.h"

/* ---- Memory of vmalloc(), which not every context can give back ---- */

static LLIST_HEAD(mown_vfree_list);

static void mown_vfree_func(struct work_struct *work)
{
	struct llist_node *node, *next;

	llist_for_each_safe(node, next, llist_del_all(&mown_vfree_list))
		vfree(node);
}

static DECLARE_WORK(mown_vfree_work, mown_vfree_func);

/* As vfree() itself does in interrupts: the memory is its own list node. */
static void mown_vfree(unsigned long addr, size_t size)
{
	if (llist_add((struct llist_node *)addr, &mown_vfree_list))
		schedule_work(&mown_vfree_work);
}

/* ---- The families ---- */

static void mown_kfree_addr(unsigned long addr, size_t size)
{
	kfree((void *)addr);
}

static void mown_free_pages_addr(unsigned long addr, size_t size)
{
	free_pages(addr, get_order(size));
}

static void mown_cache_addr(unsigned long addr, size_t size)
{
	kmem_cache_destroy((struct kmem_cache *)addr);
}

static void mown_mempool_addr(unsigned long addr, size_t size)
{
	mempool_destroy((mempool_t *)addr);
}

static void mown_dma_pool_addr(unsigned long addr, size_t size)
{
	dma_pool_destroy((struct dma_pool *)addr);
}

static void mown_free_percpu_addr(unsigned long addr, size_t size)
{
	free_percpu((void __percpu *)addr);
}

const struct mown_family_info mown_families[MOWN_NR_FAMILIES] = {
	[MOWN_KMALLOC] = {
		.name = "kmalloc",
		.give_back = mown_kfree_addr,
		.reclaim = true,
		.waits = true,
		.poison = true,
		.whole = true,
	},
	[MOWN_VMALLOC] = {
		.name = "vmalloc",
		.give_back = mown_vfree,
		.reclaim = true,
		.waits = true,
		.whole = true,
	},
	[MOWN_SLAB] = {
		.name = "slab",
		/* Legal for objects of every cache. */
		.give_back = mown_kfree_addr,
		.reclaim = true,
	},
	[MOWN_PAGES] = {
		.name = "pages",
		.give_back = mown_free_pages_addr,
	},
	[MOWN_PERCPU] = {
		.name = "percpu",
		.give_back = mown_free_percpu_addr,
		.reclaim = true,
	},
	[MOWN_CACHE] = {
		.name = "cache",
		.give_back = mown_cache_addr,
	},
	[MOWN_MEMPOOL] = {
		.name = "mempool",
		.give_back = mown_mempool_addr,
	},
	[MOWN_ELEMENT] = {
		.name = "element",
	},
	[MOWN_DMA] = {
		.name = "dma",
	},
	[MOWN_DMA_POOL] = {
		.name = "dma_pool",
		.give_back = mown_dma_pool_addr,
	},
	[MOWN_DMA_BLOCK] = {
		.name = "dma_block",
	},
};

/* Back to the kernel: a family that has give_back. */
void mown_give_back(enum mown_family family, unsigned long addr, size_t size)
{
	mown_families[family].give_back(addr, size);
}

/* ---- Is a record right? ---- */

/*
 * What a kmalloc() object takes in memory by the page's own word, or 0 if the
 * page is not one that kmalloc() gave. Reads the page, not the object.
 */
static size_t mown_usable_size(unsigned long addr)
{
	struct page *page = virt_to_head_page((void *)addr);

	if (PageSlab(page))
		return ksize((void *)addr);
	if (PageHead(page) && page_address(page) == (void *)addr)
		return page_size(page);
	return 0;
}

/*
 * What the object takes in memory. ksize() is spared where it can be: in 6.1 it
 * opens all of the object to its user, which hides overflows from KASAN.
 */
size_t mown_class_size(const struct mown_record *rec)
{
	if (rec->family == MOWN_VMALLOC)
		return PAGE_ALIGN(rec->size);
	if (rec->family != MOWN_KMALLOC)
		return rec->size;
	return rec->loose ? mown_usable_size(rec->addr) :
			    kmalloc_size_roundup(rec->size);
}

/*
 * Can the record's object be what is at its address? One of KFENCE has its own
 * size.
 */
bool mown_class_fits(const struct mown_record *rec)
{
	size_t usable;

	if (rec->family == MOWN_SLAB)
		return PageSlab(virt_to_head_page((void *)rec->addr));
	if (rec->family != MOWN_KMALLOC)
		return true;
	usable = mown_usable_size(rec->addr);
	if (rec->loose)
		return usable >= rec->size;
	return usable && (usable == kmalloc_size_roundup(rec->size) ||
			  usable == rec->size);
}

/* With nothing recorded any more. */
void mown_family_exit(void)
{
	flush_work(&mown_vfree_work);
}
