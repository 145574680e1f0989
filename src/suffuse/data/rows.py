"""Sources of rows: tables of mixed columns, in files and in memory."""

import mmap
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from suffuse.data.base import Source
from suffuse.data.columns import Column, find_columns
from suffuse.data.files import read_rows
from suffuse.data.report import Report, labels

if TYPE_CHECKING:
    import pyarrow as pa

_SHOWN = 40
_GIVEN_BACK = 64
"""After so many rows, each of which may take sixteen pages for every column, a mapped file is given back."""


@dataclass(frozen=True)
class TableReport(Report):
    """What a table holds.

    Args:
        columns: what every column is.
    """

    columns: list[Column] = field(default_factory=list)

    def facts(self) -> list[str]:
        """A line for each column."""
        width = max((len(column.name) for column in self.columns), default=0)
        lines = [f"  {column.name:<{width}}  {column.describe()}" for column in self.columns[:_SHOWN]]
        return lines + ([f"  … and {len(self.columns) - _SHOWN} more columns"] if len(self.columns) > _SHOWN else [])


class RowSource(Source):
    """The rows of a table; the raw item is a mapping of the columns' names to values, None where one is missing.

    Args:
        name: what to call it.
        table: the values.
        left_out: lines of its file that were passed over, and why.
        mapped: the memory that the table lies in, where that is a file's: what was read of it is given back at times.

    Example:
        >>> import pyarrow as pa
        >>> source = RowSource("ages", pa.table({"name": ["Ann", "Bob"], "age": [31, None]}))
        >>> source.raw([1]), source.column("age")
        ([{'name': 'Bob', 'age': None}], [31, None])
    """

    kind = "table"

    def __init__(
        self,
        name: str,
        table: "pa.Table",
        left_out: Sequence[tuple[str, str]] = (),
        mapped: mmap.mmap | None = None,
    ) -> None:
        self.name, self.table, self._mapped, self._read = name, table, mapped, 0
        self._parts = table.to_batches()
        self._ends = np.cumsum([len(part) for part in self._parts])
        self.fields = tuple(table.column_names)
        self.report = Report(name, table.num_rows + len(left_out), list(left_out))

    def __len__(self) -> int:
        return self.table.num_rows

    def names(self, positions: Sequence[int]) -> list[str]:
        """Numbers of the rows, from 1."""
        return [str(position + 1) for position in positions]

    def raw(self, positions: Sequence[int]) -> list[Any]:
        """Rows as mappings."""
        return self.take(positions).to_pylist()

    @cached_property
    def columns(self) -> list[Column]:
        """What every column holds."""
        return find_columns(self.table, self.give_back)

    def take(self, positions: Sequence[int], names: Sequence[str] | None = None) -> "pa.Table":
        """The rows at these positions, of all columns or of some; part by part, since Arrow would copy the whole."""
        import pyarrow as pa

        places = np.asarray(positions, np.int64)
        part = np.searchsorted(self._ends, places, "right")
        order = np.argsort(part, kind="stable")
        taken: list[pa.RecordBatch] = []
        for number in np.unique(part).tolist():
            batch = self._parts[number] if names is None else self._parts[number].select(names)
            first = int(self._ends[number]) - len(self._parts[number])
            here = places[order][part[order] == number] - first
            taken.append(batch.take(pa.array(here)))
            self._read += len(here)
            if self._read > _GIVEN_BACK:
                self.give_back()
        empty = self.table.schema if names is None else pa.schema([self.table.schema.field(name) for name in names])
        return pa.Table.from_batches(taken, empty).take(pa.array(np.argsort(order)))

    def give_back(self) -> None:
        """Let the system forget what was read of a mapped file; it is read again where it is needed."""
        self._read = 0
        if self._mapped is not None and sys.platform != "win32":
            self._mapped.madvise(mmap.MADV_DONTNEED)

    def scan(self, progress: Callable[[int, int], None] | None = None) -> TableReport:
        """Find out what every column holds."""
        columns = self.columns
        if progress:
            progress(len(self), len(self))
        known = labels(self.column("label")) if "label" in self.fields else {}
        return TableReport(
            self.name,
            self.report.found,
            self.report.left_out,
            self.report.notes,
            kept=len(self),
            keep=range(len(self)),
            labels=known,
            columns=columns,
        )

    def _values(self, field: str) -> list[Any]:
        return self.table.column(field).to_pylist()


def open_rows(path: Path) -> RowSource:
    """Open a file of rows.

    Raises:
        UserError: it cannot be read as what its suffix says.
    """
    rows = read_rows(path)
    return RowSource(str(path), rows.table, rows.left_out, rows.mapped)


def of_frame(frame: Any, name: str = "table") -> RowSource:
    """The rows of a pandas DataFrame."""
    import pyarrow as pa

    return RowSource(name, pa.Table.from_pandas(frame, preserve_index=False))
