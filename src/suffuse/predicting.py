"""Every item of a source, classified or embedded by a model: a row for each, and how right that was."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from suffuse.classification import Answers, Classes, Numbers
from suffuse.data.base import Source
from suffuse.errors import UserError
from suffuse.likelihood import calibration_error, cross_entropy, fit_temperature, tempered
from suffuse.model import Model
from suffuse.outputs import check_form, write_as
from suffuse.progress import Progress
from suffuse.scoring import Kept, prepare, said_of, scanned, write_rows


def classify_source(
    model: Model,
    source: str | Path | Source,
    table: Path,
    of: str | None = None,
    condition: Any = None,
    prior: str = "even",
    evaluations: int | None = None,
    seed: int = 0,
    calibrated: Path | None = None,
) -> str:
    """Classify every item of a source that can be read, write one row for each, and say in a few lines how it went.

    Args:
        model: that classifies.
        source: anything that ``open_source`` opens, or an opened source.
        table: the CSV file to write: name, class, and a probability for each class.
        of: what to find out; as for ``Model.classify``.
        condition: what else every item is said to be; by default what the source says of it.
        prior: of the classes.
        evaluations: of the network for each item.
        seed: of the random numbers.
        calibrated: folder to keep a temperature in that is fitted to what the source says; None fits none.

    Raises:
        UserError: the data cannot be used, the table cannot be written, or a setting is wrong.
    """
    prepare(table)
    opened, report = scanned(source, model)
    items, asked = Kept(opened, report.keep), asked_of(model, of)
    told = said_of(model, opened, report.keep, but=asked) if condition is None else _by_name(condition)
    with Progress("classifying", len(items)) as progress:
        answers = model.classify(
            items, of=of, condition=told, prior=prior, evaluations=evaluations, seed=seed, progress=progress.to
        )
    column = opened.column(asked) if asked in opened.fields else [None] * len(opened)
    truth = [column[position] for position in report.keep]
    said = summary(answers, truth)
    if calibrated is not None:
        said += "\n" + _calibrate(model, answers, truth, calibrated)
    columns = answers.columns()
    rows = zip(opened.names(report.keep), *map(_rounded, columns.values()), strict=True)
    write_rows(table, [["name", *columns], *rows])
    return said


def embed_source(
    model: Model, source: str | Path | Source, out: Path, t: float = 0.1, draws: int = 4, seed: int = 0
) -> str:
    """Embed every item of a source that can be read, write a row for each, and say how many of what size.

    Args:
        model: that embeds.
        source: anything that ``open_source`` opens, or an opened source.
        out: the file to write: .npy, float32; or .csv, a column for each feature.
        t: time whose noise the items are given.
        draws: how often noise is drawn.
        seed: of the noise.

    Raises:
        UserError: the data cannot be used, the file cannot be written, or a number is out of range.
    """
    check_form(_VECTORS, out)
    prepare(out)
    opened, report = scanned(source, model)
    with Progress("embedding", report.kept) as progress:
        vectors = model.embed(Kept(opened, report.keep), t=t, draws=draws, seed=seed, progress=progress.to).numpy()
    write_as({form: partial(write, vectors) for form, write in _VECTORS.items()}, out)
    return f"{len(vectors)} vectors of {vectors.shape[1]} numbers"


def _save_csv(vectors: np.ndarray, path: Path) -> None:
    heads = ",".join(f"f{place}" for place in range(vectors.shape[1]))
    np.savetxt(path, vectors, delimiter=",", header=heads, comments="", fmt="%.7g")


_VECTORS: dict[str, Callable[[np.ndarray, Path], None]] = {
    ".npy": lambda vectors, path: np.save(path, vectors),
    ".csv": _save_csv,
}


def asked_of(model: Model, of: str | None) -> str:
    """The name of what is to be found out, by default that of the target or of the only classes."""
    if of is not None:
        return of
    if model.codec.question is not None:
        return model.codec.question.name
    return next((name for name, codec in model.conditions.items() if codec.candidates()), "")


def _by_name(condition: Any) -> Mapping[str, Any]:
    if not isinstance(condition, Mapping):
        raise UserError(f"say which condition is {condition}: --condition field={condition}")
    return condition


def _rounded(column: Sequence[Any]) -> list[Any]:
    return [round(value, 6) if isinstance(value, float) else value for value in column]


def _calibrate(model: Model, answers: Answers, truth: Sequence[Any], folder: Path) -> str:
    if not isinstance(answers, Classes):
        raise UserError(f"{answers.name} is a number, whose quantiles have no temperature; leave out --calibrate")
    found = model.calibrate(answers, truth)
    found.save(folder)
    return f"temperature {found.temperature:.2f} of {found.items} items is kept, and taken from now on"


def summary(answers: Answers, truth: Sequence[Any]) -> str:
    """How right the answers were, where the truth is known."""
    match answers:
        case Classes():
            return _of_classes(answers, truth)
        case Numbers():
            return _of_numbers(answers, truth)
        case _:
            return ""


def _of_classes(answers: Classes, truth: Sequence[Any]) -> str:
    known, places = answers.places(truth)
    count, classes = answers.log_odds.shape
    head = f"{answers.name}: {count} items of {classes} classes, at temperature {answers.temperature:.2f}"
    if not known:
        return head
    labels, chances = torch.tensor(places), answers.probabilities[known]
    right = (chances.argmax(1) == labels).double()
    error = float((right.var(correction=0) / len(right)).sqrt())
    tuned = _crossed(answers, known, labels)
    return "\n".join(
        [
            head,
            f"accuracy {float(right.mean()):.2%} +- {error:.2%} over the {len(known)} items whose class is known",
            f"calibration error {calibration_error(chances, labels):.3f}, {cross_entropy(chances, labels):.3f} nats",
            f"by a temperature of the other half {calibration_error(tuned, labels):.3f}, "
            f"{cross_entropy(tuned, labels):.3f} nats",
        ]
    )


def _crossed(answers: Classes, known: list[int], labels: torch.Tensor) -> torch.Tensor:
    """Probabilities of each half of the items at the temperature that the other half needs."""
    odds, halves = answers.log_odds[known], torch.arange(len(known)) % 2
    result = torch.empty_like(odds)
    for half in (0, 1):
        other = halves != half
        temperature = fit_temperature(odds[other], labels[other], answers.log_prior) if other.any() else 1.0
        result[halves == half] = tempered(odds[halves == half], temperature, answers.log_prior)
    return result


def _of_numbers(answers: Numbers, truth: Sequence[Any]) -> str:
    known = [row for row, value in enumerate(truth) if isinstance(value, int | float)]
    if len(known) < 2:
        return f"{answers.name}: a number, of {len(answers.draws)} items"
    values, draws = torch.tensor([float(truth[row]) for row in known], dtype=torch.float64), answers.draws[known]
    off = (draws.mean(1) - values) ** 2
    explained = 1 - float(off.mean() / values.var(correction=0))
    low, high = draws.quantile(torch.tensor([0.05, 0.95], dtype=torch.float64), 1)
    inside = float(((low <= values) & (values <= high)).double().mean())
    return (
        f"{answers.name}: root mean squared error {float(off.mean().sqrt()):.4g}, R2 {explained:.3f}, "
        f"{inside:.1%} inside their 90% intervals, over the {len(known)} items whose {answers.name} is known"
    )
