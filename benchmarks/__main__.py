"""`make bench`: each part's speed beside a reference in the same run; a table, JSON in results/."""

import argparse
import json
import os
import platform
from math import isnan
from pathlib import Path

import psutil
import torch

from benchmarks import growth, parts
from benchmarks.machine import bf16, cpu
from pipeline.device import default_device, device_name
from pipeline.settings import load

RESULTS = Path(__file__).parent / "results"
WORK = {
    "start": lambda settings, photographs: parts.start(),
    "cache": lambda settings, photographs: parts.cache_stage(),
    "heatmaps": lambda settings, photographs: parts.target_heatmaps(),
    "step": parts.train_step,
    "arithmetic": lambda settings, photographs: parts.arithmetic(settings, photographs.device),
    "prediction": parts.prediction,
    "growth": growth.rows,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--only", nargs="+", choices=list(WORK), default=list(WORK), help="some parts alone"
    )
    wanted = parser.parse_args().only
    device, settings = default_device(), load(parts.ROOT / "params.yaml")
    photographs = parts.noise(settings, device)
    print(f"{machine(device)['device']}; the machine should do nothing else\n", flush=True)
    print(f"{'':58}{'ours':>10}{'reference':>11} {'':9}{'ratio':>8}  bar", flush=True)
    rows = []
    for name in wanted:
        for row in WORK[name](settings, photographs):
            rows.append(row)
            print(line(row), flush=True)
    RESULTS.mkdir(exist_ok=True)
    file = RESULTS / f"{'cpu' if device.type == 'cpu' else 'gpu'}.json"
    table = [row._asdict() | {"met": row.met} for row in rows]
    table = [
        {key: None if str(value) == "nan" else value for key, value in row.items()} for row in table
    ]
    if wanted == list(WORK):
        file.write_text(json.dumps({"machine": machine(device), "rows": table}, indent=2) + "\n")
        print(f"\nwritten to {file.relative_to(parts.ROOT)}")


def line(row: parts.Row) -> str:
    """A row of the table in words and aligned numbers."""
    ours, reference, ratio = ("" if isnan(each) else f"{each:.3g}" for each in row[1:3] + row[4:5])
    verdict = {None: "", True: f"{row.wanted}: met", False: f"{row.wanted}: NOT met"}[row.met]
    return f"{row.part:58}{ours:>10}{reference:>11} {row.unit:9}{ratio:>8}  {verdict}"


def machine(device: torch.device) -> dict[str, str | int | float]:
    """What the numbers were measured on."""
    return {
        "device": device_name(device),
        "cpu": cpu(),
        "bf16": bf16(),
        "cores": os.cpu_count() or 1,
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "system": platform.platform(terse=True),
        "python": platform.python_version(),
        "torch": torch.__version__,
    }


if __name__ == "__main__":
    main()
