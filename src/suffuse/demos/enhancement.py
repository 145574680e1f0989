"""What mends speech without learning: Wiener's filter, linear prediction, cubic splines."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import torch

_CONTEXT = 800
"""Samples to each side of a gap that linear prediction looks at."""
_ROUNDS = 3


def tuned(score: Callable[..., float], choices: Iterable[Sequence[Any]]) -> Sequence[Any]:
    """Of some choices that whose score is highest.

    Example:
        >>> tuned(lambda a, b: a - b, [(1, 2), (3, 1)])
        (3, 1)
    """
    return max(choices, key=lambda choice: score(*choice))


def by_wiener(noisy: np.ndarray, deviation: float, size: int, memory: float, least: float) -> np.ndarray:
    r"""Wiener's filter on a short-time spectrum, :math:`G = \xi / (1 + \xi)`, told the noise.

    The ratio of speech to noise is estimated from the last frame and this one,
    :math:`\xi_m = a \, |G_{m-1} Y_{m-1}|^2 / N + (1 - a) \max(|Y_m|^2 / N - 1, 0)`.

    Source: "Speech Enhancement Using a Minimum Mean-Square Error Short-Time Spectral Amplitude Estimator" (Ephraim,
    Malah, 1984), for the estimate.

    Args:
        noisy: (T,).
        deviation: of the noise.
        size: samples of a frame, of which each shares three quarters with the next.
        memory: a.
        least: the smallest gain.
    """
    window = torch.hann_window(size, dtype=torch.float64)
    options: dict[str, Any] = {"n_fft": size, "hop_length": size // 4, "window": window}
    spectrum = torch.stft(torch.from_numpy(noisy.astype(float)), return_complex=True, pad_mode="constant", **options)
    posterior = spectrum.abs().square() / (deviation**2 * float(window.square().sum()))
    before, gains = torch.ones(len(posterior), dtype=torch.float64), torch.empty_like(posterior)
    for moment, power in enumerate(posterior.T):
        ratio = memory * before + (1 - memory) * (power - 1).clamp(min=0)
        gains[:, moment] = (ratio / (1 + ratio)).clamp(min=least)
        before = gains[:, moment] ** 2 * power
    return torch.istft(spectrum * gains, length=len(noisy), **options).numpy()


def interpolated(sound: np.ndarray, first: int, last: int, order: int) -> np.ndarray:
    """A gap filled from both sides by linear prediction: the samples whose errors of prediction are least.

    Source: "Adaptive Interpolation of Discrete-Time Signals that Can Be Modeled as Autoregressive Processes" (Janssen,
    Veldhuis, Vries, 1986).

    Args:
        sound: (T,), of which nothing between `first` and `last` is looked at.
        first: where the gap begins.
        last: where it ends.
        order: of the prediction.
    """
    begin, end = max(first - _CONTEXT, 0), min(last + _CONTEXT, len(sound))
    part = sound[begin:end].astype(float)
    gap = slice(first - begin, last - begin)
    part[gap] = 0.0
    for _ in range(_ROUNDS):
        rows = np.lib.stride_tricks.sliding_window_view(part, order + 1)
        predicted = np.linalg.lstsq(rows[:, :-1], rows[:, -1], rcond=1e-8)[0]
        errors = np.append(-predicted, 1.0)
        products = np.correlate(errors, errors, "full")
        known = part.copy()
        known[gap] = 0.0
        lags = np.abs(np.subtract.outer(np.arange(last - first), np.arange(last - first)))
        within = np.where(lags <= order, products[order + np.minimum(lags, order)], 0.0)
        part[gap] = np.linalg.solve(within, -np.convolve(known, products, "same")[gap])
    filled = sound.copy()
    filled[first:last] = part[gap]
    return filled


def cubic(samples: np.ndarray, factor: int, length: int) -> np.ndarray:
    """Samples (T,) at a rate that is higher by a factor, by a cubic spline through them."""
    from scipy.interpolate import CubicSpline

    places = np.arange(length) / factor
    return CubicSpline(np.arange(len(samples)), samples)(places)
