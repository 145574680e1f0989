"""Fields as files and as pictures: a map for each variable of each, with its colours."""

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from suffuse.errors import UserError
from suffuse.fields import Fields
from suffuse.plots import as_picture, new_figure

_ACROSS = 4
"""Variables that are shown."""


def side_by_side(items: Sequence[Fields]) -> Fields:
    """One Dataset of several, along an axis ``sample``.

    Example:
        >>> import xarray
        >>> side_by_side([xarray.Dataset({"u": ("x", [1.0, 2.0])}, {"t": time}) for time in (0.0, 0.5)]).sizes
        Frozen({'sample': 2, 'x': 2})
    """
    import xarray

    return xarray.concat(
        list(items),
        "sample",
        data_vars="all",
        coords="different",
        compat="equals",
        join="override",
        combine_attrs="override",
    )


def write_store(dataset: Fields, aside: Path, path: Path) -> None:
    """Write a folder of Zarr, and make room for it where there is one already.

    Raises:
        UserError: there is something else in its place.
    """
    if path.exists() and not (path.is_dir() and any((path / name).exists() for name in ("zarr.json", ".zgroup"))):
        raise UserError(f"{path} is there already, and is no store of Zarr; choose another name")
    shutil.rmtree(aside, ignore_errors=True)
    dataset.to_zarr(aside, mode="w", consolidated=False)
    shutil.rmtree(path, ignore_errors=True)


def write_arrays(dataset: Fields, path: Path) -> None:
    """Write NumPy arrays by the names of variables and coordinates."""
    arrays = {str(name): each.values for name, each in dataset.variables.items()}
    with path.open("wb") as file:
        np.savez_compressed(file, allow_pickle=False, **{name: _plain(array) for name, array in arrays.items()})


def _plain(array: np.ndarray) -> np.ndarray:
    """Moments of other calendars as texts."""
    return array.astype(str) if array.dtype == object else array


def maps(items: Sequence[Fields], titles: Sequence[str] | None = None) -> Image.Image:
    """Fields, a row for each variable and a column for each item: one scale for a row, lines of one axis.

    Args:
        items: of one grid.
        titles: one for each; by default none.
    """
    names = [str(name) for name in items[0].data_vars if items[0][name].ndim][:_ACROSS]
    height, width = _sides(items[0][names[0]])
    figure = new_figure(1.2 + 1.6 * len(items) * max(0.6, min(2.0, width / height)), 1.9 * len(names) + 0.3)
    panels = figure.subplots(len(names), len(items), squeeze=False)
    for row, name in zip(panels, names, strict=True):
        values = [_flat(item[name]) for item in items]
        known = np.concatenate([each[np.isfinite(each)] for each in values])
        low, high = (float(known.min()), float(known.max())) if len(known) else (0.0, 1.0)
        colours = "RdBu_r" if low < 0 < high and -low / high > 0.2 and -high / low > 0.2 else "viridis"
        if colours == "RdBu_r":
            low, high = min(low, -high), max(high, -low)
        shown: Any = None
        for panel, each, item in zip(row, values, items, strict=True):
            if each.ndim == 1:
                panel.plot(each, linewidth=1)
                panel.set_ylim(low, high if high > low else low + 1)
            else:
                panel.set_facecolor("0.8")
                shown = panel.imshow(each, vmin=low, vmax=high, cmap=colours, origin=_origin(item[name]))
                panel.set_xticks([])
                panel.set_yticks([])
        label = f"{name} [{items[0][name].attrs['units']}]" if items[0][name].attrs.get("units") else name
        if shown is None:
            row[0].set_ylabel(label, fontsize=8)
        else:
            figure.colorbar(shown, ax=list(row), label=label, shrink=0.9)
    for panel, title in zip(panels[0], titles or (), strict=False):
        panel.set_title(title, fontsize=8)
    return as_picture(figure)


def _flat(array: Any) -> np.ndarray:
    """(H, W) or (L,): of three axes the middle of the first."""
    values = array.values.astype(float)
    return values[len(values) // 2] if values.ndim == 3 else values


def _sides(array: Any) -> tuple[int, int]:
    flat = _flat(array)
    return (flat.shape[0], flat.shape[1]) if flat.ndim == 2 else (1, 1)


def _origin(array: Any) -> Any:
    """The first row below, but where a coordinate falls."""
    axis = array.dims[-2]
    falls = axis in array.coords and array.sizes[axis] > 1 and float(array[axis][0]) > float(array[axis][-1])
    return "upper" if falls else "lower"
