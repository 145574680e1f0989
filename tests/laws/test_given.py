"""What is given stays, and the rest is drawn from its law given that."""

from collections.abc import Mapping

import pytest
import torch
from scipy import stats
from torch import Tensor

import suffuse as sf
from suffuse.guidance import Given
from suffuse.objectives import EachWeight, ELBOWeight, Objective, OutputWeight, UniformWeight, When
from suffuse.parameterizations import EDM
from suffuse.patterns import Scattered
from suffuse.posteriors import Posterior
from suffuse.rng import Streams
from suffuse.samplers import SAMPLERS
from suffuse.schedules import SCHEDULES
from suffuse.tree import clean_where, latest

F64 = torch.float64
COVARIANCE = torch.tensor([[1.0, 0.6, -0.3], [0.6, 0.8, 0.2], [-0.3, 0.2, 0.5]], dtype=F64)
TABLE = torch.tensor([[[0.02, 0.18], [0.20, 0.05]], [[0.15, 0.05], [0.05, 0.30]]], dtype=F64)
"""Of three tokens of two values."""


def gaussian(schedule: sf.schedules.Schedule) -> sf.Denoiser:
    """The exact denoiser of N(0, COVARIANCE), for any times of its elements."""
    process = sf.Gaussian(schedule)

    def mean(x_t: Tensor, t: Tensor, condition: object) -> Tensor:
        alpha, sigma = (v.expand_as(x_t) for v in process.coordinates(t, x_t))
        noisy = alpha[:, :, None] * COVARIANCE * alpha[:, None] + torch.diag_embed(sigma**2)
        cross = COVARIANCE * alpha[:, None]
        return (cross @ torch.linalg.pinv(noisy, rtol=1e-13) @ x_t[:, :, None]).squeeze(2)

    return sf.Denoiser.from_function(process, mean, shape=(3,))


def conditional(known: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and covariance of the first two elements given the third."""
    slope = COVARIANCE[:2, 2] / COVARIANCE[2, 2]
    return slope * known, COVARIANCE[:2, :2] - torch.outer(slope, COVARIANCE[2, :2])


@pytest.mark.parametrize("name", sorted(SCHEDULES.keys() - {"tabulated"}))
def test_a_deterministic_walk_ends_in_the_conditional_gaussian(name: str):
    """The walk is affine: pushed through it, the origin becomes the mean, and a basis the root of the covariance."""
    denoiser = gaussian(SCHEDULES[name]())
    basis = torch.cat([torch.zeros(1, 3, dtype=F64), torch.eye(3, dtype=F64)])
    x1 = basis * denoiser.process.spread(basis)
    x0 = torch.tensor([0.0, 0.0, 0.7], dtype=F64).expand(4, 3)
    given = torch.tensor([False, False, True]).expand(4, 3)
    sampler, times = sf.samplers.default(denoiser, 100)
    end = sf.sample(Given(denoiser, x0, given), sampler, x1, times)
    left = float(denoiser.process.schedule.sigma(torch.zeros((), dtype=F64)))
    assert torch.allclose(end[:, 2], x0[:, 2], atol=left + 1e-12)
    mean, covariance = conditional(torch.tensor(0.7, dtype=F64))
    root = end[1:, :2] - end[0, :2]
    # Where a little of the data is left at t = 1 the prior is a little wrong; and at the end a little noise is left.
    assert torch.allclose(end[0, :2], mean, atol=0.01)
    assert torch.allclose(root.T @ root, covariance, atol=0.01)


def test_a_stochastic_walk_has_the_conditional_law():
    n, denoiser = 40_000, gaussian(sf.schedules.Flow())
    x0 = torch.tensor([0.0, 0.0, 0.7], dtype=F64).expand(n, 3)
    given = torch.tensor([False, False, True]).expand(n, 3)
    x1 = denoiser.process.prior(x0, 1)
    end = sf.sample(Given(denoiser, x0, given), SAMPLERS["sde2"](), x1, sf.grids.uniform(100), rng=2)
    mean, covariance = conditional(torch.tensor(0.7, dtype=F64))
    for place in range(2):
        law = stats.norm(float(mean[place]), float(covariance[place, place]) ** 0.5)
        assert stats.kstest(end[:, place].numpy(), law.cdf).pvalue > 1e-4
        wrong = mean[place] + 1.05 * (end[:, place] - mean[place])
        assert stats.kstest(wrong.numpy(), law.cdf).pvalue < 1e-4


@pytest.mark.parametrize(("name", "steps"), [("ddpm", 128), ("remasking", 1024), ("jumps", 128), ("entropy", 128)])
def test_hidden_tokens_are_drawn_given_the_others(name: str, steps: int):
    """One token at a time is exact; the others need steps, and the more so the more is taken back."""
    n, process = 20_000, sf.Discrete.masked(2)
    denoiser = sf.exact.Tokens(TABLE).denoiser(process)
    x0 = torch.tensor([0, 1, 0]).expand(n, 3)
    given = torch.tensor([False, True, False]).expand(n, 3)
    x1 = torch.where(given, x0, 2)
    sampler = SAMPLERS[name]()
    end = sf.sample(Given(denoiser, x0, given), sampler, x1, sf.grids.uniform(steps), rng=3)
    assert torch.equal(end[:, 1], x0[:, 1])
    truth = TABLE[:, 1] / TABLE[:, 1].sum()
    seen = (2 * end[:, 0] + end[:, 2]).bincount(minlength=4).double()
    expected = truth.flatten() * n
    assert stats.chisquare(seen, expected).pvalue > 1e-4
    wrong = seen + torch.tensor([0.03, -0.03, 0, 0]) * n
    assert stats.chisquare(wrong, expected).pvalue < 1e-4


class Rows:
    """A mapping of numbers and tokens that say much about each other."""

    process = sf.Product({"x": sf.Gaussian(sf.schedules.Flow()), "kind": sf.Discrete.masked(2)})

    def denoiser(self) -> sf.Denoiser:
        """Exact: the number is N(kind, 0.2^2), both kinds alike."""

        def answer(x_t: Mapping[str, Tensor], t: Mapping[str, Tensor], condition: object) -> Posterior:
            place = torch.as_tensor(t["x"] if isinstance(t, Mapping) else t).reshape(-1, 1).double()
            a, s = 1 - place, place
            var = a**2 * 0.04 + s**2
            kinds = torch.tensor([0.0, 1.0], dtype=F64)
            seen = -((x_t["x"] - a * kinds) ** 2) / (2 * var)  # (B, 2)
            kind = x_t["kind"]
            known = torch.nn.functional.one_hot(kind.clamp(max=1), 2)[:, 0].bool()
            logits = torch.where(kind < 2, torch.where(known, 0.0, -torch.inf), seen)
            means = kinds + a * 0.04 / var * (x_t["x"] - a * kinds)
            mean = (logits.softmax(1) * means).sum(1, keepdim=True)
            return sf.Joint({"x": sf.Normal(mean), "kind": sf.Categorical(logits[:, None])})

        return sf.Denoiser.from_function(self.process, answer)


@pytest.mark.parametrize("known", ["x", "kind"])
def test_one_leaf_is_drawn_given_the_other(known: str):
    n, denoiser = 20_000, Rows().denoiser()
    x0 = {"x": torch.full((n, 1), 0.6, dtype=F64), "kind": torch.ones(n, 1, dtype=torch.long)}
    given = {name: torch.full((n, 1), name == known) for name in x0}
    x1 = denoiser.process.prior(x0, 4)
    sampler, times = sf.samplers.default(denoiser, 100)
    end = sf.sample(Given(denoiser, x0, given), sampler, x1, times, rng=5)
    assert torch.allclose(end[known], x0[known], atol=1e-12)
    if known == "kind":
        assert stats.kstest(end["x"][:, 0].numpy(), stats.norm(1, 0.2).cdf).pvalue > 1e-4
        assert stats.kstest(end["x"][:, 0].numpy() * 1.02, stats.norm(1, 0.2).cdf).pvalue < 1e-4
    else:
        chance = torch.tensor([-(0.6**2), -(0.4**2)], dtype=F64).div(2 * 0.04).softmax(0)[1]
        ones = int(end["kind"].sum())
        assert stats.binomtest(ones, n, float(chance)).pvalue > 1e-4
        assert stats.binomtest(ones + n // 50, n, float(chance)).pvalue < 1e-4


def test_a_product_walks_by_default_to_the_law_of_its_leaves_together():
    n, denoiser = 20_000, Rows().denoiser()
    x1 = denoiser.process.prior({"x": torch.empty(n, 1, dtype=F64), "kind": torch.empty(n, 1, dtype=torch.long)}, 6)
    sampler, times = sf.samplers.default(denoiser, 200)
    end = sf.sample(denoiser, sampler, x1, times, rng=7)
    assert stats.binomtest(int(end["kind"].sum()), n, 0.5).pvalue > 1e-4
    residual = (end["x"] - end["kind"])[:, 0].numpy() / 0.2
    assert stats.kstest(residual, stats.norm.cdf).pvalue > 1e-4
    assert stats.kstest(residual + 0.05, stats.norm.cdf).pvalue < 1e-4


# Training


def test_parts_shown_clean_are_at_time_0_and_cost_nothing():
    seen: dict[str, Tensor] = {}

    def answer(x_t: Tensor, t: Tensor, condition: object) -> Tensor:
        seen.update(x_t=x_t, t=t)
        return torch.zeros_like(x_t)

    denoiser = sf.Denoiser.from_function(sf.Gaussian(sf.schedules.Flow()), answer)
    x0 = torch.full((4000, 5), 2.0)
    loss = Objective(weight=UniformWeight(), pattern=Scattered(0.5))(denoiser, x0, rng=1)
    clean = seen["t"] == 0
    assert torch.equal(seen["x_t"] == 2.0, clean)
    assert torch.allclose(loss, 2.0 * (~clean).float().mean(1))
    shown = clean.any(1)
    # Half of the items, and of these all but those of which nothing was shown: an integral of (1 - r)^5.
    assert stats.binomtest(int(shown.sum()), 4000, 0.5 * (1 - 1 / 6)).pvalue > 1e-4
    assert len(clean[shown].unique(dim=0)) == 31
    assert torch.equal(seen["t"][0][~clean[0]].unique(), latest(seen["t"])[:1])


def test_a_pattern_depends_on_the_items_own_stream_alone():
    x0 = {"x": torch.zeros(8, 3), "y": torch.zeros(8, 2)}
    whole = Scattered(0.7).draw(x0, Streams.of(0, range(8)))
    part = Scattered(0.7).draw({name: leaf[3:5] for name, leaf in x0.items()}, Streams.of(0, range(3, 5)))
    assert all(torch.equal(whole[name][3:5], part[name]) for name in x0)
    assert not torch.equal(whole["x"][:, :2], whole["y"])


def test_each_leaf_has_its_weight():
    process, x0 = Rows.process, {"x": torch.randn(6, 2), "kind": torch.randint(2, (6, 3))}
    t = torch.linspace(0.1, 0.9, 6, dtype=F64)
    x_t = process.corrupt(x0, t, 0)
    posterior = sf.Joint({"x": sf.Normal(torch.zeros(6, 2)), "kind": sf.Categorical(torch.zeros(6, 3, 2))})
    when = When(t, torch.ones(6), {"x": t, "kind": t})
    each = EachWeight({"x": OutputWeight(EDM(0.7)), "kind": ELBOWeight()})
    each.check(process)
    loss = each(process, x0, x_t, posterior, when)
    alone = OutputWeight(EDM(0.7))(
        process.parts["x"], x0["x"], x_t["x"], posterior.parts["x"], When(t, when.density, t)
    )
    assert torch.equal(loss["x"], alone)
    assert torch.equal(loss["kind"], process.parts["kind"].elbo(x0["kind"], x_t["kind"], posterior.parts["kind"], t))
    with pytest.raises(sf.UserError, match="OutputWeight weighs Gaussian processes only, not Discrete"):
        EachWeight({"x": OutputWeight(EDM()), "kind": OutputWeight(EDM())}).check(process)
    with pytest.raises(sf.UserError, match="EachWeight weighs Product processes only"):
        each.check(process.parts["x"])


def test_times_of_what_is_given_are_0():
    given = {"x": torch.tensor([[True, False]]), "y": torch.tensor([[False]])}
    assert clean_where(given, 0.5)["x"].tolist() == [[0.0, 0.5]]
    assert latest(clean_where(given, torch.tensor([0.25]))).tolist() == [0.25]
