#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""What a pair of an allocation and its free costs, raw, by each way in, and with others' tools.

Runs bench_guest.py in virtual machines of one CPU whose time stamp counter counts instructions,
prints a table beside what results.csv has from the last time, and writes the new figures there,
and a plot of the most telling ones. Tools that have to be built into the kernel run in kernels of
build-kernel.sh's, and are compared with the raw work in the one for kmemleak, which is off then.
"""
import csv
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Sequence

HERE = Path(__file__).resolve().parent
TOP = HERE.parent.parent
VMTEST = HERE.parent / "vmtest.sh"
RESULTS = HERE / "results.csv"
PLOT = HERE / "results.svg"
COLUMNS = ("kernel,ruler,way,family,size,live,order,quarantine,stack_depth,unit,raw,value,"
           "added").split(",")
KEY = COLUMNS[:10]

Row = dict[str, str]


def key(row: Row) -> tuple[str, ...]:
    """What makes two rows the same thing measured twice."""
    return tuple(row[name] for name in KEY)


def raw_key(row: Row) -> tuple[str, ...]:
    """What is the same work."""
    return tuple(row[name] for name in ("family", "size", "live", "order", "unit"))


def output(*command: str | Path) -> str:
    """What a command prints, in one line."""
    return subprocess.run(command, check=True, text=True, cwd=TOP,
                          stdout=subprocess.PIPE).stdout.strip()


def asked(kernel: str, what: str) -> str:
    """What vmtest.sh answers."""
    return output(VMTEST, "-k", kernel, what)


def build(kernel: str, *make_args: str) -> tuple[str, Path]:
    """Build one of our own kernels, and the modules for it in a copy of the sources.

    Gives the kernel's version, and where the copy's benchmark is.
    """
    kdir = output(HERE.parent / "build-kernel.sh", kernel)
    copy = TOP / "build" / "bench" / kernel
    ignore = shutil.ignore_patterns("*.o", "*.ko", "*.mod", "*.mod.c", ".*", "modules.order",
                                    "Module.symvers", "__pycache__")
    for name in ("src", "include", "selftests/bench"):
        shutil.copytree(TOP / name, copy / name, ignore=ignore, dirs_exist_ok=True)
    shutil.copy2(TOP / "Makefile", copy)
    make = ["make", "-s", "-C", kdir, *make_args]
    bench = copy / "selftests" / "bench"
    for args in ([f"M={copy}"], [f"M={bench}", f"MOWN={copy}",
                                 f"KBUILD_EXTRA_SYMBOLS={copy / 'Module.symvers'}"]):
        subprocess.run([*make, *args, "modules"], check=True, stdout=sys.stderr)
    return output(*make, "kernelrelease"), bench


def run_guest(kernel: str, boot: str, *args: str, bench: Path = HERE) -> list[Row]:
    """The rows of one guest, without what is compared."""
    ruler, cpus = ("wall", 2) if "--race" in args else ("icount", 1)
    env = dict(os.environ, MOWN_ACCEL="tcg" if cpus > 1 else "tcg-icount")
    version = asked(kernel, "--kver")
    with subprocess.Popen([VMTEST, "-k", kernel, "-c", str(cpus), "-m", "2048", "-t", "3000", "-a",
                           f"init_on_alloc=0 {boot}".strip(), "--", bench / "bench_guest.py",
                           *args], env=env, text=True, stdout=subprocess.PIPE) as guest:
        assert guest.stdout
        rows = []
        for line in guest.stdout:
            rows.append(dict(zip(COLUMNS, [version, ruler, *line.strip().split(",")])))
            rows[-1]["value"] = rows[-1].pop("raw")
            print(f"\r{' '.join(args[:2]) or 'all ways'}: {len(rows)} figures", end="",
                  file=sys.stderr, flush=True)
        print(file=sys.stderr)
    if guest.returncode or not rows:
        raise SystemExit(f"bench: the guest ended with {guest.returncode}")
    return rows


def compare(rows: list[Row]) -> list[Row]:
    """Put what the same work costs raw into each row."""
    raw = {raw_key(row): row["value"] for row in rows if row["way"] == "raw"}
    for row in rows:
        row["raw"] = raw.get(raw_key(row), "0.0")
        row["added"] = f"{float(row['value']) - float(row['raw']):.1f}"
    return rows


# What stands for each way that is built in: the kernel, and what it is booted with
BUILT_IN = {
    "raw": ("kmemleak", "kmemleak=off"),
    "kmemleak": ("kmemleak", ""),
    "page_owner": ("kmemleak", "kmemleak=off page_owner=on"),
    "kasan": ("kasan", ""),
}


def measure_built_in() -> list[Row]:
    """What others' tools cost that no distribution's kernel has."""
    rows = []
    for way, (kernel, boot) in BUILT_IN.items():
        _, bench = build(kernel)
        rows += run_guest(kernel, boot, "--peer", way, bench=bench)
    return compare(rows)


def measure(kernel: str) -> list[Row]:
    """Run the guests: each figure beside what the same work costs raw."""
    rows = run_guest(kernel, "")
    rows += run_guest(kernel, "slub_debug=FZPU", "--peer", "slub_debug")
    rows += run_guest(kernel, "", "--peer", "bpftrace", "--headers", asked(kernel, "--kdir"))
    rows += run_guest(kernel, "", "--scale")
    rows += run_guest(kernel, "", "--race")
    return compare(rows) + measure_built_in()


# The bars of the plot: way, size, live, order, quarantine and depth of stacks
BARS = {
    "API": ("api", "64", "1000", "fifo", "0", "0"),
    "API, 1,000,000 live": ("api", "64", "1000000", "fifo", "0", "0"),
    "API, quarantine": ("api", "64", "1000", "fifo", "1048576", "0"),
    "API, stacks of 4": ("api", "64", "0", "pair", "0", "4"),
    "drop-in": ("dropin", "64", "1000", "fifo", "0", "0"),
    "attached": ("attach", "64", "1000", "fifo", "0", "0"),
    "others, attached": ("bystander_attach", "64", "0", "pair", "0", "0"),
    "others, API": ("bystander_api", "64", "0", "pair", "0", "0"),
    "devm, newest first": ("devm", "64", "1000", "lifo", "0", "0"),
    "devm, oldest first": ("devm", "64", "1000", "fifo", "0", "0"),
    "bpftrace": ("bpftrace", "64", "1000", "fifo", "0", "0"),
    "slub_debug=FZPU": ("slub_debug", "64", "1000", "fifo", "0", "0"),
    "kmemleak": ("kmemleak", "64", "1000", "fifo", "0", "0"),
    "KASAN": ("kasan", "64", "1000", "fifo", "0", "0"),
}


def plot(rows: Sequence[Row]) -> None:
    """Write the plot, by gnuplot."""
    if not shutil.which("gnuplot"):
        print("bench: no gnuplot, no plot: see setup.sh --bench", file=sys.stderr)
        return
    names = ("way", "size", "live", "order", "quarantine", "stack_depth")
    added = {tuple(row[name] for name in names): row["added"] for row in rows
             if row["unit"] == "instructions" and row["family"] == "kmalloc"}
    data = "\n".join(f'"{title}" {added[what]}' for title, what in BARS.items() if what in added)
    script = f"""set terminal svg size 900,480 background "white" noenhanced
set output "{PLOT}"
set title "Instructions added to an allocation of 64 bytes and its free, 1,000 objects live"
set logscale y
set yrange [10:]
set grid ytics
set xtics rotate by -35
set rmargin 12
set style fill solid 0.6
set boxwidth 0.7
$data << EOD
{data}
EOD
plot $data using 2:xtic(1) with boxes notitle, $data using 0:2:2 with labels offset 0,0.6 notitle
"""
    subprocess.run(["gnuplot"], input=script, text=True, check=True)


def present(rows: list[Row]) -> None:
    """Print the rows beside those of the last time, and put them in their place."""
    before: list[Row] = []
    if RESULTS.exists():
        with RESULTS.open(encoding="ascii", newline="") as file:
            before = list(csv.DictReader(file))
    added = {key(row): row["added"] for row in before}
    shown = (("way", "<16"), ("family", "<7"), ("size", ">5"), ("live", ">7"), ("order", "<6"),
             ("quarantine", ">10"), ("stack_depth", ">11"), ("unit", "<24"), ("raw", ">9"),
             ("added", ">10"))
    print(*(f"{name:{form}}" for name, form in shown), f"{'before':>10}")
    for row in rows:
        print(*(f"{row[name]:{form}}" for name, form in shown), f"{added.get(key(row), '-'):>10}")
    rulers = {row["ruler"] for row in rows}
    with RESULTS.open("w", encoding="ascii", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(sorted([row for row in before if row["ruler"] not in rulers] + rows,
                                key=lambda row: row["ruler"]))


def main() -> int:
    """Measure, compare, write."""
    rows = measure(sys.argv[1] if len(sys.argv) > 1 else "6.1")
    present(rows)
    plot(rows)
    return 0


if __name__ == "__main__":
    sys.exit(main())
