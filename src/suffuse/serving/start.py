"""A server from run folders: loaded, checked, and listening."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from suffuse.errors import UserError
from suffuse.serving.tokens import Tokens, check_open

if TYPE_CHECKING:
    from fastapi import FastAPI
    from uvicorn import Server


def start(
    runs: Sequence[Path],
    host: str = "127.0.0.1",
    port: int = 8000,
    tokens: Path | None = None,
    jobs: Path | None = None,
    queue: int = 64,
    engine: Literal["ray"] | None = None,
    workers: str | None = None,
    page: Callable[["FastAPI"], str] | None = None,
) -> None:
    """Serve models until the process is told to stop; see :func:`suffuse.commands.serve`.

    Args:
        runs: run folders.
        host: to listen at.
        port: to listen at.
        tokens: file of those that are let in.
        jobs: file that jobs are kept in.
        queue: jobs that wait, at most.
        engine: what does the work: by default a process beside this one.
        workers: as for :class:`suffuse.serving.replicas.Replicas`, where Ray does it.
        page: puts a page for people on the server, and says where.

    Raises:
        UserError: a model or the tokens cannot be read, other machines could ask without tokens, the address is
            taken, or Ray cannot do the work.
    """
    let_in = Tokens.read(tokens)
    check_open(host, let_in)
    if queue < 1:
        raise UserError(f"at least one job must be let to wait, not {queue}")
    if not runs and page is None:
        raise UserError("nothing to serve; name the run folder of a trained model")
    if workers is not None and engine is None:
        raise UserError("--workers is for --engine ray; without it one process does the work")
    named = _named(runs)
    try:
        from uvicorn import Config, Server

        from suffuse.serving.app import create_app
    except ImportError as missing:
        raise UserError("serving needs FastAPI and uvicorn: pip install 'suffuse[serve]'") from missing
    from suffuse.serving.limits import Limits
    from suffuse.serving.store import SQLite
    from suffuse.store import load

    models, limits = {name: load(run, "cpu") for name, run in named.items()}, Limits(queue=queue)
    with ExitStack() as opened:
        if engine is None:
            from suffuse.serving.beside import Beside

            worker = Beside(named, limits)
        else:
            from suffuse.serving.replicas import Replicas

            worker = Replicas(named, limits, workers, port)
        opened.callback(worker.close)
        app = create_app(models, SQLite(jobs or runs[0] / "jobs.sqlite"), limits, let_in, worker=worker)
        place = "/docs" if page is None else page(app)
        print(
            f"serving {', '.join(models) or 'no model yet'} at http://{host}:{port}; open http://{host}:{port}{place}"
        )
        _listen(
            Server(
                Config(
                    app,
                    host=host,
                    port=port,
                    log_level="warning",
                    access_log=False,
                    server_header=False,
                    timeout_graceful_shutdown=10,
                )
            )
        )


def _listen(server: "Server") -> None:
    try:
        server.run()
    except SystemExit:  # where it cannot listen, and where Ray has been told to stop
        pass
    if not server.started:
        where = f"{server.config.host}:{server.config.port}"
        raise UserError(f"cannot listen at {where}; is it taken? --port takes another")


def _named(runs: Sequence[Path]) -> Mapping[str, Path]:
    """Run folders by their names."""
    named: dict[str, Path] = {}
    for run in runs:
        name = run.resolve().name
        if name in named:
            raise UserError(f"two models are called {name}; rename a run folder")
        named[name] = run
    return named
