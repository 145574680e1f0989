r"""Where time is looked at: laws of t for training, and grids of t for sampling.

A grid of n steps is a float64 tensor of n + 1 strictly falling times, from 1 exactly to 0 exactly. A time law is
given by its quantile function, so that even numbers in [0, 1) become evenly spread noise levels.
"""

import math
from abc import ABC, abstractmethod

import torch
from torch import Tensor

from suffuse.schedules import Schedule

RATIO_RANGE = (0.002, 80.0)
r"""Grids spend their steps where :math:`\sigma_t / \alpha_t` lies between these: above, nothing is known yet, and below
them nothing changes that a picture could show."""


def uniform(n: int) -> Tensor:
    """N equal steps in t.

    Example:
        >>> uniform(4)
        tensor([1.0000, 0.7500, 0.5000, 0.2500, 0.0000], dtype=torch.float64)
    """
    return 1 - torch.arange(_checked(n) + 1, dtype=torch.float64) / n


def log_snr(schedule: Schedule, n: int) -> Tensor:
    r"""N steps, equal in :math:`\log(\sigma_t / \alpha_t)`, between the ends of the schedule or 80 and 0.002,
    whichever is tighter.

    Source: "DPM-Solver" (Lu, Zhou, Bao, Chen, Li, Zhu, 2022).
    """
    low, high = _ratio_ends(schedule)
    return _through_ratio(schedule, high * (low / high) ** (_steps(n)))


def karras(schedule: Schedule, n: int, rho: float = 7.0) -> Tensor:
    r"""N steps, equal in :math:`(\sigma_t / \alpha_t)^{1/\rho}`, between the ends of the schedule or 80 and 0.002,
    whichever is tighter.

    Source: "Elucidating the Design Space of Diffusion-Based Generative Models" (Karras, Aittala, Aila, Laine, 2022).
    """
    low, high = (ratio ** (1 / rho) for ratio in _ratio_ends(schedule))
    return _through_ratio(schedule, (high + _steps(n) * (low - high)) ** rho)


def straight(schedule: Schedule, n: int, scale: float = 1.0, power: float = 1.0) -> Tensor:
    r"""N steps, equal in :math:`\tau^{1 / p}`, :math:`\tau = \sigma_t / (c \alpha_t + \sigma_t)`, from one end of the
    schedule to the other.

    With c the deviation of the data and p = 1, as many steps are spent where data outweighs noise as where noise
    outweighs data; a greater p spends more of them towards the data. For ``Flow`` and c = 1 the grid is uniform, and
    for other c it is that grid *shifted* by c: for data at twice the side of what c was chosen for, 2 c.

    Sources: "Flow Straight and Fast" (Liu, Gong, Liu, 2023); the shift as in "Scaling Rectified Flow Transformers for
    High-Resolution Image Synthesis" (Esser et al., 2024), equation 23.

    Example:
        >>> from suffuse.schedules import Flow
        >>> straight(Flow(), 4, 3.0)
        tensor([1.0000, 0.9000, 0.7500, 0.5000, 0.0000], dtype=torch.float64)
    """
    first, last = (1 / (1 + scale / ratio) if ratio > 0 else 0.0 for ratio in _own_ends(schedule))
    tau = first + (1 - _steps(n)) ** power * (last - first)
    return _through_ratio(schedule, scale * tau / (1 - tau))


def cosine(schedule: Schedule, n: int) -> Tensor:
    r"""N steps, equal in the angle :math:`\arctan(\sigma_t / \alpha_t)`: uniform for ``Cosine``.

    Source: "Improved Denoising Diffusion Probabilistic Models" (Nichol, Dhariwal, 2021).
    """
    first, last = (math.atan(ratio) for ratio in _own_ends(schedule))
    return _through_ratio(schedule, torch.tan(last + _steps(n) * (first - last)))


def quadratic(n: int) -> Tensor:
    """N steps, equal in the square root of t: finer towards the data.

    Source: "Denoising Diffusion Implicit Models" (Song, Meng, Ermon, 2021), appendix D.

    Example:
        >>> quadratic(2)
        tensor([1.0000, 0.2500, 0.0000], dtype=torch.float64)
    """
    return uniform(n) ** 2


def _checked(n: int) -> int:
    if n < 1:
        raise ValueError(f"a grid needs at least one step, got {n}")
    return n


def _steps(n: int) -> Tensor:
    return torch.arange(_checked(n) + 1, dtype=torch.float64) / n


def _own_ends(schedule: Schedule) -> tuple[float, float]:
    first, last = torch.exp(-schedule.log_snr(torch.tensor([0.0, 1.0], dtype=torch.float64)) / 2).tolist()
    return first, last


def _ratio_ends(schedule: Schedule) -> tuple[float, float]:
    first, last = _own_ends(schedule)
    return max(first, RATIO_RANGE[0]), min(last, RATIO_RANGE[1])


def _through_ratio(schedule: Schedule, ratio: Tensor) -> Tensor:
    """Times of these sigma/alpha, with the two ends put where every grid has them."""
    times = schedule.inverse(-2 * ratio.log())
    times[0], times[-1] = 1.0, 0.0
    return times


class TimeLaw(ABC):
    """A distribution of t on [0, 1], by its quantile function and its density."""

    @abstractmethod
    def quantile(self, u: Tensor) -> Tensor:
        """Times for numbers u in [0, 1), rising with u."""

    @abstractmethod
    def density(self, t: Tensor) -> Tensor:
        """Density p(t), of t's shape."""


class Uniform(TimeLaw):
    """All times alike.

    Example:
        >>> Uniform().density(torch.tensor([0.3]))
        tensor([1.])
    """

    def quantile(self, u: Tensor) -> Tensor:
        """U itself."""
        return u

    def density(self, t: Tensor) -> Tensor:
        """One."""
        return torch.ones_like(t)


class LogNormal(TimeLaw):
    r"""Normal in :math:`\log(\sigma_t / \alpha_t)`, cut at the ends of the schedule.

    .. math:: \log(\sigma_t / \alpha_t) \sim N(m, s^2), \qquad
        p(t) = N(-\lambda_t / 2; m, s^2) \, |\lambda_t'| / 2 \, / \, P(\text{inside}).

    Source: "Elucidating the Design Space of Diffusion-Based Generative Models" (Karras et al., 2022), m = -1.2, s =
    1.2 for data of deviation one half.

    Args:
        schedule: whose sigma/alpha is meant.
        mean: of the log ratio.
        std: of the log ratio, positive.
    """

    def __init__(self, schedule: Schedule, mean: float = -1.2, std: float = 1.2) -> None:
        self.schedule, self.mean, self.std = schedule, mean, std
        ends = -schedule.log_snr(torch.tensor([0.0, 1.0], dtype=torch.float64)) / 2
        self._low, self._high = torch.special.ndtr((ends - mean) / std).tolist()

    def quantile(self, u: Tensor) -> Tensor:
        """Through the normal quantile and the schedule's inverse."""
        z = torch.special.ndtri(self._low + u.double() * (self._high - self._low))
        return self.schedule.inverse(-2 * (self.mean + self.std * z)).to(u.dtype)

    def density(self, t: Tensor) -> Tensor:
        """See the class."""
        z = (-self.schedule.log_snr(t) / 2 - self.mean) / self.std
        normal = torch.exp(-(z**2) / 2) / (self.std * math.sqrt(2 * math.pi))
        return normal * self.schedule.log_snr_rate(t).abs() / 2 / (self._high - self._low)


class LogitNormal(TimeLaw):
    r"""Normal in :math:`\log(t / (1 - t))`, which favours the middle of a flow.

    Source: "Scaling Rectified Flow Transformers for High-Resolution Image Synthesis" (Esser et al., 2024).
    """

    def __init__(self, mean: float = 0.0, std: float = 1.0) -> None:
        self.mean, self.std = mean, std

    def quantile(self, u: Tensor) -> Tensor:
        """See the class."""
        return torch.sigmoid(self.mean + self.std * torch.special.ndtri(u.double())).to(u.dtype)

    def density(self, t: Tensor) -> Tensor:
        """See the class."""
        z = (torch.logit(t) - self.mean) / self.std
        return torch.exp(-(z**2) / 2) / (self.std * math.sqrt(2 * math.pi)) / (t * (1 - t))
