"""What the finder sees of a photograph: all of it, its longer side as long as the input's."""

from collections.abc import Sequence
from typing import Protocol

import cv2
import numpy as np

from pipeline.finding.boxes import Found, decode


class Maps(Protocol):
    """What gives the maps of views: `PeopleFinder`, or an exported one."""

    @property
    def input_size(self) -> int: ...

    def maps(self, views: np.ndarray) -> tuple[np.ndarray, np.ndarray]: ...


def view(image: np.ndarray, side: int) -> np.ndarray:
    """A photograph (H, W, 3) uint8 in the upper left of (side, side, 3), the rest black."""
    height, width = image.shape[:2]
    size = scaled((width, height), side)
    seen = np.zeros((side, side, 3), np.uint8)
    seen[: size[1], : size[0]] = resized(image, size)
    return seen


def resized(image: np.ndarray, size: Sequence[int] | np.ndarray) -> np.ndarray:
    """An image of this width and height: averaged where it shrinks."""
    shrinks = image.shape[1] > size[0]
    fine = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    return cv2.resize(image, (int(size[0]), int(size[1])), interpolation=fine)


def scaled(size: tuple[int, int], side: int) -> tuple[int, int]:
    """Width and height, at least 1 px, where the longer one is `side`."""
    longer = max(size)
    width, height = (max(1, round(each * side / longer)) for each in size)
    return width, height


def find(network: Maps, images: Sequence[np.ndarray]) -> list[Found]:
    """The people in each of B photographs (H, W, 3) uint8, in its pixels."""
    side = network.input_size
    centres, edges = network.maps(np.stack([view(image, side) for image in images]))
    found = []
    for image, of_centres, of_edges in zip(images, centres, edges, strict=True):
        size = image.shape[1::-1]
        boxes, scores = decode(of_centres, of_edges, side)
        scale = np.array(size) / scaled(size, side)
        found.append(Found((boxes + 0.5) * scale - 0.5, scores))
    return found
