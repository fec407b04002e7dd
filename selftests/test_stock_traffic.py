#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""The kernel's own queues, filters and protocols under attach: used and unloaded."""
import fcntl
import os
import socket
import struct

from stock_hosts import LEFT, RIGHT, datagrams, hosts, inside, ip, reach, talk, tc
from stock_modules import PATIENCE, Case, in_thread, run, run_stock, wait_path

# ---- Queues and filters ----

QDISCS = ("tbf rate 100mbit burst 64k latency 50ms", "netem delay 1ms reorder 10%", "prio",
          "sfq perturb 10", "fq", "fq_codel", "codel", "cake bandwidth 100mbit", "pie", "hhf",
          "choke limit 1000 bandwidth 10mbit", "sfb")


def use_qdiscs() -> None:
    """Each queueing discipline in turn."""
    with hosts():
        reach("10.0.0.1", "10.0.0.2")
        for qdisc in QDISCS:
            tc(LEFT, f"qdisc add dev x0 root handle 1: {qdisc}")
            datagrams("10.0.0.1", "10.0.0.2")
            tc(LEFT, "qdisc del dev x0 root")


def use_classes() -> None:
    """Classes, and filters and actions that choose them."""
    with hosts():
        tc(LEFT, "qdisc add dev x0 root handle 1: htb default 10",
           "class add dev x0 parent 1: classid 1:1 htb rate 100mbit",
           "class add dev x0 parent 1:1 classid 1:10 htb rate 50mbit ceil 100mbit",
           "class add dev x0 parent 1:1 classid 1:20 htb rate 10mbit ceil 100mbit",
           "qdisc add dev x0 parent 1:10 handle 10: fq_codel",
           "filter add dev x0 parent 1: protocol ip u32 match ip protocol 17 0xff flowid 1:20",
           "filter add dev x0 parent 1: protocol ip prio 7 flower ip_proto tcp flowid 1:10",
           "qdisc add dev x0 clsact",
           "filter add dev x0 ingress protocol ip flower src_ip 10.0.0.2 action gact pass",
           "filter add dev x0 egress matchall action police rate 1gbit burst 1m conform-exceed "
           "pass")
        talk()
        tc(LEFT, "qdisc del dev x0 clsact", "qdisc del dev x0 root",
           "qdisc add dev x0 root handle 1: hfsc default 1",
           "class add dev x0 parent 1: classid 1:1 hfsc ls rate 100mbit")
        talk()


RULES = """
table inet mown {
	set blocked { type ipv4_addr; flags interval; elements = { 10.7.0.0/16, 10.9.9.9 } }
	map ports { type inet_service : verdict; elements = { 7 : drop, 9 : drop } }
	counter seen { }
	chain in {
		type filter hook input priority 0; policy accept;
		ct state established counter accept
		ip saddr @blocked drop
		udp dport vmap @ports
		limit rate 5/second counter name seen
		tcp dport 9 reject
	}
	chain through {
		type filter hook forward priority 0
		ct state new counter
	}
}
table ip mownnat {
	chain post {
		type nat hook postrouting priority 100
		ip daddr 10.0.0.2 masquerade
	}
	chain pre {
		type nat hook prerouting priority -100
		tcp dport 81 redirect to :80
	}
}
"""


def use_nft() -> None:
    """Tables with sets, maps, connection tracking and address translation."""
    with hosts():
        for _ in range(2):
            run("ip", "netns", "exec", LEFT, "nft", "-f", "-", text=RULES)
            talk()
            run("ip", "netns", "exec", LEFT, "nft", "list", "ruleset")
            run("ip", "netns", "exec", LEFT, "nft", "flush", "ruleset")
        run("ip", "netns", "exec", LEFT, "nft", "-f", "-", text=RULES)
        talk()


def use_ipsec() -> None:
    """ESP between the two, keys set by hand."""
    key = "aead rfc4106(gcm(aes)) 0x" + "5a" * 20 + " 128"
    with hosts():
        for name, out in ((LEFT, "10.0.0.1 10.0.0.2"), (RIGHT, "10.0.0.2 10.0.0.1")):
            back = " ".join(reversed(out.split()))
            lines = []
            for spi, (source, target), way in ((1 + (name == RIGHT), out.split(), "out"),
                                               (1 + (name == LEFT), back.split(), "in")):
                lines += [f"xfrm state add src {source} dst {target} proto esp spi {spi} {key}",
                          f"xfrm policy add src {source} dst {target} dir {way} tmpl "
                          f"src {source} dst {target} proto esp"]
            ip(name, *lines)
        talk()


# ---- Sockets ----

def use_can() -> None:
    """Frames on a bus that is not there, raw and by the broadcast manager."""
    with hosts(wire=False):
        ip(LEFT, "link add v0 type vcan", "link set v0 up")
        with inside(LEFT):
            one = socket.socket(socket.AF_CAN, socket.SOCK_RAW, socket.CAN_RAW)
            two = socket.socket(socket.AF_CAN, socket.SOCK_RAW, socket.CAN_RAW)
            bcm = socket.socket(socket.AF_CAN, socket.SOCK_DGRAM, socket.CAN_BCM)
            for link in (one, two):
                link.bind(("v0",))
            bcm.connect(("v0",))
        with one, two, bcm:
            two.settimeout(PATIENCE)
            frame = struct.pack("<IB3x8s", 0x123, 8, b"mown can")
            for _ in range(50):
                one.send(frame)
                assert two.recv(16) == frame
            # TX_SETUP with SETTIMER and STARTTIMER: a frame each 20 ms
            bcm.send(struct.pack("<IIi4xqqqqII", 1, 3, 0, 0, 0, 0, 20000, 0x77, 1) + frame)
            assert two.recv(16)


def use_vsock() -> None:
    """A connection of the machine with itself."""
    with socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM) as two, \
            socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM) as one:
        two.bind((socket.VMADDR_CID_ANY, 777))
        two.listen()
        one.connect((1, 777))
        link, _ = two.accept()
        with link, in_thread(one.sendall, b"v" * 200000):
            count = 0
            while count < 200000:
                count += len(link.recv(65536))


def use_tipc() -> None:
    """Messages between two sockets of one node."""
    with socket.socket(socket.AF_TIPC, socket.SOCK_RDM) as two, \
            socket.socket(socket.AF_TIPC, socket.SOCK_RDM) as one:
        two.bind((socket.TIPC_ADDR_NAMESEQ, 18888, 0, 9, socket.TIPC_NODE_SCOPE))
        two.settimeout(PATIENCE)
        for _ in range(20):
            one.sendto(b"tipc", (socket.TIPC_ADDR_NAME, 18888, 5, 0))
            assert two.recv(100) == b"tipc"


SOL_TCP, TCP_ULP, SOL_TLS, TLS_TX, TLS_RX = 6, 31, 282, 1, 2


def use_tls() -> None:
    """The kernel's TLS with keys set by hand."""
    info = struct.pack("<HH", 0x0303, 51) + b"i" * 8 + b"k" * 16 + b"s" * 4 + bytes(8)
    with socket.create_server(("127.0.0.1", 0)) as server, \
            socket.create_connection(server.getsockname()) as one:
        two, _ = server.accept()
        with two:
            for link, way in ((one, TLS_TX), (two, TLS_RX)):
                link.setsockopt(SOL_TCP, TCP_ULP, b"tls")
                link.setsockopt(SOL_TLS, way, info)
            two.settimeout(PATIENCE)
            one.sendall(b"t" * 50000)
            count = 0
            while count < 50000:
                count += len(two.recv(65536))


def use_hwsim() -> None:
    """Two radios that are not there come up, and go."""
    names = sorted(os.listdir("/sys/class/ieee80211"))
    assert len(names) == 2, names
    for number in range(2):
        wait_path(f"/sys/class/net/wlan{number}")
        run("ip", "link", "set", f"wlan{number}", "up")
        run("ip", "link", "set", f"wlan{number}", "down")


PPPIOCNEWUNIT = 0xc004743e


def use_ppp() -> None:
    """A unit of PPP comes and goes."""
    for _ in range(5):
        fd = os.open("/dev/ppp", os.O_RDWR)
        unit = bytearray(struct.pack("<i", -1))
        fcntl.ioctl(fd, PPPIOCNEWUNIT, unit)
        name = f"ppp{struct.unpack('<i', unit)[0]}"
        run("ip", "link", "set", name, "up")
        os.close(fd)


IP = ("ip",)
GCM = ("gcm", "ctr", "ghash_generic", "ghash_clmulni_intel", "aesni_intel")

CASES = [
    Case("queues", ("sch_netem", "sch_tbf", "sch_sfq", "sch_prio", "sch_fq", "sch_fq_codel",
                    "sch_codel", "sch_cake", "sch_choke", "sch_pie", "sch_hhf", "sch_sfb", "veth"),
         use_qdiscs, least=0, tools=("ip", "tc")),
    Case("classes", ("sch_htb", "sch_hfsc", "sch_fq_codel", "sch_ingress", "cls_u32", "cls_flower",
                     "cls_matchall", "act_gact", "act_police", "veth"), use_classes,
         tools=("ip", "tc")),
    Case("nf_tables", ("nf_tables", "nf_conntrack", "nft_ct", "nft_limit", "nft_reject_inet",
                       "nft_masq", "nft_redir", "nft_chain_nat", "veth"), use_nft, ("nft_objref",),
         tools=("ip", "nft")),
    Case("IPsec", ("xfrm_user", "esp4", "veth"), use_ipsec,
         (*GCM, "seqiv", "echainiv", "ansi_cprng"), tools=IP),
    Case("CAN", ("can", "can-raw", "can-bcm", "vcan"), use_can, tools=IP),
    Case("vsock", ("vsock", "vsock_loopback"), use_vsock, least=0),
    Case("TIPC", ("tipc",), use_tipc),
    Case("TLS", ("tls",), use_tls, GCM),
    Case("PPP", ("ppp_generic",), use_ppp, tools=IP),
    Case("mac80211_hwsim", ("mac80211_hwsim radios=2",), use_hwsim, least=0, tools=IP),
]

if __name__ == "__main__":
    run_stock(CASES, least=55)
