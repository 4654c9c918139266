"""Who is found in pictures whose people are known, beside the truth."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.data.crops import Predictions
from pipeline.finding.boxes import Found
from pipeline.mosaics.measures import matched
from pipeline.photographs.estimator import Candidates


@dataclass(frozen=True)
class Observed:
    """K candidates in some pictures, and whose they are."""

    centres: np.ndarray  # (K,), the finder's peaks
    predictions: Predictions  # of K people
    scores: np.ndarray  # (K,), in [0, 1]
    right: np.ndarray  # (K,) bool: the first box of a person who is there
    truth: np.ndarray  # (K, 14, 2), px, that person's joints; NaN where not annotated, or wrong
    shown: np.ndarray  # (K, 14) bool, annotated and in the picture
    people: int  # who are there

    @property
    def unseen(self) -> np.ndarray:
        """Joints (K, 14) bool that are annotated, and not in the picture."""
        return np.isfinite(self.truth).all(axis=-1) & ~self.shown


def boxes_of(found: Sequence[Candidates]) -> list[Found]:
    """The candidates' boxes and scores."""
    return [Found(each.boxes, each.scores) for each in found]


def observe(
    found: Sequence[Candidates], boxes: Sequence[np.ndarray], joints: Sequence[np.ndarray]
) -> Observed:
    """Candidates in N pictures beside the people there: boxes (P, 2, 2) around the joints in sight,
    joints (P, 14, 2), px."""
    owners = [matched(each.boxes, true) for each, true in zip(found, boxes, strict=True)]
    truth, shown = [], []
    for owner, true_boxes, true_joints in zip(owners, boxes, joints, strict=True):
        right = owner >= 0
        of_each = np.full((len(owner), *true_joints.shape[1:]), np.nan)
        of_each[right] = true_joints[owner[right]]
        around = np.full((len(owner), 2, 2), np.nan)
        around[right] = true_boxes[owner[right]]
        truth.append(of_each)
        # The box is around what is seen, so what is not lies beyond it.
        inside = (of_each >= around[:, None, 0] - 1e-6) & (of_each <= around[:, None, 1] + 1e-6)
        shown.append(inside.all(axis=-1))
    return Observed(
        centres=np.concatenate([each.centres for each in found]),
        predictions=Predictions.concatenated([each.predictions for each in found]),
        scores=np.concatenate([each.scores for each in found]),
        right=np.concatenate(owners) >= 0,
        truth=np.concatenate(truth),
        shown=np.concatenate(shown),
        people=sum(map(len, boxes)),
    )
