#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Records when there is no memory for them: magazines first, then untracked, and nothing fails.

And the magazine of a CPU that goes.
"""
import os
from typing import NamedTuple

from ksft_mown import (DENIER, SYSFS, Ops, Result, Skip, denier, knob, live, no_records, ops,
                       read_file, run_cases, stats, violations, wait_for, write_file)

API = "mown_test_ops"
# A magazine that a task has filled has as many left at least
AT_HAND = 15
MOST = 200
DEVICE, BYTES = 0, 4096

SLAB = "/sys/kernel/slab"
# The kinds of record that atomic callers want, each with its cache; in the order of CALLS
CACHES = ("mown_record", "mown_child", "mown_dma_child")
# The CPU that goes, with more of each kind made there than a magazine holds
CPU, MADE = 1, 40


class Call(NamedTuple):
    """What allocates, with its numbers, and what frees that, in a context that may."""

    name: str
    numbers: tuple[int, ...]
    release: str
    context: str = "hardirq"

    def free(self, heap: Ops, made: Result) -> None:
        """Free what an allocation gave."""
        numbers = (DEVICE, BYTES, made.pointer, made.usable) if self.name.startswith("dma") else \
            (made.pointer,)
        heap.call(self.release, *numbers, context=self.context)


# One of each kind of record: an object, one of a cache, one that a device reaches. The last must
# not be freed with interrupts off
CALLS = (Call("kmalloc", (64,), "kfree"), Call("kmem_cache_alloc", (), "kmem_cache_free"),
         Call("dma_alloc_coherent", (DEVICE, BYTES), "dma_free_coherent", "task"))


def magazines() -> None:
    """Who cannot wait has records at hand, goes untracked after these, and has them again."""
    os.sched_setaffinity(0, {0})
    write_file(f"{SYSFS}/clear", "1")
    with ops(API) as heap, denier():
        for call in CALLS:
            # A task fills the magazine
            call.free(heap, heap.call(call.name, *call.numbers))
            before = stats(API)
            objects = []
            no_records(True)
            while stats(API)["untracked"] < before["untracked"] + 20 and len(objects) < MOST:
                result = heap.call(call.name, *call.numbers, context="hardirq")
                assert result.pointer and result.context == "hardirq", result
                objects.append(result)
            tracked = stats(API)["allocated"] - before["allocated"]
            assert tracked >= AT_HAND, f"{call.name}: {tracked} of {len(objects)} are tracked"
            assert tracked < len(objects), f"{call.name}: all are tracked, so nothing was denied"
            # Nor does a task's allocation fail
            objects.append(heap.call(call.name, *call.numbers))
            assert objects[-1].pointer
            no_records(False)
            for result in objects:
                call.free(heap, result)
            after = stats(API)
            assert after["live"] == before["live"], (before, after)
            untracked = after["untracked"] - before["untracked"]
            freed = after["untracked_freed"] - before["untracked_freed"]
            assert untracked == freed == len(objects) - tracked, (before, after)

            def refilled(call: Call = call) -> bool:
                """An atomic call has its record, and finds the next one there."""
                was = stats(API)["untracked"]
                for _ in range(2):
                    call.free(heap, heap.call(call.name, *call.numbers, context="hardirq"))
                return stats(API)["untracked"] == was
            wait_for(refilled, "the magazine to be filled")
        assert not violations(), violations()[-1]


def in_use(cache: str) -> int:
    """How many objects of the cache are out."""
    # A slab that is a CPU's own counts as full until it is given back
    write_file(f"{SLAB}/{cache}/shrink", "1")
    return int(read_file(f"{SLAB}/{cache}/objects").split()[0])


def cpu_goes() -> None:
    """The magazine of a CPU that goes is emptied; what lives stays recorded, and it may return."""
    online = f"/sys/devices/system/cpu/cpu{CPU}/online"
    if not os.path.exists(online):
        raise Skip(f"CPU {CPU} cannot go")
    if not all(os.path.exists(f"{SLAB}/{cache}/objects") for cache in CACHES):
        raise Skip("the kernel does not tell how many objects a cache has")
    # What waits in quarantine would keep its record
    with knob("quarantine_bytes", 0), ops(API) as heap:
        os.sched_setaffinity(0, {CPU})
        kept = []
        for call in CALLS:
            made = [heap.call(call.name, *call.numbers) for _ in range(MADE)]
            kept.append(made.pop())
            for result in made:
                call.free(heap, result)
        os.sched_setaffinity(0, {0})
        before = {cache: in_use(cache) for cache in CACHES}
        write_file(online, "0")
        try:
            for cache in CACHES:
                wait_for(lambda cache=cache: in_use(cache) <= before[cache] - AT_HAND,
                         f"{cache}: the magazine's records, {before[cache]} were out before")
            assert {r.address for r in live(API)} == {result.pointer for result in kept}
            for call, result in zip(CALLS, kept):
                call.free(heap, result)
            assert not live(API), "what was allocated on it cannot be freed"
        finally:
            write_file(online, "1")
        os.sched_setaffinity(0, {CPU})
        for call in CALLS:
            made = [heap.call(call.name, *call.numbers, context="hardirq") for _ in range(MADE)]
            assert [r.cpu for r in live(API)] == [CPU] * MADE, live(API)
            for result in made:
                call.free(heap, result)
        counts = stats(API)
        assert (counts["live"], counts["untracked"]) == (0, 0), counts
        assert counts["allocated"] == counts["freed"] == 2 * MADE * len(CALLS), counts
    assert not violations(), violations()[-1]


CASES = (
    ("no memory for records: those at hand, then untracked, then records again", magazines),
    ("a CPU goes, and comes again", cpu_goes),
)

if __name__ == "__main__":
    run_cases(CASES, modules=(API, DENIER))
