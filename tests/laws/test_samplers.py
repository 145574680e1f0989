"""Law 5: samplers, on laws whose walk is known in closed form."""

import inspect
import math
from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor

import suffuse as sf
from suffuse import grids
from suffuse.exact import GaussianMixture, Independent, Tokens
from suffuse.restoration import RESTORERS, Restorer
from suffuse.rng import Streams
from suffuse.samplers import (
    SAMPLERS,
    Ancestral,
    Churn,
    Counted,
    DPMSolver,
    Heun,
    Leafwise,
    Multistep,
    MultistepSDE,
    Sampler,
    Tuned,
    UniPC,
)
from tests.laws.cases import (
    DETERMINISTIC,
    F64,
    FITS_GAUSSIAN,
    LINE,
    MASKED,
    ONE,
    PLANE,
    ROUND,
    SAMPLER_CASES,
    SCHEDULE_CASES,
    STOCHASTIC,
    WALKED,
    close,
    numbers,
)
from tests.laws.statistics import cdf, energy_distance, moments

each_schedule = pytest.mark.parametrize("schedule", WALKED)


def test_every_sampler_is_in_the_registry():
    def kinds(base: type) -> set[type]:
        return {kind for sub in base.__subclasses__() for kind in {sub, *kinds(sub)}}

    made = {type(make()) for make in (*SAMPLERS.values(), *RESTORERS.values())}
    assert {kind for kind in kinds(Sampler) if not inspect.isabstract(kind)} - made == {Leafwise, Restorer, Tuned}


# Truths. In one dimension the probability-flow ODE moves quantiles to quantiles, which bisection finds to rounding;
# in two dimensions a fine Runge-Kutta integrates it in t itself.


def transported(process: sf.Gaussian, quantiles: Tensor, t: float) -> Tensor:
    """(n, 1) states at time t of the walks through these quantiles of LINE."""
    law = LINE.marginal(process, t)
    low, high = (torch.full_like(quantiles, side * 500.0)[:, None] for side in (-1, 1))
    for _ in range(80):
        middle = (low + high) / 2
        above = cdf(law, middle)[:, 0] > quantiles
        low, high = torch.where(above[:, None], low, middle), torch.where(above[:, None], middle, high)
    return middle


QUANTILES = torch.special.ndtr(torch.linspace(-2, 2, 33, dtype=F64))


def flow_slope(process: sf.Gaussian, law: GaussianMixture, x: Tensor, t: Tensor) -> Tensor:
    """dx/dt = alpha' D + sigma' (x - alpha D) / sigma, from the definition of the process."""
    alpha, alpha_rate = torch.func.jvp(process.schedule.alpha, (t,), (torch.ones_like(t),))
    sigma, sigma_rate = torch.func.jvp(process.schedule.sigma, (t,), (torch.ones_like(t),))
    mean = law.denoiser(process)(x, t).mean
    return alpha_rate * mean + sigma_rate * (x - alpha * mean) / sigma


def runge_kutta(process: sf.Gaussian, law: GaussianMixture, x: Tensor, times: Tensor, substeps: int) -> list[Tensor]:
    """States at these times, by the classical method of order four."""
    states = [x]
    for t, s in pairwise(times):
        h = (s - t) / substeps
        for i in range(substeps):
            at = t + i * h
            k1 = flow_slope(process, law, x, at)
            k2 = flow_slope(process, law, x + h / 2 * k1, at + h / 2)
            k3 = flow_slope(process, law, x + h / 2 * k2, at + h / 2)
            k4 = flow_slope(process, law, x + h * k3, at + h)
            x = x + h / 6 * (k1 + 2 * k2 + 2 * k3 + k4)
        states.append(x)
    return states


STEPS = (25, 50, 100, 200, 400)
FINEST = torch.linspace(0.9, 0.1, 401, dtype=F64)


@pytest.fixture(scope="session")
def truths() -> dict[str, list[Tensor]]:
    """States of LINE's walks at the 401 finest times, for every schedule."""
    return {
        name: [transported(sf.Gaussian(SCHEDULE_CASES[name]), QUANTILES, float(t)) for t in FINEST] for name in WALKED
    }


@pytest.fixture(scope="session")
def plane_truth() -> list[Tensor]:
    """The same in two dimensions, for the straight schedule."""
    process = sf.Gaussian(SCHEDULE_CASES["flow"])
    return runge_kutta(process, PLANE, PLANE.marginal(process, 0.9).sample(33, 1), FINEST, 1)


def test_two_truths_agree():
    process, times = sf.Gaussian(SCHEDULE_CASES["vp"]), torch.linspace(0.9, 0.1, 201, dtype=F64)
    start = transported(process, QUANTILES, 0.9)
    end = runge_kutta(process, LINE, start, times, 1)[-1]
    assert (end - transported(process, QUANTILES, 0.1)).abs().max() < 1e-7


def graded(times: Tensor) -> Tensor:
    """The grid with its first step in six, each twice as long as the one before: a start for multistep methods."""
    shares = 2.0 ** torch.arange(-5, 1, dtype=F64)
    return torch.cat([times[:1], torch.lerp(times[0], times[1], shares), times[2:]])


def end_error(sampler: Sampler, process: sf.Gaussian, law: GaussianMixture, n: int, exact: list[Tensor]) -> float:
    """Root mean square error at the end of n steps from exact points."""
    times = graded(FINEST[:: (len(FINEST) - 1) // n])
    end = sf.sample(law.denoiser(process), sampler, exact[0], times)
    return float((torch.as_tensor(end) - exact[-1]).square().mean().sqrt())


def assert_order(order: int, errors: list[float]) -> None:
    """By the three finest doublings above the rounding, or by the last of them where they are still settling."""
    errors = [error for error in errors if error > 1e-10][-4:]
    slopes = [math.log2(a / b) for a, b in pairwise(errors)]
    assert len(slopes) == 3
    assert min(abs(sum(slopes) / 3 - order), abs(slopes[-1] - order)) < 0.3, (slopes, errors)


@each_schedule
@pytest.mark.parametrize("name", DETERMINISTIC)
def test_order_is_the_declared_one(name, schedule, truths):
    """Even steps in t over [0.1, 0.9]; for the table they fall on its knots."""
    sampler, process = SAMPLER_CASES[name], sf.Gaussian(SCHEDULE_CASES[schedule])
    assert_order(sampler.order, [end_error(sampler, process, LINE, n, truths[schedule]) for n in STEPS])


@pytest.mark.parametrize("name", DETERMINISTIC)
def test_order_in_two_dimensions(name, plane_truth):
    sampler, process = SAMPLER_CASES[name], sf.Gaussian(SCHEDULE_CASES["flow"])
    assert_order(sampler.order, [end_error(sampler, process, PLANE, n, plane_truth) for n in STEPS])


# From noise to data

FIGURES = {
    "ddim": 0.09,
    "euler": 1.0,
    "heun": 0.004,
    "dpm2": 0.0045,
    "dpm3": 0.007,
    "adams2": 0.0026,
    "adams2, plain": 0.0032,
    "adams3": 0.0015,
    "adams4": 0.0015,
    "multistep1": 0.09,
    "multistep2": 0.026,
    "multistep3": 0.01,
    "unipc2": 0.09,
    "unipc3": 0.3,
    "deis3": 0.011,
    "ipndm4": 0.0013,
}
"""Largest error of 33 walks that start within 2 deviations, at 20 even steps of tau; the data deviate by 0.9. The worst
schedule is EDM for Euler's rule and for UniPC, whose coordinate gives its last step half of the walk."""


@each_schedule
@pytest.mark.parametrize("name", DETERMINISTIC)
def test_error_from_one_to_zero(name, schedule):
    process = sf.Gaussian(SCHEDULE_CASES[schedule])
    denoiser, x1, x0 = (
        LINE.denoiser(process),
        transported(process, QUANTILES, 1.0),
        transported(process, QUANTILES, 0.0),
    )

    def error(n: int) -> float:
        times = grids.uniform(n) if name == "euler" else grids.straight(process.schedule, n, LINE.std)
        walked = sf.sample(denoiser, SAMPLER_CASES[name], x1, times)
        return float((walked - x0).abs().max())

    assert error(20) < FIGURES[name], error(20)
    first = 40 if name == "euler" else 20  # whose errors are the largest, and settle last
    errors = {n: error(n) for n in (first * 2**i for i in range(5))}
    slopes = [math.log2(a / b) for a, b in pairwise(errors.values())]
    assert sum(slopes) / 4 > 0.9, (slopes, errors)  # at least as 1 / N, but for what is not yet asymptotic
    assert slopes[-1] > 0.95, (slopes, errors)


@pytest.mark.parametrize("grid", ["uniform", "log_snr", "karras"])
@each_schedule
@pytest.mark.parametrize("name", DETERMINISTIC)
def test_every_grid_comes_closer(name, schedule, grid):
    process = sf.Gaussian(SCHEDULE_CASES[schedule])
    denoiser, x1, x0 = (
        LINE.denoiser(process),
        transported(process, QUANTILES, 1.0),
        transported(process, QUANTILES, 0.0),
    )
    make = {"uniform": lambda n: grids.uniform(n)}.get(grid, lambda n: getattr(grids, grid)(process.schedule, n))
    errors = [float((sf.sample(denoiser, SAMPLER_CASES[name], x1, make(n)) - x0).abs().max()) for n in (1, 2, 8, 64)]
    assert all(math.isfinite(error) for error in errors)
    assert errors[0] > errors[2] > errors[3], errors


@each_schedule
@pytest.mark.parametrize("name", [name for name in DETERMINISTIC if name != "euler"])
def test_one_step_is_the_posterior_mean(name, schedule):
    """x_0 = D(x_1) exactly, alpha_1 = 0 included; EDM keeps its share of noise."""
    if schedule == "edm" and SAMPLER_CASES[name].stages > 1:
        pytest.skip("a whole step of several evaluations, since it ends in noise")
    process = sf.Gaussian(SCHEDULE_CASES[schedule])
    denoiser, x1 = LINE.denoiser(process), transported(process, QUANTILES, 1.0)
    walked = sf.sample(denoiser, SAMPLER_CASES[name], x1, grids.uniform(1))
    mean = denoiser(x1, 1.0).mean
    if schedule == "edm":
        assert close(walked, x1 + (0.002 - 80) * (x1 - mean) / 80, atol=1e-9)
    else:
        assert close(walked, mean, atol=1e-12)
    if schedule in ("flow", "cosine"):
        assert close(mean, moments(LINE)[0].expand_as(mean), atol=1e-12)


@pytest.mark.parametrize("schedule", ["vp", "cosine", "flow", "tabulated"])
def test_two_steps_of_the_second_order_are_the_published_solver(schedule):
    """Into sigma = 0 the line through two means, straight in tau = sigma / (c alpha + sigma), is read at tau = 0."""
    process = sf.Gaussian(SCHEDULE_CASES[schedule])
    denoiser, x1, t = LINE.denoiser(process), transported(process, QUANTILES, 1.0), 0.5
    walked = sf.sample(denoiser, Multistep(2), x1, numbers(1.0, t, 0.0))
    (alpha, sigma), (end_alpha, end_sigma) = (process.coordinates(u, x1) for u in (t, 1.0))
    first = denoiser(x1, 1.0).mean
    x = sigma / end_sigma * x1 + (alpha - sigma / end_sigma * end_alpha) * first
    second = denoiser(x, t).mean
    tau, end_tau = (b / (LINE.std * a + b) for a, b in ((alpha, sigma), (end_alpha, end_sigma)))
    assert close(walked, second + (second - first) * tau / (end_tau - tau), atol=1e-12)


@pytest.mark.parametrize("schedule", ["cosine", "edm", "flow"])
def test_heun_is_the_trapezoidal_rule(schedule):
    process, t, s = sf.Gaussian(SCHEDULE_CASES[schedule]), 0.8, 0.6
    denoiser, x = LINE.denoiser(process), transported(process, QUANTILES, 0.8)

    def velocity(y: Tensor, u: float) -> tuple[Tensor, Tensor, Tensor]:
        alpha, sigma = process.coordinates(u, x)
        size = LINE.std * alpha + sigma
        tau = sigma / size
        return (y - denoiser(y * size, u).mean / LINE.std) / tau, tau, size

    _, tau, size = velocity(x, t)
    y = x / size
    first = velocity(y, t)[0]
    _, tau_s, size_s = velocity(x, s)
    second = velocity(y + (tau_s - tau) * first, s)[0]
    expected = size_s * (y + (tau_s - tau) * (first + second) / 2)
    assert close(sf.sample(denoiser, Heun(), x, numbers(t, s)), expected, rtol=1e-9)


@pytest.mark.parametrize("n", [1, 2, 3, 5, 8, 13])
@pytest.mark.parametrize("schedule", ["edm", "flow"])
@pytest.mark.parametrize("name", FITS_GAUSSIAN)
def test_no_more_evaluations_than_asked_for(name, schedule, n):
    """The most steps whose evaluations, counted, are not more than n: with one step more they are."""
    if name == "adaptive":
        pytest.skip("it chooses the number of its evaluations by its tolerance")
    process, sampler = sf.Gaussian(SCHEDULE_CASES[schedule]), SAMPLER_CASES[name]
    denoiser = LINE.denoiser(process)

    def spent(steps: int) -> int:
        counted = Counted(denoiser)
        sf.sample(counted, sampler, torch.ones(2, 1, dtype=F64), grids.karras(process.schedule, steps), rng=0)
        return counted.evaluations

    try:
        steps = sampler.steps(denoiser, n)
    except sf.UserError as error:
        assert "needs at least" in str(error)  # noqa: PT017
        assert name == "restart" or spent(1) > n
        return
    assert spent(steps) <= n
    assert name in ("parallel", "restart") or spent(steps + 2) > n  # a step from alpha = 0 may take a single one


# Stochastic samplers


class Impulse(Streams):
    """Noise of one in one step each: item k of a batch has it in the step that begins at ``starts[k]``."""

    __slots__ = ("starts",)
    starts: list[float]

    def fold(self, *purposes: str | int | float) -> "Impulse":
        return self

    def brownian(self, like: Tensor, t: Tensor | float, s: Tensor | float) -> Tensor:
        return torch.tensor([float(t) == start for start in self.starts]).to(like)[:, None]


def walked_variance(
    sampler: Sampler, process: sf.Gaussian, denoiser: sf.Denoiser, times: Tensor, at_one: float
) -> float:
    """Variance at the end of a walk that is affine in its start and its noise, by its response to each of them."""
    n = len(times) - 1
    noise = Impulse.of(0, range(n + 2))
    object.__setattr__(noise, "starts", [*times[:-1].tolist(), -1.0, -1.0])
    x1 = torch.zeros(n + 2, 1, dtype=F64)
    x1[-1] = 1
    end = sampler.walk(denoiser, x1, times, None, noise, None)
    response = end - end[-2]
    return float((response[:n] ** 2).sum() + response[-1] ** 2 * at_one)


def mean_alone(law: GaussianMixture, process: sf.Gaussian) -> sf.Denoiser:
    exact = law.denoiser(process)
    return sf.Denoiser.from_function(process, lambda x_t, t, condition: exact(x_t, t).mean)


@each_schedule
@pytest.mark.parametrize("name", ["ddpm", "half", "sde2", "sde2, all noise", "sde3", "sa2", "sa3"])
def test_weak_order_is_the_declared_one(name, schedule):
    """The variance of Gaussian data, without any sampling error, as a network trained by squared error gives it."""
    process, sampler = sf.Gaussian(SCHEDULE_CASES[schedule]), SAMPLER_CASES[name]
    start, end = (float(ONE.marginal(process, t).variances) for t in (0.9, 0.1))
    errors = [
        abs(walked_variance(sampler, process, mean_alone(ONE, process), FINEST[::stride], start) - end)
        for stride in (8, 4, 2, 1)
    ]
    slopes = [math.log2(a / b) for a, b in pairwise(errors)]
    assert slopes[-1] > sampler.order - 0.3, (slopes, errors)


ENERGY_N = 5000
EXACT = ["ddpm", "half", "churn, noisy inside"]
"""Each of their steps is exact with the exact posterior."""


@pytest.fixture(scope="session")
def exact_against_exact() -> float:
    """The 99% quantile of the energy distance of two samples of LINE."""
    draws = [LINE.sample(ENERGY_N, Streams.of(seed, range(ENERGY_N)))[:, 0] for seed in range(600)]
    return float(torch.tensor([energy_distance(a, b) for a, b in pairwise(draws)]).quantile(0.99))


def energy(process: sf.Gaussian, sampler: Sampler, denoiser: sf.Denoiser, times: Tensor) -> float:
    """Distance of a walk's end from exact draws: the median of three, since one in a hundred is far by chance."""
    distances = []
    for seed in (1000, 2000, 3000):
        first, second, rng = (Streams.of(seed + i, range(ENERGY_N)) for i in range(3))
        end = sf.sample(denoiser, sampler, LINE.marginal(process, 1.0).sample(ENERGY_N, first), times, rng=rng)
        distances.append(energy_distance(end[:, 0], LINE.marginal(process, 0.0).sample(ENERGY_N, second)[:, 0]))
    return sorted(distances)[1]


@each_schedule
@pytest.mark.parametrize("name", [name for name in STOCHASTIC if name not in EXACT])
def test_stochastic_samplers_converge_in_law(name, schedule, exact_against_exact):
    process = sf.Gaussian(SCHEDULE_CASES[schedule])
    denoiser, sampler = LINE.denoiser(process), SAMPLER_CASES[name]
    assert energy(process, sampler, denoiser, grids.uniform(64)) < exact_against_exact
    assert energy(process, sampler, denoiser, grids.uniform(2)) > exact_against_exact


@each_schedule
@pytest.mark.parametrize("name", EXACT)
@pytest.mark.parametrize("n", [1, 2, 8])
def test_ancestral_walks_are_exact_at_any_number_of_steps(name, schedule, n, exact_against_exact):
    process = sf.Gaussian(SCHEDULE_CASES[schedule])
    assert energy(process, SAMPLER_CASES[name], LINE.denoiser(process), grids.uniform(n)) < exact_against_exact
    if n < 8:
        assert energy(process, SAMPLER_CASES[name], mean_alone(LINE, process), grids.uniform(n)) > exact_against_exact


def test_churn_of_a_noisy_sampler_keeps_the_variance():
    """Steps of a churned walk overlap in time; were their noise one Brownian path, it would be counted twice."""
    process, n = sf.Gaussian(SCHEDULE_CASES["edm"]), 20_000
    x1 = ONE.marginal(process, 1.0).sample(n, 1)
    x0 = sf.sample(ONE.denoiser(process), Churn(Ancestral(1.0), amount=20.0), x1, grids.uniform(20), rng=2)
    assert abs(float(x0.var()) / 0.25 - 1) < 4 * (2 / n) ** 0.5


def test_the_sde_walk_follows_one_brownian_path():
    """Strong convergence: halving the steps halves the distance between walks, each over its own refinement."""
    process = sf.Gaussian(SCHEDULE_CASES["vp"])
    denoiser, rng = mean_alone(ONE, process), Streams.of(4, range(400))
    x = ONE.marginal(process, 0.875).sample(400, 5)

    def walk(n: int, rng: Streams) -> Tensor:
        return sf.sample(denoiser, Ancestral(1.0), x, 0.875 - 0.75 * torch.arange(n + 1, dtype=F64) / n, rng=rng)

    walks = {n: walk(n, rng) for n in (16, 32, 64, 128)}
    gaps = [float((walks[a] - walks[b]).norm() / 20) for a, b in pairwise(walks)]
    other = float((walks[128] - walk(128, rng.fold("other"))).norm() / 20)
    assert all(1.6 < a / b < 2.6 for a, b in pairwise(gaps)), gaps
    assert gaps[-1] < 0.02 * other


# Batches

PAIR = Tokens(torch.tensor([[0.4, 0.05, 0.01], [0.02, 0.2, 0.03], [0.08, 0.01, 0.2]], dtype=F64))
MASKED_ONLY = ["cached", "confidence", "entropy", "remasking", "blocks"]
BATCHED: dict[str, tuple[Any, Any]] = {
    "gaussian": (PLANE, sf.Gaussian(SCHEDULE_CASES["cosine"])),
    "edm": (PLANE, sf.Gaussian(SCHEDULE_CASES["edm"])),
    "discrete": (PAIR, sf.Discrete.uniform(3)),
    "masked": (PAIR, MASKED),
    "heat": (ROUND, sf.Heat(SCHEDULE_CASES["flow"], 0.4)),
    "bridge": (PLANE, sf.Bridge(0.7)),
    "product": (
        Independent({"x": PLANE, "kind": PAIR}),
        sf.Product({"x": sf.Gaussian(SCHEDULE_CASES["flow"]), "kind": MASKED}),
    ),
}


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-4), (F64, 1e-10)])
@pytest.mark.parametrize("case", BATCHED)
@pytest.mark.parametrize("name", SAMPLER_CASES)
def test_a_sample_does_not_depend_on_its_batch(name, case, dtype, tolerance):
    (law, process), sampler = BATCHED[case], SAMPLER_CASES[name]
    if not isinstance(process, sampler.process):
        with pytest.raises(
            sf.UserError, match=f"{type(sampler).__name__} walks {sampler.process.__name__} processes only"
        ):
            sf.sample(law.denoiser(process), sampler, torch.zeros(1, 1), grids.uniform(2))
        return
    if case == "discrete" and name in MASKED_ONLY:
        with pytest.raises(sf.UserError, match=f"{type(sampler).__name__} walks masked processes only"):
            sf.sample(law.denoiser(process), sampler, torch.zeros(1, 2, dtype=torch.int64), grids.uniform(2), rng=0)
        return
    rng, order = Streams.of(7, range(50, 59)), torch.tensor([6, 1, 3])
    like = law.sample(9, rng)
    x1 = like if case == "bridge" else process.prior(like, rng)
    x1 = sf.tree.map_leaves(lambda leaf: leaf.to(dtype) if leaf.is_floating_point() else leaf, x1)
    times = grids.karras(SCHEDULE_CASES["flow"], 7)

    def walk(items: Any) -> Any:
        start = sf.tree.map_leaves(lambda leaf: leaf[items], x1)
        told = {"source": start} if case == "bridge" else None
        return sf.sample(law.denoiser(process), sampler, start, times, told, rng[items])

    whole = walk(slice(None))
    for items in (order, slice(2, 3)):
        for a, b in zip(sf.tree.leaves(walk(items)), sf.tree.leaves(whole), strict=True):
            assert a.dtype == b.dtype == (dtype if a.is_floating_point() else torch.int64)
            assert (a - b[items]).abs().max() <= (tolerance if a.is_floating_point() else 0)


def test_a_given_token_survives_a_walk_from_pure_noise():
    """Infilling: tokens that are there at t = 1 are carried over, and the others drawn given them."""
    n = 4000
    x1 = torch.tensor([[2, 3]]).expand(n, 2)
    exact = PAIR.table[2] / PAIR.table[2].sum()
    for eta in (0.0, 0.5, 1.0):
        told = sf.Denoiser.from_function(MASKED, lambda x, t, c: sf.Categorical(exact.log().expand(len(x), 2, 3)))
        x0 = sf.sample(told, Ancestral(eta), x1, grids.uniform(3), rng=1)
        assert (x0[:, 0] == 2).all()
        assert (x0[:, 1].bincount(minlength=3) / n - exact).abs().max() < 0.04


# The loop itself


def test_half_precision_is_walked_in_float32():
    denoiser = sf.Denoiser.from_function(sf.Gaussian(SCHEDULE_CASES["flow"]), lambda x_t, t, condition: x_t * 0.5)
    for name in FITS_GAUSSIAN:
        sampler, x1 = SAMPLER_CASES[name], torch.ones(2, 3, dtype=torch.bfloat16)
        x0 = sf.sample(denoiser, sampler, x1, grids.uniform(3), rng=0)
        assert x0.dtype == torch.float32, name


def test_callback_sees_every_state():
    process, seen = sf.Gaussian(SCHEDULE_CASES["flow"]), []
    denoiser = LINE.denoiser(process)
    times = grids.uniform(4)
    x1 = torch.ones(2, 1, dtype=F64)
    x0 = sf.sample(denoiser, Heun(), x1, times, callback=lambda *call: seen.append(call))
    assert [number for number, _, _ in seen] == [0, 1, 2, 3]
    assert torch.equal(torch.stack([t for _, t, _ in seen]), times[1:])
    assert torch.equal(seen[-1][2], x0)
    part = sf.sample(denoiser, Heun(), x1, times[:3])
    assert torch.equal(seen[1][2], part)


@pytest.mark.parametrize(
    "times",
    [
        numbers(1.0, 0.5, 0.5, 0.0),
        numbers(0.0, 0.5, 1.0),
        numbers(1.0, 0.4, 0.6, 0.0),
        numbers(1.0),
        numbers(),
        numbers(1.1, 0.5, 0.0),
        numbers(1.0, 0.5, -0.1),
        numbers(1.0, math.nan, 0.0),
        numbers(1.0, 0.0)[None],
    ],
)
def test_times_that_do_not_fall_are_refused(times):
    denoiser = LINE.denoiser(sf.Gaussian(SCHEDULE_CASES["flow"]))
    with pytest.raises(sf.UserError, match="times must fall strictly"):
        sf.sample(denoiser, Ancestral(), torch.zeros(1, 1), times)


@pytest.mark.parametrize("name", STOCHASTIC)
def test_a_coupled_process_is_walked_without_noise_only(name):
    process = sf.Gaussian(SCHEDULE_CASES["flow"], coupled=True)
    denoiser = sf.Denoiser.from_function(process, lambda x_t, t, condition: torch.zeros_like(x_t))
    with pytest.raises(sf.UserError, match="trained with a coupling"):
        sf.sample(denoiser, SAMPLER_CASES[name], torch.ones(2, 1), grids.uniform(8), rng=0)
    for calm in DETERMINISTIC:
        sf.sample(denoiser, SAMPLER_CASES[calm], torch.ones(2, 1), grids.uniform(8))


@pytest.mark.parametrize(
    "make",
    [
        lambda: Ancestral(1.5),
        lambda: Ancestral(-0.1),
        lambda: Multistep(4),
        lambda: MultistepSDE(2, eta=2.0),
        lambda: DPMSolver(1),
        lambda: UniPC(1),
        lambda: Churn(Multistep(2)),
    ],
)
def test_settings_out_of_range_are_refused(make):
    with pytest.raises(ValueError, match=r"must lie in|has orders|breaks the memory"):
        make()
