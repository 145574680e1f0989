"""Models that say what is where in a picture: label maps, told the picture."""

from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any

from PIL import Image
from torch import Tensor

from suffuse.codecs.base import Codec, ConditionCodec
from suffuse.codecs.pictures import SOURCE, TARGET, PairPacker, PictureCodec
from suffuse.codecs.segments import SegmentCodec
from suffuse.data.base import Source
from suffuse.data.pairs import PairSource
from suffuse.data.report import Report
from suffuse.denoiser import Denoiser
from suffuse.errors import UserError
from suffuse.networks.labels import LabelNetwork
from suffuse.objectives import Objective
from suffuse.parameterizations import Logits, Parameterization
from suffuse.processes import Discrete
from suffuse.recipes.build import build_network, build_objective
from suffuse.recipes.image import ImageKind, mirrored, picture_codec
from suffuse.recipes.kind import Kind, Shown, fill
from suffuse.recipes.recipe import Recipe
from suffuse.rng import Streams
from suffuse.tree import State

_PICTURES = ImageKind()
_ALL_HIDDEN: Mapping[str, Any] = MappingProxyType(
    {"time_law": "logit-normal", "time_mean": 6.0, "time_std": 4.0, "weight": "uniform", "condition_dropout": 0.0}
)
"""Half of the label maps are shown with less than one pixel of 400: else what a pixel is would be learned from labels
near it, and not from the picture."""
_FEATURES = 16
"""Of an embedded class; the picture stands beside them."""


class SegmentsKind(Kind):
    """A picture to its label map: a process on class numbers, and a network over space that is told the picture."""

    def filled(self, recipe: Recipe) -> Recipe:
        """See the base class."""
        if recipe.process.coupling != "independent":
            raise UserError("a label map belongs to its picture; leave out --coupling")
        return recipe.model_copy(
            update={
                "data": fill(recipe.data, kind="segments"),
                "network": fill(recipe.network, network="unet", width=64, depth=6, network_dropout=0.0),
                "objective": fill(recipe.objective, **_ALL_HIDDEN, learned_weight=False, given=0.0),
                "sampling": fill(recipe.sampling, sampling_steps=16),
            }
        )

    def completed(self, recipe: Recipe, source: Source, report: Report) -> Recipe:
        """Size and channels of the pictures are chosen from the data as for pictures alone."""
        completed = _PICTURES.completed(recipe, source, report)
        return self.filled(recipe.model_copy(update={"data": completed.data.model_copy(update={"kind": "segments"})}))

    def codec(self, recipe: Recipe, source: Source, report: Report) -> SegmentCodec:
        """Of all colours that the label maps have."""
        assert isinstance(source, PairSource)
        size = recipe.data.size
        assert size is not None
        return SegmentCodec.fit(_masks(source, report), (size, size))

    def packer(self, recipe: Recipe, codec: Codec) -> PairPacker:
        """Of pictures and of label maps."""
        return PairPacker(picture_codec(recipe.data), codec)

    def beside(self, recipe: Recipe, codec: Codec) -> dict[str, ConditionCodec]:
        """The picture."""
        return {SOURCE: PictureCodec(picture_codec(recipe.data))}

    def shown(self, items: State, rng: Streams, recipe: Recipe) -> Shown:
        """The label map, and the picture as a condition."""
        items = mirrored(items, rng, recipe)
        assert isinstance(items, Mapping)
        source = items[SOURCE]
        assert isinstance(source, Tensor)
        return items[TARGET], {SOURCE: source}, None

    def denoiser(
        self, recipe: Recipe, codec: Codec, conditions: Mapping[str, ConditionCodec], sigma_data: float
    ) -> Denoiser:
        """See the base class."""
        assert isinstance(codec, SegmentCodec)
        recipe, count = self.filled(recipe), codec.vocabulary
        inner = build_network(recipe.network, (_FEATURES, *codec.shape), conditions, out_channels=count)
        process = Discrete.masked(count) if recipe.process.jumps == "masked" else Discrete.uniform(count)
        return Denoiser(LabelNetwork(count, _FEATURES, inner), process, Logits(), codec.shape)

    def objective(self, recipe: Recipe, form: Parameterization) -> Objective:
        """Mostly of maps that are all but hidden."""
        return build_objective(self.filled(recipe), form)


def _masks(source: PairSource, report: Report) -> Iterator[tuple[str, Image.Image]]:
    """One at a time, with its name."""
    for position in report.keep:
        yield source.names([position])[0], source.targets([position])[0]
