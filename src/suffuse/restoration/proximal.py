"""Restoration by a compromise of denoiser and measurement in every step."""

from typing import Any

from torch import Tensor

from suffuse.guidance import Observed
from suffuse.parameterizations import Spread
from suffuse.restoration.base import Restorer, gaussian
from suffuse.rng import Streams
from suffuse.tree import Condition


class DiffPIR(Restorer):
    r"""Plug-and-play restoration: the mean goes to the best compromise with the measurement, then part of the noise is
    drawn anew.

    .. math:: \hat m = \arg\min_x \frac{\| y - A x \|^2}{2 \, \text{noise}^2} + \frac{\lambda}{2 r_t^2} \| x - m \|^2,
        \qquad x_s = \alpha_s \hat m + \sigma_s \left(\sqrt{1 - \zeta} \, \frac{x_t - \alpha_t \hat m}{\sigma_t} +
        \sqrt{\zeta} \, \varepsilon\right).

    One evaluation a step and no gradients through the denoiser. The width :math:`r_t^2` is that of
    :class:`~suffuse.guidance.PiGDM`, which is finite at t = 1; in the source it is :math:`\sigma_t^2 / \alpha_t^2`.

    Source: "Denoising Diffusion Models for Plug-and-Play Image Restoration" (Zhu, Zhang, Liang, Cao, Wen, Timofte, Van
    Gool, 2023).

    Args:
        strength: lambda, of the denoiser against the measurement; positive.
        fresh: zeta, the share of the noise's variance that is drawn anew, in [0, 1].
    """

    def __init__(self, strength: float = 1.0, fresh: float = 0.3) -> None:
        if not (strength > 0 and 0 <= fresh <= 1):
            raise ValueError(f"strength must be positive and fresh lie in [0, 1], got {strength} and {fresh}")
        self.strength, self.fresh = strength, fresh

    def down(
        self, observed: Observed, x_t: Tensor, t: Tensor, s: Tensor, condition: Condition, prepared: Any, rng: Streams
    ) -> Tensor:
        """See the class."""
        at = observed.around(x_t, t, condition)
        mean = at.measured.nearest(Spread(at.spread.width / self.strength))
        (alpha_t, sigma_t), (alpha_s, sigma_s) = (gaussian(observed).coordinates(time, x_t) for time in (t, s))
        noise = (1 - self.fresh) ** 0.5 * (x_t - alpha_t * mean) / sigma_t + self.fresh**0.5 * rng.normal(x_t)
        return alpha_s * mean + sigma_s * noise
