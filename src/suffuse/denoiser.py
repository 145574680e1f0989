"""The denoiser: network, process and parameterization, joined to answer one question."""

from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor, nn

from suffuse.parameterizations import Direct, Parameterization
from suffuse.posteriors import Posterior
from suffuse.processes import Process, Time
from suffuse.tree import Condition, State


class Denoiser(nn.Module):
    """What is the clean data? Answers with a posterior over x_0, given the state at t.

    Args:
        network: called as ``network(x, level, condition)``.
        process: how the data was destroyed.
        parameterization: what the network's output means.
        shape: of one item, where it is known.

    Raises:
        UserError: where the parameterization does not fit the process.

    Example:
        >>> import torch, suffuse as sf
        >>> process = sf.Gaussian(sf.schedules.Flow())
        >>> denoiser = sf.Denoiser.from_function(process, lambda x_t, t, condition: torch.zeros_like(x_t))
        >>> denoiser(torch.ones(1, 2), 0.5).mean
        tensor([[0., 0.]])
    """

    def __init__(
        self,
        network: Callable[..., Any],
        process: Process[Any],
        parameterization: Parameterization,
        shape: Sequence[int] | None = None,
    ) -> None:
        super().__init__()
        parameterization.check(process)
        self.shape = None if shape is None else tuple(shape)
        self.network, self.process, self.parameterization = network, process, parameterization

    def forward(self, x_t: State, t: Time, condition: Condition = None) -> Posterior[Any]:
        """The posterior q(x_0 | x_t, condition).

        Args:
            x_t: state at time t, (B, ...) or a mapping of such.
            t: time in [0, 1], of any prefix shape of the state.
            condition: mapping of names to (B, ...) tensors, with (B,) masks under ``name/present``, or None.
        """
        scaled, level = self.parameterization.inputs(x_t, t, self.process)
        posterior = self.parameterization.posterior(self.network(scaled, level, condition), x_t, t, self.process)
        return self.process.restrict(posterior, x_t, t)

    def left(self, noise: Tensor, x_t: Tensor, t: Time) -> Tensor:
        """White noise made a draw of what x_t leaves open, as far as the form knows the data without the network."""
        return self.parameterization.left(noise, x_t, t, self.process)

    @property
    def sigma_data(self) -> float:
        """Deviation of the data, by which samplers choose their units."""
        return self.parameterization.sigma_data

    @classmethod
    def from_function(
        cls,
        process: Process[Any],
        function: Callable[[Any, Any, Any], Any],
        sigma_data: float = 1.0,
        shape: Sequence[int] | None = None,
    ) -> "Denoiser":
        """A denoiser of any function of (x_t, t, condition) that gives a posterior or its mean.

        Args:
            process: how the data was destroyed.
            function: called as ``function(x_t, t, condition)``.
            sigma_data: deviation of the data, by which samplers choose their units.
            shape: of one item, where it is known.
        """
        return cls(function, process, Direct(sigma_data), shape)
