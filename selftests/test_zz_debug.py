#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""On a kernel that checks itself: it still does, and mown has lost no memory of its own.

What a checker has to say of the tests stands in the kernel's log, and fails them. But some go
silent for good after a first report, and kmemleak speaks only if it is asked. So this is one of
the last tests by its name: it asks after whatever ran before it since the kernel was booted.
"""
import bisect
import os
import re
import time
from typing import NamedTuple

from ksft_mown import (SYSFS, Skip, insmod, load_mown, ops, read_file, rmmod, run_cases,
                       write_file)

LOCKDEP = "/proc/lockdep_stats"
KMEMLEAK = "/sys/kernel/debug/kmemleak"
# kmemleak is not sure of younger objects
AGE = 5.5
LEAKER = "mown_dropin_leak"
LEAKED = 40
CALLERS = ("mown_test_ops", "mown_dropin_ops")
# More than there are records at hand
MANY = 1000
# How those functions of mown's begin that allocate what a module has called for
FOR_MODULES = ("__mown_", "mown_wrap_", "mown_dma_alloc", "mown_dma_block_alloc",
               "mown_dma_pool_new")


class Lost(NamedTuple):
    """An object that nothing refers to."""

    frames: list[str]
    text: str


class Symbols:
    """mown's functions, to be known by their addresses when it has gone."""

    def __init__(self) -> None:
        lines = [line.split() for line in read_file("/proc/kallsyms").splitlines()
                 if line.endswith("[mown]")]
        self.names = sorted((int(addr, 16), name) for addr, kind, name, _ in lines
                            if kind in "tT")

    def name(self, frame: str) -> str:
        """The function of mown's that a frame is in, or nothing."""
        if frame.endswith("[mown]"):
            return frame
        last = self.names[-1][0] + 0x1000
        if not frame.startswith("0x") or not self.names[0][0] <= int(frame, 16) < last:
            return ""
        return self.names[bisect.bisect(self.names, (int(frame, 16), "~")) - 1][1]

    def own(self, lost: Lost) -> bool:
        """Did mown allocate it for itself, not for a module that calls its functions?

        Most of those allocate before they call mown: then there is no frame of mown's. What
        mown allocates for them, as to move an object, it does by a function of the kernel's
        that is told the caller. And the kernel loses the name of a slab cache that cannot be
        added to sysfs, which test_failslab.py makes happen.
        """
        if any(frame.startswith(("__kmalloc_node_track_caller", "sysfs_slab_add+"))
               for frame in lost.frames):
            return False
        names = [name for name in map(self.name, lost.frames) if name]
        return bool(names) and not names[0].startswith(FOR_MODULES)


def scan() -> list[Lost]:
    """What kmemleak names. An object may escape a scan whose address lies somewhere by chance."""
    if not os.path.exists(KMEMLEAK):
        raise Skip("no kmemleak")
    time.sleep(AGE)
    for _ in range(2):
        write_file(KMEMLEAK, "scan")
    found = []
    for text in re.split(r"^(?=unreferenced object )", read_file(KMEMLEAK), flags=re.M)[1:]:
        found.append(Lost(re.findall(r"^ +\[<[0-9a-f]+>\] (.*)$", text, re.M), text))
    return found


def lockdep() -> None:
    """lockdep has not turned itself off."""
    if not os.path.exists(LOCKDEP):
        raise Skip("no lockdep")
    match = re.search(r"debug_locks: +(\d)", read_file(LOCKDEP))
    assert match and match[1] == "1", f"{LOCKDEP} has {match}"


def believed() -> None:
    """A lock that reclaim takes is held: where the caller says so, mown's records are no matter."""
    lockdep()
    for name in CALLERS:
        with ops(name) as heap:
            objects = [heap.call("kmalloc_nolockdep", 64).pointer for _ in range(MANY)]
            for addr in objects:
                heap.call("kfree", addr)
    lockdep()


def finds() -> None:
    """kmemleak names what a module has left behind, though mown's records have its address."""
    before = scan()
    insmod(LEAKER, small=LEAKED)
    rmmod(LEAKER)
    found = len(scan()) - len(before)
    # An old pointer to some may be left in a register or on a stack, where they were listed.
    assert found >= LEAKED // 4, f"{found} of {LEAKED} lost objects were found"


def nothing_lost() -> None:
    """Of mown's own memory nothing is lost, neither while it is loaded nor when it has gone."""
    lost = scan()
    if lost and not any(one.frames for one in lost):
        raise Skip("kmemleak knows no stacks here")
    symbols = Symbols()
    for word in ("loaded", "gone"):
        lost = [one.text for one in scan() if symbols.own(one)]
        assert not lost, f"mown {word}: {len(lost)} objects are lost:\n" + "\n".join(lost)
        if word == "loaded":
            rmmod("mown")
            assert not os.path.exists(SYSFS)
    load_mown()


CASES = [
    ("lockdep is on", lockdep),
    ("lockdep is not asked where a caller says so", believed),
    ("kmemleak finds what a module leaves behind", finds),
    ("kmemleak finds nothing of mown's own", nothing_lost),
]

if __name__ == "__main__":
    run_cases(CASES, modules=(LEAKER, *CALLERS))
