"""The denoiser: network, process and parameterization, joined to answer one question."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from suffuse.parameterizations import Direct, Parameterization, Spread
from suffuse.posteriors import Normal, Posterior
from suffuse.processes import Gaussian, Process, Time
from suffuse.rng import Streams
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

    def spread(self, x_t: Tensor, t: Time) -> Spread:
        """What x_t leaves open, as far as the form knows the data without asking the network; of a Gaussian process."""
        return self.parameterization.spread(x_t, t, self.process)

    def prior(self, like: State, condition: Condition, rng: Streams) -> State:
        """A draw at t = 1, where a walk begins, of the shape of ``like``."""
        del condition
        return self.process.prior(like, rng)

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


@dataclass(frozen=True)
class Known:
    """A regression that was trained.

    Args:
        weights: of its network.
        units: (C, 1, ...) what it leaves of each channel, which is the unit of the states of a denoiser about it.
    """

    weights: Mapping[str, Tensor]
    units: Tensor


class Corrective(Denoiser):
    r"""A denoiser of what a regression leaves.

    With the regression's answer :math:`m(c)` to a condition c and a posterior :math:`q'` of what it leaves,

    .. math:: q(x_0 | x_t, c) = q'(x_0 - m(c) \mid x_t - \alpha_t m(c), c).

    What is told may say nearly all of x_0. A network that is shown pure noise beside it learns slowly to look past the
    noise; one that is not shown any learns the mean at once, and what is left to draw is small.

    Source: "Residual Corrective Diffusion Modeling for Km-scale Atmospheric Downscaling" (Mardani et al., 2025).

    Args:
        regression: a network that is not shown the state; it is trained elsewhere, and frozen here.
        rest: a denoiser of what it leaves, of a Gaussian process and items of a known shape.
    """

    units: Tensor
    """(C, 1, ...): what a channel's unit is in those of the regression."""

    def __init__(self, regression: nn.Module, rest: Denoiser) -> None:
        assert isinstance(rest.process, Gaussian)
        assert rest.shape is not None
        super().__init__(rest.network, rest.process, rest.parameterization, rest.shape)
        self.regression, self._scales = regression.requires_grad_(False), rest.process.coordinates
        self.register_buffer("units", torch.ones(rest.shape[0], *(1,) * (len(rest.shape) - 1)))

    def take(self, known: Known) -> None:
        """Be about the answers of this regression."""
        self.regression.load_state_dict(known.weights)
        self.units.copy_(known.units)

    def expected(self, like: Tensor, condition: Condition) -> Tensor:
        """m(c), of the shape of ``like``."""
        level = self.process.level(torch.ones(len(like), device=like.device))
        assert isinstance(level, Tensor)
        return self.regression(like, level.to(like.dtype), condition).to(like.dtype) / self.units

    def forward(self, x_t: State, t: Time, condition: Condition = None) -> Normal:
        """The posterior q(x_0 | x_t, condition)."""
        assert isinstance(x_t, Tensor)
        mean = self.expected(x_t, condition)
        rest = super().forward(x_t - self._scales(t, x_t)[0] * mean, t, condition)
        assert isinstance(rest, Normal)
        return Normal(mean + rest.mean, rest.var)

    def prior(self, like: State, condition: Condition, rng: Streams) -> Tensor:
        """Noise about what is expected."""
        assert isinstance(like, Tensor)
        last = torch.ones((), dtype=torch.float64, device=like.device)
        return self.process.prior(like, rng) + self._scales(last, like)[0] * self.expected(like, condition)
