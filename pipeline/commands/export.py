"""The trained networks as ONNX files: the joints of a person, and where people are.

    python -m pipeline export --onnx FILE

FILE: input `images` (B, 3, S, S), float32, RGB in [0, 1]: a person's square box. Outputs `points`
(B, 14, 2), px of the input, `scores` and `hidden` (B, 14), in [0, 1]; the flip test is included.
finder.onnx beside it: input `images` likewise, a whole picture in the upper left, its longer side S
px; outputs `centres` (B, S / 8, S / 8), in [0, 1], and `edges` (B, 4, S / 8, S / 8), how far left,
upper, right and lower edge of the person's box are from the cell, over S. The files say the rest in
their metadata: the joints' names, what the peaks are worth, and the settings that made the weights.
`PoseEstimator.load` takes FILE too.
"""

import argparse
import json
import logging
import warnings
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch
from torch import Tensor, nn

from pipeline import paths
from pipeline.commands.options import add_weights, local
from pipeline.data import storage
from pipeline.data.crops import cut_out
from pipeline.data.storage import DataError
from pipeline.errors import PipelineError
from pipeline.figures import drawn_people
from pipeline.files import written_whole
from pipeline.finding.estimator import PeopleFinder
from pipeline.finding.views import view
from pipeline.geometry import Geometry
from pipeline.networks.estimator import CropEstimator, inputs
from pipeline.networks.layers import normalise
from pipeline.photographs.estimator import PoseEstimator
from pipeline.photographs.judgement import Judgement
from pipeline.photographs.onnx_file import FINDER_OUTPUTS, INPUT, OUTPUTS, planes
from pipeline.skeleton import JOINTS

TOLERANCE = 0.05  # px of the input, between the file's joints, or edges, and PyTorch's
CHECKED = 32  # crops, and pictures


class Exported(nn.Module):
    """Images in, joints out, with flip test: what is exported."""

    def __init__(self, estimator: CropEstimator):
        super().__init__()
        self.estimator, self.generator = estimator, estimator.generator

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return self.estimator.joints(images)


class ExportedFinder(nn.Module):
    """Pictures in, maps out, as of `PeopleFinder.maps`."""

    def __init__(self, finder: PeopleFinder):
        super().__init__()
        self.finder = finder.finder

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        centres, edges = self.finder(normalise(images))
        return centres.squeeze(1).sigmoid(), edges


def export(estimator: CropEstimator, judgement: Judgement, path: Path) -> None:
    """Write the generator's ONNX file: any batch size, weights inside."""
    facts = {
        "joints": json.dumps(JOINTS),
        "judgement": json.dumps(asdict(judgement)),
        "settings": json.dumps(estimator.settings, sort_keys=True),
    }
    size = estimator.geometry.input_size
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(_exported(Exported(estimator), size, OUTPUTS, facts))


def export_finder(finder: PeopleFinder, path: Path) -> None:
    """Write the finder's ONNX file likewise."""
    facts = {"settings": json.dumps(finder.settings, sort_keys=True)}
    size = finder.input_size
    path.write_bytes(_exported(ExportedFinder(finder), size, FINDER_OUTPUTS, facts))


def _exported(module: nn.Module, size: int, outputs: Sequence[str], facts: dict[str, str]) -> bytes:
    """A network on images (B, 3, size, size) as an ONNX file's bytes, with facts about it."""
    # What the exporter says of itself, and of the libraries that it could do with.
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            module.eval(),
            (torch.rand(2, 3, size, size),),
            input_names=[INPUT],
            output_names=list(outputs),
            dynamic_shapes={INPUT: {0: torch.export.Dim("batch")}},
            dynamo=True,
            verbose=False,
        )
    assert program is not None  # which it is for dynamo=True alone
    model = program.model_proto
    onnx.helper.set_model_props(model, facts)
    onnx.checker.check_model(model, full_check=True)
    return model.SerializeToString()


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


@torch.inference_mode()
def finder_difference(finder: PeopleFinder, path: Path) -> float:
    """The largest distance, px of the input, between edges in the file's maps and in PyTorch's, or
    between their centres, times the side, on drawn people."""
    side = finder.input_size
    pictures = (drawn_people.draw(0, index)[0] for index in range(CHECKED))
    views = np.stack([view(np.asarray(picture), side) for picture in pictures])
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    found = session.run(FINDER_OUTPUTS, {INPUT: planes(views)})
    expected = finder.maps(views)
    return side * max(
        float(np.abs(one - other).max()) for one, other in zip(found, expected, strict=True)
    )


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What the command is told."""
    parser.add_argument("--onnx", type=local, required=True, metavar="FILE", help="to write")
    add_weights(parser)


def run(options: argparse.Namespace) -> int:
    """Write the files, once they are shown to say what PyTorch says."""
    beside = options.onnx.with_name(paths.ONNX_FINDER)
    if beside == options.onnx:
        raise PipelineError(f"--onnx {options.onnx}: that is the finder's name; take another")
    loaded = PoseEstimator.load(options.weights, "fp32")
    cpu = torch.device("cpu")  # which onnxruntime is compared on
    assert isinstance(loaded.network, CropEstimator) and isinstance(loaded.finder, PeopleFinder)
    generator, finder = loaded.network.generator.to(cpu), loaded.finder.finder.to(cpu)
    estimator = replace(loaded.network, generator=generator, device=cpu)
    people_finder = replace(loaded.finder, finder=finder, device=cpu)
    images, source = samples(estimator.geometry)
    with written_whole(options.onnx) as joints, written_whole(beside) as people:
        export(estimator, loaded.judgement, joints)
        export_finder(people_finder, people)
        off, finder_off = (
            difference(estimator, joints, images),
            finder_difference(people_finder, people),
        )
        for path, distance, kind in ((options.onnx, off, "joints"), (beside, finder_off, "boxes")):
            if not distance < TOLERANCE:
                raise PipelineError(
                    f"{path} not written: its {kind} are up to {distance:.3f} px from PyTorch's"
                )
    print(f"{options.onnx}: its joints are within {off:.4f} px of PyTorch's on {source}")
    print(f"{beside}: its boxes are within {finder_off:.4f} px of PyTorch's on drawn people")
    return 0
