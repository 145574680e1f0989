"""The recipe: every choice about a model, as data. Each field is an option of ``suffuse train``.

Nothing here imports torch, so that the command line answers at once.
"""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from suffuse.training.config import TrainingConfig


class Section(BaseModel):
    """A part of a recipe: frozen, and unknown fields are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class DataSection(Section):
    """What is learned."""

    size: int | None = Field(
        default=None, ge=1, le=4096, description="side of the pictures; by default chosen from the data"
    )
    channels: Literal[1, 3, 4] | None = Field(
        default=None, description="1 grey, 3 colour, 4 with transparency; by default chosen from the data"
    )
    condition: tuple[str, ...] = Field(
        default=(), description="fields of the data that the model is told, such as: label"
    )
    flip: bool = Field(default=False, description="show pictures mirrored half of the time")


class NetworkSection(Section):
    """What learns it."""

    network: Literal["unet", "transformer"] = Field(default="unet", description="the kind of network")
    width: int = Field(default=64, ge=8, description="channels at full resolution, or of the transformer")
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
    depth: int = Field(default=6, ge=1, description="transformer: number of blocks")
    heads: int = Field(default=4, ge=1, description="transformer: attention heads")
    network_dropout: float = Field(default=0.0, ge=0, lt=1, description="dropout inside the network")


class ProcessSection(Section):
    """How data is destroyed, and what the network's output means."""

    noise_schedule: Literal["edm", "cosine", "flow", "vp"] = Field(default="edm", description="noise schedule")
    parameterization: Literal["edm", "velocity", "flow", "epsilon", "data"] = Field(
        default="edm", description="meaning of the network's output"
    )
    coupling: Literal["independent", "assignment", "sinkhorn"] = Field(
        default="independent", description="which noise goes with which picture"
    )


class ObjectiveSection(Section):
    """What is minimised."""

    time_law: Literal["log-normal", "uniform", "logit-normal"] = Field(
        default="log-normal", description="law of the noise levels"
    )
    time_mean: float | None = Field(
        default=None,
        description="log-normal: mean of log(sigma/alpha), by default chosen from the size; logit-normal: of logit(t)",
    )
    time_std: float = Field(default=1.2, gt=0, description="log-normal and logit-normal: the deviation")
    weight: Literal["edm", "elbo", "min-snr", "uniform"] = Field(
        default="edm", description="weight of each noise level"
    )
    learned_weight: bool = Field(
        default=True, description="even the loss out over noise levels by a learned uncertainty"
    )
    condition_dropout: float = Field(
        default=0.1, ge=0, le=1, description="share of pictures shown without their condition"
    )


class SamplingSection(Section):
    """How the model samples unless told otherwise."""

    sampler: str | None = Field(default=None, description="the way to walk by name; by default the best for the steps")
    sampling_steps: int = Field(default=20, ge=1, description="evaluations of the network")
    guidance: float = Field(default=1.0, ge=0, description="weight of the condition; 1 is no guidance")

    @field_validator("sampler")
    @classmethod
    def _known(cls, name: str | None) -> str | None:
        from suffuse.samplers import SAMPLERS

        if name is not None and name not in SAMPLERS:
            raise ValueError(f"there is no sampler {name!r}; choose one of {', '.join(SAMPLERS)}")
        return name


class Recipe(Section):
    """Every choice about a model of pictures.

    Example:
        >>> Recipe(data=DataSection(size=32)).network.width
        64
    """

    data: DataSection = DataSection()
    network: NetworkSection = NetworkSection()
    process: ProcessSection = ProcessSection()
    objective: ObjectiveSection = ObjectiveSection()
    sampling: SamplingSection = SamplingSection()
    training: TrainingConfig = TrainingConfig()
