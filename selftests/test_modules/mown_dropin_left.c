// SPDX-License-Identifier: GPL-2.0
/*
 * Leaves a thousand objects of a kind behind, allocated by the kernel's names.
 */
#define HEAP(name) name
#include "left.h"

MODULE_LICENSE("GPL");
MODULE_INFO(test, "Y");
MODULE_DESCRIPTION("mown test: a thousand objects of the drop-in's, left behind");
