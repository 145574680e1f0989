"""The server: models, who may ask, how much, and how mistakes are told."""

import asyncio
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import HTTPException, RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel
from starlette.types import ASGIApp, Receive, Scope, Send

from suffuse import __version__
from suffuse.errors import UserError
from suffuse.model import Model
from suffuse.serving import openai, routes, service
from suffuse.serving.engine import Engine, FullError
from suffuse.serving.limits import Limits
from suffuse.serving.store import Store
from suffuse.serving.tokens import Tokens
from suffuse.serving.worker import Worker

_OPEN = ("/health", "/ready")
"""Paths that need no token."""


class Problem(BaseModel):
    """What was wrong, in a sentence."""

    error: str


_PROBLEMS: dict[int | str, dict[str, Any]] = {
    status: {"model": Problem, "description": text}
    for status, text in (
        (400, "it does not fit the model, or the upload cannot be read"),
        (401, "a token is needed"),
        (404, "there is no such model or job"),
        (409, "the job has no result"),
        (411, "the request says no length"),
        (413, "the request is too large"),
        (422, "a number or a word is out of range"),
        (429, "too many wait; Retry-After says for how many seconds"),
    )
}


def create_app(
    models: Mapping[str, Model],
    store: Store,
    limits: Limits | None = None,
    tokens: Tokens | None = None,
    together: bool = True,
    worker: Worker | None = None,
) -> FastAPI:
    """The API of some models.

    Args:
        models: by name.
        store: where jobs are kept.
        limits: on what is taken on.
        tokens: that are let in.
        together: whether compatible requests are walked in one batch.
        worker: who does the work; by default this process.
    """
    limits = limits or Limits()
    engine = Engine(models, store, limits, together, worker)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncGenerator[None]:
        engine.start()
        yield
        await asyncio.to_thread(engine.stop)
        store.close()

    app = FastAPI(
        title="Suffuse",
        version=__version__,
        lifespan=lifespan,
        responses=_PROBLEMS,
        exception_handlers={
            UserError: _mistake,
            FullError: _full,
            HTTPException: _refused,
            RequestValidationError: _invalid,
        },
    )
    app.state.engine = engine
    app.add_middleware(_Guard, engine=engine, tokens=tokens or Tokens([]))
    for router in (service.ROUTER, routes.ROUTER, openai.ROUTER):
        app.include_router(router)
    return app


class _Guard:
    """Tokens, the size of requests, and whether there is a place, before anything of them is read.

    A full server has the least time for those whom it refuses: its walks share the interpreter with them.
    """

    def __init__(self, app: ASGIApp, engine: Engine, tokens: Tokens) -> None:
        self.app, self.engine, self.tokens = app, engine, tokens

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse, or hand on."""
        refusal = self._refusal(Request(scope)) if scope["type"] == "http" else None
        await (refusal or self.app)(scope, receive, send)

    def _refusal(self, http: Request) -> Response | None:
        if http.url.path not in _OPEN and not self.tokens.admits(http.headers.get("authorization")):
            return JSONResponse({"error": "a token is needed"}, 401, {"WWW-Authenticate": "Bearer"})
        length = http.headers.get("content-length", "" if "transfer-encoding" in http.headers else "0")
        if not length.isdigit():
            return JSONResponse({"error": "the request says no length"}, 411)
        if int(length) > self.engine.limits.upload:
            return JSONResponse({"error": f"a request has at most {self.engine.limits.upload} bytes"}, 413)
        if http.method == "POST" and http.url.path.startswith("/v1/"):
            try:
                self.engine.check_room()
            except FullError as error:
                return _no_room(error)
        return None


async def _mistake(_: Request, error: Any) -> Response:
    return JSONResponse({"error": str(error)}, 400)


async def _full(_: Request, error: Any) -> Response:
    return _no_room(error)


def _no_room(error: FullError) -> Response:
    return JSONResponse({"error": str(error)}, 429, {"Retry-After": str(max(1, round(error.seconds)))})


async def _refused(_: Request, error: Any) -> Response:
    return JSONResponse({"error": error.detail}, error.status_code)


async def _invalid(_: Request, error: Any) -> Response:
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"][1:])
    return JSONResponse({"error": f"{where}: {first['msg']}" if where else first["msg"]}, 422)
