"""Pictures and page that the train and evaluate stages give to a run; they determine no output."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pandas as pd
import torch
from matplotlib.figure import Figure

from pipeline import paths
from pipeline.data.crops import Crops
from pipeline.data.targets import Targets
from pipeline.drawing import curves as charts
from pipeline.drawing import people as figures
from pipeline.drawing.style import pixels
from pipeline.evaluation.metrics import MEASURES
from pipeline.evaluation.protocol import Evaluation, cover
from pipeline.geometry import invert, transform
from pipeline.networks import heatmaps
from pipeline.networks.estimator import CropEstimator
from pipeline.networks.layers import normalise
from pipeline.settings import Settings
from pipeline.tracking import report
from pipeline.tracking.run import Run
from pipeline.training.batches import Photographs
from pipeline.training.state import TrainingState

SHOWN = 10  # skeletons in an overlay
ROWS = 5  # photographs with their heatmaps
FOLLOWED = (
    3  # photographs in the picture of a step, which MLflow shows at 256 px until it is clicked
)
DATA = {"lspet": "LSPet", "figures": "drawn people", "own": "own photographs"}


@torch.inference_mode()
def log(
    run: Run,
    part: str,
    evaluation: Evaluation,
    estimator: CropEstimator,
    crops: Crops,
    targets: Targets,
) -> None:
    """Draw skeletons (of evenly spaced photographs, and of the worst) and heatmaps."""
    n = len(evaluation.indices)
    even = np.linspace(0, n - 1, min(SHOWN, n)).astype(int)
    run.figure(skeletons(even, evaluation, crops), f"pictures/{part}_overlay.png")
    worst = ranking(evaluation)[::-1][:SHOWN]
    run.figure(skeletons(worst, evaluation, crops), f"pictures/{part}_worst.png")

    # Under the occluders, where the second task has something to say; and the targets of the same
    # photographs.
    indices, joints = evaluation.indices[even[:ROWS]], evaluation.truth.shape[1]
    covered = cover(crops, indices)
    pose, *occlusion = (
        each.cpu().numpy()
        for each in estimator.heatmaps(covered.images.to(estimator.device)).split(joints, dim=1)
    )
    images = _pixels(covered.images)
    hidden = occlusion[0] if occlusion else np.zeros_like(pose)
    found = figures.heatmaps(images, pose, hidden, covered.points.numpy())
    run.figure(found, f"pictures/{part}_heatmaps.png")
    x, y = (torch.from_numpy(factor[indices]).float() for factor in (targets.x, targets.y))
    true_pose = heatmaps.expand(x, y)
    true_occlusion = true_pose * covered.occluded[..., None, None]
    true = figures.heatmaps(images, true_pose.numpy(), true_occlusion.numpy())
    run.figure(true, f"pictures/{part}_targets.png")


def progress(
    run: Run, photographs: Photographs, settings: Settings
) -> Callable[[TrainingState], None]:
    """What draws the same few validation photographs, partly covered, into the run at its steps."""
    crops, validation, device = photographs.crops, photographs.validation, photographs.device
    indices = validation[
        np.linspace(0, len(validation) - 1, min(FOLLOWED, len(validation))).astype(int)
    ]
    covered = cover(crops, indices)
    shown, truth, images = (
        _pixels(covered.images),
        covered.points.numpy(),
        covered.images.to(device),
    )

    @torch.inference_mode()
    def show(state: TrainingState) -> None:
        generator = state.averaged_generator
        maps = CropEstimator(generator, crops.geometry, {}, device).heatmaps(images, flip=False)
        verdicts = {}
        if (
            settings.train.adversarial
            and state.step > settings.train.game_start * settings.train.steps
        ):
            verdicts = {
                "P: in its place": state.pose(normalise(images), maps),
                "C: a sharp peak": state.confidence(maps),
            }
        pose, *occlusion = (each.cpu().numpy() for each in maps.split(truth.shape[1], dim=1))
        drawn = figures.heatmaps(
            shown,
            pose,
            occlusion[0] if occlusion else None,
            truth,
            {name: each.float().sigmoid().cpu().numpy() for name, each in verdicts.items()},
        )
        run.image(pixels(drawn), "validation", state.step)

    return show


def page(
    part: str,
    settings: Mapping[str, Any],
    measured: Mapping[str, Any],
    curves: Mapping[str, pd.DataFrame],
    evaluation: Evaluation,
    crops: Crops,
) -> str:
    """The page about weights that the groups `settings` made, as of `pipeline.tracking.report`."""
    order = ranking(evaluation)
    middle = max(0, (len(order) - SHOWN) // 2)
    worst = (
        f"The {SHOWN} worst: often the sides are exchanged, or the annotation is of someone else"
    )
    galleries = {
        f"The {SHOWN} best": order[:SHOWN],
        f"{SHOWN} in the middle": order[middle : middle + SHOWN],
        worst: order[::-1][:SHOWN],
    }
    titles = {
        "pck_0.2": ("PCK over its threshold, in torsos", "torso, left shoulder to right hip"),
        "pckh_0.5": ("PCKh over its threshold, in heads", "head, neck to head top"),
    }
    drawn = [
        report.picture(charts.pck_curves(curves[name], reference=reference), caption)
        for name, (caption, reference) in titles.items()
    ]
    if tenths := measured["people"]["reliability"]:
        figure = charts.reliability(pd.DataFrame(tenths))
        drawn.append(report.picture(figure, "What a person's score is worth, in mosaics"))
    if paths.LEARNING_CURVE.is_file():
        figure = charts.learning_curves(pd.read_csv(paths.LEARNING_CURVE))
        drawn.append(report.picture(figure, "The training's course", wide=True))
    name, (_, threshold) = next(iter(MEASURES.items()))
    distance = evaluation.distances["all", name]
    return report.page(
        title=f"Adversarial PoseNet: {DATA[settings['data']['name']]}, {part} part",
        about=f"{len(evaluation.indices):,} photographs. {report.training(settings)}",
        measured=measured,
        by_count=report.by_annotated(distance, evaluation.annotated, threshold),
        curves=drawn,
        galleries=[
            report.picture(skeletons(which, evaluation, crops), caption, "jpeg", wide=True)
            for caption, which in galleries.items()
        ],
    )


def ranking(evaluation: Evaluation) -> np.ndarray:
    """Places in the evaluation of counted photographs, best first: PCK@0.2, then mean distance."""
    distance = evaluation.distances["all", "pck_0.2"]
    counted = np.flatnonzero((~np.isnan(distance)).any(axis=1))
    nearest = np.nanmean(distance[counted], axis=1)
    return counted[np.lexsort((nearest, -_share(distance[counted])))]


def skeletons(which: np.ndarray, evaluation: Evaluation, crops: Crops) -> Figure:
    """Skeletons in photographs, chosen by place in the evaluation, beside their annotation."""
    indices = evaluation.indices[which]
    in_crop = transform(invert(crops.affines[indices]), evaluation.predictions.points[which])
    share = _share(evaluation.distances["all", "pck_0.2"][which])
    return figures.skeletons(
        crops.inputs(indices),
        crops.input_points[indices],
        crops.geometry.crop_to_input(in_crop),
        crops.annotated[indices],
        ["" if np.isnan(each) else f"PCK@0.2 {each:.2f}" for each in share],
    )


def _share(distance: np.ndarray) -> np.ndarray:
    """PCK@0.2 (N,) a photograph, from normalised distances (N, 14); NaN where no joint counts."""
    counted = (~np.isnan(distance)).sum(axis=1)
    return np.where(
        counted > 0,
        (distance < MEASURES["pck_0.2"][1]).sum(axis=1) / np.maximum(counted, 1),
        np.nan,
    )


def _pixels(images: torch.Tensor) -> np.ndarray:
    """Images (B, 3, S, S) in [0, 1] as (B, S, S, 3) uint8."""
    return (images.permute(0, 2, 3, 1) * 255).round().byte().numpy()
