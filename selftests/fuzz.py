#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Fuzz the faces of mown: write to its knobs, read its files, let modules come and go.

All decisions come from the seed, none from what the kernel answers: so the same seed makes the
same steps, and a run that failed is replayed by its seed and its number of steps. What each step
must give is known from a model of the knobs and of the modules, by the words of
Documentation/ABI/testing/. Beside the steps other processes read all files, and write to the
knobs what no knob takes.

A policy may be "panic" like any other word, but is taken back before a step that provokes such a
violation.

It runs in the virtual machine: see "make fuzz".
"""
import argparse
import collections
import contextlib
import errno
import glob
import os
import random
import re
import signal
import sys
import time
import traceback
from typing import Callable, Iterator, NamedTuple, NoReturn, Optional

from ksft_mown import (DEBUGFS, MODULES, POLICIES, SYSFS, Mark, Ops, attached, built_in,
                       delete_errno, exits, global_stats, insert_errno, live, load_mown, memory,
                       module_loaded, mown_path, name_of, parse_stats, quiet_console, read_file,
                       splats, unload, violations, wait_for, write_errno, write_file)

PAGE = os.sysconf("SC_PAGE_SIZE")
LONG_MAX = (1 << 63) - 1
# MODULE_NAME_LEN with the NUL that ends it
NAME_MAX = 56
NO_NAME = rb"[^!-~]|[/,*]"
FAILS_MAX = 16

WORDS = {name: {"auto", "warn", "panic"} for name in POLICIES}
for knob_name in ("unknown_free", "foreign_free", "use_after_free", "overflow", "limit"):
    WORDS[knob_name] |= {"pass"}
WORDS["left_behind"] = {"auto", "report", "reclaim", "panic"}

API, DROPIN, PLAIN, OTHER = ("mown_test_ops", "mown_dropin_ops", "mown_plain_ops",
                             "mown_plain_other")
LEAK, INITFAIL = "mown_dropin_leak", "mown_test_initfail"
OPS = (API, DROPIN, PLAIN, OTHER)
ABSENT = ("mown_fuzz_absent", "mown_fuzz_nobody")
BUILT_IN = "printk"
# What the processes beside us attach and detach
BESIDE = "mown_fuzz_beside"

ALLOCATORS = (("kmalloc", "kfree"), ("kzalloc", "kfree_sensitive"), ("kmalloc", "kvfree"),
              ("vmalloc", "vfree"), ("kvmalloc", "kvfree"))
# So many objects a module has at most
OBJECTS_MAX = 40

# Those of a module that only we use change only by what we do
COUNTERS = ("allocated", "freed", "live", "live_bytes", "released_elsewhere", "stale",
            "untracked", "untracked_freed", "unknown_passed", "unknown_frees", "double_frees",
            "interior_frees", "mismatched_frees", "foreign_frees", "use_after_frees", "overflows",
            "redzones_lost", "failed", "limited", "transferred_in", "transferred_out", "disowned")
TOP_FILES = ("live", "violations", "exits", "attached", "stats")
OWNER_FILES = ("live", "sites", "since", "stats")
LIVE_RE = re.compile(rb"\S+ [0-9a-f]+ \d+ [a-z_]+ \d+ \d+ \d+ .*")

# Bits of the kernel's taint: bad page, oops, soft lockup; mown's own reports are a warning
TAINTS = 1 << 5 | 1 << 7 | 1 << 14


# ---- What a write must give ----

def parse_number(data: bytes, bits: int = 64) -> tuple[int, int]:
    """As kstrtoul(): errno and number."""
    match = re.match(rb"\+?(?:0[xX](?P<hex>[0-9a-fA-F]+)|(?P<oct>0[0-7]*)|(?P<dec>[1-9][0-9]*))",
                     data)
    if not match:
        return errno.EINVAL, 0
    text = match["hex"] or match["oct"] or match["dec"]
    number = int(text, 16 if match["hex"] else 8 if match["oct"] else 10)
    if number >> 64:
        return errno.ERANGE, 0
    if data[match.end():] not in (b"", b"\n"):
        return errno.EINVAL, 0
    return (errno.ERANGE if number >> bits else 0), number


def parse_word(data: bytes) -> str:
    """As sysfs_streq(): the word, which a newline may end."""
    return data.removesuffix(b"\n").decode("latin-1")


def parse_name(data: bytes) -> tuple[int, str]:
    """A name for attach and detach: errno and the name as modules have it."""
    name, newline, rest = data.partition(b"\n")
    if not name or (newline and rest):
        return errno.EINVAL, ""
    if len(name) >= NAME_MAX:
        return errno.ENAMETOOLONG, ""
    if (name != b"*" and re.search(NO_NAME, name)) or name == b"mown":
        return errno.EINVAL, ""
    return 0, name.decode().replace("-", "_")


# ---- The model ----

class Object(NamedTuple):
    """An allocation of ours: RECORDED if mown must know it."""

    pointer: int
    size: int
    free: str
    recorded: bool


class Knobs:
    """The knobs of one directory, as they must read."""

    def __init__(self, inherit: bool) -> None:
        default = "inherit" if inherit else "auto"
        self.values = {f"policy/{name}": default for name in POLICIES}
        self.values["stack_depth"] = "inherit" if inherit else "0"
        self.values["quarantine_bytes"] = "inherit" if inherit else ""
        if inherit:
            self.values |= {"limit_bytes": "0", "fail_nth": "0"}
        else:
            self.values["history"] = "64"


class Owner:
    """What mown must say of a module."""

    def __init__(self, promised: bool) -> None:
        self.knobs = Knobs(inherit=True)
        self.counts: dict[str, int] = {}
        self.promised = promised


class Module:
    """A module of calls: what it has, and its owner if it is under mown."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.linked = name in (API, DROPIN)
        self.heap: Optional[Ops] = None
        self.owner: Optional[Owner] = None
        self.objects: list[Object] = []


class Held(NamedTuple):
    """A file that is kept open over steps."""

    fd: int
    path: str
    of: object


# ---- The processes beside ----

NEVER = (b"nonsense", b"-1", b"\0", b"auto\0", b"\xff\xfe\n", b"1 2 3", b"x" * 70000, b"\n\n",
         b"[auto]")
GONE = (errno.ENOENT, errno.ENODEV, errno.ENXIO, errno.EIO, errno.EACCES)


def all_files() -> list[str]:
    """All files of mown's now."""
    return [f"{path}/{name}" for top in (DEBUGFS, SYSFS) for path, _, names in os.walk(top)
            for name in names]


def is_live(path: str) -> bool:
    """Does the file list objects?"""
    return path.startswith(DEBUGFS) and path.endswith("/live")


def read_beside(rng: random.Random, path: str) -> None:
    """Read a file in pieces, with some seeking."""
    fd = os.open(path, os.O_RDONLY)
    try:
        for _ in range(rng.randrange(1, 20)):
            if rng.random() < 0.2:
                place = rng.choice((0, 1, PAGE - 1, PAGE, rng.randrange(1 << 16)))
                os.lseek(fd, place, os.SEEK_SET)
            if not os.read(fd, rng.choice((1, 7, 100, PAGE, 1 << 16))):
                break
    finally:
        os.close(fd)


def write_beside(rng: random.Random, path: str) -> None:
    """Write to a file what no knob takes, or attach and detach a name of our own."""
    if path.endswith(("/attach", "/detach")):
        error = write_errno(path, BESIDE.encode())
        assert error in (0, errno.EEXIST, errno.ENOENT, errno.ENODEV, errno.EOPNOTSUPP), \
            f"{path}: {name_of(error)}"
        return
    data = rng.choice(NEVER)
    error = write_errno(path, data)
    assert error in (errno.EINVAL, errno.ENODEV), \
        f"{path}: {data[:20]!r} written from beside: {name_of(error)}"


def beside(number: int) -> NoReturn:
    """The life of a process beside: read and write at random until it is killed."""
    rng = random.Random(number)
    os.nice(5)
    while True:
        paths = all_files() or ["/"]
        for path in rng.sample(paths, min(len(paths), 30)):
            try:
                (write_beside if rng.random() < 0.2 else read_beside)(rng, path)
            except OSError as error:
                # Write only or read only, or it went, with its module or with mown
                assert error.errno in (*GONE, errno.EISDIR), f"{path}: {error}"
            time.sleep(0.005)


# ---- The fuzzer ----

def unload_mown() -> None:
    """Unload mown; who reads its files from beside may have to close them first."""
    wait_for(lambda: delete_errno("mown") == 0, "mown lets itself be unloaded")
    for path in (SYSFS, DEBUGFS, *glob.glob("/sys/kernel/slab/mown_record*")):
        assert not os.path.exists(path), f"{path} without mown"


def fresh_mown() -> None:
    """Of our modules none is loaded but mown, as it is when it comes."""
    unload((*OPS, LEAK, INITFAIL))
    if module_loaded("mown") and mown_path():
        unload_mown()
    load_mown()
    if built_in():
        take_back()


def take_back() -> None:
    """What mown was told is as when it comes, but the size of quarantine: it cannot go."""
    for name, value in Knobs(inherit=False).values.items():
        if value:
            write_file(f"{SYSFS}/{name}", value)
    for line in read_file(f"{SYSFS}/fail_nth").splitlines():
        write_file(f"{SYSFS}/fail_nth", f"{line.split()[0]} 0")
    write_file(f"{SYSFS}/clear", "1")


class Fuzzer:
    """One run: a seed, its steps, and what must hold after each."""

    def __init__(self, seed: int, verbose: bool = False) -> None:
        self.seed = seed
        self.rng = random.Random(seed)
        self.verbose = verbose
        self.step = 0
        self.trace: list[str] = []
        self.done: collections.Counter[str] = collections.Counter()
        modules = [Module(name) for name in OPS]
        # With mown in the kernel all modules are owners, those that know nothing of it as well
        self.modules = {module.name: module for module in modules
                        if module.linked or not built_in()}
        self.held: list[Held] = []
        self.knobs = Knobs(inherit=False)
        self.names: list[str] = []
        self.fails: dict[str, int] = {}
        self.accounts: list[str] = []
        self.beside: list[int] = []
        self.memory = memory()["MemTotal"]
        self.reloads = self.stacks = False
        self.log = Mark()

    def say(self, text: str) -> None:
        """What the step at hand does, without addresses."""
        self.trace.append(f"{self.step}: {text}")
        if self.verbose:
            print(f"# {self.step}: {text}", flush=True)

    def replay(self) -> str:
        """The last steps, and how to come here again."""
        steps = "\n".join(self.trace[-20:])
        return (f"at step {self.step} of seed {self.seed}; the last steps:\n{steps}\n"
                f"again: make fuzz SEED={self.seed} STEPS={self.step}")

    # -- Choices --

    def chance(self, share: float) -> bool:
        """True in that share of the calls."""
        return self.rng.random() < share

    def size(self, top: int) -> int:
        """Small numbers as often as large ones."""
        return min(top, 1 + self.rng.getrandbits(self.rng.randrange(1, top.bit_length() + 1)))

    def number(self) -> bytes:
        """A number, as somebody might write it."""
        number = self.rng.choice((0, 1, 2, 15, 16, 17, 63, 64, 4096, 4097, self.memory,
                                  self.memory + PAGE, LONG_MAX, LONG_MAX + 1, (1 << 32) - 1,
                                  1 << 32, (1 << 64) - 1, 1 << 64, self.size(1 << 20),
                                  self.size(1 << 64)))
        return self.rng.choice((b"%d", b"%d\n", b"0x%x", b"0%o", b"+%d")) % number

    def name(self) -> bytes:
        """A module's name, or what is none."""
        name = self.rng.choice((*OPS, *OPS, PLAIN, *ABSENT, BUILT_IN, "*", "mown", "m" * 55,
                                "m" * 56, "a b", "a/b", "a,b", "a*", "n\u00e4me")).encode()
        if self.chance(0.2):
            name = name.replace(b"_", b"-")
        return name + self.rng.choice((b"", b"", b"\n", b"\n\n", b" ", b"\0"))

    def data(self) -> bytes:
        """What is written to a knob, whichever."""
        what = self.rng.randrange(12)
        if what < 4:
            word = self.rng.choice(("inherit", "auto", "warn", "pass", "report", "reclaim", "panic",
                                    "mark", "1", "Auto", "auto warn"))
            return word.encode() + self.rng.choice((b"", b"\n", b"\n", b"\n\n", b" ", b"\0"))
        if what < 8:
            return self.number()
        if what == 8:
            return self.name() + b" " + self.number()
        if what == 9:
            return self.rng.choice((b"", b"\n", b"\0", b" ", b"-1", b"-0", b"0x", b"08", b"1 ",
                                    b"1x", b"%s%n", b"9" * 100, b"\xff\xfe", b"++1", b"1\0"))
        if what == 10:
            # No more than a page arrives, with nothing behind it
            text = self.rng.choice((b"auto", b"1", b"0", b"inherit", b"warn\n"))
            size = self.rng.choice((PAGE - 1, PAGE, PAGE + 1, 1 << 17))
            return self.rng.choice((text.ljust(size, b"\0"), text.ljust(size), (text * size)[:size],
                                    text.rjust(size, b"0")))
        return self.rng.randbytes(self.size(64))

    def fitting(self, knob: str) -> bytes:
        """What the knob takes, mostly."""
        words = sorted(WORDS.get(knob.removeprefix("policy/"), ()))
        number = b"%d" % self.size(1 << self.rng.choice((4, 6, 12, 20)))
        data = self.rng.choice([word.encode() for word in words] or [number, number, b"0"])
        return self.rng.choice((data, data, data + b"\n", b"inherit"))

    def owned(self) -> list[Module]:
        """The modules of calls that are under mown."""
        return [module for module in self.modules.values() if module.owner]

    def one_of(self, modules: list[Module]) -> Optional[Module]:
        """One of them, by one number of the sequence, however many they are."""
        number = self.rng.random()
        return modules[int(number * len(modules))] if modules else None

    def file(self) -> tuple[str, object]:
        """A file that can be read, and what it stands and falls with."""
        module = self.one_of(self.owned())
        debug, which = self.chance(0.5), self.rng.random()
        of: object = self.knobs
        if module and self.chance(0.5):
            of = module.owner
            assert module.owner
            names = OWNER_FILES if debug else (*module.owner.knobs.values, *COUNTERS)
            top = f"{DEBUGFS}/{module.name}" if debug else f"{SYSFS}/modules/{module.name}"
        else:
            names = TOP_FILES if debug else (*self.knobs.values, "fail_nth", "version")
            top = DEBUGFS if debug else SYSFS
        return f"{top}/{names[int(which * len(names))]}", of

    # -- Writes --

    def accept(self, knob: str, data: bytes, owner: Optional[Owner]) -> tuple[int, str]:
        """The errno that a write to a knob with a value must give, and the value."""
        kind, _, policy = knob.partition("/")
        word = parse_word(data)
        if owner and word == "inherit" and knob not in ("limit_bytes", "fail_nth"):
            return 0, word
        if kind == "policy":
            return (0 if word in WORDS[policy] else errno.EINVAL), word
        error, number = parse_number(data, 32 if knob in ("stack_depth", "history") else 64)
        top = {"stack_depth": 16, "history": 4096, "limit_bytes": LONG_MAX, "fail_nth": LONG_MAX,
               "quarantine_bytes": self.memory // PAGE * PAGE + PAGE - 1}[knob]
        error = error or (errno.ERANGE if number > top else 0)
        if not error and number and knob == "stack_depth" and not self.stacks:
            error = errno.EOPNOTSUPP
        return error, str(number)

    def write(self, path: str, data: bytes) -> int:
        """One write(2), at some offset, to a file that may have been written to before."""
        chunks = [data] if self.chance(0.8) else [b"\0", data]
        offset = 0 if self.chance(0.8) else self.size(1 << 40)
        error = 0
        fd = os.open(path, os.O_WRONLY)
        try:
            for chunk in chunks:
                try:
                    error, written = 0, os.pwrite(fd, chunk, offset)
                    assert written == min(len(chunk), PAGE), f"{path}: took {written} bytes"
                except OSError as failed:
                    error = failed.errno or -1
        finally:
            os.close(fd)
        self.done["refused" if error else "taken"] += 1
        return error

    @staticmethod
    def expect(path: str, data: bytes, error: int, want: int) -> None:
        """A write has given that error."""
        assert error == want, f"{path}: {data[:60]!r}, {len(data)} bytes: {name_of(error)}," \
            f" not {name_of(want)}"

    def write_knob(self) -> None:
        """Write anything to a knob that holds a value, and read it back."""
        module = self.one_of(self.owned()) if self.chance(0.5) else None
        owner = module.owner if module else None
        knobs = owner.knobs if owner else self.knobs
        names = list(knobs.values)
        knob = names[int(self.rng.random() * len(names))]
        data = self.fitting(knob) if self.chance(0.4) else self.data()
        top = f"{SYSFS}/modules/{module.name}" if module else SYSFS
        path = f"{top}/{knob}"
        self.say(f"write {path} {data[:60]!r}, {len(data)} bytes")
        got = data[:PAGE]
        error, value = (errno.EINVAL, "") if b"\0" in got else self.accept(knob, got, owner)
        if not data:
            error = 0
        self.expect(path, data, self.write(path, data), error)
        if data and not error:
            knobs.values[knob] = value
            if knob == "history":
                self.trim()
        self.check_knob(path, knobs, knob)

    def check_knob(self, path: str, knobs: Knobs, knob: str) -> None:
        """The knob reads as it must."""
        text, want = read_file(path), knobs.values[knob]
        if knob.startswith("policy/"):
            words = WORDS[knob.removeprefix("policy/")] | \
                (set() if knobs is self.knobs else {"inherit"})
            good = sorted(text.split()) == sorted(f"[{word}]" if word == want else word
                                                  for word in words)
        else:
            good = text == want + "\n"
        assert good, f"{path} reads {text!r}, but is to be {want}"

    def squeeze(self) -> None:
        """Let few allocations go well: a number soon, or a limit at what there is."""
        module = self.one_of(self.owned())
        soon, size = self.rng.randrange(4), self.size(1 << 12)
        knob = self.rng.choice(("fail_nth", "limit_bytes"))
        if not module or not module.owner:
            return
        owner, path = module.owner, f"{SYSFS}/modules/{module.name}/{knob}"
        number = soon if knob == "fail_nth" else owner.counts["live_bytes"] + size
        self.say(f"write {path} {soon if knob == 'fail_nth' else f'what there is and {size}'}")
        self.expect(path, b"", self.write(path, b"%d" % number), 0)
        owner.knobs.values[knob] = str(number)
        self.alloc_of(module, ALLOCATORS[0], size + soon - 1 or 1)

    def write_fail(self) -> None:
        """Write to fail_nth for all: a module's name and a number, or what is none."""
        data = self.data() if self.chance(0.3) else self.name() + b" " + self.number()
        path = f"{SYSFS}/fail_nth"
        self.say(f"write {path} {data[:60]!r}, {len(data)} bytes")
        got = data[:PAGE]
        name, space, rest = got.partition(b" ")
        error, number = parse_number(rest)
        if error == 0 and number > LONG_MAX:
            error = errno.ERANGE
        if b"\0" in got or not space or not name or len(name) >= NAME_MAX or \
                re.search(NO_NAME, name):
            error = errno.EINVAL
        key = name.decode("latin-1").replace("-", "_")
        module = self.modules.get(key)
        owner = module.owner if module else None
        if not error and not owner and number and key not in self.fails and \
                len(self.fails) >= FAILS_MAX:
            error = errno.ENOSPC
        self.expect(path, data, self.write(path, data), error if data else 0)
        if error or not data:
            return
        if owner:
            owner.knobs.values["fail_nth"] = str(number)
        elif number:
            self.fails[key] = number
        else:
            self.fails.pop(key, None)

    def write_odd(self) -> None:
        """Write to a file that holds no value, or that cannot be written to."""
        module = self.one_of(self.owned())
        which, data = self.rng.randrange(4), self.data()
        word = parse_word(data[:PAGE])
        if which == 0 and module:
            path, error = f"{SYSFS}/modules/{module.name}/checkpoint", int(word != "mark")
        elif which == 1:
            path, error = f"{SYSFS}/clear", int(word != "1")
            if self.chance(0.2):
                data, error = b"1", 0
        else:
            path = f"{DEBUGFS}/live" if which == 2 else f"{SYSFS}/version"
            self.say(f"open {path} to write")
            with contextlib.suppress(PermissionError):
                os.close(os.open(path, os.O_WRONLY))
                assert path == f"{DEBUGFS}/live", f"{path} can be opened to write"
            return
        self.say(f"write {path} {data[:60]!r}, {len(data)} bytes")
        self.expect(path, data, self.write(path, data), error and data and errno.EINVAL or 0)
        if path.endswith("clear") and data and not error:
            self.accounts.clear()

    # -- Names --

    def set_owner(self, module: Module) -> None:
        """The module has come under mown."""
        owner = module.owner = Owner(module.name == API)
        stats = parse_stats(read_file(f"{DEBUGFS}/{module.name}/stats"))
        owner.counts = {name: int(stats[name]) for name in COUNTERS}
        owner.knobs.values["fail_nth"] = str(self.fails.pop(module.name, 0))

    def attach_error(self, name: str) -> int:
        """What attaching the name must give."""
        if not self.can_attach():
            return errno.EOPNOTSUPP
        module = self.modules.get(name)
        if name in self.names or (module and module.owner):
            return errno.EEXIST
        if name == BUILT_IN and os.path.isdir(f"/sys/module/{BUILT_IN}"):
            return errno.EOPNOTSUPP
        return 0

    @staticmethod
    def can_attach() -> bool:
        """Does this kernel let calls be redirected?"""
        return global_stats()["hooks"] != "none"

    def has_attached(self, name: str) -> None:
        """The name was attached."""
        self.names.append(name)
        module = self.modules.get(name)
        if module and module.heap:
            module.objects = [found._replace(recorded=False) for found in module.objects]
            self.set_owner(module)

    def attach(self) -> None:
        """Attach a name."""
        data, path = self.name(), f"{SYSFS}/attach"
        self.say(f"attach {data!r}")
        error, name = (errno.EINVAL, "") if b"\0" in data else parse_name(data)
        error = error or self.attach_error(name)
        self.expect(path, data, self.write(path, data), error)
        if not error:
            self.has_attached(name)

    def detach(self) -> None:
        """Detach a name, mostly one that is attached."""
        number = self.rng.random()
        data, path = self.name(), f"{SYSFS}/detach"
        if self.names and self.chance(0.7):
            data = self.names[int(number * len(self.names))].encode()
        self.say(f"detach {data!r}")
        error, name = (errno.EINVAL, "") if b"\0" in data else parse_name(data)
        module = self.modules.get(name)
        under = module and module.owner and not module.linked
        if not error and name not in self.names and not under:
            error = errno.ENOENT
        self.expect(path, data, self.write(path, data), error)
        if error:
            return
        if name in self.names:
            self.names.remove(name)
        if module and under:
            module.owner = None
            module.objects = [found._replace(recorded=False) for found in module.objects]

    # -- Modules --

    def safe(self, violation: str, owner: Optional[Owner], *also: str) -> None:
        """The violation may be provoked now: it does not panic, nor do what ALSO says."""
        own = owner.knobs.values[f"policy/{violation}"] if owner else "inherit"
        knobs = owner.knobs if owner and own != "inherit" else self.knobs
        if knobs.values[f"policy/{violation}"] not in ("panic", *also):
            return
        module = next((m for m in self.modules.values() if m.owner and m.owner is owner), None)
        top = SYSFS if knobs is self.knobs or not module else f"{SYSFS}/modules/{module.name}"
        assert write_errno(f"{top}/policy/{violation}", b"auto") == 0
        knobs.values[f"policy/{violation}"] = "auto"

    def policy(self, violation: str, owner: Owner) -> str:
        """The word that holds."""
        own = owner.knobs.values[f"policy/{violation}"]
        return self.knobs.values[f"policy/{violation}"] if own == "inherit" else own

    def account(self, name: str) -> None:
        """The module's account was drawn up."""
        self.accounts.append(name)
        self.trim()

    def trim(self) -> None:
        """No more accounts are kept than history says."""
        del self.accounts[:max(0, len(self.accounts) - int(self.knobs.values["history"]))]

    def load(self) -> None:
        """Load a module of calls, which may be there."""
        module = self.rng.choice(list(self.modules.values()))
        self.say(f"load {module.name}")
        want = errno.EEXIST if module.heap else 0
        comes = module.linked or module.name in self.names or "*" in self.names
        if not want and comes and not module.linked:
            # It has allocations of its own, which are not to fail
            self.fails.pop(module.name, None)
            assert write_errno(f"{SYSFS}/fail_nth", f"{module.name} 0".encode()) == 0
        error = insert_errno(MODULES / f"{module.name}.ko")
        assert error == want, f"insmod {module.name}: {name_of(error)}, not {name_of(want)}"
        if error:
            return
        module.heap = Ops(module.name)
        if comes:
            self.set_owner(module)

    def unload(self) -> None:
        """Unload a module of calls, which may not be there, or in use."""
        module = self.rng.choice(list(self.modules.values()))
        used = self.chance(0.2)
        self.say(f"unload {module.name}{' while it is in use' if used else ''}")
        if not module.heap:
            error = delete_errno(module.name)
            assert error == errno.ENOENT, f"rmmod {module.name}: {name_of(error)}"
        elif used:
            error = delete_errno(module.name)
            assert error == errno.EWOULDBLOCK, f"rmmod {module.name}, in use: {name_of(error)}"
        else:
            self.remove(module)

    def remove(self, module: Module) -> None:
        """Unload the module with all that it has, and look at its account."""
        owner = module.owner
        left = [found for found in module.objects if found.recorded]
        if left:
            self.safe("left_behind", owner)
        assert module.heap
        module.heap.close()
        module.heap, module.owner, module.objects = None, None, []
        # Its baseline, what it has of itself
        error = delete_errno(module.name)
        assert error == 0, f"rmmod {module.name}: {name_of(error)}"
        if not owner:
            return
        self.account(module.name)
        word = self.policy("left_behind", owner)
        if not self.accounts:
            return
        block = exits()[-1]
        assert block.name == module.name, f"the last account is of {block.name}"
        reclaimed = word == "reclaim" or (word == "auto" and owner.promised)
        want = (len(left), sum(found.size for found in left),
                len(left) if reclaimed and global_stats()["net"] != "incomplete" else 0)
        got = (block.left, block.left_bytes, block.reclaimed)
        # Who asked late may have been sent away: without ftrace nothing is reclaimed
        assert got == want or (got[:2] == want[:2] and not self.can_attach()), \
            f"{block}, not {want}"

    def come_and_go(self) -> None:
        """A module that leaves objects behind, one whose init fails, one that is refused."""
        which = self.rng.randrange(3)
        name, params, want = ((LEAK, b"small=3 medium=2 large=1 freed=5", 0),
                              (LEAK, b"small=garbage", errno.EINVAL),
                              (INITFAIL, b"", errno.ENODEV))[which]
        self.say(f"load {name} {params.decode()} and unload it")
        self.safe("left_behind", None)
        error = insert_errno(MODULES / f"{name}.ko", params)
        assert error == want, f"insmod {name} {params!r}: {name_of(error)}"
        if not error:
            stats = parse_stats(read_file(f"{DEBUGFS}/{name}/stats"))
            assert (stats["allocated"], stats["live"]) == ("11", "6"), stats
            error = delete_errno(name)
            assert error == 0, f"rmmod {name}: {name_of(error)}"
        self.account(name)

    def reload(self) -> None:
        """Unload mown, if nobody needs it, and load it with names to attach."""
        names = [self.rng.choice((*OPS, *ABSENT, "*", BUILT_IN, "a/b", ""))
                 for _ in range(self.rng.choice((0, 0, 1, 3)))]
        self.say(f"unload mown and load it with attach={','.join(names)}")
        if not self.reloads:
            return
        used = any(module.heap and module.linked for module in self.modules.values()) or \
            any(held.path.startswith(DEBUGFS) for held in self.held)
        if used:
            error = delete_errno("mown")
            assert error == errno.EWOULDBLOCK, f"rmmod mown, in use: {name_of(error)}"
            return
        unload_mown()
        error = insert_errno(mown_path(), f"attach={','.join(names)}".encode())
        assert error == 0, f"insmod mown: {name_of(error)}"
        self.fresh()
        for name in names:
            error, name = parse_name(name.encode())
            if not error and not self.attach_error(name):
                self.has_attached(name)

    def fresh(self) -> None:
        """Nothing is known to mown any more."""
        for module in self.modules.values():
            module.owner = None
            module.objects = [found._replace(recorded=False) for found in module.objects]
        self.knobs = Knobs(inherit=False)
        self.knobs.values["quarantine_bytes"] = read_file(f"{SYSFS}/quarantine_bytes").strip()
        self.names, self.fails, self.accounts = [], {}, []

    # -- Calls --

    def count(self, module: Module, **more: int) -> None:
        """The counters of the module's owner, which have changed."""
        if not module.owner:
            return
        for name, number in more.items():
            module.owner.counts[name] += number
        stats = parse_stats(read_file(f"{DEBUGFS}/{module.name}/stats"))
        got = {name: int(stats[name]) for name in COUNTERS}
        # A second free is known as that while the object waits in quarantine only
        want = dict(module.owner.counts)
        for counts in (got, want):
            counts["double_frees"] += counts.pop("unknown_frees")
        wrong = {name: (got[name], want[name]) for name in want if got[name] != want[name]}
        assert not wrong, f"{module.name}: counters, and what they should be: {wrong}"

    def alloc(self) -> None:
        """Allocate, which a knob may make fail."""
        module = self.one_of([m for m in self.modules.values()
                              if m.heap and len(m.objects) < OBJECTS_MAX])
        (function, free), size = self.rng.choice(ALLOCATORS), self.size(1 << 16)
        size = size % (1 << 13) + 1 if function[0] == "k" else size
        if module:
            self.alloc_of(module, (function, free), size)

    def alloc_of(self, module: Module, functions: tuple[str, str], size: int) -> None:
        """Allocate as much for the module."""
        function, free = functions
        self.say(f"{module.name}: {function} {size}")
        owner, fails = module.owner, ""
        if owner:
            values, used = owner.knobs.values, owner.counts["live_bytes"]
            nth, limit = int(values["fail_nth"]), int(values["limit_bytes"])
            values["fail_nth"] = str(max(nth - 1, 0))
            fails = "failed" if nth == 1 else "limited" if limit and used + size > limit else ""
            if fails == "limited":
                self.safe("limit", owner)
        assert module.heap
        pointer = module.heap.call(function, size).pointer
        assert bool(pointer) != bool(fails), f"{function} {size} gave {pointer:#x} but {fails}"
        if fails:
            self.count(module, **{fails: 1})
        else:
            module.objects.append(Object(pointer, size, free, bool(owner)))
            self.count(module, allocated=1, live=1, live_bytes=size)

    def some_object(self) -> tuple[Optional[Module], int]:
        """A module with objects and the number of one."""
        module = self.one_of([m for m in self.modules.values() if m.heap and m.objects])
        number = self.rng.random()
        return module, int(number * len(module.objects)) if module else 0

    def free(self) -> None:
        """Free an object: recorded, or of before its module came under mown."""
        module, number = self.some_object()
        if not module:
            return
        found = module.objects[number]
        self.say(f"{module.name}: {found.free} object {number}")
        if module.owner and not found.recorded:
            self.safe("unknown_free", module.owner)
        assert module.heap
        module.heap.call(found.free, found.pointer)
        if module.owner and not found.recorded and \
                self.policy("unknown_free", module.owner) == "warn":
            self.count(module, unknown_frees=1)
            return
        del module.objects[number]
        if found.recorded:
            self.count(module, freed=1, live=-1, live_bytes=-found.size)
        else:
            self.count(module, unknown_passed=1)

    def misuse(self) -> None:
        """Free the inside of an object, or one twice: both are refused."""
        module, number = self.some_object()
        twice = self.chance(0.5)
        if not module or not module.owner or not module.objects[number].recorded:
            return
        found = module.objects[number]
        assert module.heap
        # Of what is freed the API alone refuses what it does not know
        if twice and module.name == API:
            self.say(f"{module.name}: {found.free} object {number} twice")
            self.safe("double_free", module.owner)
            self.safe("unknown_free", module.owner, "pass")
            module.heap.call(found.free, found.pointer)
            del module.objects[number]
            module.heap.call(found.free, found.pointer)
            self.count(module, freed=1, live=-1, live_bytes=-found.size, double_frees=1)
        elif found.size >= 16:
            self.say(f"{module.name}: {found.free} the inside of object {number}")
            self.safe("interior_free", module.owner)
            module.heap.call(found.free, found.pointer + 8)
            self.count(module, interior_frees=1)

    # -- Reads --

    @staticmethod
    def chunks(fd: int, sizes: Callable[[], int]) -> bytes:
        """All of a file from where it stands."""
        text = b""
        while chunk := os.read(fd, sizes()):
            text += chunk
        return text

    @staticmethod
    def is_stable(path: str) -> bool:
        """Does the file change only by what we do?"""
        return path.startswith(SYSFS) and "quarantined" not in path

    def check_live(self, path: str, text: bytes) -> None:
        """A live file lists what there is, each once."""
        header, *lines = text.splitlines()
        assert header.startswith(b"mown live 1: ") and text.endswith(b"\n"), \
            f"{path}: {text[:80]!r}"
        bad = [line for line in lines if not LIVE_RE.fullmatch(line)]
        assert not bad, f"{path}: {bad[0]!r}"
        got = [int(line.split()[1], 16) for line in lines]
        want = {found.pointer for module in self.owned() for found in module.objects
                if found.recorded and path in (f"{DEBUGFS}/live", f"{DEBUGFS}/{module.name}/live")}
        assert len(got) == len(set(got)), f"{path}: an object is listed twice"
        assert want <= set(got), f"{path}: misses {[hex(addr) for addr in want - set(got)]}"

    def read(self) -> None:
        """Read a file in pieces, and at any offset."""
        path, _ = self.file()
        sizes = [self.rng.choice((1, 2, 3, 10, 64, 1000, PAGE - 1, PAGE, PAGE + 1, 1 << 17))
                 for _ in range(8)]
        places = [self.size(1 << 13) - 1 for _ in range(4)] + [self.size(LONG_MAX)]
        self.say(f"read {path} in pieces of {sizes}, at {places}")
        piece = iter(sizes * (1 << 16))
        fd = os.open(path, os.O_RDONLY)
        try:
            # One byte at a time of much takes long
            text = self.chunks(fd, lambda: max(next(piece), 64))
            if is_live(path):
                self.check_live(path, text)
            for place, size in zip(places, sizes):
                self.check_at(path, fd, place, size, text)
        finally:
            os.close(fd)

    def check_at(self, path: str, fd: int, place: int, size: int, text: bytes) -> None:
        """What a file gives at an offset, by pread(2) or where lseek(2) has put us."""
        try:
            if size % 2:
                got = os.pread(fd, size, place)
            else:
                assert os.lseek(fd, place, os.SEEK_SET) == place
                got = os.read(fd, size)
        except OSError as error:
            # These file systems have no offsets of 2 GiB
            assert error.errno in (errno.EINVAL, errno.EOVERFLOW) and place + size >= 1 << 31, \
                f"{path}: {size} at {place}: {error}"
            return
        assert len(got) <= size, f"{path}: {len(got)} bytes instead of {size}"
        if self.is_stable(path):
            want = text[place:place + size]
            assert got == want, f"{path}: {got!r} at {place}, not {want!r}"
        elif is_live(path) and size > 200:
            # Ages change, and with them where a line begins: whole lines must be whole
            for line in got.splitlines()[1:-1]:
                assert LIVE_RE.fullmatch(line), f"{path}: {line!r} at {place}"
        for offset, whence in ((-1, os.SEEK_SET), (-LONG_MAX, os.SEEK_CUR)):
            try:
                os.lseek(fd, offset, whence)
            except OSError as error:
                assert error.errno in (errno.EINVAL, errno.EOVERFLOW), f"{path}: lseek: {error}"
            else:
                raise AssertionError(f"{path}: lseek to {offset} is possible")

    def read_interleaved(self) -> None:
        """Several opens of a file, read in turns, with changes in between."""
        path, _ = self.file()
        count, rounds = self.rng.randrange(2, 5), self.rng.randrange(1, 6)
        sizes = [self.rng.choice((1, 50, 100, PAGE)) for _ in range(count)]
        self.say(f"read {path} by {count} at once")
        fds = [os.open(path, os.O_RDONLY) for _ in range(count)]
        texts = [b""] * count
        try:
            for _ in range(rounds):
                for number, fd in enumerate(fds):
                    texts[number] += os.read(fd, sizes[number])
                (self.alloc if self.chance(0.5) else self.free)()
            for number, fd in enumerate(fds):
                texts[number] += self.chunks(fd, lambda: PAGE)
        finally:
            for fd in fds:
                os.close(fd)
        if is_live(path):
            for text in texts:
                for line in text.splitlines()[1:]:
                    assert LIVE_RE.fullmatch(line), f"{path}: {line!r}"

    def hold(self) -> None:
        """Keep a file open over what comes, or close such a one."""
        path, of = self.file()
        number = self.rng.random()
        if len(self.held) > 5 or (self.held and self.chance(0.5)):
            held = self.held.pop(int(number * len(self.held)))
            self.say(f"close {held.path}")
            os.close(held.fd)
        else:
            self.say(f"open {path} and keep it")
            self.held.append(Held(os.open(path, os.O_RDONLY), path, of))

    def read_held(self) -> None:
        """Read of a file that has been open for some time; it may have gone."""
        number, place, size = self.rng.random(), self.size(1 << 12) - 1, self.size(1 << 12)
        if not self.held:
            return
        held = self.held[int(number * len(self.held))]
        self.say(f"read {size} of {held.path}, which is open, at {place}")
        there = held.of is self.knobs or any(held.of is m.owner for m in self.owned())
        want = 0 if there else errno.EIO if held.path.startswith(DEBUGFS) else errno.ENODEV
        try:
            error, _ = 0, os.pread(held.fd, size, place)
        except OSError as failed:
            error = failed.errno or -1
        assert error == want, f"{held.path}, open: {name_of(error)}, not {name_of(want)}"

    # -- What must hold --

    def check(self) -> None:
        """All that the model says of mown's files."""
        for knob in self.knobs.values:
            self.check_knob(f"{SYSFS}/{knob}", self.knobs, knob)
        for module in self.owned():
            assert module.owner
            for knob in module.owner.knobs.values:
                self.check_knob(f"{SYSFS}/modules/{module.name}/{knob}", module.owner.knobs, knob)
            self.count(module)
            self.check_sums(module.name)
        self.check_names()
        assert [block.name for block in exits()] == self.accounts, \
            f"accounts of {[block.name for block in exits()]}, not of {self.accounts}"
        assert len(violations()) <= int(self.knobs.values["history"]), "more reports than history"
        wait_for(self.adds_up, f"the totals add up: {global_stats()}")
        assert not int(read_file("/proc/sys/kernel/tainted")) & TAINTS, "the kernel is tainted"

    @staticmethod
    def check_sums(name: str) -> None:
        """The counters of a module agree with each other, and in both file systems."""
        stats = parse_stats(read_file(f"{DEBUGFS}/{name}/stats"))
        for counter in COUNTERS:
            text = read_file(f"{SYSFS}/modules/{name}/{counter}")
            assert text == stats[counter] + "\n", f"{name}: {counter} is {text} and {stats}"
        number = {counter: int(value) for counter, value in stats.items()}
        came = number["allocated"] + number["transferred_in"]
        went = sum(number[counter] for counter in ("freed", "live", "released_elsewhere", "stale",
                                                   "transferred_out", "disowned"))
        assert came == went, f"{name}: {came} came, {went} went or are there: {number}"

    def check_names(self) -> None:
        """The names that are attached, and the numbers for fail_nth."""
        want = {name: "pending" for name in self.names}
        for module in self.owned():
            if module.name in want or not module.linked:
                want[module.name] = "linked" if module.linked else "attached"
        got = attached()
        got.pop(BESIDE, None)
        assert got == want, f"attached: {got}, not {want}"
        fails = {name: str(number) for name, number in self.fails.items()}
        fails |= {m.name: m.owner.knobs.values["fail_nth"] for m in self.owned()
                  if m.owner and m.owner.knobs.values["fail_nth"] != "0"}
        lines = read_file(f"{SYSFS}/fail_nth").splitlines()
        assert sorted(lines) == sorted(f"{name} {number}" for name, number in fails.items()), \
            f"fail_nth: {lines}, not {fails}"

    def adds_up(self) -> bool:
        """Do the totals agree with what is listed?"""
        total, kept = global_stats(), 0
        for module in self.owned():
            stats = parse_stats(read_file(f"{DEBUGFS}/{module.name}/stats"))
            kept += int(stats["live"]) + int(stats["quarantined"])
        orphans = sum(line.module.endswith("(gone)") for line in live())
        return int(total["records"]) == kept + orphans and \
            int(total["owners"]) >= len(self.owned())

    def check_beside(self) -> None:
        """The kernel has said nothing bad, and the processes beside run."""
        self.log.read()
        found = splats("\n".join(self.log.lines))
        self.log.lines.clear()
        assert not found, "the kernel's log has:\n" + "\n".join(found)
        for pid in self.beside:
            assert os.waitpid(pid, os.WNOHANG) == (0, 0), "a process beside has ended, see above"

    # -- Running --

    def one_step(self) -> None:
        """Do one thing, and see that nothing is broken."""
        share = {self.write_knob: 30, self.squeeze: 4, self.write_fail: 4, self.write_odd: 3,
                 self.attach: 4, self.detach: 3, self.load: 6, self.unload: 3,
                 self.come_and_go: 1, self.reload: 1, self.alloc: 24, self.free: 14,
                 self.misuse: 6, self.read: 25, self.read_interleaved: 6, self.hold: 3,
                 self.read_held: 3}
        kind = self.rng.choices(list(share), list(share.values()))[0]
        self.done[kind.__name__] += 1
        kind()
        self.check_beside()
        if self.step % 25 == 0:
            self.check()

    @contextlib.contextmanager
    def others(self, count: int) -> Iterator[None]:
        """Processes beside us, for a while."""
        for number in range(count):
            pid = os.fork()
            if pid == 0:
                try:
                    beside(self.seed * count + number)
                except BaseException as error:  # pylint: disable=broad-except
                    print(f"# beside: {error!r}", flush=True)
                    os._exit(1)  # pylint: disable=protected-access
            self.beside.append(pid)
        try:
            yield
        finally:
            for pid in self.beside:
                with contextlib.suppress(ProcessLookupError, ChildProcessError):
                    os.kill(pid, signal.SIGKILL)
                    os.waitpid(pid, 0)
            self.beside.clear()

    def start(self) -> None:
        """From a known state: mown is loaded, nothing is changed."""
        fresh_mown()
        self.reloads = bool(mown_path()) and not built_in()
        self.fresh()
        self.stacks = write_errno(f"{SYSFS}/stack_depth", b"1") == 0
        self.knobs.values["stack_depth"] = "1" if self.stacks else "0"

    def run(self, more: Callable[[int], bool], processes: int = 2) -> None:
        """Step while MORE(steps) says so; then all goes, and nothing may stay."""
        told = time.monotonic()
        try:
            self.start()
            with self.others(processes):
                while more(self.step):
                    self.step += 1
                    self.one_step()
                    if time.monotonic() - told > 20:
                        told = time.monotonic()
                        print(f"# seed {self.seed}: {self.step} steps", flush=True)
                self.check()
            self.finish()
        finally:
            self.close()

    def close(self) -> None:
        """Close all files, so that whatever is loaded can go."""
        for held in self.held:
            os.close(held.fd)
        self.held.clear()
        for module in self.modules.values():
            if module.heap:
                module.heap.close()
                module.heap = None

    def finish(self) -> None:
        """All modules go, and mown: nothing of theirs is left."""
        self.say("unload everything")
        for module in self.modules.values():
            if module.heap:
                self.remove(module)
        self.close()
        assert os.listdir(f"{SYSFS}/modules") == [], "owners without modules"
        for name in (*self.names, BESIDE):
            error = write_errno(f"{SYSFS}/detach", name.encode())
            assert error == 0 or name == BESIDE, f"detach {name}: {name_of(error)}"
        self.names.clear()
        assert global_stats()["hooks"] in ("off", "none"), f"{global_stats()['hooks']}"
        if self.reloads:
            unload_mown()
            lines = [line for line in read_file("/proc/slabinfo").splitlines() if "mown" in line]
            assert not lines, f"slab caches are left: {lines}"
            load_mown()
        self.check_beside()


def seed_of_the_day() -> int:
    """YYYYMMDD."""
    return int(time.strftime("%Y%m%d"))


def steps_of(seed: int, steps: int, processes: int = 2) -> Fuzzer:
    """A run of so many steps; a failure says how to come there again."""
    fuzzer = Fuzzer(seed)
    try:
        fuzzer.run(lambda step: step < steps, processes)
    except Exception as error:
        raise AssertionError(f"{type(error).__name__}: {error}\n{fuzzer.replay()}") from error
    return fuzzer


def main() -> None:
    """Run by the command line."""
    parser = argparse.ArgumentParser(description="Fuzz the faces of mown.")
    parser.add_argument("--seed", type=int, default=seed_of_the_day(), help="default: the day's")
    parser.add_argument("--seconds", type=float, help="how long (default: 60 without --steps)")
    parser.add_argument("--steps", type=int, help="how many steps")
    parser.add_argument("--processes", type=int, default=2, help="how many are beside (2)")
    parser.add_argument("--verbose", action="store_true", help="say each step before it is done")
    args = parser.parse_args()
    seconds = args.seconds or (None if args.steps else 60)
    begin = time.monotonic()
    fuzzer = Fuzzer(args.seed, args.verbose)
    print(f"fuzz: seed {args.seed}", flush=True)

    def more(step: int) -> bool:
        """Is there time, or are there steps, left?"""
        return (not seconds or time.monotonic() - begin < seconds) and \
            (not args.steps or step < args.steps)

    try:
        with quiet_console():
            fuzzer.run(more, args.processes)
    except Exception as error:  # pylint: disable=broad-except
        traceback.print_exc()
        sys.exit(f"fuzz: FAILED: {type(error).__name__}: {error}\n{fuzzer.replay()}")
    print(f"fuzz: seed {args.seed}: {fuzzer.step} steps in {time.monotonic() - begin:.0f} s, "
          "nothing found: " + ", ".join(f"{name} {number}" for name, number in
                                        sorted(fuzzer.done.items())))


if __name__ == "__main__":
    main()
