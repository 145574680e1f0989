"""Noise put between the steps of other samplers: churn, restart and Langevin's corrector."""

import math
from typing import Any

import torch
from torch import Tensor

from suffuse.denoiser import Denoiser
from suffuse.errors import UserError
from suffuse.processes import Gaussian, Process
from suffuse.rng import Streams
from suffuse.samplers.ancestral import Ancestral
from suffuse.samplers.base import Callback, Sampler, check_inner
from suffuse.samplers.singlestep import Heun
from suffuse.tree import Condition, State


class Churn(Sampler):
    r"""Noise before each step: up from t by a factor :math:`1 + \gamma` in :math:`\sigma / \alpha`, then the inner
    sampler's step down.

    .. math:: \gamma = \min(\text{amount} / N, \sqrt 2 - 1), \quad \text{where } \sigma_t / \alpha_t \text{ lies in
    the range given.}

    The fresh noise corrects errors of earlier steps, at the price of more steps.

    Source: algorithm 2 of "Elucidating the Design Space of Diffusion-Based Generative Models" (Karras et al., 2022).

    Args:
        inner: any one-step sampler of Gaussian processes.
        amount: :math:`S_{\text{churn}}`, noise added over the whole walk.
        low: least sigma/alpha at which to churn.
        high: largest sigma/alpha at which to churn.
    """

    process = Gaussian
    stochastic = True
    at_start = False

    def __init__(
        self, inner: Sampler | None = None, amount: float = 10.0, low: float = 0.05, high: float = 50.0
    ) -> None:
        self.inner = Heun() if inner is None else inner
        check_inner(self, self.inner)
        if not self.inner.one_step:
            raise ValueError(f"churn breaks the memory of {type(self.inner).__name__}; give a one-step sampler")
        if not amount >= 0:
            raise ValueError(f"the amount of churn must lie in [0, inf), got {amount}")
        self.order, self.stages = self.inner.order, self.inner.stages
        self.amount, self.low, self.high = amount, low, high

    def last(self, process: Process[Any]) -> int:
        """The inner sampler's."""
        return self.inner.last(process)

    def init(self, denoiser: Denoiser, x1: State, times: Tensor) -> float:
        """The factor of noise for this number of steps."""
        return min(self.amount / (len(times) - 1), math.sqrt(2) - 1)

    def step(
        self, denoiser: Denoiser, x_t: Any, t: Tensor, s: Tensor, condition: Condition, state: float, rng: Streams
    ) -> tuple[State, float]:
        """Up, then down, by the inner sampler's plan of that one step."""
        process = denoiser.process
        assert isinstance(process, Gaussian)
        log_snr = process.schedule.log_snr(t)
        higher = process.schedule.inverse(log_snr - 2 * math.log1p(state)).clamp(max=1.0)
        if self.low <= float(torch.exp(-log_snr / 2)) <= self.high and higher > t:
            rng = rng.fold("churn").at(t)  # for the step down too: the walk crosses the same times twice
            x_t = process.forward(x_t, t, higher, rng)
            t = higher
        plan = self.inner.init(denoiser, x_t, torch.stack([t, s]))
        return self.inner.step(denoiser, x_t, t, s, condition, plan, rng)[0], state


class Langevin(Sampler):
    r"""Predictor and corrector: the inner sampler's step, then a step of Langevin's dynamics at its end.

    .. math:: x \leftarrow x + \delta \sigma_s^2 \nabla \log p_s(x) + \sqrt{2 \delta} \, \sigma_s \varepsilon, \qquad
        \sigma_s^2 \nabla \log p_s(x) = \alpha_s E[x_0 | x_s] - x_s,

    with :math:`\delta = \text{amount} \cdot (1 - \mathrm{SNR}_t / \mathrm{SNR}_s)`, so that the corrector does less
    where steps are finer, and vanishes with them. It draws what the predictor got wrong back towards the law at s, for
    one more evaluation a step.

    Source: "Score-Based Generative Modeling through Stochastic Differential Equations" (Song et al., 2021), with a
    step that does not depend on the batch. The weak order is 1, whatever the predictor's.

    Args:
        inner: any one-step sampler of Gaussian processes; DDIM unless told otherwise.
        amount: size of the corrector's step, at most 1.
    """

    process = Gaussian
    stochastic = True

    def __init__(self, inner: Sampler | None = None, amount: float = 0.2) -> None:
        self.inner = Ancestral() if inner is None else inner
        check_inner(self, self.inner)
        if not self.inner.one_step:
            raise ValueError(f"a corrector breaks the memory of {type(self.inner).__name__}; give a one-step sampler")
        if not 0 < amount <= 1:
            raise ValueError(f"the corrector's amount must lie in (0, 1], got {amount}")
        self.amount, self.stages = amount, self.inner.stages + 1

    def last(self, process: Process[Any]) -> int:
        """The inner sampler's: there is nothing to correct at t = 0."""
        return self.inner.last(process)

    def init(self, denoiser: Denoiser, x1: State, times: Tensor) -> Any:
        """The inner sampler's state."""
        process = denoiser.process
        assert isinstance(process, Gaussian)
        process.refuse_coupled("Langevin's corrector")
        return self.inner.init(denoiser, x1, times)

    def step(
        self, denoiser: Denoiser, x_t: Any, t: Tensor, s: Tensor, condition: Condition, state: Any, rng: Streams
    ) -> tuple[State, Any]:
        """Down, then along."""
        x_s, state = self.inner.step(denoiser, x_t, t, s, condition, state, rng)
        process = denoiser.process
        assert isinstance(process, Gaussian)
        assert isinstance(x_s, Tensor)
        alpha_s, sigma_s = process.coordinates(s, x_s)
        if float(s) == 0:
            return x_s, state
        fall = -torch.expm1(process.schedule.log_snr(t) - process.schedule.log_snr(s))
        delta = (self.amount * fall).to(x_s.dtype)
        score = alpha_s * denoiser(x_s, s, condition).mean - x_s
        noise = rng.fold("langevin").at(s).normal(x_s)
        return x_s + delta * score + (2 * delta).sqrt() * sigma_s * noise, state


class Restart(Sampler):
    r"""The inner sampler's walk, part of which is walked again from fresh noise.

    When the walk has come below ``low`` in :math:`\sigma / \alpha`, noise is added up to ``high``, and that part of
    the walk is taken once more, ``repeats`` times. Noise in one large dose forgets errors that an ODE sampler would
    carry to the end, and the ODE steps between keep their order. For models and samplers whose errors pile up;
    the steps of the restarts are even in the log-SNR. A walk too short to have a time between is not restarted.

    Source: "Restart Sampling for Improving Generative Processes" (Xu, Deng, Cheng, Tian, Liu, Jaakkola, 2023).

    Args:
        inner: any sampler of Gaussian processes; Heun's unless told otherwise.
        low: sigma/alpha from which to go up again.
        high: sigma/alpha to go up to.
        repeats: number of restarts.
        share: steps of each, as a share of the walk's, rounded up.
    """

    process = Gaussian
    stochastic = True
    one_step = at_start = False

    def __init__(
        self, inner: Sampler | None = None, low: float = 0.1, high: float = 1.0, repeats: int = 2, share: float = 0.25
    ) -> None:
        self.inner = Heun() if inner is None else inner
        check_inner(self, self.inner)
        if not 0 < low < high:
            raise ValueError(f"a restart goes up from low to high: 0 < {low} < {high} does not hold")
        if repeats < 0 or not share > 0:
            raise ValueError(f"repeats must lie in [0, inf) and share in (0, inf), got {repeats} and {share}")
        self.order, self.stages = self.inner.order, self.inner.stages
        self.low, self.high, self.repeats, self.share = low, high, repeats, share

    def last(self, process: Process[Any]) -> int:
        """The inner sampler's."""
        return self.inner.last(process)

    def steps(self, denoiser: Denoiser, evaluations: int) -> int:
        """Those of the walk itself, such that the restarts can be paid too."""
        last = self.last(denoiser.process)

        def spent(steps: int) -> int:
            return last + self.stages * (steps - 1 + self.repeats * math.ceil(self.share * steps))

        if evaluations < spent(1):
            raise UserError(f"Restart needs at least {spent(1)} evaluations, got {evaluations}")
        return max(steps for steps in range(1, evaluations + 1) if spent(steps) <= evaluations)

    def walk(
        self,
        denoiser: Denoiser,
        x1: State,
        times: Tensor,
        condition: Condition,
        rng: Streams,
        callback: Callback | None,
    ) -> State:
        """Down to low, up and down again, and on."""
        process = denoiser.process
        assert isinstance(process, Gaussian)
        process.refuse_coupled("a restart")
        ratio = torch.exp(-process.schedule.log_snr(times) / 2)
        place = int((ratio > self.low).sum())
        if not 0 < place < len(times) - 1:
            return self.inner.walk(denoiser, x1, times, condition, rng, callback)
        x = self.inner.walk(denoiser, x1, times[: place + 1], condition, rng, callback)
        bottom = times[place]
        top = process.schedule.inverse(torch.tensor(-2 * math.log(self.high), dtype=torch.float64)).to(times)
        levels = process.schedule.log_snr(torch.stack([top, bottom]))
        again = math.ceil(self.share * (len(times) - 1))
        part = process.schedule.inverse(torch.lerp(levels[0], levels[1], torch.linspace(0, 1, again + 1).to(levels)))
        part[0], part[-1] = top, bottom
        for number in range(self.repeats):
            fresh = rng.fold("restart", number)
            assert isinstance(x, Tensor)
            x = process.forward(x, bottom, top, fresh)
            x = self.inner.walk(denoiser, x, part, condition, fresh, None)
        later = callback and (lambda number, t, x: callback(place + number, t, x))
        return self.inner.walk(denoiser, x, times[place:], condition, rng, later)
