"""What learns: denoiser, objective, optimiser and averages, one step at a time, to files and back."""

import json
import math
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from suffuse.denoiser import Denoiser
from suffuse.errors import UserError
from suffuse.objectives import Objective
from suffuse.precision import arithmetic
from suffuse.rng import Streams
from suffuse.training.batches import PURPOSE, Batch
from suffuse.training.checkpoint import FORMAT, TRAINER, read
from suffuse.training.config import TrainingConfig
from suffuse.training.ema import Averages
from suffuse.tree import Condition, State

if TYPE_CHECKING:
    from accelerate import Accelerator


@dataclass
class Progress:
    """Where a training is; all of it is in a checkpoint.

    Args:
        steps: optimiser steps made.
        images: items seen.
        seconds: time spent.
        halvings: how often the rate was halved after numbers that were not finite.
        evaluated: amount of the budget used at the last measurement.
        sampled: the same at the last sheet of samples.
        kept: the same when the averages were last kept.
        best: images at the best measurement.
        figure: the best measurement.
        stale: measurements since then.
        items: size of the training data.
    """

    steps: int = 0
    images: int = 0
    seconds: float = 0.0
    halvings: int = 0
    evaluated: float = 0.0
    sampled: float = 0.0
    kept: float = 0.0
    best: int | None = None
    figure: float | None = None
    stale: int = 0
    items: int = 0


class Loss(nn.Module):
    """Denoiser and objective as one module, so that one wrapper makes both parallel.

    Args:
        denoiser: what is trained.
        objective: how it is judged; it may have weights of its own.
        config: seed and precision.
    """

    def __init__(self, denoiser: Denoiser, objective: Objective, config: TrainingConfig) -> None:
        super().__init__()
        self.denoiser, self.objective = denoiser, objective
        self._seed, self._precision = config.seed, config.precision

    def forward(self, index: Tensor, x0: State, condition: Condition, source: State | None) -> Tensor:
        """Loss of each item, (B,); all its random numbers derive from (seed, index)."""
        rng = Streams.of(self._seed, index).fold(PURPOSE)
        with self.precision(index.device):
            return self.objective(self.denoiser, x0, condition, rng, source)

    def precision(self, device: torch.device) -> torch.autocast:
        """The arithmetic of the network. Torch's own context: accelerate fixes one for the life of a process."""
        return arithmetic(device, self._precision)


class AdamW(torch.optim.AdamW):
    """AdamW that leaves everything as it is while ``found_inf`` is 1: decided on the device, without waiting for it."""

    found_inf: Tensor


class Learner:
    """The state of a training and the step that changes it.

    Args:
        denoiser: what is trained; its parameters are changed in place.
        objective: how it is judged.
        config: the choices.
        accelerator: devices and processes.

    Raises:
        UserError: there is nothing to train.
    """

    def __init__(
        self, denoiser: Denoiser, objective: Objective, config: TrainingConfig, accelerator: "Accelerator"
    ) -> None:
        self.loss, self._config, self._accelerator = Loss(denoiser, objective, config), config, accelerator
        self.progress = Progress()
        if config.compile and isinstance(denoiser.network, nn.Module):
            denoiser.network.compile()
        self._parallel = accelerator.prepare(self.loss)
        self._named = {name: p for name, p in self.loss.named_parameters() if p.requires_grad}
        if not self._named:
            raise UserError("the denoiser has no weights to train; give it a network")
        self.averages = Averages(denoiser, config.ema)
        groups = decay_groups(self.loss, config.weight_decay)
        self._optimizer = AdamW(groups, lr=config.learning_rate, betas=config.betas, fused=True)
        self.reset()

    def reset(self) -> None:
        """Begin to sum up anew: nothing has happened since."""
        device = self._accelerator.device
        self.total = torch.zeros((), dtype=torch.float64, device=device)
        self.norm = torch.zeros((), device=device)
        self.steps, self.failed = 0, torch.zeros((), dtype=torch.float64, device=device)
        self._optimizer.found_inf = torch.zeros((), device=device)

    def step(self, batch: Batch, rate: float) -> None:
        """One step of the optimiser. Nothing here waits for the device.

        Since :meth:`reset`, ``total`` is the sum of the steps' losses (of this process's items), ``norm`` the last
        norm of the gradient, and ``failed`` the number of the first step, from 1, where one of them was not finite.
        Once a gradient is not finite, no weight is changed any more.
        """
        parts = batch.split(self._config.accumulate)
        for number, part in enumerate(parts):
            self._seed_dropout(number)
            last = number == len(parts) - 1
            with nullcontext() if last else self._accelerator.no_sync(self._parallel):
                losses = self._parallel(part.index, part.x0, part.condition, part.source)
                loss = losses.mean() / len(parts)
                self._accelerator.backward(loss)
            self.total += loss.detach()
        self.steps += 1
        self.norm = nn.utils.clip_grad_norm_(self._named.values(), self._config.clip or math.inf)
        bad = ~torch.isfinite(self.norm)  # of the reduced gradient: every process finds the same
        torch.maximum(self._optimizer.found_inf, bad.float(), out=self._optimizer.found_inf)
        bad = (bad | ~torch.isfinite(self.total)) & (self.failed == 0)
        self.failed = torch.where(bad, self.steps, self.failed)
        for group in self._optimizer.param_groups:
            group["lr"] = rate
        self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=True)
        self.progress.steps += 1
        self.progress.images += self._config.batch
        self.averages.update(self.progress.images, self._config.batch)

    def _seed_dropout(self, part: int) -> None:
        """Layers that draw by themselves draw by (seed, step, process, part): exact on resume, but not over devices."""
        stream = Streams.of(self._config.seed, [self.progress.steps])
        seed = int(stream.fold("layers", self._accelerator.process_index, part).key[0, 0])
        device = self._accelerator.device
        torch.default_generator.manual_seed(seed)  # torch.manual_seed does this too, in ten times the time
        if device.type != "cpu":
            torch.get_device_module(device).manual_seed(seed)

    def write(self, folder: Path) -> None:
        """Write everything into a folder: tensors and JSON only."""
        save_file(_plain(self.loss.state_dict()), folder / "model.safetensors")
        for width, tensors in self.averages.tensors.items():
            save_file(_plain(tensors), folder / f"ema-{width}.safetensors")
        save_file(_plain(self._moments()), folder / "optimizer.safetensors")
        said = {"format": FORMAT, "config": self._config.model_dump(mode="json"), "progress": asdict(self.progress)}
        (folder / TRAINER).write_text(json.dumps(said, indent=1) + "\n", encoding="utf-8")

    def read(self, folder: Path) -> None:
        """Go to the state that a checkpoint was written in.

        Raises:
            UserError: it is of another network.
        """
        weights = load_file(folder / "model.safetensors")
        _check_same(folder, weights, self.loss.state_dict())
        self.loss.load_state_dict(weights)
        for width, tensors in self.averages.tensors.items():
            for name, value in load_file(folder / f"ema-{width}.safetensors").items():
                tensors[name].copy_(value)
        self._optimizer.state.clear()
        for name, value in load_file(folder / "optimizer.safetensors").items():
            parameter, _, kind = name.rpartition("/")
            place = self._named[parameter]
            self._optimizer.state[place][kind] = value.to(place.device)
        self.progress = Progress(**read(folder)["progress"])
        self.reset()

    def _moments(self) -> dict[str, Tensor]:
        """The optimiser's tensors by the names of their parameters."""
        return {
            f"{name}/{kind}": value
            for name, parameter in self._named.items()
            for kind, value in self._optimizer.state.get(parameter, {}).items()
        }


def decay_groups(module: nn.Module, decay: float) -> list[dict[str, Any]]:
    """Parameters in two groups: matrices and kernels, called ``weight``, decay; all else and embeddings do not.

    Example:
        >>> [len(group["params"]) for group in decay_groups(nn.Sequential(nn.Embedding(2, 3), nn.Linear(3, 3)), 0.1)]
        [1, 2]
    """
    groups: list[dict[str, Any]] = [{"params": [], "weight_decay": decay}, {"params": [], "weight_decay": 0.0}]
    seen: set[Tensor] = set()
    for owner in module.modules():
        for name, parameter in owner.named_parameters(recurse=False):
            if parameter.requires_grad and parameter not in seen:
                seen.add(parameter)
                decays = name == "weight" and parameter.ndim > 1 and not isinstance(owner, nn.Embedding)
                groups[0 if decays else 1]["params"].append(parameter)
    return [group for group in groups if group["params"]]


def learning_rate(config: TrainingConfig, progress: Progress, share: float) -> float:
    """The rate of the next step, after a share of the budget.

    Warm-up is linear in images; whatever it is set to, it is over after a tenth of the budget.

    Example:
        >>> config = TrainingConfig(images=1000, batch=10, warmup=50)
        >>> [round(learning_rate(config, Progress(images=n), n / 1000), 6) for n in (0, 20, 500, 1000)]
        [0.0002, 0.000599, 0.0005, 0.0]
    """
    warm = min(1.0, max((progress.images + config.batch) / max(config.warmup, 1), 10 * share))
    course = (1 + math.cos(math.pi * min(share, 1.0))) / 2 if config.schedule == "cosine" else 1.0
    return config.learning_rate * warm * course * 0.5**progress.halvings


def _plain(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: value.detach().cpu().contiguous() for name, value in tensors.items()}


def _check_same(folder: Path, theirs: dict[str, Tensor], ours: dict[str, Tensor]) -> None:
    shapes = [{name: tuple(value.shape) for name, value in tensors.items()} for tensors in (theirs, ours)]
    different = [name for name in [*shapes[0], *shapes[1]] if shapes[0].get(name) != shapes[1].get(name)]
    if different:
        raise UserError(
            f"{folder} is of another network: {different[0]} differs; use the recipe that the run was started with, "
            "or a new run folder"
        )
