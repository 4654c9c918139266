"""Heatmaps: rendering points as Gaussian peaks, mirroring them, and finding points in them.

Everywhere in this project *maps* is one tensor (B, T J, h, w), J = 14 joints: with T = 1 task the J
pose heatmaps, peaks where the joints are; with T = 2 these, then the J occlusion heatmaps, peaks
where the joints are that are hidden, and all zero for those that are seen. `maps.split(J, dim=1)`
takes the tasks apart. The generator gives such maps, one tensor a stack, the discriminators see
them, and the losses compare them with true ones of the same shape. Values are in [0, 1]; what a
generator gives becomes so by `Generator.heatmaps`.
"""

import torch
from torch import Tensor

from pipeline.data.targets import gaussian
from pipeline.skeleton import FLIP


def expand(x: Tensor, y: Tensor) -> Tensor:
    """Heatmaps (..., J, size, size) from column vectors x and row vectors y (..., J, size)."""
    return y.unsqueeze(-1) * x.unsqueeze(-2)


def render(points: Tensor, size: int, sigma: float) -> Tensor:
    """Heatmaps (..., J, size, size) of points (..., J, 2): 1 at the point, falling off with sigma,
    px.

    x to the right, y down, pixel centres at the integers; all zero where the point is NaN.
    """
    points = torch.as_tensor(points)
    points = points if points.is_floating_point() else points.float()
    offset = points.unsqueeze(-1) - torch.arange(size, dtype=points.dtype, device=points.device)
    x, y = gaussian(offset, sigma).nan_to_num(0.0).unbind(-2)
    return expand(x, y)


def flip_maps(maps: Tensor) -> Tensor:
    """Maps (B, T J, h, w) of the mirrored photograph: mirrored, each under its partner's name."""
    return exchanged(maps.flip(-1))


def exchanged(maps: Tensor) -> Tensor:
    """Maps (B, T J, h, w), each under its partner's name: left for right."""
    joints = len(FLIP)
    return maps[:, [task + partner for task in range(0, maps.shape[1], joints) for partner in FLIP]]


def smooth(maps: Tensor, sigma: float) -> Tensor:
    """Maps (..., h, w) convolved with a Gaussian of standard deviation sigma, px, and sum 1; zeros
    beyond the border.

    A predicted map may have several tops, a pixel or two apart; the joint is rather where most of
    the map is. F. Zhang et al., CVPR 2020, smooth before decoding too, by the Gaussian of the
    targets. A peak nearer to the border than 2 sigma moves inwards, by up to 0.7 sigma.
    """
    rows, columns = (_toeplitz(size, sigma).to(maps) for size in maps.shape[-2:])
    return rows @ maps @ columns


def _toeplitz(size: int, sigma: float) -> Tensor:
    """The matrix (size, size) that convolves a column of `size` pixels with a Gaussian."""
    offset = torch.arange(size).unsqueeze(1) - torch.arange(size)
    reach = torch.arange(-size, size + 1)
    return gaussian(offset, sigma) / gaussian(reach, sigma).sum()


def decode(heatmaps: Tensor) -> tuple[Tensor, Tensor]:
    """Points (..., J, 2), heatmap px, and scores (..., J) of the peaks of heatmaps (..., J, H, W).

    The place is refined below a pixel by the vertex of a parabola through the logarithms of the
    peak and its two neighbours, along x and y: exact for a Gaussian (the Taylor expansion of F.
    Zhang et al., CVPR 2020, without its mixed term). The score is the value at the peak. Where a
    map is constant there is no peak: its first pixel, with that constant as the score.
    """
    heatmaps = torch.as_tensor(heatmaps)
    heatmaps = heatmaps.float() if heatmaps.dtype in (torch.float16, torch.bfloat16) else heatmaps
    height, width = heatmaps.shape[-2:]
    scores, index = heatmaps.flatten(-2).max(-1)
    column, row = index % width, index // width
    log = heatmaps.clamp_min(1e-12).log()
    across = log.gather(-2, row[..., None, None].expand(*row.shape, 1, width)).squeeze(-2)
    down = log.gather(-1, column[..., None, None].expand(*column.shape, height, 1)).squeeze(-1)
    return torch.stack([_vertex(across, column), _vertex(down, row)], dim=-1), scores


def _vertex(profile: Tensor, peak: Tensor) -> Tensor:
    """Place (...) of a parabola's top: through three values of a profile (..., S) at its peak."""
    # At the border the three values lie to one side of the peak.
    centre = peak.clamp(1, profile.shape[-1] - 2)
    left, middle, right = (
        profile.gather(-1, (centre + k).unsqueeze(-1)).squeeze(-1) for k in (-1, 0, 1)
    )
    curvature = left - 2 * middle + right
    offset = torch.where(curvature < 0, (left - right) / (2 * curvature), 0.0)
    refined = centre + offset
    # Noise may throw the vertex far away: it belongs to the pixel of the peak, or to none beyond
    # the border.
    return torch.where(curvature < 0, refined.clamp(peak - 0.5, peak + 0.5), peak.to(profile.dtype))
