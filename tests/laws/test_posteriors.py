"""Posteriors: densities, draws, and the tilt between two of them."""

import math

import pytest
import torch
from torch import distributions as law

import suffuse as sf
from suffuse.exact import GaussianMixture
from suffuse.posteriors import Categorical, Revealed
from suffuse.rng import Streams
from tests.laws.cases import F64, PLANE, close, numbers
from tests.laws.statistics import N, accepts, assert_law

MEAN, VAR = numbers(0.3, -1.0), numbers(0.5, 2.0)
LOGITS = numbers(0.2, -0.5, 1.0)


def normal(n: int = 1) -> sf.Normal:
    return sf.Normal(MEAN.expand(n, -1), VAR.expand(n, -1))


def mixture(n: int = 1) -> sf.Mixture:
    shape = (n, *PLANE.means.shape)
    return sf.Mixture(PLANE.weights.expand(n, -1), PLANE.means.expand(shape), PLANE.variances.expand(shape))


def test_log_prob_is_the_density():
    x = torch.linspace(-3, 4, 12, dtype=F64).reshape(6, 2)
    assert close(normal(6).log_prob(x), law.Normal(MEAN, VAR.sqrt()).log_prob(x), atol=1e-12)
    assert close(sf.Normal(MEAN.expand(6, -1)).log_prob(x), -((x - MEAN) ** 2) / 2)
    tokens = torch.tensor([[0, 2], [1, 1]])
    q = sf.Categorical(LOGITS.expand(2, 2, -1))
    assert close(q.log_prob(tokens), law.Categorical(logits=LOGITS).log_prob(tokens), atol=1e-12)
    parts = law.Independent(law.Normal(PLANE.means, PLANE.variances.sqrt()), 1)
    truth = law.MixtureSameFamily(law.Categorical(PLANE.weights), parts)
    assert close(mixture(6).log_prob(x), truth.log_prob(x), atol=1e-12)
    joint = sf.Joint({"x": normal(2), "kind": q}).log_prob({"x": x[:2], "kind": tokens})
    assert torch.equal(joint["x"], normal(2).log_prob(x[:2]))
    assert torch.equal(joint["kind"], q.log_prob(tokens))


def test_draws_have_the_law():
    rng = Streams.of(1, range(N))
    assert_law(normal(N).sample(rng), GaussianMixture(MEAN[None], VAR.sqrt()[None]))
    assert_law(mixture(N).sample(rng), PLANE)
    assert_law(sf.Categorical(LOGITS.expand(N, 1, -1)).sample(rng), LOGITS.softmax(0))
    joint = sf.Joint({"x": mixture(N), "kind": sf.Categorical(LOGITS.expand(N, 1, -1))})
    assert_law(joint.sample(rng), {"x": PLANE, "kind": LOGITS.softmax(0)})


def test_a_component_is_drawn_by_its_weight():
    component = mixture(N).draw_component(Streams.of(2, range(N)))
    assert_law((component.mean[:, :1] > 0).long(), PLANE.weights)
    assert_law(component.sample(Streams.of(3, range(N))), PLANE)
    same = normal().draw_component(0)
    assert torch.equal(same.mean, normal().mean)


def test_the_leaves_of_a_joint_have_streams_of_their_own():
    q = sf.Joint({"a": normal(N), "b": normal(N)}).sample(Streams.of(4, range(N)))
    both = GaussianMixture(MEAN[:1].expand(1, 2), VAR[:1].sqrt().expand(1, 2))
    assert_law(torch.cat([q["a"][:, :1], q["b"][:, :1]], 1), both)
    assert not accepts(torch.cat([q["a"][:, :1], q["a"][:, :1]], 1), both)


def test_means():
    assert torch.equal(normal().mean, MEAN[None])
    assert close(sf.Categorical(LOGITS[None]).mean, LOGITS.exp() / LOGITS.exp().sum())
    assert close(mixture().mean[0], (PLANE.weights[:, None] * PLANE.means).sum(0))
    assert torch.equal(sf.Normal(MEAN[None]).sample(0), MEAN[None])


def pairs() -> dict[str, tuple[sf.posteriors.Posterior, sf.posteriors.Posterior]]:
    other = sf.Normal(numbers(1.1, -0.2)[None], VAR[None])
    tokens, others = sf.Categorical(LOGITS[None, None]), sf.Categorical(numbers(-1.0, 0.3, 0.1)[None, None])
    return {
        "normal": (normal(), other),
        "categorical": (tokens, others),
        "joint": (sf.Joint({"x": normal(), "kind": tokens}), sf.Joint({"x": other, "kind": others})),
        "mixture": (mixture(), other),
    }


def flat(mean: object) -> torch.Tensor:
    return torch.cat([leaf.flatten() for leaf in sf.tree.leaves(mean)])


@pytest.mark.parametrize("kind", ["normal", "categorical", "joint", "mixture"])
def test_tilt_is_the_reference_at_zero_and_itself_at_one(kind):
    main, reference = pairs()[kind]
    assert close(flat(main.tilt(reference, 0.0).mean), flat(reference.mean), atol=1e-15)
    assert close(flat(main.tilt(reference, 1.0).mean), flat(main.mean), atol=1e-15)
    weight = torch.full((1,), 2.5, dtype=F64)
    assert close(flat(main.tilt(reference, weight).mean), flat(main.tilt(reference, 2.5).mean), atol=1e-15)


@pytest.mark.parametrize("weight", [0.3, 2.5])
def test_tilt_is_the_geometric_path(weight):
    """Where the result is of the same family: equal variances, or tokens."""
    main, reference = pairs()["normal"]
    x = torch.linspace(-30, 30, 20001, dtype=F64)[:, None].expand(-1, 2)
    density = (weight * main.log_prob(x) + (1 - weight) * reference.log_prob(x)).exp()
    mean = (density * x).sum(0) / density.sum(0)
    assert close(main.tilt(reference, weight).mean[0], mean, atol=1e-9)
    main, reference = pairs()["categorical"]
    unnormalised = main.mean**weight * reference.mean ** (1 - weight)
    assert close(main.tilt(reference, weight).mean, unnormalised / unnormalised.sum(), atol=1e-12)


def test_what_is_impossible_in_either_stays_impossible():
    main = sf.Categorical(numbers(0.0, -math.inf, 1.0, 2.0)[None])
    reference = sf.Categorical(numbers(0.0, 1.0, -math.inf, 1.0)[None])
    for weight in (0.0, 0.5, 1.0, 4.0):
        p = main.tilt(reference, weight).mean[0]
        assert (p[1], p[2]) == (0, 0)
        left = (weight * main.logits + (1 - weight) * reference.logits)[0, [0, 3]]
        assert close(p[[0, 3]], left.softmax(0), atol=1e-12)


def test_weights_per_item_and_per_element():
    main = sf.Normal(torch.ones(3, 2, dtype=F64))
    reference = sf.Normal(torch.zeros(3, 2, dtype=F64))
    assert torch.equal(main.tilt(reference, numbers(0, 1, 2)).mean, numbers(0, 1, 2)[:, None].expand(3, 2))
    each = torch.arange(6, dtype=F64).reshape(3, 2)
    assert torch.equal(main.tilt(reference, each).mean, each)


@pytest.mark.parametrize("kind", ["normal", "categorical", "joint", "mixture"])
def test_items_of_a_batch(kind):
    main, _ = pairs()[kind]
    assert torch.equal(flat(main[:1].mean), flat(main.mean))
    assert flat(main[:0].mean).numel() == 0


def test_what_is_revealed_is_known_and_what_is_hidden_may_be_anything():
    """The same as by a table of all values, of which none is made."""
    x_t = torch.tensor([[0, 3, 2, 3], [3, 3, 1, 0]])
    revealed = Revealed(x_t, 3)
    table = revealed.table
    for x0 in (torch.tensor([[0, 1, 2, 2], [0, 1, 1, 0]]), torch.tensor([[1, 1, 2, 0], [2, 2, 2, 2]])):
        assert torch.allclose(revealed.log_prob(x0), table.log_prob(x0))
    assert torch.equal(revealed.mean, table.mean)
    assert revealed.mean[0].tolist() == [[1, 0, 0], pytest.approx([1 / 3] * 3), [0, 0, 1], pytest.approx([1 / 3] * 3)]
    assert torch.equal(revealed[1:].mean, table.mean[1:])


def test_log_probabilities_of_known_values_are_those_of_the_pinned_table():
    torch.manual_seed(0)
    logits, x0 = torch.randn(2, 5, 4, requires_grad=True), torch.randint(0, 4, (2, 5))
    given = torch.rand(2, 5) < 0.5
    pinned = Categorical(logits).pinned(x0, given)
    for value in (x0, (x0 + 1) % 4):
        by_table = Categorical(pinned.logits).log_prob(value)
        assert torch.allclose(pinned.log_prob(value), by_table)
    (gradient,) = torch.autograd.grad(pinned.log_prob(x0).sum(), logits)
    assert not gradient[given].any()
    assert gradient[~given].any(-1).all()
