#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""The kernel's own file systems under attach: made, mounted, used, unloaded."""
import contextlib
import os
import socket
import struct
from typing import Iterator

from ksft_mown import Ktap, LIBC, attach, command, violations, write_file
from stock_modules import (PATIENCE, SYSFS, Case, file_text, in_thread, ioctl, mounted, run,
                           run_stock, sparse, work_dir)
from test_stock_block import receive

# ---- Files ----

FILES = 40
BIG = 3 << 20


def write_files(root: str) -> None:
    """Make, fill, grow and flush files and directories."""
    os.makedirs(f"{root}/deep/er/still", exist_ok=True)
    for number in range(FILES):
        with open(f"{root}/deep/file {number}", "wb") as file:
            file.write(b"%d\n" % number * (50 * number + 1))
    with open(f"{root}/big", "wb") as file:
        file.write(os.urandom(4096) * (BIG // 4096))
        os.fsync(file.fileno())
    os.truncate(f"{root}/big", BIG - 5000)


def change_files(root: str) -> None:
    """Rename and remove some, list all."""
    for number in range(0, FILES, 3):
        os.rename(f"{root}/deep/file {number}", f"{root}/deep/er/renamed {number}")
    for number in range(1, FILES, 3):
        os.unlink(f"{root}/deep/file {number}")
    names = [name for _, _, files in os.walk(root) for name in files]
    assert sum(name.startswith("renamed") for name in names) == len(range(0, FILES, 3)), names
    os.statvfs(root)


def link_files(root: str) -> None:
    """What only file systems of Unix know: links, modes, attributes, pipes."""
    os.symlink("big", f"{root}/symlink")
    os.symlink("x" * 200, f"{root}/long symlink")
    os.link(f"{root}/big", f"{root}/hard link")
    os.chmod(f"{root}/big", 0o640)
    os.mkfifo(f"{root}/fifo")
    with contextlib.suppress(OSError):
        os.setxattr(f"{root}/big", "user.mown", b"v" * 500)
        os.removexattr(f"{root}/big", "user.mown")
    os.unlink(f"{root}/hard link")


def check_files(root: str) -> None:
    """What write_files() and change_files() left must be there."""
    assert os.path.getsize(f"{root}/big") == BIG - 5000
    with open(f"{root}/deep/file 2", "rb") as file:
        assert file.read() == b"2\n" * 101
    with open(f"{root}/big", "rb") as file:
        start = file.read(4096)
        assert all(file.read(4096) == start for _ in range(20))


def use_disk(kind: str, mkfs: list[str], mib: int, options: str = "", links: bool = True) -> None:
    """Make a file system in a file, use it, mount it again and look at what is there."""
    with work_dir() as work:
        image = sparse(f"{work}/image", mib)
        run(*mkfs, image)
        with mounted(kind, image, f"{work}/mnt", ",".join(filter(None, ("loop", options)))) as mnt:
            write_files(mnt)
            change_files(mnt)
            if links:
                link_files(mnt)
        with mounted(kind, image, f"{work}/mnt", "loop") as mnt:
            check_files(mnt)


def use_ext4() -> None:
    """ext4 with a journal, and a resize while it is mounted."""
    use_disk("ext4", ["mkfs.ext4", "-q", "-O", "quota"], 64, "data=journal")


def use_xfs() -> None:
    """XFS with all that mkfs.xfs turns on."""
    use_disk("xfs", ["mkfs.xfs", "-q"], 320, "usrquota")


def use_btrfs() -> None:
    """btrfs with compression, and with subvolumes and a snapshot."""
    use_disk("btrfs", ["mkfs.btrfs", "-q"], 128, "compress-force=zstd")
    with work_dir() as work:
        image = sparse(f"{work}/image", 128)
        run("mkfs.btrfs", "-q", image)
        with mounted("btrfs", image, f"{work}/mnt", "loop") as mnt:
            run("btrfs", "subvolume", "create", f"{mnt}/one")
            write_files(f"{mnt}/one")
            run("btrfs", "subvolume", "snapshot", f"{mnt}/one", f"{mnt}/two")
            change_files(f"{mnt}/two")
            run("btrfs", "subvolume", "delete", f"{mnt}/one")
            check_files(f"{mnt}/two")


def use_vfat() -> None:
    """VFAT, which knows no links."""
    use_disk("vfat", ["mkfs.vfat"], 40, "iocharset=ascii", links=False)


def use_minix() -> None:
    """Minix, version 3."""
    use_disk("minix", ["mkfs.minix", "-3"], 32)


def use_squashfs() -> None:
    """A directory packed by mksquashfs, read back."""
    with work_dir() as work:
        os.mkdir(f"{work}/src")
        write_files(f"{work}/src")
        change_files(f"{work}/src")
        run("mksquashfs", f"{work}/src", f"{work}/image", "-quiet", "-no-progress")
        with mounted("squashfs", f"{work}/image", f"{work}/mnt", "loop,ro") as mnt:
            check_files(mnt)
            assert len(os.listdir(f"{mnt}/deep")) == len(os.listdir(f"{work}/src/deep"))


# ---- Modules that are in use all the time ----

def live_overlay() -> None:
    """overlay, attached while the root file system may be on it."""
    write_file(f"{SYSFS}/clear", "1")
    with attach("overlay"), work_dir() as work:
        for name in ("low", "up", "wd"):
            os.mkdir(f"{work}/{name}")
        write_files(f"{work}/low")
        options = f"lowerdir={work}/low,upperdir={work}/up,workdir={work}/wd"
        with mounted("overlay", "overlay", f"{work}/mnt", options) as mnt:
            change_files(mnt)
            link_files(mnt)
            check_files(mnt)
        said = ", ".join(f"{name} {file_text(f'{SYSFS}/modules/overlay/{name}')}"
                         for name in ("allocated", "freed", "released_elsewhere", "stale"))
        Ktap.note(f"overlay: {said}")
        assert int(file_text(f"{SYSFS}/modules/overlay/allocated")) > 0, said
        assert int(file_text(f"{SYSFS}/modules/overlay/stale")) == 0, said
    assert not violations(), violations()


# ---- FUSE, with a file system of our own ----

FUSE_LOOKUP, FUSE_FORGET, FUSE_GETATTR, FUSE_OPEN, FUSE_READ = 1, 2, 3, 14, 15
FUSE_RELEASE, FUSE_INIT, FUSE_OPENDIR, FUSE_RELEASEDIR = 18, 26, 27, 29
FUSE_BATCH_FORGET = 42
ENOSYS, ENOENT = 38, 2
HELLO = b"hello from user space\n" * 100


def fuse_attr(node: int) -> bytes:
    """struct fuse_attr of our directory (node 1) or of our file (node 2)."""
    mode, size = (0o40755, 4096) if node == 1 else (0o100644, len(HELLO))
    return struct.pack("<6Q10I", node, size, 8, 0, 0, 0, 0, 0, 0, mode, 1, 0, 0, 0, 4096, 0)


def fuse_answer(opcode: int, node: int, body: bytes) -> tuple[int, bytes]:
    """The error and the answer to one request."""
    if opcode == FUSE_INIT:
        return 0, struct.pack("<4IHHI", 7, 31, 65536, 0, 8, 4, 65536) + bytes(40)
    if opcode == FUSE_GETATTR:
        return 0, struct.pack("<QII", 1, 0, 0) + fuse_attr(node)
    if opcode == FUSE_LOOKUP:
        if body.rstrip(b"\0") != b"hello":
            return ENOENT, b""
        return 0, struct.pack("<4QII", 2, 1, 1, 1, 0, 0) + fuse_attr(2)
    if opcode in (FUSE_OPEN, FUSE_OPENDIR):
        return 0, struct.pack("<QII", 1, 0, 0)
    if opcode == FUSE_READ:
        offset, size = struct.unpack_from("<QI", body, 8)
        return 0, HELLO[offset:offset + size]
    return (0, b"") if opcode in (FUSE_RELEASE, FUSE_RELEASEDIR) else (ENOSYS, b"")


def fuse_serve(fd: int) -> None:
    """Answer requests until the file system is unmounted."""
    while True:
        try:
            request = os.read(fd, 1 << 17)
        except OSError:
            return
        _, opcode, unique, node = struct.unpack_from("<IIQQ", request)
        if opcode in (FUSE_FORGET, FUSE_BATCH_FORGET):
            continue
        error, answer = fuse_answer(opcode, node, request[40:])
        with contextlib.suppress(OSError):
            os.write(fd, struct.pack("<IiQ", 16 + len(answer), -error, unique) + answer)


@contextlib.contextmanager
def fuse_mounted(where: str) -> Iterator[None]:
    """Our file system, served by a thread."""
    fd = os.open("/dev/fuse", os.O_RDWR)
    options = f"fd={fd},rootmode=40000,user_id=0,group_id=0"
    assert LIBC.mount(b"mown", where.encode(), b"fuse", 0, options.encode()) == 0, "mount fuse"
    with in_thread(fuse_serve, fd):
        try:
            yield
        finally:
            run("umount", where)
    os.close(fd)


def use_fuse() -> None:
    """Look up and read a file, ask for things that are not there."""
    with work_dir() as work, fuse_mounted(work):
        with open(f"{work}/hello", "rb") as file:
            assert file.read() == HELLO
        assert not os.path.exists(f"{work}/nothing")
        for number in range(20):
            os.path.exists(f"{work}/nothing{number}")
            os.stat(f"{work}/hello")
        with contextlib.suppress(OSError):
            os.mkdir(f"{work}/directory")


# ---- Others ----

def use_network_mount(kind: str, source: str, options: str) -> None:
    """There is no server here: a mount that fails is an error path well worth a walk."""
    with work_dir() as work:
        done = command("mount", "-i", "-t", kind, "-o", options, source, work)
        assert done.returncode, f"{kind} has found a server"


def use_nfs() -> None:
    """NFS versions 3 and 4, from a server that refuses the connection."""
    for version in ("3,nolock,mountaddr=127.0.0.1", "4.2"):
        use_network_mount("nfs", "127.0.0.1:/x",
                          f"vers={version},addr=127.0.0.1,proto=tcp,soft,timeo=5,retrans=1")


def use_cifs() -> None:
    """CIFS from a server that refuses the connection."""
    use_network_mount("cifs", "//127.0.0.1/x", "ip=127.0.0.1,user=u,pass=p,unc=\\\\127.0.0.1\\x")


def use_binfmt() -> None:
    """Register an interpreter, run something by it, take it away."""
    where = "/proc/sys/fs/binfmt_misc"
    with work_dir() as work, mounted("binfmt_misc", "none", where):
        write_file(f"{where}/register", ":mown:E::mown::/bin/echo:")
        with open(f"{work}/x.mown", "wb") as file:
            file.write(b"text\n")
        os.chmod(f"{work}/x.mown", 0o755)
        assert run(f"{work}/x.mown", "said").split() == [f"{work}/x.mown", "said"]
        write_file(f"{where}/mown", "-1")


AUTOFS_IOC_CATATONIC = 0x9362


def use_autofs() -> None:
    """An indirect mount point whose daemon has given up: looks fail."""
    with work_dir() as work:
        reader, writer = os.pipe()
        run_mount = f"fd={writer},pgrp={os.getpgrp()},minproto=5,maxproto=5,indirect"
        assert LIBC.mount(b"mown", work.encode(), b"autofs", 0, run_mount.encode()) == 0, "mount"
        try:
            os.mkdir(f"{work}/directory")
            os.rmdir(f"{work}/directory")
            fd = os.open(work, os.O_RDONLY)
            LIBC.ioctl(fd, AUTOFS_IOC_CATATONIC, 0)
            os.close(fd)
            assert not os.path.exists(f"{work}/nothing")
        finally:
            run("umount", work)
            os.close(reader)
            os.close(writer)


UBI_IOCMKVOL = 0x40986f00


def use_mtd() -> None:
    """Flash in memory: UBI with UBIFS on it."""
    name = b"mown"
    request = struct.pack("<iiqbBh4x", -1, 1, 4 << 20, 3, 0, len(name)) + name.ljust(128, b"\0")
    ioctl("/dev/ubi0", UBI_IOCMKVOL, request)
    with work_dir() as work:
        with mounted("ubifs", "ubi0:mown", f"{work}/mnt") as mnt:
            write_small(mnt)
        with mounted("ubifs", "ubi0:mown", f"{work}/mnt") as mnt:
            assert os.path.getsize(f"{mnt}/small 9") == 9000


def write_small(root: str) -> None:
    """For file systems of a few megabytes."""
    for number in range(20):
        with open(f"{root}/small {number}", "wb") as file:
            file.write(os.urandom(1000) * number)
    os.rename(f"{root}/small 1", f"{root}/small 2")
    os.unlink(f"{root}/small 3")


def use_jffs2() -> None:
    """Flash in memory with JFFS2 on it."""
    with work_dir() as work:
        with mounted("jffs2", "mtd0", f"{work}/mnt") as mnt:
            write_small(mnt)
        with mounted("jffs2", "mtd0", f"{work}/mnt") as mnt:
            assert os.path.getsize(f"{mnt}/small 9") == 9000


def rpc_null() -> None:
    """Ask the NFS server whether it is there, and hear that it is."""
    call = struct.pack(">10I", 0x6d6f776e, 0, 2, 100003, 4, 0, 0, 0, 0, 0)
    with socket.create_connection(("127.0.0.1", 2049), timeout=PATIENCE) as link:
        link.sendall(struct.pack(">I", 1 << 31 | len(call)) + call)
        # The mark of a record, and the head of an answer
        answer = receive(link, 28)
    assert answer[4:12] == struct.pack(">II", 0x6d6f776e, 1), answer


def use_nfsd() -> None:
    """A server of version 4 alone; its threads come, answer, and go."""
    with mounted("nfsd", "nfsd", "/proc/fs/nfsd") as where:
        write_file(f"{where}/versions", "-3 +4 +4.1 +4.2\n")
        with socket.create_server(("127.0.0.1", 2049)) as listener:
            write_file(f"{where}/portlist", f"{listener.fileno()}\n")
        write_file(f"{where}/threads", "2\n")
        try:
            rpc_null()
        finally:
            write_file(f"{where}/threads", "0\n")


CASES = [
    Case("ext4", ("ext4", "loop"), use_ext4, ("crc32c_generic", "crc32c_intel", "quota_v2"),
         least=100, tools=("mkfs.ext4",)),
    Case("XFS", ("xfs", "loop"), use_xfs, ("crc32c_generic", "crc32c_intel"), least=100,
         tools=("mkfs.xfs",)),
    Case("btrfs", ("btrfs", "loop"), use_btrfs, ("crc32c_generic", "crc32c_intel"), least=100,
         tools=("mkfs.btrfs", "btrfs")),
    Case("VFAT", ("vfat", "loop"), use_vfat, ("nls_cp437", "nls_ascii"), tools=("mkfs.vfat",)),
    Case("Minix", ("minix", "loop"), use_minix, tools=("mkfs.minix",)),
    Case("SquashFS", ("squashfs", "loop"), use_squashfs, tools=("mksquashfs",)),
    Case("FUSE", ("fuse",), use_fuse),
    Case("NFS, without a server", ("nfs", "nfsv3", "nfsv4"), use_nfs,
         ("auth_rpcgss", "rpcsec_gss_krb5")),
    Case("nfsd, without an export", ("nfsd",), use_nfsd, ("rpcsec_gss_krb5",)),
    Case("CIFS, without a server", ("cifs",), use_cifs, ("nls_utf8",)),
    Case("binfmt_misc", ("binfmt_misc",), use_binfmt),
    Case("autofs", ("autofs4",), use_autofs),
    Case("UBIFS on UBI in memory", ("mtdram total_size=8192 erase_size=64", "ubi mtd=0", "ubifs"),
         use_mtd, ("zstd",)),
    Case("JFFS2 in memory", ("mtdram total_size=2048 erase_size=64", "jffs2", "mtdblock"),
         use_jffs2),
]

if __name__ == "__main__":
    run_stock(CASES, least=45, more=[("overlay, attached while in use", live_overlay)])
