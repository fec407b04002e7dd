/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What differs between kernel versions, from 6.1 on, and nothing else. Each
 * shim says which kernel changed what.
 */
#ifndef _MOWN_COMPAT_H
#define _MOWN_COMPAT_H

#include <linux/cache.h>
#include <linux/ftrace.h>
#include <linux/module.h>
#include <linux/rcupdate.h>
#include <linux/shrinker.h>
#include <linux/slab.h>
#include <linux/stackdepot.h>
#include <linux/version.h>
#include <linux/vmalloc.h>
#include <linux/workqueue.h>

#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 1, 0)
#error "mown needs Linux 6.1 or newer"
#endif

/* 6.5 let kmalloc() align for less than DMA, but not devm_kmalloc(). */
#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 5, 0)
#define MOWN_DEVM_ALIGN ARCH_KMALLOC_MINALIGN
#else
#define MOWN_DEVM_ALIGN ARCH_DMA_MINALIGN
#endif

/* 6.4 replaced the two layouts of struct module by an array of regions. */
#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 4, 0)
#define mown_module_text(mod) (&(mod)->core_layout)
#define mown_module_init_text(mod) (&(mod)->init_layout)
#else
#define mown_module_text(mod) (&(mod)->mem[MOD_TEXT])
#define mown_module_init_text(mod) (&(mod)->mem[MOD_INIT_TEXT])
#endif

/*
 * After 6.12 the kernel keeps to itself what links a module to those that it needs;
 * it has not changed.
 */
#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 13, 0)
#define mown_module_use module_use
#else
struct mown_module_use {
	struct list_head source_list;
	struct list_head target_list;
	struct module *source, *target;
};
#endif

/* 6.3 made the second argument of kvfree_call_rcu() the pointer itself. */
#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 3, 0)
#define MOWN_RCU_ARG rcu_callback_t

static inline void mown_kvfree_call_rcu(struct rcu_head *head, void *ptr)
{
	unsigned long arg = head ? (unsigned long)head - (unsigned long)ptr :
				   (unsigned long)ptr;

	kvfree_call_rcu(head, (rcu_callback_t)arg);
}

static inline unsigned long mown_kvfree_call_rcu_ptr(unsigned long head,
						     unsigned long func)
{
	return head ? head - func : func;
}
#else
#define MOWN_RCU_ARG void *

static inline void mown_kvfree_call_rcu(struct rcu_head *head, void *ptr)
{
	kvfree_call_rcu(head, ptr);
}

static inline unsigned long mown_kvfree_call_rcu_ptr(unsigned long head,
						     unsigned long ptr)
{
	return ptr;
}
#endif

/*
 * 6.10 made the functions below the allocation's macros take parameters of the
 * kernel's configuration. Without them the event kmem:kmalloc names mown.
 */
static __always_inline void *mown_kmalloc_for(size_t size, gfp_t gfp, int node,
					      unsigned long site)
{
#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 10, 0)
	return __kmalloc_node_track_caller(size, gfp, node, site);
#else
	return kmalloc_node_track_caller(size, gfp, node);
#endif
}

/* 6.3 dropped the extra bits, 6.8 replaced the last argument by flags. */
static inline depot_stack_handle_t
mown_depot_save(unsigned long *entries, unsigned int nr, gfp_t gfp, bool alloc)
{
#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 3, 0)
	return __stack_depot_save(entries, nr, 0, gfp, alloc);
#elif LINUX_VERSION_CODE < KERNEL_VERSION(6, 8, 0)
	return __stack_depot_save(entries, nr, gfp, alloc);
#else
	return stack_depot_save_flags(entries, nr, gfp,
			alloc ? STACK_DEPOT_FLAG_CAN_ALLOC : 0);
#endif
}

typedef unsigned long mown_shrink_func(struct shrinker *shrinker,
				       struct shrink_control *sc);

/* 6.7 took the allocation of shrinkers upon itself. */
static inline void mown_shrinker_free(struct shrinker *shrinker)
{
#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 7, 0)
	unregister_shrinker(shrinker);
	kfree(shrinker);
#else
	shrinker_free(shrinker);
#endif
}

static inline struct shrinker *mown_shrinker_new(mown_shrink_func *count,
						 mown_shrink_func *scan)
{
	struct shrinker *shrinker;

#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 7, 0)
	shrinker = kzalloc(sizeof(*shrinker), GFP_KERNEL);
#else
	shrinker = shrinker_alloc(0, "mown");
#endif
	if (!shrinker)
		return NULL;
	shrinker->count_objects = count;
	shrinker->scan_objects = scan;
	/*
	 * Nobody misses what goes, and one object may be much memory: half of
	 * what @count says is asked for at once, down to a single one.
	 */
	shrinker->seeks = 0;
	shrinker->batch = 1;
#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 7, 0)
	if (register_shrinker(shrinker, "mown")) {
		kfree(shrinker);
		return NULL;
	}
#else
	shrinker_register(shrinker);
#endif
	return shrinker;
}

/* By 7.0 each CPU's workqueues are called so; the kernel warns without it from 7.2 on. */
#if LINUX_VERSION_CODE < KERNEL_VERSION(7, 0, 0)
#define MOWN_WQ_FLAGS 0
#define mown_system_wq system_wq
#else
#define MOWN_WQ_FLAGS WQ_PERCPU
#define mown_system_wq system_percpu_wq
#endif

/* 6.11 made curr_ret_stack say how much there is, and not which is the last. */
#define MOWN_RET_STACK_USED (LINUX_VERSION_CODE < KERNEL_VERSION(6, 11, 0) ? 0 : 1)

/*
 * From 6.13 on slub_debug knows how much of an object was asked for, and krealloc()
 * with __GFP_ZERO clears what is more: unless ksize() was called, as mown does.
 */
#define MOWN_REALLOC_CLEARS (LINUX_VERSION_CODE >= KERNEL_VERSION(6, 13, 0))

/* Until 6.12 kvrealloc() wanted to be told the old size, which its callers know. */
static inline void *mown_kernel_realloc(const void *ptr, size_t size, gfp_t gfp,
					bool kv)
{
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 12, 0)
	if (kv)
		return kvrealloc(ptr, size, gfp);
#endif
	return krealloc(ptr, size, gfp);
}

/* From 6.19 on pools have a function that takes several elements. */
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 19, 0)
#define MOWN_HAVE_POOL_BULK 1
#endif

/* By 7.2 memory of vmalloc() may be freed where vfree() may not be called: later. */
#if LINUX_VERSION_CODE >= KERNEL_VERSION(7, 2, 0)
#define MOWN_HAVE_KVFREE_ATOMIC 1
#endif

/*
 * Nobody sees kfree_rcu()'s objects go from 6.15 on where it does without batches
 * (CONFIG_KVFREE_RCU_BATCHED), and from 6.18 on where it keeps objects of slabs.
 */
#define MOWN_SEES_RCU_END (LINUX_VERSION_CODE < KERNEL_VERSION(6, 15, 0))

/* An unwinder that begins at given registers, for modules, too. */
#if defined(CONFIG_X86_64) && defined(CONFIG_UNWINDER_ORC) && \
	defined(CONFIG_STACKTRACE)
#define MOWN_HAVE_FRAMES 1
#endif

/*
 * 6.2 brought ftrace_regs_get_argument(). It is the same as ours, and until then
 * powerpc cannot say where a function's arguments are.
 */
#if defined(CONFIG_DYNAMIC_FTRACE_WITH_ARGS) && defined(CONFIG_HAVE_FUNCTION_ARG_ACCESS_API)
#define MOWN_HAVE_FTRACE_ARGS 1
static inline unsigned long mown_ftrace_arg(struct ftrace_regs *fregs,
					    unsigned int n)
{
#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 2, 0)
	return regs_get_kernel_argument(&fregs->regs, n);
#else
	return ftrace_regs_get_argument(fregs, n);
#endif
}

/* 6.2 renamed this. */
static inline void mown_ftrace_go_to(struct ftrace_regs *fregs,
				     unsigned long ip)
{
#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 2, 0)
	ftrace_instruction_pointer_set(fregs, ip);
#else
	ftrace_regs_set_instruction_pointer(fregs, ip);
#endif
}

/*
 * 6.10 to 6.12 renamed most of what allocates: what was between them is not hooked.
 * Built in, a call of mown's cannot be told from the kernel's by where it comes from.
 */
#if (LINUX_VERSION_CODE < KERNEL_VERSION(6, 10, 0) || \
	LINUX_VERSION_CODE >= KERNEL_VERSION(6, 12, 0)) && defined(MODULE) && \
	defined(CONFIG_X86_64) && defined(CONFIG_TASKS_RCU)
#define MOWN_HAVE_HOOKS 1
#endif
#endif

/* ---- The names of what is hooked, and what it is called with ---- */

#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 10, 0)
#define MOWN_NOPROF(_func) _func
#define MOWN_KMALLOC_CACHE kmalloc_trace
#define MOWN_KMALLOC_CACHE_NODE kmalloc_node_trace
#define MOWN_KMALLOC_LARGE kmalloc_large
#define MOWN_KMALLOC_LARGE_NODE kmalloc_large_node
#define MOWN_KVMALLOC_NODE kvmalloc_node
#define MOWN_GET_FREE_PAGES __get_free_pages
#define MOWN_CACHE_CREATE kmem_cache_create
#define MOWN_PERCPU_ALLOC __alloc_percpu
#else
#define MOWN_NOPROF(_func) _func##_noprof
#define MOWN_KMALLOC_CACHE __kmalloc_cache_noprof
#define MOWN_KMALLOC_CACHE_NODE __kmalloc_cache_node_noprof
#define MOWN_KMALLOC_LARGE __kmalloc_large_noprof
#define MOWN_KMALLOC_LARGE_NODE __kmalloc_large_node_noprof
#define MOWN_KVMALLOC_NODE __kvmalloc_node_noprof
#define MOWN_GET_FREE_PAGES get_free_pages_noprof
#define MOWN_CACHE_CREATE __kmem_cache_create_args
#define MOWN_PERCPU_ALLOC pcpu_alloc_noprof
#endif

/* 6.11 brought buckets, and 7.2 a token, which come with a size. */
#ifdef DECL_KMALLOC_PARAMS
#define MOWN_SIZE_PARAMS DECL_TOKEN_PARAMS(size, token)
#define MOWN_SIZE_ARGS PASS_TOKEN_PARAMS(size, token)
#define MOWN_NODE_PARAMS DECL_KMALLOC_PARAMS(size, bucket, token)
#define MOWN_NODE_ARGS PASS_KMALLOC_PARAMS(size, bucket, token)
#else
#define MOWN_SIZE_PARAMS size_t size
#define MOWN_SIZE_ARGS size
#ifdef DECL_BUCKET_PARAMS
#define MOWN_NODE_PARAMS DECL_BUCKET_PARAMS(size, bucket)
#define MOWN_NODE_ARGS PASS_BUCKET_PARAMS(size, bucket)
#else
#define MOWN_NODE_PARAMS size_t size
#define MOWN_NODE_ARGS size
#endif
#endif

/* Which argument of __kmalloc_node_track_caller() is the caller, from 0. */
#define MOWN_TRACK_CALLER_ARG (3 + IS_ENABLED(CONFIG_SLAB_BUCKETS) + \
			       IS_ENABLED(CONFIG_KMALLOC_PARTITION_CACHES))

/* After 6.12 what may become larger got an alignment and a node, as did kvmalloc(). */
#ifdef krealloc_node_align
#define MOWN_KREALLOC krealloc_node_align_noprof
#define MOWN_KREALLOC_PARAMS (const void *ptr, MOWN_SIZE_PARAMS, unsigned long align, \
			      gfp_t gfp, int node)
#define MOWN_KREALLOC_ARGS (ptr, MOWN_SIZE_ARGS, align, gfp, node)
#define MOWN_KREALLOC_PLAIN (align <= 1 && node == NUMA_NO_NODE)
#define MOWN_KVREALLOC kvrealloc_node_align_noprof
#else
#define MOWN_KREALLOC MOWN_NOPROF(krealloc)
#define MOWN_KREALLOC_PARAMS (const void *ptr, size_t size, gfp_t gfp)
#define MOWN_KREALLOC_ARGS (ptr, size, gfp)
#define MOWN_KREALLOC_PLAIN true
#define MOWN_KVREALLOC kvrealloc_noprof
#endif
#ifdef kvmalloc_node_align
#define MOWN_KVMALLOC_PARAMS (MOWN_NODE_PARAMS, unsigned long align, gfp_t gfp, int node)
#define MOWN_KVMALLOC_ARGS (MOWN_NODE_ARGS, align, gfp, node)
#else
#define MOWN_KVMALLOC_PARAMS (MOWN_NODE_PARAMS, gfp_t gfp, int node)
#define MOWN_KVMALLOC_ARGS (MOWN_NODE_ARGS, gfp, node)
#endif

/* 7.2 says whether it has all, and not how many. */
#define MOWN_BULK typeof(MOWN_NOPROF(kmem_cache_alloc_bulk)(NULL, 0, 0, NULL))

/* And a node alone, these. */
#ifdef vmalloc_huge_node
#define MOWN_VMALLOC_HUGE vmalloc_huge_node_noprof
#define MOWN_VMALLOC_HUGE_PARAMS (unsigned long size, gfp_t gfp, int node)
#define MOWN_VMALLOC_HUGE_ARGS (size, gfp, node)
#else
#define MOWN_VMALLOC_HUGE MOWN_NOPROF(vmalloc_huge)
#define MOWN_VMALLOC_HUGE_PARAMS (unsigned long size, gfp_t gfp)
#define MOWN_VMALLOC_HUGE_ARGS (size, gfp)
#endif
#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 16, 0)
#define MOWN_DMA_POOL_CREATE dma_pool_create
#define MOWN_DMA_POOL_PARAMS (const char *name, struct device *dev, size_t size, \
			      size_t align, size_t boundary)
#define MOWN_DMA_POOL_ARGS (name, dev, size, align, boundary)
#else
#define MOWN_DMA_POOL_CREATE dma_pool_create_node
#define MOWN_DMA_POOL_PARAMS (const char *name, struct device *dev, size_t size, \
			      size_t align, size_t boundary, int node)
#define MOWN_DMA_POOL_ARGS (name, dev, size, align, boundary, node)
#endif

#endif /* _MOWN_COMPAT_H */
