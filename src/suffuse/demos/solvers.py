"""Equations solved by py-pde: heat in a body of uneven conductivity, and two substances that react and spread."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from suffuse.errors import UserError
from suffuse.fields import Fields

_TURN, _FEED = 0.2, 0.03
"""Radians by which sources of heat, and the feed of a reaction, turn in a unit of time."""
_FED = 0.002
"""By how much the feed rises and falls, which keeps patterns from coming to rest."""
_FEEDING = f"(feed + {_FED} * sin({_FEED} * t + phase))"
_APART = 1e6
"""Places between bodies along the axis that they stand on: far enough that nothing passes from one to the next."""


@dataclass(frozen=True)
class Problem:
    """An equation, and how its bodies begin.

    Args:
        name: of what is solved.
        variables: what changes in time, with units.
        rates: right side of each variable, in the language of py-pde.
        rate: the same of fields (B, C, H, W), with what is given of each, (B, 1, 1) or (B, H, W) by name.
        begin: variables and what is given of so many bodies, by a generator.
        side: places along each axis, a unit apart; both close to a circle.
        step: time between the states that are kept.
        skip: of these that come first.
        inner: time step of the solver.
        told: what a model is told of all that is given, at these times.
        bodies: that a model of it is trained on.
        images: items that it is trained on.
        regression: share of the budget that a regression takes first, as measured best for it.
        sampler: the way to walk, as measured best for it.
        steps: evaluations of a walk.
        method: by which a draw is told the equation, as measured best for it.
    """

    name: str
    variables: tuple[str, ...]
    rates: tuple[str, ...]
    rate: Callable[[Tensor, dict[str, Tensor]], Tensor]
    begin: Callable[[int, int, np.random.Generator], tuple[np.ndarray, dict[str, np.ndarray]]]
    side: int
    step: float
    skip: int
    inner: float
    told: Callable[[np.ndarray, dict[str, np.ndarray]], dict[str, np.ndarray]]
    bodies: int
    images: int
    regression: float
    sampler: str
    steps: int
    method: str


def solved(problem: Problem, bodies: int, frames: int, seed: int) -> Fields:
    """A Dataset (run, time, y, x) of the variables, with what is given of each run.

    Raises:
        UserError: py-pde is not there.
    """
    try:
        from pde import PDE, CartesianGrid, FieldCollection, MemoryStorage, ScalarField
    except ImportError as missing:
        raise UserError("this demo's data is made by py-pde: pip install 'suffuse[demo]'") from missing
    import xarray

    n = problem.side
    start, given = problem.begin(bodies, n, np.random.default_rng(seed))
    grid = CartesianGrid([(0, n), (0, n), (0, bodies * _APART)], [n, n, bodies], periodic=True)

    def placed(values: np.ndarray) -> Any:
        return ScalarField(grid, np.moveaxis(np.broadcast_to(values, (bodies, n, n)), 0, -1))

    equation = PDE(
        dict(zip(problem.variables, problem.rates, strict=True)),
        consts={name: placed(values if values.ndim == 3 else values[:, None, None]) for name, values in given.items()},
    )
    states = MemoryStorage()
    count = frames + problem.skip
    equation.solve(
        FieldCollection([placed(start[:, place]) for place in range(len(problem.variables))]),
        t_range=(count - 1) * problem.step,
        dt=problem.inner,
        tracker=states.tracker(problem.step),
        backend="numpy",
        solver="euler",
    )
    values = np.moveaxis(np.array(states.data)[problem.skip :], -1, 0)  # (run, time, variable, y, x)
    axes = ("run", "time", "y", "x")
    variables: dict[str, Any] = {
        name: (axes, values[:, :, place].astype(np.float32), {"units": "1"})
        for place, name in enumerate(problem.variables)
    }
    times = (np.arange(frames) + problem.skip) * problem.step
    for name, told in problem.told(times, given).items():
        variables[name] = (
            {1: axes[:1], 2: axes[:2], 3: ("run", "y", "x"), 4: axes}[told.ndim],
            told.astype(np.float32),
            {"units": "1"},
        )
    places = np.arange(n) + 0.5
    coordinates = {"run": np.arange(bodies), "time": times, "y": places, "x": places}
    return xarray.Dataset(variables, coordinates, {"title": problem.name})


def laplacian(u: Tensor) -> Tensor:
    """Of (..., H, W) on a circle in both directions, by second differences over a unit."""
    return u.roll(1, -2) + u.roll(-1, -2) + u.roll(1, -1) + u.roll(-1, -1) - 4 * u


def waves(count: int, n: int, rng: np.random.Generator, longest: float = 3.0) -> np.ndarray:
    """Smooth random fields (count, n, n) of zero mean and about unit deviation, without a beginning."""
    k = np.fft.fftfreq(n) * n
    weight = np.exp(-(k[:, None] ** 2 + k**2) / (2 * longest**2))
    weight[0, 0] = 0
    noise = np.fft.fft2(rng.normal(size=(count, n, n)))
    return np.fft.ifft2(noise * weight).real * n / np.sqrt((weight**2).sum())


def _react_begin(count: int, n: int, rng: np.random.Generator) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Squares of the second substance here and there in the first, where patterns last."""
    u, v = np.ones((count, n, n)), 0.01 * rng.random((count, n, n))
    for body in range(count):
        for _ in range(rng.integers(3, 6)):
            y, x = rng.integers(0, n, 2)
            square = np.ix_([body], (y + np.arange(5)) % n, (x + np.arange(5)) % n)
            u[square], v[square] = 0.5, 0.25
    feed = rng.uniform(0.036, 0.056, count)
    given = {"feed": feed, "kill": np.sqrt(feed) / 2 - feed - rng.uniform(0.0, 0.001, count)}
    return np.stack([u, v], 1), given | {"phase": rng.uniform(0, 2 * np.pi, count)}


def _fed(times: np.ndarray, given: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """What is told of each body: its feed in the middle of the coming step, (B, T), and how fast the second dies."""
    middle = times + REACTION.step / 2
    feed = given["feed"][:, None] + _FED * np.sin(_FEED * middle + given["phase"][:, None])
    return {"feed": feed, "kill": given["kill"]}


def _react(state: Tensor, given: dict[str, Tensor]) -> Tensor:
    u, v, feed, kill = state[:, 0], state[:, 1], given["feed"], given["kill"]
    react = u * v**2
    return torch.stack([0.2 * laplacian(u) - react + feed * (1 - u), 0.1 * laplacian(v) + react - (feed + kill) * v], 1)


def _heat_begin(count: int, n: int, rng: np.random.Generator) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Uneven bodies that are heated here and cooled there in turn, and cool down everywhere a little."""
    given = {"conductivity": 0.3 * np.exp(0.6 * waves(count, n, rng))}
    given |= {name: 0.08 * waves(count, n, rng, 2.0) for name in ("first", "second")}
    return 2 * waves(count, n, rng)[:, None], given


def _heat_source(times: np.ndarray, given: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """What is told of each body: what it is like, and its sources in the middle of the coming step, (B, T, H, W)."""
    angle = _TURN * (times + HEAT.step / 2)[:, None, None]
    source = given["first"][:, None] * np.cos(angle) + given["second"][:, None] * np.sin(angle)
    return {"conductivity": given["conductivity"], "source": source}


def _heat(state: Tensor, given: dict[str, Tensor]) -> Tensor:
    """What flows between neighbours, whose conductivity is the mean of theirs; sources; and what is lost."""
    temperature, conductivity = state[:, 0], given["conductivity"]
    within = conductivity * laplacian(temperature) - temperature * laplacian(conductivity)
    flow = (laplacian(conductivity * temperature) + within) / 2
    return (flow + given["source"] - 0.01 * temperature)[:, None]


REACTION = Problem(
    "Gray-Scott reaction and diffusion",
    ("u", "v"),
    (
        f"0.2 * laplace(u) - u * v**2 + {_FEEDING} * (1 - u)",
        f"0.1 * laplace(v) + u * v**2 - ({_FEEDING} + kill) * v",
    ),
    _react,
    _react_begin,
    side=24,
    step=10.0,
    skip=15,
    inner=1.0,
    told=_fed,
    bodies=320,
    images=40_000,
    regression=0.8,
    sampler="ddim",
    steps=8,
    method="moments",
)
HEAT = Problem(
    "heat conduction with uneven conductivity and sources",
    ("temperature",),
    (
        "(laplace(conductivity * temperature) + conductivity * laplace(temperature) "
        f"- temperature * laplace(conductivity)) / 2 + first * cos({_TURN} * t) + second * sin({_TURN} * t) "
        "- 0.01 * temperature",
    ),
    _heat,
    _heat_begin,
    side=24,
    step=4.0,
    skip=2,
    inner=0.1,
    told=_heat_source,
    bodies=160,
    images=24_000,
    regression=0.0,
    sampler="sde2",
    steps=32,
    method="pigdm",
)
