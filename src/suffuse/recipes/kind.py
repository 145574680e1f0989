"""What the recipe of every kind of data answers: from a source and a few choices to codec, denoiser and objective."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias, TypeVar

from pydantic import BaseModel
from torch import Tensor

from suffuse.codecs.base import Codec, ConditionCodec
from suffuse.data.base import Packer, Source
from suffuse.data.report import Report
from suffuse.denoiser import Denoiser
from suffuse.objectives import Objective
from suffuse.parameterizations import Parameterization
from suffuse.recipes.recipe import Recipe
from suffuse.rng import Streams
from suffuse.tree import State

Shown: TypeAlias = tuple[State, dict[str, Tensor], State | None]
Part = TypeVar("Part", bound=BaseModel)


class Kind(ABC):
    """A kind of data: the one place, beside its codec and its source, that knows what is special about it."""

    @abstractmethod
    def filled(self, recipe: Recipe) -> Recipe:
        """The recipe with a choice for everything that this kind leaves open and that needs no look at the data.

        Raises:
            UserError: a choice does not fit this kind of data.
        """

    @abstractmethod
    def completed(self, recipe: Recipe, source: Source, report: Report) -> Recipe:
        """The filled recipe, with nothing left open.

        Raises:
            UserError: a choice does not fit the data.
        """

    @abstractmethod
    def codec(self, recipe: Recipe, source: Source, report: Report) -> Codec:
        """The codec of a completed recipe, fitted to the data."""

    @abstractmethod
    def denoiser(
        self, recipe: Recipe, codec: Codec, conditions: Mapping[str, ConditionCodec], sigma_data: float
    ) -> Denoiser:
        """The denoiser of a recipe, with fresh weights.

        Args:
            recipe: its choices.
            codec: of the data.
            conditions: codec of each condition.
            sigma_data: deviation of the data.
        """

    @abstractmethod
    def objective(self, recipe: Recipe, form: Parameterization) -> Objective:
        """The objective of a recipe, for a denoiser whose output has this form."""

    def packer(self, recipe: Recipe, codec: Codec) -> Packer:
        """What packs the items of a source; where these are items of the codec, that."""
        del recipe
        return codec

    def beside(self, recipe: Recipe, codec: Codec) -> dict[str, ConditionCodec]:
        """Codecs of what an item tells the network by itself, beside the fields that are conditions."""
        del recipe, codec
        return {}

    def condition(self, values: Sequence[Any]) -> ConditionCodec | None:
        """A codec of its own for a field with these values; None for the one that all kinds share."""
        del values

    def infills(self, recipe: Recipe) -> bool:
        """Whether a model of a filled recipe can be told parts of an item, and draw the others."""
        return bool(recipe.objective.given)

    def shown(self, items: State, rng: Streams, recipe: Recipe) -> Shown:
        """Items as they are shown in training: mirrored, or cut to a window, by each sample's own streams.

        Args:
            items: states, as the packer unpacks them.
            rng: streams of the samples.
            recipe: says how.

        Returns:
            Clean states, conditions that the items tell by themselves, and the states at t = 1 that belong to them.
        """
        del rng, recipe
        return items, {}, None


class ToldMuch(Kind):
    """A kind whose items are told so much that a regression may come first."""

    @abstractmethod
    def rest(self, codec: Codec, units: Tensor) -> Codec:
        """The codec of what a regression leaves: that of the data, in units (C, 1, ...) of its own for each channel."""


def fill(section: Part, **choices: Any) -> Part:
    """The section with these choices where it has none.

    Example:
        >>> from suffuse.recipes.recipe import NetworkSection
        >>> fill(NetworkSection(width=8), width=64, depth=6).model_dump(include={"width", "depth"})
        {'width': 8, 'depth': 6}
    """
    return section.model_copy(update={name: value for name, value in choices.items() if getattr(section, name) is None})
