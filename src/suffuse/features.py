"""What a denoiser's network makes of an item on the way to its answer."""

from collections.abc import Sequence
from contextlib import ExitStack

import torch
from torch import Tensor, nn

from suffuse.denoiser import Denoiser
from suffuse.errors import UserError
from suffuse.networks.base import Network
from suffuse.rng import RandomSource, streams
from suffuse.tree import State


@torch.no_grad()
def features(denoiser: Denoiser, x0: State, t: float = 0.1, rng: RandomSource = None, draws: int = 4) -> Tensor:
    r"""Mean activations of the last blocks of a network, :math:`E_{x_t} [f(x_t)]`: (B, D), float32.

    The item is given the noise of time t, several times over; the activations of each block are averaged over the
    draws and over all places, and those of all blocks stand side by side. Nothing is told of the item.

    Source: "Denoising Diffusion Autoencoders are Unified Self-supervised Learners" (Xiang, Yang, Huang, Wang, 2023).

    Args:
        denoiser: whose network is a :class:`~suffuse.networks.base.Network`.
        x0: clean state.
        t: time, in [0, 1]: a little noise shows more of what an item is than none, and much of it nothing.
        rng: source of the noise; an item's features depend on its own stream alone.
        draws: how often noise is drawn.

    Raises:
        UserError: the network has no blocks to listen to, or a number is out of range.

    Example:
        >>> import suffuse as sf
        >>> network = sf.networks.Transformer(1, dimensions=1, width=32, depth=2)
        >>> denoiser = sf.Denoiser(network, sf.Gaussian(sf.schedules.Flow()), sf.parameterizations.EDM(0.5))
        >>> features(denoiser, torch.zeros(3, 1, 8)).shape
        torch.Size([3, 64])
    """
    network = denoiser.network
    if not isinstance(network, Network):
        raise UserError("this model's network has no blocks whose features are known; train one with suffuse train")
    if not 0 <= t <= 1 or draws < 1:
        raise UserError(f"features need a time between 0 and 1 and at least one draw, not {t} and {draws}")
    rng, heard = streams(rng, x0).fold("features"), _Heard(network.feature_axis)
    with ExitStack() as stack:
        for block in network.feature_blocks():
            stack.enter_context(block.register_forward_hook(heard))
        for draw in range(draws):
            denoiser(denoiser.process.corrupt(x0, t, rng.fold(draw)), t)
    blocks = len(heard.means) // draws
    return torch.cat([torch.stack(heard.means[block::blocks]).mean(0) for block in range(blocks)], 1)


class _Heard:
    """A hook that keeps the mean over all places of what a block gives."""

    def __init__(self, axis: int) -> None:
        self._axis, self.means = axis, list[Tensor]()

    def __call__(self, block: nn.Module, seen: Sequence[object], given: Tensor) -> None:
        self.means.append(given.float().movedim(self._axis, 1).flatten(2).mean(2) if given.ndim > 2 else given.float())
