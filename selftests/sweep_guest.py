#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""The guest's half of sweep.py: load and unload the modules of a list, and tell what came of each.

It is run in a virtual machine, with the name of a file that sweep.py has written. What it prints
are JSON objects, one a line. It loads and unloads by system calls of its own, as modprobe takes
longer in an emulated machine than all the rest; install and softdep lines are not looked at.
"""
import ctypes
import errno
import json
import os
import re
import sys
import threading
import time
from pathlib import Path
from typing import Collection, Iterable, NamedTuple, NoReturn, Optional

from ksft_mown import DEBUGFS, LIBC, SYSFS, load_mown, memory, parse_stats, read_blocks, \
    read_file, violations, write_file

# x86-64
SYS_FINIT_MODULE, SYS_DELETE_MODULE = 313, 176
# How long a load or an unload may take before it counts as hanging
STEP_SECONDS = 60
# Kernel code may hold on to a module, or to its memory, for a moment: kfree_rcu() takes five
# seconds by itself
BUSY_SECONDS, SETTLE_SECONDS = 3.0, 8.0
# Modules that cannot be unloaded pile up; with less than this a new guest is better
ENOUGH_MEMORY = 200 << 20
# How much is kept of what the kernel says
SPLAT_LINES = 40

SPLAT = re.compile(r"WARNING: CPU|\bBUG (?!mown)\S+ \(|\bBUG: (?!mown:)|kernel BUG at|Oops: |"
                   r"general protection fault|refcount_t: |list_(?:add|del) corruption|UBSAN: |"
                   r"INFO: task \S+ blocked|Bad page state|sysfs: cannot create duplicate|"
                   r"kobject_add_internal failed|Trying to vfree|unable to handle")
# What the kernel says on purpose when an allocation fails: its own tests of ciphers fail then
MEANT = re.compile(r"WARNING: CPU: .* at (?:crypto/testmgr|lib/crypto/chacha20poly1305)\.c")
# What a splat has besides what happened and how it came to that
NOISE = re.compile(r"(?:R\S\S|[FCD]S|CR[0-9]|DR[0-9]|PKRU|Code|Hardware name|Modules linked in): ?|"
                   r" ? ?\? |---\[ end trace")
ON_PURPOSE = re.compile(r"mown: (\S+): an allocation of \d+ bytes fails on purpose in (.*)")
ACCOUNT = re.compile(r"(\S+): allocated (\d+), freed (\d+), released elsewhere (\d+), "
                     r"left behind (-?\d+) \((-?\d+) bytes\), reclaimed (\d+)(.*)")

NO_EXIT = "has no exit function"

Fields = dict[str, object]


# ---- What there is to load ----

def module_name(path: str) -> str:
    """The name that the kernel has for a module's file."""
    return Path(path).name.split(".ko")[0].replace("-", "_")


class Tree:
    """The modules of a kernel, from its modules.dep."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.path: dict[str, str] = {}
        # What a module needs, in the order in which it is to be loaded
        self.deps: dict[str, list[str]] = {}
        for line in (directory / "modules.dep").read_text().splitlines():
            path, _, rest = line.partition(":")
            self.path[module_name(path)] = path
            self.deps[module_name(path)] = [module_name(dep) for dep in reversed(rest.split())]

    def ordered(self) -> list[str]:
        """All of them; those that need the same are neighbours."""
        return sorted(self.path, key=lambda name: (*self.deps[name], name))


# ---- Telling ----

OUTPUT_LOCK = threading.Lock()


def tell(**fields: object) -> None:
    """Print one message for the host."""
    with OUTPUT_LOCK:
        print(json.dumps(fields), flush=True)


class Watch(threading.Thread):
    """Tells the host, which ends the guest then, of a step that takes too long, and where it is."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.what = ""
        self.until = float("inf")

    def step(self, what: str) -> None:
        """The main thread begins with this."""
        self.what, self.until = what, time.monotonic() + STEP_SECONDS

    def run(self) -> None:
        while time.monotonic() < self.until:
            time.sleep(0.5)
        try:
            stack = read_file(f"/proc/self/task/{os.getpid()}/stack").splitlines()
        except OSError as error:
            stack = [str(error)]
        tell(kind="hang", what=self.what, lines=stack)


class Log:
    """The kernel's log, read bit by bit."""

    def __init__(self) -> None:
        self.fd = os.open("/dev/kmsg", os.O_RDWR | os.O_NONBLOCK)
        os.lseek(self.fd, 0, os.SEEK_END)

    def mark(self, text: str) -> None:
        """A line that reaches the console before anything else happens: a guest that is lost
        takes along what is still on its way to the host by other ways."""
        os.write(self.fd, f"<6>sweep: {text}\n".encode())

    def read(self) -> list[str]:
        """The lines since the last call."""
        lines: list[str] = []
        while True:
            try:
                record = os.read(self.fd, 8192).decode(errors="replace")
            except BlockingIOError:
                return lines
            except BrokenPipeError:
                # Overwritten before it was read: go on with what there is
                continue
            lines.append(record.partition(";")[2].partition("\n")[0])


def splats(lines: Iterable[str]) -> list[str]:
    """Each time that the kernel complained, as some lines of its log."""
    found: list[list[str]] = []
    inside = False
    for line in lines:
        # As it is on the console
        line = re.sub(r"^\[ *\d+\.\d+\] ", "", line)
        if not inside and SPLAT.search(line):
            inside = True
            found.append([])
        if inside and not NOISE.match(line):
            found[-1].append(line)
        if inside and ("---[ end trace" in line or len(found[-1]) == SPLAT_LINES):
            inside = False
    return ["\n".join(block) for block in found]


# ---- mown ----

class Mown:
    """What mown says. Without it, nothing, and the sweep is one of loads and unloads only."""

    def __init__(self, used: bool) -> None:
        self.used = used
        if not used:
            return
        load_mown()
        if not os.path.exists(f"{SYSFS}/attach"):
            raise OSError(f"there is no {SYSFS}/attach")
        write_file(f"{SYSFS}/attach", "*")

    def clear(self) -> None:
        """Forget the last module."""
        if self.used:
            write_file(f"{SYSFS}/clear", "1")

    def fail(self, name: str, number: int) -> None:
        """That allocation of the module's fails when it is loaded; none if 0."""
        if self.used:
            write_file(f"{SYSFS}/fail_nth", f"{name} {number}")

    def stats(self, name: str) -> Optional[dict[str, int]]:
        """A loaded module's counters but those that are 0; None if it is not attached."""
        try:
            text = read_file(f"{DEBUGFS}/{name}/stats")
        except OSError:
            return None
        return {key: int(value) for key, value in parse_stats(text).items() if int(value)}

    def reports(self) -> list[str]:
        """The violations."""
        return violations() if self.used else []

    def accounts(self) -> list[Fields]:
        """Of the modules that have gone, those with anything in them."""
        if not self.used:
            return []
        found = (parse_account(block) for block in read_blocks(f"{DEBUGFS}/exits", "mown exits 1"))
        return [account for account in found if account["allocated"] or account["left"]]

    def settled(self) -> list[Fields]:
        """The accounts, once what was left behind has had the time to be freed late."""
        end = time.monotonic() + SETTLE_SECONDS
        while True:
            accounts = self.accounts()
            if not any(account["left"] for account in accounts) or time.monotonic() > end:
                return accounts
            time.sleep(0.2)


def parse_account(block: str) -> Fields:
    """An account of the exits file."""
    first, *sites = block.splitlines()
    match = ACCOUNT.fullmatch(first)
    if not match:
        raise ValueError(f"not the first line of an exit block: {first}")
    names = ("allocated", "freed", "elsewhere", "left", "left_bytes", "reclaimed")
    account: Fields = {"name": match[1]}
    account.update((name, int(value)) for name, value in zip(names, match.groups()[1:]))
    account.update((words.rpartition(" ")[0], int(words.rpartition(" ")[2]))
                   for words in match[8].split(", ") if words)
    account["sites"] = sites
    return account


# ---- Modules ----

class Loaded(NamedTuple):
    """A line of /proc/modules."""

    name: str
    references: str
    users: str

    def why(self) -> str:
        """Why it does not go, when it does not."""
        if "[permanent]" in self.users:
            return NO_EXIT
        users = self.users.strip(",-")
        return f"{self.references} references" + (f", used by {users}" if users else "")


def loaded() -> list[Loaded]:
    """All modules, the newest first."""
    lines = (line.split() for line in Path("/proc/modules").read_text().splitlines())
    return [Loaded(words[0], words[2], words[3]) for words in lines]


def module_call(number: int, *args: object) -> int:
    """A system call; returns 0 or the error's number."""
    return ctypes.get_errno() if LIBC.syscall(ctypes.c_long(number), *args) < 0 else 0


def error_name(number: int) -> str:
    """ENODEV and so on; nothing for 0."""
    return errno.errorcode.get(number, str(number)) if number else ""


class Modules:
    """Loads and unloads."""

    def __init__(self, tree: Tree, watch: Watch) -> None:
        self.tree = tree
        self.watch = watch
        # The guest itself needs those; mown is one of them
        self.base = {module.name for module in loaded()}
        self.stays: dict[str, str] = {}

    def load(self, name: str) -> str:
        """Load the module alone. Returns the error, or nothing."""
        self.watch.step(f"load {name}")
        fd = os.open(self.tree.directory / self.tree.path[name], os.O_RDONLY | os.O_CLOEXEC)
        try:
            return error_name(module_call(SYS_FINIT_MODULE, fd, b"", 0))
        finally:
            os.close(fd)

    def load_deps(self, name: str) -> str:
        """Load what the module needs. Returns which failed, and the error, or nothing."""
        there = {module.name for module in loaded()}
        for dep in self.tree.deps[name]:
            if dep not in there:
                error = self.load(dep)
                # Another one may have asked for it meanwhile
                if error not in ("", "EEXIST"):
                    return f"{dep}: {error}"
        return ""

    def remove(self, name: str) -> bool:
        """Unload the module. True if it has gone."""
        self.watch.step(f"unload {name}")
        return not module_call(SYS_DELETE_MODULE, name.encode(), os.O_NONBLOCK)

    def unload(self, keep: Collection[str]) -> dict[str, str]:
        """Unload all but those to keep. Returns which stay for the first time, and why."""
        end = time.monotonic() + BUSY_SECONDS
        while True:
            tried = [module for module in loaded()
                     if module.name not in self.base and module.name not in keep]
            left = [module for module in tried if not self.remove(module.name)]
            for module in tried:
                if module not in left:
                    self.stays.pop(module.name, None)
            new = {module.name: module.why() for module in left if module.name not in self.stays}
            if len(left) < len(tried) and left:
                continue
            if not new:
                return {}
            if keep:
                # Maybe one of those uses it
                keep = ()
            elif set(new.values()) == {NO_EXIT} or time.monotonic() > end:
                self.stays.update(new)
                return new
            else:
                time.sleep(0.1)


# ---- The sweeps ----

class Sweep:
    """One guest's part of a sweep."""

    def __init__(self, plan: Fields) -> None:
        self.watch = Watch()
        self.log = Log()
        self.mown = Mown(bool(plan["attach"]))
        self.modules = Modules(Tree(Path("/lib/modules") / os.uname().release), self.watch)
        self.most = int(str(plan["most"]))
        # Something went wrong that may harm what is tried next
        self.harmed = False
        self.watch.start()

    def begin(self, name: str, number: int = 0) -> float:
        """Say what is tried now, and forget what was before."""
        self.log.mark(f"begin {name} {number}")
        self.log.read()
        self.mown.clear()
        return time.monotonic()

    def findings(self, lines: list[str]) -> Fields:
        """What is told of any try when all has been unloaded; LINES are what the log had so far."""
        accounts, reports = self.mown.settled(), self.mown.reports()
        complaints = [text for text in splats(lines + self.log.read())
                      if not (ON_PURPOSE.search("\n".join(lines)) and MEANT.match(text))]
        self.harmed = bool(reports or complaints or any(account["left"] for account in accounts))
        return {"accounts": accounts, "reports": reports, "splats": complaints}

    def staying(self, stays: dict[str, str]) -> list[Fields]:
        """What is told of modules that do not go."""
        return [{"name": name, "why": why, "stats": self.mown.stats(name) or {}}
                for name, why in stays.items()]

    def plain(self, name: str, keep: Collection[str]) -> None:
        """Load and unload the module; what the next one needs may stay till then."""
        start = self.begin(name)
        if name in self.modules.base or name in self.modules.stays:
            why = self.modules.stays.get(name, "in use by the guest itself")
            tell(kind="result", name=name, result="there already", why=why)
            return
        error = self.modules.load_deps(name)
        # As what another one needed it may be there still
        if not error and name not in {module.name for module in loaded()}:
            error = self.modules.load(name)
        stats = self.mown.stats(name)
        stays = self.staying(self.modules.unload(set(keep) - {name}))
        tell(kind="result", name=name, result="failed" if error else "loaded", why=error,
             attached=stats is not None, stats=stats or {}, stays=stays,
             **self.findings(self.log.read()), seconds=round(time.monotonic() - start, 2))

    def attempt(self, name: str, number: int) -> tuple[bool, bool]:
        """Load the module with that allocation failing, and unload it.

        Returns whether there was such an allocation, and whether the module stays.
        """
        start = self.begin(name, number)
        self.mown.fail(name, number)
        error = self.modules.load(name)
        stays = self.staying(self.modules.unload(self.modules.tree.deps[name]))
        self.mown.fail(name, 0)
        lines = self.log.read()
        sites = [match[2] for match in map(ON_PURPOSE.search, lines) if match and match[1] == name]
        tell(kind="result", name=name, n=number, result="failed" if error else "loaded", why=error,
             site=sites[0] if sites else None, stays=stays, **self.findings(lines),
             seconds=round(time.monotonic() - start, 2))
        return bool(sites), name in self.modules.stays

    def walk(self, name: str, first: int) -> None:
        """Make each of the module's allocations fail, from that one on."""
        if name in self.modules.base or name in self.modules.stays:
            why = self.modules.stays.get(name, "in use by the guest itself")
            tell(kind="end", name=name, why=f"there already: {why}")
            return
        self.modules.unload(self.modules.tree.deps[name])
        error = self.modules.load_deps(name)
        if error:
            tell(kind="end", name=name, why=error)
            return
        for number in range(first, self.most + 1):
            failed, stays = self.attempt(name, number)
            if self.harmed and failed and not stays:
                return
            # What it needs may have gone for the sake of another
            if stays or not failed or self.modules.load_deps(name):
                why = "it stays" if stays else "" if not failed else "what it needs is gone"
                tell(kind="end", name=name, why=why)
                return
        tell(kind="end", name=name, why=f"stopped after {self.most}")

    def run(self, jobs: list[tuple[str, int]]) -> None:
        """All of them, or as many as the guest is good for."""
        for (name, first), following in zip(jobs, [*jobs[1:], None]):
            if first:
                self.walk(name, first)
            else:
                self.plain(name, self.modules.tree.deps[following[0]] if following else ())
            if self.harmed or memory()["MemAvailable"] < ENOUGH_MEMORY:
                tell(kind="anew")
                return


def main(argv: Iterable[str]) -> NoReturn:
    """The plan's file is the argument."""
    plan = json.loads(Path(*argv).read_text())
    try:
        Sweep(plan).run([tuple(job) for job in plan["jobs"]])
        tell(kind="done")
    except (OSError, AssertionError, ValueError) as error:
        tell(kind="error", why=f"{type(error).__name__}: {error}")
    sys.stdout.flush()
    # A thread is still waiting, and modules that stay need no cleaning up
    os._exit(0)


if __name__ == "__main__":
    main(sys.argv[1:])
