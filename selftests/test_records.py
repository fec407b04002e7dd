#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Records when there is no memory for them: magazines first, then untracked, and nothing fails."""
import os

from ksft_mown import (DENIER, SYSFS, denier, no_records, ops, run_cases, stats, violations,
                       wait_for, write_file)

API = "mown_test_ops"
# A magazine that a task has filled has as many left at least
AT_HAND = 15
MOST = 200
# One call of each kind of record: an object, one of a cache, one of a device
CALLS = {"kmalloc": ((64,), "kfree"), "kmem_cache_alloc": ((), "kmem_cache_free")}


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
            no_records(True)
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
            no_records(False)
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
            wait_for(refilled, "the magazine to be filled")
        assert not violations(), violations()[-1]


CASES = (
    ("no memory for records: those at hand, then untracked, then records again", magazines),
)

if __name__ == "__main__":
    run_cases(CASES, modules=(API, DENIER))
