"""Equations 1 to 4 and the labels of the game, on values worked by hand."""

from math import exp, log

import pytest
import torch
from torch import tensor

from pipeline.networks import heatmaps
from pipeline.training import losses

BOTH_COUNT = tensor([[1.0, 1.0]])


def both(pose: torch.Tensor, occlusion: torch.Tensor) -> torch.Tensor:
    """One tensor of maps."""
    return torch.cat([pose, occlusion], dim=1)


@pytest.fixture
def target():
    """Pose and occlusion (1, 2, 2, 2): joint 0 in the first pixel and seen, joint 1 in the last and
    hidden."""
    pose = tensor([[[[1.0, 0.0], [0.0, 0.0]], [[0.0, 0.0], [0.0, 1.0]]]])
    return pose, pose * tensor([0.0, 1.0])[:, None, None]


@pytest.fixture
def two_stacks():
    """Squared errors, pose: 0.25 and 1, then 0.25 and 0; occlusion: 1 and 1, then 0 and 0.25."""
    return [
        both(
            pose=tensor([[[[0.5, 0.0], [0.0, 0.0]], [[0.0, 0.0], [0.0, 0.0]]]]),
            occlusion=tensor([[[[1.0, 0.0], [0.0, 0.0]], [[0.0, 0.0], [0.0, 0.0]]]]),
        ),
        both(
            pose=tensor([[[[1.0, 0.0], [0.5, 0.0]], [[0.0, 0.0], [0.0, 1.0]]]]),
            occlusion=tensor([[[[0.0, 0.0], [0.0, 0.0]], [[0.0, 0.0], [0.0, 0.5]]]]),
        ),
    ]


def certain(*probabilities: float) -> torch.Tensor:
    """Logits (1, 1, 2, 2) in proportion to probabilities."""
    return tensor(probabilities).log().view(1, 1, 2, 2)


def test_equation_1_sums_both_tasks_over_stacks_and_joints(two_stacks, target):
    expected = ((0.25 + 1 + 0.25 + 0) + (1 + 1 + 0 + 0.25)) / (2 * 2 * 2)
    assert losses.squared_error(two_stacks, both(*target), BOTH_COUNT).item() == pytest.approx(
        expected
    )


def test_equation_1_leaves_out_the_second_task_where_there_is_none(two_stacks, target):
    pose_only = [output[:, :2] for output in two_stacks]
    expected = (0.25 + 1 + 0.25 + 0) / (2 * 2 * 2)
    assert losses.squared_error(pose_only, target[0], BOTH_COUNT).item() == pytest.approx(expected)


def test_equation_1_counts_only_the_joints_of_the_mask(two_stacks, target):
    expected = ((0.25 + 0.25) + (1 + 0)) / (2 * 1 * 2)
    assert losses.squared_error(
        two_stacks, both(*target), tensor([[1.0, 0.0]])
    ).item() == pytest.approx(expected)


def test_cross_entropy_of_the_pose_is_that_of_a_softmax_over_the_positions():
    outputs = [certain(0.4, 0.2, 0.2, 0.2)]
    one_pixel = tensor([[[[1.0, 0.0], [0.0, 0.0]]]])
    loss = losses.cross_entropy(outputs, one_pixel, tensor([[1.0]]))
    assert loss.item() == pytest.approx(log(1 / 0.4))


def test_cross_entropy_scales_a_target_map_to_sum_one():
    outputs = [certain(0.4, 0.2, 0.2, 0.2)]
    two_pixels = tensor([[[[0.6, 0.6], [0.0, 0.0]]]])
    loss = losses.cross_entropy(outputs, two_pixels, tensor([[1.0]]))
    assert loss.item() == pytest.approx((log(1 / 0.4) + log(1 / 0.2)) / 2)


def test_cross_entropy_of_a_joint_outside_is_least_where_it_is_found_nowhere():
    empty, mask = torch.zeros(1, 2, 2, 2), torch.ones(1, 1)
    flat, peaked = torch.zeros(1, 2, 2, 2), torch.zeros(1, 2, 2, 2)
    peaked[0, 0, 1, 0] = 3.0
    flat[:, 1] = peaked[:, 1] = -30.0  # seen: nowhere hidden
    assert losses.cross_entropy([flat], empty, mask).item() == pytest.approx(log(4), abs=1e-5)
    expected = log(exp(3) + 3) - 3 / 4
    assert losses.cross_entropy([peaked], empty, mask).item() == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize(("hidden", "expected"), [(1.0, log(8 / 4)), (0.0, log(8 / 1))])
def test_cross_entropy_of_occlusion_has_nowhere_as_the_answer_for_a_seen_joint(hidden, expected):
    # Odds of the four positions 4 : 1 : 1 : 1, of "nowhere" 1; the pose costs log 4.
    outputs = [both(torch.zeros(1, 1, 2, 2), certain(4, 1, 1, 1))]
    pose = tensor([[[[1.0, 0.0], [0.0, 0.0]]]])
    loss = losses.cross_entropy(outputs, both(pose, pose * hidden), tensor([[1.0]]))
    assert loss.item() == pytest.approx(log(4) + expected)


def test_cross_entropy_is_the_mean_over_stacks_and_over_the_joints_of_the_mask():
    pose = tensor([[[[1.0, 0.0], [0.0, 0.0]]]]).repeat(1, 3, 1, 1)
    first = torch.cat(
        [certain(0.4, 0.2, 0.2, 0.2), certain(0.1, 0.3, 0.3, 0.3), certain(1, 9, 9, 9)], 1
    )
    second = torch.cat(
        [certain(0.7, 0.1, 0.1, 0.1), certain(0.2, 0.4, 0.2, 0.2), certain(9, 1, 1, 1)], 1
    )
    outputs = [first, second]
    loss = losses.cross_entropy(outputs, pose, tensor([[1.0, 1.0, 0.0]]))
    assert loss.item() == pytest.approx(-(log(0.4) + log(0.1) + log(0.7) + log(0.2)) / 4)


def test_equations_2_and_3_hold_real_maps_against_ones_and_fake_maps_against_their_labels():
    real, fake, labels = tensor([[0.0, log(3)]]), tensor([[log(3), log(3)]]), tensor([[0.0, 1.0]])
    on_real = (log(2) + log(4 / 3)) / 2
    on_fake = (log(4) + log(4 / 3)) / 2
    loss = losses.discriminator_loss(real, fake, labels, BOTH_COUNT)
    assert loss.item() == pytest.approx(on_real + on_fake)


def test_equations_2_and_3_count_only_the_joints_of_the_mask():
    real, fake, labels = tensor([[0.0, log(3)]]), tensor([[log(3), log(3)]]), tensor([[0.0, 1.0]])
    loss = losses.discriminator_loss(real, fake, labels, tensor([[0.0, 1.0]]))
    assert loss.item() == pytest.approx(log(4 / 3) + log(4 / 3))


def test_the_generator_wants_the_answer_real_for_every_joint_that_counts():
    fake = tensor([[0.0, log(3), -50.0]])
    loss = losses.adversarial_loss(fake, tensor([[1.0, 1.0, 0.0]]))
    assert loss.item() == pytest.approx((log(2) + log(4 / 3)) / 2)


def test_equation_4_weighs_the_confidence_term_with_alpha_and_the_pose_term_with_beta():
    loss = losses.generator_loss(
        tensor(2.0), confidence=tensor(3.0), pose=tensor(4.0), alpha=0.1, beta=0.01
    )
    assert loss.item() == pytest.approx(2 + 0.3 + 0.04)


@pytest.mark.parametrize(("distance", "label"), [(0.0, 1), (0.98, 1), (1.02, 0), (5.0, 0)])
def test_a_pose_label_is_1_below_delta_tenths_of_the_side(distance, label):
    side, delta = 20, 0.5  # a tenth is 2 px, so the bound is 1 px
    predicted = heatmaps.render(tensor([[[8.0, 9.0]]]), side, sigma=1.0)
    true = tensor([[[8.0 + 0.6 * distance, 9.0 - 0.8 * distance]]])
    assert losses.pose_labels(predicted, true, delta).tolist() == [[label]]


def test_a_joint_without_a_place_has_pose_label_0():
    predicted = heatmaps.render(tensor([[[8.0, 9.0], [8.0, 9.0]]]), 20, sigma=1.0)
    points = tensor([[[torch.nan, torch.nan], [8.0, 9.0]]])
    assert losses.pose_labels(predicted, points, delta=0.5).tolist() == [[0, 1]]


@pytest.mark.parametrize(("share", "label"), [(0.0, 1), (0.49, 1), (0.51, 0), (1.0, 0)])
def test_a_confidence_label_is_1_below_epsilon_of_the_energy_of_the_target(share, label):
    target = heatmaps.render(tensor([[[8.0, 9.0]]]), 20, sigma=1.0)
    predicted = target * (1 - share**0.5)  # the squared error is this share of the energy
    assert losses.confidence_labels(predicted, target, epsilon=0.5).tolist() == [[label]]


def test_a_joint_blank_in_the_target_has_confidence_label_0_even_where_it_is_predicted_so():
    blank = torch.zeros(1, 1, 20, 20)
    assert losses.confidence_labels(blank, blank, epsilon=0.5).tolist() == [[0]]


def every_loss(maps: dict[str, torch.Tensor], mask: torch.Tensor) -> dict[str, torch.Tensor]:
    """Each loss of predicted maps and of logits, against fixed targets."""
    pose = heatmaps.render(torch.tensor([[[1.0, 2.0], [3.0, 1.0], [2.0, 2.0]]] * 2), 5, sigma=1.0)
    occlusion = pose * torch.tensor([0.0, 1.0, 1.0])[:, None, None]
    outputs, truth = [both(maps["pose"], maps["occlusion"])], both(pose, occlusion)
    return {
        "squared_error": losses.squared_error(outputs, truth, mask),
        "cross_entropy": losses.cross_entropy(outputs, truth, mask),
        "discriminator": losses.discriminator_loss(
            maps["real"], maps["fake"], tensor([[1.0, 0.0, 1.0]] * 2), mask
        ),
        "adversarial": losses.adversarial_loss(maps["fake"], mask),
    }


def random_maps(seed: int) -> dict[str, torch.Tensor]:
    rng = torch.Generator().manual_seed(seed)
    shapes = {"pose": (2, 3, 5, 5), "occlusion": (2, 3, 5, 5), "real": (2, 3), "fake": (2, 3)}
    return {
        name: torch.randn(*shape, generator=rng).requires_grad_() for name, shape in shapes.items()
    }


LOSSES = ["squared_error", "cross_entropy", "discriminator", "adversarial"]


@pytest.mark.parametrize("name", LOSSES)
def test_what_is_predicted_for_a_masked_joint_changes_no_loss(name):
    mask = tensor([[1.0, 0.0, 1.0], [0.0, 1.0, 1.0]])
    one, other = random_maps(0), random_maps(1)
    mixed = {
        key: torch.where(mask.view(2, 3, *[1] * (one[key].dim() - 2)) > 0, one[key], other[key])
        for key in one
    }
    assert every_loss(mixed, mask)[name].item() == every_loss(one, mask)[name].item()
    assert every_loss(mixed, torch.ones(2, 3))[name] != every_loss(one, torch.ones(2, 3))[name]


@pytest.mark.parametrize("name", LOSSES)
def test_only_a_joint_that_counts_receives_a_gradient(name):
    mask, maps = tensor([[1.0, 0.0, 1.0], [0.0, 1.0, 1.0]]), random_maps(0)
    every_loss(maps, mask)[name].backward()
    used = [each.grad for each in maps.values() if each.grad is not None]
    assert used
    for gradient in used:
        assert torch.equal(
            gradient.flatten(2).abs().sum(-1) > 0 if gradient.dim() > 2 else gradient != 0, mask > 0
        )


@pytest.mark.parametrize("name", LOSSES)
def test_a_batch_in_which_no_joint_counts_costs_nothing(name):
    maps = random_maps(0)
    loss = every_loss(maps, torch.zeros(2, 3))[name]
    loss.backward()
    assert loss.item() == 0
    assert all((each.grad == 0).all() for each in maps.values() if each.grad is not None)
