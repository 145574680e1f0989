"""Sources of pictures, and the scan that finds out which of them can be read."""

import hashlib
from abc import abstractmethod
from collections import Counter
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from statistics import median
from typing import Any, ClassVar

from PIL import Image

from suffuse.data.base import Packer, Source
from suffuse.data.pictures import decoding, open_picture, refusal
from suffuse.data.report import Report, counts, in_order, labels, workers
from suffuse.errors import UserError
from suffuse.tree import State, concatenate


@dataclass(frozen=True)
class Record:
    """One picture and what is said about it.

    Args:
        name: what to call it in a message, e.g. its path within the source.
        fields: a value for every field of the source, None where it is missing.
        payload: reads the bytes of its file, or gives the picture itself.
    """

    name: str
    fields: Mapping[str, Any]
    payload: Callable[[], bytes | Image.Image]

    @property
    def image(self) -> Image.Image:
        """The picture, opened anew; its pixels are decoded when they are used."""
        payload = self.payload()
        return open_picture(payload) if isinstance(payload, bytes) else payload


@dataclass(frozen=True)
class PictureReport(Report):
    """What a source of pictures holds.

    Args:
        sizes: smallest, median and largest width and height, in pixels.
        modes: PIL's modes, with counts.
        duplicates: how many kept files repeat the exact bytes of an earlier one.
    """

    sizes: dict[str, tuple[int, int]] = field(default_factory=dict)
    modes: dict[str, int] = field(default_factory=dict)
    duplicates: int = 0

    def facts(self) -> list[str]:
        """Sizes, modes and copies."""
        sizes = [f"{width}x{height}" for width, height in self.sizes.values()]
        span = sizes[0] if len(set(sizes)) == 1 else f"{sizes[0]} to {sizes[2]}, median {sizes[1]}"
        copies = [f"  exact copies of others: {self.duplicates}"] if self.duplicates else []
        return [f"  size {span}; {counts(self.modes)}", *copies]


class PictureSource(Source):
    """A source whose items are records of pictures; the raw item is the picture."""

    kind = "image"
    without_fields: ClassVar[str] = (
        "it has pictures only: put them in one folder per class, or add a metadata.csv with a column file_name"
    )

    @abstractmethod
    def __getitem__(self, position: int) -> Record: ...

    def names(self, positions: Sequence[int]) -> list[str]:
        """Paths within the source, or what else a picture is known by."""
        return [self[position].name for position in positions]

    def raw(self, positions: Sequence[int]) -> list[Image.Image]:
        """See the base class; the pixels are decoded."""
        images: list[Image.Image] = []
        for position in positions:
            with self._reading(position) as image:
                image.load()
                images.append(image)
        return images

    def packed(self, positions: Sequence[int], codec: Packer) -> State:
        """See the base class; of large pictures one at a time is in memory."""
        parts: list[State] = []
        for position in positions:
            with self._reading(position) as image:
                parts.append(codec.pack([image]))
        return concatenate(parts)

    @contextmanager
    def _reading(self, position: int) -> Generator[Image.Image]:
        """Hold while the picture of a record is decoded and used."""
        record = self[position]
        try:
            image = record.image
            with decoding(image):
                yield image
        except Exception as error:  # a decoder that is fed garbage may raise anything
            raise UserError(
                f"{record.name} of {self.name} cannot be read: {refusal(error)}; scan the source again"
            ) from error

    def scan(self, progress: Callable[[int, int], None] | None = None, threads: int | None = None) -> PictureReport:
        """Decode every picture once, in a pool of threads: by default one per core, at most 8.

        Memory is bounded: few pictures are under way at a time, and one above 16 megapixels.
        """
        left_out, seen = list(self.report.left_out), dict[int, _Seen]()
        results = in_order(lambda position: _look(self[position]), range(len(self)), threads or workers())
        for position, result in enumerate(results):
            if isinstance(result, _Seen):
                seen[position] = result
            else:
                left_out.append(result)
            if progress:
                progress(position + 1, len(self))
        if not seen:
            name, reason = left_out[-1]
            raise UserError(f"none of the {len(self)} pictures of {self.name} can be read; {name}, for one: {reason}")
        columns = {name: [self.column(name)[position] for position in seen] for name in self.fields}
        return PictureReport(
            self.name,
            self.report.found,
            left_out,
            self.report.notes,
            kept=len(seen),
            keep=list(seen),
            labels=labels(columns.get("label", [])),
            fields={name: sum(value is not None for value in values) for name, values in columns.items()},
            sizes=_sizes([one.size for one in seen.values()]),
            modes=dict(Counter(one.mode for one in seen.values()).most_common()),
            # By name: a file of two captions is two records, but no copy.
            duplicates=len({one.name for one in seen.values()}) - len({one.digest for one in seen.values()}),
        )


@dataclass(frozen=True, slots=True)
class _Seen:
    name: str
    size: tuple[int, int]
    mode: str
    digest: bytes


def _look(record: Record) -> "_Seen | tuple[str, str]":
    """Decode one picture: what it is, or its name and why it cannot be used."""
    try:
        payload = record.payload()
        if payload == b"":
            raise OSError("empty file")
        image = open_picture(payload) if isinstance(payload, bytes) else payload
        seen = _Seen(record.name, image.size, image.mode, _digest(payload))
        with decoding(image):
            image.load()
        return seen
    except Exception as error:  # a decoder that is fed garbage may raise anything
        return record.name, refusal(error)


def _digest(payload: bytes | Image.Image) -> bytes:
    return hashlib.blake2b(payload if isinstance(payload, bytes) else payload.tobytes(), digest_size=16).digest()


def _sizes(sizes: list[tuple[int, int]]) -> dict[str, tuple[int, int]]:
    widths, heights = ([size[axis] for size in sizes] for axis in (0, 1))
    return {
        "min": (min(widths), min(heights)),
        "median": (int(median(widths)), int(median(heights))),
        "max": (max(widths), max(heights)),
    }
