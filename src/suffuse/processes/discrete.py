"""Discrete processes: tokens that jump to a mask, to any value, or to a value of the data's marginals."""

import math

import torch
from torch import Tensor

from suffuse.posteriors import Categorical, Posterior, Revealed, sample_categorical
from suffuse.processes.base import Process, Time, as_time
from suffuse.rng import RandomSource, Streams, streams
from suffuse.tree import expand


class Discrete(Process[Tensor]):
    r"""Tokens forget themselves: :math:`q(x_t | x_0) = \alpha_t \delta_{x_0} + (1 - \alpha_t) \pi`, with
    :math:`\alpha_t = 1 - t`.

    Another falling :math:`\alpha` is another clock, that is, another grid. :math:`\pi` all on a mask token is masked
    diffusion; even, it is uniform diffusion; the data's marginals keep every noisy state plausible. With
    :math:`r(x_0) = p(x_0) / q(x_t | x_0)` and :math:`R = \sum r`, the reverse step at :math:`\eta = 1`, the Markov
    one, is

    .. math:: p(x_s = i | x_t = j) = \left[\alpha_{t|s} \delta_{ij} + (1 - \alpha_{t|s}) \pi_j\right]
        \left[\alpha_s r(i) + (1 - \alpha_s) \pi_i R\right], \qquad \alpha_{t|s} = \alpha_t / \alpha_s,

    in O(V), without matrices. :math:`\eta = 0` keeps as many tokens as the marginals allow, with
    :math:`w = (1 - \alpha_s) / (1 - \alpha_t)`:

    .. math:: (\alpha_s - w \alpha_t) \, p(i) + w \delta_{ij},

    and between them lies a mixture of the two; they coincide for a mask. The clean vocabulary has V values, and
    posteriors V logits; masked states have V + 1, the mask being V.

    Sources: "Structured Denoising Diffusion Models in Discrete State-Spaces" (Austin, Johnson, Ho, Tarlow, van den
    Berg, 2021), "Simple and Effective Masked Diffusion Language Models" (Sahoo et al., 2024).

    Args:
        prior_probabilities: :math:`\pi`, (V,) or, with a mask behind the vocabulary, (V + 1,).
        vocabulary: V.

    Example:
        >>> Discrete.masked(5).corrupt(torch.arange(5)[None], 1.0)
        tensor([[5, 5, 5, 5, 5]])
    """

    def __init__(self, prior_probabilities: Tensor, vocabulary: int) -> None:
        self.pi = torch.as_tensor(prior_probabilities, dtype=torch.float64)
        self.pi = self.pi / self.pi.sum()
        self.vocabulary = vocabulary
        self.masks = len(self.pi) > vocabulary and bool(self.pi[vocabulary] == 1)

    @classmethod
    def masked(cls, vocabulary: int) -> "Discrete":
        """Tokens are hidden: the absorbing state is the value ``vocabulary``."""
        return cls(torch.eye(vocabulary + 1)[vocabulary], vocabulary)

    @classmethod
    def uniform(cls, vocabulary: int) -> "Discrete":
        """Tokens are replaced by any value alike."""
        return cls(torch.ones(vocabulary), vocabulary)

    @classmethod
    def marginal(cls, probabilities: Tensor) -> "Discrete":
        """Tokens are replaced by values as frequent as these."""
        return cls(probabilities, len(probabilities))

    def prior(self, like: Tensor, rng: RandomSource = None) -> Tensor:
        r"""Draw from :math:`\pi`, exactly the law at t = 1."""
        return self._draw_pi(like, streams(rng, like).fold("prior"))

    def corrupt(self, x0: Tensor, t: Time, rng: RandomSource = None, source: Tensor | None = None) -> Tensor:
        """See the class; a ``source`` is the draw from the prior that a coupling has paired with the data."""
        rng = streams(rng, x0).fold("corrupt")
        noise = self._draw_pi(x0, rng) if source is None else source
        keep = rng.fold("keep").uniform(x0) < 1 - expand(as_time(t, x0), x0)
        return torch.where(keep, x0, noise)

    def forward(self, x_s: Tensor, s: Time, t: Time, rng: RandomSource = None, source: Tensor | None = None) -> Tensor:
        r""":math:`q(x_t | x_s) = \alpha_{t|s} \delta_{x_s} + (1 - \alpha_{t|s}) \pi`."""
        rng = streams(rng, x_s).fold("forward")
        noise = self._draw_pi(x_s, rng) if source is None else source
        s, t = expand(as_time(s, x_s), x_s), expand(as_time(t, x_s), x_s)
        return torch.where(rng.fold("keep").uniform(x_s) < (1 - t) / (1 - s), x_s, noise)

    def _draw_pi(self, like: Tensor, rng: Streams) -> Tensor:
        edges = self.pi.to(like.device).cumsum(0)
        u = rng.fold("pi").uniform(like) * edges[-1]
        return torch.searchsorted(edges, u, right=True).clamp(max=len(edges) - 1)

    def reverse(
        self,
        x_t: Tensor,
        posterior: Posterior[Tensor],
        t: Time,
        s: Time,
        rng: RandomSource = None,
        eta: float = 1.0,
        source: Tensor | None = None,
    ) -> Tensor:
        """See the class; ``source`` is not needed."""
        del source
        t, s = as_time(t, x_t), as_time(s, x_t)
        probabilities = self.kernel(x_t, posterior, t, s, eta)
        return sample_categorical(probabilities, streams(rng, x_t).fold("reverse").at(t, s))

    def kernel(self, x_t: Tensor, posterior: Posterior[Tensor], t: Time, s: Time, eta: float = 1.0) -> Tensor:
        """Probabilities (B, ..., V or V + 1) of x_s, averaged over the posterior."""
        t, s = (expand(as_time(v, x_t), x_t, trailing=1) for v in (t, s))
        # Not quite 0 at t = 1: a token that is given there, as none can be, is then carried over.
        alpha_t, alpha_s, pi = (1 - t).clamp(min=1e-200), 1 - s, self.pi.to(x_t.device)
        here = torch.nn.functional.one_hot(x_t, len(pi)).double()
        p = self._over_states(posterior.mean.double())
        w = (1 - alpha_s) / (1 - alpha_t)
        keeping = (alpha_s - w * alpha_t) * p + w * here
        if eta == 0:
            return keeping
        ratio = alpha_t / alpha_s
        r = self._ratio(p, here, x_t, alpha_t)
        markov = (ratio * here + (1 - ratio) * pi[x_t][..., None]) * (
            alpha_s * r + (1 - alpha_s) * pi * r.sum(-1, keepdim=True)
        )
        return markov if eta == 1 else torch.lerp(keeping, markov, eta)

    def jumps(self, x_t: Tensor, posterior: Posterior[Tensor], t: Time, s: Time) -> Tensor:
        r"""Expected jumps (B, ..., V or V + 1) from j = x_t to each i, between t < 1 and s > 0.

        For a posterior that stays what it is, the reverse rates
        :math:`\tfrac{\pi_j}{\alpha_u} E[q(x_u = i | x_0) / q(x_u = j | x_0)]` have the integral

        .. math:: p_i \log \tfrac{t}{s} + \pi_i \left[\log \tfrac{1 - s}{1 - t} - \tfrac{p_j}{1 - \pi_j}
            \log \tfrac{1 - (1 - \pi_j) s}{1 - (1 - \pi_j) t}\right].
        """
        t, s = (expand(as_time(v, x_t), x_t, trailing=1) for v in (t, s))
        here = torch.nn.functional.one_hot(x_t, len(self.pi)).double()
        p, pi = self._over_states(posterior.mean.double()), self.pi.to(x_t.device)
        others = 1 - pi[x_t][..., None]
        seen = ((1 - others * s) / (1 - others * t)).log() / others.clamp(min=torch.finfo(torch.float64).tiny)
        seen = torch.where(others > 0, (p * here).sum(-1, keepdim=True) * seen, 0)  # a mask is never clean
        return (p * (t / s).log() + pi * (((1 - s) / (1 - t)).log() - seen)) * (1 - here)

    def _over_states(self, p: Tensor) -> Tensor:
        """Probabilities over the clean vocabulary, with a zero for the mask where there is one."""
        return torch.nn.functional.pad(p, (0, len(self.pi) - self.vocabulary))

    def _ratio(self, p: Tensor, here: Tensor, x_t: Tensor, alpha_t: Tensor) -> Tensor:
        """p(x_0) / q(x_t | x_0), and 0 where x_0 is impossible."""
        q = alpha_t * here + (1 - alpha_t) * self.pi.to(p.device)[x_t][..., None]
        return torch.where(q > 0, p / q.clamp(min=torch.finfo(q.dtype).tiny), 0)

    def restrict(self, posterior: Posterior[Tensor], x_t: Tensor, t: Time) -> Posterior[Tensor]:
        """A token that the prior cannot have put there is clean, and known."""
        t = expand(as_time(t, x_t), x_t)
        return posterior.pinned(x_t, (1 - (1 - t)) * self.pi.to(x_t.device)[x_t] == 0)

    def level(self, t: Time) -> Tensor:
        r"""The share of tokens that is gone, :math:`1 - \alpha_t = t`."""
        return t if isinstance(t, Tensor) else torch.tensor(t, dtype=torch.float64)

    def elbo(self, x0: Tensor, x_t: Tensor, posterior: Posterior[Tensor], t: Time) -> Tensor:
        r"""Divergence of the true from the modelled jump rates, per unit of time.

        .. math:: \sum_{i \neq j} \left[q_i \log \tfrac{q_i}{p_i} - q_i + p_i\right], \qquad
            q_i = \tfrac{\pi_j}{\alpha_t} \, \tfrac{q(x_t = i | x_0)}{q(x_t = j | x_0)},

        where p is the mean of q over the posterior and j = x_t. For a mask it is the cross-entropy over t.

        Source: "A Continuous Time Framework for Discrete Denoising Models" (Campbell et al., 2022).
        """
        if self.masks:  # the same, without a table of all values
            rate = expand(as_time(t, x_t), x_t).clamp(min=torch.finfo(torch.float64).tiny).reciprocal()
            return torch.where(x_t == self.vocabulary, -rate * posterior.log_prob(x0), 0)
        # At t = 1 all but the limit, which is finite; the factor 1 / alpha would only show the rounding.
        alpha_t = (1 - expand(as_time(t, x_t), x_t, trailing=1)).clamp(min=1e-12)
        here = torch.nn.functional.one_hot(x_t, len(self.pi)).double()
        truth = torch.nn.functional.one_hot(x0, len(self.pi)).double()
        # Rates times alpha_t, which stays finite; the factor goes back in at the end.
        q, p = (self._rates(v, here, x_t, alpha_t) for v in (truth, self._over_states(posterior.mean.double())))
        tiny = torch.finfo(torch.float64).tiny
        divergence = torch.where(q > 0, q * (q.clamp(min=tiny) / p.clamp(min=tiny)).log(), 0) - q + p
        return (divergence * (1 - here)).sum(-1) / alpha_t.squeeze(-1)

    def baseline_posterior(self, x_t: Tensor, t: Time, scale: float, source: Tensor | None = None) -> Posterior[Tensor]:
        r""":math:`\propto \alpha_t \delta_{x_t} + (1 - \alpha_t) \pi(x_t)`; tokens have no scale."""
        del scale, source
        if self.masks:
            return Revealed(x_t, self.vocabulary)
        t = expand(as_time(t, x_t), x_t, trailing=1)
        here = torch.nn.functional.one_hot(x_t, len(self.pi))[..., : self.vocabulary].double()
        return Categorical(((1 - t) * here + t * self.pi.to(x_t.device)[x_t][..., None]).log())

    def baseline_bound(self, x0: Tensor, scale: float) -> Tensor:
        r""":math:`-\log V`: the law at t = 1 is the prior, so that nothing is lost there."""
        del scale
        return torch.full(x0.shape, -math.log(self.vocabulary), dtype=torch.float64, device=x0.device)

    def _rates(self, p: Tensor, here: Tensor, x_t: Tensor, alpha_t: Tensor) -> Tensor:
        """Jump rates out of x_t towards each value, times alpha_t."""
        pi = self.pi.to(p.device)
        r = self._ratio(p, here, x_t, alpha_t)
        return pi[x_t][..., None] * (alpha_t * r + (1 - alpha_t) * pi * r.sum(-1, keepdim=True))
