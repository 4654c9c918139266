"""Scenes whose people are all known: pictures put together from photographs of one person each,
or of several who are all known.

LSPet says of one person a photograph where that is, and nothing of the others. A mosaic of a few of
its photographs, of backgrounds without their person and of drawn ones, is a scene to teach a finder
on and to measure it by.
"""

from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np
from numpy.random import Generator

from pipeline.figures.drawn_people import scenery
from pipeline.finding.views import resized
from pipeline.geometry import extent, within
from pipeline.mosaics.album import Album
from pipeline.skeleton import FLIP, JOINTS

CELLS = {1: 0.4, 2: 0.2, 3: 0.12, 4: 0.12, 6: 0.08, 9: 0.08}  # how often a scene has so many
EMPTY = 0.2  # share of the cells without a person
WHOLE = 0.5  # share of the scenes of one cell that show a whole photograph, as it is
FEWEST = 4  # joints in sight that make a person
SHOWN = 0.5  # share of the annotated joints that must be in sight, or none at all
TRIES = 8
BEYOND, BEYOND_SHOULDERS = 0.15, 0.4  # of a person's extent: what nobody's background shows


class Scene(NamedTuple):
    """A picture and everybody in it."""

    pixels: np.ndarray  # (S, S, 3) uint8, black beyond the picture's right or lower edge
    size: tuple[int, int]  # width and height of the picture
    boxes: np.ndarray  # (K, 2, 2), first and last corner, px, around the joints in sight
    joints: np.ndarray  # (K, 14, 2), px, NaN where not annotated; some may be cut off
    photographs: np.ndarray  # (K,), whose people these are


class Placed(NamedTuple):
    """A photograph's person in a scene."""

    photograph: int
    joints: np.ndarray  # (14, 2), px of the scene, NaN where not annotated
    inside: np.ndarray  # (14,) bool: in sight


def compose(rng: Generator, album: Album, side: int) -> Scene:
    """A new scene, its longer side at most `side`, of an album's photographs."""
    aspect = np.exp(rng.uniform(np.log(0.6), np.log(1.7)))
    longer = rng.uniform(0.75, 1) * side
    size = np.maximum(np.rint(longer * np.array([min(aspect, 1), min(1 / aspect, 1)])), 32).astype(
        int
    )
    count = rng.choice(list(CELLS), p=list(CELLS.values()))
    if count == 1 and rng.random() < WHOLE:
        return one_photograph(rng, album, side)
    pixels = np.zeros((size[1], size[0], 3), dtype=np.uint8)
    people: list[Placed] = []
    for cell in cells(rng, np.zeros(2, int), size, count):
        first, last = cell
        width, height = last - first
        empty = rng.random() < EMPTY
        shown = None if empty else person(rng, album, (width, height))
        if shown is None:
            patch = background(rng, album, (width, height))
        else:
            patch, everybody, index = shown
            for joints in everybody:
                people.append(Placed(index, joints + first, within(joints, (width, height))))
        pixels[first[1] : last[1], first[0] : last[0]] = patch
    return _scene(recoloured(rng, pixels), side, people)


def one_photograph(rng: Generator, album: Album, side: int) -> Scene:
    """A whole photograph, its longer side 0.6 to 1 of the scene's."""
    index = int(rng.integers(len(album.images)))
    image, everybody = mirrored(rng, album.images[index], album.everybody(index))
    height, width = image.shape[:2]
    scale = side * rng.uniform(0.6, 1) / max(width, height)
    size = np.maximum(np.rint(np.array([width, height]) * scale), 1).astype(int)
    everybody = (everybody + 0.5) * (size / (width, height)) - 0.5
    pixels = recoloured(rng, resized(image, size))
    people = [Placed(index, joints, within(joints, size)) for joints in everybody]
    return _scene(pixels, side, [person for person in people if person.inside.any()])


def _scene(picture: np.ndarray, side: int, people: Sequence[Placed]) -> Scene:
    height, width = picture.shape[:2]
    pixels = np.zeros((side, side, 3), dtype=np.uint8)
    pixels[:height, :width] = picture
    boxes = [(joints[seen].min(0), joints[seen].max(0)) for _, joints, seen in people]
    return Scene(
        pixels=pixels,
        size=(width, height),
        boxes=np.array(boxes).reshape(-1, 2, 2),
        joints=np.array([joints for _, joints, _ in people]).reshape(-1, len(JOINTS), 2),
        photographs=np.array([index for index, *_ in people], dtype=int),
    )


def cells(
    rng: Generator, first: np.ndarray, last: np.ndarray, count: int
) -> list[tuple[np.ndarray, np.ndarray]]:
    """A rectangle divided at random into `count` ones: first and last corners, px."""
    if count == 1:
        return [(first, last)]
    axis = int(np.argmax((last - first) * rng.uniform(0.7, 1.3, 2)))
    share = count // 2
    part = np.clip(share / count + rng.uniform(-0.12, 0.12), 0.2, 0.8)
    line = round(first[axis] + part * (last - first)[axis])
    middle_last, middle_first = last.copy(), first.copy()
    middle_last[axis] = middle_first[axis] = line
    return cells(rng, first, middle_last, share) + cells(rng, middle_first, last, count - share)


def person(
    rng: Generator, album: Album, size: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray, int] | None:
    """A patch (height, width, 3) of a photograph with its person in sight, more than half of it;
    the joints (K, 14, 2) of everybody in sight there, px of the patch; the photograph. None where
    none was found in a few tries: nobody who is known is half in sight."""
    for _ in range(TRIES):
        index = int(rng.integers(len(album.images)))
        image, everybody = mirrored(rng, album.images[index], album.everybody(index))
        known = ~np.isnan(everybody).any(-1)
        extent = np.ptp(everybody[0, known[0]], axis=0).max() + 1
        height, width = image.shape[:2]
        cover = max(size[0] / width, size[1] / height)
        # The person's size is what is drawn; the photograph must fill the patch.
        wanted = np.exp(rng.uniform(np.log(0.35), np.log(1.3))) * min(size) / extent
        scale = max(cover, wanted)
        window = np.array(size) / scale
        free = np.array([width, height]) - window
        corner = rng.uniform(0, np.maximum(free, 0))
        moved = (everybody - corner + 0.5) * scale - 0.5
        seen = within(moved, size).sum(-1)
        enough = seen >= np.maximum(FEWEST, SHOWN * known.sum(-1))
        if enough[0] and (enough | (seen == 0)).all():
            return cut(image, corner, window, size), moved[enough], index
    return None


def background(rng: Generator, album: Album, size: tuple[int, int]) -> np.ndarray:
    """A patch (height, width, 3) with nobody in it: from beside a photograph's person, or drawn."""
    for _ in range(TRIES if rng.random() < 0.7 else 0):
        index = int(rng.integers(len(album.images)))
        image = album.images[index]
        height, width = image.shape[:2]
        low, high = extent(album.everybody(index).reshape(-1, 2))
        # Hands, feet and hair reach beyond the joints; a whole head where none is annotated.
        room = (BEYOND if album.with_heads else BEYOND_SHOULDERS) * (high - low).max() + 4
        free = {
            "left": (np.array([0, 0]), np.array([low[0] - room, height])),
            "right": (np.array([high[0] + room, 0]), np.array([width, height])),
            "above": (np.array([0, 0]), np.array([width, low[1] - room])),
            "below": (np.array([0, high[1] + room]), np.array([width, height])),
        }
        first, last = free[rng.choice(list(free))]
        scale = max(size / np.maximum(last - first, 1))
        if (last - first).min() < 16 or scale > 4:
            continue
        window = np.array(size) / scale
        corner = first + rng.uniform(0, np.maximum(last - first - window, 0))
        return cut(image, corner, window, size)
    red, green, blue = (rng.uniform(30, 220) + rng.uniform(-25, 25, 3)).astype(int).tolist()
    drawn = scenery(rng, (max(size[0], 16), max(size[1], 16)), (red, green, blue))
    return resized(np.asarray(drawn), size)


def cut(
    image: np.ndarray, corner: np.ndarray, window: np.ndarray, size: tuple[int, int]
) -> np.ndarray:
    """The window of an image (H, W, 3), px, as a patch (height, width, 3)."""
    first = np.clip(np.rint(corner).astype(int), 0, np.array(image.shape[1::-1]) - 1)
    last = np.maximum(np.rint(corner + window).astype(int), first + 1)
    return resized(image[first[1] : last[1], first[0] : last[0]], size)


def mirrored(
    rng: Generator, image: np.ndarray, joints: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """In half of the cases mirrored, joints (K, 14, 2) under their partners' names."""
    if rng.random() < 0.5:
        return image, joints
    turned = joints[..., list(FLIP), :].copy()
    turned[..., 0] = image.shape[1] - 1 - turned[..., 0]
    return image[:, ::-1], turned


def recoloured(rng: Generator, pixels: np.ndarray) -> np.ndarray:
    """Brightness and contrast changed a little; one picture in ten in grey."""
    gain, shift = rng.uniform(0.75, 1.25), rng.uniform(-20, 20)
    if rng.random() < 0.1:
        pixels = np.repeat(pixels.mean(-1, keepdims=True).astype(np.uint8), 3, axis=-1)
    changed = cv2.convertScaleAbs(pixels, alpha=gain, beta=0)
    return (
        cv2.add(changed, np.full_like(changed, shift))
        if shift > 0
        else cv2.subtract(changed, np.full_like(changed, -shift))
    )
