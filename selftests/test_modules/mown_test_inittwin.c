// SPDX-License-Identifier: GPL-2.0
/*
 * The same as mown_test_initfree, so that its init text may come to lie where that
 * one's was, with the same call sites.
 */
#include "mown_test_initfree.c"
