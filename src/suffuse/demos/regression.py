"""What a diffusion model is compared with: the same network, told all that is given, that answers at once."""

from pathlib import Path

import torch
from torch import Tensor

from suffuse import learn
from suffuse.data.base import Source
from suffuse.data.loader import Batches
from suffuse.grids import TimeLaw
from suffuse.model import Model
from suffuse.objectives import Objective, UniformWeight
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


def regression(source: Source, like: Model, run: Path) -> Model:
    """The same network with fresh weights, trained on as many of the same data by squared error or cross-entropy alone.

    Args:
        source: what the other model was trained on.
        like: the other model, which was told something.
        run: folder to train in.
    """
    recipe = like.recipe
    kind = KINDS[recipe.data.kind or like.codec.kind]
    with torch.random.fork_rng([]):
        torch.manual_seed(recipe.training.seed)
        model = Model(like.codec, like.conditions, recipe, like.origin)
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
