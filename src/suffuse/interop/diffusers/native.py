r"""A network in the coordinates and by the clock that it was trained with, asked from any Gaussian process.

A state of one Gaussian process is a state of every other, scaled, at the time of equal signal-to-noise ratio. So a
network that was trained on one schedule answers for all of them, and is itself always given what it has seen.
"""

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from suffuse.errors import UserError
from suffuse.parameterizations import Affine, Data, Epsilon, Flow, Parameterization, Velocity
from suffuse.posteriors import Normal
from suffuse.processes import Gaussian, Process, Time
from suffuse.processes.base import as_time
from suffuse.schedules import Flow as FlowSchedule
from suffuse.schedules import Tabulated

TABLES = (
    "DDIMScheduler",
    "DDPMScheduler",
    "DEISMultistepScheduler",
    "DPMSolverMultistepScheduler",
    "DPMSolverSinglestepScheduler",
    "EulerAncestralDiscreteScheduler",
    "EulerDiscreteScheduler",
    "HeunDiscreteScheduler",
    "KDPM2AncestralDiscreteScheduler",
    "KDPM2DiscreteScheduler",
    "LMSDiscreteScheduler",
    "PNDMScheduler",
    "SASolverScheduler",
    "UniPCMultistepScheduler",
)
"""Their schedulers of a table of betas."""
FLOWS = ("FlowMatchEulerDiscreteScheduler", "FlowMatchHeunDiscreteScheduler")
"""Their schedulers of straight lines from data to noise."""
_FORMS: dict[str, type[Affine]] = {"epsilon": Epsilon, "sample": Data, "v_prediction": Velocity}


class Native(Parameterization):
    r"""What a network trained elsewhere is given, and what its output means.

    It sees :math:`x' = x_t \sqrt{(\alpha'^2 + \sigma'^2) / (\alpha_t^2 + \sigma_t^2)}` at the time t' of its own
    process where the signal-to-noise ratio is that of t, and is told the timestep N t' - offset, at least 0.

    Args:
        form: what the output means, in its own process.
        trained: its own process.
        steps: N.
        offset: 1 for a table, whose step i is at t' = (i + 1) / N, and 0 for a continuous clock.
        sigma_data: deviation of the data, by which samplers choose their units.
    """

    process = Gaussian

    def __init__(self, form: Affine, trained: Gaussian, steps: int, offset: int, sigma_data: float) -> None:
        self.form, self.trained, self.steps, self.offset = form, trained, steps, offset
        self.sigma_data = sigma_data

    def check(self, process: Process[Any]) -> None:
        """The form has to fit the process that the network was trained in."""
        super().check(process)
        self.form.check(self.trained)

    def inputs(self, x_t: Tensor, t: Time, process: Gaussian) -> tuple[Tensor, Tensor]:
        """The state in the network's coordinates, and its timestep."""
        own, at = carried(x_t, t, process, self.trained)
        return own, (self.steps * at - self.offset).clamp(min=0)

    def posterior(self, output: Tensor, x_t: Tensor, t: Time, process: Gaussian) -> Normal:
        """As the form reads it, in the network's own process."""
        own, at = carried(x_t, t, process, self.trained)
        return self.form.posterior(output, own, at, self.trained)


def carried(x_t: Tensor, t: Time, source: Gaussian, target: Gaussian) -> tuple[Tensor, Tensor]:
    """A state of one process as a state of another, and its time there."""
    at = target.schedule.inverse(source.schedule.log_snr(as_time(t, x_t)))
    (alpha_t, sigma_t), (alpha, sigma) = source.coordinates(t, x_t), target.coordinates(at, x_t)
    return x_t * ((alpha**2 + sigma**2) / (alpha_t**2 + sigma_t**2)).sqrt(), at


def native(scheduler: Any, sigma_data: float, tokens: int) -> Native:
    """Read a scheduler: which process the network was trained in, and what its output means.

    Args:
        scheduler: one of theirs.
        sigma_data: deviation of the data. Of a flow it is the scheduler's shift, since that is what a deviation is to
            our samplers: a grid that is straight in units of c is theirs, shifted by c.
        tokens: of one item, by which some schedulers choose their shift.

    Raises:
        UserError: the scheduler is of a kind that is not known.
    """
    kind, config = type(scheduler).__name__, scheduler.config
    if kind in FLOWS and not config.get("invert_sigmas"):
        return _flow(config.num_train_timesteps, _shift(config, tokens))
    if kind in TABLES and config.get("use_flow_sigmas"):
        return _flow(config.num_train_timesteps, config.flow_shift)
    form = config.get("prediction_type")
    if kind not in TABLES or form not in _FORMS or config.get("timestep_type", "discrete") != "discrete":
        raise UserError(
            f"a {kind} that predicts {form} is not known; use a scheduler of a table of betas with epsilon, sample or "
            "v_prediction, or of flow matching"
        )
    return Native(_FORMS[form](), Gaussian(table(scheduler)), config.num_train_timesteps, 1, sigma_data)


def table(scheduler: Any) -> Tabulated:
    r"""Their table, by the :math:`\bar\alpha` that their networks were trained with: in float32, as multiplied up."""
    kept = scheduler.alphas_cumprod.double().cpu()
    return Tabulated(1 - kept / torch.cat([kept.new_ones(1), kept[:-1]]))


def _flow(steps: int, shift: float) -> Native:
    return Native(Flow(), Gaussian(FlowSchedule()), steps, 0, shift)


def _shift(config: Mapping[str, Any], tokens: int) -> float:
    """A fixed shift, or one that follows the length of the sequence.

    Source: "Scaling Rectified Flow Transformers for High-Resolution Image Synthesis" (Esser et al., 2024).
    """
    if not config.get("use_dynamic_shifting"):
        return config["shift"]
    short, long = config["base_image_seq_len"], config["max_image_seq_len"]
    low, high = config["base_shift"], config["max_shift"]
    at = low + (high - low) * (tokens - short) / (long - short)
    return math.exp(at) if config["time_shift_type"] == "exponential" else at
