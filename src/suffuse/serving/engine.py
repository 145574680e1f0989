"""What was asked for, done in the order that it was asked for, companions together, by whoever does the work."""

import logging
import secrets
import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, wait
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from suffuse.errors import UserError
from suffuse.model import Model
from suffuse.serving.asked import Files, Request
from suffuse.serving.limits import Limits
from suffuse.serving.store import FAULT, Job, Outcome, Result, State, Store
from suffuse.serving.verbs import VERBS, Generate
from suffuse.serving.worker import Batch, Course, Here, Stopped, Worker
from suffuse.store import load

_TOGETHER = 64
"""Samples that are walked in one batch, at most, where requests are put together."""


class FullError(Exception):
    """As many jobs wait as are let to; try again after so many seconds."""

    def __init__(self, seconds: float) -> None:
        super().__init__(f"too many jobs wait; try again in {seconds:.0f} s")
        self.seconds = seconds


_LOG = logging.getLogger("suffuse.serving")
_PATIENCE = 10.0
"""Seconds that a job which runs is let to finish in when the server stops; then it is done again by the next."""


@dataclass
class Standing:
    """How far a job that is not over has come.

    Args:
        course: of the batch that it is done in.
        started: when it was begun, or None.
        cancelled: whether nobody waits for it any more.
    """

    course: Course = field(default_factory=Course)
    started: float | None = None
    cancelled: bool = False


@dataclass(frozen=True)
class Task:
    """A job that is not over, read once.

    Args:
        job: as it is kept.
        request: what it asks for.
        alike: what its companions, with which it can be walked in one batch, have in common; None where it has none.
    """

    job: Job
    request: Request
    alike: Any = None

    @classmethod
    def of(cls, job: Job, request: Request) -> "Task":
        """Of a job."""
        return cls(job, request, (job.model, request.companions()) if isinstance(request, Generate) else None)


@dataclass
class Tally:
    """What has happened so far, for whoever watches the server."""

    over: dict[State, int] = field(default_factory=lambda: {state: 0 for state in State if state.over})
    refused: int = 0
    items: int = 0
    seconds: float = 0.0
    batches: int = 0


class Engine:
    """Jobs of some models; requests that can be walked in one batch are.

    Args:
        models: by name, of which the engine itself only asks what they are.
        store: where the jobs are kept.
        limits: on what is taken on.
        together: whether companions are walked in one batch.
        worker: who does them; by default this process, one after the other.
    """

    def __init__(
        self,
        models: Mapping[str, Model],
        store: Store,
        limits: Limits,
        together: bool = True,
        worker: Worker | None = None,
    ) -> None:
        self.models, self.store, self.limits, self.together, self.tally = dict(models), store, limits, together, Tally()
        self.worker = worker or Here(self.models, limits)
        self._waiting: list[Task] = []
        self._standing: dict[str, Standing] = {}
        self._over: dict[str, Future[Outcome]] = {}
        self._news, self._stopping, self._abandoning = threading.Condition(), False, False
        for job in store.pending():  # of a server that was killed
            if job.model not in models or job.verb not in VERBS:
                store.move(job.id, State.FAILED, f"the model {job.model} is no longer served")
                continue
            try:
                self._take(Task.of(job, VERBS[job.verb].model_validate(job.request)))
            except ValidationError:
                store.move(job.id, State.FAILED, f"it was asked of another version, whose {job.verb} is another")
        self._threads = [
            threading.Thread(target=self._work, name=f"suffuse-engine-{place}", daemon=True)
            for place in range(self.worker.places)
        ]

    def start(self) -> None:
        """Begin to work."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Finish what runs, unless that takes long, and leave the rest in the store, for the next server."""
        with self._news:
            self._stopping = True
            self._news.notify_all()
        end = time.monotonic() + _PATIENCE
        for thread in self._threads:
            thread.join(max(0.0, end - time.monotonic()))
        with self._news:
            self._abandoning = True
            for standing in self._standing.values():
                standing.course.stop()
        for thread in self._threads:
            thread.join()
        self.worker.close()

    def add(self, name: str, run: Path) -> None:
        """Serve the model of a run folder from now on, in the place of any that had this name.

        Raises:
            UserError: it cannot be loaded.
        """
        model = load(run, "cpu")
        self.worker.add(name, run)
        self.models[name] = model

    @property
    def waiting(self) -> int:
        """Jobs that wait or run."""
        return len(self._standing)

    def check_room(self) -> None:
        """Refuse a job for which there is no place.

        Raises:
            FullError: as many wait as are let to.
        """
        if len(self._standing) >= self.limits.queue or self._stopping:
            self.tally.refused += 1
            raise FullError(self._expected())

    def submit(self, model: str, verb: str, request: Request, files: Files) -> tuple[Job, Future[Outcome]]:
        """Take a job on; gives it, and how it will end.

        Raises:
            FullError: as many wait as are let to.
        """
        job = Job(secrets.token_urlsafe(16), model, verb, request.model_dump(mode="json"), files)
        task = Task.of(job, request)
        with self._news:
            self.check_room()
            self.store.put(job)
            over = self._take(task)
            self._news.notify_all()
        return job, over

    def standing(self, id: str) -> Standing:
        """How far a job is; of one that is over, as it was never begun."""
        return self._standing.get(id, Standing())

    def cancel(self, id: str) -> bool:
        """Forget a job; one that runs stops at the next evaluation of the network."""
        with self._news:
            standing = self._standing.get(id)
            if standing is None:
                return False
            standing.cancelled = True
            if any(task.job.id == id for task in self._waiting):
                self._waiting = [task for task in self._waiting if task.job.id != id]
                self._end(id, State.CANCELLED)
            elif self._unwanted(standing.course):
                standing.course.stop()
        return True

    def wait(self, id: str, seconds: float) -> bool:
        """Wait until a job is over, but not longer; whether it is."""
        over = self._over.get(id)
        return over is None or over in wait([over], seconds).done

    def _take(self, task: Task) -> Future[Outcome]:
        over = Future[Outcome]()
        over.set_running_or_notify_cancel()  # so that none of those who wait for it can cancel it for the others
        self._waiting.append(task)
        self._standing[task.job.id], self._over[task.job.id] = Standing(), over
        return over

    def _expected(self) -> float:
        """Seconds until a place is free: what a job took so far."""
        finished = sum(self.tally.over.values())
        return max(1.0, self.tally.seconds / finished / self.worker.places) if finished else 1.0

    def _unwanted(self, course: Course) -> bool:
        """Whether nobody waits for any job of a batch."""
        return all(standing.cancelled for standing in self._standing.values() if standing.course is course)

    def _end(self, id: str, state: State, reason: str | None = None, result: Result | None = None) -> None:
        self.store.move(id, state, reason, result)
        self.tally.over[state] += 1
        self._standing.pop(id, None)
        over = self._over.pop(id, None)
        if over is not None:
            over.set_result(Outcome(state, reason, result))

    def _work(self) -> None:
        while True:
            with self._news:
                while not self._waiting and not self._stopping:
                    self._news.wait()
                if self._stopping:
                    return
                tasks = self._next()
                for task in tasks:
                    self._standing[task.job.id].started = time.time()
            self._do(tasks)
            self.store.forget(time.time() - self.limits.kept)

    def _next(self) -> list[Task]:
        """The oldest, and its companions, as far as they fit in one batch."""
        first = self._waiting.pop(0)
        tasks, room = [first], _TOGETHER - first.request.size
        if first.alike is not None and self.together:
            for task in [*self._waiting]:
                if task.alike == first.alike and task.request.size <= room:
                    self._waiting.remove(task)
                    tasks.append(task)
                    room -= task.request.size
        return tasks

    def _do(self, tasks: Sequence[Task]) -> None:
        """Do it in one go; where several fail together, each is done for itself, so that none spoils the others."""
        first, jobs = tasks[0].job, [task.job for task in tasks]
        start, course = time.perf_counter(), self._embark(jobs)
        try:
            results = self.worker.do(Batch(first.model, [task.request for task in tasks], first.files), course)
        except Stopped:
            if not self._abandoning:  # else the next server does them
                self._all(jobs, State.CANCELLED)
        except UserError as error:
            if len(tasks) > 1:
                for task in tasks:
                    self._do([task])
                return
            self._all(jobs, State.FAILED, str(error))
        except Exception:  # of our own; what it is concerns the log of the server alone
            _LOG.exception("job %s", first.id)
            self._all(jobs, State.FAILED, FAULT)
        else:
            self._done(tasks, results)
        with self._news:
            self.tally.seconds += time.perf_counter() - start

    def _embark(self, jobs: Sequence[Job]) -> Course:
        """One course for all of them, which is to stop at once where it is too late for it."""
        course = Course()
        with self._news:
            for job in jobs:
                self._standing[job.id].course = course
            course.stopped = self._abandoning or self._unwanted(course)
        return course

    def _done(self, tasks: Sequence[Task], results: Sequence[Result]) -> None:
        with self._news:
            self.tally.batches += 1
            self.tally.items += sum(task.request.size for task in tasks)
            for task, result in zip(tasks, results, strict=True):
                if self._standing[task.job.id].cancelled:
                    self._end(task.job.id, State.CANCELLED)
                else:
                    self._end(task.job.id, State.DONE, None, result)

    def _all(self, jobs: Sequence[Job], state: State, reason: str | None = None) -> None:
        with self._news:
            for job in jobs:
                self._end(job.id, state, reason)
