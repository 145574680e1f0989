"""The solvers of other libraries, each in the settings that its documentation offers, on the problems of problems.py.

A peer is asked on the path that it was made for. Where its grid is given in steps of a table or in sigma, the network
is asked at what the peer itself hands over, as its own pipelines do.
"""

import logging
import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

import numpy as np
import torch
from problems import F64, FIRST, LAST, PATHS, Problem
from torch import Tensor

warnings.filterwarnings("ignore")
logging.disable(logging.WARNING)


class Count:
    """Asks a problem, and counts how often."""

    def __init__(self, problem: Problem) -> None:
        self.problem, self.evaluations = problem, 0

    def __call__(self, x: Tensor, alpha: float, sigma: float) -> tuple[Tensor, Tensor]:
        self.evaluations += 1
        return self.problem.expected(x, alpha, sigma)


Walk = Callable[[Count, int], Tensor]


@dataclass(frozen=True)
class Peer:
    """A solver in one setting.

    Args:
        library: whose it is.
        name: of the solver and its setting.
        path: of the problems that it can walk.
        walk: from the starts of a problem, in so many steps, to its end for a unit of data.
        left: what is left of the noise there, "last" or "none".
        cost: evaluations of a step.
    """

    library: str
    name: str
    path: str
    walk: Walk
    left: str = "none"
    cost: int = 1

    def end(self, problem: Problem, evaluations: int) -> Tensor | None:
        """The end after as many steps as take no more than so many evaluations; None where there is no such walk."""
        for steps in range(-(-(evaluations + self.cost - 1) // self.cost), 0, -1):
            asked = Count(problem)
            try:
                end = self.walk(asked, steps)
            except (ValueError, IndexError, ZeroDivisionError, AssertionError, RuntimeError):
                return None  # it has no grid of so few steps
            if asked.evaluations <= evaluations:
                return end
        return None


# The table of DDPM, as interpolated by those who ask between its steps

_BETAS = torch.linspace(1e-4, 0.02, 1000, dtype=F64)
_KEPT = torch.cumprod(1 - _BETAS, 0)
_LOG_RATIO = ((1 - _KEPT) / _KEPT).sqrt().log().numpy()


def _table_ratio(t: Any) -> float:
    return math.exp(np.interp(float(t), np.arange(1000), _LOG_RATIO))


def _on_circle(ratio: float) -> tuple[float, float]:
    alpha = 1 / math.sqrt(1 + ratio**2)
    return alpha, alpha * ratio


def diffusers_table(make: Callable[[], Any], variance_exploding: bool, asked: Count, steps: int) -> Tensor:
    """A scheduler of noise predictions on the table of DDPM."""
    scheduler = make()
    scheduler.set_timesteps(steps)
    x = asked.problem.z
    x = x / math.sqrt(float(_KEPT[-1])) if variance_exploding else x
    for t in scheduler.timesteps:
        noise = asked(scheduler.scale_model_input(x, t), *_on_circle(_table_ratio(t)))[1]
        x = scheduler.step(noise, t, x, return_dict=False)[0]
    return x


def diffusers_edm(make: Callable[[], Any], asked: Count, steps: int) -> Tensor:
    """A scheduler of EDM: it undoes the preconditioning of the network, which is done here."""
    scheduler, data = make(), 0.5
    scheduler.set_timesteps(steps)
    x = asked.problem.z * FIRST["ve"]
    for t in scheduler.timesteps:
        sigma = math.exp(4 * float(t))
        seen = scheduler.scale_model_input(x, t).to(F64) * math.hypot(sigma, data)
        mean = asked(seen, 1.0, sigma)[0]
        skip, out = data**2 / (sigma**2 + data**2), sigma * data / math.hypot(sigma, data)
        x = scheduler.step((mean - skip * seen) / out, t, x, return_dict=False)[0]
    return x


def diffusers_flow(make: Callable[[], Any], asked: Count, steps: int) -> Tensor:
    """A scheduler of velocities; those that come from the log-SNR begin at t = 0.999."""
    scheduler = make()
    scheduler.set_timesteps(steps)
    x = asked.problem.z
    for t in scheduler.timesteps:
        time = float(t) / 1000
        mean, noise = asked(x, 1 - time, time)
        x = scheduler.step(noise - mean, t, x, return_dict=False)[0]
    return x


def k_diffusion(sampler: str, grid: str, options: dict[str, Any], asked: Count, steps: int) -> Tensor:
    """A sampler in sigma."""
    sampling, path = _k_sampling(), asked.problem.path
    high, low = FIRST[path], LAST[path]
    x = asked.problem.z * (high if path == "ve" else math.hypot(high, 1))

    def model(x: Tensor, sigma: Tensor, **_: Any) -> Tensor:
        return asked(x, 1.0, float(sigma[0]))[0]

    if grid == "own":
        return getattr(sampling, sampler)(model, x, low, high, steps, disable=True, **options)
    if grid == "table":
        sigmas = torch.tensor([*(_table_ratio(t) for t in np.linspace(999, 0, steps)), 0.0])
    else:
        sigmas = getattr(sampling, f"get_sigmas_{grid}")(steps, low, high)
    return getattr(sampling, sampler)(model, x, sigmas.to(F64), disable=True, **options)


@cache
def _k_sampling() -> Any:
    for operator in ("nms", "qnms"):  # its torchvision has no CPU build; these are declared and never called
        torch.library.define(f"torchvision::{operator}", "(Tensor a, Tensor b, float c) -> Tensor")
    from k_diffusion import sampling

    return sampling


def azula(sampler: str, grid: str, options: dict[str, Any], asked: Count, steps: int) -> Tensor:
    """A sampler on a schedule, whose even steps in t are the grid."""
    import azula.sample as samplers
    from azula.denoise import Denoiser, DiracPosterior

    path = asked.problem.path
    high, low = (1e3 if path == "flow" else FIRST[path]), LAST[path]
    schedule = _azula_schedule(grid, low, high)

    class Asked(Denoiser):
        def __init__(self) -> None:
            super().__init__()
            self.schedule = schedule

        def forward(self, x_t: Tensor, t: Tensor, **_: Any) -> Any:
            alpha, sigma = (float(each) for each in self.schedule(t))
            return DiracPosterior(asked(x_t, alpha, sigma)[0])

    alpha, sigma = (float(each) for each in schedule(torch.tensor(1.0, dtype=F64)))
    # The start says how much noise there is for a unit of data: sigma / alpha is FIRST, or 1,000 for the flow.
    x1 = asked.problem.z * (sigma if path != "vp" else alpha * math.hypot(high, 1))
    end = getattr(samplers, sampler)(Asked(), steps=steps, silent=True, dtype=F64, **options)(x1)
    return end / float(schedule(torch.tensor(0.0, dtype=F64))[0])


def _azula_schedule(name: str, low: float, high: float) -> Any:
    import azula.noise as noise

    if name == "karras":

        class Karras(noise.Schedule):
            def __call__(self, t: Tensor) -> tuple[Tensor, Tensor]:
                t = t.to(F64)
                return torch.ones_like(t), (low ** (1 / 7) + t * (high ** (1 / 7) - low ** (1 / 7))) ** 7

        return Karras()
    made = {"ve": lambda: noise.VESchedule(low, high), "rectified": lambda: noise.RectifiedSchedule(1 / high, low)}
    made |= {"cosine": lambda: noise.CosineSchedule(1 / high, low), "vp": lambda: noise.VPSchedule(1 / high, low)}
    return made[name]()


def flow_matching(method: str, asked: Count, steps: int) -> Tensor:
    """An ODE solver; its time runs from noise to data."""
    from flow_matching.solver import ODESolver

    def velocity(x: Tensor, t: Tensor, **_: Any) -> Tensor:
        time = float(t)
        mean, noise = asked(x, time, 1 - time)
        return mean - noise

    solver = ODESolver(velocity_model=velocity)
    grid = torch.linspace(0, 1, steps + 1, dtype=F64)
    end = solver.sample(asked.problem.z, step_size=None, method=method, time_grid=grid)
    assert isinstance(end, Tensor)
    return end


# Everything that walks deterministically


def _of_diffusers() -> list[Peer]:
    import diffusers as d

    table = dict(num_train_timesteps=1000, beta_start=1e-4, beta_end=0.02, beta_schedule="linear")
    grids = {
        "linspace": dict(timestep_spacing="linspace"),
        "trailing": dict(timestep_spacing="trailing"),
        "karras": dict(use_karras_sigmas=True),
        "exponential": dict(use_exponential_sigmas=True),
        "beta": dict(use_beta_sigmas=True),
    }
    peers: list[Peer] = []

    def add(name: str, kind: Any, options: dict[str, Any], exploding: bool = False, cost: int = 1) -> None:
        make = partial(kind, **table, **options)
        peers.append(Peer("diffusers", name, "vp", partial(diffusers_table, make, exploding), cost=cost))

    for spacing in ("trailing", "linspace"):
        add(f"DDIM {spacing}", d.DDIMScheduler, dict(clip_sample=False, timestep_spacing=spacing))
    for grid, options in grids.items():
        for order in (2, 3):
            add(f"DPM++{order}M {grid}", d.DPMSolverMultistepScheduler, dict(solver_order=order, **options))
            add(f"UniPC{order} {grid}", d.UniPCMultistepScheduler, dict(solver_order=order, **options))
            add(f"DEIS{order} {grid}", d.DEISMultistepScheduler, dict(solver_order=order, **options))
            if grid in ("karras", "exponential", "beta"):
                single = dict(solver_order=order, lower_order_final=True, **options)
                add(f"DPM++{order}S {grid}", d.DPMSolverSinglestepScheduler, single)
        add(f"Heun {grid}", d.HeunDiscreteScheduler, options, True, 2)
        add(f"LMS {grid}", d.LMSDiscreteScheduler, options, True)
    for grid in ("karras", "exponential"):
        for order in (2, 3):
            edm = dict(sigma_min=0.002, sigma_max=80.0, sigma_data=0.5, solver_order=order, sigma_schedule=grid)
            walk = partial(diffusers_edm, partial(d.EDMDPMSolverMultistepScheduler, **edm))
            peers.append(Peer("diffusers", f"EDM DPM++{order}M {grid}", "ve", walk))
    for shift in (1.0, 3.0):
        flow: list[tuple[str, Any, dict[str, Any], int]] = [
            ("Euler", d.FlowMatchEulerDiscreteScheduler, dict(shift=shift), 1),
            ("Heun", d.FlowMatchHeunDiscreteScheduler, dict(shift=shift), 2),
        ]
        for order in (2, 3):
            options = dict(
                solver_order=order, prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=shift
            )
            flow += [(f"DPM++{order}M", d.DPMSolverMultistepScheduler, options, 1)]
            flow += [(f"UniPC{order}", d.UniPCMultistepScheduler, options, 1)]
        for name, kind, options, cost in flow:
            walk = partial(diffusers_flow, partial(kind, **options))
            peers.append(Peer("diffusers", f"{name} flow, shift {shift:g}", "flow", walk, cost=cost))
    return peers


def _of_k_diffusion() -> list[Peer]:
    samplers: list[tuple[str, dict[str, Any], int]] = [
        ("sample_euler", {}, 1),
        ("sample_heun", {}, 2),
        ("sample_dpm_2", {}, 2),
        ("sample_lms", {}, 1),
        ("sample_dpmpp_2m", {}, 1),
        ("sample_dpmpp_2s_ancestral", {"eta": 0.0}, 2),
        ("sample_dpmpp_3m_sde", {"eta": 0.0}, 1),
    ]
    peers = [
        Peer("k-diffusion", "dpm_fast", path, partial(k_diffusion, "sample_dpm_fast", "own", {}), "last")
        for path in ("vp", "ve")
    ]
    for path in ("vp", "ve"):
        for grid in ("karras", "exponential", *(["table"] if path == "vp" else [])):
            for name, options, cost in samplers:
                walk = partial(k_diffusion, name, grid, options)
                peers.append(Peer("k-diffusion", f"{name[7:]} {grid}", path, walk, cost=cost))
    return peers


def _of_azula() -> list[Peer]:
    peers: list[Peer] = []
    for path in PATHS:
        for grid in ("rectified", "ve", "karras", "cosine", "vp"):
            peers.append(Peer("azula", f"Heun {grid}", path, partial(azula, "HeunSampler", grid, {}), "last", 2))
            for name in ("vAB", "zAB", "xEAB", "zEAB"):
                for order in (2, 3, 4):
                    walk = partial(azula, f"{name}Sampler", grid, {"order": order})
                    peers.append(Peer("azula", f"{name}{order} {grid}", path, walk, "last"))
    return peers


def _of_flow_matching() -> list[Peer]:
    methods = {"euler": 1, "midpoint": 2, "heun2": 2, "heun3": 3, "rk4": 4}
    peers = [
        Peer("flow_matching", method, "flow", partial(flow_matching, method), cost=cost)
        for method, cost in methods.items()
    ]
    return [*peers, Peer("flow_matching", "explicit_adams", "flow", partial(flow_matching, "explicit_adams"))]


def deterministic() -> dict[str, list[Peer]]:
    """Every peer that is installed, by its library."""
    from importlib.util import find_spec

    made = {
        "diffusers": _of_diffusers,
        "k_diffusion": _of_k_diffusion,
        "azula": _of_azula,
        "flow_matching": _of_flow_matching,
    }
    return {library: make() for library, make in made.items() if find_spec(library) is not None}
