r"""The likelihood of a Gaussian process, by its probability-flow ODE."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from suffuse.denoiser import Denoiser
from suffuse.errors import UserError
from suffuse.likelihood.estimate import Estimate, total
from suffuse.posteriors import Normal
from suffuse.processes import Gaussian
from suffuse.rng import RandomSource, streams
from suffuse.tree import Condition, at_least_float32

EXACT_UP_TO = 32
"""Dimensions up to which the trace of the ODE is exact by default."""
PROBES = 8
"""Random probes of the trace by default in more dimensions."""


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
    process = denoiser.process
    if not isinstance(process, Gaussian):
        raise UserError(
            f"log_likelihood follows the probability-flow ODE of Gaussian processes, and this model's is "
            f"{type(process).__name__}; use elbo, which fits them all"
        )
    dimensions = x0[0].numel()
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
    log_prob = total(_prior(process, x1).log_prob(x1)) if terminal is None else terminal(x1).double()
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
        return total(gradient * e)


def _walk(flow: _Flow, y: Tensor, roots: Sequence[float]) -> tuple[Tensor, Tensor]:
    """The state at the last root, and the integral of the products (B, P), by Runge and Kutta's method."""
    traces: Tensor | float = 0.0
    for w, end in pairwise(roots):
        h = end - w
        k1, g1 = flow(w, y)
        k2, g2 = flow(w + h / 2, y + h / 2 * k1)
        k3, g3 = flow(w + h / 2, y + h / 2 * k2)
        k4, g4 = flow(end, y + h * k3)
        y = y + h / 6 * (k1 + 2 * k2 + 2 * k3 + k4)
        traces = traces + h / 6 * (g1 + 2 * g2 + 2 * g3 + g4)
    assert isinstance(traces, Tensor)
    return y, traces
