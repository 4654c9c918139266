"""Tiny weights that nobody trained, and all that belongs to them, for tests of what is done with
them."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from conftest import ROOT
from pipeline.finding.finder import Finder
from pipeline.judging.fit import UNJUDGED
from pipeline.networks import checkpoint
from pipeline.networks.generator import Generator
from pipeline.settings import Cache, Model
from pipeline.settings import Finder as FinderSettings

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
FINDER = FinderSettings(
    start="nothing",
    encoder="tf_efficientnet_lite0",
    pretrained=False,
    features=[8, 8],
    input_size=64,
    batch=4,
    steps=2,
    learning_rate=0.001,
    encoder_rate=0.3,
    encoder_frozen=1,
    edges=2.0,
    weight_decay=0.01,
    clip=5.0,
    warmup=0,
    ema=0.5,
    precision="fp32",
    seed=0,
    log_every=1,
)
# Whoever is found is told of: what nobody has trained is sure of nothing.
JUDGEMENT = replace(UNJUDGED, centre=0.5, joints=0.5, hidden=0.05)


@contextmanager
def repository(folder: Path) -> Iterator[None]:
    """Until the end the current folder is this empty one, with what runs are tracked by, untrained
    networks, and a store of its own."""
    (folder / "data").mkdir()
    shutil.copy(ROOT / "params.yaml", folder)
    (folder / "data/split.csv").write_text("image,group,part\n")
    with pytest.MonkeyPatch.context() as patch:
        for name in ("MLFLOW_TRACKING_URI", "DVC_ROOT", "DVC_EXP_NAME"):
            patch.delenv(name, raising=False)
        patch.setenv("MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL", "60")
        patch.chdir(folder)
        write(folder)
        write_finder(folder)
        yield


def write(folder: Path, **changes) -> Path:
    """generator.safetensors in a folder, of MODEL with changes, as if it had been trained on
    LSPet; beside it judgement.json, and finder.safetensors, which finds somebody everywhere."""
    torch.manual_seed(0)
    model = MODEL.model_copy(update=changes)
    generator = Generator(model, CACHE.geometry)
    generator(torch.randn(8, 3, 32, 32))  # statistics of its own in the normalisations
    path = folder / "generator.safetensors"
    made_by = {"data": {"name": "lspet"}, "model": model.model_dump(), "cache": CACHE.model_dump()}
    checkpoint.save(path, generator, made_by)
    finder = Finder(FINDER).eval()
    with torch.no_grad():
        finder.head[-1].bias[:1] = 0.0  # peaks of a half
    _save_finder(folder, finder)
    JUDGEMENT.save(folder / "judgement.json")
    return path


def write_finder(folder: Path) -> None:
    """finder.safetensors in a folder, in place of the one that finds somebody everywhere: of a few
    people a photograph none is as sure as another."""
    torch.manual_seed(2)
    finder = Finder(FINDER)
    with torch.no_grad():
        finder.head[-1].weight[:1].normal_()
        finder.head[-1].bias[:1] = 0.0
    _save_finder(folder, finder)


def _save_finder(folder: Path, finder: Finder) -> None:
    made_by = {"data": {"name": "lspet"}, "finder": FINDER.model_dump()}
    checkpoint.save(folder / "finder.safetensors", finder, made_by)
