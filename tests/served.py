"""A registered model that nobody trained, behind a real `mlflow models serve`."""

import base64
import subprocess
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import requests
from PIL import Image

import servers
import untrained
from conftest import ROOT
from pipeline.files import digest
from pipeline.networks import checkpoint
from pipeline.settings import load
from pipeline.tracking import registry
from pipeline.tracking.recording import training_run

NAME = "adversarial-posenet-lspet"
PEOPLE = np.zeros((3, 14, 2))


@contextmanager
def store(folder: Path) -> Iterator[Path]:
    """A store in a folder with one registered model; until the end, programs run in there."""
    with untrained.repository(folder), pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{folder / 'mlflow.db'}")
        keep(folder, 0.5)
        yield folder


def keep(folder: Path, score: float | None, originals: np.ndarray = PEOPLE) -> None:
    """Register the folder's model, which found this share of the joints."""
    settings, tags = load(ROOT / "params.yaml"), {"fingerprint": "a"}
    with training_run(settings, tags=tags, resumed=False) as run:
        measured = {"pck_0.2": {"mean": score}}
        path = folder / "generator.safetensors"
        registry.keep(run, path, checkpoint.read_settings(path), measured, originals)
        run.tag("model.sha256", digest(path))


def serving(store: Path) -> AbstractContextManager[tuple[str, subprocess.Popen]]:
    """The server of a store's champion: its address and its process."""
    words = ("models", "serve", "-m", f"models:/{NAME}@champion", "--env-manager", "local")
    return servers.running(*words, folder=store, log=store / "server.log", ready="/ping")


def encoded(image: Image.Image, kind: str = "PNG") -> str:
    """A photograph in base64."""
    file = BytesIO()
    image.save(file, kind)
    return base64.b64encode(file.getvalue()).decode()


def ask(server: str, *photographs: dict, timeout: float = 60) -> requests.Response:
    """What the server says of photographs."""
    return requests.post(f"{server}/invocations", json={"inputs": photographs}, timeout=timeout)
