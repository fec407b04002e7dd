#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""A thousand objects of every family, left behind and given back, by the kernel's own counters.

A module makes them and goes, with mown_test_left and with mown_dropin_left. mown's
account has to say what became of them; that it is true is for a counter of the
kernel's to say, which must have shown the thousand while they lived: either an
exact one, or one of pages, whose tolerance is a small part of what they take. For
the counters themselves there is a control: what is only reported stays, until the
kernel's own functions free it.
"""
import contextlib
import functools
import glob
import os
import re
from collections import Counter
from typing import Callable, Iterator, NamedTuple

from ksft_mown import (SYSFS, ExitBlock, Ktap, Live, Ops, Skip, case_log, exits, insmod, knob,
                       live, memory, module_loaded, ops, policy, read_file, rmmod, run_cases, stats,
                       unload, violations, wait_for, write_file)

COUNT = 1000
PAGE = 4096

# Its device stays when the module goes that has left memory of it; and it frees
# by the kernel's own functions, for mown does not know it.
PLAIN = "mown_plain_ops"
DEVICE = f"{PLAIN}.0"
DEVICE_DIR = f"/sys/bus/platform/devices/{DEVICE}"

# As in left.h.
BLOCK_ORDER = 4
BLOCK_PAGES = 1 << BLOCK_ORDER
BLOCK = PAGE * BLOCK_PAGES
LARGE_PAGES = 4
VMALLOC = 3 * PAGE
PERCPU = 16384
RESERVE = 2


class Way(NamedTuple):
    """A way in, and the policy under which what is left behind of it is given back."""

    label: str
    module: str
    reclaims: str


API = Way("API", "mown_test_left", "auto")
DROPIN = Way("drop-in", "mown_dropin_left", "reclaim")


# ---- The kernel's counters ----

class Gauge(NamedTuple):
    """A counter: what it is called, and what it says while MODULE has its objects."""

    name: str
    read: Callable[[str], int]


MODULE_AREAS: set[str] = set()


def vmalloc_areas(module: str) -> int:
    """Areas that the module called for; when it has gone, they are known by where they are.

    Those that the kernel has yet to unmap, all at once, are free.
    """
    size = VMALLOC + PAGE		# with the guard
    areas = read_file("/proc/vmallocinfo")
    if module_loaded(module):
        MODULE_AREAS.clear()
        MODULE_AREAS.update(re.findall(rf"^(\S+ +{size}) \S+ \[{module}\] ", areas, re.M))
    return len(MODULE_AREAS.intersection(re.findall(rf"^\S+ +{size}\b(?! unpurged)", areas, re.M)))


def cache_objects(pattern: str) -> int:
    """The objects of the caches of these names; of none if there is no such cache.

    All of a slab that a CPU works on is in use, by the kernel's account; shrinking
    takes it off the CPU.
    """
    if not os.path.exists("/sys/kernel/slab"):
        raise Skip("no /sys/kernel/slab")
    found = 0
    for path in glob.glob(f"/sys/kernel/slab/{pattern}"):
        write_file(f"{path}/shrink", "1")
        found += int(read_file(f"{path}/objects").split()[0])
    return found


def own_objects(module: str) -> int:
    """The objects of the module's own cache."""
    return cache_objects(f"{module}_*")


def caches(module: str) -> int:
    """How many caches the module has."""
    return len(glob.glob(f"/sys/kernel/slab/{module}_*"))


def objects_8k(_module: str) -> int:
    """The objects of kmalloc()'s class of 8 KiB, whoever has them."""
    return cache_objects("kmalloc*-8k")


def vmstat(name: str) -> int:
    """A counter of /proc/vmstat."""
    match = re.search(rf"^{name} (\d+)$", read_file("/proc/vmstat"), re.M)
    if not match:
        raise Skip(f"/proc/vmstat has no {name}")
    return int(match[1])


def free_pages(_module: str) -> int:
    """The machine's free pages, those among them that each CPU keeps for itself.

    From 6.7 on these are thousands for a while after as many were freed.
    """
    kept = re.findall(r"^ +count: +(\d+)$", read_file("/proc/zoneinfo"), re.M)
    assert kept, "/proc/zoneinfo does not say what CPUs keep"
    return vmstat("nr_free_pages") + sum(map(int, kept))


def slab_pages(_module: str) -> int:
    """Pages of slabs that cannot be reclaimed, to which large kmalloc() adds its own."""
    return vmstat("nr_slab_unreclaimable")


def percpu_pages(_module: str) -> int:
    """Pages of memory for each CPU."""
    return memory()["Percpu"] // PAGE


def pool_blocks(module: str) -> int:
    """Blocks of the module's DMA pools that are in use, by the device's account."""
    path = f"{DEVICE_DIR}/pools"
    if not os.path.exists(path):
        return 0
    rows = (line.split() for line in read_file(path).splitlines()[1:])
    return sum(int(row[1]) for row in rows if row[0] == module)


VMALLOCINFO = Gauge("/proc/vmallocinfo", vmalloc_areas)
OWN_OBJECTS = Gauge("objects of its own cache", own_objects)
CACHES = Gauge("caches", caches)
OBJECTS_8K = Gauge("objects of kmalloc-8k", objects_8k)
FREE_PAGES = Gauge("free pages", free_pages)
SLAB_PAGES = Gauge("nr_slab_unreclaimable", slab_pages)
PERCPU_PAGES = Gauge("Percpu, in pages", percpu_pages)
POOL_BLOCKS = Gauge("blocks in use of the device's pools", pool_blocks)


def cpus() -> int:
    """How many CPUs have memory of their own."""
    ranges = read_file("/sys/devices/system/cpu/possible").strip().split(",")
    ends = [[int(end) for end in span.split("-")] for span in ranges]
    return sum(end[-1] - end[0] + 1 for end in ends)


# ---- The kinds ----

class Kind(NamedTuple):
    """What the module makes: what is left of each family, and where the kernel counts it.

    The counter changes by `each' for every object, and by `besides' for what
    belongs to them, give or take `slack'.
    """

    name: str
    left: dict[str, int]
    gauge: Gauge
    each: int
    besides: int = 0
    slack: int = 0
    device: bool = False
    freed: int = 0

    def change(self) -> int:
        """By how much the objects change the counter."""
        return self.each * COUNT + self.besides


# Others allocate meanwhile, mown for its records as well, and the kernel keeps some
# of what is freed for later: an eighth of what the objects take. Of a class that
# few use, a hundredth of their number.
BLOCKS_SLACK = BLOCK_PAGES * COUNT // 8
LARGE_SLACK = LARGE_PAGES * COUNT // 8
FEW = COUNT // 100
PERCPU_EACH = PERCPU // PAGE * cpus()
PERCPU_SLACK = PERCPU_EACH * COUNT // 8

KINDS = {kind.name: kind for kind in (
    Kind("kmalloc", {"kmalloc": COUNT}, OBJECTS_8K, 1, slack=FEW),
    Kind("kmalloc_large", {"kmalloc": COUNT}, SLAB_PAGES, LARGE_PAGES, slack=LARGE_SLACK),
    Kind("vmalloc", {"vmalloc": COUNT}, VMALLOCINFO, 1),
    Kind("slab", {"slab": COUNT, "cache": 1}, OWN_OBJECTS, 1),
    Kind("cache", {"cache": COUNT}, CACHES, 1),
    Kind("pages", {"pages": COUNT}, FREE_PAGES, -BLOCK_PAGES, slack=BLOCKS_SLACK),
    Kind("percpu", {"percpu": COUNT}, PERCPU_PAGES, PERCPU_EACH, slack=PERCPU_SLACK),
    Kind("mempool", {"mempool": COUNT, "cache": 1}, OWN_OBJECTS, RESERVE),
    Kind("mempool_kmalloc", {"mempool": COUNT}, OBJECTS_8K, RESERVE, slack=FEW),
    Kind("mempool_pages", {"mempool": COUNT}, FREE_PAGES, -BLOCK_PAGES, slack=BLOCKS_SLACK),
    Kind("element", {"element": COUNT, "mempool": 1, "cache": 1}, OWN_OBJECTS, 1, RESERVE),
    Kind("dma", {"dma": COUNT}, FREE_PAGES, -BLOCK_PAGES, slack=BLOCKS_SLACK, device=True),
    # What a pool has got for its blocks it keeps to its end
    Kind("dma_pool", {"dma_pool": COUNT}, FREE_PAGES, -BLOCK_PAGES, slack=BLOCKS_SLACK,
         device=True, freed=COUNT),
    Kind("dma_block", {"dma_block": COUNT, "dma_pool": 1}, POOL_BLOCKS, 1, device=True),
)}
DEVM = Kind("devm", {"devm": COUNT}, OBJECTS_8K, 1, slack=FEW, device=True)


# ---- The module that stays ----

def have_plain() -> None:
    """It is there, for all cases that follow, and its device has its driver."""
    if not module_loaded(PLAIN):
        insmod(PLAIN)
    if not os.path.exists(f"{DEVICE_DIR}/driver"):
        write_file(f"/sys/bus/platform/drivers/{PLAIN}/bind", DEVICE)


def unbind() -> None:
    """Take the device from its driver."""
    write_file(f"{DEVICE_DIR}/driver/unbind", DEVICE)


# ---- A module that leaves them ----

def settled(gauge: Gauge, module: str, slack: int) -> int:
    """The counter when it has come to rest, or nearly so: the last case is over."""
    seen = [gauge.read(module)]

    def rests() -> bool:
        seen.append(gauge.read(module))
        return abs(seen[-1] - seen[-2]) <= slack // 16

    wait_for(rests, f"{gauge.name} to be at rest: {seen}")
    return seen[-1]


class Round:
    """One load of the module with a thousand of a kind, and what the counter says meanwhile."""

    def __init__(self, way: Way, kind: Kind) -> None:
        self.way, self.kind = way, kind
        self.figures = [settled(kind.gauge, way.module, kind.slack)]
        self.before = self.figures[0]
        self.held = self.before + kind.change()

    def load(self) -> None:
        """The module is there with its objects, and the counter shows them."""
        params = {"kind": self.kind.name, "count": COUNT}
        if self.kind.device:
            params["device"] = DEVICE
        insmod(self.way.module, **params)
        found = Counter(record.family for record in live(self.way.module))
        assert found == self.kind.left, f"live: {dict(found)}"
        self.is_held()

    def reaches(self, want: int, others: bool = False) -> None:
        """The counter comes to WANT, within the tolerance.

        Of free pages there may be more, if OTHERS have let some go meanwhile.
        """
        gauge, slack = self.kind.gauge, self.kind.slack
        seen = []

        def there() -> bool:
            seen[:] = [gauge.read(self.way.module)]
            return abs(seen[0] - want) <= slack or \
                (others and gauge is FREE_PAGES and seen[0] > want)

        with contextlib.suppress(AssertionError):
            wait_for(there, gauge.name)
        self.figures.append(seen[0])
        assert there(), \
            f"{gauge.name}: {self.figures}, and {want} +- {slack} is wanted"

    def is_held(self) -> None:
        """The counter shows the thousand."""
        self.reaches(self.held)

    def is_back(self) -> None:
        """The counter is as it was before."""
        self.reaches(self.before, others=True)

    def account(self) -> ExitBlock:
        """The module's account; its sites have what is left of each family."""
        block = exits(self.way.module)[-1]
        left, size = sum(self.kind.left.values()), sum(entry.bytes for entry in block.sites)
        assert (block.left, block.left_bytes) == (left, size), block
        assert (block.allocated, block.freed) == (left + self.kind.freed, self.kind.freed), block
        assert (block.elsewhere, block.late) == (0, 0), block
        found: Counter[str] = Counter()
        for entry in block.sites:
            assert re.fullmatch(rf"left_\w+\S* \[{self.way.module}\]", entry.site), entry
            found[entry.family] += entry.count
        assert found == self.kind.left, f"sites: {dict(found)}"
        return block

    def orphans(self) -> list[Live]:
        """What is still live of it when it has gone."""
        return [record for record in live() if record.module == f"{self.way.module}(gone)"]

    def told(self, what: str) -> None:
        """Note the figures, for whoever wants to know."""
        gauge, slack = self.kind.gauge, self.kind.slack
        figures = ", ".join(map(str, self.figures))
        Ktap.note(f"{gauge.name} ({what}), +- {slack}: {figures}")


# How the kernel, or mown, says that something goes before what is of it.
DISORDER_RE = re.compile(r"is destroyed with|still has objects|Objects remaining|busy")


@contextlib.contextmanager
def a_round(way: Way, kind: Kind, policy_word: str) -> Iterator[Round]:
    """A round of the kind, of which there is nothing else to be said than its account."""
    if kind.device or policy_word == "report":
        have_plain()
    write_file(f"{SYSFS}/clear", "1")
    with policy("left_behind", policy_word):
        yield Round(way, kind)
    assert not violations(), violations()
    found = DISORDER_RE.findall(case_log())
    assert not found, f"the log has {found}:\n{case_log()}"


def test_reclaimed(way: Way, name: str) -> None:
    """All that is left of it is given back, by the account and by the kernel."""
    kind = KINDS[name]
    with a_round(way, kind, way.reclaims) as its:
        its.load()
        rmmod(way.module)
        block = its.account()
        assert block.reclaimed == block.left, block
        assert not its.orphans(), its.orphans()
        its.is_back()
        # Some counters say nothing about what the objects were of
        assert not caches(way.module), "a cache is there"
        if kind.device:
            pools = f"{DEVICE_DIR}/pools"
            assert way.module not in (read_file(pools) if os.path.exists(pools) else ""), \
                read_file(pools)
        its.told("before, with a thousand, after")


# ---- What is not given back ----

def give_back(heap: Ops, kind: Kind, orphans: list[Live]) -> None:
    """Free the orphans by the kernel's own functions."""
    cache = [record.address for record in orphans if record.family == "cache"]
    offset = heap.call("percpu_address", 0).pointer
    for record in orphans:
        addr = record.address
        if record.family == "kmalloc":
            heap.call("kfree", addr)
        elif record.family == "vmalloc":
            heap.call("vfree", addr)
        elif record.family == "pages":
            heap.call("free_pages", addr, BLOCK_ORDER)
        elif record.family == "slab":
            heap.call("kmem_cache_free", addr, cache[0])
        elif record.family == "percpu":
            # It is shown by the address of the first CPU's copy
            heap.call("free_percpu", (addr - offset) % (1 << 64))
        else:
            assert record.family == "cache", record
    for addr in cache:
        heap.call("kmem_cache_destroy", addr)
    assert len(orphans) == sum(kind.left.values()), len(orphans)


def test_reported(name: str) -> None:
    """The control: what is only reported stays, by the same counter, and is still as good."""
    kind = KINDS[name]
    with a_round(API, kind, "report") as its, contextlib.closing(Ops(PLAIN)) as heap:
        its.load()
        rmmod(API.module)
        block = its.account()
        assert block.reclaimed == 0, block
        orphans = its.orphans()
        found = Counter(record.family for record in orphans)
        assert found == kind.left, f"orphans: {dict(found)}"
        its.is_held()
        # If any were on its way back all the same, this would free it twice
        write_file(f"{SYSFS}/clear", "1")
        assert not its.orphans(), its.orphans()
        give_back(heap, kind, orphans)
        its.is_back()
        its.told("before, with a thousand, when the module has gone, freed by hand")


# ---- What its device frees ----

def test_devm_detach(way: Way) -> None:
    """The detach frees a thousand blocks, and nothing is left for the module to leave."""
    # What waits when it has been freed goes at the module's end; here nothing shall
    with knob("quarantine_bytes", 0), a_round(way, DEVM, way.reclaims) as its:
        its.load()
        unbind()
        found = stats(way.module)
        assert (found["live"], found["freed"], found["released_elsewhere"]) == (0, COUNT, 0), found
        its.is_back()
        rmmod(way.module)
        block = exits(way.module)[-1]
        assert (block.freed, block.left, block.reclaimed) == (COUNT, 0, 0), block
        its.is_back()
        its.told("before, with a thousand, after the detach, after the module")


def test_devm_late(way: Way) -> None:
    """They are the device's, though the module goes before: it frees them late, but it does."""
    with a_round(way, DEVM, way.reclaims) as its:
        its.load()
        rmmod(way.module)
        block = its.account()
        assert block.reclaimed == 0, block
        its.is_held()
        unbind()
        its.is_back()
        block = exits(way.module)[-1]
        assert (block.left, block.left_bytes, block.late) == (0, 0, COUNT), block
        assert not its.orphans(), its.orphans()
        its.told("before, with a thousand, after the module, after the detach")


def test_frail_device() -> None:
    """A device goes as its memory is given back, and its release() destroys a cache."""
    giver = "mown_test_ops"
    with ops(giver) as heap:
        if heap.call("frail_device").pointer:
            raise Skip("no device can have memory of its own here")
        insmod(API.module, kind="dma", count=1, device=f"{giver}.1")
        rmmod(API.module)
        block = exits(API.module)[-1]
        assert (block.left, block.reclaimed, block.late) == (1, 1, 0), block
        assert not os.path.exists(f"/sys/bus/platform/devices/{giver}.1"), "the device is there"
        found = stats(giver)
        assert (found["allocated"], found["freed"], found["live"]) == (1, 1, 0), found


# The way back is the same for what came in by the drop-in: one of each family will do.
MORE_OF_A_FAMILY = ("kmalloc_large", "mempool_kmalloc", "mempool_pages")
# Of each kind of counter, and of as many families as can be freed without their handles.
CONTROLS = ("kmalloc", "kmalloc_large", "vmalloc", "slab", "pages", "percpu")

CASES: list[tuple[str, Callable[[], None]]] = []
for way_in in (API, DROPIN):
    CASES += [(f"{way_in.label}: {COUNT} of {kin} are given back",
               functools.partial(test_reclaimed, way_in, kin))
              for kin in KINDS if way_in is API or kin not in MORE_OF_A_FAMILY]
    CASES += [
        (f"{way_in.label}: {COUNT} of devm are freed by the detach",
         functools.partial(test_devm_detach, way_in)),
        (f"{way_in.label}: {COUNT} of devm are freed by a detach after the module",
         functools.partial(test_devm_late, way_in)),
    ]
CASES += [(f"reported only, {COUNT} of {kin} stay", functools.partial(test_reported, kin))
          for kin in CONTROLS]
CASES += [("a device goes as its memory is given back, and takes a cache along",
           test_frail_device)]

if __name__ == "__main__":
    try:
        run_cases(CASES, modules=(API.module, DROPIN.module))
    finally:
        unload([PLAIN])
