"""The Gaussian forms, affine in what a network gives: one pair of coefficients for all elements of a level of noise."""

from abc import abstractmethod
from typing import Any

import torch
from torch import Tensor

from suffuse.errors import UserError
from suffuse.parameterizations.base import Parameterization
from suffuse.posteriors import Normal
from suffuse.processes import Gaussian, Process, Time
from suffuse.processes.base import as_time


class Affine(Parameterization):
    r"""The Gaussian forms:
    :math:`E[x_0 | x_t] = c_{\text{skip}} x_t + c_{\text{out}} F(x_t / \sqrt{\alpha_t^2 s^2 + \sigma_t^2})`.

    Args:
        sigma_data: s, the deviation of the data; scales the network's input to unit variance, as a function of SNR
        alone.
    """

    process = Gaussian

    def __init__(self, sigma_data: float = 1.0) -> None:
        self.sigma_data = sigma_data

    @abstractmethod
    def coefficients(self, alpha_t: Tensor, sigma_t: Tensor) -> tuple[Tensor, Tensor]:
        r""":math:`(c_{\text{skip}}, c_{\text{out}})`, of the shape of the scales."""

    def weight(self, t: Time, process: Gaussian, like: Tensor) -> Tensor:
        r""":math:`c_{\text{out}}^{-2}`: turns squared error in x_0 into squared error of the network's own output."""
        return self.coefficients(*process.coordinates(t, like))[1] ** -2

    def inputs(self, x_t: Tensor, t: Time, process: Gaussian) -> tuple[Tensor, Tensor]:
        """See the class."""
        alpha_t, sigma_t = process.coordinates(t, x_t)
        scaled = x_t * (alpha_t**2 * self.sigma_data**2 + sigma_t**2).rsqrt()
        return scaled, process.level(as_time(t, x_t)).to(x_t.dtype)

    def posterior(self, output: Tensor, x_t: Tensor, t: Time, process: Gaussian) -> Normal:
        """See the class."""
        skip, out = self.coefficients(*process.coordinates(t, x_t))
        return Normal(skip * x_t + out * output.to(x_t.dtype))


class Epsilon(Affine):
    r"""The noise: :math:`x_0 = (x_t - \sigma_t F) / \alpha_t`. Refused where :math:`\alpha_1 = 0`, since x_0 is then
    not determined.

    Source: "Denoising Diffusion Probabilistic Models" (Ho, Jain, Abbeel, 2020).
    """

    def check(self, process: Process[Any]) -> None:
        """See the class."""
        super().check(process)
        assert isinstance(process, Gaussian)
        if float(process.schedule.alpha(torch.tensor(1.0))) == 0:
            raise UserError(
                f"Epsilon cannot be used with {type(process.schedule).__name__}, whose alpha is 0 at t = 1: "
                "noise does not say what the data is there; use Velocity, Flow or EDM"
            )

    def coefficients(self, alpha_t: Tensor, sigma_t: Tensor) -> tuple[Tensor, Tensor]:
        """See the class."""
        return 1 / alpha_t, -sigma_t / alpha_t


class Velocity(Affine):
    r""":math:`v = \alpha_t \varepsilon - \sigma_t x_0`:
    :math:`x_0 = (\alpha_t x_t - \sigma_t F) / (\alpha_t^2 + \sigma_t^2)`.

    Source: "Progressive Distillation for Fast Sampling of Diffusion Models" (Salimans, Ho, 2022).
    """

    def coefficients(self, alpha_t: Tensor, sigma_t: Tensor) -> tuple[Tensor, Tensor]:
        """See the class."""
        norm = alpha_t**2 + sigma_t**2
        return alpha_t / norm, -sigma_t / norm


class Flow(Affine):
    r""":math:`u = \varepsilon - x_0`: :math:`x_0 = (x_t - \sigma_t F) / (\alpha_t + \sigma_t)`.

    Source: "Flow Matching for Generative Modeling" (Lipman, Chen, Ben-Hamu, Nickel, Le, 2023).
    """

    def coefficients(self, alpha_t: Tensor, sigma_t: Tensor) -> tuple[Tensor, Tensor]:
        """See the class."""
        return 1 / (alpha_t + sigma_t), -sigma_t / (alpha_t + sigma_t)


class Data(Affine):
    """The clean data itself: :math:`x_0 = F`."""

    def coefficients(self, alpha_t: Tensor, sigma_t: Tensor) -> tuple[Tensor, Tensor]:
        """See the class."""
        return torch.zeros_like(alpha_t), torch.ones_like(sigma_t)


class EDM(Affine):
    r"""Input, output and residual of unit variance at every level of noise.

    .. math:: x_0 = \frac{\alpha_t s^2}{\alpha_t^2 s^2 + \sigma_t^2} x_t + \frac{\sigma_t s}{\sqrt{\alpha_t^2 s^2 +
    \sigma_t^2}} F.

    Source: "Elucidating the Design Space of Diffusion-Based Generative Models" (Karras, Aittala, Aila, Laine, 2022),
    here for any schedule.

    Args:
        sigma_data: s, the deviation of the data.
    """

    def __init__(self, sigma_data: float = 0.5) -> None:
        super().__init__(sigma_data)

    def coefficients(self, alpha_t: Tensor, sigma_t: Tensor) -> tuple[Tensor, Tensor]:
        """See the class."""
        norm = alpha_t**2 * self.sigma_data**2 + sigma_t**2
        return alpha_t * self.sigma_data**2 / norm, sigma_t * self.sigma_data * norm.rsqrt()
