"""Progress with time left, for anything that may take over two seconds."""

import sys
from types import TracebackType
from typing import Self


class Progress:
    """A bar on the terminal; silent where there is none.

    Args:
        what: what is going on.
        total: how much there is to do.

    Example:
        >>> with Progress("drawing", 3) as progress:
        ...     progress.to(3, 3)
    """

    def __init__(self, what: str, total: int) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
        from rich.progress import Progress as Bar

        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        self._bar = Bar(*columns, console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty())
        self._task = self._bar.add_task(what, total=total)

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def to(self, done: int, total: int) -> None:
        """Say how much is done."""
        self._bar.update(self._task, completed=done, total=total)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()
