"""The discriminators P and C: encoder-decoders that answer one value a joint (section 3.2)."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pipeline.layers import Hourglass, convolution, unnormalised


class _Discriminator(nn.Module):
    """Encoder-decoder with skip connections over maps (B, inputs, h, w), at half their resolution.

    The decoder ends in one map a joint: how real that joint would look here. It is read out where the
    joint's own heatmap lies, so the answer for a joint is about the place that it was given.
    """

    def __init__(self, inputs: int, joints: int, features: Sequence[int]):
        super().__init__()
        width = features[0]
        self.entry = nn.Sequential(convolution(inputs, width, 3, stride=2), unnormalised(width, width))
        self.body = Hourglass(features, unnormalised)
        self.maps = nn.Sequential(nn.ReLU(), convolution(width, joints, 1))

    def judge(self, x: Tensor, pose: Tensor) -> Tensor:
        maps = self.maps(self.body(self.entry(x))).float()
        # The floor reads a blank heatmap as the mean of its map, and keeps the gradient finite.
        where = F.avg_pool2d(pose.float(), 2) + 1e-3
        return (maps * where).sum((-2, -1)) / where.sum((-2, -1))


class PoseDiscriminator(_Discriminator):
    """P: is each joint where a body in this image would have it? Conditional on the image.

    image (B, 3, S, S), normalised; pose and occlusion heatmaps (B, J, h, h), occlusion None without that
    task; S = stride * h -> logits (B, J), positive for real.
    """

    def __init__(
        self,
        joints: int = 14,
        features: Sequence[int] = (32, 64, 64),
        stride: int = 4,
        occlusion: bool = True,
    ):
        super().__init__(3 * stride**2 + joints * (1 + occlusion), joints, features)
        self.stride = stride

    def forward(self, image: Tensor, pose: Tensor, occlusion: Tensor | None = None) -> Tensor:
        patches = F.pixel_unshuffle(image, self.stride)
        return self.judge(_stacked(patches, pose, occlusion), pose)


class ConfidenceDiscriminator(_Discriminator):
    """C: is each heatmap a confident peak? Sees the heatmaps alone.

    pose and occlusion heatmaps (B, J, h, h), occlusion None without that task -> logits (B, J), positive
    for real.
    """

    def __init__(self, joints: int = 14, features: Sequence[int] = (32, 64, 64), occlusion: bool = True):
        super().__init__(joints * (1 + occlusion), joints, features)

    def forward(self, pose: Tensor, occlusion: Tensor | None = None) -> Tensor:
        return self.judge(_stacked(pose, occlusion), pose)


def _stacked(*maps: Tensor | None) -> Tensor:
    return torch.cat([each for each in maps if each is not None], dim=1)
