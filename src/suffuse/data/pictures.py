"""The bytes of other people's files to PIL pictures: decoded within bounds, or refused with a reason."""

import io
import threading
import warnings
from collections.abc import Generator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path

from PIL import Image, UnidentifiedImageError

# Not all that PIL knows: its reader of EPS, for one, runs another program on the file.
_FORMATS = ("PNG JPEG WEBP GIF BMP DIB TIFF AVIF JPEG2000 PPM TGA ICO ICNS QOI PCX SGI DDS").split()
_LARGE = 16_000_000  # pixels
_DRAFT = (2048, 2048)
_MOST_BYTES = 2**30
_OPENING = threading.Lock()
_ONE_LARGE = threading.Lock()


def read_file(path: str | Path) -> bytes:
    """Return the bytes of a file, unless they are more than a picture within the limits can have.

    Raises:
        OSError: the file cannot be read, or has more than 1 GiB.
    """
    size = Path(path).stat().st_size
    if size > _MOST_BYTES:
        raise OSError(f"too large: {size / 2**30:.1f} GiB")
    return Path(path).read_bytes()


def open_picture(data: bytes) -> Image.Image:
    """Open a picture without decoding it.

    Raises:
        OSError: the bytes are no picture. Decoding them later raises whatever the decoder meets.
        PIL.Image.DecompressionBombError: there are more than 178 million pixels.
    """
    # PIL warns of sizes within our bounds, and of broken EXIF. Filters belong to the process: hence the lock.
    with _OPENING, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return Image.open(io.BytesIO(data), formats=_formats())


@contextmanager
def decoding(image: Image.Image) -> Generator[None]:
    """Hold while a picture is decoded and used, to bound memory.

    Any number may be under way of small ones, but one above 16 megapixels; a JPEG that large is decoded at a
    half, a quarter or an eighth of its size, while its shorter side stays above 2048 pixels.
    """
    if _pixels(image) > _LARGE:
        image.draft(None, _DRAFT)
    if _pixels(image) > _LARGE:
        with _ONE_LARGE:
            yield
    else:
        yield


def refusal(error: Exception) -> str:
    """Say in a few words why a picture could not be read.

    Example:
        >>> refusal(PermissionError(13, "Permission denied"))
        'no permission to read it'
    """
    match error:
        case PermissionError():
            return "no permission to read it"
        case FileNotFoundError():
            return "no such file"
        case UnidentifiedImageError():
            return "not a picture, or damaged from its first bytes"
        case Image.DecompressionBombError():
            return "too large: more than 178 megapixels"
        case OSError() if str(error).startswith(("too large", "empty")):
            return str(error)
        case _:
            return f"damaged: {str(error) or type(error).__name__}"


@lru_cache
def suffixes() -> frozenset[str]:
    """Suffixes of the files that are read as pictures, in lower case."""
    return frozenset(suffix for suffix, form in Image.registered_extensions().items() if form in _FORMATS)


@lru_cache
def _formats() -> tuple[str, ...]:
    Image.init()
    return tuple(form for form in _FORMATS if form in Image.OPEN)


def _pixels(image: Image.Image) -> int:
    return image.width * image.height
