r"""Noise schedules: the scales of :math:`x_t = \alpha_t x_0 + \sigma_t \varepsilon`.

Time runs over [0, 1]: 0 is data, 1 is noise. A schedule knows its two scales, the log signal-to-noise ratio
:math:`\lambda_t = \log(\alpha_t^2 / \sigma_t^2)` and its inverse, and nothing else.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable

import torch
from torch import Tensor


class Schedule(ABC):
    r"""A pair of scales with strictly falling signal-to-noise ratio.

    All methods take times of any shape and return that shape and dtype. The ends of :math:`\lambda` may be infinite
    and invert to exactly 0 and 1.
    """

    @abstractmethod
    def alpha(self, t: Tensor) -> Tensor:
        r"""Scale of the data, :math:`\alpha_t`, with :math:`\alpha_0 = 1`."""

    @abstractmethod
    def sigma(self, t: Tensor) -> Tensor:
        r"""Scale of the noise, :math:`\sigma_t`."""

    @abstractmethod
    def inverse(self, log_snr: Tensor) -> Tensor:
        r"""Time at which :math:`\lambda_t` has this value, clamped to [0, 1]."""

    def log_snr(self, t: Tensor) -> Tensor:
        r""":math:`\lambda_t = 2 \log(\alpha_t / \sigma_t)`."""
        return 2 * (self.alpha(t).log() - self.sigma(t).log())

    def log_snr_rate(self, t: Tensor) -> Tensor:
        r""":math:`d\lambda_t / dt`, negative, by forward differentiation."""
        return _slope(self.log_snr, t)

    def snr_rate(self, t: Tensor) -> Tensor:
        r""":math:`d \mathrm{SNR} / dt`, negative, and zero where :math:`\alpha_t = 0`."""
        return _slope(lambda t: (self.alpha(t) / self.sigma(t)) ** 2, t)


def _slope(function: Callable[[Tensor], Tensor], t: Tensor) -> Tensor:
    """Derivative, in t's precision: torch's own raises that of a scalar's."""
    return torch.func.jvp(function, (t,), (torch.ones_like(t),))[1].to(t.dtype)


class VP(Schedule):
    r"""Variance preserving, with a linear beta.

    .. math:: \log \alpha_t = -\tfrac14 (\beta_1 - \beta_0) t^2 - \tfrac12 \beta_0 t, \qquad \sigma_t^2 = 1 -
    \alpha_t^2.

    Ends: :math:`\alpha_0 = 1, \sigma_0 = 0`; :math:`\alpha_1 = 0.0066`, :math:`\sigma_1 = 0.99998`. Since
    :math:`\sigma_0 = 0`, ``sample`` returns clean data at t = 0.

    Source: "Score-Based Generative Modeling through Stochastic Differential Equations" (Song, Sohl-Dickstein, Kingma,
    Kumar, Ermon, Poole, 2021).

    Example:
        >>> VP().alpha(torch.tensor([0.0, 1.0]))
        tensor([1.0000, 0.0066])
    """

    def __init__(self, beta_min: float = 0.1, beta_max: float = 20.0) -> None:
        self.beta_min, self.beta_max = beta_min, beta_max

    def _log_alpha(self, t: Tensor) -> Tensor:
        return -t * ((self.beta_max - self.beta_min) * t / 4 + self.beta_min / 2)

    def alpha(self, t: Tensor) -> Tensor:
        """See the class."""
        return self._log_alpha(t).exp()

    def sigma(self, t: Tensor) -> Tensor:
        """See the class."""
        return (-torch.expm1(2 * self._log_alpha(t))).sqrt()

    def log_snr(self, t: Tensor) -> Tensor:
        """In the form that keeps its digits near t = 0."""
        return -torch.expm1(-2 * self._log_alpha(t)).log()

    def inverse(self, log_snr: Tensor) -> Tensor:
        """Root of the quadratic in t, in the form without cancellation."""
        minus_log_alpha = torch.nn.functional.softplus(-log_snr, threshold=800) / 2
        slope = self.beta_max - self.beta_min
        root = (self.beta_min**2 / 4 + slope * minus_log_alpha).sqrt()
        t = minus_log_alpha / (self.beta_min / 4 + root / 2)
        return torch.where(log_snr == -torch.inf, 1.0, t).clamp(0, 1)


class Cosine(Schedule):
    r"""Variance preserving, on a quarter of a circle: :math:`\alpha_t = \cos(\pi t / 2), \sigma_t = \sin(\pi t / 2)`.

    Ends: :math:`\alpha_0 = 1, \sigma_0 = 0`; :math:`\alpha_1 = 0` exactly, :math:`\sigma_1 = 1`. ``sample`` returns
    clean data at t = 0.

    Source: "Improved Denoising Diffusion Probabilistic Models" (Nichol, Dhariwal, 2021), without their offset.

    Example:
        >>> Cosine().alpha(torch.tensor([0.0, 1.0]))
        tensor([1., 0.])
    """

    def alpha(self, t: Tensor) -> Tensor:
        """As a sine of 1 - t, which is exactly zero at t = 1."""
        return torch.sin(math.pi / 2 * (1 - t))

    def sigma(self, t: Tensor) -> Tensor:
        """See the class."""
        return torch.sin(math.pi / 2 * t)

    def inverse(self, log_snr: Tensor) -> Tensor:
        """See the class."""
        return (torch.atan(torch.exp(-log_snr / 2)) * (2 / math.pi)).clamp(0, 1)


class Flow(Schedule):
    r"""Straight lines from data to noise: :math:`\alpha_t = 1 - t, \sigma_t = t` (rectified flow, flow matching).

    Ends: :math:`\alpha_0 = 1, \sigma_0 = 0`; :math:`\alpha_1 = 0, \sigma_1 = 1`, all exact. ``sample`` returns clean
    data at t = 0.

    Source: "Flow Matching for Generative Modeling" (Lipman, Chen, Ben-Hamu, Nickel, Le, 2023), "Flow Straight and Fast"
    (Liu, Gong, Liu, 2023).

    Example:
        >>> Flow().log_snr(torch.tensor([0.0, 0.5, 1.0]))
        tensor([inf, 0., -inf])
    """

    def alpha(self, t: Tensor) -> Tensor:
        """See the class."""
        return 1 - t

    def sigma(self, t: Tensor) -> Tensor:
        """See the class."""
        return t * 1

    def inverse(self, log_snr: Tensor) -> Tensor:
        """See the class."""
        return torch.sigmoid(-log_snr / 2)


class EDM(Schedule):
    r"""Variance exploding, :math:`\alpha_t = 1`, with the noise levels of Karras et al. spaced evenly in t.

    .. math:: \sigma_t = \left(\sigma_{\min}^{1/\rho} + t (\sigma_{\max}^{1/\rho} - \sigma_{\min}^{1/\rho})\right)^\rho.

    Ends: :math:`\sigma_0 = 0.002`, a floor, and :math:`\sigma_1 = 80`. At t = 0 ``sample`` therefore returns data
    with noise of deviation 0.002 left in it, less than an eight-bit picture can show.

    Source: "Elucidating the Design Space of Diffusion-Based Generative Models" (Karras, Aittala, Aila, Laine, 2022).

    Example:
        >>> EDM().sigma(torch.tensor([0.0, 1.0]))
        tensor([2.0000e-03, 8.0000e+01])
    """

    def __init__(self, sigma_min: float = 0.002, sigma_max: float = 80.0, rho: float = 7.0) -> None:
        self.sigma_min, self.sigma_max, self.rho = sigma_min, sigma_max, rho

    def alpha(self, t: Tensor) -> Tensor:
        """One, always."""
        return torch.ones_like(t)

    def sigma(self, t: Tensor) -> Tensor:
        """See the class."""
        low, high = self.sigma_min ** (1 / self.rho), self.sigma_max ** (1 / self.rho)
        return (low + t * (high - low)) ** self.rho

    def inverse(self, log_snr: Tensor) -> Tensor:
        """See the class."""
        low, high = self.sigma_min ** (1 / self.rho), self.sigma_max ** (1 / self.rho)
        return ((torch.exp(-log_snr / (2 * self.rho)) - low) / (high - low)).clamp(0, 1)


class Tabulated(Schedule):
    r"""Any table of betas, so that a model trained elsewhere in N discrete steps runs here in continuous time.

    .. math:: \log \alpha_{(i + 1) / N}^2 = \sum_{j \le i} \log(1 - \beta_j), \qquad \sigma_t^2 = 1 - \alpha_t^2,

    linear between the knots :math:`t = (i + 1) / N`, with t = 0 clean: :math:`\alpha_0 = 1, \sigma_0 = 0`, so
    ``sample`` returns clean data at t = 0. The trained step i is at t = (i + 1) / N. :math:`\sigma_1` follows from
    the table. A last beta of 1 leaves nothing of the data, :math:`\alpha_1 = 0`; on the way there, where the logarithm
    falls without end, :math:`\alpha^2` itself is linear.

    Args:
        betas: (N,) numbers in (0, 1), the last in (0, 1].

    Example:
        >>> Tabulated.linear(1000, 1e-4, 0.02).alpha(torch.tensor([0.0, 1.0]))
        tensor([1.0000, 0.0064])
    """

    def __init__(self, betas: Tensor) -> None:
        self.betas = torch.as_tensor(betas, dtype=torch.float64).cpu()
        steps = torch.cumsum(torch.log1p(-self.betas), 0)
        self._knots = torch.cat([torch.zeros(1, dtype=torch.float64), steps])  # log alpha^2, falling

    @classmethod
    def linear(cls, steps: int = 1000, first: float = 1e-4, last: float = 0.02) -> "Tabulated":
        """The table of "Denoising Diffusion Probabilistic Models" (Ho, Jain, Abbeel, 2020)."""
        return cls(torch.linspace(first, last, steps, dtype=torch.float64))

    def _between(self, t: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The knot before t, the fall to the next, and the share of the way there."""
        knots = self._knots.to(t.device, t.dtype)
        place = t * (len(knots) - 1)
        below = place.detach().floor().long().clamp(0, len(knots) - 2)
        return knots[below], knots[below + 1] - knots[below], place - below

    def _log_alpha_squared(self, t: Tensor) -> Tensor:
        start, fall, share = self._between(t)
        vanishes = fall.isinf()
        line = share * torch.where(vanishes, 0.0, fall)
        return start + torch.where(vanishes, torch.log1p(-torch.where(vanishes, share, 0.0)), line)

    def alpha(self, t: Tensor) -> Tensor:
        """See the class."""
        return (self._log_alpha_squared(t) / 2).exp()

    def sigma(self, t: Tensor) -> Tensor:
        """See the class."""
        return (-torch.expm1(self._log_alpha_squared(t))).sqrt()

    def log_snr(self, t: Tensor) -> Tensor:
        """In the form that keeps its digits near t = 0."""
        return -torch.expm1(-self._log_alpha_squared(t)).log()

    def snr_rate(self, t: Tensor) -> Tensor:
        r""":math:`(\alpha_t^2)' / \sigma_t^4`, finite where :math:`\alpha_1 = 0` too, and alpha has no slope."""
        start, fall, _ = self._between(t)
        slope = torch.where(fall.isinf(), -start.exp(), self.alpha(t) ** 2 * fall.clamp(min=torch.finfo(t.dtype).min))
        return slope * len(self.betas) / self.sigma(t) ** 4

    def inverse(self, log_snr: Tensor) -> Tensor:
        """By search in the table, and linear between its knots."""
        fall = -self._knots.to(log_snr.device, log_snr.dtype)  # rising
        wanted = torch.nn.functional.softplus(-log_snr, threshold=800)
        below = (torch.searchsorted(fall, wanted.contiguous(), right=True) - 1).clamp(0, len(fall) - 2)
        further, step = wanted - fall[below], fall[below + 1] - fall[below]
        t = (below + torch.where(step.isinf(), -torch.expm1(-further), further / step)) / (len(fall) - 1)
        return torch.where(log_snr == -torch.inf, 1.0, t).clamp(0, 1)


SCHEDULES: dict[str, type[Schedule]] = {
    "vp": VP,
    "cosine": Cosine,
    "edm": EDM,
    "flow": Flow,
    "tabulated": Tabulated,
}
"""Every schedule by its name in a recipe; the law tests run over it."""
