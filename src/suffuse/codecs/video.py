"""Videos: frames of any size in, [-1, 1] out, with an axis of time."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from fractions import Fraction
from typing import Any, ClassVar, Literal, Self, cast

import numpy as np
import torch
from torch import Tensor

from suffuse.clips import Clip
from suffuse.codecs.base import JSON, Codec
from suffuse.codecs.image import ImageCodec
from suffuse.codecs.windows import window_of_gap
from suffuse.errors import UserError
from suffuse.rng import Streams
from suffuse.tree import State


class VideoCodec(Codec):
    """Clips to float32 states of shape (B, C, T, H, W) in [-1, 1], and back.

    Each frame is resized and cropped as by :class:`suffuse.codecs.image.ImageCodec`, and a value v becomes
    2 v / 255 - 1. A clip has exactly T frames, whatever its rate. For frames of the codec's own size
    ``decode(encode(x))`` has the frames of x to the letter.

    A raw item is a :class:`suffuse.clips.Clip`; its holes are frames that are not known.

    Args:
        length: T.
        size: side of the frames, or (height, width), in pixels.
        channels: 1 for grey, 3 for colour.
        rate: frames a second of what is drawn.

    Raises:
        UserError: the size or the length is not positive, or the number of channels is neither 1 nor 3.

    Example:
        >>> codec = VideoCodec(2, 1, 1, Fraction(25))
        >>> codec.encode([Clip(np.full((2, 3, 3, 1), 255, np.uint8), Fraction(30))])
        tensor([[[[[1.]],
                  [[1.]]]]])
    """

    kind: ClassVar[str] = "video"
    splits: ClassVar[bool] = True

    def __init__(self, length: int, size: int | tuple[int, int], channels: Literal[1, 3], rate: Fraction) -> None:
        if length < 1:
            raise UserError(f"a clip of {length} frames is empty; give at least 1")
        if channels not in (1, 3):
            raise UserError(f"videos of {channels} channels are not known; give 1 (grey) or 3 (colour)")
        self.length, self.rate, self.frames = length, rate, ImageCodec(size, channels)

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """(C, T, H, W)."""
        channels, height, width = self.frames.shape
        return channels, self.length, height, width

    @property
    def window(self) -> int:
        """T."""
        return self.length

    @property
    def quantum(self) -> float:
        """2 / 255."""
        return self.frames.quantum

    @property
    def bounds(self) -> tuple[float, float]:
        """Black and white."""
        return self.frames.bounds

    def pack(self, raw: Sequence[Any]) -> Tensor:
        """Return uint8, (B, C, T, H, W).

        Raises:
            UserError: an item has another number of frames.
        """
        packed = torch.empty((len(raw), *self.shape), dtype=torch.uint8)
        for item, clip in zip(packed, raw, strict=True):
            if len(clip.frames) != self.length:
                raise UserError(f"the clip has {len(clip.frames)} frames, and the model sees {self.length} at once")
            item.copy_(self._frames(clip).movedim(0, 1))
        return packed

    def unpack(self, packed: State, rng: Streams | None = None) -> Tensor:
        """Return the states of packed clips, float32 in [-1, 1]."""
        return cast(Tensor, packed).float() / 127.5 - 1

    def decode(self, state: State) -> list[Any]:
        """Return a clip per state, values clamped and rounded."""
        values = cast(Tensor, state).detach().float().cpu()
        levels = ((values + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)
        return [Clip(frames, self.rate) for frames in levels.permute(0, 2, 3, 4, 1).numpy()]

    def _frames(self, clip: Clip) -> Tensor:
        """(T, C, H, W) uint8 of any number of frames."""
        return self.frames.pack(clip.pictures())

    def _own(self, clip: Clip) -> Clip:
        """The clip in the size and channels of the codec."""
        if clip.frames.shape[1:] == (*self.shape[2:], self.shape[0]):
            return clip
        return replace(clip, frames=self._frames(clip).permute(0, 2, 3, 1).numpy())

    def partial(self, raw: Sequence[Any]) -> tuple[State, State]:
        """Frames that are not known are what is asked for."""
        known = torch.from_numpy(np.stack([_known(clip) for clip in raw]))
        return self.encode(raw), known[:, None, :, None, None].expand(len(raw), *self.shape)

    def hollowed(self, raw: Any, start: float, stop: float) -> Any:
        """See the base class; in frames. A picture, which is a clip of one frame, gets the codec's rate."""
        first, last = int(start), int(stop)
        if (first, last) != (start, stop) or first > len(raw.frames):
            raise UserError(f"a hole of a video is between whole frames, of which there are {len(raw.frames)}, "
                            f"not from {start:g} to {stop:g}")  # fmt: skip
        own = self._own(raw)
        more = max(last - len(own.frames), 0)
        frames = np.concatenate([own.frames, np.zeros((more, *own.frames.shape[1:]), np.uint8)])
        known = np.concatenate([_known(own), np.zeros(more, bool)])
        known[first:last] = False
        return replace(own, frames=frames, known=known, rate=self.rate if len(raw.frames) == 1 else raw.rate)

    def part(self, raw: Any) -> Any:
        """The window that is filled next: the first gap, what is before it and, where it fits, as much behind it.

        Raises:
            UserError: the clip is shorter than a window.
        """
        window = self._window(raw)
        return replace(self._own(raw), frames=self._own(raw).frames[window], known=_known(raw)[window])

    def _window(self, raw: Clip) -> slice:
        count, known = len(raw.frames), _known(raw)
        if count < self.length:
            raise UserError(f"a clip of {count} frames is shorter than the {self.length} that the model sees at once")
        return window_of_gap(known, self.length)

    def rejoin(self, raw: Any, part: Any) -> Any:
        """The clip with the window in its place."""
        own, window = self._own(raw), self._window(raw)
        frames, known = own.frames.copy(), _known(raw).copy()
        frames[window], known[window] = part.frames, True
        return replace(own, frames=frames, known=known)

    def put_back(self, raw: Any, item: Any) -> Any:
        """With the frames that were known, which are resized and cropped where they were of another size."""
        own = self._own(raw)
        frames = np.where(_known(raw)[:, None, None, None], own.frames, item.frames)
        return replace(own, frames=frames, known=None, info=item.info)

    def unfinished(self, raw: Any) -> bool:
        """Whether a frame is not known."""
        return not _known(raw).all()

    def in_place_of(self, raw: Any, item: Any) -> Any:
        """At its rate, or at what lets other numbers of frames take as long; with its sound."""
        rate = raw.rate * Fraction(len(item.frames), len(raw.frames))
        return replace(item, rate=rate, sound=raw.sound, start=raw.start)

    def together(self, draws: Sequence[Any]) -> Clip:
        """The mean of clips: of all guesses the one whose squared error is least."""
        total = sum(draw.frames.astype(np.float32) for draw in draws)
        return replace(draws[0], frames=np.rint(total / len(draws)).astype(np.uint8))

    def resized(self, size: int | Sequence[int] | None) -> Self:
        """See the base class; (frames, height, width), or the side of the frames alone."""
        if size is None:
            return self
        size = (self.length, size, size) if isinstance(size, int) else tuple(size)
        if len(size) != 3:
            raise UserError(
                f"the size of a video is the side of its frames, or frames, height and width, not {len(size)} numbers"
            )
        channels: Any = self.frames.channels
        return type(self)(size[0], (size[1], size[2]), channels, self.rate)

    def of_size(self, raw: Any) -> Self:
        """See the base class."""
        if not isinstance(raw, Clip):
            raise UserError(f"this model is told a clip or a tensor, not a {type(raw).__name__}")
        return self.resized(raw.size)

    def measured(self, shape: tuple[int, ...]) -> "VideoCodec | None":
        """See the base class; a clip of any size, grey or coloured."""
        if len(shape) != 4 or shape[0] not in (1, 3):
            return None
        channels: Any = shape[0]
        return VideoCodec(shape[1], (shape[2], shape[3]), channels, self.rate)

    def changes(self, mask: Any, raw: Any) -> State:
        """See the base class; the mask is a picture of the size of the frames, white for change in all of them."""
        white = cast(Tensor, self.frames.changes(mask, raw.pictures([0])[0]))
        return white[:, :, None].expand(1, *self.shape)

    def pieces(self, raw: Any) -> list[Any]:
        """Windows one after the other; frames behind the last whole one are not looked at.

        Raises:
            UserError: the clip is shorter than a window.
        """
        count = len(raw.frames)
        if count < self.length:
            raise UserError(f"a clip of {count} frames is shorter than the {self.length} that the model sees at once")
        starts = range(0, count - self.length + 1, self.length)
        return [replace(raw, frames=raw.frames[start : start + self.length]) for start in starts]

    def dimensions(self, raw: Any) -> int:
        """Elements of the states of all windows."""
        return len(raw.frames) // self.length * int(np.prod(self.shape))

    def items(self, collection: Any) -> Sequence[Any]:
        """One clip is a collection of one."""
        return [collection] if isinstance(collection, Clip) else collection

    def config(self) -> dict[str, JSON]:
        """Return length, size, channels and rate."""
        return {"length": self.length, "rate": str(self.rate), **self.frames.config()}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        """Rebuild the codec that `config` described."""
        height, width = config["size"]
        return cls(config["length"], (height, width), config["channels"], Fraction(config["rate"]))


def _known(clip: Clip) -> np.ndarray:
    return np.ones(len(clip.frames), bool) if clip.known is None else clip.known
