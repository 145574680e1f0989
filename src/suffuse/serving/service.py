"""What a service is watched by, and the models that it has."""

from typing import Annotated

from fastapi import APIRouter, Depends, Request, Response
from pydantic import BaseModel

from suffuse import __version__
from suffuse.serving.engine import Engine, FullError
from suffuse.serving.payloads import FORMS
from suffuse.serving.prometheus import exposition

ROUTER = APIRouter()


async def _engine_of(http: Request) -> Engine:  # one that is not async would cost a thread for each request
    return http.app.state.engine


EngineOf = Annotated[Engine, Depends(_engine_of)]


class ModelInfo(BaseModel):
    """What a model is: kind of its items, what it can be told, and suffixes of files that it reads."""

    name: str
    kind: str
    conditions: dict[str, list[str]]
    uploads: list[str]


@ROUTER.get("/health", tags=["service"])
async def health() -> dict[str, str]:
    """Whether the server runs."""
    return {"status": "ok", "version": __version__}


@ROUTER.get("/ready", tags=["service"])
async def ready(engine: EngineOf) -> dict[str, int]:
    """Whether it takes jobs, and how many wait.

    Raises:
        FullError: it takes none.
    """
    if engine.waiting >= engine.limits.queue:
        raise FullError(1.0)
    return {"waiting": engine.waiting, "queue": engine.limits.queue}


@ROUTER.get("/metrics", tags=["service"], response_class=Response)
async def metrics(engine: EngineOf) -> Response:
    """Counters and gauges, as Prometheus reads them."""
    return Response(exposition(engine), media_type="text/plain; version=0.0.4; charset=utf-8")


@ROUTER.get("/v1/models", tags=["models"])
async def models(engine: EngineOf) -> list[ModelInfo]:
    """The models that are served."""
    return [
        ModelInfo(
            name=name,
            kind=model.codec.kind,
            conditions={told: codec.candidates() for told, codec in model.conditions.items()},
            uploads=[*FORMS.get(model.codec.kind, ())],
        )
        for name, model in engine.models.items()
    ]
