#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Places in reports: their stacks, as deep as stack_depth says, and names of text that is gone."""
import contextlib
import re
import threading
from typing import Iterator

from ksft_mown import (SYSFS, Skip, insmod, is_in, knob, live, load_mown, loaded, ops, read_file,
                       rmmod, run_cases, stats, unload, violations, wait_for, write_file)

DEMO = "mown_test_demo"
INITFREE, INITTWIN, INITSTACK = "mown_test_initfree", "mown_test_inittwin", "mown_test_initstack"
TAKER, OTHER, INITTAKER = "mown_test_ops", "mown_dropin_ops", "mown_test_taker"
# Not under mown: comes to lie where another was
PLAIN = "mown_plain_ops"
PLACES = ("allocated at ", "first freed at ", "freed again at ")


def double_free(depth: int) -> list[str]:
    """The report of the sample driver's double free, with stacks so deep."""
    # A mown that has not seen the like of it, or it would only count
    rmmod("mown")
    load_mown()
    with knob("stack_depth", depth), loaded(DEMO):
        wait_for(lambda: any("double-free" in block for block in violations()), "the report")
        return next(block for block in violations() if "double-free" in block).splitlines()


def frames(report: list[str], place: str) -> list[str]:
    """The lines of the stack that follow a place, which are indented."""
    at = next(number for number, line in enumerate(report) if line.startswith(place))
    found = []
    for line in report[at + 1:]:
        if not line.startswith("  "):
            break
        found.append(line.strip())
    return found


def no_stacks() -> None:
    """With a depth of 0 only the call sites are told."""
    report = double_free(0)
    for place in PLACES:
        assert not frames(report, place), report


def stacks() -> None:
    """Each stack begins with its place, and leads from the driver's load there."""
    report = double_free(16)
    for place in PLACES:
        site = next(line for line in report if line.startswith(place))
        found = frames(report, place)
        assert found and site[len(place):].startswith(found[0]), f"{site}: {found}"
        assert len(found) <= 16, found
        assert any(frame.startswith("do_one_initcall+") for frame in found), f"{site}: {found}"


def shallow_stacks() -> None:
    """No more frames are kept than asked for."""
    report = double_free(2)
    for place in PLACES:
        assert len(frames(report, place)) == 2, report


def freed_in_init() -> None:
    """The init text is gone when its free is to be named: its name was kept."""
    with loaded(INITFREE):
        write_file(f"/sys/module/{INITFREE}/parameters/again", "1")
        wait_for(lambda: any(INITFREE in block for block in violations()), "the report")
        report = next(block for block in violations() if INITFREE in block)
    for place in PLACES[:2]:
        line, = (line for line in report.splitlines() if line.startswith(place))
        assert is_in(line.removeprefix(place), f"{INITFREE}_init"), report
    assert "\nfreed again at free_again+0x" in report, report


def again_report(module: str) -> list[str]:
    """The report of what the module has freed in its init function and frees again, with stacks."""
    write_file(f"{SYSFS}/clear", "1")
    with knob("stack_depth", 16), loaded(module):
        write_file(f"/sys/module/{module}/parameters/again", "1")
        wait_for(violations, "the report")
        report, = violations()
    lines = [line for line in report.splitlines() if not line.startswith("object #")]
    bare = [line for line in lines if re.search(r"0x[0-9a-f]{12}|ffffffff", line)]
    assert not bare, f"addresses without a name: {bare}"
    return lines


def frames_in_init() -> None:
    """A frame in init text that is gone is told by its offset, or by the name kept for a site."""
    report = again_report(INITSTACK)
    for place, function in zip(PLACES, ("make", "release", "release")):
        found = frames(report, place)
        assert found[0].startswith(f"{function}+0x"), f"{place}: {found}"
        ours = [frame for frame in found if re.match(rf"init\+0x[0-9a-f]+ \[{INITSTACK}\]", frame)]
        # Freed again is what a write does
        assert ours == ([] if place == PLACES[2] else [found[1]]), f"{place}: {found}"
    report = again_report(INITFREE)
    for place in PLACES[:2]:
        found = frames(report, place)
        assert is_in(found[0], f"{INITFREE}_init"), f"{place}: {found}"


def others_in_init() -> None:
    """What has come to others from an init function keeps its name; who freed theirs has none."""
    with ops(TAKER) as taker:
        module = taker.call("this_module").pointer
        theirs = taker.call("kmalloc", 300).pointer
        with loaded(INITFREE, to=module, others=theirs):
            write_file(f"{SYSFS}/clear", "1")
            taker.call("kfree", theirs)
            wait_for(violations, "the report")
            site, = (record.site for record in live(TAKER))
            assert is_in(site, f"{INITFREE}_init"), site
        site, = (record.site for record in live(TAKER))
        assert is_in(site, f"{INITFREE}_init"), site
        report, = violations()
        assert "\nallocated at op_kmalloc+" in report, report
        assert "\nfirst freed before, place not known\n" in report, report
        taker.call("fill", theirs, 1, 0)
        with knob("quarantine_bytes", 0):
            wait_for(lambda: len(violations()) == 2, "the report of what was written")
        title = violations()[1].splitlines()[0]
        assert title == "BUG: mown: use-after-free of what was freed in a place not known", title


def site_of(owner: str, addr: int) -> str:
    """What the place of OWNER's object is called in its live file."""
    return next(record.site for record in live(owner) if record.address == addr)


def made_over_after_init() -> None:
    """What is made over when the init text has gone that it is from keeps its name."""
    with ops(OTHER) as other:
        module = other.call("this_module").pointer
        with loaded(DEMO), ops(TAKER) as third:
            addr = next(r.address for r in live(DEMO) if is_in(r.site, "demo_init"))
            # Nobody lies there now, and then somebody does
            assert third.call("transfer", addr, module).pointer == 0
            before = site_of(OTHER, addr)
            with loaded(INITSTACK), ops(PLAIN):
                after = site_of(OTHER, addr)
            for site in before, after:
                assert is_in(site, "demo_init") and site.endswith(f" [{DEMO}]"), site
            # Its exit function frees it
            write_file(f"{SYSFS}/clear", "1")
        other.call("kfree", addr)
        wait_for(violations, "the report")
        assert re.search(rf"^allocated at (demo_init|init_module)\+.* \[{DEMO}\]",
                         violations()[-1], re.MULTILINE), violations()


def made_over_twice() -> None:
    """What is made over again when it is from a module that has gone keeps its name."""
    with ops(OTHER) as other:
        module = other.call("this_module").pointer
        with ops(TAKER) as taker:
            with loaded(INITFREE, to=taker.call("this_module").pointer):
                pass
            init, = live(TAKER)
            assert taker.call("transfer", init.address, module).pointer == 0
            sites = [site_of(OTHER, init.address)]
        sites.append(site_of(OTHER, init.address))
        for site in sites:
            assert is_in(site, f"{INITFREE}_init") and site.endswith(f" [{INITFREE}]"), site


@contextlib.contextmanager
def taken_in_init(addr: int) -> Iterator[None]:
    """INITTAKER, whose init function has taken over the object at ADDR, and is over then."""
    coming = threading.Thread(target=insmod, args=(INITTAKER,), kwargs={"object": addr})
    coming.start()
    try:
        wait_for(lambda: INITTAKER in (record.module for record in live()) and
                 stats(INITTAKER)["transferred_in"], "the object is taken over")
        yield
    finally:
        write_file(f"/sys/module/{INITTAKER}/parameters/go", "1")
        coming.join()


def taken_over_in_init() -> None:
    """What a module has when it goes live is named, though who gave it has gone before."""
    giver = contextlib.ExitStack()
    addr = giver.enter_context(ops(TAKER)).call("kmalloc", 300).pointer
    with taken_in_init(addr):
        giver.close()
    own = next(record.site for record in live(INITTAKER) if record.address != addr)
    assert is_in(own, f"{INITTAKER}_init"), own
    site = site_of(INITTAKER, addr)
    assert re.match(rf"op_kmalloc\+0x\w+/0x\w+ \[{TAKER}\]$", site), site
    unload([INITTAKER])


def init_at(module: str) -> int:
    """Where the module's init function was."""
    return int(read_file(f"/sys/module/{module}/parameters/init_at"))


def same_place_in_init() -> None:
    """What an init function makes over is its own, though another's has lain in its place."""
    with ops(OTHER) as other, ops(TAKER) as taker:
        to_other, to_taker = (heap.call("this_module").pointer for heap in (other, taker))
        for attempt in range(20):
            with loaded(INITFREE, to=to_other), contextlib.ExitStack() as between:
                place = init_at(INITFREE)
                # A load unmaps what has gone; what stays keeps others from the rest
                between.enter_context(loaded(DEMO))
                if attempt % 2:
                    between.close()
                with loaded(INITTWIN, to=to_taker):
                    site = live(TAKER)[-1].site
                    assert is_in(site, f"{INITFREE}_init"), site
                    assert site.endswith(f" [{INITTWIN}]"), site
                    if init_at(INITTWIN) == place:
                        return
            taker.call("kfree", live(TAKER)[-1].address)
    raise Skip("no init text has come to lie where the other's was")


if __name__ == "__main__":
    run_cases([("no stacks by default", no_stacks),
               ("stacks from the place to the module's load", stacks),
               ("no deeper than asked for", shallow_stacks),
               ("freed first in an init function", freed_in_init),
               ("frames in an init function", frames_in_init),
               ("what others have of an init function", others_in_init),
               ("made over after the init function", made_over_after_init),
               ("made over twice", made_over_twice),
               ("taken over in an init function", taken_over_in_init),
               ("made over in an init function where another's was", same_place_in_init)],
              [INITFREE, INITTWIN, INITSTACK, DEMO, TAKER, OTHER, INITTAKER, PLAIN])
