"""Workers of a Ray cluster that draw the files of a plan."""

import itertools
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from suffuse.cluster import connected, room
from suffuse.errors import UserError
from suffuse.model import Model
from suffuse.progress import Progress
from suffuse.scale.plan import Plan, held
from suffuse.scale.shards import draw
from suffuse.store import fingerprint, load

_RETRIES = 3
"""Times that a file is begun again where its worker is lost; what kills four of them is no accident."""


def generate(run: Path, plan: Plan, folder: Path, workers: int | None = None) -> None:
    """Draw what is missing of a plan into a folder, on the cluster at ``RAY_ADDRESS``, or on one of this machine.

    Args:
        run: run folder of the model; every machine of the cluster must see it, and the folder, by the same path.
        plan: what to draw.
        folder: to write into; of an earlier call that was stopped or killed, only what is missing is drawn.
        workers: processes to draw in, each with a GPU of its own where there are any; by default one for each GPU of
            the cluster, or each CPU.

    Raises:
        UserError: Ray is not installed, was imported before, or is not at that address; the folder is of another plan
            or cannot be written; or workers are lost again and again.
    """
    if workers is not None and workers < 1:
        raise UserError(f"--workers must be at least 1, not {workers}")
    with held(folder, plan), Progress("generating", plan.n) as progress:
        missing = plan.missing(folder)
        done = plan.n - sum(len(plan.seeds(number)) for number in missing)
        progress.to(done, plan.n)
        if not missing:
            return
        try:
            with connected("drawing with --engine ray", workers) as ray:
                kind, most = room(ray)
                actor = ray.remote(Drawer).options(**{kind: 1})
                arguments = run.resolve(), plan, folder.resolve()
                for drawn in _drawn(ray, lambda: actor.remote(*arguments), workers or most, missing):
                    done += drawn
                    progress.to(done, plan.n)
        except KeyboardInterrupt:
            print(f"{done} of {plan.n} are in {folder}; the same command draws the others", file=sys.stderr)
            raise


class Drawer:
    """A worker.

    Args:
        run: run folder of the model.
        plan: what to draw.
        folder: to write into.
    """

    def __init__(self, run: Path, plan: Plan, folder: Path) -> None:
        self.run, self.plan, self.folder = run, plan, folder

    @cached_property
    def model(self) -> Model:
        """Loaded when it is first asked, so that what is wrong with it is told to who asks."""
        torch.set_num_threads(1)  # rounding depends on it, and so must not be left to the machine
        model = load(self.run)
        if fingerprint(self.run) != self.plan.model:
            raise UserError(f"the model in {self.run} has changed since; name a new folder with --out")
        return model

    def draw(self, number: int) -> int:
        """See :func:`suffuse.scale.shards.draw`."""
        return draw(self.model, self.plan, number, self.folder)


def _drawn(ray: Any, start: Callable[[], Any], workers: int, numbers: Sequence[int]) -> Iterator[int]:
    """Samples of each file, as it is done; a worker has one file at a time.

    Where a worker is lost, a new one is given its file. That is not left to Ray, which spends all its retries in
    seconds on a machine that is gone.
    """
    waiting, lost = iter(numbers), Counter[int]()
    running: dict[Any, tuple[Any, int]] = {}
    for number in itertools.islice(waiting, workers):
        _give(running, start(), number)
    while running:
        done = ray.wait([*running])[0][0]
        worker, number = running.pop(done)
        drawn = _result(ray, done)
        if drawn is None:
            lost[number] += 1
            _check(number, lost[number])
            worker, following = start(), number
        else:
            yield drawn
            following = next(waiting, None)
        if following is not None:
            _give(running, worker, following)
        del worker  # one that nobody holds is let go, and leaves its room to one that waits for it


def _give(running: dict[Any, tuple[Any, int]], worker: Any, number: int) -> None:
    running[worker.draw.remote(number)] = (worker, number)


def _result(ray: Any, done: Any) -> int | None:
    """How many samples were drawn, or None where the worker was lost."""
    try:
        return ray.get(done)
    except ray.exceptions.RayTaskError as error:
        if isinstance(error.cause, UserError):
            raise UserError(str(error.cause)) from error
        raise
    except ray.exceptions.RayError:
        return None


def _check(number: int, lost: int) -> None:
    if lost > _RETRIES:
        raise UserError(
            f"the worker of file {number} was lost {lost} times, as where memory is short; fewer --workers need less "
            "of it, and the same command goes on from what is there"
        )
