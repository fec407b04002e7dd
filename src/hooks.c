// SPDX-License-Identifier: GPL-2.0
/*
 * Hooks: calls of attached modules are sent to wrap.c
 *
 * A few ftrace_ops have all functions of hooks.h but those that net.c has anyway.
 * Their handlers look where a call comes from: one of an attached module, or one
 * that frees what is recorded, goes on in the wrapper instead. Whoever else
 * calls pays for the look, which is one at a bitmap of pages, and at the filter.
 *
 * IPMODIFY is to be allowed to redirect; it keeps live patches and BPF
 * trampolines that would do the same to the function away, and us from it.
 * PERMANENT has the kernel refuse to switch ftrace off meanwhile. The handler
 * calls nothing that can be traced, so it needs no protection from recursion,
 * and the registers that it wants are the arguments, which come without asking
 * for all of them.
 */
#include <linux/kallsyms.h>
#include <linux/sort.h>
#include <linux/stacktrace.h>

#include "attach.h"

#ifdef MOWN_HAVE_HOOKS

enum mown_hook_how {
	MOWN_BY_CALLER,
	MOWN_BY_ARGUMENT,
	MOWN_BY_POINTER_0,
	MOWN_BY_POINTER_1,
	MOWN_BY_NET,
};

/**
 * struct mown_hook - a function whose calls may be redirected
 * @name: its name
 * @func: where it is
 * @wrapper: where its calls go instead
 * @how: by what it is known whether one does
 * @on: ftrace has it
 * @tried: calls arrive at the wrapper
 */
struct mown_hook {
	const char *name;
	void *func;
	void *wrapper;
	enum mown_hook_how how;
	bool on;
	bool tried;
};

/* Those of hooks.h; written at init. */
#define MOWN_HOOKS_MAX 64
static struct mown_hook mown_hooks[MOWN_HOOKS_MAX];
static unsigned int mown_nr_hooks;

/* Where those are, who allocate for their callers; likewise. */
#define MOWN_HELPERS_MAX 24
static struct mown_range mown_helpers[MOWN_HELPERS_MAX];
static unsigned int mown_nr_helpers;

/* mown's own text: a call from there is one of a wrapper's, or of the core's. */
static struct mown_range mown_own_text;

/* The part of it that stands for an attached module: try.c. */
static struct mown_range mown_try_text;
/* Who is in it, and how many of his calls were redirected. */
static struct task_struct *mown_try_task;
static unsigned long mown_try_calls;

/* By address of the function: open addressing, written at init. */
#define MOWN_HOOK_BITS 8
static struct {
	unsigned long ip;
	const struct mown_hook *hook;
} mown_hook_table[BIT(MOWN_HOOK_BITS)];

/* A function's call of ftrace comes this much behind its start, at most. */
#define MOWN_HOOK_OFFSET 8

/**
 * struct mown_texts - the text of all attached modules, sorted
 * @rcu: frees it
 * @nr: how many there are
 * @text: where each is, and whose it is
 */
struct mown_texts {
	struct rcu_head rcu;
	unsigned int nr;
	struct mown_text {
		struct mown_range range;
		struct module *mod;
	} text[];
};

/* Under mown_attach_lock; read with preemption off, or under RCU. */
static struct mown_texts __rcu *mown_texts;

/*
 * The pages that they are on, and the helpers, modulo as many: no other is looked up.
 * A bit is set before it is needed. Under mown_attach_lock, and read without it.
 */
#define MOWN_CALLER_PAGES 32768
static DECLARE_BITMAP(mown_caller_pages, MOWN_CALLER_PAGES);

/* Attached modules' calls are redirected. Under mown_attach_lock. */
static bool mown_hooks_on;
static bool mown_hooks_filtered;
/* ftrace has switched itself off and keeps the hooks. */
static bool mown_hooks_dead;

/* ---- Who calls ---- */

/* False if @ip surely is neither an attached module's nor a helper's. */
static __always_inline bool mown_maybe_caller(unsigned long ip)
{
	unsigned long page = (ip >> PAGE_SHIFT) % MOWN_CALLER_PAGES;

	return READ_ONCE(mown_caller_pages[BIT_WORD(page)]) & BIT_MASK(page);
}

/* The attached module that has @ip in its text, or NULL. */
static __always_inline struct module *mown_text_find(unsigned long ip)
{
	const struct mown_texts *texts;
	struct module *mod = NULL;
	unsigned int low, high;

	preempt_disable_notrace();
	texts = rcu_dereference_raw(mown_texts);
	for (low = 0, high = texts ? texts->nr : 0; low < high;) {
		unsigned int mid = low + (high - low) / 2;
		const struct mown_text *text = &texts->text[mid];

		if (mown_in_range(&text->range, ip)) {
			mod = text->mod;
			break;
		}
		if (ip < text->range.start)
			high = mid;
		else
			low = mid + 1;
	}
	preempt_enable_notrace();
	return mod;
}

static bool mown_is_helper(unsigned long ip)
{
	unsigned int i;

	for (i = 0; i < mown_nr_helpers; i++)
		if (mown_in_range(&mown_helpers[i], ip))
			return true;
	return false;
}

/* Has somebody put his own address in the place of return addresses? */
static bool mown_returns_are_hooked(void)
{
#ifdef CONFIG_RETHOOK
	if (current->rethooks.first)
		return true;
#endif
#ifdef CONFIG_FUNCTION_GRAPH_TRACER
	if (current->curr_ret_stack >= MOWN_RET_STACK_USED)
		return true;
#endif
	return false;
}

/* In mown's text, but for the part that stands for an attached module. */
static __always_inline bool mown_is_own(unsigned long ip)
{
	return mown_in_range(&mown_own_text, ip) &&
	       !mown_in_range(&mown_try_text, ip);
}

#define MOWN_UNWIND_MAX 12

/*
 * The attached module that called, by the stack, with @site as return address
 * of its call: of who called the helper at @site, or where return addresses are
 * hooked, of the wrapper's caller.
 */
static struct module *mown_unwind(unsigned long *site)
{
	unsigned long entries[MOWN_UNWIND_MAX];
	unsigned int i, nr;

	nr = stack_trace_save(entries, MOWN_UNWIND_MAX, 0);
	for (i = 0; i < nr && mown_is_own(entries[i]); i++)
		;
	if (mown_is_helper(*site))
		for (; i < nr && !mown_is_helper(entries[i]); i++)
			;
	/* A helper may have called where return addresses are hooked, too. */
	for (; i < nr && mown_is_helper(entries[i]); i++)
		;
	if (i == nr)
		return NULL;
	*site = entries[i];
	return mown_text_find(*site);
}

/*
 * The return address of the call of who passes it on to a wrapper as @caller, which is
 * a tracer's own where return addresses are hooked.
 */
unsigned long mown_hook_passed_on(unsigned long caller)
{
	unsigned long entries[MOWN_UNWIND_MAX];
	unsigned int i, nr;

	if (likely(!mown_returns_are_hooked()) || mown_text_find(caller) ||
	    mown_is_helper(caller))
		return caller;
	nr = stack_trace_save(entries, MOWN_UNWIND_MAX, 0);
	for (i = 0; i < nr && mown_is_own(entries[i]); i++)
		;
	/* That is the one who passes it on; behind it is its caller. */
	return i + 1 < nr ? entries[i + 1] : caller;
}

/**
 * mown_hook_module - find out for a wrapper who called it
 * @site: the return address; that of who called a helper, if one called
 *
 * Return: the attached module, or NULL if it is none.
 */
struct module *mown_hook_module(unsigned long *site)
{
	struct module *mod = mown_maybe_caller(*site) ? mown_text_find(*site) :
							NULL;

	if (unlikely(!mod && (mown_is_helper(*site) ||
			      mown_returns_are_hooked())))
		mod = mown_unwind(site);
	return mod;
}

/**
 * mown_hook_caller - the same, and who is to be named for that
 * @caller: what is found: an attached module, or nobody under mown
 * @site: the return address
 *
 * Return: whether it is an attached module.
 */
bool mown_hook_caller(struct mown_caller *caller, unsigned long site)
{
	struct module *mod = mown_hook_module(&site);

	*caller = (struct mown_caller) {
		.mod = mod,
		.way = mod ? MOWN_ATTACHED : MOWN_ANYBODY,
		.site = site,
		.frees = MOWN_FREES_KFREE,
	};
	return mod;
}

/* ---- The handlers ---- */

static const struct mown_hook *mown_hook_at(unsigned long ip)
{
	unsigned int i = hash_long(ip, MOWN_HOOK_BITS);

	while (mown_hook_table[i].ip != ip) {
		if (unlikely(!mown_hook_table[i].ip))
			return NULL;
		i = (i + 1) % ARRAY_SIZE(mown_hook_table);
	}
	return mown_hook_table[i].hook;
}

/* Let the call go on in the wrapper. */
void mown_hook_go_to(struct ftrace_regs *fregs, void *wrapper)
{
	if (unlikely(READ_ONCE(mown_try_task) == current))
		mown_try_calls++;
	mown_ftrace_go_to(fregs, (unsigned long)wrapper);
}

/*
 * The call at @parent_ip of the function at @ip may concern mown: it does if @by is in
 * an attached module, or in a helper; or if that is 0.
 */
static noinline void mown_hook_take(unsigned long ip, unsigned long parent_ip,
				    struct ftrace_regs *fregs, unsigned long by)
{
	const struct mown_hook *hook;

	if (mown_is_own(parent_ip) || in_nmi() ||
	    (by && !mown_text_find(by) && !mown_is_helper(by)))
		return;
	hook = mown_hook_at(ip);
	if (likely(hook))
		mown_hook_go_to(fregs, hook->wrapper);
}

static void mown_hook_by_caller(unsigned long ip, unsigned long parent_ip,
				struct ftrace_ops *ops,
				struct ftrace_regs *fregs)
{
	if (unlikely(mown_maybe_caller(parent_ip)))
		mown_hook_take(ip, parent_ip, fregs, parent_ip);
}

static void mown_hook_by_argument(unsigned long ip, unsigned long parent_ip,
				  struct ftrace_ops *ops,
				  struct ftrace_regs *fregs)
{
	unsigned long caller = mown_ftrace_arg(fregs, MOWN_TRACK_CALLER_ARG);

	/* See mown_hook_passed_on(). */
	if (unlikely(mown_returns_are_hooked()))
		mown_hook_take(ip, parent_ip, fregs, 0);
	else if (unlikely(mown_maybe_caller(caller)))
		mown_hook_take(ip, parent_ip, fregs, caller);
}

static __always_inline void mown_hook_by_pointer(unsigned long ip,
						 unsigned long parent_ip,
						 struct ftrace_regs *fregs,
						 unsigned long ptr)
{
	if (unlikely(mown_maybe_recorded(ptr)))
		mown_hook_take(ip, parent_ip, fregs, 0);
	else if (unlikely(mown_maybe_caller(parent_ip)))
		mown_hook_take(ip, parent_ip, fregs, parent_ip);
}

static void mown_hook_by_pointer_0(unsigned long ip, unsigned long parent_ip,
				   struct ftrace_ops *ops,
				   struct ftrace_regs *fregs)
{
	mown_hook_by_pointer(ip, parent_ip, fregs, mown_ftrace_arg(fregs, 0));
}

static void mown_hook_by_pointer_1(unsigned long ip, unsigned long parent_ip,
				   struct ftrace_ops *ops,
				   struct ftrace_regs *fregs)
{
	mown_hook_by_pointer(ip, parent_ip, fregs, mown_ftrace_arg(fregs, 1));
}

/*
 * For net.c: do calls from @parent_ip of what frees go on in the wrapper? The
 * observer may redirect only if nobody else can.
 */
bool mown_hook_takes_calls(const struct ftrace_ops *ops,
			   unsigned long parent_ip)
{
	return READ_ONCE(mown_hooks_on) &&
	       (READ_ONCE(ops->flags) & FTRACE_OPS_FL_IPMODIFY) &&
	       mown_maybe_caller(parent_ip) && mown_text_find(parent_ip);
}

/* And those that free @ptr, whoever calls but mown itself? */
bool mown_hook_takes(const struct ftrace_ops *ops, unsigned long ptr,
		     unsigned long parent_ip)
{
	if (mown_hook_takes_calls(ops, parent_ip))
		return true;
	return READ_ONCE(mown_hooks_on) &&
	       (READ_ONCE(ops->flags) & FTRACE_OPS_FL_IPMODIFY) &&
	       mown_maybe_recorded(ptr) &&
	       !mown_is_own(parent_ip);
}

/* By enum mown_hook_how. */
static struct ftrace_ops mown_hook_ops[MOWN_BY_NET] = {
	[MOWN_BY_CALLER] = {
		.func = mown_hook_by_caller,
		.flags = FTRACE_OPS_FL_IPMODIFY | FTRACE_OPS_FL_PERMANENT,
	},
	[MOWN_BY_ARGUMENT] = {
		.func = mown_hook_by_argument,
		.flags = FTRACE_OPS_FL_IPMODIFY | FTRACE_OPS_FL_PERMANENT,
	},
	[MOWN_BY_POINTER_0] = {
		.func = mown_hook_by_pointer_0,
		.flags = FTRACE_OPS_FL_IPMODIFY | FTRACE_OPS_FL_PERMANENT,
	},
	[MOWN_BY_POINTER_1] = {
		.func = mown_hook_by_pointer_1,
		.flags = FTRACE_OPS_FL_IPMODIFY | FTRACE_OPS_FL_PERMANENT,
	},
};

/* They are registered. Under mown_attach_lock. */
static bool mown_hook_ops_on[MOWN_BY_NET];

/* ---- On and off ---- */

static void mown_hook_enter(const struct mown_hook *hook, unsigned long ip)
{
	unsigned int i = hash_long(ip, MOWN_HOOK_BITS);

	while (mown_hook_table[i].ip)
		i = (i + 1) % ARRAY_SIZE(mown_hook_table);
	mown_hook_table[i].ip = ip;
	mown_hook_table[i].hook = hook;
}

/*
 * What the kernel at hand does not let trace stays off. Without memory to find that
 * out nothing is known of the rest: -ENOMEM, and the next time goes on from there.
 */
static int mown_hooks_filter(void)
{
	unsigned int i, at;
	int ret;

	if (mown_hooks_filtered)
		return 0;
	for (i = 0; i < mown_nr_hooks; i++) {
		struct mown_hook *hook = &mown_hooks[i];
		unsigned long ip = (unsigned long)hook->func;

		if (hook->on)
			continue;
		if (hook->how == MOWN_BY_NET) {
			hook->on = true;
			continue;
		}
		ret = ftrace_set_filter_ip(&mown_hook_ops[hook->how], ip, 0, 0);
		if (ret == -ENOMEM)
			return ret;
		hook->on = !ret;
		for (at = 0; hook->on && at <= MOWN_HOOK_OFFSET; at += 4)
			mown_hook_enter(hook, ip + at);
	}
	mown_hooks_filtered = true;
	return 0;
}

unsigned long mown_hook_calls(void)
{
	return READ_ONCE(mown_try_calls);
}

static void mown_hooks_unregister_ops(enum mown_hook_how how)
{
	if (!mown_hook_ops_on[how])
		return;
	mown_hook_ops_on[how] = false;
	if (unregister_ftrace_function(&mown_hook_ops[how]))
		mown_hooks_dead = true;
}

static void mown_hooks_unregister_all(void)
{
	enum mown_hook_how how;

	for (how = 0; how < MOWN_BY_NET; how++)
		mown_hooks_unregister_ops(how);
}

/* Without a function, ops would have all of the kernel's. */
static bool mown_hooks_wanted(enum mown_hook_how how)
{
	unsigned int i;

	for (i = 0; i < mown_nr_hooks; i++)
		if (mown_hooks[i].how == how && mown_hooks[i].on)
			return true;
	return false;
}

static int mown_hooks_register_all(void)
{
	enum mown_hook_how how;
	int ret = 0;

	for (how = 0; !ret && how < MOWN_BY_NET; how++) {
		if (!mown_hooks_wanted(how))
			continue;
		ret = mown_ftrace_register(&mown_hook_ops[how]);
		mown_hook_ops_on[how] = !ret;
	}
	if (ret)
		mown_hooks_unregister_all();
	return ret;
}

/* A call of the function was made; it was redirected, or was not. */
void mown_hook_tried(const char *name, bool arrived)
{
	unsigned int i;

	for (i = 0; i < mown_nr_hooks; i++) {
		struct mown_hook *hook = &mown_hooks[i];

		if (strcmp(hook->name, name))
			continue;
		hook->tried = arrived;
		/* The net has what is to be said of its own. */
		if (arrived || !hook->on || hook->how == MOWN_BY_NET)
			continue;
		pr_warn("calls of %s() are not redirected: it is left alone\n",
			name);
		hook->on = false;
		if (!mown_hooks_wanted(hook->how))
			mown_hooks_unregister_ops(hook->how);
		else
			hook->on = ftrace_set_filter_ip(&mown_hook_ops[hook->how],
							(unsigned long)hook->func,
							1, 0);
	}
}

/* Once: let try.c call each, as an attached module with all of the net would. */
static void mown_hooks_try(void)
{
	const struct mown_range none = {};
	static bool done;

	if (done || mown_hooks_add(THIS_MODULE, &mown_try_text, &none))
		return;
	done = true;
	mutex_lock(&mown_owners_lock);
	mown_net_spread();
	mutex_unlock(&mown_owners_lock);
	WRITE_ONCE(mown_try_task, current);
	mown_try();
	WRITE_ONCE(mown_try_task, NULL);
	mutex_lock(&mown_owners_lock);
	mown_net_update();
	mutex_unlock(&mown_owners_lock);
	mown_hooks_remove(THIS_MODULE, NULL);
}

/*
 * Let the calls of attached modules be redirected. 0; -EBUSY if ftrace is
 * switched off, or somebody else has a function for himself.
 */
int mown_hooks_register(void)
{
	int ret;

	if (mown_hooks_dead)
		return -ENODEV;
	if (mown_hooks_on)
		return 0;
	ret = mown_hooks_filter();
	if (ret)
		return ret;
	ret = mown_hooks_register_all();
	if (ret) {
		pr_warn("functions cannot be hooked (%d): kernel.ftrace_enabled is 0, or another has one for himself, see I in /sys/kernel/tracing/enabled_functions\n",
			ret);
		return ret;
	}
	WRITE_ONCE(mown_hooks_on, true);
	mown_hooks_try();
	return 0;
}

void mown_hooks_unregister(void)
{
	if (!mown_hooks_on || mown_hooks_dead)
		return;
	WRITE_ONCE(mown_hooks_on, false);
	mown_hooks_unregister_all();
}

/* Replace the texts; what is there already stays as it is on -ENOMEM. */
static struct mown_texts *mown_texts_new(unsigned int nr)
{
	struct mown_texts *texts;

	texts = kvmalloc(struct_size(texts, text, nr), GFP_KERNEL);
	if (texts)
		texts->nr = 0;
	return texts;
}

static int mown_text_order(const void *a, const void *b)
{
	const struct mown_text *x = a, *y = b;

	return x->range.start < y->range.start ? -1 : 1;
}

static void mown_pages_add(unsigned long *pages, const struct mown_range *range)
{
	unsigned long at;

	for (at = range->start & PAGE_MASK; at < range->start + range->size;
	     at += PAGE_SIZE)
		__set_bit((at >> PAGE_SHIFT) % MOWN_CALLER_PAGES, pages);
}

/* A bit that is wanted before and after is there all the time. */
static void mown_pages_replace(const struct mown_texts *texts)
{
	static DECLARE_BITMAP(pages, MOWN_CALLER_PAGES);
	unsigned int i;

	bitmap_zero(pages, MOWN_CALLER_PAGES);
	for (i = 0; i < texts->nr; i++)
		mown_pages_add(pages, &texts->text[i].range);
	for (i = 0; i < mown_nr_helpers; i++)
		mown_pages_add(pages, &mown_helpers[i]);
	for (i = 0; i < BITS_TO_LONGS(MOWN_CALLER_PAGES); i++)
		if (mown_caller_pages[i] != pages[i])
			WRITE_ONCE(mown_caller_pages[i], pages[i]);
}

static void mown_texts_replace(struct mown_texts *texts)
{
	struct mown_texts *old = rcu_dereference_protected(mown_texts, true);

	sort(texts->text, texts->nr, sizeof(texts->text[0]), mown_text_order,
	     NULL);
	mown_pages_replace(texts);
	rcu_assign_pointer(mown_texts, texts);
	if (old)
		kvfree_rcu(old, rcu);
}

/* From here on calls from the module's text are taken for its own. */
int mown_hooks_add(struct module *mod, const struct mown_range *text,
		   const struct mown_range *init)
{
	struct mown_texts *old = rcu_dereference_protected(mown_texts, true);
	unsigned int nr = old ? old->nr : 0;
	struct mown_texts *texts = mown_texts_new(nr + 2);

	if (!texts)
		return -ENOMEM;
	if (nr)
		memcpy(texts->text, old->text, nr * sizeof(texts->text[0]));
	texts->text[nr++] = (struct mown_text) { *text, mod };
	if (init->size)
		texts->text[nr++] = (struct mown_text) { *init, mod };
	texts->nr = nr;
	mown_texts_replace(texts);
	return 0;
}

/*
 * From here on calls from what the module has at @init, or from all of it if
 * that is NULL, are nobody's. Must not fail: the text is about to go.
 */
void mown_hooks_remove(struct module *mod, const struct mown_range *init)
{
	struct mown_texts *old = rcu_dereference_protected(mown_texts, true);
	struct mown_texts *texts;
	unsigned int i, nr;

	if (!old)
		return;
	nr = old->nr;
	texts = mown_texts_new(nr);
	/*
	 * Short of memory it is changed in place, while nobody looks: what other
	 * attached modules allocate in that moment is not recorded.
	 */
	if (!texts) {
		rcu_assign_pointer(mown_texts, NULL);
		synchronize_rcu();
		texts = old;
		texts->nr = 0;
		for (i = 0; i < nr; i++)
			if (texts->text[i].mod != mod ||
			    (init && texts->text[i].range.start != init->start))
				texts->text[texts->nr++] = texts->text[i];
		rcu_assign_pointer(mown_texts, texts);
		return;
	}
	for (i = 0; i < nr; i++)
		if (old->text[i].mod != mod ||
		    (init && old->text[i].range.start != init->start))
			texts->text[texts->nr++] = old->text[i];
	mown_texts_replace(texts);
}

/* ---- Coming and going ---- */

static void __init mown_hook_new(const char *name, void *func, void *wrapper,
				 enum mown_hook_how how)
{
	if (WARN_ON(mown_nr_hooks == MOWN_HOOKS_MAX))
		return;
	mown_hooks[mown_nr_hooks++] = (struct mown_hook) {
		.name = name,
		.func = func,
		.wrapper = wrapper,
		.how = how,
	};
}

static void __init mown_helper_new(unsigned long func)
{
	if (WARN_ON(mown_nr_helpers == MOWN_HELPERS_MAX))
		return;
	mown_helpers[mown_nr_helpers++] = (struct mown_range) {
		.start = func,
		.size = mown_function_size(func),
	};
}

#define __MOWN_HOOK(_func, _how) \
	mown_hook_new(#_func, _func, mown_wrap_##_func, _how)
#define MOWN_HOOK(_func, _how) __MOWN_HOOK(_func, _how)
#define MOWN_HELPER(_func) \
	mown_helper_new((unsigned long)(_func))

void __init mown_hooks_init(void)
{
	mown_own_text.start = (unsigned long)mown_module_text(THIS_MODULE)->base;
	mown_own_text.size = mown_module_text(THIS_MODULE)->size;
#include "hooks.h"
	mown_try_text.start = (unsigned long)mown_try;
	mown_try_text.size = mown_function_size(mown_try_text.start);
}

/*
 * With the hooks unregistered, which waits for whoever is between a function
 * and its wrapper: wait for those inside, and then for their last instructions.
 */
void mown_hooks_exit(void)
{
	unsigned int i;

	while (mown_hooks_dead) {
		pr_emerg_once("ftrace does not let go of the hooks: mown stays\n");
		schedule_timeout_idle(MAX_SCHEDULE_TIMEOUT);
	}
	synchronize_srcu(&mown_wrappers);
	synchronize_rcu_tasks_rude();
	synchronize_rcu_tasks();
	for (i = 0; i < ARRAY_SIZE(mown_hook_ops); i++)
		ftrace_free_filter(&mown_hook_ops[i]);
	/* Nobody looks any more, and what was replaced is freed by RCU. */
	kvfree(rcu_dereference_protected(mown_texts, true));
}

/* Who attaches just now keeps nobody from reading how things are at the moment. */
static bool mown_hook_says(const bool *what)
{
	/* It changes under mown_attach_lock, once. */
	return data_race(*what);
}

void mown_hooks_show(struct seq_file *m)
{
	bool hooked = READ_ONCE(mown_hooks_on);
	unsigned int i, on = 0;

	for (i = 0; hooked && i < mown_nr_hooks; i++)
		on += mown_hook_says(&mown_hooks[i].on);
	seq_printf(m, "hooks %s %u functions that calls of attached modules are redirected from\n",
		   hooked ? "on" : "off", on);
	for (i = 0; mown_hook_says(&mown_hooks_filtered) && i < mown_nr_hooks; i++) {
		if (!mown_hook_says(&mown_hooks[i].on))
			seq_printf(m, "hook_missing %s the kernel does not let it be hooked\n",
				   mown_hooks[i].name);
		else if (hooked && !mown_hook_says(&mown_hooks[i].tried))
			seq_printf(m, "hook_untried %s it is hooked, but was not tried at first\n",
				   mown_hooks[i].name);
	}
}

#endif /* MOWN_HAVE_HOOKS */
