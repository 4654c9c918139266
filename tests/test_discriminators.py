"""The discriminators: what each sees, what each answers, and their encoder-decoder."""

import inspect

import pytest
import torch

from pipeline.networks import heatmaps
from pipeline.networks.discriminators import ConfidenceDiscriminator, PoseDiscriminator
from pipeline.networks.layers import Hourglass, unnormalised

JOINTS, PEOPLE, SIDE = 3, 2, 8


@pytest.fixture(params=["pose", "confidence"])
def judge(request):
    """A discriminator as a function of pose and occlusion heatmaps alone; its network as
    `.network`."""
    network = discriminator(request.param)

    def answer(pose, occlusion):
        maps = both(pose, occlusion)
        return network(images(), maps) if request.param == "pose" else network(maps)

    answer.network = network
    return answer


def discriminator(name: str, **changes):
    torch.manual_seed(0)
    kind = {"pose": PoseDiscriminator, "confidence": ConfidenceDiscriminator}[name]
    return kind(**{"joints": JOINTS, "features": (8, 16)} | changes)


def images(seed: int = 0) -> torch.Tensor:
    return torch.randn(PEOPLE, 3, 4 * SIDE, 4 * SIDE, generator=torch.Generator().manual_seed(seed))


def both(pose: torch.Tensor, occlusion: torch.Tensor) -> torch.Tensor:
    """One tensor of maps."""
    return torch.cat([pose, occlusion], dim=1)


def maps(seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Pose heatmaps of people at random, and occlusion heatmaps: every other joint is hidden."""
    points = torch.rand(PEOPLE, JOINTS, 2, generator=torch.Generator().manual_seed(seed)) * (
        SIDE - 1
    )
    pose = heatmaps.render(points, SIDE, sigma=1.0)
    return pose, pose * (torch.arange(JOINTS) % 2)[:, None, None]


def test_a_discriminator_answers_once_a_joint(judge):
    answers = judge(*maps())
    assert answers.shape == (PEOPLE, JOINTS) and answers.isfinite().all()
    assert len(answers.unique()) == PEOPLE * JOINTS


@pytest.mark.parametrize("name", ["pose", "confidence"])
def test_a_discriminator_does_without_the_occlusion_task(name):
    network, (pose, _) = discriminator(name, occlusion=False), maps()
    answers = network(images(), pose) if name == "pose" else network(pose)
    assert answers.shape == (PEOPLE, JOINTS)


def test_p_answers_differently_for_another_image():
    network = discriminator("pose")
    assert not torch.allclose(network(images(0), both(*maps())), network(images(1), both(*maps())))


def test_c_sees_no_image():
    network = discriminator("confidence")
    assert list(inspect.signature(network.forward).parameters) == ["maps"]
    assert network.entry.in_channels == 2 * JOINTS


def test_a_discriminator_answers_differently_for_other_occlusion_heatmaps(judge):
    pose, occlusion = maps()
    assert not torch.allclose(judge(pose, occlusion), judge(pose, torch.zeros_like(pose)))


@pytest.mark.parametrize("sets", [2, 3])
def test_p_judges_several_sets_of_maps_of_the_same_images_as_one_at_a_time(sets):
    network, each = discriminator("pose"), [both(*maps(seed)) for seed in range(sets)]
    together = network(images(), torch.cat(each))
    alone = torch.cat([network(images(), one) for one in each])
    assert torch.allclose(together, alone, atol=1e-6)


def test_an_answer_does_not_depend_on_the_rest_of_the_batch():
    network, together = discriminator("pose").train(), both(*maps())
    alone = network(images()[:1], together[:1])
    assert torch.allclose(network(images(), together)[:1], alone, atol=1e-6)


def test_the_answer_for_a_joint_reaches_its_own_heatmap_and_no_other_person(judge):
    pose, occlusion = maps()
    pose.requires_grad_()
    for joint in range(JOINTS):
        (gradient,) = torch.autograd.grad(judge(pose, occlusion)[0, joint], pose)
        assert gradient[0, joint].abs().sum() > 0
        assert gradient[1].abs().sum() == 0


def test_the_answer_is_read_out_where_the_joint_lies():
    network, pose = discriminator("confidence", joints=1), torch.zeros(1, 1, 4, 4)
    network.body = network.maps = torch.nn.Identity()
    x = torch.tensor([[[[1.0, 2.0], [3.0, 4.0]]]])
    assert network.judge(x, pose).item() == pytest.approx(2.5)  # blank: the mean
    pose[..., 2:, 2:] = 1.0
    assert network.judge(x, pose).item() == pytest.approx((0.001 * (1 + 2 + 3) + 1.001 * 4) / 1.004)


def test_the_answer_is_read_out_under_the_pose_wherever_it_is_hidden():
    network = discriminator("confidence", joints=1)
    network.body = network.maps = torch.nn.Identity()
    x = torch.tensor([[[[1.0, 2.0], [3.0, 4.0]]]])
    pose, occlusion = torch.zeros(2, 1, 1, 4, 4)
    pose[..., 2:, 2:], occlusion[..., :2, :2] = 1.0, 1.0
    answer = network.judge(x, both(pose, occlusion)).item()
    assert answer == pytest.approx((0.001 * (1 + 2 + 3) + 1.001 * 4) / 1.004)


def test_blank_channels_have_finite_answers_and_gradients(judge):
    pose, occlusion = maps()
    pose, occlusion = (each.clone() for each in (pose, occlusion))
    pose[:, 1], occlusion[:, 1] = 0, 0
    pose.requires_grad_(), occlusion.requires_grad_()
    answers = judge(pose, occlusion)
    answers.sum().backward()
    gradients = [pose.grad, occlusion.grad, *(each.grad for each in judge.network.parameters())]
    assert answers.isfinite().all()
    assert all(each.isfinite().all() for each in gradients)


def test_every_weight_learns(judge):
    judge(*maps()).square().sum().backward()
    assert all(each.grad.abs().sum() > 0 for each in judge.network.parameters())


def sides(network: torch.nn.Module, run) -> list[int]:
    """The side of what each convolution of the network gives, in order."""
    seen = []
    hooks = [
        each.register_forward_hook(lambda _module, _inputs, output: seen.append(output.shape[-1]))
        for each in network.modules()
        if isinstance(each, torch.nn.Conv2d)
    ]
    run()
    for hook in hooks:
        hook.remove()
    return seen


def test_a_discriminator_is_an_encoder_decoder_from_half_the_resolution_of_the_maps(judge):
    seen = sides(judge.network.body, lambda: judge(*maps()))
    assert sorted(set(seen)) == [2, 4] and seen[0] == 4
    assert sides(judge.network.maps, lambda: judge(*maps())) == [4]  # back up for the answers


@pytest.mark.parametrize("features", [(8, 8), (8, 16, 24)])
def test_an_hourglass_halves_the_resolution_once_a_width_and_comes_back(features):
    network, x = Hourglass(features, unnormalised), torch.randn(1, 8, 8, 8)
    assert network(x).shape == x.shape
    assert (
        sorted(set(sides(network, lambda: network(x))), reverse=True) == [8, 4, 2][: len(features)]
    )


@pytest.mark.parametrize("level", ["outer", "inner"])
def test_an_hourglass_has_a_skip_connection_at_each_resolution(level):
    outer = Hourglass((8, 16, 24), unnormalised)
    network, width = (outer, 8) if level == "outer" else (outer.inner, 16)
    for convolution in (network.up.branch[-1], network.up.skip):  # nothing comes up from below
        torch.nn.init.zeros_(convolution.weight)
        torch.nn.init.zeros_(convolution.bias)
    x = torch.randn(1, width, 8, 8)
    assert torch.equal(network(x), network.skip(x))
