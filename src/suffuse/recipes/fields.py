"""Models of fields on grids: what they are like, and what comes next."""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from torch import Tensor

from suffuse.codecs.base import Codec, ConditionCodec
from suffuse.codecs.changes import ChangeCodec, ChangePacker, PresentCodec
from suffuse.codecs.conditions import ClassCodec
from suffuse.codecs.fields import FieldCodec
from suffuse.codecs.pictures import SOURCE, TARGET
from suffuse.data.base import Source
from suffuse.data.fields import FieldSource, circles
from suffuse.data.report import Report
from suffuse.denoiser import Corrective, Denoiser
from suffuse.errors import UserError
from suffuse.networks.located import Located
from suffuse.networks.unseen import Unseen
from suffuse.objectives import Objective
from suffuse.parameterizations import Parameterization
from suffuse.patterns import Places
from suffuse.recipes.build import build_denoiser, build_network, build_objective, default_multipliers
from suffuse.recipes.kind import Kind, Shown, ToldMuch, fill
from suffuse.recipes.recipe import Recipe
from suffuse.rng import Streams
from suffuse.tree import State

_FITTED = 2048
"""Items that means and deviations are taken from."""
_SMOOTH = 0.1
"""Mean of log(sigma / alpha) for unit deviation at 8 places a side; more of them say the same many times over."""


class FieldKind(Kind):
    """Fields: a Gaussian process, and a network over space that is shown maps of it."""

    name = "field"

    def filled(self, recipe: Recipe) -> Recipe:
        """See the base class."""
        if recipe.network.network == "mlp":
            raise UserError("fields are learned by a unet or a transformer, not by an mlp; leave out --network")
        return recipe.model_copy(
            update={
                "data": fill(recipe.data, kind=self.name),
                "network": fill(recipe.network, network="unet", width=48, depth=6, network_dropout=0.0),
                "process": fill(recipe.process, noise_schedule="edm"),
                "objective": fill(
                    recipe.objective, time_law="log-normal", weight="edm", learned_weight=True, given=self.given
                ),
                "sampling": fill(recipe.sampling, sampling_steps=20),
            }
        )

    given = 0.5

    def completed(self, recipe: Recipe, source: Source, report: Report) -> Recipe:
        """Periodic axes, levels and noise are chosen from the grid."""
        assert isinstance(source, FieldSource)
        recipe, part = self.filled(recipe), source.parts[0]
        shape = [part.dataset.sizes[axis] for axis in part.space]
        even = [axis for axis, size in zip(part.space, shape, strict=True) if size % 2 == 0]
        found = [axis for axis in circles(part.dataset, part.space) if axis in even]
        data = fill(recipe.data, periodic=tuple(found) if recipe.network.network == "unet" else ())
        assert data.periodic is not None
        unknown = [axis for axis in data.periodic if axis not in part.space]
        if unknown:
            raise UserError(f"{source.name} has no space axis {unknown[0]!r}; its axes are {', '.join(part.space)}")
        if data.periodic and recipe.network.network != "unet":
            raise UserError("only a unet knows of periodic axes; leave out --network or --periodic")
        rounds = [size for axis, size in zip(part.space, shape, strict=True) if axis in data.periodic]
        side = math.prod(shape) ** (1 / len(shape))
        return recipe.model_copy(
            update={
                "data": data,
                "network": fill(recipe.network, multipliers=_levels(min(shape), rounds, recipe.network.patch or 1)),
                "objective": fill(recipe.objective, time_mean=round(self.noise(side), 2)),
            }
        )

    def noise(self, side: float) -> float:
        """Mean of the logarithm of noise over signal that training looks at, for grids of so many places a side."""
        return _SMOOTH + 0.64 * math.log(side / 8)

    def codec(self, recipe: Recipe, source: Source, report: Report) -> Codec:
        """Fitted to items from all over the source."""
        return _fitted(recipe, source, report)

    def condition(self, values: Sequence[Any]) -> ConditionCodec | None:
        """Months and hours are classes, of which there are few; the others as for all kinds."""
        return ClassCodec.fit(values) if _cyclic(values) else None

    def denoiser(
        self, recipe: Recipe, codec: Codec, conditions: Mapping[str, ConditionCodec], sigma_data: float
    ) -> Denoiser:
        """See the base class."""
        fields = _fields(codec)
        network = _network(self.filled(recipe), fields, conditions)
        return build_denoiser(network, recipe.process, sigma_data, fields.shape, _rounds(fields))

    def objective(self, recipe: Recipe, form: Parameterization) -> Objective:
        """With places that are known, or a variable."""
        recipe = self.filled(recipe)
        pattern = Places(recipe.objective.given) if recipe.objective.given else None
        return build_objective(recipe, form, pattern=pattern)


class NextFieldKind(FieldKind, ToldMuch):
    """What comes after a field: its change, by a network that is told what is now."""

    name = "next-field"
    given = 0.0

    def filled(self, recipe: Recipe) -> Recipe:
        """See the base class.

        All times are learned alike, since what is now says most where noise hides the change. A walk takes fresh noise
        at every step, and two evaluations for each: by its mean alone few steps would be too sure.
        """
        return super().filled(
            recipe.model_copy(
                update={
                    "objective": fill(recipe.objective, time_law="uniform"),
                    "sampling": fill(recipe.sampling, sampler="sde2"),
                }
            )
        )

    def codec(self, recipe: Recipe, source: Source, report: Report) -> ChangeCodec:
        """Of the variables that change in time, or those of them that are the target."""
        assert isinstance(source, FieldSource)
        fields, names = _fitted(recipe, source, report), _predicted(recipe, source)
        return ChangeCodec.fit(fields, names, (source.raw([p])[0] for p in _some(report)), source.step())

    def rest(self, codec: Codec, units: Tensor) -> ChangeCodec:
        """Of smaller changes."""
        assert isinstance(codec, ChangeCodec)
        each = zip(codec.fields.names, units.flatten().tolist(), strict=True)
        return ChangeCodec(codec.present, {name: unit * codec.scales[name] for name, unit in each}, codec.step)

    def denoiser(
        self, recipe: Recipe, codec: Codec, conditions: Mapping[str, ConditionCodec], sigma_data: float
    ) -> Denoiser:
        """About the answer of a regression by a network of the same size, where the recipe has one."""
        recipe = self.filled(recipe)
        rest = super().denoiser(recipe, codec, conditions, sigma_data)
        if not recipe.objective.regression:
            return rest
        return Corrective(Unseen(_network(recipe, _fields(codec), conditions)), rest)

    def packer(self, recipe: Recipe, codec: Codec) -> ChangePacker:
        """Of what is now, and how it changes."""
        assert isinstance(codec, ChangeCodec)
        return ChangePacker(codec)

    def beside(self, recipe: Recipe, codec: Codec) -> dict[str, ConditionCodec]:
        """What is now."""
        assert isinstance(codec, ChangeCodec)
        return {SOURCE: PresentCodec(codec.present)}

    def shown(self, items: State, rng: Streams, recipe: Recipe) -> Shown:
        """The change, and what is now as a condition."""
        assert isinstance(items, Mapping)
        source = items[SOURCE]
        assert isinstance(source, Tensor)
        return items[TARGET], {SOURCE: source}, None


def _fields(codec: Codec) -> FieldCodec:
    if isinstance(codec, ChangeCodec):
        return codec.fields
    assert isinstance(codec, FieldCodec)
    return codec


def _network(recipe: Recipe, fields: FieldCodec, conditions: Mapping[str, ConditionCodec]) -> Located:
    shape, maps = fields.shape, fields.maps()
    seen = (2 * shape[0] + len(maps), *shape[1:])
    return Located(build_network(recipe.network, seen, conditions, shape[0], _rounds(fields)), maps)


def _rounds(fields: FieldCodec) -> list[int]:
    """Space axes that close to a circle, from 0."""
    return [fields.grid.axes.index(axis) for axis in fields.grid.periodic]


def _fitted(recipe: Recipe, source: Source, report: Report) -> FieldCodec:
    """A codec of all variables, of items one by one."""
    assert isinstance(source, FieldSource)
    assert recipe.data.periodic is not None
    return FieldCodec.fit(_each(source, report), source.parts[0].space, recipe.data.periodic)


def _each(source: FieldSource, report: Report) -> Iterator[Any]:
    for position in _some(report):
        raw = source.raw([position])[0]
        yield raw if source.kind == "field" else raw[1]


def _some(report: Report) -> Sequence[int]:
    """Positions from all over the source."""
    return report.keep[:: -(-len(report.keep) // _FITTED)]


def _predicted(recipe: Recipe, source: FieldSource) -> list[str]:
    """Names of the variables that are to be predicted; the others are told.

    Raises:
        UserError: there is no such variable.
    """
    changing = source.changing()
    if recipe.data.target is None:
        return changing
    names = recipe.data.target.split(",")
    unknown = [name for name in names if name not in changing]
    if unknown:
        raise UserError(f"{source.name} has no variable {unknown[0]!r} that changes; there are {', '.join(changing)}")
    return names


def _levels(side: int, rounds: Sequence[int], patch: int) -> tuple[int, ...]:
    """As many as suit the shortest axis, and as close on those that are periodic."""
    multipliers = default_multipliers(-(-side // patch))
    while len(multipliers) > 1 and any(size % (patch * 2 ** (len(multipliers) - 1)) for size in rounds):
        multipliers = multipliers[:-1]
    return multipliers


def _cyclic(values: Sequence[Any]) -> bool:
    return all(isinstance(value, int) and 0 <= value < 24 for value in values)
