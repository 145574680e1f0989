"""Operators that are not linear."""

from collections.abc import Callable

from torch import Tensor

from suffuse.errors import UserError
from suffuse.operators.base import Operator


def straight_through(x: Tensor, value: Tensor) -> Tensor:
    """The value, with the gradient of x: to stand for that of a step, which has none.

    Source: "Estimating or Propagating Gradients Through Stochastic Neurons for Conditional Computation" (Bengio,
    Leonard, Courville, 2013).
    """
    return x + (value - x).detach()


class Clip(Operator):
    r"""Values cut at a limit, as those of a loud signal: :math:`A(x) = \max(-c, \min(c, x))`.

    Args:
        limit: c, positive.

    Raises:
        UserError: it is not.

    Example:
        >>> import torch
        >>> Clip(0.5)(torch.tensor([[0.2, -3.0]]))
        tensor([[ 0.2000, -0.5000]])
    """

    def __init__(self, limit: float) -> None:
        if not limit > 0:
            raise UserError(f"the limit that values are clipped at is a positive number, and not {limit}")
        self.limit = limit

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        return x.clamp(-self.limit, self.limit)


class Quantise(Operator):
    """The nearest of some levels between -1 and 1, evenly spaced; what lies outside goes to the nearest end.

    Its gradient is that of the clipping to [-1, 1] alone: rounding itself has none.

    Args:
        levels: how many, at least 2.

    Raises:
        UserError: there are fewer.

    Example:
        >>> import torch
        >>> Quantise(3)(torch.tensor([[-0.9, 0.2, 0.6, 7.0]])) + 0.0
        tensor([[-1.,  0.,  1.,  1.]])
    """

    def __init__(self, levels: int) -> None:
        if levels < 2:
            raise UserError(f"values are quantised to at least 2 levels, and not to {levels}")
        self.levels = levels

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        inside, steps = x.clamp(-1, 1), self.levels - 1
        return straight_through(inside, ((inside + 1) / 2 * steps).round() / steps * 2 - 1)


class Function(Operator):
    """Any differentiable function of states; its adjoint comes of automatic differentiation.

    Args:
        function: (B, ...) states to (B, ...) measurements, each item by itself.

    Example:
        >>> import torch
        >>> square = Function(lambda x: x**2)
        >>> square.adjoint(torch.tensor([[1.0]]), at=torch.tensor([[3.0]]))
        tensor([[6.]])
    """

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        return self.function(x)
