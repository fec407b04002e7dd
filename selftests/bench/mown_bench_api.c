// SPDX-License-Identifier: GPL-2.0
/*
 * The same by mown's API.
 */
#include <linux/mown.h>
#define HEAP(name) mown_##name
#include "bench.h"

MODULE_DESCRIPTION("mown benchmark: pairs of mown_kmalloc() and mown_kfree()");
