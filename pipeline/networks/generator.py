"""The generator G: a stacked multi-task hourglass (section 3.1 of Adversarial PoseNet)."""

from math import pi

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pipeline.geometry import Geometry
from pipeline.networks.encoder import EncodedHourglass, Encoder
from pipeline.networks.layers import BLOCKS, Block, Hourglass, convolution
from pipeline.settings import Model
from pipeline.skeleton import JOINTS

HOURGLASS = "hourglass"  # the name of the paper's own encoder


class PaperStem(nn.Sequential):
    """Features X, (B, width, S/4, S/4), of an image (B, 3, S, S), as in the paper."""

    def __init__(self, width: int, block: Block):
        super().__init__(
            nn.Conv2d(3, width // 4, 7, stride=2, padding=3),
            block(width // 4, width // 2),
            nn.MaxPool2d(2),
            block(width // 2, width // 2),
            block(width // 2, width),
        )


class PatchStem(nn.Sequential):
    """Features X, (B, width, S/stride, S/stride), of an image (B, 3, S, S), from its patches.

    A deviation from the paper: nothing is computed at a higher resolution than the heatmaps'.
    """

    def __init__(self, width: int, stride: int, block: Block):
        super().__init__(
            nn.PixelUnshuffle(stride),
            convolution(3 * stride**2, width),
            block(width, width),
        )


def stem(model: Model, stride: int) -> nn.Module:
    """What makes features X, (B, width, S / stride, S / stride), of an image (B, 3, S, S)."""
    block, width = BLOCKS[model.block], model.features[0]
    if model.encoder != HOURGLASS:
        levels = len(model.features)
        encoder = Encoder(model.encoder, stride, levels, folded=model.pretrained)
        return EncodedHourglass(encoder, model.features, block)
    if model.stem == "patches":
        return PatchStem(width, stride, block)
    if stride != 4:
        raise ValueError(
            f"the paper's stem gives heatmaps of a quarter of the input's side, not 1/{stride}"
        )
    return PaperStem(width, block)


class Head(nn.Module):
    """One task of one stack: its features and, through a 1x1 convolution, its maps."""

    def __init__(self, width: int, joints: int, block: Block):
        super().__init__()
        self.features = block(width, width)
        self.maps = convolution(width, joints, 1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        features = self.features(x)
        return features, self.maps(features).float()


class Stack(nn.Module):
    """{Y_n, Z_n} = G_n(Y_n-1, Z_n-1, X): an hourglass and a head a task.

    The previous stack's features (B, T width, h, w), those of its tasks in one tensor, and X (B,
    width, h, w) -> its own features and what `Generator.heatmaps` makes maps of, (B, T J, h, w)
    float32.
    """

    def __init__(self, model: Model, joints: int, first: bool):
        super().__init__()
        block, width = BLOCKS[model.block], model.features[0]
        tasks = 2 if model.occlusion else 1
        self.merge = None if first else convolution(tasks * width, width, 1)
        # With an encoder X comes out of the first hourglass.
        done = first and model.encoder != HOURGLASS
        self.hourglass = nn.Identity() if done else Hourglass(model.features, block)
        self.heads = nn.ModuleList(Head(width, joints, block) for _ in range(tasks))

    def forward(self, previous: Tensor | None, x: Tensor) -> tuple[Tensor, Tensor]:
        if self.merge is not None:
            x = x + self.merge(previous)
        x = self.hourglass(x)
        features, maps = zip(*(head(x) for head in self.heads), strict=True)
        return torch.cat(features, dim=1), torch.cat(maps, dim=1)


class Generator(nn.Module):
    """G: image (B, 3, S, S), normalised -> a tensor (B, T J, h, h) a stack, h = S / stride, T = 2
    with `model.occlusion`.

    model.features: channels at the heatmaps' resolution and at each halving below it.
    model.block, model.stem: the paper's, or others that cost less time on a CPU.
    model.encoder: the paper's hourglass, or a backbone that is the first hourglass's way down.
    model.reconstruction: how the outputs become heatmaps; see `heatmaps`.
    """

    def __init__(self, model: Model, geometry: Geometry, joints: int = len(JOINTS)):
        """Nothing is loaded. Raises EncoderError, or ValueError for a stem that does not fit."""
        super().__init__()
        self.joints, self.reconstruction, self.sigma = joints, model.reconstruction, geometry.sigma
        self.stem = stem(model, geometry.stride)
        self.stacks = nn.ModuleList(Stack(model, joints, n == 0) for n in range(model.stacks))
        if model.occlusion and model.reconstruction == "cross_entropy":
            for name, parameter in self.named_parameters():
                if name.endswith(
                    "heads.1.maps.bias"
                ):  # few joints are hidden: start from "nowhere"
                    nn.init.constant_(parameter, -10.0)

    @property
    def encoder(self) -> Encoder | None:
        """The first hourglass's way down, where it is a backbone."""
        return self.stem.encoder if isinstance(self.stem, EncodedHourglass) else None

    def forward(self, image: Tensor) -> list[Tensor]:
        x = self.stem(image)
        features, outputs = None, []
        for stack in self.stacks:
            features, output = stack(features, x)
            outputs.append(output)
        return outputs

    def heatmaps(self, output: Tensor) -> Tensor:
        """Maps (B, T J, h, h), values in [0, 1], of one stack's output.

        mse: the output itself, clipped. cross_entropy: 2 pi sigma^2, the sum of a Gaussian peak,
        times a softmax over the positions, so that the peak is 1 where the network is sure; for
        occlusion over the positions and "nowhere", so that the map is empty where the joint is
        seen.
        """
        if self.reconstruction == "mse":
            return output.clamp(0, 1)
        peak = 2 * pi * self.sigma**2
        pose, *occlusion = output.split(self.joints, dim=1)
        maps = [position_log_softmax(pose).exp()]
        for each in occlusion:
            hidden = position_log_softmax(each, nowhere=True)[..., :-1].exp()
            maps.append(hidden.unflatten(-1, each.shape[-2:]))
        return (peak * torch.cat(maps, dim=1)).clamp(max=1)


def position_log_softmax(maps: Tensor, nowhere: bool = False) -> Tensor:
    """Log-probabilities over the positions of maps (B, J, h, w), in their shape.

    With `nowhere`, of shape (B, J, h * w + 1): the last is that of being at none of them, its logit
    0.
    """
    flat = F.pad(maps.flatten(-2), (0, 1)) if nowhere else maps.flatten(-2)
    log = flat.log_softmax(-1)
    return log if nowhere else log.unflatten(-1, maps.shape[-2:])
