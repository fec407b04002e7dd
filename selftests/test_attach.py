#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Attach: modules that know nothing of mown, by their names."""
import contextlib
import ctypes
import errno
import os
import re
import subprocess
from typing import Callable, Iterator, Optional

from ksft_mown import (DEBUGFS, MANY, MEBIBYTE, MODULES, SYSFS, Ops, Skip, attach, attached,
                       case_log, command, difference, exits, global_stats, has_jumps, insmod, knob,
                       live, load_mown, loaded, memory_returns, module_loaded, mown_path,
                       need_attach, ops, policy, read_file, read_lines, reported, rmmod, run_cases,
                       stats, violations, wait_for, write_file)

# Not built against mown: one is attached, the other stands for the kernel.
PLAIN, WORLD, DROPIN = "mown_plain_ops", "mown_plain_other", "mown_dropin_ops"
NOTIFIER = "mown_plain_notifier"
TRACEFS = "/sys/kernel/tracing"


def enabled() -> set[str]:
    """The functions that mown has ftrace for."""
    return {line.split()[0] for line in read_file(f"{TRACEFS}/enabled_functions").splitlines()
            if "[mown]" in line}


@contextlib.contextmanager
def plain() -> Iterator[Ops]:
    """The module of calls, attached before it is loaded, the account of itself left out."""
    with attach(PLAIN), ops(PLAIN) as heap:
        yield heap


def refuses(error: int, path: str, text: str) -> None:
    """Writing TEXT to the knob gives the error."""
    try:
        write_file(f"{SYSFS}/{path}", text)
    except OSError as err:
        assert err.errno == error, f"{path}: {text!r}: {err}, not {errno.errorcode[error]}"
    else:
        raise AssertionError(f"{path} takes {text!r}")


@contextlib.contextmanager
def changes(module: str = PLAIN, **expected: int) -> Iterator[None]:
    """The counters of the module change by as much, all others not at all."""
    before = stats(module)
    yield
    changed = {name: by for name, by in difference(module, before).items()
               if not name.endswith("bytes")}
    assert changed == expected, f"{changed}, not {expected}"


def find(address: Optional[int]) -> Optional[tuple[int, str, str]]:
    """Size, family and function of the live record at the address, or of one for each CPU."""
    for record in live(PLAIN):
        if record.address == address or (address is None and record.family == "percpu"):
            return record.size, record.family, record.site.split("+")[0]
    return None


# ---- Names ----

def pending() -> None:
    """A name waits for its module, serves each time it comes, and leaves no hook behind."""
    assert not attached() and not enabled(), (attached(), enabled())
    with attach("mown-plain-ops"):
        assert attached() == {PLAIN: "pending"}, attached()
        for _ in range(2):
            with ops(PLAIN) as heap:
                assert attached() == {PLAIN: "attached"}, attached()
                with changes(allocated=1, live=1):
                    addr = heap.call("kmalloc", 100).pointer
                heap.call("kfree", addr)
            assert attached() == {PLAIN: "pending"}, attached()
        assert len(enabled()) > 40, enabled()
    assert not attached(), attached()
    assert not enabled(), f"left behind: {enabled()}"


def while_live() -> None:
    """A live module is attached and detached; what it had before passes, and is counted."""
    with ops(PLAIN) as heap:
        early = heap.call("kmalloc", 100).pointer
        again = heap.call("kmalloc", 100).pointer
        with attach(PLAIN):
            assert attached() == {PLAIN: "attached"}, attached()
            with changes(unknown_passed=1):
                heap.call("kfree", early)
            with changes(allocated=2, live=2):
                addrs = [heap.call("kmalloc", 100).pointer for _ in range(2)]
            with changes(freed=1, live=-1, quarantined=1):
                heap.call("kfree", addrs[0])
        assert not attached() and not enabled(), (attached(), enabled())
        assert not os.path.isdir(f"{SYSFS}/modules/{PLAIN}")
        # Nothing of it is known any more: these go to the kernel
        heap.call("kfree", addrs[1])
        with attach(PLAIN):
            with changes(unknown_passed=1):
                heap.call("kfree", again)
    assert not exits(PLAIN) or exits(PLAIN)[-1].left == 0


def full_quarantine() -> None:
    """What waits in quarantine goes back when the name is taken back, the module being there."""
    with ops(PLAIN) as heap, knob("quarantine_bytes", MANY * MEBIBYTE), attach(PLAIN), \
            memory_returns("detach"):
        with changes(allocated=MANY, freed=MANY, quarantined=MANY):
            for _ in range(MANY):
                heap.call("kfree", heap.call("kmalloc", MEBIBYTE).pointer)
        full = stats(PLAIN)["quarantined_bytes"]
        assert full == MANY * MEBIBYTE, f"{full} bytes wait"
        write_file(f"{SYSFS}/detach", PLAIN)
        assert not attached() and not os.path.isdir(f"{DEBUGFS}/{PLAIN}"), attached()


def not_to_come() -> None:
    """The module is refused before its init: its name waits on, and nothing of it is recorded."""
    with attach(PLAIN):
        # Before mown has heard of it, or after that
        for last, accounts in ((0, 0), (1, 1)):
            with loaded(NOTIFIER, target=PLAIN, last=last):
                for _ in range(2):
                    write_file(f"{SYSFS}/clear", "1")
                    done = command("insmod", str(MODULES / f"{PLAIN}.ko"))
                    assert done.returncode and os.strerror(errno.EPERM) in done.stdout, done.stdout
                    assert attached() == {PLAIN: "pending"}, attached()
                    made = [block.allocated for block in exits(PLAIN)]
                    assert made == [0] * accounts, f"last={last}: accounts of {made}"
                    assert not live(), f"last={last}: {live()}"
                    for top in (f"{SYSFS}/modules", DEBUGFS):
                        assert not os.path.exists(f"{top}/{PLAIN}"), f"last={last}: {top}/{PLAIN}"
        with ops(PLAIN) as heap:
            assert attached() == {PLAIN: "attached"}, attached()
            with changes(allocated=1, live=1):
                addr = heap.call("kmalloc", 100).pointer
            with changes(freed=1, live=-1, quarantined=1):
                heap.call("kfree", addr)
    assert not attached() and not enabled(), (attached(), enabled())


def several() -> None:
    """Several names at once, each taken back alone."""
    with attach(PLAIN, WORLD):
        with ops(PLAIN) as one, ops(WORLD) as two:
            assert attached() == {PLAIN: "attached", WORLD: "attached"}, attached()
            addr = one.call("kmalloc", 100).pointer
            with changes(WORLD, allocated=1, live=1):
                other = two.call("kmalloc", 100).pointer
            with changes(PLAIN, foreign_frees=1, freed=1, live=-1, quarantined=1):
                two.call("kfree", addr)
            write_file(f"{SYSFS}/detach", WORLD)
            assert attached() == {PLAIN: "attached"}, attached()
            with changes(PLAIN, unknown_passed=1):
                one.call("kfree", other)


def every() -> None:
    """`*' is every module that is loaded from now on."""
    insmod(WORLD)
    try:
        with attach("*"):
            assert attached() == {"*": "pending"}, attached()
            with ops(PLAIN) as heap:
                assert attached() == {"*": "pending", PLAIN: "attached"}, attached()
                addr = heap.call("kmalloc", 100).pointer
                write_file(f"{SYSFS}/detach", "*")
                assert attached() == {PLAIN: "attached"}, "those that came by it stay"
                with changes(freed=1, live=-1, quarantined=1):
                    heap.call("kfree", addr)
            assert not attached() and not enabled(), (attached(), enabled())
    finally:
        rmmod(WORLD)
    # Under no name when they go, they leave nothing behind that could not be detached
    with attach(WORLD):
        with attach("*"), ops(PLAIN) as heap:
            heap.call("kmalloc", 100)
            write_file(f"{SYSFS}/detach", "*")
            assert {record.module for record in live()} == {PLAIN}, f"{live()}"
        assert not live() and exits(PLAIN)[-1].left == 1, f"{live()}, {exits(PLAIN)[-1]}"


def linked() -> None:
    """A module built with the drop-in counts once, whichever comes first."""
    with attach(DROPIN), ops(DROPIN) as heap:
        assert attached() == {DROPIN: "linked"}, attached()
        with changes(DROPIN, allocated=1, live=1):
            addr = heap.call("kmalloc", 100).pointer
        with changes(DROPIN, freed=1, live=-1, quarantined=1):
            heap.call("kfree", addr)
    with ops(DROPIN):
        refuses(errno.EEXIST, "attach", DROPIN)
        assert not attached(), attached()


def parameter() -> None:
    """mown.attach= attaches at boot what can be attached, and says what cannot."""
    path = mown_path()
    if path is None:
        raise Skip("mown is not a file to be loaded with a parameter")
    rmmod("mown")
    try:
        done = command("insmod", str(path), f"attach={PLAIN},,a/b,snd-dummy")
        assert not done.returncode, done.stdout
        assert attached() == {PLAIN: "pending", "snd_dummy": "pending"}, attached()
        with ops(PLAIN) as heap:
            with changes(allocated=1, live=1):
                addr = heap.call("kmalloc", 100).pointer
            heap.call("kfree", addr)
        rmmod("mown")
    finally:
        load_mown()


def bad_names() -> None:
    """What is no name, is too long, built in, mown itself or attached already."""
    write_file(f"{SYSFS}/attach", "")
    for text in ("\n", " ", "a b", "a/b", "a,b", "a*", "**", "mown", "mown\n", "a\nb\n", "a\0b"):
        refuses(errno.EINVAL, "attach", text)
        refuses(errno.EINVAL, "detach", text)
    refuses(errno.ENAMETOOLONG, "attach", "n" * 56)
    refuses(errno.ENAMETOOLONG, "attach", "n" * 4000)
    refuses(errno.EOPNOTSUPP, "attach", "printk")
    refuses(errno.ENOENT, "detach", "n" * 55)
    assert not attached() and not enabled(), (attached(), enabled())
    with attach("n" * 55):
        refuses(errno.EEXIST, "attach", "n" * 55)
    with attach("*"):
        refuses(errno.EEXIST, "attach", "*")
    for knob in ("attach", "detach"):
        assert os.stat(f"{SYSFS}/{knob}").st_mode & 0o777 == 0o200


# ---- Functions ----

# The line for the call, and what is recorded: size, family
ALLOCATIONS: list[tuple[tuple[object, ...], int, str, str]] = [
    (("kmalloc", 100), 100, "kmalloc", "kfree"),
    (("kmalloc", 20000), 20000, "kmalloc", "kfree"),
    (("kmalloc_node", 101), 101, "kmalloc", "kvfree"),
    (("kzalloc", 102), 102, "kmalloc", "kfree_sensitive"),
    (("kcalloc", 3, 40), 120, "kmalloc", "bitmap_free"),
    (("kmemdup", 50), 50, "kmalloc", "kfree_const"),
    (("kmemdup_nul", 51), 52, "kmalloc", "kfree_bulk"),
    (("kstrdup", 52), 53, "kmalloc", "kfree_rcu"),
    (("kstrndup", 90, 53), 54, "kmalloc", "kfree_rcu_headless"),
    (("kasprintf", 54), 55, "kmalloc", "kfree"),
    (("bitmap_zalloc", 128), 16, "kmalloc", "bitmap_free"),
    (("bitmap_zalloc_node", 192), 24, "kmalloc", "kfree"),
    (("krealloc", 0, 60), 60, "kmalloc", "kfree"),
    (("kvmalloc", 61), 61, "kmalloc", "kvfree"),
    (("kvmalloc", 10000000), 10000000, "vmalloc", "kvfree"),
    (("vmalloc", 5000), 5000, "vmalloc", "vfree"),
    (("vzalloc", 5001), 5001, "vmalloc", "kvfree"),
    (("vmalloc_user", 5002), 5002, "vmalloc", "vfree"),
    (("kmem_cache_alloc",), 104, "slab", "kmem_cache_free"),
    (("kmem_cache_alloc",), 104, "slab", "kfree"),
    (("__alloc_percpu", 24), 24, "percpu", "free_percpu"),
    (("kmem_cache_create", 72), 1, "cache", "kmem_cache_destroy"),
]


def allocations() -> None:
    """Each function's memory is recorded with its size, family and call site, and freed once."""
    with plain() as heap:
        for (name, *numbers), size, family, release in ALLOCATIONS:
            # They jump to kmalloc(), or else it is the kernel that calls it
            if str(name).startswith("bitmap_") and not has_jumps():
                continue
            with changes(allocated=1, live=1):
                addr = heap.call(name, *numbers).pointer
            # An object for each CPU is known by the first one's address
            found = find(addr if family != "percpu" else None)
            # From 6.12 on an inline function creates caches, which may stand by itself
            names = {f"op_{name}", f"__{name}"} if family == "cache" else {f"op_{name}"}
            assert found[:2] == (size, family) and found[2].split(".")[0] in names, \
                f"{name}: {found}"
            before = stats(PLAIN)
            heap.call(release, addr)
            wait_for(lambda: stats(PLAIN)["live"] == before["live"] - 1, f"{release} to end")
            if "rcu" in release:
                wait_for(lambda: stats(PLAIN)["quarantined"] == before["quarantined"] + 1,
                         "the grace period to end")
            after = stats(PLAIN)
            ended = {name: after[name] - before[name] for name in ("freed", "released_elsewhere")}
            assert sum(ended.values()) == 1, f"{name}, {release}: {after}"
            # Some functions of the kernel's jump to kfree(), or else call it: then they free
            assert ended["freed"] == 1 or not has_jumps(), f"{name}, {release}: {after}"
        assert not violations(), violations()


def user_memory() -> None:
    """What is copied from user space."""
    text = ctypes.create_string_buffer(b"x" * 99)
    user = ctypes.addressof(text)
    with plain() as heap:
        for name, size, family in (("memdup_user", 100, "kmalloc"),
                                   ("memdup_user_nul", 101, "kmalloc"),
                                   ("vmemdup_user", 100, "kmalloc"),
                                   ("strndup_user", 100, "kmalloc")):
            addr = heap.call(name, user, 100).pointer
            found = find(addr)
            assert found == (size, family, f"op_{name}"), f"{name}: {found}"
            heap.call("kvfree", addr)
        before = stats(PLAIN)["live"]
        for name in ("memdup_user", "vmemdup_user", "strndup_user"):
            result = heap.call(name, 8, 100).pointer
            assert result == 2 ** 64 - errno.EFAULT, f"{name}: {result:x}"
        assert stats(PLAIN)["live"] == before


def pages() -> None:
    """Pages are recorded until the last who holds them lets them go; a wrong order is refused."""
    with plain() as heap:
        for (name, number, size) in (("alloc_pages", 2, 16384), ("alloc_pages", 0, 4096),
                                     ("__get_free_pages", 1, 8192), ("get_zeroed_page", 0, 4096),
                                     ("folio_alloc", 1, 8192), ("__folio_alloc_node", 1, 8192),
                                     ("alloc_pages_exact", 12288, 12288)):
            addr = heap.call(name, number).pointer
            found = (4096 if name == "alloc_pages_exact" else size, "pages", f"op_{name}")
            assert find(addr) == found, f"{name}: {find(addr)}"
            if name == "alloc_pages_exact":
                with changes(live=-3, freed=3):
                    heap.call("free_pages_exact", addr, size)
                continue
            order = (size // 4096).bit_length() - 1
            with reported(PLAIN, "mismatched_frees", "BUG: mown: mismatched-free in op_free_pages",
                          f"allocated at op_{name}", "refused; the object stays allocated"):
                heap.call("free_pages", addr, order + 1)
            # Two who hold it, and two lawful frees
            heap.call("get_page", addr)
            with changes(live=-1, freed=1):
                heap.call("free_pages", addr, order)
            with changes():
                heap.call("put_page", addr)
        addr = heap.call("alloc_pages", 1).pointer
        with changes(allocated=1, live=1):
            heap.call("split_page", addr, 1)
        with changes(live=-2, freed=2):
            heap.call("free_pages", addr + 4096, 0)
            heap.call("free_pages", addr, 0)
        assert stats(PLAIN)["stale"] == 0, stats(PLAIN)


def pools() -> None:
    """Memory pools and their elements."""
    with plain() as heap:
        for create, numbers, size in (("mempool_create_kmalloc_pool", (2, 300), 300),
                                      ("mempool_create_slab_pool", (2,), 104)):
            with changes(allocated=1, live=1):
                pool = heap.call(create, *numbers).pointer
            with changes(allocated=3, live=3):
                elements = [heap.call("mempool_alloc", pool).pointer for _ in range(3)]
            found = find(elements[0])
            assert found == (size, "element", "op_mempool_alloc"), found
            with changes(freed=3, live=-3):
                for element in elements:
                    heap.call("mempool_free", element, pool)
            with changes(freed=1, live=-1):
                heap.call("mempool_destroy", pool)


def foreign_elements() -> None:
    """An element that foreign_free keeps from another module stays allocated, as is said."""
    with attach(PLAIN, WORLD), ops(PLAIN) as heap, ops(WORLD) as world:
        pool = heap.call("mempool_create_kmalloc_pool", 2, 300).pointer
        element = heap.call("mempool_alloc", pool).pointer
        with policy("foreign_free", "warn"):
            with reported(PLAIN, "foreign_frees", "BUG: mown: foreign-free in op_mempool_free",
                          "refused; the object stays allocated"):
                world.call("mempool_free", element, pool)
        assert find(element), "it is freed all the same"
        heap.call("mempool_free", element, pool)
        # Nor is it wrong to free one as what it is
        element = heap.call("mempool_alloc", pool).pointer
        with changes(freed=1, live=-1):
            heap.call("kfree", element)
        element = heap.call("mempool_alloc", pool).pointer
        with changes(freed=1, live=-1):
            heap.call("kfree_rcu", element)
        heap.call("mempool_destroy", pool)
        assert not [text for text in violations() if "mismatched" in text], violations()


def cache_taken_back() -> None:
    """The maker of a cache is detached: no other module's object of it waits any more."""
    with plain() as maker, attach(WORLD), ops(WORLD) as user:
        cache = maker.call("kmem_cache_create", 72).pointer
        waits, lives = (user.call("kmem_cache_alloc", cache).pointer for _ in range(2))
        user.call("kmem_cache_free", waits, cache)
        assert stats(WORLD)["quarantined"] == 1, stats(WORLD)
        write_file(f"{SYSFS}/detach", PLAIN)
        assert stats(WORLD)["quarantined"] == 0, stats(WORLD)
        user.call("kmem_cache_free", lives, cache)
        assert stats(WORLD)["quarantined"] == 0, stats(WORLD)
        maker.call("kmem_cache_destroy", cache)
        assert "still has objects" not in case_log(), case_log()


def resizing() -> None:
    """krealloc() in place, moving, to nothing, and of what was released."""
    with plain() as heap:
        addr = heap.call("kmalloc", 100).pointer
        with changes():
            assert heap.call("krealloc", addr, 110).pointer == addr
        found = find(addr)
        assert found and found[0] == 110, found
        with changes(allocated=1, freed=1, quarantined=1):
            moved = heap.call("krealloc", addr, 5000).pointer
        assert moved != addr
        with reported(PLAIN, "double_frees", "BUG: mown: double-free in op_krealloc"):
            assert heap.call("krealloc", addr, 200).pointer == 0
        heap.call("krealloc", moved, 0)
        assert not find(moved)


def kv_resizing() -> None:
    """kvrealloc() moves from one family to the other; a call that gave both is of several."""
    with plain() as heap:
        with changes(allocated=1, live=1):
            addr = heap.call("kvrealloc", 0, 0, 100).pointer
        with changes(allocated=1, freed=1, quarantined=1):
            large = heap.call("kvrealloc", addr, 100, 10000000).pointer
        assert find(large)[:2] == (10000000, "vmalloc"), find(large)
        heap.call("kvfree", large)
        both = [heap.call("kvmalloc", size).pointer for size in (61, 10000000)]
        lines = read_lines(f"{DEBUGFS}/{PLAIN}/sites", "mown sites 1: count bytes family site")
        assert any(line.startswith("2 10000061 several op_kvmalloc+") for line in lines), lines
        for addr in both:
            heap.call("kvfree", addr)


def same_names() -> None:
    """Two caches of one name: not merged, and both there."""
    with plain() as heap:
        first = heap.call("kmem_cache_create", 72).pointer
        second = heap.call("kmem_cache_create", 72, 0, 1).pointer
        assert first and second and first != second, f"{first:x} and {second:x}"
        heap.call("kmem_cache_destroy", first)
        heap.call("kmem_cache_destroy", second)


def rcu() -> None:
    """kfree_rcu() is mown's own: a second free is refused while the first waits."""
    def grace_periods_end(freed: int) -> None:
        wait_for(lambda: stats(PLAIN)["quarantined"] == freed, "the grace period to end")

    with plain() as heap:
        addr = heap.call("kmalloc", 64).pointer
        with reported(PLAIN, "double_frees", "BUG: mown: double-free in op_kfree_rcu_kfree"):
            heap.call("kfree_rcu_kfree", addr)
        grace_periods_end(1)
        addr = heap.call("vmalloc", 64).pointer
        with changes(freed=1, live=-1, quarantined=1):
            heap.call("kfree_rcu", addr)
            grace_periods_end(2)
        addr = heap.call("kmem_cache_alloc").pointer
        with changes(freed=1, live=-1, quarantined=1):
            heap.call("kfree_rcu", addr)
            grace_periods_end(3)


def by_jump() -> None:
    """A free that ends a function seems the kernel's; it is found by its pointer all the same."""
    seems = "released_elsewhere" if has_jumps() else "freed"
    with plain() as heap:
        for release in ("work_kfree", "call_rcu"):
            # A work item is larger on kernels that check much.
            addr = heap.call("kmalloc", 200).pointer
            with changes(live=-1, quarantined=1, **{seems: 1}):
                heap.call(release, addr)
                wait_for(lambda a=addr: not find(a), "the callback")
            with reported(PLAIN, "double_frees", "BUG: mown: double-free in op_kfree"):
                heap.call("kfree", addr)


def by_others() -> None:
    """Frees by others go through quarantine, too: a second free is refused, whoever does it."""
    with plain() as heap, ops(WORLD) as world:
        for release in ("kfree", "kfree_sensitive", "kvfree"):
            addr = heap.call("kmalloc", 64).pointer
            with changes(released_elsewhere=1, live=-1, quarantined=1):
                world.call(release, addr)
            with reported(PLAIN, "double_frees", f"BUG: mown: double-free in op_{release}"):
                world.call(release, addr)
        addr = heap.call("vmalloc", 64).pointer
        with changes(released_elsewhere=1, live=-1, quarantined=1):
            world.call("vfree", addr)
        addr = heap.call("kmem_cache_alloc").pointer
        with changes(released_elsewhere=1, live=-1, quarantined=1):
            world.call("kfree", addr)
        # What the world has for itself is none of mown's
        with changes():
            world.call("kfree", world.call("kmalloc", 64).pointer)
            world.call("vfree", world.call("vmalloc", 64).pointer)


def helpers_return() -> None:
    """With a kretprobe on kfree() the caller is still the module."""
    events = f"{TRACEFS}/kprobe_events"
    if not os.path.exists(events):
        raise Skip("needs kprobe events")
    write_file(events, "r:mown_test kfree")
    try:
        write_file(f"{TRACEFS}/events/kprobes/mown_test/enable", "1")
        # It is there already when the hooks are tried
        rmmod("mown")
        load_mown()
        with plain() as heap:
            assert "hook_missing" not in read_file(f"{DEBUGFS}/stats")
            addr = heap.call("kmalloc", 64).pointer
            with changes(freed=1, live=-1, quarantined=1):
                heap.call("kfree", addr)
            with reported(PLAIN, "double_frees", "BUG: mown: double-free in op_kfree"):
                heap.call("kfree", addr)
    finally:
        write_file(f"{TRACEFS}/events/kprobes/mown_test/enable", "0")
        write_file(events, "-:mown_test")


@contextlib.contextmanager
def graph_tracer(*functions: str) -> Iterator[None]:
    """The graph tracer traces what this process calls of the functions, for a while."""
    if "function_graph" not in read_file(f"{TRACEFS}/available_tracers").split():
        raise Skip("there is no graph tracer")
    choice = (f"{TRACEFS}/set_ftrace_pid", f"{TRACEFS}/set_ftrace_filter")
    try:
        write_file(choice[0], str(os.getpid()))
        # They take a word at a time, and add it
        for function in functions:
            write_file(choice[1], f"{function}\n")
        write_file(f"{TRACEFS}/current_tracer", "function_graph")
        yield
    finally:
        write_file(f"{TRACEFS}/current_tracer", "nop")
        for path in choice:
            os.close(os.open(path, os.O_WRONLY | os.O_TRUNC))


def graph_returns() -> None:
    """With the graph tracer on all that is hooked, and on a helper, it is the module as well."""
    with attach(PLAIN):
        traced = enabled() | {"strndup_user"}
    text = ctypes.create_string_buffer(b"x" * 99)
    with graph_tracer(*sorted(traced)):
        # As above
        rmmod("mown")
        load_mown()
        with plain() as heap:
            assert "hook_missing" not in read_file(f"{DEBUGFS}/stats")
            for function, numbers, release in (("kmalloc", (64,), "kfree"),
                                               ("strndup_user", (ctypes.addressof(text), 100),
                                                "kfree"),
                                               ("vmalloc", (5000,), "vfree"),
                                               ("kmem_cache_alloc", (), "kmem_cache_free")):
                os.close(os.open(f"{TRACEFS}/trace", os.O_WRONLY | os.O_TRUNC))
                with changes(allocated=1, live=1):
                    addr = heap.call(function, *numbers).pointer
                found = find(addr)
                assert found and found[2] == f"op_{function}", f"{function}: {found}"
                with changes(freed=1, live=-1, quarantined=1):
                    heap.call(release, addr)
                with reported(PLAIN, "double_frees", f"BUG: mown: double-free in op_{release}",
                              f"allocated at op_{function}", f"first freed at op_{release}"):
                    heap.call(release, addr)
                trace = read_file(f"{TRACEFS}/trace")
                for name in {function, release} & traced:
                    assert f" {name}()" in trace, f"{name}() was not traced"


def graph_passes_on() -> None:
    """With the graph tracer on what tells the allocator its own caller, that is the module."""
    with graph_tracer("kstrdup"), plain() as heap:
        with changes(allocated=1, live=1):
            addr = heap.call("kstrdup", 64).pointer
        found = find(addr)
        assert found and found[2] == "op_kstrdup", found
        with changes(freed=1, live=-1, quarantined=1):
            heap.call("kfree", addr)


def tried() -> None:
    """At first a call of each function arrives, but where a device is needed."""
    with attach(PLAIN):
        lines = read_lines(f"{DEBUGFS}/stats", "mown stats 1")
        untried = {line.split()[1].removesuffix("_node") for line in lines
                   if line.startswith("hook_untried")}
        assert untried == {"dma_alloc_attrs", "dma_free_attrs", "dma_pool_create",
                           "dma_pool_destroy", "dma_pool_alloc", "dma_pool_free",
                           "mempool_free"}, untried
        assert not [line for line in lines if line.startswith("hook_missing")], lines


def devices() -> None:
    """Memory that devices reach, and their pools; a wrong size is refused."""
    with plain() as heap:
        with changes(allocated=1, live=1):
            done = heap.call("dma_alloc_attrs", 0, 6000, 0)
        assert find(done.pointer) == (6000, "dma", "op_dma_alloc_attrs"), find(done.pointer)
        with reported(PLAIN, "mismatched_frees", "BUG: mown: mismatched-free in op_dma_free_attrs",
                      "allocated at op_dma_alloc_attrs", "refused; the object stays allocated"):
            heap.call("dma_free_attrs", 0, 12000, done.pointer, done.usable, 0)
        with changes(freed=1, live=-1):
            heap.call("dma_free_attrs", 0, 6000, done.pointer, done.usable, 0)
        with changes(allocated=2, live=2):
            pool = heap.call("dma_pool_create", 0, 64).pointer
            block = heap.call("dma_pool_alloc", pool)
        assert find(pool) == (1, "dma_pool", "op_dma_pool_create"), find(pool)
        assert find(block.pointer) == (1, "dma_block", "op_dma_pool_alloc"), find(block.pointer)
        with changes(freed=2, live=-2):
            heap.call("dma_pool_free", pool, block.pointer, block.usable)
            heap.call("dma_pool_destroy", pool)


# ---- Wrong frees ----

def stacks() -> None:
    """With stack_depth a report has the stacks, too."""
    with plain() as heap, knob("stack_depth", 16):
        addr = heap.call("kmalloc", 200).pointer
        heap.call("kfree", addr)
        with reported(PLAIN, "double_frees", "BUG: mown: double-free in op_kfree"):
            heap.call("kfree", addr)
        report, = violations()
        for place, function in (("allocated", "op_kmalloc"), ("first freed", "op_kfree"),
                                ("freed again", "op_kfree")):
            assert re.search(rf"^{place} at {function}\+.*\n(  .*\n)*  ops_write\+", report,
                             re.MULTILINE), f"{place}: {report}"


def wrong_frees() -> None:
    """Double, interior and mismatched frees are found, with the right call sites."""
    with plain() as heap:
        addr = heap.call("kmalloc", 200).pointer
        with reported(PLAIN, "interior_frees", "BUG: mown: interior-free in op_kfree",
                      "allocated at op_kmalloc", "freed pointer 8 bytes inside"):
            heap.call("kfree", addr + 8)
        assert find(addr)
        with reported(PLAIN, "mismatched_frees", "BUG: mown: mismatched-free in op_vfree",
                      "allocated at op_kmalloc", "200 bytes, kmalloc",
                      "released by the function of its own family"):
            heap.call("vfree", addr)
        assert not find(addr)
        with reported(PLAIN, "double_frees", "BUG: mown: double-free in op_kvfree",
                      "allocated at op_kmalloc", "first freed at op_vfree"):
            heap.call("kvfree", addr)
        for release in ("kfree", "kmem_cache_free"):
            addr = heap.call("vmalloc", 300).pointer
            with reported(PLAIN, "mismatched_frees",
                          f"BUG: mown: mismatched-free in op_{release}",
                          "allocated at op_vmalloc", "300 bytes, vmalloc",
                          "released by the function of its own family"):
                heap.call(release, addr)
            with reported(PLAIN, "double_frees", "BUG: mown: double-free in op_vfree",
                          f"first freed at op_{release}"):
                heap.call("vfree", addr)
        addr = heap.call("__alloc_percpu", 16).pointer
        with reported(PLAIN, "mismatched_frees", "BUG: mown: mismatched-free in op_kfree",
                      "allocated at op___alloc_percpu", "refused; the object stays allocated"):
            heap.call("kfree", addr)
        heap.call("free_percpu", addr)


def left_behind() -> None:
    """What an attached module leaves behind is reported with its call sites, not reclaimed."""
    with attach(PLAIN):
        with ops(PLAIN) as heap:
            for _ in range(3):
                heap.call("kmalloc", 100)
            addr = heap.call("vmalloc", 5000).pointer
        found = exits(PLAIN)[-1]
        assert (found.left, found.left_bytes, found.reclaimed) == (4, 5300, 0), found
        sites = {(site.count, site.bytes, site.family, site.site.split("+")[0])
                 for site in found.sites}
        assert sites == {(3, 300, "kmalloc", "op_kmalloc"),
                         (1, 5000, "vmalloc", "op_vmalloc")}, sites
        assert all("[mown_plain_ops]" in site.site for site in found.sites), found.sites
        # What is left behind of a name that stays is not forgotten with `*'
        with attach("*"):
            pass
        with ops(WORLD) as world:
            world.call("vfree", addr)
        found = exits(PLAIN)[-1]
        assert (found.left, found.late) == (3, 1), found


def taken_back_meanwhile() -> None:
    """A name is taken back while its module goes: it leaves nothing behind but its account."""
    met = 0
    with attach(WORLD):
        for _ in range(10):
            with attach(PLAIN):
                insmod(PLAIN)
                with contextlib.closing(Ops(PLAIN)) as heap:
                    heap.call("kmalloc", 100)
                with subprocess.Popen(["rmmod", PLAIN]) as going:
                    seen: list[str] = []
                    wait_for(lambda s=seen: s.append(attached()[PLAIN]) or s[-1] != "attached",
                             "the end of the module")
                    met += seen[-1] == "going"
                    write_file(f"{SYSFS}/detach", PLAIN)
                    assert going.wait(60) == 0
            left = [record for record in live() if record.module.startswith(PLAIN)]
            assert not left, f"{left}"
            assert exits(PLAIN)[-1].left == 1, f"{exits(PLAIN)[-1]}"
    assert met, "the module never was on its way"


def reclaimed() -> None:
    """With left_behind=reclaim, what others hold is left alone all the same."""
    with attach(PLAIN), policy("left_behind", "reclaim"):
        with ops(PLAIN) as heap:
            heap.call("kmalloc", 100)
            heap.call("vmalloc", 5000)
            heap.call("alloc_pages_exact", 3 * 4096)
            held = heap.call("alloc_pages", 1).pointer
            heap.call("get_page", held)
        found = exits(PLAIN)[-1]
        assert (found.left, found.reclaimed) == (6, 5), found


def fail_nth() -> None:
    """fail_nth fails an attached module's allocation, from its first on."""
    with attach(PLAIN):
        # Its own cache comes first
        write_file(f"{SYSFS}/fail_nth", f"{PLAIN} 1")
        try:
            insmod(PLAIN)
        except AssertionError as err:
            assert "Cannot allocate memory" in str(err), err
        else:
            raise AssertionError("it has its cache")
        write_file(f"{SYSFS}/fail_nth", f"{PLAIN} 2")
        with ops(PLAIN) as heap:
            assert heap.call("kmalloc", 100).pointer == 0
            addr = heap.call("kmalloc", 100).pointer
            write_file(f"{SYSFS}/modules/{PLAIN}/fail_nth", "1")
            assert heap.call("vmalloc", 100).pointer == 0
            heap.call("kfree", addr)
            assert stats(PLAIN)["failed"] == 2, stats(PLAIN)


# ---- Others that have functions for themselves ----

def held() -> None:
    """A function that another redirects: a clear error, and attached once it is let go."""
    for func in ("kfree", "vmemdup_user"):
        with loaded("mown_plain_holder", func=func):
            refuses(errno.EBUSY, "attach", PLAIN)
            assert not attached(), attached()
        wait_for(lambda: not enabled(), "the net to go")
        with attach(PLAIN):
            pass
    # The net may have it, and does: what cannot be redirected is seen
    with loaded("mown_plain_holder", func="kvfree_call_rcu"), ops(DROPIN):
        assert global_stats()["net"] == "complete", global_stats()
        refuses(errno.EBUSY, "attach", PLAIN)


def held_by_us() -> None:
    """And while something is attached, another gets the kernel's error."""
    with attach(PLAIN):
        try:
            insmod("mown_plain_holder")
        except AssertionError as err:
            assert "busy" in str(err), err
        else:
            raise AssertionError("two redirect one function")


def ftrace_off() -> None:
    """ftrace switched off before: refused; after: the kernel refuses that."""
    knob = "/proc/sys/kernel/ftrace_enabled"
    with open(knob, "w", encoding="ascii") as file:
        file.write("0")
    try:
        refuses(errno.EBUSY, "attach", PLAIN)
        assert not attached(), attached()
    finally:
        with open(knob, "w", encoding="ascii") as file:
            file.write("1")
    with attach(PLAIN):
        try:
            with open(knob, "w", encoding="ascii") as file:
                file.write("0")
        except OSError as err:
            assert err.errno == errno.EBUSY, err
        else:
            raise AssertionError("ftrace can be switched off under us")


# ---- The end ----

def unload_attached() -> None:
    """mown can be unloaded while modules are attached, and they go on."""
    with ops(PLAIN) as heap:
        write_file(f"{SYSFS}/attach", PLAIN)
        addrs = [heap.call("kmalloc", 64).pointer for _ in range(20)]
        for addr in addrs[:10]:
            heap.call("kfree", addr)
        rmmod("mown")
        try:
            assert not enabled(), enabled()
            for addr in addrs[10:]:
                heap.call("kfree", addr)
        finally:
            load_mown()


def unload_asleep() -> None:
    """It waits for a call of a module that sleeps in an allocation."""
    write_file(f"{SYSFS}/attach", "mown_plain_sleeper")
    with loaded("mown_plain_sleeper"):
        params = "/sys/module/mown_plain_sleeper/parameters"
        pid = read_file(f"{params}/pid").strip()
        wait_for(lambda: "mempool_alloc" in read_file(f"/proc/{pid}/stack"), "it to sleep")
        with subprocess.Popen(["rmmod", "mown"]) as going:
            try:
                wait_for(lambda: "synchronize_srcu" in read_file(f"/proc/{going.pid}/stack"),
                         "rmmod to wait")
                assert not enabled(), enabled()
                assert module_loaded("mown")
            finally:
                write_file(f"{params}/wake", "1")
            assert going.wait(60) == 0
        wait_for(lambda: read_file(f"{params}/woke").strip() == "Y", "the thread to go on")
    load_mown()


CASES: list[tuple[str, Callable[[], None]]] = [
    ("a name waits for its module, and again", pending),
    ("a module that is loaded already", while_live),
    ("taken back with a full quarantine", full_quarantine),
    ("a module that a notifier refuses", not_to_come),
    ("several at once", several),
    ("every module from now on", every),
    ("a module built with the drop-in counts once", linked),
    ("mown.attach=", parameter),
    ("bad names change nothing", bad_names),
    ("every hook was tried", tried),
    ("all ways to allocate and to free", allocations),
    ("memory copied from user space", user_memory),
    ("pages", pages),
    ("memory pools", pools),
    ("elements of others' pools", foreign_elements),
    ("the maker of a cache is taken back", cache_taken_back),
    ("krealloc()", resizing),
    ("kvrealloc()", kv_resizing),
    ("two caches of one name", same_names),
    ("kfree_rcu()", rcu),
    ("frees by a jump are found by their pointers", by_jump),
    ("frees by others go through quarantine", by_others),
    ("return addresses that a kretprobe has replaced", helpers_return),
    ("return addresses that the graph tracer has replaced", graph_returns),
    ("who passes on the caller that the graph tracer has replaced", graph_passes_on),
    ("memory of devices", devices),
    ("stacks", stacks),
    ("wrong frees are refused with the right sites", wrong_frees),
    ("what is left behind is reported", left_behind),
    ("a name is taken back while its module goes", taken_back_meanwhile),
    ("what may be reclaimed", reclaimed),
    ("fail_nth", fail_nth),
    ("a function that others have", held),
    ("a function that we have", held_by_us),
    ("ftrace_enabled=0", ftrace_off),
    ("unload of mown with modules attached", unload_attached),
    ("unload of mown with a call asleep", unload_asleep),
]

if __name__ == "__main__":
    run_cases(CASES, (PLAIN, WORLD, DROPIN, NOTIFIER, "mown_plain_holder", "mown_plain_sleeper"),
              need_attach)
