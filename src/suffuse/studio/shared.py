"""What all tabs share: the server's engine, the model that was chosen, and how a result is shown."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr
from PIL import Image

from suffuse.model import Model
from suffuse.serving.engine import Engine
from suffuse.serving.store import Result
from suffuse.studio.faces import face_of, glance, panel, unpacked
from suffuse.studio.runs import Trainings
from suffuse.studio.work import following

BAR = gr.Progress()
"""Gradio puts that of the event in its place."""
PICTURES = ("image", "segments", "pairs")
"""Kinds whose items are pictures, so that there is nothing else to see at a glance."""
_SHEETS = ("sheet.png", "side-by-side.png", "side-by-side.txt", "strips.png", "sounds.png", "roll.png", "restored.json")


@dataclass(frozen=True)
class Studio:
    """What all tabs share.

    Args:
        engine: that does the work.
        trainings: processes that train.
        chosen: the component that says which model.
        sent: path of a picture that one tab sends to others.
        tabs: the row of tabs.
        say: the words of a key, in the language of whoever looks.
    """

    engine: Engine
    trainings: Trainings
    chosen: Any
    sent: Any
    tabs: Any
    say: Callable[[str], Any]

    def model(self, name: str | None) -> Model | None:
        """The model of a name; the page says what it is, or where there is none what to do."""
        found = self.engine.models.get(name or "")
        if found is None:
            gr.Markdown(self.say("no_model"))
        else:
            gr.Markdown(f"{name} · {found.codec.kind} · {Path(found.origin.data).name}")
        return found


def for_each_model(studio: Studio, *inputs: Any) -> Callable[[Callable[..., None]], Any]:
    """Make controls anew whenever another model is chosen, by a function of its name, the model and these inputs.

    One tab after the other: Gradio keeps the controls of all in one table.
    """

    def decorated(make: Callable[..., None]) -> Any:
        def controls(name: str | None, *values: Any) -> None:
            model = studio.model(name)
            if model is not None:
                make(name, model, *values)

        seen = [studio.chosen, *inputs]
        return gr.render(inputs=seen, trigger_mode="multiple", concurrency_limit=1, concurrency_id="controls")(controls)

    return decorated


def conditions_of(model: Model, tab: str) -> list[Any]:
    """A component for each condition that can be said in words."""
    made: list[Any] = []
    with gr.Column(min_width=160):
        for name, codec in model.conditions.items():
            if codec.reads is None:
                known, id = codec.candidates(), f"{tab}-condition-{name}"
                made.append(
                    gr.Dropdown([("–", ""), *known], value="", label=name, elem_id=id)
                    if known
                    else gr.Textbox("", label=name, elem_id=id)
                )
    return made


def said(model: Model, values: Sequence[Any]) -> dict[str, Any] | None:
    """What those components say."""
    names = [name for name, codec in model.conditions.items() if codec.reads is None]
    found = {name: value for name, value in zip(names, values, strict=True) if value not in ("", None)}
    return found or None


def results_of(model: Model, say: Callable[[str], Any]) -> list[Any]:
    """The result, what it looks like as a picture or as text, and its files."""
    return [
        panel(model.codec.kind, say("result")),
        picture("preview"),
        gr.Textbox(label=say("preview"), visible=False, interactive=False, lines=6),
        gr.File(label=say("files"), file_count="multiple", interactive=False),
    ]


def picture(id: str, visible: bool = False) -> Any:
    """A picture to look at, without a label, which would lie over it."""
    return gr.Image(
        show_label=False,
        visible=visible,
        interactive=False,
        buttons=["download", "fullscreen"],
        elem_id=id,
        elem_classes="whole",
    )


def shown_while(
    studio: Studio,
    model: Model,
    name: str,
    verb: str,
    options: dict[str, Any],
    files: dict[str, tuple[str, bytes]],
    bar: Callable[..., Any],
    count: int = 4,
) -> Iterator[list[Any]]:
    """What a job shows while it runs, and in the end its result: values of :func:`results_of`."""
    for step in following(studio.engine, name, verb, options, files, bar, count):
        if isinstance(step, Result):
            yield _result(studio, model, step)
        else:
            yield [gr.skip(), *_seen(step), gr.skip()]


def _result(studio: Studio, model: Model, result: Result) -> list[Any]:
    paths = unpacked(result)
    items = [path for path in paths if path.name not in _SHEETS]
    shown = face_of(model.codec.kind).shown(items)
    return [shown, *_seen(glance(model, items, studio.engine.limits)), [*map(str, items)]]


def _seen(look: Image.Image | str | None) -> list[Any]:
    """Values of the two components that show something at a glance, one of which is to be seen."""
    drawn, text = isinstance(look, Image.Image), isinstance(look, str)
    return [
        gr.Image(look if drawn else None, visible=drawn),
        gr.Textbox(str(look) if text else "", visible=text),
    ]


def first_of(paths: Sequence[Any] | None) -> Path | None:
    """The first of the files of a result."""
    return Path(str(paths[0])) if paths else None
