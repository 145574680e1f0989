"""What a folder of samples is to hold, and what of it is there: each file has the samples of a range of seeds."""

import fcntl
import json
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal, TypeAlias

import torch

import suffuse
from suffuse.errors import UserError
from suffuse.training.checkpoint import replace

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
    """Keep a folder for one plan, and for one process at a time; what was left half written is swept away.

    Raises:
        UserError: it belongs to another plan, holds something else, is written to by another process, or cannot be.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _claim(folder, json.loads(json.dumps(asdict(plan))))
        with (folder / MANIFEST).open() as manifest:
            try:
                fcntl.flock(manifest, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise UserError(f"another process is writing samples to {folder}; let it finish, or stop it") from None
            _sweep(folder)
            yield
            _sweep(folder)
    except OSError as error:
        raise UserError(f"cannot write to {folder}: {error.strerror or error}") from error


def _claim(folder: Path, wanted: dict[str, object]) -> None:
    """Write what the folder is for, or compare."""
    manifest = folder / MANIFEST
    if not manifest.exists():
        if any(not path.name.startswith(ASIDE) for path in folder.iterdir()):
            raise UserError(f"{folder} holds something else; name a new folder with --out")
        replace(manifest, lambda aside: aside.write_text(json.dumps(wanted, indent=1) + "\n", encoding="utf-8"))
    try:
        found = json.loads(manifest.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(f"{manifest} is damaged; name a new folder with --out") from error
    for name, value in wanted.items():
        if found.get(name) != value:
            raise UserError(
                f"{folder} was begun with {name} {found.get(name)}, and this is {value}: go on with that, or name a "
                "new folder with --out"
            )


def _sweep(folder: Path) -> None:
    for aside in folder.glob(f"{ASIDE}*"):
        aside.unlink(missing_ok=True)
