"""What was found in a source, what was left out and why."""

import json
import os
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True)
class Report:
    """What a source holds; the numbers from `kept` on are known after a scan.

    Args:
        source: its name.
        found: files, rows or items that were looked at.
        left_out: name and reason of each of them that is not used.
        notes: other things the user should know, one sentence each.
        kept: how many are used: `found` less those left out.
        keep: their positions in the source.
        labels: values of the field `label`, with counts.
        fields: how many of the kept items have each field.
    """

    source: str
    found: int = 0
    left_out: list[tuple[str, str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    kept: int = 0
    keep: Sequence[int] = field(default=(), repr=False)
    labels: dict[str, int] = field(default_factory=dict)
    fields: dict[str, int] = field(default_factory=dict)

    def to_json(self, path: str | Path) -> None:
        """Write everything but the positions as JSON."""
        content = {name: value for name, value in asdict(self).items() if name != "keep"}
        Path(path).write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")

    def summary(self) -> str:
        """Say the same in a few lines."""
        lines = [f"{self.source}: {self.kept} of {self.found} used", *self.facts()]
        lines += [f"  field {name}: {count} of {self.kept}" for name, count in self.fields.items()]
        if self.labels:
            lines.append(f"  {len(self.labels)} labels: {counts(self.labels)}")
        lines += [f"  left out {len(names)}: {reason} ({_few(names)})" for reason, names in self._reasons()]
        return "\n".join(lines + [f"  {note}" for note in self.notes])

    def facts(self) -> list[str]:
        """Lines on what only this kind of data has."""
        return []

    def _reasons(self) -> list[tuple[str, list[str]]]:
        """Names by reason, the commonest first."""
        grouped: dict[str, list[str]] = {}
        for name, reason in self.left_out:
            grouped.setdefault(reason, []).append(name)
        return sorted(grouped.items(), key=lambda item: -len(item[1]))


def workers() -> int:
    """How many threads read: one per core, at most 8."""
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


def labels(values: list[Any]) -> dict[str, int]:
    """Count the labels there are, the commonest first."""
    return dict(Counter(str(value) for value in values if value is not None).most_common())


def counts(numbers: dict[str, int], shown: int = 8) -> str:
    """Say a few names with their counts."""
    parts = [f"{name} {count}" for name, count in list(numbers.items())[:shown]]
    return ", ".join(parts) + (", …" if len(numbers) > shown else "")


def _few(names: list[str], shown: int = 3) -> str:
    return ", ".join(names[:shown]) + (", …" if len(names) > shown else "")
