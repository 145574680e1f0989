"""What of a training is on disk: saved, found again, and turned into a model."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import torch
from safetensors.torch import load_file
from torch import Tensor

from suffuse.errors import UserError
from suffuse.files import seal
from suffuse.training.checkpoint import Checkpoints, read
from suffuse.training.config import TrainingConfig
from suffuse.training.ema import drop_snapshots
from suffuse.training.learner import Learner, Progress

if TYPE_CHECKING:
    from accelerate import Accelerator

SaveModel: TypeAlias = Callable[[Path, dict[str, Tensor], Progress], None]

MODEL = "model"
"""Folder of a checkpoint with the model that it would be if training ended there."""
_RETRY = 60.0
"""Seconds until a checkpoint that could not be written is tried again."""
_FREE = {
    "accumulate", "compile", "steps", "images", "minutes", "evaluate_every", "sample_every", "save_every", "patience"
}  # fmt: skip
"""Choices that may change when a run goes on."""


class Keeper:
    """Writes the checkpoints of a learner, and goes back to them.

    Args:
        run: the run folder.
        learner: what is kept.
        config: the choices.
        save_model: writes a model with these weights of the denoiser into a folder, told how far training is.
        accelerator: whose main process writes.
        warn: told in one line what the user must know.
    """

    def __init__(
        self,
        run: Path,
        learner: Learner,
        config: TrainingConfig,
        save_model: SaveModel,
        accelerator: "Accelerator",
        warn: Callable[[str], None],
    ) -> None:
        self._run, self._learner, self._config, self._save_model = run, learner, config, save_model
        self._accelerator, self._warn = accelerator, warn
        self._checkpoints = Checkpoints(run)
        self._saved: Progress | None = None
        self._next = config.save_every * 60

    def begin(self) -> Path | None:
        """Go to the newest sound checkpoint and give its path. Where there is none, the start is saved: the disk is
        tried before time is spent.

        Raises:
            UserError: the folder cannot be used, or the run was started with other settings.
        """
        images = -1
        if self._accelerator.is_main_process:
            self._checkpoints.start()
            sound = self._checkpoints.sound(self._warn)
            images = -1 if sound is None else int(sound.name)
        images = int(self._accelerator.gather(torch.tensor([images], device=self._accelerator.device))[0])
        if images < 0:
            self.save()
            return None
        path = self._checkpoints.path(images)
        check_settings(path, self._config, self._learner.progress.items)
        self._go_to(path)
        self._saved = replace(self._learner.progress)
        self._next += self._learner.progress.seconds
        return path

    @property
    def due(self) -> bool:
        """Whether the time for a checkpoint has come."""
        return self._learner.progress.seconds >= self._next

    def save(self) -> None:
        """Write a checkpoint, unless this moment has one.

        Raises:
            UserError: it cannot be written; earlier ones are as they were.
        """
        now = self._learner.progress
        if self._accelerator.is_main_process and now != self._saved:
            self._checkpoints.save(now.images, self._write, now.best if self._config.patience else None)
        self._saved = replace(now)
        self._next = now.seconds + self._config.save_every * 60

    def try_to_save(self) -> bool:
        """Write a checkpoint; where that fails, warn and have it tried again later."""
        try:
            self.save()
        except UserError as error:
            self._warn(f"{error}; training goes on, and it is tried again")
            self._next = self._learner.progress.seconds + min(_RETRY, self._config.save_every * 60)
            return False
        return True

    def go_back(self) -> Path | None:
        """Go to the newest checkpoint and give its path, or None where none was ever written."""
        path = self._checkpoints.newest()
        if path is not None:
            self._go_to(path)
        return path

    def weights(self) -> dict[str, Tensor]:
        """Weights of the denoiser as its model has them: with patience the best measured, else the average of now."""
        width, best = self._config.ema[0], self._learner.progress.best
        with self._learner.averages.applied(width):
            weights = {name: value.clone() for name, value in self._learner.loss.denoiser.state_dict().items()}
        if self._config.patience and best is not None and best != self._learner.progress.images:
            path = self._checkpoints.path(best) / f"ema-{width}.safetensors"
            weights |= load_file(path) if path.is_file() else {}
        return weights

    def _go_to(self, path: Path) -> None:
        self._learner.read(path)
        if self._accelerator.is_main_process:
            drop_snapshots(self._run, self._learner.progress.images)

    def _write(self, folder: Path) -> None:
        self._learner.write(folder)
        (folder / MODEL).mkdir()
        self._save_model(folder / MODEL, self.weights(), self._learner.progress)
        seal(folder / MODEL)


def check_settings(path: Path, config: TrainingConfig, items: int) -> None:
    """Refuse to go on with other settings than those that a run was started with.

    Raises:
        UserError: with the names of those that differ, and what they were.
    """
    said = read(path)
    theirs: Mapping[str, Any] = said["config"]
    ours = config.model_dump(mode="json")
    was = {name: theirs.get(name) for name in ours if name not in _FREE and theirs.get(name) != ours[name]}
    unit = TrainingConfig.model_validate({name: value for name, value in theirs.items() if name in ours}).budget[0]
    if unit != config.budget[0]:
        was["budget"] = f"in {unit}"
    if said["progress"]["items"] != items:
        was["training data"] = f"{said['progress']['items']} items"
    if was:
        changed = ", ".join(f"{name} (was {value})" for name, value in was.items())
        raise UserError(
            f"{path.parent.parent} was started with another {changed}; set it back, or use a new run folder"
        )
