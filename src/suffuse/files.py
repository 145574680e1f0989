"""Folders that are whole or not there: written aside, checksummed, synced to disk and renamed into place."""

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

from suffuse.errors import UserError

MANIFEST = "manifest.json"
"""File with the SHA-256 of every other file of a folder."""

PIPELINE = "model_index.json"
"""File that makes a folder a pipeline of diffusers."""


def write_folder(path: Path, write: Callable[[Path], None]) -> None:
    """Write a folder as a whole: a crash, a full disk or a power cut leaves the old one or the new one.

    Args:
        path: the folder to make or to replace.
        write: writes the files into the (empty) folder it is given.

    Raises:
        UserError: it cannot be written; what was there before is untouched.
    """
    aside = path.with_name(f".tmp-{path.name}-{os.getpid()}")
    try:
        shutil.rmtree(aside, ignore_errors=True)
        aside.mkdir(parents=True)
        write(aside)
        seal(aside)
        _swap(aside, path)
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror or error}; nothing that was there is lost") from error
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def seal(folder: Path) -> None:
    """Write the manifest of a folder, and push all of it to the disk."""
    sums = {str(file.relative_to(folder)): digest(file) for file in sorted(folder.rglob("*")) if file.is_file()}
    (folder / MANIFEST).write_text(json.dumps({"sha256": sums}, indent=1) + "\n", encoding="utf-8")
    for place in [*folder.rglob("*"), folder]:
        sync(place)


def sync(place: Path) -> None:
    """Push a file, or the entries of a folder, to the disk."""
    handle = os.open(place, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _swap(new: Path, path: Path) -> None:
    """Put the new folder in the place of the old one."""
    old = new.with_name(new.name + "-old")
    if path.exists():
        path.rename(old)
    new.rename(path)
    sync(path.parent)
    shutil.rmtree(old, ignore_errors=True)


def verify(folder: Path) -> None:
    """Check every file of a folder against its manifest.

    Raises:
        UserError: a file is missing or is not what was written.
    """
    try:
        sums = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))["sha256"]
    except (OSError, ValueError, KeyError, TypeError):
        raise UserError(f"{folder} has no readable {MANIFEST}, so it was not written whole by Suffuse") from None
    for name, wanted in sums.items():
        file = folder / name
        if not file.is_file():
            raise UserError(f"{file} is missing; copy the folder again, or use an earlier checkpoint")
        if digest(file) != wanted:
            raise UserError(f"{file} is damaged: its checksum is not the one it was written with; copy it again")


def digest(file: Path) -> str:
    """SHA-256 of a file, in bounded memory.

    Example:
        >>> digest(Path("/dev/null"))[:8]
        'e3b0c442'
    """
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
