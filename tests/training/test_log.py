"""What a training says, measures and draws."""

import json
import math
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from accelerate import Accelerator
from PIL import Image

import suffuse as sf
from suffuse.objectives import Objective, UniformWeight
from suffuse.training.config import TrainingConfig
from suffuse.training.evaluate import LEVELS, HeldOut
from suffuse.training.learner import Loss
from suffuse.training.log import Log, draw_curves, read_metrics

HERE = Path(__file__).parent


def test_metrics_and_pictures_of_a_run(tmp_path: Path) -> None:
    run = tmp_path / "run"
    settings = {"batch": 32, "images": 9600, "evaluate_every": 3200, "sample_every": 3200, "learning_rate": 0.002}
    settings |= {"warmup": 320, "clip": 0.5}
    command = [sys.executable, str(HERE / "ring.py"), str(run), json.dumps(settings)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    lines = read_metrics(run)
    training = [line for line in lines if line["event"] == "train"]
    assert training[-1]["images"] == 9600
    assert all(line["step"] * 32 == line["images"] for line in lines)
    assert [line["images"] for line in training] == sorted({line["images"] for line in training})
    assert len(training) == 200
    for line in training:
        share, images = (line["images"] - 32) / 9600, line["images"]
        warm = min(1, max(images / 320, 10 * share))
        assert line["lr"] == pytest.approx(0.002 * warm * (1 + math.cos(math.pi * share)) / 2)
        assert line["images_per_second"] > 0
        assert line["grad_norm"] > 0
    losses = [line["loss"] for line in training]
    assert sum(losses[-20:]) < sum(losses[:20])
    measured = [line for line in lines if line["event"] == "held_out"]
    assert [line["images"] for line in measured] == [3200, 6400, 9600]
    assert measured[-1]["loss"] < measured[0]["loss"]
    for line in measured:
        assert sum(level["bound"] for level in line["levels"]) / LEVELS == pytest.approx(line["bound"], rel=0.1)
        levels = [level["level"] for level in line["levels"]]
        assert levels == sorted(levels, reverse=True)
    assert sorted(p.name for p in (run / "samples").iterdir()) == ["000003200.png", "000006400.png", "000009600.png"]
    assert (run / "samples.png").read_bytes() == (run / "samples" / "000009600.png").read_bytes()
    with Image.open(run / "loss.png") as picture:
        assert picture.format == "PNG"
        assert picture.size == (1200, 400)
        assert len(picture.convert("RGB").getcolors(2**20)) > 50, "nothing is drawn"
    assert "held out" in done.stderr
    assert "items/s" in done.stderr
    assert "left" in done.stderr
    assert "\x1b" not in done.stderr, "control codes where there is no terminal"
    assert list((run / "tensorboard").iterdir())


def test_the_curves_show_what_was_measured(tmp_path: Path) -> None:
    levels = [{"t": i / 8, "level": 8.0 - i, "loss": 0.1 + i, "bound": 1.0} for i in range(LEVELS)]
    falling = [{"event": "train", "images": n, "loss": 100 - n} for n in range(1, 100)]
    measured = [{"event": "held_out", "images": 50, "loss": 50.0, "levels": levels}]
    draw_curves(falling + measured, tmp_path / "loss.png")
    picture = Image.open(tmp_path / "loss.png").convert("RGB")
    colours = {(x, y): picture.getpixel((x, y)) for x in range(75, 375) for y in range(70, 345)}
    blue = sorted(place for place, (red, green, blue) in colours.items() if red < 150 and blue > green + 30)
    assert len(blue) > 200
    assert blue[0][1] < 100, "the loss begins high"
    assert blue[-1][1] > 300, "and ends low"
    draw_curves([], tmp_path / "none.png")
    draw_curves(
        [line | {"levels": [n | {"bound": None, "level": None} for n in levels]} for line in measured],
        tmp_path / "t.png",
    )


class Standard:
    """Standard normal data."""

    size = 1

    def held_out(self, n: int) -> tuple:
        return sf.Streams.of(1, range(300)).normal(torch.empty(300, 256, dtype=torch.float64)), None, None


def test_the_bound_on_data_whose_law_is_known() -> None:
    """The least squared error is 1 / (1 + SNR), so that the bound is half the growth of log(1 + SNR)."""
    process = sf.Gaussian(sf.schedules.EDM())

    def exact(x_t, t, condition):
        alpha_t, sigma_t = process.coordinates(t, x_t)
        return alpha_t * x_t / (alpha_t**2 + sigma_t**2)

    loss = Loss(sf.Denoiser.from_function(process, exact), Objective(weight=UniformWeight()), TrainingConfig())
    held_out = HeldOut(Standard(), loss, TrainingConfig(), Accelerator(cpu=True, mixed_precision="no"))
    measured = held_out.measure()
    ends = process.schedule.log_snr(torch.tensor([1e-5, 1.0], dtype=torch.float64)).exp()
    assert measured.bound == pytest.approx(float((1 + ends).log() @ torch.tensor([0.5, -0.5]).double()), rel=0.02)
    assert held_out.measure() == measured
    edges = torch.linspace(0, 1, LEVELS + 1, dtype=torch.float64).clamp(min=1e-5)
    snr = process.schedule.log_snr(edges).exp()
    for level, high, low in zip(measured.levels, snr[:-1], snr[1:], strict=True):
        assert level.bound == pytest.approx(LEVELS / 2 * float((1 + high).log() - (1 + low).log()), rel=0.15)


def test_a_line_that_was_cut_off(tmp_path: Path) -> None:
    whole = json.dumps({"event": "train", "images": 1}) + "\n"
    (tmp_path / "metrics.jsonl").write_text(whole + whole[:10])
    assert read_metrics(tmp_path) == [{"event": "train", "images": 1}]
    log = Log(tmp_path, Accelerator(cpu=True, mixed_precision="no"), show=False)
    log.cut(5)
    log.figures("train", {"images": 6, "loss": math.nan})
    assert read_metrics(tmp_path) == [{"event": "train", "images": 1}, {"event": "train", "images": 6, "loss": None}]
