#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""fail_sweep.py finds which error path of a module is wrong, and says nothing of right ones."""
import contextlib
import io
import os
import re
import shutil
import signal
import subprocess
from typing import Iterator

import fail_sweep
from ksft_mown import (HERE, MODULES, SYSFS, built_in, knob, loaded, module_loaded, policy,
                       read_file, run_cases, write_file)

SWEEP = str(HERE / "fail_sweep.py")
MODULE = "mown_test_sweep"
KO = str(MODULES / f"{MODULE}.ko")
FAIL_NTH = f"{SYSFS}/fail_nth"
# The functions of the module that allocate, in their order
SITES = ["take_first", "take_second", "take_third", "take_fourth", "take_fifth", "take_sixth",
         "take_seventh"]
CLEAN = "fails to load, clean"
SUMMARY = f"{MODULE}: 7 allocations, each has failed once"


def called(*argv: str) -> tuple[int, str, str]:
    """The exit status of the command, and what it says; without a process, which takes long."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            status = fail_sweep.main(argv)
        except SystemExit as end:
            status = end.code if isinstance(end.code, int) else 1
    return status, out.getvalue(), err.getvalue()


def swept(*argv: str) -> tuple[int, list[str]]:
    """The exit status of the command, and its lines."""
    status, out, err = called(*argv)
    assert read_file(FAIL_NTH) == "", f"an allocation is still to fail: {read_file(FAIL_NTH)}"
    assert not module_loaded(MODULE) and not err, err
    return status, out.splitlines()


def expect(found: tuple[int, list[str]], status: int, verdicts: dict[int, str],
           last: str = "no failure: loads, clean") -> None:
    """STATUS, and for each allocation what is said of it: CLEAN if not in VERDICTS."""
    got, lines = found
    told = [line for line in lines if not line.startswith("    ")]
    assert len(told) == 9 and told[7:] == [f"{MODULE}: {last}", SUMMARY], told
    for number, (line, site) in enumerate(zip(told, SITES), 1):
        verdict = verdicts.get(number, CLEAN)
        assert re.fullmatch(rf"{MODULE}: {number}: {site}\+0x\w+/0x\w+ \[{MODULE}\] fails: "
                            rf"{re.escape(verdict)}", line), f"{line}, not {site}: {verdict}"
    assert got == status, f"exit status {got}"


def right() -> None:
    """Seven error paths, all of them right."""
    expect(swept(KO), 0, {})


def wrong_goto() -> None:
    """One leads past the free of the fourth object."""
    found = swept(KO, "bug=goto")
    expect(found, 1, {5: "fails to load, left behind 1 objects (5 bytes)"})
    indented = [line for line in found[1] if line.startswith("    ")]
    assert len(indented) == 1 and re.fullmatch(
        rf"    1 objects, 5 bytes, kmalloc, from take_fourth\+0x\w+/0x\w+ \[{MODULE}\]",
        indented[0]), indented


def double_free() -> None:
    """One frees an object twice; told with its places, again if it is found again."""
    write_file(f"{SYSFS}/clear", "1")
    for _ in range(2):
        found = swept(KO, "bug=double")
        expect(found, 1, {6: "fails to load, 1 violations"})
        text = "\n".join(found[1])
        for part in ("    BUG: mown: double-free in ", "    allocated at take_fifth+",
                     "    freed again at "):
            assert part in text, text


def optional() -> None:
    """An allocation that the module can do without."""
    expect(swept(KO, "bug=optional"), 0, {7: "loads all the same, clean"})


def unload_leaks() -> None:
    """What is left behind by an unload, whether anything has failed or not."""
    found = swept(KO, "bug=exit")
    expect(found, 1, {}, "no failure: loads, left behind 1 objects (300 bytes)")


def few() -> None:
    """The first so many allocations only."""
    status, lines = swept("-n", "2", KO)
    assert status == 0 and len(lines) == 3 and \
        lines[-1] == f"{MODULE}: stopped after 2 allocations, there are more", lines
    # A history that is full, of equal accounts, is no obstacle
    with knob("history", 1):
        status, lines = swept("-n", "5", KO, "bug=goto")
        assert status == 1 and "left behind 1 objects" in lines[4], lines


def dashes() -> None:
    """A file with dashes in its name, whose module has underscores."""
    path = "/tmp/mown-test-sweep.ko"
    shutil.copy(KO, path)
    expect(swept(path), 0, {})


@contextlib.contextmanager
def sysctl(name: str, value: str) -> Iterator[None]:
    """The kernel's NAME set to VALUE for a while."""
    path = f"/proc/sys/kernel/{name}"
    before = read_file(path)
    write_file(path, value)
    try:
        yield
    finally:
        write_file(path, before)


def refused(argv: list[str], reason: str) -> None:
    """The command says why it cannot begin, and has not."""
    status, out, err = called(*argv)
    assert status == 2 and reason in err and not out, f"{argv}: {status}: {out}{err}"
    assert read_file(FAIL_NTH) == ""


def bad_input() -> None:
    """A module that is not there, is loaded, does not load, does not use mown; and options."""
    refused([], "the following arguments are required: MODULE")
    refused(["/nowhere/mown_test_sweep.ko"], "/nowhere/mown_test_sweep.ko: no such file")
    refused(["/nowhere/mown_test_sweep"], "neither a .ko file nor the name of a module")
    refused(["mown-no-such-module"], "mown_no_such_module does not load")
    for text in ("0", "-1", "x", ""):
        refused(["-n", text, KO], "invalid")
    refused([KO, "bug=einval"], f"{MODULE} does not load, and no allocation of it has failed: ")
    if not built_in():
        refused([str(MODULES / "mown_plain_notifier.ko")], "mown_plain_notifier does not ")
        refused([str(MODULES / "mown_plain_world.ko")], "mown_plain_world does not use mown")
    assert not module_loaded("mown_plain_world")
    with policy("interior_free", "panic"):
        refused([KO], "policy/interior_free is panic")
    with sysctl("panic_on_warn", "1"):
        refused([KO], "panic_on_warn is set")
    with knob("history", 0):
        refused([KO], "history is 0")
    with loaded(MODULE):
        refused([KO], f"{MODULE} is loaded")
        assert module_loaded(MODULE), "it was unloaded"
    # Names that are waiting for their modules, as many as there may be
    names = [f"m{number}" for number in range(16)]
    try:
        for name in names:
            write_file(FAIL_NTH, f"{name} 1")
        status, _, err = called(KO)
        assert status == 2 and "No space left on device" in err, err
    finally:
        for name in names:
            write_file(FAIL_NTH, f"{name} 0")


def interrupted() -> None:
    """Ctrl-C: nothing of it stays, and the exit status tells."""
    with subprocess.Popen([SWEEP, KO], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          text=True) as sweep:
        assert sweep.stdout
        first = sweep.stdout.readline()
        assert "take_first" in first, first
        os.kill(sweep.pid, signal.SIGINT)
        rest = sweep.stdout.read()
    assert sweep.returncode == 2 and "fail_sweep: interrupted" in rest, (sweep.returncode, rest)
    assert not module_loaded(MODULE)
    assert read_file(FAIL_NTH) == ""


CASES = [
    ("right error paths", right),
    ("a wrong goto", wrong_goto),
    ("a double free", double_free),
    ("an optional allocation", optional),
    ("a leak at unload", unload_leaks),
    ("a few only, with a short history", few),
    ("a name with dashes", dashes),
    ("bad input", bad_input),
    ("interrupted", interrupted),
]

if __name__ == "__main__":
    run_cases(CASES, modules=(MODULE,))
