#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""What a pair of an allocation and its free costs, raw and by each way in.

Runs bench_guest.py in a virtual machine of one CPU whose time stamp counter counts instructions,
prints a table beside what results.csv has from the last time, and writes the new figures there.
"""
import csv
import os
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
RESULTS = HERE / "results.csv"
COLUMNS = ("kernel,ruler,way,family,size,live,order,quarantine,stack_depth,unit,raw,value,"
           "added").split(",")
KEY = COLUMNS[:10]

Row = dict[str, str]


def key(row: Row) -> tuple[str, ...]:
    """What makes two rows the same thing measured twice."""
    return tuple(row[name] for name in KEY)


def measure(kernel: str) -> list[Row]:
    """Run the guest."""
    vmtest = HERE.parent / "vmtest.sh"
    env = dict(os.environ, MOWN_ACCEL="tcg-icount")
    version = subprocess.run([vmtest, "-k", kernel, "--kver"], check=True, text=True,
                             stdout=subprocess.PIPE).stdout.strip()
    with subprocess.Popen([vmtest, "-k", kernel, "-c", "1", "-t", "3000", "-a", "init_on_alloc=0",
                           "--", HERE / "bench_guest.py"], env=env, text=True,
                          stdout=subprocess.PIPE) as guest:
        assert guest.stdout
        rows = []
        for line in guest.stdout:
            rows.append(dict(zip(COLUMNS, [version, "icount", *line.strip().split(",")])))
            print(f"\r{len(rows)} figures", end="", file=sys.stderr, flush=True)
        print(file=sys.stderr)
    if guest.returncode or not rows:
        raise SystemExit(f"bench: the guest ended with {guest.returncode}")
    return rows


def main() -> int:
    """Measure, compare, write."""
    kernel = sys.argv[1] if len(sys.argv) > 1 else "6.1"
    before: dict[tuple[str, ...], str] = {}
    if RESULTS.exists():
        with RESULTS.open(encoding="ascii", newline="") as file:
            before = {key(row): row["added"] for row in csv.DictReader(file)}
    rows = measure(kernel)
    shown = (("way", "<16"), ("family", "<7"), ("size", ">5"), ("live", ">7"), ("order", "<6"),
             ("quarantine", ">10"), ("stack_depth", ">11"), ("unit", "<24"), ("raw", ">9"),
             ("added", ">10"))
    print(*(f"{name:{form}}" for name, form in shown), f"{'before':>10}")
    for row in rows:
        print(*(f"{row[name]:{form}}" for name, form in shown),
              f"{before.get(key(row), '-'):>10}")
    with RESULTS.open("w", encoding="ascii", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    return 0


if __name__ == "__main__":
    sys.exit(main())
