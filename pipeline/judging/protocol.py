"""The fixed protocol of people: who is found, what the scores are worth, what is cut off."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from pipeline.data.crops import Each, one_by_one
from pipeline.evaluation.metrics import reliability
from pipeline.judging.observation import Observed, boxes_of, observe
from pipeline.mosaics.album import Album
from pipeline.mosaics.measures import at_score, ranked
from pipeline.mosaics.protocol import (
    SCENES,
    found_in,
    in_photographs,
    picture,
    scenes,
    shares,
)
from pipeline.photographs.estimator import Candidates, PoseEstimator


def in_mosaics(estimator: PoseEstimator, album: Album, each: Each = one_by_one) -> Observed:
    """Who is found in an album's mosaics."""
    made = scenes(album)
    found = found_in(estimator.candidates, [picture(scene) for scene in made], each)
    return observe(found, [scene.boxes for scene in made], [scene.joints for scene in made])


def measure(
    estimator: PoseEstimator, observed: Observed, found: Sequence[Candidates], album: Album
) -> dict[str, Any]:
    """What metrics/test_details.json says of people.

    observed: in the album's mosaics; found: in its whole photographs. mosaics, photographs: as of
    `mosaics.protocol.measure`, and `told`: recall and precision of those who are told of, from the
    judgement's least score on; reliability: of the scores, by tenths; outside: shares of the joints
    that are, and are not, in the picture which are said to be outside it.
    """
    matches = ranked(observed.scores, observed.right, observed.people)
    told = {"told": at_score(matches, estimator.judgement.least)}
    return {
        "mosaics": {"scenes": SCENES} | shares(matches) | told,
        "photographs": in_photographs(boxes_of(found), album),
        "reliability": reliability(observed.scores, observed.right).to_dict("records"),
        "outside": outside(observed, estimator.judgement.outside),
    }


def outside(observed: Observed, threshold: float) -> dict[str, float]:
    """Shares of people's joints in mosaics whose peak is not above the threshold: of those that are
    cut off, and of those in sight; and how many these are."""
    said = observed.predictions.scores <= threshold
    kinds = {"cut_off": observed.unseen, "in_sight": observed.shown}
    return {name: _share(said[which]) for name, which in kinds.items()} | {
        f"joints_{name}": float(which.sum()) for name, which in kinds.items()
    }


def _share(said: np.ndarray) -> float:
    return float(said.mean()) if said.size else float("nan")
