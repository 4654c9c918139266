"""Annotations of LSPet and LSP: opposite flags, sentinels that are no places, names of the
joints."""

import zipfile

import numpy as np
import pytest
from scipy.io import savemat

from conftest import LSP, LSPET
from pipeline.annotations import AnnotationError, image_paths, load_annotations
from pipeline.skeleton import FLIP, GROUPS, JOINTS

COUNT = 3


@pytest.fixture
def places():
    """(14, 2, 3): joint, (x, y), photograph; all different, none 0."""
    return 10 + np.arange(14 * 2 * COUNT, dtype=float).reshape(14, 2, COUNT)


@pytest.fixture
def save(tmp_path):
    def save(**variables):
        savemat(tmp_path / "joints.mat", variables)
        return tmp_path / "joints.mat"

    return save


def test_lspet_flag_1_is_annotated_and_the_rest_has_no_place(places, save):
    joints = np.concatenate([places, np.ones((14, 1, COUNT))], axis=1)
    joints[3, :, 0] = 0, -42.5, 0  # the sentinels, on either axis
    joints[4, :, 1] = -17, 0, 0
    joints[5, :, 2] = 20, 30, 0  # inside the photograph, but not annotated
    points, annotated, occluded = load_annotations(save(joints=joints))

    missing = [(0, 3), (1, 4), (2, 5)]
    assert points.shape == (COUNT, 14, 2) and points.dtype == np.float64
    assert np.argwhere(~annotated).tolist() == [list(place) for place in missing]
    assert (np.isnan(points) == ~annotated[..., None]).all()
    assert not occluded.any()
    assert points[2, 13].tolist() == places[13, :, 2].tolist()
    kept = places.transpose(2, 0, 1)
    assert (points[annotated] == kept[annotated]).all()


def test_lsp_flag_1_is_occluded_and_every_joint_has_its_place(places, save):
    joints = np.concatenate([places, np.zeros((14, 1, COUNT))], axis=1).transpose(1, 0, 2)
    joints[2, 6, 1] = joints[2, 0, 2] = 1
    points, annotated, occluded = load_annotations(save(joints=joints))
    assert annotated.all() and annotated.shape == (COUNT, 14)
    assert np.argwhere(occluded).tolist() == [[1, 6], [2, 0]]
    assert (points == places.transpose(2, 0, 1)).all()


@pytest.mark.parametrize("shape", [(14, 3), (3, 13, 2), (14, 2, 5), (2, 14, 3), (16, 3, 4)])
def test_another_shape_is_refused_with_the_shape_and_the_expected_ones(save, shape):
    with pytest.raises(AnnotationError) as error:
        load_annotations(save(joints=np.ones(shape)))
    message = str(error.value)
    assert "joints.mat" in message and str(shape) in message
    assert "(14, 3, N)" in message and "(3, 14, N)" in message


@pytest.mark.parametrize("flag", [2, -1, 0.5, np.nan])
@pytest.mark.parametrize(
    "shape, third", [((14, 3, 2), np.s_[5, 2, 1]), ((3, 14, 2), np.s_[2, 5, 1])]
)
def test_a_flag_other_than_0_and_1_is_refused(save, shape, third, flag):
    joints = np.ones(shape)
    joints[third] = flag
    with pytest.raises(AnnotationError, match=r"joints\.mat: the third row .* 0 and 1 only"):
        load_annotations(save(joints=joints))


def test_a_file_without_the_variable_is_refused(save):
    with pytest.raises(AnnotationError, match=r"joints\.mat: .*variable 'joints'"):
        load_annotations(save(points=np.ones((14, 3, 2))))


def test_a_variable_that_holds_no_numbers_is_refused(save):
    with pytest.raises(AnnotationError, match=r"joints\.mat"):
        load_annotations(save(joints="fourteen"))


@pytest.mark.parametrize(
    ("joints", "said"),
    [
        (np.ones((14, 3, 2)) + 1j, "complex"),
        (np.where(np.arange(3)[:, None] == 1, 20_001.0, np.ones((14, 3, 2))), "20,000 px"),
        (np.where(np.arange(3)[:, None] == 0, -1e30, np.ones((14, 3, 2))), "20,000 px"),
    ],
)
def test_numbers_that_are_no_places_are_refused(save, joints, said):
    with pytest.raises(AnnotationError, match=rf"joints\.mat.*({said})"):
        load_annotations(save(joints=joints))


@pytest.mark.parametrize(
    "content", [None, b"<html>moved</html>" * 20], ids=["absent", "a web page"]
)
def test_what_is_no_matlab_file_is_refused(tmp_path, content):
    path = tmp_path / "joints.mat"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(AnnotationError, match=r"joints\.mat"):
        load_annotations(path)


def test_flip_is_an_involution_that_swaps_left_and_right_names():
    assert sorted(FLIP) == list(range(len(JOINTS))) == list(range(14))
    for joint, partner in enumerate(FLIP):
        assert FLIP[partner] == joint
        swapped = JOINTS[joint].replace("left", "R").replace("right", "left").replace("R", "right")
        assert JOINTS[partner] == swapped


def test_groups_cover_each_joint_once_with_the_joints_they_are_named_after():
    assert sorted(joint for group in GROUPS.values() for joint in group) == list(range(14))
    for name, pair in GROUPS.items():
        names = {JOINTS[joint] for joint in pair}
        assert names == (
            {"neck", "head_top"} if name == "head" else {f"left_{name}", f"right_{name}"}
        )


def test_photographs_are_listed_in_the_order_of_their_annotations(tmp_path):
    (tmp_path / "images").mkdir()
    names = [f"im{n:05d}.jpg" for n in (10000, 2, 1, 10, 9999)]
    for name in [*names, "notes.txt", "im00003.png"]:
        (tmp_path / "images" / name).touch()
    assert [path.name for path in image_paths(tmp_path)] == sorted(names)
    assert [path.name for path in image_paths(tmp_path)][-2:] == ["im09999.jpg", "im10000.jpg"]


def test_the_real_lspet_has_123_213_annotated_joints_and_no_sentinel(tmp_path):
    if not LSPET.exists():
        pytest.skip("no real LSPet: set LSPET_ARCHIVE to one")
    path = LSPET / "joints.mat"
    if LSPET.is_file():
        path = tmp_path / "joints.mat"
        with zipfile.ZipFile(LSPET) as archive:
            [name] = [name for name in archive.namelist() if name.split("/")[-1] == "joints.mat"]
            path.write_bytes(archive.read(name))
    points, annotated, occluded = load_annotations(path)
    assert points.shape == (10_000, 14, 2) and annotated.sum() == 123_213 and not occluded.any()
    assert (annotated.sum(axis=1) == 14).sum() == 3_945 and annotated.sum(axis=1).min() == 4
    assert (np.isnan(points).any(-1) == ~annotated).all()
    assert not ((points == 0).any(-1) & (points < 0).any(-1)).any()


def test_the_real_lsp_has_a_place_for_every_joint_and_7_3_percent_occluded():
    if not LSP.is_file():
        pytest.skip("no real joints.mat of LSP beside the repository")
    points, annotated, occluded = load_annotations(LSP)
    assert points.shape == (2_000, 14, 2) and annotated.all() and not np.isnan(points).any()
    assert occluded.mean() == pytest.approx(0.073, abs=0.0005)


@pytest.mark.parametrize(
    "damage", [lambda b: b"", lambda b: b[:60], lambda b: b[:-200] + bytes(200)]
)
def test_a_damaged_file_is_refused_by_name(damage, tmp_path):
    whole, damaged = tmp_path / "whole.mat", tmp_path / "damaged.mat"
    savemat(whole, {"joints": np.ones((14, 3, 5))}, do_compression=True)
    damaged.write_bytes(damage(whole.read_bytes()))
    with pytest.raises(AnnotationError, match="damaged.mat"):
        load_annotations(damaged)


def test_an_annotated_joint_without_a_place_is_refused(tmp_path):
    joints = np.ones((14, 3, 2))
    joints[3, 0, 1] = np.nan
    savemat(tmp_path / "joints.mat", {"joints": joints})
    with pytest.raises(AnnotationError, match="no place"):
        load_annotations(tmp_path / "joints.mat")


def test_photographs_come_by_their_numbers_however_many_digits_these_have(tmp_path):
    (tmp_path / "images").mkdir()
    names = [
        f"im{number:05d}.jpg" for number in (1, 2, 10_000, 99_999, 100_000, 100_001, 1_000_000)
    ]
    for name in reversed(names):
        (tmp_path / "images" / name).touch()
    assert [path.name for path in image_paths(tmp_path)] == names
