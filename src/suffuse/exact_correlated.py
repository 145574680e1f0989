"""Mixtures of Gaussians with full covariances: what a linear measurement leaves of one is another."""

import math

import torch
from torch import Tensor

from suffuse.denoiser import Denoiser
from suffuse.posteriors import Normal, sample_categorical
from suffuse.processes import Gaussian, Time
from suffuse.rng import RandomSource, streams
from suffuse.tree import Condition


class Correlated:
    r"""A mixture of Gaussians with full covariances, :math:`\sum_k w_k N(m_k, C_k)`: the truth for inverse problems.

    It is closed under linear measurements, see :meth:`given`. States are vectors, (B, d).

    Args:
        means: (K, d) centres.
        covariances: (K, d, d), symmetric and without a negative eigenvalue.
        weights: (K,) weights; None means all alike. They are normalised.

    Example:
        >>> law = Correlated(torch.zeros(1, 2), torch.tensor([[[1.0, 0.8], [0.8, 1.0]]]))
        >>> law.given(torch.tensor([[1.0, 0.0]]), torch.tensor([1.0]), noise=0.0).mean
        tensor([1.0000, 0.8000])
    """

    def __init__(self, means: Tensor, covariances: Tensor, weights: Tensor | None = None) -> None:
        self.means, self.covariances = means, covariances
        weights = torch.ones(len(means)) if weights is None else torch.as_tensor(weights)
        self.weights = weights.to(means.dtype) / weights.sum()
        variances, self._axes = torch.linalg.eigh(covariances)
        self._variances = variances.clamp(min=0.0)

    @property
    def mean(self) -> Tensor:
        """(d,)."""
        return self.weights @ self.means

    @property
    def covariance(self) -> Tensor:
        """(d, d), within the components and between them."""
        centred = self.means - self.mean
        between = centred[:, :, None] * centred[:, None, :]
        return torch.einsum("k,kij->ij", self.weights, self.covariances + between)

    @property
    def std(self) -> float:
        """Deviation of an element of the data, over all elements."""
        return float(self.covariance.diagonal().mean().sqrt())

    def sample(self, n: int, rng: RandomSource = None) -> Tensor:
        """N independent draws, (n, d)."""
        like = self.means.new_empty(n, self.means.shape[1])
        rng = streams(rng, like)
        k = sample_categorical(self.weights.expand(n, -1), rng.fold("component"))
        along = self._variances[k].sqrt() * rng.fold("posterior").normal(like)
        return self.means[k] + torch.einsum("nij,nj->ni", self._axes[k], along)

    def log_prob(self, x: Tensor) -> Tensor:
        """Log-density of each item, (B,), in nats."""
        _, logits = self._along(x, *x.new_tensor([1.0, 0.0]))
        return logits.logsumexp(1) - x.shape[1] * math.log(2 * math.pi) / 2

    def marginal(self, process: Gaussian, t: float) -> "Correlated":
        """The law of x_t."""
        alpha_t, sigma_t = process.coordinates(t, self.means)
        noise = sigma_t**2 * torch.eye(self.means.shape[1]).to(self.means)
        return Correlated(alpha_t * self.means, alpha_t**2 * self.covariances + noise, self.weights)

    def given(self, matrix: Tensor, y: Tensor, noise: float) -> "Correlated":
        r"""The law of x_0 given one :math:`y = A x_0 + N(0, \text{noise}^2)`.

        .. math:: C_k' = C_k - G_k A C_k, \quad m_k' = m_k + G_k (y - A m_k), \quad G_k = C_k A^\top S_k^{+}, \quad
            w_k' \propto w_k N(y; A m_k, S_k), \quad S_k = A C_k A^\top + \text{noise}^2.

        Args:
            matrix: (m, d) A.
            y: (m,) the measurement.
            noise: deviation of its noise, in [0, inf).
        """
        spread = matrix @ self.covariances @ matrix.T + noise**2 * torch.eye(len(matrix)).to(matrix)
        values, axes = torch.linalg.eigh(spread)
        seen = values > 1e-12 * values.amax()  # directions that are not measured at all say nothing
        inverse = torch.where(seen, 1 / values, 0.0)
        gain = self.covariances @ matrix.T @ (axes * inverse[:, None, :]) @ axes.mT
        residual = y - self.means @ matrix.T
        square = (inverse * torch.einsum("kji,kj->ki", axes, residual) ** 2).sum(1)
        logits = self.weights.log() - (square - inverse.where(seen, 1.0).log().sum(1)) / 2
        left = self.covariances - gain @ matrix @ self.covariances
        means = self.means + torch.einsum("kij,kj->ki", gain, residual)
        return Correlated(means, (left + left.mT) / 2, logits.softmax(0))

    def denoiser(self, process: Gaussian) -> Denoiser:
        """The denoiser with the exact posterior mean, differentiable in x_t."""

        def posterior(x_t: Tensor, t: Time, condition: Condition) -> Normal:
            del condition
            alpha_t, sigma_t = process.coordinates(t, x_t)
            along, logits = self._along(x_t, alpha_t, sigma_t)
            variances = self._variances.to(x_t)
            share = alpha_t[..., None] * variances / (alpha_t[..., None] ** 2 * variances + sigma_t[..., None] ** 2)
            means = self.means.to(x_t) + torch.einsum("kij,bkj->bki", self._axes.to(x_t), share * along)
            return Normal(torch.einsum("bk,bki->bi", logits.softmax(1), means))

        return Denoiser.from_function(process, posterior, self.std, self.means.shape[1:])

    def _along(self, x: Tensor, a: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor]:
        """For x = a x_0 + N(0, sigma^2): its place along the axes of each component, and log-weights but for 2 pi."""
        residual = x[:, None] - a[..., None] * self.means.to(x)
        along = torch.einsum("kji,bkj->bki", self._axes.to(x), residual)
        spread = a[..., None] ** 2 * self._variances.to(x) + sigma[..., None] ** 2
        return along, self.weights.log().to(x) - (along**2 / spread + spread.log()).sum(2) / 2
