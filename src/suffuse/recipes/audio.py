"""Models of sounds."""

from collections.abc import Mapping
from math import log2

from suffuse.codecs.audio import SoundCodec
from suffuse.codecs.base import Codec, ConditionCodec
from suffuse.data.base import Source
from suffuse.data.report import Report
from suffuse.data.sounds import SoundSource, SoundsReport
from suffuse.denoiser import Denoiser
from suffuse.errors import UserError
from suffuse.networks.spectral import MARKS, Banded, Spectral
from suffuse.objectives import Objective
from suffuse.parameterizations import Parameterization
from suffuse.patterns import Gaps
from suffuse.recipes.build import build_denoiser, build_network, build_objective
from suffuse.recipes.kind import Kind, fill
from suffuse.recipes.recipe import Recipe
from suffuse.spectra import frames

_HOP, _FRAMES = 0.016, 64
"""Seconds from frame to frame, brought to a power of two of samples, and how many of them a window has."""
_FITTED = 256
"""Windows that the gain is taken from."""


class AudioKind(Kind):
    """Windows of sounds: a Gaussian process, and a network over time that sees which moments are known."""

    def filled(self, recipe: Recipe) -> Recipe:
        """See the base class."""
        if recipe.network.network == "mlp":
            raise UserError("sounds are learned by a unet or a transformer, not by an mlp; leave out --network")
        if recipe.data.channels not in (None, 1, 2):
            raise UserError(f"sounds have 1 channel or 2, not {recipe.data.channels}; change --channels")
        recipe = recipe.model_copy(update={"data": fill(recipe.data, kind="audio", state="samples", compression=0.5)})
        return recipe.model_copy(
            update={
                "network": fill(
                    recipe.network,
                    network="unet",
                    width=128,
                    multipliers=(1, 2),
                    attention=(),
                    depth=8,
                    patch=1,
                    network_dropout=0.0,
                ),
                "process": fill(recipe.process, noise_schedule="edm"),
                "objective": fill(
                    recipe.objective,
                    time_law="log-normal",
                    time_mean=-1.2,
                    weight="edm",
                    learned_weight=True,
                    given=0.3,
                ),
                "sampling": fill(recipe.sampling, sampling_steps=30),
            }
        )

    def completed(self, recipe: Recipe, source: Source, report: Report) -> Recipe:
        """Channels and length are chosen from the data."""
        assert isinstance(report, SoundsReport)
        assert isinstance(source, SoundSource)
        data = fill(
            recipe.data,
            channels=1 if set(report.channels) == {"1"} else 2,
            length=_hop(source.rate) * (_FRAMES - 1),
        )
        return self.filled(recipe.model_copy(update={"data": data}))

    def codec(self, recipe: Recipe, source: Source, report: Report) -> SoundCodec:
        """Its gain is fitted to windows from all over the source."""
        assert isinstance(source, SoundSource)
        assert recipe.data.length is not None
        assert recipe.data.compression is not None
        assert recipe.data.channels is not None
        hop = None if recipe.data.state == "samples" else _hop(source.rate)
        codec = SoundCodec(source.rate, recipe.data.channels, recipe.data.length, hop, recipe.data.compression)
        return codec.fitted(source.raw(report.keep[:: -(-len(report.keep) // _FITTED)]))

    def denoiser(
        self, recipe: Recipe, codec: Codec, conditions: Mapping[str, ConditionCodec], sigma_data: float
    ) -> Denoiser:
        """See the base class."""
        assert isinstance(codec, SoundCodec)
        recipe = self.filled(recipe)
        hop, channels = codec.hop or _hop(codec.rate), codec.channels
        answered, seen = 3 * channels * hop, (1 if codec.hop else 2 * MARKS * channels)
        over_time = build_network(recipe.network, (answered + seen, frames(codec.length, hop)), conditions, answered)
        network = Banded(over_time) if codec.hop else Spectral(over_time, hop)
        return build_denoiser(network, recipe.process, sigma_data, codec.shape)

    def objective(self, recipe: Recipe, form: Parameterization) -> Objective:
        """With gaps to ask for."""
        recipe = self.filled(recipe)
        pattern = Gaps(recipe.objective.given) if recipe.objective.given else None
        return build_objective(recipe, form, pattern=pattern)


def _hop(rate: int) -> int:
    """Samples from frame to frame.

    Example:
        >>> _hop(8000), _hop(16000), _hop(44100)
        (128, 256, 512)
    """
    return 2 ** max(3, round(log2(rate * _HOP)))
