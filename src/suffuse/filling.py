"""What is missing from items, drawn given the rest of each."""

import math
from collections.abc import Callable, Mapping, Sequence
from functools import reduce
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from suffuse.errors import UserError
from suffuse.guidance import Given
from suffuse.samplers import Sampler, sample
from suffuse.tree import map_leaves

if TYPE_CHECKING:
    from suffuse.model import Model


def fill(
    model: "Model",
    items: Sequence[Any],
    values: Mapping[str, Sequence[Any]],
    solver: tuple[Sampler, Tensor],
    guidance: float,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> list[Any]:
    """Fill the holes of raw items. Those that are longer than a state are filled part by part.

    Args:
        model: that infills.
        items: with holes.
        values: what each is said to be, a column for each condition; of the others, what the items tell themselves.
        solver: the way to walk, and its times.
        guidance: weight of the conditions.
        seed: of the first item; the next have the next seeds.
        progress: called with (items done, in all).
    """
    codec, filled = model.codec, list(items)
    for rows in model.row_batches(len(items)):
        pending, number = list(rows), 0
        while pending:
            parts = [codec.part(filled[row]) for row in pending]
            told = {name: [column[row] for row in pending] for name, column in values.items()}
            drawn = _drawn(model, parts, told, solver, guidance, [seed + row for row in pending], number)
            for row, part in zip(pending, drawn, strict=True):
                filled[row] = codec.rejoin(filled[row], part)
            pending, number = [row for row in pending if codec.unfinished(filled[row])], number + 1
        if progress is not None:
            progress(rows.stop, len(items))
    return filled


def hollowed(model: "Model", items: Sequence[Any], holes: Sequence[str]) -> list[Any]:
    """Items with the same holes in all of them.

    Args:
        model: of such items.
        items: without these holes.
        holes: each as ``from:to``, in the units of the items' time.

    Raises:
        UserError: a hole is written otherwise, or does not fit the items.
    """
    spans = [_span(hole) for hole in holes]
    return [reduce(lambda raw, span: model.codec.hollowed(raw, *span), spans, item) for item in items]


def _span(hole: str) -> tuple[float, float]:
    start, _, stop = hole.partition(":")
    try:
        first, last = float(start or 0), float(stop)
    except ValueError as error:
        raise UserError(f"the hole {hole!r} is not understood; write from:to, such as 1.2:1.25") from error
    if not 0 <= first < last < math.inf:
        raise UserError(f"the hole {hole} holds nothing; it begins at 0 or later, and ends after that")
    return first, last


def _drawn(
    model: "Model",
    parts: Sequence[Any],
    values: Mapping[str, Sequence[Any]],
    solver: tuple[Sampler, Tensor],
    guidance: float,
    seeds: Sequence[int],
    number: int,
) -> list[Any]:
    """Parts that are as long as a state, filled; for an item's first part, second and so on."""
    walk, times = solver
    x1, told, rng = model.start(model.told_of(parts, values), seeds, number)
    x0, given = (map_leaves(lambda leaf: leaf.to(rng.index.device), each) for each in model.codec.partial(parts))
    x1 = map_leaves(torch.where, given, x0, x1)
    with model.precision():
        state = sample(Given(model.guided(guidance), x0, given), walk, x1, times, told, rng)
    return model.codec.fill(parts, map_leaves(torch.where, given, x0, state))
