/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Attached modules: who they are (attach.c), which functions' calls of theirs
 * are redirected (hooks.c, hooks.h), and to what (wrap.c)
 */
#ifndef _MOWN_ATTACH_H
#define _MOWN_ATTACH_H

#include <linux/cpumask.h>
#include <linux/device.h>
#include <linux/dma-mapping.h>
#include <linux/dmapool.h>
#include <linux/gfp.h>
#include <linux/mempool.h>
#include <linux/mm.h>
#include <linux/percpu.h>
#include <linux/slab.h>
#include <linux/srcu.h>
#include <linux/string.h>
#include <linux/vmalloc.h>
#include <net/netlink.h>
#include <net/sock.h>

#include "compat.h"
#include "mown.h"

/* Of <linux/ftrace.h>, which has it only if functions can be traced. */
struct ftrace_ops;
struct ftrace_regs;

/* net.c */
int mown_ftrace_register(struct ftrace_ops *ops);

/*
 * The names, the hooks, and the coming and going of attached owners. Taken
 * before mown_owners_lock. Held while faces are added and removed, whose users
 * do not want it, and while hooks go, which takes until every task has been off
 * its CPU: modules that come wait for that.
 */
extern struct mutex mown_attach_lock;

int mown_attach(const char *name);
int mown_detach(const char *name);
bool mown_attach_wants(const char *name);
bool mown_attach_has(const char *name);
void mown_attach_update(void);
void mown_attach_init(void);
void mown_attach_exit(void);
int mown_attach_show(struct seq_file *m);

/* modules.c */
int mown_module_attach(struct module *mod);
void mown_module_detach(struct mown_owner *owner);

#ifdef MOWN_HAVE_HOOKS

#define MOWN_CAN_HOOK true
extern struct srcu_struct mown_wrappers;
unsigned long mown_hook_passed_on(unsigned long caller);
struct module *mown_hook_module(unsigned long *site);
bool mown_hook_caller(struct mown_caller *caller, unsigned long site);
bool mown_hook_takes_calls(const struct ftrace_ops *ops,
			   unsigned long parent_ip);
bool mown_hook_takes(const struct ftrace_ops *ops, unsigned long ptr,
		     unsigned long parent_ip);
int mown_hooks_register(void);
void mown_hooks_unregister(void);
int mown_hooks_add(struct module *mod, const struct mown_range *text,
		   const struct mown_range *init);
void mown_hooks_remove(struct module *mod, const struct mown_range *init);
void mown_hooks_init(void);
void mown_hooks_exit(void);
void mown_hooks_show(struct seq_file *m);

/* try.c, and what it needs of hooks.c */
void mown_try(void);
unsigned long mown_hook_calls(void);
void mown_hook_go_to(struct ftrace_regs *fregs, void *wrapper);
void mown_hook_tried(const char *name, bool arrived);

#define MOWN_HELPER(_func) extern typeof(_func) _func
#define __MOWN_HOOK(_func) extern typeof(_func) mown_wrap_##_func
#define MOWN_HOOK(_func, _how) __MOWN_HOOK(_func)
#include "hooks.h"
#undef MOWN_HOOK
#undef __MOWN_HOOK
#undef MOWN_HELPER

#else

#define MOWN_CAN_HOOK false

static inline bool mown_hook_takes_calls(const struct ftrace_ops *ops,
					 unsigned long parent_ip)
{
	return false;
}

static inline bool mown_hook_takes(const struct ftrace_ops *ops,
				   unsigned long ptr, unsigned long parent_ip)
{
	return false;
}

static inline void mown_hook_go_to(struct ftrace_regs *fregs, void *wrapper) {}

static inline int mown_hooks_register(void)
{
	return -EOPNOTSUPP;
}

static inline void mown_hooks_unregister(void) {}

static inline int mown_hooks_add(struct module *mod,
				 const struct mown_range *text,
				 const struct mown_range *init)
{
	return -EOPNOTSUPP;
}

static inline void mown_hooks_remove(struct module *mod,
				     const struct mown_range *init) {}
static inline void mown_hooks_init(void) {}
static inline void mown_hooks_exit(void) {}

static inline void mown_hooks_show(struct seq_file *m)
{
	seq_puts(m, "hooks none this kernel does not let calls be redirected: nothing can be attached\n");
}

#endif

#endif /* _MOWN_ATTACH_H */
