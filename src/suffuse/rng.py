r"""Random numbers that depend on (seed, sample, purpose) alone, never on the batch.

One :class:`Streams` holds a stream per sample. A draw is a pure function

.. math:: u_{ij} = h(k_i, j), \qquad k_i = \text{hash}(\text{seed}, \text{index}_i, \text{purpose}),

so that the same call gives the same numbers, on any device, whatever samples stand beside, in whatever order.
A new purpose is a new stream: ``rng.fold("noise")``. The hash is that of SplitMix64, applied twice with two
keys per stream ("Fast Splittable Pseudorandom Number Generators", Steele, Lea, Flood, 2014).
"""

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import Tensor

from suffuse.tree import State, batch_size, device

_GAMMA = 0x9E3779B97F4A7C15  # 2**64 / golden ratio: also the step of the low-discrepancy sequence
_BITS = 52  # with half a step added, a number of 53 bits: never rounded up to 1
_PATH_DEPTH = 24  # a Brownian path is resolved to 2**-24 of the unit of time


def _signed(value: int) -> int:
    """The 64-bit two's complement that torch's int64 wants."""
    value &= (1 << 64) - 1
    return value - (1 << 64) if value >= 1 << 63 else value


def _shift(x: Tensor, bits: int) -> Tensor:
    """Logical right shift of int64."""
    return (x >> bits) & ((1 << (64 - bits)) - 1)


def _mix(x: Tensor) -> Tensor:
    """The finaliser of SplitMix64: a bijection of 64 bits with full avalanche."""
    x = (x ^ _shift(x, 30)) * _signed(0xBF58476D1CE4E5B9)
    x = (x ^ _shift(x, 27)) * _signed(0x94D049BB133111EB)
    return x ^ _shift(x, 31)


def _word(purpose: str | int | float) -> int:
    """A 64-bit number for a purpose."""
    return int.from_bytes(hashlib.blake2b(repr(purpose).encode(), digest_size=8).digest(), "little")


@dataclass(frozen=True, slots=True)
class Streams:
    """Independent streams of random numbers, one per sample.

    Args:
        seed: any integer.
        index: (B,) int64, the global index of each sample.
        key: (B, 2) int64, the state of each stream; made by :meth:`of`.

    Example:
        >>> few, many = Streams.of(0, range(2)), Streams.of(0, range(100))
        >>> like = torch.empty(2, 3)
        >>> torch.equal(few.normal(like), many.normal(torch.empty(100, 3))[:2])
        True
    """

    seed: int
    index: Tensor
    key: Tensor

    @classmethod
    def of(cls, seed: int, index: Sequence[int] | Tensor) -> "Streams":
        """Streams of the samples with these global indices."""
        index = (
            torch.as_tensor(index, dtype=torch.int64)
            if not isinstance(index, range)
            else torch.arange(index.start, index.stop, index.step)
        )
        words = torch.tensor([_signed(_word(seed)), _signed(_word(-seed - 1))], device=index.device)
        return cls(seed, index, _mix(_mix(index[:, None] * _signed(_GAMMA) + words) + words.flip(0)))

    def __len__(self) -> int:
        return len(self.index)

    def __getitem__(self, items: slice | Tensor) -> "Streams":
        """The streams of some of the samples."""
        return Streams(self.seed, self.index[items], self.key[items])

    def fold(self, *purposes: str | int | float) -> "Streams":
        """Streams for another purpose, independent of these."""
        key = self.key
        for purpose in purposes:
            key = _mix(key ^ _signed(_word(purpose)))
        return Streams(self.seed, self.index, key)

    def at(self, *times: Tensor) -> "Streams":
        """Streams for a draw at these times, each item's for its own: shapes ``()``, ``(B,)``, ``(B, L)``."""
        key = self.key
        for t in times:
            bits = t.to(key.device, torch.float64).view(torch.int64)
            rows = bits.reshape(1, 1) if t.ndim == 0 else bits.flatten(1) if t.ndim > 1 else bits[:, None]
            place = torch.arange(1, rows.shape[1] + 1, device=key.device) * _signed(_GAMMA)
            key = _mix(key ^ _mix(rows + place).sum(1, keepdim=True))
        return Streams(self.seed, self.index, key)

    def uniform(self, like: Tensor) -> Tensor:
        """Uniform numbers in (0, 1), float64, of the shape and device of ``like``, with 52 random bits."""
        key = self.key.to(like.device)
        count = math.prod(like.shape[1:])
        counter = torch.arange(1, count + 1, device=like.device) * _signed(_GAMMA)
        bits = _mix(_mix(key[:, :1] + counter) ^ key[:, 1:])
        return ((_shift(bits, 64 - _BITS).double() + 0.5) * 2.0**-_BITS).reshape(like.shape)

    def normal(self, like: Tensor) -> Tensor:
        """Standard normal numbers of the shape, device and (real) dtype of ``like``, by the inverse distribution."""
        z = torch.erfinv(2 * self.uniform(like) - 1).mul_(math.sqrt(2))
        return z.to(like.dtype)

    def low_discrepancy(self) -> Tensor:
        r"""(B,) numbers in [0, 1) that fill it evenly over consecutive samples.

        Kronecker's sequence :math:`u_i = \{u_0 + i \phi\}` with the golden ratio: every run of consecutive samples,
        and so every global batch, covers [0, 1) with gaps of order 1/B, however it is split over devices.
        """
        start = Streams.of(self.seed, [0]).fold("low discrepancy").key[0, 0].to(self.index.device)
        return _shift(start + self.index * _signed(_GAMMA), 64 - _BITS).double() * 2.0**-_BITS

    def brownian(self, like: Tensor, t: Tensor | float, s: Tensor | float) -> Tensor:
        r"""Normalised increment :math:`(W_t - W_s) / \sqrt{t - s}` of one Brownian path per element over [0, 1].

        Standard normal, and independent over disjoint intervals; a finer grid refines the same path. The path
        is found by bisection (the Brownian tree of "Scalable Gradients for Stochastic Differential Equations",
        Li, Wong, Chen, Duvenaud, 2020), resolved to 2**-24: shorter intervals draw afresh.

        Args:
            like: tensor whose shape, device and dtype to take.
            t: later time, in (s, 1]; any prefix shape of ``like``.
            s: earlier time, in [0, 1].
        """
        t, s = torch.as_tensor(t, dtype=torch.float64), torch.as_tensor(s, dtype=torch.float64)
        if max(t.ndim, s.ndim) > 1:  # every element its own clock: no common path, but still a function of the times
            return self.fold("times").at(t, s).normal(like)
        if t.ndim or s.ndim:  # every item its own interval
            rows = zip(*(torch.broadcast_to(v, like.shape[:1]).tolist() for v in (t, s)), strict=True)
            return torch.cat([self[i : i + 1].brownian(like[i : i + 1], *row) for i, row in enumerate(rows)])
        wide = torch.empty(like.shape, dtype=torch.float64, device=like.device)
        if t - s < 2.0**-_PATH_DEPTH:
            return self.fold("short").at(t, s).normal(like)
        return ((self._path(wide, float(t)) - self._path(wide, float(s))) / math.sqrt(t - s)).to(like.dtype)

    def _path(self, like: Tensor, t: float) -> Tensor:
        """The path at time t: W_0 = 0, W_1 normal, and midpoints drawn from the bridge between their neighbours."""
        cell, left, right = 0.0, torch.zeros_like(like), self.fold("path", 1.0).normal(like)
        width = 1.0
        for _ in range(_PATH_DEPTH):
            if t in (cell, cell + width):
                return left if t == cell else right
            width /= 2
            middle = (left + right) / 2
            middle += math.sqrt(width / 2) * self.fold("path", cell + width).normal(like)
            if t < cell + width:
                right = middle
            else:
                cell, left = cell + width, middle
        # Within the last cell t is drawn by itself: an interval longer than a cell has its exact law.
        share = (t - cell) / width
        inside = math.sqrt(width * share * (1 - share)) * self.fold("path", t).normal(like)
        return torch.lerp(left, right, share) + inside


RandomSource: TypeAlias = Streams | torch.Generator | int | None


def streams(rng: RandomSource, like: State) -> Streams:
    """Turn any source of randomness into streams for the samples of a state.

    ``Streams`` pass through; an integer is a seed; a ``torch.Generator`` (or None, the global one) is asked for a
    seed, so that two calls with one generator differ.
    """
    if isinstance(rng, Streams):
        return rng
    if not isinstance(rng, int):
        where = rng.device if rng is not None else "cpu"
        rng = int(torch.randint(2**62, (), generator=rng, device=where))
    return Streams.of(rng, torch.arange(batch_size(state=like), device=device(like)))
