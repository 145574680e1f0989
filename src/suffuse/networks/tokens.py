"""A transformer over tokens."""

from collections.abc import Sequence
from types import MappingProxyType

import torch.nn.functional as F
from torch import Tensor, nn

from suffuse.errors import UserError
from suffuse.networks.base import Network
from suffuse.networks.conditions import Condition, Conditioner, Conditions
from suffuse.networks.layers import LevelEmbedding, modulate, normalize, rotary, zero
from suffuse.networks.transformer import Block


class TokenTransformer(Network):
    """Embedded tokens, blocks that look both ways, and logits of every token; see :class:`Transformer` for the blocks.

    Args:
        vocabulary: V, number of values of a token; a hidden token is V.
        width: features of a token, a multiple of twice `heads`.
        depth: blocks.
        heads: attention heads.
        conditions: what the network may be told, by name.
        dropout: rate inside the blocks, in [0, 1).

    Raises:
        UserError: width and heads do not fit, or an unknown condition is given.

    Example:
        >>> import torch
        >>> network = TokenTransformer(10, width=32, depth=1)
        >>> network(torch.full((2, 7), 10), torch.tensor(1.0)).shape
        torch.Size([2, 7, 10])
    """

    def __init__(
        self,
        vocabulary: int,
        *,
        width: int = 256,
        depth: int = 6,
        heads: int = 4,
        conditions: Conditions = MappingProxyType({}),
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        if width % (2 * heads):
            raise UserError(f"a width of {width} is no multiple of twice its {heads} heads; change one of them")
        self.head_size = width // heads
        self.level = LevelEmbedding(width)
        self.conditioner = Conditioner(conditions, width)
        self.embed = nn.Embedding(vocabulary + 1, width)
        nn.init.normal_(self.embed.weight, std=0.5)
        context = width if self.conditioner.has_tokens else 0
        self.blocks = nn.ModuleList(Block(width, heads, dropout, context) for _ in range(depth))
        self.modulation = zero(nn.Linear(width, 2 * width))
        self.out = zero(nn.Linear(width, vocabulary))

    def feature_blocks(self) -> Sequence[nn.Module]:
        """All blocks."""
        return list(self.blocks)

    def forward(self, x: Tensor, level: Tensor, condition: Condition = None) -> Tensor:
        """Apply the network.

        Args:
            x: tokens (B, L), int64.
            level: share of tokens that is hidden, of any prefix shape; of an item, the mean is taken.
            condition: values by name, and masks (B,) of the items that have them under `name/present`.

        Returns:
            Logits (B, L, V).
        """
        h = self.embed(x)
        vector, tokens, mask = self.conditioner(condition, len(x), x.device, h.dtype)
        rate = level.flatten(1).mean(1) if level.ndim > 1 else level
        vector = F.silu(self.level(rate, len(x)) + vector)
        rotation = rotary([x.shape[1]], self.head_size, h)
        for block in self.blocks:
            h = block(h, vector, tokens, mask, rotation)
        return self.out(modulate(normalize(h), *self.modulation(vector).chunk(2, 1)))
