"""Pictures of how like the real ones synthetic items are."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image

from suffuse.metrics.tables import Columns, arrays, column_errors
from suffuse.plots import as_picture, new_figure

_SHOWN = 12
_ACROSS = 4
_VALUES = 8
_LETTERS = 12


def columns(real: Sequence[Any], synthetic: Sequence[Any]) -> Image.Image:
    """Distributions of the columns that are furthest off, at most twelve, real and synthetic beside each other."""
    ours, theirs = arrays(real, synthetic)
    errors = np.array(column_errors(ours, theirs))
    chosen = errors.argsort()[::-1][:_SHOWN]
    rows = -(-len(chosen) // _ACROSS)
    figure = new_figure(3.2 * _ACROSS, 2.6 * rows)
    panels = figure.subplots(rows, _ACROSS, squeeze=False).flatten()
    for panel, place in zip(panels, chosen.tolist(), strict=False):
        _draw(panel, ours, theirs, place)
        panel.set_title(f"{ours.names[place]}: {errors[place]:.3f}", fontsize=9)
    for panel in panels[len(chosen) :]:
        panel.axis("off")
    panels[0].legend(fontsize=8)
    return as_picture(figure)


def _draw(panel: Any, ours: Columns, theirs: Columns, place: int) -> None:
    """A histogram of a number, bars of a category's commonest values."""
    count = ours.numbers.shape[1]
    if place < count:
        values = [each.numbers[:, place][~np.isnan(each.numbers[:, place])] for each in (ours, theirs)]
        low, high = np.quantile(np.concatenate(values), [0.005, 0.995]).tolist()
        edges = np.linspace(low, high, 25)
        for part, label in zip(values, ("real", "drawn"), strict=True):
            panel.hist(part.clip(edges[0], edges[-1]), edges, density=True, alpha=0.5, label=label)
        return
    for side, (each, label) in enumerate(((ours, "real"), (theirs, "drawn"))):
        shares = np.bincount(each.codes[:, place - count], minlength=_VALUES)[:_VALUES] / len(each)
        panel.bar(np.arange(_VALUES) + 0.4 * side, shares, 0.4, alpha=0.7, label=label)
    names = [str(value)[:_LETTERS] for value in ours.values[place - count][:_VALUES]]
    panel.set_xticks(np.arange(len(names)) + 0.2, names, fontsize=7, rotation=30, ha="right")
    panel.set_xlim(-0.4, len(names))
