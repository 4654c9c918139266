"""Augmentation in batches on the device: one affine warp, colour, and occluders.

Random numbers are drawn on the CPU from a generator of the step's own, whatever the settings use of them,
so that every variant of an experiment sees the same images and occluders.
"""

from math import log, pi
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from pipeline.device import upload
from pipeline.lspet import FLIP
from pipeline.settings import Augment

MEAN, SCALE = 0.45, 0.25  # of the values of a photograph in [0, 1]; input is (value - MEAN) / SCALE


class People(NamedTuple):
    """A batch: images (B, 3, S, S) in [0, 1], joints (B, J, 2), px, NaN where unknown, and whether hidden."""

    images: Tensor
    points: Tensor
    occluded: Tensor  # (B, J) bool


class Occluders(NamedTuple):
    """K occluders a photograph: which joint each covers, where, how large; all (B, K) or (B, K, 2)."""

    joint: Tensor  # int64
    shift: Tensor  # from the joint to the centre, of the half sides, in [-0.7, 0.7]
    half: Tensor  # half sides, of the input's side
    ellipse: Tensor  # bool; else a rectangle
    active: Tensor  # bool


def generator(*seeds: int) -> torch.Generator:
    """A random generator on the CPU, decided by whole numbers alone."""
    state = 0
    for seed in seeds:  # distinct for distinct small seeds: a step's numbers do not follow from the last's
        state = (state * 0x9E3779B97F4A7C15 + seed + 1) % 2**63
    return torch.Generator().manual_seed(state)


def uniform(rng: torch.Generator, low: float, high: float, *shape: int) -> Tensor:
    return low + (high - low) * torch.rand(*shape, generator=rng)


def draw_warps(rng: torch.Generator, count: int, augment: Augment) -> tuple[Tensor, Tensor]:
    """Warps (B, 2, 3), from an upright input of side 1 to the warped one, around its middle; and whether mirrored."""
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


def draw_occluders(
    rng: torch.Generator, annotated: Tensor, probability: float, sizes: tuple[float, float], count: int = 2
) -> Occluders:
    """Occluders over random joints among those annotated (B, J): at least one with the probability given."""
    n, joints = annotated.shape
    preference = torch.rand(n, count, joints, generator=rng)
    some = torch.rand(n, 1, generator=rng) < probability
    more = torch.rand(n, count, generator=rng) < 0.5
    more[:, 0] = True
    shift = uniform(rng, -0.7, 0.7, n, count, 2)
    half = uniform(rng, sizes[0] / 2, sizes[1] / 2, n, count, 2)
    ellipse = torch.rand(n, count, generator=rng) < 0.5
    preference, *rest = (
        upload(each, annotated.device) for each in (preference, shift, half, ellipse, some & more)
    )
    return Occluders((preference * annotated.unsqueeze(1)).argmax(-1), *rest)


def identity_warps(count: int) -> tuple[Tensor, Tensor]:
    """Warps and mirrorings, as of `draw_warps`, that change nothing."""
    return torch.eye(2, 3).repeat(count, 1, 1), torch.zeros(count, dtype=torch.bool)


def warp(
    crops: Tensor, points: Tensor, occluded: Tensor, warps: tuple[Tensor, Tensor], field: float, size: int
) -> People:
    """Warp stored crops (B, S, S, 3) uint8 and their joints (B, J, 2), crop px, to inputs of side `size`.

    field: the part of the crop, px, that an input shows when nothing is warped: its middle.
    A mirrored person's joints change names with their partners, hidden ones too.
    """
    matrix, flip = warps
    stored = crops.shape[1]
    # Where each pixel of the input comes from; affine_grid counts from -1 to 1 between the outer edges.
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
    """Images (B, 3, S, S) in [0, 1] with brightness, contrast and saturation changed by factors (B, 3)."""
    brightness, contrast, saturation = factors[:, :, None, None, None].unbind(1)
    # Brightness, then contrast around the mean, then saturation around the grey: together one linear map.
    scale = brightness * contrast
    grey = images.mean(1, keepdim=True)
    constant = brightness * (1 - contrast) * grey.mean((-2, -1), keepdim=True)
    return torch.addcmul(constant + scale * (1 - saturation) * grey, images, scale * saturation).clamp_(0, 1)


def occlude(people: People, donors: Tensor, occluders: Occluders) -> People:
    """Cover joints with patches of other images, donors (B, 3, S, S), and mark them as hidden.

    LSPet has no place for the joints that it calls hidden; for these it is known exactly. Any joint under
    a patch is hidden, not only the one that it was put over.
    """
    images, points, occluded = people
    size = images.shape[-1]
    joint, shift, half, ellipse, active = occluders
    half = half * size  # (B, K, 2)
    at = points.gather(1, joint.unsqueeze(-1).expand(-1, -1, 2)).nan_to_num(-1e6)
    centre = at + shift * half

    def covered(x: Tensor, y: Tensor) -> Tensor:
        """Is (x, y), each (B or 1, *), broadcast together, under one of the occluders? (B, *) bool"""
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


def normalise(images: Tensor) -> Tensor:
    """The network's input of images in [0, 1]."""
    return (images - MEAN) / SCALE


def flip_maps(maps: Tensor) -> Tensor:
    """Heatmaps (B, J, h, w) of the mirrored photograph: mirrored, and each with its partner's name."""
    return maps.flip(-1)[:, list(FLIP)]


def flip_points(points: Tensor, size: int) -> Tensor:
    """Joints (B, J, 2), px, of the mirrored photograph of width `size`."""
    mirrored = torch.stack([size - 1 - points[..., 0], points[..., 1]], dim=-1)
    return mirrored[:, list(FLIP)]
