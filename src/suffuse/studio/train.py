"""The tab that trains: data is chosen and looked at, a process is started, watched, stopped and gone on with."""

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_args

import gradio as gr

from suffuse.data.sources import open_source
from suffuse.errors import UserError
from suffuse.outputs import writing
from suffuse.recipes.recipe import KindName
from suffuse.studio.runs import Trainings, gathered
from suffuse.studio.shared import Studio, picture
from suffuse.studio.work import told
from suffuse.training.log import draw_curves, read_metrics, short

_EVERY = 2.0
"""Seconds between looks at a training."""


def train(studio: Studio) -> None:
    """A model of the user's own data."""
    trainings, say = studio.trainings, studio.say
    with gr.Row():
        with gr.Column(scale=1, min_width=260):
            place = gr.Dropdown(
                trainings.listing(), value=None, label=say("data_folder"), elem_id="data-folder",
                allow_custom_value=True, visible=trainings.data is not None,
            )  # fmt: skip
            uploads = gr.File(label=say("data_upload"), file_count="multiple", type="filepath", elem_id="data-upload")
            kind = gr.Dropdown([("–", ""), *get_args(KindName)], value="", label=say("kind"), elem_id="data-kind")
            look = gr.Button(say("look"), elem_id="look")
            fields = gr.Dropdown([], value=[], multiselect=True, label=say("told"), elem_id="fields")
            name = gr.Textbox("", label=say("run_name"), elem_id="run-name")
            minutes = gr.Number(30, minimum=0.05, label=say("minutes"), elem_id="minutes")
            go = gr.Button(say("train_it"), variant="primary", elem_id="train-it")
        with gr.Column(scale=2, min_width=260):
            report = gr.Textbox(label=say("report"), lines=6, interactive=False, elem_id="report")
            run = gr.Dropdown(trainings.names, value=None, label=say("runs"), elem_id="run", allow_custom_value=False)
            with gr.Row():
                stop = gr.Button(say("stop"), elem_id="stop", min_width=100)
                more = gr.Button(say("go_on"), elem_id="go-on", min_width=100)
                use = gr.Button(say("use"), variant="primary", elem_id="use", min_width=100)
            state = gr.Markdown(elem_id="state")
            curves = picture("curves")
            samples = picture("samples")
            words = gr.Textbox(label=say("samples"), interactive=False, visible=False, lines=8, elem_id="sample-words")
            log = gr.Textbox(label=say("log"), lines=5, max_lines=5, interactive=False, elem_id="log")
    timer = gr.Timer(_EVERY, active=False)
    watched = [state, curves, samples, words, log, timer]

    def started(
        where: str | None, files: Sequence[str] | None, what: str, of: list[str], called: str, long: float
    ) -> Any:
        """Begin, and watch."""
        told(lambda: _start(trainings, where, files, what, of, called.strip(), long))
        return gr.Dropdown(trainings.names, value=called.strip())

    def opened(called: str | None) -> Any:
        """The model of a run, in the other tabs."""
        told(lambda: studio.engine.add(str(called), trainings.run(called or "")))
        return gr.Dropdown([*studio.engine.models], value=called), gr.Tabs(selected="create")

    look.click(lambda *chosen: told(lambda: _looked(trainings, *chosen)), [place, uploads, kind], [report, fields])
    go.click(started, [place, uploads, kind, fields, name, minutes], run)
    stop.click(lambda called: told(lambda: trainings.stop(called or "")), run, None)

    def gone_on(called: str | None, long: float) -> Any:
        """Begin anew, and watch."""
        told(lambda: trainings.go_on(called or "", long))
        return gr.Timer(active=True)

    more.click(gone_on, [run, minutes], timer)
    use.click(opened, run, [studio.chosen, studio.tabs])
    gr.on(
        [timer.tick, run.change],
        lambda called: told(lambda: _watched(trainings, called)) if called else [gr.skip()] * len(watched),
        run,
        watched,
        show_progress="hidden",
    )


def _chosen(trainings: Trainings, where: str | None) -> Path:
    """What was chosen below the folder of data.

    Raises:
        UserError: nothing was, or it is not there.
    """
    if not where:
        raise UserError("choose what to train on, or upload it")
    return trainings.source(where)


def _looked(trainings: Trainings, where: str | None, files: Sequence[str] | None, kind: str) -> list[Any]:
    """What is in a source, and the fields of it that a model can be told."""
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) if files else _chosen(trainings, where)
        try:
            if files:
                with writing(source):
                    source = gathered([Path(each) for each in files], source)
            opened = open_source(source, kind=kind or None)
            report = opened.scan()
        except UserError as error:
            raise UserError(_named(str(error), source, trainings)) from error
        return [_named(report.summary(), source, trainings), gr.Dropdown([*opened.fields], value=[])]


def _named(text: str, source: Path, trainings: Trainings) -> str:
    """A text that does not say where the server keeps things."""
    for root in (trainings.data, trainings.runs, source.parent, Path(tempfile.gettempdir())):
        text = text if root is None else text.replace(f"{root}/", "")
    return text


def _start(
    trainings: Trainings,
    where: str | None,
    files: Sequence[str] | None,
    kind: str,
    fields: Sequence[str],
    name: str,
    minutes: float,
) -> None:
    if not name:
        raise UserError("give the model a name")
    source = trainings.kept(name, [Path(each) for each in files]) if files else _chosen(trainings, where)
    known = open_source(source, kind=kind or None).fields
    strange = [field for field in fields if field not in known or field.startswith("-")]
    if strange:
        raise UserError(f"the data has no field {strange[0]}")
    options = ["--kind", kind] if kind else []
    trainings.start(name, source, minutes, [*options, *(["--condition", *fields] if fields else [])])


def _watched(trainings: Trainings, name: str) -> list[Any]:
    """How a training stands: in words, as curves, and in samples."""
    now, run = trainings.standing(name), trainings.run(name)
    loss = "–" if now.loss is None else f"{now.loss:.4f}"
    mark = "▶" if now.running else "■"
    text = f"{mark} **{name}** · {short(now.seconds)} / {short(now.minutes * 60)} · {now.images:,} · loss {loss}"
    picture, written = run / "samples.png", run / "samples.txt"
    shown = written.read_text(encoding="utf-8") if written.exists() else None
    return [
        text,
        _curves(run),
        gr.Image(_copy(picture), visible=picture.exists()),
        gr.Textbox(shown, visible=shown is not None),
        _named(now.said, run, trainings),
        gr.Timer(active=now.running),
    ]


def _curves(run: Path) -> Any:
    """Loss over time and by level of noise, as of now."""
    lines = read_metrics(run)
    if not any(line["event"] == "train" for line in lines):
        return gr.Image(None, visible=False)
    with tempfile.TemporaryDirectory() as folder:
        draw_curves(lines, Path(folder) / "loss.png")
        return gr.Image(_copy(Path(folder) / "loss.png"), visible=True)


def _copy(path: Path) -> Any:
    """A picture as it is now: the file is written anew while it is looked at."""
    from PIL import Image

    return Image.open(path).copy() if path.exists() else None
