"""Occluders: patches of other photographs over joints, whose places are known though they are
hidden.

LSPet has no place for the joints that it calls hidden. Training learns the occlusion task by
occluders, and the evaluation measures by them.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from pipeline.device import upload
from pipeline.seeding import uniform


class People(NamedTuple):
    """A batch: images (B, 3, S, S) in [0, 1]; joints (B, J, 2) px, NaN if unknown; those hidden."""

    images: Tensor
    points: Tensor
    occluded: Tensor  # (B, J) bool


class Occluders(NamedTuple):
    """K occluders a photograph: the joint each covers, place and size; all (B, K) or (B, K, 2)."""

    joint: Tensor  # int64
    shift: Tensor  # from the joint to the centre, of the half sides, in [-0.7, 0.7]
    half: Tensor  # half sides, of the input's side
    ellipse: Tensor  # bool; else a rectangle
    active: Tensor  # bool


def draw_occluders(
    rng: torch.Generator,
    annotated: Tensor,
    probability: float,
    sizes: tuple[float, float],
    count: int = 2,
) -> Occluders:
    """Occluders over random annotated (B, J) joints: at least one with the probability given."""
    n, joints = annotated.shape
    preference = torch.rand(n, count, joints, generator=rng)
    any_at_all = torch.rand(n, 1, generator=rng) < probability
    more = torch.rand(n, count, generator=rng) < 0.5
    more[:, 0] = True
    shift = uniform(rng, -0.7, 0.7, n, count, 2)
    half = uniform(rng, sizes[0] / 2, sizes[1] / 2, n, count, 2)
    ellipse = torch.rand(n, count, generator=rng) < 0.5
    preference, *rest = (
        upload(each, annotated.device)
        for each in (preference, shift, half, ellipse, any_at_all & more)
    )
    return Occluders((preference * annotated.unsqueeze(1)).argmax(-1), *rest)


def occlude(people: People, donors: Tensor, occluders: Occluders) -> People:
    """Cover joints with patches of other images, donors (B, 3, S, S), and mark them as hidden.

    LSPet has no place for the joints that it calls hidden; for these it is known exactly. Any joint
    under a patch is hidden, not only the one that it was put over.
    """
    images, points, occluded = people
    size = images.shape[-1]
    joint, shift, half, ellipse, active = occluders
    half = half * size  # (B, K, 2)
    at = points.gather(1, joint.unsqueeze(-1).expand(-1, -1, 2)).nan_to_num(-1e6)
    centre = at + shift * half

    def covered(x: Tensor, y: Tensor) -> Tensor:
        """(B, *) bool: is (x, y), each (B or 1, *), broadcast together, under an occluder?"""
        shape = (*half.shape[:2], *[1] * (x.dim() - 1))
        u, v = (
            (place.unsqueeze(1) - centre[..., axis].view(shape)) / half[..., axis].view(shape)
            for axis, place in enumerate((x, y))
        )
        u, v = u.abs(), v.abs()
        distance = torch.where(ellipse.view(shape), u * u + v * v, torch.maximum(u, v))
        return (distance <= active.float().view(shape) * 2 - 1).any(1)  # below -1: none

    # The donor's body is in its middle: shifted, its surroundings cover bodies too.
    donors = donors.roll((size // 3, size // 3), dims=(-2, -1))
    pixels = torch.arange(size, device=images.device, dtype=images.dtype)
    mask = covered(pixels[None, None, :], pixels[None, :, None]).unsqueeze(1)
    images = torch.where(mask, donors, images)
    return People(images, points, occluded | covered(points[..., 0], points[..., 1]))
