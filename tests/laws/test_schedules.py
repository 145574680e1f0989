"""Law 1: schedules."""

import math

import numpy as np
import pytest
import torch

from suffuse import schedules
from suffuse.schedules import SCHEDULES
from tests.laws.cases import F64, SCHEDULE_CASES, close, numbers

each_schedule = pytest.mark.parametrize("name", SCHEDULE_CASES)
T = torch.cat([torch.linspace(0, 1, 2001, dtype=F64), numbers(1e-12, 1e-8, 1e-5, 1 - 1e-5, 1 - 1e-8)]).unique()


def test_every_schedule_has_a_case():
    assert {type(schedule) for schedule in SCHEDULE_CASES.values()} == set(SCHEDULES.values())


def by_hand(name: str, t: float) -> tuple[float, float]:
    """(alpha^2, sigma^2) as the papers have them, with nothing of the library."""
    if name == "vp":
        grid = np.linspace(0, t, 20001)
        square = math.exp(-np.trapezoid(0.1 + grid * 19.9, grid))
        return square, 1 - square
    if name == "cosine":
        return math.cos(math.pi * t / 2) ** 2, math.sin(math.pi * t / 2) ** 2
    if name == "edm":
        return 1.0, (80 ** (1 / 7) + (1 - t) * (0.002 ** (1 / 7) - 80 ** (1 / 7))) ** 14
    if name == "flow":
        return (1 - t) ** 2, t**2
    tables = {"tabulated": np.linspace(1e-4, 0.02, 1000), "table of four": np.array([0.1, 0.5, 0.2, 0.9])}
    betas = tables.get(name, np.array([0.1, 0.5, 0.2, 1.0]))
    kept = np.concatenate([[1], np.cumprod(1 - betas)])
    place = min(int(t * len(betas)), len(betas) - 1)
    share, (start, end) = t * len(betas) - place, kept[place : place + 2]
    square = start ** (1 - share) * end**share if end > 0 else start * (1 - share)
    return square, 1 - square


@each_schedule
def test_scales_are_the_formula_of_the_paper(name):
    schedule = SCHEDULE_CASES[name]
    for t in np.linspace(0, 1, 33):
        at = numbers(float(t))
        alpha, sigma = float(schedule.alpha(at)), float(schedule.sigma(at))
        assert (alpha**2, sigma**2) == pytest.approx(by_hand(name, float(t)), rel=1e-11, abs=1e-14)


@each_schedule
def test_ends(name):
    schedule, ends = SCHEDULE_CASES[name], numbers(0.0, 1.0)
    alpha, sigma, log_snr = (
        schedule.alpha(ends).tolist(),
        schedule.sigma(ends).tolist(),
        schedule.log_snr(ends).tolist(),
    )
    assert alpha[0] == 1
    if isinstance(schedule, schedules.EDM):
        assert sigma == pytest.approx([schedule.sigma_min, schedule.sigma_max], rel=1e-13)  # the stated floor
    else:
        assert sigma[0] == 0
        assert log_snr[0] == math.inf
    if name in ("cosine", "flow"):
        assert alpha[1] == 0
        assert log_snr[1] == -math.inf
    assert schedule.inverse(numbers(math.inf, -math.inf)).tolist() == [0, 1]
    assert schedule.inverse(torch.tensor([math.inf, -math.inf])).tolist() == [0, 1]  # float32


@each_schedule
def test_signal_to_noise_falls_strictly(name):
    log_snr = SCHEDULE_CASES[name].log_snr(T)
    assert (log_snr[1:] < log_snr[:-1]).all()


@each_schedule
def test_inverse_inverts(name):
    schedule = SCHEDULE_CASES[name]
    assert (schedule.inverse(schedule.log_snr(T)) - T).abs().max() < 1e-10
    assert torch.equal(schedule.inverse(schedule.log_snr(numbers(0.0, 1.0))).round(decimals=12), numbers(0.0, 1.0))


@each_schedule
def test_log_snr_is_of_the_scales(name):
    schedule, t = SCHEDULE_CASES[name], T[(T >= 1e-5) & (T <= 1 - 1e-5)]
    expected = 2 * (schedule.alpha(t) / schedule.sigma(t)).log()
    assert (schedule.log_snr(t) - expected).abs().max() < 1e-9


@each_schedule
def test_rates_equal_autograd(name):
    schedule = SCHEDULE_CASES[name]
    t = torch.linspace(1e-5, 1 - 1e-5, 1999, dtype=F64).requires_grad_()
    alpha, sigma = schedule.alpha(t), schedule.sigma(t)
    (of_log,) = torch.autograd.grad(2 * (alpha.log() - sigma.log()).sum(), t, retain_graph=True)
    (of_ratio,) = torch.autograd.grad(((alpha / sigma) ** 2).sum(), t)
    assert close(schedule.log_snr_rate(t), of_log, rtol=1e-8)
    assert close(schedule.snr_rate(t), of_ratio, rtol=1e-8)


@each_schedule
def test_rates_equal_differences(name):
    """Central differences between knots, in which the rates' own code has no part."""
    schedule, h = SCHEDULE_CASES[name], 1e-6
    t = torch.linspace(0.0505, 0.9505, 91, dtype=F64)
    difference = (schedule.log_snr(t + h) - schedule.log_snr(t - h)) / (2 * h)
    assert close(schedule.log_snr_rate(t), difference, rtol=1e-6)


@each_schedule
def test_rates_at_the_noisy_end(name):
    schedule, one = SCHEDULE_CASES[name], numbers(1.0)
    rate = float(schedule.snr_rate(one))
    # alpha^2 falls to nothing as (1 - t)^2, or as 1 - t at the end of a table
    assert rate == 0 if name in ("cosine", "flow") else -math.inf < rate < 0


@each_schedule
def test_shape_and_precision_are_kept(name):
    schedule = SCHEDULE_CASES[name]
    for t in (torch.tensor(0.3), torch.full((2, 3), 0.3), torch.tensor(0.3, dtype=F64)):
        for method in (schedule.alpha, schedule.sigma, schedule.log_snr, schedule.log_snr_rate, schedule.snr_rate):
            value = method(t)
            assert (value.shape, value.dtype) == (t.shape, t.dtype)
            assert close(value.double(), method(numbers(0.3)), rtol=2e-5)


def test_a_table_has_its_trained_steps_at_the_knots():
    betas = torch.linspace(1e-4, 0.02, 1000, dtype=F64)
    schedule, t = schedules.Tabulated(betas), torch.arange(1, 1001, dtype=F64) / 1000
    products = torch.cumprod(1 - betas, 0)
    assert close(schedule.alpha(t) ** 2, products, rtol=1e-12)
    between = (schedule.alpha(t[:-1] + 0.0005) ** 2).log()
    assert close(between, (products[:-1].log() + products[1:].log()) / 2, rtol=1e-10)
