"""Pieces of music as tokens on a grid of voices and time."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import permutations
from typing import Any, ClassVar, Self, cast

import numpy as np
import torch
from torch import Tensor

from suffuse.codecs.base import JSON, Codec
from suffuse.errors import UserError
from suffuse.music import HOLD, HOLE, REST, Piece, normal, written
from suffuse.rng import Streams
from suffuse.tree import State

END, SILENT, PITCHES = 0, 1, 2
"""The lowest pitch begins with PITCHES and goes on with the next token; from a pitch to that above it is two tokens."""
_PART = 4
"""One step in so many of a window is what was before a hole, and, where that is short enough, another what is after."""


class MusicCodec(Codec):
    """Pieces to states of V voices by L sixteenth notes, (B, V, L) int64, and back.

    A token says that the piece is over, that nothing sounds, or which pitch begins or goes on: any step of a note tells
    its pitch, whatever else is hidden. The length is part of what is drawn: a shorter piece is followed by tokens of
    its end. Pitches outside the range of the codec are taken by octaves into it. ``decode(encode(piece))`` has the same
    cells, where the pitches are in the range, it is no longer than L, and it holds no note on before one begins. What
    goes on at a pitch that did not sound before begins there.

    A piece of which voices are missing is one with holes: what is there is taken for the voices of the same names, or
    else, by their register, for those that are nearest. A hole may also be anywhere in a voice.

    Args:
        voices: names of the voices.
        length: L.
        low: the lowest pitch.
        high: the highest.
        centres: mean pitch of each voice.
        tempo: of what is drawn, in quarter notes per minute.
        metre: of what is drawn.

    Example:
        >>> codec = MusicCodec(("a", "b"), 4, 48, 72, (70.0, 50.0))
        >>> piece = Piece("", np.array([[72, HOLD, REST], [48, 49, 50]], np.uint8), ("a", "b"))
        >>> codec.encode([piece])
        tensor([[[50, 51,  1,  0],
                 [ 2,  4,  6,  0]]])
        >>> bool((codec.decode(codec.encode([piece]))[0].cells == piece.cells).all())
        True
    """

    kind: ClassVar[str] = "music"

    def __init__(
        self,
        voices: Sequence[str],
        length: int,
        low: int,
        high: int,
        centres: Sequence[float],
        tempo: float = 96.0,
        metre: tuple[int, int] = (4, 4),
    ) -> None:
        self.voices, self.length, self.centres = tuple(voices), length, tuple(centres)
        self.low, self.high, self.tempo, self.metre = low, high, tempo, metre

    @classmethod
    def fit(cls, pieces: Sequence[Piece], length: int, margin: int = 0) -> Self:
        """The codec of some pieces of the same number of voices.

        Args:
            pieces: that it is fitted to.
            length: L.
            margin: semitones that the range is wider than theirs, on both sides.
        """
        rows = [np.concatenate([row[row < HOLD] for row in voice]) for voice in zip(*(p.cells for p in pieces),
                                                                                      strict=True)]  # fmt: skip
        every = np.concatenate(rows)
        low, high = max(0, int(every.min()) - margin), min(HOLD - 1, int(every.max()) + margin)
        centres = [round(float(row.mean()), 2) for row in rows]
        metre = Counter(each.metre for each in pieces).most_common(1)[0][0]
        tempo = round(float(np.median([each.tempo for each in pieces])), 2)
        return cls(pieces[0].voices, length, low, high, centres, tempo, metre)

    @property
    def shape(self) -> tuple[int, int]:
        """(V, L)."""
        return (len(self.voices), self.length)

    @property
    def steps(self) -> int:
        """L."""
        return self.length

    @property
    def vocabulary(self) -> int:
        """Number of different tokens."""
        return PITCHES + 2 * (self.high - self.low + 1)

    def pack(self, raw: Sequence[Any]) -> Tensor:
        """Return the tokens of each item, (B, V, L) int16; holes are rests, and what is beyond L is left out.

        Raises:
            UserError: a piece has another number of voices.
        """
        packed = torch.zeros((len(raw), *self.shape), dtype=torch.int16)
        for row, piece in zip(packed, raw, strict=True):
            if len(piece.cells) != len(self.voices):
                raise UserError(f"{piece.name} has {len(piece.cells)} voices, and the model is of {len(self.voices)}")
            tokens = self._tokens(piece)[:, : self.length]
            row[:, : tokens.shape[1]] = torch.from_numpy(tokens)
        return packed

    def unpack(self, packed: State, rng: Streams | None = None) -> Tensor:
        """Return the tokens, int64."""
        del rng
        return cast(Tensor, packed).long()

    def decode(self, state: State) -> list[Any]:
        """Return pieces that are as long as their last voice."""
        return [self._piece(tokens) for tokens in cast(Tensor, state).cpu().numpy()]

    def _tokens(self, piece: Piece) -> np.ndarray:
        pitches = piece.sounding()
        octaves = np.ceil((self.low - pitches).clip(0) / 12) - np.ceil((pitches - self.high).clip(0) / 12)
        above = (pitches + 12 * octaves.astype(np.int64)).clip(self.low, self.high) - self.low
        return np.where(pitches < 0, SILENT, PITCHES + 2 * above + (piece.cells == HOLD)).astype(np.int16)

    def _piece(self, tokens: np.ndarray) -> Piece:
        last = np.flatnonzero((tokens != END).any(0))
        tokens = tokens[:, : last[-1] + 1] if len(last) else tokens[:, :1]
        above, goes_on = np.divmod(tokens - PITCHES, 2)
        cells = written(np.where(tokens < PITCHES, -1, above + self.low), goes_on == 0)
        return Piece("drawn", cells, self.voices, self.metre, 0, self.tempo)

    def partial(self, raw: Sequence[Any]) -> tuple[State, State]:
        """Holes are what is asked for; where a piece ends is known."""
        holes = torch.zeros((len(raw), *self.shape), dtype=torch.bool)
        for row, piece in zip(holes, raw, strict=True):
            row[:, : piece.cells.shape[1]] = torch.from_numpy(piece.cells[:, : self.length] == HOLE)
        return self.encode(raw), ~holes

    def hollowed(self, raw: Any, start: float, stop: float) -> Any:
        """See the base class; in bars."""
        first, last = (round(bar * raw.bar) for bar in (start, stop))
        if first > raw.cells.shape[1] or last <= first:
            bars = raw.cells.shape[1] / raw.bar
            raise UserError(f"{raw.name} has {bars:g} bars, and no hole from {start:g} to {stop:g} can be in it")
        return raw.without(first, last)

    def put_back(self, raw: Any, item: Any) -> Any:
        """What is given, to the note: a note before a hole is not made longer, but begins anew in it."""
        cells = np.full_like(raw.cells, REST)
        cells[:, : item.cells.shape[1]] = item.cells[:, : cells.shape[1]]
        holes = raw.cells == HOLE
        filled = np.where(holes, cells, raw.cells)
        begins = holes & ~np.pad(holes, ((0, 0), (1, 0)))[:, :-1] & (filled == HOLD)
        for voice, step in zip(*np.nonzero(begins), strict=True):
            before = replace(raw, cells=normal(filled[:, : step + 1])).sounding()[voice, -1]
            filled[voice, step] = REST if before < 0 else before
        return replace(raw, cells=normal(filled))

    def in_place_of(self, raw: Any, item: Any) -> Any:
        """With its name, metre, key and tempo."""
        return replace(item, name=raw.name, metre=raw.metre, key=raw.key, tempo=raw.tempo)

    def unfinished(self, raw: Any) -> bool:
        """Whether a voice is missing, or there is a hole."""
        return len(raw.cells) < len(self.voices) or bool((raw.cells == HOLE).any())

    def part(self, raw: Any) -> Any:
        """The window that is filled next: the first hole, and what is before it, beginning with a bar."""
        whole = self._seated(raw)
        first, stop = self._window(whole)
        return whole.between(first, stop)

    def rejoin(self, raw: Any, part: Any) -> Any:
        """The piece with the holes of its window filled."""
        whole = self._seated(raw)
        first, stop = self._window(whole)
        cells = whole.cells.copy()
        window = cells[:, first:stop]
        cells[:, first:stop] = np.where(window == HOLE, part.cells, window)
        return replace(whole, cells=cells)

    def _window(self, whole: Piece) -> tuple[int, int]:
        holes, steps = (whole.cells == HOLE).any(0), whole.cells.shape[1]
        if steps <= self.length or not holes.any():
            return 0, min(steps, self.length)
        first = int(holes.argmax())
        after = np.flatnonzero(~holes[first:])
        size = int(after[0]) if len(after) else steps - first
        part = self.length // _PART
        past = max(self.length - size - part, part)
        last = -(-(steps - self.length) // whole.bar) * whole.bar  # a window from there reaches the end
        begin = min(max(0, first - past) // whole.bar * whole.bar, last)
        begin = begin if begin + self.length > first else first  # of bars that are longer than a window
        return begin, min(begin + self.length, steps)

    def _seated(self, raw: Piece) -> Piece:
        """With all the voices of the model: those that the piece does not have are holes."""
        count = len(raw.cells)
        if count == len(self.voices):
            return raw
        if count > len(self.voices):
            raise UserError(f"{raw.name} has {count} voices, and the model is of {len(self.voices)}; leave some out")
        seats = self._seats(raw)
        cells = np.full((len(self.voices), raw.cells.shape[1]), HOLE, np.uint8)
        cells[list(seats)] = raw.cells
        names = list(self.voices)
        for seat, name in zip(seats, raw.voices, strict=True):
            names[seat] = name
        return replace(raw, cells=cells, voices=tuple(names))

    def _seats(self, raw: Piece) -> tuple[int, ...]:
        """Which voice of the model each voice of a piece is."""
        own = [name.casefold() for name in self.voices]
        told = [name.casefold() for name in raw.voices]
        if len(set(told)) == len(told) and set(told) <= set(own):
            return tuple(own.index(name) for name in told)
        centres = [float(row[row < HOLD].mean()) if (row < HOLD).any() else 60.0 for row in raw.cells]

        def apart(seats: tuple[int, ...]) -> float:
            return sum(abs(self.centres[seat] - centre) for seat, centre in zip(seats, centres, strict=True))

        return min(permutations(range(len(own)), len(centres)), key=apart)

    def tells(self, raw: Any) -> dict[str, Any]:
        """Metre and key."""
        return {"metre": "{}/{}".format(*raw.metre), "key": raw.key}

    def config(self) -> dict[str, JSON]:
        """Return voices, length, range, centres, tempo and metre."""
        return {
            "voices": list(self.voices),
            "length": self.length,
            "low": self.low,
            "high": self.high,
            "centres": list(self.centres),
            "tempo": self.tempo,
            "metre": list(self.metre),
        }

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        """Rebuild the codec that `config` described."""
        metre = (config["metre"][0], config["metre"][1])
        low, high = config["low"], config["high"]
        return cls(config["voices"], config["length"], low, high, config["centres"], config["tempo"], metre)
