r"""What a network's output means: the maps from outputs to posteriors.

For Gaussian processes every form in use is affine, :math:`E[x_0 | x_t] = c_{\text{skip}} x_t + c_{\text{out}} F`, so
that each is one small class, and conversions go through the posterior instead of pairwise.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor

from suffuse.errors import UserError
from suffuse.posteriors import Categorical, Joint, Normal, Posterior, Rotated
from suffuse.processes import Bridge, Discrete, Gaussian, Heat, Process, Product, Time
from suffuse.processes.base import as_time
from suffuse.processes.heat import item_times
from suffuse.tree import State, expand

_SEEN = 7.0
"""A bridge's level beyond this is one of the first or the last thousandth of its time."""


class Parameterization(ABC):
    """The meaning of a network's inputs and outputs."""

    process: ClassVar[type[Process[Any]]] = Process
    """The processes that it fits."""
    sigma_data: float = 1.0
    """Deviation of the data, where that has a meaning."""

    def check(self, process: Process[Any]) -> None:
        """Refuse, in one sentence, a process that does not fit."""
        if not isinstance(process, self.process):
            raise UserError(
                f"{type(self).__name__} is a parameterization for {self.process.__name__} processes, "
                f"not for {type(process).__name__}"
            )

    @abstractmethod
    def inputs(self, x_t: Any, t: Any, process: Any) -> tuple[Any, Any]:
        """What the network is given: the scaled state, and the level of noise."""

    @abstractmethod
    def posterior(self, output: Any, x_t: Any, t: Any, process: Any) -> Posterior[Any]:
        """Read the network's output as a posterior."""


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


class PerFrequency(Parameterization):
    """For heat, one of the Gaussian forms for each frequency, at its own signal-to-noise ratio.

    The network sees and gives states; what it gives is read by its coefficients.

    Args:
        form: of each frequency.
    """

    process = Heat

    def __init__(self, form: Affine) -> None:
        self.form, self.sigma_data = form, form.sigma_data

    def check(self, process: Process[Any]) -> None:
        """What the form refuses is refused."""
        super().check(process)
        assert isinstance(process, Heat)
        self.form.check(Gaussian(process.schedule))

    def inputs(self, x_t: Tensor, t: Time, process: Heat) -> tuple[Tensor, Tensor]:
        """Scaled as what is not blurred: a blur takes nothing from the mean, and little from what varies slowly."""
        return self.form.inputs(x_t, t, Gaussian(process.schedule))

    def posterior(self, output: Tensor, x_t: Tensor, t: Time, process: Heat) -> Rotated:
        """See the class."""
        t, output = item_times(t, x_t), process.to(output.to(x_t.dtype))
        return process.rotated(self.form.posterior(output, process.to(x_t), t, process.along(x_t)))


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


class Logits(Parameterization):
    """Logits (B, ..., V) of the clean token."""

    process = Discrete

    def inputs(self, x_t: Tensor, t: Time, process: Discrete) -> tuple[Tensor, Tensor]:
        """The tokens as they are."""
        return x_t, process.level(as_time(t, x_t)).float()

    def posterior(self, output: Tensor, x_t: Tensor, t: Time, process: Discrete) -> Categorical:
        """Categorical."""
        return Categorical(output)


class Each(Parameterization):
    """A parameterization per leaf, for a Product; the network takes and gives mappings."""

    process = Product

    def __init__(self, parts: Mapping[str, Parameterization]) -> None:
        self.parts = dict(parts)

    def check(self, process: Process[Any]) -> None:
        """Leaf by leaf."""
        super().check(process)
        assert isinstance(process, Product)
        for name, part in self.parts.items():
            part.check(process.parts[name])

    def inputs(self, x_t: Mapping[str, Any], t: Any, process: Product) -> tuple[State, State]:
        """Leaf by leaf."""
        pairs = {n: p.inputs(x_t[n], _at(t, n), process.parts[n]) for n, p in self.parts.items()}
        return {n: pair[0] for n, pair in pairs.items()}, {n: pair[1] for n, pair in pairs.items()}

    def posterior(self, output: Any, x_t: Mapping[str, Any], t: Any, process: Product) -> Joint:
        """Leaf by leaf."""
        parts = self.parts.items()
        return Joint({n: p.posterior(output[n], x_t[n], _at(t, n), process.parts[n]) for n, p in parts})


class Direct(Parameterization):
    """No map at all: the "network" is a function of (x_t, t, condition) that gives a posterior or its mean."""

    def __init__(self, sigma_data: float = 1.0) -> None:
        self.sigma_data = sigma_data

    def inputs(self, x_t: State, t: Time, process: Process[Any]) -> tuple[State, Time]:
        """As they are."""
        return x_t, t

    def posterior(self, output: Any, x_t: State, t: Time, process: Process[Any]) -> Posterior[Any]:
        """A tensor is the mean of a Normal whose variance is not known; a mapping, of one for each leaf."""
        if isinstance(output, Posterior):
            return output
        if isinstance(output, Mapping):
            return Joint({name: self.posterior(leaf, x_t, t, process) for name, leaf in output.items()})
        return Normal(output)


def _at(t: Any, name: str) -> Any:
    return t[name] if isinstance(t, Mapping) else t


PARAMETERIZATIONS: dict[str, type[Parameterization]] = {
    "epsilon": Epsilon,
    "velocity": Velocity,
    "flow": Flow,
    "data": Data,
    "edm": EDM,
    "per frequency": PerFrequency,
    "drift": Drift,
    "bridged": Bridged,
    "logits": Logits,
    "each": Each,
}
"""Every parameterization by its name in a recipe; the law tests run over it."""
