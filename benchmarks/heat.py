"""Heat beside noise alone: the digits of the demo, learned with equal budgets and judged alike.

python benchmarks/heat.py [--images 16000] [--blur 0.5] [--steps 30]
"""

import argparse
import tempfile
from pathlib import Path

import numpy as np
import torch
from sklearn.datasets import load_digits

import suffuse as sf
from suffuse import grids
from suffuse.demos.evaluation import judges, mean_figures, measure
from suffuse.demos.handwritten import source_of, split
from suffuse.recipes.recipe import DataSection, NetworkSection, ProcessSection, Recipe
from suffuse.rng import Streams
from suffuse.samplers import SAMPLERS, Ancestral, Sampler, default
from suffuse.training.config import TrainingConfig

COUNT = 500


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--images", type=int, default=16_000)
    parser.add_argument("--blur", type=float, default=0.5)
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--sets", type=int, default=1, help="samples of 500 that figures are means over")
    options = parser.parse_args()
    torch.set_num_threads(1)
    pixels, labels = map(np.asarray, load_digits(return_X_y=True))
    data = split(np.rint(pixels.reshape(-1, 8, 8) * (255 / 16)).astype(np.uint8), labels)
    panel = judges(data, 40)
    for schedule in ("edm", "heat"):
        with tempfile.TemporaryDirectory() as folder:
            model = sf.train(source_of(data, schedule), recipe(schedule, options), Path(folder) / "run")
        for name, (sampler, times) in ways(model.denoiser, options.steps).items():
            sets = [measure(*drawn(model, sampler, times, 1000 * k), data, panel) for k in range(options.sets)]
            figures = mean_figures(sets)
            print(f"{schedule} {name}: accuracy {figures.accuracy:.3f}, Frechet {figures.frechet:.1f}", flush=True)


def recipe(schedule: str, options: argparse.Namespace) -> Recipe:
    return Recipe(
        data=DataSection(size=8, channels=1, condition=("label",)),
        network=NetworkSection(width=32, multipliers=(1, 2), blocks=1, network_dropout=0.1),
        process=ProcessSection(noise_schedule=schedule, blur=options.blur),
        training=TrainingConfig(learning_rate=3e-3, images=options.images),
    )


def ways(denoiser: sf.Denoiser, steps: int) -> dict[str, tuple[Sampler, torch.Tensor]]:
    _, times = default(denoiser, steps)
    found: dict[str, tuple[Sampler, torch.Tensor]] = {"ddim": (Ancestral(0.0), times), "ddpm": (Ancestral(1.0), times)}
    if isinstance(denoiser.process, sf.Gaussian):
        found["default"] = default(denoiser, steps)
        found["sde2"] = (SAMPLERS["sde2"](), grids.karras(denoiser.process.schedule, steps))
    return found


def drawn(model: sf.Model, sampler: Sampler, times: torch.Tensor, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    labels, rng = torch.arange(COUNT) % 10, Streams.of(seed, range(COUNT))
    x1 = model.denoiser.process.prior(torch.empty(COUNT, 1, 8, 8), rng)
    x0 = sf.sample(model.denoiser, sampler, x1, times, {"label": labels}, rng)
    assert isinstance(x0, torch.Tensor)
    return x0.clamp(-1, 1), labels


if __name__ == "__main__":
    main()
