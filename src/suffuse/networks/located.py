"""A network over space that knows where it is, and which parts of its input are clean."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from suffuse.networks.base import Network
from suffuse.networks.conditions import Condition
from suffuse.networks.layers import known_parts


class Located(Network):
    """Another network, that is also shown which elements are clean, and maps that are the same for all items.

    Args:
        network: that takes (B, 2 C + M, *space), where the state has C channels, and gives (B, C, *space).
        maps: (M, *space): land, heights, places.

    Example:
        >>> from suffuse.networks import UNet
        >>> inner = UNet(5, width=8, multipliers=(1, 2), out_channels=2)
        >>> Located(inner, torch.zeros(1, 6, 4))(torch.zeros(3, 2, 6, 4), torch.tensor(0.0)).shape
        torch.Size([3, 2, 6, 4])
    """

    def __init__(self, network: Network, maps: Tensor) -> None:
        super().__init__()
        self.network = network
        self.register_buffer("maps", maps, persistent=False)  # the codec, which is saved beside the weights, has them
        self.maps: Tensor

    def forward(self, x: Tensor, level: Tensor, condition: Condition = None) -> Any:
        """Apply the network.

        Args:
            x: state (B, C, *space).
            level: log-SNRs of any prefix of the shape of x: the least of an item is what the network is told, and an
                element with a larger one is clean.
            condition: what the network is told.
        """
        items, known = known_parts(level, x)
        maps = self.maps.to(x.dtype).expand(len(x), *self.maps.shape)
        return self.network(torch.cat([x, known, maps], 1), items, condition)

    def feature_blocks(self) -> Sequence[nn.Module]:
        """Those of the network."""
        return self.network.feature_blocks()
