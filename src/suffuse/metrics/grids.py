"""Whether items on a grid (sounds, moving pictures, fields) have the values and the waves that real ones have."""

import numpy as np

from suffuse.metrics.bootstrap import Interval, bootstrap

_BANDS, _PLACES = 16, 64
_FLOOR = 1e-8
"""Of the power of the strongest band: what is weaker is rounding."""


def power(values: np.ndarray, bands: int = _BANDS) -> np.ndarray:
    r"""Mean power of the waves in each band of frequencies, :math:`\text{mean}_{f \in \text{band}} |\hat x(f)|^2 / n`.

    Frequencies are counted in waves for the length of an axis, as parts of the most that fit, and of several axes
    together: bands are shells around the mean, which is left out.

    Args:
        values: (N, C, *space).
        bands: how many, as wide as each other; those of few places that hold no wave are left out.

    Returns:
        (N, C, at most bands).

    Example:
        >>> wave = np.cos(2 * np.pi * 3 * np.arange(16) / 16)
        >>> power(wave[None, None], 8).round(2)[0, 0]
        array([0., 0., 4., 0., 0., 0., 0., 0.])
    """
    axes = tuple(range(2, values.ndim))
    squares = np.abs(np.fft.fftn(values, axes=axes)) ** 2 / np.prod(values.shape[2:])
    shares = np.meshgrid(*(2 * np.fft.fftfreq(n) for n in values.shape[2:]), indexing="ij")
    radius = np.sqrt(sum(share**2 for share in shares) / len(shares)).ravel()
    band = np.where(radius > 0, np.minimum(np.ceil(radius * bands - 1e-9), bands), 0).astype(int)
    flat = squares.reshape(*values.shape[:2], -1)
    return np.stack([flat[..., band == each].mean(-1) for each in range(1, bands + 1) if (band == each).any()], -1)


def spectrum_error(real: np.ndarray, other: np.ndarray) -> Interval:
    """Root mean square difference of the logarithms of two collections' mean power, over bands and channels.

    In decibels: 0 is the same, 1 is a quarter more or less power.

    Args:
        real: (N, C, *space).
        other: (M, C, *space).

    Example:
        >>> noise = np.random.default_rng(0).normal(size=(100, 1, 64))
        >>> round(spectrum_error(noise, 10 * noise).value, 6)
        20.0
    """
    ours, theirs = power(real), power(other)
    floor = _FLOOR * ours.mean(0).max()

    def error(a: np.ndarray, b: np.ndarray) -> float:
        levels = [10 * np.log10(part.mean(0) + floor) for part in (ours[a], theirs[b])]
        return float(np.sqrt(((levels[0] - levels[1]) ** 2).mean()))

    return bootstrap(error, [len(ours), len(theirs)], least=0.0)


def value_error(real: np.ndarray, other: np.ndarray) -> Interval:
    r"""Distance between the distributions of two collections' values, :math:`\max |F - G|`, in [0, 1].

    The mean over channels of Kolmogorov's and Smirnov's distance, of up to 64 places of each item.

    Args:
        real: (N, C, *space).
        other: (M, C, *space).

    Example:
        >>> value_error(np.zeros((2, 1, 8)), np.ones((2, 1, 8))).value
        1.0
    """
    ours, theirs = (_some(part) for part in (real, other))
    grid = np.sort(np.concatenate([part.swapaxes(0, 1).reshape(part.shape[1], -1) for part in (ours, theirs)], 1))
    below = [_shares_below(part, grid) for part in (ours, theirs)]

    def error(a: np.ndarray, b: np.ndarray) -> float:
        return float(np.abs(below[0][a].mean(0) - below[1][b].mean(0)).max(-1).mean())

    return bootstrap(error, [len(ours), len(theirs)], least=0.0)


def _some(values: np.ndarray) -> np.ndarray:
    """(N, C, K): values at K places that are spread over the space."""
    flat = values.reshape(*values.shape[:2], -1)
    return flat[..., np.unique(np.linspace(0, flat.shape[-1] - 1, _PLACES).round().astype(int))]


def _shares_below(values: np.ndarray, grid: np.ndarray) -> np.ndarray:
    """(N, C, G): the share of each item's places that are at most a number, for at most 256 numbers of a grid."""
    chosen = grid[:, np.unique(np.linspace(0, grid.shape[1] - 1, 256).round().astype(int))]
    return (values[..., None, :] <= chosen[None, ..., None]).mean(-1)
