"""Random numbers decided by whole numbers alone: what an experiment varies changes no others."""

import torch
from torch import Tensor


def seeded(*seeds: int) -> torch.Generator:
    """Random numbers on the CPU, a stream of their own for each combination of seeds."""
    state = 0
    for (
        seed
    ) in seeds:  # distinct for distinct small seeds: a step's numbers do not follow from the last's
        state = (state * 0x9E3779B97F4A7C15 + seed + 1) % 2**63
    return torch.Generator().manual_seed(state)


def uniform(rng: torch.Generator, low: float, high: float, *shape: int) -> Tensor:
    """Numbers evenly between low and high, of a shape."""
    return low + (high - low) * torch.rand(*shape, generator=rng)
