"""Gaussian walks with noise: their order, in law and along one Brownian path, and the law at their end."""

import math
from itertools import pairwise

import pytest
import torch
from torch import Tensor

import suffuse as sf
from suffuse import grids
from suffuse.exact import GaussianMixture
from suffuse.rng import Streams
from suffuse.samplers import (
    Adams,
    Ancestral,
    Churn,
    Counted,
    Heun,
    Langevin,
    Multistep,
    MultistepSDE,
    Restart,
    Sampler,
    SASolver,
    TauLeaping,
)
from tests.laws.affine import variance
from tests.laws.cases import F64, LINE, ONE, PLANE, SCHEDULE_CASES, close
from tests.laws.statistics import N, accepts, assert_law

RESTARTED = {"low": 0.4, "high": 1.5}
"""Inside t in [0.1, 0.9] of every schedule."""


def mean_alone(law: GaussianMixture, process: sf.Gaussian) -> sf.Denoiser:
    """What a network trained by squared error knows."""
    exact = law.denoiser(process)
    return sf.Denoiser.from_function(process, lambda x_t, t, condition: exact(x_t, t).mean, law.std)


MIXED: dict[str, tuple[Sampler, int]] = {
    "churn": (Churn(), 2),
    "churn of ddim": (Churn(Ancestral()), 1),
    "langevin": (Langevin(), 1),
    "langevin of heun": (Langevin(Heun()), 1),
    "restart": (Restart(**RESTARTED), 2),
    "restart of ddim": (Restart(Ancestral(), **RESTARTED), 1),
    "restart of adams": (Restart(Adams(2, corrector=False), **RESTARTED), 2),
}
"""With the order of the variance at the end."""


@pytest.mark.parametrize("schedule", ["vp", "edm"])
@pytest.mark.parametrize("name", MIXED)
def test_the_variance_is_of_the_declared_order(name, schedule):
    """As the steps are halved from t = 0.9 to 0.1, with a network that knows the mean alone."""
    (sampler, order), process = MIXED[name], sf.Gaussian(SCHEDULE_CASES[schedule])
    assert sampler.order == order
    assert sampler.stochastic
    end = float(ONE.marginal(process, 0.1).variances)
    grid = torch.linspace(0.9, 0.1, 97, dtype=F64)
    start = float(ONE.marginal(process, 0.9).variances)
    denoiser = mean_alone(ONE, process)
    errors = [abs(variance(sampler, denoiser, grid[::stride], start) - end) for stride in (4, 2, 1)]
    slopes = [math.log2(a / b) for a, b in pairwise(errors)]
    assert slopes[-1] > order - 0.3, (slopes, errors)


# Along one Brownian path

PATHS = {
    "ddpm": Ancestral(1.0),
    "half": Ancestral(0.5),
    "sde2": MultistepSDE(2),
    "sde2, half of the noise": MultistepSDE(2, eta=0.5),
    "sde3": MultistepSDE(3),
    "sa2": SASolver(2),
    "sa3": SASolver(3, eta=0.5),
}


@pytest.mark.parametrize("schedule", ["vp", "edm"])
@pytest.mark.parametrize("name", PATHS)
def test_halved_steps_follow_the_same_path(name, schedule):
    """Strong convergence of order 1 on a mixture, whatever the weak order: the noise within a step is known by its sum
    alone. Over another path the ends are elsewhere.
    """
    process, n = sf.Gaussian(SCHEDULE_CASES[schedule]), 2000
    denoiser, rng = mean_alone(LINE, process), Streams.of(4, range(n))
    x = LINE.marginal(process, 0.875).sample(n, 5)

    def walk(steps: int, rng: Streams) -> Tensor:
        times = 0.875 - 0.75 * torch.arange(steps + 1, dtype=F64) / steps
        return torch.as_tensor(sf.sample(denoiser, PATHS[name], x, times, rng=rng))

    walks = {steps: walk(steps, rng) for steps in (16, 32, 64)}
    gaps = [float((walks[a] - walks[b]).square().mean().sqrt()) for a, b in pairwise(walks)]
    slopes = [math.log2(a / b) for a, b in pairwise(gaps)]
    assert all(0.7 < slope for slope in slopes), (slopes, gaps)
    other = float((walks[16] - walk(16, rng.fold("other"))).square().mean().sqrt())
    assert gaps[-1] < 0.1 * other


# The law at the end

ENDS: dict[str, tuple[Sampler, int]] = {
    "ddpm": (Ancestral(1.0), 3),
    "churn of ddpm": (Churn(Ancestral(1.0), amount=20.0), 4),
    "restart of ddpm": (Restart(Ancestral(1.0), low=0.5), 4),
    "sde3": (MultistepSDE(3), 48),
    "churn": (Churn(), 32),
    "langevin": (Langevin(Heun(), amount=0.05), 48),
    "restart": (Restart(), 32),
}
"""With the steps from which 120,000 walks cannot be told from draws of the data; the first three are exact at any."""


@pytest.mark.parametrize("name", ENDS)
def test_the_law_at_the_end_is_the_datas(name):
    """From q(x_1) to a mixture, which two steps of an inexact method cannot pass for."""
    process, (sampler, n) = sf.Gaussian(SCHEDULE_CASES["flow"]), ENDS[name]
    denoiser, rng = LINE.denoiser(process), Streams.of(3, range(N))
    x1 = LINE.marginal(process, 1.0).sample(N, rng)
    assert_law(sf.sample(denoiser, sampler, x1, grids.uniform(n), rng=rng), LINE)
    if n > 4:
        assert not accepts(sf.sample(denoiser, sampler, x1, grids.uniform(2), rng=rng), LINE)


# Evaluations, single steps, and what is refused

INNER = [Ancestral(1.0), Heun(), Langevin(Heun()), Churn()]
WRAPPED = [
    *[Churn(inner) for inner in INNER],
    *[Langevin(inner) for inner in INNER],
    *[Restart(inner, repeats=3, share=0.3) for inner in [*INNER, Adams(3)]],
]


@pytest.mark.parametrize("schedule", ["edm", "flow"])
def test_wrapped_samplers_spend_what_they_are_given(schedule):
    """Never more than asked for, and but for a step and its share of restarts all of it."""
    process = sf.Gaussian(SCHEDULE_CASES[schedule])
    denoiser, x1 = LINE.denoiser(process), torch.ones(2, 1, dtype=F64)
    for sampler in WRAPPED:
        for asked in (1, 3, 40):
            try:
                steps = sampler.steps(denoiser, asked)
            except sf.UserError as error:
                assert f"evaluations, got {asked}" in str(error)  # noqa: PT017
                continue
            counted = Counted(denoiser)
            sf.sample(counted, sampler, x1, grids.log_snr(process.schedule, steps), rng=0)
            assert counted.evaluations <= asked, (sampler, asked)
            if asked == 40 and not isinstance(sampler, Restart):
                assert counted.evaluations > asked - sampler.stages - 1
            if asked == 40 and isinstance(sampler, Restart):
                least = 40 - sampler.stages * (1 + sampler.repeats)
                assert counted.evaluations >= least - 1, (sampler, counted.evaluations)


@pytest.mark.parametrize("sampler", [Churn(), Langevin(), Restart(), Langevin(Heun()), Churn(Ancestral(1.0))])
def test_one_step_from_pure_noise_is_the_inner_one(sampler):
    """There is nothing to churn at an infinite ratio, nothing to correct at its end, and no room for a restart."""
    process = sf.Gaussian(SCHEDULE_CASES["flow"])
    denoiser, x1 = PLANE.denoiser(process), PLANE.marginal(process, 1.0).sample(50, 1)
    ends = [sf.sample(denoiser, each, x1, grids.uniform(1), rng=2) for each in (sampler, sampler.inner)]
    assert torch.equal(*map(torch.as_tensor, ends))


def test_churn_is_up_by_its_factor_and_down_by_the_plan_of_that_step():
    """Written out for one step of Heun's rule from the middle, and none outside the range."""
    process, amount = sf.Gaussian(SCHEDULE_CASES["edm"]), 0.3
    denoiser, x = LINE.denoiser(process), LINE.marginal(process, 0.5).sample(64, 1)
    t, s = torch.tensor(0.5, dtype=F64), torch.tensor(0.4, dtype=F64)
    sigma = float(process.schedule.sigma(t))
    rng = Streams.of(3, range(64))
    walked = sf.sample(denoiser, Churn(amount=amount), x, torch.stack([t, s]), rng=rng)
    higher = process.schedule.inverse(torch.tensor(-2 * math.log(1.3 * sigma), dtype=F64))
    noise = rng.fold("churn").at(t).fold("forward", "step").normal(x)
    up = x + sigma * math.sqrt(1.3**2 - 1) * noise
    assert close(walked, sf.sample(denoiser, Heun(), up, torch.stack([higher, s])), rtol=1e-9)
    calm = Churn(amount=amount, high=0.9 * sigma)
    assert torch.equal(sf.sample(denoiser, calm, x, torch.stack([t, s]), rng=rng),
                       sf.sample(denoiser, Heun(), x, torch.stack([t, s])))  # fmt: skip


@pytest.mark.parametrize(
    "make",
    [
        lambda: Churn(TauLeaping()),
        lambda: Churn(amount=-1.0),
        lambda: Langevin(TauLeaping()),
        lambda: Langevin(Multistep(2)),
        lambda: Langevin(amount=0.0),
        lambda: Langevin(amount=1.5),
        lambda: Restart(TauLeaping()),
        lambda: Restart(low=1.0, high=0.5),
        lambda: Restart(repeats=-1),
        lambda: Restart(share=0.0),
    ],
)
def test_settings_out_of_range_are_refused(make):
    with pytest.raises(ValueError, match=r"must lie in|ones only|breaks the memory|does not hold"):
        make()
