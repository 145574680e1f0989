"""A walk that chooses its own steps, each sample for itself."""

import torch
from torch import Tensor

from suffuse.denoiser import Denoiser
from suffuse.errors import UserError
from suffuse.processes import Gaussian
from suffuse.rng import Streams
from suffuse.samplers.base import Callback, Sampler
from suffuse.samplers.integrals import Straight, Velocity, scales
from suffuse.tree import Condition, State, expand, of_items

_ERROR = (-5 / 72, 1 / 12, 1 / 9, -1 / 8)
"""Third order minus second, of Bogacki and Shampine's pair."""
_LAST = 1e-3
"""The walk ends where sigma/alpha is this share of the data's deviation: what is left is the posterior mean."""


class Adaptive(Sampler):
    r"""A pair of Runge-Kutta methods of orders 3 and 2 that keeps the error of each step below a tolerance.

    It moves :math:`y = x / (c \alpha + \sigma)` over :math:`\tau = \sigma / (c \alpha + \sigma)`, as :class:`Adams`
    does. The difference E of the two methods, in units of ``tolerance`` times the size of y and as a root mean square
    over an item, decides: a step with :math:`E > 1` is taken again, and the next one is longer by

    .. math:: 0.9 \, E_n^{-0.7 / 3} \, E_{n-1}^{0.4 / 3},

    between 0.2 and 5. Every item has its own clock, so that a sample does not depend on its batch; the number of
    evaluations depends on the data, and of the times given only the first and the last count. A callback is told the
    time of the slowest item, and the state of each at its own.

    Sources: "A 3(2) Pair of Runge-Kutta Formulas" (Bogacki, Shampine, 1989); the control as in "Solving Ordinary
    Differential Equations II" (Hairer, Wanner, 1996), chapter IV.2.

    Args:
        tolerance: error of a step relative to the size of the data, positive; at the end of a walk it is about twice
            that.
        limit: evaluations after which to give up.
    """

    process = Gaussian
    order = 3
    one_step = at_start = False

    def __init__(self, tolerance: float = 1e-2, limit: int = 1000) -> None:
        if not tolerance > 0:
            raise ValueError(f"a tolerance is positive, got {tolerance}")
        self.tolerance, self.limit = tolerance, limit

    def steps(self, denoiser: Denoiser, evaluations: int) -> int:
        """Refused: the number of evaluations is found on the way."""
        raise UserError("Adaptive finds its number of evaluations on the way; give it a tolerance, not a number")

    def walk(
        self,
        denoiser: Denoiser,
        x1: State,
        times: Tensor,
        condition: Condition,
        rng: Streams,
        callback: Callback | None,
    ) -> State:
        """From the first time to the last."""
        assert isinstance(x1, Tensor)
        problem = _Problem(denoiser, times)
        y, tau = x1 / problem.size(times[0], x1), problem.tau(times[:1]).expand(len(x1)).clone()
        step = tau.new_full(tau.shape, 0.1 * float(tau[0] - problem.last))
        before = torch.ones_like(tau)
        active = torch.arange(len(x1), device=x1.device)
        slope = problem.velocity(y, tau, condition)
        evaluations, number = 1, 0
        while len(active):
            if evaluations + 3 > self.limit:
                raise UserError(f"after {evaluations} evaluations a tolerance of {self.tolerance} is not met; raise it")
            told = of_items(condition, active)
            here, h = tau[active], torch.minimum(step[active], tau[active] - problem.last)
            k, y_t = [slope[active]], y[active]
            width = expand(h, y_t).to(y_t.dtype)
            for share in (1 / 2, 3 / 4):
                k.append(problem.velocity(y_t - share * width * k[-1], here - share * h, told))
            y_s = y_t - width * (2 * k[0] + 3 * k[1] + 4 * k[2]) / 9
            k.append(problem.velocity(y_s, here - h, told))
            evaluations += 3
            difference = width * sum(c * each for c, each in zip(_ERROR, k, strict=True))
            size = self.tolerance * torch.maximum(y_t.abs(), y_s.abs()).clamp(min=1.0)
            error = (difference / size).flatten(1).square().mean(1).sqrt().clamp(min=1e-10).to(tau)
            taken = error <= 1
            rows = active[taken]
            y[rows], slope[rows], tau[rows] = y_s[taken], k[3][taken], (here - h)[taken]
            factor = 0.9 * error ** (-0.7 / 3) * torch.where(taken, before[active], 1.0) ** (0.4 / 3)
            step[active] = h * torch.where(taken, factor, factor.clamp(max=0.9)).clamp(0.2, 5)
            before[rows] = error[taken]
            active = active[tau[active] > problem.last]
            if callback is not None and len(active):
                callback(number, problem.time(tau.max()), y * problem.size(problem.time(tau), y))
            number += 1
        end = problem.end(y, slope, times[-1])
        if callback is not None:
            callback(number - 1, times[-1], end)
        return end


class _Problem:
    """The straightened flow of a denoiser, in times of any shape."""

    def __init__(self, denoiser: Denoiser, times: Tensor) -> None:
        process = denoiser.process
        assert isinstance(process, Gaussian)
        self.denoiser, self.schedule = denoiser, process.schedule
        self.form, self.place = Velocity(denoiser.sigma_data), Straight(denoiser.sigma_data)
        self.device = times.device
        self.last = max(float(self.tau(times[-1:])), _LAST)

    def tau(self, t: Tensor) -> Tensor:
        """The place at times."""
        at = scales(self.schedule, t)
        return self.place.of(at.sigma / at.alpha).to(self.device)

    def time(self, tau: Tensor) -> Tensor:
        """The times at places."""
        return self.schedule.inverse(-2 * self.form.ratio(tau).log())

    def size(self, t: Tensor, like: Tensor) -> Tensor:
        """The scale of the flow."""
        alpha_t, sigma_t = self.denoiser.process.coordinates(t, like)  # type: ignore[attr-defined]
        return self.form.scale * alpha_t + sigma_t

    def velocity(self, y: Tensor, tau: Tensor, condition: Condition) -> Tensor:
        """dy/dtau, of items each at its own place."""
        t = self.time(tau)
        size = self.size(t, y)
        mean = self.denoiser(y * size, t, condition).mean
        return (y - mean / self.form.scale) / expand(tau, y).to(y.dtype)

    def end(self, y: Tensor, slope: Tensor, t: Tensor) -> Tensor:
        """From the last place along the last velocity, which is the step of DDIM."""
        return (y + (self.tau(t[None]) - self.last).to(y.dtype) * slope) * self.size(t, y)
