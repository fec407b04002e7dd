# SPDX-License-Identifier: GPL-2.0
"""What the tests with random operations share: memory, owners, and a run's comparison.

A test has a model of what mown must do, built of Memory and Owner, and a Run that
makes calls and compares both owners' counters with the model's after each step.
"""
import bisect
import os
import random
import re
from collections import OrderedDict, deque
from typing import Callable, Generic, NamedTuple, Optional, Protocol, Sequence, TypeVar

from ksft_mown import (DEBUGFS, Ktap, Ops, case_log, exits, knob, live, ops, quiet_console)

API, DROPIN = "mown_test_ops", "mown_dropin_ops"
SEED = int(os.environ.get("MOWN_SEED", str(random.SystemRandom().getrandbits(32))))

ZERO_SIZE_PTR = 16
QUARANTINE_OBJECTS = 1000
CHECK_LIVE = 1000
READ_LOG = 200		# before it overflows
PHASES = 20		# of a run, each with sizes of its own

COUNTERS = ("allocated", "freed", "live", "live_bytes", "released_elsewhere", "stale",
            "untracked", "untracked_freed", "unknown_frees", "unknown_passed", "double_frees",
            "interior_frees", "mismatched_frees", "foreign_frees", "use_after_frees",
            "quarantined", "quarantined_bytes")

FREES = ("kfree", "kfree", "kfree", "kvfree", "kfree_sensitive", "bitmap_free")


def longs(size: int) -> int:
    """The size of a bitmap or an array of 8-byte items with SIZE bytes at least."""
    return (size + 7) & ~7


# Calls that allocate about SIZE bytes, with the size that they ask for.
Call = tuple[str, tuple[int, ...], int]
ALLOCATIONS: tuple[Callable[[int], Call], ...] = (
    lambda size: ("kmalloc", (size,), size),
    lambda size: ("kmalloc", (size,), size),
    lambda size: ("kzalloc", (size,), size),
    lambda size: ("kmalloc_node", (size,), size),
    lambda size: ("krealloc", (0, size), size),
    lambda size: ("kcalloc", (longs(size) // 8, 8), longs(size)),
    lambda size: ("bitmap_zalloc", (size * 8,), longs(size)),
)
# The same of what is copied. A string takes one byte more than it has characters.
COPIES: tuple[Callable[[int], Call], ...] = (
    lambda size: ("kmemdup", (size,), size),
    lambda size: ("kstrdup", (size - 1,), size),
    lambda size: ("kasprintf", (size - 1,), size),
)
COPY_MAX = 4096


class Bag:
    """Addresses to pick from at random."""

    def __init__(self) -> None:
        self.items: list[int] = []
        self.places: dict[int, int] = {}

    def __len__(self) -> int:
        return len(self.items)

    def add(self, item: int) -> None:
        """Put ITEM in."""
        self.places[item] = len(self.items)
        self.items.append(item)

    def remove(self, item: int) -> None:
        """Take ITEM out."""
        place = self.places.pop(item)
        last = self.items.pop()
        if last != item:
            self.items[place] = last
            self.places[last] = place

    def pick(self, rng: random.Random) -> int:
        """One of them."""
        return self.items[int(rng.random() * len(self.items))]


class Memory:
    """All that is allocated or in quarantine, in order of the address."""

    def __init__(self) -> None:
        self.starts: list[int] = []
        self.ends: dict[int, int] = {}

    def occupy(self, addr: int, usable: int) -> None:
        """The kernel gave memory: none of it may be in use, or in quarantine."""
        place = bisect.bisect_right(self.starts, addr)
        below = self.ends[self.starts[place - 1]] if place else 0
        above = self.starts[place] if place < len(self.starts) else addr + usable
        assert below <= addr and addr + usable <= above, \
            f"{addr:x} is {usable} bytes of which some are in use"
        self.starts.insert(place, addr)
        self.ends[addr] = addr + usable

    def vacate(self, addr: int) -> None:
        """The memory is the kernel's again."""
        del self.starts[bisect.bisect_left(self.starts, addr)]
        del self.ends[addr]

    def inside(self, addr: int) -> Optional[int]:
        """The start of the object, allocated or in quarantine, that ADDR is in."""
        place = bisect.bisect_right(self.starts, addr)
        if place and addr < self.ends[self.starts[place - 1]]:
            return self.starts[place - 1]
        return None


class Object(Protocol):		# pylint: disable=too-few-public-methods
    """What is to be known of any recorded object."""

    @property
    def size(self) -> int:
        """The bytes asked for."""

    @property
    def weight(self) -> int:
        """What it takes in quarantine."""


Obj = TypeVar("Obj", bound=Object)


class Owner(Generic[Obj]):
    """What mown must know of a module."""

    def __init__(self, module: str, refuses_unknown: bool, limit: int) -> None:
        self.module = module
        self.refuses_unknown = refuses_unknown
        self.limit = limit
        self.live: dict[int, Obj] = {}
        self.quarantine: "OrderedDict[int, Obj]" = OrderedDict()
        # The ring: what is taken out of the middle leaves its slot empty.
        self.slots: "deque[Optional[int]]" = deque()
        self.was_full = False
        self.counts = dict.fromkeys(COUNTERS, 0)

    def add(self, addr: int, obj: Obj) -> None:
        """A new object."""
        self.live[addr] = obj
        self.counts["allocated"] += 1
        self.counts["live"] += 1
        self.counts["live_bytes"] += obj.size

    def remove(self, addr: int) -> Obj:
        """The object is live no more."""
        obj = self.live.pop(addr)
        self.counts["live"] -= 1
        self.counts["live_bytes"] -= obj.size
        return obj

    def leave(self, addr: int) -> None:
        """The object is in quarantine no more."""
        self.counts["quarantined"] -= 1
        self.counts["quarantined_bytes"] -= self.quarantine.pop(addr).weight

    def take_out(self, addr: int) -> None:
        """The object leaves quarantine before its turn."""
        self.slots[self.slots.index(addr)] = None
        self.leave(addr)

    def keep(self, addr: int, obj: Obj) -> list[int]:
        """Put a released object into quarantine; the addresses that leave it for that."""
        if obj.weight > self.limit:
            return [addr]
        self.quarantine[addr] = obj
        self.slots.append(addr)
        self.counts["quarantined"] += 1
        self.counts["quarantined_bytes"] += obj.weight
        gone = []
        self.was_full |= len(self.slots) > QUARANTINE_OBJECTS
        while len(self.slots) > QUARANTINE_OBJECTS or \
                self.counts["quarantined_bytes"] > self.limit:
            oldest = self.slots.popleft()
            if oldest is not None:
                self.leave(oldest)
                gone.append(oldest)
        return gone


class Expected(NamedTuple):
    """An object as a live file must show it."""

    address: int
    size: int
    family: str


class Run(Generic[Obj]):
    """A run of random operations, each compared with the model."""

    def __init__(self, rng: random.Random, callers: dict[str, Ops], steps: int,
                 owners: Sequence[Owner[Obj]]) -> None:
        self.rng = rng
        self.phase = max(steps // PHASES, 100)
        self.largest = 256
        self.ops = callers
        self.owners = owners
        self.fds = {name: os.open(f"{DEBUGFS}/{name}/stats", os.O_RDONLY) for name in callers}
        self.last: tuple[object, ...] = ()
        self.formats = {owner.module: self.stats_format(owner) for owner in owners}

    def close(self) -> None:
        """Close mown's files."""
        for fd in self.fds.values():
            os.close(fd)

    def call(self, caller: Owner[Obj], function: str, *numbers: int) -> tuple[int, int]:
        """Call the heap; the pointer it gave, and the number that goes with it."""
        self.last = (caller.module, function, *(hex(number) for number in numbers))
        pointer, usable, _ = self.ops[caller.module].call(function, *numbers)
        return pointer, usable

    def size(self) -> int:
        """Sizes: the small ones often, the large ones when it is their time."""
        return int(self.largest ** self.rng.random())

    def new_phase(self, number: int) -> None:
        """Small ones fill quarantine's slots, large ones its bytes."""
        if number % self.phase == 0:
            self.largest = self.rng.choice((64, 256, 4096, 65536))

    # ---- Comparison ----

    def stats_format(self, owner: Owner[Obj]) -> bytes:
        """The stats file of OWNER as a format for the model's counters.

        To compare the file with that is much faster than to parse it. What the
        model does not know of stays as it is.
        """
        text = os.pread(self.fds[owner.module], 8192, 0).replace(b"%", b"%%")
        regex = "^(" + "|".join(owner.counts) + r") \d+"
        names = [name.decode() for name in re.findall(regex.encode(), text, re.M)]
        assert sorted(names) == sorted(owner.counts), \
            f"the counters of {owner.module} are not the model's: {text.decode()}"
        owner.counts = {name: owner.counts[name] for name in names}
        return re.sub(regex.encode(), rb"\1 %d", text, flags=re.M)

    def check_counters(self, owner: Owner[Obj]) -> None:
        """All counters of OWNER are what the model says."""
        text = os.pread(self.fds[owner.module], 8192, 0)
        if text == self.formats[owner.module] % tuple(owner.counts.values()):
            return
        found = {name.decode(): int(value)
                 for name, value in re.findall(rb"^(\w+) (\d+)", text, re.M)}
        wrong = [f"{name} is {found.get(name)}, the model says {value}"
                 for name, value in owner.counts.items() if found.get(name) != value]
        raise AssertionError(f"{owner.module}: {'; '.join(wrong) or text.decode()}")

    def expected(self, owner: Owner[Obj]) -> set[Expected]:
        """What the live file of OWNER must have."""
        raise NotImplementedError

    def check_live(self, owner: Owner[Obj]) -> None:
        """The live objects of OWNER are the model's."""
        found = {Expected(record.address, record.size, record.family)
                 for record in live(owner.module)}
        expected = self.expected(owner)
        missing, extra = expected - found, found - expected
        assert not missing and not extra, \
            f"{owner.module}: {len(missing)} objects are not in live, {len(extra)} too many: " \
            f"{sorted(missing)[:3]} {sorted(extra)[:3]}"

    def check_all(self) -> None:
        """All that can be compared."""
        for owner in self.owners:
            self.check_counters(owner)
            self.check_live(owner)

    def step(self, number: int) -> None:
        """One operation, and all that must hold after it."""
        raise NotImplementedError

    def finish(self) -> None:
        """Free all there is, by whose it is."""
        raise NotImplementedError


def run(make: "Callable[[random.Random, Ops, Ops], Run[Obj]]", steps: int, limit: int) -> Run[Obj]:
    """STEPS random operations with a quarantine of LIMIT bytes; all is freed then."""
    Ktap.note(f"seed {SEED}, {steps} operations, quarantine_bytes {limit}")
    with quiet_console(), knob("quarantine_bytes", limit), ops(API) as api, \
            ops(DROPIN) as dropin:
        session = make(random.Random(SEED), api, dropin)
        number = 0
        try:
            for number in range(1, steps + 1):
                session.step(number)
                if number % READ_LOG == 0:
                    case_log()
                if number % CHECK_LIVE == 0:
                    session.check_all()
            session.finish()
            session.check_all()
        except AssertionError as error:
            raise AssertionError(f"seed {SEED}, step {number}, {session.last}: {error}") \
                from error
        finally:
            session.close()
    for owner in session.owners:
        Ktap.note(f"{owner.module}: " +
                  ", ".join(f"{key} {value}" for key, value in owner.counts.items()))
    return session


def check_wrong(session: Run[Obj], limit: int, *kinds: str) -> None:
    """Both modules have made each of the wrong frees: else the run has proven nothing.

    KINDS are those that both can make, besides the unknown ones, and the second ones where
    there is a quarantine.
    """
    counts = {owner.module: owner.counts for owner in session.owners}
    expected = [(API, "unknown_frees"), (DROPIN, "unknown_passed")]
    for name in (API, DROPIN):
        expected += [(name, kind) for kind in kinds]
        expected += [(name, "double_frees")] if limit else []
    assert all(counts[name][kind] for name, kind in expected), "too little has happened"


def check_full(session: Run[Obj]) -> None:
    """A quarantine had all the objects that it may have."""
    assert any(owner.was_full for owner in session.owners), "no quarantine's ring was ever full"


def check_exits(session: Run[Obj]) -> None:
    """Both modules went away with all that they had freed."""
    for owner in session.owners:
        block, counts = exits(owner.module)[-1], owner.counts
        elsewhere = counts["released_elsewhere"]
        assert (block.allocated, block.freed, block.elsewhere, block.left, block.reclaimed) == \
            (counts["allocated"], counts["allocated"] - elsewhere, elsewhere, 0, 0), \
            f"{block} of {counts['allocated']} objects, all freed"

