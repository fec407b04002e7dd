#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""The trace events mown:alloc, mown:free and mown:violation."""
import contextlib
import os
import re
from typing import Iterator

from ksft_mown import (Skip, hides_pointers, ops, policy, read_file, run_cases, stats, wait_for,
                       write_file)

API, DROPIN = "mown_test_ops", "mown_dropin_ops"
TRACEFS = "/sys/kernel/tracing"
EVENTS = ("alloc", "free", "violation")


@contextlib.contextmanager
def traced(*events: str) -> Iterator[None]:
    """These events go to the trace, which is empty then."""
    if not os.path.isdir(f"{TRACEFS}/events"):
        raise Skip("needs tracefs")
    for event in EVENTS:
        assert os.path.isdir(f"{TRACEFS}/events/mown/{event}"), f"there is no event mown:{event}"
    with open(f"{TRACEFS}/trace", "w", encoding="ascii"):
        pass
    try:
        for event in events:
            write_file(f"{TRACEFS}/events/mown/{event}/enable", "1")
        yield
    finally:
        write_file(f"{TRACEFS}/events/mown/enable", "0")


def trace() -> list[tuple[str, str]]:
    """The events and their texts, in order."""
    return re.findall(r"^ *\S.* (alloc|free|violation): (.*)$", read_file(f"{TRACEFS}/trace"),
                      re.MULTILINE)


def words(text: str) -> dict[str, str]:
    """The fields NAME=VALUE of an event."""
    return dict(re.findall(r"(\w+)=(\S+)", text))


class Pointers:
    """The kernel hides addresses behind others, each always behind the same."""

    def __init__(self) -> None:
        self.shown: dict[int, str] = {}

    def check(self, pointer: int, text: str) -> None:
        """TEXT is what is shown for POINTER, and for no other; and it is not the address."""
        assert f"{pointer:x}" not in text or not hides_pointers(), f"{text} is the address"
        known = {shown: hidden for hidden, shown in self.shown.items()}
        assert self.shown.setdefault(pointer, text) == text, f"{pointer:x} is {text}, too"
        assert known.get(text, pointer) == pointer, f"{text} is {pointer:x}, too"


def one_cpu() -> None:
    """Where CPUs' clocks differ, the order of their events is not that of the calls."""
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})


def allocations() -> None:
    """Each allocation and release once, with module, address, size, family and place."""
    one_cpu()
    with ops(API) as heap, ops(DROPIN) as other, traced("alloc", "free"):
        addr = heap.call("kmalloc", 100).pointer
        name = other.call("kstrdup", 9).pointer
        moved = heap.call("krealloc", addr, 5000).pointer
        heap.call("kfree", moved)
        other.call("kfree", name)
        waits = heap.call("kzalloc", 64).pointer
        heap.call("kfree_rcu", waits)
        # What is none is not told of
        heap.call("kfree", 0)
        heap.call("krealloc", heap.call("raw_kmalloc", 64).pointer, 0)
        found = trace()
    expected = [("alloc", API, addr, "op_kmalloc", "100"),
                ("alloc", DROPIN, name, "op_kstrdup", "10"),
                ("alloc", API, moved, "op_krealloc", "5000"),
                ("free", API, addr, "op_krealloc", None),
                ("free", API, moved, "op_kfree", None), ("free", DROPIN, name, "op_kfree", None),
                ("alloc", API, waits, "op_kzalloc", "64"),
                ("free", API, waits, "op_kfree_rcu", None)]
    assert len(found) == len(expected), found
    pointers = Pointers()
    for (event, text), (kind, module, pointer, site, size) in zip(found, expected):
        field = words(text)
        assert (event, field["module"], field.get("size")) == (kind, module, size), \
            f"{event}: {text}, not {kind} {module}"
        pointers.check(pointer, field["ptr"])
        assert re.search(rf"site={site}\+0x\w+/0x\w+ \[{module}\]", text), text
        assert field.get("family") == ("kmalloc" if kind == "alloc" else None), text


def freed_elsewhere() -> None:
    """What the kernel frees is told of, by kfree() and from the begin of kfree_rcu()."""
    one_cpu()
    with ops(API) as heap:
        if stats(API)["blind"]:
            raise Skip("mown does not see all frees here")
        with traced("free"):
            addr = heap.call("kmalloc", 100).pointer
            heap.call("raw_kfree", addr)
            # Again it is none of the module's any more
            first = heap.call("kmalloc", 100).pointer
            heap.call("kfree", first)
            found = trace()
        assert stats(API)["released_elsewhere"] == 1, stats(API)
    pointers = Pointers()
    assert len(found) == 2, found
    # The one ends in a jump to the kernel's kfree()
    for (event, text), pointer, site in zip(found, (addr, first), (r"\w+", "op_kfree")):
        field = words(text)
        assert (event, field["module"]) == ("free", API), f"{event}: {text}"
        pointers.check(pointer, field["ptr"])
        assert re.search(rf"site={site}\+0x\w+/0x\w+ \[{API}\]", text), text


def wrong_frees() -> None:
    """Each violation, whether it is told of in the log again or not; none that passes."""
    one_cpu()
    with ops(API) as heap, traced("violation"):
        addr = heap.call("kmalloc", 100).pointer
        heap.call("kfree", addr + 8)
        heap.call("kfree", addr)
        for _ in range(3):
            heap.call("kfree", addr)
        raw = heap.call("raw_kmalloc", 100).pointer
        with policy("unknown_free", "pass"):
            heap.call("kfree", raw)
        expected = ["interior_free"] + 3 * ["double_free"]
        wait_for(lambda: len(trace()) >= len(expected), f"{expected}: {trace()}")
        found = trace()
    assert [text.split()[0] for _, text in found] == expected, found
    pointers = Pointers()
    for (_, text), pointer in zip(found, [addr + 8] + 3 * [addr]):
        field = words(text)
        pointers.check(pointer, field["ptr"])
        assert field["module"] == API and field["site"].startswith("op_kfree+"), text
        assert "refused" in text, text


CASES = [
    ("mown:alloc and mown:free", allocations),
    ("mown:free of what is freed elsewhere", freed_elsewhere),
    ("mown:violation", wrong_frees),
]

if __name__ == "__main__":
    run_cases(CASES, modules=(API, DROPIN))
