"""Data sets of the `datasets` library: parquet files, saved sets, and sets of the hub."""

import glob
import os
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from suffuse.data.pictures import read_file
from suffuse.data.records import PictureSource, Record
from suffuse.data.report import Report
from suffuse.errors import UserError

if TYPE_CHECKING:
    from datasets import Dataset

_SAVED = ("dataset_info.json", "dataset_dict.json")


def is_saved_set(folder: Path) -> bool:
    """Say whether `datasets` saved a set in this folder."""
    return any(os.path.isfile(folder / name) for name in _SAVED)


def open_saved_set(folder: Path, split: str | None) -> "TableSource":
    """Open what `save_to_disk` of `datasets` left."""
    from datasets import load_from_disk

    try:
        loaded = load_from_disk(str(folder))
    except Exception as error:  # whatever the library met in the files
        raise UserError(f"the saved data set {folder} cannot be read: {_first_line(error)}") from error
    return TableSource(str(folder), _choose_split(str(folder), loaded, split))


def open_parquet(path: Path, split: str | None) -> "TableSource":
    """Open a parquet file, or all parquet files below a folder, whose names tell the splits."""
    from datasets import load_dataset

    place = glob.escape(str(path))  # the library takes paths for patterns
    try:
        folder = path.is_dir()
        loaded = load_dataset("parquet", data_dir=place) if folder else load_dataset("parquet", data_files=place)
    except Exception as error:  # whatever the library met in the files
        raise UserError(f"{path} cannot be read as parquet: {_first_line(error)}") from error
    return TableSource(str(path), _choose_split(str(path), loaded, split))


def holds_pictures(path: Path) -> bool:
    """Whether a column of a parquet file is, or may be, one of pictures."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        schema = pq.read_schema(path)
    except (pa.ArrowInvalid, OSError):
        return True  # what is wrong with it is said when it is opened
    kinds = [field.type for field in schema]
    return any(pa.types.is_struct(kind) or pa.types.is_binary(kind) or pa.types.is_large_binary(kind) for kind in kinds)


def open_hub(name: str, split: str | None) -> "TableSource":
    """Open a data set of the hub, by way of the library's cache."""
    from datasets import load_dataset

    try:
        loaded = load_dataset(name)
    except Exception as error:  # no network, no such set, no permission: all the same to the user
        raise UserError(
            f"there is no folder or file {name} here, and no data set of that name could be loaded from the hub "
            f"({_first_line(error)}); check the path, or the name and the connection"
        ) from error
    return TableSource(name, _choose_split(name, loaded, split))


class TableSource(PictureSource):
    """A `datasets.Dataset` with a column of pictures; every other column is a field, a ClassLabel by its names.

    Args:
        name: what to call it.
        dataset: a column of it is an Image, a struct of bytes and path, or binary.

    Raises:
        UserError: no column holds pictures.
    """

    def __init__(self, name: str, dataset: "Dataset") -> None:
        from datasets import Image as ImageFeature

        self.name = name
        self._pictures = _picture_column(name, dataset)
        self._set = dataset.cast_column(self._pictures, ImageFeature(decode=False))
        self.fields = tuple(column for column in dataset.column_names if column != self._pictures)
        self.report = Report(name, len(dataset))

    def __len__(self) -> int:
        return len(self._set)

    def __getitem__(self, position: int) -> Record:
        row = self._set[position]
        picture: dict[str, Any] = row[self._pictures] or {"bytes": None, "path": None}
        name = Path(picture["path"]).name if picture["path"] else f"row {position}"
        fields = {field: self._said(field, row[field]) for field in self.fields}
        return Record(name, fields, partial(_payload, picture))

    def _values(self, field: str) -> list[Any]:
        return [self._said(field, value) for value in self._set.select_columns([field])[:][field]]

    def _said(self, field: str, value: Any) -> Any:
        """The name of a class for its number; -1 is how the library writes a missing one."""
        from datasets import ClassLabel

        feature = self._set.features[field]
        if isinstance(feature, ClassLabel) and value is not None:
            return feature.int2str(value) if value >= 0 else None
        return value


def _payload(picture: dict[str, Any]) -> bytes:
    if picture["bytes"] is not None:
        return picture["bytes"]
    if picture["path"] is None:
        raise OSError("empty: the row has no picture")
    return read_file(picture["path"])


def _choose_split(name: str, loaded: Any, split: str | None) -> "Dataset":
    """The split that was asked for, else train, else the first; a set without splits is what it is."""
    from datasets import Dataset

    if isinstance(loaded, Dataset):
        if split:
            raise UserError(f"{name} has no splits; leave out the split {split!r}")
        return loaded
    chosen = split or ("train" if "train" in loaded else next(iter(loaded)))
    if chosen not in loaded:
        raise UserError(f"{name} has no split {chosen!r}; its splits are {', '.join(loaded)}")
    return loaded[chosen]


def _picture_column(name: str, dataset: "Dataset") -> str:
    """The first column that is declared to hold pictures, else that looks like it."""
    from datasets import Image as ImageFeature
    from datasets import Value

    columns = dataset.features.items()
    declared = [column for column, feature in columns if isinstance(feature, ImageFeature)]
    structs = [column for column, feature in columns if isinstance(feature, dict) and {"bytes", "path"} == set(feature)]
    binary = [column for column, feature in columns if feature in (Value("binary"), Value("large_binary"))]
    if not declared + structs + binary:
        raise UserError(f"no column of {name} holds pictures; its columns are {', '.join(dataset.column_names)}")
    return (declared + structs + binary)[0]


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
