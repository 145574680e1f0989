"""Models of pictures."""

from collections.abc import Mapping

import torch

from suffuse.codecs.base import Codec, ConditionCodec
from suffuse.codecs.image import ImageCodec
from suffuse.data.base import Source
from suffuse.data.loader import mirror
from suffuse.data.records import PictureReport
from suffuse.data.report import Report
from suffuse.denoiser import Denoiser
from suffuse.errors import UserError
from suffuse.objectives import Objective
from suffuse.parameterizations import Parameterization
from suffuse.recipes.build import build_denoiser, build_network, build_objective
from suffuse.recipes.kind import Kind, Shown, fill
from suffuse.recipes.recipe import DataSection, Recipe
from suffuse.rng import Streams
from suffuse.tree import State, map_leaves


class ImageKind(Kind):
    """Pictures: a Gaussian process, and a U-Net or a transformer over patches."""

    def filled(self, recipe: Recipe) -> Recipe:
        """See the base class."""
        if recipe.objective.given:
            raise UserError("parts of pictures need no training: restore --operator inpaint; leave out --given")
        return recipe.model_copy(
            update={
                "data": fill(recipe.data, kind="image"),
                "network": fill(recipe.network, network="unet", width=64, depth=6, network_dropout=0.0),
                "process": fill(recipe.process, noise_schedule="edm"),
                "objective": fill(
                    recipe.objective, time_law="log-normal", weight="edm", learned_weight=True, given=0.0
                ),
                "sampling": fill(recipe.sampling, sampling_steps=20),
            }
        )

    def completed(self, recipe: Recipe, source: Source, report: Report) -> Recipe:
        """Size and channels are chosen from the data.

        The size is the smallest of 8, 16, 32 and 64 that loses little of the median picture, and at most 64: larger
        ones are worth their time only where they are asked for.
        """
        assert isinstance(report, PictureReport)
        recipe, side = self.filled(recipe), min(report.sizes["median"])
        size = next((size for size in (8, 16, 32) if side <= size * 1.25), 64)
        return recipe.model_copy(update={"data": fill(recipe.data, size=size, channels=channels_of(report.modes))})

    def codec(self, recipe: Recipe, source: Source, report: Report) -> ImageCodec:
        """See the base class."""
        return picture_codec(recipe.data)

    def denoiser(
        self, recipe: Recipe, codec: Codec, conditions: Mapping[str, ConditionCodec], sigma_data: float
    ) -> Denoiser:
        """See the base class."""
        recipe, shape = self.filled(recipe), codec.shape
        assert isinstance(shape, tuple)
        network = build_network(recipe.network, shape, conditions)
        return build_denoiser(network, recipe.process, sigma_data, shape)

    def objective(self, recipe: Recipe, form: Parameterization) -> Objective:
        """More noise for larger pictures, whose pixels say the same many times over."""
        recipe = self.filled(recipe)
        assert recipe.data.size is not None
        return build_objective(recipe, form, redundancy=recipe.data.size / 8)

    def shown(self, items: State, rng: Streams, recipe: Recipe) -> Shown:
        """Mirrored half of the time, where that is asked for."""
        return mirrored(items, rng, recipe), {}, None


def mirrored(items: State, rng: Streams, recipe: Recipe) -> State:
    """Half of the items mirrored, all pictures of an item alike, where that is asked for."""
    if not recipe.data.flip:
        return items
    which = rng.fold("flip").uniform(torch.empty(len(rng))) < 0.5
    return map_leaves(lambda leaf: mirror(leaf, which), items)


def picture_codec(data: DataSection) -> ImageCodec:
    """The codec of pictures of a completed section.

    Raises:
        UserError: they are said to have two channels.
    """
    assert data.size is not None
    assert data.channels is not None
    if data.channels == 2:
        raise UserError("pictures have 1 channel (grey), 3 (colour) or 4 (with transparency), not 2; change --channels")
    return ImageCodec(data.size, data.channels)


def channels_of(modes: Mapping[str, int]) -> int:
    """Four channels where any picture is transparent, one where all are grey, else three.

    Example:
        >>> channels_of({"RGB": 3, "RGBA": 1}), channels_of({"L": 3}), channels_of({"RGB": 1, "L": 3})
        (4, 1, 3)
    """
    if any(mode in ("RGBA", "LA", "PA", "RGBa", "La") for mode in modes):
        return 4
    return 1 if all(mode in ("1", "L", "I", "I;16", "F") for mode in modes) else 3
