"""A model of Bach's chorales: new ones, and voices to those that are given, beside chains of notes."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from suffuse import learn
from suffuse.data.music import MusicSource, open_music
from suffuse.demos import chains
from suffuse.engraving import FORMS, piano_roll
from suffuse.errors import UserError
from suffuse.metrics.bootstrap import Interval, mean_interval
from suffuse.metrics.histograms import divergence, nearer
from suffuse.metrics.music import HISTOGRAMS, copied
from suffuse.model import Model
from suffuse.music import HOLE, Piece
from suffuse.progress import Progress
from suffuse.recipes.recipe import DataSection, NetworkSection, ObjectiveSection, Recipe
from suffuse.training.config import TrainingConfig

CREDIT = (
    "chorales by Johann Sebastian Bach, from the corpus of music21; their encodings, by Margaret Greentree and others, "
    "may not be free for commercial use: see corpus/license.txt of music21"
)
_LENGTH, _EVERY, _ASKED, _SHOWN = 128, 6, 48, 6
_WAYS = {"chain of tokens": chains.of_tokens, "chain of notes": chains.of_notes, "chain of beats": chains.of_beats}


def music(out: Path, minutes: float | None = None, seed: int = 0) -> None:
    """Chorales of four voices, all moved to no sharps or flats: twelve minutes of training on one CPU core."""
    print(CREDIT)
    pieces = chorales()
    known = [piece for place, piece in enumerate(pieces) if place % _EVERY]
    unseen, others = windows(pieces[::_EVERY]), windows(known)
    model = learn.train(MusicSource("chorales", known), recipe(minutes or 12.0, seed), out)
    with Progress("composing", len(unseen)) as progress:
        new: list[Piece] = model.generate(len(unseen), seed=seed, progress=progress.to)
    lengths, rng = [each.cells.shape[1] for each in unseen], np.random.default_rng(seed)
    made = {"suffuse": new} | {name: way(known, lengths, rng) for name, way in _WAYS.items()}
    asked = unseen[:_ASKED]
    filled = {voice: model.infill([without(each, [place]) for each in asked], seed=seed)
              for place, voice in enumerate(asked[0].voices)}  # fmt: skip
    report = {
        "new": {name: compared(unseen, others, made, name) for name in HISTOGRAMS},
        "copied": {
            way: _said(mean_interval(copied(drawn, known))) for way, drawn in (made | {"unseen": unseen}).items()
        },
        "voices": {voice: harmonised(filled[voice], asked, known, place) for place, voice in enumerate(filled)},
    }
    (out / "report.json").write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    perform(model, new, unseen, out, seed)
    print(table(report))
    print(f"music: {out}/new-1.mid and others, {out}/harmonised.mid, {out}/continued.mid, each also as .wav; "
          f"pictures: {out}/new.png, {out}/filled.png; figures: {out}/report.json")  # fmt: skip


def recipe(minutes: float, seed: int) -> Recipe:
    """What the demo trains by."""
    return Recipe(
        data=DataSection(length=_LENGTH),
        network=NetworkSection(width=128, depth=3),
        objective=ObjectiveSection(given=0.25),
        training=TrainingConfig(
            batch=4, learning_rate=3e-3, weight_decay=0.1, held_out=0.02, minutes=minutes, seed=seed
        ),
    )


def chorales() -> list[Piece]:
    """All of four voices in four quarters, moved to the nearest key without sharps and flats."""
    found = find_spec("music21")
    folder = Path(found.origin or "").parent / "corpus" / "bach" if found else Path()
    if not any(folder.glob("*.mxl")):
        raise UserError("this demo's chorales come with music21: pip install 'suffuse[demo]'")
    source = open_music(folder)
    with Progress("reading", len(source)) as progress:
        report = source.scan(progress.to)
    print(report.summary())
    pieces: list[Piece] = [piece for piece in source.raw(report.keep) if piece.metre == (4, 4)]
    return [replace(piece.moved_by((5 * piece.key + 6) % 12 - 6), key=0) for piece in pieces]


def windows(pieces: Sequence[Piece]) -> list[Piece]:
    """Windows as long as the model's, side by side; ends that are shorter than half of one are left out."""
    cut = MusicSource("windows", pieces).cut(_LENGTH, _LENGTH)
    return [piece for piece in cut.raw(range(len(cut))) if piece.cells.shape[1] >= _LENGTH // 2]


def without(piece: Piece, voices: Sequence[int]) -> Piece:
    """A piece of which some voices are asked for."""
    cells = piece.cells.copy()
    cells[list(voices)] = HOLE
    return replace(piece, cells=cells)


def compared(
    real: Sequence[Piece], known: Sequence[Piece], made: Mapping[str, Sequence[Piece]], name: str
) -> dict[str, Any]:
    """How far counts of what was made, and of known chorales, are from those of unseen ones, and by how much less."""
    counts = {way: HISTOGRAMS[name](drawn) for way, drawn in ({"unseen": real, "known": known} | dict(made)).items()}
    truth, ours = counts.pop("unseen"), counts["suffuse"]
    gains = {f"nearer than {way}": _said(nearer(truth, ours, counts[way])) for way in _WAYS}
    return {way: _said(divergence(truth, each)) for way, each in counts.items()} | gains


def harmonised(filled: Sequence[Piece], real: Sequence[Piece], known: Sequence[Piece], voice: int) -> dict[str, Any]:
    """A voice written to the others: cells of these that changed, and share of its steps that are as Bach wrote."""
    others = [place for place in range(len(real[0].cells)) if place != voice]
    changed = sum(int((a.cells[others] != b.cells[others]).sum()) for a, b in zip(filled, real, strict=True))
    truth, guesses = [each.sounding()[voice] for each in real], chains.looked_up(known, real, voice)
    ours = [(each.sounding()[voice] == right).mean() for each, right in zip(filled, truth, strict=True)]
    theirs = [(guess == right).mean() for guess, right in zip(guesses, truth, strict=True)]
    return {"given cells that changed": changed, "as Bach": _said(mean_interval(ours)),
            "looked up": _said(mean_interval(theirs))}  # fmt: skip


def perform(model: Model, new: Sequence[Piece], unseen: Sequence[Piece], out: Path, seed: int) -> None:
    """Write what was composed, a soprano harmonised and a beginning continued, as MIDI, as sound and as pictures."""
    soprano, start = unseen[0], unseen[1].between(0, _LENGTH // 2)
    hollow = [without(soprano, [1, 2, 3]), start.without(start.cells.shape[1], _LENGTH)]
    answers: list[Piece] = model.infill(hollow, seed=seed)
    files = {f"new-{number}": piece for number, piece in enumerate(new[:_SHOWN], 1)}
    files |= {"harmonised": answers[0], "as-bach-harmonised": soprano, "continued": answers[1]}
    for name, piece in files.items():
        for suffix in (".mid", ".wav"):
            (out / (name + suffix)).write_bytes(FORMS[suffix](piece))
    (out / "harmonised.musicxml").write_bytes(FORMS[".musicxml"](answers[0]))
    piano_roll(new[:_SHOWN]).save(out / "new.png")
    piano_roll([soprano, answers[0], start, answers[1]]).save(out / "filled.png")


def table(report: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> str:
    """The figures as lines of text."""
    ways = ["suffuse", *_WAYS, "known"]
    lines = [f"{'divergence from unseen, bits':<30}" + "".join(f"{way:>17}" for way in ways)]
    for name, row in report["new"].items():
        lines.append(f"{name:<30}" + "".join(f"{row[way]['value']:>17.4f}" for way in ways))
        gains = [row[f"nearer than {way}"] for way in _WAYS]
        lines.append(f"{'  nearer than these by':<47}" + "".join(f"{_ends(gain):>17}" for gain in gains))
    shares = report["copied"]
    lines.append(f"{'two bars in a row copied':<30}" + "".join(f"{shares[way]['value']:>17.2%}" for way in ways[:-1]))
    for voice, row in report["voices"].items():
        lines.append(f"{voice} written anew: {row['given cells that changed']} given cells changed, "
                     f"{row['as Bach']['value']:.1%} as Bach, looked up {row['looked up']['value']:.1%}")  # fmt: skip
    return "\n".join(lines)


def _ends(gain: Mapping[str, float]) -> str:
    return f"{gain['low']:.4f}..{gain['high']:.4f}"


def _said(found: Interval) -> dict[str, float]:
    return {name: round(value, 5) for name, value in vars(found).items()}
