"""Heatmaps: rendering points as Gaussian peaks, and finding points in heatmaps.

A two-dimensional Gaussian is the outer product of two one-dimensional ones, so a heatmap is made of two
vectors (`expand`), computed on the device or cached by `pipeline.cache`.
"""

import torch
from torch import Tensor


def expand(x: Tensor, y: Tensor) -> Tensor:
    """Heatmaps (..., J, size, size) from the column vectors x and the row vectors y (..., J, size)."""
    return y.unsqueeze(-1) * x.unsqueeze(-2)


def render(points, size: int, sigma: float) -> Tensor:
    """Heatmaps (..., J, size, size) of points (..., J, 2): 1 at the point, falling off with sigma, px.

    x to the right, y down, pixel centres at the integers; all zero where the point is NaN.
    """
    points = torch.as_tensor(points)
    points = points if points.is_floating_point() else points.float()
    offset = points.unsqueeze(-1) - torch.arange(size, dtype=points.dtype, device=points.device)
    x, y = torch.exp(-(offset**2) / (2 * sigma**2)).nan_to_num(0.0).unbind(-2)
    return expand(x, y)


def smooth(maps: Tensor, sigma: float) -> Tensor:
    """Maps (..., h, w) convolved with a Gaussian of standard deviation sigma, px, and sum 1; zeros beyond the border.

    A predicted map may have several tops, a pixel or two apart; the joint is rather where most of the map
    is. F. Zhang et al., CVPR 2020, smooth before decoding too, by the Gaussian of the targets. A peak nearer
    to the border than 2 sigma moves inwards, by up to 0.7 sigma.
    """
    rows, columns = (_toeplitz(size, sigma).to(maps) for size in maps.shape[-2:])
    return rows @ maps @ columns


def _toeplitz(size: int, sigma: float) -> Tensor:
    """The matrix (size, size) that convolves a column of `size` pixels with a Gaussian."""
    offset = torch.arange(size).unsqueeze(1) - torch.arange(size)
    reach = torch.arange(-size, size + 1)
    return torch.exp(-(offset**2) / (2 * sigma**2)) / torch.exp(-(reach**2) / (2 * sigma**2)).sum()


def decode(heatmaps) -> tuple[Tensor, Tensor]:
    """Points (..., J, 2), heatmap px, and scores (..., J) of the peaks of heatmaps (..., J, H, W).

    The place is refined below a pixel by the vertex of a parabola through the logarithms of the peak and its
    two neighbours, along x and y: exact for a Gaussian (the Taylor expansion of F. Zhang et al., CVPR 2020,
    without its mixed term). The score is the value at the peak. Where a map is constant there is no peak:
    its first pixel, with that constant as the score.
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
    """Place (...) of the top of the parabola through three values of a profile (..., S) around its peak."""
    # At the border the three values lie to one side of the peak.
    centre = peak.clamp(1, profile.shape[-1] - 2)
    left, middle, right = (profile.gather(-1, (centre + k).unsqueeze(-1)).squeeze(-1) for k in (-1, 0, 1))
    curvature = left - 2 * middle + right
    offset = torch.where(curvature < 0, (left - right) / (2 * curvature), 0.0)
    refined = centre + offset
    # Noise may throw the vertex far away: it belongs to the pixel of the peak, or to none beyond the border.
    return torch.where(curvature < 0, refined.clamp(peak - 0.5, peak + 0.5), peak.to(profile.dtype))
