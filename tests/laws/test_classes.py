"""Classes by Bayes' rule over bounds, parts by the chain rule, and calibration, against closed forms."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor

import suffuse as sf
from suffuse.exact import GaussianMixture, Tokens
from suffuse.likelihood import calibration_error, fit_temperature, log_prob_of_parts, race, tempered
from suffuse.likelihood.classes import ROUND
from suffuse.rng import Streams
from tests.laws.cases import F64, SCHEDULE_CASES, close
from tests.laws.statistics import LEAST, zero_mean

CLASSES = GaussianMixture(
    torch.tensor([[-1.0, 0.5], [0.8, 0.6], [0.1, -0.9], [6.0, 6.0]], dtype=F64), torch.tensor([0.9, 0.7, 1.1, 0.5])
)
"""Four classes, the last far from the others."""
CHOICES = {"component": torch.arange(4)}
N = 600


def truth(x0: Tensor, law: GaussianMixture = CLASSES) -> Tensor:
    """Log-probability of the classes, (N, K), with an even prior."""
    return torch.stack([law.component(k).log_prob(x0) for k in range(4)], 1).log_softmax(1)


def near(n: int = N) -> Tensor:
    """Items of the three classes that are hard to tell apart."""
    return torch.cat([CLASSES.component(k).sample(n // 3, k) for k in range(3)])


@pytest.mark.parametrize("schedule", SCHEDULE_CASES)
def test_odds_are_bayes_within_their_errors(schedule):
    """n = 600 items: the mean is that of the closed form, a shift of a third of the deviation is seen."""
    x0 = near()
    found = race(CLASSES.denoiser(sf.Gaussian(SCHEDULE_CASES[schedule])), x0, CHOICES, rng=1, evaluations=400)
    off = _first_three(found.log_odds) - _first_three(truth(x0))
    error = found.standard_error[:, :3].amax(1)
    for column in off[:, 1:].unbind(1):
        assert zero_mean(column) > LEAST
        assert zero_mean(column + 0.35 * column.std()) < LEAST
    inside = (off.abs().amax(1) <= 3 * error).double().mean()
    assert inside > 0.95
    assert (off.abs().amax(1) <= error / 4).double().mean() < 0.5


def _first_three(odds: Tensor) -> Tensor:
    return odds[:, :3] - odds[:, :1]


def test_a_wrong_denoiser_is_found_out():
    """One class half a deviation off: the odds of its items are no longer Bayes'."""
    moved = GaussianMixture(CLASSES.means + torch.tensor([[0.5], [0.0], [0.0], [0.0]]), CLASSES.variances.sqrt()[:, :1])
    x0 = CLASSES.component(0).sample(N, 8)
    found = race(moved.denoiser(sf.Gaussian(sf.schedules.Flow())), x0, CHOICES, rng=1, evaluations=400)
    off = (_first_three(found.log_odds) - _first_three(truth(x0)))[:, 1]
    assert zero_mean(off) < LEAST


def test_who_leaves_changes_nothing_but_the_work():
    """Of items whose three classes are within 2 nats of each other, and the fourth far off, n = 200 or more."""
    x0, denoiser = near(3000), CLASSES.denoiser(sf.Gaussian(sf.schedules.Flow()))
    spread = truth(x0)[:, :3]
    x0 = x0[spread.amax(1) - spread.amin(1) < 2]
    assert len(x0) > 200
    leaving = race(denoiser, x0, CHOICES, rng=2, evaluations=600)
    staying = race(denoiser, x0, CHOICES, rng=2, evaluations=600, negligible=math.inf)
    assert (staying.evaluations == 600 // (4 * ROUND) * 4 * ROUND).all()
    assert (leaving.evaluations <= 600).all()
    for found in (leaving, staying):
        off = found.log_odds.softmax(1) - truth(x0).exp()
        assert off[:, 3].abs().max() < 0.01
        for column in _first_three(found.log_odds - truth(x0))[:, 1:].unbind(1):
            assert zero_mean(column) > LEAST
    # The same numbers are seen, but more of them by those who are left.
    assert leaving.standard_error[:, :3].sum() < staying.standard_error[:, :3].sum()


def test_one_that_is_left_alone_stops():
    x0 = CLASSES.component(3).sample(20, 5)
    found = race(CLASSES.denoiser(sf.Gaussian(sf.schedules.Flow())), x0, CHOICES, rng=3, evaluations=4000)
    assert (found.evaluations < 400).all()
    assert (found.log_odds.argmax(1) == 3).all()


def test_odds_are_a_function_of_their_items_stream():
    x0, rng = near(30), Streams.of(4, range(30))
    denoiser = CLASSES.denoiser(sf.Gaussian(sf.schedules.Flow()))
    many = race(denoiser, x0, CHOICES, rng, evaluations=200)
    few = race(denoiser, x0[7:9], CHOICES, rng[7:9], evaluations=200)
    assert close(few.log_odds, many.log_odds[7:9])
    assert (few.evaluations == many.evaluations[7:9]).all()


TABLES = torch.tensor([[[0.5, 0.1], [0.1, 0.3]], [[0.1, 0.2], [0.6, 0.1]]], dtype=F64)


def of_tokens(process: sf.Discrete) -> sf.Denoiser:
    """Two classes of pairs of tokens."""
    parts = [Tokens(table).denoiser(process) for table in TABLES]

    def function(x_t: Tensor, t: Any, condition: Any) -> sf.Categorical:
        logits = torch.stack([part(x_t, t).logits for part in parts])
        return sf.Categorical(logits[condition["label"], torch.arange(len(x_t))])

    return sf.Denoiser.from_function(process, function)


@pytest.mark.parametrize("process", [sf.Discrete.masked(2), sf.Discrete.uniform(2)], ids=["masked", "uniform"])
def test_tokens_have_classes_too(process):
    """n = 4 pairs x 300."""
    pairs = torch.cartesian_prod(torch.arange(2), torch.arange(2)).repeat_interleave(300, 0)
    found = race(of_tokens(process), pairs, {"label": torch.arange(2)}, rng=5, evaluations=200)
    odds = found.log_odds[:, 1] - found.log_odds[:, 0]
    exact = (TABLES[1] / TABLES[0]).log()[tuple(pairs.T)]
    for off in (odds - exact).reshape(4, 300).unbind():
        assert zero_mean(off) > LEAST
        assert zero_mean(off + 0.5 * max(float(off.std()), 0.01)) < LEAST


def test_parts_have_their_exact_probabilities():
    """Two of three tokens asked for together; one alone with another unknown; by enumeration."""
    table = torch.rand(3, 3, 3, dtype=F64, generator=torch.Generator().manual_seed(0))
    law = Tokens(table)
    denoiser, x0 = law.denoiser(sf.Discrete.masked(3)), torch.tensor([[0, 0, 2], [0, 0, 1]])
    known = torch.tensor([[False, False, True]]).expand(2, 3)
    pairs = torch.cartesian_prod(torch.arange(3), torch.arange(3), torch.zeros(1, dtype=torch.long))
    both = log_prob_of_parts(denoiser, x0, known, pairs, torch.tensor([[True, True, False]]))
    exact = law.table[:, :, [2, 1]] / law.table[:, :, [2, 1]].sum((0, 1))
    assert close(both.exp(), exact.reshape(9, 2).T)
    single = torch.tensor([[0, 0, 0], [1, 0, 0], [2, 0, 0]])
    one = log_prob_of_parts(denoiser, x0, known, single, torch.tensor([[True, False, False]]))
    assert close(one.exp(), exact.sum(1).T)


def test_the_temperature_that_was_planted_is_found():
    """n = 20,000 labels drawn at temperature 2.5."""
    odds = 4 * Streams.of(6, range(20_000)).fold("odds").normal(torch.empty(20_000, 3, dtype=F64))
    log_prior = torch.tensor([0.5, 0.3, 0.2], dtype=F64).log()
    chances = tempered(odds, 2.5, log_prior)
    labels = sf.Categorical(chances.log()).sample(7)
    assert fit_temperature(odds, labels, log_prior) == pytest.approx(2.5, rel=0.05)
    assert calibration_error(chances, labels) < 0.015
    assert calibration_error(tempered(odds, 1.0, log_prior), labels) > 0.05


@pytest.mark.parametrize(("count", "evaluations", "message"), [(1, 400, "two candidates"), (4, 30, "at least 40")])
def test_a_race_of_no_sense_is_refused(count, evaluations, message):
    denoiser = CLASSES.denoiser(sf.Gaussian(sf.schedules.Flow()))
    with pytest.raises(sf.UserError, match=message):
        race(denoiser, near(3), {"component": torch.arange(count)}, rng=0, evaluations=evaluations)
