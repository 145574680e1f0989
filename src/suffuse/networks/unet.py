"""A convolutional U-Net for 1, 2 and 3 spatial dimensions."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from suffuse.networks.conditions import Condition, Conditioner, Conditions
from suffuse.networks.layers import (
    Attention,
    LevelEmbedding,
    check_input,
    crop,
    head_count,
    normalize,
    pad_to_multiple,
    zero,
)

CONV = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}
UPSAMPLE = {1: nn.ConvTranspose1d, 2: nn.ConvTranspose2d, 3: nn.ConvTranspose3d}
LAYOUT = {1: torch.contiguous_format, 2: torch.channels_last, 3: torch.channels_last_3d}


class UNet(nn.Module):
    """A U-Net: convolutions at falling, then rising resolution, with connections across.

    Each block is x + conv(silu(conv(norm(x) (1 + scale) + shift))), scale and shift linear in the embedding of noise
    level and conditions; resolution is halved and doubled by convolutions of two pixels a side. What crosses over from
    the falling to the rising side is added through a 1x1 convolution, which is a concatenation followed by one.
    Any spatial size is taken: it is padded with zeros up to a multiple of 2^(levels - 1), and the result is cropped.

    Args:
        channels: of the state.
        dimensions: spatial axes, 1 to 3.
        width: channels at full resolution.
        multipliers: channels of each level over `width`, one entry a level.
        blocks: residual blocks per level and side.
        attention: levels with self-attention, counted from full resolution, or from the deepest as -1.
        conditions: what the network may be told, by name.
        out_channels: of the result; None = as many as the state has.
        dropout: rate inside the blocks, in [0, 1).

    Raises:
        UserError: the state does not fit, or an unknown condition is given.

    Source: "Denoising Diffusion Probabilistic Models" (Ho et al., 2020); "Scalable Diffusion Models with Transformers"
    (Peebles and Xie, 2023) for zero-initialised modulated blocks.

    Example:
        >>> network = UNet(3, width=16, multipliers=(1, 2))
        >>> network(torch.zeros(2, 3, 15, 7), torch.tensor([-4.0, 2.0])).shape
        torch.Size([2, 3, 15, 7])
    """

    def __init__(
        self,
        channels: int,
        *,
        dimensions: int = 2,
        width: int = 64,
        multipliers: Sequence[int] = (1, 2, 4),
        blocks: int = 2,
        attention: Sequence[int] = (-1,),
        conditions: Conditions = MappingProxyType({}),
        out_channels: int | None = None,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.channels, self.dimensions = channels, dimensions
        self.multiple = 2 ** (len(multipliers) - 1)
        widths = [width * multiplier for multiplier in multipliers]
        attended = {range(len(widths))[level] for level in attention}
        features = 4 * width
        self.level = LevelEmbedding(features)
        self.conditioner = Conditioner(conditions, features)
        context = features if self.conditioner.has_tokens else 0
        convolution, upsample = CONV[dimensions], UPSAMPLE[dimensions]

        def stage(level: int, count: int) -> nn.ModuleList:
            here = level in attended
            return nn.ModuleList(
                Block(widths[level], features, dimensions, dropout, here, context) for _ in range(count)
            )

        deepest = len(widths) - 1
        self.stem = convolution(channels, width, 3, padding=1)
        self.falling = nn.ModuleList(stage(level, blocks) for level in range(deepest))
        self.deepest = stage(deepest, 2 * blocks)
        self.rising = nn.ModuleList(stage(level, blocks) for level in range(deepest))
        pairs = list(zip(widths, widths[1:], strict=False))
        self.down = nn.ModuleList(convolution(fine, coarse, 2, stride=2) for fine, coarse in pairs)
        self.up = nn.ModuleList(upsample(coarse, fine, 2, stride=2) for fine, coarse in pairs)
        self.across = nn.ModuleList(convolution(fine, fine, 1) for fine, _ in pairs)
        self.out = zero(convolution(width, out_channels or channels, 3, padding=1))

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
        told = F.silu(self.level(level, len(x)) + vector), tokens, mask
        h = pad_to_multiple(x, [self.multiple] * self.dimensions)
        h = self.stem(h.contiguous(memory_format=LAYOUT[self.dimensions]))
        crossing = []
        for stage, down in zip(self.falling, self.down, strict=True):
            for block in stage:
                h = block(h, *told)
            crossing.append(h)
            h = down(h)
        for block in self.deepest:
            h = block(h, *told)
        for stage, up, across in reversed(list(zip(self.rising, self.up, self.across, strict=True))):
            h = up(h).add_(across(crossing.pop()))
            for block in stage:
                h = block(h, *told)
        h = self.out(F.silu(normalize(h.movedim(1, -1)).movedim(-1, 1)))
        return crop(h, x.shape[2:])


class Block(nn.Module):
    """One residual block of two convolutions, and one of attention where wanted."""

    def __init__(
        self, width: int, features: int, dimensions: int, dropout: float, attention: bool, context: int
    ) -> None:
        super().__init__()
        convolution = CONV[dimensions]
        self.shift = nn.Linear(features, width)
        self.first = convolution(width, width, 3, padding=1, bias=False)
        self.second = zero(convolution(width, width, 3, padding=1))
        self.dropout = nn.Dropout(dropout)
        self.attention = Attention(width, head_count(width), context) if attention else None

    def forward(self, x: Tensor, vector: Tensor, tokens: Tensor | None, mask: Tensor | None) -> Tensor:
        # Last axis in view, not in memory: in channels-last memory this moves nothing.
        h = self.first(normalize(x.movedim(1, -1)).movedim(-1, 1))
        h = h.add_(self.shift(vector).view(*h.shape[:2], *(1,) * (h.dim() - 2)))
        x = self.second(self.dropout(F.silu(h))).add_(x)
        if self.attention is None:
            return x
        sequence = normalize(x.movedim(1, -1)).flatten(1, -2)
        return x + self.attention(sequence, tokens, mask).movedim(-1, 1).view_as(x)
