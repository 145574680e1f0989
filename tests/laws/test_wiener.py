"""The form that knows the data's mean and spectrum: exact for Gaussian data, EDM's for white data."""

import pytest
import torch
from torch import Tensor

import suffuse as sf
from suffuse.guidance import ClassifierFree, Given, Guided, Merged, Negative, Observed, Tiled
from suffuse.objectives import Objective, OutputWeight
from suffuse.operators import Identity, Mask
from suffuse.operators.spectrum import cosines, from_cosines, hartley
from suffuse.parameterizations import EDM, PerFrequency, Wiener
from suffuse.patterns import Pattern
from suffuse.recipes.build import build_form
from suffuse.recipes.recipe import ProcessSection
from suffuse.rng import Streams
from suffuse.samplers.base import Counted
from tests.laws.cases import F64, FLOW, SCHEDULE_CASES, close

SHAPES: dict[str, tuple[tuple[int, ...], tuple[int, ...]]] = {
    "a line": ((2, 7), ()),
    "a circle": ((2, 8), (0,)),
    "a plane": ((1, 4, 5), ()),
    "a tube": ((2, 4, 6), (1,)),
    "a torus": ((1, 4, 6), (0, 1)),
    "a box": ((1, 2, 3, 4), ()),
}
T = torch.linspace(0.02, 0.98, 12, dtype=F64)


def fitted(name: str) -> tuple[Wiener, Tensor]:
    """A form that has seen coloured data, and that data, in float64."""
    shape, periodic = SHAPES[name]
    generator = torch.Generator().manual_seed(3)
    x0 = torch.randn(500, *shape, generator=generator, dtype=F64)
    for axis in range(2, x0.ndim):  # neighbours that are alike, and a mean that is none
        x0 = x0 + 0.8 * x0.roll(1, axis)
    x0 = 0.4 * x0 + torch.linspace(-1, 1, shape[-1], dtype=F64) * (len(shape) - 2 not in periodic) + 0.3
    form = Wiener(float(x0.std()), shape, periodic).double()
    form.fit(x0.split(64))
    return form, x0


def basis(name: str) -> Tensor:
    """(n, n): a row for each coefficient."""
    shape, periodic = SHAPES[name]
    n = torch.Size(shape).numel()
    circles = [2 + axis for axis in periodic]
    lines = [axis for axis in range(2, 1 + len(shape)) if axis not in circles]
    eye = torch.eye(n, dtype=F64).reshape(n, *shape)
    return cosines(hartley(eye, circles) if circles else eye, lines).reshape(n, n).T


@pytest.mark.parametrize("schedule", SCHEDULE_CASES)
@pytest.mark.parametrize("name", SHAPES)
def test_an_output_of_0_is_the_posterior_mean_of_gaussian_data(name, schedule):
    """By dense matrices: mean + alpha C (alpha^2 C + sigma^2)^-1 (x_t - alpha mean)."""
    form, x0 = fitted(name)
    process = sf.Gaussian(SCHEDULE_CASES[schedule])
    x_t = process.corrupt(x0[:12], T, 0)
    v, mean = basis(name), form.mean.flatten()
    covariance = v.T @ (form.spectrum.flatten()[:, None] * v)
    got = form.posterior(torch.zeros_like(x_t), x_t, T, process).mean
    alpha, sigma = (each.flatten() for each in process.coordinates(T, x_t))
    for k in range(12):
        total = alpha[k] ** 2 * covariance + sigma[k] ** 2 * torch.eye(len(mean), dtype=F64)
        expected = mean + alpha[k] * covariance @ torch.linalg.solve(total, x_t[k].flatten() - alpha[k] * mean)
        assert close(got[k].flatten(), expected, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("name", SHAPES)
def test_it_takes_the_mean_and_the_spectrum_of_what_it_saw(name):
    form, x0 = fitted(name)
    periodic = [1 + axis for axis in SHAPES[name][1]]
    mean = x0.mean(0)
    if periodic:
        mean = mean.mean(periodic, keepdim=True).expand_as(mean)
    assert close(form.mean, mean, atol=1e-12)
    coefficients = ((x0 - mean).flatten(1) @ basis(name).T).reshape(x0.shape)
    found = (coefficients**2).mean(0)
    if not periodic:
        assert close(form.spectrum, found, rtol=1e-9)
    assert close(form.spectrum.sum(), found.sum(), rtol=1e-9)


@pytest.mark.parametrize("name", [name for name, (_, periodic) in SHAPES.items() if periodic])
def test_a_circle_begins_nowhere(name):
    form, x0 = fitted(name)
    axes, x_t = [2 + axis for axis in SHAPES[name][1]], FLOW.corrupt(x0[:12], T, 0)
    turned = form.posterior(x_t.roll([1] * len(axes), axes), x_t.roll([1] * len(axes), axes), T, FLOW).mean
    assert close(turned, form.posterior(x_t, x_t, T, FLOW).mean.roll([1] * len(axes), axes), atol=1e-10)


@pytest.mark.parametrize("name", SHAPES)
def test_the_true_output_gives_the_true_data(name):
    form, x0 = fitted(name)
    x0, v = x0[:12], basis(name)
    x_t = FLOW.corrupt(x0, T, 0)
    alpha, sigma = (each.reshape(-1, 1) for each in FLOW.coordinates(T, x_t))
    left = x0 - form.posterior(torch.zeros_like(x0), x_t, T, FLOW).mean
    power = form.spectrum.flatten()
    out = (sigma**2 * power / (alpha**2 * power + sigma**2)).sqrt()
    output = ((left.flatten(1) @ v.T / out) @ v).reshape(x0.shape)
    assert close(form.posterior(output, x_t, T, FLOW).mean, x0, atol=1e-10)


def test_what_the_filter_leaves_has_the_deviation_that_the_output_is_in():
    """Of data with that mean and spectrum; and the weight makes its squared error one."""
    form, _ = fitted("a plane")
    rng = Streams.of(0, range(20_000))
    noise = rng.normal(torch.empty(20_000, 1, 4, 5, dtype=F64))
    x0 = form.mean + from_cosines(form.spectrum.sqrt() * noise, (2, 3))
    t = torch.full((20_000,), 0.4, dtype=F64)
    left = x0 - form.posterior(torch.zeros_like(x0), FLOW.corrupt(x0, t, rng), t, FLOW).mean
    expected = form.spectrum * 0.4**2 / (0.6**2 * form.spectrum + 0.4**2)
    ratio = (cosines(left, (2, 3)) ** 2).mean(0) / expected
    assert float((ratio - 1).abs().max()) < 5 * (2 / 20_000) ** 0.5
    weighed = (form.weight(t, FLOW, x0) * left**2).mean((1, 2, 3))
    assert abs(float(weighed.mean()) - 1) < 4 * float(weighed.std()) / 20_000**0.5


@pytest.mark.parametrize("own", [False, True], ids=["one time", "a time for each element"])
@pytest.mark.parametrize("schedule", SCHEDULE_CASES)
def test_of_white_data_it_is_edm(schedule, own):
    form, process = Wiener(0.7, (2, 3, 4)).double(), sf.Gaussian(SCHEDULE_CASES[schedule])
    generator = torch.Generator().manual_seed(0)
    x_t, output = torch.randn(2, 12, 2, 3, 4, generator=generator, dtype=F64)
    t = torch.rand(12, 2, 3, 4, generator=generator, dtype=F64) if own else T
    plain = EDM(0.7)
    assert close(form.posterior(output, x_t, t, process).mean, plain.posterior(output, x_t, t, process).mean, atol=1e-7)
    for mine, other in zip(form.inputs(x_t, t, process), plain.inputs(x_t, t, process), strict=True):
        assert torch.equal(mine, other)
    if not own:
        assert close(form.weight(t, process, x_t), plain.weight(t, process, x_t), rtol=1e-6)


@pytest.mark.parametrize("schedule", SCHEDULE_CASES)
def test_elements_with_times_of_their_own(schedule):
    """Of one time they are as items are; at 0 an element stays as it is; in between its share is its noise's."""
    form, x0 = fitted("a plane")
    process, output = sf.Gaussian(SCHEDULE_CASES[schedule]), x0[12:24]
    x_t = process.corrupt(x0[:12], T, 0)
    same = T[:, None, None, None].expand_as(x_t)
    assert close(
        form.posterior(output, x_t, same, process).mean, form.posterior(output, x_t, T, process).mean, atol=1e-9
    )
    clean = torch.zeros_like(same, dtype=torch.bool)
    clean[..., ::2] = True
    times = same.masked_fill(clean, 0.0)
    x_t = process.corrupt(x0[:12], times, 0)
    mean = form.posterior(output, x_t, times, process).mean
    assert close(mean[clean], x0[:12][clean], atol=0.02)
    assert torch.isfinite(mean).all()
    filtered = form.posterior(torch.zeros_like(output), x_t, times, process).mean
    plain = form.form.posterior(torch.zeros_like(output), x_t, times, process).mean
    error, other = (((each - x0[:12])[~clean] ** 2).mean() for each in (filtered, plain))
    assert error < other


def dense(name: str, form: Wiener, x_t: Tensor, t: Tensor, process: sf.Gaussian) -> tuple[Tensor, Tensor]:
    """Mean and covariance of one item by matrices of all of its elements, whatever the times of these."""
    rows, n = basis(name), form.spectrum.numel()
    covariance = rows.T @ (form.spectrum.reshape(n, 1) * rows)
    alpha, sigma = (each.reshape(n) for each in process.coordinates(t[None], x_t[None]))
    gain = (covariance * alpha) @ torch.linalg.inv(alpha[:, None] * covariance * alpha + torch.diag(sigma**2))
    mean = form.mean.reshape(n)
    return (mean + gain @ (x_t.reshape(n) - alpha * mean)).reshape(x_t.shape), covariance - gain @ (
        alpha[:, None] * covariance
    )


def times_along(name: str, axis: int) -> Tensor:
    """Times of one item's elements that differ along one axis of space, and between channels."""
    shape = SHAPES[name][0]
    line = [size if place in (0, axis) else 1 for place, size in enumerate(shape)]
    return (0.05 + 0.9 * torch.rand(*line, generator=torch.Generator().manual_seed(5), dtype=F64)).expand(shape)


AXES = [(name, axis) for name, (shape, _) in SHAPES.items() for axis in range(1, len(shape)) if name != "a torus"]


@pytest.mark.parametrize("schedule", SCHEDULE_CASES)
@pytest.mark.parametrize(("name", "axis"), AXES)
def test_times_that_differ_along_one_axis_are_told_exactly(name, axis, schedule):
    form, x0 = fitted(name)
    process, times = sf.Gaussian(SCHEDULE_CASES[schedule]), times_along(name, axis)
    x_t = process.corrupt(x0[:3], times.expand(3, *times.shape), 0)
    mean = form.posterior(torch.zeros_like(x_t), x_t, times.expand_as(x_t), process).mean
    assert close(mean, torch.stack([dense(name, form, x, times, process)[0] for x in x_t]), atol=1e-6)


@pytest.mark.parametrize(("name", "axis"), AXES)
def test_the_output_is_in_units_of_what_one_axis_leaves(name, axis):
    form, x0 = fitted(name)
    times, outputs = times_along(name, axis), torch.randn(20_000, *x0.shape[1:], generator=torch.Generator(), dtype=F64)
    x_t = FLOW.corrupt(x0[:1], times[None], 0).expand_as(outputs)
    drawn = form.posterior(outputs, x_t, times.expand_as(x_t), FLOW).mean
    squares = (
        ((drawn - form.posterior(torch.zeros_like(drawn[:1]), x_t[:1], times[None], FLOW).mean) ** 2).flatten(1).sum(1)
    )
    expected = dense(name, form, x_t[0], times, FLOW)[1].trace()
    assert close(form.weight(times[None], FLOW, x_t[:1]), x_t[0].numel() / expected, rtol=1e-6)
    assert abs(float(squares.mean() - expected)) < 4 * float(squares.std()) / len(squares) ** 0.5


@pytest.mark.parametrize("schedule", SCHEDULE_CASES)
def test_what_is_known_along_one_axis_stays_as_it_is(schedule):
    form, x0 = fitted("a box")
    process, x0 = sf.Gaussian(SCHEDULE_CASES[schedule]), x0[:4]
    known = torch.zeros_like(x0, dtype=torch.bool)
    known[:, :, [0]] = True
    times = torch.full_like(x0, 0.9).masked_fill(known, 0.0)
    x_t = process.corrupt(x0, times, 0)
    mean = form.posterior(x0, x_t, times, process).mean
    assert close(mean[known], x_t[known] / float(process.schedule.alpha(torch.zeros(()))), atol=0.01)
    assert torch.isfinite(mean).all()


def test_items_of_another_size_have_the_same_power_at_the_same_waves():
    """White data stays white; a stationary process is filtered as well as by a form of its own size."""
    white, x = Wiener(0.7, (1, 4, 4)).double(), torch.randn(2, 1, 6, 9, dtype=F64)
    expected = EDM(0.7).posterior(x, x, 0.3, FLOW).mean
    assert close(white.posterior(x, x, 0.3, FLOW).mean, expected, atol=1e-7)
    small, large = (walks(n) for n in (32, 48))
    forms = []
    for walk in (small, large):
        form = Wiener(1.0, walk.shape[1:]).double()
        form.fit([walk])
        forms.append(form)
    x_t = FLOW.corrupt(large, 0.4, 1)
    errors = [
        float(((form.posterior(torch.zeros_like(x_t), x_t, 0.4, FLOW).mean - large) ** 2).mean())
        for form in (*forms, EDM(1.0))
    ]
    assert errors[0] < 1.1 * errors[1] < 0.6 * errors[2]


def walks(n: int) -> Tensor:
    """(2000, 1, n): autoregressions of order one."""
    noise = torch.randn(2000, 1, n, generator=torch.Generator().manual_seed(n), dtype=F64)
    x = [noise[..., 0]]
    for k in range(1, n):
        x.append(0.95 * x[-1] + (1 - 0.95**2) ** 0.5 * noise[..., k])
    return torch.stack(x, -1)


def test_the_objective_is_one_before_anything_is_learned():
    """A network that gives 0 has the loss of a whole output, at every level of noise."""
    form, _ = fitted("a line")
    x0 = form.mean + from_cosines(
        form.spectrum.sqrt() * Streams.of(0, range(4000)).normal(torch.empty(4000, 2, 7, dtype=F64)), (2,)
    )
    denoiser = sf.Denoiser(lambda x, level, condition: torch.zeros_like(x), FLOW, form)
    loss = Objective(weight=OutputWeight(form))(denoiser, x0, rng=1)
    assert abs(float(loss.mean()) - 1) < 4 * float(loss.std()) / 4000**0.5


class Everything(Pattern):
    """All elements of every second item."""

    def draw(self, x0: Tensor, rng: Streams) -> Tensor:
        return (torch.arange(len(x0)) % 2 == 0).reshape(-1, *(1,) * (x0.ndim - 1)).expand_as(x0)


@pytest.mark.parametrize("schedule", SCHEDULE_CASES)
@pytest.mark.parametrize("form", [Wiener(0.7, (2, 3, 4)), EDM(0.7)], ids=["wiener", "edm"])
def test_of_an_item_that_is_shown_as_a_whole_nothing_is_asked(form, schedule):
    network = torch.nn.Conv2d(2, 2, 1)
    denoiser = sf.Denoiser(lambda x, level, condition: network(x), sf.Gaussian(SCHEDULE_CASES[schedule]), form)
    loss = Objective(weight=OutputWeight(form), pattern=Everything(1.0))(denoiser, torch.randn(4, 2, 3, 4), rng=0)
    assert loss[::2].tolist() == [0.0, 0.0]
    loss.mean().backward()
    assert all(torch.isfinite(parameter.grad).all() for parameter in network.parameters())


def test_its_measurements_are_saved_with_the_weights():
    form, _ = fitted("a plane")
    other = Wiener(form.sigma_data, (1, 4, 5)).double()
    other.load_state_dict(form.state_dict())
    x = torch.randn(3, 1, 4, 5, dtype=F64)
    assert torch.equal(other.posterior(x, x, 0.5, FLOW).mean, form.posterior(x, x, 0.5, FLOW).mean)
    assert sorted(form.state_dict()) == ["mean", "spectrum"]


@pytest.mark.parametrize("name", SHAPES)
def test_what_is_left_has_the_covariance_of_the_posterior(name):
    """White noise made it: L L^T is C - alpha^2 C (alpha^2 C + sigma^2)^-1 C, by dense matrices."""
    form, x0 = fitted(name)
    n, shape, v = x0[0].numel(), x0.shape[1:], basis(name)
    denoiser = sf.Denoiser(lambda x, level, condition: torch.zeros_like(x), FLOW, form, shape)
    covariance = v.T @ (form.spectrum.flatten()[:, None] * v)
    total = 0.7**2 * covariance + 0.3**2 * torch.eye(n, dtype=F64)
    expected = covariance - 0.7**2 * covariance @ torch.linalg.solve(total, covariance)
    eye = torch.eye(n, dtype=F64).reshape(n, *shape)
    asking = [
        Counted(denoiser),
        ClassifierFree(denoiser, 2.0),
        Negative(denoiser, {}, 2.0),
        Guided(denoiser, denoiser, 2.0),
        Given(denoiser, x0[:1], torch.zeros(1, *shape, dtype=torch.bool)),
        Merged(denoiser, x0[:1], 0.5),
        Observed(denoiser, Identity(), x0[:1], 0.5),
        Tiled(denoiser, shape[1:]),
    ]
    for each in [denoiser, *asking]:
        rows = each.spread(torch.zeros_like(eye), torch.tensor(0.3, dtype=F64)).draw(eye).reshape(n, n)
        assert close(rows.T @ rows, expected, atol=1e-9), type(each).__name__


def test_it_is_the_form_of_what_has_axes_under_noise_alone():
    assert isinstance(build_form(ProcessSection(noise_schedule="edm"), 0.5, (1, 8, 8)), Wiener)
    assert type(build_form(ProcessSection(noise_schedule="edm"), 0.5, (8,))) is EDM
    assert type(build_form(ProcessSection(noise_schedule="heat"), 0.5, (1, 8, 8))) is PerFrequency
    for schedule, shape in [("heat", (1, 8, 8)), ("edm", (8,))]:
        section = ProcessSection(noise_schedule=schedule, parameterization="wiener")
        with pytest.raises(sf.UserError, match="the form wiener knows the spectrum of what has axes"):
            build_form(section, 0.5, shape)


@pytest.mark.parametrize("level", [0.5, 0.0], ids=["one item", "nothing but zeros"])
def test_items_that_are_all_alike_leave_it_finite(level):
    """Their variance is 0, and the network's output is in units of next to nothing."""
    form, x0 = Wiener(level or 1.0, (1, 4, 4)).double(), torch.full((3, 1, 4, 4), level, dtype=F64)
    form.fit([x0])
    denoiser = sf.Denoiser(lambda x, level, condition: torch.randn_like(x), FLOW, form)
    loss = Objective(weight=OutputWeight(form))(denoiser, x0, rng=0)
    assert torch.isfinite(loss).all()
    assert close(denoiser(x0, 0.5).mean, x0, atol=0.01)


@pytest.mark.parametrize("name", SHAPES)
def test_what_is_measured_of_gaussian_data_is_told_exactly(name):
    """E[x_0 | x_t, y] by dense matrices, where the network adds nothing, without its derivatives."""
    form, x0 = fitted(name)
    n, shape, v = x0[0].numel(), x0.shape[1:], basis(name)
    denoiser = sf.Denoiser(lambda x, level, condition: torch.zeros_like(x), FLOW, form, shape)
    generator = torch.Generator().manual_seed(2)
    operator = Mask(torch.rand(shape, generator=generator) < 0.4)
    x_t, noise = FLOW.corrupt(x0[:3], 0.8, 0), 0.1
    y = operator(x0[:3] + noise * torch.randn(3, *shape, generator=generator, dtype=F64))
    covariance = v.T @ (form.spectrum.flatten()[:, None] * v)
    seen = torch.eye(n, dtype=F64)[operator.mask.flatten()]
    # x_t and y are one linear measurement of Gaussian data
    a = torch.cat([0.2 * torch.eye(n, dtype=F64), seen])
    variance = torch.cat([torch.full((n,), 0.8**2, dtype=F64), torch.full((len(seen),), noise**2, dtype=F64)])
    both = torch.cat([x_t.flatten(1), y.flatten(1)[:, operator.mask.flatten()]], 1)
    total = a @ covariance @ a.T + torch.diag(variance)
    mean = form.mean.flatten()
    expected = mean + torch.linalg.solve(total, (both - a.matmul(mean)).T).T @ (a @ covariance)
    told = Observed(denoiser, operator, y, noise, "prior")(x_t, torch.tensor(0.8, dtype=F64)).mean.flatten(1)
    known = denoiser(x_t, torch.tensor(0.8, dtype=F64)).mean.flatten(1)
    assert float((told - expected).norm()) < 0.02 * float((known - expected).norm())
