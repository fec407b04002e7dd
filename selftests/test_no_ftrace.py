#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""mown as it is built for a kernel without ftrace: attach is absent, the rest works."""
import errno
import os

from ksft_mown import (SYSFS, global_stats, load_mown, ops, read_lines, run_cases, skip_all, stats,
                       write_file)

API = "mown_test_ops"


def attach_is_absent() -> None:
    """Nothing can be attached, and the files say so."""
    try:
        write_file(f"{SYSFS}/attach", "mown_plain_ops")
    except OSError as err:
        assert err.errno == errno.EOPNOTSUPP, err
    else:
        raise AssertionError("something is attached")
    assert not read_lines("/sys/kernel/debug/mown/attached", "mown attached 1")


def rest_works() -> None:
    """Memory is recorded and given back; what relies on seeing all frees is off."""
    with ops(API) as heap:
        assert global_stats()["net"].startswith("incomplete("), global_stats()
        addr = heap.call("kmalloc", 100).pointer
        assert stats(API)["live"] == 1
        heap.call("kfree", addr)
        found = stats(API)
        assert (found["live"], found["freed"], found["quarantined"]) == (0, 1, 0), found
        heap.call("kfree_rcu", heap.call("kmalloc", 100).pointer)
        addr = heap.call("kmalloc", 100).pointer
        heap.call("kfree", addr + 8)
        assert stats(API)["interior_frees"] == 1, stats(API)
        heap.call("kfree", addr)


if __name__ == "__main__":
    load_mown()
    if not os.path.exists(f"{SYSFS}/attach") or global_stats()["hooks"] != "none":
        skip_all("this mown was built for a kernel with ftrace")
    run_cases([("attach is absent", attach_is_absent), ("the rest works", rest_works)], (API,))
