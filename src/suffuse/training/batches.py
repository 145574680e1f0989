"""Batches by the number of the step: every item is a function of (seed, global index) alone."""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import torch
from torch import Tensor

from suffuse.data.loader import order
from suffuse.errors import UserError
from suffuse.objectives import Objective
from suffuse.rng import Streams
from suffuse.training.config import TrainingConfig
from suffuse.tree import Condition, State, map_leaves

if TYPE_CHECKING:
    from accelerate import Accelerator

PURPOSE = "train"


class Data(Protocol):
    """What the trainer asks of data."""

    @property
    def size(self) -> int:
        """Number of training items."""
        ...

    def batch(self, positions: Tensor, index: Tensor) -> tuple[State, Condition, State | None]:
        """State, condition and source of the items at positions, for the samples with these global indices."""
        ...

    def held_out(self, n: int) -> tuple[State, Condition, State | None]:
        """The same of the first n held-out items, or of all where there are fewer."""
        ...


@dataclass(frozen=True)
class Batch:
    """Items and their global indices.

    Args:
        index: (B,) int64.
        x0: clean state.
        condition: what the denoiser is told.
        source: state at t = 1 that is paired with the data, or will be by the coupling; or None.
    """

    index: Tensor
    x0: State
    condition: Condition
    source: State | None

    def map(self, function: Callable[[Tensor], Tensor]) -> "Batch":
        """The batch with a function applied to every tensor."""
        condition, source = (
            None if part is None else map_leaves(function, part) for part in (self.condition, self.source)
        )
        return Batch(function(self.index), map_leaves(function, self.x0), condition, source)

    def split(self, parts: int) -> list["Batch"]:
        """Equal parts, in order."""
        size = len(self.index) // parts
        return [self.map(lambda leaf, at=at: leaf[at : at + size]) for at in range(0, len(self.index), size)]


class Feed:
    """This process's share of each global batch, read one step ahead by a thread.

    Global batch k holds the samples with indices [k b, (k + 1) b); process r of n takes the r-th n-th of them.

    Args:
        data: where items come from.
        config: batch size and seed.
        objective: whose coupling pairs noise, or sources, with the data, over the global batch.
        accelerator: the processes.

    Raises:
        UserError: the batch cannot be shared out evenly, or there is no data.
    """

    def __init__(self, data: Data, config: TrainingConfig, objective: Objective, accelerator: "Accelerator") -> None:
        self._data, self._config, self._objective, self._accelerator = data, config, objective, accelerator
        shares = accelerator.num_processes * config.accumulate
        if config.batch % shares:
            raise UserError(
                f"a batch of {config.batch} does not divide by {accelerator.num_processes} processes "
                f"times accumulate {config.accumulate}; use a multiple of {shares}"
            )
        if data.size < 1:
            raise UserError("there are no items to train on; add data")
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="suffuse-feed")
        self._ahead: dict[int, Future[Batch]] = {}

    def get(self, step: int) -> Batch:
        """The share of step number ``step``, from 0, on the device."""
        future = self._ahead.pop(step, None) or self._thread.submit(self._read, step)
        for stale in self._ahead.values():
            stale.cancel()
        self._ahead = {step + 1: self._thread.submit(self._read, step + 1)}
        device = self._accelerator.device
        batch = future.result().map(lambda leaf: leaf.to(device, non_blocking=True))
        return self._paired(step, batch)

    def close(self) -> None:
        """End the thread."""
        self._thread.shutdown(cancel_futures=True)

    def _read(self, step: int) -> Batch:
        share = self._config.batch // self._accelerator.num_processes
        first = step * self._config.batch + self._accelerator.process_index * share
        index = torch.arange(first, first + share)
        batch = Batch(index, *self._data.batch(order(self._data.size, index, self._config.seed), index))
        return batch.map(Tensor.pin_memory) if self._accelerator.device.type == "cuda" else batch

    def _paired(self, step: int, batch: Batch) -> Batch:
        """With what the coupling has paired, whatever the number of processes and parts."""
        if self._objective.coupling is None:
            return batch
        size, share = self._config.batch, len(batch.index)
        index = torch.arange(step * size, (step + 1) * size, device=batch.index.device)
        x0 = self._accelerator.gather(batch.x0)
        given = None if batch.source is None else self._accelerator.gather(batch.source)
        source = self._objective.pair(x0, Streams.of(self._config.seed, index).fold(PURPOSE), given)
        first = self._accelerator.process_index * share
        own = None if source is None else map_leaves(lambda leaf: leaf[first : first + share], source)
        return Batch(batch.index, batch.x0, batch.condition, own)
