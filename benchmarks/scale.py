"""How cost grows with the number of people: 10,000, and what is beyond LSPet.

    python -m benchmarks.scale --dataset data/dataset --people 10000 40000 160000
    python -m benchmarks.scale --runs 10 100 1000        the MLflow store instead
    python -m benchmarks.scale --draw                    docs/scale.png, of all that was measured

A data set of so many people is LSPet's photographs again and again (hard links), each time with
another box around the person. Rows go into results/scale.csv, under the name that --code gives to
the code that was measured: a copy of this file measures older code too.
"""

import argparse
import gc
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from itertools import product
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import pandas as pd
import simplejpeg
import torch
import yaml
from scipy.io import loadmat, savemat
from tqdm import tqdm

from benchmarks.timing import peak_memory, process
from pipeline import paths
from pipeline.annotations import image_paths
from pipeline.data import storage, targets
from pipeline.data.split import HASH_BITS, difference_hash, near_duplicates
from pipeline.evaluation.protocol import evaluate
from pipeline.inputs import fingerprint
from pipeline.networks.estimator import CropEstimator
from pipeline.settings import Settings, load
from pipeline.training.batches import Photographs, order, training_batch
from pipeline.training.loop import iteration
from pipeline.training.state import TrainingState

ROOT = Path(__file__).resolve().parents[1]
TABLE = ROOT / "benchmarks/results/scale.csv"
PICTURE = ROOT / "docs/scale.png"
SMALL = {  # crops and a network that leave time and disk for many people
    "cache": {"input_size": 64, "heatmap_size": 16},
    "model": {"encoder": "hourglass", "pretrained": False, "block": "basic", "features": [16, 24]},
    "split": {"scenes": False},
    "train": {"input_sizes": [64], "game_start": 0.0},
}
Rows = Iterator[tuple[str, float, str]]  # of what, how much, in which unit


def repeated(dataset: Path, count: int, folder: Path) -> None:
    """A data set of `count` people: photographs of another, with joints a little further apart or
    closer together each time that one comes again."""
    found, joints = image_paths(dataset), loadmat(dataset / "joints.mat")["joints"].astype(float)
    (folder / "images").mkdir(parents=True)
    names = [folder / f"images/im{number + 1:05d}.jpg" for number in range(count)]
    for number, name in enumerate(names):
        if number < len(found):  # copied: DVC changes the modes of what it takes in
            shutil.copyfile(found[number], name)
        else:
            os.link(names[number % len(found)], name)
    chosen = np.arange(count) % joints.shape[-1]
    new = joints[..., chosen]
    factor = 1 - 0.01 * (np.arange(count) // joints.shape[-1])
    flags = new[:, 2:] == 1
    middle = np.where(flags, new[:, :2], 0).sum(axis=0) / flags.sum(axis=0)
    new[:, :2] = np.where(flags, middle + factor * (new[:, :2] - middle), new[:, :2])
    savemat(folder / "joints.mat", {"joints": new})


def clone(folder: Path, dataset: Path, count: int) -> None:
    """A repository with this code and small parameters, whose data set is there."""
    listed = process("git", "ls-files", "-co", "--exclude-standard", cwd=ROOT).splitlines()
    for name in listed:
        if not name.startswith(("weights/", "metrics/")) and (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)
    (folder / paths.LOCK).unlink(missing_ok=True)
    values = yaml.safe_load((folder / paths.PARAMS).read_text())
    for group, changes in SMALL.items():
        values[group] |= changes
    (folder / paths.PARAMS).write_text(yaml.safe_dump(values))
    for words in (["init", "-q"], ["add", "-A"], ["commit", "-qm", "start"]):
        process("git", "-c", "user.name=b", "-c", "user.email=b@b", *words, cwd=folder)
    repeated(dataset, count, folder / paths.DATASET)


def seconds(work: Callable[[], Any], times: int = 1) -> float:
    """Median of a call."""
    taken = []
    for _ in range(times):
        start = time.perf_counter()
        work()
        taken.append(time.perf_counter() - start)
    return median(taken)


def stage_rows(folder: Path) -> Rows:
    """The cache stage, DVC's hashing, and one photograph that changes."""
    environment = os.environ | {"PYTHONPATH": str(folder), "TQDM_DISABLE": "1"}
    stage = [sys.executable, "-m", "stages.cache"]
    held: list[int] = []

    def cached() -> None:
        held.append(peak_memory(*stage, cwd=folder, env=environment))

    yield "cache stage", seconds(cached), "s"
    yield "cache stage, memory", held[-1] / 2**20, "MiB"
    size = sum(path.stat().st_size for path in (folder / paths.CROPS).iterdir())
    yield "crops on disk", size / 2**30, "GiB"

    def dvc(*words: str) -> Callable[[], str]:
        return lambda: process(sys.executable, "-m", "dvc", *words, cwd=folder, env=environment)

    yield "DVC takes in data set and crops", seconds(dvc("commit", "-f", "download", "cache")), "s"
    yield "dvc status", seconds(dvc("status", "download", "cache")), "s"
    before = {path.name: path.stat().st_ino for path in (folder / paths.CROPS).iterdir()}
    changed = folder / paths.DATASET / "images/im00003.jpg"
    content = changed.with_name("im00004.jpg").read_bytes()
    changed.unlink()
    changed.write_bytes(content)
    shutil.rmtree(folder / paths.CROPS)  # as DVC does before it runs the stage
    yield "cache stage after one photograph changed", seconds(cached), "s"
    new = [p for p in (folder / paths.CROPS).glob("*.npy") if before.get(p.name) != p.stat().st_ino]
    yield (
        "crops written after one photograph changed",
        sum(path.stat().st_size for path in new) / 2**30,
        "GiB",
    )


def training_rows(folder: Path) -> Rows:
    """A training's start, its steps and its memory; the near-duplicates; the evaluation."""
    os.chdir(folder)
    settings = load()
    crops = storage.load(paths.CROPS, settings.cache.geometry)
    yield "hashing at a training's start", seconds(lambda: hashed(settings)), "s"
    count, cpu = len(crops), torch.device("cpu")
    everybody = np.arange(count)
    seen = Photographs(crops, targets.load(paths.HEATMAPS), everybody, everybody[:50], cpu)
    steps = iter(range(10**6))
    drawn = seconds(lambda: order(next(steps), everybody, settings.train), times=15)
    yield "order of a step", 1000 * drawn, "ms"
    batch = seconds(lambda: training_batch(next(steps), seen, settings), times=15)
    yield "batch of a step", 1000 * batch, "ms"
    state = TrainingState(settings, cpu)
    step = seconds(
        lambda: iteration(state, training_batch(next(steps), seen, settings), settings), times=15
    )
    yield "step of a small network", 1000 * step, "ms"
    yield "training, memory", anonymous(), "MiB"
    made_by = {"cache": settings.cache.model_dump(), "model": settings.model.model_dump()}
    estimator = CropEstimator(state.averaged_generator, crops.geometry, made_by, cpu)
    some = everybody[:: max(1, count // 200)][:200]
    yield (
        "evaluation, a photograph",
        1000 / 200 * seconds(lambda: evaluate(estimator, crops, some)),
        "ms",
    )


def hashed(settings: Settings) -> None:
    """What a training hashes of its data: all, and the crops once more where they are one file."""
    fingerprint("train", settings.model_dump())
    if (paths.CROPS / "crops.npy").exists():
        from pipeline.files import digest

        digest(paths.CROPS / "crops.npy")


def anonymous() -> float:
    """MiB that this process holds beside the files that it maps (Linux)."""
    gc.collect()
    lines = Path("/proc/self/status").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith("RssAnon")) / 2**10


def duplicate_rows(hashes: np.ndarray, count: int) -> Rows:
    """Near-duplicates among the hashes of so many photographs: LSPet's, and upper halves of some
    with lower halves of others."""
    rng, parts = np.random.default_rng(0), [hashes]
    while sum(map(len, parts)) < count:
        one, other = (hashes[rng.permutation(len(hashes))] for _ in range(2))
        parts.append(np.where(np.arange(HASH_BITS) < HASH_BITS // 2, one, other))
    mixed = np.concatenate(parts)[:count]
    yield "near-duplicates", seconds(lambda: near_duplicates(mixed, 24)), "s"


def store_rows(counts: list[int]) -> Iterator[tuple[int, str, float, str]]:
    """An MLflow store of so many runs: to write one more, and to open the table of runs."""
    from mlflow import MlflowClient
    from mlflow.entities import Metric, Param

    settings = load(ROOT / paths.PARAMS).model_dump()
    params = [
        Param(f"{group}.{key}", str(value))
        for group, values in settings.items()
        for key, value in values.items()
    ]
    with tempfile.TemporaryDirectory() as folder:
        client = MlflowClient(f"sqlite:///{folder}/mlflow.db")
        experiment = client.create_experiment("scale", f"{folder}/artifacts")

        def write() -> None:
            run = client.create_run(experiment).info.run_id
            points = [
                Metric(f"val/{number}", step / 7, step, step)
                for number, step in product(range(40), range(20))
            ]
            client.log_batch(run, metrics=points, params=params)
            client.set_terminated(run)

        runs = 0
        for count in sorted(counts):
            for _ in tqdm(range(runs, count), f"{count} runs", unit=" runs"):
                write()
            runs = count
            yield count, "MLflow, a run is written", seconds(write, times=5), "s"
            table = partial(
                client.search_runs,
                [experiment],
                max_results=count,
                order_by=["metrics.`val/3` DESC"],
            )
            yield count, "MLflow, the table of runs", seconds(table, times=3), "s"


def keep(code: str, people: int, rows: Rows) -> None:
    """Print rows, and put them into the table in place of older ones."""
    for quantity, value, unit in rows:
        print(f"{code:10}{people:>9,} {quantity:45}{value:10.4g} {unit}", flush=True)
        old = pd.read_csv(TABLE) if TABLE.exists() else pd.DataFrame()
        if len(old):
            same = (old.code == code) & (old.people == people) & (old.quantity == quantity)
            old = old[~same]
        row = {"code": code, "people": people, "quantity": quantity, "value": value, "unit": unit}
        table = pd.concat([old, pd.DataFrame([row])], ignore_index=True)
        table.to_csv(TABLE, index=False, float_format="%.4g")


def draw() -> None:
    """Each quantity over the number of people, by code, on logarithmic axes."""
    from pipeline.drawing.palette import LINES
    from pipeline.drawing.style import grid, legend, plain

    table = pd.read_csv(TABLE)
    names = list(dict.fromkeys(table.quantity))
    columns = 4
    figure, axes = grid(-(-len(names) // columns), columns, (14, 3 * -(-len(names) // columns)))
    colours = dict(zip(dict.fromkeys(table.code), LINES, strict=False))
    lines = {}
    for axis, name in zip(axes.flat, names, strict=False):
        some = table[table.quantity == name]
        plain(axis, f"{name}, {some.unit.iloc[0]}")
        for code, colour in colours.items():
            points = some[some.code == code].sort_values("people")
            (lines[code],) = axis.loglog(
                points.people, points.value, "o-", color=colour, label=code, ms=4
            )
        axis.tick_params(which="minor", labelsize=6)
        low, high = axis.get_ylim()
        if high < 10 * low:  # else what hardly changes looks as if it did
            axis.set_ylim(low / 3, high * 3)
    for axis in list(axes.flat)[len(names) :]:
        axis.axis("off")
    legend(figure, list(lines.values()), len(lines))
    figure.savefig(PICTURE)


def hashes_of(dataset: Path) -> np.ndarray:
    """The difference hashes (N, 256) of a data set's photographs."""
    return np.array(
        [
            difference_hash(simplejpeg.decode_jpeg(path.read_bytes()))
            for path in tqdm(image_paths(dataset), "hashes", unit=" photographs")
        ]
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--people", type=int, nargs="*", default=[], metavar="N")
    parser.add_argument("--runs", type=int, nargs="*", default=[], metavar="N", help="of MLflow")
    parser.add_argument("--dataset", type=Path, default=ROOT / paths.DATASET, help="of LSPet")
    parser.add_argument("--folder", type=Path, help="to work in; needs 0.1 MB a person")
    parser.add_argument("--code", default="now", help="what the measured code is called")
    parser.add_argument("--draw", action="store_true", help="draw what was measured")
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.draw:
        draw()
    elif options.child:  # memory is a process's own
        keep(options.code, options.people[0], training_rows(options.child))
    else:
        for runs, quantity, value, unit in store_rows(options.runs) if options.runs else []:
            keep(options.code, runs, iter([(quantity, value, unit)]))
        hashes = hashes_of(options.dataset) if options.people else np.empty((0, HASH_BITS))
        for people in options.people:
            with tempfile.TemporaryDirectory(dir=options.folder) as place:
                folder = Path(place) / "clone"
                clone(folder, options.dataset, people)
                keep(options.code, people, stage_rows(folder))
                child = [sys.executable, "-m", "benchmarks.scale", "--child", str(folder)]
                subprocess.run(
                    [*child, "--people", str(people), "--code", options.code], cwd=ROOT, check=True
                )
            keep(options.code, people, duplicate_rows(hashes, people))


if __name__ == "__main__":
    main()
