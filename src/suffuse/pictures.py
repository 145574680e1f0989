"""Pictures of pictures: contact sheets, film strips, and PNG files that say where they came from."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from PIL import Image
from PIL.PngImagePlugin import PngInfo

from suffuse.errors import UserError

METADATA = "suffuse"
"""Key of the entry in a picture's ``info`` and in its PNG's text that says how it was made, as JSON."""


def sheet(
    images: Sequence[Image.Image], columns: int | None = None, scale: int | None = None, gap: int = 2
) -> Image.Image:
    """Lay pictures out on one, row by row, small ones magnified; transparency shows on light grey.

    Args:
        images: pictures of one size.
        columns: per row; by default as many as make it about square.
        scale: whole factor to magnify by; by default so that a picture is at least 64 pixels wide.
        gap: pixels between them.

    Example:
        >>> sheet([Image.new("L", (8, 8))] * 4).size
        (134, 134)
    """
    columns = columns or max(1, round(len(images) ** 0.5))
    width, height = images[0].size
    scale = scale or max(1, -(-64 // width))
    step_x, step_y = width * scale + gap, height * scale + gap
    rows = -(-len(images) // columns)
    page = Image.new("RGB", (columns * step_x + gap, rows * step_y + gap), (238, 238, 238))
    for i, image in enumerate(images):
        large = image.resize((width * scale, height * scale), Image.Resampling.NEAREST)
        place = (gap + (i % columns) * step_x, gap + (i // columns) * step_y)
        page.paste(large.convert("RGB"), place, large.getchannel("A") if large.mode == "RGBA" else None)
    return page


def save_png(image: Image.Image, path: Path) -> None:
    """Write a PNG, with what :data:`METADATA` in the picture's ``info`` says."""
    text = PngInfo()
    if METADATA in image.info:
        text.add_text(METADATA, image.info[METADATA])
    image.save(path, "PNG", pnginfo=text)


def made_by(image: Image.Image) -> dict[str, Any]:
    """How a picture was made: model, seed and settings; empty where it does not say."""
    return json.loads(image.info.get(METADATA, "{}"))


def save_samples(images: Sequence[Any], folder: Path) -> Path:
    """Write one PNG per sample, named by its seed, and a sheet of them all; gives the path of the sheet.

    Raises:
        UserError: the samples are no pictures, or the folder cannot be written to.
    """
    if not all(isinstance(image, Image.Image) for image in images):
        raise UserError("the samples of this model are no pictures, as of latents without their autoencoder")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for image in images:
            save_png(image, folder / f"{made_by(image)['seed']:06d}.png")
        save_png(sheet(images), folder / "sheet.png")
    except OSError as error:
        raise UserError(f"cannot write the samples to {folder}: {error.strerror or error}") from error
    return folder / "sheet.png"
