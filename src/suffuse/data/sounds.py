"""Sounds: files of any form and rate, read whole, or as windows of one rate without the silence around them."""

import os
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import chain
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from suffuse.clips import pyav
from suffuse.data.clips import VIDEOS
from suffuse.data.folder import FolderSource, list_folder
from suffuse.data.pictures import suffixes
from suffuse.data.recordings import Recordings, reason
from suffuse.data.report import Report, counts
from suffuse.errors import UserError
from suffuse.sounds import Sound, count_at, soundfile

SOUNDS = (
    ".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".aif", ".aiff", ".aifc", ".au", ".snd", ".caf", ".w64", ".m4a",
    ".aac", ".wma", ".amr", ".ac3", ".mka",
)  # fmt: skip
"""Suffixes of files of sounds."""
LOUDNESS, TEXT = "loudness", "text"
"""Fields: decibels of a file, and what the text file of its name says."""
_BLOCK = 2**16
"""Samples that are read at a time."""
_STEP = 0.01
"""Seconds whose level is looked at."""
_QUIET, _NOTHING = 1e-5, 1e-10
"""Power of a step below which it is silence: as a share of the loudest step's, and of full scale."""
_BEFORE = 4096
"""Samples that are decoded before what is wanted, where a form needs what was before."""
_MOST_RATE = 10**7
"""Samples a second: more than radio has."""
_MOST_SAMPLES = 2**28
"""A whole sound of more is not held in memory."""
_WINDOWS = 4000
"""Windows begin so close together that there are about so many, but at most a window apart."""
_MARGIN = 64
"""Samples to each side of a window that are read where its rate is changed."""


@dataclass(frozen=True)
class SoundsReport(Report):
    """What a source of sounds holds.

    Args:
        rates: samples a second, with counts of files.
        channels: with counts of files.
        seconds: of all of them together, without the silence before and behind.
        longest: samples of the longest one, likewise, at the commonest rate.
        shortest: of the shortest.
        loudness: least, median and greatest, in decibels of full scale.
        silence: seconds of silence before and behind.
    """

    rates: dict[str, int] = field(default_factory=dict)
    channels: dict[str, int] = field(default_factory=dict)
    seconds: float = 0.0
    longest: int = 0
    shortest: int = 0
    loudness: tuple[float, float, float] = (0.0, 0.0, 0.0)
    silence: float = 0.0

    def facts(self) -> list[str]:
        """Rates, channels and lengths."""
        least, middle, greatest = self.loudness
        rate = int(next(iter(self.rates)))
        lines = [f"  {self.seconds:.1f} seconds, {self.shortest / rate:.2f} to {self.longest / rate:.2f} each, "
                 f"of {least:.0f} to {greatest:.0f} dB, median {middle:.0f}",
                 f"  samples a second: {counts(self.rates)}; channels: {counts(self.channels)}"]  # fmt: skip
        if len(self.rates) > 1:
            lines.append(f"  all are brought to the commonest rate, {rate}")
        return lines + ([f"  silence around them, left out: {self.silence:.1f} seconds"] if self.silence else [])


@dataclass(frozen=True)
class Heard:
    """What a recording sounds like, from end to end.

    Args:
        rate: samples a second.
        channels: of them.
        length: samples.
        powers: (N,) mean square of each hundredth of a second, over the channels.
    """

    rate: int
    channels: int
    length: int
    powers: np.ndarray

    @property
    def step(self) -> int:
        """Samples whose power is one of them."""
        return max(1, round(_STEP * self.rate))

    @property
    def loud(self) -> np.ndarray:
        """(N,) whether there is sound."""
        return self.powers > max(float(self.powers.max(initial=0.0)) * _QUIET, _NOTHING)

    @property
    def span(self) -> tuple[int, int]:
        """Samples from the first sound to the last; none of silence."""
        loud = np.flatnonzero(self.loud)
        return (int(loud[0]) * self.step, min((int(loud[-1]) + 1) * self.step, self.length)) if len(loud) else (0, 0)

    @property
    def loudness(self) -> float:
        """Decibels of full scale: the mean power where there is sound."""
        return round(10 * float(np.log10(self.powers[self.loud].mean())), 1)


class Track(ABC):
    """One recording."""

    name: str
    """What to call it."""

    @abstractmethod
    def blocks(self, first: int = 0) -> Iterator[Sound]:
        """Its sound from a sample on, in parts one after the other.

        Raises:
            UserError: it cannot be read.
        """

    _heard: Heard | None = None  # no cached_property, whose lock would make threads wait for each other

    @property
    def heard(self) -> Heard:
        """What it sounds like; all of it is listened to once, and none kept.

        Raises:
            UserError: it cannot be read, or holds nothing.
        """
        if self._heard is None:
            self._heard = _listen(self.blocks())
        return self._heard

    def read(self, first: int, count: int) -> Sound:
        """So many samples from one on, or what there is of them.

        Raises:
            UserError: they cannot be read.
        """
        parts: list[np.ndarray] = []
        rate = missing = 0
        for missing, block in _until(self.blocks(first), count):
            parts.append(block.samples[:, :missing])
            rate = block.rate
        if not parts:
            raise UserError("it holds no samples there")
        return Sound(np.concatenate(parts, 1), rate)


def _until(blocks: Iterator[Sound], count: int) -> Iterator[tuple[int, Sound]]:
    """Blocks, and how many samples are missing before each, until none is."""
    for block in blocks:
        yield count, block
        count -= block.length
        if count <= 0:
            return


def _listen(blocks: Iterator[Sound]) -> Heard:
    first = next(blocks, None)
    if first is None or first.length == 0:
        raise UserError("it holds no samples")
    if not 0 < first.rate <= _MOST_RATE:
        raise UserError(f"it is said to have {first.rate} samples a second, which no sound has")
    step, length = max(1, round(_STEP * first.rate)), 0
    powers: list[np.ndarray] = []
    rest = np.zeros(0, np.float32)
    for block in chain([first], blocks):
        length += block.length
        squares = np.concatenate([rest, np.square(np.nan_to_num(block.samples)).mean(0)])
        whole = len(squares) // step * step
        powers.append(squares[:whole].reshape(-1, step).mean(1))
        rest = squares[whole:]
    powers += [rest.mean(keepdims=True)] if len(rest) else []
    return Heard(first.rate, len(first.samples), length, np.concatenate(powers))


class SoundTrack(Track):
    """A sound in memory."""

    def __init__(self, sound: Sound, name: str) -> None:
        self.sound, self.name = sound, name

    def blocks(self, first: int = 0) -> Iterator[Sound]:
        """See the base class."""
        yield replace(self.sound, samples=self.sound.samples[:, first:])


class FileTrack(Track):
    """A file, read by soundfile where that knows its form, and else by PyAV."""

    def __init__(self, path: Path, name: str | None = None) -> None:
        self.path, self.name = path, name or path.name

    def blocks(self, first: int = 0) -> Iterator[Sound]:
        """See the base class."""
        library = soundfile()
        try:
            file = library.SoundFile(str(self.path))
        except library.LibsndfileError:
            return _by_pyav(self.path, first)
        return _by_soundfile(file, first)


def _by_soundfile(file: Any, first: int) -> Iterator[Sound]:
    """Up to where the file is damaged."""
    with file:
        try:
            file.seek(min(first, file.frames))
            while len(block := file.read(_BLOCK, dtype="float32", always_2d=True)):
                yield Sound(np.ascontiguousarray(block.T), file.samplerate)
        except soundfile().LibsndfileError:
            return


def _by_pyav(path: Path, first: int) -> Iterator[Sound]:
    """Up to the end; packets that cannot be decoded are passed over."""
    try:
        av = pyav()
    except UserError as missing:
        raise UserError("soundfile does not know its form; PyAV may: pip install 'suffuse[audio]'") from missing
    try:
        file = av.open(str(path), metadata_errors="replace")
    except (av.FFmpegError, OSError, ValueError) as error:
        raise UserError(reason(error, "sound")) from error
    with file:
        stream = next((each for each in file.streams.audio if each.codec_context), None)
        if stream is None:
            raise UserError("it holds no sound")
        rate, base, begin = stream.rate, stream.time_base, stream.start_time or 0
        if first:
            file.seek(begin + int(max(first - _BEFORE, 0) / rate / base), stream=stream)
        flat, at = av.AudioResampler(format="fltp"), None
        for frame in _frames(file, stream, av):
            if at is None:
                at = round((frame.pts - begin) * float(base) * rate) if first and frame.pts is not None else 0
            for each in flat.resample(frame):
                samples = each.to_ndarray()
                skipped = max(0, min(first - at, samples.shape[1]))
                at += samples.shape[1]
                if skipped < samples.shape[1]:
                    yield Sound(samples[:, skipped:], rate)


def _frames(file: Any, stream: Any, av: Any) -> Iterator[Any]:
    packets = file.demux(stream)
    while True:
        try:
            packet = next(packets)
        except (StopIteration, av.FFmpegError):
            return
        try:
            yield from packet.decode()
        except av.FFmpegError:
            continue


class SoundSource(Recordings[Track, Heard]):
    """Sounds; the raw item is a :class:`suffuse.sounds.Sound`, whole and of its own rate, or a window, see :meth:`cut`.

    How loud each is is a field, unless there is one of that name.
    """

    kind = "audio"
    plural = "sounds"

    def __init__(
        self,
        name: str,
        recordings: Sequence[Track],
        fields: Mapping[str, list[Any]] | None = None,
        report: Report | None = None,
        windows: np.ndarray | None = None,
        overlap: int = 0,
    ) -> None:
        super().__init__(name, recordings, fields, report, windows, overlap)
        self.fields = (*self._columns, *(() if LOUDNESS in self._columns else (LOUDNESS,)))

    @cached_property
    def rate(self) -> int:
        """The commonest rate of its recordings, in samples a second."""
        return Counter(track.heard.rate for _, track in self._sounding()).most_common(1)[0][0]

    def _sounding(self) -> list[tuple[int, Track]]:
        """Those that can be read and are not silent."""
        return [(number, track) for number, track in enumerate(self.recordings) if isinstance(self.look(track), Heard)]

    def beginning(self, recording: Track, first: int) -> str:
        """See the base class."""
        return f"{first / recording.heard.rate:.2f} s"

    def raw(self, positions: Sequence[int]) -> list[Sound]:
        """See the base class."""
        return [self._sound(position) for position in positions]

    def _sound(self, position: int) -> Sound:
        try:
            if self.windows is not None:
                number, first, count = self.windows[position].tolist()
                return self._window(self.recordings[number], first, count)
            sound = self.recordings[position].read(0, _MOST_SAMPLES + 1)
        except UserError as error:
            raise UserError(f"{self.name_of(position)} of {self.name} cannot be read: {error}") from error
        if sound.samples.size > _MOST_SAMPLES:
            raise UserError(f"{self.name_of(position)} of {self.name} is too long to be held at once; cut it into "
                            f"parts of up to {_MOST_SAMPLES // len(sound.samples) // sound.rate} seconds")  # fmt: skip
        return sound

    def _window(self, track: Track, first: int, count: int) -> Sound:
        """Samples of a recording, at the commonest rate."""
        if track.heard.rate == self.rate:
            return track.read(first, count)
        before = min(first, _MARGIN)
        sound = track.read(first - before, count + before + _MARGIN)
        skipped = round(before * self.rate / sound.rate)
        samples = sound.at(self.rate).samples[:, skipped:]
        return Sound(samples[:, : count_at(count, sound.rate, self.rate)], self.rate)

    def cut(self, length: int | None, every: int | None = None) -> "SoundSource":
        """The source with windows of up to twice the length, of which a part is shown; silence alone makes none.

        Shorter recordings are whole windows, less the silence before and behind.
        """
        if length is None:
            return self
        spans = {number: track.heard.span for number, track in self._sounding()}
        room = sum(last - first for first, last in spans.values())
        found: list[tuple[int, int, int]] = []
        most = 0
        for number, (start, stop) in spans.items():
            heard = self.recordings[number].heard
            window = max(1, round(length * heard.rate / self.rate))
            step = every or max(1, min(window, room // _WINDOWS))
            most = max(most, -(-2 * window // step) - 1)
            loud = np.flatnonzero(heard.loud) * heard.step
            for first in range(start, max(stop - window, start) + 1, step):
                last = min(first + 2 * window, stop)
                if np.searchsorted(loud, first) < np.searchsorted(loud, last):
                    found.append((number, first, last - first))
        windows = np.array(found)
        columns = {name: self.column(name) for name in self.fields}
        fields = {name: [column[number] for number, _, _ in found] for name, column in columns.items()}
        return SoundSource(
            self.name, self.recordings, fields, self.report, windows, most if len(spans) < len(found) else 0
        )

    @staticmethod
    def look(recording: Track) -> Heard | str:
        """What it sounds like, from end to end."""
        try:
            heard = recording.heard
        except UserError as error:
            return str(error)
        return heard if heard.loud.any() else "silence from end to end"

    def reported(self, common: Report, seen: list[Heard]) -> SoundsReport:
        """See the base class."""
        return SoundsReport(**vars(common), **self._facts(seen))

    def _facts(self, heard: list[Heard]) -> dict[str, Any]:
        spans = [each.span for each in heard]
        sounding = [stop - start for start, stop in spans]
        lengths = [count_at(count, each.rate, self.rate) for count, each in zip(sounding, heard, strict=True)]
        levels = [each.loudness for each in heard]
        silence = [(each.length - count) / each.rate for count, each in zip(sounding, heard, strict=True)]
        return {
            "rates": dict(Counter(str(each.rate) for each in heard).most_common()),
            "channels": dict(Counter(str(each.channels) for each in heard).most_common()),
            "seconds": round(sum(count / each.rate for count, each in zip(sounding, heard, strict=True)), 3),
            "longest": max(lengths),
            "shortest": min(lengths),
            "loudness": (min(levels), median(levels), max(levels)),
            "silence": round(sum(silence), 3),
        }

    def _values(self, field: str) -> list[Any]:
        if field == LOUDNESS and LOUDNESS not in self._columns:
            heard = [self.look(track) for track in self.recordings]
            return [each.loudness if isinstance(each, Heard) else None for each in heard]
        return self._columns[field]


def is_sounds(place: Path) -> bool:
    """Whether it is a file of sound, or a folder of them and of no pictures and videos."""
    if not os.path.isdir(place):
        return place.suffix.lower() in SOUNDS
    found = {Path(name).suffix.lower() for _, _, names in os.walk(place) for name in names}
    return bool(found & set(SOUNDS)) and not found & (suffixes() | set(VIDEOS))


def open_sounds(place: Path, split: str | None = None) -> SoundSource:
    """Open a sound, or a folder of them whose sub-folders are classes; texts that are named like them are a field.

    Raises:
        UserError: nothing in it is a sound.
    """
    if not os.path.isdir(place):
        return SoundSource(str(place), [FileTrack(place)])
    listing = list_folder(place, frozenset(SOUNDS))
    if not listing.pictures:
        raise UserError(f"there is no sound in {place}; give a folder of files such as {', '.join(SOUNDS[:6])}")
    folder = FolderSource(listing, split)
    paths = [Path(name) for name in folder.names(range(len(folder)))]
    fields = {name: folder.column(name) for name in folder.fields}
    texts = {str(Path(name).with_suffix("")) for name, _ in folder.report.left_out if name.endswith(".txt")}
    report = folder.report
    if texts and TEXT not in fields:
        fields[TEXT] = [_text(folder.root / path) if str(path.with_suffix("")) in texts else None for path in paths]
        stems = {str(path.with_suffix("")) + ".txt" for path in paths}
        left_out = [each for each in report.left_out if each[0] not in stems]
        report = replace(report, left_out=left_out, found=len(paths) + len(left_out))
    return SoundSource(folder.name, [FileTrack(folder.root / path, str(path)) for path in paths], fields, report)


def _text(sound: Path) -> str | None:
    """What the text file of a sound's name says, in one line."""
    try:
        return " ".join(sound.with_suffix(".txt").read_text(encoding="utf-8-sig").split()) or None
    except (OSError, UnicodeDecodeError):
        return None
