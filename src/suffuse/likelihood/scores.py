"""How likely a model finds an item, in units of the item itself."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import cast

from torch import Tensor

from suffuse.denoiser import Denoiser
from suffuse.errors import UserError
from suffuse.likelihood.bound import estimate_elbo
from suffuse.likelihood.estimate import Estimate, bits_per_dimension, dequantise
from suffuse.likelihood.flow import estimate_log_likelihood
from suffuse.rng import Streams
from suffuse.tree import Condition, State, leaves

_STAGES = 4  # evaluations in a step of the flow


@dataclass(frozen=True)
class Score:
    """How likely an item is.

    Args:
        nats: log-probability of the item (of its own values, where those are whole steps of a quantum, and else the
            log-density of its state): a lower bound on it, or an estimate.
        standard_error: of it, in nats, from the random numbers drawn.
        bits_per_dimension: the same as bits for each element of the state, or each letter of a text: less is likelier.
    """

    nats: float
    standard_error: float
    bits_per_dimension: float


def joined(parts: Sequence[Score], dimensions: int) -> Score:
    """The score of an item by those of its independent parts.

    Args:
        parts: their scores.
        dimensions: what bits are counted per, such as the letters of a text.
    """
    nats = sum(part.nats for part in parts)
    error = math.sqrt(sum(part.standard_error**2 for part in parts))
    return Score(nats, error, -nats / dimensions / math.log(2))


Method = Callable[[Denoiser, State, Condition, Streams, int], Estimate]


def bound(denoiser: Denoiser, x0: State, condition: Condition, rng: Streams, evaluations: int) -> Estimate:
    """The variational bound, for every process."""
    return estimate_elbo(denoiser, x0, condition, rng, evaluations=evaluations)


def flow(denoiser: Denoiser, x0: State, condition: Condition, rng: Streams, evaluations: int) -> Estimate:
    """The log-density of the probability-flow ODE, for Gaussian processes."""
    if evaluations < _STAGES:
        raise UserError(f"the flow needs at least {_STAGES} evaluations, not {evaluations}")
    return estimate_log_likelihood(denoiser, cast(Tensor, x0), condition, rng, evaluations // _STAGES)


METHODS: dict[str, Method] = {"elbo": bound, "ode": flow}
"""Ways to find the likelihood, by name."""


def score(
    denoiser: Denoiser,
    x0: State,
    condition: Condition,
    rng: Streams,
    quantum: float | None,
    method: Method,
    evaluations: int,
) -> list[Score]:
    """Scores of a batch of clean states.

    Args:
        denoiser: the model.
        x0: (B, ...) or a mapping of such.
        condition: what the denoiser is told.
        rng: one stream for each item.
        quantum: distance between neighbouring values, over which they are then spread; None where there is none.
        method: one of :data:`METHODS`.
        evaluations: of the denoiser for each item.
    """
    if quantum is not None:
        assert isinstance(x0, Tensor)
        x0 = dequantise(x0, quantum, rng)
    estimate = method(denoiser, x0, condition, rng, evaluations)
    dimensions = sum(leaf[0].numel() for leaf in leaves(x0))
    bits = bits_per_dimension(estimate.value, dimensions, quantum or 1.0)
    nats = estimate.value + dimensions * math.log(quantum or 1.0)
    columns = (column.tolist() for column in (nats, estimate.standard_error, bits))
    return [Score(*row) for row in zip(*columns, strict=True)]
