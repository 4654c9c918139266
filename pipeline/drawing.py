"""Pictures of poses, heatmaps and curves: numpy arrays and tables in, matplotlib Figures out.

No pyplot: a Figure of its own holds no global state and needs no display.
"""

import math

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patheffects import Normal, Stroke

from pipeline.lspet import JOINTS

EDGES = (
    (0, 1, "right"), (1, 2, "right"), (6, 7, "right"), (7, 8, "right"),
    (5, 4, "left"), (4, 3, "left"), (11, 10, "left"), (10, 9, "left"),
    (13, 12, "trunk"), (12, 8, "trunk"), (12, 9, "trunk"), (8, 2, "trunk"), (9, 3, "trunk"), (2, 3, "trunk"),
)  # fmt: skip
"""Limbs: two joint indexes (LSP order) and the side; left and right are the person's own."""

JOINT_SIDES = ("right",) * 3 + ("left",) * 3 + ("right",) * 3 + ("left",) * 3 + ("trunk",) * 2

# Okabe and Ito's palette: told apart with any colour vision, and by lightness on a photograph.
SIDES = {"right": "#D55E00", "left": "#56B4E9", "trunk": "#F0E442"}
SIDE_NAMES = {"right": "the person's right", "left": "the person's left", "trunk": "trunk and head"}
# Paul Tol's bright palette: lines on white.
LINES = ("#4477AA", "#EE6677", "#228833", "#AA3377", "#66CCEE", "#CCBB44", "#999999")
INK, FAINT = "#333333", "#DDDDDD"
HEAT = "inferno"
DPI = 120

PANELS = (
    ("Generator: reconstruction loss", {"train/reconstruction": "reconstruction"}),
    (
        "Generator: adversarial terms",
        {
            "train/adversarial_pose": "against P (pose)",
            "train/adversarial_confidence": "against C (confidence)",
        },
    ),
    (
        "Pose discriminator P",
        {
            "pose/accuracy_real": "accuracy, real",
            "pose/accuracy_fake": "accuracy, fake",
            "pose/share_true": "fake joints labelled true",
        },
    ),
    (
        "Confidence discriminator C",
        {
            "confidence/accuracy_real": "accuracy, real",
            "confidence/accuracy_fake": "accuracy, fake",
            "confidence/share_true": "fake joints labelled true",
        },
    ),
    ("Gradient norm: adversarial over reconstruction", {"train/gradient_ratio": "ratio"}),
    ("Validation", {"val/pck_0.2/mean": "PCK@0.2", "val/pckh_0.5/mean": "PCKh@0.5"}),
    ("Learning rate of the generator", {"train/learning_rate": "learning rate"}),
    ("Speed, photographs a second", {"train/images_per_second": "photographs a second"}),
)
SHARES = ("Pose discriminator P", "Confidence discriminator C", "Validation")  # panels from 0 to 1


def skeletons(
    images: np.ndarray,
    truth: np.ndarray,
    predicted: np.ndarray,
    annotated: np.ndarray,
    titles: list[str] | None = None,
    columns: int = 5,
) -> Figure:
    """Draw predicted over annotated skeletons on a grid of photographs.

    images: (N, S, S, 3) uint8. truth, predicted: (N, 14, 2), x and y in pixels of the image; truth may be
    NaN. annotated: (N, 14), which joints of truth count. titles: one a photograph.
    """
    columns = max(1, min(columns, len(images)))
    rows = math.ceil(len(images) / columns)
    cell, legend_columns = 1.9, min(4, columns)
    height = (cell + (0.2 if titles else 0)) * rows + 0.15 + 0.2 * math.ceil(4 / legend_columns)
    figure, axes = _grid(rows, columns, (cell * columns, height))
    for index, axis in enumerate(axes.flat):
        if index >= len(images):
            axis.set_visible(False)
            continue
        _photograph(axis, images[index])
        _skeleton(axis, predicted[index])
        _annotation(axis, truth[index], annotated[index])
        if titles:
            axis.set_title(titles[index], fontsize=8, color=INK, pad=3)
    handles = [Line2D([], [], color=colour, lw=2.5, label=SIDE_NAMES[side]) for side, colour in SIDES.items()]
    handles.append(_annotation_handle())
    _legend(figure, handles, legend_columns)
    return figure


def heatmaps(
    images: np.ndarray,
    pose: np.ndarray,
    occlusion: np.ndarray | None,
    truth: np.ndarray | None = None,
    verdicts: dict[str, np.ndarray] | None = None,
) -> Figure:
    """Draw photographs with the heatmaps' peaks, the merged pose heatmaps and the merged occlusion heatmaps.

    images: (N, S, S, 3) uint8. pose, occlusion: (N, 14, h, h) in [0, 1]; occlusion None (a generator without
    that task) leaves its column out. truth: (N, 14, 2), pixels of the image, NaN where not annotated. verdicts:
    probabilities (N, 14) that a discriminator gives each joint, by what it says; a column more where there are some.
    """
    maps = 2 if occlusion is None else 3
    columns = ["Peaks", "Pose heatmaps", "Occlusion heatmaps"][:maps] + ["Discriminators"] * bool(verdicts)
    cell = 2.3
    figure, axes = _grid(len(images), len(columns), (cell * len(columns) + 0.7, cell * len(images) + 0.7))
    for axis, title in zip(axes[0], columns, strict=True):
        axis.set_title(title, fontsize=10, color=INK)
    for index, (image, row) in enumerate(zip(images, axes, strict=True)):
        _photograph(row[0], image)
        if truth is not None:
            _annotation(row[0], truth[index], np.isfinite(truth[index]).all(-1))
        peaks = _peaks(pose[index], image.shape[0])
        row[0].scatter(
            *peaks.T,
            s=22,
            c=[SIDES[side] for side in JOINT_SIDES],
            edgecolors="black",
            linewidths=0.6,
            zorder=4,
        )
        _heat(row[1], image, pose[index])
        if occlusion is not None:
            _heat(row[2], image, occlusion[index])
        if verdicts:
            _verdicts(
                row[-1], {name: each[index] for name, each in verdicts.items()}, index == len(images) - 1
            )
    bar = figure.colorbar(
        ScalarMappable(Normalize(0, 1), HEAT), ax=axes[:, 1:maps], shrink=min(1, 2 / len(images))
    )
    bar.set_label("highest value over the joints", fontsize=8, color=INK)
    bar.ax.tick_params(labelsize=7, colors=INK)
    bar.outline.set_visible(False)
    handles = [
        Line2D([], [], ls="", marker="o", ms=5, color=colour, mec="black", mew=0.6, label=f"peak, {side}")
        for side, colour in SIDES.items()
    ]
    handles += [_annotation_handle()] if truth is not None else []
    for name, colour in zip(verdicts or (), LINES):
        handles.append(Line2D([], [], ls="", marker="o", ms=5, color=colour, label=name))
    _legend(figure, handles, 4)
    return figure


def learning_curves(table: pd.DataFrame) -> Figure:
    """Draw the training's course over its steps, a panel a subject; subjects without columns are left out.

    table: one row a step, column `step`, other columns named as the metrics, NaN where not measured.
    """
    panels = []
    for title, names in PANELS:
        series = {label: table[["step", name]].dropna() for name, label in names.items() if name in table}
        series = {label: points for label, points in series.items() if len(points)}
        if series:
            panels.append((title, series))
    columns = max(1, min(3 if len(panels) in (3, 5, 6) else 4, len(panels)))
    rows = max(1, math.ceil(len(panels) / columns))
    figure, axes = _grid(rows, columns, (3.5 * columns, 2.6 * rows + 0.2))
    last = float(table["step"].max()) if len(table) else 1.0
    for index, axis in enumerate(axes.flat):
        if index >= len(panels):
            axis.set_visible(False)
            continue
        title, series = panels[index]
        for (label, points), colour in zip(series.items(), LINES):
            _series(axis, points.to_numpy(float), label, colour)
        _plain(axis, title)
        axis.set_xlim(0, 1.02 * last or 1.0)
        if title in SHARES:
            axis.set_ylim(0, 1)
        if len(series) > 1:
            axis.legend(fontsize=7, frameon=False, labelcolor=INK)
    figure.supxlabel("step (faint: as logged; strong: running mean of a long series)", fontsize=8, color=INK)
    return figure


def pck_curves(
    table: pd.DataFrame,
    title: str = "Joints found, by how near counts as found",
    reference: str = "torso, left shoulder to right hip",
) -> Figure:
    """Draw PCK over its threshold, a line a joint group, labelled at its end.

    table: column `threshold` (share of the reference length), then one a joint group, shares in [0, 1].
    """
    figure = Figure(figsize=(6.4, 4.2), dpi=DPI, layout="constrained")
    axis = figure.subplots()
    groups = [name for name in table.columns if name != "threshold"]
    thresholds = table["threshold"].to_numpy(float)
    colours = {}
    for name in groups:
        mean = name == "mean"
        colours[name] = "black" if mean else LINES[len(colours) % len(LINES)]
        axis.plot(
            thresholds, table[name], color=colours[name], lw=2.6 if mean else 1.4, zorder=3 if mean else 2
        )
    ends = table[groups].iloc[-1].fillna(0).sort_values()
    for name, end, place in zip(ends.index, ends, _spread(ends.to_numpy(float), 0.045), strict=True):
        weight = "bold" if name == "mean" else "normal"
        axis.annotate(
            name, (thresholds[-1], end), (1.05, place), textcoords=axis.get_yaxis_transform(), va="center",
            fontsize=9, color=colours[name], weight=weight, annotation_clip=False,
            arrowprops={"arrowstyle": "-", "color": colours[name], "lw": 0.6, "relpos": (0, 0.5), "shrinkB": 0},
        )  # fmt: skip
    _plain(axis, title, 11)
    axis.set_xlim(thresholds[0], thresholds[-1])
    axis.set_ylim(0, 1)
    axis.set_xlabel(f"threshold, share of the reference ({reference})", fontsize=9, color=INK)
    axis.set_ylabel("PCK, share of the joints", fontsize=9, color=INK)
    return figure


def ablation(table: pd.DataFrame, measure: str = "pck_0.2", name: str = "PCK@0.2") -> Figure:
    """Draw what each variant gains over the first, and what discriminators gain in the mean, in points of PCK,
    with its 95 % interval.

    table: as of `pipeline.ablation.summarise`: part, joints, measure, variant, seeds, mean, difference, low, high.
    """
    table = table[table["measure"] == measure]
    parts, kinds = table["part"].unique(), table["joints"].unique()
    variants = table["variant"].unique()[::-1]  # the first on top
    figure, axes = _grid(1, len(parts), (4.4 * len(parts) + 1, 0.75 * len(variants) + 1.4))
    for axis, part in zip(axes.flat, parts, strict=True):
        for k, (kind, colour) in enumerate(zip(kinds, LINES)):
            rows = (
                table[(table["part"] == part) & (table["joints"] == kind)].set_index("variant").loc[variants]
            )
            at = np.arange(len(variants)) - 0.22 * (k - (len(kinds) - 1) / 2)
            difference = 100 * rows["difference"]
            reach = [difference - 100 * rows["low"], 100 * rows["high"] - difference]
            axis.errorbar(
                difference, at, xerr=reach, fmt="o", ms=4.5, lw=1.6, color=colour, label=f"{kind} joints"
            )
            for x, y, mean in zip(100 * rows["high"], at, rows["mean"], strict=True):
                axis.annotate(
                    f"{100 * mean:.1f}",
                    (x, y),
                    (4, 0),
                    textcoords="offset points",
                    va="center",
                    fontsize=7,
                    color=INK,
                )
        axis.axvline(0, color=INK, lw=0.8, zorder=0)
        _plain(axis, f"{part} part", 10)
        axis.set_yticks(np.arange(len(variants)), variants, fontsize=9)
        axis.margins(x=0.15)
    said = f"{name}: points more than {variants[-1]}, in the last row than without discriminators; numbers: {name} itself"
    figure.suptitle(said, fontsize=9, color=INK)
    _legend(figure, axes.flat[0].get_legend_handles_labels()[0], len(kinds))
    return figure


def pixels(figure: Figure) -> np.ndarray:
    """A figure as an image (H, W, 3) uint8."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()


def _grid(rows: int, columns: int, size: tuple[float, float]) -> tuple[Figure, np.ndarray]:
    figure = Figure(figsize=size, dpi=DPI, layout="constrained")
    figure.get_layout_engine().set(w_pad=0.06, h_pad=0.06)
    return figure, figure.subplots(rows, columns, squeeze=False)


def _photograph(axis: Axes, image: np.ndarray) -> None:
    axis.imshow(image, interpolation="bilinear")
    axis.set_axis_off()
    axis.set(autoscale_on=False)  # a joint beyond the edge must not shrink the photograph


def _skeleton(axis: Axes, points: np.ndarray) -> None:
    outline = [Stroke(linewidth=3.6, foreground="black", alpha=0.55), Normal()]
    for one, other, side in EDGES:
        axis.plot(
            *points[[one, other]].T,
            color=SIDES[side],
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


def _legend(figure: Figure, handles: list[Line2D], columns: int) -> None:
    figure.legend(
        handles=handles, loc="outside lower center", ncols=columns, fontsize=8, frameon=False, labelcolor=INK
    )


def _peaks(maps: np.ndarray, side: int) -> np.ndarray:
    """Where each of (14, h, h) maps is highest: (14, 2), x and y in pixels of an image `side` wide; NaN if empty."""
    height, width = maps.shape[1:]
    rows, columns = np.divmod(maps.reshape(len(maps), -1).argmax(1), width)
    peaks = (np.stack([columns, rows], 1) + 0.5) * side / np.array([width, height]) - 0.5
    return np.where(maps.max((1, 2))[:, None] > 0, peaks, np.nan)


def _verdicts(axis: Axes, verdicts: dict[str, np.ndarray], last: bool) -> None:
    """A line a joint with what each discriminator gives it, from 0 to 1; the scale's name below the last."""
    at = np.arange(len(JOINTS))
    for (name, values), colour in zip(verdicts.items(), LINES):
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


def _series(axis: Axes, points: np.ndarray, label: str, colour: str) -> None:
    """Draw (n, 2) steps and values; a long series as a faint line under its running mean."""
    steps, values = points.T
    if len(values) < 40:
        axis.plot(steps, values, color=colour, lw=1.6, label=label, marker="o", ms=2.5)
        return
    window = max(5, len(values) // 25)
    axis.plot(steps, values, color=colour, lw=0.7, alpha=0.35)
    axis.plot(
        steps, pd.Series(values).rolling(window, center=True, min_periods=1).mean(), color=colour, label=label
    )


def _plain(axis: Axes, title: str, size: int = 9) -> None:
    axis.set_title(title, fontsize=size, color=INK, loc="left")
    axis.grid(color=FAINT, lw=0.6)
    axis.set_axisbelow(True)
    axis.tick_params(labelsize=8, colors=INK, length=0)
    for name, spine in axis.spines.items():
        spine.set_visible(name == "bottom")
        spine.set_color(FAINT)


def _spread(values: np.ndarray, gap: float) -> np.ndarray:
    """Move rising values apart, each as little as may be, until neighbours differ by `gap`; none above 1."""
    places = values.copy()
    for _ in range(200):
        overlap = np.maximum(0, gap - np.diff(places)) / 2
        places[1:] += overlap
        places[:-1] -= overlap
        places = np.minimum(places, 1)
    return places
