r"""Solvers tuned to a model: the grid and the coefficients that come closest to its own fine walks.

A solver of N evaluations is the table of :class:`suffuse.samplers.Tuned`. In the coordinates of the straightened flow,
:math:`y = x / (c \alpha + \sigma)` and :math:`\tau = \sigma / (c \alpha + \sigma)`, it is

.. math:: y_{i + 1} = y_0 + \sum_{j \le i} W_{ij} \, v_j, \qquad v_j = (y_j - E[x_0 | x_{t_j}] / c) / \tau_j,

with N (N + 1) / 2 weights and N - 1 places. Both are found by the method of Levenberg and Marquardt, from the best
solver that needs no tuning, on the squared distance of the ends of walks from the same noise. The derivatives are
differences, so that nothing is asked of the network but to be evaluated.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from suffuse import grids
from suffuse.denoiser import Denoiser
from suffuse.errors import UserError
from suffuse.processes import Gaussian
from suffuse.rng import RandomSource, streams
from suffuse.samplers import Adams, Sampler, Tuned, default, sample
from suffuse.samplers.integrals import Straight, Velocity, scales
from suffuse.tree import Condition, map_leaves

_MOST_ELEMENTS = 256
"""Of an item that are compared: a random choice, so that the derivatives of large items fit into memory."""
_FINE = 64
"""Evaluations of the walks that are aimed at; their error is far below that of a tuned solver."""


@torch.no_grad()
def tune(
    denoiser: Denoiser,
    evaluations: int = 6,
    *,
    rng: RandomSource = 0,
    x1: Tensor | None = None,
    condition: Condition = None,
    items: int = 512,
    rounds: int = 30,
) -> tuple[Sampler, Tensor]:
    """Fit a solver of so many evaluations to a denoiser's own walks.

    A third of the walks is held out: if the tuned solver does not come closer on these, the untuned one is given back.

    Args:
        denoiser: of a Gaussian process.
        evaluations: N, at least 2.
        rng: streams, a ``torch.Generator`` or a seed of the noise to begin from.
        x1: (B, ...) states to begin from instead; needed where the denoiser does not know the shape of its data.
        condition: (B, ...) conditions of these states.
        items: walks to tune on where no states are given.
        rounds: of the fit at most.

    Returns:
        A sampler, and the times that it is for.

    Raises:
        UserError: the process is not Gaussian, or the shape of the data is not known.

    Example:
        >>> import suffuse as sf
        >>> law = sf.exact.GaussianMixture(torch.tensor([[-1.0], [1.0]]), torch.tensor([0.2, 0.2]))
        >>> denoiser = law.denoiser(sf.Gaussian(sf.schedules.Flow()))
        >>> sampler, times = tune(denoiser, 3)
        >>> sf.sample(denoiser, sampler, torch.randn(4, 1), times).shape
        torch.Size([4, 1])
    """
    process = denoiser.process
    if not isinstance(process, Gaussian):
        raise UserError(f"solvers are tuned for Gaussian processes, and this model's is {type(process).__name__}")
    if evaluations < 2:
        raise UserError(f"a solver to tune has at least 2 evaluations, got {evaluations}")
    x1 = _noise(denoiser, items, rng) if x1 is None else x1
    untuned = default(denoiser, evaluations)
    fine = sample(denoiser, Adams(3), x1, grids.straight(process.schedule, _FINE, denoiser.sigma_data), condition)
    assert isinstance(fine, Tensor)
    cut = 2 * len(x1) // 3
    part = _Walks(denoiser, x1[:cut], fine[:cut], _items(condition, slice(cut)))
    fitted = _fit(_Solver.of(untuned, denoiser, x1), part, rounds)
    tuned = fitted.sampler(process, denoiser.sigma_data)
    candidates: list[tuple[Sampler, Tensor]] = [untuned, (tuned, torch.tensor(tuned.times, dtype=torch.float64))]
    rest = _items(condition, slice(cut, None))
    ends = [sample(denoiser, sampler, x1[cut:], times, rest) for sampler, times in candidates]
    before, after = ((end - fine[cut:]).square().mean() for end in ends if isinstance(end, Tensor))
    return candidates[int(after < before)]


def _noise(denoiser: Denoiser, items: int, rng: RandomSource) -> Tensor:
    if denoiser.shape is None:
        raise UserError("the denoiser does not say what shape its data has; give the states to begin from as x1")
    like = torch.empty(items, *denoiser.shape)
    x1 = denoiser.process.prior(like, streams(rng, like).fold("tune"))
    assert isinstance(x1, Tensor)
    return x1


def _items(condition: Condition, items: slice) -> Condition:
    return None if condition is None else map_leaves(lambda leaf: leaf[items], condition)


@dataclass(frozen=True)
class _Solver:
    """Places (N + 1,), the first and the last of which stay, and weights (N, N), below and on the diagonal."""

    tau: Tensor
    weights: Tensor

    @classmethod
    def of(cls, untuned: tuple[Sampler, Tensor], denoiser: Denoiser, like: Tensor) -> "_Solver":
        """Any deterministic solver with one evaluation a step, by walking it through the unit vectors."""
        sampler, times = untuned
        process, steps = denoiser.process, len(times) - 1
        assert isinstance(process, Gaussian)
        at, form = scales(process.schedule, times), Velocity(denoiser.sigma_data)
        tau, size = _tau(at.sigma / at.alpha, denoiser.sigma_data), form.scale * at.alpha + at.sigma
        units = torch.eye(steps + 1, dtype=torch.float64)
        # v_j is the j-th unit vector where the mean is c (y_j - tau_j v_j).
        asked = iter(range(steps))

        def mean(x_t: Tensor, t: Tensor, condition: Condition) -> Tensor:
            j = next(asked)
            return form.scale * (x_t / size[j] - tau[j] * units[j + 1])

        walked: list[Tensor] = []
        linear = Denoiser.from_function(process, mean, denoiser.sigma_data)
        sample(linear, sampler, units[:1] * size[0], times, callback=lambda k, t, x: walked.append(x[0]))  # type: ignore
        return cls(tau, torch.stack([x / s for x, s in zip(walked, size[1:], strict=True)])[:, 1:])

    def moved(self, step: Tensor) -> "_Solver":
        """With all parameters moved: N - 1 logarithms of lengths, and the weights row by row."""
        steps = len(self.weights)
        length = (self.tau[:-1] - self.tau[1:]) * torch.cat([step[: steps - 1], step.new_zeros(1)]).exp()
        length = length * (self.tau[0] - self.tau[-1]) / length.sum()
        tau = torch.cat([self.tau[:1], self.tau[0] - length.cumsum(0)[:-1], self.tau[-1:]])
        weights = self.weights.clone()
        weights[torch.ones_like(weights).tril().bool()] += step[steps - 1 :] / steps
        return replace(self, tau=tau, weights=weights)

    def sampler(self, process: Gaussian, scale: float) -> Tuned:
        """As a table over x_1 and the posterior means."""
        times = process.schedule.inverse(-2 * (scale * self.tau / (1 - self.tau)).log())
        times[0], times[-1] = 1.0, 0.0
        at = scales(process.schedule, times)
        size, steps = scale * at.alpha + at.sigma, len(self.weights)
        rows = torch.zeros(steps + 1, steps + 1, dtype=torch.float64)  # y_i over x_1 and the means
        rows[0, 0] = 1 / size[0]
        velocities = torch.zeros(steps, steps + 1, dtype=torch.float64)
        for i in range(steps):
            velocities[i] = rows[i]
            velocities[i, i + 1] -= 1 / scale
            velocities[i] /= self.tau[i]
            rows[i + 1] = rows[0] + self.weights[i] @ velocities
        table = size[1:, None] * rows[1:]
        return Tuned(times.tolist(), [row[: i + 2].tolist() for i, row in enumerate(table)])


def _tau(ratio: Tensor, scale: float) -> Tensor:
    return Straight(scale).of(ratio)


class _Walks:
    """Where walks should end, and where those of a solver do."""

    def __init__(self, denoiser: Denoiser, x1: Tensor, target: Tensor, condition: Condition) -> None:
        self.denoiser, self.x1, self.condition = denoiser, x1, condition
        count = target[0].numel()
        chosen = torch.randperm(count, generator=torch.Generator().manual_seed(0))[:_MOST_ELEMENTS]
        self.chosen = chosen.to(target.device)
        self.target = target.flatten(1)[:, self.chosen]

    def residuals(self, solver: _Solver) -> Tensor:
        """(B, elements) differences of the ends, in units of the data."""
        process = self.denoiser.process
        assert isinstance(process, Gaussian)
        sampler = solver.sampler(process, self.denoiser.sigma_data)
        times = torch.tensor(sampler.times, dtype=torch.float64)
        end = sample(self.denoiser, sampler, self.x1, times, self.condition)
        assert isinstance(end, Tensor)
        return (end.flatten(1)[:, self.chosen] - self.target) / self.denoiser.sigma_data


def _fit(solver: _Solver, walks: _Walks, rounds: int) -> _Solver:
    """Levenberg and Marquardt's method, with the few walks that end elsewhere altogether weighed down."""
    steps = len(solver.weights)
    count, damping = steps - 1 + steps * (steps + 1) // 2, 1e-3
    units = torch.eye(count, dtype=torch.float64)
    residuals = walks.residuals(solver)
    for _ in range(rounds):
        small = torch.finfo(residuals.dtype).eps ** (1 / 3)
        weight = _robust(residuals)
        jacobian = torch.stack(
            [((walks.residuals(solver.moved(small * unit)) - residuals) * weight / small).flatten() for unit in units], 1
        ).double()
        gradient = jacobian.T @ (residuals * weight).flatten().double()
        normal = jacobian.T @ jacobian
        loss = (residuals * weight).square().sum()
        better = _line(solver, walks, gradient.cpu(), normal.cpu(), weight, loss, damping)
        if better is None:
            break
        solver, residuals, damping, gain = better
        if gain < 1e-3:
            break
    return solver


def _robust(residuals: Tensor) -> Tensor:
    """Root weights (B, 1) of items, one but for the worst fiftieth."""
    error = residuals.square().mean(1, keepdim=True)
    return (1 + error / error.quantile(0.98)).rsqrt()


def _line(
    solver: _Solver, walks: _Walks, gradient: Tensor, normal: Tensor, weight: Tensor, loss: Tensor, damping: float
) -> tuple[_Solver, Tensor, float, float] | None:
    """A step that lowers the loss, with as much damping as it takes."""
    scale = torch.diag(normal.diagonal().clamp(min=1e-12 * float(normal.diagonal().max())))
    for _ in range(8):
        moved = solver.moved(-torch.linalg.solve(normal + damping * scale, gradient))
        if bool((moved.tau[:-1] > moved.tau[1:]).all()):
            residuals = walks.residuals(moved)
            gain = 1 - float((residuals * weight).square().sum() / loss)
            if gain > 0:
                return moved, residuals, max(damping / 5, 1e-9), gain
        damping *= 5
    return None


def tuned_for(solvers: Sequence[Tuned], steps: int) -> Tuned | None:
    """The solver of so many steps, if there is one."""
    return next((solver for solver in solvers if len(solver.table) == steps), None)
