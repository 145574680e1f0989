"""Files of MIDI and MusicXML to pieces on a grid; the files themselves are read by music21."""

import json
import zipfile
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO
from xml.etree import ElementTree

import numpy as np

from suffuse.data.files import cached
from suffuse.engraving import check_music21
from suffuse.errors import UserError
from suffuse.music import HOLD, HOLE, REST, STEPS, Piece

_LARGEST = {"MIDI": 2**22, "MusicXML": 2**25}
"""Bytes of a file, after it is unpacked; notes take some hundred times as much while they are read."""
_LONGEST = 2**18
"""Steps of a piece: some sixteen thousand bars."""
VOICES = 8
"""Most voices of a piece."""
_DRUMS = 10
_NEAR = 1 / 50
"""Share of a step by which a note may be off without being said to be moved."""


@dataclass
class _Part:
    """What is read of an instrument.

    Args:
        name: of it.
        notes: start, end and pitch of each, in quarter notes, and whether it is asked for instead.
        end: of the part, with its rests.
    """

    name: str
    notes: list[tuple[float, float, int, bool]] = field(default_factory=list)
    end: float = 0.0


@dataclass
class _Read:
    """What is read of a file; metre, key and tempo are those of its beginning."""

    parts: list[_Part]
    metre: tuple[int, int] = (4, 4)
    key: int = 0
    tempo: float = 96.0
    upbeat: float = 0.0


def read_piece(path: Path) -> Piece:
    """Read a file of MIDI or MusicXML, compressed or not; repeats are not played, grace notes and drums are left out.

    What was read is kept in the cache, as reading takes a fifth of a second.

    Starts and ends of notes are moved to the nearest sixteenth. A part with chords, or with several voices on one
    staff, is as many voices as it has notes at once. A part without notes beside others, and notes with the lyric "?",
    are holes.

    Raises:
        UserError: the file cannot be read, is too large, has no notes, or more than eight voices at once.
    """

    def write(file: BinaryIO) -> None:
        piece = _parsed(path)
        told = {name: value for name, value in vars(piece).items() if name != "cells"}
        np.savez_compressed(file, cells=piece.cells, told=np.array(json.dumps(told)))

    try:
        with np.load(cached(path, write, "piece 1"), allow_pickle=False) as kept:
            told = json.loads(str(kept["told"]))
            return Piece(cells=kept["cells"], **told | {name: tuple(told[name]) for name in ("voices", "metre")})
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror or error}") from error


def _parsed(path: Path) -> Piece:
    check_music21()
    form, read = SUFFIXES.get(path.suffix.lower(), SUFFIXES[".xml"])
    try:
        found = read(_bytes(path, _LARGEST[form]))
    except (OSError, MemoryError):
        raise
    except UserError as error:
        raise UserError(f"{path} {error}") from None
    except Exception as error:  # music21 stumbles over damaged files by every error there is
        raise UserError(f"{path} is not {form} or is damaged: {(str(error) or repr(error)).splitlines()[0]}") from error
    return _piece(path, found)


def _bytes(path: Path, most: int) -> bytes:
    """The file, unpacked where it is compressed; never more of it in memory than is allowed."""
    if path.suffix.lower() != ".mxl":
        with path.open("rb") as file:
            return _bounded(file.read(most + 1), most)
    try:
        with zipfile.ZipFile(path) as archive:
            name = _score_name(archive)
            with archive.open(name) as file:
                return _bounded(file.read(most + 1), most)
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError) as error:
        raise UserError(f"is not compressed MusicXML or is damaged: {error}") from error


def _bounded(data: bytes, most: int) -> bytes:
    if len(data) > most:
        raise UserError(f"is larger than {most // 2**20} MB after it is unpacked, which no piece of music is")
    return data


def _score_name(archive: zipfile.ZipFile) -> str:
    """What the container names, or the first score there is."""
    names = archive.namelist()
    if "META-INF/container.xml" in names:
        with archive.open("META-INF/container.xml") as file:
            listed = _xml(_bounded(file.read(2**16 + 1), 2**16)).iter()
        found = [each.get("full-path") for each in listed if each.tag.endswith("rootfile")]
        if found and found[0] in names:
            return str(found[0])
    scores = [name for name in names if name.endswith((".xml", ".musicxml")) and not name.startswith("META-INF")]
    if not scores:
        raise UserError("has no score in it; give a file that a notation program wrote")
    return scores[0]


def _xml(data: bytes) -> ElementTree.Element:
    if b"<!ENTITY" in data:
        raise UserError("defines entities of its own, which no score needs")
    try:
        return ElementTree.fromstring(data)
    except ElementTree.ParseError as error:
        raise UserError(f"is not XML or is damaged: {error}") from error


def _read_midi(data: bytes) -> _Read:
    """Notes by track and channel."""
    from music21.midi import MidiFile

    file = MidiFile()
    file.readstr(data)
    if file.ticksPerSecond or not file.ticksPerQuarterNote:
        raise UserError("counts time in seconds instead of beats, which cannot be laid on a grid")
    found = _Read([])
    for track in file.tracks:
        found.parts += _track(track.events, file.ticksPerQuarterNote, found)
    return found


def _track(events: Sequence[Any], quarter: int, found: _Read) -> list[_Part]:
    """Parts of a track, by channel, the tenth of which is drums; what is said at its beginning is put into `found`."""
    parts: dict[int, _Part] = {}
    begun: defaultdict[tuple[int, int], list[tuple[int, bool]]] = defaultdict(list)
    name, at, asked = "", 0, -1
    for event in events:
        kind = getattr(event.type, "name", "")
        if event.isDeltaTime():
            at += event.time
        elif kind == "SEQUENCE_TRACK_NAME":
            name = event.data.decode("utf-8", "replace").strip()
        elif kind == "LYRIC" and event.data.strip() == b"?":
            asked = at
        elif event.isNoteOn():
            begun[event.channel, event.pitch].append((at, asked == at))
        elif event.isNoteOff() and begun[event.channel, event.pitch] and event.channel != _DRUMS:
            start, hole = begun[event.channel, event.pitch].pop(0)
            part = parts.setdefault(event.channel, _Part(name))
            part.notes.append((start / quarter, at / quarter, event.pitch, hole))
            part.end = max(part.end, at / quarter)
        elif at == 0:
            _tell(found, kind, event.data)
    return list(parts.values())


def _tell(found: _Read, kind: str, data: Any) -> None:
    """Take tempo, metre and key from an event of the beginning."""
    if kind == "SET_TEMPO" and len(data) == 3 and any(data):
        found.tempo = round(60e6 / int.from_bytes(data, "big"), 3)
    elif kind == "TIME_SIGNATURE" and len(data) >= 2 and 0 < data[0] and data[1] < 7:
        found.metre = (data[0], 2 ** data[1])
    elif kind == "KEY_SIGNATURE" and len(data) >= 1:
        found.key = int.from_bytes(data[:1], "big", signed=True)


def _read_musicxml(data: bytes) -> _Read:
    """Notes by part, ties put together."""
    from music21.musicxml.xmlToM21 import MusicXMLImporter

    if _xml(data).tag != "score-partwise":
        raise UserError("is XML, but no score that is written part by part (score-partwise)")
    importer: Any = MusicXMLImporter()
    importer.xmlText = data
    importer.parseXMLText()
    score: Any = importer.stream
    found = _Read([_part(part) for part in score.parts])
    for part in score.parts[:1]:
        bars = list(part.getElementsByClass("Measure"))
        if len(bars) > 1 and bars[0].quarterLength < bars[0].barDuration.quarterLength:
            found.upbeat = float(bars[0].barDuration.quarterLength - bars[0].quarterLength)
    for each in score.recurse().getElementsByClass("TimeSignature")[:1]:
        found.metre = (each.numerator, each.denominator)
    for each in score.recurse().getElementsByClass("KeySignature")[:1]:
        found.key = each.sharps
    for each in score.recurse().getElementsByClass("MetronomeMark")[:1]:
        found.tempo = float(each.getQuarterBPM() or found.tempo)
    return found


def _part(part: Any) -> _Part:
    """Pitched notes of a part of music21's; what is tied to another makes that longer."""
    found = _Part(part.partName or "", end=float(part.highestTime))
    tied: dict[int, int] = {}
    for note in part.flatten().notes:
        if note.duration.isGrace or not note.pitches or getattr(note, "isChordSymbol", False) or _is_harmony(note):
            continue
        start, stop = float(note.offset), float(note.offset + note.quarterLength)
        for each in note.notes if note.isChord else [note]:
            pitch, tie = each.pitch.midi, each.tie.type if each.tie else ""
            before = tied.pop(pitch, None) if tie in ("stop", "continue") else None
            if before is not None and abs(found.notes[before][1] - start) < _NEAR:
                first, _, _, hole = found.notes[before]
                found.notes[before] = (first, stop, pitch, hole)
            else:
                before = len(found.notes)
                found.notes.append((start, stop, pitch, note.lyric == "?"))
            if tie in ("start", "continue"):
                tied[pitch] = before
    return found


def _is_harmony(note: Any) -> bool:
    """Whether it is the name of a chord above the staff, which nobody plays."""
    return "Harmony" in note.classes


SUFFIXES: dict[str, tuple[str, Callable[[bytes], _Read]]] = {
    ".mid": ("MIDI", _read_midi),
    ".midi": ("MIDI", _read_midi),
    ".musicxml": ("MusicXML", _read_musicxml),
    ".mxl": ("MusicXML", _read_musicxml),
    ".xml": ("MusicXML", _read_musicxml),
}
"""Suffixes of files of music: what they hold, and how it is read."""


def _piece(path: Path, found: _Read) -> Piece:
    """What was read, on the grid."""
    lines: list[tuple[str, list[tuple[float, float, int, bool]]]] = []
    for part in found.parts:
        own = _lines(part.notes)
        lines += [(part.name if len(own) == 1 else f"{part.name} {n}".strip(), line) for n, line in enumerate(own, 1)]
        if not own and part.end:  # a part without notes is one that is asked for
            lines.append((part.name, []))
    if not any(line for _, line in lines):
        raise UserError(f"{path} has no notes of a pitch")
    if len(lines) > VOICES:
        raise UserError(f"{path} has {len(lines)} voices at once, and at most {VOICES} are read")
    end = max(part.end for part in found.parts) + found.upbeat
    steps = max(1, round(end * STEPS))
    if steps > _LONGEST:
        raise UserError(f"{path} is {steps:,} sixteenths long, and at most {_LONGEST:,} are read; cut it")
    if len({name for name, _ in lines if name}) < len(lines):
        lines = [(f"{name or 'voice'} {n}", line) for n, (name, line) in enumerate(lines, 1)]
    rows, moved, lost, count = [], 0, 0, 0
    for _, line in lines:
        row, off, short = _row(line, found.upbeat, steps)
        rows.append(row)
        moved, lost, count = moved + off, lost + short, count + len(line)
    names = tuple(name for name, _ in lines)
    return Piece(path.name, np.stack(rows), names, found.metre, found.key, found.tempo, moved / count, lost)


def _lines(notes: Sequence[tuple[float, float, int, bool]]) -> list[list[tuple[float, float, int, bool]]]:
    """Notes as lines of one at a time, from the highest: each goes to the free line whose last pitch is nearest."""
    lines: list[list[tuple[float, float, int, bool]]] = []
    for note in sorted(notes, key=lambda note: (note[0], -note[2])):
        start, half = note[0], 1 / STEPS / 2
        free = [line for line in lines if line[-1][1] <= start + min(half, (line[-1][1] - line[-1][0]) / 2)
                and line[-1][0] < start]  # fmt: skip
        if free:
            min(free, key=lambda line: abs(line[-1][2] - note[2])).append(note)
        else:
            lines.append([note])
    return sorted(lines, key=lambda line: -float(np.mean([pitch for _, _, pitch, _ in line])))


def _row(line: Sequence[tuple[float, float, int, bool]], upbeat: float, steps: int) -> tuple[np.ndarray, int, int]:
    """Cells of a line, how many of its notes were moved, and how many are lost."""
    row = np.full(steps, REST if line else HOLE, np.uint8)
    moved, starts = 0, dict[int, tuple[float, float, int, bool]]()
    for note in line:
        place = (note[0] + upbeat) * STEPS
        first = min(round(place), steps - 1)
        moved += abs(place - first) > _NEAR
        if first not in starts or note[1] - note[0] > starts[first][1] - starts[first][0]:
            starts[first] = note
    places = sorted(starts)
    for first, after in zip(places, [*places, steps][1:], strict=True):
        _, stop, pitch, asked = starts[first]
        last = min(max(round((stop + upbeat) * STEPS), first + 1), after)
        row[first:last] = HOLE if asked else HOLD
        row[first] = HOLE if asked else pitch
    return row, moved, len(line) - len(starts)
