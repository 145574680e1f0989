"""The page itself: a model is chosen, and a tab for each thing that can be done with it."""

from collections.abc import Callable, Mapping
from typing import Any

import gradio as gr
from fastapi import FastAPI, Response
from gradio.themes import Soft
from starlette.middleware.trustedhost import TrustedHostMiddleware

from suffuse.serving.engine import Engine
from suffuse.studio.explain import explain
from suffuse.studio.runs import Trainings
from suffuse.studio.shared import Studio
from suffuse.studio.tabs import change, create, models, restore, score
from suffuse.studio.train import train
from suffuse.studio.words import WORDS

_SAY = gr.I18n(**{name: dict(words) for name, words in WORDS.items()})
_THEME = Soft(
    primary_hue="indigo",
    radius_size="sm",
    font=["system-ui", "Noto Sans CJK SC", "sans-serif"],
    font_mono=["ui-monospace", "monospace"],
).set(
    block_title_background_fill="none",
    block_title_padding="0",
    block_title_text_color="*body_text_color",
    block_title_text_weight="500",
    block_label_background_fill="none",
    block_label_shadow="none",
    block_label_border_width="0",
    block_border_width="1px",
    block_border_color="*neutral_200",
    input_border_color="*neutral_300",
    input_border_width="1px",
    block_label_text_color="*body_text_color_subdued",
    button_primary_background_fill="*primary_600",
    button_primary_background_fill_hover="*primary_700",
)
"""Without fonts from elsewhere: the page asks no other server for anything."""
_CSS = """.gradio-container {max-width: 1100px !important; width: 100% !important; margin: auto}
@media (max-width: 640px) {.gradio-container, .gradio-container .fillable {padding: 4px !important}}
footer {display: none !important}
.whole img {object-fit: contain}"""
_PATH = "/studio"
_KEPT = 3600
"""Seconds that files of the page are kept."""
_HOSTS = ["127.0.0.1", "localhost"]
"""What the page may be called: a name of somebody else's that leads to this machine is none of them."""

_TABS: Mapping[str, Callable[[Studio], None]] = {
    "create": create,
    "restore": restore,
    "change": change,
    "score": score,
    "train": train,
    "explain": explain,
    "models": models,
}


def mount(app: FastAPI, trainings: Trainings) -> str:
    """Put the page on a server; gives its path.

    Args:
        app: the server, whose jobs the page does its work by.
        trainings: that the page starts.
    """
    engine: Engine = app.state.engine
    app.add_middleware(TrustedHostMiddleware, allowed_hosts=_HOSTS)
    app.add_api_route("/favicon.ico", _no_icon, include_in_schema=False)
    gr.mount_gradio_app(
        app,
        page(engine, trainings),
        path=_PATH,
        i18n=_SAY,
        theme=_THEME,
        css=_CSS,
        footer_links=[],
        show_error=False,
        max_file_size=engine.limits.upload,
        allowed_paths=[],
        ssr_mode=False,
        pwa=False,
    )
    return _PATH


def _no_icon() -> Response:
    """What browsers look for at the root of every server."""
    return Response(status_code=204)


def page(engine: Engine, trainings: Trainings) -> gr.Blocks:
    """The page of some models."""
    with gr.Blocks(title="Suffuse", analytics_enabled=False, delete_cache=(_KEPT, _KEPT)) as made:
        names = [*engine.models]
        chosen = gr.Dropdown(names, value=names[0] if names else None, label=_SAY("model"), elem_id="model")
        sent = gr.State(None)
        with gr.Tabs() as tabs:
            studio = Studio(engine, trainings, chosen, sent, tabs, _SAY)
            for name, tab in _TABS.items():
                with gr.Tab(_SAY(name), id=name, elem_id=f"tab-{name}"):
                    tab(studio)

        def known(now: str | None) -> Any:
            """Models that were opened since the server was started."""
            found = [*engine.models]
            if found == names:
                return gr.skip()  # else all tabs would be made a second time
            return gr.Dropdown(found, value=now if now in found else next(iter(found), None))

        made.load(known, chosen, chosen)
    return made
