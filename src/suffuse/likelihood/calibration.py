"""Probabilities of classes that say how often they are right: a temperature, and by how much they are off."""

import math

import torch
from torch import Tensor

_LOG_RANGE = 7.0
_HALVINGS = 40


def fit_temperature(log_odds: Tensor, labels: Tensor, log_prior: Tensor | float = 0.0) -> float:
    r"""The T > 0 for which :math:`p(c) \propto \pi_c \, e^{s_c / T}` is likeliest for the labels.

    By bisection, between e^-7 and e^7: the log-likelihood is concave in 1 / T.

    Source: "On Calibration of Modern Neural Networks" (Guo, Pleiss, Sun, Weinberger, 2017).

    Args:
        log_odds: (N, K) of the classes, s.
        labels: (N,) int64, the right ones.
        log_prior: (K,) of the classes, which no temperature changes.

    Example:
        >>> round(fit_temperature(torch.tensor([[0.0, 8.0]] * 4), torch.tensor([1, 1, 1, 0])), 1)
        7.3
    """
    rows = torch.arange(len(labels))
    low, high = -_LOG_RANGE, _LOG_RANGE
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        expected = (tempered(log_odds, math.exp(middle), log_prior) * log_odds).sum(1)
        sure = (expected - log_odds[rows, labels]).mean() > 0  # too much weight on the best
        low, high = (middle, high) if sure else (low, middle)
    return math.exp(low)


def tempered(log_odds: Tensor, temperature: float, log_prior: Tensor | float = 0.0) -> Tensor:
    """Probabilities (N, K) at a temperature."""
    return (log_odds.double() / temperature + log_prior).softmax(1)


def cross_entropy(probabilities: Tensor, labels: Tensor) -> float:
    """Mean nats that the right classes, (N,), are missed by; a probability counts as 1e-12 at least."""
    return -float(probabilities.gather(1, labels[:, None]).clamp(min=1e-12).log().mean())


def calibration_error(probabilities: Tensor, labels: Tensor, bins: int = 15) -> float:
    r"""Expected calibration error: the mean of :math:`|\text{accuracy} - \text{confidence}|` over bins of confidence.

    Source: "Obtaining Well Calibrated Probabilities Using Bayesian Binning" (Naeini, Cooper, Hauskrecht, 2015).

    Args:
        probabilities: (N, K).
        labels: (N,) int64.
        bins: of even width in [0, 1].

    Example:
        >>> calibration_error(torch.tensor([[0.75, 0.25]] * 4), torch.tensor([0, 0, 0, 1]))
        0.0
    """
    confidence, chosen = probabilities.double().max(1)
    off = (chosen == labels).double() - confidence
    place = (confidence * bins).long().clamp(max=bins - 1)
    sums = torch.zeros(bins, dtype=torch.float64, device=off.device).index_add(0, place, off)
    return float(sums.abs().sum() / len(off))
