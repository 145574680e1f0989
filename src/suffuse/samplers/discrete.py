"""Walks of tokens: cached, by jumps, in an order of confidence, with second thoughts, and block by block."""

import math
from abc import abstractmethod
from typing import Any

import torch
from torch import Tensor

from suffuse.denoiser import Denoiser
from suffuse.errors import UserError
from suffuse.posteriors import Categorical, sample_categorical
from suffuse.processes import Discrete
from suffuse.processes.base import as_time
from suffuse.rng import Streams
from suffuse.samplers.ancestral import Ancestral
from suffuse.samplers.base import Callback, Sampler, check_foreseen, check_inner
from suffuse.tree import Condition, State, at_least_float32, expand, of_items


def refuse_unmasked(sampler: Sampler, process: Any) -> None:
    """Refuse a process without a mask token."""
    if len(process.pi) != process.vocabulary + 1:
        raise UserError(f"{type(sampler).__name__} walks masked processes only: this one has no mask; use Ancestral")


class Cached(Sampler):
    r"""Ancestral steps of a masked process, with the network asked only about items that have changed.

    Given a mask, :math:`p(x_0 | x_t)` does not depend on t: what is seen is clean, and what is hidden says nothing. An
    item of which no token has come to light since it was last looked at has the same posterior still, and one that has
    nothing hidden needs none. The walk is :class:`Ancestral`'s, token for token, but N steps over L tokens evaluate an
    item at most min(N, L) times. For a network that is told t, this takes its answer at the time of the last change.

    Source: "Simple and Effective Masked Diffusion Language Models" (Sahoo et al., 2024), section 4.
    """

    process = Discrete
    stochastic = True
    one_step = at_start = False

    def init(self, denoiser: Denoiser, x1: State, times: Tensor) -> Any:
        """Nothing is known yet."""
        refuse_unmasked(self, denoiser.process)

    def step(
        self, denoiser: Denoiser, x_t: Any, t: Tensor, s: Tensor, condition: Condition, state: Any, rng: Streams
    ) -> tuple[State, Any]:
        """The state is the last logits, and the tokens that they are for."""
        assert isinstance(denoiser.process, Discrete)
        if state is None:
            logits = _logits(denoiser, x_t, t, condition)
        else:
            logits, seen = state
            asking = (x_t != seen).flatten(1).any(1) & (x_t == denoiser.process.vocabulary).flatten(1).any(1)
            rows = asking.nonzero().squeeze(1)
            if len(rows):
                asked = _logits(denoiser, x_t[rows], t, of_items(condition, rows))
                logits = logits.index_copy(0, rows, asked)
        posterior = denoiser.process.restrict(Categorical(logits), x_t, t)  # what has come to light is certain
        return denoiser.process.reverse(x_t, posterior, t, s, rng), (logits, x_t)


def _logits(denoiser: Denoiser, x_t: Tensor, t: Tensor, condition: Condition) -> Tensor:
    posterior = denoiser(x_t, t, condition)
    assert isinstance(posterior, Categorical)
    return at_least_float32(posterior.logits).log_softmax(-1)


class TauLeaping(Sampler):
    r"""Jumps at the rates of the reverse process, integrated exactly over the step for the posterior at its start.

    .. math:: \Lambda_i = \int_s^t \frac{\pi_j}{\alpha_u} \sum_{x_0} p(x_0 | x_t) \, \frac{q(x_u = i | x_0)}{q(x_u = j |
        x_0)} \, du, \qquad P(x_s = j | x_t = j) = e^{-\sum_i \Lambda_i},

    and a token that jumps goes to i with probability :math:`\Lambda_i / \sum \Lambda`. For a mask that is the ancestral
    step; for other priors a token may change its mind once a step, and the law is right as steps grow, with an error of
    order :math:`1 / N`, or :math:`\log N / N` if walked from 1 to 0: steps at the ends are long for rates that are
    infinite there. The first one from t = 1 and the last one to t = 0 are ancestral.

    Source: "A Continuous Time Framework for Discrete Denoising Models" (Campbell et al., 2022), whose rates are those
    at the start of the step; here they are integrated in closed form.
    """

    process = Discrete
    stochastic = True

    def step(
        self, denoiser: Denoiser, x_t: Any, t: Tensor, s: Tensor, condition: Condition, state: Any, rng: Streams
    ) -> tuple[State, Any]:
        """No state."""
        process, posterior = denoiser.process, denoiser(x_t, t, condition)
        assert isinstance(process, Discrete)
        if float(s) == 0 or float(t) == 1:
            return process.reverse(x_t, posterior, t, s, rng), state
        rates = process.jumps(x_t, posterior, t, s)
        total = rates.sum(-1, keepdim=True)
        stay = torch.exp(-total)
        here = torch.nn.functional.one_hot(x_t, rates.shape[-1]).double()
        leave = -torch.expm1(-total) * rates / total.clamp(min=torch.finfo(total.dtype).tiny)
        return sample_categorical(stay * here + leave, rng.fold("jump").at(t, s)), state


class Unmasking(Sampler):
    r"""Hidden tokens come to light in an order of the model's choice, as many at each step as the clock says.

    At time s, :math:`\lfloor s L' \rfloor` of the L' tokens that were hidden at t = 1 remain so. The score of the
    subclass decides which, with Gumbel noise of size :math:`\text{temperature} \cdot t`; tokens are drawn from the
    posterior. A step in which the clock shows no token costs no evaluation; with as many steps as tokens they come one
    at a time.

    Source: "MaskGIT: Masked Generative Image Transformer" (Chang, Zhang, Jiang, Liu, Freeman, 2022).

    Args:
        temperature: of the order, at least 0; 0 is greedy.
    """

    process = Discrete
    stochastic = True
    one_step = False

    def __init__(self, temperature: float = 1.0) -> None:
        if not temperature >= 0:
            raise ValueError(f"a temperature is at least 0, got {temperature}")
        self.temperature = temperature

    @abstractmethod
    def score(self, log_probabilities: Tensor, token: Tensor) -> Tensor:
        """How sure each token is, (B, ...): of log-probabilities (B, ..., V), and of the token drawn."""

    def init(self, denoiser: Denoiser, x1: State, times: Tensor) -> Any:
        """How many tokens of each item were hidden at t = 1."""
        refuse_unmasked(self, denoiser.process)
        assert isinstance(x1, Tensor)
        assert isinstance(denoiser.process, Discrete)
        return (x1 == denoiser.process.vocabulary).flatten(1).sum(1) / times[0].double()

    def step(
        self, denoiser: Denoiser, x_t: Any, t: Tensor, s: Tensor, condition: Condition, state: Any, rng: Streams
    ) -> tuple[State, Any]:
        """The state is the number hidden at t = 1."""
        assert isinstance(denoiser.process, Discrete)
        hidden = x_t == denoiser.process.vocabulary
        keep = (float(s) * state + 1e-4).floor()  # not one less for the rounding of the clock
        shown = hidden.flatten(1).sum(1) - keep
        if not bool((shown > 0).any()):
            return x_t, state
        log_p = _logits(denoiser, x_t, t, condition)
        rng = rng.fold("unmask").at(t, s)
        token = sample_categorical(log_p.exp(), rng.fold("token"))
        gumbel = -(-rng.fold("order").uniform(hidden).log()).log()
        score = self.score(log_p, token).double() + self.temperature * float(t) * gumbel
        order = score.masked_fill(~hidden, -torch.inf).flatten(1).argsort(dim=1, descending=True, stable=True)
        rank = order.argsort(1).view_as(x_t)
        return torch.where(hidden & (rank < expand(shown, x_t)), token, x_t), state


class Confidence(Unmasking):
    r"""The tokens drawn with the largest probability first: score :math:`\log p(x_0^l | x_t)`.

    The law is not the model's, at any number of steps: whether a token is shown depends on what it turned out to be, so
    that likely values are favoured, and samples are more coherent and less diverse. Use it for the best text or
    picture rather than for a fair one, with few steps; a high temperature brings the law back.

    Source: "MaskGIT: Masked Generative Image Transformer" (Chang, Zhang, Jiang, Liu, Freeman, 2022).
    """

    def score(self, log_probabilities: Tensor, token: Tensor) -> Tensor:
        """See the class."""
        return log_probabilities.gather(-1, token[..., None]).squeeze(-1)


class Entropy(Unmasking):
    r"""The tokens whose posterior is the narrowest first: score :math:`\sum p \log p`.

    The order depends on what has been shown, but not on what is drawn, so that one token at a time has the model's own
    law. Several at once lose what they say about each other, which is at most their entropies: the smallest first.

    Source: "Dream 7B: Diffusion Large Language Models" (Ye et al., 2025).
    """

    def score(self, log_probabilities: Tensor, token: Tensor) -> Tensor:
        """See the class."""
        return (log_probabilities.exp() * log_probabilities.clamp(min=-1e9)).sum(-1)


class Remasking(Sampler):
    r"""A masked walk that takes some of what it has said back, and keeps the law of every time.

    From a time on each token that has come to light is hidden again with probability
    :math:`\sigma = \eta \min(1, (1 - \alpha_s) / \alpha_t)`, and hidden ones come to light with the probability that
    makes up for it,

    .. math:: \frac{\alpha_s - (1 - \sigma) \alpha_t}{1 - \alpha_t},

    so that errors of early steps, when little was seen, can be mended: those of the network, and of tokens that were
    drawn at once. The law is right as steps grow, though with an exact network more slowly than without. A network that
    errs is asked more often than it would be, and where little is seen samples drift to what it likes best: mended is
    what stands when half is told.

    Source: "Remasking Discrete Diffusion Models with Inference-Time Scaling" (Wang, Schiff, Sahoo, Kuleshov, 2025).

    Args:
        eta: share of the largest probability that keeps the law, in [0, 1]; 0 is the ancestral walk.
        since: time at and below which tokens are taken back, in [0, 1].
    """

    process = Discrete
    stochastic = True

    def __init__(self, eta: float = 1.0, since: float = 0.5) -> None:
        if not (0 <= eta <= 1 and 0 <= since <= 1):
            raise ValueError(f"eta and since must lie in [0, 1], got {eta} and {since}")
        self.eta, self.since = eta, since

    def init(self, denoiser: Denoiser, x1: State, times: Tensor) -> Any:
        """Tokens that were given at the start are never taken back."""
        refuse_unmasked(self, denoiser.process)
        assert isinstance(x1, Tensor)
        assert isinstance(denoiser.process, Discrete)
        return x1 != denoiser.process.vocabulary

    def step(
        self, denoiser: Denoiser, x_t: Any, t: Tensor, s: Tensor, condition: Condition, state: Any, rng: Streams
    ) -> tuple[State, Any]:
        """The state is which tokens were given."""
        assert isinstance(denoiser.process, Discrete)
        mask = denoiser.process.vocabulary
        alpha_t, alpha_s = 1 - as_time(t, x_t), 1 - as_time(s, x_t)
        eta = self.eta if float(t) <= self.since else 0.0
        sigma = eta * ((1 - alpha_s) / alpha_t).clamp(max=1.0).nan_to_num(1.0)
        show = (alpha_s - (1 - sigma) * alpha_t) / (1 - alpha_t)
        log_p = _logits(denoiser, x_t, t, condition)
        rng = rng.fold("remask").at(t, s)
        token = sample_categorical(log_p.exp(), rng.fold("token"))
        u = rng.fold("choice").uniform(x_t)
        hidden = x_t == mask
        told = torch.where(u < show, token, mask)
        kept = torch.where((u < sigma) & ~state, mask, x_t)
        return torch.where(hidden, told, kept), state


class Blocks(Sampler):
    r"""From left to right in blocks: each block is walked by the inner sampler, given all that stands before it.

    Between autoregression (blocks of one token) and diffusion (one block). What stands behind a block is hidden
    while it is walked, and the model is told the share of the whole that is hidden. The grid is walked once per block,
    so that n blocks cost n times the evaluations. Blocks of one token have the model's own law with a single step each.

    Source: "Block Diffusion: Interpolating Between Autoregressive and Diffusion Language Models" (Arriola et al.,
    2025), with a model that was trained without blocks.

    Args:
        size: tokens in a block.
        inner: any sampler of masked processes that asks about all items at once.
    """

    process = Discrete
    stochastic = True
    one_step = at_start = False

    def __init__(self, size: int, inner: Sampler | None = None) -> None:
        if size < 1:
            raise ValueError(f"a block has at least one token, got {size}")
        self.size, self.inner = size, Ancestral(1.0) if inner is None else inner
        check_inner(self, self.inner)
        check_foreseen(self.inner)

    def steps(self, denoiser: Denoiser, evaluations: int) -> int:
        """Of the grid, which is walked once per block.

        Raises:
            UserError: not one step per block can be taken with so few, or the length of an item is not known.
        """
        if denoiser.shape is None:
            raise UserError("Blocks cannot count its evaluations: give the denoiser the shape of one item")
        blocks = math.ceil(denoiser.shape[-1] / self.size)
        if evaluations < blocks:
            raise UserError(f"Blocks needs at least {blocks} evaluations, one per block, got {evaluations}")
        return self.inner.steps(denoiser, evaluations // blocks)

    def walk(
        self,
        denoiser: Denoiser,
        x1: State,
        times: Tensor,
        condition: Condition,
        rng: Streams,
        callback: Callback | None,
    ) -> State:
        """Block after block along the last axis."""
        refuse_unmasked(self, denoiser.process)
        assert isinstance(x1, Tensor)
        x = x1
        for number, start in enumerate(range(0, x1.shape[-1], self.size)):
            before, block, behind = x.tensor_split([start, min(start + self.size, x1.shape[-1])], -1)
            inside, fresh = _of_block(denoiser, before, behind), rng.fold("block", start)
            told = callback and _of_whole(callback, number * (len(times) - 1), before, behind)
            part = self.inner.walk(inside, block, times, condition, fresh, told)
            assert isinstance(part, Tensor)
            x = torch.cat([before, part, behind], -1)
        return x


def _of_whole(callback: Callback, first: int, before: Tensor, behind: Tensor) -> Callback:
    """A callback for the walk of what stands between, that tells of the whole."""

    def told(number: int, t: Tensor, part: State) -> None:
        assert isinstance(part, Tensor)
        callback(first + number, t, torch.cat([before, part, behind], -1))

    return told


def _of_block(denoiser: Denoiser, before: Tensor, behind: Tensor) -> Denoiser:
    """The denoiser of what stands between, which sees the whole."""

    def posterior(x_t: Tensor, t: Tensor, condition: Condition) -> Categorical:
        x = torch.cat([before, x_t, behind], -1)
        share = (as_time(t, x) * x_t.shape[-1] + behind.shape[-1]) / x.shape[-1]
        inside = slice(before.shape[-1], before.shape[-1] + x_t.shape[-1])
        return Categorical(_logits(denoiser, x, share, condition)[..., inside, :])

    return Denoiser.from_function(denoiser.process, posterior)
