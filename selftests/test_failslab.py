#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Any allocation of the slab allocator's may fail, mown's as well as its users'.

The kernel is asked to fail them, which takes one with CONFIG_FAILSLAB: the Nth allocation from
now, for every N that a piece of work has, or a share of all at random. MOWN_SEED repeats the calls
of that, but not which of them fail: the kernel draws this from random numbers of its own.
A user's call never fails where the same call without mown does not, mown's own work gives an
error and can be done again, and the kernel has nothing to say but what failed.
MOWN_FAIL_STEP=N fails each Nth allocation only of what loads a module, which has hundreds.
"""
import contextlib
import ctypes
import errno
import functools
import os
import random
import shutil
import tempfile
from pathlib import Path
from typing import Callable, Iterator, NamedTuple

from ksft_mown import (DEBUGFS, LIBC, MODULES, SYSFS, Ops, Skip, attach, attached, case_log,
                       dmesg_mark, dmesg_since, exits, live, load_mown, loaded, module_loaded,
                       mown_path, need_attach, ops, read_file, reported, run_cases, skip_all,
                       stats, unload, violations, wait_for, write_file)

FAILSLAB = "/sys/kernel/debug/failslab"
# The kernel counts by fail-nth what this fails as well: pages, of any order from this on
FAIL_PAGE_ORDER = "/sys/kernel/debug/fail_page_alloc/min-order"
NTH = "/proc/thread-self/fail-nth"
API, DROPIN, PLAIN = "mown_test_ops", "mown_dropin_ops", "mown_plain_ops"
LEAKER = "mown_dropin_leak"
OTHER = "mown_plain_other"
STEP = int(os.environ.get("MOWN_FAIL_STEP", "1"))
SYS_DELETE_MODULE, SYS_FINIT_MODULE = 176, 313
# More than a magazine has, so that a record is asked for
ROUNDS = 40
CALLS = 1000
FAILURES = (errno.ENOMEM, errno.EAGAIN)


class Way(NamedTuple):
    """A function that allocates, with its numbers, and what frees the object."""

    function: str
    numbers: tuple[int, ...]
    release: str
    # What the release is told before the object and after it
    first: tuple[int, ...] = ()
    last: tuple[int, ...] = ()

    def freeing(self, pointer: int) -> tuple[int, ...]:
        """The numbers of the release."""
        return (*self.first, pointer, *self.last)


WAYS = [Way("kmalloc", (64,), "kfree"), Way("kzalloc", (5000,), "kfree"),
        Way("kmemdup", (100,), "kfree"), Way("kstrdup", (20,), "kfree"),
        Way("kvmalloc", (100,), "kvfree"), Way("vmalloc", (8192,), "vfree"),
        Way("kmem_cache_alloc", (), "kmem_cache_free"),
        Way("alloc_percpu", (), "free_percpu")]
# What fails of these is a record, or what the family has besides
MORE_WAYS = [Way("__get_free_page", (), "free_page"), Way("alloc_pages", (2,), "__free_pages",
                                                          last=(2,)),
             Way("alloc_pages_exact", (9000,), "free_pages_exact", last=(9000,)),
             Way("__alloc_percpu", (64,), "free_percpu"),
             Way("devm_kmalloc", (0, 100), "devm_kfree", first=(0,)),
             Way("devm_kstrdup", (1, 20), "devm_kfree", first=(1,)),
             Way("mempool_create_kmalloc_pool", (2, 300), "mempool_destroy")]
# What is done about a second free of what waits for a grace period
GRACE = "refused; the object is freed after its grace period"
# Who may wait has to
WAITS = ("vmalloc", "alloc_percpu", "__alloc_percpu", "kvmalloc", "mempool_create_kmalloc_pool")


@contextlib.contextmanager
def settings(values: dict[str, str]) -> Iterator[None]:
    """How allocations fail, for a while: those of the slab allocator, not those of its slabs."""
    files = {f"{FAILSLAB}/{name}": value for name, value in values.items()}
    if os.path.exists(FAIL_PAGE_ORDER):
        files[FAIL_PAGE_ORDER] = "20"
    before = {name: read_file(name).strip() for name in files}
    for name, value in files.items():
        write_file(name, value)
    try:
        yield
    finally:
        for name, value in before.items():
            write_file(name, value)


class Nth:
    """The Nth allocation of this thread fails."""

    def __init__(self) -> None:
        self.fd = os.open(NTH, os.O_RDWR)

    def arm(self, number: int) -> None:
        """The next but NUMBER - 1 is to fail; none if it is 0."""
        os.pwrite(self.fd, str(number).encode(), 0)

    def spent(self) -> bool:
        """Disarm. Has one failed?"""
        left = int(os.pread(self.fd, 16, 0))
        self.arm(0)
        return not left


@contextlib.contextmanager
def nth() -> Iterator[Nth]:
    """A failure to arm; what may wait can fail as well, and the log is not filled by it."""
    what = Nth()
    with settings({"ignore-gfp-wait": "N", "verbose": "0"}):
        try:
            yield what
        finally:
            what.arm(0)
            os.close(what.fd)


def fails(number: int, what: Nth, func: Callable[[], object]) -> tuple[bool, bool]:
    """Whether FUNC fails and whether an allocation did, the NUMBERth of it."""
    failed = False
    what.arm(number)
    try:
        func()
    except (OSError, MemoryError) as error:
        failed = True
        assert isinstance(error, MemoryError) or error.errno in FAILURES, \
            f"{error}, as allocation {number} failed"
    finally:
        spent = what.spent()
    return failed, spent


def deny(way: Way, heap: Ops, what: Nth, number: int) -> tuple[int, bool]:
    """What WAY gives if its NUMBERth allocation fails, and whether there is one."""
    line = " ".join(("task", way.function, *map(str, way.numbers))).encode()
    what.arm(number)
    try:
        os.pwrite(heap.fd, line, 0)
    finally:
        spent = what.spent()
    return int(os.pread(heap.fd, 64, 0).split()[0], 16), spent


def own_failures(way: Way, what: Nth) -> int:
    """How many allocations the function makes without mown; it fails if one of them does.

    Once in a while the kernel makes others on the way (DEBUG_OBJECTS fills its pool): so the least.
    """
    return min(counted_failures(way, what) for _ in range(3))


def counted_failures(way: Way, what: Nth) -> int:
    """How many allocations are made by the thread in one call without mown."""
    with ops(PLAIN) as heap:
        heap.call(way.release, *way.freeing(heap.call(way.function, *way.numbers).pointer))
        for number in range(1, ROUNDS):
            pointer, spent = deny(way, heap, what, number)
            if pointer:
                heap.call(way.release, *way.freeing(pointer))
            if not spent:
                return number - 1
    raise AssertionError(f"{way.function} allocates without end")


def records_only() -> None:
    """Where mown's allocation fails, and not the function's, the call succeeds."""
    with nth() as what:
        for way in (*WAYS, *MORE_WAYS):
            own = own_failures(way, what)
            hit = 0
            with ops(API) as heap:
                first = heap.call(way.function, *way.numbers).pointer
                heap.call(way.release, *way.freeing(first))
                pointers = []
                for _ in range(ROUNDS):
                    pointer, spent = deny(way, heap, what, own + 1)
                    assert pointer, f"{way.function} failed with mown's {own + 1}th allocation"
                    hit += spent
                    pointers.append(pointer)
                assert hit, f"{way.function}: no allocation of mown's was there to fail"
                for pointer in pointers:
                    heap.call(way.release, *way.freeing(pointer))
                found = stats(API)
                assert found["live"] == 0 and found["untracked"] == found["untracked_freed"], \
                    f"{way.function}: {found}"


def grace_period() -> None:
    """kfree_rcu() has no memory for what waits: it waits by the head in it, or its caller does."""
    for function in ("kfree_rcu", "kfree_rcu_headless"):
        with nth() as what, ops(API) as heap:
            number, spent = 0, True
            while spent:
                number += 1
                spent = freed_later(heap, function, what, number)
                wait_for(lambda n=number: stats(API)["quarantined"] == kept(n), "it to be released")
            assert number > 1, "no allocation was there to fail"
            found = stats(API)
            assert (found["live"], found["freed"]) == (0, number) and not violations(), found


def kept(count: int) -> int:
    """Of COUNT freed objects so many are in quarantine: none where mown does not see all frees."""
    return 0 if stats(API)["blind"] else count


def freed_later(heap: Ops, function: str, what: Nth, number: int) -> bool:
    """Free an object by a FUNCTION that lets it wait. Was there a NUMBERth allocation to fail?"""
    line = f"task {function} {heap.call('kmalloc', 64).pointer}"
    failed, spent = fails(number, what, functools.partial(os.pwrite, heap.fd, line.encode(), 0))
    assert not failed
    return spent


def twice_by_head() -> None:
    """What waits by the head in it is freed again: refused, where it was first freed is not known;
    and who let it wait can go at once."""
    by_head = 0
    with nth() as what, ops(API) as heap:
        number, spent = 0, True
        while spent:
            number += 1
            with reported(API, "double_frees", GRACE):
                spent = freed_later(heap, "kfree_rcu_kfree", what, number)
            if "first freed by kfree_rcu(), place not known" in violations()[-1]:
                assert not by_head, "waits by its head, though a batch was there"
                by_head = number
            wait_for(lambda n=number: stats(API)["quarantined"] == kept(n), "it to be released")
        assert by_head, "none waited by its head"
        assert stats(API)["freed"] == number
    with nth() as what, ops(API) as heap:
        freed_later(heap, "kfree_rcu", what, by_head)
    block = exits(API)[-1]
    assert (block.allocated, block.freed, block.left, block.late) == (1, 1, 0, 0), block


def share(percent: int, everybody: bool) -> contextlib.AbstractContextManager[None]:
    """A share of the allocations fail: of this process, or all that cannot wait."""
    # The number of times counts down, -1 excepted, which only reads so.
    write_file(f"{FAILSLAB}/times", str(0xffffffff))
    return settings({"probability": str(percent), "interval": "1", "space": "0", "verbose": "0",
                     "task-filter": "N" if everybody else "Y",
                     "ignore-gfp-wait": "Y" if everybody else "N"})


def at_random() -> None:
    """Each result is no object, or one that can be freed, with or without a record of it; at the
    end the accounts balance."""
    seed = int(os.environ.get("MOWN_SEED") or random.randrange(1 << 32))
    rnd = random.Random(seed)
    names = [API, DROPIN]
    with contextlib.suppress(Skip):
        need_attach()
        names.append(PLAIN)
    print(f"# MOWN_SEED={seed}: {' '.join(names)}", flush=True)
    for name in names:
        with attach(name) if name == PLAIN else contextlib.nullcontext():
            for percent in (1, 5, 20, 50):
                for everybody in (False, True):
                    one_share(rnd, name, percent, everybody)
            one_share(rnd, name, 100, False)


def one_share(rnd: random.Random, name: str, percent: int, everybody: bool) -> None:
    """The calls at random by the module NAME with PERCENT of the allocations failing."""
    write_file(f"{SYSFS}/clear", "1")
    fd = os.open("/proc/self/make-it-fail", os.O_WRONLY)
    with ops(name) as heap, contextlib.closing(os.fdopen(fd, "wb", 0)):
        # The cache that is its own, where that is recorded
        before = stats(name)["live"]
        pool = heap.call("mempool_create_kmalloc_pool", 4, 200).pointer
        # Who waits for an element waits for seconds
        ways = [*WAYS, *MORE_WAYS, Way("mempool_alloc_nowait", (pool,), "mempool_free",
                                       last=(pool,))]
        held: list[tuple[Way, int]] = []
        denied = 0
        # What needs no slab comes all the same: more of it than mown has records at hand, and in
        # no context in which others could fetch some
        frees, contexts = ((0.45, ("task", "softirq", "hardirq")) if percent < 100 else
                           (0, ("task",)))
        with share(percent, everybody):
            for _ in range(CALLS):
                context = rnd.choice(contexts)
                freed = held and rnd.random() < frees
                if freed:
                    way, pointer = held.pop(rnd.randrange(len(held)))
                    words = ("task", way.release, *way.freeing(pointer))
                else:
                    way = rnd.choice(ways)
                    words = ("task" if way.function in WAITS else context, way.function,
                             *way.numbers)
                os.pwrite(fd, b"1", 0)
                try:
                    os.pwrite(heap.fd, " ".join(map(str, words)).encode(), 0)
                finally:
                    os.pwrite(fd, b"0", 0)
                if freed:
                    continue
                pointer = int(os.pread(heap.fd, 64, 0).split()[0], 16)
                if pointer:
                    held.append((way, pointer))
                else:
                    denied += 1
        assert denied or percent < 20, "none has failed"
        for way, pointer in held:
            heap.call(way.release, *way.freeing(pointer))
        heap.call("mempool_destroy", pool)
        found = stats(name)
        assert found["live"] == before and found["untracked"] == found["untracked_freed"], \
            f"{name}, {percent} %: {found}"
        assert found["untracked"] or percent < 100, "all have records"
        assert not violations(), violations()[-1]


def finit(path: Path, params: str = "") -> None:
    """Load a module, in this thread: insmod would be another."""
    fd = os.open(path, os.O_RDONLY)
    try:
        if LIBC.syscall(SYS_FINIT_MODULE, fd, params.encode(), 0):
            number = ctypes.get_errno()
            # device_add() says so if there was no memory for the device's name.
            if number == errno.EINVAL and path.stem in (API, PLAIN):
                number = errno.ENOMEM
            raise OSError(number, os.strerror(number))
    finally:
        os.close(fd)


def nothing() -> None:
    """There is nothing to undo."""


def walk(what: Nth, func: Callable[[], object], undo: Callable[[], object],
         step: int = 1) -> int:
    """Fail the allocations of FUNC one by one; it must do at last. How many failed."""
    number = 1
    while True:
        failed, spent = fails(number, what, func)
        assert spent or not failed, f"failed with no allocation failing before the {number}th"
        undo()
        case_log()
        if not spent:
            return (number - 1) // step
        number += step


def gone(name: str) -> None:
    """Unload the module, and see that nothing of it stays."""
    unload([name])
    for top in (DEBUGFS, f"{SYSFS}/modules"):
        assert not os.path.exists(f"{top}/{name}"), f"{top}/{name} is left"


def in_memory(path: Path, memory: str) -> Path:
    """A copy of a file that is to be opened while allocations fail.

    The virtual machine has the host's files by 9p, which in 6.1 takes one for closed though it
    had no memory to say so, and can open no others then.
    """
    return Path(shutil.copy(path, memory))


def named(name: str) -> None:
    """What the module has, or has left, is told by places of its own, whatever is there now."""
    for record in live():
        if record.module.partition("(")[0] == name:
            assert record.site.endswith(f"[{name}]"), record


def used(name: str) -> None:
    """What of the module has come works, recorded or not; then it goes, and nothing stays."""
    # Its own file may be what there was no memory for
    if os.path.exists(f"/sys/kernel/debug/{name}/ctl"):
        heap = Ops(name)
        pointer = heap.call("kmalloc", 64).pointer
        pointer = heap.call("krealloc", pointer, 5000).pointer
        assert pointer, "no memory"
        heap.call("kfree", pointer)
        heap.close()
    # Nothing is recorded for mown itself, and its own files may be missing
    if name != "mown":
        named(name)
    gone(name)


def loads() -> None:
    """mown itself, a user of its API and one of the drop-in come, or do not and leave nothing."""
    mown = mown_path()
    if mown is None:
        raise Skip("mown was not loaded from a file")
    with tempfile.TemporaryDirectory() as memory, nth() as what:
        for name, path, params in ((API, MODULES / f"{API}.ko", ""),
                                   (LEAKER, MODULES / f"{LEAKER}.ko", "small=2"),
                                   ("mown", mown, "")):
            unload([name])
            count = walk(what, functools.partial(finit, in_memory(path, memory), params),
                         functools.partial(used, name), STEP)
            print(f"# {name}: {count} allocations failed", flush=True)
            if name == "mown":
                assert not os.path.exists(SYSFS) and not os.path.exists(DEBUGFS)
                load_mown()


def unloads() -> None:
    """A user goes while allocations fail: its account is drawn up, or mown says that it is not."""
    drawn = 0
    with nth() as what:
        for number in range(1, 30):
            write_file(f"{SYSFS}/clear", "1")
            finit(MODULES / f"{LEAKER}.ko", "small=3")
            mark = dmesg_mark()
            fails(number, what, functools.partial(remove, LEAKER))
            assert not module_loaded(LEAKER) and not os.path.exists(f"{DEBUGFS}/{LEAKER}")
            named(LEAKER)
            said = dmesg_since(mark)
            if f"mown: {LEAKER}: no memory for its account, nothing is reclaimed" in said:
                assert not exits(LEAKER), f"allocation {number}: {exits(LEAKER)}"
                continue
            drawn += 1
            block, = exits(LEAKER)
            # Three of 24 bytes, two of 200 and one of 5000, and four that it freed
            assert (block.allocated, block.freed, block.left, block.left_bytes) == \
                (10, 4, 6, 5472), f"allocation {number}: {block}"
            # Fewer sites than there are, if mown says so
            told = sum(site.count for site in block.sites)
            assert told == block.left or f"mown: {LEAKER}: no memory to name every site" in said, \
                f"allocation {number}: {block}\n{said}"
    assert 0 < drawn < 29, f"{drawn} accounts were drawn up"


def remove(name: str) -> None:
    """Unload a module, in this thread."""
    if LIBC.syscall(SYS_DELETE_MODULE, name.encode(), os.O_NONBLOCK):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def read_raw(path: str) -> None:
    """Read a file without Python's own buffers, which are memory as well."""
    fd = os.open(path, os.O_RDONLY)
    try:
        while os.read(fd, 65536):
            pass
    finally:
        os.close(fd)


def value_of(file: str) -> str:
    """What a knob is set to: one of several words is in brackets."""
    text = read_file(file).strip()
    return text.partition("[")[2].partition("]")[0] or text


def knob_kept(what: Nth, file: str, text: str, back: str) -> None:
    """A write of TEXT that fails leaves the knob as it was, one that does not sets it."""
    before = value_of(file)
    taken = []

    def write() -> None:
        taken.clear()
        write_file(file, text)
        taken.append(text)

    def check() -> None:
        want = text if taken else before
        assert value_of(file) == want, f"{file}: {read_file(file)}, not {want}"
        write_file(file, back)
        assert value_of(file) == before, f"{file}: {read_file(file)}, not {before}"

    assert before != text, f"{file} is {text} already"
    walk(what, write, check)
    assert taken, f"{file} does not take {text}"


def knobs() -> None:
    """Files read and knobs written: an error and no change, or what was asked for."""
    with nth() as what, loaded(LEAKER, small=200):
        for top in (SYSFS, DEBUGFS):
            for path, _, names in os.walk(top):
                for name in names:
                    file = f"{path}/{name}"
                    if os.stat(file).st_mode & 0o400:
                        walk(what, functools.partial(read_raw, file), nothing)
        own = f"modules/{LEAKER}"
        for name, text, back in (
                ("stack_depth", "8", "0"), ("history", "50", "64"),
                ("quarantine_bytes", "100000", value_of(f"{SYSFS}/quarantine_bytes")),
                ("policy/double_free", "panic", "auto"), ("fail_nth", f"{LEAKER} 7", f"{LEAKER} 0"),
                ("fail_nth", "nobody 7", "nobody 0"),
                (f"{own}/stack_depth", "8", "inherit"), (f"{own}/limit_bytes", "1000000", "0"),
                (f"{own}/quarantine_bytes", "5000", "inherit"), (f"{own}/fail_nth", "9", "0"),
                (f"{own}/policy/double_free", "warn", "inherit")):
            knob_kept(what, f"{SYSFS}/{name}", text, back)
        # What is only written
        for name, text in (("clear", "1"), (f"{own}/checkpoint", "mark")):
            walk(what, functools.partial(write_file, f"{SYSFS}/{name}", text), nothing)


def not_hooked() -> list[str]:
    """The functions that an attached module's calls are not redirected from."""
    return [line.split()[1] for line in read_file(f"{DEBUGFS}/stats").splitlines()
            if line.startswith("hook_missing")]


def attaching() -> None:
    """A name is attached, and a module that is there; in the end with all hooks that there are."""
    need_attach()

    def take_back() -> None:
        if os.path.exists(f"{SYSFS}/modules/{PLAIN}") or PLAIN in read_file(f"{DEBUGFS}/attached"):
            write_file(f"{SYSFS}/detach", PLAIN)
        wait_for(lambda: not os.path.exists(f"{DEBUGFS}/{PLAIN}"), "the owner to go")

    with attach(PLAIN):
        expected = not_hooked()
    # What can be hooked is found out once: by one that was not asked before
    unload(["mown"])
    load_mown()
    with nth() as what:
        for there in (False, True):
            with loaded(PLAIN) if there else contextlib.nullcontext():
                walk(what, functools.partial(write_file, f"{SYSFS}/attach", PLAIN), take_back)
    with attach(PLAIN):
        assert not_hooked() == expected, not_hooked()


def detaching() -> None:
    """A module is detached, or nothing of it is; another one stays attached all the time."""
    need_attach()
    with nth() as what, loaded(PLAIN), ops(OTHER) as heap, attach(PLAIN, OTHER):

        def check() -> None:
            assert os.path.exists(f"{DEBUGFS}/{PLAIN}") == (PLAIN in attached()), attached()
            before = stats(OTHER)["allocated"]
            heap.call("kfree", heap.call("kmalloc", 64).pointer)
            assert stats(OTHER)["allocated"] == before + 1, "the other module is not attached"
            if PLAIN not in attached():
                write_file(f"{SYSFS}/attach", PLAIN)

        walk(what, functools.partial(write_file, f"{SYSFS}/detach", PLAIN), check)


def waited_for() -> None:
    """A module comes whose name is attached: recorded or not, it works, and goes."""
    need_attach()
    with tempfile.TemporaryDirectory() as memory, nth() as what, attach(PLAIN):

        def use() -> None:
            used(PLAIN)
            assert attached() == {PLAIN: "pending"}, attached()

        walk(what, functools.partial(finit, in_memory(MODULES / f"{PLAIN}.ko", memory)), use, STEP)


CASES = [
    ("mown's own allocations fail, and no call does", records_only),
    ("kfree_rcu() without memory for what waits", grace_period),
    ("a second free of what waits without memory", twice_by_head),
    ("a share of all allocations fails", at_random),
    ("mown's files are read and written", knobs),
    ("a module is attached", attaching),
    ("a module is detached", detaching),
    ("an attached module comes", waited_for),
    ("modules come", loads),
    ("modules go", unloads),
]

if __name__ == "__main__":
    if not os.path.exists(FAILSLAB):
        skip_all("the kernel cannot make allocations fail: no CONFIG_FAILSLAB")
    run_cases(CASES, modules=(API, DROPIN, PLAIN, OTHER, LEAKER))
