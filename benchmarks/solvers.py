"""How far walks end from where they should: Suffuse's default and tuned solvers beside those of four other libraries.

    pip install -e '.[bench]' && python benchmarks/solvers.py docs
    python benchmarks/solvers.py docs --digits runs/digits

Problems are mixtures of Gaussians in 2 and 16 dimensions at three scales on three paths (problems.py), or a trained
model. Errors are root mean squares over 98% of the starts, in deviations of the data. Every peer may choose its setting
(peers.py) for each kind of problem and each number of evaluations, on other mixtures than those that are judged.
Writes solvers.json and images/solvers.png into the folder (with --digits: solvers-digits.json and .png), and prints the
verdicts: the default against the best peer, and the tuned solver of N evaluations against the best peer at 2 N (N up
to 10) or 1.3 N.
"""

import argparse
import itertools
import json
import math
import sys
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import peers
import torch
from problems import PATHS, SCALES, Problem, on_mixture, on_model

import suffuse as sf

COUNTS = (5, 8, 10, 15, 20, 30, 50)
MORE = {5: 10, 8: 16, 10: 20, 15: 19, 20: 26, 30: 39, 50: 65}
"""What the best peer may spend where the tuned solver spends the key."""
CHOSEN_ON, JUDGED_ON = (11, 12), (31, 32)
"""Seeds of the mixtures."""
COLOURS = {"azula": "C0", "diffusers": "C1", "flow_matching": "C2", "k_diffusion": "C3"}
Kind = tuple[int, str, float]
"""Dimensions, path and scale."""
Choice = dict[int, dict[str, str]]
"""For a number of evaluations the setting of each library."""


def every(problem: Problem, counts: Iterable[int], names: set[str] | None = None) -> dict[str, dict[int, float]]:
    """Errors of peers, by "library: name" and count."""
    out: dict[str, dict[int, float]] = {}
    for library, members in peers.deterministic().items():
        for peer in members:
            name = f"{library}: {peer.name}"
            if peer.path != problem.path or (names is not None and name not in names):
                continue
            for count in counts:
                end = peer.end(problem, count)
                if end is not None and bool(end.isfinite().all()):
                    out.setdefault(name, {})[count] = problem.errors(end, peer.left)[1]
    return out


def choose(errors: Sequence[dict[str, dict[int, float]]]) -> Choice:
    """Each library's setting of the least mean log error, for each count."""
    choice: Choice = {count: {} for count in COUNTS}
    for count in COUNTS:
        best: dict[str, float] = {}
        for name in errors[0]:
            if all(count in each.get(name, {}) for each in errors):
                library, mean = name.split(":")[0], sum(math.log(each[name][count]) for each in errors)
                if mean < best.get(library, math.inf):
                    best[library], choice[count][library] = mean, name
    return choice


def ours(problem: Problem) -> list[dict[str, Any]]:
    """Errors of the default and of the tuned solver, for each count."""
    left, rows = ("last" if problem.path == "ve" else "none"), []
    for count in COUNTS:
        row: dict[str, Any] = {"evaluations": count}
        solvers = {
            "default": sf.samplers.default(problem.denoiser, count),
            "tuned": problem.tuned(count),
        }
        for name, (sampler, times) in solvers.items():
            counted = sf.samplers.Counted(problem.denoiser)
            end = sf.sample(counted, sampler, problem.x1, times)
            assert isinstance(end, torch.Tensor)
            assert counted.evaluations <= count
            row[name + " rmse"], row[name] = problem.errors(end, left)
        rows.append(row)
    return rows


def judge(problem: Problem, choice: Choice) -> list[dict[str, Any]]:
    """Rows for each count: ours beside every library's chosen setting, and the best of these with more evaluations."""
    names = {name for row in choice.values() for name in row.values()}
    errors = every(problem, sorted({*COUNTS, *MORE.values()}), names)
    rows = ours(problem)
    for row in rows:
        count, more = row["evaluations"], MORE[row["evaluations"]]
        row["peers"] = {library: (name, errors[name][count]) for library, name in choice[count].items()}
        row["best"] = min(error for _, error in row["peers"].values())
        nearest = choice[min(COUNTS, key=lambda known: abs(math.log(known / more)))]
        row["more"] = min(errors[name][more] for name in nearest.values() if more in errors.get(name, {}))
    return rows


def _choosing(job: tuple[Kind, int]) -> dict[str, dict[int, float]]:
    torch.set_num_threads(1)
    return every(on_mixture(*job[0], job[1]), COUNTS)


def _judging(job: tuple[Kind, int, Choice]) -> list[dict[str, Any]]:
    torch.set_num_threads(1)
    kind, seed, choice = job
    dimensions, path, scale = kind
    about = {"dimensions": dimensions, "path": path, "scale": scale, "seed": seed}
    return [about | row for row in judge(on_mixture(*kind, seed), choice)]


def mixtures() -> list[dict[str, Any]]:
    """All rows."""
    kinds: list[Kind] = list(itertools.product((2, 16), PATHS, SCALES))
    with ProcessPoolExecutor(2) as pool:
        jobs = [(kind, seed) for kind in kinds for seed in CHOSEN_ON]
        errors = list(told(pool.map(_choosing, jobs), len(jobs), "choosing settings"))
        choices = {kind: choose([e for (k, _), e in zip(jobs, errors, strict=True) if k == kind]) for kind in kinds}
        judged = [(kind, seed, choices[kind]) for kind in kinds for seed in JUDGED_ON]
        return [row for rows in told(pool.map(_judging, judged), len(judged), "judging") for row in rows]


def told(results: Iterable[Any], total: int, what: str) -> Iterable[Any]:
    start = time.monotonic()
    for number, result in enumerate(results, 1):
        left = (time.monotonic() - start) * (total / number - 1)
        print(f"\r{what}: {number} of {total}, {left:.0f} s left  ", end="", file=sys.stderr, flush=True)
        yield result
    print(file=sys.stderr)


def digits(run: Path) -> list[dict[str, Any]]:
    """Rows of a trained model; settings are chosen on other starts than those judged on."""
    choice = choose([every(on_model(run, 1, 50), COUNTS)])
    return [{"path": "ve", "seed": 2} | row for row in judge(on_model(run, 2), choice)]


def verdicts(rows: list[dict[str, Any]]) -> str:
    """A table of ratios to the best peer: geometric mean and largest over all problems."""
    lines = ["evaluations   default / best peer: mean, largest   tuned / best peer at 2 N or 1.3 N: mean, largest"]
    for count in COUNTS:
        here = [row for row in rows if row["evaluations"] == count]
        default, tuned = ([row[a] / row[b] for row in here] for a, b in (("default", "best"), ("tuned", "more")))
        cells = [f"{math.exp(sum(map(math.log, x)) / len(x)):.2f}, {max(x):.2f}" for x in (default, tuned)]
        lines.append(f"{count:11d}   {cells[0]:36s} {cells[1]}  ({MORE[count]})")
    return "\n".join(lines)


def draw(rows: list[dict[str, Any]], file: Path) -> None:
    """Errors against evaluations: a panel for each number of dimensions and path, at scale 1."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    rows = [row for row in rows if row.get("scale", 1.0) == 1.0]
    panels = sorted({(row.get("dimensions", 64), row["path"]) for row in rows})
    columns = min(3, len(panels))
    lines = -(-len(panels) // columns)
    size = (4 * columns, 3.3 * lines)
    figure, axes = plt.subplots(lines, columns, figsize=size, sharex=True, squeeze=False, layout="constrained")
    for (dimensions, path), ax in zip(panels, axes.flat, strict=False):
        here = [row for row in rows if (row.get("dimensions", 64), row["path"]) == (dimensions, path)]
        for library in sorted({name for row in here for name in row["peers"]}):
            known = [n for n in COUNTS if any(r["evaluations"] == n and library in r["peers"] for r in here)]
            ax.plot(known, [_mean([r["peers"][library][1] for r in here if r["evaluations"] == n]) for n in known],
                    "o-", ms=3, lw=1, color=COLOURS[library], label=library)  # fmt: skip
        for name, style in (("default", "k^-"), ("tuned", "k*--")):
            ax.plot(
                COUNTS,
                [_mean([r[name] for r in here if r["evaluations"] == n]) for n in COUNTS],
                style,
                label=f"Suffuse, {name}",
            )
        ax.set(xscale="log", yscale="log", title=f"{dimensions} dimensions, {path}", xticks=COUNTS, xticklabels=COUNTS)
        ax.minorticks_off()
        ax.grid(alpha=0.3)
    axes[-1, 0].set(xlabel="evaluations", ylabel="error, in deviations of the data")
    shown = {label: line for ax in axes.flat for line, label in zip(*ax.get_legend_handles_labels(), strict=True)}
    figure.legend(
        shown.values(),
        shown.keys(),
        loc="outside lower center",
        ncols=min(len(shown), 2 * columns),
        fontsize=8,
        frameon=False,
    )
    figure.savefig(file, dpi=110)


def _mean(values: list[float]) -> float:
    return math.exp(sum(map(math.log, values)) / len(values))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--digits", type=Path, metavar="RUN")
    asked = parser.parse_args()
    missing = {"diffusers", "k_diffusion", "azula", "flow_matching"} - set(peers.deterministic())
    if missing:
        print(f"left out, since not installed: {', '.join(sorted(missing))}")
    rows, name = (digits(asked.digits), "solvers-digits") if asked.digits else (mixtures(), "solvers")
    (asked.folder / "images").mkdir(parents=True, exist_ok=True)
    (asked.folder / f"{name}.json").write_text(json.dumps(rows, indent=0) + "\n", encoding="utf-8")
    draw(rows, asked.folder / "images" / f"{name}.png")
    print(verdicts(rows))


if __name__ == "__main__":
    main()
