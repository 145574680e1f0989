"""The posterior samplers of other libraries, on the problems of posteriors.py, in the settings that their documentation
offers and some that suit the problems better.

Azula's DPS divides by the norm of the residual of the whole batch: it is given the root of the batch's size as a
factor, which is one item's norm on average. Deepinv's DDRM and DiffPIR are made for pictures in [0, 1]: DiffPIR, which
clips to it, is handed the data shrunk by 8 about one half.
"""

import itertools
import math
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from posteriors import Problem, Walk

NOISE = 0.1
SHRUNK = 8.0


def libraries() -> dict[str, dict[str, "Walk"]]:
    warnings.filterwarnings("ignore")
    return {"azula": _azula(), "deepinv": _deepinv()}


def _azula() -> dict[str, "Walk"]:
    from azula import guidance, noise, sample
    from azula.denoise import Denoiser, DiracPosterior
    from azula.linalg.covariance import IsotropicCovariance

    class Exact(Denoiser):
        """The exact mean on a schedule."""

        def __init__(self, p: "Problem", schedule: Any) -> None:
            super().__init__()
            self.p, self.schedule = p, schedule

        def forward(self, x_t: Tensor, t: Tensor) -> DiracPosterior:
            alpha, sigma = self.schedule(t)
            return DiracPosterior(self.p.mean(x_t / alpha, float(sigma / alpha)))

    def start(p: "Problem", sampler: Any) -> Tensor:
        torch.manual_seed(0)
        return sampler.init((len(p.repeated), p.matrix.shape[1]))

    def measure(p: "Problem") -> Any:
        matrix = p.matrix.float()
        return lambda x: x @ matrix.T

    schedules = {"vp": noise.VPSchedule, "rectified": noise.RectifiedSchedule}

    def walked(kind: str, make: Any) -> "Walk":
        def walk(p: "Problem", steps: int) -> Tensor:
            sampler = make(p, Exact(p, schedules[kind]()), steps)
            return sampler(start(p, sampler))

        return walk

    def denoised(make: Any, eta: float) -> Any:
        return lambda p, exact, steps: sample.DDIMSampler(make(p, exact), eta=eta, steps=steps, silent=True)

    def mmps(solver: str, iterations: int) -> Any:
        return lambda p, exact: guidance.MMPSDenoiser(
            exact, p.repeated, measure(p), IsotropicCovariance(NOISE**2), solver, iterations
        )

    def dps(zeta: float) -> Any:
        return lambda p, exact, steps: guidance.DPSSampler(
            exact, p.repeated, measure(p), zeta * math.sqrt(len(p.repeated)), steps=steps, silent=True
        )

    def pgdm(eta: float) -> Any:
        def make(p: "Problem", exact: Any, steps: int) -> Any:
            inverse = torch.linalg.pinv(p.matrix).float()
            return guidance.PGDMSampler(
                exact, p.repeated, measure(p), lambda y: y @ inverse.T, eta=eta, steps=steps, silent=True
            )

        return make

    def tds(p: "Problem", exact: Any, steps: int) -> Any:
        """One set of particles for each measurement, with the twist of PiGDM for orthonormal measurements."""

        def all_of_them(x: Tensor) -> Tensor:
            ends = []
            for y, part in zip(p.y.float(), x.chunk(len(p.y)), strict=True):

                def twist(mean: Tensor, ratio: Tensor, y: Tensor = y) -> Tensor:
                    width = NOISE**2 + ratio**2 / (1 + ratio**2)
                    return -((y - measure(p)(mean)) ** 2).sum(1) / (2 * width)

                ends.append(guidance.TDSSampler(exact, twist, steps=steps, silent=True)(part))
            return torch.cat(ends)

        return all_of_them

    def tds_walk(p: "Problem", steps: int) -> Tensor:
        exact = Exact(p, noise.VPSchedule())
        first = sample.DDIMSampler(exact, steps=steps, silent=True)
        return tds(p, exact, steps)(start(p, first))

    def repaint(p: "Problem", exact: Any, steps: int) -> Any:
        mask = p.matrix.diagonal() > 0
        return guidance.RePaintSampler(exact, p.repeated, mask, iterations=3, eta=1.0, steps=steps, silent=True)

    made: dict[str, Walk] = {"tds": tds_walk, "repaint": walked("rectified", repaint)}
    for zeta in (0.3, 1.0):
        made[f"dps {zeta:g}"] = walked("rectified", dps(zeta))
    for name, eta in {"ddim": 0.0, "ddpm": 1.0}.items():
        made[f"pgdm {name}"] = walked("rectified", pgdm(eta))
        tmpd = lambda p, exact: guidance.TMPDenoiser(exact, p.repeated, measure(p), NOISE**2)  # noqa: E731
        made[f"tmpd {name}"] = walked("rectified", denoised(tmpd, eta))
        pir = lambda p, exact: guidance.DiffPIRDenoiser(exact, p.repeated, measure(p), NOISE**2, 1.0)  # noqa: E731
        made[f"diffpir {name}"] = walked("rectified", denoised(pir, eta))
        for solver, iterations in (("gmres", 1), ("cg", 1), ("cg", 3)):
            made[f"mmps {solver}{iterations} {name}"] = walked("rectified", denoised(mmps(solver, iterations), eta))
    for iterations in (1, 3):
        made[f"mmps cg{iterations} ddpm, vp"] = walked("vp", denoised(mmps("cg", iterations), 1.0))
    return made


def _deepinv() -> dict[str, "Walk"]:
    import deepinv
    from deepinv import physics, sampling

    class Exact(nn.Module):
        """The exact mean as they ask for it: (B, 1, 1, d) and a level of noise, of data times a scale plus a shift."""

        def __init__(self, p: "Problem", scale: float = 1.0, shift: float = 0.0) -> None:
            super().__init__()
            self.p, self.scale, self.shift = p, scale, shift

        def forward(self, x: Tensor, sigma: Any, *args: Any, **kwargs: Any) -> Tensor:
            level = float(torch.as_tensor(sigma).flatten()[0]) / self.scale
            mean = self.p.mean((x.flatten(1).float() - self.shift) / self.scale, level)
            return (mean * self.scale + self.shift).reshape(x.shape)

    def linear(p: "Problem", noise: float = NOISE) -> Any:
        matrix = p.matrix.float()
        return physics.LinearPhysics(
            A=lambda x, **_: (x.flatten(1) @ matrix.to(x).T)[:, None, None],
            A_adjoint=lambda y, **_: (y.flatten(1) @ matrix.to(y))[:, None, None],
            noise_model=physics.GaussianNoise(noise),
        )

    def decomposed(p: "Problem") -> Any:
        """A square matrix, with rows of zeros below."""
        d = p.matrix.shape[1]
        square = torch.zeros(d, d)
        square[: len(p.matrix)] = p.matrix
        u, values, v = torch.linalg.svd(square)
        return physics.DecomposablePhysics(
            U=lambda c: (c.flatten(1) @ u.T).reshape(c.shape),
            U_adjoint=lambda y: (y.flatten(1) @ u).reshape(y.shape),
            V=lambda c: (c.flatten(1) @ v).reshape(c.shape),
            V_adjoint=lambda x: (x.flatten(1) @ v.T).reshape(x.shape),
            mask=values[None, None, None],
            noise_model=physics.GaussianNoise(NOISE),
        )

    def seen(p: "Problem") -> Tensor:
        return p.repeated[:, None, None]

    def diffused(fidelity: Any, solver: Any, path: Any, end: float) -> "Walk":
        def walk(p: "Problem", steps: int) -> Tensor:
            torch.manual_seed(0)
            model = sampling.PosteriorDiffusion(
                data_fidelity=fidelity(),
                denoiser=Exact(p),
                sde=path(),
                solver=solver(timesteps=torch.linspace(1, end, steps + 1, dtype=torch.float64)),
                minus_one_one=False,
            )
            shape = (len(p.repeated), 1, 1, p.matrix.shape[1])
            return model(seen(p).double(), linear(p), x_init=shape, seed=0).flatten(1).float()

        return walk

    def ddrm(levels: Any) -> "Walk":
        def walk(p: "Problem", steps: int) -> Tensor:
            y = torch.nn.functional.pad(seen(p), (0, p.matrix.shape[1] - len(p.matrix)))
            return sampling.DDRM(Exact(p), sigmas=levels(steps))(y, decomposed(p), seed=1).flatten(1)

        return walk

    def diffpir(zeta: float, strength: float) -> "Walk":
        def walk(p: "Problem", steps: int) -> Tensor:
            half = torch.full((1, p.matrix.shape[1]), 0.5)
            y = seen(p) / SHRUNK + (half @ p.matrix.float().T)[:, None, None]
            noise = NOISE / SHRUNK
            model = sampling.DiffPIR(
                Exact(p, 1 / SHRUNK, 0.5),
                deepinv.optim.data_fidelity.L2(),
                sigma=noise,
                max_iter=steps,
                zeta=zeta,
                lambda_=strength,
            )
            first = torch.full((len(p.repeated), 1, 1, p.matrix.shape[1]), 0.5)
            return ((model(y, linear(p, noise), seed=1, x_init=first) - 0.5) * SHRUNK).flatten(1)

        return walk

    fidelities = {
        "dps annealed": lambda: sampling.DPSDataFidelity(guidance="annealed"),
        "dps norm 10": lambda: sampling.DPSDataFidelity(weight=10.0),
        "pigdm": sampling.PiGDMDataFidelity,
        "moments 3": sampling.MomentMatchingDataFidelity,
        "moments 1": lambda: sampling.MomentMatchingDataFidelity(cg_max_iter=1),
    }
    solvers = {"ddim": sampling.DDIMSolver, "ddpm": sampling.DDPMSolver}
    paths = {
        "vp": (sampling.VariancePreservingDiffusion, 0.0),
        "ve": (sampling.VarianceExplodingDiffusion, 0.0),
    }
    settings = [
        *itertools.product(("dps annealed", "dps norm 10"), ("ddpm",), ("vp",)),
        *itertools.product(("pigdm", "moments 1", "moments 3"), ("ddpm",), ("vp", "ve")),
        *itertools.product(("pigdm", "moments 1"), ("ddim",), ("vp",)),
    ]
    made: dict[str, Walk] = {
        f"{fidelity} {solver}, {path}": diffused(fidelities[fidelity], solvers[solver], *paths[path])
        for fidelity, solver, path in settings
    }
    made["ddrm, even levels"] = ddrm(lambda n: np.linspace(4, 0, n))
    made["ddrm, levels of ve"] = ddrm(lambda n: np.append(np.geomspace(40, 0.01, n - 1), 0.0))
    for strength in (1.0, 7.0):
        made[f"diffpir 1, {strength:g}"] = diffpir(1.0, strength)
    return made
