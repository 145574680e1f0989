"""Law 4: objectives, weights and couplings, and what each part refuses."""

import pytest
import torch

import suffuse as sf
from suffuse import grids
from suffuse.objectives import WEIGHTS, Assignment, Objective, Sinkhorn, UniformWeight
from suffuse.parameterizations import PARAMETERIZATIONS
from suffuse.samplers import SAMPLERS
from tests.laws.truths import F64, numbers, schedule


def test_what_does_not_fit_is_refused():
    bridge, discrete, flow = sf.Bridge(1.0), sf.Discrete.masked(3), sf.Gaussian(schedule("flow"))
    zero = lambda x_t, t, condition: torch.zeros_like(x_t)  # noqa: E731
    for parameterization, process in (("epsilon", flow), ("edm", bridge), ("logits", flow), ("drift", discrete)):
        with pytest.raises(sf.UserError):
            sf.Denoiser(zero, process, PARAMETERIZATIONS[parameterization]())
    with pytest.raises(sf.UserError, match="starts from"):
        bridge.prior(torch.zeros(1, 1))
    for name, make in SAMPLERS.items():
        if make().process is sf.Gaussian:
            with pytest.raises(sf.UserError, match="walks Gaussian"):
                sf.sample(sf.Denoiser.from_function(bridge, zero), make(), torch.zeros(1, 1), grids.uniform(2)), name
    for times in (grids.uniform(2).flip(0), numbers(1.0, 0.5, 0.5), numbers(1.0), numbers(2.0, 0.0)):
        with pytest.raises(sf.UserError, match="fall"):
            sf.sample(sf.Denoiser.from_function(flow, zero), sf.samplers.Heun(), torch.zeros(1, 1), times)
    with pytest.raises(sf.UserError, match="coupled=True"):
        Objective(coupling=Assignment())(sf.Denoiser.from_function(flow, zero), torch.zeros(2, 1))
    with pytest.raises(sf.UserError, match="Gaussian processes only"):
        Objective(weight=WEIGHTS["edm"]())(
            sf.Denoiser.from_function(bridge, zero), torch.zeros(2, 1), source=torch.zeros(2, 1)
        )


def test_a_coupled_model_refuses_noise():
    process = sf.Gaussian(schedule("flow"), coupled=True)
    denoiser = sf.Denoiser.from_function(process, lambda x_t, t, condition: torch.zeros_like(x_t))
    x = torch.zeros(2, 1)
    sf.sample(denoiser, sf.samplers.Ancestral(0.0), x, grids.uniform(2))
    for name, make in SAMPLERS.items():
        if make().stochastic:
            with pytest.raises(sf.UserError, match="coupling"):
                sf.sample(denoiser, make(), x, grids.uniform(8)), name
    for refused in (lambda: process.forward(x, 0.2, 0.5), lambda: process.elbo(x, x, sf.Normal(x), 0.5)):
        with pytest.raises(sf.UserError, match="coupling"):
            refused()


@pytest.mark.parametrize("name", [name for name in WEIGHTS if name != "learned"])
def test_the_minimiser_is_the_empirical_posterior_mean(name):
    """On two points every weighted error has its minimum at the closed-form posterior mean."""
    process = sf.Gaussian(schedule("vp"))
    points = torch.tensor([[-1.0], [1.0]], dtype=F64)
    law = sf.exact.GaussianMixture(points, numbers(1e-4, 1e-4))
    x0 = points.repeat(20_000, 1)
    t = torch.full((40_000,), 0.4, dtype=F64)
    x_t = process.corrupt(x0, t, 1)
    shift = torch.zeros((), dtype=F64, requires_grad=True)
    posterior = sf.Normal(law.denoiser(process)(x_t, t).mean * (1 + shift))
    loss = WEIGHTS[name]()(process, x0, x_t, posterior, t, torch.ones_like(t)).squeeze(1)
    (slope,) = torch.autograd.grad(loss.mean(), shift)
    assert abs(float(slope)) < 0.03 * float(loss.detach().mean())


def test_weights_are_their_definitions():
    process, t = sf.Gaussian(schedule("cosine")), torch.linspace(0.05, 0.95, 19, dtype=F64)
    x0, posterior = torch.zeros(19, 1, dtype=F64), sf.Normal(torch.ones(19, 1, dtype=F64))
    of = lambda weight, law: weight(process, x0, x0, posterior, t, law.density(t)).squeeze(1)  # noqa: E731
    snr = process.schedule.log_snr(t).exp()
    law = grids.LogNormal(process.schedule)
    assert torch.allclose(of(WEIGHTS["elbo"](), law), process.schedule.snr_rate(t).abs() / 2 / law.density(t))
    assert torch.allclose(of(WEIGHTS["min-snr"](5.0), law), snr.clamp(max=5))
    assert torch.allclose(of(WEIGHTS["edm"](0.5), law), (1 / snr + 0.25) * snr / 0.25)
    assert torch.allclose(of(UniformWeight(), law), torch.full_like(t, 0.5))


def test_the_learned_weight_is_at_rest_where_it_is_the_log_of_the_loss():
    process, t = sf.Gaussian(schedule("edm")), torch.linspace(0.2, 0.9, 50, dtype=F64)
    weight = WEIGHTS["learned"](UniformWeight()).double()
    optimizer = torch.optim.LBFGS(weight.parameters(), max_iter=400, line_search_fn="strong_wolfe")
    x0, posterior = torch.zeros(50, 1, dtype=F64), sf.Normal((2 * t[:, None]).sqrt())

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        loss = weight(process, x0, x0, posterior, t, torch.ones_like(t)).mean()
        loss.backward()
        return loss

    optimizer.step(closure)
    best = (t.log() + 1).mean()  # L = t at each level: L exp(-u) + u is least at u = log L
    assert abs(float(closure().detach()) - float(best)) < 1e-3


def test_couplings_pair_what_is_near():
    x0, noise = torch.randn(64, 2, dtype=F64), torch.randn(64, 2, dtype=F64)
    paired = Assignment().pair(x0, noise)
    assert torch.equal(paired.sort(0).values, noise.sort(0).values)
    cost = lambda z: float(((x0 - z) ** 2).sum())  # noqa: E731
    i, j = 3, 17
    swapped = paired.clone()
    swapped[[i, j]] = paired[[j, i]]
    assert cost(paired) < cost(noise)
    assert cost(paired) <= cost(swapped)
    plan = Sinkhorn(0.05, 2000).log_plan(x0, noise).exp()
    assert torch.allclose(plan.sum(1), torch.ones(64, dtype=F64), atol=1e-9)
    assert torch.allclose(plan.sum(0), torch.ones(64, dtype=F64), atol=1e-3)
    assert cost(paired) < cost(Sinkhorn().pair(x0, noise)) < cost(noise)
