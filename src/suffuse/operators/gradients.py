"""Symmetric linear equations that are known by what they do to a vector."""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from suffuse.tree import expand, sum_per_item

ITERATIONS = 500


def conjugate_gradients(
    apply: Callable[[Tensor], Tensor], y: Tensor, iterations: int = ITERATIONS, tolerance: float | None = None
) -> Tensor:
    r"""Solve :math:`M x = y` for every item, where M is symmetric and positive (semi-)definite.

    Every item stops for itself, when :math:`|y - M x| \le \text{tolerance} \cdot |y|`, or when its rounding leaves
    nothing to gain. Where M is singular and y is in its range, x is the solution of least norm.

    Source: "Methods of Conjugate Gradients for Solving Linear Systems" (Hestenes, Stiefel, 1952).

    Args:
        apply: M of a batch (B, ...), for each item by itself.
        y: (B, ...) right-hand sides.
        iterations: at most so many calls of ``apply``.
        tolerance: relative, in (0, 1); None means what the type of y can hold, 2e-12 in float64 and 6e-6 in float32.

    Returns:
        (B, ...) solutions.

    Example:
        >>> matrix = torch.tensor([[2.0, 1.0], [1.0, 3.0]])
        >>> x = conjugate_gradients(lambda x: x @ matrix, torch.tensor([[3.0, 4.0]]))
        >>> torch.allclose(x, torch.ones(1, 2))
        True
    """
    x = torch.zeros_like(y)
    for step, direction in conjugate_directions(apply, y, iterations, tolerance):
        x = x + expand(step, y) * direction
    return x


def conjugate_directions(
    apply: Callable[[Tensor], Tensor],
    y: Tensor,
    iterations: int = ITERATIONS,
    tolerance: float | None = None,
    precondition: Callable[[Tensor], Tensor] = lambda residual: residual,
) -> Iterator[tuple[Tensor, Tensor]]:
    r"""The steps of :func:`conjugate_gradients`, one by one: the solution is the sum of steps times directions.

    For those who need the image of the solution under what ``apply`` is made of: it is the sum of steps times the
    images, which they have seen.

    Args:
        apply: M of a batch (B, ...), for each item by itself; called once before each step, with its direction.
        y: (B, ...) right-hand sides.
        iterations: at most so many steps.
        tolerance: as there; with a preconditioner in its norm.
        precondition: an approximate inverse of M, symmetric and positive definite.

    Yields:
        (B,) steps, 0 where an item is done, and (B, ...) directions.

    Example:
        >>> matrix = torch.diag(torch.tensor([2.0, 4.0]))
        >>> [(step, _)] = conjugate_directions(lambda x: x @ matrix, torch.tensor([[2.0, 0.0]]))
        >>> step
        tensor([0.5000])
    """
    relative: float = torch.finfo(y.dtype).eps ** 0.75 if tolerance is None else tolerance
    residual, direction = y, precondition(y)
    size = sum_per_item(y * direction)
    enough = relative**2 * size
    for _ in range(iterations):
        if not bool((size > enough).any()):
            break
        image = apply(direction)
        curvature = sum_per_item(direction * image)
        going = (size > enough) & (curvature > 0)
        step = torch.where(going, size / torch.where(going, curvature, 1), 0)
        yield step, direction
        residual = residual - expand(step, y) * image
        better = precondition(residual)
        # An item that has no curvature left is done, whatever its residual.
        reached = torch.where(going, sum_per_item(residual * better), 0)
        ratio = torch.where(going, reached / torch.where(going, size, 1), 0)
        direction, size = better + expand(ratio, y) * direction, reached
