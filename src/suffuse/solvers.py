"""The solvers that were tuned to a model, kept in a file beside it."""

import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from suffuse.errors import UserError
from suffuse.samplers import Tuned

FILE = "solvers.json"
_FORMAT = 1


@dataclass
class Solvers:
    """Tuned solvers by what they were tuned for.

    Attributes:
        images: training images that the model had seen; one that has seen more needs solvers of its own.
        found: solvers by (evaluations, guidance).
    """

    images: int = 0
    found: dict[tuple[int, float], Tuned] = field(default_factory=dict)

    def get(self, evaluations: int, guidance: float) -> Tuned | None:
        """The solver for these, if there is one."""
        return self.found.get((evaluations, guidance))

    def put(self, solver: Tuned, guidance: float) -> None:
        """Keep a solver, in the place of an earlier one."""
        self.found[len(solver.table), guidance] = solver

    def save(self, folder: Path) -> None:
        """Write them beside the model, as a whole or not at all."""
        rows = [{"guidance": guidance, **solver.config()} for (_, guidance), solver in sorted(self.found.items())]
        text = json.dumps({"suffuse": _FORMAT, "images": self.images, "solvers": rows})
        aside = folder / f".tmp-{FILE}-{os.getpid()}"
        try:
            aside.write_text(text + "\n", encoding="utf-8")
            aside.replace(folder / FILE)
        except OSError as error:
            raise UserError(f"cannot write {folder / FILE}: {error.strerror or error}") from error

    @classmethod
    def load(cls, folder: Path, images: int) -> "Solvers":
        """Read those of a model that has seen so many images; none, where there are none for it.

        Raises:
            UserError: the file is damaged.
        """
        file = folder / FILE
        if not file.is_file():
            return cls(images)
        try:
            saved: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
            solvers = cls(images)
            if saved["images"] == images and saved["suffuse"] == _FORMAT:
                for row in saved["solvers"]:
                    solvers.put(Tuned.from_config(row), float(row["guidance"]))
        except (ValueError, KeyError, TypeError) as error:
            raise UserError(f"{file} is damaged; delete it, and tune again: suffuse tune {folder}") from error
        return solvers
