"""The walk from t = 1 to t = 0, and what every sampler is."""

from abc import ABC
from collections.abc import Callable
from itertools import pairwise
from typing import Any, ClassVar

import torch
from torch import Tensor

from suffuse.denoiser import Denoiser
from suffuse.errors import UserError
from suffuse.parameterizations import Direct
from suffuse.posteriors import Posterior
from suffuse.processes import Gaussian, Process, Time
from suffuse.rng import RandomSource, Streams, streams
from suffuse.tree import Condition, State, at_least_float32, batch_size, device

Callback = Callable[[int, Tensor, State], None]
"""Called after each step with (number of the step from 0, time reached, state there)."""


class Sampler(ABC):  # noqa: B024 (it has steps, or a walk of its own)
    """A way to walk back: a loop of steps whose state is passed in and out, and never kept on the object."""

    process: ClassVar[type[Process[Any]]] = Process
    """The processes that it fits."""
    order: int = 1
    """Order of convergence on the probability-flow ODE, or of the weak error where :attr:`stochastic`."""
    stochastic: bool = False
    """Whether a step draws random numbers."""
    stages: int = 1
    """Evaluations of a step; one that ends where nothing is left of the noise needs a single one."""
    one_step: ClassVar[bool] = True
    """Whether a step needs no memory of earlier ones, so that other samplers may wrap it."""
    at_start: ClassVar[bool] = True
    """Whether a step first evaluates the whole batch at the state that it begins with, so that this may be foreseen."""

    def steps(self, denoiser: Denoiser, evaluations: int) -> int:
        """The steps of a walk from 1 to 0 that takes at most so many evaluations.

        Raises:
            UserError: not one step can be taken with so few.
        """
        last = self.last(denoiser.process)
        if evaluations < last:
            raise UserError(f"{type(self).__name__} needs at least {last} evaluations, got {evaluations}")
        return (evaluations - last) // self.stages + 1

    def last(self, process: Process[Any]) -> int:
        """Evaluations of the step to t = 0."""
        return self.stages if noisy_end(process) else 1

    def init(self, denoiser: Denoiser, x1: State, times: Tensor) -> Any:
        """What the first step is given as state. The whole grid is known here: coefficients are computed once."""
        del denoiser, times
        return x1

    def step(
        self, denoiser: Denoiser, x_t: Any, t: Tensor, s: Tensor, condition: Condition, state: Any, rng: Streams
    ) -> tuple[State, Any]:
        """Go from t to s < t; gives the state at s, and what the next step is given. Some have a walk of their own."""
        raise NotImplementedError(f"{type(self).__name__} walks, but not step by step")

    def walk(
        self,
        denoiser: Denoiser,
        x1: State,
        times: Tensor,
        condition: Condition,
        rng: Streams,
        callback: Callback | None,
    ) -> State:
        """The loop of steps."""
        state = self.init(denoiser, x1, times)
        x, clock = x1, times.unbind()
        for number, (t, s) in enumerate(pairwise(clock)):
            x, state = self.step(denoiser, x, t, s, condition, state, rng)
            if callback is not None:
                callback(number, s, x)
        return x


def check_inner(outer: Sampler, inner: Sampler) -> None:
    """Refuse to put a sampler inside another one that walks what it does not."""
    if not issubclass(outer.process, inner.process):
        raise ValueError(f"{type(outer).__name__} needs a sampler of {outer.process.__name__} processes, "
                         f"and {type(inner).__name__} walks {inner.process.__name__} ones only")  # fmt: skip


def check_foreseen(inner: Sampler) -> None:
    """Refuse to tell a sampler the posteriors beforehand that will ask for others than those of its steps' starts."""
    if inner.stages != 1 or not inner.at_start:
        raise ValueError(f"{type(inner).__name__} evaluates elsewhere than at the start of its steps; "
                         "give a sampler that does not")  # fmt: skip


def noisy_end(process: Process[Any]) -> bool:
    """Whether some noise is left at t = 0."""
    return isinstance(process, Gaussian) and float(process.schedule.sigma(torch.zeros(()))) > 0


class Counted(Denoiser):
    """A denoiser that counts how often it is asked.

    Attributes:
        evaluations: calls so far, each one evaluation of the network for the whole batch.
        items: items evaluated so far, over all calls.

    Example:
        >>> import suffuse as sf
        >>> law = sf.exact.GaussianMixture(torch.zeros(1, 2), torch.ones(1))
        >>> denoiser = Counted(law.denoiser(sf.Gaussian(sf.schedules.Flow())))
        >>> _ = sf.sample(denoiser, sf.samplers.Heun(), torch.randn(5, 2), sf.grids.uniform(4))
        >>> denoiser.evaluations, denoiser.items
        (7, 35)
    """

    def __init__(self, denoiser: Denoiser) -> None:
        super().__init__(self._count, denoiser.process, Direct.of(denoiser.parameterization), denoiser.shape)
        self.denoiser = denoiser
        self.evaluations = self.items = 0

    def _count(self, x_t: State, t: Time, condition: Condition) -> Posterior[Any]:
        self.evaluations += 1
        self.items += batch_size(x_t)
        return self.denoiser(x_t, t, condition)


@torch.no_grad()
def sample(
    denoiser: Denoiser,
    sampler: Sampler,
    x1: State,
    times: Tensor,
    condition: Condition = None,
    rng: RandomSource = None,
    callback: Callback | None = None,
) -> State:
    """Walk from noise (or from a bridge's source) to data.

    Args:
        denoiser: what knows the clean data.
        sampler: the way to walk.
        x1: (B, ...) state at ``times[0]``, usually ``process.prior(...)``.
        times: strictly falling times in [0, 1], as made by ``suffuse.grids``.
        condition: mapping of names to (B, ...) tensors, or None.
        rng: streams, a ``torch.Generator``, a seed or None; a sample depends on its own stream alone.
        callback: called after each step with (number, time, state).

    Returns:
        The state at ``times[-1]``, in float32 or better.

    Raises:
        UserError: where the sampler does not fit the process, or the times do not fall.

    Example:
        >>> import suffuse as sf
        >>> process = sf.Gaussian(sf.schedules.Flow())
        >>> ones = sf.Denoiser.from_function(process, lambda x_t, t, condition: torch.ones_like(x_t))
        >>> sf.sample(ones, sf.samplers.Heun(), torch.randn(1, 2), sf.grids.uniform(4))
        tensor([[1., 1.]])
    """
    if not isinstance(denoiser.process, sampler.process):
        raise UserError(
            f"{type(sampler).__name__} walks {sampler.process.__name__} processes only, "
            f"and this model's is {type(denoiser.process).__name__}; Ancestral walks them all"
        )
    falling = times.ndim == 1 and len(times) > 1 and bool((times[:-1] > times[1:]).all())
    if not (falling and 0 <= float(times[-1]) and float(times[0]) <= 1):
        raise UserError("times must fall strictly, from at most 1 to at least 0; see suffuse.grids")
    x1 = at_least_float32(x1)
    return sampler.walk(denoiser, x1, times.to(device(x1)), condition, streams(rng, x1), callback)
