"""Figures of numbers: the course of a training, PCK over its threshold, and what variants gain."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from pipeline.drawing.palette import FAINT, INK, LINES
from pipeline.drawing.style import DPI, grid, legend, plain

PANELS = (
    ("Validation", {"val/pck_0.2/mean": "PCK@0.2", "val/pckh_0.5/mean": "PCKh@0.5"}),
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
        "What P knows",
        {
            "pose/auc": "AUC, G's true joints from its false ones",
            "pose/true_in_another": "true poses in another photograph, taken for true",
            "pose/true_exchanged": "left and right exchanged, taken for true",
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
    ("Learning rate of the generator", {"train/learning_rate": "learning rate"}),
    ("Speed, photographs a second", {"train/images_per_second": "photographs a second"}),
)
SHARES = (
    "Pose discriminator P",
    "What P knows",
    "Confidence discriminator C",
    "Validation",
)  # panels from 0 to 1
PANEL = 4.6, 3.1  # inches, for whoever reads it on a telephone
FAINT_AND_STRONG = "faint: as logged; strong: running mean of a long series"


def learning_curves(table: pd.DataFrame) -> Figure:
    """Draw the training's course over its steps, a panel a subject; subjects without columns are
    left out.

    table: one row a step, column `step`, other columns named as the metrics, NaN where not
    measured.
    """
    panels = _panels(table)
    columns = max(1, min(2, len(panels)))
    rows = max(1, math.ceil(len(panels) / columns))
    width, height = PANEL
    figure, axes = grid(rows, columns, (width * columns, height * rows + 0.2))
    for axis, (title, series) in zip(axes.flat, panels.items(), strict=False):
        _panel(axis, title, series, table["step"].max())
    for axis in axes.flat[len(panels) :]:
        axis.set_visible(False)
    figure.supxlabel(f"step ({FAINT_AND_STRONG})", fontsize=8, color=INK)
    return figure


def learning_panels(table: pd.DataFrame) -> dict[str, Figure]:
    """The panels of `learning_curves` as figures of their own, by their titles."""
    figures = {}
    for title, series in _panels(table).items():
        figures[title], axes = grid(1, 1, PANEL)
        _panel(axes[0, 0], title, series, table["step"].max())
        axes[0, 0].set_title("", loc="left")  # who shows it says it
        axes[0, 0].set_xlabel("step", fontsize=9, color=INK)
    return figures


def _panels(table: pd.DataFrame) -> dict[str, dict[str, pd.DataFrame]]:
    """By title: what a panel draws, steps and values by label. Panels of nothing are left out."""
    panels = {}
    for title, names in PANELS:
        series = {
            label: table[["step", name]].dropna() for name, label in names.items() if name in table
        }
        if series := {label: points for label, points in series.items() if len(points)}:
            panels[title] = series
    return panels


def _panel(axis: Axes, title: str, series: dict[str, pd.DataFrame], last: float) -> None:
    """From 0 on, so that small changes look small; shares up to 1."""
    for (label, points), colour in zip(series.items(), LINES, strict=False):
        _series(axis, points.to_numpy(float), label, colour)
    plain(axis, title, 10)
    axis.set_xlim(0, 1.02 * last)
    axis.set_ylim(0, 1 if title in SHARES else None)
    if len(series) > 1:
        axis.legend(fontsize=9, frameon=False, labelcolor=INK)


def pck_curves(
    table: pd.DataFrame,
    title: str = "Joints found, by how near counts as found",
    reference: str = "torso, left shoulder to right hip",
) -> Figure:
    """Draw PCK over its threshold, a line a joint group, labelled at its end.

    table: column `threshold` (share of the reference length), then one a joint group, shares in [0,
    1].
    """
    figure = Figure(figsize=(5.2, 4.2), dpi=DPI, layout="constrained")
    axis = figure.subplots()
    groups = [name for name in table.columns if name != "threshold"]
    thresholds = table["threshold"].to_numpy(float)
    colours: dict[str, str] = {}
    for name in groups:
        mean = name == "mean"
        colours[name] = "black" if mean else LINES[len(colours) % len(LINES)]
        axis.plot(
            thresholds,
            table[name],
            color=colours[name],
            lw=2.6 if mean else 1.4,
            zorder=3 if mean else 2,
        )
    ends = table[groups].iloc[-1].fillna(0).sort_values()
    for name, end, place in zip(
        ends.index, ends, _spread(ends.to_numpy(float), 0.045), strict=True
    ):
        weight = "bold" if name == "mean" else "normal"
        axis.annotate(
            name, (thresholds[-1], end), (1.05, place),
            textcoords=axis.get_yaxis_transform(), va="center",
            fontsize=9, color=colours[name], weight=weight, annotation_clip=False,
            arrowprops={
                "arrowstyle": "-", "color": colours[name], "lw": 0.6,
                "relpos": (0, 0.5), "shrinkB": 0,
            },
        )  # fmt: skip
    plain(axis, title, 11)
    axis.set_xlim(thresholds[0], thresholds[-1])
    axis.set_ylim(0, 1)
    said = f"threshold, share of the reference\n({reference})"
    axis.set_xlabel(said, fontsize=9, color=INK)
    axis.set_ylabel("PCK, share of the joints", fontsize=9, color=INK)
    return figure


def reliability(table: pd.DataFrame, what: str = "person", being: str = "there") -> Figure:
    """Draw how often what was found with some score is right: the share over the score.

    table: as of `metrics.reliability`, a row a tenth of the scores: candidates, score and right.
    what: was found; being: what it then is.
    """
    figure, axes = grid(1, 1, (4.6, 4.2))
    axis = axes[0, 0]
    plain(axis, "", 10)
    axis.plot([0, 1], [0, 1], color=FAINT, lw=1.5, zorder=1)
    size = 20 + 180 * table["candidates"] / max(table["candidates"].max(), 1)
    axis.plot(table["score"], table["right"], color=LINES[0], lw=1.5, zorder=2)
    axis.scatter(table["score"], table["right"], s=size, color=LINES[0], zorder=3)
    for count, score, right in table[["candidates", "score", "right"]].itertuples(index=False):
        axis.annotate(
            f"{count:,.0f}", (score, right), (7, -12), textcoords="offset points", fontsize=8
        )
    axis.set(xlim=(-0.05, 1.05), ylim=(-0.05, 1.05), aspect="equal")  # dots at the ends are whole
    axis.set_xlabel(f"score of a {what} (beside a dot: how many)", fontsize=9, color=INK)
    axis.set_ylabel(f"share of them that are {being}", fontsize=9, color=INK)
    return figure


COMPARED = {
    "all joints, PCK@0.2": ("all", "pck_0.2"),
    "covered joints, PCK@0.2": ("covered", "pck_0.2"),
    "whole poses": ("all", "whole"),
    "sides doubled: less is better": ("all", "doubled"),
}


def comparison(table: pd.DataFrame, by: Sequence[str]) -> Figure:
    """Draw how each variant differs from the one that it is compared with, in points, with its 95 %
    interval: of joints as they are and under occluders, of whole poses, of sides doubled. Where the
    first of two parameters is a number, over that number; else a row a variant.

    table: as of `pipeline.commands.compare.summarise`.
    """
    part = table["part"].iloc[0]
    order = table[list(by)].drop_duplicates()
    table = table[table["difference"].notna()]
    compared = order[by[-1]]
    beside = compared[~compared.isin(table[by[-1]])].unique()
    table = table.assign(**{name: 100 * table[name] for name in ("difference", "low", "high")})
    variants = order.merge(table[list(by)].drop_duplicates())
    numbers = pd.to_numeric(variants[by[0]], errors="coerce")  # not one: the mean over all of them
    over = len(by) == 2 and numbers.nunique() > 1
    if over:
        variants = variants[numbers.notna()]
    height = 3.4 if over else 0.42 * len(variants) + 1.5
    figure, axes = grid(1, len(COMPARED), (3.3 * len(COMPARED) + 1, height))
    for axis, (title, (joints, measure)) in zip(axes.flat, COMPARED.items(), strict=True):
        plain(axis, title, 10)
        rows = table[(table["joints"] == joints) & (table["measure"] == measure)]
        rows = variants.merge(rows, "left")  # each in its place, measured or not
        if over:
            _over(axis, rows, *by)
        else:
            _listed(axis, rows, by, named=axis is axes.flat[0])
    if over:
        legend(figure, axes.flat[0].get_legend_handles_labels()[0], len(LINES))
    said = f"{', '.join(by)}: beside {' and '.join(beside)}, in points, {part} part"
    figure.suptitle(said, fontsize=9, color=INK)
    return figure


BARS: dict[str, Any] = {"ms": 4.5, "lw": 1.6}


def _reach(rows: pd.DataFrame) -> np.ndarray:
    """(2, n): from the difference to both ends of its interval."""
    return np.abs(rows[["low", "high"]].to_numpy().T - rows["difference"].to_numpy())


def _listed(axis: Axes, rows: pd.DataFrame, by: Sequence[str], named: bool) -> None:
    """A row a variant, the first on top; an empty one where it was not measured (NaN)."""
    at = np.arange(len(rows))[::-1]
    reach = _reach(rows)
    axis.errorbar(rows["difference"], at, xerr=reach, fmt="o", color=LINES[0], **BARS)
    axis.axvline(0, color=INK, lw=0.8, zorder=1)
    names = [", ".join(map(str, each)) for each in rows[list(by)].to_numpy()]
    axis.set_yticks(at, names if named else [], fontsize=8)
    axis.margins(x=0.15)
    axis.set_ylim(-0.5, max(len(rows), 1) - 0.5)


def _over(axis: Axes, rows: pd.DataFrame, number: str, compared: str) -> None:
    """A line a variant over the number's values, which lie equally far apart."""
    values = sorted(rows[number].unique(), key=float)
    variants = rows[compared].unique()
    for k, name in enumerate(variants):
        of = rows[rows[compared] == name]
        aside = 0.12 * (k - (len(variants) - 1) / 2)  # so that no interval hides another
        at = [values.index(value) + aside for value in of[number]]
        looks = {"fmt": "o-", "color": LINES[k % len(LINES)], "label": name} | BARS
        axis.errorbar(at, of["difference"], yerr=_reach(of), **looks)
    axis.axhline(0, color=INK, lw=0.8, zorder=1)
    axis.set_xticks(range(len(values)), values)
    axis.set_xlabel(number, fontsize=9, color=INK)
    axis.margins(x=0.15)


def _series(axis: Axes, points: np.ndarray, label: str, colour: str) -> None:
    """Draw (n, 2) steps and values; a long series as a faint line under its running mean."""
    steps, values = points.T
    if len(values) < 40:
        axis.plot(steps, values, color=colour, lw=1.6, label=label, marker="o", ms=2.5)
        return
    window = max(5, len(values) // 25)
    axis.plot(steps, values, color=colour, lw=0.7, alpha=0.35)
    axis.plot(
        steps,
        pd.Series(values).rolling(window, center=True, min_periods=1).mean(),
        color=colour,
        label=label,
    )


def _spread(values: np.ndarray, gap: float) -> np.ndarray:
    """Move rising values apart as little as may be: neighbours by at least `gap`, none above 1."""
    places = values.copy()
    for _ in range(200):
        overlap = np.maximum(0, gap - np.diff(places)) / 2
        places[1:] += overlap
        places[:-1] -= overlap
        places = np.minimum(places, 1)
    return places
