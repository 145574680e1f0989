"""Law 6: the flow's likelihood and the bound of every process, against closed forms and enumerated chains."""

import math
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest
import torch
from scipy.stats import kstest
from torch import Tensor

import suffuse as sf
from suffuse import grids
from suffuse.exact import GaussianMixture, Independent, Tokens
from suffuse.likelihood import (
    EARLIEST,
    Estimate,
    bits_per_dimension,
    dequantise,
    estimate_elbo,
    estimate_log_likelihood,
)
from suffuse.rng import Streams
from suffuse.tree import map_leaves
from tests.laws.cases import (
    DISCRETE_CASES,
    F64,
    LINE,
    PLANE,
    PROCESS_CASES,
    SCHEDULE_CASES,
    TOKEN,
    ProcessCase,
    close,
    numbers,
)
from tests.laws.statistics import LEAST, N, zero_mean

each_schedule = pytest.mark.parametrize("schedule", SCHEDULE_CASES)
each_case = pytest.mark.parametrize("name", PROCESS_CASES)
each_tight_case = pytest.mark.parametrize("name", [name for name in PROCESS_CASES if name != "bridge"])
"""But the one whose denoiser does not know where it started, and so not all that can be known."""

SPACE = GaussianMixture(
    torch.linspace(-9, 9, 64, dtype=F64).sin().reshape(4, 16),
    0.25 + 0.15 * torch.linspace(0, 20, 64, dtype=F64).cos().reshape(4, 16),
    numbers(1, 2, 3, 4),
)
"""Sixteen dimensions."""
PAIR = Tokens(torch.tensor([[0.4, 0.05, 0.01], [0.02, 0.2, 0.03], [0.08, 0.01, 0.2]], dtype=F64))
"""Two dependent tokens."""


def flow_of(schedule: str, law: GaussianMixture = PLANE) -> tuple[sf.Denoiser, GaussianMixture, GaussianMixture]:
    """The exact denoiser, and the laws at the two ends of its flow."""
    process = sf.Gaussian(SCHEDULE_CASES[schedule])
    return law.denoiser(process), law.marginal(process, 0.0), law.marginal(process, 1.0)


# The flow's likelihood


@pytest.mark.parametrize(
    ("schedule", "law"), [*((name, PLANE) for name in SCHEDULE_CASES), ("vp", SPACE), ("edm", SPACE)]
)
def test_the_flow_has_the_closed_form(schedule, law):
    """With the law at t = 1, item by item; where noise is left at t = 0, of the data with that noise."""
    denoiser, clean, noisy = flow_of(schedule, law)
    x0 = clean.sample(32, 1)
    ours = estimate_log_likelihood(denoiser, x0, terminal=noisy.log_prob)
    assert (ours.value - clean.log_prob(x0)).abs().max() < 1e-5 * x0[0].numel()
    assert not ours.standard_error.any()  # the trace is exact in so few dimensions


@each_schedule
def test_the_flow_is_of_the_fourth_order(schedule):
    denoiser, clean, noisy = flow_of(schedule)
    x0 = clean.sample(32, 2)
    truth = clean.log_prob(x0)
    errors = [
        float((sf.log_likelihood(denoiser, x0, steps=n, terminal=noisy.log_prob) - truth).abs().max())
        for n in (25, 50, 100)
    ]
    slopes = [math.log2(a / b) for a, b in pairwise(errors)]
    assert min(slopes) > 3.7, (slopes, errors)
    assert abs(slopes[-1] - 4) < 0.3, (slopes, errors)


def quadrature(law: GaussianMixture, points: int = 400) -> tuple[Tensor, Tensor]:
    """Points (N, d) on a grid and their weights, for means over a law."""
    side = torch.linspace(-9, 9, points, dtype=F64) * float(law.variances.max().sqrt())
    grid = torch.cartesian_prod(*[side] * law.means.shape[1]).reshape(-1, law.means.shape[1])
    weights = law.log_prob(grid).exp()
    return grid, weights / weights.sum()


def prior_gap(process: sf.Gaussian, law: GaussianMixture) -> float:
    """KL(q(x_1) || prior)."""
    noisy = law.marginal(process, 1.0)
    x1, weights = quadrature(noisy)
    prior = GaussianMixture(torch.zeros_like(noisy.means[:1]), process.spread(noisy.means[:1]))
    return float(weights @ (noisy.log_prob(x1) - prior.log_prob(x1)))


@each_schedule
def test_with_the_prior_the_flow_loses_its_distance_from_the_law_at_one(schedule):
    """In the mean over items, by quadrature: log p - KL(q(x_1) || prior)."""
    denoiser, clean, _ = flow_of(schedule, LINE)
    x0, weights = quadrature(clean)
    lost = float(weights @ (clean.log_prob(x0) - sf.log_likelihood(denoiser, x0)))
    assert isinstance(denoiser.process, sf.Gaussian)
    assert lost == pytest.approx(prior_gap(denoiser.process, LINE), abs=2e-6)


def test_random_probes_are_right_in_the_mean_and_know_their_error():
    """n = 20,000 items; a twentieth of the deviation, or an error taken 10% too large, would show."""
    denoiser, clean, _ = flow_of("flow")
    x0 = clean.sample(20_000, 3)
    exact = sf.log_likelihood(denoiser, x0, steps=8)
    ours = estimate_log_likelihood(denoiser, x0, rng=4, steps=8, probes=4)
    off, error = ours.value - exact, ours.standard_error
    assert zero_mean(off) > LEAST
    assert zero_mean(off + 0.05 * off.std()) < LEAST
    assert zero_mean(off**2 - error**2) > LEAST
    assert zero_mean(off**2 - (1.1 * error) ** 2) < LEAST


def test_more_dimensions_than_are_traced_one_by_one():
    """Where probes are the default they agree with the exact trace within their error, and that with the closed form.

    n = 300 items.
    """
    law = GaussianMixture(torch.linspace(-9, 9, 66, dtype=F64).sin().reshape(2, 33), numbers(0.5, 0.8))
    denoiser, clean, noisy = flow_of("flow", law)
    x0 = clean.sample(300, 5)
    ours = estimate_log_likelihood(denoiser, x0, rng=6, steps=6)
    exact = estimate_log_likelihood(denoiser, x0, steps=6, probes=0)
    off = ours.value - exact.value
    assert not exact.standard_error.any()
    assert zero_mean(off) > LEAST
    assert zero_mean(off**2 - ours.standard_error**2) > LEAST
    assert zero_mean(off**2 - (2 * ours.standard_error) ** 2) < LEAST
    fine = sf.log_likelihood(denoiser, x0[:4], probes=0, terminal=noisy.log_prob)
    assert (fine - clean.log_prob(x0[:4])).abs().max() < 1e-5 * 33


# The bound


def worse(exact: sf.Denoiser) -> sf.Denoiser:
    """A denoiser that is a little wrong: its means are off by 0.1, its probabilities flattened."""

    def shifted(posterior: Any) -> Any:
        match posterior:
            case sf.Mixture():
                return sf.Mixture(posterior.weights, posterior.means + 0.1, posterior.variances)
            case sf.Categorical():
                return sf.Categorical(0.7 * posterior.logits)
            case sf.Rotated():
                return sf.Rotated(shifted(posterior.inner), posterior.to, posterior.back)
            case sf.Joint():
                return sf.Joint({name: shifted(part) for name, part in posterior.parts.items()})

    def function(x_t: Any, t: Any, condition: Any) -> Any:
        return shifted(exact(x_t, t, condition))

    return sf.Denoiser.from_function(exact.process, function, exact.sigma_data)


def mean_alone(exact: sf.Denoiser) -> sf.Denoiser:
    """A denoiser that knows the mean only, as a network trained by squared error does."""
    return sf.Denoiser.from_function(exact.process, lambda *seen: exact(*seen).mean, exact.sigma_data)


def bounds(
    case: ProcessCase, n: int, change: Callable[[sf.Denoiser], sf.Denoiser] | None = None, evaluations: int = 32
) -> tuple[Estimate, Tensor]:
    """The bound of n items by the exact denoiser, or by one made of it; and what it is for the best of models."""
    rng = Streams.of(7, range(n))
    x0, source = case.law.sample(n, rng.fold("data")), case.source(rng.fold("source"))
    exact = case.law.denoiser(case.process)
    told = {"source": source} if case.told else None
    ours = estimate_elbo(change(exact) if change else exact, x0, told, rng, source, evaluations)
    lost = prior_gap(case.process, case.law) if isinstance(case.process, sf.Gaussian) else 0.0
    return ours, case.law.log_prob(x0) - lost


@each_case
def test_the_bound_is_never_above_the_likelihood(name):
    """In the mean over n = 4,000 items, of a worse denoiser surely below."""
    ours, truth = bounds(PROCESS_CASES[name], 4000)
    gap = ours.value - truth
    assert gap.mean() < 3 * gap.std() / len(gap) ** 0.5
    lower, _ = bounds(PROCESS_CASES[name], 4000, worse)
    assert lower.value.mean() < ours.value.mean()
    assert (lower.value - truth).mean() < -4 * gap.std() / len(gap) ** 0.5


@each_tight_case
def test_the_bound_is_tight_for_the_exact_denoiser(name):
    """n = 4,000 items: a tenth of an estimate's deviation would show."""
    ours, truth = bounds(PROCESS_CASES[name], 4000)
    gap = ours.value - truth
    assert zero_mean(gap) > LEAST
    assert zero_mean(gap + 0.1 * gap.std()) < LEAST


@pytest.mark.parametrize("name", [n for n in PROCESS_CASES if n.startswith(("gaussian", "heat")) or "paired" in n])
def test_a_denoiser_that_knows_the_mean_loses_little(name):
    """At the end of the bound p(x_0 | x_eps) is so narrow that any variance but the process's own would cost much.

    With n = 4,000 items the loss of about a millionth of the variance cannot be seen.
    """
    ours, truth = bounds(PROCESS_CASES[name], 4000, mean_alone)
    gap = ours.value - truth
    assert zero_mean(gap) > LEAST
    assert zero_mean(gap + 0.1 * gap.std()) < LEAST


@each_tight_case
def test_the_bound_knows_its_error(name):
    """n = 20,000 items: squares of the deviations are those of the standard errors, and not of 1.1 times as large."""
    ours, truth = bounds(PROCESS_CASES[name], 20_000, evaluations=16)
    square = (ours.value - truth) ** 2
    assert zero_mean(square - ours.standard_error**2) > LEAST
    assert zero_mean(square - (1.1 * ours.standard_error) ** 2) < LEAST


@each_tight_case
def test_the_truth_is_as_often_within_the_error_as_it_should(name):
    """n = 1,500 items: 95% within 1.96 standard errors, and a little less where jumps are rare and so skew."""
    ours, truth = bounds(PROCESS_CASES[name], 1500, evaluations=256)
    z = ((ours.value - truth) / ours.standard_error).abs()
    assert 0.88 < within(z, 1.96) < 0.97
    assert within(z, 1.96 / 2) < 0.88
    assert within(z, 1.96 * 2) > 0.97


def within(z: Tensor, limit: float) -> float:
    return float((z < limit).double().mean())


@each_case
def test_an_estimate_is_a_function_of_its_items_stream(name):
    case, rng = PROCESS_CASES[name], Streams.of(8, range(9))
    x0, source = case.law.sample(9, rng.fold("data")), case.source(rng.fold("source"))
    denoiser = case.law.denoiser(case.process)

    def bound(items: slice) -> Tensor:
        part = None if source is None else source[items]
        told = {"source": part} if case.told else None
        return sf.elbo(denoiser, map_leaves(lambda leaf: leaf[items], x0), told, rng[items], part, evaluations=8)

    assert close(bound(slice(4, 6)), bound(slice(0, 9))[4:6])
    if isinstance(case.process, sf.Gaussian):
        many = sf.log_likelihood(denoiser, x0, rng=rng, steps=3, probes=2)
        assert close(sf.log_likelihood(denoiser, x0[4:6], rng=rng[4:6], steps=3, probes=2), many[4:6])


# Tokens, by enumeration of the chain of T steps


def chain(denoiser: sf.Denoiser, times: Tensor) -> tuple[Tensor, Tensor]:
    """Of all nine pairs of tokens: their log-likelihood under the chain, and the chain's bound on it.

    The chain goes through the times and ends with p(x_0 | x_eps) at the last. Its bound is E log p(x_0 | x_eps) minus
    the divergences of its steps from those of the truth, q(x_s | x_t, x_0).
    """
    process = denoiser.process
    assert isinstance(process, sf.Discrete)
    size = len(process.pi)
    states = torch.cartesian_prod(torch.arange(size), torch.arange(size))
    given = torch.nn.functional.one_hot(PAIR.sequences, size).double()
    sure = sf.Categorical(given[..., :3].log().repeat_interleave(len(states), 0))
    law, bound = process.pi[states].prod(1), torch.zeros(9, dtype=F64)

    def reached(t: Tensor) -> Tensor:
        """q(x_t | x_0) of each pair and state."""
        each = (1 - t) * given + t * process.pi
        return (each[:, 0, :, None] * each[:, 1, None, :]).flatten(1)

    for t, s in pairwise(times):
        usable = law > 0  # of others a denoiser says nothing
        steps = torch.zeros(len(states), 2, size, dtype=F64)
        steps[usable] = process.kernel(states[usable], denoiser(states[usable], t), t, s)
        truth = process.kernel(states.repeat(9, 1), sure, t, s).unflatten(0, (9, -1))
        chances = reached(t)
        truth[chances == 0] = 0
        divergence = torch.where(truth > 0, truth * (truth / steps).log(), 0).sum((2, 3))
        bound -= (chances * divergence).sum(1)
        law = (law[:, None, None] * steps[:, 0, :, None] * steps[:, 1, None, :]).sum(0).flatten()
    last = denoiser(states, times[-1]).mean
    decoded = last[:, 0, PAIR.sequences[:, 0]] * last[:, 1, PAIR.sequences[:, 1]]
    chances = reached(times[-1])
    bound += torch.where(chances > 0, chances * decoded.T.log(), 0).sum(1)
    return (law @ decoded).log(), bound


@pytest.mark.parametrize("wrong", [False, True])
@pytest.mark.parametrize("name", DISCRETE_CASES)
def test_the_bound_of_tokens_is_that_of_the_enumerated_chain(name, wrong):
    """Of a denoiser that is exact or not, in the limit of many steps; and a chain's bound is below its likelihood.

    n = 4,000 estimates of each pair, in which 0.1 nats would show.
    """
    exact = PAIR.denoiser(DISCRETE_CASES[name])
    denoiser, first = worse(exact) if wrong else exact, math.sqrt(EARLIEST)
    rows = []
    for steps in (60, 120, 240):
        likelihood, bound = chain(denoiser, (first + (1 - first) * grids.uniform(steps)) ** 2)
        assert bool((bound <= likelihood + 1e-12).all())
        rows.append(bound)
    coarse, fine = 2 * rows[1] - rows[0], 2 * rows[2] - rows[1]  # the error falls as 1/T
    assert (fine - coarse).abs().max() < 2e-3
    if not wrong:
        assert close(fine, PAIR.table.flatten().log(), atol=1e-3)
    n = 4000
    ours = sf.elbo(denoiser, PAIR.sequences.repeat_interleave(n, 0), rng=9, evaluations=16)
    for off in (ours.reshape(9, n) - fine[:, None]).unbind():
        assert zero_mean(off) > LEAST
        assert zero_mean(off + 0.1) < LEAST


# Bits per dimension

QUANTUM = 0.5
LEVELS = QUANTUM * torch.arange(-16, 17, dtype=F64)


def rounded() -> tuple[Tensor, GaussianMixture]:
    """Probabilities of the levels: a standard normal number, rounded to the next of them; and that normal law."""
    edges = torch.cat([LEVELS - QUANTUM / 2, LEVELS[-1:] + QUANTUM / 2])
    return torch.special.ndtr(edges).diff(), GaussianMixture(numbers(0)[:, None], numbers(1))


def test_spread_values_are_even_over_their_cells():
    """Each value alone in a cell a quantum wide; n = 120,000."""
    values = LEVELS[Streams.of(1, range(N)).uniform(torch.empty(N, 1)).mul(33).long()]
    offsets = (dequantise(values, QUANTUM, 2) - values) / QUANTUM
    assert offsets.abs().max() <= 0.5
    assert kstest(offsets[:, 0].numpy() + 0.5, "uniform").pvalue > LEAST
    for fault in (offsets + 0.02 * offsets.std(), offsets * 1.03**0.5):
        assert kstest(fault[:, 0].numpy() + 0.5, "uniform").pvalue < LEAST


def test_bits_are_those_of_the_values():
    """The density of spread values is their probability over the quantum: its bits are their entropy, to the digit."""
    probabilities, _ = rounded()
    entropy = -(probabilities * probabilities.log2()).sum()
    bits = bits_per_dimension((probabilities / QUANTUM).log(), 1, QUANTUM)
    assert close((probabilities * bits).sum(), entropy)
    tokens = bits_per_dimension(PAIR.table.flatten().log(), 2)
    assert close((PAIR.table.flatten() * tokens).sum(), -(PAIR.table * PAIR.table.log2()).sum() / 2)


@pytest.mark.parametrize("schedule", ["flow", "cosine"])
def test_bits_of_a_model_are_the_entropy_and_what_it_is_off(schedule):
    """Ten independent rounded numbers as one item, scored as pictures are; n = 2,000 items.

    A model of the unrounded numbers takes the entropy and KL(spread values || model) bits for each.
    """
    probabilities, normal = rounded()
    law = GaussianMixture(torch.zeros(1, 10, dtype=F64), numbers(1))
    inside = QUANTUM * ((torch.arange(2000, dtype=F64) + 0.5) / 2000 - 0.5)
    expected = -normal.log_prob((LEVELS[:, None] + inside).reshape(-1, 1)).reshape(33, 2000).mean(1)
    bits = float(probabilities @ expected) / math.log(2) - math.log2(QUANTUM)
    entropy = -float((probabilities * probabilities.log2()).sum())
    assert entropy < bits < entropy + 0.03
    draws = Streams.of(3, range(2000)).fold("numbers").normal(torch.empty(2000, 10, dtype=F64))
    x0 = dequantise((draws / QUANTUM).round() * QUANTUM, QUANTUM, 4)
    denoiser = law.denoiser(sf.Gaussian(SCHEDULE_CASES[schedule]))
    for log_prob in (sf.elbo(denoiser, x0, rng=5), sf.log_likelihood(denoiser, x0, steps=10)):
        ours = bits_per_dimension(log_prob, 10, QUANTUM)
        assert zero_mean(ours - bits) > LEAST
        assert zero_mean(ours - 1.02 * bits) < LEAST


# What is refused


def test_a_coupled_process_has_a_flow_but_no_bound():
    coupled = LINE.denoiser(sf.Gaussian(SCHEDULE_CASES["flow"], coupled=True))
    x0 = LINE.sample(4, 1)
    both = sf.Product({"x": coupled.process, "kind": sf.Discrete.masked(3)})
    leaves = {"x": x0, "kind": torch.zeros(4, 1, dtype=torch.int64)}
    with pytest.raises(sf.UserError, match="trained with a coupling"):
        sf.elbo(coupled, x0)
    with pytest.raises(sf.UserError, match="trained with a coupling"):
        sf.elbo(Independent({"x": LINE, "kind": TOKEN}).denoiser(both), leaves)
    assert (sf.log_likelihood(coupled, x0) - LINE.log_prob(x0)).abs().max() < 1e-4


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"evaluations": 2}, "even number of evaluations, at least 4, not 2"),
        ({"evaluations": 7}, "even number"),
        ({"evaluations": 0}, "even number"),
        ({"earliest": 0.0}, "between 0 and 1"),
        ({"earliest": 1.0}, "between 0 and 1"),
    ],
)
def test_a_bound_of_no_sense_is_refused(settings, message):
    with pytest.raises(sf.UserError, match=message):
        sf.elbo(LINE.denoiser(sf.Gaussian(SCHEDULE_CASES["flow"])), LINE.sample(2, 1), **settings)


@pytest.mark.parametrize("settings", [{"steps": 0}, {"steps": -1}, {"probes": 1}, {"probes": -1}])
def test_a_flow_of_no_sense_is_refused(settings):
    with pytest.raises(sf.UserError, match="at least 1 step and 0 or at least 2 probes"):
        sf.log_likelihood(LINE.denoiser(sf.Gaussian(SCHEDULE_CASES["flow"])), LINE.sample(2, 1), **settings)


@pytest.mark.parametrize("name", [name for name in PROCESS_CASES if not name.startswith("gaussian")])
def test_only_gaussian_processes_have_a_flow(name):
    case = PROCESS_CASES[name]
    with pytest.raises(sf.UserError, match="use elbo"):
        sf.log_likelihood(case.law.denoiser(case.process), case.law.sample(2, 1))


def test_a_bridge_without_its_source_has_no_bound():
    case = PROCESS_CASES["bridge, paired"]
    with pytest.raises(sf.UserError, match="needs its source"):
        sf.elbo(case.law.denoiser(case.process), case.law.sample(2, 1))
