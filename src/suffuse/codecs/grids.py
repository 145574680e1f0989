"""Where the values of fields are, and how those of each variable become elements of states."""

import base64
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np

from suffuse.codecs.base import JSON
from suffuse.errors import UserError
from suffuse.fields import LONGITUDES, Fields

_MANY = 16
"""Items from which on means of places are looked at."""
_TOLD = ("units", "long_name", "standard_name", "positive", "axis")
"""Attributes that are kept."""
_Coordinate = tuple[tuple[str, ...], np.ndarray, dict[str, Any]]


@dataclass(frozen=True)
class Grid:
    """Where the values of fields are.

    Args:
        axes: names of the space axes, in their order.
        shape: their lengths.
        periodic: names of those that close to a circle.
        coordinates: what says where: axes, array and attributes by name; those that have all axes, such as heights, are
            shown to the network too.
    """

    axes: tuple[str, ...]
    shape: tuple[int, ...]
    periodic: tuple[str, ...] = ()
    coordinates: Mapping[str, _Coordinate] = field(default_factory=dict)

    @classmethod
    def of(cls, item: Fields, axes: Sequence[str], periodic: Sequence[str] = ()) -> Self:
        """The grid of an item."""
        found = {
            str(name): (tuple(map(str, each.dims)), each.values, told(each.attrs))
            for name, each in item.coords.items()
            if each.ndim and set(each.dims) <= set(axes) and each.dtype.kind in "fiub"
        }
        return cls(tuple(axes), tuple(item.sizes[axis] for axis in axes), tuple(periodic), found)

    def maps(self) -> list[np.ndarray]:
        """(*shape) each: what is known of every place, of zero mean and unit deviation, and the places themselves."""
        whole = [
            array.transpose([dims.index(axis) for axis in self.axes])
            for dims, array, _ in self.coordinates.values()
            if set(dims) == set(self.axes) and len(dims) > 1
        ]
        places = [line for axis in self.axes for line in self._lines(axis)]
        return [standard(array) for array in whole] + places

    def _lines(self, axis: str) -> list[np.ndarray]:
        """From -1 to 1 along an axis; of a longitude all the way round, sine and cosine; of other circles nothing."""
        place = self.axes.index(axis)
        n = self.shape[place]
        shape = [1] * len(self.axes)
        shape[place] = n
        if axis not in self.periodic:
            lines = [np.linspace(-1, 1, n)] if n > 1 else []
        elif axis.lower() in LONGITUDES:
            lines = [f(2 * np.pi * np.arange(n) / n) for f in (np.sin, np.cos)]
        else:
            lines = []
        return [np.broadcast_to(line.reshape(shape), self.shape) for line in lines]


@dataclass(frozen=True)
class Variable:
    """How the values of a variable become elements.

    Args:
        name: its name.
        attributes: units and the like.
        dtype: of its values.
        logarithm: whether its values are positive and their logarithms more even: these are what is modelled.
        mean: of all values (), or of each place (*space), where places differ more than items do.
        deviation: from that mean, positive.
        known: (*space) where there are values; None for everywhere.
    """

    name: str
    attributes: Mapping[str, Any]
    dtype: str
    logarithm: bool
    mean: np.ndarray
    deviation: float
    known: np.ndarray | None

    def encode(self, values: np.ndarray) -> np.ndarray:
        """(B, *space) values, NaN where one is missing, to elements, NaN likewise."""
        values = np.where(np.isfinite(values), values, np.nan)
        values = np.log(np.maximum(values, np.finfo(float).tiny)) if self.logarithm else values
        elements = (values - self.mean) / self.deviation
        return elements if self.known is None else np.where(self.known, elements, np.nan)

    def decode(self, elements: np.ndarray) -> np.ndarray:
        """The inverse, NaN where nothing is ever known."""
        values = elements * self.deviation + self.mean
        values = np.exp(values) if self.logarithm else values
        values = values if self.known is None else np.where(self.known, values, np.nan)
        kind = np.dtype(self.dtype)
        return values.astype(kind) if kind.kind == "f" else values

    def config(self) -> dict[str, JSON]:
        """As JSON values, arrays compressed."""
        own: dict[str, Any] = {**vars(self), "attributes": dict(self.attributes), "mean": written(self.mean)}
        return own | {"known": None if self.known is None else written(self.known)}

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> Self:
        """The variable that :meth:`config` described."""
        known = None if config["known"] is None else array_of(config["known"])
        own: dict[str, Any] = {**config, "mean": array_of(config["mean"]), "known": known}
        return cls(**own)


class Moments:
    """Sums over items of the values of a variable, and of their logarithms as long as they are positive."""

    def __init__(self, shape: Sequence[int]) -> None:
        self.counts = np.zeros(shape)
        self.sums = {False: np.zeros((3, *shape)), True: np.zeros((3, *shape))}
        self.shift: dict[bool, float] = {}
        self.positive = True

    def add(self, values: np.ndarray) -> None:
        """One more item, (*space), NaN where a value is missing."""
        known = np.isfinite(values)
        self.counts += known
        self.positive = self.positive and bool((values[known] > 0).all())
        for logarithm in (False, True) if self.positive else (False,):
            parts = np.log(np.where(known, values, 1.0)) if logarithm else np.where(known, values, 0.0)
            if logarithm not in self.shift and known.any():
                self.shift[logarithm] = float(parts[known].mean())  # near the mean, so that squares keep their digits
            parts = np.where(known, parts - self.shift.get(logarithm, 0.0), 0.0)
            self.sums[logarithm] += np.stack([parts, parts**2, parts**3])

    def variable(self, name: str, attributes: dict[str, Any], dtype: str) -> Variable:
        """What they say of the variable."""
        logarithm = self.positive and abs(self._skewness(True)) < abs(self._skewness(False)) / 2
        mean, deviation = self._overall(logarithm)
        ever = self.counts > 0
        mean = np.array(mean + self.shift.get(logarithm, 0.0))
        of_places, around = self._places(logarithm)
        between = float(of_places[ever].std())
        if self.counts.max() >= _MANY and between > around > 0:
            mean = np.where(ever, of_places + self.shift[logarithm], float(mean))
            deviation = around
        return Variable(name, attributes, dtype, logarithm, mean, deviation or 1.0, None if ever.all() else ever)

    def _overall(self, logarithm: bool) -> tuple[float, float]:
        first, second, _ = (part.sum() / self.counts.sum() for part in self.sums[logarithm])
        return float(first), float(np.sqrt(max(second - first**2, 0.0)))

    def _places(self, logarithm: bool) -> tuple[np.ndarray, float]:
        """Mean of each place, less the shift, and the deviation of all values from those."""
        counts = np.maximum(self.counts, 1)
        means = self.sums[logarithm][0] / counts
        squares = self.sums[logarithm][1].sum() - (self.counts * means**2).sum()
        return means, float(np.sqrt(max(squares, 0.0) / self.counts.sum()))

    def _skewness(self, logarithm: bool) -> float:
        first, second, third = (float(part.sum() / self.counts.sum()) for part in self.sums[logarithm])
        variance = second - first**2
        return (third - 3 * first * second + 2 * first**3) / variance**1.5 if variance > 1e-12 * second else 0.0


def told(attributes: Mapping[Any, Any]) -> dict[str, Any]:
    """Of the attributes, those that say what a variable is."""
    return {name: str(attributes[name]) for name in _TOLD if name in attributes}


def values_of(item: Fields, name: str, grid: Grid) -> np.ndarray:
    """(*space) of a variable.

    Raises:
        UserError: there is none, or it is on another grid.
    """
    if name not in item:
        raise UserError(f"the field has no variable {name!r}, which the model was trained with")
    array = item[name]
    if set(array.dims) != set(grid.axes) or tuple(array.sizes[axis] for axis in grid.axes) != grid.shape:
        sizes = ", ".join(f"{axis} {size}" for axis, size in array.sizes.items())
        own = ", ".join(f"{axis} {size}" for axis, size in zip(grid.axes, grid.shape, strict=True))
        raise UserError(f"{name} is on a grid of {sizes or 'no axes'}, and the model on one of {own}")
    return array.transpose(*grid.axes).values.astype(np.float64)


def standard(array: np.ndarray) -> np.ndarray:
    """Of zero mean and unit deviation, 0 where there is no number."""
    array = np.where(np.isfinite(array), array.astype(float), np.nan)
    known = array[~np.isnan(array)]
    return np.nan_to_num(
        (array - (known.mean() if len(known) else 0.0)) / ((known.std() if len(known) else 0.0) or 1.0)
    )


def without_gaps(elements: np.ndarray) -> np.ndarray:
    """Values (..., L) with what is missing on lines between its neighbours of the last axis; NaN where all is."""
    rows = elements.reshape(-1, elements.shape[-1])
    missing, places = np.isnan(rows), np.arange(rows.shape[1])
    for number in np.flatnonzero(missing.any(1) & ~missing.all(1)):
        gaps = missing[number]
        rows[number, gaps] = np.interp(places[gaps], places[~gaps], rows[number, ~gaps])
    return rows.reshape(elements.shape)


def blocks(array: np.ndarray, factors: Sequence[int]) -> np.ndarray:
    """Means of blocks of so many places along each axis."""
    for axis, factor in enumerate(factors):
        array = np.moveaxis(array, axis, -1)
        array = np.moveaxis(array.reshape(*array.shape[:-1], -1, factor).mean(-1), -1, axis)
    return array


def written(array: np.ndarray) -> JSON:
    """As text, in few letters."""
    data = base64.b64encode(zlib.compress(np.ascontiguousarray(array).tobytes())).decode()
    return {"shape": list(array.shape), "dtype": str(array.dtype), "zlib": data}


def array_of(written: Mapping[str, Any]) -> np.ndarray:
    """The inverse of :func:`written`."""
    data = zlib.decompress(base64.b64decode(written["zlib"]))
    return np.frombuffer(data, written["dtype"]).reshape(written["shape"])
