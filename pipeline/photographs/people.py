"""People in photographs: the box that says where one is, and what was found there."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from pipeline.errors import PipelineError
from pipeline.skeleton import JOINTS

FORMAT = 2  # of what `described` gives; 1 was of one person a photograph, without the list
LARGEST = 4  # sides of a box over the photograph's longer side


class BoxError(PipelineError):
    """A box cannot be that of a person in the photograph."""


class Box(NamedTuple):
    """Where a person is, px, tight around the joints."""

    x: float
    y: float
    width: float
    height: float

    def __str__(self) -> str:
        return f"box {self.x:g}, {self.y:g}, {self.width:g}, {self.height:g}"

    @property
    def corners(self) -> np.ndarray:
        """First and last corner (2, 2)."""
        return np.array([self[:2], (self.x + self.width, self.y + self.height)], dtype=float)

    def check(self, image: np.ndarray | None = None) -> "Box":
        """The box itself. Raises BoxError if none, beyond a photograph (H, W, 3) or far larger."""
        if not (np.isfinite(self).all() and self.width > 0 and self.height > 0):
            raise BoxError(f"{self}: expected numbers, width and height above 0, px")
        if image is not None:
            size = np.array(image.shape[1::-1])
            said = f"{self} of a photograph of {size[0]} x {size[1]} px"
            first, last = self.corners
            if (last < 0).any() or (first > size).any():
                raise BoxError(f"{said}: it lies beyond the photograph")
            if max(self.width, self.height) > LARGEST * size.max():
                raise BoxError(
                    f"{said}: its sides may be {LARGEST} times the photograph's longer one at most"
                )
        return self

    @classmethod
    def of(cls, values: Sequence[float]) -> "Box":
        """That of x, y, width and height. Raises BoxError for others, or more or fewer values."""
        try:
            box = cls(*map(float, values))
        except (TypeError, ValueError):
            expected = ", ".join(cls._fields)
            raise BoxError(f"box: expected {expected}; found {values}") from None
        return box.check()

    @classmethod
    def around(cls, corners: np.ndarray) -> "Box":
        """That of first and last corner (2, 2)."""
        (x, y), (right, bottom) = corners.tolist()
        return cls(x, y, right - x, bottom - y)


class Joint(NamedTuple):
    """A joint that was found: px of the photograph; score, how likely it is right (PCK@0.2).

    hidden: covered by something; outside: not in the picture, the place is a guess.
    """

    x: float
    y: float
    score: float
    hidden: bool
    outside: bool


@dataclass(frozen=True)
class Person:
    """Who was found in a photograph of `size` (width, height), px."""

    size: tuple[int, int]
    box: Box
    box_given: bool
    # In [0, 1]: how likely it is that the box is a person's; of a given box the joints' mean score.
    score: float
    points: np.ndarray  # (14, 2), px
    scores: np.ndarray  # (14,), how likely each is right, in [0, 1]
    hidden: np.ndarray  # (14,) bool
    outside: np.ndarray  # (14,) bool

    @property
    def joints(self) -> dict[str, Joint]:
        """By name, as of `pipeline.skeleton.JOINTS`."""
        columns = self.scores, self.hidden, self.outside
        found = zip(self.points.tolist(), *(each.tolist() for each in columns), strict=True)
        return {
            name: Joint(x, y, *said) for name, ((x, y), *said) in zip(JOINTS, found, strict=True)
        }

    def description(self) -> dict[str, Any]:
        """Plain values, for JSON; px with two decimals."""
        return {
            "box": {name: round(value, 2) for name, value in self.box._asdict().items()},
            "box_given": self.box_given,
            "score": round(self.score, 4),
            "joints": [
                {
                    "name": name,
                    "x": round(joint.x, 2),
                    "y": round(joint.y, 2),
                    "score": round(joint.score, 4),
                    "hidden": joint.hidden,
                    "outside": joint.outside,
                }
                for name, joint in self.joints.items()
            ],
        }


def described(size: tuple[int, int], people: Sequence[Person]) -> dict[str, Any]:
    """Everybody in a photograph of this width and height as plain values, for JSON."""
    said = [person.description() for person in people]
    return {"format": FORMAT, "width": size[0], "height": size[1], "people": said}
