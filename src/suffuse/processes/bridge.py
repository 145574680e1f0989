"""The Brownian bridge: from a paired source at t = 1 to data at t = 0."""

import torch
from torch import Tensor

from suffuse.errors import UserError
from suffuse.posteriors import Normal, Posterior
from suffuse.processes.base import Process, Time, as_time
from suffuse.processes.gaussian import LEVEL_RANGE
from suffuse.rng import RandomSource, streams
from suffuse.tree import expand


class Bridge(Process[Tensor]):
    r"""Brownian bridge between paired data: :math:`q(x_t | x_0, x_1) = N((1 - t) x_0 + t x_1, \sigma^2 t (1 - t))`.

    The reverse kernel with all of its noise does not mention the source, and keeps the marginals but not the pairs:

    .. math:: q(x_s | x_t, x_0) = N\left(\tfrac{s}{t} x_t + (1 - \tfrac{s}{t}) x_0, \; \sigma^2 s (1 -
    \tfrac{s}{t})\right).

    With a share :math:`\eta < 1` it needs the source, :math:`c^2 = \eta^2 \sigma^2 s (1 - s / t)`:

    .. math:: N\left((1 - s) x_0 + s x_1 + \sqrt{\sigma^2 s (1 - s) - c^2} \,
        \frac{x_t - (1 - t) x_0 - t x_1}{\sigma \sqrt{t (1 - t)}}, \; c^2\right),

    except from t = 1, where the bridge has no width and the first step is :math:`\eta = 1`.

    Sources: "I2SB: Image-to-Image Schroedinger Bridge" (Liu, Vahdat, Huang, Theodorou, Nie, Anandkumar, 2023),
    "Denoising Diffusion Bridge Models" (Zhou, Lou, Khanna, Ermon, 2024).

    Args:
        sigma: deviation of the bridge, which is half of it in the middle; positive.

    Example:
        >>> Bridge(0.5).corrupt(torch.zeros(1, 2), 1.0, source=torch.ones(1, 2))
        tensor([[1., 1.]])
    """

    def __init__(self, sigma: float) -> None:
        if not sigma > 0:
            raise ValueError(f"a bridge needs sigma > 0, got {sigma}")
        self.sigma = sigma

    def prior(self, like: Tensor, rng: RandomSource = None) -> Tensor:
        """Refused: a bridge starts from data."""
        raise UserError("a bridge has no prior: it starts from source data at t = 1; give that as x1, or translate it")

    def corrupt(self, x0: Tensor, t: Time, rng: RandomSource = None, source: Tensor | None = None) -> Tensor:
        """See the class; ``source`` is x_1 and must be given."""
        source = self._given(source)
        t = expand(as_time(t, x0), x0)
        width = (self.sigma * (t * (1 - t)).sqrt()).to(x0.dtype)
        t = t.to(x0.dtype)
        return (1 - t) * x0 + t * source + width * streams(rng, x0).fold("corrupt").normal(x0)

    def forward(self, x_s: Tensor, s: Time, t: Time, rng: RandomSource = None, source: Tensor | None = None) -> Tensor:
        r"""The rest of the bridge,
        :math:`N\left(\frac{(1 - t) x_s + (t - s) x_1}{1 - s}, \sigma^2 \frac{(t - s)(1 - t)}{1 - s}\right)`.
        """
        source = self._given(source)
        s, t = expand(as_time(s, x_s), x_s), expand(as_time(t, x_s), x_s)
        keep = ((1 - t) / (1 - s)).to(x_s.dtype)
        width = (self.sigma * ((t - s) * (1 - t) / (1 - s)).sqrt()).to(x_s.dtype)
        return keep * x_s + (1 - keep) * source + width * streams(rng, x_s).fold("forward").normal(x_s)

    def reverse(
        self,
        x_t: Tensor,
        posterior: Posterior[Tensor],
        t: Time,
        s: Time,
        rng: RandomSource = None,
        eta: float = 1.0,
        source: Tensor | None = None,
    ) -> Tensor:
        """See the class; ``source`` is needed for eta < 1."""
        t, s = as_time(t, x_t), as_time(s, x_t)
        a, b, c, d = (expand(v, x_t).to(x_t.dtype) for v in self.kernel(t, s, eta))
        moved = a * x_t if eta == 1 else a * x_t + d * self._given(source)
        if eta == 0 and not bool((t == 1).any()):
            return moved + b * posterior.mean
        rng = streams(rng, x_t)
        var = c**2
        if eta > 0:  # eta = 0 keeps to the mean even in the noisy first step
            posterior = posterior.draw_component(rng.fold("component").at(t, s))
            assert isinstance(posterior, Normal)
            var = var if posterior.var is None else var + b**2 * posterior.var
        return moved + b * posterior.mean + var.sqrt() * rng.fold("reverse").brownian(x_t, t, s)

    def kernel(self, t: Tensor, s: Tensor, eta: float) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        r"""Coefficients (a, b, c, d) of :math:`x_s = a x_t + b x_0 + c \varepsilon + d x_1`, shaped as the times."""
        start = t == 1
        full = self.sigma**2 * s * (1 - s / t)  # the variance of the kernel with all of its noise
        inner = torch.where(start, 1.0, t * (1 - t))
        a = ((self.sigma**2 * s * (1 - s) - eta**2 * full).clamp(min=0) / inner).sqrt() / self.sigma
        if eta == 1:
            a = s / t
        a = torch.where(start, s / t, a)
        b = torch.where(start, 1 - s / t, (1 - s) - a * (1 - t))
        d = torch.where(start, 0.0, s - a * t)
        return a, b, torch.where(start, full, eta**2 * full).sqrt(), d

    def level(self, t: Time) -> Tensor:
        r""":math:`\log((1 - t) / t)`, clamped to [-20, 20]."""
        t = t if isinstance(t, Tensor) else torch.tensor(t, dtype=torch.float64)
        return ((1 - t) / t).log().clamp(-LEVEL_RANGE, LEVEL_RANGE)

    def elbo(self, x0: Tensor, x_t: Tensor, posterior: Posterior[Tensor], t: Time) -> Tensor:
        r""":math:`(x_0 - E[x_0 | x_t])^2 / (2 \sigma^2 t^2)`: the drifts towards data differ by this over t."""
        del x_t
        t = expand(as_time(t, x0), x0).to(x0.dtype)
        return (x0 - posterior.mean) ** 2 / (2 * self.sigma**2 * t**2)

    def decoder(self, posterior: Posterior[Tensor], t: Time) -> Posterior[Tensor]:
        r"""A mean gets the variance of the bridge, :math:`\sigma^2 t / (1 - t)`: that of x_0 for even data."""
        if not isinstance(posterior, Normal) or posterior.var is not None:
            return posterior
        t = expand(as_time(t, posterior.mean), posterior.mean)
        return Normal(posterior.mean, (self.sigma**2 * t / (1 - t)).to(posterior.mean.dtype))

    def baseline_posterior(self, x_t: Tensor, t: Time, scale: float, source: Tensor | None = None) -> Normal:
        r""":math:`N(c^2 (x_t - t x_1), \; c^2 \sigma^2 t) / ((1 - t) c^2 + \sigma^2 t)`; the source is x_1."""
        t = expand(as_time(t, x_t), x_t).to(x_t.dtype)
        share = scale**2 / ((1 - t) * scale**2 + self.sigma**2 * t)
        return Normal(share * (x_t - t * self._given(source)), share * self.sigma**2 * t)

    def baseline_bound(self, x0: Tensor, scale: float) -> Tensor:
        r""":math:`\log N(x_0; 0, c^2)`: a bridge's start is given, so that nothing is lost there."""
        return Normal(torch.zeros_like(x0), torch.full_like(x0, scale**2)).log_prob(x0)

    def _given(self, source: Tensor | None) -> Tensor:
        if source is None:
            raise UserError("a bridge needs its source: pass the state at t = 1 as source")
        return source
