"""The multistep exponential integrator: one evaluation a step, orders 1 to 3."""

import math
from typing import Any

import torch
from torch import Tensor

from suffuse.denoiser import Denoiser
from suffuse.posteriors import Posterior
from suffuse.processes import Gaussian
from suffuse.rng import Streams
from suffuse.samplers.base import Sampler
from suffuse.tree import Condition, State


class Multistep(Sampler):
    r"""DPM-Solver++ of order 1 to 3: the posterior is extrapolated through the last steps, then one reverse kernel.

    The probability-flow ODE has the exact solution, with :math:`\rho = \alpha / \sigma`,

    .. math:: x_s = \frac{\sigma_s}{\sigma_t} x_t + \sigma_s \int_{\rho_t}^{\rho_s} E[x_0 | x_\rho] \, d\rho.

    With the polynomial through the last k posterior means the integral is the reverse kernel for a tilted posterior
    :math:`\sum_i c_i q_i`, :math:`\sum_i c_i = 1`. The polynomial is one in
    :math:`\tau = \sigma / (\alpha + \sigma)`, which is finite at both ends, so that walks may start at
    :math:`\alpha = 0` and end at :math:`\sigma = 0` without a special case, and the means are smoother in it than in
    the log-SNR. The choice for few evaluations; order 3 wins from about 20 steps on.

    With :math:`\eta > 0` the kernel is the one at :math:`\eta`, on one Brownian path: a solver of the SDE. Noise
    mends errors of earlier steps and of the network, where 20 steps or more can be afforded.

    Source: "DPM-Solver++: Fast Solver for Guided Sampling of Diffusion Probabilistic Models" (Lu, Zhou, Bao, Chen,
    Li, Zhu, 2022), whose polynomial is in the log-SNR.

    Args:
        order: 1, 2 or 3.
        eta: share of the kernel's noise, in [0, 1].
    """

    process = Gaussian
    one_step = False

    def __init__(self, order: int = 2, eta: float = 0.0) -> None:
        if order not in (1, 2, 3):
            raise ValueError(f"Multistep has orders 1, 2 and 3, got {order}")
        if not 0 <= eta <= 1:
            raise ValueError(f"eta must lie in [0, 1], got {eta}")
        self.order, self.eta = order, eta
        self.stochastic = eta > 0

    def init(self, denoiser: Denoiser, x1: State, times: Tensor) -> Any:
        """All coefficients, as numbers, and the memory of posteriors, still empty."""
        process = denoiser.process
        assert isinstance(process, Gaussian)
        times = times.double().cpu()
        if self.stochastic:
            process.refuse_coupled("noise on the way (eta > 0)")
        kernels = torch.stack(process.kernel(times[:-1], times[1:], self.eta), 1).tolist()
        alpha, sigma = process.schedule.alpha(times), process.schedule.sigma(times)
        places = (sigma / (alpha + sigma)).tolist()
        extrapolations = [_extrapolation(places[: i + 2], self.order) for i in range(len(times) - 1)]
        return list(zip(kernels, extrapolations, strict=True)), []

    def step(
        self, denoiser: Denoiser, x_t: Any, t: Tensor, s: Tensor, condition: Condition, state: Any, rng: Streams
    ) -> tuple[State, Any]:
        """The state is what is left of the coefficients, and the last posteriors, newest first."""
        coefficients, memory = state
        ((a, b, c), weights), *coefficients = coefficients
        memory = [denoiser(x_t, t, condition), *memory[: self.order - 1]]
        mean = _combine(memory, weights).mean
        x_s = torch.add(x_t * a, mean, alpha=b)
        if c > 0:
            x_s = x_s + c * rng.fold("reverse").brownian(x_t, t, s)
        return x_s, (coefficients, memory)


def _combine(memory: list[Posterior[Any]], weights: list[float]) -> Posterior[Any]:
    r"""The tilted posterior :math:`\sum_i c_i q_i`, as nested tilts of two."""
    if len(weights) == 1:
        return memory[0]
    rest = 1 - weights[0]
    if rest == 0:
        return memory[0]
    return memory[0].tilt(_combine(memory[1:], [c / rest for c in weights[1:]]), weights[0])


def _extrapolation(places: list[float], order: int) -> list[float]:
    r"""Weights :math:`c_i` of the last posteriors, newest first, for the step to the last of these places :math:`\tau`.

    They are the means over :math:`1 / \tau` (which is :math:`\rho + 1`) of Lagrange's polynomials, by the moments

    .. math:: E[1] = 1, \qquad E[\tau] = \frac{\log(\tau_t / \tau_s)}{1 / \tau_s - 1 / \tau_t}, \qquad
        E[\tau^2] = \tau_t \tau_s.
    """
    here, target = places[-2], places[-1]
    nodes = places[-2 : -2 - order : -1]
    first = math.log(here / target) / (1 / target - 1 / here) if target > 0 else 0.0
    moments = [1.0, first, here * target]
    return [sum(c * m for c, m in zip(_lagrange(nodes, i), moments, strict=False)) for i in range(len(nodes))]


def _lagrange(nodes: list[float], i: int) -> list[float]:
    """Coefficients, lowest power first, of the polynomial that is one at node i and zero at the others."""
    coefficients = [1.0]
    for j, node in enumerate(nodes):
        if j != i:
            scale = nodes[i] - node
            shifted, kept = [0.0, *coefficients], [*(-node * c for c in coefficients), 0.0]
            coefficients = [(p + q) / scale for p, q in zip(shifted, kept, strict=True)]
    return coefficients
