"""Operators by the names that they have on the command line."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from suffuse.errors import UserError
from suffuse.operators.base import Operator, space
from suffuse.operators.dense import Downsample, Grey
from suffuse.operators.frequencies import BandLimit, Blur
from suffuse.operators.jpeg import JPEG
from suffuse.operators.masks import Identity, Mask
from suffuse.operators.nonlinear import Clip, Quantise
from suffuse.operators.signals import Mixture, Response
from suffuse.operators.sparse import Radon

Shape = Sequence[int]


@dataclass(frozen=True)
class Named:
    """An operator that has a name.

    Attributes:
        example: how it is written.
        make: it, from what stands after the colon and from the shape of an item; a ``ValueError`` where that is wrong.
        noise: the deviation of the noise that is said there, if any.
    """

    example: str
    make: Callable[[str, Shape], Operator]
    noise: Callable[[str], float | None] = lambda value: None


def parse(text: str, shape: Shape) -> tuple[Operator, float | None]:
    """An operator from its name, such as ``super-resolve:4``, and the noise, where the name says one.

    Args:
        text: a name of :data:`OPERATORS`, with its value after a colon.
        shape: of an item of the states, (C, *space).

    Raises:
        UserError: there is no such name, its value is wrong, or the operator does not fit the shape.

    Example:
        >>> operator, noise = parse("denoise:0.2", (3, 8, 8))
        >>> type(operator).__name__, noise
        ('Identity', 0.2)
    """
    operator, noise = of_measurement(text, shape)
    operator(torch.zeros(1, *shape))  # refuses what does not fit
    return operator, noise


def of_measurement(text: str, shape: Shape) -> tuple[Operator, float | None]:
    """As :func:`parse`, where not the items' size is known but that of what was measured of them.

    Args:
        text: as there.
        shape: channels of an item, and lengths of a measurement's space axes.

    Raises:
        UserError: there is no such name, or its value is wrong.

    Example:
        >>> operator, _ = of_measurement("super-resolve:4", (1, 7, 7))
        >>> operator.place(torch.zeros(1, 1, 7, 7)).shape
        torch.Size([1, 1, 28, 28])
    """
    name, _, value = text.partition(":")
    if name not in OPERATORS:
        raise UserError(f"there is no operator {name!r}; there are {', '.join(n.example for n in OPERATORS.values())}")
    named = OPERATORS[name]
    try:
        return named.make(value, shape), named.noise(value)
    except ValueError as error:
        raise UserError(f"the operator {text!r} is not understood; write it like {named.example}") from error


def _nothing(value: str) -> None:
    if value:
        raise ValueError(value)


def _share(value: str) -> float:
    share = float(value)
    if not 0 <= share <= 1:
        raise UserError(f"a share lies in [0, 1], and is not {value}")
    return share


def _noise(value: str) -> float | None:
    """A deviation, or decibels of what is 1."""
    decibels = value.lower().endswith("db")
    number = float(value[:-2] if decibels else value) if value else None
    noise = 10 ** (number / 20) if decibels and number is not None else number
    if noise is not None and not 0 <= noise < math.inf:
        raise UserError(f"the deviation of noise is a number that is not negative, and not {value}")
    return noise


def _inpaint(value: str, shape: Shape) -> Operator:
    """White is kept, black is not, in all frames of a video alike."""
    from PIL import Image

    if len(shape) not in (3, 4):
        raise UserError(f"a picture as a mask is for pictures and videos, and these items are {tuple(shape)}")
    height, width = shape[-2:]
    try:
        with Image.open(Path(value)) as image:
            mask = image.convert("L")
    except (OSError, ValueError, Image.DecompressionBombError) as error:
        raise UserError(f"the mask {value!r} cannot be read as a picture; give one in which white is kept") from error
    if (mask.height, mask.width) != (height, width):
        raise UserError(
            f"the mask {value} is {mask.width} x {mask.height}, and the pictures are {width} x {height}; resize it"
        )
    levels = torch.frombuffer(bytearray(mask.tobytes()), dtype=torch.uint8)
    return Mask(levels.reshape(*(1,) * (len(shape) - 2), height, width) >= 128)


def _outpaint(value: str, shape: Shape) -> Operator:
    border, lengths = int(value), _space(shape)
    if not 0 <= 2 * border < min(lengths):
        raise UserError(f"a border is at least 0 and leaves some of the axes {lengths}, and {border} does not")
    return Mask(_middle(lengths, [n - 2 * border for n in lengths]))


def _box(value: str, shape: Shape) -> Operator:
    share, lengths = _share(value), _space(shape)
    return Mask(~_middle(lengths, [round(n * share) for n in lengths]))


def _middle(lengths: Sequence[int], box: Sequence[int]) -> Tensor:
    """True in a box of these lengths, in the middle of the space axes."""
    inside = torch.zeros(1, *lengths, dtype=torch.bool)
    starts = [(n - k) // 2 for n, k in zip(lengths, box, strict=True)]
    inside[(slice(None), *(slice(start, start + k) for start, k in zip(starts, box, strict=True)))] = True
    return inside


def _random(value: str, shape: Shape) -> Operator:
    """All channels of an element are kept, or none."""
    drawn = torch.rand(1, *_space(shape), generator=torch.Generator().manual_seed(0))
    return Mask(drawn < _share(value))


def _space(shape: Shape) -> tuple[int, ...]:
    return space(shape, max(len(shape) - 1, 1), "the operator")


def _motion(value: str, shape: Shape) -> Operator:
    length, angle = map(float, value.split(","))
    return Blur.motion(length, angle)


def _colourise(value: str, shape: Shape) -> Operator:
    _nothing(value)
    return Grey()


def _factor(value: str) -> int | tuple[int, ...]:
    """One for all space axes, or one for each: 1,4,4 keeps the frames of a video."""
    factors = tuple(map(int, value.split(",")))
    return factors[0] if len(factors) == 1 else factors


def _gap(value: str, shape: Shape) -> Operator:
    """All but a span of the last axis."""
    first, last = map(int, value.split(":"))
    length = shape[-1]
    if not 0 <= first < last <= length:
        raise UserError(f"a gap lies between 0 and {length}, the length of the last axis, and {value} does not")
    places = torch.arange(length)
    return Mask((places < first) | (places >= last))


def _mixture(value: str, shape: Shape) -> Operator:
    _nothing(value)
    return Mixture(shape[0])


def _room(value: str, shape: Shape) -> Operator:
    """The response in a file of sound, whose rate must be that of the items; made so quiet that nothing is cut."""
    from suffuse.sounds import soundfile

    library = soundfile()
    try:
        samples, _ = library.read(value, dtype="float32", always_2d=True)
    except (library.LibsndfileError, OSError) as error:
        raise UserError(f"the response {value!r} cannot be read; give a sound of the rate of the items") from error
    response = torch.from_numpy(samples.mean(1))
    return Response(response / response.abs().sum().clamp(min=1.0))


def _rays(value: str, shape: Shape) -> Operator:
    n = int(value)
    return Radon(shape[-1], [180 * i / n for i in range(n)])


SENSORS = "sensors"
"""What measures the places of an item that are not missing in it."""


def _sensors(value: str, shape: Shape) -> Operator:
    """All places; which of them are missing is in the item, and is found where that is read."""
    _nothing(value)
    return Mask(torch.ones(1, *_space(shape)))


OPERATORS: dict[str, Named] = {
    "inpaint": Named("inpaint:MASK.png", _inpaint),
    "outpaint": Named("outpaint:8", _outpaint),
    SENSORS: Named(SENSORS, _sensors),
    "random": Named("random:0.5", _random),
    "box": Named("box:0.5", _box),
    "super-resolve": Named("super-resolve:4", lambda value, shape: Downsample(_factor(value))),
    "denoise": Named("denoise:0.2", lambda value, shape: Identity(), _noise),
    "deblur": Named("deblur:2", lambda value, shape: Blur.gaussian(float(value), len(shape) - 1)),
    "motion": Named("motion:9,45", _motion),
    "colourise": Named("colourise", _colourise),
    "sparse-angle": Named("sparse-angle:30", _rays),
    "band-limit": Named("band-limit:0.5", lambda value, shape: BandLimit(float(value))),
    "clip": Named("clip:0.5", lambda value, shape: Clip(float(value))),
    "gap": Named("gap:4:8", _gap),
    "mixture": Named("mixture", _mixture),
    "room": Named("room:RESPONSE.wav", _room),
    "quantise": Named("quantise:8", lambda value, shape: Quantise(int(value))),
    "jpeg": Named("jpeg:20", lambda value, shape: JPEG(int(value))),
}
"""What has a name on the command line."""
