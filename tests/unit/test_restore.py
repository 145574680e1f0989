"""Restoring: against posteriors in closed form, at any size, from files, and every mistake in asking for it."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

import suffuse as sf
from suffuse.cli import run
from suffuse.codecs.image import ImageCodec
from suffuse.codecs.series import Channel, SeriesCodec
from suffuse.codecs.spelling import Letters
from suffuse.codecs.text import TextCodec
from suffuse.guidance import tiled
from suffuse.model import Model, Origin
from suffuse.outputs import labelled
from suffuse.parameterizations import Direct
from suffuse.pictures import made_by
from suffuse.recipes.recipe import DataSection, NetworkSection, Recipe, SamplingSection

STD, MEAN = 0.3, 0.2
"""Of every pixel."""


class Pixels(nn.Module):
    """The exact denoiser of independent Gaussian pixels."""

    def __init__(self, process: sf.Gaussian) -> None:
        super().__init__()
        self.process, self.mean, self.batches = process, nn.Parameter(torch.tensor(MEAN)), []

    def forward(self, x_t: Tensor, t: Tensor, condition: Any) -> Tensor:
        self.batches.append(len(x_t))
        alpha, sigma = self.process.coordinates(t, x_t)
        gain = alpha * STD**2 / (alpha**2 * STD**2 + sigma**2)
        return self.mean + gain * (x_t - alpha * self.mean)


def exact(size: int = 8, channels: int = 1) -> Model:
    process = sf.Gaussian(sf.schedules.Flow())
    denoiser = sf.Denoiser(Pixels(process), process, Direct(STD), (channels, size, size))
    return Model(ImageCodec(size, channels), {}, None, Origin("exact"), denoiser, SamplingSection(sampling_steps=30))


def small() -> Model:
    """An untrained network that sees its neighbours."""
    torch.manual_seed(0)
    recipe = Recipe(
        data=DataSection(size=8, channels=1),
        network=NetworkSection(width=16, multipliers=(1, 2), blocks=1),
        sampling=SamplingSection(sampling_steps=3),
    )
    return Model(ImageCodec(8, 1), {}, recipe, Origin("small"))


def picture(width: int = 8, height: int = 8, channels: int = 1, seed: int = 0) -> Image.Image:
    levels = np.random.default_rng(seed).normal(127.5 * (1 + MEAN), STD * 127.5, (height, width, channels))
    return Image.fromarray(levels.clip(0, 255).round().astype(np.uint8).squeeze())


def state(image: Image.Image) -> Tensor:
    levels = torch.from_numpy(np.array(image, dtype=np.float32))
    return (levels if levels.ndim == 3 else levels[..., None]).movedim(-1, 0)[None] / 127.5 - 1


def posterior(
    operator: sf.operators.Operator, y: Tensor, noise: float, shape: tuple[int, ...]
) -> tuple[Tensor, Tensor]:
    """Mean and deviation of every pixel given y, from the matrix of the operator, in float64."""
    basis = torch.eye(int(np.prod(shape)), dtype=torch.float64).reshape(-1, *shape)
    a = operator(basis).flatten(1).T
    cov = STD**2 * torch.eye(a.shape[1], dtype=torch.float64)
    gain = cov @ a.T @ torch.linalg.pinv(a @ cov @ a.T + noise**2 * torch.eye(len(a), dtype=torch.float64))
    mean = MEAN + gain @ (y.double().flatten() - a @ torch.full((a.shape[1],), MEAN, dtype=torch.float64))
    deviation = (cov - gain @ a @ cov).diagonal().clamp(min=0).sqrt()
    return mean.reshape(shape), deviation.reshape(shape)


@pytest.fixture(scope="module")
def half_white(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A mask that keeps the left half."""
    mask = Image.new("L", (8, 8))
    mask.paste(255, (0, 0, 4, 8))
    path = tmp_path_factory.mktemp("masks") / "mask.png"
    mask.save(path)
    return path


# The posterior


@pytest.mark.parametrize("name", ["inpaint", "random:0.5", "box:0.5", "denoise:0.2", "super-resolve:4", "deblur:1"])
def test_draws_have_the_mean_and_the_deviation_of_the_posterior(name: str, half_white: Path):
    """n = 1,000 draws of 64 pixels: means within 4.5 standard errors and what 60 steps leave, deviations within 8%."""
    name = f"inpaint:{half_white}" if name == "inpaint" else name
    model, x = exact(), state(picture(seed=3))
    operator, told = sf.operators.parse(name, (1, 8, 8))
    noise = told or 0.1
    y = operator(x) + noise * torch.randn(operator(x).shape, generator=torch.Generator().manual_seed(0))
    restored = model.restore(y, name, noise, 1000, steps=60)
    mean, deviation = posterior(operator, y, noise, (1, 8, 8))
    assert restored.noise == noise
    off = (restored.state.double().mean(0) - mean).abs()
    assert bool((off <= 4.5 * deviation / 1000**0.5 + 0.01).all()), float(off.max())
    assert bool(((restored.deviation - deviation).abs() <= 0.08 * deviation + 0.005).all())
    far = (mean - MEAN).abs().max()  # the fault that is planted: no measurement
    assert float(far) > 0.07


def test_no_noise_is_kept_to_the_last_digits():
    model, x = exact(), state(picture(seed=4))
    seen = sf.operators.Mask(torch.arange(64).reshape(1, 8, 8) % 3 == 0)
    restored = model.restore(x, seen, 0.0, 4)
    assert float((restored.state - x)[:, seen.mask].abs().max()) < 1e-3
    assert float(restored.consistency.max()) < 1e-3
    assert set(np.array(restored.measured)[~seen.mask[0].numpy()].tolist()) == {128}  # what is hidden is not shown
    assert float(restored.deviation[~seen.mask].min()) > 0.02
    assert [np.array(draw)[seen.mask[0].numpy()].tolist() for draw in restored.draws] == [
        np.array(picture(seed=4))[seen.mask[0].numpy()].tolist()
    ] * 4


@pytest.mark.parametrize("seen", [False, True])
def test_all_and_nothing_may_be_hidden(seen: bool):
    """Nothing seen is the prior, of 16,000 pixels; all seen is the picture."""
    model, x = exact(), state(picture(seed=5))
    restored = model.restore(x, sf.operators.Mask(torch.full((1, 8, 8), seen)), 0.0, 250)
    if seen:
        assert float((restored.state - x).abs().max()) < 1e-3
        return
    assert abs(float(restored.state.mean()) - MEAN) < 4 * STD / 16000**0.5
    assert abs(float(restored.state.std()) - STD) < 0.02 * STD + 0.005
    assert restored.consistency.tolist() == [0.0] * 250


def test_consistency_is_in_deviations_of_the_noise():
    """The truth is off by 1; draws of a posterior, which follow the noise, by less, and not by much."""
    model, x = exact(16), state(picture(16, 16, seed=6))
    y = x + 0.2 * torch.randn(x.shape, generator=torch.Generator().manual_seed(0))
    restored = model.restore(y, "denoise:0.2", draws=200)
    mean, deviation = posterior(sf.operators.Identity(), y, 0.2, (1, 16, 16))
    expected = ((y - mean).square().mean() + deviation.square().mean()).sqrt() / 0.2
    assert float(restored.consistency.square().mean().sqrt()) == pytest.approx(float(expected), rel=0.01)


# What comes out


def test_a_draw_is_a_function_of_its_measurement_and_seed():
    model, y = small(), picture(seed=1)
    several = model.restore(y, "random:0.5", draws=3, seed=5)
    alone = model.restore(y, "random:0.5", draws=1, seed=6)
    assert torch.allclose(several.state[1], alone.state[0], atol=1e-4)
    assert len({draw.tobytes() for draw in several.draws}) == 3
    told = made_by(several.draws[1])
    assert (told["seed"], told["operator"], told["model"]) == (6, "random:0.5", "small")
    assert several.evaluations == 9  # three steps of one pass forth and two back


def test_the_map_is_the_deviation_over_its_largest():
    restored = exact(8, 3).restore(picture(8, 8, 3), "box:0.5", draws=50)
    levels = state(restored.std)[0, 0] * 127.5 + 127.5
    expected = restored.state.std(0).square().mean(0).sqrt()
    assert restored.scale == pytest.approx(float(expected.max()))
    assert float((levels - 255 * expected / expected.max()).abs().max()) <= 0.5 + 1e-3
    assert float(levels[2:6, 2:6].mean()) > 10 * float(levels[:2].mean())  # what is hidden is unsure
    single = exact().restore(picture(), "box:0.5", draws=1)
    assert np.array(single.std).max() == 0
    assert single.scale == 0
    mean = state(restored.mean) - restored.state.mean(0).clamp(-1, 1)
    assert float(mean.abs().max()) <= 1 / 255 + 1e-6


def test_a_picture_is_read_as_the_measurement_that_it_is():
    """Small for super-resolution, grey of grey or colour for colourising, full-size for the rest."""
    model, x = exact(8, 3), picture(8, 8, 3)
    little = model.restore(x.resize((2, 2)), "super-resolve:4", draws=20)
    assert little.measured.size == (2, 2)
    assert little.draws[0].size == (8, 8)
    assert float(little.consistency.max()) < 2
    from_grey, from_colour = (model.restore(y, "colourise", draws=2) for y in (x.convert("L"), x))
    assert torch.equal(from_grey.state, from_colour.state)
    assert from_grey.measured.mode == "L"
    assert from_grey.noise == pytest.approx(2 / 255 / 12**0.5)


def test_series_are_restored_too():
    """Of independent numbers those that are seen are known, whether they come as a tensor or as an item."""
    process = sf.Gaussian(sf.schedules.Flow())
    denoiser = sf.Denoiser(Pixels(process), process, Direct(STD), (1, 32))
    codec = SeriesCodec([Channel("x", False, False, 0.0, 1.0, 1.0, -9.0, 9.0)], 32, "t")
    model = Model(codec, {}, None, Origin("series"), denoiser, SamplingSection(sampling_steps=30))
    values = np.random.default_rng(0).normal(MEAN, STD, 32)
    window = pd.DataFrame({"t": np.arange(32.0), "x": values})
    seen = sf.operators.Mask(torch.arange(32) % 2 == 0)
    restored = model.restore(codec.encode([window]), seen, 0.0, 300)
    assert restored.std is None
    assert float(restored.deviation[:, ::2].max()) < 1e-3
    assert float(restored.deviation[:, 1::2].square().mean().sqrt()) == pytest.approx(STD, rel=0.05)
    assert np.abs(restored.draws[7]["x"].to_numpy()[::2] - values[::2]).max() < 1e-3
    assert torch.equal(model.restore(window, seen, 0.0, 300).state, restored.state)
    with pytest.raises(sf.UserError, match=r"what Downsample measures is no series item; give it as a tensor of shape"):
        model.restore(window, sf.operators.Downsample(2), 0.0)


# Sizes


def test_larger_pictures_keep_their_size_and_memory_is_bounded():
    """120 x 90 pixels in windows of 8: at most 64 at a time, also where gradients are taken."""
    model = exact()
    large = picture(120, 90)
    restored = model.restore(large, "random:0.5", draws=1, steps=2)
    assert restored.draws[0].size == (120, 90)
    assert max(model.denoiser.network.batches) == 64
    assert model.restore(picture(5, 3), "super-resolve:4", draws=1, steps=2).draws[0].size == (20, 12)


def test_pixels_of_larger_pictures_have_the_posterior_too():
    """Independent pixels are so in windows: 2,400 of them, seen or not."""
    model, x = exact(32), state(picture(60, 40))
    restored = model.restore(x, "random:0.5", 0.1, 20, steps=40)
    seen = sf.operators.parse("random:0.5", (1, 40, 60))[0].mask
    gain = STD**2 / (STD**2 + 0.1**2)
    error = restored.state.mean(0) - (MEAN + gain * (x[0] - MEAN))
    assert float(error[seen].square().mean().sqrt()) < 1.2 * (gain * 0.1**2 / 20) ** 0.5 + 0.003
    assert float(restored.deviation[~seen].square().mean().sqrt()) == pytest.approx(STD, rel=0.03)


def test_windows_give_the_same_gradients_whether_they_are_kept_or_not(monkeypatch: pytest.MonkeyPatch):
    model = small()
    for parameter in model.denoiser.parameters():
        nn.init.normal_(parameter, std=0.1)
    y = picture(13, 10)
    again = model.restore(y, "random:0.5", draws=2, steps=2).state
    monkeypatch.setattr(tiled, "checkpoint", lambda ask, tiles, use_reentrant: ask(tiles))
    assert torch.allclose(again, model.restore(y, "random:0.5", draws=2, steps=2).state, atol=1e-5)


# Mistakes


def test_what_cannot_be_restored_is_refused_in_a_sentence(half_white: Path, tmp_path: Path):
    model, x, bad = exact(), state(picture()), tmp_path / "bad.png"
    bad.write_bytes(b"not a picture")
    for y, operator, options, message in (
        (picture(), f"inpaint:{bad}", {}, "cannot be read as a picture; give one in which white is kept"),
        (picture(12, 12), f"inpaint:{half_white}", {}, "is 8 x 8, and the pictures are 12 x 12; resize it"),
        (x, sf.operators.Mask(torch.ones(1, 5, 5)), {}, r"the mask is of shape \(1, 5, 5\), and does not fit"),
        (picture(), "colourise", {}, "3 channels, and these states have 1"),
        (picture(), "sharpen:2", {}, "there is no operator 'sharpen'; there are inpaint:MASK.png"),
        (picture(), "deblur:much", {}, "'deblur:much' is not understood; write it like deblur:2"),
        (picture(), "denoise", {}, "know how much there is: denoise:0.2"),
        (picture(), "deblur:2", {"noise": -0.1}, r"in \[0, inf\), got -0.1"),
        (picture(), "deblur:2", {"noise": float("nan")}, "got nan"),
        (x * 127.5, "deblur:2", {}, r"lies in \[.*\], and of items that lie in \[-1, 1\] .*; scale it"),
        (x * float("nan"), "deblur:2", {}, "not finite"),
        (x[0], "deblur:2", {}, r"is of shape \(8, 8\), and what Blur measures .* is of shape \(1, 8\)"),
        (x.repeat(2, 1, 1, 1), "deblur:2", {}, "one item is restored at a time"),
        (picture(6, 8), "deblur:2", {}, "draws items of 8x8 and larger, and 8x6 is smaller"),
        (picture(1, 2), "super-resolve:4", {}, "draws items of 8x8 and larger, and 8x4 is smaller"),
        (picture(), "sparse-angle:8", {}, r"what Radon measures is no image item; give it as a tensor of shape"),
        ("cat.png", "deblur:2", {}, "a picture or a tensor, not a str"),
        (picture(), "deblur:2", {"draws": 0}, "draws must be at least 1, not 0"),
        (picture(), "deblur:2", {"steps": 0}, "steps must be at least 1, not 0"),
        (picture(), "deblur:2", {"condition": "cat"}, "it was trained without conditions"),
        (picture(), "deblur:2", {"method": "magic"}, "there is no method 'magic'; there are default, moments"),
    ):
        with pytest.raises(sf.UserError, match=message) as refused:
            model.restore(y, operator, **options)
        assert "\n" not in str(refused.value)


def test_tokens_are_referred_to_infill():
    recipe = Recipe(data=DataSection(kind="text"), network=NetworkSection(width=32, depth=1))
    model = Model(TextCodec(Letters(), 16), {}, recipe, Origin("texts"))
    with pytest.raises(sf.UserError, match="not one Gaussian tensor: ask it to infill"):
        model.restore("abc", "random:0.5")


# The command line


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run") / "model"
    small().save(folder)
    return folder


def test_pictures_are_restored_from_files(
    run_folder: Path, half_white: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    folder = tmp_path / "pictures"
    folder.mkdir()
    picture().save(folder / "a.png")
    picture(12, 9, seed=1).save(folder / "b.png")
    one = ["restore", str(run_folder), str(folder / "a.png"), "--operator", f"inpaint:{half_white}", "--noise", "0"]
    assert run([*one, "--draws", "3", "--steps", "4", "--seed", "7", "--out", str(tmp_path / "one")]) == 0
    assert capsys.readouterr().out.strip().endswith("one/side-by-side.png")
    drawn = {"draw-1.png", "draw-2.png", "draw-3.png", "mean.png", "uncertainty.png"}
    assert {path.name for path in (tmp_path / "one").iterdir()} == {*drawn, "side-by-side.png", "restored.json"}
    told = json.loads((tmp_path / "one/restored.json").read_text())
    assert (told["operator"], told["noise"], told["evaluations"]) == (f"inpaint:{half_white}", 0.0, 12)
    assert len(told["consistency"]) == 3
    with Image.open(tmp_path / "one/draw-2.png") as draw:
        assert made_by(draw)["seed"] == 8
        assert np.array_equal(np.array(draw)[:, :4], np.array(picture())[:, :4])
    with Image.open(tmp_path / "one/uncertainty.png") as sure:
        assert np.array(sure)[:, :4].max() == 0
        assert np.array(sure)[:, 4:].max() == 255
    assert run(["restore", str(run_folder), str(folder), "--operator", "deblur:1", "--draws", "2"]) == 0
    with Image.open(run_folder / "restored/b.png/mean.png") as mean:
        assert mean.size == (12, 9)
    assert (run_folder / "restored/a.png/side-by-side.png").is_file()


def test_series_are_restored_from_files(tmp_path: Path):
    """Half of the steps of each window, which all draws keep; the rest is drawn by a network that learned nothing."""
    values = np.random.default_rng(0).normal(MEAN, STD, 32)
    pd.DataFrame({"t": np.arange(32.0), "x": values}).to_csv(tmp_path / "x.csv", index=False)
    recipe = Recipe(data=DataSection(kind="series", length=16), network=NetworkSection(width=16, depth=1, patch=1))
    codec = SeriesCodec([Channel("x", False, False, 0.0, 1.0, 1.0, -9.0, 9.0)], 16, "t")
    Model(codec, {}, recipe, Origin("series")).save(tmp_path / "run")
    assert run(["restore", str(tmp_path / "run"), str(tmp_path / "x.csv"), "--operator", "random:0.5", "--noise", "0",
                "--draws", "2", "--steps", "3", "--out", str(tmp_path / "out")]) == 0  # fmt: skip
    windows = sorted((tmp_path / "out").iterdir())
    assert len(windows) == 2
    for start, window in zip((0, 16), windows, strict=True):
        expected = {"draw-1.csv", "draw-2.csv", "mean.csv", "measured.csv", "side-by-side.png", "restored.json"}
        assert {path.name for path in window.iterdir()} == expected
        draws = [pd.read_csv(window / f"draw-{number}.csv") for number in (1, 2)]
        assert draws[0]["t"].tolist() == list(range(start, start + 16))
        seen = sf.operators.parse("random:0.5", (1, 16))[0].mask[0].numpy()
        for draw in draws:
            assert np.abs(draw["x"].to_numpy() - values[start : start + 16])[seen].max() < 1e-3
        assert np.abs(draws[0]["x"] - draws[1]["x"])[~seen].max() > 0.01


def test_mistakes_on_the_command_line(run_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    good, bad = tmp_path / "good.png", tmp_path / "bad.png"
    picture().save(good)
    bad.write_bytes(b"not a picture")
    for source, operator, message in (
        (bad, "deblur:2", "bad.png, for one: not a picture"),
        (tmp_path / "none.png", "deblur:2", "there is no .*none.png"),
        (good, f"inpaint:{bad}", "cannot be read as a picture"),
        (good, "blur", "there is no operator 'blur'"),
    ):
        assert run(["restore", str(run_folder), str(source), "--operator", operator]) == 2
        said = capsys.readouterr().err.strip().splitlines()[-1]
        assert re.search(message, said), said


def test_side_by_side_small_pictures_are_magnified_and_large_ones_shrunk():
    large = labelled({"a": Image.new("L", (1000, 500)), "b": Image.new("RGBA", (8, 8))}, columns=1)
    assert large.size == (256 + 8, 2 * (128 + 14 + 4) + 4)
