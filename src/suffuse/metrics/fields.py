"""Fields that were drawn: whether ensembles know how far off they are, and whether an equation holds."""

from collections.abc import Callable

import numpy as np
from torch import Tensor

from suffuse.metrics.bootstrap import Interval, bootstrap
from suffuse.metrics.grids import power


def spread_over_error(draws: np.ndarray, truth: np.ndarray) -> Interval:
    r"""Spread of ensembles over the error of their means: 1 where a draw is as far from the mean as the truth is.

    .. math:: \sqrt{\tfrac{N + 1}{N} \overline{s^2} / \overline{(\bar x - y)^2}}

    with the unbiased variance s^2 over N draws. The interval is over the items.

    Source: "Why Should Ensemble Spread Match the RMSE of the Ensemble Mean?" (Fortin, Abaza, Anctil, Turcotte, 2014).

    Args:
        draws: (N, B, ...), at least two of each item; NaN where there is no value.
        truth: (B, ...).

    Example:
        >>> draws, truth = np.random.default_rng(0).normal(size=(2, 9, 4000)), np.zeros(4000)
        >>> round(spread_over_error(draws[0], draws[1, 0]).value, 1)
        1.0
    """
    count = len(draws)
    rows = (len(truth), -1)
    spread = np.nanmean(draws.var(0, ddof=1).reshape(rows), 1) * (count + 1) / count
    error = np.nanmean(((draws.mean(0) - truth) ** 2).reshape(rows), 1)
    return bootstrap(lambda some: float(np.sqrt(spread[some].mean() / error[some].mean())), [len(truth)], least=0.0)


def rmse(found: np.ndarray, truth: np.ndarray) -> Interval:
    """Root mean square error over items (B, ...) and their places, NaN left out.

    Example:
        >>> rmse(np.array([[1.0, np.nan]]), np.zeros((1, 2))).value
        1.0
    """
    squares = np.nanmean(((found - truth) ** 2).reshape(len(truth), -1), 1)
    return bootstrap(lambda some: float(np.sqrt(squares[some].mean())), [len(truth)], least=0.0)


def spectrum_ratio(real: np.ndarray, other: np.ndarray, least: float = 1e-3) -> float:
    """The power of other fields over that of real ones, in the band of waves where it is furthest from 1.

    Args:
        real: (N, C, *space).
        other: (M, C, *space).
        least: bands with a smaller share of the power of a channel are not looked at.

    Example:
        >>> noise = np.random.default_rng(0).normal(size=(9, 1, 16, 16))
        >>> round(spectrum_ratio(noise, 2 * noise), 6)
        4.0
    """
    ours, theirs = power(real).mean(0), power(other).mean(0)
    ratios = (theirs / ours)[ours >= least * ours.sum(-1, keepdims=True)]
    return float(ratios[np.abs(np.log(np.maximum(ratios, 1e-12))).argmax()])


def residual(before: Tensor, after: Tensor, rate: Callable[[Tensor], Tensor], step: float) -> Tensor:
    r"""How far two fields in a row are from an equation :math:`\partial_t u = f(u)`, at the middle between them.

    .. math:: \frac{u_{n+1} - u_n}{\Delta} - f\left(\frac{u_n + u_{n+1}}{2}\right)

    Of an exact solution it is of the order of the square of the step, so that a solver's own states have one, too.

    Args:
        before: (B, ...).
        after: (B, ...), a step later.
        rate: f, of such fields.
        step: the time between them.

    Returns:
        (B, ...), in units of the rate.

    Example:
        >>> import torch
        >>> residual(torch.tensor([1.0]), torch.tensor([0.5]), lambda u: -u, 0.5)
        tensor([-0.2500])
    """
    return (after - before) / step - rate((before + after) / 2)
