"""A denoiser that is told the item under white noise: as exact as the denoiser is."""

from typing import Any

from torch import Tensor, nn

from suffuse.denoiser import Denoiser
from suffuse.errors import UserError
from suffuse.parameterizations import Direct
from suffuse.posteriors import Posterior
from suffuse.processes import Gaussian, Time
from suffuse.processes.base import as_time
from suffuse.tree import Condition, expand, latest


class Merged(Denoiser):
    r"""A denoiser that is told :math:`y = x_0 + N(0, s^2)`, by one evaluation and without a gradient.

    A state :math:`x_t` and y are two views of the same item under independent white noise, and say together what one
    says under less of it:

    .. math:: E[x_0 | x_t, y] = E[x_0 | x_u], \qquad \frac{\alpha_u^2}{\sigma_u^2} = \frac{\alpha_t^2}{\sigma_t^2} +
        \frac{1}{s^2}, \qquad \frac{\alpha_u x_u}{\sigma_u^2} = \frac{\alpha_t x_t}{\sigma_t^2} + \frac{y}{s^2}.

    At t = 1 that is the best guess of an item from y alone, and every sampler's walk ends in a draw given y.

    Args:
        denoiser: of a Gaussian process.
        y: (B, ...) measurements, or (1, ...) one for all items.
        noise: s, positive.

    Raises:
        UserError: the noise is not positive.

    Example:
        >>> import torch, suffuse as sf
        >>> law = sf.exact.GaussianMixture(torch.zeros(1, 2), torch.ones(1))
        >>> told = Merged(law.denoiser(sf.Gaussian(sf.schedules.Flow())), torch.tensor([[4.0, 0.0]]), noise=1.0)
        >>> told(torch.zeros(1, 2), 0.5).mean
        tensor([[1.3333, 0.0000]])
    """

    def __init__(self, denoiser: Denoiser, y: Tensor, noise: float) -> None:
        if not 0 < noise < float("inf"):
            raise UserError(f"the noise that is taken away is a positive deviation, and not {noise}")
        super().__init__(
            _Both(denoiser, y, noise), denoiser.process, Direct.of(denoiser.parameterization), denoiser.shape
        )


class _Both(nn.Module):
    """The rule of :class:`Merged`."""

    def __init__(self, denoiser: Denoiser, y: Tensor, noise: float) -> None:
        super().__init__()
        self.denoiser, self.y, self.noise = denoiser, y, noise

    def forward(self, x_t: Tensor, t: Time, condition: Condition) -> Posterior[Any]:
        process, variance = self.denoiser.process, self.noise**2
        assert isinstance(process, Gaussian)
        t = latest(as_time(t, x_t))
        alpha_t, sigma_t = process.schedule.alpha(t), process.schedule.sigma(t)
        both = alpha_t**2 * variance + sigma_t**2
        u = process.schedule.inverse(both.log() - (sigma_t**2 * variance).log())
        of_x, of_y = (expand(process.schedule.alpha(u) * part / both, x_t) for part in (alpha_t * variance, sigma_t**2))
        return self.denoiser((of_x * x_t + of_y * self.y).to(x_t.dtype), u, condition)
