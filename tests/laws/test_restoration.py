"""Law 8: what is said of a posterior given a measurement, and how near walks come to it."""

from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
from torch import Tensor

import suffuse as sf
from suffuse import grids, schedules
from suffuse.exact import Correlated
from suffuse.guidance import DPS, METHODS, Given, Method, Moments, Observed
from suffuse.operators import Clip, Function, Linear, Mask, Matrix
from suffuse.restoration import DAPS, DDRM, RESTORERS, DiffPIR, ParticleFilter, REDDiff, RePaint, Restorer, default
from suffuse.rng import Streams
from suffuse.samplers import Ancestral, Counted, Sampler
from tests.laws.cases import DISCRETE_CASES, F64, PLANE, SCHEDULE_CASES, TOKEN, WALKED, close, numbers

RNG = torch.Generator().manual_seed(0)


def drawn(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=F64, generator=RNG)


DIMENSION = 5
_HALF = drawn(DIMENSION, DIMENSION)
LAW = Correlated(drawn(1, DIMENSION), (_HALF @ _HALF.T / 5 + 0.05 * torch.eye(DIMENSION, dtype=F64))[None])
MATRICES = {
    "matrix": drawn(3, DIMENSION),
    "mask": torch.diag(numbers(1, 0, 1, 0, 0)),
    "all seen": torch.eye(DIMENSION, dtype=F64),
    "nothing seen": torch.zeros(DIMENSION, DIMENSION, dtype=F64),
}
FLOW = sf.Gaussian(schedules.Flow())
NOISE = 0.3
X = LAW.sample(6, rng=1)
ENOUGH = Moments(DIMENSION)
"""Iterations."""
each_noise = pytest.mark.parametrize("noise", [0.0, NOISE])


def operator(name: str) -> Linear:
    return Matrix(MATRICES[name]) if name == "matrix" else Mask(MATRICES[name].diagonal() > 0)


@dataclass(frozen=True)
class Case:
    """One measurement of the law."""

    name: str
    noise: float

    @property
    def y(self) -> Tensor:
        """(1, m)."""
        noise = torch.randn(len(MATRICES[self.name]), dtype=F64, generator=torch.Generator().manual_seed(2))
        return (LAW.sample(1, rng=3) @ MATRICES[self.name].T) + self.noise * noise

    @property
    def truth(self) -> Correlated:
        return LAW.given(MATRICES[self.name], self.y[0], self.noise)

    def told(
        self, process: sf.Gaussian = FLOW, method: str | Method = "default", noise: float | None = None
    ) -> Observed:
        noise = self.noise if noise is None else noise
        return Observed(LAW.denoiser(process), operator(self.name), self.y, noise, method)


def grid(process: sf.Gaussian, steps: int) -> Tensor:
    return grids.straight(process.schedule, steps, 0.5 * LAW.std, 1.25)


def off(mean: Tensor, covariance: Tensor, truth: Correlated) -> tuple[float, float]:
    """Errors of a mean, in deviations of the law, and of a covariance, relative."""
    return (
        float((mean - truth.mean).norm() / LAW.covariance.trace().sqrt()),
        float((covariance - truth.covariance).norm() / truth.covariance.norm()),
    )


# The answer


def truth_at(case: Case, process: sf.Gaussian, x_t: Tensor, t: float) -> Tensor:
    """E[x_0 | x_t, y], by conditioning twice."""
    alpha, sigma = (float(scale) for scale in process.coordinates(t, x_t))
    return torch.stack([case.truth.given(alpha * torch.eye(DIMENSION, dtype=F64), x, sigma).mean for x in x_t])


@pytest.mark.parametrize("schedule", SCHEDULE_CASES)
@pytest.mark.parametrize("name", MATRICES)
@each_noise
def test_moment_matching_is_the_posterior_mean_of_gaussian_data(schedule, name, noise):
    process, case = sf.Gaussian(SCHEDULE_CASES[schedule]), Case(name, noise)
    for ratio in (0.1, 1.0, 10.0):
        t = float(process.schedule.inverse(-2 * numbers(ratio).log()))
        x_t = process.corrupt(X, t, 4)
        assert close(case.told(process, ENOUGH)(x_t, t).mean, truth_at(case, process, x_t, t), 1e-7, 1e-7)


def test_only_moment_matching_claims_to_be_exact_and_the_others_are_not():
    assert {name for name, method in METHODS.items() if method.exact} == {"moments"}
    x_t = FLOW.corrupt(X, 0.5, 4)
    for name, method in METHODS.items():
        case = Case("matrix", NOISE)
        error = (case.told(method=method)(x_t, 0.5).mean - truth_at(case, FLOW, x_t, 0.5)).abs().max()
        assert method.exact or error > 1e-2, name


@pytest.mark.parametrize("name", ["matrix", "mask"])
@each_noise
def test_for_isotropic_data_the_width_is_the_covariance(name, noise):
    law = Correlated(torch.zeros(1, DIMENSION, dtype=F64), 0.6 * torch.eye(DIMENSION, dtype=F64)[None])
    y, x_t = X[:1] @ MATRICES[name].T, FLOW.corrupt(X, 0.5, 4)
    told = {m: Observed(law.denoiser(FLOW), operator(name), y, noise, m) for m in ("pigdm", "ddnm")}
    truth = Observed(law.denoiser(FLOW), operator(name), y, noise, ENOUGH)(x_t, 0.5).mean
    for observed in told.values():
        assert close(observed(x_t, 0.5).mean, truth, 1e-8, 1e-8)


@each_noise
def test_the_diagonal_is_exact_where_elements_are_independent(noise):
    law = Correlated(torch.zeros(1, DIMENSION, dtype=F64), torch.diag(numbers(0.2, 0.5, 1, 2, 3))[None])
    x_t, y = FLOW.corrupt(X, 0.5, 4), X[:1] * MATRICES["mask"].diagonal()
    means = [
        Observed(law.denoiser(FLOW), operator("mask"), y, noise, method)(x_t, 0.5).mean
        for method in ("moments-diagonal", ENOUGH)
    ]
    assert close(*means, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("weight", [0.5, 2.0])
def test_dps_is_the_gradient_of_the_norm_of_the_residual(weight):
    case, t = Case("matrix", NOISE), 0.4
    x_t = FLOW.corrupt(X, t, 4).requires_grad_()
    mean = LAW.denoiser(FLOW)(x_t, t).mean
    norms = (case.y - mean @ MATRICES["matrix"].T).norm(dim=1)
    (gradient,) = torch.autograd.grad(norms.sum(), x_t)
    expected = mean - weight / LAW.std * t**2 / (1 - t) * gradient
    assert close(case.told(method=DPS(weight))(x_t.detach(), t).mean, expected.detach(), 1e-9, 1e-9)


@pytest.mark.parametrize("method", METHODS)
@each_noise
def test_an_operator_of_ones_own_is_taken_by_its_gradients(method, noise):
    """A linear map that is not known to be one gives the same answer."""
    case, x_t = Case("matrix", noise), FLOW.corrupt(X, 0.5, 4)
    unknown = Function(lambda x: x @ MATRICES["matrix"].T)
    own = Observed(LAW.denoiser(FLOW), unknown, case.y, noise, method)
    assert close(own(x_t, 0.5).mean, case.told(method=method)(x_t, 0.5).mean, 1e-7, 1e-7)


def test_a_clipped_measurement_says_nothing_of_what_was_clipped_and_all_of_the_rest():
    """Where the Jacobian is zero nothing moves, for independent elements."""
    law = Correlated(torch.zeros(1, 2, dtype=F64), torch.eye(2, dtype=F64)[None])
    observed = Observed(law.denoiser(FLOW), Clip(0.5), numbers(0.2, 0.5)[None], 0.0)
    x_t = numbers(0.1, 2.0)[None]
    told, free = observed(x_t, 0.5).mean[0], law.denoiser(FLOW)(x_t, 0.5).mean[0]
    assert close(told, torch.stack([numbers(0.2)[0], free[1]]), 1e-9, 1e-9)


@pytest.mark.parametrize("method", METHODS)
def test_what_stands_where_nothing_is_seen_does_not_matter(method):
    case, x_t = Case("mask", NOISE), FLOW.corrupt(X, 0.5, 4)
    garbage = torch.where(operator("mask")(torch.ones_like(case.y)) > 0, case.y, torch.nan)
    other = Observed(LAW.denoiser(FLOW), operator("mask"), garbage, NOISE, method)
    assert torch.equal(other(x_t, 0.5).mean, case.told(method=method)(x_t, 0.5).mean)


@pytest.mark.parametrize("schedule", WALKED)
@pytest.mark.parametrize("method", METHODS)
@each_noise
def test_the_start_and_one_measurement_for_all(schedule, method, noise):
    """At t = 1, where alpha may be 0, the answer is near that of no state at all; one y is the same as many."""
    process, case = sf.Gaussian(SCHEDULE_CASES[schedule]), Case("mask", noise)
    x1 = process.prior(X, 5)
    told = case.told(process, method)
    mean = told(x1, 1.0).mean
    many = Observed(LAW.denoiser(process), operator("mask"), case.y.expand(len(X), -1), noise, method)
    assert torch.equal(mean, many(x1, 1.0).mean)
    if told.method.exact:
        assert float((mean - case.truth.mean).abs().max()) < 0.15 * LAW.std


def test_times_per_item_are_calls_per_item():
    case, t = Case("matrix", NOISE), torch.linspace(0.1, 1.0, len(X), dtype=F64)
    for method in METHODS:
        together = case.told(method=method)(X, t).mean
        for i in range(len(X)):
            assert close(together[i : i + 1], case.told(method=method)(X[i : i + 1], float(t[i])).mean, 1e-8, 1e-8)


# Walks of the methods


def pushed(observed: Observed, sampler: Sampler, start: Correlated, times: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and covariance at the end of a deterministic walk, by a basis of its start."""
    spread = torch.linalg.cholesky(start.covariance).T
    end = sf.sample(observed, sampler, torch.cat([start.mean[None], start.mean + spread]), times)
    assert isinstance(end, Tensor)
    response = end[1:] - end[:1]
    return end[0], response.T @ response


@pytest.mark.parametrize("schedule", ["flow", "vp", "cosine"])
@pytest.mark.parametrize("name", ["matrix", "mask"])
@each_noise
def test_deterministic_walks_end_in_the_posterior(schedule, name, noise):
    process, case = sf.Gaussian(SCHEDULE_CASES[schedule]), Case(name, noise)
    start, times = case.truth.marginal(process, 1.0), grid(process, 200)
    assert max(off(*pushed(case.told(process, ENOUGH), Ancestral(), start, times), case.truth)) < 0.05
    if noise:  # the planted fault: a noise that is not the measurement's
        wrong = case.told(process, ENOUGH, 1.3 * noise)
        assert off(*pushed(wrong, Ancestral(), start, times), case.truth)[1] > 0.05


@pytest.mark.parametrize("method", ["moments", "pigdm", "ddnm"])
@pytest.mark.parametrize("eta", [0.0, 1.0])
@pytest.mark.parametrize("name", ["matrix", "mask", "all seen"])
def test_without_noise_the_draws_measure_as_was_measured(method, eta, name):
    case = Case(name, 0.0)
    told = case.told(method=ENOUGH if method == "moments" else method)
    draws = sf.sample(told, Ancestral(eta), FLOW.prior(X, 6), grid(FLOW, 400), rng=7)
    error = (draws @ MATRICES[name].T - case.y).abs().max()
    assert float(error) < (1e-6 if method != "pigdm" else 0.1)


# Restorers


@dataclass(frozen=True)
class Numbers(Streams):
    """Item k has one for the k-th number that is drawn in the walk, and zero for all others."""

    path: tuple[Any, ...] = ()
    places: dict[tuple[Any, ...], range] = field(default_factory=dict)

    def fold(self, *purposes: str | float) -> "Numbers":
        return Numbers(self.seed, self.index, self.key, (*self.path, *purposes), self.places)

    def at(self, *times: Tensor) -> "Numbers":
        return self.fold(*map(float, times))

    def normal(self, like: Tensor) -> Tensor:
        total = sum(map(len, self.places.values()))
        own = self.places.setdefault(self.path, range(total, total + like.shape[1]))
        ones = torch.zeros_like(like)
        ones[list(own), range(len(own))] = 1
        return ones

    def brownian(self, like: Tensor, t: Tensor | float, s: Tensor | float) -> Tensor:
        return self.fold("brownian", float(t), float(s)).normal(like)


def law_at_end(observed: Observed, sampler: Sampler, start: Correlated, times: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and covariance of the end of a walk with noise: for Gaussian data it is affine in all of it."""
    most = 3 * DIMENSION * sampler.stages * (len(times) - 1)  # numbers drawn
    streams = Streams.of(0, range(most + DIMENSION + 1))
    noise = Numbers(streams.seed, streams.index, streams.key)
    spread = torch.linalg.cholesky(start.covariance).T
    x1 = start.mean.repeat(len(streams), 1)
    x1[most:-1] += spread  # the last item answers to nothing
    end = sampler.walk(observed, x1, times, None, noise, None)
    assert isinstance(end, Tensor)
    assert sum(map(len, noise.places.values())) <= most
    response = end - end[-1]
    return end[-1], response.T @ response


def end_of(sampler: Sampler, case: Case, steps: int, told: Observed | None = None) -> tuple[float, float]:
    start = case.truth.marginal(FLOW, 1.0)
    return off(*law_at_end(told or case.told(), sampler, start, grid(FLOW, steps)), case.truth)


@pytest.mark.parametrize("name", ["matrix", "mask"])
@each_noise
def test_annealed_draws_end_in_the_posterior(name, noise):
    """With the default method; and with others as steps grow, whose answers are wrong while there is much noise."""
    case = Case(name, noise)
    assert max(end_of(DAPS(), case, 200)) < 0.01
    assert max(end_of(DAPS(), case, 50)) < 0.02
    for method in ("pigdm", "ddnm"):
        told = case.told(method=method)
        errors = [sum(end_of(DAPS(), case, steps, told)) for steps in (12, 50, 200)]
        assert errors[0] > 1.5 * errors[1] > 2 * errors[2]
    if noise:  # the planted fault
        assert end_of(DAPS(), case, 200, case.told(noise=1.3 * noise))[1] > 0.05


def test_only_annealing_claims_to_be_exact_and_others_are_not():
    assert {name for name, make in RESTORERS.items() if make.exact} == {"daps"}
    for sampler in (DDRM(), DiffPIR()):
        assert end_of(sampler, Case("matrix", NOISE), 200)[1] > 0.05


@each_noise
def test_going_up_again_converges_as_steps_and_repeats_grow(noise):
    errors = [
        sum(end_of(RePaint(repeats), Case("mask", noise), steps)) for steps, repeats in ((6, 2), (24, 4), (96, 6))
    ]
    assert errors[0] > 2 * errors[1] > 4 * errors[2]
    assert errors[2] < 0.07


@pytest.mark.parametrize("make", [DDRM, DiffPIR, DAPS, RePaint])
def test_restorers_without_noise_measure_as_was_measured(make):
    for name in ["mask"] if make is RePaint else ["matrix", "mask", "all seen"]:
        case = Case(name, 0.0)
        draws = sf.sample(case.told(method=ENOUGH), make(), FLOW.prior(X, 6), grid(FLOW, 60), rng=7)
        assert close(draws @ MATRICES[name].T, case.y.expand(len(X), -1), 1e-6, 1e-6)


def test_the_optimised_state_is_likely_and_knows_no_uncertainty():
    """With a unique answer, all of it seen, it is the measurement; else draws differ by less than they should."""
    case = Case("mask", 0.0)
    draws = sf.sample(
        case.told(), REDDiff(), FLOW.prior(torch.zeros(500, DIMENSION, dtype=F64), 3), grid(FLOW, 400), rng=4
    )
    hidden = case.truth.covariance.diagonal() > 1e-9
    deviation = case.truth.covariance.diagonal().sqrt()[hidden]
    assert float(((draws.mean(0) - case.truth.mean)[hidden] / deviation).abs().max()) < 0.1
    assert float((draws.std(0)[hidden] / deviation).max()) < 0.6
    assert float(((draws - case.y) * MATRICES["mask"].diagonal()).abs().max()) < 0.05


MODES = Correlated(
    numbers(-1, 0, 1, 0.5).reshape(2, 2), 0.15 * torch.eye(2, dtype=F64).expand(2, 2, 2) + 0.05, numbers(1, 3)
)
SLANTED = numbers(0.4, 1.0)[None]


@pytest.mark.parametrize("method", ["pigdm", "ddnm"])
def test_particles_find_the_weights_of_modes_whatever_proposes_them(method):
    """n = 5,000: the standard error of the mean is 0.011; the fault is the same walk with no weights."""
    truth = MODES.given(SLANTED, numbers(0.3), NOISE)
    told = Observed(MODES.denoiser(FLOW), Matrix(SLANTED), numbers(0.3)[None], NOISE, method)
    x1, times = FLOW.prior(torch.zeros(5000, 2, dtype=F64), 3), grids.straight(FLOW.schedule, 60, 0.5 * MODES.std, 1.25)
    weighed = sf.sample(told, ParticleFilter(), x1, times, rng=4)
    plain = sf.sample(told, Ancestral(1.0), x1, times, rng=4)
    assert float((weighed.mean(0) - truth.mean).norm()) < 0.035 < float((plain.mean(0) - truth.mean).norm())


def test_particles_converge_as_they_grow_in_number():
    """Standard errors at n = 10,000 are 0.01; the rest of the covariance's error is that of steps without variance."""
    case, errors = Case("matrix", NOISE), []
    for n, steps in ((50, 25), (1000, 50), (10_000, 200)):
        x1 = FLOW.prior(torch.zeros(n, DIMENSION, dtype=F64), 3)
        draws = sf.sample(case.told(method="ddnm"), ParticleFilter(), x1, grid(FLOW, steps), rng=4)
        errors.append(off(draws.mean(0), torch.cov(draws.T), case.truth))
    assert errors[0][1] > 2 * errors[1][1] > 3 * errors[2][1]
    assert errors[2][0] < 0.03
    assert errors[2][1] < 0.06


# Streams, evaluations, the default


@pytest.mark.parametrize("name", [name for name in RESTORERS if name != "particles"])
def test_a_draw_does_not_depend_on_those_beside_it(name):
    case, times = Case("mask", NOISE), grid(FLOW, 8)
    x1 = FLOW.prior(X, 5)
    many = sf.sample(case.told(), RESTORERS[name](), x1, times, rng=Streams.of(0, range(len(X))))
    some = sf.sample(case.told(), RESTORERS[name](), x1[2:4], times, rng=Streams.of(0, range(2, 4)))
    assert close(many[2:4], some, 1e-9, 1e-9)
    assert not close(many, sf.sample(case.told(), RESTORERS[name](), x1, times, rng=1), atol=1e-3)


def test_the_stream_of_particles_belongs_to_the_set():
    case, times, x1 = Case("mask", NOISE), grid(FLOW, 8), FLOW.prior(X, 5)
    draws = [sf.sample(case.told(), ParticleFilter(), x1, times, rng=0) for _ in range(2)]
    assert torch.equal(*draws)
    assert not torch.equal(draws[0][:3], sf.sample(case.told(), ParticleFilter(), x1[:3], times, rng=0))


@pytest.mark.parametrize("name", RESTORERS)
@pytest.mark.parametrize("evaluations", [20, 47])
def test_restorers_spend_what_they_are_given(name, evaluations):
    denoiser, sampler = Counted(LAW.denoiser(FLOW)), RESTORERS[name]()
    told = Observed(denoiser, operator("mask"), Case("mask", NOISE).y, NOISE)
    sf.sample(told, sampler, FLOW.prior(X, 5), grid(FLOW, sampler.steps(told, evaluations)), rng=0)
    once = name == "repaint"  # where the measurement is blunter than the state, steps are taken once
    assert denoiser.evaluations <= evaluations
    assert once or denoiser.evaluations > evaluations - sampler.stages


class Passed(torch.autograd.Function):
    """The identity, that counts."""

    count = 0

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        Passed.count += 1
        return x.clone()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        Passed.count += 1
        return gradient


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("t", [0.3, 1.0])
def test_methods_take_the_passes_that_they_say(method, t):
    exact = LAW.denoiser(FLOW)
    counted = sf.Denoiser.from_function(FLOW, lambda x, t, told: Passed.apply(exact(x, t, told).mean), LAW.std)
    Passed.count = 0
    Observed(counted, operator("matrix"), Case("matrix", NOISE).y, NOISE, method)(X, t)
    assert Passed.count == METHODS[method].passes


@pytest.mark.parametrize("schedule", WALKED)
@each_noise
def test_the_default_draws_from_the_posterior_in_few_passes(schedule, noise):
    """n = 4,000 in 90 passes: mean and covariance within 4 standard errors and the error of the steps."""
    process, case = sf.Gaussian(SCHEDULE_CASES[schedule]), Case("mask", noise)
    told = case.told(process)
    sampler, times = default(told, 90)
    assert len(times) - 1 == 30
    draws = sf.sample(told, sampler, process.prior(torch.zeros(4000, DIMENSION, dtype=F64), 3), times, rng=4)
    errors = off(draws.mean(0), torch.cov(draws.T), case.truth)
    assert errors[0] < 0.04
    assert errors[1] < 0.1


def test_the_default_finds_both_modes():
    """n = 5,000 in 150 passes, on a law that is not Gaussian."""
    truth = MODES.given(SLANTED, numbers(0.3), NOISE)
    told = Observed(MODES.denoiser(FLOW), Matrix(SLANTED), numbers(0.3)[None], NOISE)
    sampler, times = default(told, 150)
    draws = sf.sample(told, sampler, FLOW.prior(torch.zeros(5000, 2, dtype=F64), 3), times, rng=4)
    left = float((draws[:, 0] < 0).double().mean())
    exact = float((truth.sample(200_000, rng=5)[:, 0] < 0).double().mean())
    assert abs(left - exact) < 0.04
    assert exact > 0.15


# Known entries


@pytest.mark.parametrize("name", DISCRETE_CASES)
def test_known_tokens_are_exactly_given(name):
    process = DISCRETE_CASES[name]
    denoiser, known = TOKEN.denoiser(process), torch.tensor([[1]])
    tokens = process.corrupt(TOKEN.sample(20, 1), 0.7, 2)
    told = Observed(denoiser, Mask(torch.tensor([True])), known)
    assert torch.equal(told(tokens, 0.7).mean, Given(denoiser, known, torch.tensor([[True]]))(tokens, 0.7).mean)
    free = Observed(denoiser, Mask(torch.tensor([False])), known)
    assert close(free(tokens, 0.7).mean, denoiser(tokens, 0.7).mean)
    sampler, times = default(told, 3)
    assert (sf.sample(told, sampler, process.prior(tokens, 3), times, rng=0) == 1).all()


def test_known_leaves_are_exactly_given():
    law = sf.exact.Independent({"x": PLANE, "kind": TOKEN})
    process = sf.Product({"x": FLOW, "kind": DISCRETE_CASES["masked"]})
    x_t = process.prior(law.sample(20, 1), 2)
    y = {"x": numbers(0.3, 0.0)[None], "kind": torch.tensor([[2]])}
    seen = {"x": Mask(torch.tensor([True, False])), "kind": Mask(torch.tensor([True]))}
    posterior = Observed(law.denoiser(process), seen, y)(x_t, 1.0)
    assert (posterior.mean["x"][:, 0] == 0.3).all()
    assert (posterior.mean["kind"].argmax(-1) == 2).all()


# Exact laws


def test_correlated_mixtures_are_those_of_independent_elements_where_these_are():
    plain = Correlated(PLANE.means, torch.diag_embed(PLANE.variances), PLANE.weights)
    x = PLANE.sample(50, 1)
    assert close(plain.log_prob(x), PLANE.log_prob(x))
    for t in (0.2, 1.0):
        assert close(plain.denoiser(FLOW)(x, t).mean, PLANE.denoiser(FLOW)(x, t).mean)
        assert close(plain.marginal(FLOW, t).log_prob(x), PLANE.marginal(FLOW, t).log_prob(x))
    assert abs(plain.std - PLANE.std) < 1e-12


def test_given_is_bayes_rule():
    law = Correlated(drawn(3, 4), (torch.eye(4, dtype=F64) + 0.5).expand(3, 4, 4), numbers(1, 2, 3))
    matrix, y, x = drawn(2, 4), drawn(2), drawn(9, 4)
    likelihood = -((y - x @ matrix.T) ** 2).sum(1) / (2 * NOISE**2)
    constant = law.given(matrix, y, NOISE).log_prob(x) - law.log_prob(x) - likelihood
    assert close(constant, constant[:1].expand(9), 1e-9, 1e-9)
    sharp = law.given(matrix, y, 0.0)
    assert close(sharp.sample(20, 1) @ matrix.T, y.expand(20, -1), 1e-6, 1e-6)
    assert close(sharp.mean, law.given(matrix, y, 1e-5).mean, 1e-6, 1e-6)


def test_draws_of_correlated_mixtures_have_their_moments():
    """n = 200,000: 5 standard errors."""
    law = Correlated(drawn(3, 4), (torch.eye(4, dtype=F64) + 0.5).expand(3, 4, 4), numbers(1, 2, 3))
    x = law.sample(200_000, 1)
    assert float((x.mean(0) - law.mean).abs().max()) < 5 * law.std / 200_000**0.5 * 1.5
    assert float((torch.cov(x.T) - law.covariance).abs().max()) < 0.03


# Mistakes


def restored(told: sf.Denoiser, sampler: Restorer) -> Any:
    return sf.sample(told, sampler, FLOW.prior(X, 5), grid(FLOW, 3), rng=0)


MISTAKES = {
    "there is no method 'magic'; there are default, moments": lambda: Case("mask", 0.1).told(method="magic"),
    "a deviation in .0, inf., got -1": lambda: Case("mask", 0.1).told(noise=-1.0),
    "a deviation in .0, inf., got nan": lambda: Case("mask", 0.1).told(noise=float("nan")),
    "numbers that are not finite; leave out by a Mask": lambda: Observed(
        LAW.denoiser(FLOW), operator("matrix"), numbers(1, torch.nan, 2)[None]
    ),
    "the measurement has shape .1, 2., and that of these states has shape .6, 3.": lambda: Observed(
        LAW.denoiser(FLOW), operator("matrix"), torch.zeros(1, 2)
    )(X, 0.5),
    "the measurement has shape .4, 3.": lambda: Observed(LAW.denoiser(FLOW), operator("matrix"), torch.zeros(4, 3))(
        X, 0.5
    ),
    "a Bridge process cannot be told a measurement": lambda: Observed(
        PLANE.denoiser(sf.Bridge(1.0)), Mask(torch.tensor([True, False])), torch.zeros(1, 2)
    ),
    "a measurement needs noise independent of the data": lambda: Observed(
        LAW.denoiser(sf.Gaussian(schedules.Flow(), coupled=True)), operator("mask"), torch.zeros(1, 5)
    ),
    "of a Discrete process entries can be known and nothing else": lambda: Observed(
        TOKEN.denoiser(DISCRETE_CASES["masked"]), Clip(0.5), torch.zeros(1, 1)
    ),
    "needs to know what was measured: give it guidance.Observed": lambda: restored(LAW.denoiser(FLOW), DAPS()),
    "DDRM needs an operator with a closed singular value decomposition, and Clip has none": lambda: restored(
        Observed(LAW.denoiser(FLOW), Clip(0.5), torch.zeros(1, 5)), DDRM()
    ),
    "RePaint puts in known elements, for a Mask, and this is a Matrix": lambda: restored(
        Case("matrix", 0.1).told(), RePaint()
    ),
    "a filter share one measurement, and there are 6": lambda: restored(
        Observed(LAW.denoiser(FLOW), operator("mask"), X, 0.1), ParticleFilter()
    ),
    "without noise has no likelihood to weigh particles by": lambda: restored(
        Case("mask", 0.0).told(), ParticleFilter()
    ),
    "takes 3 passes through the network for an answer, and 2 are too few": lambda: default(Case("mask", 0.1).told(), 2),
}


@pytest.mark.parametrize("said", MISTAKES)
def test_mistakes_are_refused_in_one_sentence(said):
    with pytest.raises(sf.UserError, match=said):
        MISTAKES[said]()


@pytest.mark.parametrize(
    "make",
    [
        lambda: Moments(0),
        lambda: DDRM(1.5),
        lambda: DiffPIR(0.0),
        lambda: REDDiff(0.0),
        lambda: RePaint(0),
        lambda: ParticleFilter(2.0),
    ],
)
def test_settings_out_of_range_are_refused(make):
    with pytest.raises(ValueError, match="got"):
        make()
