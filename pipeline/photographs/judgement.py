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
    log-odds of the joints' mean peak.
    """

    bias: float
    centre: float
    joints: float
    least: float  # score below which a person is not told of, unless another is asked for
    hidden: float  # height of the occlusion peak from which on a joint is hidden
    outside: float  # height of the pose peak up to which a joint is not in the picture

    def __post_init__(self) -> None:
        """Raises JudgementError where a value is no number."""
        for name, value in asdict(self).items():
            number = isinstance(value, int | float) and not isinstance(value, bool)
            if not (number and abs(value) <= LARGEST):  # which nothing holds of NaN
                raise JudgementError(
                    f"judgement: {name} is {shown(value)}; expected a number, of {LARGEST:,.0f} at"
                    " most"
                )

    def score(self, centres: np.ndarray, peaks: np.ndarray) -> np.ndarray:
        """How likely K boxes are people's (K,), from the finder's peaks (K,) and the joints' (K,
        14)."""
        centre, joints = features(centres, peaks).T
        with np.errstate(over="ignore"):  # one over infinity is 0
            return 1 / (1 + np.exp(-(self.bias + self.centre * centre + self.joints * joints)))

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


def features(centres: np.ndarray, peaks: np.ndarray) -> np.ndarray:
    """What a score is made of (K, 2): the log-odds of the finder's peaks (K,), and of the mean of
    the joints' peaks (K, 14)."""
    values = np.stack([centres, peaks.mean(axis=-1)], axis=-1).astype(float)
    values = np.clip(values, EDGE, 1 - EDGE)
    return np.log(values / (1 - values))
