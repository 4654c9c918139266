"""The trained generator as an ONNX file that finds joints by itself.

    python -m pipeline export --onnx FILE

Input `images` (B, 3, S, S), float32, RGB in [0, 1]: a person's square box. Outputs `points` (B, 14,
2), px of the input, `scores` and `hidden` (B, 14), in [0, 1]; the flip test is included. The file
says the rest about itself in its metadata: the joints' names and the settings that made the
weights. `PoseEstimator.load` takes it too.
"""

import argparse
import json
import logging
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch
from torch import Tensor, nn

from pipeline import paths
from pipeline.commands.options import add_weights
from pipeline.data import storage
from pipeline.data.crops import cut_out
from pipeline.data.storage import DataError
from pipeline.errors import PipelineError
from pipeline.figures import drawn_people
from pipeline.files import written_whole
from pipeline.geometry import Geometry
from pipeline.networks.estimator import CropEstimator, inputs
from pipeline.photographs.onnx_file import INPUT, OUTPUTS
from pipeline.skeleton import JOINTS

TOLERANCE = 0.05  # px of the input, between the file's joints and PyTorch's
CHECKED = 32  # crops


class Exported(nn.Module):
    """Images in, joints out, with flip test: what is exported."""

    def __init__(self, estimator: CropEstimator):
        super().__init__()
        self.estimator, self.generator = estimator, estimator.generator

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return self.estimator.joints(images)


def export(estimator: CropEstimator, path: Path) -> None:
    """Write the ONNX file: any batch size, weights inside."""
    size = estimator.geometry.input_size
    # What the exporter says of itself, and of the libraries that it could do with.
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            Exported(estimator).eval(),
            (torch.rand(2, 3, size, size),),
            input_names=[INPUT],
            output_names=list(OUTPUTS),
            dynamic_shapes={INPUT: {0: torch.export.Dim("batch")}},
            dynamo=True,
            verbose=False,
        )
    assert program is not None  # which it is for dynamo=True alone
    model = program.model_proto
    facts = {
        "joints": json.dumps(JOINTS),
        "settings": json.dumps(estimator.settings, sort_keys=True),
    }
    onnx.helper.set_model_props(model, facts)
    onnx.checker.check_model(model, full_check=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(model.SerializeToString())


def samples(geometry: Geometry) -> tuple[Tensor, str]:
    """Images (CHECKED, 3, S, S) to compare on, and what they are.

    They are of data/cache where it fits, else drawn people.
    """
    if paths.CROPS.is_dir():
        try:
            crops = storage.load(paths.CROPS, geometry)
        except DataError:  # of another geometry
            pass
        else:
            indices = np.linspace(0, len(crops) - 1, CHECKED).astype(int)
            return inputs(crops, indices), f"{CHECKED} crops of {paths.CROPS}"
    drawn = [drawn_people.draw(0, index) for index in range(CHECKED)]
    boxes = np.stack([(joints.min(0), joints.max(0)) for _, joints, _ in drawn])
    crops = cut_out([np.asarray(picture) for picture, _, _ in drawn], boxes, geometry)
    return inputs(crops, np.arange(CHECKED)), f"{CHECKED} drawn people"


@torch.inference_mode()
def difference(estimator: CropEstimator, path: Path, images: Tensor) -> float:
    """The largest distance, px of the input, between the file's joints and PyTorch's."""
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    points, _, _ = session.run(None, {INPUT: images.numpy()})
    return float((estimator.joints(images)[0] - torch.from_numpy(points)).norm(dim=-1).max())


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What the command is told."""
    parser.add_argument("--onnx", type=Path, required=True, metavar="FILE", help="to write")
    add_weights(parser)


def run(options: argparse.Namespace) -> int:
    """Write the file, once it is shown to say what PyTorch says."""
    loaded = CropEstimator.load(options.weights)
    cpu = torch.device("cpu")  # which onnxruntime is compared on
    estimator = replace(loaded, generator=loaded.generator.to(cpu), device=cpu)
    images, source = samples(estimator.geometry)
    with written_whole(options.onnx) as beside:
        export(estimator, beside)
        off = difference(estimator, beside, images)
        if not off < TOLERANCE:
            raise PipelineError(
                f"{options.onnx} not written: its joints are up to {off:.3f} px from PyTorch's on"
                f" {source}"
            )
    print(f"{options.onnx}: its joints are within {off:.4f} px of PyTorch's on {source}")
    return 0
