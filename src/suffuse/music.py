"""Music as notes on a grid of voices and sixteenth notes."""

from dataclasses import dataclass, replace
from typing import Self

import numpy as np

from suffuse.errors import UserError

HOLD, REST, HOLE = 128, 129, 130
"""Cells beside those of pitches: a note goes on, nothing sounds, and what is to be written is not known."""
STEPS = 4
"""Steps of a quarter note."""


@dataclass(frozen=True, eq=False)
class Piece:
    """A piece of music, which begins with a bar; what is before an upbeat is rests.

    Args:
        name: what to call it.
        cells: (V, T) uint8: voices by sixteenth notes. A cell is the MIDI pitch, 0 to 127, of a note
            that begins there, or HOLD, REST or HOLE.
        voices: their names.
        metre: beats of a bar, and what part of a whole note a beat is.
        key: sharps of the key signature, flats below 0.
        tempo: quarter notes per minute.
        moved: share of its notes that began between two steps.
        lost: notes that were too short for a step of their own.

    Example:
        >>> piece = Piece("two notes", np.array([[60, HOLD, 62, REST]], np.uint8), ("flute",))
        >>> piece.notes()
        [(0, 0, 2, 60), (0, 2, 3, 62)]
    """

    name: str
    cells: np.ndarray
    voices: tuple[str, ...]
    metre: tuple[int, int] = (4, 4)
    key: int = 0
    tempo: float = 96.0
    moved: float = 0.0
    lost: int = 0

    @property
    def bar(self) -> int:
        """Steps of a bar, at least one."""
        beats, part = self.metre
        return max(1, 4 * STEPS * beats // part)

    def notes(self) -> list[tuple[int, int, int, int]]:
        """Voice, first step, step after the last, and pitch of each note, in the order of voices and time."""
        found: list[tuple[int, int, int, int]] = []
        for voice, row in enumerate(self.cells.tolist()):
            for start in np.flatnonzero(self.cells[voice] < HOLD).tolist():
                stop = start + 1
                while stop < len(row) and row[stop] == HOLD:
                    stop += 1
                found.append((voice, start, stop, row[start]))
        return found

    def sounding(self) -> np.ndarray:
        """(V, T) int64: the pitch that sounds at each step, -1 where none does."""
        return _sounding(self.cells)

    def between(self, first: int, stop: int) -> Self:
        """The steps from one to before another; notes that sound already begin anew."""
        return replace(self, cells=_begun(self.cells[:, first:stop], _sounding(self.cells[:, : first + 1])[:, -1]))

    def without(self, first: int, stop: int) -> Self:
        """With a hole between two steps, which may lie beyond its end; a note that goes on behind it begins anew."""
        longer = np.full((len(self.cells), max(0, stop - self.cells.shape[1])), REST, np.uint8)
        before = self.between(0, first).cells
        after = self.between(stop, self.cells.shape[1]).cells if stop < self.cells.shape[1] else longer[:, :0]
        hole = np.full((len(self.cells), stop - first), HOLE, np.uint8)
        return replace(self, cells=np.concatenate([before, longer[:, : first - before.shape[1]], hole, after], 1))

    def moved_by(self, semitones: int) -> Self:
        """All of it higher or lower; its key signature stays."""
        cells = self.cells.astype(np.int64)
        higher = np.where(cells < HOLD, cells + semitones, cells)
        if ((cells < HOLD) & ((higher < 0) | (higher >= HOLD))).any():
            raise UserError(f"{self.name} moved by {semitones} semitones leaves what MIDI has of pitches")
        return replace(self, cells=higher.astype(np.uint8))


def normal(cells: np.ndarray) -> np.ndarray:
    """Cells without HOLD where no note is: there nothing sounds.

    Example:
        >>> normal(np.array([[HOLD, 60, HOLD, REST, HOLD]], np.uint8)).tolist() == [[REST, 60, HOLD, REST, REST]]
        True
    """
    return np.where((cells == HOLD) & (_sounding(cells) < 0), np.uint8(REST), cells)


def written(pitches: np.ndarray, begins: np.ndarray) -> np.ndarray:
    """Cells of what sounds at each step, (V, T), -1 where nothing does: a note begins where that is said or it changes.

    Example:
        >>> pitches = np.array([[60, 60, 62, 62, -1]])
        >>> written(pitches, np.array([[True, False, False, True, True]])).tolist() == [[60, HOLD, 62, 62, REST]]
        True
    """
    before = np.pad(pitches, ((0, 0), (1, 0)), constant_values=-1)[:, :-1]
    goes_on = ~begins & (pitches == before)
    return np.select([pitches < 0, goes_on], [REST, HOLD], pitches).astype(np.uint8)


def _sounding(cells: np.ndarray) -> np.ndarray:
    places = np.arange(cells.shape[1])
    last = np.maximum.accumulate(np.where(cells == HOLD, -1, places), 1)
    held = np.take_along_axis(cells, last.clip(0), 1).astype(np.int64) if cells.size else cells.astype(np.int64)
    return np.where((last >= 0) & (held < HOLD), held, -1)


def _begun(cells: np.ndarray, pitches: np.ndarray) -> np.ndarray:
    """Cells of which the first are notes of these pitches, where they go on; REST where there are none."""
    cells = cells.copy()
    if cells.shape[1]:
        first = np.where(pitches < 0, REST, pitches).astype(np.uint8)
        cells[:, 0] = np.where(cells[:, 0] == HOLD, first, cells[:, 0])
    return cells
