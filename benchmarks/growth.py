"""How cost grows: with the batch, the network and the number of photographs."""

import sys
import tempfile
from functools import partial
from math import nan
from pathlib import Path

import numpy as np
import torch
from scipy.io import loadmat, savemat

from benchmarks.parts import ROOT, Row, changed, noise, trainer, untrained
from benchmarks.timing import peak_memory, race
from pipeline.annotations import image_paths
from pipeline.data import storage
from pipeline.data.crops import Crops
from pipeline.evaluation.protocol import evaluate
from pipeline.paths import DATASET
from pipeline.settings import Settings, load
from pipeline.training.batches import Photographs


def rows(settings: Settings, photographs: Photographs) -> list[Row]:
    """Training by batch, stacks and features; cache, evaluation and memory by photographs."""
    return [
        *training_rows(settings, photographs),
        *cache_rows(settings),
        *evaluation_rows(settings, photographs),
        *memory_rows(),
    ]


def training_rows(settings: Settings, photographs: Photographs) -> list[Row]:
    """Images a second of the adversarial step."""
    features = settings.model.features
    widths = [[8 * round(factor * each / 8) for each in features] for factor in (0.5, 1, 2)]
    variants = (
        [(f"batch {n}", {"train": {"batch": n}}) for n in (8, 16, 32, 64, 128)]
        + [(f"{n} stacks", {"model": {"stacks": n}}) for n in (1, 2, 4)]
        + [(f"features {each}", {"model": {"features": each}}) for each in widths]
    )
    result = []
    for name, groups in variants:
        variant = changed(settings, **groups)
        (seconds,) = race(trainer(variant, photographs), rounds=5, device=photographs.device)
        result.append(
            Row(f"training, {name}", variant.train.batch / seconds, nan, "images/s", nan, "")
        )
    return result


def cache_rows(settings: Settings) -> list[Row]:
    """Photographs a second of the cache, of the first ones of LSPet."""
    result = []
    for count in (2500, 5000, 10_000):
        with tempfile.TemporaryDirectory(dir=ROOT / ".dvc" / "tmp") as folder:
            dataset = first(ROOT / DATASET, count, Path(folder) / "set")
            build = partial(storage.build, dataset, Path(folder) / "cache", settings.cache.geometry)
            (seconds,) = race(build, rounds=1)
        result.append(Row(f"cache, {count} photographs", count / seconds, nan, "images/s", nan, ""))
    return result


def first(dataset: Path, count: int, folder: Path) -> Path:
    """A data set of the first photographs of another, which stay where they are."""
    (folder / "images").mkdir(parents=True)
    for path in image_paths(dataset)[:count]:
        (folder / "images" / path.name).symlink_to(path.resolve())
    savemat(
        folder / "joints.mat", {"joints": loadmat(dataset / "joints.mat")["joints"][..., :count]}
    )
    return folder


def evaluation_rows(settings: Settings, photographs: Photographs) -> list[Row]:
    """Photographs a second of the evaluation, with flip test, and once more under occluders."""
    estimator = untrained(settings, photographs.device)
    result = []
    for count in (100, 200, 400):
        work = partial(evaluate, estimator, photographs.crops, np.arange(count))
        (seconds,) = race(work, rounds=1)
        result.append(
            Row(f"evaluation, {count} photographs", count / seconds, nan, "images/s", nan, "")
        )
    return result


def memory_rows() -> list[Row]:
    """Memory of a training, the memory-mapped crops not counted."""
    result = []
    for count in (1000, 10_000):
        with tempfile.TemporaryDirectory(dir=ROOT / ".dvc" / "tmp") as folder:
            code = (
                f"from benchmarks.growth import train_a_little; train_a_little({count}, {folder!r})"
            )
            memory = peak_memory(sys.executable, "-c", code, cwd=ROOT)
        name = f"training, {count} photographs, beside the mapped file"
        result.append(Row(name, memory / 2**20, nan, "MiB", nan, ""))
    return result


def train_a_little(count: int, folder: str) -> None:
    """A few steps on memory-mapped crops, on the CPU."""
    settings = load(ROOT / "params.yaml")
    few = noise(settings, torch.device("cpu"), 100)
    repeated = np.arange(count) % 100
    images = np.lib.format.open_memmap(
        Path(folder) / "crops.npy", "w+", np.uint8, shape=(count, *few.crops.images.shape[1:])
    )
    others = ("points", "annotated", "occluded", "originals", "affines")
    crops = Crops(
        few.crops.geometry, images, **{name: getattr(few.crops, name)[repeated] for name in others}
    )
    step = trainer(settings, Photographs(crops, few.targets, repeated, repeated, few.device))
    for _ in range(20):
        step()
