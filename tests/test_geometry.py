"""Where a person is: boxes, crops, inputs and heatmaps, on values worked by hand."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from conftest import GEOMETRY
from pipeline.geometry import Geometry, invert, person_boxes, transform
from pipeline.settings import Cache


def test_person_box_is_the_scaled_extent_around_the_middle():
    points = np.full((2, 14, 2), np.nan)
    points[0, 3], points[0, 8], points[0, 9] = (10, 20), (30, 40), (20, 100)
    points[1, 0] = 5, 6
    centre, side = person_boxes(points, 1.25)
    assert centre.tolist() == [[20, 60], [5, 6]] and side.tolist() == [100, 8]


def test_the_pixel_box_is_the_person_box_with_its_margin_at_whole_pixels():
    points = np.full((1, 14, 2), np.nan)
    points[0, 3], points[0, 8] = (10.2, 20), (30, 60.2)
    # Extent 40.2, times 1.25 of the box, times 96 / 64 of the margin: 75.4 around (20.1, 40.1).
    corner, side = GEOMETRY.pixel_boxes(points)
    assert side.tolist() == [75]
    assert corner.tolist() == [[-17, 3]]  # pixels -17 to 57, their middle 20


def test_crop_affine_maps_the_edges_of_the_crop_to_those_of_the_box():
    affine = replace(GEOMETRY, input_size=50, crop_scale=1.0).crop_affines(
        np.array([[-30, 10]]), np.array([100])
    )
    edges = np.array([[[-0.5, -0.5], [49.5, 49.5], [24.5, 24.5], [0, 0]]])
    # The box covers pixels -30 to 69, so its edges lie half a pixel beyond their centres.
    expected = [[-30.5, 9.5], [69.5, 109.5], [19.5, 59.5], [-29.5, 10.5]]
    assert transform(affine, edges)[0].tolist() == expected
    back = transform(invert(affine), transform(affine, edges))
    np.testing.assert_allclose(back, edges, atol=1e-12)


@pytest.mark.parametrize(
    "size, margin, stored", [(64, 1.5, 96), (64, 1.0, 64), (96, 1.3, 124), (128, 1.5, 192)]
)
def test_stored_size_is_the_input_and_a_whole_margin_on_both_sides(size, margin, stored):
    assert replace(GEOMETRY, input_size=size, crop_scale=margin).stored_size == stored


@pytest.mark.parametrize("margin", np.linspace(1, 2, 15))
def test_stored_size_has_the_parity_of_the_input(margin):
    for size in (64, 96, 100, 127):
        stored = replace(GEOMETRY, input_size=size, crop_scale=margin).stored_size
        assert (stored - size) % 2 == 0 and abs(stored - size * margin) <= 1


def test_heatmap_pixels_cover_the_input_pixels_of_their_stride():
    assert GEOMETRY.stride == 4
    edges = np.array([-0.5, 1.5, 3.5, 63.5])
    assert GEOMETRY.input_to_heatmap(edges).tolist() == [-0.5, 0, 0.5, 15.5]
    points = torch.tensor([[3.0, 60.25]])
    assert_close(GEOMETRY.heatmap_to_input(GEOMETRY.input_to_heatmap(points)), points)
    assert GEOMETRY.heatmap_to_input(0) == 1.5


def test_the_margin_lies_before_and_behind_the_input():
    assert GEOMETRY.margin == 16 and GEOMETRY.stored_size == 96
    assert np.arange(96)[GEOMETRY.middle].tolist() == list(range(16, 80))
    places = np.array([[16.0, 16.0], [79.0, 20.5]])
    assert GEOMETRY.crop_to_input(places).tolist() == [[0, 0], [63, 4.5]]
    assert (GEOMETRY.input_to_crop(GEOMETRY.crop_to_input(places)) == places).all()


def test_the_margin_and_the_stride_go_by_their_own_sizes():
    """Of 96 px, 1.3 times: 14.4 px on either side, of which 14 are whole."""
    geometry = replace(GEOMETRY, input_size=96, heatmap_size=48, crop_scale=1.3)
    assert (geometry.stride, geometry.margin, geometry.stored_size) == (2, 14, 124)
    assert geometry.middle == slice(14, 110)
    assert geometry.crop_to_input(np.array([14.0, 109.0])).tolist() == [0, 95]
    assert geometry.input_to_crop(np.array([0.0, 95.0])).tolist() == [14, 109]
    assert geometry.input_to_heatmap(np.array([0.5, 94.5])).tolist() == [0, 47]
    assert geometry.heatmap_to_input(np.array([0.0, 47.0])).tolist() == [0.5, 94.5]


def test_the_group_cache_of_params_yaml_is_a_geometry():
    group = {"input_size": 64, "heatmap_size": 16, "sigma": 1.0, "box": 1.25, "margin": 1.5}
    assert Geometry.of(group) == Cache(**group).geometry == GEOMETRY


def test_a_point_goes_from_the_photograph_to_the_heatmap_and_back():
    """A box of 192 px from (100, 40): 2 px of the photograph a px of the crop, 4 of these a heatmap
    px."""
    affine = GEOMETRY.crop_affines(np.array([[100, 40]]), np.array([192]))
    in_crop = transform(invert(affine), np.array([[[162.5, 110.5]]]))
    assert in_crop.tolist() == [[[31, 35]]]
    in_heatmap = GEOMETRY.input_to_heatmap(GEOMETRY.crop_to_input(in_crop))
    assert in_heatmap.tolist() == [[[3.375, 4.375]]]
    back = GEOMETRY.input_to_crop(GEOMETRY.heatmap_to_input(in_heatmap))
    assert transform(affine, back).tolist() == [[[162.5, 110.5]]]
