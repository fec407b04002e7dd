#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""What the log hears of many violations: all are counted and kept, few are told.

Documentation/mown.rst: of no more than five new ones from a call site in ten seconds, and of
the like of an earlier one ever more rarely.
"""
import re
import time

from ksft_mown import (SYSFS, Ops, Skip, case_log, command, global_stats, insmod, is_in, load_mown,
                       ops, rmmod, run_cases, stats, violations, wait_for, write_file)

API, STRANGER = "mown_test_ops", "mown_plain_stranger"
# As many as it frees
STRANGERS = 16
BURST, SECONDS = 5, 10
# Each allocates at a place of its own, so that what is freed twice is a violation of its own
ALLOCATORS = ("kmalloc", "kmalloc_node", "kzalloc", "kzalloc_node", "kmemdup", "kmemdup_nul",
              "kstrdup", "kasprintf")
REPEATS = 9


def double_free(heap: Ops, allocator: str) -> None:
    """An object that ALLOCATOR gives is freed twice."""
    pointer = heap.call(allocator, 64).pointer
    heap.call("kfree", pointer)
    heap.call("kfree", pointer)


def burst() -> None:
    """Of eight different violations by one call site all are kept, and five are in the log."""
    # A mown that has told of none yet
    rmmod("mown")
    load_mown()
    with ops(API) as heap:
        start = time.monotonic()
        for allocator in ALLOCATORS:
            double_free(heap, allocator)
        wait_for(lambda: len(violations()) >= len(ALLOCATORS), "all are kept")
        seconds = int(time.monotonic() - start)
        told = re.findall(r"^BUG: mown: double-free in op_kfree\+", case_log(), re.MULTILINE)
        assert stats(API)["double_frees"] == len(ALLOCATORS), stats(API)
        assert global_stats()["reports_lost"] == "0"
    reports = violations()
    assert len(reports) == len(ALLOCATORS), reports
    for allocator, report in zip(ALLOCATORS, reports):
        assert report.startswith("BUG: mown: double-free in op_kfree+"), report
        assert f"\nallocated at op_{allocator}+" in report, f"{allocator}: {report}"
        assert report.endswith("\nseen 1 times"), report
    # A machine on which this takes longer may tell more
    most = BURST * (1 + seconds // SECONDS)
    assert BURST <= len(told) <= most, f"{len(told)} are told in {seconds} s"


def by_who_goes() -> None:
    """What a module that is not under mown frees last is told of by its own names."""
    write_file(f"{SYSFS}/clear", "1")
    with ops(API) as heap:
        if stats(API)["blind"]:
            raise Skip("mown does not see all frees here")
        objects = [heap.call("kmalloc", 64).pointer for _ in range(STRANGERS)]
        for pointer in objects:
            heap.call("kfree", pointer)
        insmod(STRANGER, objects=",".join(map(hex, objects)))
        # So that what tells of it does not run before the module is about to go
        done = command("taskset", "-c", "0", "chrt", "-f", "50", "rmmod", STRANGER)
        assert not done.returncode, done.stdout
        wait_for(lambda: len(violations()) >= STRANGERS, "all are kept")
    for report in violations():
        title = report.splitlines()[0]
        site = title.removeprefix("BUG: mown: double-free in ")
        assert is_in(site, "stranger_exit") and site.endswith(f"[{STRANGER}]"), report


def repeats() -> None:
    """The like of a report is counted in it; the log hears of that when the number doubles."""
    write_file(f"{SYSFS}/clear", "1")
    with ops(API) as heap:
        for _ in range(REPEATS):
            double_free(heap, "kmalloc")
        wait_for(lambda: f"seen {REPEATS} times" in "".join(violations()), "all are counted")
        assert stats(API)["double_frees"] == REPEATS, stats(API)
    report, = violations()
    assert report.endswith(f"\nseen {REPEATS} times"), report
    number = re.search(r"^object #(\d+) at ", report, re.MULTILINE)
    assert number, report
    told = re.findall(r"^BUG: mown: as object #(\d+), seen (\d+) times$", case_log(),
                      re.MULTILINE)
    assert told == [(number[1], times) for times in ("2", "4", "8")], told
    whole = re.findall(r"^BUG: mown: double-free in op_kfree\+", case_log(), re.MULTILINE)
    assert len(whole) <= 1, "a report is told again"


CASES = [
    ("eight new violations by one call site", burst),
    ("by a module that goes at once", by_who_goes),
    ("the like of a violation", repeats),
]

if __name__ == "__main__":
    run_cases(CASES, modules=(API, STRANGER))
