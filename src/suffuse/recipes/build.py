"""From a recipe to the five objects."""

import math
from collections.abc import Mapping
from typing import Any

from torch import nn

from suffuse.codecs.base import ConditionCodec
from suffuse.denoiser import Denoiser
from suffuse.grids import LogitNormal, LogNormal, TimeLaw, Uniform
from suffuse.networks import Classes, Tokens, Transformer, UNet
from suffuse.objectives import (
    Assignment,
    Coupling,
    EDMWeight,
    ELBOWeight,
    LearnedWeight,
    MinSNRWeight,
    Objective,
    Sinkhorn,
    UniformWeight,
    Weight,
)
from suffuse.parameterizations import PARAMETERIZATIONS, Affine
from suffuse.processes import Gaussian
from suffuse.recipes.recipe import NetworkSection, ObjectiveSection, ProcessSection, Recipe
from suffuse.schedules import SCHEDULES, Schedule

_COUPLINGS: dict[str, type[Coupling]] = {"assignment": Assignment, "sinkhorn": Sinkhorn}


def build_denoiser(
    recipe: Recipe, shape: tuple[int, ...], conditions: Mapping[str, ConditionCodec], sigma_data: float
) -> Denoiser:
    """The denoiser of a recipe, with fresh weights.

    Args:
        recipe: with nothing left to choose.
        shape: (C, *space) of one item.
        conditions: codec of each condition.
        sigma_data: deviation of the data.
    """
    parameterization = PARAMETERIZATIONS[recipe.process.parameterization]
    assert issubclass(parameterization, Affine)
    network = build_network(recipe.network, shape, conditions)
    return Denoiser(network, build_process(recipe.process), parameterization(sigma_data), shape)


def build_process(section: ProcessSection) -> Gaussian:
    """The process, which knows whether its noise is coupled to the data."""
    return Gaussian(_schedule(section), coupled=section.coupling != "independent")


def _schedule(section: ProcessSection) -> Schedule:
    return SCHEDULES[section.noise_schedule]()


def build_network(
    section: NetworkSection, shape: tuple[int, ...], conditions: Mapping[str, ConditionCodec]
) -> nn.Module:
    """The network; what the recipe leaves open is chosen from the size."""
    specs = {name: _condition(codec.spec()) for name, codec in conditions.items()}
    channels, space = shape[0], shape[1:]
    if section.network == "transformer":
        return Transformer(
            channels,
            dimensions=len(space),
            patch=section.patch or default_patch(max(space)),
            width=section.width,
            depth=section.depth,
            heads=section.heads,
            conditions=specs,
            dropout=section.network_dropout,
        )
    patch = section.patch or 1
    multipliers = section.multipliers or default_multipliers(-(-max(space) // patch))
    return UNet(
        channels,
        dimensions=len(space),
        patch=patch,
        width=section.width,
        multipliers=multipliers,
        blocks=section.blocks,
        attention=(len(multipliers) - 1,) if section.attention is None else section.attention,
        conditions=specs,
        dropout=section.network_dropout,
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


def _condition(spec: Mapping[str, Any]) -> Classes | Tokens:
    if spec["kind"] == "classes":
        return Classes(spec["count"])
    return Tokens(spec["vocabulary"], spec["length"])


def build_objective(recipe: Recipe, sigma_data: float) -> Objective:
    """The objective of a recipe."""
    weight = _weight(recipe.objective, sigma_data)
    coupling = _COUPLINGS.get(recipe.process.coupling)
    return Objective(
        _time_law(recipe),
        LearnedWeight(weight) if recipe.objective.learned_weight else weight,
        coupling() if coupling else None,
        recipe.objective.condition_dropout,
    )


def _time_law(recipe: Recipe) -> TimeLaw:
    section = recipe.objective
    laws: dict[str, TimeLaw] = {
        "log-normal": LogNormal(_schedule(recipe.process), _mean_log_ratio(recipe), section.time_std),
        "logit-normal": LogitNormal(section.time_mean or 0.0, section.time_std),
        "uniform": Uniform(),
    }
    return laws[section.time_law]


def _mean_log_ratio(recipe: Recipe) -> float:
    r"""More noise for larger pictures, whose pixels say the same many times over.

    The shift is as in "simple diffusion: End-to-end diffusion for high resolution images" (Hoogeboom, Heek, Salimans,
    2023); its size is that between the best means that were measured at 8 and at 28 pixels, -0.6 and 0.2.
    """
    if recipe.objective.time_mean is not None:
        return recipe.objective.time_mean
    assert recipe.data.size is not None
    return 0.64 * math.log(recipe.data.size / 8) - 0.6


def _weight(section: ObjectiveSection, sigma_data: float) -> Weight:
    weights: dict[str, Weight] = {
        "edm": EDMWeight(sigma_data),
        "elbo": ELBOWeight(),
        "min-snr": MinSNRWeight(),
        "uniform": UniformWeight(),
    }
    return weights[section.weight]
