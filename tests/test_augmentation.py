"""Augmentation: joints move, mirror and hide with the pixels that show them; draws depend on seeds
alone."""

from math import atan2, degrees

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.testing import assert_close

from conftest import flip_points
from pipeline.evaluation.occluders import Occluders, People, draw_occluders, occlude
from pipeline.networks import heatmaps
from pipeline.networks.heatmaps import flip_maps
from pipeline.networks.layers import normalise
from pipeline.seeding import seeded
from pipeline.settings import Augment
from pipeline.skeleton import FLIP, JOINTS
from pipeline.training.augmentation import (
    Window,
    cut_off,
    draw_colours,
    draw_cuts,
    draw_warps,
    identity_warps,
    recolour,
    warp,
)

AUGMENT = Augment(
    enabled=True,
    rotation=30,
    scale=(0.75, 1.25),
    shift=0.05,
    flip=0.5,
    colour=0.3,
    cut=0,
    occluders=0.5,
    occluder_size=(0.12, 0.3),
)
STILL = AUGMENT.model_copy(
    update={"rotation": 0, "scale": (1, 1), "shift": 0, "flip": 0, "colour": 0, "occluders": 0}
)
STORED, FIELD = 96, 64
SEEN = torch.zeros(1, 14, dtype=torch.bool)


def middle_window(count):
    return Window.middle(count, STORED, FIELD)


def blob(size, place, sigma=2.0):
    """(size, size, 3) uint8: black, with one smooth, bright dot."""
    light = heatmaps.render(torch.tensor([place]), size, sigma)[0]
    return (light * 255).round().to(torch.uint8).unsqueeze(-1).expand(-1, -1, 3)


def middle(image):
    """The centre of light (2,) of an image (3, S, S)."""
    light = image.mean(0)
    steps = torch.arange(light.shape[-1], dtype=torch.float32)
    return torch.stack([(light.sum(0) * steps).sum(), (light.sum(1) * steps).sum()]) / light.sum()


def one_point(joint, place):
    """(1, 14, 2): one joint, all others unknown."""
    points = torch.full((1, 14, 2), torch.nan)
    points[0, joint] = torch.tensor(place)
    return points


def test_a_window_on_a_part_shows_it_as_large_as_the_input():
    place = [30.0, 40.0]
    window = Window(torch.tensor([place]), torch.tensor([FIELD / 2]))
    points = one_point(0, [32.0, 37.0])
    people = warp(blob(STORED, [32.0, 37.0])[None], points, SEEN, identity_warps(1), window, FIELD)
    expected = torch.tensor([31.5 + 2 * 2, 31.5 - 2 * 3])
    assert_close(people.points[0, 0], expected, rtol=0, atol=1e-4)
    assert_close(middle(people.images[0]), expected, rtol=0, atol=0.1)


def standing(count):
    """(count, 14, 2): joints evenly down a line, head top first, from y = 20 to 72."""
    y = torch.linspace(72, 20, 14)
    x = torch.linspace(40, 56, 14)
    return torch.stack([x, y], -1).repeat(count, 1, 1)


def test_a_cut_leaves_the_joints_on_one_side_of_an_edge_and_a_window_around_them():
    points = standing(200)
    points[:, 3] = torch.nan
    seen, window = draw_cuts(seeded(5), points, 1.0, middle_window(200))
    cut = torch.isfinite(seen).any(-1).any(-1)
    assert cut.sum() > 180  # few would have been cut to less than four joints
    inside = ((points >= seen[:, :1]) & (points <= seen[:, 1:])).all(-1)
    assert (inside[cut].sum(1) >= 4).all() and (inside[cut].sum(1) < 13).all()
    assert (inside[~cut] == ~points[~cut].isnan().any(-1)).all()
    for k in cut.nonzero().flatten().tolist():
        left = points[k][inside[k]]
        assert_close(window.centre[k], (left.amin(0) + left.amax(0)) / 2)
        extent = (left.amax(0) - left.amin(0)).max().item()
        expected = max(FIELD * extent / 52, FIELD / 4)  # of the whole person: 52 px
        assert window.side[k].item() == pytest.approx(expected, rel=1e-4)
    sides = torch.isfinite(seen)[cut].flatten(1).float().mean(0)  # left, top, right, bottom
    assert sides.tolist() == pytest.approx([0.15, 0.1, 0.15, 0.6], abs=0.1)


def test_nobody_is_cut_without_probability_and_nobody_to_less_than_four_joints():
    few = torch.full((3, 14, 2), torch.nan)
    few[:, :4] = standing(3)[:, :4]
    for points, probability in ((standing(3), 0.0), (few, 1.0)):
        seen, window = draw_cuts(seeded(1), points, probability, middle_window(3))
        assert not torch.isfinite(seen).any()
        assert torch.equal(window.centre, middle_window(3).centre)
        assert torch.equal(window.side, middle_window(3).side)


def test_what_is_cut_off_is_black():
    crops = torch.full((2, 8, 8, 3), 200, dtype=torch.uint8)
    everything = torch.tensor([[-torch.inf] * 2, [torch.inf] * 2])
    upper_left = torch.tensor([[2.5, -torch.inf], [torch.inf, 4.0]])
    one, other = cut_off(crops, torch.stack([everything, upper_left]))
    assert (one == 200).all()
    assert (other[:5, 3:] == 200).all() and other.sum() == 5 * 5 * 3 * 200


def test_the_identity_warp_returns_the_middle_of_the_crop():
    crops = torch.randint(0, 256, (2, STORED, STORED, 3), generator=seeded(0)).to(torch.uint8)
    points = torch.rand(2, 14, 2, generator=seeded(1)) * STORED
    hidden = torch.rand(2, 14, generator=seeded(2)) < 0.5
    people = warp(crops, points, hidden, identity_warps(2), middle_window(2), FIELD)
    expected = crops[:, 16:80, 16:80].permute(0, 3, 1, 2) / 255
    assert_close(people.images, expected, rtol=0, atol=1e-4)
    assert_close(people.points, points - 16, rtol=0, atol=1e-4)
    assert (people.occluded == hidden).all()


def test_what_is_shrunk_is_averaged():
    crops = torch.randint(0, 256, (2, STORED, STORED, 3), generator=seeded(0)).to(torch.uint8)
    points = torch.full((2, 14, 2), torch.nan)
    people = warp(crops, points, SEEN, identity_warps(2), middle_window(2), FIELD // 4)
    squares = crops[:, 16:80, 16:80].float().unflatten(2, (16, 4)).unflatten(1, (16, 4))
    expected = squares.mean((2, 4)).permute(0, 3, 1, 2) / 255
    assert_close(people.images, expected, rtol=0, atol=1e-4)


@given(st.integers(0, 10_000), st.integers(0, 13), st.sampled_from([48, 64]))
@settings(max_examples=25, deadline=None)
def test_a_bright_dot_follows_its_joint_and_the_joint_its_name(seed, joint, size):
    rng = seeded(seed)
    place = ((torch.rand(2, generator=rng) - 0.5) * 20 + (STORED - 1) / 2).tolist()
    warps = draw_warps(rng, 1, AUGMENT)
    people = warp(
        blob(STORED, place)[None], one_point(joint, place), SEEN, warps, middle_window(1), size
    )
    renamed = FLIP[joint] if warps[1].item() else joint
    known = ~torch.isnan(people.points[0]).any(-1)
    assert known.nonzero().flatten().tolist() == [renamed]
    assert (people.points[0, renamed] - middle(people.images[0])).abs().max() < 0.25


def test_a_rotation_by_90_degrees_turns_what_is_right_of_the_middle_to_below_it():
    crops = blob(STORED, [57.5, 47.5])[None]  # 10 px to the right
    quarter = torch.tensor([[[0.0, -1.0, 0.0], [1.0, 0.0, 0.0]]]), torch.tensor([False])
    people = warp(crops, one_point(4, [57.5, 47.5]), SEEN, quarter, middle_window(1), FIELD)
    assert_close(people.points[0, 4], torch.tensor([31.5, 41.5]), rtol=0, atol=1e-4)
    assert_close(middle(people.images[0]), torch.tensor([31.5, 41.5]), rtol=0, atol=0.1)


def test_a_shift_counts_in_sides_of_the_input_and_a_scale_enlarges_the_person():
    matrix = torch.tensor([[[1.5, 0.0, 0.125], [0.0, 1.5, -0.125]]])
    place = [47.5 + 5, 47.5 + 3]
    people = warp(
        blob(STORED, place)[None],
        one_point(0, place),
        SEEN,
        (matrix, torch.tensor([False])),
        middle_window(1),
        64,
    )
    expected = torch.tensor([31.5 + 1.5 * 5 + 8, 31.5 + 1.5 * 3 - 8])
    assert_close(people.points[0, 0], expected, rtol=0, atol=1e-4)
    assert_close(middle(people.images[0]), expected, rtol=0, atol=0.1)


def test_a_mirrored_persons_hidden_joints_change_names_too():
    hidden = torch.zeros(2, 14, dtype=torch.bool)
    hidden[:, JOINTS.index("left_knee")] = hidden[:, JOINTS.index("neck")] = True
    mirror = torch.tensor([[[-1.0, 0.0, 0.0], [0.0, 1.0, 0.0]], [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]])
    crops, points = torch.zeros(2, STORED, STORED, 3, dtype=torch.uint8), torch.zeros(2, 14, 2)
    people = warp(
        crops, points, hidden, (mirror, torch.tensor([True, False])), middle_window(2), FIELD
    )
    names = [[JOINTS[j] for j in row.nonzero().flatten()] for row in people.occluded]
    assert names == [["right_knee", "neck"], ["left_knee", "neck"]]


def test_drawn_warps_stay_in_their_ranges_and_fill_them():
    matrix, flip = draw_warps(seeded(0), 500, AUGMENT)
    turned = matrix.clone()
    turned[flip, :, 0] *= -1  # without the mirroring, a rotation and a scale
    assert (
        (torch.linalg.det(matrix[:, :, :2]) < 0) == flip
    ).all() and 0.4 < flip.float().mean() < 0.6
    angles = [degrees(atan2(m[1][0], m[0][0])) for m in turned.tolist()]
    scales = torch.linalg.det(turned[:, :, :2]).sqrt()
    assert -30 <= min(angles) < -25 and 25 < max(angles) <= 30
    assert 0.7499 <= scales.min() < 0.78 and 1.22 < scales.max() <= 1.2501
    assert 0.04 < matrix[:, :, 2].abs().max() <= 0.05


def test_warps_without_range_change_nothing():
    matrix, flip = draw_warps(seeded(0), 4, STILL)
    assert_close(matrix, identity_warps(4)[0])
    assert not flip.any()
    assert (draw_colours(seeded(0), 4, STILL) == 1).all()


@given(st.lists(st.floats(0, 31), min_size=28, max_size=28))
@settings(max_examples=15, deadline=None)
def test_flipping_points_and_maps_are_involutions_that_agree(values):
    points = torch.tensor(values).reshape(1, 14, 2)
    maps = heatmaps.render(points, 32, 1.0)
    assert_close(flip_points(flip_points(points, 32), 32), points, rtol=0, atol=1e-4)
    assert_close(flip_maps(flip_maps(maps)), maps, rtol=0, atol=0)
    assert_close(
        heatmaps.render(flip_points(points, 32), 32, 1.0), flip_maps(maps), rtol=0, atol=1e-4
    )
    assert_close(heatmaps.decode(flip_maps(maps))[0], flip_points(points, 32), rtol=0, atol=0.05)


def test_the_left_wrist_on_the_left_of_the_picture_becomes_the_right_wrist_on_its_right():
    points = one_point(JOINTS.index("left_wrist"), [2.0, 5.0])
    mirrored = flip_points(points, 10)
    assert mirrored[0, JOINTS.index("right_wrist")].tolist() == [7.0, 5.0]
    assert torch.isnan(mirrored).sum() == 26


def placed(joint, shift, half, ellipse, active=True):
    """One occluder in one photograph."""
    return Occluders(
        torch.tensor([[joint]]),
        torch.tensor([[shift]]),
        torch.tensor([[half]]),
        torch.tensor([[ellipse]]),
        torch.tensor([[active]]),
    )


@pytest.fixture
def people():
    """A dark image with joints 0 to 3 at x = 10, 14, 15 and 30 px, y = 20 px, and no other
    joint."""
    points = torch.full((1, 14, 2), torch.nan)
    points[0, :4] = torch.tensor([[10.0, 20.0], [14.0, 20.0], [15.0, 20.0], [30.0, 20.0]])
    return People(torch.full((1, 3, 40, 40), 0.25), points, SEEN.clone())


@pytest.mark.parametrize("ellipse, pixels", [(False, 81), (True, 49)])
def test_an_occluder_shows_the_donor_and_hides_the_joints_under_it(people, ellipse, pixels):
    donors = torch.full((1, 3, 40, 40), 0.75)
    # 4 px around joint 0.
    covered = occlude(people, donors, placed(0, (0.0, 0.0), (0.1, 0.1), ellipse))
    under = covered.images[0] == 0.75
    assert (
        under[0].sum() == pixels and (under[0] == under[1]).all() and (under[0] == under[2]).all()
    )
    assert (covered.images[0][~under] == 0.25).all()
    assert under[0, 20, 6:15].all() and not under[0, 20, 5] and not under[0, 20, 15]
    assert covered.occluded[0].nonzero().flatten().tolist() == [0, 1]
    assert_close(covered.points, people.points, rtol=0, atol=0, equal_nan=True)
    assert not people.occluded.any() and (people.images == 0.25).all()


def test_an_occluder_has_its_own_width_height_and_place(people):
    donors = torch.full((1, 3, 40, 40), 0.75)
    # 8 x 4 px around (14, 18).
    covered = occlude(people, donors, placed(0, (0.5, -0.5), (0.2, 0.1), False))
    rows, columns = (covered.images[0, 0] == 0.75).nonzero().unbind(-1)
    assert (columns.min(), columns.max(), rows.min(), rows.max()) == (6, 22, 14, 22)
    assert covered.occluded[0].nonzero().flatten().tolist() == [0, 1, 2]


def test_what_an_occluder_shows_comes_from_the_photographs_own_donor(people):
    two = People(*(torch.cat([each, each]) for each in people))
    values = torch.linspace(0.5, 1, 3 * 40 * 40).reshape(1, 3, 40, 40)
    donors = torch.cat([values, values - 0.45])
    one = placed(0, (0.0, 0.0), (0.1, 0.1), False)
    covered = occlude(two, donors, Occluders(*(torch.cat([each, each]) for each in one)))
    for image, donor in zip(covered.images, donors, strict=True):
        shown = image[image != 0.25]
        assert len(shown) == 3 * 81 and torch.isin(shown, donor).all()


def test_hidden_joints_stay_hidden_and_joints_without_a_place_are_never_hidden(people):
    hidden = people.occluded.clone()
    hidden[0, 3] = True
    covered = occlude(
        people._replace(occluded=hidden), people.images, placed(0, (0.0, 0.0), (9.0, 9.0), False)
    )
    assert covered.occluded[0].nonzero().flatten().tolist() == [0, 1, 2, 3]
    assert torch.isnan(covered.points[0, 4:]).all()


@pytest.mark.parametrize(
    "occluder", [(0, True, False), (7, False, True)], ids=["inactive", "without a joint"]
)
def test_an_occluder_that_is_inactive_or_has_no_joint_covers_nothing(people, occluder):
    joint, ellipse, active = occluder
    covered = occlude(
        people, people.images + 0.5, placed(joint, (0.0, 0.0), (0.2, 0.2), ellipse, active)
    )
    assert (covered.images == people.images).all() and not covered.occluded.any()


@given(st.integers(0, 10_000))
@settings(max_examples=15, deadline=None)
def test_a_drawn_occluder_always_covers_the_annotated_joint_it_is_put_over(seed):
    rng = seeded(seed)
    points = torch.rand(4, 14, 2, generator=rng) * 63
    annotated = torch.rand(4, 14, generator=rng) < 0.3
    annotated[:, 5] = True
    points[~annotated] = torch.nan
    drawn = draw_occluders(rng, annotated, 1.0, (0.12, 0.3))
    assert annotated.gather(1, drawn.joint).all() and drawn.active[:, 0].all()
    assert (drawn.half >= 0.06).all() and (drawn.half <= 0.15).all()
    hidden = torch.zeros(4, 14, dtype=torch.bool)
    covered = occlude(
        People(torch.zeros(4, 3, 64, 64), points, hidden), torch.ones(4, 3, 64, 64), drawn
    )
    assert covered.occluded.gather(1, drawn.joint)[drawn.active].all()
    assert not covered.occluded[~annotated].any()


def step(seed, augment, annotated):
    """All random numbers of a step, and the next number that its generator would give."""
    rng = seeded(*seed)
    warps = draw_warps(rng, 8, augment)
    colours = draw_colours(rng, 8, augment)
    occluders = draw_occluders(rng, annotated, augment.occluders, augment.occluder_size)
    return warps, colours, occluders, torch.rand(1, generator=rng).item()


def test_the_same_seed_draws_the_same_whatever_the_settings_use_of_it():
    annotated = torch.ones(8, 14, dtype=torch.bool)
    always, never, again = (
        step((0, 7), AUGMENT.model_copy(update={"occluders": p}), annotated) for p in (1, 0, 1)
    )
    for (name, a), b, c in zip(always[2]._asdict().items(), never[2], again[2], strict=True):
        assert (a == c).all()
        assert (a == b).all() == (name != "active"), name
    assert (
        always[2].active[:, 0].all() and always[2].active[:, 1].any() and not never[2].active.any()
    )
    assert (always[0][0] == never[0][0]).all() and (always[1] == never[1]).all()
    # Whatever is drawn next is the same too, even where nothing is warped.
    assert always[3] == never[3] == step((0, 7), STILL, annotated)[3]
    unwarped = step((0, 7), STILL.model_copy(update={"occluders": 1}), annotated)[2]
    assert (unwarped.joint == always[2].joint).all() and (unwarped.shift == always[2].shift).all()


def test_other_steps_and_seeds_draw_other_numbers():
    seeds = [(a, b) for a in range(4) for b in range(50)] + [(a,) for a in range(50)]
    numbers = {tuple(torch.rand(3, generator=seeded(*seed)).tolist()) for seed in seeds}
    assert len(numbers) == len(seeds)


def test_recolour_changes_brightness_contrast_and_saturation_alone():
    images = torch.rand(1, 3, 6, 6, generator=seeded(0)) * 0.4 + 0.2
    assert_close(recolour(images, torch.tensor([[1.0, 1.0, 1.0]])), images)
    assert_close(recolour(images, torch.tensor([[1.5, 1.0, 1.0]])), images * 1.5)
    flat = recolour(images, torch.tensor([[1.0, 0.0, 1.0]]))
    assert_close(flat, torch.full_like(flat, images.mean().item()))
    grey = recolour(images, torch.tensor([[1.0, 1.0, 0.0]]))
    assert_close(grey, images.mean(1, keepdim=True).expand_as(images))
    assert recolour(images, torch.tensor([[5.0, 1.0, 1.0]])).max() == 1


def test_normalise_centres_the_values_of_photographs():
    values = normalise(torch.tensor([0.45, 0.70, 0.20], dtype=torch.float64)).numpy()
    np.testing.assert_allclose(values, [0, 1, -1], atol=1e-12)
