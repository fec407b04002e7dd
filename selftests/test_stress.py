#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Two CPUs, softirqs and hardirqs hammer one owner, and users its files.

The module mown_test_stress does everything to its objects that there is to do,
wrong things included, and counts it (see there why its counts are exact). At
the same time

- readers go over all of mown's files again and again. In every list of what is
  live the module's witnesses, which live all the time, must stand once each;
- a writer writes policies, numbers and garbage. Garbage changes nothing; what
  it may write is what cannot change the verdict on any of the module's frees;
- another module comes and goes, with objects that wait for grace periods.

In the end mown's counters equal the module's own, and the log has no splat.
MOWN_STRESS_SECONDS is how long it takes, 30 by default.
"""
import errno
import os
import random
import threading
import time
from typing import Callable, Iterable, Iterator

from ksft_mown import (DEBUGFS, SYSFS, case_log, exits, insmod, live, read_file, read_lines,
                       rmmod, run_cases, stats, write_file)
from test_kernel_frees import Judge

MODULE = "mown_test_stress"
PHASE = f"/sys/module/{MODULE}/parameters/phase"
COUNTS = f"/sys/kernel/debug/{MODULE}"
OTHER = "mown_test_rcu"
SECONDS = float(os.environ.get("MOWN_STRESS_SECONDS", "30"))
# The sizes of the witnesses, by mown_test_stress.c.
WITNESSES = [1 + i % 100 for i in range(200)]
SEED = 1

POLICY_WORDS = {
    "double_free": ("auto", "warn"),
    "interior_free": ("auto", "warn"),
    # Not "pass": an address that is no object's must not reach the allocator.
    "unknown_free": ("auto", "warn"),
    "left_behind": ("auto", "report", "reclaim"),
}
GARBAGE = (b"\n", b"x", b"panics", b"auto warn", b"\0", b"-1", b"1k", b"0x", b"\xff\xfe",
           b"99999999999999999999999999", b"[auto]", b" ", b"warn\0panic", b"%s%n", b"A" * 4000,
           b"1" * 70000)


def counts() -> dict[str, int]:
    """The module's own counts."""
    words = (line.split() for line in read_file(COUNTS).splitlines())
    return {name: int(value) for name, value in words}


# ---- What runs beside the module ----

class Crowd:
    """Threads that do something over and over until told to stop."""

    def __init__(self, *jobs: Callable[[], object]) -> None:
        self.stop = threading.Event()
        self.errors: list[str] = []
        self.rounds = [0] * len(jobs)
        self.threads = [threading.Thread(target=self.work, args=(i, job))
                        for i, job in enumerate(jobs)]

    def work(self, i: int, job: Callable[[], object]) -> None:
        """A thread: JOB, until it fails or all are to stop."""
        while not self.stop.is_set():
            try:
                job()
            except Exception as error:  # pylint: disable=broad-except
                self.errors.append(f"{job.__name__}: {type(error).__name__}: {error}")
                return
            self.rounds[i] += 1

    def run(self, seconds: float) -> None:
        """Let them run for so long. An error of one is an AssertionError."""
        for thread in self.threads:
            thread.start()
        # They are what is waited for, as long as all of them go on.
        end = time.monotonic() + seconds
        while time.monotonic() < end and not self.errors:
            time.sleep(0.05)
        self.stop.set()
        for thread in self.threads:
            thread.join()
        assert not self.errors, "\n".join(self.errors)
        assert all(self.rounds), f"somebody did not get round: {self.rounds}"


def files() -> Iterator[str]:
    """All files of mown there are just now that can be read."""
    for top in (DEBUGFS, SYSFS):
        for path, _, names in os.walk(top):
            yield from (f"{path}/{name}" for name in sorted(names)
                        if name not in ("attach", "clear", "checkpoint", "detach"))


def read_all() -> None:
    """Read every file to its end; one whose owner goes away meanwhile may say so."""
    for path in files():
        try:
            text = read_file(path)
        except OSError as error:
            gone = (errno.ENOENT, errno.EIO, errno.ENODEV)
            assert OTHER in path and error.errno in gone, f"{path}: {error}"
            continue
        if path.startswith(f"{SYSFS}/modules/") and "/policy/" not in path and \
                text != "inherit\n":
            assert text == f"{int(text)}\n", f"{path}: not a number: {text!r}"


def check_witnesses(sizes: Iterable[int], where: str) -> None:
    """SIZES are what the witnesses have."""
    assert sorted(sizes) == sorted(WITNESSES), f"{where} has not all witnesses, or some twice"


def read_live() -> None:
    """The lists of live objects are right about objects that do not come or go."""
    for records, where in ((live(MODULE), f"{MODULE}/live"), (live(), "live")):
        mine = [r for r in records if r.module == MODULE]
        assert all(r.family == "kmalloc" and r.size and f"[{MODULE}]" in r.site for r in mine), \
            f"{where}: {[r for r in mine if f'[{MODULE}]' not in r.site][:3]}"
        check_witnesses((r.size for r in mine if r.site.startswith("stress_witness+")), where)
    lines = [line.split(None, 3) for line in read_lines(f"{DEBUGFS}/{MODULE}/sites",
                                                        "mown sites 1")]
    found = [(int(words[0]), int(words[1])) for words in lines
             if words[3].startswith("stress_witness+")]
    assert found == [(len(WITNESSES), sum(WITNESSES))], f"sites: {found}"
    total = [int(words[1]) for words in lines]
    assert total == sorted(total, reverse=True), "sites are not in order"


def write_raw(path: str, data: bytes) -> int:
    """One write, and its errno, or 0."""
    fd = os.open(path, os.O_WRONLY)
    try:
        os.write(fd, data)
    except OSError as error:
        return error.errno or 0
    finally:
        os.close(fd)
    return 0


class Writer:
    """Writes knobs: good values, whose set depends on the phase, and garbage."""

    def __init__(self, quarantine: bool) -> None:
        self.random = random.Random(SEED)
        default = int(read_file(f"{SYSFS}/quarantine_bytes"))
        # Where objects must surely be in quarantine it stays as it is.
        self.sizes = (default,) if quarantine else (0, 1, 64, 4096, 100_000, default)

    def write_knobs(self) -> None:
        """A good value to every knob, and to one some garbage, which is refused."""
        for name, words in POLICY_WORDS.items():
            write_file(f"{SYSFS}/policy/{name}", self.random.choice(words))
        write_file(f"{SYSFS}/quarantine_bytes", str(self.random.choice(self.sizes)))
        # Unwinding is slow: seldom.
        depth = self.random.choice((0, 0, 0, 0, 0, 1, 4, 16))
        write_file(f"{SYSFS}/stack_depth", str(depth))

        name = self.random.choice([f"policy/{name}" for name in POLICY_WORDS] +
                                  ["quarantine_bytes", "stack_depth"])
        data = self.random.choice(GARBAGE)
        if name == "stack_depth" and data == b"-1":
            return
        before = read_file(f"{SYSFS}/{name}")
        error = write_raw(f"{SYSFS}/{name}", data)
        assert error in (errno.EINVAL, errno.ERANGE), f"{name}: {data[:20]!r}: errno {error}"
        assert read_file(f"{SYSFS}/{name}") == before, f"{name}: changed by {data[:20]!r}"


def come_and_go() -> None:
    """Another owner: made, used and settled while the first one is busy."""
    insmod(OTHER, at_exit=100)
    write_file(f"/sys/module/{OTHER}/parameters/free", "100")
    write_file(f"/sys/module/{OTHER}/parameters/keep", "3")
    rmmod(OTHER)
    block = exits(OTHER)[-1]
    assert (block.allocated, block.freed, block.left) == (203, 200, 3), f"{block}"
    # Before it is overwritten
    case_log()


# ---- Cases ----

def stress(phase: str, seconds: float) -> None:
    """One phase, with all that goes on beside it."""
    writer = Writer(phase == "quarantine")
    crowd = Crowd(read_all, read_live, writer.write_knobs, come_and_go)
    write_file(PHASE, phase)
    try:
        crowd.run(seconds)
    finally:
        write_file(PHASE, "off")


def compare() -> None:
    """mown has counted what the module has counted; nothing is lost and nothing stale."""
    mine = counts()
    assert mine["corrupt"] == 0, f"{mine['corrupt']} objects were overwritten"
    names = ("allocated", "freed", "released_elsewhere", "double_frees", "interior_frees")
    expected = {name: mine[name] for name in names}
    for name in ("stale", "untracked", "untracked_freed", "unknown_frees", "unknown_passed",
                 "foreign_frees"):
        expected[name] = 0
    expected["live"] = mine["allocated"] - mine["freed"] - mine["released_elsewhere"]

    now = stats(MODULE)
    found = {name: now[name] for name in expected}
    assert found == expected, f"mown has {found}, the module {expected}"


def clean_up() -> None:
    """The module and the knobs as they were, also after a failure."""
    write_file(f"{SYSFS}/stack_depth", "0")
    for name in POLICY_WORDS:
        write_file(f"{SYSFS}/policy/{name}", "auto")


def counters_add_up() -> None:
    """Every kind of use happened, in every context, and mown's counters are the module's."""
    default = read_file(f"{SYSFS}/quarantine_bytes")
    insmod(MODULE, witnesses=len(WITNESSES))
    judge = Judge(MODULE)
    try:
        stress("quarantine", SECONDS / 3)
        compare()
        # Without the witnesses, and the array that holds them, nothing is live.
        assert stats(MODULE)["live"] == len(WITNESSES) + 1, "phase off: more is live"
        stress("rcu", SECONDS * 2 / 3)
        compare()
        write_file(PHASE, "end")
        compare()
        now = stats(MODULE)
        assert (now["live"], now["live_bytes"]) == (0, 0), f"all is freed: {now}"
        assert live(MODULE) == [], f"{live(MODULE)}"
        mine = counts()
        vain = [name for name, count in mine.items()
                if not count and name not in ("corrupt", "no_memory")]
        assert not vain, f"it never happened: {vain}"
        # What is released comes back when nothing may be in quarantine any more.
        write_file(f"{SYSFS}/quarantine_bytes", "0")
        assert stats(MODULE)["quarantined"] == 0, stats(MODULE)["quarantined"]
        judge.expect(0)
        rmmod(MODULE)
    finally:
        write_file(f"{SYSFS}/quarantine_bytes", default)
        clean_up()
    block = exits(MODULE)[-1]
    assert (block.allocated, block.freed, block.elsewhere, block.left) == \
        (mine["allocated"], mine["freed"], mine["released_elsewhere"], 0), f"{block} is not {mine}"
    for name in sorted(mine):
        print(f"# {name} {mine[name]}")


CASES = [
    ("counters add up, nobody is in the way", counters_add_up),
]

if __name__ == "__main__":
    run_cases(CASES, modules=(MODULE, OTHER))
