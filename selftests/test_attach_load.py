#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Attach and detach in a loop, against a module under full load on all CPUs."""
import os
import time

from ksft_mown import (SYSFS, insmod, load_mown, need_attach, read_file, rmmod, run_cases, skip_all,
                       stats, violations, wait_for, write_file)
from test_attach import attached, enabled

LOAD = "mown_plain_load"
ROUNDS = int(os.environ.get("MOWN_ATTACH_ROUNDS", "0"))


def done() -> int:
    """How many objects the load has freed."""
    return int(read_file(f"/sys/module/{LOAD}/parameters/done"))


def nothing_spoilt() -> None:
    """What the load allocates is its own from then on."""
    corrupt = read_file(f"/sys/module/{LOAD}/parameters/corrupt").strip()
    assert corrupt == "0", f"{corrupt} objects are not what they were"


def under_load() -> None:
    """Nothing is lost, nobody accused, and no hook left."""
    seen = wrong = 0
    last = time.monotonic()
    insmod(LOAD)
    try:
        for number in range(ROUNDS):
            write_file(f"{SYSFS}/attach", LOAD)
            before, start = stats(LOAD)["allocated"], done()
            wait_for(lambda s=start: done() >= s + 200, "the load to go on")
            now = stats(LOAD)
            seen += now["allocated"] - before
            wrong += sum(now[name] for name in ("stale", "double_frees", "interior_frees",
                                                "mismatched_frees", "use_after_frees"))
            assert not wrong, f"round {number}: {now}\n" + "\n".join(violations())
            write_file(f"{SYSFS}/detach", LOAD)
            assert not enabled(), f"round {number}: {enabled()}"
            if time.monotonic() - last > 10:
                last = time.monotonic()
                print(f"# {number + 1} of {ROUNDS} rounds, {done()} objects, {seen} seen",
                      flush=True)
        assert not attached(), attached()
        nothing_spoilt()
        print(f"# {ROUNDS} rounds, {done()} objects freed, {seen} of them seen", flush=True)
        assert seen, "nothing was seen"
    finally:
        rmmod(LOAD)


def comes_and_goes() -> None:
    """The module is loaded and unloaded under its load while it is attached, and so is mown."""
    for number in range(max(ROUNDS // 5, 2)):
        write_file(f"{SYSFS}/attach", LOAD)
        insmod(LOAD)
        start = done()
        wait_for(lambda s=start: done() >= s + 500, "the load to go on")
        if number % 2:
            rmmod("mown")
            start = done()
            wait_for(lambda s=start: done() >= s + 500, "the load to go on")
            load_mown()
            nothing_spoilt()
            rmmod(LOAD)
        else:
            assert stats(LOAD)["allocated"], "nothing was seen"
            nothing_spoilt()
            rmmod(LOAD)
            # What it allocates from its exit function's start on it frees, too
            text = [line for line in read_file("/sys/kernel/debug/mown/exits").splitlines()
                    if line.startswith(LOAD)]
            assert text and "left behind 0 " in text[-1] and "stale" not in text[-1], text
            write_file(f"{SYSFS}/detach", LOAD)
        assert not enabled(), enabled()


if __name__ == "__main__":
    if not ROUNDS:
        skip_all("patches code that all CPUs run, which QEMU with a thread each does not stand: "
                 "set MOWN_ATTACH_ROUNDS where that is safe")
    run_cases([("attach and detach under load", under_load),
               ("load and unload under load", comes_and_goes)], (LOAD,), need_attach)
