"""Restoration by a population: many draws that compete for the measurement."""

from itertools import pairwise

import torch
from torch import Tensor

from suffuse.denoiser import Denoiser
from suffuse.errors import UserError
from suffuse.guidance import Observed
from suffuse.guidance.measured import Measured
from suffuse.parameterizations import Spread
from suffuse.processes import Gaussian
from suffuse.restoration.base import Restorer, gaussian
from suffuse.rng import Streams
from suffuse.samplers.base import Callback
from suffuse.tree import Condition, State, sum_per_item


class ParticleFilter(Restorer):
    r"""Twisted diffusion sampling: ancestral steps with the method's mean, weighted by what they leave out.

    All items of the walk are one set of K particles of one measurement. A particle's weight grows by

    .. math:: \frac{p(x_s | x_t) \, \tilde p(y | x_s)}{\tilde q(x_s | x_t, y) \, \tilde p(y | x_t)}, \qquad
        \tilde p(y | x_t) = N(y; A m, r_t^2 A A^\top + \text{noise}^2),

    where the proposal q has the mean of the :class:`~suffuse.guidance.Observed`; where few particles hold most of the
    weight, they are drawn anew by it. As K grows the draws become those of the posterior under the denoiser's own
    ancestral walk, whatever the method. The draws of one set are coupled, some may be equal, and a draw depends on the
    size of the set: its random stream belongs to the set, which is drawn anew by the stream of its first item. One
    evaluation a step, and the method's passes.

    Source: "Practical and Asymptotically Exact Conditional Sampling in Diffusion Models" (Wu, Trippe, Naesseth, Blei,
    Cunningham, 2023).

    Args:
        least: share of effective particles below which they are drawn anew, in [0, 1].
    """

    def __init__(self, least: float = 0.5) -> None:
        if not 0 <= least <= 1:
            raise ValueError(f"the share of effective particles must lie in [0, 1], got {least}")
        self.least = least

    def prepare(self, observed: Observed, x1: Tensor) -> None:
        """Nothing.

        Raises:
            UserError: there are several measurements, or they are without noise.
        """
        if len(observed.y) > 1:
            raise UserError(f"the particles of a filter share one measurement, and there are {len(observed.y)}; "
                            "walk each by itself")  # fmt: skip
        if observed.noise == 0:
            raise UserError("a measurement without noise has no likelihood to weigh particles by; give a small noise")
        gaussian(observed).refuse_coupled("a particle filter")

    def walk(
        self,
        denoiser: Denoiser,
        x1: State,
        times: Tensor,
        condition: Condition,
        rng: Streams,
        callback: Callback | None,
    ) -> State:
        """Propose, weigh, draw anew."""
        self.init(denoiser, x1, times)
        assert isinstance(denoiser, Observed)
        assert isinstance(x1, Tensor)
        x, rng = x1, rng.fold("restoration")
        weight = torch.zeros(len(x), dtype=torch.float64, device=x.device)
        for number, (t, s) in enumerate(pairwise(times.unbind())):
            at = denoiser.around(x, t, condition, denoiser.method.through)
            told, twist = denoiser.method(at), likelihood(at.measured, at.spread)
            chosen, weight = self._chosen(weight + twist, rng.fold("choice").at(t))
            x, mean, told, twist = x[chosen], at.mean[chosen], told[chosen], twist[chosen]
            x, ratio = _proposed(gaussian(denoiser), x, mean, told, t, s, rng)
            weight = weight - twist + ratio
            if callback is not None:
                callback(number, s, x)
        final = likelihood(denoiser.measured(x), Spread(torch.zeros((), dtype=x.dtype, device=x.device)))
        return x[_drawn(weight + final, rng.fold("choice").at(times[-1]))]

    def _chosen(self, weight: Tensor, rng: Streams) -> tuple[Tensor, Tensor]:
        """Which particles go on, and their log-weights."""
        share = weight.softmax(0)
        if float(1 / (share**2).sum()) >= self.least * len(share):
            return torch.arange(len(share), device=share.device), weight
        return _drawn(weight, rng), torch.zeros_like(weight)


def likelihood(y: Measured, spread: Spread) -> Tensor:
    r""":math:`\log N(y; A x, A C A^\top + \text{noise}^2)` of each state, but for what all share."""
    return -sum_per_item(y.residual * y.solve(y.residual, spread)).double() / 2


def _drawn(weight: Tensor, rng: Streams) -> Tensor:
    """As many particles, each as often as its weight says, but for rounding up or down by one number for all."""
    total = weight.softmax(0).cumsum(0)
    places = (torch.arange(len(total), device=total.device) + rng[:1].uniform(total[:1])) / len(total)
    return torch.searchsorted(total, places * total[-1]).clamp(max=len(total) - 1)


def _proposed(
    process: Gaussian, x: Tensor, mean: Tensor, told: Tensor, t: Tensor, s: Tensor, rng: Streams
) -> tuple[Tensor, Tensor]:
    """States at s of the walk that was told the measurement, and the log-ratio of the other walk to it."""
    a, b, c = (number.to(x.dtype) for number in process.kernel(t, s, 1.0))
    if c == 0:  # a step without noise proposes what the walk would do alone
        return a * x + b * mean, torch.zeros(len(x), dtype=torch.float64, device=x.device)
    noise, moved = rng.fold("noise").at(t, s).normal(x), b / c * (told - mean)
    return a * x + b * told + c * noise, -sum_per_item(moved * noise + moved**2 / 2).double()
