"""Trainings that are started in the page: each is ``suffuse train`` in a process of its own, which outlives it."""

import fcntl
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from suffuse.errors import UserError
from suffuse.outputs import writing
from suffuse.training.log import read_metrics

_NAME = re.compile(r"\w[\w -]{0,62}")
_ASIDE = ".studio"
"""Folder, beside the run folders, of what the page knows of each."""
_TAIL = 4096
"""Bytes of a log that are shown."""
_LISTED = 500
_MOST_FILES, _MOST_BYTES = 100_000, 4 * 2**30
"""That an archive is unpacked to."""


@dataclass(frozen=True)
class Standing:
    """How a training stands.

    Args:
        running: whether its process runs.
        said: the last of what it said.
        images: items that it has seen.
        loss: the last mean loss, or None.
        seconds: that it has trained for.
        minutes: that it is to train for.
    """

    running: bool
    said: str
    images: int
    loss: float | None
    seconds: float
    minutes: float


def gathered(uploads: Sequence[Path], folder: Path) -> Path:
    """Copies of uploads in a folder: the one file, the folder of them, or what the one archive holds.

    Raises:
        UserError: the archive is damaged, or holds too much.
    """
    if len(uploads) == 1 and uploads[0].suffix.lower() == ".zip":
        return _unpacked(uploads[0], folder)
    for upload in uploads:
        shutil.copyfile(upload, folder / upload.name)
    return folder / uploads[0].name if len(uploads) == 1 else folder


def _unpacked(archive: Path, folder: Path) -> Path:
    """The folder that was packed; names that would lead out of it are made to stay in it by zipfile itself."""
    try:
        with zipfile.ZipFile(archive) as opened:
            inside = [each for each in opened.infolist() if not each.filename.startswith("__MACOSX/")]
            if len(inside) > _MOST_FILES or sum(each.file_size for each in inside) > _MOST_BYTES:
                most = f"{_MOST_FILES:,} files or {_MOST_BYTES // 2**30} GB"
                raise UserError(f"{archive.name} holds more than {most}; put it below the folder of --data")
            opened.extractall(folder, inside)
    except (UserError, OSError):
        raise
    except Exception as error:  # zipfile and its decoders stumble over damaged archives by every error there is
        raise UserError(f"{archive.name} is no ZIP file that can be read, or is damaged or locked") from error
    found = [*folder.iterdir()]
    return found[0] if len(found) == 1 and found[0].is_dir() else folder  # most programs pack the folder itself


class Trainings:
    """Trainings in one folder, of data below another or of uploads.

    Whether a process runs is told by a lock that it inherits, and holds as long as it lives: a server that was started
    anew finds it as well, and never takes another process for it.

    Args:
        runs: folder of run folders.
        data: folder of data that may be trained on; None for uploads alone.
    """

    def __init__(self, runs: Path, data: Path | None) -> None:
        self.runs, self.data = runs.resolve(), None if data is None else data.resolve()
        self._begun: dict[str, subprocess.Popen[bytes]] = {}

    @property
    def names(self) -> list[str]:
        """Of the trainings that there are, the newest first."""
        found = self._aside.glob("*/command.json")
        return [path.parent.name for path in sorted(found, key=lambda path: -path.stat().st_mtime)]

    def listing(self) -> list[str]:
        """What of the folder of data can be chosen: what is in it, and in its folders."""
        if self.data is None:
            return []
        found = [path for pattern in ("*", "*/*") for path in self.data.glob(pattern) if path.name[0] != "."]
        return sorted(path.relative_to(self.data).as_posix() for path in found[:_LISTED])

    def source(self, name: str) -> Path:
        """The path of what was chosen below the folder of data.

        Raises:
            UserError: it is not there, or leads out of it.
        """
        path = None if self.data is None else (self.data / name).resolve()
        if path is None or self.data is None or not path.is_relative_to(self.data) or not path.exists():
            raise UserError(f"there is no {name} in the folder of data")
        return path

    def kept(self, name: str, uploads: Sequence[Path]) -> Path:
        """Uploads, copied to where they stay: the one file, or a folder of them.

        Raises:
            UserError: the name is none, or is taken, or they cannot be written.
        """
        folder = self._checked(name) / "data"
        with writing(folder):
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
            return gathered(uploads, folder)

    def run(self, name: str) -> Path:
        """The run folder of a training.

        Raises:
            UserError: the name is none.
        """
        if not _NAME.fullmatch(name):
            raise UserError("a name has letters, digits, blanks, - and _ alone, and begins with none of the last three")
        return self.runs / name

    def start(self, name: str, source: Path, minutes: float, options: Sequence[str]) -> None:
        """Begin to train.

        Args:
            name: of the run folder.
            source: what is trained on.
            minutes: for how long.
            options: of ``suffuse train``.

        Raises:
            UserError: the name is none or is taken, or its files cannot be written.
        """
        run, aside = self.run(name), self._checked(name)
        words = ["train", str(source), "--out", str(run), *options]
        with writing(aside):
            (aside / "command.json").write_text(json.dumps({"words": words, "minutes": minutes}), encoding="utf-8")
        self._begin(name)

    def go_on(self, name: str, minutes: float) -> None:
        """Go on with a training for so many minutes from where it stopped.

        Raises:
            UserError: there is none, or it runs.
        """
        if self.standing(name).running:
            raise UserError(f"{name} is being trained already")
        command = self._command(name)
        command["minutes"] = self.standing(name).seconds / 60 + minutes
        (self._aside / name / "command.json").write_text(json.dumps(command), encoding="utf-8")
        self._begin(name)

    def stop(self, name: str) -> None:
        """Have a training keep what it has learned, and end.

        Raises:
            UserError: there is none.
        """
        self._command(name)
        if self._running(name):
            os.kill(int((self._aside / name / "pid").read_text()), signal.SIGTERM)

    def standing(self, name: str) -> Standing:
        """How a training stands.

        Raises:
            UserError: there is none.
        """
        command, log = self._command(name), self._aside / name / "log.txt"
        lines = [line for line in read_metrics(self.run(name)) if line["event"] == "train"]
        last: dict[str, Any] = lines[-1] if lines else {"images": 0, "loss": None, "seconds": 0.0}
        said = log.read_bytes()[-_TAIL:].decode(errors="replace") if log.exists() else ""
        return Standing(
            self._running(name), said, last["images"], last["loss"], last["seconds"], float(command["minutes"])
        )

    @property
    def _aside(self) -> Path:
        return self.runs / _ASIDE

    def _checked(self, name: str) -> Path:
        """Where a new training's own files are."""
        if self.run(name).exists() or (self._aside / name / "command.json").exists():
            raise UserError(f"there is a run {name} already; go on with it, or give another name")
        return self._aside / name

    def _command(self, name: str) -> dict[str, Any]:
        path = self._aside / name / "command.json"
        if name not in self.names:
            raise UserError("there is no such training")
        return json.loads(path.read_text(encoding="utf-8"))

    def _begin(self, name: str) -> None:
        command, aside = self._command(name), self._aside / name
        words = [*map(str, command["words"]), "--minutes", f"{command['minutes']:g}"]
        with (aside / "lock").open("w") as lock, (aside / "log.txt").open("ab") as log:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            process = subprocess.Popen(
                [sys.executable, "-m", "suffuse", *words],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                pass_fds=[lock.fileno()],
            )
        self._begun[name] = process
        (aside / "pid").write_text(str(process.pid))

    def _running(self, name: str) -> bool:
        begun = self._begun.get(name)
        if begun is not None and begun.poll() is not None:
            del self._begun[name]
        path = self._aside / name / "lock"
        if not path.exists():
            return False
        with path.open("a") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return True
        return False
