"""Walks over bridges, from data to data: the laws that they end in, and the pairs that they keep."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor

import suffuse as sf
from suffuse import grids
from suffuse.exact import GaussianMixture
from suffuse.posteriors import Mixture, Normal
from suffuse.processes.base import as_time
from suffuse.rng import Streams
from suffuse.samplers import Ancestral, BridgeMean
from suffuse.tree import expand
from tests.laws.cases import F64, numbers
from tests.laws.statistics import energy_distance

N = 100_000
FROM, TO = (5.0, 0.26**0.5), (2.0, 0.5)


def normal(mean: float, deviation: float, n: int, seed: int) -> Tensor:
    return mean + deviation * Streams.of(seed, range(n)).normal(torch.empty(n, 1, dtype=F64))


@pytest.mark.parametrize("steps", [1, 8, 64])
@pytest.mark.parametrize("sigma", [0.3, 1.0])
def test_one_gaussian_becomes_another(steps, sigma):
    """N(5, .26) to N(2, .25), from sources that are told and from such that are not."""
    process, x1 = sf.Bridge(sigma), normal(*FROM, N, seed=1)
    denoiser = GaussianMixture(numbers(TO[0])[:, None], numbers(TO[1])).denoiser(process, source=FROM)
    for told in (None, {"source": x1}):
        end = sf.sample(denoiser, Ancestral(1.0), x1, grids.uniform(steps), told, Streams.of(2, range(N)))
        assert float(end.mean()) == pytest.approx(2.0, abs=0.01)
        assert float(end.var()) == pytest.approx(0.25, rel=0.015)
        wrong = 2 + (end - 2) * 1.03**0.5
        assert float(wrong.var()) != pytest.approx(0.25, rel=0.015)


def test_the_ode_and_the_mean_alone_converge():
    """The ODE ends in the law; the mean of the posterior alone, with all of the noise, at as many steps near it."""
    process, n = sf.Bridge(1.0), 40_000
    x1 = normal(*FROM, n, seed=1)
    exact = GaussianMixture(numbers(TO[0])[:, None], numbers(TO[1])).denoiser(process, source=FROM)
    mean = sf.Denoiser.from_function(process, lambda x_t, t, condition: exact(x_t, t, condition).mean)
    errors = {}
    for steps in (16, 256):
        ode = sf.sample(mean, Ancestral(0.0), x1, grids.uniform(steps), {"source": x1}, Streams.of(2, range(n)))
        walk = sf.sample(mean, Ancestral(1.0), x1, grids.uniform(steps), {"source": x1}, Streams.of(3, range(n)))
        errors[steps] = [abs(float(end.var()) / 0.25 - 1) for end in (ode, walk)]
        assert abs(float(ode.mean()) - 2) < 0.01
    assert errors[256][0] < 0.03
    assert errors[256][1] < 0.07
    assert all(errors[16][way] > 3 * errors[256][way] for way in (0, 1))
    still = sf.sample(mean, BridgeMean(), x1, grids.uniform(64), {"source": x1})
    assert (still - 2).abs().max() < 1e-9  # told the source, of Gaussian data nothing but the mean is left


# One mixture to another

SOURCES = GaussianMixture(numbers(-2.0, 1.5)[:, None], numbers(0.3, 0.6), numbers(1, 2))
TARGETS = GaussianMixture(numbers(-1.2, 0.0, 1.6)[:, None], numbers(0.2, 0.5, 0.3), numbers(2, 1, 1))
DRAWS = 5000


def from_mixture(process: sf.Bridge) -> sf.Denoiser:
    """The exact posterior of the targets where the source is one of SOURCES, it is not said which."""

    def posterior(x_t: Tensor, t: Any, condition: Any) -> Mixture:
        t = expand(as_time(t, x_t), x_t)
        parts, evidence = list[Mixture](), list[Tensor]()
        for mean, variance, weight in zip(SOURCES.means, SOURCES.variances, SOURCES.weights, strict=True):
            y, v = x_t - t * mean, process.sigma**2 * t * (1 - t) + t**2 * variance
            parts.append(TARGETS.posterior(y, 1 - t, v))
            spread = (1 - t) ** 2 * TARGETS.variances[:, 0] + v
            each = -((y - (1 - t) * TARGETS.means[:, 0]) ** 2 / spread + spread.log()) / 2
            evidence.append((each + TARGETS.weights.log()).logsumexp(1) + weight.log())
        shares = torch.stack(evidence, 1).softmax(1)
        weights = torch.cat([shares[:, k : k + 1] * part.weights for k, part in enumerate(parts)], 1)
        return Mixture(weights, *(torch.cat([getattr(q, name) for q in parts], 1) for name in ("means", "variances")))

    return sf.Denoiser.from_function(process, posterior)


@pytest.fixture(scope="module")
def quantile() -> float:
    """The 99% quantile of the energy distance of exact draws from exact draws."""
    distances = [
        energy_distance(TARGETS.sample(DRAWS, 2 * k)[:, 0], TARGETS.sample(DRAWS, 2 * k + 1)[:, 0]) for k in range(300)
    ]
    return float(torch.tensor(distances).quantile(0.99))


@pytest.mark.parametrize("steps", [1, 8, 64])
def test_one_mixture_becomes_another(steps, quantile):
    process = sf.Bridge(0.8)
    x1, exact = SOURCES.sample(DRAWS, 1001), TARGETS.sample(DRAWS, 1002)
    rng = Streams.of(4, range(DRAWS))
    for denoiser, told in ((from_mixture(process), None), (TARGETS.denoiser(process), {"source": x1})):
        end = sf.sample(denoiser, Ancestral(1.0), x1, grids.uniform(steps), told, rng)
        assert energy_distance(end[:, 0], exact[:, 0]) < quantile
        assert energy_distance(end[:, 0] * 1.06, exact[:, 0]) > quantile  # six hundredths too wide is seen
    alone = TARGETS.denoiser(process)  # that takes the sources for one standard normal
    wrong = sf.sample(alone, Ancestral(1.0), x1, grids.uniform(steps), None, rng)
    seen = energy_distance(wrong[:, 0], exact[:, 0]) > quantile
    assert seen == (steps > 1)  # in one step, from t = 1, nothing is asked of the source


# Pairs

PAIRS = 20_000


def joint(process: sf.Bridge, a: float, b: float, c: float, told: bool) -> sf.Denoiser:
    """The exact posterior of jointly Gaussian ends of mean 0, deviations a (of x_0) and b, and covariance c."""

    def posterior(x_t: Tensor, t: Any, condition: Any) -> Normal:
        t = expand(as_time(t, x_t), x_t)
        noise = process.sigma**2 * t * (1 - t)
        if told:
            prior, variance = c / b**2 * condition["source"], a**2 - c**2 / b**2
            y, gain = x_t - t * condition["source"], (1 - t) * variance
            total = (1 - t) ** 2 * variance + noise
            share = torch.where(total > 0, gain / total.clamp(min=1e-300), 0.0)
            return Normal(prior + share * (y - (1 - t) * prior), variance - share * gain)
        total, shared = (1 - t) ** 2 * a**2 + 2 * t * (1 - t) * c + t**2 * b**2 + noise, (1 - t) * a**2 + t * c
        return Normal(shared / total * x_t, (a**2 - shared**2 / total).expand_as(x_t))

    return sf.Denoiser.from_function(process, posterior)


def ends(process: sf.Bridge, c: float, told: bool, eta: float, steps: int) -> tuple[Tensor, Tensor]:
    """Both ends of walks over a bridge between deviations 1 (of x_0) and 0.6."""
    x1 = normal(0.0, 0.6, PAIRS, seed=5)
    denoiser, condition = joint(process, 1.0, 0.6, c, told), {"source": x1} if told else None
    end = sf.sample(denoiser, Ancestral(eta), x1, grids.uniform(steps), condition, Streams.of(6, range(PAIRS)))
    return end[:, 0], x1[:, 0]


def correlation(a: Tensor, b: Tensor) -> float:
    return float(torch.corrcoef(torch.stack([a, b]))[0, 1])


@pytest.mark.parametrize("rho", [-0.5, 0.0, 0.8])
@pytest.mark.parametrize("eta", [0.5, 1.0])
def test_pairs_are_kept_where_the_source_is_told(rho, eta):
    """Of jointly Gaussian pairs the correlation, at every number of steps: to four standard errors of Fisher's z."""
    for steps in (1, 8, 64):
        found = correlation(*ends(sf.Bridge(0.7), rho * 0.6, told=True, eta=eta, steps=steps))
        assert abs(math.atanh(found) - math.atanh(rho)) < 4 / math.sqrt(PAIRS), steps


def test_pairs_are_lost_where_it_is_not_told_unless_they_are_the_bridges_own():
    """Many steps without the source keep the ends' laws; their pairs are kept by the Schroedinger bridge alone."""
    sigma = 0.7
    process, own = sf.Bridge(sigma), (math.sqrt(4 * 0.6**2 + sigma**4) - sigma**2) / 2
    for covariance, kept in ((own, True), (0.0, False), (0.55, False)):
        end, start = ends(process, covariance, told=False, eta=1.0, steps=64)
        assert float(end.var()) == pytest.approx(1.0, rel=0.04)
        off = abs(math.atanh(correlation(end, start)) - math.atanh(covariance / 0.6))
        assert off < 4 / math.sqrt(PAIRS) if kept else off > 0.05, covariance
