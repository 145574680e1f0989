r"""How good restored pictures are: near the truth, true to what was measured, and as unsure as they should be."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from suffuse.errors import UserError
from suffuse.metrics.bootstrap import Interval, bootstrap, mean_interval
from suffuse.metrics.series import covered
from suffuse.operators import Mask, Operator

_SPAN = 2.0
"""White less black."""
_WINDOW, _SIGMA = 11, 1.5
_STABLE = (0.01, 0.03)


def psnr(found: Tensor, truth: Tensor) -> Tensor:
    r"""Peak signal-to-noise ratio of each picture, in decibels: more is better.

    .. math:: 10 \log_{10} \frac{L^2}{\text{mean} (x - \hat x)^2}, \qquad L = 2.

    Args:
        found: (B, ...) pictures in [-1, 1].
        truth: (B, ...) what they should be.

    Returns:
        (B,), infinite where both are the same.

    Example:
        >>> psnr(torch.tensor([[0.2, -0.2]]), torch.zeros(1, 2))
        tensor([20.])
    """
    return 10 * torch.log10(_SPAN**2 / (found - truth).square().flatten(1).mean(1))


def ssim(found: Tensor, truth: Tensor) -> Tensor:
    r"""Structural similarity of each picture, at most 1, which is the same picture.

    .. math:: \frac{(2 \mu_x \mu_y + c_1)(2 \sigma_{xy} + c_2)}
        {(\mu_x^2 + \mu_y^2 + c_1)(\sigma_x^2 + \sigma_y^2 + c_2)},

    with :math:`c_i = (2 k_i)^2`, k = (0.01, 0.03), and moments of values from black, 0, to white, 2, under a Gaussian
    window of 11 pixels and deviation 1.5; the mean over all places where the window fits, and over channels.

    Source: "Image Quality Assessment: From Error Visibility to Structural Similarity" (Wang, Bovik, Sheikh, Simoncelli,
    2004).

    Args:
        found: (B, C, H, W) pictures in [-1, 1].
        truth: (B, C, H, W) what they should be.

    Raises:
        UserError: the window does not fit into the pictures.

    Example:
        >>> picture = torch.linspace(-1, 1, 256).reshape(1, 1, 16, 16)
        >>> ssim(picture, picture), float(ssim(-picture, picture)) < 0
        (tensor([1.]), True)
    """
    if min(truth.shape[-2:]) < _WINDOW:
        raise UserError(f"SSIM looks through windows of {_WINDOW}x{_WINDOW} pixels, and these pictures are "
                        f"{truth.shape[-2]}x{truth.shape[-1]}; take PSNR for them")  # fmt: skip
    x, y = (each.double() + _SPAN / 2 for each in (found, truth))
    c1, c2 = ((k * _SPAN) ** 2 for k in _STABLE)
    mean_x, mean_y = _windowed(x), _windowed(y)
    var_x, var_y = _windowed(x * x) - mean_x**2, _windowed(y * y) - mean_y**2
    both = _windowed(x * y) - mean_x * mean_y
    similar = (2 * mean_x * mean_y + c1) * (2 * both + c2)
    return (similar / ((mean_x**2 + mean_y**2 + c1) * (var_x + var_y + c2))).flatten(1).mean(1).to(truth.dtype)


def _windowed(x: Tensor) -> Tensor:
    """Means under the window."""
    places = torch.arange(_WINDOW, dtype=x.dtype, device=x.device) - _WINDOW // 2
    weights = torch.exp(-0.5 * (places / _SIGMA) ** 2)
    weights = weights / weights.sum()
    for axis in (-2, -1):
        x = x.unfold(axis, _WINDOW, 1) @ weights
    return x


def lpips(found: Tensor, truth: Tensor) -> Tensor:
    """Distance of each picture in the features of a network that was trained to see as people do: less is better.

    It needs the package lpips, and the weights of its network, which torchvision keeps or fetches.

    Source: "The Unreasonable Effectiveness of Deep Features as a Perceptual Metric" (Zhang, Isola, Efros, Shechtman,
    Wang, 2018).

    Args:
        found: (B, C, H, W) pictures in [-1, 1], of 1 or 3 channels.
        truth: (B, C, H, W) what they should be.

    Raises:
        UserError: package or weights are not at hand.
    """
    try:
        from lpips import LPIPS  # pyright: ignore[reportMissingImports]

        network: Any = LPIPS(net="alex", verbose=False)
    except (ImportError, OSError) as missing:
        raise UserError("LPIPS needs its package and its weights: pip install lpips, and once a network") from missing
    with torch.no_grad():
        return network(*(each.expand(-1, 3, -1, -1).float() for each in (found, truth))).flatten()


def of_measured(operator: Operator, y: Tensor) -> Tensor:
    """(B, m) numbers of measurements (B, ...) that were measured: those of a mask where it sees, of others all."""
    if isinstance(operator, Mask):
        return y[operator.mask.to(y.device).expand_as(y)].reshape(len(y), -1)
    return y.flatten(1)


def consistency(states: Tensor, operator: Operator, y: Tensor, noise: float) -> Tensor:
    r"""How far states are from what was measured of them: :math:`\sqrt{\text{mean} (y - A x)^2} / \text{noise}`.

    1 is as far as the truth itself; less fits the noise. Without noise it is in units of the state.

    Args:
        states: (B, ...).
        operator: A.
        y: (B, ...) or (1, ...) measurement.
        noise: deviation of its noise, at least 0.

    Returns:
        (B,): 0 where nothing was measured.

    Example:
        >>> import suffuse as sf
        >>> seen = sf.operators.Mask(torch.tensor([True, False]))
        >>> consistency(torch.tensor([[1.0, 5.0]]), seen, torch.tensor([[1.2, 0.0]]), noise=0.1)
        tensor([2.0000])
    """
    residual = of_measured(operator, y - operator(states))
    if residual.shape[1] == 0:
        return residual.new_zeros(len(residual))
    return residual.square().mean(1).sqrt() / (noise or 1.0)


def coverage(draws: Tensor, truth: Tensor, where: Tensor | None = None, share: float = 0.9) -> Interval:
    """Share of true numbers inside the interval of their draws; of calibrated draws as much as was asked for.

    The ends are order statistics, exact for any law, as long as the draws are at least 2 / (1 - share) - 1: for 90% 19;
    of fewer they are the smallest and the largest. Items are resampled for the interval of confidence.

    Args:
        draws: (N, B, ...) of each item.
        truth: (B, ...).
        where: (...) bool, which numbers count; by default all.
        share: that the interval is to hold.

    Example:
        >>> coverage(torch.randn(19, 2000, 1, generator=torch.Generator().manual_seed(0)), torch.zeros(2000, 1)).value
        1.0
    """
    drawn, true = _numbers(draws, truth, where)
    return mean_interval(covered(drawn, true, share).mean(1))


def rank_deviation(draws: Tensor, truth: Tensor, where: Tensor | None = None) -> Interval:
    r"""How far the ranks of true numbers among their draws are from even.

    .. math:: \tfrac12 \sum_r \left| p_r - \tfrac{1}{N + 1} \right|.

    0 is calibrated, and 1 - 1 / (N + 1) the worst: all of one rank. What equals several draws counts evenly for all
    ranks that it may have. Items are resampled for the interval of confidence.

    Source: "Interpretation of Rank Histograms for Verifying Ensemble Forecasts" (Hamill, 2001).

    Args:
        draws: (N, B, ...) of each item.
        truth: (B, ...).
        where: (...) bool, which numbers count; by default all.

    Example:
        >>> rank_deviation(torch.zeros(3, 4, 1), torch.ones(4, 1)).value
        0.75
    """
    drawn, true = _numbers(draws, truth, where)
    below, equal = (drawn < true).sum(0), (drawn == true).sum(0)
    ranks = np.arange(len(drawn) + 1)[:, None, None]
    shares = (((below <= ranks) & (ranks <= below + equal)) / (equal + 1)).mean(2)  # (N + 1, B)
    return bootstrap(
        lambda rows: float(np.abs(shares[:, rows].mean(1) - 1 / len(ranks)).sum() / 2), [len(truth)], least=0.0
    )


def _numbers(draws: Tensor, truth: Tensor, where: Tensor | None) -> tuple[np.ndarray, np.ndarray]:
    """(N, B, M) and (B, M): the numbers that count."""
    counts = torch.ones(truth.shape[1:], dtype=torch.bool) if where is None else where.expand(truth.shape[1:])
    return draws[:, :, counts].numpy(), truth[:, counts].numpy()
