"""Networks of sounds: over time alone, they see all frequencies of a moment at once and which moments are clean."""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from suffuse.networks.base import Network
from suffuse.networks.conditions import Condition
from suffuse.networks.layers import known_parts
from suffuse.spectra import signal, spectrum

_FLOOR, _SCALE = 1e-4, 0.25
"""Least power, and the factor of its logarithm, that a network is shown."""
MARKS = 8
"""Parts of a hop that are told apart by whether they are clean."""


class Banded(Network):
    """Another network, over the last axis of spectra (B, 2 C, h, M), whose channels are all numbers of a frame.

    No frequency is like another, so that nothing is lost where the network knows them apart; and a layer costs a
    fraction of one over time and frequency. The network is shown real and imaginary parts, the logarithms of powers and
    which frames are clean. It answers with a gain for each complex number, which multiplies it, and one to be
    added: that silence is silence is so learned at once.

    Args:
        network: (B, 3 C h + 1, M) to (B, 3 C h, M).

    Example:
        >>> from suffuse.networks import UNet
        >>> network = Banded(UNet(13, dimensions=1, width=8, multipliers=(1, 2), out_channels=12))
        >>> network(torch.zeros(3, 2, 4, 8), torch.zeros(3)).shape
        torch.Size([3, 2, 4, 8])
    """

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor, level: Tensor, condition: Condition = None) -> Any:
        """Apply the network.

        Args:
            x: state (B, 2 C, h, M), real parts before imaginary ones.
            level: log-SNRs of any prefix of the shape of x: the least of an item is what the network is told, and an
                element with a larger one is clean.
            condition: what the network is told.
        """
        items, known = known_parts(level, x)
        return _answered(self.network, x, known.flatten(1, 2).amin(1, keepdim=True), items, condition)

    def feature_blocks(self) -> Sequence[nn.Module]:
        """Those of the network."""
        return self.network.feature_blocks()


class Spectral(Network):
    """The same of samples (B, C, T): their spectrum is what the network sees and answers, and its signal the answer.

    So what is known, noised or measured is samples, and what is learned are spectra.

    Args:
        network: (B, 3 C h + 16 C, M) to (B, 3 C h, M), for M frames of T samples.
        hop: h, of a multiple of 8 samples.

    Example:
        >>> from suffuse.networks import UNet
        >>> network = Spectral(UNet(40, dimensions=1, width=8, multipliers=(1, 2), out_channels=24), hop=8)
        >>> network(torch.zeros(3, 1, 37), torch.zeros(3)).shape
        torch.Size([3, 1, 37])
    """

    def __init__(self, network: Network, hop: int) -> None:
        super().__init__()
        self.network, self.hop = network, hop

    def forward(self, x: Tensor, level: Tensor, condition: Condition = None) -> Any:
        """Apply the network.

        Args:
            x: state (B, C, T).
            level: as for :class:`Banded`.
            condition: what the network is told.
        """
        items, known = known_parts(level, x)
        seen = spectrum(x, self.hop)
        answer = _answered(self.network, seen, self._marks(known, seen.shape[-1]), items, condition)
        return signal(answer, self.hop, x.shape[-1])

    def _marks(self, known: Tensor, frames: int) -> Tensor:
        """(B, 16 C, M): how much is clean of each part of the two hops that a frame sees."""
        batch, channels, length = known.shape
        padded = F.pad(known, (self.hop, frames * self.hop - length))
        parts = padded.reshape(batch, channels, frames + 1, MARKS, -1).mean(-1).transpose(2, 3)
        return torch.cat([parts[..., :-1], parts[..., 1:]], 2).flatten(1, 2)

    def feature_blocks(self) -> Sequence[nn.Module]:
        """Those of the network."""
        return self.network.feature_blocks()


def _answered(network: Network, x: Tensor, marks: Tensor, level: Tensor, condition: Condition) -> Tensor:
    """A gain for each complex number and one to be added, of spectra (B, 2 C, h, M)."""
    moments = x.flatten(1, 2)
    real, imaginary = moments.chunk(2, 1)
    power = _SCALE * (real.square() + imaginary.square() + _FLOOR).log()
    gain, *added = network(torch.cat([moments, power, marks], 1), level, condition).chunk(3, 1)
    return (torch.cat([gain, gain], 1) * moments + torch.cat(added, 1)).view_as(x)
