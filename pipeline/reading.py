"""Photographs of any common kind as upright RGB pixels."""

import logging
import warnings
from io import BytesIO
from pathlib import Path

import numpy as np
import simplejpeg
from PIL import Image, ImageOps
from pillow_heif import register_heif_opener

from pipeline.errors import PipelineError, brief

register_heif_opener()  # what telephones write
warnings.filterwarnings("ignore", module=r"PIL\.")  # what is damaged or large is said by `read`

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
LONGEST = 65_500  # px of a side; as many as a JPEG can have, which overlays are


class PhotographError(PipelineError):
    """A file cannot be read as a photograph; the message says why, without the file's name."""


def is_photograph(file: Path) -> bool:
    """Is it one of the kinds that are read, by how it begins?"""
    if not file.is_file():
        return False
    try:
        with Image.open(file, formats=FORMATS):
            return True
    except Image.DecompressionBombError:  # it is one, which `read` refuses in words
        return True
    except Exception:  # noqa: BLE001  of no kind that is known, or so damaged that nothing is
        return False


def read(source: Path | bytes) -> np.ndarray:
    """The pixels (H, W, 3) uint8, RGB, of a photograph in a file or in memory.

    Turned upright by its EXIF orientation; grey, palette and CMYK pixels become RGB, 16 bits a
    channel become 8, what is transparent becomes white; of an animation the first frame. Of a JPEG
    without its end marker every pixel is read, and where no EXIF can be read the photograph is
    taken as it is stored, both with a warning. Raises PhotographError.
    """
    named = source if isinstance(source, Path) else "a photograph"
    try:
        return _read(source, named)
    except PhotographError as error:
        damaged = error.__cause__ is not None  # rather than too large, missing or of another kind
        completed = _with_end_marker(source) if damaged else None
        if completed is None:
            raise
        LOG.warning("warning: %s: a JPEG without its end marker; every pixel is there", named)
        return _read(completed, named)


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


def _read(source: Path | bytes, named: object) -> np.ndarray:
    if isinstance(source, Path) and not source.is_file():  # a pipe or a device may have no end
        raise PhotographError("not a file" if source.exists() else "no such file")
    file = BytesIO(source) if isinstance(source, bytes) else source
    try:
        with Image.open(file, formats=FORMATS) as image:
            _refuse_large(*image.size)
            image.load()
            return np.asarray(_rgb(_upright(image, named)))
    except PhotographError:
        raise
    except Image.DecompressionBombError:
        raise PhotographError(f"far more pixels than the {MOST_PIXELS:,} that are read") from None
    except Image.UnidentifiedImageError:
        raise PhotographError(
            f"not a photograph of a kind that is read ({', '.join(FORMATS)})"
        ) from None
    except Exception as error:  # of a damaged file Pillow raises almost any
        raise PhotographError(f"cannot be read: {brief(error)}") from error


def _refuse_large(width: int, height: int) -> None:
    """Raises PhotographError."""
    said = f"{width} x {height} pixels"
    if width * height > MOST_PIXELS:
        raise PhotographError(f"{said}; at most {MOST_PIXELS:,} pixels are read")
    if max(width, height) > LONGEST:
        raise PhotographError(f"{said}; at most {LONGEST:,} in a row or a column are read")


def _upright(image: Image.Image, named: object) -> Image.Image:
    try:
        return ImageOps.exif_transpose(image)
    except Exception:  # noqa: BLE001  of damaged EXIF Pillow raises almost any
        LOG.warning("warning: %s: its EXIF cannot be read; it is taken as it is stored", named)
        return image


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
