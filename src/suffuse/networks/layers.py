"""The parts that every network is made of, written for channels-last memory."""

import math
from collections.abc import Sequence
from typing import TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from suffuse.errors import UserError

Layer = TypeVar("Layer", bound=nn.Module)


def normalize(x: Tensor) -> Tensor:
    """Layer normalisation over the last axis, without an affine map of its own."""
    # Under autocast on a GPU `F.layer_norm` gives float32; the native operator keeps bfloat16 outside.
    return torch.native_layer_norm(x, (x.shape[-1],), None, None, 1e-5)[0]


def modulate(x: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    """Map x of (B, ..., C) to x (1 + scale) + shift, scale and shift of (B, C)."""
    shape = (x.shape[0], *(1,) * (x.dim() - 2), x.shape[-1])
    # In place, as fresh memory costs more than a sum; and `addcmul` takes longer to differentiate.
    return (x * (1 + scale.view(shape))).add_(shift.view(shape))


def zero(layer: Layer) -> Layer:
    """The layer with all its parameters at zero, as the last one of a residual branch is at the start."""
    for parameter in layer.parameters():
        nn.init.zeros_(parameter)
    return layer


def pad_to_multiple(x: Tensor, multiple: Sequence[int]) -> Tensor:
    """Zeros after the end of each spatial axis of (B, C, *space), up to a multiple of so many."""
    amounts = [-size % step for size, step in zip(x.shape[2:], multiple, strict=True)]
    return F.pad(x, [end for amount in reversed(amounts) for end in (0, amount)]) if any(amounts) else x


def crop(x: Tensor, space: Sequence[int]) -> Tensor:
    """The first `space` elements along the spatial axes of (B, C, *space)."""
    for axis, size in enumerate(space, start=2):
        x = x.narrow(axis, 0, size)
    return x


def patches(x: Tensor, patch: Sequence[int]) -> Tensor:
    """Cut (B, C, *space) into patches: (B, *grid, C * pixels of a patch), the pixels in row-major order.

    Example:
        >>> patches(torch.arange(8).view(1, 1, 2, 4), (2, 2))
        tensor([[[[0, 1, 4, 5],
                  [2, 3, 6, 7]]]])
    """
    axes = len(patch)
    for axis, side in enumerate(patch):
        x = x.unflatten(2 + 2 * axis, (-1, side))
    grid, inner = range(2, 2 + 2 * axes, 2), range(3, 3 + 2 * axes, 2)
    return x.permute(0, *grid, 1, *inner).flatten(1 + axes)


def assemble(x: Tensor, patch: Sequence[int]) -> Tensor:
    """Put patches together again: the inverse of `patches`."""
    axes = len(patch)
    x = x.unflatten(1 + axes, (-1, *patch))
    pairs = [place for axis in range(axes) for place in (1 + axis, 2 + axes + axis)]
    x = x.permute(0, 1 + axes, *pairs)
    for axis in range(axes):
        x = x.flatten(2 + axis, 3 + axis)
    return x


class Convolution3d(nn.Conv3d):
    """`nn.Conv3d` whose gradient in bfloat16 is right on every CPU.

    Where there are no matrix units, torch 2.13 differentiates a kernel of three places over two of the first axis
    from memory that was never written. A third place of zeros changes nothing but the kernel that is chosen.
    """

    def forward(self, input: Tensor) -> Tensor:
        """Apply it to (B, C, depth, height, width)."""
        if input.device.type != "cpu" or input.shape[2] != 2 or self.kernel_size[0] != 3:
            return super().forward(input)
        return super().forward(F.pad(input, (0, 0, 0, 0, 0, 1)))[:, :, :2]


class Periodic(nn.Module):
    """A convolution of three places a side, on an input of which some axes close to a circle.

    Args:
        convolution: without padding along these axes, and with one place of zeros along the others.
        axes: for each spatial axis, whether it is a circle.
    """

    def __init__(self, convolution: nn.Module, axes: Sequence[bool]) -> None:
        super().__init__()
        self.convolution, self.axes = convolution, tuple(axes)

    def forward(self, x: Tensor) -> Tensor:
        """Apply it to (B, C, *space)."""
        for axis, circle in enumerate(self.axes, start=2):
            if circle:
                x = torch.cat([x.narrow(axis, x.shape[axis] - 1, 1), x, x.narrow(axis, 0, 1)], axis)
        return self.convolution(x)


def check_input(x: Tensor, channels: int, dimensions: int) -> None:
    """Refuse a state that is not (B, channels, *space).

    Raises:
        UserError: the number of axes or of channels is not what the network was built for.
    """
    if x.dim() != dimensions + 2 or x.shape[1] != channels:
        raise UserError(
            f"the network takes states of {channels} channels and {dimensions} spatial axes, not of the "
            f"shape {tuple(x.shape)}; build it for the data, or shape the data (batch, channels, *space)"
        )


def known_parts(level: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
    """Log-SNRs of any prefix shape as that of each item's noisiest element, and marks of the elements with less noise.

    Args:
        level: (), (B,) or any longer prefix of the shape of x.
        x: the state.

    Returns:
        Levels () or (B,), and marks of the shape and type of x: 1 where an element is clean, else 0.
    """
    if level.ndim < 2:
        return level, torch.zeros_like(x)
    items = level.flatten(1).amin(1)
    every = level.reshape(level.shape + (1,) * (x.ndim - level.ndim)).expand_as(x)
    return items, (every > items.reshape(-1, *(1,) * (x.ndim - 1))).to(x.dtype)


def nearest(clean: Tensor, axis: int) -> tuple[Tensor, Tensor]:
    """Places along an axis of the last clean element up to each, or -1, and of the first from each on, or the length.

    Example:
        >>> [each.tolist() for each in nearest(torch.tensor([False, True, False]), 0)]
        [[-1, 1, 1], [1, 1, 3]]
    """
    length = clean.shape[axis]
    places = torch.arange(length, device=clean.device)
    places = places.view(-1, *(1,) * (clean.ndim - 1 - axis % clean.ndim)).expand_as(clean)
    before = torch.where(clean, places, -1).cummax(axis).values
    after = torch.where(clean, places, length).flip(axis).cummin(axis).values.flip(axis)
    return before, after


class LevelEmbedding(nn.Module):
    """A noise level as a vector: fixed Fourier features, then two linear layers.

    The frequencies grow geometrically from 1/16 to 16 rad per unit: the slowest passes less than half a turn
    over log-SNRs of [-20, 20], the fastest more than two over mask rates of [0, 1].

    Source: "Denoising Diffusion Probabilistic Models" (Ho et al., 2020) for the form; the range is our own.
    """

    def __init__(self, width: int, features: int = 64) -> None:
        super().__init__()
        frequencies = torch.logspace(-4, 4, features // 2, base=2.0)
        self.register_buffer("frequencies", frequencies, persistent=False)
        self.frequencies: Tensor
        self.mlp = nn.Sequential(nn.Linear(features, width), nn.SiLU(), nn.Linear(width, width))

    def forward(self, level: Tensor, batch: int) -> Tensor:
        """Map levels, () or (B,), to (B, width)."""
        return self.mlp(self.features(level).expand(batch, -1))

    def features(self, level: Tensor) -> Tensor:
        """The sines and cosines of levels (...), with an axis of features behind."""
        angles = level.to(self.frequencies)[..., None] * self.frequencies
        return torch.cat([angles.sin(), angles.cos()], dim=-1)


class Attention(nn.Module):
    """Multi-head attention of a sequence to itself and, where there is one, to a context beside it.

    softmax(Q [K, K_c]^T / sqrt(d)) [V, V_c]: the context's keys and values stand beside the sequence's own.

    Args:
        width: features of a token, a multiple of `heads`.
        heads: attention heads.
        context: features of a context's token; 0 = there is no context.
    """

    def __init__(self, width: int, heads: int, context: int = 0) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.context = nn.Linear(context, 2 * width, bias=False) if context else None
        self.out = nn.Linear(width, width, bias=False)

    def forward(
        self,
        x: Tensor,
        context: Tensor | None = None,
        mask: Tensor | None = None,
        rotation: Tensor | None = None,
    ) -> Tensor:
        """Attend.

        Args:
            x: (B, N, width).
            context: (B, S, context) or None.
            mask: (B, S), or (B, N) where there is no context: which keys may be looked at.
            rotation: rotary positions, as from `rotary`.
        """
        query, key, value, mask = self.projected(x, context, mask, rotation)
        return self.out(attend(query, key, value, mask).transpose(1, 2).flatten(2))

    def projected(
        self, x: Tensor, context: Tensor | None = None, mask: Tensor | None = None, rotation: Tensor | None = None
    ) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
        """Queries, keys, values, (B, heads, N or N + S, size), and the mask of the keys, of what `forward` is told."""
        query, key, value = self.qkv(x).unflatten(-1, (3, self.heads, -1)).unbind(2)
        if rotation is not None:
            query, key = rotate(query, rotation), rotate(key, rotation)
        if self.context is not None and context is not None:
            more_keys, more_values = self.context(context).unflatten(-1, (2, self.heads, -1)).unbind(2)
            key, value = torch.cat([key, more_keys], 1), torch.cat([value, more_values], 1)
            if mask is not None:
                mask = F.pad(mask, (x.shape[1], 0), value=True)
        mask = None if mask is None else mask[:, None, None]
        return query.transpose(1, 2), key.transpose(1, 2), value.transpose(1, 2), mask


class FramedAttention(nn.Module):
    """Attention in clips: within each frame, then over all frames at each place.

    The frames' own attention may look at a context too. That over time knows how far frames are apart, by rotation of
    queries and keys. The work and memory of the first, and the memory of the second, grow with the number of frames.

    Source: "Is Space-Time Attention All You Need for Video Understanding?" (Bertasius, Wang, Torresani, 2021), there
    called divided attention; "Video Diffusion Models" (Ho, Salimans, Gritsenko, Chan, Norouzi, Fleet, 2022).

    Args:
        width: features of a place, a multiple of `heads`.
        heads: attention heads.
        context: features of a context's token; 0 = there is no context.
    """

    def __init__(self, width: int, heads: int, context: int = 0) -> None:
        super().__init__()
        self.space, self.time = Attention(width, heads, context), Attention(width, heads)

    @property
    def out(self) -> nn.ModuleList:
        """The last layers of both."""
        return nn.ModuleList([self.space.out, self.time.out])

    def forward(
        self,
        x: Tensor,
        context: Tensor | None = None,
        mask: Tensor | None = None,
        rotation: Tensor | None = None,
    ) -> Tensor:
        """Attend.

        Args:
            x: (B, T, N, width), of N places in each of T frames.
            context: (B, S, context) or None.
            mask: (B, S), which keys of the context may be looked at.
            rotation: rotary positions of the places.
        """
        frames, places = x.shape[1:3]
        context, mask = (None if each is None else each.repeat_interleave(frames, 0) for each in (context, mask))
        h = self.space(x.flatten(0, 1), context, mask, rotation).view_as(x)
        turned = rotary([frames], x.shape[-1] // self.time.heads, x)
        along = normalize(x + h).transpose(1, 2).flatten(0, 1)
        h = h + self.time(along, rotation=turned).unflatten(0, (-1, places)).transpose(1, 2)
        return h


def attend(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None = None) -> Tensor:
    """Attention softmax(Q K^T / sqrt(size)) V of (B, heads, N, size), under a mask of the keys to look at."""
    if query.device.type == "cpu" and query.dtype == torch.bfloat16 and key.shape[2] <= 512:
        # On short sequences torch's CPU kernel takes up to 7 times as long to differentiate in bfloat16.
        return looks(query, key, mask) @ value
    return F.scaled_dot_product_attention(query, key, value, attn_mask=mask)


def looks(query: Tensor, key: Tensor, mask: Tensor | None = None) -> Tensor:
    """The weights softmax(Q K^T / sqrt(size)) of attention, (B, heads, N, keys)."""
    weights = (query * query.shape[-1] ** -0.5) @ key.transpose(2, 3)
    if mask is not None:
        weights = weights.masked_fill(~mask, -torch.inf)
    return weights.softmax(-1)


def rotary(space: Sequence[int], size: int, like: Tensor, start: int = 0) -> Tensor:
    """Rotary positions on a grid of any number of axes.

    The `size / 2` pairs of a head's features are dealt out evenly to the axes; along each axis the angle of
    pair i is position * 256^(-i / pairs). Attention between rotated queries and keys depends on differences
    of positions alone.

    Args:
        space: length of the grid along each axis.
        size: features of a head.
        like: a tensor of the wanted device and precision; float32 at least is used.
        start: position of the first element along every axis.

    Returns:
        Cosines and sines (N, 1, size / 2, 2), N the number of grid points in row-major order.

    Source: "RoFormer: Enhanced Transformer with Rotary Position Embedding" (Su et al., 2021).
    """
    pairs = size // 2 // len(space)
    real = torch.zeros(0, device=like.device, dtype=torch.promote_types(like.dtype, torch.float32))
    frequencies = 256.0 ** (-torch.arange(pairs).to(real) / max(1, pairs))
    axes = [torch.arange(start, start + length).to(real) for length in space]
    angles = torch.stack(torch.meshgrid(*axes, indexing="ij"), -1).reshape(-1, len(space), 1) * frequencies
    # Pairs that cannot be dealt out evenly are not rotated: their angle is 0.
    angles = F.pad(angles.flatten(1), (0, size // 2 - pairs * len(space)))[:, None]
    return torch.stack([angles.cos(), angles.sin()], -1)


def rotate(x: Tensor, rotation: Tensor) -> Tensor:
    """Rotate neighbouring pairs of the features of (B, N, heads, size) by the angles of `rotary`."""
    pairs = x.to(rotation.dtype).unflatten(-1, (-1, 2))
    if torch.compiler.is_compiling():  # The compiler knows no complex numbers, but makes one pass of this.
        (real, imaginary), (cos, sin) = pairs.unbind(-1), rotation.unbind(-1)
        turned = torch.stack([real * cos - imaginary * sin, real * sin + imaginary * cos], -1)
    else:  # One pass too, where sines and cosines written out make seven.
        turned = torch.view_as_real(torch.view_as_complex(pairs) * torch.view_as_complex(rotation))
    return turned.flatten(-2).to(x.dtype)


def head_count(width: int, size: int = 64) -> int:
    """Attention heads of about `size` features that divide the width evenly."""
    return math.gcd(width, max(1, width // size))
