r"""Forecasts, by draws of what is to come: how near, and whether they know how near.

Sources: "Strictly Proper Scoring Rules, Prediction, and Estimation" (Gneiting, Raftery, 2007); "Fair scores for
ensemble forecasts" (Ferro, 2014); "Another look at measures of forecast accuracy" (Hyndman, Koehler, 2006).
"""

import numpy as np

from suffuse.metrics.bootstrap import Interval, bootstrap, mean_interval


def crps(draws: np.ndarray, truth: np.ndarray) -> np.ndarray:
    r"""The continuous ranked probability score of each value, in its unit, without the bias of few draws.

    .. math:: E|X - y| - \tfrac12 E|X - X'|.

    Args:
        draws: (N, ...), at least two of each value.
        truth: (...).

    Returns:
        (...): less is better; of a single sure answer it is the absolute error.

    Example:
        >>> crps(np.array([[0.0], [2.0]]), np.array([1.0]))
        array([0.])
    """
    count = len(draws)
    weights = (2 * np.arange(1, count + 1) - count - 1).reshape(-1, *(1,) * truth.ndim)
    spread = (weights * np.sort(draws, 0)).sum(0) / (count * (count - 1))
    return np.abs(draws - truth).mean(0) - spread


def covered(draws: np.ndarray, truth: np.ndarray, share: float = 0.9) -> np.ndarray:
    """Whether each value lies in the middle interval that so much of the draws' law is in.

    The ends are order statistics, between which a further draw of N would lie with that probability.

    Example:
        >>> covered(np.arange(19.0)[:, None], np.array([9.0])), covered(np.arange(19.0)[:, None], np.array([18.5]))
        (array([ True]), array([False]))
    """
    ends = (1 - share) / 2, (1 + share) / 2
    low, high = np.quantile(draws, ends, axis=0, method="weibull")
    return (low <= truth) & (truth <= high)


def absolute_scaled_error(forecast: np.ndarray, truth: np.ndarray, past: np.ndarray, season: int) -> np.ndarray:
    r"""Mean absolute error of each forecast, over that which repeating the last season has in the past.

    Args:
        forecast: (B, H).
        truth: (B, H).
        past: (B, T), T above the season.
        season: steps after which things repeat.

    Returns:
        (B,): below 1 is better than repeating.

    Example:
        >>> absolute_scaled_error(np.array([[3.0]]), np.array([[4.0]]), np.array([[0.0, 2.0, 4.0]]), 1)
        array([0.5])
    """
    scale = np.abs(past[:, season:] - past[:, :-season]).mean(1)
    return np.abs(forecast - truth).mean(1) / np.where(scale > 0, scale, np.nan)


def autocorrelation_error(real: np.ndarray, drawn: np.ndarray, lags: int) -> Interval:
    """Mean absolute difference of the autocorrelations of real and drawn windows, (B, C, L) each, over lags.

    Example:
        >>> waves = np.sin(np.arange(40.0) + np.arange(8.0)[:, None, None])
        >>> autocorrelation_error(waves, waves, 4).value
        0.0
    """
    ours, theirs = _products(real, lags), _products(drawn, lags)

    def difference(left: np.ndarray, right: np.ndarray) -> float:
        a, b = (each[rows].sum(0) for each, rows in ((ours, left), (theirs, right)))
        return float(np.abs(a[1:] / a[0] - b[1:] / b[0]).mean())

    return bootstrap(difference, [len(real), len(drawn)], least=0.0)


def _products(windows: np.ndarray, lags: int) -> np.ndarray:
    """(B, 1 + lags, C): mean products of what is so far apart, of windows less the mean of each channel."""
    centred = windows - windows.mean((0, 2), keepdims=True)
    length = windows.shape[2]
    return np.stack([(centred[..., : length - lag] * centred[..., lag:]).mean(2) for lag in range(lags + 1)], 1)


def mean_of_windows(values: np.ndarray) -> Interval:
    """The mean of (B, ...) with windows as what is resampled."""
    return mean_interval(values.reshape(len(values), -1).mean(1))
