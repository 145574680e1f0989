"""Sounds: samples, or a short-time spectrum that leads back to them."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar, Self, cast

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from suffuse.codecs.base import JSON, Codec
from suffuse.codecs.windows import window_of_gap
from suffuse.errors import UserError
from suffuse.rng import Streams
from suffuse.sounds import Sound
from suffuse.spectra import frames, powered, signal, spectrum
from suffuse.tree import State

_DEVIATION = 0.5
"""Of the elements of states."""


class SoundCodec(Codec):
    r"""Sounds to float32 states and back: spectra (B, 2 C, h, M), or samples (B, C, T).

    A sound is brought to the codec's rate and channels. A state of samples is them times the gain; one of a spectrum
    :math:`g \, |X|^{p - 1} X`, with X of :func:`suffuse.spectra.spectrum`, real parts before imaginary ones.
    ``decode(encode(x))`` is x within 100 decibels. A sound that is shorter than T is followed by silence.

    A raw item is a :class:`suffuse.sounds.Sound`; its holes are samples that are not known. Of items that are longer
    streams draw a window, see :meth:`unpack`.

    Args:
        rate: samples a second.
        channels: C.
        length: T.
        hop: h, samples from frame to frame; None for a state of samples.
        compression: p, of magnitudes; 1 leaves the state linear in the samples.
        gain: g.

    Raises:
        UserError: a number is not positive.

    Example:
        >>> codec = SoundCodec(8000, 1, 6, hop=4)
        >>> codec.shape
        (2, 4, 3)
        >>> codec.decode(codec.encode([Sound(np.ones((1, 6), np.float32), 8000)]))[0].samples.round(4)
        array([[1., 1., 1., 1., 1., 1.]], dtype=float32)
    """

    kind: ClassVar[str] = "audio"
    splits: ClassVar[bool] = True

    def __init__(
        self,
        rate: int,
        channels: int,
        length: int,
        hop: int | None = None,
        compression: float = 1.0,
        gain: float = 1.0,
    ) -> None:
        if min(rate, channels, length, hop or 1, compression, gain) <= 0:
            raise UserError("rate, channels, length, hop, compression and gain of a sound are positive numbers")
        self.rate, self.channels, self.length = rate, channels, length
        self.hop, self.compression, self.gain = hop, compression, gain

    def fitted(self, sounds: Sequence[Sound]) -> Self:
        """With the gain that gives the states of these sounds a deviation of one half."""
        plain = self._with(gain=1.0)
        squares = np.mean([float(cast(Tensor, plain.encode([sound])).square().mean()) for sound in sounds])
        return self._with(gain=round(_DEVIATION / float(np.sqrt(squares)), 4) if squares else 1.0)

    def _with(self, **changed: Any) -> Self:
        return self.from_config({**self.config(), **changed})

    @property
    def shape(self) -> tuple[int, ...]:
        """(2 C, h, M) or (C, T)."""
        if self.hop is None:
            return self.canvas
        return 2 * self.channels, self.hop, frames(self.length, self.hop)

    @property
    def canvas(self) -> tuple[int, ...]:
        """(C, T): samples, of which full scale is 1."""
        return self.channels, self.length

    @property
    def bounds(self) -> tuple[float, float]:
        """Full scale."""
        return -1.0, 1.0

    @property
    def scale(self) -> float | None:
        """Of samples the gain."""
        return self.gain if self.hop is None else None

    @property
    def linear(self) -> bool:
        """Whether samples are a linear function of a state."""
        return self.hop is None or self.compression == 1

    def rendered(self, state: Tensor) -> Tensor:
        """The samples of states, (B, C, T); differentiable, and of states in all of the space that they are in."""
        state = state / self.gain
        if self.hop is None:
            return state
        return signal(powered(state, 1 / self.compression), self.hop, self.length)

    def pack(self, raw: Sequence[Any]) -> State:
        """Samples (B, C, 2 T), of which those behind the end are 0, and how many there are.

        Raises:
            UserError: an item has more than 2 T samples, or none.
        """
        samples = torch.zeros(len(raw), self.channels, 2 * self.length)
        for place, item in zip(samples, raw, strict=True):
            own = self._own(item)
            if not 1 <= own.length <= 2 * self.length:
                raise UserError(f"the sound has {own.length} samples, and the model sees {self.length} at once")
            place[:, : own.length] = torch.from_numpy(np.nan_to_num(own.samples))
        return {"samples": samples, "count": torch.tensor([self._own_length(item) for item in raw])}

    def unpack(self, packed: State, rng: Streams | None = None) -> Tensor:
        """States of T samples of each item: the first, or with streams a window that is drawn."""
        assert isinstance(packed, Mapping)
        samples, count = cast(Tensor, packed["samples"]), cast(Tensor, packed["count"])
        if rng is not None:
            room = (count - self.length).clamp(min=0)
            first = (rng.fold("window").uniform(torch.empty(len(rng), device=samples.device)) * (room + 1)).long()
            places = first[:, None, None] + torch.arange(self.length, device=samples.device)
            samples = samples.gather(2, places.expand(-1, self.channels, -1))
        return self._state(samples[..., : self.length])

    def _state(self, samples: Tensor) -> Tensor:
        if self.hop is None or not len(samples):
            return samples.new_empty(len(samples), *self.shape) if self.hop else samples * self.gain
        # Each by itself, so that it is the same to the bit in any company.
        each = [powered(spectrum(item, self.hop), self.compression) for item in samples.split(1)]
        return torch.cat(each) * self.gain

    def decode(self, state: State) -> list[Any]:
        """A sound of T samples for each state."""
        samples = self.rendered(cast(Tensor, state).detach().float().cpu())
        return [Sound(each, self.rate) for each in samples.numpy()]

    def _own(self, sound: Sound) -> Sound:
        """The sound at the rate and in the channels of the codec."""
        return sound.mixed(self.channels).at(self.rate)

    def _own_length(self, sound: Sound) -> int:
        return sound.length if sound.rate == self.rate else self._own(sound).length

    def partial(self, raw: Sequence[Any]) -> tuple[State, State]:
        """Samples that are not known are what is asked for, and all that is told by frames that see one of them."""
        sounds = [self._own(item) for item in raw]
        quiet = [replace(each, samples=np.where(_known(each), each.samples, 0.0)) for each in sounds]
        known = torch.zeros(len(raw), 1, self.length)
        for place, each in zip(known, sounds, strict=True):
            place[:, : each.length] = torch.from_numpy(_known(each))
        if self.hop is not None:  # a frame sees two hops, and nothing can be missing beyond the ends
            padded = F.pad(known, (0, -self.length % self.hop), value=1.0)
            hops = F.pad(padded.unflatten(2, (-1, self.hop)).amin(3), (1, 1), value=1.0)
            known = torch.minimum(hops[..., :-1], hops[..., 1:])[:, :, None]
        return self.encode(quiet), (known > 0).expand(len(raw), *self.shape)

    def hollowed(self, raw: Any, start: float, stop: float) -> Any:
        """See the base class; in seconds."""
        own = self._own(raw)
        first, last = round(start * self.rate), round(stop * self.rate)
        if first > own.length or first == last:
            raise UserError(f"the hole from {start:g} to {stop:g} s is not in the sound, which has {own.seconds:g} s, "
                            f"and {self.rate} samples a second")  # fmt: skip
        more = max(last - own.length, 0)
        samples, known = np.pad(own.samples, ((0, 0), (0, more))), np.pad(_known(own), (0, more))
        known[first:last] = False
        return replace(own, samples=samples, known=known)

    def unfinished(self, raw: Any) -> bool:
        """Whether a sample is not known."""
        return not _known(raw).all()

    def part(self, raw: Any) -> Any:
        """The window that is filled next: the first gap, what is before it and, where it fits, as much behind it."""
        own = self._own(raw)
        if own.length <= self.length:
            return own
        window = window_of_gap(_known(own), self.length)
        return replace(own, samples=own.samples[:, window], known=_known(own)[window])

    def rejoin(self, raw: Any, part: Any) -> Any:
        """The sound with the window in its place."""
        own = self._own(raw)
        window = slice(0, own.length) if own.length <= self.length else window_of_gap(_known(own), self.length)
        samples, known = own.samples.copy(), _known(own).copy()
        samples[:, window], known[window] = part.samples, True
        return replace(own, samples=samples, known=known)

    def put_back(self, raw: Any, item: Any) -> Any:
        """With the samples that were known."""
        own = self._own(raw)
        samples = np.where(_known(own), own.samples, item.samples[:, : own.length])
        return replace(own, samples=samples.astype(np.float32), known=None, info=item.info)

    def in_place_of(self, raw: Any, item: Any) -> Any:
        """As long as that, without the silence that follows one that is shorter than a state."""
        return replace(item, samples=item.samples[:, : self._own_length(raw)])

    def together(self, draws: Sequence[Any]) -> Sound:
        """The mean of sounds: of all guesses the one whose squared error is least."""
        return replace(draws[0], samples=np.mean([draw.samples for draw in draws], 0, dtype=np.float32))

    def resized(self, size: int | Sequence[int] | None) -> Self:
        """See the base class: samples, or the space axes of a state, (h, M)."""
        if size is None:
            return self
        lengths = [size] if isinstance(size, int) else list(size)
        if len(lengths) == 2 and lengths[0] == self.hop:
            return self._with(length=(lengths[1] - 1) * lengths[0])
        if len(lengths) != 1:
            raise UserError(f"the size of a sound is its number of samples, not {len(lengths)} numbers")
        return self._with(length=lengths[0])

    def of_size(self, raw: Any) -> Self:
        """See the base class; what is shorter than a state is followed by silence."""
        if not isinstance(raw, Sound):
            raise UserError(f"this model is told a sound or a tensor, not a {type(raw).__name__}")
        own = self._own_length(raw)
        return self if own <= self.length else self._with(length=own)

    def measured(self, shape: tuple[int, ...]) -> "SoundCodec | None":
        """See the base class; samples in any channels, as long as the sound."""
        if len(shape) != 2 or shape[1] != self.length:
            return None
        return SoundCodec(self.rate, shape[0], self.length)

    def pieces(self, raw: Any) -> list[Any]:
        """Windows one after the other; samples behind the last whole one are not looked at, if there is one."""
        own = self._own(raw)
        starts = range(0, max(own.length - self.length, 0) + 1, self.length)
        return [replace(own, samples=own.samples[:, start : start + self.length]) for start in starts]

    def dimensions(self, raw: Any) -> int:
        """Elements of the states of all windows."""
        return len(self.pieces(raw)) * int(np.prod(self.shape))

    def items(self, collection: Any) -> Sequence[Any]:
        """One sound is a collection of one."""
        return [collection] if isinstance(collection, Sound) else collection

    def config(self) -> dict[str, JSON]:
        """Return all arguments."""
        names = ("rate", "channels", "length", "hop", "compression", "gain")
        return {name: getattr(self, name) for name in names}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        """Rebuild the codec that `config` described."""
        return cls(**config)


def _known(sound: Sound) -> np.ndarray:
    return np.ones(sound.length, bool) if sound.known is None else sound.known
