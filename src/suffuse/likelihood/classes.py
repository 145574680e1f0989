r"""Which of several conditions is an item's? Bayes' rule over the bounds, and a posterior that needs none."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from suffuse.denoiser import Denoiser
from suffuse.errors import UserError
from suffuse.guidance.given import Given
from suffuse.likelihood.bound import EARLIEST, Gain, share
from suffuse.likelihood.estimate import total
from suffuse.rng import RandomSource, Streams, streams
from suffuse.tree import Condition, State, at_least_float32, batch_size, device, leaves, map_leaves, sum_per_item

ROUND = 5
"""Evaluations of a round: one of the decoder, and one in each of four strata of time."""
START = 4
"""Rounds before a candidate can fall behind: of fewer no deviation is known."""
NEGLIGIBLE = math.log(100)
"""A candidate leaves the race when it is surely so many nats behind the best."""
_MARGIN = 4.0  # standard errors that make it sure
_GOLDEN = (math.sqrt(5) - 1) / 2
_AT_ONCE = 256


@dataclass(frozen=True)
class Race:
    """What is known of the candidates of each item.

    Args:
        log_odds: (B, K) nats: the bound under each candidate, less that under the best.
        standard_error: (B, K) of these differences, from the random numbers drawn.
        evaluations: (B,) of the denoiser that each item took.
    """

    log_odds: Tensor
    standard_error: Tensor
    evaluations: Tensor


@torch.no_grad()
def race(
    denoiser: Denoiser,
    x0: State,
    candidates: Mapping[str, Tensor],
    rng: RandomSource = None,
    evaluations: int = 400,
    condition: Condition = None,
    negligible: float = NEGLIGIBLE,
) -> Race:
    r"""Differences of the bounds :math:`\log p(x_0 | c)` between candidate conditions c.

    All candidates of an item are judged by the same noise at the same times, so that the noise of their differences is
    small. Evaluations come in rounds, each an unbiased estimate of every bound; a candidate that is more than
    `negligible` nats behind the best, by four standard errors, leaves with what is known of it by then, and the others
    go on until the budget is spent or one alone is left. The numbers that the others see do not depend on who has left;
    who leaves has a negligible probability whatever is known better of it later. The times of consecutive rounds fill
    their strata evenly, by Kronecker's sequence; the standard errors, which do not know it, are rather too large.

    Sources: "Your Diffusion Model is Secretly a Zero-Shot Classifier" (Li, Prabhudesai, Duggal, Brown, Pathak, 2023),
    for common noise; "Text-to-Image Diffusion Models are Zero Shot Classifiers" (Clark, Jaini, 2023), for leaving.

    Args:
        denoiser: of any process.
        x0: clean state, (B, ...) or a mapping of such.
        candidates: conditions by name, (K, ...) each.
        rng: source of randomness; an item's estimate depends on its own stream alone.
        evaluations: of the denoiser for each item, over all its candidates, never more.
        condition: what else the denoiser is told of each item.
        negligible: nats behind the best; at infinity nobody leaves.

    Raises:
        UserError: there are fewer than two candidates, or not enough evaluations for two rounds of all of them.

    Example:
        >>> import suffuse as sf
        >>> law = sf.exact.GaussianMixture(torch.tensor([[-1.0], [1.0]]), torch.ones(2))
        >>> denoiser = law.denoiser(sf.Gaussian(sf.schedules.Flow()))
        >>> found = race(denoiser, torch.tensor([[0.5]]), {"component": torch.arange(2)}, rng=0)
        >>> truth = torch.tensor([[-1.0, 0.0]])  # in nats
        >>> bool(((found.log_odds - truth).abs() <= 3 * found.standard_error).all())
        True
    """
    count = len(next(iter(candidates.values())))
    if count < 2:
        raise UserError(f"a choice needs at least two candidates, not {count}")
    if evaluations < 2 * ROUND * count:
        raise UserError(
            f"{evaluations} evaluations are too few for {count} candidates; allow at least {2 * ROUND * count}"
        )
    field = _Field(denoiser, at_least_float32(x0), candidates, condition, streams(rng, x0).fold("race"))
    racing = torch.ones(batch_size(x0), count, dtype=torch.bool, device=device(x0))
    spent = torch.zeros(batch_size(x0), dtype=torch.long, device=device(x0))
    rounds: list[Tensor] = []
    while True:
        price = ROUND * racing.sum(1)
        goes_on = (spent + price <= evaluations) & (price > ROUND)
        if not goes_on.any():
            return Race(*_differences(torch.stack(rounds)), spent)
        spent += torch.where(goes_on, price, 0)
        rounds.append(field.bounds(racing & goes_on[:, None], len(rounds)))
        if len(rounds) >= START:
            behind, error = _differences(torch.stack(rounds))
            racing &= behind + _MARGIN * error >= -negligible


@dataclass(frozen=True)
class _Field:
    denoiser: Denoiser
    x0: State
    candidates: Mapping[str, Tensor]
    condition: Condition
    rng: Streams

    def bounds(self, racing: Tensor, number: int) -> Tensor:
        """One round: an estimate of the bound of every item (B, K) under the candidates marked; NaN elsewhere."""
        values = torch.full(racing.shape, torch.nan, dtype=torch.float64, device=racing.device)
        for pairs in racing.nonzero().split(_AT_ONCE):
            items, candidates = pairs.unbind(1)
            values[items, candidates] = self._bound(items, candidates, number)
        return values

    def _bound(self, items: Tensor, candidates: Tensor, number: int) -> Tensor:
        told = {name: value[items] for name, value in (self.condition or {}).items()}
        told |= {name: value.to(items.device)[candidates] for name, value in self.candidates.items()}
        x0, rng = map_leaves(lambda leaf: leaf[items], self.x0), self.rng[items]
        gain, noise = Gain(self.denoiser, x0, told, None), rng.fold(number)
        value = total(self.denoiser.process.baseline_bound(x0, self.denoiser.sigma_data))
        value = value + gain.decoding(EARLIEST, noise.fold("end"))
        first, place = math.sqrt(EARLIEST), (share(rng.fold("place")) + number * _GOLDEN).remainder(1)
        width = (1 - first) / (ROUND - 1)
        for stratum in range(ROUND - 1):
            value = value + width * gain.at_root(first + (stratum + place) * width, noise.fold(stratum))
        return value


def _differences(rounds: Tensor) -> tuple[Tensor, Tensor]:
    """Means over rounds (R, B, K) of the difference to the best of those still there, and their standard errors."""
    ran = ~rounds.isnan()
    count = ran.sum(0)
    means = rounds.nansum(0) / count
    still = count == count.amax(1, keepdim=True)
    best = means.masked_fill(~still, -torch.inf).argmax(1)
    ahead = rounds.gather(2, best[None, :, None].expand(len(rounds), -1, 1))
    off = torch.where(ran, rounds - ahead, 0.0)
    mean = off.sum(0) / count
    square = torch.where(ran, (off - mean) ** 2, 0.0).sum(0)
    return mean, (square / (count * (count - 1))).sqrt()


@torch.no_grad()
def log_prob_of_parts(
    denoiser: Denoiser,
    x0: State,
    given: State,
    candidates: State,
    asked: State,
    condition: Condition = None,
    rng: RandomSource = None,
) -> Tensor:
    r"""Log-probabilities (B, K) of the values that some elements of an item may have, given those that are known.

    By the chain rule, :math:`\prod_j p(x^j | x^{<j}, \text{given})`: each factor is the denoiser's answer where what is
    given has time 0 and all else time 1. One evaluation for each beginning that the candidates share, so one in all for
    a single element. It is exact for a denoiser of hidden tokens, where nothing of the data is left at t = 1.

    Args:
        denoiser: that can be told parts, see ``suffuse.Given``.
        x0: state whose given elements are right.
        given: a bool for every element: whether it is known. None of those asked for is.
        candidates: (K, ...): states whose elements asked for have the values to choose from.
        asked: a bool for every element of one item, (1, ...): whether it is asked for.
        condition: what else the denoiser is told.
        rng: source of the noise in the place of what is neither given nor asked for.

    Example:
        >>> import suffuse as sf
        >>> law = sf.exact.Tokens(torch.tensor([[0.1, 0.3], [0.4, 0.2]]))
        >>> known, asked = torch.tensor([[True, False]]), torch.tensor([[False, True]])
        >>> values = torch.tensor([[0, 0], [0, 1]])
        >>> denoiser = law.denoiser(sf.Discrete.masked(2))
        >>> log_prob_of_parts(denoiser, torch.tensor([[0, 0]]), known, values, asked).exp()
        tensor([[0.2500, 0.7500]], dtype=torch.float64)
    """
    noise = denoiser.process.prior(x0, streams(rng, x0).fold("parts"))
    chosen = _flat(candidates)[:, _flat(asked)[0]].tolist()
    result = torch.zeros(batch_size(x0), len(chosen), dtype=torch.float64, device=device(x0))
    known = given
    for place, element in enumerate(_one_by_one(asked)):
        for beginning in dict.fromkeys(tuple(row[:place]) for row in chosen):
            rows = [number for number, row in enumerate(chosen) if tuple(row[:place]) == beginning]
            told = _placed(x0, candidates, rows[0], asked)
            posterior = Given(denoiser, told, known)(noise, 1.0, condition)
            for row in rows:
                log_prob = posterior.log_prob(_placed(x0, candidates, row, asked))
                result[:, row] += sum_per_item(map_leaves(lambda p, here: p.double() * here, log_prob, element))
        known = map_leaves(torch.logical_or, known, element)
    return result


def _placed(x0: State, candidates: State, row: int, asked: State) -> State:
    """The items with the elements asked for as in one of the candidates."""
    return map_leaves(lambda x, c, here: torch.where(here, c[row].to(x), x), x0, candidates, asked)


def _flat(state: State) -> Tensor:
    """All elements of each item in a row, (B, D)."""
    return torch.cat([leaf.flatten(1) for leaf in leaves(state)], 1)


def _one_by_one(asked: State) -> list[State]:
    """For each element that is asked for, a state of marks in which it is the only one."""
    marks: list[State] = []
    for place in _flat(asked)[0].nonzero()[:, 0].tolist():
        start = 0

        def only(leaf: Tensor, place: int = place) -> Tensor:
            nonlocal start
            number = torch.arange(start, start + leaf[0].numel(), device=leaf.device).view_as(leaf)
            start += leaf[0].numel()
            return number == place

        marks.append(map_leaves(only, asked))
    return marks
