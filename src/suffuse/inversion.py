"""The way up: from data to the noise that it would be drawn from, by the probability-flow ODE."""

import torch
from torch import Tensor

from suffuse.denoiser import Denoiser
from suffuse.errors import UserError
from suffuse.processes import Gaussian
from suffuse.rng import Streams
from suffuse.samplers import Sampler, default
from suffuse.tree import Condition, State, at_least_float32

_FIRST = 1e-3
"""The walk begins where sigma/alpha is this share of the data's deviation: noise that hardly changes the mean."""


@torch.no_grad()
def encode(denoiser: Denoiser, x0: State, evaluations: int, condition: Condition = None) -> Tensor:
    r"""The noise x_1 that the probability-flow ODE joins to data.

    .. math:: \frac{d}{d\tau} \frac{x_t}{c \alpha_t + \sigma_t} = E[\varepsilon - x_0 / c \, | \, x_t], \qquad
        \tau = \frac{\sigma_t}{c \alpha_t + \sigma_t},

    walked upwards by the sampler and on the grid that :func:`suffuse.samplers.default` walks down: Adams' method. A
    walk down from what it gives ends in the data again, but for the error of both, which falls with the fourth power of
    the evaluations; docs/editing.md has figures.

    Source: "Denoising Diffusion Implicit Models" (Song, Meng, Ermon, 2021), section 4.3.

    Args:
        denoiser: of a Gaussian process.
        x0: (B, ...) clean data.
        evaluations: of the denoiser, at least 2.
        condition: what the data is said to be.

    Returns:
        (B, ...) state at t = 1, in float32 or better.

    Raises:
        UserError: the process is not Gaussian, or there are too few evaluations.

    Example:
        >>> import suffuse as sf
        >>> law = sf.exact.GaussianMixture(torch.full((1, 1), 3.0), torch.tensor([2.0]))
        >>> denoiser = law.denoiser(sf.Gaussian(sf.schedules.Flow()))
        >>> encode(denoiser, torch.tensor([[3.0], [5.0]]), 50).round(decimals=2) + 0.0
        tensor([[0.],
                [1.]])
    """
    process = denoiser.process
    if not isinstance(process, Gaussian):
        raise UserError(f"a {type(process).__name__} process has no path from an item to its noise; Gaussian ones have")
    assert isinstance(x0, Tensor)
    x0 = at_least_float32(x0)
    sampler, times = upwards(denoiser, evaluations)
    alpha, _ = process.coordinates(times[0].to(x0.device), x0)
    nothing = Streams.of(0, range(len(x0)))
    end = sampler.walk(denoiser, alpha * x0, times.to(x0.device), condition, nothing, None)
    assert isinstance(end, Tensor)
    return end


def upwards(denoiser: Denoiser, evaluations: int) -> tuple[Sampler, Tensor]:
    """The default sampler of a Gaussian process, and its grid from data to noise.

    It begins a little above the data, where the noise can be told from it, or at the floor of the schedule.
    """
    if evaluations < 2:
        raise UserError(f"the way to the noise takes at least 2 evaluations, not {evaluations}")
    process = denoiser.process
    assert isinstance(process, Gaussian)
    sampler, times = default(denoiser, evaluations)
    ratio = torch.tensor(_FIRST * denoiser.sigma_data, dtype=torch.float64)
    first = process.schedule.inverse(-2 * ratio.log())
    up = times.flip(0)
    up[0] = torch.minimum(torch.maximum(first, up[0]), up[1] / 2)
    return sampler, up
