"""Several measurements of one state."""

from collections.abc import Sequence

import torch
from torch import Tensor

from suffuse.operators.base import Linear, Operator


class Stacked(Operator):
    r"""Several measurements of one state, each flattened, one after the other: linear if all are.

    .. math:: A x = (A_1 x, A_2 x, \dots), \qquad A^\top y = \sum_k A_k^\top y_k.

    Measurements are (B, m).

    Args:
        parts: the operators, at least one.
        shape: of an item of the states that they measure.

    Raises:
        UserError: an operator does not fit the shape.

    Example:
        >>> import suffuse as sf
        >>> both = Stacked(sf.operators.Grey(), sf.operators.Downsample(2), shape=(3, 2, 2))
        >>> both(torch.ones(1, 3, 2, 2)).shape
        torch.Size([1, 7])
    """

    def __new__(cls, *parts: Operator, shape: Sequence[int]) -> "Stacked":
        """Of linear ones, a linear one."""
        return object.__new__(_LinearStacked if all(isinstance(part, Linear) for part in parts) else cls)

    def __init__(self, *parts: Operator, shape: Sequence[int]) -> None:
        self.parts = parts
        self._shapes = [part(torch.zeros(1, *shape)).shape[1:] for part in parts]

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        return torch.cat([part(x).flatten(1) for part in self.parts], 1)

    def adjoint(self, y: Tensor, at: Tensor | None = None) -> Tensor:
        """See the class."""
        pieces = y.split([shape.numel() for shape in self._shapes], 1)
        each = [
            part.adjoint(piece.reshape(len(y), *shape), at)
            for part, piece, shape in zip(self.parts, pieces, self._shapes, strict=True)
        ]
        return torch.stack(each).sum(0)


class _LinearStacked(Stacked, Linear):
    """Of linear operators."""
