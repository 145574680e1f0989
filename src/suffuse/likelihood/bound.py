r"""A lower bound on the likelihood, for every process."""

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from suffuse.denoiser import Denoiser
from suffuse.errors import UserError
from suffuse.likelihood.estimate import Estimate, total
from suffuse.posteriors import Posterior
from suffuse.processes import Time
from suffuse.rng import RandomSource, Streams, streams
from suffuse.tree import Condition, State, at_least_float32, map_leaves

EARLIEST = 1e-3
"""The bound ends at this time, with the decoder p(x_0 | x_t)."""


def elbo(
    denoiser: Denoiser,
    x0: State,
    condition: Condition = None,
    rng: RandomSource = None,
    source: State | None = None,
    evaluations: int = 64,
    earliest: float = EARLIEST,
) -> Tensor:
    r"""A lower bound on :math:`\log p(x_0)` in nats per item, (B,), for every process.

    .. math:: E \log p(x_0 | x_\epsilon) - \int_\epsilon^1 E \, \text{process.elbo}(x_0, x_t) \, dt -
        KL(q(x_1 | x_0) \,\|\, \text{prior}).

    It is tight for the exact denoiser. Of a bridge it bounds :math:`\log p(x_0 | x_1)`. A denoiser that knows only the
    mean of p(x_0 | x_eps) is given the process's own variance there, see ``Process.decoder``.

    Estimated is the difference to the bound of the simplest data, which is known (``Process.baseline_bound``): at the
    same noisy states both have nearly the same noise. Times are stratified and even in :math:`\sqrt t`, two draws to
    a stratum, whose difference gives the standard error.

    Sources: "Variational Diffusion Models" (Kingma, Salimans, Poole, Ho, 2021); "A Continuous Time Framework for
    Discrete Denoising Models" (Campbell et al., 2022).

    Args:
        denoiser: of any process.
        x0: clean state, (B, ...) or a mapping of such.
        condition: what the denoiser is told.
        rng: source of randomness; an item's estimate depends on its own stream alone.
        source: a bridge's state at t = 1.
        evaluations: of the denoiser for each item, even, at least 4; the standard error falls with the root of it.
        earliest: :math:`\epsilon`, in (0, 1).

    Raises:
        UserError: a number is out of range, or noise and data were coupled in training.

    Example:
        >>> import suffuse as sf
        >>> law = sf.exact.GaussianMixture(torch.zeros(1, 2), torch.ones(1))
        >>> denoiser = law.denoiser(sf.Gaussian(sf.schedules.Flow()))
        >>> x0 = torch.tensor([[0.0, 0.0], [1.0, 2.0]])
        >>> bool((elbo(denoiser, x0, rng=0) - law.log_prob(x0)).abs().max() < 1e-2)
        True
    """
    return estimate_elbo(denoiser, x0, condition, rng, source, evaluations, earliest).value


@torch.no_grad()
def estimate_elbo(
    denoiser: Denoiser,
    x0: State,
    condition: Condition = None,
    rng: RandomSource = None,
    source: State | None = None,
    evaluations: int = 64,
    earliest: float = EARLIEST,
) -> Estimate:
    """The bound with its standard error; see :func:`elbo`."""
    if evaluations < 4 or evaluations % 2:
        raise UserError(f"the bound needs an even number of evaluations, at least 4, not {evaluations}")
    if not 0 < earliest < 1:
        raise UserError(f"the bound's earliest time must lie between 0 and 1, not at {earliest}")
    x0, rng = at_least_float32(x0), streams(rng, x0).fold("elbo")
    gain = Gain(denoiser, x0, condition, source)
    strata, first = evaluations // 2 - 1, math.sqrt(earliest)
    width = (1 - first) / strata
    pairs = [[gain.decoding(earliest, rng.fold(half)) for half in range(2)]]
    for place in range(strata):
        pair = (rng.fold(place, half) for half in range(2))
        pairs.append([width * gain.at_root(first + (place + share(draw)) * width, draw) for draw in pair])
    known = total(denoiser.process.baseline_bound(x0, denoiser.sigma_data))
    # Each term is the mean of its pair, whose variance is the squared half of their difference.
    value = known + sum((a + b) / 2 for a, b in pairs)
    return Estimate(value, torch.stack([(a - b) ** 2 / 4 for a, b in pairs]).sum(0).sqrt())


@dataclass(frozen=True)
class Gain:
    """By how much a denoiser's bound is above that of the baseline, term by term."""

    denoiser: Denoiser
    x0: State
    condition: Condition
    source: State | None

    def at_root(self, root: Tensor, rng: Streams) -> Tensor:
        r"""Integrand over :math:`\sqrt t`, at (B,) roots."""
        process, x0, t = self.denoiser.process, self.x0, root**2
        x_t = process.corrupt(x0, t, rng, self.source)
        ours = process.elbo(x0, x_t, self.denoiser(x_t, t, self.condition), t)
        theirs = process.elbo(x0, x_t, self._baseline(x_t, t), t)
        return 2 * root * total(map_leaves(torch.sub, theirs, ours))

    def decoding(self, t: float, rng: Streams) -> Tensor:
        """Of the decoders at t."""
        process, x0 = self.denoiser.process, self.x0
        x_t = process.corrupt(x0, t, rng, self.source)
        ours = process.decoder(self.denoiser(x_t, t, self.condition), t)
        return total(ours.log_prob(x0)) - total(self._baseline(x_t, t).log_prob(x0))

    def _baseline(self, x_t: State, t: Time) -> Posterior[Any]:
        return self.denoiser.process.baseline_posterior(x_t, t, self.denoiser.sigma_data, self.source)


def share(rng: Streams) -> Tensor:
    """(B,) numbers in (0, 1)."""
    return rng.uniform(torch.empty(len(rng), device=rng.index.device))
