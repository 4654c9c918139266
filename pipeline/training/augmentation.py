"""Augmentation in batches on the device: one affine warp, and colour; occluders are in
`evaluation.occluders`.

Random numbers are drawn on the CPU from a stream of the step's own, whatever the settings use of
them, so that every variant of an experiment sees the same images and occluders.
"""

from math import log, pi

import torch
from torch import Tensor
from torch.nn import functional as F

from pipeline.device import upload
from pipeline.evaluation.occluders import People
from pipeline.seeding import uniform
from pipeline.settings import Augment
from pipeline.skeleton import FLIP


def draw_warps(rng: torch.Generator, count: int, augment: Augment) -> tuple[Tensor, Tensor]:
    """Warps (B, 2, 3) from upright to warped input, side 1, around its middle; whether mirrored."""
    angle = uniform(rng, -augment.rotation, augment.rotation, count) * pi / 180
    scale = uniform(rng, log(augment.scale[0]), log(augment.scale[1]), count).exp()
    shift = uniform(rng, -augment.shift, augment.shift, count, 2)
    flip = torch.rand(count, generator=rng) < augment.flip
    cos, sin = scale * angle.cos(), scale * angle.sin()
    mirror = torch.where(flip, -1.0, 1.0)
    rows = [torch.stack([cos * mirror, -sin], -1), torch.stack([sin * mirror, cos], -1)]
    return torch.cat([torch.stack(rows, -2), shift.unsqueeze(-1)], dim=-1), flip


def draw_colours(rng: torch.Generator, count: int, augment: Augment) -> Tensor:
    """Factors (B, 3) of brightness, contrast and saturation."""
    return 1 + uniform(rng, -augment.colour, augment.colour, count, 3)


def identity_warps(count: int) -> tuple[Tensor, Tensor]:
    """Warps and mirrorings, as of `draw_warps`, that change nothing."""
    return torch.eye(2, 3).repeat(count, 1, 1), torch.zeros(count, dtype=torch.bool)


def warp(
    crops: Tensor,
    points: Tensor,
    occluded: Tensor,
    warps: tuple[Tensor, Tensor],
    field: float,
    size: int,
) -> People:
    """Warp stored crops (B, S, S, 3) uint8 and their joints (B, J, 2), crop px, to inputs of side
    `size`.

    field: the part of the crop, px, that an input shows when nothing is warped: its middle.
    A mirrored person's joints change names with their partners, hidden ones too.
    """
    matrix, flip = warps
    stored = crops.shape[1]
    # Where each pixel of the input comes from; affine_grid counts from -1 to 1 between the outer
    # edges.
    inverse = torch.linalg.inv(matrix[:, :, :2])
    source = torch.cat([inverse, -2 * inverse @ matrix[:, :, 2:]], dim=-1) * (field / stored)
    matrix, flip, source = (upload(each, crops.device) for each in (matrix, flip, source))
    linear, shift = matrix[:, :, :2], matrix[:, :, 2]
    grid = F.affine_grid(source, [len(crops), 3, size, size], align_corners=False)
    images = F.grid_sample(crops.permute(0, 3, 1, 2).float(), grid, align_corners=False).div_(255)

    unit = (points - (stored - 1) / 2) / field
    moved = (unit @ linear.mT + shift.unsqueeze(1)) * size + (size - 1) / 2
    partners = torch.tensor(FLIP, device=crops.device)
    moved = torch.where(flip[:, None, None], moved[:, partners], moved)
    occluded = torch.where(flip[:, None], occluded[:, partners], occluded)
    return People(images, moved, occluded)


def recolour(images: Tensor, factors: Tensor) -> Tensor:
    """Images (B, 3, S, S) in [0, 1], brightness, contrast and saturation times factors (B, 3)."""
    brightness, contrast, saturation = factors[:, :, None, None, None].unbind(1)
    # Brightness, then contrast around the mean, then saturation around the grey: together one
    # linear map.
    scale = brightness * contrast
    grey = images.mean(1, keepdim=True)
    constant = brightness * (1 - contrast) * grey.mean((-2, -1), keepdim=True)
    return torch.addcmul(
        constant + scale * (1 - saturation) * grey, images, scale * saturation
    ).clamp_(0, 1)
