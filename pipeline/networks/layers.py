"""Building blocks of the three networks."""

from collections.abc import Callable, Sequence
from itertools import pairwise

from torch import Tensor, nn
from torch.nn import functional as F

Block = Callable[[int, int], nn.Module]  # (inputs, outputs) -> a module that keeps height and width
MEAN, SCALE = 0.45, 0.25  # of the values of a photograph in [0, 1]


def normalise(images: Tensor) -> Tensor:
    """A network's input of images in [0, 1]."""
    return (images - MEAN) / SCALE


def convolution(inputs: int, outputs: int, kernel: int = 3, stride: int = 1) -> nn.Conv2d:
    """A convolution that keeps the size at stride 1."""
    return nn.Conv2d(inputs, outputs, kernel, stride, padding=kernel // 2)


class Residual(nn.Module):
    """A few convolutions and a skip: (B, inputs, H, W) -> (B, outputs, H, W).

    Normalisation and ReLU come before each convolution (K. He et al., "Identity Mappings in Deep
    Residual Networks", ECCV 2016).
    """

    def __init__(
        self, inputs: int, outputs: int, kernels: Sequence[int], inner: int, normalise: bool = True
    ):
        super().__init__()
        widths = [inputs, *[inner] * (len(kernels) - 1), outputs]
        steps: list[nn.Module] = []
        for kernel, (width, wider) in zip(kernels, pairwise(widths), strict=True):
            steps += [nn.BatchNorm2d(width)] if normalise else []
            steps += [nn.ReLU(), convolution(width, wider, kernel)]
        self.branch = nn.Sequential(*steps)
        self.skip = nn.Identity() if inputs == outputs else convolution(inputs, outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.skip(x) + self.branch(x)


class Separable(nn.Module):
    """One 5x5 convolution a channel and one 1x1 over the channels, with a skip: (B, inputs, H, W)
    -> (B, outputs, H, W)."""

    def __init__(self, inputs: int, outputs: int):
        super().__init__()
        self.branch = nn.Sequential(
            nn.Conv2d(inputs, inputs, 5, padding=2, groups=inputs, bias=False),
            nn.BatchNorm2d(inputs),
            nn.ReLU(),
            convolution(inputs, outputs, 1),
        )
        self.skip = nn.Identity() if inputs == outputs else convolution(inputs, outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.skip(x) + self.branch(x)


def bottleneck(inputs: int, outputs: int) -> Residual:
    """The paper's block, of A. Newell et al., ECCV 2016: 1x1 to half the width, 3x3, 1x1 back."""
    return Residual(inputs, outputs, kernels=(1, 3, 1), inner=outputs // 2)


def basic(inputs: int, outputs: int) -> Residual:
    """Two 3x3 convolutions: more arithmetic a memory access, so faster for its cost on a CPU."""
    return Residual(inputs, outputs, kernels=(3, 3), inner=outputs)


def unnormalised(inputs: int, outputs: int) -> Residual:
    """The discriminators' block: they see real and fake maps in one batch and fake ones alone in
    the next, whose statistics differ, so they use none."""
    return Residual(inputs, outputs, kernels=(3, 3), inner=outputs, normalise=False)


def separable(inputs: int, outputs: int) -> nn.Module:
    """A 5x5 convolution a channel, then a 1x1 one over the channels: a tenth of `basic`'s
    arithmetic (M. Sandler et al., "MobileNetV2", CVPR 2018)."""
    return Separable(inputs, outputs)


BLOCKS: dict[str, Block] = {"bottleneck": bottleneck, "basic": basic, "separable": separable}


class Hourglass(nn.Module):
    """Encoder and decoder, a skip at each resolution: (B, features[0], H, W) -> the same shape."""

    def __init__(self, features: Sequence[int], block: Block):
        super().__init__()
        width, below, *deeper = features
        self.skip = block(width, width)
        self.down = block(width, below)
        self.inner = Hourglass(features[1:], block) if deeper else block(below, below)
        self.up = block(below, width)

    def forward(self, x: Tensor) -> Tensor:
        below = self.up(self.inner(self.down(F.max_pool2d(x, 2))))
        return self.skip(x) + F.interpolate(below, scale_factor=2, mode="nearest")
