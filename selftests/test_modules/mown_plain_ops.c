// SPDX-License-Identifier: GPL-2.0
/*
 * Call the kernel's functions at the word of a script, mown not being involved.
 */
#define HEAP(name) name
#include "ops.h"

MODULE_LICENSE("GPL");
MODULE_INFO(test, "Y");
MODULE_DESCRIPTION("mown test: calls the kernel's own functions at the word of a script");
