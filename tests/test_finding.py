"""The finder's boxes: decoded, compared, suppressed; and the network that gives the maps."""

import numpy as np
import pytest

from pipeline.finding.boxes import LEAST, Found, decode, overlaps, suppressed


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


def test_of_boxes_that_overlap_the_best_one_is_left():
    boxes = np.array([[[0, 0], [10, 10]], [[1, 0], [11, 10]], [[20, 0], [30, 10]]], float)
    left = suppressed(Found(boxes, np.array([0.9, 0.8, 0.7], np.float32)), overlap=0.6)
    np.testing.assert_allclose(left.scores, [0.9, 0.7], rtol=1e-6)
    all_three = suppressed(Found(boxes, np.array([0.9, 0.8, 0.7], np.float32)), overlap=0.9)
    assert len(all_three.scores) == 3
