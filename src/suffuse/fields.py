"""Raw items of fields: xarray Datasets of one moment or sample, and what such a Dataset says beside its values."""

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np

Fields: TypeAlias = Any
"""An xarray Dataset; the library is imported where it is used."""

TIMES = ("time", "t", "date", "datetime", "valid_time")
"""Names of the axis of time."""
ITEMS = (
    "sample", "samples", "member", "members", "realization", "realisation", "ensemble", "number", "run", "case",
    "scenario", "experiment", "model", "batch", "n",
)  # fmt: skip
"""Names of the other axes along which items stand side by side."""
LONGITUDES = ("longitude", "lon", "lons", "long")
_MOMENT = ("year", "month", "hour")
_DAYS_OF_A_MONTH = (28, 31)


def columns(dataset: Fields, axes: Sequence[str]) -> dict[str, list[Any]]:
    """What is said of each item along some axes: numbers, names and moments that have no other axes.

    Of a moment there are also the year, the month and the hour, as numbers. A number that is missing is None.

    Args:
        dataset: whatever its other axes.
        axes: of the items; without any it is one item.

    Example:
        >>> import xarray
        >>> moment = np.datetime64("2024-07-01T06:00", "ns")
        >>> said(xarray.Dataset(coords={"time": moment}))
        {'time': '2024-07-01T06:00:00', 'year': 2024, 'month': 7, 'hour': 6}
    """
    import xarray

    like = xarray.DataArray(np.zeros([dataset.sizes[axis] for axis in axes]), dims=list(axes))
    found: dict[str, list[Any]] = {}
    for name, variable in dataset.variables.items():
        numbered = name in axes and name not in TIMES and variable.dtype.kind in "iuf"
        if not set(variable.dims) <= set(axes) or numbered:
            continue
        array = xarray.DataArray(variable.load()).broadcast_like(like).transpose(*axes)
        values = array.values.reshape(-1)
        if _moments(values):
            found[str(name)] = [_iso(value) for value in values]
            parts = array.dt
            found |= {part: getattr(parts, part).values.reshape(-1).tolist() for part in _MOMENT}
        else:
            found[str(name)] = [_plain(value) for value in values]
    return found


def said(item: Fields) -> dict[str, Any]:
    """What is said of one item; see :func:`columns`."""
    return {name: values[0] for name, values in columns(item, ()).items()}


def _moments(values: np.ndarray) -> bool:
    """Of a calendar, NumPy's own or another."""
    if values.dtype.kind == "M":
        return True
    if values.dtype != object or not len(values):
        return False
    import cftime

    return isinstance(values[0], cftime.datetime)


def _iso(value: Any) -> str:
    return str(value.astype("datetime64[s]")) if isinstance(value, np.datetime64) else value.isoformat()


def _plain(value: Any) -> Any:
    """As Python's own; what is missing as None."""
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    value = value.item() if isinstance(value, np.generic) else value
    return None if value is None or value != value else value


def time_of(dataset: Fields) -> str | None:
    """Name of the coordinate that says when, where there is one."""
    return next((str(name) for name in dataset.coords if str(name).lower() in TIMES), None)


def step_between(times: np.ndarray) -> dict[str, Any] | None:
    """From each time to the next, where all are as far apart: a number, seconds, or whole months.

    Example:
        >>> step_between(np.array(["2024-01-01", "2024-02-01", "2024-03-01"], "datetime64[ns]"))
        {'unit': 'months', 'value': 1}
        >>> step_between(np.array([0.0, 0.5, 1.0]))
        {'unit': 'number', 'value': 0.5}
    """
    if len(times) < 2:
        return None
    steps = np.diff(times)
    if times.dtype.kind in "iuf":
        return {"unit": "number", "value": float(steps[0])} if np.allclose(steps, steps[0], 1e-6) else None
    if times.dtype.kind not in "MO":
        return None
    seconds = np.array([_seconds(step) for step in steps])
    if (seconds == seconds[0]).all():
        return {"unit": "seconds", "value": float(seconds[0])}
    least, most = (days * 86400 for days in _DAYS_OF_A_MONTH)
    whole = times.dtype.kind == "M" and ((least <= seconds) & (seconds <= most)).all()
    return {"unit": "months", "value": 1} if whole else None


def _seconds(step: Any) -> float:
    return step / np.timedelta64(1, "s") if isinstance(step, np.timedelta64) else step.total_seconds()


def later(value: np.ndarray, step: dict[str, Any]) -> Any:
    """A time one step on, as it is written in a Dataset.

    Args:
        value: () a number or a moment.
        step: as :func:`step_between` gives it.
    """
    if step["unit"] == "number":
        return value + step["value"]
    if step["unit"] == "months":
        month = value.astype("datetime64[M]")
        return (month + 1).astype("datetime64[ns]") + (value - month.astype("datetime64[ns]"))
    from datetime import timedelta

    if value.dtype.kind == "M":
        return value + np.timedelta64(round(step["value"] * 1e9), "ns")
    return np.array(value.item() + timedelta(seconds=step["value"]), dtype=object)
