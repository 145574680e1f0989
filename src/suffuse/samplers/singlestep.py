"""Methods that forget: Euler's in the schedule's own time, and DPM-Solver with evaluations inside the step."""

from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor

from suffuse.denoiser import Denoiser
from suffuse.processes import Gaussian
from suffuse.rng import Streams
from suffuse.samplers.base import Sampler
from suffuse.samplers.integrals import Data, LogRatio, Noise, Step, coefficients, integrals, scales
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
        schedule = denoiser.process.schedule
        at = scales(schedule, times[:-1])
        ones = torch.ones_like(at.t)
        (_, alpha_rate), (_, sigma_rate) = (
            torch.func.jvp(each, (at.t,), (ones,)) for each in (schedule.alpha, schedule.sigma)
        )
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
    """One step with evaluations inside: the times of these, the steps to them, and the last step."""

    times: tuple[Tensor, ...]
    steps: tuple[Step, ...]
    quantities: tuple[tuple[float, float], ...]


class DPMSolver(Sampler):
    r"""DPM-Solver of order 2 or 3: the expected noise in the log-SNR, with so many evaluations a step.

    Each step is taken from t to places inside it (a half; or one and two thirds of the log-SNR), and then to its end
    with a line through the noise at t and at the last of them. Steps from :math:`\alpha = 0` and to
    :math:`\sigma = 0`, where the log-SNR is infinite, are of the first order. It needs no memory, so that noise may be
    put between its steps (``Churn``, ``Restart``); without that :class:`Multistep` needs half the evaluations.

    Source: "DPM-Solver: A Fast ODE Solver for Diffusion Probabilistic Model Sampling in Around 10 Steps" (Lu, Zhou,
    Bao, Chen, Li, Zhu, 2022).

    Args:
        order: 2 or 3.
    """

    process = Gaussian
    _INSIDE: ClassVar[dict[int, tuple[float, ...]]] = {2: (1 / 2,), 3: (1 / 3, 2 / 3)}

    def __init__(self, order: int = 2) -> None:
        if order not in self._INSIDE:
            raise ValueError(f"DPMSolver has orders 2 and 3, got {order}")
        self.order = self.stages = order

    def init(self, denoiser: Denoiser, x1: State, times: Tensor) -> Any:
        """The stages of every step."""
        schedule = denoiser.process.schedule
        at = scales(schedule, times)
        start, end = at.pick(slice(-1)), at.pick(slice(1, None))
        low, high = schedule.log_snr(start.t), schedule.log_snr(end.t)
        inside = [scales(schedule, schedule.inverse(torch.lerp(low, high, share))) for share in self._INSIDE[self.order]]
        nodes, rows = [start], []
        for target in [*inside, end]:
            weights = integrals(Noise(), LogRatio(), start, target, nodes)
            rows.append(coefficients(Noise(), start, target, weights))
            nodes = [start, target]
        columns = zip(*(torch.stack(Noise().quantity(each), 1).tolist() for each in inside), strict=True)
        clocks = zip(*(each.t.to(times.device).unbind() for each in inside), strict=True)
        plain = coefficients(Data(), start, end, start.t.new_zeros(len(start.t), 0))
        known = (low.isfinite() & high.isfinite()).tolist()
        rows = zip(known, clocks, zip(*rows, strict=True), columns, plain, strict=True)
        return [Stages(*each) if there else Stages((), (alone,), ()) for there, *each, alone in rows]

    def step(
        self, denoiser: Denoiser, x_t: Any, t: Tensor, s: Tensor, condition: Condition, state: Any, rng: Streams
    ) -> tuple[State, Any]:
        """The state is what is left of the stages."""
        stages, *state = state
        mean = denoiser(x_t, t, condition).mean
        others: tuple[Tensor, ...] = ()
        for clock, step, (p, r) in zip(stages.times, stages.steps[:-1], stages.quantities, strict=True):
            x = step.take(x_t, mean, others)
            others = (torch.add(x * p, denoiser(x, clock, condition).mean, alpha=r),)
        return stages.steps[-1].take(x_t, mean, others), state
