"""Plots as pictures, drawn without a window."""

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_ACROSS = 4
_SHOWN = 4


def new_figure(width: float, height: float) -> "Figure":
    """A figure of so many inches."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def as_picture(figure: "Figure") -> Image.Image:
    """What a figure looks like."""
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=90)
    return Image.open(file)


def lines(frames: Sequence[Any]) -> Image.Image:
    """Series, a panel for each: the first four channels after the time, each to its range."""
    rows = -(-len(frames) // _ACROSS)
    figure = new_figure(3.2 * _ACROSS, 1.8 * rows)
    panels = figure.subplots(rows, _ACROSS, squeeze=False, sharey=True).flatten()
    names = [str(name) for name in list(frames[0])[1 : 1 + _SHOWN]]
    for panel, frame in zip(panels, frames, strict=False):
        for name in names:
            everywhere = np.concatenate([each[name].to_numpy(float) for each in frames])
            low, high = np.nanmin(everywhere), np.nanmax(everywhere)
            panel.plot((frame[name].to_numpy(float) - low) / ((high - low) or 1.0), linewidth=1, label=name)
        panel.set_yticks([])
    for panel in panels[len(frames) :]:
        panel.axis("off")
    panels[0].legend(fontsize=7)
    return as_picture(figure)


def contours(
    axis: np.ndarray, density: np.ndarray, cloud: np.ndarray, names: tuple[str, str], title: str
) -> Image.Image:
    """A density over a square, with points that were drawn from it.

    Args:
        axis: places along both sides.
        density: (N, N), the second number downwards.
        cloud: (M, 2) points.
        names: of the two numbers.
        title: above it.
    """
    figure = new_figure(4.6, 4.4)
    panel = figure.subplots()
    panel.contourf(axis, axis, density, levels=12, cmap="viridis")
    panel.plot(cloud[:, 0], cloud[:, 1], ".", color="white", markersize=2, alpha=0.6)
    panel.set(xlabel=names[0], ylabel=names[1], title=title, xlim=axis[[0, -1]], ylim=axis[[0, -1]])
    return as_picture(figure)


def heat(maps: Sequence[np.ndarray], titles: Sequence[str], pixel: tuple[int, int]) -> Image.Image:
    """Heat maps side by side, each to its own scale, with a mark at the pixel of that row and column."""
    figure = new_figure(2.4 * len(maps), 2.7)
    for panel, each, title in zip(figure.subplots(1, len(maps), squeeze=False)[0], maps, titles, strict=True):
        panel.imshow(each, cmap="magma")
        panel.plot(pixel[1], pixel[0], "+", color="cyan", markersize=10)
        panel.set(title=title, xticks=[], yticks=[])
    return as_picture(figure)


def histogram(values: np.ndarray, label: str) -> Image.Image:
    """How numbers are spread.

    Args:
        values: the numbers.
        label: what they are.
    """
    figure = new_figure(6.4, 2.2)
    panel = figure.subplots()
    panel.hist(values, bins=min(40, max(4, len(values) // 4)))
    panel.set(xlabel=label, ylabel="items")
    return as_picture(figure)
