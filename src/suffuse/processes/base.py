"""What every process answers: how data is destroyed, and the one kernel that undoes a step of it."""

from abc import ABC, abstractmethod
from typing import ClassVar, Generic

import torch
from torch import Tensor

from suffuse.posteriors import Posterior
from suffuse.rng import RandomSource
from suffuse.tree import S, State

Time = Tensor | float
"""A time in [0, 1] whose shape is a prefix of the state's: ``()``, ``(B,)``, ``(B, L)``; mappings for a Product."""


def as_time(t: Time, like: Tensor) -> Tensor:
    """Numbers become float64 scalars, so that no digits are lost near the ends; tensors go to the state's device.

    A scalar tensor is also taken to float64: it does not raise the precision of what it is multiplied with.
    """
    if not isinstance(t, Tensor):
        return torch.tensor(t, dtype=torch.float64, device=like.device)
    return t.to(device=like.device, dtype=torch.float64)


class Process(ABC, Generic[S]):
    """A family of distributions q(x_t | x_0) from data at t = 0 to a prior at t = 1.

    A process knows no network, no sampler, no kind of data and no device. Randomness comes in as ``rng``: streams, a
    ``torch.Generator``, a seed or None.
    """

    markov: ClassVar[bool] = True
    """Whether :meth:`forward` exists."""

    @abstractmethod
    def prior(self, like: S, rng: RandomSource = None) -> S:
        """Draw from the law at t = 1, of the shape of ``like``."""

    @abstractmethod
    def corrupt(self, x0: S, t: Time, rng: RandomSource = None, source: S | None = None) -> S:
        """Draw from q(x_t | x_0), or from q(x_t | x_0, source) where data and prior are paired."""

    @abstractmethod
    def forward(self, x_s: S, s: Time, t: Time, rng: RandomSource = None, source: S | None = None) -> S:
        """Draw from q(x_t | x_s) for s < t: the way back up, for churn, restart and resampling."""

    @abstractmethod
    def reverse(
        self,
        x_t: S,
        posterior: Posterior[S],
        t: Time,
        s: Time,
        rng: RandomSource = None,
        eta: float = 1.0,
        source: S | None = None,
    ) -> S:
        r"""Draw from :math:`E_{x_0 \sim \text{posterior}} \, q(x_s | x_t, x_0)` for s < t: one step towards data.

        Args:
            x_t: state at time t.
            posterior: law of the clean data given x_t.
            t: time of the state.
            s: time to go to, below t.
            rng: source of randomness.
            eta: share of the kernel's noise, in [0, 1].
            source: state at t = 1, for processes that need it.
        """

    def restrict(self, posterior: Posterior[S], x_t: S, t: Time) -> Posterior[S]:
        """Take away what cannot be: p(x_0 | x_t) vanishes where q(x_t | x_0) = 0. Most processes forbid nothing."""
        del x_t, t
        return posterior

    @abstractmethod
    def level(self, t: Time) -> State:
        """What a network is told instead of t, so that schedules can be exchanged: finite, of t's shape."""

    @abstractmethod
    def elbo(self, x0: S, x_t: S, posterior: Posterior[S], t: Time) -> S:
        r"""Integrand over t of the bound on :math:`-\log p(x_0)`, in nats per element.

        Its mean over uniform t and over :math:`x_t \sim q(x_t | x_0)` is the continuous-time variational bound,
        without the terms of the two ends.
        """

    def decoder(self, posterior: Posterior[S], t: Time) -> Posterior[S]:
        """The law p(x_0 | x_t) that a likelihood bound ends with, at a small t: one with a density.

        It is the posterior itself, unless that has a mean only.
        """
        del t
        return posterior

    @abstractmethod
    def baseline_posterior(self, x_t: S, t: Time, scale: float, source: S | None = None) -> Posterior[S]:
        """The exact p(x_0 | x_t) of the simplest data: independent elements, all tokens alike or N(0, scale^2)."""

    @abstractmethod
    def baseline_bound(self, x0: S, scale: float) -> S:
        r"""The whole bound on :math:`\log p(x_0)` for that data and this prior: known, and its estimate needs no noise.

        The difference that a denoiser makes to it is small where its estimate would be noisy, in the last of the noise.
        """
