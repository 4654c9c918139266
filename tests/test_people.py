"""The committed model on pictures of people: everybody found, nobody invented."""

import os
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

import twelve
from conftest import LSPET, ROOT, sh
from pipeline import paths
from pipeline.drawing.overlay import draw_people
from pipeline.figures.drawn_people import scenery
from pipeline.finding.boxes import overlaps
from pipeline.photographs.estimator import PoseEstimator
from pipeline.sources.lspet import fetch_lspet

NEAR = 0.3  # intersection over union of a person's box and of the one that was found
WEIGHTS = ROOT / paths.WEIGHTS
FILES = [WEIGHTS, ROOT / paths.FINDER, ROOT / paths.JUDGEMENT]
pytestmark = pytest.mark.skipif(
    not all(file.is_file() for file in FILES),
    reason="the committed weights are not there: `dvc pull models/generator.safetensors"
    " models/finder.safetensors` brings them",
)


@pytest.fixture(scope="module")
def estimator() -> PoseEstimator:
    return PoseEstimator.load(WEIGHTS, "fp32")


@pytest.fixture(scope="module")
def pictures(tmp_path_factory) -> list[twelve.Picture]:
    if not LSPET.is_file():
        pytest.skip("LSPET_ARCHIVE names no copy of LSPet")
    folder = tmp_path_factory.mktemp("lspet")
    fetch_lspet(folder / "lspet", partial=folder / "part", archive=str(LSPET))
    return twelve.pictures(folder / "lspet")


def assert_found(people, boxes: np.ndarray, said: str) -> None:
    """Each of boxes (K, 2, 2) is somebody's, and nobody else's."""
    found = np.array([person.box.corners for person in people]).reshape(-1, 2, 2)
    assert len(found) == len(boxes), f"{said}: {len(found)} found of {len(boxes)}"
    assert (overlaps(found, boxes).max(axis=0) >= NEAR).all(), said


def test_in_twelve_pictures_everybody_is_found_and_nobody_invented(estimator, pictures):
    found = estimator.find([picture.pixels for picture in pictures])
    if folder := os.environ.get("SCREENSHOTS"):
        save(Path(folder) / "twelve.jpg", pictures, found)
    for names, picture, people in zip(twelve.PICTURES, pictures, found, strict=True):
        assert_found(people, picture.boxes, f"photographs {names}")


def save(path: Path, pictures, found) -> None:
    """All pictures with the people found in them, three a row."""
    size = (twelve.WIDTH * 3 // 4, twelve.HEIGHT * 3 // 4)
    drawn = [
        cv2.resize(draw_people(picture.pixels, people), size, interpolation=cv2.INTER_AREA)
        for picture, people in zip(pictures, found, strict=True)
    ]
    rows = [np.hstack(drawn[first : first + 3]) for first in range(0, len(drawn), 3)]
    Image.fromarray(np.vstack(rows)).save(path, quality=85)


def test_where_nobody_is_nobody_is_found(estimator):
    rng = np.random.default_rng(0)
    empty = [np.full((240, 320, 3), shade, np.uint8) for shade in (0, 128, 255)]
    empty.append(rng.integers(0, 256, (200, 300, 3), dtype=np.uint8))
    empty += [
        np.asarray(scenery(np.random.default_rng(seed), (160, 120), (140, 150, 120)))
        for seed in range(8)
    ]
    assert [len(people) for people in estimator.find(empty)] == [0] * len(empty)


@pytest.mark.parametrize("kind", ["large", "small", "grey", "turned"])
def test_a_person_is_found_in_a_picture_of_any_kind(estimator, pictures, tmp_path, kind):
    picture = pictures[0]
    (box,) = picture.boxes
    left = int(box[0, 0]) - 60
    shown, box = picture.pixels[:, left : left + 340], box - (left, 0)
    file, image = tmp_path / "one.png", Image.fromarray(np.ascontiguousarray(shown))
    if kind == "large":
        image = image.resize((3400, 4200))
        wide = Image.new("RGB", (6000, 4200), (90, 90, 90))
        wide.paste(image, (1700, 0))
        image, box = wide, box * 10 + (1700, 0)
    elif kind == "small":
        image, box = image.resize((52, 64)), box * (64 / twelve.HEIGHT)
    elif kind == "grey":
        image = image.convert("L")
    exif = Image.Exif()
    if kind == "turned":
        exif[0x0112], image = 3, image.rotate(180)
    image.save(file, exif=exif)
    assert_found(estimator.find([file])[0], box[None], kind)


def test_the_example_with_numpy_alone_finds_the_same_people(estimator, pictures, tmp_path):
    picture = tmp_path / "three.png"
    Image.fromarray(pictures[7].pixels).save(picture)
    onnx = tmp_path / "generator.onnx"
    sh(ROOT, sys.executable, "-m", "pipeline", "export", "--onnx", str(onnx))
    example = ROOT / "examples/onnx_people.py"
    printed = sh(ROOT, sys.executable, example, onnx, tmp_path / "finder.onnx", picture)
    [people] = estimator.find([picture])
    said = printed.split("person, score ")[1:]
    assert len(said) == len(people)
    for text in said:
        lines = text.splitlines()
        places = np.array([line.split()[1:3] for line in lines[1:15]], dtype=float)
        # Another library resizes: scores that are nearly the same may change places, and a joint
        # that is unsure may be elsewhere.
        away = [np.median(np.linalg.norm(places - each.points, axis=1)) for each in people]
        person = people[int(np.argmin(away))]
        assert min(away) < 0.03 * max(person.box.width, person.box.height)
        assert float(lines[0].split(",")[0]) == pytest.approx(person.score, abs=0.05)
