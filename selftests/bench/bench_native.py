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
import shutil
import statistics
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

from bench import COLUMNS, Row, present, raw_key

HERE = Path(__file__).resolve().parent
TOP = HERE.parent.parent
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


def output(*command: str | Path) -> str:
    """What a command prints, in one line."""
    return subprocess.run(command, check=True, text=True, cwd=TOP,
                          stdout=subprocess.PIPE).stdout.strip()


def build(kernel: str) -> tuple[str, Path]:
    """Build the kernel, and the modules for it in a copy of the sources.

    Gives the kernel's version, and where the copy is.
    """
    kdir = output(HERE.parent / "build-kernel.sh", kernel)
    copy = TOP / "build" / "native" / kernel
    ignore = shutil.ignore_patterns("*.o", "*.ko", "*.mod", "*.mod.c", ".*", "modules.order",
                                    "Module.symvers", "__pycache__")
    for name in ("src", "include", "selftests/bench"):
        shutil.copytree(TOP / name, copy / name, ignore=ignore, dirs_exist_ok=True)
    shutil.copy2(TOP / "Makefile", copy)
    make = ["make", "-s", "-C", kdir, "ARCH=um", "modules"]
    bench = copy / "selftests" / "bench"
    for args in ([f"M={copy}"], [f"M={bench}", f"MOWN={copy}",
                                 f"KBUILD_EXTRA_SYMBOLS={copy / 'Module.symvers'}"]):
        subprocess.run([*make, *args], check=True, stdout=sys.stderr)
    return output("make", "-s", "-C", kdir, "ARCH=um", "kernelrelease"), copy


def measure(boot: Boot, copy: Path) -> list[Row]:
    """Run the guest once."""
    umltest = HERE.parent / "umltest.sh"
    text = output(umltest, "-k", boot.kernel, "-m", "3072", "-t", "1200", "-a", boot.args, "--",
                  copy / "selftests" / "bench" / "bench_native_guest.py", *boot.ways)
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


def compare(rows: list[Row]) -> None:
    """Put what the same work costs raw into each row."""
    raw = {raw_key(row): row["value"] for row in rows if row["way"] == "raw"}
    for row in rows:
        row["raw"] = raw[raw_key(row)]
        row["added"] = f"{float(row['value']) - float(row['raw']):.1f}"


def main() -> int:
    """Build, measure, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-n", "--boots", type=int, default=3, help="boots of each kind")
    args = parser.parse_args()
    rows: list[Row] = []
    for boot in BOOTS:
        version, copy = build(boot.kernel)
        boots = [measure(boot, copy) for _ in range(args.boots)]
        print(f"bench: {', '.join(boot.ways)}: the boots differ by {100 * spread(boots):.0f} %",
              file=sys.stderr, flush=True)
        rows += [dict(row, kernel=version, ruler="native") for row in least(boots)]
    compare(rows)
    present(rows)
    return 0


if __name__ == "__main__":
    sys.exit(main())
