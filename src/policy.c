// SPDX-License-Identifier: GPL-2.0
/*
 * Policy: what is done about each violation, by one word each
 *
 * `auto' is what the design holds for right for the way in that a call came
 * by; every other word means the same for all.
 */
#include <linux/string.h>
#include <linux/sysfs.h>

#include "mown.h"

const char * const mown_violation_names[MOWN_NR_VIOLATIONS] = {
	[MOWN_DOUBLE_FREE] = "double_free",
	[MOWN_UNKNOWN_FREE] = "unknown_free",
	[MOWN_INTERIOR_FREE] = "interior_free",
	[MOWN_LEFT_BEHIND] = "left_behind",
};

static const char * const mown_words[MOWN_NR_WORDS] = {
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
	[MOWN_LEFT_BEHIND] = BIT(MOWN_AUTO) | BIT(MOWN_REPORT) |
			     BIT(MOWN_RECLAIM) | BIT(MOWN_PANIC),
};

static enum mown_word mown_policies[MOWN_NR_VIOLATIONS];

enum mown_word mown_policy(enum mown_violation violation)
{
	return READ_ONCE(mown_policies[violation]);
}

/* Any other word is -EINVAL and changes nothing. */
int mown_policy_set(enum mown_violation violation, const char *word)
{
	int i = sysfs_match_string(mown_words, word);

	if (i < 0 || !(mown_policy_words[violation] & BIT(i)))
		return -EINVAL;
	WRITE_ONCE(mown_policies[violation], i);
	return 0;
}

/* All words, the chosen one in brackets, into a sysfs buffer. */
int mown_policy_show(enum mown_violation violation, char *buf)
{
	enum mown_word chosen = mown_policy(violation);
	int i, len = 0;

	for (i = 0; i < MOWN_NR_WORDS; i++) {
		if (!(mown_policy_words[violation] & BIT(i)))
			continue;
		len += sysfs_emit_at(buf, len, i == chosen ? "%s[%s]" : "%s%s",
				     len ? " " : "", mown_words[i]);
	}
	return len + sysfs_emit_at(buf, len, "\n");
}
