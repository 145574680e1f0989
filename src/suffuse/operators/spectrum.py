"""Singular value decompositions in closed form, and the real bases that many of them stand on."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from suffuse.tree import expand

_SHORT = 64
"""Elements of an axis up to which a product with all its modes is faster than a fast transform."""


@dataclass(frozen=True)
class Spectrum:
    r"""The singular value decomposition of a linear operator, :math:`A = U S V^\top`.

    V is square, orthonormal and real. What the operator does not see has the value 0, and there the column of U is of
    no meaning.

    Attributes:
        values: S, at least 0, that broadcasts against the coefficients of an item.
        to: states (B, ...) to their coefficients (B, ...), :math:`V^\top x`.
        back: coefficients to states, :math:`V c`.
        measured: measurements to coefficients, :math:`U^\top y`.
        shown: coefficients to measurements, :math:`U c`, those of value 0 left out.
    """

    values: Tensor
    to: Callable[[Tensor], Tensor]
    back: Callable[[Tensor], Tensor]
    measured: Callable[[Tensor], Tensor]
    shown: Callable[[Tensor], Tensor]

    def inverted(self, c: Tensor) -> Tensor:
        """Coefficients over the values, and 0 where the value is 0 to the rounding of its type."""
        seen = self.seen
        return torch.where(seen, c / torch.where(seen, self.values, 1), 0)

    @property
    def seen(self) -> Tensor:
        """Where the values are not 0, to the rounding of their type."""
        return self.values > self.values.amax() * torch.finfo(self.values.dtype).eps * 100


def per_item(number: float | Tensor, like: Tensor) -> Tensor:
    """A number, or one for each item in a tensor of B elements, that broadcasts against a batch of any shape."""
    number = torch.as_tensor(number, dtype=like.dtype, device=like.device)
    return number if number.ndim == 0 else expand(number.reshape(-1), like)


def hartley(x: Tensor, axes: Sequence[int]) -> Tensor:
    r"""Hartley's transform of real numbers, orthonormal, and its own inverse.

    .. math:: H x = \mathrm{Re} F x - \mathrm{Im} F x,

    with the orthonormal Fourier transform F. It diagonalises every kernel that is symmetric about its centre.

    Source: "A More Symmetrical Fourier Analysis Applied to Transmission Problems" (Hartley, 1942).

    Args:
        x: any shape, real.
        axes: to transform.

    Example:
        >>> hartley(hartley(torch.tensor([1.0, 2.0, 4.0]), [0]), [0])
        tensor([1., 2., 4.])
    """
    f = torch.fft.fftn(x, dim=tuple(axes), norm="ortho")
    return f.real - f.imag


def cosines(x: Tensor, axes: Sequence[int]) -> Tensor:
    r"""The cosine transform of real numbers, orthonormal: the coefficients of the modes of heat in an insulated body.

    .. math:: c_k = \sqrt{\tfrac{2 - [k = 0]}{n}} \, \sum_j x_j \cos \frac{\pi k (2 j + 1)}{2 n} \quad \text{along
    every axis.}

    Source: "A Fast Cosine Transform in One and Two Dimensions" (Makhoul, 1980).

    Args:
        x: any shape, real.
        axes: to transform.

    Example:
        >>> cosines(torch.ones(4), [0]).round(decimals=4).abs()
        tensor([2., 0., 0., 0.])
    """
    for axis in axes:
        x = x.movedim(axis, -1)
        if x.shape[-1] <= _SHORT:
            x = _product(x, _modes(x.shape[-1], x.dtype, x.device).mT).movedim(-1, axis)
            continue
        folded = torch.cat([x[..., ::2], x[..., 1::2].flip(-1)], -1)
        turned = torch.fft.fft(folded, norm="ortho") * _turn(x)
        x = torch.cat([turned.real[..., :1], math.sqrt(2) * turned.real[..., 1:]], -1).movedim(-1, axis)
    return x


def from_cosines(c: Tensor, axes: Sequence[int]) -> Tensor:
    """What has these coefficients: the inverse of :func:`cosines`.

    Args:
        c: any shape, real.
        axes: to transform.

    Example:
        >>> from_cosines(cosines(torch.tensor([1.0, 2.0, 4.0]), [0]), [0]).round(decimals=4)
        tensor([1., 2., 4.])
    """
    for axis in axes:
        c = c.movedim(axis, -1)
        n = c.shape[-1]
        if n <= _SHORT:
            c = _product(c, _modes(n, c.dtype, c.device)).movedim(-1, axis)
            continue
        rest = torch.complex(c[..., 1:], -c[..., 1:].flip(-1)) / math.sqrt(2)
        turned = torch.cat([torch.complex(c[..., :1], torch.zeros_like(c[..., :1])), rest], -1)
        folded = torch.fft.ifft(turned * _turn(c).conj(), norm="ortho").real
        place = torch.arange(n, device=c.device)
        c = folded[..., torch.where(place % 2 == 0, place // 2, n - 1 - place // 2)].movedim(-1, axis)
    return c


@lru_cache(maxsize=64)
def _modes(n: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """(n, n) a row for each mode; of a short axis, a product with it takes a fifth of the time of the transform."""
    with torch.inference_mode(False):
        k = torch.arange(n, dtype=torch.float64)
        rows = torch.cos(math.pi / (2 * n) * k[:, None] * (2 * k + 1)) * math.sqrt(2 / n)
        rows[0] = 1 / math.sqrt(n)
        return rows.to(dtype).to(device)


def _product(x: Tensor, matrix: Tensor) -> Tensor:
    """In the precision of x, whatever a network around it computes in."""
    with torch.autocast(x.device.type, enabled=False):
        return x @ matrix


def _turn(x: Tensor) -> Tensor:
    """The quarter of a turn, over the frequencies of the last axis, between the Fourier and the cosine transform."""
    angle = torch.arange(x.shape[-1], dtype=x.dtype, device=x.device) * (-math.pi / (2 * x.shape[-1]))
    return torch.polar(torch.ones_like(angle), angle)
