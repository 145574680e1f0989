"""How far the law of samples is from that of the data: Suffuse's stochastic samplers beside those of three libraries.

    pip install -e '.[bench]' && python benchmarks/stochastic.py docs

Problems are the mixtures of problems.py at scale 1. Distances to exact draws are the sliced 1-Wasserstein distance over
128 directions and the root of the energy distance, in deviations of the data. Everyone, Suffuse included, chooses a
setting for each kind of problem and number of evaluations by the first distance over 5,000 walks on other mixtures
than those judged, with 50,000. All are told the posterior's mean alone, as by a network: ours could draw from the exact
posterior of a mixture, and would be exact at any number of steps. Settings of ours are the registry's samplers, and
shares of the noise for those that take one. Writes stochastic.json and images/stochastic.png, and prints the verdict.
"""

import argparse
import itertools
import json
import math
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import peers
import torch
from peers import Count, Peer
from problems import F64, PATHS, Problem, mixture, on_mixture
from solvers import told
from torch import Tensor

import suffuse as sf

COUNTS = (10, 20, 50)
TRIED, WALKS = 5_000, 50_000
CHOSEN_ON, JUDGED_ON = (31, 32), (41, 42)
Kind = tuple[int, str]
Distances = dict[str, dict[int, tuple[float, float]]]


def ours() -> dict[str, Callable[[], sf.samplers.Sampler]]:
    """The registry's stochastic samplers, and some with other shares of the noise."""
    makers = {
        name: make
        for name, make in sf.samplers.SAMPLERS.items()
        if make().stochastic and issubclass(sf.Gaussian, make().process)
    }
    for terms, eta in itertools.product((2, 3), (0.3, 0.5)):
        makers[f"sde{terms}, eta {eta:g}"] = partial(sf.samplers.MultistepSDE, terms, eta)
        makers[f"sa{terms}, eta {eta:g}"] = partial(sf.samplers.SASolver, terms, eta)
    return makers


def suffuse(make: Callable[[], sf.samplers.Sampler], grid: str, asked: Count, steps: int) -> Tensor:
    """A sampler of ours, on one of the grids; the steps are evaluations."""
    problem, sampler = asked.problem, make()
    schedule, exact = problem.schedule, problem.denoiser
    mean = sf.Denoiser.from_function(
        exact.process, lambda x_t, t, condition: exact(x_t, t, condition).mean, exact.sigma_data, exact.shape
    )
    counted = sf.samplers.Counted(mean)
    number = sampler.steps(problem.denoiser, steps)
    grids = {
        "straight": lambda: sf.grids.straight(schedule, number, problem.std),
        "log-SNR": lambda: sf.grids.log_snr(schedule, number),
    }
    end = sf.sample(counted, sampler, problem.x1, grids[grid](), rng=1)
    asked.evaluations = counted.evaluations
    assert isinstance(end, Tensor)
    return end


def k_noisy(sampler: str, grid: str, options: dict[str, Any], asked: Count, steps: int) -> Tensor:
    """A sampler of k-diffusion with independent noise."""
    noise = {"noise_sampler": lambda *_: torch.randn_like(asked.problem.z)}
    return peers.k_diffusion(sampler, grid, options | noise, asked, steps)


def k_churned(sampler: str, grid: str, churn: float, asked: Count, steps: int) -> Tensor:
    """A sampler of k-diffusion with churn at every step."""
    options = {"s_churn": churn * steps, "s_tmin": 0.05, "s_tmax": 50.0, "s_noise": 1.0}
    return peers.k_diffusion(sampler, grid, options, asked, steps)


def _of_diffusers() -> list[Peer]:
    import diffusers as d

    table = dict(num_train_timesteps=1000, beta_start=1e-4, beta_end=0.02, beta_schedule="linear")
    made: list[Peer] = []

    def add(name: str, kind: Any, options: dict[str, Any], exploding: bool = False, cost: int = 1) -> None:
        make = partial(kind, **table, **options)
        made.append(Peer("diffusers", name, "vp", partial(peers.diffusers_table, make, exploding), cost=cost))

    for spacing in ("trailing", "linspace"):
        add(f"DDPM {spacing}", d.DDPMScheduler, dict(clip_sample=False, timestep_spacing=spacing))
        add(f"Euler ancestral {spacing}", d.EulerAncestralDiscreteScheduler, dict(timestep_spacing=spacing), True)
    grids = {"linspace": {}, "karras": dict(use_karras_sigmas=True), "exponential": dict(use_exponential_sigmas=True)}
    for grid, options in grids.items():
        sde = dict(solver_order=2, algorithm_type="sde-dpmsolver++", **options)
        add(f"SDE DPM++2M {grid}", d.DPMSolverMultistepScheduler, sde)
        add(f"SA-Solver {grid}", d.SASolverScheduler, options)
        add(f"KDPM2 ancestral {grid}", d.KDPM2AncestralDiscreteScheduler, options, True, 2)
    for grid in ("karras", "exponential"):
        edm = dict(
            sigma_min=0.002, sigma_max=80.0, sigma_data=0.5, algorithm_type="sde-dpmsolver++", sigma_schedule=grid
        )
        walk = partial(peers.diffusers_edm, partial(d.EDMDPMSolverMultistepScheduler, solver_order=2, **edm))
        made.append(Peer("diffusers", f"EDM SDE DPM++2M {grid}", "ve", walk))
    flow = dict(
        solver_order=2, algorithm_type="sde-dpmsolver++", prediction_type="flow_prediction", use_flow_sigmas=True
    )
    walk = partial(peers.diffusers_flow, partial(d.DPMSolverMultistepScheduler, flow_shift=1.0, **flow))
    return [*made, Peer("diffusers", "SDE DPM++2M flow", "flow", walk)]


def _of_k_diffusion() -> list[Peer]:
    made: list[Peer] = []
    for path, grid in itertools.product(("vp", "ve"), ("karras", "exponential")):
        for name, cost in (("euler_ancestral", 1), ("dpm_2_ancestral", 2), ("dpmpp_2s_ancestral", 2), ("dpmpp_sde", 2),
                           ("dpmpp_2m_sde", 1), ("dpmpp_3m_sde", 1)):  # fmt: skip
            walk = partial(k_noisy, f"sample_{name}", grid, {})
            made.append(Peer("k-diffusion", f"{name} {grid}", path, walk, cost=cost))
        for churn in (0.2, 0.41):
            walk = partial(k_churned, "sample_heun", grid, churn)
            made.append(Peer("k-diffusion", f"heun, churn {churn:g} {grid}", path, walk, cost=2))
    return made


def _of_azula() -> list[Peer]:
    made: list[Peer] = []
    for path, grid in itertools.product(PATHS, ("rectified", "ve", "karras", "cosine", "vp")):
        for name, options, cost in (("DDPM", {}, 1), ("Ito", {}, 1), ("PC", {"delta": 0.1}, 2)):
            made.append(
                Peer(
                    "azula", f"{name} {grid}", path, partial(peers.azula, f"{name}Sampler", grid, options), "last", cost
                )
            )
    return made


def contestants() -> list[Peer]:
    """Ours, and every peer that is installed."""
    from importlib.util import find_spec

    made = [
        Peer("Suffuse", f"{name} {grid}", path, partial(suffuse, make, grid))
        for (name, make), path, grid in itertools.product(ours().items(), PATHS, ("straight", "log-SNR"))
    ]
    for library, make in {"diffusers": _of_diffusers, "k_diffusion": _of_k_diffusion, "azula": _of_azula}.items():
        made += make() if find_spec(library) is not None else []
    return made


def sliced(a: Tensor, b: Tensor) -> float:
    """Mean over directions of the 1-Wasserstein distance between the projections."""
    to = torch.randn(a.shape[1], 128, generator=torch.Generator().manual_seed(3), dtype=F64)
    to = to / to.norm(dim=0)
    parts = (((a @ some).sort(0).values - (b @ some).sort(0).values).abs().mean(0) for some in to.split(16, 1))
    return float(torch.cat(list(parts)).mean())


def energy(a: Tensor, b: Tensor, number: int = 5000) -> float:
    """Root of the energy distance of the first draws, 0 where its unbiased estimate is negative."""
    a, b = a[:number], b[:number]
    within = [torch.cdist(x, x).sum() / (len(x) * (len(x) - 1)) for x in (a, b)]
    return math.sqrt(max(float(2 * torch.cdist(a, b).mean() - sum(within)), 0.0))


def distances(problem: Problem, exact: Tensor, names: set[str] | None = None) -> Distances:
    """To exact draws, by "library: name" and count."""
    out: Distances = {}
    for peer in contestants():
        name = f"{peer.library}: {peer.name}"
        if peer.path != problem.path or (names is not None and name not in names):
            continue
        for count in COUNTS:
            torch.manual_seed(0)
            end = peer.end(problem, count)
            if end is not None and bool(end.isfinite().all()):
                end = end.to(F64) / problem.std
                # choosing needs no energy distance, which costs more than most walks
                out.setdefault(name, {})[count] = (sliced(end, exact), energy(end, exact) if names else math.nan)
    return out


def _walked(
    dimensions: int, path: str, seed: int, walks: int, names: set[str] | None = None
) -> tuple[Distances, tuple[float, float]]:
    torch.set_num_threads(1)
    problem, law = on_mixture(dimensions, path, 1.0, seed, walks), mixture(dimensions, 1.0, seed)
    exact, again = (law.sample(walks, number) / problem.std for number in (1, 2))
    return distances(problem, exact, names), (sliced(again, exact), energy(again, exact))


def _kind(kind: Kind) -> list[dict[str, Any]]:
    dimensions, path = kind
    found = [_walked(dimensions, path, seed, TRIED)[0] for seed in CHOSEN_ON]
    choice: dict[int, dict[str, str]] = {count: {} for count in COUNTS}
    for count in COUNTS:
        known = [name for name in found[0] if all(count in each.get(name, {}) for each in found)]
        for name in sorted(known, key=lambda name: -sum(each[name][count][0] for each in found)):
            choice[count][name.split(":")[0]] = name
    names = {name for row in choice.values() for name in row.values()}
    rows: list[dict[str, Any]] = []
    for seed in JUDGED_ON:
        judged, floor = _walked(dimensions, path, seed, WALKS, names)
        for count in COUNTS:
            reached = {library: (name, *judged[name][count]) for library, name in choice[count].items()}
            rows.append(
                {"dimensions": dimensions, "path": path, "seed": seed, "evaluations": count, "exact": floor} | reached
            )
    return rows


def verdict(rows: list[dict[str, Any]]) -> str:
    """Distances by library: geometric means over all problems, and the largest ratio of ours to the best peer's."""
    libraries = [name for name in ("Suffuse", "diffusers", "k-diffusion", "azula") if any(name in row for row in rows)]
    lines = ["sliced Wasserstein (energy) distance, means; largest ratio of ours to the best peer's on a problem"]
    for count in COUNTS:
        here = [row for row in rows if row["evaluations"] == count]
        cells = []
        for library in libraries:
            known = [row[library] for row in here if library in row]
            cells.append(
                f"{library} {sum(k[1] for k in known) / len(known):.4f} ({sum(k[2] for k in known) / len(known):.4f})"
            )
        ratios = [row["Suffuse"][1] / min(row[name][1] for name in libraries[1:] if name in row) for row in here]
        exact = sum(row["exact"][0] for row in here) / len(here)
        lines.append(f"{count:3d}  {'  '.join(cells)}  exact draws {exact:.4f}  ratio {max(ratios):.2f}")
    return "\n".join(lines)


def draw(rows: list[dict[str, Any]], file: Path) -> None:
    """Sliced distance against evaluations, a panel for each kind of problem."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    kinds = sorted({(row["dimensions"], row["path"]) for row in rows})
    figure, axes = plt.subplots(2, 3, figsize=(12, 6.6), sharex=True, layout="constrained")
    for kind, ax in zip(kinds, axes.flat, strict=True):
        here = [row for row in rows if (row["dimensions"], row["path"]) == kind]
        for library, style in (("Suffuse", "k^-"), ("diffusers", "C0o-"), ("k-diffusion", "C1o-"), ("azula", "C2o-")):
            values = [[row[library][1] for row in here if row["evaluations"] == n and library in row] for n in COUNTS]
            if all(values):
                ax.plot(COUNTS, [sum(v) / len(v) for v in values], style, ms=4, lw=1, label=library)
        ax.axhline(sum(row["exact"][0] for row in here) / len(here), color="grey", ls=":", label="exact draws")
        ax.set(xscale="log", yscale="log", title=f"{kind[0]} dimensions, {kind[1]}", xticks=COUNTS, xticklabels=COUNTS)
        ax.minorticks_off()
        ax.grid(alpha=0.3)
    axes[-1, 0].set(xlabel="evaluations", ylabel="sliced Wasserstein distance")
    axes[-1, -1].legend(fontsize=7)
    figure.savefig(file, dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    kinds = list(itertools.product((2, 16), PATHS))
    with ProcessPoolExecutor(2) as pool:
        rows = [row for some in told(pool.map(_kind, kinds), len(kinds), "walking") for row in some]
    (folder / "images").mkdir(parents=True, exist_ok=True)
    (folder / "stochastic.json").write_text(json.dumps(rows, indent=0) + "\n", encoding="utf-8")
    draw(rows, folder / "images" / "stochastic.png")
    print(verdict(rows))


if __name__ == "__main__":
    main()
