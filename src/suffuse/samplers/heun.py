"""Heun's method, two evaluations a step, and the churn that can be put before any one-step sampler."""

import math
from typing import Any

import torch
from torch import Tensor

from suffuse.denoiser import Denoiser
from suffuse.processes import Gaussian
from suffuse.rng import Streams
from suffuse.samplers.base import Sampler
from suffuse.tree import Condition, State


class Heun(Sampler):
    r"""The trapezoidal rule on the straightened flow, second order.

    Every Gaussian process is a flow in the coordinates
    :math:`\tau = \sigma / (\alpha + \sigma), \; y = x / (\alpha + \sigma)`, where

    .. math:: \frac{dy}{d\tau} = \frac{y - E[x_0 | x_t]}{\tau},

    which is finite at both ends, :math:`\alpha = 0` included. The step into :math:`\tau = 0` is Euler's, and exact
    for the last posterior. Two evaluations a step, but one for the last; use it as a reference rather than for speed.

    Source: algorithm 1 of "Elucidating the Design Space of Diffusion-Based Generative Models" (Karras et al., 2022),
    in other coordinates.
    """

    process = Gaussian
    order = 2

    def step(
        self, denoiser: Denoiser, x_t: Any, t: Tensor, s: Tensor, condition: Condition, state: Any, rng: Streams
    ) -> tuple[State, Any]:
        """No state, no noise."""
        (size_t, tau_t), (size_s, tau_s) = (straightened(denoiser.process, time, x_t) for time in (t, s))
        y = x_t / size_t
        slope = (y - denoiser(x_t, t, condition).mean) / tau_t
        y_s = y + (tau_s - tau_t) * slope
        if float(tau_s) > 0:
            slope_s = (y_s - denoiser(y_s * size_s, s, condition).mean) / tau_s
            y_s = y + (tau_s - tau_t) * (slope + slope_s) / 2
        return y_s * size_s, state


def straightened(process: Any, t: Tensor, like: Tensor) -> tuple[Tensor, Tensor]:
    r"""Size :math:`\alpha + \sigma` and place :math:`\tau = \sigma / (\alpha + \sigma)` on the straightened flow."""
    alpha_t, sigma_t = process.coordinates(t, like)
    return alpha_t + sigma_t, sigma_t / (alpha_t + sigma_t)


class Churn(Sampler):
    r"""Noise before each step: up from t by a factor :math:`1 + \gamma` in :math:`\sigma / \alpha`, then the inner
    sampler's step down.

    .. math:: \gamma = \min(\text{amount} / N, \sqrt 2 - 1), \quad \text{where } \sigma_t / \alpha_t \text{ lies in
    the range given.}

    The fresh noise corrects errors of earlier steps, at the price of more steps.

    Source: algorithm 2 of "Elucidating the Design Space of Diffusion-Based Generative Models" (Karras et al., 2022).

    Args:
        inner: any one-step sampler of Gaussian processes.
        amount: :math:`S_{\text{churn}}`, noise added over the whole walk.
        low: least sigma/alpha at which to churn.
        high: largest sigma/alpha at which to churn.
    """

    process = Gaussian
    stochastic = True

    def __init__(
        self, inner: Sampler | None = None, amount: float = 10.0, low: float = 0.05, high: float = 50.0
    ) -> None:
        self.inner = Heun() if inner is None else inner
        if not self.inner.one_step:
            raise ValueError(f"churn breaks the memory of {type(self.inner).__name__}; give a one-step sampler")
        self.amount, self.low, self.high = amount, low, high

    def init(self, denoiser: Denoiser, x1: State, times: Tensor) -> Any:
        """The factor of noise for this number of steps, and the inner sampler's state."""
        gamma = min(self.amount / (len(times) - 1), math.sqrt(2) - 1)
        return gamma, self.inner.init(denoiser, x1, times)

    def step(
        self, denoiser: Denoiser, x_t: Any, t: Tensor, s: Tensor, condition: Condition, state: Any, rng: Streams
    ) -> tuple[State, Any]:
        """Up, then down."""
        gamma, inner = state
        process = denoiser.process
        assert isinstance(process, Gaussian)
        log_snr = process.schedule.log_snr(t)
        if self.low <= float(torch.exp(-log_snr / 2)) <= self.high:
            higher = process.schedule.inverse(log_snr - 2 * math.log1p(gamma)).clamp(max=1.0)
            rng = rng.fold("churn").at(t)  # for the step down too: the walk crosses the same times twice
            x_t = process.forward(x_t, t, higher, rng)
            t = higher
        x_s, inner = self.inner.step(denoiser, x_t, t, s, condition, inner, rng)
        return x_s, (gamma, inner)
