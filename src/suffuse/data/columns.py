"""What the columns of a table are: found out from their values."""

import re
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import pyarrow as pa

Role: TypeAlias = Literal["number", "integer", "date", "category", "boolean", "constant", "identifier", "text", "empty"]
"""What a column holds; the last three are left out of a model, and the values of a constant are known."""
LEFT_OUT: tuple[Role, ...] = ("identifier", "text", "empty")

_FEW = 20
"""Integers of at most so many different values are categories."""
_COUNTED, _PART = 100_000, 65_536
"""More different values than this are not counted; values are looked at so many at a time."""
_IDENTIFIER = re.compile(r"(^|[_ ])(id|uuid|guid|key|index|nr|no)$|^unnamed: 0$|^$", re.IGNORECASE)
_WORDS = 4
"""A column of so many words in the mean, most of which occur once, is a text."""


@dataclass(frozen=True)
class Column:
    """One column.

    Args:
        name: its heading.
        role: what it holds.
        missing: number of empty cells.
        distinct: number of different values.
        note: what else is to be said, such as why it is left out.
    """

    name: str
    role: Role
    missing: int = 0
    distinct: int = 0
    note: str = ""

    def describe(self) -> str:
        """A few words."""
        parts = [self.role]
        if self.role == "category":
            parts.append(f"of {self.distinct}")
        if self.missing and self.role != "empty":
            parts.append(f"({self.missing} missing)")
        return " ".join(parts) + (f": {self.note}" if self.note else "")


def find_columns(table: "pa.Table", done: "Callable[[], None]" = lambda: None) -> list[Column]:
    """What every column of a table holds; after each part of one, `done` is called."""
    return [_column(name, table.column(name), done) for name in table.column_names]


def _column(name: str, values: "pa.ChunkedArray", done: "Callable[[], None]") -> Column:
    import pyarrow as pa

    missing = values.null_count + (_not_numbers(values, done) if pa.types.is_floating(values.type) else 0)
    known = len(values) - missing
    if known == 0:
        return Column(name, "empty", missing, 0, "every cell is empty; left out")
    if pa.types.is_nested(values.type) or pa.types.is_binary(values.type):
        return Column(name, "text", missing, 0, f"values of type {values.type} are not modelled; left out")
    distinct, looked = _distinct(values, done)
    column = Column(name, "category", missing, distinct)
    if column.distinct == 1:
        return replace(column, role="constant" if not missing else "category")
    if pa.types.is_boolean(values.type):
        return replace(column, role="boolean")
    if pa.types.is_temporal(values.type) and not pa.types.is_time(values.type):
        return replace(column, role="date")
    unique = distinct == looked > _FEW
    if pa.types.is_integer(values.type):
        if unique and (_IDENTIFIER.search(name) or _counts_up(values)):
            return replace(column, role="identifier", note="every value differs and says nothing; left out")
        return replace(column, role="category" if column.distinct <= _FEW else "integer")
    if pa.types.is_floating(values.type) or pa.types.is_decimal(values.type):
        return replace(column, role="number")
    words = _words(values)
    if words >= _WORDS and distinct > 0.5 * looked:
        return replace(column, role="text", note="texts; left out")
    if unique or distinct > 0.9 * looked > 100:
        return replace(column, role="identifier", note=f"{distinct} different values of {looked}; left out")
    return column


def _distinct(values: "pa.ChunkedArray", done: "Callable[[], None]") -> tuple[int, int]:
    """Number of different values, and of those that were counted: all, unless very many are different."""
    seen, looked = set[Any](), 0
    for part in _parts(values, done):
        looked += len(part) - part.null_count
        seen.update(part.unique().drop_null().to_pylist())
        if len(seen) > _COUNTED:
            break
    return len(seen), looked


def _not_numbers(values: "pa.ChunkedArray", done: "Callable[[], None]") -> int:
    """Number of NaNs."""
    return sum(int(np.isnan(part.drop_null().to_numpy(zero_copy_only=False)).sum()) for part in _parts(values, done))


def _parts(values: "pa.ChunkedArray", done: "Callable[[], None]") -> "Iterator[pa.Array]":
    """The values, a bounded number at a time."""
    for chunk in values.iterchunks():
        for start in range(0, len(chunk), _PART):
            yield chunk.slice(start, _PART)
        done()


def _counts_up(values: "pa.ChunkedArray") -> bool:
    """Whether integers grow by one from row to row."""
    head: list[Any] = values.slice(0, 1000).to_pylist()
    return None not in head and all(b - a == 1 for a, b in pairwise(head))


def _words(values: "pa.ChunkedArray") -> float:
    """Mean number of words in a cell, of the first thousand."""
    head = [str(value) for value in values.slice(0, 1000).to_pylist() if value is not None]
    return sum(len(text.split()) for text in head) / max(1, len(head))
