#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""The guest's half of bench.py: measure, and print a row a line, separated by commas."""
import argparse
import contextlib
import os
import resource
import statistics
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Iterator, NamedTuple, Optional, Sequence

HERE = Path(__file__).resolve().parent
MOWN = HERE.parent.parent / "src" / "mown.ko"
SYSFS = Path("/sys/kernel/mown")
PLAIN, OTHER, API, DROPIN = ("mown_bench_plain", "mown_bench_other", "mown_bench_api",
                             "mown_bench_dropin")
# As many as bench.h allows
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
# What others are compared by
PEER = [*PAIR, *(Work("kmalloc", 64, 1000, order) for order in ORDERS),
        Work("pages", 4096, 0, "pair")]
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


# Each allocation's size and stack by its address, as kmodleak and memleak have them
BPFTRACE = """
tracepoint:kmem:kmalloc {
    $ptr = (uint64)args->ptr;
    @size[$ptr] = (uint64)args->bytes_req;
    @stack[$ptr] = kstack(8);
}
tracepoint:kmem:kfree /@size[(uint64)args->ptr]/ {
    $ptr = (uint64)args->ptr;
    delete(@size[$ptr]);
    delete(@stack[$ptr]);
}
interval:ms:500 { printf("begun\\n"); }
"""


@contextlib.contextmanager
def bpftrace(headers: Path) -> Iterator[None]:
    """The script runs for a while; it is compiled with the kernel's HEADERS."""
    env = dict(os.environ, BPFTRACE_MAP_KEYS_MAX="100000", BPFTRACE_KERNEL_BUILD=str(headers),
               BPFTRACE_KERNEL_SOURCE=str(headers).removesuffix("-amd64") + "-common")
    with subprocess.Popen(["bpftrace", "-B", "none", "-e", BPFTRACE], env=env, text=True,
                          stdout=subprocess.PIPE) as script:
        assert script.stdout
        if not any(line.startswith("begun") for line in script.stdout):
            raise SystemExit("bench: bpftrace does not run")
        yield
        script.kill()


class Rows:
    """Prints the rows."""

    def __init__(self) -> None:
        self.quarantine = 0
        self.depth = 0
        self.unit = "instructions"
        self.runs = 2
        self.pause = 0.0

    def measure(self, way: str, module: str, works: Sequence[Work],
                family: Optional[str] = None) -> None:
        """A row for each work, done by the module; as of FAMILY, if that is to stand for it."""
        params = Path(f"/sys/module/{module}/parameters")
        pairs = int((params / "pairs").read_text(encoding="ascii"))
        for work in works:
            (params / "hold").write_text(f"{work.family} {work.size} {work.live}",
                                         encoding="ascii")
            costs = []
            for _ in range(self.runs):
                time.sleep(self.pause)
                (params / "run").write_text(f"{work.order} {work.batches}", encoding="ascii")
                text = (params / "result").read_text(encoding="ascii")
                costs.append([int(number) / pairs for number in text.split()])
            # The first was to warm up. Where time is counted, what else runs only adds to it.
            least = min(costs[1:], key=sum)
            shown = work._replace(family=family or work.family)
            self.row(way, shown, self.unit, sum(least))
            # Where a batch is timed as a whole, the free's part is not known.
            if shown.family == "devm" and len(least) == 2:
                self.row(way, shown, f"{self.unit} of the free", least[1])
        (params / "hold").write_text("kmalloc 64 0", encoding="ascii")

    def row(self, way: str, work: Work, unit: str, value: float) -> None:
        """Print it."""
        print(f"{way},{work.family},{work.size},{work.live},{work.order},{self.quarantine},"
              f"{self.depth},{unit},{value:.1f}", flush=True)


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


def measure_all(works: Sequence[Work]) -> None:
    """Raw, the kernel's device-managed memory for the same, and mown."""
    rows = Rows()
    with loaded(PLAIN):
        rows.measure("raw", PLAIN, works)
        managed = [work._replace(family="devm", batches=BATCHES if work.live < 100000 else 1)
                   for work in works if work.family == "kmalloc" and work.live <= 100000]
        rows.measure("devm", PLAIN, managed, "kmalloc")
        subprocess.run(["insmod", str(MOWN)], check=True)
        rows.measure("idle", PLAIN, PAIR)
    load(OTHER)
    quarantine = int((SYSFS / "quarantine_bytes").read_text(encoding="ascii"))
    measure_ways(rows, 0, 0, works)
    measure_ways(rows, quarantine, 0, works)
    for depth in (4, 8):
        measure_ways(rows, 0, depth, PAIR)
    unload(OTHER, "mown")


def slabs_bytes() -> int:
    """What all slab caches take, by their own counts: pages, not objects."""
    found = 0
    for cache in Path("/sys/kernel/slab").iterdir():
        if not cache.is_symlink():
            slabs = int((cache / "slabs").read_text(encoding="ascii").split()[0])
            found += slabs * (4096 << int((cache / "order").read_text(encoding="ascii")))
    return found


def measure_bytes(rows: Rows, way: str, module: str, work: Work) -> None:
    """What slab memory an object takes, itself and what is known of it; they are left live."""
    hold = Path(f"/sys/module/{module}/parameters/hold")
    before = slabs_bytes()
    hold.write_text(f"{work.family} {work.size} {work.live}", encoding="ascii")
    rows.row(way, work, "bytes of slabs an object", (slabs_bytes() - before) / work.live)


def measure_scale() -> None:
    """What a million live objects take, and how long it is to list them and to settle."""
    rows = Rows()
    work = Work("kmalloc", 64, 1000000, "fifo")
    with loaded(PLAIN):
        measure_bytes(rows, "raw", PLAIN, work)
    subprocess.run(["insmod", str(MOWN)], check=True)
    load(API)
    params = Path(f"/sys/module/{API}/parameters")
    measure_bytes(rows, "api", API, work)
    start = time.monotonic_ns()
    with open(f"/sys/kernel/debug/mown/{API}/live", "rb") as live:
        while live.read(1 << 20):
            pass
    rows.row("api", work, "milliseconds to list", (time.monotonic_ns() - start) / 1e6)
    (params / "leave").write_text("1", encoding="ascii")
    # What it takes, not what it waits for: the kernel has begun just now
    start = resource.getrusage(resource.RUSAGE_CHILDREN).ru_stime
    unload(API)
    rows.row("api", work, "milliseconds to settle",
             (resource.getrusage(resource.RUSAGE_CHILDREN).ru_stime - start) * 1e3)
    unload("mown")


RACE_PAIRS = 200000
RACE_TRIES = 9


def race(module: str, cpus: int, tries: int = RACE_TRIES) -> float:
    """Nanoseconds that a pair takes a CPU, while as many do that: the median of the tries."""
    params = Path(f"/sys/module/{module}/parameters")
    pairs = RACE_PAIRS * RACE_TRIES // tries
    times = []
    for _ in range(tries):
        (params / "race").write_text(f"{cpus} {pairs}", encoding="ascii")
        times.append(int((params / "result").read_text(encoding="ascii")) / pairs)
    return statistics.median(times)


def measure_race() -> None:
    """What a second CPU brings, in per cent of twice as much: raw, of one owner, of two."""
    rows = Rows()
    work = Work("kmalloc", 64, 0, "pair")
    load(PLAIN)
    rows.row("raw", work, "per cent of two CPUs", 100 * race(PLAIN, 1) / race(PLAIN, 2))
    subprocess.run(["insmod", str(MOWN)], check=True)
    knob("quarantine_bytes", 0)
    load(API)
    alone = race(API, 1)
    rows.row("api", work, "per cent of two CPUs", 100 * alone / race(API, 2))
    load(DROPIN)
    with ThreadPoolExecutor(2) as pool:
        # One long try: they run side by side for most of it
        both = list(pool.map(race, (API, DROPIN), (1, 1), (1, 1)))
    rows.row("dropin", work, "per cent of two CPUs by two owners", 100 * alone / max(both))


def main(argv: Sequence[str]) -> int:
    """Measure what the arguments say."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--peer", metavar="WAY",
                        help="nothing of mown: what the kernel and its boot are, or a script")
    parser.add_argument("--headers", type=Path, metavar="DIR", help="where the kernel's are")
    parser.add_argument("--race", action="store_true", help="two CPUs")
    parser.add_argument("--scale", action="store_true", help="a million objects")
    parser.add_argument("works", nargs="*", metavar="FAMILY-SIZE-LIVE", help="these only")
    args = parser.parse_args(argv)
    works = [work for work in [*PAIR, *FEW, *MANY, *FAMILIES, *MANAGED]
             if not args.works or f"{work.family}-{work.size}-{work.live}" in args.works]
    if args.scale:
        measure_scale()
    elif args.race:
        measure_race()
    elif args.peer:
        script = bpftrace(args.headers) if args.headers else contextlib.nullcontext()
        with loaded(PLAIN), script:
            rows = Rows()
            rows.measure(args.peer, PLAIN, [work for work in works if work in PEER])
            if not args.headers:  # A script's maps are not in slabs
                measure_bytes(rows, args.peer, PLAIN, Work("kmalloc", 64, 1000000, "fifo"))
    else:
        measure_all(works)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
