"""The trained networks as ONNX files, by onnxruntime, without PyTorch: joints of crops, people in
whole pictures."""

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

from pipeline.data.crops import Crops, Predictions
from pipeline.errors import PipelineError, brief
from pipeline.geometry import Geometry
from pipeline.photographs.judgement import Judgement, JudgementError
from pipeline.skeleton import JOINTS

INPUT, OUTPUTS = "images", ("points", "scores", "hidden")
FINDER_OUTPUTS = ("centres", "edges")
FINDER_STRIDE = 8  # as of `finding.finder`, which needs PyTorch


class OnnxError(PipelineError):
    """A file is not a network that this pipeline exported."""


class OnnxEstimator:
    """Joints of one person a crop, with flip test, on the CPU in fp32; and what they are worth."""

    geometry: Geometry
    settings: Mapping[str, Any]  # the groups of params.yaml that made it
    judgement: Judgement

    def __init__(self, path: Path):
        """Raises OnnxError."""
        self.session, said = opened(path)
        with _known_as("generator", path):
            self.settings = json.loads(said["settings"])
            self.geometry = Geometry.of(self.settings["cache"])
            self.judgement = Judgement.of(json.loads(said["judgement"]))
            for name in ("box", "margin"):
                if not 1 <= self.settings["cache"][name] <= 3:
                    raise ValueError(f"its {name} is not from 1 to 3")
            shapes = ((len(JOINTS), 2), (len(JOINTS),), (len(JOINTS),))
            _check(self.session, self.geometry.input_size, OUTPUTS, shapes)

    def predict(self, crops: Crops, indices: np.ndarray) -> Predictions:
        """Joints of some crops in one batch."""
        images = planes(crops.inputs(indices))
        return crops.predictions(indices, *self.session.run(OUTPUTS, {INPUT: images}))


class OnnxFinder:
    """Where people are in whole pictures, on the CPU in fp32."""

    settings: Mapping[str, Any]  # the groups of params.yaml that made it
    input_size: int

    def __init__(self, path: Path):
        """Raises OnnxError."""
        self.session, said = opened(path)
        with _known_as("finder", path):
            self.settings = json.loads(said["settings"])
            self.input_size = self.settings["finder"]["input_size"]
            side = self.input_size // FINDER_STRIDE
            _check(self.session, self.input_size, FINDER_OUTPUTS, ((side, side), (4, side, side)))

    def maps(self, views: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Centres (B, h, h), in [0, 1], and edges (B, 4, h, h) of views (B, S, S, 3) uint8."""
        centres, edges = self.session.run(FINDER_OUTPUTS, {INPUT: planes(views)})
        return centres, edges


@contextmanager
def _known_as(network: str, path: Path) -> Iterator[None]:
    """Read what a file says of itself as that network's. Raises OnnxError where it is another's."""
    try:
        yield
    except (KeyError, TypeError, ValueError, RecursionError, JudgementError) as error:
        raise OnnxError(f"{path}: not a {network} of this pipeline: {brief(error)}") from None


def _check(
    session: onnxruntime.InferenceSession,
    side: int,
    outputs: Sequence[str],
    shapes: Sequence[tuple[int, ...]],
) -> None:
    """Try a network on two black pictures of that side. Raises ValueError where it takes something
    else, or gives other values than finite ones of these shapes a picture."""
    takes = [(each.name, each.type, each.shape[1:]) for each in session.get_inputs()]
    wanted = [(INPUT, "tensor(float)", [3, side, side])]
    if takes != wanted:
        raise ValueError(f"it takes {takes}; expected {wanted}")
    try:
        found = session.run(outputs, {INPUT: np.zeros((2, 3, side, side), np.float32)})
    except Exception as error:  # noqa: BLE001  onnxruntime raises many of its own
        raise ValueError(f"it does not run: {error}") from None
    for name, values, shape in zip(outputs, found, shapes, strict=True):
        if np.shape(values) != (2, *shape) or not np.isfinite(values).all():
            raise ValueError(f"its {name} are not finite numbers of shape {(2, *shape)}")


def opened(path: Path) -> tuple[onnxruntime.InferenceSession, Mapping[str, str]]:
    """An exported network, and what its file says of itself. Raises OnnxError."""
    if not path.is_file():
        raise OnnxError(
            f"{path}: no such file; `python -m pipeline export --onnx FILE` makes the generator's"
            " and, beside it, the finder's"
        )
    try:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = cores()
        session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        return session, session.get_modelmeta().custom_metadata_map
    except Exception as error:  # noqa: BLE001  onnxruntime raises many of its own
        raise OnnxError(f"{path}: not a network of this pipeline: {brief(error)}") from None


def cores() -> int:
    """How many this process may use: onnxruntime by itself takes all that the machine has."""
    if hasattr(os, "sched_getaffinity"):  # macOS lacks it
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def planes(pixels: np.ndarray) -> np.ndarray:
    """Images (B, 3, S, S) float32, in [0, 1], of pixels (B, S, S, 3) uint8."""
    return pixels.transpose(0, 3, 1, 2).astype(np.float32) / 255
