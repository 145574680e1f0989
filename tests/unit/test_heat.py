"""Models whose process is heat: trained, saved, drawn from and scored as any other; and what they refuse."""

import math

import numpy as np
import pytest
import torch

import suffuse as sf
from suffuse.cli import run
from suffuse.data.sources import ArraySource
from suffuse.recipes.recipe import DataSection, NetworkSection, ProcessSection, Recipe
from suffuse.training.config import TrainingConfig

HEAT = ProcessSection(noise_schedule="heat", blur=0.3)


def learned(out, process=HEAT):
    pixels = np.random.default_rng(0).integers(0, 256, (24, 8, 8)).astype(np.uint8)
    recipe = Recipe(
        data=DataSection(size=8, channels=1, condition=("label",)),
        network=NetworkSection(width=8, multipliers=(1, 1), blocks=1),
        process=process,
        training=TrainingConfig(batch=8, steps=3),
    )
    return sf.train(ArraySource(pixels, [i % 2 for i in range(24)], "noise"), recipe, out)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "heat"
    return out, learned(out)


def test_a_model_of_heat_is_what_was_saved(trained):
    out, model = trained
    again = sf.load(out)
    assert isinstance(again.denoiser.process, sf.Heat)
    assert again.denoiser.process.blur == 0.3
    drawn = [m.generate(2, condition="1", seed=3, steps=4) for m in (model, again)]
    assert [image.tobytes() for image in drawn[0]] == [image.tobytes() for image in drawn[1]]
    assert "heat" in again.describe()


def test_its_score_is_its_bound(trained):
    """Of values that are whole steps of 2 / 255: the bound of the density, times such a step for each element."""
    _, model = trained
    items = model.generate(3, condition="0", seed=1, steps=3)
    x0, told = model.codec.encode(items), {"label": torch.zeros(3, dtype=torch.int64)}
    scores = [score.nats for score in model.score(items, condition="0", seed=2)]
    bound = sf.elbo(model.denoiser, x0, told, rng=5, evaluations=256) + 64 * math.log(2 / 255)
    assert scores == pytest.approx(bound.tolist(), rel=0.05)


def test_a_coupling_is_refused(tmp_path):
    with pytest.raises(sf.UserError, match="heat spreads with independent noise; leave out --coupling assignment"):
        learned(tmp_path / "run", HEAT.model_copy(update={"coupling": "assignment"}))


def test_elements_of_a_series_cannot_be_shown_clean(tmp_path, capsys):
    rows = "\n".join(f"{value:.3f}" for value in np.sin(np.arange(60)))
    (tmp_path / "wave.csv").write_text("height\n" + rows + "\n")
    command = ["train", str(tmp_path / "wave.csv"), "--kind", "series", "--noise-schedule", "heat", "--steps", "2"]
    assert run([*command, "--out", str(tmp_path / "run")]) != 0
    assert "none can be shown clean; add --given 0" in capsys.readouterr().err
