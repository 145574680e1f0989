"""The page about samplers: what each is, and how far each ends from the truth, measured.

    python benchmarks/samplers.py docs

Writes samplers.md and images/samplers.png into the folder it is given. Gaussian samplers walk a mixture of five
Gaussians in two dimensions (EDM schedule); deterministic ones are compared with the end of their own walk at 4,000
steps of the fourth order, stochastic ones with exact draws, by the energy distance. Samplers of tokens walk a table
of four tokens and are compared with it in total variation.
"""

import inspect
import math
import re
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

import suffuse as sf
from suffuse.samplers import SAMPLERS, Sampler

COUNTS = (5, 10, 20, 50)
ITEMS = 4000
F64 = torch.float64


def mixture() -> sf.exact.GaussianMixture:
    """Five components of various widths in the plane."""
    rng = torch.Generator().manual_seed(4)
    means, stds = torch.randn(5, 2, generator=rng, dtype=F64), 0.1 + 0.3 * torch.rand(5, generator=rng, dtype=F64)
    return sf.exact.GaussianMixture(1.2 * means, stds, torch.rand(5, generator=rng, dtype=F64))


def tokens() -> sf.exact.Tokens:
    """Four dependent tokens of a vocabulary of three."""
    table = torch.rand(3, 3, 3, 3, generator=torch.Generator().manual_seed(2), dtype=F64) ** 4
    return sf.exact.Tokens(table)


def walk(
    sampler: Sampler, denoiser: sf.Denoiser, x1: Tensor, n: int, grid: Callable[[int], Tensor]
) -> tuple[Tensor, int]:
    """End of a walk with at most n evaluations, and how many were made; nan where so few are not enough."""
    counted = sf.samplers.Counted(denoiser)
    try:
        steps = sampler.steps(denoiser, n)
    except sf.UserError:
        return torch.full_like(x1, torch.nan, dtype=F64), 0
    end = sf.sample(counted, sampler, x1, grid(steps), rng=1)
    assert isinstance(end, Tensor)
    return end, counted.evaluations


def energy(a: Tensor, b: Tensor) -> float:
    """Square root of the energy distance of two samples."""
    self_a, self_b = (torch.cdist(x, x).sum() / (len(x) * (len(x) - 1)) for x in (a, b))
    return math.sqrt(max(float(2 * torch.cdist(a, b).mean() - self_a - self_b), 0.0))


def measure_gaussian() -> dict[str, list[float]]:
    """Error at every count of evaluations, by name of the sampler."""
    law, process = mixture(), sf.Gaussian(sf.schedules.EDM())
    denoiser, schedule = law.denoiser(process), process.schedule
    x1 = law.marginal(process, 1.0).sample(ITEMS, 1)
    fine = sf.grids.straight(schedule, 4000, law.std)
    truth, drawn = sf.sample(denoiser, sf.samplers.Adams(4), x1, fine), law.marginal(process, 0.0).sample(ITEMS, 2)
    assert isinstance(truth, Tensor)
    rows = {}
    for name, make in SAMPLERS.items():
        if not isinstance(process, make().process):
            continue
        adams = name.startswith("adams")
        grid = (
            (lambda n: sf.grids.straight(schedule, n, law.std)) if adams else (lambda n: sf.grids.karras(schedule, n))
        )
        ends = [walk(make(), denoiser, x1, n, grid)[0] for n in COUNTS]
        far = energy if make().stochastic else rmse
        rows[name] = [far(end, drawn if make().stochastic else truth) for end in ends]
    ends = [
        sf.sample(denoiser, sampler, x1, times) for sampler, times in (sf.samplers.default(denoiser, n) for n in COUNTS)
    ]
    rows["default"] = [rmse(torch.as_tensor(end), truth) for end in ends]
    return rows


def rmse(a: Tensor, b: Tensor) -> float:
    """Root mean square over the 98 of 100 items that are closest: the others start at a ridge and end anywhere."""
    error = (a - b).square().mean(1).sort().values
    return float(error[: int(0.98 * len(error))].mean().sqrt())


def measure_tokens() -> dict[str, list[float]]:
    """Total variation at every count of evaluations."""
    law, process = tokens(), sf.Discrete.masked(3)
    denoiser, rows = law.denoiser(process), {}
    x1 = torch.full((ITEMS * 5, 4), 3)
    for name, make in SAMPLERS.items():
        if not isinstance(process, make().process) or name == "parallel":  # which ends where another does
            continue
        ends = [walk(make(), denoiser, x1, n, sf.grids.uniform)[0] for n in COUNTS]
        rows[name] = [variation(end, law) for end in ends]
    return rows


def variation(x: Tensor, law: sf.exact.Tokens) -> float:
    """Total variation between draws and the table they should come from."""
    if x.is_floating_point():
        return math.nan
    place = (x * 3 ** torch.arange(3, -1, -1)).sum(1)
    return float((place.bincount(minlength=81) / len(x) - law.table.flatten()).abs().sum() / 2)


def page(gaussian: dict[str, list[float]], discrete: dict[str, list[float]]) -> str:
    """The page in Markdown."""
    head = "# Samplers\n\nWritten by `python benchmarks/samplers.py docs`, from the samplers' own documentation.\n\n"
    return head + "\n\n".join([_tables(gaussian, discrete), *map(_section, _classes())]) + "\n"


def _tables(gaussian: dict[str, list[float]], discrete: dict[str, list[float]]) -> str:
    calm = {name: row for name, row in gaussian.items() if name == "default" or not SAMPLERS[name]().stochastic}
    noisy = {name: row for name, row in gaussian.items() if name not in calm}
    return "\n\n".join(
        [
            "## Measured",
            f"A mixture of five Gaussians in the plane, {ITEMS:,} walks, EDM schedule; root mean square distance of "
            "the ends from the true ends, over the 98% of the walks that do not start at a ridge, by evaluations.",
            _table(calm),
            "Samplers with noise: square root of the energy distance to as many exact draws; of exact draws to one "
            f"another it is about {1 / math.sqrt(ITEMS):.3f}.",
            _table(noisy),
            "Samplers of tokens: total variation from the table of four dependent tokens, 20,000 draws; of exact draws "
            "it is about 0.02.",
            _table(discrete),
            "![Error against evaluations](images/samplers.png)",
        ]
    )


def _table(rows: dict[str, list[float]]) -> str:
    lines = ["| name | class | order | " + " | ".join(map(str, COUNTS)) + " |", "|---|---|--:|" + "--:|" * len(COUNTS)]
    for name, row in rows.items():
        made = SAMPLERS[name]() if name in SAMPLERS else None
        kind = f"`{type(made).__name__}`" if made else "`sf.samplers.default`"
        figures = " | ".join("" if math.isnan(value) else f"{value:.2g}" for value in row)
        lines.append(f"| {name} | {kind} | {made.order if made else ''} | {figures} |")
    return "\n".join(lines)


def _classes() -> list[type[Sampler]]:
    made = [type(make()) for make in SAMPLERS.values()]
    return list(dict.fromkeys([*made, sf.samplers.Leafwise, sf.samplers.Tuned]))


def _section(kind: type[Sampler]) -> str:
    names = [name for name, make in SAMPLERS.items() if type(make()) is kind]
    called = f" (`{'`, `'.join(names)}`)" if names else ""
    return f"## {kind.__name__}{called}\n\n{_markdown(inspect.cleandoc(kind.__doc__ or ''))}"


def _markdown(text: str) -> str:
    """A docstring's first part as Markdown."""
    text = re.split(r"\n(?:Args|Example|Attributes):\n", text)[0].strip()
    text = re.sub(r":math:`([^`]+)`", lambda found: f"${' '.join(found[1].split())}$", text)
    text = re.sub(r":(?:class|func|mod|meth|attr):`~?([^`]+)`", r"`\1`", text)
    text = re.sub(r"``([^`]+)``", r"`\1`", text)
    blocks = []
    for block in re.split(r"\n\s*\n", text):
        if block.startswith(".. math::"):
            formula = " ".join(textwrap.dedent(block.removeprefix(".. math::")).split())
            blocks.append(f"$$ {formula} $$")
        else:
            blocks.append(" ".join(block.split()))
    return "\n\n".join(blocks)


def picture(gaussian: dict[str, list[float]], discrete: dict[str, list[float]], file: Path) -> None:
    """Error against evaluations, deterministic, stochastic and tokens side by side."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, 3, figsize=(16, 5.5))
    calm = {name: row for name, row in gaussian.items() if name == "default" or not SAMPLERS[name]().stochastic}
    noisy = {name: row for name, row in gaussian.items() if name not in calm}
    titles = ("distance from the true end", "energy distance from exact draws", "total variation of tokens")
    for axis, rows, title in zip(axes, (calm, noisy, discrete), titles, strict=True):
        for number, (name, row) in enumerate(rows.items()):
            width, style = (3, "k-") if name == "default" else (1.2, ["-", "--", ":"][number // 10])
            axis.plot(COUNTS, row, style, marker="o", markersize=3, linewidth=width, label=name)
        axis.set(xscale="log", yscale="log", xlabel="evaluations", title=title)
        axis.set_xticks(COUNTS, [str(n) for n in COUNTS])
        axis.legend(fontsize=7, ncols=2)
    figure.tight_layout()
    file.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(file, dpi=90)


def main(folder: Path) -> None:
    """Measure, write, draw."""
    gaussian, discrete = measure_gaussian(), measure_tokens()
    picture(gaussian, discrete, folder / "images" / "samplers.png")
    (folder / "samplers.md").write_text(page(gaussian, discrete), encoding="utf-8")
    print(_tables(gaussian, discrete))


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "docs"))
