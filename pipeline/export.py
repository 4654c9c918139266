"""The trained generator as an ONNX file that finds joints by itself.

    python -m pipeline.export --onnx FILE

Input `images` (B, 3, S, S), float32, RGB in [0, 1]: a person's square box. Outputs `points` (B, 14, 2), px of the
input, `scores` and `hidden` (B, 14), in [0, 1]; the flip test is included. The file says the rest about itself
in its metadata: the joints' names and the settings that made the weights.
"""

import argparse
import json
import os
import sys
import warnings
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch
from torch import Tensor, nn

from pipeline import PipelineError, cache, figures, inference, weights
from pipeline.generator import Generator
from pipeline.lspet import JOINTS
from pipeline.people import cut_out
from pipeline.settings import Cache

TOLERANCE = 0.05  # px of the input, between the file's joints and PyTorch's
CHECKED = 32  # crops


class Finder(nn.Module):
    """Images in, joints out, with flip test: what is exported."""

    def __init__(self, generator: Generator, geometry: Cache):
        super().__init__()
        self.generator, self.geometry = generator, geometry

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return inference.joints(*inference.maps(self.generator, images, flip=True), self.geometry)


def export(finder: Finder, path: Path, made_by: dict) -> None:
    """Write the ONNX file: any batch size, weights inside."""
    size = finder.geometry.input_size
    example = torch.rand(2, 3, size, size)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter's, about itself
        program = torch.onnx.export(
            finder.eval(),
            (example,),
            input_names=["images"],
            output_names=["points", "scores", "hidden"],
            dynamic_shapes={"images": {0: torch.export.Dim("batch")}},
            dynamo=True,
            verbose=False,
        )
    model = program.model_proto
    facts = {"joints": json.dumps(JOINTS), "settings": json.dumps(made_by, sort_keys=True)}
    onnx.helper.set_model_props(model, facts)
    onnx.checker.check_model(model, full_check=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(model.SerializeToString())


def samples(geometry: Cache) -> tuple[Tensor, str]:
    """Images (CHECKED, 3, S, S) to compare on, and what they are: of data/cache where it fits, else drawn people."""
    folder = Path("data/cache")
    if folder.is_dir():
        crops = cache.load(folder)
        if crops.images.shape[1] == cache.stored_size(geometry):
            some = np.linspace(0, len(crops.images) - 1, CHECKED).astype(int)
            return inference.inputs(crops, some, geometry), f"{CHECKED} crops of {folder}"
    drawn = [figures.draw(0, index) for index in range(CHECKED)]
    boxes = np.stack([(joints.min(0), joints.max(0)) for _, joints, _ in drawn])
    crops = cut_out([np.asarray(picture) for picture, _, _ in drawn], boxes, geometry)
    return inference.inputs(crops, np.arange(CHECKED), geometry), f"{CHECKED} drawn people"


@torch.inference_mode()
def difference(finder: Finder, path: Path, images: Tensor) -> float:
    """The largest distance, px of the input, between the file's joints and PyTorch's."""
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    points, _, _ = session.run(None, {"images": images.numpy()})
    return float((finder(images)[0] - torch.from_numpy(points)).norm(dim=-1).max())


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m pipeline.export",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--onnx", type=Path, required=True, metavar="FILE", help="to write")
    parser.add_argument(
        "--weights", type=Path, default=weights.PATH, metavar="FILE", help=f"default: {weights.PATH}"
    )
    options = parser.parse_args()
    generator, made_by = weights.load(options.weights)
    finder = Finder(generator, Cache(**made_by["cache"]))
    beside = options.onnx.with_name(options.onnx.name + ".part")
    export(finder, beside, made_by)
    images, source = samples(finder.geometry)
    off = difference(finder, beside, images)
    if not off < TOLERANCE:
        beside.unlink()
        raise PipelineError(
            f"{options.onnx} not written: its joints are up to {off:.3f} px from PyTorch's on {source}"
        )
    os.replace(beside, options.onnx)
    print(f"{options.onnx}: its joints are within {off:.4f} px of PyTorch's on {source}")


if __name__ == "__main__":
    try:
        main()
    except (PipelineError, OSError) as error:
        sys.exit(f"error: {error}")
