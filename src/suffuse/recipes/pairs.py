"""Models of pictures that belong to others: what a picture becomes, learned from pairs, or from two kinds alone."""

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from suffuse.codecs.base import Codec, ConditionCodec
from suffuse.codecs.image import ImageCodec
from suffuse.codecs.pictures import SOURCE, TARGET, PairPacker, PictureCodec
from suffuse.data.base import Source
from suffuse.data.report import Report
from suffuse.denoiser import Denoiser
from suffuse.errors import UserError
from suffuse.objectives import LearnedWeight, Objective, Sinkhorn
from suffuse.parameterizations import Bridged, Parameterization
from suffuse.processes import Bridge
from suffuse.recipes.build import build_dropout, build_network, build_time_law, build_weight
from suffuse.recipes.image import ImageKind, mirrored
from suffuse.recipes.kind import Kind, Shown, fill
from suffuse.recipes.recipe import ProcessSection, Recipe
from suffuse.rng import Streams
from suffuse.tree import State, leaves

_PICTURES = ImageKind()
_SIGMA = 0.5
_MEASURED = 256
"""Pairs that the correlation is taken from."""
_MOST = 0.95


class PairsKind(Kind):
    """Pairs of pictures: a bridge from the source to the target, or a Gaussian process that is told the source.

    Without pairs it is a Schroedinger bridge: sources and targets of a batch are paired by the entropic plan, and the
    network, which sees the walk alone, is not told where it began.
    """

    def filled(self, recipe: Recipe) -> Recipe:
        """See the base class."""
        recipe = recipe.model_copy(
            update={
                "data": fill(recipe.data, kind="pairs"),
                "process": fill(recipe.process, noise_schedule="bridge"),
            }
        )
        if not _bridged(recipe.process):
            if recipe.process.coupling != "independent":
                raise UserError("pictures that do not pair are coupled by a bridge; leave out --noise-schedule")
            return _PICTURES.filled(recipe)
        _check(recipe)
        recipe = recipe.model_copy(
            update={
                "process": fill(recipe.process, bridge_sigma=_SIGMA),
                "objective": fill(recipe.objective, time_law="uniform", learned_weight=False),
                "sampling": fill(recipe.sampling, sampling_steps=30),
            }
        )
        return _PICTURES.filled(recipe)

    def completed(self, recipe: Recipe, source: Source, report: Report) -> Recipe:
        """Size and channels are chosen from the data as for pictures; of a bridge the correlation is measured."""
        recipe = _PICTURES.completed(self.filled(recipe), source, report)
        if not _bridged(recipe.process) or recipe.process.correlation is not None:
            return recipe
        codec, some = self.codec(recipe, source, report), report.keep[:: -(-len(report.keep) // _MEASURED)]
        value = _correlation(self.packer(recipe, codec), source, some) if _paired(recipe) else 0.0
        return recipe.model_copy(update={"process": fill(recipe.process, correlation=value)})

    def codec(self, recipe: Recipe, source: Source, report: Report) -> ImageCodec:
        """Of both sides alike."""
        return _PICTURES.codec(recipe, source, report)

    def packer(self, recipe: Recipe, codec: Codec) -> PairPacker:
        """Of both sides."""
        del recipe
        return PairPacker(codec, codec)

    def beside(self, recipe: Recipe, codec: Codec) -> dict[str, ConditionCodec]:
        """The source, where it is told."""
        assert isinstance(codec, ImageCodec)
        return {SOURCE: PictureCodec(codec)} if _paired(recipe) else {}

    def shown(self, items: State, rng: Streams, recipe: Recipe) -> Shown:
        """The target; the source as a condition, as the start of a bridge, or as both."""
        items = mirrored(items, rng, recipe)
        assert isinstance(items, Mapping)
        source, target = items[SOURCE], items[TARGET]
        assert isinstance(source, Tensor)
        told = {SOURCE: source} if _paired(recipe) else {}
        return target, told, source if _bridged(self.filled(recipe).process) else None

    def denoiser(
        self, recipe: Recipe, codec: Codec, conditions: Mapping[str, ConditionCodec], sigma_data: float
    ) -> Denoiser:
        """See the base class."""
        recipe, shape = self.filled(recipe), codec.shape
        if not _bridged(recipe.process):
            return _PICTURES.denoiser(recipe, codec, conditions, sigma_data)
        assert isinstance(shape, tuple)
        network = build_network(recipe.network, shape, conditions)
        form = Bridged(sigma_data, recipe.process.correlation or 0.0)
        return Denoiser(network, _bridge(recipe.process), form, shape)

    def objective(self, recipe: Recipe, form: Parameterization) -> Objective:
        """Of a bridge, the error of the network's own output at all times alike."""
        recipe = self.filled(recipe)
        if not _bridged(recipe.process):
            return _PICTURES.objective(recipe, form)
        bridge, section = _bridge(recipe.process), recipe.objective
        weight = build_weight(section, form)
        return Objective(
            build_time_law(recipe),
            LearnedWeight(weight) if section.learned_weight else weight,
            None if _paired(recipe) else Sinkhorn(2 * bridge.sigma**2, relative=False),
            build_dropout(section),
        )


def _paired(recipe: Recipe) -> bool:
    return recipe.process.coupling == "independent"


def _bridged(section: ProcessSection) -> bool:
    return section.noise_schedule == "bridge"


def _bridge(section: ProcessSection) -> Bridge:
    assert section.bridge_sigma is not None
    return Bridge(section.bridge_sigma)


def _correlation(packer: PairPacker, source: Source, positions: Sequence[int]) -> float:
    """Of the elements of both sides, less their means; kept from 1, which a copy would have."""
    states = packer.unpack(source.packed(positions, packer))
    both = torch.stack([leaf.flatten() for side in (SOURCE, TARGET) for leaf in leaves(states[side])])
    found = float(torch.corrcoef(both)[0, 1])
    return 0.0 if math.isnan(found) else round(min(max(found, -_MOST), _MOST), 2)


def _check(recipe: Recipe) -> None:
    """Refuse what is of Gaussian processes alone."""
    process, objective = recipe.process, recipe.objective
    if process.coupling == "assignment":
        raise UserError("pictures that do not pair are coupled by sinkhorn, whose entropy is the bridge's, "
                        "not by assignment")  # fmt: skip
    if process.parameterization is not None:
        raise UserError(f"the output of a bridge's network has one meaning, and {process.parameterization} is not it; "
                        "leave out --parameterization")  # fmt: skip
    if objective.time_law == "log-normal" or objective.weight == "min-snr":
        raise UserError("a bridge has no noise schedule, which --time-law log-normal and --weight min-snr are of; "
                        "leave them out")  # fmt: skip
