"""What the laws are proven for: a case for every class in every registry, each with its truth in closed form."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

import suffuse as sf
from suffuse import parameterizations as forms
from suffuse import schedules
from suffuse.exact import GaussianMixture, Independent, Tokens
from suffuse.objectives import ELBOWeight, LearnedWeight, MinSNRWeight, OutputWeight, UniformWeight, Weight
from suffuse.processes import Process
from suffuse.rng import Streams
from suffuse.samplers import SAMPLERS, Adams, Ancestral, Churn, MultistepSDE, Sampler, SASolver
from suffuse.schedules import Schedule
from tests.laws.statistics import Truth

F64 = torch.float64


def numbers(*values: float) -> Tensor:
    return torch.tensor(values, dtype=F64)


def close(a: Tensor, b: Tensor, rtol: float = 1e-11, atol: float = 1e-12) -> bool:
    """Equal to the rounding of float64, unless told otherwise; torch's own default is that of float32."""
    return torch.allclose(a, b, rtol=rtol, atol=atol)


# Schedules

SCHEDULE_CASES: dict[str, Schedule] = {
    "vp": schedules.VP(),
    "cosine": schedules.Cosine(),
    "edm": schedules.EDM(),
    "flow": schedules.Flow(),
    "tabulated": schedules.Tabulated.linear(),
    "table of four": schedules.Tabulated(numbers(0.1, 0.5, 0.2, 0.9)),
    "table to nothing": schedules.Tabulated(numbers(0.1, 0.5, 0.2, 1.0)),
}
WALKED = [name for name in SCHEDULE_CASES if not name.startswith("table ")]
"""The schedules that samplers are measured on; four betas are too few to generate with."""

# Laws of data. Overlapping components, so that no start lies on a ridge between two far ends.

PLANE = GaussianMixture(
    torch.tensor([[-1.2, 0.4], [1.0, -0.6]], dtype=F64),
    torch.tensor([[0.5, 0.3], [0.4, 0.6]], dtype=F64),
    numbers(2, 3),
)
LINE = GaussianMixture(numbers(-0.9, 0.7)[:, None], numbers(0.5, 0.4), numbers(2, 3))
ONE = GaussianMixture(numbers(0.8)[:, None], numbers(0.5))
ROUND = GaussianMixture(numbers(-1.2, 0.4, 1.0, -0.6).reshape(2, 1, 2), numbers(0.5, 0.4), numbers(2, 3))
"""Of one channel and two places, between which heat spreads."""
TOKEN = Tokens(numbers(0.5, 0.3, 0.2))

# Processes


@dataclass(frozen=True)
class ProcessCase:
    """A process, data for it, and the closed-form law of what is seen of x_t."""

    process: Process[Any]
    law: Any
    truth: Callable[[float], Truth]
    etas: tuple[float, ...]
    """Shares of noise for which one step with the exact posterior is exact."""
    source: Callable[[Streams], Tensor | None] = field(default=lambda rng: None)
    view: Callable[[Any, float, Tensor | None], Any] = field(default=lambda x_t, t, source: x_t)
    """What of x_t has the law ``truth(t)``."""
    told: bool = False
    """Whether the denoiser is told the source."""

    def noised(self, n: int, t: float, seed: int) -> tuple[Any, Tensor | None]:
        """(x_t, source) for n items."""
        rng = Streams.of(seed, range(n))
        source = self.source(rng.fold("source"))
        return self.process.corrupt(self.law.sample(n, rng.fold("data")), t, rng, source), source

    def posterior(self, x_t: Any, t: Any, source: Tensor | None) -> Any:
        """The exact one."""
        return self.law.denoiser(self.process)(x_t, t, {"source": source} if self.told else None)


def measured(law: GaussianMixture, a: float, v: float, shift: float = 0.0) -> GaussianMixture:
    """The law of a x_0 + shift + N(0, v)."""
    return GaussianMixture(a * law.means + shift, (a**2 * law.variances + v).sqrt(), law.weights)


def gaussian(schedule: Schedule) -> ProcessCase:
    def truth(t: float) -> GaussianMixture:
        alpha, sigma = (float(scale(numbers(t))) for scale in (schedule.alpha, schedule.sigma))
        return measured(PLANE, alpha, sigma**2)

    return ProcessCase(sf.Gaussian(schedule), PLANE, truth, (0.5, 1.0))


def plane_source(rng: Streams) -> Tensor:
    return rng.normal(torch.empty(len(rng), 2, dtype=F64))


BRIDGE = 0.7


def bridge() -> ProcessCase:
    """From a source that the denoiser does not see: the marginals are kept."""

    def truth(t: float) -> GaussianMixture:
        return measured(PLANE, 1 - t, BRIDGE**2 * t * (1 - t) + t**2)

    return ProcessCase(sf.Bridge(BRIDGE), PLANE, truth, (1.0,), plane_source)


def paired_bridge() -> ProcessCase:
    """From a source that the denoiser sees: the pairs are kept, so that x_t - t x_1 has a law of its own."""

    def truth(t: float) -> GaussianMixture:
        return measured(PLANE, 1 - t, BRIDGE**2 * t * (1 - t) + 1e-300)

    def view(x_t: Tensor, t: float, source: Tensor | None) -> Tensor:
        assert source is not None
        return x_t - t * source

    return ProcessCase(sf.Bridge(BRIDGE), PLANE, truth, (0.5, 1.0), plane_source, view, told=True)


def heat(schedule: Schedule) -> ProcessCase:
    """Seen are coefficients, which are independent in each component."""
    process = sf.Heat(schedule, 0.4)

    def truth(t: float) -> GaussianMixture:
        alpha, sigma = process.along(ROUND.means).coordinates(t, ROUND.means)
        stds = (alpha**2 * ROUND.variances + sigma**2).sqrt()
        return GaussianMixture((alpha * process.to(ROUND.means))[:, 0], stds[:, 0], ROUND.weights)

    return ProcessCase(process, ROUND, truth, (0.5, 1.0), view=lambda x_t, t, source: process.to(x_t)[:, 0])


def discrete(process: sf.Discrete) -> ProcessCase:
    clean = torch.nn.functional.pad(TOKEN.table, (0, len(process.pi) - 3))
    return ProcessCase(process, TOKEN, lambda t: (1 - t) * clean + t * process.pi, (0.0, 0.5, 1.0))


DISCRETE_CASES = {
    "masked": sf.Discrete.masked(3),
    "uniform": sf.Discrete.uniform(3),
    "marginal": sf.Discrete.marginal(numbers(0.6, 0.3, 0.1)),
}


def product() -> ProcessCase:
    parts = {"x": gaussian(schedules.Flow()), "kind": discrete(sf.Discrete.masked(3))}
    return ProcessCase(
        sf.Product({name: part.process for name, part in parts.items()}),
        Independent({name: part.law for name, part in parts.items()}),
        lambda t: {name: part.truth(t) for name, part in parts.items()},
        (0.5, 1.0),
    )


PROCESS_CASES: dict[str, ProcessCase] = {
    **{f"gaussian {name}": gaussian(schedule) for name, schedule in SCHEDULE_CASES.items()},
    **{f"heat {name}": heat(SCHEDULE_CASES[name]) for name in ("cosine", "edm")},
    "bridge": bridge(),
    "bridge, paired": paired_bridge(),
    **{f"discrete {name}": discrete(process) for name, process in DISCRETE_CASES.items()},
    "product": product(),
}

# Parameterizations: a process each fits, and one that it does not

FLOW, VP = sf.Gaussian(schedules.Flow()), sf.Gaussian(schedules.VP())
MASKED = sf.Discrete.masked(3)
PARAMETERIZATION_CASES: list[tuple[forms.Parameterization, Process[Any], Process[Any]]] = [
    (forms.Epsilon(), VP, FLOW),
    (forms.Velocity(), FLOW, sf.Bridge(1.0)),
    (forms.Flow(), FLOW, MASKED),
    (forms.Data(), FLOW, MASKED),
    (forms.EDM(), FLOW, sf.Bridge(1.0)),
    (forms.Wiener(0.5, (3,)), FLOW, sf.Bridge(1.0)),
    (forms.PerFrequency(forms.EDM()), sf.Heat(schedules.Flow(), 0.5), FLOW),
    (forms.Drift(), sf.Bridge(1.0), FLOW),
    (forms.Bridged(0.7), sf.Bridge(1.0), FLOW),
    (forms.Logits(), MASKED, FLOW),
    (
        forms.Each({"x": forms.Flow(), "kind": forms.Logits()}),
        sf.Product({"x": FLOW, "kind": MASKED}),
        sf.Product({"x": MASKED, "kind": MASKED}),
    ),
]

# Weights: whether they fit Gaussian processes alone

WEIGHT_CASES: list[tuple[Weight, bool]] = [
    (ELBOWeight(), False),
    (UniformWeight(), False),
    (OutputWeight(forms.EDM()), True),
    (MinSNRWeight(), True),
    (LearnedWeight(UniformWeight()), False),
]

# Samplers

SAMPLER_CASES: dict[str, Sampler] = {
    **{name: make() for name, make in SAMPLERS.items()},
    "half": Ancestral(0.5),
    "adams2, plain": Adams(2, corrector=False),
    "adams4": Adams(4),
    "sde2, all noise": MultistepSDE(2),
    "sa3": SASolver(3, eta=0.5),
    "churn, noisy inside": Churn(Ancestral(1.0), amount=20.0),
}
FITS_GAUSSIAN = [name for name, sampler in SAMPLER_CASES.items() if issubclass(sf.Gaussian, sampler.process)]
OWN_STEPS = ["adaptive", "parallel"]
"""Those that choose their steps, or only do at once what another does in turn; they have tests of their own."""
DETERMINISTIC = [name for name in FITS_GAUSSIAN if not SAMPLER_CASES[name].stochastic and name not in OWN_STEPS]
STOCHASTIC = [name for name in FITS_GAUSSIAN if SAMPLER_CASES[name].stochastic]
