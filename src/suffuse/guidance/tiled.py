"""Items larger than those that a denoiser was trained on: overlapping windows, whose answers are joined."""

from collections.abc import Sequence
from functools import reduce
from itertools import product
from math import ceil

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from suffuse.denoiser import Denoiser
from suffuse.errors import UserError
from suffuse.parameterizations import Direct
from suffuse.posteriors import Normal
from suffuse.processes import Gaussian, Time
from suffuse.tree import Condition, of_items

Window = tuple[Tensor, ...]
"""Places on each space axis of an item that are seen at once; of a picture rows (h, 1) and columns (w,)."""


class Tiled(Denoiser):
    r"""A denoiser of items of one size, in any number of space axes, as one of items of any larger size.

    .. math:: E[x_0 | x_t] = \frac{\sum_k w_k \, E[x_0 | x_t \text{ in window } k]}{\sum_k w_k},

    over windows of the size it was trained on, which cover the item evenly and overlap. The weight is the product of
    :math:`\sin^2 \big(\pi \tfrac{i + 1/2}{n}\big)` over the axes, for place i of n: it falls to almost nothing at a
    window's edges, so that no seam shows. Each step is the one that is nearest to what all windows ask for. What is
    further apart than a window is not made to fit, but through what lies between.

    With ``wrap`` windows go over the edges and come in again on the other side, so that the result can be laid out as
    tiles. Where the number of windows divides an axis they are so evenly spaced that rolling an item by their
    distance rolls the answer.

    At most ``at_once`` windows are evaluated at a time, whatever the size and the number of items: memory is what
    the denoiser needs for so many items of its own size, and five times that of the large ones. Where gradients are
    taken, as by a measurement of the whole, the same holds: windows are evaluated again on the way back.

    Source: "MultiDiffusion: Fusing Diffusion Paths for Controlled Image Generation" (Bar-Tal, Yariv, Lipman, Dekel,
    2023).

    Args:
        denoiser: of items (B, C, *space), of a Gaussian process.
        size: length of each space axis that it was trained on; of pictures (height, width).
        overlap: least elements that neighbouring windows share along an axis, in [0, least side); by default a quarter
            of each side.
        wrap: whether the item goes on at its opposite edges.
        at_once: windows that are evaluated at a time, at least 1.

    Raises:
        UserError: the process is not Gaussian, a number is out of range, or an item is smaller than a window.

    Example:
        >>> import suffuse as sf
        >>> half = sf.Denoiser.from_function(sf.Gaussian(sf.schedules.Flow()), lambda x_t, t, condition: x_t / 2)
        >>> Tiled(half, (8, 8))(torch.ones(1, 1, 8, 11), 0.5).mean[0, 0, 0, 5]
        tensor(0.5000)
    """

    def __init__(
        self,
        denoiser: Denoiser,
        size: Sequence[int],
        overlap: int | None = None,
        wrap: bool = False,
        at_once: int = 64,
    ) -> None:
        if not isinstance(denoiser.process, Gaussian):
            raise UserError(f"windows are joined by their means: for Gaussian processes only, and this one is "
                            f"{type(denoiser.process).__name__}")  # fmt: skip
        if overlap is not None and not 0 <= overlap < min(size):
            raise UserError(f"windows of {_by(size)} can share at least 0 elements and less than all, not {overlap}")
        if at_once < 1:
            raise UserError(f"at_once must be at least 1, not {at_once}")
        overlaps = [side // 4 if overlap is None else overlap for side in size]
        windows = _Windows(denoiser, tuple(size), overlaps, wrap, at_once)
        super().__init__(windows, denoiser.process, Direct(denoiser.sigma_data, denoiser.parameterization))


class _Windows(nn.Module):
    """The rule of :class:`Tiled`."""

    def __init__(
        self, denoiser: Denoiser, size: tuple[int, ...], overlaps: Sequence[int], wrap: bool, at_once: int
    ) -> None:
        super().__init__()
        self.denoiser, self.size, self.overlaps, self.wrap, self.at_once = denoiser, size, overlaps, wrap, at_once

    def forward(self, x_t: Tensor, t: Time, condition: Condition) -> Normal:
        """Window by window, in parts of at most ``at_once``."""
        total, weights = torch.zeros_like(x_t), x_t.new_zeros(x_t.shape[2:])
        weight = _smooth(self.size, x_t)
        windows = self._windows(x_t)
        for window in windows:
            weights[window] += weight
        seen = [(item, window) for window in windows for item in range(len(x_t))]
        for start in range(0, len(seen), self.at_once):
            part = seen[start : start + self.at_once]
            items = torch.tensor([item for item, _ in part], device=x_t.device)
            tiles = torch.stack([x_t[item][:, *window] for item, window in part])
            means = _mean(self.denoiser, tiles, _times(t, x_t, part), of_items(condition, items))
            for (item, window), mean in zip(part, means, strict=True):
                total[item][:, *window] += weight * mean
        return Normal(total / weights)

    def _windows(self, x_t: Tensor) -> list[Window]:
        """Where all of them are."""
        space = x_t.shape[2:]
        if len(space) != len(self.size) or any(n < side for n, side in zip(space, self.size, strict=True)):
            raise UserError(f"windows of {_by(self.size)} do not fit into items of {_by(space)}")
        axes = [
            [place.to(x_t.device) for place in _places(length, side, side - overlap, self.wrap)]
            for length, side, overlap in zip(space, self.size, self.overlaps, strict=True)
        ]
        return [_broadcast(places) for places in product(*axes)]


def _by(lengths: Sequence[int]) -> str:
    return "x".join(map(str, lengths))


def _broadcast(places: Sequence[Tensor]) -> Window:
    """Places along each axis, shaped so that together they are those of a window."""
    return tuple(place.reshape(-1, *(1,) * (len(places) - 1 - axis)) for axis, place in enumerate(places))


def _mean(denoiser: Denoiser, tiles: Tensor, t: Time, condition: Condition) -> Tensor:
    """The answer for some windows, of which nothing is kept for gradients but what it was asked."""

    def ask(x: Tensor) -> Tensor:
        return denoiser(x, t, condition).mean

    return checkpoint(ask, tiles, use_reentrant=False) if tiles.requires_grad else ask(tiles)


def _places(length: int, side: int, most: int, wrap: bool) -> list[Tensor]:
    """Places along an axis of windows that begin at most so far apart, as evenly as whole numbers allow.

    Example:
        >>> [(int(place[0]), int(place[-1])) for place in _places(11, 8, 6, False)]
        [(0, 7), (3, 10)]
    """
    if wrap:
        count = ceil(length / most)
        starts = [i * length // count for i in range(count)]
    else:
        count = ceil((length - side) / most)
        starts = [i * (length - side) // max(count, 1) for i in range(count + 1)]
    return [torch.arange(start, start + side) % length for start in starts]


def _smooth(size: tuple[int, ...], like: Tensor) -> Tensor:
    """The weight of each place of a window: positive, and small at the edges."""
    axes = [torch.sin(torch.pi * (torch.arange(n, dtype=torch.float64) + 0.5) / n) ** 2 for n in size]
    return reduce(torch.mul, _broadcast(axes)).to(like)


def _times(t: Time, x_t: Tensor, part: Sequence[tuple[int, Window]]) -> Time:
    """The times of windows, which an element may have for itself."""
    if not isinstance(t, Tensor) or t.ndim == 0:
        return t
    if t.ndim == 1:
        return torch.stack([t[item] for item, _ in part])
    t = t.reshape(t.shape + (1,) * (x_t.ndim - t.ndim)).expand_as(x_t)
    return torch.stack([t[item][:, *window] for item, window in part])
