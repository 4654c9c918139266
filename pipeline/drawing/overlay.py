"""A photograph with the joints found in it: pixels in, pixels out."""

import cv2
import numpy as np

from pipeline.drawing.palette import SIDE_COLOURS
from pipeline.skeleton import EDGES, SIDES

COLOURS = {side: tuple(bytes.fromhex(colour[1:])) for side, colour in SIDE_COLOURS.items()}
SHIFT = 4  # OpenCV takes places in sixteenths of a pixel


def draw_skeleton(image: np.ndarray, points: np.ndarray, hidden: np.ndarray) -> np.ndarray:
    """A copy of a photograph (H, W, 3) uint8 with the skeleton of points (14, 2), px, over it.

    Left and right in their colours; a hidden joint (14,) bool is a white dot.
    """
    picture = np.ascontiguousarray(image).copy()
    extent = (points.max(axis=0) - points.min(axis=0)).max()
    width = int(np.clip(extent / 70, 1, 0.02 * max(image.shape[:2]) + 1))
    places = np.rint(points * 2**SHIFT).astype(int)
    drawn = {"shift": SHIFT, "lineType": cv2.LINE_AA}
    for outline in (True, False):  # all outlines first: none crosses a limb
        for one, other, side in EDGES:
            colour, thickness = ((0, 0, 0), width + 2) if outline else (COLOURS[side], width)
            cv2.line(
                picture, places[one].tolist(), places[other].tolist(), colour, thickness, **drawn
            )
    radius = (width + 1) << SHIFT
    for place, side, is_hidden in zip(places.tolist(), SIDES, hidden, strict=True):
        cv2.circle(picture, place, radius + (1 << SHIFT), (0, 0, 0), cv2.FILLED, **drawn)
        cv2.circle(
            picture,
            place,
            radius,
            (255, 255, 255) if is_hidden else COLOURS[side],
            cv2.FILLED,
            **drawn,
        )
    return picture
