r"""Solvers tuned to a model: the grid and the coefficients that come closest to its own fine walks.

In the coordinates of the straightened flow, :math:`y = x / (c \alpha + \sigma)` over
:math:`\tau = \sigma / (c \alpha + \sigma)`, every deterministic solver with one evaluation a step is

.. math:: y_{i + 1} = y_0 + \sum_{j \le i} W_{ij} \, v_j, \qquad v_j = (y_j - E[x_0 | x_{t_j}] / c) / \tau_j.

Tuning begins with a few methods of Adams, on the even grid and on the one that spreads their local errors evenly. For
few evaluations it then fits the N (N + 1) / 2 weights and the N - 1 inner places by the method of Levenberg and
Marquardt, on the squared distances of the ends of walks from the same noise, and goes on with what looks best after
some rounds; for more it fits the places of the best method. Derivatives are differences, so that nothing is asked of
the network but to be evaluated.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from suffuse import grids
from suffuse.denoiser import Denoiser
from suffuse.errors import UserError
from suffuse.processes import Gaussian
from suffuse.rng import RandomSource, streams
from suffuse.samplers.base import Sampler, sample
from suffuse.samplers.default import default, unit
from suffuse.samplers.integrals import Straight, scales
from suffuse.samplers.multistep import Adams
from suffuse.samplers.tuned import Tuned
from suffuse.schedules import Schedule
from suffuse.tree import Condition, map_leaves

_ELEMENTS = 256
"""Of an item that are compared: a random choice, so that the derivatives of large items fit into memory."""
_FINE = 64
"""Evaluations of the walks that are aimed at, for every 16 of the solver; their error is far below its own."""
_TABLE = 12
"""Largest number of evaluations whose weights are fitted; above, their number outgrows what they gain, and the places
alone are fitted."""
_STARTS = 3
"""Methods that the fit of the weights begins with, for a quarter of its rounds."""
_KEPT = 0.98
"""Share of the items that count. The rest are so near a ridge that they end elsewhere altogether."""
_NUDGE = 1e-3
"""What the starts are moved by, in deviations of the noise, to find these."""
_SPREAD = 2.0
"""Squared errors that are larger than so many times their mean count by their logarithm."""

Progress = Callable[[int, int], None]
"""Called with (rounds done, rounds at most)."""


class Tuning(NamedTuple):
    """What came out: the solver, and how far it and the untuned one end from the fine walks on held-out noise.

    Errors are root mean squares over the 98% best items, in deviations of the data.
    """

    sampler: Sampler
    times: Tensor
    error: float
    untuned_error: float


def tune(
    denoiser: Denoiser,
    evaluations: int = 6,
    *,
    rng: RandomSource = 0,
    x1: Tensor | None = None,
    condition: Condition = None,
) -> tuple[Sampler, Tensor]:
    """Fit a solver of so many evaluations to a denoiser's own walks; see :func:`fit` for what it is given and raises.

    Example:
        >>> import suffuse as sf
        >>> law = sf.exact.GaussianMixture(torch.tensor([[-1.0], [1.0]]), torch.tensor([0.2, 0.2]))
        >>> denoiser = law.denoiser(sf.Gaussian(sf.schedules.Flow()))
        >>> sampler, times = tune(denoiser, 3)
        >>> sf.sample(denoiser, sampler, torch.randn(4, 1), times).shape
        torch.Size([4, 1])
    """
    fitted = fit(denoiser, evaluations, rng=rng, x1=x1, condition=condition)
    return fitted.sampler, fitted.times


@torch.no_grad()
def fit(
    denoiser: Denoiser,
    evaluations: int,
    *,
    rng: RandomSource = 0,
    x1: Tensor | None = None,
    condition: Condition = None,
    rounds: int = 20,
    progress: Progress | None = None,
) -> Tuning:
    """Fit a solver of so many evaluations to a denoiser's own walks.

    A third of the walks is held out: if the tuned solver does not come closer on these, the untuned one is given back.

    Sources: "S4S: Solving for a Diffusion Model Solver" (Frankel et al., 2025), "Bespoke Non-Stationary Solvers for
    Fast Sampling of Diffusion and Flow Models" (Shaul et al., 2024).

    Args:
        denoiser: of a Gaussian process.
        evaluations: N, at least 2.
        rng: streams, a ``torch.Generator`` or a seed of the noise to begin from.
        x1: (B, ...) states to begin from instead; needed where the denoiser does not know the shape of its data.
        condition: (B, ...) conditions of these states.
        rounds: of one fit of the weights at most.
        progress: called after each of them.

    Raises:
        UserError: the process is not Gaussian, or the shape of the data is not known.
    """
    if not isinstance(denoiser.process, Gaussian):
        raise UserError(f"solvers are tuned for Gaussian processes, and this is {type(denoiser.process).__name__}")
    if evaluations < 2:
        raise UserError(f"a solver to tune has at least 2 evaluations, got {evaluations}")
    x1 = _noise(denoiser, rng) if x1 is None else x1
    cut = 2 * len(x1) // 3
    walks, held_out = (_Walks(denoiser, x1, condition, evaluations, part) for part in (slice(cut), slice(cut, None)))
    untuned = default(denoiser, evaluations)
    candidates = sorted(_candidates(walks, untuned), key=lambda each: walks.error(*each))
    if evaluations <= _TABLE:
        starts = [_Solver.of(*each, denoiser) for each in candidates[:_STARTS]]
        solver = _fitted(starts, walks, rounds, progress)
    else:
        solver = _respaced(candidates[0], walks, rounds // 2, progress)
    best = solver.sampler(denoiser)
    errors = held_out.error(*best), held_out.error(*untuned)
    return Tuning(*(best if errors[0] < errors[1] else untuned), min(errors), errors[1])


def items_to_tune(denoiser: Denoiser) -> int:
    """Enough items for 2^15 numbers to compare, but at least 96 and at most 2048.

    Raises:
        UserError: the denoiser does not know the shape of its data.
    """
    if denoiser.shape is None:
        raise UserError("the denoiser does not say what shape its data has; give the states to begin from as x1")
    return min(max(2**15 // min(torch.Size(denoiser.shape).numel(), _ELEMENTS), 96), 2048)


def _noise(denoiser: Denoiser, rng: RandomSource) -> Tensor:
    like = torch.empty(items_to_tune(denoiser), *(denoiser.shape or ()))
    x1 = denoiser.process.prior(like, streams(rng, like).fold("tune"))
    assert isinstance(x1, Tensor)
    return x1


class _Walks:
    """Where walks from some states should end, and how they bend on their way."""

    def __init__(self, denoiser: Denoiser, x1: Tensor, condition: Condition, evaluations: int, part: slice) -> None:
        self.denoiser, self.x1, self.scale = denoiser, x1[part], denoiser.sigma_data
        self.condition = None if condition is None else map_leaves(lambda leaf: leaf[part], condition)
        assert isinstance(denoiser.process, Gaussian)
        self.schedule = denoiser.process.schedule
        self.chosen = torch.randperm(x1[0].numel(), generator=torch.Generator().manual_seed(0))[:_ELEMENTS].to(
            x1.device
        )
        times = grids.straight(self.schedule, _FINE * -(-evaluations // 16), self.scale)
        self.tau = _tau(denoiser, times)
        ys: list[Tensor] = []
        sample(denoiser, Adams(3), self.x1, times, self.condition, callback=lambda k, t, x: ys.append(self._seen(x)))
        self.target, self.ys = ys[-1], ys
        self.kept = self._firm(times)

    def _firm(self, times: Tensor) -> Tensor:
        """(B, 1) ones, but zeros for the items whose ends move most when their starts do."""
        nudge = streams(0, self.x1).fold("nudge").normal(self.x1)
        sigma = float(self.schedule.sigma(times[:1].double()))
        near = sample(self.denoiser, Adams(3), self.x1 + _NUDGE * sigma * nudge, times, self.condition)
        moved = (self._seen(near) - self.target).square().mean(1, keepdim=True)
        return (moved <= moved.quantile(_KEPT)).to(moved.dtype)

    def _seen(self, x: object) -> Tensor:
        assert isinstance(x, Tensor)
        return x.flatten(1)[:, self.chosen] / self.scale

    def bend(self) -> Tensor:
        """Root mean square of the second derivative of the velocity, at even places along the fine walks."""
        at = scales(self.schedule, grids.straight(self.schedule, len(self.ys), self.scale))
        sizes = (self.scale * at.alpha + at.sigma)[1:].tolist()
        y = torch.stack([y * self.scale / size for y, size in zip(self.ys, sizes, strict=True)])
        return y[:: len(y) // _FINE].diff(n=3, dim=0).flatten(1).square().mean(1).sqrt().double().cpu()

    def error(self, sampler: Sampler, times: Tensor) -> float:
        """Root mean square distance of the ends from where they should be, without the worst items."""
        end = sample(self.denoiser, sampler, self.x1, times, self.condition)
        error = _squared(self._seen(end) - self.target).flatten()
        return float(error.sort().values[: max(1, int(_KEPT * len(error)))].mean().sqrt())

    def miss(self, solver: "_Solver") -> float:
        """Mean squared distance, over the items that count."""
        path = _walked(solver, self, _Path([self.x1 / _first_size(self)], []), 0)
        return float(self.mean(_squared(self.residuals(path.y[-1], solver))))

    def mean(self, values: Tensor) -> Tensor:
        """Of (B, 1) values, over the items that count."""
        return (values * self.kept).sum() / self.kept.sum()

    def residuals(self, y: Tensor, solver: "_Solver") -> Tensor:
        """(B, elements) differences of ends in y, in deviations of the data."""
        return self._seen(y * solver.end_size(self.denoiser)) - self.target

    def seen_changes(self, columns: list[Tensor]) -> Tensor:
        """(parameters, B, elements) changes of ends in y, as those of residuals."""
        at = scales(self.schedule, torch.zeros(1))
        size = float(self.scale * at.alpha + at.sigma) / self.scale
        return torch.stack([column.flatten(1)[:, self.chosen] * size for column in columns])

    def velocity(self, y: Tensor, tau: float) -> Tensor:
        """The straightened flow."""
        t = _times(self.denoiser, torch.tensor([tau], dtype=torch.float64))[0]
        at = scales(self.schedule, t)
        x = y * float(self.scale * at.alpha + at.sigma)
        mean = self.denoiser(x, t.to(x.device), self.condition).mean
        return (y - mean / self.scale) / tau


def _squared(residuals: Tensor) -> Tensor:
    return residuals.square().mean(1, keepdim=True)


def _tau(denoiser: Denoiser, times: Tensor) -> Tensor:
    at = scales(_schedule(denoiser), times)
    return Straight(denoiser.sigma_data).of(at.sigma / at.alpha)


def _times(denoiser: Denoiser, tau: Tensor) -> Tensor:
    return _schedule(denoiser).inverse(-2 * (denoiser.sigma_data * tau / (1 - tau)).log()).clamp(0, 1)


def _schedule(denoiser: Denoiser) -> Schedule:
    assert isinstance(denoiser.process, Gaussian)
    return denoiser.process.schedule


def _candidates(walks: _Walks, untuned: tuple[Sampler, Tensor]) -> list[tuple[Sampler, Tensor]]:
    """The untuned solver, and methods of Adams on its grid and on the one that spreads their errors evenly."""
    times, scale = untuned[1], unit(walks.denoiser)
    orders = range(2, 5)
    made = [
        (Adams(order, scale=scale), grid)
        for order in orders
        for grid in (times, _spread(walks, len(times) - 1, order + 1))
    ]
    return [untuned, *made]


def _spread(walks: _Walks, n: int, order: int) -> Tensor:
    r"""A grid whose steps err more alike.

    A step of length h of a method of order p errs by :math:`h^{p + 1} |v^{(p)}|`, so that the sum is least where steps
    are as dense as :math:`|v^{(p)}|^{1 / (p + 1)}`. The second derivative stands for all, since differences of higher
    ones are lost in rounding.
    """
    bend = walks.bend()
    dense = torch.nn.functional.interpolate(bend[None, None], len(walks.tau) - 1, mode="linear")[0, 0]
    dense = (dense / dense.mean()) ** (1 / (order + 1))
    dense = dense + 0.2 * dense.mean()  # so that no step is left very long
    share = torch.cat([dense.new_zeros(1), dense.cumsum(0) / dense.sum()])
    wanted = torch.linspace(0, 1, n + 1, dtype=torch.float64)
    place = torch.searchsorted(share, wanted).clamp(1, len(share) - 1)
    part = (wanted - share[place - 1]) / (share[place] - share[place - 1])
    times = _times(walks.denoiser, torch.lerp(walks.tau[place - 1], walks.tau[place], part))
    times[0], times[-1] = 1.0, 0.0
    return times


@dataclass(frozen=True)
class _Solver:
    """Places (N + 1,), the first and the last of which stay, and weights (N, N), below and on the diagonal."""

    tau: Tensor
    weights: Tensor

    @classmethod
    def of(cls, sampler: Sampler, times: Tensor, denoiser: Denoiser) -> "_Solver":
        """Any deterministic solver with one evaluation a step, by walking it through the unit vectors."""
        steps, scale = len(times) - 1, denoiser.sigma_data
        at, tau = scales(_schedule(denoiser), times), _tau(denoiser, times)
        size = scale * at.alpha + at.sigma
        units = torch.eye(steps + 1, dtype=torch.float64)
        # v_j is the j-th unit vector where the mean is c (y_j - tau_j v_j).
        asked = iter(range(steps))

        def mean(x_t: Tensor, t: Tensor, condition: Condition) -> Tensor:
            j = next(asked)
            return scale * (x_t / size[j] - tau[j] * units[j + 1])

        walked: list[Tensor] = []
        linear = Denoiser.from_function(denoiser.process, mean, scale)
        sample(
            linear, sampler, units[:1] * size[0], times, callback=lambda k, t, x: walked.append(torch.as_tensor(x)[0])
        )
        return cls(tau, torch.stack([x / s for x, s in zip(walked, size[1:], strict=True)])[:, 1:])

    def end_size(self, denoiser: Denoiser) -> float:
        """Size of the state where walks end."""
        at = scales(_schedule(denoiser), torch.zeros(1))
        return float(denoiser.sigma_data * at.alpha + at.sigma)

    def moved(self, step: Tensor) -> "_Solver":
        """With all parameters moved: the inner places, and the weights row by row."""
        inner = len(self.weights) - 1
        tau, weights = self.tau.clone(), self.weights.clone()
        tau[1:-1] += step[:inner]
        weights[torch.ones_like(weights).tril().bool()] += step[inner:]
        return _Solver(tau, weights)

    def falls(self) -> bool:
        """Whether the places fall, and no two of them nearly meet."""
        return bool((self.tau[:-1] - self.tau[1:] > 1e-3 / len(self.weights)).all())

    def sampler(self, denoiser: Denoiser) -> tuple[Sampler, Tensor]:
        """As a table over x_1 and the posterior means, and its times."""
        times = _times(denoiser, self.tau)
        times[0], times[-1] = 1.0, 0.0
        at, scale = scales(_schedule(denoiser), times), denoiser.sigma_data
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
        return Tuned(times.tolist(), [row[: i + 2].tolist() for i, row in enumerate(table)]), times


class _Path(NamedTuple):
    """States (N + 1) and velocities (N) of walks by a solver."""

    y: list[Tensor]
    v: list[Tensor]


def _walked(solver: _Solver, walks: _Walks, path: _Path, first: int) -> _Path:
    """The walks from state ``first`` on, which is the last of the path."""
    y, v = list(path.y), list(path.v)
    for i in range(first, len(solver.weights)):
        v.append(walks.velocity(y[i], float(solver.tau[i])))
        y.append(_combined(y[0], v, solver.weights[i]))
    return _Path(y, v)


def _combined(y: Tensor, velocities: list[Tensor], weights: Tensor) -> Tensor:
    y = y.clone()
    for weight, velocity in zip(weights.tolist(), velocities, strict=False):
        y.add_(velocity, alpha=weight)
    return y


def _fitted(starts: list[_Solver], walks: _Walks, rounds: int, progress: Progress | None) -> _Solver:
    """All places and weights: some rounds from every start, and all others from the best of what they lead to."""
    trial = rounds // 4
    spent, total = 0, trial * len(starts) + rounds - trial

    def nearest(start: _Solver, rounds: int) -> _Solver:
        nonlocal spent
        told = progress and partial(_later, progress, spent, total)
        spent += rounds
        return _nearest(start, walks, _Solver.moved, partial(_jacobian, walks=walks), rounds, told)

    tried = [nearest(start, trial) for start in starts]
    return nearest(min(tried, key=walks.miss), rounds - trial)


def _later(progress: Progress, spent: int, total: int, done: int, rounds: int) -> None:
    progress(spent + done, total)


def _respaced(best: tuple[Sampler, Tensor], walks: _Walks, rounds: int, progress: Progress | None) -> _Solver:
    """The places alone; the weights are those of a method on them."""
    sampler, times = best
    denoiser, start = walks.denoiser, _Solver.of(sampler, times, walks.denoiser)

    def placed(tau: Tensor) -> _Solver:
        at = _times(denoiser, tau)
        at[0], at[-1] = 1.0, 0.0
        return _Solver.of(sampler, at, denoiser)

    def moved(solver: _Solver, step: Tensor) -> _Solver:
        tau = solver.tau.clone()
        tau[1:-1] += step
        # Places that do not fall have no method; they are refused for that.
        return placed(tau) if _Solver(tau, solver.weights).falls() else _Solver(tau, solver.weights)

    def jacobian(solver: _Solver, path: _Path) -> Tensor:
        narrowest = float((solver.tau[:-1] - solver.tau[1:]).min())
        small, columns = min(torch.finfo(path.y[0].dtype).eps ** (1 / 3), narrowest / 10), []
        for j in range(1, len(solver.weights)):
            tau = solver.tau.clone()
            tau[j] += small
            end = _walked(placed(tau), walks, _Path(path.y[:j], path.v[: j - 1]), j - 1).y[-1]
            columns.append((end - path.y[-1]) / small)
        return walks.seen_changes(columns)

    return _nearest(start, walks, moved, jacobian, rounds, progress)


def _nearest(
    solver: _Solver,
    walks: _Walks,
    moved: Callable[[_Solver, Tensor], _Solver],
    jacobian: Callable[[_Solver, _Path], Tensor],
    rounds: int,
    progress: Progress | None,
) -> _Solver:
    r"""Levenberg and Marquardt's method on :math:`\sum \log(1 + e / c)` of the items' squared errors e.

    A walk that ends elsewhere altogether has the price of a few, so that it does not stand in the way of all others;
    "Bundle Adjustment: A Modern Synthesis" (Triggs, McLauchlan, Hartley, Fitzgibbon, 2000) has such losses.
    """
    start = _Path([walks.x1 / _first_size(walks)], [])
    path = _walked(solver, walks, start, 0)
    damping = 1e-3
    for number in range(rounds):
        residuals = walks.residuals(path.y[-1], solver)
        error = _squared(residuals)
        c = _SPREAD * walks.mean(error)
        weight = (walks.kept / (1 + error / c)).sqrt()
        slopes = (jacobian(solver, path) * weight).flatten(1).double()
        gradient, normal = (slopes @ (residuals * weight).flatten().double()).cpu(), (slopes @ slopes.T).cpu()
        loss = float(walks.mean((1 + error / c).log()))
        scale = torch.diag(normal.diagonal().clamp(min=1e-12 * float(normal.diagonal().max())))
        gain, there, other = 0.0, path, solver
        while gain <= 0 and damping < 1e6:
            other = moved(solver, -torch.linalg.solve(normal + damping * scale, gradient))
            if other.falls():
                there = _walked(other, walks, start, 0)
                error = _squared(walks.residuals(there.y[-1], other))
                gain = 1 - float(walks.mean((1 + error / c).log())) / loss
            damping = damping * 5 if not gain > 0 else max(damping / 5, 1e-9)
        if gain > 0:
            solver, path = other, there
        if progress is not None:
            progress(number + 1, rounds)
        if gain < 1e-3:
            break
    return solver


def _first_size(walks: _Walks) -> float:
    at = scales(walks.schedule, torch.ones(1))
    return float(walks.scale * at.alpha + at.sigma)


def _jacobian(solver: _Solver, path: _Path, walks: _Walks) -> Tensor:
    """(parameters, B, elements) derivatives of the residuals; each walk is taken again from where it changes only."""
    steps = len(solver.weights)
    small = torch.finfo(path.y[0].dtype).eps ** (1 / 3)

    def end(other: _Solver, before: _Path, first: int) -> Tensor:
        return (_walked(other, walks, before, first).y[-1] - path.y[-1]) / small

    columns = []
    for j in range(1, steps):
        tau = solver.tau.clone()
        tau[j] += small
        columns.append(end(_Solver(tau, solver.weights), _Path(path.y[: j + 1], path.v[:j]), j))
    for i in range(steps):
        for j in range(i + 1):
            if i == steps - 1:
                columns.append(path.v[j])
            else:
                y = path.y[i + 1] + small * path.v[j]
                columns.append(end(solver, _Path([*path.y[: i + 1], y], path.v[: i + 1]), i + 1))
    return walks.seen_changes(columns)
