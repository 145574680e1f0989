"""What every likelihood is: numbers per item with their standard errors; and how they become bits per dimension."""

import math
from dataclasses import dataclass

from torch import Tensor

from suffuse.rng import RandomSource, streams
from suffuse.tree import State, map_leaves, sum_per_item


@dataclass(frozen=True)
class Estimate:
    """A number per item, and how sure it is.

    Args:
        value: (B,) nats, float64.
        standard_error: (B,) of the random numbers drawn; zero where none were.
    """

    value: Tensor
    standard_error: Tensor


def total(values: State) -> Tensor:
    """Sum over each item, in float64."""
    return sum_per_item(map_leaves(Tensor.double, values))


def dequantise(x0: Tensor, quantum: float, rng: RandomSource = None) -> Tensor:
    r"""Values that stand a quantum apart, spread evenly over their cells: :math:`x_0 + q (u - \tfrac12)`.

    Source: "A Note on the Evaluation of Generative Models" (Theis, van den Oord, Bethge, 2016).
    """
    return x0 + (quantum * (streams(rng, x0).fold("dequantise").uniform(x0) - 0.5)).to(x0.dtype)


def bits_per_dimension(log_prob: Tensor, dimensions: int, quantum: float = 1.0) -> Tensor:
    r"""Bits for each element of an item, :math:`-(\log p / D + \log q) / \log 2`.

    Of the log-density of :func:`dequantise`\ d values the mean is at least the bits of the values themselves, since
    :math:`E \log p \le \log E \, p`.

    Args:
        log_prob: (B,) nats of each item.
        dimensions: D, elements of an item.
        quantum: q, distance between neighbouring values; 1 for tokens, which have probabilities.

    Example:
        >>> import torch
        >>> bits_per_dimension(torch.tensor([-math.log(256.0)]), 1)
        tensor([8.])
    """
    return -(log_prob / dimensions + math.log(quantum)) / math.log(2)
