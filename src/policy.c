// SPDX-License-Identifier: GPL-2.0
/*
 * Policy: what is done about each violation, by one word each
 *
 * `auto' is what the design holds for right for the way in that a call came
 * by; every other word means the same for all. An owner inherits what holds for
 * all until it is given a word of its own.
 */
#include <linux/string.h>
#include <linux/sysfs.h>

#include "mown.h"

const char * const mown_violation_names[MOWN_NR_VIOLATIONS] = {
	[MOWN_DOUBLE_FREE] = "double_free",
	[MOWN_UNKNOWN_FREE] = "unknown_free",
	[MOWN_INTERIOR_FREE] = "interior_free",
	[MOWN_MISMATCHED_FREE] = "mismatched_free",
	[MOWN_FOREIGN_FREE] = "foreign_free",
	[MOWN_USE_AFTER_FREE] = "use_after_free",
	[MOWN_OVERFLOW] = "overflow",
	[MOWN_LIMIT] = "limit",
	[MOWN_LEFT_BEHIND] = "left_behind",
};

static const char * const mown_words[MOWN_NR_WORDS] = {
	[MOWN_INHERIT] = "inherit",
	[MOWN_AUTO] = "auto",
	[MOWN_WARN] = "warn",
	[MOWN_PASS] = "pass",
	[MOWN_REPORT] = "report",
	[MOWN_RECLAIM] = "reclaim",
	[MOWN_PANIC] = "panic",
};

/* Which words each violation knows. */
static const unsigned int mown_policy_words[MOWN_NR_VIOLATIONS] = {
	[MOWN_DOUBLE_FREE] = BIT(MOWN_AUTO) | BIT(MOWN_WARN) | BIT(MOWN_PANIC),
	[MOWN_UNKNOWN_FREE] = BIT(MOWN_AUTO) | BIT(MOWN_WARN) |
			      BIT(MOWN_PANIC) | BIT(MOWN_PASS),
	[MOWN_INTERIOR_FREE] = BIT(MOWN_AUTO) | BIT(MOWN_WARN) |
			       BIT(MOWN_PANIC),
	[MOWN_MISMATCHED_FREE] = BIT(MOWN_AUTO) | BIT(MOWN_WARN) |
				 BIT(MOWN_PANIC),
	[MOWN_FOREIGN_FREE] = BIT(MOWN_AUTO) | BIT(MOWN_WARN) |
			      BIT(MOWN_PANIC) | BIT(MOWN_PASS),
	[MOWN_USE_AFTER_FREE] = BIT(MOWN_AUTO) | BIT(MOWN_WARN) |
				BIT(MOWN_PANIC) | BIT(MOWN_PASS),
	[MOWN_OVERFLOW] = BIT(MOWN_AUTO) | BIT(MOWN_WARN) | BIT(MOWN_PANIC) |
			  BIT(MOWN_PASS),
	[MOWN_LIMIT] = BIT(MOWN_AUTO) | BIT(MOWN_WARN) | BIT(MOWN_PANIC) |
		       BIT(MOWN_PASS),
	[MOWN_LEFT_BEHIND] = BIT(MOWN_AUTO) | BIT(MOWN_REPORT) |
			     BIT(MOWN_RECLAIM) | BIT(MOWN_PANIC),
};

u8 mown_policies[MOWN_NR_VIOLATIONS] = {
	[0 ... MOWN_NR_VIOLATIONS - 1] = MOWN_AUTO,
};

static u8 *mown_policy_of(struct mown_owner *owner,
			  enum mown_violation violation)
{
	return owner ? &owner->policies[violation] : &mown_policies[violation];
}

static unsigned int mown_policy_known(const struct mown_owner *owner,
				      enum mown_violation violation)
{
	return mown_policy_words[violation] | (owner ? BIT(MOWN_INHERIT) : 0);
}

/* Any other word is -EINVAL and changes nothing. */
int mown_policy_set(struct mown_owner *owner, enum mown_violation violation,
		    const char *word)
{
	int i = sysfs_match_string(mown_words, word);

	if (i < 0 || !(mown_policy_known(owner, violation) & BIT(i)))
		return -EINVAL;
	mutex_lock(&mown_owners_lock);
	WRITE_ONCE(*mown_policy_of(owner, violation), i);
	mown_redzone_update();
	mutex_unlock(&mown_owners_lock);
	return 0;
}

/* All words, the chosen one in brackets, into a sysfs buffer. */
int mown_policy_show(struct mown_owner *owner, enum mown_violation violation,
		     char *buf)
{
	enum mown_word chosen = READ_ONCE(*mown_policy_of(owner, violation));
	int i, len = 0;

	for (i = 0; i < MOWN_NR_WORDS; i++) {
		if (!(mown_policy_known(owner, violation) & BIT(i)))
			continue;
		len += sysfs_emit_at(buf, len, i == chosen ? "%s[%s]" : "%s%s",
				     len ? " " : "", mown_words[i]);
	}
	return len + sysfs_emit_at(buf, len, "\n");
}
