"""The pictures that the train and the evaluate stage give to a run; they determine no output."""

from pathlib import Path

import numpy as np
import pandas as pd
import torch
from matplotlib.figure import Figure

from pipeline import augmentation, drawing, heatmaps, inference, report
from pipeline.cache import Crops, Heatmaps, input_points, invert, stored_size, transform
from pipeline.evaluation import MEASURES, Evaluation, cover, distances
from pipeline.generator import Generator
from pipeline.settings import Cache, Settings
from pipeline.tracking import Run
from pipeline.training import Photographs, Show, TrainingState

SHOWN = 10  # skeletons in an overlay
ROWS = 5  # photographs with their heatmaps
FOLLOWED = 3  # photographs in the picture of a step, which MLflow shows at 256 px until it is clicked
DATA = {"lspet": "LSPet", "figures": "drawn people"}


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
) -> None:
    """Draw overlays (evenly spaced photographs, and the worst) and heatmaps."""
    even = np.linspace(0, len(some) - 1, min(SHOWN, len(some))).astype(int)
    run.figure(overlay(even, result, crops, some, geometry), f"pictures/{part}_overlay.png")
    worst = ranking(result, crops, some)[::-1][:SHOWN]
    run.figure(overlay(worst, result, crops, some, geometry), f"pictures/{part}_worst.png")

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


def progress(run: Run, photographs: Photographs, settings: Settings) -> Show:
    """What draws a few validation photographs, always the same and partly covered, into the run at its steps."""
    crops, validation, device = photographs.crops, photographs.validation, photographs.device
    rows = validation[np.linspace(0, len(validation) - 1, min(FOLLOWED, len(validation))).astype(int)]
    covered = cover(crops, rows, settings.cache)
    pixels, truth, images = _pixels(covered.images), covered.points.numpy(), covered.images.to(device)

    @torch.inference_mode()
    def show(state: TrainingState) -> None:
        pose, occlusion = inference.maps(state.averaged.module.eval(), images, flip=False)
        verdicts = {}
        if settings.train.adversarial and state.step > settings.train.game_start * settings.train.steps:
            maps = [pose, occlusion if settings.model.occlusion else None]
            verdicts = {
                "P: in its place": state.pose(augmentation.normalise(images), *maps),
                "C: a sharp peak": state.confidence(*maps),
            }
        drawn = drawing.heatmaps(
            pixels,
            pose.cpu().numpy(),
            occlusion.cpu().numpy() if settings.model.occlusion else None,
            truth,
            {name: each.float().sigmoid().cpu().numpy() for name, each in verdicts.items()},
        )
        run.image(drawing.pixels(drawn), "validation", state.step)

    return show


def page(
    part: str,
    made_by: dict,
    measured: dict,
    curves: dict[str, pd.DataFrame],
    result: Evaluation,
    crops: Crops,
    some: np.ndarray,
    geometry: Cache,
) -> str:
    """The page about weights with the settings `made_by`, as of `pipeline.report`."""
    order = ranking(result, crops, some)
    middle = max(0, (len(order) - SHOWN) // 2)
    galleries = {
        f"The {SHOWN} best": order[:SHOWN],
        f"{SHOWN} in the middle": order[middle : middle + SHOWN],
        f"The {SHOWN} worst: often the sides are exchanged, or the annotation is of someone else": order[
            ::-1
        ][:SHOWN],
    }
    titles = {
        "pck_0.2": ("PCK over its threshold, in torsos", "torso, left shoulder to right hip"),
        "pckh_0.5": ("PCKh over its threshold, in heads", "head, neck to head top"),
    }
    drawn = [
        report.picture(drawing.pck_curves(curves[name], reference=reference), caption)
        for name, (caption, reference) in titles.items()
    ]
    learning = Path("metrics/learning_curve.csv")
    if learning.is_file():
        figure = drawing.learning_curves(pd.read_csv(learning))
        drawn.append(report.picture(figure, "The training's course", wide=True))
    annotated = crops.annotated[some]
    name, (_, threshold) = next(iter(MEASURES.items()))
    return report.page(
        title=f"Adversarial PoseNet: {DATA[made_by['data']['name']]}, {part} part",
        about=f"{len(some):,} photographs. {report.training(made_by)}",
        measured=measured,
        by_count=report.by_annotated(distances(result, crops, some)["all", name], annotated, threshold),
        curves=drawn,
        galleries=[
            report.picture(overlay(which, result, crops, some, geometry), caption, "jpeg", wide=True)
            for caption, which in galleries.items()
        ],
    )


def ranking(result: Evaluation, crops: Crops, some: np.ndarray) -> np.ndarray:
    """Places in `some` of the photographs that count, the best first: by PCK@0.2, then by the mean distance."""
    distance = distances(result, crops, some)["all", "pck_0.2"]
    counted = np.flatnonzero((~np.isnan(distance)).any(axis=1))
    return counted[np.lexsort((np.nanmean(distance[counted], axis=1), -_share(distance[counted])))]


def overlay(which: np.ndarray, result: Evaluation, crops: Crops, some: np.ndarray, geometry: Cache) -> Figure:
    """Skeletons in photographs, chosen by their places in `some`, beside their annotation."""
    rows, margin = some[which], (stored_size(geometry) - geometry.input_size) / 2
    found = transform(invert(crops.affines[rows]), result.found.points[which]) - margin
    images, truth = _pixels(inference.inputs(crops, rows, geometry)), input_points(crops, geometry)[rows]
    share = _share(distances(result, crops, some)["all", "pck_0.2"][which])
    titles = ["" if np.isnan(each) else f"PCK@0.2 {each:.2f}" for each in share]
    return drawing.skeletons(images, truth, found, crops.annotated[rows], titles)


def _share(distance: np.ndarray) -> np.ndarray:
    """PCK@0.2 (N,) of each photograph, from normalised distances (N, 14); NaN where no joint counts."""
    counted = (~np.isnan(distance)).sum(axis=1)
    return np.where(
        counted > 0, (distance < MEASURES["pck_0.2"][1]).sum(axis=1) / np.maximum(counted, 1), np.nan
    )


def _pixels(images: torch.Tensor) -> np.ndarray:
    """Images (B, 3, S, S) in [0, 1] as (B, S, S, 3) uint8."""
    return (images.permute(0, 2, 3, 1) * 255).round().byte().numpy()
