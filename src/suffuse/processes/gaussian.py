"""Gaussian processes: diffusion and flow matching, for every schedule."""

import torch
from torch import Tensor

from suffuse.errors import UserError
from suffuse.posteriors import Normal, Posterior
from suffuse.processes.base import Process, Time, as_time
from suffuse.rng import RandomSource, streams
from suffuse.schedules import Schedule
from suffuse.tree import expand

LEVEL_RANGE = 20.0
"""Networks are told a log-SNR between minus and plus this."""


class Gaussian(Process[Tensor]):
    r"""Data scaled down and buried in noise: :math:`q(x_t | x_0) = N(\alpha_t x_0, \sigma_t^2)`.

    The reverse kernel, with the share :math:`\eta` of its noise, is

    .. math::
        q(x_s | x_t, x_0) = N\left(\alpha_s x_0 + \sqrt{\sigma_s^2 - c^2} \, \frac{x_t - \alpha_t x_0}{\sigma_t}, \;
        c^2\right), \qquad c^2 = \eta^2 \sigma_s^2 \left(1 - \frac{\alpha_t^2 \sigma_s^2}{\alpha_s^2 \sigma_t^2}\right).

    :math:`\eta = 0` is DDIM, and for the schedule ``Flow`` the straight step of rectified flow; :math:`\eta = 1` is
    DDPM. Both use the posterior's mean; for :math:`\eta > 0` its variance v adds (coefficient of x_0)^2 v, and of a
    mixture a component is drawn.

    Sources: "Denoising Diffusion Probabilistic Models" (Ho, Jain, Abbeel, 2020), "Denoising Diffusion Implicit Models"
    (Song, Meng, Ermon, 2021).

    Args:
        schedule: the scales.
        coupled: whether training pairs noise with data by a coupling other than the independent one. Noise and data
            are then dependent, so that only the deterministic walk is right: noise in the reverse step,
            :meth:`forward` and :meth:`elbo` are refused.

    Example:
        >>> import suffuse as sf
        >>> process = sf.Gaussian(sf.schedules.Cosine())
        >>> process.corrupt(torch.ones(1, 2), 0.0)
        tensor([[1., 1.]])
    """

    def __init__(self, schedule: Schedule, coupled: bool = False) -> None:
        self.schedule, self.coupled = schedule, coupled

    def coordinates(self, t: Time, like: Tensor) -> tuple[Tensor, Tensor]:
        """The two scales at t, shaped to broadcast against ``like`` and of its precision."""
        t = expand(as_time(t, like), like)
        return self.schedule.alpha(t).to(like.dtype), self.schedule.sigma(t).to(like.dtype)

    def kernel(self, t: Tensor, s: Tensor, eta: float) -> tuple[Tensor, Tensor, Tensor]:
        r"""Coefficients (a, b, c) of the step :math:`x_s = a x_t + b x_0 + c \varepsilon`, shaped as the times."""
        alpha_t, sigma_t, alpha_s, sigma_s = *self._scales(t), *self._scales(s)
        # SNR_t / SNR_s and one minus it, each in the form that keeps its digits.
        fall = self.schedule.log_snr(t) - self.schedule.log_snr(s)
        kept, share = fall.exp().clamp(0, 1), -torch.expm1(fall).clamp(-1, 0)
        a = sigma_s / sigma_t * (1 - eta**2 + eta**2 * kept).sqrt()
        return a, alpha_s - a * alpha_t, eta * sigma_s * share.sqrt()

    def _scales(self, t: Tensor) -> tuple[Tensor, Tensor]:
        return self.schedule.alpha(t), self.schedule.sigma(t)

    def prior(self, like: Tensor, rng: RandomSource = None) -> Tensor:
        r"""Noise of deviation :math:`\sqrt{\alpha_1^2 + \sigma_1^2}`: the law at t = 1 of data of unit variance.

        Where :math:`\alpha_1 > 0` this differs from the true law at t = 1 by what is left of the data there.
        """
        return self.spread(like) * streams(rng, like).fold("prior").normal(like)

    def spread(self, like: Tensor, scale: float = 1.0) -> Tensor:
        r"""Deviation at t = 1 of data of deviation c, :math:`\sqrt{\alpha_1^2 c^2 + \sigma_1^2}`; the prior's for 1."""
        alpha_1, sigma_1 = self.coordinates(1.0, like)
        return (alpha_1**2 * scale**2 + sigma_1**2).sqrt()

    def corrupt(self, x0: Tensor, t: Time, rng: RandomSource = None, source: Tensor | None = None) -> Tensor:
        """``source`` is the noise that a coupling has paired with the data; without it, fresh noise."""
        alpha_t, sigma_t = self.coordinates(t, x0)
        noise = streams(rng, x0).fold("corrupt").normal(x0) if source is None else source
        return alpha_t * x0 + sigma_t * noise

    def forward(self, x_s: Tensor, s: Time, t: Time, rng: RandomSource = None, source: Tensor | None = None) -> Tensor:
        r""":math:`N(\tfrac{\alpha_t}{\alpha_s} x_s, \; \sigma_t^2 - \tfrac{\alpha_t^2}{\alpha_s^2} \sigma_s^2)`."""
        del source
        self.refuse_coupled("going back up in noise")
        s, t = expand(as_time(s, x_s), x_s), expand(as_time(t, x_s), x_s)
        alpha_s, alpha_t, sigma_t = self.schedule.alpha(s), self.schedule.alpha(t), self.schedule.sigma(t)
        share = -torch.expm1(self.schedule.log_snr(t) - self.schedule.log_snr(s))
        noise = streams(rng, x_s).fold("forward", "step").normal(x_s)
        return (alpha_t / alpha_s).to(x_s.dtype) * x_s + (sigma_t * share.clamp(0, 1).sqrt()).to(x_s.dtype) * noise

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
        """See the class; ``source`` is not needed."""
        del source
        t, s = as_time(t, x_t), as_time(s, x_t)
        a, b, c = (expand(v, x_t).to(x_t.dtype) for v in self.kernel(t, s, eta))
        if eta == 0:
            return a * x_t + b * posterior.mean
        self.refuse_coupled("noise in the reverse step (eta > 0)")
        rng = streams(rng, x_t)
        posterior = posterior.draw_component(rng.fold("component").at(t, s))
        assert isinstance(posterior, Normal)
        var = c**2 if posterior.var is None else c**2 + b**2 * posterior.var
        return a * x_t + b * posterior.mean + var.sqrt() * rng.fold("reverse").brownian(x_t, t, s)

    def level(self, t: Time) -> Tensor:
        """Log-SNR, clamped to [-20, 20]."""
        t = t if isinstance(t, Tensor) else torch.tensor(t, dtype=torch.float64)
        return self.schedule.log_snr(t).clamp(-LEVEL_RANGE, LEVEL_RANGE)

    def elbo(self, x0: Tensor, x_t: Tensor, posterior: Posterior[Tensor], t: Time) -> Tensor:
        r""":math:`\tfrac12 \left| \tfrac{d \mathrm{SNR}}{dt} \right| (x_0 - E[x_0 | x_t])^2`.

        Source: "Variational Diffusion Models" (Kingma, Salimans, Poole, Ho, 2021).
        """
        del x_t
        self.refuse_coupled("the likelihood bound", "use that of its flow: log_likelihood, or --method ode")
        weight = expand(self.schedule.snr_rate(as_time(t, x0)).abs() / 2, x0).to(x0.dtype)
        return weight * (x0 - posterior.mean) ** 2

    def decoder(self, posterior: Posterior[Tensor], t: Time) -> Posterior[Tensor]:
        r"""A mean gets the variance of the process, :math:`\sigma_t^2 / \alpha_t^2`: that of x_0 for even data."""
        if not isinstance(posterior, Normal) or posterior.var is not None:
            return posterior
        alpha_t, sigma_t = self.coordinates(t, posterior.mean)
        return Normal(posterior.mean, (sigma_t / alpha_t) ** 2)

    def baseline_posterior(self, x_t: Tensor, t: Time, scale: float, source: Tensor | None = None) -> Normal:
        r""":math:`N(\alpha_t c^2 x_t, \; \sigma_t^2 c^2) / (\alpha_t^2 c^2 + \sigma_t^2)`."""
        del source
        alpha_t, sigma_t = self.coordinates(t, x_t)
        share = scale**2 / (alpha_t**2 * scale**2 + sigma_t**2)
        return Normal(alpha_t * share * x_t, sigma_t**2 * share)

    def baseline_bound(self, x0: Tensor, scale: float) -> Tensor:
        r""":math:`\log N(x_0; 0, c^2) + E_{q(x_1 | x_0)} \log \frac{\text{prior}(x_1)}{N(x_1; 0, \alpha_1^2 c^2 +
        \sigma_1^2)}`.
        """
        alpha_1, sigma_1 = self.coordinates(1.0, x0)
        own, prior = self.spread(x0, scale), self.spread(x0)
        square = alpha_1**2 * x0**2 + sigma_1**2
        terminal = square * (own**-2 - prior**-2) / 2 + (own / prior).log()
        return Normal(torch.zeros_like(x0), torch.full_like(x0, scale**2)).log_prob(x0) + terminal

    def refuse_coupled(self, what: str, instead: str = "sample it with eta=0") -> None:
        """Refuse what needs noise and data to be independent."""
        if self.coupled:
            raise UserError(f"{what} needs noise independent of the data, but this model was trained with a coupling; "
                            f"{instead}")  # fmt: skip
