"""What each tab has: controls that fit the model, and a button for a verb of it."""

import io
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import gradio as gr
import numpy as np
from PIL import Image

from suffuse.model import Model
from suffuse.operators.naming import OPERATORS
from suffuse.serving.engine import Engine
from suffuse.serving.store import Result
from suffuse.studio.faces import face_of, glance, unpacked, upload
from suffuse.studio.work import done, told


@dataclass(frozen=True)
class Studio:
    """What all tabs share.

    Args:
        engine: that does the work.
        chosen: the component that says which model.
        sent: path of a picture that one tab sends to others.
        tabs: the row of tabs.
        say: the words of a key, in the language of whoever looks.
    """

    engine: Engine
    chosen: Any
    sent: Any
    tabs: Any
    say: Callable[[str], Any]


_BAR = gr.Progress()
"""Gradio puts that of the event in its place."""
_LARGE = 384
"""Pixels of a side that can be painted on."""
_PICTURES = ("image", "segments", "pairs")


def create(studio: Studio) -> None:
    """New samples, by condition."""

    @gr.render(inputs=studio.chosen)
    def controls(name: str) -> None:
        model = studio.engine.models[name]
        with gr.Row():
            with gr.Column(scale=1, min_width=260):
                conditions = _conditions(model)
                number = gr.Slider(1, 64, 4, step=1, label=studio.say("how_many"), elem_id="number")
                seed = gr.Number(0, minimum=0, precision=0, label=studio.say("seed"))
                steps = gr.Slider(0, 200, 0, step=1, label=studio.say("steps"))
                guidance = gr.Slider(0, 10, 1, step=0.1, label=studio.say("guidance"), visible=bool(conditions))
                draw = gr.Button(studio.say("draw"), variant="primary", elem_id="draw")
            with gr.Column(scale=2, min_width=260):
                shown = _shown(model, studio.say)
                again = gr.Button(studio.say("send_restore"), size="sm", visible=model.codec.kind in _PICTURES)

        def drawn(n: int, first: int, walk: int, weight: float, *values: Any, bar: gr.Progress = _BAR) -> Any:
            options = {"n": int(n), "seed": int(first), "steps": int(walk) or None}
            options |= {"condition": _said(model, values)}
            options |= {"guidance": float(weight)} if conditions and weight != 1 else {}
            return _results(studio, model, done(studio.engine, name, "generate", options, {}, bar))

        draw.click(drawn, [number, seed, steps, guidance, *conditions], shown)
        again.click(
            lambda paths: (paths[0] if paths else None, gr.Tabs(selected="restore")),
            shown[-1],
            [studio.sent, studio.tabs],
        )


def restore(studio: Studio) -> None:
    """An item from what was measured of it."""

    @gr.render(inputs=[studio.chosen, studio.sent])
    def controls(name: str, path: str | None) -> None:
        model = studio.engine.models[name]
        pictures = model.codec.kind == "image"
        examples = [each.example for each in OPERATORS.values() if not each.example.startswith("inpaint")]
        with gr.Row():
            with gr.Column(scale=1, min_width=260):
                item = (
                    _painted(path, studio.say)
                    if pictures
                    else face_of(model.codec.kind).entry(studio.say("item"), path)
                )
                first = ["inpaint"] if pictures else []
                operator = gr.Dropdown(
                    [*first, *examples],
                    value=[*first, *examples][0],
                    allow_custom_value=True,
                    label=studio.say("operator"),
                    elem_id="operator",
                )
                noise = gr.Textbox("", label=studio.say("noise"))
                draws = gr.Slider(1, 16, 4, step=1, label=studio.say("draws"))
                conditions = _conditions(model)
                go = gr.Button(studio.say("restore_it"), variant="primary", elem_id="restore-it")
            with gr.Column(scale=2, min_width=260):
                shown = _shown(model, studio.say)

        def restored(value: Any, how: str, deviation: str, n: int, *values: Any, bar: gr.Progress = _BAR) -> Any:
            files = told(
                lambda: _with_mask(model, value, kept=True) if pictures else {"file": upload(model.codec.kind, value)}
            )
            if how.partition(":")[0] != "inpaint":
                files.pop("mask", None)
            options = {"operator": how, "draws": int(n), "condition": _said(model, values)}
            options |= {"noise": _number(deviation)}
            return _results(studio, model, done(studio.engine, name, "restore", options, files, bar))

        go.click(restored, [item, operator, noise, draws, *conditions], shown)


def change(studio: Studio) -> None:
    """An item edited, translated, or its holes filled: whatever the model was trained for."""

    @gr.render(inputs=[studio.chosen, studio.sent])
    def controls(name: str, path: str | None) -> None:
        model = studio.engine.models[name]
        pairs = any(codec.reads for codec in model.conditions.values())
        verbs = ["translate"] if pairs else ["fill"] if model.infills else ["edit"]
        pictures = model.codec.kind == "image" and verbs == ["edit"]
        with gr.Row():
            with gr.Column(scale=1, min_width=260):
                kind = next((codec.reads for codec in model.conditions.values() if codec.reads), model.codec.kind)
                item = _painted(path, studio.say) if pictures else face_of(kind).entry(studio.say("item"), path)
                conditions = [] if pairs else _conditions(model)
                strength = gr.Slider(0.01, 1, 0.5, step=0.01, label=studio.say("strength"), visible=verbs == ["edit"])
                holes = gr.Textbox("", label=studio.say("holes"), visible=verbs == ["fill"])
                draws = gr.Slider(1, 16, 1, step=1, label=studio.say("draws"))
                go = gr.Button(studio.say(f"{verbs[0]}_it"), variant="primary", elem_id="change-it")
            with gr.Column(scale=2, min_width=260):
                shown = _shown(model, studio.say)

        def changed(value: Any, much: float, where: str, n: int, *values: Any, bar: gr.Progress = _BAR) -> Any:
            files = told(lambda: _with_mask(model, value, kept=False) if pictures else {"file": upload(kind, value)})
            if pairs:
                result = done(studio.engine, name, "translate", {"draws": int(n) if n > 1 else None}, files, bar)
            elif model.infills:
                options = {"holes": where.split(), "draws": int(n), "condition": _said(model, values)}
                result = done(studio.engine, name, "infill", options, files, bar)
            else:
                options = {"strength": much, "draws": int(n), "condition": _said(model, values)}
                result = done(studio.engine, name, "edit", options, files, bar)
            return _results(studio, model, result)

        go.click(changed, [item, strength, holes, draws, *conditions], shown)


def score(studio: Studio) -> None:
    """How likely items are, and what they are."""

    @gr.render(inputs=studio.chosen)
    def controls(name: str) -> None:
        import pandas as pd

        model = studio.engine.models[name]
        item = face_of(model.codec.kind).entry(studio.say("item"), None)
        with gr.Row():
            likely = gr.Button(studio.say("score_it"), elem_id="score-it")
            what = gr.Button(studio.say("classify_it"), elem_id="classify-it", visible=_classifies(model))
        found = gr.Dataframe(label=studio.say("result"), interactive=False, elem_id="found")

        def asked(verb: str) -> Callable[..., Any]:
            def answered(value: Any, bar: gr.Progress = _BAR) -> Any:
                files = told(lambda: {"file": upload(model.codec.kind, value)})
                result = done(studio.engine, name, verb, {}, files, bar)
                return pd.DataFrame(json.loads(result.data)).round(4)

            return answered

        likely.click(asked("score"), item, found)
        what.click(asked("classify"), item, found)


def models(studio: Studio) -> None:
    """The card of the model."""

    @gr.render(inputs=studio.chosen)
    def card(name: str) -> None:
        gr.Markdown(studio.engine.models[name].card().partition("\n---\n")[2], elem_id="card")


def _conditions(model: Model) -> list[Any]:
    """A component for each condition that can be said in words."""
    made: list[Any] = []
    for name, codec in model.conditions.items():
        if codec.reads is None:
            known = codec.candidates()
            made.append(
                gr.Dropdown([("–", ""), *known], value="", label=f"{name}:", elem_id=f"condition-{name}")
                if known
                else gr.Textbox("", label=f"{name}:", elem_id=f"condition-{name}")
            )
    return made


def _said(model: Model, values: Sequence[Any]) -> dict[str, Any] | None:
    names = [name for name, codec in model.conditions.items() if codec.reads is None]
    found = {name: value for name, value in zip(names, values, strict=True) if value not in ("", None)}
    return found or None


def _classifies(model: Model) -> bool:
    return model.codec.question is not None or any(codec.candidates() for codec in model.conditions.values())


def _shown(model: Model, say: Callable[[str], Any]) -> list[Any]:
    """The result, what it looks like, and its files."""
    panel = face_of(model.codec.kind).panel(say("result"))
    own = model.codec.kind in _PICTURES
    return [
        panel,
        gr.Image(label=say("preview"), visible=not own, interactive=False),
        gr.File(label=say("files"), file_count="multiple", interactive=False),
    ]


def _results(studio: Studio, model: Model, result: Result) -> list[Any]:
    paths = unpacked(result)
    items = [path for path in paths if path.name not in ("sheet.png", "side-by-side.png", "restored.json")]
    shown = face_of(model.codec.kind).shown(items)
    return [shown, glance(model, items, studio.engine.limits), [*map(str, items)]]


def _painted(path: str | None, say: Callable[[str], Any]) -> Any:
    """A picture that can be painted over."""
    return gr.ImageEditor(
        None if path is None else _enlarged(Image.open(path)),
        label=say("painted"),
        type="pil",
        format="png",
        brush=gr.Brush(colors=["#ff2d78"], default_size=24, color_mode="fixed"),
        transforms=[],
        layers=False,
        image_mode="RGBA",
        sources=["upload", "clipboard"],
        interactive=True,
        elem_id="item",
    )


def _enlarged(image: Image.Image) -> Image.Image:
    """Large enough to be painted on, pixel by pixel."""
    factor = -(-_LARGE // max(image.size))
    return image.resize((factor * image.width, factor * image.height), Image.Resampling.NEAREST)


def _reduced(image: Image.Image, model: Model) -> Image.Image:
    """What :func:`_enlarged` made large, as it was."""
    assert isinstance(model.codec.shape, tuple)
    height, width = model.codec.shape[-2:]
    factor = image.width // width
    if factor < 2 or (factor * width, factor * height) != image.size:
        return image
    small = image.resize((width, height), Image.Resampling.NEAREST)
    return small if np.array_equal(np.asarray(_enlarged(small)), np.asarray(image)) else image


def _with_mask(model: Model, value: Any, kept: bool) -> dict[str, tuple[str, bytes]]:
    """The picture and, where something was painted, the mask of it: white what is kept, or else what may change."""
    if not value or value["background"] is None:
        return {"file": upload("image", None)}
    picture = _reduced(value["background"], model)
    files = {"file": (".png", _png(picture))}
    layers = [np.asarray(layer.convert("RGBA"))[..., 3] > 0 for layer in value["layers"]]
    painted = np.any(layers, axis=0) if layers else np.zeros(1, bool)
    if painted.any():
        mask = Image.fromarray(np.where(painted == kept, 0, 255).astype(np.uint8))
        files["mask"] = (".png", _png(mask.resize(picture.size, Image.Resampling.NEAREST)))
    return files


def _png(image: Any) -> bytes:
    stream = io.BytesIO()
    image.save(stream, "PNG")
    return stream.getvalue()


def _number(text: str) -> float | None:
    text = text.strip()
    if not text:
        return None
    try:
        return float(text)
    except ValueError as error:
        raise gr.Error(f"{text!r} is no number") from error
