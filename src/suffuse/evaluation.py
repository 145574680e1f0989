"""How good a model is, on real items that it was not trained on: a report in Markdown and JSON, with pictures."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from PIL import Image

from suffuse.data.base import Source
from suffuse.errors import UserError
from suffuse.metrics.bootstrap import Interval, mean_interval
from suffuse.metrics.protocols import Figure, Protocol, Samples, protocol_of
from suffuse.model import Model
from suffuse.outputs import output_of
from suffuse.pictures import save_png
from suffuse.progress import Progress
from suffuse.scoring import Kept, said_of, scanned
from suffuse.training.checkpoint import replace

_SCORED = 128
_LEAST = 8
_DRAWS = 20


def evaluate_source(
    model: Model,
    source: str | Path | Source,
    out: Path,
    training: str | Path | Source | None = None,
    n: int = 1000,
    steps: int | None = None,
    evaluations: int = 64,
    seed: int = 0,
) -> list[Figure]:
    """Draw as many items as the source has, compare them with its own, and write the report.

    What the source says of its items the drawn ones are told. Every figure stands beside the same figure of other real
    items: those that the model was trained on, or else every other one of the source.

    Args:
        model: to evaluate.
        source: anything that ``open_source`` opens, or an opened source, of items that the model was not trained on.
        out: the folder for ``report.json``, ``report.md`` and pictures.
        training: what the model was trained on; needed to say whether it copies.
        n: at most so many items of each source.
        steps: evaluations of the network for each walk; by default the recipe's.
        evaluations: of the network for the bound of each item; at most 128 items are scored.
        seed: of all random numbers.

    Raises:
        UserError: the data cannot be used, or the folder cannot be written.
    """
    protocol, kind = protocol_of(model.codec.kind), model.codec.kind
    _prepare(out)
    opened, report = scanned(source, model, windows=True)
    places = [*report.keep]
    if training is None:
        other, known, real = opened, places[0::2][:n], places[1::2][:n]
    else:
        other, all_known = scanned(training, model, windows=True)
        known, real = _spread(all_known.keep, n), _spread(places, n)
    if min(len(known), len(real)) < _LEAST:
        raise UserError(f"{opened.name} has {len(places)} items, which are too few to compare with; give at least 16")
    with Progress("drawing", len(real)) as progress:
        drawn = model.generate(
            len(real), condition=said_of(model, opened, real) or None, steps=steps, seed=seed, progress=progress.to
        )
    question = model.codec.question
    label = next(
        (name for name, codec in model.conditions.items() if codec.candidates() and name in other.fields), None
    )
    samples = Samples(
        opened.raw(real),
        model.codec.items(drawn),
        other.raw(known),
        None if question is None else question.name,
        None if label is None else _labels(other, label, known),
        None if label is None or label not in opened.fields else _labels(opened, label, real),
        training is not None,
        any(codec.spec()["kind"] == "tokens" and name in opened.fields for name, codec in model.conditions.items()),
    )
    figures = [*_bounds(model, protocol, opened, real, evaluations, seed), *protocol.figures(samples)]
    figures += _filled(model, protocol, samples.real, steps, seed)
    shown = output_of(kind).show(model.codec.collect([*samples.synthetic[:16]]))
    _write(out, _about(model, opened, samples), figures, protocol.pictures(samples), shown)
    return figures


def _spread(places: Sequence[int], n: int) -> list[int]:
    """At most n of the places, evenly spread."""
    count = min(n, len(places))
    return [places[place * len(places) // count] for place in range(count)]


def _labels(source: Source, field: str, places: Sequence[int]) -> list[Any] | None:
    """Labels of the items at these places, where all of them have one."""
    column = source.column(field)
    found = [column[place] for place in places]
    return None if None in found else found


def _bounds(
    model: Model, protocol: Protocol, source: Source, real: Sequence[int], evaluations: int, seed: int
) -> list[Figure]:
    scored = _spread(real, _SCORED)
    with Progress("scoring", 0) as progress:
        scores = model.score(
            Kept(source, scored),
            condition=said_of(model, source, scored),
            evaluations=evaluations,
            seed=seed,
            progress=progress.to,
        )
    figures = [
        Figure(
            "nats", mean_interval([score.nats for score in scores]), None, "bound on log p of an item; higher is better"
        ),
        Figure(
            "bits per dimension",
            mean_interval([score.bits_per_dimension for score in scores]),
            None,
            "the same for each element of the state; lower is better",
        ),
    ]
    own = protocol.bound([score.nats for score in scores], source.raw(scored))
    return [*figures, own] if own else figures


def _filled(model: Model, protocol: Protocol, real: Sequence[Any], steps: int | None, seed: int) -> list[Figure]:
    """What is measured of holes that are filled."""
    holes = protocol.holes(real) if model.infills else ()
    if not holes:
        return []
    draws: list[Sequence[Any]] = []
    with Progress("filling", _DRAWS) as progress:
        for number in range(_DRAWS):
            draws.append(model.codec.items(model.infill(holes, steps=steps, seed=seed + number * len(holes))))
            progress.to(number + 1, _DRAWS)
    return protocol.filled(real, draws)


def _about(model: Model, source: Source, samples: Samples) -> dict[str, Any]:
    reference = "what the model was trained on" if samples.trained_on else "every other item of the same source"
    return {
        "model": model.origin.name,
        "trained_on": model.origin.data,
        "kind": model.codec.kind,
        "source": source.name,
        "real": len(samples.real),
        "drawn": len(samples.synthetic),
        "reference": f"{len(samples.training)} items: {reference}",
    }


def _prepare(out: Path) -> None:
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"cannot write {out}: {error.strerror or error}; give the name of a folder") from error


def _write(
    out: Path,
    about: Mapping[str, Any],
    figures: Sequence[Figure],
    pictures: Mapping[str, Image.Image],
    shown: Image.Image | str,
) -> None:
    drawn = dict(pictures) | ({"samples": shown} if isinstance(shown, Image.Image) else {})
    content = json.dumps({**about, "figures": [asdict(figure) for figure in figures]}, indent=1, ensure_ascii=False)
    lines = [f"# {about['model']}", "", *(f"- {name.replace('_', ' ')}: {value}" for name, value in about.items()), ""]
    lines += [markdown(figures), ""]
    lines += [f"![{name}]({name}.png)\n" for name in drawn]
    lines += ["What was drawn:\n", "```", shown, "```"] if isinstance(shown, str) else []
    try:
        for name, picture in drawn.items():
            save_png(picture, out / f"{name}.png")
        for name, text in (("report.json", content), ("report.md", "\n".join(lines))):
            replace(out / name, lambda aside, text=text: aside.write_text(text + "\n", encoding="utf-8"))
    except OSError as error:
        raise UserError(f"cannot write into {out}: {error.strerror or error}") from error


def markdown(figures: Sequence[Figure]) -> str:
    """The figures as a table in Markdown."""
    lines = ["| figure | value | 95% interval | reference | |", "|---|---|---|---|---|"]
    for figure in figures:
        found, reference = figure.found, figure.reference
        beside = "" if reference is None else f"{reference.value:.4g} ({_ends(reference)})"
        lines.append(f"| {figure.name} | {found.value:.4g} | {_ends(found)} | {beside} | {figure.note} |")
    return "\n".join(lines)


def _ends(interval: Interval) -> str:
    return f"{interval.low:.4g} to {interval.high:.4g}"
