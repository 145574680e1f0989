"""What a diffusion model is compared with: the same network, told all that is given, that answers at once."""

from pathlib import Path

from suffuse import learn
from suffuse.data.base import Source
from suffuse.data.loader import Batches
from suffuse.model import Model
from suffuse.recipes.registry import KINDS
from suffuse.regression import regress


def regression(source: Source, like: Model, run: Path) -> Model:
    """The same network with fresh weights, trained on as many of the same data, see :func:`suffuse.regression.regress`.

    Args:
        source: what the other model was trained on.
        like: the other model, which was told something.
        run: folder to train in.
    """
    recipe, kind = like.recipe, KINDS[like.recipe.data.kind or like.codec.kind]
    codec = kind.codec(recipe, source, source.scan())  # the model's own may be in units of what a regression leaves
    told = {name: (name, like.conditions[name]) for name in recipe.data.condition}
    batches = Batches(source, kind.packer(recipe, codec), told)
    beginning = Model(codec, like.conditions, recipe, like.origin)
    return regress(beginning, learn.TrainingData(batches, recipe, kind), recipe.training, run)
