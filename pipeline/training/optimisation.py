"""The optimisers that move the networks' weights."""

import torch
from torch import Tensor, nn

from pipeline.rates import ENCODER, rate_groups


class Muon:
    """Muon for the kernels of convolutions, AdamW for everything else; one optimiser to the
    outside.

    Muon makes the momentum of a weight matrix orthogonal before it steps along it (K. Jordan et
    al., "Muon: An optimizer for hidden layers in neural networks", 2024); its step is scaled to the
    size of AdamW's, so that both share a learning rate (J. Liu et al., arXiv:2502.16982). As its
    authors advise, the last layer, here the 1x1 convolutions to the maps, is AdamW's.
    """

    def __init__(
        self, network: nn.Module, rate: float, weight_decay: float, encoder_rate: float = 1.0
    ):
        named = dict(network.named_parameters())
        kernels = {name: each for name, each in named.items() if _is_hidden_kernel(name, each)}
        self.kernels = list(kernels.values())
        rest = {name: each for name, each in named.items() if name not in kernels}
        self.parts = {
            "muon": torch.optim.Muon(
                [as_matrix(each.detach()) for each in self.kernels],
                lr=rate,
                weight_decay=weight_decay,
                adjust_lr_fn="match_rms_adamw",
            ),
            "adamw": torch.optim.AdamW(
                rate_groups(rest, encoder_rate), lr=rate, weight_decay=0.0, fused=True
            ),
        }

    @property
    def param_groups(self) -> list[dict]:
        return [group for part in self.parts.values() for group in part.param_groups]

    def zero_grad(self) -> None:
        for kernel in self.kernels:
            kernel.grad = None
        self.parts["adamw"].zero_grad()

    def step(self) -> None:
        (group,) = self.parts["muon"].param_groups
        for matrix, kernel in zip(group["params"], self.kernels, strict=True):
            matrix.grad = None if kernel.grad is None else as_matrix(kernel.grad)
        for part in self.parts.values():
            part.step()

    def state_dict(self) -> dict:
        return {name: part.state_dict() for name, part in self.parts.items()}

    def load_state_dict(self, state: dict) -> None:
        for name, part in self.parts.items():
            part.load_state_dict(state[name])


def as_matrix(kernel: Tensor) -> Tensor:
    """A kernel (O, I, h, w) as (O, h w I), a view of the same memory if it is channels_last."""
    return kernel.permute(0, 2, 3, 1).flatten(1)


Optimiser = Muon | torch.optim.Optimizer


def optimiser(
    kind: str, network: nn.Module, rate: float, weight_decay: float, encoder_rate: float = 1.0
) -> Optimiser:
    """Muon; AdamW, whose weight decay spares all but convolutions' kernels; the paper's RMSprop.

    encoder_rate: of a pretrained encoder's layers, over that of the others.
    """
    if kind == "muon":
        return Muon(network, rate, weight_decay, encoder_rate)
    named = dict(network.named_parameters())
    if kind == "rmsprop":
        return torch.optim.RMSprop(rate_groups(named, encoder_rate), lr=rate)
    kernels = {name: each for name, each in named.items() if each.dim() > 1}
    rest = {name: each for name, each in named.items() if each.dim() <= 1}
    groups = [
        group | {"weight_decay": decay}
        for parameters, decay in ((kernels, weight_decay), (rest, 0.0))
        for group in rate_groups(parameters, encoder_rate)
    ]
    return torch.optim.AdamW(groups, lr=rate, fused=True)


def _is_hidden_kernel(name: str, parameter: Tensor) -> bool:
    """Is it a matrix inside the network? Not the maps' layer, an encoder's, or one a channel."""
    inside = not name.endswith("maps.weight") and ENCODER not in name
    return parameter.dim() == 4 and parameter.shape[1] > 1 and inside
