"""What is measured of rows of tables."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from PIL import Image

from suffuse.metrics import tables
from suffuse.metrics.bootstrap import Interval
from suffuse.metrics.protocols.base import COPIES, Figure, Protocol, Samples


class OfTables(Protocol):
    """Columns, pairs, classifiers, use and privacy."""

    def figures(self, samples: Samples) -> list[Figure]:
        """See the class."""
        samples = _alike(samples)
        real, made, known = samples.real, samples.synthetic, samples.training

        def both(name: str, measure: Callable[[Any, Any], Interval], note: str) -> Figure:
            return Figure(name, measure(real, made), measure(real, known), note)

        figures = [both("column error", tables.column_error, "distance of each column's distribution; lower is better")]
        if len(real[0]) > 1:
            figures.append(both("pair error", tables.pair_error, "difference of pairwise dependence; lower is better"))
        figures.append(both("two-sample AUC", tables.two_sample_auc, "of a classifier of real and drawn; 0.5 is best"))
        if samples.target is not None:
            figures += _use(samples, samples.target)
        if samples.trained_on:
            figures.append(Figure("nearer to training", tables.closest_records(known, real, made), None, COPIES))
        return figures

    def pictures(self, samples: Samples) -> Mapping[str, Image.Image]:
        """Distributions of the columns that are furthest off."""
        from suffuse.metrics.drawing import columns

        samples = _alike(samples)
        return {"columns": columns(samples.real, samples.synthetic)}


def _alike(samples: Samples) -> Samples:
    """All rows with the columns that the model draws, and no others."""
    names = [name for name in samples.real[0] if name in samples.synthetic[0]]
    parts = {
        part: [{name: row[name] for name in names} for row in rows]
        for part, rows in (("real", samples.real), ("synthetic", samples.synthetic), ("training", samples.training))
    }
    return replace(samples, **parts)


def _use(samples: Samples, target: str) -> list[Figure]:
    found = tables.usefulness(samples.training, samples.synthetic, samples.real, target)
    return [
        Figure(
            f"{found.measure} of {target}",
            found.synthetic,
            found.real,
            "trained on what was drawn, tested on real; the reference was trained on real; higher is better",
        ),
        Figure(f"lost {found.measure} of {target}", found.gap, None, "the reference less that; lower is better"),
    ]
