"""Bridges, products, and what every walk of every process keeps to: single steps, callbacks, precision."""

import math
from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor

import suffuse as sf
from suffuse import grids
from suffuse import parameterizations as forms
from suffuse.exact import GaussianMixture, Independent, Tokens
from suffuse.rng import Streams
from suffuse.samplers import (
    SAMPLERS,
    Adams,
    Ancestral,
    Blocks,
    BridgeMean,
    Cached,
    Churn,
    Confidence,
    Counted,
    Entropy,
    Euler,
    Heun,
    Leafwise,
    MultistepSDE,
    Restart,
    Sampler,
    TauLeaping,
)
from tests.laws.affine import variance
from tests.laws.cases import BRIDGE, F64, LINE, ONE, PLANE, SCHEDULE_CASES, close, numbers
from tests.laws.statistics import N, accepts, assert_law

BROWN = sf.Bridge(BRIDGE)
NOISE = 0.8


def paired(law: GaussianMixture, n: int, seed: int) -> tuple[Tensor, Tensor, sf.Denoiser]:
    """Data, their sources x_1 = x_0 / 2 + noise, and the exact denoiser that is told the source."""
    rng = Streams.of(seed, range(n))
    x0 = law.sample(n, rng)
    x1 = x0 / 2 + NOISE * rng.fold("source").normal(x0)

    def posterior(x_t: Tensor, t: Any, condition: Any) -> Any:
        """Two measurements of x_0 in one: y = a x_0 + N(0, v), the more exact one counting more."""
        t = torch.as_tensor(t, dtype=F64)
        source = condition["source"]
        precision = (1 - t) / (BRIDGE**2 * t)  # of (x_t - t x_1) / (1 - t)
        given = 0.25 / NOISE**2  # of 2 x_1
        total = precision + given
        y = ((x_t - t * source) / (BRIDGE**2 * t) + given * 2 * source) / total
        return law.posterior(y, numbers(1.0)[0], 1 / total)

    return x0, x1, sf.Denoiser.from_function(BROWN, posterior)


def assert_pairs(walked: Tensor, x1: Tensor, law: GaussianMixture) -> None:
    """(x_0, x_1 - x_0 / 2) has the joint law of data and noise."""
    both = torch.cat([walked, x1 - walked / 2], 1)
    noise = torch.zeros_like(law.means), torch.full_like(law.means, NOISE)
    stds = torch.cat([law.variances.sqrt(), noise[1]], 1)
    assert_law(both, GaussianMixture(torch.cat([law.means, noise[0]], 1), stds, law.weights))


@pytest.mark.parametrize("n", [1, 4])
def test_an_ancestral_bridge_keeps_the_pairs(n):
    """The joint law of data and source, exactly after any number of steps, where the denoiser is told the source."""
    _, x1, denoiser = paired(LINE, N, 1)
    walked = sf.sample(denoiser, Ancestral(1.0), x1, grids.uniform(n), {"source": x1}, rng=2)
    assert_pairs(torch.as_tensor(walked), x1, LINE)


@pytest.mark.parametrize("n", [1, 4])
def test_half_of_the_noise_keeps_the_pairs_too(n):
    _, x1, denoiser = paired(LINE, N, 1)
    walked = sf.sample(denoiser, Ancestral(0.5), x1, grids.uniform(n), {"source": x1}, rng=2)
    assert_pairs(torch.as_tensor(walked), x1, LINE)


def test_the_ode_of_a_bridge_keeps_the_pairs_as_steps_grow():
    """Its first step alone is noisy; the grid is finer at both ends."""
    _, x1, denoiser = paired(LINE, N, 1)

    def walk(n: int) -> Tensor:
        times = torch.sin(torch.linspace(1, 0, n + 1, dtype=F64) * math.pi / 2) ** 2
        return torch.as_tensor(sf.sample(denoiser, Ancestral(0.0), x1, times, {"source": x1}, rng=2))

    assert_pairs(walk(256), x1, LINE)
    assert not accepts(walk(8), LINE)


def test_the_ode_of_a_bridge_is_of_the_first_order():
    """The variance of Gaussian data given the source, by the response to the one draw of noise."""
    _, _, denoiser = paired(ONE, 1, 1)

    def told(x_t: Tensor, t: Any, condition: Any) -> Tensor:
        return denoiser(x_t, t, {"source": torch.zeros_like(x_t)}).mean

    given = sf.Denoiser.from_function(BROWN, told)
    truth = 1 / (1 / float(ONE.variances) + 0.25 / NOISE**2)
    errors = []
    for n in (64, 128, 256, 512):
        times = torch.sin(torch.linspace(1, 0, n + 1, dtype=F64) * math.pi / 2) ** 2
        errors.append(abs(variance(Ancestral(0.0), given, times, 0.0) - truth))
    assert all(math.log2(a / b) > 0.7 for a, b in pairwise(errors)), errors


@pytest.mark.parametrize("n", [1, 2, 7, 40])
def test_the_mean_of_a_bridge_is_kept_for_gaussian_data(n):
    """The end is E[x_0 | x_1] after any number of steps, by a denoiser that is told the source."""
    _, x1, denoiser = paired(ONE, 50, 1)
    told = {"source": x1}
    end = sf.sample(denoiser, BridgeMean(), x1, grids.uniform(n), told)
    assert close(torch.as_tensor(end), denoiser(x1, 1.0, told).mean, atol=1e-13)


def test_the_mean_of_a_bridge_is_the_least_squares_in_one_step():
    """Of a mixture only then: more steps turn towards a component, and are further off in the square."""
    x0, x1, denoiser = paired(LINE, 20_000, 1)
    told = {"source": x1}
    errors = []
    for n in (1, 2, 20):
        end = torch.as_tensor(sf.sample(denoiser, BridgeMean(), x1, grids.uniform(n), told))
        errors.append(float((end - x0).square().mean()))
        if n == 1:
            assert close(end, denoiser(x1, 1.0, told).mean, atol=1e-13)
    assert errors[0] < errors[1] < errors[2]


def test_a_bridge_with_less_noise_must_begin_at_its_source():
    denoiser, x = LINE.denoiser(BROWN), torch.ones(2, 1, dtype=F64)
    for eta in (0.0, 0.9):
        with pytest.raises(sf.UserError, match="starts from its source"):
            sf.sample(denoiser, Ancestral(eta), x, numbers(0.5, 0.2, 0.0))
    sf.sample(denoiser, Ancestral(1.0), x, numbers(0.5, 0.2, 0.0), rng=0)


# Products: each leaf walks as it would alone

PAIR = Tokens(torch.tensor([[0.4, 0.05, 0.01], [0.02, 0.2, 0.03], [0.08, 0.01, 0.2]], dtype=F64))
FLOW, MASKED, UNIFORM = sf.Gaussian(SCHEDULE_CASES["flow"]), sf.Discrete.masked(3), sf.Discrete.uniform(3)
LEAVES: dict[str, tuple[Any, Any, list[Sampler]]] = {
    "x": (PLANE, FLOW, [Ancestral(0.0), Ancestral(1.0), Euler(), Adams(3), MultistepSDE(2)]),
    "kind": (PAIR, MASKED, [Ancestral(1.0), Confidence(), Entropy(0.0), sf.samplers.Remasking(0.5), TauLeaping()]),
    "other": (PAIR, UNIFORM, [Ancestral(0.5), TauLeaping(), Ancestral(0.0), Ancestral(1.0), TauLeaping()]),
    "way": (PLANE, BROWN, [Ancestral(0.0), BridgeMean(), Ancestral(1.0), Ancestral(0.5), BridgeMean()]),
}


@pytest.mark.parametrize("row", range(5))
def test_leaves_walk_as_they_would_alone(row):
    """Bit for bit, with the streams of their name, and one evaluation a step for all of them."""
    law = Independent({name: leaf[0] for name, leaf in LEAVES.items()})
    process = sf.Product({name: leaf[1] for name, leaf in LEAVES.items()})
    samplers, rng, n = {name: leaf[2][row] for name, leaf in LEAVES.items()}, Streams.of(1, range(30)), 6
    start: dict[str, Tensor] = {
        name: data.sample(30, rng) if name == "way" else part.prior(data.sample(30, rng), rng.fold(name))
        for name, (data, part, _) in LEAVES.items()
    }
    counted = Counted(law.denoiser(process))
    together = sf.sample(counted, Leafwise(samplers), start, grids.uniform(n), rng=rng)
    assert counted.evaluations == Leafwise(samplers).steps(counted, n) == n
    assert Leafwise(samplers).stochastic
    for name, (data, part, _) in LEAVES.items():
        exact = data.denoiser(part)
        alone = sf.Denoiser.from_function(part, lambda x_t, t, condition, exact=exact: exact(x_t, t))
        end = sf.sample(alone, samplers[name], start[name], grids.uniform(n), rng=rng.fold(name))
        assert torch.equal(together[name], end)


def test_each_leaf_walks_in_units_of_its_own_deviation():
    """Where the parameterization tells them: the same as each leaf's own denoiser."""
    units = {"big": 5.0, "small": 0.1}
    process = sf.Product(dict.fromkeys(units, FLOW))

    def network(x: Any, level: Any, condition: Any) -> Any:
        return {name: leaf.tanh() for name, leaf in x.items()}

    denoiser = sf.Denoiser(network, process, forms.Each({name: forms.EDM(unit) for name, unit in units.items()}))
    x1 = {name: torch.linspace(-1, 1, 9, dtype=F64)[:, None] for name in units}
    together = sf.sample(denoiser, Leafwise(dict.fromkeys(units, Adams(2))), x1, grids.uniform(5))
    for name, unit in units.items():
        alone = sf.Denoiser(lambda x, level, condition: x.tanh(), FLOW, forms.EDM(unit))
        assert torch.equal(together[name], sf.sample(alone, Adams(2), x1[name], grids.uniform(5)))


def test_a_product_has_the_law_of_its_leaves():
    """Three steps of each leaf's exact kernel: the laws of the leaves, which are independent."""
    token = Tokens(numbers(0.5, 0.3, 0.2))
    law, process = Independent({"x": PLANE, "kind": token}), sf.Product({"x": FLOW, "kind": MASKED})
    rng = Streams.of(8, range(N))
    x1 = process.prior({"x": torch.zeros(N, 2, dtype=F64), "kind": torch.zeros(N, 1, dtype=torch.int64)}, rng)
    sampler = Leafwise({"x": Ancestral(1.0), "kind": Confidence()})
    walked = sf.sample(law.denoiser(process), sampler, x1, grids.uniform(3), rng=rng)
    assert_law(walked, {"x": PLANE, "kind": token.table})


@pytest.mark.parametrize("part", [Heun(), Cached(), Churn(Ancestral()), Restart(), sf.samplers.Adaptive(), Blocks(1)])
def test_leaves_that_ask_for_more_are_refused(part):
    with pytest.raises(ValueError, match="evaluates elsewhere than at the start"):
        Leafwise({"x": part})


def test_samplers_that_do_not_fit_their_leaves_are_refused():
    law, process = Independent({"x": PLANE, "kind": PAIR}), sf.Product({"x": FLOW, "kind": MASKED})
    x1 = process.prior(law.sample(2, 0), 0)
    with pytest.raises(sf.UserError, match="samplers for x, but the leaves are x, kind"):
        sf.sample(law.denoiser(process), Leafwise({"x": Adams(2)}), x1, grids.uniform(2), rng=0)
    with pytest.raises(sf.UserError, match="Adams does not walk Discrete processes, and kind is one"):
        sf.sample(law.denoiser(process), Leafwise({"x": Adams(2), "kind": Adams(2)}), x1, grids.uniform(2), rng=0)


# Every walk of every process

TOKEN = Tokens(numbers(0.5, 0.3, 0.2))


@pytest.mark.parametrize("n", [1, 5])
@pytest.mark.parametrize("name", [name for name in SAMPLERS if SAMPLERS[name]().process is sf.Discrete])
def test_one_token_is_exact_after_any_number_of_steps(name, n):
    x1 = torch.full((N, 1), 3)
    assert_law(sf.sample(TOKEN.denoiser(MASKED), SAMPLERS[name](), x1, grids.uniform(n), rng=4), TOKEN.table)


EVERY: dict[str, tuple[Any, Any]] = {
    "gaussian": (PLANE, FLOW),
    "masked": (PAIR, MASKED),
    "uniform": (PAIR, UNIFORM),
    "bridge": (PLANE, BROWN),
    "product": (Independent({"x": PLANE, "kind": PAIR}), sf.Product({"x": FLOW, "kind": MASKED})),
}
NEEDS_A_MASK = ("cached", "confidence", "entropy", "remasking", "blocks")
FITTING = [
    (name, case)
    for name in SAMPLERS
    for case, (_, process) in EVERY.items()
    if isinstance(process, SAMPLERS[name]().process) and (case != "uniform" or name not in NEEDS_A_MASK)
]


def start(case: str, n: int = 5) -> tuple[sf.Denoiser, Any, Streams]:
    (law, process), rng = EVERY[case], Streams.of(3, range(n))
    like = law.sample(n, rng)
    return law.denoiser(process), like if case == "bridge" else process.prior(like, rng), rng


@pytest.mark.parametrize(("name", "case"), FITTING)
def test_a_callback_is_told_every_step_in_turn(name, case):
    """Numbers from 0, times that fall, whole states, and the end at last."""
    sampler = Blocks(1) if name == "blocks" else SAMPLERS[name]()
    denoiser, x1, rng = start(case)
    seen: list[tuple[int, Tensor, Any]] = []
    end = sf.sample(denoiser, sampler, x1, grids.uniform(6), rng=rng, callback=lambda *call: seen.append(call))
    assert [number for number, _, _ in seen] == list(range(len(seen)))
    times = [float(t) for _, t, _ in seen]
    assert times[-1] == 0
    if name == "blocks":
        assert times == 2 * grids.uniform(6)[1:].tolist()
    else:
        assert times == sorted(times, reverse=True)
        assert name in ("adaptive", "parallel") or times == grids.uniform(6)[1:].tolist()
    for a, b, c in zip(*map(sf.tree.leaves, (seen[-1][2], end, x1)), strict=True):
        assert torch.equal(a, b)
        assert a.shape == c.shape
    for _, _, state in seen:
        assert [leaf.shape for leaf in sf.tree.leaves(state)] == [leaf.shape for leaf in sf.tree.leaves(x1)]


@pytest.mark.parametrize(("name", "case"), FITTING)
def test_half_precision_is_walked_in_float32(name, case):
    """A start in bfloat16, and a network that answers in it: the walk is that of the same numbers in float32."""
    exact, x1, rng = start(case)

    def low(tensor: Tensor) -> Tensor:
        return tensor.bfloat16() if tensor.is_floating_point() else tensor

    def answer(x_t: Any, t: Any, condition: Any) -> Any:
        posterior = exact(x_t, t, condition)
        parts = posterior.parts if case == "product" else {"": posterior}
        given = {
            key: sf.Categorical(low(part.logits)) if isinstance(part, sf.Categorical) else sf.Normal(low(part.mean))
            for key, part in parts.items()
        }
        return sf.posteriors.Joint(given) if case == "product" else given[""]

    denoiser = sf.Denoiser.from_function(exact.process, answer)
    halved = sf.tree.map_leaves(low, x1)
    ends = [
        list(sf.tree.leaves(sf.sample(denoiser, SAMPLERS[name](), each, grids.uniform(3), rng=rng)))
        for each in (halved, sf.tree.at_least_float32(halved))
    ]
    for a, b in zip(*ends, strict=True):
        assert a.dtype == (torch.float32 if a.is_floating_point() else torch.int64)
        assert torch.equal(a, b)
