"""Law 4: what training minimises, and how it weighs."""

import itertools
import math
from typing import Any

import pytest
import torch
from scipy import stats
from torch import Tensor

import suffuse as sf
from suffuse.grids import LogitNormal, LogNormal, Uniform
from suffuse.objectives import (
    EARLIEST,
    WEIGHTS,
    Assignment,
    ELBOWeight,
    LearnedWeight,
    MinSNRWeight,
    Objective,
    OutputWeight,
    Sinkhorn,
    UniformWeight,
    When,
)
from suffuse.parameterizations import EDM, Affine, Bridged
from suffuse.rng import Streams
from tests.laws.cases import (
    DISCRETE_CASES,
    F64,
    FLOW,
    MASKED,
    PARAMETERIZATION_CASES,
    SCHEDULE_CASES,
    TOKEN,
    VP,
    WEIGHT_CASES,
    close,
    numbers,
)
from tests.laws.statistics import LEAST, N, zero_mean

GENERAL = [weight for weight, gaussian_alone in WEIGHT_CASES if not gaussian_alone]
GAUSSIAN_ALONE = [weight for weight, gaussian_alone in WEIGHT_CASES if gaussian_alone]


def named(value: object) -> str:
    return type(value).__name__


def test_every_weight_has_a_case():
    assert {type(weight) for weight, _ in WEIGHT_CASES} == set(WEIGHTS.values())


# The minimiser. The gradient of every item's loss, along changes of the answer, has mean zero at the minimiser.

POINTS = numbers(-1.0, 0.2, 1.5)


def empirical_mean(y: Tensor, a: Tensor, v: Tensor) -> Tensor:
    """E[x_0 | y] for y = a x_0 + N(0, v) and x_0 one of the points."""
    logits = -((y - a * POINTS) ** 2) / (2 * v)
    return (logits.softmax(-1) * POINTS).sum(-1, keepdim=True)


def slopes(objective: Objective, process: Any, answer: Any, x0: Any, **given: Any) -> Tensor:
    """Derivative of each item's loss by a parameter of its own, of which ``answer`` is a function."""
    theta = torch.zeros(N, 1, dtype=F64, requires_grad=True)
    denoiser = sf.Denoiser.from_function(process, lambda x_t, t, condition: answer(x_t, t, theta))
    losses = objective.double()(denoiser, x0, rng=Streams.of(1, range(N)), **given)
    return torch.autograd.grad(losses.sum(), theta)[0][:, 0]


def points() -> Tensor:
    return POINTS[(Streams.of(2, range(N)).uniform(torch.empty(N, 1)) * 3).long()]


@pytest.mark.parametrize("weight", [weight for weight, _ in WEIGHT_CASES], ids=named)
@pytest.mark.parametrize("name", ["vp", "flow", "edm"])
def test_gaussian_minimiser_is_the_empirical_posterior_mean(weight, name):
    process = sf.Gaussian(SCHEDULE_CASES[name])
    objective = Objective(LogNormal(process.schedule, 0.0, 1.0), weight)
    # The bound's weights are so uneven that only a change which fades with the noise shows.
    power, fault = (2, 0.05) if isinstance(weight, ELBOWeight) else (0, 0.02 * float(POINTS.std()))

    def gradients(fault: float, along: str) -> Tensor:
        def answer(x_t: Tensor, t: Tensor, theta: Tensor) -> Tensor:
            alpha, sigma = process.coordinates(t, x_t)
            mean, place = empirical_mean(x_t, alpha, sigma**2), sigma / (alpha + sigma)
            change = place**power * (mean - POINTS.mean() if along == "mean" else 1)
            return mean + (theta + fault) * change

        return slopes(objective, process, answer, points())

    for along in ("one", "mean"):
        assert zero_mean(gradients(0.0, along)) > LEAST
        assert zero_mean(gradients(fault, along)) < LEAST


@pytest.mark.parametrize("weight", [*GENERAL, OutputWeight(Bridged(0.6, 0.3))], ids=named)
def test_bridge_minimiser_is_the_empirical_posterior_mean(weight):
    process, source = sf.Bridge(0.7), Streams.of(3, range(N)).normal(torch.empty(N, 1, dtype=F64))

    def gradients(fault: float) -> Tensor:
        def answer(x_t: Tensor, t: Tensor, theta: Tensor) -> Tensor:
            t = t[:, None]
            return empirical_mean(x_t - t * source, 1 - t, 0.49 * t * (1 - t)) + (theta + fault) * t

        return slopes(Objective(Uniform(), weight), process, answer, points(), source=source)

    assert zero_mean(gradients(0.0)) > LEAST
    assert zero_mean(gradients(0.02 * float(POINTS.std()))) < LEAST


@pytest.mark.parametrize("weight", GENERAL, ids=named)
@pytest.mark.parametrize("name", DISCRETE_CASES)
def test_discrete_minimiser_is_the_posterior(weight, name):
    process, x0 = DISCRETE_CASES[name], TOKEN.sample(N, 4)
    exact = TOKEN.denoiser(process)

    def gradients(fault: float) -> Tensor:
        def answer(x_t: Tensor, t: Tensor, theta: Tensor) -> sf.Categorical:
            change = t[:, None, None] * numbers(1.0, 0.0, 0.0)
            return sf.Categorical(exact(x_t, t).logits.clamp(min=-50) + (theta[..., None] + fault) * change)

        return slopes(Objective(Uniform(), weight), process, answer, x0)

    assert zero_mean(gradients(0.0)) > LEAST
    assert zero_mean(gradients(0.1)) < LEAST


def test_product_minimiser_is_leaf_by_leaf():
    process = sf.Product({"x": FLOW, "kind": MASKED})
    exact, x0 = TOKEN.denoiser(MASKED), {"x": points(), "kind": TOKEN.sample(N, 5)}

    def gradients(fault: float, leaf: str) -> Tensor:
        def answer(x_t: Any, t: Tensor, theta: Tensor) -> sf.Joint:
            there, a = theta + fault, 1 - t[:, None]
            mean = empirical_mean(x_t["x"], a, (1 - a) ** 2)
            logits = exact(x_t["kind"], t).logits.clamp(min=-50)
            if leaf == "x":
                mean = mean + there * t[:, None]
            else:
                logits = logits + there[..., None] * numbers(1.0, 0.0, 0.0)
            return sf.Joint({"x": sf.Normal(mean), "kind": sf.Categorical(logits)})

        return slopes(Objective(weight=UniformWeight()), process, answer, x0)

    for leaf in ("x", "kind"):
        assert zero_mean(gradients(0.0, leaf)) > LEAST
        assert zero_mean(gradients(0.1, leaf)) < LEAST


# The weights

T = torch.linspace(0.02, 0.98, 49, dtype=F64)


def of(weight: Any, process: Any, density: Tensor | None = None) -> Tensor:
    """The weight of a squared error of one, at the times T."""
    x0, posterior = torch.zeros(49, 1, dtype=F64), sf.Normal(torch.ones(49, 1, dtype=F64))
    return weight(process, x0, x0, posterior, When(T, torch.ones_like(T) if density is None else density, T))[:, 0]


def snr(process: Any, t: Tensor = T) -> Tensor:
    return (process.schedule.alpha(t) / process.schedule.sigma(t)) ** 2


@pytest.mark.parametrize("name", SCHEDULE_CASES)
def test_elbo_weight_is_half_the_rate_of_snr_over_the_density(name):
    process = sf.Gaussian(SCHEDULE_CASES[name])
    t = T.clone().requires_grad_()
    (rate,) = torch.autograd.grad(snr(process, t).sum(), t)
    for law in (Uniform(), LogNormal(process.schedule), LogitNormal()):
        density = law.density(T)
        assert close(of(ELBOWeight(), process, density), rate.abs() / 2 / density, rtol=1e-9)


@pytest.mark.parametrize("name", SCHEDULE_CASES)
def test_weights_are_their_definitions(name):
    process = sf.Gaussian(SCHEDULE_CASES[name])
    assert close(of(UniformWeight(), process), torch.full_like(T, 0.5))
    assert close(of(MinSNRWeight(5.0), process), snr(process).clamp(max=5), rtol=1e-9)
    variance = 1 / snr(process)
    assert close(of(OutputWeight(EDM(0.5)), process), (variance + 0.25) / (variance * 0.25), rtol=1e-9)


@pytest.mark.parametrize("form", [f for f, _, _ in PARAMETERIZATION_CASES if isinstance(f, Affine)], ids=named)
def test_min_snr_is_the_papers_for_each_form(form):
    """Hang et al. (2023): min(SNR, g) / SNR on noise, min(SNR, g) on data, min(SNR, g) / (SNR + 1) on v."""
    ratio = snr(VP)
    least = ratio.clamp(max=5)
    published = {"Epsilon": least / ratio, "Data": least, "Velocity": least / (ratio + 1)}
    # By the definitions of the other outputs: u = noise - x_0, and EDM's residual of unit variance.
    published["Flow"] = least / (1 + ratio.sqrt()) ** 2
    published["EDM"] = least * form.sigma_data**2 / (form.sigma_data**2 * ratio + 1)
    on_output = of(MinSNRWeight(5.0), VP) / form.weight(T, VP, T)
    assert close(on_output, published[type(form).__name__], rtol=1e-9)


def test_learned_weight_is_the_base_at_first_and_rests_at_the_log_of_the_loss():
    weight = LearnedWeight(UniformWeight()).double()
    loss = of(UniformWeight(), VP)
    assert close(of(weight, VP), loss)
    for u in (-1.0, math.log(0.5), 1.0):
        with torch.no_grad():
            weight.linear.bias.fill_(u)
        value = of(weight, VP)
        assert close(value, loss * math.exp(-u) + u)
        (slope,) = torch.autograd.grad(value.mean(), weight.linear.bias)
        assert float(slope) == pytest.approx(1 - 0.5 * math.exp(-u), abs=1e-12)  # zero at u = log(1 / 2)


def test_learned_weight_finds_the_log_of_the_loss_at_every_level():
    process, t = sf.Gaussian(SCHEDULE_CASES["edm"]), torch.linspace(0.2, 0.9, 50, dtype=F64)
    weight = LearnedWeight(UniformWeight()).double()
    optimizer = torch.optim.LBFGS(weight.parameters(), max_iter=400, line_search_fn="strong_wolfe")
    x0, posterior = torch.zeros(50, 1, dtype=F64), sf.Normal((2 * t[:, None]).sqrt())  # whose loss is t

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = weight(process, x0, x0, posterior, When(t, torch.ones_like(t), t)).mean()
        loss.backward()
        return loss

    optimizer.step(closure)
    assert abs(float(closure().detach()) - float((t.log() + 1).mean())) < 1e-3  # L exp(-u) + u at u = log L


# The objective


def recording(process: Any) -> tuple[sf.Denoiser, dict[str, Any]]:
    """A denoiser that answers zero, and what it was last asked."""
    seen: dict[str, Any] = {}

    def function(x_t: Any, t: Tensor, condition: Any) -> Tensor:
        seen.update(x_t=x_t, t=t, condition=condition)
        return torch.zeros_like(x_t)

    return sf.Denoiser.from_function(process, function), seen


@pytest.mark.parametrize("law", [Uniform(), LogNormal(FLOW.schedule), LogitNormal()], ids=named)
def test_times_are_the_law_at_even_numbers(law):
    denoiser, seen = recording(FLOW)
    rng = Streams.of(0, range(100, 164))
    Objective(law, UniformWeight())(denoiser, torch.zeros(64, 2), rng=rng)
    assert torch.equal(seen["t"], law.quantile(rng.low_discrepancy()).clamp(min=EARLIEST))
    edges = law.quantile(torch.arange(1, 8, dtype=F64) / 8)
    counts = torch.bucketize(seen["t"], edges).bincount(minlength=8)
    assert ((counts >= 6) & (counts <= 10)).all()  # 8 of 64 in every eighth, but for the ends of intervals


@pytest.mark.parametrize("weight", [weight for weight, _ in WEIGHT_CASES], ids=named)
def test_an_items_loss_does_not_depend_on_its_batch(weight):
    x0, rng = torch.linspace(-2, 2, 36, dtype=F64).reshape(12, 3).sin(), Streams.of(6, range(40, 52))
    denoiser = sf.Denoiser.from_function(VP, lambda x_t, t, condition: x_t * 0.3)
    objective = Objective(LogNormal(VP.schedule), weight, dropout=0.3).double()
    whole = objective(denoiser, x0, {"label": torch.arange(12)}, rng)
    some = torch.tensor([7, 2])
    part = objective(denoiser, x0[some], {"label": some}, rng[some])
    assert close(whole[some], part, rtol=1e-12)


def test_dropout_takes_conditions_away_at_its_rate():
    denoiser, seen = recording(FLOW)
    given = torch.arange(N) % 2 == 0
    condition = {"label": torch.arange(N), "label/present": given}
    Objective(weight=UniformWeight(), dropout=0.2)(denoiser, torch.zeros(N, 1), condition, rng=7)
    left = seen["condition"]["label/present"]
    assert not left[~given].any()
    assert float(stats.binomtest(int(left.sum()), N // 2, 0.8).pvalue) > LEAST
    assert float(stats.binomtest(int(left.sum()), N // 2, 0.784).pvalue) < LEAST
    assert condition["label/present"] is given  # what the caller holds is left as it was


def test_the_loss_is_a_mean_over_elements():
    denoiser = sf.Denoiser.from_function(FLOW, lambda x_t, t, condition: torch.ones_like(x_t))
    loss = Objective(weight=UniformWeight())(denoiser, torch.zeros(3, 4, 5), rng=0)
    assert torch.equal(loss, torch.full((3,), 0.5))


# Couplings


def cloud(n: int) -> tuple[Tensor, Tensor]:
    """(data, noise), n points each in the plane."""
    return tuple(Streams.of(11, range(2 * n)).normal(torch.empty(2 * n, 2, dtype=F64)).chunk(2))


def test_assignment_has_the_least_cost_of_all():
    x0, noise = cloud(6)
    costs = {p: float(((x0 - noise[list(p)]) ** 2).sum()) for p in itertools.permutations(range(6))}
    assert torch.equal(Assignment().pair(x0, noise), noise[list(min(costs, key=costs.__getitem__))])


def test_sinkhorn_is_the_entropic_plan_and_draws_from_it():
    x0, noise = cloud(4)
    plan = Sinkhorn(0.3, 500).log_plan(x0, noise).exp()
    assert close(plan.sum(1), torch.ones(4, dtype=F64), atol=1e-12)
    assert close(plan.sum(0), torch.ones(4, dtype=F64), atol=1e-8)
    cost = torch.cdist(x0, noise) ** 2
    # Optimality: log P + C / eps is a function of the row plus one of the column.
    rest = plan.log() + cost / (0.3 * cost.mean())
    rest = rest - rest[:1]
    assert close(rest, rest[:, :1].expand(4, 4), atol=1e-6)
    plan = Sinkhorn(0.3, 30).log_plan(x0, noise).exp()
    drawn = [Sinkhorn(0.3, 30, seed).pair(x0, noise)[1] for seed in range(1000)]
    counts = torch.stack([(noise == one).all(1).nonzero()[0, 0] for one in drawn]).bincount(minlength=4)
    assert float(stats.chisquare(counts, 1000 * plan[1] / plan[1].sum()).pvalue) > LEAST
    assert float(stats.chisquare(counts, 1000 * plan[2] / plan[2].sum()).pvalue) < LEAST


def test_sinkhorn_lies_between_the_best_pairing_and_none():
    x0, noise = cloud(64)
    costs = [float(((x0 - z) ** 2).sum()) for z in (Assignment().pair(x0, noise), Sinkhorn().pair(x0, noise), noise)]
    assert costs[0] < costs[1] < costs[2]


@pytest.mark.parametrize("coupling", [Assignment(), Sinkhorn()], ids=named)
def test_the_objective_corrupts_with_the_paired_noise(coupling):
    process = sf.Gaussian(SCHEDULE_CASES["flow"], coupled=True)
    denoiser, seen = recording(process)
    x0, rng = cloud(16)[0], Streams.of(8, range(16))
    Objective(weight=UniformWeight(), coupling=coupling)(denoiser, x0, rng=rng)
    t = seen["t"][:, None]
    used, fresh = (seen["x_t"] - (1 - t) * x0) / t, rng.fold("coupling").normal(x0)
    assert close(used, coupling.pair(x0, fresh), atol=1e-9)
    assert float(((x0 - used) ** 2).sum()) < float(((x0 - fresh) ** 2).sum())


# Refusals


@pytest.mark.parametrize("process", [sf.Bridge(1.0), MASKED, sf.Product({"x": FLOW})], ids=named)
@pytest.mark.parametrize("weight", GAUSSIAN_ALONE, ids=named)
def test_weights_of_gaussians_refuse_other_processes(weight, process):
    for one in (weight, LearnedWeight(weight)):
        with pytest.raises(sf.UserError, match=f"{type(weight).__name__} weighs Gaussian processes only"):
            Objective(weight=one)(recording(process)[0], torch.zeros(2, 1))


def test_learned_weight_refuses_a_product():
    process = sf.Product({"x": FLOW})
    denoiser = sf.Denoiser.from_function(process, lambda x_t, t, condition: {"x": x_t["x"]})
    with pytest.raises(sf.UserError, match="a Product has several"):
        Objective(weight=LearnedWeight(UniformWeight()))(denoiser, {"x": torch.zeros(2, 1)}, rng=0)


@pytest.mark.parametrize("process", [FLOW, MASKED, sf.Bridge(1.0)], ids=named)
def test_a_coupling_needs_a_process_that_knows_it(process):
    with pytest.raises(sf.UserError, match="coupled=True"):
        Objective(weight=UniformWeight(), coupling=Assignment())(recording(process)[0], torch.zeros(2, 1))


def test_the_weight_of_a_bridge_is_that_of_its_output():
    process, x0, x1 = sf.Bridge(0.8), *cloud(8)
    form, answer = Bridged(0.6, 0.3), torch.linspace(-1, 1, 16, dtype=F64).reshape(8, 2)
    denoiser, rng = sf.Denoiser.from_function(process, lambda x_t, t, condition: answer), Streams.of(0, range(8))
    t = rng.low_discrepancy()
    out = form.coefficients(t, process, x0)[2]
    expected = (((x0 - answer) / out) ** 2).mean(1)
    assert close(Objective(weight=OutputWeight(form))(denoiser, x0, rng=rng, source=x1), expected, rtol=1e-10)
    with pytest.raises(sf.UserError, match="OutputWeight weighs Bridge processes only"):
        Objective(weight=OutputWeight(form))(recording(FLOW)[0], x0)


def test_entropic_pairs_are_those_of_the_bridge():
    """Sinkhorn's plan at 2 sigma^2 between two Gaussians has the covariance of their Schroedinger bridge."""
    sigma, a, b, n = 0.8, 1.0, 0.6, 1500
    quantiles = torch.special.ndtri((torch.arange(n, dtype=F64) + 0.5) / n)[:, None]
    x0, x1 = a * quantiles, 1 + b * quantiles
    plan = Sinkhorn(2 * sigma**2, 300, relative=False).log_plan(x0, x1).exp() / n
    assert close(plan.sum(0), torch.full((n,), 1 / n, dtype=F64), atol=1e-9)
    covariance = float((plan * (x0 - x0.mean()) * (x1 - x1.mean()).T).sum())
    # Bunne, Hsieh, Cuturi, Krause (2023): C = (sqrt(4 a^2 b^2 + sigma^4) - sigma^2) / 2
    assert covariance == pytest.approx((math.sqrt(4 * a**2 * b**2 + sigma**4) - sigma**2) / 2, abs=0.004)
    assert abs(covariance - a * b) > 0.1  # less than optimal transport
    share = Sinkhorn(2 * sigma**2 / float((torch.cdist(x0, x1) ** 2).mean()), 300).log_plan(x0, x1).exp() / n
    assert close(share, plan)


def test_a_coupling_pairs_the_sources_of_a_bridge():
    x0, x1 = cloud(12)
    coupling, rng = Sinkhorn(0.5, relative=False), Streams.of(3, range(12))
    objective = Objective(weight=UniformWeight(), coupling=coupling)
    paired = objective.pair(x0, rng, x1)
    assert torch.equal(paired, coupling.pair(x0, x1))
    assert not torch.equal(paired, x1)
    assert objective.pair(x0, rng).shape == x0.shape
    assert Objective(weight=UniformWeight()).pair(x0, rng, x1) is x1


def test_the_bound_of_a_coupled_process_is_refused():
    process = sf.Gaussian(SCHEDULE_CASES["flow"], coupled=True)
    with pytest.raises(sf.UserError, match="the likelihood bound"):
        Objective(weight=ELBOWeight(), coupling=Assignment())(recording(process)[0], torch.zeros(2, 1))
