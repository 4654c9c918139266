"""Measures of whole poses, in which a body's structure shows where shares of joints do not.

Joints count as for PCK (`pipeline.evaluation.metrics`): annotated, in a photograph whose torso is.
"Near" is nearer than a threshold in torsos. Two joints of a pair (the two knees) are told apart
only where they are annotated more than two thresholds apart: no place is near both.
"""

from typing import Any, NamedTuple

import numpy as np

from pipeline.evaluation.metrics import (
    MEASURES,
    TENTHS,
    auc,
    bootstrap,
    normalised_distance,
    reliability,
    share_below,
    torso_size,
)
from pipeline.evaluation.protocol import RESAMPLES, SEED, Evaluation
from pipeline.skeleton import EDGES, FLIP

PAIRS = tuple((joint, FLIP[joint]) for joint in range(len(FLIP)) if joint < FLIP[joint])
"""A joint and its partner on the other side."""

LIMBS = ((0, 1), (3, 4))
"""Places in PAIRS: ankles and knees of the legs, wrists and elbows of the arms."""

BONES = tuple(
    ((first, second), (FLIP[first], FLIP[second]))
    for first, second, side in EDGES
    if side == "right"
)
"""The two bones, right and left, of the four kinds that limbs have."""

MEASURE = "pck_0.2"  # whose joints, distances and threshold count here
THRESHOLD = MEASURES[MEASURE][1]  # torsos, of a joint that is right, or near another's place
LONGEST = 0.99  # quantile of a bone's length in training poses, beyond which it is too long
FEWEST = 3  # pairs told apart, of a body of which it can be said that its sides are exchanged
SURE = 0.9  # share of the joints that is left when the least sure are left out


def farthest(distances: np.ndarray) -> np.ndarray:
    """The distance (N, 1) of the worst of each photograph's joints (N, 14), NaN where none counts.

    The share of these below a threshold is that of the photographs whose joints are all right.
    """
    none = np.isnan(distances).all(axis=1, keepdims=True)
    worst = np.where(np.isnan(distances), -np.inf, distances).max(axis=1, keepdims=True)
    return np.where(none, np.nan, worst)


class Sides(NamedTuple):
    """Of N photographs' six PAIRS (N, 6) bool: which are told apart, and what was found of them."""

    apart: np.ndarray
    exchanged: np.ndarray  # each is near where its partner is
    doubled: np.ndarray  # both are near where one of them is


def sides(evaluation: Evaluation, threshold: float) -> Sides:
    """Told apart, exchanged, found twice; threshold in torsos."""
    points, truth = evaluation.predictions.points, evaluation.truth
    torso = evaluation.references[MEASURE]
    first, second = (np.array(joints) for joints in zip(*PAIRS, strict=True))
    valid = evaluation.annotated[:, first] & evaluation.annotated[:, second]

    def near(found: np.ndarray, true: np.ndarray) -> np.ndarray:
        return normalised_distance(points[:, found], truth[:, true], valid, torso) < threshold

    apart = normalised_distance(truth[:, first], truth[:, second], valid, torso) > 2 * threshold
    first_exchanged, second_exchanged = near(first, second), near(second, first)
    at_first = near(first, first) & second_exchanged
    at_second = first_exchanged & near(second, second)
    exchanged = first_exchanged & second_exchanged
    return Sides(apart, apart & exchanged, apart & (at_first | at_second))


def exchanged_share(found: Sides) -> dict[str, float]:
    """Shares that are exchanged: of the pairs, of the limbs both of whose pairs are told apart, and
    of the bodies with FEWEST pairs or more that are, all of them."""
    limbs, body = np.array(LIMBS), found.apart.sum(axis=1) >= FEWEST
    both, told = (np.logical_and.reduce(each[:, limbs], axis=-1) for each in found[1::-1])
    whole = body & (found.exchanged == found.apart).all(axis=1)
    return {
        "pair": _share(found.exchanged, found.apart),
        "limb": _share(both, told),
        "body": _share(whole, body),
    }


def lengths(points: np.ndarray, valid: np.ndarray, torso: np.ndarray) -> np.ndarray:
    """The lengths, torsos, of N people's bones (N, 2, 4): right and left, of the four kinds; NaN
    where an end is not valid (N, 14), or no torso."""
    ends = np.array(BONES).transpose(2, 1, 0)  # end, side, kind
    start, end = points[:, ends[0]], points[:, ends[1]]
    there = valid[:, ends[0]] & valid[:, ends[1]]
    length = np.linalg.norm(start - end, axis=-1) / torso[:, None, None]
    return np.where(there, length, np.nan)


def longest(truth: np.ndarray, annotated: np.ndarray) -> np.ndarray:
    """What 99 % of the bones of people (N, 14, 2) are no longer than, torsos: (4,), by kind."""
    of_all = lengths(truth, annotated, torso_size(truth, annotated))
    return np.nanquantile(of_all, LONGEST, axis=(0, 1))


def scores(given: np.ndarray, distances: np.ndarray, threshold: float) -> dict[str, Any]:
    """What scores (N, 14) in [0, 1] say of whether joints are right.

    auc: probability that a right joint has a higher one than a wrong one; calibration_error: the
    mean difference of score and share that is right, over tenths of the joints by score;
    pck_without_least_sure: the share of right joints among the surest 90 %; reliability: as of
    `metrics.reliability`.
    """
    counted = ~np.isnan(distances)
    said, right = given[counted], distances[counted] < threshold
    order = np.argsort(-said, kind="stable")
    tenths = [part for part in np.array_split(order, TENTHS) if len(part)]
    gaps = [abs(said[part].mean() - right[part].mean()) * len(part) for part in tenths]
    sure = right[order[: round(SURE * len(order))]]
    return {
        "auc": auc(said[right], said[~right]),
        "calibration_error": float(sum(gaps) / len(order)) if len(order) else float("nan"),
        "pck_without_least_sure": float(sure.mean()) if len(sure) else float("nan"),
        "reliability": reliability(said, right).to_dict("records"),
    }


def measure(evaluation: Evaluation, limits: np.ndarray, said: np.ndarray) -> dict[str, Any]:
    """All of it, shares as fractions.

    whole: the photographs whose counted joints are all right, and interval_95, [low, high] of a
    bootstrap over the photographs; doubled, exchanged: of what `Sides` tells apart; too_long: the
    bones longer than limits (4,), torsos, as of `longest`, among those found and those annotated;
    scores: what the scores said (N, 14) say, as of `scores`.
    """
    torso, distances = evaluation.references[MEASURE], evaluation.distances["all", MEASURE]
    found, worst = sides(evaluation, THRESHOLD), farthest(distances)
    resampled = bootstrap(worst, THRESHOLD, RESAMPLES, SEED)[:, 0]

    def too_long(points: np.ndarray) -> float:
        length = lengths(points, evaluation.annotated, torso)
        return _share(length > limits, ~np.isnan(length))

    return {
        "whole": float(share_below(worst, THRESHOLD)[0]),
        "interval_95": np.nanquantile(resampled, [0.025, 0.975]).tolist(),
        "doubled": _share(found.doubled, found.apart),
        "exchanged": exchanged_share(found),
        "too_long": {
            "found": too_long(evaluation.predictions.points),
            "truth": too_long(evaluation.truth),
        },
        "scores": scores(said, distances, THRESHOLD),
        "counted": {
            "photographs": int((~np.isnan(distances)).any(axis=1).sum()),
            "pairs": int(found.apart.sum()),
        },
    }


def _share(holds: np.ndarray, counted: np.ndarray) -> float:
    total = counted.sum()
    return float((holds & counted).sum() / total) if total else float("nan")
