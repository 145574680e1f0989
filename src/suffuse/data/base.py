"""What a source of data is: an indexable sequence of items of one kind, read when asked for."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from difflib import get_close_matches
from typing import Any, ClassVar, Protocol

from suffuse.data.report import Report
from suffuse.errors import UserError
from suffuse.rng import Streams
from suffuse.tree import State


class Packer(Protocol):
    """What is asked of a codec here: slow work per item, whose small result is kept, then fast work per batch."""

    def pack(self, raw: Sequence[Any]) -> State:
        """Turn raw items into a compact batched state."""
        ...

    def unpack(self, packed: State, rng: Streams | None = None) -> State:
        """Turn a packed batch into the state that a process sees."""
        ...


class Source(ABC):
    """An indexable sequence of items. What it lists may still turn out unreadable: `scan` finds that out."""

    kind: str
    """What its items are: the kind of codec that reads them."""
    name: str
    """What to call the source in a message."""
    fields: tuple[str, ...]
    """Names of what is said about its items."""
    report: Report
    """What was found and left out while listing; `scan` completes it."""

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def names(self, positions: Sequence[int]) -> list[str]:
        """What the items at these positions are called."""

    @abstractmethod
    def raw(self, positions: Sequence[int]) -> list[Any]:
        """Read the items at these positions.

        Raises:
            UserError: one of them cannot be read.
        """

    def packed(self, positions: Sequence[int], codec: Packer) -> State:
        """Read and pack the items at these positions.

        Raises:
            UserError: one of them cannot be read.
        """
        return codec.pack(self.raw(positions))

    overlap: int = 0
    """How many of the items that follow an item share parts with it."""

    def cut(self, length: int | None, every: int | None = None) -> "Source":
        """The source with windows of its items as items, where these are long series; else itself.

        Args:
            length: steps of a window; None leaves the series whole.
            every: steps from the beginning of one to that of the next; by default 1, or what keeps them few enough.

        Raises:
            UserError: nothing is so long.
        """
        del length, every
        return self

    @abstractmethod
    def scan(self, progress: Callable[[int, int], None] | None = None) -> Report:
        """Look at every item once, and report what can be used.

        Args:
            progress: called with (items done, in all).

        Raises:
            UserError: no item can be used.
        """

    @abstractmethod
    def _values(self, field: str) -> list[Any]:
        """Return a field of all items; the field is one of `fields`."""

    def sources(self, positions: Sequence[int]) -> list[Any]:
        """What is to be translated to the items at these positions; nothing, where they are no pairs."""
        del positions
        return []

    def column(self, field: str) -> list[Any]:
        """Return the values of one field, one per item, None where it is missing.

        Raises:
            UserError: there is no such field.
        """
        if field not in self.fields:
            raise UserError(f"{self.name} has no field {field!r}; {self._choice(field)}")
        return self._values(field)

    def _choice(self, field: str) -> str:
        if not self.fields:
            return self.without_fields
        near = get_close_matches(field, self.fields, n=1)
        return f"its fields are {', '.join(self.fields)}" + (f" (did you mean {near[0]!r}?)" if near else "")

    without_fields: ClassVar[str] = "it has none"
    """What to say of a source without fields, and how to get some."""
