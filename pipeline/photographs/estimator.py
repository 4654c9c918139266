"""The trained model on whole photographs: in a given box, or in one found by a first look."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from tqdm import tqdm

from pipeline import paths
from pipeline.data.crops import Crops, Predictions, batches, cut_out
from pipeline.errors import PipelineError
from pipeline.geometry import Geometry
from pipeline.photographs.people import HIDDEN, Box, BoxError, Person
from pipeline.photographs.reading import PhotographError, read

BATCH = 32  # photographs a forward pass
PRECISIONS = ("auto", "bf16", "fp32")
Photograph = np.ndarray | Path | str  # pixels (H, W, 3) uint8, RGB, or a file


class Network(Protocol):
    """What finds the joints of one person a crop: `CropEstimator`, or `OnnxEstimator`."""

    @property
    def geometry(self) -> Geometry: ...

    @property
    def settings(self) -> Mapping[str, Any]: ...

    def predict(self, crops: Crops, indices: np.ndarray) -> Predictions: ...


@dataclass(frozen=True)
class PoseEstimator:
    """The trained model: people in photographs."""

    network: Network

    @classmethod
    def load(cls, path: Path | str = paths.WEIGHTS, precision: str = "auto") -> "PoseEstimator":
        """That of a file of weights (.safetensors; needs PyTorch) or of an exported one (.onnx;
        does not).

        precision: auto, the fastest that the hardware has; fp32; or bf16, not of an exported one.
        Raises PipelineError where the file is neither.
        """
        path = Path(path)
        if precision not in PRECISIONS:
            raise PipelineError(f"precision {precision!r}: expected {', '.join(PRECISIONS)}")
        if path.suffix == ".onnx":
            if precision == "bf16":
                raise PipelineError(f"{path}: an exported model computes in fp32 alone")
            from pipeline.photographs.onnx_file import OnnxEstimator

            return cls(OnnxEstimator(path))
        # Imported here: who has an exported model need not have PyTorch.
        try:
            from pipeline.networks.estimator import CropEstimator
        except ModuleNotFoundError as error:
            raise PipelineError(
                f"{path} needs {error.name}: run `pip install '.[train]'` in the repository, or"
                " load an exported .onnx"
            ) from None
        return cls(CropEstimator.load(path, precision))

    def find(
        self,
        images: Sequence[Photograph],
        boxes: Sequence[Box | Sequence[float] | None] | None = None,
    ) -> list[Person]:
        """The person in each of N photographs.

        boxes: x, y, width and height, px, tight around the person's joints; where it is None, two
        looks find one. Raises PhotographError and BoxError.
        """
        pixels = pixels_of(images)
        asked = [None] * len(pixels) if boxes is None else boxes
        if len(asked) != len(pixels):
            raise BoxError(f"{len(asked)} boxes of {len(pixels)} photographs: expected one each")
        given = [
            None if box is None else Box.of(box).check(image)
            for image, box in zip(pixels, asked, strict=True)
        ]
        people: dict[int, Person] = {}
        for known in (True, False):
            indices = [i for i, box in enumerate(given) if (box is not None) == known]
            if not indices:
                continue
            batch = [pixels[i] for i in indices]
            if known:
                corners = np.stack([box.corners for box in given if box is not None])
                predictions = self.predict(batch, corners)
            else:
                predictions, corners = self.predict_without_boxes(batch)
            for i, around, points, scores, hidden in zip(
                indices, corners, *predictions, strict=True
            ):
                height, width = pixels[i].shape[:2]
                box = given[i] or Box.around(around)
                people[i] = Person((width, height), box, known, points, scores, hidden > HIDDEN)
        return [people[i] for i in range(len(pixels))]

    def predict(self, images: Sequence[np.ndarray], boxes: np.ndarray) -> Predictions:
        """The joints of one person a photograph, in boxes (N, 2, 2), first and last corners."""
        crops = cut_out(images, boxes, self.network.geometry)
        indices = np.arange(len(crops))
        return Predictions.concatenated(
            [self.network.predict(crops, batch) for batch in batches(indices, BATCH)]
        )

    def predict_without_boxes(self, images: Sequence[np.ndarray]) -> tuple[Predictions, np.ndarray]:
        """The joints of one person a photograph whose place is not known, and the boxes (N, 2, 2)
        found.

        The first look is at the whole photograph, its longer side across the input; the second at
        the box of the joints found then.
        """
        last = np.array([image.shape[1::-1] for image in images]) - 1.0
        reach = last / self.network.geometry.box_scale  # which `cut_out` widens again
        whole = np.stack([last - reach, last + reach], axis=1) / 2
        first = self.predict(images, whole).points
        boxes = np.stack([first.min(axis=1), first.max(axis=1)], axis=1)
        return self.predict(images, boxes), boxes

    def predict_files(self, photographs: Sequence[Path], together: int = 50) -> Predictions:
        """Joints of one person in each photograph, by two looks; `together` of them in memory."""
        predictions = []
        with tqdm(total=len(photographs), desc="without boxes", unit=" photographs") as bar:
            for batch in batches(np.arange(len(photographs)), together):
                images = [read(photographs[i]) for i in batch]
                predictions.append(self.predict_without_boxes(images)[0])
                bar.update(len(batch))
        return Predictions.concatenated(predictions)


def pixels_of(images: Sequence[Photograph]) -> list[np.ndarray]:
    """Photographs as pixels (H, W, 3) uint8. Raises PhotographError, which names a file."""
    if isinstance(images, str | Path) or (isinstance(images, np.ndarray) and images.ndim < 4):
        raise PhotographError("expected a list of photographs; found a single one")
    pixels = []
    for image in images:
        if isinstance(image, np.ndarray):
            if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or not image.size:
                raise PhotographError(
                    f"pixels of shape {image.shape}, {image.dtype}: expected (height, width, 3),"
                    " uint8, RGB"
                )
            pixels.append(image)
        else:
            try:
                pixels.append(read(Path(image)))
            except PhotographError as error:
                raise PhotographError(f"{image}: {error}") from None
    return pixels
