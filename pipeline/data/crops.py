"""People cut out of photographs: crops with joints, and the way back to the photographs' pixels."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol, TypeVar

import cv2
import numpy as np
from tqdm import tqdm

from pipeline.data.shards import Shards
from pipeline.geometry import Geometry, transform
from pipeline.skeleton import JOINTS

WIDEST = 4096  # px of a square with borders, before it is resized
Item = TypeVar("Item")
Answer = TypeVar("Answer")


class Predictions(NamedTuple):
    """Joints found in N photographs."""

    points: np.ndarray  # (N, 14, 2) float64, px of the photograph
    scores: np.ndarray  # (N, 14) float32, how much of the pose map is near the place, in [0, 1]
    hidden: (
        np.ndarray
    )  # (N, 14) float32, height of the occlusion peak, in [0, 1]; 0 without that task

    @classmethod
    def concatenated(cls, parts: Sequence["Predictions"]) -> "Predictions":
        """Those of several batches as one."""
        return cls(*(np.concatenate(each) for each in zip(*parts, strict=True)))

    @classmethod
    def nobody(cls) -> "Predictions":
        """Those of no photograph."""
        joints = len(JOINTS)
        none = np.empty((0, joints), dtype=np.float32)
        return cls(np.empty((0, joints, 2)), none, none)

    def part(self, chosen: np.ndarray | slice) -> "Predictions":
        """Those of some of the photographs."""
        return Predictions(*(values[chosen] for values in self))

    def each(self) -> Iterator["Predictions"]:
        """Those of one photograph after the other."""
        return (self.part(slice(k, k + 1)) for k in range(len(self.points)))


@dataclass(frozen=True)
class Crops:
    """The crops of N people, their joints, and the way back to the photographs."""

    geometry: Geometry
    images: np.ndarray | Shards  # N of (S, S, 3) uint8; at rest memory-mapped, in several files
    points: np.ndarray  # (N, 14, 2) float32, crop px, NaN where not annotated
    annotated: np.ndarray  # (N, 14) bool
    occluded: np.ndarray  # (N, 14) bool, known to be hidden and to have a place
    originals: np.ndarray  # (N, 14, 2) float64, px of the photograph, NaN where not annotated
    affines: np.ndarray  # (N, 2, 3) float64, from crop px to px of the photograph

    def __len__(self) -> int:
        return len(self.images)

    @property
    def input_points(self) -> np.ndarray:
        """Joints (N, 14, 2) float32, px of the network's input, NaN where not annotated."""
        return self.geometry.crop_to_input(self.points)

    def inputs(self, indices: np.ndarray) -> np.ndarray:
        """What the network sees of crops without augmentation: their middles (B, S, S, 3) uint8."""
        middle, size = self.geometry.middle, self.geometry.input_size
        seen = np.empty((len(indices), size, size, 3), dtype=np.uint8)
        for row, index in zip(seen, indices, strict=True):
            row[:] = self.images[index][middle, middle]
        return seen

    def predictions(
        self, indices: np.ndarray, places: np.ndarray, scores: np.ndarray, hidden: np.ndarray
    ) -> Predictions:
        """Predictions, px of the photographs, from places (B, 14, 2), input px, in some crops."""
        in_crop = self.geometry.input_to_crop(places.astype(np.float64))
        return Predictions(transform(self.affines[indices], in_crop), scores, hidden)


def batches(indices: np.ndarray, size: int) -> Iterator[np.ndarray]:
    """Indices in runs of at most `size`."""
    for start in range(0, len(indices), size):
        yield indices[start : start + size]


class Each(Protocol):
    """How a task is asked of each item, all answers in order: `one_by_one`, or by several processes
    (`Ranks.each`)."""

    def __call__(
        self, task: Callable[[Item], Answer], items: Sequence[Item], title: str
    ) -> list[Answer]: ...


def one_by_one(task: Callable[[Item], Answer], items: Sequence[Item], title: str) -> list[Answer]:
    """What a task says of each item, with a progress bar of that title."""
    return [task(item) for item in tqdm(items, title, unit=" batches")]


def crop(image: np.ndarray, corner: np.ndarray, side: int, size: int) -> np.ndarray:
    """The crop (size, size, 3) of a box of pixels of a photograph (H, W, 3) uint8; black beyond its
    edges.

    Bilinear; averaged over the source pixels where the photograph is more than twice as fine.
    """
    (left, top), (height, width) = corner, image.shape[:2]
    seen = image[max(top, 0) : max(top + side, 0), max(left, 0) : max(left + side, 0)]
    if not seen.size:
        return np.zeros((size, size, 3), dtype=np.uint8)
    above, below = max(-top, 0), max(top + side - height, 0)
    before, after = max(-left, 0), max(left + side - width, 0)
    if above or below or before or after:
        if side > WIDEST:  # black borders may be far larger than a long photograph
            shrink = WIDEST / side
            width, height = (max(round(shrink * each), 1) for each in seen.shape[1::-1])
            seen = cv2.resize(seen, (width, height), interpolation=cv2.INTER_AREA)
            above, below, before, after = (
                round(shrink * each) for each in (above, below, before, after)
            )
        seen = cv2.copyMakeBorder(seen, above, below, before, after, cv2.BORDER_CONSTANT)
    fine = cv2.INTER_AREA if side > 2 * size else cv2.INTER_LINEAR
    return cv2.resize(seen, (size, size), interpolation=fine)


def cut_out(images: Sequence[np.ndarray], boxes: np.ndarray, geometry: Geometry) -> Crops:
    """Crops, as they are at rest, of N photographs (H, W, 3) uint8 around boxes (N, 2, 2), px.

    A box is its first and its last corner, tight around the person's joints. Nothing is annotated.
    """
    n = len(images)
    corners, sides = geometry.pixel_boxes(boxes)
    cut = [crop(*each, geometry.stored_size) for each in zip(images, corners, sides, strict=True)]
    return Crops(
        geometry=geometry,
        images=np.stack(cut),
        points=np.full((n, len(JOINTS), 2), np.nan, dtype=np.float32),
        annotated=np.zeros((n, len(JOINTS)), dtype=bool),
        occluded=np.zeros((n, len(JOINTS)), dtype=bool),
        originals=np.full((n, len(JOINTS), 2), np.nan),
        affines=geometry.crop_affines(corners, sides),
    )
