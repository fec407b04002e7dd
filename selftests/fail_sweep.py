#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Load a module again and again, with its first allocation failing, then its second, and so on.

However a load ends, the module must leave nothing behind, and must do nothing wrong on its way
out: what it does is told with the allocation that failed. The module has to use mown.

    fail_sweep.py ./my_driver.ko debug=1
    fail_sweep.py my-driver

exits with 0 if all error paths are clean, with 1 if one is not, with 2 if it could not be tried.
"""
import argparse
import contextlib
import os
import re
import signal
import sys
from pathlib import Path
from typing import NamedTuple, Optional, Sequence

from ksft_mown import (POLICIES, SYSFS, ExitBlock, command, dmesg_mark, dmesg_since, exits,
                       module_loaded, policy_word, read_file, violations, write_file)

FOUND_NOTHING, FOUND_SOMETHING, FAILED = 0, 1, 2
FAIL_NTH = f"{SYSFS}/fail_nth"


class SweepError(Exception):
    """The sweep cannot be made; the reason is the text."""


class Try(NamedTuple):
    """One load of the module, and what it came to."""

    # What the loading said if it failed
    error: Optional[str]
    # Where the allocation failed, if one did
    site: Optional[str]
    # The account of what was left; None if the module does not use mown
    account: Optional[ExitBlock]
    # The reports that it caused
    reports: list[str]


class Sweep:
    """The module to load, and how."""

    def __init__(self, module: str, params: Sequence[str]) -> None:
        path = Path(module)
        if path.suffix == ".ko":
            if not path.is_file():
                raise SweepError(f"{module}: no such file")
            self.loader = ["insmod", str(path), *params]
        elif "/" in module:
            raise SweepError(f"{module}: neither a .ko file nor the name of a module")
        else:
            self.loader = ["modprobe", module, *params]
        self.name = path.stem.replace("-", "_") if path.suffix == ".ko" else \
            module.replace("-", "_")
        self.interrupted = False

    def check(self) -> None:
        """May the sweep begin? SweepError if not."""
        if os.geteuid():
            raise SweepError("needs root")
        if not os.path.isdir(SYSFS):
            raise SweepError("mown is not loaded")
        if module_loaded(self.name):
            raise SweepError(f"{self.name} is loaded: unload it first")
        for policy in POLICIES:
            if policy_word(policy) == "panic":
                raise SweepError(f"policy/{policy} is panic: what is found would be the end")
        if read_file("/proc/sys/kernel/panic_on_warn").strip() != "0":
            raise SweepError("panic_on_warn is set: what is found would be the end")
        if int(read_file(f"{SYSFS}/history")) == 0:
            raise SweepError("history is 0: there is nothing to judge by")

    def arm(self, number: int) -> None:
        """The module's allocation of that number from now on fails; 0 for none."""
        try:
            write_file(FAIL_NTH, f"{self.name} {number}")
        except OSError as error:
            raise SweepError(f"{FAIL_NTH}: {error.strerror}") from error

    def unload(self) -> None:
        """Unload the module, which is loaded."""
        done = command("rmmod", self.name)
        if done.returncode:
            raise SweepError(f"{self.name} cannot be unloaded: {done.stdout.strip()}")

    def attempt(self, number: int) -> Try:
        """Load the module, with that allocation failing, and unload it."""
        mark, before = dmesg_mark(), violations()
        self.arm(number)
        done = command(*self.loader)
        has_owner = os.path.isdir(f"{SYSFS}/modules/{self.name}")
        if module_loaded(self.name):
            self.unload()
        failed = re.search(rf"^mown: {self.name}: an allocation of \d+ bytes fails on purpose in "
                           r"(.*)$", dmesg_since(mark), re.MULTILINE)
        # Accounts are drawn up before a load that fails, and an unload, return
        accounts = exits(self.name) if failed or has_owner else []
        return Try(done.stdout.strip() if done.returncode else None,
                   failed[1] if failed else None, accounts[-1] if accounts else None,
                   [report for report in violations()
                    if report not in before and self.name in report])

    def tell(self, number: int, attempt: Try) -> bool:
        """Print what came of it. True if nothing was found."""
        account = attempt.account
        left = account.left if account else 0
        faults = [f"left behind {left} objects ({account.left_bytes} bytes)"] \
            if account and left else []
        if attempt.reports:
            faults.append(f"{len(attempt.reports)} violations")
        how = "fails to load" if attempt.error else "loads all the same"
        where = f"{number}: {attempt.site} fails: {how}" if attempt.site else "no failure: loads"
        print(f"{self.name}: {where}, {' and '.join(faults) or 'clean'}", flush=True)
        if account and left:
            for site in account.sites:
                print(f"    {site.count} objects, {site.bytes} bytes, {site.family}, from "
                      f"{site.site}")
        for report in attempt.reports:
            for line in report.splitlines():
                print(f"    {line}")
        return not faults

    def interrupt(self, *_: object) -> None:
        """Stop when the attempt is over: a load goes on in the kernel when its command is killed."""
        self.interrupted = True

    def run(self, most: int) -> bool:
        """All of them, or the first so many. True if nothing was found."""
        clean = True
        for number in range(1, most + 1):
            attempt = self.attempt(number)
            if self.interrupted:
                raise KeyboardInterrupt
            if not attempt.site and attempt.error:
                raise SweepError(f"{self.name} does not load, and no allocation of it has "
                                 f"failed: {attempt.error}")
            if not attempt.account:
                raise SweepError(f"{self.name} does not use mown")
            clean = self.tell(number, attempt) and clean
            if not attempt.site:
                print(f"{self.name}: {number - 1} allocations, each has failed once")
                return clean
        print(f"{self.name}: stopped after {most} allocations, there are more")
        return clean

    def clean_up(self) -> None:
        """Nothing of the sweep stays."""
        with contextlib.suppress(SweepError):
            self.arm(0)
        if module_loaded(self.name):
            self.unload()


def number_above_0(text: str) -> int:
    """The argument of an option."""
    number = int(text)
    if number < 1:
        raise ValueError(text)
    return number


def main(argv: Optional[Sequence[str]] = None) -> int:
    """The command, with the arguments ARGV; returns its exit status."""
    assert __doc__
    usage, _, rest = __doc__.partition("\n\n")
    parser = argparse.ArgumentParser(description=usage, epilog=rest,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-n", "--max", type=number_above_0, default=10000, metavar="N",
                        help="stop after N allocations (default %(default)s)")
    parser.add_argument("module", metavar="MODULE", help="a .ko file, or a name for modprobe")
    parser.add_argument("params", metavar="PARAM=VALUE", nargs="*", help="the module's parameters")
    args = parser.parse_args(argv)
    try:
        sweep = Sweep(args.module, args.params)
        sweep.check()
        signal.signal(signal.SIGINT, sweep.interrupt)
        try:
            return FOUND_NOTHING if sweep.run(args.max) else FOUND_SOMETHING
        finally:
            sweep.clean_up()
    except SweepError as error:
        print(f"fail_sweep: {error}", file=sys.stderr)
    except KeyboardInterrupt:
        print("fail_sweep: interrupted", file=sys.stderr)
    return FAILED


if __name__ == "__main__":
    sys.exit(main())
