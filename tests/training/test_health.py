"""Numbers that are not finite: where they first appeared, and what is done about them."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import ring
import torch
from torch import Tensor, nn

import suffuse as sf
from suffuse.data.loader import order
from suffuse.errors import UserError
from suffuse.training.config import TrainingConfig
from suffuse.training.ema import SNAPSHOTS
from suffuse.training.log import read_metrics
from suffuse.training.trainer import train

FAULTY = 77
RARE = {"batch": 32, "warmup": 0, "schedule": "constant", "ema": (0.1,)}


class Faulty(ring.Ring):
    """The ring with one item that is no number."""

    def __init__(self) -> None:
        super().__init__()
        self.points[self.rows[FAULTY]] = torch.nan


@pytest.mark.parametrize("steps", [20, 4000])
def test_an_item_that_is_no_number(steps: int, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    index = torch.arange(450)
    first = int(index[order(450, index, seed=0) == FAULTY])
    with pytest.raises(UserError) as caught:
        ring.run(tmp_path / "run", data=Faulty(), steps=steps, **RARE, evaluate_every=9999, sample_every=9999)
    said = str(caught.value)
    _, objective = ring.parts()
    t = objective.law.quantile(sf.Streams.of(0, [first]).low_discrepancy()).item()
    level = sf.Gaussian(sf.schedules.Flow()).level(t).item()
    # However many steps went by before anyone looked: the first is named, and nothing of it was learned.
    assert f"not finite at step {first // 32 + 1}, at t = {t:.3g}, level {level:.3g}" in said
    assert "first in the output of layer network.into, though the rate was halved 3 times" in said
    warned = [line for line in capsys.readouterr().err.splitlines() if "of the rate" in line]
    assert [line.rpartition("with ")[2] for line in warned] == [
        "0.5 of the rate",
        "0.25 of the rate",
        "0.125 of the rate",
    ]
    lines = [line for line in read_metrics(tmp_path / "run") if line["event"] == "rollback"]
    assert [line["images"] for line in lines] == [0, 0, 0]


class Root(nn.Module):
    """A function that is finite everywhere, with a slope that is not."""

    def forward(self, x: Tensor) -> Tensor:
        return (x * 0).sqrt()


def test_a_gradient_that_is_no_number(tmp_path: Path) -> None:
    denoiser, objective = ring.parts()
    denoiser.network.hidden = nn.Sequential(*denoiser.network.hidden, Root())
    with pytest.raises(UserError, match=r"at step 1, .* first in the gradient of layer network.hidden.3"):
        train(
            denoiser,
            objective,
            ring.Ring(),
            TrainingConfig(steps=20, accumulate=2, **RARE),
            tmp_path / "run",
            save_model=ring.save_model,
            progress=False,
        )


class Glitch(nn.Module):
    """A layer that once, at its 60th call and at the look at it, gives infinity."""

    def __init__(self) -> None:
        super().__init__()
        self.calls = 0

    def forward(self, x: Tensor) -> Tensor:
        self.calls += self.training
        return x * torch.inf if self.training and self.calls in (60, 61) else x


def with_glitch(run: Path, **settings: object) -> Iterator[object]:
    denoiser, objective = ring.parts()
    denoiser.network.hidden.append(Glitch())
    config = TrainingConfig(**RARE | settings)
    yield train(denoiser, objective, ring.Ring(), config, run, save_model=ring.save_model, progress=False)
    yield denoiser


def test_a_glitch_costs_the_steps_since_the_last_checkpoint_and_half_the_rate(tmp_path: Path) -> None:
    settings = {"steps": 100, "evaluate_every": 20, "patience": 50}
    result, denoiser = with_glitch(tmp_path / "run", **settings)
    assert (result.steps, result.reason) == (100, "budget")
    assert all(bool(torch.isfinite(value).all()) for value in denoiser.state_dict().values())
    lines = read_metrics(tmp_path / "run")
    (back,) = [line for line in lines if line["event"] == "rollback"]
    assert 0 < back["step"] < 60
    assert "not finite at step 60" in back["said"]
    assert "the output of layer network.hidden.4" in back["said"]
    rates = {line["lr"] for line in lines if line["event"] == "train" and line["images"] > back["images"]}
    assert rates == {0.5e-3}
    assert {line["lr"] for line in lines if line["event"] == "train" and line["images"] <= back["images"]} == {1e-3}
    images = [line["images"] for line in lines if line["event"] == "train"]
    assert images == sorted(set(images))
    assert len(list((tmp_path / "run" / SNAPSHOTS).iterdir())) == 16
