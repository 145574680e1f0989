"""Where data comes from: folders, parquet files, saved sets, the hub, arrays."""

import os
import re
from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from suffuse.data.base import Source
from suffuse.data.clips import is_videos, open_videos
from suffuse.data.fields import FIELDS, is_fields, open_fields
from suffuse.data.files import ROWS
from suffuse.data.folder import FolderSource, Listing, list_folder
from suffuse.data.music import MUSIC, open_music
from suffuse.data.pairs import PAIRED, open_pairs
from suffuse.data.pictures import suffixes
from suffuse.data.records import PictureSource, Record
from suffuse.data.report import Report
from suffuse.data.rows import open_rows
from suffuse.data.series import series_of
from suffuse.data.sounds import is_sounds, open_sounds
from suffuse.data.tables import holds_pictures, is_saved_set, open_hub, open_parquet, open_saved_set
from suffuse.data.texts import SEQUENCES, ColumnSource, FastaSource, FileSource, text_column
from suffuse.errors import UserError

__all__ = ["ArraySource", "Record", "Source", "open_source"]

_HUB_NAME = re.compile(r"[\w.-]+/[\w.-]+")


def open_source(
    path: str | Path,
    *,
    split: str | None = None,
    kind: str | None = None,
    target: str | None = None,
    paired: bool = True,
) -> Source:
    """Open a source; nothing is decoded yet.

    A source is a folder of pictures (see `FolderSource`) or one of them, a parquet file or a folder of them, a set
    saved by the `datasets` library, or, if nothing of that name is here, a data set of the hub named "user/set".

    Args:
        path: where it is.
        split: which part of a source that is divided, e.g. "test"; by default "train" where there is one.
        kind: what the data is; by default found out.
        target: the field that is to be predicted, where there is one.
        paired: of the kind pairs, whether both pictures of a pair are named alike; else they are of two kinds alone.

    Raises:
        UserError: there is no such source, or nothing in it is a picture.
    """
    place = Path(path).expanduser()
    if kind in PAIRED and os.path.exists(place):
        return open_pairs(place, paired, kind)
    if os.path.exists(place) and (kind in FIELDS or (kind is None and is_fields(place))):
        return open_fields(place, kind or "field")
    if os.path.exists(place) and (kind == "music" or (kind is None and place.suffix.lower() in MUSIC)):
        return open_music(place)
    if os.path.exists(place) and (kind == "video" or (kind is None and is_videos(place))):
        return open_videos(place, split)
    if os.path.exists(place) and (kind == "audio" or (kind is None and is_sounds(place))):
        return open_sounds(place, split)
    if os.path.isdir(place):
        return _open_folder(place, split, kind)
    if os.path.isfile(place):
        return _open_file(place, split, kind, target)
    if _HUB_NAME.fullmatch(str(path)) and not os.path.isdir(place.parent):
        return open_hub(str(path), split)
    raise UserError(_nothing_there(place))


class ArraySource(PictureSource):
    """Pictures in memory, e.g. of a demonstration.

    Args:
        images: uint8, (N, H, W) for grey or (N, H, W, C) with C = 1, 3 or 4.
        labels: the field `label` of each, None where it is missing.
        name: what to call it.

    Raises:
        UserError: the array is none of these, or has not as many labels as pictures.

    Example:
        >>> source = ArraySource(np.zeros((2, 8, 8), np.uint8), [0, 1])
        >>> source[1].image.size, source.column("label")
        ((8, 8), [0, 1])
    """

    def __init__(self, images: np.ndarray, labels: Sequence[Any] | None = None, name: str = "array") -> None:
        if images.dtype != np.uint8 or not (images.ndim == 3 or (images.ndim == 4 and images.shape[3] in (1, 3, 4))):
            raise UserError(
                f"pictures of {images.dtype} and shape {images.shape} are not known; give uint8 of shape (N, H, W) "
                "or (N, H, W, C), C = 1, 3 or 4"
            )
        if images.size == 0:
            raise UserError(f"the array {name} of shape {images.shape} holds no pictures; give at least one")
        if labels is not None and len(labels) != len(images):
            raise UserError(f"{len(images)} pictures have {len(labels)} labels; give one to each, None where missing")
        self.name = name
        self.fields = () if labels is None else ("label",)
        self.report = Report(name, len(images))
        self._images = images[..., 0] if images.ndim == 4 and images.shape[3] == 1 else images
        self._labels = None if labels is None else [_plain(label) for label in labels]

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, position: int) -> Record:
        image = self._images[position]
        fields = {} if self._labels is None else {"label": self._labels[position]}
        return Record(f"{self.name}[{position}]", fields, lambda: Image.fromarray(image))

    def _values(self, field: str) -> list[Any]:
        return list(self._labels or [])


def _plain(label: Any) -> Any:
    """A NumPy number as Python's own, so that its text is its value."""
    return label.item() if isinstance(label, np.generic) else label


def _open_file(path: Path, split: str | None, kind: str | None, target: str | None) -> Source:
    """A parquet file may hold pictures; all other files of rows are tables, or columns of texts."""
    suffix = path.with_suffix("").suffix.lower() if path.suffix == ".gz" else path.suffix.lower()
    if suffix == ".parquet" and kind in (None, "image") and holds_pictures(path):
        return open_parquet(path, split)
    if suffix in suffixes() and kind in (None, "image"):
        return FolderSource(Listing(path.parent, pictures=[path.name]))
    if kind == "image":
        raise UserError(f"{path} is no picture; give one, or a folder of them")
    if suffix in ROWS:
        rows = open_rows(path)
        series = series_of(rows, kind == "series") if kind in (None, "series") else None
        if series is not None:
            return series
        found = None if kind == "table" else text_column(rows, kind, target)
        return rows if found is None else ColumnSource(rows, *found)
    if suffix in SEQUENCES or kind == "sequence":
        return FastaSource(path)
    if suffix in (".txt", ".md") or kind == "text":
        return FileSource(path)
    known = ", ".join((".txt", *ROWS, *SEQUENCES))
    raise UserError(f"{path} is no file that is read; give a picture, a folder, or one of {known}")


def _open_folder(folder: Path, split: str | None, kind: str | None) -> Source:
    if is_saved_set(folder):
        return open_saved_set(folder, split)
    listing = list_folder(folder)
    pictures = any(Path(path).suffix for path in listing.pictures)  # a LICENSE is no picture
    if kind is None and not pictures and any(Path(path).suffix.lower() in MUSIC for path in listing.others):
        return open_music(folder)
    if kind == "text" or (
        kind is None and not pictures and any(Path(path).suffix == ".txt" for path in listing.others)
    ):
        return FileSource(folder)
    if listing.tables and not pictures:
        return open_parquet(folder, split)
    return FolderSource(listing, split)


def _nothing_there(place: Path) -> str:
    """Say how far the path is right, and what is there of a similar name."""
    parent = place.parent
    while not os.path.isdir(parent):
        place, parent = parent, parent.parent
    try:
        near = get_close_matches(place.name, os.listdir(parent), n=1)
    except OSError:
        near = []
    return f"there is no {place}" + (f"; did you mean {parent / near[0]}?" if near else "; check the path")
