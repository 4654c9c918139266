"""Where a person is: in the photograph, in the stored crop, in the network's input, in a heatmap.

    photograph  --affine-->  stored crop  --margin-->  input  --stride-->  heatmap

All places are px with pixel centres at the integers, x to the right, y down. The stored crop shows
the person's box and a margin around it, room for augmentation; the input is its middle; a heatmap
pixel covers stride x stride pixels of the input.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np

Places = TypeVar("Places", np.ndarray, Any)  # an array or a tensor (..., 2)
REACH = 3 / 56  # of a heatmap's side; chosen on LSPet's validation part, for PCK@0.2


@dataclass(frozen=True)
class Geometry:
    """Sizes of crops, inputs and heatmaps, px, and the maps between their pixels."""

    input_size: int  # side of the network's input
    heatmap_size: int  # side of a heatmap
    sigma: float  # standard deviation of a target peak, heatmap px
    box_scale: float  # side of the person's box over the extent of the joints
    crop_scale: float  # side of the stored crop over that of the person's box

    @classmethod
    def of(cls, cache: Mapping) -> "Geometry":
        """As the group `cache` of params.yaml says."""
        return cls(
            input_size=cache["input_size"],
            heatmap_size=cache["heatmap_size"],
            sigma=cache["sigma"],
            box_scale=cache["box"],
            crop_scale=cache["margin"],
        )

    @property
    def stride(self) -> int:
        """Input px a heatmap px."""
        return self.input_size // self.heatmap_size

    @property
    def reach(self) -> float:
        """How far from a place a joint still counts as there: standard deviation, heatmap px."""
        return max(self.sigma, REACH * self.heatmap_size)

    @property
    def margin(self) -> int:
        """Px of a stored crop before its input's first pixel, and behind its last."""
        return round(self.input_size * (self.crop_scale - 1) / 2)

    @property
    def stored_size(self) -> int:
        """Side of a crop at rest."""
        return self.input_size + 2 * self.margin

    @property
    def middle(self) -> slice:
        """The stored crop's rows, and columns, that the input shows."""
        return slice(self.margin, self.margin + self.input_size)

    def crop_to_input(self, places: Places) -> Places:
        """Input px of places in a stored crop."""
        return places - self.margin

    def input_to_crop(self, places: Places) -> Places:
        """Px of the stored crop of places in the input."""
        return places + self.margin

    def input_to_heatmap(self, places: Places) -> Places:
        """Heatmap px of places in an input: pixel k covers the input pixels from k * stride on."""
        return (places + 0.5) / self.stride - 0.5

    def heatmap_to_input(self, places: Places) -> Places:
        """Input px of places in a heatmap."""
        return (places + 0.5) * self.stride - 0.5

    def pixel_boxes(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """First pixels (N, 2) and sides (N,), both whole px, of what the stored crops of points (N,
        J, 2) show.

        The person's box with the margin around it, moved to the nearest pixels: a crop is then a
        plain resize.
        """
        centre, side = person_boxes(points, self.box_scale)
        side = np.rint(side * self.stored_size / self.input_size).astype(int)
        return np.rint(centre - (side[:, None] - 1) / 2).astype(int), side

    def crop_affines(self, corners: np.ndarray, sides: np.ndarray) -> np.ndarray:
        """Maps (N, 2, 3) from px of stored crops, of `pixel_boxes`, to px of their photographs."""
        scale = sides / self.stored_size
        affines = np.zeros((len(sides), 2, 3))
        affines[:, 0, 0] = affines[:, 1, 1] = scale
        # Pixel centres are integers: the crop's first pixel covers [-0.5, 0.5], and so does the
        # photograph's.
        affines[:, :, 2] = corners - 0.5 + scale[:, None] / 2
        return affines


def person_boxes(points: np.ndarray, scale: float) -> tuple[np.ndarray, np.ndarray]:
    """Centres (N, 2) and sides (N,), px, of the square boxes around points (N, J, 2), NaN left out.

    The side is `scale` times the larger extent of the joints, and at least 8 px.
    """
    low, high = extent(points)
    return (low + high) / 2, np.maximum(scale * (high - low).max(axis=-1), 8.0)


def extent(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The smallest and largest x, y (..., 2) of points (..., J, 2), NaN left out."""
    return np.nanmin(points, axis=-2), np.nanmax(points, axis=-2)


def within(points: np.ndarray, size: Sequence[int] | np.ndarray) -> np.ndarray:
    """Which of points (..., 2) lie in a picture of this width and height; NaN does not."""
    inside = (points >= -0.5) & (points < np.asarray(size) - 0.5)
    return np.asarray(inside.all(axis=-1))


def transform(affines: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Points (N, J, 2) mapped by affines (N, 2, 3)."""
    return np.einsum("nij,nkj->nki", affines[:, :, :2], points) + affines[:, None, :, 2]


def invert(affines: np.ndarray) -> np.ndarray:
    """The inverses (N, 2, 3) of affines (N, 2, 3)."""
    linear = np.linalg.inv(affines[:, :, :2])
    return np.concatenate([linear, -linear @ affines[:, :, 2:]], axis=-1)
