"""What can be asked of a model over HTTP: the numbers and words of each verb, and the call that answers."""

import json
import math
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from suffuse.errors import UserError
from suffuse.filling import hollowed
from suffuse.model import Model
from suffuse.outputs import contents, output_of
from suffuse.serving.asked import Condition, Files, Form, Guidance, Progress, Request, Seed, Steps, example, json_file
from suffuse.serving.explanations import Belonging, Densities, Errors, Walk
from suffuse.serving.limits import Limits
from suffuse.serving.payloads import packed, read, write
from suffuse.serving.store import Result
from suffuse.translating import read_kind


class Generate(Request):
    """Draw new samples."""

    model_config = example(n=4, condition="cat", steps=30, seed=3)
    uploads: ClassVar[tuple[str, ...]] = ()
    n: Annotated[int, Field(ge=1, description="how many")] = 1
    condition: Condition = None
    steps: Steps = None
    guidance: Guidance = None
    sampler: str | None = None
    seed: Seed = 0
    side: Annotated[
        list[Annotated[int, Field(ge=1)]] | None,
        Field(max_length=3, description="of pictures: side, or height and width"),
    ] = None
    seamless: bool = False
    format: Form = None

    @property
    def size(self) -> int:
        """See the base class."""
        return self.n

    @property
    def pixels(self) -> int:
        """See the base class."""
        return self.n * math.prod(self.side if len(self.side) > 1 else self.side * 2) if self.side else 0

    def answer(self, model: Model, files: Files, limits: Limits, progress: Progress) -> Result:
        """See the base class."""
        return generate_together(model, [self], progress)[0]

    def companions(self) -> Any:
        """What requests that are walked in one batch have in common."""
        told = sorted(self.condition) if isinstance(self.condition, dict) else self.condition is not None
        return self.model_dump_json(exclude={"n", "condition", "seed", "format"}), json.dumps(told)


def generate_together(model: Model, requests: Sequence[Generate], progress: Progress) -> list[Result]:
    """Results of several requests that are companions, each what it would be alone."""
    first = requests[0]
    side = first.side
    drawn = model.codec.items(
        model.generate(
            sum(each.n for each in requests),
            condition=_columns(requests),
            steps=first.steps,
            guidance=first.guidance,
            sampler=first.sampler,
            seed=[each.seed + row for each in requests for row in range(each.n)],
            size=None if not side else side[0] if len(side) == 1 else side,
            seamless=first.seamless,
            progress=progress,
        )
    )
    results: list[Result] = []
    start = 0
    for each in requests:
        results.append(write(model, model.codec.collect([*drawn[start : start + each.n]]), each.format))
        start += each.n
    return results


def _columns(requests: Sequence[Generate]) -> Any:
    """The conditions of all samples, one after the other."""
    first = requests[0].condition
    if first is None:
        return None
    if not isinstance(first, dict):
        return [each.condition for each in requests for _ in range(each.n)]
    return {
        name: [each.condition[name] for each in requests if isinstance(each.condition, dict) for _ in range(each.n)]
        for name in first
    }


class Restore(Request):
    """Draw items from what was measured of one: draws, their mean, and where they differ."""

    model_config = example(operator="super-resolve:4", draws=4)
    uploads: ClassVar[tuple[str, ...]] = ("file", "mask")
    operator: Annotated[str, Field(max_length=64, description="as super-resolve:4; inpaint takes the upload mask")]
    noise: Annotated[float | None, Field(ge=0)] = None
    draws: Annotated[int, Field(ge=1)] = 8
    condition: Condition = None
    steps: Steps = None
    seed: Seed = 0

    @property
    def size(self) -> int:
        """See the base class."""
        return self.draws

    def answer(self, model: Model, files: Files, limits: Limits, progress: Progress) -> Result:
        """See the base class; all files in a ZIP file."""
        items = read(model, model.codec.kind, files["file"], limits)
        if len(items) != 1:
            raise UserError(f"one item is restored at a time, and the upload has {len(items)}")
        name, colon, _ = self.operator.partition(":")
        if name == "inpaint" and colon:
            raise UserError("the mask of inpaint is uploaded as mask, beside the file; leave out its name")
        with tempfile.TemporaryDirectory() as folder:
            operator = self.operator
            if name == "inpaint":
                if "mask" not in files:
                    raise UserError("inpaint needs a picture uploaded as mask, white where the file is kept")
                mask = Path(folder) / "mask.png"
                mask.write_bytes(files["mask"][1])
                operator = f"inpaint:{mask}"
            try:
                restored = model.restore(
                    items[0],
                    operator,
                    self.noise,
                    self.draws,
                    steps=self.steps,
                    seed=self.seed,
                    condition=self.condition,
                    progress=progress,
                )
            except UserError as error:
                raise UserError(str(error).replace(f"{folder}/", "")) from error
        with tempfile.TemporaryDirectory() as folder:
            output_of(model.codec.kind).save_restored(restored, self.operator, Path(folder))
            return packed(contents(Path(folder)))


class Edit(Request):
    """Change items: noise them to a strength and walk back, as a whole or where a mask is white."""

    model_config = example(strength=0.6, condition="dog")
    uploads: ClassVar[tuple[str, ...]] = ("file", "mask")
    strength: Annotated[float, Field(gt=0, le=1)] = 0.5
    draws: Annotated[int, Field(ge=1)] = 1
    condition: Condition = None
    steps: Steps = None
    guidance: Guidance = None
    seed: Seed = 0
    format: Form = None

    @property
    def size(self) -> int:
        """See the base class."""
        return self.draws

    def answer(self, model: Model, files: Files, limits: Limits, progress: Progress) -> Result:
        """See the base class."""
        items = read(model, model.codec.kind, files["file"], limits)
        mask = read(model, "image", files["mask"], limits)[0] if "mask" in files else None
        edited = model.edit(
            model.codec.collect(items),
            self.strength,
            mask,
            condition=self.condition,
            draws=self.draws,
            seed=self.seed,
            steps=self.steps,
            guidance=self.guidance,
            progress=progress,
        )
        return write(model, edited, self.format)


class Infill(Request):
    """Fill the holes of items, given the rest of each, which stays as it is."""

    model_config = example(holes=["1.2:1.25"])
    holes: Annotated[
        tuple[Annotated[str, Field(max_length=64)], ...],
        Field(max_length=64, description="from:to, in seconds of sound, frames of a video, bars of music"),
    ] = ()
    draws: Annotated[int, Field(ge=1)] = 1
    condition: Condition = None
    steps: Steps = None
    guidance: Guidance = None
    seed: Seed = 0
    format: Form = None

    @property
    def size(self) -> int:
        """See the base class."""
        return self.draws

    def answer(self, model: Model, files: Files, limits: Limits, progress: Progress) -> Result:
        """See the base class."""
        items = hollowed(model, read(model, model.codec.kind, files["file"], limits), self.holes)
        filled = model.infill(
            model.codec.collect(items),
            condition=self.condition,
            steps=self.steps,
            guidance=self.guidance,
            draws=self.draws,
            seed=self.seed,
            progress=progress,
        )
        return write(model, filled, self.format)


class Translate(Request):
    """Draw for each item what it became in training; of a label map the likeliest, unless draws are asked for."""

    model_config = example(draws=4)
    draws: Annotated[int, Field(ge=1)] | None = None
    steps: Steps = None
    guidance: Guidance = None
    seed: Seed = 0
    format: Form = None

    @property
    def size(self) -> int:
        """See the base class."""
        return self.draws or 1

    def answer(self, model: Model, files: Files, limits: Limits, progress: Progress) -> Result:
        """See the base class."""
        items = read(model, read_kind(model), files["file"], limits)
        drawn = model.translate(
            items, draws=self.draws, steps=self.steps, guidance=self.guidance, seed=self.seed, progress=progress
        )
        return write(model, drawn, self.format)


class Score(Request):
    """Say how likely a model finds every item."""

    model_config = example(evaluations=64)
    condition: Condition = None
    method: Literal["elbo", "ode"] = "elbo"
    evaluations: Annotated[int, Field(ge=4, le=4096, description="of the network; an even number")] = 64
    seed: Seed = 0

    def answer(self, model: Model, files: Files, limits: Limits, progress: Progress) -> Result:
        """See the base class; a JSON list with an entry for each item."""
        items = read(model, model.codec.kind, files["file"], limits)
        scores = model.score(
            model.codec.collect(items),
            condition=self.condition,
            method=self.method,
            evaluations=self.evaluations,
            seed=self.seed,
            progress=progress,
        )
        return json_file("scores.json", [vars(each) for each in scores])


class Classify(Request):
    """Say what every item is."""

    model_config = example(prior="data")
    of: str | None = None
    prior: Literal["even", "data"] = "even"
    evaluations: Annotated[int | None, Field(ge=2, le=65536)] = None
    seed: Seed = 0

    def answer(self, model: Model, files: Files, limits: Limits, progress: Progress) -> Result:
        """See the base class; a JSON list with an entry for each item."""
        items = read(model, model.codec.kind, files["file"], limits)
        answers = model.classify(
            model.codec.collect(items),
            of=self.of,
            prior=self.prior,
            evaluations=self.evaluations,
            seed=self.seed,
            progress=progress,
        )
        columns = answers.columns()
        rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
        return json_file("classes.json", rows)


class Embed(Request):
    """Turn every item into a vector."""

    model_config = example(t=0.1)
    t: Annotated[float, Field(gt=0, lt=1)] = 0.1
    draws: Annotated[int, Field(ge=1, le=64)] = 4
    seed: Seed = 0

    def answer(self, model: Model, files: Files, limits: Limits, progress: Progress) -> Result:
        """See the base class; a JSON list with a list of numbers for each item."""
        items = read(model, model.codec.kind, files["file"], limits)
        vectors = model.embed(model.codec.collect(items), t=self.t, draws=self.draws, seed=self.seed)
        return json_file("vectors.json", [[round(float(x), 6) for x in row] for row in vectors])


VERBS: Mapping[str, type[Request]] = MappingProxyType(
    {
        "generate": Generate,
        "infill": Infill,
        "restore": Restore,
        "edit": Edit,
        "translate": Translate,
        "score": Score,
        "classify": Classify,
        "embed": Embed,
        "walk": Walk,
        "errors": Errors,
        "densities": Densities,
        "belonging": Belonging,
    }
)
"""By the name of the route."""
