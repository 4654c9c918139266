"""What P knows, of which its accuracy says little: to true maps "true" is always right."""

import torch
from torch import Tensor

from pipeline.evaluation import metrics
from pipeline.networks import heatmaps
from pipeline.networks.discriminators import PoseDiscriminator
from pipeline.skeleton import FLIP
from pipeline.training.losses import masked_mean


@torch.no_grad()
def knowledge(
    player: PoseDiscriminator, images: Tensor, real: Tensor, points: Tensor, mask: Tensor
) -> dict[str, Tensor]:
    """Shares of the joints that P takes for true where they are not: true maps (B, T J, h, h) in
    another photograph of the batch (images (B, 3, S, S), the one before), and with the names of
    left and right exchanged, where the two are a tenth of the map's side apart or more.

    points, mask: (B, J, 2), heatmap px, and (B, J), of what is annotated.
    """
    another, exchanged = player(
        torch.cat([images.roll(1, 0), images]), torch.cat([real, heatmaps.exchanged(real)])
    ).chunk(2)
    between = (points - points[:, list(FLIP)]).norm(dim=-1)
    apart = between > real.shape[-1] / 10  # a NaN point compares false
    return {
        "pose/true_in_another": masked_mean((another > 0).float(), mask),
        "pose/true_exchanged": masked_mean((exchanged > 0).float(), mask * apart),
    }


def auc(answers: Tensor, labels: Tensor, mask: Tensor) -> Tensor:
    """How likely an answer (B, J) to a true joint is above one to a false one; ties count half, and
    0.5 where there are none of either."""
    true, false = (answers[(mask > 0) & (labels == label)] for label in (1, 0))
    known = metrics.auc(true.cpu().numpy(), false.cpu().numpy())
    return answers.new_tensor(known).nan_to_num(0.5)
