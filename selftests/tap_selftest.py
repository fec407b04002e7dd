#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Tests of tap.py: what it makes of good, bad and cut-off streams."""

import contextlib
import io
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path
from typing import Optional

import tap

PASS = "ok 1 selftests: mown: test-a.sh"
FAIL = "not ok 1 selftests: mown: test-a.sh # exit=1"
SKIP = "ok 1 selftests: mown: test-a.sh # SKIP"


def run(*inner: str, verdict: Optional[str] = PASS) -> list[str]:
    """The output of the runner for one program that printed the inner lines."""
    lines = ["TAP version 13", "1..1", "# selftests: mown: test-a.sh"]
    lines += [f"# {line}" for line in inner]
    return lines + ([verdict] if verdict else [])


class TapTest(unittest.TestCase):
    """Each case is a stream and the numbers that it must lead to."""

    def check(
        self, lines: list[str], passed: int, failed: int, skipped: int, text: str = ""
    ) -> None:
        """Judge the lines and compare; text must be part of the report."""
        output = io.StringIO()
        with contextlib.redirect_stdout(output):
            status = tap.report({"run": list(tap.judge(f"{line}\n" for line in lines))})
        printed = output.getvalue().splitlines()
        self.assertEqual(
            printed[-1], f"{passed} passed, {failed} failed, {skipped} skipped", printed
        )
        self.assertEqual(status, 1 if failed or not passed else 0)
        self.assertIn(text, "\n".join(printed))

    def test_leaves(self) -> None:
        """Nested results are counted instead of their program."""
        self.check(run("TAP version 13", "1..2", "ok 1 a", "noise", "ok 2 - b"), 2, 0, 0)

    def test_plan_last(self) -> None:
        """TAP allows the plan at the end."""
        self.check(run("ok 1 a", "ok 2 b", "1..2"), 2, 0, 0)

    def test_program_is_leaf(self) -> None:
        """A program that prints no results counts itself."""
        self.check(run(), 1, 0, 0)
        self.check(run("ok then, this is prose"), 1, 0, 0)
        self.check(run(verdict=FAIL), 0, 1, 0, "FAIL run: mown: test-a.sh: exit=1")

    def test_nested_failure(self) -> None:
        """A failed result is named, and its program is not counted again."""
        self.check(
            run("1..2", "ok 1 a", "not ok 2 b c", verdict=FAIL),
            1, 1, 0, "FAIL run: mown: test-a.sh: b c",
        )  # fmt: skip

    def test_skips(self) -> None:
        """Skipped results and programs are neither passed nor failed."""
        self.check(run("1..2", "ok 1 a", "ok 2 b # SKIP no kernel"), 1, 0, 1, "b: no kernel")
        two = run(verdict=SKIP)
        two[1] = "1..2"
        two += ["# selftests: mown: test-b.sh", "ok 2 selftests: mown: test-b.sh"]
        self.check(two, 1, 0, 1, "SKIP run: mown: test-a.sh")

    def test_skips_named(self) -> None:
        """Each skipped case is named with the reason, those with the same one in one line."""
        self.check(
            run("1..4", "ok 1 a", "ok 2 b # SKIP no x: y", "ok 3 - c: d # SKIP no z",
                "ok 4 e # SKIP no x: y"),
            1, 0, 3,
            "SKIP run: mown: test-a.sh: b; e: no x: y\nSKIP run: mown: test-a.sh: c: d: no z\n1 ",
        )  # fmt: skip
        # Of a program that could not begin, the plan says why
        two = run("1..0 # SKIP not root", verdict=SKIP)
        two[1] = "1..2"
        two += ["# selftests: mown: test-b.sh", "ok 2 selftests: mown: test-b.sh"]
        self.check(two, 1, 0, 1, "SKIP run: mown: test-a.sh: not root\n")
        # And what the runner did not run has no program
        self.check(["TAP version 13", "1..2", "ok 1 - a", "ok 2 - b # SKIP no c"], 1, 0, 1,
                   "SKIP run: b: no c\n")

    def test_skips_listed(self) -> None:
        """Where there is a list of what may be skipped, all else must run."""
        leaves = list(tap.judge(run("1..3", "ok 1 a", "ok 2 b # SKIP no x", "ok 3 c # SKIP no x")))

        def verdicts(*allowed: str) -> str:
            return "".join(leaf.verdict[0] for leaf in tap.refuse_skips("run", leaves, allowed))

        self.assertEqual(verdicts("run: mown: test-a.sh: *: no x"), "pss")
        self.assertEqual(verdicts("*: b: no x"), "psf")
        self.assertEqual(verdicts("run: mown: test-a.sh: b: no y", "uml: *: no x"), "pff")
        self.assertEqual(verdicts(), "pff")
        # A pattern is for a whole line
        self.assertEqual(verdicts("run: mown: test-a.sh", "no x"), "pff")

    def test_skips_file(self) -> None:
        """The list has a line for each pattern; the exit status is that of a failure."""
        with tempfile.TemporaryDirectory() as directory:
            stream, listed = Path(directory, "run.tap"), Path(directory, "skips")
            stream.write_text("\n".join(run("1..2", "ok 1 a", "ok 2 b # SKIP no x")) + "\n")
            for text, failed in (("# why\n\nrun: *: b: no x  # and why\n", 0), ("# *\n", 1)):
                listed.write_text(text)
                done = subprocess.run(
                    [sys.executable, tap.__file__, "--skips", listed, stream],
                    stdout=subprocess.PIPE, text=True, check=False)  # fmt: skip
                self.assertEqual(done.returncode, failed, done.stdout)
                self.assertEqual(
                    done.stdout.splitlines()[-1],
                    f"1 passed, {failed} failed, {1 - failed} skipped",
                )

    def test_all_skipped(self) -> None:
        """A run in which everything was skipped has tested nothing."""
        self.check(run("1..1", "ok 1 a # SKIP", verdict=SKIP), 0, 1, 1, "nothing ran")
        self.check(run("1..0 # SKIP not root", verdict=SKIP), 0, 1, 1, "nothing ran")

    def test_nothing(self) -> None:
        """No output at all is a failure."""
        self.check([], 0, 1, 0, "nothing ran")
        self.check(["TAP version 13", "1..0"], 0, 1, 0, "nothing ran")

    def test_no_plan(self) -> None:
        """Results without a plan may be incomplete, at both levels."""
        self.check(run("ok 1 a"), 1, 1, 0, "mown: test-a.sh: no plan")
        lines = run()
        del lines[1]
        self.check(lines, 1, 1, 0, "runner: no plan")
        self.check(["hello"], 0, 1, 0, "runner: no plan")

    def test_short(self) -> None:
        """Fewer or more results than planned."""
        self.check(run("1..3", "ok 1 a", "ok 2 b"), 2, 1, 0, "3 results planned, 2 seen")
        self.check(run("1..1", "ok 1 a", "ok 2 b"), 2, 1, 0, "1 results planned, 2 seen")
        self.check(run("1..3"), 0, 1, 0, "3 results planned, 0 seen")
        self.check(run("1..1", "ok 1 a", "1..1"), 1, 1, 0, "more than one plan")

    def test_no_verdict(self) -> None:
        """The guest died within a program: that one, and the plan, failed."""
        lines = run("1..2", "ok 1 a", verdict=None)
        self.check(lines, 1, 2, 0, "mown: test-a.sh: no verdict")
        lines = run(verdict=None) + ["# selftests: mown: test-b.sh"]
        lines += ["ok 2 selftests: mown: test-b.sh"]
        self.check(lines, 1, 1, 0, "mown: test-a.sh: no verdict")

    def test_glued_verdict(self) -> None:
        """Output without a newline at its end swallows the verdict."""
        self.check(run("tail" + PASS, verdict=None), 0, 2, 0, "no verdict")

    def test_contradictions(self) -> None:
        """A program's exit status must agree with its results."""
        self.check(run("1..1", "not ok 1 a"), 0, 2, 0, "exits with 0 in spite")
        self.check(run("1..1", "ok 1 a", verdict=FAIL), 1, 1, 0, "but exit=1")
        self.check(run("1..1", "ok 1 a", verdict=SKIP), 1, 1, 0, "exits as skipped")

    def test_timeout(self) -> None:
        """The runner's own note on a program that took too long is shown."""
        verdict = "not ok 1 selftests: mown: test-a.sh # TIMEOUT 45 seconds"
        self.check(run("1..2", "ok 1 a", verdict=verdict), 1, 1, 0, "2 results planned")
        self.check(run(verdict=verdict), 0, 1, 0, "TIMEOUT 45 seconds")

    def test_bail_out(self) -> None:
        """check.sh says so if the virtual machine failed; a test may, too."""
        self.check(run() + ["Bail out! vmtest: 125"], 1, 1, 0, "vmtest: 125")
        self.check(run("1..1", "ok 1 a", "Bail out! x"), 1, 1, 0, "Bail out! x")
        self.check(["Bail out! vmtest: 125"], 0, 1, 0, "Bail out! vmtest: 125")

    def test_two_collections(self) -> None:
        """Each collection is a stream with a plan of its own."""
        self.check(run() + run("1..1", "ok 1 a"), 2, 0, 0)
        self.check(run(verdict=None) + run(), 1, 2, 0, "no verdict")

    def test_deeper_nesting(self) -> None:
        """Results within results are the inner program's business."""
        self.check(run("1..1", "# not ok 1 inner", "ok 1 a"), 1, 0, 0)

    def test_hash_in_name(self) -> None:
        """Not every # begins a directive."""
        self.check(run("1..1", "not ok 1 object #3", verdict=FAIL), 0, 1, 0, "object #3")

    def test_two_streams(self) -> None:
        """One empty stream among good ones is a failure of its own."""
        output = io.StringIO()
        with contextlib.redirect_stdout(output):
            status = tap.report({"a": list(tap.judge(run())), "b": list(tap.judge([]))})
        self.assertEqual(status, 1)
        self.assertIn("FAIL b: runner: nothing ran", output.getvalue())
        self.assertTrue(output.getvalue().endswith("1 passed, 1 failed, 0 skipped\n"))


if __name__ == "__main__":
    unittest.main()
