"""A network that sees which parts of its input are clean."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from suffuse.networks.base import Network
from suffuse.networks.conditions import Condition
from suffuse.networks.layers import known_parts, nearest


class Marked(Network):
    """Another network, that is also shown which elements are clean, and where each stands along the last axis.

    Args:
        network: that takes (B, 3 C + 1, *space), where the state has C channels, and gives (B, C, *space).

    Example:
        >>> from suffuse.networks import Transformer
        >>> network = Marked(Transformer(7, dimensions=1, patch=1, width=16, depth=1, heads=2, out_channels=2))
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
        return self.network(torch.cat([x, known, _between(x, known), ramp], 1), items, condition)

    def feature_blocks(self) -> Sequence[nn.Module]:
        """Those of the network."""
        return self.network.feature_blocks()


def _between(x: Tensor, known: Tensor) -> Tensor:
    """Lines between clean elements of the last axis, and beyond them the nearest; 0 where nothing is clean.

    The first element is a level, and all others differences to it: as such it is 0.
    """
    length = x.shape[-1]
    places = torch.arange(length, device=x.device, dtype=x.dtype).expand_as(x)
    values = torch.cat([torch.zeros_like(x[..., :1]), x[..., 1:]], -1)
    clean = known > 0
    before, after = nearest(clean, -1)
    first, last = (
        torch.where(ok, a, b) for ok, a, b in ((before >= 0, before, after), (after < length, after, before))
    )
    low, high = (values.gather(-1, each.clamp(0, length - 1)) for each in (first, last))
    share = (places - first) / (last - first).clamp(min=1)
    return torch.where(clean.any(-1, keepdim=True), torch.lerp(low, high, share), 0.0)
