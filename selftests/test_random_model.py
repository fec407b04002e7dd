#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Random operations agree with a model of the heap, step by step.

Two modules, one of the API and one of the drop-in, allocate, free, resize,
free twice, free the middle of an object, free each other's memory and memory
that nobody recorded, all of kmalloc(). A model says after every step what the
call must have given and what both owners' counters must be, and every thousand
steps which objects live. MOWN_SEED repeats a run, MOWN_OPS sets its length,
MOWN_OPS_LESS that of those with little quarantine and without any.
"""
import os
import random
from collections import deque
from typing import Callable, NamedTuple, Optional, Sequence

import random_heap
from ksft_mown import SYSFS, Ops, read_file, run_cases
from random_heap import (ALLOCATIONS, API, COPIES, COPY_MAX, DROPIN, FREES, ZERO_SIZE_PTR,
                         Bag, Expected, Memory)

STEPS = int(os.environ.get("MOWN_OPS", "100000"))
STEPS_LESS = int(os.environ.get("MOWN_OPS_LESS", str(STEPS // 20)))

MAX_LIVE = 600		# of each module: enough to fill pages of every size class
MAX_RAW = 20
RELEASED = 3000		# released addresses to free again: beyond what quarantine holds


class Object(NamedTuple):
    """A recorded object: the bytes asked for, and what it takes in memory."""

    size: int
    usable: int

    @property
    def weight(self) -> int:
        """What it takes in quarantine."""
        return self.usable


class Owner(random_heap.Owner[Object]):
    """What mown must know of a module."""

    def __init__(self, module: str, refuses_unknown: bool, limit: int) -> None:
        super().__init__(module, refuses_unknown, limit)
        self.bag = Bag()


class Model(Memory):
    """What mown must do: no more than its documentation says."""

    def __init__(self, limit: int) -> None:
        super().__init__()
        self.api = Owner(API, True, limit)
        self.dropin = Owner(DROPIN, False, limit)
        self.owners = (self.api, self.dropin)
        self.raw = Bag()
        self.foreign = False	# a step concerned the other module's object
        # What went back to the kernel or will, for freeing it again.
        self.released: "deque[int]" = deque(maxlen=RELEASED)

    def alloc(self, owner: Owner, addr: int, size: int, usable: int) -> None:
        """OWNER's call gave an object."""
        assert usable >= size > 0, f"{usable} bytes for {size}"
        self.occupy(addr, usable)
        owner.add(addr, Object(size, usable))
        owner.bag.add(addr)

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
        obj = owner.remove(addr)
        owner.bag.remove(addr)
        owner.counts["freed"] += 1
        if caller is not owner:
            owner.counts["foreign_frees"] += 1
            self.foreign = True
        self.released.append(addr)
        for gone in owner.keep(addr, obj):
            self.vacate(gone)

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


class Run(random_heap.Run[Object]):
    """A run of random operations, each compared with the model."""

    def __init__(self, rng: random.Random, api: Ops, dropin: Ops, limit: int, steps: int) -> None:
        self.model = Model(limit)
        super().__init__(rng, {API: api, DROPIN: dropin}, steps, self.model.owners)
        # More is allocated than freed, so that MAX_LIVE is reached.
        weights = ((self.do_alloc, 40), (self.do_free, 26), (self.do_realloc, 15),
                   (self.do_free_again, 6), (self.do_free_interior, 3), (self.do_free_foreign, 3),
                   (self.do_free_bulk, 2), (self.do_unknown, 3), (self.do_nothing, 1),
                   (self.do_realloc_wrong, 1))
        self.actions = [action for action, weight in weights for _ in range(weight)]

    # ---- Calls ----

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

    def expected(self, owner: random_heap.Owner[Object]) -> set[Expected]:
        """What the live file of OWNER must have."""
        return {Expected(addr, obj.size, "kmalloc") for addr, obj in owner.live.items()}

    def step(self, number: int) -> None:
        """One operation, and all that must hold after it.

        That the other module's counters did not change without cause shows when
        they are looked at next, which is soon.
        """
        self.new_phase(number)
        caller = self.model.api if self.rng.random() < 0.7 else self.model.dropin
        self.actions[int(self.rng.random() * len(self.actions))](caller)
        self.check_counters(caller)
        if self.model.foreign:
            self.model.foreign = False
            self.check_counters(self.model.other(caller))

    def finish(self) -> None:
        """Free all there is, by whose it is."""
        for owner in self.model.owners:
            for addr in list(owner.live):
                self.free(owner, addr)
        for addr in list(self.model.raw.items):
            self.call(self.model.api, "raw_kfree", addr)


def run(steps: int, limit: int) -> None:
    """STEPS random operations with a quarantine of LIMIT bytes."""
    session = random_heap.run(lambda rng, api, dropin: Run(rng, api, dropin, limit, steps), steps,
                              limit)
    if steps >= 5000:
        random_heap.check_wrong(session, limit, "interior_frees", "foreign_frees")
    # The first phase alone has as many small objects as quarantine may have slots.
    if steps >= 100000 and limit >= 1 << 19:
        random_heap.check_full(session)
    random_heap.check_exits(session)


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
