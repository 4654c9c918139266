"""The finder's boxes: decoded, compared, suppressed; and the network that gives the maps."""

import numpy as np
import pytest
import torch

import oracle
import untrained
from conftest import CPU
from pipeline.finder_training import loop
from pipeline.finding.boxes import LEAST, MOST, Found, decode, overlaps, refined, suppressed
from pipeline.finding.estimator import PeopleFinder
from pipeline.finding.finder import RARE, Finder
from pipeline.finding.views import find, scaled, view
from pipeline.networks.checkpoint import WeightsError
from pipeline.networks.layers import normalise


def maps(size=8):
    return np.full((size, size), 0.01, np.float32), np.full((4, size, size), 0.1, np.float32)


def test_a_peak_becomes_a_box_around_the_middle_of_its_cell():
    centres, edges = maps()
    centres[2, 5] = 0.8
    edges[:, 2, 5] = 0.125, 0.25, 0.0625, 0.5
    found = decode(centres, edges, side=64)
    x, y = 5 * 8 + 3.5, 2 * 8 + 3.5
    assert found.scores.tolist() == [pytest.approx(0.8)]
    np.testing.assert_allclose(found.boxes, [[[x - 8, y - 16], [x + 4, y + 32]]])


def test_the_best_comes_first_and_what_is_hardly_a_peak_is_none():
    centres, edges = maps()
    centres[1, 1], centres[6, 6], centres[1, 6], centres[6, 1] = 0.3, 0.9, LEAST / 2, 0.5
    centres[6, 5] = 0.85  # beside a higher one
    scores = decode(centres, edges, side=64).scores
    np.testing.assert_allclose(scores, [0.9, 0.5, 0.3], rtol=1e-6)


def test_an_empty_picture_holds_nobody():
    found = decode(*maps(), side=64)
    assert found.boxes.shape == (0, 2, 2) and found.scores.shape == (0,)


def test_overlap_is_intersection_over_union():
    a = np.array([[[0.0, 0.0], [2.0, 2.0]]])
    others = np.array(
        [[[0, 0], [2, 2]], [[1, 0], [3, 2]], [[5, 5], [6, 6]], [[2, 0], [2, 2]]], float
    )
    np.testing.assert_allclose(overlaps(a, others), [[1, 2 / 6, 0, 0]])
    assert overlaps(a, others[:0]).shape == (1, 0)


def test_a_box_moves_halfway_to_its_joints_and_stays_in_the_picture():
    boxes = np.array([[(10, 20), (50, 80)], [(60, 10), (90, 60)], [(0, 0), (8, 8)]], float)
    joints = np.empty((3, 14, 2))
    joints[0] = [(20, 30)] * 13 + [(40, 90)]  # extents 20, 30 to 40, 90
    joints[1] = [(80, -30)] * 13 + [(130, 40)]  # beyond the right and the upper edge
    joints[2] = [(-30, 4)] * 14  # nothing of it would be left in the picture
    moved = refined(boxes, joints, (100, 85))
    np.testing.assert_allclose(moved[0], [(15, 25), (45, 84)])  # 85, where the last pixel is 84
    np.testing.assert_allclose(moved[1], [(70, 0), (99, 50)])
    np.testing.assert_allclose(moved[2], boxes[2])
    assert refined(boxes[:0], joints[:0], (100, 85)).shape == (0, 2, 2)


def test_of_boxes_that_overlap_the_best_one_is_left():
    boxes = np.array([[[0, 0], [10, 10]], [[1, 0], [11, 10]], [[20, 0], [30, 10]]], float)
    left = suppressed(Found(boxes, np.array([0.9, 0.8, 0.7], np.float32)), overlap=0.6)
    np.testing.assert_allclose(left.scores, [0.9, 0.7], rtol=1e-6)
    all_three = suppressed(Found(boxes, np.array([0.9, 0.8, 0.7], np.float32)), overlap=0.9)
    assert len(all_three.scores) == 3


def test_of_more_boxes_than_anybody_asks_for_the_best_are_left():
    centres, edges = maps(32)
    centres[::2, ::2] = np.linspace(0.1, 0.9, 256).reshape(16, 16)
    edges[:] = 0.01  # 2.56 px of 256, none overlaps another
    found = decode(centres, edges, side=256)
    np.testing.assert_allclose(found.scores, np.linspace(0.9, 0.1, 256)[:MOST], rtol=1e-5)
    assert found.boxes.shape == (MOST, 2, 2)


def test_a_photograph_is_seen_whole_in_the_upper_left():
    assert scaled((100, 37), 64) == (64, 24)  # 23.68
    assert scaled((37, 100), 64) == (24, 64)
    assert scaled((10, 5), 64) == (64, 32) and scaled((9000, 3), 64) == (64, 1)
    for size in ((100, 37), (37, 100), (10, 5), (64, 64)):
        white = np.full((size[1], size[0], 3), 255, np.uint8)
        width, height = scaled(size, 64)
        seen = view(white, 64)
        assert seen.shape == (64, 64, 3) and (seen[:height, :width] == 255).all()
        assert not seen[height:].any() and not seen[:, width:].any()


def test_what_shrinks_is_averaged():
    fine = np.zeros((128, 128, 3), np.uint8)
    fine[:, ::2] = 200
    assert (view(fine, 64) == 100).all()


class Bright:
    """A finder of the bright rectangle in a view."""

    input_size = 64

    def maps(self, views):
        centres = np.zeros((len(views), 8, 8), np.float32)
        edges = np.zeros((len(views), 4, 8, 8), np.float32)
        for k, seen in enumerate(views):
            rows, columns = np.nonzero(seen.max(-1) > 128)
            first, last = (np.array([end(columns), end(rows)]) for end in (np.min, np.max))
            x, y = ((first + last) / 2 // 8).astype(int)
            middle = np.array([x, y]) * 8 + 3.5
            centres[k, y, x] = 0.75
            edges[k, :, y, x] = np.concatenate([middle - first, last - middle]) / 64
        return centres, edges


def test_boxes_come_back_in_the_photographs_own_pixels():
    """Hand-worked: a view's pixel 10 covers two of a photograph's twice as large, 20 and 21."""
    large = np.zeros((64, 128, 3), np.uint8)
    large[8:40, 20:60] = 255
    small = np.zeros((32, 16, 3), np.uint8)
    small[10:20, 4:12] = 255
    found = find(Bright(), [large, small, large[:, :64]])
    np.testing.assert_allclose(found[0].boxes, [[[20.5, 8.5], [58.5, 38.5]]], atol=1e-5)
    np.testing.assert_allclose(found[1].boxes, [[[3.75, 9.75], [11.25, 19.25]]], atol=1e-5)
    np.testing.assert_allclose(found[2].boxes, [[[20, 8], [59, 39]]], atol=1e-5)
    assert all(each.scores.tolist() == [0.75] for each in found)


def test_a_finder_starts_with_nobody_anywhere():
    finder = Finder(untrained.FINDER).eval()
    centres, edges = finder(torch.randn(2, 3, 64, 96))
    assert centres.shape == (2, 1, 8, 12) and edges.shape == (2, 4, 8, 12)
    assert (centres == RARE).all() and 1 / (1 + np.exp(-RARE)) < LEAST
    assert 0 < edges.min() < edges.max() < 1


def test_the_weights_of_a_file_make_the_maps(tmp_path):
    untrained.write(tmp_path)
    finder = PeopleFinder.load(tmp_path / "finder.safetensors")
    assert finder.input_size == 64 and finder.settings["finder"] == untrained.FINDER.model_dump()
    images = list(oracle.album(2).images)
    views = np.stack([view(image, 64) for image in images])
    centres, edges = finder.maps(views)
    assert centres.shape == (2, 8, 8) and edges.shape == (2, 4, 8, 8)
    pixels = torch.from_numpy(views).permute(0, 3, 1, 2) / 255
    with torch.inference_mode():
        logits, expected = finder.finder(normalise(pixels).to(finder.device))
    np.testing.assert_allclose(centres, logits.sigmoid().squeeze(1).cpu(), atol=1e-4)
    np.testing.assert_allclose(edges, expected.cpu(), atol=1e-4)
    for image, found, of_centres, of_edges in zip(
        images, finder.find(images), centres, edges, strict=True
    ):
        boxes, scores = decode(of_centres, of_edges, 64)
        scale = max(image.shape) / 64  # but for rounding of the shorter side
        np.testing.assert_allclose(found.scores, scores)
        np.testing.assert_allclose(found.boxes, (boxes + 0.5) * scale - 0.5, rtol=0.02, atol=2)


def test_a_file_without_a_finder_is_refused_in_one_sentence(tmp_path):
    generator = untrained.write(tmp_path)
    for path, said in ((generator, "do not make a network"), (tmp_path / "no", "no weights there")):
        with pytest.raises(WeightsError, match=said) as error:
            PeopleFinder.load(path)
        assert str(error.value).startswith(f"{path}: ") and "\n" not in str(error.value)


def trained(**changes):
    """A finder taught on a few drawn people, and the points of its curve."""
    points = []
    settings = untrained.FINDER.model_copy(update=changes)
    finder = loop.train(oracle.album(4), settings, CPU, lambda *point: points.append(point))
    return finder, points


def test_a_finder_is_taught():
    features = [8, 8, 8]  # all levels that the backbone has
    finder, points = trained(steps=14, learning_rate=0.01, features=features)
    losses = [values["finder/centres"] for _, values in points]
    assert np.mean(losses[-6:]) < 0.9 * np.mean(losses[:2])
    assert all(0 < values["finder/edges"] < 2 for _, values in points)
    assert not finder.training
    # The backbone's first level stays as it was; what is above it does not.
    torch.manual_seed(untrained.FINDER.seed)
    settings = untrained.FINDER.model_copy(update={"features": features})
    fresh = dict(Finder(settings).named_parameters())
    kinds = {True: [], False: []}
    for name, values in finder.named_parameters():
        kinds[values.requires_grad].append(torch.equal(values, fresh[name]))
    assert kinds[False] and all(kinds[False])
    assert len(kinds[True]) > 20 and not any(kinds[True])


@pytest.mark.usefixtures("one_thread")
def test_the_same_training_gives_the_same_weights_and_the_same_curve():
    (one, points), (other, same) = (trained(steps=3, log_every=2) for _ in range(2))
    another, _ = trained(steps=3, seed=1)
    assert points == same and [step for step, _ in points] == [2, 3]
    states = [each.state_dict() for each in (one, other, another)]
    assert all(torch.equal(values, states[1][name]) for name, values in states[0].items())
    assert not all(torch.equal(values, states[2][name]) for name, values in states[0].items())


def test_a_scene_depends_on_the_seed_the_step_and_its_place_alone():
    album = oracle.album(4)
    settings = untrained.FINDER.model_copy(update={"steps": 3, "batch": 2})
    three = list(loop.scenes(album, settings))
    assert [[tuple(each.shape) for each in step] for step in three] == [
        [(2, 3, 64, 64), (2, 1, 8, 8), (2, 4, 8, 8)]
    ] * 3
    fewer = list(loop.scenes(album, settings.model_copy(update={"steps": 1, "batch": 1})))
    assert len(fewer) == 1
    for one, other in zip(three[0], fewer[0], strict=True):
        assert torch.equal(one[:1], other)
    images = [image for step, *_ in three for image in step]
    images.append(next(loop.scenes(album, settings.model_copy(update={"seed": 1})))[0][0])
    assert all(not torch.equal(one, other) for k, one in enumerate(images) for other in images[:k])
