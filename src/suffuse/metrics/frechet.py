"""The Frechet distance between two clouds of features."""

import torch
from torch import Tensor


def frechet_distance(a: Tensor, b: Tensor) -> float:
    r"""Squared Wasserstein distance between the Gaussians with the two clouds' moments.

    .. math:: \|\mu_a - \mu_b\|^2 +
        \mathrm{tr}\left(\Sigma_a + \Sigma_b - 2 (\Sigma_a^{1/2} \Sigma_b \Sigma_a^{1/2})^{1/2}\right).

    Source: "GANs Trained by a Two Time-Scale Update Rule" (Heusel, Ramsauer, Unterthiner, Nessler, Hochreiter, 2017).

    Args:
        a: (N, D) features.
        b: (M, D) features.

    Example:
        >>> a = torch.randn(100, 4, generator=torch.Generator().manual_seed(0))
        >>> round(frechet_distance(a, a + 1), 6)
        4.0
    """
    a, b = a.double(), b.double()
    root = _root(torch.cov(a.T))
    cross = torch.linalg.eigvalsh(root @ torch.cov(b.T) @ root).clamp(min=0).sqrt().sum()
    spread = torch.cov(a.T).trace() + torch.cov(b.T).trace() - 2 * cross
    return float(((a.mean(0) - b.mean(0)) ** 2).sum() + spread)


def _root(matrix: Tensor) -> Tensor:
    """The symmetric square root."""
    values, vectors = torch.linalg.eigh(matrix)
    return (vectors * values.clamp(min=0).sqrt()) @ vectors.T


def nearest_distance(samples: Tensor, training: Tensor) -> float:
    """Mean Euclidean distance from each sample to the nearest training item: small where a model has memorised.

    Args:
        samples: (N, ...) items.
        training: (M, ...) items.

    Example:
        >>> nearest_distance(torch.zeros(1, 2), torch.tensor([[3.0, 4.0], [6.0, 8.0]]))
        5.0
    """
    return float(torch.cdist(samples.flatten(1), training.flatten(1)).amin(1).mean())
