"""PCK and PCKh: the share of joints placed right.

PCK as in LSP's convention (Y. Yang, D. Ramanan, TPAMI 2013, with the torso as reference): a joint
is right below `threshold` times the torso, left shoulder to right hip. PCKh (M. Andriluka et al.,
CVPR 2014): times the head segment, neck to head top. Joints that are not annotated do not count,
nor do photographs whose reference is not.
"""

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy.stats import mannwhitneyu

from pipeline.skeleton import GROUPS, HEAD_TOP, LEFT_SHOULDER, NECK, RIGHT_HIP


def torso_size(target: np.ndarray, valid: np.ndarray) -> np.ndarray:
    """Left shoulder to right hip (N,) of points (N, 14, 2); NaN where one is not valid (N, 14)."""
    return _segment(target, valid, LEFT_SHOULDER, RIGHT_HIP)


def head_size(target: np.ndarray, valid: np.ndarray) -> np.ndarray:
    """Neck to head top (N,) of points (N, 14, 2); NaN where one is not valid (N, 14)."""
    return _segment(target, valid, NECK, HEAD_TOP)


MEASURES = {"pck_0.2": (torso_size, 0.2), "pckh_0.5": (head_size, 0.5)}
"""What is reported: the reference length, and the threshold."""

TENTHS = 10  # of the scores, within which they are compared with the share that is right


def _segment(target: np.ndarray, valid: np.ndarray, start: int, end: int) -> np.ndarray:
    target, valid = np.asarray(target, dtype=np.float64), np.asarray(valid, dtype=bool)
    length = np.linalg.norm(target[:, start] - target[:, end], axis=-1)
    # Two joints annotated at one place give no scale to measure by.
    return np.where(valid[:, start] & valid[:, end] & (length > 0), length, np.nan)


def normalised_distance(
    predicted: ArrayLike, target: ArrayLike, valid: ArrayLike, reference: ArrayLike
) -> np.ndarray:
    """Distance (N, J) in units of the reference (N,); NaN where joint or reference is missing."""
    predicted, target = (
        np.asarray(predicted, dtype=np.float64),
        np.asarray(target, dtype=np.float64),
    )
    valid, reference = np.asarray(valid, dtype=bool), np.asarray(reference, dtype=np.float64)
    distance = np.linalg.norm(predicted - target, axis=-1) / reference[:, None]
    # A prediction that is no number is a wrong one, not one that does not count.
    distance = np.where(np.isnan(predicted).any(axis=-1), np.inf, distance)
    return np.where(valid & np.isfinite(reference)[:, None], distance, np.nan)


def pck(
    predicted: ArrayLike,
    target: ArrayLike,
    valid: ArrayLike,
    reference: ArrayLike,
    threshold: float,
) -> np.ndarray:
    """Share (J,) of joints nearer to the truth than `threshold` times the reference; NaN where none
    counted.

    predicted, target: (N, J, 2) px; valid: (N, J) bool; reference: (N,) px, NaN where undefined.
    """
    return share_below(normalised_distance(predicted, target, valid, reference), threshold)


def share_below(distance: np.ndarray, threshold: float) -> np.ndarray:
    """Share (J,) of normalised distances (N, J) below the threshold, NaN left out; NaN if none."""
    counted = ~np.isnan(distance)
    with np.errstate(invalid="ignore"):
        return (counted & (distance < threshold)).sum(axis=0) / counted.sum(axis=0)


def bootstrap(distance: np.ndarray, threshold: float, resamples: int, seed: int) -> np.ndarray:
    """Shares (resamples, J) of `share_below` had other photographs been measured: drawn with
    replacement.

    For N photographs a seed always draws the same ones, so that two results on the same photographs
    are resampled in pairs.
    """
    n = len(distance)
    drawn = (
        np.random.default_rng(seed)
        .multinomial(n, np.full(n, 1 / n), size=resamples)
        .astype(np.float64)
    )
    counted = ~np.isnan(distance)
    with np.errstate(invalid="ignore"):
        return (drawn @ (counted & (distance < threshold))) / (drawn @ counted)


def auc(higher: np.ndarray, lower: np.ndarray) -> float:
    """Probability that one of the first numbers (M,) is above one of the others (N,); ties count
    half, NaN where there are none of either."""
    if not len(higher) or not len(lower):
        return float("nan")
    return float(mannwhitneyu(higher, lower).statistic / (len(higher) * len(lower)))


def reliability(scores: np.ndarray, right: np.ndarray) -> pd.DataFrame:
    """Of the candidates in each tenth of the scores (M,), in [0, 1]: how many, their mean score,
    the share that is right (M,)."""
    tenth = np.minimum((scores * TENTHS).astype(int), TENTHS - 1)
    table = pd.DataFrame({"tenth": tenth, "score": scores, "right": right})
    rows = table.groupby("tenth").agg(
        candidates=("score", "size"), score=("score", "mean"), right=("right", "mean")
    )
    return rows.astype(float).reset_index(drop=True).round(6)


def by_group(per_joint: np.ndarray) -> dict[str, float]:
    """The columns of published tables from shares (14,): the mean over joints, and each left/right
    mean.

    A joint that nothing counted for (NaN) is left out of its means.
    """
    means = {"mean": _mean(per_joint)}
    return means | {name: _mean(per_joint[list(joints)]) for name, joints in GROUPS.items()}


def summary(
    predicted: np.ndarray, target: np.ndarray, valid: np.ndarray
) -> dict[str, dict[str, float]]:
    """{"pck_0.2": {"mean": ..., ...}, "pckh_0.5": {...}} of points (N, 14, 2), photograph px."""
    return {
        name: by_group(pck(predicted, target, valid, size(target, valid), threshold))
        for name, (size, threshold) in MEASURES.items()
    }


def _mean(values: np.ndarray) -> float:
    values = values[~np.isnan(values)]
    return float(values.mean()) if len(values) else float("nan")
