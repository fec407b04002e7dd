// SPDX-License-Identifier: GPL-2.0
/*
 * The kernel's own functions: the measure of all, and what is attached.
 */
#define HEAP(name) name
#include "bench.h"

MODULE_DESCRIPTION("mown benchmark: pairs of kmalloc() and kfree()");
