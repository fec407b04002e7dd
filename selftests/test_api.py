#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Every function of the kmalloc family, by the API and by the drop-in.

Each case runs twice, with the module mown_test_ops, which calls the API, and
with mown_dropin_ops, the same source that calls the kernel's names.
"""
import contextlib
import ctypes
import functools
import os
import re
from typing import Callable, Iterator, NamedTuple, Sequence

from ksft_mown import (MANY, MEBIBYTE, POLICIES, SYSFS, Live, Ops, Skip, exits, knob, live,
                       memory_returns, ops, policy, policy_word, read_file, run_cases, stats,
                       violations, wait_for, write_file)


class Way(NamedTuple):
    """A way in: what differs between the two."""

    label: str
    module: str
    refuses_unknown: bool


API = Way("API", "mown_test_ops", True)
DROPIN = Way("drop-in", "mown_dropin_ops", False)

ZERO_SIZE_PTR = 16
SIZE_MAX = (1 << 64) - 1
EFAULT, ENOMEM, EINVAL = 14, 12, 22

# What memdup_user() copies.
TEXT = b"m" * 8192
USER = ctypes.create_string_buffer(TEXT)
USER_ADDR = ctypes.addressof(USER)

# Functions that release what their one argument points to, and the size of an
# object that has room for an rcu_head.
FREES = ("kfree", "kfree_sensitive", "kvfree", "bitmap_free", "kfree_bulk", "kfree_rcu",
         "kfree_rcu_headless")
RCU_FREES = ("kfree_rcu", "kfree_rcu_headless")


# ---- Helpers ----

@contextlib.contextmanager
def counted(module: str, **changes: int) -> Iterator[None]:
    """The counters of MODULE change by just that, however soon; the rest stay."""
    expected = stats(module)
    for name, change in changes.items():
        expected[name] += change
    yield
    with contextlib.suppress(AssertionError):
        wait_for(lambda: stats(module) == expected, "the counters")
    found = stats(module)
    wrong = [f"{name} is {found.get(name)}, not {value}" for name, value in expected.items()
             if found.get(name) != value]
    assert not wrong, f"{module}: {'; '.join(wrong)}"


def freed_one(size: int, usable: int) -> dict[str, int]:
    """What changes when an object is released into quarantine."""
    return {"freed": 1, "live": -1, "live_bytes": -size, "quarantined": 1,
            "quarantined_bytes": usable}


def allocated_one(size: int) -> dict[str, int]:
    """What changes when an object is allocated."""
    return {"allocated": 1, "live": 1, "live_bytes": size}


def the_record(module: str) -> Live:
    """The one live object of MODULE."""
    records = live(module)
    assert len(records) == 1, f"{len(records)} live objects of {module}, not one: {records}"
    return records[0]


def alloc(heap: Ops, size: int, function: str = "kmalloc") -> int:
    """An object of SIZE bytes."""
    done = heap.call(function, size)
    assert done.pointer > ZERO_SIZE_PTR and done.usable >= size, f"{function}({size}): {done}"
    return done.pointer


def site(function: str, module: str) -> str:
    """A regular expression for a call in the test module's own FUNCTION."""
    return rf"{function}\+0x[0-9a-f]+/0x[0-9a-f]+ \[{module}\]"


def is_filled(heap: Ops, addr: int, size: int, byte: int) -> bool:
    """Are SIZE bytes at ADDR all BYTE?"""
    return not size or heap.call("differs", addr, size, byte).pointer == 0


class Reports:
    """What is reported from now on: what violations has more than before.

    A report that repeats an earlier one, by the places that it names, is counted
    there and not told again; its object is the earlier one's.
    """

    def __init__(self) -> None:
        self.before = self.take()

    @staticmethod
    def take() -> dict[str, int]:
        """Each report, and how often it was seen."""
        found = {}
        for block in violations():
            match = re.fullmatch(r"(.*)\nseen (\d+) times", block, re.S)
            assert match, f"no 'seen N times' ends the report:\n{block}"
            found[match[1]] = int(match[2])
        return found

    def new(self) -> dict[str, int]:
        """Those that were seen since, and how often at all."""
        return {block: seen for block, seen in self.take().items()
                if seen > self.before.get(block, 0)}

    def expect(self, title: str, *lines: str, details: Sequence[str] = ()) -> None:
        """Wait for a report with TITLE and LINES, in this order; and with DETAILS
        of the object, in this order, if it is the first of its kind."""
        title = rf"BUG: mown: {title}"

        def came() -> bool:
            for block, seen in self.new().items():
                have = block.splitlines()
                if re.fullmatch(title, have[0]) and in_order(lines, have) and \
                        (block in self.before or in_order(details, have)):
                    self.before[block] = seen
                    return True
            return False

        try:
            wait_for(came, "a report")
        except AssertionError as error:
            raise AssertionError("\n".join([str(error), title, *lines, *details, "", "new are:",
                                            *self.new()])) from error


def in_order(want: Sequence[str], have: Sequence[str]) -> bool:
    """Is each regular expression of WANT a line of HAVE, in this order?"""
    lines = iter(have)
    return all(any(re.fullmatch(regex, line) for line in lines) for regex in want)


def addresses(obj: int, pointer: int) -> str:
    """The line by which a report names them."""
    return rf"object #\d+ is at (0x)?0*{obj:x}, the pointer freed is (0x)?0*{pointer:x}"


# ---- Allocation ----

class Allocation(NamedTuple):
    """A call that allocates, the size it must be recorded with, and its contents."""

    function: str
    numbers: tuple[int, ...]
    size: int
    text: int = 0		# so many bytes are 'm'
    zero: int = 0		# so many after them are 0


ALLOCATIONS = (
    Allocation("kmalloc", (100,), 100),
    Allocation("kmalloc", (1,), 1),
    Allocation("kmalloc", (8192,), 8192),
    Allocation("kmalloc", (8193,), 8193),		# from the page allocator
    Allocation("kmalloc", (1 << 20,), 1 << 20),
    Allocation("kmalloc_node", (100,), 100),
    Allocation("kmalloc_account", (100,), 100),
    Allocation("kzalloc", (100,), 100, zero=100),
    Allocation("kzalloc_node", (100,), 100, zero=100),
    Allocation("kmalloc_array", (7, 13), 91),
    Allocation("kmalloc_array_node", (7, 13), 91),
    Allocation("kcalloc", (7, 13), 91, zero=91),
    Allocation("kcalloc_node", (7, 13), 91, zero=91),
    Allocation("krealloc", (0, 100), 100),
    Allocation("krealloc", (ZERO_SIZE_PTR, 100), 100),
    Allocation("krealloc_array", (0, 7, 13), 91),
    Allocation("kmemdup", (100,), 100, text=100),
    Allocation("kmemdup_nul", (100,), 101, text=100, zero=1),
    Allocation("kstrdup", (100,), 101, text=100, zero=1),
    Allocation("kstrdup", (0,), 1, zero=1),
    Allocation("kstrndup", (100, 40), 41, text=40, zero=1),	# longer than allowed
    Allocation("kstrndup", (40, 100), 41, text=40, zero=1),	# shorter
    Allocation("kasprintf", (100,), 101, text=100, zero=1),
    Allocation("kvasprintf", (100,), 101, text=100, zero=1),
    Allocation("memdup_user", (USER_ADDR, 100), 100, text=100),
    Allocation("memdup_user_nul", (USER_ADDR, 100), 101, text=100, zero=1),
    # Bitmaps are made of longs: 1000 bits take 16 of 8 bytes.
    Allocation("bitmap_alloc", (1000,), 128),
    Allocation("bitmap_zalloc", (1000,), 128, zero=128),
    Allocation("bitmap_alloc_node", (1000,), 128),
    Allocation("bitmap_zalloc_node", (1000,), 128, zero=128),
)


def check_allocation(way: Way, heap: Ops, want: Allocation) -> None:
    """It is recorded under the module with its size and call, until it is freed."""
    with counted(way.module, **allocated_one(want.size)):
        done = heap.call(want.function, *want.numbers)
    assert done.usable >= want.size, f"{want}: {done}"
    record = the_record(way.module)
    assert record.address == done.pointer, f"{want}: {done}, recorded is {record}"
    assert (record.module, record.size, record.family) == (way.module, want.size, "kmalloc"), \
        f"{want}: {record}"
    assert record.pid == os.getpid() and 0 <= record.cpu < (os.cpu_count() or 1), \
        f"{want}: allocated by task {os.getpid()}: {record}"
    # kvasprintf() has a caller with variable arguments, which compilers clone.
    caller = r"ops_vformat(\.\w+)*" if want.function == "kvasprintf" else f"op_{want.function}"
    assert re.fullmatch(site(caller, way.module), record.site), f"{want}: {record.site}"
    assert is_filled(heap, done.pointer, want.text, ord("m")), f"{want}: not the text"
    assert is_filled(heap, done.pointer + want.text, want.zero, 0), f"{want}: not zero"
    heap.call("kfree", done.pointer)
    assert not live(way.module), f"{want}: freed, and yet live"


def test_allocations(way: Way) -> None:
    """Every function that allocates is tracked with size, site and task."""
    with ops(way.module) as heap:
        # Memory that is not zero by chance: without quarantine it is used again.
        with knob("quarantine_bytes", 0):
            for _ in range(8):
                addr = alloc(heap, 128)
                heap.call("fill", addr, 128, 0xff)
                heap.call("kfree", addr)
            for want in ALLOCATIONS:
                check_allocation(way, heap, want)


def test_no_memory(way: Way) -> None:
    """Size 0, sizes too large and products that overflow: the kernel's answer,
    and nothing is recorded, counted or reported."""
    huge = SIZE_MAX // 2
    calls: list[tuple[str, tuple[int, ...], int]] = []
    for function in ("kmalloc", "kmalloc_node", "kzalloc", "kzalloc_node"):
        calls += [(function, (0,), ZERO_SIZE_PTR), (function, (SIZE_MAX,), 0),
                  (function, (huge,), 0)]
    for function in ("kmalloc_array", "kmalloc_array_node", "kcalloc", "kcalloc_node"):
        calls += [(function, (0, 8), ZERO_SIZE_PTR), (function, (8, 0), ZERO_SIZE_PTR),
                  (function, (1 << 61, 8), 0),		# 2^64: 0 if it were not seen
                  (function, (SIZE_MAX, SIZE_MAX), 0), (function, (1 << 59, 8), 0)]
    for function in ("bitmap_alloc", "bitmap_zalloc", "bitmap_alloc_node", "bitmap_zalloc_node"):
        calls += [(function, (0,), ZERO_SIZE_PTR), (function, (0xffffffff,), 0)]
    calls += [("krealloc", (0, 0), ZERO_SIZE_PTR), ("krealloc", (0, SIZE_MAX), 0),
              ("krealloc", (ZERO_SIZE_PTR, 0), ZERO_SIZE_PTR),
              ("krealloc_array", (0, 1 << 61, 8), 0), ("krealloc_array", (0, 0, 8), ZERO_SIZE_PTR),
              ("kmemdup", (0,), ZERO_SIZE_PTR), ("kmemdup", (SIZE_MAX,), 0),
              # These two give errors, and the address of a user is not checked for 0 bytes.
              ("memdup_user", (USER_ADDR, SIZE_MAX), (1 << 64) - ENOMEM),
              ("memdup_user", (8, 100), (1 << 64) - EFAULT),
              ("memdup_user_nul", (8, 100), (1 << 64) - EFAULT)]
    with ops(way.module) as heap, counted(way.module):
        reports = Reports()
        for function, numbers, pointer in calls:
            done = heap.call(function, *numbers)
            assert done.pointer == pointer, \
                f"{function}{numbers} gave {done.pointer:#x}, not {pointer:#x}"
        assert not live(way.module)
        assert not reports.new()


# ---- Release ----

def test_frees(way: Way) -> None:
    """Every function that releases: into quarantine, once, and back at the end."""
    for function in FREES:
        with ops(way.module) as heap:
            addr = alloc(heap, 200)		# of kmalloc-256
            with counted(way.module, **freed_one(200, 256)):
                heap.call(function, addr)
            assert not live(way.module), f"{function}: freed, and yet live"
        block = exits(way.module)[-1]
        assert (block.allocated, block.freed, block.elsewhere, block.left) == (1, 1, 0, 0), \
            f"{function}: {block}"


def test_given_back(way: Way) -> None:
    """What is freed goes back to the kernel: at once without quarantine."""
    with ops(way.module) as heap, knob("quarantine_bytes", 0):
        for function in FREES:
            with memory_returns(function), counted(way.module, allocated=MANY, freed=MANY):
                for _ in range(MANY):
                    heap.call(function, alloc(heap, MEBIBYTE))


def test_leaves_quarantine(way: Way) -> None:
    """What leaves quarantine goes back: pushed out by others, or at unload."""
    with knob("quarantine_bytes", MEBIBYTE), ops(way.module) as heap, \
            memory_returns("quarantine"):
        with counted(way.module, allocated=2 * MANY, freed=2 * MANY, quarantined=2,
                     quarantined_bytes=MEBIBYTE):
            for _ in range(2 * MANY):
                heap.call("kfree", alloc(heap, MEBIBYTE // 2))
    with knob("quarantine_bytes", MANY * MEBIBYTE), memory_returns("unload"):
        with ops(way.module) as heap:
            with counted(way.module, allocated=MANY, freed=MANY, quarantined=MANY,
                         quarantined_bytes=MANY * MEBIBYTE):
                for _ in range(MANY):
                    heap.call("kfree", alloc(heap, MEBIBYTE))


def test_silent(way: Way) -> None:
    """NULL and ZERO_SIZE_PTR may be freed as often as one likes."""
    with ops(way.module) as heap, counted(way.module):
        reports = Reports()
        for function in ("kfree", "kfree_sensitive", "kvfree", "bitmap_free"):
            for pointer in (0, ZERO_SIZE_PTR, 0, ZERO_SIZE_PTR):
                heap.call(function, pointer)
        # The kernel takes NULL, and no other pointer that is none, here.
        for function in RCU_FREES:
            heap.call(function, 0)
        assert not reports.new()


def test_sensitive(way: Way) -> None:
    """kfree_sensitive() leaves nothing to read, whether the memory waits or not."""
    with ops(way.module) as heap:
        addr = alloc(heap, 200)
        heap.call("fill", addr, 200, 0x5a)
        # Without poison, which would hide it.
        with policy("use_after_free", "pass"):
            heap.call("kfree_sensitive", addr)
        # It waits in quarantine: still ours to read.
        assert stats(way.module)["quarantined"] == 1
        assert is_filled(heap, addr, 200, 0), "the object was not wiped"


def test_bulk(way: Way) -> None:
    """kfree_bulk() frees each object that may be freed, and no other."""
    reports = Reports()
    with ops(way.module) as heap:
        addrs = [alloc(heap, 64) for _ in range(8)]
        with counted(way.module, freed=8, live=-8, live_bytes=-512, quarantined=8,
                     quarantined_bytes=512):
            heap.call("kfree_bulk", *addrs)
        one, kept, two = (alloc(heap, 64) for _ in range(3))
        # A free one, a part of one that lives, and two that may go.
        with counted(way.module, freed=2, live=-2, live_bytes=-128, quarantined=2,
                     quarantined_bytes=128, double_frees=1, interior_frees=1):
            heap.call("kfree_bulk", one, addrs[3], kept + 8, two)
        assert the_record(way.module).address == kept
        place = site("op_kfree_bulk", way.module)
        reports.expect(rf"double-free in {place}", rf"first freed at {place} .*",
                       rf"freed again at {place} .*", details=[addresses(addrs[3], addrs[3])])
        reports.expect(rf"interior-free in {place}", details=[addresses(kept, kept + 8)])
        heap.call("kfree", kept)


def test_rcu(way: Way) -> None:
    """kfree_rcu() and then a second free: refused before and after the grace period."""
    reports = Reports()
    place = site("op_kfree", way.module)
    for function in RCU_FREES:
        with ops(way.module) as heap:
            addr = alloc(heap, 64)
            # Into quarantine when the grace period is over.
            with counted(way.module, **freed_one(64, 64)):
                heap.call(function, addr)
            with counted(way.module, double_frees=1):
                heap.call("kfree", addr)
            reports.expect(rf"double-free in {place}",
                           rf"allocated at {site('op_kmalloc', way.module)} .*",
                           rf"first freed at {site(f'op_{function}', way.module)} .*",
                           rf"freed again at {place} .*", details=[addresses(addr, addr)])
    with ops(way.module) as heap:
        addr = alloc(heap, 64)
        # The second free is in a read-side section that the grace period waits for.
        with counted(way.module, double_frees=1, **freed_one(64, 64)):
            heap.call("kfree_rcu_kfree", addr)
        both = site("op_kfree_rcu_kfree", way.module)
        reports.expect(rf"double-free in {both}", rf"first freed at {both} .*",
                       rf"freed again at {both} .*", r"refused; .*grace period.*",
                       details=[addresses(addr, addr)])
        # A second kfree_rcu() is a double free like any other.
        with counted(way.module, double_frees=1):
            heap.call("kfree_rcu", addr)
        reports.expect(rf"double-free in {site('op_kfree_rcu', way.module)}",
                       rf"first freed at {both} .*")


def test_rcu_unload(way: Way) -> None:
    """An unload waits for what kfree_rcu() has not given back yet."""
    with ops(way.module) as heap:
        for _ in range(100):
            heap.call("kfree_rcu", alloc(heap, 64))
    block = exits(way.module)[-1]
    assert (block.allocated, block.freed, block.elsewhere, block.left, block.late) == \
        (100, 100, 0, 0, 0), f"{block}"


def test_too_large(way: Way) -> None:
    """What is larger than quarantine does not push the rest out of it."""
    with ops(way.module) as heap, knob("quarantine_bytes", 4096):
        heap.call("kfree", alloc(heap, 64))
        addr = alloc(heap, 4097)
        with counted(way.module, freed=1, live=-1, live_bytes=-4097):
            heap.call("kfree", addr)
        # One that just fits pushes out what was there.
        addr = alloc(heap, 4096)
        with counted(way.module, freed=1, live=-1, live_bytes=-4096, quarantined_bytes=4096 - 64):
            heap.call("kfree", addr)


def test_accounted(way: Way) -> None:
    """Memory charged to a control group does not wait in quarantine."""
    with ops(way.module) as heap:
        addr = alloc(heap, 64, "kmalloc_account")
        with counted(way.module, freed=1, live=-1, live_bytes=-64):
            heap.call("kfree", addr)


# ---- krealloc ----

def test_krealloc_in_place(way: Way) -> None:
    """What fits the memory stays where it is, and has its new size."""
    with ops(way.module) as heap:
        addr = alloc(heap, 100)			# of kmalloc-128
        for size, old in ((128, 100), (8, 128), (128, 8), (1, 128)):
            with counted(way.module, live_bytes=size - old):
                done = heap.call("krealloc", addr, size)
            assert (done.pointer, done.usable) == (addr, 128), f"{size} bytes: {done}"
            assert the_record(way.module).size == size
        # The whole object can be freed still, and its whole memory is its own.
        with counted(way.module, interior_frees=1):
            heap.call("kfree", addr + 100)
        with counted(way.module, **freed_one(1, 128)):
            heap.call("kfree", addr)


def test_krealloc_moves(way: Way) -> None:
    """What does not fit moves: a new object with the old one's contents, and the
    old one is free."""
    reports = Reports()
    with ops(way.module) as heap:
        for old, new, usable in ((100, 300, 128), (8192, 16384, 8192), (1 << 16, 1 << 17, 1 << 16)):
            addr = alloc(heap, old)
            heap.call("fill", addr, old, 0x5a)
            with counted(way.module, allocated=1, freed=1, live_bytes=new - old, quarantined=1,
                         quarantined_bytes=usable):
                done = heap.call("krealloc", addr, new)
            assert done.pointer not in (0, addr) and done.usable >= new, f"{done}"
            assert is_filled(heap, done.pointer, old, 0x5a), "the contents did not move"
            record = the_record(way.module)
            assert (record.address, record.size) == (done.pointer, new), f"{record}"
            assert re.fullmatch(site("op_krealloc", way.module), record.site), record.site
            # The old one is known as free, and krealloc() as who freed it.
            with counted(way.module, double_frees=1):
                heap.call("kfree", addr)
            reports.expect(rf"double-free in {site('op_kfree', way.module)}",
                           rf"first freed at {site('op_krealloc', way.module)} .*")
            heap.call("kfree", done.pointer)


def test_krealloc_zero(way: Way) -> None:
    """What an object grows by is zero, where it stays and where it moves."""
    if tuple(map(int, re.findall(r"\d+", os.uname().release)[:2])) < (6, 13):
        raise Skip("this kernel's own krealloc() does not clear")
    with ops(way.module) as heap:
        for new in (60, 100):
            addr = alloc(heap, 40, "kzalloc")
            heap.call("fill", addr, 40, 0x5a)
            addr = heap.call("krealloc_zero", addr, new).pointer
            assert is_filled(heap, addr, 40, 0x5a), f"{new} bytes: the contents are lost"
            assert is_filled(heap, addr + 40, new - 40, 0), f"{new} bytes: the rest is not zero"
            heap.call("kfree", addr)


def test_krealloc_fails(way: Way) -> None:
    """No memory for the new size: NULL, and the old block is as it was."""
    with ops(way.module) as heap:
        addr = alloc(heap, 100)
        heap.call("fill", addr, 100, 0x5a)
        before = the_record(way.module)
        with counted(way.module):
            for size in (SIZE_MAX // 2, SIZE_MAX):
                assert heap.call("krealloc", addr, size).pointer == 0
            # n * size overflows.
            assert heap.call("krealloc_array", addr, 1 << 61, 8).pointer == 0
        after = the_record(way.module)
        assert after._replace(age_ms=0) == before._replace(age_ms=0), f"{before}, then {after}"
        assert is_filled(heap, addr, 100, 0x5a), "the contents changed"
        with counted(way.module, **freed_one(100, 128)):
            heap.call("kfree", addr)


def test_krealloc_edges(way: Way) -> None:
    """Size 0 frees; NULL and ZERO_SIZE_PTR allocate."""
    with ops(way.module) as heap:
        addr = alloc(heap, 100)
        with counted(way.module, **freed_one(100, 128)):
            assert heap.call("krealloc", addr, 0).pointer == ZERO_SIZE_PTR
        # That was its free: another is one too many.
        with counted(way.module, double_frees=1):
            heap.call("kfree", addr)
        for pointer in (0, ZERO_SIZE_PTR):
            with counted(way.module, **allocated_one(100)):
                addr = heap.call("krealloc", pointer, 100).pointer
            assert the_record(way.module).address == addr
            heap.call("kfree", addr)


def test_krealloc_wrong(way: Way) -> None:
    """What is no live object of mown's cannot be resized: NULL, and a report."""
    reports = Reports()
    with ops(way.module) as heap:
        addr = alloc(heap, 100)
        place = site("op_krealloc", way.module)
        with counted(way.module, interior_frees=1):
            assert heap.call("krealloc", addr + 16, 400).pointer == 0
        reports.expect(rf"interior-free in {place}", details=[addresses(addr, addr + 16)])
        heap.call("kfree", addr)
        # To size 0 is a free, which says so whether it is refused or not.
        for size, pointer in ((50, 0), (400, 0), (0, ZERO_SIZE_PTR)):
            with counted(way.module, double_frees=1):
                assert heap.call("krealloc", addr, size).pointer == pointer
        reports.expect(rf"double-free in {place}",
                       rf"allocated at {site('op_kmalloc', way.module)} .*",
                       rf"first freed at {site('op_kfree', way.module)} .*",
                       rf"freed again at {place} .*", details=[addresses(addr, addr)])
        raw = heap.call("raw_kmalloc", 100).pointer
        with policy("unknown_free", "warn"), counted(way.module, unknown_frees=1):
            assert heap.call("krealloc", raw, 400).pointer == 0
        reports.expect(rf"unknown-free in {place}", details=[addresses(raw, raw)])
        heap.call("raw_kfree", raw)


def test_krealloc_unknown(way: Way) -> None:
    """Memory that is not recorded: refused to the API; the drop-in's is resized."""
    with ops(way.module) as heap:
        raw = heap.call("raw_kmalloc", 100).pointer
        heap.call("fill", raw, 100, 0x5a)
        if way.refuses_unknown:
            with counted(way.module, unknown_frees=1):
                assert heap.call("krealloc", raw, 400).pointer == 0
            assert is_filled(heap, raw, 100, 0x5a)
            heap.call("raw_kfree", raw)
            return
        # The kernel's own krealloc() does it; what it gives is mown's to know or not.
        done = heap.call("krealloc", raw, 400)
        assert done.pointer and done.usable >= 400 and is_filled(heap, done.pointer, 100, 0x5a)
        assert stats(way.module)["unknown_frees"] == 0
        heap.call("kfree", done.pointer)
    block = exits(way.module)[-1]
    assert block.left == 0, f"{block}"


# ---- Wrong frees ----

def test_double_free(way: Way) -> None:
    """A double free is refused, and its report names three places."""
    reports = Reports()
    with ops(way.module) as heap:
        addr = alloc(heap, 100, "kzalloc")
        heap.call("kfree_sensitive", addr)
        for function in ("kfree", "kvfree", "bitmap_free", "kfree_sensitive"):
            with counted(way.module, double_frees=1):
                heap.call(function, addr)
            place = site(f"op_{function}", way.module)
            me = rf"by task {os.getpid()}"
            ago = r"on cpu \d+, \d+ ms ago"
            reports.expect(
                rf"double-free in {place}",
                rf"allocated at {site('op_kzalloc', way.module)} .*",
                rf"first freed at {site('op_kfree_sensitive', way.module)} .*",
                rf"freed again at {place} .*",
                r"refused; the object stays in quarantine",
                details=[
                    rf"object #\d+ at \S+: 100 bytes, kmalloc, of {way.module}",
                    rf"allocated at \S+ \[{way.module}\] {me} {ago}",
                    rf"first freed at \S+ \[{way.module}\] {me} {ago}",
                    rf"freed again at \S+ \[{way.module}\] {me} \(\S+\) on cpu \d+(, 0 ms ago)?",
                    addresses(addr, addr)])


def test_interior_free(way: Way) -> None:
    """A free of a part is refused, and its report names the object."""
    reports = Reports()
    with ops(way.module) as heap:
        # A call site of its own: the like of another report is not told again.
        addr = alloc(heap, 8192, "kmalloc_node")
        # In the first page and in the next, from the second byte to the last.
        for function, offset in (("kfree", 1), ("kvfree", 8), ("kfree_sensitive", 4096),
                                 ("bitmap_free", 8191)):
            with counted(way.module, interior_frees=1):
                heap.call(function, addr + offset)
            place = site(f"op_{function}", way.module)
            reports.expect(rf"interior-free in {place}",
                           rf"allocated at {site('op_kmalloc_node', way.module)} .*",
                           r"refused; .*",
                           details=[rf"object #\d+ at \S+: 8192 bytes, kmalloc, of {way.module}, "
                                    rf"freed pointer {offset} bytes inside",
                                    addresses(addr, addr + offset)])
        assert the_record(way.module).address == addr
        heap.call("kfree", addr)
        # It waits in quarantine, and is still known.
        with counted(way.module, interior_frees=1):
            heap.call("kfree", addr + 16)


def test_unknown_free(way: Way) -> None:
    """Memory that nobody recorded: refused to the API, the drop-in's goes."""
    reports = Reports()
    with ops(way.module) as heap:
        raw = heap.call("raw_kmalloc", 100).pointer
        assert not live(way.module), "raw_kmalloc is recorded: it must not be"
        if way.refuses_unknown:
            with counted(way.module, unknown_frees=1):
                heap.call("kfree", raw)
            reports.expect(rf"unknown-free in {site('op_kfree', way.module)}", r"refused; .*",
                           details=[addresses(raw, raw)])
            # It was not freed: it is ours to free.
            heap.call("raw_kfree", raw)
        else:
            with counted(way.module, unknown_passed=1):
                heap.call("kfree", raw)
            assert not reports.new()


def test_unknown_given_back(way: Way) -> None:
    """Unknown memory that is passed on is freed, by every function that may."""
    # The kernel's own kfree_rcu() takes some seconds: both of them at once.
    at_once = [(function,) for function in FREES if function not in RCU_FREES] + [RCU_FREES]
    with ops(way.module) as heap, policy("unknown_free", "pass"):
        for functions in at_once:
            passed = MANY * len(functions)
            with memory_returns(" or ".join(functions)), \
                    counted(way.module, unknown_passed=passed):
                for function in functions * MANY:
                    heap.call(function, heap.call("raw_kmalloc", MEBIBYTE).pointer)


def test_foreign_free(way: Way) -> None:
    """Another module's memory may be freed, and is counted for its owner."""
    reports = Reports()
    other = DROPIN if way is API else API
    with ops(way.module) as heap, ops(other.module) as theirs:
        for function in FREES:
            addr = alloc(theirs, 100)
            with counted(way.module), \
                    counted(other.module, foreign_frees=1, **freed_one(100, 128)):
                heap.call(function, addr)
        # Whoever frees it again is told who did it first.
        with counted(way.module), counted(other.module, double_frees=1):
            theirs.call("kfree", addr)
        reports.expect(rf"double-free in {site('op_kfree', other.module)}",
                       rf"object #\d+ at \S+: 100 bytes, kmalloc, of {other.module}",
                       rf"allocated at {site('op_kmalloc', other.module)} .*",
                       rf"first freed at {site(f'op_{FREES[-1]}', way.module)} .*",
                       rf"freed again at {site('op_kfree', other.module)} .*",
                       details=[addresses(addr, addr)])


# ---- Policies ----

WORDS = {
    "double_free": ["auto", "warn", "panic"],
    "interior_free": ["auto", "warn", "panic"],
    "mismatched_free": ["auto", "warn", "panic"],
    "unknown_free": ["auto", "warn", "panic", "pass"],
    "foreign_free": ["auto", "warn", "panic", "pass"],
    "use_after_free": ["auto", "warn", "panic", "pass"],
    "overflow": ["auto", "warn", "panic", "pass"],
    "limit": ["auto", "warn", "panic", "pass"],
    "left_behind": ["auto", "report", "reclaim", "panic"],
}


def test_words() -> None:
    """Each policy takes its own words, shows the chosen one, and no other word."""
    assert sorted(WORDS) == sorted(POLICIES)
    every = {word for words in WORDS.values() for word in words}
    for name, words in WORDS.items():
        path = f"{SYSFS}/policy/{name}"
        for word in words:
            with policy(name, word):
                shown = read_file(path).split()
                assert sorted(shown) == sorted(w if w != word else f"[{w}]" for w in words), \
                    f"{path} is {shown} after {word}"
                for bad in every.difference(words) | {"", "\n", "war", "warning", "PANIC", "0",
                                                      "auto warn", "\0"}:
                    if not bad:
                        continue		# not a write that the kernel passes on
                    try:
                        write_file(path, bad)
                    except OSError as error:
                        assert error.errno == EINVAL, f"{path}: {bad!r}: {error}"
                    else:
                        raise AssertionError(f"{path} took {bad!r}")
                    assert policy_word(name) == word, f"{path}: {bad!r} changed it"
        assert policy_word(name) == "auto"


def test_policy_unknown(way: Way) -> None:
    """The words of unknown_free mean the same for both ways in."""
    reports = Reports()
    with ops(way.module) as heap:
        raw = heap.call("raw_kmalloc", 100).pointer
        with policy("unknown_free", "warn"), counted(way.module, unknown_frees=1):
            heap.call("kfree", raw)
        reports.expect(rf"unknown-free in {site('op_kfree', way.module)}")
        with policy("unknown_free", "pass"), counted(way.module, unknown_passed=1):
            heap.call("kfree", raw)


def test_policy_warn(way: Way) -> None:
    """warn refuses double and interior frees, as auto does."""
    with ops(way.module) as heap, policy("double_free", "warn"), policy("interior_free", "warn"):
        addr = alloc(heap, 100)
        with counted(way.module, interior_frees=1):
            heap.call("kfree", addr + 8)
        heap.call("kfree", addr)
        with counted(way.module, double_frees=1):
            heap.call("kfree", addr)


# ---- Contexts ----

def test_contexts(way: Way) -> None:
    """Allocation and release in interrupts: tracked, with task 0."""
    reports = Reports()
    for context in ("softirq", "hardirq"):
        with ops(way.module) as heap:
            for function, numbers, size in (("kmalloc", (100,), 100), ("kcalloc", (7, 13), 91),
                                            ("krealloc", (0, 100), 100), ("kstrdup", (100,), 101),
                                            ("kasprintf", (100,), 101), ("kmemdup", (100,), 100)):
                with counted(way.module, **allocated_one(size)):
                    addr = heap.call(function, *numbers, context=context).pointer
                record = the_record(way.module)
                assert (record.address, record.size, record.pid) == (addr, size, 0), \
                    f"{function} in {context}: {record}"
                assert re.fullmatch(site(f"op_{function}", way.module), record.site), record.site
                heap.call("kfree", addr)
            for function in FREES:
                if function == "kfree_rcu_headless":
                    continue		# it may sleep
                addr = alloc(heap, 100)
                with counted(way.module, **freed_one(100, 128)):
                    heap.call(function, addr, context=context)
            # A move in an interrupt, and both kinds of wrong frees.
            addr = alloc(heap, 100)
            with counted(way.module, allocated=1, freed=1, live_bytes=200, quarantined=1,
                         quarantined_bytes=128):
                new = heap.call("krealloc", addr, 300, context=context).pointer
            place = site("op_kfree", way.module)
            with counted(way.module, double_frees=1):
                heap.call("kfree", addr, context=context)
            reports.expect(rf"double-free in {place}",
                           rf"first freed at {site('op_krealloc', way.module)} .*",
                           rf"freed again at {place} .*")
            with counted(way.module, interior_frees=1):
                heap.call("kfree", new + 16, context=context)
            reports.expect(rf"interior-free in {place}",
                           rf"allocated at {site('op_krealloc', way.module)} .*")
            heap.call("kfree", new, context=context)


BOTH: tuple[tuple[str, Callable[[Way], None]], ...] = (
    ("every allocation is tracked", test_allocations),
    ("no memory, nothing recorded", test_no_memory),
    ("every release is counted once", test_frees),
    ("what is released goes back", test_given_back),
    ("what leaves quarantine goes back", test_leaves_quarantine),
    ("NULL and ZERO_SIZE_PTR are silent", test_silent),
    ("kfree_sensitive wipes", test_sensitive),
    ("kfree_bulk", test_bulk),
    ("kfree_rcu and a second free", test_rcu),
    ("kfree_rcu and unload", test_rcu_unload),
    ("what is larger than quarantine is not kept", test_too_large),
    ("accounted memory is not kept", test_accounted),
    ("krealloc in place", test_krealloc_in_place),
    ("krealloc moves", test_krealloc_moves),
    ("krealloc with __GFP_ZERO", test_krealloc_zero),
    ("krealloc fails", test_krealloc_fails),
    ("krealloc of NULL, to 0", test_krealloc_edges),
    ("krealloc of what is not live", test_krealloc_wrong),
    ("krealloc of unknown memory", test_krealloc_unknown),
    ("double free", test_double_free),
    ("interior free", test_interior_free),
    ("unknown free", test_unknown_free),
    ("unknown memory passed on goes back", test_unknown_given_back),
    ("foreign free", test_foreign_free),
    ("policy of unknown frees", test_policy_unknown),
    ("policy warn refuses", test_policy_warn),
    ("interrupts", test_contexts),
)

CASES: list[tuple[str, Callable[[], None]]] = [
    (f"{way.label}: {name}", functools.partial(func, way)) for way in (API, DROPIN)
    for name, func in BOTH]
CASES.append(("policy words", test_words))

if __name__ == "__main__":
    run_cases(CASES, modules=(API.module, DROPIN.module))
