"""What can be asked about how a model works: its walks, its errors, its densities, what belongs together."""

import json
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, ClassVar, Literal

from PIL import Image
from pydantic import Field

from suffuse.errors import UserError
from suffuse.explaining import Map, attention, belonging, densities, errors, gradient, walk
from suffuse.model import Model
from suffuse.outputs import contents
from suffuse.serving.asked import Condition, Files, Guidance, Progress, Request, Seed, Steps, example, json_file
from suffuse.serving.limits import Limits
from suffuse.serving.payloads import packed, read
from suffuse.serving.store import Result

TIMES = "times.json"
"""Beside frames: the time of each."""
Frames = Annotated[int, Field(ge=1, le=64, description="moments that are shown")]


class Walk(Request):
    """Draw new samples, and show the walk from noise to them: a frame for each of several moments."""

    model_config = example(n=4, condition="cat", frames=16)
    uploads: ClassVar[tuple[str, ...]] = ()
    n: Annotated[int, Field(ge=1, le=16, description="how many samples")] = 4
    frames: Frames = 24
    condition: Condition = None
    steps: Steps = None
    guidance: Guidance = None
    seed: Seed = 0

    @property
    def size(self) -> int:
        """See the base class."""
        return self.n

    def answer(self, model: Model, files: Files, limits: Limits, progress: Progress) -> Result:
        """See the base class; a ZIP file of what the network took them for, and of the noise where that shows."""
        moments = walk(
            model,
            self.n,
            self.frames,
            condition=self.condition,
            steps=self.steps,
            guidance=self.guidance,
            seed=self.seed,
        )
        frames: dict[str, Image.Image | str] = {}
        for number, glimpse in enumerate(moments):
            noisy = glimpse.noisy(model, self.n)
            frames |= {} if noisy is None else {f"{number:03d}-noisy": noisy}
            frames[f"{number:03d}-guess"] = glimpse.guess(model, self.n)
            progress(number + 1, len(moments))
        return _film(frames, [glimpse.t for glimpse in moments])


class Densities(Request):
    """Show the density of a model of two numbers, from noise to data."""

    model_config = example(frames=12)
    uploads: ClassVar[tuple[str, ...]] = ()
    frames: Frames = 16
    condition: Condition = None
    steps: Steps = None
    seed: Seed = 0

    def answer(self, model: Model, files: Files, limits: Limits, progress: Progress) -> Result:
        """See the base class; a ZIP file of contours."""
        times = [1 - place / max(1, self.frames - 1) for place in range(self.frames)]
        frames: dict[str, Image.Image | str] = {}
        shown = densities(model, times, condition=self.condition, steps=self.steps, seed=self.seed)
        for number, density in enumerate(shown):
            frames[f"{number:03d}-density"] = density.picture()
            progress(number + 1, self.frames)
        return _film(frames, times)


class Errors(Request):
    """Say how far the network is from items at each of several levels of noise."""

    model_config = example(times=12)
    times: Annotated[int, Field(ge=2, le=64, description="levels, evenly spread over the time")] = 16
    condition: Condition = None
    seed: Seed = 0

    def answer(self, model: Model, files: Files, limits: Limits, progress: Progress) -> Result:
        """See the base class; a JSON list with an entry for each time."""
        items = model.codec.collect(read(model, model.codec.kind, files["file"], limits))
        found = errors(model, items, condition=self.condition, times=self.times, seed=self.seed, progress=progress)
        return json_file("errors.json", [asdict(each) for each in found])


_MAPS: Mapping[str, Map] = MappingProxyType({"gradient": gradient, "attention": attention})


class Belonging(Request):
    """Show what the network looks at for one place of a picture, at each of several levels of noise."""

    model_config = example(place=[0.5, 0.5], times=[0.2, 0.5, 0.8])
    place: tuple[Annotated[float, Field(ge=0, le=1)], Annotated[float, Field(ge=0, le=1)]] = (0.5, 0.5)
    times: Annotated[tuple[Annotated[float, Field(gt=0, le=1)], ...], Field(min_length=1, max_length=8)] = (
        0.2,
        0.4,
        0.6,
        0.8,
    )
    by: Annotated[Literal["gradient", "attention"], Field(description="what a map shows")] = "gradient"
    seed: Seed = 0

    def answer(self, model: Model, files: Files, limits: Limits, progress: Progress) -> Result:
        """See the base class; a PNG with a heat map for each time."""
        items = read(model, model.codec.kind, files["file"], limits)
        if len(items) != 1:
            raise UserError(f"one picture is looked at at a time, and the upload has {len(items)}")
        with tempfile.TemporaryDirectory() as folder:
            maps = belonging(model, items[0], self.times, self.place, self.seed, _MAPS[self.by])
            maps.save(Path(folder) / "belonging.png")
            return packed(contents(Path(folder)))


def _film(frames: dict[str, Image.Image | str], times: Sequence[float]) -> Result:
    with tempfile.TemporaryDirectory() as folder:
        for name, frame in frames.items():
            if isinstance(frame, str):
                (Path(folder) / f"{name}.txt").write_text(frame, encoding="utf-8")
            else:
                frame.save(Path(folder) / f"{name}.png")
        (Path(folder) / TIMES).write_text(json.dumps([round(t, 6) for t in times]), encoding="utf-8")
        return packed(contents(Path(folder)))
