"""Short-time spectra of signals that lead back to them, and a compression of complex numbers."""

import math
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

_TINY = 1e-24
"""Power below which numbers are not told from nothing: 240 decibels under one."""


def frames(length: int, hop: int) -> int:
    """Frames of so many samples: each sample is seen by two.

    Example:
        >>> frames(8, 4), frames(9, 4)
        (3, 4)
    """
    return -(-length // hop) + 1


def spectrum(samples: Tensor, hop: int) -> Tensor:
    r"""The short-time spectrum of signals, real parts before imaginary ones; it keeps their energy.

    .. math:: X_{k,m} = \sqrt{\tfrac{1}{h}} \sum_{n=0}^{2h-1} \sin\Big(\pi \tfrac{n + 1/2}{2 h}\Big) \, x_{m h - h + n}
        \, e^{-i \pi (k + 1/2) (n + 1/2) / h}, \qquad k = 0, \dots, h - 1,

    for a hop of h. Frequencies lie between those of Fourier's, so that none is real; the squares of neighbouring
    windows add up to one, so that :func:`signal` is both the inverse and the adjoint.

    Args:
        samples: (B, C, T).
        hop: h.

    Returns:
        (B, 2 C, h, M) for M = :func:`frames`.

    Source: "Analysis/Synthesis Filter Bank Design Based on Time Domain Aliasing Cancellation" (Princen, Bradley, 1986),
    for the window.

    Example:
        >>> spectrum(torch.ones(1, 1, 5), 4).shape
        torch.Size([1, 2, 4, 3])
    """
    batch, channels, length = samples.shape
    count = frames(length, hop)
    padded = F.pad(samples.reshape(batch * channels, 1, length), (hop, count * hop - length))
    parts = F.conv1d(padded, _kernels(hop).to(samples), stride=hop)
    return parts.reshape(batch, channels, 2, hop, count).transpose(1, 2).flatten(1, 2)


def signal(state: Tensor, hop: int, length: int) -> Tensor:
    """The signals (B, C, T) of spectra (B, 2 C, h, M): of all the one whose spectrum is nearest.

    Example:
        >>> x = torch.randn(1, 2, 21, dtype=torch.float64)
        >>> torch.allclose(signal(spectrum(x, 4), 4, 21), x)
        True
    """
    batch, channels, count = len(state), state.shape[1] // 2, state.shape[3]
    paired = state.reshape(batch, 2, channels, hop, count).transpose(1, 2).reshape(batch * channels, 2 * hop, count)
    whole = F.conv_transpose1d(paired, _kernels(hop).to(state), stride=hop)
    return whole[..., hop : hop + length].reshape(batch, channels, length)


@lru_cache(maxsize=8)
def _kernels(hop: int) -> Tensor:
    """Windowed cosines and sines, (2 h, 1, 2 h)."""
    places = torch.arange(2 * hop, dtype=torch.float64) + 0.5
    angles = math.pi / hop * places * (torch.arange(hop, dtype=torch.float64)[:, None] + 0.5)
    window = torch.sin(math.pi / (2 * hop) * places)
    return (torch.cat([angles.cos(), -angles.sin()]) * window / math.sqrt(hop))[:, None]


def powered(state: Tensor, exponent: float) -> Tensor:
    r"""Complex numbers with magnitudes to a power and their phases, :math:`z \, |z|^{p - 1}`.

    With p below 1 what is quiet is nearer to what is loud; 1 / p undoes it.

    Args:
        state: (B, 2 C, ...), real parts before imaginary ones.
        exponent: p, positive.

    Example:
        >>> powered(torch.tensor([[3.0], [4.0]]).reshape(1, 2, 1), 2.0).flatten()
        tensor([15., 20.])
    """
    if exponent == 1:
        return state
    real, imaginary = state.chunk(2, 1)
    gain = (real.square() + imaginary.square()).clamp(min=_TINY) ** ((exponent - 1) / 2)
    return torch.cat([real * gain, imaginary * gain], 1)
