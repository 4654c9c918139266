"""The discriminators P and C: encoder-decoders that answer one value a joint (section 3.2)."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pipeline.networks.layers import Hourglass, convolution, unnormalised


class _Discriminator(nn.Module):
    """Encoder-decoder with skip connections over maps (B, T J, h, h), at half their resolution.

    The decoder ends in one map a joint: how real that joint would look here. It is read out where
    the joint's own heatmap lies, so the answer for a joint is about the place that it was given.
    """

    def __init__(self, features: Sequence[int], occlusion: bool, joints: int):
        super().__init__()
        width, tasks = features[0], 2 if occlusion else 1
        self.joints = joints
        self.entry = convolution(tasks * joints, width, 3, stride=2)
        self.body = nn.Sequential(unnormalised(width, width), Hourglass(features, unnormalised))
        self.maps = nn.Sequential(nn.ReLU(), convolution(width, joints, 1))

    def enter(self, maps: Tensor) -> Tensor:
        """Features (B, width, h/2, h/2) of maps (B, T J, h, h)."""
        return self.entry(maps.contiguous(memory_format=torch.channels_last))

    def judge(self, x: Tensor, maps: Tensor) -> Tensor:
        """Logits (B, J) of features (B, width, h/2, h/2), read out under the pose in the maps."""
        verdicts = self.maps(self.body(x)).float()
        # The floor reads a blank heatmap as the mean of its map, and keeps the gradient finite.
        where = F.avg_pool2d(maps[:, : self.joints].float(), 2) + 1e-3
        return (verdicts * where).sum((-2, -1)) / where.sum((-2, -1))


class PoseDiscriminator(_Discriminator):
    """P: is each joint where a body in this image would have it? Conditional on the image.

    image (B, 3, S, S), normalised; maps (k B, T J, h, h), k sets of them for the same images, S =
    stride * h -> logits (k B, J), positive for real.
    """

    def __init__(
        self,
        features: Sequence[int] = (32, 64),
        stride: int = 4,
        occlusion: bool = True,
        joints: int = 14,
    ):
        super().__init__(features, occlusion, joints)
        width, patch = features[0], 2 * stride
        self.eye = nn.Sequential(
            nn.Conv2d(3, width, patch, stride=patch), unnormalised(width, width)
        )

    def forward(self, image: Tensor, maps: Tensor) -> Tensor:
        context = self.eye(image)  # once, for the real and the fake maps of an image
        sets = len(maps) // len(image)
        return self.judge(self.enter(maps) + context.repeat(sets, 1, 1, 1), maps)


class ConfidenceDiscriminator(_Discriminator):
    """C: is each heatmap a confident peak? Sees the heatmaps alone.

    maps (B, T J, h, h) -> logits (B, J), positive for real.
    """

    def __init__(
        self, features: Sequence[int] = (32, 64), occlusion: bool = True, joints: int = 14
    ):
        super().__init__(features, occlusion, joints)

    def forward(self, maps: Tensor) -> Tensor:
        return self.judge(self.enter(maps), maps)
