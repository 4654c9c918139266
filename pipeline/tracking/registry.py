"""What a run says of itself in MLflow: its description, and its generator among the registered
models, one name a data set, the best of them its champion."""

import base64
import hashlib
from collections.abc import Mapping
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from pipeline import paths
from pipeline.data.storage import SUMS
from pipeline.evaluation.results import headline
from pipeline.figures import drawn_people
from pipeline.networks.estimator import CropEstimator
from pipeline.settings import flat
from pipeline.tracking import pages, report
from pipeline.tracking.run import Run, named

SERVING = Path(__file__).parents[1] / "commands" / "serving.py"
PACKAGES = (  # that a served model needs
    "array-api-compat", "mlflow", "numpy", "opencv-python-headless", "pillow", "pillow_heif",
    "pooch", "pydantic", "requests", "ruamel.yaml", "safetensors", "simplejpeg", "timm", "torch",
    "tqdm",
)  # fmt: skip


def keep(
    run: Run, weights: Path, settings: Mapping, measured: Mapping, originals: np.ndarray
) -> None:
    """Log and register the generator's weights, with the finder and the judgement beside them, once
    a run; compared by the validation part's PCK@0.2.

    settings: the groups in the weights; measured: metrics/validation.json; originals: of all crops.
    """
    data = settings["data"]["name"]
    beside = {"finder": paths.FINDER, "judgement": paths.JUDGEMENT}
    files = {"weights": weights} | {k: weights.with_name(v.name) for k, v in beside.items()}
    registered = {
        "name": pages.experiment(data, pages.GENERATOR),
        "score": measured["pck_0.2"]["mean"] or 0.0,
        "protocol": _protocol(settings, originals),
    }
    params = {name: str(value) for name, value in flat(settings)}
    run.model(SERVING, files, [{"image": _example()}], PACKAGES, registered, params)


def describe(
    run: Run, estimator: CropEstimator, split: pd.DataFrame, results: Mapping[str, Any]
) -> None:
    """Describe the run in Markdown, and its model where it has one: data, network, the results by
    part, and how to repeat it."""
    settings = estimator.settings
    weights = sum(each.numel() for each in estimator.generator.parameters())
    sizes = split.part.value_counts().to_dict()
    note = report.note(settings, weights, sizes, results, run.source)
    run.describe(note)
    data = settings["data"]["name"]
    name = pages.experiment(data, pages.GENERATOR)
    measured = [
        {
            "data": f"{data}-{part}",
            "digest": _photographs(split, part),
            "source": str(paths.SPLIT),
            "context": part,
            "metrics": named(part, headline(of_part)),
        }
        for part, of_part in results.items()
    ]
    shown = pages.shown(data)
    about = pages.noted("model", name=name, data=shown)
    card = pages.noted("version", data=shown, short=report.short(results), note=note)
    run.card(about, card, settings["train"]["steps"], measured)


def _protocol(settings: Mapping, originals: np.ndarray) -> str:
    """Digest of what is scored: the photographs of each part, their joints, the people's boxes."""
    digest = hashlib.sha256(paths.SPLIT.read_bytes())
    digest.update(np.ascontiguousarray(originals).data)
    digest.update(repr(settings["cache"]["box"]).encode())
    return digest.hexdigest()[:16]


def _photographs(split: pd.DataFrame, part: str) -> str:
    """Digest of a part: which photographs, of which data."""
    digest = hashlib.sha256(split[split.part == part].to_csv(index=False).encode())
    sums = paths.CROPS / SUMS
    digest.update(sums.read_bytes() if sums.is_file() else b"")
    return digest.hexdigest()[:32]


def _example() -> str:
    """A drawn person as JPEG in base64."""
    file = BytesIO()
    drawn_people.draw(seed=0, index=0)[0].save(file, "JPEG")
    return base64.b64encode(file.getvalue()).decode()
