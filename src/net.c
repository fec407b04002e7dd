// SPDX-License-Identifier: GPL-2.0
/*
 * The net: frees that do not come through mown, by whoever
 *
 * As long as an owner is there, probes on the allocator's tracepoints see
 * every free in the system, and hooks see the few paths that pass no tracepoint:
 * they observe, and redirect only what concerns an attached module (hooks.c).
 * A record lives only as long as its object because of this: without a whole net
 * nothing may wait in quarantine and nothing may be reclaimed, or mown would
 * free what is free.
 *
 * Probes run with anything locked: see mown_observe_free().
 */
#include <linux/delay.h>
#include <linux/mm.h>
#include <linux/sched.h>
#include <linux/slab.h>
#include <linux/tracepoint.h>
#include <linux/workqueue.h>
#include <trace/events/kmem.h>

#include "attach.h"

/*
 * How long the net outlives the last owner. To switch ftrace off takes until
 * every task has been off its CPU, which whoever unloads a module need not
 * wait for; and who loads it again at once finds the net as it was.
 */
#define MOWN_NET_LINGER_MS 1000

/* All under mown_owners_lock. */
static bool mown_net_on;
static bool mown_net_whole;
static const char *mown_net_hole;

static void mown_probe_kfree(void *data, unsigned long site, const void *ptr)
{
	mown_observe_free((unsigned long)ptr, site);
}

static void mown_probe_kmem_cache_free(void *data, unsigned long site,
				       const void *ptr,
				       const struct kmem_cache *cache)
{
	mown_observe_free((unsigned long)ptr, site);
}

/*
 * Pages go when the last who holds them lets them go. So does memory of
 * kmalloc() that is larger than its caches.
 */
static void mown_probe_mm_page_free(void *data, struct page *page,
				    unsigned int order)
{
	/* Newer kernels free pages there, which are nobody's under mown. */
	if (!PageHighMem(page) && !in_nmi())
		mown_observe_free((unsigned long)page_address(page), _RET_IP_);
}

static void mown_probe_percpu_free(void *data, void *base, int offset,
				   void __percpu *cookie)
{
	mown_observe_free(mown_percpu_key(__mown_from_percpu(cookie)), _RET_IP_);
}

/**
 * struct mown_probe - a tracepoint of the net
 * @name: its name
 * @func: the probe
 * @tp: the tracepoint, when it is found
 * @on: the probe is registered
 */
struct mown_probe {
	const char *name;
	void *func;
	struct tracepoint *tp;
	bool on;
};

static struct mown_probe mown_probes[] = {
	{ .name = "kfree", .func = mown_probe_kfree },
	{ .name = "kmem_cache_free", .func = mown_probe_kmem_cache_free },
	{ .name = "mm_page_free", .func = mown_probe_mm_page_free },
	{ .name = "percpu_free_percpu", .func = mown_probe_percpu_free },
};

/* Not all of them are exported, but all can be walked. */
static void mown_find_tracepoint(struct tracepoint *tp, void *data)
{
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(mown_probes); i++)
		if (!strcmp(tp->name, mown_probes[i].name))
			mown_probes[i].tp = tp;
}

static void mown_probes_register(void)
{
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(mown_probes); i++) {
		struct mown_probe *probe = &mown_probes[i];

		if (probe->on)
			continue;
		probe->on = probe->tp &&
			    !tracepoint_probe_register(probe->tp, probe->func,
						       NULL);
		if (!probe->on)
			mown_net_hole = probe->name;
	}
}

static void mown_probes_unregister(void)
{
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(mown_probes); i++) {
		struct mown_probe *probe = &mown_probes[i];

		if (probe->on)
			tracepoint_probe_unregister(probe->tp, probe->func,
						    NULL);
		probe->on = false;
	}
	tracepoint_synchronize_unregister();
}

#ifdef MOWN_HAVE_FTRACE_ARGS

/*
 * A function that attach hooks as well has but this one observer, so that each
 * call is either redirected or observed.
 */
#ifdef MOWN_HAVE_HOOKS
#define MOWN_WATCH_FLAGS (FTRACE_OPS_FL_PERMANENT | FTRACE_OPS_FL_IPMODIFY)
#define MOWN_WRAPPER(func) mown_wrap_##func
#else
#define MOWN_WATCH_FLAGS FTRACE_OPS_FL_PERMANENT
#define MOWN_WRAPPER(func) NULL
#endif

static void mown_see_kvfree_call_rcu(unsigned long ip, unsigned long parent_ip,
				     struct ftrace_ops *ops,
				     struct ftrace_regs *fregs)
{
	unsigned long ptr;

	if (in_nmi())
		return;
	ptr = mown_kvfree_call_rcu_ptr(mown_ftrace_arg(fregs, 0),
				       mown_ftrace_arg(fregs, 1));
	if (mown_hook_takes(ops, ptr, parent_ip))
		mown_hook_go_to(fregs, MOWN_WRAPPER(kvfree_call_rcu));
	else
		mown_observe_rcu(ptr, parent_ip);
}

static void mown_see_vfree(unsigned long ip, unsigned long parent_ip,
			   struct ftrace_ops *ops, struct ftrace_regs *fregs)
{
	unsigned long ptr = mown_ftrace_arg(fregs, 0);

	if (in_nmi())
		return;
	if (mown_hook_takes(ops, ptr, parent_ip))
		mown_hook_go_to(fregs, MOWN_WRAPPER(vfree));
	else
		mown_observe_free(ptr, parent_ip);
}

#ifdef MOWN_HAVE_KVFREE_ATOMIC
/* Of vmalloc()'s memory: a work item calls vfree(), when it may be too late. */
static void mown_see_kvfree_atomic(unsigned long ip, unsigned long parent_ip,
				   struct ftrace_ops *ops,
				   struct ftrace_regs *fregs)
{
	const unsigned long ptr = mown_ftrace_arg(fregs, 0);

	/* Other memory is kfree()'s, which it calls. */
	if (!in_nmi() && is_vmalloc_addr((void *)ptr))
		mown_observe_free(ptr, parent_ip);
}
#endif

/* kmem_cache_free_bulk(cache, nr, ptrs), which kfree_bulk() is, too. */
static void mown_see_free_bulk(unsigned long ip, unsigned long parent_ip,
			       struct ftrace_ops *ops,
			       struct ftrace_regs *fregs)
{
	unsigned long i, nr = mown_ftrace_arg(fregs, 1);
	void **ptrs = (void **)mown_ftrace_arg(fregs, 2);

	if (in_nmi())
		return;
	if (mown_hook_takes_calls(ops, parent_ip)) {
		mown_hook_go_to(fregs, MOWN_WRAPPER(kmem_cache_free_bulk));
		return;
	}
	for (i = 0; i < nr; i++)
		mown_observe_free((unsigned long)ptrs[i], parent_ip);
}

/* Is the call that came to @ip, at the begin of a function, one of @func? */
static bool mown_is_call_of(unsigned long ip, const void *func)
{
	/* There may be an instruction before it that marks a begin. */
	return ip - (unsigned long)func < 16;
}

/* What goes back to a pool, or to where a device's memory comes from. */
static void mown_see_pools(unsigned long ip, unsigned long parent_ip,
			   struct ftrace_ops *ops, struct ftrace_regs *fregs)
{
	unsigned int families;
	unsigned long ptr;
	void *wrapper;
	int family;

	if (in_nmi())
		return;
	if (mown_is_call_of(ip, mempool_free)) {
		ptr = mown_ftrace_arg(fregs, 0);
		families = ptr ? mown_pool_frees((void *)mown_ftrace_arg(fregs, 1)) : 0;
		wrapper = MOWN_WRAPPER(mempool_free);
	} else if (mown_is_call_of(ip, dma_pool_free)) {
		families = BIT(MOWN_DMA_BLOCK);
		ptr = mown_ftrace_arg(fregs, 1);
		wrapper = MOWN_WRAPPER(dma_pool_free);
	} else {
		families = BIT(MOWN_DMA);
		ptr = mown_ftrace_arg(fregs, 2);
		wrapper = MOWN_WRAPPER(dma_free_attrs);
	}
	if (mown_hook_takes(ops, ptr, parent_ip)) {
		mown_hook_go_to(fregs, wrapper);
		return;
	}
	family = mown_recorded_as(ptr);
	if (family >= 0 && families & BIT(family))
		mown_observe_free(ptr, parent_ip);
}

#ifdef MOWN_HAVE_POOL_BULK
/*
 * mempool_free_bulk(pool, elements, nr): how many it takes, from the first on, is not
 * known yet; the caller keeps the others, to free them.
 */
static void mown_see_pool_bulk(unsigned long ip, unsigned long parent_ip,
			       struct ftrace_ops *ops,
			       struct ftrace_regs *fregs)
{
	const mempool_t *pool = (void *)mown_ftrace_arg(fregs, 0);
	void **elements = (void **)mown_ftrace_arg(fregs, 1);
	unsigned int i, nr = mown_ftrace_arg(fregs, 2);
	int family;

	if (in_nmi())
		return;
	for (i = 0; i < nr; i++) {
		family = mown_recorded_as((unsigned long)elements[i]);
		if (family >= 0 && mown_pool_frees(pool) & BIT(family))
			__mown_observe_free((unsigned long)elements[i],
					    parent_ip, MOWN_SEEN_OFFERED);
	}
}
#endif

/* What is free to go page by page is not to be given back as a block. */
static void mown_see_split_page(unsigned long ip, unsigned long parent_ip,
				struct ftrace_ops *ops,
				struct ftrace_regs *fregs)
{
	struct page *page = (struct page *)mown_ftrace_arg(fregs, 0);

	if (in_nmi() || PageHighMem(page))
		return;
	if (mown_hook_takes_calls(ops, parent_ip))
		mown_hook_go_to(fregs, MOWN_WRAPPER(split_page));
	else
		mown_observe_split((unsigned long)page_address(page));
}

#define MOWN_WATCH_FUNCS 3

/**
 * struct mown_watch - functions that free and pass no tracepoint
 * @name: the first one's
 * @funcs: as many as there are. By address: modules may have functions of these names.
 * @ops: the observer. PERMANENT: while it is on, the kernel refuses to switch
 *	 ftrace off. As many: they are told apart by what is called.
 * @filtered: @ops has its filter, which it keeps: ftrace_free_filter() leaves
 *	      ops in 6.1 that must not be used again
 * @on: it is registered
 * @dead: it could not be unregistered, as ftrace has switched itself off
 */
struct mown_watch {
	const char *name;
	const void *funcs[MOWN_WATCH_FUNCS];
	struct ftrace_ops ops;
	bool filtered;
	bool on;
	bool dead;
};

static struct mown_watch mown_watches[] = {
	{
		.name = "kvfree_call_rcu",
		.funcs = { kvfree_call_rcu },
		.ops = {
			.func = mown_see_kvfree_call_rcu,
			.flags = MOWN_WATCH_FLAGS,
		},
	}, {
		.name = "vfree",
		.funcs = { vfree },
		.ops = {
			.func = mown_see_vfree,
			.flags = MOWN_WATCH_FLAGS,
		},
#ifdef MOWN_HAVE_KVFREE_ATOMIC
	}, {
		.name = "kvfree_atomic",
		.funcs = { kvfree_atomic },
		.ops = {
			.func = mown_see_kvfree_atomic,
			.flags = MOWN_WATCH_FLAGS,
		},
#endif
	}, {
		.name = "kmem_cache_free_bulk",
		.funcs = { kmem_cache_free_bulk },
		.ops = {
			.func = mown_see_free_bulk,
			.flags = MOWN_WATCH_FLAGS,
		},
	}, {
		.name = "mempool_free",
		.funcs = {
			mempool_free,
#ifdef CONFIG_HAS_DMA
			dma_pool_free,
			dma_free_attrs,
#endif
		},
		.ops = {
			.func = mown_see_pools,
			.flags = MOWN_WATCH_FLAGS,
		},
#ifdef MOWN_HAVE_POOL_BULK
	}, {
		.name = "mempool_free_bulk",
		.funcs = { mempool_free_bulk },
		.ops = {
			.func = mown_see_pool_bulk,
			.flags = MOWN_WATCH_FLAGS,
		},
#endif
	}, {
		.name = "split_page",
		.funcs = { split_page },
		.ops = {
			.func = mown_see_split_page,
			.flags = MOWN_WATCH_FLAGS,
		},
	},
};

static bool mown_watch_filter(struct mown_watch *watch)
{
	unsigned int i;

	for (i = 0; i < MOWN_WATCH_FUNCS && watch->funcs[i]; i++)
		if (ftrace_set_filter_ip(&watch->ops,
					 (unsigned long)watch->funcs[i], 0, !i))
			return false;
	return true;
}

/* A BPF program that traces a function makes room for us, but not at once. */
#define MOWN_REGISTER_TRIES 20

int mown_ftrace_register(struct ftrace_ops *ops)
{
	int ret, tries = 0;

	while ((ret = register_ftrace_function(ops)) == -EAGAIN &&
	       ++tries < MOWN_REGISTER_TRIES)
		msleep(20);
	return ret == -EAGAIN ? -EBUSY : ret;
}

static bool mown_watch_register(struct mown_watch *watch)
{
	if (!watch->filtered)
		watch->filtered = mown_watch_filter(watch);
	if (!watch->filtered)
		return false;
	if (!mown_ftrace_register(&watch->ops))
		return true;
	/* Another may redirect it: what is only seen is seen all the same. */
	if (!(watch->ops.flags & FTRACE_OPS_FL_IPMODIFY))
		return false;
	watch->ops.flags &= ~FTRACE_OPS_FL_IPMODIFY;
	if (!mown_ftrace_register(&watch->ops))
		return true;
	/* That was not the reason. */
	watch->ops.flags |= FTRACE_OPS_FL_IPMODIFY;
	return false;
}

/* Can calls of all of them be redirected, as far as is known yet? */
bool mown_net_redirects(void)
{
	unsigned int i;

	for (i = 0; mown_net_on && i < ARRAY_SIZE(mown_watches); i++)
		if (!mown_watches[i].on ||
		    !(mown_watches[i].ops.flags & FTRACE_OPS_FL_IPMODIFY))
			return false;
	return true;
}

static void mown_watches_register(void)
{
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(mown_watches); i++) {
		struct mown_watch *watch = &mown_watches[i];

		if (!watch->on)
			watch->on = mown_watch_register(watch);
		if (!watch->on || watch->dead)
			mown_net_hole = watch->name;
	}
}

static void mown_watches_unregister(void)
{
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(mown_watches); i++) {
		struct mown_watch *watch = &mown_watches[i];

		if (watch->on)
			watch->dead = unregister_ftrace_function(&watch->ops);
		watch->on = watch->dead;
		if (!watch->on)
			watch->ops.flags |= MOWN_WATCH_FLAGS;
	}
}

static void mown_watches_exit(void)
{
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(mown_watches); i++) {
		struct mown_watch *watch = &mown_watches[i];

		/* A hook that stays must not lose its text: nor can we go. */
		while (watch->on) {
			pr_emerg_once("ftrace does not let go of %s(): mown stays\n",
				      watch->name);
			schedule_timeout_idle(MAX_SCHEDULE_TIMEOUT);
		}
		if (watch->filtered)
			ftrace_free_filter(&watch->ops);
	}
}

#else

static void mown_watches_register(void)
{
	mown_net_hole = "ftrace";
}

bool mown_net_redirects(void)
{
	return false;
}

static void mown_watches_unregister(void) {}
static void mown_watches_exit(void) {}

#endif

/*
 * Before an owner is published; what could not be had earlier is tried again.
 * Returns whether the net is whole. It stays so until the last owner goes, but
 * what came before it was may have been freed unseen.
 */
bool mown_net_spread(void)
{
	lockdep_assert_held(&mown_owners_lock);
	if (mown_net_whole)
		return true;
	mown_net_hole = NULL;
	mown_probes_register();
	mown_watches_register();
	mown_net_on = true;
	mown_net_whole = !mown_net_hole;
	if (!mown_net_whole)
		pr_warn("the net is incomplete without %s: quarantine is off, nothing is reclaimed\n",
			mown_net_hole);
	return mown_net_whole;
}

/* What could not be had earlier, if anything is wanted, is tried again. */
void mown_net_retry(void)
{
	lockdep_assert_held(&mown_owners_lock);
	if (mown_net_on)
		mown_net_spread();
}

/* When the last owner has gone nothing is left in anybody's way. */
static void mown_net_off(struct work_struct *work)
{
	mutex_lock(&mown_owners_lock);
	if (mown_net_on && list_empty(&mown_owners)) {
		mown_net_whole = false;
		mown_watches_unregister();
		mown_probes_unregister();
		mown_net_on = false;
	}
	mutex_unlock(&mown_owners_lock);
}

static DECLARE_DELAYED_WORK(mown_net_off_work, mown_net_off);

/* An owner has gone: if it was the last, the net goes some time later. */
void mown_net_update(void)
{
	lockdep_assert_held(&mown_owners_lock);
	if (mown_net_on && list_empty(&mown_owners))
		mod_delayed_work(mown_system_wq, &mown_net_off_work,
				 msecs_to_jiffies(MOWN_NET_LINGER_MS));
}

/* Do not let it outlive the last owner any longer. */
void mown_net_hurry(void)
{
	flush_delayed_work(&mown_net_off_work);
}

void mown_net_show(struct seq_file *m)
{
	mutex_lock(&mown_owners_lock);
	if (!mown_net_on)
		seq_puts(m, "net off there is no owner, no free is looked for\n");
	else if (!mown_net_hole)
		seq_puts(m, "net complete every free of recorded memory is seen\n");
	else
		seq_printf(m, "net incomplete(%s) frees may go unseen: quarantine is off, left_behind only reports\n",
			   mown_net_hole);
	mutex_unlock(&mown_owners_lock);
}

void mown_net_init(void)
{
	for_each_kernel_tracepoint(mown_find_tracepoint, NULL);
}

/* With no owner any more. */
void mown_net_exit(void)
{
	cancel_delayed_work_sync(&mown_net_off_work);
	mown_net_off(NULL);
	mown_watches_exit();
}
