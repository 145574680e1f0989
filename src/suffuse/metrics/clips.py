"""How good clips are: how frames follow each other, and frames that were left out beside what needs no learning."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from suffuse.clips import Clip
from suffuse.codecs.video import VideoCodec
from suffuse.metrics import restoration
from suffuse.metrics.bootstrap import Interval, bootstrap
from suffuse.metrics.frechet import frechet_distance
from suffuse.metrics.judge import Judge, train_judge

_EPOCHS, _PAIRS, _APART = 6, 3000, 4
_BEST = 60.0
"""Decibels: what is nearer than rounding counts as this near."""


def states(clips: Sequence[Clip], like: Clip) -> Tensor:
    """Clips as (N, C, T, H, W) in [-1, 1], of the size of another, which has as many frames."""
    frames, height, width, channels = like.frames.shape
    codec = VideoCodec(frames, (height, width), 1 if channels == 1 else 3, like.rate)
    return codec.unpack(codec.pack(clips))


def judge_of(state: Tensor, labels: Sequence[Any] | None, seed: int = 0) -> Judge:
    """A network to look with: one that learned to tell how far two frames of a clip are apart, 0 to 3 frames.

    It learns what the clip is as well, where somebody labels them.

    Args:
        state: (N, C, T, H, W) in [-1, 1].
        labels: of each clip.
        seed: of the weights and of the pairs.

    Source, for learning from the order of frames: "Shuffle and Learn: Unsupervised Learning Using Temporal Order
    Verification" (Misra, Zitnick, Hebert, 2016).
    """
    rng, (count, _, length) = np.random.default_rng(seed), state.shape[:3]
    chosen = rng.integers(0, count, min(_PAIRS, 8 * count))
    apart = rng.integers(0, min(_APART, length), len(chosen))
    early = rng.integers(0, length - apart)
    pairs = torch.cat([state[chosen, :, early], state[chosen, :, early + apart]], 1)
    known = {label: place for place, label in enumerate(dict.fromkeys(labels or [None] * count))}
    what = np.array([known[label] for label in labels or [None] * count])[chosen]
    return train_judge(pairs, torch.from_numpy(what * _APART + apart), seed, _EPOCHS)


@torch.no_grad()
def seen(state: Tensor, judge: Judge) -> Tensor:
    """(N, T - 1, F): the features of each frame with the next."""
    pairs = torch.cat([state[:, :, :-1], state[:, :, 1:]], 1).movedim(2, 1)
    return judge.features(pairs.flatten(0, 1)).unflatten(0, pairs.shape[:2])


def frechet(real: Tensor, other: Tensor, judge: Judge) -> Interval:
    """Frechet distance of two collections of clips (N, C, T, H, W) in what a judge sees of frames with the next."""
    ours, theirs = seen(real, judge), seen(other, judge)

    def between(a: np.ndarray, b: np.ndarray) -> float:
        return frechet_distance(ours[torch.from_numpy(a)].flatten(0, 1), theirs[torch.from_numpy(b)].flatten(0, 1))

    return bootstrap(between, [len(ours), len(theirs)], rounds=50, least=0.0)


def psnr(found: Tensor, truth: Tensor) -> Tensor:
    """(N,) see :func:`suffuse.metrics.restoration.psnr`, but 60 dB where both are the same."""
    return restoration.psnr(found, truth).clamp(max=_BEST)


def spans(length: int) -> dict[str, tuple[int, int]]:
    """The quarter in the middle of so many frames, where there is one, and the last quarter: from, to.

    Example:
        >>> spans(8)
        {'in between': (3, 5), 'next': (6, 8)}
    """
    quarter = max(1, length // 4)
    first = (length - quarter) // 2
    middle = {"in between": (first, first + quarter)} if first else {}
    return middle | {"next": (length - quarter, length)}


def blended(whole: Tensor, first: int, last: int) -> Tensor:
    """Lines from the frame before a gap to that behind it; the frame before, where there is none behind.

    Args:
        whole: (N, C, T, ...).
        first: frame of the gap.
        last: the frame behind it.

    Example:
        >>> blended(torch.tensor([[[0.0, 9.0, 9.0, 3.0]]]), 1, 3)
        tensor([[[0., 1., 2., 3.]]])
    """
    filled, before = whole.clone(), whole[:, :, first - 1]
    behind = whole[:, :, last] if last < whole.shape[2] else before
    for number in range(first, last):
        filled[:, :, number] = torch.lerp(before, behind, (number - first + 1) / (last - first + 1))
    return filled
