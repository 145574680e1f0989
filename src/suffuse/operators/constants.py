"""What operators are made of, wherever the states are."""

import torch
from torch import Tensor


class Constant:
    """A tensor, given in the type and on the device of a state; it is made once for each of these.

    Args:
        value: in float64, or of the precision that there is.

    Example:
        >>> Constant(torch.eye(2, dtype=torch.float64)).like(torch.zeros(1)).dtype
        torch.float32
    """

    def __init__(self, value: Tensor) -> None:
        self.value = value
        self._made: dict[tuple[torch.dtype, torch.device], Tensor] = {}

    def like(self, x: Tensor) -> Tensor:
        """In the type and on the device of x."""
        key = (x.dtype, x.device)
        if key not in self._made:
            self._made[key] = self.value.to(x)
        return self._made[key]
