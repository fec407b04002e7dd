#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""A short run of the fuzzer: what all faces must give, and that it replays and can fail.

MOWN_FUZZ_STEPS is how many steps it has, 300 by default, and MOWN_FUZZ_SEED its seed: always the
same, so that what passed today does tomorrow. For a longer run, and other seeds, see "make fuzz".
"""
import contextlib
import os
from typing import Iterator

import fuzz
from ksft_mown import SYSFS, Ktap, quiet_console, run_cases, write_file

SEED = int(os.environ.get("MOWN_FUZZ_SEED", "1"))
STEPS = int(os.environ.get("MOWN_FUZZ_STEPS", "300"))


@contextlib.contextmanager
def fresh_after() -> Iterator[None]:
    """Quiet, and whatever comes of it, mown is as when it comes then."""
    with quiet_console():
        try:
            yield
        finally:
            fuzz.fresh_mown()


def random_use() -> None:
    """Steps of the seed, with readers and writers beside."""
    with fresh_after():
        done = fuzz.steps_of(SEED, STEPS).done
    Ktap.note(f"seed {SEED}: {sorted(done.items())}")


def replays() -> None:
    """A seed makes the same steps again, with or without processes beside."""
    with fresh_after():
        first, second = fuzz.steps_of(SEED + 1, 60), fuzz.steps_of(SEED + 1, 60, processes=0)
    assert len(first.trace) > 30, first.trace
    assert first.trace == second.trace, f"{first.trace}\nand then\n{second.trace}"


def finds() -> None:
    """A knob that is not what was written is found, and it is said how to come there again."""
    fuzzer = fuzz.Fuzzer(SEED)

    def meddle(step: int) -> bool:
        """After some steps: somebody else writes."""
        if step == 20:
            write_file(f"{SYSFS}/history", "1234")
        return step < 30

    try:
        with fresh_after():
            fuzzer.run(meddle, processes=0)
    except AssertionError as error:
        assert "history reads '1234" in str(error), error
        assert f"SEED={SEED} STEPS=" in fuzzer.replay(), fuzzer.replay()
    else:
        raise AssertionError("a knob that another has changed is not found")


CASES = [
    (f"random use of every face, {STEPS} steps", random_use),
    ("a seed makes the same steps again", replays),
    ("what is wrong is found", finds),
]

if __name__ == "__main__":
    run_cases(CASES, modules=(*fuzz.OPS, fuzz.LEAK, fuzz.INITFAIL))
