#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Judge what kselftest's runner printed.

    tap.py [--skips LIST] [FILE...]     (standard input if no FILE is given)

The runner (tools/testing/selftests/kselftest/runner.sh) prints one TAP line per
test program, and in front of it whatever the program printed, with "# " added
to each line. A program that prints TAP itself so becomes a nested stream:

    TAP version 13
    1..1
    # selftests: mown: test-api.sh
    # 1..2
    # ok 1 kmalloc
    # not ok 2 kfree
    not ok 1 selftests: mown: test-api.sh # exit=1

Counted are the leaves: the nested results, or the program itself if it printed
none. The runner and make exit with 0 even if tests failed, and a guest may die
half-way, so everything that is absent counts as a failure: a plan, a result
that the plan promised, the verdict on a program that was started. So does a
program whose exit status is at odds with its own results, and a "Bail out!".

Prints what was skipped, with the reasons, what failed and, as the last line, the
three numbers. Exits with 1 if anything failed or nothing ran, else with 0.

With --skips a skip that LIST does not have is a failure. Its lines are patterns, as
of the shell, for "STREAM: COLLECTION: PROGRAM: CASE: REASON", where STREAM is the
file's name without its suffix; # begins a comment.
"""

import argparse
import fnmatch
import re
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Iterable, Iterator, Optional, Sequence

PLAN = re.compile(r"1\.\.(?P<number>\d+)(?: *# *SKIP\b:? *(?P<reason>.*)|\s|$)", re.IGNORECASE)
RESULT = re.compile(r"(?P<not>not )?ok\b(?: +(?P<number>\d+))?(?: +- +| +)?(?P<text>.*)$")
SKIP = re.compile(r"(?P<name>.*?)\s*# *SKIP\b:? *(?P<reason>.*)$", re.IGNORECASE)
NOTE = re.compile(r"(?P<name>.*?)\s*# *(?P<note>exit=\d+|TIMEOUT.*)$")
HEADER = re.compile(r"# selftests: (?P<name>[^ :]+: \S+)$")


@dataclass
class Leaf:
    """One counted result."""

    name: str
    verdict: str  # "pass", "fail" or "skip"
    reason: str = ""

    def __str__(self) -> str:
        return f"{self.name}: {self.reason}" if self.reason else self.name


@dataclass
class Results:
    """A plan and the results that were seen, at one level of nesting."""

    plans: list[int] = field(default_factory=list)
    leaves: list[Leaf] = field(default_factory=list)
    bailed: Optional[str] = None
    # Of a plan that says that nothing will come
    reason: str = ""

    def feed(self, line: str) -> Optional[Leaf]:
        """Take a line of TAP; the result if it was one."""
        if line.startswith("Bail out!"):
            self.bailed = self.bailed or line
        elif match := PLAN.match(line):
            self.plans.append(int(match["number"]))
            self.reason = match["reason"] or ""
        elif (match := RESULT.match(line)) and (match["number"] or match["not"]):
            # Without its number, "ok" is more likely to be a word
            self.leaves.append(leaf_of(match))
            return self.leaves[-1]
        return None

    def complaint(self) -> Optional[str]:
        """Say why these results are not complete."""
        if self.bailed is not None:
            return self.bailed
        if not self.plans:
            return "no plan"
        if len(self.plans) > 1:
            return "more than one plan"
        if self.plans[0] != len(self.leaves):
            return f"{self.plans[0]} results planned, {len(self.leaves)} seen"
        return None


def leaf_of(match: "re.Match[str]") -> Leaf:
    """Make the result out of a match of RESULT."""
    if match["not"]:
        note = NOTE.match(match["text"])
        if note:
            return Leaf(note["name"], "fail", note["note"])
        return Leaf(match["text"], "fail")
    skip = SKIP.match(match["text"])
    if skip:
        return Leaf(skip["name"], "skip", skip["reason"])
    return Leaf(match["text"], "pass")


def judge_program(name: str, nested: Results, verdict: Leaf) -> Iterator[Leaf]:
    """Yield what a finished program counts for, under the given name."""
    found = {leaf.verdict for leaf in nested.leaves}
    if not found:
        # "1..0 # SKIP" is a fine plan for a program that prints nothing else
        complaint = nested.complaint() if nested.plans not in ([], [0]) else nested.bailed
        if complaint:
            yield Leaf(name, "fail", complaint)
        else:
            yield Leaf(name, verdict.verdict, verdict.reason or nested.reason)
        return
    for leaf in nested.leaves:
        yield Leaf(f"{name}: {leaf.name}", leaf.verdict, leaf.reason)
    complaint = nested.complaint()
    if complaint:
        yield Leaf(name, "fail", complaint)
    elif verdict.verdict == "fail" and "fail" not in found:
        yield Leaf(name, "fail", f"no result says so, but {verdict.reason or 'it failed'}")
    elif verdict.verdict == "pass" and "fail" in found:
        yield Leaf(name, "fail", "exits with 0 in spite of failed results")
    elif verdict.verdict == "skip" and found != {"skip"}:
        yield Leaf(name, "fail", "exits as skipped in spite of results")


def judge(lines: Iterable[str]) -> Iterator[Leaf]:
    """Yield all that counts in the output of one run of the runner.

    The runner prints one stream, beginning with a version line, per collection.
    """
    outer: Optional[Results] = None
    started: Optional[str] = None
    nested = Results()

    def lost() -> Iterator[Leaf]:
        if started is not None:
            for leaf in nested.leaves:
                yield Leaf(f"{started}: {leaf.name}", leaf.verdict, leaf.reason)
            yield Leaf(started, "fail", "no verdict")

    def close() -> Iterator[Leaf]:
        yield from lost()
        if outer is not None:
            complaint = outer.complaint()
            if complaint:
                yield Leaf("runner", "fail", complaint)

    for line in lines:
        line = line.rstrip("\r\n")
        if line.startswith("TAP version"):
            yield from close()
            outer, started, nested = Results(), None, Results()
            continue
        outer = outer or Results()
        header = HEADER.match(line)
        if header:
            yield from lost()
            started, nested = header["name"], Results()
        elif line.startswith("# "):
            nested.feed(line[2:])
        else:
            verdict = outer.feed(line)
            if verdict is None:
                continue
            name = verdict.name.removeprefix("selftests: ")
            yield from judge_program(name, nested, verdict)
            if started is not None and started != name:
                yield Leaf(started, "fail", f"no verdict (found that on {name})")
            started, nested = None, Results()
    yield from close()


def read_skips(path: str) -> list[str]:
    """The patterns of a file that lists what may be skipped."""
    lines = (line.partition("#")[0].strip() for line in
             Path(path).read_text(encoding="utf-8").splitlines())
    return [line for line in lines if line]


def refuse_skips(stream: str, leaves: Iterable[Leaf], allowed: Sequence[str]) -> Iterator[Leaf]:
    """The leaves; those of them that are skipped though no pattern allows it have failed."""
    for leaf in leaves:
        text = f"{stream}: {leaf}"
        if leaf.verdict == "skip" and not any(fnmatch.fnmatchcase(text, one) for one in allowed):
            yield Leaf(leaf.name, "fail", f"skipped, and not listed as such: {leaf.reason}")
        else:
            yield leaf


def skipped(stream: str, leaves: Iterable[Leaf]) -> Iterator[str]:
    """A line for each program and reason why cases of it were skipped."""
    cases: dict[tuple[str, str], list[str]] = {}
    for leaf in leaves:
        if leaf.verdict == "skip":
            # What does not run by the runner is a name alone
            parts = leaf.name.split(": ", 2)
            cases.setdefault((": ".join(parts[:2]), leaf.reason), []).extend(parts[2:])
    for (program, reason), names in cases.items():
        name = f"{program}: {'; '.join(names)}" if names else program
        yield f"{stream}: {Leaf(name, 'skip', reason)}"


def report(streams: dict[str, list[Leaf]]) -> int:
    """Print the verdict on the named streams and return the exit status."""
    count = {"pass": 0, "fail": 0, "skip": 0}
    for stream, leaves in streams.items():
        if not any(leaf.verdict != "skip" for leaf in leaves):
            leaves = leaves + [Leaf("runner", "fail", "nothing ran")]
            streams[stream] = leaves
        for leaf in leaves:
            count[leaf.verdict] += 1
    for stream, leaves in streams.items():
        for line in skipped(stream, leaves):
            print(f"SKIP {line}")
    for stream, leaves in streams.items():
        for leaf in leaves:
            if leaf.verdict == "fail":
                print(f"FAIL {stream}: {leaf}")
    print(f"{count['pass']} passed, {count['fail']} failed, {count['skip']} skipped")
    return 1 if count["fail"] or not count["pass"] else 0


def main() -> int:
    """Read the streams that the command line names."""
    parser = argparse.ArgumentParser(
        description="Judge the output of kselftest's runner.",
        epilog="Exits with 1 if anything failed, is incomplete, or nothing ran.",
    )
    parser.add_argument("--skips", metavar="LIST", help="file that lists what may be skipped")
    parser.add_argument("file", nargs="*", help="file to read (default: standard input)")
    args = parser.parse_args()
    streams: dict[str, list[Leaf]] = {}
    for path in args.file:
        with open(path, encoding="utf-8", errors="replace") as stream:
            streams[Path(path).stem] = list(judge(stream))
    if not args.file:
        sys.stdin.reconfigure(errors="replace")  # type: ignore[union-attr]
        streams["stdin"] = list(judge(sys.stdin))
    if args.skips:
        allowed = read_skips(args.skips)
        streams = {stream: list(refuse_skips(stream, leaves, allowed))
                   for stream, leaves in streams.items()}
    return report(streams)


if __name__ == "__main__":
    sys.exit(main())
