"""Positions to batches, and sample indices to positions."""

from collections.abc import Generator, Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from functools import lru_cache
from typing import Any, Protocol

import torch
from PIL import Image
from torch import Tensor

from suffuse.data.base import Source
from suffuse.data.pictures import decoding, refusal
from suffuse.data.report import workers
from suffuse.errors import UserError
from suffuse.rng import Streams
from suffuse.tree import PRESENT, State, concatenate, leaves


class Packer(Protocol):
    """What is asked of a codec here: slow work per item, whose small result is kept, then fast work per batch."""

    def pack(self, raw: Sequence[Any]) -> State:
        """Turn raw items into a compact batched state."""
        ...

    def unpack(self, packed: State) -> State:
        """Turn a packed batch into the state that a process sees."""
        ...


class Encoder(Protocol):
    """What is asked of the codec of a condition."""

    def encode(self, values: Sequence[Any]) -> tuple[Tensor, Tensor]:
        """Return the values, (B, ...), and a (B,) bool of which items have one."""
        ...


class Batches:
    """The records of a source as encoded batches, by position.

    Each record is read and packed once and kept in memory, until the bound on memory is reached; the others
    are read whenever they are asked for. Reading is done by a pool of threads.

    Args:
        source: the records.
        codec: for their pictures.
        conditions: for each condition, by name: the field it comes from, and the codec for it.
        keep: positions in the source of the records to use, as `scan` reports them; by default all.
        memory: bytes to spend on packed pictures.

    Raises:
        UserError: a condition's field is not in the source, or a value of it cannot be encoded.
    """

    def __init__(
        self,
        source: Source,
        codec: Packer,
        conditions: Mapping[str, tuple[str, Encoder]] | None = None,
        keep: Sequence[int] | Tensor | None = None,
        memory: int = 2**30,
    ) -> None:
        self._source, self._codec, self._memory = source, codec, memory
        self._keep = torch.arange(len(source)) if keep is None else torch.as_tensor(keep, dtype=torch.long)
        self._conditions: dict[str, Tensor] = {}
        for name, (field, encoder) in (conditions or {}).items():
            column = source.column(field)
            values, present = encoder.encode([column[position] for position in self._keep.tolist()])
            self._conditions |= {name: values, name + PRESENT: present}
        self._packed: dict[int, State] = {}
        self._awaited: dict[int, Future[State]] = {}
        self._pool = ThreadPoolExecutor(workers(), thread_name_prefix="suffuse-data")

    def __len__(self) -> int:
        return len(self._keep)

    def batch(self, positions: Tensor | Sequence[int]) -> tuple[State, dict[str, Tensor]]:
        """Return states and conditions of the records at positions in [0, len(self)), in their order.

        A condition `name` has an entry of values and an entry `name/present`, which items have it.

        Raises:
            UserError: a picture can no longer be read.
        """
        places = torch.as_tensor(positions, dtype=torch.long)
        return self._codec.unpack(self._gather(places.tolist())), {
            name: values[places] for name, values in self._conditions.items()
        }

    def prefetch(self, positions: Tensor | Sequence[int]) -> None:
        """Start to read the records of the next batch; what an earlier call began and nobody fetched is dropped."""
        wanted = dict.fromkeys(torch.as_tensor(positions, dtype=torch.long).tolist())
        for place in [place for place in self._awaited if place not in wanted]:
            self._awaited.pop(place).cancel()
        self._begin(wanted)

    def _gather(self, places: list[int]) -> State:
        self._begin(places)
        items = {place: self._packed[place] if place in self._packed else self._fetch(place) for place in set(places)}
        return concatenate([items[place] for place in places])

    def _begin(self, places: Iterable[int]) -> None:
        for place in places:
            if place not in self._packed and place not in self._awaited:
                self._awaited[place] = self._pool.submit(self._pack, place)

    def _fetch(self, place: int) -> State:
        item = self._awaited.pop(place).result()
        size = sum(leaf.nbytes for leaf in leaves(item))
        if size <= self._memory:
            self._memory -= size
            self._packed[place] = item
        return item

    def _pack(self, place: int) -> State:
        with reading(self._source, int(self._keep[place])) as image:
            return self._codec.pack([image])


class Pictures:
    """Some of the pictures of a source, by position; each is read when it is asked for, and not kept.

    Args:
        source: the records.
        keep: their positions in the source, as `scan` reports them.

    Example:
        >>> import numpy as np
        >>> from suffuse.data.sources import ArraySource
        >>> Pictures(ArraySource(np.arange(12, dtype=np.uint8).reshape(3, 2, 2)), [0, 2])[1].getpixel((0, 0))
        8
    """

    def __init__(self, source: Source, keep: Sequence[int]) -> None:
        self._source, self._keep = source, keep

    def __len__(self) -> int:
        return len(self._keep)

    def __getitem__(self, place: int) -> Image.Image:
        with reading(self._source, self._keep[place]) as image:
            image.load()
            return image

    @property
    def names(self) -> list[str]:
        """What the source calls them."""
        return [self._source[position].name for position in self._keep]


@contextmanager
def reading(source: Source, position: int) -> Generator[Image.Image]:
    """Hold while the picture of a record is decoded and used.

    Raises:
        UserError: it cannot be read.
    """
    record = source[position]
    try:
        image = record.image
        with decoding(image):
            yield image
    except Exception as error:  # a decoder that is fed garbage may raise anything
        raise UserError(
            f"{record.name} of {source.name} cannot be read: {refusal(error)}; scan the source again"
        ) from error


def mirror(images: Tensor, which: Tensor) -> Tensor:
    """Flip some pictures of a batch, left to right.

    Args:
        images: (B, C, H, W).
        which: (B,) bool, drawn by the caller.

    Example:
        >>> mirror(torch.tensor([[[[1, 2]]], [[[1, 2]]]]), torch.tensor([True, False])).flatten(1)
        tensor([[2, 1],
                [1, 2]])
    """
    return torch.where(which[:, None, None, None], images.flip(-1), images)


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
        result[here] = _permutation(size, seed, "epoch", epoch)[places[here]]
    return result


def split(size: int, seed: int, held_out: float) -> tuple[Tensor, Tensor]:
    """Positions to train on and positions held out, both sorted; the seed decides which.

    Args:
        size: how many positions there are.
        seed: any integer.
        held_out: part to hold out, in [0, 1); at least one position, unless it is 0.

    Raises:
        UserError: nothing would be left to train on.

    Example:
        >>> [len(part) for part in split(100, seed=0, held_out=0.05)]
        [95, 5]
    """
    count = max(round(size * held_out), 1) if held_out > 0 else 0
    if not 0 <= count < size:
        raise UserError(f"holding out {held_out} of {size} items leaves none to train on; hold out less or add data")
    permutation = _permutation(size, seed, "held out")
    return permutation[count:].sort().values, permutation[:count].sort().values


@lru_cache(maxsize=4)
def _permutation(size: int, seed: int, *purpose: str | int) -> Tensor:
    key = Streams.of(seed, range(size)).fold(*purpose).key[:, 0]
    return key.argsort(stable=True)
