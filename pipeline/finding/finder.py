"""The finder: where people are in a whole picture, as points with sizes.

X. Zhou et al., "Objects as Points", 2019: a map of people's centres and, at each centre, the size
of the box. The same kind of pretrained encoder as the generator's, and a short way up.
"""

from typing import cast

import torch
from torch import Tensor, nn

from pipeline.networks.encoder import EncodedHourglass, Encoder
from pipeline.networks.layers import convolution, separable
from pipeline.settings import Finder as Settings

STRIDE = 8  # input px a cell of the maps
RARE = -4.0  # first answer to "is a person's centre here?": few cells are one


class Finder(nn.Module):
    """Image (B, 3, S, S), normalised -> centres (B, 1, h, h), logits, and edges (B, 4, h, h), as of
    `boxes.decode`; h = S / STRIDE."""

    def __init__(self, settings: Settings):
        """Nothing is loaded. Raises EncoderError."""
        super().__init__()
        features = settings.features
        encoder = Encoder(settings.encoder, STRIDE, len(features), folded=settings.pretrained)
        self.hourglass = EncodedHourglass(encoder, features, separable)
        last = convolution(features[0], 5, 1)
        with torch.no_grad():
            last.weight[:1].zero_()
            cast(Tensor, last.bias)[:1] = RARE
        self.head = nn.Sequential(separable(features[0], features[0]), nn.ReLU(), last)

    @property
    def encoder(self) -> Encoder:
        """The way down."""
        return self.hourglass.encoder

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        maps = self.head(self.hourglass(image)).float()
        return maps[:, :1], maps[:, 1:].sigmoid()
