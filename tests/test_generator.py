"""The generator: shapes, how its outputs become heatmaps, and what its parts are connected to."""

from dataclasses import replace
from itertools import product

import pytest
import torch

import untrained
from pipeline.networks import heatmaps, layers
from pipeline.networks.generator import Generator, position_log_softmax

JOINTS = 3


def tiny(joints: int = JOINTS, stride: int = 4, sigma: float = 1.0, **changes) -> Generator:
    torch.manual_seed(0)
    model = untrained.MODEL.model_copy(update={"stacks": 2} | changes)
    geometry = replace(untrained.CACHE.geometry, heatmap_size=32 // stride, sigma=sigma)
    return Generator(model, geometry, joints)


def tasks(maps: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """Pose and, with that task, occlusion, of one tensor of maps."""
    return maps.split(JOINTS, dim=1)


def both(pose: torch.Tensor, occlusion: torch.Tensor) -> torch.Tensor:
    """One tensor of maps."""
    return torch.cat([pose, occlusion], dim=1)


def photograph(height: int = 32, width: int = 32) -> torch.Tensor:
    return torch.randn(2, 3, height, width, generator=torch.Generator().manual_seed(1))


def logits(maps: torch.Tensor) -> torch.Tensor:
    return maps.clamp_min(1e-30).log()


@pytest.mark.parametrize(
    ("stem", "block", "reconstruction", "occlusion"),
    list(
        product(
            ["paper", "patches"],
            ["bottleneck", "basic", "separable"],
            ["mse", "cross_entropy"],
            [True, False],
        )
    ),
)
def test_heatmaps_have_a_quarter_of_the_side_and_values_in_0_to_1(
    stem, block, reconstruction, occlusion
):
    generator = tiny(stem=stem, block=block, reconstruction=reconstruction, occlusion=occlusion)
    outputs = generator(photograph())
    assert len(outputs) == 2
    for output in outputs:
        maps = tasks(generator.heatmaps(output))
        assert len(maps) == len(tasks(output)) == 1 + occlusion
        for each in maps:
            assert each.shape == (2, JOINTS, 8, 8)
            assert each.min() >= 0 and each.max() <= 1


@pytest.mark.parametrize("stacks", [1, 3])
def test_there_is_one_output_a_stack(stacks):
    assert len(tiny(stacks=stacks)(photograph())) == stacks


@pytest.mark.parametrize("stem", ["paper", "patches"])
def test_the_network_is_fully_convolutional(stem):
    generator = tiny(stem=stem)
    for height, width in [(24, 24), (64, 64), (32, 48)]:
        (*_, last) = generator(photograph(height, width))
        assert last.shape == (2, 2 * JOINTS, height // 4, width // 4)


@pytest.mark.parametrize("stride", [1, 2, 8])
def test_the_stem_of_patches_takes_other_strides_and_that_of_the_paper_refuses_them(stride):
    (*_, last) = tiny(stride=stride)(photograph())
    assert last.shape[-1] == 32 // stride
    with pytest.raises(ValueError, match=f"quarter of the input's side, not 1/{stride}"):
        tiny(stem="paper", stride=stride)


def test_outputs_are_float32_under_autocast():
    with torch.autocast("cpu", torch.bfloat16):
        output = tiny()(photograph())[-1]
    assert output.dtype == torch.float32


def test_mse_clips_the_output_to_0_to_1():
    maps = torch.tensor([[[[-0.5, 0.25], [1.0, 1.5]]]])
    generator = tiny(reconstruction="mse", joints=1)
    pose, occlusion = generator.heatmaps(both(maps, maps + 0.5)).split(1, dim=1)
    assert pose.tolist() == [[[[0, 0.25], [1, 1]]]]
    assert occlusion.tolist() == [[[[0, 0.75], [1, 1]]]]


def test_cross_entropy_gives_a_peak_of_1_where_the_network_is_sure():
    sure = torch.zeros(1, JOINTS, 8, 8)
    sure[:, :, 2, 5] = 100.0
    pose, occlusion = tasks(tiny().heatmaps(both(sure, sure)))
    for maps in (pose, occlusion):
        assert maps[0, :, 2, 5].tolist() == [1] * JOINTS
        assert maps.sum().item() == pytest.approx(JOINTS)


@pytest.mark.parametrize("sigma", [1.0, 1.5])
def test_cross_entropy_gives_back_a_peak_that_spreads_with_sigma(sigma):
    target = heatmaps.render(torch.tensor([[[12.0, 11.0]] * JOINTS]), 24, sigma)
    generator = tiny(sigma=sigma)
    pose, occlusion = tasks(generator.heatmaps(both(logits(target), logits(target) + 30)))
    assert torch.allclose(pose, target, atol=1e-5)
    assert torch.allclose(occlusion, target, atol=1e-5)


def test_cross_entropy_gives_half_the_height_where_the_network_is_half_sure_of_a_hidden_joint():
    target = heatmaps.render(torch.tensor([[[12.0, 11.0]] * JOINTS]), 24, sigma=1.5)
    probability = target / target.sum((-2, -1), keepdim=True)  # odds of 1 to 1 against "nowhere"
    _, occlusion = tasks(tiny(sigma=1.5).heatmaps(both(logits(target), logits(probability))))
    assert torch.allclose(occlusion, target / 2, atol=1e-5)


def test_nowhere_leaves_the_map_of_hidden_joints_empty():
    nowhere = torch.full((1, JOINTS, 8, 8), -30.0)
    _, occlusion = tasks(tiny().heatmaps(both(torch.zeros(1, JOINTS, 8, 8), nowhere)))
    assert occlusion.max() < 1e-9


def test_an_untrained_generator_takes_every_joint_for_seen():
    generator = tiny()
    for output in generator(photograph()):
        assert tasks(generator.heatmaps(output))[1].max() < 0.05


def test_the_softmax_over_positions_sums_to_one():
    maps = torch.randn(2, JOINTS, 5, 7, generator=torch.Generator().manual_seed(0))
    plain, nowhere = position_log_softmax(maps), position_log_softmax(maps, nowhere=True)
    assert plain.shape == maps.shape and nowhere.shape == (2, JOINTS, 5 * 7 + 1)
    assert torch.allclose(plain.exp().sum((-2, -1)), torch.ones(2, JOINTS))
    assert torch.allclose(nowhere.exp().sum(-1), torch.ones(2, JOINTS))
    # The logit of "nowhere" is 0.
    assert torch.allclose(nowhere[..., 0] - nowhere[..., -1], maps[..., 0, 0], atol=1e-5)


@pytest.mark.parametrize("stem", ["paper", "patches"])
@pytest.mark.parametrize("task", [0, 1])
@pytest.mark.parametrize("stack", [0, 1, 2])
def test_every_task_of_every_stack_reaches_the_first_layer(stem, task, stack):
    generator = tiny(stacks=3, stem=stem)
    first = next(module for module in generator.modules() if isinstance(module, torch.nn.Conv2d))
    tasks(generator(photograph())[stack])[task].square().sum().backward()
    assert first.weight.grad.abs().sum() > 0


@pytest.mark.parametrize("head", [0, 1])
def test_the_second_stack_sees_the_features_of_both_tasks_of_the_first(head):
    generator = tiny().eval()
    image = photograph()
    before = generator(image)
    with torch.no_grad():
        generator.stacks[0].heads[head].maps.weight.mul_(2)  # the maps alone go no further
        maps_changed = generator(image)
        generator.stacks[0].heads[head].features.branch[-1].bias.add_(1)
        features_changed = generator(image)
    assert not torch.equal(tasks(maps_changed[0])[head], tasks(before[0])[head])
    assert torch.equal(tasks(maps_changed[1])[0], tasks(before[1])[0])
    assert not torch.allclose(tasks(features_changed[1])[0], tasks(before[1])[0])
    assert not torch.allclose(tasks(features_changed[1])[1], tasks(before[1])[1])


@pytest.mark.parametrize("head", [0, 1])
def test_the_first_stack_learns_from_the_second_through_its_features(head):
    generator = tiny()
    tasks(generator(photograph())[1])[0].square().sum().backward()
    first = generator.stacks[0].heads[head]
    assert first.features.branch[-1].weight.grad.abs().sum() > 0
    assert first.maps.weight.grad is None


def test_a_later_stack_sees_the_image_features_too():
    generator = tiny().eval()
    with torch.no_grad():
        generator.stacks[1].merge.weight.zero_()
        one, other = generator(photograph()), generator(photograph().flip(0))
    assert not torch.allclose(tasks(one[1])[0], tasks(other[1])[0])


@pytest.mark.parametrize(
    ("block", "kernels", "widths"),
    [
        (layers.bottleneck, [1, 3, 1], [(16, 16), (16, 16), (16, 32)]),
        (layers.basic, [3, 3], [(16, 32), (32, 32)]),
        (layers.separable, [5, 1], [(16, 16), (16, 32)]),
    ],
)
def test_a_block_has_the_convolutions_that_it_promises(block, kernels, widths):
    convolutions = [each for each in block(16, 32).branch if isinstance(each, torch.nn.Conv2d)]
    assert [each.kernel_size for each in convolutions] == [(k, k) for k in kernels]
    assert [(each.in_channels, each.out_channels) for each in convolutions] == widths


@pytest.mark.parametrize(
    "block", [layers.bottleneck, layers.basic, layers.separable, layers.unnormalised]
)
def test_a_block_of_one_width_adds_to_what_it_is_given(block):
    network = block(8, 8).eval()
    torch.nn.init.zeros_(network.branch[-1].weight)
    torch.nn.init.zeros_(network.branch[-1].bias)
    x = torch.randn(1, 8, 4, 4)
    assert torch.equal(network(x), x)
