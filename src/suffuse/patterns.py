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
