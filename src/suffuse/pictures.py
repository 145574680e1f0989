"""Pictures of pictures: contact sheets, film strips, and PNG files that say where they came from."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

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


def save_png(image: Image.Image, file: Path | BinaryIO) -> None:
    """Write a PNG, with what :data:`METADATA` in the picture's ``info`` says."""
    text = PngInfo()
    if METADATA in image.info:
        text.add_text(METADATA, image.info[METADATA])
    image.save(file, "PNG", pnginfo=text)


def signed(item: Any, made: Mapping[str, Any]) -> Any:
    """The item, which says how it was made where it is a picture, a clip or a sound."""
    from suffuse.clips import Clip  # which shows its frames by the functions below
    from suffuse.sounds import Sound

    if isinstance(item, Image.Image | Clip | Sound):
        item.info[METADATA] = json.dumps(made, ensure_ascii=False)
    return item


def named(item: Any, name: str, like: Any = None) -> Any:
    """The item, to be written under a name where it is a picture, and made as another was; by default itself."""
    return signed(item, made_by(like or item) | {"name": name}) if isinstance(item, Image.Image) else item


def made_by(image: Image.Image) -> dict[str, Any]:
    """How a picture was made: model, seed and settings; empty where it does not say."""
    return json.loads(image.info.get(METADATA, "{}"))


def name_of(image: Image.Image) -> str:
    """Of the file of a picture that says how it was made: its name, or its seed."""
    made = made_by(image)
    return f"{made['name'] if 'name' in made else format(made['seed'], '06d')}.png"


def check_pictures(images: Sequence[Any]) -> None:
    """Refuse samples that are no pictures.

    Raises:
        UserError: they are none.
    """
    if not all(isinstance(image, Image.Image) for image in images):
        raise UserError("the samples of this model are no pictures, as of latents without their autoencoder")


def rows_of(rows: Sequence[Sequence[Image.Image]], widest: int = 256) -> Image.Image:
    """Lay rows of pictures out below each other; those of a row have one size, which is shrunk to the widest.

    Example:
        >>> rows_of([[Image.new("L", (512, 256))] * 2, [Image.new("L", (64, 64))] * 3]).size
        (518, 200)
    """
    sheets = [sheet([_shrunk(image, widest) for image in row], columns=len(row)) for row in rows]
    page = Image.new("RGB", (max(each.width for each in sheets), sum(each.height for each in sheets)), (238, 238, 238))
    top = 0
    for each in sheets:
        page.paste(each, (0, top))
        top += each.height
    return page


def _shrunk(image: Image.Image, widest: int) -> Image.Image:
    share = min(1.0, widest / image.width)
    return image if share == 1 else image.resize((widest, max(1, round(image.height * share))))


def save_samples(images: Sequence[Any], folder: Path, rows: Sequence[Sequence[Image.Image]] | None = None) -> Path:
    """Write one PNG per sample, by its name or its seed, and a sheet of them all; gives the path of the sheet.

    Args:
        images: that say how they were made.
        folder: to write into.
        rows: what the sheet shows instead.

    Raises:
        UserError: the samples are no pictures, or the folder cannot be written to.
    """
    check_pictures(images)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for image in images:
            save_png(image, folder / name_of(image))
        save_png(sheet(images) if rows is None else rows_of(rows), folder / "sheet.png")
    except OSError as error:
        raise UserError(f"cannot write the samples to {folder}: {error.strerror or error}") from error
    return folder / "sheet.png"
