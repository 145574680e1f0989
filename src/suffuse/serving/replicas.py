"""The work of a server, done by replicas that Ray Serve keeps, more of them the more there is to do."""

import asyncio
import logging
import re
import socket
from collections.abc import AsyncGenerator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch

from suffuse.cluster import connected, is_own, room
from suffuse.errors import UserError
from suffuse.serving.limits import Limits
from suffuse.serving.store import Result
from suffuse.serving.worker import Batch, Course, Here, Stopped, Worker
from suffuse.store import load

_LOG = logging.getLogger("suffuse.serving")
_RETRIES = 3
"""Times that a batch is begun again where its replica is lost; what kills four of them is no accident."""
_TICK = 0.1
"""Seconds between words of a replica on how far it is."""
_PATIENT = 3600.0
"""Seconds that a replica which is one too many is let to finish in."""
_SCALING = {
    "target_ongoing_requests": 1,
    "metrics_interval_s": 0.5,
    "look_back_period_s": 1.0,
    "upscale_delay_s": 1.0,
    "downscale_delay_s": 60.0,
}
"""As many replicas as there are batches to do, soon, and fewer a minute after there are fewer."""
_QUIET = {"log_level": "ERROR", "enable_access_log": False}


class Replicas(Worker):
    """Processes of a Ray cluster that hold the models.

    Args:
        runs: run folders by name; every machine of the cluster must see them by the same paths.
        limits: on what is taken on.
        workers: replicas, as "4", or at least and at most, as "1:4"; by default one, and at most one for each GPU of
            the cluster, or each CPU.
        port: that the server listens at, which tells it from others on the cluster.

    Raises:
        UserError: it is no such number, Ray is not installed, was imported before, is not at ``RAY_ADDRESS``, has no
            room, or cannot start them.
    """

    def __init__(self, runs: Mapping[str, Path], limits: Limits, workers: str | None, port: int) -> None:
        fewest, most = (1, None) if workers is None else bounds(workers)
        application = f"suffuse-{socket.gethostname()}-{port}"  # of a server that was killed, the next replaces it
        with ExitStack() as opened:
            ray = opened.enter_context(connected("serving with --engine ray", most))
            if not is_own():
                opened.callback(_delete, application)
            kind, there = room(ray)
            if fewest > there:
                raise UserError(f"the cluster has room for {there} workers, and --workers asks for {fewest}")
            self.places, self._errors = most or there, ray.exceptions
            found = {name: run.resolve() for name, run in runs.items()}
            self._handle = _deployed(application, found, limits, {kind: 1}, fewest, self.places)
            opened.callback(self._handle.shutdown)  # else it goes on to tell how much there is to do
            self._opened = opened.pop_all()

    def do(self, batch: Batch, course: Course) -> list[Result]:
        """See the base class; where a replica is lost, another one begins the batch again."""
        for _ in range(_RETRIES + 1):
            try:
                return self._asked(batch, course)
            except self._errors.RayTaskError as error:
                if isinstance(error.cause, UserError):
                    raise UserError(str(error.cause)) from error
                raise
            except self._errors.RayError as error:
                if course.stopped:
                    raise Stopped from error
                _LOG.warning("a replica was lost, and another begins again what it did: %s", type(error).__name__)
        raise RuntimeError(f"{_RETRIES + 1} replicas were lost over one batch")

    def add(self, name: str, run: Path) -> None:
        """None is taken: replicas have the models that they were begun with.

        Raises:
            UserError: always.
        """
        raise UserError(f"{name} cannot be added to workers that Ray keeps; start the server with it")

    def close(self) -> None:
        """See the base class."""
        self._opened.close()

    def _asked(self, batch: Batch, course: Course) -> list[Result]:
        answer = self._handle.do.remote(batch)

        def heed() -> None:
            if course.stopped:
                answer.cancel()

        course.heed = heed
        heed()
        results: list[Result] = []
        for said in answer:
            if isinstance(said, list):
                results = said
            else:
                course.done, course.total, course.evaluations = said
        return results


def _delete(name: str) -> None:
    from ray import serve

    serve.delete(name)


def bounds(workers: str) -> tuple[int, int]:
    """The least and the greatest number of replicas.

    Raises:
        UserError: they are none.

    Example:
        >>> bounds("1:4"), bounds("2")
        ((1, 4), (2, 2))
    """
    if re.fullmatch(r"[1-9]\d*(:[1-9]\d*)?", workers, re.ASCII):
        fewest, _, most = workers.partition(":")
        if int(fewest) <= int(most or fewest):
            return int(fewest), int(most or fewest)
    raise UserError(f"--workers is a number of workers, as 4, or the least and the greatest, as 1:4, not {workers}")


class Replica:
    """One of the processes.

    Args:
        runs: run folders by name.
        limits: on what is taken on.
        inside: whether it is to be reached from this machine alone.
    """

    def __init__(self, runs: Mapping[str, Path], limits: Limits, inside: bool) -> None:
        if inside:
            _keep_inside()
        torch.set_num_threads(1)  # rounding depends on it, and so must not be left to the machine
        self._here = Here({name: load(run) for name, run in runs.items()}, limits)
        self._thread = ThreadPoolExecutor(1)  # what was told to stop may not have stopped when the next comes

    async def do(self, batch: Batch) -> AsyncGenerator[tuple[int, int, int] | list[Result]]:
        """How far a batch is, again and again, and in the end its results. Whoever cancels it stops the walk."""
        course = Course()
        work = asyncio.get_running_loop().run_in_executor(self._thread, self._here.do, batch, course)
        try:
            while not (await asyncio.wait({work}, timeout=_TICK))[0]:
                yield course.done, course.total, course.evaluations
            yield work.result()
        finally:
            course.stop()


def _keep_inside() -> None:
    """Have gRPC listen at this machine's own address alone.

    Ray Serve opens a port in each replica at all addresses, which is for calls from deployment to deployment.
    """
    import grpc.aio

    kind = type(grpc.aio.server())
    listen = kind.add_insecure_port

    def listen_inside(self: grpc.aio.Server, address: str) -> int:
        return listen(self, address.replace("[::]", "127.0.0.1"))

    kind.add_insecure_port = listen_inside


def _deployed(
    name: str, runs: Mapping[str, Path], limits: Limits, need: Mapping[str, float], fewest: int, most: int
) -> Any:
    """A handle of replicas, of which the first are there."""
    try:
        from ray import serve
    except ImportError as missing:
        raise UserError("serving with --engine ray needs Ray Serve: pip install 'suffuse[ray]'") from missing
    logging.getLogger("ray.serve").setLevel(logging.ERROR)
    serve.start(proxy_location="Disabled", logging_config=_QUIET)
    logging.getLogger("ray.serve").setLevel(logging.ERROR)  # which that has changed
    deployed: Any = serve.deployment(
        name="replica",
        ray_actor_options=dict(need),
        max_ongoing_requests=1,
        autoscaling_config=_SCALING | {"min_replicas": fewest, "max_replicas": most},
        health_check_period_s=1.0,
        graceful_shutdown_timeout_s=_PATIENT,
        logging_config=_QUIET,
    )
    try:
        handle = serve.run(deployed(Replica).bind(runs, limits, is_own()), name=name, route_prefix=None)
    except RuntimeError as error:
        raise UserError("the workers do not start; every machine of the cluster must see the run folders by the same "
                        "paths, and have Suffuse; Ray's logs say more") from error  # fmt: skip
    return handle.options(stream=True)
