# SPDX-License-Identifier: GPL-2.0
"""Two hosts and a wire between them, for the tests of network modules under attach."""
import contextlib
import os
import socket
from typing import Iterator

from ksft_mown import LIBC, PATIENCE, wait_for
from stock_modules import in_thread, run

CLONE_NEWNET = 0x40000000
LEFT, RIGHT = "mown-left", "mown-right"


@contextlib.contextmanager
def inside(name: str) -> Iterator[None]:
    """In the network namespace NAME for a while: sockets made here belong there."""
    back = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    there = os.open(f"/run/netns/{name}", os.O_RDONLY)
    assert LIBC.setns(there, CLONE_NEWNET) == 0, "setns"
    try:
        yield
    finally:
        LIBC.setns(back, CLONE_NEWNET)
        os.close(there)
        os.close(back)


def ip(name: str, *lines: str) -> None:
    """Commands of ip in the namespace NAME."""
    run("ip", "-n", name, "-batch", "-", text="\n".join(lines) + "\n")


@contextlib.contextmanager
def hosts(wire: bool = True) -> Iterator[None]:
    """The namespaces LEFT and RIGHT, with a veth pair x0 between: 10.0.0.1 and .2, fd00::."""
    for name in (LEFT, RIGHT):
        run("ip", "netns", "add", name)
    try:
        if wire:
            ip(LEFT, f"link add x0 type veth peer name x0 netns {RIGHT}", "link set lo up")
            for number, name in enumerate((LEFT, RIGHT), 1):
                ip(name, f"addr add 10.0.0.{number}/24 dev x0",
                   f"addr add fd00::{number}/64 dev x0 nodad", "link set x0 up")
        yield
    finally:
        for name in (LEFT, RIGHT):
            run("ip", "netns", "del", name)


def tc(name: str, *lines: str) -> None:
    """Commands of tc in the namespace NAME."""
    run("tc", "-n", name, "-batch", "-", text="\n".join(lines) + "\n")


def sockets(kind: int, left: str, right: str) -> tuple[socket.socket, socket.socket]:
    """A socket at each address, each in its namespace."""
    family = socket.AF_INET6 if ":" in left else socket.AF_INET
    made = []
    for name, address in ((LEFT, left), (RIGHT, right)):
        with inside(name):
            made.append(socket.socket(family, kind))
        made[-1].settimeout(PATIENCE)
        made[-1].bind((address, 0))
    return made[0], made[1]


def datagrams(left: str, right: str) -> None:
    """UDP in both directions, small and large.

    What is lost is sent again: a queue drops what has waited too long, which on a busy
    machine it may have.
    """
    one, two = sockets(socket.SOCK_DGRAM, left, right)

    def arrives(size: int, source: socket.socket, sink: socket.socket) -> bool:
        source.sendto(b"d" * size, sink.getsockname())
        with contextlib.suppress(TimeoutError):
            # One that was sent twice may come late
            while len(sink.recv(65536)) != size:
                pass
            return True
        return False

    with one, two:
        one.settimeout(2)
        two.settimeout(2)
        for size in (10, 1000, 20000):
            for ends in ((one, two), (two, one)):
                assert any(arrives(size, *ends) for _ in range(PATIENCE // 2)), f"{size} bytes"


def stream(left: str, right: str, size: int = 256 << 10) -> None:
    """A TCP connection from LEFT to RIGHT with some data."""
    one, two = sockets(socket.SOCK_STREAM, left, right)
    with one, two:
        two.listen()
        one.connect(two.getsockname())
        link, _ = two.accept()
        with link, in_thread(one.sendall, b"s" * size):
            link.settimeout(PATIENCE)
            count = 0
            while count < size:
                more = link.recv(65536)
                assert more, f"lost after {count} bytes"
                count += len(more)


def reach(left: str, right: str) -> None:
    """Wait until packets pass: links, neighbours and handshakes take some time."""
    one, two = sockets(socket.SOCK_DGRAM, left, right)

    def passes() -> bool:
        # Until there is a route nothing is even sent
        with contextlib.suppress(OSError):
            one.sendto(b"x", two.getsockname())
            two.recv(10)
            return True
        return False

    with one, two:
        two.settimeout(0.3)
        wait_for(passes, f"nothing gets from {left} to {right}")


def talk(left: str = "10.0.0.1", right: str = "10.0.0.2") -> None:
    """Packets of all kinds between the two."""
    reach(left, right)
    datagrams(left, right)
    stream(left, right)
