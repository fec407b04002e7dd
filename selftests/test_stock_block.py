#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""The kernel's own block devices under attach: made, written, read, unloaded."""
import contextlib
import fcntl
import hashlib
import os
import socket
import struct
from typing import Iterator

from ksft_mown import kernel_version, wait_for
from stock_modules import (Case, configfs, device_size, in_thread, move_data, pattern, run,
                           run_stock, sparse, wait_path, work_dir, write_tree)

RAM = [f"/dev/ram{number}" for number in range(4)]
BRD = "brd rd_nr=4 rd_size=16384"
SECTORS = 16384 * 2

# ---- Disks that are not there ----


def use_loop() -> None:
    """A file as a disk."""
    with work_dir() as work:
        image = sparse(f"{work}/image", 8)
        for options in ((), ("--sector-size=4096",), ("--partscan",)):
            device = run("losetup", "--find", "--show", *options, image).strip()
            move_data(device)
            run("losetup", "--detach", device)


def use_brd() -> None:
    """A disk in memory."""
    move_data(RAM[0], 4096)


def use_zram() -> None:
    """Compressed memory, twice."""
    device, sysfs = "/dev/zram0", "/sys/block/zram0"
    for _ in range(2):
        write_tree(sysfs, {"disksize": "16M"})
        move_data(device, 4096)
        run("blkdiscard", device)
        write_tree(sysfs, {"reset": "1"})


def use_null_blk() -> None:
    """A disk from the parameters, another with memory from configfs."""
    move_data("/dev/nullb0", same=False)
    with configfs() as root:
        os.mkdir(f"{root}/nullb/nullb1")
        write_tree(f"{root}/nullb/nullb1", {"size": "16", "memory_backed": "1", "power": "1"})
        move_data(wait_path("/dev/nullb1"))
        write_tree(f"{root}/nullb/nullb1", {"power": "0"})
        os.rmdir(f"{root}/nullb/nullb1")


def use_scsi_debug() -> None:
    """A SCSI disk in memory, by sd and by sg."""
    model = "/sys/bus/pseudo/drivers/scsi_debug/adapter0"
    wait_for(lambda: os.path.isdir(model) and os.path.exists("/dev/sda"), "the disk")
    move_data("/dev/sda")
    fd = os.open("/dev/sg0", os.O_RDWR)
    # INQUIRY through the old interface of sg: a header, then the command
    os.write(fd, struct.pack("<iiiII", 36 + 6, 36 + 96, 1, 0, 0) + bytes(16) +
             bytes((0x12, 0, 0, 0, 96, 0)))
    answer = os.read(fd, 36 + 96)
    os.close(fd)
    assert b"scsi_debug" in answer, answer
    write_tree("/sys/block/sda/device", {"rescan": "1"})


NBD_SET_SOCK, NBD_SET_BLKSIZE, NBD_DO_IT, NBD_CLEAR_SOCK = 0xab00, 0xab01, 0xab03, 0xab04
NBD_SET_SIZE_BLOCKS, NBD_DISCONNECT = 0xab07, 0xab08
NBD_MAGIC, NBD_REPLY = 0x25609513, 0x67446698


def receive(link: socket.socket, size: int) -> bytes:
    """Exactly SIZE bytes, fewer if the other end is closed."""
    data = b""
    while len(data) < size:
        more = link.recv(size - len(data))
        if not more:
            break
        data += more
    return data


def nbd_serve(link: socket.socket, disk: bytearray) -> None:
    """Answer reads and writes until told to go."""
    while True:
        header = receive(link, 28)
        if len(header) < 28:
            break
        magic, kind, handle, offset, size = struct.unpack(">II8sQI", header)
        assert magic == NBD_MAGIC, header
        if kind == 2:
            break
        reply = struct.pack(">II8s", NBD_REPLY, 0, handle)
        if kind == 1:
            disk[offset:offset + size] = receive(link, size)
            link.sendall(reply)
        else:
            link.sendall(reply + disk[offset:offset + size])
    link.close()


def use_nbd() -> None:
    """A disk that a thread of ours serves."""
    kernel, ours = socket.socketpair()
    fd = os.open("/dev/nbd0", os.O_RDWR)
    for number, value in ((NBD_SET_BLKSIZE, 4096), (NBD_SET_SIZE_BLOCKS, 1024),
                          (NBD_SET_SOCK, kernel.fileno())):
        fcntl.ioctl(fd, number, value)
    with in_thread(nbd_serve, ours, bytearray(4 << 20)), \
            in_thread(fcntl.ioctl, fd, NBD_DO_IT, 0):
        try:
            wait_for(lambda: device_size("/dev/nbd0") == 8192, "the disk")
            move_data("/dev/nbd0")
        finally:
            fcntl.ioctl(fd, NBD_DISCONNECT, 0)
    fcntl.ioctl(fd, NBD_CLEAR_SOCK, 0)
    os.close(fd)
    kernel.close()


# ---- Device mapper ----

@contextlib.contextmanager
def mapped(table: str, name: str = "mown") -> Iterator[str]:
    """A mapped device with this table, for a while."""
    run("dmsetup", "create", name, "--noudevsync", "--table", table)
    try:
        yield f"/dev/mapper/{name}"
    finally:
        run("dmsetup", "remove", "--noudevsync", "--retry", name)


def clear(*devices: str) -> None:
    """Zero the start of the devices."""
    for device in devices:
        with open(device, "r+b") as file:
            file.write(bytes(1 << 20))


def use_table(table: str, same: bool = True) -> None:
    """Move data through a device with this table."""
    clear(*RAM[:3])
    with mapped(table) as device:
        move_data(device, same=same)
        run("dmsetup", "status", "mown")
        run("dmsetup", "suspend", "--noudevsync", "mown")
        run("dmsetup", "resume", "--noudevsync", "mown")


def use_crypt() -> None:
    """Two ciphers."""
    for cipher, key in (("aes-xts-plain64", 64), ("aes-cbc-essiv:sha256", 32)):
        use_table(f"0 {SECTORS} crypt {cipher} {'5a' * key} 0 {RAM[0]} 0")


def use_snapshot() -> None:
    """A snapshot keeps what the origin had."""
    clear(*RAM[:2])
    with mapped(f"0 {SECTORS} snapshot {RAM[0]} {RAM[1]} P 8", "snap") as snap, \
            mapped(f"0 {SECTORS} snapshot-origin {RAM[0]}", "origin") as origin:
        move_data(origin)
        with open(snap, "rb") as file:
            assert file.read(65536) == bytes(65536), "the snapshot has changed"
        move_data(snap)


def use_thin() -> None:
    """Thin devices and a snapshot of one."""
    clear(*RAM[:2])
    with mapped(f"0 {SECTORS} thin-pool {RAM[0]} {RAM[1]} 128 0", "pool") as pool:
        run("dmsetup", "message", pool, "0", "create_thin 0")
        with mapped(f"0 {SECTORS} thin {pool} 0", "thin") as thin:
            move_data(thin)
            run("dmsetup", "suspend", "--noudevsync", "thin")
            run("dmsetup", "message", pool, "0", "create_snap 1 0")
            run("dmsetup", "resume", "--noudevsync", "thin")
            with mapped(f"0 {SECTORS} thin {pool} 1", "snap") as snap:
                move_data(snap)
        run("dmsetup", "message", pool, "0", "delete 1")
        run("dmsetup", "message", pool, "0", "delete 0")


def use_cache() -> None:
    """A cache before an origin, in two modes."""
    for mode in ("writeback", "writethrough"):
        use_table(f"0 {SECTORS} cache {RAM[0]} {RAM[1]} {RAM[2]} 128 1 {mode} smq 0")


def use_verity() -> None:
    """Blocks with right hashes are read, one with a wrong one is not."""
    salt, data = b"mown" * 8, pattern(3, 4096)
    hashes = hashlib.sha256(salt + data).digest() * 64
    hashes += bytes(4096 - len(hashes))
    for device, content in ((RAM[0], data * 64), (RAM[1], hashes)):
        with open(device, "r+b") as file:
            file.write(content)
    with open(RAM[0], "r+b") as file:
        file.seek(7 * 4096)
        file.write(b"x")
    table = (f"0 512 verity 1 {RAM[0]} {RAM[1]} 4096 4096 64 0 sha256 "
             f"{hashlib.sha256(salt + hashes).hexdigest()} {salt.hex()}")
    run("dmsetup", "create", "mown", "--noudevsync", "--readonly", "--table", table)
    fd = os.open("/dev/mapper/mown", os.O_RDONLY)
    assert os.pread(fd, 4096, 4096) == data
    with contextlib.suppress(OSError):
        os.pread(fd, 4096, 7 * 4096)
        raise AssertionError("a wrong block was read")
    os.close(fd)
    run("dmsetup", "remove", "--noudevsync", "--retry", "mown")


def use_integrity() -> None:
    """The first table of 8 sectors makes the format, which says how many there are."""
    clear(RAM[0])
    table = f"integrity {RAM[0]} 0 - J 1 internal_hash:crc32c"
    with mapped(f"0 8 {table}"):
        pass
    with open(RAM[0], "rb") as file:
        sectors = struct.unpack_from("<Q", file.read(512), 16)[0]
    with mapped(f"0 {sectors} {table}") as device:
        move_data(device)


def use_small_targets() -> None:
    """Targets of a few hundred lines each."""
    half = SECTORS // 2
    for table in (f"0 {SECTORS} delay {RAM[0]} 0 5",
                  f"0 {SECTORS} flakey {RAM[0]} 0 60 0",
                  f"0 {SECTORS} switch 2 64 0 {RAM[0]} 0 {RAM[1]} 0",
                  f"0 {half} unstriped 2 64 0 {RAM[0]} 0",
                  f"0 {SECTORS} log-writes {RAM[0]} {RAM[1]}",
                  f"0 {SECTORS} writecache s {RAM[0]} {RAM[1]} 4096 0",
                  f"0 {SECTORS} era {RAM[0]} {RAM[1]} 128",
                  f"0 {SECTORS} mirror core 1 1024 2 {RAM[0]} 0 {RAM[1]} 0"):
        use_table(table)
    use_table(f"0 {SECTORS} zero", same=False)


def use_multipath() -> None:
    """Two paths to disks, one of which is failed."""
    clear(*RAM[:2])
    with mapped(f"0 {SECTORS} multipath 2 queue_mode bio 0 1 1 round-robin 0 2 1 "
                f"{RAM[0]} 1 {RAM[1]} 1") as device:
        move_data(device, same=False)
        run("dmsetup", "message", "mown", "0", f"fail_path {RAM[1]}")
        move_data(device)


def use_dm_raid() -> None:
    """RAID 1 and 5 by way of the device mapper."""
    use_table(f"0 16384 raid raid1 3 0 region_size 1024 2 - {RAM[0]} - {RAM[1]}")
    use_table(f"0 16384 raid raid5_ls 3 128 region_size 1024 3 - {RAM[0]} - {RAM[1]} - {RAM[2]}")


# ---- RAID ----

# Until 6.7 its module has this name
LINEAR = ("linear",) if kernel_version() < (6, 8) else ()


def use_md() -> None:
    """One array of each level; those with redundancy lose a disk and get it back."""
    levels = (*((name, 2) for name in LINEAR), ("0", 2), ("1", 2), ("10", 4), ("5", 3), ("6", 4))
    for level, disks in levels:
        clear(*RAM)
        run("mdadm", "--create", "/dev/md7", "--run", "--assume-clean", f"--level={level}",
            "--metadata=1.2", f"--raid-devices={disks}", *RAM[:disks])
        move_data("/dev/md7")
        if level not in ("linear", "0"):
            run("mdadm", "/dev/md7", "--fail", RAM[1])
            move_data("/dev/md7")
            wait_for(lambda: md_removed(RAM[1]), "the failed disk to be let go")
            run("mdadm", "--zero-superblock", RAM[1])
            run("mdadm", "/dev/md7", "--add", RAM[1])
        run("mdadm", "--stop", "/dev/md7")


def md_removed(device: str) -> bool:
    """Try to take a failed disk out of the array."""
    with contextlib.suppress(AssertionError):
        run("mdadm", "/dev/md7", "--remove", device)
        return True
    return False


# ---- SCSI targets ----

def use_target() -> None:
    """A target with a disk in memory, seen by a SCSI host of the same machine."""
    with configfs() as config:
        root = f"{config}/target"
        disk, port = f"{root}/core/rd_mcp_7/mown", f"{root}/loopback/naa.5001405000000001/tpgt_1"
        os.makedirs(disk)
        write_tree(disk, {"control": "rd_pages=2048", "enable": "1"})
        os.makedirs(f"{port}/lun/lun_0")
        write_tree(port, {"nexus": "naa.5001405000000002"})
        os.symlink(disk, f"{port}/lun/lun_0/mown")
        try:
            move_data(wait_path("/dev/sda"))
        finally:
            os.unlink(f"{port}/lun/lun_0/mown")
            write_tree(port, {"nexus": "NULL"})
            for path in (f"{port}/lun/lun_0", port, os.path.dirname(port), f"{root}/loopback",
                         disk, os.path.dirname(disk)):
                os.rmdir(path)


def use_mtdblock() -> None:
    """Flash in memory as a disk."""
    move_data("/dev/mtdblock0", 512)


DM = ("dmsetup",)
CASES = [
    Case("loop", ("loop",), use_loop, tools=("losetup",)),
    Case("brd", (BRD,), use_brd),
    Case("zram", ("zram",), use_zram, tools=("blkdiscard",)),
    Case("null_blk", ("null_blk gb=1",), use_null_blk),
    Case("scsi_debug", ("sd_mod", "sg", "scsi_debug dev_size_mb=8 delay=0"), use_scsi_debug,
         ("crc64_rocksoft_generic",)),
    Case("nbd", ("nbd nbds_max=2",), use_nbd),
    Case("mtdblock", ("mtdblock", "mtdram total_size=1024 erase_size=64"), use_mtdblock),
    Case("tcm_loop", ("tcm_loop", "sd_mod"), use_target,
         ("target_core_file", "target_core_iblock", "target_core_pscsi", "target_core_user",
          "crc64_rocksoft_generic")),
    Case("dm-crypt", ("dm-crypt", BRD), use_crypt,
         ("xts", "essiv", "aesni_intel"), tools=DM),
    Case("dm-snapshot", ("dm-snapshot", BRD), use_snapshot, tools=DM),
    Case("dm-thin", ("dm-thin-pool", BRD), use_thin, tools=DM),
    Case("dm-cache", ("dm-cache", "dm-cache-smq", BRD), use_cache, tools=DM),
    Case("dm-verity", ("dm-verity", BRD), use_verity, tools=DM),
    Case("dm-integrity", ("dm-integrity", BRD), use_integrity,
         ("crc32c_generic", "crc32c_intel"), tools=DM),
    Case("dm-multipath", ("dm-multipath", "dm-round-robin", BRD), use_multipath, tools=DM),
    Case("small dm targets", ("dm-delay", "dm-flakey", "dm-switch", "dm-unstripe",
                              "dm-log-writes", "dm-writecache", "dm-era", "dm-zero", "dm-mirror",
                              BRD), use_small_targets, tools=DM),
    Case("dm-raid", ("dm-raid", BRD), use_dm_raid, ("raid1", "raid456"), tools=DM),
    Case("md", ("md-mod", *LINEAR, "raid0", "raid1", "raid10", "raid456", BRD), use_md,
         ("crc32c_generic", "crc32c_intel"), tools=("mdadm",)),
]

# It leaves its host behind, and SCSI is of no use after that: Documentation/found/
if kernel_version() >= (6, 19):
    CASES = [case for case in CASES if case.title != "scsi_debug"]

if __name__ == "__main__":
    run_stock(CASES, least=75)
