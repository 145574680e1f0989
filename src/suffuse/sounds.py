"""Raw items of sounds: samples at an even rate, how they are written to files, and what they look like at a glance."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from suffuse.errors import UserError
from suffuse.pictures import METADATA, sheet

_ZEROS, _ROLL_OFF = 24, 0.95
"""Of the filter that changes rates: its zero crossings to each side, and where it begins to fall, as a share."""
_MOST_PHASES = 2000
"""Rates that are not in the ratio of numbers up to this one are taken to be in the next that is."""
_LOUDEST = 70.0
"""Decibels from the loudest, which is black in a spectrogram, to what is white."""


@dataclass(frozen=True)
class Sound:
    """Samples at an even rate.

    Args:
        samples: (C, T) float32, full scale being from -1 to 1.
        rate: samples a second.
        known: (T,) bool, which samples there are; None for all of them.
        info: how it was made, as of a picture.

    Example:
        >>> Sound(np.zeros((2, 4000), np.float32), 8000).seconds
        0.5
    """

    samples: np.ndarray
    rate: int
    known: np.ndarray | None = None
    info: dict[str, str] = field(default_factory=dict)

    @property
    def length(self) -> int:
        """T."""
        return self.samples.shape[1]

    @property
    def seconds(self) -> float:
        """How long it takes."""
        return self.length / self.rate

    def at(self, rate: int) -> "Sound":
        """The same at another rate; what is not known stays so."""
        if rate == self.rate:
            return self
        samples = resampled(self.samples, self.rate, rate)
        known = self.known
        if known is not None:
            places = (np.arange(samples.shape[1]) * self.rate / rate).round().astype(int)
            known = known[places.clip(0, len(known) - 1)]
        return Sound(samples, rate, known, self.info)

    def mixed(self, channels: int) -> "Sound":
        """The same in so many channels: of more of them each new one is the mean of every so many-th, of one copies."""
        own = len(self.samples)
        if own == channels:
            return self
        parts = [self.samples[first::channels] if own > first else self.samples for first in range(channels)]
        return Sound(np.stack([part.mean(0) for part in parts]), self.rate, self.known, self.info)


def count_at(length: int, rate: int, other: int) -> int:
    """How many samples so many become at another rate, at least one."""
    return max(1, math.ceil(length * other / rate))


def resampled(samples: np.ndarray, rate: int, other: int) -> np.ndarray:
    """Samples (C, T) at another rate, without what that cannot hold; by a windowed sinc.

    Source: "Digital Audio Resampling" (Smith, 2002).

    Example:
        >>> resampled(np.ones((1, 30), np.float32), 3, 2).shape
        (1, 20)
    """
    ratio = Fraction(other, rate).limit_denominator(_MOST_PHASES)
    down = ratio.denominator
    kernels, reach = _kernels(ratio.numerator, down)
    x = torch.from_numpy(np.ascontiguousarray(samples))[:, None]
    padded = F.pad(x, (reach, reach + down))
    made = F.conv1d(padded, kernels, stride=down).transpose(1, 2).flatten(1)
    return made[:, : count_at(samples.shape[1], rate, other)].numpy()


@lru_cache(maxsize=16)
def _kernels(up: int, down: int) -> tuple[Tensor, int]:
    """One kernel for each of the `up` samples that are made of `down`, (up, 1, K), and how far they reach back."""
    limit = _ROLL_OFF * min(up / down, 1.0)
    reach = math.ceil(_ZEROS / limit)
    taps = torch.arange(-reach, reach + down, dtype=torch.float64)
    shifts = torch.arange(up, dtype=torch.float64)[:, None] * down / up
    time = (taps - shifts) * limit
    window = torch.cos(time.clamp(-_ZEROS, _ZEROS) * math.pi / (2 * _ZEROS)) ** 2
    kernels = limit * torch.sinc(time) * window
    return (kernels / kernels.sum(1, keepdim=True)).float()[:, None], reach


def spectrogram(samples: np.ndarray, rate: int) -> np.ndarray:
    """Power (K, frames) of the mean of the channels in decibels, low frequencies first; windows of about 16 ms."""
    size = 2 ** max(4, round(math.log2(rate * 0.016)))
    x = torch.from_numpy(samples.mean(0))
    x = F.pad(x, (0, max(0, size - len(x))))
    spectrum = torch.stft(x, size, size // 4, window=torch.hann_window(size), return_complex=True, pad_mode="constant")
    return (20 * spectrum.abs().clamp(min=1e-7).log10()).numpy()


def portraits(sounds: Sequence[Sound], columns: int = 4, width: int = 320) -> Image.Image:
    """Waveform and spectrogram of each sound, drawn to one scale of loudness; dark is loud, and high is above.

    Args:
        sounds: at least one.
        columns: per row, at most.
        width: of each in pixels.

    Example:
        >>> portraits([Sound(np.zeros((1, 800), np.float32), 8000)] * 2).size
        (646, 190)
    """
    power = [spectrogram(each.samples, each.rate) for each in sounds]
    top = max(float(each.max()) for each in power)
    peak = max(float(np.abs(each.samples).max()) for each in sounds) or 1.0
    drawn = [
        Image.fromarray(np.concatenate([_wave(sound.samples / peak, width), _levels(each - top, width)]))
        for sound, each in zip(sounds, power, strict=True)
    ]
    return sheet(drawn, min(columns, len(drawn)), scale=1)


def _wave(samples: np.ndarray, width: int, height: int = 58) -> np.ndarray:
    """Black between the least and the greatest sample of each column, (height, width) uint8."""
    places = np.linspace(0, samples.shape[1] - 1, width + 1).astype(int)
    line = samples.mean(0)
    spans = [line[first : max(last, first) + 1] for first, last in pairwise(places)]
    rows = (1 - np.array([[span.max(), span.min()] for span in spans])) / 2 * (height - 1)
    high, low = np.floor(rows[:, 0]), np.ceil(rows[:, 1])
    row = np.arange(height)[:, None]
    return np.where((row >= high) & (row <= low), 0, 255).astype(np.uint8)


def _levels(decibels: np.ndarray, width: int, height: int = 128) -> np.ndarray:
    """(height, width) uint8 from white to black over :data:`_LOUDEST` decibels."""
    levels = (-decibels * (255 / _LOUDEST)).clip(0, 255).astype(np.uint8)
    return np.asarray(Image.fromarray(levels[::-1]).resize((width, height), Image.Resampling.BILINEAR))


def write_sound(sound: Sound, path: Path, form: str) -> None:
    """Write a file of sound: WAV of 16 bits, FLAC, OGG or MP3; what is louder than full scale is cut.

    Raises:
        UserError: soundfile, which writes it, is not installed.
    """
    name, subtype = _FORMS[form]
    with soundfile().SoundFile(str(path), "w", sound.rate, len(sound.samples), subtype, format=name) as file:
        if METADATA in sound.info:
            file.comment = sound.info[METADATA]
        file.write(sound.samples.T.clip(-1, 1 - 2**-15))


_FORMS = {
    ".wav": ("WAV", "PCM_16"),
    ".flac": ("FLAC", "PCM_16"),
    ".ogg": ("OGG", "VORBIS"),
    ".mp3": ("MP3", "MPEG_LAYER_III"),
}
SOUND_FORMS = tuple(_FORMS)
"""Suffixes of what is written."""


def soundfile() -> Any:
    """The library that reads and writes files of sound.

    Raises:
        UserError: it is not installed.
    """
    try:
        import soundfile as library
    except (ImportError, OSError) as missing:
        raise UserError("sounds are read and written with soundfile: pip install 'suffuse[audio]'") from missing
    return library
