"""Checkpoints: whole folders with checksums, of which the last two and the best are kept."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from suffuse.errors import UserError
from suffuse.files import sync, verify, write_folder

FORMAT = 1
"""Version of a checkpoint; another one is refused."""
TRAINER = "trainer.json"
_FOLDER = "checkpoints"
MEAN = "mean"
"""Folder of a run with the training of the regression that comes first, where there is one."""
_ALLOWED = {"data-report.json", MEAN}
"""What may be in a run folder before its first checkpoint."""
_KEPT = 2


def check_run(run: Path) -> None:
    """Refuse a folder that holds something other than a run.

    Raises:
        UserError: it is no folder, or it has files and no checkpoints.
    """
    if run.exists() and not run.is_dir():
        raise UserError(f"{run} is a file; give another folder to train in")
    if run.is_dir() and not (run / _FOLDER).is_dir() and {path.name for path in run.iterdir()} - _ALLOWED:
        raise UserError(
            f"{run} has files in it but is no run folder; give a new folder, so that nothing is overwritten"
        )


class Checkpoints:
    """The checkpoints of a run, by the number of images seen.

    Args:
        run: the run folder; made where it is missing.
    """

    def __init__(self, run: Path) -> None:
        self.folder = run / _FOLDER

    def start(self) -> None:
        """Make the folder, and clear away what a process that was killed left half done.

        Raises:
            UserError: the folder cannot be written to.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            for left in self.folder.glob(".tmp-*"):
                shutil.rmtree(left)
        except OSError as error:
            raise UserError(f"cannot write to {self.folder}: {error.strerror or error}") from error

    def save(self, images: int, write: Callable[[Path], None], best: int | None) -> None:
        """Write one, then delete those that are neither among the last nor the best.

        Args:
            images: images seen.
            write: writes its files into the folder it is given.
            best: images of the best one so far.

        Raises:
            UserError: it could not be written, as on a full disk; the others are as they were.
        """
        path = self.path(images)
        try:
            write_folder(path, write)
        except SafetensorError as error:  # how safetensors reports what the system refused
            raise UserError(f"cannot write {path}: {error}; nothing that was there is lost") from error
        for old in [path for path in self._all()[:-_KEPT] if int(path.name) != best]:
            aside = old.with_name(f".tmp-{old.name}")
            old.rename(aside)
            shutil.rmtree(aside, ignore_errors=True)

    def path(self, images: int) -> Path:
        """Where the one after so many images is."""
        return self.folder / f"{images:010d}"

    def sound(self, say: Callable[[str], None]) -> Path | None:
        """The newest one that is as it was written, or None where there never was one; damaged ones are put aside.

        Args:
            say: told in one line about each damaged one.

        Raises:
            UserError: all are damaged, or they are of another version.
        """
        paths = self._all()
        for path in reversed(paths):
            try:
                verify(path)
            except UserError as damage:
                path.rename(path.with_name(f"damaged-{path.name}"))
                say(f"{damage}; going on from the checkpoint before it")
                continue
            version = read(path).get("format")
            if version != FORMAT:
                raise UserError(
                    f"{path} is of format {version}, and this version of Suffuse reads {FORMAT}; "
                    "go on with the version that wrote it, or train in a new folder"
                )
            return path
        if paths:
            raise UserError(f"no checkpoint in {self.folder} can be read; train in a new folder")
        return None

    def newest(self) -> Path | None:
        """The newest one, unchecked."""
        paths = self._all()
        return paths[-1] if paths else None

    def _all(self) -> list[Path]:
        return sorted(self.folder.glob("[0-9]*"))


def read(path: Path) -> dict[str, Any]:
    """What a checkpoint says about its training."""
    return json.loads((path / TRAINER).read_text(encoding="utf-8"))


def replace(path: Path, write: Callable[[Path], object]) -> None:
    """Write a file aside and put it in its place, so that a reader sees the old one or the new one."""
    aside = path.with_name(f".tmp-{path.name}")
    write(aside)
    sync(aside)
    aside.replace(path)
