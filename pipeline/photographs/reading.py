"""Photographs of any common kind as upright RGB pixels."""

import logging
from io import BytesIO
from pathlib import Path

import numpy as np
import simplejpeg
from PIL import Image, ImageOps
from pillow_heif import register_heif_opener

from pipeline.errors import PipelineError

register_heif_opener()  # what telephones write

FORMATS = ("AVIF", "BMP", "GIF", "HEIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")
SUFFIXES = frozenset(
    (
        *(".avif", ".bmp", ".gif", ".heic", ".heif", ".jfif", ".jpe", ".jpeg", ".jpg", ".mpo"),
        *(".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"),
    )
)  # what is taken for a photograph in a folder
JPEG_BEGINS, JPEG_ENDS = b"\xff\xd8", b"\xff\xd9"
LOG = logging.getLogger(__name__)
MOST_PIXELS = 50_000_000  # of a photograph; more is refused before it is decoded


class PhotographError(PipelineError):
    """A file cannot be read as a photograph; the message says why, without the file's name."""


def is_photograph(file: Path) -> bool:
    """Is it one of the kinds that are read, by how it begins?"""
    try:
        with Image.open(file, formats=FORMATS):
            return True
    except Image.DecompressionBombError:  # it is one, which `read` refuses in words
        return True
    except OSError:  # of no kind that is known, or not to be read
        return False


def read(source: Path | bytes) -> np.ndarray:
    """The pixels (H, W, 3) uint8, RGB, of a photograph in a file or in memory.

    Turned upright by its EXIF orientation; grey, palette and CMYK pixels become RGB, 16 bits a
    channel become 8, what is transparent becomes white; of an animation the first frame. Of a JPEG
    without its end marker every pixel is read, with a warning. Raises PhotographError.
    """
    try:
        return _read(source)
    except PhotographError as error:
        damaged = error.__cause__ is not None  # rather than too large, missing or of another kind
        completed = _with_end_marker(source) if damaged else None
        if completed is None:
            raise
        named = source if isinstance(source, Path) else "a photograph"
        LOG.warning("warning: %s: a JPEG without its end marker; every pixel is there", named)
        return _read(completed)


def _with_end_marker(source: Path | bytes) -> bytes | None:
    """A JPEG with the marker that it lacks at its end; None where it lacks more, or is none."""
    content = source if isinstance(source, bytes) else source.read_bytes()
    if not content.startswith(JPEG_BEGINS) or content.endswith(JPEG_ENDS):
        return None
    try:
        # libjpeg fills what is missing with grey; only here is that an error.
        simplejpeg.decode_jpeg(content + JPEG_ENDS, strict=True)
    except ValueError:
        return None
    return content + JPEG_ENDS


def _read(source: Path | bytes) -> np.ndarray:
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
