"""How much memory a training will need, before it starts."""

import torch
from torch import Tensor

from suffuse.denoiser import Denoiser
from suffuse.training.config import TrainingConfig
from suffuse.tree import Condition

_COPIES = 4
"""Of each parameter beside its averages: itself, its gradient, and the two moments of AdamW."""


def needed(denoiser: Denoiser, x0: Tensor, condition: Condition, config: TrainingConfig) -> tuple[int, int]:
    """Bytes for the weights and all that belongs to them, and for what a step keeps of its batch until it is done.

    What is kept is found by one pass of one item through the network; what layers need for a moment comes on top.

    Args:
        denoiser: to be trained.
        x0: (1, ...) a clean item.
        condition: what it is told.
        config: says how many items a step has, and in how many parts it sees them.

    Example:
        >>> import suffuse as sf
        >>> from suffuse.networks import UNet
        >>> from suffuse.parameterizations import EDM
        >>> network = UNet(1, width=8, multipliers=(1, 2))
        >>> denoiser = sf.Denoiser(network, sf.Gaussian(sf.schedules.Flow()), EDM(0.5))
        >>> small, large = (needed(denoiser, torch.zeros(1, 1, n, n), None, TrainingConfig())[1] for n in (16, 32))
        >>> round(large / small)
        4
    """
    own = {parameter.untyped_storage().data_ptr() for parameter in denoiser.parameters()}
    kept: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.enable_grad(), torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        posterior = denoiser(x0, torch.full((1,), 0.5), condition)  # held, so that no storage is used twice
    del posterior
    weights = sum(parameter.nbytes for parameter in denoiser.parameters()) * (_COPIES + len(config.ema))
    items = config.batch // config.accumulate
    return weights, items * sum(kept.values()) // (2 if config.precision == "bf16" else 1)


def said(weights: int, batch: int, config: TrainingConfig) -> str:
    """The same in a sentence.

    Example:
        >>> said(2_000_000, 3_200_000_000, TrainingConfig(batch=8))
        'training needs about 3.2 GB of memory: 2 MB for weights and 3.2 GB for 8 items at once (--batch, --accumulate)'
    """
    items = config.batch // config.accumulate
    return (f"training needs about {_size(weights + batch)} of memory: {_size(weights)} for weights and "
            f"{_size(batch)} for {items} items at once (--batch, --accumulate)")  # fmt: skip


def _size(count: int) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{max(count / 1e6, 1):.0f} MB"
