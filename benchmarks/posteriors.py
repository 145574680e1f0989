"""How near the draws of every method of restoration are to the exact posterior, beside those of two libraries.

    pip install azula deepinv && python benchmarks/posteriors.py docs

Data are mixtures of three Gaussians with full covariances in 2, 16 and 64 dimensions, in deviations of the data. Half
of the elements, as many random projections, means of neighbours, or a circular blur are measured with noise 0.1. All
are given the exact posterior mean E[x_0 | x_t] and nothing else, and as many passes through it for each draw, forth or
back: both are counted. Three measurements of each kind, 300 draws of each. Peers walk in several settings, on even
steps of their own paths. Reported are, as means over the measurements,

* bias: root mean square over the elements of the error of the mean, in deviations of the posterior;
* spread: mean ratio of the deviations;
* coverage: share of exact draws in the interval between the 5% and 95% quantiles of the draws, of each element;
* energy: energy distance to 1,000 exact draws over the mean distance of two of those, unbiased: near 0 for exact ones.

Writes posteriors.json, and the tables in restoration.md between their marks; prints the verdict.
"""

import argparse
import json
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import suffuse as sf
from suffuse.guidance import METHODS, Observed
from suffuse.operators import Linear, Mask, Matrix
from suffuse.restoration import DAPS, RESTORERS, ParticleFilter

F64 = torch.float64
DIMENSIONS, BUDGETS = (2, 16, 64), (30, 100)
MEASUREMENTS, DRAWS, EXACT, NOISE = 3, 300, 1000, 0.1
PROCESS = sf.Gaussian(sf.schedules.Flow())
BEGIN, END = "<!-- posteriors.json -->", "<!-- end -->"


class Passes(torch.autograd.Function):
    """The identity, that counts the items that go through it, forth and back."""

    items = 0

    @staticmethod
    def forward(x: Tensor) -> Tensor:
        Passes.items += len(x)
        return x.clone()

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        pass

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        Passes.items += len(gradient)
        return gradient


@dataclass(frozen=True)
class Problem:
    """A prior, an operator, and some measurements."""

    law: sf.exact.Correlated
    kind: str
    matrix: Tensor
    draws: int = DRAWS

    @cached_property
    def y(self) -> Tensor:
        """(MEASUREMENTS, m)."""
        x = self.law.sample(MEASUREMENTS, rng=1)
        noise = torch.randn(MEASUREMENTS, len(self.matrix), dtype=F64, generator=torch.Generator().manual_seed(1))
        return x @ self.matrix.T + NOISE * noise

    @cached_property
    def repeated(self) -> Tensor:
        """(MEASUREMENTS * draws, m), float32."""
        return self.y.float().repeat_interleave(self.draws, 0)

    @cached_property
    def truths(self) -> list[sf.exact.Correlated]:
        return [self.law.given(self.matrix, y, NOISE) for y in self.y]

    @property
    def operator(self) -> Linear:
        return Mask(self.matrix.diagonal() > 0) if self.kind == "mask" else Matrix(self.matrix.float())

    @cached_property
    def denoiser(self) -> sf.Denoiser:
        """The exact mean, whose passes are counted."""
        exact = self.law.denoiser(PROCESS)
        return sf.Denoiser.from_function(
            PROCESS, lambda x, t, told: Passes.apply(exact(x, t, told).mean), exact.sigma_data, exact.shape
        )

    def mean(self, x: Tensor, sigma: float) -> Tensor:
        """E[x_0 | x], given x = x_0 + N(0, sigma^2)."""
        return self.denoiser(x / (1 + sigma), sigma / (1 + sigma)).mean


def problem(kind: str, d: int) -> Problem:
    rng, m = torch.Generator().manual_seed(d), d // 2
    axes = torch.linalg.qr(torch.randn(3, d, d, generator=rng, dtype=F64))[0]
    variances = torch.logspace(0, -2, d, dtype=F64) if d > 2 else torch.tensor([1.0, 0.05], dtype=F64)
    means, weights = torch.randn(3, d, generator=rng, dtype=F64), torch.tensor([5, 3, 2], dtype=F64)
    raw = sf.exact.Correlated(means, axes @ (variances[:, None] * axes.mT), weights)
    law = sf.exact.Correlated((means - raw.mean) / raw.std, raw.covariances / raw.std**2, weights)
    rng = torch.Generator().manual_seed(100 + d)
    eye = torch.eye(d, dtype=F64)
    kept = torch.randperm(d, generator=rng)[:m]
    matrices = {
        "mask": torch.diag(eye[kept].sum(0)),
        "projection": torch.randn(m, d, generator=rng, dtype=F64) / math.sqrt(d),
        "average": (eye[::2] + eye[1::2]) / 2,
        "blur": eye / 2 + (eye.roll(1, 1) + eye.roll(-1, 1)) / 4,
    }
    return Problem(law, kind, matrices[kind])


KINDS = ("mask", "projection", "average", "blur")
Walk = Callable[[Problem, int], Tensor]
"""(problem, steps) to (MEASUREMENTS * draws, d) draws."""
Way = Callable[[Observed, int], tuple[sf.samplers.Sampler, Tensor]]
"""(what was measured, steps) to a sampler and a grid."""


def ours() -> dict[str, Walk]:
    """The default; every method with the sampler that generates and with the ancestral one; every restorer."""

    def with_default_grid(sampler: sf.samplers.Sampler) -> Way:
        def way(observed: Observed, steps: int) -> tuple[sf.samplers.Sampler, Tensor]:
            return sampler, sf.restoration.default(observed, steps * observed.method.passes)[1]

        return way

    made: dict[str, Walk] = {
        "default": partial(_walk, "default", lambda o, n: sf.restoration.default(o, n * o.method.passes))
    }
    for name in METHODS:
        made[f"{name}, adams"] = partial(_walk, name, sf.samplers.default)
        made[f"{name}, ddpm"] = partial(_walk, name, with_default_grid(sf.samplers.Ancestral(1.0)))
    made["ddnm, daps"] = partial(_walk, "ddnm", with_default_grid(DAPS()))
    made["pigdm, daps"] = partial(_walk, "pigdm", with_default_grid(DAPS()))
    for name, make in RESTORERS.items():
        if make is ParticleFilter:
            made[name] = partial(_sets, with_default_grid(make()))
        elif make is not DAPS:
            made[name] = partial(_walk, "default", with_default_grid(make()))
    return made


def _walk(method: str, way: Way, p: Problem, steps: int) -> Tensor:
    return _walked(Observed(p.denoiser, p.operator, p.repeated, NOISE, method), way, len(p.repeated), steps)


def _sets(way: Way, p: Problem, steps: int) -> Tensor:
    """A set of particles for each measurement."""
    told = [Observed(p.denoiser, p.operator, y[None], NOISE, "pigdm") for y in p.y.float()]
    return torch.cat([_walked(observed, way, p.draws, steps) for observed in told])


def _walked(observed: Observed, way: Way, n: int, steps: int) -> Tensor:
    sampler, times = way(observed, steps)
    assert observed.shape is not None
    state = sf.sample(observed, sampler, PROCESS.prior(torch.empty(n, *observed.shape), 2), times, rng=3)
    assert isinstance(state, Tensor)
    return state


def at_most(walk: Walk, p: Problem, budget: int) -> tuple[Tensor, int] | None:
    """The draws of as many steps as take no more passes, and these; None where there is no such walk.

    How many a step takes is found with few draws, halving; items may stop early, so that all draws have the last word.
    """
    few = replace(p, draws=2)
    least, most = 0, budget + 1
    while most - least > 1:
        middle = (least + most) // 2
        least, most = (middle, most) if _spent(walk, few, middle)[1] <= budget else (least, middle)
    for steps in range(least, 0, -1):
        draws, passes = _spent(walk, p, steps)
        if passes <= budget:
            return draws, passes
    return None


def _spent(walk: Walk, p: Problem, steps: int) -> tuple[Tensor, int]:
    Passes.items = 0
    draws = walk(p, steps)
    return draws, Passes.items // len(draws)


def judged(draws: Tensor, p: Problem) -> dict[str, float]:
    """See the module; of all measurements."""
    found: list[dict[str, float]] = []
    for number, (x, truth) in enumerate(zip(draws.double().chunk(MEASUREMENTS), p.truths, strict=True)):
        exact, std = truth.sample(EXACT, rng=10 + number), truth.covariance.diagonal().sqrt()
        low, high = x.quantile(torch.tensor([0.05, 0.95], dtype=F64), 0)
        found.append(
            {
                "bias": float(((x.mean(0) - truth.mean) / std).square().mean().sqrt()),
                "spread": float((x.std(0) / std).mean()),
                "coverage": float(((exact >= low) & (exact <= high)).double().mean()),
                "energy": energy(x, exact),
            }
        )
    return {name: round(sum(each[name] for each in found) / len(found), 5) for name in found[0]}


def energy(x: Tensor, exact: Tensor) -> float:
    """Unbiased, over the mean distance of two exact draws."""

    def within(z: Tensor) -> Tensor:
        return torch.cdist(z, z).sum() / (len(z) * (len(z) - 1))

    scale = within(exact)
    return float((2 * torch.cdist(x, exact).mean() - within(x) - scale) / scale)


def rows(libraries: dict[str, dict[str, Walk]]) -> Iterator[dict[str, Any]]:
    for d in DIMENSIONS:
        for kind in KINDS:
            p = problem(kind, d)
            place: dict[str, Any] = {"dimensions": d, "operator": kind}
            exact = torch.cat([truth.sample(DRAWS, rng=7) for truth in p.truths])
            yield {**place, "library": "", "method": "exact draws", "budget": 0, "passes": 0, **judged(exact, p)}
            for library, walks in libraries.items():
                for name, walk in walks.items():
                    if "repaint" in name and kind != "mask":
                        continue
                    for budget in BUDGETS:
                        result = at_most(walk, p, budget)
                        if result is not None:
                            row = {**place, "library": library, "method": name, "budget": budget, "passes": result[1]}
                            yield {**row, **judged(result[0], p)}


def verdict(found: list[dict[str, Any]]) -> str:
    """Where the default is at or below the best of theirs."""
    lines: list[str] = []
    for budget in BUDGETS:
        wins, lost = 0, []
        for d in DIMENSIONS:
            for kind in KINDS:
                here = [r for r in found if (r["dimensions"], r["operator"], r["budget"]) == (d, kind, budget)]
                own = next(r for r in here if (r["library"], r["method"]) == ("suffuse", "default"))
                best = min((r for r in here if r["library"] != "suffuse" and _finite(r)), key=lambda r: r["energy"])
                wins += own["energy"] <= best["energy"]
                if own["energy"] > best["energy"]:
                    lost.append(f"{kind} in {d} ({own['energy']:.4f}, {best['library']} {best['method']} "
                                f"{best['energy']:.4f})")  # fmt: skip
        said = f"At {budget} passes the default is at or below the best of theirs in {wins} of "
        lines.append(f"{said}{wins + len(lost)} problems{': not for ' * bool(lost)}{', '.join(lost)}.")
    return "\n".join(lines)


def _finite(row: dict[str, Any]) -> bool:
    return math.isfinite(row["energy"])


def table(found: list[dict[str, Any]], budget: int) -> str:
    """Of one budget, a line for each method: energy in every problem, and the means of the rest."""
    heads = [f"{kind} {d}" for d in DIMENSIONS for kind in KINDS]
    lines = ["| | " + " | ".join(heads) + " | bias | spread | coverage | passes |", "|---|" + "---|" * (len(heads) + 4)]
    for library, method in dict.fromkeys((r["library"], r["method"]) for r in found):
        own = [r for r in found if (r["library"], r["method"]) == (library, method) and r["budget"] in (0, budget)]
        if not own:
            continue
        at = {f"{r['operator']} {r['dimensions']}": r["energy"] for r in own}
        means = [_number(sum(r[name] for r in own) / len(own)) for name in ("bias", "spread", "coverage")]
        cells = [_number(1000 * at[head]) if head in at else "" for head in heads]
        name = f"**{method}**" if method == "default" else f"{library} {method}" if library != "suffuse" else method
        lines.append("| " + " | ".join([name.strip(), *cells, *means, str(max(r["passes"] for r in own))]) + " |")
    return "\n".join(lines)


def _number(value: float) -> str:
    return "far off" if not abs(value) < 1000 else f"{value:.0f}" if abs(value) >= 10 else f"{value:.2g}"


def main() -> None:
    import posterior_peers

    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    folder: Path = parser.parse_args().folder
    torch.set_num_threads(1)
    found: list[dict[str, Any]] = []
    for row in rows({"suffuse": ours(), **posterior_peers.libraries()}):
        print(*row.values(), flush=True)
        found.append(row)
    (folder / "posteriors.json").write_text(json.dumps(found, indent=0) + "\n", encoding="utf-8")
    page = folder / "restoration.md"
    text = page.read_text(encoding="utf-8")
    before, after = text.split(BEGIN)[0], text.split(END)[-1]
    tables = "\n\n".join(f"Energy distance x 1000 at {budget} passes:\n\n{table(found, budget)}" for budget in BUDGETS)
    page.write_text(f"{before}{BEGIN}\n{tables}\n\n{verdict(found)}\n{END}{after}", encoding="utf-8")
    print(verdict(found))


if __name__ == "__main__":
    main()
