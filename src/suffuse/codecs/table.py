"""Rows of tables: numbers and tokens, column by column."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self, cast

import numpy as np
import torch
from torch import Tensor

from suffuse.codecs.base import JSON, Codec, Question
from suffuse.codecs.cells import CELLS, Cells
from suffuse.errors import UserError
from suffuse.rng import Streams
from suffuse.tree import Shape, State

NUMBERS, TOKENS = "numbers", "tokens"
"""Names of the leaves."""
_INSIDE = 1e-3
"""Share of a cell, at its ends, that is not drawn, so that rounding does not lead to the next one."""
_EDGE = 1e-7
"""Places in [0, 1] are kept so far from its ends, which would be infinite."""


@dataclass(frozen=True)
class Field:
    """A column of the table.

    Args:
        name: its heading.
        cells: how its values become elements.
        missing: whether it had empty cells: whether a cell is empty is then a token of its own.
    """

    name: str
    cells: Cells
    missing: bool

    @property
    def sizes(self) -> tuple[int, ...]:
        """Of its tokens."""
        return ((2,) if self.missing else ()) + self.cells.sizes


class TableCodec(Codec):
    r"""Rows of a table to a state of two leaves: ``numbers`` (B, N) and ``tokens`` (B, T), int64; and back.

    Every column of numbers or dates is one normal number, :math:`z = \Phi^{-1}(u)`, u being a point of the cell that
    the value stands for, see :class:`~suffuse.codecs.cells.NumberCells`: evenly drawn by ``unpack`` with streams, its
    middle without. Every column of categories is a token, or two. Where a column had empty cells, whether a cell is
    empty is a token (0 empty, 1 not), and what else there would be of an empty cell is drawn from all there is.

    A raw item is a mapping from headings to values; many are a ``pandas.DataFrame``. Values that were not among the
    categories are taken as not known. ``decode(encode(row))`` is the row, but that numbers and moments come back
    clipped to those seen, and within a millionth of their range.

    Args:
        fields: the columns, in order.
        target: the one that is to be predicted, or None.

    Example:
        >>> from suffuse.codecs.cells import CategoryCells, NumberCells
        >>> age, sex = Field("age", NumberCells.fit([20, 30, 60]), True), Field("sex", CategoryCells("fm"), False)
        >>> codec = TableCodec([age, sex])
        >>> state = codec.encode([{"age": 30, "sex": "f"}, {"age": None, "sex": "m"}])
        >>> state["tokens"].tolist()
        [[1, 0], [0, 1]]
        >>> codec.decode(state)
        [{'age': 30, 'sex': 'f'}, {'age': None, 'sex': 'm'}]
    """

    kind: ClassVar[str] = "table"

    def __init__(self, fields: Sequence[Field], target: str | None = None) -> None:
        self.fields, self.target = tuple(fields), target
        self.sizes = tuple(size for field in self.fields for size in field.sizes)
        self.count = sum(field.cells.numbers for field in self.fields)

    @property
    def shape(self) -> Shape:
        """Of the leaves that there are."""
        leaves = {NUMBERS: self.count, TOKENS: len(self.sizes)}
        return {name: (size,) for name, size in leaves.items() if size}

    def pack(self, raw: Sequence[Any]) -> dict[str, Tensor]:
        """Return ends of cells, (B, N, 2) float64, and tokens, (B, T) int64, -1 where one is not known.

        Raises:
            UserError: a value is of another kind than those of its column in training.
        """
        bounds: list[np.ndarray] = []
        tokens: list[np.ndarray] = []
        for field in self.fields:
            column = [row.get(field.name) for row in raw]
            odd = [value for value in column if value is not None and not isinstance(value, field.cells.holds)]
            if odd:
                raise UserError(
                    f"{odd[0]!r} of column {field.name!r} is no {field.cells.kind}, as all were in training"
                )
            ends, digits = field.cells.encode(column)
            if field.missing:
                tokens.append(np.array([value is not None for value in column], np.int64).reshape(-1, 1))
            bounds += [ends] * field.cells.numbers
            tokens.append(digits)
        packed: dict[str, Tensor] = {}
        if self.count:
            packed[NUMBERS] = torch.from_numpy(np.stack(bounds, 1))
        if self.sizes:
            packed[TOKENS] = torch.from_numpy(np.concatenate(tokens, 1))
        return packed

    def unpack(self, packed: State, rng: Streams | None = None) -> dict[str, Tensor]:
        """Return the state; without streams, of what is not known the middle and the commonest."""
        packed, state = cast(dict[str, Tensor], packed), dict[str, Tensor]()
        if NUMBERS in packed:
            low, high = packed[NUMBERS].unbind(-1)
            share = torch.full_like(low, 0.5) if rng is None else rng.fold("cell").uniform(low)
            place = torch.lerp(low, high, _INSIDE / 2 + (1 - _INSIDE) * share)
            state[NUMBERS] = torch.special.ndtri(place.clamp(_EDGE, 1 - _EDGE)).float()
        if TOKENS in packed:
            tokens = packed[TOKENS]
            share = torch.zeros_like(tokens).double() if rng is None else rng.fold("unknown").uniform(tokens)
            sizes = torch.tensor(self.sizes, device=tokens.device)
            state[TOKENS] = torch.where(tokens < 0, (share * sizes).long(), tokens)
        return state

    def decode(self, state: State) -> list[Any]:
        """Return a mapping per row."""
        leaves = {name: leaf.cpu() for name, leaf in cast(dict[str, Tensor], state).items()}
        rows = len(next(iter(leaves.values())))
        u = torch.special.ndtr(leaves.get(NUMBERS, torch.empty(rows, 0)).double()).numpy()
        tokens = leaves.get(TOKENS, torch.empty(rows, 0, dtype=torch.long)).numpy()
        columns: dict[str, list[Any]] = {}
        number = token = 0
        for field in self.fields:
            own = tokens[:, token : token + len(field.sizes)]
            place = u[:, number] if field.cells.numbers else np.zeros(rows)
            values = field.cells.decode(place, own[:, len(field.sizes) - len(field.cells.sizes) :])
            if field.missing:
                values = [value if there else None for value, there in zip(values, own[:, 0], strict=True)]
            columns[field.name] = values
            number, token = number + field.cells.numbers, token + len(field.sizes)
        return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]

    def partial(self, raw: Sequence[Any]) -> tuple[State, State]:
        """Empty cells are what is asked for: a value, and not that they stay empty. So are unknown categories."""
        packed = self.pack(raw)
        masks: dict[str, Tensor] = {}
        if NUMBERS in packed:
            low, high = packed[NUMBERS].unbind(-1)
            masks[NUMBERS] = (low > 0) | (high < 1)
        if TOKENS in packed:
            firsts = torch.tensor([f.missing and place == 0 for f in self.fields for place in range(len(f.sizes))])
            packed[TOKENS] = torch.where(firsts, 1, packed[TOKENS])
            masks[TOKENS] = packed[TOKENS] >= 0
        return self.unpack(packed), masks

    @property
    def question(self) -> Question | None:
        """The cell of the target."""
        chosen = next((field for field in self.fields if field.name == self.target), None)
        if chosen is None or not (chosen.cells.numbers or chosen.cells.sizes):  # of a constant nothing is asked
            return None
        marks = {NUMBERS: list[bool](), TOKENS: list[bool]()}
        for field in self.fields:
            marks[NUMBERS] += [field is chosen] * field.cells.numbers
            marks[TOKENS] += [False] * field.missing + [field is chosen] * len(field.cells.sizes)
        values = chosen.cells.values
        candidates = self.unpack(self.pack([{chosen.name: value} for value in values or [None]]))
        elements = {name: torch.tensor([marks[name]]) for name in candidates}
        return Question(chosen.name, values, candidates, elements)

    def answer(self, raw: Any) -> Any:
        """The target's value."""
        return raw.get(self.target)

    def unanswered(self, raw: Any) -> Any:
        """The row with the target's cell empty."""
        return {**raw, str(self.target): None}

    def put_back(self, raw: Any, item: Any) -> Any:
        """The cells that were not empty as they were."""
        return {name: value if raw.get(name) is None else raw[name] for name, value in item.items()}

    def together(self, draws: Sequence[Any]) -> Any:
        """Means of numbers, medians of moments, and the commonest of all else; empty where most draws are."""
        row: dict[str, Any] = {}
        for field in self.fields:
            values = [draw[field.name] for draw in draws]
            known = [value for value in values if value is not None]
            row[field.name] = field.cells.together(known) if 2 * len(known) >= len(values) else None
        return row

    def items(self, collection: Any) -> Sequence[Any]:
        """Rows of a DataFrame as mappings; of other sequences, as they are."""
        import pandas as pd
        import pyarrow as pa

        if isinstance(collection, pd.DataFrame):
            return pa.Table.from_pandas(collection, preserve_index=False).to_pylist()
        return collection

    def collect(self, items: list[Any]) -> Any:
        """A DataFrame with the columns' own types."""
        import pandas as pd

        frame = pd.DataFrame(items, columns=[field.name for field in self.fields])
        whole = [each.name for each in self.fields if each.missing and each.cells.whole]
        return frame.astype(dict.fromkeys(whole, "Int64"))

    def config(self) -> dict[str, JSON]:
        """Return the columns and the target."""
        fields: list[JSON] = [
            {"name": each.name, "missing": each.missing, "kind": each.cells.kind, "cells": each.cells.config()}
            for each in self.fields
        ]
        return {"fields": fields, "target": self.target}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        """Rebuild the codec that `config` described."""
        fields = [
            Field(each["name"], CELLS[each["kind"]].from_config(each["cells"]), each["missing"])
            for each in config["fields"]
        ]
        return cls(fields, config["target"])

    def check(self, raw: Sequence[Any]) -> None:
        """Refuse rows without one of the columns.

        Raises:
            UserError: names it.
        """
        lacking = [field.name for field in self.fields if raw and field.name not in raw[0]]
        if lacking:
            raise UserError(f"the table has no column {lacking[0]!r}, which the model was trained with")
