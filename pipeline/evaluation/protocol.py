"""The fixed protocol: PCK and PCKh of a generator on a part of the data, also under occluders."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
import torch

from pipeline.data.crops import Crops, Each, Predictions, batches, one_by_one
from pipeline.errors import PipelineError
from pipeline.evaluation.metrics import (
    MEASURES,
    auc,
    bootstrap,
    by_group,
    normalised_distance,
    share_below,
    summary,
)
from pipeline.evaluation.occluders import Occluders, People, draw_occluders, occlude
from pipeline.networks.estimator import CropEstimator, inputs
from pipeline.seeding import seeded
from pipeline.skeleton import FLIP, JOINTS

# The protocol is fixed, so that results of different experiments can be compared.
BATCH = 50  # photographs a forward pass
OCCLUDERS, OCCLUDER_SIDE = 2, 0.2  # a photograph in the covered table; of the input's side
RESAMPLES = 1000  # behind a 95 % interval
SEED = 0  # of the occluders and the bootstrap
THRESHOLDS = np.linspace(0, 0.5, 51)


@dataclass(frozen=True)
class Evaluation:
    """Joints found in N photographs, as they are and with joints covered, beside the truth."""

    indices: np.ndarray  # (N,), the photographs' places among all crops
    truth: np.ndarray  # (N, 14, 2), px of the photograph, NaN where not annotated
    annotated: np.ndarray  # (N, 14) bool
    predictions: Predictions
    predictions_covered: Predictions
    covered: np.ndarray  # (N, 14) bool

    @cached_property
    def distances(self) -> dict[tuple[str, str], np.ndarray]:
        """Normalised distances (N, 14) by (joints, measure), NaN where a joint does not count.

        joints: "all" of the photographs as they are; under occluders those "covered" and
        "uncovered". Torso and head sizes come from all that are annotated.
        """
        kinds = {
            "all": (self.predictions, self.annotated),
            "covered": (self.predictions_covered, self.annotated & self.covered),
            "uncovered": (self.predictions_covered, self.annotated & ~self.covered),
        }
        return {
            (joints, name): normalised_distance(
                predictions.points, self.truth, counted, self.references[name]
            )
            for joints, (predictions, counted) in kinds.items()
            for name in MEASURES
        }

    @cached_property
    def references(self) -> dict[str, np.ndarray]:
        """The lengths (N,), px, that distances are measured in, by measure."""
        return {name: size(self.truth, self.annotated) for name, (size, _) in MEASURES.items()}


def evaluate(
    estimator: CropEstimator, crops: Crops, indices: np.ndarray, each: Each = one_by_one
) -> Evaluation:
    """Predict some crops twice, with flip test: as they are, and under deterministic occluders."""
    if not len(indices):
        raise PipelineError("data/split.csv has no photographs in this part: nothing to measure")

    def as_they_are(batch: np.ndarray) -> Predictions:
        return estimator.predict(crops, batch)

    def under_occluders(batch: np.ndarray) -> tuple[Predictions, np.ndarray]:
        people = cover(crops, batch)
        return estimator.predict(crops, batch, people.images), people.occluded.numpy()

    parts = list(batches(indices, BATCH))
    predictions = each(as_they_are, parts, "measure")
    predictions_covered, covered = zip(
        *each(under_occluders, parts, "under occluders"), strict=True
    )
    return Evaluation(
        indices=indices,
        truth=crops.originals[indices],
        annotated=crops.annotated[indices],
        predictions=Predictions.concatenated(predictions),
        predictions_covered=Predictions.concatenated(predictions_covered),
        covered=np.concatenate(covered),
    )


def cover(crops: Crops, indices: np.ndarray) -> People:
    """Inputs with OCCLUDERS occluders each, cut from the next photograph; occluded: the joints
    under one.

    Each photograph's occluders depend on the seed and on its own number alone.
    """
    points = torch.from_numpy(crops.input_points[indices])
    annotated = torch.from_numpy(crops.annotated[indices])
    side = (OCCLUDER_SIDE, OCCLUDER_SIDE)
    drawn = [
        draw_occluders(seeded(SEED, 3, int(index)), joints.unsqueeze(0), 1.0, side, OCCLUDERS)
        for index, joints in zip(indices, annotated, strict=True)
    ]
    occluders = Occluders(*(torch.cat(each) for each in zip(*drawn, strict=True)))
    occluders = occluders._replace(active=torch.ones_like(occluders.active))
    people = People(inputs(crops, indices), points, torch.zeros_like(annotated))
    return occlude(people, inputs(crops, (indices + 1) % len(crops)), occluders)


def measure(evaluation: Evaluation) -> dict[str, Any]:
    """All numbers of metrics/test_details.json and validation_details.json; shares as fractions,
    NaN as None.

    pck_0.2, pckh_0.5: per group and mean; interval_95: the same, as [low, high] of a bootstrap over
    the photographs; joint: the same measures per joint; counted: photographs and joints behind
    them; covered and uncovered: the measures under occluders, of the joints under one and of the
    others; hidden_auc: how well the occlusion peak tells the two apart (0.5: not at all).
    """
    annotated, covered = evaluation.annotated, evaluation.covered

    def shares(joints: str) -> dict[str, dict[str, float]]:
        return {
            name: by_group(share_below(evaluation.distances[joints, name], threshold))
            for name, (_, threshold) in MEASURES.items()
        }

    interval, joint = {}, {}
    counted: dict[str, Any] = {
        "photographs": len(annotated),
        "joints_annotated": int(annotated.sum()),
    }
    for name, (_, threshold) in MEASURES.items():
        of_all = evaluation.distances["all", name]
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
        "hidden_auc": hidden_auc(evaluation.predictions_covered.hidden, covered, annotated),
    }
    return plain(result)


def measure_without_box(predictions: Predictions, evaluation: Evaluation) -> dict[str, Any]:
    """The measures of joints that were found in the whole photographs of an evaluation."""
    return plain(summary(predictions.points, evaluation.truth, evaluation.annotated))


def swapped(evaluation: Evaluation) -> dict[str, float | None]:
    """Share of counted joints, by measure, that are right only under their partner's name."""
    result = {}
    for name, (_, threshold) in MEASURES.items():
        own = evaluation.distances["all", name]
        partners = normalised_distance(
            evaluation.predictions.points[:, list(FLIP)],
            evaluation.truth,
            evaluation.annotated,
            evaluation.references[name],
        )
        exchanged, counted = (own >= threshold) & (partners < threshold), ~np.isnan(own)
        result[name] = float(exchanged.sum() / counted.sum()) if counted.any() else float("nan")
    return plain(result)


def hidden_auc(scores: np.ndarray, covered: np.ndarray, annotated: np.ndarray) -> float:
    """Probability of a covered joint's occlusion peak above an uncovered one's; ties count half."""
    return auc(scores[covered & annotated], scores[~covered & annotated])


def interval_95(distance: np.ndarray, threshold: float) -> dict[str, list[float]]:
    """Bootstrap's [low, high] per group and mean: share of distances (N, 14) below a threshold."""
    resampled = bootstrap(distance, threshold, RESAMPLES, SEED)
    groups = pd.DataFrame([by_group(each) for each in resampled])
    return {
        str(name): values.dropna().quantile([0.025, 0.975]).tolist()
        for name, values in groups.items()
    }


def pck_curve(evaluation: Evaluation, name: str) -> pd.DataFrame:
    """A measure per group and mean at thresholds 0 to 0.5: columns threshold, mean, head, ..."""
    distance = evaluation.distances["all", name]
    rows = [{"threshold": t} | by_group(share_below(distance, t)) for t in THRESHOLDS]
    return pd.DataFrame(rows).round(6)


def plain(value: Any) -> Any:
    """Numbers rounded for a stable file, NaN as None: JSON knows no NaN."""
    if isinstance(value, dict):
        return {key: plain(each) for key, each in value.items()}
    if isinstance(value, list):
        return [plain(each) for each in value]
    if isinstance(value, float):
        return None if np.isnan(value) else round(value, 6)
    return value
