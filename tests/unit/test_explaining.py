"""What is shown of how a model works, against laws whose walks, errors, densities and covariances are known."""

import math
from itertools import pairwise
from typing import Literal

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

import suffuse as sf
from suffuse.codecs.cells import NumberCells
from suffuse.codecs.image import ImageCodec
from suffuse.codecs.table import Field, TableCodec
from suffuse.errors import UserError
from suffuse.explaining import attends, attention, densities, errors, gradient, has_plane, walk
from suffuse.model import Model, Origin
from suffuse.networks.layers import Attention, looks
from suffuse.parameterizations import Direct
from suffuse.posteriors import Normal
from suffuse.recipes.recipe import DataSection, NetworkSection, Recipe, SamplingSection

_SIDE = 4


class _Known(torch.nn.Module):
    """A denoiser in closed form has no weights, and a model asks them where they are."""

    def __init__(self, function):
        super().__init__()
        self.function, self.nothing = function, torch.nn.Parameter(torch.zeros(1))

    def forward(self, *asked):
        return self.function(*asked)


def _model(codec, denoiser: sf.Denoiser, steps: int = 20) -> Model:
    known = sf.Denoiser(_Known(denoiser.network), denoiser.process, denoiser.parameterization, denoiser.shape)
    return Model(codec, {}, None, Origin("known"), known, SamplingSection(sampling_steps=steps, guidance=1.0))


def _pictures(law: sf.exact.Correlated) -> Model:
    process = sf.Gaussian(sf.schedules.Flow())
    flat = law.denoiser(process)

    def posterior(x_t: Tensor, t, condition):
        return Normal(flat(x_t.flatten(1), t).mean.reshape(x_t.shape))

    denoiser = sf.Denoiser.from_function(process, posterior, 0.3, (1, _SIDE, _SIDE))
    return _model(ImageCodec(_SIDE, 1), denoiser)


def _smooth() -> sf.exact.Correlated:
    """Pictures whose places belong together the more, the nearer they are."""
    places = torch.cartesian_prod(torch.arange(_SIDE), torch.arange(_SIDE)).double()
    covariance = 0.09 * torch.exp(-(torch.cdist(places, places) ** 2) / 4) + 1e-4 * torch.eye(_SIDE**2)
    return sf.exact.Correlated(torch.zeros(1, _SIDE**2).double(), covariance[None].double())


def test_a_walk_begins_with_noise_and_ends_with_the_sample():
    model = _pictures(_smooth())
    moments = walk(model, 2, 8, seed=3)
    times = [moment.t for moment in moments]
    assert times[0] == 1
    assert len(times) == 8
    assert all(later < earlier for earlier, later in pairwise(times))
    (first, *_, last) = moments
    assert isinstance(first.x_t, Tensor)
    prior = model.start({}, [3, 4])[0]
    torch.testing.assert_close(first.x_t, prior)
    drawn = model.generate(2, seed=3)
    seen = model.codec.decode(last.posterior.mean)
    before = model.codec.decode(first.posterior.mean)

    def apart(pictures) -> float:
        return float(np.mean([np.abs(np.asarray(a, float) - np.asarray(b, float)).mean()
                              for a, b in zip(pictures, drawn, strict=True)]))  # fmt: skip

    assert apart(seen) < 4 < apart(before)


def test_errors_are_those_of_the_closed_form():
    r"""Of N(0, s^2) data, -log q(x_0 | x_t) is on average log sqrt(2 pi e v), v the variance of the posterior."""
    std, process = 0.3, sf.Gaussian(sf.schedules.Flow())
    law = sf.exact.GaussianMixture(torch.zeros(1, 1, 8, 8), torch.full((1,), std))
    model = _model(ImageCodec(8, 1), law.denoiser(process))
    pictures = model.codec.decode(law.sample(500, rng=0))
    for level in errors(model, pictures, times=5):
        assert level.t is not None
        v = 1 / (1 / std**2 + (1 - level.t) ** 2 / level.t**2)
        # The posterior of a mixture has one log-density for all 64 elements of an item. Of 32,000 three deviations of
        # the mean of a chi square are 0.012.
        assert level.loss is not None
        assert level.loss / 64 == pytest.approx(math.log(2 * math.pi * math.e * v) / 2, abs=0.02)


def test_the_density_of_two_numbers_is_the_noised_law():
    rng = np.random.default_rng(0)
    numbers = rng.normal(size=(2, 4000))
    codec = TableCodec(
        [Field(name, NumberCells.fit(list(column)), False) for name, column in zip("ab", numbers, strict=True)]
    )
    law = sf.exact.Independent(
        {"numbers": sf.exact.GaussianMixture(torch.tensor([[0.8, 0.0]]), torch.tensor([[0.5, 0.9]]))}
    )
    process = sf.Product({"numbers": sf.Gaussian(sf.schedules.Flow())})
    model = _model(codec, law.denoiser(process), 30)
    assert has_plane(model)
    for density in densities(model, [1.0, 0.5, 0.0]):
        cell = float(density.axis[1] - density.axis[0]) ** 2
        weights = density.values * cell
        assert float(weights.sum()) == pytest.approx(1, abs=0.03)
        a, s = 1 - density.t, density.t
        across, down = weights.sum(0), weights.sum(1)
        for along, mean, std in ((across, 0.8, 0.5), (down, 0.0, 0.9)):
            found = float((along * density.axis).sum())
            spread = float((along * (density.axis - found) ** 2).sum())
            assert found == pytest.approx(a * mean, abs=0.1)
            assert spread == pytest.approx(a**2 * std**2 + s**2, rel=0.15)


def test_what_belongs_together_is_the_covariance_given_the_noisy_picture():
    law, t = _smooth(), 0.5
    model = _pictures(law)
    item = model.codec.decode(law.sample(1, rng=0).reshape(1, 1, _SIDE, _SIDE))[0]
    found = gradient(model, item, t, (0.3, 0.6))
    alpha, sigma = 1 - t, t
    covariance = torch.linalg.inv(torch.linalg.inv(law.covariances[0]) + alpha**2 / sigma**2 * torch.eye(_SIDE**2))
    expected = alpha / sigma**2 * covariance[1 * _SIDE + 2].abs().reshape(_SIDE, _SIDE)
    torch.testing.assert_close(found.double(), expected, rtol=1e-4, atol=1e-5)


def test_what_there_is_nothing_to_show_of_is_refused_in_a_sentence():
    model = _pictures(_smooth())
    assert not has_plane(model)
    with pytest.raises(sf.UserError, match="no model of two numbers"):
        next(densities(model, [0.5]))


class _Halves(torch.nn.Module):
    """A network whose one layer of attention looks from each pixel at those that are as bright."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = Attention(2, 1)
        with torch.no_grad():
            self.layer.qkv.weight.copy_(torch.eye(2).repeat(3, 1) * torch.tensor([[30.0]] * 4 + [[1.0]] * 2))

    def forward(self, x: Tensor, level: Tensor, condition: object) -> Tensor:
        bright = x.flatten(1).sign()
        tokens = torch.stack([bright, torch.zeros_like(bright)], -1)
        return self.layer(tokens)[..., 0].reshape(x.shape)


def test_attention_is_shown_where_it_goes():
    denoiser = sf.Denoiser(_Halves(), sf.Gaussian(sf.schedules.Flow()), Direct(0.5), (1, 4, 6))
    model = Model(ImageCodec((4, 6), 1), {}, None, Origin("halves"), denoiser, SamplingSection(sampling_steps=2))
    picture = np.zeros((4, 6), np.uint8)
    picture[:, 3:] = 255
    assert attends(model)
    for left, own in ((0.1, slice(0, 3)), (0.9, slice(3, 6))):
        seen = attention(model, Image.fromarray(picture), 1e-3, (0.5, left))
        assert seen.shape == (4, 6)
        torch.testing.assert_close(seen.sum(), torch.tensor(1.0))
        torch.testing.assert_close(seen[:, own], torch.full((4, 3), 1 / 12))


@pytest.mark.parametrize(
    ("network", "size"), [("unet", (16, 16)), ("unet", (8, 24)), ("transformer", (16, 16)), ("transformer", (10, 30))]
)
def test_each_network_of_pictures_shows_its_attention(network: Literal["unet", "transformer"], size: tuple[int, int]):
    recipe = Recipe(
        data=DataSection(kind="image", size=max(size), channels=1),
        network=NetworkSection(network=network, width=16, multipliers=(1, 2), blocks=1, depth=2, patch=4),
    )
    model = Model(ImageCodec(size, 1), {}, recipe, Origin("pictures"))
    seen = attention(model, Image.new("L", size[::-1], 80), 0.5, (0.3, 0.6))
    assert seen.shape == size
    assert (seen >= 0).all()
    assert seen.std() > 0


@pytest.mark.parametrize("told", [False, True])
def test_what_is_shown_of_attention_is_what_it_weighs_by(told: bool):
    torch.manual_seed(0)
    layer = Attention(16, 4, 6 if told else 0).double()
    x, context = torch.randn(2, 9, 16).double(), torch.randn(2, 5, 6).double() if told else None
    mask = torch.rand(2, 5) < 0.6 if told else None
    values = layer.qkv(x)[..., 32:].unflatten(-1, (4, 4))
    if layer.context is not None:
        values = torch.cat([values, layer.context(context)[..., 16:].unflatten(-1, (4, 4))], 1)
    query, key, value, seen = layer.projected(x, context, mask)
    torch.testing.assert_close(value, values.transpose(1, 2))
    weighed = looks(query, key, seen) @ value
    torch.testing.assert_close(layer.out(weighed.transpose(1, 2).flatten(2)), layer(x, context, mask))


def test_without_attention_none_is_shown():
    model = _pictures(_smooth())
    assert not attends(model)
    with pytest.raises(UserError, match="no attention to show"):
        attention(model, Image.new("L", (_SIDE, _SIDE)), 0.5, (0.5, 0.5))
