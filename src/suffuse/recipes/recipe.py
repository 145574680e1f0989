"""The recipe: every choice about a model, as data. Each field is an option of ``suffuse train``.

Nothing here imports torch, so that the command line answers at once.
"""

from typing import Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, field_validator

from suffuse.training.config import TrainingConfig

KindName: TypeAlias = Literal[
    "image",
    "pairs",
    "segments",
    "text",
    "sequence",
    "table",
    "series",
    "video",
    "field",
    "next-field",
    "music",
    "audio",
]
"""The kinds of data that models are made of."""


class Section(BaseModel):
    """A part of a recipe: frozen, and unknown fields are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class DataSection(Section):
    """What is learned."""

    kind: KindName | None = Field(default=None, description="what the data is; by default found out")
    condition: tuple[str, ...] = Field(
        default=(), description="fields of the data that the model is told, such as: label"
    )
    target: str | None = Field(
        default=None,
        description="the field to predict: a column of a table, the label of a text, or the text written to another",
    )
    size: int | None = Field(
        default=None, ge=1, le=4096, description="pictures and frames: their side; by default chosen from the data"
    )
    channels: Literal[1, 2, 3, 4] | None = Field(
        default=None,
        description="pictures: 1 grey, 3 colour, 4 with transparency; sounds: 1 or 2; by default chosen from the data",
    )
    flip: bool = Field(default=False, description="pictures: show them mirrored half of the time")
    transpose: int = Field(
        default=0, ge=0, le=12, description="music: show pieces higher or lower by up to so many semitones"
    )
    length: int | None = Field(
        default=None,
        ge=2,
        le=65536,
        description="texts and sequences: tokens seen at once; series: time steps; videos: frames; sounds: samples; "
        "by default chosen from the data",
    )
    periodic: tuple[str, ...] | None = Field(
        default=None,
        description="fields: axes that close to a circle, by name; by default longitudes that go all the way round",
    )
    tokens: Literal["bytes", "characters", "words"] | None = Field(
        default=None,
        description="texts: what a token is; words are pieces learned from the texts; by default characters",
    )
    state: Literal["spectrum", "samples"] | None = Field(
        default=None,
        description="sounds: what is learned of them; by default their samples, which the network sees as a spectrum",
    )
    compression: float | None = Field(
        default=None,
        gt=0,
        le=1,
        description="sounds: power of the magnitudes of a spectrum, 1 for none: with less of it what is quiet counts "
        "more, and restoring is less exact; by default 0.5",
    )
    vocabulary: int = Field(default=4096, ge=300, le=65536, description="texts of words: how many different tokens")


class NetworkSection(Section):
    """What learns it."""

    network: Literal["unet", "transformer", "mlp"] | None = Field(
        default=None, description="the kind of network; by default that which suits the data"
    )
    width: int | None = Field(
        default=None, ge=8, description="features: of a unet at full resolution, or of each token; by default chosen"
    )
    multipliers: tuple[int, ...] | None = Field(
        default=None, description="unet: width of each level as a multiple; by default chosen from the size"
    )
    blocks: int = Field(default=2, ge=1, description="unet: blocks on each level")
    attention: tuple[int, ...] | None = Field(
        default=None, description="unet: levels with attention, from 0; by default the last"
    )
    patch: int | None = Field(
        default=None,
        ge=1,
        description="side of the patches that the network sees; by default 1, for a transformer chosen from the size",
    )
    depth: int | None = Field(
        default=None, ge=1, description="transformer and mlp: number of blocks; by default chosen"
    )
    heads: int = Field(default=4, ge=1, description="transformer: attention heads")
    network_dropout: float | None = Field(
        default=None, ge=0, lt=1, description="dropout inside the network; by default what suits the data"
    )


class ProcessSection(Section):
    """How data is destroyed, and what the network's output means."""

    noise_schedule: Literal["edm", "cosine", "flow", "vp", "heat", "bridge"] | None = Field(
        default=None,
        description="noise schedule, for data of real numbers; by default edm, flow for tables, and for pairs bridge: "
        "no noise to begin with, but the source; heat also blurs, as heat spreads",
    )
    blur: float = Field(
        default=0.5, gt=0, description="heat: deviation of its blur in the end, as a share of an item's longest side"
    )
    bridge_sigma: float | None = Field(
        default=None, gt=0, description="bridge: its deviation, of which half is noise in the middle; by default 0.5"
    )
    correlation: float | None = Field(
        default=None, gt=-1, lt=1, description="bridge: of sources with targets, pixel by pixel; by default measured"
    )
    parameterization: Literal["wiener", "edm", "velocity", "flow", "epsilon", "data"] | None = Field(
        default=None,
        description="meaning of the network's output, for data of real numbers; by default wiener, which knows the "
        "data's spectrum, and edm where there is no space or time to have one, or heat",
    )
    coupling: Literal["independent", "assignment", "sinkhorn"] = Field(
        default="independent",
        description="which noise goes with which item, for data of real numbers; sinkhorn for pairs that are none, but "
        "two kinds of pictures",
    )
    jumps: Literal["masked", "uniform"] = Field(
        default="masked", description="what becomes of tokens: they are hidden, or replaced by any other"
    )


class ObjectiveSection(Section):
    """What is minimised."""

    time_law: Literal["log-normal", "uniform", "logit-normal"] | None = Field(
        default=None, description="law of the noise levels; by default log-normal, and uniform for tokens"
    )
    time_mean: float | None = Field(
        default=None,
        description="log-normal: mean of log(sigma/alpha), by default chosen from the size; logit-normal: of logit(t)",
    )
    time_std: float | None = Field(
        default=None,
        gt=0,
        description="log-normal and logit-normal: the deviation; by default 1.2, and 4 for label maps",
    )
    weight: Literal["edm", "elbo", "min-snr", "uniform"] | None = Field(
        default=None, description="weight of each noise level; by default edm, and elbo for tokens"
    )
    learned_weight: bool | None = Field(
        default=None,
        description="even the loss out over noise levels by a learned uncertainty; by default for real numbers alone",
    )
    condition_dropout: float | None = Field(
        default=None,
        ge=0,
        le=1,
        description="share of items shown without their condition; by default a tenth, and none of label maps",
    )
    regression: float | None = Field(
        default=None,
        ge=0,
        lt=1,
        description="what comes next in fields: share of the budget for a network that answers at once, whose error is "
        "all that the model then has to draw, such as 0.8; by default none",
    )
    given: float | None = Field(
        default=None,
        ge=0,
        le=1,
        description="share of items shown with some of their parts clean, to learn to infill; by default what suits",
    )


class SamplingSection(Section):
    """How the model samples unless told otherwise."""

    sampler: str | None = Field(default=None, description="the way to walk by name; by default the best for the steps")
    sampling_steps: int | None = Field(
        default=None, ge=1, description="evaluations of the network; by default what suits the data"
    )
    guidance: float = Field(default=1.0, ge=0, description="weight of the condition; 1 is no guidance")

    @field_validator("sampler")
    @classmethod
    def _known(cls, name: str | None) -> str | None:
        from suffuse.samplers import SAMPLERS

        if name is not None and name not in SAMPLERS:
            raise ValueError(f"there is no sampler {name!r}; choose one of {', '.join(SAMPLERS)}")
        return name


class Recipe(Section):
    """Every choice about a model. What is None is chosen from the kind of data, or from the data itself.

    Example:
        >>> Recipe(data=DataSection(size=32)).sampling.guidance
        1.0
    """

    data: DataSection = DataSection()
    network: NetworkSection = NetworkSection()
    process: ProcessSection = ProcessSection()
    objective: ObjectiveSection = ObjectiveSection()
    sampling: SamplingSection = SamplingSection()
    training: TrainingConfig = TrainingConfig()
