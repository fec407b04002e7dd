// SPDX-License-Identifier: GPL-2.0
/*
 * Leaves a thousand objects of a kind behind, allocated through the API.
 */
#include <linux/mown.h>

#define HEAP(name) mown_##name
#include "left.h"

MODULE_LICENSE("GPL");
MODULE_INFO(test, "Y");
MODULE_DESCRIPTION("mown test: a thousand objects of the API's, left behind");
