#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""What waits in quarantine: writes to it are found when it leaves, its bounds hold, its account
is exact, and memory that runs short gets all of it back."""
import contextlib
import os
import random
import threading
from typing import ContextManager, Iterator

from ksft_mown import (MEBIBYTE, SYSFS, Ops, Skip, case_log, difference, exits, global_stats,
                       insmod, kernel_version, knob, little_memory, loaded, memory, ops, policy,
                       read_file, reported, rmmod, run_cases, stats, violations, wait_for,
                       write_file)
from test_kernel_frees import Judge

API, DROPIN, STRESS = "mown_test_ops", "mown_dropin_ops", "mown_test_stress"
LEAVING = "mown_dropin_leaving"
# It does not use mown, and stands for the kernel
WORLD = "mown_plain_ops"
# POISON_FREE of the kernel's <linux/poison.h>
POISON = 0x6b
# Every size class, what leaves a byte of it, pages, and what is poisoned in pieces of 1 KiB
SIZES = (1, 8, 57, 64, 100, 1023, 1024, 1025, 3000, 8192, 10000, 100000)
# What a quarantine can hold at most, by Documentation/ABI/testing/sysfs-kernel-mown
OBJECTS_MAX = 1000


def alloc(heap: Ops, size: int, context: str = "task") -> int:
    """An object of SIZE bytes."""
    pointer = heap.call("kmalloc", size, context=context).pointer
    assert pointer, f"no {size} bytes"
    return pointer


def set_bytes(module: str, text: object) -> None:
    """The module's own quarantine_bytes."""
    write_file(f"{SYSFS}/modules/{module}/quarantine_bytes", str(text))


def empty(module: str) -> None:
    """All that waits in the module's quarantine leaves; it goes on to work."""
    set_bytes(module, 0)
    set_bytes(module, "inherit")
    assert stats(module)["quarantined"] == 0


def found(module: str, *lines: str) -> ContextManager[None]:
    """One write after a free is found, and there is a report with the LINES."""
    return reported(module, "use_after_frees", *lines)


@contextlib.contextmanager
def nothing_found(module: str) -> Iterator[None]:
    """No write after a free is found."""
    before = stats(module)["use_after_frees"]
    yield
    assert stats(module)["use_after_frees"] == before, violations()


# ---- Writes after a free ----

def not_written() -> None:
    """What nobody writes to leaves without a word, filled with poison as far as was asked for."""
    with ops(API) as heap, nothing_found(API):
        for size in SIZES:
            addr = alloc(heap, size)
            usable = heap.call("ksize", addr).pointer
            heap.call("fill", addr, usable, 0x41)
            heap.call("kfree", addr)
            assert heap.call("differs", addr, size, POISON).pointer == 0, f"{size}: no poison"
            if usable > size:
                # Behind that it is as it was: that is not ours to write
                assert heap.call("differs", addr + size, usable - size, 0x41).pointer == 0, size
                heap.call("fill", addr + size, usable - size, 0x42)
        empty(API)


def every_offset(module: str) -> None:
    """A byte anywhere in what was asked for."""
    with ops(module) as heap:
        for size in SIZES:
            for offset in sorted({0, size // 2, size - 1}):
                addr = alloc(heap, size)
                heap.call("kfree", addr)
                heap.call("fill", addr + offset, 1, 0x42)
                follow = " 6b" if offset < size - 1 else ", where all was 6b"
                with found(module, "use-after-free of what was freed in op_kfree+",
                           f": {size} bytes, kmalloc, of {module}",
                           "allocated at op_kmalloc+", "first freed at op_kfree+",
                           f"written at offset {offset}: 42{follow}",
                           "the object was given back after this was found"):
                    empty(module)


def every_offset_api() -> None:
    """By the API."""
    every_offset(API)


def every_offset_dropin() -> None:
    """By the drop-in."""
    every_offset(DROPIN)


def several_bytes() -> None:
    """The first bytes from the first that differs on are told; the object is told of once."""
    with ops(API) as heap:
        addr = alloc(heap, 64)
        heap.call("kfree", addr)
        heap.call("fill", addr + 3, 2, 0x11)
        heap.call("fill", addr + 6, 1, 0x22)
        heap.call("fill", addr + 60, 1, 0x33)
        with found(API, "written at offset 3: 11 11 6b 22 6b"):
            empty(API)


def every_release() -> None:
    """By whichever function it was released, and in whatever context."""
    with ops(API) as heap:
        for function in ("kfree", "kfree_sensitive", "kvfree", "bitmap_free", "kfree_bulk",
                         "kfree_rcu", "kfree_rcu_headless"):
            addr = alloc(heap, 200)
            heap.call(function, addr)
            wait_for(lambda: stats(API)["quarantined"] == 1, f"{function}: a grace period")
            assert heap.call("differs", addr, 200, POISON).pointer == 0, f"{function}: no poison"
            heap.call("fill", addr + 8, 1, 1)
            with found(API, f"what was freed in op_{function}+", "written at offset 8: 01 6b"):
                empty(API)
        for context in ("softirq", "hardirq"):
            addr = alloc(heap, 200, context)
            heap.call("kfree", addr, context=context)
            heap.call("fill", addr, 1, 1)
            with found(API, "allocated at op_kmalloc+", "in an interrupt", "offset 0: 01 6b"):
                empty(API)


def readers() -> None:
    """A reader in an RCU section sees what was there until its grace period is over."""
    with ops(API) as heap:
        addr = alloc(heap, 200)
        heap.call("fill", addr, 200, 0x41)
        # Frees by RCU, and then looks, within one section
        assert heap.call("kfree_rcu_differs", addr, 200, 0x41).pointer == 0
        wait_for(lambda: stats(API)["quarantined"] == 1, "a grace period")


def shared() -> None:
    """Pages that others hold, too, are theirs still when the module frees them."""
    # get_page() warns of it there
    if kernel_version() >= (6, 15):
        raise Skip("nobody may hold pages of kmalloc() in this kernel")
    with ops(API) as heap:
        for function in ("kfree", "kfree_sensitive", "kfree_rcu"):
            addr = alloc(heap, 20000)
            heap.call("fill", addr, 20000, 0x41)
            heap.call("get_page", addr)
            heap.call(function, addr)
            wait_for(lambda: stats(API)["live"] == 0, "released")
            if function == "kfree_rcu":
                # After this the grace period of that one is over, too
                heap.call("kfree_rcu", alloc(heap, 100))
                wait_for(lambda: stats(API)["quarantined"] == 1, "a grace period")
                empty(API)
            elif function == "kfree_sensitive":
                # As the kernel's own
                assert heap.call("differs", addr, 20000, 0).pointer == 0
            else:
                assert heap.call("differs", addr, 20000, 0x41).pointer == 0, "it was poisoned"
            assert stats(API)["quarantined"] == 0, f"{function}: it waits in quarantine"
            heap.call("put_page", addr)


def let_go() -> None:
    """Others hold the pages of a live object, and let go of one more than they hold: it is freed.

    So the kernel does with what a module has given it to send.
    """
    if kernel_version() >= (6, 15):
        raise Skip("nobody may hold pages of kmalloc() in this kernel")
    if os.path.exists("/sys/kernel/debug/kmemleak"):
        raise Skip("kmemleak does not see such a free, and turns itself off at the next object")
    with ops(API) as heap, ops(WORLD) as world:
        write_file(f"{SYSFS}/clear", "1")
        addr = alloc(heap, 20000)
        world.call("get_page", addr)
        before = stats(API)
        world.call("put_page", addr)
        assert stats(API) == before, f"{stats(API)}, not {before}"
        world.call("put_page", addr)
        changed = difference(API, before)
        assert changed == {"released_elsewhere": 1, "live": -1, "live_bytes": -20000}, changed
        assert not violations(), violations()


def moved() -> None:
    """What krealloc() has left is released like anything else."""
    with ops(API) as heap:
        old = alloc(heap, 100)
        assert heap.call("krealloc", old, 3000).pointer not in (0, old)
        heap.call("fill", old + 7, 1, 1)
        with found(API, "what was freed in op_krealloc+", "100 bytes", "offset 7: 01 6b"):
            empty(API)


def when_it_is_found() -> None:
    """It is found whenever the object leaves: pushed out by others, and at the owner's end."""
    with ops(API) as heap:
        set_bytes(API, 4096)
        addr = alloc(heap, 1024)
        heap.call("kfree", addr)
        heap.call("fill", addr + 5, 1, 1)
        with found(API, "written at offset 5: 01 6b"):
            for _ in range(4):
                heap.call("kfree", alloc(heap, 1024))
        # Not by the kernel's own free, which takes the object as it is
        addr = alloc(heap, 64)
        heap.call("kfree", addr)
        heap.call("fill", addr, 1, 1)
        with nothing_found(API):
            heap.call("raw_kfree", addr)
            assert stats(API)["double_frees"] == 1
            empty(API)
        addr = alloc(heap, 100)
        heap.call("kfree", addr)
        heap.call("fill", addr + 9, 1, 1)
        write_file(f"{SYSFS}/clear", "1")
    wait_for(lambda: any("written at offset 9: 01 6b" in r for r in violations()),
             "a report after the owner's end")
    assert any(f"[{API}]" in r for r in violations()), violations()


def passed() -> None:
    """pass: neither filled nor looked at; each object by the word when it was released."""
    with ops(API) as heap, policy("use_after_free", "pass"):
        addr = alloc(heap, 64)
        heap.call("fill", addr, 64, 0x41)
        heap.call("kfree", addr)
        assert heap.call("differs", addr, 64, 0x41).pointer == 0, "it was filled"
        write_file(f"{SYSFS}/policy/use_after_free", "warn")
        later = alloc(heap, 64)
        heap.call("kfree", later)
        with nothing_found(API):
            empty(API)
        later = alloc(heap, 64)
        heap.call("kfree", later)
        heap.call("fill", later, 1, 1)
        with found(API, "offset 0: 01 6b"):
            empty(API)
        write_file(f"{SYSFS}/modules/{API}/policy/use_after_free", "pass")
        heap.call("kfree", later := alloc(heap, 64))
        heap.call("fill", later, 64, 1)
        with nothing_found(API):
            empty(API)


# ---- Bounds, and the account ----

def bounds() -> None:
    """Never more bytes than it may hold, nor more objects; the counts are those of the memory."""
    rng = random.Random(1)
    with ops(API) as heap:
        empty_bytes = int(global_stats()["quarantine_bytes"])
        for limit in (4096, 100_000, 1):
            set_bytes(API, 0)
            set_bytes(API, limit)
            waits: list[int] = []
            for _ in range(150):
                addr = alloc(heap, rng.choice((1, 100, 1000, 3000, 5000, 70000)))
                size = heap.call("ksize", addr).pointer
                heap.call("kfree", addr)
                # A FIFO; what does not fit at all goes back at once
                if size <= limit:
                    waits.append(size)
                while sum(waits) > limit:
                    waits.pop(0)
                now = stats(API)
                assert (now["quarantined"], now["quarantined_bytes"]) == \
                    (len(waits), sum(waits)), f"{now}, not {waits}"
                assert now["live"] == 0
            assert int(global_stats()["quarantine_bytes"]) - empty_bytes == sum(waits)
        empty(API)
        for _ in range(OBJECTS_MAX + 100):
            heap.call("kfree", alloc(heap, 8))
        assert stats(API)["quarantined"] == OBJECTS_MAX
        empty(API)
        assert int(global_stats()["quarantine_bytes"]) == empty_bytes


def bounds_under_load() -> None:
    """Two CPUs, interrupts and RCU free at once: over the bound by what is on its way alone."""
    limit, seen, stop = 20_000, [(0, 0)], threading.Event()
    insmod(STRESS, witnesses=1)
    judge = Judge(STRESS)
    set_bytes(STRESS, limit)

    def watch() -> None:
        while not stop.is_set():
            now = stats(STRESS)
            seen.append((now["quarantined_bytes"], now["quarantined"]))

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        write_file(f"/sys/module/{STRESS}/parameters/phase", "rcu")
        wait_for(lambda: len(seen) > 200 or not watcher.is_alive(), "200 looks")
        assert watcher.is_alive(), f"{STRESS}'s stats cannot be read"
    finally:
        write_file(f"/sys/module/{STRESS}/parameters/phase", "off")
        stop.set()
        watcher.join()
    # Each CPU may have one on its way in each of process, softirq and hardirq context
    largest, cpus = 16384, 2
    assert max(seen)[0] <= limit + 3 * cpus * largest, f"{max(seen)} bytes of {limit}"
    assert max(seen)[0] > limit // 2, f"nothing happened: {max(seen)}"
    # What was freed by RCU comes last
    wait_for(lambda: stats(STRESS)["quarantined_bytes"] <= limit, "the bound at rest")
    write_file(f"/sys/module/{STRESS}/parameters/phase", "end")
    set_bytes(STRESS, 0)
    assert stats(STRESS)["quarantined"] == 0
    judge.expect(0)
    rmmod(STRESS)


def released_while_leaving(wrongly: bool) -> None:
    """A second release is refused until the first is done, which a work item does for vmalloc()."""
    half = int(read_file(f"{SYSFS}/quarantine_bytes")) * 6 // 10
    with knob("quarantine_bytes", 0) if wrongly else contextlib.nullcontext():
        with loaded(LEAVING, bytes=half, wrongly="Y" if wrongly else "N"):
            counts = stats(LEAVING)
    seen = {name: counts[name] for name in ("allocated", "freed", "live", "double_frees",
                                            "mismatched_frees", "unknown_passed", "stale")}
    assert seen == {"allocated": 2, "freed": 2, "live": 0, "double_frees": 1,
                    "mismatched_frees": int(wrongly), "unknown_passed": 0, "stale": 0}, f"{seen}"
    account = exits(LEAVING)[-1]
    assert (account.freed, account.left) == (2, 0), f"{account}"


def leaves_for_another() -> None:
    """What goes to make room for another."""
    released_while_leaving(wrongly=False)


def leaves_at_once() -> None:
    """What was released by a function of another family, and does not wait."""
    released_while_leaving(wrongly=True)


def drop_caches(module: str) -> int:
    """The kernel asks all its shrinkers; how many objects wait afterwards."""
    write_file("/proc/sys/vm/drop_caches", "2")
    return stats(module)["quarantined"]


def shrinks() -> None:
    """The kernel's shrinkers have it all, of each owner; what was written to is told of."""
    with ops(API) as heap, ops(DROPIN) as other:
        judges = Judge(API), Judge(DROPIN)
        for _ in range(60):
            heap.call("kfree", alloc(heap, 64))
            other.call("kfree", addr := alloc(other, 64))
        other.call("fill", addr, 1, 1)
        assert stats(API)["quarantined"] == stats(DROPIN)["quarantined"] == 60
        with found(DROPIN, "written at offset 0: 01 6b"):
            wait_for(lambda: drop_caches(API) + drop_caches(DROPIN) == 0, "all of it")
        for judge in judges:
            judge.expect(0)
        assert stats(API)["freed"] == stats(DROPIN)["freed"] == 60
        # A few may be much memory
        for count in (1, 2, 9):
            for _ in range(count):
                heap.call("kfree", alloc(heap, 64))
            wait_for(lambda: drop_caches(API) == 0, f"{count} objects")


def storm() -> None:
    """With the quarantine full of most of the memory, there is all the memory one asks for."""
    # Few enough for a quarantine (OBJECTS_MAX), and then the most that the kernel never refuses
    # while there is something to reclaim (PAGE_ALLOC_COSTLY_ORDER): free memory is in pieces here
    waits, size = 128 << 10, 32 << 10
    # Huge pages of 2 MiB are what the rest is taken with
    with little_memory(256 * MEBIBYTE), ops(API) as heap:
        set_bytes(API, 96 * MEBIBYTE)
        given = 0
        for _ in range(96 * MEBIBYTE // waits):
            addr = heap.call("kmalloc", waits).pointer
            given += waits * bool(addr)
            heap.call("kfree", addr)
        if given < 90 * MEBIBYTE:
            raise Skip(f"the kernel gave no more than {given} bytes")
        full = stats(API)["quarantined_bytes"]
        assert full > 80 * MEBIBYTE, f"no more than {full} bytes"
        # Some of that is the kernel's reserve (min_free_kbytes)
        wants = memory()["MemFree"]
        objects = [alloc(heap, size) for _ in range(wants // size)]
        left = stats(API)["quarantined_bytes"]
        for addr in objects:
            heap.call("kfree", addr)
    assert left < full, f"{left} bytes wait all the same"
    assert "Out of memory" not in case_log()


CASES = [
    ("poison where nobody writes", not_written),
    ("a write anywhere, API", every_offset_api),
    ("a write anywhere, drop-in", every_offset_dropin),
    ("several bytes", several_bytes),
    ("every release, every context", every_release),
    ("RCU readers", readers),
    ("pages that others hold", shared),
    ("pages that others let go", let_go),
    ("krealloc", moved),
    ("found whenever it leaves", when_it_is_found),
    ("policy/use_after_free=pass", passed),
    ("bounds and account", bounds),
    ("bounds under load", bounds_under_load),
    ("released again on the way out", leaves_for_another),
    ("released again on the way out, by the wrong function at first", leaves_at_once),
    ("the kernel's shrinkers", shrinks),
    ("when memory is short", storm),
]

if __name__ == "__main__":
    run_cases(CASES, modules=(API, DROPIN, WORLD, STRESS))
