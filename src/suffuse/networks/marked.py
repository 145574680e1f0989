"""A network that sees which parts of its input are clean."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from suffuse.networks.base import Network
from suffuse.networks.conditions import Condition
from suffuse.networks.layers import known_parts


class Marked(Network):
    """Another network, that is also shown which elements are clean, and where each stands along the last axis.

    Args:
        network: that takes (B, 2 C + 1, *space), where the state has C channels, and gives (B, C, *space).

    Example:
        >>> from suffuse.networks import Transformer
        >>> network = Marked(Transformer(5, dimensions=1, patch=1, width=16, depth=1, heads=2, out_channels=2))
        >>> network(torch.zeros(3, 2, 8), torch.zeros(3, 2, 8)).shape
        torch.Size([3, 2, 8])
    """

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor, level: Tensor, condition: Condition = None) -> Any:
        """Apply the network.

        Args:
            x: state (B, C, *space).
            level: log-SNRs of any prefix of the shape of x: the least of an item is what the network is told, and an
                element with a larger one is clean.
            condition: what the network is told.
        """
        items, known = known_parts(level, x)
        ramp = torch.linspace(-1, 1, x.shape[-1], device=x.device, dtype=x.dtype).expand_as(x[:, :1])
        return self.network(torch.cat([x, known, ramp], 1), items, condition)

    def feature_blocks(self) -> Sequence[nn.Module]:
        """Those of the network."""
        return self.network.feature_blocks()
