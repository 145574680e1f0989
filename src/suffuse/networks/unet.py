"""A convolutional U-Net for 1, 2 and 3 spatial dimensions."""

from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise
from math import prod
from types import MappingProxyType
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from suffuse.errors import UserError
from suffuse.networks.base import Network
from suffuse.networks.conditions import Condition, Conditioner, Conditions
from suffuse.networks.layers import (
    Attention,
    Convolution3d,
    FramedAttention,
    LevelEmbedding,
    Periodic,
    assemble,
    check_input,
    crop,
    head_count,
    modulate,
    normalize,
    pad_to_multiple,
    patches,
    zero,
)

CONVOLUTION = {1: nn.Conv1d, 2: nn.Conv2d, 3: Convolution3d}
TRANSPOSED = {1: nn.ConvTranspose1d, 2: nn.ConvTranspose2d, 3: nn.ConvTranspose3d}


def keeping(periodic: Sequence[bool], channels: int, out_channels: int) -> nn.Module:
    """A convolution of three places a side that keeps the size, of as many axes as are said to be circles or not."""
    if not any(periodic):
        return CONVOLUTION[len(periodic)](channels, out_channels, 3, padding=1)
    padding: Any = tuple(1 - circle for circle in periodic)
    return Periodic(CONVOLUTION[len(periodic)](channels, out_channels, 3, padding=padding), periodic)


class UNet(Network):
    """A U-Net: residual blocks at falling, then at rising resolution, with connections across.

    A block is x + conv(silu(conv(norm(x)) (1 + scale) + shift)), scale and shift linear in the embedding of
    noise level and conditions; norm is over the channels of each place. Resolution is halved and doubled by
    convolutions of two places a side. What crosses from the falling to the rising side is added through a 1x1
    convolution, which is the same as a concatenation followed by one. With patches of a side above 1 the network
    works on their grid, the pixels of a patch as its channels. Any spatial size is taken: it is padded with zeros
    up to a multiple of patch * 2^(levels - 1), and the result is cropped. Pictures among the conditions stand behind
    the state's channels.

    Where the first axis counts frames its resolution is kept on all levels. The first convolution of a block then looks
    at neighbours within each frame and the second at those in time, and attention does the one and then the other: the
    work and memory of a frame do not depend on how many there are, but for the products of attention over time.

    Args:
        channels: of the state.
        dimensions: spatial axes, 1 to 3.
        frames: whether the first of the axes counts frames.
        patch: side of a patch; a frame is in a patch alone.
        width: channels at full resolution, of patches.
        multipliers: channels of each level over `width`, one entry a level.
        blocks: residual blocks per level and side; the deepest level has both sides' blocks.
        attention: levels with self-attention, counted from full resolution, or from the deepest as -1.
        conditions: what the network may be told, by name.
        out_channels: of the result; None = as many as the state has.
        dropout: rate inside the blocks, in [0, 1).
        periodic: spatial axes that close to a circle, from 0: nothing then tells where they begin, and a state that is
            turned along one by a multiple of patch * 2^(levels - 1) gives what it gave, turned as far.

    Raises:
        UserError: there is no such level or number of dimensions, the state does not fit, an unknown condition is
            given, or the length of a periodic axis is no multiple of patch * 2^(levels - 1).

    Source: "Denoising Diffusion Probabilistic Models" (Ho et al., 2020); "Elucidating the Design Space of
    Diffusion-Based Generative Models" (Karras et al., 2022).

    Example:
        >>> import torch
        >>> network = UNet(3, width=16, multipliers=(1, 2))
        >>> network(torch.zeros(2, 3, 15, 7), torch.tensor([-4.0, 2.0])).shape
        torch.Size([2, 3, 15, 7])
    """

    feature_axis = 1

    def __init__(
        self,
        channels: int,
        *,
        dimensions: int = 2,
        frames: bool = False,
        patch: int = 1,
        width: int = 64,
        multipliers: Sequence[int] = (1, 2, 4),
        blocks: int = 2,
        attention: Sequence[int] = (-1,),
        conditions: Conditions = MappingProxyType({}),
        out_channels: int | None = None,
        dropout: float = 0.0,
        periodic: Sequence[int] = (),
    ) -> None:
        super().__init__()
        count = len(multipliers)
        if dimensions not in CONVOLUTION:
            raise UserError(f"a U-Net of {dimensions} dimensions cannot be; 1, 2 and 3 can")
        if frames and dimensions < 2:
            raise UserError("frames need an axis of their own beside those of space; take 2 or 3 dimensions")
        if not all(-count <= level < count for level in attention):
            raise UserError(f"attention at levels {tuple(attention)}, but there are {count}; the first is 0")
        circles = tuple(axis in periodic for axis in range(dimensions))
        self.channels, self.dimensions, self.circles = channels, dimensions, circles
        self.patch = _but_frames(patch, dimensions, frames)
        self.multiple = _but_frames(patch * 2 ** (count - 1), dimensions, frames)
        pixels = prod(self.patch)
        features = 4 * width
        self.level = LevelEmbedding(features)
        self.conditioner = Conditioner(conditions, features)
        context = features if self.conditioner.has_tokens else 0
        attended = {level % count for level in attention}
        widths = [width * multiplier for multiplier in multipliers]

        def stage(level: int, blocks: int) -> Stage:
            return Stage(
                Block(widths[level], features, circles, frames, dropout, level in attended, context)
                for _ in range(blocks)
            )

        axes = circles[1:] if frames else circles
        wrap: Callable[[nn.Module], nn.Module] = EachFrame if frames else _itself
        convolution, transposed = CONVOLUTION[len(axes)], TRANSPOSED[len(axes)]
        seen = (channels + sum(self.conditioner.pictures.values())) * pixels
        self.stem = wrap(keeping(axes, seen, widths[0]))
        self.falling = nn.ModuleList(stage(level, blocks) for level in range(count - 1))
        self.down = nn.ModuleList(wrap(convolution(fine, coarse, 2, stride=2)) for fine, coarse in pairwise(widths))
        self.deepest = stage(count - 1, 2 * blocks)
        self.up = nn.ModuleList(wrap(transposed(coarse, fine, 2, stride=2)) for fine, coarse in pairwise(widths))
        self.across = nn.ModuleList(wrap(convolution(fine, fine, 1)) for fine in widths[:-1])
        self.rising = nn.ModuleList(stage(level, blocks) for level in range(count - 1))
        self.out = wrap(zero(keeping(axes, widths[0], (out_channels or channels) * pixels)))

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
        self._check_circles(x)
        vector, tokens, mask = self.conditioner(condition, len(x), x.device, x.dtype)
        vector = F.silu(self.level(level, len(x)) + vector)
        shown = pad_to_multiple(self.conditioner.beside(x, condition), self.multiple)
        h = self.stem(first(patches(shown, self.patch)))
        crossing: list[Tensor] = []
        for stage, down in zip(self.falling, self.down, strict=True):
            crossing.append(stage(h, vector, tokens, mask))
            h = down(crossing[-1])
        h = self.deepest(h, vector, tokens, mask)
        for stage, up, across in reversed(list(zip(self.rising, self.up, self.across, strict=True))):
            h = stage(up(h).add_(across(crossing.pop())), vector, tokens, mask)
        return crop(assemble(last(self.out(F.silu(norm(h)))), self.patch), x.shape[2:])

    def _check_circles(self, x: Tensor) -> None:
        for size, step, circle in zip(x.shape[2:], self.multiple, self.circles, strict=True):
            if circle and size % step:
                raise UserError(
                    f"a periodic axis of {size} does not close at {len(self.down) + 1} levels, which take multiples of "
                    f"{step}; take fewer levels (--multipliers), or do not call it periodic"
                )

    def feature_blocks(self) -> Sequence[nn.Module]:
        """The deepest stage, and those of rising resolution."""
        return [self.deepest, *reversed(self.rising)]


class Stage(nn.Module):
    """The blocks of one level and side, one after the other."""

    def __init__(self, blocks: Iterable["Block"]) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(blocks)

    def forward(self, x: Tensor, vector: Tensor, tokens: Tensor | None, mask: Tensor | None) -> Tensor:
        """Apply them to (B, C, *space), told the vector (B, features) and the tokens (B, S, features)."""
        for block in self.blocks:
            x = block(x, vector, tokens, mask)
        return x


class Block(nn.Module):
    """One residual block of two convolutions, and one of attention where wanted."""

    def __init__(
        self,
        width: int,
        features: int,
        circles: Sequence[bool],
        frames: bool,
        dropout: float,
        attention: bool,
        context: int,
    ) -> None:
        super().__init__()
        self.modulation = zero(nn.Linear(features, 2 * width))
        self.first = EachFrame(keeping(circles[1:], width, width)) if frames else keeping(circles, width, width)
        self.second = zero(OverTime(width) if frames else keeping(circles, width, width))
        self.dropout = nn.Dropout(dropout)
        kind = FramedAttention if frames else Attention
        self.attention = kind(width, head_count(width), context) if attention else None
        self.places = 2 if frames else 1
        if self.attention is not None:
            zero(self.attention.out)

    def forward(self, x: Tensor, vector: Tensor, tokens: Tensor | None, mask: Tensor | None) -> Tensor:
        """Apply it to (B, C, *space), told the vector (B, features) and the tokens (B, S, features)."""
        h = first(modulate(normalize(last(x)), *self.modulation(vector).chunk(2, 1)))
        x = self.second(self.dropout(F.silu(self.first(h)))).add_(x)  # in place: on a CPU fresh memory costs more
        if self.attention is None:
            return x
        sequence = normalize(last(x)).flatten(self.places, -2)
        return first(self.attention(sequence, tokens, mask).view_as(last(x))).add_(x)


class EachFrame(nn.Module):
    """A layer over space, for every frame by itself.

    Args:
        layer: that takes (B, C, *space).
    """

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        """Apply it to (B, C, T, *space)."""
        return self.layer(x.movedim(2, 1).flatten(0, 1)).unflatten(0, (len(x), x.shape[2])).movedim(1, 2)


class OverTime(nn.Module):
    """A convolution of three frames, at every place by itself, which keeps the number of frames."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(width, width, (3, 1), padding=(1, 0))

    def forward(self, x: Tensor) -> Tensor:
        """Apply it to (B, C, T, *space)."""
        return self.convolution(x.flatten(3)).view_as(x)


def _itself(layer: nn.Module) -> nn.Module:
    return layer


def _but_frames(side: int, dimensions: int, frames: bool) -> tuple[int, ...]:
    """The side for each axis, but 1 for one of frames."""
    return tuple(1 if frames and axis == 0 else side for axis in range(dimensions))


def norm(x: Tensor) -> Tensor:
    """Normalise each place of (B, C, *space) over its channels."""
    return first(normalize(last(x)))


def last(x: Tensor) -> Tensor:
    """The channels of (B, C, *space) as the last axis: a view, contiguous in channels-last memory."""
    return x.movedim(1, -1)


def first(x: Tensor) -> Tensor:
    """The channels of (B, *space, C) as the first axis of an item: the inverse of `last`."""
    return x.movedim(-1, 1)
