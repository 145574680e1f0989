"""Few weights for each number that is measured: tomography, sensors."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from suffuse.errors import UserError
from suffuse.operators.base import Linear
from suffuse.operators.constants import Constant


class _Sparse:
    """A sparse matrix (m, n) for the n points of the space axes, the same for every channel."""

    def __init__(self, rows: Tensor, columns: Tensor, weights: Tensor, size: tuple[int, int]) -> None:
        def matrix(where: Tensor, of: tuple[int, int]) -> Constant:
            return Constant(torch.sparse_coo_tensor(where, weights, of, check_invariants=True).coalesce())

        self.matrix = matrix(torch.stack([rows, columns]), size)
        self.transposed = matrix(torch.stack([columns, rows]), (size[1], size[0]))

    def forward(self, x: Tensor, to: Sequence[int]) -> Tensor:
        """Of (B, C, *space), as (B, C, *to)."""
        return _times(self.matrix.like(x), x, to)

    def adjoint(self, y: Tensor, to: Sequence[int]) -> Tensor:
        """Of (B, C, ...), as (B, C, *to)."""
        return _times(self.transposed.like(y), y, to)


def _times(matrix: Tensor, x: Tensor, to: Sequence[int]) -> Tensor:
    return torch.sparse.mm(matrix, x.flatten(2).flatten(0, 1).T).T.reshape(*x.shape[:2], *to)


class Radon(Linear):
    r"""Sums along parallel rays through square pictures, at some angles: what a CT scanner measures.

    .. math:: y_{\theta, u} = \int x(u \cos\theta - v \sin\theta, u \sin\theta + v \cos\theta) \, dv,

    in units of a pixel, by linear interpolation between the two pixels that a ray passes between in each row, or in
    each column. The last axis of y is u, with as many detectors as the picture has pixels to a side. Measurements are
    (B, C, angles, size).

    Source: "An Improved Algorithm for Reprojecting Rays through Pixel Images" (Joseph, 1982).

    Args:
        size: of the side of a picture, in pixels.
        angles: in degrees; at 0 the rays go along the columns, and y has the sums of them.

    Raises:
        UserError: there are no angles, or the pictures are of another size.

    Example:
        >>> Radon(2, [0.0, 90.0])(torch.tensor([[[[1.0, 2.0], [3.0, 4.0]]]]))
        tensor([[[[4., 6.],
                  [7., 3.]]]])
    """

    def __init__(self, size: int, angles: Sequence[float] | Tensor) -> None:
        turns = torch.deg2rad(torch.as_tensor(angles, dtype=torch.float64).flatten())
        if len(turns) == 0:
            raise UserError("sums along rays need at least one angle")
        self.size, self.angles = size, len(turns)
        rays = [_rays(size, float(turn)) for turn in turns]
        columns, weights = (torch.cat([ray[which].flatten() for ray in rays]) for which in (0, 1))
        rows = torch.arange(self.angles * size).repeat_interleave(2 * size)
        inside = weights > 0
        of = (self.angles * size, size * size)
        self._sparse = _Sparse(rows[inside], columns[inside], weights[inside], of)

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        if tuple(x.shape[2:]) != (self.size, self.size):
            raise UserError(
                f"the rays are for pictures of {self.size} x {self.size}, and the space axes of the states are "
                f"{tuple(x.shape[2:])}"
            )
        return self._sparse.forward(x, (self.angles, self.size))

    def adjoint(self, y: Tensor, at: Tensor | None = None) -> Tensor:
        """See the class."""
        return self._sparse.adjoint(y, (self.size, self.size))


def _rays(size: int, turn: float) -> tuple[Tensor, Tensor]:
    """Pixels and their weights, (detectors, 2 x steps) each, of the rays at one angle; weight 0 outside the picture."""
    cos, sin = math.cos(turn), math.sin(turn)
    middle = (size - 1) / 2
    u = (torch.arange(size, dtype=torch.float64) - middle)[:, None]
    step = torch.arange(size, dtype=torch.float64)  # along the axis that the ray follows more closely
    steep = abs(cos) >= abs(sin)
    # On the ray, right * cos + up * sin = u; rows count downwards.
    if steep:
        place = (u + (step - middle) * sin) / cos + middle  # the column, in every row
    else:
        place = middle - (u - (step - middle) * cos) / sin  # the row, in every column
    # Angles such as 90 degrees are meant to meet pixels, not to miss them by a rounding.
    place = torch.where((place - place.round()).abs() < 1e-9, place.round(), place)
    before = place.floor()
    places = torch.cat([before, before + 1], 1)
    weights = torch.cat([1 - (place - before), place - before], 1) / max(abs(cos), abs(sin))
    weights = torch.where((places >= 0) & (places < size), weights, 0)
    across, along = places.clamp(0, size - 1).long(), step.long().repeat(2)
    return (along * size + across if steep else across * size + along), weights


class Sensors(Linear):
    """Values at points of the space axes, between whose elements they are interpolated linearly.

    States are (B, C, *size), measurements (B, C, m).

    Args:
        positions: (m, axes), or (m,) for one axis, in elements: from 0 at the first of an axis to its length less 1.
        size: lengths of the space axes.

    Raises:
        UserError: a point lies outside, or has another number of coordinates than there are axes.

    Example:
        >>> Sensors(torch.tensor([0.0, 1.5]), (4,))(torch.tensor([[[1.0, 2.0, 4.0, 8.0]]]))
        tensor([[[1., 3.]]])
    """

    def __init__(self, positions: Tensor, size: Sequence[int]) -> None:
        self.size = tuple(size)
        points = positions.double().reshape(len(positions), -1)
        last = torch.tensor(self.size, dtype=torch.float64) - 1
        if points.shape[1] != len(last):
            raise UserError(f"sensors among {len(last)} axes have as many coordinates, and not {points.shape[1]}")
        if not bool(((points >= 0) & (points <= last)).all()):
            raise UserError(f"sensors lie between 0 and the last element of every axis, here {last.int().tolist()}")
        before = points.floor().minimum((last - 1).clamp(min=0))
        part = points - before
        columns, weights = torch.zeros(len(points), 1), torch.ones(len(points), 1, dtype=torch.float64)
        for axis, n in enumerate(self.size):
            pair = torch.stack([before[:, axis], (before[:, axis] + 1).clamp(max=n - 1)], 1)
            share = torch.stack([1 - part[:, axis], part[:, axis]], 1)
            columns = (columns[:, :, None] * n + pair[:, None]).flatten(1)
            weights = (weights[:, :, None] * share[:, None]).flatten(1)
        rows = torch.arange(len(points)).repeat_interleave(columns.shape[1])
        of = (len(points), math.prod(self.size))
        self._sparse = _Sparse(rows, columns.flatten().long(), weights.flatten(), of)
        self._m = len(points)

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        if tuple(x.shape[2:]) != self.size:
            raise UserError(
                f"the sensors lie in a space of {self.size}, and that of the states is {tuple(x.shape[2:])}"
            )
        return self._sparse.forward(x, (self._m,))

    def adjoint(self, y: Tensor, at: Tensor | None = None) -> Tensor:
        """See the class."""
        return self._sparse.adjoint(y, self.size)
