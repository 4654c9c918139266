"""Equations 1 to 4 of Adversarial PoseNet, and the labels of the game.

Outputs and true maps are (B, T J, h, h), as of `pipeline.networks.heatmaps`. `mask` (B, J) is 1 for
the joints that count: a joint that is not annotated, or lies outside the input, carries no loss in
either task and has no label in the game. Where `augment.cut` cuts people off, a joint that is known
to lie outside counts in L_G, with an empty true map: it is to be found nowhere.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from pipeline.networks.generator import position_log_softmax
from pipeline.networks.heatmaps import decode


def masked_mean(values: Tensor, mask: Tensor) -> Tensor:
    """Mean of values over the joints that count; 0 where none does."""
    return (values * mask).sum() / mask.sum().clamp_min(1)


def squared_error(outputs: Sequence[Tensor], truth: Tensor, mask: Tensor) -> Tensor:
    """Eq. 1: L_G = 1 / (2 M N) sum_n sum_i |y_n^i - y_hat_n^i|^2 + |z_n^i - z_hat_n^i|^2.

    The mean over N stacks and over the M joints of the batch that count of half the sum of squares
    over the pixels of a map; without the occlusion task its term is left out.
    """
    total = torch.zeros(())
    for output in outputs:
        error = (output - truth).square().sum((-2, -1))
        total = total + masked_mean(_over_tasks(error, mask), mask) / 2
    return total / len(outputs)


def cross_entropy(outputs: Sequence[Tensor], truth: Tensor, mask: Tensor) -> Tensor:
    """In place of Eq. 1: where is the joint, and where is it hidden? In nats, the mean over N and M
    likewise.

    For the pose the cross-entropy of a softmax over the positions against the normalised target
    map, which leaves the all-zero plateau of squared errors at once. For occlusion there is one
    more answer, "nowhere", the truth for a joint that is seen.
    """
    joints = mask.shape[1]
    pose, *occlusion = truth.split(joints, dim=1)
    targets = [_distribution(pose).flatten(-2)]
    for maps in occlusion:
        hidden = maps.flatten(-2).sum(-1, keepdim=True) > 0
        everywhere = [_distribution(maps).flatten(-2) * hidden, (~hidden).to(maps.dtype)]
        targets.append(torch.cat(everywhere, dim=-1))
    total = torch.zeros(())
    for output in outputs:
        error = torch.zeros_like(mask)
        for task, (maps, target) in enumerate(
            zip(output.split(joints, dim=1), targets, strict=True)
        ):
            error = error - (target * position_log_softmax(maps, nowhere=task > 0).flatten(2)).sum(
                -1
            )
        total = total + masked_mean(error, mask)
    return total / len(outputs)


Reconstruction = Callable[[Sequence[Tensor], Tensor, Tensor], Tensor]
RECONSTRUCTION: dict[str, Reconstruction] = {"mse": squared_error, "cross_entropy": cross_entropy}


def _distribution(maps: Tensor) -> Tensor:
    """Maps scaled to sum 1; an empty one, of a joint outside, becomes as high everywhere."""
    total = maps.sum((-2, -1), keepdim=True)
    even = 1 / (maps.shape[-1] * maps.shape[-2])
    return torch.where(total > 0, maps / total.clamp_min(1e-6), even)


def _over_tasks(values: Tensor, mask: Tensor) -> Tensor:
    """Values (B, T J) summed over the tasks: (B, J)."""
    return values.unflatten(1, (-1, mask.shape[1])).sum(1)


def pose_labels(pose: Tensor, points: Tensor, delta: float) -> Tensor:
    """p_fake (B, J): 1 where the peak of a predicted map is nearer than delta to the true point,
    else 0.

    pose: predicted heatmaps (B, J, h, h); points: (B, J, 2), heatmap px. The distance is normalised
    by a tenth of the heatmap's side.
    """
    predicted, _ = decode(pose)
    distance = (predicted - points).norm(dim=-1) / (pose.shape[-1] / 10)
    return (distance < delta).to(pose.dtype)  # a NaN point compares false


def confidence_labels(pose: Tensor, target: Tensor, epsilon: float) -> Tensor:
    """c_fake (B, J): 1 where |y - y_hat|^2 < epsilon |y|^2, the target map's energy, else 0."""
    error = (pose - target).square().sum((-2, -1))
    return (error < epsilon * target.square().sum((-2, -1))).to(pose.dtype)


def discriminator_loss(real: Tensor, fake: Tensor, labels: Tensor, mask: Tensor) -> Tensor:
    """Eq. 2 (of P) and Eq. 3 (of C): cross-entropy of logits (B, J), real maps' against ones, fake
    maps' against their labels p_fake or c_fake."""
    on_real = F.binary_cross_entropy_with_logits(real, torch.ones_like(real), reduction="none")
    on_fake = F.binary_cross_entropy_with_logits(fake, labels, reduction="none")
    return masked_mean(on_real, mask) + masked_mean(on_fake, mask)


def adversarial_loss(fake: Tensor, mask: Tensor) -> Tensor:
    """L_P and L_C for G in Eq. 4: cross-entropy of its maps' logits (B, J) against "all real"."""
    return masked_mean(
        F.binary_cross_entropy_with_logits(fake, torch.ones_like(fake), reduction="none"), mask
    )


def generator_loss(
    reconstruction: Tensor, confidence: Tensor, pose: Tensor, alpha: float, beta: float
) -> Tensor:
    """Eq. 4: L_G + alpha L_C + beta L_P."""
    return reconstruction + alpha * confidence + beta * pose
