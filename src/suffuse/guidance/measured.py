r"""What a measurement :math:`y = A(x_0) + N(0, \text{noise}^2)` changes about the clean data, by several methods.

All are one formula around the posterior mean :math:`m = E[x_0 | x_t]`,

.. math:: E[x_0 | x_t, y] \approx m + K A^\top S^{-1} (y - A m),

which with the covariance :math:`K = \mathrm{Cov}[x_0 | x_t]` and :math:`S = A K A^\top + \text{noise}^2` is the
conditional mean of a Gaussian. The methods differ in what they take for K and S. That covariance is known without
training: :math:`\mathrm{Cov}[x_0 | x_t] = \tfrac{\sigma_t^2}{\alpha_t} \, \partial m / \partial x_t`. For operators
that are not linear A is the Jacobian at m, and A m the measurement of m.
"""

from abc import ABC, abstractmethod
from typing import Any, ClassVar

import torch
from torch import Tensor

from suffuse.denoiser import Denoiser
from suffuse.errors import UserError
from suffuse.operators import Linear, Operator, conjugate_directions, conjugate_gradients
from suffuse.parameterizations import Spread
from suffuse.processes import Gaussian, Time
from suffuse.processes.base import as_time
from suffuse.rng import Streams
from suffuse.tree import Condition, expand

_LEAST_RATIO = 0.05
r"""Below this :math:`\alpha_t s_{\text{data}} / \sigma_t` the Jacobian holds more error of a network than covariance,
and at :math:`\alpha_t = 0` nothing else; mean and covariance are then those of the time where it is reached."""
_STEPS, _ENOUGH = 100, 1e-2
"""Of conjugate gradients where elements depend on each other: at most so many, and the error that is small enough."""


class Measured:
    """A measurement, linear around a clean state.

    Args:
        operator: A; where it is not linear, its Jacobian at the state is meant.
        y: (B, ...) or (1, ...) measurement.
        noise: deviation of the measurement's noise.
        x: (B, ...) clean state.

    Attributes:
        y: (B, ...) one measurement for each state.
        residual: y - A(x).

    Raises:
        UserError: y does not have the shape of a measurement of such a state.
    """

    def __init__(self, operator: Operator, y: Tensor, noise: float, x: Tensor) -> None:
        self.operator, self.noise, self.x = operator, noise, x
        measured = operator(x)
        if y.shape[1:] != measured.shape[1:] or len(y) not in (1, len(measured)):
            raise UserError(f"the measurement has shape {tuple(y.shape)}, and that of these states has shape "
                            f"{tuple(measured.shape)}; give as many, or one for all")  # fmt: skip
        self.y = y.to(measured).expand_as(measured)
        self.residual = self.y - measured

    def push(self, v: Tensor) -> Tensor:
        """A v."""
        if isinstance(self.operator, Linear):
            return self.operator(v)
        image = torch.autograd.functional.jvp(self.operator.forward, self.x, v)[1]
        assert isinstance(image, Tensor)
        return image

    def pull(self, u: Tensor) -> Tensor:
        """A' u."""
        return self.operator.adjoint(u, at=self.x)

    def solve(self, u: Tensor, spread: Spread) -> Tensor:
        r""":math:`(A C A^\top + \text{noise}^2)^{-1} u`, for the covariance C of a clean state around x.

        In closed form where operator and covariance know one, and else by conjugate gradients. Where elements depend on
        each other these are stopped early, and for a linear operator preconditioned by independent ones.
        """
        operator, noise = self.operator, self.noise**2

        def system(v: Tensor) -> Tensor:
            return self.push(spread.times(self.pull(v))) + noise * v

        def roughly(v: Tensor) -> Tensor:
            return operator.solve(v, spread.width, noise) if isinstance(operator, Linear) else v

        if spread.root is None:
            return roughly(u) if isinstance(operator, Linear) else conjugate_gradients(system, u)
        steps = conjugate_directions(system, u, _STEPS, _ENOUGH, roughly)
        return sum((expand(step, u) * direction for step, direction in steps), torch.zeros_like(u))

    def nearest(self, spread: Spread) -> Tensor:
        r"""The mean given y of a clean state around x of covariance C,
        :math:`x + C A^\top (A C A^\top + \text{noise}^2)^{-1} (y - A x)`.
        """
        return self.x + spread.times(self.pull(self.solve(self.residual, spread)))

    def deviation(self, spread: Spread, noise: Tensor, rng: Streams) -> Tensor:
        """A draw of a clean state of covariance C given y, less its mean: one of the state and one of the measurement's
        noise, solved as by :meth:`nearest`.

        For a linear operator it is solved as if elements were independent, in closed form: conjugate gradients in every
        step of a walk took longer than the network.

        Args:
            spread: C.
            noise: (B, ...) white, of which the state is drawn.
            rng: of the measurement's noise.
        """
        moved = spread.draw(noise)
        residual = self.noise * rng.fold("measurement").normal(self.y) - self.push(moved)
        known = spread.alone if isinstance(self.operator, Linear) else spread
        return moved + known.times(self.pull(self.solve(residual, known)))


class Local:
    """A denoiser around the state of a walk, and what was measured around what it says there.

    Args:
        denoiser: of a Gaussian process.
        operator: A.
        y: (B, ...) or (1, ...) measurement.
        noise: deviation of the measurement's noise.
        x_t: (B, ...) state.
        t: its time.
        condition: of the denoiser.
        through: whether gradients are taken through the denoiser, so that :meth:`covariance` is known.

    Attributes:
        mean: (B, ...) E[x_0 | x_t].
        measured: the measurement around the mean.
        spread: what the state leaves open, as far as the denoiser's form knows.
        scale: s_data.
    """

    def __init__(
        self,
        denoiser: Denoiser,
        operator: Operator,
        y: Tensor,
        noise: float,
        x_t: Tensor,
        t: Time,
        condition: Condition,
        through: bool,
    ) -> None:
        process = denoiser.process
        assert isinstance(process, Gaussian)
        self.scale = denoiser.sigma_data
        if through:
            self._differentiate(denoiser, process, x_t, as_time(t, x_t), condition)
        else:
            self.mean, self.spread = denoiser(x_t, t, condition).mean, denoiser.spread(x_t, t)
        self.measured = Measured(operator, y, noise, self.mean)

    def _differentiate(
        self, denoiser: Denoiser, process: Gaussian, x_t: Tensor, t: Tensor, condition: Condition
    ) -> None:
        """The one evaluation. At times before the Jacobian can be read, that of the time where it can."""
        least = 2 * torch.tensor(_LEAST_RATIO / self.scale, dtype=torch.float64, device=t.device).log()
        s = torch.minimum(t, process.schedule.inverse(least))
        sigma_t = process.coordinates(t, x_t)[1]
        alpha_s, sigma_s = process.coordinates(s, x_t)
        self._tweedie = sigma_s**2 / alpha_s
        with torch.enable_grad():
            # So early the state is all but noise, which the walk scales down.
            self._x = torch.where(sigma_t > sigma_s, x_t * sigma_s / sigma_t, x_t).detach().requires_grad_()
            self._answer = denoiser(self._x, s, condition).mean
        self.mean, self.spread = self._answer.detach(), denoiser.spread(self._x.detach(), s)

    def covariance(self, v: Tensor) -> Tensor:
        """Cov[x_0 | x_t] times v, by one pass back through the denoiser."""
        (pulled,) = torch.autograd.grad(self._answer, self._x, v, retain_graph=True)
        return self._tweedie * pulled


class Method(ABC):
    """How the mean changes. It costs :attr:`passes` through the denoiser, forth or back."""

    exact: ClassVar[bool] = False
    """Whether it is the posterior mean for Gaussian data and a linear operator."""
    through: ClassVar[bool] = True
    """Whether it takes gradients through the denoiser."""
    passes: int = 2
    """Passes through the denoiser for an answer, forth and back, at most."""

    @abstractmethod
    def __call__(self, at: Local) -> Tensor:
        """The mean of x_0 given x_t and y, (B, ...)."""


class Moments(Method):
    r"""Moment matching: K is the covariance that the denoiser implies, and S its own, by conjugate gradients.

    They are preconditioned by the S of :class:`PiGDM`. With as many iterations as there are numbers measured it is
    exact for Gaussian data and a linear operator; the default few leave little to gain.

    Source: "Learning Diffusion Priors from Observations by Expectation Maximization" (Rozet, Andry, Lanusse, Louppe,
    2024), there named MMPS.

    Args:
        iterations: of conjugate gradients, each a pass back through the denoiser; an item stops where it is done.
    """

    exact = True

    def __init__(self, iterations: int = 2) -> None:
        if iterations < 1:
            raise ValueError(f"moment matching takes at least one iteration, got {iterations}")
        self.iterations, self.passes = iterations, iterations + 1

    def __call__(self, at: Local) -> Tensor:
        """See the class."""
        y, mean, moved = at.measured, at.mean, at.mean

        def spread(u: Tensor) -> Tensor:
            nonlocal moved
            moved = at.covariance(y.pull(u))
            return y.push(moved) + y.noise**2 * u

        def roughly(u: Tensor) -> Tensor:
            return y.solve(u, at.spread.alone)

        for step, _ in conjugate_directions(spread, y.residual, self.iterations, precondition=roughly):
            mean = mean + expand(step, mean) * moved
        return mean


class DiagonalMoments(Method):
    r"""Moment matching in which S is diagonal: its rows' sums, :math:`A K A^\top 1 + \text{noise}^2`.

    Exact where no two numbers measured depend on each other given x_t.

    Source: "Tweedie Moment Projected Diffusions for Inverse Problems" (Boys, Girolami, Pidstrigach, Reich, Mosca,
    Akyildiz, 2023).
    """

    passes = 3

    def __call__(self, at: Local) -> Tensor:
        """See the class."""
        y = at.measured
        rows = y.push(at.covariance(y.pull(torch.ones_like(y.residual))))
        spread = rows.clamp(min=0.0) + y.noise**2
        solved = torch.where(spread > 0, y.residual / spread, 0.0)
        return at.mean + at.covariance(y.pull(solved))


class PiGDM(Method):
    r"""Pseudo-inverse guidance: K is the covariance, but S has that of independent elements.

    .. math:: S = r_t^2 A A^\top + \text{noise}^2,

    with the width :math:`r_t^2` of the :class:`~suffuse.parameterizations.Spread` of the denoiser's form. Where
    elements are strongly alike and the noise is small, K is larger than that S allows for, and a walk can grow without
    bound: ``moments`` holds there.

    Source: "Pseudoinverse-Guided Diffusion Models for Inverse Problems" (Song, Vahdat, Mardani, Kautz, 2023).
    """

    def __call__(self, at: Local) -> Tensor:
        """See the class."""
        y = at.measured
        return at.mean + at.covariance(y.pull(y.solve(y.residual, at.spread.alone)))


class DPS(Method):
    r"""Diffusion posterior sampling: K is the covariance, and S a number, the residual's own size.

    .. math:: S = \tfrac{s_{\text{data}}}{w} \| y - A m \|.

    It is the gradient of the norm of the residual, as in the source, in units of the data.

    Source: "Diffusion Posterior Sampling for General Noisy Inverse Problems" (Chung, Kim, Mccann, Klasky, Ye, 2023).

    Args:
        weight: w, positive.
    """

    def __init__(self, weight: float = 1.0) -> None:
        self.weight = weight

    def __call__(self, at: Local) -> Tensor:
        """See the class."""
        y = at.measured
        size = y.residual.flatten(1).norm(dim=1).clamp(min=torch.finfo(y.residual.dtype).tiny)
        return at.mean + at.covariance(y.pull(y.residual * expand(self.weight / (at.scale * size), y.residual)))


class DDNM(Method):
    r"""The null space of the mean with the range of the measurement: K is isotropic, so that no gradient is taken.

    .. math:: m + r_t^2 A^\top (r_t^2 A A^\top + \text{noise}^2)^{+} (y - A m),

    with the width :math:`r_t^2` of :class:`PiGDM`. Without noise this is :math:`A^{+} y + (I - A^{+} A) m`, which
    measures as y exactly. In the source the noise lessens the correction by what a step adds (DDNM+); a denoiser knows
    no steps, and here it is lessened by the width.

    Source: "Zero-Shot Image Restoration Using Denoising Diffusion Null-Space Model" (Wang, Yu, Zhang, 2022).
    """

    through = False
    passes = 1

    def __call__(self, at: Local) -> Tensor:
        """See the class."""
        return at.measured.nearest(at.spread.alone)


class Prior(Method):
    r"""What the denoiser's form knows without its network: K is its :class:`~suffuse.parameterizations.Spread` C.

    .. math:: m + C A^\top (A C A^\top + \text{noise}^2)^{-1} (y - A m).

    With the form ``Wiener`` it is exact for stationary Gaussian data, and its answer at t = 1 is nearly the best that
    is linear in the measurement: as a guess in a single step it is better than ``moments``, which needs derivatives as
    good as the network's values. As a walk it is worse, and many conjugate gradients make it slow. With other forms it
    is ``ddnm``.

    Source: "Extrapolation, Interpolation, and Smoothing of Stationary Time Series" (Wiener, 1949).
    """

    through = False
    passes = 1

    def __call__(self, at: Local) -> Tensor:
        """See the class."""
        return at.measured.nearest(at.spread)


METHODS: dict[str, Method] = {
    "moments": Moments(),
    "moments-diagonal": DiagonalMoments(),
    "pigdm": PiGDM(),
    "dps": DPS(),
    "ddnm": DDNM(),
    "prior": Prior(),
}
"""Every method by its name; the law tests and benchmarks/posteriors.py run over it."""


def default_method(operator: Any) -> Method:
    """What ``default`` stands for."""
    del operator
    return METHODS["moments"]
