"""The trained generator finds joints in crops: flip test, decoding, back to photographs' pixels."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pipeline import paths
from pipeline.data.crops import Crops, Predictions
from pipeline.device import autocast, default_device
from pipeline.geometry import Geometry
from pipeline.networks import checkpoint, heatmaps
from pipeline.networks.generator import Generator
from pipeline.networks.layers import normalise
from pipeline.skeleton import JOINTS


@dataclass(frozen=True)
class CropEstimator:
    """A generator with all that its joints depend on: of one person a crop."""

    generator: Generator
    geometry: Geometry
    settings: Mapping[str, Any]  # the groups of params.yaml that made it
    device: torch.device
    precision: str = "fp32"  # as of `device.autocast`; what is measured is measured in fp32

    def __post_init__(self) -> None:
        self.generator.eval()

    @classmethod
    def load(cls, path: Path = paths.WEIGHTS, precision: str = "fp32") -> "CropEstimator":
        """That of a file of weights, on the GPU where there is one. Raises WeightsError."""
        generator, geometry, settings = checkpoint.load(path)
        device = default_device()
        return cls(generator.to(device), geometry, settings, device, precision)

    def heatmaps(self, images: Tensor, flip: bool = True) -> Tensor:
        """Maps (B, T J, h, h), as of `networks.heatmaps`, of images (B, 3, S, S) in [0, 1].

        flip: averaged with those of the mirrored images, mirrored back (the flip test).
        """
        x = normalise(images).contiguous(memory_format=torch.channels_last)
        maps = self._heatmaps(x)
        return (maps + heatmaps.flip_maps(self._heatmaps(x.flip(-1)))) / 2 if flip else maps

    def _heatmaps(self, x: Tensor) -> Tensor:
        with autocast(self.precision, x.device):
            output = self.generator(x)[-1]
        return self.generator.heatmaps(output)

    def joints(self, images: Tensor, flip: bool = True) -> tuple[Tensor, Tensor, Tensor]:
        """Places (B, J, 2), input px, scores and hidden (B, J), as of `Predictions`, in images."""
        return decode(self.heatmaps(images, flip), self.geometry, self.geometry.reach)

    @torch.inference_mode()
    def predict(
        self, crops: Crops, indices: np.ndarray, images: Tensor | None = None
    ) -> Predictions:
        """Joints of some crops in one batch, with flip test.

        images: (B, 3, S, S) in [0, 1], what to see of these crops; as a rule `inputs`, but
        evaluation covers parts of them.
        """
        images = inputs(crops, indices) if images is None else images
        places, scores, hidden = (
            each.cpu().numpy() for each in self.joints(images.to(self.device))
        )
        return crops.predictions(indices, places, scores, hidden)


def inputs(crops: Crops, indices: np.ndarray) -> Tensor:
    """Images (B, 3, S, S) in [0, 1]: what the network sees of some crops without augmentation."""
    return torch.from_numpy(crops.inputs(indices)).permute(0, 3, 1, 2).float() / 255


def decode(maps: Tensor, geometry: Geometry, reach: float) -> tuple[Tensor, Tensor, Tensor]:
    """Places (B, J, 2), px of the input, scores (B, J) and hidden (B, J) in maps (B, T J, h, h).

    A joint is where most of its map is within reach (standard deviation, heatmap px), and its score
    is how much that is: 1 for a target's peak. What counts as right is what is near, so this place
    is right more often than the highest pixel, and the score tells better whether it is.
    """
    pose, *occlusion = maps.split(len(JOINTS), dim=1)
    places, near = heatmaps.decode(heatmaps.smooth(pose, reach))
    scores = (near * (1 + (reach / geometry.sigma) ** 2)).clamp(max=1)
    hidden = occlusion[0].amax((-2, -1)).float() if occlusion else torch.zeros_like(scores)
    return geometry.heatmap_to_input(places), scores, hidden
