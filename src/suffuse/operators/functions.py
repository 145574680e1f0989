"""Any linear function as an operator."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from suffuse.operators.base import Linear


class LinearFunction(Linear):
    """Any linear function of states; its adjoint comes of automatic differentiation.

    Args:
        function: (B, *shape) states to (B, ...) measurements, each item by itself.
        shape: of a state.

    Example:
        >>> halves = LinearFunction(lambda x: x[:, :2] / 2, (3,))
        >>> halves.adjoint(torch.tensor([[2.0, 4.0]]))
        tensor([[1., 2., 0.]])
    """

    def __init__(self, function: Callable[[Tensor], Tensor], shape: Sequence[int]) -> None:
        self.function, self.shape = function, tuple(shape)

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        return self.function(x)

    def adjoint(self, y: Tensor, at: Tensor | None = None) -> Tensor:
        """See the class."""
        with torch.enable_grad():
            x = y.new_zeros(len(y), *self.shape, requires_grad=True)
            (gradient,) = torch.autograd.grad(self.function(x), x, y)
        return gradient
