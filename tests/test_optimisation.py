"""Optimisers: what each moves and how far, and the learning rate's way."""

import copy

import pytest
import torch
from torch import nn

import untrained
from pipeline.networks.generator import Generator
from pipeline.training.optimisation import Muon, as_matrix, optimiser


@pytest.fixture
def network():
    torch.manual_seed(0)
    model = untrained.MODEL.model_copy(update={"features": [16, 16]})
    network = Generator(model, untrained.CACHE.geometry)
    return network.to(memory_format=torch.channels_last)


def backward(network):
    image = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    sum(
        maps.square().mean() for output in network(image) for maps in output.split(14, dim=1)
    ).backward()


def test_weight_decay_spares_what_is_no_kernel(network):
    kernels, rest = optimiser("adamw", network, 0.1, 0.3).param_groups
    assert kernels["weight_decay"] == 0.3 and {each.dim() for each in kernels["params"]} == {4}
    assert rest["weight_decay"] == 0 and {each.dim() for each in rest["params"]} == {1}
    assert len(kernels["params"]) + len(rest["params"]) == len(list(network.parameters()))


def test_a_kernel_as_a_matrix_shares_its_memory():
    kernel = torch.randn(4, 3, 3, 3).to(memory_format=torch.channels_last)
    matrix = as_matrix(kernel)
    assert matrix.shape == (4, 27) and matrix.data_ptr() == kernel.data_ptr()
    assert torch.equal(matrix[1, 3 * 5 + 2], kernel[1, 2, 1, 2])  # row 1, column 2, channel 2


def test_every_parameter_is_in_exactly_one_part_and_the_maps_are_adamws(network):
    muon = Muon(network, 0.01, 0.1)
    (matrices,), (rest,) = (part.param_groups for part in muon.parts.values())
    count = sum(each.numel() for each in matrices["params"]) + sum(
        each.numel() for each in rest["params"]
    )
    assert count == sum(each.numel() for each in network.parameters())
    assert any(each is network.stacks[0].heads[0].maps.weight for each in rest["params"])


def test_a_muon_step_moves_a_kernel_along_an_orthogonal_matrix_of_adamws_size():
    layer = nn.Conv2d(8, 16, 3).to(memory_format=torch.channels_last)
    muon, before = Muon(layer, 0.01, 0.0), layer.weight.detach().clone()
    layer(torch.randn(4, 8, 9, 9)).square().sum().backward()
    muon.step()
    moved = as_matrix((before - layer.weight).detach())
    singular = torch.linalg.svdvals(moved) / (
        0.01 * 0.2 * 72**0.5
    )  # 0.2 sqrt(max(16, 72)) of arXiv:2502.16982
    # Newton and Schulz's iteration is rough.
    assert (0.6 < singular).all() and (singular < 1.3).all()
    muon.zero_grad()
    assert layer.weight.grad is None and layer.bias.grad is None


def test_a_restored_muon_steps_as_the_saved_one(network):
    muon = Muon(network, 0.01, 0.1)
    backward(network)
    muon.step()
    twin = copy.deepcopy(network)
    other = Muon(twin, 0.01, 0.1)
    other.load_state_dict(copy.deepcopy(muon.state_dict()))
    for net, each in ((network, muon), (twin, other)):
        each.zero_grad()
        backward(net)
        each.step()
    pairs = zip(network.parameters(), twin.parameters(), strict=True)
    assert all(torch.equal(one, another) for one, another in pairs)
