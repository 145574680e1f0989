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
_PLACES = 1 << 14  # a Brownian path is known at so many places of the unit of time
_ROUNDS = 6
_DRAWN_AT_ONCE = 1 << 16  # numbers, where several sets of them are drawn only to be added up


def _signed(value: int) -> int:
    """The 64-bit two's complement that torch's int64 wants."""
    value &= (1 << 64) - 1
    return value - (1 << 64) if value >= 1 << 63 else value


def _shift(x: Tensor, bits: int) -> Tensor:
    """Logical right shift of int64."""
    return (x >> bits).bitwise_and_((1 << (64 - bits)) - 1)


def _mix(x: Tensor) -> Tensor:
    """The finaliser of SplitMix64: a bijection of 64 bits with full avalanche."""
    x = _shift(x, 30).bitwise_xor_(x).mul_(_signed(0xBF58476D1CE4E5B9))
    x = _shift(x, 27).bitwise_xor_(x).mul_(_signed(0x94D049BB133111EB))
    return _shift(x, 31).bitwise_xor_(x)


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
        bits = _mix(_mix(key[:, :1] + counter).bitwise_xor_(key[:, 1:]))
        return _shift(bits, 64 - _BITS).double().add_(0.5).mul_(2.0**-_BITS).reshape(like.shape)

    def normal(self, like: Tensor) -> Tensor:
        """Standard normal numbers of the shape, device and (real) dtype of ``like``, by the inverse distribution."""
        return self.uniform(like).mul_(2).sub_(1).erfinv_().mul_(math.sqrt(2)).to(like.dtype)

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
        Li, Wong, Chen, Duvenaud, 2020). Times are rounded to 2**-14; an interval of which nothing is left draws afresh.

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
        upper, lower = round(float(t) * _PLACES), round(float(s) * _PLACES)
        if upper == lower:
            return self.fold("short").at(t, s).normal(like)
        weights = _mixed(_path(upper), _path(lower), 1.0, -1.0)
        size = math.sqrt((upper - lower) / _PLACES)
        return self.fold("path")._combined(like, {at: weight / size for at, weight in weights.items() if weight})

    def _combined(self, like: Tensor, weights: dict[int, float]) -> Tensor:
        """The normal numbers of several purposes, added up with these weights."""
        total = torch.zeros(like.numel(), dtype=torch.float64, device=like.device)
        words = torch.tensor([_signed(_word(purpose)) for purpose in weights], device=self.key.device)
        keys = _mix(self.key ^ words[:, None, None])
        factors = torch.tensor(list(weights.values()), dtype=torch.float64, device=like.device)
        at_once = max(1, _DRAWN_AT_ONCE // max(1, like.numel()))
        for part, factor in zip(keys.split(at_once), factors.split(at_once), strict=True):
            sets = total.new_empty(()).expand(part.shape[0] * part.shape[1], *like.shape[1:])
            total += factor @ Streams(self.seed, self.index, part.flatten(0, 1)).normal(sets).view(len(factor), -1)
        return total.reshape(like.shape).to(like.dtype)


def _path(place: int) -> dict[int, float]:
    """What W at a place is made of: the weights of normal numbers, by the places that they belong to.

    W_0 = 0, W_1 is normal, and midpoints are drawn from the bridge between their neighbours.
    """
    start, end, left, right = 0, _PLACES, dict[int, float](), {_PLACES: 1.0}
    while place not in (start, end):
        middle = (start + end) // 2
        between = _mixed(left, right, 0.5, 0.5)
        between[middle] = math.sqrt((end - start) / (4 * _PLACES))
        if place < middle:
            end, right = middle, between
        else:
            start, left = middle, between
    return left if place == start else right


def _mixed(a: dict[int, float], b: dict[int, float], of_a: float, of_b: float) -> dict[int, float]:
    """A linear combination."""
    return {at: of_a * a.get(at, 0.0) + of_b * b.get(at, 0.0) for at in {**a, **b}}


def permuted(place: Tensor, size: int, seed: int, *purposes: str | int | float) -> Tensor:
    """Places of [0, size) in an order that seed and purposes decide, each computed by itself: a bijection.

    A Feistel network of six rounds over the least even number of bits that holds them all, walked again from what lies
    beyond the size.

    Sources: "How to Construct Pseudorandom Permutations from Pseudorandom Functions" (Luby, Rackoff, 1988); "Ciphers
    with Arbitrary Finite Domains" (Black, Rogaway, 2002).

    Args:
        place: int64, in [0, size), of any shape.
        size: how many places there are.
        seed: any integer.
        purposes: what the order is for.

    Example:
        >>> permuted(torch.arange(5), 5, 0, "cards").sort().values
        tensor([0, 1, 2, 3, 4])
    """
    half = max(1, (max(size - 1, 1).bit_length() + 1) // 2)
    mask = (1 << half) - 1
    key = Streams.of(seed, [0]).fold(*purposes).key[0].to(place.device)
    x, beyond = place, torch.ones_like(place, dtype=torch.bool)
    while bool(beyond.any()):
        left, right = x >> half, x & mask
        for number in range(_ROUNDS):
            left, right = right, left ^ (_mix((right ^ key[0]) + _signed(_GAMMA * (number + 1)) ^ key[1]) & mask)
        x = torch.where(beyond, (left << half) | right, x)
        beyond = x >= size
    return x


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
