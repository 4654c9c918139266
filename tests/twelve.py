"""Twelve pictures with one to five people: photographs of LSPet's test part in drawn scenery.

The photographs show one person each, which was looked at, with ten joints annotated or more; where
people are is known from these.
"""

from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from pipeline.annotations import load_annotations
from pipeline.figures.drawn_people import scenery
from pipeline.geometry import extent

WIDTH, HEIGHT, GAP = 640, 420, 12
PICTURES = (  # LSPet's numbers, from left to right
    (7863,),
    (9891,),
    (6256, 4304),
    (2518, 7907),
    (1734, 3017),
    (5519, 9333, 4917),
    (3612, 135, 2514),
    (2189, 8965, 6230),
    (4092, 3221, 2728, 9340),
    (3451, 2985, 6309, 9013),
    (2533, 1002, 1700, 5974, 4446),
    (5345, 4384, 1332, 1213, 6026),
)


class Picture(NamedTuple):
    """A picture and everybody in it."""

    pixels: np.ndarray  # (HEIGHT, WIDTH, 3) uint8
    boxes: np.ndarray  # (K, 2, 2), first and last corner around the joints, px
    joints: np.ndarray  # (K, 14, 2), px, NaN where not annotated


def pictures(dataset: Path) -> list[Picture]:
    """All twelve, of a data set in LSPet's layout."""
    points = load_annotations(dataset / "joints.mat").points
    return [_picture(dataset, points, number) for number in range(len(PICTURES))]


def _picture(dataset: Path, points: np.ndarray, number: int) -> Picture:
    rng = np.random.default_rng([12, number])
    red, green, blue = (rng.integers(90, 160) + rng.integers(-20, 20, 3)).tolist()
    drawn = np.asarray(scenery(rng, (WIDTH, HEIGHT), (red, green, blue)))
    pixels = cv2.resize(drawn, (WIDTH, HEIGHT), interpolation=cv2.INTER_AREA)
    people, names = [], PICTURES[number]
    rows = 1 if len(names) < 4 else 2
    columns = -(-len(names) // rows)
    room = np.array([WIDTH // columns, HEIGHT // rows])
    for place, name in enumerate(names):
        image = cv2.imread(str(dataset / f"images/im{name:05d}.jpg"))[..., ::-1]
        height, width = image.shape[:2]
        scale = min((room[0] - GAP) / width, (room[1] - GAP) / height) * rng.uniform(0.85, 1)
        size = round(width * scale), round(height * scale)
        free = room - size
        left, top = np.array([place % columns, place // columns]) * room + rng.integers(0, free)
        pixels[top : top + size[1], left : left + size[0]] = cv2.resize(
            image, size, interpolation=cv2.INTER_AREA
        )
        people.append((points[name - 1] + 0.5) * (np.array(size) / (width, height)) - 0.5)
        people[-1] += (left, top)
    joints = np.stack(people)
    boxes = np.stack(extent(joints), axis=1)
    return Picture(pixels, boxes, joints)
