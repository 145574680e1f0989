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

from suffuse.errors import UserError
from suffuse.model import Model
from suffuse.outputs import output_of
from suffuse.serving.limits import Limits
from suffuse.serving.payloads import FORMS, read
from suffuse.serving.store import Result

_ROWS = 200
"""Of a table, that are shown."""


@dataclass(frozen=True)
class Face:
    """The components of a kind.

    Args:
        entry: makes the component that takes an item, whose value is a path or a text.
        panel: makes the component that shows what was drawn.
        shown: the value of that, of the paths that were drawn.
    """

    entry: Callable[[str, Any], Any]
    panel: Callable[[str], Any]
    shown: Callable[[list[Path]], Any]


def _rows(paths: list[Path]) -> Any:
    import pandas as pd

    readers = {".csv": pd.read_csv, ".tsv": lambda path: pd.read_csv(path, sep="\t")}
    return readers.get(paths[0].suffix, lambda path: pd.read_json(path, lines=True))(paths[0]).head(_ROWS)


def _file(label: str, value: Any) -> Any:
    return gr.File(value, label=label, type="filepath", interactive=True, elem_id="item")


_FILES = Face(
    _file,
    lambda label: gr.File(label=label, file_count="multiple", interactive=False),
    lambda paths: [*map(str, paths)],
)
_WORDS = Face(
    lambda label, value: gr.Textbox(value, label=label, lines=5, interactive=True, elem_id="item"),
    lambda label: gr.Textbox(label=label, lines=8, buttons=["copy"], interactive=False),
    lambda paths: paths[0].read_text(encoding="utf-8"),
)
_TABLES = Face(_file, lambda label: gr.Dataframe(label=label, interactive=False), _rows)
_PICTURES = Face(
    lambda label, value: gr.Image(
        value, label=label, type="filepath", sources=["upload", "clipboard"], interactive=True, elem_id="item"
    ),
    lambda label: gr.Gallery(label=label, columns=4, object_fit="contain", height="auto", interactive=False),
    lambda paths: [(str(path), path.stem) for path in paths],
)
_FACES: Mapping[str, Face] = MappingProxyType(
    {
        "image": _PICTURES,
        "pairs": _PICTURES,
        "segments": _PICTURES,
        "audio": Face(
            lambda label, value: gr.Audio(value, label=label, type="filepath", interactive=True, elem_id="item"),
            lambda label: gr.Audio(label=label, interactive=False),
            lambda paths: str(paths[0]),
        ),
        "video": Face(
            lambda label, value: gr.Video(value, label=label, interactive=True, elem_id="item"),
            lambda label: gr.Video(label=label, interactive=False),
            lambda paths: str(paths[0]),
        ),
        "text": _WORDS,
        "sequence": _WORDS,
        "table": _TABLES,
        "series": _TABLES,
    }
)


def face_of(kind: str) -> Face:
    """The components of a kind; of one that has none of its own, files."""
    return _FACES.get(kind, _FILES)


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
    """A picture of what was drawn, for kinds that are not pictures themselves; None where there is none."""
    kind = model.codec.kind
    files = [path for path in paths if path.suffix in FORMS.get(kind, ())]
    if kind == "image" or not files:
        return None
    items = [item for path in files[:8] for item in read(model, kind, (path.suffix, path.read_bytes()), limits)]
    shown = output_of(kind).show(model.codec.collect(items))
    return None if isinstance(shown, str) else shown
