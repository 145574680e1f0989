"""Positions to batches, and sample indices to positions."""

from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Protocol

import torch
from torch import Tensor

from suffuse.data.base import Packer, Source
from suffuse.data.positions import Counted, Positions, Shuffled, positions_of
from suffuse.data.report import workers
from suffuse.errors import UserError
from suffuse.rng import Streams, permuted
from suffuse.tree import PRESENT, State, concatenate, expand, leaves, map_leaves


class Encoder(Protocol):
    """What is asked of the codec of a condition."""

    def encode(self, values: Sequence[Any]) -> tuple[Tensor, Tensor]:
        """Return the values, (B, ...), and a (B,) bool of which items have one."""
        ...


class Batches:
    """The items of a source as encoded batches, by position.

    Each item is read and packed once and kept in memory, where all of them together are within the bound on memory;
    else they are read whenever they are asked for. Reading is done by a pool of threads.

    Args:
        source: the items.
        codec: that packs them.
        conditions: for each condition, by name: the field it comes from, and the codec for it.
        keep: positions in the source of the items to use, as its scan reports them; by default all.
        memory: bytes to spend on packed items.

    Raises:
        UserError: a condition's field is not in the source, or a value of it cannot be encoded.
    """

    def __init__(
        self,
        source: Source,
        codec: Packer,
        conditions: Mapping[str, tuple[str, Encoder]] | None = None,
        keep: Sequence[int] | Tensor | None = None,
        memory: int = 2**29,
    ) -> None:
        self._source, self._codec = source, codec
        self._keep = positions_of(range(len(source)) if keep is None else keep)
        self._conditions: dict[str, Tensor] = {}
        for name, (field, encoder) in (conditions or {}).items():
            column = source.column(field)
            values, present = encoder.encode([column[position] for position in self._keep])
            self._conditions |= {name: values, name + PRESENT: present}
        self._kept = _Kept(len(self._keep), memory)
        self._awaited: dict[int, tuple[Future[State], int]] = {}
        self._pool = ThreadPoolExecutor(workers(), thread_name_prefix="suffuse-data")

    def __len__(self) -> int:
        return len(self._keep)

    def batch(self, positions: Tensor | Sequence[int], rng: Streams | None = None) -> tuple[State, dict[str, Tensor]]:
        """Return states and conditions of the items at positions in [0, len(self)), in their order.

        A condition `name` has an entry of values and an entry `name/present`, which items have it.

        Args:
            positions: (B,).
            rng: streams of the items, for codecs that draw where they unpack.

        Raises:
            UserError: an item can no longer be read.
        """
        places = torch.as_tensor(positions, dtype=torch.long)
        return self._codec.unpack(self._gather(places), rng), {
            name: values[places] for name, values in self._conditions.items()
        }

    def prefetch(self, positions: Tensor | Sequence[int]) -> None:
        """Start to read the items of the next batch; what an earlier call began and nobody fetched is dropped."""
        places = torch.as_tensor(positions, dtype=torch.long)
        wanted = set(places.tolist())
        self._awaited = {place: job for place, job in self._awaited.items() if place in wanted}
        self._begin(places)

    def _begin(self, places: Tensor) -> None:
        """Have the pool read what is neither kept nor being read, each thread a share of it."""
        missing = [place for place in dict.fromkeys(self._kept.missing(places)) if place not in self._awaited]
        share = -(-len(missing) // workers())
        for start in range(0, len(missing), max(1, share)):
            part = missing[start : start + share]
            job = self._pool.submit(self._pack, part)
            self._awaited |= {place: (job, row) for row, place in enumerate(part)}

    def _pack(self, places: list[int]) -> State:
        return self._source.packed(self._keep.at(torch.tensor(places)).tolist(), self._codec)

    def _gather(self, places: Tensor) -> State:
        self._begin(places)
        fresh: dict[int, State] = {}
        for place in dict.fromkeys(self._kept.missing(places)):
            job, row = self._awaited.pop(place)
            fresh[place] = map_leaves(lambda leaf, row=row: leaf[row : row + 1], job.result())
        for place, item in fresh.items():
            self._kept.put(place, item)
        left = set(self._kept.missing(places))
        if not left:
            return self._kept.get(places)
        return concatenate([fresh[place] if place in left else self._kept.get(torch.tensor([place]))
                            for place in places.tolist()])  # fmt: skip


class _Kept:
    """Packed items in memory: all of them in time, or none, where they are more than a bound on bytes allows."""

    def __init__(self, size: int, memory: int) -> None:
        self._size, self._memory = size, memory
        self._store: State | None = None
        self._there: Tensor | None = None

    def missing(self, places: Tensor) -> list[int]:
        return (places if self._there is None else places[~self._there[places]]).tolist()

    def put(self, place: int, item: State) -> None:
        """Keep an item, where there is room for all."""
        if self._size * sum(leaf.nbytes for leaf in leaves(item)) > self._memory:
            return
        if self._store is None or self._there is None:
            self._store = map_leaves(lambda leaf: leaf.new_empty(self._size, *leaf.shape[1:]), item)
            self._there = torch.zeros(self._size, dtype=torch.bool)
        map_leaves(lambda store, leaf: store[place].copy_(leaf[0]), self._store, item)
        self._there[place] = True

    def get(self, places: Tensor) -> State:
        """The items at places, all of them kept."""
        assert self._store is not None
        return map_leaves(lambda store: store[places], self._store)


def mirror(images: Tensor, which: Tensor) -> Tensor:
    """Flip some pictures of a batch, left to right.

    Args:
        images: (B, ..., W).
        which: (B,) bool, drawn by the caller.

    Example:
        >>> mirror(torch.tensor([[[[1, 2]]], [[[1, 2]]]]), torch.tensor([True, False])).flatten(1)
        tensor([[2, 1],
                [1, 2]])
    """
    return torch.where(expand(which, images), images.flip(-1), images)


def order(size: int, index: Tensor, seed: int) -> Tensor:
    """Positions of the samples with these global indices: epoch after epoch, each in an order of its own.

    Sample k is in epoch k // size, at place k mod size of a permutation that (seed, epoch) alone decides: the
    order of 64-bit hashes, in integer arithmetic, so that every machine finds the same.

    Args:
        size: how many positions there are.
        index: (B,) int64, global indices of samples, in any order.
        seed: any integer.

    Example:
        >>> order(4, torch.arange(8), seed=0).view(2, 4).sort(1).values
        tensor([[0, 1, 2, 3],
                [0, 1, 2, 3]])
    """
    epochs, places = index // size, index % size
    result = torch.empty_like(index)
    for epoch in epochs.unique().tolist():
        here = epochs == epoch
        result[here] = permuted(places[here], size, seed, "epoch", epoch)
    return result


def split(size: int, seed: int, held_out: float, overlap: int = 0) -> tuple[Positions, Positions]:
    """Positions to train on and positions held out; the seed decides which.

    Where items overlap those that follow, the last are held out, and those that overlap them are not trained on.

    Args:
        size: how many positions there are.
        seed: any integer.
        held_out: part to hold out, in [0, 1); at least one position, unless it is 0.
        overlap: how many items that follow an item share parts with it.

    Raises:
        UserError: nothing would be left to train on.

    Example:
        >>> [len(part) for part in split(100, seed=0, held_out=0.05)]
        [95, 5]
    """
    count = max(round(size * held_out), 1) if held_out > 0 else 0
    gap = overlap if count else 0
    if not 0 <= count < size - gap:
        raise UserError(f"holding out {held_out} of {size} items leaves none to train on; hold out less or add data")
    if overlap:
        return Counted(0, size - count - gap), Counted(size - count, count)
    return Shuffled(size, count, size - count, seed, "held out"), Shuffled(size, 0, count, seed, "held out")
