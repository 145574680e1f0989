"""Sources of texts: files of lines, long texts in blocks, folders of files, a column of a table, and FASTA."""

import gzip
import os
import shutil
import zlib
from abc import abstractmethod
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, ClassVar

import numpy as np
import torch

from suffuse.data.base import Source
from suffuse.data.files import cached
from suffuse.data.positions import Without
from suffuse.data.report import Report, labels
from suffuse.data.rows import RowSource
from suffuse.errors import UserError

BLOCK = 4096
"""Bytes of a long text that are one item."""
SEQUENCES = (".fasta", ".fa", ".fastq", ".fq")
"""Suffixes of files of sequences, behind which there may be .gz."""
_NAMES = ("text", "sentence", "content", "review", "body", "comment", "message", "target")
_WRITTEN = ("text", "identifier", "category")
_FIELDS = 4
"""A table of more columns is one, though one of them be a text."""
_READ = 2**22
_LOOKED_AT = 256
_STARTS = 2**20
"""Of a file with more lines than this the starts of some are known, and those between are counted."""
_PROSE = 0.02
"""A file of which so many lines are empty is one text; any other has a text on each line."""


@dataclass(frozen=True)
class TextReport(Report):
    """What a source of texts holds.

    Args:
        form: how the items lie in the source.
        letters: characters in all.
        longest: characters of the longest item.
        alphabet: the commonest characters, with counts; of a sample, where there are very many items.
        examples: the beginnings of a few.
    """

    form: str = ""
    letters: int = 0
    longest: int = 0
    alphabet: dict[str, int] = field(default_factory=dict)
    examples: list[str] = field(default_factory=list)

    def facts(self) -> list[str]:
        """Form, lengths, alphabet and examples."""
        common = "".join(letter for letter in list(self.alphabet)[:40] if letter.isprintable())
        lines = [f"  {self.form}; {self.letters:,} characters, the longest has {self.longest:,}"]
        lines += [f"  {len(self.alphabet)} different characters: {common}"]
        return lines + [f"  such as {example!r}" for example in self.examples]


class TextSource(Source):
    """A source whose items are texts; the raw item is a string."""

    kind = "text"
    form: str
    """How the items lie in the source, for the report."""
    without_fields: ClassVar[str] = (
        "it has texts only: put them into one folder per class, or into a table with columns"
    )

    @abstractmethod
    def raw(self, positions: Sequence[int]) -> list[str]:
        """See the base class."""

    def scan(self, progress: Callable[[int, int], None] | None = None) -> TextReport:
        """Read every item; empty ones are left out."""
        alphabet, letters, longest, blank = Counter[str](), 0, 0, list[int]()
        for start in range(0, len(self), _LOOKED_AT):
            texts = self.raw(range(start, min(start + _LOOKED_AT, len(self))))
            lengths = [len(text) if text.strip() else 0 for text in texts]
            letters, longest = letters + sum(lengths), max(longest, *lengths)
            blank += [start + place for place, length in enumerate(lengths) if not length]
            if start // _LOOKED_AT % (1 + len(self) // 1_000_000) == 0:
                alphabet.update("".join(texts))
            if progress:
                progress(min(start + _LOOKED_AT, len(self)), len(self))
        keep, empty = Without(len(self), np.array(blank, np.int64)), len(blank)
        if not len(keep):
            raise UserError(f"there is no text in {self.name}; every item of it is empty")
        shown = torch.arange(0, len(keep), max(1, len(keep) // 3))[:3]
        notes = self.report.notes + ([f"{empty} empty texts are left out"] if empty else [])
        columns = {name: self.column(name) for name in self.fields}
        kept = {name: [column[place] for place in keep] for name, column in columns.items()} if empty else columns
        return TextReport(
            self.name,
            self.report.found,
            self.report.left_out,
            notes,
            kept=len(keep),
            keep=keep if empty else range(len(self)),
            labels=labels(kept.get("label", [])),
            fields={name: sum(value is not None for value in values) for name, values in kept.items()},
            form=self.form,
            letters=letters,
            longest=longest,
            alphabet=dict(alphabet.most_common()),
            examples=[text[:60] for text in self.raw(keep.at(shown).tolist())],
        )


class FileSource(TextSource):
    """Texts in files, of which only the places are kept in memory.

    A file of short lines, few of them empty, has a text on each; any other is one text, which is read in blocks that
    are items of their own. Of a folder every file is a text, and the sub-folder it is in its ``label``.

    Args:
        path: a file, or a folder of files that end in .txt or .md.

    Raises:
        UserError: there is no text, or a file is not UTF-8.
    """

    def __init__(self, path: Path) -> None:
        self.name, folder = str(path), path.is_dir()
        self._files = sorted(each for each in path.rglob("*") if _is_text(each)) if folder else [path]
        if not self._files:
            raise UserError(f"there is no text in {path}; give a folder of .txt files")
        self._places = [_places(file, by_line=not folder) for file in self._files]
        self._firsts = np.cumsum([0, *(len(each) for each in self._places)])
        lines = self._places[-1].lines
        files = f"{len(self._files)} files" if folder else "one text"
        self.form = f"{len(self)} lines, each a text" if lines else f"{files}, read in blocks of {BLOCK} bytes"
        tops = [file.relative_to(path).parts[:-1] for file in self._files] if folder else []
        self._labels = [parts[0] if parts else None for parts in tops]
        self.fields = ("label",) if len(set(self._labels) - {None}) > 1 else ()
        self.report = Report(self.name, len(self))

    def __len__(self) -> int:
        return int(self._firsts[-1])

    def names(self, positions: Sequence[int]) -> list[str]:
        """Numbers of the items, from 1."""
        return [str(position + 1) for position in positions]

    def raw(self, positions: Sequence[int]) -> list[str]:
        """See the base class."""
        texts: list[str] = []
        handles: dict[int, BinaryIO] = {}
        read: dict[tuple[int, int], list[bytes]] = {}
        try:
            for position in positions:
                number = int(np.searchsorted(self._firsts, position, "right")) - 1
                if number not in handles:
                    handles[number] = self._files[number].open("rb")
                places = self._places[number]
                part, place = divmod(position - int(self._firsts[number]), places.every)
                if (number, part) not in read:
                    read[number, part] = places.read(handles[number], part)
                texts.append(read[number, part][place].decode("utf-8"))
        except (OSError, UnicodeDecodeError, IndexError) as error:
            raise UserError(f"a text of {self.name} can no longer be read; scan the source again") from error
        finally:
            for handle in handles.values():
                handle.close()
        return texts

    def _values(self, field: str) -> list[Any]:
        return [label for label, each in zip(self._labels, self._places, strict=True) for _ in range(len(each))]


class ColumnSource(TextSource):
    """A column of a table whose cells are texts; the other columns are fields.

    Args:
        rows: the table.
        column: the one with the texts.
        kind: of what they are: text, or sequence.
    """

    def __init__(self, rows: RowSource, column: str, kind: str = "text") -> None:
        self.kind, self.name, self.column_name, self._rows = kind, rows.name, column, rows
        self.fields = tuple(name for name in rows.fields if name != column)
        self.form = f"the column {column}"
        self.report = rows.report

    def __len__(self) -> int:
        return len(self._rows)

    def names(self, positions: Sequence[int]) -> list[str]:
        """Numbers of the rows, from 1."""
        return self._rows.names(positions)

    def raw(self, positions: Sequence[int]) -> list[str]:
        """See the base class; an empty cell is an empty text."""
        cells = self._rows.take(positions, [self.column_name]).column(0).to_pylist()
        return ["" if cell is None else str(cell) for cell in cells]

    def _values(self, field: str) -> list[Any]:
        return self._rows.column(field)


class FastaSource(TextSource):
    """Sequences of a FASTA or FASTQ file, of which only the places are kept in memory.

    It may be compressed by gzip. ``label=`` in a header gives the field ``label``.

    Args:
        path: the file.

    Raises:
        UserError: it is not of that form, and where.
    """

    kind = "sequence"

    def __init__(self, path: Path) -> None:
        self.name = str(path)
        try:
            self._path = cached(path, lambda file: _unpacked(path, file)) if path.suffix == ".gz" else path
            self._starts, self._reads = _record_starts(self._path, self.name)
        except (gzip.BadGzipFile, EOFError, zlib.error) as error:
            raise UserError(f"{path} is damaged, or not compressed by gzip") from error
        except OSError as error:
            raise UserError(f"cannot read {path}: {error.strerror or error}") from error
        labelled = any(_label(header) for header, _ in self._records(range(min(len(self), _LOOKED_AT))))
        self.fields = ("label",) if labelled else ()
        self.form = f"{len(self)} sequences"
        self.report = Report(self.name, len(self))

    def __len__(self) -> int:
        return len(self._starts) - 1

    def names(self, positions: Sequence[int]) -> list[str]:
        """First words of the headers."""
        headers = (header for header, _ in self._records(positions))
        return [(header.split() or [str(p + 1)])[0] for p, header in zip(positions, headers, strict=True)]

    def raw(self, positions: Sequence[int]) -> list[str]:
        """See the base class."""
        return [sequence for _, sequence in self._records(positions)]

    def _records(self, positions: Sequence[int]) -> Iterator[tuple[str, str]]:
        """Headers and sequences."""
        try:
            with self._path.open("rb") as file:
                for position in positions:
                    start, end = self._starts[position : position + 2].tolist()
                    lines = os.pread(file.fileno(), end - start, start).decode("utf-8").split("\n")
                    rest = lines[1:2] if self._reads else lines[1:]
                    yield lines[0][1:].strip(), "".join(map(str.strip, rest))
        except UnicodeDecodeError as error:
            raise UserError(f"{self.name} is damaged, or not FASTA or FASTQ") from error
        except OSError as error:
            raise UserError(f"a sequence of {self.name} can no longer be read; scan the source again") from error

    def _values(self, field: str) -> list[Any]:
        return [_label(header) for header, _ in self._records(range(len(self)))]


def text_column(rows: RowSource, kind: str | None, target: str | None) -> tuple[str, str] | None:
    """The column of a table that is what it is about, and whether of texts or sequences; None where it is a table.

    Of a pair of texts it is the one that is to be written: the target.

    Args:
        rows: the table.
        kind: text or sequence, where the user said so.
        target: the field that is to be predicted.

    Raises:
        UserError: the user said that there is one, and there is none.
    """
    written = {name for name in rows.fields if str(rows.table.column(name).type) in ("string", "large_string")}
    roles = _WRITTEN if kind is None else (*_WRITTEN, "constant")  # as of a single text to be scored
    texts = [each.name for each in rows.columns if each.role in roles and each.name in written]
    named = [name for name in texts if name.lower() in _NAMES]
    sequences = [name for name in rows.fields if name.lower() in ("sequence", "seq")]
    if kind != "text" and sequences:
        return sequences[0], "sequence"
    if {"source", "target"} <= set(rows.fields):
        return "target", "text"
    if target in texts and len(texts) > 1:
        return target, "text"
    if kind in ("text", "sequence") and not named + texts:
        raise UserError(f"no column of {rows.name} holds texts; its columns are {', '.join(rows.fields)}")
    few = len(rows.fields) <= _FIELDS
    if named and (few or kind):
        return named[0], kind or "text"
    return (texts[0], kind or "text") if kind else None


def lines_of(path: Path) -> list[str]:
    """The lines of a file, empty ones too.

    Raises:
        UserError: it cannot be read, or is not UTF-8.
    """
    try:
        return path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not UTF-8 text (byte {error.start}); save it as UTF-8") from error
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror or error}") from error


def _is_text(path: Path) -> bool:
    hidden = any(part.startswith(".") for part in path.parts)
    return path.suffix.lower() in (".txt", ".md") and path.is_file() and not hidden


@dataclass(frozen=True)
class _Places:
    """Where the items of a file begin.

    Args:
        starts: in bytes, of every so many items, and the end of the file.
        every: how many.
        count: of items.
        lines: whether items are lines.
    """

    starts: np.ndarray
    every: int
    count: int
    lines: bool

    def __len__(self) -> int:
        return self.count

    def read(self, file: BinaryIO, part: int) -> list[bytes]:
        """The items between one known start and the next."""
        start, end = self.starts[part : part + 2].tolist()
        content = os.pread(file.fileno(), end - start, start)
        return [line.rstrip(b"\r") for line in content.split(b"\n")] if self.lines else [content]


def _places(path: Path, by_line: bool) -> _Places:
    """The items of a file: its lines, where they are short and hardly one is empty, else blocks."""
    starts, every, lines = np.zeros(1, np.int64), 1, 0
    at = empty = longest = last = 0
    rest = b""
    with path.open("rb") as file:
        while block := file.read(_READ):
            rest = _checked(path, rest + block, at)
            found = np.flatnonzero(np.frombuffer(block, np.uint8) == 10) + at + 1
            if len(found):
                lengths = np.diff(found, prepend=last)
                empty, longest, last = empty + int((lengths == 1).sum()), max(longest, lengths.max()), int(found[-1])
                starts = np.append(starts, found[-(lines + 1) % every :: every])
                lines += len(found)
            while len(starts) > _STARTS:
                starts, every = starts[::2], 2 * every
            at += len(block)
    if rest:
        raise UserError(f"{path} is not UTF-8 text (byte {at}); save it as UTF-8")
    if by_line and lines > 1 and empty <= _PROSE * lines and max(longest, at - last) <= BLOCK:
        count = lines + (last < at)
        starts = starts[: -(-count // every)]
        return _Places(np.append(starts, at), every, count, lines=True)
    ends = _block_ends(path, at)
    return _Places(np.concatenate([[0], ends]), 1, len(ends), lines=False)


def _checked(path: Path, block: bytes, at: int) -> bytes:
    """Refuse what is not UTF-8; gives the letter that the block may have cut."""
    try:
        block.decode("utf-8")
    except UnicodeDecodeError as error:
        if error.start < len(block) - 3:
            raise UserError(f"{path} is not UTF-8 text (near byte {at}); save it as UTF-8") from error
        return block[error.start :]
    return b""


def _block_ends(path: Path, size: int) -> np.ndarray:
    """Every so many bytes, but never within a letter."""
    ends = np.append(np.arange(BLOCK, max(size, 1), BLOCK), size)
    with path.open("rb") as file:
        for place, end in enumerate(ends[:-1].tolist()):
            file.seek(end)
            following = file.read(4)
            ends[place] = end + next((n for n, byte in enumerate(following) if byte & 0xC0 != 0x80), 0)
    return ends


def _record_starts(path: Path, name: str) -> tuple[np.ndarray, bool]:
    """Where the records of a file begin, in bytes, and where the last one ends; and whether they are reads of FASTQ."""
    found: list[np.ndarray] = []
    at = lines = 0
    line_begins, first = True, b""
    with path.open("rb") as file:
        while block := file.read(_READ):
            first = first or _first_sign(block, name, at)
            signs = np.frombuffer(block, np.uint8)
            begins = np.append(0, np.flatnonzero(signs == 10) + 1) if line_begins else np.flatnonzero(signs == 10) + 1
            line_begins = bool(signs[-1] == 10)
            begins = begins[begins < len(signs)]
            if first == b"@":
                found.append(begins[-lines % 4 :: 4] + at)
                lines += len(begins)
            else:
                found.append(begins[signs[begins] == ord(">")] + at)
            at += len(block)
    if not first:
        raise UserError(f"{name} has no sequences; a FASTA file has lines that begin with > before each")
    return np.append(np.concatenate(found), at), first == b"@"


def _first_sign(block: bytes, name: str, at: int) -> bytes:
    """The sign that the first line begins with."""
    text = block.lstrip()
    if text[:1] in (b"", b">") or (text[:1] == b"@" and at == 0 and text == block):
        return text[:1]
    line = block[: len(block) - len(text)].count(b"\n") + 1
    raise UserError(f"line {line} of {name} comes before any header; a header begins with >")


def _unpacked(path: Path, file: BinaryIO) -> None:
    with gzip.open(path) as packed:
        shutil.copyfileobj(packed, file, _READ)


def _label(header: str) -> str | None:
    found = [word.partition("=")[2] for word in header.split() if word.startswith(("label=", "class="))]
    return found[0] if found else None
