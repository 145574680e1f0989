"""A network over space that sees classes and gives logits."""

from collections.abc import Sequence

from torch import Tensor, nn

from suffuse.networks.base import Network
from suffuse.networks.conditions import Condition


class LabelNetwork(Network):
    """Another network over space, of embedded classes: logits of every place.

    Args:
        vocabulary: K, number of classes; a hidden place is K.
        features: C, of an embedded class.
        network: that takes (B, C, *space) and gives (B, K, *space).

    Example:
        >>> import torch
        >>> from suffuse.networks import UNet
        >>> network = LabelNetwork(5, 8, UNet(8, width=16, multipliers=(1, 2), out_channels=5))
        >>> network(torch.full((2, 6, 7), 5), torch.tensor(1.0)).shape
        torch.Size([2, 6, 7, 5])
    """

    def __init__(self, vocabulary: int, features: int, network: Network) -> None:
        super().__init__()
        self.embed = nn.Embedding(vocabulary + 1, features)
        self.network = network

    def forward(self, x: Tensor, level: Tensor, condition: Condition = None) -> Tensor:
        """Apply the network.

        Args:
            x: classes (B, *space), int64.
            level: share of places that is hidden, of any prefix shape; of an item, the mean is taken.
            condition: what the network is told.

        Returns:
            Logits (B, *space, K).
        """
        rate = level.flatten(1).mean(1) if level.ndim > 1 else level
        return self.network(self.embed(x).movedim(-1, 1), rate, condition).movedim(1, -1)

    def feature_blocks(self) -> Sequence[nn.Module]:
        """Those of the network."""
        return self.network.feature_blocks()
