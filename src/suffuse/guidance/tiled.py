"""Pictures larger than those that a denoiser was trained on: overlapping windows, whose answers are joined."""

from collections.abc import Sequence
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

Window = tuple[Tensor, Tensor]
"""Rows (h, 1) and columns (w,) of a picture that are seen at once."""


class Tiled(Denoiser):
    r"""A denoiser of pictures of one size as one of pictures of any larger size.

    .. math:: E[x_0 | x_t] = \frac{\sum_k w_k \, E[x_0 | x_t \text{ in window } k]}{\sum_k w_k},

    over windows of the size it was trained on, which cover the picture evenly and overlap. The weight is the product of
    :math:`\sin^2 \big(\pi \tfrac{i + 1/2}{n}\big)` over both axes, for place i of n: it falls to almost nothing at a
    window's edges, so that no seam shows. Each step is the one that is nearest to what all windows ask for. What is
    further apart than a window is not made to fit, but through what lies between.

    With ``wrap`` windows go over the edges and come in again on the other side, so that the result can be laid out as
    tiles. Where the number of windows divides an axis they are so evenly spaced that rolling a picture by their
    distance rolls the answer.

    At most ``at_once`` windows are evaluated at a time, whatever the size and the number of pictures: memory is what
    the denoiser needs for so many pictures of its own size, and five times that of the large ones. Where gradients are
    taken, as by a measurement of the whole, the same holds: windows are evaluated again on the way back.

    Source: "MultiDiffusion: Fusing Diffusion Paths for Controlled Image Generation" (Bar-Tal, Yariv, Lipman, Dekel,
    2023).

    Args:
        denoiser: of pictures, (B, C, H, W), of a Gaussian process.
        size: (height, width) that it was trained on, in pixels.
        overlap: least pixels that neighbouring windows share, in [0, least side); a quarter of that side by default.
        wrap: whether the picture goes on at its opposite edges.
        at_once: windows that are evaluated at a time, at least 1.

    Raises:
        UserError: the process is not Gaussian, a number is out of range, or a picture is smaller than a window.

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
        height, width = size
        overlap = min(height, width) // 4 if overlap is None else overlap
        if not 0 <= overlap < min(height, width):
            raise UserError(f"windows of {height}x{width} can share at least 0 pixels and less than all, not {overlap}")
        if at_once < 1:
            raise UserError(f"at_once must be at least 1, not {at_once}")
        windows = _Windows(denoiser, (height, width), overlap, wrap, at_once)
        super().__init__(windows, denoiser.process, Direct(denoiser.sigma_data))


class _Windows(nn.Module):
    """The rule of :class:`Tiled`."""

    def __init__(self, denoiser: Denoiser, size: tuple[int, int], overlap: int, wrap: bool, at_once: int) -> None:
        super().__init__()
        self.denoiser, self.size, self.overlap, self.wrap, self.at_once = denoiser, size, overlap, wrap, at_once

    def forward(self, x_t: Tensor, t: Time, condition: Condition) -> Normal:
        """Window by window, in parts of at most ``at_once``."""
        total, weights = torch.zeros_like(x_t), x_t.new_zeros(x_t.shape[-2:])
        weight = _smooth(self.size, x_t)
        windows = self._windows(x_t)
        for rows, columns in windows:
            weights[rows, columns] += weight
        seen = [(item, window) for window in windows for item in range(len(x_t))]
        for start in range(0, len(seen), self.at_once):
            part = seen[start : start + self.at_once]
            items = torch.tensor([item for item, _ in part], device=x_t.device)
            tiles = torch.stack([x_t[item, :, rows, columns] for item, (rows, columns) in part])
            means = _mean(self.denoiser, tiles, _times(t, x_t, part), of_items(condition, items))
            for (item, (rows, columns)), mean in zip(part, means, strict=True):
                total[item, :, rows, columns] += weight * mean
        return Normal(total / weights)

    def _windows(self, x_t: Tensor) -> list[Window]:
        """Where all of them are."""
        if any(length < side for length, side in zip(x_t.shape[-2:], self.size, strict=True)):
            height, width = self.size
            raise UserError(f"windows of {height}x{width} do not fit into pictures of {x_t.shape[-2]}x{x_t.shape[-1]}")
        rows, columns = (
            [place.to(x_t.device) for place in _places(length, side, side - self.overlap, self.wrap)]
            for length, side in zip(x_t.shape[-2:], self.size, strict=True)
        )
        return [(row[:, None], column) for row, column in product(rows, columns)]


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


def _smooth(size: tuple[int, int], like: Tensor) -> Tensor:
    """The weight of each place of a window: positive, and small at the edges."""
    down, along = (torch.sin(torch.pi * (torch.arange(n, dtype=torch.float64) + 0.5) / n) ** 2 for n in size)
    return (down[:, None] * along).to(like)


def _times(t: Time, x_t: Tensor, part: Sequence[tuple[int, Window]]) -> Time:
    """The times of windows, which an element may have for itself."""
    if not isinstance(t, Tensor) or t.ndim == 0:
        return t
    if t.ndim == 1:
        return torch.stack([t[item] for item, _ in part])
    t = t.reshape(t.shape + (1,) * (x_t.ndim - t.ndim)).expand_as(x_t)
    return torch.stack([t[item, :, rows, columns] for item, (rows, columns) in part])
