#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""All families of allocators, by the API and by the drop-in.

Who may release what, what is done about a wrong release, what waits where, and
what each family needs besides. Each case runs twice, with mown_test_ops and with
mown_dropin_ops.
"""
import collections
import contextlib
import ctypes
import functools
import os
import re
from typing import Callable, Iterator, NamedTuple, Optional, Union

import ksft_mown
from ksft_mown import (CGROUPS, DEBUGFS, SYSFS, Live, Ops, Skip, case_log, difference, dmesg_mark,
                       exits, kernel_has, kernel_version, knob, live, ops, policy, quiet_console,
                       read_file, read_lines, reported, run_cases, stats, violations, wait_for,
                       write_file)
from test_api import API, DROPIN, SIZE_MAX, ZERO_SIZE_PTR, Way, site

# It does not use mown, and stands for the kernel.
WORLD = "mown_plain_ops"
PAGE = 4096
POISON = 0x6b
ENOMEM = 12
ERR_PTR = (1 << 64) - ENOMEM
# More than kmalloc() gives at once.
LARGE = 5 << 20

# What is copied from user space.
TEXT = ctypes.create_string_buffer(b"m" * 99)
USER = ctypes.addressof(TEXT)

# The kinds of caches that the module makes, and what its constructors write.
PLAIN, CTOR, TYPESAFE, ACCOUNT, CTOR_TYPESAFE = range(5)
CONSTRUCTED, CONSTRUCTED_SIZE = 0xc7, 16

# An argument: a number, or the name of one that is not known yet. "p" is the
# object, "h" what belongs to it, and the others are in Things.
Arg = Union[int, str]


class Call(NamedTuple):
    """A function and its arguments."""

    function: str
    args: tuple[Arg, ...]


class Object(NamedTuple):
    """An object: its address, what belongs to it, and how it is shown."""

    pointer: int
    handle: int
    size: int
    family: str
    site: str


class Things:
    """The caches, pools and devices that a case may name, of one module."""

    CREATE = {
        "cache": Call("kmem_cache_create", (200,)),
        "cache2": Call("kmem_cache_create", (200,)),
        "pool": Call("mempool_create_kmalloc_pool", (2, 300)),
        "pool2": Call("mempool_create_kmalloc_pool", (2, 300)),
        "slabpool": Call("mempool_create_slab_pool", (2, "cache")),
        "pagepool": Call("mempool_create_page_pool", (2, 0)),
        "dpool": Call("dma_pool_create", (0, 128)),
        "dpool2": Call("dma_pool_create", (0, 128)),
    }

    def __init__(self, way: Way, heap: Ops) -> None:
        self.module = way.module
        self.heap = heap
        self.made: dict[str, int] = {}

    def number(self, arg: Arg, obj: Optional[Object] = None) -> int:
        """What ARG stands for; things are made when they are first named."""
        if isinstance(arg, int):
            return arg
        if arg in ("p", "h"):
            assert obj
            return obj.pointer if arg == "p" else obj.handle
        if arg not in self.made:
            create = self.CREATE[arg]
            numbers = [self.number(a) for a in create.args]
            self.made[arg] = self.heap.call(create.function, *numbers).pointer
            assert self.made[arg], create
        return self.made[arg]

    def call(self, call: Call, obj: Optional[Object] = None,
             context: str = "task") -> ksft_mown.Result:
        """Make the call, about OBJ."""
        numbers = [self.number(arg, obj) for arg in call.args]
        return self.heap.call(call.function, *numbers, context=context)

    def alloc(self, call: Call, size: int, family: str, context: str = "task") -> Object:
        """Allocate by CALL what is recorded as SIZE bytes of FAMILY."""
        for arg in call.args:
            self.number(arg)		# with its own account
        with change(self.module, allocated=1, live=1, live_bytes=size):
            done = self.call(call, context=context)
        assert ZERO_SIZE_PTR < done.pointer < ERR_PTR - 4096, f"{call}: {done}"
        obj = Object(done.pointer, done.usable, size, family, f"op_{call.function}")
        record = self.record(obj)
        assert record, f"{call}: no record of {done} in {live(self.module)}"
        assert (record.size, record.family) == (size, family), f"{call}: {record}"
        # A function with variable arguments has a copy of itself at times
        where = "ops_devm_vformat(\\.\\w+)*" if "kvasprintf" in call.function else obj.site
        assert re.fullmatch(site(where, self.module), record.site), f"{call}: {record}"
        return obj

    def record(self, obj: Object) -> Optional[Live]:
        """The live record of the object."""
        address = obj.pointer
        if obj.family == "percpu":
            address = self.heap.call("percpu_address", address).pointer
        found = [record for record in live(self.module) if record.address == address]
        return found[0] if found else None

    def size(self, address: int) -> int:
        """The size of the live object at ADDRESS."""
        return next(record.size for record in live(self.module) if record.address == address)

    def release(self, call: Call, obj: Object, waits: bool = False,
                context: str = "task") -> None:
        """Release OBJ by CALL, as it should be; and see whether it waits."""
        with change(self.module, **released(obj, waits)):
            self.call(call, obj, context)
        assert not self.record(obj), f"{call}: {obj} is live"

    def close(self) -> None:
        """Destroy what was made, the pools before what they are made of."""
        for name in ("pool", "pool2", "slabpool", "pagepool", "dpool", "dpool2", "cache",
                     "cache2"):
            if name in self.made:
                destroy = {"c": "kmem_cache_destroy", "d": "dma_pool_destroy"}
                self.heap.call(destroy.get(name[0], "mempool_destroy"), self.made.pop(name))


@contextlib.contextmanager
def things(way: Way) -> Iterator[Things]:
    """The module, loaded for a while; nothing of it is left behind."""
    write_file(f"{SYSFS}/clear", "1")
    with ops(way.module) as heap:
        its = Things(way, heap)
        yield its
        its.close()
        assert not live(way.module), f"left: {live(way.module)}"


def changed(module: str, before: dict[str, int]) -> dict[str, int]:
    """What has changed since BEFORE, but for the memory that waits."""
    return {name: by for name, by in difference(module, before).items()
            if name != "quarantined_bytes"}


@contextlib.contextmanager
def change(module: str, **expected: int) -> Iterator[None]:
    """The counters of MODULE change by just that, however soon."""
    before = stats(module)
    want = {name: value for name, value in expected.items() if value}
    yield
    with contextlib.suppress(AssertionError):
        wait_for(lambda: changed(module, before) == want, "the counters")
    assert changed(module, before) == want, f"{changed(module, before)}, not {want}"


def released(obj: Object, waits: bool) -> dict[str, int]:
    """What a release of the object changes."""
    return {"freed": 1, "live": -1, "live_bytes": -obj.size, "quarantined": int(waits)}


# ---- Each function ----

class Row(NamedTuple):
    """An allocation, and what it is recorded as; how it is released, and whether it waits."""

    alloc: Call
    size: int
    family: str
    free: Call
    waits: bool = False


def row(alloc: str, size: int, family: str, free: str, waits: bool = False) -> Row:
    """A row, its calls written as `FUNCTION ARGUMENT...'."""
    return Row(call_of(alloc), size, family, call_of(free), waits)


def call_of(text: str) -> Call:
    """A call written as `FUNCTION ARGUMENT...'."""
    function, *args = text.split()
    return Call(function, tuple(int(arg) if arg.isdigit() else arg for arg in args))


MEMPOOL = 0		# the size of its struct is the kernel's business
BLOCK = 1		# and that of a dma pool's block is a secret of the pool

FUNCTIONS = (
    row("vmalloc 5000", 5000, "vmalloc", "vfree p", True),
    row("vzalloc 5001", 5001, "vmalloc", "kvfree p", True),
    row("vmalloc_node 5000", 5000, "vmalloc", "kfree_rcu p", True),
    row("vzalloc_node 5000", 5000, "vmalloc", "kvfree_sensitive p 5000", True),
    row("vmalloc_32 5000", 5000, "vmalloc", "kfree_rcu_headless p", True),
    row("vmalloc_32_user 5000", 5000, "vmalloc", "vfree p"),
    row("vmalloc_user 5000", 5000, "vmalloc", "vfree p"),
    row("vmalloc_huge 5000", 5000, "vmalloc", "vfree p", True),
    row("vmalloc_array 3 1000", 3000, "vmalloc", "vfree p", True),
    row("vcalloc 3 1000", 3000, "vmalloc", "vfree p", True),
    row("__vmalloc 5000", 5000, "vmalloc", "vfree p", True),
    row("__vmalloc_array 3 1000", 3000, "vmalloc", "vfree p", True),
    row("__vcalloc 3 1000", 3000, "vmalloc", "vfree p", True),
    row("kvmalloc 100", 100, "kmalloc", "kvfree p", True),
    row("kvmalloc 8193", 8193, "kmalloc", "kfree p", True),
    row(f"kvmalloc {LARGE}", LARGE, "vmalloc", "kvfree p"),
    row("kvmalloc_node 100", 100, "kmalloc", "kfree_rcu p", True),
    row(f"kvmalloc_node {LARGE}", LARGE, "vmalloc", "vfree p"),
    row("kvzalloc 100", 100, "kmalloc", "kvfree_sensitive p 100", True),
    row("kvzalloc_node 100", 100, "kmalloc", "kvfree p", True),
    row("kvmalloc_array 7 13", 91, "kmalloc", "kvfree p", True),
    row("kvcalloc 7 13", 91, "kmalloc", "kvfree p", True),
    row(f"vmemdup_user {USER} 100", 100, "kmalloc", "kvfree p", True),
    row(f"strndup_user {USER} 200", 100, "kmalloc", "kfree p", True),
    row("alloc_pages 2", 4 * PAGE, "pages", "__free_pages p 2"),
    row("alloc_pages_node 1", 2 * PAGE, "pages", "free_pages p 1"),
    row("alloc_page", PAGE, "pages", "__free_page p"),
    row("__get_free_pages 1", 2 * PAGE, "pages", "free_pages p 1"),
    row("__get_free_page", PAGE, "pages", "free_page p"),
    row("get_zeroed_page", PAGE, "pages", "free_page p"),
    row("alloc_pages_exact 4096", PAGE, "pages", "free_pages_exact p 4096"),
    row("kmem_cache_alloc cache", 200, "slab", "kmem_cache_free p cache", True),
    row("kmem_cache_zalloc cache", 200, "slab", "kfree p", True),
    row("kmem_cache_alloc_node cache", 200, "slab", "kmem_cache_free_bulk cache p", True),
    row("kmem_cache_alloc_lru cache", 200, "slab", "kfree_rcu p", True),
    # A cache that mown does not know
    row("kmem_cache_alloc", 104, "slab", "kmem_cache_free p"),
    row("kmem_cache_create 72", 1, "cache", "kmem_cache_destroy p"),
    row("kmem_cache_create_usercopy 72", 1, "cache", "kmem_cache_destroy p"),
    row("mempool_alloc pool", 300, "element", "mempool_free p pool"),
    row("mempool_alloc_nowait pool", 300, "element", "kfree p"),
    row("mempool_alloc slabpool", 200, "element", "mempool_free p slabpool"),
    row("mempool_alloc slabpool", 200, "element", "kmem_cache_free p cache"),
    row("mempool_alloc pagepool", 1, "element", "mempool_free p pagepool"),
    row("__alloc_percpu 64", 64, "percpu", "free_percpu p"),
    row("__alloc_percpu_gfp 64", 64, "percpu", "free_percpu p"),
    row("alloc_percpu", 24, "percpu", "free_percpu p"),
    row("alloc_percpu_gfp", 24, "percpu", "free_percpu p"),
    row("dma_alloc_coherent 0 6000", 6000, "dma", "dma_free_coherent 0 6000 p h"),
    row("dma_alloc_wc 1 6000", 6000, "dma", "dma_free_wc 1 6000 p h"),
    row("dma_alloc_attrs 0 6000 0", 6000, "dma", "dma_free_attrs 0 6000 p h 0"),
    row("dma_pool_create 1 64", 1, "dma_pool", "dma_pool_destroy p"),
    row("dma_pool_alloc dpool", BLOCK, "dma_block", "dma_pool_free dpool p h"),
    row("dma_pool_zalloc dpool", BLOCK, "dma_block", "dma_pool_free dpool p h"),
    row("devm_kmalloc 0 150", 150, "devm", "devm_kfree 0 p", True),
    row("devm_kzalloc 0 150", 150, "devm", "devm_kfree 0 p", True),
    row("devm_kmalloc_array 1 7 13", 91, "devm", "devm_kfree 1 p", True),
    row("devm_kcalloc 0 7 13", 91, "devm", "devm_kfree 0 p", True),
    row("devm_krealloc 0 0 150", 150, "devm", "devm_kfree 0 p", True),
    row("devm_kmemdup 0 100", 100, "devm", "devm_kfree 0 p", True),
    row("devm_kstrdup 0 100", 101, "devm", "devm_kfree 0 p", True),
    row("devm_kasprintf 0 100", 101, "devm", "devm_kfree 0 p", True),
    row("devm_kvasprintf 0 100", 101, "devm", "devm_kfree 0 p", True),
)


def test_functions(way: Way) -> None:
    """Each function's memory is recorded, with its size, family and place, and released."""
    with things(way) as its:
        for entry in FUNCTIONS:
            try:
                obj = its.alloc(entry.alloc, entry.size, entry.family)
                its.release(entry.free, obj, entry.waits)
            except AssertionError as error:
                raise AssertionError(f"{entry.alloc}, {entry.free}: {error}") from error
        assert not violations(), violations()


def test_sites(way: Way) -> None:
    """Each place is told with what it has live, the most bytes first."""
    with things(way) as its:
        rows = {entry.alloc.function: entry for entry in FUNCTIONS}
        for entry in rows.values():
            for arg in entry.alloc.args:
                its.number(arg)
        held = [(entry, its.alloc(entry.alloc, entry.size, entry.family))
                for entry in rows.values()]
        lines = [line.split(None, 3) for line in
                 read_lines(f"{DEBUGFS}/{way.module}/sites", "mown sites 1")]
        places = collections.Counter(record.site for record in live(way.module))
        assert len(places) > 50 and {line[3]: int(line[0]) for line in lines} == places, lines
        sizes = [int(line[1]) for line in lines]
        assert sizes == sorted(sizes, reverse=True), lines
        assert sum(sizes) == sum(record.size for record in live(way.module)), lines
        for entry, obj in held:
            its.release(entry.free, obj, entry.waits)


def test_zeroed(way: Way) -> None:
    """What is to be zero is, and what is copied is a copy."""
    with things(way) as its, knob("quarantine_bytes", 0):
        for text in ("vzalloc 4096", "vcalloc 1 4096", "kvzalloc 4096", "kvcalloc 1 4096",
                     "get_zeroed_page", "kmem_cache_zalloc cache", "devm_kzalloc 0 150",
                     "devm_kcalloc 0 15 10", "dma_pool_zalloc dpool"):
            call = call_of(text)
            entry = next(e for e in FUNCTIONS if e.alloc.function == call.function)
            done = its.call(call)
            obj = Object(done.pointer, done.usable, 0, entry.family, "")
            size = {"slab": 200, "devm": 150, "dma_block": 128}.get(entry.family, PAGE)
            assert its.heap.call("differs", obj.pointer, size, 0).pointer == 0, text
            its.call(entry.free, obj)
        for text in ("devm_kmemdup 0 100", "devm_kstrdup 0 100", "devm_kasprintf 0 100",
                     f"vmemdup_user {USER} 99", f"strndup_user {USER} 200"):
            done = its.call(call_of(text))
            length = 99 if "user" in text else 100
            assert its.heap.call("differs", done.pointer, length, ord("m")).pointer == 0, text
            its.call(call_of("devm_kfree 0 p" if "devm" in text else "kvfree p"),
                     Object(done.pointer, 0, 0, "", ""))


# ---- Every family by every release function ----

class Kind(NamedTuple):
    """An object of a family, and what may release it; the first does it in the end."""

    alloc: Call
    size: int
    frees: tuple[str, ...]
    waits: bool = False


RELEASES = {call.function: call for call in map(call_of, (
    "kfree p", "kvfree p", "vfree p", "kfree_rcu p", "free_pages p 1", "kmem_cache_free p cache",
    "kmem_cache_destroy p", "mempool_free p slabpool", "mempool_destroy p", "free_percpu p",
    "dma_free_coherent 0 8192 p h", "dma_pool_free dpool p h", "dma_pool_destroy p",
    "devm_kfree 0 p"))}

KINDS = {
    "kmalloc": Kind(call_of("kmalloc 300"), 300, ("kfree", "kvfree", "kfree_rcu"), True),
    "vmalloc": Kind(call_of("vmalloc 5000"), 5000, ("vfree", "kvfree", "kfree_rcu"), True),
    # What a pool is made of may be given to it, and does not wait
    "slab": Kind(call_of("kmem_cache_alloc cache"), 200,
                 ("kmem_cache_free", "kfree", "kvfree", "kfree_rcu", "mempool_free"), True),
    "pages": Kind(call_of("alloc_pages 1"), 2 * PAGE, ("free_pages",)),
    "percpu": Kind(call_of("__alloc_percpu 64"), 64, ("free_percpu",)),
    "cache": Kind(call_of("kmem_cache_create 72"), 1, ("kmem_cache_destroy",)),
    "mempool": Kind(call_of("mempool_create_kmalloc_pool 2 300"), MEMPOOL, ("mempool_destroy",)),
    # It may be freed as what it is as well, which is for the kernel to check
    "element": Kind(call_of("mempool_alloc slabpool"), 200,
                    ("mempool_free", "kfree", "kvfree", "kfree_rcu", "kmem_cache_free")),
    "dma": Kind(call_of("dma_alloc_coherent 0 8192"), 8192, ("dma_free_coherent",)),
    "dma_pool": Kind(call_of("dma_pool_create 0 64"), 1, ("dma_pool_destroy",)),
    "dma_block": Kind(call_of("dma_pool_alloc dpool"), BLOCK, ("dma_pool_free",)),
    "devm": Kind(call_of("devm_kmalloc 0 150"), 150, ("devm_kfree",), True),
}

# Memory of these families goes all the same when a function of another one frees it.
PLAIN_MEMORY = ("kmalloc", "vmalloc", "slab")
PLAIN_FREES = ("kfree", "kvfree", "vfree", "kfree_rcu", "kmem_cache_free")

REFUSED = "refused; the object stays allocated"
RESCUED = "released by the function of its own family"


def verdict(family: str, release: str) -> str:
    """What comes of the release."""
    if release in KINDS[family].frees:
        return "legal"
    return "released" if family in PLAIN_MEMORY and release in PLAIN_FREES else "refused"


def an_object(its: Things, family: str) -> Object:
    """One of the family."""
    kind = KINDS[family]
    if kind.size == MEMPOOL:
        done = its.call(kind.alloc)
        record = its.record(Object(done.pointer, 0, 0, family, ""))
        assert record and record.family == family, record
        return Object(done.pointer, 0, record.size, family, f"op_{kind.alloc.function}")
    return its.alloc(kind.alloc, kind.size, family)


@contextlib.contextmanager
def mismatched(its: Things, obj: Object, release: str, action: str) -> Iterator[None]:
    """A mismatched free of OBJ in RELEASE is counted and reported, and ACTION said."""
    with reported(its.module, "mismatched_frees", f"BUG: mown: mismatched-free in op_{release}+",
                  f": {obj.size} bytes, {obj.family}, of {its.module}\n",
                  f"\nallocated at {obj.site}+", f"\nfreed at op_{release}+", f"\n{action}\n"):
        yield


def refused(its: Things, obj: Object, call: Call) -> None:
    """The release by CALL is reported, and OBJ stays as it is."""
    with mismatched(its, obj, call.function, REFUSED), change(its.module, mismatched_frees=1):
        its.call(call, obj)
    record = its.record(obj)
    assert record and (record.size, record.family) == (obj.size, obj.family), record


def rescued(its: Things, obj: Object, call: Call, waits: bool) -> None:
    """The release by CALL is reported, and OBJ released all the same."""
    with mismatched(its, obj, call.function, RESCUED), \
            change(its.module, mismatched_frees=1, **released(obj, waits)):
        its.call(call, obj)
    assert not its.record(obj)


# The table's cells are many: they have a module loaded for all of them.
SESSIONS: dict[str, tuple[contextlib.ExitStack, Things]] = {}


def session(way: Way) -> Things:
    """The things of the table's cells."""
    if way.module not in SESSIONS:
        stack = contextlib.ExitStack()
        its = stack.enter_context(things(way))
        stack.enter_context(knob("quarantine_bytes", 16 << 20))
        SESSIONS[way.module] = stack, its
    return SESSIONS[way.module][1]


def test_cell(way: Way, family: str, release: str) -> None:
    """One family by one function; then it is released as it should be."""
    its = session(way)
    kind, call = KINDS[family], RELEASES[release]
    for arg in ("cache", "slabpool", "dpool"):
        its.number(arg)
    if (family, release) == ("element", "kfree_rcu"):
        # The kernel has it for seconds, and a cache must not be destroyed meanwhile
        obj = its.alloc(call_of("mempool_alloc pool"), 300, family)
    else:
        obj = an_object(its, family)
    what = verdict(family, release)
    if what == "legal":
        its.release(call, obj, kind.waits and release != "mempool_free")
        return
    if what == "released":
        rescued(its, obj, call, kind.waits)
        return
    try:
        refused(its, obj, call)
    finally:
        if its.record(obj):
            its.release(RELEASES[kind.frees[0]], obj, kind.waits)


def test_table_end(way: Way) -> None:
    """Nothing is left of all that."""
    if way.module not in SESSIONS:
        return
    stack, its = SESSIONS.pop(way.module)
    assert stats(its.module)["stale"] == 0
    stack.close()
    block = exits(way.module)[-1]
    assert (block.left, block.elsewhere) == (0, 0), block
    assert block.allocated == block.freed, block


# Those that name another of the same family.
WRONG = (
    ("slab", "kmem_cache_free p cache2", RESCUED),
    ("slab", "kmem_cache_free p", RESCUED),
    ("slab", "kmem_cache_free_bulk cache2 p", RESCUED),
    ("pages", "free_pages p 0", REFUSED),
    ("pages", "free_pages p 2", REFUSED),
    ("pages", "free_pages p 11", REFUSED),
    ("pages", "free_pages p 4294967295", REFUSED),
    ("pages", "free_page p", REFUSED),
    ("pages", "__free_pages p 0", REFUSED),
    ("pages", "__free_page p", REFUSED),
    ("element", "mempool_free p pool2", REFUSED),
    ("dma", "dma_free_coherent 0 4096 p h", REFUSED),
    ("dma", "dma_free_coherent 0 12288 p h", REFUSED),
    ("dma", "dma_free_coherent 1 8192 p h", REFUSED),
    ("dma_block", "dma_pool_free dpool2 p h", REFUSED),
    ("devm", "devm_kfree 1 p", REFUSED),
    # Not in the table: others that free
    ("vmalloc", "kfree_sensitive p", RESCUED),
    ("vmalloc", "kfree_bulk p", RESCUED),
    ("vmalloc", "kmem_cache_free_bulk cache p", RESCUED),
    ("vmalloc", "bitmap_free p", RESCUED),
    ("devm", "kfree_sensitive p", REFUSED),
    ("devm", "kfree_rcu_headless p", REFUSED),
    ("percpu", "kfree_sensitive p", REFUSED),
    ("pages", "kfree_bulk p", REFUSED),
    ("element", "free_page p", REFUSED),
)


def test_wrong(way: Way) -> None:
    """A wrong cache, pool, device, size or order."""
    with things(way) as its:
        for family, text, action in WRONG:
            call, kind = call_of(text), KINDS[family]
            for arg in ("cache", "cache2", "slabpool", "pool2", "dpool", "dpool2"):
                its.number(arg)
            obj = an_object(its, family)
            try:
                if action == RESCUED:
                    rescued(its, obj, call, kind.waits)
                    continue
                refused(its, obj, call)
                its.release(RELEASES[kind.frees[0]], obj, kind.waits)
            except AssertionError as error:
                raise AssertionError(f"{family}, {text}: {error}") from error


def test_foreign_things(way: Way) -> None:
    """What is named wrongly is refused to another module as well, and its right release is not."""
    other = DROPIN if way is API else API
    with things(way) as its, ops(other.module) as world:
        for family in ("slab", "pages", "percpu", "element", "dma_block"):
            for arg in ("cache", "slabpool", "dpool"):
                its.number(arg)
            obj, call = an_object(its, family), RELEASES[KINDS[family].frees[0]]
            # The devices are each module's own, so dma and devm are not for others
            numbers = [its.number(arg, obj) for arg in call.args]
            if family != "slab":
                with mismatched(its, obj, "kfree" if family != "element" else "vfree", REFUSED):
                    world.call("kfree" if family != "element" else "vfree", obj.pointer)
            with change(way.module, foreign_frees=1, **released(obj, KINDS[family].waits)):
                world.call(call.function, *numbers)


# ---- The second free, and what waits ----

@contextlib.contextmanager
def refuses_unknown(way: Way) -> Iterator[None]:
    """What is not recorded is refused, as the API does on its own."""
    with contextlib.nullcontext() if way.refuses_unknown else policy("unknown_free", "warn"):
        yield


def test_second_free(way: Way) -> None:
    """A second free is a double free of what waits, and an unknown one of the rest."""
    with things(way) as its, refuses_unknown(way):
        for family, kind in KINDS.items():
            call = RELEASES[kind.frees[0]]
            for arg in ("cache", "slabpool", "dpool"):
                its.number(arg)
            obj = an_object(its, family)
            its.release(call, obj, kind.waits)
            if kind.waits:
                lines = (f"BUG: mown: double-free in op_{call.function}+",
                         f": {obj.size} bytes, {family}, of {way.module}\n",
                         f"\nallocated at {obj.site}+", f"\nfirst freed at op_{call.function}+",
                         "\nrefused; the object stays in quarantine\n")
                counter = "double_frees"
            else:
                lines = (f"BUG: mown: unknown-free in op_{call.function}+",
                         "\nrefused; nothing was freed\n")
                counter = "unknown_frees"
            try:
                for _ in range(2):
                    with reported(way.module, counter, *lines), \
                            change(way.module, **{counter: 1}):
                        its.call(call, obj)
            except AssertionError as error:
                raise AssertionError(f"{family}: {error}") from error


class Rest(NamedTuple):
    """How memory is in quarantine: does it wait, is it poisoned, how much of it?"""

    alloc: str
    free: str
    size: int
    waits: bool
    poison: bool


RESTS = (
    Rest("kmalloc 300", "kfree p", 300, True, True),
    Rest("kvmalloc 300", "kvfree p", 300, True, True),
    Rest("vmalloc 5000", "vfree p", 5000, True, False),
    Rest("vmalloc_user 5000", "vfree p", 5000, False, False),
    Rest(f"kmem_cache_create {PLAIN}", "kmem_cache_free p cache", 208, True, True),
    Rest(f"kmem_cache_create {CTOR}", "kmem_cache_free p cache", 208, True, False),
    Rest(f"kmem_cache_create {TYPESAFE}", "kmem_cache_free p cache", 208, True, False),
    Rest(f"kmem_cache_create {CTOR_TYPESAFE}", "kfree p", 208, True, False),
    # What is charged to a memory cgroup does not wait.
    Rest(f"kmem_cache_create {ACCOUNT}", "kmem_cache_free p cache", 208, not CGROUPS, not CGROUPS),
    Rest("kmem_cache_alloc", "kmem_cache_free p", 104, False, False),
    Rest("devm_kmalloc 0 150", "devm_kfree 0 p", 150, True, True),
)


def test_quarantine(way: Way) -> None:
    """What waits is poisoned where it may be, and writing to that is found; what others may
    read stays as it was."""
    with things(way) as its:
        for rest in RESTS:
            try:
                check_rest(its, rest)
            except AssertionError as error:
                raise AssertionError(f"{rest}: {error}") from error


def check_rest(its: Things, rest: Rest) -> None:
    """One kind of memory in quarantine."""
    knob_path, alloc = f"{SYSFS}/modules/{its.module}/quarantine_bytes", rest.alloc
    if alloc.startswith("kmem_cache_create"):
        kind = int(alloc.split()[1])
        its.made["cache"] = its.heap.call("kmem_cache_create", rest.size, kind).pointer
        alloc = "kmem_cache_alloc cache"
    obj = Object(its.call(call_of(alloc)).pointer, 0, rest.size, "", "")

    def is_all(byte: int, size: int = rest.size) -> bool:
        return its.heap.call("differs", obj.pointer, size, byte).pointer == 0

    if rest.alloc == f"kmem_cache_create {CTOR}":
        assert is_all(CONSTRUCTED, CONSTRUCTED_SIZE), "not constructed"
    its.heap.call("fill", obj.pointer, rest.size, 0x41)
    with change(its.module, **released(obj, rest.waits)):
        its.call(call_of(rest.free), obj)
    if rest.waits:
        byte = POISON if rest.poison else 0x41
        assert is_all(byte), f"it is not all {byte:#x}"
        with change(its.module, double_frees=1):
            its.call(call_of(rest.free), obj)
        assert is_all(byte), "a refused free has changed it"
        its.heap.call("fill", obj.pointer + 8, 1, 0x11)
        with change(its.module, quarantined=-1, use_after_frees=int(rest.poison)):
            write_file(knob_path, "0")
        write_file(knob_path, str(1 << 20))
    if "cache" in its.made:
        its.heap.call("kmem_cache_destroy", its.made.pop("cache"))


def test_sensitive(way: Way) -> None:
    """kvfree_sensitive() leaves nothing to read of either kind, and a refused one no trace."""
    with things(way) as its, policy("use_after_free", "pass"):
        for text, size in (("kvmalloc 300", 300), ("vmalloc 5000", 5000)):
            obj = Object(its.call(call_of(text)).pointer, 0, size, "", "")
            its.heap.call("fill", obj.pointer, size, 0x5a)
            its.release(call_of(f"kvfree_sensitive p {size}"), obj, True)
            assert its.heap.call("differs", obj.pointer, size, 0).pointer == 0, text
    with things(way) as its:
        obj = Object(its.call(call_of("kvmalloc 300")).pointer, 0, 300, "", "")
        its.call(call_of("kvfree p"), obj)
        with change(way.module, double_frees=1):
            its.call(call_of("kvfree_sensitive p 300"), obj)
        assert its.heap.call("differs", obj.pointer, 300, POISON).pointer == 0, \
            "a refused free has written to the object"


def test_kvmalloc(way: Way) -> None:
    """kvrealloc() moves from one kind to the other, and what is in it."""
    with things(way) as its:
        addr = its.heap.call("kvrealloc", 0, 0, 100).pointer
        its.heap.call("fill", addr, 100, 0x5a)
        # Until 6.12 it leaves what does not grow as it was
        size = 50 if kernel_version() >= (6, 12) else 100
        with change(way.module, live_bytes=size - 100):
            assert its.heap.call("kvrealloc", addr, 100, 50).pointer == addr
        with change(way.module, allocated=1, freed=1, live_bytes=LARGE - size, quarantined=1):
            large = its.heap.call("kvrealloc", addr, 100, LARGE).pointer
        assert its.heap.call("differs", large, size, 0x5a).pointer == 0
        record = live(way.module)[0]
        assert (record.address, record.size, record.family) == (large, LARGE, "vmalloc"), record
        with change(way.module, double_frees=1):
            its.heap.call("kvfree", addr)
        its.heap.call("kvfree", large)


# ---- Slab caches ----

def test_same_names(way: Way) -> None:
    """Two caches of one name, as a driver of two devices has them: both are there."""
    with things(way) as its:
        first = its.heap.call("kmem_cache_create", 72).pointer
        second = its.heap.call("kmem_cache_create", 72, 0, 1).pointer
        assert first and second and first != second, f"{first:x} and {second:x}"
        with change(way.module, freed=2, live=-2, live_bytes=-2):
            its.heap.call("kmem_cache_destroy", first)
            its.heap.call("kmem_cache_destroy", second)


def test_given_to_pools(way: Way) -> None:
    """What a pool is made of may be given to it, if it is of its cache, or large enough."""
    with things(way) as its:
        cache, pool = its.number("cache"), its.number("slabpool")
        large = its.heap.call("mempool_create_kmalloc_pool", 1, 300).pointer
        addr = its.heap.call("kmem_cache_alloc", cache).pointer
        with change(way.module, freed=1, live=-1, live_bytes=-200):
            its.heap.call("mempool_free", addr, pool)
        addr = its.heap.call("kmalloc", 300).pointer
        with change(way.module, freed=1, live=-1, live_bytes=-300):
            its.heap.call("mempool_free", addr, large)
        for addr, home in ((its.heap.call("kmem_cache_alloc", its.number("cache2")).pointer, pool),
                           (its.heap.call("kmalloc", 299).pointer, large),
                           (its.heap.call("kmalloc", 300).pointer, pool)):
            with change(way.module, mismatched_frees=1):
                its.heap.call("mempool_free", addr, home)
            its.heap.call("kfree", addr)
        its.heap.call("mempool_destroy", large)


def test_bulk(way: Way) -> None:
    """Several objects at once: each is one, and each is freed by itself."""
    with things(way) as its:
        cache, wrong = its.number("cache"), its.number("cache2")
        with change(way.module, allocated=6, live=6, live_bytes=1200):
            assert its.heap.call("kmem_cache_alloc_bulk", cache, 6).pointer == 6
        objects = [its.heap.call("bulk", i).pointer for i in range(6)]
        places = {record.site.split("+")[0] for record in live(way.module) if record.size == 200}
        assert places == {"op_kmem_cache_alloc_bulk"}, places
        # One twice, one of no cache, and what may go
        with change(way.module, freed=3, live=-3, live_bytes=-600, quarantined=3, double_frees=1):
            its.heap.call("kmem_cache_free_bulk", cache, objects[0], objects[1], objects[0],
                          objects[2], 0)
        with change(way.module, freed=1, live=-1, live_bytes=-200, quarantined=1,
                    mismatched_frees=1):
            its.heap.call("kmem_cache_free_bulk", wrong, objects[3])
        # No cache is any
        with change(way.module, freed=2, live=-2, live_bytes=-400, quarantined=2):
            its.heap.call("kmem_cache_free_bulk", 0, *objects[4:])


def active(way: Way, number: int) -> int:
    """How many objects of the module's cache are in use, by the kernel's own account."""
    text = read_file(f"/sys/kernel/slab/{way.module}_{number}/objects")
    return int(text.split()[0])


def test_cache_destroy(way: Way) -> None:
    """What waits of a cache, of whichever module, or for RCU, goes before it."""
    other = DROPIN if way is API else API
    with things(way) as its, ops(other.module) as world:
        done = its.heap.call("kmem_cache_create", 200)
        cache = done.pointer
        objects = [its.heap.call("kmem_cache_alloc", cache).pointer for _ in range(40)]
        theirs = [world.call("kmem_cache_alloc", cache).pointer for _ in range(10)]
        kept = its.heap.call("kmem_cache_alloc", its.number("cache")).pointer
        for addr in objects[:30]:
            its.heap.call("kmem_cache_free", addr, cache)
        for addr in theirs:
            world.call("kfree", addr)
        its.heap.call("kmem_cache_free", kept, its.number("cache"))
        wait_for(lambda: stats(way.module)["quarantined"] == 31, "31 to wait")
        its.heap.call("kmem_cache_shrink", cache)
        assert active(way, done.usable) >= 50, "they were given back"
        for addr in objects[30:]:
            its.heap.call("kfree_rcu", addr)
        its.heap.call("kmem_cache_destroy", cache)
        assert stats(way.module)["quarantined"] == 1, "another cache's object waits on"
        assert stats(other.module)["quarantined"] == 0
        assert "destroyed with" not in case_log()
        with change(way.module, double_frees=1):
            its.heap.call("kmem_cache_free", kept, its.number("cache"))


def test_cache_live(way: Way) -> None:
    """A cache with live objects: their places are told before the kernel says its word."""
    if os.path.exists("/proc/lockdep_stats"):
        raise Skip("the kernel's word would turn lockdep off for good")
    with things(way) as its, quiet_console():
        cache = its.heap.call("kmem_cache_create", 200).pointer
        objects = [its.heap.call("kmem_cache_alloc", cache).pointer for _ in range(3)]
        objects.append(its.heap.call("kmem_cache_zalloc", cache).pointer)
        its.heap.call("kmem_cache_free", its.heap.call("kmem_cache_alloc", cache).pointer, cache)
        with change(way.module, freed=1, live=-1, live_bytes=-1, quarantined=-1):
            its.heap.call("kmem_cache_destroy", cache)
        log = case_log()
        # The kernel's own words are no failure of this case
        ksft_mown.CASE_MARK[:] = [dmesg_mark()]
        told = re.search(rf"mown: {way.module}: .* is destroyed with 4 objects \(800 bytes\) live",
                         log)
        places = [re.search(rf"mown: {count} {200 * count} slab op_{function}\+", log)
                  for count, function in ((3, "kmem_cache_alloc"), (1, "kmem_cache_zalloc"))]
        kernel = re.search(r"still has objects|Objects remaining", log)
        assert told and all(places) and kernel, log
        assert told.start() < min(place.start() for place in places if place) < kernel.start(), log
        # The kernel keeps such a cache, so they can be freed still
        for addr in objects:
            its.heap.call("kfree", addr)


def test_mempool_own(way: Way) -> None:
    """A pool with functions of the module's own: its memory is what these say it is."""
    with things(way) as its:
        for create in ("mempool_create", "mempool_create_node"):
            # Two are in reserve
            before = stats(way.module)["live"]
            pool = its.heap.call(create, 2, 300).pointer
            assert stats(way.module)["live"] == before + 3, live(way.module)
            elements = [its.heap.call("mempool_alloc", pool).pointer for _ in range(3)]
            assert stats(way.module)["live"] == before + 6, live(way.module)
            for element in elements:
                its.heap.call("mempool_free", element, pool)
            size = [record.size for record in live(way.module) if record.address == pool][0]
            with change(way.module, freed=3, live=-3, quarantined=2, live_bytes=-size - 2 * 300):
                its.heap.call("mempool_destroy", pool)
            assert not violations(), violations()


def test_page_element(way: Way) -> None:
    """An element that is a page is nothing that kfree() could take."""
    with things(way) as its:
        obj = its.alloc(call_of("mempool_alloc pagepool"), 1, "element")
        refused(its, obj, call_of("kfree p"))
        its.release(call_of("mempool_free p pagepool"), obj)


class Again(NamedTuple):
    """A pool that goes while what it gave is out, and one that gets its address."""

    pool: Call
    alloc: str
    size: int
    family: str
    other: Call

    @property
    def destroy(self) -> str:
        """What destroys either."""
        return "dma_pool_destroy" if self.family == "dma_block" else "mempool_destroy"

    def free(self, pool: int) -> Call:
        """The object goes to POOL."""
        return Call("dma_pool_free", (pool, "p", "h")) if self.family == "dma_block" else \
            Call("mempool_free", ("p", pool))

    def forget(self, heap: Ops, obj: Object) -> None:
        """The object goes as what it is, or, of a DMA pool that the kernel has lost, for good."""
        if self.family == "dma_block":
            heap.call("disown", obj.pointer)
            return
        with ops(WORLD) as world:
            like = world.call(self.pool.function, *map(int, self.pool.args)).pointer
            world.call("mempool_free", obj.pointer, like)
            world.call("mempool_destroy", like)


AGAIN = (
    Again(call_of("dma_pool_create 0 16"), "dma_pool_alloc", BLOCK, "dma_block",
          call_of("dma_pool_create 0 512")),
    Again(call_of("mempool_create_kmalloc_pool 2 300"), "mempool_alloc", 300, "element",
          call_of("mempool_create_slab_pool 2 cache")),
    Again(call_of("mempool_create_page_pool 2 0"), "mempool_alloc", 1, "element",
          call_of("mempool_create_kmalloc_pool 2 300")),
)


@contextlib.contextmanager
def one_cpu() -> Iterator[None]:
    """What is freed is given out again soon: to the same CPU, and by a plain allocator."""
    if kernel_has("kasan_report"):
        raise Skip("no address comes again soon: KASAN keeps what is freed")
    cpus = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(cpus)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, cpus)


def pool_again(again: Again, its: Things, other: Things) -> tuple[Object, int]:
    """What a pool of ITS gave that has gone, and a pool of OTHER's at its address."""
    # Whatever else is allocated may get that
    for arg in again.other.args:
        other.number(arg)
    for _ in range(100):
        pool = its.call(again.pool).pointer
        obj = its.alloc(Call(again.alloc, (pool,)), again.size, again.family)
        its.heap.call(again.destroy, pool)
        there = other.call(again.other).pointer
        if there == pool:
            return obj, pool
        other.heap.call(again.destroy, there)
        again.forget(its.heap, obj)
    assert kernel_version() >= (6, 18), f"{again.pool}: no address came again"
    raise Skip("the allocator did not give out the address again")


def test_pool_again(way: Way) -> None:
    """What a pool gave that has gone is not taken by another one at its address."""
    with one_cpu(), things(way) as its:
        for again in AGAIN:
            obj, pool = pool_again(again, its, its)
            try:
                refused(its, obj, again.free(pool))
                # Which takes its own
                done = its.heap.call(again.alloc, pool)
                with change(way.module, freed=1, live=-1, live_bytes=-its.size(done.pointer)):
                    its.call(again.free(pool), Object(*done[:2], 0, "", ""))
            except AssertionError as error:
                raise AssertionError(f"{again.pool}: {error}") from error
            again.forget(its.heap, obj)
            its.heap.call(again.destroy, pool)


def test_pool_offered(way: Way) -> None:
    """What a pool that is full is offered in bulk it does not take: it is to be freed yet."""
    if not kernel_has("mempool_free_bulk"):
        raise Skip("no mempool_free_bulk()")
    with things(way) as its:
        for create in ("pool", "slabpool", "pagepool"):
            pool = its.number(create)
            elements = [its.heap.call("mempool_alloc", pool).pointer for _ in range(3)]
            with change(way.module, live=-3, released_elsewhere=3, untracked=3,
                        live_bytes=-sum(its.size(element) for element in elements)):
                assert its.heap.call("mempool_free_bulk", pool, *elements).pointer == 0
            with change(way.module, untracked_freed=3):
                for element in elements:
                    its.heap.call("mempool_free", element, pool)
    assert not violations(), violations()


def test_pool_disowned(way: Way) -> None:
    """A pool that is not recorded any more takes what it gave while it was."""
    with things(way) as its, ops(WORLD) as world:
        for again in AGAIN:
            pool = its.call(again.pool).pointer
            obj = its.alloc(Call(again.alloc, (pool,)), again.size, again.family)
            its.heap.call("disown", pool)
            its.release(again.free(pool), obj)
            world.call(again.destroy, pool)
        assert not violations(), violations()


# What somebody else may free; a device's own memory is not among it, for want of the device.
ELSEWHERE = (
    row("vmalloc 5000", 5000, "vmalloc", "vfree p", True),
    row("kmem_cache_alloc cache", 200, "slab", "kmem_cache_free p cache", True),
    row("alloc_pages 1", 2 * PAGE, "pages", "free_pages p 1"),
    row("mempool_alloc pool", 300, "element", "mempool_free p pool"),
    row("__alloc_percpu 64", 64, "percpu", "free_percpu p"),
    row("dma_pool_alloc dpool", BLOCK, "dma_block", "dma_pool_free dpool p h"),
)
ONE_FREE = "cannot be refused; it had not been given back, so this is its one free"


def test_elsewhere(way: Way) -> None:
    """What somebody else frees is not the module's any more; of what waits it is the one free."""
    with things(way) as its, ops(WORLD) as world:
        for entry in ELSEWHERE:
            function, args = entry.free
            try:
                obj = its.alloc(entry.alloc, entry.size, entry.family)
                with change(way.module, released_elsewhere=1, live=-1, live_bytes=-entry.size):
                    world.call(function, *(its.number(arg, obj) for arg in args))
                assert not its.record(obj), f"{obj} is live"
                if not entry.waits:
                    continue
                obj = its.alloc(entry.alloc, entry.size, entry.family)
                its.release(entry.free, obj, True)
                with reported(way.module, "double_frees",
                              f": {entry.size} bytes, {entry.family}, of {way.module}\n",
                              f"\nfirst freed at op_{function}+", f"\n{ONE_FREE}\n"), \
                        change(way.module, double_frees=1, quarantined=-1):
                    world.call(function, *(its.number(arg, obj) for arg in args))
            except AssertionError as error:
                raise AssertionError(f"{entry.alloc}, {entry.free}: {error}") from error


# ---- Pages ----

def test_pages_held(way: Way) -> None:
    """Pages that somebody else holds are freed as often as they are held."""
    with things(way) as its, refuses_unknown(way):
        heap = its.heap
        # Whoever comes last frees
        page = heap.call("get_zeroed_page").pointer
        heap.call("get_page", page)
        with change(way.module, freed=1, live=-1, live_bytes=-PAGE):
            heap.call("free_page", page)
        assert heap.call("page_count", page).pointer == 1
        with change(way.module):
            heap.call("free_page", page)
        with change(way.module, unknown_frees=1):
            heap.call("free_page", page)
        # Held, and let go by the holder
        page = heap.call("alloc_page").pointer
        heap.call("get_page", page)
        with change(way.module, freed=1, live=-1, live_bytes=-PAGE):
            heap.call("__free_page", page)
        with change(way.module):
            heap.call("put_page", page)
        with change(way.module, unknown_frees=1):
            heap.call("__free_page", page)
        # Whoever has not allocated it lets it go at last
        page = heap.call("alloc_page").pointer
        with change(way.module, released_elsewhere=1, live=-1, live_bytes=-PAGE):
            heap.call("put_page", page)
        # Of a block that is held all but the first page goes at once
        page = heap.call("alloc_pages", 2).pointer
        heap.call("get_page", page)
        with change(way.module, freed=1, live=-1, live_bytes=-4 * PAGE):
            heap.call("free_pages", page, 2)
        assert heap.call("page_count", page).pointer == 1
        with change(way.module):
            heap.call("put_page", page)


def test_pages_split(way: Way) -> None:
    """Of a block that is split, and of an exact one, each page is one by itself."""
    with things(way) as its:
        heap = its.heap
        block = heap.call("alloc_pages", 2).pointer
        with change(way.module, allocated=3, live=3):
            heap.call("split_page", block, 2)
        records = sorted((record.address, record.size, record.family, record.site.split("+")[0])
                         for record in live(way.module))
        assert records == [(block + i * PAGE, PAGE, "pages", "op_alloc_pages")
                           for i in range(4)], records
        obj = Object(block, 0, PAGE, "pages", "op_alloc_pages")
        refused(its, obj, call_of("free_pages p 2"))
        for i, function in ((2, "free_page"), (0, "__free_page"), (3, "free_page"),
                            (1, "__free_page")):
            with change(way.module, freed=1, live=-1, live_bytes=-PAGE):
                heap.call(function, block + i * PAGE)
        with change(way.module, allocated=3, live=3, live_bytes=3 * PAGE):
            block = heap.call("alloc_pages_exact", 3 * PAGE - 100).pointer
        with change(way.module, freed=1, live=-1, live_bytes=-PAGE):
            heap.call("free_page", block + PAGE)
        for i in (0, 2):
            heap.call("free_page", block + i * PAGE)
        block = heap.call("alloc_pages_exact", 3 * PAGE - 100).pointer
        with change(way.module, freed=3, live=-3, live_bytes=-3 * PAGE):
            heap.call("free_pages_exact", block, 3 * PAGE - 100)
        assert not [text for text in violations() if "unknown" in text], violations()


# ---- Devices ----

def release_order(its: Things, device: int, objects: dict[str, int]) -> list[str]:
    """What a detach releases, in order: the names of objects, and the numbers of actions."""
    nr = its.heap.call("unbind_logged", device).pointer
    order = []
    for i in range(nr):
        entry = its.heap.call("log", i).pointer
        if entry < 4096:
            order.append(str(entry))
        # The kernel's block begins before the memory that the module has, and what
        # is free may be used again before the detach is done
        order += [name for name, addr in objects.items()
                  if addr - 128 <= entry <= addr and name not in order]
    return order


def test_devres_order(way: Way) -> None:
    """A detach frees newest first, in order with what the device has of others."""
    with things(way) as its, knob("quarantine_bytes", 0):
        heap = its.heap
        objects = {}

        def add(name: str, *call: Union[str, int]) -> None:
            objects[name] = heap.call(str(call[0]), 0, *map(int, call[1:])).pointer

        add("a", "devm_kmalloc", 300)
        add("b", "devm_kstrdup", 300)
        heap.call("devm_add_action", 0, 1)
        add("c", "devm_kmalloc", 300)
        heap.call("devm_add_action", 0, 2)
        heap.call("devm_add_action", 0, 3)
        add("d", "devm_kcalloc", 3, 100)
        add("e", "devm_kmalloc", 300)
        add("gone", "devm_kmalloc", 300)
        heap.call("devm_kfree", 0, objects.pop("gone"))
        # What moves stays where it is in the order
        objects["a"] = heap.call("devm_krealloc", 0, objects["a"], 3000).pointer
        heap.call("devm_remove_action", 0, 2)
        add("f", "devm_kmalloc", 300)
        heap.call("devm_add_action", 0, 4)
        assert stats(way.module)["live"] == 6
        size = sum(record.size for record in live(way.module))
        with change(way.module, freed=6, live=-6, live_bytes=-size):
            order = release_order(its, 0, objects)
        assert order == ["4", "f", "e", "d", "3", "c", "1", "b", "a"], order
        with refuses_unknown(way), change(way.module, unknown_frees=1):
            heap.call("devm_kfree", 0, objects["a"])
        # And again
        assert heap.call("bind", 0).pointer == 1
        objects = {}
        for name in "abc":
            add(name, "devm_kmalloc", 300)
        assert release_order(its, 0, objects) == ["c", "b", "a"]
        assert heap.call("bind", 0).pointer == 1


def test_devm_by_hand(way: Way) -> None:
    """In the middle of many, and all of them in any order; the detach finds none."""
    with things(way) as its:
        heap = its.heap
        objects = []
        for i in range(60):
            objects.append(heap.call("devm_kmalloc", 0, 100).pointer)
            if i % 7 == 0:
                heap.call("devm_add_action", 0, i + 1)
        for step in (7, 3, 1):
            for addr in objects[::step]:
                heap.call("devm_kfree", 0, addr)
            objects = [addr for i, addr in enumerate(objects) if i % step]
        assert not live(way.module)
        order = release_order(its, 0, {})
        actions = [i for i in order if int(i) < 4096]
        assert actions == [str(i + 1) for i in range(56, -1, -7)], actions
        assert heap.call("bind", 0).pointer == 1
        # Size 0 frees, and NULL allocates
        addr = heap.call("devm_krealloc", 0, 0, 100).pointer
        with change(way.module, live_bytes=-50):
            assert heap.call("devm_krealloc", 0, addr, 50).pointer == addr
        with change(way.module, mismatched_frees=1):
            assert heap.call("devm_krealloc", 1, addr, 500).pointer == 0
        with change(way.module, freed=1, live=-1, live_bytes=-50, quarantined=1):
            assert heap.call("devm_krealloc", 0, addr, 0).pointer == ZERO_SIZE_PTR
        with change(way.module, double_frees=1):
            assert heap.call("devm_krealloc", 0, addr, 500).pointer == 0


def test_dma_deferred(way: Way) -> None:
    """Memory of a device whose probe was put off does not keep that from its driver."""
    with things(way) as its:
        heap = its.heap
        assert heap.call("link", 0, 1).pointer == 0
        heap.call("unbind", 1)
        assert heap.call("bind", 0).pointer != 1, "it was probed without its supplier"
        done = heap.call("dma_alloc_coherent", 0, PAGE)
        assert done.pointer
        assert heap.call("bind", 1).pointer == 1
        assert heap.call("bind", 0).pointer == 1, "the device has something at its probe"
        heap.call("dma_free_coherent", 0, PAGE, done.pointer, done.usable)


def test_devm_unknown(way: Way) -> None:
    """What the kernel's own devm_kmalloc() gave is the drop-in's to free, not the API's."""
    with things(way) as its:
        addr = its.heap.call("raw_devm_kmalloc", 0, 100).pointer
        if way.refuses_unknown:
            with change(way.module, unknown_frees=1):
                its.heap.call("devm_kfree", 0, addr)
            its.heap.call("raw_devm_kfree", 0, addr)
        else:
            with change(way.module, unknown_passed=1):
                its.heap.call("devm_kfree", 0, addr)


def test_devm_race(way: Way) -> None:
    """A device that goes while its memory is freed by hand: each block is freed once."""
    rounds, blocks = 150, 32
    # Of what has gone back there is nothing to be known, so that must be refused
    with things(way) as its, policy("unknown_free", "warn"), quiet_console():
        for quarantine in ("0", "1048576"):
            write_file(f"{SYSFS}/modules/{way.module}/quarantine_bytes", quarantine)
            before = stats(way.module)
            assert its.heap.call("devm_race", 0, blocks, rounds).pointer == rounds * blocks
            after = {name: value - before[name] for name, value in stats(way.module).items()}
            assert after["allocated"] == after["freed"] == rounds * blocks, after
            assert after["live"] == after["stale"] == after["released_elsewhere"] == 0, after
            late = after["double_frees"] + after["unknown_frees"]
            assert late <= rounds * blocks, after
            assert not after["unknown_passed"], after
            ksft_mown.Ktap.note(f"{late} of {rounds * blocks} blocks came too late to be freed "
                                "by hand")


def test_devm_unload(way: Way) -> None:
    """What is live of a device's memory goes with the device, not behind."""
    with ops(way.module) as heap:
        for _ in range(20):
            heap.call("devm_kmalloc", 0, 100)
            heap.call("devm_kmalloc", 1, 100)
    block = exits(way.module)[-1]
    assert (block.allocated, block.freed, block.left, block.elsewhere) == (40, 40, 0, 0), block


def test_dma_attrs(way: Way) -> None:
    """Memory that no CPU sees is not recorded, and goes as it came."""
    no_mapping = 1 << 4
    with things(way) as its, change(way.module):
        done = its.heap.call("dma_alloc_attrs", 0, PAGE, no_mapping)
        assert done.pointer
        its.heap.call("dma_free_attrs", 0, PAGE, done.pointer, done.usable, no_mapping)


# ---- Contexts ----

IN_INTERRUPTS = (
    ("kmem_cache_alloc cache", 200, "slab", "kmem_cache_free p cache", True),
    ("kvmalloc 100", 100, "kmalloc", "kvfree p", True),
    ("alloc_pages 1", 2 * PAGE, "pages", "free_pages p 1", False),
    ("__alloc_percpu_gfp 64", 64, "percpu", "free_percpu p", False),
    ("mempool_alloc pool", 300, "element", "mempool_free p pool", False),
    ("dma_pool_alloc dpool", BLOCK, "dma_block", "dma_pool_free dpool p h", False),
    ("devm_kmalloc 0 150", 150, "devm", "devm_kfree 0 p", True),
)


def test_interrupts(way: Way) -> None:
    """What may be allocated and freed in interrupts is recorded there, and wrong frees refused."""
    with things(way) as its:
        for context in ("softirq", "hardirq"):
            for entry in map(lambda args: row(*args), IN_INTERRUPTS):
                try:
                    obj = its.alloc(entry.alloc, entry.size, entry.family, context)
                    if entry.family not in PLAIN_MEMORY:
                        with mismatched(its, obj, "vfree", REFUSED):
                            its.heap.call("vfree", obj.pointer, context=context)
                    its.release(entry.free, obj, entry.waits, context)
                except AssertionError as error:
                    raise AssertionError(f"{entry} in {context}: {error}") from error


def vmallocs(way: Way) -> int:
    """How many areas of vmalloc() the module has, by the kernel's own account."""
    text = read_file("/proc/vmallocinfo")
    return len(re.findall(rf"op_(?:k?vmalloc|vmalloc_user)\S* \[{way.module}\]", text))


def test_vfree(way: Way) -> None:
    """vfree() in an interrupt is put off, and whatever is done, the memory goes back once."""
    with things(way) as its:
        # What modules have left that had their text where this one has it
        others = vmallocs(way)
        for quarantine in (0, 1 << 20):
            with knob("quarantine_bytes", quarantine):
                for context in ("task", "softirq", "hardirq"):
                    for free in ("vfree", "kvfree"):
                        obj = its.alloc(call_of("vmalloc 5000"), 5000, "vmalloc", "task")
                        its.release(call_of(f"{free} p"), obj, bool(quarantine), context)
                        if quarantine:
                            with change(way.module, double_frees=1):
                                its.heap.call("vfree", obj.pointer, context=context)
                            assert vmallocs(way) > others, "given back, though it waits"
                        else:
                            wait_for(lambda: vmallocs(way) == others, "it to be given back")
                    # A wrong one in an interrupt goes by the right way
                    obj = its.alloc(call_of("vmalloc 5000"), 5000, "vmalloc", "task")
                    with mismatched(its, obj, "kfree", RESCUED):
                        its.heap.call("kfree", obj.pointer, context=context)
            wait_for(lambda: stats(way.module)["quarantined"] == 0 or quarantine, "an end")
        write_file(f"{SYSFS}/modules/{way.module}/quarantine_bytes", "0")
        wait_for(lambda: vmallocs(way) == others, "all to be given back")


# ---- The end, and failure ----

def test_left_behind(way: Way) -> None:
    """What is left of every family is reclaimed: objects before what they belong to."""
    # The devices are gone then: theirs is freed by them, or cannot be given back any more
    gone = {"devm", "dma", "dma_pool"}
    with policy("left_behind", "reclaim"):
        with ops(way.module) as heap:
            its = Things(way, heap)
            for family in KINDS:
                for _ in range(3):
                    an_object(its, family)
            before = live(way.module)
    block = exits(way.module)[-1]
    stays = [record for record in before if record.family != "devm"]
    assert block.left == len(stays), (block, stays)
    want = [record for record in stays if record.family not in gone]
    assert block.reclaimed == len(want), block
    families = {entry.family for entry in block.sites}
    assert families == set(KINDS) - {"devm"}, families


def test_interior_of_page(way: Way) -> None:
    """All of a page is of the one small object of vmalloc() that the module has."""
    with ops(way.module) as heap:
        addr = heap.call("vmalloc", 100).pointer
        for offset in (16, 512, 4000):
            with reported(way.module, "interior_frees", "BUG: mown: interior-free in op_vfree",
                          f"freed pointer {offset} bytes inside",
                          "refused; the object stays allocated"):
                heap.call("vfree", addr + offset)
        heap.call("vfree", addr)


def test_left_pools(way: Way) -> None:
    """What may have gone, or goes as something else, does not go with its pool."""
    # The two in reserve go as what they are, and the pool would free them again
    for create, numbers, allocs, left, reclaimed in (("mempool_create_half", (2, 300), 0, 3, 2),
                                                     ("mempool_create", (2, 300), 0, 3, 2),
                                                     ("mempool_create_page_pool", (2, 0), 3, 4, 1)):
        with policy("left_behind", "reclaim"), ops(way.module) as heap:
            pool = heap.call(create, *numbers).pointer
            for _ in range(allocs):
                heap.call("mempool_alloc", pool)
        block = exits(way.module)[-1]
        assert (block.left, block.reclaimed) == (left, reclaimed), f"{create}: {block}"


def test_left_pool_again(way: Way) -> None:
    """What is left of a pool that has gone is not given to another module's at its address."""
    other = DROPIN if way is API else API
    with one_cpu(), policy("left_behind", "reclaim"), things(other) as its:
        for again in AGAIN[:2]:
            with ops(way.module) as heap:
                obj, pool = pool_again(again, Things(way, heap), its)
            block = exits(way.module)[-1]
            assert (block.left, block.reclaimed) == (1, 0), f"{again.pool}: {block}"
            assert obj.pointer in [record.address for record in live()], f"{again.pool}: gone"
            again.forget(its.heap, obj)
            block = exits(way.module)[-1]
            assert (block.left, block.late) == (0, 1), f"{again.pool}: {block}"
            its.heap.call(again.destroy, pool)


def test_left_foreign_pool(way: Way) -> None:
    """Nor to another module's that gave it, who may destroy that at any time."""
    other = DROPIN if way is API else API
    with policy("left_behind", "reclaim"), things(other) as its:
        for pool, alloc in (("pool", "mempool_alloc"), ("dpool", "dma_pool_alloc")):
            with ops(way.module) as heap:
                done = heap.call(alloc, its.number(pool))
            block = exits(way.module)[-1]
            assert (block.left, block.reclaimed) == (1, 0), f"{pool}: {block}"
            free = "mempool_free p pool" if pool == "pool" else "dma_pool_free dpool p h"
            its.call(call_of(free), Object(*done[:2], 0, "", ""))
            block = exits(way.module)[-1]
            assert (block.left, block.late) == (0, 1), f"{pool}: {block}"


def test_left_offered(way: Way) -> None:
    """What a pool was offered in bulk may need it yet: it stays, and its cache does."""
    if not kernel_has("mempool_free_bulk"):
        raise Skip("no mempool_free_bulk()")
    with policy("left_behind", "reclaim"), ops(WORLD) as world:
        with ops(way.module) as heap:
            cache = heap.call("kmem_cache_create", 72).pointer
            pool = heap.call("mempool_create_slab_pool", 2, cache).pointer
            element = heap.call("mempool_alloc", pool).pointer
            assert heap.call("mempool_free_bulk", pool, element).pointer == 0
        block = exits(way.module)[-1]
        assert (block.left, block.reclaimed) == (2, 0), block
        world.call("mempool_free", element, pool)
        world.call("mempool_destroy", pool)
        world.call("kmem_cache_destroy", cache)
        block = exits(way.module)[-1]
        assert (block.left, block.late) == (0, 2), block


def test_fail_nth(way: Way) -> None:
    """fail_nth fails any function that may fail, and what it had got goes back."""
    with things(way) as its:
        for text in ("vmalloc 5000", "kvmalloc 100", f"kvmalloc {LARGE}", "alloc_pages 1",
                     "get_zeroed_page", "kmem_cache_alloc cache", "kmem_cache_create 72",
                     "mempool_create_kmalloc_pool 2 300", "mempool_create_slab_pool 2 cache",
                     "mempool_alloc_nowait pool", "__alloc_percpu 64",
                     "dma_alloc_coherent 0 8192", "dma_pool_create 0 64", "dma_pool_alloc dpool",
                     "devm_kmalloc 0 150", "devm_kasprintf 0 100", "devm_kstrdup 0 10"):
            call = call_of(text)
            for arg in call.args:
                its.number(arg)
            write_file(f"{SYSFS}/modules/{way.module}/fail_nth", "1")
            with change(way.module, failed=1):
                done = its.call(call)
            assert done.pointer == 0, f"{text}: {done}"
        for text in ("mempool_alloc pool", "kmem_cache_alloc_bulk cache 4",
                     "alloc_pages_exact 8192"):
            call = call_of(text)
            write_file(f"{SYSFS}/modules/{way.module}/fail_nth", "1")
            done = its.call(call)
            assert done.pointer, f"{text}: {done}"
            write_file(f"{SYSFS}/modules/{way.module}/fail_nth", "0")
            if text.startswith("kmem"):
                its.heap.call("kmem_cache_free_bulk", its.number("cache"),
                              *(its.heap.call("bulk", i).pointer for i in range(4)))
            elif text.startswith("mempool"):
                its.heap.call("mempool_free", done.pointer, its.number("pool"))
            else:
                its.heap.call("free_pages_exact", done.pointer, 8192)


# ---- Bad input ----

NOTHING = (
    # vmalloc(0) is not here: the kernel warns of it
    ("kvmalloc 0", ZERO_SIZE_PTR), ("kvcalloc 0 8", ZERO_SIZE_PTR), ("kvmalloc_array 8 0",
                                                                     ZERO_SIZE_PTR),
    (f"kvmalloc {SIZE_MAX}", 0), (f"kvmalloc {1 << 40}", 0), (f"kvcalloc {1 << 61} 8", 0),
    (f"__vmalloc {SIZE_MAX}", 0), (f"__vmalloc {1 << 40}", 0), (f"__vmalloc_array {1 << 61} 8", 0),
    (f"vmalloc_array {1 << 61} 8", 0), (f"vcalloc {1 << 61} 16", 0),
    ("alloc_pages 11", 0), ("alloc_pages 60", 0), ("alloc_pages 4294967295", 0),
    ("__get_free_pages 11", 0), ("__get_free_pages 64", 0), ("alloc_pages_node 63", 0),
    ("alloc_pages_exact 0", 0), (f"alloc_pages_exact {1 << 40}", 0),
    ("__alloc_percpu_gfp 0", 0), (f"__alloc_percpu_gfp {1 << 30}", 0),
    ("dma_alloc_coherent 0 0", 0), (f"dma_alloc_coherent 0 {1 << 40}", 0),
    ("dma_pool_create 0 0", 0), ("devm_kmalloc 0 0", ZERO_SIZE_PTR),
    ("devm_kcalloc 0 0 8", ZERO_SIZE_PTR), (f"devm_kmalloc 0 {SIZE_MAX}", 0),
    (f"devm_kcalloc 0 {1 << 61} 8", 0), ("devm_krealloc 0 0 0", ZERO_SIZE_PTR),
    ("vmemdup_user 8 100", (1 << 64) - 14), ("strndup_user 8 100", (1 << 64) - 14),
)


def test_no_memory(way: Way) -> None:
    """Size 0, sizes and orders too large: the kernel's answer, and nothing is recorded."""
    with things(way) as its, change(way.module):
        for text, pointer in NOTHING:
            done = its.call(call_of(text))
            assert done.pointer == pointer, f"{text} gave {done.pointer:#x}, not {pointer:#x}"
        assert not live(way.module)


# Each function that frees; the last of them do not take NULL.
EVERY_FREE = ("kfree p", "kfree_sensitive p", "kvfree p", "bitmap_free p", "vfree p",
              "kfree_bulk p", "kfree_rcu p", "kfree_rcu_headless p", "free_percpu p",
              "mempool_destroy p", "mempool_free p pool", "kmem_cache_destroy p",
              "dma_pool_destroy p", "dma_free_coherent 0 4096 p 0", "free_pages p 0",
              "free_pages_exact p 4096", "kvfree_sensitive p 100", "devm_kfree 0 p",
              "dma_free_wc 0 4096 p 0", "kmem_cache_free_bulk cache p",
              "kmem_cache_free p cache", "__free_pages p 0", "dma_pool_free dpool p 0")
NO_NULL = 3


def test_null(way: Way) -> None:
    """NULL is nothing to whatever takes it."""
    with things(way) as its:
        for arg in ("pool", "cache"):
            its.number(arg)
        null = Object(0, 0, 0, "", "")
        with change(way.module):
            for text in EVERY_FREE[:-NO_NULL]:
                its.call(call_of(text), null)
            for text in ("kfree p", "kvfree p", "kfree_bulk p", "devm_kfree 0 p"):
                its.call(call_of(text), null._replace(pointer=ZERO_SIZE_PTR))
        assert not [text for text in violations() if "unknown" in text], violations()


def test_err_ptr(way: Way) -> None:
    """An error that is freed is refused by each function, whatever the policy."""
    with things(way) as its:
        for arg in ("pool", "cache", "dpool"):
            its.number(arg)
        for word in ("auto", "pass"):
            with policy("unknown_free", word):
                for text in EVERY_FREE:
                    call = call_of(text)
                    obj = Object(ERR_PTR, 0, 0, "", "")
                    try:
                        with reported(way.module, "unknown_frees",
                                      f"BUG: mown: unknown-free in op_{call.function}+",
                                      "\nrefused; nothing was freed\n"), \
                                change(way.module, unknown_frees=1):
                            its.call(call, obj)
                    except AssertionError as error:
                        raise AssertionError(f"{text}, {word}: {error}") from error
        with change(way.module, unknown_frees=2):
            assert its.heap.call("krealloc", ERR_PTR, 100).pointer == 0
            assert its.heap.call("devm_krealloc", 0, ERR_PTR, 100).pointer == 0


BOTH: tuple[tuple[str, Callable[[Way], None]], ...] = (
    ("every function", test_functions),
    ("the sites of every function", test_sites),
    ("zeroed and copied memory", test_zeroed),
    ("a wrong cache, pool, device, size or order", test_wrong),
    ("what belongs to another module", test_foreign_things),
    ("a second free", test_second_free),
    ("what waits, and is poisoned", test_quarantine),
    ("kvfree_sensitive", test_sensitive),
    ("kvmalloc of both kinds", test_kvmalloc),
    ("two caches of one name", test_same_names),
    ("what is given to pools", test_given_to_pools),
    ("several slab objects at once", test_bulk),
    ("a cache goes after what waits of it", test_cache_destroy),
    ("a cache goes with live objects", test_cache_live),
    ("a memory pool of the module's own", test_mempool_own),
    ("an element that is a page", test_page_element),
    ("a pool at the address of one that has gone", test_pool_again),
    ("what a pool is offered in bulk", test_pool_offered),
    ("a pool that is not recorded any more", test_pool_disowned),
    ("what somebody else frees", test_elsewhere),
    ("pages that others hold", test_pages_held),
    ("pages that are split, and exact ones", test_pages_split),
    ("the order of a detach", test_devres_order),
    ("devm_kfree in any order, devm_krealloc", test_devm_by_hand),
    ("memory of a device whose probe was put off", test_dma_deferred),
    ("devm memory that is not recorded", test_devm_unknown),
    ("a device that goes while its memory is freed", test_devm_race),
    ("devm memory and unload", test_devm_unload),
    ("dma memory without a mapping", test_dma_attrs),
    ("interrupts", test_interrupts),
    ("vfree in interrupts", test_vfree),
    ("what is left behind of every family", test_left_behind),
    ("an interior free of a page of vmalloc()", test_interior_of_page),
    ("what is left behind of pools", test_left_pools),
    ("what is left behind of a pool that has gone", test_left_pool_again),
    ("what is left behind of another module's pool", test_left_foreign_pool),
    ("what is left behind of what a pool was offered in bulk", test_left_offered),
    ("fail_nth", test_fail_nth),
    ("no memory, nothing recorded", test_no_memory),
    ("NULL is nothing", test_null),
    ("errors are no memory", test_err_ptr),
)

CASES: list[tuple[str, Callable[[], None]]] = []
for way_in in (API, DROPIN):
    CASES += [(f"{way_in.label}: {title}", functools.partial(func, way_in))
              for title, func in BOTH]
    CASES += [(f"{way_in.label}: {kin} by {function}: {verdict(kin, function)}",
               functools.partial(test_cell, way_in, kin, function))
              for kin in KINDS for function in RELEASES]
    CASES.append((f"{way_in.label}: nothing is left", functools.partial(test_table_end, way_in)))

if __name__ == "__main__":
    run_cases(CASES)
