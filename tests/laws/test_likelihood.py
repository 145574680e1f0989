"""Law 6: likelihood."""

import math
from itertools import pairwise

import pytest
import torch
from torch import Tensor

import suffuse as sf
from suffuse.exact import GaussianMixture, Independent, Tokens
from suffuse.likelihood import bits_per_dimension, dequantise, estimate_elbo, estimate_log_likelihood
from tests.laws.cases import F64, LINE, PLANE, SCHEDULE_CASES, WALKED, close, numbers

EARLIEST = 1e-3
each_schedule = pytest.mark.parametrize("name", WALKED)


def smoothed(process: sf.Gaussian) -> GaussianMixture:
    """The law at t = 0: that of the data, with what the process leaves of the noise."""
    return PLANE.marginal(process, 0.0)


# The probability-flow ODE


@each_schedule
def test_the_flow_has_the_density_of_the_data(name):
    """To 1e-3 nats per dimension for every item, with the true law at t = 1 as the end."""
    process = sf.Gaussian(SCHEDULE_CASES[name])
    x0 = smoothed(process).sample(64, 1)
    last = PLANE.marginal(process, 1.0)
    ours = sf.log_likelihood(PLANE.denoiser(process), x0, terminal=last.log_prob)
    assert (ours - smoothed(process).log_prob(x0)).abs().max() < 2e-3


@each_schedule
def test_with_the_prior_it_is_off_by_the_divergence_at_the_end(name):
    process = sf.Gaussian(SCHEDULE_CASES[name])
    x0 = smoothed(process).sample(256, 2)
    ours = sf.log_likelihood(PLANE.denoiser(process), x0)
    x1 = PLANE.marginal(process, 1.0).sample(200_000, 3)
    spread = float(process.spread(torch.zeros(1, dtype=F64)))
    prior = torch.distributions.Normal(0.0, spread).log_prob(x1).sum(1)
    divergence = float((PLANE.marginal(process, 1.0).log_prob(x1) - prior).mean())
    assert abs(float((ours - smoothed(process).log_prob(x0)).mean())) < 2e-3 + 3 * max(divergence, 0)


def test_twice_the_steps_leave_a_sixteenth_of_the_error():
    process = sf.Gaussian(SCHEDULE_CASES["flow"])
    x0, last = LINE.sample(16, 4), LINE.marginal(process, 1.0)
    errors = []
    for steps in (20, 40, 80, 160):
        ours = sf.log_likelihood(LINE.denoiser(process), x0, steps=steps, terminal=last.log_prob)
        errors.append(float((ours - LINE.log_prob(x0)).abs().max()))
    slopes = [math.log2(a / b) for a, b in pairwise(errors)]
    assert 3.5 < slopes[-1] < 5, (errors, slopes)


def test_probes_are_unbiased_and_know_their_error():
    """Standardised errors of 2,000 estimates have mean 0 and about deviation 1; halved errors would be seen."""
    process = sf.Gaussian(SCHEDULE_CASES["vp"])
    denoiser, x0 = PLANE.denoiser(process), smoothed(process).sample(1, 5).expand(2000, -1).contiguous()
    exact = sf.log_likelihood(denoiser, x0[:1], steps=10)
    found = estimate_log_likelihood(denoiser, x0, rng=6, steps=10, probes=24)
    z = (found.value - exact) / found.standard_error
    assert abs(float(z.mean())) < 4 / math.sqrt(2000)
    assert 0.9 < float(z.std()) < 1.2, float(z.std())
    assert float((2 * z).std()) > 1.2  # the planted fault


def test_an_exact_trace_needs_no_random_numbers():
    found = estimate_log_likelihood(PLANE.denoiser(sf.Gaussian(SCHEDULE_CASES["vp"])), PLANE.sample(3, 1), steps=4)
    assert torch.equal(found.standard_error, torch.zeros(3, dtype=F64))


# The bound


def cases() -> dict[str, tuple[sf.Denoiser, object, Tensor]]:
    """(exact denoiser, items, their exact log-probability) of every process."""
    made: dict[str, tuple[sf.Denoiser, object, Tensor]] = {}
    for name in WALKED:
        process = sf.Gaussian(SCHEDULE_CASES[name])
        x0 = PLANE.sample(48, 7)
        made[name] = PLANE.denoiser(process), x0, PLANE.log_prob(x0)
    table = (4 * torch.linspace(-1, 1, 27, dtype=F64)).sin().exp().reshape(3, 3, 3)
    law = Tokens(table / table.sum())
    tokens = torch.cartesian_prod(*[torch.arange(3)] * 3)
    odds = numbers(0.5, 0.2, 0.3)
    for name, process in {
        "masked": sf.Discrete.masked(3),
        "uniform": sf.Discrete.uniform(3),
        "marginal": sf.Discrete.marginal(odds),
    }.items():
        made[name] = law.denoiser(process), tokens, law.log_prob(tokens)
    parts = {"x": PLANE, "kind": law}
    joint = Independent(parts)
    product = sf.Product({"x": sf.Gaussian(SCHEDULE_CASES["vp"]), "kind": sf.Discrete.masked(3)})
    both = {"x": PLANE.sample(27, 8), "kind": tokens}
    made["product"] = joint.denoiser(product), both, PLANE.log_prob(both["x"]) + law.log_prob(tokens)
    return made


CASES = cases()
each_case = pytest.mark.parametrize("case", CASES)


@each_case
def test_the_bound_is_tight_for_the_exact_denoiser_and_never_above(case):
    """Mean over items, to three standard errors; nothing but the end at t = 1 and what is before eps is lost."""
    denoiser, x0, exact = CASES[case]
    found = estimate_elbo(denoiser, x0, rng=9, evaluations=512)
    gap = exact - found.value
    error = float(found.standard_error.square().sum().sqrt()) / len(gap)
    assert float(gap.mean()) > -3 * error - 2e-3, (float(gap.mean()), error)
    assert float(gap.mean()) < 3 * error + 0.02, (float(gap.mean()), error)


@each_case
def test_its_standard_error_is_that_of_its_repetitions(case):
    """Forty estimates of each item spread as far as they say, and half of it would be seen."""
    denoiser, x0, _ = CASES[case]
    few = sf.tree.map_leaves(lambda leaf: leaf[:6].repeat(40, *[1] * (leaf.ndim - 1)), x0)
    found = estimate_elbo(denoiser, few, rng=10, evaluations=16)
    spread = found.value.view(40, 6).var(0).mean().sqrt()
    stated = found.standard_error.square().view(40, 6).mean().sqrt()
    assert 0.75 < float(stated / spread) < 1.4, (float(stated), float(spread))


def test_a_worse_denoiser_has_a_lower_bound():
    process = sf.Gaussian(SCHEDULE_CASES["vp"])
    worse = GaussianMixture(PLANE.means * 0.7, PLANE.variances.sqrt() * 1.3, PLANE.weights)
    x0 = PLANE.sample(200, 11)
    ours, theirs = (sf.elbo(law.denoiser(process), x0, rng=12).mean() for law in (PLANE, worse))
    assert float(ours - theirs) > 0.05
    assert abs(float(ours - theirs) - float((PLANE.log_prob(x0) - worse.log_prob(x0)).mean())) < 0.05


def test_of_a_bridge_it_is_the_conditional_density():
    """x_1 is independent of x_0, so that p(x_0 | x_1) is the law of the data."""
    process = sf.Bridge(0.7)
    denoiser = LINE.denoiser(process, source=(0.3, 0.8))
    x0 = LINE.sample(64, 13)
    source = 0.3 + 0.8 * torch.randn(64, 1, dtype=F64, generator=torch.Generator().manual_seed(0))
    found = estimate_elbo(denoiser, x0, {"source": source}, 14, source, 512)
    gap = LINE.log_prob(x0) - found.value
    error = float(found.standard_error.square().sum().sqrt()) / 64
    assert abs(float(gap.mean())) < 3 * error + 0.02


def test_an_item_is_scored_the_same_whatever_is_beside_it():
    denoiser, x0, _ = CASES["vp"]
    for function in (sf.elbo, lambda *a, **k: sf.log_likelihood(*a, **k, steps=3, probes=2)):
        whole = function(denoiser, x0, rng=sf.Streams.of(3, torch.arange(48)))
        part = function(denoiser, x0[5:9], rng=sf.Streams.of(3, torch.arange(5, 9)))
        assert close(whole[5:9], part, atol=1e-9)


# Bits


def test_bits_of_dequantised_values_are_their_entropy():
    """Values on a lattice, made even over their cells, have the log-density of their probabilities."""
    quantum, odds = 0.5, numbers(0.1, 0.4, 0.3, 0.2)
    centres = quantum * torch.arange(4, dtype=F64) - 0.75
    entropy = -float((odds * odds.log2()).sum())
    places = torch.multinomial(odds, 100_000, replacement=True, generator=torch.Generator().manual_seed(1))
    x0 = dequantise(centres[places][:, None], quantum, 2)
    inside = ((x0 - centres[places][:, None]).abs() <= quantum / 2).all()
    cells = ((x0[:, 0] + 1) / quantum).floor().long().clamp(0, 3)
    log_density = (odds / quantum).log()[cells]
    assert inside
    assert float(bits_per_dimension(log_density, 1, quantum).mean()) == pytest.approx(entropy, abs=0.01)
    assert float(x0.sub(centres[places][:, None]).var()) == pytest.approx(quantum**2 / 12, rel=0.02)


def test_tokens_of_equal_odds_have_the_bits_of_their_number():
    denoiser = Tokens(torch.ones(4, 4, dtype=F64) / 16).denoiser(sf.Discrete.masked(4))
    x0 = torch.tensor([[0, 3], [2, 2]])
    assert close(bits_per_dimension(sf.elbo(denoiser, x0, rng=0), 2), numbers(2.0, 2.0), atol=1e-9)


# Refusals


def test_mistakes_are_refused():
    flow = PLANE.denoiser(sf.Gaussian(SCHEDULE_CASES["flow"]))
    x0 = PLANE.sample(2, 0)
    coupled = PLANE.denoiser(sf.Gaussian(SCHEDULE_CASES["flow"], coupled=True))
    discrete, tokens, _ = CASES["masked"]
    for call, words in (
        (lambda: sf.elbo(coupled, x0), "coupling"),
        (lambda: sf.elbo(flow, x0, evaluations=5), "even number"),
        (lambda: sf.elbo(flow, x0, earliest=1.0), "earliest"),
        (lambda: sf.log_likelihood(flow, x0, steps=0), "at least 1 step"),
        (lambda: sf.log_likelihood(flow, x0, probes=1), "2 probes"),
        (lambda: sf.log_likelihood(discrete, tokens), "use elbo"),
    ):
        with pytest.raises(sf.UserError, match=words):
            call()
    assert close(sf.log_likelihood(coupled, x0), sf.log_likelihood(flow, x0))  # the flow needs no independence
