"""What every request to a model has: numbers and words that are checked, and the call that answers."""

import json
from abc import abstractmethod
from collections.abc import Callable, Mapping
from typing import Annotated, Any, ClassVar, TypeAlias

from pydantic import BaseModel, ConfigDict, Field

from suffuse.model import Model
from suffuse.serving.limits import Limits
from suffuse.serving.store import Result

Files: TypeAlias = Mapping[str, tuple[str, bytes]]
Progress: TypeAlias = Callable[[int, int], None]
Said: TypeAlias = str | int | float | None

Seed = Annotated[int, Field(ge=0, lt=2**62, description="of the first item; the next have the next seeds")]
Condition = Annotated[
    Said | dict[str, Said], Field(description="a class, number or caption, or one for each of several fields by name")
]
Steps = Annotated[int | None, Field(ge=1, description="evaluations of the network for each walk")]
Guidance = Annotated[float | None, Field(ge=0, le=100, description="weight of the condition; 1 is none")]
Form = Annotated[str | None, Field(pattern="^[a-z0-9]{1,8}$", description="suffix of another form of the result: csv")]


def example(**values: Any) -> ConfigDict:
    """What OpenAPI shows of a request."""
    return ConfigDict(json_schema_extra={"examples": [values]})


class Request(BaseModel):
    """The numbers and words of a request."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    uploads: ClassVar[tuple[str, ...]] = ("file",)
    """Names of the files that belong to it, the first of which must be there."""

    @property
    def size(self) -> int:
        """How many items it asks for."""
        return 1

    @property
    def pixels(self) -> int:
        """How many pixels it asks for, where it says so."""
        return 0

    @abstractmethod
    def answer(self, model: Model, files: Files, limits: Limits, progress: Progress) -> Result:
        """Do it.

        Raises:
            UserError: it does not fit the model, or a file cannot be read.
        """


def json_file(name: str, value: Any) -> Result:
    """Values as a file of JSON."""
    return Result("application/json", name, json.dumps(value).encode())
