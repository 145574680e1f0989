"""What is lost when a picture is kept as JPEG."""

import math

import torch
from torch import Tensor

from suffuse.errors import UserError
from suffuse.operators.base import Operator
from suffuse.operators.nonlinear import straight_through

_SIDE = 8
_LUMA = (
    (16, 11, 10, 16, 24, 40, 51, 61),
    (12, 12, 14, 19, 26, 58, 60, 55),
    (14, 13, 16, 24, 40, 57, 69, 56),
    (14, 17, 22, 29, 51, 87, 80, 62),
    (18, 22, 37, 56, 68, 109, 103, 77),
    (24, 35, 55, 64, 81, 104, 113, 92),
    (49, 64, 78, 87, 103, 121, 120, 101),
    (72, 92, 95, 98, 112, 100, 103, 99),
)
_CHROMA = (
    (17, 18, 24, 47, 99, 99, 99, 99),
    (18, 21, 26, 66, 99, 99, 99, 99),
    (24, 26, 56, 99, 99, 99, 99, 99),
    (47, 66, 99, 99, 99, 99, 99, 99),
    *((99,) * 8,) * 4,
)
# Brightness, blueness and redness of BT.601, each over the range of a colour.
_FROM_COLOURS = (
    (0.299, 0.587, 0.114),
    (-0.299 / 1.772, -0.587 / 1.772, 0.5),
    (0.5, -0.587 / 1.402, -0.114 / 1.402),
)


class JPEG(Operator):
    """A picture after it was kept as JPEG: the loss of the quantised cosines of its blocks.

    What comes out is what a decoder gives, in whole levels of 256, with colours at full resolution (4:4:4). The
    gradient is that of the clipping to [-1, 1] alone, as if nothing were rounded.

    Source: Recommendation ITU-T T.81 (1992), with the example tables of its annex K, scaled by the quality as by the
    library of the Independent JPEG Group.

    Args:
        quality: 1 to 100.

    Raises:
        UserError: the quality is outside, or the states are no pictures of 1 or 3 channels, (B, C, H, W).

    Example:
        >>> JPEG(50)(torch.linspace(-1, 1, 64).reshape(1, 1, 8, 8))[0, 0, 0, :2] * 127.5 + 127.5  # of 0 and 4
        tensor([2., 4.])
    """

    def __init__(self, quality: int) -> None:
        if not 1 <= quality <= 100:
            raise UserError(f"the quality of a JPEG is 1 to 100, and not {quality}")
        percent = 5000 // quality if quality < 50 else 200 - 2 * quality
        tables = torch.tensor([_LUMA, _CHROMA, _CHROMA])
        self._tables = ((tables * percent + 50) // 100).clamp(1, 255).double()
        self._colours = torch.tensor(_FROM_COLOURS, dtype=torch.float64)
        self._cosines = _cosines()

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        if x.ndim != 4 or x.shape[1] not in (1, 3):
            raise UserError(f"JPEG keeps pictures of 1 or 3 channels, (C, H, W), and these are {tuple(x.shape[1:])}")
        inside = x.clamp(-1, 1)
        return straight_through(inside, self._kept(inside.detach()))

    def _kept(self, x: Tensor) -> Tensor:
        """Whole levels of 0 to 255 go in and come out, and whole levels are between."""
        channels, height, width = x.shape[1:]
        middle = x.new_tensor([128.0, 0.0, 0.0])[:channels, None, None]
        colours = self._colours.to(x) if channels == 3 else x.new_ones(1, 1)
        levels = (_mixed(((x + 1) * 127.5).round(), colours) - middle).round()
        padded = torch.nn.functional.pad(levels, (0, -width % _SIDE, 0, -height % _SIDE), mode="replicate")
        blocks = padded.unflatten(3, (-1, _SIDE)).unflatten(2, (-1, _SIDE)).transpose(3, 4)
        cosines, tables = self._cosines.to(x), self._tables[:channels, None, None].to(x)
        kept = cosines.T @ ((cosines @ blocks @ cosines.T / tables).round() * tables) @ cosines
        levels = kept.transpose(3, 4).flatten(4, 5).flatten(2, 3)[..., :height, :width]
        levels = _mixed(levels.round().clamp(-128, 127) + middle, colours.inverse())
        return levels.round().clamp(0, 255) / 127.5 - 1


def _mixed(x: Tensor, matrix: Tensor) -> Tensor:
    """Other colours of the same pictures."""
    return torch.einsum("ij,bjhw->bihw", matrix, x)


def _cosines() -> Tensor:
    """The orthonormal cosine transform of 8 numbers."""
    k = torch.arange(_SIDE, dtype=torch.float64)
    matrix = torch.cos(math.pi / _SIDE * (k + 0.5) * k[:, None]) * math.sqrt(2 / _SIDE)
    matrix[0] /= math.sqrt(2)
    return matrix
