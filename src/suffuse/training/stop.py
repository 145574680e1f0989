"""Ctrl-C and SIGTERM: what is under way is finished and kept, and then the program ends."""

import shlex
import signal
import sys
import threading
import time
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any, Self

_SAME = 2.0
"""Seconds within which two signals are one."""


class Interrupted(SystemExit):
    """Training was stopped by a signal, after a checkpoint; ``code`` is 130 for SIGINT and 143 for SIGTERM.

    It is an exit: a program that does not catch it ends with this code.
    """


class Signals:
    """While this is entered, the first SIGINT or SIGTERM is noted in ``number``; a later one acts as ever.

    One that follows within two seconds is taken for the same: launchers pass on what the terminal has sent as well.
    Signals are the main thread's: in another thread nothing is changed.
    """

    def __init__(self) -> None:
        self.number = 0
        self._since = 0.0
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._note) for number in (signal.SIGINT, signal.SIGTERM)}
        return self

    def _note(self, number: int, frame: FrameType | None) -> None:
        if not self.number:
            self.number, self._since = number, time.monotonic()
        elif time.monotonic() - self._since > _SAME:
            self._restore()
            signal.raise_signal(number)

    def _restore(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._restore()


def this_command() -> str:
    """The command line that this program was started with.

    Example:
        >>> import sys; before, sys.argv = sys.argv, ["/usr/bin/suffuse", "train", "my cats"]
        >>> this_command()
        "suffuse train 'my cats'"
        >>> sys.argv = before
    """
    program = Path(sys.argv[0])
    if program.name == "__main__.py":
        words = ["python", "-m", program.parent.name]
    else:
        words = ["python", sys.argv[0]] if program.suffix == ".py" else [program.name]
    return shlex.join([*words, *sys.argv[1:]])
