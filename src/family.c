// SPDX-License-Identifier: GPL-2.0
/*
 * Families: which functions allocate and release an object, and what may be
 * done with it when it is released
 *
 * One description each; nothing else in the core asks for a family by name but
 * where the kernel's page itself can say whether a record is right.
 */
#include <linux/dmapool.h>
#include <linux/mempool.h>
#include <linux/mm.h>
#include <linux/percpu.h>
#include <linux/slab.h>
#include <linux/vmalloc.h>

#include "mown.h"

/* ---- How to give back ---- */

/* Legal for objects of every slab cache. */
static void mown_give_kfree(const struct mown_record *rec)
{
	kfree((void *)rec->addr);
}

static void mown_give_vmalloc(const struct mown_record *rec)
{
	vfree((void *)rec->addr);
}

static void mown_give_pages(const struct mown_record *rec)
{
	free_pages(rec->addr, get_order(rec->size));
}

static void mown_give_percpu(const struct mown_record *rec)
{
	free_percpu(__mown_to_percpu(mown_percpu_cookie(rec->addr)));
}

/* At the end of its owner, whose objects of it have gone. */
static void mown_give_cache(const struct mown_record *rec)
{
	struct kmem_cache *cache = (struct kmem_cache *)rec->addr;

	mown_quarantine_purge(cache);
	kmem_cache_destroy(cache);
}

static void mown_give_mempool(const struct mown_record *rec)
{
	mempool_destroy((mempool_t *)rec->addr);
}

static void mown_give_element(const struct mown_record *rec)
{
	mempool_free((void *)rec->addr, (mempool_t *)mown_record_with(rec));
}

static void mown_give_dma_pool(const struct mown_record *rec)
{
	dma_pool_destroy((struct dma_pool *)rec->addr);
}

static void mown_give_dma_block(const struct mown_record *rec)
{
	dma_pool_free((struct dma_pool *)mown_record_with(rec),
		      (void *)rec->addr, mown_record_dma(rec)->handle);
}

static void mown_give_devm(const struct mown_record *rec)
{
	mown_block_free(rec->addr);
}

/* ---- What may be reclaimed ---- */

static bool mown_may_always(const struct mown_record *rec)
{
	return true;
}

/* Does nobody else hold the first page of memory of vmalloc()? */
bool mown_may_vmalloc(const struct mown_record *rec)
{
	struct page *page = vmalloc_to_page((void *)rec->addr);

	return page && page_count(page) == 1;
}

static bool mown_may_pages(const struct mown_record *rec)
{
	return page_count(virt_to_page((void *)rec->addr)) == 1;
}

/*
 * A function of the module's own would run when the module has ended, and what one
 * has allocated is recorded as what it is: it goes as that.
 */
static bool mown_frees_by_kernel(const mempool_t *pool)
{
	return !mown_has_own_alloc(pool) &&
	       (pool->free == mempool_free_slab || pool->free == mempool_kfree ||
		pool->free == mempool_free_pages);
}

static bool mown_may_mempool(const struct mown_record *rec)
{
	return mown_frees_by_kernel((mempool_t *)rec->addr);
}

/*
 * The pool is recorded, so it is there. A page may have gone by its count, which
 * nobody sees where a struct page is recorded.
 */
static bool mown_may_element(const struct mown_record *rec)
{
	return !rec->loose && mown_frees_by_kernel(mown_record_with(rec));
}

/* ---- The families ---- */

const struct mown_family_info mown_families[MOWN_NR_FAMILIES] = {
	[MOWN_KMALLOC] = {
		.name = "kmalloc",
		.give_back = mown_give_kfree,
		.may_reclaim = mown_may_always,
		.parent = MOWN_KMALLOC,
		.waits = true,
		.poison = true,
		.whole = true,
	},
	[MOWN_VMALLOC] = {
		.name = "vmalloc",
		.kind = MOWN_DEFERRED,
		.give_back = mown_give_vmalloc,
		.may_reclaim = mown_may_vmalloc,
		.parent = MOWN_VMALLOC,
		.sleeps = true,
		.waits = true,
		.whole = true,
	},
	[MOWN_SLAB] = {
		.name = "slab",
		.kind = MOWN_CHILD,
		.give_back = mown_give_kfree,
		.may_reclaim = mown_may_always,
		.parent = MOWN_SLAB,
		.waits = true,
		.poison = true,
	},
	[MOWN_PAGES] = {
		.name = "pages",
		.give_back = mown_give_pages,
		.may_reclaim = mown_may_pages,
		.parent = MOWN_PAGES,
	},
	[MOWN_PERCPU] = {
		.name = "percpu",
		.give_back = mown_give_percpu,
		.may_reclaim = mown_may_always,
		.parent = MOWN_PERCPU,
	},
	[MOWN_CACHE] = {
		.name = "cache",
		.give_back = mown_give_cache,
		.may_reclaim = mown_may_always,
		.parent = MOWN_CACHE,
		.rank = 2,
		.sleeps = true,
	},
	[MOWN_MEMPOOL] = {
		.name = "mempool",
		.kind = MOWN_DMA_CHILD,
		.give_back = mown_give_mempool,
		.may_reclaim = mown_may_mempool,
		.parent = MOWN_MEMPOOL,
		.rank = 1,
		.sleeps = true,
	},
	[MOWN_ELEMENT] = {
		.name = "element",
		.kind = MOWN_DMA_CHILD,
		.give_back = mown_give_element,
		.may_reclaim = mown_may_element,
		.parent = MOWN_MEMPOOL,
		.sleeps = true,
	},
	[MOWN_DMA] = {
		.name = "dma",
		.kind = MOWN_DMA_CHILD,
		.give_back = mown_dma_give_back,
		.may_reclaim = mown_dma_may_reclaim,
		.reclaimed = mown_dma_reclaimed,
		.parent = MOWN_DMA,
		.sleeps = true,
	},
	[MOWN_DMA_POOL] = {
		.name = "dma_pool",
		.kind = MOWN_DMA_CHILD,
		.give_back = mown_give_dma_pool,
		.may_reclaim = mown_dma_may_reclaim,
		.reclaimed = mown_dma_reclaimed,
		.parent = MOWN_DMA_POOL,
		.rank = 2,
		.sleeps = true,
	},
	[MOWN_DMA_BLOCK] = {
		.name = "dma_block",
		.kind = MOWN_DMA_CHILD,
		.give_back = mown_give_dma_block,
		.may_reclaim = mown_may_always,
		.parent = MOWN_DMA_POOL,
	},
	/* Its device frees what is left. */
	[MOWN_DEVM] = {
		.name = "devm",
		.give_back = mown_give_devm,
		.parent = MOWN_DEVM,
		.waits = true,
		.poison = true,
		.whole = true,
	},
};

/* Back to the kernel. */
void mown_give_back(const struct mown_record *rec)
{
	mown_families[rec->family].give_back(rec);
}

/* ---- Is a record right? ---- */

/*
 * What a kmalloc() object takes in memory by the page's own word, or 0 if the
 * page is not one that kmalloc() gave. Reads the page, not the object.
 */
size_t mown_usable_size(unsigned long addr)
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
	if (rec->family == MOWN_DEVM)
		return mown_block_size(rec);
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
