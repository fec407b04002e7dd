#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""The kernel's own drivers, rebuilt with the drop-in: used for real, and unloaded.

ports/build.sh has built them into $MOWN_PORTS before this test, from their unchanged
sources. Each uses several families of the allocator: which, is proven twice, by mown's
list of live objects while the driver is at work, and by the trace event of each
allocation, for what does not live long.
"""
import contextlib
import functools
import os
import re
import threading
from types import MappingProxyType
from typing import Callable, Iterator, Mapping, NamedTuple, Sequence

from ksft_mown import (DEBUGFS, HERE, SYSFS, Ktap, Skip, case_log, command, module_loaded,
                       read_file, read_lines, run_cases, stats, violations, wait_for, write_file)
from stock_modules import (account, configfs, file_text, left_behind, modules_now, mounted,
                           move_data, need_tools, pattern, run, stale, unload_since, wait_path,
                           work_dir, write_tree)
from test_stock_block import RAM, clear, mapped, md_removed
from test_stock_fs import change_files, check_files, link_files, write_files
from test_stock_net import use_wireguard

PORTS = os.environ.get("MOWN_PORTS", f"{HERE.parent}/build/ports/linux")
ALLOC = "/sys/kernel/tracing/events/mown/alloc"
BRD = "brd rd_nr=5 rd_size=16384"


class Port(NamedTuple):
    """A driver, what it is used for, and what has to be seen of it."""

    title: str
    # The modules built with the drop-in, in the order of loading, each with its parameters
    modules: Sequence[str]
    use: Callable[[], None]
    # The families of which it holds objects while it is used
    held: str
    # Those whose objects may come and go between two looks
    brief: str = ""
    # Modules of the kernel that are loaded before
    needs: Sequence[str] = ()
    tools: Sequence[str] = ()
    # The families of which it lets the kernel release some objects, and why
    elsewhere: Mapping[str, str] = MappingProxyType({})
    # Why it frees what was not allocated through the drop-in, if it does
    unknown: str = ""


# ---- Watching ----

@contextlib.contextmanager
def watching(name: str) -> Iterator[set[str]]:
    """The families that the module holds objects of, collected for a while."""
    seen: set[str] = set()
    end = threading.Event()

    def look() -> None:
        while not end.wait(0.02):
            # Not loaded yet, or gone
            with contextlib.suppress(OSError):
                seen.update(line.split(None, 3)[2]
                            for line in read_lines(f"{DEBUGFS}/{name}/sites", "mown sites 1"))

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    try:
        yield seen
    finally:
        end.set()
        thread.join()


@contextlib.contextmanager
def counting(name: str) -> Iterator[Callable[[], dict[str, int]]]:
    """Count the module's allocations for a while; a function that gives them by family."""
    if not os.path.exists(f"{ALLOC}/trigger"):
        raise Skip("needs tracefs")
    trigger = f'hist:keys=family if module == "{name}"'
    write_file(f"{ALLOC}/trigger", trigger)
    try:
        yield lambda: {family: int(count) for family, count in
                       re.findall(r"\{ family: (\w+) *\} hitcount: *(\d+)",
                                  read_file(f"{ALLOC}/hist"))}
    finally:
        write_file(f"{ALLOC}/trigger", f"!{trigger}")


# ---- Loading and unloading ----

def module_path(name: str) -> str:
    """Where the module NAME was built."""
    for where, _, files in os.walk(PORTS):
        if f"{name}.ko" in files:
            return f"{where}/{name}.ko"
    if os.path.isdir(PORTS):
        raise AssertionError(f"{PORTS} has no {name}.ko")
    raise Skip(f"there is no {PORTS}")


def load(module: str) -> None:
    """Load a port with its parameters, and first what it depends on."""
    name, *params = module.split()
    path = module_path(name)
    depends = run("modinfo", "-F", "depends", path).strip().split(",")
    assert "mown" in depends, f"{name} depends on {depends}, not on mown"
    for needed in filter(None, depends):
        if not module_loaded(needed.replace("-", "_")):
            run("modprobe", needed)
    run("insmod", path, *params)


def unload(name: str) -> None:
    """Unload a port; what the kernel takes down in the background holds it for some time."""
    if module_loaded(name):
        wait_for(lambda: not command("rmmod", name).returncode, f"{name} is in use")


def judge(port: Port, last: dict[str, dict[str, int]], families: dict[str, int]) -> None:
    """Nothing of the port's modules was reported or left behind, and all was recorded.

    LAST: their counters just before they were unloaded; FAMILIES: the first one's allocations.
    """
    wrong = violations()
    for name, counts in last.items():
        block = account(name)
        Ktap.note(f"{name}: allocated {block.allocated}, freed {block.freed}, released "
                  f"elsewhere {block.elsewhere}, unknown passed {counts['unknown_passed']}")
        wrong += left_behind(block, {})
        wrong += [f"{name}: {kind} is {counts[kind]}" for kind in
                  ("untracked", "stale", "foreign_frees", "failed") if counts[kind]]
        if stale(name):
            wrong.append(f"{name}: {stale(name)} stale records")
        if block.late or block.reclaimed:
            wrong.append(f"{name}: {block.late} objects were freed when it was gone, "
                         f"{block.reclaimed} were reclaimed")
        if block.elsewhere > sum(families[family] for family in port.elsewhere):
            wrong.append(f"{name}: {block.elsewhere} released elsewhere, more than there is a "
                         f"reason for: {dict(port.elsewhere)}")
        if counts["unknown_passed"] and not port.unknown:
            wrong.append(f"{name}: {counts['unknown_passed']} unknown frees, for no known reason")
    for reason in filter(None, (*port.elsewhere.values(), port.unknown)):
        Ktap.note(f"known: {reason}")
    assert not wrong, "\n".join(wrong)


def exercise(port: Port) -> None:
    """Load, use, unload, judge."""
    need_tools(("modprobe", "modinfo", *port.tools))
    names = [module.split()[0] for module in port.modules]
    for name in names:
        module_path(name)
    names = [name.replace("-", "_") for name in names]
    before = modules_now()
    write_file(f"{SYSFS}/clear", "1")
    last = {}
    try:
        for module in port.needs:
            run("modprobe", *module.split())
        with watching(names[0]) as seen, counting(names[0]) as counted:
            for module in port.modules:
                load(module)
            port.use()
            last = {name: stats(name) for name in names if module_loaded(name)}
            families = counted()
    finally:
        for name in reversed(names):
            unload(name)
        unload_since(before)
    Ktap.note(f"{names[0]} allocated {families}, held {' '.join(sorted(seen))}")
    held, both = set(port.held.split()), set((port.held + " " + port.brief).split())
    assert held <= seen, f"{names[0]} held nothing of {held - seen}"
    # kvmalloc() takes what free memory is in pieces too small for it from vmalloc()
    assert both <= set(families) <= both | {"vmalloc"}, f"{names[0]} used {families}, not {both}"
    assert len(both) >= 3, both
    judge(port, last, families)


# ---- The drivers ----

def use_files(device: str, options: str = "") -> None:
    """A file system on the device, mounted twice."""
    run("mkfs.ext4", "-q", device)
    with work_dir() as work:
        with mounted("ext4", device, f"{work}/mnt", options) as mnt:
            write_files(mnt)
            change_files(mnt)
            link_files(mnt)
        with mounted("ext4", device, f"{work}/mnt") as mnt:
            check_files(mnt)


def use_null_blk() -> None:
    """Three disks: from the parameters; with memory; of zones, so many that they are vmalloc'ed."""
    move_data("/dev/nullb0", same=False)
    disks = {"nullb1": {"size": "64", "cache_size": "8"},
             "nullb2": {"size": "131072", "zoned": "1", "zone_size": "1"}}
    with configfs() as root:
        try:
            for name, settings in disks.items():
                os.mkdir(f"{root}/nullb/{name}")
                write_tree(f"{root}/nullb/{name}", {**settings, "memory_backed": "1", "power": "1"})
            use_files(wait_path("/dev/nullb1"), "discard")
            # One zone, from its start
            for _ in range(2):
                move_data(wait_path("/dev/nullb2"), 1024)
                run("blkzone", "reset", "--count", "2", "/dev/nullb2")
        finally:
            for name in set(disks) & set(os.listdir(f"{root}/nullb")):
                write_tree(f"{root}/nullb/{name}", {"power": "0"})
                os.rmdir(f"{root}/nullb/{name}")


def use_zram() -> None:
    """Compressed memory with files on it, then with another algorithm; a second device."""
    device, sysfs = "/dev/zram0", "/sys/block/zram0"
    for algorithm in ("lzo", "lzo-rle"):
        write_tree(sysfs, {"comp_algorithm": algorithm, "disksize": "64M"})
        use_files(device, "discard")
        write_tree(sysfs, {"compact": "1"})
        move_data(device, 4096)
        write_tree(sysfs, {"reset": "1"})
    number = file_text("/sys/class/zram-control/hot_add")
    write_tree(f"/sys/block/zram{number}", {"disksize": "16M"})
    move_data(f"/dev/zram{number}", 4096)
    write_tree("/sys/class/zram-control", {"hot_remove": number})


def use_raid() -> None:
    """RAID 5 and 6, plain, with a partial parity log, with a journal; a disk is lost."""
    for level, disks, options in (("5", 3, []), ("6", 4, []),
                                  ("5", 3, ["--consistency-policy=ppl"]),
                                  ("5", 3, [f"--write-journal={RAM[3]}"])):
        clear(*RAM)
        run("mdadm", "--create", "/dev/md7", "--run", "--assume-clean", f"--level={level}",
            "--metadata=1.2", f"--raid-devices={disks}", *options, *RAM[:disks])
        move_data("/dev/md7")
        run("mdadm", "/dev/md7", "--fail", RAM[1])
        move_data("/dev/md7")
        wait_for(lambda: md_removed(RAM[1]), "the failed disk to be let go")
        run("mdadm", "--zero-superblock", RAM[1])
        run("mdadm", "/dev/md7", "--add", RAM[1])
        wait_for(lambda: file_text("/sys/block/md7/md/degraded") == "0", "the new disk")
        move_data("/dev/md7")
        run("mdadm", "--stop", "/dev/md7")


def use_integrity() -> None:
    """A journal, an encrypted one, a bitmap, neither; one disk is checked from its start."""
    for options in ("J 1 internal_hash:crc32c", "J 2 internal_hash:sha256 recalculate",
                    f"J 2 internal_hash:crc32c journal_crypt:ctr(aes):{'5a' * 16}",
                    "B 1 internal_hash:crc32c", "D 1 internal_hash:crc32c"):
        clear(RAM[0])
        table = f"integrity {RAM[0]} 0 - {options}"
        # The first table of 8 sectors makes the format, which says how many there are
        with mapped(f"0 8 {table}"):
            pass
        with open(RAM[0], "rb") as file:
            sectors = int.from_bytes(file.read(512)[16:24], "little")
        with mapped(f"0 {sectors} {table}") as device:
            move_data(device)


def use_squashfs() -> None:
    """A directory packed with each compression that the kernel knows, read back."""
    with work_dir() as work:
        os.mkdir(f"{work}/src")
        write_files(f"{work}/src")
        change_files(f"{work}/src")
        link_files(f"{work}/src")
        for kind in ("gzip", "lzo", "lz4", "xz", "zstd"):
            run("mksquashfs", f"{work}/src", f"{work}/{kind}", "-quiet", "-no-progress",
                "-comp", kind)
            with mounted("squashfs", f"{work}/{kind}", f"{work}/mnt", "loop,ro") as mnt:
                check_files(mnt)


def use_nandsim() -> None:
    """Flash that is a disk: written, read, written again, so that blocks are erased."""
    for _ in range(2):
        move_data(wait_path("/dev/mtdblock0"), 512)
    with open("/dev/mtd0", "rb") as flash:
        assert flash.read(65536) == pattern(0, 65536)


def use_nvme() -> None:
    """A file as the target's disk, which this machine is a host of itself."""
    with configfs() as config, work_dir() as work:
        root = f"{config}/nvmet"
        with open(f"{work}/disk", "wb") as file:
            file.truncate(32 << 20)
        subsystem, port = f"{root}/subsystems/mown", f"{root}/ports/1"
        space = f"{subsystem}/namespaces/1"
        os.mkdir(subsystem)
        os.mkdir(space)
        os.mkdir(port)
        write_tree(subsystem, {"attr_allow_any_host": "1"})
        write_tree(space, {"device_path": f"{work}/disk", "buffered_io": "1", "enable": "1"})
        write_tree(port, {"addr_trtype": "loop"})
        os.symlink(subsystem, f"{port}/subsystems/mown")
        fd = os.open("/dev/nvme-fabrics", os.O_RDWR)
        os.write(fd, b"transport=loop,nqn=mown")
        name = re.findall(r"instance=(\d+)", os.read(fd, 100).decode())[0]
        os.close(fd)
        try:
            use_files(wait_path(f"/dev/nvme{name}n1"))
            move_data(f"/dev/nvme{name}n1")
        finally:
            write_tree(f"/sys/class/nvme/nvme{name}", {"delete_controller": "1"})
            os.unlink(f"{port}/subsystems/mown")
            write_tree(space, {"enable": "0"})
            for path in (space, subsystem, port):
                os.rmdir(path)


EXT4 = ("ext4",)
PORTED = [
    Port("null_blk", ("null_blk gb=1",), use_null_blk, "kmalloc vmalloc pages",
         needs=EXT4, tools=("mkfs.ext4", "blkzone")),
    Port("zram", ("zram",), use_zram, "kmalloc vmalloc pages percpu", needs=EXT4,
         tools=("mkfs.ext4",)),
    Port("WireGuard", ("wireguard",), use_wireguard, "kmalloc cache slab percpu",
         needs=("veth",), tools=("ip", "wg")),
    Port("raid456", ("raid456",), use_raid, "kmalloc cache slab pages percpu", "element",
         needs=(BRD,), tools=("mdadm",),
         elsewhere={"pages": "put_page() gives a stripe's pages back"},
         unknown="raid5_unplug() frees what blk_check_plugged() has allocated"),
    Port("dm-integrity", ("dm-integrity",), use_integrity, "kmalloc vmalloc cache pages",
         "element", needs=(BRD,), tools=("dmsetup",)),
    Port("SquashFS", ("squashfs",), use_squashfs, "kmalloc vmalloc cache slab percpu", "pages",
         needs=("loop",), tools=("mksquashfs",),
         elsewhere={"pages": "bio_free_pages() frees what was read, put_page() the cached"},
         unknown="bio_kmalloc() is the kernel's"),
    Port("nandsim", ("nandsim",), use_nandsim, "kmalloc vmalloc cache slab",
         needs=("mtdblock",)),
    Port("NVMe target", ("nvmet", "nvme-loop"), use_nvme, "kmalloc cache mempool",
         needs=EXT4, tools=("mkfs.ext4",)),
]


def meminit() -> None:
    """test_meminit finds new memory zeroed, and old as it was where that is promised.

    It has done all when it is loaded.
    """
    path = module_path("test_meminit")
    if "slub_debug" in read_file("/proc/cmdline"):
        raise Skip("slub_debug keeps the kernel from zeroing slab objects")
    write_file(f"{SYSFS}/clear", "1")
    # It asks for blocks of 4 MiB
    write_file("/proc/sys/vm/compact_memory", "1")
    with counting("test_meminit") as counted:
        run("insmod", path)
        families = counted()
    Ktap.note(f"test_meminit allocated {families}")
    assert set(families) == set("kmalloc vmalloc cache slab pages".split()), families
    assert re.search(r"test_meminit: all \d+ tests passed!", case_log()), case_log()
    counts = stats("test_meminit")
    wrong = violations()
    wrong += [f"{kind} is {counts[kind]}" for kind in
              ("live", "untracked", "stale", "released_elsewhere", "unknown_passed", "failed")
              if counts[kind]]
    assert not wrong, "\n".join(wrong)
    # It has no exit function, so it goes by force only
    run("rmmod", "-f", "test_meminit")
    wrong = left_behind(account("test_meminit"), {})
    assert not wrong, "\n".join(wrong)


if __name__ == "__main__":
    run_cases([*((port.title, functools.partial(exercise, port)) for port in PORTED),
               ("test_meminit", meminit)])
