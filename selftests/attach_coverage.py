#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Tell what share of the modules' links to the kernel's allocators attach covers, and which not.

A link is a place in a module that calls, jumps to or hands on a function which allocates memory
that its caller owns, or releases such memory. The .ko files say where these places are (their
relocations), src/hooks.h says which functions are hooked, and src/compat.h what they are called
in which kernels:

    attach_coverage.py
    attach_coverage.py --least 99.5 /lib/modules/6.1.0-56-amd64

exits with 0 if the share is large enough, with 1 if it is not, with 2 if it could not be found out.

What only drops a reference (put_page()), maps memory (vmap()), or makes an object of another kind
(an skb, a workqueue) is no link to an allocator. x86-64 only.
"""
import argparse
import collections
import gzip
import lzma
import os
import re
import signal
import struct
import subprocess
import sys
import zlib
from pathlib import Path
from typing import Iterator, NamedTuple, Optional, Sequence

ENOUGH, TOO_FEW, FAILED = 0, 1, 2
HERE = Path(__file__).resolve().parent
SUFFIXES = (".ko", ".ko.gz", ".ko.xz", ".ko.zst")

# ---- What is known of the kernel: the names are those of 6.1 and, without _noprof, of 6.12 ----

ALLOCATE = {
    "kmalloc": """kmalloc_trace __kmalloc kmalloc_large kmalloc_node_trace __kmalloc_node
        kmalloc_large_node __kmalloc_cache __kmalloc_cache_node __kmalloc_large
        __kmalloc_large_node __kmalloc_node_track_caller krealloc krealloc_node_align kmemdup
        kmemdup_nul kmemdup_array kstrdup kstrndup kstrdup_const kstrdup_quotable
        kstrdup_quotable_cmdline kstrdup_quotable_file kvasprintf kvasprintf_const kasprintf
        kasprintf_strarray memdup_user memdup_user_nul strndup_user match_strdup nla_strdup
        argv_split bitmap_alloc bitmap_zalloc bitmap_alloc_node bitmap_zalloc_node
        alloc_cpumask_var_node sock_kmalloc sock_kmemdup bio_kmalloc""",
    "vmalloc": """vmalloc vzalloc vmalloc_node vzalloc_node vmalloc_user vmalloc_32
        vmalloc_32_user vmalloc_huge vmalloc_huge_node __vmalloc __vmalloc_node
        __vmalloc_node_range __vmalloc_array vmalloc_array __vcalloc vcalloc""",
    "kvmalloc": """kvmalloc_node __kvmalloc_node kvrealloc kvrealloc_node_align kvmemdup
        vmemdup_user iov_iter_get_pages_alloc2""",
    "pages": """alloc_pages __alloc_pages alloc_pages_node __get_free_pages get_free_pages
        get_zeroed_page alloc_pages_exact alloc_pages_exact_nid folio_alloc __folio_alloc
        vma_alloc_folio __alloc_pages_bulk alloc_pages_bulk alloc_contig_range
        alloc_contig_pages""",
    "slab": """kmem_cache_alloc kmem_cache_alloc_lru kmem_cache_alloc_node
        kmem_cache_alloc_bulk""",
    "cache": "kmem_cache_create kmem_cache_create_usercopy __kmem_cache_create_args",
    "mempool": """mempool_create mempool_create_node mempool_init mempool_init_node
        mempool_resize mempool_alloc mempool_alloc_preallocated""",
    "percpu": "__alloc_percpu __alloc_percpu_gfp pcpu_alloc",
    "dma": """dma_alloc_attrs dmam_alloc_attrs dma_alloc_pages dma_alloc_noncontiguous
        dma_pool_create dma_pool_create_node dmam_pool_create dma_pool_alloc""",
    "device": """devm_kmalloc devm_krealloc devm_kstrdup devm_kstrdup_const devm_kvasprintf
        devm_kasprintf devm_kasprintf_strarray devm_kmemdup devm_kmemdup_const
        devm_get_free_pages __devm_alloc_percpu devm_bitmap_alloc devm_bitmap_zalloc
        __devres_alloc_node""",
}
RELEASE = {
    "kmalloc": """kfree kfree_sensitive kfree_const kvfree_call_rcu bitmap_free
        free_cpumask_var argv_free kfree_strarray kfree_link sock_kfree_s sock_kzfree_s""",
    "vmalloc": "vfree vfree_atomic",
    "kvmalloc": "kvfree kvfree_sensitive",
    "pages": "__free_pages free_pages free_pages_exact free_contig_range",
    "slab": "kmem_cache_free kmem_cache_free_bulk",
    "cache": "kmem_cache_destroy",
    "mempool": "mempool_free mempool_destroy mempool_exit",
    "percpu": "free_percpu",
    "dma": """dma_free_attrs dmam_free_coherent dma_free_pages dma_free_noncontiguous
        dma_pool_free dma_pool_destroy dmam_pool_destroy""",
    "device": "devm_kfree devm_free_pages devm_free_percpu devres_free",
}

# Functions that need no hook, since the only way to memory is through one beneath them, as read in
# the kernel's source. First, those beneath which the module is still seen to be the caller: they
# end in a jump, or hand on their own return address.
PASSES_CALLER = {
    # The devres functions hand on their caller: what is recorded is the driver core's node
    "__kmalloc_node_track_caller": """krealloc kmemdup kmemdup_nul kstrdup kstrndup memdup_user
        memdup_user_nul kvasprintf devm_kmalloc devm_krealloc __devres_alloc_node""",
    "kstrdup": "kstrdup_const",
    "kvasprintf": "kvasprintf_const",
    "kmemdup_nul": "match_strdup",
    "__kmalloc": "bitmap_alloc bitmap_zalloc bio_kmalloc",
    "__kmalloc_node": "bitmap_alloc_node bitmap_zalloc_node",
    "__vmalloc_node": "vmalloc vzalloc vmalloc_node vzalloc_node vmalloc_32 __vmalloc",
    "__vmalloc_node_range": "vmalloc_user vmalloc_32_user vmalloc_huge",
    "__vmalloc": "__vmalloc_array vmalloc_array __vcalloc vcalloc",
    "devm_kstrdup": "devm_kstrdup_const",
}
# Second, those that call, so that the core seems to be the caller: MOWN_HELPER(name) in the file
# of the hooks says that attach looks further up the stack then.
CALLS = {
    "__kmalloc": "nla_strdup argv_split sock_kmalloc sock_kmemdup",
    "__kmalloc_node": "alloc_cpumask_var_node",
    "kvasprintf": "kasprintf",
    "memdup_user": "strndup_user",
    "kvmalloc_node": "kvrealloc vmemdup_user iov_iter_get_pages_alloc2",
    "__kvmalloc_node": "kvrealloc kvmemdup vmemdup_user iov_iter_get_pages_alloc2",
    "alloc_pages": "__get_free_pages get_free_pages get_zeroed_page alloc_pages_exact",
    "kmemdup": "kmemdup_array",
    "kmem_cache_create_usercopy": "kmem_cache_create",
    "dma_alloc_attrs": "dmam_alloc_attrs",
    "dma_pool_create": "dmam_pool_create",
    "dma_pool_create_node": "dmam_pool_create",
    "devm_kmalloc": "devm_kstrdup devm_kmemdup devm_kvasprintf",
    "devm_kvasprintf": "devm_kasprintf",
    "__alloc_percpu": "__devm_alloc_percpu",
    "pcpu_alloc": "__devm_alloc_percpu",
    "__get_free_pages": "devm_get_free_pages",
    "get_free_pages": "devm_get_free_pages",
}
# Releases are found by the pointer, whoever calls. What is said with two names needs both hooks.
RELEASES_BY = {
    "kfree": """kfree_sensitive kfree_const bitmap_free free_cpumask_var argv_free
        kfree_strarray kfree_link sock_kfree_s devm_kfree devres_free""",
    "kfree_sensitive": "sock_kzfree_s",
    "kfree vfree": "kvfree kvfree_sensitive",
    # A tracepoint: pages are recorded until the last who holds them lets them go
    "mm_page_free": """__free_pages free_pages free_pages_exact devm_free_pages dma_free_pages
        free_contig_range""",
    "free_percpu": "devm_free_percpu",
    "dma_free_attrs": "dmam_free_coherent",
    "dma_pool_destroy": "dmam_pool_destroy",
}

# What mown's net has without a hook
TRACEPOINTS = {"mm_page_free"}

# Functions that cannot be hooked: the kernel's lib/ is built without ftrace
UNTRACEABLE = """kvasprintf kvasprintf_const kasprintf kasprintf_strarray kstrdup_quotable
    kstrdup_quotable_cmdline kstrdup_quotable_file match_strdup nla_strdup argv_split argv_free
    bitmap_alloc bitmap_zalloc bitmap_alloc_node bitmap_zalloc_node bitmap_free devm_bitmap_alloc
    devm_bitmap_zalloc alloc_cpumask_var_node free_cpumask_var kfree_strarray
    iov_iter_get_pages_alloc2""".split()
# Where allocations are profiled (6.10 on), the names that others rest on have _noprof, but these
WITHOUT_NOPROF = """kstrdup kvasprintf kmemdup_nul memdup_user kmem_cache_create_usercopy
    dma_alloc_attrs dma_pool_create dma_pool_create_node devm_kmalloc devm_kstrdup
    devm_kvasprintf""".split()


def by_word(table: dict[str, str]) -> dict[str, list[str]]:
    """The table, turned round: for each word of the values, the keys."""
    result: dict[str, list[str]] = collections.defaultdict(list)
    for key, words in table.items():
        for word in words.split():
            result[word].append(key)
    return result


ALLOCATOR_FAMILY = {name: family for name, (family,) in by_word(ALLOCATE).items()}
RELEASE_FAMILY = {name: family for name, (family,) in by_word(RELEASE).items()}
BENEATH_ALLOCATOR = by_word(PASSES_CALLER)
BENEATH_HELPER = by_word(CALLS)
BENEATH_RELEASE = by_word(RELEASES_BY)


class CoverageError(Exception):
    """The share cannot be found out; the reason is the text."""


# ---- Modules ----

CALL, JUMP, ADDRESS = "call", "jump", "address"

SHT_SYMTAB, SHT_RELA, SHT_NOBITS = 2, 4, 8
SHF_ALLOC, SHF_EXECINSTR = 2, 4
ET_REL, EM_X86_64, SHN_UNDEF = 1, 62, 0
R_X86_64_PC32, R_X86_64_PLT32 = 2, 4


class Section(NamedTuple):
    """A section's header, as the file has it."""

    name: int
    type: int
    flags: int
    addr: int
    offset: int
    size: int
    link: int
    info: int
    align: int
    entsize: int


def plain_name(symbol: str) -> str:
    """The name without what a kernel with allocation profiling adds to it."""
    return symbol[:-len("_noprof")] if symbol.endswith("_noprof") else symbol


def is_wanted(symbol: str) -> bool:
    """Is the symbol an allocator or a release function?"""
    return plain_name(symbol) in ALLOCATOR_FAMILY or plain_name(symbol) in RELEASE_FAMILY


class Module:
    """A module's file, taken to pieces. ValueError if it is not whole."""

    def __init__(self, image: bytes) -> None:
        self.image = image
        if image[:6] != b"\x7fELF\x02\x01":
            raise ValueError("not a 64-bit ELF file")
        kind, machine = struct.unpack_from("<HH", image, 16)
        if (kind, machine) != (ET_REL, EM_X86_64):
            raise ValueError("not a module for x86-64")
        start, = struct.unpack_from("<Q", image, 40)
        size, count = struct.unpack_from("<HH", image, 58)
        if not count or size != struct.calcsize("<IIQQQQIIQQ"):
            raise ValueError("no table of sections")
        self.sections = [Section(*struct.unpack_from("<IIQQQQIIQQ", image, start + i * size))
                         for i in range(count)]

    def content(self, section: Section) -> bytes:
        """What the section has in the file."""
        if section.type == SHT_NOBITS:
            return b""
        end = section.offset + section.size
        if end > len(self.image):
            raise ValueError("a section ends behind the end of the file")
        return self.image[section.offset:end]

    def wanted_symbols(self) -> dict[int, str]:
        """The allocators and release functions of the kernel, by their number in the module."""
        tables = [section for section in self.sections if section.type == SHT_SYMTAB]
        if len(tables) != 1:
            raise ValueError("no table of symbols")
        strings = self.content(self.sections[tables[0].link])
        result = {}
        entries = struct.iter_unpack("<IBBHQQ", self.content(tables[0]))
        for number, (name, _, _, section, _, _) in enumerate(entries):
            if section == SHN_UNDEF and name:
                end = strings.find(b"\0", name)
                if end < 0:
                    raise ValueError("a symbol without a name")
                symbol = strings[name:end].decode("ascii", "replace")
                if is_wanted(symbol):
                    result[number] = symbol
        return result

    def links(self) -> Iterator[tuple[str, str]]:
        """The places where the module uses such a function: its name, and how it is used."""
        wanted = self.wanted_symbols()
        for section in self.sections if wanted else []:
            target = self.sections[section.info] if section.type == SHT_RELA else section
            if section.type != SHT_RELA or not target.flags & SHF_ALLOC:
                continue
            code = self.content(target) if target.flags & SHF_EXECINSTR else b""
            for offset, info, _ in struct.iter_unpack("<QQq", self.content(section)):
                symbol = wanted.get(info >> 32)
                if symbol:
                    yield symbol, how_used(code, offset, info & 0xffffffff)


def how_used(code: bytes, offset: int, relocation: int) -> str:
    """What the instruction does whose operand is at OFFSET; CODE is empty where data is."""
    if not code or relocation not in (R_X86_64_PC32, R_X86_64_PLT32):
        return ADDRESS
    if not 0 < offset < len(code):
        raise ValueError("a relocation lies outside its section")
    if code[offset - 1] == 0xe8:
        return CALL
    if code[offset - 1] == 0xe9 or (code[offset - 2] == 0x0f and code[offset - 1] & 0xf0 == 0x80):
        return JUMP
    return ADDRESS


def unzstd(data: bytes) -> bytes:
    """What zstd has compressed."""
    try:
        return subprocess.run(["zstd", "-dcq"], input=data, stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, check=True).stdout
    except FileNotFoundError as error:
        raise ValueError("needs the program zstd") from error
    except subprocess.CalledProcessError as error:
        raise ValueError("not what zstd has compressed, or not all of it") from error


def read_module(path: Path) -> bytes:
    """The module's image."""
    data = path.read_bytes()
    if path.suffix == ".xz":
        return lzma.decompress(data)
    if path.suffix == ".gz":
        return gzip.decompress(data)
    return unzstd(data) if path.suffix == ".zst" else data


def links_of(path: Path) -> collections.Counter[tuple[str, str]]:
    """How often the module uses each function in each way."""
    try:
        return collections.Counter(Module(read_module(path)).links())
    except OSError as error:
        raise CoverageError(f"{path}: {error.strerror or error}") from error
    except (struct.error, IndexError, OverflowError, EOFError, zlib.error,
            lzma.LZMAError) as error:
        raise CoverageError(f"{path}: damaged or truncated") from error
    except ValueError as error:
        raise CoverageError(f"{path}: {error}") from error


def find_modules(where: Path) -> list[Path]:
    """The modules in a directory, or the module that is named."""
    def fail(error: OSError) -> None:
        raise CoverageError(f"{error.filename}: {error.strerror}") from error

    if where.is_file() and where.name.endswith(SUFFIXES):
        return [where]
    if not where.is_dir():
        raise CoverageError(f"{where}: no such directory")
    found = [Path(directory, name) for directory, _, names in os.walk(where, onerror=fail)
             for name in names if name.endswith(SUFFIXES)]
    if not found:
        raise CoverageError(f"{where}: no modules in it")
    return sorted(found)


class Links:
    """The links of all modules."""

    def __init__(self) -> None:
        # By symbol and use
        self.sites: collections.Counter[tuple[str, str]] = collections.Counter()
        self.users: dict[tuple[str, str], set[str]] = collections.defaultdict(set)

    def add(self, path: Path) -> None:
        """Count what the module has."""
        name = path.name.partition(".ko")[0].replace("-", "_")
        for key, count in links_of(path).items():
            self.sites[key] += count
            self.users[key].add(name)

    def symbols(self) -> list[str]:
        """All functions that are linked to, the most often used first."""
        total: collections.Counter[str] = collections.Counter()
        for (symbol, _), count in self.sites.items():
            total[symbol] += count
        return [symbol for symbol, _ in total.most_common()]


def read_links(paths: Sequence[Path]) -> Links:
    """The links of these modules; shows how far it is, to who sits in front of it."""
    links = Links()
    shown = sys.stderr.isatty()
    try:
        for number, path in enumerate(paths, 1):
            links.add(path)
            if shown and (number % 50 == 0 or number == len(paths)):
                print(f"\r{number} of {len(paths)} modules", end="", file=sys.stderr, flush=True)
    finally:
        if shown:
            print(file=sys.stderr)
    return links


# ---- Hooks ----

class Verdict(NamedTuple):
    """Are calls of a function covered?"""

    covered: bool
    # By what, or why not
    why: str


class Hooks:
    """The functions that are hooked, and those that attach looks through."""

    def __init__(self, path: Path) -> None:
        text, compat = (self.read(file) for file in (path, path.with_name("compat.h")))
        # Of a name that differs by kernel, all that it may be
        self.names: dict[str, set[str]] = collections.defaultdict(set)
        for name, value in re.findall(r"^#define (MOWN_\w+) (\w.*)$", compat, re.MULTILINE):
            self.names[name].update(self.expand(value))
        # Each by all of its names
        self.entries = self.table("MOWN_HOOK", text)
        self.hooks = set().union(*self.entries)
        self.helpers = set(map(plain_name, set().union(*self.table("MOWN_HELPER", text))))
        if not self.hooks:
            raise CoverageError(f"{path}: no hook in it (MOWN_HOOK(name, ...) begins a line)")

    @staticmethod
    def read(path: Path) -> str:
        """A source file."""
        try:
            return path.read_text(encoding="utf-8", errors="replace")
        except OSError as error:
            raise CoverageError(f"{path}: {error.strerror}") from error

    def expand(self, name: str) -> set[str]:
        """What the preprocessor may make of the name of a function."""
        match = re.fullmatch(r"MOWN_NOPROF\((\w+)\)", name)
        if match:
            return {match[1], match[1] + "_noprof"}
        return self.names.get(name, {name})

    def table(self, macro: str, text: str) -> list[set[str]]:
        """The functions that the macro names, each with a line to itself."""
        entries = re.findall(rf"^[ \t]*{macro}\((\w+(?:\(\w+\))?)", text, re.MULTILINE)
        return [self.expand(entry) for entry in entries]

    def judge(self, symbol: str, profiled: bool) -> Verdict:
        """Are calls of the function covered, in a kernel that profiles allocations or not?"""
        name = plain_name(symbol)
        if symbol in self.hooks and name not in UNTRACEABLE:
            return Verdict(True, "its hook")
        if name in TRACEPOINTS:
            return Verdict(True, "its tracepoint")
        missing = []
        for beneath in BENEATH_RELEASE[name] + BENEATH_ALLOCATOR[name]:
            lost = [each for each in beneath.split() if not self.reaches(each, profiled)]
            if not lost:
                return Verdict(True, f"through {' and '.join(beneath.split())}")
            missing += lost
        for beneath in BENEATH_HELPER[name]:
            if not self.reaches(beneath, profiled):
                missing.append(beneath)
            elif name in self.helpers:
                return Verdict(True, f"through {beneath}, called by this helper")
            else:
                return Verdict(False, f"calls {beneath}, where the core is taken for the caller "
                                      "(no MOWN_HELPER)")
        what = "cannot be hooked" if name in UNTRACEABLE else "not hooked"
        return Verdict(False, f"{what}, nor is {' or '.join(missing)} hooked" if missing else what)

    def reaches(self, name: str, profiled: bool) -> bool:
        """Is the function hooked, or one beneath it?"""
        if profiled and name in ALLOCATOR_FAMILY and name not in WITHOUT_NOPROF:
            name += "_noprof"
        return self.judge(name, profiled).covered


# ---- The report ----

class Row(NamedTuple):
    """A function, and what attach sees of it."""

    symbol: str
    family: str
    releases: bool
    sites: int
    covered: int
    modules: int
    by_what: str


class Gap(NamedTuple):
    """Links that are not covered."""

    symbol: str
    sites: int
    modules: list[str]
    why: str


class Coverage:
    """What the hooks cover of the links."""

    def __init__(self, links: Links, hooks: Hooks) -> None:
        self.rows: list[Row] = []
        self.gaps: list[Gap] = []
        # Addresses of allocators: no calls
        self.addresses = 0
        symbols = links.symbols()
        profiled = any(symbol != plain_name(symbol) for symbol in symbols)
        for symbol in symbols:
            self.add(links, symbol, hooks.judge(symbol, profiled))
        self.unused = sorted("/".join(sorted(names)) for names in hooks.entries
                             if not names & set(symbols))

    def add(self, links: Links, symbol: str, verdict: Verdict) -> None:
        """Count the links to the function."""
        name = plain_name(symbol)
        releases = name in RELEASE_FAMILY
        family = RELEASE_FAMILY[name] if releases else ALLOCATOR_FAMILY[name]
        if not releases:
            self.addresses += links.sites[symbol, ADDRESS]
        # A release is found by the pointer, whoever calls it in the end
        uses = (CALL, JUMP, ADDRESS) if releases else (CALL, JUMP)
        sites = sum(links.sites[symbol, use] for use in uses)
        seen = (CALL, JUMP, ADDRESS) if releases else (CALL,)
        covered = sum(links.sites[symbol, use] for use in seen) if verdict.covered else 0
        users = set().union(*(links.users.get((symbol, use), set()) for use in uses))
        if sites:
            self.rows.append(Row(symbol, family, releases, sites, covered, len(users),
                                 verdict.why if verdict.covered else "-"))
        if sites and not verdict.covered:
            self.gaps.append(Gap(symbol, sites, sorted(users), verdict.why))
        elif sites > covered:
            jumpers = sorted(links.users[symbol, JUMP])
            self.gaps.append(Gap(symbol, sites - covered, jumpers,
                                 "tail jump: seen only if called from the module"))

    def tell(self, all_modules: bool) -> None:
        """Print everything but the sum."""
        for family in ALLOCATE:
            rows = [row for row in self.rows if row.family == family]
            if rows:
                self.tell_family(family, rows)
        print("not covered")
        if not self.gaps:
            print("  nothing")
        for gap in sorted(self.gaps, key=lambda gap: -gap.sites):
            named = gap.modules if all_modules else gap.modules[:3]
            more = len(gap.modules) - len(named)
            print(f"{gap.sites:7} {gap.symbol}: {gap.why} (in {', '.join(named)}"
                  f"{f' and {more} more' if more else ''})")
        print()
        if self.addresses:
            print(f"not counted: {self.addresses} addresses of allocators that are handed on")
        if self.unused:
            print(f"hooked, but no module here links to it: {' '.join(self.unused)}")
        for what, releases in (("allocations", False), ("releases", True)):
            print(f"{what}: {share_text([r for r in self.rows if r.releases == releases])}")

    @staticmethod
    def tell_family(family: str, rows: Sequence[Row]) -> None:
        """Print the family's table: allocators first, each most often used first."""
        print(f"{family:32} {'sites':>7} {'modules':>7} {'share':>9}  covered by")
        for row in sorted(rows, key=lambda row: (row.releases, -row.sites)):
            print(f"  {row.symbol:30} {row.sites:7} {row.modules:7} "
                  f"{percent(row.covered, row.sites):>7} %  {row.by_what}")
        print(f"  {'together':30} {sum(row.sites for row in rows):7} {'':7} "
              f"{percent(*sums(rows)):>7} %\n")


def sums(rows: Sequence[Row]) -> tuple[int, int]:
    """How many call sites are covered, and how many there are."""
    return sum(row.covered for row in rows), sum(row.sites for row in rows)


def percent(part: int, whole: int) -> str:
    """The share, never rounded up: 100.00 is all of it."""
    return f"{10000 * part // whole / 100:.2f}" if whole else "100.00"


def share_text(rows: Sequence[Row]) -> str:
    """The rows' sum in words."""
    covered, sites = sums(rows)
    return f"{covered} of {sites} call sites covered: {percent(covered, sites)} %"


def percentage(text: str) -> float:
    """The argument of an option."""
    number = float(text)
    if not 0 <= number <= 100:
        raise ValueError(text)
    return number


def main(argv: Optional[Sequence[str]] = None) -> int:
    """The command, with the arguments ARGV; returns its exit status."""
    assert __doc__
    usage, _, rest = __doc__.partition("\n\n")
    parser = argparse.ArgumentParser(description=usage, epilog=rest,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hooks", type=Path, default=HERE.parent / "src" / "hooks.h",
                        metavar="FILE", help="the table of hooks (default %(default)s)")
    parser.add_argument("--least", type=percentage, default=99.0, metavar="PERCENT",
                        help="the share that is asked for (default %(default)s)")
    parser.add_argument("--modules", action="store_true",
                        help="name all modules with links that are not covered")
    parser.add_argument("directory", metavar="DIRECTORY", nargs="?", type=Path,
                        default=Path("/lib/modules", os.uname().release),
                        help="where the modules are, or one .ko file (default %(default)s)")
    args = parser.parse_args(argv)
    try:
        hooks = Hooks(args.hooks)
        coverage = Coverage(read_links(find_modules(args.directory)), hooks)
    except CoverageError as error:
        print(f"attach_coverage: {error}", file=sys.stderr)
        return FAILED
    except KeyboardInterrupt:
        print("attach_coverage: interrupted", file=sys.stderr)
        return FAILED
    # Who reads only the beginning wants no traceback
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    coverage.tell(args.modules)
    print(share_text(coverage.rows))
    covered, sites = sums(coverage.rows)
    return ENOUGH if 100 * covered >= args.least * sites else TOO_FEW


if __name__ == "__main__":
    sys.exit(main())
