"""Laws 1 and 5: grids that fall, and time laws that are what their density says."""

import math

import pytest
import torch

from suffuse import grids
from suffuse.grids import LogitNormal, LogNormal, Uniform
from suffuse.schedules import Tabulated
from tests.laws.cases import F64, SCHEDULE_CASES

each_schedule = pytest.mark.parametrize("name", SCHEDULE_CASES)
GRIDS = {"uniform": lambda schedule, n: grids.uniform(n), "log_snr": grids.log_snr, "karras": grids.karras}


@each_schedule
@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize("n", [1, 2, 5, 20, 1000])
def test_times_fall_strictly_from_one_to_zero(name, grid, n):
    times = GRIDS[grid](SCHEDULE_CASES[name], n)
    assert times.dtype == F64
    assert len(times) == n + 1
    assert (times[0], times[-1]) == (1, 0)
    assert (times[1:] < times[:-1]).all()


@pytest.mark.parametrize("grid", GRIDS)
def test_no_steps_are_refused(grid):
    with pytest.raises(ValueError, match="at least one step"):
        GRIDS[grid](SCHEDULE_CASES["flow"], 0)


@each_schedule
def test_grids_are_even_in_what_they_say(name):
    schedule = SCHEDULE_CASES[name]
    ends = [math.exp(-float(schedule.log_snr(torch.tensor(t, dtype=F64))) / 2) for t in (1.0, 0.0)]
    high, low = min(ends[0], 80), max(ends[1], 0.002)
    for grid, scale in ((grids.log_snr, math.log), (grids.karras, lambda ratio: ratio ** (1 / 7))):
        inner = torch.exp(-schedule.log_snr(grid(schedule, 12)[1:-1]) / 2).tolist()
        expected = torch.linspace(scale(high), scale(low), 13, dtype=F64)[1:-1]
        assert torch.tensor([scale(ratio) for ratio in inner], dtype=F64) == pytest.approx(expected, abs=1e-8)


LAWS = {"uniform": lambda s: Uniform(), "log-normal": LogNormal, "logit-normal": lambda s: LogitNormal(0.3, 0.8)}


@each_schedule
@pytest.mark.parametrize("law", LAWS)
def test_density_is_the_derivative_of_the_distribution(name, law):
    """The density over a cell between quantiles holds the cell's share; Simpson within the cell, between knots."""
    law = LAWS[law](SCHEDULE_CASES[name])
    u = torch.linspace(0.002, 0.998, 4001, dtype=F64)
    t = law.quantile(u)
    assert (t.diff() > 0).all()
    width, share = t.diff(), u.diff()
    middle = (t[1:] + t[:-1]) / 2
    mass = width * (law.density(t[1:]) + 4 * law.density(middle) + law.density(t[:-1])) / 6
    assert (mass / share - 1).abs().median() < 1e-5
    jumps = isinstance(SCHEDULE_CASES[name], Tabulated)  # a table's density jumps at its knots, within some cells
    assert float(mass.sum() / share.sum()) == pytest.approx(1, abs=1e-3 if jumps else 1e-5)


@each_schedule
@pytest.mark.parametrize("law", LAWS)
def test_even_numbers_in_reach_all_of_the_law(name, law):
    law = LAWS[law](SCHEDULE_CASES[name])
    u = torch.tensor([0.0, 1e-9, 0.5, 1 - 2.0**-52], dtype=F64)
    t = law.quantile(u)
    assert ((t >= 0) & (t <= 1)).all()
    assert law.quantile(u.float()[1:3]).dtype == torch.float32


def test_log_normal_has_its_moments_in_log_sigma():
    """Over EDM's wide range the cut at the ends is small: mean -1.2 and deviation 1.2 as published."""
    schedule = SCHEDULE_CASES["edm"]
    u = (torch.arange(100_000, dtype=F64) + 0.5) / 100_000
    log_sigma = schedule.sigma(LogNormal(schedule).quantile(u)).log()
    assert float(log_sigma.mean()) == pytest.approx(-1.2, abs=1e-3)
    assert float(log_sigma.std()) == pytest.approx(1.2, abs=2e-3)
