# SPDX-License-Identifier: GPL-2.0
"""What mown must do with the objects of all families: the model of test_random_families.py.

No more is in it than the documentation says. An object is known by the address that
live shows; that of an object for each CPU is at a fixed distance from its cookie.
"""
import platform
from collections import deque
from dataclasses import dataclass, field
from enum import Enum
from typing import NamedTuple, Optional, Union

import random_heap
from random_heap import API, DROPIN, Bag, Memory

PAGE = 4096
ADDRESSES = 1 << 64
ERRNO_MAX = 4095
RELEASED = 3000		# released addresses to free again: beyond what quarantine holds
# What stands before memory of a device in mown's block, which is aligned as for DMA
BLOCK_HEAD = 128 if platform.machine() == "aarch64" else 32

# Of each module at most. What is large or slow to make is rare.
CAPS = {"kmalloc": 200, "vmalloc": 40, "slab": 150, "pages": 60, "percpu": 60, "cache": 6,
        "mempool": 6, "element": 60, "dma": 20, "dma_pool": 4, "dma_block": 60, "devm": 120}
FAMILIES = tuple(CAPS)

# What releases plain memory, and what is released as a whole.
PLAIN = frozenset(("kmalloc", "vmalloc", "slab"))
WHOLE = frozenset(("kmalloc", "vmalloc", "devm"))
KFREE = frozenset(("kmalloc", "slab", "element"))
KVFREE = KFREE | {"vmalloc"}
CACHE_FREE = frozenset(("slab", "element"))

# A device is named by its module and number; a cache or a pool by its address.
Home = Union[int, tuple[str, int], None]


def page_align(size: int) -> int:
    """SIZE in whole pages."""
    return (size + PAGE - 1) & -PAGE


def size_class(size: int) -> int:
    """What SIZE bytes of kmalloc() take in memory."""
    for special in (96, 192):
        if special // 3 * 2 < size <= special:
            return special
    return max(8, 1 << (size - 1).bit_length()) if size <= 2 * PAGE else \
        PAGE << (page_align(size) // PAGE - 1).bit_length()


@dataclass(eq=False)
class Block:		# pylint: disable=too-many-instance-attributes
    """A recorded object, and what a release must name of it."""

    family: str
    size: int
    usable: int
    waits: bool = False
    home: Home = None
    # Pages: further holders. A cache, a pool: what is of it.
    refs: int = 0
    handle: int = 0
    kind: str = ""
    room: int = 0
    cache: Optional["Block"] = None
    maker: str = ""
    hidden: list[int] = field(default_factory=list)
    homeless: bool = False

    @property
    def weight(self) -> int:
        """What it takes in quarantine."""
        if self.family in ("kmalloc", "devm"):
            return self.usable
        if self.family == "vmalloc":
            return page_align(self.size)
        return self.size

    @property
    def order(self) -> int:
        """That of a block of pages."""
        return (self.size // PAGE).bit_length() - 1


class Free(NamedTuple):
    """A release function: what it releases, and what its caller names."""

    frees: frozenset[str]
    family: str
    home: Home = None
    size: int = 0
    # That is named, which takes what it is made of
    pool: Optional[Block] = None


class Outcome(Enum):
    """What became of a release."""

    RELEASED = "an object is released"
    REFUSED = "nothing happened, or the right function did it"
    PASSED = "the kernel had it, of which no more is known"


@dataclass
class Held:
    """A page that is released and still held, by COUNT others."""

    owner: "Owner"
    count: int


class Owner(random_heap.Owner[Block]):
    """What mown must know of a module."""

    def __init__(self, module: str, refuses_unknown: bool, limit: int) -> None:
        super().__init__(module, refuses_unknown, limit)
        self.bag = Bag()
        self.bags = {family: Bag() for family in FAMILIES}

    def put(self, addr: int, obj: Block, hidden: bool = False) -> None:
        """A new object; a hidden one is not the script's to free."""
        self.add(addr, obj)
        if not hidden:
            self.bag.add(addr)
            self.bags[obj.family].add(addr)

    def take(self, addr: int) -> Block:
        """The object is live no more."""
        obj = self.remove(addr)
        if addr in self.bag.places:
            self.bag.remove(addr)
            self.bags[obj.family].remove(addr)
        return obj

    def resize(self, addr: int, size: int) -> None:
        """The object has SIZE bytes now, where it is."""
        self.counts["live_bytes"] += size - self.live[addr].size
        self.live[addr].size = size


class Model(Memory):
    """What mown must do."""

    def __init__(self, limit: int) -> None:
        super().__init__()
        self.api = Owner(API, True, limit)
        self.dropin = Owner(DROPIN, False, limit)
        self.owners = (self.api, self.dropin)
        self.by_name = {owner.module: owner for owner in self.owners}
        self.raw = Bag()
        self.foreign = False	# a step concerned the other module's object
        self.elsewhere: dict[int, Held] = {}
        self.percpu_distance: int = 0
        # What each device frees when it is detached, oldest first.
        self.devices: dict[tuple[str, int], list[int]] = {
            (owner.module, number): [] for owner in self.owners for number in (0, 1)}
        self.raw_devm: dict[tuple[str, int], list[int]] = {name: [] for name in self.devices}
        # What was released, for freeing it again.
        self.released: "deque[int]" = deque(maxlen=RELEASED)

    # ---- Objects ----

    def alloc(self, owner: Owner, addr: int, obj: Block, hidden: bool = False) -> None:
        """OWNER has a new object."""
        assert addr and obj.usable >= obj.size > 0, f"{addr:x}: {obj}"
        self.occupy(addr, obj.usable)
        owner.put(addr, obj, hidden)
        if obj.family == "devm":
            assert isinstance(obj.home, tuple)
            self.devices[obj.home].append(addr)
        self.count_user(obj, 1)

    def count_user(self, obj: Block, sign: int) -> None:
        """One of what OBJ belongs to, more or less."""
        if obj.cache:
            obj.cache.refs += sign
        if isinstance(obj.home, int) and not obj.homeless:
            home = self.find(obj.home)
            if home and home is not obj.cache:
                home.refs += sign

    def other(self, owner: Owner) -> Owner:
        """The owner that is not OWNER."""
        return self.dropin if owner is self.api else self.api

    def holder(self, addr: int) -> Optional[Owner]:
        """Who has a live object at ADDR."""
        for owner in self.owners:
            if addr in owner.live:
                return owner
        return None

    def find(self, addr: int) -> Optional[Block]:
        """The live object at ADDR."""
        owner = self.holder(addr)
        return owner.live[addr] if owner else None

    def keeper(self, addr: int) -> Optional[Owner]:
        """In whose quarantine ADDR is."""
        for owner in self.owners:
            if addr in owner.quarantine:
                return owner
        return None

    def cookie(self, addr: int) -> int:
        """By what the object for each CPU at ADDR is named."""
        return (addr - self.percpu_distance) % ADDRESSES

    # ---- Releases ----

    def is_mismatched(self, obj: Block, way: Free) -> bool:
        """Is the live object released by the wrong function, or by a wrong name?"""
        if obj.family not in way.frees:
            return True
        if way.pool and obj.family == "slab":
            return not isinstance(obj.home, int) or self.find(obj.home) is not way.pool.cache
        if way.pool and obj.family == "kmalloc":
            return obj.size < way.pool.room
        if obj.family == "kmalloc" or obj.family != way.family:
            return False
        if obj.family == "devm" or way.home is not None:
            # A pool that has gone may have left its address to another
            return obj.homeless or obj.home != way.home
        return bool(way.size) and way.size != obj.size and not obj.refs

    def goes(self, owner: Owner, addr: int, obj: Block) -> None:
        """The object is out of its owner's hands: into quarantine, or to the kernel."""
        self.count_user(obj, -1)
        if obj.family == "devm":
            assert isinstance(obj.home, tuple)
            self.devices[obj.home].remove(addr)
        self.released.append(addr)
        if not obj.waits:
            self.vacate(addr)
            return
        for gone in owner.keep(addr, obj):
            self.vacate(gone)

    def release(self, caller: Optional[Owner], owner: Owner, addr: int) -> None:
        """A right release of OWNER's object, by a device's detach if there is no caller."""
        obj = owner.take(addr)
        owner.counts["freed"] += 1
        if caller and caller is not owner:
            owner.counts["foreign_frees"] += 1
        self.foreign |= caller is not owner
        if obj.family == "pages" and obj.refs:
            # All but the first page goes.
            self.ends[addr] = addr + PAGE
            self.elsewhere[addr] = Held(owner, obj.refs)
            return
        self.goes(owner, addr, obj)
        # A pool gives its own back by the function of the module that made it.
        for element in obj.hidden:
            self.release(self.by_name[obj.maker], self.by_name[obj.maker], element)
            self.foreign = True

    def purge(self, cache: int) -> None:
        """What waits of the cache goes to it first."""
        for owner in self.owners:
            for addr, obj in list(owner.quarantine.items()):
                if obj.family == "slab" and obj.home == cache:
                    owner.take_out(addr)
                    self.vacate(addr)
                    self.foreign = True

    def detach(self, device: tuple[str, int]) -> None:
        """The device frees what it has, newest first."""
        for addr in self.devices[device][::-1]:
            owner = self.holder(addr)
            assert owner
            self.release(None, owner, addr)
        for addr in self.raw_devm[device]:
            self.vacate(addr)
        self.raw_devm[device].clear()

    def drop_page(self, addr: int) -> None:
        """One of the last holders of a page lets it go."""
        held = self.elsewhere[addr]
        held.count -= 1
        if not held.count:
            del self.elsewhere[addr]
            self.vacate(addr)

    def elsewhere_freed(self, addr: int) -> None:
        """The kernel's kfree() or put_page() got an object, as mown sees."""
        owner = self.holder(addr)
        if owner:
            obj = owner.take(addr)
            owner.counts["released_elsewhere"] += 1
            self.count_user(obj, -1)
        else:
            owner = self.keeper(addr)
            assert owner
            owner.counts["double_frees"] += 1
            owner.take_out(addr)
        self.foreign = True
        self.vacate(addr)
        self.released.append(addr)

    def free(self, caller: Owner, named: int, way: Free) -> Outcome:
        """CALLER releases what it names by the function."""
        addr = named
        if way.family == "percpu":
            addr = (named + self.percpu_distance) % ADDRESSES
        owner = self.holder(addr)
        if owner:
            return self.free_live(caller, owner, addr, way)
        if addr in self.elsewhere and "pages" in way.frees:
            self.drop_page(addr)
            return Outcome.RELEASED
        owner = self.elsewhere[addr].owner if addr in self.elsewhere else self.keeper(addr)
        if owner:
            owner.counts["double_frees"] += 1
            self.foreign |= caller is not owner
            return Outcome.REFUSED
        return self.free_unknown(caller, named, way)

    def free_live(self, caller: Owner, owner: Owner, addr: int, way: Free) -> Outcome:
        """The same of a live object of OWNER's."""
        obj = owner.live[addr]
        if not self.is_mismatched(obj, way):
            self.release(caller, owner, addr)
            return Outcome.RELEASED
        owner.counts["mismatched_frees"] += 1
        self.foreign |= caller is not owner
        if way.frees & PLAIN and obj.family in PLAIN and not way.pool:
            self.release(caller, owner, addr)
        return Outcome.REFUSED

    def free_unknown(self, caller: Owner, named: int, way: Free) -> Outcome:
        """The same where no object starts."""
        percpu = way.family == "percpu"
        at = named if percpu else (named + self.percpu_distance) % ADDRESSES
        owner = self.holder(at)
        if owner and (owner.live[at].family == "percpu") != percpu:
            owner.counts["mismatched_frees"] += 1
            self.foreign |= caller is not owner
            return Outcome.REFUSED
        start = self.inside(named)
        if start is not None and way.frees & {"kmalloc", "vmalloc"}:
            obj = caller.live.get(start) or caller.quarantine.get(start)
            if obj and obj.family in WHOLE:
                caller.counts["interior_frees"] += 1
                return Outcome.REFUSED
        if caller.refuses_unknown or named >= ADDRESSES - ERRNO_MAX:
            caller.counts["unknown_frees"] += 1
            return Outcome.REFUSED
        caller.counts["unknown_passed"] += 1
        return Outcome.PASSED

    def resizes(self, caller: Owner, addr: int, way: Free) -> bool:
        """May CALLER resize what is at ADDR? If not, that is counted."""
        obj = self.find(addr)
        if obj and not self.is_mismatched(obj, way):
            self.foreign |= addr not in caller.live
            return True
        if obj:
            owner = self.holder(addr)
            assert owner
            owner.counts["mismatched_frees"] += 1
            self.foreign |= caller is not owner
        else:
            self.free(caller, addr, way)
        return False
