"""Fields on grids: NetCDF, Zarr and NumPy files, opened lazily, as items of one moment or sample each."""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from suffuse.data.base import Source
from suffuse.data.report import Report
from suffuse.errors import UserError
from suffuse.fields import ITEMS, LONGITUDES, TIMES, Fields, columns, step_between, time_of

NEXT = "next-field"
FIELDS = ("field", NEXT)
"""Kinds of fields: alone, and with what comes after them."""
FORMATS = (".nc", ".nc4", ".cdf", ".npz", ".zarr")
"""Suffixes of files of fields; Zarr's is that of a folder."""
_MOST_AXES = 3
_KNOWN = 0.5
"""An item is used where so much is known of it as a share of what is known of the fullest."""
_FIRST = "sample"


@dataclass(frozen=True)
class FieldsReport(Report):
    """What a source of fields holds.

    Args:
        variables: names of what varies from item to item, with units.
        maps: names of what is the same in all of them.
        grid: length of each space axis, by name.
        land: share of the places that are never known.
        missing: values elsewhere that are missing.
    """

    variables: dict[str, str] = field(default_factory=dict)
    maps: tuple[str, ...] = ()
    grid: dict[str, int] = field(default_factory=dict)
    land: float = 0.0
    missing: int = 0

    def facts(self) -> list[str]:
        """Variables, grid, land and gaps."""
        named = ", ".join(f"{name} [{unit}]" if unit else name for name, unit in self.variables.items())
        lines = [f"  {named} on {' x '.join(map(str, self.grid.values()))} ({', '.join(self.grid)})"]
        lines += [f"  the same for all: {', '.join(self.maps)}"] if self.maps else []
        lines += [f"  {self.land:.0%} of the places are never known, as land is not to the sea"] if self.land else []
        return lines + ([f"  {self.missing} values are missing and interpolated"] if self.missing else [])


@dataclass(frozen=True)
class Part:
    """A file of fields.

    Args:
        name: to call it.
        dataset: opened lazily: the variables, as data; all that is the same for all items, as coordinates.
        axes: along which items stand side by side.
        space: the other axes, of all variables alike.
    """

    name: str
    dataset: Fields
    axes: tuple[str, ...]
    space: tuple[str, ...]

    @property
    def shape(self) -> tuple[int, ...]:
        """How many items there are along each axis."""
        return tuple(self.dataset.sizes[axis] for axis in self.axes)

    @property
    def variables(self) -> list[str]:
        """Names of what varies."""
        return [str(name) for name in self.dataset.data_vars]

    def item(self, number: int) -> Fields:
        """One item, read."""
        places = dict(zip(self.axes, map(int, np.unravel_index(number, self.shape)), strict=True))
        return self.dataset.isel(places).load()


class FieldSource(Source):
    """Fields; a raw item is an xarray Dataset of one moment or sample, in memory.

    Fields, in the sense of a source, are what is said of each item by numbers, names and moments along its axes; of
    moments also the year, month and hour; of several files the name of the file.

    Args:
        name: what to call it.
        parts: that have the same variables on the same grid.
        left_out: what is not used, and why.
        notes: what the user should know of it.
        kind: one of :data:`FIELDS`; of the second a raw item is a pair of what is and what comes next.
    """

    def __init__(
        self,
        name: str,
        parts: Sequence[Part],
        left_out: Sequence[tuple[str, str]] = (),
        notes: Sequence[str] = (),
        kind: str = "field",
    ) -> None:
        self.name, self.parts, self.kind = name, tuple(parts), kind
        self._items = [place for number, part in enumerate(parts) for place in _places(number, part, kind)]
        if not self._items:
            raise UserError(f"{name} has no item that another one follows in time, which a model of the next needs")
        self._said = self._columns()
        self.fields = tuple(self._said)
        self.report = Report(name, len(self._items), list(left_out), list(notes))

    def __len__(self) -> int:
        return len(self._items)

    def names(self, positions: Sequence[int]) -> list[str]:
        """File and number."""
        several = len(self.parts) > 1
        places = [self._items[position] for position in positions]
        return [(f"{self.parts[n].name}-" if several else "") + f"{item:06d}" for n, item, _ in places]

    def raw(self, positions: Sequence[int]) -> list[Any]:
        """Datasets; of the kind of what comes next, pairs of them."""
        places = [self._items[position] for position in positions]
        first = [self._read(n, item) for n, item, _ in places]
        if self.kind != NEXT:
            return first
        return [(item, self._read(n, after)) for item, (n, _, after) in zip(first, places, strict=True)]

    def sources(self, positions: Sequence[int]) -> list[Any]:
        """Of the kind of what comes next: what is."""
        if self.kind != NEXT:
            return []
        return [self._read(n, item) for n, item, _ in (self._items[position] for position in positions)]

    def _read(self, part: int, item: int) -> Fields:
        try:
            return self.parts[part].item(item)
        except (OSError, ValueError, RuntimeError, MemoryError) as error:
            raise UserError(f"{self.parts[part].name} cannot be read: {_first_line(error)}") from error

    def _columns(self) -> dict[str, list[Any]]:
        """What is said of each item, where that is not the same for all of them."""
        each = [columns(part.dataset, part.axes) for part in self.parts]
        if len(self.parts) > 1:
            each = [said | {"file": [part.name] * max(1, int(np.prod(part.shape)))}
                    for said, part in zip(each, self.parts, strict=True)]  # fmt: skip
        names = dict.fromkeys(name for said in each for name in said)
        found = {n: [each[p][n][i] if n in each[p] else None for p, i, _ in self._items] for n in names}
        return {name: values for name, values in found.items() if any(value != values[0] for value in values)}

    def _values(self, field: str) -> list[Any]:
        return self._said[field]

    def scan(self, progress: Callable[[int, int], None] | None = None) -> FieldsReport:
        """Read every item once: what is known of it, and where nothing ever is."""
        part = self.parts[0]
        sizes = [part.dataset.sizes[axis] for axis in part.space]
        ever, counts, damaged = np.zeros((len(part.variables), *sizes), bool), [], list[tuple[str, str]]()
        for position in range(len(self)):
            try:
                items = self.raw([position])
            except UserError as error:
                damaged.append((self.names([position])[0], str(error)))
                counts.append(np.full(len(part.variables), -1))
                continue
            known = [
                np.stack([self._known(item, name) for name in part.variables])
                for item in (items[0] if self.kind == NEXT else items)
            ]
            ever |= np.any(known, 0)
            counts.append(np.min([each.reshape(len(each), -1).sum(1) for each in known], 0))
            if progress:
                progress(position + 1, len(self))
        return self._reported(ever, np.array(counts), damaged)

    def _known(self, item: Fields, name: str) -> np.ndarray:
        return np.isfinite(item[name].transpose(*self.parts[0].space).values.astype(np.float64))

    def _reported(self, ever: np.ndarray, counts: np.ndarray, damaged: list[tuple[str, str]]) -> FieldsReport:
        part, places = self.parts[0], ever.reshape(len(ever), -1).sum(1)
        empty = [name for name, count in zip(part.variables, places, strict=True) if not count]
        if empty:
            raise UserError(f"{empty[0]} of {self.name} has no number at all, only NaN; leave it out of the file")
        readable = (counts >= 0).all(1)
        full = readable & (counts >= _KNOWN * places).all(1)
        keep = np.flatnonzero(full).tolist()
        if not keep:
            raise UserError(f"{self.name} has no item of which {_KNOWN:.0%} is known; fill some of its gaps first")
        sparse = [(name, "most of it is missing") for name in self.names(np.flatnonzero(readable & ~full).tolist())]
        units = {name: str(part.dataset[name].attrs.get("units", "")) for name in part.variables}
        nameless = [name for name, unit in units.items() if not unit]
        notes = [f"{', '.join(nameless)}: no units are said, and none will be"] if nameless else []
        return FieldsReport(
            self.name,
            self.report.found,
            [*self.report.left_out, *damaged, *sparse],
            [*self.report.notes, *notes],
            kept=len(keep),
            keep=keep,
            fields={name: sum(values[k] is not None for k in keep) for name, values in self._said.items()},
            variables=units,
            maps=tuple(str(n) for n, each in part.dataset.coords.items() if set(each.dims) == set(part.space)
                       and each.ndim > 1),
            grid={axis: part.dataset.sizes[axis] for axis in part.space},
            land=float(1 - ever.any(0).mean()),
            missing=int((places - counts[keep]).clip(min=0).sum()),
        )  # fmt: skip

    def changing(self) -> list[str]:
        """Names of the variables that have an axis of time."""
        part = self.parts[0]
        times = {axis for axis in part.axes if axis.lower() in TIMES}
        return [name for name in part.variables if times & {*map(str, part.dataset[name].dims)}]

    def step(self) -> dict[str, Any] | None:
        """From one item to the next in time, see :func:`suffuse.fields.step_between`; None where that differs."""
        dataset = self.parts[0].dataset
        time = time_of(dataset)
        return None if time is None or dataset[time].ndim != 1 else step_between(dataset[time].values)


def _places(number: int, part: Part, kind: str) -> list[tuple[int, int, int]]:
    """Numbers of the part, of each of its items, and of the one that follows it in time, where that is asked for."""
    items = np.arange(max(1, int(np.prod(part.shape)))).reshape(part.shape)
    if kind != NEXT:
        return [(number, item, -1) for item in items.ravel().tolist()]
    time = next((place for place, axis in enumerate(part.axes) if axis.lower() in TIMES), None)
    if time is None:
        return []
    runs = np.moveaxis(items, time, -1)
    return [
        (number, a, b) for a, b in zip(runs[..., :-1].ravel().tolist(), runs[..., 1:].ravel().tolist(), strict=True)
    ]


def open_fields(path: Path, kind: str = "field") -> FieldSource:
    """Open a file of fields, or a folder of them that have the same variables on the same grid.

    Raises:
        UserError: nothing there can be read as fields; says why.
    """
    if not path.is_dir() or is_zarr(path):
        return of_dataset(_opened(path), path.stem, kind)
    files = sorted(file for file in path.iterdir() if file.suffix.lower() in FORMATS or is_zarr(file))
    if not files:
        raise UserError(f"there are no fields in {path}; give files of {', '.join(FORMATS)}")
    parts, left_out, notes = list[Part](), list[tuple[str, str]](), dict[str, None]()
    for file in files:
        try:
            part, without, said = _part(_opened(file), file.stem)
            if parts:
                _check_same(parts[0], part)
        except UserError as error:
            left_out.append((file.name, str(error)))
            continue
        parts.append(part)
        left_out += [(f"{name} of {file.name}", why) for name, why in without]
        notes |= dict.fromkeys(said)
    if not parts:
        raise UserError(f"no file of {path} holds fields that can be used: {left_out[0][1]}")
    return FieldSource(str(path), parts, left_out, list(notes), kind)


def of_dataset(dataset: Fields, name: str, kind: str = "field") -> FieldSource:
    """A source of an xarray Dataset.

    Args:
        dataset: variables with axes for time or samples (named so), and one to three others.
        name: to call it.
        kind: one of :data:`FIELDS`.

    Raises:
        UserError: it holds no numbers on a grid, or of too many axes.
    """
    part, left_out, notes = _part(dataset, name)
    return FieldSource(name, [part], left_out, notes, kind)


def is_fields(path: Path) -> bool:
    """Whether a file, or a folder, holds fields by its name or by what is in it."""
    if path.suffix.lower() in FORMATS or is_zarr(path):
        return True
    try:
        files = [Path(name) for name in os.listdir(path) if not name.startswith(".")]
    except OSError:  # no folder, or one that may not be read, which is said where it is listed
        return False
    return 2 * sum(file.suffix.lower() in FORMATS for file in files) > len(files)


def is_zarr(path: Path) -> bool:
    """Whether a folder is a store of Zarr."""
    return any(os.path.isfile(path / name) for name in ("zarr.json", ".zgroup", ".zmetadata"))  # one may not be let in


def _opened(path: Path) -> Fields:
    """The Dataset of a file, whose values are not read yet, but for those of NumPy's form."""
    try:
        import xarray
    except ImportError as missing:
        raise UserError("fields are read by xarray: pip install 'suffuse[fields]'") from missing

    if path.suffix.lower() == ".npz":
        return _of_arrays(path)
    form = "Zarr" if path.is_dir() else "NetCDF"
    options: dict[str, Any] = {"engine": "zarr", "consolidated": False} if path.is_dir() else {}
    try:
        try:
            return xarray.open_dataset(path, chunks=None, decode_timedelta=False, **options)
        except ValueError:  # times in units that are none
            return xarray.open_dataset(path, chunks=None, decode_timedelta=False, decode_times=False, **options)
    except Exception as error:  # engines raise all kinds of errors about files that are none of theirs
        raise UserError(f"{path} cannot be read as {form}: {_first_line(error)}") from error


def _of_arrays(path: Path) -> Fields:
    """NumPy arrays: the first axis is that of samples, or of time where an array of that name is as long."""
    import xarray

    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read as arrays: {_first_line(error)}") from error
    full = [array for array in arrays.values() if array.ndim > 1]
    if not full:
        raise UserError(f"{path} holds no array of fields, (samples, ..., space axes)")
    shape = max(full, key=lambda array: (array.ndim, array.size)).shape
    lengths = {name: len(array) for name, array in arrays.items() if array.ndim == 1}
    names = [_FIRST, *(f"axis{place}" for place in range(1, len(shape)))]
    for name, length in lengths.items():
        time = name.lower() in TIMES
        places = [place for place in range(len(shape)) if shape[place] == length and (time or place > 0)]
        free = [place for place in places if names[place] in (_FIRST, f"axis{place}")]
        known = time or length != shape[0]  # as many as samples are numbers of these
        if free and known:
            names[free[0]] = name
    return xarray.Dataset({name: _placed(array, names, shape) for name, array in arrays.items()}).set_coords(
        [name for name in names if name in arrays]
    )


def _placed(array: np.ndarray, names: list[str], shape: tuple[int, ...]) -> Any:
    """An array with names of its axes: all, those of space alone, or one."""
    if array.ndim > 1 and array.shape == shape[: array.ndim] and array.ndim == len(shape):
        return names, array
    if array.ndim > 1 and array.shape == shape[-array.ndim :]:
        return names[-array.ndim :], array
    if array.ndim == 1:
        fits = [name for name, length in zip(names, shape, strict=True) if length == len(array)]
        return (fits[0] if fits else f"of {len(array)}",), array
    return [f"of {length}, {place}" for place, length in enumerate(array.shape)], array


def _part(dataset: Fields, name: str) -> tuple[Part, list[tuple[str, str]], list[str]]:
    """The largest group of variables on one grid; what is left out, and what the user should know."""
    dataset = dataset.squeeze(
        [axis for axis, size in dataset.sizes.items() if size == 1 and not _of_items(dataset, axis)]
    )
    axes = tuple(str(axis) for axis in dataset.dims if _of_items(dataset, axis))
    bounds = {str(each.attrs.get("bounds") or each.encoding.get("bounds")) for each in dataset.variables.values()}
    left_out, groups = list[tuple[str, str]](), dict[frozenset[Any], list[str]]()
    for each, array in dataset.data_vars.items():
        space = frozenset(array.dims) - {*axes}
        if not space or each in bounds:
            continue
        if array.dtype.kind not in "fiub":
            left_out.append((f"variable {each}", f"holds {array.dtype}, not numbers"))
            continue
        groups.setdefault(space, []).append(str(each))
    if not groups:
        why = f"; {left_out[0][0]} {left_out[0][1]}" if left_out else "; they need an axis beside samples and time"
        raise UserError(f"{name} holds no numbers on a grid{why}")
    chosen = max(groups, key=lambda space: len(groups[space]) * np.prod([dataset.sizes[axis] for axis in space]))
    left_out += [(f"variable {each}", "is on another grid") for space in groups if space != chosen
                 for each in groups[space]]  # fmt: skip
    own = groups[chosen]
    order = next(dataset[each].dims for each in own if len(set(dataset[each].dims) - {*axes}) == len(chosen))
    space = tuple(str(axis) for axis in order if axis in chosen)
    if len(space) > _MOST_AXES:
        raise UserError(f"{name} has the space axes {', '.join(space)}, more than three; call an axis of items sample "
                        "or time")  # fmt: skip
    still = [each for each in own if axes and not set(dataset[each].dims) & {*axes}]
    if len(still) == len(own):
        raise UserError(f"nothing in {name} varies along {', '.join(axes)}")
    kept = [each for each in own if each not in still]
    said = [str(each) for each, array in dataset.variables.items() if set(array.dims) <= {*axes} and each not in bounds]
    dropped = {each for each in dataset.variables if each not in own and not set(dataset[each].dims) <= {*axes, *space}}
    rest = [each for each in dataset.variables if each not in (*kept, *said, *still) and each not in dropped]
    keep = [each for each in (*kept, *still, *said, *rest) if each not in bounds and dataset[each].dtype.kind != "V"]
    part = dataset[keep].set_coords([each for each in keep if each not in kept])
    notes = [note for axis in space if (note := _uneven(part, axis)) is not None]
    return Part(name, part, axes, space), left_out, notes


def _of_items(dataset: Fields, axis: Any) -> bool:
    """Whether an axis is one of time or samples, by its name or its coordinate."""
    if str(axis).lower() in (*TIMES, *ITEMS):
        return True
    return axis in dataset.coords and dataset[axis].dtype.kind not in "fiub"


def _uneven(dataset: Fields, axis: str) -> str | None:
    if axis not in dataset.coords or dataset.sizes[axis] < 3:
        return None
    steps = np.diff(dataset[axis].values.astype(np.float64))
    if np.allclose(steps, steps[0], rtol=1e-2, atol=0):
        return None
    return f"the steps of {axis} are uneven: they are kept, but the network counts places, not distances"


def circles(dataset: Fields, space: Sequence[str]) -> tuple[str, ...]:
    """Axes of longitude that go all the way round."""
    found: list[str] = []
    for axis in space:
        named = axis.lower() in LONGITUDES or (
            axis in dataset.coords and dataset[axis].attrs.get("standard_name") == "longitude"
        )
        if named and axis in dataset.coords and dataset.sizes[axis] > 1:
            places = dataset[axis].values.astype(np.float64)
            if abs(abs(places[-1] - places[0]) * len(places) / (len(places) - 1) - 360) < 1:
                found.append(axis)
    return tuple(found)


def _check_same(first: Part, other: Part) -> None:
    """Refuse a file whose variables or grid are not those of the first."""
    if set(first.variables) != set(other.variables):
        raise UserError(f"it has {', '.join(other.variables)}, and {first.name} has {', '.join(first.variables)}")
    for axis in first.space:
        if first.dataset.sizes[axis] != other.dataset.sizes.get(axis):
            raise UserError(f"it is on another grid than {first.name}: {axis} is not as long")


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [""])[0] or type(error).__name__
