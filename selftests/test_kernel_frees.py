#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Memory of a module that the kernel frees by itself, never mown.

Lawfully, while the module has it allocated; or as the second free of what the
module has freed already: a fault of the program that the kernel's own functions
cannot be kept from, but one that stays without harm as long as the object is in
quarantine.

With slub_debug=FZPU on the kernel's command line the allocator itself is the
judge. It reports memory that is freed twice, which fails the case by the
kernel's log, and it knows what has not come back.
"""
import glob
import os
import re
from typing import NamedTuple

from ksft_mown import (SYSFS, Skip, exits, global_stats, insmod, knob, live, loaded, policy,
                       read_file, rmmod, run_cases, stats, violations, wait_for, write_file)

MODULE = "mown_dropin_kernel_frees"
PARAMETERS = f"/sys/module/{MODULE}/parameters"
FACE = f"/sys/kernel/debug/{MODULE}"


# ---- The allocator as the judge ----

def slub_debug() -> bool:
    """Does the allocator keep track of who allocated what, and check frees?"""
    return "slub_debug=FZPU" in read_file("/proc/cmdline").split()


def slab_objects(module: str) -> int:
    """How many objects of kmalloc() are out that MODULE, which is loaded, allocated.

    Of those with a slab, and allocated by a call from the module itself. Not of
    its init function: other modules come and go where that was. "" is for all
    modules that have gone. 0 where the allocator does not keep track.
    """
    function = rf"(?!{module}_init\+)\w+\+\S+ \[{module}\]" if module else "0x[0-9a-f]+"
    line = re.compile(rf"^ *(\d+) {function} ", re.MULTILINE)
    return sum(int(count) for path in glob.glob("/sys/kernel/debug/slab/*kmalloc-*/alloc_traces")
               for count in line.findall(read_file(path)))


class Judge:
    """Knows whether the memory of a module that has just been loaded comes back."""

    def __init__(self, module: str) -> None:
        self.module = module
        # Orphans of a module that was loaded at the same address go by its name now.
        self.others = slab_objects(module)

    def objects(self) -> int:
        """How many objects of the module are out."""
        return slab_objects(self.module) - self.others

    def expect(self, count: int) -> None:
        """COUNT objects are out, now or after what is waiting for RCU; if it can be known."""
        if slub_debug():
            wait_for(lambda: self.objects() == count,
                     f"{count} objects of {self.module}, others having come back")

    def expect_own(self) -> None:
        """Nothing but what is live or in quarantine is out."""
        now = stats(self.module)
        self.expect(now["live"] + now["quarantined"])


# ---- Helpers ----

class Path(NamedTuple):
    """A way on which the kernel frees a module's memory."""

    name: str
    # How many objects the kernel frees, and how many the module itself, rightly.
    kernel: int = 1
    module: int = 0


PATHS = (
    # kfree() as the value of a function pointer.
    Path("value"),
    Path("kvfree"),
    Path("kfree_rcu"),
    # Large ones among them, which have no slab.
    Path("kfree_bulk", kernel=5),
    # kobject_cleanup() frees the name; the release function frees the object.
    Path("kobject", module=1),
    # netdev_release() frees the alias.
    Path("netdev"),
    # dev_set_alias() gives the old alias to kfree_rcu().
    Path("netdev_rcu"),
    # seq_release_private() frees the private data, and the buffer by kvfree().
    Path("seq_file", kernel=2),
)


def do_free(path: str, when: str) -> None:
    """Have PATH freed by the kernel, which for the seq_file means a close."""
    if path != "seq_file":
        write_file(f"{PARAMETERS}/free", f"{path} {when}")
        return
    fd = os.open(FACE, os.O_RDONLY)
    try:
        assert os.read(fd, 100) == b"private\n", "the seq_file does not work"
        write_file(f"{PARAMETERS}/free", f"{path} {when}")
    finally:
        os.close(fd)


def expect(before: dict[str, int], what: str, **changes: int) -> None:
    """The counters have changed since BEFORE by CHANGES, and no other has."""
    names = ("allocated", "freed", "live", "live_bytes", "released_elsewhere", "stale",
             "untracked", "unknown_frees", "unknown_passed", "double_frees", "interior_frees",
             "foreign_frees")
    expected = {name: before[name] + changes.get(name, 0) for name in names}

    def counters() -> dict[str, int]:
        """What the counters are now."""
        now = stats(MODULE)
        return {name: now[name] for name in names}

    try:
        wait_for(lambda: counters() == expected, what)
    except AssertionError:
        assert counters() == expected, f"{what}: {counters()} is not {expected}"


def reports() -> dict[str, int]:
    """How often the faults were seen that are reported of the module's objects."""
    found = {}
    for block in violations():
        number = re.search(r"object #(\d+) at", block)
        seen = re.search(r"seen (\d+) times", block)
        assert number and seen, f"not a report: {block}"
        if re.search(rf" of {MODULE}\b", block):
            found[number[1]] = int(seen[1])
    return found


def expect_reports(before: dict[str, int], lost: str, count: int) -> None:
    """COUNT faults have been reported since, and none was LOST: they are fewer than may wait."""
    def seen() -> int:
        """How many have been reported since."""
        return sum(n - before.get(number, 0) for number, n in reports().items())

    wait_for(lambda: seen() >= count or global_stats()["reports_lost"] != lost,
             f"{count} reports")
    now = global_stats()["reports_lost"]
    assert (seen(), now) == (count, lost), \
        f"{seen()} faults are reported, not {count}, and {now} are lost, {lost} before"


def expect_exit(last: dict[str, int]) -> None:
    """The module has gone just now, with LAST as its counters, and left nothing."""
    block = exits(MODULE)[-1]
    assert (block.allocated, block.freed, block.elsewhere) == \
        (last["allocated"], last["freed"], last["released_elsewhere"]), f"{block} is not {last}"
    assert (block.left, block.left_bytes, block.reclaimed, block.late) == (0, 0, 0, 0), f"{block}"
    assert not [record for record in live() if record.module.startswith(MODULE)], \
        "records of the module are left"


def walk(when: str) -> None:
    """Every path with objects that are "live" or "quarantined", then unload."""
    insmod(MODULE)
    judge = Judge(MODULE)
    told, lost, faults = reports(), global_stats()["reports_lost"], 0
    for path in PATHS:
        before = stats(MODULE)
        total = path.kernel + path.module
        do_free(path.name, when)
        if when == "live":
            expect(before, path.name, allocated=total, freed=path.module,
                   released_elsewhere=path.kernel)
        else:
            expect(before, path.name, allocated=total, freed=total, double_frees=path.kernel)
            faults += path.kernel
    expect_reports(told, lost, faults)
    # In quarantine is what the module alone freed.
    on = read_file(f"{SYSFS}/quarantine_bytes").strip() != "0"
    own = sum(path.module for path in PATHS) if on else 0
    found = stats(MODULE)["quarantined"]
    assert found == own, f"{found} objects are in quarantine, the module freed {own} itself"
    judge.expect_own()
    last = stats(MODULE)
    rmmod(MODULE)
    expect_exit(last)


# ---- Cases ----

def judge_sees() -> None:
    """The judge is not blind: it counts what is out, and no more when it is freed."""
    if not slub_debug():
        raise Skip("boot with slub_debug=FZPU to have the allocator judge")
    with policy("left_behind", "reclaim"), loaded("mown_test_rcu"):
        judge = Judge("mown_test_rcu")
        write_file("/sys/module/mown_test_rcu/parameters/keep", "7")
        assert judge.objects() == 7, f"{judge.objects()} are out"
        # Ten more, which stay out for as long as they are in quarantine.
        write_file("/sys/module/mown_test_rcu/parameters/double", "10")
        assert judge.objects() == 17, f"{judge.objects()} are out"
        with knob("quarantine_bytes", 0):
            assert judge.objects() == 7, f"{judge.objects()} are out"


def live_reported() -> None:
    """What the kernel frees is no violation, is counted, and is not left behind."""
    walk("live")


def live_reclaimed() -> None:
    """Nor is it given back once more where what is left behind is reclaimed."""
    with policy("left_behind", "reclaim"):
        walk("live")


def live_no_quarantine() -> None:
    """Without a quarantine it is all the same."""
    with knob("quarantine_bytes", 0), policy("left_behind", "reclaim"):
        walk("live")


def quarantined_reported() -> None:
    """The kernel's free of what the module freed is a double free, and the one real free."""
    walk("quarantined")


def quarantined_reclaimed() -> None:
    """The same with left_behind=reclaim: what was freed twice is not left behind."""
    with policy("left_behind", "reclaim"):
        walk("quarantined")


def waits_for_rcu() -> None:
    """What the kernel's kfree_rcu() has is freed: by the module then, it is refused.

    Otherwise the memory would go back at once, while readers have it, and once
    more after the grace period.
    """
    with loaded(MODULE):
        judge, before = Judge(MODULE), stats(MODULE)
        told, lost = reports(), global_stats()["reports_lost"]
        do_free("kfree_rcu_first", "quarantined")
        expect(before, "kfree_rcu, then kfree", allocated=1, released_elsewhere=1, double_frees=1)
        expect_reports(told, lost, 1)
        judge.expect_own()


def gone_before_rcu() -> None:
    """What the kernel's kfree_rcu() still has when the module goes is not reclaimed.

    The kernel frees it seconds later. Given back at the exit it would be freed
    twice; and it is not left behind, for it is the module's no more.
    """
    with policy("left_behind", "reclaim"):
        insmod(MODULE)
        # From before: what is under way then comes back under the next one's name
        judge = Judge(MODULE)
        do_free("kfree_rcu", "live")
        do_free("netdev_rcu", "live")
        do_free("kfree_rcu", "quarantined")
        rmmod(MODULE)
    block = exits(MODULE)[-1]
    assert (block.allocated, block.freed, block.elsewhere) == (3, 1, 2), f"{block}"
    assert (block.left, block.reclaimed) == (0, 0), f"{block}"
    # A splat of a second free would be in the log when the next module's is back.
    with loaded(MODULE):
        do_free("kfree_rcu", "live")
        judge.expect_own()


def of_kernel() -> None:
    """A module frees what the kernel allocated for it: passed on, counted, no violation."""
    with loaded(MODULE):
        before = stats(MODULE)
        told = reports()
        do_free("of_kernel", "live")
        expect(before, "a path from kobject_get_path()", unknown_passed=1)
        assert reports() == told, "it is reported"


class Reuse(NamedTuple):
    """What came of "reuse": how often it was tried, and all objects of the tries."""

    tries: int
    tenants: int


def reuse(what: str) -> Reuse:
    """Have a freed address used again, which the allocator need not do at once."""
    tenants = 0
    for tries in range(1, 11):
        write_file(f"{PARAMETERS}/reuse", what)
        words = read_file(f"{PARAMETERS}/reuse").split()
        result = {name: int(value) for name, value in zip(words[::2], words[1::2])}
        assert result["spoilt"] == 0, f"{result['spoilt']} objects of others were overwritten"
        tenants += result["tenants"]
        if result["reused"]:
            return Reuse(tries, tenants)
    raise Skip("the allocator did not give out the address again")


def reused_by_others() -> None:
    """The kernel freed a quarantined object for good, and gave the memory to somebody else.

    When the object's turn comes to leave quarantine, nothing may happen to it.
    """
    with loaded(MODULE):
        judge, before = Judge(MODULE), stats(MODULE)
        done = reuse("untracked")
        # The object, and 3000 that push everything out of quarantine.
        expect(before, "reuse", allocated=3001 * done.tries, freed=3001 * done.tries,
               double_frees=done.tries)
        judge.expect_own()


def reused_by_module() -> None:
    """The memory comes back to the module itself: a new object, to be freed once."""
    with loaded(MODULE):
        before = stats(MODULE)
        done = reuse("tracked")
        total = 3001 * done.tries + done.tenants
        expect(before, "reuse", allocated=total, freed=total, double_frees=done.tries)


CASES = [
    ("the allocator as the judge", judge_sees),
    ("live objects freed by the kernel", live_reported),
    ("live objects freed by the kernel, left_behind=reclaim", live_reclaimed),
    ("live objects freed by the kernel, quarantine_bytes=0", live_no_quarantine),
    ("quarantined objects freed by the kernel", quarantined_reported),
    ("quarantined objects freed by the kernel, left_behind=reclaim", quarantined_reclaimed),
    ("freed by the kernel after a grace period, freed by the module before", waits_for_rcu),
    ("freed by the kernel after a grace period, the module gone before", gone_before_rcu),
    ("objects of the kernel freed by the module", of_kernel),
    ("an address used again by others while it was in quarantine", reused_by_others),
    ("an address used again by the module while it was in quarantine", reused_by_module),
]

if __name__ == "__main__":
    run_cases(CASES, modules=(MODULE, "mown_test_rcu"))
