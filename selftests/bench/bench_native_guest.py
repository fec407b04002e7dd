#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""The guest's half of bench_native.py: measure the ways given, and print a row a line.

A way that is not mown's, nor the kernel's own list of a device's memory, is the kernel's heap as
it is in this boot: the host's half knows what it was booted with.
"""
import subprocess
import sys
from typing import Sequence

from bench_guest import (API, DROPIN, FEW, MANY, MOWN, PAIR, PLAIN, Rows, Work, knob, loaded,
                         unload)

WORKS = [*PAIR, *(work for work in FEW if work.size == 64), *MANY]
# It looks for what is freed in a list: what is not the newest takes minutes if there are many.
MANAGED = [work._replace(family="devm") for work in WORKS
           if work.live <= 1000 or (work.live <= 100000 and work.order == "lifo")]
OURS = {"api": API, "dropin": DROPIN}
# What mown may record of the stack, as the peers do
DEPTHS = (4, 8)
# The batches of a run follow each other within a millisecond, in which a host may be busy.
RUNS = 10
PAUSE = 0.03


def measure_ours(rows: Rows, way: str, works: Sequence[Work], depth: int) -> None:
    """A way in of mown's."""
    rows.depth = depth
    knob("stack_depth", depth)
    with loaded(OURS[way]):
        rows.measure(way, OURS[way], works)


def main(ways: Sequence[str]) -> int:
    """Measure the ways."""
    rows = Rows()
    rows.unit = "nanoseconds"
    rows.runs, rows.pause = RUNS, PAUSE
    with loaded(PLAIN):
        for way in ways:
            if way == "devm":
                rows.measure(way, PLAIN, MANAGED, "kmalloc")
            elif way not in OURS:
                rows.measure(way, PLAIN, WORKS)
    ours = [way for way in ways if way in OURS]
    if ours:
        subprocess.run(["insmod", str(MOWN)], check=True)
        # Nothing waits there anyway, as without ftrace mown's net is incomplete.
        knob("quarantine_bytes", 0)
        for way in ours:
            measure_ours(rows, way, WORKS, 0)
            for depth in DEPTHS:
                measure_ours(rows, way, PAIR, depth)
        unload("mown")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
