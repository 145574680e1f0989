"""Law 8, of operators: adjoints, inverses, norms and spectra against dense matrices, and each against its own truth."""

import io
import math
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from PIL import Image
from torch import Tensor

import suffuse as sf
from suffuse.operators import (
    JPEG,
    OPERATORS,
    BandLimit,
    Blur,
    Clip,
    Composed,
    Decomposed,
    Downsample,
    Fourier,
    Function,
    Grey,
    Identity,
    Linear,
    LinearFunction,
    Mask,
    Matrix,
    Mixture,
    Operator,
    Quantise,
    Radon,
    RandomProjection,
    Response,
    Sensors,
    Stacked,
    conjugate_gradients,
    parse,
)
from tests.laws.cases import F64, close, numbers

Shape = tuple[int, ...]


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, dtype=F64, generator=torch.Generator().manual_seed(seed))


def seen(*shape: int, share: float = 0.5) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(1)) < share


LINEAR: dict[str, tuple[Any, Shape]] = {
    "identity": (Identity(), (2, 3)),
    "mask of channels and places": (Mask(seen(2, 4, 3)), (2, 4, 3)),
    "mask of places": (Mask(seen(1, 4, 3)), (2, 4, 3)),
    "mask of vectors": (Mask(seen(7)), (7,)),
    "full mask": (Mask(torch.ones(4)), (2, 4)),
    "empty mask": (Mask(torch.zeros(4)), (2, 4)),
    "grey": (Grey(), (3, 3, 2)),
    "grey of space": (Grey(), (3, 2, 2, 2)),
    "average of signals": (Downsample(3), (2, 12)),
    "average of pictures": (Downsample(2), (2, 6, 4)),
    "average of fields": (Downsample(2), (1, 4, 2, 4)),
    "average by axis": (Downsample((2, 3)), (1, 4, 6)),
    "average of the last axis": (Downsample((3,)), (1, 4, 6)),
    "bicubic of signals": (Downsample(4, "bicubic"), (2, 12)),
    "bicubic of pictures": (Downsample(2, "bicubic"), (1, 8, 6)),
    "bicubic of fields": (Downsample((2, 3, 1), "bicubic"), (1, 4, 3, 2)),
    "blur of signals": (Blur(noise(5)), (2, 9)),
    "blur of pictures": (Blur(noise(3, 5)), (2, 6, 7)),
    "blur of fields": (Blur(noise(3, 3, 3)), (1, 3, 4, 2)),
    "Gaussian blur": (Blur.gaussian(0.5), (1, 5, 6)),
    "Gaussian blur over itself": (Blur.gaussian(0.8), (1, 5, 6)),  # its kernel is wider than the picture
    "motion": (Blur.motion(4, 30), (1, 6, 6)),
    "mixture": (Mixture(3), (3, 5)),
    "response": (Response(noise(4)), (2, 9)),
    "response that is longer": (Response(noise(12)), (1, 7)),
    "linear function": (LinearFunction(lambda x: x.flip(-1)[..., :3] * 2, (2, 5)), (2, 5)),
    "matrix that is wide": (Matrix(noise(3, 8), (2, 4)), (2, 4)),
    "matrix that is tall": (Matrix(noise(7, 4)), (4,)),
    "matrix of low rank": (Matrix(noise(6, 2) @ noise(2, 5)), (5,)),
    "random projection": (RandomProjection(7, (2, 3, 3), 0), (2, 3, 3)),
    "random projection of vectors": (RandomProjection(4, (9,), 3), (9,)),
    "Fourier of signals": (Fourier(seen(9)), (2, 9)),
    "Fourier of pictures": (Fourier(seen(4, 6)), (2, 4, 6)),
    "Fourier of fields": (Fourier(seen(3, 4, 2)), (1, 3, 4, 2)),
    "all of Fourier": (Fourier(torch.ones(4, 3)), (1, 4, 3)),
    "Radon": (Radon(5, [0.0, 45.0, 90.0, 100.0]), (2, 5, 5)),
    "band of signals": (BandLimit(0.5), (2, 9)),
    "band of even signals": (BandLimit(0.5), (2, 8)),
    "band of pictures": (BandLimit(0.3), (1, 3, 8)),
    "sensors of signals": (Sensors(numbers(0, 2.25, 6), (7,)), (2, 7)),
    "sensors of pictures": (Sensors(noise(5, 2).abs(), (5, 4)), (2, 5, 4)),
    "sensors of fields": (Sensors(noise(4, 3).abs().clamp(max=1.9), (3, 4, 3)), (1, 3, 4, 3)),
    "composed": (Mask(seen(1, 3, 4)) @ Blur.gaussian(0.4), (2, 3, 4)),
    "composed of three": (Downsample(2) @ Grey() @ Blur.gaussian(0.4), (3, 4, 4)),
    "stacked": (Stacked(Grey(), Downsample(2), Mask(seen(1, 4, 2)), shape=(3, 4, 2)), (3, 4, 2)),
}
OTHERS: dict[str, tuple[Any, Shape]] = {
    "clip": (Clip(0.5), (2, 6)),
    "quantise": (Quantise(4), (2, 6)),
    "JPEG": (JPEG(40), (3, 9, 10)),
    "JPEG of greys": (JPEG(90), (1, 8, 8)),
    "function": (Function(lambda x: torch.tanh(x.flatten(1)[:, 1:]) * x.flatten(1)[:, :-1]), (2, 6)),
    "clipped greys": (Clip(0.5) @ Grey(), (3, 2, 2)),
    "grey of clipped": (Grey() @ Clip(0.5), (3, 2, 2)),
    "stacked, one of them clipped": (Stacked(Clip(0.5), Downsample(2), shape=(2, 6)), (2, 6)),
}
each_linear = pytest.mark.parametrize("name", LINEAR)
each_decomposed = pytest.mark.parametrize(
    "name", [name for name, (a, _) in LINEAR.items() if isinstance(a, Decomposed)]
)
each_other = pytest.mark.parametrize("name", OTHERS)


def dense(a: Operator, shape: Shape) -> Tensor:
    """The matrix (m, n) of a linear operator: what it makes of a basis."""
    n = math.prod(shape)
    return a(torch.eye(n, dtype=F64).reshape(n, *shape)).reshape(n, -1).T


def test_every_operator_has_a_case():
    cases = [a for a, _ in (*LINEAR.values(), *OTHERS.values())]
    for name in sf.operators.__all__:
        kind = getattr(sf.operators, name)
        if isinstance(kind, type) and issubclass(kind, Operator):
            assert any(isinstance(a, kind) for a in cases), name


@each_linear
def test_the_linear_are_linear_and_say_so(name):
    a, shape = LINEAR[name]
    x, z = noise(3, *shape), noise(3, *shape, seed=1)
    assert isinstance(a, Linear)
    assert a.linear
    assert close(a(2 * x - 3 * z), 2 * a(x) - 3 * a(z), atol=1e-11)


@each_other
def test_the_others_are_not_and_say_so(name):
    a, shape = OTHERS[name]
    x = noise(3, *shape)
    assert not isinstance(a, Linear)
    assert not a.linear
    assert not close(a(3 * x), 3 * a(x), rtol=1e-3)
    with pytest.raises(sf.UserError, match=r"is not linear: say at which state, adjoint\(y, at=x\)"):
        a.adjoint(a(x))


@each_linear
def test_adjoints(name):
    """<A x, y> = <x, A' y> for every item, and the gradient of A is A'."""
    a, shape = LINEAR[name]
    x = noise(3, *shape).requires_grad_()
    y = noise(*a(x).shape, seed=2)
    measured = a(x)
    left, right = (measured * y).flatten(1).sum(1), (x * a.adjoint(y)).flatten(1).sum(1)
    scale = measured.flatten(1).norm(dim=1) * y.flatten(1).norm(dim=1)
    assert bool(((left - right).abs() <= 1e-10 * scale).all())
    assert a.adjoint(y).shape == x.shape
    assert close(torch.autograd.grad(measured, x, y)[0], a.adjoint(y), atol=1e-12)


@each_linear
def test_items_are_measured_alone_and_types_are_kept(name):
    a, shape = LINEAR[name]
    x = noise(3, *shape)
    assert close(a(x)[1:2], a(x[1:2]))
    for single in (a(x.float()), a.adjoint(a(x.float())), a.pseudo_inverse(a(x.float()))):
        assert single.dtype == torch.float32
    assert torch.allclose(a(x.float()).double(), a(x), rtol=1e-5, atol=1e-5)
    solved = a.solve(a(x), 1.0, 0.1)
    assert torch.allclose(
        a.solve(a(x).float(), 1.0, 0.1).double(), solved, rtol=0, atol=1e-4 * float(solved.norm() + 1)
    )


@each_linear
def test_pseudo_inverses(name):
    """A A+ A = A, for the A+ that the dense matrix has."""
    a, shape = LINEAR[name]
    x = noise(3, *shape)
    y = a(x)
    tolerance = 1e-9 if isinstance(a, Decomposed) else 1e-7
    assert close(a(a.pseudo_inverse(y)), y, rtol=tolerance, atol=tolerance)
    any_y = noise(*y.shape, seed=3)  # of which a part cannot have been measured
    truth = any_y.flatten(1) @ torch.linalg.pinv(dense(a, shape), rtol=1e-12).T
    assert close(a.pseudo_inverse(any_y).flatten(1), truth, rtol=1e-6, atol=1e-6 * float(truth.abs().max() + 1))


@each_linear
@pytest.mark.parametrize(
    ("a", "b"),
    [
        (1.0, 0.3),
        (2.5, 1e-3),
        (torch.tensor([0.5, 1, 2]), torch.tensor([1e-3, 0.1, 1])),
        (torch.tensor([0.5, 1, 2]), 1),
    ],
)
def test_solutions(name, a, b):
    """(a A A' + b) solve(y, a, b) = y, with numbers for all, or for each item."""
    operator, shape = LINEAR[name]
    y = noise(*operator(noise(3, *shape)).shape, seed=4)
    a, b = (torch.as_tensor(v, dtype=F64).reshape(-1, *(1,) * (y.ndim - 1)) for v in (a, b))
    solved = operator.solve(y, a, b)
    tolerance = 1e-10 if isinstance(operator, Decomposed) else 1e-8
    assert close(a * operator(operator.adjoint(solved)) + b * solved, y, rtol=0, atol=tolerance * float(y.norm()))


@each_linear
def test_solutions_without_noise(name):
    """b = 0: the pseudo-inverse of a A A', also where some items have noise and others not."""
    a, shape = LINEAR[name]
    matrix = dense(a, shape)
    gram = matrix @ matrix.T
    truths = [
        torch.linalg.pinv(2 * gram, rtol=1e-13, hermitian=True),
        torch.linalg.inv(gram + 0.5 * torch.eye(len(gram))),
    ]
    y = noise(*a(noise(2, *shape)).shape, seed=5)
    solved = a.solve(y, torch.tensor([2.0, 1.0]), torch.tensor([0.0, 0.5])).flatten(1)
    for one, truth, item in zip(solved, truths, y.flatten(1), strict=True):
        expected = truth @ item
        assert close(one, expected, rtol=0, atol=1e-6 * float(expected.norm() + 1))


@each_linear
def test_norms(name):
    a, shape = LINEAR[name]
    truth = float(torch.linalg.matrix_norm(dense(a, shape), 2))
    like = noise(2, *shape)
    assert abs(a.norm(like) - truth) <= 1e-3 * truth
    assert abs(Linear.norm(a, like) - truth) <= 1e-3 * truth
    assert not isinstance(a, Decomposed) or abs(a.norm(like) - truth) <= 1e-12


@each_decomposed
def test_spectra(name):
    """Orthonormal bases, the singular values of the dense matrix, and A = U S V'."""
    a, shape = LINEAR[name]
    x = noise(3, *shape)
    spectrum = a.spectrum(x)
    c = spectrum.to(x)
    assert close(spectrum.back(c), x, atol=1e-11)
    assert close(c.flatten(1).norm(dim=1), x.flatten(1).norm(dim=1))
    assert close(spectrum.to(spectrum.back(c)), c, atol=1e-11)
    values = spectrum.values.expand(c.shape[1:]).flatten().sort(descending=True).values
    truth = torch.linalg.svdvals(dense(a, shape))
    k = min(len(values), len(truth))
    assert close(values[:k], truth[:k], atol=1e-12)
    assert bool((values >= 0).all())
    assert bool((values[k:].abs() < 1e-12).all())
    assert bool((truth[k:] < 1e-12).all())
    kept = torch.where(spectrum.seen, spectrum.values * c, 0)
    measured = torch.where(spectrum.seen, spectrum.measured(a(x)), 0)
    assert close(measured, kept, atol=1e-11)
    assert close(spectrum.shown(kept), a(x), atol=1e-11)


def test_what_is_faint_is_seen_and_what_is_rounding_is_not():
    """Values of 1e-9 are inverted, those of 1e-15 are not: with noise they count as unseen, without as 0."""
    a, y = Matrix(torch.diag(numbers(1, 1e-9, 1e-15))), numbers(3, 3, 3)[None]
    assert close(a.pseudo_inverse(y), numbers(3, 3e9, 0)[None])
    assert close(a.solve(y, 1.0, 0.0), numbers(3, 3e18, 0)[None])
    assert close(a.solve(y, 1.0, 0.5), numbers(2, 6, 6)[None])


def test_what_has_no_closed_spectrum_has_none():
    for name, (a, shape) in LINEAR.items():
        assert isinstance(a, Decomposed) or a.spectrum(noise(1, *shape)) is None, name


def test_composition_and_stacking_are_products_and_rows_of_matrices():
    blur, grey, small = Blur(noise(3, 3)), Grey(), Downsample(2)
    shape = (3, 4, 4)
    both = dense(small, (1, 4, 4)) @ dense(grey, shape) @ dense(blur, shape)
    assert close(dense(small @ grey @ blur, shape), both)
    assert close(dense(small @ (grey @ blur), shape), both)
    rows = torch.cat([dense(grey, shape), dense(small, shape)])
    assert close(dense(Stacked(grey, small, shape=shape), shape), rows)
    assert close(dense(grey @ Mask(seen(3, 4, 4)), shape), dense(grey, shape) * seen(3, 4, 4).flatten())
    assert isinstance(small @ grey, Composed)


@each_other
def test_adjoints_of_the_others(name):
    """At a state, equal to automatic differentiation."""
    a, shape = OTHERS[name]
    x = (0.4 * noise(3, *shape)).requires_grad_()
    y = noise(*a(x).shape, seed=6)
    assert close(a.adjoint(y, at=x.detach()), torch.autograd.grad(a(x), x, y)[0])


@pytest.mark.parametrize(
    "name", ["clip", "function", "clipped greys", "grey of clipped", "stacked, one of them clipped"]
)
def test_adjoints_of_the_smooth_are_differences(name):
    """<A(x + h d) - A(x - h d), y> / 2h = <d, J' y>, away from where a value is cut."""
    a, shape = OTHERS[name]
    x, d = noise(20, *shape), noise(20, *shape, seed=7)
    x, d = x + 1e-3 * x.sign(), d / d.norm()
    y, h = noise(*a(x).shape, seed=8), 1e-6
    slope = (a(x + h * d) - a(x - h * d)) / (2 * h)
    assert close((slope * y).sum(), (d * a.adjoint(y, at=x)).sum(), rtol=1e-6)


@pytest.mark.parametrize("name", ["quantise", "JPEG", "JPEG of greys"])
def test_surrogate_gradients_pass_straight_through(name):
    """Rounding counts for nothing: y itself inside of [-1, 1], and 0 outside."""
    a, shape = OTHERS[name]
    x = noise(3, *shape)
    y = noise(3, *shape, seed=9)
    assert close(a.adjoint(y, at=x), torch.where(x.abs() <= 1, y, 0))


def test_averages_and_bicubic_averages_are_those_of_torch():
    """An independent implementation, whose bicubic one is in single precision at best."""
    x = noise(2, 3, 12, 8)
    assert close(Downsample(4)(x), torch.nn.functional.avg_pool2d(x, 4))
    assert close(Downsample(2)(noise(1, 2, 4, 4, 6)), torch.nn.functional.avg_pool3d(noise(1, 2, 4, 4, 6), 2))
    for factor in (2, 4):
        truth = torch.nn.functional.interpolate(x, scale_factor=1 / factor, mode="bicubic", antialias=True)
        assert close(Downsample(factor, "bicubic")(x), truth, rtol=0, atol=1e-6)


def test_blur_is_a_circular_convolution():
    kernel, x = noise(3, 5), noise(2, 1, 6, 7)
    around = torch.nn.functional.pad(x, (2, 2, 1, 1), mode="circular")
    assert close(Blur(kernel)(x), torch.nn.functional.conv2d(around, kernel.flip(0, 1)[None, None]))


@pytest.mark.parametrize("sigma", [1.0, 2.0, 3.5])
def test_the_gaussian_kernel_has_its_deviation(sigma):
    kernel = Blur.gaussian(sigma).kernel
    place = torch.arange(len(kernel), dtype=F64) - len(kernel) // 2
    assert close(kernel.sum(), numbers(1)[0])
    assert abs(float((kernel.sum(1) * place**2).sum()) ** 0.5 - sigma) < 2e-3 * sigma
    assert close(kernel, kernel.T)


@pytest.mark.parametrize(("length", "angle"), [(1, 77), (5, 0), (5, 90), (9, 45), (12.5, 20)])
def test_motion_is_a_line_of_its_length_and_angle(length, angle):
    """Its mean is the origin; along the line its variance is that of a segment, across it that of the pixels."""
    kernel = Blur.motion(length, angle).kernel
    place = torch.arange(len(kernel), dtype=F64) - len(kernel) // 2
    up, right = torch.meshgrid(-place, place, indexing="ij")
    turn = math.radians(angle)
    along, across = right * math.cos(turn) + up * math.sin(turn), up * math.cos(turn) - right * math.sin(turn)
    assert abs(float((kernel * along).sum())) < 1e-9
    assert abs(float((kernel * along**2).sum()) - (length - 1) ** 2 / 12) < 0.3 + 0.03 * length
    assert float((kernel * across**2).sum()) < 0.3


def test_fourier_samples_are_those_of_the_transform():
    mask, x = seen(4, 6), noise(2, 3, 4, 6)
    y = torch.view_as_complex(Fourier(mask)(x))
    assert close(torch.view_as_real(y), torch.view_as_real(torch.fft.fft2(x, norm="ortho")[..., mask]))
    assert close(Fourier(torch.ones(4, 6)).pseudo_inverse(Fourier(torch.ones(4, 6))(x)), x)


def test_a_band_keeps_low_waves_and_takes_high_ones():
    time = torch.arange(32, dtype=F64)
    waves = [torch.sin(2 * math.pi * k * time / 32 + 0.3).reshape(1, 1, -1) for k in (3, 8, 9, 15)]
    low = BandLimit(0.5)
    for wave, factor in zip(waves, (1, 1, 0, 0), strict=True):
        assert close(low(wave), factor * wave, atol=1e-12)


def test_random_projections_are_orthonormal_and_keep_lengths_in_the_mean():
    """E |A x|^2 = m / n |x|^2 over the signs, even of a single point: n = 2,000 seeds, 5 standard errors."""
    a = dense(RandomProjection(5, (3, 4), 0), (3, 4))
    assert close(a @ a.T, torch.eye(5, dtype=F64))
    x = torch.zeros(1, 16, dtype=F64)
    x[0, [2, 3, 11]] = numbers(1, -2, 0.5)
    sizes = torch.stack([RandomProjection(4, (16,), seed)(x).square().sum() for seed in range(2000)])
    assert abs(float(sizes.mean() - x.square().sum() / 4)) < 5 * float(sizes.std()) / 2000**0.5
    assert close(RandomProjection(4, (16,), 1)(x), RandomProjection(4, (16,), 1)(x))
    assert not close(RandomProjection(4, (16,), 1)(x), RandomProjection(4, (16,), 2)(x))


def test_the_rays_through_a_disc_are_its_chords():
    """2 sqrt(r^2 - u^2) at every angle, for a disc about a centre that is not the picture's, drawn 8 times finer."""
    size, radius, (right, up) = 64, 14.0, (6.0, -9.0)
    fine = (torch.arange(size * 8, dtype=F64) + 0.5) / 8 - size / 2
    disc = ((fine - right) ** 2 + (-fine[:, None] - up) ** 2 <= radius**2).double()[None, None]
    angles = [0.0, 17.0, 45.0, 60.0, 90.0, 135.0, 171.0]
    y = Radon(size, angles)(Downsample(8)(disc))[0, 0]
    u = torch.arange(size, dtype=F64) - (size - 1) / 2
    for row, angle in zip(y, angles, strict=True):
        turn = math.radians(angle)
        chord = 2 * (radius**2 - (u - right * math.cos(turn) - up * math.sin(turn)) ** 2).clamp(min=0).sqrt()
        assert float((row - chord).abs().mean()) < 0.15  # of chords up to 28
        assert abs(float(row.sum() / (math.pi * radius**2)) - 1) < 5e-3


def test_sensors_interpolate_straight_lines_exactly():
    rows, columns = torch.meshgrid(torch.arange(5, dtype=F64), torch.arange(4, dtype=F64), indexing="ij")
    points = torch.cat([numbers(0, 0, 4, 3).reshape(2, 2), noise(6, 2).abs().clamp(max=2.9)])
    plane = (2 * rows - 3 * columns + 1).reshape(1, 1, 5, 4)
    assert close(Sensors(points, (5, 4))(plane)[0, 0], 2 * points[:, 0] - 3 * points[:, 1] + 1)


def test_grey_of_grey_is_grey():
    x = noise(2, 1, 3, 3)
    assert close(Grey()(x.expand(-1, 3, -1, -1)), x)
    assert close(Grey()(numbers(-1, 1, -1).reshape(1, 3, 1, 1)).flatten(), numbers(2 * 0.587 - 1))


def test_levels_of_quantisation():
    x = torch.linspace(-2, 2, 401, dtype=F64)[None]
    y = Quantise(5)(x)
    assert close(y.unique(), numbers(-1, -0.5, 0, 0.5, 1), atol=1e-15)
    assert float((y - x.clamp(-1, 1)).abs().max()) <= 0.25 + 1e-12
    assert close(Clip(0.7)(x), x.clamp(-0.7, 0.7))


@pytest.mark.parametrize("quality", [5, 20, 49, 50, 75, 95])
@pytest.mark.parametrize(("height", "width"), [(32, 40), (21, 35)])
@pytest.mark.parametrize("channels", [1, 3])
def test_jpeg_is_that_of_pillow(quality, height, width, channels):
    """Against an independent coder whose transform is of integers, so that some coefficients go to the other side.

    Of what the picture loses, less than a tenth is decided otherwise; a third where the steps are as fine as integers.
    """
    rows, columns = torch.meshgrid(torch.linspace(0, 3, height), torch.linspace(0, 4, width), indexing="ij")
    waves = [torch.sin(rows * (k + 1.3) + columns * (2.1 - k)) * (0.6 + 0.15 * k) for k in range(channels)]
    rough = torch.stack(waves, -1) + 0.1 * noise(height, width, channels)
    levels = ((rough.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8).numpy()
    file = io.BytesIO()
    image = Image.fromarray(levels if channels == 3 else levels[..., 0])
    image.save(file, "JPEG", quality=quality, **({"subsampling": 0} if channels == 3 else {}))
    decoded = torch.frombuffer(bytearray(Image.open(file).tobytes()), dtype=torch.uint8).reshape(levels.shape).double()
    x = torch.from_numpy(levels).double().movedim(-1, 0)[None] / 127.5 - 1
    ours = JPEG(quality)(x)[0].movedim(0, -1) * 127.5 + 127.5
    assert close(ours, ours.round(), atol=1e-9)
    lost = float((torch.from_numpy(levels).double() - decoded).abs().mean())
    assert float((ours - decoded).abs().mean()) < (0.1 if quality < 95 else 0.35) * lost


def test_conjugate_gradients_stop_for_each_item():
    """Three, two and no directions take as many steps; what is done stays as it is; steps are bounded."""
    values = numbers(1, 2, 5, 9)
    y = torch.stack([numbers(1, 1, 0, 1), numbers(0, 3, 1, 0), torch.zeros(4, dtype=F64)])
    calls = []

    def apply(x: Tensor) -> Tensor:
        calls.append(x)
        return values * x

    assert close(conjugate_gradients(apply, y), y / values)
    assert len(calls) == 3
    assert bool((calls[2][2] == 0).all())
    two = conjugate_gradients(apply, y, iterations=2)
    assert len(calls) == 5
    assert close(two[1], y[1] / values)
    assert not close(two[0], y[0] / values, rtol=1e-3)
    loose = conjugate_gradients(lambda x: values * x, y, tolerance=0.5)
    assert 1e-3 < float((y - values * loose)[0].norm() / y[0].norm()) <= 0.5
    for i in range(3):
        assert torch.equal(loose[i], conjugate_gradients(lambda x: values * x, y[i : i + 1], tolerance=0.5)[0])


def test_conjugate_gradients_of_singular_and_of_single_precision():
    """In the range: the solution of least norm. An item does not depend on its companions."""
    half = noise(2, 6, 3)
    matrices = half @ half.mT
    y = (matrices @ noise(2, 6, 1, seed=1))[..., 0]
    truth = (torch.linalg.pinv(matrices, hermitian=True, rtol=1e-12) @ y[..., None])[..., 0]

    def apply(x: Tensor) -> Tensor:
        return (matrices.to(x) @ x[..., None])[..., 0]

    assert close(conjugate_gradients(apply, y), truth, rtol=1e-8, atol=1e-10)
    assert torch.allclose(conjugate_gradients(apply, y.float()).double(), truth, rtol=1e-3, atol=1e-3)
    alone = conjugate_gradients(lambda x: x @ matrices[0], y[:1])
    assert close(conjugate_gradients(apply, y)[:1], alone, rtol=1e-9)


MISTAKES: dict[str, tuple[Any, str]] = {
    "a mask of another size": (lambda: Mask(torch.ones(1, 5, 4))(noise(1, 3, 4, 4)), r"\(1, 5, 4\), and does not fit"),
    "a mask with more axes": (lambda: Mask(torch.ones(2, 1, 4, 4))(noise(2, 3, 4, 4)), "does not fit items of shape"),
    "a soft mask": (lambda: Mask(torch.tensor([0.5])), "holds zeros and ones"),
    "grey of grey pictures": (lambda: Grey()(noise(1, 1, 4, 4)), "3 channels, and these states have 1"),
    "a factor that does not divide": (lambda: Downsample(3)(noise(1, 3, 6, 4)), r"3 does not divide .* \(6, 4\)"),
    "a factor of nothing": (lambda: Downsample(0), "positive integer, and not 0"),
    "a kind of no averages": (lambda: Downsample(2, "nearest"), "'average' or 'bicubic', and not by 'nearest'"),
    "vectors made smaller": (lambda: Downsample(2)(noise(1, 4)), "at least 1 space axis after the channels"),
    "an even kernel": (lambda: Blur(torch.ones(3, 4)), r"odd lengths, .* \(3, 4\)"),
    "signals blurred as pictures": (lambda: Blur.gaussian(1)(noise(1, 1, 9)), "Blur needs items of at least 2 space"),
    "a blur of no width": (lambda: Blur.gaussian(0.0), "positive number of elements, and not 0"),
    "a motion of no length": (lambda: Blur.motion(0.5, 0), "at least 1, and not 0.5"),
    "no matrix": (lambda: Matrix(noise(3)), "two axes"),
    "a matrix of other items": (lambda: Matrix(noise(3, 8), (3, 3)), r"8 columns does not fit items of shape \(3, 3\)"),
    "too many projections": (lambda: RandomProjection(10, (3, 3)), "1 to 9 random projections .* not 10"),
    "projections of other items": (lambda: RandomProjection(2, (3, 3))(noise(1, 9)), r"items of \(3, 3\)"),
    "other frequencies": (lambda: Fourier(seen(4, 4))(noise(1, 1, 4, 6)), r"\(4, 4\) frequencies, .* \(4, 6\)"),
    "no angles": (lambda: Radon(4, []), "at least one angle"),
    "rays of another size": (lambda: Radon(4, [0.0])(noise(1, 1, 4, 5)), r"4 x 4, .* \(4, 5\)"),
    "more than the band": (lambda: BandLimit(1.5), r"\[0, 1\], and is not 1.5"),
    "a sensor outside": (lambda: Sensors(numbers(0, 7), (7,)), r"every axis, here \[6\]"),
    "sensors with two coordinates": (lambda: Sensors(noise(3, 2), (7,)), "1 axes have as many coordinates, and not 2"),
    "sensors of another space": (lambda: Sensors(numbers(0, 1), (7,))(noise(1, 1, 8)), r"\(7,\), .* is \(8,\)"),
    "a stack that does not fit": (lambda: Stacked(Grey(), Identity(), shape=(1, 2, 2)), "these states have 1"),
    "a limit of nothing": (lambda: Clip(0), "positive number, and not 0"),
    "a single level": (lambda: Quantise(1), "at least 2 levels, and not to 1"),
    "a quality of nothing": (lambda: JPEG(0), "1 to 100, and not 0"),
    "JPEG of two channels": (lambda: JPEG(50)(noise(1, 2, 8, 8)), "1 or 3 channels"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_mistakes_are_said_in_one_sentence(name):
    mistake, message = MISTAKES[name]
    with pytest.raises(sf.UserError, match=message) as error:
        mistake()
    assert "\n" not in str(error.value)


# Names

PICTURE, SIGNAL = (3, 16, 16), (1, 16)


@pytest.fixture
def mask_file(tmp_path):
    """White on the left, black on the right."""
    image = Image.new("L", (16, 16))
    image.paste(255, (0, 0, 6, 16))
    image.save(tmp_path / "mask.png")
    return tmp_path / "mask.png"


NAMES: dict[str, tuple[Shape, Operator]] = {
    "outpaint:3": (PICTURE, Mask(torch.nn.functional.pad(torch.ones(1, 10, 10), (3, 3, 3, 3)))),
    "outpaint:0": (PICTURE, Identity()),
    "box:0.5": (PICTURE, Mask(1 - torch.nn.functional.pad(torch.ones(1, 8, 8), (4, 4, 4, 4)))),
    "box:0.25": (SIGNAL, Mask(1 - torch.nn.functional.pad(torch.ones(1, 4), (6, 6)))),
    "super-resolve:4": (PICTURE, Downsample(4)),
    "super-resolve:2": (SIGNAL, Downsample(2)),
    "denoise": (PICTURE, Identity()),
    "denoise:0.2": (SIGNAL, Identity()),
    "deblur:2": (PICTURE, Blur.gaussian(2.0)),
    "deblur:1.5": (SIGNAL, Blur.gaussian(1.5, axes=1)),
    "motion:5,45": (PICTURE, Blur.motion(5, 45)),
    "colourise": (PICTURE, Grey()),
    "jpeg:20": (PICTURE, JPEG(20)),
    "clip:0.5": (SIGNAL, Clip(0.5)),
    "band-limit:0.5": (SIGNAL, BandLimit(0.5)),
    "gap:3:7": (SIGNAL, Mask(torch.tensor([i < 3 or i >= 7 for i in range(SIGNAL[-1])]))),
    "mixture": (SIGNAL, Mixture(SIGNAL[0])),
    "denoise:-20dB": (SIGNAL, Identity()),
    "quantise:8": (PICTURE, Quantise(8)),
    "sparse-angle:30": (PICTURE, Radon(16, [6.0 * i for i in range(30)])),
    "random:1": (PICTURE, Identity()),
    "sensors": (SIGNAL, Identity()),
}


@pytest.mark.parametrize("text", NAMES)
def test_names(text):
    shape, truth = NAMES[text]
    operator, deviation = parse(text, shape)
    x = noise(2, *shape)
    assert close(operator(x), truth(x))
    assert deviation == {"denoise:0.2": 0.2, "denoise:-20dB": 0.1}.get(text)


def test_every_name_is_tested_and_its_example_works(mask_file):
    assert {text.partition(":")[0] for text in NAMES} | {"inpaint", "room"} == set(OPERATORS)
    for named in [named for name, named in OPERATORS.items() if name != "room"]:
        parse(
            named.example.replace("MASK.png", str(mask_file)), (3, 32, 32) if "MASK" not in named.example else PICTURE
        )


def test_a_room_is_its_response_to_a_click(tmp_path):
    soundfile.write(tmp_path / "room.wav", np.array([0.5, 0.0, 0.25]), 8000, "FLOAT")
    operator, _ = parse(f"room:{tmp_path / 'room.wav'}", (1, 5))
    click, answer = (torch.tensor([[each]], dtype=F64) for each in ([0.0, 1, 0, 0, 0], [0, 0.5, 0, 0.25, 0]))
    assert close(operator(click), answer)
    (tmp_path / "room.wav").write_bytes(b"no sound")
    for path in (tmp_path / "room.wav", tmp_path / "none.wav"):
        with pytest.raises(sf.UserError, match="cannot be read; give a sound"):
            parse(f"room:{path}", (1, 5))


@pytest.mark.parametrize("text", ["gap:5:3", "gap:0:99", "gap:-1:3"])
def test_a_gap_lies_within_the_items(text):
    with pytest.raises(sf.UserError, match="a gap lies between 0 and"):
        parse(text, (1, 20))


def test_random_elements_are_the_same_every_time_and_of_their_share():
    """n = 64 x 64, within 5 standard errors; all channels of a pixel, or none."""
    ones = torch.ones(1, 3, 64, 64)
    kept = parse("random:0.3", (3, 64, 64))[0](ones)
    assert abs(float(kept.mean()) - 0.3) < 5 * (0.3 * 0.7) ** 0.5 / 64
    assert torch.equal(kept[:, 0], kept[:, 2])
    assert torch.equal(kept, parse("random:0.3", (3, 64, 64))[0](ones))


def test_a_picture_is_a_mask(mask_file):
    """White is kept."""
    x = noise(2, *PICTURE)
    expected = x.clone()
    expected[..., 6:] = 0
    assert torch.equal(parse(f"inpaint:{mask_file}", PICTURE)[0](x), expected)


@pytest.mark.parametrize(
    ("text", "shape", "message"),
    [
        ("blur:2", PICTURE, r"no operator 'blur'; there are inpaint:MASK.png, .* jpeg:20"),
        ("", PICTURE, "no operator ''"),
        ("super-resolve", PICTURE, "'super-resolve' is not understood; write it like super-resolve:4"),
        ("super-resolve:2.5", PICTURE, "write it like super-resolve:4"),
        ("super-resolve:3", PICTURE, r"does not divide .* \(16, 16\)"),
        ("denoise:much", PICTURE, "write it like denoise:0.2"),
        ("denoise:-1", PICTURE, "not negative, and not -1"),
        ("denoise:nan", PICTURE, "not negative, and not nan"),
        ("colourise:2", PICTURE, "write it like colourise"),
        ("colourise", (1, 16, 16), "3 channels, and these states have 1"),
        ("motion:9", PICTURE, "write it like motion:9,45"),
        ("motion:9,45", SIGNAL, "at least 2 space axes"),
        ("random:1.5", PICTURE, r"\[0, 1\], and is not 1.5"),
        ("box:nan", PICTURE, r"\[0, 1\], and is not nan"),
        ("outpaint:8", PICTURE, r"leaves some of the axes \(16, 16\), and 8 does not"),
        ("outpaint:-1", PICTURE, "at least 0"),
        ("clip:0", PICTURE, "positive number"),
        ("deblur:0", PICTURE, "positive number"),
        ("jpeg:200", PICTURE, "1 to 100"),
        ("jpeg:20", SIGNAL, "1 or 3 channels"),
        ("quantise:1", PICTURE, "at least 2 levels"),
        ("band-limit:2", SIGNAL, r"\[0, 1\]"),
        ("sparse-angle:0", PICTURE, "at least one angle"),
        ("sparse-angle:30", SIGNAL, "16 x 16"),
        ("sparse-angle:30", (1, 16, 8), "8 x 8"),
        ("inpaint:missing.png", PICTURE, "'missing.png' cannot be read as a picture"),
        ("inpaint:", PICTURE, "'' cannot be read as a picture"),
        ("inpaint:mask.png", SIGNAL, "for pictures"),
        ("random:0.5", (8,), "at least 1 space axis"),
    ],
)
def test_wrong_names_and_numbers_are_refused(text, shape, message):
    with pytest.raises(sf.UserError, match=message) as error:
        parse(text, shape)
    assert "\n" not in str(error.value)


def test_masks_of_another_size_and_of_no_picture_are_refused(mask_file):
    with pytest.raises(sf.UserError, match="is 16 x 16, and the pictures are 32 x 16"):
        parse(f"inpaint:{mask_file}", (3, 16, 32))
    broken = mask_file.with_name("broken.png")
    broken.write_bytes(mask_file.read_bytes()[:40])
    with pytest.raises(sf.UserError, match="cannot be read as a picture"):
        parse(f"inpaint:{broken}", PICTURE)
