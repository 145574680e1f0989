"""What is asked of an item: its class, among those that the model can be told, or the part that it is to predict."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from suffuse.codecs.base import ConditionCodec, Question
from suffuse.errors import UserError
from suffuse.likelihood import dequantise, log_prob_of_parts, race, tempered
from suffuse.likelihood.classes import NEGLIGIBLE
from suffuse.tree import PRESENT, map_leaves

if TYPE_CHECKING:
    from suffuse.model import Model

_EACH = 64
"""Evaluations for each candidate, unless a budget is given."""
_DRAWS = 64
_AT_ONCE = 32
_SHARES = (0.05, 0.25, 0.5, 0.75, 0.95)

Progress = Callable[[int, int], None] | None


class Answers(ABC):
    """What was found out about each item."""

    name: str
    """Of what was asked for."""

    @abstractmethod
    def columns(self) -> dict[str, list[Any]]:
        """Columns of a table with a row for each item, by their headings."""


@dataclass(frozen=True)
class Classes(Answers):
    """A probability for each class.

    Args:
        name: of what was asked for.
        values: the classes.
        log_odds: (N, K) of the data under each class, in nats, less those of the best.
        log_prior: (K,) of the classes.
        temperature: by which the log-odds are divided.
    """

    name: str
    values: tuple[Any, ...]
    log_odds: Tensor
    log_prior: Tensor
    temperature: float

    @property
    def probabilities(self) -> Tensor:
        """(N, K), float64."""
        return tempered(self.log_odds, self.temperature, self.log_prior)

    @property
    def predicted(self) -> list[Any]:
        """The likeliest class of each item."""
        return [self.values[place] for place in self.probabilities.argmax(1).tolist()]

    def places(self, labels: Sequence[Any]) -> tuple[list[int], list[int]]:
        """Of the labels that are among the classes: which items have them, and the places of their classes."""
        place = {str(value): number for number, value in enumerate(self.values)}
        known = [row for row, label in enumerate(labels) if str(label) in place]
        return known, [place[str(labels[row])] for row in known]

    def columns(self) -> dict[str, list[Any]]:
        """The likeliest class, and the probability of each under its name."""
        chances = self.probabilities.T.tolist()
        return {"class": self.predicted} | {str(v): c for v, c in zip(self.values, chances, strict=True)}


@dataclass(frozen=True)
class Numbers(Answers):
    """Draws of a number.

    Args:
        name: of what was asked for.
        draws: (N, R) float64, from the model's law of it given the rest of the item.
    """

    name: str
    draws: Tensor

    def columns(self) -> dict[str, list[Any]]:
        """Mean and quantiles."""
        shares = torch.tensor(_SHARES, dtype=torch.float64)
        quantiles = {
            f"q{100 * q:02.0f}": row.tolist() for q, row in zip(_SHARES, self.draws.quantile(shares, 1), strict=True)
        }
        return {"mean": self.draws.mean(1).tolist()} | quantiles


def classify(
    model: "Model",
    items: Sequence[Any],
    of: str | None,
    told: Mapping[str, Sequence[Any]],
    prior: str,
    evaluations: int | None,
    seed: int,
    progress: Progress,
) -> Answers:
    """See ``Model.classify``."""
    question = model.codec.question
    if question is not None and of in (None, question.name):
        if not model.infills:
            raise UserError(
                f"{model.origin.name} was not trained to be told the rest; train it with --given 0.3 or more"
            )
        items = [model.codec.unanswered(item) for item in items]
        if question.values:
            return _by_parts(model, question, items, told, seed, progress)
        return _by_draws(model, question, items, told, seed, progress)
    name, codec = _asked(model, of)
    return _by_bounds(model, name, codec, items, told, prior, evaluations, seed, progress)


def _asked(model: "Model", of: str | None) -> tuple[str, ConditionCodec]:
    """The condition that is asked for: the one named, or the only one of classes."""
    choices = {name: codec for name, codec in model.conditions.items() if codec.candidates()}
    if of is not None and of not in choices:
        raise UserError(f"this model has no classes {of!r}; {_known(choices)}")
    if of is None and len(choices) != 1:
        raise UserError(f"say what is to be found out: {_known(choices)}")
    name = of or next(iter(choices))
    return name, choices[name]


def _known(choices: Mapping[str, ConditionCodec]) -> str:
    names = ", ".join(choices)
    return (
        f"it knows {names}" if names else "train it with --condition and a field of classes, or a table with --target"
    )


def _by_bounds(
    model: "Model",
    name: str,
    codec: ConditionCodec,
    items: Sequence[Any],
    told: Mapping[str, Sequence[Any]],
    prior: str,
    evaluations: int | None,
    seed: int,
    progress: Progress,
) -> Classes:
    values = codec.candidates()
    log_prior = _log_prior(prior, codec, name)
    encoded, present = codec.encode(values)
    candidates = {name: encoded, name + PRESENT: present}
    temperature = model.calibration.temperature
    budget = _EACH * len(values) if evaluations is None else evaluations
    odds = [torch.zeros(0, len(values), dtype=torch.float64)]
    for rows, condition, rng in model.batches(len(items), told, seed):
        x0, quantum = model.encoded(items, rows, seed), model.codec.quantum
        if quantum is not None:
            x0 = map_leaves(lambda leaf, rng=rng, quantum=quantum: dequantise(leaf, quantum, rng), x0)
        with model.precision():
            found = race(model.denoiser, x0, candidates, rng, budget, condition, temperature * NEGLIGIBLE)
        odds.append(found.log_odds.cpu())
        if progress is not None:
            progress(rows.stop, len(items))
    return Classes(name, tuple(values), torch.cat(odds), log_prior, temperature)


def _log_prior(prior: str, codec: ConditionCodec, name: str) -> Tensor:
    if prior not in ("even", "data"):
        raise UserError(f"there is no prior {prior!r}; choose even, or data for the shares of the training data")
    count = len(codec.candidates())
    shares = codec.frequencies() if prior == "data" else [1 / count] * count
    if not shares:
        raise UserError(f"how frequent the classes of {name} were is not known to this model; take the even prior")
    return torch.tensor(shares, dtype=torch.float64).log()


def _by_parts(
    model: "Model",
    question: Question,
    items: Sequence[Any],
    told: Mapping[str, Sequence[Any]],
    seed: int,
    progress: Progress,
) -> Classes:
    """The denoiser's answer where all but the part is given."""
    count = len(question.values)
    odds = [torch.zeros(0, count, dtype=torch.float64)]
    for rows, condition, rng in model.batches(len(items), told, seed):
        known = model.codec.partial([items[row] for row in rows])
        states = (*known, question.candidates, question.elements)
        x0, given, candidates, asked = (map_leaves(lambda leaf, to=rng.index.device: leaf.to(to), s) for s in states)
        with model.precision():
            found = log_prob_of_parts(model.denoiser, x0, given, candidates, asked, condition, rng)
        odds.append((found - found.amax(1, keepdim=True)).cpu())
        if progress is not None:
            progress(rows.stop, len(items))
    log_prior = torch.zeros(count, dtype=torch.float64)
    return Classes(question.name, question.values, torch.cat(odds), log_prior, model.calibration.temperature)


def _by_draws(
    model: "Model",
    question: Question,
    items: Sequence[Any],
    told: Mapping[str, Sequence[Any]],
    seed: int,
    progress: Progress,
) -> Numbers:
    """Many draws of the part for each item, a few items at a time."""
    draws: list[Any] = []
    for start in range(0, len(items), _AT_ONCE):
        rows = [row for row in range(start, min(start + _AT_ONCE, len(items))) for _ in range(_DRAWS)]
        filled = model.infill(
            [items[row] for row in rows],
            condition={name: [column[row] for row in rows] for name, column in told.items()} or None,
            seed=seed + start * _DRAWS,
        )
        draws += map(model.codec.answer, model.codec.items(filled))
        if progress is not None:
            progress(rows[-1] + 1, len(items))
    if not all(isinstance(draw, int | float) for draw in draws):
        raise UserError(f"{question.name} is neither a class nor a number; draw it with infill")
    return Numbers(question.name, torch.tensor(draws, dtype=torch.float64).reshape(-1, _DRAWS))
