"""What tracking costs a training: no store, a healthy server, one that hangs; in turns."""

import os
import signal
import time
from collections.abc import Callable
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median

import numpy as np
import torch
import yaml
from tqdm import tqdm

from conftest import ROOT
from faults.outages import Store
from faults.table import Table, require
from pipeline.data import storage, targets
from pipeline.figures import drawn_people
from pipeline.settings import Settings, check
from pipeline.tracking.recording import training_run
from pipeline.training.batches import Photographs
from pipeline.training.loop import train
from pipeline.training.state import TrainingState
from tiny import TINY

ROUNDS, STEPS = 5, 150
MOST = 0.01  # of a training's time
STORES = ("none", "healthy", "hanging")


def run(table: Table, folder: Path) -> None:
    """One row: the median over the rounds of the time with a store over that without one."""
    folder = folder / "speed"
    folder.mkdir()
    values = yaml.safe_load((ROOT / "params.yaml").read_text())
    for group, changes in TINY.items():
        values[group] |= changes
    values["cache"] |= {"input_size": 64, "heatmap_size": 16}
    values["model"]["features"] = [32, 48, 64]
    values["train"] |= {"input_sizes": [64], "batch": 16, "steps": STEPS, "validate_every": STEPS}
    settings = check(values, "params.yaml")
    photographs = drawn(folder, settings)
    times: dict[str, list[float]] = {store: [] for store in STORES}
    for _ in tqdm(range(ROUNDS), "speed", unit=" rounds"):
        for store in STORES:
            times[store].append(seconds(folder, settings, photographs, store))
    pairs = {
        store: median(a / b for a, b in zip(times[store], times["none"], strict=True)) - 1
        for store in STORES[1:]
    }
    kind = "training beside a store that is healthy, or hangs"
    table.notes[kind] = ", ".join(
        f"{name}: {100 * cost:+.1f} % time" for name, cost in pairs.items()
    )
    table.attempt(kind, lambda: require(max(pairs.values()) < MOST, table.notes[kind]), ROUNDS)


def drawn(folder: Path, settings: Settings) -> Photographs:
    """Drawn people, cached."""
    geometry = settings.cache.geometry
    drawn_people.write(folder / "set", 60, 0)
    storage.build(folder / "set", folder / "cache", geometry)
    crops = storage.load(folder / "cache", geometry)
    targets.save(folder / "heatmaps.npz", targets.targets_of(crops))
    every = np.arange(len(crops))
    heatmaps = targets.load(folder / "heatmaps.npz")
    return Photographs(crops, heatmaps, every[:50], every[50:], torch.device("cpu"))


def seconds(folder: Path, settings: Settings, photographs: Photographs, store: str) -> float:
    """Of a training, from its first step to its last."""
    state = TrainingState(settings, photographs.device)

    def timed(report: Callable[[int, dict[str, float]], None]) -> float:
        start = time.perf_counter()
        train(state, photographs, settings, folder / "saved.pt", report)
        return time.perf_counter() - start

    if store == "none":
        return timed(lambda *_: None)
    with ExitStack() as stack:
        name = f"{store}-{time.monotonic_ns()}"
        server = Store(folder / name)
        stack.callback(server.stop)
        stack.enter_context(tracked_at(server.address, folder))
        with training_run(settings, tags={"fingerprint": name}, resumed=False) as run:
            if store == "hanging":
                os.killpg(server.process.pid, signal.SIGSTOP)
            took = timed(run.log)
            if store == "hanging":
                os.killpg(server.process.pid, signal.SIGCONT)
        return took


@contextmanager
def tracked_at(address: str, folder: Path):
    """Runs of this process are tracked there; what waits for it lies in a folder."""
    before, variables = Path.cwd(), {"MLFLOW_TRACKING_URI": address, "DVC_ROOT": str(folder)}
    kept = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)
        for name, value in kept.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})
