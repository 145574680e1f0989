"""Fields on a grid to states, by the mean and deviation of each variable."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import chain
from typing import Any, ClassVar, Self, cast

import numpy as np
import torch
from torch import Tensor

from suffuse.codecs.base import JSON, Codec
from suffuse.codecs.grids import (
    Grid,
    Moments,
    Variable,
    array_of,
    blocks,
    standard,
    told,
    values_of,
    without_gaps,
    written,
)
from suffuse.fields import Fields, said
from suffuse.rng import Streams
from suffuse.tree import State


class FieldCodec(Codec):
    """Fields of V variables to states (B, V, *space) float32, and back.

    Each variable is told in deviations from its mean, of its logarithm where it is positive and skewed. Where places
    differ more among each other than items do, as those of a climate, the mean is that of each place. Places where
    nothing is ever known, such as land in the sea, are 0 in a state and NaN in a field; values that are missing
    elsewhere are interpolated along the last axis. Names, units, coordinates and what else is the same for all items
    come back with every item.

    ``decode(encode(x))`` has the values of x within a millionth of their deviation and of the largest of them, in the
    type of x where that is one of real numbers.

    Args:
        variables: how each is encoded.
        grid: where the values are.

    Example:
        >>> import xarray
        >>> items = [xarray.Dataset({"u": ("x", [value, 2.0])}, {"x": [0.0, 0.5]}) for value in (0.0, 4.0)]
        >>> codec = FieldCodec.fit(items, ("x",))
        >>> codec.encode(items[:1])
        tensor([[[-1.4142,  0.0000]]])
        >>> codec.decode(codec.encode(items[1:]))[0]["u"].values.round(3).tolist()
        [4.0, 2.0]
    """

    kind: ClassVar[str] = "field"

    def __init__(self, variables: Sequence[Variable], grid: Grid) -> None:
        self.variables, self.grid = tuple(variables), grid

    @classmethod
    def fit(cls, items: Iterable[Fields], axes: Sequence[str], periodic: Sequence[str] = ()) -> Self:
        """Fit to items, which are looked at one by one.

        Args:
            items: at least one.
            axes: names of the space axes.
            periodic: of those that close to a circle.
        """
        waiting = iter(items)
        first = next(waiting)
        grid = Grid.of(first, axes, periodic)
        found = {str(name): Moments(grid.shape) for name in first.data_vars}
        for item in chain([first], waiting):
            for name, moments in found.items():
                moments.add(values_of(item, name, grid))
        variables = [
            moments.variable(name, told(first[name].attrs), str(first[name].dtype)) for name, moments in found.items()
        ]
        return cls(variables, grid)

    @property
    def shape(self) -> tuple[int, ...]:
        """(V, *space)."""
        return len(self.variables), *self.grid.shape

    @property
    def names(self) -> list[str]:
        """Of the variables."""
        return [each.name for each in self.variables]

    def only(self, names: Sequence[str]) -> "FieldCodec":
        """The codec of some of its variables."""
        return FieldCodec([each for each in self.variables if each.name in names], self.grid)

    def maps(self) -> Tensor:
        """(M, *space): what a network may know of every place: land, mean values, heights, where it is."""
        land = [each.known.astype(float) for each in self.variables if each.known is not None]
        means = [standard(each.mean) for each in self.variables if each.mean.ndim]
        maps = [*land[:1], *means, *self.grid.maps()]
        return torch.from_numpy(np.stack(maps) if maps else np.zeros((0, *self.grid.shape))).float()

    def pack(self, raw: Sequence[Any]) -> Tensor:
        """Return the state itself."""
        return torch.from_numpy(self.elements(raw)).float()

    def unpack(self, packed: State, rng: Streams | None = None) -> Tensor:
        """There is nothing to do."""
        del rng
        return cast(Tensor, packed)

    def decode(self, state: State) -> list[Any]:
        """Return Datasets."""
        return self.items_of(cast(Tensor, state).cpu().double().numpy())

    def elements(self, raw: Sequence[Any]) -> np.ndarray:
        """States in double precision.

        Raises:
            UserError: an item lacks a variable, or is on another grid.
        """
        if not raw:
            return np.zeros((0, *self.shape))
        elements = without_gaps(np.stack([self._encoded(item) for item in raw]))
        for place, each in enumerate(self.variables):
            if each.known is not None:
                elements[:, place, ~each.known] = 0.0
        return np.nan_to_num(elements, nan=0.0)

    def items_of(self, elements: np.ndarray) -> list[Any]:
        """Datasets of states in double precision."""
        import xarray

        return [
            xarray.Dataset(
                {
                    each.name: (self.grid.axes, each.decode(values), dict(each.attributes))
                    for each, values in zip(self.variables, item, strict=True)
                },
                dict(self.grid.coordinates),
            )
            for item in elements
        ]

    def _encoded(self, item: Fields) -> np.ndarray:
        return np.stack([each.encode(values_of(item, each.name, self.grid)) for each in self.variables])

    def partial(self, raw: Sequence[Any]) -> tuple[State, State]:
        """What is not a number is asked for, but for places where nothing is ever known."""
        known = np.isfinite(np.stack([self._encoded(item) for item in raw]))
        return self.pack(raw), torch.from_numpy(known)

    def put_back(self, raw: Any, item: Any) -> Any:
        """What was known, to the letter."""
        filled: dict[str, Any] = {}
        for name in self.names:
            own = values_of(raw, name, self.grid)
            filled[name] = item[name].copy(data=np.where(np.isfinite(own), own, item[name].values))
        return self.in_place_of(raw, item.assign(filled))

    def in_place_of(self, raw: Any, item: Any) -> Any:
        """With its time and what else is said of it as a whole."""
        return item.assign_coords({name: each for name, each in raw.coords.items() if each.ndim == 0})

    def together(self, draws: Sequence[Any]) -> Any:
        """The mean of several draws, and the ends of the interval that 90% of them are in."""
        whole = draws[0].copy()
        for name in self.names:
            values = np.stack([draw[name].values for draw in draws])
            low, high = np.quantile(values, [0.05, 0.95], 0)
            whole[name] = draws[0][name].copy(data=values.mean(0))
            whole[f"{name}_p05"], whole[f"{name}_p95"] = (draws[0][name].copy(data=end) for end in (low, high))
        return whole

    def summaries(self, draws: Sequence[Any]) -> dict[str, Any]:
        """Nothing: all draws stand in one file, side by side."""
        del draws
        return {}

    def measured(self, shape: tuple[int, ...]) -> Codec | None:
        """On a coarser grid, whose places are means of its own; else itself or nothing."""
        if shape == self.shape:
            return self
        whole = len(shape) == len(self.shape) and shape[0] == self.shape[0]
        if not whole or any(n % m for n, m in zip(self.shape[1:], shape[1:], strict=True)):
            return None
        return self._coarse(tuple(n // m for n, m in zip(self.shape[1:], shape[1:], strict=True)))

    def _coarse(self, factors: Sequence[int]) -> "FieldCodec":
        by = dict(zip(self.grid.axes, factors, strict=True))
        coordinates = {
            name: (dims, blocks(array.astype(float), [by[axis] for axis in dims]), attrs)
            for name, (dims, array, attrs) in self.grid.coordinates.items()
        }
        grid = Grid(self.grid.axes, tuple(n // f for n, f in zip(self.grid.shape, factors, strict=True)),
                    self.grid.periodic, coordinates)  # fmt: skip
        variables = [
            replace(
                each,
                mean=blocks(each.mean, factors) if each.mean.ndim else each.mean,
                known=None if each.known is None else blocks(each.known.astype(float), factors) > 0,
            )
            for each in self.variables
        ]
        return FieldCodec(variables, grid)

    def tells(self, raw: Any) -> Mapping[str, Any]:
        """What is said of it by numbers, names and moments."""
        return said(raw)

    def dimensions(self, raw: Any) -> int:
        """Values that there are, without land."""
        del raw
        places = int(np.prod(self.grid.shape))
        return sum(places if each.known is None else int(each.known.sum()) for each in self.variables)

    def items(self, collection: Any) -> Sequence[Any]:
        """One Dataset is a collection of one."""
        import xarray

        return [collection] if isinstance(collection, xarray.Dataset) else collection

    def config(self) -> dict[str, JSON]:
        """Return variables and grid; arrays compressed."""
        variables: list[JSON] = [each.config() for each in self.variables]
        coordinates: JSON = {
            name: {"axes": list(dims), "values": written(array), "attributes": attrs}
            for name, (dims, array, attrs) in self.grid.coordinates.items()
        }
        grid: JSON = {
            "axes": list(self.grid.axes),
            "shape": list(self.grid.shape),
            "periodic": list(self.grid.periodic),
            "coordinates": coordinates,
        }
        return {"variables": variables, "grid": grid}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        """Rebuild the codec that `config` described."""
        variables = [Variable.of(each) for each in config["variables"]]
        grid = config["grid"]
        coordinates = {
            name: (tuple(each["axes"]), array_of(each["values"]), each["attributes"])
            for name, each in grid["coordinates"].items()
        }
        return cls(variables, Grid(tuple(grid["axes"]), tuple(grid["shape"]), tuple(grid["periodic"]), coordinates))
