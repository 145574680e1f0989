"""Parts of a recipe to the objects they stand for, for every kind of data."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from suffuse.codecs.base import ConditionCodec
from suffuse.denoiser import Denoiser
from suffuse.errors import UserError
from suffuse.grids import LogitNormal, LogNormal, TimeLaw, Uniform
from suffuse.networks import Transformer, UNet
from suffuse.networks.base import Network
from suffuse.networks.conditions import Classes, Kind, Picture, Tokens, Vector
from suffuse.objectives import (
    Assignment,
    Coupling,
    ELBOWeight,
    HeatWeight,
    LearnedWeight,
    MinSNRWeight,
    Objective,
    OutputWeight,
    Sinkhorn,
    UniformWeight,
    Weight,
)
from suffuse.parameterizations import EDM, PARAMETERIZATIONS, Affine, Bridged, Parameterization, PerFrequency, Wiener
from suffuse.patterns import Pattern
from suffuse.processes import Gaussian, Heat, Process
from suffuse.recipes.recipe import NetworkSection, ObjectiveSection, ProcessSection, Recipe
from suffuse.schedules import SCHEDULES, Schedule

_TIME_STD, _DROPOUT = 1.2, 0.1
_COUPLINGS: dict[str, type[Coupling]] = {"assignment": Assignment, "sinkhorn": Sinkhorn}


def build_process(section: ProcessSection) -> Process[Tensor]:
    """The process of real numbers; a Gaussian one knows whether its noise is coupled to the data."""
    coupled = section.coupling != "independent"
    if section.noise_schedule == "heat":
        if coupled:
            raise UserError(f"heat spreads with independent noise; leave out --coupling {section.coupling}")
        return Heat(_schedule(section), section.blur)
    return Gaussian(_schedule(section), coupled=coupled)


def build_denoiser(
    network: nn.Module,
    section: ProcessSection,
    sigma_data: float,
    shape: tuple[int, ...],
    periodic: Sequence[int] = (),
) -> Denoiser:
    """The denoiser of items (C, ...) of real numbers by this network.

    Args:
        network: with fresh weights.
        section: its process and form.
        sigma_data: deviation of the data.
        shape: of an item.
        periodic: space axes that close to a circle.
    """
    return Denoiser(network, build_process(section), build_form(section, sigma_data, shape, periodic), shape)


def build_form(
    section: ProcessSection, sigma_data: float, shape: Sequence[int] = (), periodic: Sequence[int] = ()
) -> Parameterization:
    """The meaning of what the network gives, for that process.

    Args:
        section: its choices.
        sigma_data: deviation of the data.
        shape: (C, ...) of an item; of numbers without space, left out.
        periodic: space axes that close to a circle.
    """
    heat = section.noise_schedule == "heat"
    name = section.parameterization or ("edm" if heat or len(shape) < 2 else "wiener")
    if name == "wiener":
        if heat or len(shape) < 2:
            raise UserError(
                "the form wiener knows the spectrum of what has axes, under noise alone; leave out --parameterization"
            )
        return Wiener(sigma_data, shape, periodic)
    form = PARAMETERIZATIONS[name]
    assert issubclass(form, Affine)
    return PerFrequency(form(sigma_data)) if heat else form(sigma_data)


def _schedule(section: ProcessSection) -> Schedule:
    assert section.noise_schedule is not None
    if section.noise_schedule == "heat":  # the schedule of what is not blurred
        return SCHEDULES["edm"]()
    if section.noise_schedule == "bridge":
        raise UserError("a bridge goes between pairs: add --kind pairs, or take another --noise-schedule")
    return SCHEDULES[section.noise_schedule]()


def network_conditions(conditions: Mapping[str, ConditionCodec]) -> dict[str, Kind]:
    """What a network has to read of each condition."""
    return {name: _condition(codec.spec()) for name, codec in conditions.items()}


def _condition(spec: Mapping[str, Any]) -> Kind:
    match spec["kind"]:
        case "classes":
            return Classes(spec["count"])
        case "vector":
            return Vector(spec["size"])
        case "picture":
            return Picture(spec["channels"])
        case _:
            return Tokens(spec["vocabulary"], spec["length"])


def build_objective(
    recipe: Recipe, form: Parameterization, redundancy: float = 1.0, pattern: Pattern | None = None
) -> Objective:
    """The objective of a filled recipe for one process.

    Args:
        recipe: its choices.
        form: of what the network gives.
        redundancy: how many times over neighbouring elements say the same; more of it calls for more noise.
        pattern: which parts of an item are shown clean.
    """
    weight = build_weight(recipe.objective, form)
    if recipe.process.noise_schedule == "heat":
        if pattern is not None:
            raise UserError(
                "heat spreads from element to element, so that none can be shown clean; add --given 0, or take another "
                "--noise-schedule"
            )
        weight = HeatWeight(weight)
    coupling = _COUPLINGS.get(recipe.process.coupling)
    return Objective(
        build_time_law(recipe, redundancy),
        LearnedWeight(weight) if recipe.objective.learned_weight else weight,
        coupling() if coupling else None,
        build_dropout(recipe.objective),
        pattern,
    )


def build_time_law(recipe: Recipe, redundancy: float = 1.0) -> TimeLaw:
    """The law of the noise levels."""
    section = recipe.objective
    std = _TIME_STD if section.time_std is None else section.time_std
    if section.time_law == "log-normal":
        return LogNormal(_schedule(recipe.process), _mean_log_ratio(section, redundancy), std)
    return Uniform() if section.time_law == "uniform" else LogitNormal(section.time_mean or 0.0, std)


def build_dropout(section: ObjectiveSection) -> float:
    """The share of items that are shown without their condition."""
    return _DROPOUT if section.condition_dropout is None else section.condition_dropout


def _mean_log_ratio(section: ObjectiveSection, redundancy: float) -> float:
    r"""More noise where neighbouring elements say the same many times over.

    The shift is as in "simple diffusion: End-to-end diffusion for high resolution images" (Hoogeboom, Heek, Salimans,
    2023); its size is that between the best means that were measured at 8 and at 28 pixels, -0.6 and 0.2.
    """
    return 0.64 * math.log(redundancy) - 0.6 if section.time_mean is None else section.time_mean


def build_weight(section: ObjectiveSection, form: Parameterization) -> Weight:
    """The weight of each noise level: of the output's own error where its form is of unit variance, else of EDM's."""
    unit = form if isinstance(form, Wiener | Bridged) else EDM(form.sigma_data)
    weights: dict[str | None, Weight] = {
        "edm": OutputWeight(unit),
        "elbo": ELBOWeight(),
        "min-snr": MinSNRWeight(),
        "uniform": UniformWeight(),
    }
    return weights[section.weight]


def build_network(
    section: NetworkSection,
    shape: tuple[int, ...],
    conditions: Mapping[str, ConditionCodec],
    out_channels: int | None = None,
    periodic: Sequence[int] = (),
    frames: bool = False,
) -> Network:
    """A network over space; what the recipe leaves open is chosen from the size.

    Args:
        section: its choices.
        shape: of what it is shown.
        conditions: codec of each condition.
        out_channels: of what it gives; None = as many as it is shown.
        periodic: space axes that close to a circle, which only a U-Net can be told.
        frames: whether the first of the space axes counts frames.
    """
    channels, space, told = shape[0], shape[1:], network_conditions(conditions)
    longest = max(space[1:] if frames else space)
    assert section.width is not None
    assert section.depth is not None
    if section.network == "transformer":
        return Transformer(
            channels,
            dimensions=len(space),
            frames=frames,
            patch=section.patch or default_patch(longest),
            width=section.width,
            depth=section.depth,
            heads=section.heads,
            conditions=told,
            out_channels=out_channels,
            dropout=section.network_dropout or 0.0,
        )
    patch = section.patch or 1
    multipliers = section.multipliers or default_multipliers(-(-longest // patch))
    return UNet(
        channels,
        dimensions=len(space),
        frames=frames,
        patch=patch,
        width=section.width,
        multipliers=multipliers,
        blocks=section.blocks,
        attention=(len(multipliers) - 1,) if section.attention is None else section.attention,
        conditions=told,
        out_channels=out_channels,
        dropout=section.network_dropout or 0.0,
        periodic=periodic,
    )


def default_multipliers(size: int) -> tuple[int, ...]:
    """Levels down to a resolution of about 8, where attention over all places is cheap.

    Example:
        >>> default_multipliers(8), default_multipliers(32), default_multipliers(64)
        ((1, 2), (1, 2, 2), (1, 2, 2, 4))
    """
    levels = max(2, (size - 1).bit_length() - 2)
    return (1, 2, 2, 4, 4, 4, 4, 4, 4, 4)[:levels]


def default_patch(size: int) -> int:
    """A patch that leaves about 16 x 16 of them.

    Example:
        >>> default_patch(8), default_patch(32), default_patch(64)
        (1, 2, 4)
    """
    return max(1, size // 16)
