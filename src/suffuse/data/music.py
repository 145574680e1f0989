"""Pieces of music: files of MIDI and MusicXML, whole or cut into windows."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from suffuse.data.base import Source
from suffuse.data.notation import SUFFIXES, read_piece
from suffuse.data.report import Report, labels
from suffuse.errors import UserError
from suffuse.music import HOLD, HOLE, Piece

MUSIC = (".mid", ".midi", ".musicxml", ".mxl")
"""Suffixes of files that are music; one that ends in .xml may be."""
_PITCHES = "C C# D D# E F F# G G# A A# B".split()


@dataclass(frozen=True)
class MusicReport(Report):
    """What a source of music holds.

    Args:
        voices: of every piece that is used.
        steps: sixteenth notes of all pieces together.
        longest: sixteenth notes of the longest.
        low: the lowest pitch.
        high: the highest.
        moved: share of the notes that were moved to the nearest sixteenth.
        lost: notes that were too short for a step of their own.
    """

    voices: int = 0
    steps: int = 0
    longest: int = 0
    low: int = 0
    high: int = 0
    moved: float = 0.0
    lost: int = 0

    def facts(self) -> list[str]:
        """Voices, lengths, range, and what the grid cost."""
        lines = [f"  {self.voices} voices, {self.steps:,} sixteenths, {self.longest:,} in the longest piece, from "
                 f"{_pitch(self.low)} to {_pitch(self.high)}"]  # fmt: skip
        if self.moved or self.lost:
            lines.append(f"  {self.moved:.1%} of the notes are moved to the nearest sixteenth; {self.lost}, which are "
                         "shorter, are left out")  # fmt: skip
        return lines


class MusicSource(Source):
    """Pieces of music with as many voices as most of them have; a raw item is a :class:`suffuse.music.Piece`.

    An item is a whole piece, or a window of one that begins with a bar, see :meth:`cut`. Fields are ``metre``, ``key``
    (sharps, flats below 0) and, where there are sub-folders, ``label``.

    Args:
        name: what to call it.
        pieces: them, or their files, which are read when they are asked for.
        folders: label of each piece; None where there are none.
        windows: number of the piece, first step and step after the last of each item; by default whole pieces.
        overlap: how many of the items that follow an item share steps with it.

    Example:
        >>> source = MusicSource("scales", [Piece("up", np.array([[60, 62, 64, 65]], np.uint8), ("flute",))])
        >>> source.scan().voices, source.column("metre")
        (1, ['4/4'])
    """

    kind = "music"

    def __init__(
        self,
        name: str,
        pieces: Sequence[Piece | Path],
        folders: Sequence[str | None] | None = None,
        windows: Sequence[tuple[int, int, int]] | None = None,
        overlap: int = 0,
    ) -> None:
        self.name, self.windows, self.overlap = name, windows, overlap
        self._pieces, self._folders = list(pieces), folders
        self.fields = ("metre", "key", *(() if folders is None else ("label",)))
        self.report = Report(name, len(pieces))
        self._examined: tuple[list[int], list[tuple[str, str]]] | None = None

    def __len__(self) -> int:
        return len(self._pieces if self.windows is None else self.windows)

    def names(self, positions: Sequence[int]) -> list[str]:
        """Of the pieces, and the bar where a window begins."""
        if self.windows is None:
            return [self._name(place) for place in positions]
        chosen = [self.windows[place] for place in positions]
        return [f"{self._name(number)} bar {first // self._piece(number).bar + 1}" for number, first, _ in chosen]

    def raw(self, positions: Sequence[int]) -> list[Any]:
        """Pieces."""
        if self.windows is None:
            return [self._piece(place) for place in positions]
        chosen = [self.windows[place] for place in positions]
        return [self._piece(number).between(first, stop) for number, first, stop in chosen]

    def cut(self, length: int | None, every: int | None = None) -> "MusicSource":
        """Windows of at most so many steps, beginning with bars; the last of a piece reaches beyond its end.

        Where no piece is longer, they are themselves.
        """
        keep, _ = self._examine()
        if length is None or all(self._piece(number).cells.shape[1] <= length for number in keep):
            return self
        windows: list[tuple[int, int, int]] = []
        overlap = 0
        for number in keep:
            piece = self._piece(number)
            steps, bar = piece.cells.shape[1], piece.bar
            stride = max(1, (every or bar) // bar) * bar
            starts = range(0, max(min(steps, steps - length + stride), 1), stride)
            windows += [(number, first, min(first + length, steps)) for first in starts]
            overlap = max(overlap, -(-length // stride) - 1)
        return MusicSource(self.name, self._pieces, self._folders, windows, max(overlap, 1))

    def scan(self, progress: Callable[[int, int], None] | None = None) -> MusicReport:
        """Read every piece.

        Raises:
            UserError: none can be used.
        """
        numbers, left_out = self._examine(progress)
        if not numbers:
            why = f": {left_out[0][0]} {left_out[0][1]}" if left_out else ""
            raise UserError(f"no piece of {self.name} can be used{why}")
        pieces = [self._piece(number) for number in numbers]
        used = set(numbers)
        keep = [place for place in range(len(self)) if self.windows is not None or place in used]
        pitches = np.concatenate([piece.cells[piece.cells < HOLD] for piece in pieces])
        counts = np.array([(piece.cells < HOLD).sum() for piece in pieces])
        return MusicReport(
            self.name,
            len(self),
            left_out,
            kept=len(keep),
            keep=keep,
            labels=labels([] if self._folders is None else [self._folders[number] for number in numbers]),
            voices=len(pieces[0].cells),
            steps=sum(piece.cells.shape[1] for piece in pieces),
            longest=max(piece.cells.shape[1] for piece in pieces),
            low=int(pitches.min()),
            high=int(pitches.max()),
            moved=float((np.array([piece.moved for piece in pieces]) * counts).sum() / counts.sum()),
            lost=sum(piece.lost for piece in pieces),
        )

    def _examine(self, progress: Callable[[int, int], None] | None = None) -> tuple[list[int], list[tuple[str, str]]]:
        """Numbers of the pieces that can be used, and names of all others and why they cannot."""
        if self._examined is None:
            left_out: list[tuple[str, str]] = []
            voices: dict[int, int] = {}
            for number in range(len(self._pieces)):
                try:
                    piece = self._piece(number)
                    if (piece.cells == HOLE).any():
                        left_out.append((self._name(number), "has a voice without notes, or notes that are asked for"))
                    else:
                        voices[number] = len(piece.cells)
                except UserError as error:
                    left_out.append((self._name(number), str(error).removeprefix(f"{self._pieces[number]} ")))
                if progress:
                    progress(number + 1, len(self._pieces))
            common = Counter(voices.values()).most_common(1)[0][0] if voices else 0
            left_out += [(self._name(number), f"has {count} voices, and most have {common}")
                         for number, count in voices.items() if count != common]  # fmt: skip
            self._examined = [number for number, count in voices.items() if count == common], left_out
        return self._examined

    def _piece(self, number: int) -> Piece:
        piece = self._pieces[number]
        if isinstance(piece, Path):
            piece = self._pieces[number] = read_piece(piece)
        return piece

    def _name(self, number: int) -> str:
        return self._pieces[number].name

    def _values(self, field: str) -> list[Any]:
        numbers = range(len(self)) if self.windows is None else [number for number, _, _ in self.windows]
        if field == "label":
            assert self._folders is not None
            return [self._folders[number] for number in numbers]
        usable = set(self._examine()[0])
        pieces = [self._piece(number) if number in usable else None for number in numbers]
        if field == "key":
            return [None if piece is None else piece.key for piece in pieces]
        return [None if piece is None else "{}/{}".format(*piece.metre) for piece in pieces]


def open_music(path: Path) -> MusicSource:
    """A file of music, or all in a folder, whose sub-folders are labels.

    Raises:
        UserError: there are none.
    """
    if path.is_file():
        return MusicSource(str(path), [path])
    files = sorted(each for each in path.rglob("*") if each.suffix.lower() in SUFFIXES and each.is_file())
    if not files:
        raise UserError(f"there is no music in {path}; give files that end in one of {', '.join(SUFFIXES)}")
    tops = [file.relative_to(path).parts[:-1] for file in files]
    return MusicSource(str(path), files, [parts[0] if parts else None for parts in tops] if any(tops) else None)


def _pitch(number: int) -> str:
    """Its name, C4 being in the middle."""
    return f"{_PITCHES[number % 12]}{number // 12 - 1}"
