"""The drawn data set: LSPet's layout, the same bytes from the same seed, places that are where they
say."""

import hashlib
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import psutil
import pytest
from PIL import Image
from scipy.io import loadmat

from conftest import ROOT
from pipeline import PipelineError
from pipeline.annotations import image_paths
from pipeline.figures import drawn_people
from pipeline.figures.canvas import BODY, COVER, FINE, LIMB, SCENE, Canvas, blob, box
from pipeline.figures.poses import ARM, LEG, sample_look, sample_pose, skeleton

COUNT, SEED = 60, 5
LIMBS = [0, 1, 4, 5, 6, 7, 10, 11]


def digests(folder):
    """SHA-256 of every file under the folder, by its path there."""
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file()
    }


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    target = tmp_path_factory.mktemp("drawn") / "set"
    drawn_people.write(target, COUNT, SEED, workers=2)
    return target


@pytest.fixture(scope="module")
def joints(folder):
    return loadmat(folder / "joints.mat")["joints"]


@pytest.fixture(scope="module")
def truth(folder):
    return loadmat(folder / "truth.mat")["joints"]


@pytest.fixture(scope="module")
def sizes(folder):
    """(N, 2): width and height of each picture."""
    return np.array(
        [Image.open(folder / f"images/im{n:05d}.jpg").size for n in range(1, COUNT + 1)]
    )


@pytest.fixture(scope="module")
def pairs():
    """Pictures with and without what covers the person: [(with, without)], each (pixels, joints,
    hidden)."""
    both = [
        [drawn_people.draw(SEED, index, covers) for covers in (True, False)] for index in range(30)
    ]
    return [
        [(np.asarray(image, int), places, hidden) for image, places, hidden in pair]
        for pair in both
    ]


def test_layout(folder, joints, truth):
    names = [f"images/im{n:05d}.jpg" for n in range(1, COUNT + 1)]
    assert sorted(digests(folder)) == sorted([*names, "README.txt", "joints.mat", "truth.mat"])
    for array in (joints, truth):
        assert array.shape == (14, 3, COUNT) and array.dtype == np.float64
        assert set(np.unique(array[:, 2])) == {0, 1}
    for name in names:
        with Image.open(folder / name) as image:
            assert image.format == "JPEG" and image.mode == "RGB"


def test_sides_and_extent(sizes, truth):
    assert sizes.min() >= 140 and sizes.max() <= 260
    assert len({tuple(size) for size in sizes}) > COUNT / 2
    extent = np.ptp(truth[:, :2], axis=0).max(axis=0)
    assert extent.min() > 55 and extent.max() < 182 and np.ptp(extent) > 60


def test_sentinels_are_a_zero_and_minus_a_sixth_of_a_side(joints, sizes):
    hidden = joints[:, 2] == 0
    for n in range(COUNT):
        places = joints[hidden[:, n], :2, n]
        assert ((places == 0).sum(axis=1) == 1).all()
        assert ((places < 0).sum(axis=1) == 1).all()
        for axis in (0, 1):
            values = places[places[:, axis] < 0, axis]
            np.testing.assert_allclose(values, -sizes[n, axis] / 6, rtol=0.051)
    assert hidden.any()


def test_truth_is_the_annotation_where_there_is_one(joints, truth, sizes):
    annotated = joints[:, 2] == 1
    assert (truth[:, 2] == 1 - joints[:, 2]).all()
    for axis in (0, 1):
        assert (joints[:, axis] == truth[:, axis])[annotated].all()
        assert (truth[:, axis] >= 0).all() and (truth[:, axis] <= sizes[:, axis] - 1).all()


def test_share_of_the_annotated(joints):
    annotated = joints[:, 2]
    assert 0.86 < annotated.mean() < 0.95
    assert annotated.sum(axis=0).min() >= 4
    assert 0.35 < (annotated.sum(axis=0) == 14).mean() < 0.75
    assert (annotated.mean(axis=1) < 1).all()


def test_same_bytes_from_any_number_of_workers(tmp_path):
    for name, workers in (("one", 1), ("again", 1), ("three", 3)):
        drawn_people.write(tmp_path / name, 20, 3, workers=workers)
    assert digests(tmp_path / "one") == digests(tmp_path / "again") == digests(tmp_path / "three")
    assert len(set(digests(tmp_path / "one").values())) == 20 + 3


def test_a_picture_does_not_depend_on_the_count(folder, tmp_path, joints):
    drawn_people.write(tmp_path / "few", 4, SEED, workers=1)
    few, many = digests(tmp_path / "few"), digests(folder)
    assert all(few[f"images/im{n:05d}.jpg"] == many[f"images/im{n:05d}.jpg"] for n in range(1, 5))
    assert (loadmat(tmp_path / "few/joints.mat")["joints"] == joints[..., :4]).all()


def test_beyond_99_999_names_have_more_digits(tmp_path):
    (tmp_path / "images").mkdir()
    for index in (99_998, 99_999):
        drawn_people.draw_file(index, SEED, tmp_path / "images")
    names = [path.name for path in image_paths(tmp_path)]
    assert names == ["im99999.jpg", "im100000.jpg"]


def test_another_seed_gives_other_pictures(folder, tmp_path):
    drawn_people.write(tmp_path / "other", 4, SEED + 1, workers=1)
    assert not set(digests(folder).values()) & set(digests(tmp_path / "other").values())


def test_no_date_in_a_file(folder):
    for name in ("joints.mat", "truth.mat"):
        assert (folder / name).read_bytes()[:116] == b"MATLAB 5.0 MAT-file".ljust(116)


def test_what_objects_hide_is_painted_over_and_the_rest_is_not(pairs):
    hid = kept = 0
    for (covered, places, unseen), (bare, bare_places, bare_unseen) in pairs:
        np.testing.assert_array_equal(places, bare_places)
        assert (unseen | ~bare_unseen).all()
        changed = np.abs(covered - bare).sum(axis=2) > 0
        for j, (x, y) in enumerate(np.round(places).astype(int)):
            around = changed[y - 2 : y + 3, x - 2 : x + 3]
            if unseen[j] and not bare_unseen[j]:
                assert around[1:-1, 1:-1].mean() > 0.5
                hid += 1
            elif not unseen[j]:
                assert not around.all()
                kept += 1
    assert hid > 10 and kept > 200


def test_without_objects_only_limbs_hide(pairs):
    unseen = np.array([bare[2] for _, bare in pairs])
    assert unseen[:, LIMBS].any()
    assert not np.delete(unseen, LIMBS, axis=1).any()


def test_pixel_centres_are_integers():
    canvas = Canvas(Image.new("RGB", (60 * FINE, 50 * FINE)), -1j)
    place = 20.25 + 30.5j
    canvas.fill(blob((place,), (6,)), (255, 255, 255), BODY)
    weight = np.asarray(canvas.image.reduce(FINE), float)[..., 0]
    rows, columns = np.indices(weight.shape)
    assert (columns * weight).sum() / weight.sum() == pytest.approx(place.real, abs=0.05)
    assert (rows * weight).sum() / weight.sum() == pytest.approx(place.imag, abs=0.05)
    assert canvas.shown(place + 5.5, (BODY,)) and not canvas.shown(place + 8, (BODY,))


def test_the_places_told_are_the_places_drawn(monkeypatch):
    drawn = []
    person = drawn_people.draw_person
    monkeypatch.setattr(
        drawn_people,
        "draw_person",
        lambda canvas, joints, *rest: (
            drawn.append((canvas.image.size, joints.copy())),
            person(canvas, joints, *rest),
        ),
    )
    image, places, _ = drawn_people.draw(SEED, 0)
    ((size, joints),) = drawn
    assert size == tuple(FINE * side for side in image.size)
    np.testing.assert_array_equal(places, np.column_stack((joints.real, joints.imag)))


def test_what_would_hide_nearly_everyone_is_taken_away(monkeypatch, pairs):
    def wall(rng, canvas, *_):
        assert COVER not in np.asarray(
            canvas.parts
        )  # nor is the first object there when the second comes
        canvas.fill(box(900, -900, 900), (0, 0, 0), COVER)

    monkeypatch.setattr(drawn_people, "draw_cover", wall)
    monkeypatch.setattr(
        drawn_people,
        "hidden",
        lambda canvas, joints, hidden=drawn_people.hidden: (
            seen.append(hidden(canvas, joints)),
            seen[-1],
        )[1],
    )
    steps = set()
    for index, (_, (bare, _, bare_unseen)) in enumerate(pairs[:12]):
        seen = []
        image, _, unseen = drawn_people.draw(SEED, index)
        np.testing.assert_array_equal(np.asarray(image), bare)
        np.testing.assert_array_equal(unseen, bare_unseen)
        assert all(step.all() for step in seen[1:])
        steps.add(len(seen))
    assert steps == {1, 2, 3}


def test_joints_lie_on_the_person():
    """The limbs' visible joints, looked up in the drawing's own record of what each pixel shows."""
    scene, body = np.random.default_rng(0).spawn(2)
    for _ in range(12):
        look, pose = sample_look(body, (120, 120, 120)), sample_pose(body)
        joints = skeleton(look, pose) * 100 + complex(130, 130)
        canvas = Canvas(drawn_people.scenery(scene, (260, 260), (120, 120, 120)), -1j)
        drawn_people.draw_person(canvas, joints, look, pose, 100)
        shown = [
            canvas.parts.getpixel(tuple(int((v + 0.5) * FINE) for v in (joint.real, joint.imag)))
            for joint in joints
        ]
        assert SCENE not in shown[:13]  # the head's top lies on its rim
        for joint in np.flatnonzero(~drawn_people.hidden(canvas, joints)):
            assert joint not in LIMBS or canvas.shown(joints[joint], (LIMB[joint],))


@pytest.mark.parametrize("back", [False, True])
def test_left_is_the_persons_own(back):
    rng = np.random.default_rng(1)
    for _ in range(50):
        look, pose = sample_look(rng, (120, 120, 120)), sample_pose(rng)
        upright = skeleton(look, replace(pose, back=back, rotation=0, lean=0))
        for right, left in ((8, 9), (2, 3)):
            assert (upright[left].real > upright[right].real) == (not back)


def test_most_face_the_viewer(truth):
    assert (truth[9, 0] > truth[8, 0]).mean() > 0.75


def test_a_bone_has_its_length():
    rng = np.random.default_rng(2)
    for _ in range(30):
        look, pose = sample_look(rng, (120, 120, 120)), sample_pose(rng)
        joints = skeleton(look, pose)
        for side, (shoulder, elbow, wrist) in enumerate(ARM):
            assert abs(joints[elbow] - joints[shoulder]) == pytest.approx(look.arm[0])
            assert abs(joints[wrist] - joints[elbow]) == pytest.approx(look.arm[1])
            hip, knee, _ = LEG[side]
            assert abs(joints[knee] - joints[hip]) == pytest.approx(
                look.leg[0] * pose.legs[side][2]
            )
        assert abs(joints[13] - joints[12]) == pytest.approx(look.head)


def test_whole_or_nothing(tmp_path, monkeypatch):
    def fail(*_):
        raise OSError("disk full")

    monkeypatch.setattr(drawn_people, "save_joints", fail)
    with pytest.raises(OSError, match="disk full"):
        drawn_people.write(tmp_path / "set", 2, 0, workers=1)
    assert not list(tmp_path.iterdir())


def test_an_existing_folder_is_left_alone(tmp_path):
    (tmp_path / "set").mkdir()
    (tmp_path / "set/mine").write_text("kept")
    with pytest.raises(PipelineError):
        drawn_people.write(tmp_path / "set", 2, 0, workers=1)
    assert (tmp_path / "set/mine").read_text() == "kept" and len(list(tmp_path.iterdir())) == 1


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ends a dead parent's children")
def test_who_is_killed_while_drawing_leaves_no_process_behind(tmp_path):
    code = "import sys; from pathlib import Path; from pipeline.figures.drawn_people import write\n"
    code += "write(Path(sys.argv[1]), 5000, 0, workers=2)"
    command = [sys.executable, "-c", code, str(tmp_path / "set")]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    with subprocess.Popen(command, stderr=subprocess.DEVNULL, env=environment) as process:
        parent, deadline = psutil.Process(process.pid), time.monotonic() + 60
        while len(list((tmp_path / ".set.part/images").glob("*.jpg"))) < 10:
            assert process.poll() is None and time.monotonic() < deadline
            time.sleep(0.05)
        workers = parent.children()
        process.send_signal(signal.SIGKILL)
    assert len(workers) >= 2
    _, alive = psutil.wait_procs(workers, timeout=10)
    assert not alive
