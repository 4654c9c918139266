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
from pipeline.geometry import Geometry, invert, transform
from pipeline.networks import heatmaps
from pipeline.networks.estimator import CropEstimator, decode
from pipeline.networks.layers import normalise
from pipeline.settings import Settings
from pipeline.tracking import pages, report
from pipeline.tracking.provenance import origin
from pipeline.tracking.run import Run
from pipeline.training.batches import Photographs
from pipeline.training.state import TrainingState

SHOWN = 10  # skeletons in an overlay
ROWS = 5  # photographs with their heatmaps
FOLLOWED = (
    3  # photographs in the picture of a step, which MLflow shows at 256 px until it is clicked
)
FEW = 6  # photographs of a gallery in the report, twice as many of the worst
WORST = {"lspet": ": often the sides are exchanged, or the annotation is of someone else"}


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
    maps = estimator.heatmaps(covered.images.to(estimator.device))
    pose, *occlusion = (each.cpu().numpy() for each in maps.split(joints, dim=1))
    images = _pixels(covered.images)
    hidden = occlusion[0] if occlusion else np.zeros_like(pose)
    places = decoded(maps, crops.geometry)
    found = figures.heatmaps(images, places, pose, hidden, covered.points.numpy())
    run.figure(found, f"pictures/{part}_heatmaps.png")
    x, y = (torch.from_numpy(factor[indices]).float() for factor in (targets.x, targets.y))
    true_pose = heatmaps.expand(x, y)
    true_occlusion = true_pose * covered.occluded[..., None, None]
    places = decoded(true_pose, crops.geometry)
    true = figures.heatmaps(images, places, true_pose.numpy(), true_occlusion.numpy())
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
            decoded(maps, crops.geometry),
            pose,
            occlusion[0] if occlusion else None,
            truth,
            {name: each.float().sigmoid().cpu().numpy() for name, each in verdicts.items()},
        )
        run.image(pixels(drawn), "validation", state.step)

    return show


def decoded(maps: torch.Tensor, geometry: Geometry) -> np.ndarray:
    """The joints (B, 14, 2), px of the input, that users get of maps (B, T 14, h, h); NaN of empty
    maps."""
    places, scores, _ = (each.cpu().numpy() for each in decode(maps, geometry, geometry.reach))
    return np.where(scores[..., None] > 0, places, np.nan)


def page(
    run: Run,
    part: str,
    settings: Mapping[str, Any],
    measured: Mapping[str, Any],
    curves: Mapping[str, pd.DataFrame],
    evaluation: Evaluation,
    crops: Crops,
) -> str:
    """The page about weights that the groups `settings` made, and that `run` is about, as of
    `pipeline.tracking.report`."""
    order, data = ranking(evaluation), settings["data"]["name"]
    middle = max(0, (len(order) - FEW) // 2)
    galleries = {
        "The best": order[:FEW],
        "In the middle": order[middle : middle + FEW],
        f"The worst{WORST.get(data, '')}": order[::-1][: 2 * FEW],
    }
    titles = {
        "pck_0.2": ("PCK over its threshold, in torsos", "torso, left shoulder to right hip"),
        "pckh_0.5": ("PCKh over its threshold, in heads", "head, neck to head top"),
    }
    found = [
        report.picture(charts.pck_curves(curves[name], "", reference), caption)
        for name, (caption, reference) in titles.items()
    ]
    course = []
    if paths.LEARNING_CURVE.is_file():
        panels = charts.learning_panels(pd.read_csv(paths.LEARNING_CURVE))
        course = [report.picture(figure, title) for title, figure in panels.items()]
    name, (_, threshold) = next(iter(MEASURES.items()))
    distance = evaluation.distances["all", name]
    return report.page(
        report.Head(
            title=f"Adversarial PoseNet: {pages.shown(data)}, {part} part",
            about=f"{len(evaluation.indices):,} photographs. {report.training(settings)}",
            source=run.source,
            measured_at=origin()["git.commit"],
            others=report.OTHERS if data == "lspet" else (),
        ),
        measured=measured,
        by_count=report.by_annotated(distance, evaluation.annotated, threshold),
        galleries={
            caption: [photograph(at, evaluation, crops) for at in which]
            for caption, which in galleries.items()
        },
        scores=scores(measured),
        found=found,
        course=course,
    )


def scores(measured: Mapping[str, Any]) -> list[report.Picture]:
    """How often people's scores are right, and joints'."""
    kinds = {
        "People, in mosaics": (measured["people"]["reliability"], ()),
        "Joints, in the person's box": (
            measured["structure"]["scores"]["reliability"],
            ("joint", "nearer than 0.2 torsos"),
        ),
    }
    return [
        report.picture(charts.reliability(pd.DataFrame(tenths), *names), title)
        for title, (tenths, names) in kinds.items()
        if tenths
    ]


def photograph(at: int, evaluation: Evaluation, crops: Crops) -> report.Photograph:
    """One photograph of an evaluation, by its place there, with what was found and annotated."""
    which = np.array([at])
    image, truth, found = crops_of(which, evaluation, crops)
    annotated = crops.annotated[evaluation.indices[which]]
    figure = figures.skeleton(image[0], truth[0], found[0], annotated[0])
    share = float(_share(evaluation.distances["all", "pck_0.2"][which])[0])
    return report.Photograph(
        report.picture(figure, file_name(evaluation.indices[at]), "jpeg"), share
    )


def file_name(index: int) -> str:
    """Of a photograph, by its place among all crops, as in data/predictions.csv."""
    return f"im{index + 1:05d}.jpg"


def ranking(evaluation: Evaluation) -> np.ndarray:
    """Places in the evaluation of counted photographs, best first: PCK@0.2, then mean distance."""
    distance = evaluation.distances["all", "pck_0.2"]
    counted = np.flatnonzero((~np.isnan(distance)).any(axis=1))
    nearest = np.nanmean(distance[counted], axis=1)
    return counted[np.lexsort((nearest, -_share(distance[counted])))]


def skeletons(which: np.ndarray, evaluation: Evaluation, crops: Crops) -> Figure:
    """Skeletons in photographs, chosen by place in the evaluation, beside their annotation."""
    images, truth, found = crops_of(which, evaluation, crops)
    indices = evaluation.indices[which]
    shares = _share(evaluation.distances["all", "pck_0.2"][which])
    names = [file_name(index) for index in indices]
    titles = [
        name if np.isnan(share) else f"{name}: PCK {share:.2f}"
        for name, share in zip(names, shares, strict=True)
    ]
    return figures.skeletons(images, truth, found, crops.annotated[indices], titles)


def crops_of(
    which: np.ndarray, evaluation: Evaluation, crops: Crops
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of photographs by their places in the evaluation: what the network saw (n, S, S, 3) uint8,
    and the annotated and the found joints (n, 14, 2), px of that."""
    indices = evaluation.indices[which]
    in_crop = transform(invert(crops.affines[indices]), evaluation.predictions.points[which])
    found = crops.geometry.crop_to_input(in_crop)
    return crops.inputs(indices), crops.input_points[indices], found


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
