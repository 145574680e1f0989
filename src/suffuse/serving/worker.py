"""Who does the work of a server: requests that are walked in one batch, here or in another process."""

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from PIL import Image

from suffuse.explaining import Glimpse, watched
from suffuse.model import Model
from suffuse.serving.asked import Files, Request
from suffuse.serving.limits import Limits
from suffuse.serving.store import Result
from suffuse.serving.verbs import Generate, generate_together
from suffuse.store import load

_EVERY = 0.2
"""Seconds between looks at a walk that somebody watches."""


class Stopped(Exception):
    """Nobody waits for what is being done, or the server stops."""


@dataclass(frozen=True)
class Batch:
    """What is done in one go.

    Args:
        model: its name.
        requests: one, or several to generate that are companions.
        files: of the one request.
    """

    model: str
    requests: Sequence[Request]
    files: Files


@dataclass(eq=False)
class Course:
    """How far a batch has come, as its worker says; and what is wanted of it, as others say.

    Args:
        done: parts that are done.
        total: parts in all, or 0 where that is not known yet.
        evaluations: of the network so far.
        look: how the samples looked a moment ago, as a picture or as text; None where nobody watches.
        watched: how many samples are looked at, where somebody watches.
        stopped: whether it is to stop.
        heed: called when something else is wanted, for a worker that cannot look in between.
        tell: called by the worker at each evaluation, and at each part that is done.
    """

    done: int = 0
    total: int = 0
    evaluations: int = 0
    look: Image.Image | str | None = None
    watched: int = 0
    stopped: bool = False
    heed: Callable[[], object] | None = None
    tell: Callable[[], object] | None = None

    def stop(self) -> None:
        """Have it stop at the next evaluation of the network."""
        self.stopped = True
        self._changed()

    def watch(self, samples: int) -> None:
        """Have it show the first samples, as long as they are of one request: others are none of the watcher's."""
        if samples != self.watched:
            self.watched = samples
            self._changed()

    def evaluated(self) -> None:
        """Say that the network is asked.

        Raises:
            Stopped: it is to stop.
        """
        self.evaluations += 1
        self._told()
        if self.stopped:
            raise Stopped

    def came(self, done: int, total: int) -> None:
        """Say how many parts are done."""
        self.done, self.total = done, total
        self._told()

    def _changed(self) -> None:
        if self.heed is not None:
            self.heed()

    def _told(self) -> None:
        if self.tell is not None:
            self.tell()


class Worker(ABC):
    """Does batches."""

    places: int = 1
    """How many it does at a time, at most, each asked for by a thread of its own."""

    @abstractmethod
    def do(self, batch: Batch, course: Course) -> list[Result]:
        """The result of each request.

        Raises:
            UserError: the requests do not fit the model, or a file cannot be read.
            Stopped: the course was told to.
        """

    @abstractmethod
    def add(self, name: str, run: Path) -> None:
        """Have the model of a run folder from now on, in the place of any that had this name.

        Raises:
            UserError: it cannot be loaded.
        """

    @abstractmethod
    def close(self) -> None:
        """Let go of what it holds, once nothing runs any more; a second time nothing happens."""


class Here(Worker):
    """This process.

    Args:
        models: by name.
        limits: on what is taken on.
    """

    def __init__(self, models: Mapping[str, Model], limits: Limits) -> None:
        self._models, self._limits = dict(models), limits

    def add(self, name: str, run: Path) -> None:
        """See the base class."""
        self._models[name] = load(run)

    def close(self) -> None:
        """See the base class; the models are the caller's."""

    def do(self, batch: Batch, course: Course) -> list[Result]:
        """See the base class."""
        model, due = self._models[batch.model], 0.0

        def seen(glimpse: Glimpse) -> None:
            nonlocal due
            start = time.perf_counter()
            if course.watched and len(batch.requests) == 1 and start >= due:
                with torch.no_grad(), torch.autocast(model.device.type, enabled=False):
                    course.look = glimpse.look(model, course.watched)
                end = time.perf_counter()
                due = end + max(_EVERY, 3 * (end - start))  # a fourth of the time at most is spent on it

        with watched(model, seen), model.denoiser.register_forward_pre_hook(lambda *_: course.evaluated()):
            together = [request for request in batch.requests if isinstance(request, Generate)]
            if len(together) == len(batch.requests):
                return generate_together(model, together, course.came)
            return [batch.requests[0].answer(model, batch.files, self._limits, course.came)]
