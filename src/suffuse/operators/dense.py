"""Matrices along axes: any matrix, smaller pictures, grey ones."""

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property, lru_cache, reduce
from math import prod

import torch
from torch import Tensor

from suffuse.errors import UserError
from suffuse.operators.base import Decomposed, placed, space
from suffuse.operators.constants import Constant
from suffuse.operators.spectrum import Spectrum

_LUMA = (0.299, 0.587, 0.114)


class _Along:
    """A matrix (m, n) that acts on one axis, and its decomposition."""

    def __init__(self, matrix: Tensor) -> None:
        self.matrix = Constant(matrix)

    @cached_property
    def parts(self) -> tuple[Constant, Constant, Constant]:
        """U (m, n), of which columns beyond the rank are zero, the n values, and V (n, n)."""
        matrix = self.matrix.value
        m, n = matrix.shape
        u, s, vt = torch.linalg.svd(matrix, full_matrices=n > m)
        known = min(m, n)
        return (
            Constant(torch.nn.functional.pad(u[:, :known], (0, n - known))),
            Constant(torch.nn.functional.pad(s, (0, n - known))),
            Constant(vt.T.contiguous()),
        )


def _apply(matrices: Mapping[int, Tensor], x: Tensor) -> Tensor:
    """Each matrix on its axis."""
    for axis, matrix in matrices.items():
        x = (x.movedim(axis, -1) @ matrix.T).movedim(-1, axis)
    return x


def _spectrum(matrices: Mapping[int, _Along], like: Tensor) -> Spectrum:
    """Of a product of matrices along different axes: the values are products, the bases stand side by side."""
    parts = {axis: [part.like(like) for part in along.parts] for axis, along in matrices.items()}
    u, v = ({axis: part[which] for axis, part in parts.items()} for which in (0, 2))
    u_back, v_back = ({axis: part.T for axis, part in each.items()} for each in (u, v))
    values = [s.reshape(-1, *(1,) * (like.ndim - 1 - axis)) for axis, (_, s, _) in parts.items()]
    return Spectrum(
        reduce(torch.mul, values),
        to=lambda x: _apply(v_back, x),
        back=lambda c: _apply(v, c),
        measured=lambda y: _apply(u_back, y),
        shown=lambda c: _apply(u, c),
    )


class Matrix(Decomposed):
    """Any matrix, applied to the elements of an item in a row.

    Its decomposition is computed when it is first asked for, which takes of the order of m n^2 multiplications.

    Args:
        a: (m, n).
        shape: of an item, of n elements; None means vectors (n,). Measurements are (B, m).

    Raises:
        UserError: it is no matrix, or the shape has another number of elements.

    Example:
        >>> Matrix(torch.tensor([[1.0, 1.0]]))(torch.tensor([[2.0, 3.0]]))
        tensor([[5.]])
    """

    def __init__(self, a: Tensor, shape: Sequence[int] | None = None) -> None:
        if a.ndim != 2:
            raise UserError(f"a matrix has two axes, (m, n), and this one is of shape {tuple(a.shape)}")
        self.shape = (a.shape[1],) if shape is None else tuple(shape)
        if prod(self.shape) != a.shape[1]:
            raise UserError(f"a matrix with {a.shape[1]} columns does not fit items of shape {self.shape}")
        self._along = _Along(a.double())

    def place(self, y: Tensor) -> Tensor:
        """See :meth:`Decomposed.place`."""
        return placed(y, *self.shape)

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        return x.flatten(1) @ self._along.matrix.like(x).T

    def adjoint(self, y: Tensor, at: Tensor | None = None) -> Tensor:
        """See the class."""
        return (y @ self._along.matrix.like(y)).unflatten(1, self.shape)

    def spectrum(self, like: Tensor) -> Spectrum:
        """See :meth:`Linear.spectrum`."""
        flat = _spectrum({1: self._along}, like.flatten(1))
        return Spectrum(
            flat.values,
            to=lambda x: flat.to(x.flatten(1)),
            back=lambda c: flat.back(c).unflatten(1, self.shape),
            measured=flat.measured,
            shown=flat.shown,
        )


class Grey(Decomposed):
    r"""The luma of colours, :math:`0.299 R + 0.587 G + 0.114 B`. To undo it is to colourise.

    It is linear in states in [-1, 1], and white, black and greys are what they were. States are (B, 3, ...),
    measurements (B, 1, ...).

    Source: Recommendation ITU-R BT.601.

    Raises:
        UserError: the states have other than 3 channels.

    Example:
        >>> Grey()(torch.tensor([1.0, -1.0, -1.0]).reshape(1, 3, 1, 1))  # red
        tensor([[[[-0.4020]]]])
    """

    def __init__(self) -> None:
        self._along = _Along(torch.tensor([_LUMA], dtype=torch.float64))

    def place(self, y: Tensor) -> Tensor:
        """See :meth:`Decomposed.place`."""
        return placed(y, 3, *y.shape[2:])

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        if x.shape[1] != 3:
            raise UserError(f"the grey of a picture is that of 3 channels, and these states have {x.shape[1]}")
        return _apply({1: self._along.matrix.like(x)}, x)

    def spectrum(self, like: Tensor) -> Spectrum:
        """See :meth:`Linear.spectrum`."""
        return _spectrum({1: self._along}, like)


class Downsample(Decomposed):
    r"""Fewer points along every space axis: each the mean of a block, or a bicubic average around it.

    To undo it is super-resolution. The bicubic kernel is that of :math:`a = -1/2`, as wide as the factor, and
    normalised at the borders: what ``torch.nn.functional.interpolate`` does with ``antialias=True``.

    Source: "Cubic Convolution Interpolation for Digital Image Processing" (Keys, 1981).

    Args:
        factor: a positive integer for all space axes, or one for each of the last axes.
        kind: "average" or "bicubic".

    Raises:
        UserError: there is no such kind, a factor is not positive, or does not divide the length of its axis.

    Example:
        >>> Downsample(2)(torch.tensor([[[1.0, 3.0, 5.0, 5.0]]]))
        tensor([[[2., 5.]]])
    """

    def __init__(self, factor: int | Sequence[int], kind: str = "average") -> None:
        if kind not in _WEIGHTS:
            raise UserError(f"states are downsampled by {' or '.join(map(repr, _WEIGHTS))}, and not by {kind!r}")
        self.factor = factor if isinstance(factor, int) else tuple(factor)
        self.kind = kind
        if any(each < 1 for each in self._factors(1)):
            raise UserError(f"a factor of downsampling is a positive integer, and not {factor}")

    def _factors(self, axes: int) -> tuple[int, ...]:
        return (self.factor,) * axes if isinstance(self.factor, int) else self.factor

    def place(self, y: Tensor) -> Tensor:
        """See :meth:`Decomposed.place`."""
        factors = self._factors(y.ndim - 2)
        rest = y.ndim - len(factors)
        return placed(y, *y.shape[1:rest], *(n * f for n, f in zip(y.shape[rest:], factors, strict=True)))

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        return _apply({axis: along.matrix.like(x) for axis, along in self._axes(x).items()}, x)

    def spectrum(self, like: Tensor) -> Spectrum:
        """See :meth:`Linear.spectrum`."""
        return _spectrum(self._axes(like), like)

    def _axes(self, x: Tensor) -> dict[int, _Along]:
        factors = self._factors(max(x.ndim - 2, 1))
        lengths = space(x.shape[1:], len(factors), "Downsample")
        for length, factor in zip(lengths, factors, strict=True):
            if length % factor:
                raise UserError(f"a factor of {factor} does not divide the states' axes of {lengths}; crop or pad them")
        first = x.ndim - len(factors)
        return {first + i: _smaller(n, f, self.kind) for i, (n, f) in enumerate(zip(lengths, factors, strict=True))}


@lru_cache(maxsize=32)
def _smaller(length: int, factor: int, kind: str) -> _Along:
    """From so many points to fewer: rows of weights that sum to one."""
    centres = (torch.arange(length // factor, dtype=torch.float64) + 0.5) * factor - 0.5
    distance = (torch.arange(length) - centres[:, None]) / factor
    weights = _WEIGHTS[kind](distance.abs())
    return _Along(weights / weights.sum(1, keepdim=True))


def _box(distance: Tensor) -> Tensor:
    return (distance < 0.5).double()


def _cubic(distance: Tensor) -> Tensor:
    near = (1.5 * distance - 2.5) * distance**2 + 1
    far = ((-0.5 * distance + 2.5) * distance - 4) * distance + 2
    return torch.where(distance <= 1, near, torch.where(distance < 2, far, 0))


_WEIGHTS: dict[str, Callable[[Tensor], Tensor]] = {"average": _box, "bicubic": _cubic}
