"""Series of numbers in time: tables whose rows are times, on a regular grid, whole or cut into windows."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np

from suffuse.data.base import Source
from suffuse.data.columns import LEFT_OUT
from suffuse.data.report import Report
from suffuse.data.rows import RowSource
from suffuse.errors import UserError

_TIMES = ("time", "date", "datetime", "timestamp", "ds", "year", "month", "day", "t", "step", "index")
NUMBER = "series"
"""Column of numbers that tells series apart which were drawn together."""
_LEAST = 64
"""A table of fewer rows is taken for a series only where that is said."""
_WINDOWS = 50_000
"""More windows than this are not looked at: they begin further apart."""
_KNOWN = 0.5
"""A window is used where at least this share of every channel is known."""
_DAYS_OF_MONTHS = {1: (28, 31), 3: (89, 92), 6: (180, 185), 12: (365, 366)}
START = "start"
"""The field that says when an item begins."""

Frame: TypeAlias = Any
"""A pandas DataFrame; its stubs know less of what it does than its users."""
Column: TypeAlias = Any
"""A pandas Series."""
Step: TypeAlias = Any
"""From one step to the next: a pandas Timedelta or DateOffset, or a float."""


@dataclass(frozen=True)
class Series:
    """One series on its grid.

    Args:
        name: what to call it.
        start: time of the first step: a moment, or a number.
        step: from one step to the next.
        values: (T, C) float64, NaN where one is missing.
    """

    name: str
    start: Any
    step: Step
    values: np.ndarray

    def times(self, first: int, count: int) -> Any:
        """Times of so many steps from one on."""
        import pandas as pd

        if isinstance(self.step, float):
            return self.start + self.step * np.arange(first, first + count)
        return pd.date_range(self.start + first * self.step, periods=count, freq=self.step)


@dataclass(frozen=True)
class SeriesReport(Report):
    """What a source of series holds.

    Args:
        steps: of all series together.
        step: between two of them, in words.
        channels: what is measured at each.
        missing: values that are missing, each of which is drawn as a line between its neighbours.
    """

    steps: int = 0
    step: str = ""
    channels: tuple[str, ...] = field(default_factory=tuple)
    missing: int = 0

    def facts(self) -> list[str]:
        """Steps, channels and gaps."""
        lines = [f"  {self.steps} steps of {self.step}, each of {len(self.channels)}: {', '.join(self.channels)}"]
        return lines + ([f"  {self.missing} values are missing and interpolated"] if self.missing else [])


class SeriesSource(Source):
    """Series of numbers; a raw item is a DataFrame with a column of times and one for each channel.

    An item is a whole series, or a window of one, see :meth:`cut`. The field ``start`` says when each begins. Steps are
    even: the median of those that there are. Values that fall into the same step are averaged; where none does, the
    value is missing.

    Args:
        name: what to call it.
        time: the column of times.
        channels: the columns of numbers.
        idle: those of them that are constant or number the rows: they are read, but there is nothing to learn of them.
        series: their values.
        left_out: columns that are passed over, and why.
        windows: number of the series, first step and steps of each item; by default all of each series.
        overlap: how many of the items that follow an item share steps with it.
    """

    kind = "series"

    def __init__(
        self,
        name: str,
        time: str,
        channels: Sequence[str],
        idle: Sequence[str],
        series: Sequence[Series],
        left_out: Sequence[tuple[str, str]] = (),
        windows: np.ndarray | None = None,
        overlap: int = 0,
    ) -> None:
        self.name, self.time, self.channels, self.series = name, time, tuple(channels), tuple(series)
        self.windows = np.array([(n, 0, len(s.values)) for n, s in enumerate(series)]) if windows is None else windows
        self.idle, self.overlap = tuple(idle), overlap
        self.fields = (START,)
        self.report = Report(name, len(self.windows), list(left_out))

    @property
    def learned(self) -> tuple[str, ...]:
        """The channels that are not idle."""
        return tuple(name for name in self.channels if name not in self.idle)

    def __len__(self) -> int:
        return len(self.windows)

    def names(self, positions: Sequence[int]) -> list[str]:
        """Name of the series, where there are several, and its first moment."""
        several = len(self.series) > 1
        chosen = self.windows[list(positions)].tolist()
        return [
            (f"{self.series[n].name} " if several else "") + f"{self.series[n].times(first, 1)[0]}"
            for n, first, _ in chosen
        ]

    def raw(self, positions: Sequence[int]) -> list[Any]:
        """DataFrames."""
        import pandas as pd

        frames: list[Any] = []
        for number, first, count in self.windows[list(positions)].tolist():
            each = self.series[number]
            columns = dict(zip(self.channels, each.values[first : first + count].T, strict=True))
            frames.append(pd.DataFrame({self.time: each.times(first, count), **columns}))
        return frames

    def cut(self, length: int | None, every: int | None = None) -> "SeriesSource":
        """Windows of so many steps as items, one beginning so many steps after the other.

        Raises:
            UserError: no series is so long.
        """
        if length is None:
            return self
        total = sum(max(0, len(each.values) - length + 1) for each in self.series)
        stride = every or max(1, total // _WINDOWS)
        windows = [
            (n, s, length) for n, e in enumerate(self.series) for s in range(0, len(e.values) - length + 1, stride)
        ]
        if not windows:
            longest = max(len(each.values) for each in self.series)
            raise UserError(
                f"{self.name} has {longest} steps, fewer than a window of {length}; give a smaller --length"
            )
        overlap = -(-length // stride) - 1
        return SeriesSource(
            self.name,
            self.time,
            self.channels,
            self.idle,
            self.series,
            self.report.left_out,
            np.array(windows),
            overlap,
        )

    def scan(self, progress: Callable[[int, int], None] | None = None) -> SeriesReport:
        """Count what is missing; windows of which too much is are not used."""
        places = [self.channels.index(name) for name in self.learned or self.channels]
        unknown = [np.isnan(each.values[:, places]) for each in self.series]
        sums = [np.concatenate([np.zeros((1, gaps.shape[1]), int), gaps.cumsum(0)]) for gaps in unknown]
        keep = [
            place
            for place, (n, first, count) in enumerate(self.windows.tolist())
            if (sums[n][first + count] - sums[n][first]).max() <= (1 - _KNOWN) * count
        ]
        if not keep:
            raise UserError(f"{self.name} has no window of which {_KNOWN:.0%} is known; fill some of its gaps first")
        if progress:
            progress(len(self), len(self))
        some = [self.windows[place].tolist() for place in range(len(self)) if place not in set(keep)][:1000]
        left_out = [(self.series[n].name, "windows most of whose values are missing") for n, _, _ in some]
        return SeriesReport(
            self.name,
            self.report.found,
            [*self.report.left_out, *left_out],
            kept=len(keep),
            keep=keep,
            steps=sum(len(each.values) for each in self.series),
            step=_said(self.series[0].step),
            channels=self.learned,
            missing=int(sum(gaps.sum() for gaps in unknown)),
        )

    def _values(self, field: str) -> list[Any]:
        del field
        return [self.series[n].times(first, 1)[0] for n, first, _ in self.windows.tolist()]


def series_of(rows: RowSource, asked: bool) -> SeriesSource | None:
    """The series that a table holds; None where it is a table.

    It is one where a column of moments grows from row to row and all else is numbers. Where the user asks for series,
    the times may be numbers, or the numbers of the rows, and a column of names tells several series apart, or one that
    is called ``series`` and numbers them, as those that were drawn together have it.

    Raises:
        UserError: the user asks for series, and no column holds numbers, or one that tells series apart repeats times.
    """
    import pandas as pd

    if not asked and (len(rows) < _LEAST or not _has_moments(rows)):
        return None
    columns = rows.columns
    frame: Frame = rows.table.to_pandas()
    time = _time_column(frame, asked)
    if time is None and not asked:
        return None
    numbered = NUMBER in frame and time is not None and bool(frame[time].duplicated().any())
    numeric = [
        c
        for c in columns
        if c.name != time and pd.api.types.is_numeric_dtype(frame[c.name]) and not (numbered and c.name == NUMBER)
    ]
    others = [c for c in columns if c.name != time and c not in numeric]
    if not asked and (others or not numeric):
        return None
    channels = [each.name for each in numeric if each.role != "empty"]
    if not channels:
        raise UserError(f"no column of {rows.name} holds numbers; a series needs one")
    idle = [each.name for each in numeric if each.role in (*LEFT_OUT, "constant")]
    learned = {time, *channels} - {*idle}
    left_out = [(f"column {c.name}", c.note or f"is {c.role}") for c in columns if c.name not in learned]
    if time is None:
        time, frame = "step", frame.assign(step=np.arange(len(frame)))
    names = [c.name for c in others if c.role in ("category", "identifier")]
    identity = NUMBER if numbered else next(iter(names), None)
    parts = [("", frame)] if identity is None else [(str(n), part) for n, part in frame.groupby(identity, sort=False)]
    left_out = [(name, why) for name, why in left_out if name != f"column {identity}"]
    step = _step(pd.concat([_moments(part[time]).sort_values().diff().dropna() for _, part in parts]))
    series = [_on_grid(name or rows.name, part, time, channels, step) for name, part in parts]
    return SeriesSource(rows.name, time, channels, idle, series, left_out)


def _has_moments(rows: RowSource) -> bool:
    import pyarrow as pa

    kinds = [rows.table.schema.field(name).type for name in rows.fields]
    return any(pa.types.is_date(kind) or pa.types.is_timestamp(kind) for kind in kinds)


def _time_column(frame: Frame, asked: bool) -> str | None:
    """A column of moments; where asked, also of texts that are, or of numbers with the name of a time."""
    for name in frame:
        if _is_moment(frame[name]) and (asked or (frame[name].is_monotonic_increasing and frame[name].is_unique)):
            return str(name)
    for name in frame if asked else ():
        if str(name).lower() in _TIMES:
            return str(name)
    return None


def _is_moment(column: Column) -> bool:
    import datetime

    import pandas as pd

    if pd.api.types.is_datetime64_any_dtype(column):
        return True
    first = column.dropna().head(1)
    return len(first) == 1 and isinstance(first.iloc[0], datetime.date)


def _moments(column: Column) -> Column:
    """Times as moments without a zone, or as numbers.

    Raises:
        UserError: one is neither, or missing.
    """
    import pandas as pd

    try:
        if pd.api.types.is_numeric_dtype(column):
            times = column.astype(float)
        else:
            times = pd.to_datetime(column, utc=True, format="mixed").dt.tz_localize(None).astype("datetime64[us]")
    except (ValueError, TypeError) as error:
        raise UserError(f"column {column.name} holds {column.iloc[0]!r}, for one, which is no time") from error
    if times.isna().any():
        raise UserError(f"row {int(times.isna().argmax()) + 1} has no {column.name}; every step needs its time")
    return times


def _step(steps: Column) -> Step:
    """The median step; whole months where it is as long as they are."""
    import pandas as pd

    steps = steps[steps > steps.iloc[0] * 0] if len(steps) else steps
    if not len(steps):
        raise UserError("all rows have the same time; a series needs times that grow")
    if pd.api.types.is_numeric_dtype(steps):
        return float(steps.median())
    median = pd.Timedelta(steps.median())
    for months, (least, most) in _DAYS_OF_MONTHS.items():
        if steps.between(f"{least}D", f"{most}D").mean() > 0.9 and steps.nunique() > 1:
            return pd.DateOffset(months=months)
    return median


def _on_grid(name: str, frame: Frame, time: str, channels: list[str], step: Step) -> Series:
    """Means of what falls into each step."""
    import pandas as pd

    times = _moments(frame[time])
    start = times.min()
    if isinstance(step, pd.DateOffset):
        months = times.dt.year * 12 + times.dt.month
        places = (months - months.min()) // int(step.kwds["months"])
        start = pd.Timestamp(start)
    elif isinstance(step, float):
        places = ((times - start) / step).round()
    else:
        places = ((times - start) / step).round()
    cells = frame[channels].astype(float).replace([np.inf, -np.inf], np.nan).groupby(places.astype(int).to_numpy())
    mean = cells.mean()
    steps = int(mean.index.max()) + 1
    if steps > 20 * len(frame) + 1000:
        raise UserError(f"the times of {name} are too uneven: {len(frame)} rows span {steps} steps of {_said(step)}")
    return Series(name, start, step, mean.reindex(range(steps)).to_numpy(np.float64))


def _said(step: Step) -> str:
    """A step in words."""
    import pandas as pd

    if isinstance(step, float):
        return f"{step:g}"
    if isinstance(step, pd.DateOffset):
        months = int(step.kwds["months"])
        return {1: "a month", 3: "a quarter", 12: "a year"}.get(months, f"{months} months")
    for unit, seconds in (("day", 86400), ("hour", 3600), ("minute", 60)):
        count = pd.Timedelta(step).total_seconds() / seconds
        if count >= 1 and count == int(count):
            return f"{int(count)} {unit}s" if count > 1 else f"one {unit}"
    return str(step)
