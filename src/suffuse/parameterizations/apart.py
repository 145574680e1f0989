"""Gaussian data under noise that differs along one axis, as between frames that are known and others that are not."""

import torch
from torch import Tensor

LONGEST = 32
"""Elements of an axis up to which its covariances are inverted."""
_LEAST = 1e-8
"""Variance of noise, of that of the data, below which an element counts as known."""


def axis_apart(t: Tensor, like: Tensor) -> int | None:
    """The one axis of space along which times differ, from 2; the first where none does, and None where several do.

    Args:
        t: times, of any prefix shape of ``like`` with a channel axis.
        like: (B, C, ...).

    Example:
        >>> frames = torch.tensor([0.0, 0.5, 0.0]).reshape(1, 1, 3, 1).expand(2, 1, 3, 4)
        >>> axis_apart(frames, torch.zeros(2, 1, 3, 4)), axis_apart(torch.rand(2, 1, 3, 4), torch.zeros(2, 1, 3, 4))
        (2, None)
    """
    axes = [axis for axis in range(2, t.ndim) if not torch.equal(t, t.narrow(axis, 0, 1).expand_as(t))]
    axis = axes[0] if axes else 2
    return axis if len(axes) < 2 and like.shape[axis] <= LONGEST else None


def conditional(seen: Tensor, precision: Tensor, power: Tensor, modes: Tensor) -> tuple[Tensor, Tensor]:
    r"""Mean and variances of Gaussian data of independent series, each of its own spectrum, given a noisy look.

    With a series' covariance :math:`C = M^\top \Lambda M` and noise of precision D, the posterior's covariance is
    :math:`P = (M^\top \Lambda^{-1} M + D)^{-1}` and its mean :math:`P D y`.

    Args:
        seen: (B, ..., n): y, data and noise.
        precision: broadcasts against it: D, which may be infinite.
        power: (..., n): variances of the modes.
        modes: (n, n): a row for each mode.

    Returns:
        Mean, and the diagonal of P, of the shape of y.

    Example:
        >>> one = torch.ones(1, 1)
        >>> conditional(one, 2 * one, 2 * one[0], one)
        (tensor([[0.8000]]), tensor([[0.4000]]))
    """
    y, precision, power, modes = (each.double() for each in (seen, precision, power, modes))
    prior = modes.mT @ (modes / power[..., None])
    known = torch.minimum(precision, 1 / (_LEAST * power.mean(-1, keepdim=True))).expand_as(y)
    covariance = torch.cholesky_inverse(torch.linalg.cholesky(prior + torch.diag_embed(known)))
    mean = (covariance @ (known * y)[..., None]).squeeze(-1)
    return mean.to(seen.dtype), covariance.diagonal(dim1=-2, dim2=-1).to(seen.dtype)
