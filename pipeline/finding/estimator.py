"""The trained finder on photographs: each seen whole, boxes back in the photograph's pixels."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pipeline import paths
from pipeline.device import autocast, default_device
from pipeline.finding.boxes import Found
from pipeline.finding.finder import Finder
from pipeline.finding.views import find
from pipeline.networks import checkpoint
from pipeline.networks.layers import normalise
from pipeline.settings import Finder as Settings


@dataclass(frozen=True)
class PeopleFinder:
    """A finder with all that its boxes depend on."""

    finder: Finder
    input_size: int
    settings: Mapping[str, Any]  # the groups of params.yaml that made it
    device: torch.device
    precision: str = "fp32"  # as of `device.autocast`; what is measured is measured in fp32

    @classmethod
    def load(cls, path: Path = paths.FINDER, precision: str = "fp32") -> "PeopleFinder":
        """That of a file of weights, on the GPU where there is one. Raises WeightsError."""

        def build(groups: dict) -> Finder:
            # Where the training began is not told with its settings: it makes no network.
            return Finder(Settings(**{"start": str(path)} | groups["finder"]))

        finder, settings = checkpoint.restored(path, build)
        device, size = default_device(), settings["finder"]["input_size"]
        finder.to(device).to(memory_format=torch.channels_last)
        return cls(finder, size, settings, device, precision)

    @torch.inference_mode()
    def maps(self, views: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Centres (B, h, h), in [0, 1], and edges (B, 4, h, h) of views (B, S, S, 3) uint8."""
        pixels = torch.from_numpy(views).to(self.device).permute(0, 3, 1, 2).float() / 255
        x = normalise(pixels).contiguous(memory_format=torch.channels_last)
        with autocast(self.precision, self.device):
            centres, edges = self.finder(x)
        return centres.squeeze(1).sigmoid().cpu().numpy(), edges.cpu().numpy()

    def find(self, images: Sequence[np.ndarray]) -> list[Found]:
        """The people in each of B photographs (H, W, 3) uint8, in its pixels."""
        return find(self, images)
