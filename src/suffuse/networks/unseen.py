"""A network that is not shown the state."""

from typing import Any

import torch
from torch import Tensor, nn

from suffuse.networks.conditions import Condition


class Unseen(nn.Module):
    """Another network, that is shown nothing of the state, and so answers by what it is told alone.

    Args:
        network: called as ``network(x, level, condition)``.

    Example:
        >>> from suffuse.networks import UNet
        >>> network, level = Unseen(UNet(1, width=8, multipliers=(1, 2))), torch.zeros(())
        >>> torch.equal(network(torch.zeros(1, 1, 4, 4), level), network(torch.ones(1, 1, 4, 4), level))
        True
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor, level: Tensor, condition: Condition = None) -> Any:
        """Apply the network to zeros of the shape of x."""
        return self.network(torch.zeros_like(x), level, condition)
