"""The pictures' canvas: outlines, lit tubes, and which part of a scene each pixel shows.

Places are complex numbers: the real part grows to the right, the imaginary part downwards.
"""

from collections.abc import Sequence

import numpy as np
from numpy.random import Generator
from numpy.typing import ArrayLike
from PIL import Image, ImageDraw
from scipy.spatial import ConvexHull

from pipeline.figures.poses import ARM, LEG, Colour, tone

FINE = 3  # pixels of the drawing a pixel of the picture
OUTLINE = np.exp(2j * np.pi * np.arange(20) / 20)  # the unit circle

ARC = np.linspace(-1, 1, 11)

# What the pixels of a drawing show. A joint is seen where a part that holds it is seen.
SCENE, BODY, COVER = 0, 1, 90  # SCENE: background; BODY: trunk and head; limbs: from 2
LIMB = {j: 2 + n for n, limb in enumerate(ARM + LEG) for j in limb[1:]}


def blob(
    centres: Sequence[complex] | np.ndarray, radii: Sequence[float] | np.ndarray
) -> np.ndarray:
    """Outline around discs: of one, a disc; of two, a tapered capsule; of more, a rounded body."""
    if len(centres) == 2:
        (a, b), (ra, rb) = centres, radii
        distance, ahead = abs(b - a), np.angle(b - a)
        if distance > abs(ra - rb):
            side = np.arccos((ra - rb) / distance)  # where the tangents touch
            return np.concatenate(
                (
                    a - ra * np.exp(1j * (ahead + (np.pi - side) * ARC)),
                    b + rb * np.exp(1j * (ahead + side * ARC)),
                )
            )
    discs = np.concatenate([c + r * OUTLINE for c, r in zip(centres, radii, strict=True)])
    return discs[ConvexHull(np.column_stack((discs.real, discs.imag))).vertices]


def box(wide: float, top: float, bottom: float) -> np.ndarray:
    """The corners of a rectangle from -wide to wide, top to bottom."""
    return np.array(
        [complex(-wide, top), complex(wide, top), complex(wide, bottom), complex(-wide, bottom)]
    )


class Canvas:
    """A picture in the making, FINE times as large, and beside it which part each pixel shows."""

    def __init__(self, background: Image.Image, light: complex):
        self.image, self.light = background, light
        self.parts = Image.new("L", background.size, SCENE)
        self.paint, self.mark = ImageDraw.Draw(self.image, "RGBA"), ImageDraw.Draw(self.parts)

    def fill(self, outline: np.ndarray, colour: Colour, part: int | None = None) -> None:
        """Fill an outline, picture px, with an RGB or RGBA colour; mark it as `part`, if named."""
        # Rounded here: Pillow would cut fractions off.
        places = np.rint((outline + 0.5 + 0.5j) * FINE - 0.5 - 0.5j)
        points = np.column_stack((places.real, places.imag)).ravel().tolist()
        self.paint.polygon(points, fill=colour)
        if part is not None:
            self.mark.polygon(points, fill=part)

    def tube(
        self, centres: ArrayLike, radii: ArrayLike, colour: Colour, part: int | None = None
    ) -> None:
        """Tapered capsules from disc to disc, in one piece, lit from one side."""
        centres, radii = np.asarray(centres), np.asarray(radii)
        for shift, factor, shade, mark in (
            (0, 1, 0.7, part),
            (0.1, 0.86, 1, None),
            (0.34, 0.42, 1.16, None),
        ):
            places = centres + shift * radii * self.light
            for k in range(len(centres) - 1):
                self.fill(
                    blob(places[k : k + 2], radii[k : k + 2] * factor), tone(colour, shade), mark
                )

    def shown(self, place: complex, parts: tuple) -> bool:
        """Whether any of the parts is seen within a pixel of the place."""
        x, y = (round((v + 0.5) * FINE - 0.5) for v in (place.real, place.imag))
        window = self.parts.crop((x - FINE, y - FINE, x + FINE + 1, y + FINE + 1))
        return any(colour in parts for _, colour in window.getcolors() or ())


def texture(rng: Generator, size: tuple[int, int], colour: Colour, strength: float) -> Image.Image:
    """A noise of several grains around a colour."""
    total = np.zeros((*size[::-1], 3), np.float32) + np.asarray(colour, np.float32)
    for grain in (60, 22, 7):
        shape = (size[1] // grain + 2, size[0] // grain + 2)
        noise = Image.fromarray(rng.normal(0, 1, shape).astype(np.float32)).resize(
            size, Image.Resampling.BICUBIC
        )
        weights = strength * rng.uniform(0.2, 1) * rng.uniform(0.6, 1.2, 3)
        total += np.asarray(noise)[..., None] * weights.astype(np.float32)
    return Image.fromarray(np.clip(total, 0, 255).astype(np.uint8))
