"""Tabs that draw and judge: controls that fit the model, and a button for a verb of it."""

import json
from collections.abc import Iterator
from typing import Any

import gradio as gr

from suffuse.model import Model
from suffuse.operators.naming import OPERATORS
from suffuse.plots import histogram
from suffuse.studio.faces import entry, upload
from suffuse.studio.painting import painted, painter
from suffuse.studio.shared import (
    BAR,
    PICTURES,
    Studio,
    conditions_of,
    first_of,
    for_each_model,
    picture,
    results_of,
    said,
    shown_while,
)
from suffuse.studio.work import done, told


def create(studio: Studio) -> None:
    """New samples, by condition; the walk to them is shown as it goes."""

    @for_each_model(studio)
    def controls(name: str, model: Model) -> None:
        with gr.Row():
            with gr.Column(scale=1, min_width=260):
                conditions = conditions_of(model, "create")
                number = gr.Slider(1, 64, 4, step=1, label=studio.say("how_many"), elem_id="number")
                seed = gr.Number(0, minimum=0, precision=0, label=studio.say("seed"))
                steps = gr.Slider(0, 200, 0, step=1, label=studio.say("steps"), elem_id="create-steps")
                guidance = gr.Slider(0, 10, 1, step=0.1, label=studio.say("guidance"), visible=bool(conditions))
                draw = gr.Button(studio.say("draw"), variant="primary", elem_id="draw")
            with gr.Column(scale=2, min_width=260):
                shown = results_of(model, studio.say)
                again = gr.Button(studio.say("send_restore"), size="sm", visible=model.codec.kind in PICTURES)

        def drawn(
            n: int, first: int, walk: int, weight: float, *values: Any, bar: gr.Progress = BAR
        ) -> Iterator[list[Any]]:
            options = {"n": int(n), "seed": int(first), "steps": int(walk) or None, "condition": said(model, values)}
            options |= {"guidance": float(weight)} if conditions and weight != 1 else {}
            yield from shown_while(studio, model, name, "generate", options, {}, bar, min(int(n), 16))

        draw.click(drawn, [number, seed, steps, guidance, *conditions], shown, show_progress_on=shown[-1])
        again.click(lambda paths: (first_of(paths), gr.Tabs(selected="restore")), shown[-1], [studio.sent, studio.tabs])


def restore(studio: Studio) -> None:
    """An item from what was measured of it."""

    @for_each_model(studio, studio.sent)
    def controls(name: str, model: Model, path: str | None) -> None:
        pictures = model.codec.kind == "image"
        examples = [each.example for each in OPERATORS.values() if not each.example.startswith("inpaint")]
        choices = ["inpaint", *examples] if pictures else examples
        with gr.Row():
            with gr.Column(scale=1, min_width=260):
                item = _item(studio, model.codec.kind, path, "restore", pictures)
                operator = gr.Dropdown(
                    choices,
                    value=choices[0],
                    allow_custom_value=True,
                    label=studio.say("operator"),
                    elem_id="operator",
                )
                noise = gr.Textbox("", label=studio.say("noise"))
                draws = gr.Slider(1, 16, 4, step=1, label=studio.say("draws"))
                conditions = conditions_of(model, "restore")
                go = gr.Button(studio.say("restore_it"), variant="primary", elem_id="restore-it")
            with gr.Column(scale=2, min_width=260):
                shown = results_of(model, studio.say)

        def restored(
            value: Any, how: str, deviation: str, n: int, *values: Any, bar: gr.Progress = BAR
        ) -> Iterator[list[Any]]:
            files = _sent(model, model.codec.kind, value, pictures, kept=True)
            if how.partition(":")[0] != "inpaint":
                files.pop("mask", None)
            options = {"operator": how, "draws": int(n), "condition": said(model, values), "noise": _number(deviation)}
            yield from shown_while(studio, model, name, "restore", options, files, bar)

        go.click(restored, [item, operator, noise, draws, *conditions], shown, show_progress_on=shown[-1])


def change(studio: Studio) -> None:
    """An item edited, translated, or its holes filled: whatever the model was trained for."""

    @for_each_model(studio, studio.sent)
    def controls(name: str, model: Model, path: str | None) -> None:
        pairs = any(codec.reads for codec in model.conditions.values())
        verb = "translate" if pairs else "infill" if model.infills else "edit"
        pictures = model.codec.kind == "image" and verb == "edit"
        kind = next((codec.reads for codec in model.conditions.values() if codec.reads), model.codec.kind)
        with gr.Row():
            with gr.Column(scale=1, min_width=260):
                item = _item(studio, kind, path, "change", pictures)
                conditions = [] if pairs else conditions_of(model, "change")
                strength = gr.Slider(0.01, 1, 0.5, step=0.01, label=studio.say("strength"), visible=verb == "edit")
                holes = gr.Textbox("", label=studio.say("holes"), visible=verb == "infill", elem_id="holes")
                draws = gr.Slider(1, 16, 1, step=1, label=studio.say("draws"))
                go = gr.Button(studio.say(f"{verb}_it"), variant="primary", elem_id="change-it")
            with gr.Column(scale=2, min_width=260):
                shown = results_of(model, studio.say)

        def changed(
            value: Any, much: float, where: str, n: int, *values: Any, bar: gr.Progress = BAR
        ) -> Iterator[list[Any]]:
            files = _sent(model, kind, value, pictures, kept=False)
            options: dict[str, Any] = {"draws": int(n) if n > 1 else None}
            if verb != "translate":
                how = {"strength": much} if verb == "edit" else {"holes": where.split()}
                options |= {"condition": said(model, values), **how}
            yield from shown_while(studio, model, name, verb, options, files, bar)

        go.click(changed, [item, strength, holes, draws, *conditions], shown, show_progress_on=shown[-1])


def score(studio: Studio) -> None:
    """How likely items are, and what they are."""

    @for_each_model(studio)
    def controls(name: str, model: Model) -> None:
        import pandas as pd

        item = entry(model.codec.kind, studio.say("item"), None, "score-item")
        with gr.Row():
            likely = gr.Button(studio.say("score_it"), elem_id="score-it")
            what = gr.Button(studio.say("classify_it"), elem_id="classify-it", visible=_classifies(model))
        found = gr.Dataframe(label=studio.say("result"), interactive=False, elem_id="found")
        spread = picture("spread")

        def scored(value: Any, bar: gr.Progress = BAR) -> Any:
            files = told(lambda: {"file": upload(model.codec.kind, value)})
            table = pd.DataFrame(json.loads(done(studio.engine, name, "score", {}, files, bar).data)).round(4)
            table.insert(0, "item", range(1, len(table) + 1))
            bits = table["bits_per_dimension"].to_numpy()
            several = len(bits) > 3
            seen = histogram(bits, "bits per dimension") if several else None
            return table.sort_values("nats", ascending=False), gr.Image(seen, visible=several)

        def classified(value: Any, bar: gr.Progress = BAR) -> Any:
            files = told(lambda: {"file": upload(model.codec.kind, value)})
            table = pd.DataFrame(json.loads(done(studio.engine, name, "classify", {}, files, bar).data)).round(4)
            return table, gr.Image(None, visible=False)

        likely.click(scored, item, [found, spread])
        what.click(classified, item, [found, spread])


def models(studio: Studio) -> None:
    """The card of the model."""

    @for_each_model(studio)
    def card(_: str, model: Model) -> None:
        gr.Markdown(model.card().partition("\n---\n")[2], elem_id="card")


def _item(studio: Studio, kind: str, path: str | None, tab: str, pictures: bool) -> Any:
    """The component that takes an item; of pictures one that can be painted over."""
    with gr.Column(visible=pictures, min_width=160):
        canvas = painter(path if pictures else None, studio.say, tab if pictures else f"no-{tab}")
    with gr.Column(visible=not pictures, min_width=160):
        other = entry(kind, studio.say("item"), None if pictures else path, f"{tab}-item")
    return canvas if pictures else other


def _sent(model: Model, kind: str, value: Any, pictures: bool, kept: bool) -> dict[str, tuple[str, bytes]]:
    """What the component took, as files of a request."""
    return told(lambda: painted(model, value, kept) if pictures else {"file": upload(kind, value)})


def _classifies(model: Model) -> bool:
    return model.codec.question is not None or any(codec.candidates() for codec in model.conditions.values())


def _number(text: str) -> float | None:
    text = text.strip()
    if not text:
        return None
    try:
        return float(text)
    except ValueError as error:
        raise gr.Error(f"{text!r} is no number") from error
