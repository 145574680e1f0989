"""Time per evaluation around an empty network: Suffuse's samplers beside k-diffusion, diffusers and azula, in one run.

    python benchmarks/overhead.py

Every contestant walks with a network that returns a tensor made beforehand, which it asks 50 times or as often as it
can below that; the rounds are interleaved, and the table gives the median and the least time per evaluation in
microseconds. `default` is what `generate` walks by at 50 steps. A peer that is not installed is left out, and
said so (pip install -e '.[bench]').
"""

import logging
import statistics
import time
import warnings
from collections.abc import Callable
from functools import cache, partial

import torch

import suffuse as sf

STEPS, ROUNDS = 50, 15
SHAPES = ((1, 3, 32, 32), (16, 3, 32, 32))
Walk = Callable[[], object]


def suffuse(name: str, shape: tuple[int, ...]) -> tuple[Walk, int]:
    """A sampler of the registry, or the default; and how often a walk asks."""
    x1, answer = torch.randn(shape), cache(lambda batch: torch.randn(batch, *shape[1:]))
    process = sf.Gaussian(sf.schedules.EDM())
    denoiser = sf.Denoiser.from_function(process, lambda x_t, t, condition: answer(len(x_t)))
    sampler, times = sf.samplers.default(denoiser, STEPS)
    if name != "default":
        sampler = sf.samplers.SAMPLERS[name]()
        own = isinstance(sampler, sf.samplers.Adaptive)  # it finds its steps on the way
        times = sf.grids.karras(process.schedule, 1 if own else sampler.steps(denoiser, STEPS))
    counted = sf.samplers.Counted(denoiser)
    sf.sample(counted, sampler, x1, times, rng=0)
    return lambda: sf.sample(denoiser, sampler, x1, times, rng=0), counted.evaluations


@cache
def _declare_torchvision() -> None:
    """Let k-diffusion's torchvision, whose operators have no CPU build, import: they are declared, and never called."""
    for operator in ("nms", "qnms"):
        torch.library.define(f"torchvision::{operator}", "(Tensor a, Tensor b, float c) -> Tensor")


def k_diffusion(shape: tuple[int, ...]) -> tuple[Walk, int]:
    _declare_torchvision()
    from k_diffusion import sampling

    answer, x1 = torch.randn(shape), torch.randn(shape) * 80

    def walk() -> object:
        sigmas = sampling.get_sigmas_karras(STEPS, 0.002, 80.0)
        return sampling.sample_dpmpp_2m(lambda x, sigma, **_: answer, x1, sigmas, disable=True)

    return walk, STEPS


def diffusers(shape: tuple[int, ...]) -> tuple[Walk, int]:
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

    return walk, STEPS


def azula(shape: tuple[int, ...]) -> tuple[Walk, int]:
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
    return lambda: sampler(x1), STEPS


OURS = ("default", *(name for name, make in sf.samplers.SAMPLERS.items() if issubclass(sf.Gaussian, make().process)))
CONTESTANTS: dict[str, Callable[[tuple[int, ...]], tuple[Walk, int]]] = {
    "k-diffusion sample_dpmpp_2m": k_diffusion,
    "diffusers DPM-Solver++(2M)": diffusers,
    "azula vAB": azula,
    **{f"Suffuse {name}": partial(suffuse, name) for name in OURS},
}


def measure(shape: tuple[int, ...]) -> dict[str, list[float]]:
    """Microseconds per evaluation of each contestant that is installed, round by round."""
    walks: dict[str, tuple[Walk, int]] = {}
    for name, make in CONTESTANTS.items():
        try:
            walks[name] = make(shape)
        except (ImportError, RuntimeError) as missing:
            print(f"left out: {name} ({missing})")
    times: dict[str, list[float]] = {name: [] for name in walks}
    for round_ in range(ROUNDS + 2):
        for name, (walk, evaluations) in walks.items():
            start = time.perf_counter()
            walk()
            if round_ >= 2:
                times[name].append((time.perf_counter() - start) / evaluations * 1e6)
    return times


def main() -> None:
    warnings.filterwarnings("ignore")
    torch.set_num_threads(2)
    for shape in SHAPES:
        print(f"\nbatch {shape}, microseconds per evaluation, median (least) of {ROUNDS} rounds")
        for name, values in measure(shape).items():
            print(f"  {name:<30} {statistics.median(values):7.1f} ({min(values):.1f})")


if __name__ == "__main__":
    main()
