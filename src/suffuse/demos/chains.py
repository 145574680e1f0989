"""Markov chains of music: what counting alone can compose and harmonise."""

from collections import Counter, defaultdict
from collections.abc import Hashable, Sequence
from dataclasses import replace
from typing import Generic, TypeVar

import numpy as np

from suffuse.music import HOLD, REST, STEPS, Piece, normal, written

ORDER = 3
Symbol = TypeVar("Symbol", bound=Hashable)


class Chain(Generic[Symbol]):
    """Each symbol by the three before it, with the odds that it had in some sequences.

    Args:
        sequences: that are counted.
    """

    def __init__(self, sequences: Sequence[Sequence[Symbol]]) -> None:
        counts: defaultdict[tuple[Symbol | None, ...], Counter[Symbol | None]] = defaultdict(Counter)
        for each in sequences:
            padded = [*[None] * ORDER, *each, None]
            for end in range(ORDER, len(padded)):
                counts[tuple(padded[end - ORDER : end])][padded[end]] += 1
        self._seen = {context: (list(seen), np.cumsum([*seen.values()])) for context, seen in counts.items()}

    def after(self, before: Sequence[Symbol], rng: np.random.Generator) -> Symbol | None:
        """A symbol that comes after those of a sequence; None for its end."""
        values, counts = self._seen[tuple([*[None] * ORDER, *before[-ORDER:]][-ORDER:])]
        return values[int(np.searchsorted(counts, rng.random() * counts[-1], side="right"))]


def of_notes(known: Sequence[Piece], lengths: Sequence[int], rng: np.random.Generator) -> list[Piece]:
    """Pieces whose voices are chains of their own, of pitches with their lengths."""
    voices = range(len(known[0].cells))
    chains = [Chain([_runs(piece, voice) for piece in known]) for voice in voices]

    def row(voice: int, length: int) -> np.ndarray:
        cells, before = list[int](), list[tuple[int, int]]()
        while len(cells) < length:
            note = chains[voice].after(before, rng)
            if note is None:
                before = []
                continue
            before.append(note)
            cells += [note[0]] + [REST if note[0] == REST else HOLD] * (note[1] - 1)
        return np.array(cells[:length], np.uint8)

    return [replace(known[0], name="chain", cells=np.stack([row(voice, each) for voice in voices])) for each in lengths]


def _runs(piece: Piece, voice: int) -> list[tuple[int, int]]:
    """Pitch and length of each note, and of each rest in between."""
    row, runs = piece.cells[voice].tolist(), list[tuple[int, int]]()
    for cell in row:
        if runs and (cell == HOLD or cell == runs[-1][0] == REST):
            runs[-1] = (runs[-1][0], runs[-1][1] + 1)
        else:
            runs.append((cell, 1))
    return runs


def of_tokens(known: Sequence[Piece], lengths: Sequence[int], rng: np.random.Generator) -> list[Piece]:
    """Pieces that are one chain of the model's tokens: step by step, and in each the voices one after the other.

    A token is the pitch that sounds, below 0 where none does, and whether it begins.
    """
    voices = len(known[0].cells)
    rows = [(2 * piece.sounding() + (piece.cells < HOLD)).T.flatten().tolist() for piece in known]
    chain = Chain([[(place % voices, token) for place, token in enumerate(row)] for row in rows])

    def one(length: int) -> np.ndarray:
        cells, before = list[int](), list[tuple[int, int]]()
        while len(cells) < length * voices:
            token = chain.after(before, rng)
            if token is None:
                before = []
                continue
            before = [*before[1 - ORDER :], token]
            cells.append(token[1])
        pitches, begins = np.divmod(np.array(cells).reshape(length, voices).T, 2)
        return written(pitches, begins == 1)

    return [replace(known[0], name="chain", cells=one(each)) for each in lengths]


def of_beats(known: Sequence[Piece], lengths: Sequence[int], rng: np.random.Generator) -> list[Piece]:
    """Pieces that are one chain of quarters, each of all voices at once: it can do little but copy."""

    def beats(piece: Piece) -> list[bytes]:
        cells = piece.cells[:, : piece.cells.shape[1] // STEPS * STEPS]
        return [np.ascontiguousarray(each).tobytes() for each in np.split(cells, cells.shape[1] // STEPS, 1)]

    chain, voices = Chain([beats(piece) for piece in known]), len(known[0].cells)

    def one(length: int) -> np.ndarray:
        found, before = list[bytes](), list[bytes]()
        while len(found) * STEPS < length:
            beat = chain.after(before, rng)
            if beat is None:
                before = []
                continue
            before.append(beat)
            found.append(beat)
        parts = [np.frombuffer(beat, np.uint8).reshape(voices, STEPS) for beat in found]
        return normal(np.concatenate(parts, 1)[:, :length])

    return [replace(known[0], name="chain", cells=one(each)) for each in lengths]


def looked_up(known: Sequence[Piece], pieces: Sequence[Piece], voice: int) -> list[np.ndarray]:
    """Pitches of a voice at each step, (T,) of each piece: the commonest beside those of the other voices.

    Where these have never sounded together it goes on as before.
    """
    seen: defaultdict[tuple[int, ...], Counter[int]] = defaultdict(Counter)
    for piece in known:
        for column in piece.sounding().T.tolist():
            seen[(*column[:voice], *column[voice + 1 :])][column[voice]] += 1
    answers: list[np.ndarray] = []
    for piece in pieces:
        row = [-1]
        for column in piece.sounding().T.tolist():
            others = (*column[:voice], *column[voice + 1 :])
            row.append(seen[others].most_common(1)[0][0] if others in seen else row[-1])
        answers.append(np.array(row[1:]))
    return answers
