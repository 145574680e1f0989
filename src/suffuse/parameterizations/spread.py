"""What a noisy state leaves open of the data, as far as that is known without asking the network."""

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Spread:
    r"""The covariance C of clean data given a state, of data known by its deviation, or by its spectrum as well.

    Args:
        width: variance of an element, ``()`` or (B, 1, ...); where elements depend on each other, their mean variance.
        root: white noise (B, ...) to a draw of covariance C, :math:`C^{1/2}`, symmetric; None where elements are
            independent.

    Example:
        >>> import torch
        >>> Spread(torch.tensor(4.0)).draw(torch.ones(2)), Spread(torch.tensor(4.0)).times(torch.ones(2))
        (tensor([2., 2.]), tensor([4., 4.]))
    """

    width: Tensor
    root: Callable[[Tensor], Tensor] | None = None

    @property
    def alone(self) -> "Spread":
        """Of elements that are thought to be independent."""
        return Spread(self.width)

    def draw(self, noise: Tensor) -> Tensor:
        """White noise (B, ...) made a draw of what is open."""
        return self.width.sqrt() * noise if self.root is None else self.root(noise)

    def times(self, v: Tensor) -> Tensor:
        """C v, of (B, ...)."""
        return self.width * v if self.root is None else self.root(self.root(v))
