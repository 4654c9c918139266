"""The trained generator as an ONNX file: joints of crops by onnxruntime, without PyTorch."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

from pipeline.data.crops import Crops, Predictions
from pipeline.errors import PipelineError
from pipeline.geometry import Geometry

INPUT, OUTPUTS = "images", ("points", "scores", "hidden")


class OnnxError(PipelineError):
    """A file is not a generator that this pipeline exported."""


class OnnxEstimator:
    """Joints of one person a crop, with flip test, on the CPU in fp32."""

    geometry: Geometry
    settings: Mapping[str, Any]  # the groups of params.yaml that made it

    def __init__(self, path: Path):
        """Raises OnnxError."""
        if not path.is_file():
            raise OnnxError(
                f"{path}: no such file; `python -m pipeline export --onnx {path}` makes it"
            )
        try:
            self.session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
            said = self.session.get_modelmeta().custom_metadata_map
            self.settings = json.loads(said["settings"])
            self.geometry = Geometry.of(self.settings["cache"])
        except Exception as error:  # noqa: BLE001  onnxruntime raises many of its own
            reason = str(error).partition("\n")[0]
            raise OnnxError(f"{path}: not a generator of this pipeline: {reason}") from None

    def predict(self, crops: Crops, indices: np.ndarray) -> Predictions:
        """Joints of some crops in one batch."""
        images = crops.inputs(indices).transpose(0, 3, 1, 2).astype(np.float32) / 255
        return crops.predictions(indices, *self.session.run(OUTPUTS, {INPUT: images}))
