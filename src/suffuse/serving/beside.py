"""The work of a server, done by a process beside it, so that walks and answers do not wait for each other.

They would share one interpreter, and a server that refuses hundreds of requests a second slow down what it has
accepted. And what a decoder does to its process, it does not do to the server.
"""

import logging
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Generator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing import get_context, resource_tracker
from multiprocessing.connection import Connection
from pathlib import Path
from queue import SimpleQueue
from typing import TypeAlias

import torch
from PIL import Image

from suffuse.errors import UserError
from suffuse.serving.limits import Limits
from suffuse.serving.store import Result
from suffuse.serving.worker import Batch, Course, Here, Stopped, Worker
from suffuse.store import load

_LOG = logging.getLogger("suffuse.serving")
_TRIES = 2
"""Times that a batch is begun where its process is lost: once by accident, the second time by what it does."""
_TICK = 0.05
"""Seconds between words of the process on how far it is."""


@dataclass(frozen=True)
class _Task:
    """What to do, and its number among all."""

    number: int
    batch: Batch


@dataclass(frozen=True)
class _Wanted:
    """What is wanted of a task that runs, as in :class:`Course`."""

    number: int
    watched: int
    stopped: bool


@dataclass(frozen=True)
class _Added:
    """A model to have from now on."""

    name: str
    run: Path


_Todo: TypeAlias = tuple[Batch, Course] | _Added


@dataclass(frozen=True)
class _News:
    """How far it is, as in :class:`Course`."""

    done: int
    total: int
    evaluations: int
    look: Image.Image | str | None


@dataclass(frozen=True)
class _Fault:
    """An error of our own, as text."""

    text: str


class Beside(Worker):
    """A process of its own on this machine, begun anew where it is lost.

    Args:
        runs: run folders by name.
        limits: on what is taken on.
    """

    def __init__(self, runs: Mapping[str, Path], limits: Limits) -> None:
        self._runs, self._limits, self._number = dict(runs), limits, 0
        self._turn = threading.Lock()
        self._begin()

    def add(self, name: str, run: Path) -> None:
        """See the base class."""
        with self._turn, suppress(OSError):  # a process that is gone is followed by one which is told of all runs
            self._runs[name] = run
            self._pipe.send(_Added(name, run))

    def do(self, batch: Batch, course: Course) -> list[Result]:
        """See the base class; where the process is lost, the next one begins the batch again, once."""
        for _ in range(_TRIES):
            try:
                return self._asked(batch, course)
            except (OSError, EOFError):
                _LOG.warning("the process that does the work was lost; the next one begins")
                with self._turn:
                    self._end()
                    self._begin()
                if course.stopped:
                    raise Stopped from None
        raise RuntimeError(f"{_TRIES} processes were lost over one batch")

    def close(self) -> None:
        """See the base class."""
        self._end()

    def _begin(self) -> None:
        context = get_context("spawn")
        ours, theirs = context.Pipe()
        process = context.Process(
            target=_work,
            args=(theirs, self._runs, self._limits, torch.get_num_threads()),
            name="suffuse-worker",
            daemon=True,
        )
        with _uninterrupted():
            process.start()
        theirs.close()  # so that it hears when this process is gone, and this one when it is
        self._pipe, self._process = ours, process  # once it has begun: else the next try ends those of before

    def _end(self) -> None:
        self._pipe.close()
        self._process.kill()  # nobody waits for what it does, and it keeps nothing
        self._process.join()

    def _asked(self, batch: Batch, course: Course) -> list[Result]:
        self._number += 1
        number = self._number

        def heed() -> None:
            with self._turn, suppress(OSError):  # whoever waits for its answer hears that it is gone
                self._pipe.send(_Wanted(number, course.watched, course.stopped))

        with self._turn:
            self._pipe.send(_Task(number, batch))
        course.heed = heed
        if course.watched or course.stopped:  # before it could be heard
            heed()
        while True:
            said = self._pipe.recv()
            if isinstance(said, list):
                return said
            if isinstance(said, Exception):
                raise said
            if isinstance(said, _Fault):
                raise RuntimeError(said.text)
            course.done, course.total, course.evaluations, course.look = (
                said.done,
                said.total,
                said.evaluations,
                said.look,
            )


@contextmanager
def _uninterrupted() -> Generator[None, None, None]:
    """What is begun here hears no Ctrl-C, which goes to all processes of a terminal: the server says when to stop."""
    if sys.platform == "win32":
        yield
        return
    resource_tracker.ensure_running()  # which would lift the block where it is begun within it
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _work(pipe: Connection, runs: Mapping[str, Path], limits: Limits, threads: int) -> None:
    """The process: does one task after the other, as long as the server is there."""
    torch.set_num_threads(threads)  # rounding depends on it
    tasks = SimpleQueue[_Todo]()
    threading.Thread(target=_listen, args=(pipe, tasks), daemon=True).start()  # what is sent does not wait for models
    here = Here({name: load(run) for name, run in runs.items()}, limits)
    while True:
        todo = tasks.get()
        if isinstance(todo, _Added):
            here.add(todo.name, todo.run)
        else:
            telling = _Telling(pipe, todo[1])
            answer = _answer(here, *todo)
            telling.tell()
            pipe.send(answer)


def _answer(here: Here, batch: Batch, course: Course) -> list[Result] | UserError | Stopped | _Fault:
    try:
        return here.do(batch, course)
    except Stopped as stopped:
        return stopped
    except UserError as error:
        return UserError(str(error))
    except Exception:  # whatever it is, the server's log is to have it
        return _Fault(traceback.format_exc())


def _listen(pipe: Connection, tasks: SimpleQueue[_Todo]) -> None:
    """Hear what is wanted, also while something is done."""
    number, course = 0, Course()
    while True:
        try:
            said = pipe.recv()
        except (EOFError, OSError):
            os._exit(0)  # the server is gone, and nobody waits for what is done here
        if isinstance(said, _Task):
            number, course = said.number, Course()
            tasks.put((said.batch, course))
        elif isinstance(said, _Added):
            tasks.put(said)
        elif said.number == number:  # else it came too late
            course.watched, course.stopped = said.watched, said.stopped


class _Telling:
    """Tells the server what is new of a course, a few times a second and once more at its end."""

    def __init__(self, pipe: Connection, course: Course) -> None:
        self.pipe, self.course, self.told, self.next = pipe, course, _News(0, 0, 0, None), 0.0
        course.tell = self.tick

    def tick(self) -> None:
        if time.monotonic() >= self.next:
            self.tell()

    def tell(self) -> None:
        course = self.course
        news = _News(course.done, course.total, course.evaluations, course.look)
        if news != self.told:
            self.pipe.send(news)
            self.told, self.next = news, time.monotonic() + _TICK
