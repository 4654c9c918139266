"""Figures of people: skeletons and heatmaps over photographs."""

import math

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patheffects import Normal, Stroke

from pipeline.drawing.palette import FAINT, INK, LINES, SIDE_COLOURS
from pipeline.drawing.style import DPI, grid, legend
from pipeline.skeleton import EDGES, JOINTS, SIDES

SIDE_NAMES = {"right": "the person's right", "left": "the person's left", "trunk": "trunk and head"}
HEAT = "inferno"
ALONE = 2.6  # inches, a photograph by itself


def skeletons(
    images: np.ndarray,
    truth: np.ndarray,
    predicted: np.ndarray,
    annotated: np.ndarray,
    titles: list[str] | None = None,
    columns: int = 5,
) -> Figure:
    """Draw predicted over annotated skeletons on a grid of photographs.

    images: (N, S, S, 3) uint8. truth, predicted: (N, 14, 2), x and y in pixels of the image; truth
    may be NaN. annotated: (N, 14), which joints of truth count. titles: one a photograph.
    """
    columns = max(1, min(columns, len(images)))
    rows = math.ceil(len(images) / columns)
    cell, legend_columns = 1.9, min(4, columns)
    height = (cell + (0.2 if titles else 0)) * rows + 0.15 + 0.2 * math.ceil(4 / legend_columns)
    figure, axes = grid(rows, columns, (cell * columns, height))
    for index, axis in enumerate(axes.flat):
        if index >= len(images):
            axis.set_visible(False)
            continue
        _photograph(axis, images[index])
        _skeleton(axis, predicted[index])
        _annotation(axis, truth[index], annotated[index])
        if titles:
            axis.set_title(titles[index], fontsize=8, color=INK, pad=3)
    handles = [
        Line2D([], [], color=colour, lw=2.5, label=SIDE_NAMES[side])
        for side, colour in SIDE_COLOURS.items()
    ]
    handles.append(_annotation_handle())
    legend(figure, handles, legend_columns)
    return figure


def skeleton(
    image: np.ndarray, truth: np.ndarray, predicted: np.ndarray, annotated: np.ndarray
) -> Figure:
    """One photograph of `skeletons` by itself, to its edges."""
    figure = Figure(figsize=(ALONE, ALONE), dpi=DPI)
    axis = figure.add_axes((0, 0, 1, 1))
    _photograph(axis, image)
    _skeleton(axis, predicted)
    _annotation(axis, truth, annotated)
    return figure


def heatmaps(
    images: np.ndarray,
    joints: np.ndarray,
    pose: np.ndarray,
    occlusion: np.ndarray | None,
    truth: np.ndarray | None = None,
    verdicts: dict[str, np.ndarray] | None = None,
) -> Figure:
    """Draw photographs with the joints that were found, the merged pose heatmaps and the merged
    occlusion heatmaps.

    images: (N, S, S, 3) uint8. joints: (N, 14, 2), px of the images, as they were decoded from the
    heatmaps; NaN is not drawn. pose, occlusion: (N, 14, h, h) in [0, 1]; occlusion None (a
    generator without that task) leaves its column out. truth: (N, 14, 2), pixels of the image, NaN
    where not annotated. verdicts: probabilities (N, 14) that a discriminator gives each joint, by
    what it says; a column more where there are some.
    """
    maps = 2 if occlusion is None else 3
    columns = ["Joints", "Pose heatmaps", "Occlusion heatmaps"][:maps] + ["Discriminators"] * bool(
        verdicts
    )
    cell = 2.3
    figure, axes = grid(
        len(images), len(columns), (cell * len(columns) + 0.7, cell * len(images) + 0.7)
    )
    for axis, title in zip(axes[0], columns, strict=True):
        axis.set_title(title, fontsize=10, color=INK)
    for index, (image, row) in enumerate(zip(images, axes, strict=True)):
        _photograph(row[0], image)
        if truth is not None:
            _annotation(row[0], truth[index], np.isfinite(truth[index]).all(-1))
        row[0].scatter(
            *joints[index].T,
            s=22,
            c=[SIDE_COLOURS[side] for side in SIDES],
            edgecolors="black",
            linewidths=0.6,
            zorder=4,
        )
        _heat(row[1], image, pose[index])
        if occlusion is not None:
            _heat(row[2], image, occlusion[index])
        if verdicts:
            _verdicts(
                row[-1],
                {name: each[index] for name, each in verdicts.items()},
                index == len(images) - 1,
            )
    bar = figure.colorbar(
        ScalarMappable(Normalize(0, 1), HEAT), ax=axes[:, 1:maps], shrink=min(1, 2 / len(images))
    )
    bar.set_label("highest value over the joints", fontsize=8, color=INK)
    bar.ax.tick_params(labelsize=7, colors=INK)
    bar.outline.set_visible(False)
    handles = [
        Line2D(
            [],
            [],
            ls="",
            marker="o",
            ms=5,
            color=colour,
            mec="black",
            mew=0.6,
            label=f"joint, {side}",
        )
        for side, colour in SIDE_COLOURS.items()
    ]
    handles += [_annotation_handle()] if truth is not None else []
    for name, colour in zip(verdicts or (), LINES, strict=False):
        handles.append(Line2D([], [], ls="", marker="o", ms=5, color=colour, label=name))
    legend(figure, handles, 4)
    return figure


def _photograph(axis: Axes, image: np.ndarray) -> None:
    axis.imshow(image, interpolation="bilinear")
    axis.set_axis_off()
    axis.set(autoscale_on=False)  # a joint beyond the edge must not shrink the photograph


def _skeleton(axis: Axes, points: np.ndarray) -> None:
    outline = [Stroke(linewidth=3.6, foreground="black", alpha=0.55), Normal()]
    for one, other, side in EDGES:
        axis.plot(
            *points[[one, other]].T,
            color=SIDE_COLOURS[side],
            lw=2.2,
            solid_capstyle="round",
            path_effects=outline,
            zorder=2,
        )


def _annotation(axis: Axes, points: np.ndarray, annotated: np.ndarray) -> None:
    points = np.where(np.asarray(annotated, bool)[:, None], points, np.nan)
    outline = [Stroke(linewidth=1.8, foreground="black", alpha=0.5), Normal()]
    for one, other, _ in EDGES:
        axis.plot(*points[[one, other]].T, color="white", lw=0.8, path_effects=outline, zorder=3)
    axis.plot(*points.T, ls="", marker="o", ms=3.2, mfc="white", mec="black", mew=0.5, zorder=3)


def _annotation_handle() -> Line2D:
    outline = [Stroke(linewidth=1.8, foreground="black", alpha=0.5), Normal()]
    return Line2D(
        [],
        [],
        color="white",
        lw=0.8,
        marker="o",
        ms=3.2,
        mec="black",
        mew=0.5,
        path_effects=outline,
        label="annotated",
    )


def _verdicts(axis: Axes, verdicts: dict[str, np.ndarray], last: bool) -> None:
    """A line a joint: what each discriminator gives it, 0 to 1; the scale's name below the last."""
    at = np.arange(len(JOINTS))
    for (name, values), colour in zip(verdicts.items(), LINES, strict=False):
        axis.plot(values, at, ls="", marker="o", ms=3.5, color=colour, label=name)
    axis.set(xlim=(-0.05, 1.05), ylim=(len(JOINTS) - 0.5, -0.5))
    axis.set_yticks(at, [name.replace("_", " ") for name in JOINTS], fontsize=5)
    axis.tick_params(labelsize=5, colors=INK, length=0)
    axis.grid(color=FAINT, lw=0.6)
    for side in axis.spines.values():
        side.set_visible(False)
    if last:
        axis.set_xlabel("probability", fontsize=7, color=INK)


def _heat(axis: Axes, image: np.ndarray, maps: np.ndarray) -> None:
    """Lay the maximum over (14, h, h) maps over a greyed photograph, opaque where it is high."""
    grey = image.astype(float).mean(-1)
    _photograph(axis, np.repeat((grey * 0.75)[..., None], 3, 2).astype(np.uint8))
    merged = np.clip(np.nan_to_num(maps.max(0)), 0, 1)
    height, width = grey.shape
    axis.imshow(
        merged, cmap=HEAT, vmin=0, vmax=1, alpha=merged**0.5 * 0.9, interpolation="bicubic",
        extent=(-0.5, width - 0.5, height - 0.5, -0.5),
    )  # fmt: skip
