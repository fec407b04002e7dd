// SPDX-License-Identifier: GPL-2.0
/*
 * Reports of violations: every word of them
 *
 * A violation may be seen with anything locked. It is put into a queue there,
 * and formatted and printed from a work item; only the panic policy prints at
 * once. The last reports are kept for debugfs, where one that repeats an
 * earlier one only counts.
 */
#include <linux/irq_work.h>
#include <linux/kfifo.h>
#include <linux/log2.h>
#include <linux/panic.h>
#include <linux/poison.h>
#include <linux/ratelimit.h>
#include <linux/seq_buf.h>
#include <linux/slab.h>
#include <linux/workqueue.h>
#include <trace/events/mown.h>

#include "compat.h"
#include "mown.h"

/* The blocks begin as the kernel's own reports do. */
#undef pr_fmt
#define pr_fmt(fmt) fmt

/* A block with three stacks fits. */
#define MOWN_BLOCK_LEN 8192
/* Events that may wait: a power of two. */
#define MOWN_EVENTS_MAX 32
/* How many blocks a call site may put into the log, in how many seconds. */
#define MOWN_LOG_BURST 5
#define MOWN_LOG_SECONDS 10
/* Call sites share one of as many limits. */
#define MOWN_LOG_LIMIT_BITS 6

/**
 * struct mown_block - a report that is kept
 * @list: in mown_history, oldest first
 * @event: what it reports
 * @number: the object's number in it
 * @seen: how often the like of it happened
 * @text: what the log has
 */
struct mown_block {
	struct list_head list;
	struct mown_event event;
	unsigned int number;
	unsigned long seen;
	char text[];
};

/* The knob: how many reports are kept, and how many accounts of exits.c. */
unsigned int mown_history_max = 64;

static DEFINE_MUTEX(mown_history_lock);
static LIST_HEAD(mown_history);
static unsigned int mown_history_nr;
static unsigned long mown_history_bytes;

static DEFINE_RAW_SPINLOCK(mown_event_lock);
static DEFINE_KFIFO(mown_events, struct mown_event, MOWN_EVENTS_MAX);

/* Counted, but not told, as too many came at once. */
atomic_long_t mown_reports_lost;

static atomic_t mown_object_number;

/* Under mown_history_lock. */
static struct ratelimit_state mown_log_limits[BIT(MOWN_LOG_LIMIT_BITS)];

/* Where the work and the panic format; the former under mown_history_lock. */
static char *mown_work_text;
/* It is in the log; likewise. */
static bool mown_work_told;
static char mown_panic_text[MOWN_BLOCK_LEN];

static const char * const mown_titles[MOWN_NR_VIOLATIONS] = {
	[MOWN_DOUBLE_FREE] = "double-free",
	[MOWN_UNKNOWN_FREE] = "unknown-free",
	[MOWN_INTERIOR_FREE] = "interior-free",
	[MOWN_MISMATCHED_FREE] = "mismatched-free",
	[MOWN_FOREIGN_FREE] = "foreign-free",
	[MOWN_USE_AFTER_FREE] = "use-after-free",
	[MOWN_OVERFLOW] = "overflow",
	[MOWN_LIMIT] = "limit",
	[MOWN_LEFT_BEHIND] = "left-behind",
};

static void mown_format_stack(struct seq_buf *s, struct mown_owner *owner,
			      u32 stack)
{
	char name[MOWN_SYMBOL_LEN];
	unsigned long *entries;
	unsigned int i, nr;

	if (!IS_ENABLED(CONFIG_STACKDEPOT) || !stack)
		return;
	nr = stack_depot_fetch(stack, &entries);
	for (i = 0; i < nr; i++) {
		mown_symbol_of_frame(owner, entries[i], name, sizeof(name));
		seq_buf_printf(s, "  %s\n", name);
	}
}

static void mown_format_place(struct seq_buf *s, const char *what,
			      const struct mown_event *event,
			      const struct mown_place *place, const char *comm)
{
	struct mown_owner *owner = place->own ? event->owner : NULL;
	char name[MOWN_SYMBOL_LEN];

	mown_symbol(owner, place->site, name, sizeof(name));
	seq_buf_printf(s, "%s at %s ", what, name);
	if (place->pid && comm)
		seq_buf_printf(s, "by task %u (%s)", place->pid, comm);
	else if (place->pid)
		seq_buf_printf(s, "by task %u", place->pid);
	else
		seq_buf_printf(s, "in an interrupt");
	seq_buf_printf(s, " on cpu %u", place->cpu);
	if (place->dated)
		seq_buf_printf(s, ", %llu ms ago", mown_age_ms(place->when));
	seq_buf_printf(s, "\n");
	mown_format_stack(s, owner, place->stack);
}

/* Whoever wrote to a released object is not known; who had released it is. */
static bool mown_is_late(const struct mown_event *event)
{
	return event->violation == MOWN_USE_AFTER_FREE;
}

static void mown_format_title(struct seq_buf *s, const struct mown_event *event)
{
	const struct mown_place *place = mown_is_late(event) ? &event->freed :
							       &event->now;
	char name[MOWN_SYMBOL_LEN];

	if (place->site)
		mown_symbol(place->own ? event->owner : NULL, place->site,
			    name, sizeof(name));
	else
		strscpy(name, MOWN_NOT_KNOWN, sizeof(name));
	seq_buf_printf(s, "%s %s %s", mown_titles[event->violation],
		       mown_is_late(event) ? "of what was freed in" : "in",
		       name);
}

static void mown_format_object(struct seq_buf *s,
			       const struct mown_event *event,
			       unsigned int number)
{
	if (event->violation == MOWN_LIMIT) {
		seq_buf_printf(s, "%s has %lu bytes of %lu, and wants %zu more\n",
			       event->name, event->charged, event->limit,
			       event->size);
		return;
	}
	if (!event->object) {
		seq_buf_printf(s, "object #%u at %p: not recorded for any module\n",
			       number, (void *)event->ptr);
		return;
	}
	seq_buf_printf(s, "object #%u at %p: %zu bytes, %s, of %s",
		       number, (void *)event->object, event->size,
		       mown_families[event->family].name, event->name);
	if (event->ptr != event->object)
		seq_buf_printf(s, ", freed pointer %lu bytes inside",
			       event->ptr - event->object);
	seq_buf_printf(s, "\n");
}

static void mown_format_now(struct seq_buf *s, const struct mown_event *event)
{
	const char *what = event->violation == MOWN_LIMIT ? "wanted" :
			   event->violation == MOWN_OVERFLOW ? "found" :
			   event->released ? "freed again" : "freed";

	if (event->nr_bytes)
		seq_buf_printf(s, "written at offset %zu: %*ph, where all was %02x\n",
			       event->offset, (int)event->nr_bytes,
			       event->bytes, mown_is_late(event) ?
			       POISON_FREE : SLUB_RED_ACTIVE);
	if (!mown_is_late(event))
		mown_format_place(s, what, event, &event->now, event->comm);
}

/* The whole block, lines ended each. Any context. */
static void mown_format(const struct mown_event *event, unsigned int number,
			char *text)
{
	struct seq_buf s;

	seq_buf_init(&s, text, MOWN_BLOCK_LEN - 1);
	seq_buf_printf(&s, "BUG: mown: ");
	mown_format_title(&s, event);
	seq_buf_printf(&s, "\n");
	mown_format_object(&s, event, number);
	if (event->object)
		mown_format_place(&s, "allocated", event, &event->alloc, NULL);
	if (event->freed.dated)
		mown_format_place(&s, "first freed", event, &event->freed,
				  NULL);
	else if (event->rcu)
		seq_buf_printf(&s, "first freed by kfree_rcu(), place not known\n");
	else if (event->released)
		seq_buf_printf(&s, "first freed before, place not known\n");
	mown_format_now(&s, event);
	seq_buf_printf(&s, "%s\n", event->action);
	text[min_t(size_t, s.len, MOWN_BLOCK_LEN - 1)] = '\0';
}

/* The log cuts what is longer than a line of it, so line by line. */
static void mown_print(char *text)
{
	char *line;

	while ((line = strsep(&text, "\n")) && *line)
		pr_err("%s\n", line);
}

/* The policy of the event is panic. */
static void mown_panic(const struct mown_event *event)
{
	static atomic_t once;
	char title[MOWN_SYMBOL_LEN + 32];
	struct seq_buf s;

	/* Whoever comes second waits to be stopped by the first. */
	if (atomic_xchg(&once, 1))
		return;
	mown_format(event, atomic_inc_return(&mown_object_number),
		    mown_panic_text);
	mown_print(mown_panic_text);
	seq_buf_init(&s, title, sizeof(title) - 1);
	mown_format_title(&s, event);
	title[min_t(size_t, s.len, sizeof(title) - 1)] = '\0';
	panic("mown: %s", title);
}

static bool mown_alike(const struct mown_event *a, const struct mown_event *b)
{
	return a->violation == b->violation && a->now.site == b->now.site &&
	       a->alloc.site == b->alloc.site &&
	       a->freed.site == b->freed.site && !strcmp(a->name, b->name);
}

/* The number of the report that the event is one more of, or 0. */
static unsigned int mown_seen_before(const struct mown_event *event)
{
	struct mown_block *block;

	list_for_each_entry(block, &mown_history, list) {
		if (!mown_alike(&block->event, event))
			continue;
		/* The log hears of it ever more rarely. */
		if (is_power_of_2(++block->seen))
			pr_err("BUG: mown: as object #%u, seen %lu times\n",
			       block->number, block->seen);
		return block->number;
	}
	return 0;
}

static void mown_drop_block(struct mown_block *block)
{
	list_del(&block->list);
	mown_history_nr--;
	WRITE_ONCE(mown_history_bytes, mown_history_bytes - sizeof(*block) -
		   strlen(block->text) - 1);
	kfree(block);
}

static void mown_history_trim(unsigned int max)
{
	lockdep_assert_held(&mown_history_lock);
	while (mown_history_nr > max)
		mown_drop_block(list_first_entry(&mown_history,
						 struct mown_block, list));
}

/* Keep no more than @max reports of those that there are. */
void mown_reports_trim(unsigned int max)
{
	mutex_lock(&mown_history_lock);
	mown_history_trim(max);
	mutex_unlock(&mown_history_lock);
}

static void mown_keep(const struct mown_event *event, unsigned int number,
		      const char *text)
{
	size_t len = strlen(text) + 1;
	struct mown_block *block;

	block = kmalloc(sizeof(*block) + len, GFP_KERNEL);
	if (!block)
		return;
	block->event = *event;
	block->event.owner = NULL;
	block->number = number;
	block->seen = 1;
	memcpy(block->text, text, len);
	list_add_tail(&block->list, &mown_history);
	WRITE_ONCE(mown_history_bytes, mown_history_bytes + sizeof(*block) + len);
	mown_history_nr++;
	mown_history_trim(READ_ONCE(mown_history_max));
}

/*
 * Asking whether the kernel is to panic when it warns takes a lock of the kernel's, whose
 * holder may wait for a module to be loaded. So nobody who keeps a module from that may
 * wait for this.
 */
static void mown_warn_func(struct work_struct *work)
{
	if (likely(!mown_panic_on_warn()))
		return;
	mutex_lock(&mown_history_lock);
	if (!mown_work_told)
		mown_print(mown_work_text);
	panic("mown: panic_on_warn is set");
}

static DECLARE_WORK(mown_warn_work, mown_warn_func);

static void mown_tell(const struct mown_event *event)
{
	unsigned int before = mown_seen_before(event);
	unsigned int number = before ?: atomic_inc_return(&mown_object_number);
	struct ratelimit_state *limit;

	mown_format(event, number, mown_work_text);
	mown_work_told = false;
	if (!before) {
		mown_keep(event, number, mown_work_text);
		limit = &mown_log_limits[hash_long(event->now.site ?:
						   event->freed.site,
						   MOWN_LOG_LIMIT_BITS)];
		mown_work_told = __ratelimit(limit);
		if (mown_work_told)
			mown_print(mown_work_text);
	}
	add_taint(TAINT_WARN, LOCKDEP_STILL_OK);
	schedule_work(&mown_warn_work);
}

static bool mown_event_get(struct mown_event *event)
{
	unsigned long flags;
	bool got;

	raw_spin_lock_irqsave(&mown_event_lock, flags);
	got = kfifo_get(&mown_events, event);
	raw_spin_unlock_irqrestore(&mown_event_lock, flags);
	return got;
}

static void mown_report_work_func(struct work_struct *work)
{
	struct mown_event event;

	mutex_lock(&mown_history_lock);
	while (mown_event_get(&event))
		mown_tell(&event);
	mutex_unlock(&mown_history_lock);
}

static DECLARE_WORK(mown_report_work, mown_report_work_func);

static void mown_report_irq_func(struct irq_work *work)
{
	schedule_work(&mown_report_work);
}

static DEFINE_IRQ_WORK(mown_report_irq_work, mown_report_irq_func);

/*
 * Report a violation. Any context but NMI, with no lock of mown's held, in an
 * RCU read-side section that keeps event->owner.
 */
void mown_report(struct mown_event *event)
{
	unsigned long flags;
	bool queued;

	if (event->owner)
		strscpy(event->name, event->owner->name, sizeof(event->name));
	trace_violation(mown_violation_names[event->violation], event->name,
			event->ptr, event->now.site ?: event->freed.site,
			event->action);
	if (mown_policy(event->owner, event->violation) == MOWN_PANIC)
		mown_panic(event);
	raw_spin_lock_irqsave(&mown_event_lock, flags);
	queued = kfifo_put(&mown_events, *event);
	raw_spin_unlock_irqrestore(&mown_event_lock, flags);
	if (queued)
		irq_work_queue(&mown_report_irq_work);
	else
		atomic_long_inc(&mown_reports_lost);
}

/* Wait until what was reported before is printed and kept. */
void mown_report_flush(void)
{
	irq_work_sync(&mown_report_irq_work);
	flush_work(&mown_report_work);
}

int mown_report_show(struct seq_file *m)
{
	struct mown_block *block;

	seq_puts(m, "mown violations 1\n");
	mutex_lock(&mown_history_lock);
	list_for_each_entry(block, &mown_history, list) {
		const struct mown_event *event = &block->event;

		seq_printf(m, "%s%s",
			   list_is_first(&block->list, &mown_history) ? "" :
			   "\n", block->text);
		if (event->ptr && event->nr_bytes)
			seq_printf(m, "object #%u is at %px\n", block->number,
				   (void *)event->object);
		else if (event->ptr)
			seq_printf(m, "object #%u is at %px, the pointer freed is %px\n",
				   block->number,
				   (void *)(event->object ?: event->ptr),
				   (void *)event->ptr);
		seq_printf(m, "seen %lu times\n", block->seen);
	}
	mutex_unlock(&mown_history_lock);
	return 0;
}

/* What the reports that are kept take in memory. */
unsigned long mown_report_bytes(void)
{
	return READ_ONCE(mown_history_bytes);
}

int mown_report_init(void)
{
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(mown_log_limits); i++)
		ratelimit_state_init(&mown_log_limits[i],
				     MOWN_LOG_SECONDS * HZ, MOWN_LOG_BURST);
	mown_work_text = kmalloc(MOWN_BLOCK_LEN, GFP_KERNEL);
	return mown_work_text ? 0 : -ENOMEM;
}

void mown_report_exit(void)
{
	struct mown_block *block, *next;

	mown_report_flush();
	cancel_work_sync(&mown_warn_work);
	list_for_each_entry_safe(block, next, &mown_history, list)
		mown_drop_block(block);
	kfree(mown_work_text);
}
