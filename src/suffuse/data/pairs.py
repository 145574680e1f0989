"""Pairs of pictures: folders ``source`` and ``target``, or a table whose columns of these names hold names of files."""

import os
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

from PIL import Image

from suffuse.data.base import Packer, Source
from suffuse.data.files import ROWS, read_rows
from suffuse.data.folder import FolderSource, list_folder
from suffuse.data.metadata import NAMES
from suffuse.data.pictures import read_file
from suffuse.data.records import PictureReport, PictureSource, Record
from suffuse.data.report import Report
from suffuse.errors import UserError
from suffuse.tree import State, concatenate

SIDES = ("source", "target")
PAIRED = ("pairs", "segments")
"""Kinds of pairs: of two pictures, and of a picture and a label map."""
_LAYOUT = (
    "pairs are folders source/ and target/ whose files have the same names, or a table, such as metadata.csv beside "
    "them, with the columns source and target"
)


class PairSource(Source):
    """Pairs of pictures; the raw item is (source, target). Fields are those of the targets.

    Args:
        name: what to call it.
        sources: what is translated.
        targets: what it is translated to.
        pairs: positions of both pictures of each pair.
        report: what was found, and what does not pair.
        kind: one of :data:`PAIRED`, by what the targets are.
    """

    def __init__(
        self,
        name: str,
        sources: PictureSource,
        targets: PictureSource,
        pairs: Sequence[tuple[int, int]],
        report: Report,
        kind: str = "pairs",
    ) -> None:
        self.name, self.fields, self.report, self.kind = name, targets.fields, report, kind
        self._sources, self._targets, self._pairs = sources, targets, pairs

    def __len__(self) -> int:
        return len(self._pairs)

    def names(self, positions: Sequence[int]) -> list[str]:
        """Those of the targets."""
        return self._targets.names([self._pairs[position][1] for position in positions])

    def raw(self, positions: Sequence[int]) -> list[tuple[Image.Image, Image.Image]]:
        """See the base class; the pixels are decoded."""
        pairs = [self._pairs[position] for position in positions]
        sources, targets = self._sources.raw([s for s, _ in pairs]), self._targets.raw([t for _, t in pairs])
        return list(zip(sources, targets, strict=True))

    def packed(self, positions: Sequence[int], codec: Packer) -> State:
        """See the base class; of large pictures one pair at a time is in memory."""
        return concatenate([codec.pack(self.raw([position])) for position in positions])

    def sources(self, positions: Sequence[int]) -> list[Image.Image]:
        """See the base class."""
        return self._sources.raw([self._pairs[position][0] for position in positions])

    def targets(self, positions: Sequence[int]) -> list[Image.Image]:
        """What the sources at these positions become.

        Raises:
            UserError: one of them cannot be read.
        """
        return self._targets.raw([self._pairs[position][1] for position in positions])

    def _values(self, field: str) -> list[Any]:
        column = self._targets.column(field)
        return [column[target] for _, target in self._pairs]

    def scan(self, progress: Callable[[int, int], None] | None = None) -> PictureReport:
        """Decode every picture once; a pair is left out where one of its two cannot be read."""
        done, total = len(self._sources), len(self._sources) + len(self._targets)
        sources = self._sources.scan(progress and (lambda n, _: progress(n, total)))
        targets = self._targets.scan(progress and (lambda n, _: progress(done + n, total)))
        readable = [set(side.keep) for side in (sources, targets)]
        keep = [
            place for place, pair in enumerate(self._pairs) if all(p in r for p, r in zip(pair, readable, strict=True))
        ]
        damaged = [
            (f"{side}/{name}", reason)
            for side, found in zip(SIDES, (sources, targets), strict=True)
            for name, reason in found.left_out
        ]
        if not keep:
            raise UserError(f"no pair of {self.name} has two pictures that can be read; {damaged[0][0]}, for one: "
                            f"{damaged[0][1]}")  # fmt: skip
        known = {name: [self.column(name)[place] for place in keep] for name in self.fields}
        return PictureReport(
            self.name,
            self.report.found,
            [*self.report.left_out, *damaged],
            self.report.notes + sources.notes + targets.notes,
            kept=len(keep),
            keep=keep,
            fields={name: sum(value is not None for value in values) for name, values in known.items()},
            sizes=targets.sizes,
            modes=dict((Counter(sources.modes) + Counter(targets.modes)).most_common()),
        )


class ListedSource(PictureSource):
    """Pictures that a table names.

    Args:
        root: the folder that the names are relative to.
        paths: their names.
        rows: what else the table says of each.
        fields: names of that.
    """

    def __init__(self, root: Path, paths: Sequence[str], rows: Sequence[dict[str, Any]], fields: Sequence[str]) -> None:
        self.name, self.fields = str(root), tuple(fields)
        self.report = Report(self.name, len(paths))
        self._root, self._paths, self._rows = root, paths, rows

    def __len__(self) -> int:
        return len(self._paths)

    def __getitem__(self, position: int) -> Record:
        path = self._paths[position]
        return Record(path, self._rows[position], partial(read_file, self._root / path))

    def _values(self, field: str) -> list[Any]:
        return [row[field] for row in self._rows]


def open_pairs(path: Path, paired: bool = True, kind: str = "pairs") -> PairSource:
    """Open pairs of pictures; nothing is decoded yet.

    Args:
        path: a folder with ``source`` and ``target``, whose files pair where their paths within these are the same but
            for the suffix; or a table with two columns of file names, or a folder with such a metadata file.
        paired: whether the pictures of both folders belong together; else any source is put beside any target.
        kind: of pairs, one of :data:`PAIRED`.

    Raises:
        UserError: there are no pairs; says what is missing.
    """
    if not path.is_dir():
        if path.suffix.lower() not in ROWS:
            raise UserError(f"{path} holds no pairs; {_LAYOUT}")
        return _from_table(path, kind)
    table = next((path / name for name in NAMES if (path / name).is_file()), None)
    sides = [path / side for side in SIDES]
    if table is not None and not any(side.is_dir() for side in sides):
        return _from_table(table, kind)
    missing = [side.name for side in sides if not side.is_dir()]
    if missing:
        raise UserError(f"{path} has no folder {' and no folder '.join(missing)}; {_LAYOUT}")
    sources, targets = (FolderSource(list_folder(side)) for side in sides)
    return _by_name(path, sources, targets, kind) if paired else _side_by_side(path, sources, targets)


def _by_name(path: Path, sources: FolderSource, targets: FolderSource, kind: str) -> PairSource:
    """Files of one path but for the suffix; those without a partner are left out."""
    names = [[_stem(name) for name in side.names(range(len(side)))] for side in (sources, targets)]
    places = {stem: place for place, stem in reversed([*enumerate(names[0])])}
    pairs = [(places[stem], place) for place, stem in enumerate(names[1]) if stem in places]
    others = [set(names[1]), set(names[0])]
    alone = [
        (f"{here}/{record}", f"there is no file of this name in {there}/")
        for side, stems, other, here, there in zip((sources, targets), names, others, SIDES, SIDES[::-1], strict=True)
        for record, stem in zip(side.names(range(len(side))), stems, strict=True)
        if stem not in other
    ]
    if not pairs:
        first = alone[0][0]
        raise UserError(
            f"nothing in {path}/source pairs with anything in {path}/target: {first}, for one, has no partner in "
            f"{SIDES[first.startswith(SIDES[0])]}/; give both files of a pair the same name"
        )
    repeated = [
        (f"source/{name}", "another file of this name but for the suffix comes before it")
        for place, (name, stem) in enumerate(zip(sources.names(range(len(sources))), names[0], strict=True))
        if places[stem] < place
    ]
    left_out = alone + repeated
    return PairSource(str(path), sources, targets, pairs, Report(str(path), len(pairs) + len(left_out), left_out), kind)


def _side_by_side(path: Path, sources: FolderSource, targets: FolderSource) -> PairSource:
    """All of both; of the smaller side many stand beside several of the larger."""
    # Whoever stands beside whom is paired anew within each batch, so that the order does not matter.
    count = max(len(sources), len(targets))
    pairs = [(place % len(sources), place % len(targets)) for place in range(count)]
    note = f"{len(sources)} sources and {len(targets)} targets, which need not pair"
    return PairSource(str(path), sources, targets, pairs, Report(str(path), count, notes=[note]))


def _from_table(table: Path, kind: str) -> PairSource:
    """Rows that name both files; those that lack one are left out."""
    read = read_rows(table)
    missing = [side for side in SIDES if side not in read.table.column_names]
    if missing:
        raise UserError(f"{table} has no column {' and no column '.join(missing)}; {_LAYOUT}")
    fields = [name for name in read.table.column_names if name not in SIDES]
    left_out, kept = list(read.left_out), list[dict[str, Any]]()
    for number, row in enumerate(read.table.to_pylist(), 1):
        absent = [side for side in SIDES if not _is_file(table.parent, row[side])]
        if absent:
            left_out.append((f"row {number}", f"it names no file that is there as its {' and its '.join(absent)}"))
        else:
            kept.append(row)
    if not kept:
        raise UserError(
            f"no row of {table} names two files that are there; its columns source and target are paths relative to "
            "the folder that the table is in"
        )
    rows = [{name: row[name] for name in fields} for row in kept]
    sources = ListedSource(table.parent, [row["source"] for row in kept], [{}] * len(kept), ())
    targets = ListedSource(table.parent, [row["target"] for row in kept], rows, fields)
    pairs = [(place, place) for place in range(len(kept))]
    return PairSource(
        str(table), sources, targets, pairs, Report(str(table), len(kept) + len(left_out), left_out), kind
    )


def _is_file(folder: Path, name: Any) -> bool:
    return isinstance(name, str) and os.path.isfile(folder / name)


def _stem(name: str) -> str:
    return str(PurePosixPath(name).with_suffix(""))
