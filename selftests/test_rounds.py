#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Modules and mown come and go, round by round, under load: nothing of theirs stays.

MOWN_ROUNDS is how many rounds each case has, 4 by default.
"""
import contextlib
import errno
import os
import threading
from typing import Callable, Iterator

from ksft_mown import (DEBUGFS, MODULES, SYSFS, command, exits, global_stats, insmod, live,
                       load_mown, loaded, read_file, rmmod, run_cases, stats, wait_for,
                       write_file)

ROUNDS = int(os.environ.get("MOWN_ROUNDS", "4"))
RCU, INITFAIL, NOTIFIER = "mown_test_rcu", "mown_test_initfail", "mown_plain_notifier"
DROPIN = "mown_dropin_leak"


def load_error(name: str) -> str:
    """What insmod says of a module that must not come."""
    done = command("insmod", str(MODULES / f"{name}.ko"))
    assert done.returncode, f"{name} was loaded"
    return done.stdout


def read_everything(stop: threading.Event) -> None:
    """Read mown's files over and over; those that go meanwhile give errors."""
    while not stop.is_set():
        for top in (DEBUGFS, SYSFS):
            for path, _, names in os.walk(top):
                for name in names:
                    with contextlib.suppress(OSError):
                        read_file(f"{path}/{name}")


def use_memory(stop: threading.Event) -> None:
    """Have the kernel allocate and free: files, directories, processes."""
    number = 0
    while not stop.is_set():
        number += 1
        path = f"/dev/shm/mown-rounds-{number % 8}"
        with contextlib.suppress(OSError):
            os.mkdir(path)
            with open(f"{path}/file", "w", encoding="ascii") as file:
                file.write("m" * 10000)
            os.unlink(f"{path}/file")
            os.rmdir(path)


@contextlib.contextmanager
def load(*jobs: Callable[[threading.Event], None]) -> Iterator[None]:
    """The jobs at work for a while."""
    stop = threading.Event()
    threads = [threading.Thread(target=job, args=(stop,)) for job in jobs]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def nothing_left(name: str) -> None:
    """No record, no directory of the module."""
    left = [record for record in live() if record.module.startswith(name)]
    assert not left, f"{len(left)} records are left: {left[:5]}, {exits(name)[-1:]}"
    for top in (f"{SYSFS}/modules", DEBUGFS):
        assert not os.path.exists(f"{top}/{name}"), f"{top}/{name} is left"


def rcu_in_flight() -> None:
    """The owner goes while its objects wait for a grace period: none is left behind."""
    with load(use_memory, read_everything):
        for number in range(ROUNDS):
            insmod(RCU, at_exit=50 * number)
            write_file(f"/sys/module/{RCU}/parameters/free", "500")
            rmmod(RCU)
            block = exits(RCU)[-1]
            want = 500 + 50 * number
            assert (block.allocated, block.freed, block.left) == (want, want, 0), f"{block}"
            nothing_left(RCU)


def init_fails() -> None:
    """An init that fails: the owner's account is drawn up, and nothing else stays."""
    with load(use_memory, read_everything):
        for _ in range(ROUNDS):
            load_error(INITFAIL)
            block = exits(INITFAIL)[-1]
            assert (block.allocated, block.freed, block.left, block.reclaimed) == \
                (3, 1, 2, 2), f"{block}"
            nothing_left(INITFAIL)


def not_to_come() -> None:
    """A notifier refuses the module, before mown has heard of it or after that."""
    for last, accounts in ((0, 0), (1, 1)):
        with loaded(NOTIFIER, target=RCU, last=last):
            for _ in range(ROUNDS):
                write_file(f"{SYSFS}/clear", "1")
                said = load_error(RCU)
                assert os.strerror(errno.EPERM) in said, said
                made = exits(RCU)
                assert len(made) == accounts, f"last={last}: {len(made)} accounts"
                assert all(block.allocated == 0 for block in made), f"{made}"
                nothing_left(RCU)
    # Its place in memory, and its name, are free again
    with loaded(RCU):
        write_file(f"/sys/module/{RCU}/parameters/free", "10")
        assert stats(RCU)["allocated"] == 10


def mown_goes() -> None:
    """mown itself goes, with what its users have left it to do, and comes back."""
    with load(use_memory):
        for number in range(ROUNDS):
            insmod(RCU, at_exit=200)
            insmod(DROPIN, small=20)
            write_file(f"/sys/module/{RCU}/parameters/free", "300")
            # Violations wait to be reported, too
            write_file(f"/sys/module/{RCU}/parameters/double", str(number % 4))
            rmmod(DROPIN)
            rmmod(RCU)
            rmmod("mown")
            assert not os.path.exists(SYSFS) and not os.path.exists(DEBUGFS)
            load_mown()
            assert not live() and not exits()
    assert global_stats()["net"] == "off"
    with loaded(RCU):
        wait_for(lambda: global_stats()["net"] == "complete", "the net")


CASES = [
    ("a module goes while its objects wait for RCU", rcu_in_flight),
    ("a module whose init fails", init_fails),
    ("a module that a notifier refuses", not_to_come),
    ("mown goes", mown_goes),
]

if __name__ == "__main__":
    run_cases(CASES, modules=(RCU, INITFAIL, DROPIN, NOTIFIER))
