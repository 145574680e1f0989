"""Networks that answer at once: the mean, or the odds, of what a diffusion model draws, by what it is told alone."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from suffuse.grids import TimeLaw
from suffuse.model import Model
from suffuse.networks.unseen import Unseen
from suffuse.objectives import Objective, UniformWeight
from suffuse.processes import Gaussian
from suffuse.training.batches import Data
from suffuse.training.config import TrainingConfig
from suffuse.training.trainer import train as fit


class AtTheEnd(TimeLaw):
    """Always t = 1, where all is noise, hidden, or the source: what is learned is the mean, or the odds, of x_0."""

    def quantile(self, u: Tensor) -> Tensor:
        """One."""
        return torch.ones_like(u)

    def density(self, t: Tensor) -> Tensor:
        """One, as of a law with even times."""
        return torch.ones_like(t)


def regress(like: Model, data: Data, config: TrainingConfig, run: Path) -> Model:
    """The network of a model with fresh weights, trained by squared error or cross-entropy alone.

    Of a Gaussian process it sees no noise, and what it gives is the mean itself.

    Args:
        like: the model, which is told something.
        data: what the network is shown.
        config: how it is trained.
        run: folder to train in; a training that was stopped there goes on.
    """
    recipe, blind = like.recipe, isinstance(like.denoiser.process, Gaussian)
    if blind:
        process = recipe.process.model_copy(update={"parameterization": "data"})
        objective = recipe.objective.model_copy(update={"regression": 0.0})
        recipe = recipe.model_copy(update={"process": process, "objective": objective})
    with torch.random.fork_rng([]):
        torch.manual_seed(config.seed)
        model = Model(like.codec, like.conditions, recipe, like.origin)
    if blind:
        network: Any = model.denoiser.network
        model.denoiser.network = Unseen(network)
    run.mkdir(parents=True, exist_ok=True)
    fit(
        model.denoiser,
        Objective(AtTheEnd(), UniformWeight()),
        data,
        config,
        run,
        save_model=lambda folder, weights, progress: model.write(folder, weights),
    )
    return model
