"""What a generator is worth on a part of the photographs: PCK and PCKh, their certainty, and under occluders."""

import json
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from scipy.stats import mannwhitneyu

from pipeline import PipelineError, augmentation
from pipeline.cache import Crops, input_points
from pipeline.generator import Generator
from pipeline.inference import Predictions, inputs, predict
from pipeline.lspet import FLIP, GROUPS, JOINTS
from pipeline.metrics import (
    bootstrap,
    by_group,
    head_size,
    normalised_distance,
    share_below,
    summary,
    torso_size,
)
from pipeline.settings import Cache

# The protocol is fixed, so that results of different experiments can be compared.
BATCH = 50  # photographs a forward pass
OCCLUDERS, OCCLUDER_SIDE = 2, 0.2  # a photograph in the covered table; of the input's side
RESAMPLES = 1000  # behind a 95 % interval
SEED = 0  # of the occluders and the bootstrap
MEASURES = {"pck_0.2": (torso_size, 0.2), "pckh_0.5": (head_size, 0.5)}
THRESHOLDS = np.linspace(0, 0.5, 51)


class Evaluation(NamedTuple):
    """A generator on some photographs, as they are and with joints covered."""

    found: Predictions
    found_covered: Predictions
    covered: np.ndarray  # (N, 14) bool


def evaluate(
    generator: Generator, crops: Crops, some: np.ndarray, cache: Cache, device: torch.device
) -> Evaluation:
    """Predict some of the crops twice, in fp32 with flip test: as they are, and under deterministic occluders."""
    if not len(some):
        raise PipelineError("data/split.csv has no photographs in this part: nothing to measure")
    generator = generator.to(device).eval()
    covered = []

    def view(indices: np.ndarray) -> torch.Tensor:
        people = cover(crops, indices, cache)
        covered.append(people.occluded.numpy())
        return people.images

    found = predict(generator, crops, some, cache, BATCH, progress="measure")
    found_covered = predict(generator, crops, some, cache, BATCH, view=view, progress="under occluders")
    return Evaluation(found, found_covered, np.concatenate(covered))


def cover(crops: Crops, indices: np.ndarray, cache: Cache) -> augmentation.People:
    """Inputs with OCCLUDERS occluders each, cut from the next photograph; occluded: the joints under one.

    Each photograph's occluders depend on the seed and on its own number alone.
    """
    points = torch.from_numpy(input_points(crops, cache)[indices])
    annotated = torch.from_numpy(crops.annotated[indices])
    side = (OCCLUDER_SIDE, OCCLUDER_SIDE)
    drawn = []
    for index, joints in zip(indices, annotated, strict=True):
        rng = augmentation.generator(SEED, 3, int(index))
        drawn.append(augmentation.draw_occluders(rng, joints.unsqueeze(0), 1.0, side, OCCLUDERS))
    occluders = augmentation.Occluders(*(torch.cat(each) for each in zip(*drawn, strict=True)))
    occluders = occluders._replace(active=torch.ones_like(occluders.active))
    people = augmentation.People(inputs(crops, indices, cache), points, torch.zeros_like(annotated))
    donors = inputs(crops, (indices + 1) % len(crops.images), cache)
    return augmentation.occlude(people, donors, occluders)


def distances(evaluation: Evaluation, crops: Crops, some: np.ndarray) -> dict[tuple[str, str], np.ndarray]:
    """Normalised distances (N, 14) by (joints, measure), NaN where a joint does not count.

    joints: "all" of the photographs as they are; under occluders those "covered" and "uncovered". Torso and
    head sizes come from all that are annotated.
    """
    truth, annotated = crops.originals[some], crops.annotated[some]
    found, found_covered, covered = evaluation
    kinds = {
        "all": (found.points, annotated),
        "covered": (found_covered.points, annotated & covered),
        "uncovered": (found_covered.points, annotated & ~covered),
    }
    return {
        (joints, measure): normalised_distance(points, truth, which, size(truth, annotated))
        for joints, (points, which) in kinds.items()
        for measure, (size, _) in MEASURES.items()
    }


def measure(evaluation: Evaluation, crops: Crops, some: np.ndarray) -> dict:
    """All numbers of metrics/test_details.json and validation_details.json; shares as fractions, NaN as None.

    pck_0.2, pckh_0.5: per group and mean; interval_95: the same, as [low, high] of a bootstrap over the
    photographs; joint: the same measures per joint; counted: photographs and joints behind them; covered and
    uncovered: the measures under occluders, of the joints under one and of the others; hidden_auc: how well
    the occlusion peak tells the two apart (0.5: not at all).
    """
    annotated, covered = crops.annotated[some], evaluation.covered
    distance = distances(evaluation, crops, some)

    def shares(joints: str) -> dict[str, dict[str, float]]:
        return {
            name: by_group(share_below(distance[joints, name], threshold))
            for name, (_, threshold) in MEASURES.items()
        }

    interval, joint, counted = {}, {}, {"photographs": len(some), "joints_annotated": int(annotated.sum())}
    for name, (_, threshold) in MEASURES.items():
        of_all = distance["all", name]
        interval[name] = interval_95(of_all, threshold)
        joint[name] = dict(zip(JOINTS, share_below(of_all, threshold).tolist(), strict=True))
        counts = ~np.isnan(of_all)
        counted[name] = {"photographs": int(counts.any(axis=1).sum()), "joints": int(counts.sum())}
    result = shares("all") | {
        "interval_95": interval,
        "joint": joint,
        "counted": counted,
        "covered": {"joints": int((covered & annotated).sum())} | shares("covered"),
        "uncovered": {"joints": int((~covered & annotated).sum())} | shares("uncovered"),
        "hidden_auc": hidden_auc(evaluation.found_covered.hidden, covered, annotated),
    }
    return _plain(result)


def measure_without_box(found: Predictions, crops: Crops, some: np.ndarray) -> dict:
    """The measures of joints that were found in whole photographs."""
    return _plain(summary(found.points, crops.originals[some], crops.annotated[some]))


def swapped(found: Predictions, crops: Crops, some: np.ndarray) -> dict[str, float | None]:
    """Share of the counted joints that are wrong, but would be right under their partner's name, by measure."""
    truth, annotated = crops.originals[some], crops.annotated[some]
    result = {}
    for name, (size, threshold) in MEASURES.items():
        own, partners = (
            normalised_distance(points, truth, annotated, size(truth, annotated))
            for points in (found.points, found.points[:, list(FLIP)])
        )
        exchanged = (own >= threshold) & (partners < threshold)
        counted = ~np.isnan(own)
        result[name] = float(exchanged.sum() / counted.sum()) if counted.any() else float("nan")
    return _plain(result)


def hidden_auc(scores: np.ndarray, covered: np.ndarray, annotated: np.ndarray) -> float:
    """Probability that a covered joint has a higher occlusion peak than an uncovered one; ties count half."""
    hidden, seen = scores[covered & annotated], scores[~covered & annotated]
    if not len(hidden) or not len(seen):
        return float("nan")
    return float(mannwhitneyu(hidden, seen).statistic / (len(hidden) * len(seen)))


def interval_95(distance: np.ndarray, threshold: float) -> dict[str, list[float]]:
    """[low, high] of the bootstrap, per group and mean, of the share of distances (N, 14) below the threshold."""
    groups = pd.DataFrame([by_group(each) for each in bootstrap(distance, threshold, RESAMPLES, SEED)])
    return {name: groups[name].dropna().quantile([0.025, 0.975]).tolist() for name in groups}


def pck_curve(evaluation: Evaluation, crops: Crops, some: np.ndarray, measure: str) -> pd.DataFrame:
    """PCK (or PCKh) per group and mean at thresholds from 0 to 0.5: columns threshold, mean, head, ..."""
    distance = distances(evaluation, crops, some)["all", measure]
    rows = [{"threshold": t} | by_group(share_below(distance, t)) for t in THRESHOLDS]
    return pd.DataFrame(rows).round(6)


def prediction_table(found: Predictions, crops: Crops, some: np.ndarray) -> pd.DataFrame:
    """One row a photograph and joint: where it was found and is annotated, px of the photograph."""
    n, joints = len(some), len(JOINTS)
    points, truth = found.points.reshape(-1, 2), crops.originals[some].reshape(-1, 2)
    table = {
        "image": np.repeat([f"im{index + 1:05d}.jpg" for index in some], joints),
        "joint": np.tile(JOINTS, n),
        "x": points[:, 0],
        "y": points[:, 1],
        "score": found.scores.ravel(),
        "hidden": found.hidden.ravel(),
        "annotated_x": truth[:, 0],
        "annotated_y": truth[:, 1],
    }
    return pd.DataFrame(table).round(3)


def headline(measured: dict) -> dict:
    """The few numbers that versions are compared by: the means over the joint groups."""
    means = {name: {"mean": measured[name]["mean"]} for name in MEASURES}
    for kind in ("covered", "without_box"):
        if kind in measured:
            means[kind] = {"pck_0.2": {"mean": measured[kind]["pck_0.2"]["mean"]}}
    return means


def write(measured: dict, folder: Path, part: str) -> None:
    """Write `part`.json, the headline, for `dvc exp show` and `dvc metrics diff`, and `part`_details.json, all."""
    for name, values in ((part, headline(measured)), (f"{part}_details", measured)):
        (folder / f"{name}.json").write_text(json.dumps(values, indent=2) + "\n")


def table(measured: dict) -> str:
    """The measures as a table to print, in percent, as papers give them."""
    groups = [*GROUPS, "mean"]
    lines = ["".join(["".ljust(28), *(f"{name:>10}" for name in groups)])]
    parts = {"without_box": ", without a box", "covered": ", covered", "uncovered": ", uncovered"}
    rows = [("", measured)] + [(said, measured[name]) for name, said in parts.items() if name in measured]
    for suffix, values in rows:
        for key, label in (("pck_0.2", "PCK@0.2"), ("pckh_0.5", "PCKh@0.5")):
            cells = [
                "—" if values[key][name] is None else f"{100 * values[key][name]:.1f}" for name in groups
            ]
            lines.append("".join([(label + suffix).ljust(28), *(f"{cell:>10}" for cell in cells)]))
    low, high = measured["interval_95"]["pck_0.2"]["mean"]
    if low is not None:
        lines.append(
            f"95 % interval of the mean PCK@0.2 over photographs: {100 * low:.1f} to {100 * high:.1f}"
        )
    return "\n".join(lines)


def _plain(value):
    """Numbers rounded for a stable file, NaN as None: JSON knows no NaN."""
    if isinstance(value, dict):
        return {key: _plain(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_plain(each) for each in value]
    if isinstance(value, float):
        return None if np.isnan(value) else round(value, 6)
    return value
