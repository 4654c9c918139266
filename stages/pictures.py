"""The pictures that the train and the evaluate stage give to a run; they determine no output."""

import numpy as np
import torch

from pipeline import drawing, heatmaps, inference
from pipeline.cache import Crops, Heatmaps, input_points, invert, stored_size, transform
from pipeline.evaluation import Evaluation, cover
from pipeline.generator import Generator
from pipeline.metrics import normalised_distance, torso_size
from pipeline.settings import Cache
from pipeline.tracking import Run

SHOWN = 10  # skeletons in an overlay
ROWS = 5  # photographs with their heatmaps


@torch.inference_mode()
def log(
    run: Run,
    part: str,
    result: Evaluation,
    generator: Generator,
    targets: Heatmaps,
    crops: Crops,
    some: np.ndarray,
    geometry: Cache,
) -> str:
    """Draw overlays (evenly spaced photographs, and the worst) and heatmaps; returns where the overlay lies."""
    truth, annotated = crops.originals[some], crops.annotated[some]
    distance = normalised_distance(result.found.points, truth, annotated, torso_size(truth, annotated))
    counted = (~np.isnan(distance)).sum(1)
    share = np.where(counted > 0, (distance < 0.2).sum(1) / np.maximum(counted, 1), np.nan)
    even = np.linspace(0, len(some) - 1, min(SHOWN, len(some))).astype(int)
    worst = np.lexsort((-np.nan_to_num(distance).mean(1), np.nan_to_num(share, nan=1.0)))[:SHOWN]

    def overlay(which: np.ndarray):
        margin = (stored_size(geometry) - geometry.input_size) / 2
        found = transform(invert(crops.affines[some[which]]), result.found.points[which]) - margin
        images = _pixels(inference.inputs(crops, some[which], geometry))
        titles = ["" if np.isnan(each) else f"PCK@0.2 {each:.2f}" for each in share[which]]
        shown = annotated[which]
        return drawing.skeletons(images, input_points(crops, geometry)[some[which]], found, shown, titles)

    run.figure(overlay(even), f"pictures/{part}_overlay.png")
    run.figure(overlay(worst), f"pictures/{part}_worst.png")

    # Under the occluders, where the second task has something to say; and the targets of the same photographs.
    rows, device = some[even[:ROWS]], next(generator.parameters()).device
    covered = cover(crops, rows, geometry)
    pose, occlusion = (
        each.cpu().numpy() for each in inference.maps(generator, covered.images.to(device), flip=True)
    )
    images = _pixels(covered.images)
    run.figure(
        drawing.heatmaps(images, pose, occlusion, covered.points.numpy()), f"pictures/{part}_heatmaps.png"
    )
    x, y = (torch.from_numpy(factor[rows]).float() for factor in (targets.x, targets.y))
    true_pose = heatmaps.expand(x, y)
    true_occlusion = true_pose * covered.occluded[..., None, None]
    run.figure(
        drawing.heatmaps(images, true_pose.numpy(), true_occlusion.numpy()), f"pictures/{part}_targets.png"
    )
    return run.place(f"pictures/{part}_overlay.png")


def _pixels(images: torch.Tensor) -> np.ndarray:
    """Images (B, 3, S, S) in [0, 1] as (B, S, S, 3) uint8."""
    return (images.permute(0, 2, 3, 1) * 255).round().byte().numpy()
