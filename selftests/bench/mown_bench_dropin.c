// SPDX-License-Identifier: GPL-2.0
/*
 * The same by the drop-in.
 */
#include <linux/mown_override.h>
#define HEAP(name) name
#include "bench.h"

MODULE_DESCRIPTION("mown benchmark: the kernel's names by the drop-in");
