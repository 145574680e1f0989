"""Law 7: guidance."""

from collections.abc import Callable, Iterator

import pytest
import torch
from torch import Tensor

import suffuse as sf
from suffuse.exact import GaussianMixture
from suffuse.guidance import (
    RULES,
    AllOf,
    AnyOf,
    Classifier,
    ClassifierFree,
    Guided,
    Negative,
    Projected,
    Rescaled,
    Rewarded,
)
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


# Rules, schedules, negative and composed conditions, classifiers


def pair(t: float = 0.5) -> tuple[sf.Denoiser, Tensor, Tensor]:
    denoiser = LAW.denoiser(sf.Gaussian(SCHEDULE_CASES["flow"]))
    return denoiser, denoiser(X, t, CONDITION).mean, denoiser(X, t).mean


@each_schedule
@pytest.mark.parametrize("rule", RULES)
def test_weight_one_is_no_guidance_for_every_rule(name, rule):
    """Asked for by a number, by a schedule that says 1, and for some items of a batch only."""
    denoiser = LAW.denoiser(sf.Gaussian(SCHEDULE_CASES[name]))
    some = torch.where(torch.arange(30) < 15, 0.2, 0.8).double()
    for weight in (1.0, lambda t: torch.ones_like(t), lambda t: 1 + 2 * (t < 0.5)):
        guided = ClassifierFree(denoiser, weight, rule=RULES[rule]())
        ours, theirs = (each(X, some, CONDITION).mean for each in (guided, denoiser))
        unguided = slice(15, 30) if callable(weight) and float(weight(numbers(0.2))) > 1 else slice(0, 30)
        assert close(ours[unguided], theirs[unguided], atol=1e-12)
        assert unguided == slice(0, 30) or not close(ours[:15], theirs[:15], atol=1e-3)


def test_a_schedule_of_the_weight_is_taken_at_its_time():
    denoiser, main, reference = pair(0.25)
    guided = ClassifierFree(denoiser, lambda t: 1 + 4 * t)
    assert close(guided(X, 0.25, CONDITION).mean, reference + 2 * (main - reference), atol=1e-12)
    again = Guided(denoiser, WORSE.denoiser(denoiser.process), lambda t: 1 + 4 * t, (0.3, 1.0))
    assert torch.equal(again(X, 0.25, CONDITION).mean, main)


def test_one_evaluation_where_there_is_no_guidance():
    for weight, spent in ((1.0, 30), (lambda t: torch.ones_like(t), 30), (3.0, 60)):
        denoiser = sf.samplers.Counted(LAW.denoiser(sf.Gaussian(SCHEDULE_CASES["flow"])))
        ClassifierFree(denoiser, weight)(X, 0.5, CONDITION)
        assert (denoiser.evaluations, denoiser.items) == (1, spent)


def test_rescaling_gives_the_deviation_of_the_main_mean():
    denoiser, main, reference = pair()
    plain = reference + 5.0 * (main - reference)
    whole = ClassifierFree(denoiser, 5.0, rule=Rescaled(1.0))(X, 0.5, CONDITION).mean
    assert close(whole.std(1), main.std(1), atol=1e-12)
    assert close(whole / whole.norm(dim=1, keepdim=True), plain / plain.norm(dim=1, keepdim=True), atol=1e-12)
    none = ClassifierFree(denoiser, 5.0, rule=Rescaled(0.0))(X, 0.5, CONDITION).mean
    half = ClassifierFree(denoiser, 5.0, rule=Rescaled(0.5))(X, 0.5, CONDITION).mean
    assert close(none, plain, atol=1e-12)
    assert close(half, (whole + plain) / 2, atol=1e-12)


def test_projection_leaves_what_is_along_the_main_mean():
    denoiser, main, reference = pair()
    step = 3.0 * (main - reference)
    plain = ClassifierFree(denoiser, 4.0, rule=Projected(1.0))(X, 0.5, CONDITION).mean
    assert close(plain, main + step, atol=1e-12)
    across = ClassifierFree(denoiser, 4.0, rule=Projected())(X, 0.5, CONDITION).mean - main
    assert (across * main).sum(1).abs().max() < 1e-12
    assert close(_parallel(step - across, main), torch.zeros_like(main))
    short = ClassifierFree(denoiser, 4.0, rule=Projected(1.0, radius=0.1))(X, 0.5, CONDITION).mean - main
    length = (main - reference).norm(dim=1)
    assert close(short.norm(dim=1), 3 * length.clamp(max=0.1), atol=1e-12)
    assert (length > 0.1).any()


def test_a_negative_is_the_reference():
    denoiser, main, _ = pair()
    away = denoiser(X, 0.5, {"component": torch.full((30,), 2)}).mean
    for weight in (0.0, 1.0, 3.0):
        guided = Negative(denoiser, {"component": torch.tensor([2])}, weight)
        assert close(guided(X, 0.5, CONDITION).mean, away + weight * (main - away), atol=1e-12)


@each_schedule
def test_all_of_independent_parts_is_their_joint_condition(name):
    """Conditions on independent coordinates: the product of the noised laws is the noised law of both."""
    process = sf.Gaussian(SCHEDULE_CASES[name])
    line = GaussianMixture(numbers(-1.0, 1.2)[:, None], numbers(0.3, 0.5), numbers(1, 2))
    one = line.denoiser(process)

    def posterior(x_t: Tensor, t: float, condition: dict[str, Tensor]) -> sf.Normal:
        parts = [one(x_t[:, k : k + 1], t, _only(condition, name)).mean for k, name in enumerate(("first", "second"))]
        return sf.Normal(torch.cat(parts, 1))

    denoiser = sf.Denoiser.from_function(process, posterior, line.std)
    told = [{"first": torch.tensor([1])}, {"second": torch.tensor([0])}]
    both = AllOf(denoiser, told)
    for t in (0.1, 0.5, 0.9):
        joint = posterior(
            X, t, {"first": torch.ones(30, dtype=torch.int64), "second": torch.zeros(30, dtype=torch.int64)}
        )
        assert close(both(X, t).mean, joint.mean, atol=1e-11)


def test_all_of_is_the_score_of_the_product():
    process, t = sf.Gaussian(SCHEDULE_CASES["vp"]), 0.4
    denoiser, (alpha, sigma) = LAW.denoiser(process), process.coordinates(t, X)
    weights, components = (1.0, 2.5), (0, 2)
    guided = AllOf(denoiser, [{"component": torch.tensor([k])} for k in components], weights)
    point, whole = X.clone().requires_grad_(), LAW.marginal(process, t)
    density = (1 - sum(weights)) * whole.log_prob(point)
    density = density + sum(
        w * LAW.component(k).marginal(process, t).log_prob(point) for w, k in zip(weights, components, strict=True)
    )
    (score,) = torch.autograd.grad(density.sum(), point)
    assert close(guided(X, t).mean, (X + sigma**2 * score) / alpha, rtol=1e-8, atol=1e-9)


def test_all_of_tokens_multiplies_their_odds():
    process = sf.Discrete.masked(3)
    table = (5 * torch.linspace(-1, 1, 9, dtype=F64)).sin().reshape(3, 3)

    def posterior(x_t: Tensor, t: float, condition: dict[str, Tensor]) -> sf.Categorical:
        row = torch.where(sf.tree.presence(condition, "label"), condition["label"] + 1, 0)
        return sf.Categorical(table[row][:, None].expand(-1, x_t.shape[1], -1))

    x_t = torch.full((2, 4), 3)
    denoiser = sf.Denoiser.from_function(process, posterior)
    q = AllOf(denoiser, [{"label": torch.tensor([0])}, {"label": torch.tensor([1])}])(x_t, 0.5).mean
    p = table.softmax(1)
    expected = p[1] * p[2] / p[0]
    assert close(q, (expected / expected.sum()).expand_as(q), atol=1e-12)


@each_schedule
def test_any_of_with_its_densities_is_the_mixture(name):
    """Of two of three components, with weights of their own: the exact denoiser of that mixture."""
    process, chosen, weights = sf.Gaussian(SCHEDULE_CASES[name]), (0, 2), numbers(0.3, 0.7)
    parts = [LAW.component(k) for k in chosen]
    law = GaussianMixture(LAW.means[[0, 2]], LAW.variances.sqrt()[[0, 2]], weights)

    def log_densities(x_t: Tensor, t: float) -> Tensor:
        return torch.stack([part.marginal(process, t).log_prob(x_t) for part in parts], 1) + weights.log()

    guided = AnyOf(LAW.denoiser(process), [{"component": torch.tensor([k])} for k in chosen], log_densities)
    for t in (0.05, 0.5, 1.0):
        assert close(guided(X, t).mean, law.denoiser(process)(X, t).mean, atol=1e-11)


@each_schedule
def test_the_true_classifier_gives_the_conditional_denoiser(name):
    process = sf.Gaussian(SCHEDULE_CASES[name])
    denoiser = LAW.denoiser(process)

    def log_component(k: int) -> Callable[[Tensor, float], Tensor]:
        def log_likelihood(x_t: Tensor, t: float) -> Tensor:
            return LAW.component(k).marginal(process, t).log_prob(x_t) - LAW.marginal(process, t).log_prob(x_t)

        return log_likelihood

    for k in range(3):
        guided = Classifier(denoiser, log_component(k))
        for t in (0.1, 0.5, 0.9):
            conditional = denoiser(X, t, {"component": torch.full((30,), k)}).mean
            assert close(guided(X, t).mean, conditional, rtol=1e-8, atol=1e-9)
            assert torch.equal(Classifier(denoiser, log_component(k), 0.0)(X, t).mean, denoiser(X, t).mean)


@each_schedule
def test_a_linear_reward_of_a_normal_law_is_exact(name):
    """exp(a x) times N(m, s^2) is N(m + a s^2, s^2), at every level of noise."""
    process, slope = sf.Gaussian(SCHEDULE_CASES[name]), 1.7
    law, tilted = (GaussianMixture(numbers(m)[:, None], numbers(0.6)) for m in (0.4, 0.4 + slope * 0.36))
    guided = Rewarded(law.denoiser(process), lambda x0: slope * x0.sum(1))
    x = torch.linspace(-3, 3, 13, dtype=F64)[:, None]
    for t in (0.05, 0.5, 0.95):
        assert close(guided(x, t).mean, tilted.denoiser(process)(x, t).mean, atol=1e-10)


def test_samples_under_a_classifier_have_the_conditional_law():
    """The whole walk: 2,000 starts of VP end where those of the component do."""
    process = sf.Gaussian(SCHEDULE_CASES["vp"])
    whole, part = (lambda t: LAW.marginal(process, t)), LAW.component(1)
    guided = Classifier(
        LAW.denoiser(process), lambda x, t: part.marginal(process, t).log_prob(x) - whole(t).log_prob(x)
    )
    x1, times = torch.randn(2000, 2, dtype=F64, generator=torch.Generator().manual_seed(1)), sf.grids.uniform(60)
    ours, theirs = (sf.sample(each, sf.samplers.Ancestral(0.0), x1, times) for each in (guided, part.denoiser(process)))
    assert close(ours, theirs, atol=1e-6)


def test_what_does_not_fit_is_refused():
    discrete = sf.Denoiser.from_function(
        sf.Discrete.masked(2), lambda x, t, c: sf.Categorical(torch.zeros(*x.shape, 2))
    )
    for make in (lambda: Classifier(discrete, lambda x, t: x), lambda: Rewarded(discrete, lambda x: x)):
        with pytest.raises(sf.UserError, match="Gaussian"):
            make()
    denoiser = pair()[0]
    for make in (
        lambda: AllOf(denoiser, []),
        lambda: AllOf(denoiser, [{}], [-1.0]),
        lambda: Rescaled(2.0),
        lambda: Projected(-1.0),
    ):
        with pytest.raises(ValueError, match=r"positive|share|parallel"):
            make()


def _only(condition: dict[str, Tensor], name: str) -> dict[str, Tensor] | None:
    told = {key.replace(name, "component"): value for key, value in (condition or {}).items() if key.startswith(name)}
    return told or None


def _parallel(step: Tensor, along: Tensor) -> Tensor:
    """What is left of a step without its part along another vector."""
    return step - (step * along).sum(1, keepdim=True) / along.square().sum(1, keepdim=True) * along


@pytest.mark.parametrize("name", ["flow", "edm", "cosine", "vp"])
def test_white_noise_on_an_item_is_merged_with_that_of_the_walk(name: str):
    """E[x0 | x_t, y] of a mixture is that of the mixture that y leaves of it, by Bayes' rule."""
    means, variance, noise = torch.tensor([[-1.0, 0.5], [1.0, 1.0], [0.2, -2.0]], dtype=F64), 0.09, 0.7
    process, y = sf.Gaussian(sf.schedules.SCHEDULES[name]()), numbers(0.4, -0.3)
    told = sf.guidance.Merged(GaussianMixture(means, torch.full((3,), 0.3)).denoiser(process), y[None], noise)
    left = 1 / (1 / variance + 1 / noise**2)
    weights = (-((y - means) ** 2).sum(1) / (2 * (variance + noise**2))).softmax(0)
    after = GaussianMixture(left * (means / variance + y / noise**2), torch.full((3,), left**0.5), weights)
    x_t = torch.randn(5, 2, dtype=F64, generator=torch.Generator().manual_seed(0))
    for t in (1.0, 0.6, 0.2, torch.linspace(0.1, 0.9, 5)):
        assert close(told(x_t, t).mean, after.denoiser(process)(x_t, t).mean, rtol=1e-5, atol=1e-6)


def test_noise_that_is_none_is_not_merged():
    law = GaussianMixture(torch.zeros(1, 2), torch.ones(1))
    with pytest.raises(sf.UserError, match="positive deviation"):
        sf.guidance.Merged(law.denoiser(sf.Gaussian(sf.schedules.Flow())), torch.zeros(1, 2), 0.0)
