"""Boxes of people: read from the finder's maps, compared, and suppressed where they overlap."""

from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np

LEAST = 0.05  # score of a box that is kept at all
MOST = 50  # boxes a picture
OVERLAP = 0.6  # intersection over union above which two boxes are one person


class Found(NamedTuple):
    """Boxes of K people, best first."""

    boxes: np.ndarray  # (K, 2, 2) float64, first and last corner, px
    scores: np.ndarray  # (K,) float32, in [0, 1]


def decode(centres: np.ndarray, edges: np.ndarray, side: int) -> Found:
    """The people in one picture's maps.

    centres: (h, h), in [0, 1]; edges: (4, h, h), how far left, upper, right and lower edge are from
    a cell's middle, shares of the input's side, px.
    """
    stride = side / len(centres)
    highest = cv2.dilate(centres, np.ones((3, 3), np.uint8))  # outside counts as low
    rows, columns = np.nonzero((centres == highest) & (centres >= LEAST))
    scores = centres[rows, columns]
    best = np.argsort(-scores, kind="stable")[:MOST]
    rows, columns, scores = rows[best], columns[best], scores[best]
    middle = (np.stack([columns, rows], -1) + 0.5) * stride - 0.5
    left, up, right, down = edges[:, rows, columns] * side
    first, last = middle - np.stack([left, up], -1), middle + np.stack([right, down], -1)
    found = Found(np.stack([first, last], 1).astype(float), scores.astype(np.float32))
    return suppressed(found)


def suppressed(found: Found, overlap: float = OVERLAP) -> Found:
    """Without the boxes that overlap a better one by more than this."""
    if not len(found.scores):
        return found
    first, last = found.boxes[:, 0], found.boxes[:, 1]
    plain = np.concatenate([first, last - first], -1)
    kept = cv2.dnn.NMSBoxes(plain.tolist(), found.scores.tolist(), 0.0, overlap)
    chosen = np.sort(np.asarray(kept, dtype=int).ravel())
    return Found(found.boxes[chosen], found.scores[chosen])


def refined(boxes: np.ndarray, joints: np.ndarray, size: Sequence[int]) -> np.ndarray:
    """Boxes (K, 2, 2) in a picture of this width and height, each edge halfway to where the joints
    (K, 14, 2) that were found in it say that it is; never beyond the picture, or below 1 px.

    The finder sees all of a picture small, the joints are found in a close look at each person.
    """
    extents = np.stack([joints.min(axis=1), joints.max(axis=1)], axis=1)
    middle = np.clip((boxes + extents) / 2, 0, np.asarray(size) - 1.0)
    is_box = (middle[:, 1] - middle[:, 0] >= 1).all(axis=-1)
    return np.where(is_box[:, None, None], middle, boxes)


def overlaps(boxes: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Intersection over union (N, M) of boxes (N, 2, 2) and others (M, 2, 2)."""
    first = np.maximum(boxes[:, None, 0], others[None, :, 0])
    last = np.minimum(boxes[:, None, 1], others[None, :, 1])
    both = np.clip(last - first, 0, None).prod(-1)
    areas, other_areas = (
        np.clip(each[:, 1] - each[:, 0], 0, None).prod(-1) for each in (boxes, others)
    )
    union = areas[:, None] + other_areas[None] - both
    return np.divide(both, union, out=np.zeros_like(both), where=union > 0)
