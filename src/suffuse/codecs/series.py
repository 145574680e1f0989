"""Windows of series of numbers, relative to where each begins."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, ClassVar, Self, cast

import numpy as np
import torch
from torch import Tensor

from suffuse.codecs.base import JSON, Codec, ConditionCodec
from suffuse.errors import UserError
from suffuse.rng import Streams
from suffuse.tree import State

START = "start"
_PAST = 4
"""Of a window with a gap that is longer than the rest of it, one in so many steps is told."""


@dataclass(frozen=True)
class Channel:
    """How the values of a channel become elements.

    Args:
        name: its heading.
        logarithm: whether its values are positive and their logarithms more even: these are what is modelled.
        whole: whether its values are whole numbers.
        mean: of all values.
        deviation: of all values, positive.
        spread: of the differences to the first step of a window, positive.
        low: the least first step, in deviations from the mean.
        high: the largest.
    """

    name: str
    logarithm: bool
    whole: bool
    mean: float
    deviation: float
    spread: float
    low: float
    high: float

    @classmethod
    def fit(cls, name: str, values: Sequence[np.ndarray], length: int) -> Self:
        """From the values (T,) of each series, NaN where one is missing.

        Example:
            >>> Channel.fit("a", [np.array([0.0, 2.0, 0.0, 2.0])], 2).spread
            2.0
        """
        known = np.concatenate([each[~np.isnan(each)] for each in values])
        whole = bool((known == known.round()).all())
        logarithm = bool(known.min() > 0 and abs(_skewness(np.log(known))) < abs(_skewness(known)) / 2)
        parts = [np.log(each) if logarithm else each for each in values]
        known = np.log(known) if logarithm else known
        mean, deviation = float(known.mean()), float(known.std()) or 1.0
        steps = np.concatenate([_differences(part, length) for part in parts])
        spread = float(np.sqrt(np.nanmean(steps**2))) if np.isfinite(steps).any() else deviation
        low, high = ((end - mean) / deviation for end in (known.min(), known.max()))
        return cls(name, logarithm, whole, mean, deviation, spread or 1.0, float(low), float(high))

    def encode(self, values: np.ndarray) -> np.ndarray:
        """(B, L) values without gaps to elements: the first step, and the others' differences to it."""
        values = np.log(np.maximum(values, np.finfo(float).tiny)) if self.logarithm else values
        first = ((values[:, :1] - self.mean) / self.deviation).clip(self.low, self.high)
        return np.concatenate([first, (values[:, 1:] - values[:, :1]) / self.spread], 1)

    def decode(self, elements: np.ndarray, first: np.ndarray | None = None) -> np.ndarray:
        """The inverse; of windows whose first step is known, from there."""
        begin = elements[:, :1] * self.deviation + self.mean
        if first is not None:
            known = np.log(np.maximum(first, np.finfo(float).tiny)) if self.logarithm else first
            begin = np.where(np.isnan(known), begin, known)
        values = np.concatenate([begin, begin + elements[:, 1:] * self.spread], 1)
        values = np.exp(values) if self.logarithm else values
        return values.round() if self.whole else values


class SeriesCodec(Codec):
    """Windows of series to states of C channels and L steps, (B, C, L) float32, and back.

    The first step of each channel stands for the level, in deviations from the mean, and is clipped to the levels that
    were seen; the other steps are differences to the first, so that a series may go where it has never been. Values
    that are missing are drawn as a line between their neighbours.

    A raw item is a DataFrame with a column of times and one for each channel; its holes are missing values. What is
    drawn from nothing has the numbers of its steps as times. ``decode(encode(window))`` has the values of the window,
    within a millionth of their spread, where the first step is none that is clipped.

    Args:
        channels: how each is encoded.
        length: L.
        time: heading of the column of times.

    Example:
        >>> import pandas as pd
        >>> codec = SeriesCodec([Channel.fit("a", [np.array([0.0, 2.0, 0.0, 2.0])], 2)], 2, "t")
        >>> codec.encode([pd.DataFrame({"t": [5.0, 6.0], "a": [2.0, 4.0]})])
        tensor([[[1., 1.]]])
    """

    kind: ClassVar[str] = "series"

    def __init__(self, channels: Sequence[Channel], length: int, time: str) -> None:
        self.channels, self.length, self.time = tuple(channels), length, time

    @property
    def shape(self) -> tuple[int, int]:
        """(C, L)."""
        return len(self.channels), self.length

    @property
    def steps(self) -> int:
        """L."""
        return self.length

    @property
    def names(self) -> list[str]:
        """Of the channels."""
        return [each.name for each in self.channels]

    def pack(self, raw: Sequence[Any]) -> Tensor:
        """Return the state itself."""
        if not raw:
            return torch.zeros(0, *self.shape)
        values = np.stack([_without_gaps(self._values(frame)) for frame in raw])
        return torch.from_numpy(
            np.stack([each.encode(values[:, place]) for place, each in enumerate(self.channels)], 1)
        ).float()

    def unpack(self, packed: State, rng: Streams | None = None) -> Tensor:
        """There is nothing to do."""
        del rng
        return cast(Tensor, packed)

    def decode(self, state: State) -> list[Any]:
        """Return DataFrames."""
        return [self._frame(values, None) for values in self._decoded(cast(Tensor, state), None)]

    def partial(self, raw: Sequence[Any]) -> tuple[State, State]:
        """Missing values are what is asked for. Where the first one is, what is known is relative to the next known."""
        known = torch.from_numpy(np.stack([~np.isnan(self._values(frame)) for frame in raw]))
        return self.pack(raw), known

    def fill(self, raw: Sequence[Any], state: State) -> list[Any]:
        """Windows with what was missing."""
        known = np.stack([self._values(frame) for frame in raw])
        first = np.stack([_without_gaps(values)[:, :1] for values in known])
        first[np.isnan(known).all(2)] = np.nan
        drawn = self._decoded(cast(Tensor, state), first)
        return [
            self._frame(np.where(np.isnan(values), new, values), frame)
            for frame, values, new in zip(raw, known, drawn, strict=True)
        ]

    def in_place_of(self, raw: Any, item: Any) -> Any:
        """With its times, where it has as many."""
        timed = len(raw) == len(item) and self.time in raw
        return item.assign(**{self.time: raw[self.time].to_numpy()}) if timed else item

    def hollowed(self, raw: Any, start: float, stop: float) -> Any:
        """See the base class; in steps. Times that are missing go on as those that there are."""
        if self.time not in raw:
            raise UserError(f"the series has no column {self.time!r}, which has the times in what was trained on")
        first, last = int(start), int(stop)
        if (first, last) != (start, stop) or first > len(raw):
            raise UserError(f"a hole of a series is between whole steps, of which there are {len(raw)}, "
                            f"not from {start:g} to {stop:g}")  # fmt: skip
        longer = raw.reset_index(drop=True).reindex(range(max(len(raw), last)))
        longer[self.time] = _continued(raw[self.time], len(longer))
        longer.loc[first : last - 1, self.names] = np.nan
        return longer

    def part(self, raw: Any) -> Any:
        """The window that is filled next: the first gap, and what is before it.

        Raises:
            UserError: the series is shorter than a window, or has not all channels.
        """
        self._check(raw)
        if len(raw) < self.length:
            raise UserError(
                f"a series of {len(raw)} steps is shorter than the {self.length} that the model sees at once"
            )
        gaps = raw[self.names].isna().any(axis=1).to_numpy()
        first = int(gaps.argmax())
        after = np.flatnonzero(~gaps[first:])
        end = first + (int(after[0]) if len(after) else len(raw) - first)
        past = max(self.length - (end - first), self.length // _PAST)
        begin = min(max(first - past, 0), len(raw) - self.length)
        return raw.iloc[begin : begin + self.length]

    def rejoin(self, raw: Any, part: Any) -> Any:
        """The series with the window in its place."""
        joined = raw.copy()
        joined[self.names] = joined[self.names].astype(float)
        joined.loc[part.index, self.names] = part[self.names].astype(float)
        return joined

    def unfinished(self, raw: Any) -> bool:
        """Whether a value is missing."""
        return bool(raw[self.names].isna().any(axis=None))

    def tells(self, raw: Any) -> dict[str, Any]:
        """When it begins."""
        return {START: raw[self.time].iloc[0]} if self.time in raw else {}

    def items(self, collection: Any) -> Sequence[Any]:
        """One DataFrame is a collection of one."""
        import pandas as pd

        return [collection] if isinstance(collection, pd.DataFrame) else collection

    def together(self, draws: Sequence[Any]) -> Any:
        """The median of several draws of a series, and the ends of the interval that 90% of them are in."""
        import pandas as pd

        whole = draws[0].copy()
        values = np.stack([draw[self.names].to_numpy(float) for draw in draws])
        for place, name in enumerate(self.names):
            whole[name] = np.median(values[..., place], 0)
        ends = np.quantile(values, [0.05, 0.95], 0)
        columns = {
            f"{name} {share}": ends[side, :, place]
            for place, name in enumerate(self.names)
            for side, share in enumerate(("5%", "95%"))
        }
        return pd.concat([whole, pd.DataFrame(columns, index=whole.index)], axis=1)

    def config(self) -> dict[str, JSON]:
        """Return the channels, the length and the name of the time."""
        channels: list[JSON] = [asdict(each) for each in self.channels]
        return {"channels": channels, "length": self.length, "time": self.time}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        """Rebuild the codec that `config` described."""
        return cls([Channel(**each) for each in config["channels"]], config["length"], config["time"])

    def _check(self, frame: Any) -> None:
        lacking = [name for name in self.names if name not in frame]
        if lacking:
            raise UserError(f"the series has no channel {lacking[0]!r}, which the model was trained with")

    def _values(self, frame: Any) -> np.ndarray:
        """(C, L) of a window, NaN where one is missing.

        Raises:
            UserError: it has another length, or not all channels.
        """
        self._check(frame)
        if len(frame) != self.length:
            raise UserError(f"a window has {self.length} steps, not {len(frame)}")
        return frame[self.names].to_numpy(float).T

    def _decoded(self, state: Tensor, first: np.ndarray | None) -> np.ndarray:
        """Values (B, C, L)."""
        elements = state.cpu().double().numpy()
        return np.stack(
            [
                each.decode(elements[:, place], None if first is None else first[:, place])
                for place, each in enumerate(self.channels)
            ],
            1,
        )

    def _frame(self, values: np.ndarray, like: Any) -> Any:
        import pandas as pd

        columns = {
            each.name: row.astype(np.int64) if each.whole and np.isfinite(row).all() else row
            for each, row in zip(self.channels, values, strict=True)
        }
        if like is None:
            return pd.DataFrame({self.time: range(self.length), **columns})
        return like.assign(**{name: pd.Series(row, like.index) for name, row in columns.items()})


class CalendarCodec(ConditionCodec):
    r"""A moment as where it is in the day, the week and the year: :math:`(\sin \phi, \cos \phi)` of each.

    Args:
        cycles: those that matter: "day", "week" or "year".

    Example:
        >>> CalendarCodec(("day",)).encode(["2024-03-01 06:00"])[0].round(decimals=3).abs()
        tensor([[1., 0.]])
    """

    kind: ClassVar[str] = "calendar"

    def __init__(self, cycles: Sequence[str]) -> None:
        self.cycles = tuple(cycles)

    @classmethod
    def fit(cls, values: Sequence[Any]) -> Self:
        """Take the cycles that the moments are at several places of, and that they pass at least twice."""
        import pandas as pd

        moments: Any = pd.DatetimeIndex(pd.to_datetime([value for value in values if value is not None]))
        span = moments.max() - moments.min()
        lengths = {"day": "1D", "week": "7D", "year": "366D"}
        places = {"day": moments.hour + moments.minute / 60, "week": moments.day_of_week, "year": moments.day_of_year}
        return cls([n for n, length in lengths.items() if span >= 2 * pd.Timedelta(length) and places[n].nunique() > 1])

    def encode(self, values: Sequence[Any]) -> tuple[Tensor, Tensor]:
        """Return (B, 2 cycles) float32, and which items have a moment.

        Raises:
            UserError: a value is no moment.
        """
        import pandas as pd

        rows: list[list[float]] = []
        for value in values:
            if value is not None and not self.knows(value):
                raise UserError(f"{value!r} is no moment such as 2024-03-01 06:00")
            moment = pd.Timestamp(0 if value is None else value)
            day = (moment.hour + moment.minute / 60) / 24
            places = {"day": day, "week": (moment.day_of_week + day) / 7, "year": (moment.day_of_year + day) / 366}
            angles = [2 * np.pi * places[cycle] for cycle in self.cycles]
            rows.append([f(angle) for angle in angles for f in (np.sin, np.cos)])
        present = torch.tensor([value is not None for value in values], dtype=torch.bool)
        return torch.tensor(rows, dtype=torch.float32).view(len(values), 2 * len(self.cycles)) * present[
            :, None
        ], present

    def decode(self, values: Tensor) -> list[str]:
        """Return the share of each cycle that has passed."""
        shares = (torch.atan2(values[:, 0::2], values[:, 1::2]) * 50 / np.pi).round().remainder(100).int().tolist()
        return [", ".join(f"{c} {share}%" for c, share in zip(self.cycles, row, strict=True)) for row in shares]

    def knows(self, value: Any) -> bool:
        """Whether it is a moment, as such or as text."""
        import pandas as pd

        try:
            return value is not None and not isinstance(value, float | int) and not pd.isna(pd.Timestamp(value))
        except (ValueError, TypeError):
            return False

    def spec(self) -> dict[str, Any]:
        """Return a vector of two numbers for each cycle."""
        return {"kind": "vector", "size": 2 * len(self.cycles)}

    def config(self) -> dict[str, JSON]:
        """Return the cycles."""
        return {"cycles": list(self.cycles)}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        """Rebuild the codec that `config` described."""
        return cls(config["cycles"])


def _continued(times: Any, length: int) -> Any:
    """So many times: those that there are, and then more of them as far apart, be it months.

    Example:
        >>> import pandas as pd
        >>> _continued(pd.Series(pd.date_range("2024-01-31", periods=3, freq="ME")), 4)[-1]
        Timestamp('2024-04-30 00:00:00')
    """
    import pandas as pd

    if length == len(times):
        return times.to_numpy()
    if not pd.api.types.is_datetime64_any_dtype(times):
        return times.iloc[0] + np.arange(length) * float(times.iloc[1] - times.iloc[0])
    step = pd.DatetimeIndex(times, freq="infer").freq or times.iloc[1] - times.iloc[0]
    return pd.date_range(times.iloc[0], periods=length, freq=step)


def _without_gaps(values: np.ndarray) -> np.ndarray:
    """Lines between known values, (C, L); beyond them the nearest; 0 where nothing is known."""
    filled = values.copy()
    steps = np.arange(values.shape[1])
    for row in filled:
        known = ~np.isnan(row)
        if not known.all():
            row[~known] = np.interp(steps[~known], steps[known], row[known]) if known.any() else 0.0
    return filled


def _differences(values: np.ndarray, length: int) -> np.ndarray:
    """Differences of the steps of windows to their first, over a few lags."""
    lags = np.unique(np.linspace(1, max(1, length - 1), 16).round().astype(int))
    return np.concatenate([values[lag:] - values[:-lag] for lag in lags if lag < len(values)] or [np.zeros(0)])


def _skewness(values: np.ndarray) -> float:
    deviation = values.std()
    return float((((values - values.mean()) / deviation) ** 3).mean()) if deviation else 0.0
