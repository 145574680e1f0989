"""Pictures as clients of OpenAI's images API ask for them."""

import base64
import io
import time
import zipfile
from typing import Annotated, Literal

from fastapi import APIRouter, HTTPException, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from suffuse.serving.routes import answered
from suffuse.serving.service import EngineOf
from suffuse.serving.verbs import Generate

ROUTER = APIRouter()


class Images(BaseModel):
    """The fields of that API that mean something here; others are passed over."""

    model_config = ConfigDict(extra="ignore")
    prompt: Annotated[str, Field(max_length=4000, description="the caption or class; empty for none")] = ""
    model: Annotated[str | None, Field(description="name of a model; by default the first of pictures")] = None
    n: Annotated[int, Field(ge=1, le=10)] = 1
    size: Annotated[str | None, Field(pattern=r"^(auto|\d{1,4}x\d{1,4})$", description="width x height")] = None
    response_format: Literal["b64_json"] = "b64_json"
    seed: Annotated[int, Field(ge=0, lt=2**62)] = 0


class Image(BaseModel):
    """A picture, as a PNG in base 64."""

    b64_json: str


class Drawn(BaseModel):
    """Pictures."""

    created: int
    data: list[Image]


@ROUTER.post("/v1/images/generations", tags=["compatible"])
async def generations(asked: Images, http: Request, engine: EngineOf) -> Drawn:
    """Draw pictures."""
    pictures = [name for name, model in engine.models.items() if model.codec.kind == "image"]
    name = asked.model or next(iter(pictures), None)
    if name not in pictures:
        raise HTTPException(404, f"there is no model of pictures {name!r}; there are {', '.join(pictures)}")
    side: list[int] | None = None
    if asked.size is not None and asked.size != "auto":
        width, height = map(int, asked.size.split("x"))
        side = [height, width]
    request = Generate(n=asked.n, condition=asked.prompt or None, side=side, seed=asked.seed)
    answer = await answered(engine, http, name, "generate", request, {})
    return Drawn(created=int(time.time()), data=[Image(b64_json=each) for each in _encoded(answer)])


def _encoded(answer: Response) -> list[str]:
    if answer.media_type == "image/png":
        return [base64.b64encode(answer.body).decode()]
    with zipfile.ZipFile(io.BytesIO(answer.body)) as archive:
        names = [name for name in archive.namelist() if name != "sheet.png"]
        return [base64.b64encode(archive.read(name)).decode() for name in names]
