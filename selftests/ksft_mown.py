# SPDX-License-Identifier: GPL-2.0
"""What the Python tests of mown share: KTAP, modules, mown's files, the log.

A test file is small: its cases are functions, and it ends with

    if __name__ == "__main__":
        run_cases(CASES, modules=("mown_test_x",))
"""
import contextlib
import ctypes
import errno
import os
import platform
import re
import subprocess
import sys
import threading
import time
import traceback
from pathlib import Path
from typing import Callable, Iterable, Iterator, NamedTuple, NoReturn, Optional, Sequence

SYSFS = "/sys/kernel/mown"
DEBUGFS = "/sys/kernel/debug/mown"
POLICIES = ("double_free", "interior_free", "mismatched_free", "unknown_free",
            "foreign_free", "use_after_free", "overflow", "limit", "left_behind")

HERE = Path(__file__).resolve().parent
MODULES = HERE / "test_modules"

KSFT_PASS, KSFT_FAIL, KSFT_SKIP = 0, 1, 4

# Not all that the C library has functions for: finit_module, delete_module
SYSCALLS = {"x86_64": (313, 176), "aarch64": (273, 106)}

# The test modules that are built for a kernel with ftrace only
OF_FTRACE = ("mown_plain_holder", "mown_plain_norecords")

# Without memory cgroups nothing is charged to them, whoever asks for it
CGROUPS = os.path.exists("/proc/kpagecgroup")

# Seconds, for what the kernel does in the background on a busy machine
PATIENCE = 60

LIBC = ctypes.CDLL(None, use_errno=True)


# ---- KTAP ----

class Skip(Exception):
    """Raised by a case that cannot be run here; the reason is its text."""


class Ktap:
    """Prints the results of named cases, in their order."""

    def __init__(self, names: Sequence[str]) -> None:
        self.names = list(names)
        self.results: list[int] = []
        self.failed: list[str] = []
        print("TAP version 13")
        print(f"1..{len(self.names)}", flush=True)

    @staticmethod
    def note(text: str) -> None:
        """Print TEXT as an explanation."""
        for line in text.splitlines():
            print(f"# {line}", flush=True)

    def run(self, name: str, func: Callable[[], None]) -> bool:
        """Run FUNC, the next case, and print how it went. True if it passed."""
        expected = self.names[len(self.results)]
        if name != expected:
            raise ValueError(f"the next case is {expected}, not {name}")
        nr = len(self.results) + 1
        try:
            func()
        except Skip as why:
            self.results.append(KSFT_SKIP)
            print(f"ok {nr} - {name} # SKIP {why}", flush=True)
            return False
        except Exception as error:  # pylint: disable=broad-except
            if isinstance(error, AssertionError) and error.args:
                self.note(str(error))
            self.note(traceback.format_exc())
            self.results.append(KSFT_FAIL)
            self.failed.append(f"failed: {nr} - {name}: {error}")
            print(f"not ok {nr} - {name}", flush=True)
            return False
        self.results.append(KSFT_PASS)
        print(f"ok {nr} - {name}", flush=True)
        return True

    def finish(self) -> NoReturn:
        """Exit with the status that the results ask for; what failed is told again."""
        for text in self.failed:
            self.note(text[:2000])
        if len(self.results) != len(self.names) or KSFT_FAIL in self.results:
            sys.exit(KSFT_FAIL)
        if self.results and set(self.results) == {KSFT_SKIP}:
            sys.exit(KSFT_SKIP)
        sys.exit(KSFT_PASS)


def skip_all(why: str) -> NoReturn:
    """Skip the whole test; instead of a Ktap."""
    print("TAP version 13")
    print(f"1..0 # SKIP {why}")
    sys.exit(KSFT_SKIP)


# ---- Modules ----

def command(*argv: str) -> subprocess.CompletedProcess[str]:
    """Run a command, its output kept."""
    return subprocess.run(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                          check=False)


def module_loaded(name: str) -> bool:
    """Is the module in the kernel, in whatever state?"""
    return any(line.split()[0] == name for line in Path("/proc/modules").read_text().splitlines())


def built_in() -> bool:
    """Is mown part of the kernel? Then it cannot go, and every module is under it."""
    return os.path.isdir(SYSFS) and not module_loaded("mown")


def mown_path() -> Optional[Path]:
    """The mown.ko to test; None if it is for modprobe to find."""
    named = os.environ.get("MOWN_KO")
    path = Path(named) if named else HERE.parent / "src" / "mown.ko"
    if named and not path.exists():
        raise AssertionError(f"MOWN_KO={path} does not exist")
    return path if path.exists() else None


def load_mown() -> None:
    """Load mown if it is not there yet; Skip if there is no mown to load."""
    if module_loaded("mown") or os.path.isdir(SYSFS):
        return
    path = mown_path()
    if path is None:
        if command("modprobe", "mown").returncode:
            raise Skip("there is no mown.ko: build it, or name it in MOWN_KO")
        return
    done = command("insmod", str(path))
    if done.returncode:
        raise AssertionError(f"insmod {path}: {done.stdout}")


def insmod(name: str, **params: object) -> None:
    """Load the test module NAME with its parameters; it must have been built."""
    path = MODULES / f"{name}.ko"
    if name in OF_FTRACE and not os.path.exists("/proc/sys/kernel/ftrace_enabled"):
        raise Skip(f"{name} needs ftrace")
    done = command("insmod", str(path), *(f"{key}={value}" for key, value in params.items()))
    if done.returncode:
        raise AssertionError(f"insmod {name}: {done.stdout}")


def rmmod(name: str) -> None:
    """Unload the module; it must go. Skip if that is mown and it is part of the kernel."""
    if name == "mown" and built_in():
        raise Skip("mown is part of the kernel")
    done = command("rmmod", name)
    if done.returncode:
        raise AssertionError(f"rmmod {name}: {done.stdout}")


def unload(names: Iterable[str]) -> None:
    """Unload those of the modules that are loaded, for clean-up."""
    for name in names:
        if module_loaded(name):
            rmmod(name)


def syscall_errno(which: int, *args: object) -> int:
    """The errno of finit_module (0) or delete_module (1), made directly."""
    if platform.machine() not in SYSCALLS:
        raise Skip(f"the numbers of {platform.machine()}'s system calls are not known here")
    result = LIBC.syscall(SYSCALLS[platform.machine()][which], *args)
    return ctypes.get_errno() if result else 0


def insert_errno(path: Optional[Path], params: bytes = b"") -> int:
    """The errno of loading a module file."""
    if path is None:
        raise Skip("modprobe knows where the module is, we do not")
    fd = os.open(path, os.O_RDONLY)
    try:
        return syscall_errno(0, fd, params, 0)
    finally:
        os.close(fd)


def kernel_has(function: str) -> bool:
    """Does the kernel itself have a function of this name?"""
    return any(line.endswith(f" {function}") for line in read_file("/proc/kallsyms").splitlines())


def has_jumps() -> bool:
    """May a function of the kernel's end in a jump? Not if it is built with frame pointers."""
    return kernel_has("unwind_module_init")


def delete_errno(name: str) -> int:
    """The errno of unloading a module; EWOULDBLOCK if it is in use."""
    return syscall_errno(1, name.encode(), os.O_NONBLOCK)


@contextlib.contextmanager
def loaded(name: str, **params: object) -> Iterator[None]:
    """The test module NAME, loaded for a while."""
    insmod(name, **params)
    try:
        yield
    finally:
        unload([name])


# ---- The modules that do what they are told ----

class Result(NamedTuple):
    """What a call gave: a pointer, its memory's size, and where it ran."""

    pointer: int
    usable: int
    context: str


class Ops:
    """The module mown_test_ops or mown_dropin_ops: calls the heap for us.

    Objects are named by their addresses, and are ours to free.
    """

    def __init__(self, module: str) -> None:
        self.module = module
        self.fd = os.open(f"/sys/kernel/debug/{module}/ctl", os.O_RDWR)

    def close(self) -> None:
        """Let the module go."""
        os.close(self.fd)

    def call(self, function: str, *numbers: int, context: str = "task") -> Result:
        """Have the module call FUNCTION with the numbers, in CONTEXT."""
        os.pwrite(self.fd, " ".join((context, function, *map(str, numbers))).encode(), 0)
        pointer, usable, where = os.pread(self.fd, 64, 0).decode().split()
        assert where == context, f"ran in {where}, not in {context}"
        return Result(int(pointer, 16), int(usable), where)


@contextlib.contextmanager
def ops(module: str) -> Iterator[Ops]:
    """The module of calls, loaded for a while."""
    with loaded(module):
        caller = Ops(module)
        try:
            yield caller
        finally:
            caller.close()


# ---- mown's files ----

def read_file(path: str) -> str:
    """A whole file, as text."""
    with open(path, encoding="utf-8", errors="replace") as file:
        return file.read()


def read_lines(path: str, header: str) -> list[str]:
    """The lines of one of mown's files, without the header, which is checked."""
    lines = read_file(path).splitlines()
    assert lines and lines[0].startswith(header), \
        f"{path} begins with {lines[:1]}, not with '{header}'"
    return lines[1:]


def read_blocks(path: str, header: str) -> list[str]:
    """The blocks of one of mown's files that empty lines separate."""
    text = "\n".join(read_lines(path, header))
    return [block for block in (b.strip("\n") for b in text.split("\n\n")) if block]


def write_file(path: str, text: str) -> None:
    """One write(2) of TEXT, which takes all of it; OSError is the caller's."""
    fd = os.open(path, os.O_WRONLY)
    try:
        taken = os.write(fd, text.encode())
        assert taken == len(text.encode()), f"{path} took {taken} bytes of {text!r}"
    finally:
        os.close(fd)


def write_errno(path: str, data: bytes) -> int:
    """The errno of one write(2) of DATA to PATH; 0 if it was taken, whole or not."""
    fd = os.open(path, os.O_WRONLY)
    try:
        os.write(fd, data)
    except OSError as error:
        return error.errno or -1
    finally:
        os.close(fd)
    return 0


def name_of(number: int) -> str:
    """EINVAL and so on."""
    return errno.errorcode.get(number, "taken" if number == 0 else str(number))


def parse_stats(text: str) -> dict[str, str]:
    """NAME VALUE lines behind the header of a stats file."""
    lines = text.splitlines()
    assert lines and lines[0].startswith("mown stats 1"), f"not a stats file: {lines[:1]}"
    return {words[0]: words[1] for words in (line.split() for line in lines[1:]) if words}


def stats(owner: str) -> dict[str, int]:
    """The counters of OWNER, from debugfs."""
    text = read_file(f"{DEBUGFS}/{owner}/stats")
    return {name: int(value) for name, value in parse_stats(text).items()}


def difference(owner: str, before: dict[str, int]) -> dict[str, int]:
    """The counters of OWNER that have changed since BEFORE, and by how much."""
    after = stats(owner)
    return {name: after[name] - before[name] for name in after if after[name] != before[name]}


def global_stats() -> dict[str, str]:
    """The values of mown's own stats file."""
    return parse_stats(read_file(f"{DEBUGFS}/stats"))


def kernel_version() -> tuple[int, ...]:
    """Of the running kernel, as far as it is numbers: (6, 12)."""
    return tuple(int(number) for number in os.uname().release.split(".")[:2])


def need_attach() -> None:
    """Skip if no module can be attached here; mown is loaded."""
    if not os.path.exists(f"{SYSFS}/attach"):
        raise Skip("this mown cannot attach")
    if global_stats()["hooks"] == "none":
        raise Skip("this kernel lets nothing be hooked")


def attached() -> dict[str, str]:
    """Which names are attached, and in which state."""
    return dict(line.split() for line in read_lines(f"{DEBUGFS}/attached", "mown attached 1"))


@contextlib.contextmanager
def attach(*names: str) -> Iterator[None]:
    """The names are attached for a while, unless somebody detaches them before."""
    done: list[str] = []
    try:
        for name in names:
            write_file(f"{SYSFS}/attach", name)
            done.append(name.replace("-", "_"))
        yield
    finally:
        for name in attached():
            if name in done:
                write_file(f"{SYSFS}/detach", name)


class Live(NamedTuple):
    """A live allocation, a line of a live file."""

    module: str
    address: int
    size: int
    family: str
    age_ms: int
    pid: int
    cpu: int
    site: str


def live(owner: Optional[str] = None) -> list[Live]:
    """The live allocations of OWNER, or of everybody."""
    path = f"{DEBUGFS}/{owner}/live" if owner else f"{DEBUGFS}/live"
    records = []
    for line in read_lines(path, "mown live 1"):
        words = line.split(None, 7)
        assert len(words) == 8, f"{path}: not a record: {line}"
        records.append(Live(words[0], int(words[1], 16), int(words[2]), words[3],
                            int(words[4]), int(words[5]), int(words[6]), words[7]))
    return records


class ExitSite(NamedTuple):
    """What was left behind of one call site."""

    count: int
    bytes: int
    family: str
    site: str


class ExitBlock(NamedTuple):
    """The account of an owner that went away."""

    name: str
    allocated: int
    freed: int
    elsewhere: int
    left: int
    left_bytes: int
    reclaimed: int
    late: int
    sites: list[ExitSite]


EXIT_RE = re.compile(
    r"(?P<name>\S+): allocated (?P<allocated>\d+), freed (?P<freed>\d+), "
    r"released elsewhere (?P<elsewhere>\d+), left behind (?P<left>\d+) \((?P<bytes>\d+) bytes\), "
    r"reclaimed (?P<reclaimed>\d+)(?:, freed late (?P<late>\d+))?(?:, stale \d+)?"
    r"(?:, transferred in \d+)?(?:, transferred out \d+)?(?:, disowned \d+)?(?:, untracked \d+)?")


def exits(name: Optional[str] = None) -> list[ExitBlock]:
    """The exit blocks of the module NAME, or all, oldest first."""
    blocks = []
    for block in read_blocks(f"{DEBUGFS}/exits", "mown exits 1"):
        first, *rest = block.splitlines()
        match = EXIT_RE.fullmatch(first)
        assert match, f"not the first line of an exit block: {first}"
        sites = []
        for line in rest:
            words = line.split(None, 3)
            assert len(words) == 4, f"not a site of an exit block: {line}"
            sites.append(ExitSite(int(words[0]), int(words[1]), words[2], words[3]))
        found = {key: int(match[key] or 0) for key in
                 ("allocated", "freed", "elsewhere", "left", "bytes", "reclaimed", "late")}
        if name in (None, match["name"]):
            blocks.append(ExitBlock(match["name"], found["allocated"], found["freed"],
                                    found["elsewhere"], found["left"], found["bytes"],
                                    found["reclaimed"], found["late"], sites))
    return blocks


def violations() -> list[str]:
    """The reports kept, each as its lines, oldest first."""
    return read_blocks(f"{DEBUGFS}/violations", "mown violations 1")


def is_in(site: str, function: str) -> bool:
    """Is the place in FUNCTION? clang has another name for what module_init() or _exit() name."""
    other = {"init": "init_module", "exit": "cleanup_module"}.get(function.rpartition("_")[2])
    return site.split("+")[0] in (function, other)


@contextlib.contextmanager
def reported(module: str, counter: str, *lines: str) -> Iterator[None]:
    """One violation of MODULE is counted as COUNTER, and there is a report with the LINES."""
    # The like of a report, by its places, would not be told again
    write_file(f"{SYSFS}/clear", "1")
    before = stats(module)[counter]
    yield
    assert stats(module)[counter] == before + 1, stats(module)

    def told() -> bool:
        return any(all(line in report for line in lines) for report in violations())

    wait_for(told, f"a report with {lines}: {violations()}")


def policy_word(name: str) -> str:
    """The word of policy NAME that is in brackets."""
    match = re.search(r"\[(\w+)\]", read_file(f"{SYSFS}/policy/{name}"))
    assert match, f"policy/{name} has no chosen word"
    return match[1]


@contextlib.contextmanager
def policy(name: str, word: str) -> Iterator[None]:
    """Policy NAME set to WORD for a while, then back to auto."""
    write_file(f"{SYSFS}/policy/{name}", word)
    try:
        yield
    finally:
        write_file(f"{SYSFS}/policy/{name}", "auto")


@contextlib.contextmanager
def knob(name: str, value: object) -> Iterator[None]:
    """The number in sysfs file NAME set to VALUE for a while."""
    before = read_file(f"{SYSFS}/{name}").strip()
    write_file(f"{SYSFS}/{name}", str(value))
    try:
        yield
    finally:
        write_file(f"{SYSFS}/{name}", before)


def wait_for(cond: Callable[[], object], what: str) -> None:
    """Poll until COND() is true; an AssertionError naming WHAT when nobody would wait longer."""
    end = time.monotonic() + PATIENCE
    while not cond():
        assert time.monotonic() < end, f"waited {PATIENCE} s in vain: {what}"
        time.sleep(0.01)


# ---- Memory ----

MCL_CURRENT, MCL_FUTURE = 1, 2
MEBIBYTE = 1 << 20
MANY = 96			# objects of 1 MiB: so much cannot go unnoticed


def memory() -> dict[str, int]:
    """/proc/meminfo in bytes."""
    lines = (line.split() for line in read_file("/proc/meminfo").splitlines())
    return {words[0].rstrip(":"): int(words[1]) * 1024 for words in lines}


@contextlib.contextmanager
def memory_returns(what: str) -> Iterator[None]:
    """The machine has as much memory as before, by and large, some time later.

    Other programs take and give memory, too, but not half as much as MANY MiB.
    """
    def available() -> int:
        return memory()["MemAvailable"]

    before = available()
    yield
    wait_for(lambda: before - available() < MANY * MEBIBYTE // 2,
             f"{what} to give back {MANY} MiB")


@contextlib.contextmanager
def little_memory(left: int) -> Iterator[None]:
    """About LEFT bytes are free for a while: the rest is reserved as huge pages.

    What runs here stays in memory: to read it again while there is none takes long. So do
    names of files: to let one go 9p asks for memory, and a file system that did not get it
    gives EINVAL from then on.
    """
    path, pressure = "/proc/sys/vm/nr_hugepages", "/proc/sys/vm/vfs_cache_pressure"
    free = memory()["MemFree"]
    if not os.path.exists(path):
        raise Skip("no huge pages to take the memory with")
    if free > 2 << 30:
        raise Skip("it would take too long to use up the memory of this machine")
    if free < left:
        raise Skip(f"there are no more than {free} bytes as it is")
    usual = read_file(pressure)
    LIBC.mlockall(MCL_CURRENT | MCL_FUTURE)
    try:
        write_file(pressure, "0")
        write_file(path, str((free - left) // memory()["Hugepagesize"]))
        yield
    finally:
        write_file(pressure, usual)
        write_file(path, "0")
        LIBC.munlockall()


# ---- Records ----

DENIER = "mown_plain_norecords"


@contextlib.contextmanager
def denier() -> Iterator[None]:
    """mown's calls can be denied; nobody's whose text is behind mown's, and is there."""
    if built_in():
        raise Skip("mown's text cannot be told from the kernel's")
    start = int(read_file("/sys/module/mown/sections/.text"), 0)
    size = next(int(line.split()[1]) for line in read_file("/proc/modules").splitlines()
                if line.startswith("mown "))
    # Of its size no more is text, and newer kernels put modules' texts side by side.
    for line in read_file("/proc/kallsyms").splitlines():
        addr, kind, *name = line.split()
        if kind in "tT" and name[-1] != "[mown]" and int(addr, 16) > start:
            size = min(size, int(addr, 16) - start)
    with loaded(DENIER, start=start, size=size):
        yield


def no_records(denied: bool) -> None:
    """While the denier is there: mown gets no records from its cache."""
    write_file(f"/sys/module/{DENIER}/parameters/deny", str(int(denied)))


def untracked(heap: Ops, owner: str, number: int, function: str = "kmalloc",
              *numbers: int) -> list[int]:
    """So many objects of OWNER's that have no record, as there was no memory for one.

    Those that have one, as some records are at hand, are freed again; the denier must be there.
    """
    # 64 bytes, or what the function is told; what frees it is told the device as well
    numbers = numbers or (64,)
    release = (("devm_kfree", numbers[0]) if function.startswith("devm") else ("kfree",))
    context = "hardirq"  # Who cannot wait is not given a record by another way
    found: list[int] = []
    recorded = []
    no_records(True)
    while len(found) < number:
        before = stats(owner)["untracked"]
        pointer = heap.call(function, *numbers, context=context).pointer
        assert pointer, "an allocation failed for want of a record"
        (found if stats(owner)["untracked"] > before else recorded).append(pointer)
        assert len(recorded) < 200, "all objects have records"
    no_records(False)
    for pointer in recorded:
        heap.call(release[0], *release[1:], pointer, context=context)
    return found


# ---- The kernel's log ----

class Mark:
    """A place in the kernel's log; what came after it is kept as it is read."""

    def __init__(self) -> None:
        self.fd = os.open("/dev/kmsg", os.O_RDONLY | os.O_NONBLOCK)
        self.lines: list[str] = []
        os.lseek(self.fd, 0, os.SEEK_END)

    def __del__(self) -> None:
        os.close(self.fd)

    def read(self) -> str:
        """All lines since the mark, without priority and time."""
        while True:
            try:
                record = os.read(self.fd, 8192).decode(errors="replace")
            except BlockingIOError:
                break
            except BrokenPipeError as lost:
                raise AssertionError("the kernel's log was overwritten before it was read") \
                    from lost
            text = record.partition(";")[2].partition("\n")[0]
            text = re.sub(r"\\x([0-9a-f]{2})", lambda m: chr(int(m[1], 16)), text)
            self.lines.extend(text.splitlines())
        return "\n".join(self.lines)


def dmesg_mark() -> Mark:
    """The end of the kernel's log now."""
    return Mark()


def dmesg_since(mark: Mark) -> str:
    """What the kernel has logged since MARK."""
    return mark.read()


@contextlib.contextmanager
def quiet_console() -> Iterator[None]:
    """Reports go to the log, but not to a console, which may be slow."""
    path = "/proc/sys/kernel/printk"
    before = read_file(path).split()
    write_file(path, "1")
    try:
        yield
    finally:
        write_file(path, before[0])


CASE_MARK: list[Mark] = []


def case_log() -> str:
    """What the kernel has logged since the case began.

    A case that logs much must call this before the log is overwritten.
    """
    return dmesg_since(CASE_MARK[0])


# KCSAN reports races of the kernel's own as well: check.sh knows whose they are
SPLAT_RE = re.compile(
    r"BUG:(?! mown:| KCSAN:)|BUG \S+ \(|Object already free|WARNING:|Oops|general protection|"
    r"KASAN|UBSAN|KFENCE|INFO: |Bad page|kernel tried to execute|list_(?:add|del) corruption|"
    r"Wrong slab cache|Kernel panic|scheduling while atomic|sleeping function")


# What the kernel warns of when a module with trace events comes and it has no memory for them
NOT_OURS_RE = re.compile(r"WARNING: .* event_define_fields")


def splats(text: str) -> list[str]:
    """The lines of TEXT by which the kernel says that something is broken."""
    return [line for line in text.splitlines()
            if SPLAT_RE.search(line) and not NOT_OURS_RE.search(line)]


def hides_pointers() -> bool:
    """Does the kernel's %p hide addresses? slub_debug has it show them."""
    return not re.search(r"\b(?:slub_debug|slab_debug|no_hash_pointers|hash_pointers=never)\b",
                         read_file("/proc/cmdline"))


# In mown's own lines: an address of the kernel's, but for an ERR_PTR
RAW_RE = re.compile(r"(?:BUG: mown: |mown: |object #).*"
                    r"(?<![0-9a-f])ffff(?!f{9})[0-9a-f]{12}(?![0-9a-f])")


def raw_pointers(text: str) -> list[str]:
    """The lines of TEXT in which mown tells everybody who reads the log where an object is."""
    return [line for line in text.splitlines() if RAW_RE.match(line)] if hides_pointers() else []


# ---- A whole test ----

def run_cases(cases: Sequence[tuple[str, Callable[[], None]]],
              modules: Sequence[str] = (),
              needs: Callable[[], object] = lambda: None) -> NoReturn:
    """Run the cases, each from a known state, and exit.

    The known state: mown is loaded, every policy is auto, none of MODULES is loaded; before the
    first, no module has gone. A case during which the kernel's log shows a splat, or mown shows
    an address in it, or a thread dies, has failed. If NEEDS raises Skip, once mown is loaded,
    none is run.
    """
    if os.geteuid():
        skip_all("needs root")
    try:
        load_mown()
        needs()
    except Skip as why:
        skip_all(str(why))
    # Another test's modules may have left something behind, under the same names
    write_file(f"{SYSFS}/clear", "1")
    tap = Ktap([name for name, _ in cases])
    died: list[str] = []
    threading.excepthook = lambda why: died.append(
        "".join(traceback.format_exception(why.exc_type, why.exc_value, why.exc_traceback)))

    def clean() -> None:
        unload(modules)
        for name in POLICIES:
            write_file(f"{SYSFS}/policy/{name}", "auto")

    for name, func in cases:
        def guarded(func: Callable[[], None] = func) -> None:
            clean()
            CASE_MARK[:] = [dmesg_mark()]
            died.clear()
            try:
                func()
            finally:
                clean()
            log = case_log()
            found = splats(log) + raw_pointers(log)
            assert not found, "the kernel's log has:\n" + "\n".join(found)
            assert not died, "a thread has died:\n" + "\n".join(died)

        tap.run(name, guarded)
    tap.finish()
