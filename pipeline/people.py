"""Joints of people in whole photographs: in a box that is given, or in one that is found by a first look."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from tqdm import tqdm

from pipeline import PipelineError, inference
from pipeline.cache import Crops, crop, crop_affine, pixel_box, stored_size
from pipeline.generator import Generator
from pipeline.inference import Predictions
from pipeline.lspet import JOINTS
from pipeline.photograph import read
from pipeline.settings import Cache

BOX = ("x", "y", "width", "height")  # px, tight around the joints
# Height of the occlusion peak above which a joint is called hidden. On LSPet's validation part under occluders that
# is 85 % of the covered joints and 32 % of the others; 1 % where nothing is covered.
HIDDEN = 0.05
BATCH = 32  # photographs a forward pass
LARGEST = 4  # sides of a box over the photograph's longer side


class BoxError(PipelineError):
    """A box cannot be that of a person in the photograph."""


class Person(NamedTuple):
    """What was found in a photograph."""

    box: np.ndarray  # (2, 2), first and last corner, px
    box_given: bool
    points: np.ndarray  # (14, 2), px
    scores: np.ndarray  # (14,), in [0, 1]
    hidden: np.ndarray  # (14,) bool


def corners(x: float, y: float, width: float, height: float) -> np.ndarray:
    """First and last corner (2, 2) of a box, px. Raises BoxError."""
    if not (np.isfinite([x, y, width, height]).all() and width > 0 and height > 0):
        raise BoxError(
            f"box {x:g}, {y:g}, {width:g}, {height:g}: expected numbers, width and height above 0, px"
        )
    return np.array([(x, y), (x + width, y + height)], dtype=float)


def check(box: np.ndarray, image: np.ndarray) -> None:
    """Raises BoxError where a box (2, 2) lies beyond a photograph (H, W, 3), or is far larger than it."""
    size = np.array(image.shape[1::-1])
    (x, y), (width, height) = box[0], box[1] - box[0]
    said = f"box {x:g}, {y:g}, {width:g}, {height:g} of a photograph of {size[0]} x {size[1]} px"
    if (box[1] < 0).any() or (box[0] > size).any():
        raise BoxError(f"{said}: it lies beyond the photograph")
    if max(width, height) > LARGEST * size.max():
        raise BoxError(f"{said}: its sides may be {LARGEST} times the photograph's longer one at most")


def cut_out(images: Sequence[np.ndarray], boxes: np.ndarray, cache: Cache) -> Crops:
    """Crops, as the cache stores them, of N photographs (H, W, 3) uint8 around boxes (N, 2, 2), px.

    A box is its first and its last corner, tight around the person's joints. Nothing is annotated.
    """
    size, n = stored_size(cache), len(images)
    firsts, sides = pixel_box(boxes, cache)
    return Crops(
        images=np.stack([crop(*each, size) for each in zip(images, firsts, sides, strict=True)]),
        points=np.full((n, len(JOINTS), 2), np.nan, dtype=np.float32),
        annotated=np.zeros((n, len(JOINTS)), dtype=bool),
        occluded=np.zeros((n, len(JOINTS)), dtype=bool),
        originals=np.full((n, len(JOINTS), 2), np.nan),
        affines=crop_affine(firsts, sides, size),
    )


def look(
    generator: Generator,
    images: Sequence[np.ndarray],
    boxes: np.ndarray,
    cache: Cache,
    precision: str = "fp32",
) -> Predictions:
    """The joints of one person a photograph, in boxes (N, 2, 2) as of `cut_out`; with flip test."""
    crops = cut_out(images, boxes, cache)
    return inference.predict(generator, crops, np.arange(len(images)), cache, BATCH, precision=precision)


def look_twice(
    generator: Generator, images: Sequence[np.ndarray], cache: Cache, precision: str = "fp32"
) -> tuple[Predictions, np.ndarray]:
    """The joints of one person a photograph whose place is not known, and the boxes (N, 2, 2) they were found in.

    The first look is at the whole photograph, its longer side across the input; the second at the box of the
    joints found then.
    """
    last = np.array([image.shape[1::-1] for image in images]) - 1.0
    reach = last / cache.box  # which `cut_out` widens again
    whole = np.stack([last - reach, last + reach], axis=1) / 2
    first = look(generator, images, whole, cache, precision).points
    boxes = np.stack([first.min(axis=1), first.max(axis=1)], axis=1)
    return look(generator, images, boxes, cache, precision), boxes


def find(
    generator: Generator,
    images: Sequence[np.ndarray],
    boxes: Sequence[np.ndarray | None],
    cache: Cache,
    precision: str = "auto",
) -> list[Person]:
    """The person in each of N photographs, in its box (2, 2) or, where that is None, by two looks.

    precision: by default the fastest that the hardware has, as people use it; measured is in fp32.
    """
    found: dict[int, Person] = {}
    for given in (True, False):
        which = [i for i, box in enumerate(boxes) if (box is not None) == given]
        if not which:
            continue
        some = [images[i] for i in which]
        if given:
            used = np.stack([boxes[i] for i in which])
            joints = look(generator, some, used, cache, precision)
        else:
            joints, used = look_twice(generator, some, cache, precision)
        for i, box, points, scores, hidden in zip(which, used, *joints, strict=True):
            found[i] = Person(box, given, points, scores, hidden > HIDDEN)
    return [found[i] for i in range(len(images))]


def description(person: Person, image: np.ndarray) -> dict:
    """A person in a photograph (H, W, 3) as plain values, for JSON; px with two decimals."""
    (x, y), (right, bottom) = person.box.tolist()
    return {
        "width": image.shape[1],
        "height": image.shape[0],
        "box": {
            name: round(value, 2) for name, value in zip(BOX, (x, y, right - x, bottom - y), strict=True)
        },
        "box_given": person.box_given,
        "joints": [
            {"name": name, "x": round(x, 2), "y": round(y, 2), "score": round(score, 4), "hidden": hidden}
            for name, (x, y), score, hidden in zip(
                JOINTS, person.points.tolist(), person.scores.tolist(), person.hidden.tolist(), strict=True
            )
        ],
    }


def search(generator: Generator, paths: Sequence[Path], cache: Cache, together: int = 50) -> Predictions:
    """The joints of one person in each photograph, by two looks, some photographs in memory together."""
    found = []
    with tqdm(total=len(paths), desc="without boxes", unit=" photographs") as bar:
        for some in inference.batches(np.arange(len(paths)), together):
            found.append(look_twice(generator, [read(paths[i]) for i in some], cache)[0])
            bar.update(len(some))
    return Predictions(*(np.concatenate(parts) for parts in zip(*found, strict=True)))
