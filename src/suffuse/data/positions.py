"""Positions of items, computed when they are asked for: of however many items, none are kept in memory."""

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from suffuse.rng import permuted


class Positions(Sequence[int]):
    """A sequence of positions that gives many of them at once."""

    @abstractmethod
    def at(self, places: Tensor) -> Tensor:
        """The positions at places in [0, len)."""

    def __getitem__(self, place: Any) -> Any:
        if isinstance(place, slice):
            return self.at(torch.arange(len(self))[place]).tolist()
        if not -len(self) <= place < len(self):
            raise IndexError(place)
        return int(self.at(torch.tensor([place % len(self)])))


class Listed(Positions):
    """Positions that are told, one by one."""

    def __init__(self, positions: Sequence[int] | Tensor) -> None:
        self._positions = torch.as_tensor(positions, dtype=torch.long)

    def __len__(self) -> int:
        return len(self._positions)

    def at(self, places: Tensor) -> Tensor:
        """See the base class."""
        return self._positions[places]


class Counted(Positions):
    """So many positions from one on, in their order.

    Example:
        >>> list(Counted(5, 3))
        [5, 6, 7]
    """

    def __init__(self, start: int, count: int) -> None:
        self._start, self._count = start, count

    def __len__(self) -> int:
        return self._count

    def at(self, places: Tensor) -> Tensor:
        """See the base class."""
        return places + self._start


class Without(Positions):
    """All positions below a number but for some.

    Args:
        size: the number.
        left_out: positions that are missing, in growing order.

    Example:
        >>> list(Without(7, np.array([0, 3, 4])))
        [1, 2, 5, 6]
    """

    def __init__(self, size: int, left_out: np.ndarray) -> None:
        self._count = size - len(left_out)
        # Place k has as many gaps before it as there are with at most k kept positions before them.
        self._kept_before = torch.from_numpy(left_out - np.arange(len(left_out)))

    def __len__(self) -> int:
        return self._count

    def at(self, places: Tensor) -> Tensor:
        """See the base class."""
        return places + torch.searchsorted(self._kept_before, places.contiguous(), right=True)


class Shuffled(Positions):
    """A part of a permutation that seed and purpose decide.

    Args:
        size: of the permutation.
        start: first place of the part.
        count: how many places it has.
        seed: any integer.
        purpose: of the permutation.
    """

    def __init__(self, size: int, start: int, count: int, seed: int, purpose: str) -> None:
        self._size, self._start, self._count, self._seed, self._purpose = size, start, count, seed, purpose

    def __len__(self) -> int:
        return self._count

    def at(self, places: Tensor) -> Tensor:
        """See the base class."""
        return permuted(places + self._start, self._size, self._seed, self._purpose)


def positions_of(keep: Sequence[int] | Tensor) -> Positions:
    """Any sequence of positions as one that gives many at once."""
    if isinstance(keep, Positions):
        return keep
    return Counted(keep.start, len(keep)) if isinstance(keep, range) and keep.step == 1 else Listed(keep)
