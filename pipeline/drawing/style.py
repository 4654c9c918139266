"""How figures look: grids, axes and legends. No pyplot: a Figure of its own needs no display."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D

from pipeline.drawing.palette import FAINT, INK

DPI = 120


def grid(rows: int, columns: int, size: tuple[float, float]) -> tuple[Figure, np.ndarray]:
    """A figure of `size` inches with rows x columns axes."""
    figure = Figure(figsize=size, dpi=DPI, layout=ConstrainedLayoutEngine(w_pad=0.06, h_pad=0.06))
    return figure, figure.subplots(rows, columns, squeeze=False)


def legend(figure: Figure, handles: list[Line2D], columns: int) -> None:
    """One legend below all axes."""
    figure.legend(
        handles=handles,
        loc="outside lower center",
        ncols=columns,
        fontsize=8,
        frameon=False,
        labelcolor=INK,
    )


def plain(axis: Axes, title: str, size: int = 9) -> None:
    """An axis with a title, a faint grid and no box around it."""
    axis.set_title(title, fontsize=size, color=INK, loc="left")
    axis.grid(color=FAINT, lw=0.6)
    axis.set_axisbelow(True)
    axis.tick_params(labelsize=8, colors=INK, length=0)
    for name, spine in axis.spines.items():
        spine.set_visible(name == "bottom")
        spine.set_color(FAINT)


def pixels(figure: Figure) -> np.ndarray:
    """A figure as an image (H, W, 3) uint8."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()
