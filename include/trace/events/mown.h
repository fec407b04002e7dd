/* SPDX-License-Identifier: GPL-2.0 */
#undef TRACE_SYSTEM
#define TRACE_SYSTEM mown

#if !defined(_TRACE_MOWN_H) || defined(TRACE_HEADER_MULTI_READ)
#define _TRACE_MOWN_H

#include <linux/tracepoint.h>
#include <linux/version.h>

/* 6.10 took the source of a string from its __string(). */
#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 10, 0)
#define mown_assign_str(field) __assign_str(field, field)
#else
#define mown_assign_str(field) __assign_str(field)
#endif

/* An object was recorded for a module. */
TRACE_EVENT(alloc,

	TP_PROTO(const char *module, unsigned long ptr, size_t size,
		 const char *family, unsigned long site),

	TP_ARGS(module, ptr, size, family, site),

	TP_STRUCT__entry(
		__string(module, module)
		__field(const void *, ptr)
		__field(size_t, size)
		__string(family, family)
		__field(unsigned long, site)
	),

	TP_fast_assign(
		mown_assign_str(module);
		__entry->ptr = (const void *)ptr;
		__entry->size = size;
		mown_assign_str(family);
		__entry->site = site;
	),

	TP_printk("module=%s ptr=%p size=%zu family=%s site=%pS",
		  __get_str(module), __entry->ptr, __entry->size,
		  __get_str(family), (void *)__entry->site)
);

/* A module's live object was released: by any module, or by the kernel where that is seen. */
TRACE_EVENT(free,

	TP_PROTO(const char *module, unsigned long ptr, unsigned long site),

	TP_ARGS(module, ptr, site),

	TP_STRUCT__entry(
		__string(module, module)
		__field(const void *, ptr)
		__field(unsigned long, site)
	),

	TP_fast_assign(
		mown_assign_str(module);
		__entry->ptr = (const void *)ptr;
		__entry->site = site;
	),

	TP_printk("module=%s ptr=%p site=%pS", __get_str(module), __entry->ptr,
		  (void *)__entry->site)
);

/* Something was wrong; the log and debugfs have the whole report. */
TRACE_EVENT(violation,

	TP_PROTO(const char *violation, const char *module, unsigned long ptr,
		 unsigned long site, const char *action),

	TP_ARGS(violation, module, ptr, site, action),

	TP_STRUCT__entry(
		__string(violation, violation)
		__string(module, module)
		__field(const void *, ptr)
		__field(unsigned long, site)
		__string(action, action)
	),

	TP_fast_assign(
		mown_assign_str(violation);
		mown_assign_str(module);
		__entry->ptr = (const void *)ptr;
		__entry->site = site;
		mown_assign_str(action);
	),

	TP_printk("%s module=%s ptr=%p site=%pS: %s", __get_str(violation),
		  __get_str(module), __entry->ptr, (void *)__entry->site,
		  __get_str(action))
);

#endif /* _TRACE_MOWN_H */

#include <trace/define_trace.h>
