"""Averages with power-function profiles: against their closed form, and other widths afterwards."""

from pathlib import Path

import numpy as np
import pytest
import ring
import torch
from accelerate import Accelerator
from safetensors.torch import load_file
from torch import nn

from suffuse.errors import UserError
from suffuse.training.batches import Feed
from suffuse.training.config import TrainingConfig
from suffuse.training.ema import Averages, coefficients, exponent, reconstruct, save_snapshot
from suffuse.training.learner import Learner


class Walk(nn.Module):
    """Weights that are put where a test wants them."""

    def __init__(self, size: int = 1) -> None:
        super().__init__()
        self.place = nn.Parameter(torch.zeros(size, dtype=torch.float64))

    def to(self, place: torch.Tensor | float) -> None:
        self.place.data.fill_(place) if isinstance(place, float) else self.place.data.copy_(place)


@pytest.mark.parametrize("width", [0.01, 0.05, 0.1, 0.2, 0.28])
def test_the_width_is_the_deviation_of_the_profile(width: float) -> None:
    gamma = exponent(width)
    tau = (np.arange(200_000) + 0.5) / 200_000
    profile = (gamma + 1) * tau**gamma
    mean = (profile * tau).mean()
    assert np.sqrt((profile * (tau - mean) ** 2).mean()) == pytest.approx(width, rel=1e-4)


@pytest.mark.parametrize("batches", [[7] * 50, [1, 30, 2, 5, 5, 100, 3]])
def test_an_average_is_the_integral_of_the_profile(batches: list[int]) -> None:
    walk = Walk()
    averages = Averages(walk, (0.05, 0.15))
    places = torch.randn(len(batches), dtype=torch.float64, generator=torch.manual_seed(0)).tolist()
    images = 0
    for place, batch in zip(places, batches, strict=True):
        walk.to(place)
        images += batch
        averages.update(images, batch)
    ends = np.cumsum(batches) / images
    for width in (0.05, 0.15):
        power = exponent(width) + 1
        exact = np.dot(places, np.diff(ends**power, prepend=0))
        assert averages.tensors[width]["place"].item() == pytest.approx(exact, abs=1e-13)


def test_weights_in_a_straight_line() -> None:
    walk = Walk()
    averages = Averages(walk, (0.1,))
    for step in range(1, 20_001):
        walk.to(step - 0.5)
        averages.update(step, 1)
    gamma = exponent(0.1)
    assert averages.tensors[0.1]["place"].item() / 20_000 == pytest.approx((gamma + 1) / (gamma + 2), rel=1e-6)


def test_applied_swaps_and_swaps_back() -> None:
    walk = Walk()
    averages = Averages(walk, (0.1,))
    walk.to(1.0)
    averages.update(10, 10)
    walk.to(5.0)
    with averages.applied(0.1):
        assert walk.place.item() == 1.0
    assert walk.place.item() == 5.0
    assert averages.tensors[0.1]["place"].item() == 1.0
    averages.update(20, 20)
    assert averages.tensors[0.1]["place"].item() == 5.0


@pytest.mark.parametrize(("width", "bound"), [(0.05, 1e-6), (0.07, 5e-3), (0.10, 1e-6), (0.15, 0.01), (0.25, 0.08)])
def test_profiles_are_mixed_into_another(width: float, bound: float) -> None:
    times = [n / 16 for n in range(1, 17) for _ in range(2)]
    factors, rest = coefficients(times, [0.05, 0.10] * 16, 1.0, width)
    tau = (torch.arange(100_000, dtype=torch.float64) + 0.5) / 100_000

    def profile(end: float, width: float) -> torch.Tensor:
        gamma = exponent(width)
        return torch.where(tau <= end, (gamma + 1) * (tau / end) ** gamma / end, 0.0)

    mixed = sum(f * profile(end, w) for f, end, w in zip(factors.tolist(), times, [0.05, 0.10] * 16, strict=True))
    wanted = profile(1.0, width)
    missed = ((mixed - wanted) ** 2).mean().sqrt() / (wanted**2).mean().sqrt()
    assert missed.item() == pytest.approx(rest.item(), abs=3e-4)
    assert rest.item() < bound


def test_another_width_from_files(tmp_path: Path) -> None:
    walk, size, steps = Walk(1000), 1000, 1600
    averages, direct = Averages(walk, (0.05, 0.10)), Averages(walk, (0.07, 0.2))
    chance = torch.manual_seed(0)
    for step in range(1, steps + 1):
        walk.to(walk.place.data + torch.randn(size, dtype=torch.float64, generator=chance))
        averages.update(step, 1)
        direct.update(step, 1)
        if step % (steps // 16) == 0:
            save_snapshot(tmp_path, step, averages)
    for width in (0.07, 0.2):
        wanted = direct.tensors[width]["place"]
        found = reconstruct(tmp_path, width)["place"]
        error = (found - wanted).norm() / wanted.norm()
        nearest = min((averages.tensors[w]["place"] - wanted).norm() / wanted.norm() for w in (0.05, 0.10))
        assert error < 2e-3
        assert error < nearest / 10, "no better than the nearest that was tracked"


def test_averages_of_a_training_follow_its_weights() -> None:
    """Against the sum over the weights after every step, with the profile's integral over the step as their factors."""
    denoiser, objective = ring.parts(torch.float64)
    config = TrainingConfig(batch=8, steps=30, ema=(0.05, 0.2), learning_rate=0.01)
    accelerator = Accelerator(cpu=True, mixed_precision="no")
    learner = Learner(denoiser, objective, config, accelerator)
    feed = Feed(ring.Ring(dtype=torch.float64), config, objective, accelerator)
    weights = []
    for step in range(30):
        learner.step(feed.get(step), 0.01)
        weights.append(denoiser.network.into.weight.detach().clone())
        if step == 17:
            learner.reset()
    feed.close()
    assert learner.progress.images == 240
    for width in (0.05, 0.2):
        ends = (torch.arange(31, dtype=torch.float64) / 30) ** (exponent(width) + 1)
        exact = sum(factor * weight for factor, weight in zip(ends.diff(), weights, strict=True))
        found = learner.averages.tensors[width]["network.into.weight"]
        torch.testing.assert_close(found, exact, rtol=0, atol=1e-13)


def test_another_width_of_a_training(tmp_path: Path) -> None:
    settings = {"batch": 32, "steps": 320, "learning_rate": 0.01, "schedule": "constant", "held_out": 0}
    settings |= {"sample_every": 320}
    ring.run(tmp_path / "two", ema=(0.05, 0.10), **settings)
    ring.run(tmp_path / "one", ema=(0.075,), **settings)
    wanted = load_file(tmp_path / "one" / "checkpoints" / "0000010240" / "ema-0.075.safetensors")
    found = reconstruct(tmp_path / "two", 0.075)
    assert found.keys() == wanted.keys()

    def distance(weights: dict[str, torch.Tensor]) -> float:
        return float(sum((weights[name] - wanted[name]).square().sum() for name in wanted) ** 0.5)

    end = tmp_path / "two" / "checkpoints" / "0000010240"
    nearest = min(distance(load_file(end / f"ema-{width}.safetensors")) for width in (0.05, 0.1))
    assert distance(found) < nearest / 10, "no better than the nearest that was tracked"


def test_nothing_kept(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="has kept no averages"):
        reconstruct(tmp_path, 0.1)
