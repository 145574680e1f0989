"""A solver as a table of numbers, as it comes out of tuning."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from suffuse.denoiser import Denoiser
from suffuse.errors import UserError
from suffuse.processes import Gaussian
from suffuse.rng import Streams
from suffuse.samplers.base import Sampler
from suffuse.tree import Condition, State


class _Walked(NamedTuple):
    x1: Tensor
    means: tuple[Tensor, ...]


class Tuned(Sampler):
    r"""Any deterministic solver with one evaluation a step, written out:
    :math:`x_{i + 1} = A_{i0} \, x_1 + \sum_{j \le i} A_{i, j + 1} \, E[x_0 | x_{t_j}]`.

    Every multistep method on a given grid is such a table, its corrector included; ``suffuse.tune`` finds the table
    and the grid that come closest to a model's own fine walks. It is for this grid and, within reason, for this model.

    Sources: "S4S: Solving for a Diffusion Model Solver" (Frankel et al., 2025), "Bespoke Non-Stationary Solvers for
    Fast Sampling of Diffusion and Flow Models" (Shaul et al., 2024).

    Args:
        times: of the grid, N + 1 falling ones.
        table: N rows; row i has i + 2 factors, of x_1 and of the means so far, oldest first.
    """

    process = Gaussian
    one_step = False

    def __init__(self, times: Sequence[float], table: Sequence[Sequence[float]]) -> None:
        if len(table) != len(times) - 1 or any(len(row) != i + 2 for i, row in enumerate(table)):
            raise ValueError(f"{len(times)} times need {len(times) - 1} rows of 2, 3, ... factors")
        self.times, self.table = tuple(times), tuple(map(tuple, table))

    def init(self, denoiser: Denoiser, x1: State, times: Tensor) -> _Walked:
        """The start, which every step refers to."""
        own = self.grid()
        if len(times) != len(own) or not torch.allclose(times.double().cpu(), own, rtol=0, atol=1e-6):
            raise UserError(f"this solver was tuned for a grid of its own, of {len(self.table)} steps; use its times")
        assert isinstance(x1, Tensor)
        return _Walked(x1, ())

    def step(
        self, denoiser: Denoiser, x_t: Any, t: Tensor, s: Tensor, condition: Condition, state: _Walked, rng: Streams
    ) -> tuple[State, _Walked]:
        """The state is what has been walked through."""
        means = (*state.means, denoiser(x_t, t, condition).mean)
        first, *factors = self.table[len(means) - 1]
        x_s = state.x1 * first
        for factor, mean in zip(factors, means, strict=True):
            x_s.add_(mean, alpha=factor)
        return x_s, _Walked(state.x1, means)

    def grid(self) -> Tensor:
        """The times that it is for."""
        return torch.tensor(self.times, dtype=torch.float64)

    def config(self) -> dict[str, Any]:
        """What :meth:`from_config` takes: plain numbers."""
        return {"times": list(self.times), "table": [list(row) for row in self.table]}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> "Tuned":
        """The solver that has been written down."""
        return cls(config["times"], config["table"])
