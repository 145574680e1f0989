"""What is measured of series, and of fields on grids."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from suffuse.metrics import grids, series, tables
from suffuse.metrics.protocols.base import Figure, Protocol, Samples

_FORECAST = 64
_AHEAD = "of the last quarter, in deviations; the reference repeats the last value; lower is better"


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
