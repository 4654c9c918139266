"""Photographs that are damaged, extreme, or none: each way gives a suffix and a file's bytes."""

import io
import struct
import zlib
from functools import cache

import numpy as np
import pillow_heif
from PIL import Image

from faults.bad import damage
from pipeline.figures import drawn_people

pillow_heif.register_heif_opener()

KINDS = {  # suffix, and what Pillow calls it
    ".avif": "AVIF", ".bmp": "BMP", ".gif": "GIF", ".heic": "HEIF", ".jpg": "JPEG", ".png": "PNG",
    ".ppm": "PPM", ".tif": "TIFF", ".webp": "WEBP", ".mpo": "MPO",
}  # fmt: skip
UNKNOWN = ".dat"  # a suffix that says nothing
MODES = {  # what each can hold, beside RGB
    ".gif": ("P", "L"), ".jpg": ("CMYK", "L"), ".png": ("P", "LA", "1", "I;16", "RGBA"),
    ".ppm": ("L", "1"), ".tif": ("CMYK", "LAB", "F", "I", "I;16", "1", "YCbCr"), ".webp": ("RGBA",),
    ".bmp": ("1", "P"),
}  # fmt: skip


@cache
def person(width: int = 60, height: int = 80) -> Image.Image:
    return drawn_people.draw(0, 0)[0].resize((width, height))


def encoded(image: Image.Image, suffix: str, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, KINDS[suffix], **options)
    return file.getvalue()


@cache
def good(suffix: str, mode: str = "RGB") -> bytes:
    image = person()
    if mode == "I;16":
        image = Image.fromarray(np.asarray(image.convert("L")).astype(np.uint16) * 257)
    elif mode != "RGB":
        image = image.convert("L" if mode in ("F", "I") else mode).convert(mode)
    return encoded(image, suffix)


def any_kind(rng: np.random.Generator) -> str:
    return str(rng.choice(list(KINDS)))


def damaged(rng: np.random.Generator) -> tuple[str, bytes]:
    suffix = any_kind(rng)
    return suffix, damage.damaged(good(suffix), rng)


def damaged_of_any_mode(rng: np.random.Generator) -> tuple[str, bytes]:
    suffix = str(rng.choice(list(MODES)))
    return suffix, damage.damaged(good(suffix, str(rng.choice(MODES[suffix]))), rng)


def of_any_mode(rng: np.random.Generator) -> tuple[str, bytes]:
    """Whole: some are read, some are refused."""
    suffix = str(rng.choice(list(MODES)))
    return suffix, good(suffix, str(rng.choice(MODES[suffix])))


def wrong_suffix(rng: np.random.Generator) -> tuple[str, bytes]:
    return any_kind(rng), good(any_kind(rng))


def without_suffix(rng: np.random.Generator) -> tuple[str, bytes]:
    """So that the content tells whether it is a photograph."""
    way = (damaged, lying_sizes, no_photograph, extreme_sides)[int(rng.integers(4))]
    return UNKNOWN, way(rng)[1]


def no_photograph(rng: np.random.Generator) -> tuple[str, bytes]:
    whole = (
        *(b"", b"\xff\xd8\xff", b"text", bytes(2000), rng.bytes(2000), b"<svg width='9'/>"),
        *(b"<html>not found</html>", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n"),
        *(b"\x00\x00\x00\x18ftypheic" + bytes(99), b"P6 1000000 1000000 255 ", b"P6\n-1 -1\n255\n"),
        *(b"P7\nWIDTH 9\n", b"II*\x00\x08\x00\x00\x00\xff\xff", b"MM\x00*" + bytes(40)),
        *(b"BM" + bytes(60), b"GIF89a" + b"\xff" * 40, b"RIFF\xff\xff\xff\xffWEBPVP8X" + bytes(30)),
    )
    return any_kind(rng), whole[int(rng.integers(len(whole)))]


def extreme_sides(rng: np.random.Generator) -> tuple[str, bytes]:
    sizes = (
        *((1, 1), (1, 2), (2, 1), (1, 9000), (9000, 1), (1, 40_000), (40_000, 1), (70_000, 2)),
        *((2, 70_000), (1, 1_000_000), (1_000_000, 1), (3, 33_000), (16, 16_000)),
    )
    size = sizes[int(rng.integers(len(sizes)))]
    suffix = ".png" if max(size) > 16_000 else str(rng.choice([".png", ".jpg", ".bmp", ".tif"]))
    return suffix, encoded(Image.new("RGB", size, (90, 120, 150)), suffix)


def many_pixels(rng: np.random.Generator) -> tuple[str, bytes]:
    """About as many as are read, or far more: a small file."""
    sizes = ((10_000, 5_000), (10_000, 5_001), (20_000, 20_000), (60_000, 60_000))
    size = sizes[int(rng.integers(len(sizes)))]
    return ".png", _claiming(size) if size[0] > 10_000 else encoded(Image.new("1", size), ".png")


def lying_sizes(rng: np.random.Generator) -> tuple[str, bytes]:
    """The header says another width and height than the pixels have."""
    width, height = rng.choice([0, 1, 7, 59, 61, 300, 30_000, 65_535], 2).tolist()
    suffix = str(rng.choice([".png", ".gif", ".bmp", ".jpg", ".ppm"]))
    content = bytearray(good(suffix))
    if suffix == ".png":
        return suffix, _claiming((width, height), good(".png"))
    if suffix == ".gif":
        content[6:10] = struct.pack("<HH", width, height)
        place = content.index(b",", 13 + 3 * 2 ** ((content[10] & 7) + 1))
        content[place + 5 : place + 9] = struct.pack("<HH", width, height)
    elif suffix == ".bmp":
        content[18:26] = struct.pack("<ii", width, -height if rng.random() < 0.3 else height)
    elif suffix == ".jpg":
        place = content.index(b"\xff\xc0")
        content[place + 5 : place + 9] = struct.pack(">HH", height, width)
    else:
        return suffix, bytes(content).replace(b"60 80", f"{width} {height}".encode(), 1)
    return suffix, bytes(content)


def turned(rng: np.random.Generator) -> tuple[str, bytes]:
    """By any EXIF orientation, those that are none too."""
    suffix, exif = str(rng.choice([".jpg", ".png", ".webp", ".tif"])), Image.Exif()
    exif[0x0112] = int(rng.choice([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 99, 60_000]))
    return suffix, encoded(person(), suffix, exif=exif)


def odd_exif(rng: np.random.Generator) -> tuple[str, bytes]:
    """EXIF that is damaged, or no EXIF."""
    exif = Image.Exif()
    exif[0x0112], exif[0x010E] = 6, "x" * 200
    content = damage.damaged(exif.tobytes(), rng) if rng.random() < 0.7 else rng.bytes(200)
    suffix = str(rng.choice([".jpg", ".png", ".webp"]))
    return suffix, encoded(person(), suffix, exif=b"Exif\x00\x00" + content[:60_000])


def animated(rng: np.random.Generator) -> tuple[str, bytes]:
    suffix = str(rng.choice([".gif", ".png", ".webp", ".tif"]))
    frames = [Image.new("RGB", (60, 80), tuple(rng.integers(0, 256, 3).tolist())) for _ in "abc"]
    content = encoded(person(), suffix, save_all=True, append_images=frames)
    return suffix, damage.damaged(content, rng) if rng.random() < 0.5 else content


def much_text(rng: np.random.Generator) -> tuple[str, bytes]:
    """Chunks of a PNG that grow a thousandfold when they are read."""
    content = good(".png")
    kind = (b"zTXt", b"iTXt", b"iCCP")[int(rng.integers(3))]
    head = {b"zTXt": b"k\0\0", b"iTXt": b"k\0\x01\0\0\0", b"iCCP": b"k\0\0"}[kind]
    chunk = _chunk(kind, head + zlib.compress(bytes(50_000_000), 9))
    return ".png", content[:33] + chunk * int(rng.integers(1, 4)) + content[33:]


def palette_that_lies(rng: np.random.Generator) -> tuple[str, bytes]:
    """Pixels of colours that the palette lacks."""
    image = Image.fromarray(np.full((20, 30), 200, np.uint8), "L").convert("P")
    content = bytearray(encoded(image, ".png"))
    place = content.index(b"PLTE")
    length = int(rng.choice([0, 1, 3, 5]))
    size = struct.unpack(">I", content[place - 4 : place])[0]
    chunk = _chunk(b"PLTE", bytes(content[place + 4 : place + 4 + length]))
    return ".png", bytes(content[: place - 4]) + chunk + bytes(content[place + size + 8 :])


def _chunk(kind: bytes, content: bytes) -> bytes:
    """Of a PNG."""
    checked = kind + content
    return struct.pack(">I", len(content)) + checked + struct.pack(">I", zlib.crc32(checked))


def _claiming(size: tuple[int, int], content: bytes | None = None) -> bytes:
    """A PNG, or all of one that there is, that says it has this width and height."""
    content = content or good(".png")
    head = struct.pack(">II", *size) + content[24:29]
    return content[:8] + _chunk(b"IHDR", head) + content[33:]


WAYS = (
    *(damaged, damaged, damaged, damaged, damaged_of_any_mode, damaged_of_any_mode, of_any_mode),
    *(
        wrong_suffix,
        without_suffix,
        without_suffix,
        no_photograph,
        no_photograph,
        extreme_sides,
        extreme_sides,
        many_pixels,
    ),
    *(lying_sizes, lying_sizes, turned, odd_exif, animated, much_text, palette_that_lies),
)
