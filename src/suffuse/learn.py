"""From a source of data to a trained model, in one call."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from suffuse.codecs.base import ConditionCodec
from suffuse.codecs.conditions import CaptionCodec, ClassCodec
from suffuse.codecs.image import ImageCodec
from suffuse.data.base import Source
from suffuse.data.loader import Batches, mirror, split
from suffuse.data.report import Report, scan
from suffuse.data.sources import open_source
from suffuse.errors import UserError
from suffuse.model import Model, Origin, load, saved_recipe
from suffuse.pictures import sheet
from suffuse.progress import Progress
from suffuse.recipes.build import build_objective
from suffuse.recipes.recipe import Recipe
from suffuse.rng import Streams
from suffuse.training.trainer import train as fit
from suffuse.tree import Condition, State

REPORT = "data-report.json"
_CLASSES = 100
"""A field is a class where it has at most this many different values, and a caption otherwise."""
_SHOWN = 16


def train(source: str | Path | Source, recipe: Recipe | None = None, out: str | Path = "runs/model") -> Model:
    """Train a model of pictures; called again with the same run folder, it goes on where it stopped.

    Args:
        source: a folder of pictures, a parquet file, the name of a set on the hub, or an opened source.
        recipe: the choices; what they leave open is chosen from the data.
        out: the run folder.

    Returns:
        The trained model, as it is saved in the run folder.

    Raises:
        UserError: the data cannot be used, or the run folder belongs to another training.
    """
    run = Path(out)
    opened = source if isinstance(source, Source) else open_source(source)
    with Progress("scanning", len(opened)) as progress:
        report = scan(opened, progress=progress.to)
    print(report.summary())
    recipe = completed(recipe or Recipe(), report)
    conditions = {name: fit_condition(opened.column(name), report.keep) for name in recipe.data.condition}
    shown = {name: examples(opened.column(name), each, report.keep) for name, each in conditions.items()}
    codec = image_codec(recipe)
    batches = Batches(opened, codec, {name: (name, each) for name, each in conditions.items()}, report.keep)
    data = TrainingData(batches, recipe)
    with torch.random.fork_rng([]):  # the first weights are a function of the seed as well
        torch.manual_seed(recipe.training.seed)
        model = Model(codec, conditions, recipe, Origin(run.name, opened.name, sigma_data=data.deviation()))
    check_same(run, recipe)
    run.mkdir(parents=True, exist_ok=True)
    report.to_json(run / REPORT)
    fit(
        model.denoiser,
        build_objective(recipe, model.origin.sigma_data),
        data,
        recipe.training,
        run,
        save_model=lambda folder, weights, progress: model.trained(progress.images, progress.seconds).write(
            folder, weights
        ),
        sample_grid=lambda: sheet(preview(model, shown)),
    )
    return load(run)


def check_same(run: Path, recipe: Recipe) -> None:
    """Refuse to go on with a run under another recipe; what only concerns sampling may change.

    Raises:
        UserError: names the choices that differ. (Those about training are compared by the trainer.)
    """
    before = saved_recipe(run)
    if before is None:
        return
    differ = []
    for section in ("data", "network", "process", "objective"):
        old, new = (vars(getattr(whole, section)) for whole in (before, recipe))
        differ += [f"{name} {old[name]} became {new[name]}" for name in old if old[name] != new[name]]
    if differ:
        raise UserError(f"{run} was started with another recipe: {', '.join(differ)}; give the old one, or a new --out")


def completed(recipe: Recipe, report: Report) -> Recipe:
    """The recipe with size and channels chosen from the data where it leaves them open.

    The size is the smallest of 8, 16, 32 and 64 that loses little of the median picture, and at most 64: larger ones
    are worth their time only where they are asked for.
    """
    data = recipe.data
    if data.size is None:
        side = min(report.sizes["median"])
        size = next((size for size in (8, 16, 32) if side <= size * 1.25), 64)
        data = data.model_copy(update={"size": size})
    if data.channels is None:
        data = data.model_copy(update={"channels": channels_of(report.modes)})
    return recipe.model_copy(update={"data": data})


def channels_of(modes: Mapping[str, int]) -> int:
    """Four channels where any picture is transparent, one where all are grey, else three.

    Example:
        >>> channels_of({"RGB": 3, "RGBA": 1}), channels_of({"L": 3}), channels_of({"RGB": 1, "L": 3})
        (4, 1, 3)
    """
    if any(mode in ("RGBA", "LA", "PA", "RGBa", "La") for mode in modes):
        return 4
    return 1 if all(mode in ("1", "L", "I", "I;16", "F") for mode in modes) else 3


def image_codec(recipe: Recipe) -> ImageCodec:
    """The codec of a completed recipe."""
    assert recipe.data.size is not None
    assert recipe.data.channels is not None
    return ImageCodec(recipe.data.size, recipe.data.channels)


def fit_condition(column: list[Any], keep: list[int]) -> ConditionCodec:
    """A codec for a field: classes where it has few different values, and captions otherwise."""
    values = [column[position] for position in keep]
    distinct = {value for value in values if value is not None}
    if len(distinct) <= _CLASSES or not all(isinstance(value, str) for value in distinct):
        return ClassCodec.fit(values)
    return CaptionCodec.fit(values)


class TrainingData:
    """What the trainer asks for: training items by position, and the held-out ones.

    Args:
        batches: all usable items.
        recipe: says how many to hold out, by which seed, and whether to mirror.
    """

    def __init__(self, batches: Batches, recipe: Recipe) -> None:
        self._batches, self._flip, self._seed = batches, recipe.data.flip, recipe.training.seed
        self._train, self._held_out = split(len(batches), recipe.training.seed, recipe.training.held_out)

    @property
    def size(self) -> int:
        """Number of training items."""
        return len(self._train)

    def batch(self, positions: Tensor, index: Tensor) -> tuple[State, Condition, State | None]:
        """Training items at these positions, for the samples with these global indices; no item has a source."""
        x0, condition = self._batches.batch(self._train[positions])
        if self._flip:
            assert isinstance(x0, Tensor)
            heads = Streams.of(self._seed, index).fold("flip").uniform(torch.empty(len(index))) < 0.5
            x0 = mirror(x0, heads)
        return x0, condition or None, None

    def held_out(self, n: int) -> tuple[State, Condition, State | None]:
        """The first n held-out items."""
        x0, condition = self._batches.batch(self._held_out[:n])
        return x0, condition or None, None

    def deviation(self, n: int = 1024) -> float:
        """Standard deviation of the encoded data, over the first n items."""
        x0, _ = self._batches.batch(self._train[:n])
        assert isinstance(x0, Tensor)
        return round(float(x0.std()), 4)


def preview(model: Model, values: Mapping[str, list[Any]]) -> list[Image.Image]:
    """Samples to look at while training: always of the same conditions and from the same noise."""
    return model.generate(_SHOWN, condition=values or None)


def examples(column: list[Any], codec: ConditionCodec, keep: list[int]) -> list[Any]:
    """Values of a condition to preview: every class in turn, or captions from all over the data."""
    if isinstance(codec, ClassCodec):
        return codec.examples(_SHOWN)
    return [column[keep[i * len(keep) // _SHOWN]] for i in range(_SHOWN)]
