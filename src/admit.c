// SPDX-License-Identifier: GPL-2.0
/*
 * Admission: allocations that a knob makes fail
 *
 * limit_bytes fails what an owner would have too much of, fail_nth one of its
 * allocations on purpose, so that a script can walk every error path. The
 * memory is there by then; it is given back, and the caller gets none. Owners
 * for which neither is set are not asked.
 */
#include <linux/kernel.h>
#include <linux/security.h>
#include <linux/string.h>
#include <linux/sysfs.h>

#include "mown.h"

/* How many modules may have a number before they are loaded. */
#define MOWN_FAIL_MAX 16

/**
 * struct mown_fail - what awaits a module that is not loaded
 * @name: its name; "" if the entry is free
 * @nth: which of its allocations fails
 */
struct mown_fail {
	char name[MODULE_NAME_LEN];
	unsigned long nth;
};

/* Under mown_owners_lock. */
static struct mown_fail mown_fails[MOWN_FAIL_MAX];

/* ---- Asked at each allocation ---- */

/* Charge @size bytes, unless that passes the limit and may fail. */
static bool mown_charge(struct mown_owner *owner, size_t size, gfp_t gfp)
{
	unsigned long limit = READ_ONCE(owner->limit_bytes);
	long charged = atomic_long_read(&owner->charged);

	do {
		if (limit && !(gfp & __GFP_NOFAIL) &&
		    (size > limit || charged > (long)(limit - size)))
			return false;
	} while (!atomic_long_try_cmpxchg(&owner->charged, &charged,
					  charged + size));
	return true;
}

static bool mown_fails_now(struct mown_owner *owner, gfp_t gfp)
{
	return atomic_long_read(&owner->fail_nth) > 0 &&
	       !(gfp & __GFP_NOFAIL) &&
	       atomic_long_dec_and_test(&owner->fail_nth);
}

/*
 * May a picky owner have @size bytes more? If so they are charged. The stripe is
 * locked.
 */
enum mown_admission mown_admit(struct mown_owner *owner, unsigned int index,
			       size_t size, gfp_t gfp)
{
	if (mown_fails_now(owner, gfp))
		return MOWN_FAILS;
	if (index < READ_ONCE(owner->charging) &&
	    !mown_charge(owner, size, gfp))
		return MOWN_OVER_LIMIT;
	return MOWN_ADMITTED;
}

/*
 * Count an allocation of @size bytes that was not admitted, and report it if it
 * is a violation. In an RCU read-side section, with no lock held.
 */
void mown_not_admitted(struct mown_owner *owner, enum mown_admission why,
		       size_t size, const struct mown_caller *caller)
{
	struct mown_event event;

	if (why == MOWN_FAILS) {
		mown_count(owner, MOWN_FAILED);
		/* Wherever that is, as the kernel's own fault injection does. */
		pr_info("%s: an allocation of %zu bytes fails on purpose in %pS\n",
			owner->name, size, (void *)caller->site);
		return;
	}
	mown_count(owner, MOWN_LIMITED);
	if (mown_policy(owner, MOWN_LIMIT) == MOWN_PASS)
		return;
	mown_describe_call(&event, 0, caller->site);
	event.violation = MOWN_LIMIT;
	event.action = "refused; the caller got no memory";
	event.owner = owner;
	event.size = size;
	event.charged = atomic_long_read(&owner->charged);
	event.limit = READ_ONCE(owner->limit_bytes);
	event.now.stack = mown_stack_save(caller, GFP_NOWAIT);
	mown_report(&event);
}

/* ---- The knobs ---- */

/* What its live objects in the stripe sum up to, which is locked. */
static long mown_stripe_bytes(struct mown_owner *owner, unsigned int index)
{
	struct mown_record *rec = mown_tree_above(&owner->trees[index], 0);
	long bytes = 0;

	for (; rec; rec = mown_tree_next(rec))
		if (rec->state == MOWN_LIVE)
			bytes += rec->size;
	return bytes;
}

/* Count the owner's bytes from now on, or do not any more: stripe by stripe. */
static void mown_set_charging(struct mown_owner *owner, bool charging)
{
	unsigned int end = charging ? MOWN_STRIPES : 0, i;
	unsigned long flags;
	long bytes;

	while (owner->charging != end) {
		i = charging ? owner->charging : owner->charging - 1;
		raw_spin_lock_irqsave(&mown_stripes[i].lock, flags);
		bytes = mown_stripe_bytes(owner, i);
		atomic_long_add(charging ? bytes : -bytes, &owner->charged);
		WRITE_ONCE(owner->charging, charging ? i + 1 : i);
		raw_spin_unlock_irqrestore(&mown_stripes[i].lock, flags);
		cond_resched();
	}
}

/* No more than @bytes from now on, or no limit if 0. */
void mown_limit_set(struct mown_owner *owner, unsigned long bytes)
{
	mutex_lock(&mown_owners_lock);
	/* Once it is asked it stays so: charges must not be missed. */
	if (bytes && !owner->charging) {
		WRITE_ONCE(owner->picky, true);
		/* Who has not seen it yet charges nothing. */
		synchronize_rcu();
	}
	WRITE_ONCE(owner->limit_bytes, bytes);
	mown_set_charging(owner, bytes);
	mutex_unlock(&mown_owners_lock);
}

static void mown_fail_owner(struct mown_owner *owner, unsigned long nth)
{
	atomic_long_set(&owner->fail_nth, nth);
	if (nth)
		WRITE_ONCE(owner->picky, true);
}

/* The owner's @nth allocation from now fails, or none if 0. */
int mown_fail_set(struct mown_owner *owner, unsigned long nth)
{
	int ret = security_locked_down(LOCKDOWN_DEBUGFS);

	if (!ret && nth > LONG_MAX)
		ret = -ERANGE;
	if (!ret)
		mown_fail_owner(owner, nth);
	return ret;
}

/* As many allocations from now one of the owner's fails; 0 is none. */
unsigned long mown_fail_get(struct mown_owner *owner)
{
	return max(atomic_long_read(&owner->fail_nth), 0L);
}

/* A module has come: what was set for it before is its owner's. */
void mown_fail_adopt(struct mown_owner *owner)
{
	unsigned int i;

	lockdep_assert_held(&mown_owners_lock);
	for (i = 0; i < MOWN_FAIL_MAX; i++) {
		if (strcmp(mown_fails[i].name, owner->name))
			continue;
		mown_fail_owner(owner, mown_fails[i].nth);
		mown_fails[i].name[0] = '\0';
	}
}

/* Set, change or remove the number of a module that is not loaded. */
static int mown_fail_keep(const char *name, unsigned long nth)
{
	struct mown_fail *entry = NULL;
	unsigned int i;

	for (i = 0; i < MOWN_FAIL_MAX; i++) {
		if (!strcmp(mown_fails[i].name, name)) {
			entry = &mown_fails[i];
			break;
		}
		if (!entry && !mown_fails[i].name[0])
			entry = &mown_fails[i];
	}
	if (!nth) {
		if (i < MOWN_FAIL_MAX)
			entry->name[0] = '\0';
		return 0;
	}
	if (!entry)
		return -ENOSPC;
	strscpy(entry->name, name, sizeof(entry->name));
	entry->nth = nth;
	return 0;
}

/* "NAME NTH", as it is written to the knob. */
int mown_fail_write(const char *buf)
{
	char name[MODULE_NAME_LEN];
	size_t len = strcspn(buf, " ");
	struct mown_owner *owner;
	unsigned long nth;
	int ret;

	if (buf[len] != ' ' || mown_name_parse(name, buf, len))
		return -EINVAL;
	ret = kstrtoul(buf + len + 1, 0, &nth);
	if (!ret && nth > LONG_MAX)
		ret = -ERANGE;
	if (!ret)
		ret = security_locked_down(LOCKDOWN_DEBUGFS);
	if (ret)
		return ret;
	mutex_lock(&mown_owners_lock);
	list_for_each_entry(owner, &mown_owners, list)
		if (!READ_ONCE(owner->dying) && !strcmp(owner->name, name))
			break;
	if (!list_entry_is_head(owner, &mown_owners, list))
		mown_fail_owner(owner, nth);
	else
		ret = mown_fail_keep(name, nth);
	mutex_unlock(&mown_owners_lock);
	return ret;
}

/* "NAME NTH" of each, into a sysfs buffer. */
int mown_fail_show(char *buf)
{
	struct mown_owner *owner;
	unsigned int i;
	int len = 0;

	mutex_lock(&mown_owners_lock);
	for (i = 0; i < MOWN_FAIL_MAX; i++)
		if (mown_fails[i].name[0])
			len += sysfs_emit_at(buf, len, "%s %lu\n",
					     mown_fails[i].name,
					     mown_fails[i].nth);
	list_for_each_entry(owner, &mown_owners, list)
		if (!READ_ONCE(owner->dying) && mown_fail_get(owner))
			len += sysfs_emit_at(buf, len, "%s %lu\n", owner->name,
					     mown_fail_get(owner));
	mutex_unlock(&mown_owners_lock);
	return len;
}
