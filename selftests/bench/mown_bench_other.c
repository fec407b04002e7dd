// SPDX-License-Identifier: GPL-2.0
/*
 * The same once more: the bystander.
 */
#define HEAP(name) name
#include "bench.h"

MODULE_DESCRIPTION("mown benchmark: pairs of kmalloc() and kfree() by a bystander");
