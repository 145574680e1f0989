"""Restoration in the coordinates in which the operator is a number for each."""

import torch
from torch import Tensor

from suffuse.errors import UserError
from suffuse.guidance import Observed
from suffuse.operators import Linear, Spectrum
from suffuse.restoration.base import Restorer, gaussian
from suffuse.rng import Streams
from suffuse.tree import Condition


class DDRM(Restorer):
    r"""Denoising diffusion restoration: each singular direction of the operator is measured by itself, with noise
    :math:`\text{noise} / s_i`.

    Along a direction that is not seen a step is DDIM's with a share :math:`\eta` of noise. Along one that is seen the
    measurement is followed where it is sharper than the state at s will be,
    :math:`x_s = \alpha_s \bar y + \sqrt{\sigma_s^2 - \alpha_s^2 \text{noise}^2 / s_i^2} \, \varepsilon`; elsewhere it
    stands for the noise that a step takes over. One evaluation a step. The mean is never changed by what was measured
    of other directions but through the denoiser, so that draws are not exact.

    Source: "Denoising Diffusion Restoration Models" (Kawar, Elad, Ermon, Song, 2022), with all of the measurement used
    (there :math:`\eta_b = 1`).

    Args:
        eta: share of fresh noise, in [0, 1].
    """

    def __init__(self, eta: float = 0.85) -> None:
        if not 0 <= eta <= 1:
            raise ValueError(f"eta must lie in [0, 1], got {eta}")
        self.eta = eta

    def prepare(self, observed: Observed, x1: Tensor) -> tuple[Spectrum, Tensor]:
        """The decomposition of the operator, and what was measured along it.

        Raises:
            UserError: there is none in closed form.
        """
        operator = observed.operator
        spectrum = operator.spectrum(x1) if isinstance(operator, Linear) else None
        if spectrum is None:
            raise UserError(f"DDRM needs an operator with a closed singular value decomposition, and "
                            f"{type(operator).__name__} has none; DiffPIR takes any")  # fmt: skip
        return spectrum, spectrum.inverted(spectrum.measured(observed.measured(x1).y))

    def down(
        self,
        observed: Observed,
        x_t: Tensor,
        t: Tensor,
        s: Tensor,
        condition: Condition,
        prepared: tuple[Spectrum, Tensor],
        rng: Streams,
    ) -> Tensor:
        """See the class."""
        spectrum, seen = prepared
        mean = spectrum.to(observed.denoiser(x_t, t, condition).mean)
        (alpha_t, sigma_t), (alpha_s, sigma_s) = (gaussian(observed).coordinates(time, x_t) for time in (t, s))
        noise = rng.normal(mean)
        kept = sigma_s * (1 - self.eta**2) ** 0.5
        hidden = alpha_s * mean + kept * (spectrum.to(x_t) - alpha_t * mean) / sigma_t + self.eta * sigma_s * noise
        # The deviation of the measurement along each direction, times its value: no division by a value of zero.
        deviation = alpha_s * observed.noise
        blunt = alpha_s * mean + kept * spectrum.values / max(observed.noise, 1e-300) * (seen - mean)
        blunt = blunt + self.eta * sigma_s * noise
        left = sigma_s**2 - spectrum.inverted(spectrum.inverted(deviation**2 * torch.ones_like(mean)))
        sharp = alpha_s * seen + left.clamp(min=0.0).sqrt() * noise
        along = torch.where(sigma_s * spectrum.values >= deviation, sharp, blunt)
        return spectrum.back(torch.where(spectrum.seen, along, hidden))
