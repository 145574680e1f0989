"""What goes over the wire: uploaded files to raw items, and raw items to the content type of their kind."""

import io
import math
import mimetypes
import re
import tempfile
import zipfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path, PurePosixPath
from types import MappingProxyType
from typing import Any

from suffuse.clips import Clip
from suffuse.data.sources import open_source
from suffuse.errors import UserError
from suffuse.model import Model
from suffuse.outputs import output_of
from suffuse.serving.limits import Limits
from suffuse.serving.store import Result

FORMS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "image": (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff"),
        "text": (".txt", ".jsonl", ".csv"),
        "sequence": (".fasta", ".fa", ".txt", ".csv"),
        "table": (".csv", ".tsv", ".jsonl"),
        "series": (".csv", ".tsv", ".jsonl"),
        "audio": (".wav", ".flac", ".ogg", ".mp3"),
        "video": (".mp4", ".mov", ".mkv", ".webm", ".avi", ".gif"),
        "field": (".nc",),
        "music": (".mid", ".midi", ".musicxml", ".xml"),
    }
)
"""Suffixes of files that are read of each kind of data: none that is unpacked, and so may be larger than it seems."""
_MEDIA = {
    ".csv": "text/csv",
    ".tsv": "text/tab-separated-values",
    ".jsonl": "application/jsonl",
    ".fasta": "text/x-fasta",
    ".txt": "text/plain; charset=utf-8",
    ".zip": "application/zip",
    ".wav": "audio/wav",
    ".flac": "audio/flac",
    ".mid": "audio/midi",
    ".nc": "application/netcdf",
}
_SHEETS = ("sheet.png", "side-by-side.png", "strips.png", "sounds.png", "roll.png")
"""Beside the items themselves, for people to look at."""


def read(model: Model, kind: str, file: tuple[str, bytes], limits: Limits) -> list[Any]:
    """Raw items of an uploaded file.

    Args:
        model: that they are for; says how long a window is.
        kind: of the items.
        file: suffix and content.
        limits: on how many and how large they are.

    Raises:
        UserError: it is no file of this kind, or too large; no path of the server is named.
    """
    suffix, data = file
    if suffix not in FORMS.get(kind, ()):
        raise UserError(
            f"an upload of the kind {kind} is a file that ends in {', '.join(FORMS.get(kind, ('nothing',)))}"
        )
    if kind == "image":
        _check_pixels(data, limits.pixels)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"upload{suffix}"
        path.write_bytes(data)
        if kind in ("audio", "video"):
            _check_stream(path, limits)
        if kind == "field":
            _check_grid(path, limits.pixels)
        try:
            source = open_source(path, kind=kind).cut(model.codec.steps, model.codec.steps)
            report = source.scan()
            if len(report.keep) > limits.items:
                raise UserError(
                    f"the upload has {len(report.keep)} items, and at most {limits.items} are taken at once"
                )
            return [_whole(item, data) for item in source.raw(report.keep)]
        except UserError as error:
            raise UserError(_without(folder, str(error))) from error


def _whole(item: Any, data: bytes) -> Any:
    """An item that needs its file no more: a clip's sound is read when it is written."""
    return replace(item, sound=data) if isinstance(item, Clip) and item.sound else item


def _without(folder: str, message: str) -> str:
    """The message, that does not say where the server lives."""
    return re.sub(rf"{re.escape(folder)}/?", "", message).replace(tempfile.gettempdir(), "")


def _check_pixels(data: bytes, most: int) -> None:
    """Look at a picture's header alone."""
    from PIL import Image

    try:
        with Image.open(io.BytesIO(data)) as image:
            width, height = image.size
    except Exception as error:  # a decoder raises whatever it meets
        raise UserError("the upload is no picture that can be read") from error
    if width * height > most:
        raise UserError(f"the upload is of {width}x{height} pixels, and at most {most} in all are taken")


def _check_stream(path: Path, limits: Limits) -> None:
    """Look at what the header of a recording says alone; what it does not say, the source that reads it finds out."""
    import av
    from av.error import FFmpegError

    try:
        with av.open(str(path), metadata_errors="replace") as container:
            seconds = (container.duration or 0) / av.time_base
            known = [each for each in container.streams.video if each.codec_context]
            pixels = max((each.width * each.height for each in known), default=0)
    except (FFmpegError, ValueError) as error:  # of names that are no UTF-8, too
        raise UserError("the upload is no recording that can be read") from error
    if seconds > limits.seconds:
        raise UserError(f"the upload lasts {seconds:.0f} seconds, and at most {limits.seconds:.0f} are taken")
    if pixels > limits.pixels:
        raise UserError(f"the upload has frames of {pixels} pixels, and at most {limits.pixels} are taken")


def _check_grid(path: Path, most: int) -> None:
    """Look at how long the axes of a file of fields are alone; what is no such file, the source that reads it says."""
    try:
        import netCDF4
    except ImportError as missing:
        raise UserError("fields are read by netCDF4: pip install 'suffuse[fields]'") from missing
    try:
        with netCDF4.Dataset(str(path)) as file:
            numbers = sum(math.prod(each.shape) for each in file.variables.values())
    except (OSError, RuntimeError):
        return
    if numbers > most:
        raise UserError(f"the upload has {numbers} numbers, and at most {most} are taken")


def write(model: Model, items: Any, form: str | None = None) -> Result:
    """Items in the content type of their kind; several of a kind that has a file for each in one ZIP file.

    Args:
        model: whose items they are.
        items: what its verbs give.
        form: suffix of another form that these items have, without the dot.

    Raises:
        UserError: there is no such form.
    """
    output = output_of(model.codec.kind)
    suffix = Path(output.default).suffix
    if not suffix and form is not None:
        raise UserError(f"items of the kind {model.codec.kind} are sent in one form alone; leave out format")
    return packed(output.files(items, f"result.{form}" if form else f"result{suffix}"))


def packed(files: Mapping[str, bytes]) -> Result:
    """Files by their paths: one as it is, several in a ZIP file."""
    items = [path for path in map(PurePosixPath, files) if path.name not in _SHEETS]
    if len(items) == 1:
        return Result(media(items[0].suffix), items[0].name, files[str(items[0])])
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for path, data in files.items():
            archive.writestr(path.removeprefix("result/"), data)
    return Result(media(".zip"), "result.zip", stream.getvalue())


def media(suffix: str) -> str:
    """The content type of a suffix.

    Example:
        >>> media(".png"), media(".csv")
        ('image/png', 'text/csv')
    """
    return _MEDIA.get(suffix) or mimetypes.types_map.get(suffix, "application/octet-stream")
