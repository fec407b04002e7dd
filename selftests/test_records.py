#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Records when there is no memory for them: magazines first, then untracked, and nothing fails."""
import os
from typing import Iterator
from contextlib import contextmanager

from ksft_mown import (SYSFS, loaded, ops, read_file, run_cases, stats, violations, wait_for,
                       write_file)

API, DENIER = "mown_test_ops", "mown_plain_norecords"
DENY = f"/sys/module/{DENIER}/parameters/deny"
# A magazine that a task has filled has as many left at least
AT_HAND = 15
MOST = 200
# One call of each kind of record: an object, one of a cache, one of a device
CALLS = {"kmalloc": ((64,), "kfree"), "kmem_cache_alloc": ((), "kmem_cache_free")}


@contextmanager
def denier() -> Iterator[None]:
    """mown's calls can be denied; nobody's whose text is behind mown's, and is there."""
    start = int(read_file("/sys/module/mown/sections/.text"), 0)
    size = next(int(line.split()[1]) for line in read_file("/proc/modules").splitlines()
                if line.startswith("mown "))
    # Of its size no more is text, and newer kernels put modules' texts side by side.
    for line in read_file("/proc/kallsyms").splitlines():
        addr, kind, *name = line.split()
        if kind in "tT" and name[-1] != "[mown]" and int(addr, 16) > start:
            size = min(size, int(addr, 16) - start)
    with loaded(DENIER, start=start, size=size):
        yield


def magazines() -> None:
    """Who cannot wait has records at hand, goes untracked after these, and has them again."""
    os.sched_setaffinity(0, {0})
    write_file(f"{SYSFS}/clear", "1")
    with ops(API) as heap, denier():
        for name, (numbers, release) in CALLS.items():
            # A task fills the magazine
            heap.call(release, heap.call(name, *numbers).pointer)
            before = stats(API)
            objects = []
            write_file(DENY, "1")
            while stats(API)["untracked"] < before["untracked"] + 20 and len(objects) < MOST:
                result = heap.call(name, *numbers, context="hardirq")
                assert result.pointer and result.context == "hardirq", result
                objects.append(result.pointer)
            tracked = stats(API)["allocated"] - before["allocated"]
            assert tracked >= AT_HAND, f"{name}: {tracked} of {len(objects)} are tracked"
            assert tracked < len(objects), f"{name}: all are tracked, so nothing was denied"
            # Nor does a task's allocation fail
            objects.append(heap.call(name, *numbers).pointer)
            assert objects[-1]
            write_file(DENY, "0")
            for pointer in objects:
                heap.call(release, pointer, context="hardirq")
            after = stats(API)
            assert after["live"] == before["live"], (before, after)
            untracked = after["untracked"] - before["untracked"]
            freed = after["untracked_freed"] - before["untracked_freed"]
            assert untracked == freed == len(objects) - tracked, (before, after)

            def refilled() -> bool:
                """An atomic call has its record, and finds the next one there."""
                was = stats(API)["untracked"]
                for _ in range(2):
                    heap.call(release, heap.call(name, *numbers, context="hardirq").pointer)
                return stats(API)["untracked"] == was
            wait_for(refilled, 5, "the magazine to be filled")
        assert not violations(), violations()[-1]


CASES = (
    ("no memory for records: those at hand, then untracked, then records again", magazines),
)

if __name__ == "__main__":
    run_cases(CASES, modules=(API, DENIER))
