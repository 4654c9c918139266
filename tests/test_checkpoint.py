"""The file of weights: what goes in comes out, equal content is equal bytes, and bad files are told
apart."""

import hashlib
import json
import struct

import pytest
import torch
from safetensors.torch import save_file

import untrained
from conftest import ROOT
from pipeline import paths
from pipeline.networks import checkpoint
from pipeline.networks.generator import Generator

CACHE = untrained.CACHE.model_copy(update={"sigma": 1.5})
MODEL = untrained.MODEL.model_copy(update={"block": "bottleneck", "stacks": 2})
SETTINGS = {"model": MODEL.model_dump(), "cache": CACHE.model_dump(), "data": {"name": "figures"}}

OLDER = {"encoder", "pretrained"}  # what version 0.2 did not know


@pytest.fixture
def generator():
    """With statistics of its own in the normalisations."""
    torch.manual_seed(0)
    made = Generator(MODEL, CACHE.geometry).to(memory_format=torch.channels_last)
    made(torch.randn(4, 3, 32, 32))
    return made.eval()


@pytest.fixture
def path(tmp_path, generator):
    path = tmp_path / "models" / "generator.safetensors"
    checkpoint.save(path, generator, SETTINGS)
    return path


def header(path) -> dict:
    """The JSON in front of a safetensors file, read without the library."""
    content = path.read_bytes()
    (length,) = struct.unpack("<Q", content[:8])
    return json.loads(content[8 : 8 + length])


def test_what_is_loaded_is_what_was_saved(path, generator):
    loaded, geometry, settings = checkpoint.load(path)
    image = torch.randn(2, 3, 32, 32)
    assert geometry == CACHE.geometry
    assert settings == SETTINGS and not loaded.training and loaded.sigma == CACHE.sigma
    with torch.inference_mode():
        for before, after in zip(generator(image), loaded(image), strict=True):
            # Where the numbers lie in memory may change how their sums are rounded, nothing else.
            torch.testing.assert_close(before, after, rtol=1e-4, atol=1e-5)
            torch.testing.assert_close(
                generator.heatmaps(before), loaded.heatmaps(after), rtol=1e-4, atol=1e-5
            )
    for name, tensor in generator.state_dict().items():
        assert torch.equal(tensor, loaded.state_dict()[name]), name


def test_equal_weights_and_settings_give_equal_bytes_whatever_the_order_of_the_keys(
    path, generator, tmp_path
):
    reordered = {name: dict(reversed(group.items())) for name, group in reversed(SETTINGS.items())}
    other = tmp_path / "other.safetensors"
    checkpoint.save(other, generator.to(memory_format=torch.contiguous_format), reordered)
    assert other.read_bytes() == path.read_bytes()


def test_other_weights_or_settings_give_other_bytes(path, generator, tmp_path):
    before, other = path.read_bytes(), tmp_path / "other.safetensors"
    checkpoint.save(other, generator, SETTINGS | {"data": {"name": "lspet"}})
    assert other.read_bytes() != before
    with torch.no_grad():
        generator.stacks[0].heads[0].maps.bias[0] += 1
    checkpoint.save(other, generator, SETTINGS)
    assert other.read_bytes() != before


def test_weights_from_before_there_were_encoders_are_read(path, generator, tmp_path):
    model = {name: value for name, value in SETTINGS["model"].items() if name not in OLDER}
    checkpoint.save(tmp_path / "old.safetensors", generator, SETTINGS | {"model": model})
    loaded, *_ = checkpoint.load(tmp_path / "old.safetensors")
    assert loaded.encoder is None and loaded.state_dict().keys() == generator.state_dict().keys()


def test_the_settings_are_one_sorted_metadata_value(path):
    assert header(path)["__metadata__"] == {"settings": json.dumps(SETTINGS, sort_keys=True)}


def test_the_settings_are_read_without_the_weights(path):
    assert checkpoint.read_settings(path) == SETTINGS


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_refused(path, generator, value):
    with torch.no_grad():
        generator.stacks[0].heads[0].maps.bias[3] = value
    checkpoint.save(path, generator, SETTINGS)
    with pytest.raises(checkpoint.WeightsError, match=r"\.safetensors: .*not finite"):
        checkpoint.load(path)


@pytest.mark.parametrize("read", [checkpoint.read_settings, checkpoint.load])
def test_a_missing_file_is_answered_with_the_command_that_brings_it(tmp_path, read):
    path = tmp_path / "generator.safetensors"
    with pytest.raises(checkpoint.WeightsError) as error:
        read(path)
    said = str(error.value)
    assert said.startswith(f"{path}: no weights there; the committed ones lie in pretrained/")
    assert f"dvc pull {paths.WEIGHTS} {paths.FINDER}" in said


@pytest.mark.parametrize("read", [checkpoint.read_settings, checkpoint.load])
@pytest.mark.parametrize(
    "case", ["garbage", "empty", "cut short", "of another program", "of other metadata"]
)
def test_a_file_that_is_not_of_this_pipeline_is_named(path, read, case):
    if case == "garbage":
        path.write_bytes(bytes(range(256)) * 10)
    elif case == "empty":
        path.write_bytes(b"")
    elif case == "cut short":
        path.write_bytes(path.read_bytes()[:-1])
    else:
        metadata = {"format": "pt"} if case == "of other metadata" else None
        save_file({"weight": torch.zeros(2)}, path, metadata=metadata)
    with pytest.raises(checkpoint.WeightsError, match="not weights of this pipeline") as error:
        read(path)
    assert str(path) in str(error.value)


HUGE = {"features": [4096] * 6, "stacks": 16}  # of which no memory holds the weights


@pytest.mark.parametrize(
    "said",
    [
        *("{}", '{"model": {}, "cache": {}}', "3", json.dumps(SETTINGS), "[" * 5000, "x" * 5000),
        json.dumps(SETTINGS | {"model": SETTINGS["model"] | {"encoder": "none_that_timm_knows"}}),
        json.dumps(SETTINGS | {"model": SETTINGS["model"] | HUGE}),
    ],
    ids=["empty", "empty groups", "3", "other weights", "deep", "text", "no backbone", "huge"],
)
def test_weights_of_another_version_are_refused_in_one_sentence(said, tmp_path):
    other = tmp_path / "other.safetensors"
    save_file({"w": torch.zeros(2)}, other, metadata={"settings": said})
    with pytest.raises(checkpoint.WeightsError, match="other.safetensors: [^\n]*$") as error:
        checkpoint.load(other)
    assert len(str(error.value)) < 600


def test_settings_that_ask_for_far_more_weights_than_there_are_do_not_fill_the_memory(tmp_path):
    other = tmp_path / "other.safetensors"
    settings = SETTINGS | {"model": SETTINGS["model"] | HUGE}
    save_file({"w": torch.zeros(2)}, other, metadata={"settings": json.dumps(settings)})
    with pytest.raises(checkpoint.WeightsError, match="ask for far more weights than it has"):
        checkpoint.load(other)


# Weights to begin with

NOTHING = ROOT / "examples/nothing.safetensors"


def test_a_network_begins_with_the_weights_of_a_file(path, generator):
    torch.manual_seed(1)
    other = Generator(MODEL, CACHE.geometry)
    checkpoint.begin(other, path, {"model": MODEL.model_dump()})
    assert other.training
    for name, tensor in generator.state_dict().items():
        assert torch.equal(tensor, other.state_dict()[name]), name


def test_weights_to_begin_with_are_known_by_their_digest(path):
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    known = {"file": "generator.safetensors", "sha256": sha256, "data": "figures"}
    assert checkpoint.origin(path) == known
    assert checkpoint.origin(NOTHING) == {}


@pytest.mark.parametrize(
    "changes, said",
    [
        ({"features": [16, 24]}, r"model.features = \[8, 16\], here \[16, 24\]"),
        ({"stacks": 1}, "model.stacks = 2, here 1"),
    ],
)
def test_weights_of_another_network_are_refused_and_the_difference_is_named(path, changes, said):
    model = MODEL.model_copy(update=changes)
    other = Generator(model, CACHE.geometry)
    before = {name: tensor.clone() for name, tensor in other.state_dict().items()}
    with pytest.raises(checkpoint.WeightsError, match=f"weights of another network.*{said}") as it:
        checkpoint.begin(other, path, {"model": model.model_dump()})
    assert len(str(it.value).splitlines()) == 1
    assert all(torch.equal(tensor, before[name]) for name, tensor in other.state_dict().items())


def test_weights_that_are_no_numbers_are_no_beginning(path, generator):
    next(iter(generator.parameters())).data.fill_(float("nan"))
    checkpoint.save(path, generator, SETTINGS)
    with pytest.raises(checkpoint.WeightsError, match="not finite"):
        checkpoint.begin(Generator(MODEL, CACHE.geometry), path, {"model": MODEL.model_dump()})
