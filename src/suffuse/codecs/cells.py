"""The cells of one column of a table, as real numbers and tokens, and back."""

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from numbers import Real
from statistics import median_low
from typing import Any, ClassVar, Self

import numpy as np

from suffuse.codecs.base import JSON

_KNOTS = 1000
_OFTEN = 0.2
"""Values are themselves the knots where there are so many times fewer different ones than values."""
_BASE = 256
"""More categories than this are written in two digits."""
_DECIMALS = 9

Bounds = np.ndarray
"""(B, 2) float64: ends of the cells in [0, 1] that values stand for."""
Digits = np.ndarray
"""(B, D) int64; -1 for what is not known."""


class Cells(ABC):
    """How the values of a column become elements of the state.

    A column is at most one real number, given by the cell in [0, 1] that a value stands for, and any number of tokens.
    A value that is not there, or that the column does not know, is the whole of [0, 1] and unknown tokens.
    """

    kind: ClassVar[str]
    sizes: tuple[int, ...] = ()
    """Number of different values of each token."""
    numbers: ClassVar[int] = 0
    """How many real numbers: none or one."""
    whole: bool = False
    """Whether values are integers."""
    holds: ClassVar[tuple[type, ...]] = (object,)
    """What values are."""
    values: tuple[Any, ...] = ()
    """All that there are, where they are few."""

    @abstractmethod
    def encode(self, values: Sequence[Any]) -> tuple[Bounds, Digits]:
        """Cells and tokens of values that are there; of a None, or a value not known, all that there is."""

    @abstractmethod
    def decode(self, u: np.ndarray, digits: Digits) -> list[Any]:
        """Values at (B,) places in [0, 1] and of (B, D) tokens."""

    def together(self, values: Sequence[Any]) -> Any:
        """One value for several draws of it: the commonest."""
        return Counter(values).most_common(1)[0][0]

    @abstractmethod
    def config(self) -> dict[str, JSON]:
        """Return everything needed to rebuild this, as JSON values."""

    @classmethod
    @abstractmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        """Rebuild what `config` described."""


class NumberCells(Cells):
    r"""Real numbers by their place among all: :math:`u = F(x)`, with F the distribution of the column's values.

    F runs linearly between knots: quantiles, or all values where there are few and each is often. Numbers outside of
    them become the nearest. One that is often, or that has few decimals, stands for the cell
    :math:`[F(x - h / 2), F(x + h / 2)]`, h being its last decimal: a point drawn from it is even over [0, 1], and every
    point of it leads back to x. Numbers come back rounded to their decimals, and within a millionth of the range.

    Args:
        knots: values, not falling.
        levels: F at the knots, in [0, 1], not falling.
        decimals: of every value; None where there are more than nine.
        whole: whether values are Python integers.

    Example:
        >>> cells = NumberCells.fit([1, 1, 2, 5])
        >>> bounds, _ = cells.encode([1, 5])
        >>> cells.decode(bounds.mean(1), np.empty((2, 0)))
        [1, 5]
    """

    kind: ClassVar[str] = "number"
    holds: ClassVar[tuple[type, ...]] = (Real, Decimal)
    numbers: ClassVar[int] = 1

    def __init__(self, knots: Sequence[float], levels: Sequence[float], decimals: int | None, whole: bool) -> None:
        self.knots, self.levels = np.asarray(knots, np.float64), np.asarray(levels, np.float64)
        self.decimals, self.whole = decimals, whole

    @classmethod
    def fit(cls, values: Sequence[float]) -> Self:
        """Take the quantiles and the decimals of values, none of them missing."""
        array = np.asarray(values, np.float64)
        distinct, counts = np.unique(array, return_counts=True)
        if len(distinct) <= min(_KNOTS, _OFTEN * len(array)):
            edges = np.concatenate([[0.0], counts.cumsum() / len(array)])
            knots, levels = distinct.repeat(2), np.stack([edges[:-1], edges[1:]], 1).ravel()
        else:
            count = min(max(len(array), 2), _KNOTS)
            levels = (np.arange(count) + 0.5) / count  # the least and the largest are not infinitely far out
            knots = np.quantile(array, np.linspace(0, 1, count), method="inverted_cdf")
        whole = all(isinstance(value, int) for value in values)
        return cls(knots.tolist(), levels.tolist(), 0 if whole else _decimals(array), whole)

    def encode(self, values: Sequence[Any]) -> tuple[Bounds, Digits]:
        """See the class."""
        x = np.array([np.nan if value is None else value for value in values], np.float64)
        half = 0.0 if self.decimals is None else 0.5 * 10.0**-self.decimals
        low = -np.interp(half - x, -self.knots[::-1], -self.levels[::-1])
        high = np.interp(x + half, self.knots, self.levels)
        missing = np.isnan(x)
        bounds = np.stack([np.where(missing, 0, np.minimum(low, high)), np.where(missing, 1, np.maximum(low, high))], 1)
        return bounds, np.empty((len(x), 0), np.int64)

    def decode(self, u: np.ndarray, digits: Digits) -> list[Any]:
        """See the class."""
        x = np.interp(u, self.levels, self.knots)
        if self.decimals is not None:
            x = np.round(x, self.decimals)
        return [int(value) for value in x.tolist()] if self.whole else x.tolist()

    def together(self, values: Sequence[Any]) -> Any:
        """The mean."""
        if len(set(values)) == 1:
            return values[0]
        mean = sum(values) / len(values)
        return round(mean) if self.whole else mean

    def config(self) -> dict[str, JSON]:
        """Return knots, their levels, decimals and whether they are whole."""
        return {
            "knots": self.knots.tolist(),
            "levels": self.levels.tolist(),
            "decimals": self.decimals,
            "whole": self.whole,
        }

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        """Rebuild what `config` described."""
        return cls(config["knots"], config["levels"], config["decimals"], config["whole"])


class DateCells(Cells):
    """Dates and times as numbers of days, seconds or microseconds since 1970.

    Args:
        numbers_of: their cells as numbers of units.
        unit: microseconds in one.
        days: whether values are dates without a time.
        aware: whether times are of UTC and say so.
    """

    kind: ClassVar[str] = "date"
    holds: ClassVar[tuple[type, ...]] = (date,)
    numbers: ClassVar[int] = 1

    def __init__(self, numbers_of: NumberCells, unit: int, days: bool, aware: bool) -> None:
        self.numbers_of, self.unit, self.days, self.aware = numbers_of, unit, days, aware

    @classmethod
    def fit(cls, values: Sequence[date]) -> Self:
        """Take the largest unit that all values are whole numbers of."""
        moments = [_microseconds(value) for value in values]
        unit = next(unit for unit in (86400 * 10**6, 10**6, 1) if all(moment % unit == 0 for moment in moments))
        first = values[0]
        aware = isinstance(first, datetime) and first.tzinfo is not None
        numbers = NumberCells.fit([moment // unit for moment in moments])
        return cls(numbers, unit, not isinstance(first, datetime), aware)

    def encode(self, values: Sequence[Any]) -> tuple[Bounds, Digits]:
        """See the class."""
        return self.numbers_of.encode([None if value is None else _microseconds(value) / self.unit for value in values])

    def decode(self, u: np.ndarray, digits: Digits) -> list[Any]:
        """See the class."""
        start = datetime(1970, 1, 1, tzinfo=UTC if self.aware else None)
        moments = [start + timedelta(microseconds=n * self.unit) for n in self.numbers_of.decode(u, digits)]
        return [moment.date() for moment in moments] if self.days else moments

    def together(self, values: Sequence[Any]) -> Any:
        """The median."""
        return median_low(values)

    def config(self) -> dict[str, JSON]:
        """Return the numbers, and what they stand for."""
        return {"numbers": self.numbers_of.config(), "unit": self.unit, "days": self.days, "aware": self.aware}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        """Rebuild what `config` described."""
        numbers = NumberCells.from_config(config["numbers"])
        return cls(numbers, config["unit"], config["days"], config["aware"])


class CategoryCells(Cells):
    """One of a list of values: a token, or two where there are many, as digits of its place in the list.

    Args:
        values: the categories, the commonest first: strings, integers or booleans.

    Example:
        >>> cells = CategoryCells.fit(["b", "a", "b"])
        >>> cells.values, cells.encode(["a", "b", "c"])[1].tolist()
        (('b', 'a'), [[1], [0], [-1]])
    """

    kind: ClassVar[str] = "category"

    def __init__(self, values: Sequence[Any]) -> None:
        self.values = tuple(values)
        count = len(self.values)
        self._base = count if count <= _BASE else int(np.ceil(np.sqrt(count)))
        self.sizes = (count,) if count <= _BASE else (-(-count // self._base), self._base)
        self._places = {value: place for place, value in enumerate(self.values)}
        self.whole = all(type(value) is int for value in self.values)

    @classmethod
    def fit(cls, values: Sequence[Any]) -> Self:
        """Take the distinct values."""
        counts: dict[Any, int] = {}
        for value in values:
            counts[value] = counts.get(value, 0) + 1
        return cls(sorted(counts, key=lambda value: (-counts[value], str(value))))

    def encode(self, values: Sequence[Any]) -> tuple[Bounds, Digits]:
        """See the class."""
        places = np.array([self._places.get(value, -1) for value in values], np.int64)
        digits = places[:, None] if len(self.sizes) == 1 else np.stack([places // self._base, places % self._base], 1)
        return np.tile([0.0, 1.0], (len(places), 1)), np.where(places[:, None] < 0, -1, digits)

    def decode(self, u: np.ndarray, digits: Digits) -> list[Any]:
        """See the class; two digits that no category has become the last one."""
        places = digits[:, 0] if len(self.sizes) == 1 else digits[:, 0] * self._base + digits[:, 1]
        return [self.values[place] for place in places.clip(0, len(self.values) - 1).tolist()]

    def config(self) -> dict[str, JSON]:
        """Return the values."""
        return {"values": list(self.values)}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        """Rebuild what `config` described."""
        return cls(config["values"])


class ConstantCells(Cells):
    """Always the same value: nothing for the state to say.

    Args:
        value: a string, a number or a boolean; dates are kept as text.
    """

    kind: ClassVar[str] = "constant"

    def __init__(self, value: Any) -> None:
        self.value = value

    def encode(self, values: Sequence[Any]) -> tuple[Bounds, Digits]:
        """Nothing."""
        return np.tile([0.0, 1.0], (len(values), 1)), np.empty((len(values), 0), np.int64)

    def decode(self, u: np.ndarray, digits: Digits) -> list[Any]:
        """The value."""
        return [self.value] * len(u)

    def config(self) -> dict[str, JSON]:
        """Return the value."""
        return {"value": self.value}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        """Rebuild what `config` described."""
        return cls(config["value"])


CELLS: dict[str, type[Cells]] = {each.kind: each for each in (NumberCells, DateCells, CategoryCells, ConstantCells)}


def _decimals(values: np.ndarray) -> int | None:
    """How many decimals all values can be written with, at most nine."""
    for decimals in range(_DECIMALS + 1):
        if np.allclose(values, np.round(values, decimals), rtol=1e-12, atol=1e-12):
            return decimals
    return None


def _microseconds(value: date) -> int:
    """Since 1970; of a time without a zone, as if it were of UTC."""
    if not isinstance(value, datetime):
        value = datetime(value.year, value.month, value.day)
    if value.tzinfo is None:
        value = value.replace(tzinfo=UTC)
    return (value - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)
