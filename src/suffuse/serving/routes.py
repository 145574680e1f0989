"""A route for each verb, and those of jobs."""

import asyncio
import json
import time
from collections.abc import AsyncGenerator, Callable, Coroutine, Mapping
from concurrent.futures import Future
from dataclasses import replace
from typing import Annotated, Any

from fastapi import APIRouter, Depends, HTTPException, Request, Response
from fastapi.responses import JSONResponse, StreamingResponse
from pydantic import BaseModel, ValidationError
from starlette.datastructures import FormData, UploadFile

from suffuse.serving.asked import Files
from suffuse.serving.asked import Request as Asked
from suffuse.serving.engine import Engine
from suffuse.serving.explanations import Densities, Walk
from suffuse.serving.service import EngineOf
from suffuse.serving.store import Job, Outcome, State
from suffuse.serving.verbs import VERBS, Generate

ROUTER = APIRouter()
_TICK = 0.1
"""Seconds between looks at a job that somebody waits for."""


class JobInfo(BaseModel):
    """What a job has come to, and how far it is: parts done, evaluations of the network, seconds left."""

    id: str
    model: str
    verb: str
    state: State
    reason: str | None
    done: int
    total: int
    evaluations: int
    seconds_left: float | None


_ANSWERS: dict[int | str, dict[str, Any]] = {
    200: {"description": "the result, in the content type of its kind", "content": {"*/*": {}}},
    202: {"model": JobInfo, "description": "the job, where the header Prefer: respond-async asks for it"},
}


@ROUTER.post("/v1/models/{model}/generate", tags=["verbs"], response_class=Response, responses=_ANSWERS)
async def generate(model: str, asked: Generate, http: Request, engine: EngineOf) -> Response:
    """Draw new samples."""
    return await answered(engine, http, model, "generate", asked, {})


@ROUTER.post("/v1/models/{model}/walk", tags=["verbs"], response_class=Response, responses=_ANSWERS)
async def walk(model: str, asked: Walk, http: Request, engine: EngineOf) -> Response:
    """Draw new samples, and show the walk from noise to them."""
    return await answered(engine, http, model, "walk", asked, {})


@ROUTER.post("/v1/models/{model}/densities", tags=["verbs"], response_class=Response, responses=_ANSWERS)
async def densities(model: str, asked: Densities, http: Request, engine: EngineOf) -> Response:
    """Show the density of a model of two numbers, from noise to data."""
    return await answered(engine, http, model, "densities", asked, {})


def _uploading(verb: str, request: type[Asked]) -> Callable[..., Coroutine[Any, Any, Response]]:
    """The route of a verb that is told files."""

    async def route(model: str, http: Request, engine: EngineOf) -> Response:
        async with http.form(max_files=len(request.uploads), max_fields=1) as form:
            files, options = await _sent(form, verb, request)
        return await answered(engine, http, model, verb, options, files)

    route.__doc__ = request.__doc__
    return route


async def _sent(form: FormData, verb: str, request: type[Asked]) -> tuple[Files, Asked]:
    """The uploads of a form, and its options."""
    files: dict[str, tuple[str, bytes]] = {}
    options = "{}"
    for name, value in form.multi_items():
        if isinstance(value, UploadFile) and name in request.uploads:
            files[name] = (_suffix(value.filename), await value.read())
        elif isinstance(value, str) and name == "options":
            options = value
        else:
            raise HTTPException(422, f"{name[:64]}: {verb} takes the files {', '.join(request.uploads)}, and options")
    if "file" not in files:
        raise HTTPException(422, "file: Field required")
    return files, _parsed(request, options)


def _form_of(request: type[Asked]) -> dict[str, Any]:
    """What OpenAPI says of that form: FastAPI knows no JSON in the fields of one."""
    options = request.model_json_schema()
    binary = {"type": "string", "format": "binary"}
    schema = {
        "type": "object",
        "properties": {**{name: binary for name in request.uploads}, "options": options},
        "required": ["file", *(["options"] if options.get("required") else [])],
        "additionalProperties": False,
    }
    content = {"schema": schema, "encoding": {"options": {"contentType": "application/json"}}}
    return {"requestBody": {"required": True, "content": {"multipart/form-data": content}}}


for _verb, _request in VERBS.items():
    if _request.uploads:
        ROUTER.add_api_route(
            f"/v1/models/{{model}}/{_verb}",
            _uploading(_verb, _request),
            methods=["POST"],
            tags=["verbs"],
            operation_id=_verb,
            response_class=Response,
            responses=_ANSWERS,
            openapi_extra=_form_of(_request),
        )


def _suffix(name: str | None) -> str:
    """What stands behind the last dot of a file's name: all of it that is ever used."""
    stem, _, suffix = (name or "").rpartition(".")
    return f".{suffix.lower()}" if stem and suffix.isalnum() and suffix.isascii() else ""


def _parsed(request: type[Asked], options: str) -> Asked:
    try:
        return request.model_validate_json(options)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in ("options", *first["loc"]))
        raise HTTPException(422, f"{where}: {first['msg']}") from error


async def answered(engine: Engine, http: Request, model: str, verb: str, asked: Asked, files: Files) -> Response:
    """Submit a job, and answer with it or, as long as the client waits, with its result.

    Raises:
        HTTPException: there is no such model, or too much is asked for.
        FullError: too many wait.
    """
    limits = engine.limits
    if model not in engine.models:
        raise HTTPException(404, f"there is no model {model!r}; there are {', '.join(engine.models)}")
    if asked.size > limits.items:
        raise HTTPException(422, f"at most {limits.items} items are drawn at once, not {asked.size}")
    if asked.pixels > limits.pixels:
        raise HTTPException(422, f"at most {limits.pixels} pixels are drawn at once, not {asked.pixels}")
    if (asked.model_dump().get("steps") or 0) > limits.steps:
        raise HTTPException(422, f"a walk has at most {limits.steps} steps")
    job, over = await asyncio.to_thread(engine.submit, model, verb, asked, files)
    if "respond-async" in http.headers.get("prefer", ""):
        return JSONResponse(_info(engine, job).model_dump(), 202, {"Location": f"/v1/jobs/{job.id}"})
    outcome = await _awaited(http, over)
    if outcome is None:
        engine.cancel(job.id)
        return Response(status_code=499)
    return _answer(job.id, outcome)


async def _awaited(http: Request, over: Future[Outcome]) -> Outcome | None:
    """How a job ended, or None where the client has left before."""
    ended, left = asyncio.wrap_future(over), asyncio.create_task(_left(http))
    try:
        await asyncio.wait((ended, left), return_when=asyncio.FIRST_COMPLETED)
    finally:
        left.cancel()
    return ended.result() if ended.done() else None


async def _left(http: Request) -> None:
    while (await http.receive())["type"] != "http.disconnect":
        pass


def _found(engine: Engine, id: str) -> Job:
    job = engine.store.get(id)
    if job is None:
        raise HTTPException(404, "there is no such job")
    begun = job.state is State.QUEUED and engine.standing(id).started is not None  # which no other server need know
    return replace(job, state=State.RUNNING) if begun else job


async def _job(id: str, engine: EngineOf) -> Job:
    return await asyncio.to_thread(_found, engine, id)


JobOf = Annotated[Job, Depends(_job)]


def _info(engine: Engine, job: Job) -> JobInfo:
    standing = engine.standing(job.id)
    course, left = standing.course, None
    if standing.started is not None and course.done and course.total:
        left = round((time.time() - standing.started) * (course.total - course.done) / course.done, 1)
    return JobInfo(
        id=job.id,
        model=job.model,
        verb=job.verb,
        state=job.state,
        reason=job.reason,
        done=course.done,
        total=course.total,
        evaluations=course.evaluations,
        seconds_left=left,
    )


def _outcome(engine: Engine, id: str) -> Outcome:
    job = _found(engine, id)
    return Outcome(job.state, job.reason, engine.store.result(id))


def _answer(id: str, outcome: Outcome) -> Response:
    result = outcome.result
    if result is not None:
        named = {"Content-Disposition": f'attachment; filename="{result.name}"', "X-Job": id}
        return Response(result.data, media_type=result.media, headers=named)
    if outcome.state is State.FAILED:
        raise HTTPException(500 if outcome.ours else 400, outcome.reason or "it failed")
    raise HTTPException(409, f"the job is {outcome.state}, and has no result")


@ROUTER.get("/v1/jobs/{id}", tags=["jobs"])
async def told(job: JobOf, engine: EngineOf) -> JobInfo:
    """What a job has come to."""
    return _info(engine, job)


@ROUTER.get("/v1/jobs/{id}/result", tags=["jobs"], response_class=Response, responses={200: _ANSWERS[200]})
async def result(id: str, engine: EngineOf) -> Response:
    """What it gave."""
    return _answer(id, await asyncio.to_thread(_outcome, engine, id))


@ROUTER.delete("/v1/jobs/{id}", tags=["jobs"])
async def cancelled(job: JobOf, engine: EngineOf) -> JobInfo:
    """Stop a job at the next evaluation of the network."""
    engine.cancel(job.id)
    await asyncio.to_thread(engine.wait, job.id, 5.0)
    return _info(engine, await asyncio.to_thread(_found, engine, job.id))


@ROUTER.get("/v1/jobs/{id}/events", tags=["jobs"], response_class=StreamingResponse)
async def events(job: JobOf, engine: EngineOf) -> StreamingResponse:
    """How far it is, as server-sent events, until it is over."""
    return StreamingResponse(
        _events(engine, job.id), media_type="text/event-stream", headers={"Cache-Control": "no-store"}
    )


async def _events(engine: Engine, id: str) -> AsyncGenerator[str]:
    before: Mapping[str, Any] = {}
    while True:
        info = _info(engine, await asyncio.to_thread(_found, engine, id))
        said = info.model_dump(mode="json")
        if said != before:
            yield f"event: {info.state}\ndata: {json.dumps(said)}\n\n"
        if info.state.over:
            return
        before = said
        await asyncio.to_thread(engine.wait, id, _TICK)
