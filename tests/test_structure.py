"""Whole poses, exchanged and doubled sides, bones, scores: by hand."""

import numpy as np
import pytest

from pipeline.bodies.structure import (
    BONES,
    PAIRS,
    THRESHOLD,
    exchanged_share,
    farthest,
    lengths,
    longest,
    measure,
    scores,
    sides,
)
from pipeline.data.crops import Predictions
from pipeline.evaluation.protocol import Evaluation
from pipeline.skeleton import FLIP, JOINTS, LEFT_SHOULDER, RIGHT_HIP

STANDING = np.array(
    [
        (40, 90), (40, 70), (40, 50), (60, 50), (60, 70), (60, 90),
        (20, 50), (25, 35), (35, 20), (60, 20), (75, 35), (80, 50), (48, 15), (48, 0),
    ],
    dtype=float,
)  # fmt: skip
"""A person whose torso, left shoulder (60, 20) to right hip (40, 50), is 36 px."""


def poses(points: np.ndarray, truth: np.ndarray = STANDING, missing: tuple = ()) -> Evaluation:
    """One photograph."""
    annotated = np.ones((1, 14), dtype=bool)
    annotated[0, list(missing)] = False
    return evaluated(points[None], truth[None], annotated)


def evaluated(points: np.ndarray, truth: np.ndarray, annotated: np.ndarray) -> Evaluation:
    """N photographs, all scores 0.9."""
    scores = np.full(annotated.shape, 0.9)
    found = Predictions(points, scores, np.zeros_like(scores))
    nothing = np.zeros_like(annotated)
    return Evaluation(np.arange(len(points)), truth, annotated, found, found, nothing)


def moved(**joints: str) -> np.ndarray:
    """Found where other joints are."""
    points = STANDING.copy()
    for joint, place in joints.items():
        points[JOINTS.index(joint)] = STANDING[JOINTS.index(place)]
    return points


def test_the_farthest_joint_counts_for_the_photograph():
    distances = np.array([[0.1, np.nan, 0.3], [np.nan] * 3, [0.05, 0.1, np.inf]])
    assert np.array_equal(farthest(distances), [[0.3], [np.nan], [np.inf]], equal_nan=True)


def test_partners_that_are_near_each_other_are_not_told_apart():
    """The hips are 20 px from each other, more than 2 times 7.2; not where they are 14."""
    assert sides(poses(STANDING), THRESHOLD).apart.all()
    narrow = STANDING.copy()
    narrow[3] = (54, 50)
    apart = sides(poses(narrow, narrow), THRESHOLD).apart[0]
    assert [pair for pair, told in zip(PAIRS, apart, strict=True) if not told] == [(2, 3)]


def test_both_of_a_pair_on_one_limb_is_a_joint_found_twice():
    found = sides(poses(moved(right_ankle="left_ankle", left_elbow="right_elbow")), THRESHOLD)
    doubled = [pair for pair, twice in zip(PAIRS, found.doubled[0], strict=True) if twice]
    assert doubled == [(0, 5), (7, 10)] and not found.exchanged.any()


def test_an_exchanged_leg_is_two_pairs_and_a_limb():
    points = moved(
        right_ankle="left_ankle", left_ankle="right_ankle",
        right_knee="left_knee", left_knee="right_knee",
    )  # fmt: skip
    found = sides(poses(points), THRESHOLD)
    assert not found.doubled.any()
    assert exchanged_share(found) == {"pair": 2 / 6, "limb": 1 / 2, "body": 0.0}


def test_a_body_with_all_sides_exchanged():
    found = sides(poses(STANDING[list(FLIP)]), THRESHOLD)
    assert exchanged_share(found) == {"pair": 1.0, "limb": 1.0, "body": 1.0}


def test_two_pairs_are_too_few_to_say_that_a_body_is_exchanged():
    missing = (2, 3, 6, 7, 8)  # no hip, of the right arm nothing: no torso either
    assert np.isnan(exchanged_share(sides(poses(STANDING, missing=missing), THRESHOLD))["pair"])
    found = sides(poses(STANDING[list(FLIP)], missing=(3, 6, 7, 8)), THRESHOLD)  # knees, ankles
    shares = exchanged_share(found)
    assert shares["pair"] == 1.0 and np.isnan(shares["body"])


def test_lengths_of_bones_are_in_torsos():
    torso = np.hypot(20, 30)
    length = lengths(STANDING[None], np.ones((1, 14), dtype=bool), np.array([torso]))[0]
    assert length.shape == (2, len(BONES))
    # Lower and upper leg, lower and upper arm; the right upper arm is the shorter one.
    assert length[0] * torso == pytest.approx([20, 20, np.hypot(5, 15), np.hypot(10, 15)])
    assert length[1] * torso == pytest.approx([20, 20, np.hypot(5, 15), np.hypot(15, 15)])


def test_the_longest_are_those_that_one_in_a_hundred_exceeds():
    truth = np.repeat(STANDING[None], 101, axis=0)
    truth[:, 0, 1] = 70 + np.arange(101)  # the right ankle, 0 to 100 px below its knee
    truth[:, 5, 1] = 70  # the left one at its knee
    torso = np.hypot(20, 30)
    limits = longest(truth, np.ones((101, 14), dtype=bool)) * torso
    pooled = np.sort(np.r_[np.zeros(101), np.arange(101)])
    assert limits[0] == pytest.approx(np.quantile(pooled, 0.99))
    assert limits[1:] == pytest.approx([20, np.hypot(5, 15), np.hypot(15, 15)])


def test_scores_that_say_which_joints_are_right():
    distances = np.full((2, 14), np.nan)
    distances[0, :10] = [0.1] * 8 + [0.3] * 2
    given = np.linspace(1, 0.1, 14)[None].repeat(2, 0)
    said = scores(given, distances, THRESHOLD)
    assert said["auc"] == 1.0 and said["pck_without_least_sure"] == pytest.approx(8 / 9)
    flat = scores(np.full((2, 14), 0.8), distances, THRESHOLD)
    assert flat["auc"] == 0.5
    assert flat["calibration_error"] == pytest.approx(0.8 * 0.2 + 0.2 * 0.8)
    nothing = scores(given, np.full((2, 14), np.nan), THRESHOLD)
    assert nothing.pop("reliability") == []
    assert all(np.isnan(value) for value in nothing.values())
    assert flat["reliability"] == [{"candidates": 10.0, "score": 0.8, "right": 0.8}]


def test_what_is_said_of_a_part():
    """One photograph all right, one with a leg exchanged, one without a torso."""
    points = np.stack([STANDING, moved(right_ankle="left_ankle"), STANDING])
    annotated = np.ones((3, 14), dtype=bool)
    annotated[2, [LEFT_SHOULDER, RIGHT_HIP]] = False
    part = evaluated(points, np.repeat(STANDING[None], 3, axis=0), annotated)
    limits = np.array([22, 22, 22, 22]) / np.hypot(20, 30)
    said = measure(part, limits, part.predictions.scores)
    assert said["whole"] == 0.5 and said["interval_95"] == [0.0, 1.0]
    assert said["doubled"] == 1 / 12
    assert said["exchanged"]["pair"] == 0.0
    # Found: the right lower leg of the second is 28 px; and nobody's annotated bone is over 22.
    assert said["too_long"] == {"found": 1 / 16, "truth": 0.0}
    assert said["counted"] == {"photographs": 2, "pairs": 12}
    # All alike, so the tenths are in order: of 28 joints the wrong one is in one of three.
    assert said["scores"]["calibration_error"] == pytest.approx((25 * 0.1 + 3 * (0.9 - 2 / 3)) / 28)
