"""A network over time and space that sees which frames are clean, and the nearest of them."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from suffuse.networks.base import Network
from suffuse.networks.conditions import Condition
from suffuse.networks.layers import known_parts, nearest


class Framed(Network):
    """Another network, that is also shown which elements are clean, and at each place the clean ones next in time.

    Args:
        network: that takes (B, 4 C + 2, T, *space), where the state has C channels, and gives (B, C, T, *space): the
            state, its marks, the clean elements before and after, and how near these are.

    Example:
        >>> from suffuse.networks import UNet
        >>> network = Framed(UNet(6, dimensions=3, frames=True, width=8, multipliers=(1, 2), out_channels=1))
        >>> network(torch.zeros(2, 1, 5, 8, 6), torch.zeros(2, 1, 5)).shape
        torch.Size([2, 1, 5, 8, 6])
    """

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor, level: Tensor, condition: Condition = None) -> Any:
        """Apply the network.

        Args:
            x: state (B, C, T, *space).
            level: log-SNRs of any prefix of the shape of x: the least of an item is what the network is told, and an
                element with a larger one is clean.
            condition: what the network is told.
        """
        items, known = known_parts(level, x)
        length, clean = x.shape[2], known > 0
        places = torch.arange(length, device=x.device).view(-1, *(1,) * (x.ndim - 3))
        shown = [x, known]
        near: list[Tensor] = []
        for found, distance in zip(nearest(clean, 2), (1, -1), strict=True):
            there = (found >= 0) & (found < length)
            shown.append(torch.where(there, x.gather(2, found.clamp(0, length - 1)), 0.0))
            far = ((places - found) * distance)[:, :1].to(x.dtype)
            near.append(torch.where(there[:, :1], 1 / (1 + far), 0.0))
        return self.network(torch.cat([*shown, *near], 1), items, condition)

    def feature_blocks(self) -> Sequence[nn.Module]:
        """Those of the network."""
        return self.network.feature_blocks()
