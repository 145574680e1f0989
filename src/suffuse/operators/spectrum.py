"""Singular value decompositions in closed form, and the real Fourier basis that many of them stand on."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from suffuse.tree import expand


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
