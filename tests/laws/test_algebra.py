"""The laws of the algebra over its registries, against distributions whose answer is known in closed form."""

import math
from itertools import pairwise

import pytest
import torch
from scipy import stats

import suffuse as sf
from suffuse import grids
from suffuse.objectives import WEIGHTS, Assignment, Objective, Sinkhorn, UniformWeight
from suffuse.parameterizations import PARAMETERIZATIONS, Affine
from suffuse.processes import PROCESSES
from suffuse.rng import Streams
from suffuse.samplers import SAMPLERS
from suffuse.schedules import SCHEDULES, Schedule, Tabulated

F64 = torch.float64
N = 100_000


def schedule(name: str) -> Schedule:
    return Tabulated.linear() if name == "tabulated" else SCHEDULES[name]()


def numbers(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=F64)


def one_gaussian() -> sf.exact.GaussianMixture:
    return sf.exact.GaussianMixture(numbers(2.0)[:, None], numbers(0.5))


def three() -> sf.exact.GaussianMixture:
    return sf.exact.GaussianMixture(
        torch.tensor([[-1.0, 0.0], [1.0, 0.5], [0.0, 1.0]], dtype=F64), numbers(0.3, 0.4, 0.2), numbers(0.5, 0.3, 0.2)
    )


def same_law(a: torch.Tensor, b: torch.Tensor) -> float:
    """Least p-value of two-sample tests of mean, variance and shape, over the elements; Bonferroni-corrected."""
    values = []
    for x, y in zip(a.reshape(len(a), -1).T.numpy(), b.reshape(len(b), -1).T.numpy(), strict=True):
        values += [stats.ttest_ind(x, y).pvalue, stats.ks_2samp(x, y).pvalue]
        ratio = math.log(x.var() / y.var())
        kurtosis = stats.kurtosis(x, fisher=False)
        values.append(2 * stats.norm.sf(abs(ratio) / math.sqrt((kurtosis - 1) * (1 / len(x) + 1 / len(y)))))
    return min(values) * len(values)


def test_same_law_rejects_planted_faults():
    x = Streams.of(0, range(N)).normal(torch.empty(N, 1, dtype=F64))
    y = Streams.of(1, range(N)).normal(torch.empty(N, 1, dtype=F64))
    assert same_law(x, y) > 1e-4
    assert same_law(x, y * 1.03**0.5) < 1e-4
    assert same_law(x, y + 0.03) < 1e-4


# 1. Schedules


@pytest.mark.parametrize("name", SCHEDULES)
def test_schedules_have_the_right_ends_and_invert(name):
    each, ends = schedule(name), numbers(0.0, 1.0)
    assert float(each.alpha(ends)[0]) == 1
    assert float(each.sigma(ends)[0]) == pytest.approx(0.002 if name == "edm" else 0, abs=1e-15)
    if name in ("cosine", "flow"):
        assert float(each.alpha(ends)[1]) == 0
    t = torch.linspace(0, 1, 4001, dtype=F64)
    assert (each.log_snr(t).diff() < 0).all()
    assert (each.inverse(each.log_snr(t)) - t).abs().max() < 1e-10
    assert each.inverse(numbers(math.inf, -math.inf)).tolist() == [0, 1]
    assert (each.log_snr(t[1:-1]) - 2 * (each.alpha(t) / each.sigma(t)).log()[1:-1]).abs().max() < 1e-9


@pytest.mark.parametrize("name", SCHEDULES)
def test_rates_are_derivatives(name):
    each = schedule(name)
    t = torch.linspace(1e-5, 1 - 1e-5, 997, dtype=F64).requires_grad_()
    (slope,) = torch.autograd.grad(each.log_snr(t).sum(), t)
    assert torch.allclose(each.log_snr_rate(t), slope, rtol=1e-9)
    (slope,) = torch.autograd.grad(((each.alpha(t) / each.sigma(t)) ** 2).sum(), t)
    assert torch.allclose(each.snr_rate(t), slope, rtol=1e-9)
    assert float(each.snr_rate(numbers(1.0))) <= 0  # finite, also where alpha is zero


def test_a_table_of_betas_is_the_discrete_model_at_its_knots():
    table = Tabulated.linear(1000, 1e-4, 0.02)
    bars = torch.cumprod(1 - torch.linspace(1e-4, 0.02, 1000, dtype=F64), 0)
    t = torch.arange(1, 1001, dtype=F64) / 1000
    assert torch.allclose(table.alpha(t) ** 2, bars, rtol=1e-12)
    assert torch.allclose(table.sigma(t) ** 2, 1 - bars, rtol=1e-10)


# 2. Grids and time laws


@pytest.mark.parametrize("n", [1, 2, 5, 20, 1000])
@pytest.mark.parametrize("name", SCHEDULES)
def test_grids_fall_strictly_from_one_to_zero(name, n):
    for grid in (grids.uniform(n), grids.log_snr(schedule(name), n), grids.karras(schedule(name), n)):
        assert len(grid) == n + 1
        assert (grid[0], grid[-1]) == (1, 0)
        assert (grid.diff() < 0).all()


@pytest.mark.parametrize("name", SCHEDULES)
def test_grids_are_spaced_as_they_say(name):
    each = schedule(name)
    low, high = (float(each.sigma(t) / each.alpha(t)) for t in (numbers(0.0), numbers(1.0)))
    low, high = max(low, 0.002), min(high, 80)
    ratio = lambda grid: (each.sigma(grid) / each.alpha(grid))[1:-1]  # noqa: E731
    geometric = ratio(grids.log_snr(each, 10)).log()
    assert torch.allclose(geometric, torch.linspace(math.log(high), math.log(low), 11, dtype=F64)[1:-1], atol=1e-8)
    rooted = ratio(grids.karras(each, 10)) ** (1 / 7)
    assert torch.allclose(rooted, torch.linspace(high ** (1 / 7), low ** (1 / 7), 11, dtype=F64)[1:-1], atol=1e-8)


@pytest.mark.parametrize("name", SCHEDULES)
def test_time_laws_draw_from_their_density(name):
    for law in (grids.Uniform(), grids.LogNormal(schedule(name)), grids.LogitNormal(0.3, 0.8)):
        edges = law.quantile(torch.linspace(0.001, 0.999, 500, dtype=F64))
        assert (edges.diff() > 0).all()
        fine = torch.stack([torch.linspace(a, b, 65, dtype=F64) for a, b in pairwise(edges)])
        mass = torch.trapezoid(law.density(fine), fine)
        assert (mass / (0.998 / 499) - 1).abs().max() < 0.02


# 3. Streams


def test_streams_are_uniform_normal_and_independent():
    u = Streams.of(3, range(1000)).uniform(torch.empty(1000, 300))
    z = Streams.of(4, range(1000)).normal(torch.empty(1000, 300, dtype=F64))
    assert stats.kstest(u.flatten().numpy(), "uniform").pvalue > 1e-4
    assert stats.kstest(z.flatten().numpy(), "norm").pvalue > 1e-4
    for a, b in ((z[:-1], z[1:]), (z[:, :-1], z[:, 1:]), (z, Streams.of(4, range(1000)).fold("other").normal(z))):
        assert abs(float((a * b).mean())) * math.sqrt(a.numel()) < 4


def test_a_stream_does_not_depend_on_its_batch():
    like = torch.empty(6, 3, 5)
    many, few = Streams.of(7, range(100, 106)), Streams.of(7, [103, 101])
    for draw in ("normal", "uniform"):
        assert torch.equal(getattr(many, draw)(like)[[3, 1]], getattr(few, draw)(like[:2]))
    assert torch.equal(many.brownian(like, 0.7, 0.3)[[3, 1]], few.brownian(like[:2], 0.7, 0.3))
    assert torch.equal(many.low_discrepancy()[[3, 1]], few.low_discrepancy())


def test_low_discrepancy_covers_every_batch_evenly():
    for start in (0, 12345, 10**12):
        u = Streams.of(0, range(start, start + 128)).low_discrepancy().sort().values
        gaps = torch.cat([u.diff(), u[:1] + 1 - u[-1:]]) * 128
        assert gaps.max() < 3
        assert gaps.min() > 0.3


def test_a_finer_grid_refines_the_same_brownian_path():
    like, rng = torch.empty(5000, 2, dtype=F64), Streams.of(0, range(5000))
    cuts = [1.0, 0.83, 0.5, 0.2, 0.125, 0.0]
    pieces = [rng.brownian(like, t, s) * math.sqrt(t - s) for t, s in pairwise(cuts)]
    assert torch.allclose(sum(pieces), rng.brownian(like, 1.0, 0.0), atol=1e-12)
    for piece, (t, s) in zip(pieces, pairwise(cuts), strict=True):
        assert stats.kstest((piece / math.sqrt(t - s)).flatten().numpy(), "norm").pvalue > 1e-4
    assert abs(float((pieces[1] * pieces[2]).mean())) * 100 < 4 * 0.6


# 4. Kernels


def gaussians():
    return [(f"gaussian-{name}", sf.Gaussian(schedule(name))) for name in SCHEDULES]


DISCRETE = {
    "masked": sf.Discrete.masked(3),
    "uniform": sf.Discrete.uniform(3),
    "marginal": sf.Discrete.marginal(numbers(0.6, 0.3, 0.1)),
}


def test_every_process_has_a_case():
    assert set(PROCESSES) == {"gaussian", "bridge", "discrete", "product"}


@pytest.mark.parametrize(("t", "s"), [(1.0, 0.4), (0.8, 0.3), (0.6, 0.0)])
@pytest.mark.parametrize("eta", [0.5, 1.0])
@pytest.mark.parametrize("name", SCHEDULES)
def test_one_gaussian_step_is_exact(name, eta, t, s):
    process = sf.Gaussian(schedule(name))
    for law in (one_gaussian(), three()):
        x_t = law.marginal(process, t).sample(N, 1)
        x_s = process.reverse(x_t, law.denoiser(process)(x_t, t), t, s, rng=2, eta=eta)
        assert same_law(x_s, law.marginal(process, s).sample(N, 3)) > 1e-4


@pytest.mark.parametrize("name", SCHEDULES)
def test_gaussian_forward_goes_back_up(name):
    process, law = sf.Gaussian(schedule(name)), three()
    x_t = process.forward(process.corrupt(law.sample(N, 1), 0.3, 2), 0.3, 0.8, rng=3)
    assert same_law(x_t, law.marginal(process, 0.8).sample(N, 4)) > 1e-4


@pytest.mark.parametrize(("t", "s"), [(1.0, 0.4), (0.8, 0.3), (0.6, 0.0)])
def test_one_bridge_step_is_exact(t, s):
    process, law = sf.Bridge(0.7), three()
    x0, x1 = law.sample(N, 1), torch.randn(N, 2, dtype=F64, generator=torch.Generator().manual_seed(2))
    truth = process.corrupt(law.sample(N, 9), s, 8, x1.flip(0))
    x_t = process.corrupt(x0, t, 3, x1)
    assert same_law(process.reverse(x_t, law.denoiser(process)(x_t, t), t, s, 4), truth) > 1e-4
    told = law.denoiser(process)(x_t, t, {"source": x1})
    assert same_law(process.reverse(x_t, told, t, s, 4, eta=0.5, source=x1), truth) > 1e-4
    up = process.forward(process.corrupt(x0, s, 5, x1), s, t, 6, x1)
    assert same_law(up, x_t) > 1e-4


@pytest.mark.parametrize("eta", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("name", DISCRETE)
def test_one_discrete_step_is_exact(name, eta):
    process, law = DISCRETE[name], sf.exact.Tokens(numbers(0.5, 0.3, 0.2))
    for t, s in ((1.0, 0.4), (0.8, 0.3), (0.6, 0.0)):
        x_t = process.corrupt(law.sample(N, 1), t, 2)
        x_s = process.reverse(x_t, law.denoiser(process)(x_t, t), t, s, 3, eta)
        expected = (1 - s) * torch.nn.functional.pad(law.table, (0, len(process.pi) - 3)) + s * process.pi
        counts = x_s.flatten().bincount(minlength=len(expected))
        assert counts[expected == 0].sum() == 0
        used = expected > 0
        assert stats.chisquare(counts[used].numpy(), (expected[used] * N).numpy()).pvalue > 1e-4
        up = (
            process.forward(process.corrupt(law.sample(N, 4), s, 5), s, t, 6)
            .flatten()
            .bincount(minlength=len(expected))
        )
        assert (
            stats.chi2_contingency([c.tolist() for c in (up + 1, x_t.flatten().bincount(minlength=len(up)) + 1)])[1]
            > 1e-4
        )


def test_masked_kernel_is_the_literatures_closed_form():
    process = DISCRETE["masked"]
    x_t, logits = torch.tensor([[3, 1]]), torch.randn(1, 2, 3, dtype=F64)
    q = process.restrict(sf.Categorical(logits), x_t, 0.8)
    p = process.kernel(x_t, q, 0.8, 0.3)
    masked = torch.cat([logits[0, 0].softmax(0) * (0.5 / 0.8), numbers(0.3 / 0.8)])
    assert torch.allclose(p[0], torch.stack([masked, numbers(0.0, 1.0, 0.0, 0.0)]), atol=1e-12)
    bound = process.elbo(torch.tensor([[2, 1]]), x_t, q, 0.8)
    assert torch.allclose(bound[0], torch.stack([-q.log_prob(torch.tensor([[2, 1]]))[0, 0] / 0.8, numbers(0.0)[0]]))


@pytest.mark.parametrize("name", DISCRETE)
def test_discrete_bound_is_tight_for_the_exact_denoiser(name):
    process, law = DISCRETE[name], sf.exact.Tokens(numbers(0.5, 0.3, 0.2))
    t = 0.999 * (torch.arange(N, dtype=F64) + 0.5) / N
    x0 = law.sample(N, 1)
    x_t = process.corrupt(x0, t, 2)
    terms = 0.999 * process.elbo(x0, x_t, law.denoiser(process)(x_t, t), t).squeeze(1)
    entropy = float(-(law.table * law.table.log()).sum())
    assert abs(float(terms.mean()) - entropy) < 4 * float(terms.std()) / math.sqrt(N) + 2e-3


def test_a_product_is_its_parts():
    parts = {"x": sf.Gaussian(schedule("flow")), "k": DISCRETE["masked"]}
    process = sf.Product(parts)
    law = sf.exact.Independent({"x": one_gaussian(), "k": sf.exact.Tokens(numbers(0.5, 0.3, 0.2))})
    denoiser = law.denoiser(process)
    x1 = process.prior({"x": torch.empty(N, 1, dtype=F64), "k": torch.empty(N, 1, dtype=torch.int64)}, 1)
    x1["x"] = law.parts["x"].marginal(parts["x"], 1.0).sample(N, 2)
    x0 = sf.sample(denoiser, sf.samplers.Ancestral(1.0), x1, grids.uniform(3), rng=3)
    assert same_law(x0["x"], law.sample(N, 4)["x"]) > 1e-4
    assert (
        stats.chisquare(x0["k"].flatten().bincount(minlength=3).numpy(), numbers(0.5, 0.3, 0.2).numpy() * N).pvalue
        > 1e-4
    )


# 5. Parameterizations and objectives


@pytest.mark.parametrize("name", SCHEDULES)
def test_parameterizations_agree_on_posterior_loss_and_gradient(name):
    process, s = sf.Gaussian(schedule(name)), 0.5
    x0, t = torch.randn(64, 3, dtype=F64), torch.linspace(0.02, 0.98, 64, dtype=F64)
    x_t = process.corrupt(x0, t, 1)
    mean = (x0 + 0.3 * torch.randn_like(x0)).requires_grad_()
    losses = []
    for parameterization in PARAMETERIZATIONS.values():
        if not issubclass(parameterization, Affine):
            continue
        each = parameterization(s)
        skip, out = each.coefficients(*process.coordinates(t, x_t))
        output = (mean - skip * x_t) / out  # the same answer in this form
        posterior = each.posterior(output, x_t, t, process)
        assert torch.allclose(posterior.mean, mean, rtol=1e-9, atol=1e-9)
        target = (x0 - skip * x_t) / out
        loss = ((output - target) ** 2 / each.weight(t, process, x_t)).mean()
        losses.append((float(loss.detach()), torch.autograd.grad(loss, mean)[0]))
    for value, gradient in losses[1:]:
        assert value == pytest.approx(losses[0][0], rel=1e-6)
        assert torch.allclose(gradient, losses[0][1], rtol=1e-6)


def test_targets_are_what_the_field_means_by_them():
    process = sf.Gaussian(schedule("vp"))
    x0, noise, t = torch.randn(8, 3, dtype=F64), torch.randn(8, 3, dtype=F64), torch.linspace(0.1, 0.9, 8, dtype=F64)
    alpha, sigma = process.coordinates(t, x0)
    x_t = process.corrupt(x0, t, source=noise)
    for name, target in {
        "epsilon": noise,
        "velocity": alpha * noise - sigma * x0,
        "flow": noise - x0,
        "data": x0,
    }.items():
        assert torch.allclose(PARAMETERIZATIONS[name](1.0).posterior(target, x_t, t, process).mean, x0, atol=1e-9), name


def test_what_does_not_fit_is_refused():
    bridge, discrete, flow = sf.Bridge(1.0), DISCRETE["masked"], sf.Gaussian(schedule("flow"))
    zero = lambda x_t, t, condition: torch.zeros_like(x_t)  # noqa: E731
    for parameterization, process in (("epsilon", flow), ("edm", bridge), ("logits", flow), ("drift", discrete)):
        with pytest.raises(sf.UserError):
            sf.Denoiser(zero, process, PARAMETERIZATIONS[parameterization]())
    with pytest.raises(sf.UserError, match="starts from"):
        bridge.prior(torch.zeros(1, 1))
    for name, make in SAMPLERS.items():
        if make().process is sf.Gaussian:
            with pytest.raises(sf.UserError, match="walks Gaussian"):
                sf.sample(sf.Denoiser.from_function(bridge, zero), make(), torch.zeros(1, 1), grids.uniform(2)), name
    for times in (grids.uniform(2).flip(0), numbers(1.0, 0.5, 0.5), numbers(1.0), numbers(2.0, 0.0)):
        with pytest.raises(sf.UserError, match="fall"):
            sf.sample(sf.Denoiser.from_function(flow, zero), sf.samplers.Heun(), torch.zeros(1, 1), times)
    with pytest.raises(sf.UserError, match="coupled=True"):
        Objective(coupling=Assignment())(sf.Denoiser.from_function(flow, zero), torch.zeros(2, 1))
    with pytest.raises(sf.UserError, match="Gaussian processes only"):
        Objective(weight=WEIGHTS["edm"]())(
            sf.Denoiser.from_function(bridge, zero), torch.zeros(2, 1), source=torch.zeros(2, 1)
        )


def test_a_coupled_model_refuses_noise():
    process = sf.Gaussian(schedule("flow"), coupled=True)
    denoiser = sf.Denoiser.from_function(process, lambda x_t, t, condition: torch.zeros_like(x_t))
    x = torch.zeros(2, 1)
    sf.sample(denoiser, sf.samplers.Ancestral(0.0), x, grids.uniform(2))
    for name, make in SAMPLERS.items():
        if make().stochastic:
            with pytest.raises(sf.UserError, match="coupling"):
                sf.sample(denoiser, make(), x, grids.uniform(8)), name
    for refused in (lambda: process.forward(x, 0.2, 0.5), lambda: process.elbo(x, x, sf.Normal(x), 0.5)):
        with pytest.raises(sf.UserError, match="coupling"):
            refused()


@pytest.mark.parametrize("name", [name for name in WEIGHTS if name != "learned"])
def test_the_minimiser_is_the_empirical_posterior_mean(name):
    """On two points every weighted error has its minimum at the closed-form posterior mean."""
    process = sf.Gaussian(schedule("vp"))
    points = torch.tensor([[-1.0], [1.0]], dtype=F64)
    law = sf.exact.GaussianMixture(points, numbers(1e-4, 1e-4))
    x0 = points.repeat(20_000, 1)
    t = torch.full((40_000,), 0.4, dtype=F64)
    x_t = process.corrupt(x0, t, 1)
    shift = torch.zeros((), dtype=F64, requires_grad=True)
    posterior = sf.Normal(law.denoiser(process)(x_t, t).mean * (1 + shift))
    loss = WEIGHTS[name]()(process, x0, x_t, posterior, t, torch.ones_like(t)).squeeze(1)
    (slope,) = torch.autograd.grad(loss.mean(), shift)
    assert abs(float(slope)) < 0.03 * float(loss.detach().mean())


def test_weights_are_their_definitions():
    process, t = sf.Gaussian(schedule("cosine")), torch.linspace(0.05, 0.95, 19, dtype=F64)
    x0, posterior = torch.zeros(19, 1, dtype=F64), sf.Normal(torch.ones(19, 1, dtype=F64))
    of = lambda weight, law: weight(process, x0, x0, posterior, t, law.density(t)).squeeze(1)  # noqa: E731
    snr = process.schedule.log_snr(t).exp()
    law = grids.LogNormal(process.schedule)
    assert torch.allclose(of(WEIGHTS["elbo"](), law), process.schedule.snr_rate(t).abs() / 2 / law.density(t))
    assert torch.allclose(of(WEIGHTS["min-snr"](5.0), law), snr.clamp(max=5))
    assert torch.allclose(of(WEIGHTS["edm"](0.5), law), (1 / snr + 0.25) * snr / 0.25)
    assert torch.allclose(of(UniformWeight(), law), torch.full_like(t, 0.5))


def test_the_learned_weight_is_at_rest_where_it_is_the_log_of_the_loss():
    process, t = sf.Gaussian(schedule("edm")), torch.linspace(0.2, 0.9, 50, dtype=F64)
    weight = WEIGHTS["learned"](UniformWeight()).double()
    optimizer = torch.optim.LBFGS(weight.parameters(), max_iter=400, line_search_fn="strong_wolfe")
    x0, posterior = torch.zeros(50, 1, dtype=F64), sf.Normal((2 * t[:, None]).sqrt())

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        loss = weight(process, x0, x0, posterior, t, torch.ones_like(t)).mean()
        loss.backward()
        return loss

    optimizer.step(closure)
    best = (t.log() + 1).mean()  # L = t at each level: L exp(-u) + u is least at u = log L
    assert abs(float(closure().detach()) - float(best)) < 1e-3


def test_couplings_pair_what_is_near():
    x0, noise = torch.randn(64, 2, dtype=F64), torch.randn(64, 2, dtype=F64)
    paired = Assignment().pair(x0, noise)
    assert torch.equal(paired.sort(0).values, noise.sort(0).values)
    cost = lambda z: float(((x0 - z) ** 2).sum())  # noqa: E731
    i, j = 3, 17
    swapped = paired.clone()
    swapped[[i, j]] = paired[[j, i]]
    assert cost(paired) < cost(noise)
    assert cost(paired) <= cost(swapped)
    plan = Sinkhorn(0.05, 2000).log_plan(x0, noise).exp()
    assert torch.allclose(plan.sum(1), torch.ones(64, dtype=F64), atol=1e-9)
    assert torch.allclose(plan.sum(0), torch.ones(64, dtype=F64), atol=1e-3)
    assert cost(paired) < cost(Sinkhorn().pair(x0, noise)) < cost(noise)


# 6. Samplers


def deterministic() -> list[str]:
    return [name for name, make in SAMPLERS.items() if not make().stochastic]


def truth(process, denoiser, x, start, stop, n=1500):
    """Runge-Kutta of order four, in the coordinates where the flow is straight."""
    times = torch.linspace(start, stop, n + 1, dtype=F64)

    def place(t):
        alpha, sigma = process.coordinates(t, x)
        return alpha + sigma, sigma / (alpha + sigma)

    def slope(y, t):
        size, tau = place(t)
        return (y - denoiser(y * size, t).mean) / tau

    y = x / place(times[0])[0]
    for t, s in pairwise(times):
        (_, tau_t), (_, tau_s) = place(t), place(s)
        middle = process.schedule.inverse(-2 * ((tau_t + tau_s) / 2 / (1 - (tau_t + tau_s) / 2)).log()).squeeze()
        h = tau_s - tau_t
        k1 = slope(y, t)
        k2 = slope(y + h / 2 * k1, middle)
        k3 = slope(y + h / 2 * k2, middle)
        k4 = slope(y + h * k3, s)
        y = y + h / 6 * (k1 + 2 * k2 + 2 * k3 + k4)
    return y * place(times[-1])[0]


@pytest.fixture(scope="module", params=list(SCHEDULES))
def problem(request):
    process = sf.Gaussian(schedule(request.param))
    law = three()
    denoiser = law.denoiser(process)
    x = law.marginal(process, 0.9).sample(100, 1)
    return request.param, process, denoiser, x, truth(process, denoiser, x, 0.9, 0.1)


def walk_with_history(denoiser, sampler, x, times, exact):
    """A walk whose first steps are taken from exact points, so that a multistep method starts at its own order."""
    state = sampler.init(denoiser, x, times)
    for i, (t, s) in enumerate(pairwise(times)):
        x_s, state = sampler.step(denoiser, x, t, s, None, state, None)
        x = exact[i] if i < len(exact) else x_s
    return x


@pytest.mark.parametrize("name", deterministic())
def test_the_order_is_the_declared_one(name, problem):
    schedule_name, process, denoiser, x, end = problem
    make, errors = SAMPLERS[name], []
    for n in (40, 80, 160, 320):
        times = torch.linspace(0.9, 0.1, n + 1, dtype=F64)
        exact = []
        with torch.no_grad():
            for i in range(make().order - 1 if not make().one_step else 0):
                start = exact[-1] if exact else x
                exact.append(truth(process, denoiser, start, float(times[i]), float(times[i + 1]), 40))
            errors.append(float((walk_with_history(denoiser, make(), x, times, exact) - end).norm()))
    slopes = [math.log2(a / b) for a, b in pairwise(errors)]
    if schedule_name != "tabulated":
        assert sum(slopes) / 3 == pytest.approx(make().order, abs=0.3), (slopes, errors)
    else:
        assert sum(slopes) / 3 > make().order - 0.3, (slopes, errors)


@pytest.mark.parametrize("name", deterministic())
@pytest.mark.parametrize("kind", list(SCHEDULES))
def test_from_noise_to_data(name, kind):
    process, law = sf.Gaussian(schedule(kind)), three()
    denoiser = law.denoiser(process)
    x1 = law.marginal(process, 1.0).sample(400, 1)
    walk = lambda n: sf.sample(denoiser, SAMPLERS[name](), x1, grids.karras(process.schedule, n))  # noqa: E731
    best = sf.sample(denoiser, sf.samplers.Heun(), x1, grids.karras(process.schedule, 600))
    # The median over the starts: one that lies between two modes may end in the other.
    errors = [float((walk(n) - best).norm(dim=1).median()) for n in (1, 2, 20, 40, 80)]
    assert all(map(math.isfinite, errors))
    assert errors[2] < (0.12 if SAMPLERS[name]().order == 1 else 0.05), errors
    assert errors[4] < errors[2] / 3, errors


@pytest.mark.parametrize("name", [name for name, make in SAMPLERS.items() if make().stochastic])
@pytest.mark.parametrize("kind", ["cosine", "edm", "tabulated"])
def test_stochastic_samplers_converge_in_law(name, kind):
    process, law = sf.Gaussian(schedule(kind)), three()
    x1 = law.marginal(process, 1.0).sample(5000, 1)
    x0 = sf.sample(law.denoiser(process), SAMPLERS[name](), x1, grids.karras(process.schedule, 80), rng=2)
    assert same_law(x0, law.sample(5000, 3)) > 1e-4


@pytest.mark.parametrize("name", SAMPLERS)
def test_a_sample_does_not_depend_on_its_batch(name):
    process, law = sf.Gaussian(schedule("cosine")), three()
    rng = Streams.of(0, range(6))
    for dtype, tolerance in ((torch.float32, 1e-4), (F64, 1e-10)):
        x1 = process.prior(torch.empty(6, 2, dtype=dtype), rng)
        walk = lambda x, r: sf.sample(law.denoiser(process), SAMPLERS[name](), x, grids.uniform(7), rng=r)  # noqa: E731
        assert (walk(x1, rng)[2:4] - walk(x1[2:4], rng[2:4])).abs().max() < tolerance


def test_times_of_any_prefix_shape_are_the_same_step():
    process, law = sf.Gaussian(schedule("cosine")), three()
    x, denoiser, rng = law.marginal(process, 0.7).sample(4, 1), law.denoiser(process), Streams.of(0, range(4))
    for eta in (0.0, 1.0):
        whole = process.reverse(x, denoiser(x, 0.7), 0.7, 0.2, rng, eta)
        t, s = torch.full((4,), 0.7, dtype=F64), torch.full((4,), 0.2, dtype=F64)
        if eta == 0:
            assert torch.allclose(whole, process.reverse(x, denoiser(x, t), t, s, rng, eta), atol=1e-12)
        posterior = sf.Normal(denoiser(x, 0.7).mean)
        assert torch.allclose(
            process.reverse(x, posterior, 0.7, 0.2, rng, eta), process.reverse(x, posterior, t, s, rng, eta)
        )
    grid = t[:, None].expand(4, 2)
    assert torch.allclose(process.corrupt(x, 0.7, rng), process.corrupt(x, grid, rng))


# 7. Guidance


def test_classifier_free_guidance_is_the_tilted_score():
    process, law = sf.Gaussian(schedule("vp")), three()
    denoiser, x = law.denoiser(process), torch.randn(50, 2, dtype=F64)
    condition = {"component": torch.full((50,), 1)}
    alpha, sigma = process.coordinates(0.4, x)

    def score(posterior):
        return (alpha * posterior.mean - x) / sigma**2

    whole, part = law.marginal(process, 0.4), law.component(1).marginal(process, 0.4)
    for weight in (0.0, 0.5, 1.0, 3.0):
        guided = sf.guidance.ClassifierFree(denoiser, weight)(x, 0.4, condition)
        expected = weight * part.score(x) + (1 - weight) * whole.score(x)
        assert torch.allclose(score(guided), expected, atol=1e-8)
    outside = sf.guidance.ClassifierFree(denoiser, 3.0, (0.5, 0.9))(x, 0.4, condition)
    assert torch.allclose(score(outside), part.score(x), atol=1e-8)
    each = torch.cat([torch.full((25,), 0.4), torch.full((25,), 0.6)]).double()
    mixed = sf.guidance.ClassifierFree(denoiser, 3.0, (0.5, 0.9))(x, each, condition).mean
    assert torch.allclose(mixed[:25], denoiser(x, each, condition).mean[:25])
    assert not torch.allclose(mixed[25:], denoiser(x, each, condition).mean[25:])
    auto = sf.guidance.Guided(denoiser, law.component(0).denoiser(process), 2.0)
    assert torch.allclose(
        auto(x, 0.4).mean, 2 * denoiser(x, 0.4).mean - law.component(0).denoiser(process)(x, 0.4).mean
    )
