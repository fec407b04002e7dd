#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""The guest's half of bench.py: measure, and print a row a line, separated by commas."""
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
MOWN = HERE.parent.parent / "src" / "mown.ko"
SYSFS = Path("/sys/kernel/mown")
PLAIN, OTHER, API = "mown_bench_plain", "mown_bench_other", "mown_bench_api"
SIZES = (64, 128, 1024, 8192)
LIVE = (0, 1000)
# As bench.h has it
PAIRS = 200


def load(path: Path, *params: str) -> None:
    """Load a module."""
    subprocess.run(["insmod", str(path), *params], check=True)


def unload(*names: str) -> None:
    """Unload modules."""
    subprocess.run(["rmmod", *names], check=True)


def pair(module: str, size: int) -> float:
    """What a pair of the module's costs; the first run is to warm up."""
    params = Path(f"/sys/module/{module}/parameters")
    for _ in range(2):
        (params / "run").write_text(str(size), encoding="ascii")
    return int((params / "result").read_text(encoding="ascii")) / PAIRS


class Rows:
    """Prints the rows, each beside what the raw pair of its size costs."""

    def __init__(self) -> None:
        self.raw: dict[tuple[int, int], float] = {}

    def measure(self, way: str, module: str, live: int, quarantine: int) -> None:
        """A row for each size."""
        for size in SIZES:
            value = pair(module, size)
            raw = self.raw.setdefault((size, live), value)
            print(f"{way},kmalloc,{size},{live},pair,{quarantine},0,instructions,"
                  f"{raw:.1f},{value:.1f},{value - raw:.1f}", flush=True)


def main() -> int:
    """Measure all ways."""
    rows = Rows()
    for live in LIVE:
        objects = f"live={live}"
        load(HERE / f"{PLAIN}.ko", objects)
        load(HERE / f"{OTHER}.ko")
        rows.measure("raw", PLAIN, live, 0)
        load(MOWN)
        quarantine = int((SYSFS / "quarantine_bytes").read_text(encoding="ascii"))
        rows.measure("idle", PLAIN, live, 0)
        unload(PLAIN)
        for held in (0, quarantine):
            (SYSFS / "quarantine_bytes").write_text(str(held), encoding="ascii")
            load(HERE / f"{API}.ko", objects)
            rows.measure("api", API, live, held)
            rows.measure("bystander_api", OTHER, live, held)
            unload(API)
            (SYSFS / "attach").write_text(PLAIN, encoding="ascii")
            load(HERE / f"{PLAIN}.ko", objects)
            rows.measure("attach", PLAIN, live, held)
            rows.measure("bystander_attach", OTHER, live, held)
            unload(PLAIN)
            (SYSFS / "detach").write_text(PLAIN, encoding="ascii")
        unload(OTHER, "mown")
        # What is freed by RCU has to be gone before the next raw figure
        time.sleep(1)
    return 0


if __name__ == "__main__":
    sys.exit(main())
