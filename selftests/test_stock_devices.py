#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""The kernel's own media, sound, USB, crypto and test modules under attach."""
import contextlib
import fcntl
import glob
import os
import socket
import struct
import termios
import tty
from typing import Iterator

from ksft_mown import command, read_file, wait_for, write_file
from stock_modules import (Case, configfs, in_thread, ioctl, run_stock, wait_path,
                           with_dependencies, work_dir, write_tree)

# ---- Sound ----


def use_pcm() -> None:
    """Play and record by the old interface, which converts by the new one."""
    wait_path("/dev/snd/controlC0")
    with open("/dev/dsp", "wb", buffering=0) as dsp:
        for _ in range(4):
            dsp.write(bytes(4096))
    with open("/dev/dsp", "rb", buffering=0) as dsp:
        assert dsp.read(4096)
    assert b"Dummy" in ioctl("/dev/snd/controlC0", 0x81785501, bytes(376))


def use_loopback() -> None:
    """What one device plays the other records."""
    with open("/dev/dsp", "wb", buffering=0) as player, \
            open("/dev/adsp", "rb", buffering=0) as recorder:
        with in_thread(player.write, b"\x80" * 8192):
            assert recorder.read(1024)


def use_midi() -> None:
    """A note goes through a MIDI port, the sequencer sees to it."""
    port = wait_path("/dev/snd/midiC0D0")
    fd = os.open(port, os.O_RDWR | os.O_NONBLOCK)
    seq = os.open("/dev/snd/seq", os.O_RDWR | os.O_NONBLOCK)
    for _ in range(10):
        os.write(fd, bytes((0x90, 60, 100, 0x80, 60, 0)))
    # An event for all who listen to us: none
    event = struct.pack("<BBBBIIBBBB", 6, 0, 0, 253, 0, 0, 0, 0, 254, 253) + bytes(12)
    with contextlib.suppress(OSError):
        os.write(seq, event)
    os.close(seq)
    os.close(fd)


# ---- Video ----

VIDIOC_QUERYCAP, VIDIOC_ENUMINPUT = 0x80685600, 0xc050561a


def use_vivid() -> None:
    """Ask what it can do, read some frames of the picture."""
    video = wait_path("/dev/video0")
    assert ioctl(video, VIDIOC_QUERYCAP, bytes(104)).startswith(b"vivid")
    ioctl(video, VIDIOC_ENUMINPUT, bytes(80))
    with open(video, "rb", buffering=0) as file:
        for _ in range(2):
            assert len(file.read(1 << 20)) > 1000
    with open(wait_path("/dev/video1"), "wb", buffering=0) as file, \
            contextlib.suppress(OSError):
        file.write(bytes(1 << 16))


# ---- USB ----

@contextlib.contextmanager
def raw(path: str) -> Iterator[int]:
    """A terminal that passes everything as it is."""
    fd = os.open(path, os.O_RDWR | os.O_NOCTTY)
    try:
        tty.setraw(fd)
        os.set_blocking(fd, False)
        yield fd
    finally:
        with contextlib.suppress(termios.error):
            termios.tcflush(fd, termios.TCIOFLUSH)
        os.close(fd)


def talk_serial() -> None:
    """The gadget's line and the host's are two ends of one."""
    with raw(wait_path("/dev/ttyGS0")) as gadget, raw(wait_path("/dev/ttyACM0")) as host:
        for source, sink in ((gadget, host), (host, gadget)):
            got = b""

            def arrived() -> bool:
                nonlocal got
                with contextlib.suppress(BlockingIOError):
                    got += os.read(sink, 4096)
                return b"mown" in got

            os.write(source, b"mown says this\n" * 20)
            wait_for(arrived, "the words on the line")


def use_dummy_hcd() -> None:
    """A host and a device in one: a serial line."""
    talk_serial()


def use_mass_storage() -> None:
    """A USB stick made of a file."""
    with work_dir() as work, configfs() as root:
        with open(f"{work}/image", "wb") as file:
            file.truncate(2 << 20)
        gadget = f"{root}/usb_gadget/mown"
        for path in (gadget, f"{gadget}/functions/mass_storage.0", f"{gadget}/configs/c.1"):
            os.mkdir(path)
        os.symlink(f"{gadget}/functions/mass_storage.0", f"{gadget}/configs/c.1/f")
        write_tree(gadget, {"idVendor": "0x1d6b", "idProduct": "0x0104",
                            "functions/mass_storage.0/lun.0/file": f"{work}/image",
                            "UDC": os.listdir("/sys/class/udc")[0]})
        try:
            with open(wait_path("/dev/sda"), "r+b") as disk:
                disk.write(b"stick" * 100000)
        finally:
            write_tree(gadget, {"UDC": "\n"})
            os.unlink(f"{gadget}/configs/c.1/f")
            for path in (f"{gadget}/configs/c.1", f"{gadget}/functions/mass_storage.0", gadget):
                os.rmdir(path)


# A transfer that is done waits in tx_queue for the thread that sends the answer. When the
# line is cut the thread ends at once, and stop_activity() frees urb_queue alone: what still
# waits (v_enqueue_ret_submit) is lost with its URB and buffers. It takes a race.
VUDC_LEAK = {(module, function): "usbip_vudc forgets its tx_queue when the line is cut"
             for module, function in (("usbip_vudc", "v_enqueue_ret_submit"),
                                      ("usbip_vudc", "alloc_urbp"), ("usbip_vudc", "v_rx_loop"),
                                      ("usbcore", "usb_alloc_urb"))}


def use_usbip() -> None:
    """A gadget of ours, brought to a host controller of ours by a socket."""
    one, two = socket.socketpair()
    vudc, vhci = "/sys/devices/platform/usbip-vudc.0", "/sys/devices/platform/vhci_hcd.0"
    with one, two:
        write_file(f"{vudc}/usbip_sockfd", f"{one.fileno()}\n")
        write_file(f"{vhci}/attach", f"0 {two.fileno()} 65538 3\n")
    try:
        wait_path("/dev/ttyACM0")
    finally:
        write_file(f"{vhci}/detach", "0\n")
        with contextlib.suppress(OSError):
            write_file(f"{vudc}/usbip_sockfd", "-1\n")
        wait_for(lambda: not os.path.exists("/dev/ttyACM0"), "the device to go")


# ---- Input and buses ----

UI_DEV_SETUP, UI_DEV_CREATE, UI_DEV_DESTROY = 0x405c5503, 0x5501, 0x5502
UI_SET_EVBIT, UI_SET_KEYBIT = 0x40045564, 0x40045565


def use_uinput() -> None:
    """A keyboard with one key, which is pressed and seen."""
    with open("/dev/uinput", "r+b", buffering=0) as keyboard:
        fcntl.ioctl(keyboard, UI_SET_EVBIT, 1)
        fcntl.ioctl(keyboard, UI_SET_KEYBIT, 30)
        fcntl.ioctl(keyboard, UI_DEV_SETUP, struct.pack("<HHHH80sI", 3, 1, 1, 1, b"mown", 0))
        before = set(glob.glob("/dev/input/event*"))
        fcntl.ioctl(keyboard, UI_DEV_CREATE)
        wait_for(lambda: set(glob.glob("/dev/input/event*")) - before, "the keyboard")
        path = (set(glob.glob("/dev/input/event*")) - before).pop()
        with open(path, "rb", buffering=0) as events:
            for value in (1, 0):
                keyboard.write(struct.pack("<qqHHi", 0, 0, 1, 30, value) +
                               struct.pack("<qqHHi", 0, 0, 0, 0, 0))
                assert struct.unpack_from("<HHi", events.read(48), 16) == (1, 30, value)
        fcntl.ioctl(keyboard, UI_DEV_DESTROY)


UHID_DESTROY, UHID_START, UHID_CREATE2, UHID_INPUT2 = 1, 2, 11, 12
# A mouse with three buttons and two axes
MOUSE = bytes.fromhex("05010902a1010901a1000509190129031500250195037501810295017505810305010930"
                      "09311581257f750895028106c0c0")


def use_uhid() -> None:
    """A mouse that a program plays."""
    with open("/dev/uhid", "r+b", buffering=0) as mouse:
        mouse.write(struct.pack("<I128s64s64sHHIIII", UHID_CREATE2, b"mown", b"", b"", len(MOUSE),
                                3, 1, 1, 1, 0) + MOUSE.ljust(4096, b"\0"))
        assert struct.unpack_from("<I", mouse.read(8192))[0] == UHID_START
        for step in range(20):
            mouse.write(struct.pack("<IH3B", UHID_INPUT2, 3, 0, step, 1))
        mouse.write(struct.pack("<I", UHID_DESTROY))


def use_i2c() -> None:
    """A memory chip on a bus that answers from memory."""
    bus = next(path for path in glob.glob("/sys/bus/i2c/devices/i2c-*")
               if "stub" in read_file(f"{path}/name"))
    write_file(f"{bus}/new_device", "24c02 0x50\n")
    chip = f"{bus}/{os.path.basename(bus)[4:]}-0050/eeprom"
    with open(chip, "r+b", buffering=0) as file:
        file.write(b"mown was here")
        file.seek(0)
        assert file.read(13) == b"mown was here"
    with open(f"/dev/{os.path.basename(bus)}", "r+b", buffering=0) as device:
        fcntl.ioctl(device, 0x0706, 0x50)
    write_file(f"{bus}/delete_device", "0x50\n")


def use_softdog() -> None:
    """A watchdog is petted, and told to lie down."""
    dog = sorted(glob.glob("/dev/watchdog[0-9]"))[-1]
    with open(dog, "wb", buffering=0) as file:
        file.write(b".")
        file.write(b"V")


# ---- Crypto ----

def digest(name: str, key: bytes = b"") -> bytes:
    """What a hash of the kernel says of some data."""
    with socket.socket(socket.AF_ALG, socket.SOCK_SEQPACKET) as alg:
        alg.bind(("hash", name))
        if key:
            alg.setsockopt(socket.SOL_ALG, socket.ALG_SET_KEY, key)
        link, _ = alg.accept()
        with link:
            for _ in range(4):
                link.send(b"some data" * 500, socket.MSG_MORE)
            link.send(b"")
            return link.recv(512)


def encrypt(name: str, key: bytes, vector: bytes, data: bytes, decrypt: bool = False) -> bytes:
    """The data, by a cipher of the kernel."""
    with socket.socket(socket.AF_ALG, socket.SOCK_SEQPACKET) as alg:
        try:
            alg.bind(("skcipher", name))
        except OSError as error:
            raise AssertionError(f"no {name}: {error}") from error
        alg.setsockopt(socket.SOL_ALG, socket.ALG_SET_KEY, key)
        link, _ = alg.accept()
        with link:
            way = socket.ALG_OP_DECRYPT if decrypt else socket.ALG_OP_ENCRYPT
            link.sendmsg_afalg([data], op=way, **({"iv": vector} if vector else {}))
            return link.recv(len(data))


HASHES = ("wp512-generic", "rmd160-generic", "md4-generic", "streebog512-generic",
          "blake2b-512-generic", "xxhash64-generic", "crc32-generic", "michael_mic-generic")
HASH_MODULES = ("wp512", "rmd160", "md4", "streebog_generic", "blake2b_generic",
                "xxhash_generic", "crc32_generic", "michael_mic")
CIPHERS = (("ecb(twofish-generic)", 32, 0), ("cbc(serpent-generic)", 32, 16),
           ("ctr(blowfish-generic)", 16, 8), ("ecb(camellia-generic)", 32, 0),
           ("xts(twofish)", 64, 16), ("cbc(cast5-generic)", 16, 8),
           ("lrw(cast6)", 32, 16), ("pcbc(fcrypt-generic)", 8, 8),
           ("cbc(des3_ede-generic)", 24, 8), ("adiantum(xchacha12,aes)", 32, 32))
CIPHER_MODULES = ("twofish_generic", "serpent_generic", "blowfish_generic", "camellia_generic",
                  "cast5_generic", "cast6_generic", "fcrypt", "des_generic", "ecb", "xts", "lrw",
                  "pcbc", "adiantum")


def use_hashes() -> None:
    """Hashes, with a key where they need one."""
    keys = {"crc32-generic": b"k" * 4, "michael_mic-generic": b"k" * 8}
    for name in HASHES:
        assert digest(name, keys.get(name, b"")), name


def use_ciphers() -> None:
    """Ciphers: what is encrypted comes back."""
    data = bytes(range(256)) * 8
    for name, key_size, vector_size in CIPHERS:
        key, vector = bytes(range(1, key_size + 1)), b"v" * vector_size
        secret = encrypt(name, key, vector, data)
        assert secret != data and encrypt(name, key, vector, secret, True) == data, name


def use_aead() -> None:
    """Ciphers with a tag."""
    for name, key in (("gcm(aes)", 16), ("ccm(aes)", 16), ("rfc7539(chacha20,poly1305)", 32)):
        with socket.socket(socket.AF_ALG, socket.SOCK_SEQPACKET) as alg:
            alg.bind(("aead", name))
            alg.setsockopt(socket.SOL_ALG, socket.ALG_SET_KEY, b"k" * key)
            alg.setsockopt(socket.SOL_ALG, socket.ALG_SET_AEAD_AUTHSIZE, None, 16)
            link, _ = alg.accept()
            with link:
                vector = b"\1" * 16 if name.startswith("ccm") else b"v" * 12
                link.sendmsg_afalg([b"head" * 4, b"data" * 100], op=socket.ALG_OP_ENCRYPT,
                                   iv=vector, assoclen=16)
                # To ask for more would be to wait for more
                assert len(link.recv(16 + 400 + 16)) == 16 + 400 + 16, name


def use_random() -> None:
    """The kernel's generators of random bytes."""
    with socket.socket(socket.AF_ALG, socket.SOCK_SEQPACKET) as alg:
        alg.bind(("rng", "ansi_cprng"))
        alg.setsockopt(socket.SOL_ALG, socket.ALG_SET_KEY, bytes(range(48)))
        link, _ = alg.accept()
        with link:
            assert len(link.recv(64)) == 64


# ---- Test modules ----

def use_firmware() -> None:
    """Have a file loaded as firmware, in each way that the module offers."""
    device, search = "/sys/devices/virtual/misc/test_firmware", \
        "/sys/module/firmware_class/parameters/path"
    with work_dir() as work:
        with open(f"{work}/mown.bin", "wb") as file:
            file.write(b"firmware" * 1000)
        before = read_file(search).strip()
        write_file(search, work)
        try:
            for knob in ("trigger_request", "trigger_async_request"):
                write_file(f"{device}/{knob}", "mown.bin")
                with open("/dev/test_firmware", "rb") as got:
                    assert got.read() == b"firmware" * 1000
            with contextlib.suppress(OSError):
                write_file(f"{device}/trigger_request", "nothing.bin")
            write_file(f"{device}/config_name", "mown.bin")
            write_file(f"{device}/trigger_batched_requests", "1")
            write_file(f"{device}/release_all_firmware", "1")
            write_file(f"{device}/reset", "1")
        finally:
            # One byte at least must be written
            write_file(search, before or "\0")


def use_failed_load() -> None:
    """A module whose init tests ciphers, and then fails on purpose."""
    # Or a kernel without it would pass
    with_dependencies(["tcrypt"])
    assert command("modprobe", "tcrypt", "mode=10").returncode, "tcrypt has been loaded"


def no_use() -> None:
    """What the module does when it is loaded is all."""


GCM = ("ctr", "ghash_generic", "ghash_clmulni_intel", "aesni_intel")

CASES = [
    Case("snd-dummy", ("snd-dummy", "snd-pcm-oss", "snd-mixer-oss"), use_pcm),
    Case("snd-aloop", ("snd-aloop", "snd-pcm-oss"), use_loopback),
    Case("snd-virmidi", ("snd-virmidi", "snd-seq-dummy", "snd-seq-midi"), use_midi,
         least=0),
    Case("vivid", ("vivid n_devs=1",), use_vivid, least=5),
    Case("dummy_hcd with g_serial", ("dummy_hcd", "cdc-acm", "g_serial"), use_dummy_hcd,
         ("usb_f_acm",)),
    Case("dummy_hcd with a USB stick", ("dummy_hcd", "libcomposite", "usb_f_mass_storage",
                                        "usb-storage", "sd_mod"), use_mass_storage,
         ("crc64_rocksoft_generic",)),
    Case("usbip", ("vhci-hcd", "usbip-vudc", "cdc-acm", "g_serial"), use_usbip,
         ("usb_f_acm",), known=VUDC_LEAK),
    Case("uinput", ("uinput", "evdev"), use_uinput),
    Case("uhid", ("uhid", "hid-generic"), use_uhid),
    Case("i2c-stub", ("i2c-stub chip_addr=0x50", "i2c-dev", "at24"), use_i2c, least=0),
    Case("softdog", ("softdog",), use_softdog, least=0),
    Case("hashes", ("algif_hash", *HASH_MODULES), use_hashes),
    Case("ciphers", ("algif_skcipher", *CIPHER_MODULES), use_ciphers,
         ("cast6_avx_x86_64", "chacha_x86_64", "chacha_generic", "nhpoly1305_avx2",
          "nhpoly1305_sse2", "twofish_avx_x86_64", "ctr")),
    Case("AEAD", ("algif_aead", "gcm", "ccm", "chacha20poly1305"), use_aead,
         ("algif_skcipher", *GCM, "chacha_x86_64", "chacha_generic",
          "poly1305_x86_64", "poly1305_generic")),
    Case("random numbers", ("algif_rng", "ansi_cprng"), use_random),
    Case("test_firmware", ("test_firmware",), use_firmware),
    Case("test_user_copy", ("test_user_copy",), no_use),
    Case("test_static_keys", ("test_static_key_base", "test_static_keys"), no_use, least=0),
    Case("tcrypt fails to load", ("ecb", "cbc"), use_failed_load,
         ("tcrypt", "aesni_intel", "ctr", "cfb", "lrw", "ofb"), least=0),
]

if __name__ == "__main__":
    run_stock(CASES, least=115)
