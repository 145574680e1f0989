"""Videos: files of any codec, rate and size, read frame by frame as whole clips or windows of even rate."""

import os
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cached_property
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from suffuse.clips import Clip, pyav
from suffuse.data.base import Packer
from suffuse.data.folder import FolderSource, list_folder
from suffuse.data.pictures import suffixes
from suffuse.data.recordings import Recordings, reason
from suffuse.data.report import Report, counts
from suffuse.errors import UserError
from suffuse.tree import State, concatenate

VIDEOS = (
    ".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".m2ts", ".wmv", ".flv", ".ogv", ".3gp", ".y4m",
)  # fmt: skip
"""Suffixes of files of videos; a GIF is one where that is said, or where it moves and lies among its like."""
_MOST_BYTES = 2**30
"""A whole clip of more is not held in memory."""
_LEAST_SIDE = 512
"""Frames on their way to a window are shrunk by whole factors while their shorter side stays above it, in pixels."""
_WINDOWS = 2000
"""Windows begin so close together that there are about so many, but at most a window apart."""
_UNEVEN = 0.25
"""Steps between frames that differ by more than this share of the mean make a variable rate."""
_GREY = 6
"""Levels by which the colours of what counts as grey may differ, as H.264 does not keep them to the letter."""


@dataclass(frozen=True)
class VideosReport(Report):
    """What a source of videos holds.

    Args:
        sizes: smallest, median and largest width and height, in pixels.
        rates: frames a second, with counts of files.
        seconds: of all of them together.
        longest: frames of the longest one, at the commonest rate.
        grey: whether none has colours.
        variable: how many have frames at uneven times.
        sounding: how many have sound.
    """

    sizes: dict[str, tuple[int, int]] = field(default_factory=dict)
    rates: dict[str, int] = field(default_factory=dict)
    seconds: float = 0.0
    longest: int = 0
    grey: bool = False
    variable: int = 0
    sounding: int = 0

    def facts(self) -> list[str]:
        """Sizes, rates and lengths."""
        sizes = [f"{width}x{height}" for width, height in self.sizes.values()]
        span = sizes[0] if len(set(sizes)) == 1 else f"{sizes[0]} to {sizes[2]}, median {sizes[1]}"
        lines = [f"  size {span}{', grey' if self.grey else ''}; {self.seconds:.1f} seconds; the longest has "
                 f"{self.longest} frames", f"  frames a second: {counts(self.rates)}"]  # fmt: skip
        if len(self.rates) > 1:
            lines.append(f"  windows are of the commonest rate, {next(iter(self.rates))}")
        lines += [f"  frames at uneven times, brought to even ones: {self.variable}"] if self.variable else []
        return lines + ([f"  with sound, which is not learned: {self.sounding}"] if self.sounding else [])


@dataclass(frozen=True)
class Times:
    """When the frames of a film are shown.

    Args:
        ticks: (N,) int64 growing, in units of the file.
        base: seconds of a unit.
        end: when the last frame is over, in ticks.
        told: frames a second as the file says, or None.
    """

    ticks: np.ndarray
    base: Fraction
    end: int
    told: Fraction | None = None

    @property
    def seconds(self) -> np.ndarray:
        """(N,) from the first frame on."""
        return (self.ticks - self.ticks[0]) * float(self.base)

    @property
    def duration(self) -> float:
        """Seconds from the first frame to the end of the last."""
        return float((self.end - int(self.ticks[0])) * self.base)

    @property
    def variable(self) -> bool:
        """Whether frames are at uneven times, beyond what rounding to milliseconds does."""
        steps = np.diff(self.seconds)
        return len(steps) > 0 and bool((np.abs(steps - steps.mean()) > _UNEVEN * steps.mean() + 0.0015).any())

    @property
    def rate(self) -> Fraction:
        """Frames a second: of variable ones what is commonest."""
        if len(self.ticks) == 1:
            return self.told or Fraction(25)
        steps = np.diff(self.seconds)
        found = 1 / float(np.median(steps) if self.variable else steps.mean())
        if self.told and abs(float(self.told) - found) < 0.002 * found:
            return self.told
        return Fraction(found).limit_denominator(1001 if found < 1000 else 1)

    def count(self, rate: Fraction) -> int:
        """Frames at an even rate."""
        return max(1, round(self.duration * rate))

    def places(self, first: int, count: int, rate: Fraction) -> np.ndarray:
        """Number of the frame that is shown in the middle of each of so many frames at an even rate.

        Example:
            >>> Times(np.array([0, 40, 160]), Fraction(1, 1000), 200).places(0, 5, Fraction(25)).tolist()
            [0, 1, 1, 1, 2]
        """
        middles = (first + np.arange(count) + 0.5) / float(rate)
        return (np.searchsorted(self.seconds, middles, side="right") - 1).clip(0, len(self.ticks) - 1)


class Film(ABC):
    """One video."""

    name: str
    """What to call it."""
    sound: Path | bytes | None
    """Its sound, or the file of it, which is known once its times are; None where there is none."""

    @property
    @abstractmethod
    def times(self) -> Times:
        """When its frames are shown.

        Raises:
            UserError: it cannot be read.
        """

    @abstractmethod
    def read(self, places: np.ndarray, least: int | None = None) -> np.ndarray:
        """Frames (T, H, W, C), uint8, by their growing numbers.

        Args:
            places: (T,) numbers; one may be asked for several times.
            least: where given, frames may be shrunk while their shorter side stays above it.

        Raises:
            UserError: they cannot be read.
        """


class ClipFilm(Film):
    """A clip in memory."""

    def __init__(self, clip: Clip, name: str) -> None:
        self.clip, self.name, self.sound = clip, name, clip.sound

    @property
    def times(self) -> Times:
        """See the base class."""
        count = len(self.clip.frames)
        return Times(np.arange(count), 1 / self.clip.rate, count, self.clip.rate)

    def read(self, places: np.ndarray, least: int | None = None) -> np.ndarray:
        """See the base class."""
        return self.clip.frames[places]


class FileFilm(Film):
    """A file. Of its frames only those that are asked for are kept, and of the others at most what a codec needs."""

    def __init__(self, path: Path, name: str | None = None) -> None:
        self.path, self.name, self.sound = path, name or path.name, None
        self._times: Times | None = None  # no cached_property, whose lock would make threads wait for each other

    @property
    def times(self) -> Times:
        """See the base class; all packets are passed over once, and none is decoded."""
        if self._times is None:
            self._times = self._found()
        return self._times

    def _found(self) -> Times:
        with self._open() as (file, stream):
            self.sound = self.path if file.streams.audio else None
            found = [
                (packet.dts if packet.pts is None else packet.pts, packet.duration or 0)
                for packet in _demuxed(file, stream)
                if packet.size and (packet.pts is not None or packet.dts is not None)
            ]
            told, base = stream.average_rate, stream.time_base or Fraction(1, 25)
        if not found:
            raise UserError("it holds no frames")
        ticks = np.unique([tick for tick, _ in found])
        last, usual = max(found)[1], int(np.median(np.diff(ticks))) if len(ticks) > 1 else 0
        last = last if 2 * last >= usual else usual  # some writers do not know how long the last frame is shown
        return Times(ticks, base, int(ticks[-1]) + last, told)

    def read(self, places: np.ndarray, least: int | None = None) -> np.ndarray:
        """See the base class. Frames that are damaged are shown as the one before."""
        wanted = np.unique(places)
        found = self._decoded(wanted, least, seek=wanted[0] > 0)
        if wanted[0] not in found and wanted[0] > 0:  # there are formats without a way to a frame but through the rest
            found = self._decoded(wanted, least, seek=False)
        if not found:
            raise UserError("none of its frames can be decoded")
        if len({frame.shape for frame in found.values()}) > 1:
            raise UserError("its frames are of several sizes")
        numbers = sorted(found)
        at = (np.searchsorted(numbers, places, side="right") - 1).clip(0)
        return np.stack([found[numbers[each]] for each in at.tolist()])

    def _decoded(self, wanted: np.ndarray, least: int | None, seek: bool) -> dict[int, np.ndarray]:
        av, found, ticks, chosen = pyav(), dict[int, np.ndarray](), self.times.ticks, set(wanted.tolist())
        with self._open() as (file, stream):
            try:
                if seek:
                    file.seek(int(ticks[wanted[0]]), stream=stream)
            except (av.FFmpegError, OSError):
                return found
            for packet in _demuxed(file, stream):
                try:
                    frames = packet.decode()
                except av.FFmpegError:
                    continue
                for frame in frames:
                    tick = frame.dts if frame.pts is None else frame.pts
                    number = int(np.searchsorted(ticks, tick)) if tick is not None else len(found)
                    if number in chosen:
                        found[number] = _pixels(frame, least)
                    if number >= wanted[-1]:
                        return found
        return found

    @contextmanager
    def _open(self) -> Generator[tuple[Any, Any]]:
        """The file and its stream of frames."""
        av = pyav()
        try:
            file = av.open(str(self.path), metadata_errors="replace")
        except (av.FFmpegError, OSError, ValueError) as error:
            raise UserError(reason(error, "video")) from error
        with file:
            cover = av.stream.Disposition.attached_pic
            stream = next((s for s in file.streams.video if s.codec_context and not s.disposition & cover), None)
            if stream is None:
                raise UserError("it holds no frames" + (", but sound alone" if file.streams.audio else ""))
            stream.thread_type = "AUTO"
            yield file, stream


def _demuxed(file: Any, stream: Any) -> Iterator[Any]:
    """Packets up to where the file is damaged."""
    packets = file.demux(stream)
    while True:
        try:
            yield next(packets)
        except (StopIteration, pyav().FFmpegError):
            return


def _pixels(frame: Any, least: int | None) -> np.ndarray:
    """(H, W, C), upright; colours whose matrix the file does not name are taken for what the size suggests."""
    shrink = 1 if least is None else max(1, min(frame.width, frame.height) // least)
    colours = "ITU709" if frame.colorspace == 2 and frame.height >= 720 else None
    form = "gray" if frame.format.name.startswith("gray") else "rgb24"
    array = frame.reformat(
        frame.width // shrink, frame.height // shrink, form, src_colorspace=colours, interpolation="AREA"
    ).to_ndarray()
    array = array if array.ndim == 3 else array[..., None]
    return np.ascontiguousarray(np.rot90(array, round(frame.rotation / 90)))


class VideoSource(Recordings[Film, "_Seen"]):
    """Videos; a raw item is a :class:`suffuse.clips.Clip`, whole and of its own rate, or a window, see :meth:`cut`."""

    kind = "video"
    plural = "videos"
    without_fields = "it has videos only: put them in one folder per class, or add a metadata.csv"

    @cached_property
    def rate(self) -> Fraction:
        """The commonest rate of its films, in frames a second."""
        return Counter(film.times.rate for _, film in self._readable()).most_common(1)[0][0]

    def _readable(self) -> list[tuple[int, Film]]:
        readable: list[tuple[int, Film]] = []
        for number, film in enumerate(self.recordings):
            try:
                film.times  # noqa: B018
            except UserError:
                continue
            readable.append((number, film))
        return readable

    def beginning(self, recording: Film, first: int) -> str:
        """See the base class."""
        return f"frame {first}"

    def raw(self, positions: Sequence[int]) -> list[Clip]:
        """See the base class."""
        return [self._clip(position) for position in positions]

    def packed(self, positions: Sequence[int], codec: Packer) -> State:
        """See the base class; of large frames one window at a time is in memory, shrunk."""
        return concatenate([codec.pack([self._clip(position, _LEAST_SIDE)]) for position in positions])

    def _clip(self, position: int, least: int | None = None) -> Clip:
        film, first, count = (position, 0, None) if self.windows is None else map(int, self.windows[position])
        video = self.recordings[film]
        try:
            times = video.times
            rate = times.rate if self.windows is None else self.rate
            places = times.places(first, times.count(rate) if count is None else count, rate)
            if least is None:
                _check_size(len(places), video.read(places[:1]))
            frames = video.read(places, least)
        except UserError as error:
            raise UserError(f"{self.name_of(position)} of {self.name} cannot be read: {error}") from error
        return Clip(frames, rate, sound=video.sound, start=first / float(rate))

    def cut(self, length: int | None, every: int | None = None) -> "VideoSource":
        """See the base class; all windows are of the commonest rate."""
        if length is None:
            return self
        lengths = {number: film.times.count(self.rate) for number, film in self._readable()}
        room = sum(max(count - length + 1, 0) for count in lengths.values())
        if not room:
            longest = max(lengths.values(), default=0)
            raise UserError(f"the longest video of {self.name} has {longest} frames, and a window has {length}; "
                            "give a smaller --length")  # fmt: skip
        step = every or min(max(1, room // _WINDOWS), length)
        windows = np.array([
            (number, first, length) for number, count in lengths.items() for first in range(0, count - length + 1, step)
        ])  # fmt: skip
        fields = {name: [column[number] for number, _, _ in windows] for name, column in self._columns.items()}
        several = len(windows) > len({number for number, _, _ in windows})
        overlap = -(-length // step) - 1 if several else 0
        return VideoSource(self.name, self.recordings, fields, self.report, windows, overlap)

    @staticmethod
    def look(recording: Film) -> "_Seen | str":
        """The times of all frames, and one decoded in its middle."""
        try:
            times = recording.times
            frame = recording.read(np.array([len(times.ticks) // 2]))[0].astype(int)
            grey = int((frame.max(-1) - frame.min(-1)).max()) <= _GREY
            return _Seen(times, (frame.shape[1], frame.shape[0]), grey, recording.sound is not None)
        except UserError as error:
            return str(error)

    def reported(self, common: Report, seen: "list[_Seen]") -> VideosReport:
        """See the base class."""
        return VideosReport(
            **vars(common),
            sizes=_sizes([one.size for one in seen]),
            rates=dict(Counter(_said(one.times.rate) for one in seen).most_common()),
            seconds=round(sum(one.times.duration for one in seen), 3),
            longest=max(one.times.count(self.rate) for one in seen),
            grey=all(one.grey for one in seen),
            variable=sum(one.times.variable for one in seen),
            sounding=sum(one.sounding for one in seen),
        )


@dataclass(frozen=True)
class _Seen:
    times: Times
    size: tuple[int, int]
    grey: bool
    sounding: bool


def _check_size(count: int, frame: np.ndarray) -> None:
    """Refuse what would not fit into memory as a whole."""
    if count * frame.nbytes > _MOST_BYTES:
        raise UserError(f"its {count} frames of {frame.shape[2]}x{frame.shape[1]} are too many to be held at once; cut "
                        f"it into parts of up to {_MOST_BYTES // frame.nbytes}")  # fmt: skip


def _sizes(sizes: list[tuple[int, int]]) -> dict[str, tuple[int, int]]:
    ordered = sorted(sizes, key=lambda size: size[0] * size[1])
    middle = tuple(int(median(size[axis] for size in sizes)) for axis in (0, 1))
    return {"smallest": ordered[0], "median": (middle[0], middle[1]), "largest": ordered[-1]}


def _said(rate: Fraction) -> str:
    return f"{float(rate):.5g}"


def is_videos(place: Path) -> bool:
    """Whether it is a file of a video, or a folder of them and of no pictures; GIFs are where the first one moves."""
    if not os.path.isdir(place):
        return place.suffix.lower() in VIDEOS
    found = Counter(Path(name).suffix.lower() for _, _, names in os.walk(place) for name in names)
    if any(found[suffix] for suffix in suffixes() - {".gif"}):
        return False
    return any(found[suffix] for suffix in VIDEOS) or (found[".gif"] > 0 and _moves(place))


def _moves(folder: Path) -> bool:
    """Whether the first GIF of a folder has several frames."""
    first = min(folder.rglob("*.[gG][iI][fF]"))
    try:
        return len(FileFilm(first).times.ticks) > 1
    except UserError:
        return False


def open_videos(place: Path, split: str | None = None) -> VideoSource:
    """Open a video, or a folder of them whose sub-folders are classes; a picture is a video of one frame.

    Raises:
        UserError: nothing in it is a video.
    """
    if not os.path.isdir(place):
        return VideoSource(str(place), [FileFilm(place)])
    listing = list_folder(place, frozenset((*VIDEOS, ".gif")))
    if not listing.pictures:
        raise UserError(f"there is no video in {place}; give a folder of files such as {', '.join(VIDEOS[:5])} or .gif")
    folder = FolderSource(listing, split)
    films = [FileFilm(folder.root / name, name) for name in folder.names(range(len(folder)))]
    fields = {name: folder.column(name) for name in folder.fields}
    return VideoSource(folder.name, films, fields, folder.report)
