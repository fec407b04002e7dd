#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""What a module leaves behind when it goes: held by the kernel, or forgotten.

The kernel holds buffers in the receive queue of a socket here. It frees them
when they have been read or the socket is closed, without asking whether the
module still exists; so they must not be given back at its exit, and a free of
one afterwards is what its author meant to happen.
"""
import contextlib
import socket
import threading
from typing import Iterator

from ksft_mown import (DEBUGFS, MODULES, SYSFS, ExitBlock, Live, Skip, case_log, command,
                       dmesg_mark, dmesg_since, exits, insmod, is_in, live, load_mown,
                       module_loaded, ops, policy, read_file, rmmod, run_cases, stats, wait_for,
                       write_file)

MODULE = "mown_dropin_queue"
GONE = f"{MODULE}(gone)"
PARAMETERS = f"/sys/module/{MODULE}/parameters"
TEXT = b"from a module that may be gone"
API, DROPIN, WORLD = "mown_test_ops", "mown_dropin_ops", "mown_plain_ops"
PAGE = 4096
# The sizes of its buffers.
SMALL, BIG = 1024, 4096
# What takes the longer to wipe
WIPED = 64 << 20


# ---- Helpers ----

@contextlib.contextmanager
def receiver() -> Iterator[socket.socket]:
    """A socket into whose receive queue the module may put buffers."""
    one, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    with one, other:
        one.setblocking(False)
        yield one


def queue(sock: socket.socket, which: str, count: int = 1) -> None:
    """Have the module queue "small" or "big" buffers."""
    for _ in range(count):
        write_file(f"{PARAMETERS}/{which}", str(sock.fileno()))


def forget(*sizes: int) -> None:
    """Have the module lose buffers."""
    for size in sizes:
        write_file(f"{PARAMETERS}/forget", str(size))


def last_exit(name: str = MODULE) -> ExitBlock:
    """The account of the module NAME, which went away just now."""
    blocks = exits(name)
    assert blocks, f"{name} has no block in exits"
    return blocks[-1]


def sites(block: ExitBlock) -> list[tuple[int, int, str]]:
    """Count, bytes and function of what is left behind, as the block has it."""
    for site in block.sites:
        assert site.family == "kmalloc", f"{site}"
        assert site.site.endswith(f"[{block.name}]"), f"no site in the module: {site}"
    return [(site.count, site.bytes, site.site.split("+")[0]) for site in block.sites]


def expect_left(block: ExitBlock, late: int, *expected: tuple[int, int, str]) -> None:
    """The block says that EXPECTED is left behind, and LATE objects were freed late."""
    count = sum(site[0] for site in expected)
    total = sum(site[1] for site in expected)
    assert (block.left, block.left_bytes, block.late) == (count, total, late), \
        f"{block}: not {count} objects of {total} bytes, {late} freed late"
    assert sites(block) == list(expected), f"{sites(block)} is not {list(expected)}"
    assert block.allocated == block.freed + block.elsewhere + block.left + block.late, \
        f"{block}: its counters do not add up"


def orphans() -> list[Live]:
    """The records of modules named MODULE that have gone."""
    return [record for record in live() if record.module == GONE]


def wait_left(index: int, left: int, late: int) -> None:
    """The block of MODULE at INDEX comes to have so many left, and freed late."""
    def reached() -> bool:
        """Does the block say so?"""
        block = exits(MODULE)[index]
        return (block.left, block.late) == (left, late)

    wait_for(reached, f"{left} left behind, {late} freed late")


# ---- Cases ----

def read_when_gone() -> None:
    """A buffer that the kernel holds is left alone, listed, and freed late by a read."""
    for word in ("auto", "report"):
        with policy("left_behind", word), receiver() as sock:
            insmod(MODULE)
            queue(sock, "small")
            before = len(orphans())
            mark = dmesg_mark()
            rmmod(MODULE)
            left = (1, SMALL, "queue_small_buffer")
            expect_left(last_exit(), 0, left)
            assert last_exit().reclaimed == 0, "it is reclaimed while the kernel has it"
            wait_for(lambda m=mark: f"mown: {MODULE}: left behind 1 objects ({SMALL} bytes), "
                     "reclaimed 0" in dmesg_since(m), "a line in the log")
            listed = orphans()[before:]
            assert [(o.size, o.family) for o in listed] == [(SMALL, "kmalloc")], f"{listed}"
            assert listed[0].site.startswith("queue_small_buffer+"), f"{listed}"

            # The buffer is as the module left it: nobody has freed or poisoned it.
            assert sock.recv(100) == TEXT, "the buffer was overwritten"
            wait_left(-1, 0, 1)
            expect_left(last_exit(), 1)
            assert len(orphans()) == before, f"{orphans()}"


def many_by_sites() -> None:
    """Several of several sites, the most bytes first; freed by reads and by a close."""
    with receiver() as sock:
        insmod(MODULE)
        # Three of 1024 and two of 4096 bytes; the forgotten one is nobody's.
        queue(sock, "small", 3)
        queue(sock, "big", 2)
        forget(100)
        now = stats(MODULE)
        assert (now["allocated"], now["live"]) == (6, 6), f"{now}"
        assert now["live_bytes"] == 3 * SMALL + 2 * BIG + 100, f"{now}"
        before = len(orphans())
        rmmod(MODULE)
        forgotten = (1, 100, "forget_buffer")
        big = (2, 2 * BIG, "queue_big_buffer")
        expect_left(last_exit(), 0, big, (3, 3 * SMALL, "queue_small_buffer"), forgotten)
        assert len(orphans()) == before + 6, f"{orphans()}"
        # First in, first out: two small ones.
        assert sock.recv(100) == TEXT and sock.recv(100) == TEXT
        wait_left(-1, 4, 2)
        expect_left(last_exit(), 2, big, (1, SMALL, "queue_small_buffer"), forgotten)
    wait_left(-1, 1, 5)
    expect_left(last_exit(), 5, forgotten)
    assert len(orphans()) == before + 1, f"{orphans()}"


def loaded_again() -> None:
    """A second life of the module is an owner of its own beside the first one's orphans."""
    with receiver() as first, receiver() as second:
        insmod(MODULE)
        queue(first, "small", 2)
        rmmod(MODULE)
        before = len(orphans())

        insmod(MODULE)
        now = stats(MODULE)
        assert (now["allocated"], now["live"]) == (0, 0), f"a new life begins with {now}"
        queue(second, "big", 3)
        assert len(live(MODULE)) == 3, "the owner's file has its own objects only"
        assert [r.module for r in live() if r.module == MODULE] == [MODULE] * 3
        assert len(orphans()) == before, "the orphans are still there, and no more"
        assert read_file(f"{SYSFS}/modules/{MODULE}/live").strip() == "3"

        # One of the first life is freed during the second: it is the first one's.
        assert first.recv(100) == TEXT
        wait_left(-1, 1, 1)
        now = stats(MODULE)
        assert (now["live"], now["released_elsewhere"]) == (3, 0), f"{now}"
        # One of the second is freed while it lives: released elsewhere, not late.
        assert second.recv(100) == TEXT
        wait_for(lambda: stats(MODULE)["released_elsewhere"] == 1, "a release elsewhere")
        wait_left(-1, 1, 1)

        rmmod(MODULE)
        expect_left(exits(MODULE)[-2], 1, (1, SMALL, "queue_small_buffer"))
        block = last_exit()
        expect_left(block, 0, (2, 2 * BIG, "queue_big_buffer"))
        assert (block.allocated, block.freed, block.elsewhere) == (3, 0, 1), f"{block}"

        assert second.recv(100) == TEXT
        wait_left(-1, 1, 1)
        wait_left(-2, 1, 1)
    wait_left(-1, 0, 2)
    wait_left(-2, 0, 2)
    assert len(orphans()) == before - 2, "some orphan of the two lives is left"


def forgotten_reclaimed() -> None:
    """With left_behind=reclaim what nobody holds is given back, and no orphan is left."""
    insmod(MODULE)
    forget(8, 100, 1000, 8192, 20000)
    before = len(orphans())
    with policy("left_behind", "reclaim"):
        rmmod(MODULE)
    block = last_exit()
    expect_left(block, 0, (5, 8 + 100 + 1000 + 8192 + 20000, "forget_buffer"))
    assert block.reclaimed == 5, f"{block}"
    assert len(orphans()) == before, f"{orphans()}"


def changed_when_gone() -> None:
    """What others make of it counts for who left it: it grows, is split, is given away."""
    def left() -> tuple[int, int, int]:
        block = last_exit(API)
        return block.left, block.left_bytes, block.late

    with ops(DROPIN) as other, ops(WORLD) as world:
        with policy("left_behind", "report"), ops(API) as heap:
            small = heap.call("kmalloc", 90).pointer
            given = heap.call("kmalloc", 200).pointer
            pages = heap.call("alloc_pages", 1).pointer
        assert left() == (3, 90 + 200 + 2 * PAGE, 0), last_exit(API)
        assert other.call("krealloc", small, 96).pointer == small
        assert left() == (3, 96 + 200 + 2 * PAGE, 0), last_exit(API)
        world.call("split_page", pages, 1)
        assert left() == (3, 96 + 200 + PAGE, 0), last_exit(API)
        assert other.call("disown", given).pointer == 0
        assert left() == (2, 96 + PAGE, 1), last_exit(API)
        world.call("kfree", given)
        world.call("free_page", pages + PAGE)
        assert left() == (2, 96 + PAGE, 1), last_exit(API)
        world.call("free_page", pages)
        other.call("kfree", small)
        assert left() == (0, 0, 3), last_exit(API)


def init_fails() -> None:
    """An init that fails half way: what it allocated is dealt with before insmod returns."""
    expected = (3, 100 + 200 + 300)
    for word, reclaimed in (("auto", 0), ("report", 0), ("reclaim", 3)):
        before = len(orphans())
        with policy("left_behind", word):
            done = command("insmod", str(MODULES / f"{MODULE}.ko"), "fail=1")
        assert done.returncode and "No such device" in done.stdout, f"{done}"
        block = last_exit()
        assert (block.left, block.left_bytes) == expected, f"{word}: {block}"
        assert block.reclaimed == reclaimed, f"{word}: {block}"
        # The call is in init text, which is gone; its name was kept.
        assert is_in(block.sites[0].site, f"{MODULE}_init"), f"{block}"
        assert len(orphans()) == before + 3 - reclaimed, f"{word}: {orphans()}"
        assert not module_loaded(MODULE)


def init_fails_api() -> None:
    """The same by the API, whose default is to give back what is left."""
    done = command("insmod", str(MODULES / "mown_test_initfail.ko"))
    assert done.returncode and "No such device" in done.stdout, done.stdout
    # Three objects of 100, 200 and 300 bytes, the second one freed.
    block = last_exit("mown_test_initfail")
    assert (block.allocated, block.freed) == (3, 1), f"{block}"
    assert (block.left, block.left_bytes, block.reclaimed) == (2, 400, 2), f"{block}"


def mown_gone() -> None:
    """mown itself goes while the kernel holds orphans, which are freed all the same."""
    with receiver() as sock:
        insmod(MODULE)
        queue(sock, "small", 3)
        queue(sock, "big", 3)
        forget(100)
        rmmod(MODULE)
        done = command("rmmod", "mown")
        if done.returncode:
            raise Skip(f"mown cannot be unloaded here: {done.stdout.strip()}")
        try:
            for _ in range(3):
                assert sock.recv(100) == TEXT, "a buffer was overwritten"
        finally:
            load_mown()
        # Freed by the next mown's time: it knows nothing of them.
    assert read_file(f"{DEBUGFS}/exits") == "mown exits 1\n", "exits of an earlier life of mown"
    assert not live(), "records of an earlier life of mown"


def last_rescued() -> None:
    """The last orphan, of vmalloc(), is released by kfree(): it goes, and its owner, whichever is
    first; mown's caches have nothing left when mown goes.
    """
    for _ in range(20):
        with ops(DROPIN) as heap:
            addr = heap.call("vmalloc", 100000).pointer
        assert last_exit(DROPIN).left == 1
        with ops(API) as heap:
            heap.call("kfree", addr)
            wait_for(lambda: last_exit(DROPIN).late == 1, "the orphan to go")
        write_file(f"{SYSFS}/clear", "1")
    rmmod("mown")
    load_mown()
    assert "still has objects" not in case_log(), case_log()


def last_wiped() -> None:
    """The same by kfree_sensitive(), which takes a while: the owner is removed meanwhile."""
    wiping = False
    for _ in range(30):
        with ops(DROPIN) as heap:
            addr = heap.call("vmalloc", WIPED).pointer
        assert last_exit(DROPIN).left == 1
        with ops(API) as heap:
            thread = threading.Thread(target=heap.call, args=("kfree_sensitive", addr))
            thread.start()
            wait_for(lambda: last_exit(DROPIN).late == 1, "the orphan to be released")
            wiping = thread.is_alive()
            write_file(f"{SYSFS}/clear", "1")
            thread.join()
        if wiping:
            break
    assert wiping, "each was wiped before its account was cleared"
    wait_for(lambda: f" {WIPED + PAGE} " not in read_file("/proc/vmallocinfo"), "the memory to go")
    rmmod("mown")
    load_mown()
    assert "still has objects" not in case_log(), case_log()


CASES = [
    ("a buffer in a socket's queue, read when its module has gone", read_when_gone),
    ("several of several sites, freed by reads and by a close", many_by_sites),
    ("the module loaded again while it has orphans", loaded_again),
    ("forgotten objects reclaimed", forgotten_reclaimed),
    ("resized, split and given away when the module has gone", changed_when_gone),
    ("an init that fails half way, drop-in", init_fails),
    ("an init that fails half way, API", init_fails_api),
    ("mown unloaded while there are orphans", mown_gone),
    ("the last orphan released by the wrong function", last_rescued),
    ("the last orphan wiped while its account is cleared", last_wiped),
]

if __name__ == "__main__":
    run_cases(CASES, modules=(MODULE, API, DROPIN, WORLD))
