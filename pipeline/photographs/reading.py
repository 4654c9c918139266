"""Photographs of any common kind as upright RGB pixels."""

from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from pipeline.errors import PipelineError

FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")
SUFFIXES = frozenset(
    (".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")
)  # what is taken for a photograph in a folder
MOST_PIXELS = 50_000_000  # of a photograph; more is refused before it is decoded


class PhotographError(PipelineError):
    """A file cannot be read as a photograph; the message says why, without the file's name."""


def read(source: Path | bytes) -> np.ndarray:
    """The pixels (H, W, 3) uint8, RGB, of a photograph in a file or in memory.

    Turned upright by its EXIF orientation; grey, palette and CMYK pixels become RGB, 16 bits a
    channel become 8, what is transparent becomes white; of an animation the first frame. Raises
    PhotographError.
    """
    try:
        with Image.open(
            BytesIO(source) if isinstance(source, bytes) else source, formats=FORMATS
        ) as image:
            if image.width * image.height > MOST_PIXELS:
                raise PhotographError(
                    f"{image.width} x {image.height} pixels; at most {MOST_PIXELS:,} pixels are"
                    " read"
                )
            return np.asarray(_rgb(ImageOps.exif_transpose(image)))
    except PhotographError:
        raise
    except FileNotFoundError:
        raise PhotographError("no such file") from None
    except Image.UnidentifiedImageError:
        raise PhotographError(
            f"not a photograph of a kind that is read ({', '.join(FORMATS)})"
        ) from None
    except Exception as error:  # of a damaged file Pillow raises almost any
        raise PhotographError(f"cannot be read: {error}") from error


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode in ("F", "I"):
        raise PhotographError(
            f"pixels of kind {image.mode!r} have no agreed range; save it with 8 or 16 bits"
        )
    if image.mode.startswith("I"):  # 16 bits of grey
        image = Image.fromarray((np.asarray(image).astype(np.uint32) // 257).astype(np.uint8))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image)
    return image.convert("RGB")
