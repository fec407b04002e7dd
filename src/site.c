// SPDX-License-Identifier: GPL-2.0
/*
 * Sites: an owner's records, summed up by the call that allocated them
 */
#include <linux/mm.h>
#include <linux/slab.h>
#include <linux/sort.h>

#include "mown.h"

/* Where @ip is, or is to go. */
static unsigned int mown_sites_index(const struct mown_sites *sites,
				     unsigned long ip)
{
	unsigned int low = 0, high = sites->nr;

	while (low < high) {
		unsigned int mid = low + (high - low) / 2;

		if (sites->site[mid].ip < ip)
			low = mid + 1;
		else
			high = mid;
	}
	return low;
}

static int mown_sites_grow(struct mown_sites *sites)
{
	unsigned int room = sites->room ? sites->room * 2 : 32;
	struct mown_site *site;

	site = kvmalloc_array(room, sizeof(*site), GFP_KERNEL);
	if (!site)
		return -ENOMEM;
	if (sites->nr)
		memcpy(site, sites->site, sites->nr * sizeof(*site));
	kvfree(sites->site);
	sites->site = site;
	sites->room = room;
	return 0;
}

/* The object of @copy, or that it was released, counts for the call at @ip. */
static int mown_sites_add(struct mown_sites *sites, unsigned long ip,
			  const struct mown_copy *copy)
{
	unsigned int at = mown_sites_index(sites, ip);
	struct mown_site *site;

	if (at == sites->nr || sites->site[at].ip != ip) {
		if (sites->nr == sites->room && mown_sites_grow(sites))
			return -ENOMEM;
		site = &sites->site[at];
		memmove(site + 1, site, (sites->nr - at) * sizeof(*site));
		*site = (struct mown_site) {
			.ip = ip,
			.family = copy->family,
		};
		sites->nr++;
	}
	/* kvmalloc() gives memory of two. */
	if (sites->site[at].family != copy->family)
		sites->site[at].family = MOWN_NR_FAMILIES;
	sites->site[at].count++;
	sites->site[at].bytes += copy->size;
	return 0;
}

static bool mown_site_wanted(enum mown_sites_of what, const void *with,
			     const struct mown_copy *copy)
{
	if (with && copy->with != with)
		return false;
	return what == MOWN_SITES_ALL ||
	       (copy->live && !(what == MOWN_SITES_SINCE && copy->marked));
}

/*
 * Sum up the owner's objects by site: all that are recorded (those released by
 * the place of that, too), the live ones, or the live ones since its checkpoint;
 * only those that belong to @with, if that is not NULL. The caller frees @sites,
 * whatever this returns.
 */
int mown_sites_collect(struct mown_owner *owner, enum mown_sites_of what,
		       const void *with, struct mown_sites *sites)
{
	struct mown_copy copies[MOWN_COPIES];
	struct mown_cursor cursor = {};
	unsigned int i, nr;

	while ((nr = mown_owner_copy(owner, &cursor, copies, MOWN_COPIES))) {
		for (i = 0; i < nr; i++) {
			if (!mown_site_wanted(what, with, &copies[i]))
				continue;
			if (mown_sites_add(sites, copies[i].site, &copies[i]))
				return -ENOMEM;
			if (what == MOWN_SITES_ALL && copies[i].freed_site &&
			    mown_sites_add(sites, copies[i].freed_site,
					   &copies[i]))
				return -ENOMEM;
		}
		cond_resched();
	}
	return 0;
}

static int mown_site_more_bytes(const void *a, const void *b)
{
	const struct mown_site *x = a, *y = b;

	if (x->bytes != y->bytes)
		return x->bytes < y->bytes ? 1 : -1;
	return x->ip < y->ip ? -1 : x->ip > y->ip;
}

void mown_sites_sort_by_bytes(struct mown_sites *sites)
{
	sort(sites->site, sites->nr, sizeof(*sites->site),
	     mown_site_more_bytes, NULL);
}

void mown_sites_free(struct mown_sites *sites)
{
	kvfree(sites->site);
}
