"""Models of series of numbers."""

from collections.abc import Mapping, Sequence
from typing import Any

from suffuse.codecs.base import Codec, ConditionCodec
from suffuse.codecs.series import START, CalendarCodec, Channel, SeriesCodec
from suffuse.data.base import Source
from suffuse.data.report import Report
from suffuse.data.series import SeriesReport, SeriesSource
from suffuse.denoiser import Denoiser
from suffuse.errors import UserError
from suffuse.networks import Marked
from suffuse.objectives import Objective
from suffuse.parameterizations import Parameterization
from suffuse.patterns import Spans
from suffuse.recipes.build import build_denoiser, build_network, build_objective
from suffuse.recipes.kind import Kind, fill
from suffuse.recipes.recipe import Recipe

_LENGTHS = (16, 96)
_SHARE = 16
"""A window is at most so small a part of the steps that there are."""


class SeriesKind(Kind):
    """Windows of series: a Gaussian process, and a network that sees which steps are known."""

    def filled(self, recipe: Recipe) -> Recipe:
        """See the base class."""
        if recipe.network.network == "mlp":
            raise UserError("a series is learned by a transformer or a unet, not by an mlp; leave out --network")
        return recipe.model_copy(
            update={
                "data": fill(recipe.data, kind="series"),
                "network": fill(recipe.network, network="transformer", width=128, depth=4, network_dropout=0.0),
                "process": fill(recipe.process, noise_schedule="flow"),
                "objective": fill(recipe.objective, time_law="uniform", weight="edm", learned_weight=False, given=0.8),
                "sampling": fill(recipe.sampling, sampling_steps=20),
            }
        )

    def completed(self, recipe: Recipe, source: Source, report: Report) -> Recipe:
        """The length is a sixteenth of the steps, but within bounds; moments are told by the calendar."""
        assert isinstance(report, SeriesReport)
        least, most = _LENGTHS
        longest = max(len(each.values) for each in source.series) if isinstance(source, SeriesSource) else most
        length = min(max(report.steps // _SHARE // 4 * 4, least), most, longest)
        data = fill(recipe.data, length=length)
        moments = CalendarCodec(()).knows(source.column(START)[0])
        if moments and not data.condition:
            data = data.model_copy(update={"condition": (START,)})
        recipe = self.filled(recipe.model_copy(update={"data": data}))
        return recipe.model_copy(update={"network": fill(recipe.network, patch=max(1, length // 32))})

    def condition(self, values: Sequence[Any]) -> ConditionCodec | None:
        """Moments are told by the calendar."""
        return CalendarCodec.fit(values) if CalendarCodec(()).knows(values[0]) else None

    def codec(self, recipe: Recipe, source: Source, report: Report) -> SeriesCodec:
        """The channels that change.

        Raises:
            UserError: none does.
        """
        assert isinstance(source, SeriesSource)
        assert recipe.data.length is not None
        if not source.learned:
            raise UserError(f"no column of {source.name} holds numbers that change; a series needs one")
        channels = [
            Channel.fit(name, [each.values[:, place] for each in source.series], recipe.data.length)
            for place, name in enumerate(source.channels)
            if name in source.learned
        ]
        return SeriesCodec(channels, recipe.data.length, source.time)

    def denoiser(
        self, recipe: Recipe, codec: Codec, conditions: Mapping[str, ConditionCodec], sigma_data: float
    ) -> Denoiser:
        """See the base class."""
        assert isinstance(codec, SeriesCodec)
        recipe = self.filled(recipe)
        channels, length = codec.shape
        network = Marked(build_network(recipe.network, (3 * channels + 1, length), conditions, channels))
        return build_denoiser(network, recipe.process, sigma_data, codec.shape)

    def objective(self, recipe: Recipe, form: Parameterization) -> Objective:
        """With spans to ask for."""
        recipe = self.filled(recipe)
        pattern = Spans(recipe.objective.given) if recipe.objective.given else None
        return build_objective(recipe, form, pattern=pattern)
