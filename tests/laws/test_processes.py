"""Laws 2 and 6: kernels that keep the laws they should, against closed forms; and likelihood bounds that are tight."""

import math
from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import suffuse as sf
from suffuse import grids
from suffuse.exact import GaussianMixture, Tokens
from suffuse.processes import PROCESSES
from suffuse.rng import Streams
from tests.laws.cases import (
    DISCRETE_CASES,
    F64,
    LINE,
    ONE,
    PROCESS_CASES,
    SCHEDULE_CASES,
    TOKEN,
    ProcessCase,
    close,
    measured,
    numbers,
)
from tests.laws.statistics import N, assert_law

each_case = pytest.mark.parametrize("name", PROCESS_CASES)
STEPS = [(1.0, 0.5), (0.75, 0.25), (0.5, 0.0), (1.0, 0.0)]


def test_every_process_has_a_case():
    assert {type(case.process) for case in PROCESS_CASES.values()} == set(PROCESSES.values())


# Law 2: laws of the kernels


@each_case
@pytest.mark.parametrize("t", [0.0, 0.3, 1.0])
def test_corrupt_has_the_law_at_t(name, t):
    case = PROCESS_CASES[name]
    x_t, source = case.noised(N, t, seed=1)
    if case.told and t == 1:
        assert torch.equal(x_t, source)
    else:
        assert_law(case.view(x_t, t, source), case.truth(t))


@each_case
@pytest.mark.parametrize(("s", "t"), [(0.25, 0.75), (0.0, 0.4), (0.5, 1.0)])
def test_corrupt_then_forward_is_corrupt(name, s, t):
    case = PROCESS_CASES[name]
    x_s, source = case.noised(N, s, seed=2)
    x_t = case.process.forward(x_s, s, t, Streams.of(3, range(N)), source)
    if not (case.told and t == 1):
        assert_law(case.view(x_t, t, source), case.truth(t))
    else:
        assert close(x_t, source, atol=1e-12)


@pytest.mark.parametrize(
    ("name", "eta", "t", "s"),
    [(n, e, t, s) for n, c in PROCESS_CASES.items() for e in c.etas for t, s in STEPS],
)
def test_one_step_with_the_exact_posterior_is_exact(name, eta, t, s):
    case = PROCESS_CASES[name]
    x_t, source = case.noised(N, t, seed=4)
    posterior = case.posterior(x_t, t, source)
    x_s = case.process.reverse(x_t, posterior, t, s, Streams.of(5, range(N)), eta, source)
    assert_law(case.view(x_s, s, source), case.truth(s))


def test_times_off_the_lattice():
    """The steps above are at dyadic times, which the Brownian path reaches early; this one is not."""
    case = PROCESS_CASES["gaussian vp"]
    x_t, _ = case.noised(N, 0.83, seed=6)
    x_s = case.process.reverse(x_t, case.posterior(x_t, 0.83, None), 0.83, 0.31, Streams.of(7, range(N)))
    assert_law(x_s, case.truth(0.31))


def final_variance(process: Any, mean: Any, eta: float, n: int, at_one: float) -> float:
    """Variance at t = 0 after n steps with the posterior's mean alone, by the recursion of an affine walk."""
    times = grids.uniform(n)
    a, b, c, *_ = process.kernel(times[:-1], times[1:], eta)
    ends = torch.stack([mean(torch.full((n, 1), x, dtype=F64), times[:-1])[:, 0] for x in (0.0, 1.0)])
    variance = at_one
    for factor, noise in zip((a + b * (ends[1] - ends[0])).tolist(), c.tolist(), strict=True):
        variance = factor**2 * variance + noise**2
    return variance


def assert_first_order(errors: list[float]) -> None:
    """Errors at doubled numbers of steps fall as 1/N or faster, ever closer to it."""
    slopes = [math.log2(a / b) for a, b in pairwise(errors)]
    assert min(slopes) > 0.7, (slopes, errors)
    assert slopes[-1] > 0.95, (slopes, errors)


@pytest.mark.parametrize("name", ["cosine", "flow", "edm", "vp", "tabulated"])
@pytest.mark.parametrize("eta", [0.0, 0.5, 1.0])
def test_the_mean_alone_converges_for_gaussians(name, eta):
    process = sf.Gaussian(SCHEDULE_CASES[name])
    denoiser = ONE.denoiser(process)
    start, end = (float(ONE.marginal(process, t).variances) for t in (1.0, 0.0))
    errors = [
        abs(final_variance(process, lambda x, t: denoiser(x, t).mean, eta, n, start) - end)
        for n in (50, 100, 200, 400, 800, 1600)
    ]
    assert_first_order(errors)
    assert errors[-1] < 0.01 * end


@pytest.mark.parametrize("eta", [0.5, 1.0])
def test_the_mean_alone_converges_for_bridges(eta):
    """From one source, at which the walk of a bridge that is told of it starts: it ends with the data's variance."""
    process, denoiser = sf.Bridge(0.7), ONE.denoiser(sf.Bridge(0.7))

    def mean(x: Tensor, t: Tensor) -> Tensor:
        return denoiser(x, t, {"source": torch.full_like(x, 0.4)}).mean

    # On an even grid the last steps, where t falls by shares, leave a logarithm: the error is log N / N.
    steps = (100, 200, 400, 800, 1600)
    assert_first_order([abs(final_variance(process, mean, eta, n, 0.0) - 0.25) / math.log(n) for n in steps])


PAIR = Tokens(torch.tensor([[0.4, 0.05, 0.01], [0.02, 0.2, 0.03], [0.08, 0.01, 0.2]], dtype=F64))


@pytest.mark.parametrize("eta", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("name", DISCRETE_CASES)
def test_dependent_tokens_converge(name, eta):
    """The law of the whole chain by enumeration: two dependent tokens drawn independently within a step."""
    process = DISCRETE_CASES[name]
    denoiser, states = PAIR.denoiser(process), len(process.pi)
    pairs = torch.cartesian_prod(torch.arange(states), torch.arange(states))

    def final_error(n: int) -> float:
        law = (process.pi[:, None] * process.pi).flatten()
        for t, s in pairwise(grids.uniform(n)):
            usable = law > 0
            kernel = process.kernel(pairs[usable], denoiser(pairs[usable], t), t, s, eta)
            assert close(kernel.sum(-1), torch.ones_like(kernel[..., 0]), atol=1e-12)
            moved = (law[usable, None, None] * kernel[:, 0, :, None] * kernel[:, 1, None, :]).sum(0)
            law = moved.flatten()
        return float((law.reshape(states, states)[:3, :3] - PAIR.table).abs().sum() / 2)

    errors = [final_error(n) for n in (8, 16, 32, 64)]
    assert min(math.log2(a / b) for a, b in pairwise(errors)) > 0.85, errors
    assert errors[-1] < 0.02


# Closed forms


def test_kernel_is_ddpm_and_ddim_on_a_table_of_betas():
    """From betas alone: posterior coefficients of DDPM (eqs. 6, 7), and eq. 12 and 16 of DDIM."""
    process, betas = sf.Gaussian(SCHEDULE_CASES["tabulated"]), np.linspace(1e-4, 0.02, 1000)
    bars = np.cumprod(1 - betas)
    for i in (1, 2, 10, 499, 998, 999):
        t, s = numbers((i + 1) / 1000), numbers(i / 1000)
        ours = np.array([float(v) for v in process.kernel(t, s, 1.0)])
        on_data = math.sqrt(bars[i - 1]) * betas[i] / (1 - bars[i])
        on_state = math.sqrt(1 - betas[i]) * (1 - bars[i - 1]) / (1 - bars[i])
        deviation = math.sqrt((1 - bars[i - 1]) / (1 - bars[i]) * betas[i])
        assert np.allclose(ours, [on_state, on_data, deviation], rtol=1e-9, atol=1e-12)
    for i, j in ((999, 0), (999, 499), (500, 480), (20, 19)):
        for eta in (0.0, 0.4, 1.0):
            t, s = numbers((i + 1) / 1000), numbers((j + 1) / 1000)
            noise = eta * math.sqrt((1 - bars[j]) / (1 - bars[i])) * math.sqrt(1 - bars[i] / bars[j])
            direction = math.sqrt(1 - bars[j] - noise**2)  # on the predicted noise (x - sqrt(bar) x_0) / sqrt(1 - bar)
            on_state = direction / math.sqrt(1 - bars[i])
            on_data = math.sqrt(bars[j]) - on_state * math.sqrt(bars[i])
            ours = np.array([float(v) for v in process.kernel(t, s, eta)])
            assert np.allclose(ours, [on_state, on_data, noise], rtol=1e-8, atol=1e-11)


@pytest.mark.parametrize(("t", "s"), [(0.9, 0.1), (1 - 1e-6, 1e-3), (1 - 1e-9, 0.01), (0.5, 0.5 - 1e-9), (1.0, 0.3)])
def test_coefficients_keep_their_digits(t, s):
    """All of eta = 1 for the straight schedule, with decimals of 50 digits as the truth."""
    from decimal import Decimal, localcontext

    with localcontext() as context:
        context.prec = 50
        big_t, big_s = Decimal(t), Decimal(s)
        a = (1 - big_t) * big_s**2 / ((1 - big_s) * big_t**2)
        b = (1 - big_s) - a * (1 - big_t)
        c = big_s * (1 - ((1 - big_t) * big_s / ((1 - big_s) * big_t)) ** 2).sqrt()
    ours = sf.Gaussian(SCHEDULE_CASES["flow"]).kernel(numbers(t), numbers(s), 1.0)
    assert [float(v) for v in ours] == pytest.approx([float(a), float(b), float(c)], rel=1e-7, abs=1e-15)
    assert float(ours[0]) == pytest.approx(float(a), rel=1e-12 if t - s > 1e-3 else 1e-7, abs=1e-300)


def test_flow_without_noise_is_the_straight_step():
    process = sf.Gaussian(SCHEDULE_CASES["flow"])
    x_t, x_0 = torch.randn(2, 5, 3, dtype=F64)
    velocity = (x_t - x_0) / 0.8
    step = process.reverse(x_t, sf.Normal(x_0, torch.ones_like(x_0)), 0.8, 0.3, eta=0.0)  # the variance is not used
    assert close(step, x_t - 0.5 * velocity, atol=1e-13)


def test_masked_kernel_is_the_literatures():
    """Sahoo et al. (2024), equation 7 and SUBS: carry over what is unmasked, never predict the mask."""
    process, v = sf.Discrete.masked(5), 5
    logits = torch.linspace(-2, 2, 2 * 7 * 5, dtype=F64).reshape(2, 7, 5).sin() * 3
    x_t = torch.tensor([[5, 5, 0, 3, 5, 4, 5], [1, 5, 5, 5, 5, 2, 5]])
    for t, s in ((1.0, 0.7), (0.9, 0.2), (0.5, 0.0), (1.0, 0.0), (0.3, 0.29)):
        posterior = process.restrict(sf.Categorical(logits), x_t, t)
        alpha_t, alpha_s = 1 - t, 1 - s
        expected = torch.zeros(2, 7, v + 1, dtype=F64)
        for b in range(2):
            for i in range(7):
                if x_t[b, i] != v:
                    expected[b, i, x_t[b, i]] = 1
                else:
                    expected[b, i, :v] = (alpha_s - alpha_t) / (1 - alpha_t) * logits[b, i].softmax(0)
                    expected[b, i, v] = (1 - alpha_s) / (1 - alpha_t)
        for eta in (0.0, 0.5, 1.0):  # which coincide
            assert (process.kernel(x_t, posterior, t, s, eta) - expected).abs().max() < 1e-12


def test_masked_bound_is_weighted_cross_entropy():
    process = sf.Discrete.masked(5)
    x0, logits = torch.tensor([[0, 1, 2, 3, 4, 0, 1]]), torch.linspace(-2, 2, 35, dtype=F64).reshape(1, 7, 5).sin()
    x_t = torch.tensor([[5, 1, 5, 5, 4, 5, 5]])
    for t in (0.01, 0.3, 0.99, 1.0):
        posterior = process.restrict(sf.Categorical(logits), x_t, t)
        cross_entropy = torch.nn.functional.cross_entropy(logits[0], x0[0], reduction="none")
        expected = torch.where(x_t[0] == 5, cross_entropy / t, 0)
        assert close(process.elbo(x0, x_t, posterior, t)[0], expected, rtol=1e-12)


@pytest.mark.parametrize("name", ["uniform", "marginal"])
def test_the_bound_has_its_limit_at_pure_noise(name):
    """Where x_t says nothing, the rates agree to first order in alpha: the integrand vanishes, and is not 0 / 0."""
    process, x0, x_t = DISCRETE_CASES[name], torch.tensor([[0, 1, 2]]), torch.tensor([[2, 1, 0]])
    posterior = sf.Categorical(numbers(0.2, 0.5, 0.3).log().expand(1, 3, 3))
    for t in (1 - 1e-6, 1 - 2.0**-40, 1.0):
        assert process.elbo(x0, x_t, posterior, t).abs().max() < 1e-4


@pytest.mark.parametrize("name", ["uniform", "marginal"])
@pytest.mark.parametrize("eta", [0.0, 0.5, 1.0])
def test_discrete_kernel_is_the_matrix_of_d3pm(name, eta):
    """Bayes' rule with V x V matrices, and at eta = 0 the closed form that keeps what it can."""
    process, t, s = DISCRETE_CASES[name], 0.7, 0.25
    eye, pi = torch.eye(3, dtype=F64), process.pi

    def matrix(alpha: float) -> Tensor:
        return alpha * eye + (1 - alpha) * pi  # rows: from

    p = numbers(0.2, 0.5, 0.3)
    between, up, up_s = matrix((1 - t) / (1 - s)), matrix(1 - t), matrix(1 - s)
    w = s / t
    for here in range(3):
        markov = sum(p[x] * up_s[x] * between[:, here] / up[x, here] for x in range(3))
        keeping = ((1 - s) - w * (1 - t)) * p + w * eye[here]
        expected = eta * markov + (1 - eta) * keeping
        ours = process.kernel(torch.tensor([[here]]), sf.Categorical(p.log()[None, None]), t, s, eta)[0, 0]
        assert (ours - expected).abs().max() < 1e-12


def test_bridge_kernel_is_brownian():
    """Conditioning a joint Gaussian of (x_s, x_t) given both ends, by linear algebra."""
    process = sf.Bridge(0.7)
    for t, s in ((0.8, 0.3), (0.5, 0.1)):
        cov_ss, cov_st, cov_tt = (0.49 * u * (1 - v) for u, v in ((s, s), (s, t), (t, t)))
        gain = cov_st / cov_tt
        a, b, c, d = (float(v) for v in process.kernel(numbers(t), numbers(s), 1.0))
        assert (a, c) == pytest.approx((gain, math.sqrt(cov_ss - gain * cov_st)), rel=1e-12)
        assert (b, d) == pytest.approx(((1 - s) - gain * (1 - t), 0.0), abs=1e-12)
        a, b, c, d = (float(v) for v in process.kernel(numbers(t), numbers(s), 0.3))
        assert a**2 * cov_tt + c**2 == pytest.approx(cov_ss, rel=1e-12)  # for every eta the same marginal
        assert (b + a * (1 - t), d + a * t) == pytest.approx((1 - s, s), rel=1e-12)


@each_case
def test_prior_is_the_law_at_one(name):
    case = PROCESS_CASES[name]
    like = case.law.sample(N, 0)
    if isinstance(case.process, sf.Bridge):
        with pytest.raises(sf.UserError, match="a bridge has no prior"):
            case.process.prior(like)
        return
    x1 = case.process.prior(like, Streams.of(8, range(N)))
    if isinstance(case.process, sf.Gaussian | sf.Heat):  # of data of unit variance and mean zero
        gaussian = case.process.along(like) if isinstance(case.process, sf.Heat) else case.process
        alpha, sigma = gaussian.coordinates(1.0, like)
        std = (alpha**2 + sigma**2).sqrt().flatten().expand(1, 2)
        assert_law(case.view(x1, 1.0, None), GaussianMixture(torch.zeros(1, 2, dtype=F64), std))
    elif isinstance(x1, Mapping):
        assert_law(
            x1, {"x": GaussianMixture(torch.zeros(1, 2, dtype=F64), numbers(1.0)), "kind": case.truth(1.0)["kind"]}
        )
    else:
        assert_law(x1, case.truth(1.0))


# Times of every shape


def items(value: Any, i: int) -> Any:
    return None if value is None else sf.tree.map_leaves(lambda leaf: leaf[i : i + 1], value)


def small(case: ProcessCase, dtype: torch.dtype) -> tuple[Any, Tensor | None, Any]:
    """(x_t, source, x_0) of three items of two elements each, in this precision."""

    def cast(leaf: Tensor) -> Tensor:
        leaf = leaf if leaf.is_floating_point() else torch.cat([leaf, leaf.flip(0)], 1)
        return leaf.to(dtype) if leaf.is_floating_point() else leaf

    x_t, source = case.noised(3, 0.6, seed=9)
    x0 = case.law.sample(3, 3)
    source = None if source is None else source.to(dtype)
    return sf.tree.map_leaves(cast, x_t), source, sf.tree.map_leaves(cast, x0)


@each_case
@pytest.mark.parametrize("dtype", [torch.float32, F64])
@pytest.mark.parametrize("shape", ["()", "(B,)", "(B, L)"])
def test_times_of_every_shape_are_calls_per_item(name, dtype, shape):
    """Every method of a process, and the exact denoiser: together as one by one."""
    case = PROCESS_CASES[name]
    process = case.process
    x_t, source, x0 = small(case, dtype)
    if case.law is TOKEN:  # two independent tokens
        case = ProcessCase(process, Tokens(TOKEN.table[:, None] * TOKEN.table), case.truth, case.etas)
    t = {"()": torch.tensor(0.6), "(B,)": torch.linspace(0.4, 0.9, 3)}.get(
        shape, torch.linspace(0.4, 0.9, 6).reshape(3, 2)
    )
    s, rng = t / 3, Streams.of(10, range(3))
    t, s = t.to(dtype), s.to(dtype)
    if isinstance(process, sf.Heat) and shape == "(B, L)":
        with pytest.raises(sf.UserError, match="none of them can have a time of its own"):
            process.corrupt(x0, t)
        return

    def calls(x0: Any, x_t: Any, source: Any, t: Tensor, s: Tensor, rng: Streams) -> dict[str, Any]:
        at = {"x": t, "kind": t if t.ndim < 2 else t[:, :1]} if isinstance(process, sf.Product) else t
        until = {"x": s, "kind": s if s.ndim < 2 else s[:, :1]} if isinstance(process, sf.Product) else s
        if isinstance(process, sf.Product):
            x0, x_t = ({"x": v["x"], "kind": v["kind"][:, :1]} for v in (x0, x_t))
        posterior = case.posterior(x_t, at, source)
        results = {
            "corrupt": process.corrupt(x0, at, rng, source),
            "forward": process.forward(x_t, until, at, rng, source),
            "mean": posterior.mean,
            "level": process.level(at),
        }
        for eta in {0.0, *case.etas}:
            if eta > 0 or not isinstance(process, sf.Bridge) or source is not None:
                results[f"reverse {eta}"] = process.reverse(x_t, posterior, at, until, rng, eta, source)
        results["elbo"] = process.elbo(x0, x_t, posterior, at)
        return results

    together = calls(x0, x_t, source, t, s, rng)
    for i in range(3):
        row = (t, s) if t.ndim == 0 else (t[i : i + 1], s[i : i + 1])
        alone = calls(items(x0, i), items(x_t, i), items(source, i), *row, rng[i : i + 1])
        for call, value in alone.items():
            whole = together[call] if call == "level" and t.ndim == 0 else items(together[call], i)
            for a, b in zip(sf.tree.leaves(value), sf.tree.leaves(whole), strict=True):
                assert (a.shape, a.dtype) == (b.shape, b.dtype), call
                assert close(a, b, rtol=1e-4 if dtype == torch.float32 else 1e-11, atol=1e-6), call
                if call != "level" and a.is_floating_point() and "elbo" not in call:
                    assert a.dtype == dtype or isinstance(process, sf.Discrete | sf.Product), call


@each_case
def test_a_number_is_a_tensor_is_a_batch_of_it(name):
    case = PROCESS_CASES[name]
    x_t, source = case.noised(5, 0.6, seed=11)
    rng, results = Streams.of(12, range(5)), []
    for t, s in ((0.6, 0.2), (numbers(0.6)[0], numbers(0.2)[0]), (numbers(*[0.6] * 5), numbers(*[0.2] * 5))):
        posterior = case.posterior(x_t, t, source)
        results.append(case.process.reverse(x_t, posterior, t, s, rng, case.etas[0], source))
    for other in results[1:]:
        for a, b in zip(sf.tree.leaves(results[0]), sf.tree.leaves(other), strict=True):
            assert close(a, b, rtol=1e-13, atol=1e-13)


# Refusals


def test_a_bridge_without_its_source_is_refused():
    process, x = sf.Bridge(1.0), torch.zeros(2, 1)
    for call in (
        lambda: process.corrupt(x, 0.5),
        lambda: process.forward(x, 0.2, 0.5),
        lambda: process.reverse(x, sf.Normal(x), 0.5, 0.2, eta=0.5),
        lambda: process.reverse(x, sf.Normal(x), 0.5, 0.2, eta=0.0),
    ):
        with pytest.raises(sf.UserError, match="a bridge needs its source"):
            call()
    process.reverse(x, sf.Normal(x), 0.5, 0.2, eta=1.0)
    for sigma in (0.0, -1.0, math.nan):
        with pytest.raises(ValueError, match="sigma > 0"):
            sf.Bridge(sigma)


def test_a_coupled_process_refuses_what_needs_independent_noise():
    process, x = sf.Gaussian(SCHEDULE_CASES["flow"], coupled=True), torch.zeros(2, 1)
    process.reverse(x, sf.Normal(x), 0.5, 0.2, eta=0.0)
    for call in (
        lambda: process.reverse(x, sf.Normal(x), 0.5, 0.2, eta=0.1),
        lambda: process.forward(x, 0.2, 0.5),
        lambda: process.elbo(x, x, sf.Normal(x), 0.5),
    ):
        with pytest.raises(sf.UserError, match="trained with a coupling"):
            call()


def test_a_paired_source_is_the_noise():
    x0, noise = torch.randn(2, 4, 3, dtype=F64)
    flow = sf.Gaussian(SCHEDULE_CASES["flow"], coupled=True)
    assert close(flow.corrupt(x0, 0.3, source=noise), 0.7 * x0 + 0.3 * noise)
    tokens = torch.zeros(1000, 1, dtype=torch.int64)
    x_t = sf.Discrete.uniform(3).corrupt(tokens, 0.5, 0, source=torch.full_like(tokens, 2))
    assert set(x_t.flatten().tolist()) == {0, 2}


# Law 6: bounds, by quadrature


def nodes(low: float, high: float, n: int) -> tuple[Tensor, Tensor]:
    """Gauss-Legendre nodes and weights."""
    x, w = np.polynomial.legendre.leggauss(n)
    return torch.tensor((x + 1) / 2 * (high - low) + low), torch.tensor(w * (high - low) / 2)


def normal_nodes(n: int) -> tuple[Tensor, Tensor]:
    """Nodes and weights of the mean over a standard normal."""
    x, w = np.polynomial.hermite_e.hermegauss(n)
    return torch.tensor(x), torch.tensor(w / w.sum())


@pytest.mark.parametrize("name", DISCRETE_CASES)
def test_discrete_bound_is_the_likelihood_of_one_token(name):
    """For exact conditionals the continuous-time bound is tight, value by value, by enumeration and quadrature."""
    process = DISCRETE_CASES[name]
    denoiser, states = TOKEN.denoiser(process), len(process.pi)
    u, weights = nodes(0.0, 1.0, 200)
    t, weights = u**3, weights * 3 * u**2  # the integrand has a logarithm at t = 0
    for x0 in range(3):
        bound = 0.0
        for x_t in range(states):
            chance = (1 - t) * (x_t == x0) + t * process.pi[x_t]
            state = torch.full((200, 1), x_t)
            possible = chance > 0
            posterior = denoiser(state[possible], t[possible])
            integrand = process.elbo(torch.full_like(state[possible], x0), state[possible], posterior, t[possible])
            bound += float((weights * chance)[possible] @ integrand[:, 0])
        assert bound == pytest.approx(-math.log(TOKEN.table[x0]), abs=1e-5)


EPS = 0.02
POINTS = numbers(-1.4, -0.2, 0.6, 1.5)[:, None]


def gaussian_bound(case: str, law: GaussianMixture, wrong: float = 0.0) -> Tensor:
    """-ELBO(x_0) at POINTS from the law's own terminal, by quadrature; ``wrong`` shifts the denoiser."""
    process = sf.Gaussian(SCHEDULE_CASES[case])
    denoiser = law.denoiser(process)
    z, z_weights = normal_nodes(120)

    def over_noise(t: float, value: Any) -> Tensor:
        alpha, sigma = process.coordinates(t, z)
        x_t = alpha * POINTS + sigma * z  # (points, nodes)
        values = value(POINTS.repeat_interleave(len(z), 0), x_t.reshape(-1, 1), t)
        return values.reshape(len(POINTS), -1) @ z_weights

    def integrand(x0: Tensor, x_t: Tensor, t: float) -> Tensor:
        return process.elbo(x0, x_t, sf.Normal(denoiser(x_t, t).mean + wrong), t)

    low, high = (-float(process.schedule.log_snr(numbers(t))) for t in (EPS, 1 - 1e-9))
    log_snr, weights = nodes(low, min(high, 30.0), 120)
    bound = over_noise(EPS, lambda x0, x_t, t: -denoiser(x_t, t).log_prob(x0))
    for value, weight in zip(log_snr, weights, strict=True):
        t = process.schedule.inverse(-value)
        rate = float(-process.schedule.log_snr_rate(t))
        bound = bound + float(weight) / rate * over_noise(float(t), integrand)
    end = law.marginal(process, 1.0)
    _, sigma = process.coordinates(1.0, POINTS)
    entropy = 0.5 * math.log(2 * math.pi * math.e * float(sigma) ** 2)
    return bound - entropy - over_noise(1.0, lambda x0, x_t, t: end.log_prob(x_t))


@pytest.mark.parametrize("name", ["vp", "cosine", "edm", "flow"])
def test_gaussian_bound_is_the_likelihood(name):
    truth = -LINE.log_prob(POINTS)
    assert (gaussian_bound(name, LINE) - truth).abs().max() < 1e-3
    worse = gaussian_bound(name, LINE, wrong=0.05)
    assert float((worse - truth).mean()) > 1e-2


def test_gaussian_bound_by_sampling():
    """As a model is scored: times and noise drawn; within three standard errors, and above for a worse denoiser."""
    process, n = sf.Gaussian(SCHEDULE_CASES["flow"]), 50_000
    denoiser, rng = LINE.denoiser(process), Streams.of(13, range(50_000))
    t = EPS + (1 - EPS) * rng.low_discrepancy()
    x0 = LINE.sample(n, rng)
    x_t, x_eps = process.corrupt(x0, t, rng), process.corrupt(x0, EPS, rng.fold("end"))
    mean, base = denoiser(x_t, t).mean, -denoiser(x_eps, EPS).log_prob(x0) + LINE.log_prob(x0)
    for wrong, tight in ((0.0, True), (0.1, False)):
        gap = base + (1 - EPS) * process.elbo(x0, x_t, sf.Normal(mean + wrong), t)[:, 0]
        z = float(gap.mean() / (gap.std() / n**0.5))
        assert abs(z) < 3 if tight else z > 5


def test_bridge_bound_is_the_likelihood_given_the_source():
    """All of it affine and Gaussian: the mean square is a closed form, the integral a quadrature."""
    process, source = sf.Bridge(0.7), 0.4
    denoiser = ONE.denoiser(process)
    z, z_weights = normal_nodes(20)

    def state(x0: float, t: float) -> Tensor:
        return ((1 - t) * x0 + t * source + 0.7 * math.sqrt(t * (1 - t)) * z)[:, None]

    t_nodes, weights = nodes(math.log(EPS), 0.0, 80)
    for x0 in (-0.3, 0.9, 1.8):
        told = {"source": torch.full((20, 1), source, dtype=F64)}
        clean = torch.full((20, 1), x0, dtype=F64)
        bound = -float(denoiser(state(x0, EPS), EPS, told).log_prob(clean) @ z_weights)
        for log_t, weight in zip(t_nodes, weights, strict=True):
            t = math.exp(float(log_t))
            x_t = state(x0, t)
            integrand = process.elbo(clean, x_t, denoiser(x_t, t, told), t)[:, 0]
            bound += float(weight) * t * float(integrand @ z_weights)
        assert bound == pytest.approx(-float(ONE.log_prob(clean[:1])), abs=1e-5)


def test_measured_laws_are_what_the_cases_take_them_for():
    """The truth of these tests against the library's own marginal: two ways to one law."""
    process = sf.Gaussian(SCHEDULE_CASES["vp"])
    alpha, sigma = process.coordinates(0.4, LINE.means)
    x = torch.linspace(-3, 3, 50, dtype=F64)[:, None]
    ours = measured(LINE, float(alpha), float(sigma) ** 2)
    assert close(ours.log_prob(x), LINE.marginal(process, 0.4).log_prob(x), atol=1e-12)
