"""Scenes made of photographs: all people in them are known, and how finding them is measured."""

import json

import numpy as np
import pytest
import simplejpeg
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import oracle
from pipeline.finder_training import losses
from pipeline.finding.boxes import Found, decode
from pipeline.geometry import within
from pipeline.mosaics import measures, protocol
from pipeline.mosaics.album import Album, Photographs
from pipeline.mosaics.composition import (
    FEWEST,
    Scene,
    background,
    cells,
    compose,
    one_photograph,
    person,
)
from pipeline.skeleton import HEAD_TOP, JOINTS

SIDE = 128


@pytest.fixture(scope="module")
def album():
    return oracle.album()


def dots(count=6, joint=8):
    """Black photographs whose annotated joints are bright dots."""
    rng = np.random.default_rng(0)
    images, joints = [], np.full((count, len(JOINTS), 2), np.nan)
    for k in range(count):
        image = np.zeros((160, 120, 3), np.uint8)
        joints[k, :joint] = rng.uniform((30, 40), (90, 120), (joint, 2))
        for x, y in np.rint(joints[k, :joint]).astype(int):
            image[y - 3 : y + 4, x - 3 : x + 4] = 255
        images.append(image)
    return Album(images, joints)


@pytest.mark.parametrize("most", [0, 2, 6])
def test_an_album_larger_than_its_memory_has_the_same_pixels_and_keeps_no_more_than_that(
    tmp_path, most
):
    images = dots().images
    files = [tmp_path / f"{k}.jpg" for k in range(len(images))]
    for file, image in zip(files, images, strict=True):
        file.write_bytes(simplejpeg.encode_jpeg(image))
    read = Photographs(files, memory=most * images[0].nbytes + 1)
    for _ in range(2):
        for k, image in enumerate(read):
            np.testing.assert_array_equal(image, simplejpeg.decode_jpeg(files[k].read_bytes()))
    np.testing.assert_array_equal(read[1:3], [read[1], read[2]])
    assert len(read) == 6 and sum(image.nbytes for image in read.kept.values()) == (
        most * images[0].nbytes
    )


@given(st.integers(0, 10_000))
@settings(max_examples=40, deadline=None)
def test_every_persons_box_is_tight_around_the_joints_in_sight(album, seed):
    scene = compose(np.random.default_rng(seed), album, SIDE)
    assert scene.pixels.shape == (SIDE, SIDE, 3) and scene.pixels.dtype == np.uint8
    width, height = scene.size
    assert max(width, height) <= SIDE
    assert not scene.pixels[height:].any() and not scene.pixels[:, width:].any()
    assert len(scene.boxes) == len(scene.joints) == len(scene.photographs) <= 9
    for box, joints in zip(scene.boxes, scene.joints, strict=True):
        inside = within(joints, scene.size)
        assert inside.sum() >= FEWEST
        # A joint beyond its own part of a mosaic may still lie inside the picture.
        assert (box[0] >= np.nanmin(joints, axis=0) - 1e-6).all()
        assert (box[1] <= np.nanmax(joints, axis=0) + 1e-6).all()
        assert (box[0] >= -0.5).all() and (box[1] < scene.size).all()


def test_the_joints_lie_on_what_shows_them():
    bright = []
    album = dots()
    for seed in range(60):
        scene = compose(np.random.default_rng(seed), album, 256)
        for box, joints in zip(scene.boxes, scene.joints, strict=True):
            shown = ((joints >= box[0] - 0.01) & (joints <= box[1] + 0.01)).all(-1)
            x, y = np.rint(joints[shown]).astype(int).T
            bright += scene.pixels[y, x].max(-1).tolist()
    assert np.mean(np.array(bright) > 100) > 0.97 and len(bright) > 300


def test_a_scene_depends_on_its_numbers_alone(album):
    one, other = (compose(np.random.default_rng([1, 2]), album, SIDE) for _ in range(2))
    assert (one.pixels == other.pixels).all() and (one.boxes == other.boxes).all()
    assert (compose(np.random.default_rng([1, 3]), album, SIDE).pixels != one.pixels).any()


def test_some_scenes_are_empty_and_some_hold_many_people_and_some_are_cut_off(album):
    scenes = [compose(np.random.default_rng(seed), album, SIDE) for seed in range(150)]
    counts = [len(scene.boxes) for scene in scenes]
    assert counts.count(0) > 5 and max(counts) >= 5
    hidden = [(~within(joints, scene.size)).sum() for scene in scenes for joints in scene.joints]
    assert sum(count > 0 for count in hidden) > 10


@given(st.integers(0, 1000), st.integers(1, 9))
@settings(max_examples=30, deadline=None)
def test_cells_fill_the_picture_without_overlap(seed, count):
    seen = np.zeros((90, 120), int)
    parts = cells(np.random.default_rng(seed), np.array([0, 0]), np.array([120, 90]), count)
    for (left, top), (right, bottom) in parts:
        assert right > left and bottom > top
        seen[top:bottom, left:right] += 1
    assert len(parts) == count and (seen == 1).all()


def test_a_background_shows_no_joint_of_its_photograph():
    album = dots()
    for seed in range(40):
        patch = background(np.random.default_rng(seed), album, (60, 40))
        assert patch.shape == (40, 60, 3)
        # From a black photograph without its bright dots, or drawn.
        assert patch.max() < 255 or patch.std() > 1 and (patch > 0).mean() > 0.5


RED = (255, 0, 0)


def two_each() -> Album:
    """The same with somebody beside, whose dots are red, in the right half of a wider picture."""
    alone, images, beside = dots(), [], {}
    for k, image in enumerate(alone.images):
        wide = np.zeros((160, 260, 3), np.uint8)
        wide[:, :120] = image
        other = alone.joints[k - 1] + [130, 0]
        for x, y in np.rint(other[:8]).astype(int):
            wide[y - 3 : y + 4, x - 3 : x + 4] = RED
        images.append(wide)
        beside[k] = other[None]
    return Album(images, alone.joints, beside)


def test_who_is_known_to_be_beside_is_in_the_scene_or_wholly_out_of_sight():
    album, counts = two_each(), set()
    for seed in range(60):
        shown = person(np.random.default_rng(seed), album, (90, 70))
        if shown is None:
            continue
        patch, everybody, _ = shown
        counts.add(len(everybody))
        red = (patch[..., 0] > 200) & (patch[..., 1:] < 90).all(-1)
        assert red.any() == (len(everybody) == 2)
        assert (within(everybody, (90, 70)).sum(-1) >= 4).all()
    assert counts == {1, 2}


def test_a_whole_photograph_has_a_box_for_everybody_who_is_known():
    album = two_each()
    scene = one_photograph(np.random.default_rng(1), album, SIDE)
    assert scene.boxes.shape == (2, 2, 2) and len(set(scene.photographs.tolist())) == 1
    left, right = sorted(scene.boxes.tolist())
    assert left[1][0] < right[0][0]


def test_a_background_shows_nobody_beside_either():
    album = two_each()
    for seed in range(40):
        patch = background(np.random.default_rng(seed), album, (60, 40))
        assert patch.max() < 255 or patch.std() > 1 and (patch > 0).mean() > 0.5


def test_above_people_without_heads_there_is_more_room():
    """Their heads are somewhere above the highest joint: a tenth of the extent is bright there."""
    joints = np.full((1, len(JOINTS), 2), np.nan)
    joints[0, :12] = np.random.default_rng(0).uniform((40, 150), (80, 250), (12, 2))
    joints[0, :2] = (40, 150), (80, 250)
    image = np.zeros((260, 120, 3), np.uint8)
    image[112:150] = 255  # 0.38 of the extent of 100 px
    album = Album([image], joints)
    assert not album.with_heads
    for seed in range(60):
        patch = background(np.random.default_rng(seed), album, (60, 40))
        assert patch.max() == 0 or patch.std() > 1 and (patch > 0).mean() > 0.9
    joints[0, HEAD_TOP] = 60, 150
    assert Album([image], joints).with_heads


def scene_of(*boxes):
    pixels = np.zeros((SIDE, SIDE, 3), np.uint8)
    corners = np.array(boxes, float).reshape(-1, 2, 2)
    return Scene(pixels, (SIDE, SIDE), corners, np.empty((0, 14, 2)), np.empty(0, int))


def test_what_the_true_maps_say_is_what_was_put_in():
    boxes = [[[10, 20], [50, 90]], [[80, 30], [100, 60]]]
    centres, edges = losses.true_maps(scene_of(*boxes))
    assert centres.shape == (1, 16, 16) and (centres == 1).sum() == 2
    found = decode(centres[0], edges, SIDE)
    best = sorted(found.boxes[found.scores == 1].tolist())
    np.testing.assert_allclose(best, boxes, atol=1e-3)


def test_an_empty_scene_has_empty_maps_and_its_loss_is_that_of_inventing_people():
    centres, edges = map(torch.from_numpy, losses.true_maps(scene_of()))
    assert not centres.any() and not edges.any()
    none, many = torch.full((1, 1, 16, 16), -9.0), torch.full((1, 1, 16, 16), 3.0)
    assert losses.centre_loss(none, centres[None]) < 1e-4
    assert losses.centre_loss(many, centres[None]) > 100
    assert losses.edge_loss(torch.rand(1, 4, 16, 16), edges[None], centres[None]) == 0


def test_the_losses_on_values_worked_by_hand():
    logits = torch.zeros(1, 1, 1, 2)
    centres = torch.tensor([[[[1.0, 0.5]]]])
    # Yes and no are 1/2: -(1/2)^2 log 1/2, and -(1 - 1/2)^4 (1/2)^2 log 1/2.
    expected = (0.25 + 0.0625 * 0.25) * np.log(2)
    assert losses.centre_loss(logits, centres).item() == pytest.approx(expected)
    one = torch.ones(1, 1, 1, 1)
    truth = torch.tensor([0.2, 0.2, 0.2, 0.2]).view(1, 4, 1, 1)
    assert losses.edge_loss(truth, truth, one).item() == pytest.approx(0, abs=1e-5)
    half = torch.tensor([0.2, 0.2, 0.0, 0.2]).view(1, 4, 1, 1)  # IoU 1/2, hull the truth itself
    assert losses.edge_loss(half, truth, one).item() == pytest.approx(0.5, abs=1e-5)


def found(*boxes_and_scores):
    boxes = np.array([box for box, _ in boxes_and_scores], float).reshape(-1, 2, 2)
    return Found(boxes, np.array([score for _, score in boxes_and_scores], np.float32))


A, B, C = [[0, 0], [10, 10]], [[20, 0], [30, 10]], [[0, 20], [10, 30]]


def test_a_person_is_found_once_and_precision_counts_what_was_invented():
    people = [np.array([A, B], float), np.empty((0, 2, 2))]
    boxes = [found((A, 0.9), (A, 0.6), (B, 0.5)), found((C, 0.7))]
    matches = measures.match(boxes, people)
    assert matches.people == 2 and matches.right.tolist() == [True, False, False, True]
    np.testing.assert_allclose(matches.scores, [0.9, 0.7, 0.6, 0.5], rtol=1e-6)
    recall, precision = measures.curve(matches)
    assert recall.tolist() == [0.5, 0.5, 0.5, 1] and precision.tolist() == [1, 1 / 2, 1 / 3, 2 / 4]
    assert measures.recall_at(matches, 0.9) == 0.5 and measures.recall_at(matches, 0.5) == 1
    assert measures.average_precision(matches) == pytest.approx(0.5 * 1 + 0.5 * 0.5)
    assert measures.at_score(matches, 0.65) == {"recall": 0.5, "precision": 0.5}


def test_where_nothing_is_found_nothing_is_measured_wrongly():
    matches = measures.match([found()], [np.array([A], float)])
    assert measures.recall_at(matches, 0.9) == measures.average_precision(matches) == 0
    assert measures.at_score(matches, 0.5) == {"recall": 0.0, "precision": None}
    assert measures.best_score(matches) == 1.0
    json.dumps(protocol.shares(matches), allow_nan=False)


def test_boxes_in_any_order_are_ranked_by_their_scores():
    scores, right = np.array([0.2, 0.9, 0.5, 0.9]), np.array([True, False, True, True])
    matches = measures.ranked(scores, right, 7)
    assert matches.scores.tolist() == [0.9, 0.9, 0.5, 0.2] and matches.people == 7
    assert matches.right.tolist() == [False, True, True, True]  # of equal ones the first first


def test_the_best_score_worked_by_hand():
    # F1 of 2 people, from the surest box on: 2/3, 1/2, 4/5, 2/3.
    scores, right = np.array([0.9, 0.8, 0.7, 0.6]), np.array([True, False, True, False])
    assert measures.best_score(measures.ranked(scores, right, 2)) == 0.7
    # Of 9 people, 2/10, 2/11, 4/12, 4/13: where few are found at all, more is better.
    assert measures.best_score(measures.ranked(scores, right, 9)) == 0.7
    assert measures.best_score(measures.ranked(scores, right[::-1], 2)) == 0.6


def test_whole_photographs_worked_by_hand():
    """Of two, the best box of one is the annotated person's; the other's is found second."""
    joints = np.full((2, 14, 2), np.nan)
    joints[:, 0], joints[:, 1] = A
    joints[1, :2] += 20
    photographs = Album([np.zeros((40, 40, 3), np.uint8)] * 2, joints)
    said = protocol.in_photographs(
        [found((A, 0.9), (B, 0.8)), found((B, 0.35), ([[20, 20], [30, 30]], 0.25))], photographs
    )
    assert said["people"] == 2 and said["best"] == 0.5
    assert said["at_score"]["0.3"] == {"recall": 0.5, "precision": 1 / 3}
    assert said["at_score"]["0.2"] == {"recall": 1.0, "precision": 0.5}
    assert said["recall_at_precision_0.9"] == 0.5
    assert protocol.in_photographs([found(), found()], photographs)["best"] == 0


def test_a_finder_that_knows_the_truth_finds_everybody_in_every_mosaic(album, monkeypatch):
    monkeypatch.setattr(protocol, "SCENES", 30)
    monkeypatch.setattr(protocol, "BATCH", 7)
    made = protocol.scenes(album)
    assert [scene.size for scene in made] == [scene.size for scene in protocol.scenes(album)]
    whole = [
        Scene(
            image,
            image.shape[1::-1],
            np.array([[joints.min(0), joints.max(0)]]),
            joints[None],
            np.array([k]),
        )
        for k, (image, joints) in enumerate(zip(album.images, album.joints, strict=True))
    ]
    said = protocol.measure(oracle.Oracle([*made, *whole], protocol.SIDE), album)
    assert said["mosaics"]["scenes"] == 30
    assert said["mosaics"]["people"] == sum(len(scene.boxes) for scene in made) > 40
    # Two people whose boxes share most of their pixels are one.
    for of in (said["mosaics"], said["photographs"]):
        assert of["recall_at_precision_0.9"] > 0.97 and of["average_precision"] > 0.97
        assert of["at_score"]["0.7"]["precision"] > 0.97
    assert said["photographs"]["best"] == 1 and said["photographs"]["people"] == 12
    json.dumps(said, allow_nan=False)
    blind = protocol.measure(Blind(), album)
    assert blind["mosaics"]["at_score"]["0.1"] == {"recall": 0.0, "precision": None}
    assert blind["photographs"]["best"] == 0


class Blind:
    """A finder without peaks."""

    input_size = 64

    def maps(self, views):
        return np.zeros((len(views), 8, 8), np.float32), np.zeros((len(views), 4, 8, 8), np.float32)


def test_a_picture_is_a_scene_without_what_is_beyond_it(album):
    scene = compose(np.random.default_rng(3), album, SIDE)
    shown = protocol.picture(scene)
    assert shown.shape[1::-1] == scene.size != (SIDE, SIDE)
    assert (shown == scene.pixels[: scene.size[1], : scene.size[0]]).all()
