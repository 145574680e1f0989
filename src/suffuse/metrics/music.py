"""What music is made of: steps of each voice, pitch classes, how voices are spaced, and chords; and what is copied.

Source of the idea of comparing such counts: "On the evaluation of generative models in music" (Yang, Lerch, 2020).
"""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from suffuse.music import STEPS, Piece

_OCTAVE = 12
_WIDEST = 24


def intervals(pieces: Sequence[Piece]) -> np.ndarray:
    """(N, 27): how often each interval is between neighbouring notes of a voice: up to an octave down or up, or more.

    Example:
        >>> scale = Piece("", np.array([[60, 62, 64, 65]], np.uint8), ("flute",))
        >>> np.flatnonzero(intervals([scale])[0]) - 13
        array([1, 2])
    """
    counts = np.zeros((len(pieces), 2 * _OCTAVE + 3))
    for row, piece in zip(counts, pieces, strict=True):
        for voice in piece.cells:
            steps = np.diff(voice[voice < 128].astype(int)).clip(-_OCTAVE - 1, _OCTAVE + 1)
            row += np.bincount(steps + _OCTAVE + 1, minlength=len(row))
    return counts


def pitch_classes(pieces: Sequence[Piece]) -> np.ndarray:
    """(N, 12): how long each pitch class sounds, from C on."""
    sounding = [piece.sounding() for piece in pieces]
    return np.stack([np.bincount(each[each >= 0] % _OCTAVE, minlength=_OCTAVE) for each in sounding]).astype(float)


def spacings(pieces: Sequence[Piece]) -> np.ndarray:
    """(N, (V - 1) 38): how long each distance, from -12 to 24 or more, is between each voice and the next lower one.

    Of a single voice there is none, and the distance to itself is taken.
    """
    return np.stack([_spaced(piece.sounding()) for piece in pieces])


def _spaced(sounding: np.ndarray) -> np.ndarray:
    pairs = [*pairwise(sounding)] or [(sounding[0], sounding[0])]
    rows: list[np.ndarray] = []
    for upper, lower in pairs:
        apart = (upper - lower)[(upper >= 0) & (lower >= 0)].clip(-_OCTAVE, _WIDEST + 1)
        rows.append(np.bincount(apart + _OCTAVE, minlength=_OCTAVE + _WIDEST + 2))
    return np.concatenate(rows).astype(float)


def chords(pieces: Sequence[Piece]) -> np.ndarray:
    """(N, 4096): how often each set of pitch classes sounds on a quarter."""
    counts = np.zeros((len(pieces), 2**_OCTAVE))
    for row, piece in zip(counts, pieces, strict=True):
        row += np.bincount(_sets(piece), minlength=len(row))
    return counts


def _sets(piece: Piece) -> np.ndarray:
    """(Q,): the set of pitch classes on each quarter, as bits."""
    sounding = piece.sounding()[:, ::STEPS]
    bits = np.where(sounding < 0, 0, 1 << (sounding.clip(0) % _OCTAVE))
    return np.bitwise_or.reduce(bits, 0)


HISTOGRAMS = {"intervals": intervals, "pitch classes": pitch_classes, "spacing of voices": spacings, "chords": chords}
"""Counts of each piece, by what is counted."""


def copied(pieces: Sequence[Piece], known: Sequence[Piece], quarters: int = 8) -> np.ndarray:
    """(N,): share of the runs of so many quarters in each piece whose pitches on the quarters are all in known ones.

    Example:
        >>> piece = Piece("", np.array([range(60, 100)], np.uint8), ("flute",))
        >>> copied([piece], [piece]), copied([piece], [piece.moved_by(1)])
        (array([1.]), array([0.]))
    """
    found = {run for piece in known for run in _runs(piece, quarters)}
    shares: list[float] = []
    for piece in pieces:
        runs = _runs(piece, quarters)
        shares.append(sum(run in found for run in runs) / max(1, len(runs)))
    return np.array(shares)


def _runs(piece: Piece, quarters: int) -> list[bytes]:
    pitches = np.ascontiguousarray(piece.sounding()[:, ::STEPS].astype(np.int16).T)
    return [pitches[at : at + quarters].tobytes() for at in range(len(pitches) - quarters + 1)]
