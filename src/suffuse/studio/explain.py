"""The tab that shows how a model works: its walk, its density, its errors, and what belongs together."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr

from suffuse.explaining import attends, curve, has_plane
from suffuse.model import Model
from suffuse.serving.explanations import TIMES
from suffuse.studio.faces import entry, unpacked, upload
from suffuse.studio.shared import BAR, Studio, conditions_of, for_each_model, picture, said
from suffuse.studio.work import done, told
from suffuse.training.evaluate import Level


@dataclass(frozen=True)
class _Film:
    """Frames that a slider goes through.

    Args:
        times: of each frame.
        frames: paths of each, by what they show.
    """

    times: list[float]
    frames: dict[str, list[str]]

    def at(self, place: int, name: str) -> str | None:
        """The path of a frame, the last one where there are fewer; None where there is none of this name."""
        found = self.frames.get(name)
        return found[min(int(place), len(found) - 1)] if found else None


def explain(studio: Studio) -> None:
    """How the model works, to look at."""

    @for_each_model(studio)
    def controls(name: str, model: Model) -> None:
        _walk(studio, name, model)
        with gr.Column(visible=has_plane(model)):
            _densities(studio, name, model)
        _errors(studio, name, model)


def _walk(studio: Studio, name: str, model: Model) -> None:
    """The walk from noise, with a slider through it."""
    gr.Markdown(studio.say("walk_told"))
    with gr.Row():
        with gr.Column(scale=1, min_width=260):
            conditions = conditions_of(model, "explain")
            number = gr.Slider(1, 16, 4, step=1, label=studio.say("how_many"))
            seed = gr.Number(0, minimum=0, precision=0, label=studio.say("seed"))
            go = gr.Button(studio.say("walk_it"), variant="primary", elem_id="walk-it")
        with gr.Column(scale=2, min_width=260):
            slider = _slider(studio, "moment")
            with gr.Row():
                noisy = picture("noisy")
                guess = picture("guess")
            words = gr.Textbox(show_label=False, visible=False, interactive=False, lines=8, elem_id="guess-words")

    def frames(film: _Film | None, place: int) -> list[Any]:
        if film is None:
            return [gr.skip()] * 4
        before, after = film.at(place, "noisy"), film.at(place, "guess")
        text = Path(after).read_text(encoding="utf-8") if after and after.endswith(".txt") else None
        return [
            gr.Slider(info=f"t = {film.times[int(place)]:.3f}"),
            gr.Image(before, visible=before is not None),
            gr.Image(after if text is None else None, visible=text is None),
            gr.Textbox(text, visible=text is not None),
        ]

    def shown(n: int, first: int, *values: Any, bar: gr.Progress = BAR) -> list[Any]:
        options = {"n": int(n), "seed": int(first), "condition": said(model, values)}
        return _filmed(done(studio.engine, name, "walk", options, {}, bar), frames)

    film = gr.State(None)
    go.click(shown, [number, seed, *conditions], [film, slider, noisy, guess, words], show_progress_on=words)
    slider.change(frames, [film, slider], [slider, noisy, guess, words], show_progress="hidden")


def _densities(studio: Studio, name: str, model: Model) -> None:
    """Contours of the density, with a slider through the time."""
    gr.Markdown(studio.say("density_told"))
    with gr.Row():
        with gr.Column(scale=1, min_width=260):
            conditions = conditions_of(model, "density")
            go = gr.Button(studio.say("density_it"), variant="primary", elem_id="density-it")
        with gr.Column(scale=2, min_width=260):
            slider = _slider(studio, "density-moment")
            seen = picture("density")

    def frames(film: _Film | None, place: int) -> list[Any]:
        if film is None:
            return [gr.skip()] * 2
        return [gr.Slider(info=f"t = {film.times[int(place)]:.3f}"), gr.Image(film.at(place, "density"), visible=True)]

    def shown(*values: Any, bar: gr.Progress = BAR) -> list[Any]:
        return _filmed(done(studio.engine, name, "densities", {"condition": said(model, values)}, {}, bar), frames)

    film = gr.State(None)
    go.click(shown, conditions, [film, slider, seen], show_progress_on=seen)
    slider.change(frames, [film, slider], [slider, seen], show_progress="hidden")


def _slider(studio: Studio, id: str) -> Any:
    """Through the frames of a film: it begins at its end, the data."""
    return gr.Slider(0, 1, 0, step=1, label=studio.say("moment"), visible=False, elem_id=id)


def _filmed(result: Any, frames: Callable[[_Film | None, int], list[Any]]) -> list[Any]:
    """The film of a result, its slider, and its last frame."""
    paths = unpacked(result)
    found: dict[str, list[str]] = {}
    for path in paths:
        if path.name != TIMES:
            found.setdefault(path.stem.partition("-")[2], []).append(str(path))
    times = json.loads(next(path for path in paths if path.name == TIMES).read_text(encoding="utf-8"))
    film, last = _Film(times, found), len(times) - 1
    slider = gr.Slider(maximum=max(1, last), value=last, visible=last > 0, info=f"t = {times[last]:.3f}")
    return [film, slider, *frames(film, last)[1:]]


def _errors(studio: Studio, name: str, model: Model) -> None:
    """The error at each level of noise, and what belongs together in a picture."""
    gr.Markdown(studio.say("errors_told"))
    pictures = model.codec.kind == "image"
    with gr.Row():
        with gr.Column(scale=1, min_width=260):
            item = entry(model.codec.kind, studio.say("item"), None, "explain-item")
            errors = gr.Button(studio.say("errors_it"), variant="primary", elem_id="errors-it")
            top = gr.Slider(0, 1, 0.5, step=0.01, label=studio.say("top"), visible=pictures)
            left = gr.Slider(0, 1, 0.5, step=0.01, label=studio.say("left"), visible=pictures)
            heat = gr.Button(studio.say("heat_it"), visible=pictures, elem_id="heat-it")
            look = gr.Button(studio.say("attention_it"), visible=pictures and attends(model), elem_id="attention-it")
        with gr.Column(scale=2, min_width=260):
            seen = picture("explained", visible=True)

    def erring(value: Any, bar: gr.Progress = BAR) -> Any:
        files = told(lambda: {"file": upload(model.codec.kind, value)})
        levels = json.loads(done(studio.engine, name, "errors", {}, files, bar).data)
        return curve([Level(**each) for each in levels], model.origin.images)

    def heated(value: Any, high: float, wide: float, bar: gr.Progress = BAR) -> Any:
        return mapped("gradient", value, (high, wide), bar)

    def attended(value: Any, high: float, wide: float, bar: gr.Progress = BAR) -> Any:
        return mapped("attention", value, (high, wide), bar)

    def mapped(by: str, value: Any, place: tuple[float, float], bar: gr.Progress) -> str:
        files = told(lambda: {"file": upload(model.codec.kind, value)})
        return str(unpacked(done(studio.engine, name, "belonging", {"place": place, "by": by}, files, bar))[0])

    errors.click(erring, item, seen)
    heat.click(heated, [item, top, left], seen)
    look.click(attended, [item, top, left], seen)
