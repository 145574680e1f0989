"""Methods that forget: each step stands alone, with its own evaluations."""

from abc import abstractmethod
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor

from suffuse.denoiser import Denoiser
from suffuse.processes import Gaussian
from suffuse.rng import Streams
from suffuse.samplers.base import Sampler
from suffuse.samplers.integrals import (
    Data,
    Form,
    LogRatio,
    Noise,
    Place,
    Scales,
    Step,
    Straight,
    Velocity,
    coefficients,
    integrals,
    scales,
)
from suffuse.schedules import Schedule
from suffuse.tree import Condition, State


class Euler(Sampler):
    r"""Euler's rule on the probability-flow ODE as it stands, in the schedule's time.

    .. math:: \frac{dx}{dt} = \alpha_t' \, E[x_0 | x_t] + \sigma_t' \, E[\varepsilon | x_t].

    For ``Flow`` and for ``EDM`` data it is how flow matching and many papers sample, and for ``Flow`` the same as
    DDIM; elsewhere :class:`Ancestral` takes the same step without the error of the schedule. A baseline.

    Source: "Score-Based Generative Modeling through Stochastic Differential Equations" (Song et al., 2021).
    """

    process = Gaussian

    def init(self, denoiser: Denoiser, x1: State, times: Tensor) -> Any:
        """Factors of the state and of the posterior mean, for each step."""
        assert isinstance(denoiser.process, Gaussian)
        schedule = denoiser.process.schedule
        at = scales(schedule, times[:-1])
        one = (torch.ones_like(at.t),)
        alpha_rate, sigma_rate = (torch.func.jvp(each, (at.t,), one)[1] for each in (schedule.alpha, schedule.sigma))
        step = times[1:].double().cpu() - at.t
        keep = 1 + step * sigma_rate / at.sigma
        add = step * (alpha_rate - at.alpha * sigma_rate / at.sigma)
        return list(zip(keep.tolist(), add.tolist(), strict=True))

    def step(
        self, denoiser: Denoiser, x_t: Any, t: Tensor, s: Tensor, condition: Condition, state: Any, rng: Streams
    ) -> tuple[State, Any]:
        """The state is what is left of the factors."""
        (keep, add), *state = state
        return torch.add(x_t * keep, denoiser(x_t, t, condition).mean, alpha=add), state


class Stages(NamedTuple):
    """One step: when to evaluate after its start, the steps to there and at last to the end, and what q is there."""

    times: tuple[Tensor, ...]
    steps: tuple[Step, ...]
    quantities: tuple[tuple[float, float], ...]


class SingleStep(Sampler):
    """A step through the quantity of a form at its start and at one place further on, found in turn.

    Where the quantity or the place of a node is infinite, the step is DDIM's, with one evaluation.
    """

    process = Gaussian

    @abstractmethod
    def form(self, denoiser: Denoiser) -> Form:
        """How the ODE is written."""

    @abstractmethod
    def place(self, denoiser: Denoiser) -> Place:
        """The variable of the polynomial."""

    @abstractmethod
    def nodes(self, schedule: Schedule, start: Scales, end: Scales) -> list[Scales]:
        """Where a step is evaluated after its start."""

    def init(self, denoiser: Denoiser, x1: State, times: Tensor) -> list[Stages]:
        """The stages of every step."""
        process = denoiser.process
        assert isinstance(process, Gaussian)
        form, place = self.form(denoiser), self.place(denoiser)
        at = scales(process.schedule, times)
        start, end = at.pick(slice(-1)), at.pick(slice(1, None))
        nodes = self.nodes(process.schedule, start, end)
        rows, seen = [], [start]
        for target in [*nodes, end]:
            rows.append(coefficients(form, start, target, integrals(form, place, start, target, seen)).rows())
            seen = [start, target]
        quantities = [torch.stack(form.quantity(node), 1) for node in nodes]
        known = torch.stack([place.of(each.sigma / each.alpha) for each in (start, end)], 1)
        known = torch.cat([known, *quantities], 1).isfinite().all(1)
        plain = coefficients(Data(), start, end, start.t.new_zeros(len(start.t), 0)).rows()
        columns = (
            zip(*(node.t.to(times.device).unbind() for node in nodes), strict=True),
            zip(*rows, strict=True),
            zip(*([(p, r) for p, r in each.tolist()] for each in quantities), strict=True),
        )
        each = zip(known.tolist(), plain, map(Stages, *columns), strict=True)
        return [stages if there else Stages((), (alone,), ()) for there, alone, stages in each]

    def step(
        self, denoiser: Denoiser, x_t: Any, t: Tensor, s: Tensor, condition: Condition, state: Any, rng: Streams
    ) -> tuple[State, Any]:
        """The state is what is left of the stages."""
        stages, *state = state
        mean = denoiser(x_t, t, condition).mean
        others: tuple[Tensor, ...] = ()
        for time, step, (p, r) in zip(stages.times, stages.steps[:-1], stages.quantities, strict=True):
            x = step.take(x_t, mean, others)
            others = (torch.add(x * p, denoiser(x, time, condition).mean, alpha=r),)
        return stages.steps[-1].take(x_t, mean, others), state


class Heun(SingleStep):
    r"""The trapezoidal rule on the straightened flow, with two evaluations a step.

    In the coordinates of :class:`Adams`, :math:`y = x / (c \alpha + \sigma)` and
    :math:`\tau = \sigma / (c \alpha + \sigma)` with the data's deviation c,

    .. math:: y_s = y_t + (\tau_s - \tau_t) \frac{v_t + v_s}{2}, \qquad v = E[\varepsilon - x_0 / c \, | \, x],

    the second velocity being taken where the first one leads. Both ends of a walk are finite, :math:`\alpha = 0`
    included; the step into :math:`\sigma = 0` is DDIM's, and exact for the last posterior. A reference rather than a
    fast method, and the one for noise between steps (``Churn``, ``Restart``), since it needs no memory.

    Source: algorithm 1 of "Elucidating the Design Space of Diffusion-Based Generative Models" (Karras et al., 2022),
    in other coordinates.
    """

    order = stages = 2

    def form(self, denoiser: Denoiser) -> Form:
        """See the class."""
        return Velocity(denoiser.sigma_data)

    def place(self, denoiser: Denoiser) -> Place:
        """See the class."""
        return Straight(denoiser.sigma_data)

    def nodes(self, schedule: Schedule, start: Scales, end: Scales) -> list[Scales]:
        """The end."""
        return [end]


class DPMSolver(SingleStep):
    r"""DPM-Solver of order 2 or 3: the expected noise in the log-SNR, with so many evaluations a step.

    .. math:: x_s = \frac{\alpha_s}{\alpha_t} x_t + \alpha_s \int E[\varepsilon | x_t] \, d(\sigma / \alpha).

    Each step is taken from t to places inside it (a half; or one and two thirds of the log-SNR), and then to its end
    with a line through the noise at t and at the last of them. Steps from :math:`\alpha = 0` and to
    :math:`\sigma = 0`, where the log-SNR is infinite, are DDIM's. It needs no memory, so that noise may be put between
    its steps (``Churn``, ``Restart``); without that :class:`Multistep` needs half the evaluations.

    Source: "DPM-Solver: A Fast ODE Solver for Diffusion Probabilistic Model Sampling in Around 10 Steps" (Lu, Zhou,
    Bao, Chen, Li, Zhu, 2022).

    Args:
        order: 2 or 3.
    """

    _INSIDE: ClassVar[dict[int, tuple[float, ...]]] = {2: (1 / 2,), 3: (1 / 3, 2 / 3)}

    def __init__(self, order: int = 2) -> None:
        if order not in self._INSIDE:
            raise ValueError(f"DPMSolver has orders 2 and 3, got {order}")
        self.order = self.stages = order

    def form(self, denoiser: Denoiser) -> Form:
        """See the class."""
        return Noise()

    def place(self, denoiser: Denoiser) -> Place:
        """See the class."""
        return LogRatio()

    def nodes(self, schedule: Schedule, start: Scales, end: Scales) -> list[Scales]:
        """At even log-SNRs inside the step."""
        low, high = schedule.log_snr(start.t), schedule.log_snr(end.t)
        shares = self._INSIDE[self.order]
        return [scales(schedule, schedule.inverse(torch.lerp(low, high, share))) for share in shares]
