"""How fields change from one moment to the next, for models of what comes next."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar, Self, cast

import numpy as np
import torch
from torch import Tensor

from suffuse.codecs.base import JSON, Codec, ConditionCodec
from suffuse.codecs.fields import FieldCodec
from suffuse.codecs.grids import Variable, values_of
from suffuse.codecs.pictures import SOURCE, TARGET
from suffuse.errors import UserError
from suffuse.fields import Fields, later, said, time_of
from suffuse.rng import Streams
from suffuse.tree import State


class ChangeCodec(Codec):
    """How fields change from one moment to the next, as states of about unit deviation.

    A raw item is a Dataset of changes: differences, and quotients of variables whose logarithm is modelled. Set
    off from a field by :meth:`in_place_of`, it gives the next one.

    Args:
        present: codec of what is now, with all that is told of it.
        scales: of the variables that are to be predicted, by name: deviation of the change, in elements of that codec.
        step: from one time to the next, see :func:`suffuse.fields.step_between`; None where that differs.

    Example:
        >>> import xarray
        >>> before, after = (xarray.Dataset({"u": ("x", [value, 2.0])}, {"t": value}) for value in (0.0, 4.0))
        >>> fields = FieldCodec.fit([before, after], ("x",))
        >>> codec = ChangeCodec(fields, {"u": 1.0}, {"unit": "number", "value": 4.0})
        >>> next_one = codec.in_place_of(before, codec.decode(codec.between([(before, after)]))[0])
        >>> next_one["u"].values.round(3).tolist(), float(next_one["t"])
        ([4.0, 2.0], 4.0)
    """

    kind: ClassVar[str] = "next-field"

    def __init__(self, present: FieldCodec, scales: Mapping[str, float], step: dict[str, Any] | None = None) -> None:
        self.present, self.fields = present, present.only([*scales])
        self.scales, self.step = dict(scales), step

    @classmethod
    def fit(
        cls,
        present: FieldCodec,
        names: Sequence[str],
        pairs: Iterable[tuple[Fields, Fields]],
        step: dict[str, Any] | None,
    ) -> Self:
        """Take the root mean square of each variable's change, over pairs that are looked at one by one."""
        fields = present.only(names)
        changes = (fields.elements([after]) - fields.elements([before]) for before, after in pairs)
        squares = np.mean([(change**2).reshape(len(fields.variables), -1).mean(1) for change in changes], 0)
        scales = dict(zip(fields.names, np.sqrt(squares).tolist(), strict=True))
        return cls(present, {name: scale or 1.0 for name, scale in scales.items()}, step)

    @property
    def shape(self) -> tuple[int, ...]:
        """(V, *space)."""
        return self.fields.shape

    @property
    def _scale(self) -> np.ndarray:
        return np.array([self.scales[name] for name in self.fields.names]).reshape(-1, *(1,) * (len(self.shape) - 1))

    def between(self, pairs: Sequence[tuple[Fields, Fields]]) -> Tensor:
        """States of the changes from the first to the second of each pair."""
        before, after = (self.fields.elements([pair[side] for pair in pairs]) for side in (0, 1))
        return torch.from_numpy((after - before) / self._scale).float()

    def pack(self, raw: Sequence[Any]) -> Tensor:
        """Return the state itself."""
        if not raw:
            return torch.zeros(0, *self.shape)
        return torch.from_numpy(np.stack([self._elements(item) for item in raw]) / self._scale).float()

    def unpack(self, packed: State, rng: Streams | None = None) -> Tensor:
        """There is nothing to do."""
        del rng
        return cast(Tensor, packed)

    def decode(self, state: State) -> list[Any]:
        """Return Datasets of changes."""
        elements = cast(Tensor, state).cpu().double().numpy() * self._scale
        items = self.fields.items_of(np.zeros((len(elements), *self.shape)))
        pairs = [[*zip(self.fields.variables, change, strict=True)] for change in elements]
        return [
            item.assign({v.name: item[v.name].copy(data=_difference(v, change)) for v, change in each})
            for item, each in zip(items, pairs, strict=True)
        ]

    def in_place_of(self, raw: Any, item: Any) -> Any:
        """The field that a change makes of another, one step later."""
        elements = self.fields.elements([raw])[0] + self._elements(item)
        moved = self.fields.in_place_of(raw, self.fields.items_of(elements[None])[0])
        moved = moved.assign({name: raw[name] for name in raw.data_vars if name not in self.fields.names})
        time = time_of(raw)
        if time is None or self.step is None or raw[time].ndim:
            return moved
        return moved.assign_coords({time: ((), later(raw[time].values, self.step), raw[time].attrs)})

    def _elements(self, change: Fields) -> np.ndarray:
        """Differences of elements."""
        parts = [_elements(each, values_of(change, each.name, self.fields.grid)) for each in self.fields.variables]
        return np.nan_to_num(np.stack(parts))

    def tells(self, raw: Any) -> Mapping[str, Any]:
        """What is said of it by numbers, names and moments."""
        return said(raw)

    def together(self, draws: Sequence[Any]) -> Any:
        """See :meth:`FieldCodec.together`."""
        return self.fields.together(draws)

    def summaries(self, draws: Sequence[Any]) -> dict[str, Any]:
        """See :meth:`FieldCodec.summaries`."""
        return self.fields.summaries(draws)

    def config(self) -> dict[str, JSON]:
        """Return the codec of what is now, the deviations and the step."""
        return {"present": self.present.config(), "scales": dict(self.scales), "step": self.step}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        """Rebuild the codec that `config` described."""
        return cls(FieldCodec.from_config(config["present"]), config["scales"], config["step"])


class PresentCodec(ConditionCodec):
    """Fields that a network is told beside the state: what is now, and what is given of it alone.

    Args:
        fields: codec of all of these variables.

    Example:
        >>> import xarray
        >>> items = [xarray.Dataset({"u": ("x", [value, 2.0])}) for value in (0.0, 4.0)]
        >>> values, present = PresentCodec(FieldCodec.fit(items, ("x",))).encode([items[0], None])
        >>> values.flatten(1), present
        (tensor([[-1.4142,  0.0000],
                [ 0.0000,  0.0000]]), tensor([ True, False]))
    """

    kind: ClassVar[str] = "present"
    reads: ClassVar[str | None] = FieldCodec.kind

    def __init__(self, fields: FieldCodec) -> None:
        self.fields = fields

    def encode(self, values: Sequence[Any]) -> tuple[Tensor, Tensor]:
        """Return the states, (B, V, *space), and which items have a field; None is zero.

        Raises:
            UserError: a value is no such field.
        """
        wrong = next((value for value in values if not (value is None or self.knows(value))), None)
        if wrong is not None:
            raise UserError(f"{wrong!r} is no field, which this condition takes; translate a file of fields")
        present = torch.tensor([value is not None for value in values], dtype=torch.bool)
        states = torch.zeros(len(values), *self.fields.shape)
        states[present] = self.fields.pack([value for value in values if value is not None])
        return states, present

    def decode(self, values: Tensor) -> list[Any]:
        """Return Datasets."""
        return self.fields.decode(values)

    def seen(self, values: Sequence[Any]) -> list[Any]:
        """As they are, since what is said of them is told as well; on the grid of the model."""
        self.fields.elements(values)
        return list(values)

    def knows(self, value: Any) -> bool:
        """Whether it is a Dataset."""
        import xarray

        return isinstance(value, xarray.Dataset)

    def note(self, value: Any) -> JSON:
        """Nothing but that there was one."""
        return None if value is None else "a field"

    def spec(self) -> dict[str, Any]:
        """Return `{"kind": "picture", "channels": v}`."""
        return {"kind": "picture", "channels": len(self.fields.variables)}

    def config(self) -> dict[str, JSON]:
        """Return that of the fields."""
        return self.fields.config()

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        """Rebuild the codec that `config` described."""
        return cls(FieldCodec.from_config(config))


class ChangePacker:
    """Pairs of what is and what comes next to states, for a loader: a mapping of ``source`` and ``target``.

    Args:
        change: codec of what becomes of it.
    """

    def __init__(self, change: ChangeCodec) -> None:
        self._change = change

    def pack(self, raw: Sequence[tuple[Any, Any]]) -> dict[str, State]:
        """Return what is, and the change."""
        return {SOURCE: self._change.present.pack([pair[0] for pair in raw]), TARGET: self._change.between(raw)}

    def unpack(self, packed: State, rng: Streams | None = None) -> dict[str, State]:
        """There is nothing to do."""
        del rng
        assert isinstance(packed, Mapping)
        return dict(packed)


def _difference(variable: Variable, elements: np.ndarray) -> np.ndarray:
    """Of values, or their quotient."""
    moved = elements * variable.deviation
    moved = np.exp(moved) if variable.logarithm else moved
    moved = moved if variable.known is None else np.where(variable.known, moved, np.nan)
    return moved.astype(variable.dtype) if np.dtype(variable.dtype).kind == "f" else moved


def _elements(variable: Variable, change: np.ndarray) -> np.ndarray:
    """The inverse."""
    return (np.log(change) if variable.logarithm else change) / variable.deviation
