"""Which parts of an item a denoiser is shown clean in training, so that it can be told them afterwards."""

from abc import ABC, abstractmethod

import torch
from torch import Tensor

from suffuse.rng import Streams
from suffuse.tree import State, expand, leaves, map_leaves


class Pattern(ABC):
    """Which parts of an item are shown clean."""

    @abstractmethod
    def draw(self, x0: State, rng: Streams) -> State:
        """True where an element is clean: a bool for every element of the state, by each item's own streams."""


class Scattered(Pattern):
    """Elements here and there: in a share of the items, each with a probability that is itself drawn for the item.

    Args:
        share: of the items, in [0, 1].
    """

    def __init__(self, share: float) -> None:
        self.share = share

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

    Args:
        share: of the items, in [0, 1].
    """

    def __init__(self, share: float) -> None:
        self.share = share

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


class Places(Pattern):
    """Places of space, of (B, C, *space): in a share of the items sensors here and there, or all but a box.

    Half of these items are known at sensors, from one in 256 places to every second one, evenly in the logarithm of the
    share; the others everywhere but in a box. All channels are known at the same places, but one in ten is hidden as a
    whole, and one in ten known as a whole.

    Args:
        share: of the items, in [0, 1].
    """

    def __init__(self, share: float) -> None:
        self.share = share

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

    Args:
        share: of the items, in [0, 1].
    """

    def __init__(self, share: float) -> None:
        self.share = share

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
