"""What a folder of samples is to hold, and what of it is there: each file has the samples of a range of seeds."""

import fcntl
import json
import os
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal, TextIO, TypeAlias

import torch

import suffuse
from suffuse.errors import UserError
from suffuse.outputs import writing

Form: TypeAlias = Literal["parquet", "webdataset"]
MANIFEST, ASIDE = "samples.json", ".tmp-"
_SUFFIXES: dict[Form, str] = {"parquet": ".parquet", "webdataset": ".tar"}


@dataclass(frozen=True)
class Plan:
    """Everything that samples depend on, so that equal plans give equal files, whoever draws them and whenever.

    Args:
        model: fingerprint of the model.
        versions: of Suffuse and torch, whose rounding may differ from that of others.
        n: samples in all.
        seed: of the first one; the next have the next seeds.
        shard: samples of each file, but for the last.
        form: of the files.
        condition: as on the command line.
        steps: of each walk, or None.
        guidance: weight of the condition, or None.
        sampler: the way to walk by name, or None.
        size: of pictures, or none.
        seamless: whether pictures can be laid out as tiles.

    Raises:
        UserError: a number is out of range.

    Example:
        >>> plan = Plan("1f2e", ("0.1.0", "2.13.0"), n=2500, seed=10, shard=1000)
        >>> plan.name(2), plan.seeds(2)
        ('train-00002-of-00003.parquet', range(2010, 2510))
    """

    model: str
    versions: tuple[str, ...]
    n: int
    seed: int = 0
    shard: int = 1000
    form: Form = "parquet"
    condition: tuple[str, ...] = ()
    steps: int | None = None
    guidance: float | None = None
    sampler: str | None = None
    size: tuple[int, ...] = ()
    seamless: bool = False

    def __post_init__(self) -> None:
        for name, value in (("n", self.n), ("--shard", self.shard)):
            if value < 1:
                raise UserError(f"{name} must be at least 1, not {value}")

    @property
    def count(self) -> int:
        """How many files."""
        return -(-self.n // self.shard)

    def seeds(self, number: int) -> range:
        """Of the samples of one file."""
        start = self.seed + number * self.shard
        return range(start, min(start + self.shard, self.seed + self.n))

    def name(self, number: int) -> str:
        """Of one file, as the libraries that read such folders know them."""
        return f"train-{number:05d}-of-{self.count:05d}{_SUFFIXES[self.form]}"

    def missing(self, folder: Path) -> list[int]:
        """Numbers of the files that are not there; one that is there is whole."""
        there = {path.name for path in folder.iterdir()}
        return [number for number in range(self.count) if self.name(number) not in there]


def versions() -> tuple[str, str]:
    """Of Suffuse and torch, here."""
    return suffuse.__version__, torch.__version__


@contextmanager
def held(folder: Path, plan: Plan) -> Generator[None, None, None]:
    """Keep a folder for one plan, and for one process at a time, and sweep away what is half written.

    Raises:
        UserError: it belongs to another plan, holds something else, is written to by another process, or cannot be.
    """
    manifest = folder / MANIFEST
    with writing(folder):
        if not manifest.exists() and any(folder.iterdir()):
            raise UserError(f"{folder} holds something else; name a new folder with --out")
        file = manifest.open("a+", encoding="utf-8")
    with file:
        with writing(folder):
            _claim(folder, file, plan)
        try:
            _sweep(folder)
            yield
        finally:
            _sweep(folder)


def _claim(folder: Path, file: TextIO, plan: Plan) -> None:
    """Lock it; write what the folder is for while nothing is in it, and compare from then on."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise UserError(f"another process is writing samples to {folder}; let it finish, or stop it") from None
    text = json.dumps(asdict(plan), indent=1) + "\n"
    if not any(folder.glob("train-*")):
        file.truncate(0)
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
        return
    file.seek(0)
    try:
        found = json.load(file)
    except ValueError as error:
        raise UserError(f"{folder / MANIFEST} is damaged; name a new folder with --out") from error
    for name, value in json.loads(text).items():
        if found.get(name) != value:
            raise UserError(
                f"{folder} was begun with {name} {found.get(name)}, and this is {value}: go on with that, or name a "
                "new folder with --out"
            )


def _sweep(folder: Path) -> None:
    for aside in folder.glob(f"{ASIDE}*"):
        aside.unlink(missing_ok=True)
