#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Writes behind an object's end: found when it is freed or resized, where policy/overflow asks."""
import contextlib
import ctypes
from typing import ContextManager, Iterator

from ksft_mown import (SYSFS, Ops, Skip, attach, exits, kernel_has, live, need_attach, ops, policy,
                       reported, run_cases, stats, violations, write_file)

API, DROPIN, PLAIN = "mown_test_ops", "mown_dropin_ops", "mown_plain_ops"
# What fills size classes, what leaves a byte of them, and what is larger than all
SIZES = (1, 8, 57, 60, 63, 64, 100, 128, 1000, 1024, 8000, 8192, 10000, 65536)
TEXT = ctypes.create_string_buffer(b"m" * 8192)


def alloc(heap: Ops, size: int, function: str = "kmalloc") -> int:
    """An object of SIZE bytes."""
    pointer = heap.call(function, size).pointer
    assert pointer, f"no {size} bytes"
    return pointer


def found(module: str, *lines: str) -> ContextManager[None]:
    """One overflow is found, and there is a report with the LINES."""
    return reported(module, "overflows", *lines)


@contextlib.contextmanager
def nothing_found(module: str) -> Iterator[None]:
    """Nothing is reported, and no redzone was broken."""
    before, counts = violations(), stats(module)
    yield
    for name in ("overflows", "redzones_lost", "double_frees", "stale", "unknown_frees"):
        assert stats(module)[name] == counts[name], f"{name}: {stats(module)}"
    assert violations() == before


def need_redzones() -> None:
    """Skip where there are none."""
    if kernel_has("kasan_report"):
        raise Skip("KASAN guards what is behind an object")


def off() -> None:
    """Off by default, and by pass: who writes up to the end of the memory is not told of."""
    with ops(API) as heap, nothing_found(API):
        for words in ("auto", "pass"):
            with policy("overflow", words):
                addr = alloc(heap, 100)
                assert heap.call("ksize", addr).pointer == 128
                heap.call("fill", addr, 128, 1)
                assert heap.call("krealloc", addr, 128).pointer == addr
                heap.call("kfree", addr)


def every_size(module: str = API) -> None:
    """The first byte behind the end, whatever the size; not the last one before it."""
    need_redzones()
    with ops(module) as heap, policy("overflow", "warn"):
        for size in SIZES:
            with nothing_found(module):
                addr = alloc(heap, size)
                heap.call("fill", addr, size, 0x41)
                heap.call("kfree", addr)
            addr = alloc(heap, size)
            heap.call("fill", addr + size, 2, 0x42)
            with found(module, "overflow in op_kfree+", f"{size} bytes, kmalloc, of {module}",
                       f"written at offset {size}: 42 42 cc cc", "where all was cc",
                       "allocated at op_kmalloc+", "found at op_kfree+"):
                heap.call("kfree", addr)
        counts = stats(module)
        assert counts["live"] == 0 and counts["freed"] == 2 * len(SIZES), counts


def every_size_dropin() -> None:
    """The same by the drop-in."""
    every_size(DROPIN)


def contents() -> None:
    """What an allocation gives is in it, though the object may have moved."""
    user = ctypes.addressof(TEXT)
    with ops(API) as heap, policy("overflow", "warn"), nothing_found(API):
        for size in (64, 100, 128):
            for function, numbers, byte in (("kzalloc", (size,), 0), ("kcalloc", (1, size), 0),
                                            ("kmemdup", (size,), ord("m")),
                                            ("memdup_user", (user, size), ord("m")),
                                            ("kstrdup", (size - 1,), ord("m"))):
                addr = heap.call(function, *numbers).pointer
                filled = size - 1 if function == "kstrdup" else size
                assert heap.call("differs", addr, filled, byte).pointer == 0, f"{function} {size}"
                assert [(r.address, r.size) for r in live(API)] == [(addr, size)], live(API)
                heap.call("kfree", addr)


def aligned() -> None:
    """What is asked for with a power of two is aligned to that; and never fails if it must not."""
    with ops(API) as heap, policy("overflow", "warn"), nothing_found(API):
        for shift in range(3, 17):
            objects = [alloc(heap, 1 << shift) for _ in range(5)]
            assert all(addr % (1 << shift) == 0 for addr in objects), f"{1 << shift}: {objects}"
            for addr in objects:
                heap.call("kfree", addr)
        for size in (100, 4096, 8192):
            heap.call("kfree", alloc(heap, size, "kmalloc_nofail"))


def resized() -> None:
    """krealloc() moves what has a redzone, keeps its contents, and looks at the redzone."""
    need_redzones()
    with ops(API) as heap, policy("overflow", "warn"):
        with nothing_found(API):
            addr = alloc(heap, 100)
            heap.call("fill", addr, 100, 0x41)
            for size, kept in ((110, 100), (50, 50), (51, 50), (5000, 50)):
                new = heap.call("krealloc", addr, size).pointer
                assert new and new != addr, f"{size} bytes are where they were"
                assert heap.call("differs", new, kept, 0x41).pointer == 0
                assert heap.call("ksize", new).pointer == size
                addr = new
        heap.call("fill", addr + 5000, 1, 0)
        with found(API, "overflow in op_krealloc+", "written at offset 5000: 00 cc"):
            addr = heap.call("krealloc", addr, 6000).pointer
        # Said once; and no more memory is no loss
        with nothing_found(API):
            assert heap.call("krealloc", addr, (1 << 64) - 1).pointer == 0
            heap.call("kfree", addr)
        assert stats(API)["live"] == 0


def sizes_told() -> None:
    """The module is told that objects end where it asked for."""
    need_redzones()
    for module in (API, DROPIN):
        with ops(module) as heap:
            assert heap.call("kmalloc_size_roundup", 100).pointer == 128
            old = alloc(heap, 100)
            with policy("overflow", "warn"):
                assert heap.call("kmalloc_size_roundup", 100).pointer == 100
                assert heap.call("ksize", old).pointer == 128, "it has no redzone"
                addr = alloc(heap, 100)
                assert heap.call("ksize", addr).pointer == 100
            # It still has one, others get none
            assert heap.call("ksize", addr).pointer == 100
            assert heap.call("kmalloc_size_roundup", 100).pointer == 128
            heap.call("fill", addr + 100, 1, 1)
            with found(module, "overflow in op_kfree+"):
                heap.call("kfree", addr)
            heap.call("kfree", old)


def cleared() -> None:
    """What is all zero was cleared by the kernel, which may: nobody is accused."""
    need_redzones()
    with ops(API) as heap, policy("overflow", "warn"):
        before = violations()
        for size in (100, 64):
            addr = alloc(heap, size)
            heap.call("fill", addr + size, 128 - size, 0)
            heap.call("kfree", addr)
        counts = stats(API)
        assert (counts["redzones_lost"], counts["overflows"]) == (2, 0), counts
        assert violations() == before


def by_the_kernel() -> None:
    """Who may use all of an object is not accused, whether his frees are redirected or seen."""
    need_redzones()
    need_attach()
    with ops(API) as heap, policy("overflow", "warn"):
        before = violations()
        addr = alloc(heap, 100)
        heap.call("fill", addr + 100, 4, 1)
        heap.call("raw_kfree", addr)
        with attach(PLAIN), ops(PLAIN) as other:
            for freed_by, function in ((heap, "raw_kfree"), (other, "kfree")):
                addr = alloc(heap, 100)
                heap.call("fill", addr + 100, 4, 1)
                freed_by.call(function, addr)
        counts = stats(API)
        assert (counts["redzones_lost"], counts["overflows"]) == (2, 0), counts
        assert counts["live"] == 0 and violations() == before


def every_release() -> None:
    """Every function that frees looks, in interrupts, too, and by whichever module."""
    need_redzones()
    with ops(API) as heap, ops(DROPIN) as other, policy("overflow", "warn"):
        for function in ("kfree_sensitive", "kvfree", "kfree_bulk", "kfree_rcu",
                         "kfree_rcu_headless", "bitmap_free"):
            addr = alloc(heap, 200)
            heap.call("fill", addr + 200, 1, 1)
            with found(API, f"overflow in op_{function}+", "offset 200: 01"):
                heap.call(function, addr)
        for context in ("softirq", "hardirq"):
            addr = heap.call("kmalloc", 64, context=context).pointer
            heap.call("fill", addr + 64, 1, 1)
            with found(API, "overflow in op_kfree+", "offset 64: 01", "in an interrupt"):
                heap.call("kfree", addr, context=context)
        addr = alloc(heap, 200)
        heap.call("fill", addr + 201, 1, 1)
        with found(API, "overflow in op_kfree+", f"[{DROPIN}]", "offset 201: 01"):
            other.call("kfree", addr)


def one_owner() -> None:
    """Of one owner alone; and what it leaves behind is reclaimed as ever."""
    need_redzones()
    with ops(API) as heap, ops(DROPIN) as other:
        write_file(f"{SYSFS}/modules/{API}/policy/overflow", "warn")
        with nothing_found(DROPIN):
            addr = alloc(other, 100)
            other.call("fill", addr, 128, 1)
            other.call("kfree", addr)
        for size in SIZES:
            alloc(heap, size)
        addr = alloc(heap, 64)
        heap.call("fill", addr + 64, 1, 1)
        with found(API, "overflow in op_kfree+"):
            heap.call("kfree", addr)
    block = exits(API)[-1]
    assert (block.left, block.reclaimed) == (len(SIZES), len(SIZES)), f"{block}"


CASES = [
    ("off by default", off),
    ("every size, API", every_size),
    ("every size, drop-in", every_size_dropin),
    ("contents", contents),
    ("alignment, and __GFP_NOFAIL", aligned),
    ("krealloc", resized),
    ("ksize and kmalloc_size_roundup", sizes_told),
    ("a redzone that the kernel cleared", cleared),
    ("a redzone that the kernel or an attached module wrote to", by_the_kernel),
    ("every release, every context", every_release),
    ("one owner alone", one_owner),
]

if __name__ == "__main__":
    run_cases(CASES, modules=(API, DROPIN, PLAIN))
