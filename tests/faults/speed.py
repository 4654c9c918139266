"""What tracking costs a training: no store, one that hangs, a healthy one; in turns.

The clock of a machine that is not quiet cannot tell 1 %, so what tracking takes is also added up:
the seconds that the training waits in its calls, and the processor's time of its threads.
"""

import os
import time
from collections.abc import Mapping
from contextlib import ExitStack, contextmanager, nullcontext
from itertools import cycle
from math import inf
from pathlib import Path
from typing import Self

import numpy as np
import psutil
import torch
import yaml
from scipy.stats import bootstrap
from tqdm import tqdm

from conftest import ROOT
from faults.outages import Store, hanging
from faults.table import Table, require
from pipeline.data import storage, targets
from pipeline.figures import drawn_people
from pipeline.settings import Settings, check
from pipeline.tracking.recording import training_run
from pipeline.tracking.run import Run
from pipeline.training.batches import Photographs
from pipeline.training.loop import train
from pipeline.training.state import TrainingState
from tiny import TINY

TURNS, POINT_EVERY = 40, 20  # steps; a point every 3 s, as of a training on a GPU
MOST = 0.01  # of a training's time
FAULTS = {"none": None, "hanging": hanging, "healthy": lambda _: nullcontext()}


def run(table: Table, folder: Path) -> None:
    """One row: the share of the time that tracking takes, and what the clock says beside it: the
    median over the turns of a stretch's time beside a store over that without one, with its 95 %
    interval.

    The training has one core, as a server has cores of its own.
    """
    folder = folder / "speed"
    folder.mkdir()
    values = yaml.safe_load((ROOT / "params.yaml").read_text())
    for group, changes in TINY.items():
        values[group] |= changes
    values["cache"] |= {"input_size": 64, "heatmap_size": 16}
    values["model"]["features"] = [32, 48, 64]
    steps = (len(FAULTS) * TURNS + 1) * POINT_EVERY
    values["train"] |= {"input_sizes": [64], "batch": 16, "steps": steps, "game_start": 0}
    values["train"] |= {"log_every": POINT_EVERY, "validate_every": steps}
    settings = check(values, "params.yaml")
    photographs = drawn(folder, settings)
    with ExitStack() as stack:
        store = Store(folder / "store")
        stack.callback(store.stop)
        stack.callback(torch.set_num_threads, torch.get_num_threads())
        torch.set_num_threads(1)
        stack.enter_context(tracked_at(store.address, folder))
        settled(store)
        told = stack.enter_context(training_run(settings, tags={}, resumed=False))
        turns = stack.enter_context(Turns(store, told))
        train(
            TrainingState(settings, photographs.device),
            photographs,
            settings,
            folder / "saved.pt",
            turns.report,
        )
    kind = "training beside a store that is healthy, or hangs"
    said, most = [], 0.0
    for name in ("healthy", "hanging"):
        taken = sum(turns.taken[name]) / sum(turns.times[name])
        slower = np.divide(turns.times[name], turns.times["none"]) - 1
        low, high = bootstrap((slower,), np.median, rng=0).confidence_interval
        said.append(
            f"{name}: takes {taken:.2%} of the time; by the clock {np.median(slower):+.1%}"
            f" ({low:+.1%} to {high:+.1%})"
        )
        most = max(most, taken, low)
    table.notes[kind] = ", ".join(said)
    table.attempt(kind, lambda: require(most < MOST, table.notes[kind]), TURNS)


class Turns:
    """The stretches of one training between its points, beside no store, one that hangs and one
    that is healthy, in turns: so near to each other the machine is as fast for each.

    times: s of each stretch, by the kind of store; taken: s of each that tracking took.
    """

    def __init__(self, store: Store, told: Run) -> None:
        self.times: dict[str, list[float]] = {name: [] for name in FAULTS}
        self.taken: dict[str, list[float]] = {name: [] for name in FAULTS}
        self._store, self._told, self._kinds = store, told, cycle(FAULTS)
        self._kind, self._fault = "", ExitStack()
        self._began, self._others, self._waited = 0.0, 0.0, 0.0
        self._bar = tqdm(desc="speed", total=len(FAULTS) * TURNS, unit=" stretches")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._fault.close()
        self._bar.close()

    def report(self, step: int, values: Mapping[str, float]) -> None:
        """A point: what ends here is timed, the next begins by telling its store of it."""
        if self._kind:
            self.times[self._kind].append(time.perf_counter() - self._began)
            self.taken[self._kind].append(self._waited + of_other_threads() - self._others)
            self._bar.update()
        self._fault.close()
        self._kind = next(self._kinds)
        fault = FAULTS[self._kind]
        if fault:
            self._fault.enter_context(fault(self._store))
        self._began, self._others = time.perf_counter(), of_other_threads()
        if fault:
            self._told.log(step, values)
        self._waited = time.perf_counter() - self._began


def of_other_threads() -> float:
    """s of processor time that this process's other threads had so far; a training that has one
    core has no other threads than tracking's."""
    return time.process_time() - time.thread_time()


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


def settled(store: Store) -> None:
    """Wait until a server that answers has also started all of its workers, on these cores."""
    server = psutil.Process(store.process.pid)
    used, before = inf, 0.0
    while used > 0.1:
        time.sleep(2)
        all_of_it = [server, *server.children(recursive=True)]
        now = sum(sum(process.cpu_times()[:2]) for process in all_of_it)
        used, before = now - before, now


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
