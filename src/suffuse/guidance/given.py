"""Parts of an item that are known: what infilling, forecasting and imputation are."""

from typing import Any

import torch
from torch import nn

from suffuse.denoiser import Denoiser
from suffuse.parameterizations import Direct
from suffuse.posteriors import Posterior
from suffuse.processes import Time
from suffuse.tree import Condition, State, clean_where, map_leaves


class Given(Denoiser):
    r"""A denoiser that is told parts of the item: :math:`q(x_0 | x_t \text{ elsewhere}, x_0 \text{ here})`.

    Every element has a time of its own: 0 where it is given, and that of the walk elsewhere. With any sampler the walk
    then ends in a draw of the rest, and what is given stays as it is, but for rounding, and for what noise a schedule
    leaves at t = 0. It is exact for a denoiser that knows the posterior at such times: one of hidden tokens, or one
    that was trained with a pattern of clean elements (``Objective(pattern=...)``), and no other.

    Source: the idea of a noise level for each element is that of "Diffusion Forcing: Next-token Prediction Meets
    Full-Sequence Diffusion" (Chen et al., 2024).

    Args:
        denoiser: to tell.
        x0: state whose given elements are right; the others do not matter.
        given: a bool for every element, of the shape of x0; both may hold one item for all.

    Example:
        >>> import suffuse as sf
        >>> half = sf.Denoiser.from_function(sf.Gaussian(sf.schedules.Flow()), lambda x_t, t, c: x_t / 2)
        >>> told = Given(half, torch.tensor([[3.0, 0.0]]), torch.tensor([[True, False]]))
        >>> told(torch.tensor([[9.0, 1.0]]), 0.5).mean
        tensor([[3.0000, 0.5000]])
    """

    def __init__(self, denoiser: Denoiser, x0: State, given: State) -> None:
        super().__init__(
            _Told(denoiser, x0, given), denoiser.process, Direct.of(denoiser.parameterization), denoiser.shape
        )


class _Told(nn.Module):
    def __init__(self, denoiser: Denoiser, x0: State, given: State) -> None:
        super().__init__()
        self.denoiser, self.x0, self.given = denoiser, x0, given

    def forward(self, x_t: State, t: Time, condition: Condition) -> Posterior[Any]:
        given, x0 = (map_leaves(lambda part, x: part.expand_as(x), each, x_t) for each in (self.given, self.x0))
        x = map_leaves(lambda clean, x0, x: torch.where(clean, x0.to(x.dtype), x), given, x0, x_t)
        return self.denoiser(x, clean_where(given, t), condition).pinned(x0, given)
