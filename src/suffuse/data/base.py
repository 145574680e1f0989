"""What a source of data is: an indexable sequence of records, read when asked for."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from PIL import Image

from suffuse.data.pictures import open_picture
from suffuse.data.report import Report
from suffuse.errors import UserError


@dataclass(frozen=True)
class Record:
    """One picture and what is said about it.

    Args:
        name: what to call it in a message, e.g. its path within the source.
        fields: a value for every field of the source, None where it is missing.
        payload: reads the bytes of its file, or gives the picture itself.
    """

    name: str
    fields: Mapping[str, Any]
    payload: Callable[[], bytes | Image.Image]

    @property
    def image(self) -> Image.Image:
        """The picture, opened anew; its pixels are decoded when they are used."""
        return as_picture(self.payload())


def as_picture(payload: bytes | Image.Image) -> Image.Image:
    """Open a record's payload."""
    return open_picture(payload) if isinstance(payload, bytes) else payload


class Source(ABC):
    """An indexable sequence of records. What it lists may still turn out unreadable: `scan` finds that out."""

    name: str
    """What to call the source in a message."""
    fields: tuple[str, ...]
    """Names of the fields that its records have."""
    report: Report
    """What was found and left out while listing; `scan` completes it."""

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def __getitem__(self, position: int) -> Record: ...

    @abstractmethod
    def _values(self, field: str) -> list[Any]:
        """Return a field of all records; the field is one of `fields`."""

    def column(self, field: str) -> list[Any]:
        """Return the values of one field, one per record, None where it is missing.

        Raises:
            UserError: there is no such field.
        """
        if field not in self.fields:
            raise UserError(f"{self.name} has no field {field!r}; {_choice(field, self.fields)}")
        return self._values(field)


def _choice(field: str, fields: tuple[str, ...]) -> str:
    if not fields:
        return "it has pictures only: put them in one folder per class, or add a metadata.csv with a column file_name"
    near = get_close_matches(field, fields, n=1)
    return f"its fields are {', '.join(fields)}" + (f" (did you mean {near[0]!r}?)" if near else "")
