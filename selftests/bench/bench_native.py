#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""What a pair of an allocation and its free costs in nanoseconds: mown's ways in, and its peers.

Instructions (bench.py) do not say what a miss of a cache costs. This runs bench_native_guest.py
under User-Mode Linux, which runs at the host's speed but has one CPU, so that its locks cost next
to nothing: the figures compare what the ways do, not how they contend. A figure is the median of
batches, and of several runs and boots the least: what else the host does only adds to it. "raw" is
the same work done by the kernel's own heap, in a plain kernel.
"""
import argparse
import statistics
import sys
from pathlib import Path
from typing import NamedTuple

from bench import COLUMNS, HERE, Row, build, compare, output, present

# What the guest knows
GUEST_COLUMNS = [*COLUMNS[2:10], "value"]


class Boot(NamedTuple):
    """A kernel, what it is booted with, and the ways measured there."""

    kernel: str
    args: str
    ways: tuple[str, ...]


BOOTS = (
    Boot("uml", "", ("raw", "api", "dropin", "devm")),
    Boot("uml", "slub_debug=FZPU", ("slub_debug",)),
    Boot("uml-kmemleak", "", ("kmemleak",)),
    Boot("uml-kmemleak", "kmemleak=off page_owner=on", ("page_owner",)),
    Boot("uml-kasan", "", ("kasan",)),
)


def measure(boot: Boot, bench: Path) -> list[Row]:
    """Run the guest once."""
    umltest = HERE.parent / "umltest.sh"
    text = output(umltest, "-k", boot.kernel, "-m", "3072", "-t", "1200", "-a", boot.args, "--",
                  bench / "bench_native_guest.py", *boot.ways)
    return [dict(zip(GUEST_COLUMNS, line.split(","))) for line in text.splitlines()]


def least(boots: list[list[Row]]) -> list[Row]:
    """The rows, each with the least of the boots."""
    return [min(same, key=lambda row: float(row["value"])) for same in zip(*boots)]


def spread(boots: list[list[Row]]) -> float:
    """How far a figure's boots are apart, as a share of the least: the median of all figures."""
    shares = []
    for same in zip(*boots):
        values = [float(row["value"]) for row in same]
        shares.append(max(values) / min(values) - 1)
    return statistics.median(shares)


def main() -> int:
    """Build, measure, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-n", "--boots", type=int, default=3, help="boots of each kind")
    args = parser.parse_args()
    rows: list[Row] = []
    for boot in BOOTS:
        version, bench = build(boot.kernel, "ARCH=um")
        boots = [measure(boot, bench) for _ in range(args.boots)]
        print(f"bench: {', '.join(boot.ways)}: the boots differ by {100 * spread(boots):.0f} %",
              file=sys.stderr, flush=True)
        rows += [dict(row, kernel=version, ruler="native") for row in least(boots)]
    present(compare(rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())
