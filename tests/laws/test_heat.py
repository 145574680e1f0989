"""What is special about heat: its basis, its equation, and data whose elements depend on each other."""

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from scipy import fft, ndimage, stats
from torch import Tensor

import suffuse as sf
from suffuse import grids
from suffuse.grids import LogNormal
from suffuse.guidance import Given
from suffuse.objectives import (
    Assignment,
    HeatWeight,
    LearnedWeight,
    MinSNRWeight,
    Objective,
    OutputWeight,
    UniformWeight,
)
from suffuse.operators.spectrum import cosines, from_cosines
from suffuse.parameterizations import EDM
from suffuse.processes.heat import LEAST
from suffuse.rng import Streams
from suffuse.samplers import Ancestral
from suffuse.schedules import Schedule
from tests.laws.cases import F64, FITS_GAUSSIAN, PROCESS_CASES, ROUND, SAMPLER_CASES, SCHEDULE_CASES, close, numbers
from tests.laws.statistics import LEAST as LEAST_P
from tests.laws.statistics import N, zero_mean

SPACE = (2, 3)
DIMENSION = math.prod(SPACE)
_ROOT = torch.randn(DIMENSION, DIMENSION, generator=torch.Generator().manual_seed(0), dtype=F64)
MEAN = torch.linspace(-1, 1, DIMENSION, dtype=F64)
COVARIANCE = _ROOT @ _ROOT.T / 5 + 0.05 * torch.eye(DIMENSION, dtype=F64)
"""Of pictures of 2 x 3: no basis of the process makes their elements independent."""


def items(vectors: Tensor) -> Tensor:
    return vectors.reshape(-1, 1, *SPACE)


def heat(name: str = "cosine", blur: float = 0.6) -> sf.Heat:
    return sf.Heat(SCHEDULE_CASES[name], blur)


def blurred(process: sf.Heat, t: float) -> tuple[Tensor, Tensor]:
    """The matrix that takes the data to the mean of x_t, by its columns; and the deviation of the noise."""
    basis = items(torch.eye(DIMENSION, dtype=F64))
    columns = process.corrupt(basis, t, source=torch.zeros_like(basis)).flatten(1)
    return columns.T, process.schedule.sigma(numbers(t))[0]


def noised(process: sf.Heat, t: float) -> tuple[Tensor, Tensor]:
    """Mean and covariance of x_t."""
    matrix, sigma = blurred(process, t)
    return matrix @ MEAN, matrix @ COVARIANCE @ matrix.T + sigma**2 * torch.eye(DIMENSION, dtype=F64)


def correlated(process: sf.Heat) -> sf.Denoiser:
    """The exact mean of p(x_0 | x_t) for N(MEAN, COVARIANCE), by linear algebra."""

    def mean(x_t: Tensor, t: Tensor, condition: object) -> Tensor:
        matrix, _ = blurred(process, float(t))
        middle, spread = noised(process, float(t))
        gain = torch.linalg.solve(spread, matrix @ COVARIANCE).T
        return items(MEAN + (x_t.flatten(1) - middle) @ gain.T)

    return sf.Denoiser.from_function(process, mean, shape=(1, *SPACE))


# The basis and the equation


@pytest.mark.parametrize("shape", [(1,), (2,), (7,), (8,), (5, 6), (1, 4), (3, 2, 5)])
def test_cosines_are_the_orthonormal_transform_and_its_inverse(shape):
    x = torch.randn(2, 3, *shape, generator=torch.Generator().manual_seed(1), dtype=F64)
    axes = range(2, 2 + len(shape))
    c = cosines(x, axes)
    assert close(c, torch.from_numpy(fft.dctn(x.numpy(), axes=tuple(axes), norm="ortho")), atol=1e-13)
    assert close(from_cosines(c, axes), x, atol=1e-13)
    assert close((c**2).sum(), (x**2).sum())


@pytest.mark.parametrize("shape", [(40,), (24, 30)])
def test_the_mean_is_a_blur_with_mirrored_edges(shape):
    """Against a convolution, where this is wide enough for its sampled kernel to be the heat's."""
    process = sf.Heat(SCHEDULE_CASES["flow"], 0.2)
    x0 = torch.rand(1, 1, *shape, generator=torch.Generator().manual_seed(2), dtype=F64)
    for t in (0.4, 0.6, 1 - 1e-9):
        width = 0.2 * max(shape) * t**2 / ((1 - t) ** 2 + t**2)
        wide = ndimage.gaussian_filter(x0[0, 0].numpy(), width, mode="reflect", truncate=9)
        mean = process.corrupt(x0, t, source=torch.zeros_like(x0)) / (1 - t)
        assert np.allclose(mean[0, 0], (1 - LEAST) * wide + LEAST * x0[0, 0].numpy(), atol=1e-6)


def test_heat_is_kept_and_spreads_evenly():
    """The mean of an item only falls with the scale, and each step of the blur is one of the heat equation."""
    process, n = sf.Heat(SCHEDULE_CASES["edm"], 0.5), 16
    x0 = torch.rand(1, 1, n, generator=torch.Generator().manual_seed(3), dtype=F64)
    mean = process.corrupt(x0, 0.7, source=torch.zeros_like(x0))
    assert close(mean.mean(), x0.mean())
    assert mean.std() < 0.5 * x0.std()
    place = torch.arange(n, dtype=F64) + 0.5
    for k in (1, 3):  # cos(k pi x / n) loses (k pi / n)^2 of itself in a unit of time
        mode = torch.cos(math.pi * k * place / n)[None, None]
        alpha, sigma = (float(v) for v in (process.schedule.alpha(numbers(0.3)), process.schedule.sigma(numbers(0.3))))
        time = (0.5 * n * sigma**2 / (alpha**2 + sigma**2)) ** 2 / 2
        left = (1 - LEAST) * math.exp(-time * (math.pi * k / n) ** 2) + LEAST
        assert close(process.corrupt(mode, 0.3, source=torch.zeros_like(mode)), left * mode, atol=1e-12)


@pytest.mark.parametrize("name", ["cosine", "edm", "flow", "vp"])
def test_each_frequency_has_a_schedule(name):
    """Its SNR falls, at the rate that it says, and the mean's is that of the schedule."""
    schedule, t = heat(name).along(noise(1, 0)).schedule, torch.linspace(0.01, 0.99, 30, dtype=F64)
    assert bool((schedule.log_snr(t).diff(dim=0) < 0).all())
    assert close(schedule.log_snr(t), 2 * (schedule.alpha(t) / schedule.sigma(t)).log(), rtol=1e-9)
    assert close(schedule.log_snr(t)[:, 0, 0, 0], SCHEDULE_CASES[name].log_snr(t))
    assert close(schedule.inverse(schedule.log_snr(t)[:, 0, 0, 0]), t, rtol=1e-9)
    assert close(schedule.snr_rate(t), Schedule.snr_rate(schedule, t[:, None, None, None]), rtol=1e-9)


# Samples


@pytest.mark.parametrize("steps", [1, 2, 5])
@pytest.mark.parametrize("eta", [0.5, 1.0])
def test_a_walk_with_the_exact_law_is_exact_at_any_number_of_steps(eta, steps):
    """Data whose coefficients are independent has a posterior that is known whole: no step loses anything."""
    process, n = heat(), 20_000
    covariance = torch.linspace(0.2, 1.5, DIMENSION, dtype=F64)

    def posterior(x_t: Tensor, t: Tensor, condition: object) -> sf.Rotated:
        alpha, sigma = process.along(x_t).coordinates(t, x_t)
        c, v = process.to(x_t), items(covariance)
        spread = alpha**2 * v + sigma**2
        return process.rotated(sf.Normal(alpha * v / spread * c, sigma**2 * v / spread))

    denoiser = sf.Denoiser.from_function(process, posterior)
    x1 = process.corrupt(process.back(items(covariance.sqrt()) * noise(n, 4)), 1.0, 5)
    x0 = sf.sample(denoiser, Ancestral(eta), x1, grids.uniform(steps), rng=6)
    assert_gaussian(process.to(x0).flatten(1), torch.zeros(DIMENSION, dtype=F64), torch.diag(covariance))


def noise(n: int, seed: int) -> Tensor:
    return Streams.of(seed, range(n)).normal(torch.empty(n, 1, *SPACE, dtype=F64))


def p_values(x: Tensor, mean: Tensor, covariance: Tensor) -> list[float]:
    """Of means, variances and covariances of the whitened sample, and of its squared lengths."""
    white = torch.linalg.solve_triangular(torch.linalg.cholesky(covariance), (x - mean).T, upper=False).T
    products = [white[:, i] * white[:, j] - float(i == j) for i in range(DIMENSION) for j in range(i + 1)]
    lengths = float(stats.kstest((white**2).sum(1).numpy(), stats.chi2(DIMENSION).cdf).pvalue)
    return [lengths, *(zero_mean(v) for v in (*white.T, *products))]


def assert_gaussian(x: Tensor, mean: Tensor, covariance: Tensor) -> None:
    """And it would not be if its mean were off by eight of its standard errors, or its variance by as much."""
    assert min(p_values(x, mean, covariance)) > LEAST_P, p_values(x, mean, covariance)
    off = 8 / len(x) ** 0.5
    for wrong in (mean + (x - mean) * (1 + off) ** 0.5, x + off * covariance.diagonal().sqrt()):
        assert min(p_values(wrong, mean, covariance)) < LEAST_P


def walked(process: sf.Heat, times: Tensor, eta: float) -> tuple[Tensor, Tensor]:
    """Mean and covariance of the end of a walk with the exact mean, which is affine."""
    denoiser, (mean, covariance) = correlated(process), noised(process, float(times[0]))
    probe = items(torch.cat([torch.zeros(1, DIMENSION, dtype=F64), torch.eye(DIMENSION, dtype=F64)]))
    for t, s in pairwise(times):
        a, b, c = process.along(probe).kernel(t, s, eta)
        ends = process.back(a * process.to(probe) + b * process.to(denoiser(probe, t).mean)).flatten(1)
        factor, columns = (ends[1:] - ends[0]).T, process.back(c * process.to(probe[1:])).flatten(1)
        mean, covariance = ends[0] + factor @ mean, factor @ covariance @ factor.T + columns.T @ columns
    return mean, covariance


@pytest.mark.parametrize("steps", [1, 3, 12])
@pytest.mark.parametrize("eta", [0.0, 1.0])
def test_samples_of_dependent_elements_have_the_mean_and_covariance_of_their_walk(eta, steps):
    process, n, times = heat(), 20_000, grids.uniform(steps)
    x1 = process.prior(torch.empty(n, 1, *SPACE, dtype=F64), 7)
    x0 = sf.sample(correlated(process), Ancestral(eta), x1, times, rng=8)
    mean, covariance = walked(process, times, eta)
    if steps == 1:
        assert close(x0.flatten(1), MEAN.expand(n, -1))  # all that is known of pure noise
    else:
        assert_gaussian(x0.flatten(1), mean, covariance)


@pytest.mark.parametrize(("name", "eta"), [("cosine", 0.0), ("cosine", 1.0), ("edm", 0.5)])
def test_the_walk_converges_to_the_law_of_the_data(name, eta):
    """Data whose covariance is diagonal in no basis of the process: the error falls with the first order."""
    process = heat(name)
    _, truth = noised(process, 0.0)
    errors = []
    for n in (20, 40, 80, 160):
        mean, covariance = walked(process, grids.uniform(n), eta)
        errors.append(float(torch.linalg.norm(covariance - truth) + torch.linalg.norm(mean - MEAN)))
    slopes = [math.log2(a / b) for a, b in pairwise(errors)]
    assert min(slopes) > 0.7, (slopes, errors)
    assert slopes[-1] > 0.9, (slopes, errors)


def test_draws_with_a_variance_of_the_elements_are_rotated():
    """A posterior that is independent in elements: with it too one step to s has the closed form's covariance."""
    process, n, t, s = heat(), 40_000, 0.8, 0.3
    mean, var = items(torch.linspace(-1, 1, DIMENSION, dtype=F64)), items(torch.linspace(0.1, 2, DIMENSION, dtype=F64))
    x_t = items(torch.linspace(1, -1, DIMENSION, dtype=F64) ** 2).expand(n, 1, *SPACE)
    posterior = sf.Normal(mean.expand_as(x_t), var.expand_as(x_t))
    x_s = process.reverse(x_t, posterior, t, s, 9)
    a, b, c = process.along(x_t).kernel(numbers(t)[0], numbers(s)[0], 1.0)
    basis = items(torch.eye(DIMENSION, dtype=F64))
    on_data, on_noise = (process.back(v * process.to(basis)).flatten(1) for v in (b, c))
    covariance = on_data.T @ torch.diag(var.flatten()) @ on_data + on_noise.T @ on_noise
    assert_gaussian(x_s.flatten(1), process.back(a * process.to(x_t[:1]) + b * process.to(mean)).flatten(), covariance)


# Posteriors, weights, networks


def test_a_rotated_posterior_has_the_density_of_the_elements():
    process, var = heat(), torch.linspace(0.2, 1.5, DIMENSION, dtype=F64)
    posterior = process.rotated(sf.Normal(items(MEAN), items(var)))
    root = process.back(items(torch.diag(var.sqrt()))).flatten(1)
    law = torch.distributions.MultivariateNormal(posterior.mean.flatten(), root.T @ root)
    x = noise(5, 1)
    assert close(posterior.log_prob(x).flatten(1).sum(1), law.log_prob(x.flatten(1)))
    draws = process.rotated(sf.Normal(items(MEAN).expand(N // 4, 1, *SPACE), items(var))).sample(2)
    assert_gaussian(draws.flatten(1), law.mean, law.covariance_matrix)
    other = sf.Normal(noise(1, 3))
    for reference in (other, process.rotated(sf.Normal(process.to(other.mean)))):
        assert close(posterior.tilt(reference, 0.0).mean, other.mean)
        assert close(posterior.tilt(reference, 1.5).mean, torch.lerp(other.mean, posterior.mean, 1.5))
    known = items(torch.arange(DIMENSION)) > 2
    assert torch.equal(posterior.pinned(other.mean, known).mean, torch.where(known, other.mean, posterior.mean))


@pytest.mark.parametrize("form", ["velocity", "flow", "data", "edm", "epsilon"])
def test_every_form_reads_the_true_output_as_the_data(form):
    """What the network should say, put together by coefficients as the papers define it."""
    process, x0, eps = heat("vp"), noise(9, 1), noise(9, 2)
    t = torch.linspace(0.05, 0.9, 9, dtype=F64)
    x_t = process.corrupt(x0, t, source=eps)
    made = sf.parameterizations.PARAMETERIZATIONS[form]()
    alpha, sigma = process.along(x_t).coordinates(t, x_t)
    skip, out = made.coefficients(alpha, sigma)
    output = process.back((process.to(x0) - skip * process.to(x_t)) / out)
    per_frequency = sf.parameterizations.PerFrequency(made)
    assert close(per_frequency.posterior(output, x_t, t, process).mean, x0, rtol=1e-8, atol=1e-9)
    wanted = {"epsilon": eps, "data": x0}.get(form)
    if wanted is not None:
        assert close(output, wanted, atol=1e-9)


def test_the_weight_of_heat_is_the_squared_error_of_its_output():
    process, x0, form = heat("edm"), noise(8, 1), sf.parameterizations.EDM(0.7)
    answer = noise(8, 2)
    denoiser = sf.Denoiser(lambda x, level, condition: answer, process, sf.parameterizations.PerFrequency(form))
    rng = Streams.of(0, range(8))
    loss = Objective(weight=HeatWeight(OutputWeight(form)))(denoiser, x0, rng=rng)
    t = rng.low_discrepancy()
    skip, out = form.coefficients(*process.along(x0).coordinates(t, x0))
    target = process.back((process.to(x0) - skip * process.to(process.corrupt(x0, t, rng))) / out)
    assert close(loss, ((answer - target) ** 2).flatten(1).mean(1), rtol=1e-9)


@pytest.mark.parametrize(
    "weight",
    [UniformWeight(), HeatWeight(OutputWeight(EDM())), HeatWeight(MinSNRWeight()), LearnedWeight(UniformWeight())],
)
def test_the_minimiser_is_the_posterior_mean(weight):
    """Derivative of each item's loss by a shift of its answer, at the exact denoiser and a little off."""
    case = PROCESS_CASES["heat cosine"]
    exact, x0 = case.law.denoiser(case.process), ROUND.sample(N, 1)
    start = 0.02 * ROUND.std

    def gradients(fault: float) -> Tensor:
        theta = torch.zeros(N, 1, 1, dtype=F64, requires_grad=True)

        def answer(x_t: Tensor, t: Tensor, condition: object) -> Tensor:
            return exact(x_t, t).mean + theta + fault

        denoiser = sf.Denoiser.from_function(case.process, answer)
        objective = Objective(LogNormal(case.process.schedule, 0.0, 1.0), weight).double()
        losses = objective(denoiser, x0, rng=Streams.of(2, range(N)))
        return torch.autograd.grad(losses.sum(), theta)[0].flatten()

    assert zero_mean(gradients(0.0)) > LEAST_P
    assert zero_mean(gradients(start)) < LEAST_P


# Refusals


def test_what_has_no_meaning_under_a_blur_is_refused():
    process, x = heat(), noise(2, 1)
    with pytest.raises(sf.UserError, match="heat spreads in space, and these items have none"):
        process.corrupt(torch.zeros(2, 3), 0.5)
    denoiser = correlated(process)
    network = sf.Denoiser(lambda *seen: x, process, sf.parameterizations.PerFrequency(sf.parameterizations.EDM()))
    with pytest.raises(sf.UserError, match="none of them can have a time of its own"):
        sf.sample(Given(network, x, x > 0), Ancestral(), x, grids.uniform(2))
    with pytest.raises(sf.UserError, match="coupled=True"):
        Objective(weight=UniformWeight(), coupling=Assignment())(denoiser, x)
    with pytest.raises(sf.UserError, match="OutputWeight of EDM weighs Gaussian processes only"):
        Objective(weight=OutputWeight(EDM()))(denoiser, x)
    with pytest.raises(sf.UserError, match="Epsilon cannot be used with Cosine"):
        sf.Denoiser(lambda *seen: x, process, sf.parameterizations.PerFrequency(sf.parameterizations.Epsilon()))
    with pytest.raises(sf.UserError, match="only if its components are round"):
        sf.exact.GaussianMixture(x, x.abs()).denoiser(process)
    for blur in (0.0, -1.0, math.nan, math.inf):
        with pytest.raises(ValueError, match="positive deviation"):
            heat(blur=blur)


@pytest.mark.parametrize(
    "name", [name for name in FITS_GAUSSIAN if not issubclass(sf.Heat, SAMPLER_CASES[name].process)]
)
def test_samplers_of_one_scale_for_all_elements_refuse_heat(name):
    with pytest.raises(sf.UserError, match="walks Gaussian processes only"):
        sf.sample(correlated(heat()), SAMPLER_CASES[name], noise(2, 1), grids.uniform(2))


def test_the_default_walk_is_without_noise():
    sampler, times = sf.samplers.default(correlated(heat("edm")), 20)
    assert isinstance(sampler, Ancestral)
    assert not sampler.stochastic
    assert len(times) == 21
