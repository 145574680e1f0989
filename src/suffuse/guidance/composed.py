"""Several conditions at once: all of them, or any."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from suffuse.denoiser import Denoiser
from suffuse.guidance.guided import asked_together, replaced
from suffuse.parameterizations import Direct
from suffuse.posteriors import Normal, Posterior
from suffuse.processes import Gaussian, Time
from suffuse.tree import Condition, State, batch_size, without

Told = dict[str, Tensor]
"""A condition for all items, (1, ...) or (B, ...) by name."""


class AllOf(Denoiser):
    r"""What fits several conditions at once: their product, each with a weight.

    .. math:: q \propto q(x_0 | x_t) \prod_k \Big( \frac{q(x_0 | x_t, c_k)}{q(x_0 | x_t)} \Big)^{w_k},

    for means :math:`m + \sum_k w_k (m_k - m)`. It is the score of the product of the *noised* laws, which is that of
    p(x | c_1, c_2, ...) where the conditions are independent given every x_t, as those of parts of the data that are
    independent; elsewhere it is an approximation, best with many steps and a stochastic sampler.

    All are evaluated in one batch with the unconditional answer. What a walk is told besides holds for every one.

    Source: "Compositional Visual Generation with Composable Diffusion Models" (Liu, Li, Du, Torralba, Tenenbaum, 2022).

    Args:
        denoiser: one that was trained with dropped conditions.
        conditions: at least one.
        weights: positive numbers, one for each; 1 by default.
    """

    def __init__(self, denoiser: Denoiser, conditions: Sequence[Told], weights: Sequence[float] | None = None) -> None:
        weights = [1.0] * len(conditions) if weights is None else list(weights)
        if not conditions or len(weights) != len(conditions) or min(weights) <= 0:
            raise ValueError(f"{len(conditions)} conditions need as many positive weights, got {weights}")
        super().__init__(
            _All(denoiser, conditions, weights), denoiser.process, Direct.of(denoiser.parameterization), denoiser.shape
        )


class _All(nn.Module):
    """The rule of :class:`AllOf`."""

    def __init__(self, denoiser: Denoiser, conditions: Sequence[Told], weights: Sequence[float]) -> None:
        super().__init__()
        self.denoiser, self.conditions, self.weights = denoiser, conditions, weights

    def forward(self, x_t: State, t: Time, condition: Condition) -> Posterior[Any]:
        told = [also_told(condition, each, x_t) for each in self.conditions]
        nothing = without(told[0]) if condition is None else condition
        free, *answers = asked_together(self.denoiser, x_t, t, [nothing, *told])
        mean, total = answers[0], self.weights[0]  # of the answers so far, by their weights
        for answer, weight in zip(answers[1:], self.weights[1:], strict=True):
            total += weight
            mean = answer.tilt(mean, weight / total)
        return mean.tilt(free, total)


class AnyOf(Denoiser):
    r"""What fits one of several conditions: their mixture.

    .. math:: E[x_0 | x_t] = \sum_k r_k E[x_0 | x_t, c_k], \qquad r_k \propto w_k \, p_t(x_t | c_k).

    It is exact where the densities are; they come from a likelihood, or up to a common factor from a classifier of
    noisy states, :math:`p(c_k | x_t) / p(c_k)`. For Gaussian processes. (To draw from a mixture without densities,
    draw k first and then its sample.)

    Source: as for :class:`AllOf`, and "The Superposition of Diffusion Models Using the Ito Density Estimator" (Skreta
    et al., 2025).

    Args:
        denoiser: one with conditions.
        conditions: at least one.
        log_densities: (x_t, t) to (B, K) numbers, :math:`\log w_k p_t(x_t | c_k)` up to a number for each item.
    """

    def __init__(
        self, denoiser: Denoiser, conditions: Sequence[Told], log_densities: Callable[[Tensor, Time], Tensor]
    ) -> None:
        if not isinstance(denoiser.process, Gaussian):
            raise ValueError("a mixture of conditions is joined by its means: for Gaussian processes only")
        super().__init__(
            _Any(denoiser, conditions, log_densities),
            denoiser.process,
            Direct.of(denoiser.parameterization),
            denoiser.shape,
        )


class _Any(nn.Module):
    """The rule of :class:`AnyOf`."""

    def __init__(
        self, denoiser: Denoiser, conditions: Sequence[Told], log_densities: Callable[[Tensor, Time], Tensor]
    ) -> None:
        super().__init__()
        self.denoiser, self.conditions, self.log_densities = denoiser, conditions, log_densities

    def forward(self, x_t: Tensor, t: Time, condition: Condition) -> Normal:
        told = [also_told(condition, each, x_t) for each in self.conditions]
        means = torch.stack([answer.mean for answer in asked_together(self.denoiser, x_t, t, told)], 1)
        share = self.log_densities(x_t, t).softmax(1).to(means.dtype)
        return Normal((share.reshape(*share.shape, *(1,) * (means.ndim - 2)) * means).sum(1))


def also_told(condition: Condition, told: Told, x_t: State) -> Condition:
    """What the walk is told, and one condition more."""
    n = batch_size(x_t)
    if condition is None:
        return {name: value.expand(n, *value.shape[1:]) for name, value in told.items()}
    return replaced(condition, told)
