"""Prediction and measures: joints found again in the photograph, and every number of the result by
hand."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from conftest import CPU, GEOMETRY, flip_points
from pipeline.data.crops import Crops, Predictions, batches
from pipeline.evaluation import protocol, results
from pipeline.evaluation.metrics import torso_size
from pipeline.evaluation.protocol import (
    Evaluation,
    cover,
    hidden_auc,
    interval_95,
    measure,
    pck_curve,
    swapped,
)
from pipeline.geometry import transform
from pipeline.networks import heatmaps
from pipeline.networks.estimator import CropEstimator, inputs
from pipeline.networks.layers import MEAN, SCALE
from pipeline.skeleton import FLIP, GROUPS, JOINTS

STORED, STRIDE = 96, 4
COUNT = 7


@pytest.fixture(scope="module")
def crops():
    """People whose crops bear their number in green, and grow red to the right."""
    assert GEOMETRY.stored_size == STORED
    rng = np.random.default_rng(0)
    images = np.zeros((COUNT, STORED, STORED, 3), dtype=np.uint8)
    images[..., 0] = np.arange(STORED)
    images[..., 1] = 10 * np.arange(COUNT)[:, None, None]
    points = rng.uniform(18, 77, (COUNT, 14, 2)).astype(np.float32)
    annotated = rng.random((COUNT, 14)) < 0.8
    annotated[:, [2, 9, 12, 13]] = True
    points[~annotated] = np.nan
    affines = GEOMETRY.crop_affines(rng.uniform(50, 200, (COUNT, 2)), rng.uniform(60, 400, COUNT))
    originals = transform(affines, points.astype(np.float64))
    hidden = np.zeros_like(annotated)
    return Crops(GEOMETRY, images, points, annotated, hidden, originals, affines)


class Oracle(nn.Module):
    """Reads a person's number and side off the image and answers the true heatmaps, of the mirrored
    too."""

    def __init__(self, crops, shift=0.0, occlusion=True):
        super().__init__()
        self.points = torch.from_numpy(crops.input_points).nan_to_num(0.0)
        self.tasks = 2 if occlusion else 1
        self.shift = shift  # px, to the right in whatever is shown
        self.batches = []

    def forward(self, x):
        values = (x * SCALE + MEAN) * 255
        self.batches.append(len(x))
        people = (values[:, 1].flatten(1).median(-1).values / 10).round().long()
        points = self.points[people]
        mirrored = values[:, 0].diff(dim=-1).flatten(1).median(-1).values < 0
        points = torch.where(
            mirrored[:, None, None], flip_points(points, GEOMETRY.input_size), points
        )
        points = points + torch.tensor([self.shift, 0.0])
        placed = GEOMETRY.input_to_heatmap(points)
        pose = heatmaps.render(placed, GEOMETRY.heatmap_size, GEOMETRY.sigma)
        return [torch.zeros_like(pose), torch.cat([pose, 0.5 * pose][: self.tasks], dim=1)]

    def heatmaps(self, output):
        return output


def estimator(crops, **changes):
    """The oracle as an estimator."""
    return CropEstimator(Oracle(crops, **changes), GEOMETRY, {}, CPU)


@pytest.fixture(scope="module")
def worked():
    """Three people with joint j at (50 j, 0), and what was found: see the tests."""
    originals = np.zeros((5, 14, 2))
    # A torso of 350 px: right below 70; a head of 50 px: below 25.
    originals[:, :, 0] = 50 * np.arange(14)
    annotated = np.ones((5, 14), dtype=bool)
    indices = np.array([1, 2, 4])
    annotated[2, 2] = False  # no torso
    annotated[4, [9, 13]] = False  # neither
    annotated[[0, 3]] = False  # not among the indices
    originals[~annotated] = np.nan

    points = originals[indices]
    points[np.isnan(points)] = -1000.0
    predicted = points.copy()
    predicted[0, 7:11, 1] += 30
    predicted[0, 11:14, 1] += 80
    found_covered = points.copy()
    found_covered[0, 0, 1] += 100
    found_covered[0, 7, 1] += 30
    covered = np.zeros((3, 14), dtype=bool)
    covered[[0, 0, 1, 1], [0, 7, 0, 2]] = True  # the last is not annotated
    scores = np.full((3, 14), 0.9, dtype=np.float32)
    hidden = np.zeros((3, 14), dtype=np.float32)
    hidden[[0, 1], [0, 0]] = 0.6
    return Evaluation(
        indices=indices,
        truth=originals[indices],
        annotated=annotated[indices],
        predictions=Predictions(predicted, scores, np.zeros_like(scores)),
        predictions_covered=Predictions(found_covered, scores, hidden),
        covered=covered,
    )


@pytest.fixture(scope="module")
def measured(worked):
    return measure(worked)


def test_measures_of_the_photographs_as_they_are(measured):
    pck, pckh = measured["pck_0.2"], measured["pckh_0.5"]
    # PCK: the first person's joints alone count. PCKh: the second person's too, all right.
    assert pck == pytest.approx(
        {
            "mean": 11 / 14,
            "head": 0,
            "shoulder": 1,
            "elbow": 1,
            "wrist": 0.5,
            "hip": 1,
            "knee": 1,
            "ankle": 1,
        },
        abs=1e-6,
    )
    assert pckh == pytest.approx(
        {
            "mean": (7 + 7 / 2) / 14,
            "head": 0.5,
            "shoulder": 0.5,
            "elbow": 0.5,
            "wrist": 0.75,
            "hip": 1,
            "knee": 1,
            "ankle": 1,
        },
        abs=1e-6,
    )
    assert list(measured["joint"]["pck_0.2"].values()) == [1.0] * 11 + [0.0] * 3
    assert list(measured["joint"]["pckh_0.5"]) == list(JOINTS)
    assert measured["joint"]["pckh_0.5"]["left_wrist"] == 0.5


def test_what_counted_is_counted(measured):
    assert measured["counted"] == {
        "photographs": 3,
        "joints_annotated": 14 + 13 + 12,
        "pck_0.2": {"photographs": 1, "joints": 14},
        "pckh_0.5": {"photographs": 2, "joints": 27},
    }


def test_measures_under_occluders_are_told_apart_by_what_is_covered(measured):
    hidden, seen = measured["covered"], measured["uncovered"]
    assert (hidden["joints"], seen["joints"]) == (3, 36)
    # Covered: of the first person an ankle, 100 px away, and an elbow, 30 px; of the second an
    # ankle, right.
    assert (hidden["pck_0.2"]["ankle"], hidden["pck_0.2"]["elbow"]) == (0, 1)
    assert hidden["pck_0.2"]["mean"] == 0.5
    assert (hidden["pckh_0.5"]["ankle"], hidden["pckh_0.5"]["elbow"]) == (0.5, 0)
    assert hidden["pckh_0.5"]["mean"] == 0.25
    assert hidden["pck_0.2"]["head"] is None
    assert set(seen["pck_0.2"].values()) == set(seen["pckh_0.5"].values()) == {1.0}
    # Two of the three covered joints have the highest occlusion peaks, the third ties with all
    # others.
    assert measured["hidden_auc"] == pytest.approx((2 + 0.5) / 3, abs=1e-6)


def test_versions_are_compared_by_few_numbers_and_all_are_kept_beside_them(
    measured, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    without_box = {"pck_0.2": {"mean": 0.25, "head": 0.5}}
    results.write(measured | {"without_box": without_box}, "test")
    few, everything = (
        json.loads((tmp_path / f"metrics/test{name}.json").read_text()) for name in ("", "_details")
    )
    assert few == {
        "pck_0.2": {"mean": measured["pck_0.2"]["mean"]},
        "pckh_0.5": {"mean": measured["pckh_0.5"]["mean"]},
        "covered": {"pck_0.2": {"mean": measured["covered"]["pck_0.2"]["mean"]}},
        "without_box": {"pck_0.2": {"mean": 0.25}},
    }
    assert everything == measured | {"without_box": without_box}
    results.write(measured, "validation")
    assert "without_box" not in (tmp_path / "metrics/validation.json").read_text()


def test_the_result_is_json_without_nan_and_prints_as_a_table(measured):
    assert json.loads(json.dumps(measured, allow_nan=False)) == measured
    lines = results.table(measured).splitlines()
    cells = ["0.0", "100.0", "100.0", "50.0", "100.0", "100.0", "100.0", "78.6"]
    assert len(lines) == 8 and lines[1].split() == ["PCK@0.2", *cells]
    assert "—" in lines[3] and lines[3].startswith("PCK@0.2, covered")
    assert measured["interval_95"]["pck_0.2"]["mean"] == pytest.approx([11 / 14] * 2, abs=1e-6)


def test_intervals_contain_the_share_and_shrink_with_the_photographs():
    rng = np.random.default_rng(0)
    distance = rng.uniform(0, 0.4, (400, 14))
    distance[rng.random(distance.shape) < 0.2] = np.nan
    widths = []
    for n in (25, 400):
        intervals = interval_95(distance[:n], 0.2)
        assert list(intervals) == ["mean", *GROUPS]
        low, high = intervals["mean"]
        share = ((distance[:n] < 0.2).sum(0) / (~np.isnan(distance[:n])).sum(0)).mean()
        assert 0 < low < share < high < 1
        widths.append(high - low)
    assert 2.5 < widths[0] / widths[1] < 6  # a sixteenth of the photographs: four times as wide
    # 400 photographs of 14 independent joints, four fifths counted, at 0.5.
    assert widths[1] == pytest.approx(2 * 1.96 * 0.5 / np.sqrt(400 * 14 * 0.8), rel=0.25)


def test_what_is_certain_has_an_interval_of_no_width_and_what_nothing_counted_for_has_none():
    distance = np.random.default_rng(1).uniform(0, 0.4, (30, 14))
    assert set(map(tuple, interval_95(distance, 0.5).values())) == {(1.0, 1.0)}
    distance[:, [12, 13]] = np.nan
    assert np.isnan(interval_95(distance, 0.2)["head"]).all()


def test_hidden_auc_counts_pairs_of_a_covered_and_an_uncovered_joint():
    scores = np.array([[0.9, 0.3, 0.3, 0.1, 1.0]])
    covered = np.array([[1, 1, 0, 0, 0]], dtype=bool)
    annotated = np.array([[1, 1, 1, 1, 0]], dtype=bool)
    assert hidden_auc(scores, covered, annotated) == (1 + 1 + 0.5 + 1) / 4
    assert hidden_auc(1 - scores, covered, annotated) == pytest.approx(0.125)
    assert np.isnan(hidden_auc(scores, np.zeros_like(covered), annotated))
    assert np.isnan(hidden_auc(scores, annotated, annotated))


def test_swapped_joints_are_wrong_but_right_under_their_partners_name(worked):
    # Of a perfect prediction none; with all names exchanged all that have a partner elsewhere and
    # count.
    truth = np.nan_to_num(worked.truth)

    def of(points):
        return swapped(replace(worked, predictions=worked.predictions._replace(points=points)))

    assert of(truth) == {"pck_0.2": 0.0, "pckh_0.5": 0.0}
    wrong = truth[:, list(FLIP)]
    own = np.linalg.norm(truth - truth[:, list(FLIP)], axis=-1)
    torso = torso_size(truth, worked.annotated)
    counted = worked.annotated & np.isfinite(torso)[:, None]
    expected = (counted & (own >= 0.2 * torso[:, None])).sum() / counted.sum()
    assert 0 < expected < 1 and of(wrong)["pck_0.2"] == pytest.approx(expected, abs=1e-6)


def test_pck_curve_rises_from_0_to_the_share_at_the_last_threshold(worked, measured):
    curve = pck_curve(worked, "pckh_0.5")
    assert list(curve.columns) == ["threshold", "mean", *GROUPS]
    assert curve.threshold.tolist() == pytest.approx(np.linspace(0, 0.5, 51))
    assert (curve.iloc[0] == 0).all()
    assert (curve.diff().iloc[1:] >= 0).all().all()
    assert curve.iloc[-1].drop("threshold").to_dict() == pytest.approx(
        measured["pckh_0.5"], abs=1e-6
    )
    row = pck_curve(worked, "pck_0.2").iloc[20]
    assert row["threshold"] == 0.2 and row["mean"] == pytest.approx(
        measured["pck_0.2"]["mean"], abs=1e-6
    )


def test_prediction_table_has_a_row_for_each_photograph_and_joint(worked):
    table = results.prediction_table(worked.predictions, worked)
    assert len(table) == 3 * 14
    assert table.image.unique().tolist() == ["im00002.jpg", "im00003.jpg", "im00005.jpg"]
    assert table.joint.tolist() == [*JOINTS] * 3
    row = table[(table.image == "im00002.jpg") & (table.joint == "left_wrist")].iloc[0]
    assert (row.x, row.y, row.annotated_x, row.annotated_y) == (550, 80, 550, 0)
    assert row.score == pytest.approx(0.9)
    missing = table[table.annotated_x.isna()]
    assert missing.image.tolist() == ["im00003.jpg", "im00005.jpg", "im00005.jpg"]
    assert missing.joint.tolist() == ["right_hip", "left_shoulder", "head_top"]


def test_inputs_are_the_middle_of_the_crops(crops):
    images = inputs(crops, np.array([3, 1]))
    assert images.shape == (2, 3, 64, 64)
    assert (images[:, 0, 0] * 255).round().tolist() == [list(range(16, 80))] * 2
    assert (images[:, 1, 5, 5] * 255).round().tolist() == [30, 10]


def predict_all(estimator, crops, indices, size, flip):
    """In batches, with or without the flip test."""
    if flip:
        parts = [estimator.predict(crops, batch) for batch in batches(indices, size)]
        return Predictions.concatenated(parts)
    parts = []
    for batch in batches(indices, size):
        decoded = estimator.joints(inputs(crops, batch), flip=False)
        parts.append(crops.predictions(batch, *(each.numpy() for each in decoded)))
    return Predictions.concatenated(parts)


@pytest.mark.parametrize("flip", [True, False])
def test_joints_are_found_again_in_pixels_of_the_photograph(crops, flip):
    oracle, indices = estimator(crops), np.array([6, 0, 3, 2, 5])
    predictions = predict_all(oracle, crops, indices, size=2, flip=flip)
    off = np.linalg.norm(predictions.points - crops.originals[indices], axis=-1)
    off /= crops.affines[indices, 0, 0, None]
    at = GEOMETRY.input_to_heatmap(crops.input_points[indices])
    # Smoothing moves a peak at the border.
    inside = ((at > 2) & (at < GEOMETRY.heatmap_size - 3)).all(-1)
    assert off[inside].max() < 0.05 and np.nanmax(off) < 0.8 * STRIDE
    assert predictions.scores.shape == predictions.hidden.shape == (5, 14)
    assert predictions.points.dtype == np.float64
    # Half a pixel off in x and y the peak is lower: exp(-1 / 4), and exp(-1 / 8) once smoothed.
    assert ((predictions.hidden > 0.38) & (predictions.hidden <= 0.5)).all()
    assert predictions.scores[inside].min() > 0.88 and predictions.scores.max() <= 1
    assert predictions.scores.min() > 0.4  # in a corner half of what is near lies beyond
    assert oracle.generator.batches == ([2, 2, 2, 2, 1, 1] if flip else [2, 2, 1])


def test_the_flip_test_cancels_what_leans_to_one_side(crops):
    shifted, indices = estimator(crops, shift=2.0), np.arange(COUNT)
    off = [
        (predict_all(shifted, crops, indices, 4, flip).points - crops.originals)[..., 0]
        / crops.affines[:, None, 0, 0]
        for flip in (False, True)
    ]
    assert np.nanmedian(off[0]) == pytest.approx(2.0, abs=0.05)
    assert np.nanmedian(np.abs(off[1])) < 0.1


def test_a_generator_without_the_second_task_hides_nothing(crops):
    assert (estimator(crops, occlusion=False).predict(crops, np.arange(3)).hidden == 0).all()


def test_covers_of_a_photograph_are_the_same_in_any_batch(crops):
    together = cover(crops, np.arange(COUNT))
    for indices in ([4], [6, 4, 1]):
        apart = cover(crops, np.array(indices))
        assert (apart.images == together.images[indices]).all()
        assert (apart.occluded == together.occluded[indices]).all()


def test_covers_hide_an_annotated_joint_of_each_photograph_and_show_the_next_one(crops):
    people = cover(crops, np.arange(COUNT))
    hidden = people.occluded.numpy()
    assert hidden.any(axis=1).all() and not hidden[~crops.annotated].any()
    assert not hidden.all(axis=1).any()
    np.testing.assert_array_equal(people.points.numpy(), crops.input_points)
    number = (people.images[:, 1] * 25.5).round().long()
    for i in range(COUNT):
        shown = {i, (i + 1) % COUNT}
        assert set(number[i].unique().tolist()) == shown
    who, joint = np.nonzero(hidden)
    x, y = people.points[who, joint].round().long().clamp(0, 63).unbind(-1)
    covered = number[who, y, x].numpy() == (who + 1) % COUNT
    assert covered.mean() > 0.8  # a joint at an occluder's edge may round to the pixel beside it
    changed = number != torch.arange(COUNT)[:, None, None]
    assert 0.03 < changed.float().mean() < 0.09  # 2 of 0.2 x 0.2 at most


def test_evaluate_measures_the_photographs_as_they_are_and_covered(crops, monkeypatch):
    monkeypatch.setattr(protocol, "BATCH", 3)
    indices = np.array([0, 2, 3, 5])
    oracle = Oracle(crops).train()
    result = protocol.evaluate(CropEstimator(oracle, GEOMETRY, {}, CPU), crops, indices)
    assert not oracle.training
    assert (result.covered == cover(crops, indices).occluded.numpy()).all()
    assert (result.indices == indices).all()
    assert (result.annotated == crops.annotated[indices]).all()
    measured = measure(result)
    assert measured["pck_0.2"]["mean"] == measured["pckh_0.5"]["mean"] == 1.0
    assert (
        measured["covered"]["joints"] + measured["uncovered"]["joints"]
        == crops.annotated[indices].sum()
    )


def test_the_table_is_printed_where_nothing_counted():
    nothing = dict.fromkeys([*GROUPS, "mean"])
    measured = {key: nothing for key in ("pck_0.2", "pckh_0.5")}
    measured["interval_95"] = {"pck_0.2": {"mean": [None, None]}}
    assert results.table(measured).count("—") == 16


def test_distances_are_computed_once_in_units_of_the_reference(worked):
    assert worked.distances is worked.distances and worked.references is worked.references
    torso, head = worked.references["pck_0.2"], worked.references["pckh_0.5"]
    np.testing.assert_array_equal(torso, [350, np.nan, np.nan])
    np.testing.assert_array_equal(head, [50, 50, np.nan])
    distance = worked.distances["all", "pckh_0.5"]
    assert distance[0, [6, 7, 13]].tolist() == [0, 30 / 50, 80 / 50]
    assert np.isnan(distance[2]).all() and np.isnan(distance[1]).sum() == 1
    covered, seen = (worked.distances[kind, "pck_0.2"] for kind in ("covered", "uncovered"))
    assert np.flatnonzero(~np.isnan(covered[0])).tolist() == [0, 7]
    assert covered[0, 0] == 100 / 350 and np.isnan(seen[0, [0, 7]]).all()
