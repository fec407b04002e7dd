/* SPDX-License-Identifier: GPL-2.0 */
/*
 * ops.h's calls that need a device: memory that devices reach, and memory that
 * a device's detach frees
 *
 * The module has two devices of its own, named by their numbers, 0 and 1, and a
 * driver for them that does nothing.
 */

#define OPS_DEVICES 2
static struct platform_device *ops_pdevs[OPS_DEVICES];

static struct device *ops_dev(const struct op *op, unsigned int nr)
{
	return &ops_pdevs[ARG(nr) % OPS_DEVICES]->dev;
}

#define DEV(nr) ops_dev(op, nr)

/* ---- Memory that devices reach: `usable' is the address that they use ---- */

#define ALLOC_DMA(name, ...)						\
static noinline void op_##name(struct op *op)				\
{									\
	dma_addr_t handle = 0;						\
									\
	op->bare = true;						\
	op->ptr = HEAP(name)(__VA_ARGS__);				\
	op->usable = handle;						\
}

ALLOC_DMA(dma_alloc_attrs, DEV(0), ARG(1), &handle, ops_gfp(), ARG(2))
ALLOC_DMA(dma_alloc_coherent, DEV(0), ARG(1), &handle, ops_gfp())
ALLOC_DMA(dma_alloc_wc, DEV(0), ARG(1), &handle, ops_gfp())
ALLOC_DMA(dma_pool_alloc, PTR(0), ops_gfp(), &handle)
ALLOC_DMA(dma_pool_zalloc, PTR(0), ops_gfp(), &handle)

FREE(dma_free_attrs, DEV(0), ARG(1), PTR(2), ARG(3), ARG(4))
FREE(dma_free_coherent, DEV(0), ARG(1), PTR(2), ARG(3))
FREE(dma_free_wc, DEV(0), ARG(1), PTR(2), ARG(3))
FREE(dma_pool_free, PTR(0), PTR(1), ARG(2))

NUMBER(dma_pool_create, (void *), KBUILD_MODNAME, DEV(0), ARG(1), 8, 0)
FREE(dma_pool_destroy, PTR(0))

/* ---- Memory that a device's detach frees ---- */

NUMBER(devm_kmalloc, (void *), DEV(0), ARG(1), ops_gfp())
NUMBER(devm_kzalloc, (void *), DEV(0), ARG(1), ops_gfp())
NUMBER(devm_kmalloc_array, (void *), DEV(0), ARG(1), ARG(2), ops_gfp())
NUMBER(devm_kcalloc, (void *), DEV(0), ARG(1), ARG(2), ops_gfp())
NUMBER(devm_krealloc, (void *), DEV(0), PTR(1), ARG(2), ops_gfp())
NUMBER(devm_kmemdup, (void *), DEV(0), ops_string(ARG(1)), ARG(1), ops_gfp())
NUMBER(devm_kstrdup, (void *), DEV(0), ops_string(ARG(1)), ops_gfp())
NUMBER(devm_kasprintf, (void *), DEV(0), ops_gfp(), "%s", ops_string(ARG(1)))

FREE(devm_kfree, DEV(0), PTR(1))

static noinline __printf(2, 3)
void ops_devm_vformat(struct op *op, const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	op->ptr = HEAP(devm_kvasprintf)(DEV(0), ops_gfp(), fmt, args);
	va_end(args);
}

static noinline void op_devm_kvasprintf(struct op *op)
{
	op->bare = true;
	ops_devm_vformat(op, "%s", ops_string(ARG(1)));
}

/* By the kernel's own functions, whatever the names are mapped to. */
static noinline void op_raw_devm_kmalloc(struct op *op)
{
	op->bare = true;
	op->ptr = (devm_kmalloc)(DEV(0), ARG(1), ops_gfp());
}

static noinline void op_raw_devm_kfree(struct op *op)
{
	(devm_kfree)(DEV(0), PTR(1));
}

/* ---- Detach, and in what order that releases ---- */

/*
 * What came to pass while `unbind_logged' ran, in its task: the number of each
 * action, and the address of each object that the kernel's kfree() got.
 */
static unsigned long ops_log[512];
static unsigned int ops_logged;
static struct task_struct *ops_logging;

static void ops_note(unsigned long what)
{
	if (READ_ONCE(ops_logging) == current && in_task() &&
	    ops_logged < ARRAY_SIZE(ops_log))
		ops_log[ops_logged++] = what;
}

static void ops_saw_kfree(void *data, unsigned long site, const void *ptr)
{
	if (ptr)
		ops_note((unsigned long)ptr);
}

static void ops_action(void *number)
{
	ops_note((unsigned long)number);
}

/* DEVICE NUMBER: the number is of an action, which is not mown's. */
static noinline void op_devm_add_action(struct op *op)
{
	op->ptr = ERR_PTR(devm_add_action(DEV(0), ops_action, PTR(1)));
}

static noinline void op_devm_remove_action(struct op *op)
{
	devm_remove_action(DEV(0), ops_action, PTR(1));
}

static noinline void op_unbind(struct op *op)
{
	device_release_driver(DEV(0));
}

/* It gives how many entries the log has. */
static noinline void op_unbind_logged(struct op *op)
{
	int err;

	ops_logged = 0;
	err = register_trace_kfree(ops_saw_kfree, NULL);
	if (err) {
		op->ptr = ERR_PTR(err);
		return;
	}
	WRITE_ONCE(ops_logging, current);
	device_release_driver(DEV(0));
	WRITE_ONCE(ops_logging, NULL);
	unregister_trace_kfree(ops_saw_kfree, NULL);
	tracepoint_synchronize_unregister();
	op->bare = true;
	op->ptr = (void *)(unsigned long)ops_logged;
}

static noinline void op_log(struct op *op)
{
	op->bare = true;
	op->ptr = (void *)ops_log[min(ARG(0), ARRAY_SIZE(ops_log) - 1)];
}

/* It gives 1 if the device has its driver then. */
static noinline void op_bind(struct op *op)
{
	op->ptr = ERR_PTR(device_attach(DEV(0)));
}

/* CONSUMER SUPPLIER: the one is probed only while the other has its driver. */
static noinline void op_link(struct op *op)
{
	op->ptr = device_link_add(DEV(0), DEV(1), 0) ? NULL : ERR_PTR(-EINVAL);
}

/* ---- A device that goes with its memory, and takes a cache along ---- */

static char ops_dma_memory[SZ_64K] __aligned(PAGE_SIZE);
static struct kmem_cache *ops_dma_cache;
static void (*ops_platform_release)(struct device *dev);

static void *ops_dma_get(struct device *dev, size_t size, dma_addr_t *handle,
			 gfp_t gfp, unsigned long attrs)
{
	*handle = 1;
	return size <= sizeof(ops_dma_memory) ? ops_dma_memory : NULL;
}

/* Whoever gives it back has a hold on the device, and so is the last that has. */
static void ops_dma_put(struct device *dev, size_t size, void *ptr,
			dma_addr_t handle, unsigned long attrs)
{
	platform_device_unregister(ops_pdevs[1]);
	ops_pdevs[1] = NULL;
}

static const struct dma_map_ops ops_dma_ops = {
	.alloc = ops_dma_get,
	.free = ops_dma_put,
};

static void ops_dma_release(struct device *dev)
{
	HEAP(kmem_cache_destroy)(ops_dma_cache);
	ops_dma_cache = NULL;
	ops_platform_release(dev);
}

/* Device 1 is one. */
static noinline void op_frail_device(struct op *op)
{
	struct device *dev = &ops_pdevs[1]->dev;

	set_dma_ops(dev, &ops_dma_ops);
	if (get_dma_ops(dev) != &ops_dma_ops) {
		op->ptr = ERR_PTR(-EOPNOTSUPP);
		return;
	}
	ops_dma_cache = HEAP(kmem_cache_create)(KBUILD_MODNAME "_dma", 100, 0, 0,
						NULL);
	if (!ops_dma_cache) {
		op->ptr = ERR_PTR(-ENOMEM);
		return;
	}
	ops_platform_release = dev->release;
	dev->release = ops_dma_release;
}

/* ---- Memory that is freed by hand while its device goes ---- */

#define OPS_RACERS 64

static struct {
	struct work_struct work;
	struct device *dev;
	void *ptrs[OPS_RACERS];
	unsigned int nr;
	unsigned int round;
	int go;
} ops_race;

static noinline void ops_race_func(struct work_struct *work)
{
	unsigned int i;

	/* Pairs with the release in op_devm_race(). */
	while (!smp_load_acquire(&ops_race.go))
		cpu_relax();
	udelay(ops_race.round / 2 % 16);
	/* By turns from the newest on, as the detach does, and against it. */
	for (i = 0; i < ops_race.nr; i++)
		HEAP(devm_kfree)(ops_race.dev,
				 ops_race.ptrs[ops_race.round & 1 ? i :
					       ops_race.nr - 1 - i]);
}

/*
 * DEVICE BLOCKS ROUNDS: each round allocates the blocks, and then a work item
 * frees each while the device is unbound. It gives how many blocks there were.
 * Where mown is not involved, the kernel warns of those that came too late.
 */
static noinline void op_devm_race(struct op *op)
{
	unsigned long nr = 0;
	unsigned int round, i;

	INIT_WORK(&ops_race.work, ops_race_func);
	ops_race.dev = DEV(0);
	op->bare = true;
	for (round = 0; round < ARG(2); round++) {
		ops_race.nr = min(ARG(1), ARRAY_SIZE(ops_race.ptrs));
		ops_race.round = round;
		ops_race.go = 0;
		for (i = 0; i < ops_race.nr; i++) {
			ops_race.ptrs[i] = HEAP(devm_kmalloc)(DEV(0), 64 + i,
							      GFP_KERNEL);
			nr += !!ops_race.ptrs[i];
		}
		queue_work(system_unbound_wq, &ops_race.work);
		/* Pairs with the acquire in ops_race_func(). */
		smp_store_release(&ops_race.go, 1);
		udelay(round / 8 % 16);
		device_release_driver(DEV(0));
		flush_work(&ops_race.work);
		if (device_attach(DEV(0)) != 1)
			return;
	}
	op->ptr = (void *)nr;
}

static const struct ops_entry ops_devices[] = {
	OP(dma_alloc_attrs),
	OP(dma_alloc_coherent),
	OP(dma_alloc_wc),
	OP(dma_free_attrs),
	OP(dma_free_coherent),
	OP(dma_free_wc),
	OP(dma_pool_create),
	OP(dma_pool_alloc),
	OP(dma_pool_zalloc),
	OP(dma_pool_free),
	OP(dma_pool_destroy),
	OP(devm_kmalloc),
	OP(devm_kzalloc),
	OP(devm_kmalloc_array),
	OP(devm_kcalloc),
	OP(devm_krealloc),
	OP(devm_kmemdup),
	OP(devm_kstrdup),
	OP(devm_kasprintf),
	OP(devm_kvasprintf),
	OP(devm_kfree),
	OP(raw_devm_kmalloc),
	OP(raw_devm_kfree),
	OP(devm_add_action),
	OP(devm_remove_action),
	OP(devm_race),
	OP(unbind),
	OP(unbind_logged),
	OP(log),
	OP(bind),
	OP(link),
	OP(frail_device),
};

/* ---- The devices ---- */

static int ops_probe(struct platform_device *pdev)
{
	return dma_set_mask_and_coherent(&pdev->dev, DMA_BIT_MASK(64));
}

static struct platform_driver ops_driver = {
	.probe = ops_probe,
	.driver = {
		.name = KBUILD_MODNAME,
		.probe_type = PROBE_FORCE_SYNCHRONOUS,
	},
};

static void ops_devices_exit(void)
{
	unsigned int i;

	platform_driver_unregister(&ops_driver);
	/* Those of which none was made are errors, which it takes. */
	for (i = 0; i < OPS_DEVICES; i++)
		platform_device_unregister(ops_pdevs[i]);
}

static int ops_devices_init(void)
{
	int err = platform_driver_register(&ops_driver);
	unsigned int i;

	if (err)
		return err;
	for (i = 0; i < OPS_DEVICES && !err; i++) {
		ops_pdevs[i] = platform_device_register_simple(KBUILD_MODNAME,
							       i, NULL, 0);
		err = PTR_ERR_OR_ZERO(ops_pdevs[i]);
	}
	if (err)
		ops_devices_exit();
	return err;
}
