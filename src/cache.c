// SPDX-License-Identifier: GPL-2.0
/*
 * Slab caches: what holds for their objects, which go before them
 */
#include <linux/slab.h>
#include <linux/version.h>

#include "mown.h"

#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 12, 0)
/**
 * __mown_kmem_cache_create - create a slab cache that is not merged with others
 * @name: as for kmem_cache_create_usercopy(), with all that follows
 * @size: bytes of an object
 * @align: what its address is a multiple of, or 0
 * @flags: SLAB_*
 * @useroffset: where what user space may have copied of an object begins
 * @usersize: and how many bytes that is
 * @ctor: what constructs an object, or NULL
 *
 * Of caches that are not merged no two may have one name in sysfs until 6.12, while
 * drivers create one for each of their devices: where the name is taken, it gets a
 * number, after the kernel has said so.
 *
 * Context: Process, may sleep.
 * Return: the cache, or NULL.
 */
struct kmem_cache *__mown_kmem_cache_create(const char *name, unsigned int size,
					    unsigned int align,
					    slab_flags_t flags,
					    unsigned int useroffset,
					    unsigned int usersize,
					    void (*ctor)(void *))
{
	static atomic_t number;
	struct kmem_cache *cache;
	char *other;

	flags |= __MOWN_CACHE_FLAGS;
	cache = kmem_cache_create_usercopy(name, size, align,
					   flags & ~SLAB_PANIC, useroffset,
					   usersize, ctor);
	if (cache)
		return cache;
	other = kasprintf(GFP_KERNEL, "%s:%u", name, atomic_inc_return(&number));
	cache = kmem_cache_create_usercopy(other ?: name, size, align, flags,
					   useroffset, usersize, ctor);
	kfree(other);
	return cache;
}
EXPORT_SYMBOL_GPL(__mown_kmem_cache_create);
#endif

/* Who has the kernel panic without a cache must not go without one. */
struct kmem_cache *mown_cache_track(struct kmem_cache *cache,
				    slab_flags_t flags, bool has_ctor,
				    const struct mown_caller *by)
{
	struct mown_caller caller = *by;

	if (!MOWN_KEEPS_CACHES || !cache)
		return cache;
	caller.no_wait = flags & SLAB_ACCOUNT;
	caller.no_poison = has_ctor || flags & SLAB_TYPESAFE_BY_RCU;
	return mown_track(cache, 1, flags & SLAB_PANIC ?
			  GFP_KERNEL | __GFP_NOFAIL : GFP_KERNEL, MOWN_CACHE,
			  &caller);
}

/* As many call sites are named. */
#define MOWN_CACHE_SITES 8

/* Say what @owner still has of the cache. */
static void mown_cache_tell(struct mown_owner *owner,
			    const struct kmem_cache *cache)
{
	unsigned long count = 0, bytes = 0;
	char name[MOWN_SYMBOL_LEN];
	struct mown_sites sites = {};
	unsigned int i;

	if (mown_sites_collect(owner, MOWN_SITES_LIVE, cache, &sites))
		pr_warn("%s: no memory to name every site\n", owner->name);
	for (i = 0; i < sites.nr; i++) {
		count += sites.site[i].count;
		bytes += sites.site[i].bytes;
	}
	if (count)
		pr_warn("%s: a cache is destroyed with %lu objects (%lu bytes) live\n",
			owner->name, count, bytes);
	mown_sites_sort_by_bytes(&sites);
	for (i = 0; i < min(sites.nr, MOWN_CACHE_SITES); i++) {
		mown_symbol(owner, sites.site[i].ip, name, sizeof(name));
		pr_warn("%lu %lu slab %s\n", sites.site[i].count,
			sites.site[i].bytes, name);
	}
	mown_sites_free(&sites);
}

/**
 * mown_cache_ends - a slab cache is about to be destroyed
 * @cache: it, which is not recorded any more or never was
 * @recorded: it was until now
 *
 * What mown keeps of its objects goes back to it, and what is live is told
 * before the kernel says that there is something. One that was not recorded may be
 * merged with others, whose objects may live on.
 *
 * Context: Where kmem_cache_destroy() may be called.
 */
void mown_cache_ends(struct kmem_cache *cache, bool recorded)
{
	struct mown_owner *owner = NULL;

	mown_quarantine_purge(cache);
	while (recorded && (owner = mown_owner_next(owner)))
		if (!READ_ONCE(owner->dying))
			mown_cache_tell(owner, cache);
}
