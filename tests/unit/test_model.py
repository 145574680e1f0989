"""What a user holds: saving, loading, damage, seeds, conditions, and pictures that say how they were made."""

import json
import math
import re
import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image

import suffuse as sf
from suffuse.codecs.conditions import CaptionCodec, ClassCodec
from suffuse.codecs.image import ImageCodec
from suffuse.model import Model, Origin
from suffuse.pictures import made_by, save_samples, sheet
from suffuse.recipes.recipe import DataSection, NetworkSection, ProcessSection, Recipe, SamplingSection


def small(conditions=None, **sampling) -> Model:
    torch.manual_seed(0)
    conditions = conditions or {"label": ClassCodec(["cat", "dog", "10"])}
    recipe = Recipe(
        data=DataSection(size=8, channels=3, condition=tuple(conditions)),
        network=NetworkSection(width=16, multipliers=(1, 2), blocks=1),
        sampling=SamplingSection(sampling_steps=3, **sampling),
    )
    model = Model(ImageCodec(8, 3), conditions, recipe, Origin("small", "nothing"))
    for parameter in model.denoiser.parameters():  # the zero-initialised layers would hide the condition
        torch.nn.init.normal_(parameter, std=0.2)
    return model


@pytest.fixture(scope="module")
def model():
    return small()


@pytest.fixture
def saved(model, tmp_path):
    model.save(tmp_path / "model")
    return tmp_path / "model"


def pixels(images):
    return [image.tobytes() for image in images]


def test_a_loaded_model_draws_the_same_to_the_bit(model, saved):
    again = sf.load(saved)
    assert pixels(again.generate(3, condition="cat", seed=5)) == pixels(model.generate(3, condition="cat", seed=5))
    assert again.describe() == model.describe()
    for sampler, make in sf.samplers.SAMPLERS.items():
        if issubclass(sf.Gaussian, make().process) and sampler != "adaptive":
            ours, theirs = (m.generate(2, condition="dog", sampler=sampler, steps=12) for m in (model, again))
            assert pixels(ours) == pixels(theirs), sampler


def test_a_tuned_solver_is_kept_and_taken_for_its_steps(model, tmp_path):
    model = small()
    model.save(tmp_path / "model")
    command = [sys.executable, "-m", "suffuse", "tune", str(tmp_path / "model"), "--evaluations", "3"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    untuned, tuned = map(float, re.findall(r"tuned ([\d.]+)", done.stdout))
    assert tuned < untuned
    again = sf.load(tmp_path / "model")
    assert "tuned       3 steps, guidance 1" in again.describe()
    assert made_by(again.generate(1, steps=3)[0])["sampler"] == "Tuned"
    assert made_by(again.generate(1, steps=4)[0])["sampler"] == "Adams"
    assert made_by(again.generate(1, steps=3, guidance=2.0)[0])["sampler"] == "Adams"
    again.save(tmp_path / "copy")
    assert pixels(sf.load(tmp_path / "copy").generate(2, steps=3)) == pixels(again.generate(2, steps=3))
    (tmp_path / "model" / "solvers.json").write_text("{")
    with pytest.raises(sf.UserError, match="tune again"):
        sf.load(tmp_path / "model")


def test_no_more_evaluations_than_asked_for(model):
    calls = []
    handle = model.denoiser.register_forward_hook(lambda *call: calls.append(1))
    try:
        for sampler, spent in ((None, 8), ("heun", 8), ("dpm3", 6), ("unipc3", 8)):
            calls.clear()
            model.generate(1, steps=8, sampler=sampler)
            assert len(calls) == spent, sampler
    finally:
        handle.remove()


def test_the_folder_has_no_pickle_and_a_card(saved):
    assert {file.name for file in saved.iterdir()} == {"config.json", "model.safetensors", "README.md", "manifest.json"}
    assert "library_name: suffuse" in (saved / "README.md").read_text()


@pytest.mark.parametrize("file", ["model.safetensors", "config.json"])
@pytest.mark.parametrize("damage", ["truncated", "flipped", "missing"])
def test_a_damaged_file_is_refused_in_one_sentence(saved, file, damage):
    content = bytearray((saved / file).read_bytes())
    if damage == "flipped":
        content[len(content) // 2] ^= 1
    (saved / file).write_bytes(content[: len(content) // 2] if damage == "truncated" else bytes(content))
    if damage == "missing":
        (saved / file).unlink()
    with pytest.raises(sf.UserError, match=r"damaged|missing|no trained model") as refused:
        sf.load(saved)
    assert "\n" not in str(refused.value)


def test_a_foreign_folder_and_another_version_are_refused(saved, tmp_path):
    from suffuse.files import seal

    with pytest.raises(sf.UserError, match="no folder"):
        sf.load(tmp_path / "nowhere")
    (tmp_path / "other").mkdir()
    with pytest.raises(sf.UserError, match="no trained model"):
        sf.load(tmp_path / "other")
    config = json.loads((saved / "config.json").read_text())
    (saved / "config.json").write_text(json.dumps(config | {"suffuse": 99}))
    (saved / "manifest.json").unlink()
    seal(saved)
    with pytest.raises(sf.UserError, match="format 99"):
        sf.load(saved)


def test_weights_of_another_network_are_refused(saved):
    from safetensors.torch import load_file, save_file

    from suffuse.files import seal

    weights = load_file(saved / "model.safetensors")
    weights.pop(next(iter(weights)))
    save_file(weights, saved / "model.safetensors")
    (saved / "manifest.json").unlink()
    seal(saved)
    with pytest.raises(sf.UserError, match="does not hold the weights of the network"):
        sf.load(saved)


def test_saving_over_a_model_replaces_it_whole(model, saved):
    before = sf.load(saved).generate(1, condition="cat")
    model.save(saved)
    assert pixels(sf.load(saved).generate(1, condition="cat")) == pixels(before)
    assert [file.name for file in saved.parent.iterdir()] == ["model"]


def test_a_sample_is_a_function_of_its_seed_alone(model):
    eight = model.generate(8, condition="cat", seed=3, sampler="ddpm")
    assert pixels(model.generate(1, condition="cat", seed=7, sampler="ddpm")) == pixels(eight[4:5])
    assert len(set(pixels(eight))) == 8


def test_conditions_are_told_by_name_by_list_and_by_mapping(model):
    one = pixels(model.generate(2, condition="dog"))
    assert one == pixels(model.generate(2, condition=["dog", "dog"]))
    assert one == pixels(model.generate(2, condition={"label": "dog"}))
    assert one != pixels(model.generate(2, condition="cat"))
    assert one != pixels(model.generate(2))
    assert pixels(model.generate(2, condition=10)) == pixels(model.generate(2, condition="10"))
    assert one != pixels(model.generate(2, condition="dog", guidance=3.0))
    assert pixels(model.generate(2)) == pixels(model.generate(2, condition="dog", guidance=0.0))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"condition": "dgo"}, "did you mean 'dog'"),
        ({"condition": {"lable": "dog"}}, "no condition 'lable'"),
        ({"condition": ["dog"]}, "need 2 values"),
        ({"steps": 0}, "steps must be at least 1"),
        ({"steps": -1}, "steps must be at least 1"),
        ({"sampler": "eulr"}, "no sampler 'eulr'"),
    ],
)
def test_mistakes_are_named(model, settings, message):
    with pytest.raises(sf.UserError, match=message):
        model.generate(2, **settings)


def drawn(n, size=8, channels=3, seed=0):
    """Pictures of random numbers."""
    values = np.random.default_rng(seed).integers(0, 256, (n, size, size, channels), dtype=np.uint8)
    return [Image.fromarray(item.squeeze(-1) if channels == 1 else item) for item in values]


def test_a_score_is_a_function_of_item_seed_and_place_alone(model):
    pictures, labels = drawn(70), ["cat", "dog", None, "10", "cat"] * 14  # more than one batch
    many = model.score(pictures, condition=labels, evaluations=4, seed=3)
    assert model.score(pictures, condition=labels, evaluations=4, seed=3) == many
    for method, evaluations in (("elbo", 4), ("ode", 8)):
        few, more = (
            model.score(pictures[:k], condition=labels[:k], method=method, evaluations=evaluations, seed=3)
            for k in (2, 5)
        )
        for a, b in zip(few, more[:2], strict=True):
            assert a.nats == pytest.approx(b.nats, rel=1e-4)
    assert many[3].nats != model.score(pictures[:4], condition=labels[:4], evaluations=4, seed=4)[3].nats
    told, other, nothing = (model.score(pictures[:1], condition=c, evaluations=4)[0].nats for c in ("cat", "dog", None))
    assert len({told, other, nothing}) == 3
    assert model.score([]) == []


@pytest.mark.parametrize("method", ["elbo", "ode"])
def test_the_score_of_a_picture_is_its_probability(method):
    """Of the exact model of a normal law, in 8-bit values: the product of the probabilities of their cells.

    Spreading a value over its cell loses q^2 / 24 in units of the variance, 0.0004 nats of 4.
    """
    shape, deviation, n = (1, 4, 4), 0.08, 200
    mean = torch.linspace(-0.1, 0.1, 16).reshape(1, *shape)
    law = sf.exact.GaussianMixture(mean.double(), torch.tensor([deviation]))
    denoiser = law.denoiser(sf.Gaussian(sf.schedules.Flow()))
    denoiser.register_parameter("nothing", torch.nn.Parameter(torch.zeros(1)))  # where the model is
    codec = ImageCodec(4, 1)
    exact = Model(codec, {}, None, Origin("exact", "nothing"), denoiser, SamplingSection())
    pictures = codec.decode(law.sample(n, 0))
    x0 = codec.encode(pictures).double()
    cells = [torch.special.ndtr((x0 + half / 255 - mean) / deviation) for half in (-1, 1)]
    truth = (cells[1] - cells[0]).log().flatten(1).sum(1)
    scores = exact.score(pictures, method=method, evaluations=128)
    off = torch.tensor([score.nats for score in scores]) - truth
    assert abs(off.mean()) < 4 * off.std() / n**0.5 + 16 * 0.0004
    assert off.std() / n**0.5 < 0.1
    for score in scores:
        assert score.bits_per_dimension == pytest.approx(-score.nats / 16 / math.log(2))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"method": "odd"}, "no method 'odd'; choose one of elbo, ode"),
        ({"evaluations": 7}, "even number of evaluations"),
        ({"evaluations": 3, "method": "ode"}, "at least 4 evaluations, not 3"),
        ({"condition": "dgo"}, "did you mean 'dog'"),
        ({"condition": ["dog"]}, "need 2 values"),
    ],
)
def test_mistakes_in_scoring_are_named(model, settings, message):
    with pytest.raises(sf.UserError, match=message):
        model.score(drawn(2), **settings)


def test_a_model_trained_with_a_coupling_has_a_flow_but_no_bound(model):
    recipe = model.recipe.model_copy(update={"process": ProcessSection(coupling="assignment")})
    coupled = Model(model.codec, model.conditions, recipe, model.origin)
    with pytest.raises(sf.UserError, match="trained with a coupling"):
        coupled.score(drawn(1))
    assert math.isfinite(coupled.score(drawn(1), method="ode", evaluations=4)[0].nats)


def test_scoring_says_how_far_it_is(model):
    said = []
    model.score(drawn(3), evaluations=6, progress=lambda done, total: said.append((done, total)))
    assert said == [(done, 6) for done in range(1, 7)]
    model.score(drawn(1), evaluations=4)
    assert len(said) == 6


def test_captions_and_classes_together():
    model = small({"label": ClassCodec(["a", "b"]), "caption": CaptionCodec.fit(["big cat", "big dog", "a cat"])})
    told = {"label": "a", "caption": "big cat"}
    both = pixels(model.generate(1, condition=told))
    assert both != pixels(model.generate(1, condition={"label": "a"}))
    assert both != pixels(model.generate(1, condition=told | {"caption": "big dog"}))
    assert model.parse_condition(["label=a", "caption=big cat"]) == told
    with pytest.raises(sf.UserError, match="say which condition"):
        model.generate(1, condition="a")


def test_pictures_say_how_they_were_made(model, tmp_path):
    page = save_samples(model.generate(2, condition="cat", seed=40), tmp_path / "out")
    assert page.exists()
    with Image.open(tmp_path / "out" / "000041.png") as image:
        made, expected = made_by(image), image.tobytes()
    assert (made["seed"], made["condition"], made["model"]) == (41, {"label": "cat"}, "small")
    again = model.generate(1, condition=made["condition"], seed=made["seed"], steps=made["steps"])
    assert pixels(again) == [expected]


def test_a_sheet_shows_every_picture_where_it_belongs():
    page = sheet([Image.new("RGB", (2, 2), (i, 0, 0)) for i in range(6)], columns=3, scale=1, gap=1)
    assert page.size == (10, 7)
    assert [page.getpixel((1 + 3 * (i % 3), 1 + 3 * (i // 3)))[0] for i in range(6)] == list(range(6))
