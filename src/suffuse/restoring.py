"""Items restored from what was measured of them: several draws, their mean, and how unsure they are."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from PIL import Image
from torch import Tensor

from suffuse import restoration
from suffuse.codecs.base import Codec
from suffuse.denoiser import Denoiser
from suffuse.editing import at_size
from suffuse.errors import UserError
from suffuse.guidance import Merged, Observed
from suffuse.metrics.restoration import consistency, of_measured
from suffuse.operators import Decomposed, Function, Identity, Linear, LinearFunction, Mask, Operator, of_measurement
from suffuse.operators.naming import SENSORS
from suffuse.parameterizations import Direct
from suffuse.pictures import signed
from suffuse.processes import Gaussian
from suffuse.samplers import Sampler, default, sample
from suffuse.tree import of_items

if TYPE_CHECKING:
    from suffuse.model import Model

_FAR = 2.0
"""A number that is so many times as large as any that is measured of items is no such measurement."""


@dataclass(frozen=True)
class Restored:
    """Draws of an item from what was measured of it; restoration has no single answer.

    Attributes:
        draws: raw items.
        mean: the raw item of their mean, whose squared error is least; where white noise was taken away, that of all
            draws that there could be.
        state: (N, ...) the draws as states.
        measured: what was measured as a raw item, where it is one; else None.
        noise: deviation of the measurement's noise, in units of the state.
        consistency: (N,) how far each draw is from what was measured, see
            :func:`suffuse.metrics.restoration.consistency`; 1 is as far as noise is.
        evaluations: passes through the network for each draw, forth and back, at most.
    """

    draws: list[Any]
    mean: Any
    state: Tensor
    measured: Any | None
    noise: float
    consistency: Tensor
    evaluations: int

    @property
    def deviation(self) -> Tensor:
        """Deviation of each element over the draws, in units of the state; 0 for a single draw."""
        return self.state.std(0) if len(self.state) > 1 else torch.zeros_like(self.state[0])

    @property
    def scale(self) -> float:
        """The deviation that is white in :attr:`std`, in units of the state: the largest of any pixel."""
        return float(self._of_pixels.max())

    @property
    def std(self) -> Image.Image | None:
        """How unsure each place is, from black, sure, to white, :attr:`scale`; None of items without two space axes."""
        if self.state.ndim != 4:
            return None
        levels = self._of_pixels * (255 / (self.scale or 1.0))
        return Image.fromarray(levels.round().to(torch.uint8).numpy())

    @property
    def _of_pixels(self) -> Tensor:
        """Root mean square of the deviations of a pixel's channels."""
        return self.deviation.square().mean(0).sqrt()


@dataclass(frozen=True)
class Measurement:
    """What was measured, and the model of its size.

    Attributes:
        model: of items of that size.
        operator: what measures their states.
        y: (1, ...) measurement.
        noise: its deviation.
        item: the measurement as a raw item, where it is one.
    """

    model: "Model"
    operator: Operator
    y: Tensor
    noise: float
    item: Any | None


def restore(
    model: "Model",
    y: Any,
    operator: Operator | str,
    noise: float | None,
    values: Mapping[str, Sequence[Any]],
    steps: int,
    guidance: float,
    method: str,
    seed: int = 0,
    draws: int = 8,
    progress: Callable[[int, int], None] | None = None,
) -> Restored:
    """Draw from the posterior of an item; see :meth:`suffuse.model.Model.restore`.

    Args:
        model: of such items.
        y: what was measured.
        operator: that measured it, or its name.
        noise: its deviation; None as the name says, or that of rounding.
        values: what the item is, a column of as many as draws for each condition.
        steps: of the walk.
        guidance: weight of the conditions.
        method: name of how the measurement is brought in.
        seed: of the first draw; the next have the next seeds.
        draws: how many.
        progress: called with (draws done, in all).
    """
    seen, raw = read(model, y, operator, noise), y
    sized, y = seen.model, seen.y.to(model.device)

    def in_its_place(item: Any) -> Any:
        return item if isinstance(raw, Tensor) else sized.codec.in_place_of(raw, item)

    told, sampler, times, evaluations = _told(_in_its_precision(sized, guidance), seen, y, method, steps)
    parts: list[Tensor] = []
    best: Tensor | None = None
    for rows in sized.row_batches(draws):
        some = {name: column[rows.start : rows.stop] for name, column in values.items()}
        x1, condition, rng = sized.start(some, [seed + row for row in rows])
        if (
            isinstance(told, Merged) and isinstance(x1, Tensor) and not parts
        ):  # what is seen under white noise alone says the mean itself
            first = of_items(condition, torch.zeros(1, dtype=torch.long, device=y.device))
            best = told(x1[:1], 1.0, first).mean
        state = sample(told, sampler, x1, times, condition, rng)
        assert isinstance(state, Tensor)
        parts.append(state)
        if progress is not None:
            progress(rows.stop, draws)
    state = torch.cat(parts)
    made = {"suffuse": model.origin.version, "model": model.origin.name, "steps": steps, "guidance": guidance}
    made |= {"operator": _name(operator), "noise": seen.noise, "method": method}
    best = state.mean(0, keepdim=True) if best is None else best
    mean, *drawn = map(in_its_place, sized.codec.decode(torch.cat([best, state])))
    return Restored(
        [signed(item, {**made, "seed": seed + row}) for row, item in enumerate(drawn)],
        signed(mean, {**made, "seed": seed, "mean of": draws}),
        state.cpu(),
        None if seen.item is None else in_its_place(seen.item),
        seen.noise,
        consistency(state, seen.operator, y, seen.noise).cpu(),
        evaluations,
    )


def _told(
    denoiser: Denoiser, seen: Measurement, y: Tensor, method: str, steps: int
) -> tuple[Denoiser, Sampler, Tensor, int]:
    """The denoiser that is told a measurement, the way to walk, and passes through the network.

    White noise on an item is taken away exactly, as a generation that begins there.
    """
    if method == "default" and isinstance(seen.operator, Identity) and seen.noise > 0:
        merged = Merged(denoiser, y, seen.noise)
        return merged, *default(merged, steps), steps
    observed = Observed(denoiser, seen.operator, y, seen.noise, method)
    evaluations = steps * observed.method.passes
    return observed, *restoration.default(observed, evaluations), evaluations


def read(model: "Model", y: Any, operator: Operator | str, noise: float | None) -> Measurement:
    """What was measured, as an operator, a tensor and a number, with a model of its size.

    Raises:
        UserError: the model cannot be told measurements, or this one does not fit it.
    """
    if not isinstance(model.denoiser.process, Gaussian) or not isinstance(model.codec.shape, tuple):
        raise UserError(f"what was measured of {model.codec.kind} items is not known to {model.origin.name}, whose "
                        f"process is {type(model.denoiser.process).__name__} and not one Gaussian tensor: ask it to "
                        "infill, or to translate")  # fmt: skip
    own = model.codec if isinstance(y, Tensor) else model.codec.of_size(y)
    assert isinstance(own.canvas, tuple)
    like = _checked(y) if isinstance(y, Tensor) else torch.zeros(1, *own.canvas)
    told, sensors = None, operator == SENSORS and not isinstance(y, Tensor)
    if isinstance(operator, str):
        operator, told = of_measurement(operator, like.shape[1:])
    if own is model.codec and not isinstance(y, Tensor):  # all of its items are of one size
        sized, measured = model, tuple(operator(like).shape[1:])
    else:
        sized, measured = _sized(model, operator, like, isinstance(y, Tensor))
    shape = sized.codec.canvas
    assert isinstance(shape, tuple)
    codec = None if _largest(operator, shape) > 1.01 else sized.codec.measured(measured)
    if isinstance(y, Tensor):
        y = like
    elif codec is not None:
        operator = Mask(_known(codec, y)) if sensors else operator
        y = codec.encode([y])
    else:
        raise UserError(f"what {type(operator).__name__} measures is no {model.codec.kind} item; give it as a tensor "
                        f"of shape {(1, *measured)}")  # fmt: skip
    assert isinstance(y, Tensor)
    noise = _noise(model.codec, operator, told if noise is None else noise)
    _check_range(model.codec, operator, y, noise, shape)
    y = operator(y) if isinstance(operator, Mask) else y  # what is hidden is grey
    item = None if codec is None else codec.decode(y)[0]
    return Measurement(sized, *_of_states(operator, y, noise, sized.codec), item)


def _known(codec: Codec, item: Any) -> Tensor:
    """What of an item is not missing, in the shape of a state."""
    known = codec.partial([item])[1]
    assert isinstance(known, Tensor)
    return known[0]


def _of_states(operator: Operator, y: Tensor, noise: float, codec: Codec) -> tuple[Operator, Tensor, float]:
    """The operator as one that acts on states, with measurement and noise in units of what it then gives."""
    if codec.scale is not None and (codec.scale == 1 or isinstance(operator, Linear)):
        return operator, codec.scale * y, codec.scale * noise
    assert isinstance(codec.shape, tuple)
    rendered = LinearFunction(codec.rendered, codec.shape) if codec.linear else Function(codec.rendered)
    return operator @ rendered, y, noise


def _checked(y: Tensor) -> Tensor:
    """One measurement, as floats."""
    if y.ndim < 2 or len(y) != 1:
        raise UserError(f"one item is restored at a time, from a measurement of shape (1, ...), and this one is of "
                        f"{tuple(y.shape)}")  # fmt: skip
    return y.float()


def _sized(model: "Model", operator: Operator, like: Tensor, whole: bool) -> tuple["Model", tuple[int, ...]]:
    """The model of the size of what was measured, its own where that fits, and the shape of a measurement.

    Args:
        model: of such items.
        operator: that measures them.
        like: a batch with the measurement's space axes.
        whole: whether its other axes are those of the measurement too.
    """
    own = model.codec.canvas
    assert isinstance(own, tuple)
    first = 1 if whole else 2

    def fits(measured: Tensor) -> bool:
        return measured.ndim == like.ndim and measured.shape[first:] == like.shape[first:]

    try:
        measured = operator(torch.zeros(1, *own))
    except UserError:
        measured = None
    if measured is not None and fits(measured):
        return model, tuple(measured.shape[1:])
    space = (operator.place(like) if isinstance(operator, Decomposed) else like).shape[2:]
    measured = operator(torch.zeros(1, own[0], *space))
    if not fits(measured):
        raise UserError(f"what was measured is of shape {tuple(like.shape[1:])}, and what {type(operator).__name__} "
                        f"measures of an item is of shape {tuple(measured.shape[1:])}")  # fmt: skip
    return at_size(model, tuple(space)), tuple(measured.shape[1:])


def _largest(operator: Operator, shape: Sequence[int]) -> float:
    """The largest number that is measured of an item that is 1 or -1 all over."""
    return max(float(operator(torch.full((1, *shape), value)).abs().max()) for value in (-1.0, 1.0))


def _check_range(codec: Codec, operator: Operator, y: Tensor, noise: float, shape: tuple[int, ...]) -> None:
    """Refuse numbers that no item and no noise could have given, as levels up to 255."""
    seen = of_measured(operator, y)
    if codec.bounds is None or seen.numel() == 0:
        return
    least, greatest = codec.bounds
    limit = max(1.0, _largest(operator, shape)) * max(-least, greatest)
    if float(seen.abs().max()) > _FAR * limit + 6 * noise:
        raise UserError(f"what was measured lies in [{float(seen.min()):g}, {float(seen.max()):g}], and of items that "
                        f"lie in [{least:g}, {greatest:g}] it lies in [{-limit:g}, {limit:g}]; scale it")  # fmt: skip


def _noise(codec: Codec, operator: Operator, noise: float | None) -> float:
    """The deviation that was told, or that of rounding."""
    if noise is not None:
        return noise
    if isinstance(operator, Identity):
        raise UserError("to take noise away one must know how much there is: denoise:0.2, or its deviation as noise")
    return (codec.quantum or 0.0) / 12**0.5


def _in_its_precision(model: "Model", guidance: float) -> Denoiser:
    """The denoiser, in the arithmetic that it was trained in; operators stay in theirs."""
    guided = model.guided(guidance)

    def ask(x_t: Tensor, t: Any, condition: Any) -> Any:
        with model.precision():
            return guided(x_t, t, condition)

    assert isinstance(model.codec.shape, tuple)
    return Denoiser(ask, guided.process, Direct(guided.sigma_data, guided.parameterization), model.codec.shape)


def _name(operator: Operator | str) -> str:
    return operator if isinstance(operator, str) else type(operator).__name__
