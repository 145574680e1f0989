"""Files of rows (CSV, TSV, JSON lines, parquet) to Arrow tables: streamed, so that none is too large for memory."""

import hashlib
import mmap
import os
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from suffuse.errors import UserError

if TYPE_CHECKING:
    import pyarrow as pa

ROWS = (".csv", ".tsv", ".jsonl", ".parquet")
"""Suffixes of files of rows."""
_MISSING = ["", "NA", "N/A", "n/a", "NaN", "nan", "null", "NULL", "None", "#N/A"]
_IN_MEMORY = 128 * 2**20
"""Larger files are turned into a file that is mapped into memory, instead of being read."""
_BLOCK = 4 * 2**20
_TOLD = 1000
_MOST_COLUMNS = 50_000


@dataclass
class Rows:
    """What a file of rows holds.

    Args:
        table: its values.
        left_out: lines that were passed over, and why.
        mapped: the memory that the values lie in, where that is a file's.
    """

    table: "pa.Table"
    left_out: list[tuple[str, str]] = field(default_factory=list)
    mapped: mmap.mmap | None = None


def read_rows(path: Path) -> Rows:
    """Read a file of rows; its suffix says which form it has.

    An empty cell, and one of NA, N/A, NaN, null and None, is a missing value. Types are found out from the values.
    Lines of a CSV file with too few or too many values are left out, and named.

    Raises:
        UserError: the file cannot be read, is not UTF-8, is not what its suffix says, or has no rows.
    """
    readers: dict[str, Callable[[Path], Rows]] = {".jsonl": _jsonl, ".parquet": _parquet}
    try:
        rows = readers.get(path.suffix.lower(), _csv)(path)
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror or error}") from error
    _check_width(path, rows.table.num_columns)
    if rows.table.num_rows == 0:
        raise UserError(f"{path} has no rows" + (f"; {rows.left_out[0][1]}" if rows.left_out else ""))
    return rows


def _parquet(path: Path) -> Rows:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        if path.stat().st_size <= _IN_MEMORY:
            return Rows(pq.read_table(path))
        file = pq.ParquetFile(path, memory_map=True)
        return _kept(path, file.schema_arrow, file.iter_batches())
    except pa.ArrowInvalid as error:
        raise UserError(f"{path} cannot be read as parquet: {_first_line(error)}") from error


def _jsonl(path: Path) -> Rows:
    import pyarrow as pa
    from pyarrow import json

    _check_text(path)
    try:
        if path.stat().st_size <= _IN_MEMORY:
            return Rows(json.read_json(path, json.ReadOptions(block_size=_BLOCK)))
        with json.open_json(path, json.ReadOptions(block_size=_BLOCK, use_threads=False)) as reader:
            return _kept(path, reader.schema, reader)
    except pa.ArrowInvalid as error:
        raise UserError(f"{path} is not JSON lines, one object per line: {_first_line(error)}") from error


def _csv(path: Path) -> Rows:
    """By Arrow's reader, block by block; a column whose later values are not of the type of its first is text."""
    import pyarrow as pa

    _check_text(path)
    texts: set[str] = set()
    while True:
        try:
            return _csv_once(path, texts)
        except _NotOneTypeError as error:
            texts.add(error.column)
        except pa.ArrowInvalid as error:
            raise UserError(f"{path} is not CSV: {_first_line(error)}") from error


class _NotOneTypeError(Exception):
    def __init__(self, column: str) -> None:
        super().__init__(column)
        self.column = column


def _csv_once(path: Path, texts: set[str]) -> Rows:
    import pyarrow as pa
    from pyarrow import csv

    left_out: list[tuple[str, str]] = []

    def ragged(row: Any) -> str:
        if len(left_out) < _TOLD:
            left_out.append((f"line {row.number}", f"not {row.expected_columns} values, as the heading has"))
        return "skip"

    names = _headings(path)
    with csv.open_csv(
        path,
        csv.ReadOptions(block_size=_BLOCK, use_threads=False, column_names=names, skip_rows=1),
        csv.ParseOptions(delimiter=_delimiter(path), newlines_in_values=True, invalid_row_handler=ragged),
        csv.ConvertOptions(
            null_values=_MISSING, strings_can_be_null=True, column_types=dict.fromkeys(texts, pa.string())
        ),
    ) as reader:
        try:
            if path.stat().st_size <= _IN_MEMORY:
                return Rows(reader.read_all(), left_out)
            return _kept(path, reader.schema, reader, left_out)
        except pa.ArrowInvalid as error:
            place = str(error).partition("column #")[2].partition(":")[0]
            if not place.isdecimal() or names[int(place)] in texts:
                raise
            raise _NotOneTypeError(names[int(place)]) from error


def _kept(
    path: Path, schema: "pa.Schema", batches: "Iterable[pa.RecordBatch]", left_out: list[tuple[str, str]] | None = None
) -> Rows:
    """A large file's rows, written batch by batch to a file in the cache that is mapped into memory."""
    import pyarrow as pa

    def write(file: BinaryIO) -> None:
        with pa.ipc.new_file(file, schema) as writer:
            for batch in batches:
                writer.write_batch(batch)

    kept = cached(path, write)
    with kept.open("rb") as file:
        mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    reader = pa.ipc.open_file(pa.BufferReader(pa.py_buffer(mapped)))
    # Not `read_all`, which touches every page.
    parts = [reader.get_batch(number) for number in range(reader.num_record_batches)]
    return Rows(pa.Table.from_batches(parts, schema), left_out or [], mapped)


def cached(path: Path, write: Callable[[BinaryIO], None], form: str = "") -> Path:
    """The file in the cache that is made of another by `write`, once, until that one changes, or its form does."""
    status = path.stat()
    key = hashlib.sha256(f"{form}{path.resolve()} {status.st_size} {status.st_mtime_ns}".encode()).hexdigest()[:16]
    folder = Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")).expanduser() / "suffuse" / "files"
    folder.mkdir(parents=True, exist_ok=True)
    kept = folder / key
    if not kept.exists():
        handle, aside = tempfile.mkstemp(dir=folder)
        try:
            with os.fdopen(handle, "wb") as file:
                write(file)
            os.replace(aside, kept)
        except BaseException:
            Path(aside).unlink(missing_ok=True)
            raise
    return kept


def _check_width(path: Path, columns: int) -> None:
    if columns > _MOST_COLUMNS:
        raise UserError(f"{path} has {columns:,} columns, and at most {_MOST_COLUMNS:,} are read; items are its rows")


def _headings(path: Path) -> list[str]:
    """Names of the columns: those without one are numbered."""
    import csv

    with path.open(encoding="utf-8-sig", newline="") as file:
        row = next(csv.reader(file, delimiter=_delimiter(path)), [])
    names = [name.strip() or f"column {place}" for place, name in enumerate(row, 1)]
    _check_width(path, len(names))
    twice = next((name for name, count in Counter(names).items() if count > 1), None)
    if twice is not None:
        raise UserError(f"{path} has two columns of the name {twice!r}; rename one")
    if not names:
        raise UserError(f"{path} is empty; give a table with a line of headings")
    return names


def _delimiter(path: Path) -> str:
    """The sign of which the first line has most."""
    with path.open(encoding="utf-8-sig", newline="") as file:
        line = file.readline()
    return max(",;\t|", key=line.count)


def _check_text(path: Path) -> None:
    """Refuse what is not UTF-8, and say where."""
    line = 1
    with path.open("rb") as file:
        rest = b""
        while block := file.read(_BLOCK):
            block = rest + block
            try:
                block.decode("utf-8")
                rest = b""
            except UnicodeDecodeError as error:
                if error.start < len(block) - 4:
                    line += block[: error.start].count(b"\n")
                    raise UserError(f"{path} is not UTF-8 text (line {line}); save it as UTF-8") from error
                block, rest = block[: error.start], block[error.start :]
            line += block.count(b"\n")
    if rest:
        raise UserError(f"{path} is not UTF-8 text (line {line}); save it as UTF-8")


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
