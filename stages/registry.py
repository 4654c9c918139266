"""What a run says of itself in MLflow: its description, and its generator among the registered models, one name a
data set, the best of them its champion."""

import base64
import hashlib
from io import BytesIO
from pathlib import Path

import numpy as np
import pandas as pd

from pipeline import figures, report
from pipeline.generator import Generator
from pipeline.tracking import Run

SERVING = Path(__file__).parents[1] / "pipeline" / "serving.py"
PACKAGES = (
    "mlflow", "numpy", "opencv-python-headless", "pillow", "pydantic", "pyyaml", "safetensors", "scipy",
    "simplejpeg", "torch", "tqdm",
)  # fmt: skip


def keep(run: Run, weights: Path, made_by: dict, measured: dict, originals: np.ndarray) -> None:
    """Log and register the weights, once a run; compared by the validation part's PCK@0.2.

    made_by: the settings in the weights; measured: metrics/validation.json; originals: of all crops.
    """
    model = run.model(SERVING, {"weights": weights}, [{"image": _example()}], PACKAGES)
    if model:
        name = f"adversarial-posenet-{made_by['data']['name']}"
        run.register(model, name, measured["pck_0.2"]["mean"] or 0.0, _protocol(made_by, originals))


def describe(run: Run, generator: Generator, made_by: dict, split: pd.DataFrame, results: dict) -> None:
    """Describe the run in Markdown: data, model, the results by part, and how to repeat it."""
    weights = sum(each.numel() for each in generator.parameters())
    run.describe(report.note(made_by, weights, split.part.value_counts(), results, run.origin))


def _protocol(made_by: dict, originals: np.ndarray) -> str:
    """A digest of what the score is of: the photographs of each part, their joints, and the people's boxes."""
    digest = hashlib.sha256(Path("data/split.csv").read_bytes())
    digest.update(np.ascontiguousarray(originals))
    digest.update(repr(made_by["cache"]["box"]).encode())
    return digest.hexdigest()[:16]


def _example() -> str:
    """A drawn person as JPEG in base64."""
    file = BytesIO()
    figures.draw(seed=0, index=0)[0].save(file, "JPEG")
    return base64.b64encode(file.getvalue()).decode()
