"""A file of samples: written aside batch by batch, and put in its place when it is whole."""

import io
import json
import tarfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import date
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeAlias
from uuid import uuid4

from suffuse.errors import UserError
from suffuse.files import sync
from suffuse.model import Model
from suffuse.scale.plan import ASIDE, Form, Plan
from suffuse.scale.rows import Cell, File, Rows, rows_of

Batch: TypeAlias = tuple[Sequence[int], Sequence[Any]]
"""Seeds, and the item of each."""


def draw(model: Model, plan: Plan, number: int, folder: Path) -> int:
    """Draw the samples of one file of a plan and write it; gives how many there are.

    A batch has always the same companions, so that it is rounded alike whoever draws it.

    Raises:
        UserError: the model cannot draw so, or the file cannot be written.
    """
    path = folder / plan.name(number)
    aside = folder / f"{ASIDE}{uuid4().hex}-{path.name}"  # a name of its own: who was taken for dead may still write
    try:
        _WRITERS[plan.form](aside, rows_of(model.codec), _batches(model, plan, number))
        sync(aside)
        aside.replace(path)
    except OSError as error:
        aside.unlink(missing_ok=True)
        raise UserError(
            f"cannot write {path}: {error.strerror or error}; the same command goes on from the files that are whole"
        ) from error
    return len(plan.seeds(number))


def _batches(model: Model, plan: Plan, number: int) -> Iterator[Batch]:
    seeds = plan.seeds(number)
    for rows in model.row_batches(len(seeds)):
        part = seeds[rows.start : rows.stop]
        drawn = model.generate(
            len(part),
            condition=model.parse_condition(plan.condition),
            steps=plan.steps,
            guidance=plan.guidance,
            sampler=plan.sampler,
            seed=part,
            size=plan.size[0] if len(plan.size) == 1 else plan.size or None,
            seamless=plan.seamless,
        )
        yield part, model.codec.items(drawn)


def write_parquet(path: Path, rows: Rows, batches: Iterable[Batch]) -> None:
    """A row for each sample, and a group of rows for each batch; files in cells as the `datasets` library has them."""
    import pyarrow as pa
    import pyarrow.parquet as pq
    from datasets import Features, Value

    columns = rows.features()
    seed = "_seed" if "seed" in columns else "seed"
    schema = Features({seed: Value("int64")} | columns).arrow_schema
    with pq.ParquetWriter(path, schema) as writer:
        for seeds, items in batches:
            table = [{seed: at} | _plain(at, rows.cells(item)) for at, item in zip(seeds, items, strict=True)]
            writer.write_table(pa.Table.from_pylist(table, schema))


def _plain(seed: int, cells: Mapping[str, Cell]) -> dict[str, Any]:
    return {
        name: {"bytes": cell.data, "path": f"{seed:012d}{cell.suffix}"} if isinstance(cell, File) else cell
        for name, cell in cells.items()
    }


def write_webdataset(path: Path, rows: Rows, batches: Iterable[Batch]) -> None:
    """A file for each sample, named by its seed, and beside it one of JSON with what is no file."""
    with tarfile.open(path, "w") as archive:
        for seeds, items in batches:
            for seed, item in zip(seeds, items, strict=True):
                cells = rows.cells(item)
                told = {"seed": seed} | {name: cell for name, cell in cells.items() if not isinstance(cell, File)}
                files = [cell for cell in cells.values() if isinstance(cell, File)]
                for file in [*files, File(".json", json.dumps(told, default=_moment, ensure_ascii=False).encode())]:
                    entry = tarfile.TarInfo(f"{seed:012d}{file.suffix}")
                    entry.size = len(file.data)
                    archive.addfile(entry, io.BytesIO(file.data))


def _moment(value: date) -> str:
    return value.isoformat()


_WRITERS: Mapping[Form, Callable[[Path, Rows, Iterable[Batch]], None]] = MappingProxyType(
    {"parquet": write_parquet, "webdataset": write_webdataset}
)
