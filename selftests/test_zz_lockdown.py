#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Under Secure Boot's lockdown mown's files stay readable, and what it does goes on.

Debian locks the kernel down to `integrity` when it is booted by Secure Boot. The
same can be asked for later, when test modules that nobody has signed are loaded
already. It cannot be taken back before the next boot, and no test module can be
loaded after it: so this test is the last by its name, and skips its cases if
the kernel is locked down as it comes. At its end it asks for `confidentiality`.
"""
import errno
import os
import re

from ksft_mown import (DEBUGFS, MODULES, POLICIES, SYSFS, Ops, Skip, attach, attached, command,
                       dmesg_mark, dmesg_since, exits, insmod, live, module_loaded, name_of,
                       need_attach, policy, policy_word, read_file, rmmod, run_cases, skip_all,
                       stats, unload, write_errno, write_file)

LOCKDOWN = "/sys/kernel/security/lockdown"
HOLDER = "mown_dropin_leak"
OTHER = "mown_test_initfail"
PLAIN = "mown_plain_ops"

# Calls of PLAIN, by its file in debugfs, which cannot be opened any more later
HEAPS: list[Ops] = []


def level() -> str:
    """What the kernel is locked down to: none, integrity or confidentiality."""
    match = re.search(r"\[(\w+)\]", read_file(LOCKDOWN))
    assert match, f"{LOCKDOWN} has no chosen word"
    return match[1]


def need_lockdown() -> None:
    """Skip if the first case could not lock the kernel down with a module loaded."""
    if level() != "integrity" or not module_loaded(HOLDER):
        raise Skip("the kernel is not locked down with a test module loaded")


def lock_down() -> None:
    """With a module holding seven objects, and one to attach, lock down."""
    insmod(HOLDER, small=4, medium=2, large=1, freed=3)
    try:
        assert len(live(HOLDER)) == 7
        insmod(PLAIN)
        HEAPS.append(Ops(PLAIN))
        write_file(LOCKDOWN, "integrity")
        assert level() == "integrity"
    except BaseException:
        plain_goes()
        rmmod(HOLDER)
        raise


def plain_goes() -> None:
    """The module that is attached is wanted no more."""
    while HEAPS:
        HEAPS.pop().close()
    unload([PLAIN])


def all_readable() -> None:
    """Every file is read as before; debugfs lets nothing pass but what is 0400 and read-only."""
    need_lockdown()
    for path in [f"{SYSFS}/{name}" for name in ("version", "stack_depth", "quarantine_bytes")] + \
            [f"{SYSFS}/policy/{name}" for name in POLICIES] + \
            [f"{DEBUGFS}/{name}" for name in ("live", "violations", "exits", "stats")] + \
            [f"{DEBUGFS}/{HOLDER}/{name}" for name in ("live", "sites", "stats")] + \
            [f"{SYSFS}/modules/{HOLDER}/{name}" for name in
             os.listdir(f"{SYSFS}/modules/{HOLDER}")
             if name not in ("checkpoint", "policy")]:
        assert read_file(path), f"{path} is empty"
    assert len(live(HOLDER)) == 7
    assert len([line for line in live() if line.module == HOLDER]) == 7
    counters = stats(HOLDER)
    assert (counters["allocated"], counters["freed"], counters["live"]) == (10, 3, 7), counters


def knobs_work() -> None:
    """The knobs are no way into the kernel, so they can be set as before."""
    need_lockdown()
    with policy("double_free", "panic"):
        assert policy_word("double_free") == "panic"
    assert policy_word("double_free") == "auto"


def nothing_fails() -> None:
    """No allocation is made to fail, as by the kernel's own fault injection: EPERM, no change."""
    need_lockdown()
    own, everybody = f"{SYSFS}/modules/{HOLDER}/fail_nth", f"{SYSFS}/fail_nth"
    for path, text in ((own, "1"), (own, "0"), (everybody, f"{HOLDER} 1"),
                       (everybody, f"{OTHER} 1")):
        got = write_errno(path, text.encode())
        assert got == errno.EPERM, f"{path}: {text!r}: {name_of(got)}"
        assert (read_file(own), read_file(everybody)) == ("0\n", ""), f"{path}: {text!r} is taken"


def attach_works() -> None:
    """A module can be attached: integrity lets functions be redirected, as kprobes do."""
    need_lockdown()
    need_attach()
    heap, = HEAPS
    with attach(PLAIN):
        assert attached() == {PLAIN: "attached"}, attached()
        pointer = heap.call("kmalloc", 100).pointer
        assert [r.address for r in live(PLAIN)] == [pointer], live(PLAIN)
        heap.call("kfree", pointer)
        counts = stats(PLAIN)
        assert (counts["allocated"], counts["freed"]) == (1, 1), counts
    assert not attached()


def no_new_module() -> None:
    """The kernel refuses an unsigned module before mown hears of it: nothing is made for it."""
    need_lockdown()
    done = command("insmod", str(MODULES / f"{OTHER}.ko"))
    assert done.returncode and os.strerror(errno.EPERM) in done.stdout, done.stdout
    assert not os.path.exists(f"{SYSFS}/modules/{OTHER}")
    assert not os.path.exists(f"{DEBUGFS}/{OTHER}")


def account_drawn_up() -> None:
    """A module may still go; what it left behind is reclaimed as asked for, and told."""
    need_lockdown()
    mark = dmesg_mark()
    with policy("left_behind", "reclaim"):
        rmmod(HOLDER)
    block = exits(HOLDER)[-1]
    # 4 of 24 bytes, 2 of 200 and 1 of 5000
    assert (block.left, block.left_bytes, block.reclaimed) == (7, 5496, 7), block
    assert [site.bytes for site in block.sites] == [5000, 400, 96], block
    assert f"mown: {HOLDER}: left behind 7 objects (5496 bytes), reclaimed 7" in dmesg_since(mark)


def attach_refused() -> None:
    """Under confidentiality attach is EPERM, and neither a module nor a name is attached."""
    try:
        if level() != "integrity":
            raise Skip("the kernel is not locked down")
        write_file(LOCKDOWN, "confidentiality")
        assert level() == "confidentiality"
        for name in (PLAIN, OTHER, "*"):
            got = write_errno(f"{SYSFS}/attach", name.encode())
            assert got == errno.EPERM, f"{name}: {name_of(got)}"
            assert not attached(), attached()
        assert not os.path.exists(f"{SYSFS}/modules/{PLAIN}")
    finally:
        plain_goes()


CASES = [
    ("the kernel is locked down while a module uses mown", lock_down),
    ("every file stays readable", all_readable),
    ("the knobs stay writable", knobs_work),
    ("fail_nth is EPERM", nothing_fails),
    ("a module can be attached", attach_works),
    ("a module that the kernel refuses leaves no trace", no_new_module),
    ("the account of a module that goes is drawn up", account_drawn_up),
    ("attach is EPERM under confidentiality", attach_refused),
]

if __name__ == "__main__":
    if not os.path.exists(LOCKDOWN):
        skip_all("the kernel has no lockdown, or securityfs is not mounted")
    if level() != "none":
        skip_all("the kernel is locked down already")
    run_cases(CASES)
