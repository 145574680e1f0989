"""A figure with its interval of confidence, by resampling the items that it was made of."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

Rows = np.ndarray
"""(N,) int64: places of items, some of them several times over."""


@dataclass(frozen=True)
class Interval:
    """A figure and its interval of 95% confidence.

    Args:
        value: of the items themselves.
        low: lower end.
        high: upper end.
    """

    value: float
    low: float
    high: float


def bootstrap(
    statistic: Callable[..., float], sizes: Sequence[int], rounds: int = 200, seed: int = 0, least: float = -np.inf
) -> Interval:
    r"""A statistic of several collections, with the spread that it has when each is drawn anew from itself.

    Resampled collections are further apart than they were, since each is off from itself as it is from the truth. The
    ends are therefore those of the differences to the mean of the rounds, set off from the value itself.

    Source: "Bootstrap Methods: Another Look at the Jackknife" (Efron, 1979).

    Args:
        statistic: of the places of the items, (N,) for each collection.
        sizes: how many items each collection has.
        rounds: of resampling.
        seed: of the resampling.
        least: what the statistic can be at least.

    Example:
        >>> heights = np.array([1.0, 2.0, 3.0, 4.0])
        >>> mean = bootstrap(lambda rows: heights[rows].mean(), [4])
        >>> mean.value, mean.low < 2 < 3 < mean.high
        (2.5, True)
    """
    rng = np.random.default_rng(seed)
    value = statistic(*(np.arange(size) for size in sizes))
    draws = np.array([statistic(*(rng.integers(0, size, size) for size in sizes)) for _ in range(rounds)])
    low, high = np.quantile(draws - draws.mean(), [0.025, 0.975])
    return Interval(float(value), float(max(value + low, least)), float(value + high))


def mean_interval(values: Sequence[float] | np.ndarray) -> Interval:
    """The mean of independent values."""
    array = np.asarray(values, np.float64)
    return bootstrap(lambda rows: array[rows].mean(), [len(array)])


def nearer_share(first: np.ndarray, second: np.ndarray) -> Interval:
    """Share of items that are nearer to the nearest of one collection than to that of another; ties count half.

    All three are resampled: a few items may be the nearest of many.

    Args:
        first: (N, M) distances of the items to those of one collection.
        second: (N, M) to those of the other.
    """

    def share(rows: Rows, ours: Rows, theirs: Rows) -> float:
        a, b = (distances[np.ix_(rows, places)].min(1) for distances, places in ((first, ours), (second, theirs)))
        return float(((a < b) + 0.5 * (a == b)).mean())

    return bootstrap(share, [len(first), first.shape[1], second.shape[1]], rounds=60, least=0.0)
