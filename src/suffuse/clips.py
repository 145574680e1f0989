"""Raw items of videos: frames at an even rate, how they are written to files, and what they look like at a glance."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from fractions import Fraction
from io import BytesIO
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from suffuse.errors import UserError
from suffuse.pictures import METADATA, rows_of

if TYPE_CHECKING:
    from av.container import OutputContainer

_COPIED = ("aac", "mp3", "ac3", "eac3", "alac", "opus", "flac")
"""Sound that an mp4 file takes as it is; other sound becomes AAC."""
_QUALITY = "12"
"""Constant rate factor of H.264: at 12 no difference is seen, and 0 would be without loss."""
_MOST_SIDE = 16384
"""Pixels along a side that H.264 is written with."""
_FASTEST_GIF = 50
"""Frames a second: what is faster browsers slow down to 10."""
_SHOWN = 8


@dataclass(frozen=True)
class Clip:
    """Frames at an even rate.

    Args:
        frames: (T, H, W, C) uint8, of 1 channel for grey or 3 for red, green and blue.
        rate: frames a second.
        known: (T,) bool, which frames there are; None for all of them.
        sound: the file whose sound belongs to it, or what is in that.
        start: seconds from the beginning of that file to the first frame.
        info: how it was made, as of a picture.

    Example:
        >>> Clip(np.zeros((3, 4, 6, 1), np.uint8), Fraction(25)).size
        (3, 4, 6)
    """

    frames: np.ndarray
    rate: Fraction
    known: np.ndarray | None = None
    sound: Path | bytes | None = None
    start: float = 0.0
    info: dict[str, str] = field(default_factory=dict)

    @property
    def size(self) -> tuple[int, int, int]:
        """(T, H, W)."""
        frames, height, width, _ = self.frames.shape
        return frames, height, width

    @property
    def seconds(self) -> float:
        """How long it takes."""
        return float(len(self.frames) / self.rate)

    def pictures(self, places: Sequence[int] | None = None) -> list[Image.Image]:
        """Frames as pictures, by default all of them."""
        chosen = self.frames if places is None else self.frames[list(places)]
        return [Image.fromarray(frame.squeeze(-1) if frame.shape[-1] == 1 else frame) for frame in chosen]


def strips(clips: Sequence[Clip]) -> Image.Image:
    """A row of frames for each clip, evenly from its first to its last.

    Example:
        >>> strips([Clip(np.zeros((20, 64, 64, 3), np.uint8), Fraction(25))] * 2).size
        (530, 136)
    """
    rows: list[list[Image.Image]] = []
    for clip in clips:
        count = len(clip.frames)
        rows.append(clip.pictures(np.linspace(0, count - 1, min(count, _SHOWN)).round().astype(int).tolist()))
    return rows_of(rows)


def write_mp4(clip: Clip, path: Path) -> None:
    """Write H.264 in the colours of ITU-R BT.709 at half their resolution, with the sound that belongs to the clip.

    H.264 so written has even sides: one that is odd has its last row or column twice.

    Raises:
        UserError: PyAV, which writes it, is not installed, or the frames are too large.
    """
    height, width = clip.frames.shape[1:3]
    if max(height, width) > _MOST_SIDE:
        raise UserError(
            f"frames of {width}x{height} are too large for H.264, whose sides have up to {_MOST_SIDE} pixels"
        )
    with pyav().open(str(path), "w", format="mp4") as file:
        video = file.add_stream("libx264", rate=clip.rate, options={"crf": _QUALITY})
        frames = clip.frames
        video.height, video.width = (side + side % 2 for side in frames.shape[1:3])
        video.pix_fmt = "yuv420p"
        context: Any = video.codec_context
        context.colorspace = context.color_primaries = context.color_trc = context.color_range = 1
        if METADATA in clip.info:
            file.metadata["comment"] = clip.info[METADATA]
        sound = None if clip.sound is None else _Sound(clip, file)
        for number, frame in enumerate(frames):
            shown = _frame(frame)
            shown.pts, shown.time_base = number, 1 / clip.rate
            file.mux(video.encode(shown))
        file.mux(video.encode())
        if sound is not None:
            sound.write()


def _frame(frame: np.ndarray) -> Any:
    """A frame with even sides, in the colours of the file."""
    even = np.pad(frame, ((0, frame.shape[0] % 2), (0, frame.shape[1] % 2), (0, 0)), mode="edge")
    shown = pyav().VideoFrame.from_ndarray(np.ascontiguousarray(even.repeat(4 - frame.shape[2], 2)[..., :3]), "rgb24")
    return shown.reformat(format="yuv420p", dst_colorspace="ITU709")


class _Sound:
    """The sound of a clip on its way from one file to another: packets as they are, or decoded and encoded anew."""

    def __init__(self, clip: Clip, file: "OutputContainer") -> None:
        sound = BytesIO(clip.sound) if isinstance(clip.sound, bytes) else str(clip.sound)
        self.source, self.file, self.clip = pyav().open(sound, metadata_errors="replace"), file, clip
        self.stream = next((each for each in self.source.streams.audio if each.codec_context), None)
        self.out: Any = None
        if self.stream is not None:
            copied = self.stream.codec_context.codec.canonical_name in _COPIED
            self.out = file.add_stream_from_template(self.stream) if copied else file.add_stream(
                "aac", rate=self.stream.codec_context.sample_rate
            )  # fmt: skip
            self.copied = copied

    def write(self) -> None:
        """From the first frame of the clip to its last, or to where the sound is damaged."""
        with self.source, suppress(pyav().InvalidDataError, pyav().ArgumentError):
            if self.stream is None:
                return
            base = self.stream.time_base
            assert base is not None
            start = round(self.clip.start / base)
            stop = start + round(self.clip.seconds / base)
            for packet in self.source.demux(self.stream):
                if packet.pts is None or packet.pts < start:
                    continue
                if packet.pts >= stop:
                    break
                self._put(packet, start)
            if not self.copied:
                self.file.mux(self.out.encode(None))

    def _put(self, packet: Any, start: int) -> None:
        if self.copied:
            packet.pts, packet.dts = packet.pts - start, packet.dts - start
            packet.stream = self.out
            self.file.mux(packet)
            return
        for frame in packet.decode():
            frame.pts -= start
            self.file.mux(self.out.encode(frame))


def write_gif(clip: Clip, path: Path) -> None:
    """Write a GIF of up to 256 colours a frame, each shown for whole hundredths of a second that add up to its time.

    Above 50 frames a second frames are left out, as browsers show none that are faster.
    """
    every = -(-clip.rate // _FASTEST_GIF)
    images = clip.pictures(range(0, len(clip.frames), every))
    ends = [round(100 * every * number / clip.rate) for number in range(len(images) + 1)]
    first, *rest = images
    first.save(
        path,
        "GIF",
        save_all=True,
        append_images=rest,
        duration=[10 * (end - start) for start, end in pairwise(ends)],
        loop=0,
        comment=clip.info.get(METADATA, "").encode(),
    )


def pyav() -> Any:
    """The library that reads and writes videos.

    Raises:
        UserError: it is not installed.
    """
    try:
        import av
    except ImportError as missing:
        raise UserError("videos are read and written with PyAV: pip install 'suffuse[video]'") from missing
    return av
