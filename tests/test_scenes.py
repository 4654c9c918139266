"""Photographs of one scene: found by what is behind the people, and kept on one side."""

import cv2
import numpy as np
import pytest
import simplejpeg

from pipeline import paths
from pipeline.annotations import image_paths
from pipeline.commands.scenes import compared
from pipeline.figures import drawn_people
from pipeline.scenes import pairs
from pipeline.scenes.pairs import Pair, SceneError

NAMES = [f"im{k:05d}.jpg" for k in range(1, 7)]


def hall(seed: int) -> np.ndarray:
    """A place (300, 400) uint8 with much to recognise."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (60, 80), dtype=np.uint8)
    return cv2.resize(coarse, (400, 300), interpolation=cv2.INTER_CUBIC)


def with_person(place: np.ndarray, index: int) -> np.ndarray:
    """The same place (H, W) uint8 with somebody before it."""
    person = np.asarray(drawn_people.draw(0, index)[0].convert("L").resize((70, 90)))
    picture = place.copy()
    picture[60:150, 60:130] = person
    return picture


def moved(place: np.ndarray, turn: float, scale: float) -> np.ndarray:
    """The place seen by a camera that has turned, degrees, and come nearer."""
    matrix = cv2.getRotationMatrix2D((200, 150), turn, scale)
    return cv2.warpAffine(place, matrix, (400, 300), borderMode=cv2.BORDER_REFLECT)


@pytest.fixture(scope="module")
def photographs(tmp_path_factory):
    """Six files: two of one hall, two of another, and two of places of their own."""
    folder = tmp_path_factory.mktemp("scenes")
    pictures = [
        with_person(hall(1), 1),
        with_person(hall(2), 2),
        with_person(moved(hall(1), 8, 1.2), 3),
        with_person(hall(3), 4),
        with_person(moved(hall(2), -5, 0.9), 5),
        np.full((200, 200), 128, np.uint8),  # a wall without any feature
    ]
    for name, picture in zip(NAMES, pictures, strict=True):
        (folder / name).write_bytes(simplejpeg.encode_jpeg(picture[..., None], colorspace="GRAY"))
    return [folder / name for name in NAMES]


@pytest.mark.parametrize("workers", [1, 3])
def test_two_photographs_of_one_place_are_found_and_of_two_places_are_not(photographs, workers):
    found = pairs.find(photographs, workers)
    assert [pair[:2] for pair in found] == [(NAMES[0], NAMES[2]), (NAMES[1], NAMES[4])]
    assert all(pair.inliers >= pairs.INLIERS for pair in found)


def test_a_caption_that_many_share_is_no_scene():
    one, other = hall(5), hall(6)
    one[:60, :80] = other[:60, :80] = hall(7)[:60, :80]  # 4 % of each
    features = [pairs.features(each) for each in (one, other)]
    assert pairs.inliers(*features) == 0


def test_an_unreadable_photograph_is_named(photographs, tmp_path):
    broken = tmp_path / "im00009.jpg"
    broken.write_bytes(b"no photograph")
    with pytest.raises(SceneError, match="im00009.jpg"):
        pairs.find([*photographs, broken])


def test_a_list_comes_back_as_it_was_written_and_no_list_is_none(tmp_path):
    path, known = tmp_path / "list.csv", [Pair(NAMES[0], NAMES[3], 20), Pair(*NAMES[1:3], 15)]
    pairs.write(path, known)
    assert pairs.read(path) == known
    assert pairs.read(tmp_path / "none.csv") == []
    assert pairs.numbered(known, NAMES).tolist() == [[0, 3], [1, 2]]


def test_a_photograph_that_is_not_there_is_named_in_one_sentence():
    with pytest.raises(SceneError, match="names im99999.jpg") as error:
        pairs.numbered([Pair(NAMES[0], "im99999.jpg", 15)], NAMES)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("content", ["", "image,other\n", "image,other,inliers\na,b\n"])
def test_what_is_no_list_is_refused(tmp_path, content):
    path = tmp_path / "list.csv"
    path.write_text(content)
    with pytest.raises(SceneError, match="list.csv"):
        pairs.read(path)


def test_a_comparison_counts_and_names_what_changed():
    known = [Pair("a", "b", 20), Pair("c", "d", 15)]
    said = compared(known, [Pair("a", "b", 25), Pair("e", "f", 16)])
    assert said.splitlines() == [
        "1 same, 1 new, 1 gone",
        "  new: e f, 16 inliers",
        "  gone: c d, 15 inliers",
    ]


def test_every_committed_pair_agrees_in_the_photographs():
    folder = paths.DATASET
    if not (folder / "joints.mat").is_file():
        pytest.skip("needs LSPet: `dvc repro download`")
    files = {path.name: path for path in image_paths(folder)}
    committed = pairs.read(pairs.same_scene("lspet"))
    assert len(committed) > 1000
    for pair in committed[::40]:
        one, other = (
            pairs.features(
                simplejpeg.decode_jpeg(files[name].read_bytes(), colorspace="GRAY")[..., 0]
            )
            for name in pair[:2]
        )
        # SIFT's last bits may differ from one processor to the next.
        assert pairs.inliers(one, other) >= pairs.INLIERS - 2, pair
