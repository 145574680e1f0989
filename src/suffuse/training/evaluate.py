"""How good the model is on data held out, in the whole and at each level of noise."""

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from suffuse.objectives import EARLIEST, When
from suffuse.rng import Streams
from suffuse.training.batches import Batch, Data
from suffuse.training.config import TrainingConfig
from suffuse.training.learner import Loss
from suffuse.tree import batch_size, mean_per_item

if TYPE_CHECKING:
    from accelerate import Accelerator

LEVELS = 8
"""Bins of noise levels; they hold equal shares of what is trained on."""
_DRAWS = 512


@dataclass(frozen=True)
class Level:
    """What was measured in one bin of noise levels.

    Args:
        t: mean time.
        level: mean of what the network is told, or None where that is not one number.
        loss: mean of -log q(x_0 | x_t) per element.
        bound: this bin's share of the bound, times the number of bins, in nats per element; None with a coupling.
    """

    t: float | None
    level: float | None
    loss: float | None
    bound: float | None


@dataclass(frozen=True)
class Measurement:
    """What was measured.

    Args:
        loss: the objective's own loss, as in training.
        bound: on -log p(x_0), in nats per element, over the levels of noise trained on, without the terms of
            the two ends; None with a coupling.
        levels: the same by level of noise, from low to high.
    """

    loss: float
    bound: float | None
    levels: list[Level]

    @property
    def figure(self) -> float:
        """What is compared: the bound, or the loss where there is none."""
        return self.loss if self.bound is None else self.bound


class HeldOut:
    """The items held out, each with a noise level and noise of its own that are the same at every measurement.

    The times :math:`t_j` are evenly spread quantiles of the time law. The bound is the integral over the times that
    they span, by the trapezoidal rule, of the process's integrand: a mean over the law's density would be one item's
    figure, that of the rarest level of noise.

    Args:
        data: where they come from.
        loss: denoiser and objective.
        config: seed and size of the batches.
        accelerator: the processes, which share the work.
    """

    def __init__(self, data: Data, loss: Loss, config: TrainingConfig, accelerator: "Accelerator") -> None:
        self._loss, self._accelerator = loss, accelerator
        x0, condition, source = data.held_out(_DRAWS)
        items = Batch(torch.arange(batch_size(x0)), x0, condition, source)
        own = torch.arange(accelerator.process_index, _DRAWS, accelerator.num_processes)
        chunk = max(1, config.batch // accelerator.num_processes // config.accumulate)
        self._chunks = [
            replace(items.map(lambda leaf, rows=rows: leaf[rows % len(items.index)]), index=rows)
            for rows in own.split(chunk)
        ]
        self._rng = Streams.of(config.seed, torch.arange(_DRAWS)).fold("held out")

    @torch.no_grad()
    def measure(self) -> Measurement:
        """Measure the denoiser with the weights that it has."""
        device = self._accelerator.device
        table = torch.zeros(_DRAWS, 5, dtype=torch.float64, device=device)
        training = self._loss.training
        self._loss.eval()
        for chunk in self._chunks:
            table[chunk.index.to(device)] = self._rows(chunk, device)
        self._loss.train(training)
        table = self._accelerator.reduce(table, "sum")
        assert isinstance(table, Tensor)
        table = table.cpu()
        # A row's share of the integral: N times half the distance between its neighbours in time.
        times, order = table[:, 0].sort()
        gaps = (times[1:] - times[:-1]) * (_DRAWS / 2)
        table[order, 3] *= torch.cat([gaps, gaps.new_zeros(1)]) + torch.cat([gaps.new_zeros(1), gaps])
        bins = (self._rng.low_discrepancy() * LEVELS).long()
        levels = [Level(*map(_number, table[bins == level, :4].mean(0).tolist())) for level in range(LEVELS)]
        bound, loss = table[:, 3:].mean(0).tolist()
        return Measurement(loss, _number(bound), levels)

    def _rows(self, chunk: Batch, device: torch.device) -> Tensor:
        """Time, level, plain loss, the bound's integrand and the objective's own loss of each item."""
        rng = self._rng[chunk.index]
        chunk = chunk.map(lambda leaf: leaf.to(device))
        denoiser, objective, x0 = self._loss.denoiser, self._loss.objective, chunk.x0
        process = denoiser.process
        t = objective.law.quantile(rng.low_discrepancy()).clamp(min=EARLIEST).to(device)
        source = objective.pair(x0, rng, chunk.source)
        x_t = process.corrupt(x0, t, rng, source)
        with self._loss.precision(device):
            posterior = denoiser(x_t, t, chunk.condition)
            own = objective.weight(process, x0, x_t, posterior, When(t, objective.law.density(t), t))
        level, nothing = process.level(t), torch.full_like(t, torch.nan)
        columns = [
            t,
            level if isinstance(level, Tensor) else nothing,
            -mean_per_item(posterior.log_prob(x0)),
            nothing if objective.coupling else mean_per_item(process.elbo(x0, x_t, posterior, t)),
            mean_per_item(own),
        ]
        return torch.stack([column.double() for column in columns], 1)


def _number(value: float) -> float | None:
    """None for what there is none of."""
    return None if math.isnan(value) else value
