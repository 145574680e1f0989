"""Models of music in voices."""

from collections.abc import Mapping

import torch

from suffuse.codecs.base import Codec, ConditionCodec
from suffuse.codecs.music import PITCHES, MusicCodec
from suffuse.data.base import Source
from suffuse.data.music import MusicReport
from suffuse.data.report import Report
from suffuse.denoiser import Denoiser
from suffuse.errors import UserError
from suffuse.networks import TokenTransformer
from suffuse.objectives import Objective
from suffuse.parameterizations import Logits, Parameterization
from suffuse.patterns import Voices
from suffuse.processes import Discrete
from suffuse.recipes.build import build_objective, network_conditions
from suffuse.recipes.kind import Kind, Shown, fill
from suffuse.recipes.recipe import Recipe
from suffuse.rng import Streams
from suffuse.tree import State, map_leaves

_LONGEST = 128
"""Steps of a window: eight bars of four quarters."""


class MusicKind(Kind):
    """A masked process on a grid of voices and time, and a transformer whose patches are a beat of all voices."""

    def filled(self, recipe: Recipe) -> Recipe:
        """See the base class."""
        if recipe.network.network not in (None, "transformer"):
            raise UserError(
                f"music is learned by a transformer, not by a {recipe.network.network}; leave out --network"
            )
        if recipe.data.transpose and "key" in recipe.data.condition:
            raise UserError("pieces that are told their key are not to be transposed; leave out one of the two")
        return recipe.model_copy(
            update={
                "data": fill(recipe.data, kind="music"),
                "network": fill(
                    recipe.network, network="transformer", patch=4, width=192, depth=4, network_dropout=0.0
                ),
                "objective": fill(recipe.objective, time_law="uniform", weight="elbo", learned_weight=False, given=0.5),
                "sampling": fill(recipe.sampling, sampler="remasking", sampling_steps=128),
            }
        )

    def completed(self, recipe: Recipe, source: Source, report: Report) -> Recipe:
        """The length is that of the longest piece, but at most eight bars; a whole number of patches."""
        assert isinstance(report, MusicReport)
        recipe = self.filled(recipe)
        assert recipe.network.patch is not None
        length = -(-min(_LONGEST, report.longest) // recipe.network.patch) * recipe.network.patch
        return recipe.model_copy(update={"data": fill(recipe.data, length=length)})

    def codec(self, recipe: Recipe, source: Source, report: Report) -> MusicCodec:
        """Fitted to the pieces."""
        assert recipe.data.length is not None
        return MusicCodec.fit(source.raw(report.keep), recipe.data.length, recipe.data.transpose)

    def denoiser(
        self, recipe: Recipe, codec: Codec, conditions: Mapping[str, ConditionCodec], sigma_data: float
    ) -> Denoiser:
        """See the base class."""
        assert isinstance(codec, MusicCodec)
        recipe = self.filled(recipe)
        network, (voices, length) = recipe.network, codec.shape
        assert network.width is not None
        assert network.depth is not None
        assert network.patch is not None
        inner = TokenTransformer(
            codec.vocabulary,
            width=network.width,
            depth=network.depth,
            heads=network.heads,
            conditions=network_conditions(conditions),
            dropout=network.network_dropout or 0.0,
            patch=(voices, network.patch),
            places=(1, -(-length // network.patch)),
        )
        masked = recipe.process.jumps == "masked"
        process = Discrete.masked(codec.vocabulary) if masked else Discrete.uniform(codec.vocabulary)
        return Denoiser(inner, process, Logits(), codec.shape)

    def objective(self, recipe: Recipe, form: Parameterization) -> Objective:
        """The bound, with voices and spans to ask for."""
        recipe = self.filled(recipe)
        pattern = Voices(recipe.objective.given) if recipe.objective.given else None
        return build_objective(recipe, form, pattern=pattern)

    def infills(self, recipe: Recipe) -> bool:
        """What is not hidden is known, so that a masked model infills by nature."""
        return recipe.process.jumps == "masked" or bool(recipe.objective.given)

    def shown(self, items: State, rng: Streams, recipe: Recipe) -> Shown:
        """Transposed by up to so many semitones."""
        most = recipe.data.transpose
        if not most:
            return items, {}, None
        place = torch.empty(len(rng), 1, 1, device=rng.index.device)
        shift = (rng.fold("transpose").uniform(place) * (2 * most + 1)).long() - most
        return map_leaves(lambda tokens: torch.where(tokens >= PITCHES, tokens + 2 * shift, tokens), items), {}, None
