"""Models of videos."""

from collections.abc import Mapping
from typing import Any

from suffuse.codecs.base import Codec, ConditionCodec
from suffuse.codecs.video import VideoCodec
from suffuse.data.base import Source
from suffuse.data.clips import VideoSource, VideosReport
from suffuse.data.report import Report
from suffuse.denoiser import Denoiser
from suffuse.errors import UserError
from suffuse.networks.frames import Framed
from suffuse.objectives import Objective
from suffuse.parameterizations import Parameterization
from suffuse.patterns import Frames
from suffuse.recipes.build import build_denoiser, build_network, build_objective
from suffuse.recipes.image import mirrored
from suffuse.recipes.kind import Kind, Shown, fill
from suffuse.recipes.recipe import Recipe
from suffuse.rng import Streams
from suffuse.tree import State

_LENGTH = 16


class VideoKind(Kind):
    """Windows of videos: a Gaussian process, and a network over time and space that sees which frames are known."""

    def filled(self, recipe: Recipe) -> Recipe:
        """See the base class.

        A walk takes fresh noise at every step, which mends what a network got wrong before, and pays where it learned
        for minutes; see docs/video.md for figures.
        """
        if recipe.network.network == "mlp":
            raise UserError("videos are learned by a unet or a transformer, not by an mlp; leave out --network")
        if recipe.data.channels == 4:
            raise UserError("videos have 1 channel (grey) or 3 (colour), not 4; change --channels")
        return recipe.model_copy(
            update={
                "data": fill(recipe.data, kind="video"),
                "network": fill(recipe.network, network="unet", width=32, depth=8, network_dropout=0.0),
                "process": fill(recipe.process, noise_schedule="edm"),
                "objective": fill(
                    recipe.objective, time_law="log-normal", weight="edm", learned_weight=True, given=0.7
                ),
                "sampling": fill(recipe.sampling, sampler="ddpm", sampling_steps=20),
            }
        )

    def completed(self, recipe: Recipe, source: Source, report: Report) -> Recipe:
        """Size, channels and length are chosen from the data.

        The size is the smallest of 8, 16 and 32 that loses little of the median frame, and at most 64; the length is 16
        frames, where there are so many.
        """
        assert isinstance(report, VideosReport)
        if report.longest < 2:
            raise UserError(f"the videos of {source.name} have one frame each; train on them with --kind image")
        recipe, side = self.filled(recipe), min(report.sizes["median"])
        size = next((size for size in (8, 16, 32) if side <= size * 1.25), 64)
        data = fill(recipe.data, size=size, channels=1 if report.grey else 3, length=min(_LENGTH, report.longest))
        return recipe.model_copy(update={"data": data})

    def codec(self, recipe: Recipe, source: Source, report: Report) -> VideoCodec:
        """See the base class."""
        assert isinstance(source, VideoSource)
        assert recipe.data.size is not None
        assert recipe.data.length is not None
        channels: Any = recipe.data.channels
        return VideoCodec(recipe.data.length, recipe.data.size, channels, source.rate)

    def denoiser(
        self, recipe: Recipe, codec: Codec, conditions: Mapping[str, ConditionCodec], sigma_data: float
    ) -> Denoiser:
        """See the base class."""
        assert isinstance(codec, VideoCodec)
        recipe = self.filled(recipe)
        channels, *space = codec.shape
        seen = (4 * channels + 2, *space)
        network = Framed(build_network(recipe.network, seen, conditions, channels, frames=True))
        return build_denoiser(network, recipe.process, sigma_data, codec.shape)

    def objective(self, recipe: Recipe, form: Parameterization) -> Objective:
        """With frames to ask for, and more noise for larger ones, whose pixels say the same many times over."""
        recipe = self.filled(recipe)
        assert recipe.data.size is not None
        pattern = Frames(recipe.objective.given) if recipe.objective.given else None
        return build_objective(recipe, form, redundancy=recipe.data.size / 8, pattern=pattern)

    def shown(self, items: State, rng: Streams, recipe: Recipe) -> Shown:
        """Mirrored half of the time, where that is asked for."""
        return mirrored(items, rng, recipe), {}, None
