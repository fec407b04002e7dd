// SPDX-License-Identifier: GPL-2.0
/*
 * Call the API's functions at the word of a script.
 */
#include <linux/mown.h>

#define HEAP(name) mown_##name
#include "ops.h"

MODULE_LICENSE("GPL");
MODULE_INFO(test, "Y");
MODULE_DESCRIPTION("mown test: calls the API at the word of a script");
