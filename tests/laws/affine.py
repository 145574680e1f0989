"""The variance at the end of a walk, without sampling.

For Gaussian data a walk is affine in its start and in every draw of noise, so that the variance is the sum of the
squares of its responses to each of them.
"""

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

import suffuse as sf
from suffuse.rng import Streams
from suffuse.samplers import Sampler


@dataclass(frozen=True)
class Impulses(Streams):
    """Noise by its purpose: item k has one for the k-th draw of the walk and zero for all others."""

    path: tuple[Any, ...] = ()
    draws: dict[tuple[Any, ...], int] = field(default_factory=dict)

    def fold(self, *purposes: str | float) -> "Impulses":
        return Impulses(self.seed, self.index, self.key, (*self.path, *purposes), self.draws)

    def at(self, *times: Tensor) -> "Impulses":
        return self.fold(*map(float, times))

    def normal(self, like: Tensor) -> Tensor:
        number = self.draws.setdefault(self.path, len(self.draws))
        one = torch.zeros(len(like), 1, dtype=like.dtype)
        one[number % len(like)] = 1
        return one

    def brownian(self, like: Tensor, t: Tensor | float, s: Tensor | float) -> Tensor:
        return self.fold("brownian", float(t), float(s)).normal(like)


def impulses(n: int) -> Impulses:
    streams = Streams.of(0, range(n))
    return Impulses(streams.seed, streams.index, streams.key)


def variance(sampler: Sampler, denoiser: sf.Denoiser, times: Tensor, at_start: float) -> float:
    """Of the end, for this variance at the start; the denoiser gives an affine mean and nothing else."""
    counting = impulses(1)
    sampler.walk(denoiser, torch.zeros(1, 1, dtype=torch.float64), times, None, counting, None)
    n = len(counting.draws)
    x1 = torch.zeros(n + 2, 1, dtype=torch.float64)
    x1[-1] = 1  # the last item answers to the start, the one before to nothing
    end = torch.as_tensor(sampler.walk(denoiser, x1, times, None, impulses(n + 2), None))[:, 0]
    response = end - end[-2]
    return float((response[:n] ** 2).sum() + response[-1] ** 2 * at_start)
