r"""Posteriors q(x_0 | x_t): what a denoiser answers, and the one currency of the library.

Noise, velocity, score and flow are affine images of :math:`E[x_0 | x_t]`, and token logits are :math:`p(x_0 | x_t)`;
so preview, guidance, multistep extrapolation, inverse problems and losses are each one operation on one of these
objects.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Generic

import torch
from torch import Tensor

from suffuse.rng import RandomSource, Streams, streams
from suffuse.tree import S, at_least_float32, expand


class Posterior(ABC, Generic[S]):
    """A distribution over clean data."""

    __slots__ = ()

    @property
    @abstractmethod
    def mean(self) -> S:
        """Expectation; for a Categorical its probabilities."""

    @abstractmethod
    def sample(self, rng: RandomSource = None) -> S:
        """Draw one clean state per item."""

    @abstractmethod
    def log_prob(self, x0: S) -> S:
        """Log-density in nats, per element and unreduced."""

    @abstractmethod
    def tilt(self, reference: "Posterior[S]", weight: float | Tensor) -> "Posterior[S]":
        r"""Move from a reference through this posterior and on: :math:`\propto q^w \, q_{\text{ref}}^{1 - w}`.

        Weight 0 is the reference, 1 is this posterior, above 1 extrapolates. It may be a tensor of any prefix shape.
        """

    @abstractmethod
    def pinned(self, x0: S, given: S) -> "Posterior[S]":
        """The posterior with some elements known: where ``given``, a bool for every element, is true, they are x0."""

    @abstractmethod
    def __getitem__(self, items: slice) -> "Posterior[S]":
        """The posterior of some of the items of the batch."""

    def draw_component(self, rng: RandomSource) -> "Posterior[S]":
        """The posterior itself, or for a mixture one of its components, drawn per item."""
        del rng
        return self


class Normal(Posterior[Tensor]):
    r"""Independent Gaussians, :math:`N(m, v)` per element.

    Args:
        mean: (B, ...) tensor.
        var: variance that broadcasts against the mean, or None where only the mean is known, as from a network trained
            by squared error. :meth:`log_prob` is then that of unit variance without its constant,
            :math:`-\tfrac12 (x_0 - m)^2`, and :meth:`sample` is the mean.

    Example:
        >>> q = Normal(torch.zeros(1, 2), torch.ones(1, 2))
        >>> q.log_prob(torch.zeros(1, 2))
        tensor([[-0.9189, -0.9189]])
        >>> Normal(torch.ones(1, 2)).tilt(q, 1.5).mean
        tensor([[1.5000, 1.5000]])
    """

    __slots__ = ("_mean", "var")

    def __init__(self, mean: Tensor, var: Tensor | None = None) -> None:
        self._mean, self.var = mean, var

    def __repr__(self) -> str:
        return f"Normal(mean={self._mean}, var={self.var})"

    @property
    def mean(self) -> Tensor:
        """The mean."""
        return self._mean

    def sample(self, rng: RandomSource = None) -> Tensor:
        """See the class."""
        if self.var is None:
            return self.mean
        return self.mean + self.var.sqrt() * streams(rng, self.mean).fold("posterior").normal(self.mean)

    def log_prob(self, x0: Tensor) -> Tensor:
        """See the class."""
        square = (x0 - self.mean) ** 2
        if self.var is None:
            return -square / 2
        return -(square / self.var + (2 * torch.pi * self.var).log()) / 2

    def tilt(self, reference: Posterior[Tensor], weight: float | Tensor) -> "Normal":
        """Line through the two means; the variance of self."""
        return Normal(torch.lerp(reference.mean, self.mean, _broadcast(weight, self.mean)), self.var)

    def pinned(self, x0: Tensor, given: Tensor) -> "Normal":
        """No variance is left there."""
        var = None if self.var is None else self.var.expand_as(self.mean).masked_fill(given, 0.0)
        return Normal(torch.where(given, x0.to(self.mean.dtype), self.mean), var)

    def __getitem__(self, items: slice) -> "Normal":
        """See the base class."""
        return Normal(self.mean[items], None if self.var is None else self.var.expand_as(self.mean)[items])


class Categorical(Posterior[Tensor]):
    """Independent categorical variables over V values; in float32 or better, whatever the logits are in.

    Args:
        logits: (B, ..., V) unnormalised log-probabilities; ``-inf`` where a value is impossible.
        known: (B, ...) values that are known whatever their logits, -1 where none is; None knows none.

    Example:
        >>> Categorical(torch.tensor([[[0.0, 0.0, -torch.inf]]])).mean
        tensor([[[0.5000, 0.5000, 0.0000]]])
    """

    __slots__ = ("_known", "_logits")

    def __init__(self, logits: Tensor, known: Tensor | None = None) -> None:
        self._logits, self._known = logits, known

    @property
    def logits(self) -> Tensor:
        """Of all values: minus infinity where another is known."""
        logits = at_least_float32(self._logits)
        if self._known is None:
            return logits
        known = self._known[..., None]
        others = (known >= 0) & (torch.arange(logits.shape[-1], device=known.device) != known)
        # A value that was impossible is possible where it is known to be there.
        return logits.masked_fill(known >= 0, 0.0).masked_fill(others, -torch.inf)

    @property
    def mean(self) -> Tensor:
        """Probabilities (B, ..., V)."""
        return self.logits.softmax(-1)

    def sample(self, rng: RandomSource = None) -> Tensor:
        """Draw values (B, ...), int64."""
        return sample_categorical(self.mean, streams(rng, self._logits).fold("posterior"))

    def log_prob(self, x0: Tensor) -> Tensor:
        """Log-probability of the values ``x0`` (B, ...); of those that are known no table is made."""
        unknown = torch.ones_like(x0, dtype=torch.bool) if self._known is None else self._known < 0
        logits = at_least_float32(self._logits[unknown])
        found = -torch.nn.functional.cross_entropy(logits, x0[unknown], reduction="none")
        sure = torch.zeros(x0.shape, dtype=found.dtype, device=found.device)
        sure = sure if self._known is None else sure.masked_fill(self._known != x0, -torch.inf)
        return sure.masked_scatter(unknown, found)

    def tilt(self, reference: Posterior[Tensor], weight: float | Tensor) -> "Categorical":
        """Line through the two logits; impossible where either is."""
        assert isinstance(reference, Categorical)
        impossible = (self.logits == -torch.inf) | (reference.logits == -torch.inf)
        ours, theirs = (q.logits.log_softmax(-1).masked_fill(impossible, 0) for q in (self, reference))
        weight = _broadcast(weight, ours)
        return Categorical(torch.lerp(theirs, ours, weight).masked_fill(impossible, -torch.inf))

    def pinned(self, x0: Tensor, given: Tensor) -> "Categorical":
        """All other values get the logit minus infinity."""
        return Categorical(self._logits, torch.where(given, x0, -1 if self._known is None else self._known))

    def __getitem__(self, items: slice) -> "Categorical":
        """See the base class."""
        return Categorical(self._logits[items], None if self._known is None else self._known[items])


class Revealed(Posterior[Tensor]):
    """Tokens of which some are hidden, and may be anything: log-probabilities without a table of all values.

    Args:
        x_t: (B, ...) tokens in [0, V], V where one is hidden.
        vocabulary: V.

    Example:
        >>> Revealed(torch.tensor([[1, 2]]), 2).log_prob(torch.tensor([[1, 0]])).exp()
        tensor([[1.0000, 0.5000]])
    """

    __slots__ = ("_vocabulary", "_x_t")

    def __init__(self, x_t: Tensor, vocabulary: int) -> None:
        self._x_t, self._vocabulary = x_t, vocabulary

    @property
    def table(self) -> Categorical:
        """The same with the logits of all values."""
        hidden = (self._x_t == self._vocabulary)[..., None]
        there = torch.arange(self._vocabulary, device=self._x_t.device) == self._x_t[..., None]
        return Categorical(torch.zeros(there.shape, device=there.device).masked_fill(~there & ~hidden, -torch.inf))

    @property
    def mean(self) -> Tensor:
        """Probabilities (B, ..., V)."""
        return self.table.mean

    def sample(self, rng: RandomSource = None) -> Tensor:
        """Draw values (B, ...), int64."""
        return self.table.sample(rng)

    def log_prob(self, x0: Tensor) -> Tensor:
        """Log-probability of the values ``x0`` (B, ...)."""
        known = torch.where(x0 == self._x_t, 0.0, -torch.inf)
        return torch.where(self._x_t == self._vocabulary, -math.log(self._vocabulary), known)

    def tilt(self, reference: Posterior[Tensor], weight: float | Tensor) -> Categorical:
        """See :class:`Categorical`."""
        return self.table.tilt(reference, weight)

    def pinned(self, x0: Tensor, given: Tensor) -> Categorical:
        """See :class:`Categorical`."""
        return self.table.pinned(x0, given)

    def __getitem__(self, items: slice) -> "Revealed":
        """See the base class."""
        return Revealed(self._x_t[items], self._vocabulary)


def _broadcast(weight: float | Tensor, like: Tensor) -> float | Tensor:
    return expand(weight, like).to(like) if isinstance(weight, Tensor) else weight


def sample_categorical(probabilities: Tensor, rng: Streams) -> Tensor:
    """Draw from (B, ..., V) probabilities with one uniform number each, by the inverse distribution."""
    total = probabilities.double().cumsum(-1)
    u = rng.uniform(total[..., 0])[..., None] * total[..., -1:]
    return torch.searchsorted(total, u, right=True).squeeze(-1).clamp(max=probabilities.shape[-1] - 1)


@dataclass(slots=True)
class Joint(Posterior[Mapping[str, Any]]):
    """Independent posteriors of the leaves of a mapping.

    Example:
        >>> Joint({"height": Normal(torch.zeros(1, 2))}).mean
        {'height': tensor([[0., 0.]])}
    """

    parts: Mapping[str, Posterior[Any]]

    @property
    def mean(self) -> Mapping[str, Any]:
        """Means of the leaves."""
        return {name: part.mean for name, part in self.parts.items()}

    def sample(self, rng: RandomSource = None) -> Mapping[str, Any]:
        """Draw every leaf, each with streams of its own."""
        first = next(iter(self.parts.values())).mean
        rng = streams(rng, first)
        return {name: part.sample(rng.fold(name)) for name, part in self.parts.items()}

    def log_prob(self, x0: Mapping[str, Any]) -> Mapping[str, Any]:
        """Log-density per element of every leaf."""
        return {name: part.log_prob(x0[name]) for name, part in self.parts.items()}

    def tilt(self, reference: Posterior[Mapping[str, Any]], weight: float | Tensor) -> "Joint":
        """Leaf by leaf."""
        assert isinstance(reference, Joint)
        return Joint({name: part.tilt(reference.parts[name], weight) for name, part in self.parts.items()})

    def pinned(self, x0: Mapping[str, Any], given: Mapping[str, Any]) -> "Joint":
        """Leaf by leaf."""
        return Joint({name: part.pinned(x0[name], given[name]) for name, part in self.parts.items()})

    def __getitem__(self, items: slice) -> "Joint":
        """Leaf by leaf."""
        return Joint({name: part[items] for name, part in self.parts.items()})

    def draw_component(self, rng: RandomSource) -> "Joint":
        """Leaf by leaf."""
        rng = streams(rng, next(iter(self.parts.values())).mean)
        return Joint({name: part.draw_component(rng.fold(name)) for name, part in self.parts.items()})


@dataclass(slots=True)
class Mixture(Posterior[Tensor]):
    r"""A mixture of K Gaussians with diagonal covariance, :math:`\sum_k w_k N(m_k, v_k)`: an exact law that is not
    Gaussian.

    Its elements are dependent, so :meth:`log_prob` has one value per item, (B,).

    Args:
        weights: (B, K), summing to one.
        means: (B, K, ...).
        variances: broadcasts against the means.
    """

    weights: Tensor
    means: Tensor
    variances: Tensor

    @property
    def mean(self) -> Tensor:
        r""":math:`\sum_k w_k m_k`."""
        return torch.einsum("bk,bk...->b...", self.weights, self.means)

    def draw_component(self, rng: RandomSource) -> Normal:
        """One component per item, drawn by its weight."""
        choice = sample_categorical(self.weights, streams(rng, self.weights).fold("component"))
        return Normal(*self._pick(choice))

    def _pick(self, choice: Tensor) -> tuple[Tensor, Tensor]:
        rows = torch.arange(len(choice), device=choice.device)
        return self.means[rows, choice], self.variances.expand_as(self.means)[rows, choice]

    def sample(self, rng: RandomSource = None) -> Tensor:
        """A component, then a point of it."""
        rng = streams(rng, self.weights)
        return self.draw_component(rng).sample(rng)

    def log_prob(self, x0: Tensor) -> Tensor:
        """Log-density of each item, (B,)."""
        parts = Normal(self.means, self.variances).log_prob(x0[:, None])
        return (self.weights.log() + parts.flatten(2).sum(2)).logsumexp(1)

    def tilt(self, reference: Posterior[Tensor], weight: float | Tensor) -> Normal:
        """Of the means alone."""
        return Normal(self.mean).tilt(reference, weight)

    def pinned(self, x0: Tensor, given: Tensor) -> Normal:
        """Of the mean alone: what is known would change the weights, which is the denoiser's part to know."""
        return Normal(self.mean).pinned(x0, given)

    def __getitem__(self, items: slice) -> "Mixture":
        """See the base class."""
        return Mixture(self.weights[items], self.means[items], self.variances.expand_as(self.means)[items])


@dataclass(slots=True)
class Rotated(Posterior[Tensor]):
    r"""A posterior of the coefficients :math:`V^\top x_0` in an orthonormal basis V, where its parts are independent.

    :meth:`log_prob` has one value per coefficient.

    Args:
        inner: law of the coefficients.
        to: states to their coefficients, :math:`V^\top x`.
        back: coefficients to states, :math:`V c`.
    """

    inner: Posterior[Tensor]
    to: Callable[[Tensor], Tensor]
    back: Callable[[Tensor], Tensor]

    @property
    def mean(self) -> Tensor:
        """Of the state."""
        return self.back(self.inner.mean)

    def sample(self, rng: RandomSource = None) -> Tensor:
        """Coefficients are drawn."""
        return self.back(self.inner.sample(rng))

    def log_prob(self, x0: Tensor) -> Tensor:
        """Of the coefficients of ``x0``."""
        return self.inner.log_prob(self.to(x0))

    def tilt(self, reference: Posterior[Tensor], weight: float | Tensor) -> "Rotated":
        """Coefficient by coefficient."""
        within = reference.inner if isinstance(reference, Rotated) else Normal(self.to(reference.mean))
        return Rotated(self.inner.tilt(within, weight), self.to, self.back)

    def pinned(self, x0: Tensor, given: Tensor) -> Normal:
        """Of the mean alone: what is known of some elements changes all coefficients."""
        return Normal(self.mean).pinned(x0, given)

    def __getitem__(self, items: slice) -> "Rotated":
        """The posterior of some of the items."""
        return Rotated(self.inner[items], self.to, self.back)

    def draw_component(self, rng: RandomSource) -> "Rotated":
        """That of the coefficients."""
        return Rotated(self.inner.draw_component(rng), self.to, self.back)
