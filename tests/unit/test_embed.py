"""Vectors of items: as good as pixels for a linear classifier, of every network, and from the command line."""

import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import suffuse as sf
from suffuse import learn
from suffuse.data.sources import ArraySource
from suffuse.features import features
from suffuse.networks import Mixed, Transformer, UNet
from suffuse.networks.base import Network
from suffuse.recipes.recipe import DataSection, NetworkSection, Recipe
from suffuse.rng import Streams
from suffuse.training.config import TrainingConfig


@pytest.fixture(scope="module")
def digits():
    pixels, labels = load_digits(return_X_y=True)
    return np.rint(pixels.reshape(-1, 8, 8) * (255 / 16)).astype(np.uint8), labels


@pytest.fixture(scope="module")
def run(digits, tmp_path_factory):
    """Trained for a moment on 1,000 digits, and told no labels."""
    folder = tmp_path_factory.mktemp("runs") / "digits"
    recipe = Recipe(
        data=DataSection(size=8, channels=1),
        network=NetworkSection(width=32, multipliers=(1, 2), blocks=1),
        training=TrainingConfig(learning_rate=3e-3, steps=150),
    )
    learn.train(ArraySource(digits[0][:1000]), recipe, folder)
    return folder


def accuracy(vectors, labels) -> float:
    """Of a linear classifier, trained on the first thousand, for the rest."""
    probe = make_pipeline(StandardScaler(), LogisticRegression(max_iter=500))
    return probe.fit(vectors[:1000], labels[:1000]).score(vectors[1000:], labels[1000:])


def test_a_linear_probe_finds_the_digits(run, digits):
    """Near raw pixels, and far above noise."""
    pixels, labels = digits
    source = ArraySource(pixels)
    vectors = sf.load(run).embed(source.raw(range(len(source))))
    assert vectors.dtype == torch.float32
    assert vectors.shape == (len(pixels), 64 + 32)
    ours, raw = accuracy(vectors.numpy(), labels), accuracy(pixels.reshape(len(pixels), -1), labels)
    noise = accuracy(np.random.default_rng(0).normal(size=vectors.shape), labels)
    assert noise < 0.2
    assert ours > raw - 0.08
    assert len(sf.load(run).embed([])) == 0


CASES = {
    "unet": (UNet(1, dimensions=1, width=16, multipliers=(1, 2), blocks=1), (1, 8), 48),
    "transformer": (Transformer(1, dimensions=1, width=16, heads=2, depth=3), (1, 8), 32),
}


def of_pictures(name: str) -> tuple[sf.Denoiser, torch.Tensor]:
    network, shape, _ = CASES[name]
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.2, generator=torch.Generator().manual_seed(0))
    process = sf.Gaussian(sf.schedules.Flow())
    x0 = Streams.of(0, range(6)).normal(torch.empty(6, *shape))
    return sf.Denoiser(network, process, sf.parameterizations.EDM(0.5)), x0


@pytest.mark.parametrize("name", CASES)
def test_features_are_a_function_of_an_items_own_stream(name):
    denoiser, x0 = of_pictures(name)
    rng = Streams.of(1, range(6))
    many = features(denoiser, x0, 0.3, rng)
    assert many.shape == (6, CASES[name][2])
    rounding = 2e-6 * float(many.abs().max())  # of float32, where sums are taken in another order
    assert torch.allclose(features(denoiser, x0[2:4], 0.3, rng[2:4]), many[2:4], rtol=0, atol=rounding)
    assert not torch.allclose(features(denoiser, x0, 0.3, Streams.of(2, range(6))), many, atol=1e-3)
    again = features(denoiser, x0, 0.0, rng, draws=1)
    assert torch.allclose(features(denoiser, x0, 0.0, 5, draws=3), again, atol=1e-5)  # without noise nothing is drawn


def test_rows_have_features_too():
    network = Mixed(2, [3], width=16, depth=2)
    process = sf.Product({"numbers": sf.Gaussian(sf.schedules.Flow()), "tokens": sf.Discrete.masked(3)})
    forms = {"numbers": sf.parameterizations.EDM(0.5), "tokens": sf.parameterizations.Logits()}
    denoiser = sf.Denoiser(network, process, sf.parameterizations.Each(forms))
    rows = {"numbers": torch.zeros(4, 2), "tokens": torch.zeros(4, 1, dtype=torch.long)}
    assert features(denoiser, rows, rng=0).shape == (4, 32)


def test_every_network_says_what_its_features_are():
    assert all(issubclass(each, Network) for each in (UNet, Transformer, Mixed))
    plain = sf.Denoiser.from_function(sf.Gaussian(sf.schedules.Flow()), lambda x, t, c: x)
    with pytest.raises(sf.UserError, match="no blocks"):
        features(plain, torch.zeros(1, 2))


@pytest.mark.parametrize("settings", [{"t": -0.1}, {"t": 1.5}, {"draws": 0}])
def test_features_of_no_sense_are_refused(settings):
    denoiser, x0 = of_pictures("unet")
    with pytest.raises(sf.UserError, match="between 0 and 1 and at least one draw"):
        features(denoiser, x0, **settings)


def test_embed_writes_a_row_for_each(tmp_path):
    frame = pd.DataFrame({"a": np.arange(60) % 7, "b": np.random.default_rng(0).normal(size=60)})
    frame.to_csv(tmp_path / "x.csv", index=False)
    base = [sys.executable, "-m", "suffuse"]
    sizes = ["--width", "16", "--depth", "2", "--steps", "3"]
    subprocess.run([*base, "train", tmp_path / "x.csv", "--out", tmp_path / "run", *sizes], check=True)
    done = [
        subprocess.run([*base, "embed", tmp_path / "run", tmp_path / "x.csv", *out], check=False, capture_output=True)
        for out in ((), ("--out", tmp_path / "v.csv"), ("--out", tmp_path / "v.txt"))
    ]
    assert [each.returncode for each in done] == [0, 0, 2]
    assert b"60 vectors of 32 numbers" in done[0].stdout
    vectors = np.load(tmp_path / "run" / "vectors.npy")
    assert (vectors.shape, vectors.dtype) == ((60, 32), np.float32)
    assert np.allclose(vectors, pd.read_csv(tmp_path / "v.csv").to_numpy(), atol=1e-5)
    assert np.allclose(vectors, sf.load(tmp_path / "run").embed(frame), atol=1e-5)
    assert b"must end in one of .npy, .csv" in done[2].stderr
