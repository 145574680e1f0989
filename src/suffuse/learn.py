"""From a source of data to a trained model, in one call."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor, nn

from suffuse.codecs.base import Codec, ConditionCodec
from suffuse.codecs.conditions import CaptionCodec, ClassCodec, NumberCodec, are_numbers
from suffuse.data.base import Source
from suffuse.data.loader import Batches, split
from suffuse.data.sources import open_source
from suffuse.denoiser import Corrective, Known
from suffuse.errors import UserError
from suffuse.model import Model, Origin
from suffuse.outputs import output_of
from suffuse.parameterizations import Wiener
from suffuse.progress import Progress
from suffuse.recipes.kind import Kind, ToldMuch
from suffuse.recipes.recipe import Recipe
from suffuse.recipes.registry import KINDS
from suffuse.regression import regress
from suffuse.rng import Streams
from suffuse.store import load, saved_recipe
from suffuse.training.checkpoint import MEAN, check_run
from suffuse.training.memory import needed, said
from suffuse.training.trainer import train as fit
from suffuse.tree import Condition, State, leaves

REPORT = "data-report.json"
_CLASSES = 100
"""A field is a class where it has at most this many different values."""
_FRACTIONS = 20
"""Numbers that are not all whole are classes where they have at most this many different values."""
_SHOWN = 16
_MEASURED, _AT_ONCE = 1024, 64
"""Items that deviation and spectrum are taken from, and those that are read together."""


def train(source: str | Path | Source, recipe: Recipe | None = None, out: str | Path = "runs/model") -> Model:
    """Train a model; called again with the same run folder, it goes on where it stopped.

    Args:
        source: a folder or file of anything that is read (see ``open_source``), the name of a set on the hub, or an
            opened source.
        recipe: the choices; what they leave open is chosen from the data.
        out: the run folder.

    Returns:
        The trained model, as it is saved in the run folder.

    Raises:
        UserError: the data cannot be used, or the run folder belongs to another training.
    """
    run = Path(out)
    recipe = recipe or Recipe()
    opened = (
        source
        if isinstance(source, Source)
        else open_source(
            source,
            kind=recipe.data.kind,
            target=recipe.data.target,
            paired=recipe.process.coupling == "independent",
        )
    )
    with Progress("scanning", len(opened)) as progress:
        report = opened.scan(progress.to)
    print(report.summary())
    kind = KINDS[opened.kind]
    if recipe.objective.regression and not isinstance(kind, ToldMuch):
        raise UserError(
            "only what comes next in fields is told enough for a regression to come first; leave out --regression"
        )
    recipe = kind.completed(recipe, opened, report)
    whole, opened = opened, opened.cut(recipe.data.length)
    report = report if opened is whole else opened.scan()
    conditions = {name: fit_condition(opened.column(name), report.keep, kind) for name in recipe.data.condition}
    shown = {name: examples(opened.column(name), each, report.keep) for name, each in conditions.items()}
    codec = kind.codec(recipe, opened, report)
    told = {name: (name, each) for name, each in conditions.items()}
    conditions |= kind.beside(recipe, codec)
    sources = opened.sources(report.keep[:_SHOWN])

    def shown_by(codec: Codec) -> TrainingData:
        return TrainingData(
            Batches(opened, kind.packer(recipe, codec), told, report.keep), recipe, kind, opened.overlap
        )

    check_same(run, recipe)
    check_run(run)
    data, origin, config, known = shown_by(codec), Origin(run.name, opened.name), recipe.training, None
    states = [state for state, _ in data.some()]
    with torch.random.fork_rng([]):  # the first weights are a function of the seed as well
        torch.manual_seed(recipe.training.seed)
        if share := recipe.objective.regression:
            config = config.part(1 - share)
            known, states = regressed(Model(codec, conditions, recipe, origin), data, run)
            assert isinstance(kind, ToldMuch)
            codec = kind.rest(codec, known.units)
            data = shown_by(codec)
            torch.manual_seed(recipe.training.seed)
        model = Model(codec, conditions, recipe, replace(origin, sigma_data=deviation(states)))
    if known is not None:
        assert isinstance(model.denoiser, Corrective)
        model.denoiser.take(known)
    form = model.denoiser.parameterization
    if isinstance(form, Wiener):
        form.fit(leaf for state in states for leaf in leaves(state))
    x0, told_of_it, _ = data.batch(torch.zeros(1, dtype=torch.long), torch.zeros(1, dtype=torch.long))
    if isinstance(x0, Tensor) and x0.is_floating_point():
        print(said(*needed(model.denoiser, x0, told_of_it, config), config))
    run.mkdir(parents=True, exist_ok=True)
    report.to_json(run / REPORT)
    fit(
        model.denoiser,
        kind.objective(recipe, form),
        data,
        config,
        run,
        save_model=lambda folder, weights, progress: model.trained(progress.images, progress.seconds).write(
            folder, weights
        ),
        show=lambda: preview(model, shown, sources),
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


def fit_condition(column: list[Any], keep: Sequence[int], kind: Kind | None = None) -> ConditionCodec:
    """A codec for a field: classes where it has few different values, else numbers where all are, else captions.

    A kind of data may have a codec of its own for it.
    """
    values = [column[position] for position in keep]
    own = kind.condition(values) if kind else None
    if own is not None:
        return own
    distinct = {value for value in values if value is not None}
    if are_numbers(distinct):
        whole = all(float(value).is_integer() for value in distinct)
        few = len(distinct) <= (_CLASSES if whole else _FRACTIONS)
        return ClassCodec.fit(values) if few else NumberCodec.fit(values)
    if len(distinct) <= _CLASSES or not all(isinstance(value, str) for value in distinct):
        return ClassCodec.fit(values)
    return CaptionCodec.fit(values)


class TrainingData:
    """What the trainer asks for: training items by position, and the held-out ones.

    Args:
        batches: all usable items.
        recipe: says how many to hold out, and by which seed.
        kind: says how items are shown.
        overlap: how many items that follow an item share parts with it.
    """

    def __init__(self, batches: Batches, recipe: Recipe, kind: Kind, overlap: int = 0) -> None:
        self._batches, self._recipe, self._kind, self._seed = batches, recipe, kind, recipe.training.seed
        self._train, self._held_out = split(len(batches), recipe.training.seed, recipe.training.held_out, overlap)

    @property
    def size(self) -> int:
        """Number of training items."""
        return len(self._train)

    def batch(self, positions: Tensor, index: Tensor) -> tuple[State, Condition, State | None]:
        """Training items at these positions, for the samples with these global indices."""
        return self._shown(self._train.at(positions), index)

    def held_out(self, n: int) -> tuple[State, Condition, State | None]:
        """The first n held-out items."""
        index = torch.arange(min(n, len(self._held_out)))
        return self._shown(self._held_out.at(index), index)

    def _shown(self, places: Tensor, index: Tensor) -> tuple[State, Condition, State | None]:
        rng = Streams.of(self._seed, index)
        items, condition = self._batches.batch(places, rng.fold("unpack"))
        x0, own, source = self._kind.shown(items, rng, self._recipe)
        return x0, condition | own or None, source

    def some(self) -> list[tuple[State, Condition]]:
        """The first training items and what is told of them, to measure what they are like."""
        index = torch.arange(min(_MEASURED, len(self._train)))
        found = list[tuple[State, Condition]]()
        with Progress("measuring", len(index)) as progress:
            for places, numbers in zip(self._train.at(index).split(_AT_ONCE), index.split(_AT_ONCE), strict=True):
                found.append(self._shown(places, numbers)[:2])
                progress.to(int(numbers[-1]) + 1, len(index))
        return found


def regressed(model: Model, data: TrainingData, run: Path) -> tuple[Known, list[Tensor]]:
    """The regression that a model is about, and what it leaves of some items, in units of its root mean squares.

    It is trained here. Once what it leaves is learned, it stays as it is, whatever the budget has become.

    Args:
        model: with fresh weights, in units of the data.
        data: items.
        run: the run folder.
    """
    denoiser, share = model.denoiser, model.recipe.objective.regression
    assert isinstance(denoiser, Corrective)
    assert share is not None
    if saved_recipe(run) is None:
        print(f"a regression first, for {share:.0%} of the budget; then what it leaves")
        network = regress(model, data, model.recipe.training.part(share), run / MEAN).denoiser.network
        assert isinstance(network, nn.Module)
        weights, units = network.state_dict(), None
    else:
        earlier = load(run, "cpu").denoiser
        assert isinstance(earlier, Corrective)
        weights, units = earlier.regression.state_dict(), earlier.units
    denoiser.take(Known(weights, torch.ones_like(denoiser.units)))
    left = left_by(denoiser.eval(), data.some())
    if units is None:
        whole = torch.cat(left)
        found = whole.square().mean((0, *range(2, whole.ndim)), keepdim=True)[0].sqrt()
        units = torch.where(found > 0, found, 1.0)
    return Known(weights, units), [each / units for each in left]


@torch.no_grad()
def left_by(denoiser: Corrective, items: Sequence[tuple[State, Condition]]) -> list[Tensor]:
    """What the regression that a denoiser is about leaves of these states, (B, C, ...)."""
    left = list[Tensor]()
    for x0, condition in items:
        assert isinstance(x0, Tensor)
        left.append(x0 - denoiser.expected(x0, condition))
    return left


def deviation(states: Sequence[State]) -> float:
    """Standard deviation of the real numbers in these states; 1 where there are none, or all are the same."""
    numbers = [leaf.flatten() for state in states for leaf in leaves(state) if leaf.is_floating_point()]
    return round(float(torch.cat(numbers).std(correction=0)), 4) or 1.0 if numbers else 1.0


def preview(model: Model, values: Mapping[str, list[Any]], sources: Sequence[Any]) -> Image.Image | str:
    """Samples to look at while training: always of the same conditions, or sources, and from the same noise."""
    drawn = model.translate(sources) if sources else model.generate(_SHOWN, condition=values or None)
    return output_of(model.codec.kind).show(drawn)


def examples(column: list[Any], codec: ConditionCodec, keep: Sequence[int]) -> list[Any]:
    """Values of a condition to preview: every class in turn, or captions from all over the data."""
    if isinstance(codec, ClassCodec):
        return codec.examples(_SHOWN)
    return [column[keep[i * len(keep) // _SHOWN]] for i in range(_SHOWN)]
