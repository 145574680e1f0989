"""A diffusion transformer for 1, 2 and 3 spatial dimensions."""

from collections.abc import Sequence
from types import MappingProxyType

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from suffuse.errors import UserError
from suffuse.networks.base import Network
from suffuse.networks.conditions import Condition, Conditioner, Conditions
from suffuse.networks.layers import (
    Attention,
    FramedAttention,
    LevelEmbedding,
    assemble,
    check_input,
    crop,
    modulate,
    normalize,
    pad_to_multiple,
    patches,
    rotary,
    zero,
)


class Transformer(Network):
    """A transformer over patches, each block modulated by noise level and conditions.

    Positions enter by rotation of queries and keys alone, so that any spatial size is taken; what is not a
    multiple of the patch is padded with zeros, and the result is cropped. The tokens of a caption stand beside
    the patches' own keys and values in every block; pictures among the conditions stand behind the state's channels.
    Where the first axis counts frames, attention is within each frame, and then over time at each place.

    Args:
        channels: of the state.
        dimensions: spatial axes, 1 or more.
        frames: whether the first of the axes counts frames; a patch is then of one frame where it has one side.
        patch: side of a patch, one number or one per axis.
        width: features of a patch, a multiple of twice `heads`.
        depth: blocks.
        heads: attention heads.
        conditions: what the network may be told, by name.
        out_channels: of the result; None = as many as the state has.
        dropout: rate inside the blocks, in [0, 1).

    Raises:
        UserError: width and heads do not fit, the state does not fit, or an unknown condition is given.

    Source: "Scalable Diffusion Models with Transformers" (Peebles and Xie, 2023); "RoFormer: Enhanced
    Transformer with Rotary Position Embedding" (Su et al., 2021); "ReLU Strikes Back: Exploiting Activation Sparsity
    in Large Language Models" (Mirzadeh et al., 2023), on its cheaper activation.

    Example:
        >>> network = Transformer(2, dimensions=1, patch=4, width=32, depth=1)
        >>> network(torch.zeros(3, 2, 17), torch.tensor(0.5)).shape
        torch.Size([3, 2, 17])
    """

    def __init__(
        self,
        channels: int,
        *,
        dimensions: int = 2,
        frames: bool = False,
        patch: int | Sequence[int] = 2,
        width: int = 256,
        depth: int = 6,
        heads: int = 4,
        conditions: Conditions = MappingProxyType({}),
        out_channels: int | None = None,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        if width % (2 * heads):
            raise UserError(f"a width of {width} is no multiple of twice its {heads} heads; change one of them")
        self.channels, self.dimensions = channels, dimensions
        if isinstance(patch, int):
            patch = (1, *(patch,) * (dimensions - 1)) if frames else (patch,) * dimensions
        self.patch, self.places = tuple(patch), 2 if frames else 1
        self.out_channels = out_channels or channels
        self.head_size = width // heads
        pixels = torch.Size(self.patch).numel()
        self.level = LevelEmbedding(width)
        self.conditioner = Conditioner(conditions, width)
        context = width if self.conditioner.has_tokens else 0
        self.embed = nn.Linear((channels + sum(self.conditioner.pictures.values())) * pixels, width)
        self.blocks = nn.ModuleList(Block(width, heads, dropout, context, frames) for _ in range(depth))
        self.modulation = zero(nn.Linear(width, 2 * width))
        self.out = zero(nn.Linear(width, self.out_channels * pixels))

    def forward(self, x: Tensor, level: Tensor, condition: Condition = None) -> Tensor:
        """Apply the network.

        Args:
            x: state (B, channels, *space).
            level: noise level, () or (B,): a log-SNR in [-20, 20] or a mask rate in [0, 1].
            condition: values by name, and masks (B,) of the items that have them under `name/present`.

        Returns:
            (B, out_channels, *space).
        """
        check_input(x, self.channels, self.dimensions)
        vector, tokens, mask = self.conditioner(condition, len(x), x.device, x.dtype)
        vector = F.silu(self.level(level, len(x)) + vector)
        padded = pad_to_multiple(self.conditioner.beside(x, condition), self.patch)
        grid = [size // side for size, side in zip(padded.shape[2:], self.patch, strict=True)]
        rotation = rotary(grid[self.places - 1 :], self.head_size, x)
        h = self.embed(patches(padded, self.patch).flatten(self.places, -2))
        for block in self.blocks:
            h = block(h, vector, tokens, mask, rotation)
        h = self.out(modulate(normalize(h), *self.modulation(vector).chunk(2, 1)))
        return crop(assemble(h.reshape(len(h), *grid, -1), self.patch), x.shape[2:])

    def feature_blocks(self) -> Sequence[nn.Module]:
        """The one in the middle, and the last."""
        return [self.blocks[(len(self.blocks) - 1) // 2], self.blocks[-1]]


class Block(nn.Module):
    """Attention, then two linear layers, both modulated and gated: adaLN-zero."""

    def __init__(self, width: int, heads: int, dropout: float, context: int, frames: bool = False) -> None:
        super().__init__()
        self.modulation = zero(nn.Linear(width, 6 * width))
        self.attention = (FramedAttention if frames else Attention)(width, heads, context)
        self.wide = nn.Linear(width, 4 * width, bias=False)
        self.narrow = nn.Linear(4 * width, width, bias=False)
        self.dropout = nn.Dropout(dropout)

    def forward(
        self,
        x: Tensor,
        vector: Tensor,
        tokens: Tensor | None,
        mask: Tensor | None,
        rotation: Tensor,
    ) -> Tensor:
        """Apply it to (B, N, width), or (B, T, N, width) of frames, told the vector (B, width) and the tokens."""
        scale_a, shift_a, gate_a, scale_m, shift_m, gate_m = self.modulation(vector).chunk(6, 1)
        h = self.attention(modulate(normalize(x), scale_a, shift_a), tokens, mask, rotation)
        x = (self.dropout(h) * _gate(gate_a, x)).add_(x)
        h = self.wide(modulate(normalize(x), scale_m, shift_m))
        h = self.narrow(F.relu(h, inplace=True))  # what a smoother curve needs to be differentiated is not kept
        return (self.dropout(h) * _gate(gate_m, x)).add_(x)


def _gate(gate: Tensor, like: Tensor) -> Tensor:
    """A gate (B, width) for all places of (B, ..., width)."""
    return gate.view(len(gate), *(1,) * (like.ndim - 2), -1)
