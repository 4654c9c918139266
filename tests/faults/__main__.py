"""Break things, and print the table."""

import argparse
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

import faults
from faults import disk, home, inputs, kills, outages, ranks, speed, sweep
from faults.clone import Reference
from faults.table import Table

SUITES = ("kills", "ranks", "outages", "disk", "inputs", "home", "sweep", "speed")


def main() -> int:
    """Exit status 1 where something was lost."""
    parser = argparse.ArgumentParser(description=faults.__doc__)
    parser.add_argument("--share", type=float, default=1.0, help="of all faults (0 to 1)")
    parser.add_argument("--only", default=",".join(SUITES), help="some of " + ",".join(SUITES))
    parser.add_argument("--seed", type=int, default=0, help="of moments and of bad inputs")
    options = parser.parse_args()
    table, chosen = Table(), options.only.split(",")
    start, rng = time.monotonic(), np.random.default_rng(options.seed)
    with tempfile.TemporaryDirectory(prefix="faults-") as folder:
        if set(chosen) & {"kills", "ranks", "outages", "disk"}:
            reference = Reference.of(Path(folder).resolve() / "reference")
        if "kills" in chosen:
            kills.run(table, reference, options.share, rng)
        if "ranks" in chosen:
            ranks.run(table, reference, options.share, rng)
        if "outages" in chosen:
            outages.run(table, reference, options.share)
        if "disk" in chosen:
            disk.run(table, reference, options.share)
        if "inputs" in chosen:
            inputs.run(table, Path(folder).resolve() / "inputs", options.share, rng)
        if "home" in chosen:
            home.run(table, Path(folder).resolve() / "home")
        if "sweep" in chosen:
            sweep.run(table, Path(folder).resolve() / "sweep", rng)
        if "speed" in chosen:
            speed.run(table, Path(folder))
    minutes = (time.monotonic() - start) / 60
    print(f"\n{table.markdown()}\n\n{minutes:.0f} minutes, seed {options.seed}")
    return 1 if table.losses else 0


if __name__ == "__main__":
    sys.exit(main())
