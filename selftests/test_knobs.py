#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Knobs of one owner: policies of its own, limits, checkpoints, objects that change hands; and
the history, which can be made shorter and cleared."""
import contextlib
import ctypes
import errno
import os
import re
from typing import Callable, Iterator

from ksft_mown import (DEBUGFS, SYSFS, Ops, attach, case_log, exits, knob, live, loaded,
                       need_attach, ops, policy, read_file, read_lines, run_cases, stats,
                       violations, wait_for, write_file)

API, DROPIN = "mown_test_ops", "mown_dropin_ops"
# Not built against mown: one is attached, the others stand for the rest of the kernel
PLAIN, STRANGER, INITFREE = "mown_plain_ops", "mown_plain_other", "mown_plain_initfree"

# What memdup_user() copies.
USER = ctypes.create_string_buffer(16)
USER_ADDR = ctypes.addressof(USER)


def file_of(module: str, name: str) -> str:
    """The path of the owner's file in sysfs."""
    return f"{SYSFS}/modules/{module}/{name}"


def errno_of(func: Callable[[], object]) -> int:
    """The errno that FUNC raises, or 0."""
    try:
        func()
    except OSError as error:
        return error.errno or -1
    return 0


def refused(path: str, text: str, expected: int) -> None:
    """A write of TEXT is that error and changes nothing that can be read."""
    before = read_file(path) if os.access(path, os.R_OK) and os.stat(path).st_mode & 0o444 else ""
    got = errno_of(lambda: write_file(path, text))
    assert got == expected, f"{path}: {text!r}: {errno.errorcode.get(got, got)}"
    if before:
        assert read_file(path) == before, f"{path}: {text!r} is refused, and yet a change"


def as_errno(pointer: int) -> int:
    """The errno in what transfer and disown give."""
    return (1 << 64) - pointer if pointer else 0


def alloc(heap: Ops, size: int, function: str = "kmalloc") -> int:
    """An object of SIZE bytes."""
    pointer = heap.call(function, size).pointer
    assert pointer, f"no {size} bytes"
    return pointer


# ---- Policies and sizes of one owner ----

def own_policy() -> None:
    """A word of its own holds for the owner alone, until it inherits again."""
    with ops(API) as api, ops(DROPIN) as dropin:
        path = file_of(DROPIN, "policy/unknown_free")
        assert read_file(path) == "[inherit] auto warn panic pass\n", read_file(path)
        write_file(path, "warn")
        assert read_file(path) == "inherit auto [warn] panic pass\n", read_file(path)
        for word in ("reclaim", "warned", "\n", "inherit auto"):
            refused(path, word, errno.EINVAL)
        refused(f"{SYSFS}/policy/unknown_free", "inherit", errno.EINVAL)
        raw = dropin.call("raw_kmalloc", 100).pointer
        dropin.call("kfree", raw)
        assert stats(DROPIN)["unknown_frees"] == 1, "its own word does not hold"
        # The other one goes by what holds for all
        with policy("unknown_free", "pass"):
            api.call("kfree", raw)
            assert stats(API)["unknown_passed"] == 1, "another's word holds for it"
            raw = dropin.call("raw_kmalloc", 100).pointer
            dropin.call("kfree", raw)
            assert stats(DROPIN)["unknown_frees"] == 2, "the word for all wins over its own"
            write_file(path, "inherit")
            dropin.call("kfree", raw)
            assert stats(DROPIN)["unknown_passed"] == 1, "it does not inherit again"


def own_stack_depth() -> None:
    """stack_depth of one owner: its own number, and inherited again."""
    path = file_of(DROPIN, "stack_depth")
    with ops(API), ops(DROPIN):
        assert read_file(path) == "inherit\n", read_file(path)
        write_file(path, "8")
        assert read_file(path) == "8\n", read_file(path)
        assert read_file(file_of(API, "stack_depth")) == "inherit\n"
        for text, error in (("17", errno.ERANGE), ("-1", errno.EINVAL),
                            ("inherited", errno.EINVAL)):
            refused(path, text, error)
        assert read_file(path) == "8\n", read_file(path)
        write_file(path, "inherit")
        assert read_file(path) == "inherit\n", read_file(path)


def own_left_behind() -> None:
    """What becomes of the objects left behind is decided by the owner's word."""
    with ops(API) as heap:
        write_file(file_of(API, "policy/left_behind"), "report")
        alloc(heap, 100)
    block = exits(API)[-1]
    assert (block.left, block.reclaimed) == (1, 0), f"{block}"


def own_quarantine() -> None:
    """quarantine_bytes of one owner: smaller at once, off, and inherited again."""
    path = file_of(API, "quarantine_bytes")
    with ops(API) as heap, ops(DROPIN) as other:
        assert read_file(path) == "inherit\n"
        for _ in range(8):
            heap.call("kfree", alloc(heap, 1024))
            other.call("kfree", alloc(other, 1024))
        write_file(path, "4096")
        assert stats(API)["quarantined_bytes"] == 4096, "a smaller number takes no effect"
        assert stats(DROPIN)["quarantined_bytes"] == 8192, "another's quarantine shrinks"
        write_file(path, "0")
        heap.call("kfree", alloc(heap, 1024))
        assert stats(API)["quarantined"] == 0, "there is a quarantine though it is off"
        for text, error in (("x", errno.EINVAL), ("", 0), (str(1 << 62), errno.ERANGE),
                            (str(1 << 64), errno.ERANGE), ("inherited", errno.EINVAL)):
            if text:
                refused(path, text, error)
        with knob("quarantine_bytes", 0):
            write_file(path, "4096")
            heap.call("kfree", alloc(heap, 1024))
            assert stats(API)["quarantined"] == 1, "its own number does not hold"
            write_file(path, "inherit")
            assert stats(API)["quarantined"] == 0, "what it inherits does not hold at once"


def foreign() -> None:
    """foreign_free of the object's owner: refused and reported, and the object lives."""
    write_file(f"{SYSFS}/clear", "1")
    with ops(API) as heap, ops(DROPIN) as other:
        addr = alloc(heap, 100)
        write_file(file_of(API, "policy/foreign_free"), "warn")
        for function in ("kfree", "kvfree", "kfree_rcu", "krealloc"):
            other.call(function, addr, *([200] if function == "krealloc" else []))
        counts = stats(API)
        assert (counts["foreign_frees"], counts["live"], counts["freed"]) == (4, 1, 0), counts
        wait_for(lambda: len(violations()) >= 4, "four reports")
        for report in violations()[-4:]:
            lines = report.splitlines()
            assert lines[0].startswith("BUG: mown: foreign-free in op_") and DROPIN in lines[0]
            assert "refused; the object stays allocated" in lines, report
        heap.call("kfree", addr)
        assert stats(API)["live"] == 0


def foreign_forgotten() -> None:
    """Who freed another's object and has gone is not named after whoever gets its place."""
    with ops(API) as heap:
        with ops(DROPIN) as other:
            first, second = alloc(heap, 100), alloc(heap, 200)
            other.call("kfree", first)
            other.call("kfree_rcu", second)
        write_file(f"{SYSFS}/clear", "1")
        for addr in (first, second):
            heap.call("kfree", addr)
        wait_for(lambda: "seen 2 times" in "".join(violations()), "both are told of")
        report, = violations()
        assert "double-free in op_kfree+" in report, report
        assert "\nfirst freed before, place not known\n" in report, report
        assert DROPIN not in report, report


def strangers_forgotten() -> None:
    """Nor is who is not under mown, and has freed what waits in quarantine: in init text as well.

    His frees go there only while something is attached.
    """
    need_attach()

    def told(heap: Ops, addr: int, freed: str, *named: str) -> None:
        """The object is freed again: the line on who was first begins so, and NAMED alone are."""
        write_file(f"{SYSFS}/clear", "1")
        heap.call("kfree", addr)
        wait_for(violations, "the report")
        report, = violations()
        assert "double-free in op_kfree+" in report and f"\n{freed}" in report, report
        lines = [line for line in report.splitlines() if not line.startswith("object #")]
        assert not re.search(r"0x[0-9a-f]{12}|ffffffff", "\n".join(lines)), report
        modules = {module for module in (API, PLAIN, STRANGER, INITFREE, DROPIN)
                   if f"[{module}]" in report}
        assert modules == {heap.module, *named}, report

    unknown = "first freed before, place not known\n"
    with attach(PLAIN), ops(PLAIN) as plain, ops(API) as api, knob("stack_depth", 8):
        for heap in (plain, api):
            here, there, init = (alloc(heap, 100) for _ in range(3))
            with ops(STRANGER) as stranger:
                stranger.call("kfree", here)
                stranger.call("kfree", there)
                counts = stats(heap.module)
                assert (counts["released_elsewhere"], counts["quarantined"]) == (2, 2), counts
                told(heap, here, "first freed at op_kfree+", STRANGER)
            with loaded(INITFREE, others=init):
                told(heap, init, unknown)
            # As large as he was, so it may get his place
            with ops(DROPIN):
                told(heap, there, unknown)


def forged_name() -> None:
    """The name of a task does not make lines of a report."""
    path, before = "/proc/self/comm", read_file("/proc/self/comm").strip()
    with ops(API) as heap:
        addr = alloc(heap, 100)
        heap.call("kfree", addr)
        write_file(f"{SYSFS}/clear", "1")
        write_file(path, "a\n\nBUG: mown: \x1b")
        try:
            heap.call("kfree", addr)
        finally:
            write_file(path, before)
        wait_for(violations, "a report")
    assert re.search(r"^freed again at .* by task \d+ \(a\?\?BUG: mown: \?\) on cpu \d+\n"
                     r"refused; the object stays in quarantine$", violations()[0], re.MULTILINE), \
        violations()


# ---- limit_bytes ----

def limit() -> None:
    """What would pass the limit fails, exactly; what is freed makes room again."""
    path = file_of(API, "limit_bytes")
    before = len(violations())
    with ops(API) as heap:
        for text in ("x", "-1", "\n", "max"):
            refused(path, text, errno.EINVAL)
        refused(path, str(1 << 63), errno.ERANGE)
        assert read_file(path) == "0\n"
        old = alloc(heap, 1000)
        write_file(path, "3000")
        objects = [alloc(heap, 1000), alloc(heap, 999)]
        assert heap.call("kmalloc", 2).pointer == 0, "one byte too much was given"
        objects.append(alloc(heap, 1))
        counts = stats(API)
        assert (counts["limited"], counts["live_bytes"], counts["allocated"]) == (1, 3000, 4), \
            counts
        # It moves, so both are there for a moment; the old one stays what it was
        assert heap.call("krealloc", old, 5000).pointer == 0
        heap.call("fill", old, 1000, 1)
        # Fewer bytes where it is make room, more are counted
        assert heap.call("krealloc", old, 500).pointer == old
        objects.append(alloc(heap, 500))
        assert heap.call("krealloc", old, 600).pointer == old
        assert stats(API)["live_bytes"] == 3100
        assert heap.call("kmalloc", 1).pointer == 0
        heap.call("kfree", objects.pop(0))
        objects.append(alloc(heap, 900))
        assert heap.call("kmalloc", 1).pointer == 0
        # Errors where an error is the answer, and interrupts are no exception
        assert as_errno(heap.call("memdup_user", USER_ADDR, 16).pointer) == errno.ENOMEM
        assert heap.call("kmalloc", 1, context="hardirq").pointer == 0
        # Below what is live: nothing happens to that
        write_file(path, "1")
        assert heap.call("kmalloc", 1).pointer == 0
        for addr in [old, *objects]:
            heap.call("kfree", addr)
        assert stats(API)["live_bytes"] == 0
        addr = alloc(heap, 1)
        assert heap.call("kmalloc", 1).pointer == 0
        write_file(path, "0")
        heap.call("kfree", alloc(heap, 100000))
        # And once more: what was charged while there was no limit
        alloc(heap, 99)
        write_file(path, "100")
        assert heap.call("kmalloc", 1).pointer == 0, "what was live before is not counted"
        heap.call("kfree", addr)
        heap.call("kfree", alloc(heap, 1))
        wait_for(lambda: len(violations()) > before, "a report")
        report = next(r for r in violations()[before:] if "limit in op_kmalloc" in r)
        assert f"{API} has 2999 bytes of 3000, and wants 2 more" in report, report
        assert "refused; the caller got no memory" in report, report
        # Counted only
        before = len(violations())
        with policy("limit", "pass"):
            limited = stats(API)["limited"]
            assert heap.call("kzalloc", 100).pointer == 0
            assert stats(API)["limited"] == limited + 1
    assert not any("op_kzalloc" in r for r in violations()[before:]), "reported all the same"


def limit_nofail() -> None:
    """Who cannot bear a failure gets memory beyond the limit, and it counts."""
    with ops(API) as heap:
        write_file(file_of(API, "limit_bytes"), "1000")
        kept = alloc(heap, 600)
        beyond = alloc(heap, 700, "kmalloc_nofail")
        counts = stats(API)
        assert (counts["limited"], counts["live_bytes"], counts["live"]) == (0, 1300, 2), counts
        # So there is no room until it has gone, and then as much as before
        assert heap.call("kmalloc", 1).pointer == 0, "what is beyond the limit is not charged"
        heap.call("kfree", beyond)
        assert heap.call("kmalloc", 401).pointer == 0
        last = alloc(heap, 400)
        counts = stats(API)
        assert (counts["limited"], counts["live_bytes"], counts["live"]) == (2, 1000, 2), counts
        for addr in (kept, last):
            heap.call("kfree", addr)


# ---- fail_nth ----

def fail_nth() -> None:
    """The allocation of that number fails, once, as the kernel's would; the log says which."""
    path, everybody = file_of(API, "fail_nth"), f"{SYSFS}/fail_nth"
    with ops(API) as heap, ops(DROPIN) as other:
        for text, error in (("x", errno.EINVAL), ("-1", errno.EINVAL), ("\n", errno.EINVAL),
                            ("1 2", errno.EINVAL), (str(1 << 63), errno.ERANGE)):
            refused(path, text, error)
        for text, error in ((API, errno.EINVAL), (f"{API} ", errno.EINVAL), (" 1", errno.EINVAL),
                            (f"{API} x", errno.EINVAL), (f"{API} 1 2", errno.EINVAL),
                            ("\n", errno.EINVAL), ("m" * 100 + " 1", errno.EINVAL),
                            (f"nobody\n{API} 1", errno.EINVAL), ("a/b 1", errno.EINVAL),
                            ("* 1", errno.EINVAL), ("n\u00e4me 1", errno.EINVAL),
                            (f"{API} {1 << 63}", errno.ERANGE)):
            refused(everybody, text, error)
        assert read_file(path) == "0\n" and read_file(everybody) == ""
        write_file(path, "3")
        objects = [alloc(heap, 10), alloc(other, 10), alloc(heap, 20)]
        assert read_file(path) == "1\n"
        assert read_file(everybody) == f"{API} 1\n"
        # What must not fail is not asked, nor what allocates nothing
        objects.append(alloc(heap, 10, "kmalloc_nofail"))
        assert heap.call("krealloc", objects[2], 25).pointer == objects[2]
        assert read_file(path) == "1\n"
        assert heap.call("kzalloc", 30).pointer == 0
        counts = stats(API)
        assert (counts["failed"], counts["live"], counts["allocated"]) == (1, 3, 3), counts
        assert re.search(rf"^mown: {API}: an allocation of 30 bytes fails on purpose in "
                         rf"op_kzalloc\+\S+ \[{API}\]$", case_log(), re.MULTILINE), case_log()
        assert read_file(path) == "0\n" and read_file(everybody) == ""
        objects.append(alloc(heap, 30))
        # A resize that fails leaves the object as it was
        write_file(everybody, f"{API.replace('_', '-')} 1\n")
        heap.call("fill", objects[2], 25, 7)
        assert heap.call("krealloc", objects[2], 5000).pointer == 0
        assert heap.call("differs", objects[2], 25, 7).pointer == 0
        write_file(path, "1")
        assert as_errno(heap.call("memdup_user", USER_ADDR, 16).pointer) == errno.ENOMEM
        write_file(path, "1")
        assert heap.call("kmalloc", 1, context="hardirq").pointer == 0
        # Taken back, in both ways
        for taken, text in ((path, "0"), (everybody, f"{API} 0")):
            write_file(path, "1")
            write_file(taken, text)
            assert read_file(path) == "0\n"
            heap.call("kfree", alloc(heap, 1))
        assert stats(API)["failed"] == 4
        for addr in objects:
            heap.call("kfree", addr)
    assert exits(API)[-1].left == 0
    # For a module that comes later; and gone with it, reached or not
    write_file(everybody, f"{API} 2")
    assert read_file(everybody) == f"{API} 2\n"
    with ops(API) as heap:
        assert read_file(path) == "2\n"
        heap.call("kfree", alloc(heap, 1))
    assert read_file(everybody) == ""


# ---- Checkpoints ----

def since(module: str) -> list[tuple[int, int, str]]:
    """COUNT, BYTES and SITE of each line of since."""
    lines = (line.split(None, 3) for line in
             read_lines(f"{DEBUGFS}/{module}/since", "mown since 1: count bytes family site"))
    return [(int(words[0]), int(words[1]), words[3].split("+")[0]) for words in lines]


def checkpoint() -> None:
    """After a mark, since has what was allocated later and lives, by site."""
    path = file_of(API, "checkpoint")
    with ops(API) as heap:
        old = [alloc(heap, 100) for _ in range(40)]
        assert since(API) == [(40, 4000, "op_kmalloc")], "without a mark it is all"
        for text in ("1", "\n", "marks", "mark mark"):
            refused(path, text, errno.EINVAL)
        assert errno_of(lambda: read_file(path)) in (errno.EACCES, errno.EIO)
        write_file(path, "mark")
        assert not since(API)
        new = alloc(heap, 50)
        string = heap.call("kstrdup", 9).pointer
        heap.call("kfree", old.pop())
        assert since(API) == [(1, 50, "op_kmalloc"), (1, 10, "op_kstrdup")], since(API)
        # It is the same object when it grows where it is, a new one when it moves
        assert heap.call("krealloc", new, 60).pointer == new
        moved = heap.call("krealloc", old.pop(), 3000).pointer
        assert moved
        assert since(API) == [(1, 3000, "op_krealloc"), (1, 60, "op_kmalloc"),
                              (1, 10, "op_kstrdup")], since(API)
        heap.call("kfree", string)
        write_file(path, "mark\n")
        assert not since(API)
        assert len(live(API)) == 40


# ---- Changing hands ----

def transfer() -> None:
    """An object made over to another module is that one's: to free, and to account for."""
    with ops(DROPIN) as taker:
        with ops(API) as giver:
            module = taker.call("this_module").pointer
            addr, kept = alloc(giver, 100), alloc(giver, 200)
            write_file(file_of(DROPIN, "checkpoint"), "mark")
            write_file(file_of(API, "checkpoint"), "mark")
            assert giver.call("transfer", addr, module).pointer == 0
            one, two = stats(API), stats(DROPIN)
            assert (one["transferred_out"], one["live"], one["live_bytes"]) == (1, 1, 200), one
            assert (two["transferred_in"], two["live"], two["live_bytes"]) == (1, 1, 100), two
            assert since(DROPIN) == [(1, 100, "op_kmalloc")], "new here, at its old place"
            # The giver's free is a foreign one now
            for text, pointer in (("not an object", addr + 8), ("no object", 64)):
                assert as_errno(giver.call("transfer", pointer, module).pointer) == \
                    errno.ENOENT, text
            assert as_errno(giver.call("transfer", kept, 64).pointer) == errno.ENODEV
            # To itself: nothing
            assert taker.call("transfer", addr, module).pointer == 0
            assert stats(DROPIN)["transferred_in"] == 1
            second = alloc(giver, 300)
            giver.call("kfree", second)
            assert as_errno(giver.call("transfer", second, module).pointer) == errno.ENOENT
        block = exits(API)[-1]
        assert (block.allocated, block.freed, block.left) == (3, 1, 1), f"{block}"
        # The place is text of a module that has gone
        assert [r.site.split("+")[0] for r in live(DROPIN)] == ["op_kmalloc"], live(DROPIN)
        assert API in live(DROPIN)[0].site, live(DROPIN)
        taker.call("fill", addr, 100, 1)
        taker.call("kfree", addr)
        counts = stats(DROPIN)
        assert (counts["freed"], counts["live"], counts["quarantined"]) == (1, 0, 1), counts
        taker.call("kfree", addr)
        assert stats(DROPIN)["double_frees"] == 1
    block = exits(DROPIN)[-1]
    assert (block.freed, block.left) == (1, 0), f"{block}"


def transfer_left_behind() -> None:
    """Reclaimed is what both have promised nothing outlives: the drop-in has not."""
    with ops(DROPIN) as taker, ops(API) as giver:
        module = taker.call("this_module").pointer
        addr = alloc(giver, 100)
        assert giver.call("transfer", addr, module).pointer == 0
    block = exits(DROPIN)[-1]
    assert (block.left, block.reclaimed) == (1, 0), f"{block}"


def transfer_children() -> None:
    """Caches and pools stay, though their module goes, of which another has something."""
    with ops(DROPIN) as taker:
        with ops(API) as giver:
            module = taker.call("this_module").pointer
            idle, cache, below, under, beneath = (
                giver.call("kmem_cache_create", size).pointer for size in (72, 200, 104, 136, 168))
            pool = giver.call("mempool_create_slab_pool", 2, below).pointer
            obj = giver.call("kmem_cache_alloc", cache).pointer
            element = giver.call("mempool_alloc", pool).pointer
            moved = giver.call("mempool_create_slab_pool", 2, under).pointer
            for addr in (obj, element, moved):
                assert giver.call("transfer", addr, module).pointer == 0
            made = taker.call("mempool_create_slab_pool", 2, beneath).pointer
        # All but the one that nobody has anything of
        block = exits(API)[-1]
        assert (block.left, block.reclaimed) == (6, 1), f"{block}"
        found = {record.address for record in live()}
        assert not found & {idle}, "it is there"
        assert found >= {cache, below, under, beneath, pool}, f"{found}"
        assert len(live(DROPIN)) == 4, live(DROPIN)
        taker.call("kmem_cache_free", obj, cache)
        taker.call("mempool_free", element, pool)
        for addr in (pool, moved, made):
            taker.call("mempool_destroy", addr)
        assert stats(DROPIN)["live"] == 0, stats(DROPIN)
        for addr in (cache, below, under, beneath):
            taker.call("kmem_cache_destroy", addr)
        block = exits(API)[-1]
        assert (block.left, block.reclaimed, block.late) == (1, 1, 5), f"{block}"


def transfer_parents() -> None:
    """So do those that were made over without what is of them, or that the kernel has of."""
    with policy("left_behind", "reclaim"):
        with ops(API) as giver:
            with ops(DROPIN) as taker:
                module = taker.call("this_module").pointer
                cache, below = (giver.call("kmem_cache_create", size).pointer
                                for size in (200, 104))
                pool = giver.call("mempool_create_slab_pool", 2, below).pointer
                obj = giver.call("kmem_cache_alloc", cache).pointer
                element = giver.call("mempool_alloc", pool).pointer
                for addr in (cache, pool):
                    assert giver.call("transfer", addr, module).pointer == 0
            block = exits(DROPIN)[-1]
            assert (block.left, block.reclaimed) == (2, 0), f"{block}"
            giver.call("kmem_cache_free", obj, cache)
            giver.call("mempool_free", element, pool)
            giver.call("mempool_destroy", pool)
            giver.call("kmem_cache_destroy", cache)
            given = giver.call("kmem_cache_alloc", below).pointer
            assert giver.call("disown", given).pointer == 0
        block = exits(API)[-1]
        assert (block.left, block.reclaimed) == (1, 0), f"{block}"
        with ops(DROPIN) as taker:
            taker.call("raw_kfree", given)
            taker.call("kmem_cache_destroy", below)
        assert exits(API)[-1].late == 1, exits(API)[-1]


def disown() -> None:
    """A disowned object is the kernel's: left behind by nobody, and free to be freed."""
    with ops(API) as heap:
        addr = alloc(heap, 100)
        assert heap.call("disown", addr).pointer == 0
        assert as_errno(heap.call("disown", addr).pointer) == errno.ENOENT
        assert as_errno(heap.call("disown", addr + 8).pointer) == errno.ENOENT
        counts = stats(API)
        assert (counts["disowned"], counts["live"], counts["live_bytes"]) == (1, 0, 0), counts
        heap.call("fill", addr, 100, 1)
        heap.call("raw_kfree", addr)
        assert stats(API)["released_elsewhere"] == 0
    block = exits(API)[-1]
    assert (block.allocated, block.left) == (1, 0), f"{block}"


# ---- History ----

def make_report(heap: Ops, function: str) -> None:
    """An unknown free by FUNCTION, told."""
    raw = heap.call("raw_kmalloc", 100).pointer
    heap.call(function, raw)
    heap.call("raw_kfree", raw)
    wait_for(lambda: any(f"unknown-free in op_{function}+" in r for r in violations()),
             "the report")


@contextlib.contextmanager
def cleared() -> Iterator[None]:
    """Nothing in the history, and its knob as before afterwards."""
    write_file(f"{SYSFS}/clear", "1")
    assert not violations() and not exits()
    before = read_file(f"{SYSFS}/history").strip()
    try:
        yield
    finally:
        write_file(f"{SYSFS}/history", before)


def history() -> None:
    """The last so many reports and accounts are kept, and no more; 0 keeps none."""
    path = f"{SYSFS}/history"
    for text, error in (("x", errno.EINVAL), ("-1", errno.EINVAL), ("4097", errno.ERANGE),
                        ("\n", errno.EINVAL)):
        refused(path, text, error)
    for text in ("0", "yes", "\n", "11"):
        refused(f"{SYSFS}/clear", text, errno.EINVAL)
    with cleared():
        for size in (1, 2, 3):
            with ops(API) as heap:
                alloc(heap, size)
                for function in ("kfree", "kvfree", "bitmap_free"):
                    make_report(heap, function)
        # The module was another one each time, but the reports are alike
        assert len(violations()) >= 3 and [b.left_bytes for b in exits()] == [1, 2, 3]
        write_file(path, "2")
        assert [b.left_bytes for b in exits()] == [2, 3], "the oldest account stays"
        assert len(violations()) == 2 and "op_bitmap_free" in violations()[-1]
        with ops(API) as heap:
            alloc(heap, 4)
            make_report(heap, "kfree_sensitive")
        assert [b.left_bytes for b in exits()] == [3, 4] and len(violations()) == 2
        write_file(path, "0")
        assert not exits() and not violations()
        with ops(DROPIN) as heap:
            heap.call("kfree", alloc(heap, 8))
            alloc(heap, 16)
        assert not exits() and not violations()
        assert not [r for r in live() if r.module.startswith(DROPIN)], "orphans without account"


def clear_forgets() -> None:
    """clear drops accounts with their orphans, which the kernel may free later."""
    with cleared(), ops(API) as other:
        with ops(DROPIN) as heap:
            addr = alloc(heap, 100)
        assert [r.address for r in live() if r.module == f"{DROPIN}(gone)"] == [addr]
        with open(f"{DEBUGFS}/exits", encoding="ascii") as reader:
            reader.read(20)
            write_file(f"{SYSFS}/clear", "1\n")
            reader.read()
        assert not exits() and not [r for r in live() if r.address == addr]
        other.call("raw_kfree", addr)
        assert stats(API)["released_elsewhere"] == 0


CASES = [
    ("a policy of one owner", own_policy),
    ("left_behind of one owner", own_left_behind),
    ("stack_depth of one owner", own_stack_depth),
    ("quarantine_bytes of one owner", own_quarantine),
    ("foreign_free as a violation", foreign),
    ("a foreign free by a module that has gone", foreign_forgotten),
    ("a free by a module that is not under mown and has gone", strangers_forgotten),
    ("the name of a task", forged_name),
    ("limit_bytes", limit),
    ("limit_bytes and __GFP_NOFAIL", limit_nofail),
    ("fail_nth", fail_nth),
    ("a checkpoint, and what came since", checkpoint),
    ("an object made over to another module", transfer),
    ("left behind by the module it was made over to", transfer_left_behind),
    ("caches and pools left behind of which others have something", transfer_children),
    ("and those that change hands themselves", transfer_parents),
    ("an object given to the kernel", disown),
    ("history", history),
    ("clear", clear_forgets),
]

if __name__ == "__main__":
    run_cases(CASES, modules=(API, DROPIN, PLAIN, STRANGER, INITFREE))
