"""What is measured of each kind of data, by the kind of its codec."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

import numpy as np
from PIL import Image

from suffuse.errors import UserError
from suffuse.metrics import grids, images, music, series, tables, texts
from suffuse.metrics.bootstrap import Interval, mean_interval
from suffuse.metrics.histograms import divergence


@dataclass(frozen=True)
class Samples:
    """What is compared.

    Args:
        real: raw items that the model was not trained on.
        synthetic: raw items that it drew.
        training: other real items; those that it was trained on, where these are known.
        target: name of the part of an item that is to be predicted, or None.
        labels: class of each training item, or None.
        told: class of each real item, which the synthetic one in its place was told, or None.
        trained_on: whether the training items are what the model was trained on.
        paired: whether every synthetic item was drawn in answer to what the real one in its place answers.
    """

    real: Sequence[Any]
    synthetic: Sequence[Any]
    training: Sequence[Any]
    target: str | None = None
    labels: Sequence[Any] | None = None
    told: Sequence[Any] | None = None
    trained_on: bool = False
    paired: bool = False


@dataclass(frozen=True)
class Figure:
    """One line of a report.

    Args:
        name: of what was measured.
        found: of synthetic items against real ones.
        reference: the same of other real items, the best that can be expected; None where there is no such thing.
        note: what it says, and which way is better.
    """

    name: str
    found: Interval
    reference: Interval | None
    note: str


class Protocol(ABC):
    """What is measured of one kind of data."""

    @abstractmethod
    def figures(self, samples: Samples) -> list[Figure]:
        """Compare."""

    def holes(self, real: Sequence[Any]) -> Sequence[Any]:
        """Real items with something taken away, which the model is to fill; none, where that says nothing."""
        del real
        return ()

    def filled(self, real: Sequence[Any], draws: Sequence[Sequence[Any]]) -> list[Figure]:
        """Compare real items with what the holes in them were filled by, each time."""
        del real, draws
        return []

    def pictures(self, samples: Samples) -> Mapping[str, Image.Image]:
        """Pictures of the comparison, by the names of their files without the suffix."""
        del samples
        return {}

    def bound(self, nats: Sequence[float], real: Sequence[Any]) -> Figure | None:
        """The bound on the log-probability of each real item, in the unit of the field; None where it has none."""
        del nats, real
        return None


class OfPictures(Protocol):
    """Distance in the features of a judge, and whether pictures are copies."""

    def figures(self, samples: Samples) -> list[Figure]:
        """See the class."""
        like = samples.synthetic[0]
        real, made, known = (images.states(part, like) for part in (samples.real, samples.synthetic, samples.training))
        judge = images.judge_of(known, samples.labels)
        eyes = "a network of random weights" if samples.labels is None else "a classifier of the real ones"
        figures = [
            Figure(
                "Frechet distance",
                images.frechet(real, made, judge),
                images.frechet(real, known, judge),
                f"of the features of {eyes}; lower is better",
            )
        ]
        if samples.labels is not None and samples.told is not None:
            right, best = (images.accuracy(part, samples.told, samples.labels, judge) for part in (made, real))
            figures.append(
                Figure("accuracy", right, best, "of the class asked for, by the classifier; higher is better")
            )
        if samples.trained_on:
            figures.append(Figure("nearer to training", images.nearest_share(known, real, made), None, _COPIES))
        return figures


_COPIES = "share of what was drawn that is nearer to a training item than to any held out; above 0.5 are copies"


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
            figures.append(Figure("nearer to training", tables.closest_records(known, real, made), None, _COPIES))
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


class OfTexts(Protocol):
    """Signs and words, and the bits of a character.

    Args:
        lengths: of the n-grams of signs that are compared.
        words: whether there are words.
    """

    def __init__(self, lengths: Sequence[int], words: bool) -> None:
        self.lengths, self.words = lengths, words

    def figures(self, samples: Samples) -> list[Figure]:
        """See the class."""
        real, made, known = samples.real, samples.synthetic, samples.training
        figures = [
            Figure(
                f"{n}-gram divergence",
                texts.divergence(real, made, n),
                texts.divergence(real, known, n),
                "of Jensen and Shannon, of signs, in bits; lower is better",
            )
            for n in self.lengths
        ]
        split = texts.words if self.words else texts.signs
        for name, measure, note in (
            ("entropy", texts.entropy, "of single tokens, in bits; best as the reference"),
            ("distinct pairs", texts.distinct, "share of pairs of tokens that differ; best as the reference"),
        ):
            n = 1 if measure is texts.entropy else 2
            figures.append(Figure(name, measure(made, n, split), measure(real, n, split), note))
        if samples.paired:
            note = "of each text against the right one, from 0 to 100; higher is better"
            figures.append(Figure("chrF", texts.chrf(made, real), None, note))
            figures.append(Figure("BLEU", texts.bleu(made, real), None, note))
        return figures

    def bound(self, nats: Sequence[float], real: Sequence[Any]) -> Figure:
        """Bits of a character."""
        return Figure(
            "bits per character", texts.bits_per_character(nats, real), None, "a bound, from above; lower is better"
        )


class OfSeries(Protocol):
    """Values, how they hang together in time, and forecasts of the last quarter of each window."""

    def figures(self, samples: Samples) -> list[Figure]:
        """See the class."""
        real, made, known = (_values(part, samples.synthetic[0]) for part in _windows(samples))
        lags = max(1, real.shape[2] // 2)
        apart = [series.autocorrelation_error(real, others, lags) for others in (made, known)]
        note = "distance of each channel's distribution; lower is better"
        rows = [_rows(values) for values in (real, made, known)]
        return [
            Figure("channel error", tables.column_error(*rows[:2]), tables.column_error(rows[0], rows[2]), note),
            Figure("autocorrelation error", apart[0], apart[1], "over half a window; lower is better"),
        ]

    def holes(self, real: Sequence[Any]) -> Sequence[Any]:
        """The last quarter, of the first so many windows."""
        return [_cut(frame) for frame in real[:_FORECAST]]

    def filled(self, real: Sequence[Any], draws: Sequence[Sequence[Any]]) -> list[Figure]:
        """See the class."""
        real, like = real[:_FORECAST], draws[0][0]
        truth, horizon = _values(real, like), _horizon(real[0])
        drawn = np.stack([_values(each, like) for each in draws])[..., -horizon:]
        scale = truth.std((0, 2))[:, None]
        before, truth = truth[..., :-horizon], truth[..., -horizon:]
        naive = np.abs(before[..., -1:] - truth) / scale
        scores, inside = series.crps(drawn, truth) / scale, series.covered(drawn, truth).astype(float)
        return [
            Figure("CRPS", series.mean_of_windows(scores), series.mean_of_windows(naive), _AHEAD),
            Figure("coverage of 90%", series.mean_of_windows(inside), None, "share within the interval; 0.9 is best"),
        ]


class OfFields(Protocol):
    """Values and waves."""

    def figures(self, samples: Samples) -> list[Figure]:
        """See the class."""
        parts = (samples.real, samples.synthetic, samples.training)
        real, made, known = (_of_grids(part, samples.synthetic[0]) for part in parts)
        means = np.nanmean(real, (0, *range(2, real.ndim)), keepdims=True)
        real, made, known = (np.where(np.isfinite(part), part, means) for part in (real, made, known))
        return [
            Figure(
                "value error",
                grids.value_error(real, made),
                grids.value_error(real, known),
                "distance of each variable's distribution; lower is better",
            ),
            Figure(
                "spectrum error",
                grids.spectrum_error(real, made),
                grids.spectrum_error(real, known),
                "of the power of waves, in decibels; lower is better",
            ),
        ]


def _of_grids(items: Sequence[Any], like: Any) -> np.ndarray:
    """(N, V, *space) of the variables that a model draws."""
    names, axes = list(like.data_vars), like[next(iter(like.data_vars))].dims
    return np.stack([[item[name].transpose(*axes).values.astype(float) for name in names] for item in items])


class OfMusic(Protocol):
    """What is counted of notes, and whether pieces are copies."""

    def figures(self, samples: Samples) -> list[Figure]:
        """See the class."""
        real, made, known = samples.real, samples.synthetic, samples.training
        note = "divergence of Jensen and Shannon of their counts, in bits; lower is better"
        figures = [
            Figure(name, divergence(count(real), count(made)), divergence(count(real), count(known)), note)
            for name, count in music.HISTOGRAMS.items()
        ]
        if samples.trained_on:
            found, best = (mean_interval(music.copied(part, known)) for part in (made, real))
            figures.append(Figure("copied", found, best, "share of two bars that the training has; best as reference"))
        return figures


_FORECAST = 64
_AHEAD = "of the last quarter, in deviations; the reference repeats the last value; lower is better"


def _horizon(frame: Any) -> int:
    return max(1, len(frame) // 4)


def _cut(frame: Any) -> Any:
    """A window without the numbers of its last quarter; its first column is the time."""
    names = list(frame)[1:]
    frame = frame.reset_index(drop=True)
    return frame.assign(**{name: frame[name].where(frame.index < len(frame) - _horizon(frame)) for name in names})


def _windows(samples: Samples) -> tuple[Sequence[Any], ...]:
    return samples.real, samples.synthetic, samples.training


def _values(frames: Sequence[Any], like: Any) -> np.ndarray:
    """(B, C, L) of the channels that the model draws; what is missing is the channel's mean."""
    values = np.stack([frame[list(like)[1:]].to_numpy(float).T for frame in frames])
    return np.where(np.isnan(values), np.nanmean(values, (0, 2), keepdims=True), values)


def _rows(values: np.ndarray) -> list[dict[str, float]]:
    """One moment of each window, these spread over the window."""
    places = np.arange(len(values)) % values.shape[2]
    chosen = values[np.arange(len(values)), :, places]
    return [{str(channel): float(x) for channel, x in enumerate(row)} for row in chosen]


PROTOCOLS: Mapping[str, Protocol] = MappingProxyType(
    {
        "image": OfPictures(),
        "table": OfTables(),
        "text": OfTexts((1, 3, 5), words=True),
        "sequence": OfTexts((1, 2, 3), words=False),
        "series": OfSeries(),
        "field": OfFields(),
        "music": OfMusic(),
    }
)
"""By the kind of the model's codec."""


def protocol_of(kind: str) -> Protocol:
    """The protocol of a kind of data.

    Raises:
        UserError: there is none.
    """
    if kind not in PROTOCOLS:
        raise UserError(f"nothing is measured yet of models of {kind}; suffuse score gives their bounds")
    return PROTOCOLS[kind]
