#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Load and unload every module of the stock kernel under mown, in virtual machines.

Of a module that needs its hardware there is only its failing to be seen. With --fail, each module
that has allocated anything is loaded again and again, with its first allocation failing, then its
second, and so on. However it ends, nothing may be left behind, nothing may be freed wrongly, and
the kernel may not complain.

    sweep.py                all modules, as 'make sweep'
    sweep.py --fail         as 'make sweep FAIL=1'; a plain sweep first, if there was none
    sweep.py libata jffs2   those only, once more

It goes on where it was interrupted, and with the next module when a guest is lost. What it finds
and Documentation/found/ does not argue makes it exit with 1; with 2 it could not be made.
"""
import argparse
import collections
import fcntl
import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import IO, Iterator, NamedTuple, Optional, Sequence

from sweep_guest import Fields, Tree, splats

HERE = Path(__file__).resolve().parent
TOP = HERE.parent
BUILD = TOP / "build" / "sweep"
FOUND = TOP / "Documentation" / "found"

NOTHING_NEW, FOUND_NEW, FAILED = 0, 1, 2

# A guest that says nothing for so long is lost; it says itself what hangs for a minute
SILENCE_SECONDS = 240
# How much of a lost guest's console is kept
CONSOLE_LINES = 80
# What vmtest.sh exits with then: it says so itself, or the guest's program was killed
GUEST_LOST = (125, 137)
# So many guests in a row may end without having tried anything
EMPTY_BOOTS = 3
# So many of its allocations may take a guest down when they fail, then a module is given up
MODULE_CRASHES = 8
# How many modules a guest gets at a time from one place of the list
BLOCK = 40
# A guest that complains as it dies does so at once; its log must hold all that a module says
KERNEL_ARGS = "oops=panic printk.devkmsg=on log_buf_len=4M"

# Not tried, and why
SKIP = {
    "tcrypt": "runs speed tests of all ciphers when it is loaded, and refuses to load by design",
    "test_bpf": "a test: runs for minutes when it is loaded",
    "test_user_copy": "a test: provokes faults on purpose",
    "mce_inject": "for injecting machine checks, which are fatal",
}

KINDS = ("left_behind", "violation", "stale", "not_attached", "splat", "crash", "hang")


class SweepError(Exception):
    """The sweep cannot be made; the reason is the text."""


def mapping(value: object) -> Fields:
    """The value, which is known to be a JSON object."""
    assert isinstance(value, dict), value
    return value


def items(record: Fields, key: str) -> list[Fields]:
    """A list of objects in a record; empty if there is none."""
    value = record.get(key, [])
    assert isinstance(value, list), value
    return value


def texts(record: Fields, key: str) -> list[str]:
    """A list of texts in a record; empty if there is none."""
    return list(map(str, items(record, key)))


def number(record: Fields, key: str) -> int:
    """A number in a record; 0 if there is none."""
    value = record.get(key, 0)
    assert isinstance(value, int), value
    return value


# ---- What came of it ----

class Results:
    """A sweep's results, one JSON object a line, kept on disk as they come."""

    def __init__(self, path: Path, header: Fields) -> None:
        self.path = path
        self.header = header
        self.lock = threading.Lock()
        self.records: list[Fields] = []
        self.made_with: Optional[Fields] = None
        self.by_name: dict[str, list[Fields]] = collections.defaultdict(list)
        if path.exists():
            # The last line may have been cut off by whatever ended the sweep
            lines = [line for line in path.read_text().splitlines(True) if line.endswith("\n")]
            path.write_text("".join(lines))
            for line in lines:
                self.take(json.loads(line))

    def take(self, record: Fields) -> None:
        """Remember a record that is on the disk."""
        if "sweep" in record:
            self.made_with = record
            return
        self.records.append(record)
        self.by_name[str(record["name"])].append(record)

    def add(self, record: Fields) -> None:
        """Remember and keep a new one."""
        with self.lock:
            with open(self.path, "a", encoding="utf-8") as file:
                if self.made_with is None:
                    self.made_with = self.header
                    file.write(json.dumps(self.header) + "\n")
                file.write(json.dumps(record) + "\n")
            self.take(record)

    def fresh(self) -> None:
        """Begin anew; the old ones are put aside."""
        if self.path.exists():
            self.path.replace(self.path.with_suffix(".old"))
        self.records, self.made_with = [], None
        self.by_name.clear()

    def forget(self, names: Sequence[str]) -> None:
        """Those are to be tried again."""
        kept = [record for record in self.records if record["name"] not in names]
        header = self.made_with
        self.fresh()
        if header:
            self.made_with = header
            self.path.write_text(json.dumps(header) + "\n")
        for record in kept:
            self.add(record)

    def of(self, name: str, *kinds: str) -> list[Fields]:
        """A module's records of these kinds."""
        with self.lock:
            return [record for record in self.by_name.get(name, []) if record["kind"] in kinds]

    def of_all(self, names: Sequence[str]) -> list[Fields]:
        """The records of these modules, as they came."""
        wanted = set(names)
        with self.lock:
            return [record for record in self.records if record["name"] in wanted]


class Find(NamedTuple):
    """Something that must not be."""

    kind: str
    module: str
    where: str
    text: str


def account_finds(record: Fields, where: str) -> Iterator[Find]:
    """What the accounts of a record have."""
    for account in items(record, "accounts"):
        name = str(account["name"])
        # It may have stayed for some modules that need it
        tried = where if name == record["name"] else f"{where}, or one before it"
        if number(account, "left"):
            yield Find("left_behind", name, tried, "\n".join(
                [f"{account['left']} objects ({account['left_bytes']} bytes)",
                 *texts(account, "sites")]))
        if number(account, "stale"):
            yield Find("stale", name, tried, f"{account['stale']} records were proven wrong")


def finds_of(record: Fields) -> Iterator[Find]:
    """All of one record."""
    name = str(record["name"])
    where = f"{name} {record['n']}" if record.get("n") else name
    if record.get("site"):
        where += f", {record['site']} failed"
    if record["kind"] in ("crash", "hang"):
        where += "" if record.get("alone") else ", not the first thing that the guest tried"
        yield Find(str(record["kind"]), name, where, "\n".join(
            [str(record.get("what", "took the guest down")), *texts(record, "lines")]))
    if record["kind"] != "result":
        return
    yield from account_finds(record, where)
    for report in texts(record, "reports"):
        # The last module that is named has called, or owned it
        named = re.findall(r" of (\w+)$|\[(\w+)\]", report, re.MULTILINE)
        yield Find("violation", next(filter(None, named[0])) if named else name, where, report)
    for splat in texts(record, "splats"):
        yield Find("splat", name, where, splat)
    if record["result"] == "loaded" and record.get("attached") is False and mown_used(record):
        yield Find("not_attached", name, where, "it was loaded, and was not under mown")


def mown_used(record: Fields) -> bool:
    """Has the record been made with mown?"""
    return not record.get("without")


def known_finds() -> set[tuple[str, str]]:
    """Module and kind of what Documentation/found/ argues."""
    known = set()
    for path in FOUND.glob("*.rst"):
        fields = dict(re.findall(r"^:(module|kind): *(.+?) *$", path.read_text(), re.MULTILINE))
        if len(fields) == 2:
            known |= {(fields["module"].replace("-", "_"), kind)
                      for kind in re.split(r"[ ,|]+", fields["kind"])}
    return known


# ---- Guests ----

class Job(NamedTuple):
    """A module, and the first of its allocations to fail; 0 for a plain try."""

    name: str
    first: int


class Plan(NamedTuple):
    """What is to be done, and how."""

    fail: bool
    attach: bool
    most: int
    kernel: str
    memory: int
    results: Results
    known: set[tuple[str, str]]
    deps: dict[str, list[str]]

    def in_the_way(self, name: str) -> Optional[str]:
        """Which of the modules that it needs has taken down more than one guest."""
        return next((dep for dep in self.deps.get(name, [])
                     if not self.fail and len(self.results.of(dep, "crash", "hang")) > 1), None)

    def job(self, name: str) -> Optional[Job]:
        """What is still to be done of a module."""
        lost = self.results.of(name, "crash", "hang")
        if self.in_the_way(name):
            return None
        if not self.fail:
            # Once more, unless it has been seen before
            if self.results.of(name, "result") or len(lost) > 1 or \
                    any((name, str(record["kind"])) in self.known for record in lost):
                return None
            return Job(name, 0)
        if self.results.of(name, "end") or \
                len({number(record, "n") for record in lost}) >= MODULE_CRASHES:
            return None
        tried = [number(record, "n") for record in self.results.of(name, "result")]
        first = max(tried + [number(record, "n") for record in lost], default=0) + 1
        # What was lost may have been harmed by the failures before: once more, in a new guest
        if lost and not lost[-1].get("alone") and number(lost[-1], "n") == first - 1 and \
                first - 1 not in tried:
            first -= 1
        return Job(name, first) if first <= self.most else None

    def jobs(self, names: Sequence[str]) -> list[Job]:
        """What is left of these; what has taken a guest down comes first, before what needs it."""
        left = [job for job in map(self.job, names) if job]
        return sorted(left, key=lambda job: not self.results.of(job.name, "crash", "hang"))


class Guest:
    """One virtual machine at work on a list."""

    def __init__(self, plan: Plan, index: int, jobs: Sequence[Job]) -> None:
        self.jobs = jobs
        self.console = BUILD / f"console-{index}.log"
        self.said = BUILD / f"guest-{index}.err"
        self.console.write_text("")
        file = BUILD / f"plan-{index}.json"
        file.write_text(json.dumps({"attach": plan.attach, "most": plan.most, "jobs": jobs}))
        argv = [HERE / "vmtest.sh", "-k", plan.kernel, "-c", "1", "-m", str(plan.memory), "-a",
                KERNEL_ARGS, "-t", "86400", "-l", self.console, "--", "python3", "-B",
                HERE / "sweep_guest.py", file]
        with open(self.said, "w", encoding="utf-8") as said:
            # A group of its own: Ctrl-C is for us to pass on
            self.process = subprocess.Popen(
                list(map(str, argv)), cwd=TOP, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                stderr=said, text=True, errors="replace", start_new_session=True,
                env={**os.environ, "MOWN_KO": str(BUILD / "mown.ko")})
        self.heard = time.monotonic()

    def end(self) -> None:
        """End it before its time."""
        self.process.terminate()

    def silent(self) -> bool:
        """Has it been heard of lately?"""
        return time.monotonic() - self.heard > SILENCE_SECONDS

    def messages(self) -> Iterator[Fields]:
        """What it tells, till it ends."""
        assert self.process.stdout
        for line in self.process.stdout:
            self.heard = time.monotonic()
            if line.startswith("{") and line.endswith("}\n"):
                yield json.loads(line)
        self.process.wait()

    def last(self) -> tuple[Optional[Job], list[str]]:
        """What it began last, and what its console has had since then."""
        lines = self.console.read_text(errors="replace").splitlines()
        begun = [(i, match) for i, match in
                 enumerate(re.search(r"sweep: begin (\S+) (\d+)", line) for line in lines) if match]
        if not begun:
            return None, lines[-CONSOLE_LINES:]
        at, match = begun[-1]
        return Job(match[1], int(match[2])), lines[at + 1:]


class Worker(threading.Thread):
    """Runs one guest after the other until all of its modules are done."""

    def __init__(self, plan: Plan, index: int, names: Sequence[str]) -> None:
        super().__init__(daemon=True)
        self.plan = plan
        self.index = index
        self.names = names
        self.guest: Optional[Guest] = None
        self.stopping = False
        self.error: Optional[str] = None

    def run(self) -> None:
        empty = 0
        while empty < EMPTY_BOOTS and not self.error and not self.stopping:
            jobs = self.plan.jobs(self.names)
            if not jobs:
                return
            self.guest = Guest(self.plan, self.index, jobs)
            if self.stopping:
                self.guest.end()
            empty = 0 if self.attend(self.guest) else empty + 1
        if empty and not self.error and not self.stopping and self.guest:
            self.error = "no guest gets to work:\n" + self.guest.said.read_text()[-3000:]

    def attend(self, guest: Guest) -> bool:
        """Take down what the guest tells, and what became of it. False if it has not begun."""
        told = ended = False
        for message in guest.messages():
            kind = message["kind"]
            if kind in ("result", "end"):
                told = True
                self.plan.results.add(message if self.plan.attach else {**message, "without": 1})
                continue
            ended = True
            if kind == "hang":
                told = self.lost(guest, message)
                guest.end()
            elif kind == "error":
                self.error = str(message["why"])
        if ended or self.stopping:
            return told
        silent = guest.silent()
        if not silent and guest.process.returncode not in GUEST_LOST:
            self.error = "the guest's program failed:\n" + guest.said.read_text()[-3000:]
            return told
        return self.lost(guest, {"kind": "hang" if silent else "crash"}) or told

    def lost(self, guest: Guest, message: Fields) -> bool:
        """The guest has gone, or hangs. False if it had not begun."""
        job, console = guest.last()
        if not job:
            return False
        named = f"{job.name}-{job.first}" if job.first else job.name
        shutil.copy(guest.console, BUILD / f"{message['kind']}-{named}.log")
        complaints = splats(console)
        lines = complaints[0].splitlines() if complaints else console[-CONSOLE_LINES:]
        self.plan.results.add({"kind": message["kind"], "name": job.name, "n": job.first,
                               "alone": job == guest.jobs[0],
                               "what": message.get("what", "took the guest down"),
                               "lines": [*texts(message, "lines"), *lines]})
        return True


# ---- What the user sees ----

class Totals:
    """The numbers of a sweep."""

    def __init__(self, records: Sequence[Fields]) -> None:
        self.count: collections.Counter[str] = collections.Counter()
        self.allocate: set[str] = set()
        self.stays: dict[str, str] = {}
        for record in records:
            if record["kind"] == "result":
                self.add(record)
            self.count[f"kind {record['kind']}"] += 1
            self.count["armed"] += bool(record.get("site"))

    def add(self, record: Fields) -> None:
        """Add what a record has."""
        self.count["tries"] += 1
        self.count[str(record["result"])] += 1
        self.count["unknown_passed"] += number(mapping(record.get("stats", {})), "unknown_passed")
        self.count["violations"] += len(items(record, "reports"))
        for account in items(record, "accounts"):
            self.count["no failure"] += account["name"] == record["name"] and \
                number(account, "allocated") >= number(record, "n") > 0 and not record["site"]
            self.tally(str(account["name"]), account, "elsewhere")
        for stay in items(record, "stays"):
            self.stays.setdefault(str(stay["name"]), str(stay["why"]))
            self.tally(str(stay["name"]), mapping(stay["stats"]), "released_elsewhere")

    def tally(self, name: str, counts: Fields, elsewhere: str) -> None:
        """Add the numbers of one module, which has gone or stays."""
        if number(counts, "allocated"):
            self.allocate.add(name)
        for key in ("allocated", "freed", "left", "left_bytes", "stale", "freed late"):
            self.count[key] += number(counts, key)
        self.count["elsewhere"] += number(counts, elsewhere)


def table(plan: Plan, names: Sequence[str], listed: int) -> Iterator[str]:
    """The lines of the table in which a sweep ends."""
    totals = Totals(plan.results.of_all(names))
    count = totals.count
    untried = sum(bool(plan.in_the_way(name)) for name in names)
    done = sum(not plan.job(name) for name in names) - untried
    rows = [("modules of the kernel", listed), ("left out (see below)", len(SKIP)),
            ("need one that takes guests down", untried), ("modules tried", done)]
    if plan.fail:
        rows += [("loads with a failing allocation", count["armed"]),
                 ("loads that failed", count["failed"]), ("loads all the same", count["loaded"]),
                 ("allocations that cannot fail", count["no failure"])]
    else:
        rows += [("loaded", count["loaded"]), ("failed to load", count["failed"]),
                 ("loaded before", count["there already"])]
    rows += [("modules that allocate", len(totals.allocate)),
             ("allocations", count["allocated"]), ("frees", count["freed"]),
             ("released elsewhere", count["elsewhere"]),
             ("freed after the module had gone", count["freed late"]),
             ("left behind", count["left"]), ("violations", count["violations"]),
             ("stale records", count["stale"]),
             ("frees of what was not recorded", count["unknown_passed"]),
             ("guests taken down", count["kind crash"]),
             ("guests that hung", count["kind hang"]),
             ("modules that cannot be unloaded", len(totals.stays))]
    for text, value in rows:
        yield f"{text:32} {value:10}"


def tell_finds(plan: Plan, names: Sequence[str]) -> int:
    """Print what was found. Returns how much of it is new."""
    finds = [find for record in plan.results.of_all(names) for find in finds_of(record)]
    new = [find for find in finds if (find.module, find.kind) not in plan.known]
    old = sorted({(find.module, find.kind) for find in finds} & plan.known)
    for module, kind in old:
        print(f"known: {kind} of {module}, see Documentation/found/")
    for kind in KINDS:
        for find in new:
            if find.kind == kind:
                print(f"\nFOUND: {kind} of {find.module} (trying {find.where})")
                print("\n".join(f"    {line}" for line in find.text.splitlines()))
    print(f"\n{len(new)} finds that Documentation/found/ does not argue, "
          f"{len(finds) - len(new)} that it does")
    return len(new)


def tell_all(plan: Plan, names: Sequence[str], listed: int) -> int:
    """Print everything. Returns the exit status."""
    for name, why in SKIP.items():
        print(f"left out: {name}: {why}")
    for name, why in sorted(Totals(plan.results.of_all(names)).stays.items()):
        print(f"cannot be unloaded: {name}: {why}")
    print()
    new = tell_finds(plan, names)
    print()
    for line in table(plan, names, listed):
        print(line)
    return FOUND_NEW if new else NOTHING_NEW


class Progress:
    """A line on how far it is."""

    def __init__(self, plan: Plan, names: Sequence[str]) -> None:
        self.plan = plan
        self.names = names
        self.start = time.monotonic()
        self.before = self.done()

    def done(self) -> int:
        """How many modules are done."""
        return sum(not self.plan.job(name) for name in self.names)

    def show(self) -> None:
        """Print it: over the last one on a terminal, else below it."""
        done = self.done()
        records = self.plan.results.of_all(self.names)
        totals = Totals(records)
        elapsed = time.monotonic() - self.start
        finds = sum(1 for record in records for _ in finds_of(record))
        line = f"sweep: {done} of {len(self.names)}, {totals.count['loaded']} loaded, " \
            f"{totals.count['allocated']} allocations by {len(totals.allocate)} modules, " \
            f"{finds} finds, {elapsed / 60:.0f} min"
        if done > self.before:
            left = (len(self.names) - done) * elapsed / (done - self.before)
            line += f", {left / 60:.0f} to go"
        print(f"\r{line}\033[K" if sys.stdout.isatty() else line,
              end="" if sys.stdout.isatty() else "\n", flush=True)


# ---- All together ----

def deal(names: Sequence[str], hands: int) -> list[list[str]]:
    """Parts of the list, in which neighbours stay together."""
    parts: list[list[str]] = [[] for _ in range(hands)]
    for at in range(0, len(names), BLOCK):
        parts[at // BLOCK % hands].extend(names[at:at + BLOCK])
    return parts


def run(plan: Plan, names: Sequence[str], guests: int) -> None:
    """Do what is left of the sweep."""
    left = [name for name in names if plan.job(name)]
    if not left:
        return
    workers = [Worker(plan, index, part) for index, part in enumerate(deal(left, guests)) if part]
    progress = Progress(plan, names)
    for worker in workers:
        worker.start()
    try:
        shown = 0.0
        while any(worker.is_alive() for worker in workers):
            time.sleep(0.2)
            for worker in workers:
                if worker.guest and worker.guest.silent():
                    worker.guest.end()
            every = 1 if sys.stdout.isatty() else 15
            if time.monotonic() - shown > every:
                progress.show()
                shown = time.monotonic()
    finally:
        stop(workers)
    progress.show()
    print()
    for worker in workers:
        if worker.error:
            raise SweepError(worker.error)
    if plan.jobs(names):
        raise SweepError("it ended before its time; the same command goes on with it")


def stop(workers: Sequence[Worker]) -> None:
    """No guest outlives us."""
    for worker in workers:
        worker.stopping = True
        if worker.guest:
            worker.guest.end()
    for worker in workers:
        worker.join(20)


def vmtest(*args: str) -> str:
    """What vmtest.sh prints."""
    done = subprocess.run([HERE / "vmtest.sh", *args], stdout=subprocess.PIPE, text=True,
                          cwd=TOP, check=False)
    if done.returncode:
        raise SweepError(f"vmtest.sh {' '.join(args)} failed")
    return done.stdout.strip()


def kernel_tree(kernel: str) -> Tree:
    """The modules of the guests' kernel."""
    kdir = Path(vmtest("-k", kernel, "--kdir"))
    return Tree(kdir.parents[2] / "lib" / "modules" / vmtest("-k", kernel, "--kver"))


def header(fail: bool, attach: bool, tree: Tree) -> Fields:
    """What results must have in common; what they are made with is put aside for the guests."""
    mown = ""
    if attach:
        path = TOP / "src" / "mown.ko"
        if not path.exists():
            raise SweepError(f"{path} is not built")
        # It may be built anew before we are done
        shutil.copy(path, BUILD / "mown.ko")
        mown = hashlib.sha256(path.read_bytes()).hexdigest()[:16]
    return {"sweep": 1, "fail": fail, "kernel": tree.directory.name, "mown": mown}


def open_results(name: str, made_with: Fields) -> Results:
    """The results so far, if they are of the same kernel and the same mown."""
    results = Results(BUILD / name, made_with)
    if results.made_with and results.made_with != made_with:
        print(f"sweep: {name} is of another build of mown or kernel: beginning anew")
        results.fresh()
    return results


def sweep(args: argparse.Namespace, tree: Tree, fail: bool, names: list[str]) -> int:
    """A sweep, of these modules only or of all if there are none named. Its exit status."""
    again = bool(names)
    stem = "without" if args.no_mown else "results"
    results = open_results(f"{'fail' if fail else stem}.jsonl",
                           header(fail, not args.no_mown, tree))
    if fail and not names:
        # That sweep's own header is checked when it is made
        names = sorted(Totals(Results(BUILD / "results.jsonl", {}).records).allocate
                       & tree.path.keys() - SKIP.keys())
    names = names or [name for name in tree.ordered() if name not in SKIP]
    plan = Plan(fail, not args.no_mown, args.most, args.kernel, args.memory, results,
                known_finds(), tree.deps)
    if not args.report:
        if again:
            results.forget(names)
        elif args.fresh or results.records and not plan.jobs(names):
            results.fresh()
        names = names[:args.first]
        run(plan, names, max(1, min(args.guests, os.cpu_count() or 1)))
    return tell_all(plan, names, len(tree.path))


def plain_is_done(args: argparse.Namespace, tree: Tree) -> bool:
    """Has there been a whole plain sweep with this mown?"""
    results = Results(BUILD / "results.jsonl", {})
    plan = Plan(False, True, args.most, args.kernel, args.memory, results, known_finds(),
                tree.deps)
    return results.made_with == header(False, True, tree) and \
        not plan.jobs([name for name in tree.path if name not in SKIP])


def lock() -> IO[str]:
    """Two sweeps at a time would take each other's files."""
    file = open(BUILD / "lock", "w", encoding="utf-8")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise SweepError("there is another sweep at work here") from None
    return file


def parse(argv: Optional[Sequence[str]]) -> argparse.Namespace:
    """The arguments."""
    assert __doc__
    usage, _, rest = __doc__.partition("\n\n")
    parser = argparse.ArgumentParser(description=usage, epilog=rest,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--fail", action="store_true", help="make allocations fail")
    parser.add_argument("-n", "--max", dest="most", type=int, default=20, metavar="N",
                        help="with --fail: the first N of each module (default %(default)s)")
    parser.add_argument("-j", "--guests", type=int, default=2, metavar="N",
                        help="so many guests, of one CPU each (default %(default)s)")
    parser.add_argument("-k", "--kernel", default="6.1", help="see vmtest.sh")
    parser.add_argument("-m", "--memory", type=int, default=1024, metavar="MIB",
                        help="of each guest (default %(default)s)")
    parser.add_argument("--fresh", action="store_true", help="begin anew")
    parser.add_argument("--report", action="store_true", help="only print what was found so far")
    parser.add_argument("--no-mown", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--first", type=int, metavar="N", help=argparse.SUPPRESS)
    parser.add_argument("names", metavar="MODULE", nargs="*", help="try those again")
    return parser.parse_args(argv)


def main(argv: Optional[Sequence[str]] = None) -> int:
    """The command, with the arguments ARGV; returns its exit status."""
    args = parse(argv)
    names = [name.replace("-", "_") for name in args.names]
    BUILD.mkdir(parents=True, exist_ok=True)
    signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
    try:
        with lock():
            tree = kernel_tree(args.kernel)
            unknown = sorted(set(names) - tree.path.keys())
            if unknown:
                raise SweepError(f"no such modules: {' '.join(unknown)}")
            if args.fail and not names and not args.report and not plain_is_done(args, tree):
                print("sweep: which modules allocate is for a plain sweep to find out")
                sweep(args, tree, False, [])
            return sweep(args, tree, args.fail, names)
    except SweepError as error:
        print(f"sweep: {error}", file=sys.stderr)
    except KeyboardInterrupt:
        print("\nsweep: interrupted; the same command goes on with it", file=sys.stderr)
    return FAILED


if __name__ == "__main__":
    sys.exit(main())
