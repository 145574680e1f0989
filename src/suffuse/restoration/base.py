"""What samplers that take a measurement share."""

from typing import Any, ClassVar

import torch
from torch import Tensor

from suffuse.denoiser import Denoiser
from suffuse.errors import UserError
from suffuse.guidance import Observed
from suffuse.processes import Gaussian
from suffuse.rng import Streams
from suffuse.samplers import Sampler
from suffuse.tree import Condition, State


class Restorer(Sampler):
    """A sampler of an :class:`~suffuse.guidance.Observed` that asks for its parts, and brings the measurement in by
    itself; but for the particle filter, what its method would answer does not matter.
    """

    process = Gaussian
    stochastic = True
    one_step = at_start = False
    exact: ClassVar[bool] = False
    """Whether its draws converge to the posterior of Gaussian data and a linear operator as steps grow."""

    def init(self, denoiser: Denoiser, x1: State, times: Tensor) -> Any:
        """What steps need to know of the operator; here nothing.

        Raises:
            UserError: the denoiser was told no measurement, or one that this sampler cannot use.
        """
        if not isinstance(denoiser, Observed):
            raise UserError(f"{type(self).__name__} needs to know what was measured: "
                            "give it guidance.Observed(denoiser, operator, y)")  # fmt: skip
        assert isinstance(x1, Tensor)
        return self.prepare(denoiser, x1)

    def prepare(self, observed: Observed, x1: Tensor) -> Any:
        """What is computed once for a walk, and given to every step."""

    def step(
        self, denoiser: Denoiser, x_t: State, t: Tensor, s: Tensor, condition: Condition, state: Any, rng: Streams
    ) -> tuple[State, Any]:
        """See :meth:`down`; the state is what :meth:`prepare` gave."""
        assert isinstance(denoiser, Observed)
        assert isinstance(x_t, Tensor)
        return self.down(denoiser, x_t, t, s, condition, state, rng.fold("restoration").at(t, s)), state

    def down(
        self, observed: Observed, x_t: Tensor, t: Tensor, s: Tensor, condition: Condition, prepared: Any, rng: Streams
    ) -> Tensor:
        """The state at s.

        Args:
            observed: what was measured, of what.
            x_t: (B, ...) state at t.
            t: its time.
            s: time to go to, below t.
            condition: of the denoiser.
            prepared: what :meth:`prepare` gave.
            rng: streams of this step.
        """
        raise NotImplementedError(f"{type(self).__name__} walks, but not step by step")


def gaussian(observed: Observed) -> Gaussian:
    """Its process."""
    assert isinstance(observed.process, Gaussian)
    return observed.process


def noised(observed: Observed, mean: Tensor, t: Tensor, rng: Streams) -> Tensor:
    """A state at t of this clean mean, with fresh noise."""
    alpha_t, sigma_t = gaussian(observed).coordinates(t, mean)
    return torch.addcmul(alpha_t * mean, sigma_t, rng.normal(mean))
