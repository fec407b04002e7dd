#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""The guest's half of bench.py: measure, and print a row a line, separated by commas."""
import contextlib
import subprocess
import sys
from pathlib import Path
from typing import Iterator, NamedTuple, Sequence

HERE = Path(__file__).resolve().parent
MOWN = HERE.parent.parent / "src" / "mown.ko"
SYSFS = Path("/sys/kernel/mown")
PLAIN, OTHER, API, DROPIN = ("mown_bench_plain", "mown_bench_other", "mown_bench_api",
                             "mown_bench_dropin")
# As bench.h has it
PAIRS = 200
BATCHES = 31


class Work(NamedTuple):
    """What is done: objects that live all the time, and which goes when one comes."""

    family: str
    size: int
    live: int
    order: str
    batches: int = BATCHES


ORDERS = ("lifo", "fifo", "random")
SIZES = (64, 128, 1024, 8192)
PAIR = [Work("kmalloc", size, 0, "pair") for size in SIZES]
FEW = [Work("kmalloc", size, 1000, order) for size in SIZES for order in ORDERS]
MANY = [Work("kmalloc", 64, live, order) for live in (100000, 1000000) for order in ORDERS]
FAMILIES = [Work("vmalloc", 8192, 0, "pair"), Work("pages", 4096, 0, "pair"),
            Work("slab", 128, 0, "pair"), Work("devm", 128, 0, "pair"),
            *(Work(family, 128, 1000, order) for family in ("slab", "devm") for order in ORDERS)]
# The kernel's own functions look for it in a list
MANAGED = [Work("devm", 128, 100000, order, 1) for order in ORDERS]


def load(name: str) -> None:
    """Load a module of the benchmark."""
    subprocess.run(["insmod", str(HERE / f"{name}.ko")], check=True)


def unload(*names: str) -> None:
    """Unload modules."""
    subprocess.run(["rmmod", *names], check=True)


@contextlib.contextmanager
def loaded(name: str) -> Iterator[None]:
    """The module is there for a while."""
    load(name)
    yield
    unload(name)


def knob(name: str, value: int) -> None:
    """Set one of mown's."""
    (SYSFS / name).write_text(str(value), encoding="ascii")


class Rows:
    """Prints the rows, each beside what the same work costs raw."""

    def __init__(self) -> None:
        self.raw: dict[tuple[Work, str], float] = {}
        self.quarantine = 0
        self.depth = 0

    def measure(self, way: str, module: str, works: Sequence[Work]) -> None:
        """A row for each work, done by the module."""
        params = Path(f"/sys/module/{module}/parameters")
        for work in works:
            (params / "hold").write_text(f"{work.family} {work.size} {work.live}",
                                         encoding="ascii")
            for _ in range(2):		# the first is to warm up
                (params / "run").write_text(f"{work.order} {work.batches}", encoding="ascii")
            text = (params / "result").read_text(encoding="ascii")
            alloc, free = (int(number) / PAIRS for number in text.split())
            self.row(way, work, "instructions", alloc + free)
            if work.family == "devm":
                self.row(way, work, "instructions of the free", free)
        (params / "hold").write_text("kmalloc 64 0", encoding="ascii")

    def row(self, way: str, work: Work, unit: str, value: float) -> None:
        """Print it."""
        raw = self.raw.setdefault((work, unit), value)
        print(f"{way},{work.family},{work.size},{work.live},{work.order},{self.quarantine},"
              f"{self.depth},{unit},{raw:.1f},{value:.1f},{value - raw:.1f}", flush=True)


def measure_ways(rows: Rows, quarantine: int, depth: int, works: Sequence[Work]) -> None:
    """All ways in, with what is set."""
    rows.quarantine, rows.depth = quarantine, depth
    knob("quarantine_bytes", quarantine)
    knob("stack_depth", depth)
    with loaded(API):
        rows.measure("api", API, works)
        rows.measure("bystander_api", OTHER, PAIR)
    with loaded(DROPIN):
        rows.measure("dropin", DROPIN, works)
    (SYSFS / "attach").write_text(PLAIN, encoding="ascii")
    attached = [work for work in works if work.family != "devm"]
    with loaded(PLAIN):
        rows.measure("attach", PLAIN, attached)
        rows.measure("bystander_attach", OTHER, PAIR)
    (SYSFS / "detach").write_text(PLAIN, encoding="ascii")


def main(only: Sequence[str]) -> int:
    """Measure all ways; of all works ONLY those named FAMILY-SIZE-LIVE, if any are."""
    works = [*PAIR, *FEW, *MANY, *FAMILIES, *MANAGED]
    if only:
        works = [work for work in works if f"{work.family}-{work.size}-{work.live}" in only]
    rows = Rows()
    with loaded(PLAIN):
        rows.measure("raw", PLAIN, works)
        subprocess.run(["insmod", str(MOWN)], check=True)
        rows.measure("idle", PLAIN, PAIR)
    load(OTHER)
    quarantine = int((SYSFS / "quarantine_bytes").read_text(encoding="ascii"))
    measure_ways(rows, 0, 0, works)
    measure_ways(rows, quarantine, 0, works)
    for depth in (4, 8):
        measure_ways(rows, 0, depth, PAIR)
    unload(OTHER, "mown")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
