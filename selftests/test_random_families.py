#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Random operations on all families together agree with a model, step by step.

Two modules, one of the API and one of the drop-in, allocate memory of every family,
and release it rightly, twice, by functions of other families, and naming another
cache, pool, device, size or order; they hold pages, split them, resize, make and
destroy caches and pools, free after a grace period, and have their devices detached.
A model says after every step what the call must have given and what both owners'
counters must be, and every thousand steps which objects live. MOWN_SEED repeats a
run, MOWN_OPS sets its length, MOWN_OPS_LESS that of those with little quarantine and
without any; that with much is half as long.
"""
import os
import random
from typing import Callable, Optional, Sequence

import random_heap
from ksft_mown import CGROUPS, SYSFS, Ops, kernel_version, live, read_file, run_cases, stats
from random_families import (ADDRESSES, BLOCK_HEAD, CACHE_FREE, CAPS, ERRNO_MAX, FAMILIES, KFREE,
                             KVFREE, PAGE, WHOLE, Block, Free, Model, Outcome, Owner,
                             page_align, size_class)
from random_heap import (ALLOCATIONS, API, COPIES, COPY_MAX, DROPIN, FREES, ZERO_SIZE_PTR,
                         Expected, longs)

STEPS = int(os.environ.get("MOWN_OPS", "24000"))
STEPS_LESS = int(os.environ.get("MOWN_OPS_LESS", str(STEPS // 12)))

MAX_RAW = 20
ERRNO = 12

# The kinds of caches that the modules make, by number.
PLAIN_CACHE, CONSTRUCTED, BY_RCU, ACCOUNTED, CONSTRUCTED_BY_RCU = range(5)
CONSTRUCTED_BYTE, CONSTRUCTED_SIZE = 0xc7, 16
# The cache that each module has, and mown knows nothing of.
OWN_CACHE, OWN_CACHE_SIZE = -1, 104

# A release: its function's arguments, and what it means.
Way = tuple[tuple[int, ...], Free]
BY_KFREE = Free(KFREE, "kmalloc")
BY_KVFREE = Free(KVFREE, "kmalloc")
KFREES = ("kfree", "kfree_sensitive", "bitmap_free", "kfree_bulk")


def is_aligned(addr: int) -> bool:
    """Is it where a page begins?"""
    return not addr % PAGE


class Run(random_heap.Run[Block]):		# pylint: disable=too-many-public-methods
    """A run of random operations, each compared with the model."""

    def __init__(self, rng: random.Random, api: Ops, dropin: Ops, limit: int, steps: int) -> None:
        self.model = Model(limit)
        # What is named to free_percpu() is another's even if there is no such object yet.
        self.model.percpu_distance = api.call("percpu_address", 0).pointer
        self.owner_of = self.model.by_name
        super().__init__(rng, {API: api, DROPIN: dropin}, steps, self.model.owners)
        # An order of a CPU's own: of its kfree_rcu().
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
        # The model has the one that is told the old size.
        self.has_kvrealloc = kernel_version() < (6, 12)
        self.pool_size = 0
        self.done: dict[str, int] = {}
        self.runs: list[tuple[int, int]] = []	# of alloc_pages_exact(): start, pages
        # More is allocated than freed, so that the caps are reached.
        weights = ((self.do_alloc, 400), (self.do_free, 220), (self.do_realloc, 80),
                   (self.do_free_again, 60), (self.do_mismatch, 70), (self.do_misname, 60),
                   (self.do_interior, 30), (self.do_foreign, 40), (self.do_free_bulk, 20),
                   (self.do_unknown, 30), (self.do_nothing, 15), (self.do_error, 10),
                   (self.do_realloc_wrong, 20), (self.do_page_holders, 50),
                   (self.do_split, 15), (self.do_free_exact, 10), (self.do_elsewhere, 20),
                   (self.do_detach, 3), (self.do_rcu, 2))
        self.actions = [action for action, weight in weights for _ in range(weight)]
        self.makers: dict[str, Callable[[Owner], None]] = {
            "kmalloc": self.make_kmalloc, "vmalloc": self.make_vmalloc, "slab": self.make_slab,
            "pages": self.make_pages, "percpu": self.make_percpu, "cache": self.make_cache,
            "mempool": self.make_mempool, "element": self.make_element, "dma": self.make_dma,
            "dma_pool": self.make_dma_pool, "dma_block": self.make_dma_block,
            "devm": self.make_devm}
        often = {"kmalloc": 24, "vmalloc": 8, "slab": 20, "pages": 10, "percpu": 8, "cache": 2,
                 "mempool": 2, "element": 10, "dma": 5, "dma_pool": 2, "dma_block": 8,
                 "devm": 16}
        self.families = [family for family, weight in often.items() for _ in range(weight)]

    # ---- What is picked ----

    def chance(self, share: float) -> bool:
        """True that often."""
        return self.rng.random() < share

    def number(self) -> int:
        """Of a device."""
        return self.rng.randrange(2)

    def any_of(self, family: str, owner: Optional[Owner] = None) -> int:
        """A live object of the family, of anybody's if no owner is named; 0 if there is none."""
        owners = [owner] if owner else list(self.model.owners)
        bags = [one.bags[family] for one in owners if one.bags[family]]
        return self.rng.choice(bags).pick(self.rng) if bags else 0

    def any_object(self, owner: Optional[Owner] = None) -> int:
        """A live object of any family, each as often; 0 if there is none."""
        for _ in range(5):
            addr = self.any_of(self.rng.choice(FAMILIES), owner)
            if addr:
                return addr
        return 0

    def object(self, addr: int) -> Block:
        """The live object at ADDR, for sure."""
        obj = self.model.find(addr)
        assert obj, f"nothing at {addr:x}"
        return obj

    def named(self, addr: int) -> int:
        """By what the live object is named."""
        return self.model.cookie(addr) if self.object(addr).family == "percpu" else addr

    # ---- Releases ----

    def way(self, caller: Owner, function: str, named: int, obj: Block) -> Way:
        """How CALLER is to call FUNCTION to release what is named, as if it were OBJ."""
        home = obj.home if isinstance(obj.home, int) else 0
        number = obj.home[1] if isinstance(obj.home, tuple) else 0
        if function in KFREES:
            return (named,), BY_KFREE
        if function in ("kvfree", "kfree_rcu", "kfree_rcu_headless"):
            return (named,), BY_KVFREE
        if function == "vfree":
            return (named,), Free(frozenset(("vmalloc",)), "vmalloc")
        if function == "kvfree_sensitive":
            return (named, obj.size), BY_KVFREE
        if function == "kmem_cache_free_bulk":
            return (home, named), Free(CACHE_FREE, "slab", home) if home else BY_KFREE
        if function == "kmem_cache_free":
            if obj.home and not home:
                return (named,), Free(CACHE_FREE, "slab", (caller.module, OWN_CACHE))
            return (named, home), Free(CACHE_FREE, "slab", home)
        if function in ("free_pages", "__free_pages"):
            return (named, obj.order), Free(frozenset(("pages",)), "pages", None,
                                            PAGE << obj.order)
        if function in ("free_page", "__free_page"):
            return (named,), Free(frozenset(("pages",)), "pages", None, PAGE)
        if function == "free_percpu":
            return (named,), Free(frozenset(("percpu",)), "percpu")
        if function in ("kmem_cache_destroy", "mempool_destroy", "dma_pool_destroy"):
            family = {"k": "cache", "m": "mempool", "d": "dma_pool"}[function[0]]
            return (named,), Free(frozenset((family,)), family)
        if function == "mempool_free":
            pool = self.model.find(home) if isinstance(home, int) else None
            made_of = pool.kind if pool and pool.kind in ("slab", "kmalloc") else "element"
            return (named, home), Free(frozenset(("element", made_of)), "element", home, pool=pool)
        if function == "dma_pool_free":
            return (home, named, obj.handle), Free(frozenset(("dma_block",)), "dma_block", home)
        if function == "devm_kfree":
            return (number, named), Free(frozenset(("devm",)), "devm", (caller.module, number))
        assert function in ("dma_free_coherent", "dma_free_attrs", "dma_free_wc"), function
        more = (0,) if function == "dma_free_attrs" else ()
        return (number, obj.size, named, obj.handle, *more), \
            Free(frozenset(("dma",)), "dma", (caller.module, number), obj.size)

    def right_functions(self, caller: Owner, obj: Block) -> tuple[str, ...]:
        """What CALLER may release the object with; nothing if it may not, or not now."""
        mine = not isinstance(obj.home, tuple) or obj.home[0] == caller.module
        functions = {
            "kmalloc": FREES + ("kfree_bulk", "kvfree_sensitive"),
            "vmalloc": ("vfree", "vfree", "kvfree", "kvfree_sensitive"),
            "pages": ("free_pages", "__free_pages"),
            "percpu": ("free_percpu",),
            "cache": ("kmem_cache_destroy",),
            "mempool": ("mempool_destroy",),
            "element": ("mempool_free",),
            "dma_pool": ("dma_pool_destroy",),
            "dma_block": ("dma_pool_free",),
            "dma": ("dma_free_coherent", "dma_free_attrs", "dma_free_wc"),
            "devm": ("devm_kfree",),
        }
        if obj.family == "slab":
            by_cache = ("kmem_cache_free",) if mine else ()
            return by_cache * 2 + ("kfree", "kvfree", "kmem_cache_free_bulk")
        if obj.family == "element" and obj.homeless:
            return ("kfree",)
        if obj.family == "element" and obj.kind == "kmalloc":
            return ("mempool_free", "mempool_free", "kfree", "kvfree")
        if obj.family == "pages" and obj.refs and obj.order:
            return ("free_pages", "__free_pages")
        if obj.family == "pages" and not obj.order:
            return ("free_pages", "__free_pages", "free_page", "__free_page")
        if obj.refs and not (obj.family == "mempool" and obj.kind in ("kmalloc", "slab")):
            return ()
        return functions[obj.family] if mine else ()

    def release(self, caller: Owner, function: str, named: int, obj: Block) -> Outcome:
        """Call FUNCTION as if OBJ was at what is named, and have the model do the same."""
        numbers, means = self.way(caller, function, named, obj)
        if function == "kmem_cache_destroy":
            self.model.purge(named)
        self.call(caller, function, *numbers)
        actor = caller
        if function == "mempool_free":
            # A pool whose elements are the module's own memory has its function free it.
            pool = self.model.find(obj.home) if isinstance(obj.home, int) else None
            held = self.model.find(named)
            if pool and pool.kind == "own" and not (held and held.family == "element"):
                actor, means = self.owner_of[pool.maker], BY_KFREE
                self.model.foreign = True
        outcome = self.model.free(actor, named, means)
        self.done[function] = self.done.get(function, 0) + 1
        return outcome

    def free(self, caller: Owner, addr: int) -> bool:
        """A right release, if CALLER may."""
        obj = self.object(addr)
        functions = self.right_functions(caller, obj)
        if not functions:
            return False
        function = self.rng.choice(functions)
        if obj.family == "mempool" and obj.refs:
            for element in self.elements_of(addr):
                element.homeless = True
        outcome = self.release(caller, function, self.named(addr), obj)
        assert outcome is Outcome.RELEASED, f"{outcome} by {function} of {obj}"
        return True

    def elements_of(self, pool: int) -> list[Block]:
        """The elements of a pool that are allocated."""
        return [obj for owner in self.model.owners for addr in owner.bags["element"].items
                for obj in (owner.live[addr],) if obj.home == pool and not obj.homeless]

    # ---- Allocations ----

    def allocated(self, caller: Owner, addr: int, obj: Block) -> None:
        """CALLER has a new object."""
        self.model.alloc(caller, addr, obj)
        self.done[f"new {obj.family}"] = self.done.get(f"new {obj.family}", 0) + 1

    def make_kmalloc(self, caller: Owner) -> None:
        """By one of its many functions; what is charged to a cgroup does not wait."""
        size = self.size()
        if self.chance(0.05):
            addr, usable = self.call(caller, "kmalloc_account", size)
            self.allocated(caller, addr, Block("kmalloc", size, usable))
            return
        calls = ALLOCATIONS + COPIES if size <= COPY_MAX else ALLOCATIONS
        function, numbers, size = self.rng.choice(calls)(size)
        addr, usable = self.call(caller, function, *numbers)
        self.allocated(caller, addr, Block("kmalloc", size, usable, waits=True))

    def plain(self, size: int, usable: int) -> Block:
        """What kvmalloc() has given: no size is told of memory of vmalloc()."""
        if usable:
            return Block("kmalloc", size, usable, waits=True)
        return Block("vmalloc", size, page_align(size), waits=True)

    def make_vmalloc(self, caller: Owner) -> None:
        """Or of kmalloc(), as it comes."""
        size = self.rng.randrange(1, 40000)
        function = self.rng.choice(("vmalloc", "vzalloc", "__vmalloc", "vmalloc_32", "vmalloc_node",
                                    "vmalloc_user", "vcalloc", "kvmalloc", "kvzalloc",
                                    "kvmalloc_node", "kvcalloc"))
        numbers: tuple[int, ...] = (size,)
        if function in ("vcalloc", "kvcalloc"):
            size = longs(size)
            numbers = (size // 8, 8)
        addr, usable = self.call(caller, function, *numbers)
        obj = self.plain(size, usable)
        # User space may have it mapped.
        obj.waits = function != "vmalloc_user"
        self.allocated(caller, addr, obj)

    def make_slab(self, caller: Owner) -> None:
        """Of a cache of anybody's, or of the module's own."""
        cache = 0 if self.chance(0.1) else self.any_of("cache")
        kind = self.object(cache).kind if cache else ""
        functions = ["kmem_cache_alloc", "kmem_cache_alloc_node", "kmem_cache_alloc_lru"]
        if "constructed" not in kind:
            functions.append("kmem_cache_zalloc")
        if cache and self.chance(0.1):
            nr, _ = self.call(caller, "kmem_cache_alloc_bulk", cache, self.rng.randrange(1, 5))
            assert nr, "none of them"
            for place in range(nr):
                self.add_slab(caller, cache, self.call(caller, "bulk", place))
            return
        numbers = (cache,) if cache else ()
        self.add_slab(caller, cache, self.call(caller, self.rng.choice(functions), *numbers))

    def add_slab(self, caller: Owner, at: int, given: tuple[int, int]) -> None:
        """An object that the cache at AT gave."""
        cache = self.object(at) if at else None
        size = cache.room if cache else OWN_CACHE_SIZE
        waits = bool(cache) and "accounted" not in (cache.kind if cache else "")
        if cache and "constructed" in cache.kind:
            differs, _ = self.call(caller, "differs", given[0], CONSTRUCTED_SIZE,
                                   CONSTRUCTED_BYTE)
            assert not differs, f"what the constructor wrote is gone at {differs:x}"
        self.allocated(caller, given[0], Block("slab", size, given[1], waits=waits,
                                               home=at or (caller.module, OWN_CACHE)))

    def make_pages(self, caller: Owner) -> None:
        """A block, or several pages at once."""
        if self.chance(0.2):
            nr = self.rng.randrange(1, 6)
            addr, _ = self.call(caller, "alloc_pages_exact",
                                nr * PAGE - self.rng.choice((0, 1, 4000)))
            for place in range(nr):
                self.allocated(caller, addr + place * PAGE, Block("pages", PAGE, PAGE))
            self.runs.append((addr, nr))
            return
        order = self.rng.choice((0, 0, 0, 1, 1, 2, 3))
        single = ("alloc_page", "__get_free_page", "get_zeroed_page")
        blocks = ("alloc_pages", "alloc_pages_node", "__get_free_pages")
        function = self.rng.choice(blocks if order else single + blocks)
        addr, _ = self.call(caller, function, *(() if function in single else (order,)))
        self.allocated(caller, addr, Block("pages", PAGE << order, PAGE << order))

    def make_percpu(self, caller: Owner) -> None:
        """It shows up where the first CPU has its own."""
        size = int(1024 ** self.rng.random())
        function = self.rng.choice(("__alloc_percpu", "__alloc_percpu_gfp", "alloc_percpu"))
        numbers = (size, 8)
        if function == "alloc_percpu":
            numbers, size = (), 24
        cookie, _ = self.call(caller, function, *numbers)
        assert cookie, "no memory for each CPU"
        self.allocated(caller, (cookie + self.model.percpu_distance) % ADDRESSES,
                       Block("percpu", size, size))

    def make_cache(self, caller: Owner) -> None:
        """Of any kind; it stands for itself only, and is one byte."""
        size, kind = self.rng.randrange(24, 2000), self.rng.randrange(5)
        addr, _ = self.call(caller, "kmem_cache_create", size, kind)
        words = {PLAIN_CACHE: "", CONSTRUCTED: "constructed", BY_RCU: "by_rcu",
                 ACCOUNTED: "accounted" if CGROUPS else "",
                 CONSTRUCTED_BY_RCU: "constructed by_rcu"}
        self.allocated(caller, addr, Block("cache", 1, 1, kind=words[kind], room=size))

    def make_mempool(self, caller: Owner) -> None:
        """Of the kernel's kinds, or with functions of the module's own."""
        kind = self.rng.choice(("kmalloc", "kmalloc", "slab", "page", "own"))
        cache = self.any_of("cache") if kind == "slab" else 0
        if kind == "slab" and (not cache or "constructed" in self.object(cache).kind):
            kind, cache = "kmalloc", 0
        size = self.object(cache).room if cache else self.rng.randrange(24, 2000)
        functions = {"kmalloc": ("mempool_create_kmalloc_pool", (2, size)),
                     "slab": ("mempool_create_slab_pool", (2, cache)),
                     "page": ("mempool_create_page_pool", (2, 0)),
                     "own": ("mempool_create", (1, size))}
        function, numbers = functions[kind]
        addr, _ = self.call(caller, function, *numbers)
        if not self.pool_size:
            bytes_then = caller.counts["live_bytes"] + (size if kind == "own" else 0)
            self.pool_size = stats(caller.module)["live_bytes"] - bytes_then
        pool = Block("mempool", self.pool_size, self.pool_size, kind=kind, room=size,
                     cache=self.object(cache) if cache else None, maker=caller.module)
        if kind == "own":
            # The one that the pool keeps is memory of the module's own.
            found = [record for record in live(caller.module)
                     if record.address not in caller.live and record.address != addr]
            assert len(found) == 1 and found[0].size == size, f"{found} in the pool"
            pool.hidden = [found[0].address]
            self.model.alloc(caller, found[0].address,
                             Block("kmalloc", size, size_class(size), waits=True), hidden=True)
        self.allocated(caller, addr, pool)

    def make_element(self, caller: Owner) -> None:
        """Of anybody's pool."""
        at = self.any_of("mempool")
        if not at:
            return
        pool = self.object(at)
        addr, _ = self.call(caller, self.rng.choice(("mempool_alloc", "mempool_alloc_nowait")), at)
        if pool.kind == "own":
            # That is what its maker's function gave: memory like any other.
            self.allocated(self.owner_of[pool.maker], addr,
                           Block("kmalloc", pool.room, size_class(pool.room), waits=True))
            self.model.foreign = True
            return
        size = 1 if pool.kind == "page" else pool.room
        usable = size_class(size) if pool.kind == "kmalloc" else size
        self.allocated(caller, addr, Block("element", size, usable, home=at, kind=pool.kind,
                                           cache=pool.cache))

    def make_dma(self, caller: Owner) -> None:
        """Of one of the module's devices."""
        size, number = self.rng.randrange(1, 3 * PAGE), self.number()
        addr, handle = self.call(caller, self.rng.choice(("dma_alloc_coherent", "dma_alloc_wc")),
                                 number, size)
        self.allocated(caller, addr, Block("dma", size, size, home=(caller.module, number),
                                           handle=handle))

    def make_dma_pool(self, caller: Owner) -> None:
        """Of one of the module's devices; it is one byte."""
        size = 8 * self.rng.randrange(1, 100)
        addr, _ = self.call(caller, "dma_pool_create", self.number(), size)
        self.allocated(caller, addr, Block("dma_pool", 1, 1, room=size))

    def make_dma_block(self, caller: Owner) -> None:
        """Of anybody's pool. It counts as one byte."""
        at = self.any_of("dma_pool")
        if not at:
            return
        pool = self.object(at)
        addr, handle = self.call(caller, self.rng.choice(("dma_pool_alloc", "dma_pool_zalloc")),
                                 at)
        self.allocated(caller, addr, Block("dma_block", 1, pool.room, home=at, handle=handle))

    def make_devm(self, caller: Owner) -> None:
        """Of one of the module's devices; by the kernel's own function now and then."""
        size, number = min(self.size(), 8000), self.number()
        if self.chance(0.1):
            addr, _ = self.call(caller, "raw_devm_kmalloc", number, size)
            self.model.occupy(addr, size)
            self.model.raw_devm[caller.module, number].append(addr)
            return
        calls: tuple[tuple[str, tuple[int, ...], int], ...] = (
            ("devm_kmalloc", (size,), size), ("devm_kzalloc", (size,), size),
            ("devm_kmalloc_array", (longs(size) // 8, 8), longs(size)),
            ("devm_kcalloc", (longs(size) // 8, 8), longs(size)),
            ("devm_krealloc", (0, size), size))
        copies: tuple[tuple[str, tuple[int, ...], int], ...] = (
            ("devm_kmemdup", (size,), size), ("devm_kstrdup", (size - 1,), size),
            ("devm_kasprintf", (size - 1,), size), ("devm_kvasprintf", (size - 1,), size))
        function, numbers, size = self.rng.choice(calls + copies if size <= COPY_MAX else calls)
        addr, _ = self.call(caller, function, number, *numbers)
        self.add_devm(caller, number, addr, size)

    def add_devm(self, caller: Owner, number: int, addr: int, size: int) -> None:
        """A block of the device."""
        usable = size_class(BLOCK_HEAD + size) - BLOCK_HEAD
        self.allocated(caller, addr, Block("devm", size, usable, waits=True,
                                           home=(caller.module, number)))

    # ---- Operations ----

    def do_alloc(self, caller: Owner) -> None:
        """An allocation gives memory that nobody has."""
        family = self.rng.choice(self.families)
        bag = caller.bags[family]
        if len(bag) < CAPS[family]:
            self.makers[family](caller)
        else:
            self.free(caller, bag.pick(self.rng))

    def do_free(self, caller: Owner) -> None:
        """A right free."""
        if caller.bag:
            self.free(caller, caller.bag.pick(self.rng))

    def do_foreign(self, caller: Owner) -> None:
        """Memory of the other module: freed, and counted for its owner."""
        addr = self.any_object(self.model.other(caller))
        if addr:
            self.free(caller, addr)

    def wrong_functions(self, named: int, quarantined: bool = False) -> list[str]:
        """Functions that may be called with what is named and is not theirs."""
        functions = [*KFREES, "kvfree", "vfree", "kmem_cache_free", "kmem_cache_free_bulk",
                     "free_pages", "free_page", "kmem_cache_destroy", "mempool_destroy",
                     "dma_pool_destroy", "mempool_free", "dma_pool_free", "devm_kfree",
                     "dma_free_coherent", "dma_free_attrs", "kfree_rcu", "kfree_rcu_headless"]
        if is_aligned(named):
            functions += ["__free_pages", "__free_page"]
        return functions if quarantined else functions + ["free_percpu"]

    def names(self, caller: Owner, function: str) -> Optional[Block]:
        """What a call of FUNCTION may name, rightly or not; None if there is nothing."""
        obj = Block("", PAGE << self.rng.randrange(3), 1, handle=PAGE,
                    home=(caller.module, self.number()))
        homes = {"kmem_cache_free": "cache", "kmem_cache_free_bulk": "cache",
                 "mempool_free": "mempool", "dma_pool_free": "dma_pool"}
        if function in homes:
            obj.home = self.any_of(homes[function])
            return obj if obj.home else None
        return obj

    def do_mismatch(self, caller: Owner) -> None:
        """A function that is not the family's: refused, or done by the right one."""
        addr = self.any_object()
        if not addr:
            return
        obj, named = self.object(addr), self.named(addr)
        if obj.family == "percpu" and self.chance(0.3):
            named = addr	# nor is its first copy anybody else's
        for _ in range(5):
            function = self.rng.choice(self.wrong_functions(named))
            if function == "free_percpu" and obj.family == "percpu":
                continue
            names = self.names(caller, function)
            if not names or not self.is_refused(caller, function, addr, obj, names):
                continue
            outcome = self.release(caller, function, named, names)
            assert outcome is Outcome.REFUSED, f"{outcome} by {function} of {obj}"
            return

    def is_refused(self, caller: Owner, function: str, addr: int, obj: Block,
                   names: Block) -> bool:
        """Is the call one that must not do what it says?"""
        if function == "mempool_free" and isinstance(names.home, int) and \
                self.object(names.home).kind == "own" and obj.family in KFREE:
            return obj.family == "element" and (obj.homeless or obj.home != names.home)
        _, means = self.way(caller, function, addr, names)
        # By kfree_rcu() memory would go rightly, and later; by kfree(), of a page, wrongly.
        return self.model.is_mismatched(obj, means) and not (
            obj.family == "element" and means.frees & KFREE)

    def do_misname(self, caller: Owner) -> None:
        """The right function with another cache, pool, device, size or order."""
        functions = {"slab": ("kmem_cache_free", "kmem_cache_free_bulk"),
                     "element": ("mempool_free",), "pages": ("free_pages", "__free_pages"),
                     "dma": ("dma_free_coherent", "dma_free_attrs"),
                     "dma_block": ("dma_pool_free",), "devm": ("devm_kfree",)}
        family = self.rng.choice(tuple(functions))
        addr = self.any_of(family)
        function = self.rng.choice(functions[family])
        names = self.names(caller, function)
        if not addr or not names:
            return
        obj = self.object(addr)
        if family == "dma" and self.chance(0.7):
            names = Block("dma", max(1, obj.size + self.rng.choice((-1, 1, 0, PAGE))), 1,
                          home=(caller.module, self.number()), handle=obj.handle)
        _, means = self.way(caller, function, addr, names)
        # An order is not looked at while others hold the page, too.
        if self.model.is_mismatched(obj, means) and not obj.refs:
            outcome = self.release(caller, function, addr, names)
            assert outcome is Outcome.REFUSED, f"{outcome} by {function} of {obj}"

    def again(self, caller: Owner) -> int:
        """An address released before that is nobody's now, but for quarantine."""
        if not self.model.released:
            return 0
        addr = self.rng.choice(self.model.released)
        kept = self.model.keeper(addr)
        taken = addr in self.model.ends and not kept
        return 0 if taken or not (kept or caller.refuses_unknown) else addr

    def do_free_again(self, caller: Owner) -> None:
        """A double free while the object is in quarantine, unknown after it."""
        addr = self.again(caller)
        if not addr:
            return
        kept = self.model.keeper(addr)
        function = self.rng.choice(self.wrong_functions(addr, not caller.refuses_unknown) +
                                   10 * ["kfree", "kvfree"])
        names = self.names(caller, function)
        if not names:
            return
        if function == "mempool_free" and not kept:
            pool = self.object(names.home) if isinstance(names.home, int) else None
            if pool and pool.kind == "own" and pool.maker != API:
                return
        outcome = self.release(caller, function, addr, names)
        assert outcome is Outcome.REFUSED, f"{outcome} by {function}"

    def do_interior(self, caller: Owner) -> None:
        """A pointer into an object: of the caller's own, or not known to it."""
        owner = self.rng.choice(self.model.owners) if caller.refuses_unknown else caller
        family = self.rng.choice(FAMILIES if caller.refuses_unknown else tuple(WHOLE))
        addr = self.any_of(family, owner)
        obj = owner.live.get(addr)
        if self.chance(0.2) and owner.quarantine:
            addr = self.rng.choice(tuple(owner.quarantine))
            obj = owner.quarantine[addr]
        if not obj or obj.usable < 2 or not (caller.refuses_unknown or obj.family in WHOLE):
            return
        at = addr + 1 + int(self.rng.random() * (obj.usable - 1))
        if obj.family == "percpu":
            at = self.model.cookie(at)
        function = self.rng.choice((*KFREES, "kvfree", "vfree", "kfree_rcu_headless"))
        if caller.refuses_unknown and self.chance(0.3):
            function = self.rng.choice(("kmem_cache_free_bulk", "devm_kfree", "free_pages",
                                        "dma_pool_destroy"))
        outcome = self.release(caller, function, at,
                               Block("", PAGE, 1, home=(caller.module, 0)))
        assert outcome is Outcome.REFUSED, f"{outcome} by {function}"

    def do_free_bulk(self, caller: Owner) -> None:
        """Each of several is dealt with as if it were alone, in order."""
        cache = self.any_of("cache")
        family = "slab" if cache and self.chance(0.6) else "kmalloc"
        addrs = {self.any_of(family) for _ in range(self.rng.randrange(1, 6))} - {0}
        if not addrs:
            return
        means = Free(CACHE_FREE, "slab", cache) if family == "slab" else BY_KFREE
        numbers = (cache,) if family == "slab" else ()
        function = "kmem_cache_free_bulk" if family == "slab" else "kfree_bulk"
        order = sorted(addrs, key=lambda addr: self.rng.random())
        self.call(caller, function, *numbers, *order)
        for addr in order:
            self.model.free(caller, addr, means)

    def do_unknown(self, caller: Owner) -> None:
        """Memory that nobody recorded: refused to the API, the drop-in's goes."""
        raw = self.model.raw
        if len(raw) < MAX_RAW:
            addr, usable = self.call(caller, "raw_kmalloc", self.size())
            self.model.occupy(addr, usable)
            raw.add(addr)
            return
        if self.chance(0.3):
            device = (caller.module, self.number())
            if self.model.raw_devm[device]:
                self.free_raw_devm(caller, device)
            return
        addr = raw.pick(self.rng)
        function = self.rng.choice((*KFREES, "kvfree"))
        if self.release(caller, function, addr, Block("", 1, 1)) is Outcome.PASSED:
            raw.remove(addr)
            self.model.vacate(addr)

    def free_raw_devm(self, caller: Owner, device: tuple[str, int]) -> None:
        """Memory of the device that the kernel's own function gave."""
        addr = self.rng.choice(self.model.raw_devm[device])
        if self.release(caller, "devm_kfree", addr, Block("", 1, 1, home=device)) is \
                Outcome.PASSED:
            self.model.raw_devm[device].remove(addr)
            self.model.vacate(addr)

    def do_nothing(self, caller: Owner) -> None:
        """NULL and ZERO_SIZE_PTR are no objects; size 0 gives none."""
        if self.chance(0.3):
            function = self.rng.choice(("kmalloc", "kvmalloc"))
            addr, _ = self.call(caller, function, 0)
            assert addr == ZERO_SIZE_PTR, f"{function} of 0 gave {addr:x}"
            addr, _ = self.call(caller, "devm_kmalloc", self.number(), 0)
            assert addr == ZERO_SIZE_PTR, f"devm_kmalloc of 0 gave {addr:x}"
        elif self.chance(0.5):
            self.call(caller, self.rng.choice((*FREES, "kvfree")),
                      self.rng.choice((0, ZERO_SIZE_PTR)))
            self.call(caller, "devm_kfree", self.number(), self.rng.choice((0, ZERO_SIZE_PTR)))
        else:
            self.call(caller, self.rng.choice(("vfree", "free_percpu", "kmem_cache_destroy",
                                               "mempool_destroy", "dma_pool_destroy",
                                               "kfree_rcu_headless")), 0)
            self.call(caller, "free_pages", 0, self.rng.randrange(3))
            self.call(caller, "free_pages_exact", 0, PAGE)

    def do_error(self, caller: Owner) -> None:
        """No error is freed, whoever asks for it."""
        named = ADDRESSES - self.rng.choice((1, ERRNO, ERRNO_MAX))
        function = self.rng.choice((*KFREES, "kvfree", "vfree", "kmem_cache_free", "free_pages",
                                    "free_percpu", "kmem_cache_destroy", "mempool_destroy",
                                    "mempool_free", "dma_pool_destroy", "dma_pool_free",
                                    "dma_free_coherent", "devm_kfree", "kfree_rcu"))
        names = self.names(caller, function)
        if names:
            outcome = self.release(caller, function, named, names)
            assert outcome is Outcome.REFUSED, f"{outcome} by {function}"

    # ---- Resizing ----

    def do_realloc(self, caller: Owner) -> None:
        """In place if it fits, else a new object for the old one; 0 frees."""
        owner = caller if self.chance(0.9) else self.model.other(caller)
        family = self.rng.choice(("kmalloc", "kmalloc", "kmalloc", "slab", "element", "devm",
                                  "vmalloc"))
        addr = self.any_of(family, owner)
        if not addr:
            return
        obj = owner.live[addr]
        size = self.rng.choice((self.size(), obj.usable, obj.size + 1, obj.size // 2))
        if family == "devm":
            self.realloc_devm(caller, addr, obj, size)
        elif family == "vmalloc" and self.has_kvrealloc:
            self.realloc_kv(caller, addr, obj, size)
        elif family != "vmalloc" and not self.is_constructed(obj) and \
                (family != "element" or obj.kind == "kmalloc"):
            new, usable = self.call(caller, "krealloc", addr, size)
            self.resized(caller, addr, size, new, BY_KFREE,
                         lambda: self.allocated(caller, new,
                                                Block("kmalloc", size, usable, waits=True)))

    def room(self, obj: Block) -> int:
        """The size up to which it stays where it is: for an object of a cache, the cache's."""
        if obj.family != "slab":
            return obj.usable
        cache = self.cache_of(obj)
        return cache.room if cache else OWN_CACHE_SIZE

    def cache_of(self, obj: Block) -> Optional[Block]:
        """The cache that was created for it, if it is not the one that the module has anyway."""
        return self.model.find(obj.home) if isinstance(obj.home, int) else None

    def is_constructed(self, obj: Block) -> bool:
        """Is it of a cache with a constructor? The kernel clears the rest of what shrinks."""
        cache = self.cache_of(obj)
        return bool(cache) and "constructed" in (cache.kind if cache else "")

    def resized(self, caller: Owner, addr: int, size: int, new: int, way: Free,
                moved: Callable[[], None]) -> None:
        """What krealloc() or devm_krealloc() has done to an object that CALLER may free."""
        owner = self.model.holder(addr)
        assert owner
        if not size:
            assert new == ZERO_SIZE_PTR, f"to 0 gave {new:x}"
            self.model.free(caller, addr, way)
        elif size <= self.room(owner.live[addr]):
            assert new == addr, f"moved to {new:x}, though it fits"
            owner.resize(addr, size)
            self.model.foreign |= owner is not caller
        else:
            # The old object is still there when the new one is made.
            moved()
            self.model.free(caller, addr, way)

    def realloc_devm(self, caller: Owner, addr: int, obj: Block, size: int) -> None:
        """What moves keeps its place in the order in which the device frees."""
        device = obj.home
        assert isinstance(device, tuple)
        if device[0] != caller.module:
            return
        size = min(size, 8000)
        new, _ = self.call(caller, "devm_krealloc", device[1], addr, size)
        blocks = self.model.devices[device]
        place = blocks.index(addr)
        self.resized(caller, addr, size, new, Free(frozenset(("devm",)), "devm", device),
                     lambda: self.add_devm(caller, device[1], new, size))
        if new not in (addr, ZERO_SIZE_PTR):
            blocks.remove(new)
            blocks.insert(place, new)

    def realloc_kv(self, caller: Owner, addr: int, obj: Block, size: int) -> None:
        """Nothing to do for what does not grow."""
        new, usable = self.call(caller, "kvrealloc", addr, obj.size, size)
        if size <= obj.size:
            assert new == addr, f"moved to {new:x}, though it fits"
            return
        self.allocated(caller, new, self.plain(size, usable))
        self.model.free(caller, addr, BY_KVFREE)

    def do_realloc_wrong(self, caller: Owner) -> None:
        """What cannot be freed cannot be resized: NULL, and nothing happens."""
        device = (caller.module, self.number())
        by_device = self.chance(0.4)
        way = Free(frozenset(("devm",)), "devm", device) if by_device else BY_KFREE
        addr = self.any_object() if self.chance(0.6) else self.again(caller)
        obj = self.model.find(addr)
        if not addr or (obj and (not self.model.is_mismatched(obj, way) or obj.family == "percpu")):
            return
        if by_device:
            new, _ = self.call(caller, "devm_krealloc", device[1], addr, 1 + self.size() % 8000)
        else:
            new, _ = self.call(caller, "krealloc", addr, self.size())
        assert new == 0, f"gave {new:x}"
        assert not self.model.resizes(caller, addr, way)

    # ---- Pages ----

    def do_page_holders(self, caller: Owner) -> None:
        """Others hold pages, and let them go: the last of them frees."""
        if self.model.elsewhere and self.chance(0.5):
            addr = self.rng.choice(tuple(self.model.elsewhere))
            if self.chance(0.2):
                # To anything else it is released.
                self.release(caller, self.rng.choice(("kfree", "vfree", "mempool_destroy")), addr,
                             Block("", 1, 1))
            elif self.chance(0.5):
                self.release(caller, self.rng.choice(("free_page", "__free_page")), addr,
                             Block("pages", PAGE, PAGE))
            else:
                self.call(caller, "put_page", addr)
                self.model.drop_page(addr)
            return
        addr = self.any_of("pages")
        obj = self.model.find(addr)
        if not obj:
            return
        if obj.refs and self.chance(0.4):
            self.call(caller, "put_page", addr)
            obj.refs -= 1
        elif obj.refs < 3:
            self.call(caller, "get_page", addr)
            obj.refs += 1
        count, _ = self.call(caller, "page_count", addr)
        assert count == 1 + obj.refs, f"held {count} times, not {1 + obj.refs}"

    def do_split(self, caller: Owner) -> None:
        """Each page of a block is an object then."""
        addr = self.any_of("pages")
        owner, obj = self.model.holder(addr), self.model.find(addr)
        if not owner or not obj or not obj.order or obj.refs:
            return
        self.call(caller, "split_page", addr, obj.order)
        nr = obj.size // PAGE
        owner.resize(addr, PAGE)
        obj.usable = PAGE
        self.model.ends[addr] = addr + PAGE
        for place in range(1, nr):
            self.allocated(owner, addr + place * PAGE, Block("pages", PAGE, PAGE))
        self.model.foreign |= owner is not caller
        self.runs.append((addr, nr))

    def do_free_exact(self, caller: Owner) -> None:
        """Pages in a row, of which the API may find some gone."""
        if not self.runs:
            return
        addr, nr = self.runs.pop(int(self.rng.random() * len(self.runs)))
        pages = [addr + place * PAGE for place in range(nr)]
        for page in pages:
            obj = self.model.find(page)
            gone = not obj and page not in self.model.ends
            right = obj and obj.family == "pages" and not obj.refs and not obj.order
            if not right and not (gone and caller.refuses_unknown):
                return
        self.call(caller, "free_pages_exact", addr, nr * PAGE - self.rng.choice((0, 1, 4000)))
        for page in pages:
            self.model.free(caller, page, Free(frozenset(("pages",)), "pages", None, PAGE))

    # ---- The rest of the kernel ----

    def do_elsewhere(self, caller: Owner) -> None:
        """The kernel's own kfree() and put_page() free what is recorded, or released."""
        family = self.rng.choice(("kmalloc", "kmalloc", "slab", "element", "pages", ""))
        addr = self.any_of(family) if family else 0
        obj = self.model.find(addr)
        if not family and caller.quarantine:
            addr = self.rng.choice(tuple(caller.quarantine))
            if caller.quarantine[addr].family not in ("kmalloc", "slab"):
                return
            obj = caller.quarantine[addr]
        if not obj or (obj.family == "element" and obj.kind != "kmalloc"):
            return
        if obj.family == "pages" and (obj.order or obj.refs):
            return
        self.call(caller, "put_page" if obj.family == "pages" else "raw_kfree", addr)
        self.model.elsewhere_freed(addr)

    def do_detach(self, caller: Owner) -> None:
        """The device frees what it has in the order of its managed resources, and comes back."""
        number = self.number()
        self.call(caller, "unbind", number)
        self.model.detach((caller.module, number))
        self.check_counters(caller)
        self.do_free_again(caller)
        bound, _ = self.call(caller, "bind", number)
        assert bound == 1, f"the device has no driver: {bound:x}"

    def do_rcu(self, caller: Owner) -> None:
        """Several wait for a grace period, and are refused meanwhile.

        When a cache of which one waits is destroyed, all are waited for.
        """
        cache, _ = self.call(caller, "kmem_cache_create", 64, PLAIN_CACHE)
        self.allocated(caller, cache, Block("cache", 1, 1, room=64))
        addrs = {self.any_of(self.rng.choice(("kmalloc", "vmalloc", "slab", "element")))
                 for _ in range(self.rng.randrange(1, 30))} - {0}
        # Before any of them can have gone: its slab is memory of nobody's
        last = self.call(caller, "kmem_cache_alloc", cache)
        self.add_slab(caller, cache, last)
        waiting = []
        for addr in addrs:
            obj = self.object(addr)
            # The kernel's own is no place for what belongs to a cache that may go.
            if obj.size < 24 or (obj.family == "element" and obj.kind != "kmalloc"):
                continue
            double = obj.family != "element" and self.chance(0.3)
            function = "kfree_rcu_kfree" if double else \
                self.rng.choice(("kfree_rcu", "kfree_rcu_headless"))
            self.call(caller, function, addr)
            self.rcu_claimed(caller, addr, obj, waiting, double)
        self.call(caller, "kfree_rcu", last[0])
        self.rcu_claimed(caller, last[0], self.object(last[0]), waiting, False)
        for owner, addr, obj in waiting:
            self.model.goes(owner, addr, obj)
        assert self.release(caller, "kmem_cache_destroy", cache, Block("", 1, 1)) is \
            Outcome.RELEASED

    def rcu_claimed(self, caller: Owner, addr: int, obj: Block,
                    waiting: list[tuple[Owner, int, Block]], double: bool) -> None:
        """CALLER has released the object, which goes later."""
        owner = self.model.holder(addr)
        assert owner
        owner.take(addr)
        owner.counts["freed"] += 1
        owner.counts["double_frees"] += int(double)
        owner.counts["foreign_frees"] += int(owner is not caller)
        self.model.foreign |= owner is not caller
        waiting.append((owner, addr, obj))

    # ---- Comparison ----

    def expected(self, owner: random_heap.Owner[Block]) -> set[Expected]:
        """What the live file of OWNER must have."""
        return {Expected(addr, obj.size, obj.family) for addr, obj in owner.live.items()}

    def step(self, number: int) -> None:
        """One operation, and all that must hold after it."""
        self.new_phase(number)
        caller = self.model.api if self.chance(0.6) else self.model.dropin
        self.actions[int(self.rng.random() * len(self.actions))](caller)
        self.check_counters(caller)
        if self.model.foreign:
            self.model.foreign = False
            self.check_counters(self.model.other(caller))

    def finish(self) -> None:
        """Free all there is, but what the devices free when the modules go."""
        while self.model.elsewhere:
            addr = next(iter(self.model.elsewhere))
            self.call(self.model.api, "put_page", addr)
            self.model.drop_page(addr)
        # Twice, for what others belong to.
        for family in FAMILIES[::-1] + FAMILIES[::-1] if self.model.owners else ():
            for owner in self.model.owners:
                for addr in list(owner.bags[family].items):
                    if family == "pages":
                        self.let_go(owner, addr)
                    if family != "devm" or self.chance(0.5):
                        self.free(owner, addr)
        for addr in list(self.model.raw.items):
            self.call(self.model.api, "raw_kfree", addr)
        for owner in self.model.owners:
            left = {owner.live[addr].family for addr in owner.bag.items}
            assert left <= {"devm"}, f"{owner.module} still has {left}"

    def let_go(self, owner: Owner, addr: int) -> None:
        """Nobody but OWNER holds the page."""
        while owner.live[addr].refs:
            self.call(owner, "put_page", addr)
            owner.live[addr].refs -= 1


def run(steps: int, limit: int) -> None:
    """STEPS random operations with a quarantine of LIMIT bytes."""
    session = random_heap.run(lambda rng, api, dropin: Run(rng, api, dropin, limit, steps), steps,
                              limit)
    assert isinstance(session, Run)
    done = session.done
    random_heap.Ktap.note(", ".join(f"{key} {value}" for key, value in sorted(done.items())))
    # A short run makes few of each: what happened then is in its notes.
    if steps >= 10000:
        random_heap.check_wrong(session, limit, "interior_frees", "foreign_frees",
                                "mismatched_frees", "released_elsewhere")
        missing = [family for family in FAMILIES if not done.get(f"new {family}")]
        assert not missing, f"none of {missing} was allocated"
    if steps >= 20000 and limit >= 1 << 24:
        random_heap.check_full(session)
    random_heap.check_exits(session)


def test_default() -> None:
    """The quarantine as it is by default, most operations."""
    run(STEPS, int(read_file(f"{SYSFS}/quarantine_bytes")))


def test_roomy() -> None:
    """A quarantine that objects fill, not bytes: caches that go leave gaps in its middle."""
    run(STEPS, 64 << 20)


def test_tiny() -> None:
    """A quarantine of two pages: most objects leave it soon, or never enter."""
    run(STEPS_LESS, 2 * PAGE)


def test_off() -> None:
    """No quarantine: what is freed again is unknown."""
    run(STEPS_LESS, 0)


CASES: Sequence[tuple[str, Callable[[], None]]] = (
    ("random operations on all families agree with the model", test_default),
    ("random operations on all families with a roomy quarantine", test_roomy),
    ("random operations on all families with a quarantine of two pages", test_tiny),
    ("random operations on all families without quarantine", test_off),
)

if __name__ == "__main__":
    run_cases(CASES, modules=(API, DROPIN))
