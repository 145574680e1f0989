"""A transformer over tokens."""

from collections.abc import Sequence
from types import MappingProxyType

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from suffuse.errors import UserError
from suffuse.networks.base import Network
from suffuse.networks.conditions import Condition, Conditioner, Conditions
from suffuse.networks.layers import (
    LevelEmbedding,
    assemble,
    crop,
    modulate,
    normalize,
    pad_to_multiple,
    patches,
    rotary,
    zero,
)
from suffuse.networks.transformer import Block


class TokenTransformer(Network):
    """Embedded tokens, blocks that look both ways, and logits of every token; see :class:`Transformer` for the blocks.

    Tokens are in a row, or on a grid of any number of axes. A patch of them is one vector: the sum of what each is in
    its place of the patch. Where patches are is told by rotation, as distances, and may be told as such as well.

    Args:
        vocabulary: V, number of values of a token; a hidden token is V.
        width: features of a patch, a multiple of twice `heads`.
        depth: blocks.
        heads: attention heads.
        conditions: what the network may be told, by name.
        dropout: rate inside the blocks, in [0, 1).
        patch: tokens of a patch along each axis.
        places: patches along each axis, where each has a learned vector of its own; none = these are not told.

    Raises:
        UserError: width and heads do not fit, the state does not fit, or an unknown condition is given.

    Example:
        >>> import torch
        >>> network = TokenTransformer(10, width=32, depth=1)
        >>> network(torch.full((2, 7), 10), torch.tensor(1.0)).shape
        torch.Size([2, 7, 10])
        >>> network = TokenTransformer(10, width=32, depth=1, patch=(4, 2), places=(1, 3))
        >>> network(torch.full((2, 4, 5), 10), torch.tensor(1.0)).shape
        torch.Size([2, 4, 5, 10])
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
        patch: Sequence[int] = (1,),
        places: Sequence[int] = (),
    ) -> None:
        super().__init__()
        if width % (2 * heads):
            raise UserError(f"a width of {width} is no multiple of twice its {heads} heads; change one of them")
        self.head_size = width // heads
        self.level = LevelEmbedding(width)
        self.conditioner = Conditioner(conditions, width)
        self.patch, size = tuple(patch), torch.Size(patch).numel()
        self.embed = nn.Embedding(size * (vocabulary + 1), width)
        nn.init.normal_(self.embed.weight, std=0.5 / size**0.5)
        self.register_buffer("tables", torch.arange(size) * (vocabulary + 1), persistent=False)
        self.tables: Tensor
        self.places = nn.Parameter(torch.zeros(*places, width)) if places else None
        context = width if self.conditioner.has_tokens else 0
        self.blocks = nn.ModuleList(Block(width, heads, dropout, context) for _ in range(depth))
        self.modulation = zero(nn.Linear(width, 2 * width))
        self.out = zero(nn.Linear(width, size * vocabulary))

    def feature_blocks(self) -> Sequence[nn.Module]:
        """All blocks."""
        return list(self.blocks)

    def forward(self, x: Tensor, level: Tensor, condition: Condition = None) -> Tensor:
        """Apply the network.

        Args:
            x: tokens (B, *space), int64.
            level: share of tokens that is hidden, of any prefix shape; of an item, the mean is taken.
            condition: values by name, and masks (B,) of the items that have them under `name/present`.

        Returns:
            Logits (B, *space, V).
        """
        cut = patches(pad_to_multiple(x[:, None], self.patch), self.patch)
        grid = cut.shape[1:-1]
        h = self.embed(cut + self.tables).sum(-2).flatten(1, -2)
        if self.places is not None:
            if self.places.shape[:-1] != grid:
                told = tuple(self.places.shape[:-1])
                raise UserError(f"the network takes {told} patches of tokens, not {tuple(grid)}; build it for the data")
            h = h + self.places.flatten(0, -2)
        vector, tokens, mask = self.conditioner(condition, len(x), x.device, h.dtype)
        rate = level.flatten(1).mean(1) if level.ndim > 1 else level
        vector = F.silu(self.level(rate, len(x)) + vector)
        rotation = rotary(grid, self.head_size, h)
        for block in self.blocks:
            h = block(h, vector, tokens, mask, rotation)
        h = self.out(modulate(normalize(h), *self.modulation(vector).chunk(2, 1))).unflatten(1, grid)
        return crop(assemble(h, self.patch), x.shape[1:]).movedim(1, -1)
