"""The discriminators P and C: encoder-decoders that answer one value a joint (section 3.2)."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pipeline.layers import Hourglass, convolution, unnormalised


class _Discriminator(nn.Module):
    """Encoder-decoder with skip connections over maps (B, inputs, h, h), at half their resolution.

    The decoder ends in one map a joint: how real that joint would look here. It is read out where the
    joint's own heatmap lies, so the answer for a joint is about the place that it was given.
    """

    def __init__(self, inputs: int, joints: int, features: Sequence[int]):
        super().__init__()
        width = features[0]
        self.entry = convolution(inputs, width, 3, stride=2)
        self.body = nn.Sequential(unnormalised(width, width), Hourglass(features, unnormalised))
        self.maps = nn.Sequential(nn.ReLU(), convolution(width, joints, 1))

    def judge(self, x: Tensor, pose: Tensor) -> Tensor:
        """Logits (B, J) from features (B, width, h/2, h/2), read out under the pose heatmaps (B, J, h, h)."""
        maps = self.maps(self.body(x)).float()
        # The floor reads a blank heatmap as the mean of its map, and keeps the gradient finite.
        where = F.avg_pool2d(pose.float(), 2) + 1e-3
        return (maps * where).sum((-2, -1)) / where.sum((-2, -1))


class PoseDiscriminator(_Discriminator):
    """P: is each joint where a body in this image would have it? Conditional on the image.

    image (B, 3, S, S), normalised; pose and occlusion heatmaps (k B, J, h, h), k sets of them for the same
    images, occlusion None without that task; S = stride * h -> logits (k B, J), positive for real.
    """

    def __init__(
        self, joints: int = 14, features: Sequence[int] = (32, 64), stride: int = 4, occlusion: bool = True
    ):
        super().__init__(joints * (1 + occlusion), joints, features)
        width, patch = features[0], 2 * stride
        self.look = nn.Sequential(nn.Conv2d(3, width, patch, stride=patch), unnormalised(width, width))

    def forward(self, image: Tensor, pose: Tensor, occlusion: Tensor | None = None) -> Tensor:
        seen = self.look(image)  # once, for the real and the fake maps of an image
        sets = len(pose) // len(image)
        return self.judge(self.entry(_stacked(pose, occlusion)) + seen.repeat(sets, 1, 1, 1), pose)


class ConfidenceDiscriminator(_Discriminator):
    """C: is each heatmap a confident peak? Sees the heatmaps alone.

    pose and occlusion heatmaps (B, J, h, h), occlusion None without that task -> logits (B, J), positive
    for real.
    """

    def __init__(self, joints: int = 14, features: Sequence[int] = (32, 64), occlusion: bool = True):
        super().__init__(joints * (1 + occlusion), joints, features)

    def forward(self, pose: Tensor, occlusion: Tensor | None = None) -> Tensor:
        return self.judge(self.entry(_stacked(pose, occlusion)), pose)


def _stacked(pose: Tensor, occlusion: Tensor | None) -> Tensor:
    maps = pose if occlusion is None else torch.cat([pose, occlusion], dim=1)
    return maps.contiguous(memory_format=torch.channels_last)
