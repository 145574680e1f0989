"""How a model works, to look at: its walks from noise, where it errs, its densities, what belongs together."""

from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F

from suffuse.codecs.table import TableCodec
from suffuse.errors import UserError
from suffuse.exact import GaussianMixture
from suffuse.model import Model
from suffuse.networks.layers import Attention, looks
from suffuse.outputs import output_of
from suffuse.plots import as_picture, contours, heat, new_figure
from suffuse.posteriors import Posterior
from suffuse.processes import Bridge, Gaussian, Process, Product, Time
from suffuse.rng import Streams
from suffuse.training.evaluate import Level
from suffuse.training.log import by_level
from suffuse.tree import State, leaves, map_leaves, mean_per_item

_WIDEST = 3.5
"""Half the side of the square that densities are shown in, in deviations of data and noise together."""
_CELLS = 81
_POINTS, _SHOWN = 512, 200
"""Samples that a density is made of, for each of which it is known how it spreads; and those that are shown."""


@dataclass(frozen=True)
class Glimpse:
    """A moment of a walk.

    Args:
        time: as the network was told it.
        x_t: the states.
        posterior: what the network answered.
    """

    time: Time
    x_t: State
    posterior: Posterior[Any]

    @property
    def t(self) -> float:
        """Time of the first sample, of its first element."""
        return float(next(leaves(map_leaves(torch.as_tensor, self.time))).flatten()[0])

    def guess(self, model: Model, n: int) -> Image.Image | str:
        """What the network takes the first n samples for: means of numbers, the likeliest of tokens."""
        mean = self.posterior[:n].mean

        def clean(noisy: Tensor, mean: Tensor) -> Tensor:
            return mean.detach() if noisy.is_floating_point() else mean.detach().argmax(-1)

        return _shown(model, map_leaves(clean, self.x_t, mean))

    def noisy(self, model: Model, n: int) -> Image.Image | str | None:
        r"""The first n samples as they are, :math:`x_t / \sqrt{\alpha_t^2 + \sigma_t^2}`, or None.

        Of pictures, clips and sounds noise is another of their kind; of a series or a table it means nothing.
        """
        process = model.denoiser.process
        if model.codec.bounds is None or not isinstance(self.x_t, Tensor) or not isinstance(process, Gaussian):
            return None
        x_t = self.x_t[:n]
        alpha_t, sigma_t = process.coordinates(self.t, x_t)
        return _shown(model, x_t / (alpha_t**2 + sigma_t**2).sqrt())

    def look(self, model: Model, n: int) -> Image.Image | str:
        """The first n samples as they are, or where noise means nothing what the network takes them for."""
        noisy = self.noisy(model, n)
        return self.guess(model, n) if noisy is None else noisy


def _shown(model: Model, state: State) -> Image.Image | str:
    return output_of(model.codec.kind).show(model.codec.collect(model.codec.decode(state)))


@contextmanager
def watched(model: Model, see: Callable[[Glimpse], None]) -> Generator[None, None, None]:
    """While this is entered, every answer of a model's network is shown to a function.

    Example:
        >>> import suffuse as sf
        >>> model = sf.load("runs/mine")  # doctest: +SKIP
        >>> with watched(model, lambda glimpse: print(glimpse.t)):  # doctest: +SKIP
        ...     model.generate(4)
    """

    def answered(_: Any, asked: tuple[Any, ...], posterior: Posterior[Any]) -> None:
        see(Glimpse(asked[1], asked[0], posterior))

    with model.denoiser.register_forward_hook(answered):
        yield


def walk(
    model: Model,
    n: int = 4,
    frames: int = 24,
    *,
    condition: Any = None,
    steps: int | None = None,
    guidance: float | None = None,
    seed: int = 0,
) -> list[Glimpse]:
    """Moments of the walk that draws n samples, evenly spread over its steps, the first and the last included.

    Args:
        model: that draws.
        n: how many samples, of the seeds from ``seed`` on.
        frames: moments, at most.
        condition: as for ``Model.generate``, as is what follows.
        steps: evaluations of the network.
        guidance: weight of the condition.
        seed: of the first sample.

    Raises:
        UserError: as ``Model.generate``.
    """
    seen: list[Glimpse] = []
    with watched(model, seen.append):
        model.generate(n, condition=condition, steps=steps, guidance=guidance, seed=seed)
    count = min(frames, len(seen))
    return [seen[round(place * (len(seen) - 1) / max(1, count - 1))] for place in range(count)]


@torch.no_grad()
def errors(
    model: Model,
    items: Any,
    *,
    condition: Any = None,
    times: int = 16,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> list[Level]:
    """How far the network's answer is from items, at each of several times: means over the items.

    Args:
        model: to ask.
        items: of the kind that ``Model.generate`` gives.
        condition: what they are said to be, as for ``Model.generate``.
        times: how many, evenly spread.
        seed: of the noise.
        progress: called with (evaluations of batches done, in all).

    Raises:
        UserError: the model walks from other items and not from noise, or there is no such condition.
    """
    process = model.denoiser.process
    if isinstance(process, Bridge):
        raise UserError(f"{model.origin.name} walks from items, and has no level of noise to err at")
    items = model.codec.items(items)
    values, done = model.columns(condition, len(items)), 0
    total = times * len(model.row_batches(len(items)))
    found: list[Level] = []
    for t in [(place + 0.5) / times for place in range(times)]:
        rows: list[Tensor] = []
        for batch, told, rng in model.batches(len(items), values, seed):
            x0 = model.encoded(items, batch, seed)
            x_t = process.corrupt(x0, t, rng.fold("errors", t))
            with model.precision():
                posterior = model.denoiser(x_t, t, told)
            rows.append(-mean_per_item(posterior.log_prob(x0)).double())
            done += 1
            if progress is not None:
                progress(done, total)
        level = process.level(t)
        found.append(Level(t, float(level) if isinstance(level, Tensor) else None, float(torch.cat(rows).mean()), None))
    return found


def curve(levels: Sequence[Level], images: int) -> Image.Image:
    """The error over the level of noise.

    Args:
        levels: what :func:`errors` gave.
        images: items that the model was trained on.
    """
    figure = new_figure(6.4, 4.0)
    line = {"images": images, "levels": [asdict(each) for each in levels]}
    by_level(figure.subplots(), [line], "loss", "-log q(x0 | xt) per element", "Error by level of noise")
    return as_picture(figure)


@dataclass(frozen=True)
class Density:
    """A density over a square, at one time.

    Args:
        t: the time.
        axis: places along both sides.
        values: (N, N), the second number downwards.
        cloud: (M, 2) points that were drawn from it.
        names: of the two numbers.
    """

    t: float
    axis: Tensor
    values: Tensor
    cloud: Tensor
    names: tuple[str, str]

    def picture(self) -> Image.Image:
        """Contours, with the points."""
        numbers = (self.axis.numpy(), self.values.numpy(), self.cloud.numpy())
        return contours(*numbers, self.names, f"t = {self.t:.2f}")


def densities(
    model: Model, times: Sequence[float], *, condition: Any = None, steps: int | None = None, seed: int = 0
) -> Iterator[Density]:
    r"""The density of a model of two numbers, at each of several times.

    It is that of what the model draws, noised:

    .. math:: p_t(x) = \frac{1}{N} \sum_i N(x; \alpha_t x_0^i, \sigma_t^2 + \alpha_t^2 h^2),

    where h, of Scott's rule, spreads the draws a little so that there is a density where no noise is.

    Args:
        model: of a state of two real numbers.
        times: in [0, 1].
        condition: as for ``Model.generate``.
        steps: evaluations of the network.
        seed: of the first draw.

    Raises:
        UserError: the model is of something else.
    """
    process = _plane(model)
    drawn = model.codec.encode(model.codec.items(model.generate(_POINTS, condition=condition, steps=steps, seed=seed)))
    points = next(leaves(drawn)).reshape(_POINTS, 2).double()
    law = GaussianMixture(points, points.std(0).expand(_POINTS, 2) * _POINTS ** (-1 / 6))
    axis, rng = torch.linspace(-_WIDEST, _WIDEST, _CELLS, dtype=torch.float64), Streams.of(seed, range(_SHOWN))
    for t in times:
        alpha_t, sigma_t = process.coordinates(t, points)
        places = axis * float((alpha_t**2 * points.var() + sigma_t**2).sqrt())
        noised = law.marginal(process, t)
        grid = torch.cartesian_prod(places, places).split(_CELLS)
        values = torch.stack([noised.log_prob(part).exp() for part in grid], 1)
        yield Density(t, places, values, process.corrupt(points[:_SHOWN], t, rng), _names(model))


def has_plane(model: Model) -> bool:
    """Whether :func:`densities` has something to show."""
    return _plane_of(model.codec.shape, model.denoiser.process) is not None


def _plane(model: Model) -> Gaussian:
    found = _plane_of(model.codec.shape, model.denoiser.process)
    if found is None:
        raise UserError(f"{model.origin.name} is no model of two numbers, whose density a plane could show")
    return found


def _plane_of(shape: Any, process: Process[Any]) -> Gaussian | None:
    """The process of two real numbers, which are all there is."""
    if isinstance(shape, Mapping) and isinstance(process, Product) and len(shape) == 1:
        name = next(iter(shape))
        return _plane_of(shape[name], process.parts[name])
    plane = isinstance(shape, tuple) and int(np.prod(shape)) == 2
    return process if plane and isinstance(process, Gaussian) else None


def _names(model: Model) -> tuple[str, str]:
    """What the two numbers are called; those of a table are the normal scores of its columns."""
    if not isinstance(model.codec, TableCodec):
        return "first", "second"
    first, second = (f"{field.name} (normal score)" for field in model.codec.fields if field.cells.numbers)
    return first, second


Map = Callable[[Model, Any, float, tuple[float, float], int], Tensor]
"""The heat map (H, W) of a model, a picture, a time, a place and a seed: :func:`gradient` or :func:`attention`."""


def belonging(
    model: Model, item: Any, times: Sequence[float], place: tuple[float, float], seed: int, map_of: Map
) -> Image.Image:
    """What the network looks at for one place of a picture, at each of several times: a heat map for each.

    Args:
        model: of pictures.
        item: a picture.
        times: in (0, 1].
        place: from the top and from the left, as shares of height and width.
        seed: of the noise.
        map_of: gives one of the maps.

    Raises:
        UserError: the model is not of pictures, or has no such map.
    """
    maps = [map_of(model, item, t, place, seed) for t in times]
    return heat([each.numpy() for each in maps], [f"t = {t:.2f}" for t in times], _pixel(place, maps[0]))


def gradient(model: Model, item: Any, t: float, place: tuple[float, float], seed: int = 0) -> Tensor:
    r"""The gradient of the answer there, (H, W): :math:`|\partial E[x_0 | x_t]_{place} / \partial x_t|`.

    By Tweedie's formula that is :math:`\alpha_t / \sigma_t^2` times the covariance of that place and each other given
    the noisy picture: what belongs together, as far as the model knows.
    """
    with torch.enable_grad():
        x_t = _noised(model, item, t, seed).requires_grad_()
        mean = model.denoiser(x_t, t).mean
        row, column = _pixel(place, x_t)
        (found,) = torch.autograd.grad(mean[0, :, row, column].sum(), x_t)
    return found[0].abs().sum(0)


@torch.no_grad()
def attention(model: Model, item: Any, t: float, place: tuple[float, float], seed: int = 0) -> Tensor:
    """How much the network attends to each place for that one, (H, W): the mean over its heads and layers.

    Weights of what a network is told beside the picture are left out. What attention weighs is mixed further by the
    layers behind it, so that a map says where information is fetched from and not what it does; see :func:`gradient`.

    Source: "Attention is not Explanation" (Jain and Wallace, 2019), for the caution.
    """
    x_t = _noised(model, item, t, seed)
    high, wide = x_t.shape[-2:]
    found: list[Tensor] = []

    def looked(layer: nn.Module, asked: tuple[Any, ...], named: dict[str, Any]) -> None:
        assert isinstance(layer, Attention)
        query, key, _, mask = layer.projected(*asked, **named)
        weights = looks(query, key, mask)[0].float().mean(0)
        weights = weights[:, : len(weights)].unflatten(1, _grid(len(weights), high / wide))
        row, column = _pixel(place, weights)
        own = weights[row * weights.shape[2] + column]
        found.append(F.interpolate(own[None, None], (high, wide))[0, 0])

    with ExitStack() as hooks:
        for layer in model.denoiser.modules():
            if isinstance(layer, Attention):
                hooks.enter_context(layer.register_forward_pre_hook(looked, with_kwargs=True))
        model.denoiser(x_t, t)
    if not found:
        raise UserError(f"the network of {model.origin.name} has no attention to show")
    return torch.stack(found).mean(0)


def _grid(count: int, shape: float) -> tuple[int, int]:
    """Rows and columns of so many tokens, whose ratio is next to that of height to width.

    Example:
        >>> _grid(8, 0.6), _grid(16, 1.0)
        ((2, 4), (4, 4))
    """
    fitting = [rows for rows in range(1, count + 1) if count % rows == 0]
    rows = min(fitting, key=lambda rows: abs(rows - (count * shape) ** 0.5))
    return rows, count // rows


def attends(model: Model) -> bool:
    """Whether :func:`attention` has something to show."""
    return any(isinstance(layer, Attention) for layer in model.denoiser.modules())


def _noised(model: Model, item: Any, t: float, seed: int) -> Tensor:
    """A picture at a time.

    Raises:
        UserError: the model is not of pictures.
    """
    process, shape = model.denoiser.process, model.codec.shape
    if model.codec.kind != "image" or not isinstance(process, Gaussian) or not isinstance(shape, tuple):
        raise UserError(f"{model.origin.name} is no model of pictures that are freed of noise, which heat maps are of")
    ((_, _, rng),) = model.batches(1, {}, seed)
    x0 = model.encoded([item], range(1), seed)
    assert isinstance(x0, Tensor)
    return process.corrupt(x0, t, rng.fold("noise"))


def _pixel(place: tuple[float, float], picture: Tensor) -> tuple[int, int]:
    """Row and column of (..., H, W) at shares of height and width."""
    height, width = picture.shape[-2:]
    return min(int(place[0] * height), height - 1), min(int(place[1] * width), width - 1)
