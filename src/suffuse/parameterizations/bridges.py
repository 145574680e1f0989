"""The forms of a bridge."""

from torch import Tensor

from suffuse.parameterizations.base import Parameterization
from suffuse.posteriors import Normal
from suffuse.processes import Bridge, Time
from suffuse.processes.base import as_time
from suffuse.tree import expand

_SEEN = 7.0
"""A bridge's level beyond this is one of the first or the last thousandth of its time."""


class Drift(Parameterization):
    """For a bridge, the way that is left: :math:`x_0 = x_t + t F`.

    Source: the residual form of "I2SB: Image-to-Image Schroedinger Bridge" (Liu et al., 2023).
    """

    process = Bridge

    def inputs(self, x_t: Tensor, t: Time, process: Bridge) -> tuple[Tensor, Tensor]:
        """The state as it is: both ends of a bridge are data."""
        return x_t, process.level(as_time(t, x_t)).to(x_t.dtype)

    def posterior(self, output: Tensor, x_t: Tensor, t: Time, process: Bridge) -> Normal:
        """See the class."""
        return Normal(x_t + expand(as_time(t, x_t), x_t).to(x_t.dtype) * output.to(x_t.dtype))


class Bridged(Parameterization):
    r"""For a bridge, input, output and residual of unit variance at every time.

    With :math:`n = s^2 ((1 - t)^2 + t^2 + 2 \rho t (1 - t)) + \sigma^2 t (1 - t)`, the variance of :math:`x_t` between
    ends of deviation s and correlation :math:`\rho`, the input is :math:`x_t / \sqrt n` and

    .. math:: x_0 = \frac{s^2 (1 - t + \rho t)}{n} x_t + s \sqrt{\frac{t^2 s^2 (1 - \rho^2) + \sigma^2 t (1 - t)}{n}} F,

    so that at t = 0 the state is kept, where only the last of the noise is left to be found, and at t = 1 the output is
    what the source does not say by itself.

    Source: "Denoising Diffusion Bridge Models" (Zhou, Lou, Khanna, Ermon, 2024), section 4.1, for ends alike.

    Args:
        sigma_data: s, the deviation of both ends.
        correlation: of their elements, in (-1, 1).

    Example:
        >>> import torch
        >>> q = Bridged(0.5).posterior(torch.full((1, 2), 2.0), torch.zeros(1, 2), 1.0, Bridge(0.5))
        >>> q.mean
        tensor([[1., 1.]])
    """

    process = Bridge

    def __init__(self, sigma_data: float = 0.5, correlation: float = 0.0) -> None:
        self.sigma_data, self.correlation = sigma_data, correlation

    def coefficients(self, t: Time, process: Bridge, like: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        r"""Scale of the input, and :math:`(c_{\text{skip}}, c_{\text{out}})`, to broadcast against ``like``."""
        t, s2, rho = expand(as_time(t, like), like), self.sigma_data**2, self.correlation
        noise = process.sigma**2 * t * (1 - t)
        total = s2 * ((1 - t) ** 2 + t**2 + 2 * rho * t * (1 - t)) + noise
        skip, out = s2 * (1 - t + rho * t) / total, (s2 * (t**2 * s2 * (1 - rho**2) + noise) / total).sqrt()
        return total.rsqrt().to(like.dtype), skip.to(like.dtype), out.to(like.dtype)

    def weight(self, t: Time, process: Bridge, like: Tensor) -> Tensor:
        r""":math:`c_{\text{out}}^{-2}`: turns squared error in x_0 into squared error of the network's own output."""
        return self.coefficients(t, process, like)[2] ** -2

    def inputs(self, x_t: Tensor, t: Time, process: Bridge) -> tuple[Tensor, Tensor]:
        """The level is kept to what training sees of it: every walk starts at t = 1, where no training time is."""
        level = process.level(as_time(t, x_t)).clamp(-_SEEN, _SEEN)
        return x_t * self.coefficients(t, process, x_t)[0], level.to(x_t.dtype)

    def posterior(self, output: Tensor, x_t: Tensor, t: Time, process: Bridge) -> Normal:
        """See the class."""
        _, skip, out = self.coefficients(t, process, x_t)
        return Normal(skip * x_t + out * output.to(x_t.dtype))
