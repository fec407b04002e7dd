/* SPDX-License-Identifier: GPL-2.0 */
/*
 * ops.h's calls of the other families: vmalloc, pages, slab caches, memory
 * pools and memory for each CPU
 *
 * Where a script leaves the cache out, it is one of the module's own that mown
 * does not know, but where the module is attached.
 */

/* ---- vmalloc, and either ---- */

ALLOC(vmalloc, ARG(0))
ALLOC(vzalloc, ARG(0))
ALLOC(vmalloc_node, ARG(0), NUMA_NO_NODE)
ALLOC(vzalloc_node, ARG(0), NUMA_NO_NODE)
ALLOC(vmalloc_32, ARG(0))
ALLOC(vmalloc_32_user, ARG(0))
ALLOC(vmalloc_huge, ARG(0), ops_gfp())
ALLOC(vmalloc_user, ARG(0))
ALLOC(vmalloc_array, ARG(0), ARG(1))
ALLOC(vcalloc, ARG(0), ARG(1))
ALLOC(__vmalloc, ARG(0), ops_gfp())
ALLOC(__vmalloc_array, ARG(0), ARG(1), ops_gfp())
ALLOC(__vcalloc, ARG(0), ARG(1), ops_gfp())
ALLOC(kvmalloc, ARG(0), ops_gfp())
ALLOC(kvmalloc_node, ARG(0), ops_gfp(), NUMA_NO_NODE)
ALLOC(kvzalloc, ARG(0), ops_gfp())
ALLOC(kvzalloc_node, ARG(0), ops_gfp(), NUMA_NO_NODE)
ALLOC(kvmalloc_array, ARG(0), ARG(1), ops_gfp())
ALLOC(kvcalloc, ARG(0), ARG(1), ops_gfp())
/* 6.12 does not want to be told the old size. */
#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 12, 0)
ALLOC(kvrealloc, PTR(0), ARG(1), ARG(2), ops_gfp())
#else
ALLOC(kvrealloc, PTR(0), ARG(2), ops_gfp())
#endif
ALLOC(vmemdup_user, USER(0), ARG(1))
ALLOC(strndup_user, USER(0), ARG(1))

FREE(vfree, PTR(0))
FREE(kvfree_sensitive, PTR(0), ARG(1))

/* ---- Pages, all named by their addresses ---- */

static void *ops_address(struct page *page)
{
	return page ? page_address(page) : NULL;
}

NUMBER(alloc_pages, ops_address, ops_gfp(), ARG(0))
NUMBER(alloc_pages_node, ops_address, NUMA_NO_NODE, ops_gfp(), ARG(0))
NUMBER(alloc_page, ops_address, ops_gfp())
NUMBER(__get_free_pages, (void *), ops_gfp(), ARG(0))
NUMBER(__get_free_page, (void *), ops_gfp())
NUMBER(get_zeroed_page, (void *), ops_gfp())
NUMBER(alloc_pages_exact, (void *), ARG(0), ops_gfp())

/* There is no name for these but the kernel's. */
static void ops_folio(struct op *op, struct folio *folio)
{
	op->bare = true;
	op->ptr = folio ? ops_address(&folio->page) : NULL;
}

static noinline void op_folio_alloc(struct op *op)
{
	ops_folio(op, folio_alloc(ops_gfp(), ARG(0)));
}

static noinline void op___folio_alloc_node(struct op *op)
{
	ops_folio(op, __folio_alloc_node(ops_gfp(), ARG(0), numa_mem_id()));
}

/* An error is one of a page, too. */
static struct page *ops_page(const struct op *op, unsigned int nr)
{
	return IS_ERR(PTR(nr)) ? PTR(nr) : virt_to_page(PTR(nr));
}

FREE(__free_pages, ops_page(op, 0), ARG(1))
FREE(__free_page, ops_page(op, 0))
FREE(free_pages, ARG(0), ARG(1))
FREE(free_page, ARG(0))
FREE(free_pages_exact, PTR(0), ARG(1))
FREE(split_page, ops_page(op, 0), ARG(1))

/* The pages of a large object are counted, and one may hold them. */
static noinline void op_get_page(struct op *op)
{
	get_page(virt_to_head_page(PTR(0)));
}

static noinline void op_put_page(struct op *op)
{
	put_page(virt_to_head_page(PTR(0)));
}

/* How often a page is held, each of a block by itself. */
static noinline void op_page_count(struct op *op)
{
	op->bare = true;
	op->ptr = (void *)(unsigned long)page_ref_count(virt_to_page(PTR(0)));
}

/* ---- Slab caches ---- */

#define OPS_CACHE_SIZE 104
/* What a constructor writes. */
#define OPS_CONSTRUCTED 0xc7
/* All objects of a cache with a constructor have as much. */
#define OPS_CONSTRUCTED_SIZE 16

static struct kmem_cache *ops_cache;
/* No two caches of a name, nor are the dead ones gone at once. */
static unsigned int ops_caches;

static void ops_construct(void *ptr)
{
	memset(ptr, OPS_CONSTRUCTED, OPS_CONSTRUCTED_SIZE);
}

/* The kinds of caches that a script may ask for, by number. */
static const struct {
	slab_flags_t flags;
	void (*ctor)(void *ptr);
} ops_cache_kinds[] = {
	{ },
	{ .ctor = ops_construct },
	{ .flags = SLAB_TYPESAFE_BY_RCU },
	{ .flags = SLAB_ACCOUNT },
	{ .flags = SLAB_TYPESAFE_BY_RCU, .ctor = ops_construct },
};

/* The cache of @kind's number is what `usable' gives, and ends its name. */
static const char *ops_cache_name(struct op *op, char *name, size_t size)
{
	op->bare = true;
	op->usable = ARG(2) ? ops_caches : ++ops_caches;
	snprintf(name, size, "%s_%u", KBUILD_MODNAME, ops_caches);
	return name;
}

/* SIZE [KIND [SAME]]: with the name of the last one */
static noinline void op_kmem_cache_create(struct op *op)
{
	unsigned int kind = min(ARG(1), ARRAY_SIZE(ops_cache_kinds) - 1);
	char name[64];

	op->ptr = HEAP(kmem_cache_create)(ops_cache_name(op, name, sizeof(name)),
					  ARG(0), 0,
					  ops_cache_kinds[kind].flags,
					  ops_cache_kinds[kind].ctor);
	barrier();
}

static noinline void op_kmem_cache_create_usercopy(struct op *op)
{
	char name[64];

	op->ptr = HEAP(kmem_cache_create_usercopy)(ops_cache_name(op, name,
								  sizeof(name)),
						   ARG(0), 0, 0, 0, ARG(0),
						   NULL);
	barrier();
}

static struct kmem_cache *ops_cache_arg(struct op *op, unsigned int nr)
{
	return op->nr > nr ? PTR(nr) : ops_cache;
}

ALLOC(kmem_cache_alloc, ops_cache_arg(op, 0), ops_gfp())
ALLOC(kmem_cache_zalloc, ops_cache_arg(op, 0), ops_gfp())
ALLOC(kmem_cache_alloc_node, ops_cache_arg(op, 0), ops_gfp(), NUMA_NO_NODE)
ALLOC(kmem_cache_alloc_lru, ops_cache_arg(op, 0), NULL, ops_gfp())

FREE(kmem_cache_free, ops_cache_arg(op, 1), PTR(0))
FREE(kmem_cache_destroy, PTR(0))

/* CACHE OBJECT...: the cache may be NULL, which stands for any. */
FREE(kmem_cache_free_bulk, PTR(0), op->nr - 1, (void **)op->arg + 1)

static void *ops_bulk[OPS_ARGS];

/* CACHE HOW_MANY: gives how many there are, for `bulk' to tell. */
static noinline void op_kmem_cache_alloc_bulk(struct op *op)
{
	size_t nr = min_t(size_t, ARG(1), ARRAY_SIZE(ops_bulk));

	op->bare = true;
	op->ptr = (void *)(long)HEAP(kmem_cache_alloc_bulk)(PTR(0), ops_gfp(),
							    nr, ops_bulk);
}

static noinline void op_bulk(struct op *op)
{
	op->ptr = ops_bulk[min(ARG(0), ARRAY_SIZE(ops_bulk) - 1)];
}

static noinline void op_kmem_cache_shrink(struct op *op)
{
	kmem_cache_shrink(PTR(0));
}

/* ---- Memory pools ---- */

/* What an element is, is up to its pool: no size is told of any. */
NUMBER(mempool_create_kmalloc_pool, (void *), ARG(0), ARG(1))
NUMBER(mempool_create_slab_pool, (void *), ARG(0), ops_cache_arg(op, 1))
NUMBER(mempool_create_page_pool, (void *), ARG(0), ARG(1))

/* A mempool_alloc_t of the module's own. */
static void *ops_element_alloc(gfp_t gfp, void *size)
{
	return HEAP(kmalloc)((unsigned long)size, gfp);
}

static void ops_element_free(void *element, void *size)
{
	HEAP(kfree)(element);
	OPS_END;
}

static noinline void op_mempool_create(struct op *op)
{
	op->bare = true;
	op->ptr = HEAP(mempool_create)(ARG(0), ops_element_alloc,
				       ops_element_free, PTR(1));
	barrier();
}

/* Who has allocated it does not free it. */
static noinline void op_mempool_create_half(struct op *op)
{
	op->bare = true;
	op->ptr = HEAP(mempool_create)(ARG(0), ops_element_alloc, mempool_kfree,
				       PTR(1));
	barrier();
}

static noinline void op_mempool_create_node(struct op *op)
{
	op->bare = true;
	op->ptr = HEAP(mempool_create_node)(ARG(0), ops_element_alloc,
					    ops_element_free, PTR(1),
					    GFP_KERNEL, NUMA_NO_NODE);
	barrier();
}

/* One that may sleep does not fail. */
NUMBER(mempool_alloc, (void *), PTR(0), in_task() ? GFP_KERNEL : GFP_ATOMIC)

static noinline void op_mempool_alloc_nowait(struct op *op)
{
	op->bare = true;
	op->ptr = HEAP(mempool_alloc)(PTR(0), GFP_NOWAIT);
	barrier();
}

FREE(mempool_free, PTR(0), PTR(1))
FREE(mempool_destroy, PTR(0))

/* POOL ELEMENT...: it gives how many of these the pool has taken. */
static noinline void op_mempool_free_bulk(struct op *op)
{
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 19, 0)
	op->bare = true;
	op->ptr = (void *)(unsigned long)mempool_free_bulk(PTR(0), (void **)&op->arg[1],
							   op->nr - 1);
#else
	op->ptr = ERR_PTR(-EOPNOTSUPP);
#endif
}

/* ---- Memory for each CPU ---- */

#define OPS_COOKIE(nr) ((void __percpu __force *)ARG(nr))

/* Its alignment may be left out. */
static size_t ops_align(const struct op *op)
{
	return op->nr > 1 ? ARG(1) : 8;
}

NUMBER(__alloc_percpu, (void __force *)(unsigned long), ARG(0), ops_align(op))
NUMBER(__alloc_percpu_gfp, (void __force *)(unsigned long), ARG(0), ops_align(op), ops_gfp())
NUMBER(alloc_percpu, (void __force *)(unsigned long), struct ops_rcu)
NUMBER(alloc_percpu_gfp, (void __force *)(unsigned long), struct ops_rcu, ops_gfp())
FREE(free_percpu, OPS_COOKIE(0))

/* Where the first CPU has its own of it. */
static noinline void op_percpu_address(struct op *op)
{
	op->bare = true;
	op->ptr = per_cpu_ptr(OPS_COOKIE(0), cpumask_first(cpu_possible_mask));
}

static const struct ops_entry ops_families[] = {
	OP(vmalloc),
	OP(vzalloc),
	OP(vmalloc_node),
	OP(vzalloc_node),
	OP(vmalloc_32),
	OP(vmalloc_32_user),
	OP(vmalloc_huge),
	OP(vmalloc_user),
	OP(vmalloc_array),
	OP(vcalloc),
	OP(__vmalloc),
	OP(__vmalloc_array),
	OP(__vcalloc),
	OP(kvmalloc),
	OP(kvmalloc_node),
	OP(kvzalloc),
	OP(kvzalloc_node),
	OP(kvmalloc_array),
	OP(kvcalloc),
	OP(kvrealloc),
	OP(vmemdup_user),
	OP(strndup_user),
	OP(vfree),
	OP(kvfree_sensitive),
	OP(alloc_pages),
	OP(alloc_pages_node),
	OP(alloc_page),
	OP(__get_free_pages),
	OP(__get_free_page),
	OP(get_zeroed_page),
	OP(alloc_pages_exact),
	OP(folio_alloc),
	OP(__folio_alloc_node),
	OP(__free_pages),
	OP(__free_page),
	OP(free_pages),
	OP(free_page),
	OP(free_pages_exact),
	OP(split_page),
	OP(get_page),
	OP(put_page),
	OP(page_count),
	OP(kmem_cache_create),
	OP(kmem_cache_create_usercopy),
	OP(kmem_cache_destroy),
	OP(kmem_cache_shrink),
	OP(kmem_cache_alloc),
	OP(kmem_cache_zalloc),
	OP(kmem_cache_alloc_node),
	OP(kmem_cache_alloc_lru),
	OP(kmem_cache_alloc_bulk),
	OP(bulk),
	OP(kmem_cache_free),
	OP(kmem_cache_free_bulk),
	OP(mempool_create_kmalloc_pool),
	OP(mempool_create_slab_pool),
	OP(mempool_create_page_pool),
	OP(mempool_create),
	OP(mempool_create_half),
	OP(mempool_create_node),
	OP(mempool_alloc),
	OP(mempool_alloc_nowait),
	OP(mempool_free),
	OP(mempool_destroy),
	OP(mempool_free_bulk),
	OP(__alloc_percpu),
	OP(__alloc_percpu_gfp),
	OP(alloc_percpu),
	OP(alloc_percpu_gfp),
	OP(free_percpu),
	OP(percpu_address),
};
