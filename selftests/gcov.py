#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Which lines of src/ were run, by what vmtest.sh has left of each run in a directory.

    gcov.py [--least PERCENT] [--missed FILE] DIR

Prints a table. FILE gets the lines that were not run, by function. A line that was compiled in
several ways, or into several files, was run if it was in one of them. The objects must be those
that ran. Exits with 1 if fewer than PERCENT of all lines were.
"""
import argparse
import json
import subprocess
import sys
import tarfile
import tempfile
from collections import defaultdict
from pathlib import Path
from typing import Any, Iterator

TOP = Path(__file__).resolve().parent.parent
SRC = TOP / "src"

# By file of src/ and line: how often, and in which function
Counts = dict[str, dict[int, tuple[int, str]]]


def gcov(data: Path) -> Iterator[dict[str, Any]]:
    """What gcov makes of each file of counts; beside it is a link to what the compiler left."""
    files = sorted(str(path) for path in data.rglob("*.gcda"))
    done = subprocess.run(["gcov", "--json-format", "--stdout", *files], cwd=data, check=True,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    if "mismatch" in done.stderr:
        sys.exit(f"gcov: mown was built anew since it ran:\n{done.stderr}")
    for line in done.stdout.splitlines():
        yield json.loads(line)


def add(counts: Counts, said: dict[str, Any]) -> None:
    """Add what one object says of the lines that it is of."""
    for file in said["files"]:
        path = Path(file["file"])
        # Also of a copy of the tree that was built in another way
        if path.parent.name != "src" or TOP not in path.parents:
            continue
        lines = counts[path.name]
        for line in file["lines"]:
            number = line["line_number"]
            before, name = lines.get(number, (0, ""))
            lines[number] = (before + line["count"], name or line.get("function_name", ""))


def collect(runs: Path) -> Counts:
    """Of all runs together."""
    counts: Counts = defaultdict(dict)
    for run in sorted(runs.glob("*.tar")):
        with tempfile.TemporaryDirectory() as data, tarfile.open(run) as tar:
            tar.extractall(data)
            for said in gcov(Path(data)):
                add(counts, said)
    return counts


def row(name: str, run: int, lines: int) -> str:
    """A line of the table."""
    return f"{name:<16} {lines:>6} {run:>6} {100 * run / lines:>7.1f}"


def table(counts: Counts) -> float:
    """Print it; the share of all lines, in percent."""
    runs = lines = 0
    print(f"{'file':<16} {'lines':>6} {'run':>6} {'percent':>7}")
    for name in sorted(counts):
        run = sum(bool(count) for count, _ in counts[name].values())
        print(row(name, run, len(counts[name])))
        runs += run
        lines += len(counts[name])
    print(row("all", runs, lines))
    return 100 * runs / lines


def missed(counts: Counts) -> Iterator[str]:
    """The lines that were not run, under the name of each function."""
    for name in sorted(counts):
        source = (SRC / name).read_text(encoding="utf-8").splitlines()
        last = ""
        for number, (count, function) in sorted(counts[name].items()):
            if count:
                continue
            if function != last:
                yield f"{name}: {function}()"
            last = function
            yield f"{number:>6}: {source[number - 1]}"


def main() -> int:
    """Count, print, judge."""
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--least", type=float, default=0, metavar="PERCENT")
    parser.add_argument("--missed", type=Path, metavar="FILE")
    parser.add_argument("runs", type=Path, metavar="DIR")
    args = parser.parse_args()
    counts = collect(args.runs)
    if not counts:
        print(f"gcov: nothing of src/ was counted in {args.runs}", file=sys.stderr)
        return 1
    share = table(counts)
    if args.missed:
        args.missed.write_text("".join(line + "\n" for line in missed(counts)), encoding="utf-8")
    if share < args.least:
        print(f"gcov: fewer than {args.least:g} percent")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
