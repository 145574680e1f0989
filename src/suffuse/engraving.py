"""Pieces of music as files, as sound, and as pictures."""

import io
import wave
import zipfile
from collections.abc import Sequence
from fractions import Fraction
from importlib.util import find_spec
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from suffuse.errors import UserError
from suffuse.music import STEPS, Piece

_RATE = 22050
_PARTIALS = (1.0, 0.5, 0.3, 0.15, 0.1, 0.05)
_COLOURS = ((214, 69, 65), (38, 132, 60), (43, 92, 190), (140, 70, 160), (200, 130, 20), (20, 140, 150), (90, 90, 90),
            (160, 60, 100))  # fmt: skip


def piano_roll(pieces: Sequence[Piece], step: int = 4, key: int = 3, gap: int = 10) -> Image.Image:
    """Notes as bars, one piece below the other: a colour for each voice, lines for bars, light bands for naturals.

    Args:
        pieces: at least one.
        step: pixels of a sixteenth note.
        key: pixels of a semitone.
        gap: pixels between pieces.
    """
    pitches = [note[3] for piece in pieces for note in piece.notes()] or [60]
    low, high = min(pitches) - 2, max(pitches) + 2
    height, width = (high - low + 1) * key, max(piece.cells.shape[1] for piece in pieces) * step
    page = Image.new("RGB", (width + 2 * gap, len(pieces) * (height + gap) + gap), (255, 255, 255))
    draw = ImageDraw.Draw(page)
    for number, piece in enumerate(pieces):
        top, length = gap + number * (height + gap), piece.cells.shape[1]
        for pitch in range(low, high + 1):
            line = top + (high - pitch) * key
            natural = pitch % 12 in (0, 2, 4, 5, 7, 9, 11)
            draw.rectangle((gap, line, gap + length * step - 1, line + key - 1), (244, 244, 244) if natural
                           else (230, 230, 230))  # fmt: skip
        for bar in range(0, length + 1, piece.bar):
            draw.line((gap + bar * step, top, gap + bar * step, top + height - 1), (190, 190, 190))
        for voice, start, stop, pitch in piece.notes():
            line = top + (high - pitch) * key
            box = (gap + start * step, line, gap + stop * step - 2, line + key - 1)
            draw.rectangle(box, _COLOURS[voice % len(_COLOURS)])
    return page


def waveform(piece: Piece) -> np.ndarray:
    """What it sounds like on plain organ pipes, (N,) float32 in [-1, 1], at 22050 values a second.

    Each note is a sum of its first overtones that fades in and out.
    """
    step = 60 / piece.tempo / STEPS * _RATE
    sound = np.zeros(int(piece.cells.shape[1] * step) + _RATE // 2)
    for _, start, stop, pitch in piece.notes():
        time = np.arange(int((stop - start) * step)) / _RATE
        frequency = 440 * 2 ** ((pitch - 69) / 12)
        tone = sum(part * np.sin(2 * np.pi * frequency * n * time) for n, part in enumerate(_PARTIALS, 1)
                   if frequency * n < _RATE / 2)  # fmt: skip
        edge = np.minimum(time / 0.015, (time[-1] - time) / 0.04).clip(0, 1) * np.exp(-0.6 * time)
        first = int(start * step)
        sound[first : first + len(time)] += tone * edge
    return (sound / max(1e-9, np.abs(sound).max()) * 0.9).astype(np.float32)


def wav(piece: Piece) -> bytes:
    """A sound file of it, 16 bits, one channel."""
    file = io.BytesIO()
    with wave.open(file, "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(2)
        sound.setframerate(_RATE)
        sound.writeframes((waveform(piece) * 32767).astype("<i2").tobytes())
    return file.getvalue()


def midi(piece: Piece) -> bytes:
    """A MIDI file of it, with a track for each voice."""
    from music21.midi import translate

    return translate.streamToMidiFile(_score(piece)).writestr()


def musicxml(piece: Piece) -> bytes:
    """A MusicXML file of it, with a part for each voice."""
    from music21.musicxml.m21ToXml import GeneralObjectExporter

    return GeneralObjectExporter(_score(piece)).parse()


def mxl(piece: Piece) -> bytes:
    """The same, compressed."""
    container = ('<?xml version="1.0" encoding="UTF-8"?><container><rootfiles><rootfile full-path="score.musicxml" '
                 'media-type="application/vnd.recordare.musicxml+xml"/></rootfiles></container>')  # fmt: skip
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("META-INF/container.xml", container)
        archive.writestr("score.musicxml", musicxml(piece))
    return file.getvalue()


FORMS = {".mid": midi, ".midi": midi, ".musicxml": musicxml, ".xml": musicxml, ".mxl": mxl, ".wav": wav}
"""How to write a piece, by the suffix of the file."""


def _score(piece: Piece) -> Any:
    """A score of music21."""
    check_music21()
    from music21 import clef, instrument, key, metadata, meter, note, stream, tempo

    score = stream.Score()
    score.metadata = metadata.Metadata(title=piece.name)
    notes = piece.notes()
    for voice, name in enumerate(piece.voices):
        part, own = stream.Part(id=name), [each for each in notes if each[0] == voice]
        part.partName = name
        sound = instrument.Instrument(name)
        sound.midiProgram, sound.midiChannel = 19, voice + (voice >= 9)  # organ; the tenth channel is drums
        part.insert(0, sound)
        part.insert(0, meter.TimeSignature(f"{piece.metre[0]}/{piece.metre[1]}"))
        part.insert(0, key.KeySignature(piece.key))
        if voice == 0:
            part.insert(0, tempo.MetronomeMark(number=round(piece.tempo, 3)))
        if own and np.mean([pitch for *_, pitch in own]) < 58:
            part.insert(0, clef.BassClef())
        at = 0
        for _, start, stop, pitch in own:
            if start > at:
                part.insert(Fraction(at, STEPS), note.Rest(quarterLength=Fraction(start - at, STEPS)))
            part.insert(Fraction(start, STEPS), note.Note(pitch, quarterLength=Fraction(stop - start, STEPS)))
            at = stop
        if at < piece.cells.shape[1]:
            rest = note.Rest(quarterLength=Fraction(piece.cells.shape[1] - at, STEPS))
            part.insert(Fraction(at, STEPS), rest)
        score.insert(0, part)
    return score


def check_music21() -> None:
    """Find out whether the library that reads and writes music is there.

    Raises:
        UserError: it is not.
    """
    if find_spec("music21") is None:
        raise UserError("files of music are read and written by music21: pip install 'suffuse[music]'")
