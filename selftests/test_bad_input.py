#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""What users and modules do wrong gets the kernel's usual clear error, and nothing is lost."""
import contextlib
import ctypes
import errno
import os
from typing import Callable, Iterator

from ksft_mown import (DEBUGFS, LIBC, MODULES, POLICIES, SYSFS, Ktap, Skip, built_in,
                       delete_errno, dmesg_mark, dmesg_since, exits, insert_errno, insmod,
                       little_memory, live, load_mown, loaded, memory, module_loaded, mown_path,
                       name_of, policy, read_file, rmmod, run_cases, stats, write_errno)

WORD_KNOBS = [f"{SYSFS}/policy/{name}" for name in POLICIES]
NUMBER_KNOBS = [f"{SYSFS}/stack_depth", f"{SYSFS}/quarantine_bytes"]
KNOBS = WORD_KNOBS + NUMBER_KNOBS

CAP_SYS_ADMIN = 21
LEAK = "mown_dropin_leak"
OWNER = f"{SYSFS}/modules/{LEAK}"


def refused(path: str, data: bytes, expected: int) -> None:
    """One write of DATA to the knob is refused with that errno, and changes nothing."""
    before = read_file(path)
    got = write_errno(path, data)
    what = f"{path}: {data[:40]!r}, {len(data)} bytes"
    assert got == expected, f"{what}: {name_of(got)}, not {name_of(expected)}"
    assert read_file(path) == before, f"{what}: refused, but it is now {read_file(path)!r}"


def in_child(func: Callable[[], int]) -> int:
    """What FUNC returns in a process of its own: 0..127."""
    pid = os.fork()
    if pid == 0:
        status = 127
        try:
            status = func()
        finally:
            os._exit(status)  # pylint: disable=protected-access
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def errno_of_open_or_write(path: str, data: bytes) -> int:
    """As write_errno(), an error of open(2) included."""
    try:
        return write_errno(path, data)
    except OSError as error:
        return error.errno or -1


@contextlib.contextmanager
def holder(small: int, freed: int = 0) -> Iterator[None]:
    """A module that holds as many objects as SMALL, which mown is to reclaim."""
    with policy("left_behind", "reclaim"), \
            loaded("mown_dropin_leak", small=small, medium=0, large=0, freed=freed):
        yield


def wrong_words() -> None:
    """A policy takes a whole word of its own, once, and nothing else."""
    for knob in WORD_KNOBS:
        # Something else than the default, so that a reset would show
        assert write_errno(knob, b"panic") == 0
        for data in (b"nonsense", b"PANIC", b"auto warn", b"auto,", b"[auto]", b"auto\n\n", b"\xff",
                     b"auto\nwarn\n", b"0", b" ", b"%s%s%s%n", b"a", b"autoauto", b"auto\tx",
                     b"auto\0", b"auto\0warn", b"auto\n\0"):
            refused(knob, data, errno.EINVAL)


def wrong_numbers() -> None:
    """ERANGE for a number that is one but too large, EINVAL for what is none."""
    total = memory()["MemTotal"]
    for data in (b"17", b"255", b"4294967296", b"4294967295", b"18446744073709551616", b"9" * 100):
        refused(f"{SYSFS}/stack_depth", data, errno.ERANGE)
    for number in (total + (1 << 20), total * 2, 1 << 63, (1 << 64) - 1, 1 << 64, 10 ** 100):
        refused(f"{SYSFS}/quarantine_bytes", b"%d" % number, errno.ERANGE)
    for knob in NUMBER_KNOBS:
        for data in (b"-1", b"-0x1", b"garbage", b"1 2", b"1x", b"x1", b"1.5", b"1e3", b"--1",
                     b"1\n\n", b" ", b"0x", b"auto", b"\xff\xfe", b"1\0", b"1\0002"):
            refused(knob, data, errno.EINVAL)


def empty_writes() -> None:
    """write(fd, "", 0) writes nothing: 0, no change. A newline is a value, and a wrong one."""
    for knob in KNOBS:
        before = read_file(knob)
        fd = os.open(knob, os.O_WRONLY)
        try:
            assert os.write(fd, b"") == 0, f"{knob}: an empty write does not return 0"
        finally:
            os.close(fd)
        assert read_file(knob) == before, f"{knob}: changed by an empty write"
        refused(knob, b"\n", errno.EINVAL)


def long_writes() -> None:
    """A long write arrives as its first 4096 bytes: no word, and no number that fits."""
    for size in (4095, 4096, 4097, 1 << 20):
        for knob in WORD_KNOBS:
            refused(knob, b"auto\n".ljust(size, b"x"), errno.EINVAL)
            refused(knob, b"auto\n" * (size // 5), errno.EINVAL)
            refused(knob, b"auto".ljust(size, b" "), errno.EINVAL)
            refused(knob, b"auto".ljust(size, b"\0"), errno.EINVAL)
        for knob in NUMBER_KNOBS:
            refused(knob, b"1" * size, errno.ERANGE)
            refused(knob, b"1\n".ljust(size, b"1"), errno.EINVAL)


def writable() -> list[tuple[str, bytes]]:
    """Every file that takes writes, and what it would take."""
    words = {"checkpoint": b"mark", "attach": b"mown_nobody", "detach": b"mown_nobody"}
    found = []
    for path, _, names in os.walk(SYSFS):
        for name in names:
            word = b"panic" if path.endswith("/policy") else words.get(name, b"1")
            if path == SYSFS and name == "fail_nth":
                word = b"mown_nobody 1"
            if os.stat(f"{path}/{name}").st_mode & 0o222:
                found.append((f"{path}/{name}", word))
    return found


def no_capability() -> None:
    """The mode is not the authority: root without CAP_SYS_ADMIN may open, but not write.

    What is only written is known by what it would have done.
    """
    def write_all_without() -> int:
        """Without CAP_SYS_ADMIN: the errno that every write has given."""
        class Header(ctypes.Structure):
            """struct __user_cap_header_struct of capset(2), version 3."""

            _fields_ = [("version", ctypes.c_uint32), ("pid", ctypes.c_int)]

        # Effective, permitted and inheritable, first of 0-31 and then of 32-63
        header = Header(0x20080522, 0)
        caps = (ctypes.c_uint32 * 6)()
        if LIBC.capget(ctypes.byref(header), caps):
            return 126
        for i in range(2):
            caps[i] &= ~(1 << CAP_SYS_ADMIN)
        if LIBC.capset(ctypes.byref(header), caps):
            return 126
        errors = {write_errno(knob, data) for knob, data in good}
        return errors.pop() if len(errors) == 1 else 125

    def write_all_as_user() -> int:
        """As user 1000: likewise, of open(2) or write(2)."""
        os.setgroups([])
        os.setresgid(1000, 1000, 1000)
        os.setresuid(1000, 1000, 1000)
        errors = {errno_of_open_or_write(knob, data) for knob, data in good}
        return errors.pop() if len(errors) == 1 else 125

    def state() -> dict[str, str]:
        """All that a write could change: the knobs, and what clear, checkpoint and detach do."""
        files = [knob for knob, _ in good if os.stat(knob).st_mode & 0o400]
        files += [f"{DEBUGFS}/{name}" for name in ("exits", "attached", f"{LEAK}/since")]
        return {file: read_file(file) for file in files}

    with holder(0):
        pass
    with holder(3):
        good = writable()
        assert {*KNOBS, f"{SYSFS}/clear", f"{OWNER}/checkpoint"} <= {knob for knob, _ in good}, good
        before = state()
        got = in_child(write_all_without)
        assert got == errno.EPERM, f"root without CAP_SYS_ADMIN: {name_of(got)}"
        got = in_child(write_all_as_user)
        assert got == errno.EACCES, f"a user: {name_of(got)}"
        after = state()
        changed = [file for file, text in before.items() if after[file] != text]
        assert not changed, f"a refused write has changed {changed}"


def read_only_files() -> None:
    """Even root cannot write where there is nothing to be written."""
    with holder(0):
        counters = list(stats("mown_dropin_leak"))
        assert counters
        for path in [f"{SYSFS}/version"] + [f"{SYSFS}/modules/mown_dropin_leak/{name}"
                                            for name in counters]:
            if os.path.basename(path) == "blind":
                continue        # stats alone has it
            got = errno_of_open_or_write(path, b"0")
            assert got == errno.EACCES, f"{path}: {name_of(got)}"
        for path in (f"{DEBUGFS}/live", f"{DEBUGFS}/exits", f"{DEBUGFS}/violations",
                     f"{DEBUGFS}/stats", f"{DEBUGFS}/mown_dropin_leak/live"):
            got = errno_of_open_or_write(path, b"clear")
            assert got, f"{path} takes a write"
        for make in (lambda: os.mkdir(f"{SYSFS}/modules/new"),
                     lambda: os.mkdir(f"{DEBUGFS}/new"),
                     lambda: os.unlink(f"{SYSFS}/policy/double_free")):
            try:
                make()
            except OSError as error:
                assert error.errno in (errno.EPERM, errno.EACCES), name_of(error.errno or -1)
            else:
                raise AssertionError("a file was made or removed")


def mown_twice() -> None:
    """The kernel refuses a second mown: EEXIST. The first works on."""
    with holder(5):
        got = insert_errno(mown_path())
        assert got == errno.EEXIST, name_of(got)
        assert stats("mown_dropin_leak")["live"] == 5
        assert len(live("mown_dropin_leak")) == 5


def unload_in_use() -> None:
    """As long as a module links to mown it cannot go: EWOULDBLOCK; the module does not notice."""
    if built_in():
        raise Skip("mown is part of the kernel")
    with holder(5):
        got = delete_errno("mown")
        assert got == errno.EWOULDBLOCK, name_of(got)
        assert module_loaded("mown")
        assert stats("mown_dropin_leak")["live"] == 5
    got = delete_errno("mown")
    assert got == 0, f"without users: {name_of(got)}"
    load_mown()


def failed_init() -> None:
    """What a failed init forgot is accounted for, and reclaimed as by any API module.

    It has allocated 100, 200 and 300 bytes, freed the 200 and returned -ENODEV.
    """
    blocks = len(exits("mown_test_initfail"))
    for nr in range(1, 4):
        got = insert_errno(MODULES / "mown_test_initfail.ko")
        assert got == errno.ENODEV, name_of(got)
        assert not module_loaded("mown_test_initfail")
        found = exits("mown_test_initfail")
        assert len(found) == blocks + nr, f"{len(found)} accounts after {blocks} and {nr} more"
        block = found[-1]
        assert (block.allocated, block.freed, block.elsewhere) == (3, 1, 0), block
        assert (block.left, block.left_bytes, block.reclaimed) == (2, 400, 2), block
        # Of one call site, in a function of the module's that init has called
        assert len(block.sites) == 1, block
        assert block.sites[0].site.startswith("setup_part+"), block
        assert block.sites[0].site.endswith(" [mown_test_initfail]"), block
        assert not os.path.exists(f"{SYSFS}/modules/mown_test_initfail")
        assert not os.path.exists(f"{DEBUGFS}/mown_test_initfail")
        assert not [line for line in live() if line.module.startswith("mown_test_initfail")]
    # mown is none the worse for it
    with holder(5, freed=2):
        counters = stats("mown_dropin_leak")
        assert (counters["allocated"], counters["freed"], counters["live"]) == (7, 2, 5), counters


def bad_parameter() -> None:
    """A module that the kernel refuses after mown has made it an owner, before any of its code."""
    got = insert_errno(MODULES / "mown_dropin_leak.ko", b"small=garbage")
    assert got == errno.EINVAL, name_of(got)
    assert not os.path.exists(f"{SYSFS}/modules/mown_dropin_leak")
    assert not os.path.exists(f"{DEBUGFS}/mown_dropin_leak")
    block = exits("mown_dropin_leak")[-1]
    assert (block.allocated, block.freed, block.left) == (0, 0, 0), block
    with holder(5):
        assert stats("mown_dropin_leak")["live"] == 5


def no_memory() -> None:
    """GFP_ATOMIC with no memory left: what was got is freed, recorded or not, and all adds up."""
    before = memory()
    mark = dmesg_mark()
    with little_memory(64 << 20):
        insmod("mown_test_pressure", large_max=64, small_max=32768)
    params = {name: read_file(f"/sys/module/mown_test_pressure/parameters/{name}").strip()
              for name in ("large", "small", "ran_dry")}
    counters = stats("mown_test_pressure")
    rmmod("mown_test_pressure")
    log = dmesg_since(mark)
    Ktap.note(f"{params['large']} blocks of 4 MiB and {params['small']} of 4 KiB,"
              f" {counters['untracked']} of them not recorded")
    got = int(params["large"]) + int(params["small"])
    assert params["ran_dry"] == "Y" and got > 0, f"no pressure: {params}"
    assert counters["allocated"] + counters["untracked"] == got, counters
    assert counters["freed"] == counters["allocated"], counters
    assert counters["untracked_freed"] == counters["untracked"], counters
    for name in ("live", "live_bytes", "released_elsewhere", "stale", "unknown_frees",
                 "double_frees", "interior_frees"):
        assert counters[name] == 0, counters
    block = exits("mown_test_pressure")[-1]
    assert (block.allocated, block.freed, block.left) == \
        (counters["allocated"], counters["freed"], 0), block
    # What mown itself asks for must not complain, as the module has asked not to
    for word in ("insmod: page allocation failure", "Out of memory", "oom-kill"):
        assert word not in log, f"the log has '{word}'"
    # The counters are exact, the memory is not, for it is everybody's: the page cache has had to
    # give way and comes back. Were the blocks lost, it would be nearly all that was taken
    after = memory()
    lost = before["MemFree"] - after["MemFree"]
    taken = (int(params["large"]) << 22) + (int(params["small"]) << 12)
    assert lost < taken // 2, f"{lost} bytes less are free, {taken} were taken"


# The last one uses up the memory: those before it are not to run with a cold page cache.
CASES = [
    ("a wrong policy word is EINVAL", wrong_words),
    ("a number out of range is ERANGE, garbage EINVAL", wrong_numbers),
    ("an empty write does nothing, a newline is EINVAL", empty_writes),
    ("an overlong write and one of 1 MiB are errors", long_writes),
    ("a write without the capability is EPERM", no_capability),
    ("files to be read only cannot be written", read_only_files),
    ("mown loaded twice is EEXIST", mown_twice),
    ("mown unloaded while it is in use is EWOULDBLOCK", unload_in_use),
    ("a module that fails its init half way is accounted for", failed_init),
    ("a module with a wrong parameter leaves an empty account", bad_parameter),
    ("GFP_ATOMIC until there is no memory: nothing is lost", no_memory),
]

if __name__ == "__main__":
    run_cases(CASES, modules=("mown_dropin_leak", "mown_test_initfail", "mown_test_pressure"))
