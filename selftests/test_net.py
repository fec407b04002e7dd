#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""The net: frees that do not come through mown, and frees that come late.

As long as there is an owner, mown sees every free of its memory by anybody;
where it cannot, it must know that, and hold nothing back nor give anything
back; and where there is no owner it must not be in anybody's way.
"""
import errno
import os
import re
import socket

from ksft_mown import (Skip, command, dmesg_mark, dmesg_since, exits, global_stats, insmod,
                       kernel_has, live, load_mown, loaded, policy, read_file, rmmod, run_cases,
                       stats, wait_for, write_file)
from test_kernel_frees import (MODULE as FREES, PATHS, Judge, do_free, expect, expect_exit,
                               reuse, slab_objects)

MODULE = "mown_test_rcu"
PARAMETERS = f"/sys/module/{MODULE}/parameters"
QUEUE = "mown_dropin_queue"
PLAIN = "mown_plain_tracepoints"
HOMONYM = "mown_plain_homonym"
TRACEFS = "/sys/kernel/tracing"
FTRACE_ENABLED = "/proc/sys/kernel/ftrace_enabled"
# The functions that free and pass no tracepoint, and what makes pages of a block.
WATCHED = {"kvfree_call_rcu", "vfree", "kmem_cache_free_bulk", "mempool_free", "dma_pool_free",
           "dma_free_attrs", "split_page"}
if kernel_has("mempool_free_bulk"):
    WATCHED.add("mempool_free_bulk")
if kernel_has("kvfree_atomic"):
    WATCHED.add("kvfree_atomic")
TRACEPOINTS = {"kfree", "kmem_cache_free", "mm_page_free", "percpu_free_percpu"}
# What quarantine holds at most, of small objects.
QUARANTINE_OBJECTS = 1000


# ---- Helpers ----

def do(what: str, count: int) -> None:
    """Have mown_test_rcu do WHAT to COUNT objects."""
    write_file(f"{PARAMETERS}/{what}", str(count))


def new_mown() -> None:
    """Load mown afresh, so that nothing that an earlier test left is an owner."""
    done = command("rmmod", "mown")
    if done.returncode:
        raise Skip(f"mown cannot be unloaded here: {done.stdout.strip()}")
    load_mown()


def need_ftrace() -> None:
    """Skip where ftrace is not there or was switched off by somebody else."""
    if not os.path.exists(FTRACE_ENABLED) or not os.path.exists(f"{TRACEFS}/enabled_functions"):
        raise Skip("needs ftrace and tracefs")
    if read_file(FTRACE_ENABLED).strip() != "1":
        raise Skip("ftrace is off")


def hooked() -> set[str]:
    """The functions that ftrace calls mown for, and those of WATCHED that it calls anybody for."""
    lines = read_file(f"{TRACEFS}/enabled_functions").splitlines()
    return {line.split()[0] for line in lines if re.search(r"\bmown_\w+\+", line)} | \
        {line.split()[0] for line in lines if line} & WATCHED


def probed() -> set[str]:
    """The tracepoints of the allocator's frees that somebody has a probe on."""
    return set(read_file(f"/sys/module/{PLAIN}/parameters/probed").split())


# ---- Cases ----

def slab_active(cache: str) -> int:
    """How many objects of a cache are in use; some of which are not, but ready for use."""
    for line in read_file("/proc/slabinfo").splitlines():
        if line.startswith(f"{cache} "):
            return int(line.split()[1])
    raise Skip(f"/proc/slabinfo has no {cache}")


def rcu_at_unload() -> None:
    """Objects whose grace period is not over when their module goes are no leak.

    9,000 are freed just before, 1,000 by the exit function itself; none was
    live when it returned, so none is left behind. And all memory comes back:
    of 9,900 objects of 64 bytes fewer than a third may seem to be in use, for
    what other users do, and what is ready for use on each CPU.
    """
    before, unnamed = slab_active("kmalloc-64"), slab_objects("")
    insmod(MODULE, at_exit=1000)
    do("free", 9000)
    rmmod(MODULE)
    wait_for(lambda: slab_active("kmalloc-64") < before + 3300, "the memory to come back")
    # Where the allocator knows, no object at all stays out.
    wait_for(lambda: slab_objects("") <= unnamed, "every object to come back")
    block = exits(MODULE)[-1]
    assert (block.allocated, block.freed, block.elsewhere) == (10000, 10000, 0), f"{block}"
    assert (block.left, block.reclaimed) == (0, 0), f"{block}"
    assert not [r for r in live() if r.module.startswith(MODULE)], "records are left"


def rcu_then_quarantine() -> None:
    """After its grace period an object waits in quarantine as others do."""
    with loaded(MODULE):
        judge = Judge(MODULE)
        do("free", 3000)
        do("sleep", 3)
        now = stats(MODULE)
        assert (now["allocated"], now["freed"], now["live"]) == (3003, 3003, 0), f"{now}"
        # More came than it holds, and all of them come: it ends up full.
        wait_for(lambda: stats(MODULE)["quarantined"] == QUARANTINE_OBJECTS,
                 "a full quarantine")
        judge.expect_own()
        now = stats(MODULE)
        assert now["double_frees"] == now["released_elsewhere"] == now["stale"] == 0, f"{now}"


def rcu_twice() -> None:
    """What waits for a grace period is released: a second free is a double free."""
    with loaded(MODULE):
        judge = Judge(MODULE)
        do("twice", 20)
        now = stats(MODULE)
        assert (now["allocated"], now["freed"], now["double_frees"]) == (20, 20, 20), f"{now}"
        wait_for(lambda: stats(MODULE)["quarantined"] == 20, "20 in quarantine, once each")
        judge.expect_own()


def reused_after_rcu() -> None:
    """The kernel's kfree_rcu() of a quarantined object, and the memory in other hands.

    The batches of the kernel's kfree_rcu() pass no tracepoint. Unseen, they
    would give the object back while it is in quarantine, and its eviction would
    free what is somebody else's by then.
    """
    with loaded(FREES):
        judge, before = Judge(FREES), stats(FREES)
        done = reuse("rcu")
        expect(before, "reuse", allocated=3001 * done.tries, freed=3001 * done.tries,
               double_frees=done.tries)
        judge.expect_own()


def traced() -> None:
    """Somebody else traces the functions that mown watches: it still sees them."""
    need_ftrace()
    tracer, choice = f"{TRACEFS}/current_tracer", f"{TRACEFS}/set_ftrace_filter"
    if "function" not in read_file(f"{TRACEFS}/available_tracers").split():
        raise Skip("there is no function tracer")
    insmod(FREES)
    judge = Judge(FREES)
    for name in sorted(WATCHED | {"kfree"}):
        # No more than one word is taken of a write
        write_file(choice, f"{name}\n")
    assert WATCHED <= {line.split()[0] for line in read_file(choice).splitlines()}
    write_file(tracer, "function")
    try:
        for path in PATHS:
            before = stats(FREES)
            do_free(path.name, "live")
            expect(before, path.name, allocated=path.kernel + path.module, freed=path.module,
                   released_elsewhere=path.kernel)
    finally:
        write_file(tracer, "nop")
        with open(choice, "w", encoding="ascii"):
            pass
    judge.expect_own()
    last = stats(FREES)
    rmmod(FREES)
    expect_exit(last)


def complete() -> None:
    """With an owner the net is whole on this kernel, and cannot be cut unseen."""
    need_ftrace()
    with loaded(MODULE):
        assert global_stats()["net"] == "complete", global_stats()["net"]
        try:
            write_file(FTRACE_ENABLED, "0")
        except OSError as error:
            assert error.errno == errno.EBUSY, f"{error}"
        else:
            write_file(FTRACE_ENABLED, "1")
            raise AssertionError("ftrace can be switched off under mown")
        assert read_file(FTRACE_ENABLED).strip() == "1"
        assert global_stats()["net"] == "complete", global_stats()["net"]
        do("double", 1)
        assert stats(MODULE)["double_frees"] == 1, "there is no quarantine"


def homonym() -> None:
    """A module's own function that is called as one of the watched is not watched."""
    need_ftrace()
    with loaded(HOMONYM):
        # The functions are looked up once in its life
        new_mown()
        with loaded(MODULE):
            assert global_stats()["net"] == "complete", global_stats()
            write_file(f"/sys/module/{HOMONYM}/parameters/call", "3")
            assert read_file(f"/sys/module/{HOMONYM}/parameters/called").strip() == "3"
            lines = read_file(f"{TRACEFS}/enabled_functions").splitlines()
            # Not what stands where its init function was, which they are called through
            assert not [line for line in lines if re.match(rf"\S+ \[{HOMONYM}\]", line)], lines


def idle_is_free() -> None:
    """Without an owner there is no hook and no probe: before one, and after it."""
    need_ftrace()
    with loaded(PLAIN):
        new_mown()
        assert not hooked() and not probed(), f"hooks {hooked()}, probes {probed()}"
        with loaded(MODULE):
            assert (hooked(), probed()) == (WATCHED, TRACEPOINTS), \
                f"hooks {hooked()}, probes {probed()}"
        wait_for(lambda: not hooked() and not probed(), "the net to go")


def orphan_keeps_net() -> None:
    """An orphan has to be seen when it is freed; the net goes with the last one."""
    need_ftrace()
    one, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    with one, other, loaded(PLAIN):
        new_mown()
        insmod(QUEUE)
        write_file(f"/sys/module/{QUEUE}/parameters/small", str(one.fileno()))
        rmmod(QUEUE)
        assert (hooked(), probed()) == (WATCHED, TRACEPOINTS), \
            f"hooks {hooked()}, probes {probed()}"
        assert one.recv(100)
        wait_for(lambda: not hooked() and not probed(), "the net to go")


def incomplete() -> None:
    """Without ftrace mown says so, holds nothing in quarantine and reclaims nothing."""
    need_ftrace()
    new_mown()
    mark = dmesg_mark()
    write_file(FTRACE_ENABLED, "0")
    try:
        with policy("left_behind", "reclaim"):
            insmod(MODULE)
            net = global_stats()["net"]
            assert net.startswith("incomplete("), f"net {net}"
            wait_for(lambda: "mown: the net is incomplete" in dmesg_since(mark),
                     "a line in the log")
            do("double", 3)
            do("free", 100)
            do("keep", 5)
            now = stats(MODULE)
            # A second free is of an unknown object: the first gave it back.
            assert (now["double_frees"], now["unknown_frees"]) == (0, 3), f"{now}"
            assert (now["allocated"], now["freed"], now["live"]) == (108, 103, 5), f"{now}"
            assert stats(MODULE)["quarantined"] == 0, "there is a quarantine"
            rmmod(MODULE)
    finally:
        write_file(FTRACE_ENABLED, "1")
    block = exits(MODULE)[-1]
    assert (block.left, block.left_bytes, block.reclaimed) == (5, 5 * 64, 0), f"{block}"


def hole_is_remembered() -> None:
    """An owner that lived while the net had a hole is not trusted when it is whole again.

    Live objects are freed by the kernel's kfree_bulk(), which is not seen. Then
    ftrace is back, and another module comes. The first one's records are still
    there; to reclaim by them would free the memory once more. There are many,
    as who gets such memory by and by, and frees it, makes mown drop the record.
    """
    need_ftrace()
    new_mown()
    write_file(FTRACE_ENABLED, "0")
    try:
        insmod(FREES)
        judge = Judge(FREES)
        for _ in range(100):
            do_free("kfree_bulk", "live")
        assert stats(FREES)["live"] > 0, "all is seen although ftrace is off"
        judge.expect(0)
    finally:
        write_file(FTRACE_ENABLED, "1")
    with loaded(MODULE), policy("left_behind", "reclaim"):
        rmmod(FREES)
        block = exits(FREES)[-1]
        assert block.reclaimed == 0, f"{block}: memory that is free was freed again"


CASES = [
    ("10,000 objects waiting for RCU at unload", rcu_at_unload),
    ("into quarantine after a grace period", rcu_then_quarantine),
    ("freed again before the grace period is over", rcu_twice),
    ("kfree_rcu of a quarantined object, its memory in other hands", reused_after_rcu),
    ("the watched functions traced by somebody else", traced),
    ("complete, and kept so", complete),
    ("a module's function of the same name", homonym),
    ("idle is free", idle_is_free),
    ("an orphan keeps the net", orphan_keeps_net),
    ("without ftrace", incomplete),
    ("a hole in the net is remembered", hole_is_remembered),
]

if __name__ == "__main__":
    run_cases(CASES, modules=(MODULE, FREES, QUEUE, PLAIN, HOMONYM))
