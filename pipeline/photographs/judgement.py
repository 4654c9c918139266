"""What the peaks of a person's box and joints are worth: a score that can be believed.

Everything in here was chosen on the validation part, by the calibrate stage.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from pipeline import paths
from pipeline.errors import PipelineError, brief, shown
from pipeline.files import written_whole

EDGE = 1e-4  # a peak's odds are those of a value this far from 0 and from 1
LARGEST = 1e6  # of a value; what is chosen on photographs is far below


class JudgementError(PipelineError):
    """A file holds no judgement."""


@dataclass(frozen=True)
class Judgement:
    """How peaks become the score of a person, and the thresholds of what is said.

    The score is the logistic function of bias + centre * log-odds of the finder's peak + joints *
    log-odds of the joints' mean score; that of a joint's being right (PCK@0.2) is the logistic
    function of right_bias + right_near * log-odds of how much of its map is near its place.
    """

    bias: float
    centre: float
    joints: float
    least: float  # score below which a person is not told of, unless another is asked for
    hidden: float  # height of the occlusion peak from which on a joint is hidden
    outside: float  # how much of its map is near, up to which a joint is not in the picture
    right_bias: float
    right_near: float

    def __post_init__(self) -> None:
        """Raises JudgementError where a value is no number."""
        for name, value in asdict(self).items():
            number = isinstance(value, int | float) and not isinstance(value, bool)
            if not (number and abs(value) <= LARGEST):  # which nothing holds of NaN
                raise JudgementError(
                    f"judgement: {name} is {shown(value)}; expected a number, of {LARGEST:,.0f} at"
                    " most"
                )

    def score(self, centres: np.ndarray, near: np.ndarray) -> np.ndarray:
        """How likely K boxes are people's (K,), from the finder's peaks (K,) and how much of the
        joints' maps is near their places (K, 14)."""
        centre, joints = features(centres, near).T
        return _logistic(self.bias + self.centre * centre + self.joints * joints)

    def right(self, near: np.ndarray) -> np.ndarray:
        """How likely joints are right (...), from how much of their maps is near (...)."""
        return _logistic(self.right_bias + self.right_near * log_odds(near))

    @classmethod
    def of(cls, values: object) -> "Judgement":
        """That of plain values. Raises JudgementError."""
        wanted = list(cls.__dataclass_fields__)
        if not isinstance(values, Mapping) or sorted(values) != sorted(wanted):
            raise JudgementError(f"judgement: expected {', '.join(wanted)}; found {shown(values)}")
        return cls(**values)

    @classmethod
    def load(cls, path: Path = paths.JUDGEMENT) -> "Judgement":
        """That of a file. Raises JudgementError."""
        try:
            return cls.of(json.loads(path.read_text()))
        except FileNotFoundError:
            raise JudgementError(
                f"{path}: no such file; it belongs beside the weights, and comes with the clone"
            ) from None
        except (ValueError, RecursionError, JudgementError) as error:
            raise JudgementError(f"{path}: no judgement of people: {brief(error)}") from None

    def save(self, path: Path = paths.JUDGEMENT) -> None:
        """Write the file."""
        rounded = {name: round(value, 6) for name, value in asdict(self).items()}
        with written_whole(path) as beside:
            beside.write_text(json.dumps(rounded, indent=2) + "\n")


def features(centres: np.ndarray, near: np.ndarray) -> np.ndarray:
    """What a score is made of (K, 2): the log-odds of the finder's peaks (K,), and of the mean of
    the joints' (K, 14)."""
    return log_odds(np.stack([centres, near.mean(axis=-1)], axis=-1))


def log_odds(values: np.ndarray) -> np.ndarray:
    """Of values (...) in [0, 1]."""
    kept = np.clip(values.astype(float), EDGE, 1 - EDGE)
    return np.log(kept / (1 - kept))


def _logistic(values: np.ndarray) -> np.ndarray:
    with np.errstate(over="ignore"):  # one over infinity is 0
        return 1 / (1 + np.exp(-values))
