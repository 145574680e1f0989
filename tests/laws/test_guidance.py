"""Law 7: guidance."""

from collections.abc import Callable, Iterator

import pytest
import torch
from torch import Tensor

import suffuse as sf
from suffuse.exact import GaussianMixture
from suffuse.guidance import ClassifierFree, Guided
from tests.laws.cases import F64, SCHEDULE_CASES, close, numbers

LAW = GaussianMixture(
    torch.tensor([[-1.0, 0.0], [1.0, 0.5], [0.0, 1.0]], dtype=F64), numbers(0.3, 0.4, 0.2), numbers(0.5, 0.3, 0.2)
)
WORSE = GaussianMixture(LAW.means * 0.8, LAW.variances.sqrt() * 1.5)
X = torch.randn(30, 2, dtype=F64, generator=torch.Generator().manual_seed(0)) * 1.5
CONDITION = {"component": torch.arange(30) % 3}
INTERVAL = (0.3, 0.7)
each_schedule = pytest.mark.parametrize("name", SCHEDULE_CASES)


def rules(
    process: sf.Gaussian, weight: float, interval: tuple[float, float] = (0.0, 1.0)
) -> Iterator[tuple[sf.Denoiser, Callable[[float], Tensor], Callable[[float], Tensor]]]:
    """(guided denoiser, main mean at t, reference mean at t) of every rule."""
    denoiser, worse = LAW.denoiser(process), WORSE.denoiser(process)

    def main(t: float) -> Tensor:
        return denoiser(X, t, CONDITION).mean

    yield ClassifierFree(denoiser, weight, interval), main, lambda t: denoiser(X, t).mean
    yield Guided(denoiser, worse, weight, interval), main, lambda t: worse(X, t, CONDITION).mean


@each_schedule
@pytest.mark.parametrize("t", [0.01, 0.5, 1.0])
def test_weight_one_is_no_guidance_and_zero_is_the_reference(name, t):
    process = sf.Gaussian(SCHEDULE_CASES[name])
    for guided, main, _ in rules(process, 1.0):
        assert torch.equal(guided(X, t, CONDITION).mean, main(t))
    for guided, main, reference in rules(process, 0.0):
        assert close(guided(X, t, CONDITION).mean, reference(t), atol=1e-12)
        assert t < 0.1 or not close(main(t), reference(t), atol=1e-3)


@each_schedule
@pytest.mark.parametrize("weight", [0.5, 1.7, 4.0])
def test_the_interval_has_closed_ends_and_no_guidance_outside(name, weight):
    for guided, main, reference in rules(sf.Gaussian(SCHEDULE_CASES[name]), weight, INTERVAL):
        for t in (0.01, 0.299, 0.701, 1.0):
            assert torch.equal(guided(X, t, CONDITION).mean, main(t))
        for t in (0.3, 0.5, 0.7):
            expected = reference(t) + weight * (main(t) - reference(t))
            assert close(guided(X, t, CONDITION).mean, expected, atol=1e-12)


@each_schedule
def test_times_per_item_are_calls_per_item(name):
    """A batch with some items inside the interval: as one by one, to the rounding of float64."""
    t = torch.linspace(0.1, 0.9, 30, dtype=F64)
    for guided, _, _ in rules(sf.Gaussian(SCHEDULE_CASES[name]), 1.7, INTERVAL):
        together = guided(X, t, CONDITION).mean
        for i in range(30):
            alone = guided(X[i : i + 1], float(t[i]), {"component": CONDITION["component"][i : i + 1]})
            assert close(together[i : i + 1], alone.mean, atol=1e-12)


@each_schedule
@pytest.mark.parametrize("weight", [0.0, 0.5, 1.0, 3.0])
def test_on_mixtures_it_is_the_score_of_the_tilted_noised_marginals(name, weight):
    process = sf.Gaussian(SCHEDULE_CASES[name])
    guided = ClassifierFree(LAW.denoiser(process), weight)
    for t in (0.2, 0.5, 0.8):
        alpha, sigma = process.coordinates(t, X)
        whole = LAW.marginal(process, t)
        for k in range(3):
            point = X.clone().requires_grad_()
            part = LAW.component(k).marginal(process, t)
            log_density = weight * part.log_prob(point) + (1 - weight) * whole.log_prob(point)
            (score,) = torch.autograd.grad(log_density.sum(), point)
            tweedie = (X + sigma**2 * score) / alpha
            mean = guided(X, t, {"component": torch.full((30,), k)}).mean
            assert close(mean, tweedie, rtol=1e-8, atol=1e-9)


def test_it_is_not_the_noised_tilted_law():
    """What the docstring warns of: tilting and noising do not commute."""
    process, w, t = sf.Gaussian(SCHEDULE_CASES["flow"]), 3.0, 0.5
    law = GaussianMixture(numbers(-1.0, 1.0)[:, None], numbers(0.5, 0.5))
    x = numbers(-0.5, 0.0, 0.7)[:, None]
    guided = ClassifierFree(law.denoiser(process), w)(x, t, {"component": torch.ones(3, dtype=torch.int64)}).mean
    grid = torch.linspace(-6, 12, 6001, dtype=F64)[:, None]
    tilted = (w * law.component(1).log_prob(grid) + (1 - w) * law.log_prob(grid)).softmax(0)
    likelihood = tilted * torch.exp(-((x - (1 - t) * grid[:, 0]) ** 2) / (2 * t**2))
    mean = (likelihood * grid[:, 0]).sum(1, keepdim=True) / likelihood.sum(1, keepdim=True)
    assert (guided - mean).abs().min() > 0.05


def test_masks_of_conditions_are_kept():
    """An item that has no condition is guided by nothing, beside others that are."""
    denoiser, there = LAW.denoiser(sf.Gaussian(SCHEDULE_CASES["flow"])), torch.arange(30) % 2 == 0
    guided = ClassifierFree(denoiser, 3.0)(X, 0.5, {**CONDITION, "component/present": there}).mean
    whole = ClassifierFree(denoiser, 3.0)(X, 0.5, CONDITION).mean
    assert close(guided[there], whole[there], atol=1e-12)
    assert close(guided[~there], denoiser(X, 0.5).mean[~there], atol=1e-12)
    assert torch.equal(ClassifierFree(denoiser, 3.0)(X, 0.5).mean, denoiser(X, 0.5).mean)


def test_only_the_named_conditions_are_dropped():
    seen = []

    def function(x_t, t, condition):
        seen.append({name: sf.tree.presence(condition, name).tolist() for name in sf.tree.value_names(condition)})
        return x_t

    denoiser = sf.Denoiser.from_function(sf.Gaussian(SCHEDULE_CASES["flow"]), function)
    condition, dropped = {"label": torch.zeros(2), "source": torch.zeros(2)}, [True, True, False, False]
    ClassifierFree(denoiser, 2.0, drop={"label"})(X[:2], 0.5, condition)
    ClassifierFree(denoiser, 2.0)(X[:2], 0.5, condition)
    assert seen == [{"label": dropped, "source": [True] * 4}, {"label": dropped, "source": dropped}]


@pytest.mark.parametrize("weight", [0.0, 1.0, 2.5])
def test_tokens_and_mixed_data_are_guided_by_their_logits(weight):
    process = sf.Product({"x": sf.Gaussian(SCHEDULE_CASES["flow"]), "kind": sf.Discrete.masked(3)})
    means = torch.linspace(-1, 1, 16, dtype=F64).reshape(2, 4, 2)
    logits = (7 * torch.linspace(-1, 1, 24, dtype=F64)).sin().reshape(2, 4, 1, 3)

    def of(i):
        return sf.Denoiser.from_function(
            process, lambda x, t, c: sf.Joint({"x": sf.Normal(means[i]), "kind": sf.Categorical(logits[i])})
        )

    x_t = {"x": torch.zeros(4, 2, dtype=F64), "kind": torch.tensor([[3], [3], [1], [0]])}
    for t in (0.5, torch.full((4,), 0.5, dtype=F64)):
        q = Guided(of(0), of(1), weight)(x_t, t)
        assert close(q.mean["x"], means[1] + weight * (means[0] - means[1]), atol=1e-12)
        p = logits[0].softmax(-1) ** weight * logits[1].softmax(-1) ** (1 - weight)
        assert close(q.mean["kind"][:2], (p / p.sum(-1, keepdim=True))[:2], atol=1e-12)
        clean = torch.nn.functional.one_hot(x_t["kind"][2:], 3).double()
        assert torch.equal(q.mean["kind"][2:], clean)  # what is unmasked stays


def test_two_rules_compose():
    """A guided denoiser is a denoiser: autoguidance of classifier-free guidance, by its formula."""
    process = sf.Gaussian(SCHEDULE_CASES["cosine"])
    inner, worse = ClassifierFree(LAW.denoiser(process), 2.0), WORSE.denoiser(process)
    a, b = inner(X, 0.4, CONDITION).mean, worse(X, 0.4, CONDITION).mean
    assert close(Guided(inner, worse, 1.5)(X, 0.4, CONDITION).mean, b + 1.5 * (a - b), atol=1e-12)
