"""A photograph with the people found in it: pixels in, pixels out."""

from collections.abc import Mapping, Sequence

import cv2
import numpy as np

from pipeline.drawing.palette import PEOPLE, SIDE_COLOURS
from pipeline.photographs.people import Person
from pipeline.skeleton import EDGES, HEAD_TOP, JOINTS, SIDES

Colour = tuple[int, ...]  # red, green, blue, 0 to 255
SHIFT = 4  # OpenCV takes places in sixteenths of a pixel
BLACK, WHITE = (0, 0, 0), (255, 255, 255)


def _rgb(code: str) -> Colour:
    return tuple(bytes.fromhex(code[1:]))


COLOURS: Mapping[str, Colour] = {side: _rgb(code) for side, code in SIDE_COLOURS.items()}


def colours_of(number: int) -> Mapping[str, Colour]:
    """A person's colours by side, the left limbs light and the right ones dark; numbers from 1."""
    base = np.array(_rgb(PEOPLE[(number - 1) % len(PEOPLE)]), dtype=float)
    shades = {"right": base * 0.6, "left": base + (255 - base) * 0.55, "trunk": base}
    return {side: tuple(shade.round().astype(int).tolist()) for side, shade in shades.items()}


def draw_people(
    image: np.ndarray, people: Sequence[Person], numbers: Sequence[int] | None = None
) -> np.ndarray:
    """A copy of a photograph (H, W, 3) uint8 with everybody's skeleton over it.

    Somebody alone has left and right in their colours; several have a colour each and their number,
    1, 2, ... or as given. A hidden joint is a white dot; one outside the picture is not drawn.
    """
    picture = np.ascontiguousarray(image).copy()
    counted = range(1, len(people) + 1) if numbers is None else numbers
    named = len(people) > 1 or numbers is not None
    for person, number in reversed(list(zip(people, counted, strict=True))):
        _skeleton(picture, person, colours_of(number) if named else COLOURS)
    if named:
        for person, number in zip(people, counted, strict=True):
            _label(picture, person, str(number), colours_of(number)["trunk"])
    return picture


def _width(picture: np.ndarray, person: Person) -> int:
    """Of a person's limbs, px."""
    extent = np.ptp(person.points, axis=0).max()
    return int(np.clip(extent / 70, 1, 0.02 * max(picture.shape[:2]) + 1))


def _skeleton(picture: np.ndarray, person: Person, colours: Mapping[str, Colour]) -> None:
    width, seen = _width(picture, person), ~person.outside
    places = np.rint(person.points * 2**SHIFT).astype(int).tolist()
    limbs = [(one, other, side) for one, other, side in EDGES if seen[one] and seen[other]]
    for outline in (True, False):  # all outlines first: none crosses a limb
        for one, other, side in limbs:
            colour, thickness = (BLACK, width + 2) if outline else (colours[side], width)
            cv2.line(picture, places[one], places[other], colour, thickness, cv2.LINE_AA, SHIFT)
    radius = (width + 1) << SHIFT
    for k in np.flatnonzero(seen).tolist():
        colour = WHITE if person.hidden[k] else colours[SIDES[k]]
        for size, fill in ((radius + (1 << SHIFT), BLACK), (radius, colour)):
            cv2.circle(picture, places[k], size, fill, cv2.FILLED, cv2.LINE_AA, SHIFT)


def _label(picture: np.ndarray, person: Person, text: str, colour: Colour) -> None:
    """The person's number beside the highest joint that is seen."""
    seen = np.flatnonzero(~person.outside)
    if not len(seen):
        seen = np.arange(len(JOINTS))
    top = HEAD_TOP if HEAD_TOP in seen else seen[person.points[seen, 1].argmin()]
    longer = max(picture.shape[:2])
    scale = float(np.clip(np.ptp(person.points, axis=0).max() / 250, longer / 1600, longer / 500))
    thickness = max(1, round(2 * scale))
    font = cv2.FONT_HERSHEY_SIMPLEX
    (width, height), _ = cv2.getTextSize(text, font, scale, thickness)
    x, y = (person.points[top] + _width(picture, person) * 2).round().astype(int).tolist()
    x = min(max(x, 0), max(picture.shape[1] - width, 0))
    y = min(max(y, height), picture.shape[0] - 1)
    for fill, wide in ((BLACK, 3 * thickness), (colour, thickness)):
        cv2.putText(picture, text, (x, y), font, scale, fill, wide, cv2.LINE_AA)
