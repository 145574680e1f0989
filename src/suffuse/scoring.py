"""Every item of a source, scored by a model: a table with a row for each."""

import csv
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from suffuse.data.base import Source
from suffuse.data.report import Report
from suffuse.data.sources import open_source
from suffuse.errors import UserError
from suffuse.likelihood import Score
from suffuse.model import Model
from suffuse.progress import Progress
from suffuse.training.checkpoint import replace

NAMES = {"elbo": "bound", "ode": "log_likelihood"}
"""What each method gives."""


def score_source(
    model: Model,
    source: str | Path | Source,
    table: Path,
    condition: Any = None,
    method: str = "elbo",
    evaluations: int = 64,
    seed: int = 0,
) -> list[Score]:
    """Score every item of a source that can be read, and write one row for each.

    Args:
        model: that scores.
        source: anything that ``open_source`` opens, or an opened source.
        table: the CSV file to write: name, nats, standard error, bits per dimension.
        condition: what every item is said to be; by default what the source says of it, where the model can be told.
        method: as for ``Model.score``.
        evaluations: of the network for each item.
        seed: of the random numbers.

    Raises:
        UserError: the data cannot be used, the table cannot be written, or a setting is wrong.
    """
    prepare(table)
    opened, report = scanned(source, model)
    items = Kept(opened, report.keep)
    told = said_of(model, opened, report.keep) if condition is None else condition
    with Progress("scoring", 0) as progress:
        scores = model.score(
            items, condition=told, method=method, evaluations=evaluations, seed=seed, progress=progress.to
        )
    header = ["name", "nats", "standard_error", "bits_per_dimension"]
    rows = [
        [name, *(round(number, 4) for number in vars(each).values())]
        for name, each in zip(opened.names(report.keep), scores, strict=True)
    ]
    write_rows(table, [header, *rows])
    return scores


def scanned(source: str | Path | Source, model: Model, windows: bool = False) -> tuple[Source, Report]:
    """Open a source of the kind of a model, look at every item, and say what was found.

    Args:
        source: anything that ``open_source`` opens, or an opened source.
        model: whose kind it is to be of.
        windows: whether items that are longer than what the model sees at once are cut.

    Raises:
        UserError: the data cannot be used, or is of another kind.
    """
    kind, steps = model.codec.kind, model.codec.window if windows else model.codec.steps
    opened = source if isinstance(source, Source) else open_source(source, kind=kind)
    if opened.kind != kind:
        raise UserError(f"{opened.name} holds data of the kind {opened.kind}, and the model is of {kind}")
    opened = opened.cut(steps, steps)
    with Progress("scanning", len(opened)) as progress:
        report = opened.scan(progress.to)
    print(report.summary())
    return opened, report


class Kept(Sequence[Any]):
    """Raw items of a source, each read when it is asked for, and not kept.

    Args:
        source: the items.
        keep: their positions in the source, as its scan reports them.
    """

    def __init__(self, source: Source, keep: Sequence[int]) -> None:
        self._source, self._keep = source, keep

    def __len__(self) -> int:
        return len(self._keep)

    def __getitem__(self, place: Any) -> Any:
        return self._source.raw([self._keep[place]])[0]


def summary(scores: Sequence[Score], method: str) -> str:
    """The means over the items, with their standard errors."""
    nats, bits = [each.nats for each in scores], [each.bits_per_dimension for each in scores]
    per_nat = bits[0] / nats[0]
    alone = scores[0].standard_error  # of a single item all that is known
    error = stdev(nats) / math.sqrt(len(nats)) if len(nats) > 1 else alone
    return (
        f"mean {NAMES[method].replace('_', '-')} {fmean(nats):.2f} +- {error:.2f} nats, "
        f"{fmean(bits):.3f} +- {abs(error * per_nat):.3f} bits per dimension, over {len(scores)} items"
    )


def said_of(model: Model, source: Source, keep: Sequence[int], but: str | None = None) -> Mapping[str, list[Any]]:
    """What the source says of each item, where the model can be told; of other values, and of one name, nothing."""
    columns: dict[str, list[Any]] = {}
    for name, codec in model.conditions.items():
        if name in source.fields and name != but:
            column = source.column(name)
            values = [column[position] for position in keep]
            unknown = [value for value in values if value is not None and not codec.knows(value)]
            if unknown:
                some = ", ".join(map(str, dict.fromkeys(unknown[:3])))
                print(f"  {name}: {len(unknown)} have values the model does not know ({some}), and are scored without")
            columns[name] = [value if codec.knows(value) else None for value in values]
    return columns


def prepare(table: Path) -> None:
    """Find out before the work whether the table can be written."""
    try:
        table.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"cannot write {table}: {error.strerror or error}") from error
    if table.is_dir():
        raise UserError(f"{table} is a folder; give the name of a file to write, such as {table / 'scores.csv'}")
    if not os.access(table.parent, os.W_OK):
        raise UserError(f"cannot write {table}: no permission to write into its folder; choose another")


def write_rows(table: Path, rows: Sequence[Sequence[Any]]) -> None:
    """Write a CSV file, as a whole or not at all."""

    def write(aside: Path) -> None:
        with aside.open("w", encoding="utf-8", newline="") as file:
            csv.writer(file).writerows(rows)

    try:
        replace(table, write)
    except OSError as error:
        raise UserError(f"cannot write {table}: {error.strerror or error}") from error
