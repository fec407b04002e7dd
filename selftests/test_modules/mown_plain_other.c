// SPDX-License-Identifier: GPL-2.0
/*
 * The same as mown_plain_ops, to stand for the rest of the kernel beside it.
 */
#define HEAP(name) name
#include "ops.h"

MODULE_LICENSE("GPL");
MODULE_INFO(test, "Y");
MODULE_DESCRIPTION("mown test: calls the kernel's own functions at the word of a script");
