"""Items as the cells of a row: files as their bytes, all else as what it is."""

import io
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeAlias

from PIL import Image

from suffuse.codecs.base import Codec
from suffuse.codecs.cells import CategoryCells, Cells, ConstantCells, DateCells, NumberCells
from suffuse.codecs.series import SeriesCodec
from suffuse.codecs.table import TableCodec
from suffuse.errors import UserError
from suffuse.outputs import OUTPUTS
from suffuse.pictures import save_png


@dataclass(frozen=True)
class File:
    """A file in a cell.

    Args:
        suffix: that says its form, with the dot.
        data: its bytes.
    """

    suffix: str
    data: bytes


Cell: TypeAlias = File | Any
"""A file, or a text, number, moment or list of these; None where it is missing."""


class Rows(ABC):
    """How the items of a kind of data are laid out in columns."""

    @abstractmethod
    def features(self) -> dict[str, Any]:
        """Type of each column, as the `datasets` library names them."""

    @abstractmethod
    def cells(self, item: Any) -> Mapping[str, Cell]:
        """One item by columns."""


class PictureRows(Rows):
    """A column of PNG files, which say how they were made."""

    def features(self) -> dict[str, Any]:
        """See the base class."""
        from datasets import Image as ImageFeature

        return {"image": ImageFeature()}

    def cells(self, item: Any) -> Mapping[str, Cell]:
        """See the base class.

        Raises:
            UserError: it is no picture.
        """
        if not isinstance(item, Image.Image):
            raise UserError("the samples of this model are no pictures, as of latents without their autoencoder")
        file = io.BytesIO()
        save_png(item, file)
        return {"image": File(".png", file.getvalue())}


class TextRows(Rows):
    """A column of texts.

    Args:
        name: of the column.
    """

    def __init__(self, name: str) -> None:
        self.name = name

    def features(self) -> dict[str, Any]:
        """See the base class."""
        return {self.name: _value("string")}

    def cells(self, item: Any) -> Mapping[str, Cell]:
        """See the base class."""
        return {self.name: item}


class FileRows(Rows):
    """A column of files in the form that items of this kind are written in alone.

    Args:
        kind: of the data, by which the column is called.
        suffix: of the files.
    """

    def __init__(self, kind: str, suffix: str) -> None:
        self.kind, self.suffix = kind, suffix

    def features(self) -> dict[str, Any]:
        """See the base class."""
        from datasets import Audio

        return {self.kind: Audio() if self.kind == "audio" else {"bytes": _value("binary"), "path": _value("string")}}

    def cells(self, item: Any) -> Mapping[str, Cell]:
        """See the base class."""
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / f"item{self.suffix}"
            OUTPUTS[self.kind].save([item], path)
            return {self.kind: File(self.suffix, path.read_bytes())}


class TableRows(Rows):
    """The columns of a table.

    Args:
        codec: that knows them.
    """

    def __init__(self, codec: TableCodec) -> None:
        self.fields = codec.fields

    def features(self) -> dict[str, Any]:
        """See the base class."""
        return {field.name: _value(_type(field.cells)) for field in self.fields}

    def cells(self, item: Any) -> Mapping[str, Cell]:
        """See the base class."""
        return item


class SeriesRows(Rows):
    """A list of values for each column of a series.

    Args:
        codec: that knows them.
    """

    def __init__(self, codec: SeriesCodec) -> None:
        self.types = {codec.time: "int64"} | {
            each.name: "int64" if each.whole else "float64" for each in codec.channels
        }

    def features(self) -> dict[str, Any]:
        """See the base class."""
        from datasets import Sequence

        return {name: Sequence(_value(kind)) for name, kind in self.types.items()}

    def cells(self, item: Any) -> Mapping[str, Cell]:
        """See the base class."""
        return {name: item[name].tolist() for name in self.types}


def rows_of(codec: Codec) -> Rows:
    """How the items of a codec are laid out.

    Raises:
        UserError: they have no layout.
    """
    if isinstance(codec, TableCodec):
        return TableRows(codec)
    if isinstance(codec, SeriesCodec):
        return SeriesRows(codec)
    if codec.kind not in ROWS:
        raise UserError(f"samples of a model of {codec.kind} cannot be written in rows; leave out --engine")
    return ROWS[codec.kind]


ROWS: Mapping[str, Rows] = MappingProxyType(
    {
        "image": PictureRows(),
        "text": TextRows("text"),
        "sequence": TextRows("sequence"),
        "audio": FileRows("audio", ".wav"),
        "video": FileRows("video", ".mp4"),
        "music": FileRows("music", ".mid"),
        "field": FileRows("field", ".nc"),
    }
)
"""By the kind of the codec."""


def _value(kind: str) -> Any:
    from datasets import Value

    return Value(kind)


def _type(cells: Cells) -> str:
    """Of the values of a column."""
    match cells:
        case DateCells():
            return "date32" if cells.days else "timestamp[us, tz=UTC]" if cells.aware else "timestamp[us]"
        case NumberCells():
            return "int64" if cells.whole else "float64"
        case CategoryCells():
            return _common(cells.values)
        case _:
            assert isinstance(cells, ConstantCells)
            return _common([cells.value])


def _common(values: Sequence[Any]) -> str:
    """The one type of some values."""
    for kind, name in ((bool, "bool"), (int, "int64"), (float, "float64")):
        if all(type(value) is kind for value in values):
            return name
    return "string"
