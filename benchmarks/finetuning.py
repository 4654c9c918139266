"""What it brings to begin with the committed weights: the preset `finetune` on few photographs,
beside the same training from nothing (an encoder with ImageNet weights).

    python -m benchmarks.finetuning lspet     # of its validation part, measured on its test part
    python -m benchmarks.finetuning figures   # of drawn people, who are new to the weights

Needs `dvc repro download cache` for LSPet, and the committed weights in weights/. Each row of
results/finetuning.csv is one training; those that are there are not made again.
"""

import argparse
import csv
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from pipeline import paths, presets
from pipeline.data import storage, targets
from pipeline.data.crops import Crops, Predictions, batches
from pipeline.device import default_device
from pipeline.evaluation import protocol
from pipeline.evaluation.metrics import by_group, normalised_distance, share_below, torso_size
from pipeline.figures import drawn_people
from pipeline.files import written_whole
from pipeline.networks.estimator import CropEstimator
from pipeline.settings import Settings, check, load
from pipeline.training.batches import Photographs
from pipeline.training.loop import train
from pipeline.training.state import TrainingState

PRESET = "finetune"
RESULTS = Path("benchmarks/results/finetuning.csv")
SCRATCH = Path(".dvc/tmp/finetuning")
COUNTS = (50, 200, 800)  # photographs that train
LSPET, NOTHING = STARTS = ("lspet", "nothing")
DRAWN, DRAWN_SEED = 1400, 11  # drawn people
TESTED = 400  # photographs that are measured
CHOOSING = 150  # photographs on which rates are chosen, in neither part
FROM_NOTHING = 0.001  # the learning rate of params.yaml, chosen for a start from nothing


@dataclass(frozen=True)
class Domain:
    """Crops, in parts."""

    crops: Crops
    heatmaps: Path
    learn: np.ndarray  # indices, in the order in which they are taken
    choose: np.ndarray
    test: np.ndarray


def lspet(settings: Settings) -> Domain:
    """Photographs of LSPet that the committed weights were not taught on."""
    split = pd.read_csv(paths.SPLIT)
    rest = np.random.default_rng(0).permutation(np.flatnonzero(split.part == "validation"))
    crops = storage.load(paths.CROPS, settings.cache.geometry)
    test = np.sort(
        np.random.default_rng(1).permutation(np.flatnonzero(split.part == "test"))[:TESTED]
    )
    return Domain(crops, paths.HEATMAPS, rest[CHOOSING:], rest[:CHOOSING], test)


def figures(settings: Settings) -> Domain:
    """Drawn people."""
    folder = SCRATCH / "figures"
    if not (folder / "set").exists():
        drawn_people.write(folder / "set", DRAWN, DRAWN_SEED)
    storage.build(folder / "set", folder / "cache", settings.cache.geometry)
    crops = storage.load(folder / "cache", settings.cache.geometry)
    targets.save(folder / "heatmaps.npz", targets.targets_of(crops))
    each = np.arange(DRAWN)
    first = TESTED + CHOOSING
    return Domain(crops, folder / "heatmaps.npz", each[first:], each[TESTED:first], each[:TESTED])


DOMAINS = {"lspet": lspet, "figures": figures}


def preset(**changes: object) -> Settings:
    """params.yaml with the preset, and with changes of the group train."""
    chosen = presets.read(PRESET)
    values = {group: keys | chosen.get(group, {}) for group, keys in load().model_dump().items()}
    return check(values | {"train": values["train"] | changes}, PRESET)


def taught(domain: Domain, count: int, settings: Settings, start: bool) -> CropEstimator:
    """An estimator taught on the first photographs of a domain."""
    photographs = Photographs(
        crops=domain.crops,
        targets=targets.load(domain.heatmaps),
        train=domain.learn[:count],
        validation=domain.choose,
        device=default_device(),
    )
    state = TrainingState(settings, photographs.device)
    if start:
        state.begin(Path(settings.train.start), settings)
    train(state, photographs, settings, SCRATCH / "state.pt", lambda *_: None)
    geometry = settings.cache.geometry
    return CropEstimator(state.averaged_generator, geometry, {}, photographs.device)


def measured(estimator: CropEstimator, crops: Crops, indices: np.ndarray) -> list[float]:
    """PCK@0.2 of crops, mean over the joints, and its 95 % interval over the photographs."""
    found = [estimator.predict(crops, part) for part in batches(indices, protocol.BATCH)]
    truth, known = crops.originals[indices], crops.annotated[indices]
    points = Predictions.concatenated(found).points
    distance = normalised_distance(points, truth, known, torso_size(truth, known))
    share = by_group(share_below(distance, 0.2))["mean"]
    return [share, *protocol.interval_95(distance, 0.2)["mean"]]


def main(words: Sequence[str] | None = None) -> None:
    """Train and measure what is not in the table yet."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("domain", choices=DOMAINS)
    parser.add_argument("--counts", type=int, nargs="+", default=[0, *COUNTS])
    parser.add_argument("--starts", nargs="+", choices=STARTS, default=STARTS)
    parser.add_argument("--rate", type=float, help="another learning rate; measured on `choose`")
    options = parser.parse_args(words)
    SCRATCH.mkdir(parents=True, exist_ok=True)
    settings = preset()
    domain = DOMAINS[options.domain](settings)
    part = "choose" if options.rate else "test"
    for count in options.counts:
        for start in options.starts if count else STARTS[:1]:
            rate = options.rate or (
                settings.train.learning_rate if start == LSPET else FROM_NOTHING
            )
            key = {
                "domain": options.domain, "part": part, "photographs": count,
                "start": start,
                "steps": settings.train.steps if count else 0,
                "rate": rate if count else 0.0,
            }  # fmt: skip
            if not done(key):
                since = time.perf_counter()
                if count:
                    estimator = taught(domain, count, preset(learning_rate=rate), start == LSPET)
                else:  # the weights as they are
                    estimator = CropEstimator.load(Path(settings.train.start))
                seconds = time.perf_counter() - since
                numbers = measured(estimator, domain.crops, getattr(domain, part))
                names = ("pck_0.2", "low", "high")
                shares = {n: round(v, 4) for n, v in zip(names, numbers, strict=True)}
                record(key | shares | {"seconds": round(seconds)})


def done(key: dict[str, object]) -> bool:
    """Is this training in the table?"""
    if not RESULTS.is_file():
        return False
    with RESULTS.open(newline="") as file:
        return any(all(row[n] == str(v) for n, v in key.items()) for row in csv.DictReader(file))


def record(row: dict[str, object]) -> None:
    """Add a row to the table, and say it."""
    known = pd.read_csv(RESULTS).to_dict("records") if RESULTS.is_file() else []
    with written_whole(RESULTS) as beside:
        pd.DataFrame([*known, row]).to_csv(beside, index=False, lineterminator="\n")
    print(row, flush=True)


if __name__ == "__main__":
    main()
