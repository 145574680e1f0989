"""The page itself: a model is chosen, and a tab for each thing that can be done with it."""

from collections.abc import Callable, Mapping

import gradio as gr
from fastapi import FastAPI
from gradio.themes import Soft

from suffuse.serving.engine import Engine
from suffuse.studio.tabs import Studio, change, create, models, restore, score
from suffuse.studio.words import WORDS

_SAY = gr.I18n(**{name: dict(words) for name, words in WORDS.items()})
_THEME = Soft(font=["system-ui", "sans-serif"], font_mono=["ui-monospace", "monospace"])
"""Without fonts from elsewhere: the page asks no other server for anything."""
_CSS = """.gradio-container {max-width: 1100px !important; width: 100% !important; margin: auto}
@media (max-width: 640px) {.gradio-container, .gradio-container .fillable {padding: 4px !important}}
footer {display: none !important}"""
_PATH = "/studio"
_KEPT = 3600
"""Seconds that files of the page are kept."""

_TABS: Mapping[str, Callable[[Studio], None]] = {
    "create": create,
    "restore": restore,
    "change": change,
    "score": score,
    "models": models,
}


def mount(app: FastAPI) -> str:
    """Put the page on a server; gives its path.

    Args:
        app: the server, whose jobs the page does its work by.
    """
    engine: Engine = app.state.engine
    gr.mount_gradio_app(
        app,
        page(engine),
        path=_PATH,
        i18n=_SAY,
        theme=_THEME,
        css=_CSS,
        footer_links=[],
        show_error=False,
        max_file_size=engine.limits.upload,
        ssr_mode=False,
        pwa=False,
    )
    return _PATH


def page(engine: Engine) -> gr.Blocks:
    """The page of some models."""
    with gr.Blocks(title="Suffuse", analytics_enabled=False, delete_cache=(_KEPT, _KEPT)) as made:
        names = [*engine.models]
        chosen = gr.Dropdown(names, value=names[0], label=_SAY("model"), elem_id="model")
        sent = gr.State(None)
        with gr.Tabs() as tabs:
            studio = Studio(engine, chosen, sent, tabs, _SAY)
            for name, tab in _TABS.items():
                with gr.Tab(_SAY(name), id=name, elem_id=f"tab-{name}"):
                    tab(studio)
    return made
