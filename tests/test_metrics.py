"""PCK and PCKh, counted by hand."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.evaluation.metrics import (
    bootstrap,
    by_group,
    head_size,
    normalised_distance,
    pck,
    reliability,
    share_below,
    summary,
    torso_size,
)
from pipeline.skeleton import GROUPS

NAN = float("nan")


@pytest.fixture
def target():
    """Two people with joint j at (10 j, 0): a torso of 70 px, from joint 9 to 2, and a head of 10
    px."""
    points = np.zeros((2, 14, 2))
    points[:, :, 0] = 10 * np.arange(14)
    return points


@pytest.fixture
def valid():
    return np.ones((2, 14), dtype=bool)


def test_torso_is_left_shoulder_to_right_hip_and_head_is_neck_to_top(target, valid):
    target[1, 2] = target[1, 9] + (30, 40)
    target[1, 13] = target[1, 12] + (0, 25)
    assert torso_size(target, valid).tolist() == [70, 50]
    assert head_size(target, valid).tolist() == [10, 25]


@pytest.mark.parametrize("size, ends", [(torso_size, (9, 2)), (head_size, (12, 13))])
def test_a_size_is_undefined_where_an_end_is_missing_or_both_coincide(target, valid, size, ends):
    for end in ends:
        mask = valid.copy()
        mask[0, end] = False
        assert np.isnan(size(target, mask)).tolist() == [True, False]
    target[1, ends[0]] = target[1, ends[1]]
    assert np.isnan(size(target, valid)).tolist() == [False, True]


def test_pck_counts_annotated_joints_of_photographs_with_a_reference():
    target = np.zeros((4, 3, 2))
    predicted = np.array([[(3, 4), (0, 1), (9, 0)]] * 4, dtype=float)  # 5, 1 and 9 px away
    valid = np.array([[1, 1, 1], [1, 0, 0], [1, 1, 0], [1, 1, 1]], dtype=bool)
    reference = np.array([20.0, 40.0, 4.0, NAN])
    # In units of the reference: 0.25 0.05 0.45; 0.125 - -; 1.25 0.25 -; nothing.
    expected = [1 / 3, 1 / 2, 0.0]
    assert pck(predicted, target, valid, reference, 0.2).tolist() == pytest.approx(expected)
    distance = normalised_distance(predicted, target, valid, reference)
    assert distance[0].tolist() == pytest.approx([0.25, 0.05, 0.45])
    assert np.isnan(distance).sum(axis=1).tolist() == [0, 2, 1, 3]


def test_a_joint_at_the_threshold_is_wrong():
    target, valid = np.zeros((1, 2, 2)), np.ones((1, 2), dtype=bool)
    predicted = np.array([[(2.0, 0), (1.99, 0)]])
    assert pck(predicted, target, valid, np.array([8.0]), 0.25).tolist() == [0.0, 1.0]


@pytest.mark.parametrize("lost", [(NAN, NAN), (NAN, 0.0), (0.0, NAN)])
def test_a_prediction_that_is_no_number_is_wrong_and_still_counts(target, valid, lost):
    predicted = target.copy()
    predicted[0, 4] = lost
    shares = pck(predicted, target, valid, torso_size(target, valid), 0.2)
    assert shares[4] == 0.5 and (np.delete(shares, 4) == 1).all()


def test_what_nothing_counts_for_has_no_share():
    distance = np.array([[0.1, NAN], [0.3, NAN]])
    shares = share_below(distance, 0.2)
    assert shares[0] == 0.5 and np.isnan(shares[1])


def test_a_place_that_is_nan_and_not_annotated_does_not_count(target, valid):
    predicted = target.copy()
    target[0, 5], valid[0, 5] = NAN, False
    shares = pck(predicted, target, valid, torso_size(target, valid), 0.2)
    assert (shares == 1).all()


def test_groups_are_means_of_left_and_right_and_leave_out_what_did_not_count():
    shares = np.arange(14) / 20
    groups = by_group(shares)
    assert list(groups) == ["mean", *GROUPS]
    assert groups["mean"] == pytest.approx(6.5 / 20)
    assert groups["wrist"] == pytest.approx((6 + 11) / 40)
    assert groups["head"] == pytest.approx((12 + 13) / 40)
    shares[[6, 0, 5]] = NAN
    groups = by_group(shares)
    assert groups["wrist"] == pytest.approx(11 / 20) and np.isnan(groups["ankle"])
    assert groups["mean"] == pytest.approx((91 - 6 - 0 - 5) / 11 / 20)


def test_groups_of_nothing_are_undefined():
    assert all(np.isnan(value) for value in by_group(np.full(14, NAN)).values())


def test_summary_measures_pck_by_the_torso_and_pckh_by_the_head(target, valid):
    predicted = target.copy()
    predicted[0, :, 1] += 6  # below a fifth of the torso, 14 px; above half a head, 5 px
    predicted[1, 0, 1] += 15
    result = summary(predicted, target, valid)
    assert list(result) == ["pck_0.2", "pckh_0.5"]
    assert all(list(groups) == ["mean", *GROUPS] for groups in result.values())
    assert result["pck_0.2"]["mean"] == pytest.approx(13.5 / 14)
    assert result["pck_0.2"]["ankle"] == 0.75
    assert result["pckh_0.5"]["mean"] == pytest.approx(6.5 / 14)
    assert result["pckh_0.5"]["ankle"] == 0.25


@given(st.integers(0, 1000), st.floats(0.05, 20), st.floats(-500, 500))
@settings(max_examples=25, deadline=None)
def test_measures_do_not_depend_on_the_size_or_place_of_the_photograph(seed, factor, shift):
    rng = np.random.default_rng(seed)
    target = rng.uniform(0, 200, (5, 14, 2))
    predicted = target + rng.normal(0, 20, target.shape)
    valid = rng.random((5, 14)) < 0.9
    same = summary(predicted * factor + shift, target * factor + shift, valid)
    for measure, groups in summary(predicted, target, valid).items():
        assert same[measure] == pytest.approx(groups, nan_ok=True)


def test_bootstrap_draws_whole_photographs_and_the_same_ones_for_the_same_seed():
    distance = np.random.default_rng(0).uniform(0, 0.4, (30, 14))
    first = bootstrap(distance, 0.2, 100, seed=3)
    assert first.shape == (100, 14)
    assert (first == bootstrap(distance, 0.2, 100, seed=3)).all()
    assert (first != bootstrap(distance, 0.2, 100, seed=4)).any()
    # Joint 1 is right exactly where joint 0 is wrong: so it is in every resample.
    distance[:, 1] = 0.4 - distance[:, 0]
    pair = bootstrap(distance, 0.2, 100, seed=3)[:, :2]
    assert pair.std(axis=0).min() > 0.05 and np.allclose(pair.sum(axis=1), 1)


def test_bootstrap_of_what_does_not_count_is_nan():
    distance = np.full((5, 2), 0.1)
    distance[:, 1] = NAN
    shares = bootstrap(distance, 0.2, 10, seed=0)
    assert (shares[:, 0] == 1).all() and np.isnan(shares[:, 1]).all()


def test_reliability_worked_by_hand():
    scores = np.array([0.05, 0.08, 0.31, 0.39, 0.35, 0.95, 1.0])
    right = np.array([False, False, True, False, False, True, True])
    table = reliability(scores, right)
    assert table.columns.tolist() == ["candidates", "score", "right"]
    np.testing.assert_allclose(
        table, [[2, 0.065, 0], [3, 0.35, 0.333333], [2, 0.975, 1]], atol=1e-9
    )


def test_of_nobody_there_is_no_reliability():
    assert reliability(np.empty(0), np.empty(0, bool)).to_dict("records") == []
