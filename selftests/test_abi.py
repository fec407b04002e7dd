#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""mown's files are those that Documentation/ABI describes, and stats means what it says there."""
import os
import re
import stat
from typing import NamedTuple

from ksft_mown import (DEBUGFS, HERE, SYSFS, Skip, exits, global_stats, ops, run_cases, stats,
                       violations, wait_for, write_file)

API, DROPIN = "mown_test_ops", "mown_dropin_ops"
MODES = {"RO": 0o444, "RO, root": 0o400, "RW": 0o644, "WO": 0o200}
OWNER = f"{SYSFS}/modules/<name>/"
# There is a line of each only where a function is not hooked
SOMETIMES = {"hook_missing", "hook_untried"}
# Documentation/mown.rst: what a live object's record takes
RECORD = 64


class Entry(NamedTuple):
    """What the documentation says of some files, or of a directory's."""

    whats: list[str]
    mode: int
    text: str

    def names(self) -> set[str]:
        """What stands in the first column of its table."""
        return set(re.findall(r"^\t\t(\w+)(?:\t| {2,})", self.text, re.MULTILINE))


def entries() -> list[Entry]:
    """All that there are."""
    for parent in HERE.parents:
        files = sorted((parent / "Documentation" / "ABI" / "testing").glob("*mown"))
        if files:
            break
    else:
        raise Skip("there is no Documentation/ABI/testing above the tests")
    found = []
    for text in (file.read_text() for file in files):
        for block in re.split(r"^(?=What:)", text, flags=re.MULTILINE)[1:]:
            head, _, rest = block.partition("\nDescription:")
            mode = re.match(r"\s*\((RO, root|RO|RW|WO)\b", rest)
            assert mode, f"no mode: {block}"
            whats = re.findall(r"^(?:What:)?\t+(/\S+)$", head, re.MULTILINE)
            assert whats, f"no file: {block}"
            found.append(Entry(whats, MODES[mode[1]], rest))
    return found


def described() -> dict[str, int]:
    """The files that there should be, with their modes."""
    known = entries()
    whats = [what for entry in known for what in entry.whats]
    assert len(set(whats)) == len(whats), "a file is described twice"
    files = {}
    for entry in known:
        same = re.search(r"same names in\s+(/\S+/)\s", entry.text)
        for what in entry.whats:
            names = {""}
            if what.endswith("/") and same:
                there = same[1] + what.rpartition("<name>/")[2]
                names = {path[len(there):] for path in whats if path.startswith(there)}
            elif what.endswith("/"):
                names = entry.names()
            assert names, f"nothing is said to be in {what}"
            files.update({what + name: entry.mode for name in names})
    return files


def existing(module: str) -> dict[str, int]:
    """The files that there are, with their modes: of modules, those of this one."""
    files = {}
    for top in (SYSFS, DEBUGFS):
        for where, dirs, names in os.walk(top):
            if where in (f"{SYSFS}/modules", DEBUGFS):
                dirs[:] = [name for name in dirs if name == module]
            for name in names:
                path = f"{where}/{name}"
                files[path.replace(f"/{module}/", "/<name>/")] = stat.S_IMODE(os.stat(path).st_mode)
    return files


def files_described() -> None:
    """Each file that there is is described, with its mode, and each described one is there."""
    expected = described()
    with ops(API):
        found = existing(API)
    assert not found.keys() - expected.keys(), \
        f"not described: {sorted(found.keys() - expected.keys())}"
    assert not expected.keys() - found.keys(), \
        f"not there: {sorted(expected.keys() - found.keys())}"
    wrong = [f"{path} {mode:o}" for path, mode in found.items() if mode != expected[path]]
    assert not wrong, f"the mode is not that of the description: {wrong}"


def names_described() -> None:
    """Each name in a stats file is described, and each described one is there."""
    known = {what: entry.names() for entry in entries() for what in entry.whats}
    expected = known[f"{DEBUGFS}/stats"]
    with ops(API):
        found, own = global_stats().keys(), stats(API).keys()
    assert expected - SOMETIMES <= found <= expected, f"{sorted(found)}, not {sorted(expected)}"
    assert own == known[OWNER] | {"blind"}, f"{sorted(own)}, not {sorted(known[OWNER])} and blind"


def number(name: str) -> int:
    """A number of mown's own stats."""
    return int(global_stats()[name])


def what_it_takes() -> None:
    """What mown's memory is in stats: of owners, of records, of what is kept of the past."""
    write_file(f"{SYSFS}/clear", "1")
    assert number("history_bytes") == 0, "the history is clear, and takes memory"
    owners, before = number("owners_bytes"), number("records")
    with ops(DROPIN) as heap:
        assert number("owners_bytes") > owners, "an owner takes no memory"
        start = number("records")
        objects = [heap.call("kmalloc", 1000).pointer for _ in range(10)]
        for addr in objects[:4]:
            heap.call("kfree", addr)
        # Those in quarantine have a record, too
        assert number("records") == start + 10, f"{number('records')} records, {start} before"
        assert number("records_bytes") == (start + 10) * RECORD, number("records_bytes")
        assert number("history_bytes") == 0, "nothing has happened yet"
        heap.call("kfree", objects[0])
        wait_for(violations, "the report")
        told = number("history_bytes")
        # As the log has it: the addresses, and how often, are not kept as text
        text = violations()[0].rpartition("\nobject #")[0]
        assert told > len(text) > 0, f"a report takes {told} bytes: {text}"
    assert exits(DROPIN)[-1].left == 6, exits(DROPIN)
    assert number("history_bytes") > told, "the account of a leak takes no memory"
    # Orphans are recorded
    assert number("records") == before + 6, f"{number('records')} records, {before} before"
    write_file(f"{SYSFS}/clear", "1")
    assert number("history_bytes") == 0, "what is cleared takes memory"
    assert number("records") == before, "what is cleared has records"


CASES = [
    ("each file is described, and each described one is there", files_described),
    ("so is each name in stats", names_described),
    ("stats: what owners, records and the history take", what_it_takes),
]

if __name__ == "__main__":
    run_cases(CASES, modules=(API, DROPIN))
