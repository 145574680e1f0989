"""Walks that choose their own steps, and walks whose steps are all taken at once."""

import math
from itertools import pairwise

import pytest
import torch
from torch import Tensor

import suffuse as sf
from suffuse import grids
from suffuse.exact import GaussianMixture
from suffuse.rng import Streams
from suffuse.samplers import (
    Adams,
    Adaptive,
    Ancestral,
    Churn,
    Counted,
    Euler,
    Heun,
    Langevin,
    Multistep,
    MultistepSDE,
    Parallel,
    SASolver,
    TauLeaping,
    UniPC,
)
from tests.laws.cases import F64, PLANE, SCHEDULE_CASES, WALKED, close, numbers

each_schedule = pytest.mark.parametrize("schedule", WALKED)


def setting(schedule: str, n: int = 40) -> tuple[sf.Gaussian, sf.Denoiser, Tensor]:
    process = sf.Gaussian(SCHEDULE_CASES[schedule])
    return process, PLANE.denoiser(process), PLANE.marginal(process, 1.0).sample(n, 3)


# Adaptive: the truth is a fine walk by another method, in units of the data's deviation


@pytest.fixture(scope="session")
def ends() -> dict[str, Tensor]:
    found = {}
    for name in WALKED:
        process, denoiser, x1 = setting(name, 100)
        times = grids.straight(process.schedule, 2000, PLANE.std)
        found[name] = torch.as_tensor(sf.sample(denoiser, Adams(3), x1, times))
    return found


@each_schedule
def test_the_error_follows_the_tolerance(schedule, ends):
    """The root mean square error at the end is at most two tolerances, and a tenth of it costs its third root more."""
    _, denoiser, x1 = setting(schedule, 100)
    errors, spent = [], []
    tolerances = (1e-2, 1e-3, 1e-4, 1e-5)
    for tolerance in tolerances:
        counted = Counted(denoiser)
        end = torch.as_tensor(sf.sample(counted, Adaptive(tolerance), x1, grids.uniform(1)))
        errors.append(float((end - ends[schedule]).square().mean().sqrt() / PLANE.std))
        spent.append(counted.items / len(x1))
    assert all(error < 2 * tolerance for error, tolerance in zip(errors, tolerances, strict=True)), errors
    assert all(a > 5 * b for a, b in pairwise(errors)), errors
    assert all(1.4 < b / a < 2.4 for a, b in pairwise(spent)), spent  # 10^(1/3) is 2.15


def test_hard_items_take_more_steps_and_easy_ones_do_not_pay_for_them():
    """A sharp choice between two far components, and one component alone."""
    process = sf.Gaussian(SCHEDULE_CASES["flow"])
    law = GaussianMixture(numbers(-1, 1)[:, None], numbers(0.02, 0.02))
    denoiser, x1 = law.denoiser(process), numbers(1e-3, 1.5)[:, None]
    spent = []
    for item in range(2):
        counted = Counted(denoiser)
        sf.sample(counted, Adaptive(1e-3), x1[item : item + 1], grids.uniform(1))
        spent.append(counted.items)
    together = Counted(denoiser)
    sf.sample(together, Adaptive(1e-3), x1, grids.uniform(1))
    assert together.items == sum(spent)
    assert together.evaluations == max(spent)
    assert spent[0] > 1.3 * spent[1]


@each_schedule
def test_a_part_of_the_walk(schedule):
    """From one time to another inside, and there the flow is that of all samplers."""
    process, denoiser, _ = setting(schedule)
    x = PLANE.marginal(process, 0.8).sample(30, 1)
    found = sf.sample(denoiser, Adaptive(1e-6), x, numbers(0.8, 0.3))
    fine = sf.sample(denoiser, Adams(4), x, torch.linspace(0.8, 0.3, 801, dtype=F64))
    assert close(torch.as_tensor(found), torch.as_tensor(fine), rtol=0, atol=2e-5)


def test_adaptive_is_told_its_condition_item_by_item():
    process = sf.Gaussian(SCHEDULE_CASES["flow"])
    component, x1 = torch.tensor([0, 1, 0, 1]), torch.zeros(4, 2, dtype=F64)
    end = sf.sample(PLANE.denoiser(process), Adaptive(1e-4), x1, grids.uniform(1), {"component": component})
    assert close(torch.as_tensor(end), PLANE.means[component], rtol=0, atol=1e-3)


def test_the_limit_is_kept_and_a_number_of_steps_refused():
    _, denoiser, x1 = setting("flow")
    counted = Counted(denoiser)
    with pytest.raises(sf.UserError, match=r"a tolerance of 1e-06 is not met; raise it"):
        sf.sample(counted, Adaptive(1e-6, limit=20), x1, grids.uniform(1))
    assert counted.evaluations <= 20
    with pytest.raises(sf.UserError, match="give it a tolerance, not a number"):
        Adaptive().steps(denoiser, 10)
    for wrong in (0.0, -1.0, math.nan):
        with pytest.raises(ValueError, match="a tolerance is positive"):
            Adaptive(wrong)


# Parallel

FORESEEN = {
    "ddim": Ancestral(),
    "ddpm": Ancestral(1.0),
    "euler": Euler(),
    "adams3": Adams(3),
    "multistep3": Multistep(3),
    "unipc3": UniPC(3),
    "sde2": MultistepSDE(2),
    "sa2": SASolver(2),
}


@pytest.mark.parametrize("schedule", ["vp", "edm", "flow"])
@pytest.mark.parametrize("name", FORESEEN)
def test_without_a_tolerance_it_is_the_serial_walk(name, schedule):
    """The same noise in every round; the posterior's variance too, so that ddpm draws what it would have drawn."""
    _, denoiser, x1 = setting(schedule)
    inner, times, rng = FORESEEN[name], grids.uniform(8), Streams.of(5, range(40))
    counted = Counted(denoiser)
    found = sf.sample(counted, Parallel(inner, tolerance=0.0), x1, times, rng=rng)
    assert close(torch.as_tensor(found), torch.as_tensor(sf.sample(denoiser, inner, x1, times, rng=rng)), atol=1e-9)
    assert counted.evaluations <= 8


@pytest.mark.parametrize("rounds", [1, 2, 3, 5])
def test_after_so_many_rounds_so_many_states_are_exact(rounds):
    """Picard's guarantee, by which N steps take no more than N rounds: those beyond depend on the start alone."""
    _, denoiser, x1 = setting("flow")
    times = grids.uniform(rounds)
    counted = Counted(denoiser)
    sf.sample(counted, Parallel(tolerance=0.0), x1, times)
    assert counted.evaluations <= rounds
    assert counted.items <= rounds * rounds * len(x1)


@pytest.mark.parametrize("schedule", ["vp", "edm", "flow"])
def test_a_tolerance_ends_in_fewer_rounds(schedule):
    """A hundred steps of DDIM within its tolerance, in a fifth of the rounds or less."""
    process, denoiser, x1 = setting(schedule)
    times = grids.straight(process.schedule, 100, PLANE.std)
    serial = torch.as_tensor(sf.sample(denoiser, Ancestral(), x1, times))
    spent = []
    for tolerance in (1e-2, 1e-3, 1e-5):
        counted = Counted(denoiser)
        found = torch.as_tensor(sf.sample(counted, Parallel(tolerance=tolerance), x1, times))
        assert float((found - serial).square().mean(1).sqrt().max()) < 2 * tolerance
        spent.append(counted.evaluations)
    assert spent[0] < spent[1] < spent[2] <= 30
    assert spent[1] <= 20


def test_items_that_are_done_are_not_evaluated_again():
    """Each of them ends as it would alone, and is paid for as alone."""
    _, denoiser, x1 = setting("flow")
    times = grids.uniform(30)
    together, alone, found = Counted(denoiser), Counted(denoiser), []
    whole = torch.as_tensor(sf.sample(together, Parallel(), x1, times))
    for item in range(len(x1)):
        found.append(torch.as_tensor(sf.sample(alone, Parallel(), x1[item : item + 1], times)))
    assert close(whole, torch.cat(found), atol=1e-10)
    assert together.items == alone.items
    assert together.evaluations < together.items / 30 / len(x1) * 2


def test_conditions_are_repeated_with_the_path():
    process = sf.Gaussian(SCHEDULE_CASES["flow"])
    component, x1 = torch.tensor([0, 1, 0, 1, 1]), PLANE.sample(5, 1)
    told = {"component": component, "component/present": torch.tensor([True, True, False, True, False])}
    serial, parallel = (
        torch.as_tensor(sf.sample(PLANE.denoiser(process), sampler, x1, grids.uniform(9), told))
        for sampler in (Ancestral(), Parallel(tolerance=0.0))
    )
    assert close(serial, parallel, atol=1e-10)


@pytest.mark.parametrize("inner", [Heun(), Churn(Ancestral()), Langevin(), Adaptive(), Parallel(), TauLeaping()])
def test_samplers_that_cannot_be_foreseen_are_refused(inner):
    with pytest.raises(ValueError, match=r"evaluates elsewhere|ones only"):
        Parallel(inner)
