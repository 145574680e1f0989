"""Law 5: noise depends on (seed, sample, purpose, times) alone, and is uniform, normal, independent and Brownian."""

import math
from itertools import combinations, pairwise

import pytest
import torch
from scipy import stats
from torch import Tensor

from suffuse.rng import Streams, streams
from tests.laws.statistics import LEAST, zero_mean

F64 = torch.float64
LIKE = torch.empty(1000, 256, dtype=F64)
"""256,000 numbers."""
RNG = Streams.of(3, range(1000))

DRAWS = {
    "uniform": lambda rng, like: rng.uniform(like),
    "normal": lambda rng, like: rng.normal(like),
    "folded": lambda rng, like: rng.fold("a", 1, 0.5).normal(like),
    "brownian": lambda rng, like: rng.brownian(like, 0.75, 0.25),
    "short": lambda rng, like: rng.brownian(like, 0.3 + 1e-9, 0.3),
    "brownian per item": lambda rng, like: rng.brownian(like, (rng.index + 2) / 1000, (rng.index + 1) / 1000),
    "brownian per element": lambda rng, like: rng.brownian(
        like, *(((rng.index[:, None] + torch.arange(like.shape[1]) + k) / 2000) for k in (2, 1))
    ),
    "at": lambda rng, like: rng.at(rng.index / 1000, torch.tensor(0.3)).normal(like),
    "low discrepancy": lambda rng, like: rng.low_discrepancy(),
}


@pytest.mark.parametrize("draw", DRAWS)
@pytest.mark.parametrize("shape", [(3,), (5, 2, 2)])
def test_bits_do_not_depend_on_the_batch(draw, shape):
    many, order = Streams.of(5, range(40)), [17, 3, 38]
    whole = DRAWS[draw](many, torch.empty(40, *shape, dtype=F64))
    like = torch.empty(3, *shape, dtype=F64)
    assert torch.equal(DRAWS[draw](Streams.of(5, order), like), whole[order])
    assert torch.equal(DRAWS[draw](Streams.of(5, torch.tensor(order)), like), whole[order])
    assert torch.equal(DRAWS[draw](many[torch.tensor(order)], like), whole[order])
    alone = [DRAWS[draw](many[i : i + 1], like[:1]) for i in order]
    assert torch.equal(torch.cat(alone), whole[order])


def test_a_time_for_all_is_that_time_for_each():
    like = torch.empty(4, 3, dtype=F64)
    rng, t, s = RNG[:4], torch.tensor(0.7, dtype=F64), torch.tensor(0.3, dtype=F64)
    assert torch.equal(rng.brownian(like, t, s), rng.brownian(like, t.expand(4), s.expand(4)))
    assert torch.equal(rng.brownian(like, 0.7, 0.3), rng.brownian(like, t.expand(4), s))
    assert torch.equal(rng.at(t).normal(like), rng.at(t.expand(4)).normal(like))


@pytest.mark.parametrize("seed", [0, 1, -1, 2**63])
def test_uniforms_are_uniform(seed):
    u = Streams.of(seed, range(1000)).uniform(LIKE)
    assert float(stats.kstest(u.flatten(), "uniform").pvalue) > LEAST
    for scale in (1, 2**12, 2**30):  # leading, middle and low bits
        cells = (u * scale % 1 * 256).long().flatten().bincount(minlength=256)
        assert float(stats.chisquare(cells).pvalue) > LEAST
    for wrong in (0.5 + (u - 0.5) * 1.03**0.5, u + 0.02 * 12**-0.5):
        assert float(stats.kstest(wrong.flatten(), "uniform").pvalue) < LEAST


@pytest.mark.parametrize("draw", ["normal", "folded", "brownian", "short", "at"])
def test_normals_are_normal(draw):
    z = DRAWS[draw](RNG, LIKE)

    def accepted(z: Tensor) -> bool:
        p = float(stats.kstest(z.flatten(), "norm").pvalue)
        return min(p, zero_mean(z.flatten()), zero_mean(z.flatten() ** 2 - 1), zero_mean(z.flatten() ** 3)) > LEAST

    assert accepted(z)
    assert not accepted(z * 1.03**0.5)
    assert not accepted(z + 0.02)
    assert 4.2 < float(z.abs().max()) < 6  # of 256,000: beyond 4.2 with p = 0.999, beyond 6 with p = 5e-4


def unmixed(word: int) -> int:
    """The argument at which the finaliser of SplitMix64 has this value."""

    def unshift(x: int, bits: int) -> int:
        y = x
        for _ in range(64 // bits):
            y = x ^ (y >> bits)
        return y

    word = unshift(word, 31) * pow(0x94D049BB133111EB, -1, 1 << 64) % (1 << 64)
    word = unshift(word, 27) * pow(0xBF58476D1CE4E5B9, -1, 1 << 64) % (1 << 64)
    return unshift(word, 30)


@pytest.mark.parametrize("word", [0, 2**64 - 1])
def test_the_ends_of_the_unit_interval_are_never_drawn(word):
    """The stream whose first hash is all zeros or all ones, found backwards: its normal must be finite."""
    first, key = 0x9E3779B97F4A7C15, unmixed(word)  # the first counter, for a first key of zero: mix(mix(first) ^ k)

    def mix(x: int) -> int:
        x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9 % (1 << 64)
        x = (x ^ (x >> 27)) * 0x94D049BB133111EB % (1 << 64)
        return x ^ (x >> 31)

    assert mix(key) == word
    second = mix(first) ^ key
    second -= (second >> 63) << 64
    rng = Streams(0, torch.zeros(1, dtype=torch.int64), torch.tensor([[0, second]]))
    like = torch.empty(1, 1, dtype=F64)
    u = float(rng.uniform(like))
    assert 0 < u < 2.0**-50 if word == 0 else 1 - 2.0**-50 < u < 1
    assert 7 < abs(float(rng.normal(like))) < 9


def test_streams_purposes_seeds_and_lags_are_independent():
    """16 x 16 cells of every pair of uniforms that a walk or a batch could draw together."""
    u = RNG.uniform(LIKE)
    pairs = {
        "next number": (u[:, :-1], u[:, 1:]),
        "lag 7": (u[:, :-7], u[:, 7:]),
        "lag 64": (u[:, :-64], u[:, 64:]),
        "next sample": (u[:-1], u[1:]),
        "lag 128 of samples": (u[:-128], u[128:]),
        "next seed": (u, Streams.of(4, range(1000)).uniform(LIKE)),
        "the seed's complement": (u, Streams.of(-4, range(1000)).uniform(LIKE)),
        "purpose": (u, RNG.fold("corrupt").uniform(LIKE)),
        "two purposes": (RNG.fold("corrupt").uniform(LIKE), RNG.fold("reverse").uniform(LIKE)),
        "order of purposes": (RNG.fold("a", "b").uniform(LIKE), RNG.fold("b", "a").uniform(LIKE)),
        "near numbers": (RNG.fold(0.5).uniform(LIKE), RNG.fold(0.5 + 2.0**-53).uniform(LIKE)),
        "near times": (
            RNG.at(torch.tensor(0.5)).uniform(LIKE),
            RNG.at(torch.tensor(0.5 + 2.0**-53, dtype=F64)).uniform(LIKE),
        ),
        "t and s": (
            RNG.at(torch.tensor(0.5), torch.tensor(0.25)).uniform(LIKE),
            RNG.at(torch.tensor(0.25), torch.tensor(0.5)).uniform(LIKE),
        ),
        "sample and number": (u[:, 0:1].expand(-1, 255), u[:, 1:]),
    }

    def p_value(a: Tensor, b: Tensor) -> float:
        cells = ((a * 16).long() * 16 + (b * 16).long()).flatten().bincount(minlength=256)
        return float(stats.chi2_contingency(cells.reshape(16, 16).numpy()).pvalue)

    for name, (a, b) in pairs.items():
        if name != "sample and number":  # whose first numbers are shared by a whole row
            assert p_value(a, b) > LEAST, name
    a, b = pairs["next seed"]
    mixed = torch.where(torch.arange(256) % 25 == 0, a, b)  # a fault of 4%: these numbers are shared
    assert p_value(a, mixed) < LEAST


def test_the_mean_of_a_stream_is_as_uncertain_as_independence_says():
    """Sums within a stream and across streams: a weak counter would show as too little or too much spread."""
    z = RNG.normal(LIKE)
    for sums, n in ((z.sum(1), 256), (z.sum(0), 1000)):
        assert float(stats.kstest((sums / math.sqrt(n)).numpy(), "norm").pvalue) > LEAST


@pytest.mark.parametrize("batch", [1, 2, 3, 16, 100, 4096])
@pytest.mark.parametrize("start", [0, 777, 10**9])
def test_low_discrepancy_covers_every_run(batch, start):
    u = Streams.of(1, range(start, start + batch)).low_discrepancy()
    assert ((u >= 0) & (u < 1)).all()
    ring = torch.cat([u.sort().values, u.min()[None] + 1])
    golden = (1 + 5**0.5) / 2
    assert ring.diff().max() <= golden**2 / batch + 1e-12  # three-gap theorem for the golden ratio
    assert ring.diff().min() >= 1 / golden**2 / batch - 1e-12 or batch == 1


def test_low_discrepancy_starts_anywhere():
    starts = torch.stack([Streams.of(seed, [0]).low_discrepancy()[0] for seed in range(4000)])
    assert float(stats.kstest(starts.numpy(), "uniform").pvalue) > LEAST


PLACES = 2**14
CUTS = [place / PLACES for place in (PLACES, 13599, 13598, PLACES // 2, 4915, 4914, PLACES // 8, 0)]


def test_brownian_refinement():
    """A coarse step's increment is the sum of the fine ones, wherever a path is cut."""
    rng, like = RNG[:20], torch.empty(20, 4, dtype=F64)
    fine = [rng.brownian(like, t, s) * math.sqrt(t - s) for t, s in pairwise(CUTS)]
    for i, j in combinations(range(len(CUTS)), 2):
        coarse = rng.brownian(like, CUTS[i], CUTS[j]) * math.sqrt(CUTS[i] - CUTS[j])
        assert (coarse - sum(fine[i:j])).abs().max() < 1e-12


def test_brownian_increments_are_normal_and_independent():
    rng, like = Streams.of(8, range(300)), torch.empty(300, 400, dtype=F64)
    pieces = [rng.brownian(like, t, s).flatten() for t, s in pairwise([1.0, 0.7, 0.7 - 3e-7, 0.7 - 5e-5, 0.125, 0.0])]
    for piece in pieces:
        assert float(stats.kstest(piece.numpy(), "norm").pvalue) > LEAST
        assert zero_mean(piece**2 - 1) > LEAST
        assert zero_mean(piece**2 * 1.03 - 1) < LEAST
    for a, b in combinations(pieces, 2):
        assert zero_mean(a * b) > LEAST
        assert zero_mean(a * (b + 0.02 * a)) < LEAST


@pytest.mark.parametrize("cells", [0.1, 0.6, 1.0, 2.5])
def test_brownian_intervals_near_the_resolution(cells):
    """Below and above 2**-14, and across its lattice, an increment still has all of its variance."""
    t = 0.3 + cells / PLACES
    z = Streams.of(6, range(300)).brownian(torch.empty(300, 400, dtype=F64), t, 0.3).flatten()
    assert zero_mean(z**2 - 1) > LEAST
    assert zero_mean(z**2 * 1.03 - 1) < LEAST


def test_sources_of_randomness():
    x = torch.empty(3, 2)
    generator = lambda: torch.Generator().manual_seed(1)  # noqa: E731
    assert torch.equal(streams(5, x).key, Streams.of(5, range(3)).key)
    assert streams(RNG, x) is RNG
    assert torch.equal(streams(generator(), x).key, streams(generator(), x).key)
    one = generator()
    assert not torch.equal(streams(one, x).key, streams(one, x).key)
    torch.manual_seed(2)
    first = streams(None, {"a": x}).key
    torch.manual_seed(2)
    assert torch.equal(first, streams(None, {"a": x}).key)
