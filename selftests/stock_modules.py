# SPDX-License-Identifier: GPL-2.0
"""What the tests of the kernel's own modules under attach share.

A case names modules of the kernel and a function that uses them for real. They
are attached by name with everything they depend on, loaded, used and unloaded;
then the account of each must say that nothing was left behind, and there must
be neither a violation nor a splat. A test is a table of such cases and ends with

    if __name__ == "__main__":
        run_stock(CASES, least=20)
"""
import contextlib
import errno
import fcntl
import functools
import mmap
import os
import re
import stat
import subprocess
import tempfile
import threading
import time
from types import MappingProxyType
from typing import Callable, Iterable, Iterator, Mapping, NamedTuple, NoReturn, Sequence

from ksft_mown import (DEBUGFS, PATIENCE, SYSFS, ExitBlock, Ktap, Skip, attach, command, exits,
                       kernel_version, need_attach, read_blocks, read_file, run_cases, violations,
                       wait_for, write_file)

SKB_DEFER = "/proc/sys/net/core/skb_defer_max"

# What the kernel never lets go once it was used: its default generator of random numbers
# (crypto_default_rng), and what that is made of
STAYS = {"drbg", "jitterentropy_rng", "sha512_generic", "sha512_ssse3", "sha3_generic", "ctr"}
# A remote control's lirc device, which it never frees (Documentation/found/), keeps the one,
# a mount by CIFS that has failed the other: without mown as well
if kernel_version() >= (6, 12):
    STAYS |= {"rc_core", "nls_utf8"}

# Tools make nodes in /dev themselves, there is nobody to do it for them
os.environ.update(DM_DISABLE_UDEV="1", MDADM_NO_UDEV="1")

# Modules that were attached, loaded, used and unloaded; and cases that could not be run
SEEN: set[str] = set()
SKIPPED: list[str] = []


class Case(NamedTuple):
    """Modules of the kernel, and what is done with them."""

    title: str
    # What is loaded, in this order, each with its parameters
    modules: Sequence[str]
    use: Callable[[], None]
    # What the kernel loads by itself meanwhile, if it has it: attached as well
    brings: Sequence[str] = ()
    # How many allocations the first module makes at least
    least: int = 1
    # The programs that are needed
    tools: Sequence[str] = ()
    # What the kernel itself leaves behind, by module and function that allocates: why
    known: Mapping[tuple[str, str], str] = MappingProxyType({})


# ---- Commands ----

def run(*argv: str, text: str = "") -> str:
    """Run a command that must succeed, TEXT being its input; what it says."""
    done = subprocess.run(argv, input=text, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          text=True, check=False)
    assert not done.returncode, f"{' '.join(argv)}\n{text}{done.stdout}"
    return done.stdout


def need_tools(tools: Iterable[str]) -> None:
    """Skip if one of the programs is not installed."""
    for tool in tools:
        if not any(os.access(f"{path}/{tool}", os.X_OK)
                   for path in os.environ["PATH"].split(":")):
            raise Skip(f"there is no {tool}")


def is_there(path: str) -> bool:
    """Is PATH there? The node of a disk comes a moment before the disk."""
    try:
        if stat.S_ISBLK(os.stat(path).st_mode):
            os.close(os.open(path, os.O_RDONLY))
    except FileNotFoundError:
        return False
    except OSError as err:
        return err.errno != errno.ENXIO
    return True


def wait_path(path: str) -> str:
    """PATH once it is there."""
    wait_for(lambda: is_there(path), path)
    return path


# ---- Modules ----

def modules_now() -> dict[str, str]:
    """The loaded modules, and for each how often it is used, and by which."""
    lines = (line.split() for line in read_file("/proc/modules").splitlines())
    return {words[0]: f"{words[2]} {words[3]}" for words in lines}


def with_dependencies(modules: Iterable[str], perhaps: Iterable[str] = ()) -> list[str]:
    """The names of the modules and of all they need, as far as not loaded yet.

    PERHAPS: modules that 6.1 has, and newer kernels may be without.
    """
    present, names = modules_now(), []
    for module in (*modules, *perhaps):
        done = command("modprobe", "--show-depends", module)
        if done.returncode and module in perhaps and kernel_version() != (6, 1):
            continue
        if done.returncode:
            raise Skip(f"this kernel has no module {module}")
        for path in re.findall(r"^insmod (\S+)", done.stdout, re.MULTILINE):
            name = re.sub(r"\.ko(\.\w+)?$", "", os.path.basename(path)).replace("-", "_")
            if name not in present and name not in names:
                names.append(name)
    return names


def unload_once(before: Iterable[str]) -> bool:
    """Unload what was not there BEFORE and is not used. True if nothing of it remains."""
    came = {name: users for name, users in modules_now().items() if name not in before}
    unused = [name for name, users in came.items() if users == "0 -"]
    if unused:
        command("modprobe", "-r", *unused)
    return not set(came) - STAYS


def unload_since(before: Iterable[str]) -> None:
    """Unload all modules that were not there BEFORE; they must go."""
    end = time.monotonic() + PATIENCE
    while not unload_once(before):
        # What the kernel takes down in the background holds modules for some time
        left = {name: users for name, users in modules_now().items()
                if name not in before and name not in STAYS}
        assert not left or time.monotonic() < end, f"cannot be unloaded: {left}"
        time.sleep(0.1)


# ---- What mown says of it ----

def account(name: str) -> ExitBlock:
    """The newest account of the module; objects may be freed late, so with some patience."""
    assert exits(name), f"{name} is gone, but has no account"
    with contextlib.suppress(AssertionError):
        wait_for(lambda: exits(name)[-1].left == 0, name)
    return exits(name)[-1]


def left_behind(block: ExitBlock, known: Mapping[tuple[str, str], str]) -> list[str]:
    """What the module left behind, but for what the kernel is known to leak."""
    wrong = [] if block.sites or not block.left else [f"{block.name} left behind {block.left}"]
    for site in block.sites:
        text = f"{block.name} left behind: {site.count} {site.bytes} {site.family} {site.site}"
        reason = known.get((block.name, site.site.partition("+")[0]))
        if reason:
            Ktap.note(f"{text}: known, {reason}")
        else:
            wrong.append(text)
    return wrong


def stale(name: str) -> int:
    """How many records of the module were proven wrong, by its newest account."""
    lines = [block.splitlines()[0] for block in read_blocks(f"{DEBUGFS}/exits", "mown exits 1")]
    mine = [line for line in lines if line.startswith(f"{name}: ")]
    found = re.search(r", stale (\d+)", mine[-1])
    return int(found[1]) if found else 0


def judge(case: Case, names: Sequence[str]) -> None:
    """Tell what the modules did, and check the accounts of all."""
    main = case.modules[0].split()[0].replace("-", "_")
    wrong, idle = [], []
    for name in names:
        block = account(name)
        if block.allocated:
            Ktap.note(f"{name}: allocated {block.allocated}, freed {block.freed}, "
                      f"released elsewhere {block.elsewhere}, late {block.late}")
        else:
            idle.append(name)
        wrong += left_behind(block, case.known)
        if stale(name):
            wrong.append(f"{name}: {stale(name)} stale records")
        if name == main and block.allocated < case.least:
            wrong.append(f"{name} made {block.allocated} allocations, not {case.least} at least")
    if idle:
        Ktap.note(f"nothing allocated: {' '.join(idle)}")
    wrong += violations()
    assert not wrong, "\n".join(wrong)


# ---- A case, a test ----

def exercise(case: Case) -> None:
    """Attach, load, use, unload, judge."""
    need_tools(("modprobe", *case.tools))
    before = modules_now()
    asked = [module.split()[0] for module in case.modules]
    names = with_dependencies(asked, case.brings)
    write_file(f"{SYSFS}/clear", "1")
    with attach(*names):
        try:
            for module in case.modules:
                run("modprobe", *module.split())
            case.use()
            came = set(modules_now()) - set(before)
        finally:
            unload_since(before)
        came -= set(modules_now())
        SEEN.update(came & set(names))
        if came - set(names):
            Ktap.note(f"not attached: {' '.join(sorted(came - set(names)))}")
        # Not all that came stayed: a module may fail to load
        judge(case, [name for name in names if name in came or exits(name)])


def counted(case: Case) -> None:
    """The case, noted if it is skipped."""
    try:
        exercise(case)
    except Skip:
        SKIPPED.append(case.title)
        raise


def tally(least: int, cases: int) -> None:
    """Enough modules went through all of it, unless cases were skipped."""
    Ktap.note(f"{len(SEEN)} modules in {cases} cases: {' '.join(sorted(SEEN))}")
    text = f"only {len(SEEN)} modules were used, of {least}"
    if len(SEEN) < least and SKIPPED:
        raise Skip(f"{text}, without {', '.join(SKIPPED)}")
    # What is a module of its own differs by kernel
    if len(SEEN) < least and kernel_version() != (6, 1):
        raise Skip(f"{text} on Linux 6.1")
    assert len(SEEN) >= least, text


def run_stock(cases: Sequence[Case], least: int,
              more: Sequence[tuple[str, Callable[[], None]]] = ()) -> NoReturn:
    """Run the cases, which use LEAST modules together if none is skipped, and exit.

    MORE: cases that do not fit in the table.
    """
    # What is received leaves its memory on a list of the CPU that sent it, which nobody looks at
    # again where there is no other traffic
    if os.path.exists(SKB_DEFER):
        write_file(SKB_DEFER, "0")
    table = [(case.title, functools.partial(counted, case)) for case in cases]
    table += more
    table.append((f"{least} modules or more", functools.partial(tally, least, len(cases))))
    run_cases(table, needs=need_attach)


# ---- Files and devices ----

@contextlib.contextmanager
def work_dir() -> Iterator[str]:
    """An empty directory, in memory in the virtual machine."""
    with tempfile.TemporaryDirectory() as path:
        yield path


def sparse(path: str, mib: int) -> str:
    """Make a file of MIB MiB that takes no memory yet."""
    with open(path, "wb") as file:
        file.truncate(mib << 20)
    return path


@contextlib.contextmanager
def mounted(kind: str, source: str, where: str, options: str = "") -> Iterator[str]:
    """A file system of this KIND, mounted at the directory WHERE for a while."""
    os.makedirs(where, exist_ok=True)
    run("mount", "-t", kind, *(["-o", options] if options else []), source, where)
    try:
        yield where
    finally:
        run("umount", where)


def pattern(seed: int, size: int) -> bytes:
    """SIZE bytes that differ by SEED."""
    return bytes((seed * 7 + i) & 0xff for i in range(256)) * (size // 256)


def move_data(device: str, kib: int = 1024, same: bool = True) -> None:
    """Write and read a block device past the page cache, 64 KiB at a time.

    SAME: what was written must come back.
    """
    fd = os.open(device, os.O_RDWR | os.O_DIRECT)
    buffer = mmap.mmap(-1, 64 << 10)
    try:
        for number in range(max(kib // 64, 1)):
            buffer[:] = pattern(number, len(buffer))
            assert os.pwrite(fd, buffer, number * len(buffer)) == len(buffer), device
        os.fsync(fd)
        for number in range(max(kib // 64, 1)):
            assert os.preadv(fd, [buffer], number * len(buffer)) == len(buffer), device
            if same:
                assert buffer[:] == pattern(number, len(buffer)), f"{device}: other data"
    finally:
        buffer.close()
        os.close(fd)


def device_size(device: str) -> int:
    """The size of a block device in sectors of 512 bytes."""
    return int(read_file(f"/sys/class/block/{os.path.basename(device)}/size"))


def ioctl(path: str, number: int, arg: bytes = b"") -> bytes:
    """One ioctl of the file PATH, with a buffer; the buffer as it came back."""
    fd = os.open(path, os.O_RDWR)
    try:
        buffer = bytearray(arg)
        fcntl.ioctl(fd, number, buffer if arg else 0)
        return bytes(buffer)
    finally:
        os.close(fd)


@contextlib.contextmanager
def configfs() -> Iterator[str]:
    """The directory of configfs, which is mounted for a while."""
    path = "/sys/kernel/config"
    if os.path.ismount(path):
        yield path
        return
    with mounted("configfs", "configfs", path):
        yield path


def write_tree(root: str, files: dict[str, str]) -> None:
    """Write into files below ROOT, in this order; their directories are made."""
    for name, text in files.items():
        os.makedirs(os.path.dirname(f"{root}/{name}"), exist_ok=True)
        write_file(f"{root}/{name}", text)


def file_text(path: str) -> str:
    """A file of one line."""
    return read_file(path).strip()


@contextlib.contextmanager
def in_thread(func: Callable[..., object], *args: object) -> Iterator[threading.Thread]:
    """FUNC runs for a while; it must end by itself, but cannot keep the test from ending."""
    thread = threading.Thread(target=func, args=args, daemon=True)
    thread.start()
    yield thread
    thread.join(PATIENCE)
    assert not thread.is_alive(), f"{func} does not end"
