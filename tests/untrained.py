"""Tiny weights that nobody trained, for tests of what is done with weights."""

from pathlib import Path

import torch

from pipeline.networks import checkpoint
from pipeline.networks.generator import Generator
from pipeline.settings import Cache, Model

CACHE = Cache(input_size=32, heatmap_size=8, sigma=1.0, box=1.25, margin=1.5)
MODEL = Model(
    encoder="hourglass",
    pretrained=False,
    block="basic",
    stem="patches",
    stacks=1,
    features=[8, 16],
    occlusion=True,
    reconstruction="cross_entropy",
)


def write(folder: Path, **changes) -> Path:
    """generator.safetensors in a folder, of MODEL with changes, as if it had been trained on
    LSPet."""
    torch.manual_seed(0)
    model = MODEL.model_copy(update=changes)
    generator = Generator(model, CACHE.geometry)
    generator(torch.randn(8, 3, 32, 32))  # statistics of its own in the normalisations
    path = folder / "generator.safetensors"
    made_by = {"data": {"name": "lspet"}, "model": model.model_dump(), "cache": CACHE.model_dump()}
    checkpoint.save(path, generator, made_by)
    return path
