"""Recordings, of sound or of pictures that move: whole, or cut to windows."""

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, Generic, Protocol, TypeVar

import numpy as np

from suffuse.data.base import Source
from suffuse.data.report import Report, in_order, labels, workers
from suffuse.errors import UserError


class Named(Protocol):
    """What has a name."""

    name: str


Recording = TypeVar("Recording", bound=Named)
Seen = TypeVar("Seen")


class Recordings(Source, Generic[Recording, Seen]):
    """Recordings; a raw item is one of them, whole and of its own rate, or a window of `cut`.

    Args:
        name: what to call it.
        recordings: each with a name.
        fields: a value for each of them, by the field's name.
        report: what was found while listing.
        windows: number of the recording, where it begins and how long it is, for each item; by default all of each.
        overlap: how many of the items that follow an item share parts with it.
    """

    plural: ClassVar[str]
    """What a message calls several."""

    def __init__(
        self,
        name: str,
        recordings: Sequence[Recording],
        fields: Mapping[str, list[Any]] | None = None,
        report: Report | None = None,
        windows: np.ndarray | None = None,
        overlap: int = 0,
    ) -> None:
        self.name, self.recordings, self._columns = name, list(recordings), dict(fields or {})
        self.fields, self.windows, self.overlap = tuple(self._columns), windows, overlap
        self.report = report or Report(name, len(self.recordings))

    def __len__(self) -> int:
        return len(self.recordings) if self.windows is None else len(self.windows)

    def names(self, positions: Sequence[int]) -> list[str]:
        """Paths within the source, and where a window begins."""
        return [self.name_of(position) for position in positions]

    def name_of(self, position: int) -> str:
        """That of one item."""
        if self.windows is None:
            return self.recordings[position].name
        number, first, _ = self.windows[position].tolist()
        return f"{self.recordings[number].name} from {self.beginning(self.recordings[number], first)}"

    @abstractmethod
    def beginning(self, recording: Recording, first: int) -> str:
        """Where a window begins, as a person says it."""

    def scan(self, progress: Callable[[int, int], None] | None = None) -> Report:
        """Look at each recording once, from end to end; of windows there is nothing new."""
        left_out = list(self.report.left_out)
        if self.windows is not None:
            found = len(self) + len(left_out)
            return Report(self.name, found, left_out, self.report.notes, len(self), range(len(self)))
        seen: dict[int, Seen] = {}
        for position, result in enumerate(in_order(self.look, self.recordings, workers())):
            if isinstance(result, str):
                left_out.append((self.recordings[position].name, result))
            else:
                seen[position] = result
            if progress:
                progress(position + 1, len(self))
        if not seen:
            raise UserError(f"none of the {len(self)} {self.plural} of {self.name} can be used; {left_out[-1][0]}, for "
                            f"one: {left_out[-1][1]}")  # fmt: skip
        columns = {name: [column[position] for position in seen] for name, column in self._columns.items()}
        common = Report(
            self.name,
            self.report.found,
            left_out,
            self.report.notes,
            kept=len(seen),
            keep=list(seen),
            labels=labels(columns.get("label", [])),
            fields={name: sum(value is not None for value in values) for name, values in columns.items()},
        )
        return self.reported(common, list(seen.values()))

    @staticmethod
    @abstractmethod
    def look(recording: Recording) -> Seen | str:
        """What a recording is like, or why it cannot be used."""

    @abstractmethod
    def reported(self, common: Report, seen: list[Seen]) -> Report:
        """The report of a scan: what is common to all recordings, and what is special to these."""

    def _values(self, field: str) -> list[Any]:
        return self._columns[field]


def reason(error: Exception, kind: str) -> str:
    """Why a file cannot be read, in a few words."""
    match error:
        case PermissionError():
            return "no permission to read it"
        case FileNotFoundError():
            return "no such file"
        case _:
            return f"not a {kind}, or damaged from its beginning"
