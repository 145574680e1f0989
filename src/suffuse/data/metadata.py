"""Tables that say something about the pictures beside them: metadata.csv and metadata.jsonl."""

import csv
import io
import json
from collections.abc import Iterator
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from suffuse.data.pictures import refusal
from suffuse.errors import UserError

NAMES = ("metadata.csv", "metadata.jsonl")
FILE_NAME = "file_name"


def rows(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the columns of every row, file_name among them; an empty cell of a CSV file is None.

    Raises:
        UserError: the file is not UTF-8, not well formed, or has no column file_name.
    """
    read = _csv if path.suffix == ".csv" else _jsonl
    for line, row in read(path, _text(path)):
        if not isinstance(row.get(FILE_NAME), str):
            raise UserError(f"line {line} of {path} names no file; give every row a {FILE_NAME}")
        yield row


def _text(path: Path) -> str:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UserError(f"cannot read {path}: {refusal(error)}") from error
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise UserError(f"{path} is not UTF-8 text (line {line}); save it as UTF-8") from error


def _csv(path: Path, text: str) -> Iterator[tuple[int, dict[str, Any]]]:
    reader = csv.DictReader(io.StringIO(text, newline=""), strict=True, skipinitialspace=True)
    try:
        _require_file_name(path, list(reader.fieldnames or []))
        for row in reader:
            if None in row:
                raise UserError(
                    f"line {reader.line_num} of {path} has more values than there are columns; "
                    "put a value that holds a comma in double quotes"
                )
            # A nameless first column is the index that pandas writes.
            yield reader.line_num, {name: value or None for name, value in row.items() if name}
    except csv.Error as error:
        raise UserError(f"line {reader.line_num} of {path} is not CSV: {error}; mend that line") from error


def _require_file_name(path: Path, columns: list[str]) -> None:
    if FILE_NAME not in columns:
        near = get_close_matches(FILE_NAME, columns, n=1)
        which = f"rename {near[0]!r} to it" if near else f"the columns are {', '.join(columns) or 'none'}"
        raise UserError(f"{path} has no column {FILE_NAME}, which names the picture of each row; {which}")


def _jsonl(path: Path, text: str) -> Iterator[tuple[int, dict[str, Any]]]:
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            try:
                row = json.loads(line)
            except json.JSONDecodeError as error:
                raise UserError(f"line {number} of {path} is not JSON: {error.msg}; mend that line") from error
            if not isinstance(row, dict):
                raise UserError(f'line {number} of {path} is no JSON object; write {{"{FILE_NAME}": …}} per line')
            yield number, row
