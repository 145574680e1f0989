r"""The probability-flow ODE, written so that all that is left to do is to integrate a polynomial.

An exponential integrator is a choice of two things. A :class:`Form` writes the ODE as :math:`d(x / S) = q \, dm`:
a scale S, a measure m, and a quantity q that is linear in the state and the posterior mean. A :class:`Place` is the
variable u in which q is taken for a polynomial. With q known at :math:`u_0 = u(t), u_1, \dots`, a step is

.. math:: x_s = \frac{S_s}{S_t} x_t + b \Big(q_0 + \sum_{i > 0} l_i (q_i - q_0)\Big), \qquad b = S_s (m_s - m_t), \quad
    l_i = \frac{1}{m_s - m_t} \int_{m_t}^{m_s} L_i(u(m)) \, dm,

with Lagrange's polynomials :math:`L_i`. The first two terms are the step of DDIM for every form; all coefficients
are float64 numbers that are known before the walk begins.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from suffuse.schedules import Schedule

_NODES, _WEIGHTS = (torch.from_numpy(each) for each in np.polynomial.legendre.leggauss(24))


class Scales(NamedTuple):
    """Times of any shape, in float64, with the two scales there."""

    t: Tensor
    alpha: Tensor
    sigma: Tensor

    def pick(self, items: slice | Tensor) -> "Scales":
        """Those of some of the times."""
        return Scales(*(each[items] for each in self))


def scales(schedule: Schedule, t: Tensor) -> Scales:
    """The scales of a schedule at these times."""
    t = t.double().cpu()
    return Scales(t, schedule.alpha(t), schedule.sigma(t))


class Form(ABC):
    r"""One way to write the ODE. Methods take :math:`\alpha` and :math:`\sigma` of one shape and give that shape."""

    @abstractmethod
    def kept(self, start: Scales, end: Scales) -> tuple[Tensor, Tensor]:
        """Factor of the state and of the quantity over a step: :math:`S_s / S_t` and b."""

    @abstractmethod
    def measure(self, ratio: Tensor) -> Tensor:
        r"""M as a function of :math:`\sigma / \alpha`."""

    @abstractmethod
    def ratio(self, measure: Tensor) -> Tensor:
        """Inverse of :meth:`measure`."""

    @abstractmethod
    def quantity(self, at: Scales) -> tuple[Tensor, Tensor]:
        r"""Factors (p, r) of :math:`q = p \, x_t + r \, E[x_0 | x_t]`."""


class Data(Form):
    r"""The posterior mean, :math:`q = E[x_0 | x_t]`: exact where the mean does not move.

    .. math:: S = \sigma \rho^{-\eta^2}, \quad m = \rho^{1 + \eta^2}, \quad \rho = \alpha / \sigma,

    which for :math:`\eta > 0` is the mean of the reverse SDE with :math:`\eta` times its noise.
    """

    def __init__(self, eta: float = 0.0) -> None:
        self.rate = eta**2

    def kept(self, start: Scales, end: Scales) -> tuple[Tensor, Tensor]:
        """See the class."""
        # rho_t / rho_s lies in [0, 1]; at the end of a walk to sigma = 0 nothing is kept.
        a = end.sigma / start.sigma * (start.alpha * end.sigma / (end.alpha * start.sigma)) ** self.rate
        return a, end.alpha - a * start.alpha

    def noise(self, start: Scales, end: Scales) -> Tensor:
        r"""Deviation of the noise that a step adds, :math:`\sigma_s \sqrt{1 - (\rho_t / \rho_s)^{2 \eta^2}}`."""
        return end.sigma * (1 - (start.alpha * end.sigma / (end.alpha * start.sigma)) ** (2 * self.rate)).sqrt()

    def measure(self, ratio: Tensor) -> Tensor:
        """See the class."""
        return ratio ** -(1 + self.rate)

    def ratio(self, measure: Tensor) -> Tensor:
        """See the base class."""
        return measure ** (-1 / (1 + self.rate))

    def quantity(self, at: Scales) -> tuple[Tensor, Tensor]:
        """See the class."""
        return torch.zeros_like(at.t), torch.ones_like(at.t)


class Noise(Form):
    r"""The expected noise, :math:`q = E[\varepsilon | x_t] = (x_t - \alpha_t E[x_0 | x_t]) / \sigma_t`.

    .. math:: S = \alpha, \quad m = \sigma / \alpha.
    """

    def kept(self, start: Scales, end: Scales) -> tuple[Tensor, Tensor]:
        """See the class."""
        a = end.alpha / start.alpha
        return a, end.sigma - a * start.sigma

    def measure(self, ratio: Tensor) -> Tensor:
        """See the class."""
        return ratio

    def ratio(self, measure: Tensor) -> Tensor:
        """See the base class."""
        return measure

    def quantity(self, at: Scales) -> tuple[Tensor, Tensor]:
        """See the class."""
        return 1 / at.sigma, -at.alpha / at.sigma


class Velocity(Form):
    r"""The velocity of the straightened flow, :math:`q = E[\varepsilon - x_0 / c \, | x_t]`.

    .. math:: S = c \alpha + \sigma, \quad m = \tau = \frac{\sigma}{c \alpha + \sigma},

    finite at both ends. For data of deviation c both ends of the flow :math:`x / S` have the same size, so that
    its path bends least; data that is Gaussian of that deviation has the velocity of a circle's arc.

    Args:
        scale: c, the deviation of the data.
    """

    def __init__(self, scale: float = 1.0) -> None:
        self.scale = scale

    def kept(self, start: Scales, end: Scales) -> tuple[Tensor, Tensor]:
        """See the class."""
        a = (self.scale * end.alpha + end.sigma) / (self.scale * start.alpha + start.sigma)
        return a, end.sigma - a * start.sigma

    def measure(self, ratio: Tensor) -> Tensor:
        """See the class."""
        return Straight(self.scale).of(ratio)

    def ratio(self, measure: Tensor) -> Tensor:
        """See the base class."""
        return self.scale * measure / (1 - measure)

    def quantity(self, at: Scales) -> tuple[Tensor, Tensor]:
        """See the class."""
        return 1 / at.sigma, -at.alpha / at.sigma - 1 / self.scale


class Place(ABC):
    """A variable in which a quantity is smooth."""

    @abstractmethod
    def of(self, ratio: Tensor) -> Tensor:
        r"""The variable at :math:`\sigma / \alpha`; where it is infinite, steps are of the first order."""


class LogRatio(Place):
    r""":math:`u = \log(\alpha / \sigma)`, half the log-SNR."""

    def of(self, ratio: Tensor) -> Tensor:
        """See the class."""
        return -ratio.log()


class Straight(Place):
    r""":math:`u = \tau = \sigma / (c \alpha + \sigma)`, in [0, 1].

    Args:
        scale: c, the deviation of the data.
    """

    def __init__(self, scale: float = 1.0) -> None:
        self.scale = scale

    def of(self, ratio: Tensor) -> Tensor:
        """See the class."""
        return 1 / (1 + self.scale / ratio)


class Step(NamedTuple):
    r"""One step :math:`x_s = a \, x_t + b \, E[x_0 | x_t] + \sum_i c_i q_i`, with q at the other nodes."""

    state: float
    mean: float
    others: tuple[float, ...]

    def take(self, x_t: Tensor, mean: Tensor, others: Sequence[Tensor]) -> Tensor:
        """The state at s; of the others, the last may be missing where their factors are zero."""
        x_s = torch.add(x_t * self.state, mean, alpha=self.mean)
        for factor, quantity in zip(self.others, others, strict=False):
            if factor != 0:
                x_s.add_(quantity, alpha=factor)
        return x_s


class Steps(NamedTuple):
    """The factors of N steps, as tensors: (N,), (N,) and (N, others)."""

    state: Tensor
    mean: Tensor
    others: Tensor

    def rows(self) -> list[Step]:
        """Each of them, as numbers."""
        rows = zip(self.state.tolist(), self.mean.tolist(), self.others.tolist(), strict=True)
        return [Step(state, mean, tuple(others)) for state, mean, others in rows]


def coefficients(form: Form, start: Scales, end: Scales, weights: Tensor) -> Steps:
    """N steps with these weights (N, nodes - 1) of the quantities at the other nodes."""
    keep, add = (form if isinstance(form, Data) else Data()).kept(start, end)
    others = _gain(form, start, end) * weights
    p, r = form.quantity(start)
    total = others.sum(1)
    return Steps(keep - total * p, add - total * r, others)


def fused(form: Form, start: Scales, end: Scales, predict: Tensor, correct: Tensor) -> Steps:
    r"""N steps in a row, each of which begins with the correction of the step before it.

    The state is corrected by what the new weights change, :math:`b \sum_i (l_i' - l_i) (q_i - q_0)`, which is as
    linear in the quantities as the prediction that follows: both are one step.

    Args:
        form: of the ODE.
        start: of the steps, (N,) each.
        end: of the steps, likewise.
        predict: weights (N, nodes - 1) of the nodes before the start.
        correct: weights (N, nodes) of the end and of the nodes before the start.
    """
    change = correct - torch.nn.functional.pad(predict, (1, 0))
    change = torch.cat([change[:, :1], -change.sum(1, keepdim=True), change[:, 1:]], 1)
    steps = coefficients(form, start, end, predict)
    # What was the end of a step is the start of the next one; the first one corrects nothing.
    change = steps.state[:, None] * (_gain(form, start, end) * change).roll(1, 0)
    change[0] = 0
    p, r = form.quantity(start)
    others = torch.nn.functional.pad(steps.others, (0, 1)) + change[:, 1:]
    return Steps(steps.state + change[:, 0] * p, steps.mean + change[:, 0] * r, others)


def _gain(form: Form, start: Scales, end: Scales) -> Tensor:
    """Factor (N, 1) of the quantity; where the form is singular nothing is known but the start, and it is zero."""
    return form.kept(start, end)[1].nan_to_num(0.0, 0.0, 0.0)[:, None]


def earlier(at: Scales, steps: int) -> Scales:
    """The scales so many steps before each, and nan where there was no such step."""
    rows = len(at.t)
    return Scales(*(torch.cat([each.new_full((steps,), torch.nan), each])[:rows] for each in at))


def integrals(form: Form, place: Place, start: Scales, end: Scales, nodes: Sequence[Scales]) -> Tensor:
    r"""Weights :math:`l_i` of the quantity at all nodes but the first, (N, nodes - 1), for N steps at once.

    A node that is not there has a time of nan. It, and what comes after it, has weight zero, as have all nodes of a
    step one of whose ends lies at an infinite place.

    Args:
        form: of the ODE.
        place: variable of the polynomial.
        start: of the steps, (N,) each.
        end: of the steps, likewise.
        nodes: where the quantity is known, (N,) each, the first one's weight being what is left.
    """
    places = torch.stack([place.of(node.sigma / node.alpha) for node in nodes], 1)
    usable = places.isfinite().cumprod(1).bool()
    usable &= (place.of(end.sigma / end.alpha).isfinite() & usable[:, 0])[:, None]
    places = places.nan_to_num(0.0, 0.0, 0.0)
    points, weights = _quadrature(*(form.measure(at.sigma / at.alpha) for at in (start, end)))
    along = place.of(form.ratio(points))
    return (weights[:, None] @ _lagrange(along, places, usable))[:, 0, 1:].where(usable[:, 1:], 0.0)


def _quadrature(start: Tensor, end: Tensor) -> tuple[Tensor, Tensor]:
    """Points (N, Q) between two measures, and their weights, which sum to one.

    Geometric, since a step may span decades; even, where it ends at zero; and one point where it ends at infinity,
    which has all the weight there.
    """
    share = (_NODES + 1) / 2
    even = torch.lerp(start[:, None], end[:, None], share)
    log_step = (end / start).log()[:, None]
    geometric = start[:, None] * torch.exp(log_step * share)
    weight = _WEIGHTS / 2
    spread = log_step * geometric / (end - start)[:, None] * weight
    bounded = (log_step.isfinite() & start.isfinite()[:, None]).expand_as(geometric)
    points = torch.where(bounded, geometric, torch.where(end.isinf()[:, None], torch.inf, even))
    return points, torch.where(bounded, spread, weight)


def _lagrange(along: Tensor, places: Tensor, usable: Tensor) -> Tensor:
    """The polynomials (N, Q, nodes) that are one at a node and zero at the other usable ones, at (N, Q) points."""
    one = torch.eye(places.shape[1], dtype=torch.bool) | ~usable[:, None]
    apart = (places[:, :, None] - places[:, None]).masked_fill_(one, 1.0)
    ahead = (along[:, :, None] - places[:, None])[:, :, None]
    return ahead.div(apart[:, None]).masked_fill_(one[:, None], 1.0).prod(-1)
