"""Answers joined over regions and windows, and the way up to the noise: against laws that are known."""

import math
from itertools import pairwise

import pytest
import torch
from torch import Tensor, nn

import suffuse as sf
from suffuse.editing import pinned, spherical
from suffuse.exact import GaussianMixture
from suffuse.guidance import Given, Regions, Tiled
from suffuse.inversion import encode
from suffuse.samplers import SAMPLERS, default
from suffuse.shared_prior import carry
from suffuse.tree import PRESENT
from tests.laws.cases import F64, SAMPLER_CASES, SCHEDULE_CASES, WALKED, close, numbers

FLOW = sf.Gaussian(sf.schedules.Flow())
each_walked = pytest.mark.parametrize("name", WALKED)


def of_two_pixels(a: Tensor, b: Tensor) -> GaussianMixture:
    """Two independent elements, each a mixture of two Gaussians of deviation 0.3 at these means."""
    return GaussianMixture(torch.cartesian_prod(a, b), torch.full((4,), 0.3, dtype=F64))


LEFT, RIGHT = numbers(-1.0, 0.8), numbers(0.2, 1.5)
ONE, OTHER = of_two_pixels(LEFT, numbers(-2.0, -1.0)), of_two_pixels(numbers(3.0, 4.0), RIGHT)
BOTH = of_two_pixels(LEFT, RIGHT)
"""The first element of the one, the second of the other."""
FIRST, SECOND = numbers(1, 0), numbers(0, 1)
X = 1.5 * torch.randn(40, 2, dtype=F64, generator=torch.Generator().manual_seed(0))


# Regions


@each_walked
def test_halves_of_two_laws_are_the_product_of_the_halves(name: str):
    process = sf.Gaussian(SCHEDULE_CASES[name])
    one, other, both = (law.denoiser(process) for law in (ONE, OTHER, BOTH))
    joined = Regions([(one, None, FIRST), (other, None, SECOND)])
    for t in (0.05, 0.5, 0.95):
        assert close(joined(X, t).mean, both(X, t).mean, atol=1e-10)
        assert not close(one(X, t).mean, both(X, t).mean, atol=1e-3)
    times, x1 = sf.grids.karras(process.schedule, 30), process.prior(X, 1)
    ends = [sf.sample(each, SAMPLERS["ddim"](), x1, times) for each in (joined, both)]
    assert close(ends[0], ends[1], atol=1e-9)


def test_one_part_is_its_denoiser_and_masks_are_normalised():
    one, other = ONE.denoiser(FLOW), OTHER.denoiser(FLOW)
    assert torch.equal(Regions([(one, None, numbers(0.2, 7.0))])(X, 0.4).mean, one(X, 0.4).mean)
    soft = Regions([(one, None, numbers(1, 3)), (other, None, numbers(3, 1))])(X, 0.4).mean
    shares = numbers(0.25, 0.75)
    assert close(soft, shares * one(X, 0.4).mean + (1 - shares) * other(X, 0.4).mean)


def test_conditions_of_one_denoiser_are_asked_in_one_batch():
    """The condition of a walk holds everywhere, but where a region has one of that name."""
    law = GaussianMixture(torch.tensor([[-1.0, 0.0], [1.0, 0.5], [0.0, 1.0]], dtype=F64), numbers(0.3, 0.4, 0.2))
    counted = sf.samplers.base.Counted(law.denoiser(FLOW))
    parts = [(counted, {"component": torch.tensor([k])}, mask) for k, mask in ((0, FIRST), (2, SECOND))]
    expected = (
        FIRST * law.component(0).denoiser(FLOW)(X, 0.3).mean + SECOND * law.component(2).denoiser(FLOW)(X, 0.3).mean
    )
    told = {"component": torch.ones(40, dtype=torch.int64)}
    for condition in (None, told, {**told, "component" + PRESENT: torch.zeros(40, dtype=torch.bool)}):
        assert close(Regions(parts)(X, 0.3, condition).mean, expected, atol=1e-10)
    assert counted.evaluations == 3
    left = Regions([(counted, None, FIRST), (counted, {"component": torch.tensor([2])}, SECOND)])
    expected = FIRST * law.component(1).denoiser(FLOW)(X, 0.3).mean + SECOND * expected
    assert close(left(X, 0.3, told).mean, expected, atol=1e-10)


def test_regions_that_do_not_fit_are_refused():
    one = ONE.denoiser(FLOW)
    tokens = sf.exact.Tokens(numbers(0.5, 0.5)).denoiser(sf.Discrete.masked(2))
    for parts, message in (
        ([], "at least one part"),
        ([(one, None, numbers(1, 0))], "in no region"),
        ([(one, None, numbers(1, -1))], "negative"),
        ([(tokens, None, numbers(1))], "Gaussian processes only"),
        ([(one, None, FIRST), (OTHER.denoiser(sf.Gaussian(sf.schedules.VP())), None, SECOND)], "one noise schedule"),
    ):
        with pytest.raises(sf.UserError, match=message):
            Regions(parts)


# Windows


def local(process: sf.Gaussian = FLOW) -> sf.Denoiser:
    """Acts on each pixel alone, and not linearly."""

    def mean(x_t: Tensor, t: Tensor, condition: object) -> Tensor:
        alpha, sigma = process.coordinates(t, x_t)
        return torch.tanh(alpha * x_t / sigma**2)

    return sf.Denoiser.from_function(process, mean)


class Blurred(nn.Module):
    """Sees its neighbours and its window's edges: a convolution with zeros beyond them."""

    def __init__(self) -> None:
        super().__init__()
        self.kernel = torch.randn(1, 1, 5, 5, dtype=F64, generator=torch.Generator().manual_seed(1)) / 5

    def forward(self, x_t: Tensor, t: object, condition: object) -> Tensor:
        return torch.tanh(nn.functional.conv2d(x_t, self.kernel, padding=2))


def pictures(n: int, height: int, width: int, channels: int = 2) -> Tensor:
    return torch.randn(n, channels, height, width, dtype=F64, generator=torch.Generator().manual_seed(2))


@pytest.mark.parametrize("wrap", [False, True])
@pytest.mark.parametrize("size", [(8, 6), (8, 7), (9, 6), (11, 13), (31, 6), (25, 40)])
def test_windows_of_what_sees_single_pixels_are_that_denoiser(size: tuple[int, int], wrap: bool):
    x, denoiser = pictures(3, *size), local()
    for overlap, at_once in ((0, 1), (2, 7), (5, 64)):
        tiled = Tiled(denoiser, (8, 6), overlap, wrap, at_once)
        for t in (0.3, numbers(0.2, 0.5, 0.9), pictures(3, *size).sigmoid()):
            assert close(tiled(x, t).mean, denoiser(x, t).mean)


@pytest.mark.parametrize("wrap", [False, True])
@pytest.mark.parametrize("size", [(30,), (31, 6), (5, 9, 7)])
def test_windows_have_as_many_axes_as_the_items(size: tuple[int, ...], wrap: bool):
    """Of sound, pictures and moving pictures."""
    x, denoiser = torch.randn(2, 3, *size, dtype=F64, generator=torch.Generator().manual_seed(2)), local()
    tiled = Tiled(denoiser, (4, 6, 5)[: len(size)], wrap=wrap, at_once=7)
    for t in (0.3, numbers(0.2, 0.5), x.sigmoid()):
        assert close(tiled(x, t).mean, denoiser(x, t).mean)
    with pytest.raises(sf.UserError, match="do not fit into items of"):
        tiled(x[..., 0], 0.3)


def test_each_item_has_its_own_condition():
    process = sf.Gaussian(sf.schedules.Flow())
    shifted = sf.Denoiser.from_function(process, lambda x_t, t, c: x_t + c["shift"][:, None, None, None])
    x, told = pictures(3, 20, 11), {"shift": numbers(1, 2, 3), "shift" + PRESENT: torch.ones(3, dtype=torch.bool)}
    assert close(Tiled(shifted, (8, 6), at_once=5)(x, 0.5, told).mean, shifted(x, 0.5, told).mean)


def test_wrapped_windows_commute_with_rolling_by_their_distance():
    """8 pixels with 2 shared are at most 6 apart: 3 windows of 18 rows, 6 apart, and 4 of 20 columns, 5 apart."""
    tiled, x = Tiled(sf.Denoiser.from_function(FLOW, Blurred()), (8, 8), 2, wrap=True), pictures(1, 18, 20, 1)
    for down, along, same in ((6, 0, True), (12, 5, True), (0, 15, True), (1, 0, False), (0, 4, False)):
        rolled = tiled(x.roll((down, along), (2, 3)), 0.5).mean
        assert close(rolled, tiled(x, 0.5).mean.roll((down, along), (2, 3)), atol=1e-12) == same
    flat = Tiled(sf.Denoiser.from_function(FLOW, Blurred()), (8, 8), 2)
    assert not close(flat(x.roll(6, 2), 0.5).mean, flat(x, 0.5).mean.roll(6, 2), atol=1e-3)


def test_no_seam_shows_where_windows_meet():
    """Of windows that each have an answer of their own, neighbouring pixels differ as little as the weights do.

    Two weights of sin^2 over 16 places meet: their share rises from 0 to 1 over the 8 that are shared, by at most a
    quarter from one to the next. Cut at their middles they would differ by 1.
    """
    count = iter(range(10**6))

    def numbered(x_t: Tensor, t: Tensor, condition: object) -> Tensor:
        return torch.stack([torch.full_like(each, float(next(count) % 2)) for each in x_t])

    mean = Tiled(sf.Denoiser.from_function(FLOW, numbered), (16, 16), 8)(pictures(1, 16, 40, 1), 0.5).mean[0, 0, 0]
    assert float(mean.max()) > 0.99
    assert float(mean.min()) < 0.01
    assert float(mean.diff().abs().max()) < 0.25


def test_batches_are_bounded_whatever_the_size():
    """A picture of 1500 x 1000 pixels, and three small ones: never more than 16 windows at a time."""
    sizes: list[int] = []

    def seen(x_t: Tensor, t: Tensor, condition: object) -> Tensor:
        sizes.append(len(x_t))
        return x_t

    denoiser = sf.Denoiser.from_function(FLOW, seen)
    x = torch.randn(1, 3, 1000, 1500)
    assert torch.allclose(Tiled(denoiser, (64, 64), at_once=16)(x, 0.5).mean, x, atol=1e-5)
    assert max(sizes) == 16
    assert sum(sizes) == math.ceil((1000 - 64) / 48 + 1) * math.ceil((1500 - 64) / 48 + 1)
    sizes.clear()
    Tiled(denoiser, (64, 64), at_once=16)(torch.randn(3, 3, 200, 100), 0.5)
    assert max(sizes) == 16


def test_windows_that_do_not_fit_are_refused():
    tokens = sf.exact.Tokens(numbers(0.5, 0.5)).denoiser(sf.Discrete.masked(2))
    for make, message in (
        (lambda: Tiled(tokens, (8, 8)), "Gaussian processes only"),
        (lambda: Tiled(local(), (8, 6), 6), "can share at least 0 elements and less than all, not 6"),
        (lambda: Tiled(local(), (8, 6), -1), "not -1"),
        (lambda: Tiled(local(), (8, 6), at_once=0), "at_once must be at least 1"),
        (lambda: Tiled(local(), (8, 6))(pictures(1, 8, 5), 0.5), "windows of 8x6 do not fit into items of 8x5"),
        (lambda: Tiled(local(), (8, 6), wrap=True)(pictures(1, 7, 9), 0.5), "do not fit"),
    ):
        with pytest.raises(sf.UserError, match=message):
            make()


# What is known, and not told


@each_walked
@pytest.mark.parametrize("sampler", ["ddim", "ddpm", "heun", "adams4", "sde2"])
def test_a_pinned_element_walks_as_it_was_noised(name: str, sampler: str):
    """With the noise that it began with where none is added, and to the clean value at the end, with any sampler."""
    process = sf.Gaussian(SCHEDULE_CASES[name])
    x0, kept = torch.tensor([[0.4, -1.0]], dtype=F64).expand(40, 2), torch.tensor([[True, False]]).expand(40, 2)
    denoiser = pinned(BOTH.denoiser(process), x0, kept)
    times = sf.grids.karras(process.schedule, 20)[8:]
    x_t = process.corrupt(x0, float(times[0]), 3)
    alpha, sigma = process.coordinates(float(times[0]), x0)
    noise = (x_t - alpha * x0) / sigma
    worst = []

    def follow(number: int, s: Tensor, x: Tensor) -> None:
        alpha, sigma = process.coordinates(float(s), x)
        worst.append(float((x - alpha * x0 - sigma * noise)[:, 0].abs().max()))

    made = SAMPLER_CASES[sampler]
    end = sf.sample(denoiser, made, x_t, times, rng=4, callback=follow)
    left = float(process.schedule.sigma(torch.zeros((), dtype=F64)))
    assert close(end[:, 0], x0[:, 0], atol=6 * left + 1e-9)
    assert made.stochastic or max(worst) < 1e-9
    assert float((end[:, 1] - x0[:, 1]).abs().min()) > 1e-3


def test_pinned_tokens_stay_and_the_rest_is_drawn():
    """Without being told, which is less than what Given does: the law of the rest is only that of its own."""
    table = numbers(0.05, 0.45, 0.45, 0.05).reshape(2, 2)
    denoiser = sf.exact.Tokens(table).denoiser(sf.Discrete.masked(2))
    x0, kept = torch.zeros(4000, 2, dtype=torch.int64), torch.tensor([[True, False]]).expand(4000, 2)
    x1 = torch.full_like(x0, 2)
    each = [
        sf.sample(make(denoiser, x0, kept), SAMPLERS["ddpm"](), x1, sf.grids.uniform(20), rng=5)
        for make in (pinned, Given)
    ]
    assert all(bool((end[:, 0] == 0).all()) for end in each)
    shares = [float(end[:, 1].double().mean()) for end in each]
    assert 0.6 < shares[0] < 0.85  # first drawn in half of the walks
    assert abs(shares[1] - 0.9) < 0.02


# The way up


@each_walked
def test_up_and_down_again_is_the_item(name: str):
    law = GaussianMixture(
        torch.tensor([[-1.2, 0.4], [1.0, -0.6]], dtype=F64),
        torch.tensor([[0.5, 0.3], [0.4, 0.6]], dtype=F64),
        numbers(2, 3),
    )
    denoiser, x0 = law.denoiser(sf.Gaussian(SCHEDULE_CASES[name])), law.sample(500, 1)
    errors = []
    for evaluations in (50, 100):
        sampler, times = default(denoiser, evaluations)
        errors.append(float((sf.sample(denoiser, sampler, encode(denoiser, x0, evaluations), times) - x0).abs().max()))
    assert errors[0] < 1e-3
    assert errors[1] < errors[0] / 4


@each_walked
def test_of_a_gaussian_the_noise_is_its_own_in_units_of_its_deviation(name: str):
    process, law = sf.Gaussian(SCHEDULE_CASES[name]), GaussianMixture(numbers(0.7, -0.2)[None], numbers(0.5))
    x0 = law.sample(100, 1)
    alpha, sigma = process.coordinates(1.0, x0)
    expected = alpha * law.means + (alpha**2 * law.variances + sigma**2).sqrt() * (x0 - law.means) / 0.5
    assert close(encode(law.denoiser(process), x0, 50), expected, atol=1e-3 * float(sigma))


def test_only_gaussian_processes_have_a_way_up():
    tokens = sf.exact.Tokens(numbers(0.5, 0.5)).denoiser(sf.Discrete.masked(2))
    with pytest.raises(sf.UserError, match="no path from an item to its noise"):
        encode(tokens, torch.zeros(1, 1, dtype=torch.int64), 10)
    with pytest.raises(sf.UserError, match="at least 2 evaluations, not 1"):
        encode(ONE.denoiser(FLOW), X, 1)


def test_between_two_noises_lies_noise():
    a, b = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0)).double()
    shares = torch.linspace(0, 1, 5, dtype=F64)
    between = spherical(a, b, shares)
    assert close(between[0], a, atol=1e-6)
    assert close(between[-1], b, atol=1e-6)
    assert all(abs(float(each.std()) - 1) < 0.03 for each in between)  # the middle of the chord has 0.707
    steps = [float(torch.nn.functional.cosine_similarity(x.flatten(), y.flatten(), 0)) for x, y in pairwise(between)]
    assert max(steps) - min(steps) < 0.01
    assert close(spherical(a, a, shares), a.expand(5, *a.shape), atol=1e-6)


# From law to law


@pytest.mark.parametrize("name", ["flow", "cosine", "vp", "edm"])
def test_between_gaussians_it_is_optimal_transport(name: str):
    """x -> m' + s'/s (x - m), exact but for what a schedule leaves of the means at t = 1."""
    process = sf.Gaussian(SCHEDULE_CASES[name])
    here, there = (
        GaussianMixture(numbers(0.5, -1.0)[None], numbers(0.3, 0.8)[None]),
        GaussianMixture(numbers(2.0, 0.5)[None], numbers(0.6, 0.2)[None]),
    )
    x0 = here.sample(200, 1)
    mapped = carry(here.denoiser(process), there.denoiser(process), x0, 60)
    expected = there.means + (there.variances / here.variances).sqrt() * (x0 - here.means)
    alpha, sigma = (float(each) for each in process.coordinates(1.0, numbers(0.0)))
    assert close(mapped, expected, atol=1e-3 + 1.5 * alpha / sigma)
    assert not close(x0, expected, atol=0.5)


def test_schedules_of_both_may_differ():
    here, there = GaussianMixture(numbers(0.1)[None], numbers(0.3)), GaussianMixture(numbers(0.2)[None], numbers(0.9))
    x0 = here.sample(200, 1)
    denoisers = here.denoiser(sf.Gaussian(sf.schedules.EDM())), there.denoiser(FLOW)
    assert close(carry(*denoisers, x0, 60), 0.2 + 3 * (x0 - 0.1), atol=1e-3 + 0.3 / 80)


def test_from_class_to_class_of_one_model_and_back():
    """Each class is a Gaussian; the map of one to the other is affine, and its inverse takes it back."""
    law = GaussianMixture(torch.tensor([[-1.0, 0.0], [1.0, 0.5]], dtype=F64), numbers(0.3, 0.6))
    denoiser, x0 = law.denoiser(FLOW), law.component(0).sample(100, 1)
    first, second = ({"component": torch.full((100,), k)} for k in (0, 1))
    there = carry(denoiser, denoiser, x0, 80, first, second)
    assert close(there, law.means[1] + 2 * (x0 - law.means[0]), atol=1e-3)
    assert close(carry(denoiser, denoiser, there, 80, second, first), x0, atol=1e-3)
    tokens = sf.exact.Tokens(numbers(0.5, 0.5)).denoiser(sf.Discrete.masked(2))
    with pytest.raises(sf.UserError, match="shares no noise"):
        carry(denoiser, tokens, x0, 20)
