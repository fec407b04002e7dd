#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Random operations agree with a model of the heap, step by step.

Two modules, one of the API and one of the drop-in, allocate, free, resize,
free twice, free the middle of an object, free each other's memory and memory
that nobody recorded. A model says after every step what the call must have
given and what both owners' counters must be, and every thousand steps which
objects live. MOWN_SEED repeats a run, MOWN_OPS sets its length, MOWN_OPS_LESS
that of those with little quarantine and without any.
"""
import bisect
import os
import random
import re
from collections import OrderedDict, deque
from typing import Callable, NamedTuple, Optional, Sequence

from ksft_mown import (DEBUGFS, SYSFS, Ktap, Ops, case_log, exits, knob, live, ops, quiet_console,
                       read_file, run_cases)

API, DROPIN = "mown_test_ops", "mown_dropin_ops"
STEPS = int(os.environ.get("MOWN_OPS", "100000"))
STEPS_LESS = int(os.environ.get("MOWN_OPS_LESS", str(STEPS // 20)))
SEED = int(os.environ.get("MOWN_SEED", str(random.SystemRandom().getrandbits(32))))

ZERO_SIZE_PTR = 16
QUARANTINE_OBJECTS = 1000
MAX_LIVE = 600		# of each module: enough to fill pages of every size class
MAX_RAW = 20
RELEASED = 3000		# released addresses to free again: beyond what quarantine holds
PHASES = 20		# of a run, each with sizes of its own
CHECK_LIVE = 1000
READ_LOG = 200		# before it overflows

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


class Object(NamedTuple):
    """A recorded object: the bytes asked for, and what it takes in memory."""

    size: int
    usable: int


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


class Owner:
    """What mown must know of a module."""

    def __init__(self, module: str, refuses_unknown: bool, limit: int) -> None:
        self.module = module
        self.refuses_unknown = refuses_unknown
        self.limit = limit
        self.live: dict[int, Object] = {}
        self.bag = Bag()
        self.quarantine: "OrderedDict[int, Object]" = OrderedDict()
        self.counts = dict.fromkeys(
            ("allocated", "freed", "live", "live_bytes", "released_elsewhere", "stale",
             "untracked", "untracked_freed", "unknown_frees", "unknown_passed", "double_frees",
             "interior_frees", "foreign_frees", "quarantined", "quarantined_bytes"), 0)


class Model:
    """What mown must do: no more than its documentation says."""

    def __init__(self, limit: int) -> None:
        self.api = Owner(API, True, limit)
        self.dropin = Owner(DROPIN, False, limit)
        self.owners = (self.api, self.dropin)
        self.raw = Bag()
        self.foreign = False	# a step concerned the other module's object
        # All that is allocated or in quarantine, in order of the address.
        self.starts: list[int] = []
        self.ends: dict[int, int] = {}
        # What went back to the kernel or will, for freeing it again.
        self.released: "deque[int]" = deque(maxlen=RELEASED)

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

    def alloc(self, owner: Owner, addr: int, size: int, usable: int) -> None:
        """OWNER's call gave an object."""
        assert usable >= size > 0, f"{usable} bytes for {size}"
        self.occupy(addr, usable)
        owner.live[addr] = Object(size, usable)
        owner.bag.add(addr)
        owner.counts["allocated"] += 1
        owner.counts["live"] += 1
        owner.counts["live_bytes"] += size

    def other(self, owner: Owner) -> Owner:
        """The owner that is not OWNER."""
        return self.dropin if owner is self.api else self.api

    def holder(self, caller: Owner, addr: int) -> Optional[Owner]:
        """Who has a live object at ADDR: foreign memory may be freed."""
        if addr in caller.live:
            return caller
        other = self.other(caller)
        return other if addr in other.live else None

    def release(self, caller: Owner, owner: Owner, addr: int) -> None:
        """A right free of OWNER's object: into its quarantine, if it fits."""
        obj = owner.live.pop(addr)
        owner.bag.remove(addr)
        counts = owner.counts
        counts["freed"] += 1
        counts["live"] -= 1
        counts["live_bytes"] -= obj.size
        if caller is not owner:
            counts["foreign_frees"] += 1
            self.foreign = True
        self.released.append(addr)
        if obj.usable > owner.limit:
            self.vacate(addr)
            return
        owner.quarantine[addr] = obj
        counts["quarantined"] += 1
        counts["quarantined_bytes"] += obj.usable
        while counts["quarantined"] > QUARANTINE_OBJECTS or \
                counts["quarantined_bytes"] > owner.limit:
            oldest, obj = owner.quarantine.popitem(last=False)
            counts["quarantined"] -= 1
            counts["quarantined_bytes"] -= obj.usable
            self.vacate(oldest)

    def wrong(self, caller: Owner, addr: int) -> bool:
        """A free of what is no live object. True if it is passed to the kernel."""
        for owner in self.owners:
            if addr in owner.quarantine:
                owner.counts["double_frees"] += 1
                self.foreign |= caller is not owner
                return False
        start = self.inside(addr)
        if start is not None and (start in caller.live or start in caller.quarantine):
            caller.counts["interior_frees"] += 1
            return False
        if caller.refuses_unknown:
            caller.counts["unknown_frees"] += 1
            return False
        caller.counts["unknown_passed"] += 1
        return True

    def free(self, caller: Owner, addr: int) -> bool:
        """A free by CALLER. True if memory that is not recorded went."""
        owner = self.holder(caller, addr)
        if owner is None:
            return self.wrong(caller, addr)
        self.release(caller, owner, addr)
        return False


class Run:
    """A run of random operations, each compared with the model."""

    def __init__(self, rng: random.Random, api: Ops, dropin: Ops, limit: int, steps: int) -> None:
        self.rng = rng
        self.phase = max(steps // PHASES, 100)
        self.most_kept = 0
        self.model = Model(limit)
        self.ops = {API: api, DROPIN: dropin}
        self.fds = {name: os.open(f"{DEBUGFS}/{name}/stats", os.O_RDONLY)
                    for name in (API, DROPIN)}
        self.last: tuple[object, ...] = ()
        self.largest = 256
        # More is allocated than freed, so that MAX_LIVE is reached.
        weights = ((self.do_alloc, 40), (self.do_free, 26), (self.do_realloc, 15),
                   (self.do_free_again, 6), (self.do_free_interior, 3), (self.do_free_foreign, 3),
                   (self.do_free_bulk, 2), (self.do_unknown, 3), (self.do_nothing, 1),
                   (self.do_realloc_wrong, 1))
        self.actions = [action for action, weight in weights for _ in range(weight)]
        self.formats = {owner.module: self.stats_format(owner) for owner in self.model.owners}

    def close(self) -> None:
        """Close mown's files."""
        for fd in self.fds.values():
            os.close(fd)

    # ---- Calls ----

    def call(self, caller: Owner, function: str, *numbers: int) -> tuple[int, int]:
        """Call the heap; the pointer it gave, and the size of its memory."""
        self.last = (caller.module, function, *numbers)
        pointer, usable, _ = self.ops[caller.module].call(function, *numbers)
        return pointer, usable

    def size(self) -> int:
        """Sizes: the small ones often, the large ones when it is their time."""
        return int(self.largest ** self.rng.random())

    def free(self, caller: Owner, addr: int) -> None:
        """A free of anything."""
        self.call(caller, FREES[int(self.rng.random() * len(FREES))], addr)
        if self.model.free(caller, addr):
            self.model.raw.remove(addr)
            self.model.vacate(addr)

    # ---- Operations ----

    def do_alloc(self, caller: Owner) -> None:
        """An allocation gives memory that nobody has."""
        if len(caller.bag) >= MAX_LIVE:
            self.do_free(caller)
            return
        size = self.size()
        calls = ALLOCATIONS + COPIES if size <= COPY_MAX else ALLOCATIONS
        function, numbers, size = calls[int(self.rng.random() * len(calls))](size)
        addr, usable = self.call(caller, function, *numbers)
        self.model.alloc(caller, addr, size, usable)

    def do_free(self, caller: Owner) -> None:
        """A right free."""
        if caller.bag:
            self.free(caller, caller.bag.pick(self.rng))

    def do_realloc(self, caller: Owner) -> None:
        """In place if it fits, else a new object for the old one; 0 frees.

        Foreign memory may be resized as it may be freed; what is new is the
        caller's.
        """
        owner = caller if self.rng.random() < 0.9 else self.model.other(caller)
        if not owner.bag:
            return
        addr = owner.bag.pick(self.rng)
        old = owner.live[addr]
        size = self.rng.choice((self.size(), old.usable, old.size + 1, old.size // 2))
        new, usable = self.call(caller, "krealloc", addr, size)
        if not size:
            assert new == ZERO_SIZE_PTR, f"krealloc to 0 gave {new:x}"
            self.model.free(caller, addr)
        elif size <= old.usable:
            assert (new, usable) == (addr, old.usable), f"moved to {new:x}, though it fits"
            owner.live[addr] = Object(size, usable)
            owner.counts["live_bytes"] += size - old.size
            self.model.foreign |= owner is not caller
        else:
            # The old object is still there when the new one is made.
            self.model.alloc(caller, new, size, usable)
            self.model.free(caller, addr)

    def again(self, caller: Owner) -> int:
        """An address released before that is nobody's now, but for quarantine.

        The drop-in passes on what is not in quarantine any more: that is a free
        of memory that somebody else may have, so it is not for this test.
        """
        if not self.model.released:
            return 0
        addr = self.rng.choice(self.model.released)
        kept = any(addr in owner.quarantine for owner in self.model.owners)
        taken = addr in self.model.ends and not kept
        return 0 if taken or not (kept or caller.refuses_unknown) else addr

    def do_free_again(self, caller: Owner) -> None:
        """A double free while the object is in quarantine, unknown after it."""
        addr = self.again(caller)
        if addr:
            self.free(caller, addr)

    def do_free_interior(self, caller: Owner) -> None:
        """A pointer into an object: of the caller's own, or not known to it."""
        owner = self.rng.choice(self.model.owners) if caller.refuses_unknown else caller
        if not owner.bag:
            return
        addr = self.again(owner) if self.rng.random() < 0.2 else owner.bag.pick(self.rng)
        obj = owner.live.get(addr) or owner.quarantine.get(addr)
        if obj:
            self.free(caller, addr + 1 + int(self.rng.random() * (obj.usable - 1)))

    def do_free_foreign(self, caller: Owner) -> None:
        """Memory of the other module: freed, and counted for its owner."""
        other = self.model.other(caller)
        if other.bag:
            self.free(caller, other.bag.pick(self.rng))

    def do_free_bulk(self, caller: Owner) -> None:
        """Each of several is dealt with as if it were alone, in order."""
        addrs = [caller.bag.pick(self.rng) for _ in range(self.rng.randrange(1, 6)) if caller.bag]
        if caller.refuses_unknown:
            addrs += [addr for addr in (self.again(caller), self.again(caller)) if addr]
        else:
            # Twice the same would be freed twice where quarantine does not keep it.
            addrs = list(set(addrs))
        self.call(caller, "kfree_bulk", *addrs)
        for addr in addrs:
            self.model.free(caller, addr)

    def do_unknown(self, caller: Owner) -> None:
        """Memory that nobody recorded: refused to the API, the drop-in's goes."""
        raw = self.model.raw
        if len(raw) < MAX_RAW:
            addr, usable = self.call(caller, "raw_kmalloc", self.size())
            self.model.occupy(addr, usable)
            raw.add(addr)
        else:
            self.free(caller, raw.pick(self.rng))

    def do_nothing(self, caller: Owner) -> None:
        """NULL and ZERO_SIZE_PTR are no objects; size 0 gives none."""
        if self.rng.random() < 0.5:
            addr, _ = self.call(caller, "kmalloc", 0)
            assert addr == ZERO_SIZE_PTR, f"kmalloc of 0 gave {addr:x}"
        else:
            self.call(caller, self.rng.choice(FREES), self.rng.choice((0, ZERO_SIZE_PTR)))

    def do_realloc_wrong(self, caller: Owner) -> None:
        """What cannot be freed cannot be resized: NULL, and nothing happens."""
        addr = self.again(caller)
        if not addr:
            return
        if addr in caller.quarantine and caller.quarantine[addr].usable > 8:
            addr += self.rng.choice((0, 0, 8))
        new, _ = self.call(caller, "krealloc", addr, self.size())
        assert new == 0, f"gave {new:x}"
        assert not self.model.wrong(caller, addr)

    # ---- Comparison ----

    def stats_format(self, owner: Owner) -> bytes:
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

    def check_counters(self, owner: Owner) -> None:
        """All counters of OWNER are what the model says."""
        text = os.pread(self.fds[owner.module], 8192, 0)
        if text == self.formats[owner.module] % tuple(owner.counts.values()):
            return
        found = {name.decode(): int(value)
                 for name, value in re.findall(rb"^(\w+) (\d+)", text, re.M)}
        wrong = [f"{name} is {found.get(name)}, the model says {value}"
                 for name, value in owner.counts.items() if found.get(name) != value]
        raise AssertionError(f"{owner.module}: {'; '.join(wrong) or text.decode()}")

    def check_live(self, owner: Owner) -> None:
        """The live objects of OWNER are the model's."""
        found = {(record.address, record.size) for record in live(owner.module)}
        expected = {(addr, obj.size) for addr, obj in owner.live.items()}
        missing, extra = expected - found, found - expected
        assert not missing and not extra, \
            f"{owner.module}: {len(missing)} objects are not in live, {len(extra)} too many: " \
            f"{sorted(missing)[:3]} {sorted(extra)[:3]}"

    def step(self, number: int) -> None:
        """One operation, and all that must hold after it.

        That the other module's counters did not change without cause shows when
        they are looked at next, which is soon.
        """
        if number % self.phase == 0:
            # Small ones fill quarantine's slots, large ones its bytes.
            self.largest = self.rng.choice((64, 256, 4096, 65536))
        caller = self.model.api if self.rng.random() < 0.7 else self.model.dropin
        self.actions[int(self.rng.random() * len(self.actions))](caller)
        self.check_counters(caller)
        self.most_kept = max(self.most_kept, caller.counts["quarantined"])
        if self.model.foreign:
            self.model.foreign = False
            self.check_counters(self.model.other(caller))
        if number % CHECK_LIVE == 0:
            for owner in self.model.owners:
                self.check_counters(owner)
                self.check_live(owner)

    def finish(self) -> None:
        """Free all there is, by whose it is."""
        for owner in self.model.owners:
            for addr in list(owner.live):
                self.free(owner, addr)
            self.check_counters(owner)
            self.check_live(owner)
        for addr in list(self.model.raw.items):
            self.call(self.model.api, "raw_kfree", addr)


def run(steps: int, limit: int) -> None:
    """STEPS random operations with a quarantine of LIMIT bytes."""
    Ktap.note(f"seed {SEED}, {steps} operations, quarantine_bytes {limit}")
    rng = random.Random(SEED)
    with quiet_console(), knob("quarantine_bytes", limit), ops(API) as api, \
            ops(DROPIN) as dropin:
        session = Run(rng, api, dropin, limit, steps)
        number = 0
        try:
            for number in range(1, steps + 1):
                session.step(number)
                if number % READ_LOG == 0:
                    case_log()
            session.finish()
        except AssertionError as error:
            raise AssertionError(f"seed {SEED}, step {number}, {session.last}: {error}") \
                from error
        finally:
            session.close()
    counts = {owner.module: owner.counts for owner in session.model.owners}
    for name, found in counts.items():
        Ktap.note(f"{name}: " + ", ".join(f"{key} {value}" for key, value in found.items()))
    # A run that did not come to these has proven nothing.
    expected = [(API, "unknown_frees"), (DROPIN, "unknown_passed")]
    for name in (API, DROPIN):
        expected += [(name, "interior_frees"), (name, "foreign_frees")]
        expected += [(name, "double_frees")] if limit else []
    if steps >= 1000:
        assert all(counts[name][key] for name, key in expected), "too little has happened"
    # The first phase alone has as many small objects as quarantine may have slots.
    assert steps < 100000 or limit < 1 << 19 or session.most_kept == QUARANTINE_OBJECTS, \
        f"quarantine had {session.most_kept} objects at most, not {QUARANTINE_OBJECTS}"
    # Both went away with all that they had freed.
    for name in (API, DROPIN):
        block = exits(name)[-1]
        made = counts[name]["allocated"]
        assert (block.allocated, block.freed, block.elsewhere, block.left, block.reclaimed) == \
            (made, made, 0, 0, 0), f"{block} of {made} objects, all freed"


def test_default() -> None:
    """The quarantine as it is by default, most operations."""
    run(STEPS, int(read_file(f"{SYSFS}/quarantine_bytes")))


def test_tiny() -> None:
    """A quarantine of one page: most objects leave it soon, or never enter."""
    run(STEPS_LESS, 4096)


def test_off() -> None:
    """No quarantine: what is freed again is unknown."""
    run(STEPS_LESS, 0)


CASES: Sequence[tuple[str, Callable[[], None]]] = (
    ("random operations agree with the model", test_default),
    ("random operations with a quarantine of a page", test_tiny),
    ("random operations without quarantine", test_off),
)

if __name__ == "__main__":
    run_cases(CASES, modules=(API, DROPIN))
