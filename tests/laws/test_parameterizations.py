"""Law 3: every form of a network's output says the same thing."""

import itertools
import math

import pytest
import torch

import suffuse as sf
from suffuse.parameterizations import EDM, PARAMETERIZATIONS, Affine
from tests.laws.cases import F64, FLOW, MASKED, PARAMETERIZATION_CASES, SCHEDULE_CASES, VP, close, numbers

AFFINE = [form for form, _, _ in PARAMETERIZATION_CASES if isinstance(form, Affine)]
T = torch.linspace(0.02, 0.98, 24, dtype=F64)


def test_every_parameterization_has_a_case():
    assert {type(form) for form, _, _ in PARAMETERIZATION_CASES} == set(PARAMETERIZATIONS.values())


def noisy(process: sf.Gaussian) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """(x_0, noise, x_t) of 24 items at the times T."""
    generator = torch.Generator().manual_seed(0)
    x0, noise = (torch.randn(24, 3, generator=generator, dtype=F64) for _ in range(2))
    return x0, noise, process.corrupt(x0, T, source=noise)


def target(
    form: Affine, x0: torch.Tensor, noise: torch.Tensor, alpha: torch.Tensor, sigma: torch.Tensor
) -> torch.Tensor:
    """What the network should say, as the papers define it."""
    s = form.sigma_data
    return {
        "Epsilon": noise,
        "Velocity": alpha * noise - sigma * x0,
        "Flow": noise - x0,
        "Data": x0,
        # (x_0 - c_skip x) / c_out, with c_skip = s^2 / (r^2 + s^2), c_out = r s / sqrt(r^2 + s^2), x = x_0 + r noise
        "EDM": (x0 - s**2 / ((sigma / alpha) ** 2 + s**2) * (x0 + sigma / alpha * noise))
        * ((sigma / alpha) ** 2 + s**2) ** 0.5
        / (sigma / alpha * s),
    }[type(form).__name__]


@pytest.mark.parametrize("form", AFFINE, ids=lambda form: type(form).__name__)
@pytest.mark.parametrize("name", SCHEDULE_CASES)
def test_the_true_output_gives_the_true_data(form, name):
    process = sf.Gaussian(SCHEDULE_CASES[name])
    x0, noise, x_t = noisy(process)
    output = target(form, x0, noise, *process.coordinates(T, x0))
    posterior = form.posterior(output, x_t, T, process)
    assert posterior.var is None
    assert close(posterior.mean, x0, rtol=1e-8, atol=1e-9)


@pytest.mark.parametrize("name", SCHEDULE_CASES)
def test_all_forms_of_one_answer_agree(name):
    """One function with a parameter, put in each form: same posterior, same loss and gradient under the weights."""
    process = sf.Gaussian(SCHEDULE_CASES[name])
    x0, noise, x_t = noisy(process)
    alpha, sigma = process.coordinates(T, x0)
    results, unit = [], EDM().weight(T, process, x0)
    for form in AFFINE:
        theta = torch.tensor([0.7, -0.2], dtype=F64, requires_grad=True)
        answer = theta[0] * torch.tanh(x_t) + theta[1] * x_t / (alpha + sigma)
        # The noise that this answer believes in; the same answer in any other form follows from the definitions.
        believed = (x_t - alpha * answer) / sigma
        output = target(form, answer, believed, alpha, sigma)
        mean = form.posterior(output, x_t, T, process).mean
        in_x0 = unit * (x0 - mean) ** 2
        # The squared error of the output itself, weighted by what makes it that in x_0.
        wanted = target(form, x0, noise, alpha, sigma)
        in_output = unit / form.weight(T, process, x0) * (output - wanted) ** 2
        assert close(in_x0, in_output, rtol=1e-6)
        results.append((mean, in_output.mean(), *torch.autograd.grad(in_output.mean(), theta)))
    for (mean, loss, gradient), (other, other_loss, other_gradient) in itertools.pairwise(results):
        assert close(mean, other, rtol=1e-8, atol=1e-10)
        assert close(loss, other_loss, rtol=1e-6)
        assert close(gradient, other_gradient, rtol=1e-6)


@pytest.mark.parametrize("name", SCHEDULE_CASES)
def test_edm_has_unit_inputs_and_targets(name):
    """For data of the stated deviation, by the closed-form second moments."""
    process = sf.Gaussian(SCHEDULE_CASES[name])
    form = sf.parameterizations.EDM(0.7)
    one = torch.ones(24, 1, dtype=F64)
    alpha, sigma = process.coordinates(T, one)
    scale = form.inputs(one, T, process)[0]
    assert close(scale**2 * (alpha**2 * 0.49 + sigma**2), one)
    skip, out = form.coefficients(alpha, sigma)
    # target = ((1 - skip alpha) x_0 - skip sigma noise) / out
    assert close(((1 - skip * alpha) ** 2 * 0.49 + (skip * sigma) ** 2) / out**2, one)


@pytest.mark.parametrize("form", AFFINE, ids=lambda form: type(form).__name__)
def test_inputs_are_a_function_of_snr_alone(form):
    """The same noise level under another schedule and scale is the same to the network."""
    x0, noise, _ = noisy(FLOW)
    seen = []
    for schedule in SCHEDULE_CASES.values():
        t = schedule.inverse(torch.linspace(-3, 3, 24, dtype=F64))
        process = sf.Gaussian(schedule)
        seen.append(form.inputs(process.corrupt(x0, t, source=noise), t, process))
    for name, (scaled, level) in zip(SCHEDULE_CASES, seen, strict=True):
        if not name.startswith("table "):  # which never gets as clean as that, or not smoothly
            assert close(scaled, seen[0][0], atol=1e-8)
            assert close(level, torch.linspace(-3, 3, 24, dtype=F64), atol=1e-8)


@pytest.mark.parametrize(("form", "process", "other"), PARAMETERIZATION_CASES, ids=lambda value: type(value).__name__)
def test_another_process_is_refused(form, process, other):
    form.check(process)
    with pytest.raises(sf.UserError, match=r"\w+ (is a parameterization for|cannot be used with)"):
        sf.Denoiser(lambda x, level, condition: x, other, form)


@pytest.mark.parametrize("name", SCHEDULE_CASES)
def test_epsilon_is_refused_where_alpha_vanishes(name):
    process = sf.Gaussian(SCHEDULE_CASES[name])
    if name in ("cosine", "flow", "table to nothing"):
        with pytest.raises(sf.UserError, match=f"{type(process.schedule).__name__}, whose alpha is 0"):
            sf.Denoiser(lambda x, level, condition: x, process, sf.parameterizations.Epsilon())
    else:
        sf.parameterizations.Epsilon().check(process)


@pytest.mark.parametrize("form", [form for form in AFFINE if type(form).__name__ != "Epsilon"])
@pytest.mark.parametrize("schedule", ["cosine", "flow"])
def test_answers_are_finite_where_alpha_vanishes(form, schedule):
    """At t = 1 the state is pure noise, and the output alone says what the data is: c_out is not zero."""
    process = sf.Gaussian(SCHEDULE_CASES[schedule])
    x, output = torch.randn(4, 2, dtype=F64), torch.randn(4, 2, dtype=F64)
    mean = form.posterior(output, x, 1.0, process).mean
    sign = -1 if type(form).__name__ in ("Velocity", "Flow") else form.sigma_data if type(form).__name__ == "EDM" else 1
    shift = x if type(form).__name__ == "Flow" else 0
    assert close(mean, sign * output + shift)


def test_drift_is_the_way_left():
    x0, x1, noise = torch.randn(3, 5, 2, dtype=F64)
    t = torch.linspace(0.1, 0.9, 5, dtype=F64)[:, None]
    x_t = (1 - t) * x0 + t * x1 + 0.3 * noise
    form, process = sf.parameterizations.Drift(), sf.Bridge(1.0)
    assert close(form.posterior((x0 - x_t) / t, x_t, t[:, 0], process).mean, x0)
    assert torch.equal(form.inputs(x_t, t[:, 0], process)[1], ((1 - t) / t).log()[:, 0])


@pytest.mark.parametrize("rho", [-0.5, 0.0, 0.8])
def test_a_bridge_has_unit_inputs_and_targets(rho):
    """For ends of one deviation and this correlation, by the closed-form second moments."""
    form, process = sf.parameterizations.Bridged(0.7, rho), sf.Bridge(1.3)
    t = torch.linspace(0.001, 1, 25, dtype=F64)
    one = torch.ones(25, 1, dtype=F64)
    scale, skip, out = (each[:, 0] for each in form.coefficients(t, process, one))
    ends, noise = 0.7**2, 1.3**2 * t * (1 - t)

    def variance(a: torch.Tensor, b: torch.Tensor, c: torch.Tensor) -> torch.Tensor:
        """Of a x_0 + b x_1 + c noise."""
        return (a**2 + b**2 + 2 * rho * a * b) * ends + c**2 * noise

    assert close(scale**2 * variance(1 - t, t, one[:, 0]), one[:, 0])
    # target = (x_0 - skip x_t) / out, of which skip leaves the least variance
    left = variance(1 - skip * (1 - t), -skip * t, skip)
    assert close(left / out**2, one[:, 0], rtol=1e-9)
    for other in (skip + 0.01, skip - 0.01):
        assert (variance(1 - other * (1 - t), -other * t, other) > left).all()


def test_a_bridges_output_gives_the_data_at_both_ends():
    form, process = sf.parameterizations.Bridged(0.7), sf.Bridge(1.3)
    x0, x1, noise = torch.randn(3, 5, 2, generator=torch.Generator().manual_seed(0), dtype=F64)
    t = numbers(1.0, 0.9, 0.5, 0.1, 1e-6)
    x_t = process.corrupt(x0, t, 0, x1)
    scale, skip, out = form.coefficients(t, process, x0)
    assert close(form.posterior((x0 - skip * x_t) / out, x_t, t, process).mean, x0, atol=1e-11)
    assert torch.equal(form.posterior(noise, x_t, t, process).mean[0], 0.7 * noise[0])  # at t = 1 the output alone
    assert (form.posterior(noise, x_t, t, process).mean - x_t)[-1].abs().max() < 0.01  # at t = 0 hardly at all
    inputs, level = form.inputs(x_t, t, process)
    assert close(inputs, x_t * scale)
    assert level.tolist() == pytest.approx([-7, -math.log(9), 0, math.log(9), 7], abs=1e-12)


def test_logits_are_the_posterior():
    logits = torch.randn(2, 4, 3, dtype=F64)
    denoiser = sf.Denoiser(lambda x, level, condition: logits, sf.Discrete.uniform(3), sf.parameterizations.Logits())
    x_t = torch.zeros(2, 4, dtype=torch.int64)
    assert torch.equal(denoiser(x_t, 0.5).mean, logits.softmax(-1))
    half = sf.parameterizations.Logits().posterior(logits.bfloat16(), x_t, 0.5, MASKED)
    assert half.logits.dtype == torch.float32


def test_each_leaf_has_its_own_form():
    form, process, _ = PARAMETERIZATION_CASES[-1]
    x_t = {"x": torch.randn(2, 3, dtype=F64), "kind": torch.tensor([[3], [3]])}
    output = {"x": torch.randn(2, 3, dtype=F64), "kind": torch.randn(2, 1, 3, dtype=F64)}
    seen = {}

    def network(x, level, condition):
        seen.update(x=x, level=level)
        return output

    q = sf.Denoiser(network, process, form)(x_t, {"x": torch.full((2,), 0.25, dtype=F64), "kind": 0.5})
    assert close(q.mean["x"], x_t["x"] - 0.25 * output["x"])
    assert close(q.mean["kind"], output["kind"].float().softmax(-1).double(), atol=1e-7)
    assert close(seen["x"]["x"], x_t["x"] / (0.75**2 + 0.25**2) ** 0.5)
    assert float(seen["level"]["x"][0]) == pytest.approx(2 * torch.tensor(3.0).log().item(), rel=1e-6)
    assert float(seen["level"]["kind"]) == 0.5


@pytest.mark.parametrize("name", SCHEDULE_CASES)
def test_levels_are_finite_at_both_ends(name):
    level = sf.Gaussian(SCHEDULE_CASES[name]).level(torch.tensor([0.0, 0.5, 1.0], dtype=F64))
    assert (level.abs() <= 20).all()
    assert (level.diff() < 0).all()
    assert sf.Bridge(1.0).level(torch.tensor([0.0, 1.0])).tolist() == [20, -20]
    assert VP.level(0.5).shape == ()
