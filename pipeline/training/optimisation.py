"""How the networks' weights are moved: optimisers, and the schedule of their learning rates."""

from math import cos, pi

import torch
from torch import Tensor, nn

from pipeline.settings import Train


class Muon:
    """Muon for the kernels of convolutions, AdamW for everything else; one optimiser to the
    outside.

    Muon makes the momentum of a weight matrix orthogonal before it steps along it (K. Jordan et
    al., "Muon: An optimizer for hidden layers in neural networks", 2024); its step is scaled to the
    size of AdamW's, so that both share a learning rate (J. Liu et al., arXiv:2502.16982). As its
    authors advise, the last layer, here the 1x1 convolutions to the maps, is AdamW's.
    """

    def __init__(self, network: nn.Module, rate: float, weight_decay: float):
        named = dict(network.named_parameters())
        kernels = {
            name: each
            for name, each in named.items()
            if each.dim() == 4 and not name.endswith("maps.weight")
        }
        self.kernels = list(kernels.values())
        rest = [each for name, each in named.items() if name not in kernels]
        self.parts = {
            "muon": torch.optim.Muon(
                [as_matrix(each.detach()) for each in self.kernels],
                lr=rate,
                weight_decay=weight_decay,
                adjust_lr_fn="match_rms_adamw",
            ),
            "adamw": torch.optim.AdamW(rest, lr=rate, weight_decay=0.0, fused=True),
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


def optimiser(kind: str, network: nn.Module, rate: float, weight_decay: float) -> Optimiser:
    """Muon; AdamW, whose weight decay spares all but convolutions' kernels; the paper's RMSprop."""
    if kind == "muon":
        return Muon(network, rate, weight_decay)
    parameters = list(network.parameters())
    if kind == "rmsprop":
        return torch.optim.RMSprop(parameters, lr=rate)
    groups = [
        {"params": [each for each in parameters if each.dim() > 1], "weight_decay": weight_decay},
        {"params": [each for each in parameters if each.dim() <= 1], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=rate, fused=True)


def schedule(step: int, train: Train) -> float:
    """Factor of the learning rates: linear warm-up, then a cosine to zero."""
    warm = min(1.0, (step + 1) / train.warmup) if train.warmup else 1.0
    return warm * (1 + cos(pi * step / train.steps)) / 2
