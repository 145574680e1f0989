"""What every codec is: a pair of maps between raw data and the states a process destroys."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self, TypeAlias

import torch
from torch import Tensor

from suffuse.errors import UserError
from suffuse.rng import Streams
from suffuse.tree import Shape, State, empty, leaves, map_leaves

JSON: TypeAlias = "bool | int | float | str | list[JSON] | dict[str, JSON] | None"


@dataclass(frozen=True)
class Question:
    """A part of every item that is to be predicted from the rest.

    Args:
        name: what it is called.
        values: all that it can be, where these are few; none, where it is a number.
        candidates: (K, ...): states whose elements of the part are these values in turn; the others do not matter.
        elements: (1, ...): a bool for every element of an item, whether it belongs to the part.
    """

    name: str
    values: tuple[Any, ...]
    candidates: State
    elements: State


class Codec(ABC):
    """Raw data to a state and back; saved with the model, and ignorant of processes, networks and samplers.

    The way in has two halves, `encode = unpack . pack`, because they cost so differently: `pack` reads
    files and resizes once per item, and its small result (uint8 pixels, say) is what a loader keeps in
    memory; `unpack` is cheap arithmetic, done per batch on whatever device the packed batch is on.

    Law: `decode(encode(raw)) == raw` wherever the subclass says that it is lossless, and within the bound
    that it states elsewhere.
    """

    kind: ClassVar[str]
    """The name of this class in a saved model."""

    @property
    @abstractmethod
    def shape(self) -> Shape:
        """Shape of one encoded item, without the batch axis."""

    @property
    def steps(self) -> int | None:
        """Steps of its windows, where items are windows of long series; else None."""
        return None

    @property
    def window(self) -> int | None:
        """Steps of the windows that items are cut to where they are compared one with another; None for whole items."""
        return self.steps

    @property
    def quantum(self) -> float | None:
        """Distance between neighbouring values of a state whose raw items have no values between; or None."""
        return None

    @abstractmethod
    def pack(self, raw: Sequence[Any]) -> State:
        """Turn raw items into a batched state in its compact form, without randomness."""

    @abstractmethod
    def unpack(self, packed: State, rng: Streams | None = None) -> State:
        """Turn a packed batch into the batched state that a process sees.

        Args:
            packed: what `pack` gave.
            rng: streams of the items, by which a codec whose raw values stand for cells (as an integer among real
                numbers does) draws a point of the cell, and one of long items draws a window. Without them, or where
                there is nothing to draw, it is a function of the item alone.
        """

    def encode(self, raw: Sequence[Any]) -> State:
        """Turn raw items into a batched state, (B, *shape)."""
        return self.unpack(self.pack(raw))

    @abstractmethod
    def decode(self, state: State) -> list[Any]:
        """Turn a batched state, of a model or of `encode`, into raw items."""

    def partial(self, raw: Sequence[Any]) -> tuple[State, State]:
        """Turn raw items with holes into a batched state, and a bool for every element: whether it is known.

        Raises:
            UserError: these items cannot have holes.
        """
        raise UserError(f"items of the kind {self.kind} have no way to write holes")

    def hollowed(self, raw: Any, start: float, stop: float) -> Any:
        """The item with a hole along its time axis; one that reaches beyond its end makes it longer.

        Args:
            raw: an item, which may have holes.
            start: where the hole begins, in the units of the axis: seconds of sound, frames of a video.
            stop: where it ends.

        Raises:
            UserError: these items have no such axis, or there is nothing of it.
        """
        raise UserError(f"items of the kind {self.kind} have no time to leave out; write their holes into the file")

    def put_back(self, raw: Any, item: Any) -> Any:
        """The item that fills the holes of a raw one, with what that one tells put back to the letter."""
        del raw
        return item

    def fill(self, raw: Sequence[Any], state: State) -> list[Any]:
        """Raw items of states whose known elements came from items with holes."""
        return list(map(self.put_back, raw, self.decode(state)))

    def in_place_of(self, raw: Any, item: Any) -> Any:
        """The item that was made of a raw one, with what that says beside its state: times, coordinates, sound."""
        del raw
        return item

    def unfinished(self, raw: Any) -> bool:
        """Whether an item that was filled still has holes, since it is longer than a state."""
        del raw
        return False

    def part(self, raw: Any) -> Any:
        """The part of an item with holes that is filled next, as long as a state; here all of it.

        Raises:
            UserError: it does not fit into a state.
        """
        return raw

    def rejoin(self, raw: Any, part: Any) -> Any:
        """The item with its part filled."""
        del raw
        return part

    def together(self, draws: Sequence[Any]) -> Any:
        """One item that says what several draws of it are like.

        Raises:
            UserError: these items cannot be summed up.
        """
        raise UserError(f"several draws of items of the kind {self.kind} cannot be summed up; ask for one")

    def summaries(self, draws: Sequence[Any]) -> dict[str, Any]:
        """Items by name that say what several draws of one are like; here that of :meth:`together` alone.

        Raises:
            UserError: these items cannot be summed up.
        """
        return {"mean": self.together(draws)}

    def resized(self, size: int | Sequence[int] | None) -> Self:
        """The same codec for items of another size: their space axes have these lengths, or this one; None is its own.

        Raises:
            UserError: these items have no size to choose.
        """
        raise UserError(f"items of the kind {self.kind} have no size to choose; pictures have")

    def of_size(self, raw: Any) -> Self:
        """The codec of items of the size of a raw one; here itself, whose items have one size.

        Raises:
            UserError: it is no such item.
        """
        del raw
        return self

    def fitting(self, raw: Any) -> Self:
        """The codec that keeps an item at its own size, where no axis of that is shorter and one is longer."""
        own = self.of_size(raw)
        if own.shape == self.shape:
            return self
        assert isinstance(own.shape, tuple)
        assert isinstance(self.shape, tuple)
        return self if any(n < trained for n, trained in zip(own.shape, self.shape, strict=True)) else own

    def measured(self, shape: tuple[int, ...]) -> "Codec | None":
        """The codec of what an operator gives of this shape, where that is an item again; None where it is none."""
        return self if shape == self.shape else None

    @property
    def bounds(self) -> tuple[float, float] | None:
        """Least and greatest value of what operators act on, of raw items; None where there are none."""
        return None

    @property
    def canvas(self) -> Shape:
        """Shape of what operators act on: a state, or what :meth:`rendered` makes of one, without the batch axis."""
        return self.shape

    @property
    def scale(self) -> float | None:
        """What a canvas is multiplied by to be a state, where that is all; None where they are something else."""
        return 1.0

    @property
    def linear(self) -> bool:
        """Whether :meth:`rendered` is a linear function."""
        return True

    def rendered(self, state: Tensor) -> Tensor:
        """What operators act on, (B, *canvas), such as the samples of a sound whose state is a spectrum."""
        return state

    def changes(self, mask: Any, raw: Any) -> State:
        """A bool for every element of an item, (1, *shape): whether a mask lets it change. Here the mask is that.

        Raises:
            UserError: the mask is something else.
        """
        del raw

        def checked(like: Tensor, leaf: Any) -> Tensor:
            if not isinstance(leaf, Tensor) or leaf.dtype != torch.bool or leaf.shape != like.shape:
                raise UserError(f"a mask of items of the kind {self.kind} is a bool for every element of a state, "
                                f"of shape {tuple(like.shape)}")  # fmt: skip
            return leaf

        return map_leaves(checked, empty(self.shape, 1), mask)

    def tells(self, raw: Any) -> Mapping[str, Any]:
        """What an item says of the conditions that a model may be told, by their names."""
        del raw
        return {}

    places_apart: ClassVar[bool] = False
    """Whether an item may be answered place by place: then what it is translated to is the likeliest of each place."""

    splits: ClassVar[bool] = False
    """Whether items may be longer than a state, and are then scored in pieces."""

    def pieces(self, raw: Any) -> list[Any]:
        """The item in parts that each fit into a state, whose likelihoods are added up."""
        return [raw]

    def dimensions(self, raw: Any) -> int:
        """What bits per dimension are bits per: the elements of a state, where the subclass says nothing else."""
        del raw
        return sum(leaf.numel() for leaf in leaves(empty(self.shape, 1)))

    @property
    def question(self) -> Question | None:
        """The part of an item that the model is to predict, where there is one."""
        return None

    def answer(self, raw: Any) -> Any:
        """What a raw item says of that part; None where it says nothing."""
        del raw

    def unanswered(self, raw: Any) -> Any:
        """A raw item without that part, which is then a hole."""
        return raw

    def items(self, collection: Any) -> Sequence[Any]:
        """Raw items of what users hold several of them in: a sequence, where the subclass says nothing else."""
        return collection

    def collect(self, items: list[Any]) -> Any:
        """What users hold several items in, of raw items: the inverse of `items`."""
        return items

    @abstractmethod
    def config(self) -> dict[str, JSON]:
        """Return everything needed to rebuild this codec, as JSON values."""

    @classmethod
    @abstractmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        """Rebuild the codec that `config` described."""


class ConditionCodec(ABC):
    """What a user says about an item (a class, a caption) to the values a network is conditioned on."""

    kind: ClassVar[str]
    """The name of this class in a saved model."""
    reads: ClassVar[str | None] = None
    """Kind of the items that its values are, where a model can be asked to translate them; None for what describes."""

    @abstractmethod
    def encode(self, values: Sequence[Any]) -> tuple[Tensor, Tensor]:
        """Return the encoded values, (B, ...), and a (B,) bool of which items have one; None is an absent one."""

    @abstractmethod
    def decode(self, values: Tensor) -> list[Any]:
        """Return encoded values as a user says them."""

    def seen(self, values: Sequence[Any]) -> list[Any]:
        """Values as a network sees them: of its size, say, so that large ones need not be kept."""
        return self.decode(self.encode(values)[0])

    def knows(self, value: Any) -> bool:
        """Whether it is one of the values that can be encoded: any text, where the subclass says nothing else."""
        return isinstance(value, str)

    def note(self, value: Any) -> JSON:
        """What a file says of the value that it was drawn for."""
        return value

    def candidates(self) -> list[str]:
        """All values that there are, where they are few enough to be tried one by one."""
        return []

    def frequencies(self) -> list[float]:
        """Share of each candidate among the items that it was fitted to; none where they are not known."""
        return []

    def examples(self, n: int) -> list[Any]:
        """Return n values to try a model with; absent ones where no values are kept."""
        return [None] * n

    @abstractmethod
    def spec(self) -> dict[str, Any]:
        """Say what a network has to read: `kind`, and the sizes that kind needs."""

    @abstractmethod
    def config(self) -> dict[str, JSON]:
        """Return everything needed to rebuild this codec, as JSON values."""

    @classmethod
    @abstractmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        """Rebuild the codec that `config` described."""
