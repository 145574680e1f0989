r"""How likely is an item? A bound for every process, the flow of Gaussian ones, and bits per dimension.

Every estimate comes with its standard error: :func:`estimate_elbo` and :func:`estimate_log_likelihood` give both,
:func:`elbo` and :func:`log_likelihood` the value alone.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from suffuse.denoiser import Denoiser
from suffuse.errors import UserError
from suffuse.posteriors import Normal, Posterior
from suffuse.processes import Gaussian, Time
from suffuse.rng import RandomSource, Streams, streams
from suffuse.tree import Condition, State, at_least_float32, map_leaves, sum_per_item

EARLIEST = 1e-3
"""The bound ends at this time, with the decoder p(x_0 | x_t)."""
EXACT_UP_TO = 32
"""Dimensions up to which the trace of the ODE is exact by default."""
PROBES = 8
"""Random probes of the trace by default in more dimensions."""


@dataclass(frozen=True)
class Estimate:
    """A number per item, and how sure it is.

    Args:
        value: (B,) nats, float64.
        standard_error: (B,) of the random numbers drawn; zero where none were.
    """

    value: Tensor
    standard_error: Tensor


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
        >>> elbo(denoiser, x0, rng=0) - law.log_prob(x0)
        tensor([0., 0.], dtype=torch.float64)
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
    gain = _Gain(denoiser, x0, condition, source)
    strata, first = evaluations // 2 - 1, math.sqrt(earliest)
    width = (1 - first) / strata
    pairs = [[gain.decoding(earliest, rng.fold(half)) for half in range(2)]]
    for place in range(strata):
        pair = (rng.fold(place, half) for half in range(2))
        pairs.append([width * gain.at_root(first + (place + _share(draw)) * width, draw) for draw in pair])
    known = _total(denoiser.process.baseline_bound(x0, denoiser.sigma_data))
    # Each term is the mean of its pair, whose variance is the squared half of their difference.
    value = known + sum((a + b) / 2 for a, b in pairs)
    return Estimate(value, torch.stack([(a - b) ** 2 / 4 for a, b in pairs]).sum(0).sqrt())


@dataclass(frozen=True)
class _Gain:
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
        return 2 * root * _total(map_leaves(torch.sub, theirs, ours))

    def decoding(self, t: float, rng: Streams) -> Tensor:
        """Of the decoders at t."""
        process, x0 = self.denoiser.process, self.x0
        x_t = process.corrupt(x0, t, rng, self.source)
        ours = process.decoder(self.denoiser(x_t, t, self.condition), t)
        return _total(ours.log_prob(x0)) - _total(self._baseline(x_t, t).log_prob(x0))

    def _baseline(self, x_t: State, t: Time) -> Posterior[Any]:
        return self.denoiser.process.baseline_posterior(x_t, t, self.denoiser.sigma_data, self.source)


def _share(rng: Streams) -> Tensor:
    """(B,) numbers in (0, 1)."""
    return rng.uniform(torch.empty(len(rng), device=rng.index.device))


def _total(values: State) -> Tensor:
    """Sum over each item, in float64."""
    return sum_per_item(map_leaves(Tensor.double, values))


def log_likelihood(
    denoiser: Denoiser,
    x0: Tensor,
    condition: Condition = None,
    rng: RandomSource = None,
    steps: int = 50,
    probes: int | None = None,
    terminal: Callable[[Tensor], Tensor] | None = None,
) -> Tensor:
    r"""The log-density :math:`\log p(x_0)` of a Gaussian process's probability-flow ODE, in nats per item, (B,).

    With :math:`y = x / (c \alpha + \sigma)`, c the deviation of the data, and :math:`\tau = \sigma / (c \alpha +
    \sigma)` the ODE does not mention the schedule, and is finite at both ends:

    .. math:: \frac{dy}{d\tau} = v = \frac{y - E[x_0 | x] / c}{\tau}, \qquad
        \log p(y_0) = \log p(y_1) + \int \mathrm{tr} \, \frac{\partial v}{\partial y} \, d\tau.

    It is walked from data to noise by the Runge-Kutta method of order 4, in even steps of :math:`\sqrt\tau`: twice the
    steps leave a sixteenth of the error. Where :math:`\sigma_0 > 0`, as for ``EDM``, this is the density at x_0 of data
    with that noise in it.

    The trace takes a backward pass for every dimension, or for each of some random probes :math:`\pm 1` that are kept
    through the walk.

    Sources: "Score-Based Generative Modeling through Stochastic Differential Equations" (Song, Sohl-Dickstein, Kingma,
    Kumar, Ermon, Poole, 2021); "FFJORD: Free-Form Continuous Dynamics for Scalable Reversible Generative Models"
    (Grathwohl, Chen, Bettencourt, Sutskever, Duvenaud, 2019), for the probes.

    Args:
        denoiser: of a Gaussian process; its answer must be differentiable.
        x0: clean state, (B, ...).
        condition: what the denoiser is told.
        rng: source of the probes; an item's depend on its own stream alone.
        steps: of four evaluations each.
        probes: how many, at least 2, or 0 for the exact trace; by default 0 up to 32 dimensions and 8 above.
        terminal: log-density of x_1, (B, ...) to (B,); by default the process's prior.

    Raises:
        UserError: the process is not Gaussian, or a number is out of range.

    Example:
        >>> import suffuse as sf
        >>> law = sf.exact.GaussianMixture(torch.tensor([[-1.0], [1.0]]), torch.tensor([0.3, 0.5]))
        >>> x0 = torch.tensor([[0.0], [1.0]])
        >>> error = log_likelihood(law.denoiser(sf.Gaussian(sf.schedules.Flow())), x0) - law.log_prob(x0)
        >>> bool(error.abs().max() < 1e-3)
        True
    """
    return estimate_log_likelihood(denoiser, x0, condition, rng, steps, probes, terminal).value


def estimate_log_likelihood(
    denoiser: Denoiser,
    x0: Tensor,
    condition: Condition = None,
    rng: RandomSource = None,
    steps: int = 50,
    probes: int | None = None,
    terminal: Callable[[Tensor], Tensor] | None = None,
) -> Estimate:
    """The log-density with its standard error; see :func:`log_likelihood`."""
    process, dimensions = denoiser.process, x0[0].numel()
    if not isinstance(process, Gaussian):
        raise UserError(
            f"log_likelihood follows the probability-flow ODE of Gaussian processes, and this model's is "
            f"{type(process).__name__}; use elbo, which fits them all"
        )
    probes = (0 if dimensions <= EXACT_UP_TO else PROBES) if probes is None else probes
    if steps < 1 or probes < 0 or probes == 1:
        raise UserError(f"the likelihood needs at least 1 step and 0 or at least 2 probes, not {steps} and {probes}")
    x0 = at_least_float32(x0)
    ends = torch.tensor([0.0, 1.0], dtype=torch.float64, device=x0.device)
    alpha, sigma = process.schedule.alpha(ends), process.schedule.sigma(ends)
    scale = denoiser.sigma_data * alpha + sigma
    first, last = (sigma / scale).sqrt().tolist()
    roots = [first + (last - first) * step / steps for step in range(steps)] + [last]
    directions = _probes(x0, probes, rng) if probes else _axes(x0)
    y, traces = _walk(_Flow(denoiser, condition, directions), x0 / scale[0].to(x0.dtype), roots)
    x1 = y.detach() * scale[1].to(x0.dtype)
    log_prob = _total(_prior(process, x1).log_prob(x1)) if terminal is None else terminal(x1).double()
    log_prob = log_prob + dimensions * (scale[1] / scale[0]).log()
    if not probes:
        return Estimate(log_prob + traces.sum(1), torch.zeros_like(log_prob))
    return Estimate(log_prob + traces.mean(1), traces.std(1) / math.sqrt(probes))


def _prior(process: Gaussian, x1: Tensor) -> Normal:
    return Normal(torch.zeros_like(x1), process.spread(x1) ** 2)


def _axes(x0: Tensor) -> Sequence[Tensor]:
    """The unit vectors, (1, ...) each: the products with them add up to the trace."""
    return torch.eye(x0[0].numel(), dtype=x0.dtype, device=x0.device).reshape(-1, 1, *x0.shape[1:]).unbind()


def _probes(x0: Tensor, count: int, rng: RandomSource) -> Sequence[Tensor]:
    """Random signs, (B, ...): the products with them have the trace as their mean (Hutchinson, 1989)."""
    rng = streams(rng, x0).fold("probe")
    return [torch.where(rng.fold(number).uniform(x0) < 0.5, -1.0, 1.0).to(x0.dtype) for number in range(count)]


@dataclass(frozen=True)
class _Flow:
    r"""The ODE in :math:`w = \sqrt\tau`, with the products :math:`e^T (\partial v / \partial y) \, e`."""

    denoiser: Denoiser
    condition: Condition
    directions: Sequence[Tensor]

    def __call__(self, root: float, y: Tensor) -> tuple[Tensor, Tensor]:
        """dy/dw, and the products (B, P) times d tau/dw."""
        if root == 0:  # v is finite there, so that nothing moves
            return torch.zeros_like(y), y.new_zeros(len(y), len(self.directions), dtype=torch.float64)
        process, c, tau = self.denoiser.process, self.denoiser.sigma_data, root**2
        assert isinstance(process, Gaussian)
        share = torch.tensor((1 - tau) / (c * tau), dtype=torch.float64, device=y.device)  # alpha / sigma
        t = process.schedule.inverse(2 * share.log())
        alpha, sigma = process.coordinates(t, y)
        with torch.enable_grad():
            y = y.detach().requires_grad_()
            velocity = (y - self.denoiser((c * alpha + sigma) * y, t, self.condition).mean / c) / tau
            products = torch.stack([self._product(velocity, y, e) for e in self.directions], 1)
        return 2 * root * velocity.detach(), 2 * root * products

    def _product(self, velocity: Tensor, y: Tensor, e: Tensor) -> Tensor:
        (gradient,) = torch.autograd.grad(velocity, y, e.expand_as(y), retain_graph=True)
        return _total(gradient * e)


def _walk(flow: _Flow, y: Tensor, roots: Sequence[float]) -> tuple[Tensor, Tensor]:
    """The state at the last root, and the integral of the products (B, P), by Runge and Kutta's method."""
    total: Tensor | float = 0.0
    for w, end in pairwise(roots):
        h = end - w
        k1, g1 = flow(w, y)
        k2, g2 = flow(w + h / 2, y + h / 2 * k1)
        k3, g3 = flow(w + h / 2, y + h / 2 * k2)
        k4, g4 = flow(end, y + h * k3)
        y = y + h / 6 * (k1 + 2 * k2 + 2 * k3 + k4)
        total = total + h / 6 * (g1 + 2 * g2 + 2 * g3 + g4)
    assert isinstance(total, Tensor)
    return y, total


def dequantise(x0: Tensor, quantum: float, rng: RandomSource = None) -> Tensor:
    r"""Values that stand a quantum apart, spread evenly over their cells: :math:`x_0 + q (u - \tfrac12)`.

    Source: "A Note on the Evaluation of Generative Models" (Theis, van den Oord, Bethge, 2016).
    """
    return x0 + (quantum * (streams(rng, x0).fold("dequantise").uniform(x0) - 0.5)).to(x0.dtype)


def bits_per_dimension(log_prob: Tensor, dimensions: int, quantum: float = 1.0) -> Tensor:
    r"""Bits for each element of an item, :math:`-(\log p / D + \log q) / \log 2`.

    Of the log-density of :func:`dequantise`\ d values the mean is at least the bits of the values themselves, since
    :math:`E \log p \le \log E \, p`.

    Args:
        log_prob: (B,) nats of each item.
        dimensions: D, elements of an item.
        quantum: q, distance between neighbouring values; 1 for tokens, which have probabilities.

    Example:
        >>> bits_per_dimension(torch.tensor([-math.log(256.0)]), 1)
        tensor([8.])
    """
    return -(log_prob / dimensions + math.log(quantum)) / math.log(2)
