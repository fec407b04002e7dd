#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Run the tests on other kernels, and write what came of it into the table in README.md.

    matrix.py [NAME...]

Without a NAME, on Debian's kernels: 6.1, 6.12 and sid's newest. The output is passed on; the last
line of each run that counts, and the kernel's version, become its row of the table, the others stay
as they are. Exits with 1 if anything failed.
"""
import datetime
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple, Sequence

HERE = Path(__file__).resolve().parent
TOP = HERE.parent
README = TOP / "README.md"
TABLE = re.compile(r"(?<=\n\| --- \| --- \| --- \| ---: \| ---: \| ---: \| ---: \|\n)(?:\|.*\n)*")
LAST = re.compile(r"(\d+) passed, (\d+) failed, (\d+) skipped$")
# What make check-gcov says of all files
LINES = re.compile(r"all +\d+ +\d+ +(\d+\.\d+)")


class Run(NamedTuple):
    """What make is told, and the kernel that vmtest.sh knows by this name, or "" for none."""

    kernel: str
    make: tuple[str, ...]


DEBIAN = ("6.1", "6.12", "sid")
RUNS = {kernel: Run(kernel, ("check", f"KERNEL={kernel}")) for kernel in DEBIAN + ("6.1-rt",)}
RUNS |= {"debug": Run("debug", ("check-debug",)), "kcsan": Run("kcsan", ("check-kcsan",)),
         "uml-debug": Run("uml-debug", ("check-uml",)),
         "in-tree": Run("in-tree", ("check-in-tree",)),
         "in-tree-m": Run("in-tree-m", ("check-in-tree", "KERNEL=in-tree-m")),
         "clang": Run("clang", ("check", "KERNEL=clang")),
         "arm64": Run("6.12-arm64", ("check-arm64",)),
         "6.1-arm64": Run("6.1-arm64", ("check-arm64", "KERNEL=6.1-arm64")),
         "gcov": Run("gcov", ("check-gcov",)), "model": Run("", ("check-model",)),
         "compile": Run("", ("check-compile",))}


class Result(NamedTuple):
    """What came of a run."""

    passed: int
    failed: int
    skipped: int
    lines: str


def run(what: Run) -> Result:
    """Run it."""
    numbers, lines = (0, 1, 0), ""
    with subprocess.Popen(["make", "-C", TOP, "--no-print-directory", *what.make], text=True,
                          stdout=subprocess.PIPE, errors="replace") as make:
        assert make.stdout
        for line in make.stdout:
            print(line, end="", flush=True)
            match = LAST.match(line.rstrip())
            if match:
                numbers = (int(match[1]), int(match[2]), int(match[3]))
            match = LINES.match(line.rstrip())
            if match:
                lines = match[1]
    if make.returncode and not numbers[1]:
        numbers = (numbers[0], 1, numbers[2])
    return Result(*numbers, lines)


def kernel_version(kernel: str) -> str:
    """What uname -r says under it; one that could not be had is none."""
    if not kernel:
        return "-"
    done = subprocess.run([HERE / "vmtest.sh", "-k", kernel, "--kver"], check=False, text=True,
                          stdout=subprocess.PIPE)
    return done.stdout.strip() or "none"


def record(what: Run, result: Result, seconds: float) -> None:
    """Put the row in its place; one of the same command is replaced."""
    version = kernel_version(what.kernel)
    if result.lines:
        version += f", {result.lines} % of lines"
    command = f"| `make {' '.join(what.make)}` |"
    row = (f"{command} {version} | {datetime.date.today()} | " +
           " | ".join(map(str, result[:3])) + f" | {seconds / 60:.0f} |\n")
    text = README.read_text(encoding="utf-8")
    found = TABLE.search(text)
    assert found, f"{README} has no table"
    rows = [line for line in found[0].splitlines(True) if not line.startswith(command)] + [row]
    README.write_text(text[:found.start()] + "".join(rows) + text[found.end():], encoding="utf-8")


def main(names: Sequence[str]) -> int:
    """Run them one after the other."""
    unknown = [name for name in names if name not in RUNS]
    if unknown:
        print(f"matrix: {' '.join(unknown)}: not one of {' '.join(RUNS)}", file=sys.stderr)
        return 2
    failed = 0
    for name in names or DEBIAN:
        start = time.monotonic()
        result = run(RUNS[name])
        record(RUNS[name], result, time.monotonic() - start)
        failed += result.failed
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
