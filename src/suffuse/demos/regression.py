"""What a diffusion model is compared with: the same network, told all that is given, that answers at once."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from suffuse import learn
from suffuse.data.base import Source
from suffuse.data.loader import Batches
from suffuse.grids import TimeLaw
from suffuse.model import Model
from suffuse.objectives import Objective, UniformWeight
from suffuse.processes import Gaussian
from suffuse.recipes.registry import KINDS
from suffuse.training.trainer import train as fit


class AtTheEnd(TimeLaw):
    """Always t = 1, where all is noise, hidden, or the source: what is learned is the mean, or the odds, of x_0."""

    def quantile(self, u: Tensor) -> Tensor:
        """One."""
        return torch.ones_like(u)

    def density(self, t: Tensor) -> Tensor:
        """One, as of a law with even times."""
        return torch.ones_like(t)


class _Unseen(nn.Module):
    """A network that is shown nothing of the state, and so answers by what it is told alone."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor, level: Tensor, condition: Any = None) -> Any:
        return self.network(torch.zeros_like(x), level, condition)


def regression(source: Source, like: Model, run: Path) -> Model:
    """The same network with fresh weights, trained on as many of the same data by squared error or cross-entropy alone.

    Of a Gaussian process it sees no noise, and what it gives is the mean itself.

    Args:
        source: what the other model was trained on.
        like: the other model, which was told something.
        run: folder to train in.
    """
    recipe, blind = like.recipe, isinstance(like.denoiser.process, Gaussian)
    if blind:
        recipe = recipe.model_copy(update={"process": recipe.process.model_copy(update={"parameterization": "data"})})
    kind = KINDS[recipe.data.kind or like.codec.kind]
    with torch.random.fork_rng([]):
        torch.manual_seed(recipe.training.seed)
        model = Model(like.codec, like.conditions, recipe, like.origin)
    if blind:
        network: Any = model.denoiser.network
        model.denoiser.network = _Unseen(network)
    told = {name: (name, like.conditions[name]) for name in recipe.data.condition}
    batches = Batches(source, kind.packer(recipe, like.codec), told)
    data = learn.TrainingData(batches, recipe, kind)
    run.mkdir(parents=True, exist_ok=True)
    fit(
        model.denoiser,
        Objective(AtTheEnd(), UniformWeight()),
        data,
        recipe.training,
        run,
        save_model=lambda folder, weights, progress: model.write(folder, weights),
    )
    return model
