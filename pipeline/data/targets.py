"""Target heatmaps at rest, as two factors a peak.

A two-dimensional Gaussian is the outer product of two one-dimensional ones: 2 S numbers instead of
S^2. No torch here: the stage that makes them waits for no import of it.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from array_api_compat import array_namespace

from pipeline.data.crops import Crops
from pipeline.files import written_whole


@dataclass(frozen=True)
class Targets:
    """Target heatmaps of N people, not augmented; `networks.heatmaps.expand` makes maps of them."""

    x: np.ndarray  # (N, 14, h) float16, column vectors
    y: np.ndarray  # (N, 14, h) float16, row vectors


def gaussian(offset: Any, sigma: float) -> Any:
    """Height of the peak, 1 at its middle, at signed distances from it, an array or a tensor."""
    return array_namespace(offset).exp(-(offset**2) / (2 * sigma**2))


def factors(points: np.ndarray, size: int, sigma: float) -> tuple[np.ndarray, np.ndarray]:
    """Column and row vectors, each (..., J, size), of the peaks at points (..., J, 2), heatmap px.

    Both are all zero where the point is NaN: a joint without a place has no peak.
    """
    both = gaussian(points[..., None] - np.arange(size, dtype=points.dtype), sigma)
    # Also what half precision could only hold as a subnormal number: rounding to these takes 10
    # times longer.
    both = np.where(both >= np.finfo(np.float16).tiny, both, np.float32(0))
    return both[..., 0, :], both[..., 1, :]


def targets_of(crops: Crops) -> Targets:
    """The target heatmaps of all crops as they are."""
    geometry = crops.geometry
    points = geometry.input_to_heatmap(crops.input_points)
    x, y = factors(points, geometry.heatmap_size, geometry.sigma)
    return Targets(x.astype(np.float16), y.astype(np.float16))


def save(path: Path, targets: Targets) -> None:
    """Write targets to a .npz file."""
    with written_whole(path) as beside, beside.open("wb") as file:
        np.savez(file, x=targets.x, y=targets.y)


def load(path: Path) -> Targets:
    """The targets that `save` wrote."""
    with np.load(path) as file:
        return Targets(**file)
