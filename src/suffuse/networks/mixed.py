"""A network of linear layers for rows of numbers and tokens."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from suffuse.networks.base import Network
from suffuse.networks.conditions import Condition, Conditioner, Conditions
from suffuse.networks.layers import LevelEmbedding, known_parts, modulate, normalize, zero

NUMBERS, TOKENS = "numbers", "tokens"


class Mixed(Network):
    """Residual blocks of linear layers over all columns at once, for rows whose columns have no order.

    Numbers come in with a mark for those that are clean, tokens by an embedding of each value of each column, one of
    which is the hidden one. Every block is modulated by noise level and conditions.

    Args:
        numbers: real numbers in a row.
        sizes: number of values of each token; a token of the largest of them, or above, is hidden.
        width: features.
        depth: blocks.
        conditions: what the network may be told, by name.
        dropout: rate inside the blocks, in [0, 1).

    Example:
        >>> network = Mixed(2, [3, 5], width=16, depth=1)
        >>> row = {"numbers": torch.zeros(4, 2), "tokens": torch.tensor([[0, 5]]).expand(4, 2)}
        >>> out = network(row, {"numbers": torch.tensor(0.0), "tokens": torch.tensor(0.5)})
        >>> out["numbers"].shape, out["tokens"].shape
        (torch.Size([4, 2]), torch.Size([4, 2, 5]))
    """

    index: Tensor
    offsets: Tensor
    hidden: Tensor

    def __init__(
        self,
        numbers: int,
        sizes: Sequence[int],
        *,
        width: int = 256,
        depth: int = 4,
        conditions: Conditions = MappingProxyType({}),
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.numbers, self.vocabulary = numbers, max(sizes, default=0)
        self.level = LevelEmbedding(width)
        self.conditioner = Conditioner(conditions, width)
        self.embed_numbers = nn.Linear(2 * numbers, width) if numbers else None
        self.embed_values = nn.EmbeddingBag(sum(sizes) + len(sizes), width, mode="sum") if sizes else None
        self.blocks = nn.ModuleList(_Block(width, dropout) for _ in range(depth))
        self.modulation = zero(nn.Linear(width, 2 * width))
        self.out_numbers = zero(nn.Linear(width, numbers)) if numbers else None
        self.out_values = zero(nn.Linear(width, sum(sizes))) if sizes else None
        counts = torch.tensor(list(sizes), dtype=torch.long)
        starts = counts.cumsum(0) - counts
        places = torch.arange(self.vocabulary)
        # Row k of the table of logits has those of column k, and minus infinity behind them.
        self.register_buffer(
            "index", torch.where(places < counts[:, None], starts[:, None] + places, -1), persistent=False
        )
        self.register_buffer("offsets", starts + torch.arange(len(sizes)), persistent=False)
        self.register_buffer("hidden", counts, persistent=False)

    def forward(
        self, x: Mapping[str, Tensor], level: Mapping[str, Tensor], condition: Condition = None
    ) -> dict[str, Tensor]:
        """Apply the network.

        Args:
            x: ``numbers`` (B, N) and ``tokens`` (B, T), where there are any.
            level: noise levels of the leaves, of any prefix shape: the noisiest of an item is what it is told, and an
                element with less noise is clean.
            condition: values by name, and masks (B,) of the items that have them under `name/present`.

        Returns:
            ``numbers`` (B, N) and logits ``tokens`` (B, T, V).
        """
        first = next(iter(x.values()))
        like = self.modulation.weight
        vector = self.conditioner(condition, len(first), first.device, like.dtype)[0]
        h = torch.zeros(len(first), like.shape[1], device=first.device, dtype=like.dtype)
        if self.embed_numbers is not None:
            items, known = known_parts(level[NUMBERS], x[NUMBERS])
            vector = vector + self.level(items, len(first))
            h = h + self.embed_numbers(torch.cat([x[NUMBERS], known], 1))
        if self.embed_values is not None:
            tokens = x[TOKENS]
            if self.embed_numbers is None:
                vector = vector + self.level(
                    level[TOKENS].flatten(1).mean(1) if level[TOKENS].ndim > 1 else level[TOKENS], len(first)
                )
            h = h + self.embed_values(torch.minimum(tokens, self.hidden) + self.offsets)
        vector = F.silu(vector)
        for block in self.blocks:
            h = block(h, vector)
        h = modulate(normalize(h), *self.modulation(vector).chunk(2, 1))
        out: dict[str, Tensor] = {}
        if self.out_numbers is not None:
            out[NUMBERS] = self.out_numbers(h)
        if self.out_values is not None:
            out[TOKENS] = self.out_values(h)[:, self.index].masked_fill(self.index < 0, -torch.inf)
        return out

    def feature_blocks(self) -> Sequence[nn.Module]:
        """The one in the middle, and the last."""
        return [self.blocks[(len(self.blocks) - 1) // 2], self.blocks[-1]]


class _Block(nn.Module):
    def __init__(self, width: int, dropout: float) -> None:
        super().__init__()
        self.modulation = zero(nn.Linear(width, 3 * width))
        self.wide, self.narrow = nn.Linear(width, 2 * width), nn.Linear(2 * width, width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, vector: Tensor) -> Tensor:
        scale, shift, gate = self.modulation(vector).chunk(3, 1)
        h = self.narrow(self.dropout(F.silu(self.wide(modulate(normalize(x), scale, shift)))))
        return x + gate * h
