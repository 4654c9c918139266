"""The trained model on whole photographs: everybody in them, or those in given boxes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np

from pipeline import paths
from pipeline.data.crops import Crops, Predictions, batches, cut_out
from pipeline.errors import PipelineError
from pipeline.finding.boxes import Found, refined
from pipeline.finding.views import Maps, find
from pipeline.geometry import Geometry
from pipeline.photographs.fetched import located
from pipeline.photographs.judgement import Judgement
from pipeline.photographs.people import Box, BoxError, Person
from pipeline.reading import PhotographError, read

BATCH = 32  # people, or photographs, a forward pass
ALIKE = 0.6  # of two people's joints, above which they are one
NEARNESS = 0.1  # distance of two joints, in the person's sides, at which they are 0.6 alike
PRECISIONS = ("auto", "bf16", "fp32")
Photograph = np.ndarray | Path | str  # pixels (H, W, 3) uint8, RGB, or a file
Boxes = Sequence[Box | Sequence[float]]  # of the people in a photograph


class Network(Protocol):
    """What finds the joints of one person a crop: `CropEstimator`, or `OnnxEstimator`."""

    @property
    def geometry(self) -> Geometry: ...

    @property
    def settings(self) -> Mapping[str, Any]: ...

    def predict(self, crops: Crops, indices: np.ndarray) -> Predictions: ...


class Candidates(NamedTuple):
    """Boxes in a photograph that may be people's, and the joints in them; best first."""

    boxes: np.ndarray  # (K, 2, 2), first and last corner, px, as of `boxes.refined`
    centres: np.ndarray  # (K,), the finder's peaks, in [0, 1]
    predictions: Predictions  # of K people
    scores: np.ndarray  # (K,), in [0, 1], as of `Judgement.score`


@dataclass(frozen=True)
class PoseEstimator:
    """The trained model: people in photographs.

    finder: finds them where no boxes are given; None where they always are.
    """

    network: Network
    judgement: Judgement
    finder: Maps | None = None

    @classmethod
    def load(cls, path: Path | str = paths.WEIGHTS, precision: str = "auto") -> "PoseEstimator":
        """That of a file of weights (.safetensors; needs PyTorch) or of an exported one (.onnx;
        does not), and of the finder and the judgement that lie beside it. An address, as of
        `fetched`, is fetched first.

        precision: auto, the fastest that the hardware has; fp32; or bf16, not of an exported one.
        Raises PipelineError where one of the files is missing or another's.
        """
        if precision not in PRECISIONS:
            raise PipelineError(f"precision {precision!r}: expected {', '.join(PRECISIONS)}")
        path = located(str(path))
        if path.suffix == ".onnx":
            if precision == "bf16":
                raise PipelineError(f"{path}: an exported model computes in fp32 alone")
            from pipeline.photographs.onnx_file import OnnxEstimator, OnnxFinder

            network = OnnxEstimator(path)
            return cls(network, network.judgement, OnnxFinder(path.with_name(paths.ONNX_FINDER)))
        # Imported here: who has an exported model need not have PyTorch.
        try:
            from pipeline.finding.estimator import PeopleFinder
            from pipeline.networks.estimator import CropEstimator
        except ModuleNotFoundError as error:
            raise PipelineError(
                f"{path} needs {error.name}: run `pip install '.[train]'` in the repository, or"
                " load an exported .onnx"
            ) from None
        return cls(
            CropEstimator.load(path, precision),
            Judgement.load(path.with_name(paths.JUDGEMENT.name)),
            PeopleFinder.load(path.with_name(paths.FINDER.name), precision),
        )

    def find(
        self,
        images: Sequence[Photograph],
        boxes: Sequence[Boxes | None] | None = None,
        least: float | None = None,
    ) -> list[list[Person]]:
        """The people in each of N photographs, the surest first, or in the order of given boxes.

        boxes: those of the people in each photograph, x, y, width and height, px, around their
        joints; where it is None, people are looked for. least: the score below which somebody who
        is found is left out; None: as was best on the validation part. Raises PhotographError and
        BoxError.
        """
        pixels = pixels_of(images)
        asked = [None] * len(pixels) if boxes is None else boxes
        if len(asked) != len(pixels):
            raise BoxError(f"boxes of {len(asked)} of {len(pixels)} photographs: expected each's")
        given = [
            None if of_one is None else [Box.of(box).check(image) for box in listed(of_one)]
            for image, of_one in zip(pixels, asked, strict=True)
        ]
        least = self.judgement.least if least is None else least
        unknown = [i for i, of_one in enumerate(given) if of_one is None]
        people: list[list[Person]] = [[] for _ in pixels]
        for i, found in zip(unknown, self.candidates([pixels[i] for i in unknown]), strict=True):
            people[i] = [
                self._person(pixels[i], Box.around(box), joints, score)
                for box, joints, score in zip(
                    found.boxes, found.predictions.each(), found.scores.tolist(), strict=True
                )
                if score >= least
            ]
        known = [(i, box) for i, of_one in enumerate(given) for box in of_one or ()]
        corners = np.array([box.corners for _, box in known]).reshape(-1, 2, 2)
        looked_at = self.predict([pixels[i] for i, _ in known], corners)
        for (i, box), joints in zip(known, looked_at.each(), strict=True):
            people[i].append(self._person(pixels[i], box, joints, None))
        return people

    def candidates(self, images: Sequence[np.ndarray]) -> list[Candidates]:
        """Whoever may be in each of N photographs (H, W, 3) uint8, each person once."""
        if not images:
            return []
        if self.finder is None:
            raise PipelineError("a model without finder: expected the boxes of the people")
        found: list[Found] = []
        for batch in batches(np.arange(len(images)), BATCH):
            found += find(self.finder, [images[i] for i in batch])
        counts = [len(each.scores) for each in found]
        within = np.repeat(np.arange(len(images)), counts).tolist()
        corners = np.concatenate([each.boxes for each in found]).reshape(-1, 2, 2)
        predictions = self.predict([images[i] for i in within], corners)
        parts = np.cumsum([0, *counts])
        return [
            self._judged(each, predictions.part(slice(first, last)), image.shape[1::-1])
            for image, each, first, last in zip(images, found, parts[:-1], parts[1:], strict=True)
        ]

    def best(self, images: Sequence[np.ndarray], candidates: Sequence[Candidates]) -> Predictions:
        """The joints of the surest of each photograph's candidates, of whatever score; those in the
        whole photograph where there is none."""
        best = [Predictions.nobody()]
        for image, found in zip(images, candidates, strict=True):
            if len(found.scores):
                best.append(found.predictions.part(slice(1)))
            else:
                best.append(self.predict([image], self._whole(image)[None]))
        return Predictions.concatenated(best)

    def predict(self, images: Sequence[np.ndarray], boxes: np.ndarray) -> Predictions:
        """The joints in N boxes (N, 2, 2), first and last corner, each of its photograph."""
        done = [Predictions.nobody()]
        for batch in batches(np.arange(len(images)), BATCH):
            crops = cut_out([images[i] for i in batch], boxes[batch], self.network.geometry)
            done.append(self.network.predict(crops, np.arange(len(crops))))
        return Predictions.concatenated(done)

    def _judged(self, found: Found, predictions: Predictions, size: tuple[int, int]) -> Candidates:
        boxes = refined(found.boxes, predictions.points, size)
        scores = self.judgement.score(found.scores, predictions.scores)
        order = np.argsort(-scores, kind="stable")
        kept = order[distinct(predictions.points[order])]
        return Candidates(boxes[kept], found.scores[kept], predictions.part(kept), scores[kept])

    def _person(
        self, image: np.ndarray, box: Box, joints: Predictions, score: float | None
    ) -> Person:
        (height, width), ([points], [scores], [hidden]) = image.shape[:2], joints
        beyond = ((points < -0.5) | (points > np.array([width, height]) - 0.5)).any(axis=-1)
        outside = beyond | (scores <= self.judgement.outside)
        likely = self.judgement.right(scores)
        return Person(
            size=(width, height),
            box=box,
            box_given=score is None,
            score=float(likely.mean()) if score is None else score,
            points=points,
            scores=likely,
            hidden=(hidden >= self.judgement.hidden) & ~outside,
            outside=outside,
        )

    def _whole(self, image: np.ndarray) -> np.ndarray:
        """The box that shows all of a photograph: its longer side is the input's."""
        last = np.array(image.shape[1::-1]) - 1.0
        reach = last / self.network.geometry.box_scale  # which `cut_out` widens again
        return np.stack([last - reach, last + reach]) / 2


def distinct(points: np.ndarray) -> np.ndarray:
    """Which of K people's joints (K, 14, 2), best first, are no better one's too: places (k,).

    Alike are joints by a Gaussian of their distance over the better person's side.
    """
    kept: list[int] = []
    for k, joints in enumerate(points):
        for other in kept:
            side = np.ptp(points[other], axis=0).max() + 1
            near = np.linalg.norm(joints - points[other], axis=-1) / (NEARNESS * side)
            if np.exp(-(near**2) / 2).mean() > ALIKE:
                break
        else:
            kept.append(k)
    return np.array(kept, dtype=int)


def listed(boxes: Boxes) -> list[Box | Sequence[float]]:
    """A photograph's boxes as a list. Raises BoxError where they are a single one's numbers."""
    try:
        several = not isinstance(boxes, str) and all(np.ndim(box) == 1 for box in boxes)
    except (TypeError, ValueError):  # a single number; lists of unequal length
        several = False
    if not several:
        raise BoxError(
            "boxes of a photograph: expected a list of them, [[x, y, width, height], ...]; found"
            f" {' '.join(str(boxes).split())}"
        )
    return list(boxes)


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
