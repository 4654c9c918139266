"""A judgement of people, chosen on the validation part."""

import numpy as np
from sklearn.linear_model import LogisticRegression

from pipeline.evaluation.metrics import MEASURES
from pipeline.evaluation.protocol import Evaluation
from pipeline.judging.observation import Observed
from pipeline.mosaics.measures import best_score, ranked
from pipeline.photographs.judgement import EDGE, Judgement, features, log_odds
from pipeline.skeleton import JOINTS

# Before anything is known: the finder's own peak, nobody left out.
UNJUDGED = Judgement(
    bias=0.0,
    centre=1.0,
    joints=0.0,
    least=0.0,
    hidden=0.0,
    outside=0.0,
    right_bias=0.0,
    right_near=1.0,
)
MEASURE = "pck_0.2"  # by which a joint is right
WRONGLY = 0.1  # share of the joints in sight that may be said to be outside the picture
NEVER = 2.0  # above any peak: without the occlusion task no joint is said to be hidden


def fitted(observed: Observed, evaluation: Evaluation) -> Judgement:
    """The judgement by which the scores of candidates in mosaics, and of joints in crops, are as
    likely as they say (logistic regressions), and each threshold serves best: of people and of
    hidden joints by recall and precision together (F1), of joints that are cut off by what it costs
    of those in sight.

    evaluation: of crops, as they are and under occluders. Two candidates, and joints, are made up,
    one as sure as can be and right, one the opposite, so that there is a judgement even where few
    are found.
    """
    surest = np.array([1 - EDGE, EDGE])
    known = features(
        np.concatenate([observed.centres, surest]),
        np.concatenate([observed.predictions.scores, np.tile(surest[:, None], len(JOINTS))]),
    )
    model = LogisticRegression().fit(known, np.concatenate([observed.right, [True, False]]))
    (centre, joints), (bias,) = model.coef_[0].tolist(), model.intercept_.tolist()
    scores = model.predict_proba(known)[: len(observed.right), 1]
    annotated, covered = evaluation.annotated, evaluation.covered
    distances = evaluation.distances["all", MEASURE]
    counted = ~np.isnan(distances)
    near = log_odds(np.append(evaluation.predictions.scores[counted], surest))
    correct = np.append(distances[counted] < MEASURES[MEASURE][1], [True, False])
    of_joints = LogisticRegression().fit(near[:, None], correct)
    occlusion = evaluation.predictions_covered.hidden
    peaks, seen, unseen = observed.predictions.scores, observed.shown, observed.unseen
    hidden = best_threshold(occlusion[annotated & ~covered], occlusion[annotated & covered])
    return Judgement(
        bias=bias,
        centre=centre,
        joints=joints,
        least=best_score(ranked(scores, observed.right, observed.people)),
        hidden=hidden or NEVER,
        outside=level(peaks[seen], WRONGLY) if unseen.any() else 0.0,
        right_bias=float(of_joints.intercept_[0]),
        right_near=float(of_joints.coef_[0, 0]),
    )


def level(values: np.ndarray, share: float) -> float:
    """Up to which of values (N,), in [0, 1], no more than a share of them lie; 0 below them all."""
    lowest = np.sort(values)[: int(share * len(values))]
    return float(lowest[-1]) if len(lowest) else 0.0


def best_threshold(others: np.ndarray, wanted: np.ndarray) -> float | None:
    """From which value on something is best called one of the wanted kind (N,), among others (M,):
    where recall and precision are best together (F1); None where there is none of them."""
    if not len(wanted):
        return None
    values = np.unique(wanted)
    hits = len(wanted) - np.searchsorted(np.sort(wanted), values, side="left")
    called = hits + len(others) - np.searchsorted(np.sort(others), values, side="left")
    return float(values[(2 * hits / (len(wanted) + called)).argmax()])
