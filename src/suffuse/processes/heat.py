"""Heat: data is blurred, as heat spreads, while it is buried in noise."""

import math

import torch
from torch import Tensor

from suffuse.errors import UserError
from suffuse.operators.spectrum import cosines, from_cosines
from suffuse.posteriors import Normal, Posterior, Rotated
from suffuse.processes.base import Process, Time, as_time
from suffuse.processes.gaussian import Gaussian
from suffuse.rng import RandomSource, streams
from suffuse.schedules import Schedule
from suffuse.tree import expand

LEAST = 1e-3
"""What is left of a frequency at least, so that no step back divides by nothing."""


class Heat(Process[Tensor]):
    r"""Heat that spreads, with noise: a Gaussian process of its own for each frequency.

    With the cosine transform V, whose frequencies along the axes of lengths n are k,

    .. math::
        q(x_t | x_0) = N(V (\alpha_t d_t \odot V^\top x_0), \; \sigma_t^2), \qquad
        d_t = (1 - \delta) e^{-b_t^2 |\pi k / n|^2 / 2} + \delta, \qquad
        b_t = b n_{\max} \, \frac{\sigma_t^2}{\alpha_t^2 + \sigma_t^2}.

    But for :math:`\delta = 10^{-3}`, :math:`V d_t V^\top x_0` is the solution at time :math:`b_t^2 / 2` of the heat
    equation :math:`\dot x = \Delta x` in an insulated body: a blur of deviation :math:`b_t`. White noise is white in
    every orthonormal basis, so that all that holds of a ``Gaussian`` holds here coefficient by coefficient. Posteriors
    are ``Rotated``, since what is independent are coefficients; an element has no time of its own.

    Sources: "Generative Modelling With Inverse Heat Dissipation" (Rissanen, Heinonen, Solin, 2022), "Blurring Diffusion
    Models" (Hoogeboom, Salimans, 2022).

    Args:
        schedule: the scales of what is not blurred, the mean of an item.
        blur: b, the deviation of the blur where nothing but noise is left, as a share of an item's longest side.

    Raises:
        UserError: at use, an item has no axis of space, (B, C, ...), or elements have times of their own.

    Example:
        >>> import suffuse as sf
        >>> process = Heat(sf.schedules.Flow(), blur=1.0)
        >>> warm = torch.tensor([[[1.0, 0.0, 0.0, 0.0]]])
        >>> process.to(process.corrupt(warm, 0.0)).round(decimals=4)  # its coefficients, of which no heat is lost yet
        tensor([[[0.5000, 0.6533, 0.5000, 0.2706]]])
        >>> process.corrupt(warm, 0.5, source=torch.zeros_like(warm)).round(decimals=4)  # blurred, half the scale
        tensor([[[0.1884, 0.1497, 0.0983, 0.0637]]])
    """

    def __init__(self, schedule: Schedule, blur: float) -> None:
        if not 0 < blur < math.inf:
            raise ValueError(f"heat needs a positive deviation of its blur, got {blur}")
        self.schedule, self.blur = schedule, blur

    def along(self, like: Tensor) -> Gaussian:
        """The process of the coefficients of such states, with a schedule for each frequency."""
        if like.ndim < 3:
            raise UserError("heat spreads in space, and these items have none; take another --noise-schedule")
        return Gaussian(_Cooling(self.schedule, self.blur, like.shape[2:]))

    def to(self, x: Tensor) -> Tensor:
        r"""States to their coefficients, :math:`V^\top x`."""
        return cosines(x, range(2, x.ndim))

    def back(self, c: Tensor) -> Tensor:
        r"""Coefficients to states, :math:`V c`."""
        return from_cosines(c, range(2, c.ndim))

    def rotated(self, inner: Posterior[Tensor]) -> Rotated:
        """The posterior of the states, by that of their coefficients."""
        return Rotated(inner, self.to, self.back)

    def prior(self, like: Tensor, rng: RandomSource = None) -> Tensor:
        """See :class:`Gaussian`."""
        return self.back(self.along(like).prior(like, rng))

    def corrupt(self, x0: Tensor, t: Time, rng: RandomSource = None, source: Tensor | None = None) -> Tensor:
        """See the class; ``source`` is the noise."""
        noise = None if source is None else self.to(source)
        return self.back(self.along(x0).corrupt(self.to(x0), item_times(t, x0), rng, noise))

    def forward(self, x_s: Tensor, s: Time, t: Time, rng: RandomSource = None, source: Tensor | None = None) -> Tensor:
        """See :class:`Gaussian`."""
        del source
        return self.back(self.along(x_s).forward(self.to(x_s), item_times(s, x_s), item_times(t, x_s), rng))

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
        """See :class:`Gaussian`; of a posterior that is not of the coefficients, the data is drawn."""
        del source
        t, s, rng = item_times(t, x_t), item_times(s, x_t), streams(rng, x_t)
        if eta > 0 and not isinstance(posterior, Rotated):
            posterior = Normal(posterior.sample(rng.fold("reverse").at(t, s)))
        within = self.within(posterior)
        return self.back(self.along(x_t).reverse(self.to(x_t), within, t, s, rng, eta))

    def within(self, posterior: Posterior[Tensor]) -> Posterior[Tensor]:
        """The posterior of the coefficients, or what is known of it: the mean."""
        return posterior.inner if isinstance(posterior, Rotated) else Normal(self.to(posterior.mean))

    def level(self, t: Time) -> Tensor:
        """Log-SNR of what is not blurred, clamped to [-20, 20]."""
        return Gaussian(self.schedule).level(t)

    def elbo(self, x0: Tensor, x_t: Tensor, posterior: Posterior[Tensor], t: Time) -> Tensor:
        """See :class:`Gaussian`; in nats per coefficient."""
        return self.along(x0).elbo(self.to(x0), x_t, self.within(posterior), item_times(t, x0))

    def decoder(self, posterior: Posterior[Tensor], t: Time) -> Posterior[Tensor]:
        """A mean gets the variance of the process, for each coefficient."""
        if isinstance(posterior, Normal) and posterior.var is not None:
            return posterior
        within = self.within(posterior)
        return self.rotated(self.along(within.mean).decoder(within, item_times(t, within.mean)))

    def baseline_posterior(self, x_t: Tensor, t: Time, scale: float, source: Tensor | None = None) -> Rotated:
        """See :class:`Gaussian`: data that is alike in all directions."""
        return self.rotated(self.along(x_t).baseline_posterior(self.to(x_t), item_times(t, x_t), scale, source))

    def baseline_bound(self, x0: Tensor, scale: float) -> Tensor:
        """See :class:`Gaussian`; in nats per coefficient."""
        return self.along(x0).baseline_bound(self.to(x0), scale)


class _Cooling(Schedule):
    """A schedule for each frequency: its scales are of the shape of the time, (B,), over the axes of the states."""

    def __init__(self, schedule: Schedule, blur: float, space: torch.Size) -> None:
        self.schedule, self.width = schedule, blur * max(space)
        waves = torch.zeros(1, 1, *space, dtype=torch.float64)
        for axis, n in enumerate(space):
            squares = (math.pi * torch.arange(n, dtype=torch.float64) / n) ** 2
            waves += squares.reshape(-1, *(1,) * (len(space) - 1 - axis))
        self._waves = waves

    def alpha(self, t: Tensor) -> Tensor:
        """See :class:`Heat`."""
        t = expand(t, self._waves)
        return self.schedule.alpha(t) * self._kept(t)

    def sigma(self, t: Tensor) -> Tensor:
        """The noise is white."""
        return self.schedule.sigma(expand(t, self._waves))

    def log_snr(self, t: Tensor) -> Tensor:
        """With the digits of the schedule that is blurred."""
        t = expand(t, self._waves)
        return self.schedule.log_snr(t) + 2 * self._kept(t).log()

    def inverse(self, log_snr: Tensor) -> Tensor:
        """By the mean of an item, which is not blurred."""
        return self.schedule.inverse(log_snr)

    def snr_rate(self, t: Tensor) -> Tensor:
        """By the product rule; all else is a function of the SNR of what is not blurred."""
        t = expand(t, self._waves)
        snr, kept = (self.schedule.alpha(t) / self.schedule.sigma(t)) ** 2, self._kept(t)
        # The width of the blur is w / (1 + SNR), so that this is minus its product with its slope by the SNR.
        widening = self.width**2 / (1 + snr) ** 3
        loss = (kept - LEAST) * widening * self._waves.to(t)
        return self.schedule.snr_rate(t) * kept * (kept + 2 * snr * loss)

    def _kept(self, t: Tensor) -> Tensor:
        alpha, sigma = self.schedule.alpha(t), self.schedule.sigma(t)
        width = self.width * sigma**2 / (alpha**2 + sigma**2)
        return (1 - LEAST) * (-(width**2) * self._waves.to(t) / 2).exp() + LEAST


def item_times(t: Time, like: Tensor) -> Tensor:
    """Times of whole items, of shape ``()`` or ``(B,)``; refused where elements have times of their own."""
    t = as_time(t, like)
    if t.ndim > 1 and t[0].numel() > 1:
        raise UserError(
            "heat spreads from element to element, so that none of them can have a time of its own, or be given: "
            "train with --given 0, and infill with another --noise-schedule"
        )
    return t.flatten()[: len(t)] if t.ndim > 1 else t
