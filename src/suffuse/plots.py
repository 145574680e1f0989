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
