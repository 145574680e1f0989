"""What solvers are compared on: walks whose true end is known to many digits.

A problem is a mixture of Gaussians in 2 or 16 dimensions, at one of three scales and on one of three paths, or a
trained model of images. Its starts z are in units of the noise; its truth is where the probability-flow ODE takes them,
once to where most peers' walks end and once to where nothing is left of the noise.
"""

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import suffuse as sf

F64 = torch.float64
STARTS = 500
SCALES = (0.3, 1.0, 3.0)
PATHS = {"vp": sf.schedules.Tabulated.linear(), "ve": sf.schedules.EDM(), "flow": sf.schedules.Flow()}
"""The table of DDPM, from t = 999 to 0; sigma from 80 to 0.002; straight lines."""


def _ratio(schedule: sf.schedules.Schedule, t: float) -> float:
    return float(torch.exp(-schedule.log_snr(torch.tensor(t, dtype=F64)) / 2))


FIRST = {path: _ratio(schedule, 1.0) for path, schedule in PATHS.items()}
LAST = {"vp": _ratio(PATHS["vp"], 1e-3), "ve": 0.002, "flow": 0.001}
"""Noise for a unit of data where walks begin, and where those of peers end that do not go to 0."""


@dataclass(frozen=True)
class Problem:
    """Starts of walks, and where they should end.

    Args:
        path: one of PATHS.
        denoiser: whose walks they are, of a process on that path.
        posterior_mean: E[x_0 | x], given x = alpha x_0 + sigma eps, alpha and sigma; for any two, not both zero.
        z: (B, ...) starts, in units of the noise.
        steps: of the walks that are taken for the truth, at first.
        close: largest difference that twice the steps may make, in deviations of the data, but for 2% of the starts.
    """

    path: str
    denoiser: sf.Denoiser
    posterior_mean: Callable[[Tensor, float, float], Tensor]
    z: Tensor
    steps: int = 400
    close: float = 1e-7
    tuned_on: tuple[sf.Denoiser, Tensor] | None = None
    """Denoiser and starts to tune with; by default its own, as many as tuning takes."""

    def tuned(self, evaluations: int) -> tuple[sf.samplers.Sampler, Tensor]:
        """The solver of so many evaluations that is tuned to the denoiser."""
        denoiser, x1 = self.tuned_on or (self.denoiser, None)
        return sf.tune(denoiser, evaluations, rng=7, x1=x1)

    @property
    def schedule(self) -> sf.schedules.Schedule:
        return PATHS[self.path]

    @property
    def std(self) -> float:
        return self.denoiser.sigma_data

    @property
    def x1(self) -> Tensor:
        """Starts in the coordinates of the path."""
        return self.z * (80.0 if self.path == "ve" else 1.0)

    def expected(self, x: Tensor, alpha: float, sigma: float) -> tuple[Tensor, Tensor]:
        """E[x_0 | x] and E[eps | x]."""
        mean = self.posterior_mean(x.to(F64), alpha, sigma)
        return mean, (x - alpha * mean) / max(sigma, 1e-12)

    @cached_property
    def truth(self) -> dict[str, Tensor]:
        """Ends of the walks by the noise that is left there: "last" or "none"."""
        last, none = self._refined(self.z)
        return {"last": last, "none": none}

    @cached_property
    def kept(self) -> Tensor:
        """(B,) all but the 2% of starts whose ends move most when the starts do."""
        away = torch.randn(self.z.shape, generator=torch.Generator().manual_seed(9), dtype=F64)
        moved = self._ends(self.z + 1e-4 * away, 0)[1] - self._ends(self.z, 0)[1]
        distance = moved.flatten(1).norm(dim=1)
        return distance <= distance.quantile(0.98)

    def errors(self, end: Tensor, left: str) -> tuple[float, float]:
        """Root mean square distance from the truth, in deviations of the data: of all starts, and of those kept."""
        error = ((end.to(F64) - self.truth[left]) / self.std).flatten(1).square().mean(1)
        return float(error.mean().sqrt()), float(error[self.kept].mean().sqrt())

    def _refined(self, z: Tensor) -> list[Tensor]:
        coarse = self._ends(z, 0)
        for finer in itertools.count(1):
            fine = self._ends(z, finer)
            apart = torch.stack([(a - b).abs().flatten(1).amax(1) for a, b in zip(fine, coarse, strict=True)]).amax(0)
            if float(apart.quantile(0.98)) <= self.close * self.std:
                return fine
            coarse = fine
            if finer > 8:
                break
        raise RuntimeError("the walks that should be the truth do not settle")

    def _ends(self, z: Tensor, finer: int) -> list[Tensor]:
        r"""Ends with the noise that is left last, and with none; each `finer` has half the steps of the one before.

        By Runge and Kutta's method for y = x / (c alpha + sigma) over w, sigma / (c alpha + sigma) = w^3.
        """
        steps = self.steps * 2**finer
        c, first, last = self.std, FIRST[self.path], LAST[self.path]
        places = [(1 / (1 + c / ratio)) ** (1 / 3) if ratio > 0 else 0.0 for ratio in (first, last, 0.0)]

        def slope(y: Tensor, w: float) -> Tensor:
            alpha, sigma = (1 - w**3) / c, w**3
            if w == 0:
                return torch.zeros_like(y)
            mean, noise = self.expected(y, alpha, sigma)
            return 3 * w**2 * (noise - mean / c)

        y = z * (1.0 if first == math.inf else first / (c + first))
        ends: list[Tensor] = []
        for (start, end), count in zip(pairwise(places), (steps, max(steps // 4, 1)), strict=True):
            h = (end - start) / count
            for i in range(count):
                w = start + i * h
                k1 = slope(y, w)
                k2 = slope(y + h / 2 * k1, w + h / 2)
                k3 = slope(y + h / 2 * k2, w + h / 2)
                k4 = slope(y + h * k3, end if i == count - 1 else w + h)
                y = y + h / 6 * (k1 + 2 * k2 + 2 * k3 + k4)
            ends.append(y * (c + (last if end else 0.0)))
        return ends


class OfModel(Problem):
    """Walks of a trained model, which has no answer below the least noise it was trained with."""

    def _ends(self, z: Tensor, finer: int) -> list[Tensor]:
        """By the method of Dormand and Prince of order 8 for y = x / (c + sigma) over log sigma; then E[x_0 | x].

        Each `finer` has a tenth of the tolerance of the one before.
        """
        from scipy.integrate import solve_ivp

        c, first, last = self.std, FIRST[self.path], LAST[self.path]

        def slope(log_sigma: float, flat: Any) -> Any:
            sigma, y = math.exp(log_sigma), torch.from_numpy(flat).view_as(z)
            mean, _ = self.expected(y * (c + sigma), 1.0, sigma)
            return ((c * y - mean) / (c + sigma)).flatten().numpy()

        start = (z * first / (c + first)).flatten().numpy()
        tolerance = 1e-7 / 10**finer
        ends = (math.log(first), math.log(last))
        found: Any = solve_ivp(slope, ends, start, method="DOP853", rtol=tolerance, atol=tolerance)
        x = torch.from_numpy(found.y[:, -1].copy()).view_as(z) * (c + last)
        return [x, self.expected(x, 1.0, last)[0]]


def mixture(dimensions: int, scale: float, seed: int) -> sf.exact.GaussianMixture:
    """Eight modes, of deviations 0.1 to 0.3: on a disturbed circle in the plane, anywhere in more dimensions."""
    rng, modes = torch.Generator().manual_seed(seed), 8
    if dimensions == 2:
        angle = torch.arange(modes, dtype=F64) * 2 * math.pi / modes
        angle = angle + 0.15 * torch.randn(modes, generator=rng, dtype=F64)
        radius = 1 + 0.1 * torch.randn(modes, generator=rng, dtype=F64)
        means = torch.stack([radius * angle.cos(), radius * angle.sin()], 1)
    else:
        means = torch.randn(modes, dimensions, generator=rng, dtype=F64) / 2
    stds = torch.linspace(0.1, 0.3, modes, dtype=F64)[torch.randperm(modes, generator=rng)]
    weights = torch.rand(modes, generator=rng, dtype=F64) + 0.5
    return sf.exact.GaussianMixture(scale * means, scale * stds, weights)


def on_mixture(dimensions: int, path: str, scale: float, seed: int, starts: int = STARTS) -> Problem:
    """Walks from noise to a mixture."""
    law = mixture(dimensions, scale, seed)

    def posterior_mean(x: Tensor, alpha: float, sigma: float) -> Tensor:
        return law.posterior(x, torch.tensor(alpha, dtype=F64), torch.tensor(sigma**2, dtype=F64)).mean

    z = torch.randn(starts, dimensions, generator=torch.Generator().manual_seed(1000 + seed), dtype=F64)
    return Problem(path, law.denoiser(sf.Gaussian(PATHS[path])), posterior_mean, z)


def on_model(run: Path, seed: int, starts: int = 100) -> Problem:
    """Walks of a trained model on the path of EDM, in float64: a class for each in turn."""
    model = sf.load(run, "cpu")
    denoiser = model.denoiser.double().requires_grad_(False)
    schedule = PATHS["ve"]

    def told(n: int) -> dict[str, Tensor] | None:
        return model.encode_condition({"label": [str(k % 10) for k in range(n)]}, torch.device("cpu"))

    def answer(x_t: Tensor, t: Tensor | float, condition: object) -> Tensor:
        return denoiser(x_t, t, told(len(x_t))).mean

    def posterior_mean(x: Tensor, alpha: float, sigma: float) -> Tensor:
        ratio = min(max(sigma / alpha, 0.002), 80.0)
        return answer(x / alpha, schedule.inverse(torch.tensor(-2 * math.log(ratio), dtype=F64)), None)

    own = sf.Denoiser.from_function(denoiser.process, answer, denoiser.sigma_data, model.codec.shape)
    # Tuned in float32, as users do, and with fewer walks, for an hour's sake.
    plain = sf.load(run, "cpu").denoiser.requires_grad_(False)

    def quick(x_t: Tensor, t: Tensor | float, condition: object) -> Tensor:
        return plain(x_t, t, told(len(x_t))).mean

    fast = sf.Denoiser.from_function(plain.process, quick, plain.sigma_data, model.codec.shape)
    x1 = fast.process.prior(torch.empty(96, *model.codec.shape), 7)
    z = torch.randn(starts, *model.codec.shape, generator=torch.Generator().manual_seed(seed), dtype=F64)
    return OfModel("ve", own, posterior_mean, z, close=1e-6, tuned_on=(fast, x1))
