"""A folder of pictures: nested as it may be, classes by sub-folder, metadata.csv or metadata.jsonl beside them.

The layout is that of the `imagefolder` of the `datasets` library, but the folder is read here: that library stops at
the first file it cannot read, where we leave the file out and say so, and it copies what it lists to its cache.
"""

import os
from collections import Counter, deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

from suffuse.data import metadata
from suffuse.data.pictures import read_file, refusal, suffixes
from suffuse.data.records import PictureSource, Record
from suffuse.data.report import Report
from suffuse.errors import UserError

_SPLITS = ("train", "training", "test", "testing", "val", "valid", "validation", "dev", "eval")
_CLUTTER = ("thumbs.db", "desktop.ini", "__macosx")


@dataclass
class Listing:
    """The files below a folder, as paths relative to it, sorted; hidden ones are passed over.

    Where suffixes of other files are wanted, these take the place of pictures.
    """

    root: Path
    pictures: list[str] = field(default_factory=list)
    wanted: frozenset[str] | None = None
    tables: list[str] = field(default_factory=list)
    metadata: list[str] = field(default_factory=list)
    others: list[str] = field(default_factory=list)
    folders: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def list_folder(root: Path, wanted: frozenset[str] | None = None) -> Listing:
    """List a folder to its depths; links to folders are followed once, and never upwards.

    Args:
        root: the folder.
        wanted: suffixes of what is looked for instead of pictures, such as those of videos.

    Raises:
        UserError: the folder itself cannot be read.
    """
    listing = Listing(root, wanted=wanted)
    try:
        os.scandir(root).close()
    except OSError as error:
        raise UserError(f"cannot read the folder {root}: {refusal(error)}") from error
    visited, folders = set[tuple[int, int]](), deque([""])
    while folders:  # links come to its end, so that a folder is named by where it is, not by who points there
        folder = folders.popleft()
        if folder and (_leads_back(root / folder) or _identity(root / folder) in visited):
            listing.notes.append(f"the folder {folder} was passed over: it links to a folder read elsewhere")
        else:
            for path in sorted(_walk(root, folder, visited, folders, listing)):
                _sort_in(path, listing)
    return listing


def _walk(root: Path, folder: str, visited: set[tuple[int, int]], links: deque[str], listing: Listing) -> Iterator[str]:
    """Yield the files below a folder, noting folders, links to folders, and what cannot be entered."""
    visited.add(_identity(root / folder))
    try:
        names = sorted(os.listdir(root / folder))
    except OSError as error:
        listing.notes.append(f"the folder {folder} was passed over: {refusal(error)}")
        return
    if folder:
        listing.folders.append(folder)
    for name in names:
        path = f"{folder}/{name}" if folder else name
        if name.startswith(".") or name.lower() in _CLUTTER:
            continue
        if not os.path.isdir(root / path):
            if os.path.isfile(root / path) or os.path.islink(root / path):  # no pipes: reading one never ends
                yield path
        elif os.path.islink(root / path):
            links.append(path)
        else:
            yield from _walk(root, path, visited, links, listing)


def _identity(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_dev, status.st_ino


def _leads_back(path: Path) -> bool:
    """Say whether a link leads to a folder it lies in: following it would never end, or list a whole disk."""
    return path.is_symlink() and path.parent.resolve().is_relative_to(path.resolve())


def _sort_in(path: str, listing: Listing) -> None:
    name, suffix = PurePosixPath(path).name, PurePosixPath(path).suffix.lower()
    if name in metadata.NAMES:
        listing.metadata.append(path)
    elif suffix in listing.wanted if listing.wanted else suffix in suffixes() or not suffix:
        listing.pictures.append(path)
    else:
        (listing.tables if suffix == ".parquet" else listing.others).append(path)


class FolderSource(PictureSource):
    """The pictures of a folder, as `list_folder` found them.

    Fields are the columns of the metadata files but `file_name`; where none of them is `label`, and there are at
    least two sub-folders, the sub-folder a picture is in is its `label`. A picture without a row has None for
    every column. Rows that differ may name one picture: each is a record, e.g. of another caption.

    Args:
        listing: the files of the folder.
        split: which sub-folder to read where all sub-folders have names such as train and test; by default train.

    Raises:
        UserError: there is no picture, or a metadata file cannot be read.
    """

    def __init__(self, listing: Listing, split: str | None = None) -> None:
        listing = _choose_split(listing, split)
        self.name, self.root = str(listing.root), listing.root
        if not listing.pictures:
            raise UserError(_no_pictures(listing))
        table = _Table(listing)
        self.fields = tuple(table.columns)
        self._records = [(path, row) for path in listing.pictures for row in table.rows.get(path, [{}])]
        if "label" not in self.fields and len(_tops(listing)) > 1:
            self.fields += ("label",)
            self._records = [(path, {**row, "label": _label(path)}) for path, row in self._records]
        others = listing.others + listing.tables
        reason = "none of the files that are looked for" if listing.wanted else "not a kind of picture that is read"
        left_out = [(path, reason) for path in others] + table.missing
        notes = listing.notes + table.notes + _empty_classes(listing)
        self.report = Report(self.name, len(self._records) + len(left_out), left_out, notes)

    def __len__(self) -> int:
        return len(self._records)

    def __getitem__(self, position: int) -> Record:
        path, row = self._records[position]
        return Record(path, {name: row.get(name) for name in self.fields}, partial(read_file, self.root / path))

    def _values(self, field: str) -> list[Any]:
        return [row.get(field) for _, row in self._records]


class _Table:
    """The rows of all metadata files of a folder, by the picture they are about."""

    def __init__(self, listing: Listing) -> None:
        self.rows: dict[str, list[dict[str, Any]]] = {}
        self.columns: list[str] = []
        self.missing: list[tuple[str, str]] = []
        self.notes: list[str] = []
        known, repeated = set(listing.pictures + listing.others), Counter[str]()
        for file in listing.metadata:
            for row in metadata.rows(listing.root / file):
                path = os.path.normpath(os.path.join(os.path.dirname(file), row.pop(metadata.FILE_NAME)))
                self.columns += [name for name in row if name not in self.columns]
                if path not in known:
                    self.missing.append((path, f"named in {file}, but there is no such file"))
                elif row in self.rows.setdefault(path, []):
                    repeated[file] += 1
                else:
                    self.rows[path].append(row)
        self.notes += [f"{count} rows of {file} repeat an earlier row" for file, count in repeated.items()]
        if self.missing and not self.rows:
            raise UserError(
                f"no file that {listing.metadata[0]} of {listing.root} names is there ({self.missing[0][0]}, for one); "
                f"{metadata.FILE_NAME} is relative to the folder that the table is in"
            )


def _choose_split(listing: Listing, split: str | None) -> Listing:
    """Go down to the sub-folder of a split, where the folder is divided into splits."""
    tops = _tops(listing)
    loose = [path for path in listing.pictures + listing.metadata if "/" not in path]
    if not tops or loose or not all(top.lower() in _SPLITS for top in tops):
        if split:
            raise UserError(f"{listing.root} has no splits such as train and test; leave out the split {split!r}")
        return listing
    chosen = split or next((top for top in tops if top.lower().startswith("train")), tops[0])
    if chosen not in tops:
        raise UserError(f"{listing.root} has no split {chosen!r}; its splits are {', '.join(tops)}")
    below = list_folder(listing.root / chosen, listing.wanted)
    others = [top for top in tops if top != chosen]
    below.notes += [f"only the split {chosen} is read, not {', '.join(others)}"] if others else []
    return below


def _no_pictures(listing: Listing) -> str:
    kinds = Counter(PurePosixPath(path).suffix for path in listing.others).most_common(3)
    if not listing.others + listing.metadata:
        return f"the folder {listing.root} is empty; put pictures (PNG, JPEG, WebP, TIFF, …) into it"
    found = ", ".join(f"{count} {suffix}" for suffix, count in kinds) or "metadata alone"
    return f"there is no picture in {listing.root} (found: {found}); give a folder of PNG, JPEG, WebP, TIFF, … files"


def _tops(listing: Listing) -> list[str]:
    return [folder for folder in listing.folders if "/" not in folder]


def _label(path: str) -> str | None:
    folder, slash, _ = path.partition("/")
    return folder if slash else None


def _empty_classes(listing: Listing) -> list[str]:
    filled = {_label(path) for path in listing.pictures}
    return [f"the folder {folder} holds no pictures" for folder in _tops(listing) if folder not in filled]
