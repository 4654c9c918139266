"""Heatmaps: values worked by hand, places found again below a pixel, and the size of their two
factors."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.testing import assert_close

from pipeline.networks.heatmaps import decode, flip_maps, render, smooth


def test_a_peak_has_the_values_of_a_gaussian_with_x_to_the_right_and_y_down():
    [heatmap] = render(torch.tensor([[3.0, 1.5]]), size=8, sigma=2.0)
    assert heatmap.shape == (8, 8)
    assert heatmap[1, 3].item() == pytest.approx(math.exp(-(0.5**2) / 8))
    assert heatmap[2, 3].item() == pytest.approx(math.exp(-(0.5**2) / 8))
    assert heatmap[0, 5].item() == pytest.approx(math.exp(-(2**2 + 1.5**2) / 8))
    assert heatmap[6, 0].item() == pytest.approx(math.exp(-(3**2 + 4.5**2) / 8))


def test_the_peak_is_1_where_the_point_is_a_pixel():
    maps = render(torch.tensor([[5.0, 2.0], [0.0, 7.0]]), size=8, sigma=1.0)
    assert [maps[0, 2, 5].item(), maps[1, 7, 0].item()] == [1.0, 1.0]
    assert (maps == 1).sum() == 2


@pytest.mark.parametrize("point", [(math.nan, math.nan), (math.nan, 3.0), (3.0, math.nan)])
def test_a_joint_without_a_place_has_an_empty_heatmap(point):
    nowhere, somewhere = render(torch.tensor([point, (3.0, 3.0)]), size=8, sigma=1.0)
    assert (nowhere == 0).all() and somewhere.max() == 1


def test_render_takes_arrays_lists_and_whole_numbers():
    expected = render(torch.tensor([[2.0, 5.0]]), 8, 1.0)
    assert_close(render(np.array([[2.0, 5.0]], dtype=np.float32), 8, 1.0), expected)
    assert_close(render(np.array([[2, 5]]), 8, 1.0), expected)
    assert_close(render([[2, 5]], 8, 1.0), expected)


def test_maps_do_not_depend_on_the_batch_they_are_rendered_in():
    points = torch.rand(2, 3, 14, 2, generator=torch.Generator().manual_seed(0)) * 16
    maps = render(points, 16, 1.3)
    assert maps.shape == (2, 3, 14, 16, 16)
    assert_close(maps[1, 2], render(points[1, 2], 16, 1.3), rtol=0, atol=0)


@given(
    st.lists(st.tuples(st.floats(-0.4, 31.4), st.floats(-0.4, 31.4)), min_size=14, max_size=14),
    st.floats(0.7, 3.0),
    st.booleans(),
)
@settings(max_examples=50, deadline=None)
def test_decoding_finds_rendered_points_again_up_to_the_border(points, sigma, stored_in_half):
    points = torch.tensor(points)
    maps = render(points, 32, sigma)
    decoded, scores = decode(maps.half() if stored_in_half else maps)
    assert (decoded - points).abs().max() < 0.1
    nearest = points - points.round().clamp(0, 31)
    assert_close(scores, torch.exp(-(nearest**2).sum(-1) / (2 * sigma**2)), rtol=0, atol=2e-3)


def test_decoding_is_finer_than_the_pixel_of_the_peak():
    decoded, _ = decode(render(torch.tensor([[10.3, 20.8]]), 32, 1.0))
    assert_close(decoded, torch.tensor([[10.3, 20.8]]), rtol=0, atol=1e-3)


def test_decoding_keeps_the_shape_of_the_batch_and_the_sides_apart():
    points = torch.rand(2, 3, 5, 2, generator=torch.Generator().manual_seed(2)) * 15
    decoded, scores = decode(render(points, 16, 1.0))
    assert decoded.shape == (2, 3, 5, 2) and scores.shape == (2, 3, 5)
    assert_close(decoded, points, rtol=0, atol=1e-2)
    wide = torch.zeros(1, 4, 9)
    wide[0, 2, 7] = 0.5
    decoded, scores = decode(wide)
    assert decoded.round().tolist() == [[7.0, 2.0]] and scores.tolist() == [0.5]


def test_decoding_takes_arrays_and_half_precision():
    maps = render(torch.tensor([[4.0, 9.25]]), 16, 1.0)
    expected, score = decode(maps)
    for same in (maps.numpy(), maps.half(), maps.bfloat16()):
        decoded, scores = decode(same)
        assert decoded.dtype == torch.float32
        assert_close(decoded, expected, rtol=0, atol=0.05)
        assert_close(scores, score, rtol=0, atol=5e-3)


@pytest.mark.parametrize("level", [0.0, 0.25, 1.0])
def test_a_constant_map_has_its_first_pixel_and_its_level(level):
    decoded, scores = decode(torch.full((2, 8, 8), level))
    assert decoded.tolist() == [[0.0, 0.0]] * 2 and scores.tolist() == [level] * 2


@given(st.integers(0, 2**31))
@settings(max_examples=20, deadline=None)
def test_in_a_map_of_noise_the_place_stays_in_the_pixel_of_the_peak(seed):
    noise = torch.rand(6, 8, 8, generator=torch.Generator().manual_seed(seed))
    decoded, scores = decode(noise)
    index = noise.flatten(-2).argmax(-1)
    peak = torch.stack([index % 8, index // 8], dim=-1)
    assert ((decoded - peak).abs() <= 0.5).all()
    assert_close(scores, noise.flatten(-2).amax(-1), rtol=0, atol=0)


def test_a_smoothed_gaussian_is_a_wider_one_around_the_same_place():
    points = torch.tensor([[15.3, 16.8]])
    maps = smooth(render(points, 32, 1.5), sigma=2.0)
    # Variances add up, the mass stays: 1.5^2 + 2^2 = 2.5^2.
    assert_close(maps, render(points, 32, 2.5) * (1.5 / 2.5) ** 2, rtol=1e-4, atol=1e-5)
    assert_close(decode(maps)[0], points, rtol=0, atol=1e-3)


def test_smoothing_spreads_a_pixel_as_a_gaussian_of_sum_1():
    one = torch.zeros(2, 1, 21, 31)
    one[..., 10, 15] = 1
    maps = smooth(one, 1.5)
    assert maps.sum((-2, -1)).tolist() == [[pytest.approx(1)]] * 2
    assert maps[1, 0, 12, 14].item() == pytest.approx(
        math.exp(-(2**2 + 1) / (2 * 1.5**2)) / (2 * math.pi * 1.5**2)
    )


@pytest.mark.parametrize("place, moved", [(0.0, 0.7), (1.0, 0.1), (2.0, 0.01)])
def test_smoothing_moves_a_peak_at_the_border_inwards_but_little(place, moved):
    for point in ((place, 8.0), (8.0, 15 - place)):
        [[x, y]] = (
            decode(smooth(render(torch.tensor([point]), 16, 1.0), 1.0))[0] - torch.tensor(point)
        ).tolist()
        assert 0 <= x - y < moved


def test_after_smoothing_most_of_the_map_outweighs_its_highest_pixel():
    maps = torch.zeros(1, 16, 16)
    maps[0, 3, 3] = 1.0
    maps[0, 10:12, 11:13] = 0.6
    assert decode(maps)[0].round().tolist() == [[3, 3]]
    assert decode(smooth(maps, 1.0))[0].tolist() == [[pytest.approx(11.5), pytest.approx(10.5)]]


def test_each_task_of_mirrored_maps_takes_its_own_partners():
    """14 pose maps, each of its own number; 14 of hidden joints, each of 100 more."""
    values = torch.cat([torch.arange(14.0), torch.arange(14.0) + 100])
    maps = torch.zeros(1, 28, 1, 3)
    maps[0, :, 0, 0] = values
    mirrored = flip_maps(maps)
    assert (mirrored[..., :2] == 0).all()
    partners = [5, 4, 3, 2, 1, 0, 11, 10, 9, 8, 7, 6, 12, 13]
    assert mirrored[0, :, 0, 2].tolist() == partners + [100 + each for each in partners]
    assert torch.equal(flip_maps(maps[:, :14]), mirrored[:, :14])
