#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""What mown believes of its records, and whom it waits for.

A record is true as long as every free of its object is seen. These are the
cases where one was not, or where a true record looked wrong.
"""
import contextlib
import glob
import os
import subprocess
import time
from typing import Callable, Iterator, Sequence

from ksft_mown import (DEBUGFS, DENIER, PATIENCE, SYSFS, Ops, Skip, case_log, denier, difference,
                       exits, insmod, kernel_has, kernel_version, knob, live, load_mown, loaded,
                       module_loaded, ops, read_file, reported, rmmod, run_cases, stats, untracked,
                       violations, wait_for, write_file)
from test_kernel_frees import slub_debug

WORLD = "mown_plain_world"
TRUST = "mown_test_trust"
API, DROPIN, PLAIN = "mown_test_ops", "mown_dropin_ops", "mown_plain_ops"
GIVER = "mown_dropin_giver"
ASYNC, EXIT_ASYNC = "mown_plain_async", "mown_test_async"
PARAMETERS = "/sys/module/{}/parameters/{}"
FTRACE = "/proc/sys/kernel/ftrace_enabled"
PAGE = os.sysconf("SC_PAGE_SIZE")


def parameter(module: str, name: str) -> str:
    """What a module's parameter says."""
    return read_file(PARAMETERS.format(module, name)).strip()


@contextlib.contextmanager
def blind_net() -> Iterator[None]:
    """mown is new, and what becomes its owner for a while is blind: the net has a hole."""
    # Orphans of earlier tests would keep the net on
    rmmod("mown")
    load_mown()
    write_file(FTRACE, "0")
    try:
        yield
    finally:
        write_file(FTRACE, "1")


def until_again(heap: Ops, size: int, addr: int) -> list[int]:
    """Objects of SIZE bytes, allocated until the address ADDR comes again; that is the last."""
    found: list[int] = []
    while addr not in found:
        assert len(found) < 4096 or kernel_version() >= (6, 18), f"{addr:#x} does not come again"
        if len(found) == 4096:
            # Each CPU keeps whole sheaves of free objects there
            raise Skip("the allocator did not give out the address again")
        found.append(heap.call("kmalloc", size).pointer)
        assert found[-1], f"no {size} bytes"
    return found


def hole_repaired() -> None:
    """The net had a hole when the object went, and is whole when its owner goes.

    The address belongs to somebody else then. Giving it back would free his
    memory, so an owner that came before the net was whole reclaims nothing.
    """
    if kernel_has("kasan_report"):
        raise Skip("no address comes again soon: KASAN keeps what is freed")
    with loaded(WORLD):
        with blind_net():
            insmod(TRUST, what="hole")
        if parameter(TRUST, "done") != "Y":
            rmmod(TRUST)
            # From 6.18 on each CPU keeps whole sheaves of free objects
            assert kernel_version() >= (6, 18), "the kernel did not get the address again"
            raise Skip("the allocator did not give out the address again")
        assert stats(TRUST)["blind"] == 1, "it does not say that it may not see all"
        # The next owner repairs the net, for itself
        with loaded("mown_test_ops"):
            assert stats("mown_test_ops")["blind"] == 0, "the net was not repaired"
            rmmod(TRUST)
            block = exits(TRUST)[-1]
            assert (block.left, block.reclaimed) == (1, 0), f"{block}"
            again = parameter(WORLD, "given_out")
            assert again == "0", "what belongs to the kernel was freed"


def address_again() -> None:
    """A module is given the address of what went unseen: the older record was wrong, and goes.

    Each is counted, and the log has a line about the first.
    """
    if kernel_has("kasan_report"):
        raise Skip("no address comes again soon: KASAN keeps what is freed")
    os.sched_setaffinity(0, {0})
    size = 2 * PAGE
    with blind_net(), ops(API) as heap, ops(PLAIN) as kernel:
        held: list[int] = []
        for number in (1, 2):
            addr = heap.call("kmalloc", size).pointer
            kernel.call("kfree_bulk", addr)
            counts = stats(API)
            assert (counts["live"], counts["stale"]) == (len(held) + 1, number - 1), counts
            held += until_again(heap, size, addr)
            counts = stats(API)
            assert counts["stale"] == number, counts
            assert (counts["live"], counts["live_bytes"]) == (len(held), len(held) * size), counts
            assert sorted(record.address for record in live(API)) == sorted(held), live(API)
        for addr in held:
            heap.call("kfree", addr)
        counts = stats(API)
        assert (counts["allocated"], counts["freed"]) == (len(held) + 2, len(held)), counts
        assert counts["live"] == counts["live_bytes"] == counts["released_elsewhere"] == 0, counts
        assert not violations(), violations()
    account = read_file(f"{DEBUGFS}/exits")
    assert account.endswith("left behind 0 (0 bytes), reclaimed 0, stale 2\n"), account
    # It has said by then what it has to say
    rmmod("mown")
    load_mown()
    told = case_log().count("mown: a record was wrong: its memory was freed on a path that mown")
    assert told == 1, f"it is said {told} times"


def first_covered(module: str, tenants: set[int], small: int) -> int:
    """An object that MODULE has a record of, where all is TENANTS of SMALL bytes now; or 0."""
    return next((record.address for record in live(module)
                 if tenants.issuperset(range(record.address, record.address + record.size,
                                             small))), 0)


def another_class() -> None:
    """Where an object went unseen there are smaller ones of somebody else's: the record is wrong.

    A free of that address is one of what is there by now, and goes to the kernel. Nothing
    waits for it, nor is anything written to as far as the older object reached: neither if its
    owner was blind then, nor if it was made over to one who is not.
    """
    if kernel_has("kasan_report"):
        raise Skip("no memory comes again soon: KASAN keeps what is freed")
    if slub_debug():
        raise Skip("no object fills the place of another: the allocator has its own about each")
    os.sched_setaffinity(0, {0})
    # Those of both sizes come from as many pages at once
    size, small = 2 * PAGE, PAGE // 2
    with contextlib.ExitStack() as stack:
        kernel = stack.enter_context(ops(PLAIN))
        with blind_net():
            heap = stack.enter_context(ops(API))
            objects = [heap.call("kmalloc", size).pointer for _ in range(256)]
            # What is between them keeps the slabs
            dead = objects[1::2]
            for addr in dead:
                kernel.call("kfree_bulk", addr)
        other = stack.enter_context(ops(DROPIN))
        assert (stats(API)["blind"], stats(DROPIN)["blind"]) == (1, 0), "the net was not repaired"
        taker = other.call("this_module").pointer
        for addr in dead[::2]:
            assert heap.call("transfer", addr, taker).pointer == 0, f"{addr:#x} is not live"
        for addr in objects[::2]:
            heap.call("kfree", addr)
        tenants: set[int] = set()
        found: list[int] = []
        while not (found and all(found)):
            if len(tenants) > 8192:
                raise Skip("the allocator did not make small objects of large ones' memory")
            for path in glob.glob("/sys/kernel/slab/kmalloc*8k/shrink"):
                write_file(path, "1")
            tenants.update(kernel.call("kmalloc", small).pointer for _ in range(64))
            # Of those at the begin of a slab it was seen that their pages go
            found = [first_covered(module, tenants, small) for module in (API, DROPIN)]
        for addr in tenants:
            kernel.call("fill", addr, small, 0x41)
        for module, caller, addr in ((API, heap, found[0]), (DROPIN, other, found[1])):
            before = stats(module)
            caller.call("kfree", addr)
            changed = difference(module, before)
            assert changed == {"stale": 1, "live": -1, "live_bytes": -size}, f"{module}: {changed}"
            tenants.remove(addr)
            harmed = [hex(start) for start in tenants
                      if kernel.call("differs", start, small, 0x41).pointer]
            assert not harmed, f"{module}: {addr:#x} is freed, and written to: {harmed}"
            again = until_again(kernel, small, addr)
            for start in again:
                kernel.call("kfree", start)
        for addr in tenants:
            kernel.call("kfree", addr)
        assert not violations(), violations()
    # What is recorded still has gone
    rmmod("mown")
    load_mown()


def inside_of_larger(larger: Sequence[int], size: int, smaller: Sequence[int]) -> int:
    """One of the SMALLER addresses inside of a LARGER object of SIZE bytes, not in front; or 0."""
    return next((start for addr in larger for start in smaller
                 if addr + PAGE <= start < addr + size), 0)


def part_of_larger() -> None:
    """What the kernel's kfree_rcu() has freed is part of a larger object: a free into that is one.

    From 6.18 on nobody sees when that kfree_rcu() is done, so that there are records of what
    has long become something else.
    """
    if kernel_has("kasan_report"):
        raise Skip("no memory comes again soon: KASAN keeps what is freed")
    size = 8 * PAGE
    with ops(API) as heap, ops(PLAIN) as kernel:
        first = stats(API)
        smaller = [heap.call("kmalloc", PAGE).pointer for _ in range(512)]
        for addr in smaller:
            kernel.call("kfree_rcu", addr)
        # A grace period that begins after all of them
        heap.call("kfree_rcu", heap.call("kmalloc", 64).pointer)
        wait_for(lambda: stats(API)["quarantined"] == 1, "a grace period")
        # The slabs become pages; the kernel's kfree_rcu() may take some seconds to be done
        larger: list[int] = []
        for _ in range(8):
            for path in glob.glob("/sys/kernel/slab/kmalloc*4k/shrink"):
                write_file(path, "1")
            larger += [heap.call("kmalloc", size).pointer for _ in range(64)]
            start = inside_of_larger(larger, size, smaller)
            if start:
                break
            time.sleep(1)
        else:
            raise Skip("the allocator did not make large objects of small ones' memory")
        before = stats(API)
        with reported(API, "interior_frees", f"{size} bytes, kmalloc"):
            heap.call("kfree", start + 16)
        assert stats(API)["unknown_frees"] == before["unknown_frees"], violations()
        for addr in larger:
            heap.call("kfree", addr)
        after = stats(API)
        assert after["live"] == first["live"] and after["stale"] == first["stale"], after
        assert after["released_elsewhere"] == first["released_elsewhere"] + len(smaller), after


def orphan_by_kfree_rcu() -> None:
    """The kernel frees an orphan by kfree_rcu(): nothing of it may stay.

    Its record waits for the end of the kernel's batch, and must not outlive
    its owner, which goes at once: mown's own cache would have an object left
    when mown goes, which the kernel reports.
    """
    with loaded(WORLD):
        insmod(GIVER)
        rmmod(GIVER)
        assert exits(GIVER)[-1].left == 1, "it did not leave its object behind"
        write_file(PARAMETERS.format(WORLD, "command"), "kfree_rcu")
        wait_for(lambda: exits(GIVER)[-1].late == 1, "the object to count as freed late")
        assert exits(GIVER)[-1].left == 0
        rmmod("mown")
    load_mown()


def string_with_nul() -> None:
    """A formatted string may be longer than it looks: its record is right."""
    with loaded(WORLD), loaded(TRUST, what="format"):
        assert parameter(TRUST, "done") == "Y"
        counts = stats(TRUST)
        seen = {name: counts[name] for name in
                ("allocated", "freed", "live", "stale", "interior_frees", "unknown_frees")}
        assert seen == {"allocated": 1, "freed": 1, "live": 0, "stale": 0,
                        "interior_frees": 1, "unknown_frees": 0}, f"{seen}"


def untracked_resized() -> None:
    """Resizing an object without a record does not use up its right to be freed."""
    os.sched_setaffinity(0, {0})
    with ops(API) as heap, denier():
        for pointer in untracked(heap, API, 20):
            assert heap.call("krealloc", pointer, 12).pointer == pointer
            heap.call("kfree", pointer)
        counts = stats(API)
        assert counts["untracked_freed"] == counts["untracked"] == 20, f"{counts}"
        assert counts["unknown_frees"] == 0, f"{counts}"
        assert counts["live"] == 0, f"{counts}"


def untracked_not_lent() -> None:
    """Another module's lawful frees do not use up a module's own, which would be refused then."""
    os.sched_setaffinity(0, {0})
    write_file(f"{SYSFS}/clear", "1")
    with ops(API) as heap, ops(DROPIN) as other, denier():
        pointers = untracked(heap, API, 20)
        before = stats(API)
        for _ in range(10):
            other.call("kfree", other.call("raw_kmalloc", 100).pointer)
        assert stats(DROPIN)["unknown_passed"] == 10, stats(DROPIN)
        assert stats(API) == before, f"{stats(API)}, not {before}"
        for pointer in pointers:
            heap.call("kfree", pointer)
        assert stats(API)["untracked_freed"] == 20, stats(API)
    assert not violations(), violations()


def untracked_of_device() -> None:
    """A device's memory without a record is resized, freed by hand, or goes with the device."""
    os.sched_setaffinity(0, {0})
    with knob("quarantine_bytes", 0), ops(API) as heap, denier():
        blocks = untracked(heap, API, 6, "devm_kmalloc", 0, 64)
        heap.call("devm_kfree", 0, blocks.pop())
        assert heap.call("devm_krealloc", 0, blocks[0], 60).pointer == blocks[0]
        old = blocks.pop()
        heap.call("fill", old, 64, 0x41)
        moved = heap.call("devm_krealloc", 0, old, 5000).pointer
        assert moved not in (0, old)
        assert heap.call("differs", moved, 64, 0x41).pointer == 0, "what was in it is lost"
        counts = stats(API)
        assert (counts["untracked_freed"], counts["live"]) == (2, 1), counts
        number = heap.call("unbind_logged", 0).pointer
        freed = [heap.call("log", i).pointer for i in range(number)]
        blocks.append(moved)
        # What the kernel frees begins before a block by as much as its devres
        # header is long, which is the same for all, and no more than this
        assert any(all(freed.count(block - header) == 1 for block in blocks)
                   for header in range(129)), \
            f"of {[hex(block) for block in blocks]} not each is freed once: " \
            f"{[hex(addr) for addr in freed]}"
        assert stats(API)["live"] == 0 and not violations(), stats(API)
        # No free of the module's belongs to them any more
        counts = stats(API)
        assert counts["untracked_freed"] == counts["untracked"] == 6, counts
        with reported(API, "unknown_frees"):
            heap.call("kfree", blocks[0])


def who_is_blamed() -> None:
    """A report names the module that frees wrongly, not the one that is gone."""
    with loaded(WORLD):
        insmod(GIVER, another=1)
        rmmod(GIVER)
        before = len(violations())
        write_file(PARAMETERS.format(WORLD, "command"), "kfree_rcu")
        with loaded(TRUST, what="free"):
            wait_for(lambda: len(violations()) > before, "the report")
            title = violations()[-1].splitlines()[0]
        assert f"[{TRUST}]" in title, f"blamed: {title}"


def async_work() -> None:
    """An owner with nothing left goes without waiting for asynchronous work.

    Such work may itself wait for the lock of the notifiers' list, under which
    owners end: both would wait for ever.
    """
    with loaded(ASYNC):
        insmod("mown_test_ops")
        before = len(exits("mown_test_ops"))
        write_file(PARAMETERS.format(ASYNC, "start"), "1")
        going = subprocess.Popen(["rmmod", "mown_test_ops"])
        try:
            # The account is drawn up inside of the notifier, whereas rmmod
            # itself waits for the work later.
            wait_for(lambda: len(exits("mown_test_ops")) > before,
                     "the account of the module")
        finally:
            write_file(PARAMETERS.format(ASYNC, "go"), "1")
        assert going.wait(timeout=PATIENCE) == 0
        assert not module_loaded("mown_test_ops")


def async_at_exit() -> None:
    """What asynchronous work of the exit function frees is waited for: it is not left behind."""
    write_file(f"{SYSFS}/clear", "1")
    insmod(EXIT_ASYNC)
    rmmod(EXIT_ASYNC)
    block = exits(EXIT_ASYNC)[-1]
    assert (block.allocated, block.freed) == (1, 1), block
    assert (block.left, block.reclaimed, block.late) == (0, 0, 0), block
    assert not violations(), violations()


CASES: list[tuple[str, Callable[[], None]]] = [
    ("a hole in the net, repaired later", hole_repaired),
    ("an address that comes again", address_again),
    ("memory that is smaller objects by now", another_class),
    ("memory that is part of a larger object by now", part_of_larger),
    ("an orphan freed by the kernel's kfree_rcu()", orphan_by_kfree_rcu),
    ("a string with a NUL in it", string_with_nul),
    ("an object without a record, resized", untracked_resized),
    ("objects without a record, and frees by another module", untracked_not_lent),
    ("a device's memory without a record", untracked_of_device),
    ("who is blamed for a wrong free", who_is_blamed),
    ("asynchronous work that waits for us", async_work),
    ("asynchronous work that we wait for", async_at_exit),
]

if __name__ == "__main__":
    run_cases(CASES, [TRUST, GIVER, API, DROPIN, PLAIN, ASYNC, EXIT_ASYNC, WORLD, DENIER])
