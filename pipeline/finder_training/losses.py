"""What the finder is to say of a scene, and what it costs to say something else."""

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from pipeline.finding.finder import STRIDE
from pipeline.mosaics.composition import Scene

SPREAD = 0.1  # standard deviation of a centre's peak over the box's side
NARROWEST = 0.6  # standard deviation of a peak, cells
NEAR = 0.3  # height of the peak from which on a cell answers for the box's edges


def true_maps(scene: Scene) -> tuple[np.ndarray, np.ndarray]:
    """Centres (1, h, h), peaks of height 1, and edges (4, h, h), shares of the side, of a scene.

    A cell's edges are those of the person whose peak is highest there.
    """
    side = len(scene.pixels)
    size = side // STRIDE
    cell = np.arange(size)
    centres, edges = np.zeros((size, size), np.float32), np.zeros((4, size, size), np.float32)
    middle = (cell + 0.5) * STRIDE - 0.5
    for first, last in scene.boxes:
        at = ((first + last) / 2 + 0.5) / STRIDE - 0.5
        at = np.clip(np.rint(at), 0, size - 1)  # the peak's height is 1 in a cell
        spread = np.maximum(SPREAD * (last - first) / STRIDE, NARROWEST)
        x, y = (np.exp(-((cell - at[k]) ** 2) / (2 * spread[k] ** 2)) for k in (0, 1))
        peak = (y[:, None] * x[None]).astype(np.float32)
        mine = peak > centres
        centres = np.maximum(centres, peak)
        far = np.stack(
            np.broadcast_arrays(
                (middle - first[0])[None, :],
                (middle - first[1])[:, None],
                (last[0] - middle)[None, :],
                (last[1] - middle)[:, None],
            )
        )
        edges = np.where(mine, far / side, edges)
    return centres[None], edges.astype(np.float32)


def centre_loss(logits: Tensor, centres: Tensor) -> Tensor:
    """Focal loss, a person, of centres (B, 1, h, h) against their peaks ("Objects as Points", Eq.
    1)."""
    log_yes, log_no = F.logsigmoid(logits), F.logsigmoid(-logits)
    yes = log_yes.exp()
    people = (centres == 1).float()
    loss = people * (1 - yes) ** 2 * log_yes + (1 - people) * (1 - centres) ** 4 * yes**2 * log_no
    return -loss.sum() / people.sum().clamp_min(1)


def edge_loss(edges: Tensor, truth: Tensor, centres: Tensor) -> Tensor:
    """1 - GIoU of boxes (B, 4, h, h) near centres, weighed by the peaks' height (Z. Liu et al.,
    "Training-Time-Friendly Network", AAAI 2020; H. Rezatofighi et al., CVPR 2019)."""
    weight = (centres * (centres > NEAR)).squeeze(1)
    left, up, right, down = (
        torch.minimum(one, other)
        for one, other in zip(edges.unbind(1), truth.unbind(1), strict=True)
    )
    both = (left + right).clamp_min(0) * (up + down).clamp_min(0)
    areas = [(e[:, 0] + e[:, 2]) * (e[:, 1] + e[:, 3]) for e in (edges, truth)]
    union = sum(areas) - both
    left, up, right, down = (
        torch.maximum(one, other)
        for one, other in zip(edges.unbind(1), truth.unbind(1), strict=True)
    )
    hull = (left + right) * (up + down)
    quality = both / (union + 1e-7) - (hull - union) / (hull + 1e-7)
    return ((1 - quality) * weight).sum() / weight.sum().clamp_min(1)
