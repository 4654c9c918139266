"""What peaks are worth: the judgement and its file, how it is chosen, and how it is measured."""

import json
from dataclasses import replace
from math import exp, log

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import oracle
import untrained
from pipeline.data.crops import Predictions
from pipeline.evaluation.protocol import Evaluation, plain
from pipeline.judging import observation, protocol
from pipeline.judging.fit import UNJUDGED, best_threshold, fitted, level
from pipeline.judging.observation import Observed, observe
from pipeline.mosaics import protocol as mosaics
from pipeline.photographs.estimator import Candidates, PoseEstimator, distinct
from pipeline.photographs.judgement import EDGE, Judgement, JudgementError, features

JUDGEMENT = Judgement(
    bias=0.5,
    centre=1.5,
    joints=-0.25,
    least=0.4,
    hidden=0.1,
    outside=0.2,
    right_bias=-1.0,
    right_near=2.0,
)
VALUES = {
    "bias": 0.5,
    "centre": 1.5,
    "joints": -0.25,
    "least": 0.4,
    "hidden": 0.1,
    "outside": 0.2,
    "right_bias": -1.0,
    "right_near": 2.0,
}
NAMES = "expected bias, centre, joints, least, hidden, outside, right_bias, right_near"


def test_a_judgement_is_read_as_it_was_written(tmp_path):
    path = tmp_path / "deeper/judgement.json"
    JUDGEMENT.save(path)
    assert Judgement.load(path) == JUDGEMENT and json.loads(path.read_text()) == VALUES
    # Six digits after the point, so that a file is the same where the last bits are not.
    replace(JUDGEMENT, bias=1 / 3).save(path)
    assert Judgement.load(path) == replace(JUDGEMENT, bias=0.333333)
    assert path.read_text().endswith("}\n") and Judgement.of(VALUES) == JUDGEMENT
    assert Judgement.of(VALUES | {"bias": 1}).bias == 1


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "no judgement of people: Expecting value"),
        ("no JSON", "no judgement of people: Expecting value"),
        (b"\xff\xfe", "no judgement of people: 'utf-8' codec"),
        (
            "[1, 2]",
            NAMES + r"; found \[1, 2\]",
        ),
        (
            "{}",
            NAMES + "; found {}",
        ),
        (json.dumps(VALUES | {"more": 1}), "expected bias, centre, .* found {.*'more': 1"),
        (json.dumps(VALUES | {"least": "0.4"}), "least is '0.4'; expected a number"),
        (json.dumps(VALUES | {"hidden": None}), "hidden is None; expected a number"),
        (json.dumps(VALUES | {"bias": True}), "bias is True; expected a number"),
        (json.dumps(VALUES | {"bias": float("nan")}), "bias is nan; expected a number"),
        (json.dumps(VALUES | {"outside": float("inf")}), "outside is inf; expected a number"),
        (json.dumps(VALUES | {"outside": 1e308}), "outside is 1e.308; expected a number, of 1,000"),
        (json.dumps(VALUES | {"bias": -(10**400)}), "bias is -1000.*; expected a number, of 1,000"),
        (json.dumps({"x" * 5000: 1}), "found {'xxx"),
        ("[" * 20_000, "no judgement of people: maximum recursion depth"),
    ],
)
def test_a_file_that_is_no_judgement_is_refused_in_one_sentence(tmp_path, content, said):
    path = tmp_path / "judgement.json"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(JudgementError, match=said) as error:
        Judgement.load(path)
    assert str(error.value).startswith(f"{path}: ") and "\n" not in str(error.value)
    assert len(str(error.value)) < 600


@pytest.mark.filterwarnings("error")
def test_the_steepest_judgement_has_scores_of_0_and_1():
    steep = replace(JUDGEMENT, bias=0.0, centre=1e6, joints=1e6)
    scores = steep.score(np.array([0.0, 1.0]), np.array([[0.0] * 14, [1.0] * 14]))
    assert scores.tolist() == [0.0, 1.0]


def test_a_file_that_is_missing_is_named(tmp_path):
    with pytest.raises(JudgementError, match="none.json: no such file; it belongs beside the wei"):
        Judgement.load(tmp_path / "none.json")


def test_a_score_worked_by_hand():
    """Peaks of 0.8 and 0.2 have odds of 4 and 1 / 4."""
    peaks = np.full((3, 14), 0.2)
    peaks[1], peaks[2, ::2], peaks[2, 1::2] = 0.8, 0.5, 0.3  # the last one's mean is 0.4
    scores = JUDGEMENT.score(np.array([0.8, 0.2, 0.5]), peaks)
    expected = [
        0.5 + 1.5 * log(4) - 0.25 * log(1 / 4),
        0.5 + 1.5 * log(1 / 4) - 0.25 * log(4),
        0.5 - 0.25 * log(0.4 / 0.6),
    ]
    np.testing.assert_allclose(scores, [1 / (1 + exp(-each)) for each in expected])
    assert JUDGEMENT.score(np.empty(0), np.empty((0, 14))).shape == (0,)


def test_how_likely_a_joint_is_right_worked_by_hand():
    """Shares of 0.8, 0.5 and 0.2 have odds of 4, 1 and 1 / 4, squared 16, 1 and 1 / 16."""
    likely = JUDGEMENT.right(np.array([[0.8, 0.5], [0.2, 0.0]]))
    odds = np.array([[16, 1], [1 / 16, (EDGE / (1 - EDGE)) ** 2]]) / exp(1)
    np.testing.assert_allclose(likely, odds / (1 + odds))
    shares = np.linspace(0.1, 0.9, 5)
    np.testing.assert_allclose(UNJUDGED.right(shares), shares)


def test_peaks_of_nothing_and_of_everything_have_odds_too():
    values = features(np.array([0, 1, 0.5], np.float32), np.array([[0.5], [1], [0]]))
    most = log((1 - EDGE) / EDGE)
    np.testing.assert_allclose(values, [[-most, 0], [most, most], [0, -most]], atol=1e-9)


def test_unjudged_is_the_finders_own_peak_and_leaves_nobody_out():
    centres = np.array([0.05, 0.5, 0.99])
    scores = UNJUDGED.score(centres, np.random.default_rng(0).random((3, 14)))
    np.testing.assert_allclose(scores, centres)
    assert UNJUDGED.least == 0


def test_the_level_worked_by_hand():
    values = np.array([0.5, 0.1, 0.4, 0.2, 0.3])
    assert level(values, 0.4) == 0.2 and level(values, 0.59) == 0.2 and level(values, 1) == 0.5
    assert level(values, 0.19) == 0 and level(np.empty(0), 0.5) == 0


def test_the_best_threshold_worked_by_hand():
    # From 0.3 on 3 of 3 wanted among 4 called, F1 6 / 7; from 0.6 on 2 among 2, 4 / 5.
    others, wanted = np.array([0.1, 0.1, 0.2, 0.5]), np.array([0.3, 0.6, 0.7])
    assert best_threshold(others, wanted) == 0.3
    # Rare ones are not bought with many mistakes: from 0.2 on 4 / 7, from 0.4 on 2 / 3.
    assert best_threshold(np.array([0.3, 0.3, 0.3]), np.array([0.2, 0.4])) == 0.4
    # Apart: the least of the wanted kind.
    assert best_threshold(np.array([0.1, 0.2]), np.array([0.8, 0.4])) == 0.4
    # The same value in both kinds counts in both: from 0.5 on 4 / 5, from 0.7 on 2 / 3.
    assert best_threshold(np.array([0.1, 0.5]), np.array([0.5, 0.7])) == 0.5


def test_without_others_all_are_called_and_without_wanted_there_is_no_threshold():
    some, none = np.array([0.4, 0.3]), np.empty(0)
    assert best_threshold(none, some) == 0.3
    assert best_threshold(some, none) is None and best_threshold(none, none) is None


VALUE = st.floats(0, 1, width=32)


@given(st.lists(VALUE, max_size=20), st.lists(VALUE, min_size=1, max_size=20))
def test_no_other_threshold_has_a_better_f1(others, wanted):
    others, wanted = np.array(others), np.array(wanted)

    def f1(threshold):
        hits, called = (wanted >= threshold).sum(), (others >= threshold).sum()
        return 2 * hits / (len(wanted) + hits + called)

    best = f1(best_threshold(others, wanted))
    assert all(f1(value) <= best + 1e-12 for value in [*others, *wanted, 0.0, 1.1])


def predictions_of(scores: np.ndarray, hidden: np.ndarray | None = None) -> Predictions:
    """Of joints that lie nowhere in particular."""
    hidden = np.zeros_like(scores) if hidden is None else hidden
    return Predictions(np.zeros((*scores.shape, 2)), scores, hidden)


def observed_of(
    centres: np.ndarray, peaks: np.ndarray, right: np.ndarray, people: int, **changes
) -> Observed:
    """All joints of those who are right annotated, and in the picture."""
    truth = np.where(right[:, None, None], 0.0, np.full((len(right), 14, 2), np.nan))
    made = Observed(
        centres=centres,
        predictions=predictions_of(peaks),
        scores=centres,
        right=right,
        truth=truth,
        shown=np.repeat(right[:, None], 14, axis=1),
        people=people,
    )
    return replace(made, **changes)


def evaluation_of(hidden: np.ndarray, covered: np.ndarray, annotated=None) -> Evaluation:
    """Of joints whose occlusion peaks, under occluders, are these."""
    annotated = np.ones_like(covered) if annotated is None else annotated
    peaks = predictions_of(np.full_like(hidden, 0.5), hidden)
    truth = np.zeros((*hidden.shape, 2))
    return Evaluation(np.arange(len(hidden)), truth, annotated, peaks, peaks, covered)


def made_up(count=20_000):
    """Candidates that are right as often as the logistic function of -0.7 + 1.3 a + 0.4 b says, of
    log-odds a and b; joints that are covered or outside by their peaks."""
    rng = np.random.default_rng(0)
    a, b = rng.normal(0.3, 1.5, count), rng.normal(-0.5, 1.2, count)
    centres, mean = 1 / (1 + np.exp(-a)), 1 / (1 + np.exp(-b))
    right = rng.random(count) < 1 / (1 + np.exp(-(-0.7 + 1.3 * a + 0.4 * b)))
    peaks = np.repeat(mean[:, None], 14, axis=1)
    covered = rng.random((200, 14)) < 0.3
    hidden = rng.random((200, 14)) / 2 + 0.5 * covered  # below 0.5, or from it on
    observed = observed_of(centres, peaks, right, int(right.sum()))
    return observed, evaluation_of(hidden, covered)


def test_the_judgement_of_made_up_candidates_is_what_made_them():
    observed, evaluation = made_up()
    judgement = fitted(observed, evaluation)
    assert judgement.bias == pytest.approx(-0.7, abs=0.1)
    assert judgement.centre == pytest.approx(1.3, abs=0.1)
    assert judgement.joints == pytest.approx(0.4, abs=0.1)
    # So people are there as often as their scores say.
    scores = judgement.score(observed.centres, observed.predictions.scores)
    for tenth in range(10):
        some = (scores * 10).astype(int) == tenth
        assert observed.right[some].mean() == pytest.approx(scores[some].mean(), abs=0.04)
    # Nobody is left out by whose leaving out recall and precision together would gain.
    best = max(f1(scores, observed.right, value) for value in np.linspace(0.05, 0.95, 91))
    assert f1(scores, observed.right, judgement.least) >= best - 1e-9
    peaks = evaluation.predictions_covered.hidden
    assert judgement.hidden == peaks[evaluation.covered].min()


def test_a_joints_score_is_how_often_such_joints_are_right():
    """Right as often as the logistic function of 1 + 0.6 a says, of log-odds a."""
    rng = np.random.default_rng(2)
    a = rng.normal(0, 1.5, (1500, 14))
    right = rng.random(a.shape) < 1 / (1 + np.exp(-(1 + 0.6 * a)))
    points = np.where(right[..., None], [0.0, 0.0], [0.5, 0.0]) * 10  # of a torso of 10
    truth = np.zeros((*a.shape, 2))
    truth[:, 2] = [6.0, 8.0]  # a hip, and so the torso
    points[:, 2] += [6.0, 8.0]
    found = Predictions(points, 1 / (1 + np.exp(-a)), a * 0)
    annotated = np.ones_like(right)
    evaluation = Evaluation(np.arange(1500), truth, annotated, found, found, ~annotated)
    judgement = fitted(made_up(500)[0], evaluation)
    assert judgement.right_bias == pytest.approx(1, abs=0.1)
    assert judgement.right_near == pytest.approx(0.6, abs=0.05)
    likely = judgement.right(found.scores)
    for some in np.array_split(np.argsort(likely, axis=None), 10):
        assert right.flat[some].mean() == pytest.approx(likely.flat[some].mean(), abs=0.04)


def f1(scores, right, least):
    chosen = scores >= least
    return 2 * (right & chosen).sum() / (right.sum() + chosen.sum())


def test_the_thresholds_of_joints_worked_by_hand():
    """Of two candidates who are there, joints 0 and 1 are cut off, joint 2 is not annotated."""
    rng = np.random.default_rng(1)
    centres, right = np.array([0.9, 0.8, 0.3, 0.2]), np.array([True, True, False, False])
    peaks = rng.uniform(0.5, 0.9, (4, 14))
    peaks[:2, :2], peaks[:2, 2], peaks[2:] = 0.3, 0.01, 0.05
    peaks[0, 3:6], peaks[1, 1] = (0.45, 0.4, 0.48), 0.95  # the least in sight, one of four cut off
    truth = np.zeros((4, 14, 2))
    truth[:, 2] = truth[2:] = np.nan
    shown = np.isfinite(truth).all(-1)
    shown[:, :2] = False
    observed = observed_of(centres, peaks, right, 3, truth=truth, shown=shown)
    assert observed.unseen.sum() == 4 and shown.sum() == 2 * 11
    hidden, covered = np.full((2, 14), 0.2), np.zeros((2, 14), bool)
    hidden[:, :3], covered[:, :3] = (0.6, 0.7, 0.4), True
    annotated = np.ones((2, 14), bool)
    annotated[:, 2] = False  # neither this low peak of a covered joint counts ...
    hidden[:, 7:], annotated[:, 7:] = 0.65, False  # ... nor these high ones of uncovered joints
    judgement = fitted(observed, evaluation_of(hidden, covered, annotated))
    assert judgement.hidden == 0.6 and judgement.outside == 0.45  # up to it 2 of 22 in sight
    scores = judgement.score(centres, peaks)
    assert (scores[:2] > scores[2:].max()).all()
    assert judgement.least == pytest.approx(scores[:2].min())  # both, and nobody else


@pytest.mark.parametrize("count", [0, 1, 5])
@pytest.mark.parametrize("right", [True, False])
def test_where_few_are_found_or_all_or_none_are_right_there_is_a_judgement(count, right):
    """And the surer of the finder and of the joints is still the likelier."""
    some, centres = np.full(count, right), np.linspace(0.3, 0.7, count)
    observed = observed_of(centres, np.full((count, 14), 0.5), some, 5)
    judgement = fitted(observed, evaluation_of(np.zeros((1, 14)), np.zeros((1, 14), bool)))
    assert judgement.centre > 0 and judgement.joints > 0
    low, high = judgement.score(np.array([0.1, 0.9]), np.array([[0.1] * 14, [0.9] * 14]))
    assert 0 < low < high < 1
    scores = judgement.score(observed.centres, observed.predictions.scores)
    if not count:
        assert judgement.least == 1.0
    elif right:
        assert judgement.least == pytest.approx(scores.min())
    assert Judgement.of(json.loads(json.dumps(vars(judgement)))) == judgement


@pytest.mark.parametrize("covered", [True, False], ids=["covered", "none covered"])
def test_where_no_occlusion_was_learnt_no_joint_is_hidden(covered):
    """A generator of one task says 0 of every joint; and there may be nothing to tell apart."""
    observed, _ = made_up(500)
    peaks, halves = np.zeros((3, 14), np.float32), np.arange(42).reshape(3, 14) % 2 == 0
    for some in (np.full((3, 14), covered), halves & covered):
        assert (peaks < fitted(observed, evaluation_of(peaks, some)).hidden).all()


def candidates(boxes, scores, points=None) -> Candidates:
    """Joints at the corners of the boxes, or at points."""
    boxes = np.array(boxes, float).reshape(-1, 2, 2)
    if points is None:
        points = np.repeat(boxes[:, :1], 14, axis=1)
    peaks = np.tile(np.array(scores, np.float32)[:, None], 14)
    scores = np.array(scores, float)
    return Candidates(boxes, scores / 2, Predictions(points, peaks, peaks * 0), scores)


def person(*corners: float) -> np.ndarray:
    """Joints (14, 2) whose box is this: at its first and its last corner, and between them."""
    left, top, right, bottom = corners
    shares = np.linspace(0, 1, 14)[:, None]
    return (1 - shares) * [left, top] + shares * [right, bottom]


def test_candidates_beside_the_truth_worked_by_hand():
    a, b = person(0, 0, 52, 104), person(100, 0, 152, 104)
    b[13] = np.nan  # not annotated
    b[0] = 90, -20  # cut off: the box is around what is in sight
    box_a, box_b = [[0, 0], [52, 104]], [[104, 8], [148, 96]]
    c = person(10, 10, 62, 114)
    found = [
        # b; wrong; a; a again, which is wrong then. Of the third picture nobody is there.
        candidates(
            [box_b, [[300, 0], [350, 100]], [[0, 0], [50, 104]], box_a], [0.9, 0.8, 0.7, 0.6]
        ),
        candidates([], []),
        candidates([box_a], [0.5]),
    ]
    boxes = [np.array([box_a, box_b], float), np.array([[[10, 10], [62, 114]]], float)]
    boxes.append(np.empty((0, 2, 2)))
    observed = observe(found, boxes, [np.stack([a, b]), c[None], np.empty((0, 14, 2))])
    assert observed.people == 3
    assert observed.right.tolist() == [True, False, True, False, False]
    np.testing.assert_allclose(observed.scores, [0.9, 0.8, 0.7, 0.6, 0.5])
    np.testing.assert_allclose(observed.centres, [0.45, 0.4, 0.35, 0.3, 0.25])
    np.testing.assert_allclose(observed.predictions.scores[:, 0], observed.scores, rtol=1e-6)
    np.testing.assert_array_equal(observed.truth[0], b)
    np.testing.assert_array_equal(observed.truth[2], a)
    assert np.isnan(observed.truth[[1, 3, 4]]).all()
    assert observed.shown[2].all() and not observed.shown[[1, 3, 4]].any()
    assert np.flatnonzero(~observed.shown[0]).tolist() == [0, 13]
    assert np.argwhere(observed.unseen).tolist() == [[0, 0]]


def test_a_joint_on_the_edge_of_the_box_is_in_sight_and_one_beyond_is_not():
    joints = person(10, 10, 62, 114)
    joints[5] = 10, 114.5
    joints[6] = 9.5, 60
    box = np.array([[[10, 10], [62, 114]]], float)
    observed = observe([candidates(box, [0.5])], [box], [joints[None]])
    assert np.flatnonzero(observed.unseen[0]).tolist() == [5, 6] and observed.shown.sum() == 12


def test_what_is_said_to_be_outside_worked_by_hand():
    right = np.array([True, True, False])
    peaks = np.full((3, 14), 0.5)
    shown = np.repeat(right[:, None], 14, axis=1)
    shown[0, :4] = False  # cut off; of the third nothing is known
    peaks[0, :3] = 0.1  # 3 of these 4 are said to be
    peaks[1, :5], peaks[1, 5] = 0.2999, 0.3  # 6 of 24 in sight are, one by the threshold itself
    peaks[1, 6] = 0.3001  # what is above it is not
    peaks[2] = 0.0
    observed = observed_of(right * 0.5, peaks, right, 2, shown=shown)
    assert protocol.outside(observed, 0.3) == {
        "cut_off": 0.75,
        "in_sight": 0.25,
        "joints_cut_off": 4.0,
        "joints_in_sight": 24.0,
    }
    nobody = observed_of(right * 0.5, peaks, right & False, 2)
    said = protocol.outside(nobody, 0.3)
    assert np.isnan(said["cut_off"]) and said["joints_cut_off"] == 0
    assert plain(said)["in_sight"] is None


def moved(share: float) -> np.ndarray:
    """A person whose longer side is 104 px (and 1), moved to the side by a share of that."""
    return person(0, 0, 52, 104) + [share * 105, 0]


def test_people_whose_joints_are_a_better_ones_are_left_out():
    """Alike are joints as far as 0.1 of the side apart by e^-0.5 = 0.61, at 0.11 by 0.55."""
    alike, other = moved(0.1), moved(0.11)
    assert distinct(np.stack([moved(0), alike])).tolist() == [0]
    assert distinct(np.stack([moved(0), other])).tolist() == [0, 1]
    # Beside somebody who was left out one may stay: only who is kept counts.
    assert distinct(np.stack([moved(0), moved(0.09), moved(0.18)])).tolist() == [0, 2]
    # The mean counts: half of the joints alike, the others far away, is 0.5.
    half = moved(0)
    half[7:] += 500
    assert distinct(np.stack([moved(0), half])).tolist() == [0, 1]
    half = moved(0)
    half[9:] += 500  # 9 of 14
    assert distinct(np.stack([moved(0), half])).tolist() == [0]
    # The better one's side counts: a small person within a large one is another.
    small = person(20, 50, 24, 54)
    assert distinct(np.stack([small, moved(0)])).tolist() == [0, 1]
    assert distinct(np.empty((0, 14, 2))).tolist() == []
    assert distinct(np.repeat(moved(0)[None], 5, axis=0)).tolist() == [0]


@pytest.fixture(scope="module")
def estimator(tmp_path_factory) -> PoseEstimator:
    return PoseEstimator.load(untrained.write(tmp_path_factory.mktemp("weights")), "fp32")


def test_who_is_found_in_mosaics_is_observed_beside_the_truth(monkeypatch, estimator):
    monkeypatch.setattr(mosaics, "SCENES", 40)
    monkeypatch.setattr(protocol, "SCENES", 40)
    album = oracle.album()
    scenes = mosaics.scenes(album)
    finder = oracle.Oracle(scenes, mosaics.SIDE)
    observed = protocol.in_mosaics(PoseEstimator(estimator.network, UNJUDGED, finder), album)
    assert observed.people == sum(len(scene.boxes) for scene in scenes) > 60
    sure = observed.scores > 0.99
    # All would be, but for boxes that joints which nobody trained have moved too far.
    assert (observed.right & sure).sum() > 0.9 * observed.people
    assert observed.right[sure].mean() > 0.9
    true = {joints.tobytes() for scene in scenes for joints in scene.joints}
    assert all(joints.tobytes() in true for joints in observed.truth[observed.right])
    assert observed.unseen.any()

    told_of = PoseEstimator(estimator.network, replace(UNJUDGED, least=0.99, outside=0.1))
    measured = protocol.measure(told_of, observed, [candidates([], [])] * 12, album)
    assert measured["mosaics"]["scenes"] == 40
    assert measured["mosaics"]["people"] == observed.people
    assert measured["mosaics"]["average_precision"] > 0.9
    told = measured["mosaics"]["told"]
    assert told["recall"] == pytest.approx((observed.right & sure).sum() / observed.people)
    assert told["precision"] == pytest.approx(observed.right[sure].mean())
    assert measured["photographs"]["people"] == 12 and measured["photographs"]["best"] == 0
    assert sum(row["candidates"] for row in measured["reliability"]) == len(observed.scores)
    assert measured["outside"] == protocol.outside(observed, 0.1)
    assert json.loads(json.dumps(plain(measured), allow_nan=False)) == plain(measured)


def test_many_pictures_are_looked_at_in_their_order(monkeypatch, estimator):
    monkeypatch.setattr(mosaics, "BATCH", 3)
    images = oracle.album(8).images
    found = mosaics.found_in(estimator.candidates, images)
    assert len(found) == 8
    for k, image in enumerate(images):
        (alone,) = estimator.candidates([image])
        np.testing.assert_allclose(found[k].boxes, alone.boxes, atol=0.01)
        np.testing.assert_allclose(found[k].scores, alone.scores, atol=1e-4)
    for boxes, each in zip(observation.boxes_of(found), found, strict=True):
        assert boxes.boxes is each.boxes and boxes.scores is each.scores
