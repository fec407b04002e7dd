#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Every pair of ways in which an object can be freed twice: the table of Documentation/litmus.rst.

A case is a cell: an object of the API's module is freed in one way, then in another. What mown
must say and count is the table's. With slub_debug=FZPU the allocator is the judge of whether the
memory went back once: it reports a second time, which fails the case, and after each group of
rows it is asked whether anything is still out.
"""
import functools
import sys
from typing import Callable, NamedTuple

from ksft_mown import (SYSFS, Ops, Skip, load_mown, ops, quiet_console, run_cases, skip_all,
                       stats, violations, wait_for, write_file)
from test_kernel_frees import Judge

API, DROPIN, PLAIN = "mown_test_ops", "mown_dropin_ops", "mown_plain_ops"
SIZE = 200
LARGER = 3000

# What the second free comes to: words of the table
REFUSED, ONE_FREE, UNKNOWN, UNSEEN = "refused", "one free", "unknown", "unseen"


class Way(NamedTuple):
    """A way to free, by a column's and a row's name."""

    # A row or column of the table
    group: str
    module: str
    function: str
    # More than the object's address
    numbers: tuple[int, ...] = ()
    # It gives the object that has taken the place of the freed one
    moves: bool = False
    # The free comes after a grace period
    later: bool = False

    @property
    def name(self) -> str:
        """The way in a case's name."""
        who = {API: "", DROPIN: "another's ", PLAIN: "the kernel's "}[self.module]
        who = "unconverted " if self.function in ("raw_kfree", "cleanup") else who
        size = f" to {self.numbers[0]} bytes" if self.numbers else ""
        kept = ", not kept" if self in NOT_KEPT else ""
        return who + self.function.removeprefix("raw_") + size + kept

    @property
    def site(self) -> str:
        """The function of the module that frees."""
        return "ops_rcu_func" if self.later else f"op_{self.function}"


# The groups of the table, with their ways
MOWN = [Way("mown", API, "kfree"), Way("mown", API, "kfree_sensitive"), Way("mown", API, "kvfree"),
        Way("mown", API, "bitmap_free"), Way("mown", API, "kfree_bulk"),
        Way("mown", API, "krealloc", (LARGER,), moves=True),
        Way("mown", API, "krealloc", (0,)),
        Way("mown", API, "call_rcu", later=True), Way("mown", DROPIN, "kfree")]
MOWN_RCU = [Way("mown, RCU", API, "kfree_rcu"), Way("mown, RCU", API, "kfree_rcu_headless"),
            Way("mown, RCU", DROPIN, "kfree_rcu")]
KERNEL = [Way("kernel", PLAIN, "kfree"), Way("kernel", PLAIN, "kfree_sensitive"),
          Way("kernel", PLAIN, "kvfree"), Way("kernel", PLAIN, "kfree_const"),
          Way("kernel", PLAIN, "kfree_bulk"),
          Way("kernel", PLAIN, "krealloc", (LARGER,), moves=True),
          Way("kernel", PLAIN, "krealloc", (0,)),
          Way("kernel", PLAIN, "call_rcu", later=True), Way("kernel", API, "raw_kfree"),
          Way("kernel", DROPIN, "cleanup")]
KERNEL_RCU = [Way("kernel, RCU", PLAIN, "kfree_rcu")]
WAYS = MOWN + MOWN_RCU + KERNEL + KERNEL_RCU

# What leaves no record, as it does not go into quarantine
NOT_KEPT = [Way("mown, not kept", API, "kfree"), Way("mown, not kept", API, "kfree_sensitive"),
            Way("mown, not kept", DROPIN, "kfree")]
FIRST = MOWN + MOWN_RCU + NOT_KEPT + KERNEL + KERNEL_RCU
SECOND = MOWN + MOWN_RCU + KERNEL + KERNEL_RCU

# What was first, and what came second, in the order of COLUMNS
COLUMNS = ("mown", "mown, RCU", "kernel", "kernel, RCU")
TABLE = {
    "mown": (REFUSED, REFUSED, ONE_FREE, ONE_FREE),
    "mown, RCU": (REFUSED, REFUSED, ONE_FREE, ONE_FREE),
    "mown, not kept": (UNKNOWN, UNKNOWN, UNSEEN, UNSEEN),
    "kernel": (UNKNOWN, UNKNOWN, UNSEEN, UNSEEN),
    "kernel, RCU": (REFUSED, REFUSED, UNSEEN, UNSEEN),
}


def set_quarantine(module: str, text: str) -> None:
    """The module's own quarantine_bytes."""
    write_file(f"{SYSFS}/modules/{module}/quarantine_bytes", text)


def nothing_left(module: str) -> bool:
    """Nothing of the module is live or in quarantine."""
    now = stats(module)
    return now["live"] == now["quarantined"] == 0


class Litmus:
    """The three modules, loaded for all cases."""

    # The end of the report
    ACTIONS = {
        REFUSED: "refused; the object ",
        ONE_FREE: "cannot be refused; it had not been given back, so this is its one free",
        UNKNOWN: "refused; nothing was freed",
    }

    def __init__(self, heaps: dict[str, Ops]) -> None:
        self.heaps = heaps
        self.judges = [Judge(API), Judge(DROPIN), Judge(PLAIN)]
        # It would pass on what it does not know
        write_file(f"{SYSFS}/modules/{DROPIN}/policy/unknown_free", "warn")

    def free(self, way: Way, addr: int) -> None:
        """Free the object in that way; what has taken its place is freed, too."""
        # As one call: what is freed already must not be touched by more than the way itself
        moved = self.heaps[way.module].call(way.function, addr, *way.numbers).pointer
        if way.moves and moved:
            self.heaps[way.module].call("kfree", moved)

    def free_first(self, way: Way) -> int:
        """An object that was freed in that way; later ways have come to their end."""
        before = stats(API)["live"]
        addr = self.heaps[API].call("kmalloc", SIZE).pointer
        if way in NOT_KEPT:
            set_quarantine(API, "0")
        self.free(way, addr)
        wait_for(lambda: stats(API)["live"] == before, f"{way.name} comes to its end")
        if way in NOT_KEPT:
            set_quarantine(API, "inherit")
        return addr

    def expect_report(self, verdict: str, first: Way, second: Way) -> None:
        """The one report says where the object came from, where it was freed first and again."""
        report = violations()[0]
        title = "unknown-free" if verdict == UNKNOWN else "double-free"
        # The kernel's functions free from places of their own, and by tail calls
        place = f"{second.site}+" if second.group.startswith("mown") else ""
        expected = [f"{title} in {place}", f"\n{self.ACTIONS[verdict]}"]
        if verdict != UNKNOWN:
            expected += [f": {SIZE} bytes, kmalloc, of {API}\n", "\nallocated at op_kmalloc+",
                         "\nfirst freed by kfree_rcu()" if first in KERNEL_RCU else
                         f"\nfirst freed at {first.site}+", f"\nfreed again at {place}"]
        for part in expected:
            assert part in report, f"no '{part}' in: {report}"

    def cell(self, first: Way, second: Way, verdict: str, tries: int = 5) -> None:
        """Free an object in both ways."""
        write_file(f"{SYSFS}/clear", "1")
        addr = self.free_first(first)
        # Who frees again may be another; a double free is counted for whose the object was
        counter, owner = ("unknown_frees", second.module) if verdict == UNKNOWN else \
            ("double_frees", API)
        before = stats(owner)
        self.free(second, addr)
        wait_for(violations, "a report")
        if first in KERNEL_RCU and tries and "unknown-free in" in violations()[0]:
            # The kernel's grace period was over already: then the object is gone
            self.cell(first, second, verdict, tries - 1)
            return
        self.expect_report(verdict, first, second)
        now = stats(owner)
        changed = {name: now[name] - before[name] for name in
                   (counter, "live", "stale", "interior_frees", "unknown_passed", "freed")}
        assert changed == {counter: 1, "live": 0, "stale": 0, "interior_frees": 0,
                           "unknown_passed": 0, "freed": 0}, changed

    def end(self) -> None:
        """What is neither live nor in quarantine is out nowhere."""
        for module in (API, DROPIN):
            set_quarantine(module, "0")
            wait_for(functools.partial(nothing_left, module), f"nothing is left of {module}")
            set_quarantine(module, "inherit")
        for judge in self.judges:
            judge.expect(0)


def cases(litmus: Litmus) -> list[tuple[str, Callable[[], None]]]:
    """A case for each cell that mown has a part in, and one at the end of each group of rows."""
    found: list[tuple[str, Callable[[], None]]] = []
    for first in FIRST:
        for second in SECOND:
            verdict = TABLE[first.group][COLUMNS.index(second.group)]
            # call_rcu() writes to the object before anybody frees it: only what stays in
            # quarantine survives that
            if verdict != UNSEEN and (first in MOWN or not second.later):
                found.append((f"{first.name}, then {second.name}: {verdict}",
                              functools.partial(litmus.cell, first, second, verdict)))
        # The kernel's kfree_rcu() takes seconds, so not after each
        if first.group not in (way.group for way in FIRST[FIRST.index(first) + 1:]):
            found.append((f"{first.group}: all came back once", litmus.end))
    return found


def rst() -> str:
    """The table as it stands in Documentation/litmus.rst."""
    rows = [("first \\ second", *COLUMNS), *((first, *row) for first, row in TABLE.items())]
    line = "  ".join(["=" * 16] + ["=" * 11] * len(COLUMNS))
    text = ["  ".join(f"{word:{16 if i == 0 else 11}}" for i, word in enumerate(row)).rstrip()
            for row in rows]
    return "\n".join([line, text[0], line, *text[1:], line])


def main() -> None:
    """All cases, the modules being loaded once."""
    try:
        load_mown()
    except Skip as why:
        skip_all(str(why))
    with quiet_console(), ops(API) as api, ops(DROPIN) as dropin, ops(PLAIN) as plain:
        litmus = Litmus({API: api, DROPIN: dropin, PLAIN: plain})
        run_cases(cases(litmus))


if __name__ == "__main__":
    if sys.argv[1:] == ["--rst"]:
        print(rst())
    else:
        main()
