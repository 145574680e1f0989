"""Time per sampling step around an empty network: Suffuse beside k-diffusion, diffusers and azula, in one run.

    python benchmarks/overhead.py

Every contestant walks 50 steps with a network that returns a tensor made beforehand; the rounds are interleaved, and
the table gives the median and the least time per step in microseconds. A peer that is not installed is left out, and
said so (pip install -e '.[bench]').
"""

import logging
import statistics
import time
import warnings
from collections.abc import Callable
from functools import cache

import torch

import suffuse as sf

STEPS, ROUNDS = 50, 15
SHAPES = ((1, 3, 32, 32), (16, 3, 32, 32))
Walk = Callable[[], object]


def suffuse(shape: tuple[int, ...]) -> Walk:
    answer, x1 = torch.randn(shape), torch.randn(shape)
    process = sf.Gaussian(sf.schedules.EDM())
    denoiser = sf.Denoiser.from_function(process, lambda x_t, t, condition: answer)
    sampler = sf.samplers.Multistep(2)
    return lambda: sf.sample(denoiser, sampler, x1, sf.grids.karras(process.schedule, STEPS))


@cache
def _declare_torchvision() -> None:
    """Let k-diffusion's torchvision, whose operators have no CPU build, import: they are declared, and never called."""
    for operator in ("nms", "qnms"):
        torch.library.define(f"torchvision::{operator}", "(Tensor a, Tensor b, float c) -> Tensor")


def k_diffusion(shape: tuple[int, ...]) -> Walk:
    _declare_torchvision()
    from k_diffusion import sampling

    answer, x1 = torch.randn(shape), torch.randn(shape) * 80

    def walk() -> object:
        sigmas = sampling.get_sigmas_karras(STEPS, 0.002, 80.0)
        return sampling.sample_dpmpp_2m(lambda x, sigma, **_: answer, x1, sigmas, disable=True)

    return walk


def diffusers(shape: tuple[int, ...]) -> Walk:
    from diffusers import DPMSolverMultistepScheduler

    logging.disable(logging.WARNING)
    answer, x1, scheduler = torch.randn(shape), torch.randn(shape), DPMSolverMultistepScheduler()

    @torch.no_grad()
    def walk() -> object:
        scheduler.set_timesteps(STEPS)
        x = x1
        for t in scheduler.timesteps:
            x = scheduler.step(answer, t, scheduler.scale_model_input(x, t)).prev_sample
        return x

    return walk


def azula(shape: tuple[int, ...]) -> Walk:
    from azula.denoise import Denoiser, DiracPosterior
    from azula.noise import VPSchedule
    from azula.sample import vABSampler

    answer, x1 = torch.randn(shape), torch.randn(shape)

    class Empty(Denoiser):
        def __init__(self) -> None:
            super().__init__()
            self.schedule = VPSchedule()

        def forward(self, x_t: torch.Tensor, t: torch.Tensor, **_: object) -> DiracPosterior:
            return DiracPosterior(answer)

    sampler = vABSampler(Empty(), steps=STEPS, silent=True)
    return lambda: sampler(x1)


CONTESTANTS = {
    "Suffuse Multistep(2)": suffuse,
    "k-diffusion sample_dpmpp_2m": k_diffusion,
    "diffusers DPM-Solver++(2M)": diffusers,
    "azula vAB": azula,
}


def measure(shape: tuple[int, ...]) -> dict[str, list[float]]:
    """Microseconds per step of each contestant that is installed, round by round."""
    walks: dict[str, Walk] = {}
    for name, make in CONTESTANTS.items():
        try:
            walks[name] = make(shape)
        except (ImportError, RuntimeError) as missing:
            print(f"left out: {name} ({missing})")
    times: dict[str, list[float]] = {name: [] for name in walks}
    for round_ in range(ROUNDS + 2):
        for name, walk in walks.items():
            start = time.perf_counter()
            walk()
            if round_ >= 2:
                times[name].append((time.perf_counter() - start) / STEPS * 1e6)
    return times


def main() -> None:
    warnings.filterwarnings("ignore")
    torch.set_num_threads(2)
    for shape in SHAPES:
        print(f"\nbatch {shape}, microseconds per step, median (least) of {ROUNDS} rounds")
        for name, values in measure(shape).items():
            print(f"  {name:<30} {statistics.median(values):7.1f} ({min(values):.1f})")


if __name__ == "__main__":
    main()
