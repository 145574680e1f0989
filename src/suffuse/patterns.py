"""Which parts of an item a denoiser is shown clean in training, so that it can be told them afterwards."""

from abc import ABC, abstractmethod

import torch
from torch import Tensor

from suffuse.rng import Streams
from suffuse.tree import State, expand, leaves, map_leaves

_SHORTEST = 1 / 64
"""Of the last axis, the share that the shortest of :class:`Gaps` takes."""


class Pattern(ABC):
    """Which parts of an item are shown clean.

    Args:
        share: of the items of which any are, in [0, 1].
    """

    def __init__(self, share: float) -> None:
        self.share = share

    @abstractmethod
    def draw(self, x0: State, rng: Streams) -> State:
        """True where an element is clean: a bool for every element of the state, by each item's own streams."""


class Scattered(Pattern):
    """Elements here and there: in a share of the items, each with a probability that is itself drawn for the item."""

    def draw(self, x0: State, rng: Streams) -> State:
        """See the class."""
        place = torch.empty(len(rng), device=rng.index.device)
        chosen = rng.fold("item").uniform(place) < self.share
        rate = torch.where(chosen, rng.fold("rate").uniform(place), 0.0)
        numbered = iter(range(len(list(leaves(x0)))))
        return map_leaves(lambda leaf: rng.fold(next(numbered)).uniform(leaf) < expand(rate, leaf), x0)


class Spans(Pattern):
    """All but a span of the last axis: in a share of the items, of (B, C, L).

    Half of the spans reach to the end, as the future does; the others are anywhere. A channel may be hidden as a whole,
    or be known as a whole, as what is planned ahead is.
    """

    def draw(self, x0: State, rng: Streams) -> State:
        """See the class."""

        def one(leaf: Tensor) -> Tensor:
            length = leaf.shape[-1]
            item = torch.empty(len(rng), 1, 1, device=rng.index.device)
            channel = torch.empty(*leaf.shape[:2], 1, device=rng.index.device)
            places = torch.arange(length, device=leaf.device)
            size = 1 + rng.fold("size").uniform(item) * (length - 1)
            start = rng.fold("start").uniform(item) * (length - size)
            start = torch.where(rng.fold("end").uniform(item) < 0.5, length - size, start)
            hidden = (places >= start) & (places < start + size)
            role = rng.fold("role").uniform(channel)
            clean = torch.where(role < 0.1, False, torch.where(role > 0.9, True, ~hidden))
            return clean & (rng.fold("item").uniform(item) < self.share)

        return map_leaves(one, x0)


class Gaps(Pattern):
    """All but a gap of the last axis, of (B, C, *space, T): in a share of the items.

    Gaps are of a 64th of the places to all, evenly in the logarithm of their length; one in four reaches to the end,
    and as many to the beginning.
    """

    def draw(self, x0: State, rng: Streams) -> State:
        """See the class."""

        def one(leaf: Tensor) -> Tensor:
            length, item = leaf.shape[-1], leaf.new_empty(len(rng), *(1,) * (leaf.ndim - 1))
            places, which = torch.arange(length, device=leaf.device), rng.fold("which").uniform(item)
            size = (length * _SHORTEST ** rng.fold("size").uniform(item)).ceil()
            start = (rng.fold("start").uniform(item) * (length - size + 1)).floor()
            start = torch.where(which < 0.25, length - size, torch.where(which < 0.5, 0.0, start))
            known = (places < start) | (places >= start + size)
            return (known & (rng.fold("item").uniform(item) < self.share)).expand_as(leaf)

        return map_leaves(one, x0)


class Places(Pattern):
    """Places of space, of (B, C, *space): in a share of the items sensors here and there, or all but a box.

    Half of these items are known at sensors, from one in 256 places to every second one, evenly in the logarithm of the
    share; the others everywhere but in a box. All channels are known at the same places, but one in ten is hidden as a
    whole, and one in ten known as a whole.
    """

    def draw(self, x0: State, rng: Streams) -> State:
        """See the class."""

        def one(leaf: Tensor) -> Tensor:
            axes = leaf.ndim - 2
            item, channel = leaf.new_empty(len(rng), *(1,) * (axes + 1)), leaf.new_empty(*leaf.shape[:2], *(1,) * axes)
            rate = 2.0 ** -(1 + 7 * rng.fold("rate").uniform(item))
            sensors = rng.fold("sensors").uniform(leaf[:, :1]) < rate
            outside = torch.zeros_like(sensors)
            for axis, length in enumerate(leaf.shape[2:]):
                size = length * (0.1 + 0.9 * rng.fold("size", axis).uniform(item))
                start = rng.fold("start", axis).uniform(item) * (length - size)
                places = torch.arange(length, device=leaf.device).reshape(-1, *(1,) * (axes - 1 - axis)) + 0.5
                outside = outside | (places < start) | (places > start + size)
            known = torch.where(rng.fold("which").uniform(item) < 0.5, sensors, outside)
            role = rng.fold("role").uniform(channel)
            clean = torch.where(role < 0.1, False, torch.where(role > 0.9, True, known))
            return clean & (rng.fold("item").uniform(item) < self.share)

        return map_leaves(one, x0)


class Voices(Pattern):
    """Whole rows, or a span of all of them, of (B, V, L): in a share of the items.

    In half of these items every row is known or hidden as a whole; in the others a span is hidden, half of which reach
    to the end.
    """

    def draw(self, x0: State, rng: Streams) -> State:
        """See the class."""

        def one(leaf: Tensor) -> Tensor:
            length, device = leaf.shape[-1], leaf.device
            item = torch.empty(len(rng), 1, 1, device=device)
            places = torch.arange(length, device=device)
            size = 1 + rng.fold("size").uniform(item) * (length - 1)
            start = rng.fold("start").uniform(item) * (length - size)
            start = torch.where(rng.fold("end").uniform(item) < 0.5, length - size, start)
            outside = (places < start) | (places >= start + size)
            rows = rng.fold("rows").uniform(torch.empty(*leaf.shape[:2], 1, device=device)) < 0.5
            clean = torch.where(rng.fold("which").uniform(item) < 0.5, rows, outside)
            return clean & (rng.fold("item").uniform(item) < self.share)

        return map_leaves(one, x0)


class Frames(Pattern):
    """Whole frames of (B, C, T, H, W), or all but a box of every frame: in a share of the items.

    Of these items the last frames are asked for in two of five, a span of frames inside in as many, frames here and
    there in one of ten, and a box, for which all frames are known around it, in as many. One frame at least is known.
    """

    def draw(self, x0: State, rng: Streams) -> State:
        """See the class."""

        def one(leaf: Tensor) -> Tensor:
            length, item = leaf.shape[2], leaf.new_empty(len(rng), 1, 1, 1, 1)
            frames = torch.arange(length, device=leaf.device).view(-1, 1, 1)
            which = rng.fold("which").uniform(item)
            size = 1 + rng.fold("size").uniform(item) * (length - 1.5)
            first = 1 + rng.fold("start").uniform(item) * (length - 1 - size).clamp(min=0)
            first = torch.where(which < 0.4, length - size.floor(), first.floor())
            span = (frames < first) | (frames >= first + size.floor())
            rate = rng.fold("rate").uniform(item)
            kept = (rng.fold("kept").uniform(item) * length).floor() == frames
            scattered = kept | (rng.fold("frames").uniform(leaf[:, :1, :, :1, :1]) < rate)
            known = torch.where(which < 0.8, span, torch.where(which < 0.9, scattered, _around_a_box(leaf, item, rng)))
            return (known & (rng.fold("item").uniform(item) < self.share)).expand_as(leaf)

        return map_leaves(one, x0)


def _around_a_box(leaf: Tensor, item: Tensor, rng: Streams) -> Tensor:
    """All of the last two axes but a box, whose sides are a tenth of theirs to all."""
    outside = torch.zeros_like(item, dtype=torch.bool)
    for axis in (-2, -1):
        length = leaf.shape[axis]
        size = length * (0.1 + 0.9 * rng.fold("side", axis).uniform(item))
        start = rng.fold("corner", axis).uniform(item) * (length - size)
        places = torch.arange(length, device=leaf.device).view(-1, *(1,) * (-1 - axis)) + 0.5
        outside = outside | (places < start) | (places > start + size)
    return outside
