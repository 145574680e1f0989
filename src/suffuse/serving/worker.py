"""Who does the work of a server: requests that are walked in one batch, here or in another process."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch

from suffuse.explaining import Glimpse, watched
from suffuse.model import Model
from suffuse.serving.asked import Files, Request
from suffuse.serving.limits import Limits
from suffuse.serving.store import Result
from suffuse.serving.verbs import Generate, generate_together


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
    """How far a batch has come, as its worker says; and that it is to stop, as others say.

    Args:
        done: parts that are done.
        total: parts in all, or 0 where that is not known yet.
        evaluations: of the network so far.
        glimpse: the last moment of the walk, or None.
        stopped: whether it is to stop.
        heed: called when it is to stop, for a worker that cannot look in between.
    """

    done: int = 0
    total: int = 0
    evaluations: int = 0
    glimpse: Glimpse | None = None
    stopped: bool = False
    heed: Callable[[], object] | None = None

    def stop(self) -> None:
        """Have it stop at the next evaluation of the network."""
        self.stopped = True
        if self.heed is not None:
            self.heed()


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
    def close(self) -> None:
        """Let go of what it holds, once nothing runs any more; a second time nothing happens."""


class Here(Worker):
    """This process.

    Args:
        models: by name.
        limits: on what is taken on.
    """

    def __init__(self, models: Mapping[str, Model], limits: Limits) -> None:
        self.models, self.limits = models, limits

    def close(self) -> None:
        """See the base class; the models are the caller's."""

    def do(self, batch: Batch, course: Course) -> list[Result]:
        """See the base class."""
        model = self.models[batch.model]

        def evaluated(*_: object) -> None:
            course.evaluations += 1
            if course.stopped:
                raise Stopped

        def seen(glimpse: Glimpse) -> None:
            if not torch.is_grad_enabled():  # else it would keep all that a gradient was taken through
                course.glimpse = glimpse

        def progress(done: int, total: int) -> None:
            course.done, course.total = done, total

        with watched(model, seen), model.denoiser.register_forward_pre_hook(evaluated):
            together = [request for request in batch.requests if isinstance(request, Generate)]
            if len(together) == len(batch.requests):
                return generate_together(model, together, progress)
            return [batch.requests[0].answer(model, batch.files, self.limits, progress)]
