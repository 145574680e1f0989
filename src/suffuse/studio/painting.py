"""Pictures that are painted over, and the masks that come of it."""

import io
from collections.abc import Callable
from typing import Any

import gradio as gr
import numpy as np
from PIL import Image

from suffuse.model import Model
from suffuse.studio.faces import enlarged, upload

_LARGE = 384
"""Pixels of a side that can be painted on."""


def painter(path: str | None, say: Callable[[str], Any], tab: str) -> Any:
    """A picture that can be painted over, and what to do with it."""
    gr.Markdown(say("painted"))
    return gr.ImageEditor(
        None if path is None else enlarged(Image.open(path), _LARGE),
        show_label=False,
        type="pil",
        format="png",
        brush=gr.Brush(colors=["#ff2d78"], default_size=24, color_mode="fixed"),
        transforms=[],
        layers=False,
        image_mode="RGBA",
        sources=["upload", "clipboard"],
        interactive=True,
        elem_id=f"{tab}-item",
    )


def painted(model: Model, value: Any, kept: bool) -> dict[str, tuple[str, bytes]]:
    """The picture and, where something was painted, the mask of it: white what is kept, or else what may change."""
    if not value or value["background"] is None:
        return {"file": upload("image", None)}
    picture = _reduced(value["background"], model)
    files = {"file": (".png", _png(picture))}
    layers = [np.asarray(layer.convert("RGBA"))[..., 3] > 0 for layer in value["layers"]]
    covered = np.any(layers, axis=0) if layers else np.zeros(1, bool)
    if covered.any():
        mask = Image.fromarray(np.where(covered == kept, 0, 255).astype(np.uint8))
        files["mask"] = (".png", _png(mask.resize(picture.size, Image.Resampling.NEAREST)))
    return files


def _reduced(image: Image.Image, model: Model) -> Image.Image:
    """What was enlarged, as it was."""
    assert isinstance(model.codec.shape, tuple)
    height, width = model.codec.shape[-2:]
    factor = image.width // width
    if factor < 2 or (factor * width, factor * height) != image.size:
        return image
    small = image.resize((width, height), Image.Resampling.NEAREST)
    return small if np.array_equal(np.asarray(enlarged(small, _LARGE)), np.asarray(image)) else image


def _png(image: Any) -> bytes:
    stream = io.BytesIO()
    image.save(stream, "PNG")
    return stream.getvalue()
