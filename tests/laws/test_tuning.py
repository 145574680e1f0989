"""Solvers tuned to a denoiser: closer to its walks than any untuned one, and never worse."""

import pytest
import torch
from torch import Tensor

import suffuse as sf
from suffuse import grids
from suffuse.exact import GaussianMixture
from suffuse.samplers import Adams, Counted, Sampler, Tuned, default
from suffuse.samplers.default import unit
from suffuse.samplers.tuned import Tuned as Table
from suffuse.tuning import fit
from tests.laws.cases import F64, PLANE, SCHEDULE_CASES

SCHEDULES = ["vp", "edm", "flow"]
FIVE = GaussianMixture(
    torch.randn(5, 3, dtype=F64, generator=torch.Generator().manual_seed(3)),
    0.1 + 0.4 * torch.rand(5, 3, dtype=F64, generator=torch.Generator().manual_seed(4)),
)


def scaled(law: GaussianMixture, factor: float) -> GaussianMixture:
    return GaussianMixture(factor * law.means, factor * law.variances.sqrt(), law.weights)


def ends(law: GaussianMixture, process: sf.Gaussian, sampler: Sampler, times: Tensor) -> tuple[Tensor, Tensor]:
    """Of walks from fresh noise: by the sampler, and by a fine method of the fourth order."""
    denoiser, x1 = law.denoiser(process), law.marginal(process, 1.0).sample(600, 99)
    fine = grids.straight(process.schedule, 1000, law.std)
    walked = sf.sample(denoiser, sampler, x1, times), sf.sample(denoiser, Adams(4), x1, fine)
    return torch.as_tensor(walked[0]), torch.as_tensor(walked[1])


def error(law: GaussianMixture, process: sf.Gaussian, solver: tuple[Sampler, Tensor]) -> float:
    walked, true = ends(law, process, *solver)
    squares = (walked - true).square().mean(1).sort().values[:588]
    return float(squares.mean().sqrt()) / law.std


@pytest.mark.parametrize("factor", [0.3, 3.0])
@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("n", [4, 6])
def test_tuned_solvers_are_closer_on_fresh_noise(n, schedule, factor):
    law, process = scaled(FIVE, factor), sf.Gaussian(SCHEDULE_CASES[schedule])
    denoiser = law.denoiser(process)
    untuned, tuned = error(law, process, default(denoiser, n)), error(law, process, sf.tune(denoiser, n))
    assert tuned < untuned / 2


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_a_tuned_solver_spends_what_was_asked_for(schedule):
    process = sf.Gaussian(SCHEDULE_CASES[schedule])
    denoiser = PLANE.denoiser(process)
    sampler, times = sf.tune(denoiser, 5)
    assert isinstance(sampler, Tuned)
    counted = Counted(denoiser)
    sf.sample(counted, sampler, PLANE.marginal(process, 1.0).sample(3, 1), times)
    assert counted.evaluations == 5


def test_the_untuned_solver_stays_where_it_cannot_be_beaten():
    """A constant mean is walked exactly by every solver; what was fitted to rounding is refused."""
    process = sf.Gaussian(SCHEDULE_CASES["flow"])
    constant = sf.Denoiser.from_function(process, lambda x_t, t, c: torch.full_like(x_t, 0.5), shape=(2,))
    fitted = fit(constant, 4)
    assert fitted.error <= fitted.untuned_error
    end = sf.sample(constant, fitted.sampler, torch.randn(5, 2), fitted.times)
    assert (torch.as_tensor(end) - 0.5).abs().max() < 1e-6


def test_errors_are_those_of_held_out_walks():
    """What is reported is what fresh noise gives, for the tuned solver and the untuned one."""
    process = sf.Gaussian(SCHEDULE_CASES["edm"])
    denoiser = FIVE.denoiser(process)
    fitted = fit(denoiser, 6, x1=FIVE.marginal(process, 1.0).sample(1200, 5))
    assert fitted.error == pytest.approx(error(FIVE, process, (fitted.sampler, fitted.times)), rel=0.3)
    assert fitted.untuned_error == pytest.approx(error(FIVE, process, default(denoiser, 6)), rel=0.3)


def test_a_table_is_what_it_was_made_of():
    """Adams' method written out as a table walks as it does itself, and so does the table read back."""
    process = sf.Gaussian(SCHEDULE_CASES["vp"])
    denoiser, x1 = PLANE.denoiser(process), PLANE.marginal(process, 1.0).sample(7, 1)
    sampler, times = sf.tune(denoiser, 14)  # too many for weights of their own
    assert isinstance(sampler, Tuned)
    again = Table.from_config(sampler.config())
    assert torch.equal(*(torch.as_tensor(sf.sample(denoiser, each, x1, times)) for each in (sampler, again)))
    solvers = [sf.sample(denoiser, Adams(order, scale=unit(denoiser)), x1, times) for order in (2, 3, 4)]
    table = torch.as_tensor(sf.sample(denoiser, sampler, x1, times))
    assert min(float((torch.as_tensor(end) - table).abs().max()) for end in solvers) < 1e-9


def test_refusals():
    flow = sf.Gaussian(SCHEDULE_CASES["flow"])
    with pytest.raises(sf.UserError, match="Gaussian processes"):
        sf.tune(sf.exact.Tokens(torch.ones(2, 2)).denoiser(sf.Discrete.masked(2)), 4)
    with pytest.raises(sf.UserError, match="at least 2"):
        sf.tune(PLANE.denoiser(flow), 1)
    with pytest.raises(sf.UserError, match="shape"):
        sf.tune(sf.Denoiser.from_function(flow, lambda x, t, c: x * 0), 4)
    sampler, _ = sf.tune(PLANE.denoiser(flow), 3)
    with pytest.raises(sf.UserError, match="grid of its own"):
        sf.sample(PLANE.denoiser(flow), sampler, torch.randn(2, 2), grids.uniform(3))
