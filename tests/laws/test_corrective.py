"""A denoiser about a regression is that of the data: the answer of the one, and of the other what it leaves."""

import pytest
import torch
from scipy.stats import kstest
from torch import Tensor, nn

import suffuse as sf
from suffuse.denoiser import Corrective, Known
from suffuse.networks.unseen import Unseen
from suffuse.objectives import Objective
from suffuse.parameterizations import EDM
from suffuse.rng import Streams
from suffuse.samplers import sample
from tests.laws.cases import F64, SCHEDULE_CASES, WALKED, close

S = 0.3
"""Deviation of the data about what is told."""
UNITS = torch.tensor([[0.5], [4.0]], dtype=F64)


class Line(nn.Module):
    """What it is told, times a weight, and what it is shown."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(2.0, dtype=F64))

    def forward(self, x: Tensor, level: Tensor, condition: dict[str, Tensor]) -> Tensor:
        del level
        return self.weight * condition["c"] + x


def about(schedule: str) -> Corrective:
    """Of data N(2 c / units, S^2), of two channels and three places, known exactly."""
    process = sf.Gaussian(SCHEDULE_CASES[schedule])
    rest = sf.Denoiser(lambda x, level, condition: torch.zeros_like(x), process, EDM(S), (2, 3))
    denoiser = Corrective(Unseen(Line()), rest).double()
    denoiser.take(Known(denoiser.regression.state_dict(), UNITS))
    return denoiser


def told(n: int) -> tuple[dict[str, Tensor], Tensor]:
    """Conditions, and the mean of the data under each."""
    c = torch.randn(n, 2, 3, generator=torch.Generator().manual_seed(0), dtype=F64)
    return {"c": c}, 2 * c / UNITS


@pytest.mark.parametrize("schedule", SCHEDULE_CASES)
def test_its_posterior_is_that_of_the_data_in_closed_form(schedule):
    denoiser, (condition, mean) = about(schedule), told(12)
    t = torch.linspace(0.02, 0.98, 12, dtype=F64)
    alpha, sigma = denoiser.process.coordinates(t, mean)
    x_t = denoiser.process.corrupt(mean + S * torch.randn_like(mean), t, 0)
    exact = mean + alpha * S**2 / (alpha**2 * S**2 + sigma**2) * (x_t - alpha * mean)
    assert close(denoiser(x_t, t, condition).mean, exact, rtol=1e-6)
    own = t[:, None, None].expand_as(x_t)  # as elements have times of their own
    assert close(denoiser(x_t, own, condition).mean, exact, rtol=1e-6)


@pytest.mark.parametrize("schedule", WALKED)
@pytest.mark.parametrize("name", ["heun", "sde2"])
def test_walks_that_begin_about_the_mean_end_in_draws_of_the_data(schedule, name):
    """Of few steps as of many: the regression says what noise hides, so that it need not be drawn anew."""
    denoiser, (condition, mean) = about(schedule), told(2000)
    rng = Streams.of(3, torch.arange(2000))
    x1 = denoiser.prior(torch.empty_like(mean), condition, rng)
    times = sf.grids.karras(SCHEDULE_CASES[schedule], 40)
    drawn = sample(denoiser, sf.samplers.SAMPLERS[name](), x1, times, condition, rng)
    assert isinstance(drawn, Tensor)
    off = ((drawn - mean) / S).flatten()
    floor = float(SCHEDULE_CASES[schedule].sigma(torch.zeros((), dtype=F64))) / S
    assert kstest((off / (1 + floor**2) ** 0.5).numpy(), "norm").pvalue > 1e-3


def test_the_regression_is_frozen():
    process = sf.Gaussian(SCHEDULE_CASES["edm"])
    inner = nn.Conv1d(2, 2, 1, dtype=F64)
    rest = sf.Denoiser(lambda x, level, condition: inner(x), process, EDM(S), (2, 3))
    denoiser = Corrective(Unseen(Line()), rest).double()
    condition, mean = told(8)
    Objective()(denoiser, mean, condition, rng=0).mean().backward()
    assert inner.weight.grad is not None
    assert [(name, p.grad) for name, p in denoiser.named_parameters() if not p.requires_grad] == [
        ("regression.network.weight", None)
    ]
