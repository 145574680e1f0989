"""How each kind of data goes into the page and comes out of it."""

import io
import tempfile
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import gradio as gr
from PIL import Image

from suffuse.errors import UserError
from suffuse.model import Model
from suffuse.outputs import output_of
from suffuse.serving.limits import Limits
from suffuse.serving.payloads import FORMS, read
from suffuse.serving.store import Result
from suffuse.studio.traces import traces

_ROWS, _SEEN = 200, 192
"""Rows of a table that are shown, and pixels of the longer side of a picture, at least."""
_HIGH, _LOW = 320, 220
"""Pixels of a video player, and of a picture that was uploaded."""


@dataclass(frozen=True)
class Face:
    """The components of a kind.

    Args:
        entry: makes the component that takes an item, whose value is a path or a text, under an id.
        panel: makes the component that shows what was drawn.
        shown: the value of that, of the paths that were drawn.
    """

    entry: Callable[[str, Any, str], Any]
    panel: Callable[[str], Any]
    shown: Callable[[list[Path]], Any]


def _table(path: Path) -> Any:
    import pandas as pd

    readers = {".csv": pd.read_csv, ".tsv": lambda path: pd.read_csv(path, sep="\t")}
    return readers.get(path.suffix, lambda path: pd.read_json(path, lines=True))(path)


def _file(label: str, value: Any, id: str) -> Any:
    return gr.File(value, label=label, type="filepath", interactive=True, elem_id=id)


_FILES = Face(
    _file,
    lambda label: gr.State(None),  # its files, and what it looks like, are beside it
    lambda paths: None,
)
_WORDS = Face(
    lambda label, value, id: gr.Textbox(value, label=label, lines=5, interactive=True, elem_id=id),
    lambda label: gr.Textbox(label=label, lines=8, buttons=["copy"], interactive=False),
    lambda paths: paths[0].read_text(encoding="utf-8"),
)
_TABLES = Face(
    _file, lambda label: gr.Dataframe(label=label, interactive=False), lambda paths: _table(paths[0]).head(_ROWS)
)
_PLOTS = Face(
    _file, lambda label: gr.Plot(label=label, show_label=False, elem_id="plot"), lambda paths: traces(_table(paths[0]))
)
_PICTURES = Face(
    lambda label, value, id: gr.Image(
        value,
        label=label,
        type="filepath",
        height=_LOW,
        sources=["upload", "clipboard"],
        interactive=True,
        elem_id=id,
    ),
    lambda label: gr.Gallery(
        label=label,
        show_label=False,
        columns=4,
        object_fit="contain",
        height="auto",
        interactive=False,
        buttons=["download", "fullscreen"],
    ),
    lambda paths: [(enlarged(Image.open(path), _SEEN), path.stem) for path in paths],
)
_SOUNDS = Face(
    lambda label, value, id: gr.Audio(value, label=label, type="filepath", interactive=True, elem_id=id),
    lambda label: gr.Audio(label=label, interactive=False, buttons=["download"]),
    lambda paths: str(paths[0]),
)
_CLIPS = Face(
    lambda label, value, id: gr.Video(value, label=label, height=_HIGH, interactive=True, elem_id=id),
    lambda label: gr.Video(
        label=label, show_label=False, height=_HIGH, loop=True, interactive=False, buttons=["download"]
    ),
    lambda paths: str(paths[0]),
)
_ALL = (_PICTURES, _WORDS, _TABLES, _PLOTS, _SOUNDS, _CLIPS, _FILES)
_FACES: Mapping[str, Face] = MappingProxyType(
    {
        "image": _PICTURES,
        "pairs": _PICTURES,
        "segments": _PICTURES,
        "audio": _SOUNDS,
        "video": _CLIPS,
        "text": _WORDS,
        "sequence": _WORDS,
        "table": _TABLES,
        "series": _PLOTS,
    }
)


def face_of(kind: str) -> Face:
    """The components of a kind; of one that has none of its own, files."""
    return _FACES.get(kind, _FILES)


def entry(kind: str, label: str, value: Any, id: str) -> Any:
    """The component that takes an item of a kind."""
    return _one(kind, lambda face, own: face.entry(label, value if own else None, id if own else f"no-{id}"))


def panel(kind: str, label: str) -> Any:
    """The component that shows what was drawn of a kind."""
    return _one(kind, lambda face, own: face.panel(label))


def _one(kind: str, make: Callable[[Face, bool], Any]) -> Any:
    """The component of a kind, beside those of all others, which are hidden.

    Where another model is chosen a browser gives what is new in a place to what was there before: a place must be of
    one type for ever.
    """
    own = face_of(kind)
    found: Any = None
    for face in _ALL:
        with gr.Column(visible=face is own, min_width=160):
            made = make(face, face is own)
        found = made if face is own else found
    return found


def upload(kind: str, value: Any) -> tuple[str, bytes]:
    """What was put into an entry, as a file that is sent: its suffix and its content.

    Raises:
        UserError: nothing was.
    """
    if not value:
        raise UserError("give an item first")
    if kind in ("text", "sequence"):
        return ".txt", str(value).encode()
    path = Path(str(value))
    return path.suffix.lower(), path.read_bytes()


def enlarged(image: Image.Image, least: int) -> Image.Image:
    """So large, pixel by pixel: what stretches a small picture smooths it."""
    factor = -(-least // max(image.size))
    return image.resize((factor * image.width, factor * image.height), Image.Resampling.NEAREST)


def unpacked(result: Result) -> list[Path]:
    """The files of a result, in a folder that Gradio serves from and clears."""
    folder = Path(tempfile.mkdtemp(prefix="suffuse-studio-"))
    if not result.name.endswith(".zip"):
        (folder / result.name).write_bytes(result.data)
        return [folder / result.name]
    with zipfile.ZipFile(io.BytesIO(result.data)) as archive:
        for name in archive.namelist():
            (folder / Path(name).name).write_bytes(archive.read(name))
    return sorted(folder.iterdir())


def glance(model: Model, paths: list[Path], limits: Limits) -> Any:
    """A picture of what was drawn, for kinds whose own components are none; None where there is none."""
    kind = model.codec.kind
    files = [path for path in paths if path.suffix in FORMS.get(kind, ())]
    if kind in ("image", "series") or not files:
        return None
    items = [item for path in files[:8] for item in read(model, kind, (path.suffix, path.read_bytes()), limits)]
    shown = output_of(kind).show(model.codec.collect(items))
    return None if isinstance(shown, str) else shown
