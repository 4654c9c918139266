"""How well people are found in scenes whose people are known: recall and precision."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from pipeline.finding.boxes import Found, overlaps

OVERLAP = 0.5  # intersection over union from which on a box is a person's


class Matches(NamedTuple):
    """All boxes that were found in some scenes, best first."""

    scores: np.ndarray  # (M,), in [0, 1]
    right: np.ndarray  # (M,) bool, the first box of a person that is there
    people: int  # who were there


def matched(boxes: np.ndarray, people: np.ndarray) -> np.ndarray:
    """For boxes (K, 2, 2), best first, which of people (P, 2, 2) each has found, or -1: a person is
    found once, by the first box that overlaps enough."""
    shared = overlaps(boxes, people)
    owners = np.full(len(boxes), -1)
    for k, row in enumerate(shared if len(people) else ()):
        best = int(row.argmax())
        if row[best] >= OVERLAP:
            owners[k] = best
            shared[:, best] = -1
    return owners


def match(found: Sequence[Found], truth: Sequence[np.ndarray]) -> Matches:
    """Boxes found in N scenes beside the true ones, each (K, 2, 2)."""
    right = [matched(boxes, people) >= 0 for (boxes, _), people in zip(found, truth, strict=True)]
    scores = np.concatenate([np.empty(0), *(values for _, values in found)])
    return ranked(scores, np.concatenate([np.empty(0, bool), *right]), sum(map(len, truth)))


def ranked(scores: np.ndarray, right: np.ndarray, people: int) -> Matches:
    """Matches of boxes in any order."""
    order = np.argsort(-scores, kind="stable")
    return Matches(scores[order], right[order], people)


def best_score(matches: Matches) -> float:
    """The least score of boxes at which recall and precision are best together (F1), or 1."""
    if not len(matches.scores):
        return 1.0
    recall, precision = curve(matches)
    together = 2 * recall * precision / np.maximum(recall + precision, 1e-9)
    return float(matches.scores[together.argmax()])


def curve(matches: Matches) -> tuple[np.ndarray, np.ndarray]:
    """Recall and precision (M,) of the boxes down to each one's score."""
    hits = np.cumsum(matches.right)
    return hits / max(matches.people, 1), hits / np.arange(1, len(hits) + 1)


def recall_at(matches: Matches, precision: float) -> float:
    """The most people that are found with at least this precision, as a share; 0 with no box."""
    recall, precise = curve(matches)
    return float(recall[precise >= precision].max(initial=0.0))


def average_precision(matches: Matches) -> float:
    """Area below the precision, made falling, over the recall (as PASCAL VOC 2010 counts)."""
    recall, precision = curve(matches)
    falling = np.maximum.accumulate(precision[::-1])[::-1]
    return float((np.diff(recall, prepend=0.0) * falling).sum())


def at_score(matches: Matches, least: float) -> dict[str, float | None]:
    """Recall and precision of the boxes of at least this score; None of no box."""
    chosen = matches.scores >= least
    hits = int(matches.right[chosen].sum())
    return {
        "recall": hits / max(matches.people, 1),
        "precision": hits / int(chosen.sum()) if chosen.any() else None,
    }
