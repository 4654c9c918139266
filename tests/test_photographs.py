"""Files of every kind that people have, as upright RGB pixels; and what is said of those that are
none."""

import os
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from pipeline import reading
from pipeline.reading import PhotographError, is_photograph, read

RED, GREEN, BLUE, WHITE = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)


def encoded(image: Image.Image, kind: str, **options) -> bytes:
    file = BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def halves(mode: str = "RGB") -> Image.Image:
    """Red on the left, blue on the right, 32 x 16."""
    image = Image.new("RGB", (32, 16), RED)
    image.paste(BLUE, (16, 0, 32, 16))
    return image.convert(mode)


def assert_colours(pixels: np.ndarray, left, right, tolerance: int = 0) -> None:
    assert pixels.dtype == np.uint8 and pixels.shape == (16, 32, 3)
    for place, colour in ((4, left), (27, right)):
        assert np.abs(pixels[8, place].astype(int) - colour).max() <= tolerance, (
            place,
            pixels[8, place],
        )


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF", "PPM"])
def test_lossless_kinds_keep_every_pixel(kind):
    noise = np.random.default_rng(0).integers(0, 256, (7, 9, 3), dtype=np.uint8)
    assert np.array_equal(read(encoded(Image.fromarray(noise), kind)), noise)


@pytest.mark.parametrize("kind", ["JPEG", "WEBP"])
def test_lossy_kinds_keep_the_colours(kind):
    assert_colours(read(encoded(halves(), kind, quality=95)), RED, BLUE, tolerance=4)


def test_a_file_is_read_as_its_bytes_are(tmp_path):
    (tmp_path / "photograph without suffix").write_bytes(encoded(halves(), "PNG"))
    assert_colours(read(tmp_path / "photograph without suffix"), RED, BLUE)


def test_the_palette_and_the_first_frame():
    assert_colours(read(encoded(halves("P"), "PNG")), RED, BLUE)
    frames = [Image.new("RGB", (32, 16), GREEN)]
    assert_colours(read(encoded(halves(), "GIF", save_all=True, append_images=frames)), RED, BLUE)


def test_cmyk_is_the_ink_that_was_printed():
    # Hand-worked: no cyan, full magenta and yellow is red; full cyan and magenta is blue.
    ink = Image.new("CMYK", (32, 16), (0, 255, 255, 0))
    ink.paste((255, 255, 0, 0), (16, 0, 32, 16))
    assert_colours(read(encoded(ink, "TIFF")), RED, BLUE)
    assert_colours(read(encoded(ink, "JPEG", quality=95)), RED, BLUE, tolerance=4)


@pytest.mark.parametrize(
    ("orientation", "corner"), [(1, (0, 0)), (3, (15, 31)), (6, (0, 15)), (8, (31, 0))]
)
def test_exif_orientation_turns_the_photograph_upright(orientation, corner):
    image = Image.new("RGB", (32, 16), BLUE)
    image.putpixel((0, 0), RED)
    exif = Image.Exif()
    exif[0x0112] = orientation
    pixels = read(encoded(image, "PNG", exif=exif))
    assert np.argwhere((pixels == RED).all(-1)).tolist() == [list(corner)]


@pytest.mark.parametrize("mode", ["L", "1"])
def test_grey_has_three_equal_channels(mode):
    image = Image.new("L", (32, 16), 0)
    image.paste(255, (16, 0, 32, 16))
    assert_colours(read(encoded(image.convert(mode), "PNG")), (0, 0, 0), WHITE)


def test_16_bits_become_8():
    values = np.full((16, 32), 0x0101 * 7, dtype=np.uint16)  # 7 of 255 in 16 bits
    values[:, 16:] = 0xFFFF
    assert_colours(read(encoded(Image.fromarray(values), "PNG")), (7,) * 3, WHITE)
    assert_colours(read(encoded(Image.fromarray(values), "TIFF")), (7,) * 3, WHITE)


def test_what_is_transparent_is_white():
    image = halves("RGBA")
    image.paste((0, 0, 0, 0), (16, 0, 32, 16))
    assert_colours(read(encoded(image, "PNG")), RED, WHITE)
    half = Image.new("LA", (32, 16), (0, 255))
    half.paste((0, 0), (16, 0, 32, 16))
    assert_colours(read(encoded(half, "PNG")), (0, 0, 0), WHITE)
    palette = halves("P")
    assert_colours(
        read(encoded(palette, "PNG", transparency=palette.getpixel((27, 8)))), RED, WHITE
    )


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "not a photograph"),
        (b"not a picture at all", "not a photograph"),
        (encoded(halves(), "JPEG")[:-200], "cannot be read"),
        (encoded(Image.effect_noise((99, 99), 90), "PNG")[:999], "cannot be read"),
        (encoded(Image.fromarray(np.ones((4, 4), np.float32)), "TIFF"), "no agreed range"),
    ],
    ids=["empty", "text", "short JPEG", "short PNG", "floats"],
)
def test_what_is_no_photograph_is_one_sentence(content, said):
    with pytest.raises(PhotographError, match=said) as error:
        read(content)
    assert "\n" not in str(error.value)


def test_too_many_pixels_are_refused_before_they_are_decoded(monkeypatch):
    monkeypatch.setattr(reading, "MOST_PIXELS", 511)
    whole = encoded(halves(), "PNG")
    for content in (whole, whole[:60]):  # of the second there is nothing to decode
        with pytest.raises(PhotographError, match="32 x 16 pixels; at most 511"):
            read(content)


def test_a_side_that_no_jpeg_can_have_is_refused():
    """Its overlay could not be written."""
    for size in ((65_501, 1), (1, 65_501)):
        with pytest.raises(PhotographError, match="at most 65,500 in a row or a column are read"):
            read(encoded(Image.new("L", size), "PNG"))
    assert read(encoded(Image.new("L", (65_500, 1)), "PNG")).shape == (1, 65_500, 3)


def test_far_too_many_pixels_are_said_to_be_that_by_every_kind():
    """Of some Pillow itself refuses as many."""
    with pytest.raises(PhotographError, match="far more pixels than the 50,000,000 that are read"):
        read(b"P6 60000 60000 255 ")


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_where_exif_cannot_be_read_the_photograph_is_taken_as_it_is_stored(kind, caplog):
    content = encoded(halves(), kind, exif=b"Exif\x00\x00no EXIF", quality=95)
    assert_colours(read(content), RED, BLUE, tolerance=4)
    said = [record.getMessage() for record in caplog.records]
    unread = "warning: a photograph: its EXIF cannot be read; it is taken as it is stored"
    assert said == ([] if kind == "JPEG" else [unread])  # of a JPEG Pillow tells nobody


def test_what_a_library_says_in_several_lines_becomes_one():
    content = encoded(halves().resize((64, 64)), "HEIF")
    with pytest.raises(PhotographError, match="cannot be read: ") as error:
        read(content[:-20])
    assert str(error.value).isprintable()


@pytest.mark.parametrize("content", [b"P6 8p 80 255 ", b"", b"text", b"\xff\xd8\xff"])
def test_what_begins_like_a_photograph_but_is_none_is_none(content, tmp_path):
    (tmp_path / "without suffix").write_bytes(content)
    assert not is_photograph(tmp_path / "without suffix")


def test_a_missing_file_is_said_to_be_missing(tmp_path):
    with pytest.raises(PhotographError, match="no such file"):
        read(tmp_path / "none.jpg")


@pytest.mark.parametrize("name", ["pipe.jpg", "device.png", "pipe", "folder.jpg"])
def test_a_pipe_or_a_device_is_not_read(tmp_path, name):
    path = tmp_path / name
    if name.startswith("pipe"):
        os.mkfifo(path)
    elif name.startswith("device"):
        path.symlink_to("/dev/zero")
    else:
        path.mkdir()
    assert not is_photograph(path)
    with pytest.raises(PhotographError, match="not a file"):
        read(path)
