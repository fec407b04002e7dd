/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Makes objects of one kind while it is loaded, and never frees one: what has to
 * become of them when it goes is mown's business. The modules of it differ in the
 * way in only, so they say HEAP(name) by which name they call the heap's
 * function, and include this.
 *
 * Where the kernel's counters are of pages, and others take and give pages
 * meanwhile, the objects are so large that a thousand of them are beyond doubt.
 * Each kind has a call site of its own, the function left_KIND() here.
 */
#include <linux/device.h>
#include <linux/dma-mapping.h>
#include <linux/dmapool.h>
#include <linux/err.h>
#include <linux/gfp.h>
#include <linux/init.h>
#include <linux/kernel.h>
#include <linux/mempool.h>
#include <linux/module.h>
#include <linux/percpu.h>
#include <linux/platform_device.h>
#include <linux/slab.h>
#include <linux/sizes.h>
#include <linux/string.h>
#include <linux/vmalloc.h>

static char *kind = "kmalloc";
module_param(kind, charp, 0444);
MODULE_PARM_DESC(kind, "what to make");

static unsigned int count = 1000;
module_param(count, uint, 0444);
MODULE_PARM_DESC(count, "how many of it");

static char *device = "";
module_param(device, charp, 0444);
MODULE_PARM_DESC(device, "the platform device whose memory it is, for kinds of devices");

/* Of a class of kmalloc() that few use, with room for whatever is added. */
#define LEFT_8K 6000
/* So many pages that no CPU keeps such blocks for itself. */
#define LEFT_ORDER 4
#define LEFT_BLOCK (PAGE_SIZE << LEFT_ORDER)
/* Beyond what has a class: pages, that kmalloc() has counted as its own. */
#define LEFT_LARGE SZ_16K
#define LEFT_VMALLOC (3 * PAGE_SIZE)
#define LEFT_PERCPU SZ_16K
#define LEFT_SLAB 200
#define LEFT_DMA_BLOCK 256
/* What each pool keeps in reserve. */
#define LEFT_RESERVE 2

/* ---- What some kinds need besides; it is left behind as well ---- */

static struct device *left_dev;
static struct kmem_cache *left_cache;
static mempool_t *left_pool;
static struct dma_pool *left_dpool;

static struct kmem_cache *left_new_cache(void)
{
	static unsigned int nr;
	char name[64];

	/* No two caches of a name. */
	snprintf(name, sizeof(name), "%s_%u", KBUILD_MODNAME, nr++);
	return HEAP(kmem_cache_create)(name, LEFT_SLAB, 0, 0, NULL);
}

static noinline int left_need_cache(void)
{
	left_cache = left_new_cache();
	return left_cache ? 0 : -ENOMEM;
}

static noinline int left_need_pool(void)
{
	int err = left_need_cache();

	if (err)
		return err;
	left_pool = HEAP(mempool_create_slab_pool)(LEFT_RESERVE, left_cache);
	return left_pool ? 0 : -ENOMEM;
}

/* The device is somebody else's, and is there as long as the test has it so. */
static int left_need_device(void)
{
	left_dev = bus_find_device_by_name(&platform_bus_type, NULL, device);
	if (!left_dev)
		return -ENODEV;
	put_device(left_dev);
	return 0;
}

static noinline int left_need_dma_pool(void)
{
	int err = left_need_device();

	if (err)
		return err;
	left_dpool = HEAP(dma_pool_create)(KBUILD_MODNAME, left_dev,
					   LEFT_DMA_BLOCK, 8, 0);
	return left_dpool ? 0 : -ENOMEM;
}

/* ---- One of each ---- */

static noinline void *left_kmalloc(void)
{
	return HEAP(kmalloc)(LEFT_8K, GFP_KERNEL);
}

static noinline void *left_kmalloc_large(void)
{
	return HEAP(kmalloc)(LEFT_LARGE, GFP_KERNEL);
}

static noinline void *left_vmalloc(void)
{
	return HEAP(vmalloc)(LEFT_VMALLOC);
}

static noinline void *left_slab(void)
{
	return HEAP(kmem_cache_alloc)(left_cache, GFP_KERNEL);
}

static noinline void *left_cache_empty(void)
{
	return left_new_cache();
}

static noinline void *left_pages(void)
{
	return HEAP(alloc_pages)(GFP_KERNEL, LEFT_ORDER);
}

static noinline void *left_percpu(void)
{
	return (__force void *)(unsigned long)HEAP(__alloc_percpu)(LEFT_PERCPU, 8);
}

static noinline void *left_mempool(void)
{
	return HEAP(mempool_create_slab_pool)(LEFT_RESERVE, left_cache);
}

static noinline void *left_mempool_kmalloc(void)
{
	return HEAP(mempool_create_kmalloc_pool)(LEFT_RESERVE, LEFT_8K);
}

static noinline void *left_mempool_pages(void)
{
	return HEAP(mempool_create_page_pool)(1, LEFT_ORDER);
}

/* Of a slab or of pages, as the pool is. */
static noinline void *left_element(void)
{
	return HEAP(mempool_alloc)(left_pool, GFP_KERNEL);
}

static noinline void *left_dma(void)
{
	dma_addr_t handle;

	return HEAP(dma_alloc_coherent)(left_dev, LEFT_BLOCK, &handle,
					GFP_KERNEL);
}

/* Its one block is freed: the pool keeps the memory of it until its own end. */
static noinline void *left_dma_pool(void)
{
	struct dma_pool *pool;
	dma_addr_t handle;
	void *block;

	pool = HEAP(dma_pool_create)(KBUILD_MODNAME, left_dev, LEFT_BLOCK, 8, 0);
	if (!pool)
		return NULL;
	block = HEAP(dma_pool_alloc)(pool, GFP_KERNEL, &handle);
	if (!block)
		return NULL;
	HEAP(dma_pool_free)(pool, block, handle);
	return pool;
}

static noinline void *left_dma_block(void)
{
	dma_addr_t handle;

	return HEAP(dma_pool_alloc)(left_dpool, GFP_KERNEL, &handle);
}

static noinline void *left_devm(void)
{
	return HEAP(devm_kmalloc)(left_dev, LEFT_8K, GFP_KERNEL);
}

static const struct {
	const char *name;
	int (*need)(void);
	void *(*make)(void);
} left_kinds[] = {
	{ "kmalloc", NULL, left_kmalloc },
	{ "kmalloc_large", NULL, left_kmalloc_large },
	{ "vmalloc", NULL, left_vmalloc },
	{ "slab", left_need_cache, left_slab },
	{ "cache", NULL, left_cache_empty },
	{ "pages", NULL, left_pages },
	{ "percpu", NULL, left_percpu },
	{ "mempool", left_need_cache, left_mempool },
	{ "mempool_kmalloc", NULL, left_mempool_kmalloc },
	{ "mempool_pages", NULL, left_mempool_pages },
	{ "element", left_need_pool, left_element },
	{ "dma", left_need_device, left_dma },
	{ "dma_pool", left_need_device, left_dma_pool },
	{ "dma_block", left_need_dma_pool, left_dma_block },
	{ "devm", left_need_device, left_devm },
};

static int __init left_init(void)
{
	unsigned int i, nr;
	int err;

	for (i = 0; i < ARRAY_SIZE(left_kinds); i++)
		if (!strcmp(left_kinds[i].name, kind))
			break;
	if (i == ARRAY_SIZE(left_kinds))
		return -EINVAL;
	err = left_kinds[i].need ? left_kinds[i].need() : 0;
	for (nr = 0; !err && nr < count; nr++)
		if (!left_kinds[i].make())
			err = -ENOMEM;
	return err;
}
module_init(left_init);

static void __exit left_exit(void)
{
}
module_exit(left_exit);
