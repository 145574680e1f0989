"""Walks of tokens: each against the law of its walk, enumerated over all states, and that law against the data's."""

import math
from collections.abc import Callable, Iterator
from itertools import pairwise, permutations

import numpy as np
import pytest
import torch
from torch import Tensor

import suffuse as sf
from suffuse import grids
from suffuse.exact import Tokens
from suffuse.rng import Streams
from suffuse.samplers import (
    SAMPLERS,
    Ancestral,
    Blocks,
    Cached,
    Confidence,
    Counted,
    Entropy,
    Remasking,
    Sampler,
    TauLeaping,
)
from tests.laws.cases import F64, close, numbers
from tests.laws.statistics import N, accepts, assert_law

BITS = Tokens(torch.tensor([[[0.30, 0.02], [0.03, 0.15]], [[0.05, 0.20], [0.02, 0.23]]], dtype=F64))
"""Three dependent tokens of two values: 27 masked states."""
PAIR = Tokens(torch.tensor([[0.4, 0.05, 0.01], [0.02, 0.2, 0.03], [0.08, 0.01, 0.2]], dtype=F64))
"""Two dependent tokens of three values."""
MASKED, UNIFORM, MARGINAL = sf.Discrete.masked(2), sf.Discrete.uniform(3), sf.Discrete.marginal(numbers(0.6, 0.3, 0.1))
LAWS = {"masked": (BITS, MASKED), "uniform": (PAIR, UNIFORM), "marginal": (PAIR, MARGINAL)}


# The law of a walk, by enumeration. A kernel gives the probabilities (states, tokens, values) of every token at s, for
# every state at t; within a step tokens are independent.

Kernel = Callable[[Tokens, sf.Discrete, Tensor, float, float], Tensor]


def every_state(process: sf.Discrete, length: int) -> Tensor:
    return torch.cartesian_prod(*[torch.arange(len(process.pi))] * length).reshape(-1, length)


def conditionals(law: Tokens, process: sf.Discrete, states: Tensor, t: float) -> Tensor:
    """Exact p(x_0^l | x_t), (states, tokens, V); zero for states that cannot be."""
    masked = len(process.pi) > process.vocabulary  # the answer then does not depend on the time
    return law.denoiser(process)(states, 0.5 if masked else t).mean.nan_to_num(0)


def start(process: sf.Discrete, states: Tensor) -> Tensor:
    return process.pi[states].prod(1)


def moved(law: Tensor, states: Tensor, each: Tensor) -> Tensor:
    """The law at s from that at t and the kernel of every token."""
    joint = torch.ones(len(states), len(states), dtype=F64)
    for token in range(states.shape[1]):
        joint *= each[:, token][:, states[:, token]]
    return law @ joint


def walked(law: Tokens, process: sf.Discrete, kernel: Kernel, times: Tensor) -> Tensor:
    """Law (sequences,) of the end of a walk from the prior."""
    states = every_state(process, law.length)
    now = start(process, states)
    for t, s in pairwise(times.tolist()):
        now = moved(now, states, kernel(law, process, states, t, s))
    return clean(now, process, states)


def clean(now: Tensor, process: sf.Discrete, states: Tensor) -> Tensor:
    """Of the sequences alone: nothing is left hidden."""
    hidden = (states >= process.vocabulary).any(1)
    assert float(now[hidden].sum()) < 1e-12
    assert close(now.sum(), numbers(1)[0])
    return now[~hidden]


def joints(process: sf.Discrete, t: float, s: float) -> tuple[Tensor, Tensor, Tensor]:
    """Matrices q(x_t | x_0), q(x_s | x_0), q(x_t | x_s), over all values."""

    def jump(keep: float) -> Tensor:
        return keep * torch.eye(len(process.pi), dtype=F64) + (1 - keep) * process.pi

    return jump(1 - t), jump(1 - s), jump((1 - t) / (1 - s))


def markov(law: Tokens, process: sf.Discrete, states: Tensor, t: float, s: float) -> Tensor:
    """Sum over x_0 of p(x_0 | x_t) q(x_s | x_0) q(x_t | x_s) / q(x_t | x_0)."""
    to_t, to_s, between = (matrix for matrix in joints(process, t, s))
    bayes = to_s[:, :, None] * between[None] / to_t[:, None]  # (x_0, x_s, x_t)
    bayes = bayes.nan_to_num(0, 0, 0)[: process.vocabulary]
    return torch.einsum("nlv,vinl->nli", conditionals(law, process, states, t), bayes[:, :, states])


def keeping(law: Tokens, process: sf.Discrete, states: Tensor, t: float, s: float) -> Tensor:
    """(1 - s - w (1 - t)) p(x_0 | x_t), else the token stays: w = s / t."""
    p = torch.nn.functional.pad(conditionals(law, process, states, t), (0, len(process.pi) - process.vocabulary))
    here = torch.nn.functional.one_hot(states, len(process.pi)).double()
    return (1 - s - s / t * (1 - t)) * p + s / t * here


def half(law: Tokens, process: sf.Discrete, states: Tensor, t: float, s: float) -> Tensor:
    return (markov(law, process, states, t, s) + keeping(law, process, states, t, s)) / 2


def expected_jumps(law: Tokens, process: sf.Discrete, states: Tensor, t: float, s: float, points: int = 24) -> Tensor:
    """The integral of R(i, j) E[q(x_u = i | x_0) / q(x_u = j | x_0)] over u, for i != j = x_t."""
    p = torch.nn.functional.pad(conditionals(law, process, states, t), (0, len(process.pi) - process.vocabulary))
    total = torch.zeros_like(p)
    for node, weight in zip(*np.polynomial.legendre.leggauss(points), strict=True):
        u = s + (t - s) * (node + 1) / 2
        q = joints(process, u, u)[0]  # (x_0, x_u)
        ratio = (q[:, :, None] / q[:, None]).nan_to_num(0, 0, 0)  # (x_0, i, j)
        rate = process.pi[states][..., None] / (1 - u) * torch.einsum("nlv,vinl->nli", p, ratio[:, :, states])
        total += (t - s) / 2 * weight * rate
    return total * (1 - torch.nn.functional.one_hot(states, len(process.pi)).double())


def leaping(law: Tokens, process: sf.Discrete, states: Tensor, t: float, s: float) -> Tensor:
    if t == 1 or s == 0:
        return markov(law, process, states, t, s)
    jumps = expected_jumps(law, process, states, t, s)
    total = jumps.sum(-1, keepdim=True)
    stay = torch.exp(-total) * torch.nn.functional.one_hot(states, len(process.pi)).double()
    return stay + ((1 - torch.exp(-total)) * jumps / total).nan_to_num(0)


def remasked(eta: float, since: float) -> Kernel:
    def kernel(law: Tokens, process: sf.Discrete, states: Tensor, t: float, s: float) -> Tensor:
        sigma = 0.0 if t == 1 or t > since else eta * min(1.0, s / (1 - t))
        show = ((1 - s) - (1 - sigma) * (1 - t)) / t
        p = torch.nn.functional.pad(conditionals(law, process, states, t), (0, 1))
        mask, here = (torch.nn.functional.one_hot(x, 3).double() for x in (torch.full_like(states, 2), states))
        hidden = (states == 2)[..., None]
        return torch.where(hidden, show * p + (1 - show) * mask, (1 - sigma) * here + sigma * mask)

    return kernel


def in_blocks(law: Tokens, times: Tensor, size: int) -> Tensor:
    """Law of the end of ancestral walks of one block after the other."""
    states = every_state(MASKED, law.length)
    now = start(MASKED, states)
    for first in range(0, law.length, size):
        for t, s in pairwise(times.tolist()):
            each = torch.nn.functional.one_hot(states, 3).double()
            each[:, first : first + size] = markov(law, MASKED, states, t, s)[:, first : first + size]
            now = moved(now, states, each)
    return clean(now, MASKED, states)


def orders(scores: list[float], temperature: float) -> Iterator[tuple[tuple[int, ...], float]]:
    """Every order by these scores with Gumbel noise of this size, and its probability."""
    for order in permutations(range(len(scores))):
        left, chance = list(scores), 1.0
        for place in order:
            if temperature == 0:
                chance *= scores[place] == max(left)
            else:
                odds = [math.exp((each - max(left)) / temperature) for each in left]
                chance *= odds[place] / sum(odds)
            left[place] = -math.inf
        yield order, chance


def in_order(sure: Callable[[Tensor, Tensor], list[float]], temperature: float, law: Tokens, times: Tensor) -> Tensor:
    """Law of the end of a walk that shows the surest first; no two may be equally sure."""
    states = every_state(MASKED, law.length)
    place = {tuple(state): row for row, state in enumerate(states.tolist())}
    p, now = conditionals(law, MASKED, states, 0.5), start(MASKED, states)
    for t, s in pairwise(times.tolist()):
        after = torch.zeros_like(now)
        for row, state in enumerate(states.tolist()):
            hidden = [token for token, value in enumerate(state) if value == 2]
            count = len(hidden) - math.floor(s * law.length + 1e-9)
            if count <= 0:
                after[row] += now[row]
                continue
            for values in torch.cartesian_prod(*[torch.arange(2)] * len(hidden)).reshape(-1, len(hidden)):
                chance = p[row, hidden].gather(1, values[:, None]).prod()
                for order, odds in orders(sure(p[row, hidden], values), temperature * t):
                    shown = list(state)
                    for which in order[:count]:
                        shown[hidden[which]] = int(values[which])
                    after[place[tuple(shown)]] += now[row] * chance * odds
        now = after
    return clean(now, MASKED, states)


def confident(p: Tensor, values: Tensor) -> list[float]:
    return p.gather(1, values[:, None]).log()[:, 0].tolist()


def certain(p: Tensor, values: Tensor) -> list[float]:
    return (p * p.log()).sum(1).tolist()


CASES: dict[str, tuple[str, Sampler, Callable[[Tokens, sf.Discrete, Tensor], Tensor]]] = {
    **{
        f"{name}, {law}": (
            law,
            sampler,
            lambda data, process, times, kernel=kernel: walked(data, process, kernel, times),
        )
        for law in LAWS
        for name, sampler, kernel in (
            ("markov", Ancestral(1.0), markov),
            ("half", Ancestral(0.5), half),
            ("keeping", Ancestral(0.0), keeping),
            ("jumps", TauLeaping(), leaping),
        )
        if law != "masked" or name in ("markov", "jumps")  # the others coincide
    },
    "cached": ("masked", Cached(), lambda data, process, times: walked(data, process, markov, times)),
    **{
        f"remasking {since} {eta}": (
            "masked",
            Remasking(eta, since),
            lambda data, process, times, eta=eta, since=since: walked(data, process, remasked(eta, since), times),
        )
        for eta, since in ((0.0, 1.0), (0.2, 1.0), (1.0, 1.0), (1.0, 0.5))
    },
    **{
        f"blocks of {size}": (
            "masked",
            Blocks(size),
            lambda data, process, times, size=size: in_blocks(data, times, size),
        )
        for size in (1, 2)
    },
    **{
        f"{name} {temperature}": (
            "masked",
            kind(temperature),
            lambda data, process, times, sure=sure, heat=temperature: in_order(sure, heat, data, times),
        )
        for name, kind, sure in (("confidence", Confidence, confident), ("entropy", Entropy, certain))
        for temperature in (0.0, 1.0)
    },
}


def law_of(name: str, n: int) -> Tensor:
    law, _, enumerated = CASES[name]
    return enumerated(*LAWS[law], grids.uniform(n))


def distance(name: str, n: int) -> float:
    """Total variation between the end of n steps and the data."""
    return float((law_of(name, n) - LAWS[CASES[name][0]][0].table.flatten()).abs().sum() / 2)


def drawn(denoiser: sf.Denoiser, sampler: Sampler, length: int, n: int, seed: int = 1, count: int = N) -> Tensor:
    rng = Streams.of(seed, range(count))
    x1 = denoiser.process.prior(torch.zeros(count, length, dtype=torch.int64), rng)
    return torch.as_tensor(sf.sample(denoiser, sampler, x1, grids.uniform(n), rng=rng))


def numbered(x: Tensor, values: int) -> Tensor:
    """Each sequence as one number, the row of the table."""
    return (x * values ** torch.arange(x.shape[1] - 1, -1, -1)).sum(1)


def test_every_sampler_of_tokens_has_a_case():
    tokens = {type(make()) for make in SAMPLERS.values() if make().process is sf.Discrete}
    assert tokens <= {type(sampler) for _, sampler, _ in CASES.values()}


@pytest.mark.parametrize("name", CASES)
def test_a_walk_has_the_law_of_its_formula(name):
    """The joint law of all tokens after three steps, not only after many, from 120,000 walks."""
    kind, sampler, _ = CASES[name]
    law, process = LAWS[kind]
    sample = numbered(drawn(law.denoiser(process), sampler, law.length, 3), law.vocabulary)
    assert_law(sample, law_of(name, 3))
    if distance(name, 3) > 0.02:
        assert not accepts(sample, law.table.flatten())


@pytest.mark.parametrize("kernel", [markov, half, keeping, leaping])
@pytest.mark.parametrize("name", LAWS)
def test_the_law_on_the_way_is_of_the_first_order(name, kernel):
    """From the exact law at t = 0.9 to that at 0.1."""
    law, process = LAWS[name]
    states = every_state(process, law.length)

    def exact(t: float) -> Tensor:
        to_t = joints(process, t, t)[0]
        each = torch.stack([to_t[law.sequences[:, i]][:, states[:, i]] for i in range(law.length)])  # (token, x_0, x_t)
        return law.table.flatten() @ each.prod(0)

    far = []
    for n in (16, 32, 64):
        now = exact(0.9)
        for t, s in pairwise(torch.linspace(0.9, 0.1, n + 1, dtype=F64).tolist()):
            now = moved(now, states, kernel(law, process, states, t, s))
        far.append(float((now - exact(0.1)).abs().sum() / 2))
    assert all(1.8 < a / b < 2.3 for a, b in pairwise(far)), far


@pytest.mark.parametrize("name", [name for name in CASES if "confidence" not in name and "entropy" not in name])
def test_the_law_is_the_datas_as_steps_grow(name):
    """Total variation from the table falls with the steps, as 1 / N where all that is lost is that tokens are drawn at
    once; one token at a time it is zero. With remasking as many steps forget their errors more slowly.
    """
    far = [distance(name, n) for n in (16, 32, 64, 128)]
    if name == "blocks of 1":
        assert max(far) < 1e-12
    elif name in ("jumps, uniform", "jumps, marginal"):
        assert all(each < 0.25 * math.log(n) / n for each, n in zip(far, (16, 32, 64, 128), strict=True)), far
    elif name.startswith("remasking") and not name.endswith(" 0.0"):
        assert all(a > 1.3 * b for a, b in pairwise(far)), far
        assert far[-1] < 0.03
    else:
        assert all(1.8 < a / b < 2.3 for a, b in pairwise(far)), far
        assert far[-1] < 0.01


def test_surest_first_one_at_a_time():
    """By entropy the order does not look at what is drawn, and the law is the data's; by confidence it is narrower."""
    table = BITS.table.flatten()

    def entropy(law: Tensor) -> float:
        return float(-(law * law.log()).sum())

    for name in ("entropy 0.0", "entropy 1.0"):
        assert distance(name, 3) < 1e-12
    for name in ("confidence 0.0", "confidence 1.0"):
        assert distance(name, 3) > 0.01
        assert entropy(law_of(name, 3)) < entropy(table) - 0.01
    hot = in_order(confident, 1e4, BITS, grids.uniform(3))
    assert (hot - table).abs().max() < 1e-4
    one = drawn(BITS.denoiser(MASKED), Confidence(1e4), 3, 3, seed=5)
    assert_law(numbered(one, 2), table)


@pytest.mark.parametrize("law", LAWS)
def test_expected_jumps_are_the_integrated_rates(law):
    data, process = LAWS[law]
    states = every_state(process, data.length)
    for t, s in ((0.999, 0.6), (0.7, 0.3), (0.3, 0.299), (0.05, 1e-3)):
        posterior = sf.Categorical(conditionals(data, process, states, t).log())
        possible = posterior.mean.isfinite().all(-1).all(-1)
        found = process.jumps(states[possible], posterior[possible], t, s)
        assert close(found, expected_jumps(data, process, states, t, s, 400)[possible], rtol=1e-8, atol=1e-12), (t, s)


@pytest.mark.parametrize(("eta", "since"), [(0.0, 1.0), (0.5, 1.0), (1.0, 0.5)])
def test_remasking_keeps_the_share_that_is_hidden(eta, since):
    """At every time on the way each token is hidden with probability t, and none is hidden again too early."""
    seen: list[tuple[float, Tensor]] = []
    x1 = torch.full((N, 3), 2)
    sf.sample(BITS.denoiser(MASKED), Remasking(eta, since), x1, grids.uniform(5), rng=3,
              callback=lambda k, t, x: seen.append((float(t), torch.as_tensor(x))))  # fmt: skip
    for t, x in seen[:-1]:
        for token in range(3):
            assert_law((x[:, token] == 2).long(), numbers(1 - t, t))
    taken_back = [t for (t, a), (_, b) in pairwise(seen) if bool(((a != 2) & (b == 2)).any())]
    assert bool(taken_back) == (eta > 0)
    assert all(t <= since for t in taken_back)


# The cache


@pytest.mark.parametrize("n", [1, 2, 7, 40])
def test_a_cached_walk_is_the_ancestral_one_with_fewer_evaluations(n):
    """Token for token; each item is evaluated once for every state it has been in with something hidden."""
    counted, seen = Counted(BITS.denoiser(MASKED)), [torch.full((500, 3), 2)]
    rng = Streams.of(1, range(500))
    cached = sf.sample(counted, Cached(), seen[0], grids.uniform(n), rng=rng, callback=lambda k, t, x: seen.append(x))
    assert torch.equal(cached, sf.sample(BITS.denoiser(MASKED), Ancestral(1.0), seen[0], grids.uniform(n), rng=rng))
    changes = sum(int(((a != b).any(1) & (b == 2).any(1)).sum()) for a, b in pairwise(seen[:-1]))
    assert counted.items == 500 + changes
    assert counted.items <= 500 * min(n, 3)
    assert counted.evaluations <= n


def test_a_cached_walk_of_one_item_asks_at_most_once_a_token():
    for seed in range(20):
        counted = Counted(BITS.denoiser(MASKED))
        sf.sample(counted, Cached(), torch.full((1, 3), 2), grids.uniform(50), rng=seed)
        assert counted.evaluations <= 3


def test_a_cached_walk_tells_each_item_its_own_condition():
    """Conditions are picked with the items that are asked about."""
    table = numbers(0.9, 0.1, 0.2, 0.8).view(2, 2)

    def told(x: Tensor, t: Tensor, condition: dict[str, Tensor]) -> sf.Categorical:
        return sf.Categorical(table[condition["label"]].log()[:, None].expand(*x.shape, 2))

    denoiser, label = sf.Denoiser.from_function(MASKED, told), torch.arange(N) % 2
    ends = sf.sample(denoiser, Cached(), torch.full((N, 3), 2), grids.uniform(6), {"label": label}, rng=2)
    for value in (0, 1):
        assert_law(ends[label == value].flatten(), table[value])


# Evaluations, states of any shape, tokens that are given, and what is refused

REGISTERED = [name for name in SAMPLERS if SAMPLERS[name]().process is sf.Discrete]


@pytest.mark.parametrize("n", [1, 2, 3, 4, 7, 12])
@pytest.mark.parametrize("sampler", [*map(SAMPLERS.get, REGISTERED), lambda: Blocks(1), lambda: Blocks(2)])
def test_no_more_evaluations_than_asked_for(sampler, n):
    process = MASKED
    blocks = {1: 3, 2: 2}.get(getattr(sampler(), "size", None), 1)
    if n < blocks:
        with pytest.raises(sf.UserError, match="Blocks needs at least"):
            sampler().steps(BITS.denoiser(process), n)
        return
    counted = Counted(BITS.denoiser(process))
    steps = sampler().steps(counted, n)
    sf.sample(counted, sampler(), torch.full((20, 3), 2), grids.uniform(steps), rng=0)
    assert steps == n // blocks
    assert 1 <= counted.evaluations <= n


def test_steps_that_show_nothing_are_not_evaluated():
    for kind in (Confidence, Entropy):
        counted = Counted(BITS.denoiser(MASKED))
        sf.sample(counted, kind(), torch.full((9, 3), 2), grids.uniform(50), rng=0)
        assert counted.evaluations == 3


@pytest.mark.parametrize("count", [3, 7, 10, 30, 49])
def test_the_clock_shows_one_token_a_step_whatever_its_rounding(count):
    """As many steps as tokens, in double and single precision of the times."""
    even = sf.Denoiser.from_function(MASKED, lambda x, t, condition: sf.Categorical(torch.zeros(*x.shape, 2)))
    for times in (grids.uniform(count), grids.uniform(count).float(), torch.linspace(1, 0, count + 1)):
        left: list[int] = []
        sf.sample(even, Confidence(), torch.full((2, count), 2), times, rng=0,
                  callback=lambda k, t, x, to=left: to.append(int((torch.as_tensor(x)[0] == 2).sum())))  # fmt: skip
        assert left == list(range(count - 1, -1, -1))


def test_a_walk_from_the_middle_shows_as_many_as_the_whole_one():
    x = torch.tensor([[2, 2, 2, 2, 0, 1, 0, 1]])  # half hidden, at t = 1/2
    even = sf.Denoiser.from_function(MASKED, lambda x, t, condition: sf.Categorical(torch.zeros(*x.shape, 2)))
    left: list[int] = []
    sf.sample(even, Entropy(), x, numbers(0.5, 0.25, 0.0), rng=0,
              callback=lambda k, t, x: left.append(int((torch.as_tensor(x) == 2).sum())))  # fmt: skip
    assert left == [2, 0]


MASK_ONLY = [name for name in REGISTERED if name != "jumps"]


@pytest.mark.parametrize("name", [name for name in REGISTERED if name != "blocks"])
def test_the_shape_of_an_item_does_not_matter(name):
    """Four tokens in a square walk as they would in a row."""
    square = Tokens(torch.rand((2,) * 4, generator=torch.Generator().manual_seed(3), dtype=F64) ** 3)
    exact = square.denoiser(MASKED)

    def posterior(x: Tensor, t: Tensor, condition: None) -> sf.Categorical:
        return sf.Categorical(exact(x.flatten(1), t).logits.reshape(*x.shape, 2))

    x1, rng = torch.full((50, 2, 2), 2), Streams.of(0, range(50))
    ends = sf.sample(sf.Denoiser.from_function(MASKED, posterior), SAMPLERS[name](), x1, grids.uniform(3), rng=rng)
    row = sf.sample(exact, SAMPLERS[name](), x1.flatten(1), grids.uniform(3), rng=rng)
    assert torch.equal(ends.flatten(1), row)


@pytest.mark.parametrize(
    "sampler", [Cached(), Remasking(1.0), Entropy(), Confidence(), Blocks(1), Blocks(2), TauLeaping()]
)
def test_given_tokens_are_kept_and_the_others_drawn_given_them(sampler):
    """Infilling from t = 1; where the law of the walk is the data's, that of the others is the conditional one."""
    keeps_the_law = isinstance(sampler, Entropy) or getattr(sampler, "size", 0) == 1
    exact, x1 = BITS.denoiser(MASKED), torch.tensor([[2, 1, 2]]).expand(N if keeps_the_law else 500, 3)
    known = sf.Denoiser.from_function(MASKED, lambda x, t, condition: exact(x, 0.5))
    x0 = torch.as_tensor(sf.sample(known, sampler, x1, grids.uniform(3), rng=1))
    assert (x0[:, 1] == 1).all()
    assert (x0 < 2).all()
    if keeps_the_law:
        given = BITS.table[:, 1] / BITS.table[:, 1].sum()
        assert_law(numbered(x0[:, ::2], 2), given.flatten())


@pytest.mark.parametrize("name", MASK_ONLY)
def test_processes_without_a_mask_are_refused(name):
    with pytest.raises(sf.UserError, match="walks masked processes only"):
        sf.sample(
            PAIR.denoiser(UNIFORM), SAMPLERS[name](), torch.zeros(1, 2, dtype=torch.int64), grids.uniform(2), rng=0
        )


def test_blocks_need_the_length_to_count():
    nameless = sf.Denoiser.from_function(MASKED, lambda x, t, condition: x)
    with pytest.raises(sf.UserError, match="the shape of one item"):
        Blocks(2).steps(nameless, 8)


@pytest.mark.parametrize(
    "make",
    [
        lambda: Confidence(-1.0),
        lambda: Entropy(math.nan),
        lambda: Remasking(1.1),
        lambda: Blocks(0),
        lambda: Blocks(2, sf.samplers.Euler()),
        lambda: Blocks(2, Cached()),
    ],
)
def test_settings_out_of_range_are_refused(make):
    with pytest.raises(ValueError, match=r"at least|must lie in|Gaussian ones only|elsewhere"):
        make()
