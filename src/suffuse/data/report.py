"""What was found in a source, what was left out and why."""

import hashlib
import json
import os
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any, TypeVar

from PIL import Image

from suffuse.data.pictures import decoding, open_picture, refusal
from suffuse.errors import UserError

if TYPE_CHECKING:
    from suffuse.data.base import Source

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True)
class Report:
    """What a source holds; the numbers from `kept` on are known after `scan`.

    Args:
        source: its name.
        found: files, rows or items that were looked at.
        left_out: name and reason of each of them that is not used.
        notes: other things the user should know, one sentence each.
        kept: how many are used: `found` less those left out.
        keep: their positions in the source.
        sizes: smallest, median and largest width and height, in pixels.
        modes: PIL's modes, with counts.
        labels: values of the field `label`, with counts.
        fields: how many of the kept records have each field.
        duplicates: how many kept files repeat the exact bytes of an earlier one.
    """

    source: str
    found: int = 0
    left_out: list[tuple[str, str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    kept: int = 0
    keep: list[int] = field(default_factory=list, repr=False)
    sizes: dict[str, tuple[int, int]] = field(default_factory=dict)
    modes: dict[str, int] = field(default_factory=dict)
    labels: dict[str, int] = field(default_factory=dict)
    fields: dict[str, int] = field(default_factory=dict)
    duplicates: int = 0

    def to_json(self, path: str | Path) -> None:
        """Write everything but the positions as JSON."""
        content = {name: value for name, value in asdict(self).items() if name != "keep"}
        Path(path).write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")

    def summary(self) -> str:
        """Say the same in a few lines."""
        lines = [f"{self.source}: {self.kept} of {self.found} used"]
        if self.sizes:
            sizes = [f"{width}x{height}" for width, height in self.sizes.values()]
            span = sizes[0] if len(set(sizes)) == 1 else f"{sizes[0]} to {sizes[2]}, median {sizes[1]}"
            lines.append(f"  size {span}; {_counts(self.modes)}")
        lines += [f"  field {name}: {count} of {self.kept}" for name, count in self.fields.items()]
        if self.labels:
            lines.append(f"  {len(self.labels)} labels: {_counts(self.labels)}")
        if self.duplicates:
            lines.append(f"  exact copies of others: {self.duplicates}")
        lines += [f"  left out {len(names)}: {reason} ({_few(names)})" for reason, names in self._reasons()]
        return "\n".join(lines + [f"  {note}" for note in self.notes])

    def _reasons(self) -> list[tuple[str, list[str]]]:
        """Names by reason, the commonest first."""
        grouped: dict[str, list[str]] = {}
        for name, reason in self.left_out:
            grouped.setdefault(reason, []).append(name)
        return sorted(grouped.items(), key=lambda item: -len(item[1]))


def scan(source: "Source", threads: int | None = None, progress: Callable[[int, int], None] | None = None) -> Report:
    """Decode every picture of a source once, in a pool of threads, and report what can be used.

    Memory is bounded: few pictures are under way at a time, and one above 16 megapixels.

    Args:
        source: what to look at.
        threads: how many to use; by default one per core, at most 8.
        progress: called with (done, total) after each picture.

    Raises:
        UserError: no picture can be read.
    """
    left_out, seen = list(source.report.left_out), dict[int, _Seen]()
    results = in_order(lambda position: _look(source, position), range(len(source)), threads or workers())
    for position, result in enumerate(results):
        if isinstance(result, _Seen):
            seen[position] = result
        else:
            left_out.append(result)
        if progress:
            progress(position + 1, len(source))
    if not seen:
        name, reason = left_out[-1]
        raise UserError(f"none of the {len(source)} pictures of {source.name} can be read; {name}, for one: {reason}")
    columns = {name: [source.column(name)[position] for position in seen] for name in source.fields}
    return replace(
        source.report,
        left_out=left_out,
        kept=len(seen),
        keep=list(seen),
        sizes=_sizes([one.size for one in seen.values()]),
        modes=dict(Counter(one.mode for one in seen.values()).most_common()),
        labels=_labels(columns.get("label", [])),
        fields={name: sum(value is not None for value in values) for name, values in columns.items()},
        # By name: a file of two captions is two records, but no copy.
        duplicates=len({one.name for one in seen.values()}) - len({one.digest for one in seen.values()}),
    )


def workers() -> int:
    """How many threads decode pictures: one per core, at most 8."""
    return min(os.cpu_count() or 1, 8)


def in_order(function: Callable[[Item], Result], items: Iterable[Item], threads: int) -> Iterator[Result]:
    """Map in a pool of threads, yielding in order, with few items under way, however many there are."""
    waiting: deque[Future[Result]] = deque()
    with ThreadPoolExecutor(threads) as pool:
        for item in items:
            waiting.append(pool.submit(function, item))
            if len(waiting) > 4 * threads:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


@dataclass(frozen=True, slots=True)
class _Seen:
    name: str
    size: tuple[int, int]
    mode: str
    digest: bytes


def _look(source: "Source", position: int) -> "_Seen | tuple[str, str]":
    """Decode one picture: what it is, or its name and why it cannot be used."""
    record = source[position]
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


def _labels(values: list[Any]) -> dict[str, int]:
    return dict(Counter(str(value) for value in values if value is not None).most_common())


def _counts(counts: dict[str, int], shown: int = 8) -> str:
    parts = [f"{name} {count}" for name, count in list(counts.items())[:shown]]
    return ", ".join(parts) + (", …" if len(counts) > shown else "")


def _few(names: list[str], shown: int = 3) -> str:
    return ", ".join(names[:shown]) + (", …" if len(names) > shown else "")
