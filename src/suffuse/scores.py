"""How likely items are to a model, one row for each."""

import csv
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from suffuse.codecs.base import Codec
from suffuse.denoiser import Denoiser
from suffuse.errors import UserError
from suffuse.likelihood import Estimate, bits_per_dimension, dequantise, estimate_elbo, estimate_log_likelihood
from suffuse.processes import Gaussian
from suffuse.rng import Streams
from suffuse.tree import Condition, State

METHODS = ("bound", "flow")
"""A lower bound on the log-likelihood, for every process; or that of the probability-flow ODE, for Gaussian ones."""


@dataclass(frozen=True)
class Score:
    """How likely one item is.

    Args:
        nats: log-density of the item, or a bound on it; of whole numbers, with an even law over each one's cell.
        standard_error: of the random numbers that it was estimated with.
        bits: per element, where the elements of an item are whole numbers; less is more likely.
    """

    nats: float
    standard_error: float
    bits: float | None


def estimate(
    denoiser: Denoiser, codec: Codec, x0: State, told: Condition, rng: Streams, method: str, evaluations: int
) -> list[Score]:
    """Scores of a batch of encoded items.

    Args:
        denoiser: of the items.
        codec: that encoded them; says how far neighbouring values are apart.
        x0: (B, ...) encoded items.
        told: their conditions.
        rng: (B,) streams.
        method: one of METHODS.
        evaluations: of the network for each item; with "flow" each step takes four, and backward passes.
    """
    quantum, elements = codec.quantum, math.prod(codec.shape)
    if quantum is not None:
        assert isinstance(x0, Tensor)
        x0 = dequantise(x0, quantum, rng)
    found = (
        _flow(denoiser, x0, told, rng, evaluations)
        if method == "flow"
        else estimate_elbo(denoiser, x0, told, rng, evaluations=evaluations)
    )
    bits = [None] * len(rng) if quantum is None else bits_per_dimension(found.value, elements, quantum).tolist()
    return [Score(*row) for row in zip(found.value.tolist(), found.standard_error.tolist(), bits, strict=True)]


def _flow(denoiser: Denoiser, x0: State, told: Condition, rng: Streams, evaluations: int) -> Estimate:
    assert isinstance(x0, Tensor)
    return estimate_log_likelihood(denoiser, x0, told, rng, steps=max(evaluations // 4, 1))


def check(denoiser: Denoiser, method: str) -> None:
    """Refuse what cannot be scored, before anything is read.

    Raises:
        UserError: there is no such method, or it does not fit the model.
    """
    if method not in METHODS:
        raise UserError(f"there is no method {method!r} of scoring; choose one of {', '.join(METHODS)}")
    if method == "flow" and not isinstance(denoiser.process, Gaussian):
        raise UserError("--method flow is for Gaussian processes; leave it out for the bound, which fits them all")


def write(names: Sequence[str], scores: Sequence[Score], file: Path) -> None:
    """Write one row for each item.

    Raises:
        UserError: the file cannot be written.
    """
    try:
        with file.open("w", newline="", encoding="utf-8") as out:
            rows = csv.writer(out)
            rows.writerow(["item", "nats", "standard_error", "bits_per_dimension"])
            for name, score in zip(names, scores, strict=True):
                bits = "" if score.bits is None else f"{score.bits:.5f}"
                rows.writerow([name, f"{score.nats:.4f}", f"{score.standard_error:.4f}", bits])
    except OSError as error:
        raise UserError(f"{file} cannot be written: {error.strerror}; choose another file with --out") from error


def summary(names: Sequence[str], scores: Sequence[Score], shown: int = 5) -> str:
    """The mean with its standard error over the items, and the least likely ones."""
    values = [score.nats if score.bits is None else score.bits for score in scores]
    unit = "nats" if scores[0].bits is None else "bits per dimension"
    table = torch.tensor(values, dtype=torch.float64)
    error = float(table.std() / math.sqrt(len(values))) if len(values) > 1 else math.nan
    likely = sorted(zip((score.nats for score in scores), names, values, strict=True))[:shown]
    lines = [f"{len(values)} items, mean {float(table.mean()):.4f} ± {error:.4f} {unit}", "least likely:"]
    return "\n".join(lines + [f"  {value:10.4f}  {name}" for _, name, value in likely])
