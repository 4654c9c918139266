"""Augmentation in batches on the device: one affine warp, and colour; occluders are in
`evaluation.occluders`.

Random numbers are drawn on the CPU from a stream of the step's own, whatever the settings use of
them, so that every variant of an experiment sees the same images and occluders.
"""

from math import log, pi
from typing import NamedTuple

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


class Window(NamedTuple):
    """The part of each stored crop, px, that an input shows when nothing is warped."""

    centre: Tensor  # (B, 2)
    side: Tensor  # (B,)

    @classmethod
    def middle(cls, count: int, stored: int, field: float) -> "Window":
        """The middle of crops of side `stored`."""
        return cls(torch.full((count, 2), (stored - 1) / 2), torch.full((count,), float(field)))


SIDES = (
    0.1,
    0.15,
    0.15,
    0.6,
)  # how often a cut takes away the top, the left, the right, the bottom
KEPT = (0.25, 0.9)  # of the person's extent along it, uniform
FEWEST = 4  # joints that a cut leaves


def draw_cuts(
    rng: torch.Generator, points: Tensor, probability: float, window: Window
) -> tuple[Tensor, Window]:
    """Cut some people off, as a photograph's edge does: what is left of crops, with windows on it.

    points (B, J, 2), crop px, NaN where not annotated. The first and the last place (B, 2, 2), crop
    px, that are left; the windows around the joints that are. Nobody is cut to less than FEWEST
    joints.
    """
    count = len(points)
    wanted = torch.rand(count, generator=rng) < probability
    top, left, right, _ = torch.tensor(SIDES).cumsum(0).tolist()
    choice = torch.rand(count, generator=rng)
    kept = uniform(rng, *KEPT, count)

    vertical = (choice < top) | (choice >= right)
    from_start = choice < left  # the top or the left is taken away
    axis = vertical.long()
    along = points.gather(-1, axis[:, None, None].expand(-1, points.shape[1], 1)).squeeze(-1)
    low, high = _extent(along)
    line = torch.where(from_start, high - kept * (high - low), low + kept * (high - low))
    inside = torch.where(from_start[:, None], along >= line[:, None], along <= line[:, None])
    wanted &= inside.sum(1) >= FEWEST

    seen = torch.tensor([[-torch.inf] * 2, [torch.inf] * 2]).repeat(count, 1, 1)
    rows = torch.arange(count)
    seen[rows, (~from_start).long(), axis] = torch.where(
        wanted, line, seen[rows, (~from_start).long(), axis]
    )
    first, last = _extent(points.masked_fill(~inside[..., None], torch.nan).transpose(1, 2))
    whole = torch.stack(_extent(points.transpose(1, 2)), 1)
    scale = window.side / (whole[:, 1] - whole[:, 0]).amax(-1).clamp_min(1)
    side = ((last - first).amax(-1) * scale).clamp_min(0.25 * window.side)
    return seen, Window(
        torch.where(wanted[:, None], (first + last) / 2, window.centre),
        torch.where(wanted, side, window.side),
    )


def _extent(values: Tensor) -> tuple[Tensor, Tensor]:
    """Least and largest of values (..., J), NaN left out."""
    missing = values.isnan()
    return (
        values.masked_fill(missing, torch.inf).amin(-1),
        values.masked_fill(missing, -torch.inf).amax(-1),
    )


def cut_off(crops: Tensor, seen: Tensor) -> Tensor:
    """Crops (B, S, S, 3) uint8, black outside of the first and the last place (B, 2, 2) seen."""
    pixels = torch.arange(crops.shape[1], device=crops.device)
    first, last = seen[:, 0, :, None], seen[:, 1, :, None]
    inside = (pixels >= first) & (pixels <= last)  # (B, 2, S): columns, rows
    return crops * (inside[:, 1, :, None] & inside[:, 0, None, :]).unsqueeze(-1)


def identity_warps(count: int) -> tuple[Tensor, Tensor]:
    """Warps and mirrorings, as of `draw_warps`, that change nothing."""
    return torch.eye(2, 3).repeat(count, 1, 1), torch.zeros(count, dtype=torch.bool)


def warp(
    crops: Tensor,
    points: Tensor,
    occluded: Tensor,
    warps: tuple[Tensor, Tensor],
    window: Window,
    size: int,
) -> People:
    """Warp windows of stored crops (B, S, S, 3) uint8 and their joints (B, J, 2), crop px, to
    inputs of side `size`.

    A mirrored person's joints change names with their partners, hidden ones too.
    """
    matrix, flip = warps
    stored = crops.shape[1]
    # Where each pixel of the input comes from; affine_grid counts from -1 to 1 between the outer
    # edges.
    inverse = torch.linalg.inv(matrix[:, :, :2])
    source = torch.cat([inverse, -2 * inverse @ matrix[:, :, 2:]], dim=-1)
    source = source * (window.side / stored)[:, None, None]
    source[:, :, 2] += 2 * (window.centre - (stored - 1) / 2) / stored
    matrix, flip, source, centre, side = (
        upload(each, crops.device) for each in (matrix, flip, source, *window)
    )
    linear, shift = matrix[:, :, :2], matrix[:, :, 2]
    # Where an input is coarser than the crop each of its pixels is the mean of several samples.
    fine = max(round(float(window.side.max()) / size), 1)
    grid = F.affine_grid(source, [len(crops), 3, fine * size, fine * size], align_corners=False)
    pixels = F.grid_sample(crops.permute(0, 3, 1, 2).float(), grid, align_corners=False)
    images = F.avg_pool2d(pixels, fine).div_(255)

    unit = (points - centre.unsqueeze(1)) / side[:, None, None]
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
