"""Heun's method: two evaluations a step."""

from typing import Any

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
    order = stages = 2

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
