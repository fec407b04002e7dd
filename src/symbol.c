// SPDX-License-Identifier: GPL-2.0
/*
 * Symbols of call sites, also of those whose text is gone
 *
 * A module's init text goes when the module is live, the rest when it is
 * unloaded, and another module may come to lie there: what is still wanted of
 * it is kept as text before.
 */
#include <linux/kallsyms.h>
#include <linux/mm.h>
#include <linux/slab.h>

#include "mown.h"

/*
 * From the look at what call sites there are until their names are the owner's: or what
 * one has named would be lost by another, who has looked before.
 */
DEFINE_MUTEX(mown_intern_lock);

struct mown_name {
	unsigned long ip;
	char *text;
};

/**
 * struct mown_names - the names of some addresses
 * @replaced: frees it when RCU has been waited for
 * @nr: how many
 * @name: by address
 */
struct mown_names {
	struct rcu_work replaced;
	unsigned int nr;
	struct mown_name name[];
};

const char *mown_names_find(const struct mown_names *names, unsigned long ip)
{
	unsigned int low = 0, high = names ? names->nr : 0;

	while (low < high) {
		unsigned int mid = low + (high - low) / 2;

		if (names->name[mid].ip == ip)
			return names->name[mid].text;
		if (names->name[mid].ip < ip)
			low = mid + 1;
		else
			high = mid;
	}
	return NULL;
}

/* Is that text of @owner's, which is still there? */
static bool mown_is_text_of(const struct mown_owner *owner, unsigned long ip)
{
	return (!READ_ONCE(owner->exit) && mown_in_range(&owner->text, ip)) ||
	       (!READ_ONCE(owner->init_gone) && mown_in_range(&owner->init, ip));
}

/*
 * The name that a call site of @owner's was given, or NULL. One outside of its module
 * is of an object made over to it: who has named that may have it no more. In an RCU
 * read-side section.
 */
static const char *mown_name_given(struct mown_owner *owner, unsigned long ip)
{
	const char *text = mown_names_find(rcu_dereference(owner->names), ip);
	struct mown_owner *other;

	if (text || !atomic_long_read(&owner->counts[MOWN_TRANSFERRED_IN]) ||
	    !mown_in_modules(ip) || mown_is_text_of(owner, ip))
		return text;
	/* Who has his text there now may have made it over, but must have made some. */
	list_for_each_entry_rcu(other, &mown_owners, list)
		if (mown_is_text_of(other, ip) &&
		    atomic_long_read(&other->counts[MOWN_TRANSFERRED_OUT]))
			return NULL;
	list_for_each_entry_rcu(other, &mown_owners, list) {
		text = mown_names_find(rcu_dereference(other->names), ip);
		if (text)
			break;
	}
	return text;
}

/*
 * The name of a call site of @owner's, which may be NULL, by its return
 * address. Any context.
 */
void mown_symbol(struct mown_owner *owner, unsigned long ip, char *buf,
		 size_t len)
{
	const char *text = NULL;

	rcu_read_lock();
	if (owner)
		text = mown_name_given(owner, ip);
	if (text)
		strscpy(buf, text, len);
	else if (owner && READ_ONCE(owner->init_gone) &&
		 !READ_ONCE(owner->init_named) &&
		 mown_in_range(&owner->init, ip))
		scnprintf(buf, len, "init+0x%lx [%s]", ip - owner->init.start,
			  owner->name);
	else if (owner && READ_ONCE(owner->exit) &&
		 mown_in_range(&owner->text, ip))
		scnprintf(buf, len, "text+0x%lx [%s]", ip - owner->text.start,
			  owner->name);
	else
		scnprintf(buf, len, "%pB", (void *)ip);
	rcu_read_unlock();
	/* What has no name now the kernel calls by its bare address. */
	if (buf[0] == '0')
		strscpy(buf, MOWN_NOT_KNOWN, len);
}

static bool mown_is_named(struct mown_owner *owner, unsigned long ip)
{
	bool named;

	rcu_read_lock();
	named = mown_names_find(rcu_dereference(owner->names), ip);
	rcu_read_unlock();
	return named;
}

/*
 * The same of a frame of a stack that was saved for @owner. No names are kept of these:
 * what was in init text then, and what lies there now, are told both.
 */
void mown_symbol_of_frame(struct mown_owner *owner, unsigned long ip, char *buf,
			  size_t len)
{
	size_t at = 0, end = 0;

	if (owner && READ_ONCE(owner->init_gone) &&
	    mown_in_range(&owner->init, ip) && !mown_is_named(owner, ip)) {
		end = scnprintf(buf, len, "init+0x%lx [%s]",
				ip - owner->init.start, owner->name);
		at = end + scnprintf(buf + end, len - end, ", or now ");
	}
	mown_symbol(owner, ip, buf + at, len - at);
	if (end && !strcmp(buf + at, MOWN_NOT_KNOWN))
		buf[end] = '\0';
}

/* The names of @sites, which are sorted by address; NULL without memory. */
struct mown_names *mown_names_new(struct mown_owner *owner,
				  const struct mown_sites *sites)
{
	struct mown_names *names;
	char *buf;

	buf = kmalloc(MOWN_SYMBOL_LEN, GFP_KERNEL);
	names = kvzalloc(struct_size(names, name, sites->nr), GFP_KERNEL);
	if (!buf || !names)
		goto fail;
	for (; names->nr < sites->nr; names->nr++) {
		struct mown_name *name = &names->name[names->nr];

		name->ip = sites->site[names->nr].ip;
		mown_symbol(owner, name->ip, buf, MOWN_SYMBOL_LEN);
		name->text = kstrdup(buf, GFP_KERNEL);
		if (!name->text)
			goto fail;
	}
	kfree(buf);
	return names;
fail:
	kfree(buf);
	mown_names_free(names);
	return NULL;
}

/* Nobody looks into @names any more. NULL is allowed. */
void mown_names_free(struct mown_names *names)
{
	unsigned int i;

	for (i = 0; names && i < names->nr; i++)
		kfree(names->name[i].text);
	kvfree(names);
}

static void mown_names_replaced(struct work_struct *work)
{
	mown_names_free(container_of(to_rcu_work(work), struct mown_names,
				     replaced));
}

/* @names, if not NULL, takes the place of what the owner has. */
void mown_names_replace(struct mown_owner *owner, struct mown_names *names)
{
	if (!names)
		return;
	mutex_lock(&mown_owners_lock);
	names = rcu_replace_pointer(owner->names, names,
				    lockdep_is_held(&mown_owners_lock));
	mutex_unlock(&mown_owners_lock);
	if (!names)
		return;
	INIT_RCU_WORK(&names->replaced, mown_names_replaced);
	queue_rcu_work(mown_wq, &names->replaced);
}

/* The module is live, its init text is about to go. */
void mown_names_intern_init(struct mown_owner *owner)
{
	struct mown_names *names;
	struct mown_sites sites = {};

	mutex_lock(&mown_intern_lock);
	/* All sites: some may have names already, of objects made over to it. */
	if (!mown_sites_collect(owner, MOWN_SITES_ALL, NULL, &sites)) {
		names = sites.nr ? mown_names_new(owner, &sites) : NULL;
		mown_names_replace(owner, names);
		/* Whatever else lies there from now on is not the owner's. */
		if (!sites.nr || names)
			WRITE_ONCE(owner->init_named, true);
	}
	mutex_unlock(&mown_intern_lock);
	mown_sites_free(&sites);
}

/*
 * The owner's module goes, or its init text does: objects that it has made over
 * to others have their call sites there.
 */
void mown_names_intern_elsewhere(struct mown_owner *owner)
{
	struct mown_owner *other = NULL;
	struct mown_sites sites;

	if (!atomic_long_read(&owner->counts[MOWN_TRANSFERRED_OUT]))
		return;
	mutex_lock(&mown_intern_lock);
	while ((other = mown_owner_next(other))) {
		if (!atomic_long_read(&other->counts[MOWN_TRANSFERRED_IN]))
			continue;
		sites = (struct mown_sites) {};
		if (!mown_sites_collect(other, MOWN_SITES_ALL, NULL, &sites))
			mown_names_replace(other,
					   mown_names_new(other, &sites));
		mown_sites_free(&sites);
	}
	mutex_unlock(&mown_intern_lock);
}

/*
 * A function's size, by the way that its symbol is printed: NAME+0x0/0xSIZE. 0 if that
 * is not known.
 */
size_t __init mown_function_size(unsigned long addr)
{
	char name[KSYM_SYMBOL_LEN];
	unsigned long size;
	const char *slash;

	sprint_symbol(name, addr);
	slash = strchr(name, '/');
	return slash && sscanf(slash, "/0x%lx", &size) == 1 ? size : 0;
}
