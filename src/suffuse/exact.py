"""Distributions whose denoiser is known in closed form: the truth that tests and benchmarks stand on."""

from collections.abc import Mapping
from typing import Any, Protocol

import torch
from torch import Tensor

from suffuse.denoiser import Denoiser
from suffuse.errors import UserError
from suffuse.exact_correlated import Correlated as Correlated
from suffuse.posteriors import Categorical, Joint, Mixture, Posterior, Rotated, sample_categorical
from suffuse.processes import Bridge, Discrete, Gaussian, Heat, Process, Product, Time
from suffuse.processes.base import as_time
from suffuse.rng import RandomSource, Streams, streams
from suffuse.tree import Condition, State, expand, presence


class Law(Protocol):
    """What an exact distribution can do."""

    def denoiser(self, process: Any) -> Denoiser:
        """The denoiser whose posterior is p(x_0 | x_t)."""
        ...

    def sample(self, n: int, rng: RandomSource = None) -> Any:
        """N independent draws."""
        ...

    def log_prob(self, x: Any) -> Tensor:
        """Log-density of each item, (B,), in nats."""
        ...


class GaussianMixture:
    r"""A mixture of Gaussians with diagonal covariance, in any dimension:
    :math:`\sum_k w_k N(m_k, \mathrm{diag}(s_k^2))`.

    Its noised marginals, scores, posteriors and likelihoods are mixtures again, for every Gaussian process and for
    bridges from an independent Gaussian source; and for heat where the deviations of each component are all alike, so
    that it looks the same in every orthonormal basis.

    Args:
        means: (K, ...) centres.
        stds: (K,) or (K, ...) deviations, positive.
        weights: (K,) weights; None means all alike. They are normalised.

    Example:
        >>> import suffuse as sf
        >>> law = sf.exact.GaussianMixture(torch.tensor([[-1.0], [1.0]]), torch.tensor([0.1, 0.1]))
        >>> denoiser = law.denoiser(sf.Gaussian(sf.schedules.Flow()))
        >>> denoiser(torch.tensor([[0.0]]), 1.0).mean
        tensor([[0.]])
    """

    def __init__(self, means: Tensor, stds: Tensor, weights: Tensor | None = None) -> None:
        self.means = torch.as_tensor(means)
        stds = torch.as_tensor(stds, dtype=self.means.dtype)
        stds = stds.reshape(stds.shape + (1,) * (self.means.ndim - stds.ndim))
        self.variances = stds.expand_as(self.means) ** 2
        weights = torch.ones(len(self.means)) if weights is None else torch.as_tensor(weights)
        weights = weights.to(self.means.dtype)
        self.weights = weights / weights.sum()

    def sample(self, n: int, rng: RandomSource = None) -> Tensor:
        """N independent draws, (n, ...)."""
        like = torch.empty((n, *self.means.shape[1:]), dtype=self.means.dtype)
        return self._as_posterior(n).sample(streams(rng, like))

    def log_prob(self, x: Tensor) -> Tensor:
        """Log-density of each item, (B,)."""
        return self._as_posterior(len(x)).log_prob(x.to(self.means.dtype))

    def _as_posterior(self, n: int) -> Mixture:
        shape = (n, *self.means.shape)
        return Mixture(self.weights.expand(n, -1), self.means.expand(shape), self.variances.expand(shape))

    def marginal(self, process: Gaussian, t: float) -> "GaussianMixture":
        """The law of x_t."""
        alpha_t, sigma_t = process.coordinates(t, self.means)
        return GaussianMixture(alpha_t * self.means, (alpha_t**2 * self.variances + sigma_t**2).sqrt(), self.weights)

    def score(self, x: Tensor) -> Tensor:
        """Gradient of the log-density, (B, ...)."""
        return torch.func.grad(lambda x: self.log_prob(x).sum())(x)

    def component(self, k: int) -> "GaussianMixture":
        """The law of one component."""
        return GaussianMixture(self.means[k : k + 1], self.variances[k : k + 1].sqrt())

    def posterior(self, y: Tensor, a: Tensor, v: Tensor, logits: Tensor | None = None) -> Mixture:
        r"""The law of x_0 given :math:`y = a x_0 + N(0, v)`.

        Args:
            y: (B, ...) measurement.
            a: factor that broadcasts against y.
            v: variance of the noise, likewise; not both may be zero.
            logits: (B, K) log-weights to use instead of the mixture's own.
        """
        a, v = (torch.as_tensor(value, dtype=y.dtype).expand_as(y)[:, None] for value in (a, v))
        means, variances = self.means.to(y), self.variances.to(y)
        spread = a**2 * variances + v
        residual = y[:, None] - a * means
        logits = self.weights.log().to(y).expand(len(y), -1) if logits is None else logits
        logits = logits - (residual**2 / spread + spread.log()).flatten(2).sum(2) / 2
        return Mixture(logits.softmax(1), means + a * variances / spread * residual, variances * v / spread)

    def denoiser(self, process: Process[Any], source: tuple[float, float] = (0.0, 1.0)) -> Denoiser:
        """The denoiser whose posterior is exactly p(x_0 | x_t).

        The condition ``component`` (B,), an int64, restricts to one component; without it (or where its mask is
        False) the whole mixture is meant. For a bridge, ``source`` holds mean and deviation of the independent
        Gaussian at t = 1, unless the condition ``source`` tells the denoiser where it started.

        Raises:
            UserError: there is no closed form for this process.
        """
        if isinstance(process, Heat):
            return self._of_coefficients(process)

        def posterior(x_t: Tensor, t: Time, condition: Condition) -> Mixture:
            y, a, v = _measurement(process, x_t, t, condition, source)
            return self.posterior(y, a, v, self._conditioned(x_t, condition))

        return Denoiser.from_function(process, posterior, self.std, self.means.shape[1:])

    def _of_coefficients(self, process: Heat) -> Denoiser:
        stds = self.variances.flatten(1)[:, 0].sqrt()
        if not torch.equal(self.variances, GaussianMixture(self.means, stds).variances):
            raise UserError("a mixture of Gaussians has a closed form under Heat only if its components are round")
        inner = GaussianMixture(process.to(self.means), stds, self.weights).denoiser(process.along(self.means))

        def posterior(x_t: Tensor, t: Time, condition: Condition) -> Rotated:
            return process.rotated(inner(process.to(x_t), t, condition))

        return Denoiser.from_function(process, posterior, self.std, self.means.shape[1:])

    @property
    def std(self) -> float:
        """Deviation of an element of the data, over all elements."""
        weights = self.weights.reshape(-1, *(1,) * (self.means.ndim - 1))
        mean = (weights * self.means).sum(0)
        return float((weights * (self.variances + (self.means - mean) ** 2)).sum(0).mean().sqrt())

    def _conditioned(self, x_t: Tensor, condition: Condition) -> Tensor | None:
        if condition is None or "component" not in condition:
            return None
        chosen = torch.nn.functional.one_hot(condition["component"], len(self.weights)).bool()
        outside = ~chosen & presence(condition, "component")[:, None]
        return self.weights.log().to(x_t).expand(len(x_t), -1).masked_fill(outside, -torch.inf)


def _measurement(
    process: Process[Any], x_t: Tensor, t: Time, condition: Condition, source: tuple[float, float]
) -> tuple[Tensor, Tensor, Tensor]:
    """What x_t says about x_0, as (y, a, v) with y = a x_0 + N(0, v)."""
    if isinstance(process, Gaussian):
        alpha_t, sigma_t = process.coordinates(t, x_t)
        return x_t, alpha_t, sigma_t**2
    if isinstance(process, Bridge):
        t = expand(as_time(t, x_t), x_t).to(x_t.dtype)
        width = process.sigma**2 * t * (1 - t)
        if condition is not None and "source" in condition:
            # At t = 1 the state is the source and says nothing: any positive noise does.
            return x_t - t * condition["source"], 1 - t, width.clamp(min=torch.finfo(x_t.dtype).tiny)
        return x_t - t * source[0], 1 - t, width + t**2 * source[1] ** 2
    raise UserError(f"a mixture of Gaussians has no closed form under {type(process).__name__}")


class Tokens:
    """A distribution over sequences of L tokens by its whole table, for every Discrete process.

    Args:
        table: (V,) * L joint probabilities; normalised.

    Example:
        >>> law = Tokens(torch.tensor([[0.5, 0.0], [0.0, 0.5]]))  # two tokens, always the same
        >>> process = Discrete.masked(2)
        >>> law.denoiser(process)(torch.tensor([[0, 2]]), 0.5).mean
        tensor([[[1., 0.],
                 [1., 0.]]], dtype=torch.float64)
    """

    def __init__(self, table: Tensor) -> None:
        self.table = table.double() / table.double().sum()
        self.vocabulary, self.length = table.shape[0], table.ndim
        self.sequences = torch.cartesian_prod(*[torch.arange(self.vocabulary)] * self.length).reshape(-1, self.length)

    def sample(self, n: int, rng: RandomSource = None) -> Tensor:
        """N independent sequences, (n, L)."""
        rows = self.table.flatten().expand(n, -1)
        return self.sequences[sample_categorical(rows, streams(rng, rows).fold("tokens"))]

    def log_prob(self, x: Tensor) -> Tensor:
        """Log-probability of each sequence, (B,)."""
        return self.table[tuple(x.T)].log()

    def denoiser(self, process: Discrete) -> Denoiser:
        """The denoiser whose logits are the exact marginals p(x_0^l | x_t) of each token."""

        def posterior(x_t: Tensor, t: Time, condition: Condition) -> Categorical:
            alpha_t = 1 - expand(as_time(t, x_t), x_t)[..., None]
            same = self.sequences.T == x_t[..., None]  # (B, L, number of sequences)
            likelihood = alpha_t * same + (1 - alpha_t) * process.pi[x_t][..., None]
            joint = self.table.flatten() * likelihood.prod(1)
            hot = torch.nn.functional.one_hot(self.sequences, self.vocabulary).double()
            return Categorical(torch.einsum("bn,nlv->blv", joint / joint.sum(1, keepdim=True), hot).log())

        return Denoiser.from_function(process, posterior, shape=(self.length,))


class Independent:
    """Independent exact laws of the leaves of a mapping, for Product processes.

    Args:
        parts: law of each leaf.
    """

    def __init__(self, parts: Mapping[str, Law]) -> None:
        self.parts = dict(parts)

    def sample(self, n: int, rng: RandomSource = None) -> State:
        """N independent draws of every leaf."""
        rng = rng if isinstance(rng, Streams) else streams(rng, torch.empty(n))
        return {name: part.sample(n, rng.fold(name)) for name, part in self.parts.items()}

    def log_prob(self, x: Mapping[str, Any]) -> Tensor:
        """Log-density of each item, (B,)."""
        return torch.stack([part.log_prob(x[name]) for name, part in self.parts.items()]).sum(0)

    def denoiser(self, process: Product) -> Denoiser:
        """The denoiser with the exact posterior of each leaf."""
        parts = {name: part.denoiser(process.parts[name]) for name, part in self.parts.items()}

        def posterior(x_t: Mapping[str, Any], t: Any, condition: Condition) -> Posterior[Any]:
            at = {name: t[name] if isinstance(t, Mapping) else t for name in parts}
            return Joint({name: part(x_t[name], at[name], condition) for name, part in parts.items()})

        return Denoiser.from_function(process, posterior)
