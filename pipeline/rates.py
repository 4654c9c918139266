"""Learning rates: their course over a training, and the share of a pretrained encoder's layers."""

from collections.abc import Mapping
from math import cos, pi
from typing import Protocol

from torch import Tensor

ENCODER = ".encoder."  # in the names of an encoder's parameters


class Course(Protocol):
    """How long a training is, and its warm-up, in steps."""

    @property
    def steps(self) -> int: ...

    @property
    def warmup(self) -> int: ...


class Rated(Protocol):
    """An optimiser of PyTorch's, or what stands for several."""

    @property
    def param_groups(self) -> list[dict]: ...


def schedule(step: int, course: Course) -> float:
    """Factor of the learning rates: linear warm-up, then a cosine to zero."""
    warm = min(1.0, (step + 1) / course.warmup) if course.warmup else 1.0
    return warm * (1 + cos(pi * step / course.steps)) / 2


def rate_groups(named: Mapping[str, Tensor], encoder_rate: float) -> list[dict]:
    """Parameters by the factor of their learning rate (`set_rate`): 1, but of an encoder's."""
    encoder = [each for name, each in named.items() if ENCODER in name]
    others = [each for name, each in named.items() if ENCODER not in name]
    groups = [{"params": others, "factor": 1.0}, {"params": encoder, "factor": encoder_rate}]
    return [group for group in groups if group["params"]]


def set_rate(optimiser: Rated, rate: float) -> None:
    """Give each group of parameters this learning rate times its factor."""
    for group in optimiser.param_groups:
        group["lr"] = rate * group.get("factor", 1.0)
