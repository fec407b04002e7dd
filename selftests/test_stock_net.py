#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""The kernel's own network devices under attach: made, talked over, unloaded."""
import contextlib
import fcntl
import socket
import struct

from ksft_mown import kernel_version
from stock_hosts import LEFT, RIGHT, hosts, inside, ip, talk, tc
from stock_modules import Case, run, run_stock, work_dir

# From 6.12 on the core has the counters, which are all that some devices' modules had
OWN = 0 if kernel_version() >= (6, 12) else 1

# ---- Links ----

def over_wire(left: str, right: str, version: int = 4) -> None:
    """A device t0 on each host, over the wire, with 10.1.0.1 and .2 or the like of IPv6."""
    with hosts():
        for number, (name, kind) in enumerate(((LEFT, left), (RIGHT, right)), 1):
            address = f"10.1.0.{number}/24" if version == 4 else f"fd01::{number}/64"
            ip(name, f"link add t0 {kind}",
               f"addr add {address} dev t0 {'nodad' if version == 6 else ''}", "link set t0 up")
        if version == 4:
            talk("10.1.0.1", "10.1.0.2")
        else:
            talk("fd01::1", "fd01::2")


def tunnel(kind: str, options: str = "", version: int = 4, outer: int = 4) -> None:
    """A tunnel with the wire's addresses as its ends."""
    ends = ("10.0.0.1", "10.0.0.2") if outer == 4 else ("fd00::1", "fd00::2")
    over_wire(f"type {kind} {options} local {ends[0]} remote {ends[1]}",
              f"type {kind} {options} local {ends[1]} remote {ends[0]}", version)


def use_veth() -> None:
    """The wire alone."""
    with hosts():
        talk()
        talk("fd00::1", "fd00::2")


def use_vxlan() -> None:
    """VXLAN, over IPv4 and IPv6."""
    tunnel("vxlan", "id 7 dstport 4789")
    tunnel("vxlan", "id 7 dstport 4789 dev x0", outer=6)


def use_gre() -> None:
    """GRE, with packets and with frames."""
    tunnel("gre")
    tunnel("gretap", "key 5")


def use_geneve() -> None:
    """Geneve knows no local address."""
    over_wire("type geneve id 7 remote 10.0.0.2", "type geneve id 7 remote 10.0.0.1")


def use_sit() -> None:
    """IPv6 in IPv4."""
    tunnel("sit", version=6)


def use_wireguard() -> None:
    """Two peers."""
    private = [run("wg", "genkey").strip() for _ in range(2)]
    public = [run("wg", "pubkey", text=f"{key}\n").strip() for key in private]
    with hosts(), work_dir() as work:
        for number, name in enumerate((LEFT, RIGHT)):
            with open(f"{work}/key", "w", encoding="ascii") as file:
                file.write(private[number])
            ip(name, "link add t0 type wireguard")
            run("ip", "netns", "exec", name, "wg", "set", "t0", "listen-port", "5555",
                "private-key", f"{work}/key", "peer", public[1 - number], "allowed-ips",
                "10.1.0.0/24", "endpoint", f"10.0.0.{2 - number}:5555")
            ip(name, f"addr add 10.1.0.{number + 1}/24 dev t0", "link set t0 up")
        talk("10.1.0.1", "10.1.0.2")


def use_macsec() -> None:
    """Encrypted frames, keys set by hand."""
    with hosts():
        macs = [mac_of(name) for name in (LEFT, RIGHT)]
        for number, name in enumerate((LEFT, RIGHT)):
            ip(name, "link add link x0 t0 type macsec encrypt on")
            key = ["a" * 32, "b" * 32]
            ip_macsec(name, "add", "t0", "tx", "sa", "0", "pn", "1", "on", "key", "00", key[number])
            ip_macsec(name, "add", "t0", "rx", "port", "1", "address", macs[1 - number])
            ip_macsec(name, "add", "t0", "rx", "port", "1", "address", macs[1 - number],
                      "sa", "0", "pn", "1", "on", "key", "01", key[1 - number])
            ip(name, f"addr add 10.1.0.{number + 1}/24 dev t0", "link set t0 up")
        talk("10.1.0.1", "10.1.0.2")


def ip_macsec(name: str, *words: str) -> None:
    """One command of ip macsec."""
    run("ip", "-n", name, "macsec", *words)


def mac_of(name: str) -> str:
    """The wire's address at one end."""
    return run("ip", "-n", name, "-o", "link", "show", "x0").split("link/ether ")[1].split()[0]


def use_bridge() -> None:
    """A bridge with VLANs and multicast between the wire and a port of its own."""
    with hosts():
        ip(LEFT, "addr flush dev x0", "link add t0 type bridge stp_state 1 forward_delay 200 "
           "vlan_filtering 1", "link set x0 master t0", "link add d0 type dummy",
           "link set d0 master t0", "link set d0 up", "addr add 10.0.0.1/24 dev t0",
           "link set t0 type bridge stp_state 0", "link set t0 up")
        run("bridge", "-n", LEFT, "vlan", "add", "dev", "d0", "vid", "10-20")
        run("bridge", "-n", LEFT, "fdb", "add", "02:00:00:00:00:07", "dev", "d0", "master")
        talk()


def over_ports(kind: str) -> None:
    """A device of this KIND over the wire and a dummy, which gets the wire's address."""
    with hosts():
        ip(LEFT, f"link add t0 type {kind}", "link set x0 down", "link set x0 master t0",
           "link add d0 type dummy", "link set d0 master t0", "link set t0 up",
           "link set d0 up", "addr flush dev x0", "addr add 10.0.0.1/24 dev t0")
        talk()


def use_bonding() -> None:
    """An active backup, and the same packets by both ports."""
    over_ports("bond mode active-backup miimon 50")
    over_ports("bond mode broadcast miimon 50")


def on_top(kind: str, right: str = "") -> None:
    """A device t0 of this KIND on top of the wire."""
    with hosts():
        ip(LEFT, f"link add link x0 name t0 {kind}", "addr add 10.1.0.1/24 dev t0",
           "link set t0 up")
        ip(RIGHT, *([f"link add link x0 name t0 {right}", "link set t0 up"] if right else []),
           f"addr add 10.1.0.2/24 dev {'t0' if right else 'x0'}")
        talk("10.1.0.1", "10.1.0.2")


def use_upper_devices() -> None:
    """What sits on top of another device."""
    on_top("type macvlan mode bridge")
    on_top("type ipvlan mode l2")
    on_top("type vlan id 7", "type vlan id 7")
    with hosts():
        ip(LEFT, "link add link x0 name tap0 type macvtap", "link set tap0 up")
        talk()


def use_monitors() -> None:
    """Devices that only swallow or turn round."""
    with hosts():
        ip(LEFT, "link add n0 type nlmon", "link set n0 up", "link add i0 type ifb",
           "link set i0 up", "link add d0 type dummy", "link set d0 up",
           "addr add 10.9.0.1/24 dev d0")
        tc(LEFT, "qdisc add dev x0 handle ffff: ingress",
           "filter add dev x0 parent ffff: protocol all u32 match u32 0 0 "
           "action mirred egress redirect dev i0")
        talk()


TUNSETIFF, IFF_TUN, IFF_TAP, IFF_NO_PI = 0x400454ca, 1, 2, 0x1000


def one_tun(kind: int) -> None:
    """A device whose packets we read, and which gets one of ours."""
    with inside(LEFT), open("/dev/net/tun", "r+b", buffering=0) as tun, \
            socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        fcntl.ioctl(tun, TUNSETIFF, struct.pack("16sH22x", b"t0", kind | IFF_NO_PI))
        ip(LEFT, "addr add 10.2.0.1/24 dev t0", "link set t0 up")
        if kind == IFF_TAP:
            ip(LEFT, "neigh replace 10.2.0.2 dev t0 lladdr 02:00:00:00:00:02")
        sender.sendto(b"find me", ("10.2.0.2", 9))
        while b"find me" not in tun.read(4096):
            pass
        with contextlib.suppress(OSError):
            tun.write(bytes(60))


def use_tun() -> None:
    """Packets and frames."""
    with hosts(wire=False):
        for kind in (IFF_TUN, IFF_TAP):
            one_tun(kind)


def use_batman() -> None:
    """A mesh of two, who get to know each other: packets pass after some time."""
    with hosts():
        for number, name in enumerate((LEFT, RIGHT), 1):
            ip(name, "link add t0 type batadv", "link set x0 master t0", "link set t0 up",
               f"addr add 10.1.0.{number}/24 dev t0")
        talk("10.1.0.1", "10.1.0.2")


def use_l2tp() -> None:
    """A tunnel with one session that carries frames."""
    with hosts():
        for number, name in enumerate((LEFT, RIGHT), 1):
            run("ip", "-n", name, "l2tp", "add", "tunnel", "tunnel_id", "1", "peer_tunnel_id",
                "1", "encap", "udp", "local", f"10.0.0.{number}", "remote",
                f"10.0.0.{3 - number}", "udp_sport", "1701", "udp_dport", "1701")
            run("ip", "-n", name, "l2tp", "add", "session", "name", "t0", "tunnel_id", "1",
                "session_id", "1", "peer_session_id", "1")
            ip(name, f"addr add 10.1.0.{number}/24 dev t0", "link set t0 up")
        talk("10.1.0.1", "10.1.0.2")


IP = ("ip",)
GCM = ("gcm", "ctr", "ghash_generic", "ghash_clmulni_intel", "aesni_intel")

CASES = [
    Case("veth", ("veth",), use_veth, tools=IP),
    Case("tun", ("tun",), use_tun, tools=IP),
    Case("bridge", ("bridge", "veth", "dummy"), use_bridge, tools=("ip", "bridge")),
    Case("bonding", ("bonding", "veth", "dummy"), use_bonding, tools=IP),
    Case("macvlan and others", ("macvlan", "ipvlan", "8021q", "macvtap", "veth"),
         use_upper_devices, tools=IP),
    Case("vxlan", ("vxlan", "veth"), use_vxlan, tools=IP),
    Case("geneve", ("geneve", "veth"), use_geneve, tools=IP),
    Case("gre", ("ip_gre", "veth"), use_gre, least=0, tools=IP),
    Case("ipip", ("ipip", "veth"), lambda: tunnel("ipip"), least=0, tools=IP),
    Case("sit", ("sit", "veth"), use_sit, least=OWN, tools=IP),
    Case("ip6_tunnel", ("ip6_tunnel", "veth"), lambda: tunnel("ip6tnl", "mode any", outer=6),
         least=OWN, tools=IP),
    Case("wireguard", ("wireguard", "veth"), use_wireguard, tools=("ip", "wg")),
    Case("macsec", ("macsec", "veth"), use_macsec, GCM, tools=IP),
    Case("l2tp", ("l2tp_eth", "veth"), use_l2tp, least=0, tools=IP),
    Case("batman-adv", ("batman-adv", "veth"), use_batman, tools=IP),
    Case("nlmon, ifb, dummy", ("nlmon", "ifb numifbs=0", "dummy numdummies=0", "sch_ingress",
                               "cls_u32", "act_mirred", "veth"), use_monitors, least=OWN,
         tools=("ip", "tc")),
]

if __name__ == "__main__":
    run_stock(CASES, least=45)
